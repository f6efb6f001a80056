"""NIXL's Python API call by call: what each answers and raises, over whichever NIXL and backend (see ends.py)."""

import pickle
import time

import numpy
import pytest

import nixl
from nixl import _api, _utils
from ends import BLOCK, BLOCKS, PATIENCE, PLUGINS, End, Pair, bindings, nixl_agent, nixl_agent_config, notes_of, settle

DRAM, VRAM = bindings.DRAM_SEG, bindings.VRAM_SEG
XferList, RegList = bindings.nixlXferDList, bindings.nixlRegDList
ours = pytest.mark.skipif(PLUGINS is not None, reason="it looks into hmc.compat.nixl")


# ---- the package


def test_names_that_programs_import():
    for name in ("nixl_agent", "nixl_agent_config", "nixl_xfer_handle", "nixl_prepped_dlist_handle", "nixl_thread_sync_t",
                 "nixl_backend_handle", "DEFAULT_COMM_PORT", "nixlBind"):
        assert hasattr(_api, name)
    for name in ("Cancelled", "Backend", "InvalidParam", "Mismatch", "NoTelemetry", "NotAllowed", "NotFound", "NotPosted",
                 "NotSupported", "RemoteDisconnect", "RepostActive", "Unknown"):
        kind = getattr(bindings, "nixl%sError" % name)
        assert kind.__mro__[1] is Exception and getattr(nixl, kind.__name__) is kind
    assert _api.nixlBind is bindings and bindings.NIXL_INIT_AGENT == "" and bindings.DEFAULT_COMM_PORT == 8888
    assert nixl.nixl_agent is nixl_agent and isinstance(bindings.HAVE_UCX_GPU_DEVICE_API, bool)


def test_values():
    kinds = bindings.nixl_mem_t.__members__
    assert [int(kinds[name + "_SEG"]) for name in ("DRAM", "VRAM", "BLK", "OBJ", "FILE")] == [0, 1, 2, 3, 4]
    assert int(bindings.NIXL_IN_PROG) == 1 and int(bindings.NIXL_SUCCESS) == 0
    for value, name in enumerate(("NOT_POSTED", "INVALID_PARAM", "BACKEND", "NOT_FOUND", "MISMATCH", "NOT_ALLOWED",
                                  "REPOST_ACTIVE", "UNKNOWN", "NOT_SUPPORTED"), 1):
        assert int(getattr(bindings, "NIXL_ERR_" + name)) == -value
    assert bindings.NIXL_ERR_NOT_FOUND.name == "NIXL_ERR_NOT_FOUND"
    assert int(bindings.NIXL_READ) == 0 and int(bindings.NIXL_WRITE) == 1
    assert {each.name for each in _api.nixl_thread_sync_t} >= {"NIXL_THREAD_SYNC_NONE", "NIXL_THREAD_SYNC_STRICT"}


def test_configuration():
    config = nixl_agent_config(num_threads=4, capture_telemetry=True, backends=["A"])
    assert (config.backends, config.enable_pthread, config.enable_listen, config.port, config.capture_telemetry,
            config.num_threads, config.sync_mode) == (["A"], True, False, 8888, True, 4, None)
    with pytest.raises(TypeError):
        nixl_agent_config(sync_mode=3)
    settings = bindings.nixlAgentConfig()
    assert settings.listenPort == 8888 and settings.lthrDelay == 100000 and settings.pthrDelay == 0
    assert not settings.captureTelemetry and not settings.useListenThread


def test_plain_memory():
    first, second = _utils.malloc_passthru(64), _utils.malloc_passthru(64)
    _utils.ba_buf(first, 64)
    _utils.ba_buf(second, 64)
    _utils.verify_transfer(first, second, 64)
    _utils.free_passthru(first)
    _utils.free_passthru(second)


# ---- lists


