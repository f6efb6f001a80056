"""hmc.compat.mooncake: memory that is unregistered while it is read into or written to, and used again at once, 10,000 times
beside other traffic: no foreign byte. (Mooncake has no call that aborts a transfer; to take its memory back is one.)"""

import random
import threading
import time

import numpy
import pytest

from hmc.compat.mooncake import TransferEngine

SETS, PAGES, PAGE = 8, 4, 64 << 10
DATA = 2


def engine(protocol):
    made = TransferEngine()
    assert made.initialize("127.0.0.1", "P2PHANDSHAKE", protocol, "") == 0
    return made, "127.0.0.1:%d" % made.get_rpc_port()


class Load(threading.Thread):
    """Another pair of engines that moves bytes all the while."""

    def __init__(self, protocol):
        super().__init__(daemon=True)
        (self.here, _), (self.there, self.name_there) = engine(protocol), engine(protocol)
        self.memory = numpy.ones((2, 1 << 20), dtype=numpy.uint8)
        for each, part in zip((self.here, self.there), self.memory):
            assert each.register_memory(part.ctypes.data, part.size) == 0
        self.stopped, self.moved = False, 0

    def run(self):
        while not self.stopped:
            self.moved += 1 + self.here.transfer_sync_write(self.name_there, self.memory[0].ctypes.data,
                                                            self.memory[1].ctypes.data, 1 << 20)
            time.sleep(0.001)


def wait_a_moment(chance):
    end = time.perf_counter() + chance.random() * 0.0005
    while time.perf_counter() < end:
        pass


@pytest.mark.parametrize("what", ["read", "write"])
@pytest.mark.parametrize("protocol, rounds", [("tcp", 3500), ("auto", 1500)])
def test_nothing_arrives_late(what, protocol, rounds):
    (mover, mover_name), (other, other_name) = engine(protocol), engine(protocol)
    # "read": the mover's memory is taken back; "write": the other's, which is written to.
    steady = numpy.full((PAGES, PAGE), DATA, dtype=numpy.uint8)
    lent = numpy.zeros((SETS, PAGES, PAGE), dtype=numpy.uint8)
    holder, owner = (other, mover) if what == "read" else (mover, other)
    assert holder.register_memory(steady.ctypes.data, steady.size) == 0
    start = mover.batch_transfer_async_read if what == "read" else mover.batch_transfer_async_write
    load, chance, marks, aborted, foreign = Load(protocol), random.Random(1), [None] * SETS, 0, 0
    load.start()
    for number in range(rounds):
        turn = number % SETS
        if marks[turn] is not None:
            foreign += int((lent[turn] != marks[turn]).any(axis=1).sum())
        base = lent[turn].ctypes.data
        assert owner.register_memory(base, lent[turn].nbytes) == 0
        order = list(reversed(range(PAGES)))
        theirs, mine = [base + i * PAGE for i in order], [steady.ctypes.data + i * PAGE for i in range(PAGES)]
        local, remote = (theirs, mine) if what == "read" else (mine, theirs)
        batch = start(other_name, local, remote, [PAGE] * PAGES)
        assert batch > 0
        wait_a_moment(chance)
        assert owner.unregister_memory(base) == 0
        marks[turn] = 4 + number % 200
        lent[turn] = marks[turn]
        aborted += mover.get_batch_transfer_status([batch]) != 0
    load.stopped = True
    load.join()
    for turn in range(SETS):
        foreign += int((lent[turn] != marks[turn]).any(axis=1).sum())
    assert foreign == 0 and load.moved > 0
    assert aborted > 0 or (what, protocol) == ("read", "auto")     # a read from the same host is over when it was started
