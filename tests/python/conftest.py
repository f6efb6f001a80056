"""What the Python tests share: two contexts in one process, over each way to connect that works here."""

import os
import pathlib
import sys

import pytest

import hmc

SOURCE = pathlib.Path(os.environ.get("TESTED_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
WAYS = [way for way in ("shm", "tcp", "ucx") if hmc.connection_types()[way][0]]


class Couple:
    """Two contexts that are connected, and a region "far" of each kind that tests need."""

    def __init__(self, via):
        self.via = via
        self.here = hmc.Context("here", timeout=20)
        self.there = hmc.Context("there", timeout=20)
        self.address = self.there.listen("127.0.0.1:0")
        self.peer = self.here.connect(str(self.address), via=via)

    def far(self, size, name="far", **more):
        """A region there and the same one as seen from here."""
        region = self.there.allocate(size, name=name, **more)
        return region, self.peer.open(name)

    def close(self):
        self.here.close()
        self.there.close()


@pytest.fixture(params=WAYS)
def couple(request):
    made = Couple(request.param)
    yield made
    made.close()


@pytest.fixture
def shm_couple():
    made = Couple("shm")
    yield made
    made.close()


@pytest.fixture
def tcp_couple():
    made = Couple("tcp")
    yield made
    made.close()
