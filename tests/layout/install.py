"""Installs the build into a temporary prefix, moves the prefix away, and builds and runs small programs against it: in
C and C++, found by pkg-config and find_package, with the shared library and, where it is installed, the static one.

usage: install.py --build FOLDER --cmake CMAKE --cc CC --cxx CXX --pkg-config PKG_CONFIG --version VERSION
                  [--flags=FLAGS]
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

PROGRAM = """#include <hmc.h>
#include <stdio.h>
int main(void) { return puts(hmc_version_text()) < 0; }
"""

PROJECT = """cmake_minimum_required(VERSION 3.18)
project(user LANGUAGES {language})
find_package(hmc {version} REQUIRED)
add_executable(shared main.{suffix})
target_link_libraries(shared PRIVATE hmc::hmc)
foreach(face smem shmem)
  add_executable(${{face}} main.{suffix})
  target_link_libraries(${{face}} PRIVATE hmc::${{face}})
endforeach()
if(TARGET hmc::hmc_static)
  add_executable(static main.{suffix})
  target_link_libraries(static PRIVATE hmc::hmc_static)
endif()
"""


def run(*command, **settings):
    """Runs a command and returns what it printed; ends the test with all it said where it fails."""
    command = [str(word) for word in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          check=False, **settings)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}failed with {done.returncode}")
    return done.stdout


def expect(arguments, program, environment):
    said = run(program, env=environment).strip()
    if said != arguments.version:
        sys.exit(f"{program} printed {said!r}, not {arguments.version!r}")


def by_pkg_config(arguments, folder, prefix, library_dir, environment):
    environment = dict(environment, PKG_CONFIG_PATH=str(library_dir / "pkgconfig"))
    version = run(arguments.pkg_config, "--modversion", "hmc", env=environment).strip()
    if version != arguments.version:
        sys.exit(f"hmc.pc has version {version}, not {arguments.version}")
    for compiler, suffix in ((arguments.cc, "c"), (arguments.cxx, "cpp")):
        source = folder / f"main.{suffix}"
        source.write_text(PROGRAM, encoding="utf-8")
        words = run(arguments.pkg_config, "--cflags", "--libs", "hmc", env=environment).split()
        folders = [pathlib.Path(os.path.normpath(word[2:])) for word in words if word.startswith("-I")]
        if prefix not in (path.parent for path in folders):
            sys.exit(f"pkg-config leads elsewhere than to the moved prefix {prefix}: {words}")
        run(compiler, *arguments.flags, source, "-o", folder / f"shared_{suffix}", *words, env=environment)
        expect(arguments, folder / f"shared_{suffix}", dict(environment, LD_LIBRARY_PATH=str(library_dir)))
        if (library_dir / "libhmc.a").is_file():
            words = run(arguments.pkg_config, "--static", "--cflags", "--libs", "hmc", env=environment).split()
            words = [str(library_dir / "libhmc.a") if word == "-lhmc" else word for word in words]
            run(compiler, *arguments.flags, source, "-o", folder / f"static_{suffix}", *words, env=environment)
            expect(arguments, folder / f"static_{suffix}", environment)


def by_find_package(arguments, folder, prefix, library_dir, environment):
    for language, suffix, compiler in (("C", "c", arguments.cc), ("CXX", "cpp", arguments.cxx)):
        home = folder / f"find_{suffix}"
        home.mkdir()
        (home / f"main.{suffix}").write_text(PROGRAM, encoding="utf-8")
        version = ".".join(arguments.version.split(".")[:2])
        (home / "CMakeLists.txt").write_text(PROJECT.format(language=language, suffix=suffix, version=version),
                                             encoding="utf-8")
        run(arguments.cmake, "-S", home, "-B", home / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
            f"-DCMAKE_{language}_COMPILER={compiler}", f"-DCMAKE_{language}_FLAGS={' '.join(arguments.flags)}",
            env=environment)
        run(arguments.cmake, "--build", home / "build", "-j", "2", env=environment)
        for name in ("shared", "smem", "shmem"):
            expect(arguments, home / "build" / name, environment)
        if (library_dir / "libhmc.a").is_file():
            expect(arguments, home / "build" / "static", environment)


def without_openssl(folder, prefix, arguments, environment):
    """Who uses the shared library needs none of its dependencies."""
    home = folder / "no_openssl"
    home.mkdir()
    (home / "main.c").write_text(PROGRAM, encoding="utf-8")
    (home / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.18)\nproject(user LANGUAGES C)\n"
                                         "find_package(hmc REQUIRED)\nadd_executable(shared main.c)\n"
                                         "target_link_libraries(shared PRIVATE hmc::hmc)\n", encoding="utf-8")
    run(arguments.cmake, "-S", home, "-B", home / "build", "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_OpenSSL=ON", f"-DCMAKE_C_COMPILER={arguments.cc}", env=environment)


def what_the_texts_name(prefix):
    """Documents and examples are where the texts of the library send people."""
    for name in ("docs/rdma.md", "docs/ucx.md", "docs/picture.svg", "examples/put_get.c", "README.md", "SECURITY.md"):
        if not list(prefix.glob(f"share/doc/hmc/{name}")):
            sys.exit(f"{name} is not installed")
    for name in ("hmc-demo", "hmc-doctor", "uhm_server", "uhm_client"):
        if not (prefix / "bin" / name).is_file():
            sys.exit(f"bin/{name} is not installed")


def run_tools(prefix, environment):
    """Every installed program starts from where it lies: it finds the library without help."""
    for program in sorted((prefix / "bin").glob("*")):
        run(program, "--help", env=environment)


def main():
    parser = argparse.ArgumentParser()
    for name in ("build", "cmake", "cc", "cxx", "pkg-config", "version"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--flags", default="")
    arguments = parser.parse_args()
    arguments.flags = [flag for flag in arguments.flags.replace(";", " ").split() if flag]

    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("HMC_", "PKG_CONFIG", "CMAKE_", "LD_LIBRARY_PATH", "DESTDIR"))
                   and name not in {"CFLAGS", "CXXFLAGS", "LDFLAGS", "CPATH", "LIBRARY_PATH"}}
    with tempfile.TemporaryDirectory(prefix="hmc-test-install-") as name:
        folder = pathlib.Path(name).resolve()
        environment["HOME"] = str(folder)
        run(arguments.cmake, "--install", arguments.build, "--prefix", folder / "first", env=environment)
        prefix = folder / "moved"
        (folder / "first").rename(prefix)
        what_the_texts_name(prefix)
        without_openssl(folder, prefix, arguments, environment)
        configuration = list(prefix.rglob("hmc.pc"))
        if len(configuration) != 1:
            sys.exit(f"hmc.pc was installed {len(configuration)} times")
        library_dir = configuration[0].parent.parent
        for text in [*library_dir.rglob("*.cmake"), configuration[0]]:
            for foreign in (arguments.build, str(folder / "first")):
                if foreign in text.read_text(encoding="utf-8"):
                    sys.exit(f"{text.name} names {foreign}: an installed tree must be movable")
        by_pkg_config(arguments, folder, prefix, library_dir, environment)
        by_find_package(arguments, folder, prefix, library_dir, environment)
        run_tools(prefix, environment)
    print("installed, moved, found by pkg-config and find_package, and run")


main()
