# Regions of peers: puts, gets and atomics.

@cython.final
cdef class Signal:
    """A 64-bit word at the target that changes once an operation's data are visible there: Remote.signal made it."""
    cdef readonly Remote remote
    cdef readonly uint64_t offset
    cdef readonly uint64_t value
    cdef hmc_atomic_operation_t operation

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
        if self.handle == NULL:
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
        for each in list(self.context.pending):
            if (<Request>each).remote is self or (<Request>each).signalled is self:
                (<Request>each).cancel()
        drain(&self.busy)
        handle, self.handle = self.handle, NULL
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
        begin, end, step = byte_range(item, self.size)
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
        cdef int64_t low = offset, high = offset + itemsize, step = itemsize
        shape = tuple(shape)
        if len(shape) > MAX_DIMS or strides is not None and len(strides) != len(shape):
            invalid("block: %d strides for %d dimensions (at most %d)" % (len(strides or ()), len(shape), MAX_DIMS))
        made.nbytes = itemsize
        for i in range(len(shape) - 1, -1, -1):
            c_shape[i] = shape[i]
            c_strides[i] = step if strides is None else strides[i]
            step *= shape[i]
            made.nbytes *= shape[i]
            if c_strides[i] < 0:
                low += (c_shape[i] - 1) * c_strides[i]
            else:
                high += (c_shape[i] - 1) * c_strides[i]
        if low < 0 or high > <int64_t>self.size:
            raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "the block covers bytes %d to %d of %s, which has %d B"
                                         % (low, high, self.text, self.size), peer=str(self.peer))
        made.remote = self
        layout_of(len(shape), c_shape, c_strides, itemsize, &made.layout)
        made.layout.base = offset
        return made

    # ---- puts and gets

    def put(self, data, uint64_t offset=0, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """Writes all bytes of `data` at `offset` and returns when they are visible there.

        Args:
            data: an array or buffer of any kind and layout, a Region or a part of one.
            timeout: seconds; default: the context's.
            signal: what Remote.signal made: a word at the target that changes after the data.
            notify: bytes (at most 4096) that the target receives as a Notification after the data.
            checksum: the data are verified end to end.
        """
        if timeout is None and signal is None and notify is None and not checksum:
            if self.put_short(data, offset) >= 0:
                return
        begin_transfer(self, None, offset, data, True, timeout, signal, notify, checksum, True)

    def put_nb(self, data, uint64_t offset=0, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """put() as a Request. `data` is held, and must stay as it is, until that is complete."""
        cdef int64_t done = -1
        if timeout is None and signal is None and notify is None and not checksum:
            done = self.put_short(data, offset)
            if done >= 0:
                return over_at_once(self, done)
        return begin_transfer(self, None, offset, data, True, timeout, signal, notify, checksum, False)

    def get_into(self, target, uint64_t offset=0, *, timeout=None, checksum=False):
        """Reads as many bytes as `target` has, from `offset` on, into it."""
        if timeout is None and not checksum and self.get_short(target, offset) >= 0:
            return
        begin_transfer(self, None, offset, target, False, timeout, None, None, checksum, True)

    def get_into_nb(self, target, uint64_t offset=0, *, timeout=None, checksum=False):
        """get_into() as a Request; `target` is held, and undefined, until that is complete."""
        cdef int64_t done = -1
        if timeout is None and not checksum:
            done = self.get_short(target, offset)
            if done >= 0:
                return over_at_once(self, done)
        return begin_transfer(self, None, offset, target, False, timeout, None, None, checksum, False)

    def get(self, nbytes=None, uint64_t offset=0, *, timeout=None):
        """Reads `nbytes` (default: all behind `offset`) as a bytearray."""
        made = bytearray(max(0, <int64_t>(self.size - offset)) if nbytes is None else nbytes)
        self.get_into(made, offset, timeout=timeout)
        return made

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

    def signal(self, uint64_t offset=0, *, add=None, set=None):
        """A Signal for put(): adds to, or sets, the 64-bit word at `offset`. Default: adds 1."""
        cdef Signal made = Signal.__new__(Signal)
        if add is not None and set is not None:
            invalid("signal: either add or set")
        made.remote = self
        made.offset = offset
        made.operation = HMC_ATOMIC_ADD if set is None else HMC_ATOMIC_SWAP
        made.value = <uint64_t>((1 if add is None else add) if set is None else set) & 0xffffffffffffffff
        return made

    def notify(self, data, *, timeout=None):
        """Sends a notification (1 to 4096 bytes) to the owner's queue."""
        begin_transfer(self, None, 0, b"", True, timeout, None, bytes(data), False, True)

    cdef object atomic(self, uint64_t offset, hmc_atomic_operation_t operation, object value, object compare,
                       unsigned width):
        cdef uint64_t mask = 0xffffffff if width == 4 else 0xffffffffffffffff
        cdef uint64_t operand = value & mask, c_compare = compare & mask, fetched = 0
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
        return make_batch(self, region, pieces)

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

    def __repr__(self):
        return "<hmc.Slice of %r, %d B from %d on%s>" % (self.remote.text, self.nbytes, self.layout.base,
                                                         ", strided" if self.layout.ndim else "")


cdef object wait_or_cancel(Request request):
    """A blocking call's wait: where it is interrupted, the operation is cancelled."""
    try:
        request.wait_done(None)
    except BaseException:
        request.cancel()
        raise
    return request.outcome()


cdef Request new_request(Remote remote, Region region, bint is_temporary, uint64_t nbytes):
    cdef Request request = Request.__new__(Request)
    request.state = HMC_IN_PROGRESS
    request.context = remote.context
    request.peer = remote.peer
    request.remote = remote
    request.region = region
    request.is_temporary = is_temporary
    request.nbytes = nbytes
    return request


cdef Request over_at_once(Remote remote, uint64_t nbytes):
    """The request of a short copy that is done."""
    cdef Request request = Request.__new__(Request)
    request.state = HMC_SUCCESS
    request.context = remote.context
    request.peer = remote.peer
    request.nbytes = nbytes
    return request


cdef Region local_side(Remote remote, object data, bint is_written, Layout *layout, uint64_t *nbytes,
                       bint *is_temporary):
    """The region that the local bytes lie in, and how they lie there."""
    cdef Region region
    cdef RegionPart part
    cdef View view
    cdef int64_t low, high
    memset(layout, 0, sizeof(Layout))
    is_temporary[0] = False
    if isinstance(data, Region) or isinstance(data, RegionPart):
        if isinstance(data, Region):
            region = <Region>data
            layout.run = region.size
        else:
            part = <RegionPart>data
            region = part.region
            layout.base = part.offset
            layout.run = part.length
        nbytes[0] = layout.run
        if region.context is not remote.context:
            invalid("the region %r is of another context than the remote region" % region.text)
        if region.handle == NULL:
            closed("the region %s" % (region.text or "without name"))
        if is_written and region.view is not None and region.view.is_read_only:
            read_only(region.memory_owner)
        return region
    view = view_of(data, is_written)
    nbytes[0] = view.nbytes
    is_temporary[0] = True
    if not view.nbytes:
        return None
    view.extent(&low, &high)
    layout_of(view.ndim, view.shape, view.strides, view.itemsize, layout)
    layout.base = -low
    return lend(remote.context, view, view.pointer + low, high - low, None, 0)


cdef Request begin_transfer(Remote remote, Slice part, uint64_t offset, object data, bint is_put, object timeout,
                            Signal signal, object notify, bint checksum, bint is_blocking):
    """Starts a put or get of any layout; where it is to block, also ends it."""
    cdef Layout local
    cdef Layout distant
    cdef uint64_t nbytes = 0
    cdef bint is_temporary = False
    cdef Options options
    cdef Request request
    cdef Region region
    cdef hmc_status_t status
    if notify is not None:
        notify = bytes(notify)
    remote.enter()
    try:
        set_options(&options, timeout, signal, notify, checksum)
        region = local_side(remote, data, not is_put, &local, &nbytes, &is_temporary)
        if part is not None:
            distant = part.layout
        else:
            memset(&distant, 0, sizeof(Layout))
            distant.base = offset
            distant.run = nbytes
        request = new_request(remote, region, is_temporary, nbytes)
        if signal is not None:
            request.signalled = signal.remote
        if local.ndim == 0 and distant.ndim == 0 or nbytes == 0:
            if is_blocking and remote.is_mapped and not options.is_set and nbytes:
                copy_mapped(remote, region, is_temporary, local.base, distant.base, nbytes, is_put)
                request.state = HMC_SUCCESS
                request.release()
                return request
            status = start_plain(remote, region, &local, &distant, nbytes, is_put, &options.options, &request.handle)
        else:
            status = start_scattered(request, remote, region, &local, &distant, nbytes, is_put, &options.options)
        if status != HMC_SUCCESS:
            request.handle = NULL
            request.state = status
            try:
                check(status, remote.peer)
            finally:
                request.release()
        request.begin()
    finally:
        remote.leave()
    if is_blocking:
        wait_or_cancel(request)
    return request


cdef int copy_mapped(Remote remote, Region region, bint is_temporary, uint64_t local, uint64_t distant,
                     uint64_t nbytes, bint is_put) except -1:
    """A long copy to or from a mapped peer, in steps between which signals are looked for."""
    cdef hmc_status_t status = HMC_SUCCESS
    cdef uint64_t done = 0, step
    region.busy += 1
    try:
        while True:
            # In one piece where it is refused, so that the text names the whole.
            step = nbytes - done
            if step > 64 << 20 and distant + nbytes <= remote.size:
                step = 64 << 20
            with nogil:
                if is_put:
                    status = hmc_put(region.handle, local + done, remote.handle, distant + done, step)
                else:
                    status = hmc_get(region.handle, local + done, remote.handle, distant + done, step)
            check(status, remote.peer)
            done += step
            if done == nbytes:
                break
            if takes_signals():
                check_signals()
            if remote.context.is_closing or remote.handle == NULL or remote.peer.handle == NULL:
                closed("the context or the peer")
    finally:
        region.busy -= 1
        if is_temporary:
            region.end()
    return 0


cdef hmc_status_t start_plain(Remote remote, Region region, Layout *local, Layout *distant, uint64_t nbytes,
                              bint is_put, hmc_operation_options_t *options, hmc_request_t **handle) except *:
    cdef hmc_region_t *mine
    cdef uint64_t local_offset = local.base, distant_offset = distant.base
    cdef hmc_status_t status
    if region is None:
        scratch_of(remote.context)
        mine = remote.context.scratch
        local_offset = 0
    else:
        mine = region.handle
    with nogil:
        if is_put:
            status = hmc_put_nb(mine, local_offset, remote.handle, distant_offset, nbytes, options, handle)
        else:
            status = hmc_get_nb(mine, local_offset, remote.handle, distant_offset, nbytes, options, handle)
    return status


cdef hmc_status_t start_scattered(Request request, Remote remote, Region region, Layout *local, Layout *distant,
                                  uint64_t nbytes, bint is_put, hmc_operation_options_t *options) except *:
    cdef hmc_strided_t shape
    cdef hmc_segment_t *segments
    cdef size_t count = 0
    cdef hmc_status_t status
    cdef hmc_batch_t *batch = NULL
    if as_strided(local, distant, &shape):
        with nogil:
            status = hmc_batch_create_strided(region.handle, remote.handle, &shape, &batch)
    else:
        segments = segments_of(local, distant, nbytes, &count)
        with nogil:
            status = hmc_batch_create(region.handle, remote.handle, segments, count, &batch)
        PyMem_Free(segments)
    if status != HMC_SUCCESS:
        return status
    request.batch = batch
    with nogil:
        if is_put:
            status = hmc_batch_put_nb(batch, options, &request.handle)
        else:
            status = hmc_batch_get_nb(batch, options, &request.handle)
    return status


cdef object with_progress(Slice part, object data, bint is_put, object progress, object timeout, Signal signal,
                          object notify, bint checksum):
    """A long transfer in pieces; what goes with it goes with the last one."""
    cdef Layout local
    cdef uint64_t nbytes = 0, done = 0, step
    cdef bint is_temporary = False
    cdef Region region = local_side(part.remote, data, not is_put, &local, &nbytes, &is_temporary)
    if local.ndim or not nbytes:
        if is_temporary and region is not None:
            region.end()
        return part.put(data, timeout=timeout, signal=signal, notify=notify, checksum=checksum) if is_put else \
            part.get_into(data, timeout=timeout, checksum=checksum)
    bar = None
    if progress is True:
        try:
            from tqdm.auto import tqdm
            bar = tqdm(total=nbytes, unit="B", unit_scale=True, unit_divisor=1024, desc=part.remote.text)
        except ImportError:
            pass
    try:
        while done < nbytes:
            step = min(nbytes - done, <uint64_t>max(<uint64_t>(16 << 20), nbytes // 100))
            piece = RegionPart.__new__(RegionPart)
            (<RegionPart>piece).region = region
            (<RegionPart>piece).offset = local.base + done
            (<RegionPart>piece).length = step
            is_last = done + step == nbytes
            begin_transfer(part.remote, None, part.layout.base + done, piece, is_put, timeout,
                           signal if is_last else None, notify if is_last else None, checksum, True)
            done += step
            if bar is not None:
                bar.update(step)
            elif progress is not True:
                progress(done)
    finally:
        if bar is not None:
            bar.close()
        if is_temporary:
            region.end()
