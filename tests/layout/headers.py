"""Checks that each public header compiles alone, without a warning, as C11 and C++14, the oldest that we support, and
that those which hold all the others (and the C++ ones) do so as C++17 and C++20 too.

usage: headers.py INCLUDE_FOLDER C_COMPILER CXX_COMPILER
"""

import concurrent.futures
import pathlib
import subprocess
import sys

from report import finish

WARNINGS = ["-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror", "-fsyntax-only"]


def compile_alone(compiler, language, standard, include, header):
    # Twice, so that a missing guard shows; then a declaration, because ISO C wants one in each translation unit.
    program = f"#include <{header}>\n#include <{header}>\ntypedef int alone_t;\n"
    run = subprocess.run([compiler, "-x", language, f"-std={standard}", *WARNINGS, f"-I{include}", "-"], input=program,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    return None if run.returncode == 0 else f"{header} as {standard}:\n{run.stdout}"


def main():
    include = pathlib.Path(sys.argv[1]).resolve()
    c_compiler, cxx_compiler = sys.argv[2:4]
    jobs = []
    for path in sorted(include.rglob("*")):
        header = str(path.relative_to(include))
        if path.suffix == ".h":
            jobs.append((c_compiler, "c", "c11", include, header))
        if path.suffix in {".h", ".hpp"}:
            jobs.append((cxx_compiler, "c++", "c++14", include, header))
        if path.suffix == ".hpp" or (path.suffix == ".h" and path.parent == include):
            jobs.append((cxx_compiler, "c++", "c++17", include, header))
            jobs.append((cxx_compiler, "c++", "c++20", include, header))
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        faults = [fault for fault in pool.map(lambda job: compile_alone(*job), jobs) if fault]
    finish(faults, len(jobs), "compilations")


main()
