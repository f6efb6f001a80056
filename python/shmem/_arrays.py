"""Symmetric arrays and what moves them: numpy on the outside, the heap of SHMEM inside.

An array of empty(), zeros(), full() or array() lies in the heap, at the same place at every PE; making and freeing it is
collective. `target` of a put and `source` of a get are such arrays or slices of them that lie in one piece.
"""

import ctypes

import numpy

from ._library import Attr, apart, check, lib

SIGNAL_SET, SIGNAL_ADD = 0, 1
CMP_EQ, CMP_NE, CMP_GT, CMP_GE, CMP_LT, CMP_LE = range(6)

_TYPES = {"f4": ("float", ctypes.c_float), "f8": ("double", ctypes.c_double), "i1": ("int8", ctypes.c_int8),
          "i2": ("int16", ctypes.c_int16), "i4": ("int32", ctypes.c_int32), "i8": ("int64", ctypes.c_int64),
          "u1": ("uint8", ctypes.c_uint8), "u2": ("uint16", ctypes.c_uint16), "u4": ("uint32", ctypes.c_uint32),
          "u8": ("uint64", ctypes.c_uint64), "c8": ("complexf", None), "c16": ("complexd", None)}


def _type_of(dtype):
    dtype = numpy.dtype(dtype)
    entry = _TYPES.get(f"{dtype.kind}{dtype.itemsize}")
    if entry is None:
        raise TypeError(f"SHMEM has no operations on {dtype}")
    return entry


def init(heap_size=0, device_size=0, device=None):
    """Joins the job of the launcher (hmcrun, PMIx, torchrun); heap_size in bytes, 0: SHMEM_SYMMETRIC_SIZE.

    device_size: bytes of the heap in the memory of a device ("nvidia", "sim:0"), 0: SHMEM_DEVICE_SIZE, which may be none.
    """
    lib.shmemx_set_device_heap(device_size, device.encode() if device else None)
    if apart(lib.shmem_init_with_attr, ctypes.byref(Attr(heap_size))) != 0:
        raise RuntimeError("shmem is initialised already")


# Arrays that operations in progress may still read or write. A program may drop its own references before quiet().
_kept = []
_KEPT_MOST = 4096  # at a time; then what is in progress is completed


def _keep(array_like):
    _kept.append(array_like)
    if len(_kept) >= _KEPT_MOST:
        quiet()


def _complete(call, *arguments):
    """A call after which all operations are complete."""
    global _kept
    kept, _kept = _kept, []
    try:
        call(*arguments)
    except BaseException:
        _kept = kept + _kept  # it was interrupted
        raise


def finalize():
    """Completes all operations, waits for all PEs, and leaves the job. Collective."""
    _complete(apart, lib.shmem_finalize)


def n_pes():
    """How many PEs the job has."""
    return lib.shmem_n_pes()


def barrier_all():
    """Returns when all PEs have called it and all their operations are complete. Collective."""
    _complete(lib.shmem_barrier_all)


def sync_all():
    """Returns when all PEs have called it; operations may still be pending. Collective."""
    lib.shmem_sync_all()


def quiet():
    """Returns when all operations that this PE has started are complete and visible."""
    _complete(lib.shmem_quiet)


def fence():
    """What this PE has started to a PE arrives there before what it starts afterwards."""
    lib.shmem_fence()


def global_exit(status=0):
    """Ends all PEs of the job with `status`."""
    lib.shmem_global_exit(status)


