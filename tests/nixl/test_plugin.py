"""The plug-in in NIXL's wheel: what only it has."""

import os
import subprocess
import sys
import time

import pytest

from ends import PLUGINS, End, bindings, nixl_agent, nixl_agent_config


def test_found_by_the_folder_of_plugins():
    script = "from nixl._api import *; a = nixl_agent('a', nixl_agent_config(backends=['HMC'])); print(a.plugin_list)"
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "NIXL_PLUGIN_DIR": str(PLUGINS)},
                          stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "['HMC']"


def test_deadline_and_transport_are_parameters():
    agent = nixl_agent("set", nixl_agent_config(backends=[]))
    agent.create_backend("HMC", {"transport": "tcp", "deadline_ms": "5000", "address": "127.0.0.1"})
    assert agent.get_backend_params("HMC")["transport"] == "tcp"
    with pytest.raises(bindings.nixlBackendError):
        nixl_agent("bad", nixl_agent_config(backends=[])).create_backend("HMC", {"transport": "pigeon"})


def test_agents_with_different_secrets_do_not_meet():
    ends = []
    for name, secret in (("one", "a secret of fruit: apples"), ("two", "a secret of fruit: pears")):
        agent = nixl_agent(name, nixl_agent_config(backends=[]))
        agent.create_backend("HMC", {"secret": secret})
        ends.append(agent)
    ends[0].add_remote_agent(ends[1].get_agent_metadata())
    with pytest.raises(Exception, match="NIXL_ERR"):
        ends[0].send_notif("two", b"let me in")


def test_idle_agents_use_no_processor():
    ends = [End("idle %d" % number, "HMC") for number in range(2)]
    before = time.process_time()
    time.sleep(2)
    assert time.process_time() - before < 0.1, "two idle agents"
    del ends
