"""Closing from several threads, what is left of memory afterwards, and how long a wait may take."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import hmc


def run(program, *arguments):
    """In a process of its own, because what is tested here once ended the process."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), *arguments], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("is_shown", ["", "shown"])
def test_threads_close_a_context_together(is_shown):
    run("""
        import sys, threading
        import hmc
        for _ in range(25):
            here, there = hmc.Context(), hmc.Context()
            address = str(there.listen("127.0.0.1:0"))
            peers = [here.connect(address, via="shm") for _ in range(16)]
            region = here.allocate(64, name="shown")
            view = memoryview(region)
            if not sys.argv[1]:
                view.release()
            together = threading.Barrier(4)
            def close():
                together.wait()
                here.close()
            threads = [threading.Thread(target=close) for _ in range(4)]
            for each in threads:
                each.start()
            view.release()
            for each in threads:
                each.join()
            assert here.is_closed and region.is_closed
            there.close()
    """, is_shown)


def test_memory_that_was_shown_when_its_context_closed():
    run("""
        import hmc
        context = hmc.Context()
        regions = [context.allocate(1 << 20) for _ in range(3)]
        views = [memoryview(each) for each in regions]
        context.close()
        views[0][5] = views[2][5] = 7
        assert views[0][5] == 7
        while views:
            views.pop().release()
        for each in regions:
            try:
                memoryview(each)
            except BufferError as error:
                assert "closed" in str(error)
            else:
                raise SystemExit("memory that is gone was shown")
    """)


def test_a_wait_ends_with_the_timeout_of_its_context():
    with hmc.Context(timeout=0.3) as here, hmc.Context() as there:
        peer = here.connect(str(there.listen("127.0.0.1:0")), via="tcp")
        region = here.allocate(64)
        for call in (here.accept, here.notification, lambda: region.word(0).wait(1)):
            begin = time.monotonic()
            with pytest.raises(hmc.DeadlineError):
                call()
            assert 0.25 < time.monotonic() - begin < 10     # and not HMC_TIMEOUT, which is 30 s
        assert peer.is_connected


def test_the_timeout_of_many_is_that_of_all():
    """The peer stands still; each request ends by a deadline of its own, one after the other."""
    program = """
        import sys, hmc
        context = hmc.Context()
        region = context.allocate(1 << 20, name="far")
        print(context.listen("127.0.0.1:0"), flush=True)
        sys.stdin.readline()
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as other, hmc.Context() as here:
        try:
            remote = here.connect(other.stdout.readline().strip(), via="tcp").open("far")
            mine = here.allocate(1 << 20)
            os.kill(other.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)

            def begin():
                return [remote.put_nb(mine, timeout=0.8 * i) for i in range(1, 7)]

            calls = (lambda: hmc.wait_all(begin(), timeout=1), lambda: list(hmc.as_completed(begin(), timeout=1)),
                     lambda: (begin(), here.flush(timeout=1)))
            for call in calls:
                start = time.monotonic()
                with pytest.raises(hmc.DeadlineError, match="after 1 s"):
                    call()
                assert time.monotonic() - start < 3
        finally:
            other.kill()


@pytest.mark.parametrize("via", ["tcp", "shm"])
@pytest.mark.parametrize("call", ["accept", "notification", "word", "flush", "wait", "put"])
def test_the_handler_of_a_signal_closes_the_context(call, via):
    """The call that the signal interrupts cannot end before the handler does."""
    run("""
        import os, signal, subprocess, sys, threading, time
        import hmc
        hmc.log_to(None, "error")
        owner = '''
        import sys, hmc
        context = hmc.Context()
        region = context.register(bytearray(1 << 20), name="far")
        print(context.listen("127.0.0.1:0"), flush=True)
        sys.stdin.readline()
        '''.replace("\\n        ", "\\n")
        with subprocess.Popen([sys.executable, "-c", owner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            try:
                context = hmc.Context(timeout=100)
                peer = context.connect(other.stdout.readline().strip(), via=sys.argv[2])
                remote, region = peer.open("far"), context.allocate(1 << 20)
                os.kill(other.pid, signal.SIGSTOP)
                os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)    # all of its threads
                calls = {"accept": context.accept, "notification": context.notification,
                         "word": lambda: region.word(0).wait(1), "flush": lambda: (remote.put_nb(region), peer.flush()),
                         "wait": lambda: remote.put_nb(region).wait(), "put": lambda: remote.put(region[0:4096])}
                refused = []
                def handler(number, frame):
                    if sys.argv[1] in ("word", "wait", "put"):
                        try:
                            region.close()
                        except hmc.InvalidError as error:
                            refused.append(str(error))
                    context.close()
                signal.signal(signal.SIGUSR1, handler)
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
                begin = time.monotonic()
                try:
                    calls[sys.argv[1]]()
                except (hmc.ClosedError, hmc.OperationCancelledError):
                    pass
                else:
                    raise SystemExit("the call returned")
                assert time.monotonic() - begin < 20
                assert all("interrupted" in each for each in refused)
                assert bool(refused) == (sys.argv[1] in ("word", "put")), refused
                context.close()
                assert context.is_closed and region.is_closed
            finally:
                other.kill()
    """, call, via)


def test_the_handler_of_a_signal_closes_what_threads_wait_for():
    run("""
        import os, signal, threading, time
        import hmc
        context = hmc.Context(timeout=100)
        ended = []
        def wait(call):
            try:
                call()
            except hmc.ClosedError:
                ended.append(True)
        threads = [threading.Thread(target=wait, args=(call,)) for call in (context.accept, context.notification)]
        for each in threads:
            each.start()
        signal.signal(signal.SIGUSR1, lambda *_: context.close())
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGUSR1)
        for each in threads:
            each.join(20)
        assert ended == [True, True] and repr(context).endswith("closed>")
    """)