def test_blocks():
    made = XferList(DRAM, [(1, 2, 3), (4, 5, 6)])
    assert made.descCount() == 2 and made[0] == (1, 2, 3) and made.index((4, 5, 6)) == 1 and made.getType() == DRAM
    made.addDesc((7, 8, 9))
    made.append((1, 1, 1))
    made[0] = (9, 9, 9)
    assert made.descCount() == 4 and made[0] == (9, 9, 9) and made[2] == (7, 8, 9)
    made.remDesc(0)
    assert made[0] == (4, 5, 6) and not made.isEmpty()
    with pytest.raises(IndexError):
        made.remDesc(9)
    with pytest.raises(bindings.nixlNotFoundError, match="NIXL_ERR_NOT_FOUND"):
        made.index((0, 0, 0))
    with pytest.raises(TypeError):
        len(made)
    made.clear()
    assert made.isEmpty() and XferList(DRAM, 3).descCount() == 3


def test_blocks_from_arrays():
    rows = numpy.array([[1 << 63, 2, 3], [4, 5, 6]], dtype=numpy.uint64)
    assert XferList(DRAM, rows)[0] == (1 << 63, 2, 3)
    assert XferList(DRAM, rows[1:].astype(numpy.int64))[0] == (4, 5, 6)
    for bad in (rows[:, :2], rows.astype(numpy.float64)):
        with pytest.raises(ValueError):
            XferList(DRAM, bad)
    for bad in ([(1, 2)], [(1, 2, 3, 4)]):
        with pytest.raises(ValueError):
            XferList(DRAM, bad)
    with pytest.raises(TypeError):
        XferList(0)


def test_memory_to_register():
    made = RegList(DRAM, [(1, 2, 3, "x"), (4, 5, 6, b"\xff")])
    assert made[0] == (1, 2, 3, b"x") and made[1] == (4, 5, 6, b"\xff")
    assert made.trim()[1] == (4, 5, 6) and isinstance(made.trim(), XferList)
    assert made.index((1, 2, 3, "another text")) == 0
    with pytest.raises(ValueError):
        RegList(DRAM, [(1, 2, 3)])
    assert RegList(DRAM, numpy.array([[1, 2, 3]], dtype=numpy.uint64))[0] == (1, 2, 3, b"")


def test_lists_compare_and_travel():
    made = XferList(DRAM, [(1, 2, 3)])
    assert made == XferList(DRAM, [(1, 2, 3)]) and made != XferList(VRAM, [(1, 2, 3)]) and made != 3
    assert pickle.loads(pickle.dumps(made)) == made
    memory = RegList(VRAM, [(1, 2, 3, "x")])
    assert pickle.loads(pickle.dumps(memory))[0] == (1, 2, 3, b"x")


def test_making_lists(backend):
    agent = nixl_agent("lists", nixl_agent_config(backends=[backend]))
    assert agent.get_xfer_descs([(1, 2, 3)], "DRAM")[0] == (1, 2, 3)
    assert agent.get_xfer_descs([(1, 2, 3)], "cuda").getType() == VRAM
    made = agent.get_xfer_descs(numpy.array([[1, 2, 3]], dtype=numpy.uint64), "cpu")
    assert agent.get_xfer_descs(made) is made and made.getType() == DRAM
    memory = agent.get_reg_descs([(1, 2, 3, "")], "DRAM")
    assert agent.get_reg_descs(memory) is memory
    for nothing in (agent.get_reg_descs([(1, 2, 3)], "DRAM"), agent.get_reg_descs([(1, 2, 3, "")]),
                    agent.get_xfer_descs([(1, 2, 3, "")], "DRAM"), agent.get_xfer_descs([(1, 2, 3)]),
                    agent.get_xfer_descs(memory), agent.get_xfer_descs(numpy.zeros((2, 3), dtype=numpy.uint64))):
        assert nothing is None
    with pytest.raises(KeyError):
        agent.get_xfer_descs([(1, 2, 3)], "TAPE")
    with pytest.raises(IndexError):
        agent.get_xfer_descs([], "DRAM")
    sent = agent.get_serialized_descs(made)
    assert agent.deserialize_descs(sent) == made


