"""Transfers that are aborted and whose pages are used again at once: does a byte arrive late?

    abort.py <backend> <read | write | revoke> [--rounds N] [--transport T] [--pages BYTES]

read: this end reads pages, aborts at a moment between starting and the end, and fills its pages with other bytes at once.
write: this end writes pages, aborts, and fills them with what is not for the target; none of that may arrive there.
revoke: the target takes its memory back (deregisters it) while it is written to, and fills it at once.

A second pair of agents moves bytes all the while. Prints one line: how many rounds were aborted in time, were over before,
or whose release was refused (the pages are left alone then until it is over), and how many pages had a foreign byte.
"""

import argparse
import mmap
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

import numpy

from ends import bindings, nixl_agent, nixl_agent_config, settle

SETS = 8            # page sets that take turns; one is looked at again before its next turn
PAGES = 4           # of a set
OLD, DATA, FOREIGN = 1, 2, 3


def make_agent(name, backend, transport):
    agent = nixl_agent(name, nixl_agent_config(backends=[]))
    agent.create_backend(backend, {"transport": transport} if transport and backend == "HMC" else {})
    return agent


def address(array):
    return array.ctypes.data


class Target:
    """The other end: a process of its own, whose memory is mapped here too."""

    def __init__(self, backend, transport, size):
        self.file = tempfile.NamedTemporaryFile(prefix="hmc-test-abort-")
        self.file.truncate(size)
        self.map = mmap.mmap(self.file.fileno(), size)
        self.memory = numpy.frombuffer(self.map, dtype=numpy.uint8)
        self.memory[:] = OLD
        self.process = subprocess.Popen([sys.executable, __file__, backend, "target", "--transport", transport or "",
                                         "--file", self.file.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        metadata, base = self.process.stdout.readline().split()
        self.metadata, self.base = bytes.fromhex(metadata), int(base)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.file.close()


def be_target(backend, transport, path):
    with open(path, "r+b") as file:
        memory = numpy.frombuffer(mmap.mmap(file.fileno(), 0), dtype=numpy.uint8)
        agent = make_agent("target", backend, transport)
        agent.register_memory([(address(memory), memory.size, 0, "")], "DRAM")
        print(agent.get_agent_metadata().hex(), address(memory), flush=True)
        for _ in sys.stdin:
            pass


class Load(threading.Thread):
    """A second pair of agents that moves bytes until it is stopped."""

    def __init__(self, backend, transport):
        super().__init__(daemon=True)
        self.agents = [make_agent(name, backend, transport) for name in ("load", "load's target")]
        self.memory = numpy.ones((2, 4 << 20), dtype=numpy.uint8)
        for agent, part in zip(self.agents, self.memory):
            agent.register_memory([(address(part), part.size, 0, "")], "DRAM")
        self.agents[0].add_remote_agent(self.agents[1].get_agent_metadata())
        self.stopped = False
        self.moved = 0

    def run(self):
        agent = self.agents[0]
        lists = [agent.get_xfer_descs([(address(part) + at, 1 << 16, 0) for at in range(0, part.size, 1 << 17)], "DRAM")
                 for part in self.memory]
        handle = agent.initialize_xfer("WRITE", *lists, "load's target", b"load")
        while not self.stopped:
            settle(agent, handle)
            self.agents[1].get_new_notifs()
            self.moved += 1
            time.sleep(0.0005)

    def stop(self):
        self.stopped = True
        self.join()
        assert self.moved > 0


class Count:
    def __init__(self):
        self.aborted = self.over = self.refused = self.foreign = 0

    def __str__(self):
        return "aborted %d, over before %d, refused %d, pages with a foreign byte %d" % (
            self.aborted, self.over, self.refused, self.foreign)


def release(agent, handle, count):
    """Aborts a transfer; where that is refused, waits for its end."""
    try:
        ended = agent.check_xfer_state(handle) != "PROC"
        agent.release_xfer_handle(handle)
        count.over += ended
        count.aborted += not ended
    except bindings.nixlRepostActiveError:
        count.refused += 1
        settle(agent, handle, "PROC")
        agent.release_xfer_handle(handle)


def wait_a_moment(chance, most):
    end = time.perf_counter() + chance.random() * most
    while time.perf_counter() < end:
        pass


def run(backend, what, rounds, transport, page):
    """Reads or writes, aborted."""
    count, chance = Count(), random.Random(1)
    size = SETS * PAGES * page
    mine = numpy.full((SETS, PAGES, page), OLD, dtype=numpy.uint8)
    target = Target(backend, transport, size)
    try:
        agent = make_agent("here", backend, transport)
        agent.register_memory([(address(mine), size, 0, "")], "DRAM")
        agent.add_remote_agent(target.metadata)
        theirs = target.memory.reshape(SETS, PAGES, page)
        theirs[:] = DATA if what == "read" else OLD
        sides = [agent.prep_xfer_dlist(name, [(base + i * page, page, 0) for i in range(SETS * PAGES)], "DRAM")
                 for name, base in (("", address(mine)), ("target", target.base))]
        took = time_of(agent, sides, what)
        marks = [None] * SETS
        for number in range(rounds):
            turn = number % SETS
            if what == "read":
                if marks[turn] is not None:
                    count.foreign += int((mine[turn] != marks[turn]).any(axis=1).sum())
            else:
                count.foreign += int((theirs[turn] == FOREIGN).any(axis=1).sum())
                mine[turn] = DATA
            places = [turn * PAGES + i for i in reversed(range(PAGES))]
            handle = agent.make_prepped_xfer(what.upper(), sides[0], places, sides[1], places)
            agent.transfer(handle)
            wait_a_moment(chance, took)
            release(agent, handle, count)
            marks[turn] = 4 + number % 200
            mine[turn] = marks[turn] if what == "read" else FOREIGN
        time.sleep(1)       # what is late has time to come
        for turn in range(SETS):
            late = mine[turn] != marks[turn] if what == "read" else theirs[turn] == FOREIGN
            count.foreign += int(late.any(axis=1).sum())
    finally:
        target.end()
    return count


def time_of(agent, sides, what):
    """How long a round takes when nobody aborts it, in seconds: the middle of some."""
    spans = []
    for _ in range(9):
        handle = agent.make_prepped_xfer(what.upper(), sides[0], range(PAGES), sides[1], range(PAGES))
        begin = time.perf_counter()
        settle(agent, handle)
        spans.append(time.perf_counter() - begin)
        agent.release_xfer_handle(handle)
    return sorted(spans)[4]


def revoke(backend, rounds, transport, page):
    """Writes into memory that the target takes back."""
    count, chance = Count(), random.Random(2)
    writer, owner = (make_agent(name, backend, transport) for name in ("writer", "owner"))
    data = numpy.full((PAGES, page), DATA, dtype=numpy.uint8)
    pages = numpy.full((SETS, PAGES, page), OLD, dtype=numpy.uint8)
    writer.register_memory([(address(data), data.size, 0, "")], "DRAM")
    local = writer.get_xfer_descs([(address(data) + i * page, page, 0) for i in range(PAGES)], "DRAM")
    marks = [None] * SETS
    for number in range(rounds):
        turn = number % SETS
        if marks[turn] is not None:
            count.foreign += int((pages[turn] != marks[turn]).any(axis=1).sum())
        lent = owner.register_memory([(address(pages[turn]), pages[turn].nbytes, 0, "")], "DRAM")
        try:
            writer.add_remote_agent(owner.get_agent_metadata())
        except bindings.nixlNotAllowedError:    # NIXL wants an agent removed before it takes other keys for its memory
            writer.remove_remote_agent("owner")
            writer.add_remote_agent(owner.get_agent_metadata())
        blocks = [(address(pages[turn]) + i * page, page, 0) for i in reversed(range(PAGES))]
        remote = writer.get_xfer_descs(blocks, "DRAM")
        handle = writer.initialize_xfer("WRITE", local, remote, "owner")
        writer.transfer(handle)
        wait_a_moment(chance, 0.0005)
        owner.deregister_memory(lent)
        marks[turn] = 4 + number % 200
        pages[turn] = marks[turn]
        try:
            settle(writer, handle, "PROC")
            count.over += 1
        except (bindings.nixlNotFoundError, bindings.nixlBackendError, bindings.nixlRemoteDisconnectError):
            count.aborted += 1
        writer.release_xfer_handle(handle)
    for turn in range(SETS):
        count.foreign += int((pages[turn] != marks[turn]).any(axis=1).sum())
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backend")
    parser.add_argument("what", choices=("read", "write", "revoke", "target"))
    parser.add_argument("--rounds", type=int, default=10000)
    parser.add_argument("--transport", default="")
    parser.add_argument("--pages", type=int, default=64 << 10)
    parser.add_argument("--file", type=pathlib.Path)
    asked = parser.parse_args()
    if asked.what == "target":
        be_target(asked.backend, asked.transport, asked.file)
        return
    load = Load(asked.backend, asked.transport)
    load.start()
    if asked.what == "revoke":
        count = revoke(asked.backend, asked.rounds, asked.transport, asked.pages)
    else:
        count = run(asked.backend, asked.what, asked.rounds, asked.transport, asked.pages)
    load.stop()
    print(count, flush=True)
    os._exit(1 if count.foreign else 0)     # the UCX backend of the wheel crashes now and then when it ends


if __name__ == "__main__":
    main()
