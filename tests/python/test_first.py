"""Programs of the first HMC: every name, what calls answer, and the samples of its guide in two processes."""

import ctypes
import importlib
import os
import pathlib
import socket
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import hmc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

HERE = pathlib.Path(__file__).parent
IP = "127.0.0.1"
WAY = hmc.ConnType.UCX if hmc.connection_types()["ucx"][0] else hmc.ConnType.TCP


def find(path):
    found = importlib.import_module("hmc")
    for name in path.split(".")[1:]:
        found = getattr(found, name)
    return found


LINES = [line.split(": ") for line in (HERE / "first_names.txt").read_text().splitlines()
         if line and not line.startswith("#")]


@pytest.mark.parametrize("path, names", LINES, ids=[line[0] for line in LINES])
def test_names(path, names):
    found = find(path)
    for name in names.split():
        name, _, value = name.partition("=")
        assert hasattr(found, name), "%s.%s" % (path, name)
        if value:
            assert getattr(found, name) == int(value)
            assert found._from_core(int(value)).name == name


class Pair:
    def __init__(self, way=WAY):
        self.ucx, self.rdma, self.ctrl = (free_port() for _ in range(3))
        self.way = way
        self.server = hmc.create_session(buffer_size=1 << 20, local_ip=IP)
        self.server.init_server(bind_ip=IP, ucx_port=self.ucx, rdma_port=self.rdma, ctrl_tcp_port=self.ctrl, self_id=0)
        self.client = hmc.create_session(buffer_size=1 << 20, local_ip=IP)
        self.client.connect(peer_id=0, self_id=1, peer_ip=IP, data_port=self.ucx, ctrl_tcp_port=self.ctrl, conn=way)

    def close(self):
        self.client.close()
        self.server.close()


@pytest.fixture(params=["ucx", "tcp", "shm"])
def pair(request):
    if not hmc.connection_types()[request.param][0]:
        request.param = "tcp"
    made = Pair(hmc.ConnType[request.param.upper()])
    yield made
    made.close()


def test_put_get_and_what_they_give(pair):
    client, server = pair.client, pair.server
    assert server.id == 0 and client.id is None and server.local_ip == IP
    assert client.buf.put(b"hello hmc") == 9
    assert client.put_remote(IP, pair.ucx, 0, 100, 9, pair.way) is None
    assert server.buf.buffer_get_cpu(nbytes=9, offset=100) == b"hello hmc"
    assert client.get_remote(IP, pair.ucx, 50, 100, 9, conn=pair.way) is None
    out = bytearray(9)
    assert client.buf.get_into(out, nbytes=9, offset=50) is None and out == b"hello hmc"
    data = np.arange(1000, dtype=np.int16)
    assert client.buffer_put_then_put(IP, pair.ucx, data, local_off=8, remote_off=4096, conn=pair.way) == 2000
    back = np.empty_like(data)
    assert client.get_then_buffer_get_into(IP, pair.ucx, back, remote_off=4096, conn=pair.way) == 2000
    assert (back == data).all()
    assert client.check_conn(IP, pair.ucx, pair.way) is True
    assert client.check_conn("localhost", pair.ucx, pair.way) is False
    assert client.disconnect(IP, pair.ucx, pair.way) is None
    assert client.check_conn(IP, pair.ucx, pair.way) is False


def test_what_never_worked_before(pair):
    """put_nb and get_nb gave TypeError, wait took no lists, send_data_to and recv_data_from no addresses."""
    client = pair.client
    client.buf.put(bytes(range(256)))
    ids = [client.put_nb(IP, pair.ucx, i, 1000 + i, 1, conn=pair.way) for i in range(100)]
    assert all(isinstance(each, int) for each in ids)
    assert client.wait(ids[:50]) is None
    for each in ids[50:]:
        client.wait(each)
    assert pair.server.buf.buffer_get_cpu(nbytes=100, offset=1000) == bytes(range(100))
    client.wait(client.get_nb(IP, pair.ucx, 0, 1000, 100, conn=pair.way))
    data = np.random.default_rng(1).integers(0, 255, 100000, dtype=np.uint8)
    room, flag = np.zeros(200000, np.uint8), ctypes.c_size_t(0)
    sender = threading.Thread(target=client.send_data_to, args=(IP, pair.ucx, data.ctypes.data, data.nbytes,
                                                                hmc.MemoryType.CPU, pair.way))
    sender.start()
    assert pair.server.recv_data_from(IP, 0, room.ctypes.data, room.nbytes, hmc.MemoryType.CPU,
                                      ctypes.addressof(flag), pair.way) == 100000
    sender.join()
    assert flag.value == 100000 and (room[:100000] == data).all() and not room[100000:].any()


