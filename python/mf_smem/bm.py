"""BM: a pool of the host and device memory of all members, under global addresses.

L2G: from device memory of this process to the pool; G2L: back; H2G: from host memory of this process; G2H: back;
G2G: within the pool.
"""

from memfabric_hybrid import bm as _bm
from memfabric_hybrid._library import last_error as _last_error
from memfabric_hybrid._library import lib as _lib
from memfabric_hybrid.bm import (ASYNC_COPY_FLAG, BmConfig, BmCopyType, BmDataOpType, BmMemType, CopyData2DParams,
                                 bm_rank_id, initialize, uninitialize)

__all__ = ["BmConfig", "BmCopyType", "BmDataOpType", "BmMemType", "BigMemory", "CopyData2DParams", "initialize",
           "uninitialize", "bm_rank_id", "create", "ASYNC_COPY_FLAG"]


def _check(what, code):
    if code != 0:
        raise RuntimeError("%s failed: %d %s" % (what, code, _last_error()))


class BigMemory(_bm.BigMemory):
    """A pool; create() makes it. Methods raise RuntimeError where they fail."""

    def join(self, flags=0):
        """Shows this member's part to the others, and returns its global address."""
        _check("join", super().join(flags))
        return self.peer_rank_ptr(bm_rank_id())

    def leave(self, flags=0):
        _check("leave", super().leave(flags))

    def local_mem_size(self, mem_type=None):
        """Bytes of this member's part: the device part where it has one, else the host part; or that of one kind."""
        return super().local_mem_size(mem_type) if mem_type is not None else _lib.smem_bm_get_local_mem_size(self._handle)

    def peer_rank_ptr(self, peer_rank, mem_type=None):
        if mem_type is not None:
            return super().peer_rank_ptr(peer_rank, mem_type)
        return _lib.smem_bm_ptr(self._handle, peer_rank) or 0

    def register(self, addr, size):
        _check("register", super().register(addr, size))

    def unregister(self, addr):
        _check("unregister", super().unregister(addr))

    def copy_data(self, src_ptr, dst_ptr, size, type, flags=0):
        _check("copy data", super().copy_data(src_ptr, dst_ptr, size, type, flags))

    def copy_data_2d(self, params, type, flags=0):
        _check("copy data 2d", super().copy_data_2d(params, type, flags))

    def copy_data_batch(self, src_addrs, dst_addrs, sizes, count, type, flags=0):
        _check("copy data batch", super().copy_data_batch(src_addrs, dst_addrs, sizes, count, type, flags))

    def wait(self):
        _check("wait", super().wait())


def create(id, local_dram_size, local_hbm_size, data_op_type=BmDataOpType.SDMA, flags=0):
    """Makes the pool `id` here. RuntimeError: it failed; the text says why."""
    return _bm._create(BigMemory, id, local_dram_size, local_hbm_size, data_op_type, flags)
