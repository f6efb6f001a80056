"""libmf_smem.so by ctypes: where it lies, its structs, and the calls that the packages use, with their types.

The interpreter's lock is released around every call.
"""

import atexit
import ctypes
import operator
import os
import pathlib
import threading

import hmc_waits

c_bool, c_int, c_int32, c_uint16, c_uint32 = (ctypes.c_bool, ctypes.c_int, ctypes.c_int32, ctypes.c_uint16,
                                              ctypes.c_uint32)
c_uint64, c_size, c_void_p, c_char_p = ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p

HERE = pathlib.Path(__file__).resolve().parent
INVALID = -2000


def _candidates():
    """The file that HMC_SMEM_LIBRARY names; the wheel's; an installed one's; that of a build of this tree; the system's."""
    named = os.environ.get("HMC_SMEM_LIBRARY")
    if named:
        yield pathlib.Path(named)
        return
    folders = [HERE.parent / "hmc" / "lib"]
    home = os.environ.get("MEMFABRIC_HYBRID_HOME_PATH")
    if home:
        folders += sorted(pathlib.Path(home).glob("*-linux/lib64"))
    folders.append(HERE.parent.parent / "build" / "release")
    yield from (folder / "libmf_smem.so.1" for folder in folders if (folder / "libmf_smem.so.1").exists())
    yield pathlib.Path("libmf_smem.so.1")


def _load():
    faults = []
    for path in _candidates():
        try:
            for beside in sorted(path.parent.glob("libhmc.so.*"))[:1]:  # a wheel's library does not know where it lies
                ctypes.CDLL(str(beside), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(path)), path
        except OSError as error:
            faults.append(str(error))
    raise ImportError("libmf_smem.so.1 does not load; set HMC_SMEM_LIBRARY to it: " + "; ".join(faults))


lib, library_path = _load()


class CTls(ctypes.Structure):
    _fields_ = [("tlsEnable", c_bool)] + [(name, ctypes.c_char * 256) for name in (
        "caPath", "crlPath", "certPath", "keyPath", "keyPassPath", "packagePath", "decrypterLibPath")]


class CBmConfig(ctypes.Structure):
    _fields_ = [("initTimeout", c_uint32), ("createTimeout", c_uint32), ("controlOperationTimeout", c_uint32),
                ("startConfigStore", c_bool), ("startConfigStoreOnly", c_bool), ("dynamicWorldSize", c_bool),
                ("unifiedAddressSpace", c_bool), ("autoRanking", c_bool), ("rankId", c_uint16), ("flags", c_uint32),
                ("hcomUrl", ctypes.c_char * 64), ("hcomTlsConfig", CTls), ("storeTlsConfig", CTls)]


class CShmConfig(ctypes.Structure):
    _fields_ = [("shmInitTimeout", c_uint32), ("shmCreateTimeout", c_uint32), ("controlOperationTimeout", c_uint32),
                ("startConfigStore", c_bool), ("flags", c_uint32)]


class CTransConfig(ctypes.Structure):
    _fields_ = [("role", c_int), ("initTimeout", c_uint32), ("deviceId", c_uint32), ("flags", c_uint32),
                ("dataOpType", c_int), ("startConfigServer", c_bool)]


class CCopy(ctypes.Structure):
    _fields_ = [("src", c_void_p), ("dest", c_void_p), ("dataSize", c_size)]


class CCopyBatch(ctypes.Structure):
    _fields_ = [("sources", ctypes.POINTER(c_void_p)), ("destinations", ctypes.POINTER(c_void_p)),
                ("dataSizes", ctypes.POINTER(c_uint64)), ("batchSize", c_uint32)]


class CCopy2D(ctypes.Structure):
    _fields_ = [("src", c_void_p), ("spitch", c_uint64), ("dest", c_void_p), ("dpitch", c_uint64),
                ("width", c_uint64), ("height", c_uint64)]


LOGGER = ctypes.CFUNCTYPE(None, c_int, c_char_p)
DECRYPT = ctypes.CFUNCTYPE(c_int, c_void_p, c_size, c_void_p, ctypes.POINTER(c_size))

_POINTERS, _SIZES = ctypes.POINTER(c_void_p), ctypes.POINTER(c_size)
_ONE = [c_void_p, c_void_p, c_char_p, c_void_p, c_size]
_MANY = [c_void_p, _POINTERS, c_char_p, _POINTERS, _SIZES, c_uint32]
_UNIT = ctypes.POINTER(c_uint32)

