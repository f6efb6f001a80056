# Regions: memory of this side.

cdef unsigned parse_rights(object rights) except? 0xffffffff:
    cdef unsigned bits = 0
    if isinstance(rights, int):
        return rights
    for letter in rights:
        if letter == "r":
            bits |= HMC_REMOTE_READ
        elif letter == "w":
            bits |= HMC_REMOTE_WRITE
        elif letter == "a":
            bits |= HMC_REMOTE_ATOMIC
        else:
            invalid("rights are any of \"r\", \"w\" and \"a\", not %r" % (rights,))
    return bits


@cython.final
@cython.no_gc_clear
cdef class Region:
    """Memory that peers may reach, or that operations of this side use: Context.register or Context.allocate made it.

    It offers the buffer protocol where the host can read it: memoryview(region), numpy.asarray(region).
    """
    cdef hmc_region_t *handle
    cdef readonly Context context
    cdef readonly object memory_owner       # the object whose memory was registered; None where HMC allocated it
    cdef View view
    cdef str text
    cdef char *pointer
    cdef Py_ssize_t size
    cdef hmc_memory_t memory_handle
    cdef int busy
    cdef bint is_closing
    cdef int exports
    cdef Py_ssize_t shape[1]
    cdef object __weakref__

    def __dealloc__(self):
        cdef hmc_region_t *handle = self.handle
        if handle != NULL and self.context is not None and self.context.handle != NULL and \
                self.context.generation == generation:
            self.handle = NULL
            self.context.busy += 1
            with nogil:
                hmc_region_close(handle)
            self.context.busy -= 1

    cdef int check_open(self) except -1:
        if self.handle == NULL or self.is_closing:
            closed("the region %s" % (self.text or "without name"))
        return 0

    cdef int enter(self) except -1:
        self.context.enter()
        if self.handle == NULL or self.is_closing:
            self.context.leave()
            self.check_open()
        self.busy += 1
        return 0

    cdef void leave(self) noexcept:
        self.busy -= 1
        self.context.leave()

    cdef int begin(self, Context context, str name) except -1:
        self.context = context
        self.text = name or ""
        self.pointer = <char *>hmc_region_pointer(self.handle)
        self.size = hmc_region_size(self.handle)
        self.memory_handle = hmc_region_memory(self.handle)
        if self.text:
            context.regions.add(self)
        else:
            context.lent.add(self)
        return 0

    cdef int end(self) except -1:
        """Closes the region unless arrays still show it; nobody is inside. Registered memory is not ours to hold on to."""
        cdef hmc_region_t *handle = self.handle
        if handle == NULL or (self.exports and self.view is None):
            return 0
        self.handle = NULL
        self.context.busy += 1          # close() in another thread waits for this
        with nogil:
            hmc_region_close(handle)
        self.context.busy -= 1
        if not self.exports:
            self.view = None
        return 0

    def close(self):
        """Ends the region: when this returns no peer reads or writes its memory any more. Twice is fine.

        Raises BufferError while arrays show memory that HMC allocated.
        """
        if self.handle == NULL or self.context.handle == NULL:
            return
        if self.context.is_foreign():
            self.handle = NULL
            return
        if self.exports and self.view is None:
            raise BufferError("region %r is still shown by %d buffers; let go of the arrays made of it first" %
                              (self.text, self.exports))
        self.is_closing = True
        if not self.context.end_calls(None, self, None, &self.busy):
            still_in_use("the region %s" % (self.text or "without name"))
        self.context.regions.discard(self)
        self.end()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    @property
    def name(self):
        return self.text

    @property
    def nbytes(self):
        return self.size

    @property
    def ptr(self):
        """The address: a device's where the memory is a device's."""
        return <uintptr_t>self.pointer

    @property
    def memory(self):
        return kind_name(self.memory_handle)

    @property
    def is_closed(self):
        return self.handle == NULL or self.is_closing or self.context.is_closing

    def __len__(self):
        return self.size

    def __getitem__(self, item):
        """region[a:b]: a part of it, for operations."""
        begin, end, step = byte_range(item, self.size, None)
        if step != 1:
            invalid("a part of a region is contiguous; pass a strided array for strided blocks")
        part = RegionPart.__new__(RegionPart)
        (<RegionPart>part).region = self
        (<RegionPart>part).offset = begin
        (<RegionPart>part).length = end - begin
        return part

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.handle == NULL or self.is_closing:
            raise BufferError("the region is closed")
        if self.memory_handle.kind != HMC_MEMORY_CPU:
            raise BufferError("the region is %s memory, which the host cannot read; use hmc.copy" % self.memory)
        PyBuffer_FillInfo(buffer, self, self.pointer, self.size, self.view is not None and self.view.is_read_only,
                          flags)
        self.exports += 1
        self.context.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
        self.context.exports -= 1
        if self.context.is_closing:
            self.context.finish()

    def __array__(self, *arguments, **keywords):
        """For numpy, where the buffer protocol has failed: else it would make an object of each byte."""
        self.check_open()
        raise BufferError("the region is %s memory, which the host cannot read; use hmc.copy" % self.memory)

    @property
    def __cuda_array_interface__(self):
        if self.memory_handle.kind == HMC_MEMORY_CPU:
            raise AttributeError("the region is host memory: use the buffer protocol")
        return {"shape": (self.size,), "typestr": "|u1", "data": (<uintptr_t>self.pointer, False), "version": 3}

    def word(self, offset=0, width=8):
        """The word of `width` (4 or 8) bytes that peers change by signals and atomics: see Word."""
        return make_word(self, offset, width)

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        if self.handle == NULL or self.context.handle == NULL:
            return "<hmc.Region %r, closed>" % self.text
        return "<hmc.Region %r, %d B of %s>" % (self.text, self.size, self.memory)


