"""What only hmc.compat.nixl has: metadata from agent to agent by address, the name UCX, and what is let go."""

import gc
import os
import pathlib
import sys
import time

import numpy
import pytest

from ends import BLOCK, PATIENCE, End, bindings, nixl_agent, nixl_agent_config, settle

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402


class Listener:
    """An agent that others find by its port."""

    def __init__(self, name):
        self.port = free_port()
        self.agent = nixl_agent(name, nixl_agent_config(enable_listen_thread=True, listen_port=self.port))
        self.memory = numpy.zeros(BLOCK, dtype=numpy.uint8)
        self.agent.register_memory([(self.memory.ctypes.data, BLOCK, 0, "")], "DRAM")


def until(question):
    deadline = time.monotonic() + PATIENCE
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_metadata_by_address():
    here, there = End("here", "UCX"), Listener("there")
    here.agent.fetch_remote_metadata("there", "127.0.0.1", there.port)
    assert here.agent.check_remote_metadata("there")
    here.fill(1)
    local = here.agent.get_xfer_descs(here.blocks([0]), "DRAM")
    remote = here.agent.get_xfer_descs([(there.memory.ctypes.data, BLOCK, 0)], "DRAM")
    handle = here.agent.initialize_xfer("WRITE", local, remote, "there")
    assert settle(here.agent, handle) == "DONE" and (there.memory == here.block(0)).all()
    here.agent.send_local_metadata("127.0.0.1", there.port)
    until(lambda: there.agent.check_remote_metadata("here"))
    here.agent.invalidate_local_metadata("127.0.0.1", there.port)
    until(lambda: not there.agent.check_remote_metadata("here"))
    here.agent.send_partial_agent_metadata(here.registered, True, [], "127.0.0.1", there.port)
    until(lambda: there.agent.check_remote_metadata("here", here.agent.get_xfer_descs(here.blocks([1]), "DRAM")))
    with pytest.raises(bindings.nixlNotFoundError):
        here.agent.fetch_remote_metadata("another", "127.0.0.1", there.port)
    with pytest.raises(bindings.nixlBackendError):
        here.agent.fetch_remote_metadata("there", "127.0.0.1", free_port())


def test_parameters_that_are_not_there_or_not_to_be_shown():
    agent = nixl_agent("set", nixl_agent_config(backends=[]))
    agent.create_backend("HMC", {"secret": "0123456789abcdef0123"})
    assert "secret" not in agent.get_backend_params("HMC")
    with pytest.raises(bindings.nixlInvalidParamError):
        nixl_agent("bad", nixl_agent_config(backends=[])).create_backend("HMC", {"colour": "blue"})


def test_two_names_of_the_backend():
    agent, other = (nixl_agent(name, nixl_agent_config(backends=["HMC", "UCX"])) for name in "ab")
    memory = numpy.zeros((2, BLOCK), dtype=numpy.uint8)
    for each, part in zip((agent, other), memory):
        each.register_memory([(part.ctypes.data, BLOCK, 0, "")], "DRAM")
    memory[0] = 7
    agent.add_remote_agent(other.get_agent_metadata())
    lists = [agent.get_xfer_descs([(part.ctypes.data, BLOCK, 0)], "DRAM") for part in memory]
    for backends, chosen in (([], "HMC"), (["UCX"], "UCX")):
        handle = agent.initialize_xfer("WRITE", *lists, "b", backends=backends)
        assert agent.query_xfer_backend(handle) == chosen and settle(agent, handle) == "DONE"
    assert (memory[1] == 7).all()


def test_agents_leave_nothing():
    """Descriptors are back where they were when agents are gone."""
    def used():
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def once():
        here, there = End("here", "HMC"), End("there", "HMC")
        here.agent.add_remote_agent(there.agent.get_agent_metadata())
        local = here.agent.get_xfer_descs(here.blocks([0]), "DRAM")
        assert settle(here.agent, here.agent.initialize_xfer("READ", local, here.agent.get_xfer_descs(there.blocks(
            [0]), "DRAM"), "there", b"note")) == "DONE"

    once()
    before = used()
    for _ in range(5):
        once()
    until(lambda: used() <= before)
