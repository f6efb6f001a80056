"""One rank of the groups that test_groups.py starts. RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are in the
environment; arguments: the way to connect."""

import os
import sys
import threading

import numpy as np

import hmc

via = sys.argv[1]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def data(of, count, dtype=np.int64):
    return (np.arange(count, dtype=dtype) * 3 + of * 1000).astype(dtype)


def check(group, count):
    whole = np.zeros(count * world, np.int64)
    group.all_gather(whole, data(rank, count))
    assert (whole == np.concatenate([data(i, count) for i in range(world)])).all()

    out = np.zeros(count * world, np.int64)
    group.alltoall(out, data(rank, count * world))
    assert (out == np.concatenate([data(i, count * world)[rank * count:(rank + 1) * count] for i in range(world)])).all()

    for root in range(world):
        array = data(rank, count, np.float32)
        group.broadcast(array, root)
        assert (array == data(root, count, np.float32)).all()

    for op, function in (("sum", np.sum), ("product", np.prod), ("min", np.min), ("max", np.max)):
        array = data(rank, count + 1, np.float64) * (1 if rank % 2 else -1)
        group.all_reduce(array, op)
        expected = function([data(i, count + 1, np.float64) * (1 if i % 2 else -1) for i in range(world)], axis=0)
        assert np.allclose(array, expected)
        part = np.zeros(count, np.int64)
        group.reduce_scatter(part, data(rank, count * world), op)
        expected = function([data(i, count * world) for i in range(world)], axis=0)
        assert (part == expected[rank * count:(rank + 1) * count]).all()
    group.barrier()


with hmc.groups.init(name="first", via=via, slot_bytes=4096) as first:
    assert (first.rank, first.world) == (rank, world)
    with hmc.groups.init(name="second", via=via) as second:  # several at once
        for count in (0, 1, 7, 2000):
            check(first, count)
        check(second, 5)
        buffer = bytearray(b"%d" % rank * 10)
        second.broadcast(buffer, world - 1)
        assert buffer == b"%d" % (world - 1) * 10
        for _ in range(10):
            both = np.repeat(np.arange(world) + 100.0 * rank, 300000)
            second.alltoall(both, both)  # in place, and in several pieces
            assert (both == np.repeat(100.0 * np.arange(world) + rank, 300000)).all()
        for wrong in (lambda: first.all_reduce(np.zeros(4)[::2]), lambda: first.all_reduce(np.zeros(4), "mean"),
                      lambda: first.all_gather(np.zeros(world + 1), np.zeros(1)), lambda: first.broadcast(buffer, world)):
            try:
                wrong()
                raise SystemExit("nothing was raised")
            except hmc.InvalidError:
                pass
        if world > 1:       # a ring of messages, longer than a slot
            second.barrier()
            got = np.zeros(9000, np.float64)
            sender = threading.Thread(target=first.send, args=(data(rank, 9000, np.float64), (rank + 1) % world))
            sender.start()
            first.receive(got, (rank - 1) % world)
            sender.join()
            assert (got == data((rank - 1) % world, 9000, np.float64)).all()
        second.barrier()
    first.barrier()
print("rank %d of %d is done" % (rank, world))
