# Requests: operations in flight.

@cython.final
@cython.freelist(32)
@cython.no_gc_clear
cdef class Request:
    """A put, get, atomic or batch in flight. Wait for it with wait() or `await`, or look with done().

    It goes on when nobody holds it; Context.flush() waits for those too. Local bytes stay untouched (put: unchanged)
    until it is complete; their owner is held meanwhile.
    """
    cdef hmc_request_t *handle
    cdef hmc_status_t state             # HMC_IN_PROGRESS until the end was seen
    cdef Context context
    cdef Peer peer
    cdef Remote remote                  # and that of the signal, below
    cdef Remote signalled
    cdef Region region
    cdef hmc_batch_t *batch
    cdef Batch prepared                 # the program's own batch, which must not go before the request
    cdef MultiBatch spread              # likewise
    cdef bint is_temporary              # the region was made for this
    cdef object value                   # what result() gives
    cdef View target                    # where a part of the scratch goes when a get is done
    cdef uint64_t fetched
    cdef bint is_atomic
    cdef int is_stopped                 # one of Context.direct is to end
    cdef int waiters
    cdef str failure
    cdef list callbacks
    cdef readonly uint64_t nbytes

    def __dealloc__(self):
        cdef hmc_request_t *handle = self.handle
        if self.context is not None and self.context.handle != NULL and self.context.generation == generation:
            if handle != NULL:
                self.handle = NULL
                self.context.busy += 1  # close() in another thread waits for this
                with nogil:
                    hmc_request_free(handle)
                self.context.busy -= 1
            if self.batch != NULL:
                hmc_batch_free(self.batch)

    cdef bint uses(self, Region region):
        return self.region is region or self.spread is not None and region in self.spread.regions

    cdef bint is_with(self, Peer peer):
        return self.peer is peer or self.spread is not None and self.spread.is_with(peer)

    cdef bint is_at(self, Remote remote):
        return self.remote is remote or self.signalled is remote or \
            self.spread is not None and remote in self.spread.remotes

    cdef bint goes_by(self, Peer peer, Region region, Remote remote):
        """Whether it uses those that are not None."""
        return (peer is None or self.is_with(peer)) and (region is None or self.uses(region)) and \
            (remote is None or self.is_at(remote))

    cdef int begin(self) except -1:
        """After the start; `handle` is set."""
        if not self.poll():
            self.context.hold(self)
        return 0

    cdef bint poll(self) except -1:
        """True when it is complete. Never blocks."""
        cdef hmc_status_t status
        if self.state != HMC_IN_PROGRESS:
            return True
        if self.handle == NULL:
            return False
        status = hmc_request_test(self.handle)
        if status == HMC_IN_PROGRESS:
            return False
        self.end(status)
        return True

    cdef int end(self, hmc_status_t status) except -1:
        """Notes the final status, once, and lets go of what was held."""
        if self.state == HMC_IN_PROGRESS:
            self.state = status
            if status != HMC_SUCCESS:
                said = hmc_last_error()
                self.failure = said.decode("utf-8", "replace") if said[0] else None
            if self.context.pending is not None:
                self.context.pending.discard(self)
        if not self.waiters:
            self.release()
        if self.callbacks is not None:
            callbacks, self.callbacks = self.callbacks, None
            for callback in callbacks:
                self.tell(callback)
        return 0

    cdef int tell(self, object callback) except -1:
        try:
            callback(self)
        except Exception:
            import logging
            logging.getLogger("hmc").exception("a callback of %r failed", self)
        return 0

    cdef int release(self) except -1:
        cdef hmc_request_t *handle = self.handle
        cdef hmc_batch_t *batch = self.batch
        self.handle = NULL
        self.batch = NULL
        if handle != NULL:
            self.context.busy += 1      # close() in another thread waits for this
            with nogil:
                hmc_request_free(handle)
            self.context.busy -= 1
        if batch != NULL:
            hmc_batch_free(batch)
        if self.is_temporary and self.region is not None:
            self.region.end()
        self.region = None
        self.remote = None
        self.signalled = None
        self.prepared = None
        self.spread = None
        return 0

    cdef int wait_done(self, object timeout, uint64_t waited=0) except -1:
        """Waits until it is complete, however it ends; DeadlineError when `timeout` seconds did not suffice, of which
        `waited` ns have passed for others."""
        cdef hmc_status_t status = self.state
        cdef uint64_t most = 0
        cdef hmc_request_t *handle
        if self.poll():
            return 0
        if timeout is not None:
            most = milliseconds(timeout) * 1000000
        handle = self.handle
        self.waiters += 1
        self.context.busy += 1
        try:
            if timeout is None and not takes_signals():
                with nogil:
                    status = hmc_request_wait(handle)
            else:
                status = HMC_IN_PROGRESS
                if most and waited >= most:
                    waited = most - 1
                while status == HMC_IN_PROGRESS:
                    with nogil:
                        status = hmcpy_wait_a_while(handle, most, &waited)
                    if status == HMC_IN_PROGRESS:
                        if takes_signals():
                            check_signals()
                        if most and waited >= most:
                            raise errors.DeadlineError(status_t.TIMEOUT, "%r is not complete after %g s" %
                                                       (self, timeout), peer=str(self.peer))
        finally:
            self.waiters -= 1
            self.context.busy -= 1
            if status != HMC_IN_PROGRESS:
                self.end(status)
            elif self.state != HMC_IN_PROGRESS and not self.waiters:
                self.release()
        return 0

    cdef object outcome(self):
        if self.state == HMC_UNSUPPORT and self.context.is_foreign():
            forked()
        if self.state != HMC_SUCCESS:
            fail(self.state, self.failure, self.peer)
        if self.is_atomic:
            return self.fetched
        return self.value

    def done(self):
        """True when it is complete, however it ended. Never blocks."""
        return bool(self.poll())

    def wait(self, timeout=None):
        """Waits until it is complete and gives its result: None, the bytes of a get(), the word of an atomic.

        Raises what the operation ended with. With `timeout` (seconds), DeadlineError when it is not complete by then;
        it goes on in that case. Ctrl-C ends the wait and cancels nothing.
        """
        self.wait_done(timeout)
        return self.outcome()

    def result(self):
        """What wait() gives, for a request that is complete."""
        if not self.poll():
            fail(HMC_IN_PROGRESS, "%r is not complete" % self, self.peer)
        return self.outcome()

    def exception(self):
        """The exception that it ended with, or None. Waits."""
        self.wait_done(None)
        try:
            self.outcome()
        except errors.HMCStatusError as error:
            return error
        return None

    def cancel(self):
        """Ends it unless it is complete. When this returns, local memory is not touched by it any more.

        True where it was cancelled; at the target a part of a put may have arrived."""
        cdef hmc_status_t status
        cdef hmc_request_t *handle
        if self.poll():
            return False
        handle = self.handle
        self.waiters += 1
        self.context.busy += 1
        try:
            with nogil:
                status = hmc_request_cancel(handle)
        finally:
            self.waiters -= 1
            self.context.busy -= 1
        self.end(status)
        return self.state == HMC_CANCELLED

    def add_done_callback(self, callback):
        """Calls callback(request) when its end is noticed: by a wait, a look, or a running asyncio loop."""
        if self.poll():
            self.tell(callback)
        elif self.callbacks is None:
            self.callbacks = [callback]
        else:
            self.callbacks.append(callback)

    @property
    def status(self):
        """The final status, or IN_PROGRESS."""
        self.poll()
        return status_t(<int>self.state)

    cdef int glance(self) except -1:
        """Looks for a moment, where nothing else is in progress that could use the time."""
        cdef hmc_status_t status
        cdef hmc_request_t *handle = self.handle
        if handle == NULL or len(self.context.pending) > 1:
            return 0
        self.waiters += 1
        self.context.busy += 1
        with nogil:
            status = hmcpy_glance(handle)
        self.waiters -= 1
        self.context.busy -= 1
        if status != HMC_IN_PROGRESS:
            self.end(status)
        elif self.state != HMC_IN_PROGRESS and not self.waiters:
            self.release()
        return 0

    def __await__(self):
        if self.state == HMC_IN_PROGRESS:
            self.glance()
        if self.poll():
            return over_now(self)
        from . import aio
        return aio.wait(self.context, self).__await__()

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.Request %d B with %s: %s>" % (self.nbytes, self.peer, status_t(<int>self.state).name)


