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

import threading

from .enums import ConnType, CtrlTransport, MemoryType, status_t

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident()

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
        c_status sendDataTo(string ip, uint16_t port, void *data, size_t size, c_memory memory, c_connection kind)
        c_status recvDataFrom(string ip, uint16_t port, void *data, size_t size, c_memory memory, size_t *flag,
                              c_connection kind)
        c_status initCtrlServer(string ip, uint16_t port, string uds_path)
        c_status connectCtrl(uint32_t peer, uint32_t me, c_Link link)
        c_status ctrlSend(uint32_t peer, uint64_t tag)
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

cdef unsigned long main_thread = threading.main_thread().ident


def _after_fork():
    global main_thread
    main_thread = PyThread_get_thread_ident()


import os
os.register_at_fork(after_in_child=_after_fork)

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


cdef inline bint takes_signals() noexcept:
    return PyThread_get_thread_ident() == main_thread


cdef void *pointer_of(object where, Py_buffer *buffer, bint is_written) except? NULL:
    """An address: an int, a capsule, None, a Buffer, or what has the buffer protocol (`buffer` holds it then)."""
    buffer.ndim = -1
    if where is None:
        return NULL
    if isinstance(where, Buffer):
        return (<Buffer>where).address
    if isinstance(where, int):
        return <void *><uintptr_t>where
    if PyCapsule_CheckExact(where):
        return PyCapsule_GetPointer(where, PyCapsule_GetName(where))
    if hasattr(where, "data_ptr"):
        return <void *><uintptr_t>where.data_ptr()
    PyObject_GetBuffer(where, buffer, PyBUF_WRITABLE if is_written else PyBUF_SIMPLE)
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


