"""The CMake options of the seed documents, and where their build puts the programs they name. Configures only.

usage: options.py CMAKE ROOT
"""

import pathlib
import subprocess
import sys
import tempfile


def configure(cmake, root, folder, *options):
    done = subprocess.run([cmake, "-S", str(root), "-B", str(folder), "-G", "Unix Makefiles", "-DHMC_TESTS=OFF", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    return done.returncode, done.stdout


def check(condition, what, text=""):
    if not condition:
        sys.exit(f"{what}\n{text}")


def main():
    cmake, root = sys.argv[1], pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="hmc-test-compatibility-") as temporary:
        build = pathlib.Path(temporary) / "build"
        installs = build / "cmake_install.cmake"
        code, text = configure(cmake, root, build)
        check(code == 0, "plain `cmake ..`", text)
        check("libhmc.so" in installs.read_text() and "libhmc.a" not in installs.read_text(), "without BUILD_STATIC_LIB")
        for program in ("uhm_server", "uhm_client"):
            rules = build / "apps/uhm_app/CMakeFiles" / f"{program}.dir/build.make"
            check(rules.is_file() and f"\napps/uhm_app/{program}:" in rules.read_text(), f"build/apps/uhm_app/{program}")

        code, text = configure(cmake, root, build, "-DBUILD_STATIC_LIB=ON")
        check(code == 0 and "libhmc.a" in installs.read_text(), "-DBUILD_STATIC_LIB=ON", text)

        # It builds the module, or says what is missing: it is never passed over.
        code, text = configure(cmake, root, build, "-DBUILD_PYTHON_MOD=ON")
        if (root / "python/CMakeLists.txt").is_file():
            check(code == 0 and (build / "python").is_dir(), "-DBUILD_PYTHON_MOD=ON", text)
        else:
            check(code != 0 and "python/CMakeLists.txt" in text, "-DBUILD_PYTHON_MOD=ON", text)


main()
