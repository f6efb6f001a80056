"""Registered memory by address: where a block lies, for many blocks at once.

Ranges may overlap and repeat; any that holds a block will do.
"""

import numpy


class Range:
    """`bytes` at `base` of one kind of memory and device, reached through `handle` (a Region, or a peer's region)."""

    def __init__(self, kind, base, size, device, name, handle=None):
        self.kind, self.base, self.size, self.device, self.name, self.handle = kind, base, size, device, name, handle
        self.users = 1

    key = property(lambda self: (self.kind, self.base, self.size, self.device))


class Ranges:
    """Ranges of one agent. Changing it takes the agent's lock; lookups work on what was there when they began."""

    def __init__(self):
        self.by_key = {}
        self._changes = 0       # counted after each
        self._sorted = None     # (changes that it knows of, (ranges, bases and ends, kinds and devices))

    def __iter__(self):
        return iter(list(self.by_key.values()))

    def add(self, made):
        self.by_key[made.key] = made
        self._changes += 1

    def remove(self, gone):
        del self.by_key[gone.key]
        self._changes += 1

    def _table(self):
        changes = self._changes     # before the look: what comes during it makes the next lookup sort again
        known, table = self._sorted or (None, None)
        if known != changes:
            ranges = sorted(self.by_key.values(), key=lambda each: (each.kind, each.device, each.base))
            columns = numpy.array([(each.base, each.base + each.size) for each in ranges],
                                  dtype=numpy.uint64).reshape(len(ranges), 2)
            groups = {}
            for place, each in enumerate(ranges):
                begin, _ = groups.get((each.kind, each.device), (place, place))
                groups[each.kind, each.device] = begin, place + 1
            table = ranges, columns, groups
            self._sorted = changes, table
        return table

    def find(self, kind, rows):
        """Where blocks lie: (list of ranges, place in that list of each block's, offset in it). `rows` is an array of
        (address, bytes, device). None where one lies in no range."""
        ranges, columns, groups = self._table()
        which = numpy.zeros(len(rows), dtype=numpy.int64)
        for device in numpy.unique(rows[:, 2]):
            group = groups.get((int(kind), int(device)))
            if group is None:
                return None
            chosen = rows[:, 2] == device
            found = self._find(columns[group[0]:group[1]], rows[chosen, 0], rows[chosen, 0] + rows[chosen, 1])
            if found is None:
                return None
            which[chosen] = found + group[0]
        bases = columns[which, 0]
        return ranges, which, (rows[:, 0] - bases).astype(numpy.int64)

    @staticmethod
    def _find(columns, begins, ends):
        place = numpy.searchsorted(columns[:, 0], begins, side="right").astype(numpy.int64) - 1
        missing = (place < 0) | (ends > columns[place, 1]) | (ends < begins)
        for other in range(len(columns)) if missing.any() else ():     # overlapping ranges: the last one begins too late
            place[missing & (begins >= columns[other, 0]) & (ends <= columns[other, 1]) & (ends >= begins)] = other
        bad = (place < 0) | (begins < columns[place, 0]) | (ends > columns[place, 1]) | (ends < begins)
        return None if bad.any() else place


class HostMemory:
    """Bytes of this process by their address, for Context.register."""

    def __init__(self, address, size):
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}


class DeviceMemory:
    """Bytes of a device by their address."""

    def __init__(self, address, size):
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "version": 3}
