"""Compiles the SHMEM examples by oshcc, as their users do, runs them and compares what they print.

usage: examples.py ROOT TOOLS small|seed

seed: matmul_allreduce by the very commands of the seed's README, which take minutes; small: smaller matrices.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

EXPECTED = {
    "hello": (4, "".join(f"Hello from PE {pe} of 4\n" for pe in range(4))),
    "ring": (3, "after 3 rounds over 3 PEs the token is 9\n"),
    "heat": (4, "after 20000 steps the rod is a straight line: yes\n"),
    "isort": (3, "300000 keys of 3 PEs are sorted: yes\n"),
}


def run(command, environment, folder):
    done = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=800, check=False)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def python_with_numpy():
    for python in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([python, "-c", "import numpy"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    sys.exit("the data of matmul_allreduce need numpy (Debian: python3-numpy)")


def compilers(tools):
    for name in ("oshcc", "oshc++"):
        done = subprocess.run([f"{tools}/{name}"], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 1 or f"{name}: name the files to compile" not in done.stderr:
            sys.exit(f"{name} without arguments: {done.returncode} {done.stderr!r}")


def single_files(root, tools, environment, out):
    for name, (n, expected) in EXPECTED.items():
        program = f"{out}/{name}"
        run([f"{tools}/oshcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", f"{root}/examples/shmem/{name}.c", "-o",
             program], environment, out)
        said = run([f"{tools}/oshrun", "-n", str(n), program], environment, out)
        if said != expected:
            sys.exit(f"{name} printed {said!r}, not {expected!r}")


def rdma_demo(root, environment):
    folder = root / "examples" / "rdma_demo"
    run(["bash", "build.sh"], environment, folder)
    for transports in ("", "tcp"):
        said = run(["bash", "run.sh", "-ranks", "2", "-size", "300000"], dict(environment, HMC_TRANSPORTS=transports),
                   folder)
        if said != "2 PEs, 300000 B to each: right\n":
            sys.exit(f"rdma_demo over {transports or 'all'} printed {said!r}")


def matmul(root, environment, python, m, k, n):
    folder = root / "examples" / "matmul_allreduce"
    run(["bash", "build.sh"], environment, folder)
    run([python, "utils/gen_data.py", "1", "2", str(m), str(k), str(n), "16", "0", "0"], environment, folder)
    said = run(["bash", "run.sh", "-ranks", "2", "-M", str(m), "-K", str(k), "-N", str(n)], environment, folder)
    if not said.startswith(f"{m} x {k} x {n} on 2 PEs"):
        sys.exit(f"matmul_allreduce printed {said!r}")
    out = environment["OUT"]
    verify = [python, "utils/verify_result.py", f"{out}/output.bin", f"{out}/golden.bin", "1", str(m), str(n), "16"]
    said = run(verify, environment, folder)
    if said != f"{m * n} numbers are right\n":
        sys.exit(f"verify_result.py printed {said!r}")
    with open(f"{out}/output.bin", "r+b") as output:  # one wrong number is found
        output.seek(100)
        output.write(b"\xff\x7b")
    if subprocess.run(verify, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        sys.exit("verify_result.py has not seen a wrong number")


def main():
    root, tools, size = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    with tempfile.TemporaryDirectory(prefix="hmc-test-examples-") as out:
        environment = dict({name: value for name, value in os.environ.items() if not name.startswith(("HMC_", "SHMEM_"))},
                           OUT=out, HOME=out, OSHCC=f"{tools}/oshcc", OSHRUN=f"{tools}/oshrun")
        if size == "small":
            single_files(root, tools, environment, out)
            rdma_demo(root, environment)
            matmul(root, environment, python_with_numpy(), 200, 96, 520)
        else:
            matmul(root, environment, python_with_numpy(), 1024, 2048, 8192)
    print("the examples print what they should")


main()
