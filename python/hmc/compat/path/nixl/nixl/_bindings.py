"""nixl._bindings: hmc.compat.nixl._bindings under the name that programs import."""

import sys

from hmc.compat.nixl import _bindings

sys.modules[__name__] = _bindings
