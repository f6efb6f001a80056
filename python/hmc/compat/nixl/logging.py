"""NIXL's logging module: loggers by name, and a level by NIXL_LOG_LEVEL."""

import logging
import os

__all__ = ["get_logger", "setup_logging", "set_log_level_by_env", "LOGGING_CONFIG"]

LOGGING_CONFIG = {"version": 1, "disable_existing_loggers": False}
_LEVELS = {"TRACE": logging.DEBUG, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING,
           "WARNING": logging.WARNING, "ERROR": logging.ERROR, "FATAL": logging.CRITICAL}


def get_logger(name):
    return logging.getLogger(name)


def set_log_level_by_env():
    """NIXL_LOG_LEVEL, where it is set, is the level of this package's loggers."""
    level = _LEVELS.get(os.environ.get("NIXL_LOG_LEVEL", "").upper())
    if level is not None:
        logging.getLogger("hmc.compat.nixl").setLevel(level)


def setup_logging():
    set_log_level_by_env()


setup_logging()