@cython.final
@cython.freelist(8)
cdef class RegionPart:
    """Contiguous bytes of a Region, for the local side of an operation."""
    cdef readonly Region region
    cdef readonly uint64_t offset
    cdef readonly uint64_t length

    def __len__(self):
        return self.length

    def __reduce__(self):
        errors.not_pickled(self)

    def __array__(self, *arguments, **keywords):
        raise TypeError("a part of a region is for operations; numpy.asarray(region)[a:b] shows its bytes")

    def __repr__(self):
        return "<hmc.Region %r [%d:%d]>" % (self.region.text, self.offset, self.offset + self.length)


cdef tuple byte_range(object item, Py_ssize_t size, object peer):
    """(begin, end, step) of a slice in bytes; an index means one byte. Nothing is cut off silently."""
    if isinstance(item, slice):
        begin = 0 if item.start is None else index_of(item.start, "an offset")
        end = size if item.stop is None else index_of(item.stop, "an offset")
        step = 1 if item.step is None else index_of(item.step, "a step")
    else:
        begin = index_of(item, "an offset")
        end, step = begin + 1, 1
        if begin < 0:
            begin, end = begin + size, end + size
    if begin < 0:
        begin += size
    if end < 0:
        end += size
    if not 0 <= begin <= end <= size or step < 1:
        raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "[%d:%d:%d] is not within %d B" % (begin, end, step, size),
                                     peer=None if peer is None else str(peer))
    return begin, end, step


cdef Region register_region(Context context, object memory, object name, object rights):
    cdef unsigned bits = parse_rights(rights)
    cdef View view = view_of(memory, False)
    cdef Region region
    if not view.is_contiguous:
        invalid("register: the array is not contiguous; register the array that it is a part of, or pass it to put and "
                "get_into as it is")
    if not view.nbytes:
        invalid("register: the array is empty")
    if view.is_read_only and name and bits & (HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC):
        raise errors.InvalidError(status_t.INVALID_CONFIG, "register: %s is read-only, and peers may write to the "
                                  "region" % type(memory).__name__, remedy="Pass rights=\"r\", or a writable buffer.")
    region = lend(context, view, view.pointer, view.nbytes, name, bits)
    region.memory_owner = memory
    return region


cdef Region lend(Context context, View view, char *pointer, size_t size, str name, unsigned rights):
    """A region of a view's memory, which holds the view."""
    cdef Region region = Region.__new__(Region)
    cdef bytes text = (name or "").encode()
    cdef const char *c_name = text
    cdef hmc_status_t status
    context.enter()
    try:
        with nogil:
            status = hmc_region_register(context.handle, pointer, size, c_name, rights, &region.handle)
        if status != HMC_SUCCESS:
            region.handle = NULL
            check(status)
        region.view = view
        region.begin(context, name)
    finally:
        context.leave()
    return region


cdef Region allocate_region(Context context, object nbytes, object name, object memory, object rights):
    cdef Region region = Region.__new__(Region)
    cdef bytes text = (name or "").encode()
    cdef const char *c_name = text
    cdef hmc_memory_t kind
    cdef size_t size = whole(nbytes, "nbytes")
    cdef unsigned bits = parse_rights(rights)
    cdef hmc_status_t status
    parse_memory(memory, &kind)
    context.enter()
    try:
        with nogil:
            status = hmc_region_allocate(context.handle, kind, size, c_name, bits, &region.handle)
        if status != HMC_SUCCESS:
            region.handle = NULL
            check(status)
        region.begin(context, name)
    finally:
        context.leave()
    return region
