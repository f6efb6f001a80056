"""nixl._api: hmc.compat.nixl._api under the name that programs import."""

import sys

from hmc.compat.nixl import _api

sys.modules[__name__] = _api
