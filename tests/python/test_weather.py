"""What happens to programs: closed objects, wrong arguments, signals, forks, dead peers, threads, and leaks."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import numpy as np
import pytest

import hmc

SANITIZED = "TESTED_SANITIZED" in os.environ


def test_closed_objects(couple):
    region, remote = couple.far(4096)
    local = couple.here.allocate(4096)
    remote.close()
    remote.close()
    with pytest.raises(hmc.ClosedError, match="far was closed") as caught:
        remote.put(b"x")
    assert "before close" in caught.value.remedy
    remote = couple.peer.open("far")
    batch = remote.batch(local, [(0, 0, 8)])
    local.close()
    with pytest.raises(hmc.ClosedError):
        remote.put(local)
    with pytest.raises(hmc.ClosedError):
        batch.put()
    region.close()
    with pytest.raises(hmc.StaleError, match="far") as caught:
        remote.put(b"12345678")
    assert caught.value.status == hmc.status_t.STALE and "open it again" in caught.value.remedy
    assert caught.value.peer == str(couple.peer)
    couple.peer.close()
    couple.peer.close()
    assert not couple.peer.is_connected and "closed" in repr(couple.peer) + repr(remote)
    with pytest.raises(hmc.ClosedError):
        couple.peer.open("far")
    couple.here.close()
    couple.here.close()
    for call in (couple.here.notification, couple.here.listen, lambda: couple.here.allocate(8), couple.here.__enter__):
        with pytest.raises(hmc.ClosedError):
            call()


def test_wrong_arguments(couple):
    region, remote = couple.far(4096)
    other = hmc.Context("other")
    frozen = np.zeros(16, np.uint8)
    frozen.flags.writeable = False
    cases = [
        (hmc.InvalidError, "has 10 B, and bytes has 3", lambda: remote[0:10].put(b"abc")),
        (hmc.InvalidError, "read-only", lambda: remote.get_into(frozen)),
        (hmc.InvalidError, "read-only", lambda: remote.get_into(b"12")),
        (hmc.OutOfRangeError, "run past", lambda: remote.put(b"12", 4095)),
        (hmc.OutOfRangeError, "not within 4096 B", lambda: remote[0:5000]),
        (hmc.OutOfRangeError, "block covers", lambda: remote.block((10, 10), strides=(4096, 1))),
        (TypeError, "has no memory", lambda: remote.put(object())),
        (hmc.InvalidError, "another context", lambda: remote.put(other.allocate(8))),
        (hmc.InvalidError, "not contiguous", lambda: couple.here.register(np.zeros((4, 4))[:, ::2])),
        (hmc.InvalidError, "read-only", lambda: couple.here.register(b"abc", name="x")),
        (hmc.NotFoundError, "no region named", lambda: couple.peer.open("none")),
        (hmc.InvalidError, "is not an address", lambda: couple.here.connect("nowhere")),
        (hmc.NotFoundError, "", lambda: couple.here.connect("127.0.0.1:1")),
        (hmc.NotFoundError, "one of the names", lambda: couple.here.connect("127.0.0.1:1", via="carrier pigeon")),
        (hmc.NotFoundError, "one of the names", lambda: hmc.allocate(8, "nvidea")),
        (hmc.InvalidError, "negative", lambda: remote.put(b"1", timeout=-1)),
        (TypeError, "timeout is a number of seconds, not '5'", lambda: remote.put(b"1", timeout="5")),
        (TypeError, "notify is bytes, not 5", lambda: remote.put(b"1", notify=5)),
        (TypeError, "notify is bytes, not 'note'", lambda: remote.put(b"1", notify="note")),
        (TypeError, "a notification is bytes, not 5", lambda: remote.notify(5)),
        (TypeError, "a notification is bytes, not 'note'", lambda: remote.notify("note")),
        (TypeError, "secret is bytes, not 16", lambda: hmc.Context(secret=16)),
        (hmc.OutOfRangeError, "nbytes is -1", lambda: couple.here.allocate(-1)),
        (hmc.OutOfRangeError, "offset is -1", lambda: remote.put(b"1", -1)),
        (hmc.OutOfRangeError, "not between 0 and 2", lambda: remote.get(1, 1 << 70)),
        (hmc.OutOfRangeError, "more than the 4096", lambda: remote.get(1 << 50)),
        (hmc.OutOfRangeError, "block covers", lambda: remote.block((1 << 40, 1 << 40))),
        (hmc.InvalidError, "is not a memory", lambda: hmc.allocate(8, "sim:x")),
        (TypeError, "an address is", lambda: couple.here.connect(2025)),
        (TypeError, "holds Python objects", lambda: remote.put(np.array([object()]))),
        (TypeError, "holds Python objects", lambda: remote.put(np.zeros(2, [("OK", "i4"), ("x", "O")]))),
        (AttributeError, "no attribute 'Contxt'; did you mean 'Context'", lambda: hmc.Contxt),
        (hmc.InvalidError, "at least one byte", lambda: remote.put(b"1", notify=b"")),
        (hmc.InvalidError, "4 or 8 bytes", lambda: region.word(3)),
        (hmc.InvalidError, "rights are", lambda: couple.here.allocate(8, rights="x")),
        (hmc.DeadlineError, "is 0, not >= 5", lambda: region.word(0).wait(5, timeout=0.02)),
    ]
    for kind, text, call in cases:
        with pytest.raises(kind, match=text):
            call()
    read = couple.there.register(b"read only", name="read", rights="r")
    opened = couple.peer.open("read")
    assert opened.get() == b"read only" and read.memory_owner == b"read only"
    with pytest.raises(hmc.DeniedError, match="made it without HMC_REMOTE_WRITE") as caught:
        opened.put(b"x")
    assert "\"w\" HMC_REMOTE_WRITE" in caught.value.remedy
    # The text has it all: what, with whom, the status and the remedy.
    for part in ("read", str(couple.address), "(status=12)", caught.value.remedy):
        assert part in str(caught.value), part
    other.close()


def test_whole_numbers(couple):
    """Nothing is cut off: 1.5 is not an offset, and neither is 1.0."""
    region, remote = couple.far(4096)
    local = couple.here.allocate(64)
    array = np.array([[0.0, 0.0, 8.0]])
    calls = [lambda x: remote.put(b"abc", x), lambda x: remote.put_nb(b"abc", x), lambda x: remote.get(2, x),
             lambda x: remote.get(x), lambda x: remote.get_into(bytearray(2), x), lambda x: remote.get_into_nb(bytearray(2), x),
             lambda x: remote[x:4], lambda x: remote[0:x], lambda x: remote[0:4:x], lambda x: remote[x],
             lambda x: local[0:x], lambda x: remote.block((x, 2)), lambda x: remote.block((2, 2), offset=x),
             lambda x: remote.block((2, 2), itemsize=x), lambda x: remote.block((2, 2), strides=(x, 1)),
             lambda x: remote.fetch_add(x, 1), lambda x: remote.fetch_add(8, x), lambda x: remote.swap(8, 1, width=x),
             lambda x: remote.compare_swap(8, x, 1), lambda x: remote.signal(x), lambda x: remote.signal(8, add=x),
             lambda x: region.word(x), lambda x: region.word(8, x), lambda x: region.word(8).wait(x, timeout=0.1),
             lambda x: remote.batch(local, [(x, 0, 8)]), lambda x: remote.batch(local, [(0, x, 8)]),
             lambda x: remote.batch(local, [(0, 0, x)]), lambda x: couple.here.batch([local], [remote], [(0, 0, x, 0, 8)]),
             lambda x: couple.here.batch([local], [remote], [(x, 0, 0, 0, 8)]), lambda x: couple.here.allocate(x),
             lambda x: hmc.allocate(x, "cpu"), lambda x: hmc.allocate(8, ("sim", x)), lambda x: couple.here.listen("127.0.0.1", x)]
    for i, call in enumerate(calls):
        for number in (1.5, 1.0, "1"):
            with pytest.raises(TypeError, match="whole number"):
                print(i, call(number))
    for make in (lambda: remote.batch(local, array), lambda: couple.here.batch([local], [remote], np.zeros((1, 5)))):
        with pytest.raises(hmc.InvalidError, match="64-bit integers"):
            make()
    remote.batch(local, array.astype(np.int64)).put()
    for call in (lambda: remote.fetch_add(8, 1 << 64), lambda: remote.fetch_add(8, -(1 << 63) - 1),
                 lambda: remote.swap(8, 1 << 32, width=4), lambda: remote.compare_swap(8, -(1 << 31) - 1, 1, width=4),
                 lambda: remote.signal(8, set=1 << 64)):
        with pytest.raises(hmc.OutOfRangeError, match="does not fit into [48] bytes"):
            call()
    remote.swap(8, -1)
    assert remote.swap(8, -(1 << 31), width=4) == (1 << 32) - 1 and remote.fetch_add(8, 1 << 63) == (1 << 64) - (1 << 31)
    for call, text in ((lambda: remote.batch(bytearray(8), []), "takes a Region, .* not bytearray"),
                       (lambda: couple.here.connect("127.0.0.1:1", via=3), "or a ConnType, not 3"),
                       (lambda: hmc.log_to("hmc"), "method log, which str has not"),
                       (lambda: hmc.groups.init(name=5), "a str, not int")):
        with pytest.raises(TypeError, match=text):
            call()
    remote.put(b"ab", np.int32(5))  # what has __index__ is a number
    assert remote[np.int64(5):np.int8(7)].get() == b"ab"


def test_dates_travel(couple):
    region, remote = couple.far(4096)
    days = np.array(["2026-01-01", "2026-02-03"], "datetime64[D]")
    remote.put(days)
    assert bytes(memoryview(region)[:16]) == days.tobytes()


def test_arrays_outlive_their_context():
    context = hmc.Context("short")
    array = np.asarray(context.allocate(1 << 16, name="x"))
    lent = np.arange(10)
    region = context.register(lent, name="y")
    with pytest.raises(BufferError, match="still shown"):
        next(iter([context.allocate(64, name="z")])) and memoryview_and_close(context)
    context.close()
    array[:] = 7
    assert array.sum() == 7 << 16 and lent.sum() == 45 and region.is_closed
    del array
    gc.collect()


def memoryview_and_close(context):
    region = context.allocate(64, name="shown")
    view = memoryview(region)
    try:
        region.close()
    finally:
        view.release()


def test_registered_memory_is_held():
    context = hmc.Context("holder")
    region = context.register(np.full(1 << 16, 3, np.uint8), name="held")
    gc.collect()
    assert int(np.asarray(region).sum()) == 3 << 16
    context.close()


PEER = """
import sys, hmc
context = hmc.Context("victim")
region = context.allocate(64 << 20, name="far")
print(context.listen("127.0.0.1:0"), flush=True)
sys.stdin.readline()
"""


class Victim:
    """A context in another process, to be stopped and killed."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        self.address = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.process.kill()
        self.process.communicate()

    def stand_still(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)