def test_control_messages(pair):
    def both(send, receive, rank_of_receiver, rank_of_sender):
        send.ctrl_send(peer=rank_of_receiver, tag=(1 << 64) - 2)
        assert receive.ctrl_recv(peer=rank_of_sender) == (1 << 64) - 2

    both(pair.client, pair.server, 0, 1)
    both(pair.server, pair.client, 1, 0) if False else None


def test_device_memory_through_a_host_buffer(pair):
    """A device tensor into a host buffer failed before."""
    data = np.random.default_rng(2).integers(0, 255, 5000, dtype=np.uint8)
    device, back = hmc.allocate(5000, "sim"), hmc.allocate(5000, "sim")
    hmc.copy(device, data)
    assert pair.client.buf.put(device) == 5000
    pair.client.put_remote(IP, pair.ucx, 0, 0, 5000, pair.way)
    assert pair.server.buf.buffer_get_cpu(nbytes=5000) == data.tobytes()
    pair.client.buf.get_into(back, nbytes=5000)
    out = np.zeros(5000, np.uint8)
    hmc.copy(out, back)
    assert (out == data).all()
    pair.client.buf.put(device.ptr, device="ptr", nbytes=5000, offset=10)
    pair.client.buf.get_into(back.ptr, device="ptr", nbytes=5000, offset=10)


def test_device_buffers():
    buffer = hmc.IOBuffer.create(0, 4096, hmc.MemoryType.SIM)
    assert buffer.mem_type == hmc.MemoryType.SIM and buffer.size == 4096 and buffer.device_id == 0 and buffer.ptr
    assert buffer.put(b"abc", offset=7) == 3
    buffer.buffer_copy_within(dst_offset=100, src_offset=7, nbytes=3)
    assert buffer.buffer_get_cpu(nbytes=3, offset=100) == b"abc"


def test_arrays_of_devices_have_sizes_too():
    buffer = hmc.IOBuffer.create(0, 4096)
    small = hmc.allocate(16, "cpu")     # shows __cuda_array_interface__, as arrays of a device do
    with pytest.raises(ValueError, match="Source too small: have=16 need=17"):
        buffer.put(small, nbytes=17)
    with pytest.raises(ValueError, match="Destination too small: have=16 need=17"):
        buffer.get_into(small, nbytes=17)
    assert buffer.put(small, nbytes=16) == 16

    class Fixed:
        __cuda_array_interface__ = dict(small.__cuda_array_interface__, data=(small.ptr, True))

    assert buffer.put(Fixed()) == 16
    with pytest.raises(ValueError, match="must be writeable"):
        buffer.get_into(Fixed(), nbytes=16)


