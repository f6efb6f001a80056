"""Faces of other transfer libraries, for programs that are written for those.

`hmc.compat.mooncake` is Mooncake's transfer engine. `folder()` names a folder with packages under those libraries' own
names; placed first on PYTHONPATH, programs find HMC where they look for them:

    PYTHONPATH=$(python -m hmc.compat) program
"""

import os

__all__ = ["folder"]


def folder():
    """The folder to place on PYTHONPATH."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "path")