class Team:
    """A team of PEs. The predefined ones are TEAM_WORLD and TEAM_SHARED."""

    def __init__(self, handle):
        self.handle = handle

    def __int__(self):
        return self.handle

    def my_pe(self):
        """This PE's number in the team, or -1."""
        return lib.shmem_team_my_pe(self.handle)

    def n_pes(self):
        """How many PEs the team has."""
        return lib.shmem_team_n_pes(self.handle)

    def translate_pe(self, pe=None, team=None):
        """The number in `team` (default: the world) of this team's PE (default: this one)."""
        pe = self.my_pe() if pe is None else pe
        return lib.shmem_team_translate_pe(self.handle, pe, 0 if team is None else team.handle)

    def split_strided(self, start=0, stride=1, size=None):
        """The new team, or None at PEs outside it; size: default as many as there are. Collective over this team."""
        if size is None:
            size = len(range(start, self.n_pes() if stride > 0 else -1, stride)) if stride else 1
        handle = ctypes.c_int(-1)
        if lib.shmem_team_split_strided(self.handle, start, stride, size, None, 0, ctypes.byref(handle)):
            raise ValueError(f"PEs {start}, {start + stride}, ... ({size}) do not fit a team of {self.n_pes()}")
        return Team(handle.value) if handle.value >= 0 else None

    def split_2d(self, xrange):
        """This PE's row and column of the team laid out in rows of xrange."""
        row, column = ctypes.c_int(-1), ctypes.c_int(-1)
        if lib.shmem_team_split_2d(self.handle, xrange, None, 0, ctypes.byref(row), None, 0, ctypes.byref(column)):
            raise ValueError(f"no rows of {xrange}")
        return Team(row.value), Team(column.value)

    def sync(self):
        """Returns when all PEs of the team have called it."""
        lib.shmem_team_sync(self.handle)

    def barrier(self):
        """sync(), with all operations of its PEs complete."""
        _complete(lib.hmc_shmem_team_barrier, self.handle)

    def destroy(self):
        """Ends the team. Collective over it."""
        lib.shmem_team_destroy(self.handle)
        self.handle = -1


TEAM_WORLD, TEAM_SHARED = Team(0), Team(1)


def _handle(team):
    return 0 if team is None else int(team)


def _members(team):
    return (TEAM_WORLD if team is None else team).n_pes()


# ---- arrays


def empty(shape, dtype=float):
    """A symmetric array; what is in it is not defined. Collective."""
    dtype = numpy.dtype(dtype)
    count = int(numpy.prod(shape, dtype=numpy.int64))
    size = max(count * dtype.itemsize, 1)
    pointer = lib.shmem_malloc(size)
    if not pointer:
        raise MemoryError(f"the symmetric heap has no room for {size} B")
    buffer = (ctypes.c_char * size).from_address(pointer)
    return numpy.frombuffer(buffer, dtype=dtype, count=count).reshape(shape)


def zeros(shape, dtype=float):
    """A symmetric array of zeros. Collective."""
    return full(shape, 0, dtype)


def ones(shape, dtype=float):
    """A symmetric array of ones. Collective."""
    return full(shape, 1, dtype)


def full(shape, fill_value, dtype=None):
    """A symmetric array of one value. Collective."""
    made = empty(shape, numpy.asarray(fill_value).dtype if dtype is None else dtype)
    made.fill(fill_value)
    barrier_all()
    return made


def array(values, dtype=None):
    """A symmetric copy of `values`, which have one shape at all PEs."""
    values = numpy.asarray(values, dtype=dtype)
    made = empty(values.shape, values.dtype)
    made[...] = values
    barrier_all()
    return made


def free(symmetric):
    """Gives a symmetric array back. Collective."""
    lib.shmem_free(symmetric.ctypes.data)


