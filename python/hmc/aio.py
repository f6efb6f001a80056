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
            self.wake(self.waiting.pop(request))
        for listener in list(self.listeners):
            listener.set()

    @staticmethod
    def wake(futures):
        for future in futures:
            if not future.done():
                future.set_result(None)

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
        if self.epoll.closed:
            return
        if not self.loop.is_closed():
            self.loop.remove_reader(self.epoll.fileno())
        self.epoll.close()
        if self.loop.is_closed():
            return
        for listener in list(self.listeners):
            listener.set()
        for futures in self.waiting.values():
            self.wake(futures)
        self.waiting.clear()


def bridge_of(context):
    """What the running loop awaits of a context, made when it is first asked for."""
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
    future = bridge.loop.create_future()
    bridge.waiting.setdefault(request, []).append(future)
    if request.done():  # between the first look and the watch
        bridge.wake(bridge.waiting.pop(request, ()))
    try:
        await future
    except asyncio.CancelledError:
        futures = bridge.waiting.get(request, [])
        if future in futures:
            futures.remove(future)
        if not futures:
            bridge.waiting.pop(request, None)
            request.cancel()
        raise
    return request.wait()


async def notifications(context):
    """Notifications in the order they came, until the context closes."""
    bridge = bridge_of(context)
    arrived = asyncio.Event()
    bridge.listeners.add(arrived)
    try:
        while not context.is_closed:
            note = context.poll_notification()
            if note is not None:
                yield note
                continue
            await arrived.wait()
            arrived.clear()
    finally:
        bridge.listeners.discard(arrived)
