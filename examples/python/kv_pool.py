"""A KV cache in everybody's memory: writers put blocks into a pool of host memory that all members give, readers take
them out and check them, and one member comes and goes meanwhile. On a terminal it shows what happens as it happens.

    python kv_pool.py [SECONDS]

examples/smem/kv_pool.c says how the slots are laid out; here numpy arrays are what goes in and out.
"""

import multiprocessing
import os
import shutil
import sys
import time

import numpy as np

from memfabric_hybrid import bm, get_last_err_msg
from memfabric_hybrid.bm import BmCopyType, BmMemType

WRITERS, READERS = 2, 2
WORLD = WRITERS + READERS + 1
VISITOR = WORLD - 1
SLOTS, WORDS = 16, 18 << 10          # a block: 144 KiB
SLOT = 64 + 8 * WORDS                # its head: sequence (odd while it is written), block, checksum
PART = 6 << 20
GONE = -2007
WRITTEN, VERIFIED, REWRITTEN, MISSED, HERE, CAME, WENT, COLUMNS = range(8)


class Member:
    def __init__(self, rank, url, board, stop, wrong):
        self.rank, self.board, self.stop, self.wrong = rank, board, stop, wrong
        config = bm.BmConfig()
        config.rank_id = rank
        config.start_store = rank == 0
        if bm.initialize(url, WORLD, 0, config) != 0:
            sys.exit(get_last_err_msg())
        self.pool = bm.create(0, PART, 0)
        self.join()
        self.count(CAME)
        self.await_members(CAME)

    def join(self):
        assert self.pool.join() == 0, get_last_err_msg()
        self.count(HERE)

    def await_members(self, what):
        while sum(self.board[what::COLUMNS]) < WORLD:
            time.sleep(0.001)

    def count(self, what, by=1):
        self.board[self.rank * COLUMNS + what] += by

    def slot(self, member, writer, block):
        return self.pool.peer_rank_ptr(member, BmMemType.HOST) + (writer * SLOTS + block // WORLD % SLOTS) * SLOT

    def copy(self, source, target, size):
        code = self.pool.copy_data(source, target, size, BmCopyType.AUTO)
        assert code in (0, GONE), get_last_err_msg()
        self.count(MISSED, code == GONE)
        return code == 0

    def write(self):
        block = 0
        words = np.arange(WORDS, dtype=np.uint64) * np.uint64(self.rank + 1)
        while not self.stop.value:
            made = words + np.uint64(block * 2654435761)
            slot = self.slot(block % WORLD, self.rank, block)
            head = np.array([2 * block + 1, block, np.bitwise_xor.reduce(made) + made[7]], dtype=np.uint64)
            if self.copy(head, slot, 24) and self.copy(made, slot + 64, made.nbytes):
                head[0] += np.uint64(1)
                self.count(WRITTEN, self.copy(head, slot, 24))
            block += 1

    def read(self):
        random = np.random.default_rng(self.rank)
        before, after, words = np.zeros(3, np.uint64), np.zeros(3, np.uint64), np.zeros(WORDS, np.uint64)
        while not self.stop.value:
            block = int(random.integers(WORLD * SLOTS))
            slot = self.slot(block % WORLD, int(random.integers(WRITERS)), block)
            if not self.copy(slot, before, 24) or before[0] == 0 or before[0] % 2 == 1:
                continue
            if not self.copy(slot + 64, words, words.nbytes) or not self.copy(slot, after, 24):
                continue
            if (before != after).any():
                self.count(REWRITTEN)
            elif np.bitwise_xor.reduce(words) + words[7] != before[2]:
                self.wrong.value += 1
            else:
                self.count(VERIFIED)

    def visit(self):
        while not self.stop.value:
            time.sleep(0.3)
            assert self.pool.leave() == 0, get_last_err_msg()
            self.count(HERE, -1)
            time.sleep(0.2)
            self.pool.array(PART)[:] = 0
            self.join()

    def end(self):
        self.pool.destroy()
        self.count(HERE, -1)
        self.count(WENT)
        if self.rank == 0:
            self.await_members(WENT)  # the store's server goes last
        bm.uninitialize()


def be_member(*arguments):
    np.seterr(over="ignore")
    member = Member(*arguments)
    (member.write if member.rank < WRITERS else member.read if member.rank < VISITOR else member.visit)()
    member.end()


class Picture:
    """One line for each member, in place of the last picture; bars are parts of the highest rate so far."""

    def __init__(self):
        self.last, self.before, self.highest = [0] * WORLD, 0.0, 1.0

    def draw(self, board, seconds):
        room = max(0, min(60, shutil.get_terminal_size((80, 24)).columns - 67))
        lines = ["  # member   in   written  verified rewritten    gone  blocks/s"]
        for rank in range(WORLD):
            row = board[rank * COLUMNS:(rank + 1) * COLUMNS]
            done = row[WRITTEN] + row[VERIFIED]
            rate = (done - self.last[rank]) / (seconds - self.before)
            self.last[rank], self.highest = done, max(self.highest, rate)
            kind = "writer" if rank < WRITERS else "reader" if rank < VISITOR else "visitor"
            lines.append("%3d %-7s  %-3s %9d %9d %9d %7d %9.0f  %s" % (
                rank, kind, "yes" if row[HERE] else "no", row[WRITTEN], row[VERIFIED], row[REWRITTEN], row[MISSED], rate,
                "#" * int(rate * room / self.highest)))
        up = "\033[%dA" % len(lines) if self.before else ""
        self.before = seconds
        print(up + "\033[?7l" + "".join("\033[K%s\n" % line for line in lines) + "\033[?7h", end="", flush=True)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    # Below the range from which the kernel serves port 0, so that no other program is given it meanwhile.
    url = "tcp://127.0.0.1:%d" % (10000 + os.getpid() * 7 % 20000)
    context = multiprocessing.get_context("spawn")
    board, stop, wrong = context.Array("q", WORLD * COLUMNS, lock=False), context.Value("i", 0), context.Value("q", 0)
    members = [context.Process(target=be_member, args=(rank, url, board, stop, wrong)) for rank in range(WORLD)]
    for member in members:
        member.start()
    while sum(board[CAME::COLUMNS]) < WORLD and all(member.is_alive() for member in members):
        time.sleep(0.01)
    begin, picture = time.monotonic(), Picture()
    while time.monotonic() - begin < seconds and all(member.is_alive() for member in members):
        time.sleep(0.25)
        if os.isatty(1):
            picture.draw(board, time.monotonic() - begin)
    failed = not all(member.is_alive() for member in members)
    stop.value = 1
    for member in members:
        if failed:
            member.terminate()
        member.join()
        failed = failed or member.exitcode != 0
    print("%d blocks written, %d read and verified, %d wrong, %d copies to a member that was gone" % (
        sum(board[WRITTEN::COLUMNS]), sum(board[VERIFIED::COLUMNS]), wrong.value, sum(board[MISSED::COLUMNS])))
    return 1 if failed or wrong.value or not sum(board[VERIFIED::COLUMNS]) else 0


if __name__ == "__main__":
    sys.exit(main())
