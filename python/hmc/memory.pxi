# Memories: kinds and devices, allocations, and copies between any two of them.

cdef str kind_name(hmc_memory_t memory):
    name = hmc_memory_kind_name(memory.kind).decode()
    return name if memory.kind == HMC_MEMORY_CPU else "%s:%d" % (name, memory.device)


cdef int parse_memory(object memory, hmc_memory_t *parsed) except -1:
    """"cpu", "nvidia:1", "cuda:0", a MemoryType, or a pair (MemoryType, device)."""
    cdef hmc_memory_kind_t kind
    device = 0
    if isinstance(memory, tuple):
        memory, device = memory
    if isinstance(memory, str):
        memory, colon, number = memory.partition(":")
        if colon:
            if not number.isdigit():
                invalid("%r is not a memory: \"%s:0\" is the first device of a kind" % (":".join((memory, number)), memory))
            device = int(number)
        memory = {"cuda": "nvidia", "hip": "amd", "rocm": "amd", "musa": "moore", "npu": "ascend"}.get(memory, memory)
        if hmc_memory_kind_parse(memory.encode(), &kind) != HMC_SUCCESS:
            no_such_name()
        parsed.kind = kind
    else:
        parsed.kind = <hmc_memory_kind_t><int>index_of(memory, "a kind of memory that is not a text")
    parsed.device = index_of(device, "the device")
    return 0


def devices(kind):
    """The number of devices of a memory kind ("cpu", "nvidia", "sim", a MemoryType) that work here; 0 where none do."""
    cdef hmc_memory_t memory
    cdef int count = 0
    parse_memory(kind, &memory)
    if hmc_memory_devices(memory.kind, &count) != HMC_SUCCESS:
        return 0
    return count


def connection_types():
    """How peers can be reached here: {"shm": (True, "text"), "rdma": (False, "what is missing"), ...}."""
    cdef char reason[512]
    found = {}
    cdef hmc_connection_type_t kind
    for number in range(1, 64):  # 0 is auto
        kind = <hmc_connection_type_t> <int> number
        name = hmc_connection_type_name(kind).decode()
        if name == "unknown":
            break
        reason[0] = 0
        status = hmc_connection_type_probe(kind, reason, sizeof(reason))
        found[name] = (status == HMC_SUCCESS, reason.decode("utf-8", "replace"))
    return found


def version():
    """The version of the library that is loaded, as text."""
    return hmc_version_text().decode()


@cython.final
cdef class DeviceBuffer:
    """Memory of any kind that `hmc.allocate` gave; freed with the object.

    It has `ptr` (an address that only its device may follow, unless the kind is cpu), `nbytes` and `memory`, and goes
    wherever an array goes; `__cuda_array_interface__` (bytes) shows it to others.
    """
    cdef void *pointer
    cdef readonly Py_ssize_t nbytes
    cdef hmc_memory_t handle

    def __dealloc__(self):
        if self.pointer != NULL:
            hmc_memory_free(self.handle, self.pointer)

    @property
    def ptr(self):
        return <uintptr_t>self.pointer

    @property
    def memory(self):
        return kind_name(self.handle)

    @property
    def __cuda_array_interface__(self):
        return {"shape": (self.nbytes,), "typestr": "|u1", "data": (<uintptr_t>self.pointer, False), "version": 3}

    def __len__(self):
        return self.nbytes

    def __array__(self, *arguments, **keywords):
        raise BufferError("a DeviceBuffer is not an array: hmc.copy brings %s memory into one" % kind_name(self.handle))

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.DeviceBuffer %d B of %s at 0x%x>" % (self.nbytes, kind_name(self.handle), <uintptr_t>self.pointer)


def allocate(nbytes, memory="default"):
    """Allocates `nbytes` of a memory ("cpu", "nvidia:1", "sim") as a DeviceBuffer.

    Raises UnsupportedError (the kind does not work here), NotFoundError (no such device), NoMemoryError.
    """
    cdef hmc_memory_t wanted, resolved
    cdef size_t size = whole(nbytes, "nbytes")
    cdef hmc_status_t status
    cdef DeviceBuffer buffer = DeviceBuffer.__new__(DeviceBuffer)
    parse_memory(memory, &wanted)
    check(hmc_memory_resolve(wanted, &resolved))
    with nogil:
        status = hmc_memory_allocate(resolved, size, &buffer.pointer)
    if status != HMC_SUCCESS:
        buffer.pointer = NULL
        check(status)
    buffer.nbytes = size
    buffer.handle = resolved
    return buffer


def copy(destination, source):
    """Copies all bytes of `source` to `destination`, of the same size, each in memory of any kind; both contiguous."""
    cdef View to = view_of(destination, True)
    cdef View data = view_of(source, False)
    cdef hmc_memory_info_t to_info, data_info
    cdef uint64_t done = 0, step
    cdef hmc_status_t status
    if not to.is_contiguous or not data.is_contiguous:
        invalid("copy: both sides must be contiguous")
    if to.nbytes != data.nbytes:
        invalid("copy: the source has %d B and the destination %d" % (data.nbytes, to.nbytes))
    if not to.nbytes:
        return
    to_info.size = data_info.size = sizeof(hmc_memory_info_t)
    check(hmc_memory_query(to.pointer, &to_info))
    check(hmc_memory_query(data.pointer, &data_info))
    while done < <uint64_t>to.nbytes:
        step = min(<uint64_t>to.nbytes - done, <uint64_t>SLICE_BYTES)
        with nogil:
            status = hmc_memory_copy(to.pointer + done, to_info.memory, data.pointer + done, data_info.memory, step)
        check(status)
        done += step
        if takes_signals():
            check_signals()


def memory_of(obj):
    """The memory that an array or a buffer lies in: "cpu", "nvidia:0", ..."""
    cdef View view = view_of(obj, False)
    cdef hmc_memory_info_t info
    if not view.nbytes:
        return "cpu"
    info.size = sizeof(hmc_memory_info_t)
    check(hmc_memory_query(view.pointer, &info))
    return kind_name(info.memory)
