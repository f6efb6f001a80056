# From statuses to exceptions.

cdef int check(hmc_status_t status, object peer=None) except -1:
    """Raises what `status` says, with the text that the engine has for this thread."""
    if status == HMC_SUCCESS:
        return 0
    fail(status, None, peer)


cdef int fail(hmc_status_t status, object text, object peer) except -1:
    if text is None:
        said = hmc_last_error()
        text = said.decode("utf-8", "replace") if said[0] else hmc_status_text(status).decode()
    raise errors.from_status(<int>status, text, None if peer is None else str(peer))


cdef int invalid(str text) except -1:
    raise errors.InvalidError(status_t.INVALID_CONFIG, text)


cdef int no_such_name() except -1:
    """For a word that the engine did not know: its text names those that it does."""
    raise errors.NotFoundError(status_t.NOT_FOUND, hmc_last_error().decode("utf-8", "replace"),
                               remedy="Give one of the names that the text lists.")


cdef int closed(str what) except -1:
    raise errors.ClosedError(status_t.CANCELLED, "%s was closed" % what)


cdef int forked() except -1:
    raise errors.ForkedError(status_t.UNSUPPORT, "the context belongs to the process that this one was forked from")


cdef int not_an_array(str text) except -1:
    """For numpy, which would make an object of each byte."""
    raise TypeError("the bytes of %r are at its owner: get() or get_into() brings them here" % text)


cdef int read_only(object where) except -1:
    raise errors.InvalidError(status_t.INVALID_CONFIG, "%s is read-only, and bytes would be written to it" %
                              type(where).__name__, remedy="Pass a writable buffer, such as a bytearray or a copy of "
                              "the array.")


cdef bytes bytes_of(object data, str what):
    """bytes(), which makes of a number as many zeros."""
    if isinstance(data, (str, int)):
        raise TypeError("%s is bytes, not %r" % (what, data))
    return bytes(data)


cdef int interrupted = 0        # calls of the library that stand still in the main thread while handlers of signals run


cdef int check_signals() except -1:
    global interrupted
    interrupted += 1
    try:
        return PyErr_CheckSignals()
    finally:
        interrupted -= 1


cdef int still_in_use(str what) except -1:
    raise errors.InvalidError(status_t.INVALID_CONFIG, "%s is in use by the call that this signal has interrupted" % what,
                              remedy="That call ends now: close it behind the call.")


cdef uint64_t milliseconds(object seconds) except? 0xffffffffffffffff:
    """A timeout in seconds as the C API takes it: 0 is the context's, and what is shorter than a millisecond is one."""
    if seconds is None:
        return 0
    if not hasattr(seconds, "__float__"):
        raise TypeError("timeout is a number of seconds, not %r" % (seconds,))
    if seconds < 0:
        invalid("timeout is %r seconds; it cannot be negative" % (seconds,))
    if seconds > 1e12:
        return 1000000000000000
    milli = int(seconds * 1000)
    return milli if milli > 0 else 1
