"""Awaiting requests and notifications: by the context's descriptor, in several loops, without a thread."""

import asyncio
import threading
import time

import numpy as np
import pytest

import hmc


def run(main, *arguments):
    return asyncio.run(asyncio.wait_for(main(*arguments), 60))


def test_requests(couple):
    region, remote = couple.far(1 << 20)

    async def main():
        before = threading.active_count()
        data = np.random.default_rng(1).integers(0, 255, 1 << 20, dtype=np.uint8)
        assert await remote.put_nb(data) is None
        assert (np.asarray(region) == data).all()
        assert await remote[10:20].get_nb() == data[10:20].tobytes()
        pieces = await asyncio.gather(*[wrap(remote[i * 8:i * 8 + 8].get_nb()) for i in range(300)])
        assert b"".join(map(bytes, pieces)) == data[:2400].tobytes()
        with pytest.raises(hmc.OutOfRangeError):
            await remote.put_nb(b"x", 1 << 20)
        assert threading.active_count() <= before

    run(main)


async def wrap(request):
    return await request


def test_notifications(couple):
    region, remote = couple.far(4096)

    async def main():
        got = []

        async def listen():
            async for note in couple.there.notifications():
                got.append(note.data)
                if len(got) == 20:
                    return

        task = asyncio.ensure_future(listen())
        for i in range(20):
            await asyncio.sleep(0.005 if i % 3 else 0)
            await remote.put_nb(b"data", notify=b"%d" % i)
        await task
        assert got == [b"%d" % i for i in range(20)]

    run(main)


def test_two_loops_wait_for_one_context(tcp_couple):
    region, remote = tcp_couple.far(1 << 20)

    async def main(number):
        for i in range(50):
            await remote.put_nb(np.full(4096, number, np.uint8), number * 4096)

    threads = [threading.Thread(target=run, args=(main, number)) for number in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert bytes(memoryview(region)[:3 * 4096]) == b"".join(bytes([i]) * 4096 for i in range(3))


def test_several_await_one_request_and_one_gives_up(tcp_couple):
    region, remote = tcp_couple.far(64 << 20)

    async def main():
        request = remote.put_nb(np.ones(64 << 20, np.uint8))
        tasks = [asyncio.ensure_future(wrap(request)) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        assert await tasks[1] is None and await tasks[2] is None
        request = remote.put_nb(np.ones(64 << 20, np.uint8))
        task = asyncio.ensure_future(wrap(request))
        await asyncio.sleep(0)
        if not request.done():
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert request.done()

    run(main)


def test_the_context_closes_under_awaits(tcp_couple):
    region, remote = tcp_couple.far(4096)

    async def main():
        async def listen():
            async for _ in tcp_couple.there.notifications():
                pass
            return "ended"

        task = asyncio.ensure_future(listen())
        await asyncio.sleep(0.01)
        tcp_couple.there.close()
        assert await task == "ended"

    run(main)


def test_callbacks_and_their_exceptions(couple, caplog):
    region, remote = couple.far(4096)
    seen = []
    request = remote.put_nb(b"12345678")
    request.add_done_callback(lambda done: 1 / 0)
    request.add_done_callback(seen.append)
    request.wait()
    assert seen == [request] and "a callback of" in caplog.text
