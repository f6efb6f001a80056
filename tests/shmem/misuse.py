"""Each misuse ends the job under HMC_SHMEM_CHECK=1, with a text that names what is wrong; proper use passes.

usage: misuse.py HMCRUN PROGRAM
"""

import os
import subprocess
import sys

CASES = {
    "before": "shmem_barrier_all: called before shmem_init",
    "before sync": "shmem_sync_all: called before shmem_init",
    "early": "shmem_malloc: called before shmem_init",
    "after": "after shmem_finalize",
    "address": "is not symmetric",
    "atomic": "shmem_long_atomic_add: ",
    "xor": "shmem_uint_atomic_fetch_xor: there is no PE 2",
    "wait": "shmem_long_wait_until: ",
    "pe": "there is no PE 2: the job has 2",
    "negative": "there is no PE -1",
    "past": "run past the end of the symmetric heap",
    "room": "no room for 1099511627776 B",
    "calloc": "shmem_calloc: the heap has no room for 1099511627776 B",
    "realloc": "shmem_realloc: the heap has no room",
    "free": "is not the start of a block",
    "context": "SHMEM_CTX_INVALID",
    "team": "77 is not a team",
    "compare": "77 is not a comparison",
    "collective": "PE 0 is in shmem_long_sum_reduce",
    "barrier": "PE 0 is in shmem_barrier_all",
    "split": "PE 0 is in shmem_team_split_strided",
    "addresses": "PE 0 gives another address as dest",
    "sizes": "64 B here, but 128 B at PE 0",
    "root": "there is no member 2 to be the root",
    "old root": "shmem_broadcast64: there is no member -1 to be the root",
    "roots": "the root or start is 1 here, but 0 at PE 0",
    "long": "run past the end of the symmetric heap",
    "device none": "there is no device sim:77 here",
    "device sizes": "give all PEs the same SHMEM_DEVICE_SIZE",
    "device room": "shmemx_space_malloc: the device heap has no room for 5242880 B: it has 4194304 B in all",
    "no device": "shmemx_space_calloc: there is no device heap: set SHMEM_DEVICE_SIZE",
    "space": "2 is not a space",
    "device past": "run past the end of the symmetric device heap",
    "device lock": "shmem_set_lock: ",
    "device sync": "shmem_barrier: ",
    "device free": "is not the start of a block",
    "device addresses": "PE 0 gives another address as dest",
    "place": "shmem_team_split_strided: there is no place for the new team",
    "view": "shmem_device_open: there is no place for the view",
    "set": "does not fit the 2 PEs",
}

# These are found without any variable.
ALWAYS = ("before", "before sync", "address", "pe", "negative", "xor")

# These depend on how PEs reach each other, so they run over tcp too.
BETWEEN_PES = ("collective", "barrier", "split", "addresses", "sizes", "roots")


def run(hmcrun, program, case, **more):
    environment = dict(os.environ, SHMEM_SYMMETRIC_SIZE="64M", **more)
    return subprocess.run([hmcrun, "-n", "2", program, case], env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=120, check=False)


def fault_of(case, text, done):
    if done.returncode != 0 and text in done.stdout and "shmem: PE " in done.stdout:
        return []
    return [f"{case}: ended with {done.returncode}, not with {text!r}:\n{done.stdout}"]


def main():
    hmcrun, program = sys.argv[1:3]
    faults = []
    for number, (case, text) in enumerate(CASES.items()):
        done = run(hmcrun, program, case, **{("HMC_SHMEM_CHECK", "SHMEM_DEBUG")[number % 2]: "1"})
        faults += fault_of(case, text, done)
    for case in ALWAYS:
        for transports in ("shm,tcp", "tcp"):
            faults += fault_of(f"{case} over {transports}, unchecked", CASES[case],
                               run(hmcrun, program, case, HMC_TRANSPORTS=transports))
    for case in BETWEEN_PES:
        faults += fault_of(case + " over tcp", CASES[case],
                           run(hmcrun, program, case, HMC_SHMEM_CHECK="1", HMC_TRANSPORTS="tcp"))
    for case in ("none", "nothing"):
        for transports in ("shm,tcp", "tcp"):
            done = run(hmcrun, program, case, HMC_SHMEM_CHECK="1", HMC_TRANSPORTS=transports)
            if done.returncode:
                faults.append(f"proper use ({case}, {transports}) ended with {done.returncode}:\n{done.stdout}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(CASES)} misuses were named")


main()
