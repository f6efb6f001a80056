"""A process of test_smem.py: smem_member.py SCENARIO RANK COUNT URL. Ranks meet by the pool's SHM, or by files."""

import ctypes
import os
import pathlib
import sys
import time
import types

import numpy

import hmc
import memfabric_hybrid as mf
import mf_smem
from memfabric_hybrid.bm import BmCopyType, BmDataOpType, BmInitFlag, BmMemType

MIB = 1 << 20
PART = 4 * MIB
PATIENCE = 60

scenario, rank, count, url = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
after, before = (rank + 1) % count, (rank - 1) % count


def eventually(what, check):
    until = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def config_of(module, **more):
    config = module.BmConfig()
    assert config.rank_id == 65535 and config.unified_address_space and not config.start_store_only
    config.init_timeout = config.create_timeout = config.operation_timeout = PATIENCE
    config.start_store = rank == 0
    config.dynamic_world_size, config.auto_ranking, config.flags = False, False, 0
    config.rank_id = rank
    for name, value in more.items():
        setattr(config, name, value)
    return config


def meeting(package, number=0):
    """A symmetric object whose barrier the ranks meet by."""
    config = package.shm.ShmConfig()
    config.init_timeout = config.create_timeout = config.operation_timeout = PATIENCE
    config.start_store, config.flags = rank == 0, 0
    assert package.shm.initialize(url, count, rank, 0, config) == 0
    return package.shm.create(number, count, rank, PART, package.shm.ShmDataOpType.MTE, 0)


def pattern(seed, size):
    return numpy.random.default_rng(seed).integers(0, 256, size, dtype=numpy.uint8)