# ---- agents and backends


def test_agents(backend):
    with pytest.raises(ValueError, match="Agent needs a non-empty name"):
        nixl_agent("", nixl_agent_config(backends=[backend]))
    agent = nixl_agent("one", nixl_agent_config(backends=[backend, "NO SUCH BACKEND"]))
    assert agent.name == "one" and list(agent.backends) == [backend] and agent.notifs == {}
    assert agent.get_plugin_list() is agent.plugin_list
    assert "DRAM_SEG" in agent.get_plugin_mem_types(backend) and agent.get_plugin_params(backend)
    assert agent.get_plugin_mem_types("NO") == [] and agent.get_plugin_params("NO") == {}
    assert agent.get_backend_mem_types("NO") == [] and agent.get_backend_params("NO") == {}
    with pytest.raises(bindings.nixlNotFoundError):
        agent.create_backend("NO")
    assert agent.nixl_mems["DRAM"] == DRAM and agent.nixl_ops["READ"] == bindings.NIXL_READ


def test_a_program_that_keeps_its_own_layer(backend):
    """Some make the layer below by themselves and put it into the agent."""
    agent = nixl_agent("outer", nixl_agent_config(backends=[]))
    agent.agent = bindings.nixlAgent("inner", bindings.nixlAgentConfig())
    agent.plugin_list = agent.agent.getAvailPlugins()
    agent.create_backend(backend)
    memory = numpy.zeros(64, dtype=numpy.uint8)
    agent.register_memory([(memory.ctypes.data, 64, 0, "")], "DRAM")
    assert agent.get_agent_metadata()


def test_registering(backend):
    end = End("registers", backend)
    agent, base = end.agent, end.address(0)
    part = agent.register_memory([(base + 64, 100, 0, "")], "DRAM")      # overlaps
    twice = agent.register_memory(end.registered)                      # repeats
    agent.deregister_memory(twice)
    agent.deregister_memory(part)
    with pytest.raises(bindings.nixlNotFoundError):
        agent.deregister_memory(agent.get_reg_descs([(base + 64, 101, 0, "")], "DRAM"))
    with pytest.raises(bindings.nixlNotFoundError):
        agent.register_memory([(base, 64, 0, "")], "FILE")
    with pytest.raises(KeyError):
        agent.register_memory([(base, 64, 0, "")], "DRAM", ["NO"])
    with pytest.raises(ValueError):
        agent.query_memory([(base, 8, 0, "")], "NO", "DRAM")
    with pytest.raises(bindings.nixlNotSupportedError):
        agent.query_memory([(base, 8, 0, "")], backend, "DRAM")
    agent.deregister_memory(end.registered, [backend])


def test_overlapping_memory_is_found(backend):
    pair = Pair(backend)
    for end in (pair.here, pair.there):
        end.agent.register_memory([(end.address(1), 64, 0, ""), (end.address(2), BLOCK, 0, "")], "DRAM")
    pair.here.agent.add_remote_agent(pair.there.agent.get_agent_metadata())
    pair.here.fill(10)
    assert settle(pair.here.agent, pair.transfer("WRITE", range(BLOCKS), range(BLOCKS))) == "DONE"
    assert (pair.here.memory == pair.there.memory).all()


# ---- metadata


