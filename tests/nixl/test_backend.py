"""The backend HMC by itself, in hmc.compat.nixl and in NIXL's wheel: its parameters, its secret, and agents that do nothing."""

import time

import pytest

from ends import PATIENCE, End, bindings, nixl_agent, nixl_agent_config


def make(name, **parameters):
    agent = nixl_agent(name, nixl_agent_config(backends=[]))
    agent.create_backend("HMC", parameters)
    return agent


def test_parameters():
    agent = make("set", transport="tcp", deadline_ms="5000", address="127.0.0.1", secret="0123456789abcdef0123")
    assert agent.get_backend_params("HMC")["transport"] == "tcp"
    for bad in ({"transport": "pigeon"}, {"deadline_ms": "soon"}, {"address": "192.0.2.1"}, {"secret": "short"}):
        with pytest.raises(bindings.nixlBackendError):
            make("bad", **bad)


def test_agents_with_different_secrets_do_not_meet():
    one, two = make("one", secret="0123456789abcdef0123"), make("two", secret="another secret of them")
    one.add_remote_agent(two.get_agent_metadata())
    with pytest.raises(bindings.nixlNotAllowedError):
        one.make_connection("two")
    with pytest.raises(Exception, match="NIXL_ERR"):
        one.send_notif("two", b"let me in")
    assert not two.get_new_notifs()


def test_idle_agents_use_no_processor():
    ends = [End("idle %d" % number, "HMC") for number in range(2)]
    ends[0].agent.add_remote_agent(ends[1].agent.get_agent_metadata())
    ends[0].agent.make_connection("idle 1")
    used, deadline = 1, time.monotonic() + PATIENCE    # a busy machine is late with what there is to do after connecting
    while used >= 0.1 and time.monotonic() < deadline:
        before = time.process_time()
        time.sleep(2)
        used = time.process_time() - before
    assert used < 0.1, "two idle agents"
    del ends
