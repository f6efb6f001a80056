"""What Python adds to C: the same operation in both, alternating, as ratios of the same sitting.

    python bench/python.py [--seconds S] [--rounds N] [--json]      with the package installed (see docs/python.md)

Each line is the median over the rounds of (Python / C in that round), with its range. The last line of each way compares
awaited with blocking puts. bench/run has these lines too; bench/serving compares with the packages of NIXL and Mooncake.
"""

import argparse
import asyncio
import json
import statistics
import time

import numpy as np

import hmc
from hmc import _engine


def per_call(call, seconds):
    """Nanoseconds of one call, of as many as fit."""
    call()
    count, begin = 0, time.perf_counter_ns()
    while True:
        for _ in range(10):
            call()
        count += 10
        spent = time.perf_counter_ns() - begin
        if spent > seconds * 1e9:
            return spent / count


is_quiet = False
found = []      # of the lines, for --json


def line(name, rounds, python, c):
    pairs = [(python(), c()) for _ in range(rounds)]
    found.append((name, statistics.median(p for p, _ in pairs), statistics.median(q for _, q in pairs)))
    if is_quiet:
        return
    ratios = sorted(p / q for p, q in pairs)
    print("%-44s %12.0f ns %12.0f ns   %5.2f (%.2f - %.2f)  %+.0f ns" %
          (name, statistics.median(p for p, _ in pairs), statistics.median(q for _, q in pairs),
           statistics.median(ratios), ratios[0], ratios[-1], statistics.median(p - q for p, q in pairs)), flush=True)


def awaited(remote, data, seconds):
    async def main():
        count, begin = 0, time.perf_counter_ns()
        while time.perf_counter_ns() - begin < seconds * 1e9:
            for _ in range(10):
                await remote.put_nb(data)
            count += 10
        return (time.perf_counter_ns() - begin) / count

    return asyncio.run(main())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print [line, ns in Python, ns in C] for each")
    options = parser.parse_args()
    seconds, rounds = options.seconds, options.rounds
    global is_quiet
    is_quiet = options.json
    if not is_quiet:
        print("%-44s %15s %15s   %s" % ("", "Python", "C", "ratio (range), difference"))
    with hmc.Context("here") as here, hmc.Context("there") as there:
        there.allocate(64 << 20, name="far")
        memory = bytearray(1 << 20)
        there.register(memory, name="owned")
        address = str(there.listen("127.0.0.1:0"))
        for via in ("shm", "tcp"):
            remote = here.connect(address, via=via).open("far")
            local, array = here.allocate(64 << 20), np.ones(64 << 20, np.uint8)
            small, count = local[0:8], 20000 if via == "shm" else 500
            line("%s: put of 8 B, from a region" % via, rounds, lambda: per_call(lambda: remote.put(small), seconds),
                 lambda: _engine._measure_c(remote, local, 8, count))
            line("%s: put of 8 B, from bytes" % via, rounds, lambda: per_call(lambda: remote.put(b"12345678"), seconds),
                 lambda: _engine._measure_c(remote, local, 8, count))
            if via == "shm":
                owned = here.connect(address, via=via).open("owned")
                line("shm: put of 8 B, registered memory", rounds, lambda: per_call(lambda: owned.put(small), seconds),
                     lambda: _engine._measure_c(owned, local, 8, 5000))
            line("%s: put of 64 MiB, a numpy array" % via, rounds, lambda: per_call(lambda: remote.put(array), seconds),
                 lambda: _engine._measure_c(remote, local, 64 << 20, 10))
            pieces = [(i * 70000, i * 90000, 65536) for i in range(122)]
            batch = remote.batch(local, pieces)
            line("%s: batch of 122 blocks of 64 KiB" % via, rounds, lambda: per_call(batch.put, seconds),
                 lambda: _engine._measure_c(remote, local, 0, 20, batch))
            line("%s: put of 8 B, awaited / blocking" % via, rounds, lambda: awaited(remote, b"12345678", seconds),
                 lambda: per_call(lambda: remote.put(b"12345678"), seconds))
    if is_quiet:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
