# The places where programs written for MemFabric Hybrid look: <prefix>/mxc/memfabric_hybrid/latest, with set_env.sh beside
# it, which sets MEMFABRIC_HYBRID_HOME_PATH. Headers and libraries are links to where the rest of HMC is installed, relative
# ones, so that the tree can be moved. Both generations are served: <home>/<arch>-linux/{include,lib64} and <home>/include.

if(NOT TARGET smem)
  return()
endif()

set(smem_home "mxc/memfabric_hybrid")
set(smem_arch "${CMAKE_SYSTEM_PROCESSOR}-linux")
file(RELATIVE_PATH smem_include "/${smem_home}/${PROJECT_VERSION}" "/${CMAKE_INSTALL_INCLUDEDIR}")
file(RELATIVE_PATH smem_arch_include "/${smem_home}/${PROJECT_VERSION}/${smem_arch}" "/${CMAKE_INSTALL_INCLUDEDIR}")
file(RELATIVE_PATH smem_arch_lib "/${smem_home}/${PROJECT_VERSION}/${smem_arch}" "/${CMAKE_INSTALL_LIBDIR}")

configure_file(cmake/set_env.sh.in "${PROJECT_BINARY_DIR}/set_env.sh" @ONLY)
file(WRITE "${PROJECT_BINARY_DIR}/version.info" "mxc-memfabric_hybrid:${PROJECT_VERSION}\n")
install(FILES "${PROJECT_BINARY_DIR}/set_env.sh" DESTINATION "${smem_home}")
install(FILES "${PROJECT_BINARY_DIR}/version.info" DESTINATION "${smem_home}/${PROJECT_VERSION}")
install(CODE "
  function(smem_link target link)
    set(path \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/\${link}\")
    get_filename_component(folder \"\${path}\" DIRECTORY)
    file(MAKE_DIRECTORY \"\${folder}\")
    file(REMOVE \"\${path}\")
    file(CREATE_LINK \"\${target}\" \"\${path}\" SYMBOLIC)
  endfunction()
  smem_link(\"${PROJECT_VERSION}\" \"${smem_home}/latest\")
  smem_link(\"${smem_include}\" \"${smem_home}/${PROJECT_VERSION}/include\")
  smem_link(\"${smem_arch_include}\" \"${smem_home}/${PROJECT_VERSION}/${smem_arch}/include\")
  smem_link(\"${smem_arch_lib}\" \"${smem_home}/${PROJECT_VERSION}/${smem_arch}/lib64\")
  # Programs of the later generations name a second library on their link lines.
  smem_link(\"libmf_smem.so\" \"${CMAKE_INSTALL_LIBDIR}/libmf_hybm_core.so\")
")
