"""Ctrl-C: every call that can block ends at once, and what it was called on works afterwards.

A program of its own, so that the signal is its alone. Another one stands still (SIGSTOP) while it is called, so that
nothing comes of the calls by itself.
"""

import os
import pathlib
import socket
import subprocess
import sys
import textwrap

import pytest

TESTS = str(pathlib.Path(__file__).resolve().parents[1])
sys.path.insert(0, TESTS)

from ports import free_port  # noqa: E402

LIMIT = 20  # seconds from the signal to the exception; 0.1 s on a machine of one's own, which the program prints

PEER = """
import sys, hmc
context = hmc.Context("victim")
region = context.allocate(16 << 20, name="far")
memory = bytearray(16 << 20)
registered = context.register(memory, name="registered")
print(context.listen("127.0.0.1:0"), flush=True)
sys.stdin.readline()
"""

# What both kinds of programs begin with: interrupted(call) says that Ctrl-C ended it, and when.
BEGIN = """
import os, signal, socket, sys, threading, time
import hmc
signal.signal(signal.SIGINT, signal.default_int_handler)   # a program in the background has it ignored
took = {}

def interrupted(name, call):
    sent, begun = [], threading.Event()
    def interrupt():
        begun.wait()
        time.sleep(0.1)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        begun.set()     # the signal may come from here on, and not while the thread starts
        call()
    except KeyboardInterrupt:
        took[name] = time.monotonic() - sent[0]
        return
    sys.exit("%s was not interrupted" % name)

def nobody():
    # A port that is listened on, and answers nothing.
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", 0))
    deaf.listen(8)
    return deaf, deaf.getsockname()[1]

def stand_still(process):
    os.kill(process, signal.SIGSTOP)
    def is_running(task):
        with open("/proc/%d/task/%s/stat" % (process, task)) as file:
            return file.read().rpartition(")")[2].split()[0] != "T"
    while any(map(is_running, os.listdir("/proc/%d/task" % process))):
        time.sleep(0.01)

def ends_when_closed(call, what):
    # Another thread's short call ends when what it uses is closed here.
    ended = []
    def run():
        try:
            call()
        except hmc.HMCStatusError as error:
            ended.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.1)
    begin = time.monotonic()
    what.close()
    thread.join()
    assert ended and time.monotonic() - begin < LIMIT, ended

def end():
    late = {name: round(seconds, 3) for name, seconds in took.items()}
    print("interrupted", len(took), "latest", max(late.items(), key=lambda each: each[1]), late, flush=True)
    if max(took.values()) > LIMIT:
        sys.exit("late: %r" % late)
"""

OBJECTS = """
address, victim, via = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = hmc.Context("here", timeout=100)
deaf, port = nobody()
interrupted("connect to nobody who answers", lambda: context.connect("127.0.0.1", port))
peer = context.connect(address, via=via)
remotes = {name: peer.open(name) for name in ("far", "registered")}
spare = {name: peer.open(name) for name in ("far", "registered")}
own = context.allocate(4 << 20)
big = bytearray(4 << 20)
word = context.allocate(64).word(0)
slow = [each for each in remotes.values() if not each.is_mapped_here]
interrupted("accept", lambda: context.accept())
interrupted("notification", lambda: context.notification())
interrupted("word", lambda: word.wait(1))
stand_still(victim)
interrupted("open", lambda: peer.open("nowhere"))
interrupted("connect to one that stands still", lambda: context.connect(address))
for remote in slow:
    blocks = remote.batch(own, [(0, 0, 1 << 20), (2 << 20, 2 << 20, 1 << 20)])
    several = context.batch([own], [remote], [(0, 0, 0, 0, 4 << 20)])
    interrupted("put " + remote.name, lambda: remote.put(big))
    interrupted("short put " + remote.name, lambda: remote.put(b"12345678"))
    interrupted("progress " + remote.name, lambda: remote[0:len(big)].put(big, progress=lambda done: None))
    interrupted("batch.put " + remote.name, lambda: blocks.put())
    interrupted("batch of several " + remote.name, lambda: several.start())
    if via == "tcp":    # within a host the caller reads by itself, whatever the owner does
        interrupted("get " + remote.name, lambda: remote.get(4 << 20))
        interrupted("get_into " + remote.name, lambda: remote.get_into(big))
        interrupted("short get " + remote.name, lambda: remote.get(8))
        interrupted("fetch_add " + remote.name, lambda: remote.fetch_add(0, 1))
    request = remote.put_nb(big)
    interrupted("wait " + remote.name, lambda: request.wait())
    interrupted("exception " + remote.name, lambda: request.exception())
    interrupted("wait_all " + remote.name, lambda: hmc.wait_all([request]))
    interrupted("wait_any " + remote.name, lambda: hmc.wait_any([request]))
    interrupted("flush " + remote.name, lambda: context.flush())
    interrupted("peer.flush " + remote.name, lambda: peer.flush())
    assert request.cancel()
    ends_when_closed(lambda: spare[remote.name].put(b"12345678"), spare[remote.name])
os.kill(victim, signal.SIGCONT)
for remote in remotes.values():
    remote.put(b"still usable")
    assert remote[0:12].get() == b"still usable"
assert peer.open("far").nbytes == 16 << 20
context.close()
end()
"""