def test_metadata(backend):
    here, there = End("here", backend), End("there", backend)
    agent, metadata = here.agent, there.agent.get_agent_metadata()
    assert isinstance(metadata, bytes) and not agent.check_remote_metadata("there")
    assert agent.add_remote_agent(metadata) == b"there" and agent.add_remote_agent(metadata) == b"there"
    assert agent.check_remote_metadata("there") and agent.check_remote_metadata(b"there")
    assert agent.check_remote_metadata("there", agent.get_xfer_descs(there.blocks([3]), "DRAM"))
    assert not agent.check_remote_metadata("there", agent.get_xfer_descs([(there.address(0) - 8, 8, 0)], "DRAM"))
    for bad in (b"", b"garbage that is none"):
        with pytest.raises(bindings.nixlMismatchError):
            agent.add_remote_agent(bad)
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.add_remote_agent(agent.get_agent_metadata())
    agent.make_connection("there")
    for nobody in ("nobody", "here"):
        with pytest.raises(bindings.nixlNotFoundError):
            agent.make_connection(nobody)
    agent.remove_remote_agent("nobody")
    agent.remove_remote_agent("there")
    assert not agent.check_remote_metadata("there")


def test_partial_metadata(backend):
    here, there = End("here", backend), End("there", backend)
    more = numpy.zeros(BLOCK, dtype=numpy.uint8)
    descs = there.agent.register_memory([(more.ctypes.data, BLOCK, 0, "")], "DRAM")
    partial = there.agent.get_partial_agent_metadata(descs, inc_conn_info=True, backends=[backend])
    assert here.agent.add_remote_agent(partial) == b"there"
    only = here.agent.get_xfer_descs([(more.ctypes.data, BLOCK, 0)], "DRAM")
    assert here.agent.check_remote_metadata("there", only)
    assert not here.agent.check_remote_metadata("there", here.agent.get_xfer_descs(there.blocks([0]), "DRAM"))
    here.fill(11)
    handle = here.agent.initialize_xfer("WRITE", here.agent.get_xfer_descs(here.blocks([2]), "DRAM"), only, "there")
    assert settle(here.agent, handle) == "DONE" and (more == here.block(2)).all()
    # Later a part without the way, once that is known.
    rest = there.agent.get_partial_agent_metadata(there.registered)
    assert here.agent.add_remote_agent(rest) == b"there"
    assert here.agent.check_remote_metadata("there", here.agent.get_xfer_descs(there.blocks([0]), "DRAM"))
    with pytest.raises(bindings.nixlNotFoundError):
        there.agent.get_partial_agent_metadata(there.agent.get_reg_descs([(more.ctypes.data, 7, 0, "")], "DRAM"))


def test_no_central_server(backend):
    agent = End("alone", backend).agent
    for call in (agent.send_local_metadata, lambda: agent.fetch_remote_metadata("x"), agent.invalidate_local_metadata):
        with pytest.raises(bindings.nixlInvalidParamError):
            call()


# ---- prepared lists and transfers


def test_preparing(pair):
    agent, base = pair.here.agent, pair.here.address(0)
    for name in ("", "NIXL_INIT_AGENT", "here", "there", b"there"):
        end = pair.there if name in ("there", b"there") else pair.here
        handle = agent.prep_xfer_dlist(name, end.blocks([0, 1]), "DRAM")
        assert "released=False" in repr(handle)
        agent.release_dlist_handle(handle)
        agent.release_dlist_handle(handle)
    for name, blocks in (("", [(base - 16, 8, 0)]), ("", [(base, 8, 1)]), ("nobody", [(base, 8, 0)]),
                         ("there", [(base - 16, 8, 0)])):
        with pytest.raises(bindings.nixlNotFoundError):
            agent.prep_xfer_dlist(name, blocks, "DRAM")
    with pytest.raises(IndexError):
        agent.prep_xfer_dlist("", [], "DRAM")
    with pytest.raises(ValueError):
        agent.prep_xfer_dlist("", numpy.zeros((1, 5), dtype=numpy.uint64))
    for stride, count in ((16, 0), (4, 4)):
        with pytest.raises(bindings.nixlNotFoundError):
            agent.prep_xfer_dlist("", numpy.array([[base, 8, 0, stride, count]], dtype=numpy.uint64), "DRAM")


