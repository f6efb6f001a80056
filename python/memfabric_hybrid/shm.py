"""SHM: symmetric objects, with barrier and allgather (see smem/host/smem_shm.h)."""

import ctypes
import enum

from ._library import CShmConfig, apart, c_uint32, c_void_p, field, fields, last_error, lib, text
from ._views import array_at, tensor_at

__all__ = ["ShmConfig", "ShmDataOpType", "ShareMemory", "initialize", "uninitialize", "create"]

NO_RANK = 0xffffffff  # what an object that was destroyed answers


class ShmDataOpType(enum.IntFlag):
    MTE = 1
    SDMA = 2
    RDMA = 4
    ROCE = 4


class ShmConfig:
    """Timeouts in seconds."""

    __slots__ = ("_c",)  # a mistyped name is an AttributeError

    init_timeout = field("shmInitTimeout")
    create_timeout = field("shmCreateTimeout")
    operation_timeout = field("controlOperationTimeout")
    start_store = field("startConfigStore")
    flags = field("flags")

    def __init__(self):
        self._c = CShmConfig()
        lib.smem_shm_config_init(self._c)


def initialize(store_url, world_size, rank_id, device_id, config):
    """Joins the world of the store. 0, -2000, -2004 (nobody serves the store), -1."""
    return apart(lib.smem_shm_init, text(store_url), world_size, rank_id, device_id,
                 fields(config, ShmConfig), undo=lambda code: lib.smem_shm_uninit(0) if code == 0 else None)


def uninitialize(flags=0):
    lib.smem_shm_uninit(flags)


def _create(cls, id, rank_size, rank_id, local_mem_size, data_op_type, flags):
    base = c_void_p()
    handle = apart(lib.smem_shm_create, id, rank_size, rank_id, local_mem_size, int(data_op_type), flags, base,
                   undo=lambda handle: lib.smem_shm_destroy(handle, 0) if handle else None)
    if not handle:
        raise RuntimeError("create shm failed! " + last_error())
    return cls(handle, base.value, local_mem_size)


class ShareMemory:
    """A symmetric object; create() makes it. Destroyed with its last reference, or by destroy()."""

    def __init__(self, handle, gva, part):
        self._handle, self._gva, self._part = handle, gva, part

    def __del__(self):
        self.destroy()

    def destroy(self, flags=0):
        handle, self._handle = getattr(self, "_handle", None), None
        return lib.smem_shm_destroy(handle, flags) if handle is not None else 0

    def set_context(self, context):
        """Bytes that kernels of this process find."""
        return lib.smem_shm_set_extra_context(self._handle, context, len(context))

    def query_support_data_operation(self):
        return lib.smem_shm_query_support_data_operation()

    def barrier(self):
        return apart(lib.smem_shm_control_barrier, self._handle)

    def all_gather(self, local_data):
        """The bytes of all ranks, one behind the other. RuntimeError: it failed."""
        ranks = self.rank_size
        size = len(local_data) * (ranks if ranks != NO_RANK else 0)
        room = ctypes.create_string_buffer(size)
        code = apart(lib.smem_shm_control_allgather, self._handle, local_data, len(local_data), room, size)
        if code != 0:
            raise RuntimeError("all gather failed: %d %s" % (code, last_error()))
        return room.raw

    def topology_can_reach(self, remote_rank, reach_info):
        """Returns a code; reach_info, a ctypes.c_uint32 or a list, gets the mask of ShmDataOpType."""
        mask = c_uint32()
        code = lib.smem_shm_topology_can_reach(self._handle, remote_rank, mask)
        if code == 0 and hasattr(reach_info, "value"):
            reach_info.value = mask.value
        elif code == 0 and hasattr(reach_info, "__setitem__"):
            reach_info[:] = [mask.value]
        return code

    @property
    def local_rank(self):
        return lib.smem_shm_get_global_rank(self._handle)

    @property
    def rank_size(self):
        return lib.smem_shm_get_global_rank_size(self._handle)

    @property
    def gva(self):
        """Rank r's part begins at gva + local_mem_size * r."""
        return self._gva

    def array(self, shape, dtype="uint8", offset=0, rank=None):
        """A numpy array over a rank's part, this rank's or that of a rank on the same host."""
        rank = self.local_rank if rank is None else rank
        return array_at(self._gva + self._part * rank, self._part, shape, dtype, offset, self)

    def tensor(self, shape, dtype=None, offset=0, rank=None):
        """The same as a torch tensor on the processor."""
        rank = self.local_rank if rank is None else rank
        return tensor_at(self._gva + self._part * rank, self._part, shape, dtype, offset, self)


def create(id, rank_size, rank_id, local_mem_size, data_op_type=ShmDataOpType.MTE, flags=0):
    """Makes object `id`, when all ranks have called it. RuntimeError: it failed; the text says why."""
    return _create(ShareMemory, id, rank_size, rank_id, local_mem_size, data_op_type, flags)
