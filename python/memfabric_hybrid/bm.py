"""BM: a pool of the host and device memory of all members, under global addresses (see smem/host/smem_bm.h).

Addresses are numbers; arrays and tensors are taken where one goes in. BigMemory.array() and tensor() are views of pool
memory, without a copy.
"""

import enum

from ._library import (CBmConfig, CCopy, CCopy2D, CCopyBatch, INVALID, address, apart, c_uint64, field, fields, last_error, lib,
                       pointers, text)
from ._views import array_at, tensor_at

__all__ = ["BmConfig", "BmMemType", "BmCopyType", "BmDataOpType", "BmInitFlag", "BigMemory", "CopyData2DParams",
           "initialize", "uninitialize", "bm_rank_id", "create", "ASYNC_COPY_FLAG", "COPY_EXTEND_FLAG"]

ASYNC_COPY_FLAG, COPY_EXTEND_FLAG = 1, 2
_AUTOMATIC = 65535


class BmMemType(enum.IntEnum):
    LOCAL_DEVICE, LOCAL_HOST, DEVICE, HOST = range(4)


class BmCopyType(enum.IntEnum):
    """L: device memory of this process; H: its host memory; G: the pool, GH where its host part is meant."""

    L2G, G2L, G2H, H2G, L2GH, GH2L, GH2H, H2GH, G2G, AUTO = range(10)


class BmDataOpType(enum.IntFlag):
    SDMA = 1
    HOST_RDMA = 2
    ROCE = 2
    HOST_TCP = 4
    DEVICE_RDMA = 8
    HOST_URMA = 16


class BmInitFlag(enum.IntFlag):
    GVM = 2


def _rank(value):
    if value not in range(-1, _AUTOMATIC + 1):
        raise TypeError("a rank id is -1 (automatic) or 0 to %d, not %r" % (_AUTOMATIC, value))
    return _AUTOMATIC if value == -1 else value


class BmConfig:
    """Timeouts in seconds. rank_id -1 or 65535, or auto_ranking: the store gives the rank."""

    __slots__ = ("_c",)  # a mistyped name is an AttributeError

    init_timeout = field("initTimeout")
    create_timeout = field("createTimeout")
    operation_timeout = field("controlOperationTimeout")
    start_store = field("startConfigStore")
    start_store_only = field("startConfigStoreOnly")
    dynamic_world_size = field("dynamicWorldSize")
    unified_address_space = field("unifiedAddressSpace")
    auto_ranking = field("autoRanking")
    rank_id = field("rankId", _rank)
    flags = field("flags")

    def __init__(self):
        self._c = CBmConfig()
        lib.smem_bm_config_init(self._c)

    @property
    def hcom_url(self):
        """Where peers reach this member, "tcp://ip:port"; "": found by itself."""
        return self._c.hcomUrl.decode()

    @hcom_url.setter
    def hcom_url(self, url):
        self._c.hcomUrl = text(url)

    def set_nic(self, nic):
        self.hcom_url = nic

    def set_store_tls(self, **fields):
        """Certificates for the store: the fields of smem_tls_config, as ca_path=..., or as caPath=..."""
        _set_tls(self._c.storeTlsConfig, fields)

    def set_hcom_tls(self, **fields):
        """The same for connections between members, which the job's secret authenticates."""
        _set_tls(self._c.hcomTlsConfig, fields)


def _set_tls(tls, fields):
    known = {name.lower(): name for name, _ in tls._fields_}
    for name, value in fields.items():
        key = known.get(name.replace("_", "").lower())
        if key is None:
            raise AttributeError("smem_tls_config has no %s" % name)
        setattr(tls, key, text(value))


class CopyData2DParams:
    """`height` rows of `width` bytes, every spitch to every dpitch bytes."""

    __slots__ = ("src", "spitch", "dest", "dpitch", "width", "height")

    def __init__(self):
        self.src = self.spitch = self.dest = self.dpitch = self.width = self.height = 0


def initialize(store_url, world_size, device_id, config):
    """Makes this process a member. 0, -2000, -2004 (nobody serves the store), -2006 (the rank is taken), -1."""
    return apart(lib.smem_bm_init, text(store_url), world_size, device_id, fields(config, BmConfig),
                 undo=lambda code: lib.smem_bm_uninit(0) if code == 0 else None)


def uninitialize(flags=0):
    lib.smem_bm_uninit(flags)


