"""The package, by both kinds of names; started by hmcrun or with torchrun's environment."""

import ctypes
import sys

import numpy

import shmem


def natural():
    me, n = shmem.my_pe(), shmem.n_pes()
    after, before = (me + 1) % n, (me - 1) % n
    mine = shmem.zeros((3, 4))
    shmem.put(mine, numpy.arange(12.0).reshape(3, 4) + 100 * me, after)
    shmem.barrier_all()
    assert (mine == numpy.arange(12.0).reshape(3, 4) + 100 * before).all()
    got = numpy.empty((3, 4))
    shmem.get(got, mine, after)
    assert (got == numpy.arange(12.0).reshape(3, 4) + 100 * me).all()
    shmem.barrier_all()
    shmem.put_nbi(mine[1], [7.0, 8.0, 9.0, 10.0], after)
    shmem.barrier_all()
    assert mine[1].tolist() == [7, 8, 9, 10]
    shmem.barrier_all()
    large = shmem.zeros(1 << 21)
    shmem.put_nbi(large, [float(me)] * (1 << 21), after)  # which nobody keeps
    shmem.barrier_all()
    assert (large == before).all()
    shmem.barrier_all()
    shmem.put_nbi(large, numpy.full(1 << 21, float(me + 1)), after)  # likewise
    shmem.barrier_all()
    assert (large == before + 1).all()
    shmem.get_nbi(numpy.empty(1 << 21), large, after)
    got = numpy.zeros(1)
    holders = sys.getrefcount(got)
    for _ in range(5000):  # more than are held at a time
        shmem.get_nbi(got, large[:1], after)
    shmem.barrier_all()
    assert got[0] == me + 1 and sys.getrefcount(got) == holders
    shmem.free(large)
    there = shmem.ptr(mine, after)
    assert there is None or there.shape == (3, 4)

    count = shmem.zeros(1, numpy.int64)
    for _ in range(10):
        shmem.atomic_add(count, 2, 0)
    shmem.barrier_all()
    assert shmem.atomic_fetch(count, 0) == 20 * n
    shmem.barrier_all()
    assert shmem.atomic_compare_swap(count, 1, 2, n - 1) == (20 * n if n == 1 else 0)
    shmem.barrier_all()

    for dtype in (numpy.float32, numpy.float64, numpy.int32, numpy.uint8, numpy.complex128):
        source, total = shmem.full(5, me + 1, dtype), shmem.zeros(5, dtype)
        shmem.sum_reduce(total, source)
        assert (total == n * (n + 1) // 2).all(), (dtype, total)
        shmem.free(total)
        shmem.free(source)
    source, all_of = shmem.array([me, me * me]), shmem.zeros((n, 2), int)
    shmem.fcollect(all_of, source)
    assert all_of.tolist() == [[pe, pe * pe] for pe in range(n)]
    shmem.barrier_all()
    shmem.broadcast(all_of, source, root=n - 1)
    shmem.barrier_all()
    assert all_of[0].tolist() == [n - 1, (n - 1) ** 2]
    shmem.sum_inscan(all_of[0], source)
    assert all_of[0][0] == me * (me + 1) // 2

    signal = shmem.zeros(1, numpy.uint64)
    shmem.put_signal(mine, numpy.full((3, 4), 5.0), signal, 1, shmem.SIGNAL_ADD, after)
    shmem.signal_wait(signal, shmem.CMP_GE, 1)
    assert (mine == 5).all()
    backwards = shmem.TEAM_WORLD.split_strided(n - 1, -1)
    assert backwards.n_pes() == n and backwards.my_pe() == n - 1 - me
    backwards.destroy()
    if n > 1:
        try:
            shmem.alltoall(shmem.zeros(n + 1), shmem.zeros(n + 1))
        except ValueError:
            pass
        else:
            raise AssertionError("cut within an element")
    even = shmem.TEAM_WORLD.split_strided(0, 2)
    assert (even is not None) == (me % 2 == 0)
    if even:
        assert even.my_pe() == me // 2 and even.translate_pe() == me
        even.sync()
        even.destroy()
    lock = shmem.Lock()
    turns = shmem.zeros(1, int)
    for _ in range(20):
        with lock:
            value = numpy.empty(1, int)
            shmem.get(value, turns, 0)
            shmem.put(turns, value + 1, 0)
            shmem.quiet()
    shmem.barrier_all()
    if me == 0:
        assert turns[0] == 20 * n
    for wrong in (lambda: shmem.put(mine[:, 1], [1.0], 0), lambda: shmem.put(mine, numpy.zeros(99), 0),
                  lambda: shmem.empty(2, "datetime64[s]") is None or shmem.sum_reduce(mine.astype("S1"), mine)):
        try:
            wrong()
        except (ValueError, TypeError):
            continue
        raise AssertionError("taken")


def ascend():
    me, n = shmem.my_pe(), shmem.pe_count()
    assert shmem.aclshmemx_init_status() == shmem.InitStatus.INITIALIZED
    block = shmem.aclshmem_calloc(16, 4)
    text = ctypes.create_string_buffer(f"from {me}".encode(), 16)
    shmem.aclshmem_putmem(block, ctypes.addressof(text), 16, (me + 1) % n)
    shmem.barrier_all()
    assert ctypes.string_at(block) == f"from {(me - 1) % n}".encode()
    shmem.barrier_all()
    shmem.aclshmemx_putmem_signal(block, ctypes.addressof(text), 16, block + 32, 3, shmem.SignalOp.SIGNAL_SET,
                                  (me + 1) % n)
    shmem.aclshmem_signal_wait_until(block + 32, shmem.CmpOp.CMP_EQ, 3)
    x_team, y_team = shmem.team_split_2d(0, 2)
    assert shmem.team_translate_pe(x_team, shmem.team_my_pe(x_team), 0) == me and shmem.team_n_pes(y_team) >= 1
    assert shmem.aclshmem_info_get_name() == "ACLSHMEM v1.1.1" and shmem.aclshmem_info_get_version() == (1, 1)
    assert shmem.set_conf_store_tls(False, "") != 0  # too late
    shmem.barrier_all()
    shmem.aclshmem_free(block)


def devices():
    me, n = shmem.my_pe(), shmem.pe_count()
    buffer = shmem.DeviceBuffer(80)
    mine, got = numpy.arange(8.0) + me, numpy.zeros(8)
    buffer.put(mine, (me + 1) % n, offset=16)
    shmem.barrier_all()
    buffer.get(got, offset=16)
    assert (got == numpy.arange(8.0) + (me - 1) % n).all()
    buffer.get(got, (me + 1) % n, offset=16)
    assert (got == mine).all() and buffer.ptr(me) == buffer.address
    for wrong in (lambda: buffer.put(mine, offset=17), lambda: buffer.get(got, offset=-8)):
        try:
            wrong()
        except ValueError:
            continue
        raise AssertionError("taken")
    shmem.barrier_all()
    buffer.free()
    sides = [shmem.aclshmemx_get_heap_base(side) for side in shmem.MemType]
    block = shmem.aclshmem_malloc(64)
    assert sides[0] != sides[1] and block >= sides[1] and shmem.aclshmemx_get_heap_base() == sides[1]
    shmem.aclshmem_putmem(block, mine.ctypes.data, 64, me)
    shmem.aclshmem_getmem(got.ctypes.data, block, 64, me)
    assert (got == mine).all()
    shmem.aclshmem_free(block)


def keys():
    """The key of a certificate: its password goes through the program's function, before init."""
    seen = []

    def read_backwards(cipher):
        seen.append(cipher)
        return cipher[::-1]

    def fail(_cipher):
        raise RuntimeError("shown by sys.excepthook")

    assert shmem.set_conf_store_tls_key("a key", "terces", read_backwards) == 0 and seen == ["terces"]
    shown, sys.excepthook = sys.excepthook, lambda kind, error, trace: seen.append(error)
    for wrong in (fail, lambda cipher: cipher * 1000, lambda cipher: None):
        assert shmem.set_conf_store_tls_key("a key", "terces", wrong) == -1
    sys.excepthook = shown
    assert [type(each) for each in seen[1:]] == [RuntimeError, ValueError, AttributeError]
    assert shmem.set_conf_store_tls_key("", "") == 0


def long_transfers():
    """They last as long as a call waits before it looks for signals, about, and end at any moment of that."""
    me, n = shmem.my_pe(), shmem.n_pes()
    large, got = shmem.full(40 << 20, me + 1, numpy.uint8), numpy.zeros(40 << 20, numpy.uint8)
    for _ in range(40):
        shmem.get(got, large, (me + 1) % n)
        assert got[0] == got[-1] == (me + 1) % n + 1
        got[-1] = 0
    shmem.barrier_all()
    shmem.free(large)


def main():
    keys()
    assert shmem.set_conf_store_tls(True, "") == 0
    shmem.init(64 << 20)
    assert shmem.set_conf_store_tls_key("too late", "") != 0
    natural()
    long_transfers()
    ascend()
    shmem.finalize()
    shmem.init(4 << 20, 2 << 20, "sim")
    devices()
    shmem.finalize()
    attributes = shmem.InitAttr()
    attributes.local_mem_size = 1 << 20
    assert shmem.aclshmem_init(attributes) == 0 and shmem.pe_count() == 1
    assert shmem.aclshmem_finialize() == 0
    uid = shmem.aclshmem_get_unique_id()
    assert len(uid) == 136 and shmem.aclshmem_init_using_unique_id(0, 1, 1 << 20, b"short") == -1
    assert shmem.aclshmem_init_using_unique_id(0, 1, 1 << 20, uid) == 0
    shmem.aclshmem_finalize()
    try:
        shmem.set_extern_logger("not callable")
    except TypeError:
        pass
    else:
        raise AssertionError("taken")
    lines = []
    assert shmem.set_extern_logger(lambda level, text: lines.append(text)) == 0 and shmem.set_log_level(0) == 0
    shmem.init(4 << 20)
    shmem.put(shmem.zeros(1), [1.0], (shmem.my_pe() + 1) % shmem.n_pes())
    print("passed")


main()  # the job is left when the interpreter has ended, which no line of the log disturbs
