"""The programs of examples/python, run as their users run them."""

import os
import re
import subprocess
import sys

import pytest

from conftest import SOURCE
from test_groups import finish, start

EXAMPLES = SOURCE / "examples/python"


def run(name, *arguments):
    # Unbuffered, a line and its end are two writes, and the lines of two processes mix.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, str(EXAMPLES / name), *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_arrays():
    out = run("arrays.py")
    assert "'row 3 is new', and row 3 begins with [0. 1. 2.]" in out and re.search(r"by \w+; column 2 sums up to 2\n", out)


def test_async_transfers():
    assert run("async_transfers.py") == "sent 90000 bytes, received 90000\n"


def test_kv_cache(tmp_path):
    out = run("kv_cache.py", tmp_path / "timeline.png")
    assert re.match(r"16 layers by \w+; the last one was there -?[\d.]+ ms after it was computed\n", out)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        assert "pip install matplotlib" in out
    else:
        assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")


def test_tensors():
    try:
        import torch  # noqa: F401
    except ImportError:
        done = subprocess.run([sys.executable, str(EXAMPLES / "tensors.py")], stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "pip install torch" in done.stderr
    else:
        assert "65536 floats" in run("tensors.py")


@pytest.mark.parametrize("world", [1, 3])
def test_collective(world):
    for rank, (out, err, status) in enumerate(finish(start(world, str(EXAMPLES / "collective.py")))):
        squares = [each * each for each in range(world)]
        assert status == 0, err
        assert out == "rank %d of %d: sum %d, squares %s\n" % (rank, world, world * (world + 1) // 2, squares)


def test_kv_pool():
    said = r"(\d+) blocks written, (\d+) read and verified, 0 wrong, \d+ copies to a member that was gone\n"
    found = re.fullmatch(said, run("kv_pool.py", 2))
    assert found and int(found.group(1)) > 0 and int(found.group(2)) > 0
