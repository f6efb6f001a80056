"""How the tests of SMEM's packages run processes: smem_member.py, once per rank."""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from ports import free_port  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 300


@pytest.fixture
def environment(tmp_path):
    return {**os.environ, "HMC_SECRET": str(tmp_path), "HOME": str(tmp_path)}


def run_ranks(command, count, environment):
    """Runs command(rank, url) by this interpreter in `count` processes; all must end well. Their texts."""
    url = "tcp://127.0.0.1:%d" % free_port()
    members = [subprocess.Popen([sys.executable, *command(rank, url)], env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True) for rank in range(count)]
    texts = []
    try:
        texts = [member.communicate(timeout=PATIENCE)[0] for member in members]
    finally:
        for member in members:
            if member.poll() is None:
                member.kill()
    assert [member.returncode for member in members] == [0] * count, "\n".join(texts)
    return texts


def run_members(scenario, count, environment, *more):
    """Runs a scenario of smem_member.py."""
    return run_ranks(lambda rank, url: [str(HERE / "smem_member.py"), scenario, str(rank), str(count), url,
                                        *map(str, more)], count, environment)
