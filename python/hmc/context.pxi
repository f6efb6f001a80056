# Contexts, and the addresses at which they listen.

cdef tuple parse_address(object address, object port):
    """("ip or name", port) of "host:port", "[v6]:port", a host with `port`, or a pair."""
    if isinstance(address, tuple):
        address, port = address
    if not isinstance(address, str):
        raise TypeError("an address is \"host:port\" or (host, port), not %r" % (address,))
    if port is None:
        host, colon, number = address.rpartition(":")
        if not colon or not number.isdigit():
            invalid("%r is not an address: \"host:port\" is expected" % (address,))
        address, port = host, int(number)
    port = index_of(port, "port")
    if not 0 <= port <= 65535:
        invalid("port %d is not between 0 and 65535" % port)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return address, port


cdef str resolve(str host, int port):
    """A name as an IP address; addresses stay as they are, and nothing is asked of the network for them."""
    if ":" in host or host.replace(".", "").isdigit():
        return host
    import socket
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except socket.gaierror as error:
        raise errors.NotFoundError(status_t.NOT_FOUND, "the host %r is not known: %s" % (host, error)) from None


cdef hmc_connection_type_t parse_connection(object via) except? HMC_CONNECTION_AUTO:
    cdef hmc_connection_type_t kind
    if via is None:
        return HMC_CONNECTION_AUTO
    if not isinstance(via, str):
        if not isinstance(via, ConnType):
            raise TypeError('via is "auto", "shm", "tcp", "rdma", "ucx" or a ConnType, not %r' % (via,))
        via = via.name.lower()
    if hmc_connection_type_parse(via.encode(), &kind) != HMC_SUCCESS:
        no_such_name()
    return kind


class Address(tuple):
    """(ip, port), which prints as "ip:port"."""

    ip = property(lambda self: self[0])
    port = property(lambda self: self[1])

    def __str__(self):
        return ("[%s]:%d" if ":" in self[0] else "%s:%d") % self


cdef int nap(uint64_t *waited) except -1:
    """A while for others to get on, longer each time; `waited` begins at 0."""
    with nogil:
        hmcpy_nap(waited)
    if takes_signals():
        check_signals()
    return 0


cdef int drain(int *busy) except -1:
    """Waits until no call is inside any more."""
    cdef uint64_t waited = 0
    while busy[0]:
        nap(&waited)
    return 0


cdef enum:
    OTHERS_NS = 200000000   # in which calls of other threads have ended, once they are cancelled

live_contexts = weakref.WeakSet()