class DeviceBuffer:
    """Symmetric memory of each PE's device; `address` goes to kernels and to put and get of pointers. Collective.

    Needs a device heap: init(device_size=...), or SHMEM_DEVICE_SIZE.
    """

    def __init__(self, size):
        self.address = lib.shmemx_space_malloc(1, size)
        self.size = size
        if not self.address:
            raise MemoryError(f"the device heap has no room for {size} B")

    def _check(self, size, offset):
        if offset < 0 or offset + size > self.size:
            raise ValueError(f"{size} B at {offset} run past the buffer's {self.size} B")

    def put(self, values, pe=None, offset=0):
        """Copies an array from host memory into this buffer at `pe` (default: this PE), from byte `offset` on."""
        values, from_ = _address(values, False, "values")
        self._check(values.nbytes, offset)
        lib.shmem_putmem(self.address + offset, from_, values.nbytes, lib.shmem_my_pe() if pe is None else pe)

    def get(self, into, pe=None, offset=0):
        """Copies from this buffer at `pe` (default: this PE), from byte `offset` on, into an array in host memory."""
        into, to = _address(into, True, "into")
        self._check(into.nbytes, offset)
        lib.shmem_getmem(to, self.address + offset, into.nbytes, lib.shmem_my_pe() if pe is None else pe)

    def ptr(self, pe):
        """The address of `pe`'s buffer for this PE's device, or None where it does not reach it."""
        return lib.shmem_ptr(self.address, pe)

    def free(self):
        """Gives it back. Collective."""
        lib.shmem_free(self.address)
        self.address = None


def tensor(shape, dtype=None):
    """A symmetric torch tensor on the processor."""
    import torch
    number = torch.empty((), dtype=torch.float32 if dtype is None else dtype).numpy().dtype
    return torch.from_numpy(empty(shape, number))


def ptr(symmetric, pe):
    """PE `pe`'s copy of the array as a numpy array, or None where it cannot be reached by loads and stores."""
    address = lib.shmem_ptr(symmetric.ctypes.data, pe)
    if not address:
        return None
    buffer = (ctypes.c_char * symmetric.nbytes).from_address(address)
    return numpy.frombuffer(buffer, dtype=symmetric.dtype).reshape(symmetric.shape)


# ---- moving


def _address(array_like, writable, what):
    """The address of numpy arrays and of torch tensors on the processor."""
    if hasattr(array_like, "data_ptr"):
        array_like = array_like.numpy()
    if not isinstance(array_like, numpy.ndarray):
        if writable:
            raise TypeError(f"{what} is not an array")
        array_like = numpy.ascontiguousarray(array_like)
    if not array_like.flags.c_contiguous:
        raise ValueError(f"{what} does not lie in one piece")
    if writable and not array_like.flags.writeable:
        raise ValueError(f"{what} cannot be written")
    return array_like, array_like.ctypes.data


def _move(call, target, source, pe):
    target, to = _address(target, True, "target")
    if not isinstance(source, numpy.ndarray) and not hasattr(source, "data_ptr"):
        source = numpy.asarray(source, dtype=target.dtype)
    source, from_ = _address(source, False, "source")
    if source.dtype != target.dtype or source.size > target.size:
        raise ValueError(f"{source.size} of {source.dtype} do not go into {target.size} of {target.dtype}")
    call(to, from_, source.nbytes, pe)
    return target, source


def put(target, source, pe):
    """Copies `source` into the symmetric array `target` at `pe`; it is there after the next quiet() or barrier_all()."""
    _move(lib.shmem_putmem, target, source, pe)


def get(target, source, pe):
    """Copies the symmetric array `source` of `pe` into `target`, which has it when this returns."""
    _move(lib.shmem_getmem, target, source, pe)


def put_nbi(target, source, pe):
    """put() that returns at once; `source` is held until the next quiet(), and must stay as it is so long. What is not an
    array is copied first, and the copy is done when this returns."""
    is_array = isinstance(source, numpy.ndarray) or hasattr(source, "data_ptr")
    _, source = _move(lib.shmem_putmem_nbi if is_array else lib.shmem_putmem, target, source, pe)
    if is_array:
        _keep(source)


def get_nbi(target, source, pe):
    """get() that returns at once; `target`, which is held so long, has the elements after the next quiet()."""
    target, _ = _move(lib.shmem_getmem_nbi, target, source, pe)
    _keep(target)


