"""Ctrl-C in a program that uses the package shmem: each call that waits for others ends, and the job with it.

usage: interrupts.py HMCRUN PYTHON

Each case is a job of two PEs. PE 1 does not take part in what PE 0 calls, and PE 0 gets the signal while it waits. The
environment names package and library.
"""

import os
import subprocess
import sys
import tempfile

PROGRAM = """
import ctypes, os, signal, sys, threading, time
import numpy, shmem

def interrupted(call):
    begun = threading.Event()
    def interrupt():
        begun.wait()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        begun.set() # the signal may come from here on, and not while the thread starts
        call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(77)
    sys.exit("the call came back")

def await_standing(process):
    def is_running(task):
        with open("/proc/%d/task/%s/stat" % (process, task)) as file:
            return file.read().rpartition(")")[2].split()[0] != "T"
    while any(map(is_running, os.listdir("/proc/%d/task" % process))):
        time.sleep(0.01)

def strided():
    shmem._library.lib.shmem_long_iget(ctypes.c_void_p(big.ctypes.data), ctypes.c_void_p(words.ctypes.data), 2, 2, 4, 1)
    shmem.barrier_all() # raises what has ended the call before

signal.signal(signal.SIGINT, signal.default_int_handler)
case, me = sys.argv[1], int(os.environ["HMC_JOB_RANK"])
if case == "init":
    time.sleep(600) if me else interrupted(shmem.init)
shmem.init()
words, lock = shmem.zeros(8, dtype="i8"), shmem.zeros(1, dtype="i8")
shmem.barrier_all()
if me:
    if case == "lock":
        shmem._library.lib.shmem_set_lock(lock.ctypes.data)
        shmem.quiet()
        shmem.put(words, numpy.ones(8, dtype="i8"), 0)
        shmem.quiet()
    if case in ("get", "iget"):
        shmem.put(words, numpy.full(8, os.getpid(), dtype="i8"), 0)
        shmem.quiet()
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(600)
if case in ("lock", "get", "iget"):
    while words[0] == 0: time.sleep(0.01)
if case in ("get", "iget"):
    await_standing(words[0])
big = numpy.zeros(8, dtype="i8")
interrupted({
    "barrier": shmem.barrier_all,
    "sync": shmem.sync_all,
    "finalize": shmem.finalize,
    "malloc": lambda: shmem.zeros(4),
    "reduce": lambda: shmem.sum_reduce(words, words),
    "wait": lambda: shmem._library.lib.shmem_signal_wait_until(words.ctypes.data, 0, 5),
    "lock": lambda: shmem._library.lib.shmem_set_lock(lock.ctypes.data),
    "get": lambda: shmem.get(big, words, 1),
    "iget": strided,
}[case])
"""

CASES = {"": ["init", "barrier", "sync", "finalize", "malloc", "reduce", "wait", "lock"],
         "tcp": ["barrier", "wait", "lock", "get", "iget"]}


def main():
    hmcrun, python = sys.argv[1:3]
    environment = {name: value for name, value in os.environ.items() if name == "HMC_SHMEM_LIBRARY" or
                   not name.startswith(("HMC_", "SHMEM_"))}
    faults = []
    with tempfile.TemporaryDirectory(prefix="hmc-test-interrupts-") as folder:
        environment.update(HOME=folder, TMPDIR=folder, SHMEM_SYMMETRIC_SIZE="16M", PYTHONDONTWRITEBYTECODE="1")
        for transports, cases in CASES.items():
            for case in cases:
                done = subprocess.run([hmcrun, "-n", "2", python, "-c", PROGRAM, case], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                                      env=dict(environment, HMC_TRANSPORTS=transports), timeout=240, check=False)
                if done.returncode != 77 or done.stdout != "interrupted\n":
                    faults.append(f"{case} {transports}: {done.returncode}\n{done.stdout}{done.stderr}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{sum(map(len, CASES.values()))} calls that waited ended by Ctrl-C, and the job with them")


main()