def test_a_peer_that_dies():
    with Victim() as victim, hmc.Context("here", timeout=20) as context:
        remote = context.connect(victim.address, via="tcp").open("far")
        victim.stand_still()
        requests = [remote.put_nb(np.zeros(1 << 20, np.uint8), i << 20) for i in range(32)]
        assert not all(each.done() for each in requests)
        victim.process.kill()
        with pytest.raises(hmc.PeerLostError) as caught:
            hmc.wait_all(requests)
        assert isinstance(caught.value, ConnectionError) and caught.value.peer == victim.address
        assert requests[31].exception() is not None


def test_deadlines_and_cancel():
    with Victim() as victim, hmc.Context("here", timeout=20) as context:
        remote = context.connect(victim.address, via="tcp").open("far")
        victim.stand_still()
        big = np.zeros(64 << 20, np.uint8)
        with pytest.raises(hmc.DeadlineError) as caught:
            remote.put(big, timeout=0.1)
        assert isinstance(caught.value, TimeoutError)
        request = remote.put_nb(big)
        with pytest.raises(hmc.DeadlineError):
            request.wait(timeout=0.05)
        assert request.status == hmc.status_t.IN_PROGRESS and request.cancel()
        with pytest.raises(hmc.OperationCancelledError):
            request.result()
        os.kill(victim.process.pid, signal.SIGCONT)
        remote.put(b"goes on")