cdef uint64_t yielded_ns = 0    # when an await that was over at once let the loop's other tasks run


@cython.final
@cython.freelist(8)
cdef class iter_result:
    """An awaitable's iterator that is over at once; every half a millisecond it lets the loop's other tasks run first,
    which a task that never waits would keep from that."""
    cdef Request request
    cdef bint is_to_yield

    def __iter__(self):
        return self

    def __next__(self):
        if self.is_to_yield:
            self.is_to_yield = False
            return None
        result = self.request.outcome()
        if result is None:
            raise StopIteration         # without a value nothing has to be made
        raise StopIteration(result)


cdef iter_result over_now(Request request):
    global yielded_ns
    cdef iter_result made = iter_result.__new__(iter_result)
    cdef uint64_t now = hmcpy_now_ns()
    made.request = request
    if now - yielded_ns > 500000:
        yielded_ns = now
        made.is_to_yield = True
    return made


def wait_all(requests, timeout=None):
    """Waits until all are complete; raises what the first one in the list ended with that failed, after all ended.
    `timeout` is for all together."""
    cdef uint64_t begin = hmcpy_now_ns()
    first = None
    for request in requests:
        (<Request?>request).wait_done(timeout, hmcpy_now_ns() - begin)
        if first is None and (<Request>request).state != HMC_SUCCESS:
            first = request
    return [(<Request>request).outcome() for request in ([first] if first is not None else requests)]


