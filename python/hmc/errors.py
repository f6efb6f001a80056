"""What goes wrong, as exceptions.

Every failure of the engine is an `HMCStatusError` with `status` (a `status_t`), `peer` (who it was with, or None) and
`remedy` (what to do about it). Each status has a class of its own, which is also the builtin exception that Python
programmers expect: a `DeadlineError` is a `TimeoutError`, a `PeerLostError` a `ConnectionError`.
"""

from .enums import status_t

__all__ = [
    "HMCError", "HMCStatusError", "UnsupportedError", "InvalidError", "DeadlineError", "NotFoundError",
    "PeerLostError", "OperationCancelledError", "OutOfRangeError", "StaleError", "CorruptError", "DeniedError",
    "NoMemoryError", "AddressInUseError", "ClosedError", "ForkedError",
]


class HMCError(RuntimeError):
    """The root of all exceptions of this package."""


class HMCStatusError(HMCError):
    """A call of the engine did not end with SUCCESS. Its text names the object, the cause, the status and the remedy.

    Attributes:
        status: the `status_t`.
        peer: "ip:port" or the name of the peer that it was with; None where no peer was involved.
        remedy: one sentence about what to do; "" where there is nothing general to say.
    """

    remedy = ""

    def __init__(self, st, msg="", *, peer=None, remedy=None):
        super().__init__("%s (status=%d)" % (msg, st))
        self.status = st
        self.peer = peer
        if remedy is not None:
            self.remedy = remedy

    def __str__(self):
        text = super().__str__()
        if type(self) is HMCStatusError:  # what Session raises: programs of the first HMC know its text
            return text
        if self.peer and self.peer not in text:
            text += ", with %s" % self.peer
        return "%s. %s" % (text, self.remedy) if self.remedy else text

    def __reduce__(self):
        return _rebuild, (type(self), self.status, self.args, self.peer, self.remedy)


def _rebuild(kind, status, args, peer, remedy):
    error = kind(status, peer=peer, remedy=remedy)
    error.args = args
    return error


class UnsupportedError(HMCStatusError, NotImplementedError):
    remedy = "`python -m hmc info` says what works here and what is missing; AUTO takes the best that works."


class InvalidError(HMCStatusError, ValueError):
    remedy = "Correct the argument or the setting that the text names."


class DeadlineError(HMCStatusError, TimeoutError):
    remedy = "Give the call a longer timeout, or see why the peer does not answer (peer.explain())."


class NotFoundError(HMCStatusError, LookupError):
    remedy = "Check the name or the address, and that the other side has registered or listens by now."


class PeerLostError(HMCStatusError, ConnectionError):
    remedy = "Connect again: the peer's process has ended or the connection broke."


class OperationCancelledError(HMCStatusError):
    remedy = "It was cancelled at this end; start it again if it is still wanted."


class OutOfRangeError(HMCStatusError, IndexError):
    remedy = "Keep offset + length within the region (len(remote), len(region))."


class StaleError(HMCStatusError):
    remedy = "The owner closed the region: open it again by its name (peer.open(name))."


class CorruptError(HMCStatusError):
    remedy = "Bytes were damaged on the way, or the other side speaks something else; repeat the operation."


class DeniedError(HMCStatusError, PermissionError):
    remedy = ("The owner of a region says what peers may do: register() and allocate() take rights=\"rwa\", of which \"r\" is "
              "HMC_REMOTE_READ, \"w\" HMC_REMOTE_WRITE and \"a\" HMC_REMOTE_ATOMIC. To connect, both ends need the same "
              "secret: Context(secret=...), HMC_SECRET or HMC_SECRET_FILE.")


class NoMemoryError(HMCStatusError, MemoryError):
    remedy = "Free memory, descriptors or notifications that nobody takes."


class AddressInUseError(HMCStatusError, OSError):
    remedy = "Listen on port 0, which picks a free one."


class ClosedError(HMCStatusError):
    """The context, peer or region was closed here before the call."""

    remedy = "Do this before close(), or inside the `with` block."


class ForkedError(UnsupportedError):
    """The object belongs to the process that this one was forked from."""

    remedy = "Make a Context after the fork (multiprocessing: the 'spawn' method does that by itself)."


_CLASSES = {
    status_t.UNSUPPORT: UnsupportedError,
    status_t.INVALID_CONFIG: InvalidError,
    status_t.TIMEOUT: DeadlineError,
    status_t.NOT_FOUND: NotFoundError,
    status_t.PEER_LOST: PeerLostError,
    status_t.CANCELLED: OperationCancelledError,
    status_t.OUT_OF_RANGE: OutOfRangeError,
    status_t.STALE: StaleError,
    status_t.CORRUPT: CorruptError,
    status_t.DENIED: DeniedError,
    status_t.NO_MEMORY: NoMemoryError,
    status_t.ADDRESS_IN_USE: AddressInUseError,
}


def not_pickled(thing):
    """For what copy and pickle would take a pointer of."""
    raise TypeError("an hmc.%s belongs to its process and cannot be copied or pickled: make one where it is used, and send "
                    "addresses and names there" % type(thing).__name__)


def from_status(status, text, peer=None):
    """The exception for a status of the engine and its text."""
    try:
        status = status_t(status)
    except ValueError:
        pass
    return _CLASSES.get(status, HMCStatusError)(status, text, peer=peer)
