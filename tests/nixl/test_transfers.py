"""NIXL's Python API: transfers, notifications, deaths. The same calls over the wheel's own UCX backend, over our plug-in, and
over hmc.compat.nixl, with the same answers: a difference shows as a case that passes for one only.
"""

import os
import signal
import subprocess
import sys
import time

import numpy
import pytest

from ends import BLOCK, BLOCKS, PATIENCE, End, Pair, bindings, nixl_agent, nixl_agent_config, notes_of, settle


def test_backend_is_known(backend):
    agent = nixl_agent("one", nixl_agent_config(backends=[backend]))
    assert backend in agent.get_plugin_list()
    assert "DRAM_SEG" in agent.get_backend_mem_types(backend)
    assert isinstance(agent.get_backend_params(backend), dict)
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.create_backend(backend)


def test_write_and_read(pair):
    pair.here.fill(1)
    handle = pair.transfer("WRITE", range(BLOCKS), range(BLOCKS))
    assert settle(pair.here.agent, handle) == "DONE"
    assert (pair.there.memory == pair.here.memory).all()
    pair.there.fill(2)
    back = pair.transfer("READ", range(BLOCKS), range(BLOCKS))
    assert settle(pair.here.agent, back) == "DONE"
    assert (pair.there.memory == pair.here.memory).all()
    for each in (handle, back):
        pair.here.agent.release_xfer_handle(each)


def test_scattered_blocks_land_where_they_belong(pair):
    pair.here.fill(3)
    order = numpy.random.default_rng(4).permutation(BLOCKS)
    assert settle(pair.here.agent, pair.transfer("WRITE", range(BLOCKS), order)) == "DONE"
    for mine, theirs in enumerate(order):
        assert (pair.there.block(theirs) == pair.here.block(mine)).all()


@pytest.mark.parametrize("operation", ["WRITE", "READ"])
def test_notification_comes_after_the_bytes(pair, operation):
    source, sink = (pair.here, pair.there) if operation == "WRITE" else (pair.there, pair.here)
    for round in range(20):
        source.fill(100 + round)
        note = b"round \x00\xff %d" % round
        handle = pair.transfer(operation, range(BLOCKS), range(BLOCKS), note)
        state = pair.here.agent.transfer(handle)
        if operation == "WRITE":
            pair.here.agent.check_xfer_state(handle)
            deadline = time.monotonic() + PATIENCE
            while True:
                got = pair.there.agent.get_new_notifs().get("here", [])
                if got:
                    break
                state = pair.here.agent.check_xfer_state(handle)
                assert time.monotonic() < deadline
            assert got == [note]
            assert (sink.memory == source.memory).all()
        assert settle(pair.here.agent, handle, state) == "DONE"
        if operation == "READ":
            assert (sink.memory == source.memory).all()
            assert notes_of(pair.there.agent, 1) == [note]
        pair.here.agent.release_xfer_handle(handle)


def test_repost_sends_again(pair):
    handle = pair.transfer("WRITE", [0], [0], b"again")
    for value in range(5):
        pair.here.block(0)[:] = value + 1
        assert settle(pair.here.agent, handle) == "DONE"
        assert notes_of(pair.there.agent, 1) == [b"again"]
        assert (pair.there.block(0) == value + 1).all()


def test_prepared_lists_by_index(pair):
    agent = pair.here.agent
    local = agent.prep_xfer_dlist("NIXL_INIT_AGENT", pair.here.blocks(range(BLOCKS)), "DRAM")
    remote = agent.prep_xfer_dlist("there", pair.there.blocks(range(BLOCKS)), "DRAM")
    pair.here.fill(5)
    picked = numpy.array([3, 9, 1, 40], dtype=numpy.int64)
    placed = numpy.array([7, 2, 63, 0], dtype=numpy.int64)
    handle = agent.make_prepped_xfer("WRITE", local, picked, remote, placed, b"picked")
    assert settle(agent, handle) == "DONE"
    for mine, theirs in zip(picked, placed):
        assert (pair.there.block(theirs) == pair.here.block(mine)).all()
    assert notes_of(pair.there.agent, 1) == [b"picked"]
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.make_prepped_xfer("WRITE", local, [BLOCKS], remote, [0])
    agent.release_xfer_handle(handle)
    agent.release_dlist_handle(local)
    agent.release_dlist_handle(remote)


def test_strided_lists(pair):
    agent = pair.here.agent
    rows = lambda end: numpy.array([[end.address(0), 1024, 0, BLOCK, BLOCKS]], dtype=numpy.uint64)  # noqa: E731
    try:
        local = agent.prep_xfer_dlist("NIXL_INIT_AGENT", rows(pair.here), "DRAM")
    except TypeError:
        return  # this NIXL is older than strided lists
    remote = agent.prep_xfer_dlist("there", rows(pair.there), "DRAM")
    pair.here.fill(6)
    every = numpy.arange(BLOCKS, dtype=numpy.int64)
    assert settle(agent, agent.make_prepped_xfer("WRITE", local, every, remote, every)) == "DONE"
    for number in range(BLOCKS):
        assert (pair.there.block(number)[:1024] == pair.here.block(number)[:1024]).all()
        assert not pair.there.block(number)[1024:].any()


