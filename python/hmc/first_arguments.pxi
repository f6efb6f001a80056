# How arguments by place and by name are sorted, where both generations of the first HMC order them differently.

cdef uint64_t timeout_ms() except? 0:
    from . import _engine
    return _engine.default_timeout()


cdef list pick(tuple names, tuple arguments, dict named, dict defaults):
    """Arguments by place and by name, as a def would sort them."""
    if len(arguments) > len(names):
        raise TypeError("%d arguments are too many: %s are taken" % (len(arguments), ", ".join(names)))
    found = list(arguments)
    for name in names[len(arguments):]:
        if name in named:
            found.append(named[name])
        elif name in defaults:
            found.append(defaults[name])
        else:
            raise TypeError("the argument %r is missing" % name)
    for name in named:
        if name not in names[len(arguments):]:
            raise TypeError("the argument %r is not known, or given twice" % name)
    return found


cdef tuple pick_port(tuple arguments, dict named):
    """([port,] connType): a first argument that is a ConnType is not a port."""
    if "port" in named or arguments and not isinstance(arguments[0], ConnType):
        return tuple(pick(("port", "connType"), arguments, named, {"connType": ConnType.RDMA}))
    return 0, pick(("connType",), arguments, named, {"connType": ConnType.RDMA})[0]


cdef tuple pick_exchange(tuple arguments, dict named, str buffer, bint is_receive):
    """([port,] buffer, size, kind, [flag,] connType): with a port, the kind is the fourth."""
    cdef int place = 2
    cdef list names = ["port", buffer, "buf_size", "buf_type"] + (["flag"] if is_receive else []) + ["connType"]
    cdef bint has_port = "port" in named or len(arguments) > 3 and isinstance(arguments[3], MemoryType) or \
        len(arguments) == 3 and not isinstance(arguments[2], MemoryType)
    defaults = {"connType": ConnType.RDMA, "flag": None}
    values = pick(tuple(names if has_port else names[1:]), arguments, named, defaults)
    if not has_port:
        values.insert(0, 0)
    if is_receive:
        return values[0], values[1], values[2], values[3], values[5], values[4]
    return tuple(values)
