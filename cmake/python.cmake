# How Python packages are built. They all go into one wheel, whose libraries lie in hmc/lib, with libhmc's modules in
# hmc/lib/hmc, where libhmc looks for them.
#
#   hmc_python_package(<name>)                       python/<name>/**: the .py, .pyi, .pxd and py.typed files
#   hmc_python_extension(<package> <module> <source.pyx> [CXX] [LIBRARIES <target>...] [SOURCES <file>...])
#   hmc_python_library(<target> [MODULE] [OUTPUT <its name>] [FILE <in the build tree>] [FOLDER <in the wheel>])
#                                  puts a library of the tree into the wheel, or one that is loaded: a module of libhmc
#   hmc_python_tool(<program>)     puts a command line tool of the tree into hmc/bin of the wheel
#
# An extension finds its libraries by $ORIGIN, wherever the package is installed. In the build tree the packages lie in
# python/packages, ready to be imported from there.

find_package(Python 3.8 REQUIRED COMPONENTS Interpreter Development.Module)
set(HMC_PYTHON_TREE "${PROJECT_BINARY_DIR}/python/packages")
if(NOT TARGET hmc_python)
  add_custom_target(hmc_python ALL)
endif()

# Cython 3: the interpreter's own, else one in a virtual environment of the build tree.
function(hmc_find_cython)
  foreach(python "${Python_EXECUTABLE}" "${PROJECT_BINARY_DIR}/python/tools/bin/python")
    execute_process(COMMAND "${python}" -c "import Cython; print(Cython.__version__)"
      OUTPUT_VARIABLE cython_version ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(cython_version AND NOT cython_version VERSION_LESS 3)
      set(HMC_CYTHON "${python}" -m cython CACHE INTERNAL "How Cython is called")
      return()
    endif()
  endforeach()
  set(tools "${PROJECT_BINARY_DIR}/python/tools")
  message(STATUS "Installing Cython 3 into ${tools}")
  execute_process(COMMAND "${Python_EXECUTABLE}" -m venv "${tools}" RESULT_VARIABLE failed ERROR_VARIABLE said
    OUTPUT_VARIABLE said)
  if(NOT failed)
    execute_process(COMMAND "${tools}/bin/python" -m pip -q install "cython>=3.0,<4" RESULT_VARIABLE failed
      ERROR_VARIABLE said OUTPUT_VARIABLE said)
  endif()
  if(failed)
    message(FATAL_ERROR "The Python packages need Cython 3 (pip install 'cython>=3'), and it could not be installed "
      "into ${tools}:\n${said}")
  endif()
  set(HMC_CYTHON "${tools}/bin/python" -m cython CACHE INTERNAL "How Cython is called")
endfunction()
if(NOT HMC_CYTHON)
  hmc_find_cython()
endif()

# The transports that are loaded at run time: those of the tree, or those that another build tree has.
if(HMC_BUILT_IN)
  file(GLOB modules RELATIVE "${HMC_BUILT_IN}/hmc" "${HMC_BUILT_IN}/hmc/libhmc-*.so")
  string(REGEX REPLACE "libhmc-([a-z]+)\\.so" "\\1" HMC_MODULES "${modules}")
endif()

# A library of the tree as a target: the tree's own, or what another build tree has of it.
function(hmc_python_find target)
  if(TARGET ${target} OR NOT HMC_BUILT_IN)
    return()
  endif()
  set(name "${target}")
  if(ARGC GREATER 1 AND ARGV1)
    set(name "${ARGV1}")
  endif()
  set(link "${HMC_BUILT_IN}/lib${name}.so")
  if(NOT IS_SYMLINK "${link}")
    message(FATAL_ERROR "There is no lib${name}.so in ${HMC_BUILT_IN}. Build it first.")
  endif()
  file(READ_SYMLINK "${link}" file) # its SONAME
  add_library(${target} SHARED IMPORTED GLOBAL)
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${HMC_BUILT_IN}/${file}"
    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include")
endfunction()

function(hmc_python_library target)
  cmake_parse_arguments(PARSE_ARGV 1 library "MODULE" "OUTPUT;FILE;FOLDER" "")
  set(folder hmc/lib)
  if(library_MODULE)
    string(APPEND folder /hmc)
    if(library_FOLDER)
      set(folder "${library_FOLDER}")
    endif()
    if(HMC_BUILT_IN)
      string(REPLACE "_" "-" file "${HMC_BUILT_IN}/hmc/lib${target}.so")
      if(library_FILE)
        set(file "${HMC_BUILT_IN}/${library_FILE}")
      endif()
      if(EXISTS "${file}")
        file(COPY "${file}" DESTINATION "${HMC_PYTHON_TREE}/${folder}")
        install(FILES "${file}" DESTINATION "${folder}" COMPONENT python EXCLUDE_FROM_ALL)
      endif()
      return()
    endif()
    if(NOT TARGET ${target})
      return()
    endif()
    install(TARGETS ${target} LIBRARY DESTINATION "${folder}" COMPONENT python EXCLUDE_FROM_ALL)
    set(name "$<TARGET_FILE_NAME:${target}>")
  else()
    hmc_python_find(${target} ${library_OUTPUT})
    if(HMC_BUILT_IN)
      get_target_property(file ${target} IMPORTED_LOCATION)
      get_filename_component(name "${file}" NAME)
      get_filename_component(real "${file}" REALPATH)
      install(FILES "${real}" DESTINATION "${folder}" COMPONENT python EXCLUDE_FROM_ALL RENAME "${name}")
    else()
      # A wheel holds no links: the file goes in under the name that programs ask for.
      set(name "$<TARGET_SONAME_FILE_NAME:${target}>")
      install(FILES "$<TARGET_FILE:${target}>" DESTINATION "${folder}" COMPONENT python EXCLUDE_FROM_ALL RENAME "${name}")
    endif()
  endif()
  add_custom_target(hmc_python_library_${target}
    COMMAND ${CMAKE_COMMAND} -E make_directory "${HMC_PYTHON_TREE}/${folder}"
    COMMAND ${CMAKE_COMMAND} -E copy_if_different "$<TARGET_FILE:${target}>" "${HMC_PYTHON_TREE}/${folder}/${name}")
  add_dependencies(hmc_python hmc_python_library_${target})
endfunction()

# A tool finds the wheel's libraries in the folder beside its own.
function(hmc_python_tool program)
  if(HMC_BUILT_IN)
    set(file "${HMC_BUILT_IN}/tools/${program}")
    if(NOT EXISTS "${file}")
      message(FATAL_ERROR "There is no tools/${program} in ${HMC_BUILT_IN}. Build it first.")
    endif()
    file(COPY "${file}" DESTINATION "${HMC_PYTHON_TREE}/hmc/bin")
    install(PROGRAMS "${file}" DESTINATION hmc/bin COMPONENT python EXCLUDE_FROM_ALL)
    return()
  endif()
  install(TARGETS ${program} RUNTIME DESTINATION hmc/bin COMPONENT python EXCLUDE_FROM_ALL)
  add_custom_target(hmc_python_tool_${program}
    COMMAND ${CMAKE_COMMAND} -E make_directory "${HMC_PYTHON_TREE}/hmc/bin"
    COMMAND ${CMAKE_COMMAND} -E copy_if_different "$<TARGET_FILE:${program}>" "${HMC_PYTHON_TREE}/hmc/bin/${program}")
  add_dependencies(hmc_python hmc_python_tool_${program})
endfunction()

function(hmc_python_package name)
  file(GLOB_RECURSE files CONFIGURE_DEPENDS RELATIVE "${CMAKE_CURRENT_SOURCE_DIR}"
    "*.py" "*.pyi" "*.pxd" "*.h" "py.typed")
  foreach(file ${files})
    get_filename_component(folder "${file}" DIRECTORY)
    install(FILES "${file}" DESTINATION "${name}/${folder}" COMPONENT python EXCLUDE_FROM_ALL)
    set(copy "${HMC_PYTHON_TREE}/${name}/${file}")
    add_custom_command(OUTPUT "${copy}" DEPENDS "${file}"
      COMMAND ${CMAKE_COMMAND} -E make_directory "${HMC_PYTHON_TREE}/${name}/${folder}"
      COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${copy}")
    list(APPEND copies "${copy}")
  endforeach()
  add_custom_target(hmc_python_files_${name} DEPENDS ${copies})
  add_dependencies(hmc_python hmc_python_files_${name})
endfunction()

function(hmc_python_extension package module source)
  cmake_parse_arguments(PARSE_ARGV 3 extension "CXX" "" "LIBRARIES;SOURCES")
  set(suffix c)
  set(language)
  if(extension_CXX)
    set(suffix cpp)
    set(language --cplus)
  endif()
  set(target hmc_python_${package}_${module})
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/${module}.${suffix}")
  file(GLOB parts CONFIGURE_DEPENDS "*.pxi" "*.pxd" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../python/hmc/*.pxd")
  # Run in python/, so that `cimport hmc.capi` finds the other packages, and messages name files as they lie there.
  add_custom_command(OUTPUT "${generated}" DEPENDS "${source}" ${parts}
    WORKING_DIRECTORY "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../python"
    COMMAND ${HMC_CYTHON} -3 ${language} -X embedsignature=True -X binding=True --module-name "${package}.${module}"
      -I "${CMAKE_CURRENT_SOURCE_DIR}" -o "${generated}" "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
  Python_add_library(${target} MODULE WITH_SOABI "${generated}" ${extension_SOURCES})
  foreach(library hmc ${extension_LIBRARIES})
    hmc_python_find(${library})
  endforeach()
  target_link_libraries(${target} PRIVATE hmc ${extension_LIBRARIES})
  target_include_directories(${target} PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}"
    "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../python/hmc" "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include")
  # What Cython writes is not ours to keep free of warnings.
  target_compile_options(${target} PRIVATE -w)
  string(REGEX REPLACE "[^/]+" ".." up "${package}")
  set_target_properties(${target} PROPERTIES OUTPUT_NAME "${module}"
    LIBRARY_OUTPUT_DIRECTORY "${HMC_PYTHON_TREE}/${package}" BUILD_WITH_INSTALL_RPATH ON
    INSTALL_RPATH "$ORIGIN/${up}/hmc/lib")
  install(TARGETS ${target} LIBRARY DESTINATION "${package}" COMPONENT python EXCLUDE_FROM_ALL)
  add_dependencies(hmc_python ${target})
endfunction()
