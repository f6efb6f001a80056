"""What programs of Mooncake's transfer engine call, between two processes: over hmc.compat.mooncake, and over Mooncake's own
wheel where HMC is not installed beside it, so that a difference shows.
"""

import ctypes
import importlib.util
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy
import pytest

IS_OURS = importlib.util.find_spec("hmc") is not None
if IS_OURS:
    import hmc.compat
    import hmc.compat.mooncake as mooncake_face

    sys.path.insert(0, hmc.compat.folder("mooncake"))

from mooncake.engine import TransferEngine, TransferNotify, TransferOpcode  # noqa: E402

SIZE = 1 << 20


class End:
    def __init__(self, protocol="tcp"):
        self.engine = TransferEngine()
        assert self.engine.initialize("127.0.0.1", "P2PHANDSHAKE", protocol, "") == 0
        self.memory = numpy.zeros(SIZE, dtype=numpy.uint8)
        self.base = self.memory.ctypes.data
        assert self.engine.register_memory(self.base, SIZE) == 0
        self.name = "127.0.0.1:%d" % self.engine.get_rpc_port()

    def fill(self, seed):
        self.memory[:] = numpy.random.default_rng(seed).integers(0, 256, SIZE, dtype=numpy.uint8)


@pytest.fixture(params=["tcp", "shm", "rdma"] if IS_OURS else ["tcp"])
def ends(request):
    return End(request.param), End(request.param)


def test_write_and_read(ends):
    here, there = ends
    here.fill(1)
    assert here.engine.transfer_sync_write(there.name, here.base, there.base, SIZE) == 0
    assert (there.memory == here.memory).all()
    there.fill(2)
    assert here.engine.transfer_sync_read(there.name, here.base + 16, there.base + 32, 4096) == 0
    assert (here.memory[16:16 + 4096] == there.memory[32:32 + 4096]).all()
    assert here.engine.transfer_sync_write(there.name, here.base, there.base, 0) == 0


def test_batches(ends):
    here, there = ends
    here.fill(3)
    count, length = 64, 4096
    mine = [here.base + i * length for i in range(count)]
    theirs = [there.base + (count - 1 - i) * length for i in range(count)]
    assert here.engine.batch_transfer_sync_write(there.name, mine, theirs, [length] * count) == 0
    for i in range(count):
        at = (count - 1 - i) * length
        assert (there.memory[at:at + length] == here.memory[i * length:(i + 1) * length]).all()
    here.memory[:] = 0
    number = here.engine.batch_transfer_async_read(there.name, mine, theirs, [length] * count)
    assert number > 0
    assert here.engine.get_batch_transfer_status([number]) == 0
    assert (here.memory[:length] == there.memory[(count - 1) * length:count * length]).all()
    number = here.engine.transfer_submit_write(there.name, here.base, there.base, length)
    state = 0
    while state == 0:
        state = here.engine.transfer_check_status(number)
    assert state == 1
    if IS_OURS:     # the wheel looks into memory that it has freed
        assert here.engine.transfer_check_status(number) == -1
    assert here.engine.batch_transfer_sync_write(there.name, [], [], []) == 0
    assert here.engine.batch_transfer_sync_write(there.name, mine, theirs[:1], [length]) == -1


def test_memory_registered_later_is_found(ends):
    here, there = ends
    assert here.engine.transfer_sync_write(there.name, here.base, there.base, 8) == 0
    later = numpy.zeros(4096, dtype=numpy.uint8)
    address = later.ctypes.data
    assert here.engine.transfer_sync_write(there.name, here.base, address, 4096) == -1
    assert there.engine.register_memory(address, 4096) == 0
    here.fill(4)
    assert here.engine.transfer_sync_write(there.name, here.base, address, 4096) == 0
    assert (later == here.memory[:4096]).all()
    assert there.engine.unregister_memory(address) == 0
    assert here.engine.transfer_sync_write(there.name, here.base, address, 4096) == -1


