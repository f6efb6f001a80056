"""Compiles and runs the C programs of the documents, and checks that links between the documents lead somewhere.

usage: blocks.py ROOT C_COMPILER LIBRARY [FLAGS]

Every block marked ```c must compile as C11 without a warning; one that has a main() is run, and must end with 0.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

from report import finish

BLOCK = re.compile(r"^```c\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
WARNINGS = ["-std=c11", "-Wall", "-Wextra", "-Wshadow", "-pedantic", "-Werror"]


def try_block(code, root, compiler, library, flags):
    """Why a block is at fault, or None."""
    with tempfile.TemporaryDirectory(prefix="hmc-test-blocks-") as folder:
        source = pathlib.Path(folder) / "block.c"
        source.write_text(code, encoding="utf-8")
        # The faces have libraries of their own; tests/docs runs these programs.
        is_program = re.search(r"\bmain\s*\(", code) and not re.search(r"<(shmem|smem/)", code)
        command = [compiler, *WARNINGS, *flags, f"-I{root / 'include'}", str(source), "-o", f"{folder}/block"]
        command += [str(library), f"-Wl,-rpath,{library.parent}"] if is_program else ["-c"]
        compiled = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                                  check=False)
        if compiled.returncode != 0:
            return compiled.stdout
        if not is_program:
            return None
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HMC_")}
        environment["HOME"] = folder
        ran = subprocess.run([f"{folder}/block"], env=environment, cwd=folder, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=60, check=False)
        return None if ran.returncode == 0 else f"ended with {ran.returncode}:\n{ran.stdout}"


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    compiler, library = sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
    flags = [flag for flag in " ".join(sys.argv[4:]).replace(";", " ").split() if flag]
    faults = []
    count = 0
    for document in sorted([*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("*/README.md")]):
        text = document.read_text(encoding="utf-8")
        where = document.relative_to(root)
        for match in BLOCK.finditer(text):
            count += 1
            fault = try_block(match.group(1), root, compiler, library, flags)
            if fault:
                faults.append(f"{where}:{text.count(chr(10), 0, match.start()) + 1}: {fault}")
        for link in LINK.findall(text):
            if not re.match(r"[a-z]+:", link) and not (document.parent / link).exists():
                faults.append(f"{where}: the link to {link} leads nowhere")
    finish(faults, count, "blocks")


main()