def put_signal(target, source, signal, value, operation, pe):
    """`signal`: a symmetric array whose first element is a uint64."""
    _move(lambda to, from_, size, pe: lib.shmem_putmem_signal(to, from_, size, signal.ctypes.data, value, operation, pe),
          target, source, pe)


def signal_wait(signal, cmp, value):
    """Waits until the first element of `signal` compares as CMP_* says with `value`; returns that element."""
    return lib.shmem_signal_wait_until(signal.ctypes.data, cmp, value)


# ---- atomics, waiting: on the first element of a symmetric array


def _typed(array_like, name, result, *parameters):
    """The typed routine shmem_TYPE_name, with its types set."""
    type_name, c_type = _type_of(array_like.dtype)
    call = getattr(lib, f"shmem_{type_name}_{name}", None)
    if call is None:
        raise TypeError(f"SHMEM has no {name} on {array_like.dtype}")
    kinds = {"T": c_type, "P": ctypes.c_void_p, "i": ctypes.c_int, "z": ctypes.c_size_t, None: None}
    call.restype, call.argtypes, call.errcheck = kinds[result], [kinds[kind] for kind in parameters], check
    return call


def atomic_fetch(source, pe):
    """The first element of `source` at `pe`."""
    return _typed(source, "atomic_fetch", "T", "P", "i")(source.ctypes.data, pe)


def atomic_set(target, value, pe):
    """Sets the first element of `target` at `pe`."""
    _typed(target, "atomic_set", None, "P", "T", "i")(target.ctypes.data, value, pe)


def atomic_swap(target, value, pe):
    """Sets the first element of `target` at `pe`, and returns what it was."""
    return _typed(target, "atomic_swap", "T", "P", "T", "i")(target.ctypes.data, value, pe)


def atomic_compare_swap(target, cond, value, pe):
    """Sets the first element of `target` at `pe` where it equals `cond`; returns what it was."""
    return _typed(target, "atomic_compare_swap", "T", "P", "T", "T", "i")(target.ctypes.data, cond, value, pe)


def atomic_inc(target, pe):
    """Adds 1 to the first element of `target` at `pe`."""
    _typed(target, "atomic_inc", None, "P", "i")(target.ctypes.data, pe)


def atomic_fetch_inc(target, pe):
    """Adds 1 to the first element of `target` at `pe`, and returns what it was."""
    return _typed(target, "atomic_fetch_inc", "T", "P", "i")(target.ctypes.data, pe)


def atomic_add(target, value, pe):
    """Adds `value` to the first element of `target` at `pe`."""
    _typed(target, "atomic_add", None, "P", "T", "i")(target.ctypes.data, value, pe)


def atomic_fetch_add(target, value, pe):
    """Adds `value` to the first element of `target` at `pe`, and returns what it was."""
    return _typed(target, "atomic_fetch_add", "T", "P", "T", "i")(target.ctypes.data, value, pe)


def wait_until(ivar, cmp, value):
    """Waits until the first element of this PE's `ivar` compares as CMP_* says with `value`."""
    _typed(ivar, "wait_until", None, "P", "i", "T")(ivar.ctypes.data, cmp, value)


def test(ivar, cmp, value):
    """Whether the first element of this PE's `ivar` compares as CMP_* says with `value`."""
    return bool(_typed(ivar, "test", "i", "P", "i", "T")(ivar.ctypes.data, cmp, value))


# ---- collectives


def _both(target, source, times=None):
    """Both arrays with their addresses; `target` must hold `source` so many times."""
    target, to = _address(target, True, "target")
    source, from_ = _address(source, False, "source")
    if target.dtype != source.dtype:
        raise ValueError(f"target is of {target.dtype}, source of {source.dtype}")
    if times is not None and target.size < source.size * times:
        raise ValueError(f"target has {target.size} elements, and {source.size * times} go into it")
    return target, to, source, from_


