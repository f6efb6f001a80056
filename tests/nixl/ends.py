"""Agents for the tests and benchmarks of NIXL's API, and which NIXL it is.

With HMC_NIXL_PLUGINS (a folder with our plug-in) it is NIXL's wheel, with its own backend UCX and ours; without, `nixl` is
hmc.compat.nixl, found by PYTHONPATH.
"""

import os
import pathlib
import sysconfig
import time

import numpy

PLUGINS = pathlib.Path(os.environ["HMC_NIXL_PLUGINS"]) if "HMC_NIXL_PLUGINS" in os.environ else None
BACKENDS = ["UCX", "HMC"] if PLUGINS else ["HMC"]


def add_to_wheel():
    """Puts our plug-in beside the wheel's own, for NIXL_PLUGIN_DIR would take the place of all of those."""
    for folder in pathlib.Path(sysconfig.get_paths()["purelib"]).glob(".nixl_*.mesonpy.libs/plugins"):
        link = folder / "libplugin_HMC.so"
        if not link.exists() or os.readlink(link) != str(PLUGINS / "libplugin_HMC.so"):
            link.unlink(missing_ok=True)
            link.symlink_to(PLUGINS / "libplugin_HMC.so")


if PLUGINS:
    add_to_wheel()
os.environ.pop("NIXL_PLUGIN_DIR", None)
os.environ.setdefault("NIXL_LOG_LEVEL", "FATAL")

from nixl._api import nixl_agent, nixl_agent_config  # noqa: E402
from nixl import _bindings as bindings  # noqa: E402,F401

BLOCK = 4096
BLOCKS = 64
PATIENCE = 60



class End:
    """An agent with registered memory."""

    def __init__(self, name, backend, size=BLOCK * BLOCKS):
        self.agent = nixl_agent(name, nixl_agent_config(backends=[backend], capture_telemetry=True))
        self.memory = numpy.zeros(size, dtype=numpy.uint8)
        self.registered = self.agent.get_reg_descs([(self.address(0), size, 0, "")], "DRAM")
        self.agent.register_memory(self.registered)

    def address(self, block):
        return self.memory.ctypes.data + block * BLOCK

    def blocks(self, numbers):
        return [(self.address(number), BLOCK, 0) for number in numbers]

    def fill(self, seed):
        self.memory[:] = numpy.random.default_rng(seed).integers(0, 256, self.memory.size, dtype=numpy.uint8)

    def block(self, number):
        return self.memory[number * BLOCK:(number + 1) * BLOCK]


class Pair:
    def __init__(self, backend):
        self.here, self.there = End("here", backend), End("there", backend)
        assert self.here.agent.add_remote_agent(self.there.agent.get_agent_metadata()) == b"there"
        assert self.there.agent.add_remote_agent(self.here.agent.get_agent_metadata()) == b"here"

    def transfer(self, operation, mine, theirs, note=b""):
        agent = self.here.agent
        local = agent.get_xfer_descs(self.here.blocks(mine), "DRAM")
        remote = agent.get_xfer_descs(self.there.blocks(theirs), "DRAM")
        return agent.initialize_xfer(operation, local, remote, "there", note)


def settle(agent, handle, state=None):
    """Posts a transfer (or takes its state) and waits for its end."""
    state = state or agent.transfer(handle)
    deadline = time.monotonic() + PATIENCE
    while state == "PROC":
        assert time.monotonic() < deadline, "a transfer does not end"
        state = agent.check_xfer_state(handle)
    return state


def notes_of(agent, count, sender="here"):
    found = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline, "only %d of %d notifications came" % (len(found), count)
        found += agent.get_new_notifs().get(sender, [])
    return found
