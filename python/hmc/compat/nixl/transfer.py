"""Transfers of an agent, and the lists that they are made of.

A Transfer's state is final only when its request is complete: nothing of it lands or is read after that, however it ended.
"""

import time

import numpy

import hmc

from .status import (kind_of, nixl_status_t, nixl_xfer_op_t, nixlCancelledError, nixlInvalidParamError, nixlNotFoundError,
                     nixlNotPostedError, nixlRepostActiveError)


def expand(rows):
    """Blocks of a strided list: each row (address, bytes, device, stride, count) is `count` of them."""
    if rows.dtype not in (numpy.uint64, numpy.int64):
        raise ValueError("a strided list is a Nx5 numpy array of uint64 or int64")
    rows = rows.astype(numpy.uint64)
    if (rows[:, 4] == 0).any() or ((rows[:, 4] > 1) & (rows[:, 3] < rows[:, 1])).any():
        raise nixlNotFoundError()
    counts = rows[:, 4].astype(numpy.int64)
    which = numpy.repeat(numpy.arange(len(rows)), counts)
    first = numpy.repeat(numpy.cumsum(counts) - counts, counts)
    steps = (numpy.arange(len(which)) - first).astype(numpy.uint64)
    made = rows[which, :3]
    made[:, 0] += steps * rows[which, 3]
    return made


class Side:
    """A list of blocks that was found in one agent's memory by each backend that can: {Backend: (ranges, places,
    offsets)}. `agent` is the remote agent's entry, None for local blocks."""

    def __init__(self, agent, rows, found):
        self.agent, self.rows, self.found = agent, rows, found

    def pick(self, indices):
        """Some of the blocks, by place."""
        rows = self.rows[indices]
        found = {backend: (ranges, which[indices], offsets[indices])
                 for backend, (ranges, which, offsets) in self.found.items()}
        return Side(self.agent, rows, found)


def places(indices, count):
    """Indices of a list of `count` blocks as an array."""
    if isinstance(indices, numpy.ndarray) and indices.ndim != 1:
        raise ValueError("indices numpy array must be 1D")
    made = numpy.asarray(indices).astype(numpy.int64)
    if not len(made) or made.min() < 0 or made.max() >= count:
        raise nixlInvalidParamError()
    return made


def used(ranges, which):
    """The ranges that are used, and the place of each block's among them."""
    first = int(which[0])
    if (which == first).all():
        return [ranges[first]], numpy.zeros(len(which), dtype=numpy.int64)
    numbers, compact = numpy.unique(which, return_inverse=True)
    return [ranges[each] for each in numbers], compact


class Transfer:
    def __init__(self, operation, local, remote, backend, note):
        if len(local.rows) != len(remote.rows) or (local.rows[:, 1] != remote.rows[:, 1]).any():
            raise nixlInvalidParamError()
        self.operation, self.backend, self.agent, self.note = operation, backend, remote.agent, note
        self.generation = remote.agent.generation
        self.link = remote.agent.links[backend]
        mine, my_place, my_offset = local.found[backend]
        theirs, their_place, their_offset = remote.found[backend]
        self.mine, my_place = used(mine, my_place)
        self.theirs, their_place = used(theirs, their_place)
        self.pieces = numpy.stack([my_place, their_place, my_offset, their_offset,
                                   local.rows[:, 1].astype(numpy.int64)], axis=1)
        self.total = int(local.rows[:, 1].sum())
        self.request = None
        self.state = nixl_status_t.NIXL_ERR_NOT_POSTED
        self.failure = None
        self.began = self.post_ns = self.took_ns = 0
        self._prepare()

    def _prepare(self):
        """A batch between regions that are open now."""
        remotes = self.backend.remotes_of(self.link, self.theirs)
        try:
            self.batch = self.backend.context.batch([each.handle for each in self.mine], remotes,
                                                    numpy.ascontiguousarray(self.pieces),
                                                    get=self.operation == nixl_xfer_op_t.NIXL_READ)
        except hmc.HMCError as error:
            raise kind_of(error)() from error
        self.peer = self.link.peer

    def post(self, note, sender):
        """Starts it, with a notification `sender` makes of the message; an empty one keeps the one before."""
        if self.state == nixl_status_t.NIXL_IN_PROG and self.check() == nixl_status_t.NIXL_IN_PROG:
            raise nixlRepostActiveError()
        if note:
            self.note = note
        begin = time.monotonic_ns()
        self.state, self.failure, self.request = nixl_status_t.NIXL_ERR_NOT_POSTED, None, None
        if self.peer is not self.link.peer or not self.link.is_connected():
            self._prepare()
        try:
            self.request = self.batch.start_nb(timeout=self.backend.deadline,
                                               notify=sender(self.note) if self.note else None)
        except hmc.HMCError as error:
            self._fail(error)
            raise self.failure from error
        self.state = nixl_status_t.NIXL_IN_PROG
        self.began, self.post_ns = begin, time.monotonic_ns() - begin
        return self.check()

    def _fail(self, error):
        closed = isinstance(error, hmc.ClosedError)     # memory that was deregistered here meanwhile
        self.state = nixl_status_t.NIXL_ERR_BACKEND
        self.failure = (nixlNotFoundError if closed else kind_of(error))()
        self.failure.__cause__ = error

    def check(self):
        """NIXL_IN_PROG or NIXL_SUCCESS; raises what it failed with."""
        if self.state == nixl_status_t.NIXL_ERR_NOT_POSTED:
            raise nixlNotPostedError()
        if self.state == nixl_status_t.NIXL_IN_PROG and self.request.done():
            self.took_ns = time.monotonic_ns() - self.began
            error = self.request.exception()
            if error is None:
                self.state = nixl_status_t.NIXL_SUCCESS
            else:
                self._fail(error)
            self.request = None
        if self.failure is not None:
            raise type(self.failure)() from self.failure.__cause__
        return self.state

    def is_active(self):
        return self.state == nixl_status_t.NIXL_IN_PROG and not self.request.done()

    def release(self):
        """Ends it: when this returns nothing of it lands or is read any more."""
        if self.request is not None:
            self.request.cancel()
            self.request = None
            self.state = nixl_status_t.NIXL_ERR_BACKEND
            self.failure = nixlCancelledError()

