# Peers: contexts somewhere else.

@cython.final
cdef class Peer:
    """A context somewhere else that this one is connected with."""
    cdef hmc_peer_t *handle
    cdef readonly Context context
    cdef int busy
    cdef object remotes                 # WeakSet of Remote
    cdef str address
    cdef object __weakref__

    cdef int enter(self) except -1:
        self.context.enter()
        if self.handle == NULL:
            self.context.leave()
            closed("the peer %s" % self.address)
        self.busy += 1
        return 0

    cdef void leave(self) noexcept:
        self.busy -= 1
        self.context.leave()

    cdef hmc_peer_info_t info(self) except *:
        cdef hmc_peer_info_t info
        self.enter()
        try:
            check(hmcpy_peer_info(self.handle, &info))
        finally:
            self.leave()
        return info

    @property
    def ip(self):
        return self.info().ip.decode()

    @property
    def port(self):
        """The port that was dialled, or the one that the peer dialled from."""
        return self.info().port

    @property
    def name(self):
        """The name of its context."""
        return self.info().name.decode("utf-8", "replace")

    @property
    def host(self):
        return self.info().host.decode("utf-8", "replace")

    @property
    def process(self):
        """Its process id on its host."""
        return self.info().process

    @property
    def incarnation(self):
        return self.info().incarnation

    @property
    def via(self):
        """How it is reached: "shm", "tcp", "rdma" or "ucx"."""
        return hmc_connection_type_name(self.info().type).decode()

    @property
    def is_connected(self):
        return self.handle != NULL and not self.context.is_foreign() and self.info().state == HMC_PEER_CONNECTED

    def explain(self):
        """How the peer is reached, and why not by a faster way, as lines of text."""
        cdef size_t needed = 0
        cdef hmc_peer_t *handle
        self.enter()
        try:
            handle = self.handle        # close() in another thread waits for this, but takes it away at once
            check(hmc_peer_explain(handle, NULL, 0, &needed))
            text = bytearray(needed + 1)
            check(hmc_peer_explain(handle, <char *>text, needed + 1, NULL))
        finally:
            self.leave()
        return text.split(b"\0")[0].decode("utf-8", "replace")

    def open(self, str name not None, *, timeout=None):
        """Opens the peer's region of that name as a Remote. Blocks for one round trip.

        Raises NotFoundError (there is no such region there), DeadlineError, PeerLostError.
        """
        cdef Remote remote = Remote.__new__(Remote)
        cdef hmc_remote_t *handle = NULL
        cdef hmc_request_t *request = NULL
        cdef hmc_operation_options_t options
        cdef bytes wanted = name.encode()
        cdef hmc_status_t status
        hmcpy_operation_options(&options)
        options.timeout_ms = milliseconds(timeout)
        self.enter()
        try:
            status = hmc_remote_open_nb(self.handle, wanted, &options, &handle, &request)
            if status == HMC_SUCCESS:
                status = self.context.finish_setup(request)
            check(status, self)
            remote.begin(self, handle, name)
        finally:
            self.leave()
        return remote

    def flush(self, *, timeout=None):
        """Waits until every operation that was started to this peer is complete."""
        cdef uint64_t left = milliseconds(timeout) or self.context.default_ms(), step
        cdef hmc_status_t status = HMC_TIMEOUT
        cdef hmc_peer_t *handle
        self.enter()
        try:
            handle = self.handle
            while status == HMC_TIMEOUT and left:
                step = left if left < 20 else 20
                with nogil:
                    status = hmc_peer_flush(handle, step)
                left -= step
                if takes_signals():
                    check_signals()
                if self.context.is_closing or self.handle == NULL:
                    closed("the peer %s" % self.address)
            check(status, self)
        finally:
            self.leave()

    def close(self):
        """Hangs up; what is in flight to this peer is cancelled. Twice is fine."""
        cdef hmc_peer_t *handle = self.handle
        if handle == NULL or self.context.handle == NULL:
            return
        if self.context.is_foreign():
            self.handle = NULL
            return
        self.context.enter()
        try:
            self.handle = NULL
            if not self.context.end_calls(self, None, None, &self.busy):
                self.handle = handle
                still_in_use("the peer %s" % self.address)
            for remote in list(self.remotes):
                (<Remote>remote).forget()
            self.context.peers.pop(<uintptr_t>handle, None)
            with nogil:
                hmc_peer_close(handle)
        finally:
            self.context.leave()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def __str__(self):
        return self.address

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        if self.handle == NULL or self.context.handle == NULL:
            return "<hmc.Peer %s, closed>" % self.address
        if self.context.is_foreign():
            return "<hmc.Peer %s, of the parent process>" % self.address
        return "<hmc.Peer %s by %s%s>" % (self.address, self.via, "" if self.is_connected else ", gone")
