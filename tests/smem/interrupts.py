"""Ctrl-C in a program that uses SMEM's packages: each call that waits for the store or for others ends, the process goes on,
and the same call works afterwards.

usage: interrupts.py STORE PYTHON

The environment names packages and library.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

PROGRAM = str(pathlib.Path(__file__).with_name("interrupts_program.py"))
CASES = ["bm.initialize", "shm.initialize", "TransferEngine", "shm.create", "barrier", "all_gather", "bm.create", "join",
         "leave"]


def main():
    store, python = sys.argv[1:3]
    environment = {name: value for name, value in os.environ.items() if name == "HMC_SMEM_LIBRARY" or
                   not name.startswith("HMC_")}
    faults = []
    with tempfile.TemporaryDirectory(prefix="hmc-test-interrupts-") as folder:
        environment.update(HOME=folder, PYTHONDONTWRITEBYTECODE="1")
        for case in CASES:
            url = f"tcp://127.0.0.1:{free_port()}"
            done = subprocess.run([python, PROGRAM, case, store, url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, universal_newlines=True, env=environment, timeout=100,
                                  check=False)
            print(done.stdout, end="")
            if done.returncode != 0:
                faults.append(f"{case}: {done.returncode}\n{done.stdout}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(CASES)} calls that waited ended by Ctrl-C, and worked afterwards")


main()
