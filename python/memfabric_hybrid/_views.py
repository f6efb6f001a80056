"""Views of memory that lies at an address: numpy arrays and torch tensors, which keep the memory's owner alive.

numpy and torch are imported when a view is first asked for.
"""

import ctypes


class _Bytes:
    """Bytes at an address as a buffer; holds on to their owner."""

    def __init__(self, where, size, owner):
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (where, False), "version": 3}
        self.owner = owner


def _check(where, limit, offset, size):
    if not where:
        raise ValueError("no such part")
    if offset < 0 or size <= 0 or (limit is not None and offset + size > limit):
        raise ValueError("%d B at offset %d of a part of %s B" % (size, offset, limit))


def array_at(where, limit, shape, dtype, offset, owner):
    import numpy
    dtype = numpy.dtype(dtype)
    size = int(numpy.prod(shape, dtype=numpy.int64)) * dtype.itemsize
    _check(where, limit, offset, size)
    return numpy.asarray(_Bytes(where + offset, size, owner)).view(dtype).reshape(shape)


def tensor_at(where, limit, shape, dtype, offset, owner):
    import torch
    dtype = torch.uint8 if dtype is None else dtype
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    count = 1
    for each in shape:
        count *= each
    size = count * torch.empty((), dtype=dtype).element_size()
    _check(where, limit, offset, size)
    buffer = (ctypes.c_uint8 * size).from_address(where + offset)
    buffer.owner = owner
    return torch.frombuffer(buffer, dtype=dtype, count=count).reshape(shape)
