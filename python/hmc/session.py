"""Session, IOBuffer and create_session: the API of the first HMC.

All transfers are staged: bytes are copied into the local buffer (`sess.buf.put`), move between the buffers of two
processes (`put_remote`, `get_remote`), and are copied out (`sess.buf.get_into`). Small messages between ranks
(`ctrl_send`, `ctrl_recv`) say what lies where. Programs that would rather move their own memory use hmc.Context.
"""

import logging
import os
import sys
from dataclasses import dataclass

from . import hmc as _core
from .enums import ConnType, CtrlTransport, MemoryType, status_t
from .errors import HMCStatusError

__all__ = ["IOBuffer", "Session", "create_session", "memory_type_from_torch_tensor", "DeviceHint"]

try:
    from typing import Literal, Optional

    DeviceHint = Optional[Literal["cpu", "cuda", "ptr"]]
except ImportError:  # pragma: no cover
    DeviceHint = object

_log = logging.getLogger("hmc")


def _check(status, what):
    if status != status_t.SUCCESS:
        error = HMCStatusError(int(status), "%s failed" % what, remedy=_core.last_error())
        error.status = status_t._from_core(status)
        if error.remedy and hasattr(error, "add_note"):  # from Python 3.11 on: a traceback shows it
            error.add_note(error.remedy)
        raise error


def _whole(value):
    """int(), which the first HMC did to every number, as long as nothing is cut off."""
    number = int(value)
    if number != value and isinstance(value, float):
        raise TypeError("a whole number is expected, not %r" % (value,))
    return number


def _port(value, name="port"):
    try:
        port = int(value)
    except (TypeError, ValueError):
        raise TypeError("%s must be int-like, got %s" % (name, type(value).__name__)) from None
    if not 0 <= port <= 65535:
        raise ValueError("%s out of range: %d" % (name, port))
    return port


