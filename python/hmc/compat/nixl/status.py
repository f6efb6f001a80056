"""NIXL's values and exceptions, and what HMC's statuses are among them."""

import enum

import hmc


class nixl_status_t(enum.IntEnum):
    NIXL_IN_PROG = 1
    NIXL_SUCCESS = 0
    NIXL_ERR_NOT_POSTED = -1
    NIXL_ERR_INVALID_PARAM = -2
    NIXL_ERR_BACKEND = -3
    NIXL_ERR_NOT_FOUND = -4
    NIXL_ERR_MISMATCH = -5
    NIXL_ERR_NOT_ALLOWED = -6
    NIXL_ERR_REPOST_ACTIVE = -7
    NIXL_ERR_UNKNOWN = -8
    NIXL_ERR_NOT_SUPPORTED = -9


class nixl_mem_t(enum.IntEnum):
    DRAM_SEG = 0
    VRAM_SEG = 1
    BLK_SEG = 2
    OBJ_SEG = 3
    FILE_SEG = 4


class nixl_xfer_op_t(enum.IntEnum):
    NIXL_READ = 0
    NIXL_WRITE = 1


class nixl_cost_t(enum.IntEnum):
    NIXL_COST_ANALYTICAL_BACKEND = 0


class nixl_thread_sync_t(enum.IntEnum):
    NIXL_THREAD_SYNC_NONE = 0
    NIXL_THREAD_SYNC_STRICT = 1
    NIXL_THREAD_SYNC_RW = 2
    NIXL_THREAD_SYNC_DEFAULT = 0


def _failure(name, text):
    """An exception whose text is the status, which programs compare with."""
    class failure(Exception):
        def __init__(self, *arguments):
            super().__init__(*(arguments or (text,)))

    failure.__name__ = failure.__qualname__ = name
    failure.__module__ = __name__
    return failure


nixlNotPostedError = _failure("nixlNotPostedError", "NIXL_ERR_NOT_POSTED")
nixlInvalidParamError = _failure("nixlInvalidParamError", "NIXL_ERR_INVALID_PARAM")
nixlBackendError = _failure("nixlBackendError", "NIXL_ERR_BACKEND")
nixlNotFoundError = _failure("nixlNotFoundError", "NIXL_ERR_NOT_FOUND")
nixlMismatchError = _failure("nixlMismatchError", "NIXL_ERR_MISMATCH")
nixlNotAllowedError = _failure("nixlNotAllowedError", "NIXL_ERR_NOT_ALLOWED")
nixlRepostActiveError = _failure("nixlRepostActiveError", "NIXL_ERR_REPOST_ACTIVE")
nixlUnknownError = _failure("nixlUnknownError", "NIXL_ERR_UNKNOWN")
nixlNotSupportedError = _failure("nixlNotSupportedError", "NIXL_ERR_NOT_SUPPORTED")
nixlRemoteDisconnectError = _failure("nixlRemoteDisconnectError", "NIXL_ERR_REMOTE_DISCONNECT")
nixlCancelledError = _failure("nixlCancelledError", "NIXL_ERR_CANCELED")
nixlNoTelemetryError = _failure("nixlNoTelemetryError", "NIXL_ERR_NO_TELEMETRY")

_KINDS = {
    hmc.status_t.PEER_LOST: nixlRemoteDisconnectError,
    hmc.status_t.CANCELLED: nixlCancelledError,
    hmc.status_t.STALE: nixlNotFoundError,
    hmc.status_t.NOT_FOUND: nixlNotFoundError,
    hmc.status_t.OUT_OF_RANGE: nixlInvalidParamError,
    hmc.status_t.INVALID_CONFIG: nixlInvalidParamError,
    hmc.status_t.DENIED: nixlNotAllowedError,
    hmc.status_t.UNSUPPORT: nixlNotSupportedError,
}


def kind_of(error):
    """The class of NIXL's exception for one of HMC's; a deadline that passed and the like are the backend's."""
    return _KINDS.get(getattr(error, "status", None), nixlBackendError)


VALUES = {name: value for kind in (nixl_status_t, nixl_mem_t, nixl_xfer_op_t, nixl_cost_t, nixl_thread_sync_t)
          for name, value in kind.__members__.items()}
