"""The names of SHMEM for Ascend's own Python package. Pointers are integers."""

import atexit
import ctypes
import enum
import sys

from ._library import CInitAttr, CUniqueId, DECRYPT, LOGGER, OptionalAttr, apart, lib

_DEFAULT, _MPI, _UNIQUEID = 1, 2, 8
_keep = []  # the loggers that the library has had


class InitStatus(enum.IntEnum):
    NOT_INITIALIZED = 0
    SHM_CREATED = 1
    INITIALIZED = 2
    INVALID = 0x7FFFFFFF


class OpEngineType(enum.IntEnum):
    MTE = 1
    SDMA = 2
    ROCE = 4
    UDMA = 8


class SignalOp(enum.IntEnum):
    SIGNAL_SET = 0
    SIGNAL_ADD = 1


class CmpOp(enum.IntEnum):
    CMP_EQ = 0
    CMP_NE = 1
    CMP_GT = 2
    CMP_GE = 3
    CMP_LT = 4
    CMP_LE = 5


class MemType(enum.IntEnum):
    HOST_SIDE = 0
    DEVICE_SIDE = 1


class InitAttr:
    """Who this PE is, where PE 0 is met ("tcp://ip:port"), and the bytes of each PE's heap."""

    def __init__(self):
        self.my_rank = 0
        self.n_ranks = 1
        self.ip_port = ""
        self.local_mem_size = 1 << 30
        self.option_attr = OptionalAttr()


class TeamConfig:
    def __init__(self, num_contexts=0):
        self.num_contexts = num_contexts


def aclshmem_init(attributes):
    """Joins the job that the attributes describe, or, without an address, the launcher's. 0 or an error code."""
    attr = CInitAttr(my_pe=attributes.my_rank, n_pes=attributes.n_ranks, ip_port=attributes.ip_port.encode(),
                     local_mem_size=attributes.local_mem_size)
    attr.option_attr = attributes.option_attr
    return apart(lib.aclshmemx_init_attr, _DEFAULT, ctypes.byref(attr))


def aclshmem_get_unique_id():
    """The id of a job whose PE 0 this process will be, as bytes for the others."""
    uid = CUniqueId()
    if lib.aclshmemx_get_uniqueid(ctypes.byref(uid)) != 0:
        raise RuntimeError("aclshmem_get_unique_id failed")
    return ctypes.string_at(ctypes.byref(uid), ctypes.sizeof(uid))


def aclshmem_init_using_unique_id(mype, npes, mem_size, uid):
    if len(uid) < ctypes.sizeof(CUniqueId):
        return -1
    c_uid = CUniqueId.from_buffer_copy(uid)
    attr = CInitAttr()
    status = lib.aclshmemx_set_attr_uniqueid_args(mype, npes, mem_size, ctypes.byref(c_uid), ctypes.byref(attr))
    return status or apart(lib.aclshmemx_init_attr, _UNIQUEID, ctypes.byref(attr))


def aclshmem_finalize():
    return apart(lib.aclshmem_finalize)


aclshmem_finialize = aclshmem_finalize  # the name that the package has


def aclshmemx_init_status():
    return InitStatus(lib.hmc_shmem_init_status())


def _allocated(pointer, call):
    if not pointer:
        raise RuntimeError(f"{call} failed")
    return pointer


def aclshmem_malloc(size):
    return _allocated(lib.hmc_shmem_side_malloc(size, MemType.DEVICE_SIDE), "aclshmem_malloc")


def aclshmem_calloc(nmemb, size):
    return _allocated(lib.hmc_shmem_side_calloc(nmemb, size, MemType.DEVICE_SIDE), "aclshmem_calloc")


def aclshmem_align(alignment, size):
    return _allocated(lib.hmc_shmem_side_align(alignment, size, MemType.DEVICE_SIDE), "aclshmem_align")


def aclshmem_free(ptr):
    lib.shmem_free(ptr)


def aclshmem_ptr(ptr, peer):
    return lib.shmem_ptr(ptr, peer) or 0


def aclshmemx_get_heap_base(mem_type=None):
    """The first byte of the heap of that side; without a device heap both are the one in host memory."""
    return lib.hmc_shmem_side_base(MemType.DEVICE_SIDE if mem_type is None else mem_type) or 0


def my_pe(team=None):
    return lib.shmem_my_pe() if team is None else lib.shmem_team_my_pe(int(team))


def pe_count(team=None):
    return lib.shmem_n_pes() if team is None else lib.shmem_team_n_pes(int(team))


def team_my_pe(team_id):
    return lib.shmem_team_my_pe(team_id)


def team_n_pes(team_id):
    return lib.shmem_team_n_pes(team_id)


def team_split_strided(parent, start, stride, size):
    """The new team, -1 for PEs outside it, or an error code."""
    team = ctypes.c_int(-1)
    status = lib.shmem_team_split_strided(parent, start, stride, size, None, 0, ctypes.byref(team))
    return status or team.value


def team_split_2d(parent, x_range):
    x_team, y_team = ctypes.c_int(-1), ctypes.c_int(-1)
    if lib.shmem_team_split_2d(parent, x_range, None, 0, ctypes.byref(x_team), None, 0, ctypes.byref(y_team)):
        raise RuntimeError("aclshmem_team_split_2d failed")
    return x_team.value, y_team.value


def team_translate_pe(src_team, src_pe, dest_team):
    return lib.shmem_team_translate_pe(src_team, src_pe, dest_team)


def team_destroy(team):
    lib.shmem_team_destroy(team)


def aclshmem_team_get_config(team):
    if lib.shmem_team_n_pes(team) < 0:
        raise RuntimeError("aclshmem_team_get_config failed")
    return TeamConfig()


