"""libshmem.so by ctypes: where it lies, and the calls that the package uses, with their types."""

import atexit
import ctypes
import ctypes.util
import os
import pathlib
import threading
import time

import hmc_waits

c_int, c_long, c_size, c_void_p = ctypes.c_int, ctypes.c_long, ctypes.c_size_t, ctypes.c_void_p


def _candidates():
    """The file that HMC_SHMEM_LIBRARY names; beside the package (a wheel); of a build of this tree; the system's."""
    named = os.environ.get("HMC_SHMEM_LIBRARY")
    if named:
        yield named
        return
    here = pathlib.Path(__file__).resolve().parent
    yield from (str(path) for path in (here / "libshmem.so.1", here.parent / "hmc" / "lib" / "libshmem.so.1") if path.exists())
    home = os.environ.get("SHMEM_HOME_PATH")
    if home:
        yield from (str(path) for path in pathlib.Path(home).glob("lib*/**/libshmem.so.1"))
    built = here.parent.parent / "build" / "release" / "libshmem.so.1"
    if built.exists():
        yield str(built)
    yield "libshmem.so.1"


def _load():
    faults = []
    for name in _candidates():
        try:
            return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            faults.append(str(error))
    raise ImportError("libshmem.so.1 does not load; set HMC_SHMEM_LIBRARY to it: " + "; ".join(faults))


lib = _load()


class OptionalAttr(ctypes.Structure):
    """Timeouts in seconds, and the engine that moves data."""

    _fields_ = [("version", c_int), ("data_op_engine_type", c_int), ("shm_init_timeout", ctypes.c_uint32),
                ("shm_create_timeout", ctypes.c_uint32), ("control_operation_timeout", ctypes.c_uint32),
                ("sockFd", ctypes.c_int32)]

    def __init__(self):
        super().__init__((1 << 16) + ctypes.sizeof(OptionalAttr), 1, 120, 120, 120, -1)


class CInitAttr(ctypes.Structure):
    _fields_ = [("my_pe", c_int), ("n_pes", c_int), ("ip_port", ctypes.c_char * 64), ("local_mem_size", ctypes.c_uint64),
                ("option_attr", OptionalAttr), ("comm_args", c_void_p), ("instance_id", ctypes.c_uint64)]


class CUniqueId(ctypes.Structure):
    _fields_ = [("version", ctypes.c_int32), ("my_pe", c_int), ("n_pes", c_int), ("internal", ctypes.c_char * 124)]


class Attr(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_uint64)]


LOGGER = ctypes.CFUNCTYPE(None, c_int, ctypes.c_char_p)
DECRYPT = ctypes.CFUNCTYPE(c_int, c_void_p, c_size, c_void_p, ctypes.POINTER(c_size))

