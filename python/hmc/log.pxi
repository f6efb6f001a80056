# The library's log, as records of the logger "hmc" of Python's logging.

cdef object log_target = None


cdef void take_record(hmc_log_level_t level, const char *text, void *user) noexcept nogil:
    with gil:
        try:
            target = log_target
            if target is not None:
                target.log({1: 40, 2: 30, 3: 20}.get(<int>level, 10), "%s", text.decode("utf-8", "replace"))
        except BaseException:
            pass    # a handler that fails has said so itself; nobody here could take it


def log_to(logger=None, level="warning"):
    """Sends what the library logs to a logger (default: "hmc") of Python's logging, from `level` on ("error",
    "warning", "info", "debug"); log_to(False): to stderr again."""
    global log_target
    if logger is False:
        with nogil:
            hmc_log_set_callback(NULL, NULL)    # waits for a record that is on its way, which needs the GIL
        log_target = None
        return
    import logging
    levels = {"error": HMC_LOG_ERROR, "warning": HMC_LOG_WARNING, "info": HMC_LOG_INFO, "debug": HMC_LOG_DEBUG}
    if logger is not None and not hasattr(logger, "log"):
        raise TypeError("a logger has the method log, which %s has not" % type(logger).__name__)
    if level not in levels:
        invalid("level is one of %s, not %r" % (", ".join(levels), level))
    log_target = logging.getLogger("hmc") if logger is None else logger
    hmc_log_set_level(levels[level])
    with nogil:
        hmc_log_set_callback(take_record, NULL)


atexit.register(log_to, False)
