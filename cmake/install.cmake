# What `cmake --install` writes: headers, libraries, man pages, hmc.pc and the files for find_package(hmc). The tools
# install themselves. Nothing written holds an absolute path, so an installed tree can be moved.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/hmc")

install(FILES include/hmc.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY include/hmc DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

install(TARGETS hmc EXPORT hmcTargets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT hmcTargets NAMESPACE hmc:: DESTINATION "${package_dir}")
if(BUILD_STATIC_LIB)
  install(TARGETS hmc_static EXPORT hmcStaticTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(EXPORT hmcStaticTargets NAMESPACE hmc:: DESTINATION "${package_dir}")
endif()

configure_package_config_file(cmake/hmcConfig.cmake.in "${PROJECT_BINARY_DIR}/hmcConfig.cmake"
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
# Until 1.0 a new minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/hmcConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/hmcConfig.cmake" "${PROJECT_BINARY_DIR}/hmcConfigVersion.cmake"
  DESTINATION "${package_dir}")

file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
configure_file(cmake/hmc.pc.in "${PROJECT_BINARY_DIR}/hmc.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/hmc.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

# What the texts point at: documents, and programs to copy from.
install(FILES README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(DIRECTORY docs/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/docs" FILES_MATCHING PATTERN "*.md"
  PATTERN "*.svg")
install(DIRECTORY examples/ DESTINATION "${CMAKE_INSTALL_DOCDIR}/examples" PATTERN "CMakeLists.txt" EXCLUDE
  PATTERN "__pycache__" EXCLUDE)

file(GLOB man_pages CONFIGURE_DEPENDS "man/*.1")
install(FILES ${man_pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
# The pages of the C API are there where `scripts/docs` has made them.
install(DIRECTORY "${PROJECT_SOURCE_DIR}/build/docs/man/" DESTINATION "${CMAKE_INSTALL_MANDIR}" OPTIONAL)
