"""The conformance suite of C (tests/conformance/suite.h) through Python, name by name, over each way to connect. The last
test reads that list: a name without a test here fails.
"""

import gc
import pathlib
import random
import re
import select
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import hmc
from conftest import SOURCE, Couple

PATIENCE = 60


def noise(size, seed=1):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# ---- transfers


def test_sizes_and_odd_offsets(couple):
    region, remote = couple.far(1 << 20)
    view = np.asarray(region)
    for size in (1, 3, 8, 63, 64, 65, 4095, 4097, 65537, 300001):
        for offset in (0, 1, 7, 4093):
            data, back = noise(size, size + offset), np.zeros(size, np.uint8)
            remote.put(data, offset)
            assert (view[offset:offset + size] == data).all()
            remote.get_into(back, offset)
            assert (back == data).all()


def test_up_to_the_edges(couple):
    region, remote = couple.far(10000)
    data = noise(10000)
    remote.put(data)
    remote.put(b"z", 9999)
    assert bytes(memoryview(region)[:9999]) == data[:9999].tobytes() and remote.get(1, 9999) == b"z"
    for offset, size in ((9999, 2), (10001, 1), (0, 10001), (1 << 63, 8)):
        with pytest.raises(hmc.OutOfRangeError):
            remote.put(bytes(size), offset)
        with pytest.raises(hmc.OutOfRangeError):
            remote.get_into(bytearray(size), offset)


def test_registered_memory(couple):
    lent = np.zeros(200000, np.uint8)
    couple.there.register(lent, name="lent")
    remote, data = couple.peer.open("lent"), noise(100000)
    remote.put(data, 99)
    assert (lent[99:100099] == data).all() and not lent[:99].any() and not lent[100099:].any()
    lent[:] = 3
    assert remote.get(1000, 500) == bytes([3]) * 1000


def test_huge(couple):
    region, remote = couple.far(96 << 20)
    data = noise(96 << 20)
    remote.put(data)
    back = np.empty_like(data)
    remote.get_into(back)
    assert (np.asarray(region) == data).all() and (back == data).all()


def test_small_moves_of_every_length(couple):
    region, remote = couple.far(4096)
    for size in range(1, 130):
        data = noise(size, size)
        remote.put(data, size)
        assert remote.get(size, size) == data.tobytes() == bytes(memoryview(region)[size:2 * size])


# ---- requests


def test_many_in_flight(couple):
    region, remote = couple.far(1 << 20)
    data = noise(1 << 20)
    requests = [remote.put_nb(data[i * 1024:(i + 1) * 1024], i * 1024) for i in range(1024)]
    hmc.wait_all(requests)
    assert (np.asarray(region) == data).all() and all(request.done() for request in requests)


def test_request_life(couple):
    region, remote = couple.far(1 << 20)
    request = remote.put_nb(noise(1 << 20))
    assert request.wait() is None and request.status == hmc.status_t.SUCCESS and request.done()
    assert request.exception() is None and request.wait() is None and request.result() is None
    remote.put_nb(b"dropped")
    couple.here.flush()
    assert remote.get(7) == b"dropped"


def test_request_cancel_leaves_memory_alone(couple):
    region, remote = couple.far(32 << 20)
    np.asarray(region)[:] = 1
    for _ in range(10):
        target = np.zeros(32 << 20, np.uint8)
        request = remote.get_into_nb(target)
        request.cancel()
        target[:] = 7
        time.sleep(0.01)
        assert (target == 7).all()


