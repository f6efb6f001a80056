"""Serves the store of ASCEND_MF_STORE_URL ("tcp://ip:port") until it is interrupted. ASCEND_MF_LOG_LEVEL: 0 to 3."""

import os
import signal
import sys

from . import create_config_store, set_log_level
from memfabric_hybrid import get_last_err_msg


def main():
    url = os.environ.get("ASCEND_MF_STORE_URL")
    level = os.environ.get("ASCEND_MF_LOG_LEVEL", "")
    if not url:
        sys.exit("ASCEND_MF_STORE_URL is not set: it says where to serve the store, as tcp://10.0.0.2:4100")
    if level and (level not in tuple("0123") or set_log_level(int(level)) != 0):
        sys.exit("ASCEND_MF_LOG_LEVEL is %r: 0 (debug) to 3 (error) are taken" % level)
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # before the library has threads, which then block them too
    if create_config_store(url) != 0:
        sys.exit(get_last_err_msg())
    print("the store is served at %s" % url, flush=True)
    signal.sigwait(ends)


if __name__ == "__main__":
    main()