def test_strided_rows_count_in_order(pair):
    agent = pair.here.agent

    def side(name, end):
        rows = [[end.address(0), 8, 0, 16, 4], [end.address(2), 8, 0, 8, 2], [end.address(5), 8, 0, 4096, 3]]
        return agent.prep_xfer_dlist(name, numpy.array(rows, dtype=numpy.int64), "DRAM")

    pair.here.fill(12)
    local, remote = side("", pair.here), side("there", pair.there)
    chosen = [3, 5, 8]
    assert settle(agent, agent.make_prepped_xfer("WRITE", local, chosen, remote, chosen)) == "DONE"
    places = [48, 2 * BLOCK + 8, 7 * BLOCK]
    for place in places:
        assert (pair.there.memory[place:place + 8] == pair.here.memory[place:place + 8]).all()
    assert pair.there.memory.any() and not pair.there.memory[:48].any()
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.make_prepped_xfer("WRITE", local, [9], remote, [0])


@pytest.mark.parametrize("kind", [list, numpy.int32, numpy.uint32, numpy.int64])
def test_kinds_of_indices(pair, kind):
    agent = pair.here.agent
    local = agent.prep_xfer_dlist("", pair.here.blocks(range(8)), "DRAM")
    remote = agent.prep_xfer_dlist("there", pair.there.blocks(range(8)), "DRAM")
    pair.here.fill(13)
    indices = [1, 3, 0] if kind is list else numpy.array([1, 3, 0], dtype=kind)
    assert settle(agent, agent.make_prepped_xfer("READ", local, indices, remote, indices)) == "DONE"
    assert not pair.here.block(3).any() and pair.here.block(2).any()


def test_bad_choices(pair):
    agent = pair.here.agent
    local = agent.prep_xfer_dlist("", pair.here.blocks(range(2)) + [(pair.here.address(4), 8, 0)], "DRAM")
    remote = agent.prep_xfer_dlist("there", pair.there.blocks(range(2)) + [(pair.there.address(4), 8, 0)], "DRAM")
    for mine, theirs in (([0, 2], [0, 1]), ([], []), ([0], [0, 1]), ([-1], [0]), ([3], [0])):
        with pytest.raises(bindings.nixlInvalidParamError, match="NIXL_ERR_INVALID_PARAM"):
            agent.make_prepped_xfer("WRITE", local, mine, remote, theirs)
    with pytest.raises(ValueError):
        agent.make_prepped_xfer("WRITE", local, numpy.array([[0]]), remote, [0])
    with pytest.raises(KeyError):
        agent.make_prepped_xfer("COPY", local, [0], remote, [0])
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.make_prepped_xfer("WRITE", remote, [0], local, [0])
    with pytest.raises(KeyError):
        agent.make_prepped_xfer("WRITE", local, [0], remote, [0], backends=["NO"])
    with pytest.raises(TypeError):
        agent.initialize_xfer("WRITE", None, agent.get_xfer_descs(pair.there.blocks([0]), "DRAM"), "there")
    with pytest.raises(bindings.nixlInvalidParamError):
        agent.initialize_xfer("WRITE", agent.get_xfer_descs([(pair.here.address(0), 8, 0)], "DRAM"),
                              agent.get_xfer_descs([(pair.there.address(0), 16, 0)], "DRAM"), "there")
    with pytest.raises(bindings.nixlNotFoundError):
        agent.initialize_xfer("WRITE", agent.get_xfer_descs(pair.here.blocks([0]), "DRAM"),
                              agent.get_xfer_descs(pair.there.blocks([0]), "DRAM"), "nobody")


