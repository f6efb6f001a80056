"""asyncio: many transfers at once, and notifications by `async for`, in one thread."""

import asyncio

import hmc


async def serve(ctx, region, count):
    """Takes messages until `count` have come."""
    total = 0
    async for note in ctx.notifications():
        offset, size = map(int, note.data.split())
        total += len(bytes(memoryview(region)[offset:offset + size]))
        count -= 1
        if not count:
            return total


async def send(remote, number):
    payload = b"%d" % number * 1000
    offset = number * 10000
    await remote.put_nb(payload, offset, notify=b"%d %d" % (offset, len(payload)))
    assert await remote[offset:offset + 4].get_nb() == payload[:4]
    return len(payload)


async def main():
    with hmc.Context("server") as server, hmc.Context("client") as client:
        region = server.allocate(1 << 20, name="inbox")
        remote = client.connect(str(server.listen("127.0.0.1:0")), via="tcp").open("inbox")
        served = asyncio.ensure_future(serve(server, region, 50))
        sent = sum(await asyncio.gather(*[send(remote, number) for number in range(50)]))
        print("sent %d bytes, received %d" % (sent, await served))


if __name__ == "__main__":
    asyncio.run(main())
