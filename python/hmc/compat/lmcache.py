"""A transfer channel for LMCache: peers read each other's CPU cache by HMC.

Importing this registers the channel type "hmc" at LMCache's factory (lmcache.v1.distributed.transfer_channel). The server
listens at the very address that LMCache is given; a client is one connection and one region, and a read one batch. There
is no handshake thread, and an idle channel uses no processor time.

    import hmc.compat.lmcache       # before the channel is made
    context = create_transfer_channel_context("hmc", l1_memory_desc=.., listen_url=.., advertise_url=.., transport="tcp")

`transport` ("auto" where it is left out) and `timeout` (seconds of each read; 30) are the channel's own arguments.
"""

import itertools
import threading

import hmc
from lmcache.v1.distributed.transfer_channel.abstract import (TransferChannelClient, TransferChannelContext,
                                                              TransferChannelServer)
from lmcache.v1.distributed.transfer_channel.api import TransferChannelAddress, TransferChannelReadResult
from lmcache.v1.distributed.transfer_channel.factory import register_transfer_channel_factory

from .nixl.memory import HostMemory

__all__ = ["HmcTransferChannelContext", "HmcTransferChannelServer", "HmcTransferChannelClient"]

CACHE = "lmcache.l1"


def _address(url):
    """"host:port" of "host:port" or "tcp://host:port"."""
    host, colon, port = url.split("://", 1)[-1].rpartition(":")
    if not colon or not host or not port.isdigit():
        raise ValueError("Invalid transfer channel url: %r (expected host:port)" % url)
    return host, int(port)


class HmcTransferChannelServer(TransferChannelServer):
    """Lets peers read the cache at `listen_url`. HMC's service thread answers them."""

    def __init__(self, listen_url, advertise_url, l1_memory_desc, context):
        size = getattr(l1_memory_desc, "stable_registration_size", None) or l1_memory_desc.size
        self._context = context
        self.region = context.register(HostMemory(l1_memory_desc.ptr, size), name=CACHE, rights="r")
        self.advertise_url = advertise_url
        try:
            context.listen(_address(listen_url))
        except BaseException:
            self.region.close()
            raise

    def close(self):
        """When it returns no peer reads the cache any more."""
        if not self._context.is_closed:
            self._context.stop_listening()
            self.region.close()


class HmcTransferChannelClient(TransferChannelClient):
    """Reads a peer's cache. Any thread may call."""

    def __init__(self, transfer_channel_server_url, context, cache, transport, timeout):
        self._context, self._cache, self._timeout = context, cache, timeout
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._tasks = {}        # number: (Request or None, places that were asked for, how many there are)
        self.peer = context.connect(_address(transfer_channel_server_url), via=transport)
        try:
            self._remote = self.peer.open(CACHE)
        except BaseException:
            self.peer.close()
            raise

    @property
    def is_connected(self):
        return self.peer.is_connected

    def _fits(self, local, remote):
        return local.offset >= 0 and remote.offset >= 0 and local.offset + local.size <= len(self._cache) and \
            remote.offset + remote.size <= len(self._remote)

    def submit_read(self, local_addresses, remote_addresses):
        """Starts to read; objects that lie outside of either cache fail, and the others are read."""
        if len(local_addresses) != len(remote_addresses):
            raise ValueError("local_addresses and remote_addresses must have equal length (%d != %d)" %
                             (len(local_addresses), len(remote_addresses)))
        pairs = list(zip(local_addresses, remote_addresses))
        if any(local.size != remote.size for local, remote in pairs):
            raise ValueError("local and remote sizes must match")
        places = [place for place, pair in enumerate(pairs) if self._fits(*pair)]
        request = None
        if places:
            batch = self._remote.batch(self._cache, [(pairs[place][0].offset, pairs[place][1].offset, pairs[place][0].size)
                                                     for place in places])
            try:
                request = batch.get_nb(timeout=self._timeout)
            except hmc.HMCError as error:
                raise RuntimeError("Failed to submit a read: %s" % error) from error
        with self._lock:
            number = next(self._numbers)
            self._tasks[number] = request, places, len(pairs)
        return number

    def query_read_status(self, task_id):
        """Whether the read is over, and which objects arrived. A task is known until it was said to be over."""
        with self._lock:
            if task_id not in self._tasks:
                raise KeyError("Unknown read task id: %r" % (task_id,))
            request, places, count = self._tasks[task_id]
        if request is not None and not request.done():
            return TransferChannelReadResult(finished=False, succeeded_mask=[])
        with self._lock:
            self._tasks.pop(task_id, None)
        arrived = set(places) if request is not None and request.exception() is None else ()
        return TransferChannelReadResult(finished=True, succeeded_mask=[place in arrived for place in range(count)])

    def close(self):
        """Ends reads that are in progress: when it returns none of them writes to the cache any more."""
        with self._lock:
            self._tasks.clear()
        self.peer.close()


class HmcTransferChannelContext(TransferChannelContext):
    """One end: the local cache, its server, and a client per peer."""

    def __init__(self, l1_memory_desc, listen_url, advertise_url, transport=None, timeout=None):
        self._transport, self._timeout = transport, timeout
        self.listen_url, self.advertise_url = listen_url, advertise_url
        self._size = l1_memory_desc.size
        self._lock = threading.Lock()
        self._clients = {}
        self._context = hmc.Context("lmcache", timeout=timeout)
        try:
            self._server = HmcTransferChannelServer(listen_url, advertise_url, l1_memory_desc, self._context)
        except BaseException:
            self._context.close()
            raise

    def get_transfer_channel_server(self):
        return self._server

    def get_transfer_channel_client(self, peer_advertise_url):
        """The client of that peer, made where there is none or its peer has gone since."""
        with self._lock:
            client = self._clients.get(peer_advertise_url)
            if client is None or not client.is_connected:
                if client is not None:
                    client.close()
                client = HmcTransferChannelClient(peer_advertise_url, self._context, self._server.region,
                                                  self._transport, self._timeout)
                self._clients[peer_advertise_url] = client
            return client

    def remove_transfer_channel_client(self, peer_advertise_url):
        with self._lock:
            client = self._clients.pop(peer_advertise_url, None)
        if client is not None:
            client.close()

    def get_transfer_channel_address(self, lmcache_addresses):
        """Places in the local cache, as (offset, size), in the form of channels. ValueError: one lies outside of it."""
        for offset, size in lmcache_addresses:
            if offset < 0 or offset + size > self._size:
                raise ValueError("Object [%#x, %#x) is outside the registered L1 region [0x0, %#x)" %
                                 (offset, offset + size, self._size))
        return [TransferChannelAddress(offset=offset, size=size) for offset, size in lmcache_addresses]

    def get_num_connected_clients(self):
        """How many peers are connected: those that this end has dialled, and those that have dialled it."""
        with self._lock:
            self._take_in()
            return len({peer.incarnation for peer in self._context.connected if peer.is_connected})

    def _take_in(self):
        """Accepts who has dialled this end, and forgets those that are gone. self._lock held."""
        try:
            while True:
                self._context.accept(timeout=0.001)
        except hmc.DeadlineError:
            pass
        dialled = {client.peer for client in self._clients.values()}
        for peer in self._context.connected:
            if peer not in dialled and not peer.is_connected:
                peer.close()

    def close(self):
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
        self._server.close()
        self._context.close()


register_transfer_channel_factory("hmc", HmcTransferChannelContext)
