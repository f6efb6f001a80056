# What the same operations cost a program in C, for bench/python.py to compare with.

def _measure_c(Remote remote, Region region, uint64_t length, uint64_t count, Batch batch=None):
    """Nanoseconds of one blocking put of `length` bytes, or of `batch`, in a loop of `count` without the interpreter."""
    cdef hmc_status_t status = HMC_SUCCESS
    cdef uint64_t i, begin, end
    cdef hmc_batch_t *prepared = NULL if batch is None else batch.handle
    region.enter()
    try:
        with nogil:
            begin = hmcpy_now_ns()
            for i in range(count):
                if prepared == NULL:
                    status = hmc_put(region.handle, 0, remote.handle, 0, length)
                else:
                    status = hmc_batch_put(prepared)
                if status != HMC_SUCCESS:
                    break
            end = hmcpy_now_ns()
    finally:
        region.leave()
    check(status)
    return (end - begin) / count
