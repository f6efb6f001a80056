"""HMC: moves bytes between any two memories.

    with hmc.Context() as ctx:
        ctx.listen("0.0.0.0:2025")
        region = ctx.register(array, name="weights")        # the array's own memory, nothing is copied

    with hmc.Context() as ctx:
        remote = ctx.connect("host:2025").open("weights")
        remote[0:x.nbytes].put(x)                           # visible there when this returns
        remote.get_into(y)

`Session` and `create_session` are the API of the first HMC on the same engine. Importing this package imports neither
numpy nor torch, and the parts of it load when they are first used.
"""

from .enums import ConnType, CtrlTransport, MemoryType, status_t
from .errors import *  # noqa: F401,F403
from .errors import __all__ as _errors

# Which module has what; loaded when first asked for.
_ENGINE = (
    "Context", "Peer", "Region", "Remote", "Slice", "Batch", "MultiBatch", "Request", "Signal", "Notification", "DeviceBuffer",
    "allocate", "copy", "memory_of", "devices", "connection_types", "log_to", "wait_all", "wait_any", "as_completed", "version",
)
_CORE = ("Memory", "ConnBuffer", "Communicator", "Buffer", "CtrlLink", "memory_supported")
_SESSION = ("IOBuffer", "Session", "create_session", "memory_type_from_torch_tensor", "DeviceHint")
_COLLECTIVE = ("Group", "init_group", "alltoall")
_PARTS = {}
for _module, _names in (("._engine", _ENGINE), (".hmc", _CORE), (".session", _SESSION), (".collective", _COLLECTIVE)):
    _PARTS.update((name, _module) for name in _names)
del _module, _names

__all__ = ["status_t", "MemoryType", "ConnType", "CtrlTransport", *_errors, *_PARTS]


def __getattr__(name):
    part = _PARTS.get(name)
    if part is None and name not in _SUBMODULES:
        import difflib

        near = difflib.get_close_matches(name, [*_PARTS, *_SUBMODULES], 1)
        raise AttributeError("module 'hmc' has no attribute %r%s" % (name, "; did you mean %r?" % near[0] if near else ""))
    import importlib

    if part is None:
        return importlib.import_module("." + name, __name__)
    value = getattr(importlib.import_module(part, __name__), name)
    globals()[name] = value
    return value


_SUBMODULES = frozenset(("hmc", "session", "collective", "groups", "aio", "compat", "torch_backend"))


def __dir__():
    # Without torch_backend: help() imports all that is listed, and that one needs torch.
    return sorted(set(globals()) | set(__all__) | _SUBMODULES - {"torch_backend"})
