# Language levels, warnings and sanitizers, for everything in this tree and nothing outside it.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_STANDARD 14)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Installed programs find the library from where they lie, wherever the prefix was moved to.
file(RELATIVE_PATH bin_to_lib "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBDIR}")
set(CMAKE_INSTALL_RPATH "$ORIGIN/${bin_to_lib}")

# The language is plain C11; the C library may be used with all that glibc has. C++ compilers define this by themselves.
add_compile_definitions($<$<COMPILE_LANGUAGE:C>:_GNU_SOURCE>)

add_compile_options(-Wall -Wextra -Wshadow $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
  $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>)
if(HMC_WERROR)
  add_compile_options(-Werror)
endif()

if(HMC_SANITIZE STREQUAL "address")
  set(sanitize_flags -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(HMC_SANITIZE STREQUAL "thread")
  set(sanitize_flags -fsanitize=thread -fno-omit-frame-pointer)
  if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    list(APPEND sanitize_flags -Wno-tsan) # fences order what a peer sees, which the sanitizer does not look at
  endif()
elseif(HMC_SANITIZE)
  message(FATAL_ERROR "HMC_SANITIZE is \"${HMC_SANITIZE}\"; it takes address, thread or nothing.")
else()
  set(sanitize_flags)
endif()
add_compile_options(${sanitize_flags})
add_link_options(${sanitize_flags})