def bm_rank_id():
    """This member's rank; 4294967295 before initialize()."""
    return lib.smem_bm_get_rank_id()


def _create(cls, id, local_dram_size, local_hbm_size, data_op_type, flags):
    handle = apart(lib.smem_bm_create, id, 0, int(data_op_type), local_dram_size, local_hbm_size, flags,
                   undo=lambda handle: lib.smem_bm_destroy(handle) if handle else None)
    if not handle:
        raise RuntimeError("create bm handle failed. " + last_error())
    return cls(handle)


class BigMemory:
    """A pool; create() makes it. Destroyed with its last reference, or by destroy()."""

    def __init__(self, handle):
        self._handle = handle

    def __del__(self):
        self.destroy()

    def destroy(self):
        handle, self._handle = getattr(self, "_handle", None), None
        if handle is not None:
            lib.smem_bm_destroy(handle)

    def join(self, flags=0):
        """Shows this member's part to the others."""
        return apart(lib.smem_bm_join, self._handle, flags)

    def leave(self, flags=0):
        """Takes it back: when it returns nobody copies to or from it."""
        return apart(lib.smem_bm_leave, self._handle, flags)

    def local_mem_size(self, mem_type=BmMemType.DEVICE):
        return lib.smem_bm_get_local_mem_size_by_mem_type(self._handle, mem_type)

    def peer_rank_ptr(self, peer_rank, mem_type=BmMemType.DEVICE):
        """The global address of a member's part; 0: no such rank or kind."""
        return lib.smem_bm_ptr_by_mem_type(self._handle, mem_type, peer_rank) or 0

    def get_rank_id_by_gva(self, gva):
        return lib.smem_bm_get_rank_id_by_gva(self._handle, address(gva))

    def register(self, addr, size):
        """Memory that copies will often name is pinned once."""
        return lib.smem_bm_register_user_mem(self._handle, address(addr), size)

    def unregister(self, addr):
        return lib.smem_bm_unregister_user_mem(self._handle, address(addr))

    def copy_data(self, src_ptr, dst_ptr, size, type, flags=0):
        """Copies. With ASYNC_COPY_FLAG it is started, and wait() waits for it; the memory must live until then."""
        return lib.smem_bm_copy(self._handle, CCopy(address(src_ptr), address(dst_ptr), size), type, flags)

    def copy_data_2d(self, params, type, flags=0):
        c_params = CCopy2D(address(params.src), params.spitch, address(params.dest), params.dpitch, params.width,
                           params.height)
        return lib.smem_bm_copy_2d(self._handle, c_params, type, flags)

    def copy_data_batch(self, src_addrs, dst_addrs, sizes, count, type, flags=0):
        """The first `count` of three lists."""
        if not 0 <= count <= min(len(src_addrs), len(dst_addrs), len(sizes)):
            return INVALID
        params = CCopyBatch(pointers(src_addrs[:count]), pointers(dst_addrs[:count]),
                            (c_uint64 * count)(*sizes[:count]), count)
        return lib.smem_bm_copy_batch(self._handle, params, type, flags)

    def wait(self):
        """Waits for all that was started; the first error among it."""
        return lib.smem_bm_wait(self._handle)

    # ---- views

    def _host_part(self, rank):
        rank = bm_rank_id() if rank is None else rank
        return self.peer_rank_ptr(rank, BmMemType.HOST)

    def array(self, shape, dtype="uint8", offset=0, rank=None):
        """A numpy array over host memory of the pool: this member's part, or that of a member on the same host that has
        joined. It is valid while the pool lives."""
        return array_at(self._host_part(rank), self.local_mem_size(BmMemType.HOST) if rank is None else None, shape, dtype,
                        offset, self)

    def tensor(self, shape, dtype=None, offset=0, rank=None):
        """The same as a torch tensor on the processor."""
        return tensor_at(self._host_part(rank), self.local_mem_size(BmMemType.HOST) if rank is None else None, shape,
                         dtype, offset, self)

    def device_ptr(self):
        """The pointer by which kernels of this process reach its own device part; 0: it has none."""
        return lib.smem_bm_local_ptr(self._handle, BmMemType.LOCAL_DEVICE) or 0


def create(id, local_dram_size, local_hbm_size, data_op_type=BmDataOpType.SDMA, flags=0):
    """Makes the pool `id` here. RuntimeError: it failed; the text says why."""
    return _create(BigMemory, id, local_dram_size, local_hbm_size, data_op_type, flags)
