"""Runs a program of SHMEM for Ascend in the three ways in which its PEs find each other.

usage: ascend.py HMCRUN PROGRAM
"""

import os
import socket
import subprocess
import sys
import tempfile


def environment_of(folder):
    names = ("HMC_JOB_DIR", "HMC_JOB_RANK", "HMC_JOB_SIZE", "HMC_SECRET", "MASTER_ADDR", "PMIX_RANK")
    return dict({name: value for name, value in os.environ.items() if name not in names}, HOME=folder)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_pes(program, n, environment, way, last):
    jobs = [subprocess.Popen([program, way, str(pe), str(n), last], env=environment, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, universal_newlines=True) for pe in range(n)]
    for pe, job in enumerate(jobs):
        said = job.communicate(timeout=60)[0]
        if job.returncode or said != "passed\n":
            sys.exit(f"{way}: PE {pe} of {n} ended with {job.returncode}:\n{said}")


def main():
    hmcrun, program = sys.argv[1:3]
    with tempfile.TemporaryDirectory(prefix="hmc-test-ascend-") as folder:
        environment = environment_of(folder)
        for n in (1, 2, 3):
            done = subprocess.run([hmcrun, "-n", str(n), program], env=environment, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False)
            if done.returncode or done.stdout != "passed\n" * n:
                sys.exit(f"launcher, {n} PEs: ended with {done.returncode}:\n{done.stdout}")
        run_pes(program, 2, environment, "uid", f"{folder}/uid")
        run_pes(program, 1, environment, "address", "")
        run_pes(program, 2, environment, "address", f"tcp://127.0.0.1:{free_port()}")
    print("passed by launcher, unique id and address")


main()