@cython.final
cdef class Context:
    """Owns listeners, peers and regions, and the service thread that answers peers.

    Args:
        name: for logs and texts; default: the program's name.
        timeout: seconds after which an operation without a deadline of its own ends; default: HMC_TIMEOUT (30).
        secret: what its peers have to know too, str or bytes; default: that of HMC_SECRET_FILE, HMC_SECRET, or the user's
            own in ~/.hmc/secret.

    Use it in a `with` statement, or call close(). After os.fork() the child cannot use it.
    """
    cdef hmc_context_t *handle
    cdef int busy
    cdef bint is_closing
    cdef int closers                    # threads in close(): the last one out ends the context
    cdef uint64_t timeout_ms            # 0: HMC_TIMEOUT
    cdef long generation
    cdef dict peers                     # address of the handle -> Peer
    cdef set regions                    # those with a name, which live until they are closed
    cdef object lent                    # WeakSet of the others
    cdef set pending                    # Requests that are not known to be complete
    cdef set direct                     # Requests that a blocking call stands for, and has no handle of
    cdef size_t reap_at
    cdef hmc_region_t *scratch          # where short payloads of mapped peers pass through, under the GIL
    cdef char *scratch_pointer
    cdef int exports                    # buffers of regions that arrays still use
    cdef str text
    cdef public object _bridges         # of asyncio loops: see aio.py
    cdef list listening
    cdef list arrived                   # Peers that were taken over, and not given by accept() yet
    cdef object __weakref__

    def __init__(self, name=None, *, timeout=None, secret=None):
        cdef bytes text = b"" if name is None else str(name).encode()
        cdef const char *c_name = NULL if name is None else <const char *>text
        cdef bytes known = b"" if secret is None else secret.encode() if isinstance(secret, str) else \
            bytes_of(secret, "secret")
        cdef const char *c_secret = NULL if secret is None else <const char *>known
        cdef uint64_t timeout_ms = milliseconds(timeout)
        cdef hmc_status_t status
        if self.handle != NULL:
            invalid("this Context is in use already")
        self.peers = {}
        self.regions = set()
        self.lent = weakref.WeakSet()
        self.pending = set()
        self.direct = set()
        self.reap_at = 64
        self.listening = []
        self.arrived = []
        self.text = name or ""
        self.timeout_ms = timeout_ms
        self.generation = generation
        with nogil:
            status = hmcpy_context_create(c_name, timeout_ms, c_secret, &self.handle)
        check(status)
        live_contexts.add(self)

    def __dealloc__(self):
        # What still refers to regions and peers holds the context, so nothing of it is in use any more.
        cdef hmc_context_t *handle = self.handle
        if handle != NULL and self.generation == generation:
            self.handle = NULL
            with nogil:
                hmc_context_destroy(handle)

    # ---- who is inside

    cdef inline bint is_foreign(self) noexcept:
        """This process was forked from the one that made the context: who was inside then never leaves."""
        return self.generation != generation

    cdef inline int enter(self) except -1:
        if self.is_closing or self.handle == NULL:
            closed("the context")
        if self.is_foreign():
            forked()
        self.busy += 1
        return 0

    cdef inline void leave(self) noexcept:
        self.busy -= 1

    cdef hmc_status_t finish_setup(self, hmc_request_t *request) except *:
        """Waits for a request that connects or opens; one that a signal or close() ends is cancelled, and leaves
        nothing."""
        cdef hmc_status_t status = HMC_IN_PROGRESS
        cdef uint64_t waited = 0
        try:
            while status == HMC_IN_PROGRESS:
                with nogil:
                    status = hmcpy_wait_a_while(request, 0, &waited)
                if status == HMC_IN_PROGRESS:
                    if takes_signals():
                        check_signals()
                    if self.is_closing:
                        closed("the context")
        finally:
            with nogil:
                if status == HMC_IN_PROGRESS:
                    hmc_request_cancel(request)
                hmc_request_free(request)
        return status

    # ---- listening and connecting

    def listen(self, address="0.0.0.0:0", port=None):
        """Accepts peers on "ip:port" from now on; port 0 picks a free one. Gives the Address that it became."""
        cdef uint16_t bound = 0
        host, number = parse_address(address, port)
        host = resolve(host or "0.0.0.0", number)
        cdef bytes ip = host.encode()
        self.enter()
        try:
            check(hmc_context_listen(self.handle, ip, number, &bound))
        finally:
            self.leave()
        made = Address((host, int(bound)))
        self.listening.append(made)
        return made

    def stop_listening(self):
        """Accepts nobody any more; peers stay."""
        self.enter()
        try:
            with nogil:
                hmc_context_stop_listening(self.handle)
            self.listening = []
        finally:
            self.leave()

    @property
    def addresses(self):
        """What this context listens on."""
        return list(self.listening)

    def connect(self, address, port=None, *, via=None, timeout=None):
        """Connects to a listening context at "host:port" and settles how bytes travel.

        Args:
            via: "auto" (default), or required: "shm", "tcp", "rdma", "ucx", or a ConnType.
            timeout: seconds; default: the context's.

        Raises NotFoundError (nobody listens there), DeadlineError, DeniedError (the secrets differ), UnsupportedError
        (`via` does not work between the two; the text says why).
        """
        cdef hmc_peer_t *handle = NULL
        cdef hmc_request_t *request = NULL
        cdef hmc_operation_options_t options
        cdef hmc_connection_type_t kind = parse_connection(via)
        cdef hmc_status_t status
        host, number = parse_address(address, port)
        cdef bytes ip = host.encode()
        hmcpy_operation_options(&options)
        options.timeout_ms = milliseconds(timeout)
        self.enter()
        try:
            status = hmc_context_connect_nb(self.handle, ip, number, kind, &options, &handle, &request)
            if status == HMC_SUCCESS:
                status = self.finish_setup(request)
            check(status, str(Address((host, number))))
            return self.peer_of(handle)
        finally:
            self.leave()

    def accept(self, *, timeout=None):
        """Waits for the next peer that connected and was not returned yet. Raises DeadlineError."""
        cdef hmc_peer_t *handle = NULL
        cdef hmc_status_t status
        cdef uint64_t left = milliseconds(timeout), step
        self.enter()
        try:
            left = left or self.default_ms()
            while True:
                if self.arrived:
                    return self.arrived.pop(0)
                step = left if left < 50 else 50
                with nogil:
                    status = hmc_context_accept(self.handle, step, &handle)
                left -= step
                if status != HMC_TIMEOUT or not left:
                    break
                if takes_signals():
                    check_signals()
                if self.is_closing:
                    closed("the context")
            check(status)
            return self.peer_of(handle)
        finally:
            self.leave()

    cdef uint64_t default_ms(self) except? 0:
        """The context's timeout, for waits that are cut into pieces."""
        return self.timeout_ms or default_timeout_ms()

    cdef Peer peer_of(self, hmc_peer_t *handle):
        cdef Peer peer
        cdef hmc_peer_info_t info
        known = self.peers.get(<uintptr_t>handle)
        if known is not None:
            return known
        peer = Peer.__new__(Peer)
        peer.handle = handle
        peer.context = self
        peer.remotes = weakref.WeakSet()
        check(hmcpy_peer_info(handle, &info))
        peer.address = str(Address((info.ip.decode(), int(info.port))))
        self.peers[<uintptr_t>handle] = peer
        return peer

    # ---- regions

    def register(self, memory, *, name=None, rights="rwa"):
        """Registers the memory of an array or buffer for peers as a Region; nothing is copied.

        Args:
            memory: anything with the buffer protocol, DLPack or __cuda_array_interface__; contiguous. It is held until
                the region is closed.
            name: what peers open it by; None: for use at this end only.
            rights: what peers may do: any of "r" (read), "w" (write), "a" (atomics and signals).
        """
        return register_region(self, memory, name, rights)

    def allocate(self, nbytes, *, name=None, memory="cpu", rights="rwa"):
        """Allocates zeroed memory as a Region. Host memory made so is mapped by peers on the same host: the fastest
        there is. `memoryview(region)` and numpy.asarray(region) show it."""
        return allocate_region(self, nbytes, name, memory, rights)

    # ---- batches

    def batch(self, regions, remotes, pieces, *, get=False):
        """Prepares pieces between several regions of this context and several of its peers' regions, to be moved as
        one operation: see MultiBatch.

        Args:
            regions, remotes: lists of Region and of Remote.
            pieces: a list of (place in `regions`, place in `remotes`, local offset, remote offset, length), or an
                (n, 5) array of 64-bit integers.
            get: True reads from the peers; else it is written to them.
        """
        return make_multi_batch(self, regions, remotes, pieces, get)

    # ---- notifications

    def notification(self, *, timeout=None):
        """Waits for the oldest notification that any peer sent and takes it. Raises DeadlineError."""
        cdef uint64_t left = milliseconds(timeout), step
        self.enter()
        try:
            left = left or self.default_ms()
            while True:
                step = left if left < 50 else 50
                taken = self.take_notification(step)
                left -= step
                if taken is not None:
                    return taken
                if not left:
                    check(HMC_TIMEOUT)
                if takes_signals():
                    check_signals()
                if self.is_closing:
                    closed("the context")
        finally:
            self.leave()

    cdef object take_notification(self, uint64_t timeout_ms):
        cdef char data[4096]
        cdef size_t size = 0
        cdef hmc_peer_t *from_peer = NULL
        cdef hmc_status_t status
        cdef char *room
        with nogil:
            status = hmc_notification_receive(self.handle, data, sizeof(data), &size, &from_peer, timeout_ms)
        if status == HMC_TIMEOUT:
            return None
        if status != HMC_OUT_OF_RANGE:
            check(status)
            return Notification(data[:size], self.sender(from_peer))
        # A long one, which has stayed; another thread may take it meanwhile, and leave one that is longer still.
        while status == HMC_OUT_OF_RANGE:
            body = PyBytes_FromStringAndSize(NULL, size)
            room = PyBytes_AS_STRING(body)
            with nogil:
                status = hmc_notification_receive(self.handle, room, size, &size, &from_peer, HMC_NO_WAIT)
        if status == HMC_TIMEOUT:
            return None
        check(status)
        return Notification(body[:size], self.sender(from_peer))

    cdef Peer sender(self, hmc_peer_t *handle):
        """The peer of a notification. One that nobody has accepted yet is the engine's, which may let go of it: it is
        taken over first, and accept() gives it later."""
        cdef hmc_peer_t *accepted = NULL
        if handle == NULL:
            return None
        known = self.peers.get(<uintptr_t>handle)
        while known is None and hmc_context_accept(self.handle, 1, &accepted) == HMC_SUCCESS:
            self.arrived.append(self.peer_of(accepted))
            if accepted == handle:
                known = self.arrived[len(self.arrived) - 1]
        return known

    def poll_notification(self):
        """The oldest notification that is here, or None. Never waits long."""
        self.enter()
        try:
            return self.take_notification(HMC_NO_WAIT)
        finally:
            self.leave()

    def fileno(self):
        """A descriptor that becomes readable when something happened here, for poll loops. It is the context's."""
        cdef int descriptor = -1
        self.enter()
        try:
            check(hmc_context_event_descriptor(self.handle, &descriptor))
        finally:
            self.leave()
        return descriptor

    # ---- requests in flight

    cdef int hold(self, Request request) except -1:
        """Keeps a request that nobody else may hold; looks now and then which of them are over."""
        self.pending.add(request)
        if <size_t>len(self.pending) >= self.reap_at:
            for each in list(self.pending):
                (<Request>each).poll()
            self.reap_at = max(64, 2 * len(self.pending))
        return 0

    cdef int cancel_pending(self, Peer peer, Region region, Remote remote) except -1:
        for each in list(self.pending):
            if (<Request>each).goes_by(peer, region, remote):
                (<Request>each).cancel()
        for each in list(self.direct):
            if (<Request>each).goes_by(peer, region, remote):
                (<Request>each).is_stopped = 1
        return 0

    cdef int end_calls(self, Peer peer, Region region, Remote remote, int *busy) except -1:
        """Cancels what uses the one that is given, until no call is inside it any more: one that was may have started
        another. None can come in, as that one is closing. 0 where the handler of a signal asks for this, and the call that
        it has interrupted is inside: that one goes on, and ends, after the handler."""
        cdef uint64_t waited = 0
        self.cancel_pending(peer, region, remote)
        while busy[0]:
            if interrupted and takes_signals() and waited > OTHERS_NS:
                return 0
            nap(&waited)
            self.cancel_pending(peer, region, remote)
        return 1

    def flush(self, *, timeout=None):
        """Waits until everything that was started from this context is complete."""
        if self.is_foreign() and self.handle != NULL:
            forked()
        cdef uint64_t begin = hmcpy_now_ns()
        for each in list(self.pending):
            (<Request>each).wait_done(timeout, hmcpy_now_ns() - begin)

    # ---- the end

    @property
    def is_closed(self):
        return self.is_closing or self.handle == NULL

    def close(self):
        """Cancels what is in flight, hangs up on all peers and ends all regions. Twice is fine.

        Memory of regions that arrays still show stays until the last of them goes. In the handler of a signal, a call of
        this context that it interrupted raises ClosedError afterwards, and the rest is done by the next close().
        """
        if self.handle == NULL:
            return
        self.is_closing = True
        if self.is_foreign():
            self.handle = NULL      # the parent's
            return
        self.closers += 1
        try:
            self.end_all()
        finally:
            self.closers -= 1
        self.finish()

    cdef int end_all(self) except -1:
        bridges, self._bridges = self._bridges, None
        for bridge in list((bridges or {}).values()):
            bridge.close()
        if not self.end_calls(None, None, None, &self.busy):
            return 0
        with nogil:
            hmc_context_stop_listening(self.handle)
        self.listening = []
        self.close_peers()
        self.end_regions()
        drain(&self.busy)               # regions and requests that other threads are giving back
        return 0

    cdef int end_regions(self) except -1:
        for region in list(self.regions) + list(self.lent):
            (<Region>region).end()
        return 0

    cdef int close_peers(self) except -1:
        cdef hmc_peer_t *handle
        for each in list(self.peers.values()):
            handle = (<Peer>each).handle
            (<Peer>each).handle = NULL
            if handle == NULL:
                continue
            for remote in list((<Peer>each).remotes):
                (<Remote>remote).forget()
            with nogil:
                hmc_peer_close(handle)
        self.peers = {}
        return 0

    cdef bint is_in_use(self) noexcept:
        return self.handle == NULL or self.exports or self.closers or self.busy

    cdef int finish(self) except -1:
        """Ends the context, unless somebody is inside, or arrays still show its memory: then the last of them does."""
        cdef hmc_context_t *handle
        if self.is_in_use():
            return 0
        self.end_regions()              # those that arrays showed until now
        if self.is_in_use():            # another thread came by meanwhile
            return 0
        handle = self.handle
        if self.scratch != NULL:
            hmc_region_close(self.scratch)
            self.scratch = NULL
        self.handle = NULL
        with nogil:
            hmc_context_destroy(handle)
        return 0

    def __enter__(self):
        self.enter()
        self.leave()
        return self

    def __exit__(self, *what):
        self.close()

    @property
    def name(self):
        return self.text

    @property
    def connected(self):
        """The peers that were connected to or accepted, and not closed."""
        return list(self.peers.values())

    def notifications(self):
        """Notifications as they come, by `async for` in a running loop, without end until the context closes."""
        from . import aio
        return aio.notifications(self)

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        if self.is_closed:
            return "<hmc.Context %s, closed>" % (self.text or "without name")
        where = ", listens on " + ", ".join(map(str, self.listening)) if self.listening else ""
        return "<hmc.Context %s, %d peers%s>" % (self.text or "without name", len(self.peers), where)


cdef uint64_t default_timeout_ms() except? 0:
    """HMC_TIMEOUT in milliseconds: waits that are cut into pieces need to know it."""
    value = os.environ.get("HMC_TIMEOUT", "").strip() or "30s"
    digits = value.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = {"": 1, "ms": 1, "s": 1000, "m": 60000, "min": 60000, "h": 3600000, "us": 0.001}.get(value[len(digits):], 1)
    try:
        return max(1, int(float(digits) * unit))
    except ValueError:
        return 30000


@cython.final
cdef class Notification:
    """A small message that a peer sent after its data."""
    cdef readonly bytes data
    cdef readonly Peer peer     # the sender; None where it was closed meanwhile

    def __init__(self, data, peer=None):
        self.data = data
        self.peer = peer

    def __bytes__(self):
        return self.data

    def __repr__(self):
        return "<hmc.Notification %r from %s>" % (self.data, self.peer)


def close_all():
    """At the end of the program: contexts that are still open end before the interpreter does."""
    for context in list(live_contexts):
        try:
            context.close()
        except errors.HMCError:
            pass


import atexit
atexit.register(close_all)


def default_timeout():
    """HMC_TIMEOUT in milliseconds."""
    return default_timeout_ms()
