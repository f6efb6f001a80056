"""Aborted transfers whose pages are used again at once, 10,000 times under load: no foreign byte (see abort.py)."""

import pathlib
import re
import subprocess
import sys

import pytest

PROGRAM = pathlib.Path(__file__).with_name("abort.py")


@pytest.mark.parametrize("what, transport, rounds", [
    ("read", "tcp", 4000), ("write", "auto", 2000), ("write", "tcp", 2000), ("revoke", "auto", 1000), ("revoke", "tcp", 1000),
])
def test_nothing_arrives_late(what, transport, rounds):
    done = subprocess.run([sys.executable, PROGRAM, "HMC", what, "--transport", transport, "--rounds", str(rounds)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500)
    found = re.search(r"aborted (\d+), over before (\d+), refused (\d+), pages with a foreign byte (\d+)", done.stdout)
    assert done.returncode == 0 and found, done.stdout
    aborted, over, refused, foreign = map(int, found.groups())
    assert foreign == 0 and refused == 0 and aborted + over == rounds and aborted > 0, done.stdout