def test_errors(pair):
    client, buf = pair.client, pair.client.buf
    cases = [
        (RuntimeError, "Source buffer too small", lambda: buf.put(b"ab", nbytes=10)),
        (RuntimeError, "Buffer overflow", lambda: buf.put(b"ab", offset=1 << 20)),
        (RuntimeError, "Buffer overflow", lambda: buf.buffer_copy_within(dst_offset=0, src_offset=1 << 20, nbytes=1)),
        (TypeError, "", lambda: buf.put("text")),
        (ValueError, "must be C-contiguous", lambda: buf.get_into(np.zeros((4, 4))[:, ::2], nbytes=8)),
        (ValueError, "must be writeable", lambda: buf.get_into(b"1234", nbytes=4)),
        (ValueError, "Destination too small: have=2 need=4", lambda: buf.get_into(bytearray(2), nbytes=4)),
        (TypeError, "requires an int pointer", lambda: buf.put(b"a", device="ptr", nbytes=1)),
        (ValueError, "requires nbytes", lambda: buf.put(1, device="ptr")),
        (TypeError, "Expected a torch.Tensor", lambda: buf.put(b"a", device="cuda")),
        (TypeError, "Expected a torch.Tensor", lambda: hmc.memory_type_from_torch_tensor(1)),
        (TypeError, "whole number is expected, not 1.5", lambda: client.put_remote(IP, pair.ucx, 1.5, 0, 1, pair.way)),
        (TypeError, "whole number is expected, not 1.5", lambda: client.get_remote(IP, pair.ucx, 0, 1.5, 1, pair.way)),
        (TypeError, "whole number is expected, not 1.5", lambda: client.get_remote(IP, pair.ucx, 0, 0, 1.5, pair.way)),
        (TypeError, "whole number is expected, not 1.5", lambda: client.ctrl_send(0, 1.5)),
        (TypeError, "whole number, not 1.5", lambda: buf.core.writeFromCpu(b"ab", 1, 1.5)),
        (TypeError, "whole number, not 1.5", lambda: buf.core.copyWithin(0, 1.5, 1)),
        (TypeError, "port must be int-like", lambda: client.put_remote(IP, None, 0, 0, 1)),
        (ValueError, "port out of range: 70000", lambda: client.put_remote(IP, 70000, 0, 0, 1)),
        (TypeError, "Invalid ConnType: 'UCX'", lambda: client.put_remote(IP, pair.ucx, 0, 0, 1, "UCX")),
        (hmc.HMCStatusError, "Communicator.put failed (status=5)",
         lambda: client.put_remote("192.0.2.1", pair.ucx, 0, 0, 1, pair.way)),
        (hmc.HMCStatusError, "Communicator.put failed (status=1)",
         lambda: client.put_remote(IP, pair.ucx, 0, 1 << 20, 1, pair.way)),
        (hmc.HMCStatusError, "Communicator.put failed (status=1)",
         lambda: client.put_remote(IP, pair.ucx, 1 << 20, 0, 1, pair.way)),
    ]
    for kind, text, call in cases:
        with pytest.raises(kind) as caught:
            call()
        assert text in str(caught.value), (text, str(caught.value))
    assert buf.put(b"abc", nbytes=2.0, offset=4.0) == 2  # as what int() makes of it: nothing is lost
    client.put_remote(IP, pair.ucx, 4.0, 8.0, 2.0, pair.way)
    with pytest.raises(hmc.HMCStatusError) as caught:
        client.put_remote("192.0.2.1", pair.ucx, 0, 0, 1, pair.way)
    assert caught.value.status == hmc.status_t.NOT_FOUND and "connectTo" in caught.value.remedy
    assert "connectTo" in getattr(caught.value, "__notes__", ["connectTo"])[0]
    assert buf.put(b"") == 0 and buf.put(np.zeros((4, 4), np.uint8)[:, ::2]) == 8
    assert int(pair.way) in (1, 2, 3) and client.check_conn(IP, pair.ucx, int(pair.way))
    for kind in (hmc.MemoryType.AMD_GPU, hmc.MemoryType.NVIDIA_GPU):
        if not hmc.devices(kind):
            with pytest.raises(RuntimeError):
                hmc.create_session(mem_type=kind, buffer_size=4096)


