"""A process of interrupts.py: interrupts_program.py CASE STORE URL. It gets the signal while it waits, goes on, and makes the
same call again, which works then."""

import atexit
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import memfabric_hybrid as mf
import mf_smem as smem

case, store, url = sys.argv[1:]
PART = 2 << 20
LIMIT = 20  # seconds from the signal to the exception; 0.05 s on a machine of one's own, which the program prints


def interrupted(call):
    sent, begun = [], threading.Event()

    def interrupt():
        begun.wait()
        time.sleep(0.3)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        begun.set()  # the signal may come from here on, and not while the thread starts
        result = call()
    except KeyboardInterrupt:
        took = time.monotonic() - sent[0]
        print(f"{case}: ended after {took:.3f} s", flush=True)
        assert took < LIMIT, took
        return
    sys.exit(f"the call came back: {result!r} {smem.get_last_err_msg()}")


def check(code):
    assert code == 0, (code, smem.get_last_err_msg())


def serve():
    server = subprocess.Popen([store, "--port", url.rpartition(":")[2]], stdout=subprocess.DEVNULL)
    atexit.register(server.kill)
    return server


def stand_still(process):
    os.kill(process, signal.SIGSTOP)

    def is_running(task):
        return (pathlib.Path("/proc") / str(process) / "task" / task / "stat").read_text().rpartition(")")[2].split()[0] != "T"

    while any(map(is_running, os.listdir(f"/proc/{process}/task"))):
        time.sleep(0.01)


def config_of(part):
    config = part.BmConfig() if part is smem.bm else part.ShmConfig()
    config.start_store = False
    if part is smem.bm:
        config.auto_ranking, config.rank_id = False, 0
    return config


def symmetric(rank):
    check(smem.shm.initialize(url, 2, rank, 0, config_of(smem.shm)))
    return smem.shm.create(0, 2, rank, PART)


def other(what):
    return subprocess.Popen([sys.executable, __file__, what, store, url], stdin=subprocess.PIPE)


def meet(member, mine):
    member.barrier()
    assert member.all_gather(mine) == b"01"


def run_no_store():
    """Nobody serves the store yet."""
    if case == "TransferEngine":
        engine = mf.TransferEngine()
        session = f"127.0.0.1:{engine.get_rpc_port()}"

        def call():
            return engine.initialize(url, session, "Both", 0)
    else:
        part = smem.bm if case == "bm.initialize" else smem.shm

        def call():
            return part.initialize(url, *((2, 0) if part is smem.bm else (2, 0, 0)), config_of(part))

    interrupted(call)
    server = serve()
    check(call())
    return server


def run_alone():
    """The other rank is not there, or does not take part."""
    server = serve()
    if case == "shm.create":
        check(smem.shm.initialize(url, 2, 0, 0, config_of(smem.shm)))
        interrupted(lambda: smem.shm.create(0, 2, 0, PART))
        peer = other("rank 1")
        member = smem.shm.create(0, 2, 0, PART)
    else:
        peer = other("rank 1")
        member = symmetric(0)
        interrupted(member.barrier if case == "barrier" else lambda: member.all_gather(b"0"))
    peer.stdin.write(b"\n")
    peer.stdin.flush()
    meet(member, b"0")
    assert peer.wait(60) == 0
    return server


def run_standing():
    """The store stands still."""
    server = serve()
    check(smem.bm.initialize(url, 1, 0, config_of(smem.bm)))
    pool = smem.bm.create(0, PART, 0) if case != "bm.create" else None
    if case == "leave":
        pool.join()
    stand_still(server.pid)
    interrupted({"bm.create": lambda: smem.bm.create(0, PART, 0), "join": lambda: pool.join(),
                 "leave": lambda: pool.leave()}[case])
    os.kill(server.pid, signal.SIGCONT)
    pool = pool or smem.bm.create(0, PART, 0)
    if case != "leave":
        pool.join()
    pool.destroy()
    return server


def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background has it ignored
    if case == "rank 1":
        member = symmetric(1)
        sys.stdin.readline()
        meet(member, b"1")
        return
    runs = {"bm.create": run_standing, "join": run_standing, "leave": run_standing, "shm.create": run_alone,
            "barrier": run_alone, "all_gather": run_alone}
    server = runs.get(case, run_no_store)()
    server.kill()
    server.wait()


main()
