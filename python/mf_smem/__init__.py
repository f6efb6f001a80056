"""Everybody's memory as one pool: the package of MemFabric Hybrid's first generations.

    import mf_smem as smem
    config = smem.bm.BmConfig()
    config.auto_ranking = True
    smem.bm.initialize("tcp://127.0.0.1:4100", 2, 0, config)
    pool = smem.bm.create(0, 1 << 30, 0)
    gva = pool.join()

Objects' methods raise RuntimeError where they fail. Later generations have the package memfabric_hybrid.
"""

from memfabric_hybrid._common import (create_config_store, get_and_clear_last_err_msg, get_last_err_msg, initialize,
                                      set_conf_store_tls, set_conf_store_tls_key, set_extern_logger, set_log_level,
                                      set_tls_option, uninitialize)

from . import bm, shm

__all__ = ["bm", "shm", "initialize", "uninitialize", "set_log_level", "set_ssl_option", "TlsOption",
           "set_extern_logger", "get_last_err_msg", "get_and_clear_last_err_msg", "set_conf_store_tls",
           "set_conf_store_tls_key", "create_config_store"]

try:
    from importlib.metadata import version as _version
    __doc__ += "\nlibrary version: %s" % _version("hmc")
except Exception:  # not installed, but imported from a tree; Python 3.7 has no such module
    __doc__ += "\nlibrary version: not installed"


class TlsOption:
    """Certificates of the store. tls_top_path goes before the other paths; tls_pk is a file, tls_pk_pwd its password."""

    def __init__(self):
        self.enable_tls = False
        self.tls_top_path = self.tls_cert = self.tls_crl_path = self.tls_ca_path = ""
        self.tls_ca_file, self.tls_crl_file = set(), set()
        self.tls_pk = self.tls_pk_pwd = ""
        self.kmc_ksf_master = self.kmc_ksf_standby = self.package_path = ""


def set_ssl_option(tls_option):
    """Sets the store's TLS, before it is served or joined. 0 or -2000."""
    return set_tls_option(tls_option)