def aclshmem_putmem(dst, src, elem_size, pe):
    lib.shmem_putmem(dst, src, elem_size, pe)
    lib.shmem_quiet()


def aclshmem_getmem(dst, src, elem_size, pe):
    lib.shmem_getmem(dst, src, elem_size, pe)


def aclshmem_putmem_nbi(dst, src, elem_size, pe):
    lib.shmem_putmem_nbi(dst, src, elem_size, pe)


def aclshmem_getmem_nbi(dst, src, elem_size, pe):
    lib.shmem_getmem_nbi(dst, src, elem_size, pe)


def aclshmemx_putmem_signal(dst, src, elem_size, sig, signal, sig_op, pe):
    lib.shmem_putmem(dst, src, elem_size, pe)
    lib.shmem_fence()
    change = lib.shmem_int32_atomic_add if sig_op == SignalOp.SIGNAL_ADD else lib.shmem_int32_atomic_set
    change(sig, signal, pe)


aclshmemx_putmem_signal_nbi = aclshmemx_putmem_signal


def aclshmem_signal_wait_until(sig_addr, cmp, cmp_val):
    lib.shmem_int32_wait_until(sig_addr, cmp, cmp_val)


def aclshmem_info_get_version():
    major, minor = ctypes.c_int(), ctypes.c_int()
    lib.aclshmem_info_get_version(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


def aclshmem_info_get_name():
    name = ctypes.create_string_buffer(256)
    lib.aclshmem_info_get_name(name)
    return name.value.decode()


def aclshmem_global_exit(status):
    lib.shmem_global_exit(status)


def get_ffts_config():
    return lib.util_get_ffts_config()


def set_log_level(level):
    return lib.aclshmemx_set_log_level(level)


def set_extern_logger(func):
    """func(level, text) gets the log's lines, until the interpreter ends."""
    if not callable(func):
        raise TypeError("the logger is not callable")
    logger = LOGGER(lambda level, text: func(level, text.decode(errors="replace")))
    if not _keep:
        atexit.register(lib.hmc_log_set_callback, None, None)  # no line comes to an interpreter that has ended
    _keep.append(logger)
    return lib.aclshmemx_set_extern_logger(logger)


def set_conf_store_tls(enable, tls_info=""):
    text = tls_info.encode()
    return lib.shmem_set_conf_store_tls(bool(enable), text, len(text))


def set_conf_store_tls_key(tls_pk, tls_pk_pw, py_decrypt_func=None):
    """The private key of the certificate as PEM text, and its password, which py_decrypt_func(cipher text) turns into plain
    text. Where that raises, sys.excepthook shows it. 0, or an error code."""

    def decrypt(cipher, cipher_size, plain, plain_size):
        try:
            made = py_decrypt_func(ctypes.string_at(cipher, cipher_size).decode()).encode()
            if len(made) > plain_size.contents.value:
                raise ValueError(f"a password of {len(made)} B: up to {plain_size.contents.value} are taken")
            ctypes.memmove(plain, made, len(made))
        except Exception:  # nothing to raise it through: the call fails, and this says why
            sys.excepthook(*sys.exc_info())
            return -1
        plain_size.contents.value = len(made)
        return 0

    key, password = tls_pk.encode(), tls_pk_pw.encode()
    return lib.hmc_shmem_set_tls_key(key, len(key), password, len(password),
                                     DECRYPT() if py_decrypt_func is None else DECRYPT(decrypt))


def calc_nbytes(shape, dtype):
    import torch
    count = 1
    for length in shape:
        count *= length
    return count * torch.empty((), dtype=dtype).element_size()


def construct_tensor_from_ptr(ptr, shape, dtype, device_id=0):
    """A torch tensor over memory of the heap in host memory; it does not own it."""
    import torch
    del device_id
    if lib.shmemx_space_of(ptr) == MemType.DEVICE_SIDE:
        raise ValueError("torch tensors lie in host memory; this address is one of the device heap")
    buffer = (ctypes.c_char * calc_nbytes(shape, dtype)).from_address(ptr)
    return torch.frombuffer(buffer, dtype=dtype).reshape(shape)


def aclshmem_create_tensor(shape, dtype=None, device_id=0):
    import torch
    dtype = torch.float32 if dtype is None else dtype
    pointer = _allocated(lib.shmem_malloc(calc_nbytes(shape, dtype)), "aclshmem_create_tensor")
    return construct_tensor_from_ptr(pointer, shape, dtype, device_id)


def aclshmem_free_tensor(tensor):
    aclshmem_free(tensor.data_ptr())


# The names of the package's first version.
shmem_init = aclshmem_init
shmem_get_unique_id = aclshmem_get_unique_id
shmem_init_using_unique_id = aclshmem_init_using_unique_id
shmem_finialize = aclshmem_finalize
shmem_malloc = aclshmem_malloc
shmem_calloc = aclshmem_calloc
shmem_align = aclshmem_align
shmem_free = aclshmem_free
shmem_ptr = aclshmem_ptr
shmem_init_status = aclshmemx_init_status
shmem_putmem = aclshmem_putmem
shmem_getmem = aclshmem_getmem
shmem_putmem_nbi = aclshmem_putmem_nbi
shmem_getmem_nbi = aclshmem_getmem_nbi
shmem_putmem_signal = aclshmemx_putmem_signal
shmem_putmem_signal_nbi = aclshmemx_putmem_signal
shmem_info_get_version = aclshmem_info_get_version
shmem_info_get_name = aclshmem_info_get_name
shmem_team_get_config = aclshmem_team_get_config
shmem_global_exit = aclshmem_global_exit
