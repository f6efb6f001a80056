"""What the tests of NIXL's API share."""

import pytest

import ends


@pytest.fixture(params=ends.BACKENDS)
def backend(request):
    return request.param


@pytest.fixture
def pair(backend):
    return ends.Pair(backend)
