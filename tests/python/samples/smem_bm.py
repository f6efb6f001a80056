"""A program of the first generation in Python: tensors of the host and of the device go to the next rank's part and are
taken out of one's own.

    smem_bm.py WORLD RANK tcp://IP:PORT [auto]
"""

import sys

import torch
import torch_npu

import mf_smem as smem

COUNT, BYTES = 1024, 4096


def main():
    world, rank, url = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch_npu.npu.set_device(rank)
    smem.initialize()
    config = smem.bm.BmConfig()
    if len(sys.argv) > 4:
        config.auto_ranking = True
    else:
        config.rank_id = rank
    assert smem.bm.initialize(url, world, rank, config) == 0
    rank = smem.bm.bm_rank_id()
    shm_config = smem.shm.ShmConfig()
    shm_config.start_store = False
    assert smem.shm.initialize(url, world, rank, rank, shm_config) == 0
    meeting = smem.shm.create(0, world, rank, 2 << 20)
    handle = smem.bm.create(id=0, local_dram_size=0, local_hbm_size=1 << 30)
    local = handle.join()
    assert handle.local_mem_size() == 1 << 30
    meeting.barrier()
    remote = handle.peer_rank_ptr((rank + 1) % world)
    mine = torch.randint(-1000, 1000, COUNT, torch.manual_seed(rank))
    theirs = torch.randint(-1000, 1000, COUNT, torch.manual_seed((rank - 1) % world))
    device = mine.npu()
    handle.copy_data(mine.data_ptr(), remote, BYTES, smem.bm.BmCopyType.H2G, 0)
    handle.copy_data(device.data_ptr(), remote + BYTES, BYTES, smem.bm.BmCopyType.L2G, 0)
    meeting.barrier()
    got = torch.zeros(COUNT)
    handle.copy_data(local, got.data_ptr(), BYTES, smem.bm.BmCopyType.G2H, 0)
    assert torch.equal(got, theirs)
    handle.copy_data(local + BYTES, device.data_ptr(), BYTES, smem.bm.BmCopyType.G2L, 0)
    assert torch.equal(device.cpu(), theirs)
    assert b"".join(b"%d" % i for i in range(world)) == meeting.all_gather(b"%d" % rank)
    meeting.barrier()
    handle.leave()
    del handle
    meeting.barrier()
    del meeting
    smem.shm.uninitialize()
    smem.bm.uninitialize()
    smem.uninitialize()
    print("rank %d: all copies are right" % rank)


if __name__ == "__main__":
    main()
