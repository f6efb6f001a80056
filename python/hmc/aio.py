"""Waiting in an asyncio loop: one descriptor per context and loop, and no thread.

A context's descriptor becomes readable whenever something happens there. It may be watched by several loops at once, so
none of them reads it: each watches it, edge-triggered, through an epoll of its own, and looks at its requests then.
"""

import asyncio
import select

from . import errors


class _Bridge:
    """What one loop awaits of one context."""

    def __init__(self, context, loop):
        self.loop = loop
        self.waiting = {}
        self.listeners = set()
        self.epoll = select.epoll()
        self.epoll.register(context.fileno(), select.EPOLLIN | select.EPOLLET)
        loop.add_reader(self.epoll.fileno(), self.look)

    def look(self):
        self.epoll.poll(0)
        for request in [each for each in self.waiting if each.done()]:
            future = self.waiting.pop(request)
            if not future.done():
                future.set_result(None)
        for listener in list(self.listeners):
            listener.set()

    def close(self):
        """The context closes; from any thread."""
        if self.epoll.closed:
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self.loop or not self.loop.is_running():
            self._close()
        else:
            try:
                self.loop.call_soon_threadsafe(self._close)
            except RuntimeError:  # it was closed meanwhile
                self._close()

    def _close(self):
        if not self.loop.is_closed():
            self.loop.remove_reader(self.epoll.fileno())
        self.epoll.close()
        for listener in list(self.listeners):
            listener.set()
        for future in self.waiting.values():
            if not future.done() and not self.loop.is_closed():
                future.set_result(None)
        self.waiting.clear()


def bridge_of(context):
    loop = asyncio.get_running_loop()
    bridges = context._bridges
    if bridges is None:
        bridges = context._bridges = {}
    bridge = bridges.get(loop)
    if bridge is None or bridge.epoll.closed:
        for other in [each for each in bridges if each.is_closed()]:
            bridges.pop(other).epoll.close()
        bridge = bridges[loop] = _Bridge(context, loop)
    return bridge


async def wait(context, request):
    """The result of a request. Where the awaiting task is cancelled, so is the request."""
    bridge = bridge_of(context)
    while not request.done():
        future = bridge.waiting.get(request)
        if future is None:
            future = bridge.waiting[request] = bridge.loop.create_future()
            if request.done():  # between the look and the watch
                bridge.waiting.pop(request, None)
                break
        try:
            await asyncio.shield(future) if False else await future
        except asyncio.CancelledError:
            bridge.waiting.pop(request, None)
            request.cancel()
            raise
        if bridge.epoll.closed:
            break
    return request.wait()


async def notifications(context):
    raise errors.UnsupportedError(2, "not yet")
    yield
