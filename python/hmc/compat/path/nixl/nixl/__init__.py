"""NIXL's Python API, by HMC (see hmc.compat.nixl)."""

from hmc.compat.nixl import *  # noqa: F401,F403

from . import _api, _bindings, _utils, logging  # noqa: F401
