"""mooncake.engine: what programs import; all of it is hmc.compat.mooncake."""

from hmc.compat.mooncake import *  # noqa: F401,F403
from hmc.compat.mooncake import Read, Write  # noqa: F401