def _is_torch(x):
    """Without importing torch: where it was not imported, nothing is a tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _is_numpy(x):
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(x, numpy.ndarray)


def _is_on_device(x):
    return _is_torch(x) and x.device.type != "cpu"


def _tensor_bytes(t):
    return int(t.numel()) * int(t.element_size())


def memory_type_from_torch_tensor(t, *, default=None):
    """The MemoryType that a torch tensor lies in; `default` (or DEFAULT) for devices that HMC does not know."""
    if not _is_torch(t):
        raise TypeError("Expected a torch.Tensor")
    device = t.device.type
    if device == "cpu":
        return MemoryType.CPU
    if device == "cuda":
        version = sys.modules["torch"].version
        if getattr(version, "hip", None):
            return MemoryType.AMD_GPU
        if getattr(version, "cuda", None):
            return MemoryType.NVIDIA_GPU
    known = {"mlu": MemoryType.CAMBRICON_MLU, "musa": MemoryType.MOORE_GPU, "npu": MemoryType.HUAWEI_ASCEND_NPU}
    if device in known:
        return known[device]
    return MemoryType.DEFAULT if default is None else default


def _readable(src):
    """(what has the buffer protocol, its bytes) of a source in host memory; what is not contiguous is copied."""
    if _is_torch(src):
        if src.device.type != "cpu":
            raise ValueError("Got a CUDA torch.Tensor in CPU path; pass device='cuda' or use buffer_put_cuda")
        src = src.detach().contiguous()
        nbytes = _tensor_bytes(src)
        return _tensor_view(src), nbytes
    if _is_numpy(src) and not src.flags.c_contiguous:
        src = src.copy(order="C")
    view = memoryview(src)
    return view, view.nbytes


class _TensorView:
    """Keeps a tensor while its bytes are looked at."""

    def __init__(self, tensor):
        import ctypes

        self.tensor = tensor
        size = _tensor_bytes(tensor)
        self.bytes = (ctypes.c_char * size).from_address(tensor.data_ptr()) if size else (ctypes.c_char * 0)()


def _tensor_view(tensor):
    kept = _TensorView(tensor)
    view = kept.bytes
    view._hmc_tensor = tensor
    return view


def _writable(dst):
    """(what has the buffer protocol, its bytes) of a destination in host memory."""
    if _is_torch(dst):
        if dst.device.type != "cpu":
            raise ValueError("Destination is CUDA tensor; pass device='cuda' or use buffer_get_cuda")
        if not dst.is_contiguous():
            raise ValueError("Destination torch CPU tensor must be contiguous")
        return _tensor_view(dst.detach()), _tensor_bytes(dst)
    if _is_numpy(dst):
        if not dst.flags.c_contiguous:
            raise ValueError("Destination numpy array must be C-contiguous")
        if not dst.flags.writeable:
            raise ValueError("Destination numpy array must be writeable")
    view = memoryview(dst)
    if view.readonly:
        raise ValueError("Destination buffer must be writeable (e.g. bytearray)")
    return view, view.nbytes


def _expect_room(have, nbytes, is_written):
    if have < nbytes:
        raise ValueError("%s too small: have=%d need=%d" % ("Destination" if is_written else "Source", have, nbytes))


def _pointer(where):
    if not isinstance(where, int):
        raise TypeError("device='ptr' requires an int pointer, got %s" % type(where).__name__)
    return where


@dataclass
class IOBuffer:
    """The registered buffer of a session. Offsets and sizes are in bytes."""

    core: "_core.ConnBuffer"

    @classmethod
    def create(cls, device_id, buffer_size, mem_type=MemoryType.DEFAULT):
        return cls(_core.ConnBuffer(_whole(device_id), _whole(buffer_size), MemoryType(int(mem_type))))

    @property
    def ptr(self):
        """Its address: a device's where the memory is a device's."""
        return self.core.ptr

    @property
    def mem_type(self):
        """The kind of its memory."""
        return MemoryType._from_core(self.core.mem_type)

    @property
    def device_id(self):
        """The number of its device."""
        return self.core.device_id

    @property
    def size(self):
        """Its bytes."""
        return self.core.buffer_size

    # ---- host memory

    def buffer_put_cpu(self, src, *, nbytes=None, offset=0):
        """Copies from host memory at `offset`; gives how many bytes."""
        view, size = _readable(src)
        size = size if nbytes is None else _whole(nbytes)
        _check(self.core.writeFromCpu(view, size, _whole(offset)), "ConnBuffer.writeFromCpu")
        return size

    def buffer_get_cpu_into(self, dst, *, nbytes, offset=0):
        """Copies `nbytes` from `offset` on into host memory."""
        view, have = _writable(dst)
        _expect_room(have, nbytes, True)
        _check(self.core.readToCpu(view, _whole(nbytes), _whole(offset)), "ConnBuffer.readToCpu")

    def buffer_get_cpu(self, *, nbytes, offset=0):
        """A bytearray with `nbytes` from `offset` on."""
        made = bytearray(_whole(nbytes))
        if nbytes:
            _check(self.core.readToCpu(made, _whole(nbytes), _whole(offset)), "ConnBuffer.readToCpu")
        return made

    # ---- device memory

    def buffer_put_gpu_ptr(self, src_ptr, *, nbytes, offset=0):
        """Copies `nbytes` from a device's address to `offset`."""
        _check(self.core.writeFromGpu(int(src_ptr), _whole(nbytes), _whole(offset)), "ConnBuffer.writeFromGpu")

    def buffer_get_gpu_ptr(self, dst_ptr, *, nbytes, offset=0):
        """Copies `nbytes` from `offset` on to a device's address."""
        _check(self.core.readToGpu(int(dst_ptr), _whole(nbytes), _whole(offset)), "ConnBuffer.readToGpu")

    def buffer_put_cuda(self, t, *, nbytes=None, offset=0):
        """Copies from a tensor of a device; what is not contiguous goes through a copy on its device."""
        self._expect_device(t)
        t = t.detach().contiguous()
        self._synchronize(t)
        size = _tensor_bytes(t) if nbytes is None else _whole(nbytes)
        _expect_room(_tensor_bytes(t), size, False)
        self.buffer_put_gpu_ptr(t.data_ptr(), nbytes=size, offset=offset)
        return size

    def buffer_get_cuda(self, t, *, nbytes=None, offset=0):
        """Copies into a tensor of a device, contiguous or not."""
        self._expect_device(t)
        size = _tensor_bytes(t) if nbytes is None else _whole(nbytes)
        _expect_room(_tensor_bytes(t), size, True)
        whole = t.detach()
        target = whole if whole.is_contiguous() else whole.contiguous()
        self._synchronize(t)
        self.buffer_get_gpu_ptr(target.data_ptr(), nbytes=size, offset=offset)
        if target is not whole:
            whole.copy_(target)
        return size

    @staticmethod
    def _expect_device(t):
        if not _is_torch(t):
            raise TypeError("Expected a torch.Tensor")
        if not _is_on_device(t):
            raise ValueError("Tensor is not CUDA tensor.")

    @staticmethod
    def _synchronize(t):
        """What was queued on the tensor's stream comes first."""
        module = getattr(sys.modules["torch"], t.device.type, None)
        stream = getattr(module, "current_stream", None)
        if stream is not None:
            stream(t.device).synchronize()

    # ---- either

    def buffer_copy_within(self, *, dst_offset, src_offset, nbytes):
        """Copies inside the buffer; the ranges may overlap."""
        _check(self.core.copyWithin(_whole(dst_offset), _whole(src_offset), _whole(nbytes)), "ConnBuffer.copyWithin")

    def put(self, data, *, nbytes=None, offset=0, device=None):
        """Copies `data` into the buffer and gives how many bytes: bytes-like, numpy, a torch tensor of any device, or
        an address (device="ptr", with `nbytes`)."""
        if device == "ptr":
            where = _pointer(data)
            if nbytes is None:
                raise ValueError("device='ptr' requires nbytes")
            self.buffer_put_gpu_ptr(where, nbytes=nbytes, offset=offset)
            return _whole(nbytes)
        if device == "cuda" or (device is None and _is_on_device(data)):
            return self.buffer_put_cuda(data, nbytes=nbytes, offset=offset)
        if device is None and hasattr(data, "__cuda_array_interface__") and not _is_torch(data):
            interface = data.__cuda_array_interface__
            have = _interface_bytes(interface)
            size = have if nbytes is None else _whole(nbytes)
            _expect_room(have, size, False)
            self.buffer_put_gpu_ptr(interface["data"][0], nbytes=size, offset=offset)
            return size
        return self.buffer_put_cpu(data, nbytes=nbytes, offset=offset)

    def get_into(self, dst, *, nbytes, offset=0, device=None):
        """Copies `nbytes` from `offset` on into `dst`: as for put."""
        if device == "ptr":
            self.buffer_get_gpu_ptr(_pointer(dst), nbytes=nbytes, offset=offset)
        elif device == "cuda" or (device is None and _is_on_device(dst)):
            self.buffer_get_cuda(dst, nbytes=nbytes, offset=offset)
        elif device is None and hasattr(dst, "__cuda_array_interface__") and not _is_torch(dst):
            interface = dst.__cuda_array_interface__
            _expect_room(_interface_bytes(interface), nbytes, True)
            if interface["data"][1]:
                raise ValueError("Destination device array must be writeable")
            self.buffer_get_gpu_ptr(interface["data"][0], nbytes=nbytes, offset=offset)
        else:
            self.buffer_get_cpu_into(dst, nbytes=nbytes, offset=offset)


