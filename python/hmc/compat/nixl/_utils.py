"""Plain memory by address, as NIXL's own examples and tests use it."""

import ctypes
import ctypes.util

__all__ = ["malloc_passthru", "free_passthru", "ba_buf", "verify_transfer"]

_libc = ctypes.CDLL(None)
_libc.malloc.restype = ctypes.c_void_p
_libc.malloc.argtypes = [ctypes.c_size_t]
_libc.free.argtypes = [ctypes.c_void_p]


def malloc_passthru(size):
    """The address of `size` bytes."""
    address = _libc.malloc(size)
    if not address:
        raise MemoryError("%d B" % size)
    return address


def free_passthru(address):
    _libc.free(address)


def ba_buf(address, size):
    """Fills `size` bytes with 0xba."""
    ctypes.memset(address, 0xba, size)


def verify_transfer(first, second, size):
    """Raises where the bytes at two addresses differ."""
    if ctypes.string_at(first, size) != ctypes.string_at(second, size):
        raise RuntimeError("the %d B at %#x and at %#x differ" % (size, first, second))
