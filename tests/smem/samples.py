"""Runs the samples: the pool's with given and with automatic ranks, the symmetric object's in four processes.

usage: samples.py bm|shm PROGRAM
"""

import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

PATIENCE = 250


def free_url():
    return "tcp://127.0.0.1:%d" % free_port()


def run(commands, environment, said, times):
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for command in commands]
    try:
        texts = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    whole = "".join(texts)
    print(whole, end="")
    if any(process.returncode for process in processes) or whole.count(said) != times:
        sys.exit("the sample failed")


def main():
    part, program = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="hmc-test-smem-samples-") as home:
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("HMC_") or key == "HMC_ACL_LIBRARY"}
        environment["HOME"] = home
        if part == "bm":
            said = "all copies are right"
            run([[program, "2", "2", "0", free_url()]], environment, said, 2)
            run([[program, "2", "2", "0", free_url(), "1"]], environment, said, 2)
            url = free_url()  # one and one, as on two hosts
            run([[program, "2", "1", first, url] for first in "01"], environment, said, 2)
        else:
            url = free_url()
            run([[program, "4", rank, url] for rank in "0123"], environment, "the sums are right", 4)



main()