def pool():
    """memfabric_hybrid.bm: every direction, batches, views, errors that are codes."""
    assert mf.initialize() == 0
    config = config_of(mf.bm)
    config.set_nic("tcp://127.0.0.1")
    assert config.hcom_url == "tcp://127.0.0.1"
    assert mf.bm.initialize(url, count, 0, config) == 0
    assert mf.bm.bm_rank_id() == rank
    fence = meeting(mf)
    memory = mf.bm.create(3, PART, PART, BmDataOpType.SDMA, flags=0)
    assert isinstance(memory, mf.bm.BigMemory)
    assert memory.local_mem_size() == PART and memory.local_mem_size(BmMemType.HOST) == PART
    assert memory.local_mem_size(BmMemType.LOCAL_HOST) == memory.local_mem_size(BmMemType.LOCAL_DEVICE) == PART
    assert memory.join() == 0 and memory.join() == -2005
    assert fence.barrier() == 0
    host = memory.peer_rank_ptr(after, BmMemType.HOST)
    device = memory.peer_rank_ptr(after)
    assert device == memory.peer_rank_ptr(after, BmMemType.DEVICE) and host != device
    assert memory.get_rank_id_by_gva(host) == memory.get_rank_id_by_gva(device) == after
    assert memory.peer_rank_ptr(count) == 0 and "world" in mf.get_last_err_msg()
    try:
        memory.peer_rank_ptr(65536 + after)
        raise AssertionError("a rank cut to 16 bits")
    except ctypes.ArgumentError:
        pass
    sent, got = pattern(rank, 100000), numpy.zeros(100000, dtype=numpy.uint8)
    pairs = [(BmCopyType.H2G, BmCopyType.G2H, device), (BmCopyType.H2GH, BmCopyType.GH2H, host + PART // 2),
             (BmCopyType.AUTO, BmCopyType.AUTO, device)]
    for out, back, there in pairs:
        got[:] = 0
        assert memory.copy_data(sent, there, sent.nbytes, out) == 0
        assert memory.copy_data(there, got.ctypes.data, got.nbytes, back, 0) == 0
        assert (got == sent).all()
    # What lies in device memory of this process: another pool's part is none of this pool.
    local = mf.bm.create(4, 0, PART)
    here = local.device_ptr()
    assert here != 0 and here != local.peer_rank_ptr(rank)
    assert memory.copy_data(device, here, 1000, BmCopyType.G2L) == 0
    assert memory.copy_data(here, host, 1000, BmCopyType.L2GH) == 0
    assert memory.copy_data(host, here, 1000, BmCopyType.GH2L) == 0
    assert memory.copy_data(here, device + 2000, 1000, BmCopyType.L2G) == 0
    assert memory.copy_data(device + 2000, host, 1000, BmCopyType.G2G) == 0
    assert fence.barrier() == 0
    # Views: of one's own part, and of that of a member of this host.
    assert (memory.array(1000) == pattern(before, 100000)[:1000]).all()
    assert (memory.array(1000, rank=after) == sent[:1000]).all()
    floats = memory.array((2, 3), "float32", offset=2 * MIB)
    floats[:] = [[1, 2, 3], [4, 5, 6]]
    assert memory.array(6, numpy.float32, 2 * MIB).tolist() == [1, 2, 3, 4, 5, 6]
    try:
        memory.array(PART, offset=1)
        raise AssertionError("a view past the end")
    except ValueError:
        pass
    # Batches, started and waited for.
    sizes = [1000 * (i + 1) for i in range(8)]
    sources = [sent.ctypes.data + 10000 * i for i in range(8)]
    targets = [host + MIB + 10000 * i for i in range(8)]
    assert memory.register(sent, sent.nbytes) == 0
    assert memory.copy_data_batch(sources, targets, sizes, 8, BmCopyType.H2G, flags=mf.bm.ASYNC_COPY_FLAG) == 0
    assert memory.wait() == 0
    got[:] = 0
    backs = [got.ctypes.data + 10000 * i for i in range(8)]
    assert memory.copy_data_batch(targets, backs, sizes, 8, BmCopyType.G2H, 0) == 0
    for i, size in enumerate(sizes):
        assert (got[10000 * i:10000 * i + size] == sent[10000 * i:10000 * i + size]).all()
    assert memory.unregister(sent) == 0
    assert memory.copy_data_batch(sources, targets, sizes, 9, BmCopyType.H2G, 0) == -2000
    assert memory.copy_data(1, 2, 3, BmCopyType.H2G) == -2000
    assert "pool" in mf.get_and_clear_last_err_msg() and mf.get_last_err_msg() == ""
    assert fence.barrier() == 0
    assert memory.leave() == 0 and memory.leave() == -2003
    assert fence.barrier() == 0
    assert memory.copy_data(host, got, 10, BmCopyType.G2H) == -2007
    local.destroy()
    memory.destroy()
    memory.destroy()
    try:
        mf.bm.create(5, 1, 0)
        raise AssertionError("a part of 1 B")
    except RuntimeError as error:
        assert "create bm handle failed" in str(error) and "2 MiB" in str(error)
    mf.bm.uninitialize()
    assert mf.bm.bm_rank_id() == 2**32 - 1
    assert fence.barrier() == 0
    assert fence.destroy() == 0
    mf.shm.uninitialize()
    mf.uninitialize()
    assert BmInitFlag.GVM == 2 and {BmDataOpType.HOST_RDMA, BmDataOpType.HOST_URMA, BmDataOpType.HOST_TCP,
                                    BmDataOpType.DEVICE_RDMA} == {2, 16, 4, 8}


def objects():
    """memfabric_hybrid.shm."""
    lines = []
    assert mf.set_log_level(0) == 0 and mf.set_log_level(9) == -2000
    mf.set_extern_logger(lambda level, line: lines.append((level, line)))
    memory = meeting(mf, 7)
    assert isinstance(memory, mf.shm.ShareMemory)
    assert (memory.local_rank, memory.rank_size) == (rank, count)
    assert memory.query_support_data_operation() == mf.shm.ShmDataOpType.MTE
    assert memory.set_context(b"context") == 0 and memory.set_context(b"") == -2000
    assert lines and lines[-1][0] in range(4) and isinstance(lines[-1][1], str)
    assert memory.all_gather(b"%4d" % rank) == b"".join(b"%4d" % i for i in range(count))
    reach, listed = ctypes.c_uint32(), [0]
    assert memory.topology_can_reach(after, reach) == 0 and memory.topology_can_reach(after, listed) == 0
    assert reach.value == listed[0] and reach.value & mf.shm.ShmDataOpType.MTE
    assert memory.topology_can_reach(count, reach) == -2000
    memory.array(1, "int32", rank=after)[0] = rank + 100
    assert memory.barrier() == 0
    assert memory.array(1, "int32")[0] == before + 100
    assert ctypes.c_int32.from_address(memory.gva + PART * rank).value == before + 100
    assert memory.barrier() == 0
    assert memory.destroy(0) == 0
    try:
        mf.shm.create(99, count, rank, PART)
        raise AssertionError("object 99")
    except RuntimeError as error:
        assert "create shm failed!" in str(error)
    mf.shm.uninitialize(0)
    assert mf.shm.ShmDataOpType.SDMA == 2 and mf.shm.ShmDataOpType.RDMA == 4


def first():
    """mf_smem: methods that raise, join that returns an address, rows."""
    assert mf_smem.initialize(0) == 0 and mf_smem.set_log_level(3) == 0
    mf_smem.set_extern_logger(lambda level, line: None)
    assert "library version" in mf_smem.__doc__
    config = config_of(mf_smem.bm, auto_ranking=True, rank_id=-1)
    assert config.rank_id == 65535
    fence = meeting(mf_smem)
    assert mf_smem.bm.initialize(url, count, 0, config) == 0
    me = mf_smem.bm.bm_rank_id()
    memory = mf_smem.bm.create(id=0, local_dram_size=0, local_hbm_size=PART, data_op_type=mf_smem.bm.BmDataOpType.SDMA)
    gva = memory.join()
    assert gva == memory.peer_rank_ptr(me) and memory.local_mem_size() == PART
    ranks = numpy.frombuffer(fence.all_gather(numpy.int32(me).tobytes()), dtype=numpy.int32)
    assert sorted(ranks.tolist()) == list(range(count))
    there = memory.peer_rank_ptr((me + 1) % count)
    sent, got = pattern(me, 6000), numpy.zeros(6000, dtype=numpy.uint8)
    memory.copy_data(sent.ctypes.data, there, 6000, mf_smem.bm.BmCopyType.H2G)
    memory.copy_data(there, got.ctypes.data, 6000, mf_smem.bm.BmCopyType.G2H, 0)
    assert (got == sent).all()
    memory.copy_data(there, there + 8192, 6000, mf_smem.bm.BmCopyType.G2G)
    rows = mf_smem.bm.CopyData2DParams()
    rows.src, rows.spitch, rows.dest, rows.dpitch, rows.width, rows.height = sent.ctypes.data, 100, there, 200, 50, 20
    memory.copy_data_2d(rows, mf_smem.bm.BmCopyType.H2G)
    memory.copy_data(there + 200 * 7, got, 50, mf_smem.bm.BmCopyType.G2H)
    assert (got[:50] == sent[700:750]).all()
    for failing in (lambda: memory.copy_data(1, 2, 3, mf_smem.bm.BmCopyType.L2G), memory.join,
                    lambda: memory.copy_data_2d(rows, mf_smem.bm.BmCopyType.G2L), lambda: fence.set_context(b""),
                    lambda: mf_smem.bm.create(1, 3, 3, mf_smem.bm.BmDataOpType.ROCE, 0)):
        try:
            failing()
            raise AssertionError("it did not fail")
        except RuntimeError as error:
            assert "failed" in str(error)
    assert mf_smem.get_last_err_msg() and mf_smem.get_and_clear_last_err_msg() and not mf_smem.get_last_err_msg()
    fence.set_context(b"x" * 100)
    fence.barrier()
    memory.leave()
    memory.destroy()
    mf_smem.bm.uninitialize(0)
    fence.barrier()
    fence.destroy()
    mf_smem.shm.uninitialize()
    mf_smem.uninitialize()
    assert mf_smem.bm.BmDataOpType.HOST_RDMA == mf_smem.shm.ShmDataOpType.SDMA == 2
    assert mf_smem.shm.ShmDataOpType.RDMA == mf_smem.shm.ShmDataOpType.ROCE == 4


def tensors():
    """Torch views, by a torch that has what they need of it."""
    class Tensor:
        def __init__(self, data):
            self.data = data

        def element_size(self):
            return self.data.itemsize

        def reshape(self, shape):
            return Tensor(self.data.reshape(shape))

    torch = types.ModuleType("torch")
    torch.uint8, torch.float16 = numpy.uint8, numpy.float16
    torch.empty = lambda shape, dtype: Tensor(numpy.empty(shape, dtype))
    torch.frombuffer = lambda buffer, dtype, count: Tensor(numpy.frombuffer(buffer, dtype=dtype, count=count))
    sys.modules["torch"] = torch
    assert mf.bm.initialize(url, 1, 0, config_of(mf.bm)) == 0
    memory = mf.bm.create(0, PART, 0)
    tensor = memory.tensor((2, 512), torch.float16, offset=4096)
    tensor.data[1, 3] = 5
    assert memory.array(1024, "float16", 4096)[515] == 5
    assert memory.tensor(16).data.shape == (16,)
    del memory
    mf.bm.uninitialize()


class Memory(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int), ("device", ctypes.c_int)]


