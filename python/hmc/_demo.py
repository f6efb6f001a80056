"""The other process of `python -m hmc demo`."""

import time

from ._engine import Context


def target(pipe):
    """Owns a region, says what a notification found in it, and stays until the peer has gone."""
    with Context("demo-target") as context:
        region = context.allocate(1 << 20, name="demo")
        pipe.send(str(context.listen("127.0.0.1:0")))
        peer = context.notification(timeout=60).peer
        with memoryview(region) as view:
            pipe.send(bytes(view).split(b"\0")[0].decode())
        while peer is not None and peer.is_connected:
            time.sleep(0.01)
