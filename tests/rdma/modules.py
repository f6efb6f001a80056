"""Checks what a program learns about a transport module that is missing or unfit, and that it works without.

usage: modules.py HMC_INFO ODD_MODULES_FOLDER
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def rdma_line(info, folder):
    """What hmc-info says about RDMA with modules from that folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HMC_")}
    environment["HMC_MODULE_PATH"] = str(folder)
    with tempfile.TemporaryDirectory(prefix="hmc-test-") as home:
        environment["HOME"] = home
        said = subprocess.run([info], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, check=False)
    if said.returncode != 0:
        sys.exit(f"{info} failed with {said.returncode}: {said.stdout}{said.stderr}")
    said_whole = re.sub(r"\n {9,}", " ", said.stdout)  # what was too long for one line
    lines = [line.split(None, 1)[1] for line in said_whole.splitlines() if line.split()[:1] == ["rdma"]]
    if len(lines) != 1 or not any(line.split()[:2] == ["tcp", "yes:"] for line in said.stdout.splitlines()):
        sys.exit(f"no line about rdma, or no tcp:\n{said.stdout}")
    return lines[0]


def main():
    info, odd = sys.argv[1], pathlib.Path(sys.argv[2])
    cases = {
        None: "no RDMA: ",
        "libodd_empty.so": "is not a module of HMC",
        "libodd_build.so": "another build of HMC",
        "libodd_needs.so": "libibverbs.so.77 is missing: apt-get install libibverbs1",
    }
    for module, wanted in cases.items():
        with tempfile.TemporaryDirectory(prefix="hmc-test-") as folder:
            if module:
                shutil.copy(odd / module, pathlib.Path(folder) / "libhmc-verbs.so")
            line = rdma_line(info, folder)
        if not line.startswith("no") or wanted not in line:
            sys.exit(f"{module}: {line!r} does not say {wanted!r}")
    print(f"checked {len(cases)} modules")


main()