def test_questions_about_a_transfer(backend, pair):
    agent = pair.here.agent
    handle = pair.transfer("WRITE", range(4), [9, 7, 5, 3])
    assert agent.query_xfer_backend(handle) == backend
    begin = time.monotonic() * 1e6
    assert settle(agent, handle) == "DONE" and agent.check_xfer_state(handle) == "DONE"
    said = agent.get_xfer_telemetry(handle)
    assert said.totalBytes == 4 * BLOCK and 1 <= said.descCount <= 4
    assert begin - 1e6 < said.startTime < begin + PATIENCE * 1e6 and said.xferDuration >= said.postDuration >= 0
    quiet = nixl_agent("quiet", nixl_agent_config(backends=[backend]))
    quiet.add_remote_agent(pair.there.agent.get_agent_metadata())
    memory = numpy.zeros(8, dtype=numpy.uint8)
    quiet.register_memory([(memory.ctypes.data, 8, 0, "")], "DRAM")
    unseen = quiet.initialize_xfer("WRITE", quiet.get_xfer_descs([(memory.ctypes.data, 8, 0)], "DRAM"),
                                   quiet.get_xfer_descs([(pair.there.address(0), 8, 0)], "DRAM"), "there")
    assert settle(quiet, unseen) == "DONE"
    with pytest.raises(bindings.nixlNoTelemetryError):
        quiet.get_xfer_telemetry(unseen)
    agent.release_xfer_handle(handle)
    agent.release_xfer_handle(handle)
    assert "released=True" in repr(handle)


@pytest.mark.parametrize("said, asked, is_measured", [("y", False, True), ("no", True, False)])
def test_the_environment_decides_about_telemetry(backend, pair, monkeypatch, said, asked, is_measured):
    monkeypatch.setenv("NIXL_TELEMETRY_ENABLE", said)
    monkeypatch.delenv("NIXL_TELEMETRY_DIR", raising=False)
    agent = nixl_agent("by-environment", nixl_agent_config(backends=[backend], capture_telemetry=asked))
    agent.add_remote_agent(pair.there.agent.get_agent_metadata())
    memory = numpy.zeros(8, dtype=numpy.uint8)
    agent.register_memory([(memory.ctypes.data, 8, 0, "")], "DRAM")
    handle = agent.initialize_xfer("WRITE", agent.get_xfer_descs([(memory.ctypes.data, 8, 0)], "DRAM"),
                                   agent.get_xfer_descs([(pair.there.address(0), 8, 0)], "DRAM"), "there")
    assert settle(agent, handle) == "DONE"
    if is_measured:
        assert agent.get_xfer_telemetry(handle).totalBytes == 8
    else:
        with pytest.raises(bindings.nixlNoTelemetryError):
            agent.get_xfer_telemetry(handle)


def test_a_list_for_which_a_switch_is_a_size():
    """Older programs say False there, for a list that is not sorted."""
    made = bindings.nixlRegDList(bindings.DRAM_SEG, False)
    made.addDesc((4096, 8, 0, "about it"))
    assert made.descCount() == 1


def test_agent_that_was_removed(pair):
    agent = pair.here.agent
    handle = pair.transfer("WRITE", [0], [0])
    assert settle(agent, handle) == "DONE"
    agent.remove_remote_agent("there")
    assert agent.check_xfer_state(handle) == "DONE"
    with pytest.raises(bindings.nixlNotFoundError):
        agent.transfer(handle)
    agent.add_remote_agent(pair.there.agent.get_agent_metadata())     # the handle is of the time before
    with pytest.raises(bindings.nixlNotFoundError):
        agent.transfer(handle)
    assert settle(agent, pair.transfer("WRITE", [0], [0])) == "DONE"


# ---- notifications


def test_message_of_a_post_replaces_the_one_before(pair):
    agent = pair.here.agent
    handle = pair.transfer("WRITE", [0], [0], "first")
    for given, expected in ((b"", b"first"), (b"second", b"second"), ("", b"second")):
        state = agent.transfer(handle, given)
        assert settle(agent, handle, state) == "DONE"
        assert notes_of(pair.there.agent, 1) == [expected]


