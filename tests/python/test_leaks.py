"""1,000 sessions with everything that goes wrong in them: objects, descriptors, threads and memory are back where they were."""

import asyncio
import gc
import os
import subprocess
import sys
import time

import numpy as np
import pytest

import hmc

SANITIZED = "TESTED_SANITIZED" in os.environ
SESSIONS = 100 if SANITIZED else 1000
PAGES = 1 << 17 if SANITIZED else 1 << 14   # the address sanitizer keeps 256 MiB of freed memory aside, and looks for leaks
PATIENCE = 60

VICTIM = """
import sys, hmc
ctx = hmc.Context("victim")
region = ctx.allocate(1 << 20, name="far")
print(ctx.listen("127.0.0.1:0"), flush=True)
sys.stdin.read()
"""


class Fault(Exception):
    pass


def fail(request):
    raise Fault("in a callback")


async def awaits(remote, context):
    """Awaits that are cancelled, that end, and that fail; notifications that nobody takes any more."""
    target = bytearray(1 << 20)
    task = asyncio.ensure_future(wait_for(remote.get_into_nb(target)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])      # it is cancelled, or was over already
    await remote.put_nb(b"x" * 5000)
    with pytest.raises(hmc.OutOfRangeError):
        await remote.put_nb(b"x", 1 << 30)
    stream = context.notifications()
    waiting = asyncio.ensure_future(stream.__anext__())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await stream.aclose()


async def wait_for(request):
    await request


def session(number, via):
    with hmc.Context("a", timeout=PATIENCE) as a, hmc.Context("b", timeout=PATIENCE) as b:
        region = b.allocate(1 << 20, name="far")
        lent = b.register(np.zeros(4096, np.uint8), name="lent")
        peer = a.connect(str(b.listen("127.0.0.1:0")), via=via)
        remote = peer.open("far")
        remote.put_nb(np.ones(500000, np.uint8), notify=b"note").add_done_callback(fail)
        b.notification(timeout=PATIENCE)
        a.flush()
        asyncio.run(awaits(remote, a))
        batch = a.batch([a.allocate(4096)], [remote, peer.open("lent")], [(0, 0, 0, 0, 64), (0, 1, 64, 0, 64)])
        batch.start_nb()
        request = remote.put_nb(np.ones(1 << 20, np.uint8))
        (lent if number % 2 else region).close()        # under what is in flight
        request.cancel()


def killed_peer(via):
    """A peer that is killed under transfers that go to it."""
    with subprocess.Popen([sys.executable, "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            with hmc.Context("a", timeout=PATIENCE) as a:
                remote = a.connect(other.stdout.readline().strip(), via=via).open("far")
                requests = [remote.put_nb(np.ones(1 << 20, np.uint8)) for _ in range(8)]
                other.kill()
                for request in requests:
                    error = request.exception()
                    assert error is None or isinstance(error, hmc.PeerLostError), error
        finally:
            other.kill()


def counted():
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return len(gc.get_objects()), len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), pages


def settled(wanted):
    """What is counted, once descriptors and threads are not above `wanted`, or after a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = counted()
        if found[1] <= wanted[1] and found[2] <= wanted[2] or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


@pytest.mark.parametrize("via", ["shm", "tcp"])
def test_a_thousand_sessions(via, caplog):
    caplog.set_level("CRITICAL", logger="hmc")
    for number in range(10):
        session(number, via)
    killed_peer(via)
    before = counted()
    for number in range(SESSIONS // 2):
        session(number, via)
        if number % 25 == 0:
            killed_peer(via)
    after = settled(before)
    assert after[0] < before[0] + 100 and after[1] <= before[1] and after[2] <= before[2], (before, after)
    assert after[3] < before[3] + PAGES, "%d pages more" % (after[3] - before[3])
