"""What the packages shmem and memfabric_hybrid share: calls that wait for other processes, in programs that Ctrl-C ends.

The interpreter runs the handlers of signals in the main thread, between two of its own instructions, and so not while that
thread is inside a C library.
"""

import threading

__all__ = ["apart"]


def apart(call, *, end, patience=0):
    """call() in a thread of its own, while the main thread waits for it here: what a signal's handler raises comes here at
    once. Then end() makes the call return, for which it is given `patience` seconds. Other threads than the main one just
    make the call."""
    if threading.current_thread() is not threading.main_thread():
        return call()
    done, results = threading.Event(), []

    def run():
        try:
            results.append((call(), None))
        except BaseException as error:  # pylint: disable=broad-except
            results.append((None, error))
        done.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        done.wait()
    except BaseException:
        end()
        done.wait(patience)
        raise
    result, error = results[0]
    if error is not None:
        raise error
    return result
