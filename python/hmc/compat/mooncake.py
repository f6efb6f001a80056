"""Mooncake's `TransferEngine` on HMC: the same methods and return values.

A target is named by "host:port", the port that get_rpc_port gives there, and memory by the address that it has in the
target's process. Each engine keeps a directory of its registered memory in a region that peers read; one that does not
find an address reads the directory again, so memory that is registered later is found without a call.

What differs: peers authenticate each other by HMC's secret; every transfer has a deadline (MC_TRANSFER_TIMEOUT seconds,
30 without it) after which nothing of it lands any more; and the protocol may also be "auto" or "shm". "rdma" takes RDMA
where both ends have it, as Mooncake does without adapters.

Threads: any, on one engine at once. Calls that transfer release the GIL.
"""

import bisect
import ctypes
import enum
import itertools
import json
import os
import struct
import threading
import time

import hmc

__all__ = [
    "TransferEngine", "TransferNotify", "TransferOpcode", "InnerTransferEngine", "SUPPORT_CUDA", "SUPPORT_EFA",
    "SUPPORT_HIP", "SUPPORT_INTRA_NVLINK", "SUPPORT_MNNVL", "SUPPORT_MUSA", "Read", "Write",
]

SUPPORT_CUDA = SUPPORT_EFA = SUPPORT_HIP = SUPPORT_INTRA_NVLINK = SUPPORT_MNNVL = SUPPORT_MUSA = False

# Return values that programs compare with.
OK, FAILED, NOT_REGISTERED, OVERLAPS, UNREACHABLE, TIMED_OUT = 0, -1, -3, -7, -102, -2

DIRECTORY = "mooncake.directory"
MAILBOX = "mooncake.mailbox"        # what notifications are addressed to; nobody reads it
HEAD = struct.Struct("<QQ")      # version, odd while it changes; entries
ENTRY = struct.Struct("<QQQ")    # address, bytes, number of the region
DIRECTORY_BYTES = HEAD.size + 32768 * ENTRY.size
MOST_PROTOCOLS = {"shm": hmc.ConnType.SHM, "ucx": hmc.ConnType.UCX, "auto": hmc.ConnType.AUTO}


class TransferOpcode(enum.IntEnum):
    Read = 0
    Write = 1


Read, Write = TransferOpcode.Read, TransferOpcode.Write


class TransferNotify:
    """A name and a message that a transfer delivers after its data."""

    def __init__(self, name="", msg=""):
        self.name = name
        self.msg = msg

    def pack(self):
        name, message = self.name.encode(), self.msg.encode()
        return struct.pack("<I", len(name)) + name + message

    @classmethod
    def unpack(cls, data):
        size, = struct.unpack_from("<I", data)
        return cls(data[4:4 + size].decode(), data[4 + size:].decode())

    def __repr__(self):
        return "TransferNotify(%r, %r)" % (self.name, self.msg)


class _Memory:
    """Ranges of addresses that do not overlap, each with a region."""

    def __init__(self):
        self.bases = []
        self.ranges = {}    # base: (bytes, region)

    def add(self, base, size, region):
        at = bisect.bisect_right(self.bases, base)
        self.bases.insert(at, base)
        self.ranges[base] = (size, region)

    def overlaps(self, base, size):
        at = bisect.bisect_left(self.bases, base + size)
        return at > 0 and self.bases[at - 1] + self.ranges[self.bases[at - 1]][0] > base

    def remove(self, base):
        size, region = self.ranges.pop(base)
        self.bases.remove(base)
        return region

    def find(self, address, size):
        """The region and the offset in it; None where the range is not inside one of them."""
        at = bisect.bisect_right(self.bases, address) - 1
        if at < 0:
            return None
        base = self.bases[at]
        extent, region = self.ranges[base]
        return (region, address - base) if address + size <= base + extent else None


