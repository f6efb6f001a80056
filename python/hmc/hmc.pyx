# cython: language_level=3
# distutils: language = c++
"""The classes of the C++ face, as programs of the first HMC know them from its extension module (hmc.hmc).

Calls answer a status_t and raise nothing but what their arguments deserve; the package's Session turns statuses into
exceptions. Every call that can block runs with the GIL released; in the thread that Python delivers signals to, none
waits longer than a few milliseconds without looking for them.

Names and arguments are those of the first HMC (both generations), which is why they are not snake_case.
"""
cimport cython
from cpython.buffer cimport (PyBUF_CONTIG_RO, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
                             PyObject_CheckBuffer, PyObject_GetBuffer)
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_CheckExact, PyCapsule_GetName, PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.vector cimport vector

import os
import threading

from . import errors
from .enums import ConnType, CtrlTransport, MemoryType, status_t

cdef extern from "<hmc.h>" namespace "hmc" nogil:
    cdef enum class c_status "hmc::status_t":
        SUCCESS, TIMEOUT
    cdef enum class c_memory "hmc::MemoryType":
        DEFAULT
    cdef enum class c_connection "hmc::ConnType":
        AUTO
    const char *c_last_error "hmc::last_error"()
    c_memory c_memory_supported "hmc::memory_supported"()

    cdef cppclass c_Memory "hmc::Memory":
        c_Memory(int device_id, c_memory kind) except +
        c_status init()
        c_status free()
        c_status setDeviceIdAndMemoryType(int device_id, c_memory kind) except +
        c_status allocateBuffer(void **address, size_t size)
        c_status allocatePeerableBuffer(void **address, size_t size)
        c_status freeBuffer(void *address)
        c_status copyHostToDevice(void *dest, const void *src, size_t size)
        c_status copyDeviceToHost(void *dest, const void *src, size_t size)
        c_status copyDeviceToDevice(void *dest, const void *src, size_t size)
        c_memory getMemoryType()
        c_status getInitStatus()
        int getDeviceId()

    cdef cppclass c_ConnBuffer "hmc::ConnBuffer":
        c_ConnBuffer(int device_id, size_t size, c_memory kind) except +
        void *ptr
        size_t buffer_size
        c_Memory *mem_ops
        c_status getInitStatus()
        c_status writeFromCpu(void *src, size_t size, size_t bias)
        c_status readToCpu(void *dest, size_t size, size_t bias)
        c_status writeFromGpu(void *src, size_t size, size_t bias)
        c_status readToGpu(void *dest, size_t size, size_t bias)
        c_status copyWithin(size_t dst_bias, size_t src_bias, size_t size)

    cdef cppclass c_Control "hmc::CtrlSocketManager":
        c_Control() except +

    cdef enum class c_transport "hmc::Communicator::CtrlTransport":
        TCP, UDS

    cdef cppclass c_Link "hmc::Communicator::CtrlLink":
        c_transport transport
        string ip
        uint16_t port
        string uds_path

    cdef cppclass c_Communicator "hmc::Communicator":
        c_Communicator(shared_ptr[c_ConnBuffer] buffer, size_t channels, c_Control &control) except +
        c_status initServer(string ip, uint16_t port, c_connection kind)
        c_status initServer(string ip, uint16_t port, uint16_t ctrl_port, string uds_path, c_connection kind)
        c_status closeServer()
        uint16_t dataPort()
        uint16_t ctrlPort()
        c_status connectTo(string ip, uint16_t port, c_connection kind)
        c_status connectTo(uint32_t peer, uint32_t me, string ip, uint16_t port, c_Link link, c_connection kind)
        c_status disConnect(string ip, c_connection kind)
        c_status disConnect(string ip, uint16_t port, c_connection kind)
        c_status checkConn(string ip, uint16_t port, c_connection kind)
        string explain(string ip, uint16_t port, c_connection kind)
        c_status put(string ip, uint16_t port, size_t here, size_t there, size_t size, c_connection kind)
        c_status get(string ip, uint16_t port, size_t here, size_t there, size_t size, c_connection kind)
        c_status putNB(string ip, uint16_t port, size_t here, size_t there, size_t size, uint64_t *id,
                       c_connection kind)
        c_status getNB(string ip, uint16_t port, size_t here, size_t there, size_t size, uint64_t *id,
                       c_connection kind)
        c_status wait(uint64_t id)
        cbool isDone(uint64_t id)
        void cancel(uint64_t id)
        c_status send(string ip, size_t bias, size_t size, c_connection kind)
        c_status recv(string ip, size_t bias, size_t size, c_connection kind)
        c_status sendDataTo(string ip, uint16_t port, void *data, size_t size, c_memory memory, c_connection kind)
        c_status recvDataFrom(string ip, uint16_t port, void *data, size_t size, c_memory memory, size_t *flag,
                              c_connection kind)
        c_status initCtrlServer(string ip, uint16_t port, string uds_path)
        c_status connectCtrl(uint32_t peer, uint32_t me, c_Link link)
        c_status ctrlSend(uint32_t peer, uint64_t tag, uint64_t timeout_ms)
        c_status ctrlRecv(uint32_t peer, uint64_t *tag, uint64_t timeout_ms)
        void closeCtrl()
        void closeCtrlPeer(uint32_t peer)
        @staticmethod
        string udsPathFor(string directory, uint32_t id)

