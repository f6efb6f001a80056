# Batches: lists of pieces between two regions, prepared once and started many times.

@cython.final
@cython.no_gc_clear
cdef class Batch:
    """Pieces that move as one operation. Remote.batch made it; it may be in progress several times at once."""
    cdef hmc_batch_t *handle
    cdef readonly Region region
    cdef readonly Remote remote
    cdef readonly size_t count

    def __dealloc__(self):
        if self.handle != NULL and self.remote.context.generation == generation:
            hmc_batch_free(self.handle)

    def __len__(self):
        return self.count

    @property
    def nbytes(self):
        return hmc_batch_size(self.handle)

    cdef Request start(self, bint is_put, object timeout, Signal signal, object notify, bint checksum):
        cdef Options options
        cdef hmc_status_t status
        cdef Request request
        if notify is not None:
            notify = bytes_of(notify, "notify")
        self.remote.enter()
        try:
            self.region.check_open()
            set_options(&options, timeout, signal, notify, checksum)
            request = new_request(self.remote, self.region, False, hmc_batch_size(self.handle))
            request.prepared = self
            if signal is not None:
                request.signalled = signal.remote
            self.region.busy += 1
            with nogil:
                if is_put:
                    status = hmc_batch_put_nb(self.handle, &options.options, &request.handle)
                else:
                    status = hmc_batch_get_nb(self.handle, &options.options, &request.handle)
            self.region.busy -= 1
            if status != HMC_SUCCESS:
                request.handle = NULL
                request.state = status
                check(status, self.remote.peer)
            request.begin()
        finally:
            self.remote.leave()
        return request

    def put(self, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """Writes all pieces to the peer; complete when all are."""
        wait_or_cancel(self.start(True, timeout, signal, notify, checksum))

    def get(self, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """Reads all pieces from the peer; signal and notification then tell it that they were read."""
        wait_or_cancel(self.start(False, timeout, signal, notify, checksum))

    def put_nb(self, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        return self.start(True, timeout, signal, notify, checksum)

    def get_nb(self, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        return self.start(False, timeout, signal, notify, checksum)

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.Batch of %d pieces, %d B, %r with %r>" % (self.count, self.nbytes, self.region.text,
                                                               self.remote.text)


cdef Batch make_batch(Remote remote, Region region, object pieces):
    """`pieces`: a sequence of triples, or an (n, 3) array of 64-bit integers."""
    cdef Batch batch = Batch.__new__(Batch)
    cdef hmc_segment_t *segments = NULL
    cdef hmc_status_t status
    cdef View view = None
    cdef size_t count
    if region.context is not remote.context:
        invalid("the region %r is of another context than the remote region" % region.text)
    batch.region = region
    batch.remote = remote
    if PyObject_CheckBuffer(pieces):
        view = view_of(pieces, False)
        if view.ndim != 2 or view.shape[1] != 3 or not view.has_words() or not view.is_contiguous:
            invalid("batch: the array of pieces is (n, 3) contiguous 64-bit integers")
        count = view.shape[0]
        segments = <hmc_segment_t *>view.pointer
    else:
        pieces = list(pieces)
        count = len(pieces)
    remote.enter()
    try:
        region.check_open()
        if view is None:
            segments = <hmc_segment_t *>PyMem_Malloc((count or 1) * sizeof(hmc_segment_t))
            if segments == NULL:
                raise MemoryError()
        try:
            if view is None:
                for i in range(count):
                    here, there, size = pieces[i]
                    segments[i].local_offset = whole(here, "a piece's local offset")
                    segments[i].remote_offset = whole(there, "a piece's remote offset")
                    segments[i].length = whole(size, "a piece's length")
            region.check_open()
            region.busy += 1
            with nogil:
                status = hmc_batch_create(region.handle, remote.handle, segments, count, &batch.handle)
            region.busy -= 1
        finally:
            if view is None:
                PyMem_Free(segments)
        if status != HMC_SUCCESS:
            batch.handle = NULL
            check(status, remote.peer)
    finally:
        remote.leave()
    batch.count = count
    return batch
