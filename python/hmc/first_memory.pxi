# Memory, Buffer and ConnBuffer: what the first HMC transfers from and into.

@cython.no_gc_clear  # __dealloc__ uses the owner
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
        to = pointer_of(dest, &to_buffer, True, size)
        try:
            data = pointer_of(src, &from_buffer, False, size)
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
        return self.copy(0, dest, src, whole(size, "size"))

    def copyDeviceToHost(self, dest, src, size):
        return self.copy(1, dest, src, whole(size, "size"))

    def copyDeviceToDevice(self, dest, src, size):
        return self.copy(2, dest, src, whole(size, "size"))

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
        return self.allocate(whole(size, "size"), False)

    def allocatePeerableBuffer(self, size):
        return self.allocate(whole(size, "size"), True)

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
            address = pointer_of(addr, &buffer, True, 0)
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

    def __init__(self, int device_id, buffer_size, mem_type=MemoryType.DEFAULT):
        cdef c_memory kind = kind_of(mem_type)
        cdef size_t size = whole(buffer_size, "buffer_size")
        self.shared = shared_ptr[c_ConnBuffer](new c_ConnBuffer(device_id, size, kind))
        self.buffer = self.shared.get()
        if self.buffer.getInitStatus() != c_status.SUCCESS:
            raise RuntimeError("ConnBuffer of %d B, %s on device %d: %s" %
                               (size, MemoryType(mem_type).name, device_id, last_error()))
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

    cdef c_status copy_slices(self, bint is_write, char *host, size_t size, size_t bias) except *:
        """Between host memory and the buffer, looking for signals on the way."""
        cdef size_t done = 0, step
        cdef c_status status
        while True:
            step = min(size - done, <size_t>SLICE_BYTES)
            with nogil:
                if is_write:
                    status = self.buffer.writeFromCpu(host + done, step, bias + done)
                else:
                    status = self.buffer.readToCpu(host + done, step, bias + done)
            done += step
            if status != c_status.SUCCESS or done == size:
                return status
            if takes_signals():
                PyErr_CheckSignals()

    def writeFromCpu(self, src, size, bias=0):
        cdef size_t nbytes = whole(size, "size"), at = whole(bias, "bias")
        cdef Py_buffer view
        cdef c_status status
        PyObject_GetBuffer(src, &view, PyBUF_CONTIG_RO)
        try:
            if <size_t>view.len < nbytes:
                raise RuntimeError("Source buffer too small")
            self.check_range(nbytes, at)
            status = self.copy_slices(True, <char *>view.buf, nbytes, at)
        finally:
            PyBuffer_Release(&view)
        return answer(status)

    def readToCpu(self, dest, size, bias=0):
        cdef size_t nbytes = whole(size, "size"), at = whole(bias, "bias")
        cdef Py_buffer view
        cdef c_status status
        try:
            PyObject_GetBuffer(dest, &view, PyBUF_WRITABLE)
        except BufferError:
            raise RuntimeError("Destination buffer must be writeable") from None
        try:
            if <size_t>view.len < nbytes:
                raise RuntimeError("Destination buffer too small")
            self.check_range(nbytes, at)
            status = self.copy_slices(False, <char *>view.buf, nbytes, at)
        finally:
            PyBuffer_Release(&view)
        return answer(status)

    def writeFromGpu(self, src_ptr, size, bias=0):
        cdef size_t nbytes = whole(size, "size"), at = whole(bias, "bias")
        cdef void *address = <void *><uintptr_t>src_ptr
        cdef c_status status
        self.check_range(nbytes, at)
        with nogil:
            status = self.buffer.writeFromGpu(address, nbytes, at)
        return answer(status)

    def readToGpu(self, dest_ptr, size, bias=0):
        cdef size_t nbytes = whole(size, "size"), at = whole(bias, "bias")
        cdef void *address = <void *><uintptr_t>dest_ptr
        cdef c_status status
        self.check_range(nbytes, at)
        with nogil:
            status = self.buffer.readToGpu(address, nbytes, at)
        return answer(status)

    def copyWithin(self, dst_bias, src_bias, size):
        cdef size_t to = whole(dst_bias, "dst_bias"), source = whole(src_bias, "src_bias"), nbytes = whole(size, "size")
        cdef c_status status
        self.check_range(nbytes, to)
        self.check_range(nbytes, source)
        with nogil:
            status = self.buffer.copyWithin(to, source, nbytes)
        return answer(status)

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.ConnBuffer %d B of %s, device %d>" % (self.buffer_size, self.mem_type.name, self.device_id)
