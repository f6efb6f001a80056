# Signals: which thread handles them, and how much of a copy goes on between two looks.

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident()

cdef enum:
    SLICE_BYTES = 64 << 20      # of a copy between two looks for signals

cdef unsigned long main_thread = threading.main_thread().ident


cdef inline bint takes_signals() noexcept:
    return PyThread_get_thread_ident() == main_thread


def _forked():
    """The thread that forks is the child's main one."""
    global main_thread
    main_thread = PyThread_get_thread_ident()


os.register_at_fork(after_in_child=_forked)
