"""The natural API: contexts, peers, regions, puts and gets, over each transport."""

import array
import mmap
import sys
import types

import numpy as np
import pytest

import hmc


def test_put_and_get(couple):
    region, remote = couple.far(1 << 20)
    data = np.random.default_rng(1).integers(0, 255, 1 << 19, dtype=np.uint8)
    remote[4096:4096 + data.nbytes].put(data)
    assert bytes(memoryview(region)[4096:4096 + data.nbytes]) == data.tobytes()
    back = np.empty_like(data)
    remote.get_into(back, 4096)
    assert (back == data).all()
    assert remote[4096:4100].get() == data[:4].tobytes()


@pytest.mark.parametrize("make", [
    lambda b: b, bytearray, memoryview, lambda b: array.array("B", b), lambda b: np.frombuffer(b, np.uint32),
], ids=["bytes", "bytearray", "memoryview", "array", "numpy"])
@pytest.mark.parametrize("size", [8, 4096, 65536])
def test_kinds_of_buffers(couple, make, size):
    region, remote = couple.far(size)
    data = bytes(range(256)) * (size // 256 + 1)
    remote.put(make(data[:size]))
    assert bytes(memoryview(region)) == data[:size]


def test_mmap_both_ways(couple):
    region, remote = couple.far(8192)
    with mmap.mmap(-1, 8192) as out, mmap.mmap(-1, 8192) as back:
        out[:5] = b"hello"
        remote.put(out)
        remote.get_into(back)
        assert back[:] == out[:]


def test_registered_memory_is_the_callers_own(couple):
    mine = np.arange(1000, dtype=np.int64)
    couple.there.register(mine, name="mine")
    remote = couple.peer.open("mine")
    remote[8:16].put(np.int64(-5))
    assert mine[1] == -5
    mine[2] = 77
    assert int.from_bytes(remote[16:24].get(), "little") == 77


@pytest.mark.parametrize("cut", [
    np.s_[:, :], np.s_[::2, :], np.s_[:, ::3], np.s_[::-1, :], np.s_[1:5, 2:9], np.s_[:, ::-2],
], ids=str)
def test_strided_arrays(couple, cut):
    region, remote = couple.far(1 << 16)
    whole = np.random.default_rng(2).integers(0, 1 << 30, (40, 36), dtype=np.int32)
    part = whole[cut]
    remote[0:part.nbytes].put(part)
    assert bytes(memoryview(region)[:part.nbytes]) == part.tobytes()
    target = np.zeros_like(whole)
    remote[0:part.nbytes].get_into(target[cut])
    assert (target[cut] == part).all()
    target[cut] = 0
    assert not target.any()


def test_many_dimensions_and_transposed(couple):
    region, remote = couple.far(1 << 16)
    part = np.random.default_rng(3).integers(0, 255, (4, 6, 5, 7, 3), dtype=np.uint8)[:, ::2].transpose(4, 0, 2, 3, 1)
    remote.put(part)
    assert bytes(memoryview(region)[:part.nbytes]) == part.tobytes()


def test_strided_at_both_ends(couple):
    region, remote = couple.far(100 * 100)
    there = np.asarray(region).reshape(100, 100)
    data = np.random.default_rng(4).integers(0, 255, (20, 30), dtype=np.uint8)
    remote.block((20, 30), strides=(100, 1), offset=1010).put(data)
    assert (there[10:30, 10:40] == data).all() and there.sum() == data.sum(dtype=np.int64)
    back = np.zeros((20, 60), np.uint8)
    remote.block((20, 30), strides=(100, 1), offset=1010).get_into(back[:, ::2])
    assert (back[:, ::2] == data).all() and not back[:, 1::2].any()
    remote[0:100:10].put(b"0123456789")
    assert bytes(there[0, ::10]) == b"0123456789"


def test_requests(couple):
    region, remote = couple.far(1 << 20)
    sources = [np.full(1 << 15, i, np.uint8) for i in range(32)]
    requests = [remote[i << 15:(i + 1) << 15].put_nb(each) for i, each in enumerate(sources)]
    hmc.wait_all(requests)
    assert all(each.done() and each.status == hmc.status_t.SUCCESS for each in requests)
    assert (np.asarray(region).reshape(32, -1) == np.arange(32, dtype=np.uint8)[:, None]).all()
    assert remote[0:10].get_nb().wait() == bytes(10)
    gets = [remote[i << 15:(i << 15) + 4].get_nb() for i in range(32)]
    assert sorted(each.wait()[0] for each in hmc.as_completed(gets)) == list(range(32))


def test_nobody_holds_the_request(couple):
    region, remote = couple.far(1 << 20)
    for i in range(200):
        remote[i * 8:i * 8 + 8].put_nb(np.int64(i))
    couple.here.flush()
    assert (np.asarray(region).view(np.int64)[:200] == np.arange(200)).all()


def test_batches(couple):
    region, remote = couple.far(1 << 16)
    local = couple.here.allocate(1 << 16)
    mine = np.asarray(local)
    mine[:] = np.random.default_rng(5).integers(0, 255, 1 << 16)
    pieces = [(i * 300, i * 500, 100 + i) for i in range(122)]
    batch = remote.batch(local, pieces)
    assert len(batch) == 122 and batch.nbytes == sum(each[2] for each in pieces)
    batch.put()
    for here, there, length in pieces:
        assert bytes(memoryview(region)[there:there + length]) == mine[here:here + length].tobytes()
    copy = mine.copy()
    mine[:] = 0
    remote.batch(local, np.array(pieces, np.uint64)).get_nb().wait()
    for here, _, length in pieces:
        assert (mine[here:here + length] == copy[here:here + length]).all()
    with pytest.raises(hmc.OutOfRangeError):
        remote.batch(local, [(0, 0, 1), (0, 1 << 16, 1)])
    del mine


def test_atomics(couple):
    region, remote = couple.far(64)
    assert remote.fetch_add(8, 5) == 0 and remote.fetch_add(8, -6) == 5
    assert region.word(8).value == (1 << 64) - 1
    assert remote.swap(8, 12) == (1 << 64) - 1
    assert remote.compare_swap(8, 12, 3) == 12 and remote.compare_swap(8, 12, 4) == 3
    assert remote.fetch_or(8, 4) == 3 and remote.fetch_and(8, 6) == 7 and remote.fetch_xor(8, 1) == 6
    assert remote.fetch_add(16, 1 << 31, width=4) == 0 and remote.fetch_add(16, 1 << 31, width=4) == 1 << 31
    assert region.word(16, 4).value == 0


def test_signals_and_notifications(couple):
    region, remote = couple.far(4096)
    remote.put(b"data", signal=remote.signal(1024, add=2), notify=b"first")
    assert region.word(1024).wait(2, timeout=10) == 2
    assert bytes(memoryview(region)[:4]) == b"data"
    note = couple.there.notification(timeout=10)
    assert note.data == b"first" and note.peer.name == "here"
    assert note.peer is couple.there.accept(timeout=10)
    remote[0:4].put_nb(b"more", signal=remote.signal(1024, set=9)).wait()
    assert region.word(1024).wait(9, "==", timeout=10) == 9
    remote.notify(b"alone")
    assert bytes(couple.there.notification(timeout=10)) == b"alone"
    with pytest.raises(hmc.DeadlineError):
        couple.there.notification(timeout=0.01)


def test_checksum(couple):
    region, remote = couple.far(1 << 16)
    data = np.random.default_rng(6).integers(0, 255, 1 << 16, dtype=np.uint8)
    remote.put(data, checksum=True)
    back = np.empty_like(data)
    remote.get_into(back, checksum=True)
    assert (back == data).all()


def test_device_memory(couple):
    """Device memory goes in and out by __cuda_array_interface__; the software accelerator faults where it is touched."""
    region, remote = couple.far(1 << 16, "dev", memory="sim")
    assert remote.memory == "sim:0" and region.memory == "sim:0"
    data = np.random.default_rng(7).integers(0, 255, 1 << 16, dtype=np.uint8)
    device = hmc.allocate(1 << 16, "sim")
    hmc.copy(device, data)
    assert hmc.memory_of(device) == "sim:0" and hmc.memory_of(data) == "cpu"
    remote.put(device)
    back = np.zeros_like(data)
    remote.get_into(back)
    assert (back == data).all()
    with pytest.raises(BufferError):
        memoryview(region)


def test_progress(couple):
    region, remote = couple.far(64 << 20)
    seen = []
    remote[0:64 << 20].put(np.ones(64 << 20, np.uint8), progress=seen.append, signal=None, notify=b"all")
    assert seen[-1] == 64 << 20 and seen == sorted(seen) and len(seen) == 4
    assert np.asarray(region).all() and couple.there.notification(timeout=10).data == b"all"
    remote[0:8].put(b"12345678", progress=True)


def test_a_bar_where_tqdm_is_installed(shm_couple, monkeypatch):
    class Bar:
        made = []

        def __init__(self, total, desc, **more):
            self.total, self.desc, self.moved, self.is_closed = total, desc, 0, False
            self.made.append(self)

        def update(self, moved):
            self.moved += moved

        def close(self):
            self.is_closed = True

    stand_in = types.ModuleType("tqdm.auto")
    stand_in.tqdm = Bar
    monkeypatch.setitem(sys.modules, "tqdm", types.ModuleType("tqdm"))
    monkeypatch.setitem(sys.modules, "tqdm.auto", stand_in)
    region, remote = shm_couple.far(40 << 20)
    data = bytearray(remote.nbytes)
    remote[0:len(data)].get_into(data, progress=True)
    bar, = Bar.made
    assert (bar.total, bar.moved, bar.desc, bar.is_closed) == (40 << 20, 40 << 20, "far", True)


def test_words_and_reprs(couple):
    region, remote = couple.far(4096)
    for text, what in [(couple.here, "1 peers"), (couple.there, str(couple.address)), (couple.peer, couple.via),
                       (region, "'far', 4096 B of cpu"), (remote, "'far' at 127.0.0.1"), (remote[0:4], "4 B from 0"),
                       (region.word(0), "Word"), (remote.batch(couple.here.allocate(8), [(0, 0, 8)]), "1 pieces"),
                       (remote.put_nb(b"12345678"), "8 B with"), (hmc.Notification(b"x"), "b'x'"),
                       (remote.signal(0, set=3), "set 3"), (hmc.allocate(8, "cpu"), "8 B of cpu")]:
        assert what in repr(text), repr(text)
    assert couple.peer.via == couple.via and couple.peer.is_connected and couple.peer.process
    assert couple.via in couple.peer.explain()
