"""torch.distributed over HMC: the backend "hmc", for CPU tensors and for tensors of devices whose memory HMC knows.

    import hmc.torch_backend                            # registers it
    torch.distributed.init_process_group("hmc")

Operations run on hmc.groups, in the order in which they are started, in a thread of the group's own: an asynchronous one
returns at once, and its work is waited for. Messages between two ranks (send, recv, and what is made of them) have a group
of their own, so that they wait for no operation of all ranks. Works with every torch from 1.13 on; nothing is compiled
against it. `new_window` (torch 2.15) needs a class in C++ against one very version of torch, and is not there.
"""

import collections
import concurrent.futures
import json
import os
import struct
import threading

import torch
import torch.distributed as dist

from . import groups
from ._engine import Context

__all__ = ["HmcProcessGroup", "register"]

_HEAD = struct.Struct("<qq")    # tag, bytes
_INNER = -1                     # the tag of messages that operations of all ranks are made of


def _operation(op):
    """The name that hmc.groups has for a reduction, and whether the mean is wanted."""
    for name, value in (("sum", "SUM"), ("product", "PRODUCT"), ("min", "MIN"), ("max", "MAX")):
        if op == getattr(dist.ReduceOp, value):
            return name, False
    if op == getattr(dist.ReduceOp, "AVG", None):
        return "sum", True
    raise ValueError("the backend hmc reduces by SUM, AVG, PRODUCT, MIN and MAX, not by %r" % (op,))


class _Work(dist._Work if hasattr(dist, "_Work") else dist.Work):
    """An operation that a thread does."""

    def __init__(self, done, result):
        super().__init__()
        self._done, self._result = done, result

    def is_completed(self):
        return self._done.done()

    def is_success(self):
        return self._done.done() and self._done.exception() is None

    def exception(self):
        return self._done.exception() if self._done.done() else None

    def wait(self, timeout=None):
        seconds = timeout.total_seconds() if timeout else 0
        self._done.result(seconds if seconds > 0 else None)
        return True

    def result(self):
        return self._result

    def get_future(self):
        future = torch.futures.Future()

        def tell(done):
            if done.exception() is None:
                future.set_result(self._result)
            else:
                future.set_exception(done.exception())

        self._done.add_done_callback(tell)
        return future


class _Flat:
    """A tensor as groups take it: contiguous, and of a type that travels. finish() writes back where it was copied."""

    def __init__(self, tensor):
        self.tensor = tensor
        self.flat = tensor.detach()
        self.is_copy = not self.flat.is_contiguous()
        if self.is_copy:
            self.flat = self.flat.contiguous()
        if self.flat.dtype == torch.bool:
            self.flat = self.flat.view(torch.uint8)
        if self.flat.is_complex():
            self.flat = torch.view_as_real(self.flat)

    def finish(self):
        if self.is_copy:
            flat = torch.view_as_complex(self.flat) if self.tensor.is_complex() else self.flat
            self.tensor.detach().copy_(flat.view(self.tensor.dtype) if self.tensor.dtype == torch.bool else flat)


class _Messages:
    """Messages between two ranks, sorted by tag. One thread sends to, and one receives from, each rank."""

    def __init__(self, group):
        self.group = group
        self._threads = {}
        self._stash = {}        # (rank, tag): messages that came before they were asked for; the receiving thread's

    def _submit(self, way, other, call, *arguments):
        if (way, other) not in self._threads:
            self._threads[way, other] = concurrent.futures.ThreadPoolExecutor(1, "hmc-%s-%d" % (way, other))
        return self._threads[way, other].submit(call, *arguments)

    def send(self, tensor, other, tag):
        flat = _Flat(tensor).flat
        return self._submit("send", other, self._send, flat, other, tag)

    def _send(self, flat, other, tag):
        self.group.send(bytearray(_HEAD.pack(tag, flat.numel() * flat.element_size())), other)
        if flat.numel():
            self.group.send(flat, other)

    def receive(self, tensor, other, tag):
        return self._submit("receive", other, self._receive, _Flat(tensor), other, tag)

    def _receive(self, target, other, tag):
        size = target.flat.numel() * target.flat.element_size()
        waiting = self._stash.setdefault((other, tag), [])
        while not waiting:
            head = bytearray(_HEAD.size)
            self.group.receive(head, other)
            found, length = _HEAD.unpack(head)
            if found == tag and length == size:
                if size:
                    self.group.receive(target.flat, other)
                target.finish()
                return
            message = bytearray(length)
            if length:
                self.group.receive(message, other)
            self._stash.setdefault((other, found), []).append(message)
        message = waiting.pop(0)
        if len(message) != size:
            raise ValueError("rank %d sent %d B with tag %d, and %d are received" % (other, len(message), tag, size))
        if size:
            groups.copy(target.flat, message)
        target.finish()

    def close(self):
        for each in self._threads.values():
            each.shutdown(wait=True)
        self.group.close()


