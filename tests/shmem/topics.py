"""Compiles a program, or all of a folder, by oshcc, as users do, and runs each as jobs of several sizes and over tcp.

usage: topics.py FOLDER_OR_FILE TOOLS NUMBER...
"""

import os
import pathlib
import subprocess
import sys
import tempfile


def run(command, environment):
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, timeout=250, check=False)
    return f"{command} ended with {done.returncode}:\n{done.stdout}" if done.returncode else ""


def main():
    place, tools, numbers = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HMC_", "SHMEM_"))}
    environment["SHMEM_SYMMETRIC_SIZE"] = "64M"
    faults = []
    programs = sorted(place.glob("*.c")) if place.is_dir() else [place]
    with tempfile.TemporaryDirectory(prefix="hmc-test-topics-") as out:
        environment["HOME"] = out
        for source in programs:
            program = f"{out}/{source.stem}"
            fault = run([f"{tools}/oshcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-O2",
                         str(source), "-o", program], environment)
            if fault:
                faults.append(fault)
                continue
            for n in numbers:
                faults.append(run([f"{tools}/oshrun", "-n", n, program], environment))
            faults.append(run([f"{tools}/oshrun", "-n", "2", program], dict(environment, HMC_TRANSPORTS="tcp")))
    faults = [fault for fault in faults if fault]
    if faults or not programs:
        sys.exit("\n".join(faults) or f"there is no program in {place}")
    print(f"{len(programs)} programs do what they should, with {', '.join(numbers)} PEs")


main()