class _Segment:
    """A peer and what is known of its directory. `lock` is held while it is read again."""

    def __init__(self, peer):
        self.peer = peer
        try:
            self.directory = peer.open(DIRECTORY)
            self.mailbox = peer.open(MAILBOX)
        except BaseException:       # another program, not an engine
            peer.close()
            raise
        self.lock = threading.Lock()
        self.memory = _Memory()
        self.remotes = {}    # number of a region: (base, bytes, Remote)

    def read(self):
        deadline = time.monotonic() + _deadline()
        while not self._read_once():
            if time.monotonic() > deadline:
                raise hmc.DeadlineError(hmc.status_t.TIMEOUT, "the peer's directory has been changing for %g s" % _deadline())

    def _read_once(self):
        """False where the directory changes meanwhile."""
        version, count = HEAD.unpack(self.directory.get(HEAD.size))
        body = self.directory.get(count * ENTRY.size, HEAD.size) if count else b""
        if version & 1 or HEAD.unpack(self.directory.get(HEAD.size))[0] != version:
            return False
        memory, remotes = _Memory(), {}
        try:
            for base, size, number in ENTRY.iter_unpack(body):
                known = self.remotes.get(number)
                remote = known if known else self.peer.open("mooncake.%d" % number)
                remotes[number] = remote
                memory.add(base, size, remote)
        except hmc.NotFoundError:       # what was listed is unregistered by now, and so the directory is another
            return False
        self.memory, self.remotes = memory, remotes
        return True

    def find(self, address, size):
        found = self.memory.find(address, size)
        if found is None:
            with self.lock:
                self.read()
                found = self.memory.find(address, size)
        if found is None:
            raise hmc.NotFoundError(hmc.status_t.NOT_FOUND, "the peer has registered no %d B at %#x" % (size, address))
        return found


def _deadline():
    return max(5.0, float(os.environ.get("MC_TRANSFER_TIMEOUT", "30")))


