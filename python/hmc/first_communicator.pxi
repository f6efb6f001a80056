# Communicator: the transfers and control messages of the first HMC.

cdef class CtrlLink:
    """Where a peer's control channel is."""
    cdef public object transport, ip, port, uds_path

    def __init__(self, transport=CtrlTransport.TCP, ip="", port=0, uds_path=""):
        self.transport, self.ip, self.port, self.uds_path = transport, ip, port, uds_path

    cdef c_Link link(self) except *:
        cdef c_Link link
        link.transport = c_transport.UDS if int(self.transport) == 1 else c_transport.TCP
        link.ip = text_of(self.ip)
        link.port = self.port
        link.uds_path = text_of(self.uds_path)
        return link

    def __repr__(self):
        return "<hmc.CtrlLink %s>" % ("uds:" + self.uds_path if int(self.transport) == 1 else "tcp:%s:%d" %
                                      (self.ip, self.port))


cdef class Communicator:
    """One end of the transfers of a ConnBuffer. Peers are named by (ip, port), ranks by a number.

    Each has a control channel of its own, so that a process can be several ranks.
    """
    cdef unique_ptr[c_Control] control
    cdef unique_ptr[c_Communicator] pointer
    cdef c_Communicator *it
    cdef readonly ConnBuffer buffer

    def __init__(self, ConnBuffer buffer not None, size_t num_chs=1):
        with nogil:
            self.pointer.reset()    # where it is called again: it needs its control channel to the end
        self.control.reset(new c_Control())
        self.pointer.reset(new c_Communicator(buffer.shared, num_chs, self.control.get()[0]))
        self.it = self.pointer.get()
        self.buffer = buffer

    def __dealloc__(self):
        with nogil:
            self.pointer.reset()

    # ---- transfers

    cdef c_status finish(self, uint64_t id) except *:
        """Waits for an operation; where signals come here, looking for them, and cancelling it when one raises."""
        cdef c_status status
        cdef uint64_t waited = 0
        cdef cbool is_done = False
        cdef int i
        if takes_signals():
            while True:
                with nogil:
                    for i in range(200):
                        is_done = self.it.isDone(id)
                        if is_done:
                            break
                        hmcpy_nap(&waited)
                        if waited > 1000000:
                            break
                if is_done:
                    break
                try:
                    PyErr_CheckSignals()
                except BaseException:
                    with nogil:
                        self.it.cancel(id)
                    raise
        with nogil:
            status = self.it.wait(id)
        return status

    cdef object move(self, bint is_put, object ip, uint16_t port, object local_off, object remote_off, object nbytes,
                     object connType, bint is_blocking):
        cdef size_t here = whole(local_off, "local_off"), there = whole(remote_off, "remote_off")
        cdef size_t size = whole(nbytes, "size")
        cdef string host = text_of(ip)
        cdef c_connection way = way_of(connType)
        cdef uint64_t id = 0
        cdef c_status status
        with nogil:
            if is_put:
                status = self.it.putNB(host, port, here, there, size, &id, way)
            else:
                status = self.it.getNB(host, port, here, there, size, &id, way)
        if is_blocking:
            return answer(self.finish(id) if status == c_status.SUCCESS else status)
        return answer(status), id

    def put(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        return self.move(True, ip, port, local_off, remote_off, size, connType, True)

    def get(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        return self.move(False, ip, port, local_off, remote_off, size, connType, True)

    def putNB(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        """(status, id for wait)"""
        return self.move(True, ip, port, local_off, remote_off, size, connType, False)

    def getNB(self, ip, port, local_off, remote_off, size, connType=ConnType.RDMA):
        return self.move(False, ip, port, local_off, remote_off, size, connType, False)

    def wait(self, wr_id):
        """Waits for one id or a list of them; the first failure, or SUCCESS."""
        if isinstance(wr_id, int):
            return answer(self.finish(wr_id))
        first = status_t.SUCCESS
        for each in wr_id:
            status = answer(self.finish(each))
            if first == status_t.SUCCESS:
                first = status
        return first

    def writeTo(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        return self.move(True, ip, 0, ptr_bias, ptr_bias, size, connType, True)

    def readFrom(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        return self.move(False, ip, 0, ptr_bias, ptr_bias, size, connType, True)

    cdef object two_sided(self, bint is_send, object ip, object ptr_bias, object nbytes, object connType):
        cdef size_t at = whole(ptr_bias, "ptr_bias"), size = whole(nbytes, "size")
        cdef string host = text_of(ip)
        cdef c_connection way = way_of(connType)
        cdef c_status status
        hmcpy_watch_signals(takes_signals())
        with nogil:
            if is_send:
                status = self.it.send(host, at, size, way)
            else:
                status = self.it.recv(host, at, size, way)
        raise_signal()
        return answer(status)

    def send(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        """Two-sided, from this buffer at an offset to the peer's at that of its recv."""
        return self.two_sided(True, ip, ptr_bias, size, connType)

    def recv(self, ip, ptr_bias, size, connType=ConnType.RDMA):
        return self.two_sided(False, ip, ptr_bias, size, connType)

    cdef object exchange(self, bint is_send, object ip, uint16_t port, object where, object nbytes, object buf_type,
                         object flag, object connType):
        cdef size_t size = whole(nbytes, "size")
        cdef string host = text_of(ip)
        cdef c_connection way = way_of(connType)
        cdef c_memory kind = kind_of(buf_type)
        cdef Py_buffer buffer, flag_buffer
        cdef void *address = pointer_of(where, &buffer, not is_send, size)
        cdef size_t *came = NULL
        cdef size_t came_here = 0
        cdef c_status status
        flag_buffer.ndim = -1
        try:
            if flag is not None:
                came = <size_t *>pointer_of(flag, &flag_buffer, True, sizeof(size_t))
            hmcpy_watch_signals(takes_signals())
            with nogil:
                if is_send:
                    status = self.it.sendDataTo(host, port, address, size, kind, way)
                else:
                    status = self.it.recvDataFrom(host, port, address, size, kind, &came_here, way)
            raise_signal()
            if came != NULL and status == c_status.SUCCESS:
                came[0] = came_here
        finally:
            let_go(&flag_buffer)
            let_go(&buffer)
        return answer(status) if is_send else (answer(status), came_here)

    def sendDataTo(self, ip, *arguments, **named):
        """sendDataTo(ip, [port,] send_buf, buf_size, buf_type, connType=RDMA). `send_buf`: an address, a capsule, a
        buffer. Each meets one recvDataFrom of the peer, which may come first or last."""
        port, where, size, kind, connType = pick_exchange(arguments, named, "send_buf", False)
        return self.exchange(True, ip, port, where, size, kind, None, connType)

    def recvDataFrom(self, ip, *arguments, **named):
        """recvDataFrom(ip, [port,] recv_buf, buf_size, buf_type, flag, connType=RDMA). `flag` (None, the address of a
        size_t, or a writable buffer of 8 bytes) gets how many bytes came."""
        port, where, size, kind, connType, flag = pick_exchange(arguments, named, "recv_buf", True)
        return self.exchange(False, ip, port, where, size, kind, flag, connType)[0]

    def _receive(self, ip, port, where, size, kind, flag, connType):
        return self.exchange(False, ip, port, where, size, kind, flag, connType)

    # ---- the control channel

    def ctrlSend(self, uint32_t peer, tag):
        cdef uint64_t number = whole(tag, "tag"), left = timeout_ms(), step
        cdef c_status status
        while True:
            step = 50 if left > 50 and takes_signals() else left
            with nogil:
                status = self.it.ctrlSend(peer, number, step)
            left -= step
            if status != c_status.TIMEOUT or not left:
                return answer(status)
            PyErr_CheckSignals()

    def ctrlRecv(self, uint32_t peer):
        """(status, tag)"""
        cdef uint64_t tag = 0, left = timeout_ms(), step
        cdef c_status status
        while True:
            step = 50 if left > 50 and takes_signals() else left
            with nogil:
                status = self.it.ctrlRecv(peer, &tag, step)
            left -= step
            if status != c_status.TIMEOUT or not left:
                return answer(status), tag
            PyErr_CheckSignals()

    def initCtrlServer(self, bind_ip, uint16_t tcp_port, uds_path=""):
        cdef string ip = text_of(bind_ip), path = text_of(uds_path)
        cdef c_status status
        with nogil:
            status = self.it.initCtrlServer(ip, tcp_port, path)
        return answer(status)

    def closeCtrl(self):
        with nogil:
            self.it.closeCtrl()
        return status_t.SUCCESS

    def connectCtrl(self, uint32_t peer_id, uint32_t self_id, CtrlLink link not None):
        cdef c_Link where = link.link()
        cdef c_status status
        hmcpy_watch_signals(takes_signals())
        with nogil:
            status = self.it.connectCtrl(peer_id, self_id, where)
        raise_signal()
        return answer(status)

    def closeCtrlPeer(self, uint32_t peer_id):
        with nogil:
            self.it.closeCtrlPeer(peer_id)
        return status_t.SUCCESS

    @staticmethod
    def udsPathFor(dir, uint32_t peer_id):
        return c_Communicator.udsPathFor(text_of(dir), peer_id).decode()

    # ---- connecting

    def initServer(self, bind_ip, data_port, *arguments, **named):
        """initServer(bind_ip, data_port, ctrl_tcp_port, ctrl_uds_path, serverType=RDMA), or, as in the first
        generation, initServer(ip, port, connType=RDMA)."""
        cdef string ip = text_of(bind_ip), path
        cdef uint16_t port = data_port, ctrl_port = 0
        cdef c_connection way
        cdef c_status status
        cdef bint is_second = len(arguments) > 1 or "ctrl_tcp_port" in named
        if is_second:
            names = ("ctrl_tcp_port", "ctrl_uds_path", "serverType")
        else:
            names = ("connType",)
        values = pick(names, arguments, named, {"ctrl_uds_path": "", "serverType": ConnType.RDMA,
                                                "connType": ConnType.RDMA})
        way = way_of(values[len(values) - 1])
        if is_second:
            ctrl_port, path = values[0], text_of(values[1])
        with nogil:
            if is_second:
                status = self.it.initServer(ip, port, ctrl_port, path, way)
            else:
                status = self.it.initServer(ip, port, way)
        return answer(status)

    def connectTo(self, *arguments, **named):
        """connectTo(peer_id, self_id, peer_ip, data_port, ctrl_link, connType=RDMA), or, as in the first generation,
        connectTo(ip, port, connType=RDMA)."""
        cdef string ip
        cdef uint32_t peer = 0, me = 0
        cdef uint16_t port
        cdef c_Link where
        cdef c_connection way
        cdef c_status status
        cdef bint is_second = "peer_id" in named or bool(arguments) and not isinstance(arguments[0], str)
        defaults = {"connType": ConnType.RDMA}
        if is_second:
            peer, me, host, port, link, kind = pick(
                ("peer_id", "self_id", "peer_ip", "data_port", "ctrl_link", "connType"), arguments, named, defaults)
            where = (<CtrlLink?>link).link()
        else:
            host, port, kind = pick(("ip", "port", "connType"), arguments, named, defaults)
        ip, way = text_of(host), way_of(kind)
        hmcpy_watch_signals(takes_signals())
        with nogil:
            if is_second:
                status = self.it.connectTo(peer, me, ip, port, where, way)
            else:
                status = self.it.connectTo(ip, port, way)
        raise_signal()
        return answer(status)

    def closeServer(self):
        cdef c_status status
        with nogil:
            status = self.it.closeServer()
        return answer(status)

    def disConnect(self, ip, *arguments, **named):
        """disConnect(ip, port, connType=RDMA), or, as in the first generation, disConnect(ip, connType=RDMA)."""
        cdef string host = text_of(ip)
        cdef uint16_t port
        cdef c_connection way
        cdef c_status status
        number, kind = pick_port(arguments, named)
        port, way = number, way_of(kind)
        with nogil:
            status = self.it.disConnect(host, port, way)
        return answer(status)

    def checkConn(self, ip, *arguments, **named):
        """checkConn(ip, port, connType=RDMA), or, as in the first generation, checkConn(ip, connType=RDMA)."""
        cdef string host = text_of(ip)
        cdef uint16_t port
        cdef c_connection way
        cdef c_status status
        number, kind = pick_port(arguments, named)
        port, way = number, way_of(kind)
        with nogil:
            status = self.it.checkConn(host, port, way)
        return answer(status)

    @property
    def data_port(self):
        """The data port that was opened last; 0 when there is none."""
        return self.it.dataPort()

    @property
    def ctrl_port(self):
        return self.it.ctrlPort()

    def explain(self, ip, uint16_t port=0, connType=ConnType.AUTO):
        """How a peer is reached, and why not faster, as lines of text; "" when there is no such peer."""
        cdef string host = text_of(ip), said
        cdef c_connection way = way_of(connType)
        with nogil:
            said = self.it.explain(host, port, way)
        return said.decode("utf-8", "replace")

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.Communicator of %r>" % self.buffer
