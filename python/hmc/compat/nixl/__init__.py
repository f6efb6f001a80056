"""NIXL's Python API on HMC, for places without NIXL: no wheel of its, and no CUDA.

`nixl_agent` and `nixl_agent_config` are in `_api`, the layer below them in `_bindings`, as in NIXL's own package, because
programs import from both. `hmc.compat.folder()` names a folder that holds a package `nixl` made of this one.

The only backend is HMC; it answers to the name "UCX" too, which programs hard-wire. Parameters of a backend: transport
("auto", "shm", "tcp", "rdma", "ucx"), deadline_ms, address, port, secret: those of HMC's plug-in for NIXL. Two ends are
either both NIXL (with that plug-in) or both this package: their metadata differ.

What differs from NIXL. A transfer that is released is over when the call returns: nothing of it lands or is read any
more, and a release is never refused. Every transfer has a deadline. Peers authenticate each other by HMC's secret.
Metadata go from agent to agent (an address and a port), not by a central server.

Needs numpy, as NIXL does.
"""

from . import _api, _bindings, _utils, logging  # noqa: F401
from ._api import *  # noqa: F401,F403
from ._bindings import *  # noqa: F401,F403
from ._utils import *  # noqa: F401,F403
