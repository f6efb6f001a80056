"""The enumerations, with the values that they have in C and C++."""

from enum import IntEnum

__all__ = ["status_t", "MemoryType", "ConnType", "CtrlTransport"]


class _CoreEnum(IntEnum):
    @classmethod
    def _from_core(cls, value):
        """The member for a value of the extension module, which may be a member already or a number."""
        return cls(int(value))


class status_t(_CoreEnum):
    SUCCESS = 0
    ERROR = 1
    UNSUPPORT = 2
    INVALID_CONFIG = 3
    TIMEOUT = 4
    NOT_FOUND = 5
    IN_PROGRESS = 6
    PEER_LOST = 7
    CANCELLED = 8
    OUT_OF_RANGE = 9
    STALE = 10
    CORRUPT = 11
    DENIED = 12
    NO_MEMORY = 13
    ADDRESS_IN_USE = 14


class MemoryType(_CoreEnum):
    """Kinds of memory. Moore GPUs had the value 5 where Ascend NPUs have it: see docs/python.md."""

    DEFAULT = 0
    CPU = 1
    NVIDIA_GPU = 2
    AMD_GPU = 3
    CAMBRICON_MLU = 4
    HUAWEI_ASCEND_NPU = 5
    MOORE_GPU = 6
    SIM = 7


class ConnType(_CoreEnum):
    """How a peer is to be reached: required, but for AUTO."""

    RDMA = 0
    UCX = 1
    TCP = 2
    SHM = 3
    AUTO = 4


class CtrlTransport(_CoreEnum):
    TCP = 0
    UDS = 1
