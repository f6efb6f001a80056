"""Counts what nixl_agent's transfers move, into the file HMC_TEST_COUNT, and flips a byte of what has arrived."""

import ctypes
import os

import numpy


def _first_block(rows, indices):
    """Address and size of the first block that is chosen of a list, strided or not."""
    place = int(indices[0])
    if rows.shape[1] == 3:
        return int(rows[place, 0]), int(rows[place, 1])
    for address, size, _, stride, count in rows.tolist():
        if place < count:
            return address + place * stride, size
        place -= count
    raise IndexError(place)


def _damage(address, size):
    """Flips a bit in the exponent of the first value in a block, which makes that number a huge one. vLLM's layout for the
    CPU: of each of the model's four heads first the keys, then the values. (A key would not do: one that is huge may also
    make its token count for nothing.)"""
    byte = ctypes.c_ubyte.from_address(address + size // 8 + 3)
    byte.value ^= 0x40


def watch(api):
    class agent(api.nixl_agent):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            self._rows, self._places = {}, {}

        def get_xfer_descs(self, descs, mem_type=None):
            made = super().get_xfer_descs(descs, mem_type)
            if isinstance(descs, (list, numpy.ndarray)):
                self._last = descs
            return made

        def prep_xfer_dlist(self, agent_name, xfer_list, *more, **named):
            handle = super().prep_xfer_dlist(agent_name, xfer_list, *more, **named)
            if agent_name in ("", "NIXL_INIT_AGENT"):
                rows = xfer_list if isinstance(xfer_list, numpy.ndarray) else self._last
                self._rows[id(handle)] = numpy.asarray(rows)
            return handle

        def make_prepped_xfer(self, operation, local, indices, *more, **named):
            handle = super().make_prepped_xfer(operation, local, indices, *more, **named)
            if operation == "READ":
                self._places[id(handle)] = _first_block(self._rows[id(local)], indices)
            return handle

        def _seen(self, handle, state):
            block = self._places.pop(id(handle), None) if state == "DONE" else None
            if block is not None:
                if os.environ.get("HMC_TEST_FLIP"):
                    _damage(*block)
                with open(os.environ["HMC_TEST_COUNT"], "a") as file:
                    said = self.get_xfer_telemetry(handle)
                    file.write("%s %d %d\n" % (self.query_xfer_backend(handle), said.totalBytes, said.descCount))
            return state

        def transfer(self, handle, *more, **named):
            return self._seen(handle, super().transfer(handle, *more, **named))

        def check_xfer_state(self, handle):
            return self._seen(handle, super().check_xfer_state(handle))

    agent.__name__ = agent.__qualname__ = "nixl_agent"
    api.nixl_agent = agent