@pytest.mark.skipif(not IS_OURS, reason="the wheel's connections are its own affair")
def test_one_connection_per_peer(ends):
    here, there = ends
    later = numpy.zeros(4096, dtype=numpy.uint8)
    together = threading.Barrier(8)
    results = []

    def move():
        together.wait()
        results.append(here.engine.transfer_sync_write(there.name, here.base, there.base, 64))

    threads = [threading.Thread(target=move) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert results == [0] * 8
    for _ in range(10):     # memory at the same place that is registered again is found by the connection there is
        assert there.engine.register_memory(later.ctypes.data, 4096) == 0
        assert here.engine.transfer_sync_write(there.name, here.base, later.ctypes.data, 4096) == 0
        assert there.engine.unregister_memory(later.ctypes.data) == 0
    assert len(here.engine._context.connected) == 1
    with hmc.Context("no engine") as other:
        for _ in range(3):
            assert here.engine.send_probe(str(other.listen("127.0.0.1:0"))) == -102
        assert len(here.engine._context.connected) == 1


@pytest.mark.skipif(not IS_OURS, reason="it looks at the directory of HMC's engine")
def test_a_directory_that_changes_while_it_is_read(ends, monkeypatch):
    """Other memory is unregistered between the peer's looks at the directory and at that memory."""
    here, there = ends
    other = numpy.zeros(4096, dtype=numpy.uint8)
    assert here.engine.send_probe(there.name) == 0
    assert there.engine.register_memory(other.ctypes.data, 4096) == 0
    unpack = mooncake_face.ENTRY.iter_unpack

    class Slow:
        size = mooncake_face.ENTRY.size
        pack_into = mooncake_face.ENTRY.pack_into

        @staticmethod
        def iter_unpack(body):
            monkeypatch.undo()
            assert there.engine.unregister_memory(other.ctypes.data) == 0
            return unpack(body)

    monkeypatch.setattr(mooncake_face, "ENTRY", Slow)
    assert here.engine.transfer_sync_write(there.name, here.base, there.base, 64) == 0


@pytest.mark.skipif(not IS_OURS, reason="it looks at the directory of HMC's engine")
def test_a_directory_that_never_rests(ends, monkeypatch):
    """As that of an engine that stands still in the middle of a change."""
    here, there = ends
    assert here.engine.send_probe(there.name) == 0
    monkeypatch.setattr(mooncake_face, "_deadline", lambda: 0.2)
    view = memoryview(there.engine._directory)
    view[0] += 1
    assert here.engine.transfer_sync_write(there.name, here.base, there.base, 64) == -1
    view[0] += 1
    assert here.engine.transfer_sync_write(there.name, here.base, there.base, 64) == 0


@pytest.mark.skipif(not IS_OURS, reason="it looks at the requests of HMC's engine")
@pytest.mark.parametrize("is_sync", [True, False])
def test_nothing_is_in_flight_after_a_failure(ends, monkeypatch, is_sync):
    """The second of two batches cannot be started: the memory of the first is the caller's again all the same."""
    here, there = ends
    more = [numpy.zeros(4096, dtype=numpy.uint8) for _ in range(2)]
    assert here.engine.register_memory(more[0].ctypes.data, 4096) == 0
    assert there.engine.register_memory(more[1].ctypes.data, 4096) == 0
    begun = []

    class Batch:
        def __init__(self, number):
            self.number = number

        def put_nb(self):
            if self.number:
                raise hmc.NoMemoryError(hmc.status_t.NO_MEMORY, "as planned")
            begun.append(self)
            return self

        def cancel(self):
            begun.remove(self)

    class Remote:
        def __init__(self, number):
            self.number = number

        def batch(self, region, pieces):
            return Batch(self.number)

    remotes = iter([Remote(0), Remote(1)])
    monkeypatch.setattr(mooncake_face._Segment, "find", lambda segment, address, length: (next(remotes), 0))
    arguments = there.name, [here.base, more[0].ctypes.data], [there.base, more[1].ctypes.data], [4096, 4096]
    if is_sync:
        assert here.engine.batch_transfer_sync_write(*arguments) == -1
    else:
        assert here.engine.batch_transfer_async_write(*arguments) == 0
    assert not begun


def test_registering(ends):
    engine, base = ends[0].engine, ends[0].base
    assert engine.register_memory(base, SIZE) == -7
    assert engine.register_memory(base + 4096, 1) == -7
    assert engine.unregister_memory(base + 1) == -3
    assert engine.batch_unregister_memory([base]) == 0
    assert engine.batch_register_memory([base, base + 4096], [4096, 4096]) == 0
    with pytest.raises(TypeError):
        engine.register_memory(-1, 4096)
    if IS_OURS:     # a call that raises has changed nothing
        assert engine.batch_unregister_memory([base, base + 4096]) == 0
        with pytest.raises(TypeError):
            engine.batch_register_memory([base, base + 4096], [4096, 0])
        assert engine.batch_register_memory([base], [4096]) == 0


def test_managed_buffers(ends):
    here, there = ends
    address = here.engine.allocate_managed_buffer(4096)
    assert address
    assert here.engine.write_bytes_to_buffer(address, b"hello", 5) == 0
    assert here.engine.transfer_sync(there.name, address, there.base, 5, TransferOpcode.Write) == 0
    assert bytes(there.memory[:5]) == b"hello"
    assert here.engine.read_bytes_from_buffer(address, 5) == b"hello"
    assert here.engine.free_managed_buffer(address, 4096) == 0
    assert there.engine.get_first_buffer_address(here.name) == here.base


@pytest.mark.skipif(not IS_OURS, reason="it looks into HMC's engine")
def test_a_managed_buffer_stays_until_no_peer_reaches_it(ends, monkeypatch):
    engine, found = ends[0].engine, []
    address = engine.allocate_managed_buffer(64 << 20)      # so large that freeing it unmaps it
    unregister = engine.batch_unregister_memory

    def look(addresses):
        with open("/proc/self/maps") as maps:
            spans = [[int(each, 16) for each in line.split()[0].split("-")] for line in maps]
        found.append(any(begin <= address < end for begin, end in spans))
        return unregister(addresses)

    monkeypatch.setattr(engine, "batch_unregister_memory", look)
    assert engine.free_managed_buffer(address, 64 << 20) == 0
    assert found == [True]


@pytest.mark.parametrize("opcode", [TransferOpcode.Write, TransferOpcode.Read])
def test_notification_follows_the_data(ends, opcode):
    here, there = ends
    note = TransferNotify("layer", "7 \N{SNOWMAN}")
    for ways in (1, 2):
        if ways == 2:    # two regions: one notification all the same
            extra = [numpy.zeros(4096, dtype=numpy.uint8) for _ in range(2)]
            assert here.engine.register_memory(extra[0].ctypes.data, 4096) == 0
            assert there.engine.register_memory(extra[1].ctypes.data, 4096) == 0
        mine, theirs = [here.base], [there.base]
        if ways == 2:
            mine.append(extra[0].ctypes.data)
            theirs.append(extra[1].ctypes.data)
        assert here.engine.batch_transfer_sync(there.name, mine, theirs, [4096] * ways, opcode, note) == 0
        got = []
        while not got:
            got = there.engine.get_notifies()
        assert [(each.name, each.msg) for each in got] == [("layer", "7 \N{SNOWMAN}")]


@pytest.mark.skipif(not IS_OURS, reason="a peer of the wheel is always an engine")
def test_notifications_of_others_than_engines(ends):
    here, there = ends
    with hmc.Context("no engine") as other:
        mailbox = other.connect(there.name).open("mooncake.mailbox")
        for strange in (b"x", b"\x01\0\0\0\xff", b"\x01\0\0\0a\xff"):
            mailbox.notify(strange)
        assert here.engine.transfer_sync(there.name, here.base, there.base, 8, TransferOpcode.Write,
                                         TransferNotify("a", "b")) == 0
        got, end = [], time.monotonic() + 20
        while not got and time.monotonic() < end:
            got = there.engine.get_notifies()
        assert [(each.name, each.msg) for each in got] == [("a", "b")]


def test_nobody_there():
    engine = End().engine
    assert engine.send_probe("127.0.0.1:1") == -102
    assert engine.transfer_sync_write("127.0.0.1:1", 0, 0, 8) == -1
    assert engine.batch_transfer_async_write("127.0.0.1:1", [0], [0], [8]) == 0
    assert TransferEngine().initialize("a", "etcd://nowhere", "tcp", "") == -1
    with pytest.raises(TypeError):
        TransferEngine().initialize("a", 1, "tcp", "")


def test_program_that_imports_mooncake():
    """A target in its own process, which knows nothing of HMC; killed, and then another one at another port."""
    program = textwrap.dedent("""
        import time
        import numpy
        from mooncake.engine import TransferEngine
        engine = TransferEngine()
        assert engine.initialize("127.0.0.1", "P2PHANDSHAKE", "tcp", "") == 0
        memory = numpy.full(4096, 5, dtype=numpy.uint8)
        assert engine.register_memory(memory.ctypes.data, 4096) == 0
        print(engine.get_rpc_port(), memory.ctypes.data, flush=True)
        time.sleep(600)
    """)
    environment = {**os.environ, "PYTHONPATH": hmc.compat.folder() if IS_OURS else ""}
    here = End()
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True) as other:
            try:
                port, address = map(int, other.stdout.readline().split())
                name = "127.0.0.1:%d" % port
                assert here.engine.transfer_sync_read(name, here.base, address, 4096) == 0
                assert (here.memory[:4096] == 5).all()
                other.kill()
                other.wait()
                assert here.engine.transfer_sync_read(name, here.base, address, 4096) == -1
            finally:
                other.kill()


if IS_OURS:

    def test_command_that_says_where_things_are():
        run = lambda *arguments: subprocess.run([sys.executable, "-m", "hmc.compat", *arguments], stdout=subprocess.PIPE,  # noqa: E731
                                                stderr=subprocess.PIPE, text=True)
        from mooncake.engine import Read, Write
        assert (Read, Write) == (TransferOpcode.Read, TransferOpcode.Write)
        assert run().stdout.strip() == hmc.compat.folder() and run("nixl").stdout.strip() == hmc.compat.folder("nixl")
        plugin = ctypes.CDLL(os.path.join(run("plugin").stdout.strip(), "libplugin_HMC.so"))
        assert plugin.nixl_plugin_init and plugin.nixl_plugin_fini
        wrong = run("pigeon")
        assert wrong.returncode == 2 and "mooncake and nixl" in wrong.stderr and "Traceback" not in wrong.stderr
        assert run("--help").returncode == 0 and "hmc.compat plugin" in run("--help").stdout