# name: (result, parameters)
_CALLS = {
    "smem_init": (c_int32, [c_uint32]),
    "smem_uninit": (None, []),
    "smem_set_extern_logger": (c_int32, [LOGGER]),
    "smem_set_log_level": (c_int32, [c_int]),
    "smem_get_last_err_msg": (c_char_p, []),
    "smem_get_and_clear_last_err_msg": (c_char_p, []),
    "hmc_smem_interruptible": (None, [ctypes.POINTER(c_int32)]),
    "hmc_smem_set_last_err_msg": (None, [c_char_p]),
    "smem_create_config_store": (c_int32, [c_char_p]),
    "smem_set_conf_store_tls": (c_int32, [c_bool, c_char_p, c_uint32]),
    "smem_set_conf_store_tls_files": (c_int32, [c_bool, c_char_p, c_char_p, c_char_p]),
    "smem_set_config_store_tls_key": (c_int32, [c_char_p, c_uint32, c_char_p, c_uint32, DECRYPT]),
    "smem_bm_config_init": (c_int32, [ctypes.POINTER(CBmConfig)]),
    "smem_bm_init": (c_int32, [c_char_p, c_uint32, c_uint16, ctypes.POINTER(CBmConfig)]),
    "smem_bm_uninit": (None, [c_uint32]),
    "smem_bm_get_rank_id": (c_uint32, []),
    "smem_bm_create": (c_void_p, [c_uint32, c_uint32, c_int, c_uint64, c_uint64, c_uint32]),
    "smem_bm_destroy": (None, [c_void_p]),
    "smem_bm_join": (c_int32, [c_void_p, c_uint32]),
    "smem_bm_leave": (c_int32, [c_void_p, c_uint32]),
    "smem_bm_get_local_mem_size": (c_uint64, [c_void_p]),
    "smem_bm_get_local_mem_size_by_mem_type": (c_uint64, [c_void_p, c_int]),
    "smem_bm_ptr": (c_void_p, [c_void_p, c_uint16]),
    "smem_bm_ptr_by_mem_type": (c_void_p, [c_void_p, c_int, c_uint16]),
    "smem_bm_local_ptr": (c_void_p, [c_void_p, c_int]),
    "smem_bm_get_rank_id_by_gva": (c_uint32, [c_void_p, c_void_p]),
    "smem_bm_copy": (c_int32, [c_void_p, ctypes.POINTER(CCopy), c_int, c_uint32]),
    "smem_bm_copy_2d": (c_int32, [c_void_p, ctypes.POINTER(CCopy2D), c_int, c_uint32]),
    "smem_bm_copy_batch": (c_int32, [c_void_p, ctypes.POINTER(CCopyBatch), c_int, c_uint32]),
    "smem_bm_wait": (c_int32, [c_void_p]),
    "smem_bm_register_user_mem": (c_int32, [c_void_p, c_uint64, c_uint64]),
    "smem_bm_unregister_user_mem": (c_int32, [c_void_p, c_uint64]),
    "smem_shm_config_init": (c_int32, [ctypes.POINTER(CShmConfig)]),
    "smem_shm_init": (c_int32, [c_char_p, c_uint32, c_uint32, c_uint16, ctypes.POINTER(CShmConfig)]),
    "smem_shm_uninit": (None, [c_uint32]),
    "smem_shm_query_support_data_operation": (c_uint32, []),
    "smem_shm_create": (c_void_p, [c_uint32, c_uint32, c_uint32, c_uint64, c_int, c_uint32, _POINTERS]),
    "smem_shm_destroy": (c_int32, [c_void_p, c_uint32]),
    "smem_shm_set_extra_context": (c_int32, [c_void_p, c_char_p, c_uint32]),
    "smem_shm_get_global_rank": (c_uint32, [c_void_p]),
    "smem_shm_get_global_rank_size": (c_uint32, [c_void_p]),
    "smem_shm_control_barrier": (c_int32, [c_void_p]),
    "smem_shm_control_allgather": (c_int32, [c_void_p, c_char_p, c_uint32, c_void_p, c_uint32]),
    "smem_shm_topology_can_reach": (c_int32, [c_void_p, c_uint32, _UNIT]),
    "smem_trans_config_init": (c_int32, [ctypes.POINTER(CTransConfig)]),
    "smem_trans_init": (c_int32, [ctypes.POINTER(CTransConfig)]),
    "smem_trans_uninit": (None, [c_uint32]),
    "smem_trans_create": (c_void_p, [c_char_p, c_char_p, ctypes.POINTER(CTransConfig)]),
    "smem_trans_destroy": (None, [c_void_p, c_uint32]),
    "smem_trans_register_mem": (c_int32, [c_void_p, c_void_p, c_size, c_uint32]),
    "smem_trans_batch_register_mem": (c_int32, [c_void_p, _POINTERS, _SIZES, c_uint32, c_uint32]),
    "smem_trans_deregister_mem": (c_int32, [c_void_p, c_void_p]),
    "smem_trans_write": (c_int32, _ONE + [c_uint32]),
    "smem_trans_read": (c_int32, _ONE + [c_uint32]),
    "smem_trans_batch_write": (c_int32, _MANY + [c_uint32]),
    "smem_trans_batch_read": (c_int32, _MANY + [c_uint32]),
    "smem_trans_write_submit": (c_int32, _ONE + [c_void_p, c_uint32]),
    "smem_trans_read_submit": (c_int32, _ONE + [c_void_p, c_uint32]),
    "smem_trans_batch_write_submit": (c_int32, _MANY + [c_void_p, c_uint32]),
    "smem_trans_batch_read_submit": (c_int32, _MANY + [c_void_p, c_uint32]),
}


