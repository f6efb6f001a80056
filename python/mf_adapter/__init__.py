"""What serving engines import of MemFabric Hybrid: TransferEngine, and the store that its users meet in.

`python -m mf_adapter.launch_ascend_mf_store` serves that store: ASCEND_MF_STORE_URL says where.
"""

from memfabric_hybrid import TransferEngine, create_config_store, set_conf_store_tls, set_log_level

__all__ = ["TransferEngine", "set_log_level", "create_config_store", "set_conf_store_tls"]
