"""Each misuse ends the job under HMC_SHMEM_CHECK=1, with a text that names what is wrong; proper use passes.

usage: misuse.py HMCRUN PROGRAM
"""

import os
import subprocess
import sys

CASES = {
    "before": "before shmem_init",
    "after": "after shmem_finalize",
    "address": "is not symmetric",
    "atomic": "is not symmetric",
    "pe": "there is no PE 2: the job has 2",
    "negative": "there is no PE -1",
    "past": "run past the end of the symmetric heap",
    "room": "has no room for 1099511627776 B",
    "free": "is not the start of a block",
    "context": "SHMEM_CTX_INVALID",
    "team": "77 is not a team",
    "compare": "77 is not a comparison",
    "collective": "in different collectives",
    "addresses": "give different addresses",
    "long": "run past the end of the symmetric heap",
    "set": "does not fit the 2 PEs",
}


def run(hmcrun, program, case, variable):
    environment = dict(os.environ, SHMEM_SYMMETRIC_SIZE="64M", **{variable: "1"})
    return subprocess.run([hmcrun, "-n", "2", program, case], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=120, check=False)


def main():
    hmcrun, program = sys.argv[1:3]
    faults = []
    for number, (case, text) in enumerate(CASES.items()):
        done = run(hmcrun, program, case, ("HMC_SHMEM_CHECK", "SHMEM_DEBUG")[number % 2])
        if done.returncode == 0 or text not in done.stdout or "shmem: PE " not in done.stdout:
            faults.append(f"{case}: ended with {done.returncode}, not with {text!r}:\n{done.stdout}")
    for case in ("none", "nothing"):
        done = run(hmcrun, program, case, "HMC_SHMEM_CHECK")
        if done.returncode:
            faults.append(f"proper use ({case}) ended with {done.returncode}:\n{done.stdout}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(CASES)} misuses were named")


main()