def _reduce(operation, target, source, team):
    target, to, source, from_ = _both(target, source)
    call = _typed(target, f"{operation}_reduce", "i", "i", "P", "P", "z")
    if call(_handle(team), to, from_, min(target.size, source.size)):
        raise RuntimeError(f"{operation}_reduce failed")


def sum_reduce(target, source, team=None):
    """In `target` at all PEs: the sum of `source` over the PEs, element by element. Collective over the team."""
    _reduce("sum", target, source, team)


def prod_reduce(target, source, team=None):
    """In `target` at all PEs: the product of `source` over the PEs, element by element. Collective over the team."""
    _reduce("prod", target, source, team)


def max_reduce(target, source, team=None):
    """In `target` at all PEs: the largest of `source` over the PEs, element by element. Collective over the team."""
    _reduce("max", target, source, team)


def min_reduce(target, source, team=None):
    """In `target` at all PEs: the smallest of `source` over the PEs, element by element. Collective over the team."""
    _reduce("min", target, source, team)


def and_reduce(target, source, team=None):
    """In `target` at all PEs: the bitwise and of `source` over the PEs, element by element. Collective over the team."""
    _reduce("and", target, source, team)


def or_reduce(target, source, team=None):
    """In `target` at all PEs: the bitwise or of `source` over the PEs, element by element. Collective over the team."""
    _reduce("or", target, source, team)


def xor_reduce(target, source, team=None):
    """In `target` at all PEs: the bitwise exclusive or of `source` over the PEs, element by element. Collective over the team."""
    _reduce("xor", target, source, team)


def sum_inscan(target, source, team=None):
    """In `target`: the sums of `source` over the PEs up to this one, this one included. Collective over the team."""
    target, to, source, from_ = _both(target, source, 1)
    _typed(target, "sum_inscan", "i", "i", "P", "P", "z")(_handle(team), to, from_, source.size)


def sum_exscan(target, source, team=None):
    """In `target`: the sums of `source` over the PEs before this one. Collective over the team."""
    target, to, source, from_ = _both(target, source, 1)
    _typed(target, "sum_exscan", "i", "i", "P", "P", "z")(_handle(team), to, from_, source.size)


def broadcast(target, source, root=0, team=None):
    """In `target` at all PEs: `source` of the PE `root`. Collective over the team."""
    _, to, source, from_ = _both(target, source, 1)
    lib.shmem_broadcastmem(_handle(team), to, from_, source.nbytes, root)


def collect(target, source, team=None):
    """In `target`: the `source` of all PEs, one behind the other; they may differ in length. Collective over the team."""
    _, to, source, from_ = _both(target, source)
    lib.shmem_collectmem(_handle(team), to, from_, source.nbytes)


def fcollect(target, source, team=None):
    """In `target`: the `source` of all PEs, one behind the other, all of one length. Collective over the team."""
    _, to, source, from_ = _both(target, source, _members(team))
    lib.shmem_fcollectmem(_handle(team), to, from_, source.nbytes)


def alltoall(target, source, team=None):
    """Block i of `source`, cut into as many as the team has PEs, goes to PE i."""
    _, to, source, from_ = _both(target, source, 1)
    members = _members(team)
    if source.size % members:
        raise ValueError(f"{source.size} elements cannot be divided by {members} PEs")
    lib.shmem_alltoallmem(_handle(team), to, from_, source.nbytes // members)


class Lock:
    """A lock over all PEs; a context manager. Making it is collective."""

    def __init__(self):
        self.word = zeros(1, numpy.int64)

    def acquire(self, blocking=True):
        """Takes the lock, in the order of asking; blocking=False: whether it could be had at once."""
        if blocking:
            lib.shmem_set_lock(self.word.ctypes.data)
            return True
        return lib.shmem_test_lock(self.word.ctypes.data) == 0

    def release(self):
        """Gives the lock back, with the holder's operations complete."""
        lib.shmem_clear_lock(self.word.ctypes.data)

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *exception):
        self.release()