SESSIONS = """
sess = hmc.create_session(buffer_size=1 << 20, local_ip="127.0.0.1")
other = hmc.create_session(buffer_size=1 << 20, local_ip="127.0.0.1")
sys.path.insert(0, TESTS)
from ports import free_port
ucx, rdma, ctrl = free_port(), free_port(), free_port()
deaf, port = nobody()
auto = hmc.ConnType.AUTO
link = hmc.CtrlLink(); link.ip, link.port = "127.0.0.1", free_port()
mute = hmc.CtrlLink(); mute.ip, mute.port = "127.0.0.1", port
interrupted("connectTo", lambda: sess.comm.connectTo("127.0.0.1", port, auto))
interrupted("connectCtrl to nobody", lambda: sess.comm.connectCtrl(1, 0, link))
interrupted("connectCtrl to one that says nothing", lambda: sess.comm.connectCtrl(1, 0, mute))
interrupted("connectTo with a link", lambda: sess.comm.connectTo(1, 0, "127.0.0.1", port, mute, auto))
interrupted("Session.connect", lambda: sess.connect(peer_id=1, self_id=0, peer_ip="127.0.0.1", data_port=ucx,
                                                    ctrl_tcp_port=free_port(), uds_dir="/tmp/hmc-test-none", conn=auto))
other.init_server(bind_ip="127.0.0.1", ucx_port=ucx, rdma_port=rdma, ctrl_tcp_port=ctrl, self_id=1, ctrl_uds_dir="")
interrupted("recv_data_from", lambda: other.recv_data_from("127.0.0.1", 0, bytearray(8), 8, hmc.MemoryType.CPU, None, auto))
interrupted("ctrl_recv", lambda: other.ctrl_recv(0))
interrupted("ctrl_send", lambda: other.ctrl_send(0, 1))
link.port = ctrl
assert sess.comm.connectTo(1, 0, "127.0.0.1", ucx, link, auto) == hmc.status_t.SUCCESS
interrupted("send_data_to", lambda: sess.send_data_to("127.0.0.1", ucx, b"12345678", 8, hmc.MemoryType.CPU, auto))
# All of it works afterwards.
assert sess.buf.put(b"still usable") == 12
sess.put_remote("127.0.0.1", ucx, 0, 100, 12, auto)
assert bytes(other.buf.buffer_get_cpu(nbytes=12, offset=100)) == b"still usable"
sess.ctrl_send(1, 42)
assert other.ctrl_recv(0) == 42
took_data = bytearray(8)
receiver = threading.Thread(target=other.recv_data_from, args=("127.0.0.1", 0, took_data, 8, hmc.MemoryType.CPU, None, auto))
receiver.start()
sess.send_data_to("127.0.0.1", ucx, b"12345678", 8, hmc.MemoryType.CPU, auto)
receiver.join()
assert took_data == b"12345678"
sess.close(); other.close()
end()
"""

RANK = """
import numpy as np
group = hmc.groups.init(timeout=100)
if group.rank == 1:
    interrupted("barrier", group.barrier)
    try:
        group.all_reduce(np.ones(4))
        sys.exit("a group out of step went on")
    except hmc.OperationCancelledError as error:
        assert "out of step" in str(error) and "KeyboardInterrupt" in str(error), error
print("half", flush=True)
sys.stdin.readline()
group.close()
with hmc.groups.init(timeout=100, name="again") as group:
    array = np.ones(1000)
    group.all_reduce(array)
    assert (array == group.world).all()
    group.barrier()
print("usable", flush=True)
"""


def run(program, *arguments):
    done = subprocess.run([sys.executable, "-c", BEGIN.replace("LIMIT", str(LIMIT)) + textwrap.dedent(program), *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    print(done.stdout)
    return done.stdout


@pytest.mark.parametrize("via", ["shm", "tcp"])
def test_objects(via):
    victim = subprocess.Popen([sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        address = victim.stdout.readline().strip()
        assert run(OBJECTS, address, str(victim.pid), via).startswith("interrupted")
    finally:
        victim.kill()
        victim.communicate()


def test_sessions():
    assert run(SESSIONS.replace("TESTS", repr(TESTS))).startswith("interrupted")


def test_groups():
    """A rank that waits for others in vain; the group is out of step, and a new one works."""
    port = free_port()
    ranks = [subprocess.Popen([sys.executable, "-c", BEGIN.replace("LIMIT", str(LIMIT)) + RANK], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                                       MASTER_PORT=str(port))) for rank in range(2)]
    try:
        for each in ranks:
            assert each.stdout.readline() == "half\n", each.communicate()
        for each in ranks:
            each.stdin.write("\n")
            each.stdin.flush()
        for each in ranks:
            out, err = each.communicate(timeout=120)
            assert each.returncode == 0 and out == "usable\n", err
    finally:
        for each in ranks:
            each.kill()
            each.wait()


def test_the_signal_is_seen_at_once_in_a_with_block():
    """Leaving the block closes the context, which must not wait for the call that was interrupted."""
    program = """
        deaf, port = nobody()
        def body():
            with hmc.Context("here", timeout=1000) as context:
                context.connect("127.0.0.1", port)
        interrupted("with", body)
        end()
    """
    assert run(program).startswith("interrupted 1")