def device_stream():
    """A stream of the software accelerator, as an object that has it as torch's have theirs."""
    library = ctypes.CDLL(str(sorted(pathlib.Path(mf.get_lib_path()).glob("libhmc.so.*"))[0]))
    library.hmc_memory_stream_create.argtypes = [Memory, ctypes.POINTER(ctypes.c_void_p)]
    handle = ctypes.c_void_p()
    assert library.hmc_memory_stream_create(Memory(int(hmc.MemoryType.SIM), 0), handle) == 0
    return types.SimpleNamespace(npu_stream=handle.value)


def transfer():
    """TransferEngine between a prefiller and a decoder, which find each other's session by a file."""
    folder = pathlib.Path(sys.argv[5])
    if rank == 0:
        assert mf.create_config_store(url) == 0
    else:
        eventually("the store", lambda: (folder / "0").exists())
    engine = mf.TransferEngine()
    port = engine.get_rpc_port()
    session = "127.0.0.1:%d" % port
    assert engine.initialize(url, session, "Neither", 0) == -1
    assert engine.initialize(url, session, "Prefill" if rank == 0 else "Decode", 0, engine.TransDataOpType.SDMA) == 0
    assert engine.get_rpc_port() == port and engine.TransferOpcode is mf.TransferOpcode
    assert mf.Read is mf.TransferOpcode.Read and mf.Write == 1 and mf.SDMA is mf.TransDataOpType.SDMA
    assert mf.DEVICE_RDMA == 8
    memory, more = numpy.zeros(MIB, dtype=numpy.uint8), numpy.zeros(MIB, dtype=numpy.uint8)
    assert engine.register_memory(memory.ctypes.data, MIB) == 0
    assert engine.batch_register_memory([more], [MIB]) == 0 and engine.batch_register_memory([more], []) == -2000
    if rank == 1:
        memory[:] = pattern(9, MIB)
    mine, theirs = folder / str(rank), folder / str(1 - rank)
    mine.with_suffix(".new").write_text("%s %d %d" % (session, memory.ctypes.data, more.ctypes.data))
    os.rename(mine.with_suffix(".new"), mine)
    eventually("the other session", theirs.exists)
    peer, far, far_more = theirs.read_text().split()
    far, far_more = int(far), int(far_more)
    if rank == 0:
        work = pattern(1, MIB)
        lengths, offsets = [4096, 8192, 100], [0, 65536, 500000]
        heres, theres = [work.ctypes.data + o for o in offsets], [far_more + o for o in offsets]
        stream = device_stream()
        assert engine.transfer_sync_read(peer, memory, far, MIB) == 0 and (memory == pattern(9, MIB)).all()
        assert engine.transfer_sync_write(peer, work, far, MIB, 0) == 0
        memory[:] = 0
        assert engine.transfer_async_read_submit(peer, memory, far, MIB, stream) == 0 and (memory == work).all()
        assert engine.transfer_async_write_submit(peer, work, far, MIB, stream) == 0
        assert engine.batch_transfer_async_write_submit(peer, heres, theres, lengths, stream) == 0
        assert engine.batch_transfer_async_read_submit(peer, heres, theres, lengths, stream.npu_stream, 0) == 0
        assert engine.transfer_async_write_submit(peer, memory, far, MIB, 0) == -2000
        assert engine.batch_transfer_sync_write(peer, heres, theres, lengths) == 0
        assert engine.batch_transfer_sync_read(peer, [memory.ctypes.data + o for o in offsets], theres, lengths) == 0
        for offset, length in zip(offsets, lengths):
            assert (memory[offset:offset + length] == work[offset:offset + length]).all()
        assert engine.batch_transfer_async_write_submit(peer, heres, theres, lengths, 0) == -2000
        assert engine.batch_transfer_async_read_submit(peer, heres, theres, lengths[:1], 1) == -2000
        assert engine.transfer_sync_read(peer, memory, far + MIB, 1) == -2000
        assert engine.transfer_sync_read("127.0.0.1:1", memory, far, 1) == -2000
        (folder / "done").touch()
    else:
        eventually("the transfers", (folder / "done").exists)
        assert (memory == pattern(1, MIB)).all()
        assert (more[65536:65536 + 8192] == memory[65536:65536 + 8192]).all()
        assert engine.unregister_memory(memory) == 0
        (folder / "gone").touch()
    eventually("the end", (folder / "gone").exists)
    if rank == 0:
        assert engine.transfer_sync_read(peer, memory, far, 1) in (-2000, -2007)
    engine.destroy()
    engine.unInitialize()


