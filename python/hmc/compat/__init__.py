"""Faces of other transfer libraries, for programs that are written for those.

`hmc.compat.mooncake` is Mooncake's transfer engine, `hmc.compat.nixl` NIXL's agent. Beside them lie packages under those
libraries' own names; placed first on PYTHONPATH, programs find HMC where they look for them:

    PYTHONPATH=$(python -m hmc.compat nixl) program
    PYTHONPATH=$(python -m hmc.compat) program              # both

`hmc.compat.lmcache` is a transfer channel for LMCache.
"""

import os

__all__ = ["folder"]

_NAMES = ("mooncake", "nixl")


def folder(*names):
    """What to place on PYTHONPATH, so that programs find those libraries ("mooncake", "nixl"; default: both) in HMC."""
    for name in names:
        if name not in _NAMES:
            raise ValueError("there is no %r; there are %s" % (name, ", ".join(_NAMES)))
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "path")
    return os.pathsep.join(os.path.join(here, name) for name in names or _NAMES)