def test_close_under_a_waiting_thread():
    with Victim() as victim:
        context = hmc.Context("here", timeout=60)
        remote = context.connect(victim.address, via="tcp").open("far")
        victim.stand_still()
        seen = []

        def wait():
            try:
                remote.put(np.zeros(64 << 20, np.uint8))
            except hmc.HMCStatusError as error:
                seen.append(error)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for each in threads:
            each.start()
        while len([each for each in threads if each.is_alive()]) < 3:
            time.sleep(0.001)
        time.sleep(0.05)
        context.close()
        for each in threads:
            each.join(30)
        assert len(seen) == 3


def test_close_under_busy_threads():
    with hmc.Context("there") as there:
        there.allocate(1 << 20, name="far")
        address = there.listen("127.0.0.1:0")
        for _ in range(40):
            context = hmc.Context("here", timeout=60)
            remote = context.connect(str(address), via="tcp").open("far")
            ended = []

            def move():
                data = np.zeros(200_000, np.uint8)
                try:
                    while True:
                        remote.put(data)
                except hmc.HMCStatusError as error:
                    ended.append(error)

            threads = [threading.Thread(target=move) for _ in range(4)]
            for each in threads:
                each.start()
            time.sleep(0.01)
            context.close()
            for each in threads:
                each.join(60)
            assert len(ended) == 4