def _interface_bytes(interface):
    size = int(interface["typestr"][2:])
    for each in interface["shape"]:
        size *= each
    if interface.get("strides") is not None:
        raise ValueError("a device array must be contiguous")
    return size


class Session:
    """A buffer, the transfers between it and the peers' buffers, and the control channel between ranks.

    Attributes: buf (IOBuffer), comm (Communicator), local_ip, ctrl_uds_dir, id (the rank; None until init_server).
    """

    def __init__(self, buf, num_chs=1, *, local_ip="", ctrl_uds_dir="/tmp"):
        self.buf = buf
        self.comm = _core.Communicator(buf.core, _whole(num_chs))
        self.local_ip = local_ip
        self.ctrl_uds_dir = ctrl_uds_dir
        self.id = None

    def set_local_ip(self, ip):
        """The address of this side, which connect() compares with the peer's to see whether both are on one host."""
        self.local_ip = ip

    def set_ctrl_uds_dir(self, d):
        """The folder of UNIX sockets for control messages."""
        self.ctrl_uds_dir = d

    # ---- connecting

    def init_server(self, *, bind_ip, ucx_port, rdma_port, ctrl_tcp_port, self_id, ctrl_uds_dir=None):
        """Lets peers connect: to the data ports (each serves whatever way a peer chooses) and to the control channel.

        Raises HMCStatusError: an address that is not this host's, a port in use. That there is no RDMA or no UCX here
        is not an error: peers that require it are refused, and the log says so.
        """
        if ctrl_uds_dir is not None:
            self.ctrl_uds_dir = ctrl_uds_dir
        self.local_ip = bind_ip
        path = _core.Communicator.udsPathFor(self.ctrl_uds_dir, _whole(self_id)) if self.ctrl_uds_dir else ""
        ctrl = _port(ctrl_tcp_port, "ctrl_tcp_port")
        for port, kind in ((_port(rdma_port, "rdma_port"), ConnType.RDMA), (_port(ucx_port, "ucx_port"), ConnType.UCX)):
            status = self.comm.initServer(bind_ip, port, ctrl, path, kind)
            if status == status_t.UNSUPPORT:
                _log.info("%s is not available here: %s", kind.name, _core.last_error())
                status = self.comm.initServer(bind_ip, port, ctrl, path, ConnType.AUTO)
            _check(status, "Communicator.initServer")
        self.id = _whole(self_id)

    def close_server(self):
        """Stops accepting peers; connected ones stay."""
        _check(self.comm.closeServer(), "Communicator.closeServer")

    def connect(self, *, peer_id, self_id, peer_ip, data_port, ctrl_tcp_port, uds_dir=None, conn=ConnType.RDMA):
        """Connects to the buffer and to the control channel of rank `peer_id`.

        The control channel goes by a UNIX socket where both are on one host, else by TCP; CTRL_TRANSPORT=tcp or =uds in
        the environment decides otherwise.
        """
        data_port, ctrl_tcp_port = _port(data_port, "data_port"), _port(ctrl_tcp_port, "ctrl_tcp_port")
        if self.check_conn(peer_ip, data_port, conn):
            return
        link = _core.CtrlLink()
        wanted = os.environ.get("CTRL_TRANSPORT", "").strip().lower()
        is_local = self.local_ip == peer_ip and self.local_ip not in ("", "0.0.0.0")
        if wanted == "uds" or (not wanted and is_local):
            link.transport = CtrlTransport.UDS
            link.uds_path = _core.Communicator.udsPathFor(uds_dir or self.ctrl_uds_dir, _whole(peer_id))
        link.ip, link.port = peer_ip, ctrl_tcp_port
        _check(self.comm.connectTo(_whole(peer_id), _whole(self_id), peer_ip, data_port, link, conn),
               "Communicator.connectTo")

    def disconnect(self, ip, port, conn=ConnType.RDMA):
        """Ends the connection to a peer."""
        _check(self.comm.disConnect(ip, _port(port), conn), "Communicator.disConnect")

    def check_conn(self, ip, port, conn=ConnType.RDMA):
        """Whether that peer is connected."""
        return self.comm.checkConn(ip, _port(port), conn) == status_t.SUCCESS

    # ---- transfers

    def put_remote(self, ip, port, local_off, remote_off, nbytes, conn=ConnType.RDMA):
        """Writes bytes of the local buffer into the peer's; they are visible there when this returns."""
        _check(self.comm.put(ip, _port(port), _whole(local_off), _whole(remote_off), _whole(nbytes), conn),
               "Communicator.put")

    def get_remote(self, ip, port, local_off, remote_off, nbytes, conn=ConnType.RDMA):
        """Reads bytes of the peer's buffer into the local one, which has them when this returns."""
        _check(self.comm.get(ip, _port(port), _whole(local_off), _whole(remote_off), _whole(nbytes), conn),
               "Communicator.get")

    def put_nb(self, ip, port, local_off, remote_off, nbytes, conn=ConnType.RDMA):
        """Starts a put; gives the id for wait()."""
        status, wr_id = self.comm.putNB(ip, _port(port), _whole(local_off), _whole(remote_off), _whole(nbytes), conn)
        _check(status, "Communicator.putNB")
        return wr_id

    def get_nb(self, ip, port, local_off, remote_off, nbytes, conn=ConnType.RDMA):
        """Starts a get; gives the id for wait()."""
        status, wr_id = self.comm.getNB(ip, _port(port), _whole(local_off), _whole(remote_off), _whole(nbytes), conn)
        _check(status, "Communicator.getNB")
        return wr_id

    def wait(self, wr_id):
        """Waits for one operation, or for all of a list."""
        _check(self.comm.wait(wr_id), "Communicator.wait")

    def buffer_put_then_put(self, ip, port, data, *, local_off=0, remote_off=0, conn=ConnType.RDMA, nbytes=None,
                            device=None):
        """buf.put and put_remote in one; gives how many bytes."""
        size = self.buf.put(data, nbytes=nbytes, offset=local_off, device=device)
        self.put_remote(ip, port, local_off, remote_off, size, conn)
        return size

    def get_then_buffer_get_into(self, ip, port, dst, *, local_off=0, remote_off=0, nbytes=None, conn=ConnType.RDMA,
                                 device=None):
        """get_remote and buf.get_into in one; gives how many bytes."""
        if nbytes is None:
            if device == "ptr":
                raise ValueError("device='ptr' requires nbytes")
            nbytes = _size_of(dst)
        self.get_remote(ip, port, local_off, remote_off, nbytes, conn)
        self.buf.get_into(dst, nbytes=nbytes, offset=local_off, device=device)
        return nbytes

    def send_data_to(self, ip, port, send_buf_ptr, buf_size, buf_type, conn=ConnType.RDMA):
        """Two-sided: meets one recv_data_from of the peer. `send_buf_ptr`: an address, a buffer or a tensor."""
        _check(self.comm.sendDataTo(ip, _port(port), send_buf_ptr, _whole(buf_size), MemoryType(int(buf_type)), conn),
               "Communicator.sendDataTo")

    def recv_data_from(self, ip, port, recv_buf_ptr, buf_size, buf_type, flag_ptr=None, conn=ConnType.RDMA):
        """Gives how many bytes came; `flag_ptr` (an address of 8 bytes, a writable buffer, or None) gets them too."""
        status, came = self.comm._receive(ip, _port(port), recv_buf_ptr, _whole(buf_size), MemoryType(int(buf_type)),
                                          flag_ptr or None if isinstance(flag_ptr, int) else flag_ptr, conn)
        _check(status, "Communicator.recvDataFrom")
        return came

    # ---- the control channel

    def ctrl_send(self, peer, tag):
        """One number to a rank."""
        _check(self.comm.ctrlSend(_whole(peer), _whole(tag)), "Communicator.ctrlSend")

    def ctrl_recv(self, peer):
        """The next number from a rank."""
        status, tag = self.comm.ctrlRecv(_whole(peer))
        _check(status, "Communicator.ctrlRecv")
        return tag

    def close(self):
        """Hangs up and stops serving. The buffer stays."""
        self.comm.closeServer()
        self.comm.closeCtrl()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def __repr__(self):
        return "<hmc.Session rank %s, %r>" % (self.id, self.buf.core)


def _size_of(x):
    if _is_torch(x):
        return _tensor_bytes(x)
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is not None:
        return _interface_bytes(interface)
    return memoryview(x).nbytes


def create_session(*, device_id=0, buffer_size=128 * 1024 * 1024, mem_type=MemoryType.CPU, num_chs=1, local_ip=""):
    """A Session with a buffer of its own."""
    return Session(IOBuffer.create(device_id, buffer_size, mem_type), num_chs, local_ip=local_ip)
