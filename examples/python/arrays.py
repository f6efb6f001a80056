"""Two processes and a numpy array: the owner's own memory is written and read by the other one.

    python arrays.py                  both ends
    python arrays.py HOST:PORT        the end that writes, to an owner on another host
"""

import multiprocessing
import sys

import numpy as np

import hmc


def own(address_to):
    weights = np.zeros((1000, 1000), np.float32)
    with hmc.Context("owner") as ctx:
        ctx.register(weights, name="weights")  # nothing is copied
        address_to.send(str(ctx.listen("0.0.0.0:0")))
        note = ctx.notification(timeout=60)
        print("the owner received %r, and row 3 begins with %s" % (note.data.decode(), weights[3, :3]))
        address_to.recv()


def write(address):
    with hmc.Context("writer") as ctx:
        peer = ctx.connect(address)
        remote = peer.open("weights")
        row = np.arange(1000, dtype=np.float32)
        remote[3 * row.nbytes:4 * row.nbytes].put(row, notify=b"row 3 is new")
        column = np.empty(1000, np.float32)
        remote.block((1000,), itemsize=4, strides=(4000,), offset=8).get_into(column)
        print("by %s; column 2 sums up to %g" % (peer.via, column.sum()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write(sys.argv[1])
    else:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        owner = spawn.Process(target=own, args=(theirs,))
        owner.start()
        port = ours.recv().rpartition(":")[2]
        write("127.0.0.1:" + port)
        ours.send("done")
        owner.join()
