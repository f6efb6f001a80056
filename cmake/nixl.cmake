# The backend plug-in for NIXL: libplugin_HMC.so, the name under which NIXL looks for the backend "HMC" in the folder that
# NIXL_PLUGIN_DIR names. It needs nothing of NIXL's to build.

file(GLOB nixl_sources CONFIGURE_DEPENDS "src/nixl/*.cpp")
add_library(hmc_nixl MODULE ${nixl_sources})
target_compile_features(hmc_nixl PRIVATE cxx_std_17)
target_link_libraries(hmc_nixl PRIVATE hmc)
if(NOT HMC_SANITIZE)
  target_link_options(hmc_nixl PRIVATE "-Wl,--no-undefined")
endif()
# libhmc lies two folders up in a prefix and in our wheel; and beside NIXL's wheel, for a link in that one's folder.
set(nixl_rpath "$ORIGIN/../.." "$ORIGIN/../../hmc/lib")
set_target_properties(hmc_nixl PROPERTIES OUTPUT_NAME plugin_HMC CXX_VISIBILITY_PRESET hidden
  LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/nixl" INSTALL_RPATH "${nixl_rpath}" BUILD_RPATH "${nixl_rpath}")
install(TARGETS hmc_nixl LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/hmc/nixl")
