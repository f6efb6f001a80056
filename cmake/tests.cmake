# How tests are declared.
#
#   hmc_add_test(<name> [ALONE] [TIMEOUT <seconds>] [LABELS <label>...] COMMAND <target or program> [<argument>...])
#
# LABELS: `core` marks what `make test` runs under the sanitizers too. What only `make test-all` runs is `long`, or
# `matrix`: one more transport or memory for a suite that `make test` runs on others (under the
# address sanitizer too). What only `make test-packages` runs is `packaging`.
# ALONE: no other test runs meanwhile (for what measures time or needs all cores); the test gets the label `alone`.

find_package(PkgConfig REQUIRED)
pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)
if(NOT CMOCKA_FOUND)
  message(FATAL_ERROR "The tests need cmocka (Debian: libcmocka-dev). Install it, or configure with -DHMC_TESTS=OFF.")
endif()
find_package(Python3 3.8 REQUIRED COMPONENTS Interpreter)

# All that the tests with the label `core` need.
add_custom_target(hmc_core_tests)

function(hmc_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "ALONE" "TIMEOUT" "LABELS;COMMAND")
  if(NOT test_COMMAND)
    message(FATAL_ERROR "hmc_add_test(${name}): COMMAND is missing")
  endif()
  if(NOT test_TIMEOUT)
    set(test_TIMEOUT 300)
  endif()
  add_test(NAME ${name} COMMAND ${test_COMMAND})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${test_TIMEOUT})
  if(test_ALONE)
    list(APPEND test_LABELS alone)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
  endif()
  list(GET test_COMMAND 0 program)
  if("core" IN_LIST test_LABELS AND TARGET "${program}")
    add_dependencies(hmc_core_tests "${program}")
  endif()
  if(test_LABELS)
    set_tests_properties(${name} PROPERTIES LABELS "${test_LABELS}")
  endif()
endfunction()

# src/<folder>/X_test.c becomes the test unit.<folder>.X; it sees the hidden symbols of the library, and the
# headers of tests/harness as <name.h>.
function(hmc_add_unit_tests)
  set(src "${PROJECT_SOURCE_DIR}/src")
  add_custom_target(hmc_unit_tests)
  file(GLOB_RECURSE unit_sources RELATIVE "${src}" CONFIGURE_DEPENDS "${src}/*_test.c")
  foreach(source ${unit_sources})
    # A module's tests stand in for the library that it drives; where the module is left out, so are they.
    set(module "")
    if(source MATCHES "^transport/([a-z]+)/")
      set(module "hmc_${CMAKE_MATCH_1}_objects")
      string(TOUPPER "HMC_${CMAKE_MATCH_1}" switch)
      if(DEFINED ${switch} AND NOT TARGET ${module})
        continue()
      endif()
    endif()
    if(source MATCHES "^(smem|shmem)/")
      set(module "hmc_${CMAKE_MATCH_1}_objects")
    endif()
    string(REGEX REPLACE "_test\\.c$" "" name "unit/${source}")
    string(REPLACE "/" "." name "${name}")
    add_executable(${name} "${src}/${source}")
    target_compile_options(${name} PRIVATE -UNDEBUG)
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/tests/harness")
    if(TARGET "${module}")
      target_link_libraries(${name} PRIVATE ${module})
    endif()
    target_link_libraries(${name} PRIVATE hmc_static PkgConfig::CMOCKA OpenSSL::SSL OpenSSL::Crypto)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/unit")
    add_dependencies(hmc_unit_tests ${name})
    hmc_add_test(${name} LABELS unit core COMMAND ${name})
  endforeach()
endfunction()

#   hmc_add_python_test(<name> [ALONE] [TIMEOUT <seconds>] [LABELS <label>...] FILES <file or folder>...)
#
# Runs pytest on them in build/<preset>/python/venv, where the test python.environment has installed the wheel of this
# tree, with numpy. Under the address sanitizer the interpreter gets its run-time library first. The thread sanitizer
# would need an interpreter that was built with it: there are no Python tests there.
function(hmc_add_python_test name)
  cmake_parse_arguments(PARSE_ARGV 1 test "ALONE" "TIMEOUT" "LABELS;FILES")
  if(HMC_SANITIZE STREQUAL "thread")
    return()
  endif()
  set(extra)
  if(test_ALONE)
    list(APPEND extra ALONE)
  endif()
  if(test_TIMEOUT)
    list(APPEND extra TIMEOUT ${test_TIMEOUT})
  endif()
  set(files)
  foreach(file ${test_FILES})
    get_filename_component(file "${file}" ABSOLUTE)
    list(APPEND files "${file}")
  endforeach()
  hmc_add_test(${name} ${extra} LABELS python ${test_LABELS}
    COMMAND "${PROJECT_BINARY_DIR}/python/venv/bin/python" -m pytest -q -p no:cacheprovider ${files})
  # No name of these begins with HMC_: the library warns of a setting that it does not have.
  set(environment "PYTHONDONTWRITEBYTECODE=1" "TESTED_SOURCE=${PROJECT_SOURCE_DIR}" "TESTED_BUILD=${PROJECT_BINARY_DIR}")
  if(HMC_SANITIZE STREQUAL "address")
    execute_process(COMMAND ${CMAKE_C_COMPILER} -print-file-name=libasan.so OUTPUT_VARIABLE asan
      OUTPUT_STRIP_TRAILING_WHITESPACE)
    execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libstdc++.so OUTPUT_VARIABLE cxx
      OUTPUT_STRIP_TRAILING_WHITESPACE)
    # An interpreter keeps much until its end, and never frees it. Every call comes from it, so leaks are told apart by
    # the one function that allocated. Its own allocator hides pointers to what is in use.
    list(APPEND environment "LD_PRELOAD=${asan}:${cxx}" "TESTED_SANITIZED=1" "PYTHONMALLOC=malloc"
      "ASAN_OPTIONS=detect_leaks=1:malloc_context_size=2:intercept_tls_get_addr=0"
      "LSAN_OPTIONS=print_suppressions=0:suppressions=${PROJECT_SOURCE_DIR}/tests/python/leaks.txt")
  endif()
  set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED python_environment ENVIRONMENT "${environment}")
endfunction()
