# Where the bytes of an object lie: the buffer protocol, __cuda_array_interface__, DLPack, __array_interface__.
#
# None of the libraries that make such objects is imported; what they offer is asked of the object.

# The layouts of DLPack (github.com/dmlc/dlpack, include/dlpack/dlpack.h), version 1.
cdef struct DLDevice:
    int32_t device_type
    int32_t device_id

cdef struct DLDataType:
    uint8_t code
    uint8_t bits
    uint16_t lanes

cdef struct DLTensor:
    void *data
    DLDevice device
    int32_t ndim
    DLDataType dtype
    int64_t *shape
    int64_t *strides
    uint64_t byte_offset

cdef struct DLManagedTensor:
    DLTensor dl_tensor
    void *manager_ctx
    void (*deleter)(DLManagedTensor *) noexcept

cdef struct DLManagedTensorVersioned:
    uint32_t major
    uint32_t minor
    void *manager_ctx
    void (*deleter)(DLManagedTensorVersioned *) noexcept
    uint64_t flags
    DLTensor dl_tensor

cdef enum:
    DL_READ_ONLY = 1
    MAX_DIMS = 32


@cython.final
@cython.freelist(16)
@cython.no_gc_clear
cdef class View:
    """The bytes of an object, held until the view goes. Not for programs."""
    cdef char *pointer                  # of the first element
    cdef Py_ssize_t nbytes              # of all elements
    cdef Py_ssize_t itemsize
    cdef int ndim
    cdef int64_t shape[MAX_DIMS]
    cdef int64_t strides[MAX_DIMS]      # in bytes
    cdef bint is_contiguous, is_read_only, has_buffer
    cdef Py_buffer buffer
    cdef object owner
    cdef DLManagedTensor *managed
    cdef DLManagedTensorVersioned *managed_versioned

    def __dealloc__(self):
        if self.has_buffer:
            PyBuffer_Release(&self.buffer)
        if self.managed != NULL and self.managed.deleter != NULL:
            self.managed.deleter(self.managed)
        if self.managed_versioned != NULL and self.managed_versioned.deleter != NULL:
            self.managed_versioned.deleter(self.managed_versioned)

    cdef int measure(self) except -1:
        """Sets nbytes and is_contiguous by shape and strides."""
        cdef int64_t expected = self.itemsize
        cdef int i
        self.nbytes = self.itemsize
        self.is_contiguous = True
        for i in range(self.ndim - 1, -1, -1):
            self.nbytes *= self.shape[i]
            if self.shape[i] != 1 and self.strides[i] != expected:
                self.is_contiguous = False
            expected *= self.shape[i]
        if self.nbytes == 0:
            self.is_contiguous = True
        return 0

    cdef bint has_words(self):
        """True where the elements are 64-bit integers, in the order of this machine."""
        cdef const char *format = self.buffer.format if self.has_buffer else NULL
        if format == NULL or self.itemsize != 8:
            return False
        if format[0] in b"@=<":
            format += 1
        return format[0] in b"lLqQnN" and not format[1]

    cdef int refuse_objects(self, str format, object obj) except -1:
        """Addresses of Python's objects mean nothing to a peer. Names of fields stand between colons."""
        if "O" in "".join(format.split(":")[::2]):
            raise TypeError("%s holds Python objects, which cannot travel; pickle them, or give the array a type of numbers"
                            % type(obj).__name__)
        return 0

    cdef int take_buffer(self, object obj) except -1:
        cdef int i
        PyObject_GetBuffer(obj, &self.buffer, PyBUF_FULL_RO)
        self.has_buffer = True
        if self.buffer.format != NULL and strchr(self.buffer.format, c"O") != NULL:
            self.refuse_objects(self.buffer.format.decode(), obj)
        if self.buffer.suboffsets != NULL:
            for i in range(self.buffer.ndim):
                if self.buffer.suboffsets[i] >= 0:
                    invalid("a buffer of pointers (suboffsets) cannot travel")
        if self.buffer.ndim > MAX_DIMS:
            invalid("%d dimensions are more than %d" % (self.buffer.ndim, MAX_DIMS))
        self.pointer = <char *>self.buffer.buf
        self.is_read_only = self.buffer.readonly
        self.itemsize = self.buffer.itemsize
        self.ndim = self.buffer.ndim
        if self.ndim == 1 and (self.buffer.strides == NULL or self.buffer.strides[0] == self.buffer.itemsize):
            self.nbytes = self.buffer.len
            self.is_contiguous = True
            self.shape[0] = self.buffer.len // self.itemsize if self.itemsize else 0
            self.strides[0] = self.itemsize
            return 0
        for i in range(self.ndim):
            self.shape[i] = self.buffer.shape[i]
            self.strides[i] = self.buffer.strides[i]
        return self.measure()

    cdef int take_interface(self, object interface) except -1:
        """__cuda_array_interface__ and __array_interface__."""
        shape = interface["shape"]
        strides = interface.get("strides")
        data = interface.get("data")
        if data is None or len(shape) > MAX_DIMS:
            invalid("the array interface has no data, or more than %d dimensions" % MAX_DIMS)
        self.pointer = <char *><uintptr_t>(data[0] or 0)
        self.is_read_only = data[1]
        self.itemsize = int(interface["typestr"][2:].partition("[")[0])  # a unit may follow: "<M8[D]"
        self.ndim = len(shape)
        step = self.itemsize
        for i in range(self.ndim - 1, -1, -1):
            self.shape[i] = shape[i]
            self.strides[i] = step if strides is None else strides[i]
            step *= shape[i]
        return self.measure()

    cdef int take_tensor(self, DLTensor *tensor) except -1:
        cdef int i
        cdef int64_t step
        if tensor.ndim > MAX_DIMS:
            invalid("%d dimensions are more than %d" % (tensor.ndim, MAX_DIMS))
        self.pointer = <char *>tensor.data + tensor.byte_offset
        self.itemsize = (tensor.dtype.bits * tensor.dtype.lanes + 7) // 8
        self.ndim = tensor.ndim
        step = self.itemsize
        for i in range(self.ndim - 1, -1, -1):
            self.shape[i] = tensor.shape[i]
            self.strides[i] = step if tensor.strides == NULL else tensor.strides[i] * self.itemsize
            step *= tensor.shape[i]
        return self.measure()

    cdef int take_dlpack(self, object obj) except -1:
        # A tensor that takes part in a gradient hands out only what was detached from it: the same memory.
        if getattr(obj, "requires_grad", False) is True:
            obj = obj.detach()
        try:
            capsule = obj.__dlpack__(max_version=(1, 0))
        except TypeError:
            capsule = obj.__dlpack__()
        if PyCapsule_IsValid(capsule, "dltensor_versioned"):
            self.managed_versioned = <DLManagedTensorVersioned *>PyCapsule_GetPointer(capsule, "dltensor_versioned")
            PyCapsule_SetName(capsule, "used_dltensor_versioned")
            self.is_read_only = (self.managed_versioned.flags & DL_READ_ONLY) != 0
            return self.take_tensor(&self.managed_versioned.dl_tensor)
        self.managed = <DLManagedTensor *>PyCapsule_GetPointer(capsule, "dltensor")
        PyCapsule_SetName(capsule, "used_dltensor")
        return self.take_tensor(&self.managed.dl_tensor)

    cdef bint extent(self, int64_t *low, int64_t *high):
        """The bytes from the lowest to behind the highest, counted from `pointer`."""
        cdef int i
        low[0] = 0
        high[0] = self.itemsize if self.nbytes else 0
        if not self.nbytes:
            return True
        for i in range(self.ndim):
            if self.strides[i] < 0:
                low[0] += (self.shape[i] - 1) * self.strides[i]
            else:
                high[0] += (self.shape[i] - 1) * self.strides[i]
        return True


