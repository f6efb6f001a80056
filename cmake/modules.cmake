# Transports that are loaded at run time: libhmc-<name>.so in hmc/ beside the library (see src/transport/module.h).
#
#   hmc_add_module(<name> [HEADERS_ONLY] <pkg-config module>...)
#
# HEADERS_ONLY: the module opens the libraries by itself, and is not linked with them.
# Built of the sources in src/transport/<name>. Where a library that it needs is not installed, the module is left out, and
# programs say so when they ask for that transport. HMC_<NAME>: AUTO, ON (it is an error to leave it out) or OFF.
# The sources are also put into a static library hmc_<name>_objects, for unit tests; without those nothing builds it.

find_package(PkgConfig REQUIRED)

# UCX is also looked for where the first HMC's guide had people put it.
set(ENV{PKG_CONFIG_PATH} "$ENV{PKG_CONFIG_PATH}:/usr/local/ucx/lib/pkgconfig")

# A module's files call each other in the path of every operation.
include(CheckIPOSupported)
check_ipo_supported(RESULT HMC_MODULES_IPO LANGUAGES C)

function(hmc_add_module name)
  cmake_parse_arguments(PARSE_ARGV 1 module "HEADERS_ONLY" "" "")
  set(needs ${module_UNPARSED_ARGUMENTS})
  string(TOUPPER "${name}" NAME)
  set(HMC_${NAME} AUTO CACHE STRING "Build the ${name} transport: AUTO, ON or OFF")
  set_property(CACHE HMC_${NAME} PROPERTY STRINGS AUTO ON OFF)
  if(HMC_${NAME} STREQUAL "OFF")
    return()
  endif()
  pkg_check_modules(${NAME}_NEEDS IMPORTED_TARGET ${needs})
  if(NOT ${NAME}_NEEDS_FOUND)
    if(HMC_${NAME} STREQUAL "ON")
      message(FATAL_ERROR "HMC_${NAME} is ON, but these are not all installed: ${needs}")
    endif()
    message(STATUS "The ${name} transport is left out: it needs ${needs}")
    return()
  endif()

  file(GLOB sources CONFIGURE_DEPENDS "src/transport/${name}/*.c")
  list(FILTER sources EXCLUDE REGEX "_test\\.c$")
  add_library(hmc_${name}_objects STATIC ${sources})
  set_target_properties(hmc_${name}_objects PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden)
  if(NOT HMC_TESTS)
    set_target_properties(hmc_${name}_objects PROPERTIES EXCLUDE_FROM_ALL ON)
  endif()
  target_include_directories(hmc_${name}_objects PUBLIC include)
  get_target_property(headers PkgConfig::${NAME}_NEEDS INTERFACE_INCLUDE_DIRECTORIES)
  if(NOT headers)
    set(headers "")
  endif()
  target_include_directories(hmc_${name}_objects SYSTEM PUBLIC ${headers})

  add_library(hmc_${name} MODULE ${sources})
  target_include_directories(hmc_${name} PRIVATE include)
  target_include_directories(hmc_${name} SYSTEM PRIVATE ${headers})
  target_link_libraries(hmc_${name} PRIVATE hmc Threads::Threads)
  if(NOT module_HEADERS_ONLY)
    target_link_libraries(hmc_${name} PRIVATE PkgConfig::${NAME}_NEEDS)
  endif()
  target_link_options(hmc_${name} PRIVATE "-Wl,--version-script=${PROJECT_SOURCE_DIR}/src/module.map")
  if(NOT HMC_SANITIZE)
    target_link_options(hmc_${name} PRIVATE "-Wl,--no-undefined")
  endif()
  set_target_properties(hmc_${name} PROPERTIES PREFIX "lib" OUTPUT_NAME "hmc-${name}" SUFFIX ".so" LINKER_LANGUAGE C
    C_VISIBILITY_PRESET hidden LINK_DEPENDS "${PROJECT_SOURCE_DIR}/src/module.map"
    INTERPROCEDURAL_OPTIMIZATION_RELEASE ${HMC_MODULES_IPO}
    INTERPROCEDURAL_OPTIMIZATION_RELWITHDEBINFO ${HMC_MODULES_IPO}
    LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/hmc" INSTALL_RPATH "$ORIGIN/.."
    BUILD_WITH_INSTALL_RPATH ON)
  install(TARGETS hmc_${name} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/hmc")
endfunction()

hmc_add_module(verbs libibverbs)
hmc_add_module(ucx HEADERS_ONLY ucx)