def test_close_beside_busy_threads(tcp_couple):
    """A close of a remote region, a region or a peer ends, and lets nobody in, although threads go on using it."""
    region, remote = tcp_couple.far(4096)
    mine = tcp_couple.here.allocate(4096)
    batch = remote.batch(mine, [(0, 0, 8)])
    ended = []

    def go_on(call):
        try:
            while True:
                call()
        except hmc.HMCStatusError as error:
            ended.append(error)

    def use(*calls):
        del ended[:]
        threads = [threading.Thread(target=go_on, args=(call,)) for call in calls * 4]
        for each in threads:
            each.start()
        time.sleep(0.1)
        return threads

    def close(thing, threads):
        begin = time.monotonic()
        thing.close()
        for each in threads:
            each.join(30)
        assert len(ended) == len(threads) and all(isinstance(each, hmc.ClosedError) or isinstance(
            each, hmc.OperationCancelledError) for each in ended), ended
        assert time.monotonic() - begin < 20

    close(mine, use(lambda: remote.put(mine), batch.put, lambda: mine.word(0).wait(1, timeout=60),
                    lambda: remote.put_nb(mine).wait()))
    close(remote, use(lambda: remote.put(b"x"), lambda: remote.get(100), lambda: remote.fetch_add(0, 1),
                      lambda: remote.put_nb(b"x" * 100000).wait() if remote.nbytes > 99999 else remote.notify(b"x")))
    peer = tcp_couple.peer
    close(peer, use(lambda: peer.open("far").put(b"x"), peer.flush, peer.explain))
    assert mine.is_closed and not peer.is_connected


def others_sleep():
    """Whether no other thread of this process has a processor, or waits for one."""
    states = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open("/proc/self/task/%s/stat" % thread) as file:
                states.append(int(thread) == threading.get_native_id() or file.read().rpartition(")")[2].split()[0] == "S")
        except OSError:
            pass  # it has ended
    return all(states)


def fork_at_rest():
    """The allocator of a sanitizer does not survive a fork while another thread is in it."""
    deadline = time.monotonic() + 10
    while not others_sleep() and time.monotonic() < deadline:
        time.sleep(0.001)
    return os.fork()


def test_fork(tcp_couple):
    region, remote = tcp_couple.far(4096)
    remote.put(b"before")
    child = fork_at_rest()
    if not child:
        status = 1
        try:
            remote.put(b"child")
        except hmc.ForkedError:
            try:
                tcp_couple.here.allocate(8)
            except hmc.UnsupportedError:
                tcp_couple.here.close()
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 if hasattr(os, "waitstatus_to_exitcode") else True
    remote.put(b"after!")
    assert remote[0:6].get() == b"after!"


def test_fork_while_others_are_inside(tcp_couple):
    """Who was inside in the parent never leaves in the child: nothing there waits for that, and all can be shown."""
    region, remote = tcp_couple.far(4096)
    mine, here, peer = tcp_couple.here.allocate(64), tcp_couple.here, tcp_couple.peer
    seen = []

    def wait():
        try:
            mine.word(0).wait(1, timeout=60)
        except hmc.HMCError as error:
            seen.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    child = fork_at_rest()
    if not child:
        status = 1
        try:
            signal.alarm(20)
            shown = repr([here, peer, region, remote, mine])
            assert "of the parent process" in shown and not peer.is_connected, shown
            with pytest.raises(hmc.ForkedError):
                here.flush()
            for each in (mine, remote, peer, here):
                each.close()
                each.close()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    remote.put(b"goes on")
    mine.close()
    thread.join(30)
    assert len(seen) == 1 and isinstance(seen[0], hmc.ClosedError)


