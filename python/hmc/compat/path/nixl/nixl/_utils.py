"""nixl._utils: hmc.compat.nixl._utils under the name that programs import."""

import sys

from hmc.compat.nixl import _utils

sys.modules[__name__] = _utils