def test_notifications_of_their_own(pair):
    sent = [b"", b"plain", bytes(range(256)), b"x" * 3000]
    for note in sent:
        pair.here.agent.send_notif("there", note)
    assert sorted(notes_of(pair.there.agent, len(sent))) == sorted(sent)
    with pytest.raises(bindings.nixlNotFoundError):
        pair.here.agent.send_notif("nobody", b"")


def test_loopback(backend):
    end = End("self", backend)
    end.fill(7)
    agent = end.agent
    local = agent.get_xfer_descs(end.blocks(range(8)), "DRAM")
    remote = agent.get_xfer_descs(end.blocks(range(8, 16)), "DRAM")
    assert settle(agent, agent.initialize_xfer("WRITE", local, remote, "self", b"to me")) == "DONE"
    assert (end.memory[:8 * BLOCK] == end.memory[8 * BLOCK:16 * BLOCK]).all()
    assert notes_of(agent, 1, "self") == [b"to me"]


def test_bad_calls(pair):
    agent = pair.here.agent
    with pytest.raises(bindings.nixlNotFoundError):
        stray = numpy.zeros(BLOCK, dtype=numpy.uint8)
        agent.initialize_xfer("WRITE", agent.get_xfer_descs([(stray.ctypes.data, BLOCK, 0)], "DRAM"),
                              agent.get_xfer_descs(pair.there.blocks([0]), "DRAM"), "there")
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.initialize_xfer("WRITE", agent.get_xfer_descs(pair.here.blocks([0, 1]), "DRAM"),
                              agent.get_xfer_descs(pair.there.blocks([0]), "DRAM"), "there")
    with pytest.raises(bindings.nixlNotPostedError):
        agent.check_xfer_state(pair.transfer("WRITE", [0], [0]))
    agent.remove_remote_agent("there")
    with pytest.raises(bindings.nixlNotFoundError):
        pair.transfer("WRITE", [0], [0])


def test_memory_registered_later(pair):
    later = numpy.zeros(BLOCK, dtype=numpy.uint8)
    descriptors = pair.there.agent.get_reg_descs([(later.ctypes.data, BLOCK, 0, "")], "DRAM")
    pair.there.agent.register_memory(descriptors)
    pair.here.agent.add_remote_agent(pair.there.agent.get_agent_metadata())
    pair.here.fill(8)
    agent = pair.here.agent
    handle = agent.initialize_xfer("WRITE", agent.get_xfer_descs(pair.here.blocks([5]), "DRAM"),
                                   agent.get_xfer_descs([(later.ctypes.data, BLOCK, 0)], "DRAM"), "there")
    assert settle(agent, handle) == "DONE"
    assert (later == pair.here.block(5)).all()
    pair.there.agent.deregister_memory(descriptors)


def test_many_descriptors_over_many_regions(backend):
    pair = Pair(backend)
    ends, extra = (pair.here, pair.there), []
    for end in ends:
        arrays = [numpy.zeros(BLOCK * 4, dtype=numpy.uint8) for _ in range(32)]
        end.agent.register_memory([(array.ctypes.data, array.size, 0, "") for array in arrays], "DRAM")
        extra.append(arrays)
    pair.here.agent.add_remote_agent(pair.there.agent.get_agent_metadata())
    for number, array in enumerate(extra[0]):
        array[:] = number + 1
    lists = [[(array.ctypes.data + at * BLOCK, BLOCK, 0) for array in arrays for at in (2, 0, 3, 1)] for arrays in extra]
    agent = pair.here.agent
    handle = agent.initialize_xfer("WRITE", agent.get_xfer_descs(lists[0], "DRAM"),
                                   agent.get_xfer_descs(lists[1], "DRAM"), "there", b"all of them")
    assert settle(agent, handle) == "DONE"
    assert notes_of(pair.there.agent, 1) == [b"all of them"]
    for number, array in enumerate(extra[1]):
        assert (array == number + 1).all()


OTHER = """
import os, sys, time
sys.path.insert(0, %r)
import ends
end = ends.End("there", sys.argv[1])
end.fill(9)
print(end.agent.get_agent_metadata().hex(), end.address(0), flush=True)
time.sleep(600)
"""


def test_killed_agent_is_a_disconnect(backend):
    here = End("here", backend)
    with subprocess.Popen([sys.executable, "-c", OTHER % os.path.dirname(os.path.abspath(__file__)), backend],
                          stdout=subprocess.PIPE, text=True) as other:
        try:
            metadata, address = other.stdout.readline().split()
            here.agent.add_remote_agent(bytes.fromhex(metadata))
            agent = here.agent
            theirs = agent.get_xfer_descs([(int(address), BLOCK, 0)], "DRAM")
            handle = agent.initialize_xfer("READ", agent.get_xfer_descs(here.blocks([0]), "DRAM"), theirs, "there")
            assert settle(agent, handle) == "DONE"
            other.send_signal(signal.SIGKILL)
            other.wait()
            with pytest.raises(bindings.nixlRemoteDisconnectError):
                deadline = time.monotonic() + PATIENCE
                while time.monotonic() < deadline:
                    settle(agent, handle)
        finally:
            other.kill()