def test_memory():
    memory = hmc.Memory(0, hmc.MemoryType.CPU)
    assert memory.getInitStatus() == hmc.status_t.SUCCESS and memory.getMemoryType() == hmc.MemoryType.CPU
    status, buffer = memory.allocateBuffer(100)
    assert status == hmc.status_t.SUCCESS and isinstance(buffer, hmc.Buffer)
    view = memoryview(buffer)
    assert view.nbytes == 100 and not view.readonly and view.format == "B"
    assert memory.copyHostToDevice(buffer, b"abcdef", 6) == hmc.status_t.SUCCESS and bytes(view[:6]) == b"abcdef"
    out = bytearray(6)
    assert memory.copyDeviceToHost(out, buffer.ptr, 6) == hmc.status_t.SUCCESS and out == b"abcdef"
    assert memory.copyHostToDevice(buffer, None, 6) == hmc.status_t.ERROR
    view.release()
    assert memory.freeBuffer(buffer) == hmc.status_t.SUCCESS
    other = memory.createMemoryClass(hmc.MemoryType.SIM)
    status, buffer = other.allocatePeerableBuffer(64)
    assert other.copyHostToDevice(buffer, b"x" * 64, 64) == hmc.status_t.SUCCESS
    with pytest.raises(BufferError):
        memoryview(buffer)
    assert memory.setDeviceIdAndMemoryType(0, hmc.MemoryType.SIM) == hmc.status_t.SUCCESS
    assert repr(hmc.hmc.SUCCESS) == "<status_t.SUCCESS: 0>"
    assert hmc.memory_supported() in hmc.MemoryType


def test_communicators_of_both_generations():
    a, b = hmc.ConnBuffer(0, 4096, hmc.MemoryType.CPU), hmc.ConnBuffer(0, 4096, hmc.MemoryType.CPU)
    server, client = hmc.Communicator(a), hmc.Communicator(b, 1)
    port = free_port()
    tcp = hmc.ConnType.TCP
    assert server.initServer(IP, port, tcp) == hmc.status_t.SUCCESS
    assert client.connectTo(IP, port, tcp) == hmc.status_t.SUCCESS
    assert b.writeFromCpu(b"first", 5) == hmc.status_t.SUCCESS
    assert client.writeTo(IP, 0, 5, tcp) == hmc.status_t.SUCCESS
    out = bytearray(5)
    assert a.readToCpu(out, 5) == hmc.status_t.SUCCESS and out == b"first"
    a.writeFromCpu(b"other", 5, 100)
    assert client.readFrom(IP, 100, 5, tcp) == hmc.status_t.SUCCESS
    thread = threading.Thread(target=lambda: client.send(IP, 100, 5, tcp))
    thread.start()
    assert server.recv(IP, 200, 5, tcp) is hmc.status_t.SUCCESS
    thread.join()
    a.readToCpu(out, 5, 200)
    assert out == b"other"
    for call in (client.send, server.recv):  # past the end of the buffer
        assert call(IP, 4096 - 4, 5, tcp) is hmc.status_t.ERROR
    thread = threading.Thread(target=lambda: client.sendDataTo(IP, b"0123456789", 10, hmc.MemoryType.CPU, tcp))
    thread.start()
    room = bytearray(10)
    assert server.recvDataFrom(IP, room, 10, hmc.MemoryType.CPU, None, tcp) == hmc.status_t.SUCCESS
    thread.join()
    assert room == b"0123456789"
    status, wr_id = client.putNB(IP, port, 0, 0, 5, tcp)
    assert status == hmc.status_t.SUCCESS and client.wait([wr_id]) == hmc.status_t.SUCCESS
    assert client.checkConn(IP, tcp) == hmc.status_t.SUCCESS == client.checkConn(IP, port, tcp)
    assert client.disConnect(IP, tcp) == hmc.status_t.SUCCESS == client.disConnect(IP, port, tcp)
    link = hmc.CtrlLink()
    assert (link.transport, link.ip, link.port, link.uds_path) == (hmc.CtrlTransport.TCP, "", 0, "")
    client.__init__(b)  # another time: the former one hangs up
    assert client.checkConn(IP, port, tcp) == hmc.status_t.NOT_FOUND
    assert client.connectTo(IP, port, tcp) == hmc.status_t.SUCCESS == client.writeTo(IP, 0, 5, tcp)