class HmcProcessGroup(dist.ProcessGroup):
    def __init__(self, store, rank, size, timeout):
        super().__init__(rank, size)
        self._rank, self._size = rank, size
        seconds = timeout.total_seconds()
        self._group = self._make(store, "operations", seconds)
        self._messages = _Messages(self._make(store, "messages", seconds))
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "hmc-operations")
        self._lock = threading.Lock()
        self._is_closed = False
        # Torch's C++ holds a work without its Python part, and waits for ever for one whose part is gone.
        self._works = collections.deque(maxlen=1024)

    def _make(self, store, name, seconds):
        context = Context("torch.%s.%d" % (name, self._rank), timeout=seconds)
        try:
            entries = [None]
            if self._size > 1:
                ip = groups._own_ip(os.environ.get("MASTER_ADDR", "127.0.0.1"), 9)
                address = context.listen((ip, 0))
                store.set("hmc/%s/%d" % (name, self._rank), json.dumps(list(address)))
                entries = [tuple(json.loads(store.get("hmc/%s/%d" % (name, other)))) for other in range(self._size)]
            return groups.ProcessGroup(context, self._rank, self._size, entries, name, groups._SLOT, seconds, None)
        except BaseException:
            context.close()
            raise

    # ---- how it is called

    def rank(self):
        return self._rank

    def size(self):
        return self._size

    def getBackendName(self):
        return "hmc"

    def name(self):
        return "hmc"

    def _get_backend_name(self):
        return "hmc"

    def shutdown(self):
        """Ends what is in progress, and the connections."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._thread.shutdown(wait=True)
        self._messages.close()
        self._group.close()

    def abort(self):
        self.shutdown()

    def __del__(self):
        if hasattr(self, "_is_closed"):
            self.shutdown()

    def _start(self, call, result):
        return self._keep(_Work(self._thread.submit(call), result))

    def _keep(self, work):
        self._works.append(work)
        return work

    @staticmethod
    def _each(tensors):
        return [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)

    # ---- operations of all ranks

    def broadcast(self, tensors, opts=None, **more):
        root = opts.rootRank if opts is not None else more.get("root", 0)

        def do():
            for each in map(_Flat, self._each(tensors)):
                self._group.broadcast(each.flat, root)
                each.finish()

        return self._start(do, tensors)

    def _reduce_one(self, tensor, op):
        how, is_mean = _operation(op)
        each = _Flat(tensor)
        if tensor.dtype == torch.bool:
            how = {"sum": "max", "product": "min"}.get(how, how)
        if tensor.is_complex() and how == "product":
            raise ValueError("the backend hmc forms no products of complex numbers")
        self._group.all_reduce(each.flat, how)
        if is_mean:
            each.flat.div_(self._size) if each.flat.is_floating_point() else each.flat.floor_divide_(self._size)
        each.finish()

    def allreduce(self, tensors, opts=None, **more):
        op = opts.reduceOp if opts is not None else more.get("op", dist.ReduceOp.SUM)

        def do():
            for tensor in self._each(tensors):
                self._reduce_one(tensor, op)

        return self._start(do, tensors)

    def allreduce_coalesced(self, tensors, opts=None):
        return self.allreduce(tensors, opts)

    def reduce(self, tensors, opts):
        def do():
            for tensor in self._each(tensors):
                whole = tensor if self._rank == opts.rootRank else tensor.detach().clone()
                self._reduce_one(whole, opts.reduceOp)

        return self._start(do, tensors)

    def _gather_into(self, output, tensor):
        """`output`, one dimension more than `tensor`, gets that of each rank."""
        each = _Flat(tensor)
        self._group.all_gather(_Flat(output).flat, each.flat)

    def allgather(self, output_lists, tensors, opts=None, **more):
        def do():
            for outputs, tensor in zip(output_lists, tensors):
                whole = torch.empty((self._size, *tensor.shape), dtype=tensor.dtype, device=tensor.device)
                self._gather_into(whole, tensor)
                for output, part in zip(outputs, whole):
                    output.detach().copy_(part.view_as(output))

        return self._start(do, output_lists)

    def _allgather_base(self, output, tensor, opts=None, **more):
        def do():
            whole = output if output.is_contiguous() else torch.empty_like(output, memory_format=torch.contiguous_format)
            self._gather_into(whole, tensor)
            if whole is not output:
                output.copy_(whole)

        return self._start(do, [output])

    def all_gather_single(self, output, tensor, opts=None):
        return self._allgather_base(output, tensor, opts)

    def allgather_into_tensor_coalesced(self, outputs, tensors, opts=None):
        works = [self._allgather_base(output, tensor) for output, tensor in zip(outputs, tensors)]
        return works[-1]

    def _scatter_sum(self, output, tensor, op):
        """`output` gets part `rank` of `tensor`, reduced."""
        how, is_mean = _operation(op)
        each = _Flat(output)
        self._group.reduce_scatter(each.flat, _Flat(tensor).flat, how)
        if is_mean:
            each.flat.div_(self._size)
        each.finish()

    def reduce_scatter(self, outputs, input_lists, opts=None, **more):
        op = opts.reduceOp if opts is not None else dist.ReduceOp.SUM

        def do():
            for output, inputs in zip(outputs, input_lists):
                self._scatter_sum(output, torch.cat([each.detach().reshape(-1) for each in inputs]), op)

        return self._start(do, outputs)

    def _reduce_scatter_base(self, output, tensor, opts=None, **more):
        op = opts.reduceOp if opts is not None else dist.ReduceOp.SUM
        return self._start(lambda: self._scatter_sum(output, tensor, op), [output])

    def barrier(self, opts=None, **more):
        return self._start(self._group.barrier, [])

    def monitored_barrier(self, timeout=None, wait_all_ranks=False):
        self.barrier().wait(timeout)

    # ---- made of messages

    def _exchange(self, outgoing, incoming):
        """outgoing[r] goes to rank r, incoming[r] comes from there; None for nothing."""
        works = []
        for other in range(self._size):
            if other == self._rank:
                if outgoing[other] is not None and incoming[other] is not None:
                    incoming[other].detach().copy_(outgoing[other].view_as(incoming[other]))
                continue
            if outgoing[other] is not None:
                works.append(self._messages.send(outgoing[other], other, _INNER))
            if incoming[other] is not None:
                works.append(self._messages.receive(incoming[other], other, _INNER))
        for each in works:
            each.result()

    def alltoall(self, outputs, inputs, opts=None):
        return self._start(lambda: self._exchange(inputs, outputs), outputs)

    def alltoall_base(self, output, tensor, output_splits, input_splits, opts=None):
        def parts(whole, splits):
            return list(whole.split(list(splits) if splits else whole.shape[0] // self._size))

        def do():
            whole = output if output.is_contiguous() else torch.empty_like(output, memory_format=torch.contiguous_format)
            self._exchange(parts(tensor, input_splits), parts(whole, output_splits))
            if whole is not output:
                output.copy_(whole)

        return self._start(do, [output])

    def gather(self, output_lists, tensors, opts):
        nothing = [None] * self._size
        is_root = self._rank == opts.rootRank

        def do():
            out = list(nothing)
            out[opts.rootRank] = tensors[0]
            self._exchange(out, output_lists[0] if is_root else nothing)

        return self._start(do, output_lists)

    def scatter(self, outputs, input_lists, opts):
        nothing = [None] * self._size
        is_root = self._rank == opts.rootRank

        def do():
            incoming = list(nothing)
            incoming[opts.rootRank] = outputs[0]
            self._exchange(input_lists[0] if is_root else nothing, incoming)

        return self._start(do, outputs)

    # ---- messages

    def send(self, tensors, other, tag=0):
        return self._keep(_Work(self._messages.send(tensors[0], other, tag), tensors))

    def recv(self, tensors, other, tag=0):
        return self._keep(_Work(self._messages.receive(tensors[0], other, tag), tensors))


def _make_group(store, rank, size, timeout):
    return HmcProcessGroup(store, rank, size, timeout)


def register():
    """Makes "hmc" a backend of torch.distributed; importing this module has done it."""
    if "hmc" in getattr(dist.Backend, "backend_list", ()) or hasattr(dist.Backend, "HMC"):
        return
    try:
        dist.Backend.register_backend("hmc", _make_group, devices=["cpu", "cuda"])
    except TypeError:       # torch before 2.0
        dist.Backend.register_backend("hmc", _make_group)


register()
