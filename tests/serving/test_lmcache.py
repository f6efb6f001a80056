"""hmc.compat.lmcache through LMCache's factory: as LMCache uses a channel, call by call. Where LMCache itself is installed
(make test-vllm), the cases that all channels have in common run over its own ones, NIXL's and Mooncake's, too.
"""

import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

OURS = [("hmc", {}), ("hmc", {"transport": "tcp"})]
THEIRS = []
if importlib.util.find_spec("lmcache") is None:
    import lmcache_standin

    lmcache_standin.install()
else:
    import lmcache.v1.distributed.transfer_channel.impl  # noqa: F401  registers them

    THEIRS = [("nixl", {}), ("mooncake_te", {})]

from lmcache.v1.distributed.internal_api import L1MemoryDesc  # noqa: E402
from lmcache.v1.distributed.transfer_channel.api import TransferChannelAddress  # noqa: E402
from lmcache.v1.distributed.transfer_channel.abstract import TransferChannelClient, TransferChannelServer  # noqa: E402
from lmcache.v1.distributed.transfer_channel.factory import (create_transfer_channel_context,  # noqa: E402
                                                             register_transfer_channel_factory)

import hmc.compat.lmcache  # noqa: E402,F401

SIZE, PAGE = 1 << 20, 4096
PATIENCE = 60


class End:
    def __init__(self, channel="hmc", **more):
        self.memory = numpy.zeros(SIZE, dtype=numpy.uint8)
        self.url = "127.0.0.1:%d" % free_port()
        self.context = create_transfer_channel_context(
            channel, l1_memory_desc=L1MemoryDesc(ptr=self.memory.ctypes.data, size=SIZE, align_bytes=PAGE),
            listen_url=self.url, advertise_url=self.url, **more)

    def addresses(self, *pairs):
        return self.context.get_transfer_channel_address(list(pairs))


def pair_of(channel, more):
    made = End(channel, **more), End(channel, **more)
    yield made
    for each in made:
        each.context.close()


@pytest.fixture(params=OURS + THEIRS, ids=str)
def any_ends(request):
    yield from pair_of(*request.param)


@pytest.fixture(params=OURS, ids=str)
def ends(request):
    yield from pair_of(*request.param)


def result(client, task):
    deadline = time.monotonic() + PATIENCE
    while True:
        said = client.query_read_status(task)
        if said.is_finished():
            return said.succeeded_mask
        assert said.succeeded_mask == [] and time.monotonic() < deadline


def test_reads(any_ends):
    here, there = any_ends
    there.memory[:] = numpy.random.default_rng(1).integers(0, 256, SIZE, dtype=numpy.uint8)
    client = here.context.get_transfer_channel_client(there.url)
    assert isinstance(client, TransferChannelClient)
    assert isinstance(here.context.get_transfer_channel_server(), TransferChannelServer)
    mine, theirs = here.addresses((0, PAGE), (2 * PAGE, 2 * PAGE)), there.addresses((PAGE, PAGE), (16 * PAGE, 2 * PAGE))
    assert [(each.offset, each.size) for each in mine] == [(0, PAGE), (2 * PAGE, 2 * PAGE)]
    first, second = client.submit_read(mine, theirs), client.submit_read(mine[:1], theirs[:1])
    assert first != second
    assert result(client, first) == [True, True] and result(client, second) == [True]
    assert (here.memory[:PAGE] == there.memory[PAGE:2 * PAGE]).all()
    assert (here.memory[2 * PAGE:4 * PAGE] == there.memory[16 * PAGE:18 * PAGE]).all()
    assert not here.memory[PAGE:2 * PAGE].any() and not here.memory[4 * PAGE:].any()
    with pytest.raises(KeyError):
        client.query_read_status(first)     # it was said to be over


def test_both_directions(any_ends):
    here, there = any_ends
    for value, (one, other) in enumerate(((here, there), (there, here)), 1):
        other.memory[:] = value
        client = one.context.get_transfer_channel_client(other.url)
        assert result(client, client.submit_read(one.addresses((0, SIZE)), other.addresses((0, SIZE)))) == [True]
        assert (one.memory == value).all()


def test_one_client_per_peer(any_ends):
    here, there = any_ends
    client = here.context.get_transfer_channel_client(there.url)
    assert here.context.get_transfer_channel_client(there.url) is client
    assert here.context.get_num_connected_clients() == 1
    assert there.context.get_num_connected_clients() == 1   # who was dialled counts the one that dialled
    here.context.remove_transfer_channel_client(there.url)
    here.context.remove_transfer_channel_client(there.url)
    assert here.context.get_num_connected_clients() == 0
    assert here.context.get_transfer_channel_client(there.url) is not client


def test_refused(any_ends):
    here, there = any_ends
    client = here.context.get_transfer_channel_client(there.url)
    with pytest.raises(ValueError):
        client.submit_read(here.addresses((0, PAGE)), [])
    with pytest.raises(KeyError):
        client.query_read_status(12345)
    for outside in ((-PAGE, PAGE), (SIZE - PAGE, 2 * PAGE), (SIZE, PAGE)):
        with pytest.raises(ValueError):
            here.addresses((0, PAGE), outside)
    assert here.context.advertise_url == here.url


def test_bad_reads(ends):
    here, there = ends
    client = here.context.get_transfer_channel_client(there.url)
    with pytest.raises(ValueError):
        client.submit_read(here.addresses((0, 8)), there.addresses((0, 16)))
    there.memory[:64] = 9
    task = client.submit_read(here.addresses((0, 64), (64, 64)),
                              [TransferChannelAddress(offset=0, size=64), TransferChannelAddress(offset=SIZE - 8, size=64)])
    assert result(client, task) == [True, False] and (here.memory[:64] == 9).all() and not here.memory[64:].any()
    with pytest.raises(ValueError):
        create_transfer_channel_context("hmc", l1_memory_desc=L1MemoryDesc(ptr=here.memory.ctypes.data, size=SIZE,
                                        align_bytes=1), listen_url="nowhere", advertise_url="nowhere")


def test_registered_once():
    with pytest.raises(ValueError):
        register_transfer_channel_factory("hmc", lambda **more: None)


def test_cache_that_is_closed(ends):
    here, there = ends
    client = here.context.get_transfer_channel_client(there.url)
    there.context.close()
    try:
        task = client.submit_read(here.addresses((0, 64)), there.addresses((0, 64)))
    except RuntimeError:
        return      # it was noticed already
    assert result(client, task) == [False]


PEER = """
import sys, time
sys.path.insert(0, %r)
import test_lmcache
end = test_lmcache.End()
end.memory[:] = 5
print(end.url, flush=True)
time.sleep(600)
"""


def test_killed_peer():
    here = End()
    for _ in range(2):      # the second one is another process, at another address
        with subprocess.Popen([sys.executable, "-c", PEER % os.path.dirname(os.path.abspath(__file__))],
                              stdout=subprocess.PIPE, text=True) as other:
            try:
                url = other.stdout.readline().strip()
                client = here.context.get_transfer_channel_client(url)
                assert result(client, client.submit_read(here.addresses((0, 64)), here.addresses((0, 64)))) == [True]
                assert (here.memory[:64] == 5).all()
                other.send_signal(signal.SIGKILL)
                other.wait()
                deadline = time.monotonic() + PATIENCE
                while here.context.get_num_connected_clients():
                    assert time.monotonic() < deadline
            finally:
                other.kill()
    here.context.close()
