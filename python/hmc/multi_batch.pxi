# Batches over several regions and peers.

@cython.final
@cython.no_gc_clear
cdef class MultiBatch:
    """Pieces between several regions of a context and several of its peers' regions, that move as one operation.
    Context.batch made it; it may be in progress several times at once.

    Signal and notification go to the peer of the first piece, once all pieces are complete everywhere.
    """
    cdef hmc_batch_t *handle
    cdef readonly Context context
    cdef readonly list regions
    cdef readonly list remotes
    cdef readonly size_t count
    cdef readonly bint is_get

    def __dealloc__(self):
        if self.handle != NULL and self.context.generation == generation:
            hmc_batch_free(self.handle)

    def __len__(self):
        return self.count

    @property
    def nbytes(self):
        return hmc_batch_size(self.handle)

    cdef bint is_with(self, Peer peer):
        for remote in self.remotes:
            if (<Remote>remote).peer is peer:
                return True
        return False

    cdef int check_open(self) except -1:
        for region in self.regions:
            (<Region>region).check_open()
        for remote in self.remotes:
            if (<Remote>remote).handle == NULL or (<Remote>remote).is_closing or (<Remote>remote).peer.handle == NULL:
                closed("the remote region %s of the batch" % (<Remote>remote).text)
        return 0

    def start_nb(self, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """Starts it and gives the Request."""
        cdef Options options
        cdef hmc_status_t status
        cdef Request request
        cdef Remote first = self.remotes[0]
        if notify is not None:
            notify = bytes_of(notify, "notify")
        self.context.enter()
        try:
            self.check_open()
            set_options(&options, timeout, signal, notify, checksum)
            request = new_request(first, None, False, hmc_batch_size(self.handle))
            request.spread = self
            if signal is not None:
                request.signalled = signal.remote
            self.enter_remotes()
            with nogil:
                status = hmc_batch_start_nb(self.handle, &options.options, &request.handle)
            self.leave_remotes()
            if status != HMC_SUCCESS:
                request.handle = NULL
                request.state = status
                check(status, first.peer)
            request.begin()
        finally:
            self.context.leave()
        return request

    cdef void enter_remotes(self) noexcept:
        for remote in self.remotes:
            (<Remote>remote).busy += 1
            (<Remote>remote).peer.busy += 1
        for region in self.regions:
            (<Region>region).busy += 1

    cdef void leave_remotes(self) noexcept:
        for remote in self.remotes:
            (<Remote>remote).busy -= 1
            (<Remote>remote).peer.busy -= 1
        for region in self.regions:
            (<Region>region).busy -= 1

    def start(self, *, timeout=None, Signal signal=None, notify=None, checksum=False):
        """Moves all pieces; complete when all are."""
        wait_or_cancel(self.start_nb(timeout=timeout, signal=signal, notify=notify, checksum=checksum))

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.MultiBatch of %d pieces, %d B, %d regions with %d>" % (self.count, self.nbytes, len(self.regions),
                                                                            len(self.remotes))


cdef int fill_piece(hmc_piece_t *piece, MultiBatch batch, Py_ssize_t region, Py_ssize_t remote) except -1:
    if not 0 <= region < len(batch.regions) or not 0 <= remote < len(batch.remotes):
        invalid("batch: a piece names region %d of %d and remote region %d of %d" %
                (region, len(batch.regions), remote, len(batch.remotes)))
    piece.local = (<Region?>batch.regions[region]).handle
    piece.remote = (<Remote?>batch.remotes[remote]).handle
    piece.flags = HMC_PIECE_GET if batch.is_get else 0
    return 0


cdef int fill_pieces(hmc_piece_t *made, MultiBatch batch, View view, list pieces) except -1:
    cdef int64_t *row = NULL if view is None else <int64_t *>view.pointer
    cdef Py_ssize_t last_region = -1, last_remote = -1
    cdef size_t i
    for i in range(batch.count):
        if view is None:
            region, remote, here, there, size = pieces[i]
            fill_piece(&made[i], batch, index_of(region, "a piece's region"), index_of(remote, "a piece's remote region"))
            made[i].local_offset = whole(here, "a piece's local offset")
            made[i].remote_offset = whole(there, "a piece's remote offset")
            made[i].length = whole(size, "a piece's length")
            continue
        if i and row[0] == last_region and row[1] == last_remote:
            made[i] = made[i - 1]
        else:
            fill_piece(&made[i], batch, row[0], row[1])
            last_region, last_remote = row[0], row[1]
        made[i].local_offset = <uint64_t>row[2]
        made[i].remote_offset = <uint64_t>row[3]
        made[i].length = <uint64_t>row[4]
        row += 5
    return 0


cdef int expect_all(list given, type kind, str what) except -1:
    for each in given:
        if not isinstance(each, kind):
            raise TypeError("batch: %s is a list of %s, and holds %r" % (what, kind.__name__, each))
    return 0


cdef MultiBatch make_multi_batch(Context context, object regions, object remotes, object pieces, bint is_get):
    cdef MultiBatch batch = MultiBatch.__new__(MultiBatch)
    cdef View view = None
    cdef hmc_piece_t *made
    cdef hmc_status_t status
    batch.context = context
    batch.regions, batch.remotes, batch.is_get = list(regions), list(remotes), is_get
    expect_all(batch.regions, Region, "regions")
    expect_all(batch.remotes, Remote, "remotes")
    if PyObject_CheckBuffer(pieces):
        view = view_of(pieces, False)
        if view.ndim != 2 or view.shape[1] != 5 or not view.has_words() or not view.is_contiguous:
            invalid("batch: the array of pieces is (n, 5) contiguous 64-bit integers")
        batch.count = view.shape[0]
        pieces = None
    else:
        pieces = list(pieces)
        batch.count = len(pieces)
    if not batch.count or not batch.regions or not batch.remotes:
        invalid("batch: there are no pieces, or no regions")
    context.enter()
    try:
        batch.check_open()
        made = <hmc_piece_t *>PyMem_Malloc(batch.count * sizeof(hmc_piece_t))
        if made == NULL:
            raise MemoryError()
        try:
            fill_pieces(made, batch, view, pieces)
            status = hmc_batch_create_pieces(made, batch.count, &batch.handle)
        finally:
            PyMem_Free(made)
        if status != HMC_SUCCESS:
            batch.handle = NULL
            check(status, (<Remote>batch.remotes[0]).peer)
    finally:
        context.leave()
    return batch
