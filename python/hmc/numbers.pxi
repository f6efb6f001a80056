# Whole numbers from programs: offsets, lengths, counts.
#
# Cython's own conversion cuts a float off at its point, and calls a number below 0 an overflow.

cdef extern from "Python.h":
    unsigned long long hmcpy_as_unsigned "PyLong_AsUnsignedLongLong"(object number) noexcept
    void *PyErr_Occurred()
    void PyErr_Clear()
    object PyNumber_Index(object number)


cdef object index_of(object number, str what):
    """An int of any sign; TypeError for what is not a whole number."""
    if type(number) is int:
        return number
    try:
        return PyNumber_Index(number)
    except TypeError:
        raise TypeError("%s is a whole number, not %r" % (what, number)) from None


cdef uint64_t whole(object number, str what) except? 0xffffffffffffffff:
    """A number from 0 to 2^64 - 1; OutOfRangeError for others."""
    cdef object given = index_of(number, what)
    cdef uint64_t made = hmcpy_as_unsigned(given)
    if made == 0xffffffffffffffff and PyErr_Occurred() != NULL:
        PyErr_Clear()
        raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "%s is %d, which is not between 0 and 2^64 - 1" % (what, given))
    return made


cdef uint64_t word_of(object number, str what, uint64_t mask) except? 0xffffffffffffffff:
    """A number of any sign as the bits of a word, which `mask` covers; OutOfRangeError for what it does not hold."""
    cdef object given = index_of(number, what)
    cdef uint64_t made = hmcpy_as_unsigned(given)
    if made == 0xffffffffffffffff and PyErr_Occurred() != NULL:
        PyErr_Clear()
        if -int(mask >> 1) - 1 <= given < 0:
            return given & mask
    elif made <= mask:
        return made
    raise errors.OutOfRangeError(status_t.OUT_OF_RANGE, "%s is %d, which does not fit into %d bytes" %
                                 (what, given, 4 if mask == 0xffffffff else 8))
