"""One rank of the test of torch.distributed over HMC: every operation, checked against what it should give."""

import os
import sys

import torch
import torch.distributed as dist

import hmc.torch_backend  # noqa: F401


def each_type():
    return [torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8]


def test_reductions(rank, world):
    for dtype in each_type():
        for count in (1, 7, 1000, 400000):
            mine = (torch.arange(count) % 5 + rank).to(dtype)
            dist.all_reduce(mine)
            assert (mine == ((torch.arange(count) % 5) * world + sum(range(world))).to(dtype)).all()
    for op, expected in ((dist.ReduceOp.MAX, world), (dist.ReduceOp.MIN, 1)):
        value = torch.tensor([rank + 1.0])
        dist.all_reduce(value, op)
        assert value.item() == expected
    product = torch.tensor([rank + 1.0])
    dist.all_reduce(product, dist.ReduceOp.PRODUCT)
    assert product.item() == torch.arange(1.0, world + 1).prod()
    flags = torch.tensor([rank == 0, False])
    dist.all_reduce(flags)
    assert flags.tolist() == [True, False]
    half = torch.full((10,), 0.5, dtype=torch.bfloat16)
    dist.all_reduce(half)
    assert (half == 0.5 * world).all()
    spread = torch.zeros(6, 4)[::2]
    spread += rank
    dist.all_reduce(spread)
    assert (spread == sum(range(world))).all()
    at_root = torch.tensor([float(rank)])
    dist.reduce(at_root, world - 1)
    assert at_root.item() == (sum(range(world)) if rank == world - 1 else rank)


def test_copies(rank, world):
    for root in range(world):
        shared = torch.full((1000, 3), float(rank))
        dist.broadcast(shared, root)
        assert (shared == root).all()
    parts = [torch.empty(5, 2, dtype=torch.int64) for _ in range(world)]
    dist.all_gather(parts, torch.full((5, 2), rank))
    assert all((part == other).all() for other, part in enumerate(parts))
    said = [None] * world
    dist.all_gather_object(said, {"rank": rank, "text": "x" * rank})
    assert said == [{"rank": other, "text": "x" * other} for other in range(world)]
    into = getattr(dist, "all_gather_into_tensor", None)
    if into is not None:
        whole = torch.empty(world * 3)
        into(whole, torch.full((3,), float(rank)))
        assert whole.tolist() == [float(other) for other in range(world) for _ in range(3)]


def test_scattering(rank, world):
    out = torch.empty(4)
    dist.reduce_scatter(out, [torch.full((4,), float(rank * 10 + other)) for other in range(world)])
    assert (out == sum(other * 10 + rank for other in range(world))).all()
    out, whole = torch.empty(world * 2, dtype=torch.int64), torch.arange(world * 2) + 100 * rank
    dist.all_to_all_single(out, whole)
    assert out.tolist() == [100 * other + 2 * rank + i for other in range(world) for i in range(2)]
    sizes = [other + 1 for other in range(world)]      # what I send to each; each receives rank + 1 from all
    out = torch.empty(world * (rank + 1), dtype=torch.int64)
    dist.all_to_all_single(out, torch.full((sum(sizes),), rank), [rank + 1] * world, sizes)
    assert out.tolist() == [other for other in range(world) for _ in range(rank + 1)]
    lists = [torch.empty(3) for _ in range(world)]
    dist.all_to_all(lists, [torch.full((3,), float(rank * 10 + other)) for other in range(world)])
    assert all((each == other * 10 + rank).all() for other, each in enumerate(lists))
    gathered = [torch.empty(2) for _ in range(world)] if rank == 0 else None
    dist.gather(torch.full((2,), float(rank)), gathered, 0)
    assert rank or [each[0].item() for each in gathered] == list(range(world))
    mine = torch.empty(2)
    dist.scatter(mine, [torch.full((2,), float(other)) for other in range(world)] if rank == 0 else None, 0)
    assert (mine == rank).all()


def test_messages(rank, world):
    if world == 1:
        return
    following, previous = (rank + 1) % world, (rank - 1) % world
    for count in (1, 1000, 1 << 20):        # the last one is larger than what lies ready at the receiver
        out, back = torch.full((count,), float(rank)), torch.empty(count)
        works = dist.batch_isend_irecv([dist.P2POp(dist.isend, out, following), dist.P2POp(dist.irecv, back, previous)])
        for work in works:
            work.wait()
        assert (back == previous).all()
    first, second = torch.tensor([1.0 + rank]), torch.tensor([20.0 + rank])
    sent = [dist.isend(first, following, tag=1), dist.isend(second, following, tag=2)]
    got = torch.empty(1), torch.empty(1)
    dist.recv(got[1], previous, tag=2)      # the other way round
    dist.recv(got[0], previous, tag=1)
    assert got[0].item() == 1 + previous and got[1].item() == 20 + previous
    for each in sent:
        each.wait()


def test_several_at_once(rank, world):
    arrays = [torch.full((5000,), float(i + rank)) for i in range(20)]
    works = [dist.all_reduce(each, async_op=True) for each in arrays]
    for number, (each, work) in enumerate(zip(arrays, works)):
        work.wait()
        assert work.is_completed() and (each == number * world + sum(range(world))).all()


def test_groups_in_groups(rank, world):
    even = dist.new_group([other for other in range(world) if other % 2 == 0], backend="hmc")
    if rank % 2 == 0:
        value = torch.tensor([1.0])
        dist.all_reduce(value, group=even)
        assert value.item() == (world + 1) // 2
    dist.barrier()


def test_training(rank, world):
    """Data parallel: every rank ends with the same weights, which are those of the mean of the gradients."""
    torch.manual_seed(3)
    model = torch.nn.Linear(8, 1)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    torch.manual_seed(10 + rank)
    for _ in range(3):
        parallel.zero_grad()
        parallel(torch.randn(16, 8)).pow(2).mean().backward()
        with torch.no_grad():
            for each in parallel.parameters():
                each -= 0.1 * each.grad
    weights = [torch.empty_like(model.weight) for _ in range(world)]
    dist.all_gather(weights, model.weight.detach())
    assert all((each == weights[0]).all() for each in weights)


def main():
    dist.init_process_group("hmc")
    rank, world = dist.get_rank(), dist.get_world_size()
    names = [name for name in globals() if name.startswith("test_")]
    for name in names:
        if len(sys.argv) < 2 or sys.argv[1] in name:
            globals()[name](rank, world)
            dist.barrier()
    print("rank %d of %d did %d" % (rank, world, len(names)), flush=True)
    dist.destroy_process_group()
    assert os.environ["WORLD_SIZE"] == str(world)


main()
