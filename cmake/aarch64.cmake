# A toolchain file: builds by Debian's cross compiler (gcc-aarch64-linux-gnu), and runs what was built in the user mode
# of qemu. The libraries lie in build/aarch64/root, where scripts/cross unpacks packages of arm64.

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(cross_triple aarch64-linux-gnu)
set(CMAKE_C_COMPILER ${cross_triple}-gcc)
set(CMAKE_CXX_COMPILER ${cross_triple}-g++)

get_filename_component(cross_root "${CMAKE_CURRENT_LIST_DIR}/../build/aarch64/root" ABSOLUTE)
set(CMAKE_FIND_ROOT_PATH "${cross_root}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} "${cross_root}/usr/lib/${cross_triple}/pkgconfig:${cross_root}/usr/share/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${cross_root}")
set(ENV{PKG_CONFIG_PATH} "")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-Wl,-rpath-link,${cross_root}/usr/lib/${cross_triple}")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${cross_root}/usr/lib/${cross_triple}")

# The C library is the compiler's own.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/${cross_triple}
  -E "LD_LIBRARY_PATH=${cross_root}/usr/lib/${cross_triple}")
