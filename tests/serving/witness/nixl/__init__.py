"""A `nixl` that lets the tests look on: the package that HMC_TEST_NIXL names a folder of (our own, or NIXL's), whose
transfers are counted and, where HMC_TEST_FLIP is set, damaged by one byte when they have arrived."""

import importlib
import os
import sys


def _underlying():
    """Imports the real package by its own name, then takes its place again."""
    mine = {name: sys.modules.pop(name) for name in list(sys.modules) if name == "nixl" or name.startswith("nixl.")}
    path, sys.path = sys.path, [os.environ["HMC_TEST_NIXL"]] + [each for each in sys.path if "witness" not in each]
    try:
        package = importlib.import_module("nixl")
        parts = {name: importlib.import_module("nixl." + name) for name in ("_api", "_bindings")}
    finally:
        sys.path = path
        for name in [each for each in sys.modules if each == "nixl" or each.startswith("nixl.")]:
            del sys.modules[name]
        sys.modules.update(mine)
    return package, parts


_package, _parts = _underlying()
_api, _bindings = _parts["_api"], _parts["_bindings"]
sys.modules["nixl._api"], sys.modules["nixl._bindings"] = _api, _bindings

from ._witness import watch  # noqa: E402

watch(_api)
nixl_agent, nixl_agent_config = _api.nixl_agent, _api.nixl_agent_config
