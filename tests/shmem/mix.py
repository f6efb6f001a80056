"""Jobs whose PEs are of two hosts: two network namespaces, joined by a pair of interfaces. PEs of one namespace share
memory, those of different ones reach each other by tcp. They meet as torchrun's processes do.

usage: mix.py PROGRAM...

The script starts itself again as root of a user namespace of its own, with the first network namespace in it.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time

PES = 4  # two of each namespace
LIMIT = 250


def ip(*words):
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                          check=False)
    if done.returncode:
        sys.exit(f"ip {' '.join(words)}: {done.stdout}")


def make_hosts():
    """A process that keeps the second namespace open."""
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    keeper.stdout.readline()
    other = ["nsenter", "-t", str(keeper.pid), "--net", "ip"]
    ip("link", "add", "hmc0", "type", "veth", "peer", "name", "hmc1", "netns", str(keeper.pid))
    for device, address in (("lo", None), ("hmc0", "10.77.0.1/24")):
        if address:
            ip("addr", "add", address, "dev", device)
        ip("link", "set", device, "up")
    for words in (["addr", "add", "10.77.0.2/24", "dev", "hmc1"], ["link", "set", "hmc1", "up"],
                  ["link", "set", "lo", "up"]):
        subprocess.run([*other, *words], check=True)
    return keeper


def start(rank, keeper, program, environment, output):
    enter = ["nsenter", "-t", str(keeper.pid), "--net"] if rank >= PES // 2 else []
    return subprocess.Popen([*enter, program], env=dict(environment, RANK=str(rank)), stdin=subprocess.DEVNULL,
                            stdout=output, stderr=subprocess.STDOUT)


def run(program, keeper, environment, port):
    """What is wrong, or nothing."""
    environment = dict(environment, SHMEM_MASTER_PORT=str(port), MASTER_PORT=str(port))
    with tempfile.TemporaryFile("w+") as output:
        jobs = [start(rank, keeper, program, environment, output) for rank in range(PES)]
        deadline = time.monotonic() + LIMIT
        while any(job.poll() is None for job in jobs) and time.monotonic() < deadline:
            if any(job.poll() for job in jobs):
                break  # the others would wait for it
            time.sleep(0.02)
        for job in jobs:
            if job.poll() is None:
                job.kill()
        statuses = [job.wait() for job in jobs]
        output.seek(0)
        return f"{program}: ended with {statuses}\n{output.read()}" if any(statuses) else ""


def main():
    if os.environ.get("HMC_MIX") != "inside":
        os.execvpe("unshare", ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv],
                   dict(os.environ, HMC_MIX="inside"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HMC_", "SHMEM_", "PMIX"))}
    keeper = make_hosts()
    try:
        with tempfile.TemporaryDirectory(prefix="hmc-test-mix-") as home:
            environment.update(HOME=home, WORLD_SIZE=str(PES), MASTER_ADDR="10.77.0.1", SHMEM_SYMMETRIC_SIZE="64M",
                               HMC_SECRET=secrets.token_hex(32))
            faults = [run(program, keeper, environment, 7700 + number) for number, program in enumerate(sys.argv[1:])]
    finally:
        keeper.stdin.close()
        keeper.wait()
    faults = [fault for fault in faults if fault]
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(sys.argv) - 1} programs ran on {PES} PEs of two hosts")


main()