# name: (result, parameters)
_CALLS = {
    "shmem_init_with_attr": (c_int, [ctypes.POINTER(Attr)]),
    "shmem_finalize": (c_int, []),
    "shmem_global_exit": (None, [c_int]),
    "shmem_my_pe": (c_int, []),
    "shmem_n_pes": (c_int, []),
    "shmem_malloc": (c_void_p, [c_size]),
    "shmem_calloc": (c_void_p, [c_size, c_size]),
    "shmem_align": (c_void_p, [c_size, c_size]),
    "shmem_free": (None, [c_void_p]),
    "shmem_ptr": (c_void_p, [c_void_p, c_int]),
    "shmem_putmem": (None, [c_void_p, c_void_p, c_size, c_int]),
    "shmem_getmem": (None, [c_void_p, c_void_p, c_size, c_int]),
    "shmem_putmem_nbi": (None, [c_void_p, c_void_p, c_size, c_int]),
    "shmem_getmem_nbi": (None, [c_void_p, c_void_p, c_size, c_int]),
    "shmem_putmem_signal": (None, [c_void_p, c_void_p, c_size, c_void_p, ctypes.c_uint64, c_int, c_int]),
    "shmem_signal_wait_until": (ctypes.c_uint64, [c_void_p, c_int, ctypes.c_uint64]),
    "shmem_int32_atomic_set": (None, [c_void_p, ctypes.c_int32, c_int]),
    "shmem_int32_atomic_add": (None, [c_void_p, ctypes.c_int32, c_int]),
    "shmem_int32_wait_until": (None, [c_void_p, c_int, ctypes.c_int32]),
    "shmem_quiet": (None, []),
    "shmem_fence": (None, []),
    "shmem_barrier_all": (None, []),
    "shmem_sync_all": (None, []),
    "shmem_team_sync": (c_int, [c_int]),
    "hmc_shmem_team_barrier": (None, [c_int]),
    "shmem_team_my_pe": (c_int, [c_int]),
    "shmem_team_n_pes": (c_int, [c_int]),
    "shmem_team_translate_pe": (c_int, [c_int, c_int, c_int]),
    "shmem_team_split_strided": (c_int, [c_int, c_int, c_int, c_int, c_void_p, c_long, ctypes.POINTER(c_int)]),
    "shmem_team_split_2d": (c_int, [c_int, c_int, c_void_p, c_long, ctypes.POINTER(c_int), c_void_p, c_long,
                                    ctypes.POINTER(c_int)]),
    "shmem_team_destroy": (None, [c_int]),
    "shmem_broadcastmem": (c_int, [c_int, c_void_p, c_void_p, c_size, c_int]),
    "shmem_collectmem": (c_int, [c_int, c_void_p, c_void_p, c_size]),
    "shmem_fcollectmem": (c_int, [c_int, c_void_p, c_void_p, c_size]),
    "shmem_alltoallmem": (c_int, [c_int, c_void_p, c_void_p, c_size]),
    "shmem_set_lock": (None, [c_void_p]),
    "shmem_clear_lock": (None, [c_void_p]),
    "shmem_test_lock": (c_int, [c_void_p]),
    "shmem_info_get_version": (None, [ctypes.POINTER(c_int), ctypes.POINTER(c_int)]),
    "shmem_info_get_name": (None, [ctypes.c_char_p]),
    "shmem_set_conf_store_tls": (ctypes.c_int32, [c_int, ctypes.c_char_p, ctypes.c_uint32]),
    "aclshmemx_init_attr": (c_int, [ctypes.c_uint, ctypes.POINTER(CInitAttr)]),
    "aclshmemx_get_uniqueid": (c_int, [ctypes.POINTER(CUniqueId)]),
    "aclshmemx_set_attr_uniqueid_args": (c_int, [c_int, c_int, ctypes.c_int64, ctypes.POINTER(CUniqueId),
                                                 ctypes.POINTER(CInitAttr)]),
    "aclshmem_finalize": (c_int, []),
    "aclshmem_info_get_version": (None, [ctypes.POINTER(c_int), ctypes.POINTER(c_int)]),
    "aclshmem_info_get_name": (None, [ctypes.c_char_p]),
    "aclshmemx_set_log_level": (ctypes.c_int32, [c_int]),
    "aclshmemx_set_extern_logger": (ctypes.c_int32, [LOGGER]),
    "hmc_log_set_callback": (None, [c_void_p, c_void_p]),  # of libhmc.so, which comes with it
    "hmc_shmem_init_status": (c_int, []),
    "hmc_shmem_interrupt": (None, []),
    "hmc_shmem_set_tls_key": (ctypes.c_int32, [ctypes.c_char_p, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_uint32, DECRYPT]),
    "hmc_shmem_set_interrupt_hook": (None, [ctypes.CFUNCTYPE(c_int)]),
    "hmc_shmem_side_malloc": (c_void_p, [c_size, c_int]),
    "hmc_shmem_side_calloc": (c_void_p, [c_size, c_size, c_int]),
    "hmc_shmem_side_align": (c_void_p, [c_size, c_size, c_int]),
    "hmc_shmem_side_base": (c_void_p, [c_int]),
    "shmemx_set_device_heap": (c_int, [ctypes.c_uint64, ctypes.c_char_p]),
    "shmemx_space_malloc": (c_void_p, [c_int, c_size]),
    "shmemx_space_of": (c_int, [c_void_p]),
    "util_get_ffts_config": (ctypes.c_uint64, []),
}

# ---- Ctrl-C
#
# A thread that waits in the library calls the hook, in which the interpreter runs the handlers of signals: what they raise
# ends the call, and is raised by it. Joining and leaving a job have no such hook on their whole way, and take their time
# anyway: they run in a thread of their own.

HOOK = ctypes.CFUNCTYPE(c_int)
_raised = []


def _ask():
    """What each call yields: 1 where the handler of a signal has raised something. A generator, because the interpreter runs
    the handlers where Python code goes on, which must be inside the `try`: a function would begin before it."""
    result = 0
    while True:
        try:
            yield result
            time.sleep(0)
            result = 0
        except GeneratorExit:
            return
        except BaseException as error:  # pylint: disable=broad-except
            _raised.append(error)
            result = 1


_asking = _ask()
next(_asking)
_hook = HOOK(_asking.__next__)


def check(result, _call, _arguments):
    """After each call: an exception that ended it."""
    if _raised and threading.current_thread() is threading.main_thread():
        raise _raised.pop()
    return result


def apart(call, *arguments):
    """call(*arguments) in a thread of its own: what a signal's handler raises comes here at once."""
    return hmc_waits.apart(lambda: call(*arguments), end=lib.hmc_shmem_interrupt)


for _name, (_result, _parameters) in _CALLS.items():
    _call = getattr(lib, _name)
    _call.restype, _call.argtypes, _call.errcheck = _result, _parameters, check

lib.hmc_shmem_set_interrupt_hook(_hook)
atexit.register(lib.hmc_shmem_set_interrupt_hook, HOOK())  # the library leaves the job when no interpreter is there to ask
