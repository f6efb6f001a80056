"""SHMEM: symmetric arrays of many processes, over HMC.

    import numpy, shmem
    shmem.init()
    mine = shmem.zeros(4)
    shmem.put(mine, numpy.arange(4.0) + shmem.my_pe(), (shmem.my_pe() + 1) % shmem.n_pes())
    shmem.barrier_all()
    shmem.finalize()

Started by hmcrun, torchrun or a launcher with PMIx. The names of SHMEM for Ascend's package are here too (aclshmem_*,
pointers are integers); they need neither torch nor numpy.
"""

from ._ascend import *  # noqa: F401,F403
from ._ascend import (CmpOp, InitAttr, InitStatus, MemType, OpEngineType, SignalOp, TeamConfig)  # noqa: F401
from ._library import OptionalAttr  # noqa: F401

try:
    from ._arrays import *  # noqa: F401,F403
except ModuleNotFoundError as _error:  # without numpy there are no arrays; the rest works
    if _error.name != "numpy":
        raise

    def __getattr__(name):
        raise AttributeError("module 'shmem' has no attribute %r%s" % (
            name, "" if name.startswith("_") else ": arrays, and the calls that take them, need numpy, which is not installed"))

__version__ = "1.6.0"