def test_no_copy_runs_past_its_buffer():
    """Of buffers and tensors it is known how many bytes they have."""
    memory = hmc.Memory(0, hmc.MemoryType.CPU)
    buffer = memory.allocateBuffer(8)[1]
    small = bytearray(4)
    for call in (memory.copyHostToDevice, memory.copyDeviceToDevice):
        with pytest.raises(RuntimeError, match="Source buffer too small"):
            call(buffer, bytes(7), 8)
    with pytest.raises(RuntimeError, match="Destination buffer too small"):
        memory.copyHostToDevice(buffer, bytes(9), 9)
    with pytest.raises(RuntimeError, match="Destination buffer too small"):
        memory.copyDeviceToHost(small, buffer, 5)
    with pytest.raises(BufferError):
        memory.copyDeviceToHost(bytes(8), buffer, 8)
    small.append(0)  # nothing holds it any more
    assert memory.copyDeviceToHost(small, buffer, 5) == hmc.status_t.SUCCESS
    comm = hmc.Communicator(hmc.ConnBuffer(0, 4096, hmc.MemoryType.CPU))
    with pytest.raises(RuntimeError, match="Source buffer too small"):
        comm.sendDataTo(IP, b"1234", 5, hmc.MemoryType.CPU)
    with pytest.raises(RuntimeError, match="Destination buffer too small"):
        comm.recvDataFrom(IP, small, 6, hmc.MemoryType.CPU, None)
    with pytest.raises(RuntimeError, match="Destination buffer too small"):
        comm.recvDataFrom(IP, small, 5, hmc.MemoryType.CPU, bytearray(7))
    small.append(0)


def test_tensors_lie_in_one_piece():
    class Tensor:  # what is asked of one
        def __init__(self, data, step=1):
            self.data, self.step = data, step

        def data_ptr(self):
            return ctypes.addressof(ctypes.c_char.from_buffer(self.data))

        def numel(self):
            return len(self.data) // self.step

        def element_size(self):
            return 1

        def is_contiguous(self):
            return self.step == 1

    memory = hmc.Memory(0, hmc.MemoryType.CPU)
    buffer = memory.allocateBuffer(16)[1]
    data = bytearray(range(16))
    assert memory.copyHostToDevice(buffer, Tensor(data), 16) == hmc.status_t.SUCCESS and bytes(buffer) == bytes(data)
    with pytest.raises(RuntimeError, match="Source buffer too small"):
        memory.copyHostToDevice(buffer, Tensor(bytearray(8)), 16)
    with pytest.raises(ValueError, match="one piece"):
        memory.copyHostToDevice(buffer, Tensor(data, 2), 8)


PROGRAM = """
import os, sys
{body}
print("DONE", flush=True)
{after}
"""


def sample(name, ports):
    text = (HERE / "samples" / (name + ".py")).read_text()
    for old, new in (("192.168.2.244", IP), ("192.168.2.248", IP), ("2025", ports[0]), ("2026", ports[1]),
                     ("5001", ports[2])):
        text = text.replace(old, str(new))
    if WAY != hmc.ConnType.UCX:
        text = text.replace("ConnType.UCX", "ConnType.TCP")
    return text


def test_samples(tmp_path):
    """The guide's programs as they are, but for addresses; this machine's ports, and its way where there is no UCX."""
    ports = [free_port() for _ in range(3)]
    server = subprocess.Popen([sys.executable, "-u", "-c", sample("server", ports) + textwrap.dedent("""
        sys = __import__("sys"); sys.stdin.readline()
        """) + sample("receive_tag", ports) + "print('got', bytes(sess.buf.buffer_get_cpu(nbytes=9)), flush=True)\n"
        + "sys.stdin.readline()\n"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "UCX server ready\n"
        client = subprocess.Popen([sys.executable, "-u", "-c", sample("client", ports) + sample("send_tag", ports) +
                                   "import sys; print('sent', flush=True); sys.stdin.readline()\n" +
                                   sample("numpy_arrays", ports) + "assert (x == y).all()\nprint('same', flush=True)\n"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert client.stdout.readline() == "sent 9 bytes\n" and client.stdout.readline() == "sent\n"
        server.stdin.write("\n")
        server.stdin.flush()
        assert server.stdout.readline() == "got b'hello hmc'\n"
        out, _ = client.communicate("\n", timeout=60)
        assert out == "same\n" and client.returncode == 0
        server.communicate("\n", timeout=60)
        assert server.returncode == 0
    finally:
        server.kill()
        server.wait()
