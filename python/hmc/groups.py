"""Collective operations between processes: alltoall, all_gather, broadcast, reduce_scatter, all_reduce, barrier.

    group = hmc.groups.init()                    # rank and world from torch.distributed or the environment
    group.all_reduce(array, "sum")
    group.barrier()

Each rank has one region with a mailbox for every other rank: a slot for data, a word that counts what has arrived in it,
and a word that counts what its owner has taken of ours. A sender waits until its slot over there was emptied, puts the
next piece, and the signal behind the data raises the count. So nothing is ever overwritten, no rank waits for a rank
that it does not talk to, and groups of any names live side by side.

Arrays are numpy arrays, torch tensors of any device, or writable buffers (reductions: the first two); contiguous.
"""

import contextlib
import json
import os
import socket
import sys
import time

from . import errors
from ._engine import Context, copy
from .enums import status_t

__all__ = ["init", "ProcessGroup"]

_WORDS = 64  # bytes in front of the slots for each rank: two words, each on a cache line of its own half
_SLOT = 1 << 20
_ENTRY = 512  # bytes of a rank's address at the meeting point


def init(rank=None, world=None, *, meet=None, name="default", ip=None, slot_bytes=_SLOT, timeout=60.0, via=None):
    """Makes a group of `world` processes, of which this one is `rank`. All call it; it returns when all are there.

    Args:
        rank, world: default: those of torch.distributed where it is initialised, else RANK and WORLD_SIZE of the
            environment (torchrun, Slurm scripts), else a group of one.
        meet: "host:port" where rank 0 listens until all have met; default: MASTER_ADDR and MASTER_PORT.
        name: of the group; several may be there at once.
        ip: the address by which others reach this process; default: the one that leads to the meeting point.
        slot_bytes: how much travels at a time to each rank.
        via: "shm", "tcp", "rdma", "ucx"; default: the best between each two.
    """
    if not isinstance(name, str):
        raise TypeError("the name of a group is a str, not %s" % type(name).__name__)
    dist = _distributed() if rank is None and meet is None else None
    if dist is not None:
        rank, world = dist.get_rank(), dist.get_world_size()
    elif rank is None and world is None:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    elif rank is None or world is None:
        raise errors.InvalidError(status_t.INVALID_CONFIG, "hmc.groups.init was given %s and no %s" %
                                  (("world=%r" % world, "rank") if rank is None else ("rank=%r" % rank, "world")),
                                  remedy="Give both, or neither: then torch.distributed or the environment says them.")
    if not 0 <= rank < world:
        raise errors.InvalidError(status_t.INVALID_CONFIG, "rank %d is not one of a world of %d" % (rank, world))
    context = Context("%s.%d" % (name, rank), timeout=timeout)
    try:
        if world == 1:
            entries = [None]
        elif dist is not None:
            entries = _meet_by_torch(dist, context, ip)
        else:
            where = meet or "%s:%s" % (os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", ""))
            entries = _meet(context, rank, world, where, name, ip, timeout)
        return ProcessGroup(context, rank, world, entries, name, slot_bytes, timeout, via)
    except BaseException:
        context.close()
        raise


# ---- meeting


def _distributed():
    """torch.distributed where the program uses it already; it is never imported for this."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def _own_ip(towards, port):
    """The address of this host on the way to another one; nothing is sent."""
    with socket.socket(socket.AF_INET6 if ":" in towards else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, port or 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


def _meet_by_torch(dist, context, ip):
    address = context.listen((ip or _own_ip(os.environ.get("MASTER_ADDR", "127.0.0.1"), 9), 0))
    entries = [None] * dist.get_world_size()
    dist.all_gather_object(entries, tuple(address))
    return entries


def _meet(context, rank, world, where, name, ip, timeout):
    """Rank 0 has a table that everybody writes an address into and reads when all are there."""
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit():
        raise errors.InvalidError(status_t.INVALID_CONFIG, "the ranks do not know where to meet: pass meet=\"host:port\" "
                                  "of rank 0, or set MASTER_ADDR and MASTER_PORT")
    if _is_agents_store():
        return _meet_by_store(context, rank, world, host, int(port), name, ip, timeout)
    table = "hmc.meet." + name
    deadline = time.monotonic() + timeout
    address = context.listen((ip or _own_ip(host, int(port)), 0))
    entry = json.dumps([address[0], address[1]]).encode().ljust(_ENTRY, b" ")
    if rank == 0:
        with Context("hmc.meet", timeout=timeout) as meeting:
            meeting.listen((host, int(port)))
            region = meeting.allocate(64 + world * _ENTRY, name=table)
            view = memoryview(region)
            view[64:64 + _ENTRY] = entry
            region.word(0).wait(world - 1, timeout=timeout)  # all others have written
            met = bytes(view[64:])
            view.release()
            region.word(8)
            with meeting.connect("%s:%d" % (_dialable(host), int(port))) as me:
                me.open(table).swap(8, 1)
            region.word(16).wait(world - 1, timeout=timeout)  # and read
    else:
        met = _meet_rank_0(context, rank, world, host, int(port), table, entry, deadline)
    return [tuple(json.loads(met[i * _ENTRY:(i + 1) * _ENTRY])) for i in range(world)]


def _dialable(host):
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _meet_rank_0(context, rank, world, host, port, table, entry, deadline):
    while True:
        try:
            peer = context.connect((host, port))
            remote = peer.open(table)
            break
        except (errors.NotFoundError, errors.PeerLostError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    with peer:
        remote.put(entry, 64 + rank * _ENTRY, signal=remote.signal(0, add=1))
        while int.from_bytes(remote.get(8, 8), sys.byteorder) != 1:
            if time.monotonic() > deadline:
                raise errors.DeadlineError(status_t.TIMEOUT, "not all of %d ranks came to %s:%d" % (world, host, port))
            time.sleep(0.005)
        met = bytes(remote.get(world * _ENTRY, 64))
        remote.fetch_add(16, 1)
    return met


def _is_agents_store():
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _meet_by_store(context, rank, world, host, port, name, ip, timeout):
    """Under torchrun the agent has a store at MASTER_PORT."""
    import datetime

    from torch.distributed import TCPStore

    address = context.listen((ip or _own_ip(host, port), 0))
    store = TCPStore(host, port, world, False, timeout=datetime.timedelta(seconds=timeout))
    prefix = "hmc/%s/%s/" % (os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), name)
    store.set(prefix + str(rank), json.dumps(list(address)))
    return [tuple(json.loads(store.get(prefix + str(i)))) for i in range(world)]


# ---- arrays


class _Array:
    """What operations need of an array: its bytes in place, and arithmetic by the library that made it."""

    def __init__(self, array, is_written):
        self.array = array
        torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
        self.torch = torch if torch is not None and isinstance(array, torch.Tensor) else None
        self.numpy = numpy if numpy is not None and isinstance(array, numpy.ndarray) else None
        if self.torch is not None:
            contiguous = array.is_contiguous()
            self.is_host = array.device.type == "cpu"
            self.count, self.itemsize = array.numel(), array.element_size()
            self.flat = array.detach().reshape(-1) if contiguous else None
        elif self.numpy is not None:
            contiguous = array.flags.c_contiguous
            self.is_host = True
            self.count, self.itemsize = array.size, array.itemsize
            self.flat = array.reshape(-1) if contiguous else None
        else:
            view = memoryview(array)
            contiguous = view.c_contiguous
            self.is_host = True
            self.count, self.itemsize = view.nbytes, 1
            self.flat = view.cast("B") if contiguous and view.nbytes else view
        if not contiguous:
            raise errors.InvalidError(status_t.INVALID_CONFIG, "collective operations take contiguous arrays")
        if is_written and (self.numpy is not None and not array.flags.writeable or
                           self.torch is None and self.numpy is None and self.flat.readonly):
            raise errors.InvalidError(status_t.INVALID_CONFIG, "%s is read-only, and results would be written to it" %
                                      type(array).__name__)
        self.nbytes = self.count * self.itemsize

    def part(self, begin, end):
        """Elements begin to end, in place."""
        return self.flat[begin:end]

    def take(self, begin, end, data):
        """Elements begin to end become `data`, a memoryview of host bytes."""
        if begin != end:
            copy(self.part(begin, end), data)

    def reduce(self, begin, end, data, how):
        """Elements begin to end become those combined with `data`."""
        if begin == end:
            return
        mine = self.part(begin, end)
        if self.numpy is not None:
            function = {"sum": self.numpy.add, "product": self.numpy.multiply, "min": self.numpy.minimum,
                        "max": self.numpy.maximum}[how]
            function(mine, self.numpy.frombuffer(data, mine.dtype), out=mine)
            return
        torch = self.torch
        theirs = torch.empty_like(mine)
        copy(theirs, data)
        if how == "sum":
            mine.add_(theirs)
        elif how == "product":
            mine.mul_(theirs)
        else:
            (torch.minimum if how == "min" else torch.maximum)(mine, theirs, out=mine)

    def may_overlap(self, other):
        """Whether both may lie in the same memory."""
        if self.numpy is not None and other.numpy is not None:
            return self.numpy.may_share_memory(self.array, other.array)
        if self.torch is not None and other.torch is not None:
            mine, theirs = self.flat.data_ptr(), other.flat.data_ptr()
            return mine < theirs + other.nbytes and theirs < mine + self.nbytes
        return True

    def can_reduce(self):
        if self.torch is None and self.numpy is None:
            raise TypeError("reductions take numpy arrays and torch tensors, not %s" % type(self.array).__name__)


# ---- the group


class ProcessGroup:
    """One of `world` processes that do collective operations together. `init` made it.

    All ranks call the same operations in the same order; a rank that another one waits for in vain is named by the
    DeadlineError or PeerLostError. One thread at a time uses a group. An operation that ends early, by Ctrl-C too, leaves
    the ranks out of step: the group then refuses the next ones, and a new group works.
    """

    def __init__(self, context, rank, world, entries, name, slot_bytes, timeout, via):
        self.context, self.rank, self.world, self.name, self.timeout = context, rank, world, name, timeout
        self._slot_bytes = max(64, int(slot_bytes)) // 64 * 64
        self._region = context.allocate(world * (_WORDS + self._slot_bytes), name="hmc.group." + name)
        self._view = memoryview(self._region)
        # What came from, and what was taken by, each rank; and how many pieces went each way.
        self._arrived = [self._region.word(i * _WORDS) for i in range(world)]
        self._taken = [self._region.word(i * _WORDS + 32) for i in range(world)]
        self._sent, self._received = [0] * world, [0] * world
        self._peers, self._remotes = [None] * world, [None] * world
        self._broken = None
        for step in range(1, world):
            other = (rank + step) % world
            self._connect(other, entries[other], via)
        self.barrier()

    def _connect(self, other, entry, via):
        deadline = time.monotonic() + self.timeout
        self._peers[other] = self.context.connect(entry, via=via, timeout=self.timeout)
        while True:
            try:
                self._remotes[other] = self._peers[other].open("hmc.group." + self.name)
                return
            except errors.NotFoundError:  # it has met the others, and not come to its region yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    @contextlib.contextmanager
    def _in_step(self):
        """Around what all ranks take part in."""
        if self._broken is not None:
            raise errors.OperationCancelledError(
                status_t.CANCELLED, "group %s: an earlier operation ended early (%s), so the ranks are out of step" %
                (self.name, self._broken), remedy="Close this group and make a new one by hmc.groups.init on all ranks.")
        try:
            yield
        except BaseException as error:
            self._broken = type(error).__name__
            raise

    # ---- one piece from one rank to another

    def _gone(self, other, what):
        return errors.PeerLostError(status_t.PEER_LOST, "group %s: rank %d, which %s, is gone" % (self.name, other, what),
                                    peer=str(self._peers[other]))

    def _await(self, word, value, other, what):
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return word.wait(value, timeout=min(1.0, max(0.001, deadline - time.monotonic())))
            except errors.DeadlineError:
                if not self._peers[other].is_connected and word.value < value:
                    raise self._gone(other, what) from None
                if time.monotonic() >= deadline:
                    raise errors.DeadlineError(status_t.TIMEOUT, "group %s: rank %d %s within %g s" %
                                               (self.name, other, what, self.timeout),
                                               peer=str(self._peers[other])) from None

    def _send(self, other, data):
        """Puts one piece (b"": the count alone) into our slot at another rank; gives the request."""
        self._await(self._taken[other], self._sent[other], other, "has not taken what it was sent")
        self._sent[other] += 1
        remote = self._remotes[other]
        base = self.world * _WORDS + self.rank * self._slot_bytes
        try:
            return remote.put_nb(data, base, signal=remote.signal(self.rank * _WORDS, add=1))
        except (errors.PeerLostError, errors.StaleError):
            raise self._gone(other, "is sent to") from None

    def _receive(self, other, nbytes):
        """The bytes of the next piece from another rank, until _release."""
        self._received[other] += 1
        self._await(self._arrived[other], self._received[other], other, "has sent nothing")
        base = self.world * _WORDS + other * self._slot_bytes
        return self._view[base:base + nbytes]

    def _release(self, other):
        try:
            self._remotes[other].fetch_add(self.rank * _WORDS + 32, 1)
        except (errors.PeerLostError, errors.StaleError):
            pass  # it has what it waited for, and has left: it sends no more

    def _end_sends(self, requests):
        """Waits for what was sent. A rank that took it and left before it could say so is fine."""
        for other, request in requests:
            try:
                request.wait()
            except (errors.PeerLostError, errors.StaleError):
                if self._taken[other].value < self._sent[other]:
                    raise self._gone(other, "has not taken what it was sent") from None

    def _others(self):
        """Each rank begins with the one behind it, so that not all talk to the same one."""
        return [(self.rank + step) % self.world for step in range(1, self.world)]

    def _exchange(self, outgoing, incoming, itemsize, use, in_place=False):
        """Piece by piece: outgoing(other) is an array to send, incoming(other) how many elements come, and
        use(other, begin, end, bytes) gets them; in_place: where a piece was that is sent."""
        step = self._slot_bytes // itemsize
        sends = {other: outgoing(other) for other in self._others()}
        most = max([0] + [len(each) for each in sends.values() if each is not None] +
                   [incoming(other) for other in self._others()])
        with self._in_step():
            for begin in range(0, most, step):
                requests = []
                for other in self._others():
                    data = sends[other]
                    if data is not None and begin < len(data):
                        requests.append((other, self._send(other, data[begin:begin + step])))
                if in_place:
                    self._end_sends(requests)
                    requests = []
                for other in self._others():
                    count = incoming(other)
                    if begin < count:
                        end = min(begin + step, count)
                        use(other, begin, end, self._receive(other, (end - begin) * itemsize))
                        self._release(other)
                self._end_sends(requests)

    # ---- from one rank to another

    def send(self, array, other):
        """Sends an array to another rank, which calls receive with one of the same size. Several threads may send and
        receive at once, each to or from a rank of its own, while no operation of all ranks is in progress."""
        source = _Array(array, False)
        step = max(1, self._slot_bytes // source.itemsize)
        with self._in_step():
            for begin in range(0, source.count, step):
                self._end_sends([(other, self._send(other, source.part(begin, min(begin + step, source.count))))])

    def receive(self, array, other):
        """Fills an array with what another rank sends."""
        target = _Array(array, True)
        step = max(1, self._slot_bytes // target.itemsize)
        with self._in_step():
            for begin in range(0, target.count, step):
                end = min(begin + step, target.count)
                target.take(begin, end, self._receive(other, (end - begin) * target.itemsize))
                self._release(other)

    # ---- operations

    def barrier(self):
        """Returns when all ranks have called it."""
        with self._in_step():
            requests = [(other, self._send(other, b"")) for other in self._others()]
            for other in self._others():
                self._receive(other, 0)
                self._release(other)
            self._end_sends(requests)

    def _part(self, count, rank):
        """The elements of a rank's part, where `count` are divided as evenly as they can be."""
        least, more = divmod(count, self.world)
        begin = rank * least + min(rank, more)
        return begin, begin + least + (rank < more)

    def alltoall(self, output, input):
        """Part r of `input` goes to rank r; part r of `output` is what rank r had for this one. Both have world parts
        of the same size, and may be one array."""
        source, target = _Array(input, False), _Array(output, True)
        self._same(source, target, 1, 1)
        if source.count % self.world:
            raise errors.InvalidError(status_t.INVALID_CONFIG, "alltoall: %d elements cannot be divided by %d ranks" %
                                      (source.count, self.world))
        part = source.count // self.world
        copy_part(target, self.rank * part, source, self.rank * part, part)
        self._exchange(lambda other: source.part(other * part, (other + 1) * part), lambda other: part,
                       source.itemsize,
                       lambda other, begin, end, data: target.take(other * part + begin, other * part + end, data),
                       source.may_overlap(target))

    def all_gather(self, output, input):
        """`output` becomes the inputs of all ranks, one behind the other; it has world times the size of `input`."""
        source, target = _Array(input, False), _Array(output, True)
        self._same(source, target, self.world, 1)
        part = source.count
        copy_part(target, self.rank * part, source, 0, part)
        self._exchange(lambda other: source.part(0, part), lambda other: part, source.itemsize,
                       lambda other, begin, end, data: target.take(other * part + begin, other * part + end, data))

    def broadcast(self, array, root=0):
        """`array` becomes what it is at rank `root`."""
        whole = _Array(array, self.rank != root)
        if not 0 <= root < self.world:
            raise errors.InvalidError(status_t.INVALID_CONFIG, "broadcast: there is no rank %d" % root)
        self._exchange(lambda other: whole.part(0, whole.count) if self.rank == root else None,
                       lambda other: whole.count if other == root else 0, whole.itemsize,
                       lambda other, begin, end, data: whole.take(begin, end, data))

    def reduce_scatter(self, output, input, op="sum"):
        """`output` becomes part `rank` of the inputs of all ranks combined; `input` has world times its size."""
        source, target = _Array(input, False), _Array(output, True)
        self._same(target, source, self.world, 1)
        self._operation(op, target)
        part = target.count
        copy_part(target, 0, source, self.rank * part, part)
        self._exchange(lambda other: source.part(other * part, (other + 1) * part), lambda other: part,
                       source.itemsize, lambda other, begin, end, data: target.reduce(begin, end, data, op))

    def all_reduce(self, array, op="sum"):
        """`array` becomes the arrays of all ranks combined, element by element: op is "sum", "product", "min" or "max"."""
        whole = _Array(array, True)
        self._operation(op, whole)
        mine = self._part(whole.count, self.rank)
        size = mine[1] - mine[0]
        self._exchange(lambda other: whole.part(*self._part(whole.count, other)), lambda other: size, whole.itemsize,
                       lambda other, begin, end, data: whole.reduce(mine[0] + begin, mine[0] + end, data, op))

        def take(other, begin, end, data):
            base = self._part(whole.count, other)[0]
            whole.take(base + begin, base + end, data)

        def size_of(other):
            begin, end = self._part(whole.count, other)
            return end - begin

        self._exchange(lambda other: whole.part(*mine), size_of, whole.itemsize, take)

    @staticmethod
    def _operation(op, array):
        array.can_reduce()
        if op not in ("sum", "product", "min", "max"):
            raise errors.InvalidError(status_t.INVALID_CONFIG, "op is \"sum\", \"product\", \"min\" or \"max\", not %r" %
                                      (op,))

    @staticmethod
    def _same(small, large, times, _):
        if small.itemsize != large.itemsize or small.count * times != large.count:
            raise errors.InvalidError(status_t.INVALID_CONFIG, "sizes do not fit: %d elements of %d B, and %d of %d B" %
                                      (small.count, small.itemsize, large.count, large.itemsize))

    # ---- the end

    def close(self):
        """Leaves the group. Call it after a barrier, or others may wait for what this rank has yet to send."""
        if self._view is not None:
            self._view.release()
            self._view = None
        self.context.close()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def __repr__(self):
        return "<hmc.groups.ProcessGroup %r, rank %d of %d>" % (self.name, self.rank, self.world)


def copy_part(target, to, source, at, count):
    """Elements within this process."""
    if count and not (target.array is source.array and to == at):
        copy(target.part(to, to + count), source.part(at, at + count))