def test_request_waited_for_by_many(couple):
    region, remote = couple.far(16 << 20)
    request, ends = remote.put_nb(noise(16 << 20)), []
    threads = [threading.Thread(target=lambda: ends.append(request.wait(PATIENCE))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ends == [None] * 4


def test_peer_close_cancels(couple):
    region, remote = couple.far(64 << 20)
    requests = [remote.put_nb(np.ones(64 << 20, np.uint8)) for _ in range(2)]
    couple.peer.close()
    for request in requests:
        error = request.exception()
        assert error is None or isinstance(error, hmc.OperationCancelledError)


# ---- several at once


def test_many_threads(couple):
    region, remote = couple.far(8 * 4096)
    wrong = []

    def work(number):
        mine = noise(4096, number)
        for _ in range(50):
            remote.put(mine, number * 4096)
            if remote.get(4096, number * 4096) != mine.tobytes():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong


def test_visible_when_complete(couple):
    region, remote = couple.far(100000)
    view = np.asarray(region)
    for round in range(1, 100):
        data = np.full(1 + round * 900, round, np.uint8)
        remote.put(data)
        assert (view[:data.size] == round).all()


def both_ways(couple, back):
    region, remote = couple.far(1 << 20)
    there = couple.here.allocate(1 << 20, name="near")
    other = back.open("near")
    data = noise(1 << 20), noise(1 << 20, 2)
    threads = [threading.Thread(target=lambda to, what: [to.put(what) for _ in range(20)], args=pair)
               for pair in ((remote, data[0]), (other, data[1]))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (np.asarray(region) == data[0]).all() and (np.asarray(there) == data[1]).all()


def test_both_directions_on_one_connection(couple):
    both_ways(couple, couple.there.accept(timeout=PATIENCE))


def test_both_directions_on_two_connections(couple):
    both_ways(couple, couple.there.connect(str(couple.here.listen("127.0.0.1:0")), via=couple.via))


def test_two_contexts_in_one_process(couple):
    with Couple(couple.via).here as third:
        peer = third.connect(str(couple.address), via=couple.via)
        region, remote = couple.far(64)
        peer.open("far").put(b"third")
        assert remote.get(5) == b"third"


def test_idle_uses_no_processor(couple):
    couple.far(64)[1].put(b"warm")

    def is_idle():
        before = time.process_time()
        time.sleep(1)
        return time.process_time() - before < 0.2

    until(is_idle)      # a busy machine is late with what there is to do after traffic


# ---- regions


def test_many_regions(couple):
    regions = [couple.there.allocate(64, name="r%d" % i) for i in range(200)]
    order = list(range(200))
    random.Random(1).shuffle(order)
    for number in order:
        couple.peer.open("r%d" % number).put(bytes([number]) * 64)
    assert all(bytes(region) == bytes([number]) * 64 for number, region in enumerate(regions))


def test_names(couple):
    for name in ("a", "x" * 63, "with blank", "\N{SNOWMAN}"):
        couple.there.allocate(8, name=name)
        assert couple.peer.open(name).name == name
    with pytest.raises(hmc.NotFoundError):
        couple.peer.open("nobody's")
    with pytest.raises(hmc.HMCError):
        couple.there.allocate(8, name="a")
    with pytest.raises(hmc.HMCError):
        couple.there.allocate(8, name="x" * 64)


def test_remade_region_is_stale(couple):
    region, remote = couple.far(64)
    region.close()
    couple.there.allocate(64, name="far")
    for call in (lambda: remote.put(b"x"), lambda: remote.get(1)):
        with pytest.raises(hmc.StaleError):
            call()
    couple.peer.open("far").put(b"x")


def test_closed_region_is_stale(couple):
    region, remote = couple.far(64)
    remote.put(b"x")
    region.close()
    with pytest.raises(hmc.StaleError):
        remote.put(b"x")
    with pytest.raises(hmc.StaleError):
        remote.put_nb(noise(64)).wait()


def test_closed_region_is_quiet(couple):
    """Once it is closed nothing is written to its memory any more."""
    for _ in range(20):
        lent = np.zeros(4 << 20, np.uint8)
        region = couple.there.register(lent, name="lent")
        remote = couple.peer.open("lent")
        request = remote.put_nb(np.ones(4 << 20, np.uint8))
        region.close()
        lent[:] = 9
        error = request.exception()
        assert (lent == 9).all() and (error is None or isinstance(error, hmc.StaleError))


def test_rights_are_kept(couple):
    couple.there.allocate(64, name="read", rights="r")
    couple.there.allocate(64, name="write", rights="w")
    read, write = couple.peer.open("read"), couple.peer.open("write")
    read.get(8)
    write.put(b"x")
    for call in (lambda: read.put(b"x"), lambda: write.get(1), lambda: read.fetch_add(0, 1), lambda: write.fetch_add(0, 1)):
        with pytest.raises(hmc.DeniedError):
            call()


def test_map_is_coherent(couple):
    region, remote = couple.far(4096)
    view = memoryview(region)
    assert remote.is_mapped_here == (couple.via == "shm")
    for value in range(200):
        view[5] = value
        assert remote.get(1, 5) == bytes([value])
        remote.put(bytes([255 - value]), 5)
        assert view[5] == 255 - value


def test_map_respects_rights(couple):
    couple.there.allocate(64, name="read", rights="r")
    remote = couple.peer.open("read")
    assert remote.get(8) == bytes(8)
    with pytest.raises(hmc.DeniedError):
        remote.put(b"x")


TARGET = """
import sys, time, hmc
ctx = hmc.Context("target")
region = ctx.allocate(4096, name="far")
memoryview(region)[:5] = b"hello"
print(ctx.listen("127.0.0.1:0"), flush=True)
time.sleep(600)
"""


def test_map_outlives_the_peer(couple):
    with subprocess.Popen([sys.executable, "-c", TARGET], stdout=subprocess.PIPE, text=True) as other:
        try:
            remote = couple.here.connect(other.stdout.readline().strip(), via=couple.via).open("far")
            assert remote.get(5) == b"hello"
        finally:
            other.kill()
    other.wait()

    def is_lost():
        try:
            remote.get(5)
        except hmc.PeerLostError:
            return True

    until(is_lost)


# ---- peers


def test_info_tells_who(couple):
    peer = couple.peer
    assert (peer.name, peer.ip, peer.port) == ("there", "127.0.0.1", couple.address.port)
    assert peer.process > 0 and peer.host and peer.is_connected
    assert peer.incarnation != couple.there.accept(timeout=PATIENCE).incarnation


def test_explain_names_the_transport(couple):
    assert couple.via in couple.peer.explain()


def test_required_type_is_kept(couple):
    assert couple.peer.via == couple.via
    works, why = hmc.connection_types()["rdma"]
    if not works:
        with pytest.raises(hmc.UnsupportedError):
            couple.here.connect(str(couple.address), via="rdma")


def test_automatic_type_is_shm_here(couple):
    assert couple.here.connect(str(couple.address)).via == "shm"


def test_accept_gives_each_peer_once(couple):
    first = couple.there.accept(timeout=PATIENCE)
    couple.here.connect(str(couple.address), via=couple.via)
    second = couple.there.accept(timeout=PATIENCE)
    assert first is not second
    with pytest.raises(hmc.DeadlineError):
        couple.there.accept(timeout=0.05)


# ---- atomics, signals, notifications


@pytest.mark.parametrize("width", [4, 8])
def test_atomics_of_every_kind(couple, width):
    region, remote = couple.far(64)
    word = region.word(8, width)
    assert remote.fetch_add(8, 5, width=width) == 0 and remote.fetch_or(8, 8, width=width) == 5
    assert remote.fetch_and(8, 12, width=width) == 13 and remote.fetch_xor(8, 1, width=width) == 12
    assert remote.swap(8, 2 ** (8 * width) - 1, width=width) == 13 and remote.fetch_add(8, 1, width=width) == 2 ** (8 * width) - 1
    assert word.value == 0


def test_atomics_that_are_refused(couple):
    region, remote = couple.far(64)
    for offset, width in ((4, 8), (2, 4), (0, 3)):
        with pytest.raises(hmc.InvalidError):
            remote.fetch_add(offset, 1, width=width)
    with pytest.raises(hmc.OutOfRangeError):
        remote.fetch_add(64, 1)


def test_atomics_from_many(couple):
    region, remote = couple.far(64)
    threads = [threading.Thread(target=lambda: [remote.fetch_add(0, 1) for _ in range(200)]) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert region.word(0).value == 800


def test_atomics_compare_and_swap(couple):
    region, remote = couple.far(64)
    assert remote.compare_swap(0, 1, 9) == 0 and remote.compare_swap(0, 0, 9) == 0 and region.word(0).value == 9


def test_signal_comes_after_the_data(couple):
    region, remote = couple.far(1 << 20)
    word, view = region.word(0), np.asarray(region)
    for round in range(1, 40):
        request = remote.put_nb(np.full(500000, round, np.uint8), 64, signal=remote.signal(0, add=1))
        word.wait(round, timeout=PATIENCE)
        assert (view[64:500064] == round).all()
        request.wait()


def test_signal_stays_away_on_failure(couple):
    region, remote = couple.far(64)
    other, far = couple.far(64, name="other")
    other.close()
    with pytest.raises(hmc.StaleError):
        far.put(b"x", signal=remote.signal(0, add=1))
    assert region.word(0).value == 0


def test_notification_comes_after_the_data(couple):
    region, remote = couple.far(1 << 20)
    view = np.asarray(region)
    for round in range(1, 40):
        request = remote.put_nb(np.full(400000, round, np.uint8), notify=b"%d" % round)
        assert couple.there.notification(timeout=PATIENCE).data == b"%d" % round and (view[:400000] == round).all()
        request.wait()


def test_notification_queue_is_bounded(couple):
    """The next one waits at the sender until there is room, and is not lost."""
    region, remote = couple.far(64)
    count = 1300
    requests = [remote.put_nb(b"x", notify=b"%d" % i, timeout=PATIENCE) for i in range(count)]
    time.sleep(0.2)
    assert not all(request.done() for request in requests)
    assert [couple.there.notification(timeout=PATIENCE).data for _ in range(count)] == [b"%d" % i for i in range(count)]
    hmc.wait_all(requests)


# ---- batches and waiting


def test_batch_of_scattered_pieces(couple):
    region, remote = couple.far(1 << 20)
    local = couple.here.register(noise(1 << 20))
    places = random.Random(2).sample(range(1024), 300)
    batch = remote.batch(local, [(i * 1000, place * 1024, 700) for i, place in enumerate(places)])
    batch.put()
    view, data = np.asarray(region), local.memory_owner
    assert all((view[p * 1024:p * 1024 + 700] == data[i * 1000:i * 1000 + 700]).all() for i, p in enumerate(places))


def test_batch_of_a_block(couple):
    region, remote = couple.far(64 * 64)
    block = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    remote.block((16, 16), strides=(64, 1), offset=100).put(block)
    assert (np.asarray(region)[100:100 + 15 * 64 + 16 + 48].reshape(16, 64)[:, :16] == block).all()
    back = np.zeros_like(block)
    remote.block((16, 16), strides=(64, 1), offset=100).get_into(back)
    assert (back == block).all()


def test_batch_checked_once(couple):
    region, remote = couple.far(64)
    local = couple.here.allocate(64)
    with pytest.raises(hmc.OutOfRangeError, match="piece 1"):
        remote.batch(local, [(0, 0, 8), (60, 0, 8)])
    with pytest.raises(hmc.InvalidError):
        remote.batch(local, [])


def test_wait_for_several(couple):
    region, remote = couple.far(1 << 20)
    requests = [remote.put_nb(noise(1 << 16, i), i << 16) for i in range(16)]
    assert 0 <= hmc.wait_any(requests, PATIENCE) < 16
    assert len(list(hmc.as_completed(requests, PATIENCE))) == 16


def test_flush_waits_for_all(couple):
    region, remote = couple.far(8 << 20)
    requests = [remote.put_nb(np.full(1 << 20, i, np.uint8), i << 20) for i in range(8)]
    couple.peer.flush(timeout=PATIENCE)
    assert all(request.done() for request in requests)
    assert all((np.asarray(region)[i << 20:(i + 1) << 20] == i).all() for i in range(8))


def test_event_descriptor_tells(couple):
    region, remote = couple.far(4 << 20)
    with select.epoll() as epoll:
        epoll.register(couple.there.fileno(), select.EPOLLIN | select.EPOLLET)
        remote.put(noise(100), notify=b"ring")
        assert epoll.poll(PATIENCE)
    assert couple.there.notification(timeout=PATIENCE).data == b"ring"


def test_callbacks_come_once(couple):
    region, remote = couple.far(1 << 20)
    called = []
    requests = [remote.put_nb(noise(1 << 18)) for _ in range(20)]
    for request in requests:
        request.add_done_callback(called.append)
    hmc.wait_all(requests)
    gc.collect()
    assert sorted(map(id, called)) == sorted(map(id, requests))


def test_checksums(couple):
    region, remote = couple.far(300000)
    data, back = noise(300000), np.zeros(300000, np.uint8)
    remote.put(data, checksum=True)
    remote.get_into(back, checksum=True)
    assert (back == data).all() and (np.asarray(region) == data).all()


def test_the_list_is_whole():
    text = (pathlib.Path(SOURCE) / "tests/conformance/suite.h").read_text()
    lists = re.findall(r"#define (\w+_TESTS)\(X\)(.*?)(?=\n#define)", text, re.S)
    names = [name for title, body in lists if title != "ALL_TESTS" for name in re.findall(r"X\((\w+)\)", body)]
    assert len(names) >= 46
    assert not [name for name in names if "test_" + name not in globals()]