cdef View view_of(object obj, bint is_written):
    """The view of an object; `is_written`: bytes are to be put there."""
    cdef View view = View.__new__(View)
    if PyObject_CheckBuffer(obj):
        try:
            view.take_buffer(obj)
        except (BufferError, ValueError, TypeError) as error:
            # numpy's buffers do not know every element type (bfloat16, datetime64): its own interface does.
            interface = getattr(obj, "__array_interface__", None)
            if interface is None or isinstance(error, errors.HMCError) or view.has_buffer:
                raise
            view.take_interface(interface)
            view.owner = obj
    else:
        interface = getattr(obj, "__cuda_array_interface__", None)
        if interface is not None:
            view.take_interface(interface)
            view.owner = obj
        elif hasattr(obj, "__dlpack__"):
            view.take_dlpack(obj)
            view.owner = obj
        else:
            interface = getattr(obj, "__array_interface__", None)
            if interface is None:
                raise TypeError("%s has no memory to read or write: it offers neither the buffer protocol nor "
                                "__cuda_array_interface__ nor DLPack" % type(obj).__name__)
            view.take_interface(interface)
            view.owner = obj
    if view.pointer == NULL and view.nbytes:
        invalid("%s has no memory any more: it was freed or resized to nothing" % type(obj).__name__)
    if is_written and view.is_read_only:
        read_only(obj)
    return view


# ---- layouts: a contiguous run of bytes, repeated along outer dimensions