# What certificates() tries: certificate, key, authorities, what the decrypt handler makes of "terces", and the code and
# words that name the remedy.
REFUSED = [
    ("own.pem", "own.key", "ca.pem", lambda cipher: "wrong", -2000, "the password that it is encrypted with"),
    ("own.pem", "own.key", "ca.pem", lambda cipher: None, -1, "the handler does not decrypt"),
    ("own.pem", "own.key", "ca.pem", lambda cipher: cipher[7], -1, "the handler does not decrypt"),
    ("own.pem", "own.key", "ca.pem", lambda cipher: "x" * 5000, -1, "the handler does not decrypt"),
    ("own.pem", "other.key", "ca.pem", lambda cipher: cipher[::-1], -2000, "the key that the certificate was made for"),
    ("nobody.pem", "own.key", "ca.pem", lambda cipher: cipher[::-1], -2000, "give a PEM file that this process may read"),
    ("own.pem", "own.key", "nobody.pem", lambda cipher: cipher[::-1], -2000, "give a PEM file that this process may read"),
    ("expired.pem", "own.key", "ca.pem", lambda cipher: cipher[::-1], -1, "neither may have expired"),
    ("other.pem", "other.key", "ca.pem", lambda cipher: cipher[::-1], -1, "both must be signed by an authority"),
    ("own.pem", "own.key", "other_ca.pem", lambda cipher: cipher[::-1], -1, "both must be signed by an authority"),
]


