"""NIXL's lists of descriptors, kept as arrays: a key-value cache has millions of them.

A descriptor is (address, bytes, device); of memory to register it has metadata behind, of remote memory an agent's name.
"""

import numpy

from .status import nixl_mem_t, nixlNotFoundError

_KINDS = (numpy.dtype(numpy.uint64), numpy.dtype(numpy.int64))


class _List:
    _width = 3      # what a tuple of this list has

    def __init__(self, type, descs=None, init_size=0):
        if not isinstance(type, nixl_mem_t):
            raise TypeError("%s(): the type is a nixl_mem_t, not %r" % (self.__class__.__name__, type))
        if isinstance(descs, int):
            descs, init_size = None, descs
        self._type = type
        self._rows = numpy.zeros((int(init_size), 3), dtype=numpy.uint64)  # int(): False is taken for 0, as by NIXL
        self._more = self._no_more(int(init_size))
        if isinstance(descs, numpy.ndarray):
            self._take_array(descs)
        elif descs is not None:
            self._take_list(list(descs))

    def _no_more(self, count):
        """What descriptors have beyond the array's three numbers, for `count` of them."""
        return None

    def _take_array(self, rows):
        if rows.ndim != 2 or rows.shape[1] != 3:
            raise ValueError("descs must be a Nx3 numpy array")
        if rows.dtype not in _KINDS:
            raise ValueError("descs must be a Nx3 numpy array of uint64 or int64")
        self._rows = rows.astype(numpy.uint64)
        self._more = self._no_more(len(rows))

    def _take_list(self, descs):
        for desc in descs:
            self._check(desc)
        self._rows = numpy.array([desc[:3] for desc in descs], dtype=numpy.uint64).reshape(len(descs), 3)
        self._more = None if self._width == 3 else [self._packed(desc) for desc in descs]

    def _check(self, desc):
        if len(desc) != self._width:
            raise ValueError("Each descriptor tuple must have exactly %d elements" % self._width)

    def _packed(self, desc):
        return desc[3]

    def addDesc(self, desc):
        """Adds one descriptor, as a tuple."""
        self._check(desc)
        self._rows = numpy.concatenate([self._rows, numpy.array([desc[:3]], dtype=numpy.uint64)])
        if self._more is not None:
            self._more.append(self._packed(desc))

    append = addDesc

    def __getitem__(self, place):
        if not 0 <= place < len(self._rows):
            raise IndexError("Index is out of range")
        row = tuple(int(each) for each in self._rows[place])
        return row if self._more is None else row + (self._more[place],)

    def __setitem__(self, place, desc):
        if not 0 <= place < len(self._rows):
            raise IndexError("Index is out of range")
        self._check(desc)
        self._rows[place] = desc[:3]
        if self._more is not None:
            self._more[place] = self._packed(desc)

    def index(self, desc):
        """The place of a descriptor of that address, size and device."""
        if len(desc) < self._width:
            raise IndexError("tuple index out of range")
        found = numpy.flatnonzero((self._rows == numpy.array(desc[:3], dtype=numpy.uint64)).all(axis=1))
        if not len(found):
            raise nixlNotFoundError()
        return int(found[0])

    def remDesc(self, place):
        if not 0 <= place < len(self._rows):
            raise IndexError("Index is out of range")
        self._rows = numpy.delete(self._rows, place, axis=0)
        if self._more is not None:
            del self._more[place]

    def clear(self):
        self._rows = self._rows[:0]
        self._more = self._no_more(0)

    def descCount(self):
        return len(self._rows)

    def isEmpty(self):
        return not len(self._rows)

    def getType(self):
        return self._type

    def print(self):
        """Shows the list on standard output, as NIXL's own does."""
        print("DescList of mem type %d" % self._type)
        for place in range(len(self._rows)):
            print(self[place])

    def __eq__(self, other):
        return type(self) is type(other) and self._type == other._type and self._more == other._more and \
            numpy.array_equal(self._rows, other._rows)

    __hash__ = None

    def __getstate__(self):
        return self._type, self._rows, self._more

    def __setstate__(self, state):
        self._type, self._rows, self._more = state

    def __repr__(self):
        return "<%s of %d, %s>" % (type(self).__name__, len(self._rows), self._type.name)


class nixlXferDList(_List):
    """Blocks to transfer."""


class nixlRegDList(_List):
    """Memory to register; the fourth of a tuple is text or bytes, and comes back as bytes."""

    _width = 4

    def _no_more(self, count):
        return [b""] * count

    def _packed(self, desc):
        return desc[3].encode() if isinstance(desc[3], str) else bytes(desc[3])

    def trim(self):
        """The same memory as blocks to transfer."""
        return nixlXferDList(self._type, self._rows)


class nixlRemoteDList(_List):
    """Blocks of several agents; the fourth of a tuple is an agent's name."""

    _width = 4

    def _no_more(self, count):
        return [""] * count

    def _packed(self, desc):
        return desc[3].decode() if isinstance(desc[3], bytes) else str(desc[3])