def whole(value, kind):
    """A number that fits a type of C, which would else be cut without a word. TypeError, as pybind's classes raise it."""
    number = operator.index(value)
    bits = 8 * ctypes.sizeof(kind)
    if not 0 <= number < 1 << bits:
        raise TypeError("%d: a number of %d bits, 0 to %d, is taken" % (number, bits, (1 << bits) - 1))
    return number


def _checked(kind):
    """The type as a parameter that takes only what fits it: ctypes.ArgumentError."""
    return type("Checked", (), {"from_param": classmethod(lambda cls, value: kind(whole(value, kind)))})


_CHECKED = {kind: _checked(kind) for kind in (c_uint16, c_uint32, c_uint64, c_size)}

for _name, (_result, _parameters) in _CALLS.items():
    _call = getattr(lib, _name)
    _moves = "_copy" in _name or "_read" in _name or "_write" in _name  # their sizes are looked at by the library itself
    _call.restype = _result
    _call.argtypes = _parameters if _moves else [_CHECKED.get(kind, kind) for kind in _parameters]

PATIENCE = 0.5  # seconds that an interrupted call is given to undo what it has begun


def apart(call, *arguments, undo=None):
    """A call that waits for the store or for other members, which Ctrl-C ends: see hmc_waits. undo(result) where it was
    interrupted and yet came to its end."""
    if threading.current_thread() is not threading.main_thread():
        return call(*arguments)
    asked = c_int32(0)

    def run():
        lib.hmc_smem_interruptible(asked)
        try:
            result = call(*arguments)
            if asked.value and undo is not None:
                undo(result)
            return result, lib.smem_get_last_err_msg()
        finally:
            lib.hmc_smem_interruptible(None)

    def end():
        asked.value = 1

    result, said = hmc_waits.apart(run, end=end, patience=PATIENCE)
    if said:
        lib.hmc_smem_set_last_err_msg(said)
    return result


atexit.register(lib.smem_uninit)  # no line of the log comes to an interpreter that has ended


# ---- arguments


def text(value):
    if isinstance(value, str):
        return value.encode()
    if value is None or isinstance(value, bytes):
        return value
    raise TypeError("a text is expected, not %r" % (value,))


def fields(config, kind):
    """The C struct of a config, or None."""
    if config is None:
        return None
    if not isinstance(config, kind):
        raise TypeError("a %s is expected, not %r" % (kind.__name__, config))
    return config._c


def address(value):
    """An address as a number: what is one already, a numpy array, a torch tensor, or anything with a buffer."""
    if isinstance(value, int) or value is None:
        return value
    if hasattr(value, "data_ptr"):
        return value.data_ptr()
    interface = getattr(value, "__array_interface__", None) or getattr(value, "__cuda_array_interface__", None)
    if interface is not None:
        return interface["data"][0]
    if hasattr(value, "__index__"):
        return value.__index__()
    raise TypeError("an address is a number, an array or a tensor, not %r" % type(value).__name__)


def pointers(values):
    return (c_void_p * len(values))(*[address(each) for each in values])


def stream_of(stream):
    """A stream's handle: a number, or an object of torch or torch_npu."""
    for name in ("npu_stream", "cuda_stream", "_as_parameter_"):
        if hasattr(stream, name):
            stream = getattr(stream, name)
            break
    return getattr(stream, "value", stream)


def field(name, convert=lambda value: value):
    """A property that is a field of the object's C struct."""
    def get(self):
        return getattr(self._c, name)

    def put(self, value):
        kind = dict(self._c._fields_)[name]
        value = convert(value)
        setattr(self._c, name, whole(value, kind) if kind in _CHECKED else value)

    return property(get, put)


def last_error():
    return lib.smem_get_last_err_msg().decode(errors="replace")
