"""Eight ranks of a pool on one host, by memory and by tcp alone, and four and four on two hosts, which are network
namespaces joined by a pair of interfaces.

usage: eight.py PROGRAM

The script starts itself again as root of a user namespace of its own, with the first network namespace in it.
"""

import os
import subprocess
import sys
import tempfile
import time

RANKS, LIMIT = 8, 250
ADDRESS = "10.78.0.1"


def ip(*words, inside=()):
    done = subprocess.run([*inside, "ip", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit("ip %s: %s" % (" ".join(words), done.stdout))


def make_second_host():
    """A process that keeps the second namespace open, until its input ends."""
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    keeper.stdout.readline()
    inside = ["nsenter", "-t", str(keeper.pid), "--net"]
    ip("link", "add", "hmc0", "type", "veth", "peer", "name", "hmc1", "netns", str(keeper.pid))
    ip("addr", "add", ADDRESS + "/24", "dev", "hmc0")
    ip("addr", "add", "10.78.0.2/24", "dev", "hmc1", inside=inside)
    for words, where in ((["lo"], ()), (["hmc0"], ()), (["lo"], inside), (["hmc1"], inside)):
        ip("link", "set", *words, "up", inside=where)
    return keeper, inside


def run(name, program, url, way, environment, hosts):
    """hosts: a list of (first rank, ranks, command that enters it)."""
    with tempfile.TemporaryFile("w+") as output:
        jobs = [subprocess.Popen([*enter, program, url, str(RANKS), str(rank), way, str(first), str(count)],
                                 env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
                for first, count, enter in hosts for rank in range(first, first + count)]
        deadline = time.monotonic() + LIMIT
        while any(job.poll() is None for job in jobs) and not any(job.poll() for job in jobs):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        for job in jobs:
            job.kill()
            job.wait()
        output.seek(0)
        text = output.read()
    if any(job.returncode for job in jobs) or text.count("is done") != RANKS:
        sys.exit("%s: %s\n%s" % (name, [job.returncode for job in jobs], text))
    print(name + ": done", flush=True)


def main():
    program = sys.argv[1]
    if "HMC_TEST_INSIDE" not in os.environ:
        os.environ["HMC_TEST_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(prefix="hmc-test-smem-eight-") as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HMC_")}
        environment.update(HOME=home, HMC_SECRET=home)
        keeper, inside = make_second_host()
        try:
            one, two = [(0, RANKS, [])], [(0, RANKS // 2, []), (RANKS // 2, RANKS // 2, inside)]
            run("one host", program, "tcp://127.0.0.1:4100", "auto", environment, one)
            run("one host, by tcp", program, "tcp://127.0.0.1:4101", "tcp", environment, one)
            run("two hosts", program, "tcp://%s:4102" % ADDRESS, "auto", environment, two)
            environment["HCOM_URL"] = "tcp://0.0.0.0/0:10005"  # as samples have it: any address of the host
            run("two hosts, by tcp", program, "tcp://%s:4103" % ADDRESS, "tcp", environment, two)
        finally:
            keeper.stdin.close()
            keeper.wait()


main()