def certificates():
    """The store's TLS by certificates: rank 0 serves, rank 1 is turned away with all that is wrong, and then let in."""
    folder = pathlib.Path(sys.argv[5])

    def use(certificate, key, authorities, decrypt):
        info = "tlsCaPath: %s; tlsCaFile: %s; tlsCert: %s;" % (folder, authorities, folder / certificate)
        assert mf.set_conf_store_tls(True, info) == 0
        assert mf.set_conf_store_tls_key((folder / key).read_text(), "terces", decrypt) == 0

    def enter():
        return mf.bm.initialize(url, count, 0, config_of(mf.bm))

    if rank == 1:
        eventually("the store", (folder / "served").exists)
        for certificate, key, authorities, decrypt, code, words in REFUSED:
            use(certificate, key, authorities, decrypt)
            assert (enter(), words in mf.get_last_err_msg()) == (code, True), (certificate, key, mf.get_last_err_msg())
        assert mf.set_conf_store_tls(False) == 0
        assert enter() == -1 and "certificate" in mf.get_last_err_msg(), mf.get_last_err_msg()
        option = mf_smem.TlsOption()  # as the first generation names them, by files
        option.enable_tls, option.tls_top_path, option.tls_ca_file = True, str(folder), {"ca.pem"}
        option.tls_cert, option.tls_pk, option.tls_pk_pwd = "own.pem", "own.key", "secret"
        assert mf_smem.set_ssl_option(option) == 0
    else:
        use("own.pem", "own.key", "ca.pem", lambda cipher: cipher[::-1])
    assert enter() == 0, mf.get_last_err_msg()
    (folder / "served").touch()
    fence = meeting(mf)
    memory = mf.bm.create(0, PART, 0)
    assert memory.join() == 0 and fence.barrier() == 0
    there = memory.peer_rank_ptr(after, BmMemType.HOST)
    assert memory.copy_data(pattern(rank, 1000), there, 1000, BmCopyType.H2G) == 0 and fence.barrier() == 0
    assert (memory.array(1000) == pattern(before, 1000)).all() and fence.barrier() == 0
    memory.destroy()
    if rank == 0:
        eventually("the other one's end", (folder / "gone").exists)  # this process serves the store
    fence.destroy()
    mf.bm.uninitialize()
    mf.shm.uninitialize()
    (folder / "gone").touch()


{"pool": pool, "objects": objects, "certificates": certificates, "first": first,
 "tensors": tensors, "transfer": transfer}[scenario]()
