# The faces: libraries of their own over the public C API of libhmc.so, one room of src/ each.
#
#   hmc_add_face(<name> DESCRIPTION <text> [OUTPUT <name of the library>] [HEADERS <file or folder of include/>...])
#
# Builds lib<name>.so of src/<name>/*.c, showing what src/<name>/<name>.map names, and <name>.pc; installs both and the
# headers. A face whose room is empty is left out. Unit tests link the
# objects, hmc_<name>_objects, and see the hidden symbols.

function(hmc_add_face name)
  cmake_parse_arguments(PARSE_ARGV 1 face "" "DESCRIPTION;OUTPUT" "HEADERS")
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "src/${name}/*.c")
  list(FILTER sources EXCLUDE REGEX "_test\\.c$")
  if(NOT sources)
    return()
  endif()
  set(map "${PROJECT_SOURCE_DIR}/src/${name}/${name}.map")
  if(NOT face_OUTPUT)
    set(face_OUTPUT "${name}")
  endif()

  add_library(hmc_${name}_objects OBJECT ${sources})
  target_include_directories(hmc_${name}_objects PUBLIC include) # the test links the archive of the engine
  set_target_properties(hmc_${name}_objects PROPERTIES POSITION_INDEPENDENT_CODE ON C_VISIBILITY_PRESET hidden LINKER_LANGUAGE C)

  add_library(${name} SHARED $<TARGET_OBJECTS:hmc_${name}_objects>)
  target_include_directories(${name} INTERFACE "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  target_link_libraries(${name} PUBLIC hmc PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  target_compile_options(hmc_${name}_objects PRIVATE -fno-semantic-interposition)
  target_link_options(${name} PRIVATE "-Wl,--version-script=${map}" "-Wl,-Bsymbolic-functions")
  if(NOT HMC_SANITIZE)
    target_link_options(${name} PRIVATE "-Wl,--no-undefined")
  endif()
  set_target_properties(${name} PROPERTIES OUTPUT_NAME "${face_OUTPUT}" SOVERSION 1 VERSION "1.${PROJECT_VERSION}"
    LINKER_LANGUAGE C LINK_DEPENDS "${map}" INSTALL_RPATH "$ORIGIN" BUILD_WITH_INSTALL_RPATH ON) # the wheel takes it as it is
  add_library(hmc::${name} ALIAS ${name})

  install(TARGETS ${name} EXPORT hmcTargets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  foreach(header ${face_HEADERS})
    if(IS_DIRECTORY "${PROJECT_SOURCE_DIR}/include/${header}")
      install(DIRECTORY "include/${header}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h"
        PATTERN "*.hpp")
    else()
      install(FILES "include/${header}" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
    endif()
  endforeach()

  set(face_name "${name}")
  set(face_description "${face_DESCRIPTION}")
  file(RELATIVE_PATH pc_to_prefix "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
  string(REGEX REPLACE "/$" "" pc_to_prefix "${pc_to_prefix}")
  configure_file(cmake/face.pc.in "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endfunction()

hmc_add_face(smem OUTPUT mf_smem DESCRIPTION "A pool of everybody's memory, over HMC" HEADERS smem hybm)
include(cmake/smem.cmake)
hmc_add_face(shmem DESCRIPTION "OpenSHMEM 1.6 over HMC" HEADERS shmem.h pshmem.h shmemx.h shmem mpp)
# GCC vectorises loops of unknown length from -O3 on only: those of the reductions.
if(TARGET shmem AND CMAKE_C_COMPILER_ID STREQUAL GNU)
  set_source_files_properties(src/shmem/reduce.c PROPERTIES COMPILE_OPTIONS
    "$<$<OR:$<CONFIG:Release>,$<CONFIG:RelWithDebInfo>>:-O3>")
endif()