def wait_any(requests, timeout=None):
    """Waits until one of the requests is complete and gives its place in the list."""
    requests = list(requests)
    if not requests:
        invalid("wait_any: no requests")
    return first_of(requests, timeout, 0)


cdef object first_of(list requests, object timeout, uint64_t waited):
    """wait_any, where `waited` ns of the timeout have passed."""
    cdef uint64_t most = milliseconds(timeout) * 1000000
    while True:
        for i, request in enumerate(requests):
            if (<Request?>request).poll():
                return i
        if most and waited >= most:
            raise errors.DeadlineError(status_t.TIMEOUT, "none of %d requests is complete after %g s" %
                                       (len(requests), timeout))
        wait_for_some(requests, most, &waited)
        if takes_signals():
            check_signals()


cdef int wait_for_some(list requests, uint64_t most, uint64_t *waited) except -1:
    """Waits a while for the first of them; all have handles, which stay until this returns."""
    cdef size_t count = len(requests), index = count, i
    cdef Request request
    cdef hmc_request_t **handles = <hmc_request_t **>PyMem_Malloc(count * sizeof(void *))
    if handles == NULL:
        raise MemoryError()
    for i in range(count):
        request = <Request>requests[i]
        handles[i] = request.handle
        request.waiters += 1
        request.context.busy += 1
    with nogil:
        hmcpy_wait_any_a_while(handles, count, most, waited, &index)
    PyMem_Free(handles)
    for i in range(count):
        request = <Request>requests[i]
        request.waiters -= 1
        request.context.busy -= 1
        if request.state != HMC_IN_PROGRESS and not request.waiters:
            request.release()
    return 0


def as_completed(requests, timeout=None):
    """Gives the requests one after the other as they complete. `timeout` is for all together."""
    requests = list(requests)
    begin = hmcpy_now_ns()
    while requests:
        yield requests.pop(first_of(requests, timeout, hmcpy_now_ns() - begin))