cdef class Buffer:
    """What Memory.allocateBuffer gave: writable bytes by the buffer protocol, freed with the object."""
    cdef Memory owner
    cdef void *address
    cdef readonly Py_ssize_t size
    cdef int exports

    def __dealloc__(self):
        if self.address != NULL:
            self.owner.memory.freeBuffer(self.address)

    @property
    def ptr(self):
        return <uintptr_t>self.address

    def __len__(self):
        return self.size

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.address == NULL:
            raise BufferError("the buffer was freed")
        if self.owner.getMemoryType() != MemoryType.CPU:
            raise BufferError("the buffer is on a device: copy it by Memory.copyDeviceToHost")
        PyBuffer_FillInfo(buffer, self, self.address, self.size, False, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1


cdef class Memory:
    """Allocates on a device and copies to and from it."""
    cdef unique_ptr[c_Memory] pointer
    cdef c_Memory *memory

    def __init__(self, int device_id, mem_type=MemoryType.DEFAULT):
        self.pointer.reset(new c_Memory(device_id, kind_of(mem_type)))
        self.memory = self.pointer.get()

    def init(self):
        return answer(self.memory.init())

    def free(self):
        return answer(self.memory.free())

    def createMemoryClass(self, mem_type):
        """A Memory of another kind on the same device."""
        return Memory(self.memory.getDeviceId(), mem_type)

    cdef object copy(self, int way, object dest, object src, size_t size):
        cdef Py_buffer to_buffer, from_buffer
        cdef void *to
        cdef void *data
        cdef c_status status
        to = pointer_of(dest, &to_buffer, True)
        try:
            data = pointer_of(src, &from_buffer, False)
        except BaseException:
            let_go(&to_buffer)
            raise
        try:
            with nogil:
                if way == 0:
                    status = self.memory.copyHostToDevice(to, data, size)
                elif way == 1:
                    status = self.memory.copyDeviceToHost(to, data, size)
                else:
                    status = self.memory.copyDeviceToDevice(to, data, size)
        finally:
            let_go(&from_buffer)
            let_go(&to_buffer)
        return answer(status)

    def copyHostToDevice(self, dest, src, size):
        return self.copy(0, dest, src, size)

    def copyDeviceToHost(self, dest, src, size):
        return self.copy(1, dest, src, size)

    def copyDeviceToDevice(self, dest, src, size):
        return self.copy(2, dest, src, size)

    cdef object allocate(self, size_t size, bint is_peerable):
        cdef Buffer made = Buffer.__new__(Buffer)
        cdef c_status status
        with nogil:
            if is_peerable:
                status = self.memory.allocatePeerableBuffer(&made.address, size)
            else:
                status = self.memory.allocateBuffer(&made.address, size)
        if status != c_status.SUCCESS:
            made.address = NULL
            return answer(status), None
        made.owner = self
        made.size = size
        return answer(status), made

    def allocateBuffer(self, size):
        """(status, Buffer or None)"""
        return self.allocate(size, False)

    def allocatePeerableBuffer(self, size):
        return self.allocate(size, True)

    def freeBuffer(self, addr):
        """Frees a Buffer before its time, or an address."""
        cdef Py_buffer buffer
        cdef void *address
        cdef c_status status
        if isinstance(addr, Buffer):
            if (<Buffer>addr).exports:
                raise BufferError("the buffer is still shown by a memoryview or an array")
            address, (<Buffer>addr).address = (<Buffer>addr).address, NULL
        else:
            address = pointer_of(addr, &buffer, True)
            let_go(&buffer)
        with nogil:
            status = self.memory.freeBuffer(address)
        return answer(status)

    def setDeviceIdAndMemoryType(self, int device_id, mem_type=MemoryType.DEFAULT):
        return answer(self.memory.setDeviceIdAndMemoryType(device_id, kind_of(mem_type)))

    def getMemoryType(self):
        return MemoryType(<int>self.memory.getMemoryType())

    def getInitStatus(self):
        return answer(self.memory.getInitStatus())

    def getDeviceId(self):
        return self.memory.getDeviceId()

    def __repr__(self):
        return "<hmc.Memory %s, device %d>" % (self.getMemoryType().name, self.getDeviceId())


cdef class ConnBuffer:
    """The registered buffer that all transfers of a Communicator go through."""
    cdef shared_ptr[c_ConnBuffer] shared
    cdef c_ConnBuffer *buffer
    cdef readonly object mem_type       # as asked for
    cdef readonly int device_id

    def __init__(self, int device_id, size_t buffer_size, mem_type=MemoryType.DEFAULT):
        cdef c_memory kind = kind_of(mem_type)
        self.shared = shared_ptr[c_ConnBuffer](new c_ConnBuffer(device_id, buffer_size, kind))
        self.buffer = self.shared.get()
        if self.buffer.getInitStatus() != c_status.SUCCESS:
            raise RuntimeError("ConnBuffer of %d B, %s on device %d: %s" %
                               (buffer_size, MemoryType(mem_type).name, device_id, last_error()))
        self.mem_type = MemoryType(mem_type)
        self.device_id = device_id

    @property
    def ptr(self):
        return <uintptr_t>self.buffer.ptr

    @property
    def buffer_size(self):
        return self.buffer.buffer_size

    cdef int check_range(self, size_t size, size_t bias) except -1:
        if bias > self.buffer.buffer_size or size > self.buffer.buffer_size - bias:
            raise RuntimeError("Buffer overflow")
        return 0

    def writeFromCpu(self, src, size_t size, size_t bias=0):
        cdef Py_buffer view
        cdef c_status status
        PyObject_GetBuffer(src, &view, PyBUF_CONTIG_RO)
        try:
            if <size_t>view.len < size:
                raise RuntimeError("Source buffer too small")
            self.check_range(size, bias)
            with nogil:
                status = self.buffer.writeFromCpu(view.buf, size, bias)
        finally:
            PyBuffer_Release(&view)
        return answer(status)

    def readToCpu(self, dest, size_t size, size_t bias=0):
        cdef Py_buffer view
        cdef c_status status
        try:
            PyObject_GetBuffer(dest, &view, PyBUF_WRITABLE)
        except BufferError:
            raise RuntimeError("Destination buffer must be writeable") from None
        try:
            if <size_t>view.len < size:
                raise RuntimeError("Destination buffer too small")
            self.check_range(size, bias)
            with nogil:
                status = self.buffer.readToCpu(view.buf, size, bias)
        finally:
            PyBuffer_Release(&view)
        return answer(status)

    def writeFromGpu(self, src_ptr, size_t size, size_t bias=0):
        cdef void *address = <void *><uintptr_t>src_ptr
        cdef c_status status
        self.check_range(size, bias)
        with nogil:
            status = self.buffer.writeFromGpu(address, size, bias)
        return answer(status)

    def readToGpu(self, dest_ptr, size_t size, size_t bias=0):
        cdef void *address = <void *><uintptr_t>dest_ptr
        cdef c_status status
        self.check_range(size, bias)
        with nogil:
            status = self.buffer.readToGpu(address, size, bias)
        return answer(status)

    def copyWithin(self, size_t dst_bias, size_t src_bias, size_t size):
        cdef c_status status
        self.check_range(size, dst_bias)
        self.check_range(size, src_bias)
        with nogil:
            status = self.buffer.copyWithin(dst_bias, src_bias, size)
        return answer(status)

    def __repr__(self):
        return "<hmc.ConnBuffer %d B of %s, device %d>" % (self.buffer_size, self.mem_type.name, self.device_id)


cdef class CtrlLink:
    """Where a peer's control channel is."""
    cdef public object transport, ip, port, uds_path

    def __init__(self, transport=CtrlTransport.TCP, ip="", port=0, uds_path=""):
        self.transport, self.ip, self.port, self.uds_path = transport, ip, port, uds_path

    cdef c_Link link(self) except *:
        cdef c_Link link
        link.transport = c_transport.UDS if int(self.transport) == 1 else c_transport.TCP
        link.ip = text_of(self.ip)
        link.port = self.port
        link.uds_path = text_of(self.uds_path)
        return link

    def __repr__(self):
        return "<hmc.CtrlLink %s>" % ("uds:" + self.uds_path if int(self.transport) == 1 else "tcp:%s:%d" %
                                      (self.ip, self.port))


cdef class Communicator:
    """One end of the transfers of a ConnBuffer. Peers are named by (ip, port), ranks by a number.

    Each has a control channel of its own, so that a process can be several ranks.
    """
    cdef unique_ptr[c_Control] control
    cdef unique_ptr[c_Communicator] pointer
    cdef c_Communicator *it
    cdef readonly ConnBuffer buffer

    def __init__(self, ConnBuffer buffer not None, size_t num_chs=1):
        self.control.reset(new c_Control())
        self.pointer.reset(new c_Communicator(buffer.shared, num_chs, self.control.get()[0]))
        self.it = self.pointer.get()
        self.buffer = buffer

    def __dealloc__(self):
        with nogil:
            self.pointer.reset()

    # ---- transfers

    cdef c_status finish(self, uint64_t id) except *:
        """Waits for an operation; where signals come here, looking for them, and cancelling it when one raises."""
        cdef c_status status
        cdef uint64_t waited = 0
        cdef cbool is_done = False
        cdef int i
        if takes_signals():
            while True:
                with nogil:
                    for i in range(200):
                        is_done = self.it.isDone(id)
                        if is_done:
                            break
                        hmcpy_nap(&waited)
                        if waited > 1000000:
                            break
                if is_done:
                    break
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    with nogil:
                        self.it.cancel(id)
                    raise
        with nogil:
            status = self.it.wait(id)
        return status

    cdef object move(self, bint is_put, object ip, uint16_t port, size_t here, size_t there, size_t size,
                     object connType, bint is_blocking):
        cdef string host = text_of(ip)
        cdef c_connection way = way_of(connType)
        cdef uint64_t id = 0
        cdef c_status status
        with nogil:
            if is_put:
                status = self.it.putNB(host, port, here, there, size, &id, way)
            else:
                status = self.it.getNB(host, port, here, there, size, &id, way)
        if is_blocking:
            return answer(self.finish(id) if status == c_status.SUCCESS else status)
        return answer(status), id

    def put(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        return self.move(True, ip, port, local_off, remote_off, size, connType, True)

    def get(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        return self.move(False, ip, port, local_off, remote_off, size, connType, True)

    def putNB(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        """(status, id for wait)"""
        return self.move(True, ip, port, local_off, remote_off, size, connType, False)

    def getNB(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        return self.move(False, ip, port, local_off, remote_off, size, connType, False)

    def wait(self, wr_id):
        """Waits for one id or a list of them; the first failure, or SUCCESS."""
        if isinstance(wr_id, int):
            return answer(self.finish(wr_id))
        first = status_t.SUCCESS
        for each in wr_id:
            status = answer(self.finish(each))
            if first == status_t.SUCCESS:
                first = status
        return first

    def writeTo(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        return self.move(True, ip, 0, ptr_bias, ptr_bias, size, connType, True)

    def readFrom(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        return self.move(False, ip, 0, ptr_bias, ptr_bias, size, connType, True)

    def send(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        """Two-sided, from this buffer at an offset to the peer's at that of its recv."""
        return self.exchange(True, ip, 0, self.buffer.ptr + ptr_bias, size, MemoryType.DEFAULT, None, connType)

    def recv(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        return self.exchange(False, ip, 0, self.buffer.ptr + ptr_bias, size, MemoryType.DEFAULT, None, connType)

    cdef object exchange(self, bint is_send, object ip, uint16_t port, object where, size_t size, object buf_type,
                         object flag, object connType):
        cdef string host = text_of(ip)
        cdef c_connection way = way_of(connType)
        cdef c_memory kind = kind_of(buf_type)
        cdef Py_buffer buffer, flag_buffer
        cdef void *address = pointer_of(where, &buffer, not is_send)
        cdef size_t *came = NULL
        cdef size_t came_here = 0
        cdef c_status status
        flag_buffer.ndim = -1
        try:
            if flag is not None:
                came = <size_t *>pointer_of(flag, &flag_buffer, True)
            hmcpy_watch_signals(takes_signals())
            with nogil:
                if is_send:
                    status = self.it.sendDataTo(host, port, address, size, kind, way)
                else:
                    status = self.it.recvDataFrom(host, port, address, size, kind, &came_here, way)
            hmcpy_watch_signals(False)
            PyErr_CheckSignals()
            if came != NULL and status == c_status.SUCCESS:
                came[0] = came_here
        finally:
            let_go(&flag_buffer)
            let_go(&buffer)
        return answer(status) if is_send else (answer(status), came_here)

    def sendDataTo(self, ip, *arguments, **named):
        """sendDataTo(ip, [port,] send_buf, buf_size, buf_type, connType=RDMA). `send_buf`: an address, a capsule, a
        buffer. Each meets one recvDataFrom of the peer, which may come first or last."""
        port, where, size, kind, connType = pick_exchange(arguments, named, "send_buf", False)
        return self.exchange(True, ip, port, where, size, kind, None, connType)

    def recvDataFrom(self, ip, *arguments, **named):
        """recvDataFrom(ip, [port,] recv_buf, buf_size, buf_type, flag, connType=RDMA). `flag` (None, the address of a
        size_t, or a writable buffer of 8 bytes) gets how many bytes came."""
        port, where, size, kind, connType, flag = pick_exchange(arguments, named, "recv_buf", True)
        return self.exchange(False, ip, port, where, size, kind, flag, connType)[0]

    def _receive(self, ip, port, where, size, kind, flag, connType):
        return self.exchange(False, ip, port, where, size, kind, flag, connType)

    # ---- the control channel

    def ctrlSend(self, uint32_t peer, uint64_t tag):
        cdef c_status status
        with nogil:
            status = self.it.ctrlSend(peer, tag)
        return answer(status)

    def ctrlRecv(self, uint32_t peer):
        """(status, tag)"""
        cdef uint64_t tag = 0, left = timeout_ms(), step
        cdef c_status status
        while True:
            step = 50 if left > 50 and takes_signals() else left
            with nogil:
                status = self.it.ctrlRecv(peer, &tag, step)
            left -= step
            if status != c_status.TIMEOUT or not left:
                return answer(status), tag
            PyErr_CheckSignals()

    def initCtrlServer(self, bind_ip, uint16_t tcp_port, uds_path=""):
        cdef string ip = text_of(bind_ip), path = text_of(uds_path)
        cdef c_status status
        with nogil:
            status = self.it.initCtrlServer(ip, tcp_port, path)
        return answer(status)

    def closeCtrl(self):
        with nogil:
            self.it.closeCtrl()
        return status_t.SUCCESS

    def connectCtrl(self, uint32_t peer_id, uint32_t self_id, CtrlLink link not None):
        cdef c_Link where = link.link()
        cdef c_status status
        with nogil:
            status = self.it.connectCtrl(peer_id, self_id, where)
        return answer(status)

    def closeCtrlPeer(self, uint32_t peer_id):
        with nogil:
            self.it.closeCtrlPeer(peer_id)
        return status_t.SUCCESS

    @staticmethod
    def udsPathFor(dir, uint32_t peer_id):
        return c_Communicator.udsPathFor(text_of(dir), peer_id).decode()

    # ---- connecting

    def initServer(self, bind_ip, data_port, *arguments, **named):
        """initServer(bind_ip, data_port, ctrl_tcp_port, ctrl_uds_path, serverType=RDMA), or, as in the first
        generation, initServer(ip, port, connType=RDMA)."""
        cdef string ip = text_of(bind_ip), path
        cdef uint16_t port = data_port, ctrl_port = 0
        cdef c_connection way
        cdef c_status status
        cdef bint is_second = len(arguments) > 1 or "ctrl_tcp_port" in named
        if is_second:
            names = ("ctrl_tcp_port", "ctrl_uds_path", "serverType")
        else:
            names = ("connType",)
        values = pick(names, arguments, named, {"ctrl_uds_path": "", "serverType": ConnType.RDMA,
                                                "connType": ConnType.RDMA})
        way = way_of(values[len(values) - 1])
        if is_second:
            ctrl_port, path = values[0], text_of(values[1])
        with nogil:
            if is_second:
                status = self.it.initServer(ip, port, ctrl_port, path, way)
            else:
                status = self.it.initServer(ip, port, way)
        return answer(status)

    def connectTo(self, *arguments, **named):
        """connectTo(peer_id, self_id, peer_ip, data_port, ctrl_link, connType=RDMA), or, as in the first generation,
        connectTo(ip, port, connType=RDMA)."""
        cdef string ip
        cdef uint32_t peer = 0, me = 0
        cdef uint16_t port
        cdef c_Link where
        cdef c_connection way
        cdef c_status status
        cdef bint is_second = "peer_id" in named or bool(arguments) and not isinstance(arguments[0], str)
        defaults = {"connType": ConnType.RDMA}
        if is_second:
            peer, me, host, port, link, kind = pick(
                ("peer_id", "self_id", "peer_ip", "data_port", "ctrl_link", "connType"), arguments, named, defaults)
            where = (<CtrlLink?>link).link()
        else:
            host, port, kind = pick(("ip", "port", "connType"), arguments, named, defaults)
        ip, way = text_of(host), way_of(kind)
        with nogil:
            if is_second:
                status = self.it.connectTo(peer, me, ip, port, where, way)
            else:
                status = self.it.connectTo(ip, port, way)
        return answer(status)

    def closeServer(self):
        cdef c_status status
        with nogil:
            status = self.it.closeServer()
        return answer(status)

    def disConnect(self, ip, *arguments, **named):
        """disConnect(ip, port, connType=RDMA), or, as in the first generation, disConnect(ip, connType=RDMA)."""
        cdef string host = text_of(ip)
        cdef uint16_t port
        cdef c_connection way
        cdef c_status status
        number, kind = pick_port(arguments, named)
        port, way = number, way_of(kind)
        with nogil:
            status = self.it.disConnect(host, port, way)
        return answer(status)

    def checkConn(self, ip, *arguments, **named):
        """checkConn(ip, port, connType=RDMA), or, as in the first generation, checkConn(ip, connType=RDMA)."""
        cdef string host = text_of(ip)
        cdef uint16_t port
        cdef c_connection way
        cdef c_status status
        number, kind = pick_port(arguments, named)
        port, way = number, way_of(kind)
        with nogil:
            status = self.it.checkConn(host, port, way)
        return answer(status)

    @property
    def data_port(self):
        """The data port that was opened last; 0 when there is none."""
        return self.it.dataPort()

    @property
    def ctrl_port(self):
        return self.it.ctrlPort()

    def explain(self, ip, uint16_t port=0, connType=ConnType.AUTO):
        """How a peer is reached, and why not faster, as lines of text; "" when there is no such peer."""
        cdef string host = text_of(ip), said
        cdef c_connection way = way_of(connType)
        with nogil:
            said = self.it.explain(host, port, way)
        return said.decode("utf-8", "replace")

    def __repr__(self):
        return "<hmc.Communicator of %r>" % self.buffer


cdef uint64_t timeout_ms() except? 0:
    from . import _engine
    return _engine.default_timeout()


cdef list pick(tuple names, tuple arguments, dict named, dict defaults):
    """Arguments by place and by name, as a def would sort them."""
    if len(arguments) > len(names):
        raise TypeError("%d arguments are too many: %s are taken" % (len(arguments), ", ".join(names)))
    found = list(arguments)
    for name in names[len(arguments):]:
        if name in named:
            found.append(named[name])
        elif name in defaults:
            found.append(defaults[name])
        else:
            raise TypeError("the argument %r is missing" % name)
    for name in named:
        if name not in names[len(arguments):]:
            raise TypeError("the argument %r is not known, or given twice" % name)
    return found


cdef tuple pick_port(tuple arguments, dict named):
    """([port,] connType): a first argument that is a ConnType is no port."""
    if "port" in named or arguments and not isinstance(arguments[0], ConnType):
        return tuple(pick(("port", "connType"), arguments, named, {"connType": ConnType.RDMA}))
    return 0, pick(("connType",), arguments, named, {"connType": ConnType.RDMA})[0]


cdef tuple pick_exchange(tuple arguments, dict named, str buffer, bint is_receive):
    """([port,] buffer, size, kind, [flag,] connType): with a port, the kind is the fourth."""
    cdef int place = 2
    cdef list names = ["port", buffer, "buf_size", "buf_type"] + (["flag"] if is_receive else []) + ["connType"]
    cdef bint has_port = "port" in named or len(arguments) > 3 and isinstance(arguments[3], MemoryType) or \
        len(arguments) == 3 and not isinstance(arguments[2], MemoryType)
    defaults = {"connType": ConnType.RDMA, "flag": None}
    values = pick(tuple(names if has_port else names[1:]), arguments, named, defaults)
    if not has_port:
        values.insert(0, 0)
    if is_receive:
        return values[0], values[1], values[2], values[3], values[5], values[4]
    return tuple(values)
