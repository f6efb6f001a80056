"""Everybody's memory as one pool: bm (a pool of host and device memory), shm (symmetric objects), TransferEngine.

    import memfabric_hybrid as mf
    config = mf.bm.BmConfig()
    config.auto_ranking = True
    mf.bm.initialize("tcp://127.0.0.1:4100", 2, 0, config)
    pool = mf.bm.create(0, 1 << 30, 0)
    pool.join()

Names and return values are those of MemFabric Hybrid. Calls return 0 or a code of smem.h, and get_last_err_msg() has the
text; what raises says so.
"""

from . import bm, shm
from ._common import (create_config_store, get_and_clear_last_err_msg, get_include_path, get_last_err_msg, get_lib_path,
                      initialize, set_conf_store_tls, set_conf_store_tls_key, set_extern_logger, set_log_level,
                      uninitialize)
from ._transfer import DEVICE_RDMA, SDMA, Read, TransDataOpType, TransferEngine, TransferOpcode, Write

__all__ = [
    "TransferEngine", "TransferOpcode", "TransDataOpType", "Read", "Write", "SDMA", "DEVICE_RDMA",
    "create_config_store", "bm", "shm", "initialize", "uninitialize", "set_log_level", "set_extern_logger",
    "get_last_err_msg", "set_conf_store_tls", "set_conf_store_tls_key", "get_and_clear_last_err_msg",
    "get_include_path", "get_lib_path",
]
