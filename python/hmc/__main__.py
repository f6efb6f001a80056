"""python -m hmc info | perf | demo: what is here, how fast it is, and a transfer to look at."""

import argparse
import os
import sys
import time

from . import _engine
from .enums import MemoryType
from .errors import HMCStatusError


def info(_):
    """Says what works here, and what is missing."""
    print("hmc %s, library %s" % (_engine.version(), os.path.join(os.path.dirname(__file__), "lib")))
    print("python %s" % sys.version.split()[0])
    for name, (works, reason) in _engine.connection_types().items():
        print("%-5s %-4s %s" % (name, "yes" if works else "no", reason))
    for kind in MemoryType:
        if kind not in (MemoryType.DEFAULT, MemoryType.SIM):
            count = _engine.devices(kind)
            print("%-18s %d device%s" % (kind.name.lower(), count, "" if count == 1 else "s"))


def perf(options):
    """Times blocking puts and gets between two contexts of this process."""
    with _engine.Context("perf-here") as here, _engine.Context("perf-there") as there:
        peer = here.connect(str(there.listen("127.0.0.1:0")), via=options.via)
        there.allocate(options.most, name="perf", memory=options.memory)
        remote, local = peer.open("perf"), here.allocate(options.most)
        print("by %s, %s memory" % (peer.via, remote.memory))
        print("%12s %14s %14s %10s" % ("bytes", "put us", "get us", "put GB/s"))
        size = 8
        while size <= options.most:
            part = local[0:size]
            put, get = (_time(operation, part, options.seconds) for operation in (remote.put, remote.get_into))
            print("%12d %14.2f %14.2f %10.2f" % (size, put * 1e6, get * 1e6, size / put / 1e9))
            size *= 8


def _time(operation, part, seconds):
    """Seconds of one call, of as many as fit."""
    operation(part)
    count, begin = 0, time.perf_counter()
    while True:
        for _ in range(10):
            operation(part)
        count += 10
        spent = time.perf_counter() - begin
        if spent > seconds:
            return spent / count


def demo(options):
    """Sends a message to a context of another process and reads it back."""
    import multiprocessing

    from . import _demo

    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_demo.target, args=(theirs,), daemon=True)
    process.start()
    address = ours.recv()
    with _engine.Context("demo") as context:
        peer = context.connect(address, via=options.via)
        remote = peer.open("demo")
        text = options.text.encode()
        remote[0:len(text)].put(text, notify=b"look")
        print("process %d has %r" % (process.pid, ours.recv()))
        print("and gives back %r, by %s" % (bytes(remote[0:len(text)].get()).decode(), peer.via))
    process.join()


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m hmc", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help=info.__doc__).set_defaults(do=info)
    command = commands.add_parser("perf", help=perf.__doc__)
    command.add_argument("--via", default="auto", help="auto, shm, tcp, rdma or ucx")
    command.add_argument("--memory", default="cpu", help="of the target: cpu, nvidia, sim, ...")
    command.add_argument("--most", type=positive, default=16 << 20, help="largest size in bytes")
    command.add_argument("--seconds", type=float, default=0.2, help="for each line")
    command.set_defaults(do=perf)
    command = commands.add_parser("demo", help=demo.__doc__)
    command.add_argument("text", nargs="?", default="hello hmc")
    command.add_argument("--via", default="auto")
    command.set_defaults(do=demo)
    options = parser.parse_args(arguments)
    try:
        options.do(options)
    except HMCStatusError as error:
        sys.exit("python -m hmc: %s" % error)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
