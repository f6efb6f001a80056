"""SHM: symmetric objects, with barrier and allgather."""

from memfabric_hybrid import shm as _shm
from memfabric_hybrid._library import last_error as _last_error
from memfabric_hybrid.shm import ShmConfig, ShmDataOpType, initialize, uninitialize

__all__ = ["ShmConfig", "ShmDataOpType", "ShareMemory", "initialize", "uninitialize", "create"]


def _check(what, code):
    if code != 0:
        raise RuntimeError("%s failed: %d %s" % (what, code, _last_error()))


class ShareMemory(_shm.ShareMemory):
    """A symmetric object; create() makes it. Methods raise RuntimeError where they fail."""

    def set_context(self, context):
        _check("set extern context", super().set_context(context))

    def barrier(self):
        _check("barrier", super().barrier())


def create(id, rank_size, rank_id, local_mem_size, data_op_type=ShmDataOpType.MTE, flags=0):
    """Makes object `id`, when all ranks have called it. RuntimeError: it failed; the text says why."""
    return _shm._create(ShareMemory, id, rank_size, rank_id, local_mem_size, data_op_type, flags)
