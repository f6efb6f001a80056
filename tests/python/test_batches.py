"""Batches over several regions and peers, notifications of any size, and awaits that are over at once."""

import asyncio
import time

import numpy as np
import pytest

import hmc


def test_batch_over_several_regions(couple):
    fars = [couple.far(4096, name="far%d" % i) for i in range(3)]
    mine = [couple.here.register(np.full(4096, i + 1, np.uint8)) for i in range(2)]
    rows = [(place % 2, place % 3, 64 * place, 64 * (20 - place), 64) for place in range(20)]
    batch = couple.here.batch(mine, [remote for _, remote in fars], np.array(rows, np.int64))
    assert len(batch) == 20 and batch.nbytes == 20 * 64
    for _ in range(2):
        batch.start(notify=b"all of them")
        assert couple.there.notification(timeout=60).data == b"all of them"
    for ours, theirs, _, at, size in rows:
        assert bytes(memoryview(fars[theirs][0])[at:at + size]) == bytes([ours + 1]) * size
    request = couple.here.batch(mine[:1], [fars[2][1]], [(0, 0, 0, 1024, 64)], get=True).start_nb(notify=b"read")
    request.wait()
    assert couple.there.notification(timeout=60).data == b"read"
    assert bytes(memoryview(fars[2][0])[1024:1088]) == bytes(mine[0].memory_owner[:64])


def test_batch_to_several_peers(couple):
    with hmc.Context("third", timeout=20) as third:
        third.allocate(64, name="far")
        other = couple.here.connect(str(third.listen("127.0.0.1:0")), via=couple.via).open("far")
        region, remote = couple.far(64)
        mine = couple.here.register(np.arange(64, dtype=np.uint8))
        couple.here.batch([mine], [remote, other], [(0, 0, 0, 0, 32), (0, 1, 32, 0, 32)]).start()
        assert bytes(memoryview(region)[:32]) == bytes(range(32)) and other.get(32) == bytes(range(32, 64))


def test_bad_batches(couple):
    region, remote = couple.far(64)
    mine = couple.here.allocate(64)
    for pieces in ([], [(1, 0, 0, 0, 8)], [(0, -1, 0, 0, 8)], np.zeros((2, 4), np.int64), np.zeros((2, 5), np.int32)):
        with pytest.raises(hmc.InvalidError):
            couple.here.batch([mine], [remote], pieces)
    with pytest.raises(hmc.OutOfRangeError):
        couple.here.batch([mine], [remote], [(0, 0, 60, 0, 8)])
    for stranger in (0, (), [], None, b"", object(), bytearray(64), couple.here):
        with pytest.raises(TypeError, match="regions is a list of Region"):
            couple.here.batch([stranger], [remote], [(0, 0, 0, 0, 8)])
        with pytest.raises(TypeError, match="remotes is a list of Remote"):
            couple.here.batch([mine], [stranger], [(0, 0, 0, 0, 8)])
    batch = couple.here.batch([mine], [remote], [(0, 0, 0, 0, 8)])
    mine.close()
    with pytest.raises(hmc.ClosedError):
        batch.start()
    with pytest.raises(hmc.ClosedError):
        couple.here.batch([mine], [remote], [(0, 0, 0, 0, 8)])


def test_closing_a_region_cancels_its_batches(tcp_couple):
    region, remote = tcp_couple.far(64 << 20)
    mine, other = tcp_couple.here.allocate(64 << 20), tcp_couple.here.allocate(64)
    batch = tcp_couple.here.batch([other, mine], [remote], [(1, 0, 0, 0, 64 << 20)])
    request = batch.start_nb()
    mine.close()
    assert request.done()
    assert request.exception() is None or isinstance(request.exception(), hmc.OperationCancelledError)


def test_long_notifications(couple):
    region, remote = couple.far(64)
    sent = [b"short", bytes(range(256)) * 400, b"x" * 4097, b"end"]
    for note in sent:
        remote.notify(note)
    assert [couple.there.notification(timeout=60).data for _ in sent] == sent


def test_batches_tell_what_they_read(couple):
    region, remote = couple.far(4096)
    batch = remote.batch(couple.here.allocate(4096), [(0, 0, 100), (200, 300, 100)])
    batch.get(notify=b"taken")
    assert couple.there.notification(timeout=60).data == b"taken"


def test_awaits_let_other_tasks_run(couple):
    """A task whose every request is over at once gives the loop back now and then."""
    region, remote = couple.far(64)

    async def main():
        turns, deadline = 0, time.monotonic() + 60
        finished = asyncio.Event()

        async def other():
            nonlocal turns
            while not finished.is_set():
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        while turns < 5 and time.monotonic() < deadline:
            await remote.put_nb(b"12345678")
        finished.set()
        await task
        return turns

    assert asyncio.run(main()) >= 5


def test_secret_of_a_context():
    secret = "0123456789abcdef0123"
    with hmc.Context("one", secret=secret) as one, hmc.Context("two", secret=secret.encode()) as two, \
            hmc.Context("stranger", secret="another secret of them") as stranger:
        address = str(one.listen("127.0.0.1:0"))
        assert two.connect(address).is_connected
        with pytest.raises(hmc.DeniedError):
            stranger.connect(address)