def test_nothing_is_copied_or_pickled(couple):
    region, remote = couple.far(4096)
    mine = couple.here.allocate(64)
    session = hmc.create_session(buffer_size=4096)
    things = [couple.here, couple.peer, region, remote, mine, remote.batch(mine, [(0, 0, 8)]), remote[0:8], mine[0:8],
              couple.here.batch([mine], [remote], [(0, 0, 0, 0, 8)]), remote.put_nb(b"x"), remote.signal(0), mine.word(0),
              hmc.allocate(64, "cpu"), session.buf, session]
    for each in things:
        for way in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot be copied or pickled: make one where it is used"):
                way(each)


def test_no_arrays_of_objects(couple):
    """numpy makes an object of each byte of what has a length and no buffer."""
    region, remote = couple.far(4096)
    device, gone = couple.here.allocate(64, memory="sim"), couple.here.allocate(64)
    gone.close()
    for kind, text, thing in ((TypeError, "at its owner", remote), (TypeError, "at its owner", remote[0:8]),
                              (TypeError, "for operations", region[0:8]), (BufferError, "use hmc.copy", device),
                              (BufferError, "hmc.copy brings sim:0", hmc.allocate(64, "sim")), (hmc.ClosedError, "closed", gone)):
        with pytest.raises(kind, match=text):
            print(np.asarray(thing))
    assert np.asarray(region).nbytes == 4096


def test_many_threads(couple):
    region, remote = couple.far(1 << 20)
    wrong = []

    def work(number):
        try:
            mine = np.full(1000, number, np.uint8)
            back = np.zeros(1000, np.uint8)
            for i in range(60):
                remote.put(mine, number * 1000)
                remote.put_nb(mine, number * 1000).wait()
                remote.get_into(back, number * 1000)
                assert (back == number).all()
                remote.fetch_add(1 << 19, 1)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong and region.word(1 << 19).value == 480


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_nothing_leaks():
    """Objects and descriptors are back where they were after many sessions, in the face of errors."""

    def session():
        with hmc.Context("a") as a, hmc.Context("b") as b:
            b.allocate(4096, name="far")
            remote = a.connect(str(b.listen("127.0.0.1:0")), via="tcp").open("far")
            remote.put(b"1" * 100, notify=b"note")
            b.notification(timeout=10)
            remote.put_nb(np.zeros((30, 30), np.uint8)[:, ::2])
            for wrong in (lambda: remote.put(b"x", 5000), lambda: a.register(b"")):
                with pytest.raises(hmc.HMCError):
                    wrong()

    for _ in range(3):
        session()
    gc.collect()
    objects, files = len(gc.get_objects()), descriptors()
    for _ in range(10 if SANITIZED else 40):
        session()
    gc.collect()
    assert descriptors() <= files and len(gc.get_objects()) < objects + 100


def test_garbage_in_cycles(tcp_couple):
    """What the collector finds in a cycle gives back what it had, in the right order, like what ends by itself."""
    region, remote = tcp_couple.far(1 << 16)
    local = tcp_couple.here.allocate(1 << 16)
    pieces = np.zeros((100000, 3), np.uint64)
    pieces[:, 2] = 1

    def leave_behind():
        here, there = hmc.Context("here"), hmc.Context("there")
        there.register(np.zeros(1 << 20, np.uint8), name="x")
        peer = here.connect(str(there.listen("127.0.0.1:0")), via="tcp")
        other = peer.open("x")
        request = other.get_into_nb(bytearray(1 << 20))
        batches = remote.batch(local, pieces), tcp_couple.here.batch([local], [remote], np.zeros((5, 5), np.uint64))
        cycle = [here, there, peer, other, request, here.allocate(64), here.register(bytearray(64)), batches]
        cycle.append(cycle)

    def resident():
        gc.collect()
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(3):
        leave_behind()
    files, before = descriptors(), resident()
    for _ in range(3 if SANITIZED else 30):
        leave_behind()
        gc.collect()
    assert descriptors() <= files
    assert SANITIZED or resident() - before < 40 << 20  # 30 batches are 72 MB
    remote.put(b"goes on")