@ours
def test_a_post_that_fails_is_not_the_one_before(pair):
    agent = pair.here.agent
    handle = pair.transfer("WRITE", [0], [0])
    assert settle(agent, handle, agent.transfer(handle)) == "DONE"
    pair.there.agent.agent.__del__()    # as where its process ends
    with pytest.raises(Exception, match="NIXL_ERR"):
        while agent.transfer(handle) in ("DONE", "PROC"):   # until the end of the other one was heard of
            settle(agent, handle)
    with pytest.raises(Exception, match="NIXL_ERR"):
        agent.check_xfer_state(handle)


@ours
def test_memory_that_is_registered_during_a_lookup():
    from hmc.compat.nixl.memory import Range, Ranges
    ranges = Ranges()

    class Slow(Range):
        """The first look at it takes so long that another thread registers memory meanwhile."""
        is_first = True

        @property
        def base(self):
            if self.is_first:
                self.is_first = False
                ranges.add(Range(0, 4096, 64, 0, "late"))
            return 0

        @base.setter
        def base(self, value):
            pass

    ranges.by_key["slow"] = Slow(0, 0, 64, 0, "slow")
    for _ in range(2):
        ranges.find(0, numpy.array([[0, 8, 0]], dtype=numpy.uint64))
    found, which, offsets = ranges.find(0, numpy.array([[4100, 8, 0]], dtype=numpy.uint64))
    assert found[which[0]].name == "late" and offsets[0] == 4


def test_keeping_notifications(pair):
    here, there = pair.here.agent, pair.there.agent
    for note in (b"layer 1 done", b"layer 2 done", b"other"):
        here.send_notif("there", notif_msg=note)
    deadline = time.monotonic() + PATIENCE
    while len(there.update_notifs().get("here", [])) < 3:
        assert time.monotonic() < deadline
    assert there.check_remote_xfer_done("here", b"layer 2")
    assert not there.check_remote_xfer_done("here", b"layer 2")
    assert there.check_remote_xfer_done("here", b"1 done", tag_is_prefix=False)
    assert not there.check_remote_xfer_done("here", b"1 done") and not there.check_remote_xfer_done("nobody", b"")
    assert there.notifs["here"] == [b"other"]
    with pytest.raises(KeyError):
        there.get_new_notifs(["NO"])
    assert there.get_new_notifs() == {}


def test_a_long_notification(pair):
    note = bytes(range(256)) * 200      # a list of blocks, say
    pair.here.agent.send_notif("there", note)
    handle = pair.transfer("READ", [0], [0], note)
    assert settle(pair.here.agent, handle) == "DONE"
    assert notes_of(pair.there.agent, 2) == [note, note]


def test_sender_without_metadata_at_the_receiver(backend):
    here, there = End("here", backend), End("there", backend)
    here.agent.add_remote_agent(there.agent.get_agent_metadata())
    here.agent.send_notif("there", b"hello")
    assert notes_of(there.agent, 1) == [b"hello"]


def test_unknown_blocks_count(pair):
    """More blocks than any frame of a transport holds, in an order that nothing can join."""
    agent, count = pair.here.agent, pair.here.memory.size // 64
    order = numpy.random.default_rng(14).permutation(count).astype(numpy.uint64)
    pair.here.fill(15)

    def rows(end, places):
        made = numpy.full((count, 3), 0, dtype=numpy.uint64)
        made[:, 0], made[:, 1] = places * numpy.uint64(64) + numpy.uint64(end.address(0)), 64
        return agent.get_xfer_descs(made, "DRAM")

    handle = agent.initialize_xfer("WRITE", rows(pair.here, numpy.arange(count, dtype=numpy.uint64)),
                                   rows(pair.there, order), "there")
    assert settle(agent, handle) == "DONE"
    assert (pair.there.memory.reshape(-1, 64)[order.astype(int)] == pair.here.memory.reshape(-1, 64)).all()
    assert BLOCKS * BLOCK == count * 64
