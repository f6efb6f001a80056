"""PEs that were started wrongly do not meet: each ends in time, with a text that names address, cause and remedy.

usage: meeting.py PROGRAM
"""

import concurrent.futures
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

TIMEOUT = 14  # seconds that the PEs are given, in which one that comes has to start on a busy machine
SLACK = 12   # for a process that starts and ends on a busy machine
ONE = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"


def has_socket(port, state, end):
    """Is there a TCP socket in that state whose local (1) or remote (2) end is that port? Looks, rather than dials."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in list(file)[1:]]
    return any(row[3] == state and int(row[end].rpartition(":")[2], 16) == port for row in rows)


class Job:
    """Starts PEs of one address, and says how they ended."""

    def __init__(self, program, environment, address=None):
        self.program, self.environment, self.pes = program, environment, []
        self.address = address or f"tcp://127.0.0.1:{free_port()}"

    def start(self, pe, n, timeout=TIMEOUT, **variables):
        arguments = [str(pe), str(n), self.address, str(timeout)]
        self.pes.append((time.monotonic(), subprocess.Popen(
            [self.program, *arguments], env=dict(self.environment, **variables), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, universal_newlines=True)))
        if pe == 0:  # its time begins before that of those who come
            self.wait("0A", 1)
        return self

    def wait(self, state, end):
        """Until there is such a socket of the address, or the PE that was started last has ended."""
        port = self.address.rpartition(":")[2]
        while self.pes[-1][1].poll() is None and not (port.isdigit() and has_socket(int(port), state, end)):
            time.sleep(0.01)

    def ended(self, what, *texts, status=3):
        """Each PE has ended in time with that status, and has said all of its words."""
        for (begin, pe), words in zip(self.pes, texts):
            said = pe.communicate(timeout=60)[0]
            took = time.monotonic() - begin
            missing = [word for word in words if word not in said]
            if pe.returncode != status or missing or took > TIMEOUT + SLACK:
                sys.exit(f"{what}: ended with {pe.returncode} after {took:.1f} s, without {missing}:\n{said}")
        self.pes = []


def listener():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(8)
    return made, f"127.0.0.1:{made.getsockname()[1]}"


def addresses(job_of):
    """The address is wrong, or somebody else's."""
    other, place = listener()
    with other:
        job_of(f"tcp://{place}").start(0, 2).ended(
            "port in use", [f"PE 0 of 2 does not meet the others at tcp://{place}", f"{place} is in use", "another port"])
        job_of(f"tcp://{place}").start(1, 2).ended(
            "a listener that says nothing", [f"{place} did not finish the handshake", "Check that PE 0 runs there"])
    job = job_of()
    place = job.address[len("tcp://"):]
    job.start(1, 2).ended("nobody there", [f"PE 1 of 2 does not meet the others at {job.address}",
                                           f"nobody listens at {place}", "was given the same address"])
    job_of("tcp://192.0.2.1:4100").start(0, 2).ended(
        "an address of another host", ["192.0.2.1:4100 is not an address of this host", "PE 0 has to run on the host"])
    job_of("tcp://192.0.2.1:4100").start(1, 2).ended("unreachable", ["192.0.2.1:4100", "Check that PE 0 runs there"])
    for address in ("127.0.0.1", "tcp://127.0.0.1:99999", "tcp://127.0.0.1:0"):
        job_of(address).start(0, 2).ended("no address", [f"at {address}: that is not an address", "tcp://IP:PORT"])


def numbers(job_of):
    """A PE is missing, or there twice, or was started for another job."""
    absent = [f"PE 2 of 3 did not come within {TIMEOUT} s", "a number of its own and the same secret"]
    job_of().start(0, 3).start(1, 3).ended("one never comes", absent, ["PE 0 says: ", *absent])
    job_of().start(0, 6).start(2, 6).ended("several never come", ["PEs 1, 3, 4, 5 of 6 did not come"], ["PE 0 says: "])
    job = job_of().start(0, 3).start(1, 3)
    job.wait("01", 2)
    time.sleep(1)  # the second one comes later
    job.start(1, 3).ended("twice", ["two processes say that they are PE 1", "PE 2 of 3 did not come"],
                          ["another process says that it is PE 1 too"], ["two processes say that they are PE 1"])
    job = job_of().start(0, 2)
    first = job.pes
    job.pes = []
    job.start(0, 2).ended("PE 0 twice", ["is in use", "one process alone is PE 0"])
    job.pes = first
    job.ended("the first PE 0", [f"PE 1 of 2 did not come within {TIMEOUT} s"])
    sizes = "PE 1 was started for 2 PEs and PE 0 for 3. Give all the same number"
    job_of().start(0, 3).start(1, 2).ended("sizes", [sizes], [sizes])


def secrets(job_of):
    job_of().start(0, 2, HMC_SECRET=ONE).start(1, 2, HMC_SECRET=OTHER).ended(
        "two secrets", ["PE 1 of 2 did not come", "HMC_SECRET"], ["Give all PEs the same HMC_SECRET"])
    job_of().start(0, 2, HMC_SECRET="short").ended("no secret", ["HMC_SECRET", "openssl rand"])


def ids(program, environment):
    """A unique id cannot be made."""
    other, place = listener()
    with other:
        done = subprocess.run([program, "id"], env=dict(environment, SHMEM_UID_SESSION_ID=place), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False)
    if done.returncode != 3 or f"no job can be met at tcp://{place}: {place} is in use" not in done.stdout:
        sys.exit(f"an id at a port in use: {done.returncode}\n{done.stdout}")
    done = subprocess.run([program, "id"], env=dict(environment, SHMEM_UID_SOCK_IFNAME="none7"), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=60, check=False)
    if done.returncode != 3 or "SHMEM_UID_SOCK_IFNAME=none7: there is no such interface" not in done.stdout:
        sys.exit(f"an id at no interface: {done.returncode}\n{done.stdout}")


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="hmc-test-meeting-") as folder:
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("HMC_", "SHMEM_", "MASTER_", "PMIX_"))}
        environment["HOME"] = folder

        def job_of(address=None):
            return Job(program, environment, address)

        def limits():
            for timeout, variables in ((TIMEOUT, {}), (120, {"HMC_TIMEOUT": f"{TIMEOUT}s"})):
                job_of().start(1, 2, timeout, **variables).ended(f"in time, with {variables}", ["nobody listens"])

        def right_ones():
            for n in (2, 3, 7):
                job = job_of()
                for pe in range(n):
                    job.start(pe, n, 60)
                job.ended(f"{n} that are right", *[[]] * n, status=0)

        with concurrent.futures.ThreadPoolExecutor() as pool:  # most of them wait for their time to be over
            parts = [pool.submit(addresses, job_of), pool.submit(numbers, job_of), pool.submit(secrets, job_of),
                     pool.submit(ids, program, environment), pool.submit(limits), pool.submit(right_ones)]
        for part in parts:
            part.result()
    print("those that were started wrongly said so")


main()