cdef struct Layout:
    int64_t base                # of the first byte, in its region
    int64_t run                 # bytes that lie one behind the other
    int ndim                    # of the outer dimensions, the innermost last
    int64_t count[MAX_DIMS]
    int64_t stride[MAX_DIMS]


cdef void layout_of(int ndim, const int64_t *shape, const int64_t *strides, int64_t itemsize, Layout *layout) noexcept:
    """Folds dimensions that continue each other; the base is left to the caller."""
    cdef int i, kept = 0
    cdef int64_t count[MAX_DIMS]
    cdef int64_t stride[MAX_DIMS]
    layout.run = itemsize
    # From the innermost out: what continues the run grows it, what continues the dimension within grows that one.
    for i in range(ndim - 1, -1, -1):
        if shape[i] == 1:
            continue
        if kept == 0 and strides[i] == layout.run:
            layout.run *= shape[i]
        elif kept and strides[i] == stride[kept - 1] * count[kept - 1]:
            count[kept - 1] *= shape[i]
        else:
            count[kept] = shape[i]
            stride[kept] = strides[i]
            kept += 1
    layout.ndim = kept
    for i in range(kept):
        layout.count[i] = count[kept - 1 - i]
        layout.stride[i] = stride[kept - 1 - i]


cdef int64_t layout_runs(const Layout *layout) noexcept nogil:
    cdef int64_t runs = 1
    cdef int i
    for i in range(layout.ndim):
        runs *= layout.count[i]
    return runs


cdef struct Cursor:
    const Layout *layout
    int64_t index[MAX_DIMS]
    int64_t offset, left


cdef void cursor_begin(Cursor *cursor, const Layout *layout) noexcept nogil:
    memset(cursor, 0, sizeof(Cursor))
    cursor.layout = layout
    cursor.offset = layout.base
    cursor.left = layout.run


cdef void cursor_move(Cursor *cursor, int64_t bytes) noexcept nogil:
    cdef int i
    cdef const Layout *layout = cursor.layout
    cursor.offset += bytes
    cursor.left -= bytes
    if cursor.left:
        return
    cursor.offset -= layout.run
    cursor.left = layout.run
    for i in range(layout.ndim - 1, -1, -1):
        cursor.index[i] += 1
        cursor.offset += layout.stride[i]
        if cursor.index[i] < layout.count[i]:
            return
        cursor.offset -= layout.count[i] * layout.stride[i]
        cursor.index[i] = 0


cdef hmc_segment_t *segments_of(const Layout *local, const Layout *remote, int64_t total, size_t *count) except NULL:
    """The pieces of a transfer, both sides walked in step; PyMem_Free gives them back."""
    cdef Cursor here, there
    cdef int64_t step, done = 0
    cdef size_t room = layout_runs(local) + layout_runs(remote), used = 0
    cdef hmc_segment_t *segments = <hmc_segment_t *>PyMem_Malloc(room * sizeof(hmc_segment_t))
    if segments == NULL:
        raise MemoryError()
    with nogil:
        cursor_begin(&here, local)
        cursor_begin(&there, remote)
        while done < total:
            step = here.left if here.left < there.left else there.left
            segments[used].local_offset = here.offset
            segments[used].remote_offset = there.offset
            segments[used].length = step
            used += 1
            done += step
            cursor_move(&here, step)
            cursor_move(&there, step)
    count[0] = used
    return segments


cdef bint as_strided(const Layout *local, const Layout *remote, hmc_strided_t *shape) noexcept:
    """One strided block, where both sides are the same rows and planes or one of them is contiguous."""
    cdef const Layout *lead = local if local.ndim else remote
    cdef int64_t dense
    cdef int i
    if lead.ndim == 0 or lead.ndim > 2:
        return False
    if local.ndim and remote.ndim:
        if local.ndim != remote.ndim or local.run != remote.run:
            return False
        for i in range(local.ndim):
            if local.count[i] != remote.count[i]:
                return False
    memset(shape, 0, sizeof(hmc_strided_t))
    shape.element = lead.run
    shape.count[0] = 1
    shape.local_offset = local.base
    shape.remote_offset = remote.base
    dense = lead.run
    for i in range(lead.ndim):
        # Rows are the innermost of the outer dimensions, which come last in a layout.
        at = lead.ndim - 1 - i
        shape.count[1 + i] = lead.count[at]
        if local.ndim and local.stride[at] < 0 or remote.ndim and remote.stride[at] < 0:
            return False
        shape.local_stride[i] = local.stride[at] if local.ndim else dense
        shape.remote_stride[i] = remote.stride[at] if remote.ndim else dense
        dense *= lead.count[at]
    return True
