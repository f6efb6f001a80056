# cython: language_level=3, boundscheck=False, initializedcheck=False
"""The engine's objects in Python: Context, Peer, Region, Remote, Slice, Batch, Request.

Lifetimes. The C API wants no object closed under a call that uses it. Every call that runs with the GIL released counts
itself in `busy` of the context, peer and region it uses (changed under the GIL only); close() lets no new ones in,
cancels the requests that are in flight, and waits until the counts are zero. Short copies to mapped peers keep the GIL
and count nothing.

What an operation reads or writes is held by its Request until it is complete: the exporter of the memory, the region
made of it for the while, and the batch.

Cycles. What __dealloc__ gives back it finds by the object's attributes, so the collector must not clear them before
(no_gc_clear): a batch in a cycle would leak, and memory be let go while the engine still writes to it. The Context and
its sets can be cleared, and one of them is in every cycle of these classes.

Signals. In the thread that Python delivers signals to, no wait is longer than a few milliseconds at a time: see glue.h.
A short blocking put or get makes no request: the library moves it in the calling thread, and asks now and then (hmc/state.h)
whether it should go on. So do close() and the handlers of signals end it.
"""
cimport cython
from cpython.buffer cimport (PyBUF_FULL_RO, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
                             PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid, PyCapsule_SetName
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset, strchr

from .capi cimport *

import os
import sys
import threading
import weakref

from . import errors
from .enums import ConnType, MemoryType, status_t

cdef long generation = 0        # of this process: one more after each fork


def _after_fork():
    global generation
    generation += 1


os.register_at_fork(after_in_child=_after_fork)

cdef class Context
cdef class Peer
cdef class Region
cdef class RegionPart
cdef class Remote
cdef class Slice
cdef class Signal
cdef class Request
cdef class Batch
cdef class MultiBatch
cdef class View

include "signals.pxi"
include "failure.pxi"
include "numbers.pxi"
include "memory.pxi"
include "view.pxi"
include "peer.pxi"
include "context.pxi"
include "region.pxi"
include "request.pxi"
include "remote.pxi"
include "transfer.pxi"
include "batch.pxi"
include "multi_batch.pxi"
include "words.pxi"
include "log.pxi"
include "measure.pxi"