def test_import_is_light():
    code = textwrap.dedent("""
        import sys, time
        begin = time.process_time()  # a busy machine makes the clock on the wall say more
        import hmc
        took = time.process_time() - begin
        hmc.Context
        print(took, any(name in sys.modules for name in ("numpy", "torch", "asyncio")))
    """)
    took = []
    for _ in range(5):
        seconds, heavy = subprocess.check_output([sys.executable, "-c", code], text=True).split()
        assert heavy == "False"
        took.append(float(seconds))
    assert min(took) < (1 if SANITIZED else 0.06), took


def run_main(*words):
    return subprocess.run([sys.executable, "-m", "hmc", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=100)


def test_main():
    """`python -m hmc TOOL` is that tool, with its options and its exit status."""
    for tool, program in (("info", "hmc-info"), ("doctor", "hmc-doctor"), ("perf", "hmc-perf"), ("top", "hmc-top"),
                          ("store", "hmc-store"), ("demo", "hmc-demo"), ("run", "hmcrun")):
        done = run_main(tool, "--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, hmc.version() + "\n", "")
        command = os.path.join(os.path.dirname(sys.executable), program)    # as pip installs it
        assert subprocess.check_output([command, "--version"], text=True, timeout=100) == done.stdout
        assert "%s)" % program in run_main("--help").stdout
    assert "tcp      yes" in run_main("info").stdout and "cpu      1 device\n" in run_main("info").stdout
    assert "HMC_TIMEOUT" in run_main("info", "--config").stdout
    assert run_main("run", "-n", "2", "sh", "-c", "exit 7").returncode == 7
    assert "hmc %s, library " % hmc.version() in run_main("--version").stdout


def test_main_without_tools(tmp_path):
    """Where the package has no tools of its own, the system's serve, but never pip's scripts, which lead back."""
    from hmc import __main__
    here, __main__.FOLDER = __main__.FOLDER, str(tmp_path)
    path = os.environ["PATH"]
    try:
        os.environ["PATH"] = os.path.dirname(sys.executable)
        assert __main__.find("hmc-info") is None
        with pytest.raises(SystemExit, match="hmc-info is neither in .* nor in a folder of PATH"):
            __main__.start("info", [])
        os.environ["PATH"] += os.pathsep + os.path.join(here, "bin")
        assert __main__.find("hmc-info") == os.path.join(here, "bin", "hmc-info")
    finally:
        os.environ["PATH"], __main__.FOLDER = path, here


def test_help():
    """help(hmc) imports what dir() lists: nothing of that needs a package that is not there."""
    code = "import sys; sys.modules['torch'] = sys.modules['numpy'] = None; import hmc, pydoc; print(pydoc.render_doc(hmc))"
    assert "moves bytes between any two memories" in subprocess.check_output([sys.executable, "-c", code], text=True, timeout=100)


def test_main_without_traceback():
    """What is mistyped or does not work here is said in a line or two; Ctrl-C ends it as it ends the tool."""
    for words, code, text in ((["inof"], 2, "there is no tool 'inof'; did you mean 'info'?"), ([], 2, "Usage: python -m hmc TOOL"),
                              (["perf", "--self", "--transport", "smh"], 2, "smh"), (["info", "--conifg"], 2, "--conifg"),
                              (["perf", "--self", "--memory", "sim:77"], 1, "sim memory has no device 77")):
        done = run_main(*words)
        assert done.returncode == code and text in done.stderr and "Traceback" not in done.stderr, (words, done)
    with subprocess.Popen([sys.executable, "-m", "hmc", "store"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
        other.stdout.readline()         # its address
        other.send_signal(signal.SIGINT)
        assert "Traceback" not in other.communicate(timeout=100)[1] and other.returncode == 0


def test_log(caplog):
    caplog.set_level("DEBUG", "hmc")
    hmc.log_to(level="debug")
    try:
        with hmc.Context("logged") as a, hmc.Context("peer") as b:
            with a.connect(str(b.listen("127.0.0.1:0"))):
                pass
        deadline = time.monotonic() + 20
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        assert any(each.name == "hmc" for each in caplog.records)
    finally:
        hmc.log_to(False)


def test_every_name():
    """What the package says it has, it has, with a docstring; and its exceptions are those of the C library's list."""
    for name in hmc.__all__:
        assert getattr(hmc, name) is not None, name
        assert name in dir(hmc)
    for each in hmc.status_t:
        error = hmc.errors.from_status(each, "text")
        assert error.status == each and str(error).startswith("text (status=%d)" % each)
    with pytest.raises(AttributeError):
        hmc.no_such_name
