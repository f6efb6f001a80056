"""What the tests of NIXL's API share."""

import os
import sys

import pytest

import ends


@pytest.fixture(params=ends.BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def pair(backend):
    return ends.Pair(backend)


outcome = 0


def pytest_sessionfinish(exitstatus):
    global outcome
    outcome = int(exitstatus)


def pytest_unconfigure():
    """Ends without destructors: once the UCX of NIXL's wheel was used, that of its libnl crashes, without HMC too."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(outcome)
