"""Collective operations, started by torchrun, or by whatever sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT:

    torchrun --nproc-per-node 4 collective.py
    for r in 0 1; do RANK=$r WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29500 python collective.py & done; wait
"""

import numpy as np

import hmc


def main():
    with hmc.groups.init() as group:
        gradient = np.full(1_000_000, group.rank + 1, np.float32)
        group.all_reduce(gradient, "sum")
        every = np.empty(group.world, np.int64)
        group.all_gather(every, np.array([group.rank ** 2]))
        group.barrier()
        print("rank %d of %d: sum %g, squares %s" % (group.rank, group.world, gradient[0], every.tolist()))


if __name__ == "__main__":
    main()
