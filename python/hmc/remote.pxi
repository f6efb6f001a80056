# Regions of peers: puts, gets and atomics.

@cython.final
cdef class Signal:
    """A 64-bit word at the target that changes once an operation's data are visible there: Remote.signal made it."""
    cdef readonly Remote remote
    cdef readonly uint64_t offset
    cdef readonly uint64_t value
    cdef hmc_atomic_operation_t operation

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.Signal %s %d at %s[%d]>" % ("set" if self.operation == HMC_ATOMIC_SWAP else "add", self.value,
                                                 self.remote.text, self.offset)


cdef struct Options:
    hmc_operation_options_t options
    hmc_signal_t signal
    bint is_set


cdef int set_options(Options *made, object timeout, Signal signal, object notify, bint checksum) except -1:
    hmcpy_operation_options(&made.options)
    made.is_set = timeout is not None or signal is not None or notify is not None or checksum
    made.options.timeout_ms = milliseconds(timeout)
    if checksum:
        made.options.flags = HMC_OPERATION_CHECKSUM
    if signal is not None:
        if signal.remote.handle == NULL:
            closed("the region of the signal")
        made.signal.remote = signal.remote.handle
        made.signal.offset = signal.offset
        made.signal.operation = signal.operation
        made.signal.value = signal.value
        made.options.signal = &made.signal
    if notify is not None:
        made.options.notification = PyBytes_AS_STRING(notify)
        made.options.notification_size = len(notify)
        if not len(notify):
            invalid("a notification has at least one byte")
    return 0


cdef enum:
    SHORT = 4096            # a copy that is done under the GIL


cdef int scratch_of(Context context) except -1:
    if context.scratch == NULL:
        check(hmc_region_allocate(context.handle, cpu_memory(), SHORT, NULL, 0, &context.scratch))
        context.scratch_pointer = <char *>hmc_region_pointer(context.scratch)
    return 0


cdef inline hmc_memory_t cpu_memory() noexcept:
    cdef hmc_memory_t memory
    memory.kind = HMC_MEMORY_CPU
    memory.device = 0
    return memory


