"""Groups of processes: every operation, for worlds of several sizes, and ranks that die."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

import hmc

TESTS = str(pathlib.Path(__file__).resolve().parents[1])
sys.path.insert(0, TESTS)

from ports import free_port  # noqa: E402

HERE = pathlib.Path(__file__).parent


def start(world, *command):
    port = free_port()
    return [subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             env=dict(os.environ, RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1",
                                      MASTER_PORT=str(port))) for rank in range(world)]


def finish(processes):
    try:
        return [each.communicate(timeout=120) + (each.returncode,) for each in processes]
    finally:
        for each in processes:
            each.kill()


@pytest.mark.parametrize("world, via", [(1, "auto"), (2, "auto"), (2, "tcp"), (3, "auto"), (5, "auto")])
def test_operations(world, via):
    for rank, (out, err, status) in enumerate(finish(start(world, str(HERE / "groups_program.py"), via))):
        assert status == 0 and out == "rank %d of %d is done\n" % (rank, world), err


LOST = """
import hmc, os, time, signal
group = hmc.groups.init(timeout=100)
if group.rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
begin = time.monotonic()
try:
    group.barrier()
except hmc.PeerLostError as error:
    assert "rank 1" in str(error), error
    print("lost after", time.monotonic() - begin < 60)
"""


def test_a_rank_that_dies():
    (out, err, status), _ = finish(start(2, "-c", LOST))
    assert out == "lost after True\n" and status == 0, err


def test_nowhere_to_meet():
    with pytest.raises(hmc.InvalidError, match="MASTER_ADDR"):
        hmc.groups.init(0, 2, meet="nowhere")
    with pytest.raises(hmc.InvalidError, match="rank 2"):
        hmc.groups.init(2, 2)
    for half in (dict(rank=0), dict(world=2)):
        with pytest.raises(hmc.InvalidError, match="Give both, or neither"):
            hmc.groups.init(**half)


def test_members_of_the_first_api():
    member = hmc.collective.GroupMember(0, 2, "127.0.0.1", 1, 2, 3, 1, 0, 4096)
    assert member.port_for(hmc.ConnType.UCX) == 1 and member.port_for(hmc.ConnType.RDMA) == 2
    assert hmc.collective.GroupMember.from_dict(member.to_dict()) == member
    assert member.memory_type == hmc.MemoryType.CPU
    other = hmc.collective.GroupMember(1, 2, "127.0.0.1", 1, 2, 3, 1, 0, 4096)
    group = hmc.Group(session=None, members=[other, member], rank=0)
    assert group.world == 2 and group.right is other and group.left is other and group.me is member
    for members, rank, text in (([], 0, "empty group"), ([member, other], 2, "bad rank"),
                                ([member, member], 0, "contiguous"), ([member], 0, "world mismatch")):
        with pytest.raises(ValueError, match=text):
            hmc.Group(session=None, members=members, rank=rank)
    with pytest.raises(RuntimeError, match="torch.distributed is not initialized"):
        hmc.init_group(session=None, my_ip="", port_ucx=0, port_rdma=0, port_ctrl=0)


ALLTOALL = """
import os, sys, types, pickle, numpy as np
import hmc

# torch.distributed as init_group needs it, on a group of ours: the real one is tried by test_torch.
bootstrap = hmc.groups.init(name="bootstrap")
dist = types.ModuleType("torch.distributed")
dist.is_available = dist.is_initialized = lambda: True
dist.get_rank, dist.get_world_size = (lambda: bootstrap.rank), (lambda: bootstrap.world)
def all_gather_object(found, mine):
    table = np.zeros((bootstrap.world, 4096), np.uint8)
    own = np.zeros(4096, np.uint8)
    packed = np.frombuffer(pickle.dumps(mine), np.uint8)
    own[:len(packed)] = packed
    bootstrap.all_gather(table, own)
    found[:] = [pickle.loads(each.tobytes()) for each in table]
dist.all_gather_object, dist.barrier = all_gather_object, bootstrap.barrier
torch = types.ModuleType("torch"); torch.distributed = dist
torch.Tensor = type("Tensor", (), {})
sys.modules.update({"torch": torch, "torch.distributed": dist})

sys.path.insert(0, TESTS)
from ports import free_port as port
sess = hmc.create_session(buffer_size=1 << 20, local_ip="127.0.0.1")
group = hmc.collective.init_group(session=sess, my_ip="127.0.0.1", port_ucx=port(), port_rdma=port(), port_ctrl=port(),
                                  ctrl_uds_dir="/tmp/hmc-test-none" if False else "")
world, rank = group.world, group.rank
for algo in ("auto", "direct", "ring"):
    for part in (0, 1, 1000):
        send = (np.arange(world * part, dtype=np.int32) + 10000 * rank)
        recv = np.zeros_like(send)
        hmc.alltoall(group, send, recv, algo=algo, chunk_bytes=512)
        want = np.concatenate([np.arange(rank * part, (rank + 1) * part) + 10000 * i for i in range(world)] or [[]])
        assert (recv == want).all(), (algo, part)
for call, text in ((lambda: hmc.alltoall(group, np.zeros(world + 1, "u1"), np.zeros(world, "u1")), "mismatch"),
                   (lambda: hmc.alltoall(group, np.zeros(world, "u1"), np.zeros(world, "u1"), algo="x"), "Unknown algo"),
                   (lambda: hmc.alltoall(group, np.zeros(world << 20, "u1"), np.zeros(world << 20, "u1")), "too small")):
    try:
        call(); raise SystemExit("nothing was raised")
    except ValueError as error:
        assert text in str(error)
bootstrap.barrier()
sess.close()
bootstrap.close()
print("done")
"""


@pytest.mark.parametrize("world", [1, 2, 3])
def test_alltoall_of_the_first_api(world):
    for out, err, status in finish(start(world, "-c", ALLTOALL.replace("TESTS", repr(TESTS)))):
        assert status == 0 and out == "done\n", err