cdef extern from *:
    """
    /* Asked by waits of the C++ face, without the GIL. */
    static bool hmcpy_stop() {
      PyGILState_STATE state = PyGILState_Ensure();
      bool stop = PyErr_Occurred() || PyErr_CheckSignals() != 0;
      PyGILState_Release(state);
      return stop;
    }
    static void hmcpy_watch_signals(bool on) { hmc::hmc_detail::stop_check() = on ? hmcpy_stop : nullptr; }
    """
    void hmcpy_watch_signals(cbool on) nogil

cdef extern from "glue.h" nogil:
    void hmcpy_nap(uint64_t *waited_ns)

include "signals.pxi"

# The values of the enumerations, as names of this module.
for _enum in (status_t, MemoryType, ConnType, CtrlTransport):
    globals().update(_enum.__members__)
del _enum

_STATUS = {int(each): each for each in status_t}


cdef inline object answer(c_status status):
    return _STATUS[<int>status]


cdef c_memory kind_of(object mem_type) except *:
    return <c_memory><int>mem_type


cdef c_connection way_of(object connType) except *:
    if isinstance(connType, str):
        raise TypeError("Invalid ConnType: %r" % (connType,))
    return <c_connection><int>ConnType(connType)


cdef string text_of(object text) except *:
    return text if isinstance(text, bytes) else str(text).encode()


cdef int expect_room(size_t have, size_t size, bint is_written) except -1:
    if have < size:
        raise RuntimeError("Destination buffer too small" if is_written else "Source buffer too small")
    return 0


cdef void *tensor_pointer(object tensor, size_t size, bint is_written) except? NULL:
    if hasattr(tensor, "is_contiguous") and not tensor.is_contiguous():
        raise ValueError("the tensor does not lie in one piece: pass tensor.contiguous()")
    if hasattr(tensor, "numel") and hasattr(tensor, "element_size"):
        expect_room(tensor.numel() * tensor.element_size(), size, is_written)
    return <void *><uintptr_t>tensor.data_ptr()


cdef void *pointer_of(object where, Py_buffer *buffer, bint is_written, size_t size) except? NULL:
    """An address: an int, a capsule, None, a Buffer, a tensor, or what has the buffer protocol (`buffer` holds it then). Where
    it is known how many bytes lie there, they are `size` at least."""
    buffer.ndim = -1
    if where is None:
        return NULL
    if isinstance(where, Buffer):
        if (<Buffer>where).address != NULL:
            expect_room((<Buffer>where).size, size, is_written)
        return (<Buffer>where).address
    if isinstance(where, int):
        return <void *><uintptr_t>where
    if PyCapsule_CheckExact(where):
        return PyCapsule_GetPointer(where, PyCapsule_GetName(where))
    if hasattr(where, "data_ptr"):
        return tensor_pointer(where, size, is_written)
    PyObject_GetBuffer(where, buffer, PyBUF_WRITABLE if is_written else PyBUF_SIMPLE)
    try:
        expect_room(buffer.len, size, is_written)
    except BaseException:
        let_go(buffer)
        raise
    return buffer.buf


cdef void let_go(Py_buffer *buffer) noexcept:
    if buffer.ndim >= 0:
        PyBuffer_Release(buffer)


def memory_supported():
    """The kind that MemoryType.DEFAULT stands for on this machine."""
    cdef c_memory found
    with nogil:
        found = c_memory_supported()
    return MemoryType(<int>found)


def last_error():
    """What went wrong in the last call of this thread that did not answer SUCCESS, in one line."""
    return c_last_error().decode("utf-8", "replace")


include "numbers.pxi"


cdef int raise_signal() except -1:
    """After a wait of the C++ face that a signal may have ended: raises what its handler raised."""
    hmcpy_watch_signals(False)
    if PyErr_Occurred() != NULL:
        return -1
    return PyErr_CheckSignals()


include "first_memory.pxi"
include "first_communicator.pxi"
include "first_arguments.pxi"