@cython.final
@cython.no_gc_clear
cdef class Remote:
    """A region of a peer. `remote[a:b]` is a part of it; offsets and lengths are in bytes.

    Every operation is complete when it returns, and what was put is visible there then; the forms with _nb return a
    Request at once.
    """
    cdef hmc_remote_t *handle
    cdef readonly Peer peer
    cdef Context context
    cdef str text
    cdef uint64_t size
    cdef bint is_mapped                 # a put is a copy by this thread
    cdef bint is_closing
    cdef int busy
    cdef object __weakref__

    def __dealloc__(self):
        cdef hmc_remote_t *handle = self.handle
        if handle != NULL and self.peer is not None and self.peer.handle != NULL and self.context.handle != NULL and \
                self.context.generation == generation:
            hmc_remote_close(handle)

    cdef int begin(self, Peer peer, hmc_remote_t *handle, str name) except -1:
        cdef void *mapped = NULL
        self.handle = handle
        self.peer = peer
        self.context = peer.context
        self.text = name
        self.size = hmc_remote_size(handle)
        self.is_mapped = hmc_remote_map(handle, &mapped) == HMC_SUCCESS
        peer.remotes.add(self)
        return 0

    cdef void forget(self) noexcept:
        """The peer is about to be closed, and the handle with it."""
        self.handle = NULL

    cdef int enter(self) except -1:
        self.peer.enter()
        if self.handle == NULL or self.is_closing:
            self.peer.leave()
            closed("the remote region %s" % self.text)
        self.busy += 1
        return 0

    cdef void leave(self) noexcept:
        self.busy -= 1
        self.peer.leave()

    def close(self):
        """Gives the handle back. Twice is fine."""
        cdef hmc_remote_t *handle
        if self.handle == NULL or self.context.handle == NULL:
            return
        if self.context.is_foreign():
            self.handle = NULL
            return
        self.is_closing = True
        if not self.context.end_calls(None, None, self, &self.busy):
            still_in_use("the remote region %s" % self.text)
        handle, self.handle = self.handle, NULL
        if handle != NULL:              # another thread may have been here, or closed the peer
            hmc_remote_close(handle)

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
    def memory(self):
        """The kind of memory that it is, at its owner."""
        if self.handle == NULL:
            closed("the remote region %s" % self.text)
        return kind_name(hmc_remote_memory(self.handle))

    @property
    def is_mapped_here(self):
        """True where this process reaches it by plain loads and stores."""
        return bool(self.is_mapped)

    def __len__(self):
        return self.size

    def __getitem__(self, item):
        """remote[a:b] or remote[a:b:step]: bytes of it as a Slice."""
        cdef Slice made = Slice.__new__(Slice)
        begin, end, step = byte_range(item, self.size, self.peer)
        made.remote = self
        made.layout.base = begin
        if step == 1:
            made.layout.run = end - begin
            made.nbytes = end - begin
        else:
            made.layout.run = 1
            made.layout.ndim = 1
            made.layout.count[0] = (end - begin + step - 1) // step
            made.layout.stride[0] = step
            made.nbytes = made.layout.count[0]
        return made

    def block(self, shape, *, itemsize=1, offset=0, strides=None):
        """A strided block: `shape` elements of `itemsize` bytes, `strides` bytes apart (default: dense), from `offset`
        on. Gives a Slice."""
        cdef Slice made = Slice.__new__(Slice)
        cdef int64_t c_shape[MAX_DIMS]
        cdef int64_t c_strides[MAX_DIMS]
        shape = tuple([whole(each, "a dimension") for each in shape])
        offset, itemsize = whole(offset, "offset"), whole(itemsize, "itemsize")
        if strides is not None:
            strides = tuple([index_of(each, "a stride") for each in strides])
        if len(shape) > MAX_DIMS or strides is not None and len(strides) != len(shape):
            invalid("block: %d strides for %d dimensions (at most %d)" % (len(strides or ()), len(shape), MAX_DIMS))
        low, high, total = offset, offset + itemsize, itemsize
        if strides is None:
            strides = [itemsize] * len(shape)
            for i in range(len(shape) - 2, -1, -1):
                strides[i] = strides[i + 1] * shape[i + 1]
        for count, stride in zip(shape, strides):
            total *= count
            if stride < 0:
                low += (count - 1) * stride
            else:
                high += (count - 1) * stride
        if low < 0 or high > self.size or total > 1 << 62:
            raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "the block covers bytes %d to %d of %s, which has %d B"
                                         % (low, high, self.text, self.size), peer=str(self.peer))
        made.nbytes = total
        for i in range(len(shape)):
            c_shape[i], c_strides[i] = shape[i], strides[i]
        made.remote = self
        layout_of(len(shape), c_shape, c_strides, itemsize, &made.layout)
        made.layout.base = offset
        return made

    # ---- puts and gets

    def put(self, data, offset=0, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """Writes all bytes of `data` at `offset` and returns when they are visible there.

        Args:
            data: an array or buffer of any kind and layout, a Region or a part of one.
            timeout: seconds; default: the context's.
            signal: what Remote.signal made: a word at the target that changes after the data.
            notify: bytes (at most 1 MiB; over RDMA 128 KiB) that the target receives as a Notification after the data.
            checksum: the data are verified end to end.
        """
        cdef uint64_t at = whole(offset, "offset")
        if timeout is None and signal is None and notify is None and not checksum:
            if self.put_short(data, at) >= 0:
                return
        begin_transfer(self, None, at, data, True, timeout, signal, notify, checksum, True)

    def put_nb(self, data, offset=0, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """put() as a Request. `data` is held, and must stay as it is, until that is complete."""
        cdef int64_t done = -1
        cdef uint64_t at = whole(offset, "offset")
        if timeout is None and signal is None and notify is None and not checksum:
            done = self.put_short(data, at)
            if done >= 0:
                return over_at_once(self, done)
        return begin_transfer(self, None, at, data, True, timeout, signal, notify, checksum, False)

    def get_into(self, target, offset=0, *, timeout=None, checksum=False):
        """Reads as many bytes as `target` has, from `offset` on, into it."""
        cdef uint64_t at = whole(offset, "offset")
        if timeout is None and not checksum and self.get_short(target, at) >= 0:
            return
        begin_transfer(self, None, at, target, False, timeout, None, None, checksum, True)

    def get_into_nb(self, target, offset=0, *, timeout=None, checksum=False):
        """get_into() as a Request; `target` is held, and undefined, until that is complete."""
        cdef int64_t done = -1
        cdef uint64_t at = whole(offset, "offset")
        if timeout is None and not checksum:
            done = self.get_short(target, at)
            if done >= 0:
                return over_at_once(self, done)
        return begin_transfer(self, None, at, target, False, timeout, None, None, checksum, False)

    def get(self, nbytes=None, offset=0, *, timeout=None):
        """Reads `nbytes` (default: all behind `offset`) as a bytearray."""
        made = self.room(nbytes, offset)
        self.get_into(made, offset, timeout=timeout)
        return made

    def get_nb(self, nbytes=None, offset=0, *, timeout=None):
        """get() as a Request, whose result is the bytearray."""
        cdef Request request
        made = self.room(nbytes, offset)
        request = self.get_into_nb(made, offset, timeout=timeout)
        request.value = made
        return request

    cdef object room(self, object nbytes, object offset):
        """A bytearray for a get."""
        cdef uint64_t at = whole(offset, "offset")
        cdef uint64_t size = (self.size - at if at < self.size else 0) if nbytes is None else whole(nbytes, "nbytes")
        if size > self.size:
            raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "get: %d B are more than the %d of %s" %
                                         (size, self.size, self.text), peer=str(self.peer))
        return bytearray(size)

    cdef int64_t put_short(self, object data, uint64_t offset) except -2:
        """A short put to a mapped peer, by this thread and under the GIL: its bytes, or -1 where it is not one."""
        cdef View view
        cdef hmc_status_t status
        cdef Region region
        cdef RegionPart part
        if not self.is_mapped or self.handle == NULL or self.context.is_closing or \
                self.context.generation != generation:
            return -1
        if type(data) is Region:
            region = <Region>data
            if region.size > SHORT or region.handle == NULL or region.context is not self.context:
                return -1
            check(hmc_put(region.handle, 0, self.handle, offset, region.size), self.peer)
            return region.size
        if type(data) is RegionPart:
            part = <RegionPart>data
            region = part.region
            if part.length > SHORT or region.handle == NULL or region.context is not self.context:
                return -1
            check(hmc_put(region.handle, part.offset, self.handle, offset, part.length), self.peer)
            return part.length
        if not PyObject_CheckBuffer(data):
            return -1
        view = view_of(data, False)
        if view.nbytes > SHORT or not view.is_contiguous:
            return -1
        scratch_of(self.context)
        memcpy(self.context.scratch_pointer, view.pointer, view.nbytes)
        check(hmc_put(self.context.scratch, 0, self.handle, offset, view.nbytes), self.peer)
        return view.nbytes

    cdef int64_t get_short(self, object target, uint64_t offset) except -2:
        cdef View view
        if not self.is_mapped or self.handle == NULL or self.context.is_closing or not PyObject_CheckBuffer(target) or \
                type(target) is Region or self.context.generation != generation:
            return -1
        view = view_of(target, True)
        if view.nbytes > SHORT or not view.is_contiguous:
            return -1
        scratch_of(self.context)
        check(hmc_get(self.context.scratch, 0, self.handle, offset, view.nbytes), self.peer)
        memcpy(view.pointer, self.context.scratch_pointer, view.nbytes)
        return view.nbytes

    # ---- signals, notifications, atomics

    def signal(self, offset=0, *, add=None, set=None):
        """A Signal for put(): adds to, or sets, the 64-bit word at `offset`. Default: adds 1."""
        cdef Signal made = Signal.__new__(Signal)
        if add is not None and set is not None:
            invalid("signal: either add or set")
        made.remote = self
        made.offset = whole(offset, "offset")
        made.operation = HMC_ATOMIC_ADD if set is None else HMC_ATOMIC_SWAP
        made.value = word_of((1 if add is None else add) if set is None else set, "the signal's value",
                             0xffffffffffffffff)
        return made

    def notify(self, data, *, timeout=None):
        """Sends a notification (1 byte to 1 MiB; over RDMA 128 KiB) to the owner's queue."""
        begin_transfer(self, None, 0, b"", True, timeout, None, bytes_of(data, "a notification"), False, True)

    cdef object atomic(self, object where, hmc_atomic_operation_t operation, object value, object compare,
                       object size):
        cdef uint64_t offset = whole(where, "offset")
        cdef unsigned width = min(whole(size, "width"), 99)
        cdef uint64_t mask = 0xffffffff if width == 4 else 0xffffffffffffffff
        cdef uint64_t operand = word_of(value, "value", mask), c_compare = word_of(compare, "compare", mask)
        cdef uint64_t fetched = 0
        cdef hmc_status_t status
        cdef Request request
        if self.is_mapped and self.handle != NULL and not self.context.is_closing and \
                self.context.generation == generation:
            check(hmc_atomic(self.handle, offset, operation, width, operand, c_compare, &fetched), self.peer)
            return fetched
        request = new_request(self, None, False, width)
        self.enter()
        try:
            request.is_atomic = True
            status = hmc_atomic_nb(self.handle, offset, operation, width, operand, c_compare, &request.fetched, NULL,
                                   &request.handle)
            if status != HMC_SUCCESS:
                request.handle = NULL
                request.state = status
                check(status, self.peer)
            request.begin()
        finally:
            self.leave()
        return wait_or_cancel(request)

    def fetch_add(self, offset, value, *, width=8):
        """Adds to the word of `width` (4 or 8) bytes at `offset` in one step; gives what it was before."""
        return self.atomic(offset, HMC_ATOMIC_ADD, value, 0, width)

    def fetch_and(self, offset, value, *, width=8):
        return self.atomic(offset, HMC_ATOMIC_AND, value, 0, width)

    def fetch_or(self, offset, value, *, width=8):
        return self.atomic(offset, HMC_ATOMIC_OR, value, 0, width)

    def fetch_xor(self, offset, value, *, width=8):
        return self.atomic(offset, HMC_ATOMIC_XOR, value, 0, width)

    def swap(self, offset, value, *, width=8):
        """Sets the word; gives what it was before."""
        return self.atomic(offset, HMC_ATOMIC_SWAP, value, 0, width)

    def compare_swap(self, offset, compare, value, *, width=8):
        """Sets the word where it equals `compare`; gives what it was before."""
        return self.atomic(offset, HMC_ATOMIC_COMPARE_SWAP, value, compare, width)

    def batch(self, region, pieces):
        """Prepares a list of (local offset, remote offset, length) between a Region and this one: see Batch."""
        if not isinstance(region, Region):
            raise TypeError("a batch takes a Region, as register and allocate of a context give it, not %s" %
                            type(region).__name__)
        return make_batch(self, region, pieces)

    def __array__(self, *arguments, **keywords):
        not_an_array(self.text)

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        if self.handle == NULL or self.context.handle == NULL:
            return "<hmc.Remote %r, closed>" % self.text
        return "<hmc.Remote %r at %s, %d B of %s%s>" % (self.text, self.peer, self.size, self.memory,
                                                        ", mapped" if self.is_mapped else "")


@cython.final
@cython.freelist(8)
cdef class Slice:
    """Bytes of a Remote, contiguous or strided; what is put or read has exactly as many."""
    cdef readonly Remote remote
    cdef readonly uint64_t nbytes
    cdef Layout layout

    cdef int fits(self, object data, bint is_written) except -1:
        cdef uint64_t size
        if isinstance(data, Region):
            size = (<Region>data).size
        elif isinstance(data, RegionPart):
            size = (<RegionPart>data).length
        else:
            size = view_of(data, is_written).nbytes
        if size != self.nbytes:
            raise errors.InvalidError(status_t.INVALID_CONFIG, "the slice of %s has %d B, and %s has %d" %
                                      (self.remote.text, self.nbytes, type(data).__name__, size),
                                      peer=str(self.remote.peer),
                                      remedy="Slice as many bytes as the array has (x.nbytes), or use remote.put(x, "
                                      "offset).")
        return 0

    def put(self, data, *, timeout=None, Signal signal=None, notify=None, checksum=False, progress=None):
        """Remote.put for these bytes. `progress`: True shows a bar (tqdm, where it is installed) for long ones; or a
        function that gets the bytes moved so far."""
        self.fits(data, False)
        if progress and self.layout.ndim == 0:
            return with_progress(self, data, True, progress, timeout, signal, notify, checksum)
        if self.layout.ndim == 0:
            return self.remote.put(data, self.layout.base, timeout=timeout, signal=signal, notify=notify,
                                   checksum=checksum)
        begin_transfer(self.remote, self, 0, data, True, timeout, signal, notify, checksum, True)

    def put_nb(self, data, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        self.fits(data, False)
        return begin_transfer(self.remote, self, 0, data, True, timeout, signal, notify, checksum, False)

    def get_into(self, target, *, timeout=None, checksum=False, progress=None):
        self.fits(target, True)
        if progress and self.layout.ndim == 0:
            return with_progress(self, target, False, progress, timeout, None, None, checksum)
        if self.layout.ndim == 0:
            return self.remote.get_into(target, self.layout.base, timeout=timeout, checksum=checksum)
        begin_transfer(self.remote, self, 0, target, False, timeout, None, None, checksum, True)

    def get_into_nb(self, target, *, timeout=None, checksum=False):
        self.fits(target, True)
        return begin_transfer(self.remote, self, 0, target, False, timeout, None, None, checksum, False)

    def get(self, *, timeout=None):
        """The bytes as a bytearray."""
        made = bytearray(self.nbytes)
        self.get_into(made, timeout=timeout)
        return made

    def get_nb(self, *, timeout=None):
        """A Request whose result is the bytes, as a bytearray."""
        cdef Request request
        made = bytearray(self.nbytes)
        request = self.get_into_nb(made, timeout=timeout)
        request.value = made
        return request

    def __len__(self):
        return self.nbytes

    def __array__(self, *arguments, **keywords):
        not_an_array(self.remote.text)

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.Slice of %r, %d B from %d on%s>" % (self.remote.text, self.nbytes, self.layout.base,
                                                         ", strided" if self.layout.ndim else "")