class TransferEngine:
    """One end. Nothing works before initialize."""

    TransferOpcode = TransferOpcode

    def __init__(self):
        self._context = None
        self._port = 0
        self._lock = threading.Lock()
        self._dialling = {}     # name of a peer: held while it is dialled, so that several threads make one connection
        self._memory = _Memory()
        self._segments = {}
        self._batches = {}
        self._numbers = itertools.count(1)
        self._managed = {}
        self._notifies = []

    # ---- making

    def initialize(self, local_hostname, metadata_server, protocol, device_name, /):
        """Starts to listen. Returns 0, or -1 where it cannot. Only "P2PHANDSHAKE" is known as metadata server: peers
        are asked themselves."""
        for argument in (local_hostname, metadata_server, protocol, device_name):
            if not isinstance(argument, str):
                raise TypeError("initialize takes four str")
        if self._context or metadata_server != "P2PHANDSHAKE":
            return FAILED
        try:
            self._via = hmc.ConnType.TCP if protocol == "tcp" else MOST_PROTOCOLS.get(protocol, hmc.ConnType.AUTO)
            context = hmc.Context(local_hostname[:63] or None, timeout=_deadline())
            self._port = context.listen("0.0.0.0:0").port
            self._directory = context.allocate(DIRECTORY_BYTES, name=DIRECTORY, rights="r")
            self._mailbox = context.allocate(64, name=MAILBOX, rights="w")
        except hmc.HMCError:
            return FAILED
        self._host = local_hostname
        self._context = context
        return OK

    def initialize_ext(self, local_hostname, metadata_server, protocol, device_name, metadata_type, /):
        return self.initialize(local_hostname, metadata_server, protocol, device_name)

    def get_rpc_port(self):
        """The port by which others name this engine: "host:port"."""
        return self._port

    def get_engine(self):
        return InnerTransferEngine(self)

    # ---- memory

    def _publish(self):
        """Writes the directory again. self._lock held."""
        view = memoryview(self._directory)
        version = HEAD.unpack_from(view)[0]
        HEAD.pack_into(view, 0, version + 1, 0)
        at = HEAD.size
        for base in self._memory.bases:
            size, region = self._memory.ranges[base]
            ENTRY.pack_into(view, at, base, size, int(region.name.rpartition(".")[2]))
            at += ENTRY.size
        HEAD.pack_into(view, 0, version + 2, len(self._memory.bases))

    def register_memory(self, buffer_addr, capacity, location="*"):
        """0; -7 where it overlaps what is registered; -1 where it cannot be."""
        return self.batch_register_memory([buffer_addr], [capacity], location)

    def batch_register_memory(self, buffer_addresses, capacities, location="*"):
        if len(buffer_addresses) != len(capacities) or not self._context:
            return FAILED
        if any(base < 0 or size <= 0 for base, size in zip(buffer_addresses, capacities)):
            raise TypeError("an address and a size above 0 are needed")
        result = OK
        with self._lock:
            for base, size in zip(buffer_addresses, capacities):
                if self._memory.overlaps(base, size):
                    result = OVERLAPS
                    continue
                if (len(self._memory.bases) + 1) * ENTRY.size + HEAD.size > DIRECTORY_BYTES:
                    result = FAILED
                    continue
                try:
                    bytes_there = (ctypes.c_char * size).from_address(base)
                    region = self._context.register(bytes_there, name="mooncake.%d" % next(self._numbers))
                except hmc.HMCError:
                    result = FAILED
                    continue
                self._memory.add(base, size, region)
            self._publish()
        return result

    def unregister_memory(self, buffer_addr):
        """0; -3 where it is not registered."""
        return self.batch_unregister_memory([buffer_addr])

    def batch_unregister_memory(self, buffer_addresses):
        if not self._context:
            return FAILED
        result, regions = OK, []
        with self._lock:
            for base in buffer_addresses:
                if base in self._memory.ranges:
                    regions.append(self._memory.remove(base))
                else:
                    result = NOT_REGISTERED
            self._publish()
        for region in regions:
            region.close()
        return result

    def allocate_managed_buffer(self, length):
        """The address of registered memory of that many bytes; 0 where there is none."""
        try:
            memory = bytearray(length)
            base = ctypes.addressof((ctypes.c_char * length).from_buffer(memory))
        except (MemoryError, ValueError):
            return 0
        if self.register_memory(base, length) != OK:
            return 0
        self._managed[base] = memory
        return base

    def free_managed_buffer(self, buffer_addr, length):
        memory = self._managed.pop(buffer_addr, None)   # stays until no peer reaches it any more
        return FAILED if memory is None else self.unregister_memory(buffer_addr)

    def write_bytes_to_buffer(self, dest_address, src_ptr, length):
        ctypes.memmove(dest_address, bytes(src_ptr)[:length], length)
        return OK

    def read_bytes_from_buffer(self, source_address, length):
        return ctypes.string_at(source_address, length)

    def get_first_buffer_address(self, segment_name):
        """The address of the first memory that the peer has registered; 0 where it has none."""
        try:
            segment = self._segment(segment_name)
            with segment.lock:
                segment.read()
                return segment.memory.bases[0] if segment.memory.bases else 0
        except hmc.HMCError:
            return 0

    # ---- transfers

    def _known(self, name):
        with self._lock:
            segment = self._segments.get(name)
        return segment if segment and segment.peer.is_connected else None

    def _segment(self, name):
        segment = self._known(name)
        if segment:
            return segment
        with self._dialling.setdefault(name, threading.Lock()):
            segment = self._known(name)
            if not segment:
                self._forget(name)
                segment = _Segment(self._context.connect(name, via=self._via))
                with self._lock:
                    self._segments[name] = segment
        return segment

    def _forget(self, name):
        """What is not true any more: a connection that has ended, or memory that the peer has registered again."""
        with self._lock:
            segment = self._segments.get(name)
            if segment and not segment.peer.is_connected:
                del self._segments[name]
        if segment and segment.peer.is_connected:
            with segment.lock:
                segment.read()
        elif segment:
            segment.peer.close()

    def _start(self, name, buffers, addresses, lengths, opcode, notify):
        """Starts a batch per pair of regions; with a notification, which follows all of them, it waits for their end."""
        segment = self._segment(name)
        pairs = {}
        for buffer, address, length in zip(buffers, addresses, lengths):
            if length == 0:
                continue
            with self._lock:
                here = self._memory.find(buffer, length)
            if here is None:
                raise hmc.NotFoundError(hmc.status_t.NOT_FOUND, "%d B at %#x are not registered here" % (length, buffer))
            remote, offset = segment.find(address, length)
            pairs.setdefault((id(here[0]), id(remote)), (here[0], remote, []))[2].append((here[1], offset, length))
        requests = []
        try:
            for region, remote, pieces in pairs.values():
                batch = remote.batch(region, pieces)
                requests.append(batch.put_nb() if opcode == Write else batch.get_nb())
            if notify:
                hmc.wait_all(requests)
                segment.mailbox.notify(notify.pack())
        except BaseException:
            for request in requests:    # the caller's memory is its own again
                request.cancel()
            raise
        return requests

    def _transfer(self, name, buffers, addresses, lengths, opcode, notify=None):
        if not self._context or not len(buffers) == len(addresses) == len(lengths):
            return FAILED
        requests = []
        try:
            for attempt in range(2):    # the peer may be a new one at the same address
                try:
                    requests = self._start(name, buffers, addresses, lengths, opcode, notify)
                    hmc.wait_all(requests)
                    return OK
                except (hmc.PeerLostError, hmc.StaleError):
                    self._forget(name)
        except (hmc.HMCError, OSError, ValueError):
            pass
        finally:                        # Ctrl-C too leaves nothing in flight
            for request in requests:
                request.cancel()
        return FAILED

    def transfer_sync(self, target_hostname, buffer, peer_buffer_address, length, opcode, notify=None, transport_hint=""):
        """Moves `length` bytes between the address `buffer` here and `peer_buffer_address` there: 0, or -1."""
        return self._transfer(target_hostname, [buffer], [peer_buffer_address], [length], opcode, notify)

    def transfer_sync_write(self, target_hostname, buffer, peer_buffer_address, length, transport_hint=""):
        return self.transfer_sync(target_hostname, buffer, peer_buffer_address, length, Write)

    def transfer_sync_read(self, target_hostname, buffer, peer_buffer_address, length, transport_hint=""):
        return self.transfer_sync(target_hostname, buffer, peer_buffer_address, length, Read)

    def batch_transfer_sync(self, target_hostname, buffers, peer_buffer_addresses, lengths, opcode, notify=None,
                            transport_hint=""):
        return self._transfer(target_hostname, buffers, peer_buffer_addresses, lengths, opcode, notify)

    def batch_transfer_sync_write(self, target_hostname, buffers, peer_buffer_addresses, lengths, transport_hint=""):
        return self._transfer(target_hostname, buffers, peer_buffer_addresses, lengths, Write)

    def batch_transfer_sync_read(self, target_hostname, buffers, peer_buffer_addresses, lengths, transport_hint=""):
        return self._transfer(target_hostname, buffers, peer_buffer_addresses, lengths, Read)

    def batch_transfer_async(self, target_hostname, buffers, peer_buffer_addresses, lengths, opcode, transport_hint=""):
        """Starts it and returns its number, above 0; 0 where it cannot be started."""
        if not self._context or not len(buffers) == len(peer_buffer_addresses) == len(lengths):
            return 0
        for attempt in range(2):
            try:
                try:
                    requests = self._start(target_hostname, buffers, peer_buffer_addresses, lengths, opcode, None)
                except (hmc.PeerLostError, hmc.StaleError):
                    self._forget(target_hostname)
                    continue
            except (hmc.HMCError, OSError, ValueError):
                return 0
            with self._lock:
                number = next(self._numbers)
                self._batches[number] = requests
            return number
        return 0

    def batch_transfer_async_write(self, target_hostname, buffers, peer_buffer_addresses, lengths, transport_hint=""):
        return self.batch_transfer_async(target_hostname, buffers, peer_buffer_addresses, lengths, Write)

    def batch_transfer_async_read(self, target_hostname, buffers, peer_buffer_addresses, lengths, transport_hint=""):
        return self.batch_transfer_async(target_hostname, buffers, peer_buffer_addresses, lengths, Read)

    def transfer_submit_write(self, target_hostname, buffer, peer_buffer_address, length, transport_hint=""):
        return self.batch_transfer_async(target_hostname, [buffer], [peer_buffer_address], [length], Write)

    def transfer_check_status(self, batch_id):
        """1: done, 0: in progress, -1: failed, -2: its deadline has passed. The number is free after any but 0."""
        with self._lock:
            requests = self._batches.get(batch_id)
        if requests is None:
            return FAILED
        if not all([request.done() for request in requests]):
            return 0
        with self._lock:
            self._batches.pop(batch_id, None)
        failures = [request.exception() for request in requests]
        if any(isinstance(failure, hmc.DeadlineError) for failure in failures):
            return TIMED_OUT
        return FAILED if any(failures) else 1

    def get_batch_transfer_status(self, batch_ids):
        """Waits for all of them: 0, or -1 where one failed."""
        result = OK
        for number in batch_ids:
            with self._lock:
                requests = self._batches.pop(number, None)
            if requests is None:
                result = FAILED
                continue
            try:
                hmc.wait_all(requests)
            except hmc.HMCError:
                result = FAILED
        return result

    # ---- the rest

    def get_notifies(self):
        """What transfers of peers have announced since the last call."""
        found = []
        while self._context:
            notification = self._context.poll_notification()
            if notification is None:
                break
            try:
                found.append(TransferNotify.unpack(bytes(notification)))
            except (struct.error, UnicodeDecodeError):
                pass    # of another program, not an engine
        return found

    def send_probe(self, peer):
        """0 where the engine at "host:port" can be reached, else -102."""
        try:
            self._segment(peer)
            return OK
        except (hmc.HMCError, OSError, ValueError):
            return UNREACHABLE

    def get_local_topology(self, device_name=None):
        """The memories of this host, as JSON: what Mooncake lists adapters by."""
        return json.dumps({"cpu:0": [[], []]})

    def warmup_efa_segment(self, segment_name):
        return OK if self.send_probe(segment_name) == OK else FAILED


class InnerTransferEngine:
    """What get_engine gives: it keeps the engine alive, and has no calls of its own."""

    def __init__(self, engine=None):
        self.engine = engine
