# How puts and gets are started: the local side of any layout, blocking or not, in pieces with a progress bar.

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
        region.check_open()
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
    cdef Region region = None
    cdef hmc_status_t status
    if notify is not None:
        notify = bytes_of(notify, "notify")
    remote.enter()
    try:
        set_options(&options, timeout, signal, notify, checksum)
        region = local_side(remote, data, not is_put, &local, &nbytes, &is_temporary)
        if region is not None:
            region.busy += 1            # close() in another thread waits until it has been started
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
            if is_blocking and 0 < nbytes <= (DIRECT_BYTES_WITH if options.is_set else DIRECT_BYTES) and signal is None \
                    and notify is None and not checksum:
                move_directly(request, local.base, distant.base, is_put, &options.options if options.is_set else NULL)
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
        if region is not None:
            region.busy -= 1
        remote.leave()
    if is_blocking:
        wait_or_cancel(request)
    return request


cdef enum:
    DIRECT_BYTES = 4 << 20          # what a blocking call moves itself; more is a request's, which ends sooner
    DIRECT_BYTES_WITH = 128 << 10   # the same with options, where hmc_put_with makes a request of more

cdef list raised = []       # by handlers that ran while the main thread was in a call of the library


cdef int ask_signals() noexcept with gil:
    """Runs the handlers; for the library, which asks while it sleeps in the main thread."""
    try:
        check_signals()
    except BaseException as error:
        raised.append(error)
        return 1
    return 0


cdef int move_directly(Request request, uint64_t local, uint64_t distant, bint is_put,
                       hmc_operation_options_t *options) except -1:
    """A short put or get by this thread. Close of what it uses, and the handlers of signals, end it as a request."""
    cdef Region region = request.region
    cdef Remote remote = request.remote
    cdef hmc_status_t status
    cdef hmcpy_call_t call
    cdef uint64_t nbytes = request.nbytes
    cdef bint takes = takes_signals()
    call.stop = &request.is_stopped
    call.ask = NULL
    if takes:
        call.ask = ask_signals
    region.busy += 1
    remote.context.direct.add(request)
    with nogil:
        status = hmcpy_transfer(&call, is_put, region.handle, local, remote.handle, distant, nbytes, options)
    remote.context.direct.discard(request)
    region.busy -= 1
    request.state = status
    try:
        if takes and raised:
            raise raised.pop()
        check(status, remote.peer)
    finally:
        request.release()
    return 0


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
            if step > SLICE_BYTES and distant + nbytes <= remote.size:
                step = SLICE_BYTES
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
            if remote.context.is_closing or remote.is_closing or region.is_closing or remote.peer.handle == NULL:
                closed("the context, the peer or the region")
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
