"""hmcrun: numbers of ranks, labels, exit codes, signals, ranks that die, and what is left behind.

usage: launch.py HMCRUN OSHRUN PROGRAM
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

HMCRUN, OSHRUN, PROGRAM = sys.argv[1:4]
ENVIRONMENT = dict(os.environ, SHMEM_SYMMETRIC_SIZE="16M")
for name in ("HMC_JOB_DIR", "HMC_JOB_RANK", "HMC_SECRET"):
    ENVIRONMENT.pop(name, None)


def run(*words, launcher=HMCRUN, **more):
    environment = dict(ENVIRONMENT, **more)
    return subprocess.run([launcher, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=120, check=False)


def expect(condition, what, done=None):
    if not condition:
        sys.exit(f"{what}\n{done.stdout if done else ''}{done.stderr if done else ''}")


def numbers():
    for words, n in ((["-n", "1"], 1), (["-np", "3"], 3), (["-n4"], 4), (["--np=2"], 2)):
        done = run(*words, PROGRAM)
        lines = sorted(done.stdout.splitlines())
        expect(done.returncode == 0 and lines == sorted(f"PE {i} of {n}" for i in range(n)), f"{words}", done)
    done = run("-np", "2", PROGRAM, launcher=OSHRUN)
    expect(done.returncode == 0 and "PE 1 of 2" in done.stdout, "oshrun", done)
    done = subprocess.run([PROGRAM], env=ENVIRONMENT, stdout=subprocess.PIPE, universal_newlines=True, timeout=60,
                          check=False)
    expect(done.stdout == "PE 0 of 1\n", "without a launcher")
    for words in (["-n", "0", PROGRAM], ["-n", "x", PROGRAM], ["--what", PROGRAM], []):
        expect(run(*words).returncode == 2, f"{words} was taken")
    for words, text in ((["--npp", "2"], "unknown option '--npp'; did you mean '--np'?"), (["-Z", "2"], "unknown option '-Z'\n"),
                        (["-hostfile", "hosts"], "on several, srun or mpirun"), (["-H", "a,b"], "on several, srun or mpirun")):
        done = run(*words, PROGRAM)
        expect(done.returncode == 2 and text in done.stderr, f"{words}", done)
    done = run("-n", "3", "/no/such/program")
    expect(done.returncode == 127, "a program that is not there", done)
    expect((done.stderr or done.stdout).count("No such file") == 1, "it is said once", done)


def settings():
    """What does not fit is said with the variable's name."""
    by_hand = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT="30001", WORLD_SIZE="2")
    for variables, text in ((dict(RANK="5", **by_hand), "RANK=5 of WORLD_SIZE=2"), (dict(RANK="x", **by_hand), "RANK=x is not a number from 0"),
                            (dict(RANK="1", WORLD_SIZE="2"), "RANK=1 of WORLD_SIZE=2, but no MASTER_ADDR"),
                            (dict(RANK="1", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1"), "but no MASTER_PORT"),
                            (dict(HMC_SHMEM_GLOBALS="maybe"), "HMC_SHMEM_GLOBALS=maybe: takes 0"),
                            (dict(SHMEM_SYMMETRIC_SIZE="900T"), "(SHMEM_SYMMETRIC_SIZE; a device's")):
        done = subprocess.run([PROGRAM], env=dict(ENVIRONMENT, **variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              universal_newlines=True, timeout=60, check=False)
        expect(done.returncode == 1 and text in done.stderr, f"{variables}", done)
    for value, status, text in (("1y", 1, "HMC_TIMEOUT=1y: takes a time"), ("60S", 0, ""), ("60000000us", 0, "")):
        done = run("-n", "2", PROGRAM, HMC_TIMEOUT=value)
        expect(done.returncode == status and text in done.stderr, f"HMC_TIMEOUT={value}", done)
    for value, expected in (("1", True), ("yes", True), ("0", False), ("no", False), ("off", False)):
        done = run("-n", "1", PROGRAM, SHMEM_VERSION=value)
        expect(("OpenSHMEM" in done.stderr) == expected, f"SHMEM_VERSION={value}", done)


def output():
    done = run("-n", "3", "-l", PROGRAM)
    expect(sorted(done.stdout.splitlines()) == [f"[{i}] PE {i} of 3" for i in range(3)], "labels", done)
    done = run("-n", "2", "-l", "-x", "GREETING=hello", "sh", "-c", "echo $GREETING $HMC_JOB_RANK; printf partial >&2")
    expect(sorted(done.stdout.splitlines()) == ["[0] hello 0", "[1] hello 1"], "variables", done)
    expect(sorted(done.stderr.splitlines()) == ["[0] partial", "[1] partial"], "a line without its end", done)
    done = run("-n", "2", "--bind", "sh", "-c", "grep -c . /proc/self/status >/dev/null; taskset -p $$ || true")
    expect(done.returncode == 0, "binding", done)


def endings():
    for status in (0, 5):
        done = run("-n", "4", PROGRAM, "exit", str(status))
        expect(done.returncode == status, f"shmem_global_exit({status}) gave {done.returncode}", done)
    for way in ("status", "fault"):
        done = run("-n", "3", PROGRAM, way)
        expect(done.returncode == 7 and re.search(r"rank 2 \(process \d+\) ended with status 7", done.stderr), way, done)
    for transports in ("", "tcp"):
        done = run("-n", "3", PROGRAM, "return", HMC_TRANSPORTS=transports)
        expect(done.returncode == 0, f"ending without shmem_finalize, {transports}", done)
    done = run("-n", "3", PROGRAM, "die")
    expect(done.returncode == 128 + signal.SIGKILL and re.search(r"rank 2 \(process \d+\) died by signal 9", done.stderr),
           "death", done)


def reader_that_leaves():
    """As `hmcrun --label ... | head -1` does."""
    job = subprocess.Popen([HMCRUN, "-n", "2", "--label", "sh", "-c", "while echo line; do :; done"], env=ENVIRONMENT,
                           stdout=subprocess.PIPE)
    job.stdout.readline()
    job.stdout.close()
    expect(job.wait(timeout=60) == 128 + signal.SIGPIPE, f"it ended with {job.returncode}")
    done = run("-n", "1", "sh", "-c", "grep SigBlk /proc/self/status")
    expect("0000000000000000" in done.stdout, "ranks begin without blocked signals", done)


def signals():
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen([HMCRUN, "-n", "2", PROGRAM, "wait"], env=ENVIRONMENT, stdout=subprocess.PIPE,
                              universal_newlines=True) as job:
            for _ in range(2):
                job.stdout.readline()
            job.send_signal(number)
            expect(job.wait(timeout=60) == 128 + number, f"signal {number} gave {job.returncode}")
    with subprocess.Popen([HMCRUN, "-n", "2", "-v", PROGRAM, "wait"], env=ENVIRONMENT, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, universal_newlines=True) as job:
        for _ in range(2):
            job.stdout.readline()
        ranks = [int(re.search(r"is process (\d+)", job.stderr.readline()).group(1)) for _ in range(2)]
        job.kill()
        job.wait(timeout=60)
        job.stdout.read()  # ends when the last rank has
        for rank in ranks:
            state = pathlib.Path(f"/proc/{rank}/stat")
            deadline = time.monotonic() + 60
            while state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] not in "ZX":
                expect(time.monotonic() < deadline, f"rank {rank} has outlived hmcrun")
                time.sleep(0.05)


def by_address(program):
    """torchrun's environment, on a free port."""
    port = free_port()
    jobs = [subprocess.Popen([program], stdout=subprocess.PIPE, universal_newlines=True,
                             env=dict(ENVIRONMENT, RANK=str(i), WORLD_SIZE="3", MASTER_ADDR="127.0.0.1",
                                      MASTER_PORT=str(port), SHMEM_MASTER_PORT=str(port))) for i in range(3)]
    said = sorted(job.communicate(timeout=120)[0] for job in jobs)
    expect(said == [f"PE {i} of 3\n" for i in range(3)], f"torchrun's environment: {said}")


def main():
    with tempfile.TemporaryDirectory(prefix="hmc-test-launch-") as folder:
        ENVIRONMENT["TMPDIR"] = folder
        ENVIRONMENT["HOME"] = folder
        numbers()
        settings()
        output()
        endings()
        reader_that_leaves()
        by_address(PROGRAM)
        left = [path.name for path in pathlib.Path(folder).iterdir() if path.name.startswith("hmc-run-")]
        expect(not left, f"left behind: {left}")
        signals()
    print("hmcrun does what it says")


main()
