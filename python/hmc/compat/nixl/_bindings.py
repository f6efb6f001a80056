"""The layer that NIXL has in C++: `nixlAgent` with the methods of that, lists, values, exceptions."""

import datetime

from .agent import DEFAULT_COMM_PORT, NIXL_INIT_AGENT, nixlAgent, nixlXferTelemetry
from .lists import nixlRegDList, nixlRemoteDList, nixlXferDList
from .status import *  # noqa: F401,F403
from .status import VALUES as _VALUES
from .status import nixl_thread_sync_t

HAVE_UCX_GPU_DEVICE_API = False

globals().update(_VALUES)


class nixlAgentConfig:
    def __init__(self, useProgThread=False, useListenThread=False, listenPort=DEFAULT_COMM_PORT,
                 syncMode=nixl_thread_sync_t.NIXL_THREAD_SYNC_NONE, num_workers=1, pthrDelay=0, lthrDelay=100000,
                 captureTelemetry=False):
        self.useProgThread = useProgThread      # HMC's service thread moves everything on, always
        self.useListenThread = useListenThread
        self.listenPort = listenPort
        self.syncMode = syncMode                # all calls may be made by any thread, whatever it says
        self.pthrDelay = pthrDelay
        self.lthrDelay = lthrDelay
        self.captureTelemetry = captureTelemetry
        self.etcdWatchTimeout = datetime.timedelta(seconds=5)


__all__ = sorted(name for name in globals()
                 if name.startswith(("nixl", "NIXL", "HAVE", "DEFAULT")) or name.endswith("_SEG"))
