"""A PE that is killed while the others wait for it, or are in a loop of their own: they end soon, with a text that names it,
by shared memory and by tcp.

usage: deaths.py HMCRUN PROGRAM NUMBER WAY...     so many PEs; what the others do, as deaths.c names it

Under hmcrun, which says how the PE ended, and without a launcher that would end the others. The first PE dies, which on one
host holds the memory of all, or one in the middle.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

SOON = 100  # seconds, start included: a machine with hundreds of processes took more than 25
DEADLINE = "600s"  # the engine's own, which must not be what ends them


def environment_of(home, transports):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("HMC_", "SHMEM_", "PMIX", "MASTER_"))}
    return dict(environment, HOME=home, TMPDIR=home, SHMEM_SYMMETRIC_SIZE="16M", HMC_TRANSPORTS=transports,
                HMC_SHMEM_ADDRESS="127.0.0.1", HMC_TIMEOUT=DEADLINE)


def wrong_texts(said, victim):
    """What PEs said of other PEs than the one that died."""
    return [line for line in said.splitlines() if line.startswith("shmem:") and f": PE {victim} (process " not in line]


def by_hmcrun(hmcrun, command, n, victim, status, environment):
    begin = time.monotonic()
    done = subprocess.run([hmcrun, "-n", str(n), *command], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=120, check=False)
    took = time.monotonic() - begin
    named = re.search(rf"^hmcrun: rank {victim} \(process \d+\) died by signal 9 ", done.stderr, re.MULTILINE)
    expected = status if status >= 0 else 128 + signal.SIGKILL
    texts_fit = bool(named) and not wrong_texts(done.stderr, victim) if status < 0 else not done.stderr
    if done.returncode == expected and texts_fit and took < SOON:
        return ""
    return f"ended with {done.returncode} after {took:.1f} s:\n{done.stderr}"


def without_launcher(command, n, victim, status, environment):
    """By torchrun's environment."""
    port = str(free_port())
    begin = time.monotonic()
    pes = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            universal_newlines=True,
                            env=dict(environment, RANK=str(pe), WORLD_SIZE=str(n), MASTER_ADDR="127.0.0.1",
                                     MASTER_PORT=port, SHMEM_MASTER_PORT=port)) for pe in range(n)]
    faults = []
    for number, pe in enumerate(pes):
        try:
            said = pe.communicate(timeout=max(SOON - (time.monotonic() - begin), 0.1))[1]
        except subprocess.TimeoutExpired:
            pe.kill()
            said = f"still there after {SOON} s\n{pe.communicate()[1]}"
        if number == victim:
            expected = (status, [])
        else:
            name = rf"shmem: PE {number}: PE {victim} \(process {pes[victim].pid} at 127\.0\.0\.1\) is gone"
            expected = (status, []) if status >= 0 else (1, [name])
        if pe.returncode != expected[0] or not all(re.search(text, said) for text in expected[1]) or (
                wrong_texts(said, victim)) or (not expected[1] and said):
            faults.append(f"PE {number} ended with {pe.returncode}, not {expected[0]}:\n{said}")
    return "\n".join(faults)


def main():
    hmcrun, program, number, *ways = sys.argv[1:]
    n, faults, runs = int(number), [], 0
    with tempfile.TemporaryDirectory(prefix="hmc-test-deaths-") as home:
        for way in ways:
            status = 5 if way.startswith("exit") else -signal.SIGKILL
            for transports in ("", "tcp"):
                for victim in (0, n // 2):
                    environment = environment_of(home, transports)
                    command = [program, way, str(victim)]
                    for name, fault in (
                            ("hmcrun", by_hmcrun(hmcrun, command, n, victim, status, environment)),
                            ("no launcher", without_launcher(command, n, victim, status, environment))):
                        runs += 1
                        if fault:
                            faults.append(f"{way}, {transports or 'shm'}, PE {victim} of {n}, {name}: {fault}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{runs} jobs ended when a PE died")


main()
