# Words of a region that peers change by signals and atomics, as this side reads and awaits them.

@cython.final
cdef class Word:
    """A 4 or 8 byte word of a region in host memory. `value` reads it; what a peer put before its signal is visible
    then. wait() waits for it."""
    cdef readonly Region region
    cdef readonly uint64_t offset
    cdef readonly unsigned width

    @property
    def value(self):
        if self.region.handle == NULL:
            closed("the region %s" % self.region.text)
        return hmcpy_load(self.region.pointer + self.offset, self.width)

    cdef bint holds(self, object how, uint64_t value) except -1:
        cdef uint64_t found = hmcpy_load(self.region.pointer + self.offset, self.width)
        if how == ">=":
            return found >= value
        if how == "==":
            return found == value
        if how == "!=":
            return found != value
        invalid("a word is waited for by \">=\", \"==\" or \"!=\", not by %r" % (how,))

    def wait(self, value, how=">=", *, timeout=None):
        """Waits until the word is `how` (">=", "==", "!=") `value`, and gives it. Raises DeadlineError."""
        cdef uint64_t waited = 0, wanted = whole(value, "value")
        cdef uint64_t most = (milliseconds(timeout) or self.region.context.default_ms()) * 1000000
        self.region.enter()
        try:
            while not self.holds(how, wanted):
                if waited >= most:
                    raise errors.DeadlineError(status_t.TIMEOUT, "the word at %d of region %r is %d, not %s %d, after "
                                               "%g s" % (self.offset, self.region.text, self.value, how, wanted,
                                                         most / 1e9))
                with nogil:
                    hmcpy_nap(&waited)
                if takes_signals():
                    check_signals()
                if self.region.context.is_closing:
                    closed("the context")
                self.region.check_open()
        finally:
            self.region.leave()
        return self.value

    def __reduce__(self):
        errors.not_pickled(self)

    def __repr__(self):
        return "<hmc.Word at %d of %r>" % (self.offset, self.region.text)


cdef Word make_word(Region region, object where, object size):
    cdef Word word = Word.__new__(Word)
    cdef uint64_t offset = whole(where, "offset"), width = whole(size, "width")
    if width not in (4, 8) or offset % width:
        invalid("a word has 4 or 8 bytes and lies at a multiple of them, not %d at %d" % (width, offset))
    if offset > <uint64_t>region.size or offset + width > <uint64_t>region.size:
        raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "the word at %d is not within the %d B of region %r" %
                                     (offset, region.size, region.text))
    if region.memory_handle.kind != HMC_MEMORY_CPU:
        invalid("region %r is %s memory: the host cannot read its words; copy them" % (region.text, region.memory))
    word.region = region
    word.offset = offset
    word.width = width
    return word
