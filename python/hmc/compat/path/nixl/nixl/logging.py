"""nixl.logging: hmc.compat.nixl.logging under the name that programs import."""

import sys

from hmc.compat.nixl import logging

sys.modules[__name__] = logging
