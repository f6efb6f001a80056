"""One backend of an agent: an HMC context, the memory that is registered with it, and its connections.

How it maps. A backend is reached by the addresses at which its context listens, and a token that the context carries as
its name: who dials knows by it that he reached that agent and not another one at the same address. Registered memory is a
region. A transfer is one batch, with its notification behind it.

Locking. `lock` guards the tables; `Link.lock` is held while one agent is dialled. Neither is held across a transfer.
"""

import fcntl
import itertools
import secrets
import socket
import struct
import threading

import hmc

from .memory import DeviceMemory, HostMemory, Range, Ranges
from .status import (kind_of, nixl_mem_t, nixlBackendError, nixlInvalidParamError, nixlMismatchError,
                     nixlNotFoundError, nixlRemoteDisconnectError)

GREETING = "hmc1"
MAILBOX = "hmc-nixl"            # notifications of their own are puts of nothing to it
METADATA = "hmc-nixl-metadata"  # the agent's metadata: of use to one who asks for them by address
DIAL_SECONDS = 10
DEFAULTS = {"transport": "auto", "deadline_ms": "0", "address": "", "port": "0", "secret": ""}
MEMORIES = ["DRAM_SEG", "VRAM_SEG"]


def own_addresses():
    """The IPv4 addresses at which other hosts may reach this one."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                address = socket.inet_ntoa(fcntl.ioctl(probe, 0x8915, request)[20:24])     # SIOCGIFADDR
            except OSError:
                continue    # an interface without one
            if not address.startswith("127."):
                found.append(address)
    return found


class Link:
    """Another agent, or this one, as a backend reaches it."""

    def __init__(self, info):
        self.info = info
        self.lock = threading.Lock()
        self.peer = None        # lock
        self.mailbox = None     # lock
        self.remotes = {}       # lock; name of a region: Remote, of this connection
        self.ranges = Ranges()

    def is_connected(self):
        return self.peer is not None and self.peer.is_connected

    def hang_up(self):
        peer, self.peer, self.mailbox, self.remotes = self.peer, None, None, {}
        if peer is not None:
            peer.close()


class Backend:
    def __init__(self, kind, parameters):
        self.kind = kind
        unknown = set(parameters) - set(DEFAULTS) - {"num_threads", "engine_config", "num_workers", "ucx_devices",
                                                      "ucx_error_handling_mode", "device_list"}    # UCX's own
        if unknown:
            raise nixlInvalidParamError("NIXL_ERR_INVALID_PARAM: %s has no parameter %s" % (kind, ", ".join(unknown)))
        self.parameters = {**DEFAULTS, **{name: str(value) for name, value in parameters.items()}}
        self.lock = threading.Lock()
        self.ranges = Ranges()      # lock, to change it
        self._numbers = itertools.count(1)
        self._own = None            # the Link to this agent itself
        try:
            self._open()
        except (hmc.HMCError, KeyError, ValueError, OSError) as error:
            raise nixlBackendError("NIXL_ERR_BACKEND: %s" % error) from error

    def _open(self):
        setting = self.parameters
        self.deadline = int(setting["deadline_ms"]) / 1000 or None
        self.via = hmc.ConnType[setting["transport"].upper()] if setting["transport"] != "auto" else None
        token = secrets.token_hex(16)
        self.context = hmc.Context(token, timeout=self.deadline, secret=setting["secret"] or None)
        try:
            self.mailbox = self.context.allocate(64, name=MAILBOX, rights="w")
            at = self.context.listen((setting["address"] or "0.0.0.0", int(setting["port"])))
        except BaseException:
            self.context.close()
            raise
        places = [setting["address"]] if setting["address"] else own_addresses()
        self.info = " ".join([GREETING, token, socket.gethostname(), str(at.port), *places])

    def close(self):
        self.context.close()

    # ---- memory

    def register(self, kind, address, size, device):
        """Repeated registrations of one range count."""
        if kind not in (nixl_mem_t.DRAM_SEG, nixl_mem_t.VRAM_SEG):
            raise nixlNotFoundError()
        with self.lock:
            known = self.ranges.by_key.get((kind, address, size, device))
            if known is not None:
                known.users += 1
                return
            where = (HostMemory if kind == nixl_mem_t.DRAM_SEG else DeviceMemory)(address, size)
            name = "nixl-%d" % next(self._numbers)
            try:
                region = self.context.register(where, name=name)
            except (hmc.HMCError, ValueError) as error:
                raise kind_of(error)() from error
            self.ranges.add(Range(kind, address, size, device, name, region))

    def deregister(self, kind, address, size, device):
        """When it returns nobody reads or writes the memory by this registration any more."""
        with self.lock:
            known = self.ranges.by_key.get((kind, address, size, device))
            if known is None:
                raise nixlNotFoundError()
            known.users -= 1
            if known.users:
                return
            self.ranges.remove(known)
        known.handle.close()

    def own_link(self):
        """This agent reaches its own memory as it reaches everybody's: it connects to itself."""
        with self.lock:
            if self._own is None:
                self._own = Link(self.info)
            self._own.ranges = self.ranges
            return self._own

    # ---- agents

    def _dial_one(self, place, port, token):
        peer = self.context.connect((place, port), via=self.via, timeout=DIAL_SECONDS)
        try:
            if peer.name != token:      # somebody else's context at that address
                raise hmc.NotFoundError(hmc.status_t.NOT_FOUND, "another agent listens at %s:%d" % (place, port))
            return peer, peer.open(MAILBOX, timeout=DIAL_SECONDS)
        except BaseException:
            peer.close()
            raise

    def dial(self, link):
        """Connects unless it is connected. link.lock held."""
        if link.is_connected():
            return
        link.hang_up()
        greeting, token, host, port, *places = link.info.split(" ")
        if host == socket.gethostname():
            places.insert(0, "127.0.0.1")
        why = None
        for place in places:
            try:
                link.peer, link.mailbox = self._dial_one(place, int(port), token)
                return
            except hmc.HMCError as error:
                why = error
        if isinstance(why, (hmc.NotFoundError, hmc.DeadlineError, hmc.PeerLostError)) or why is None:
            raise nixlRemoteDisconnectError("NIXL_ERR_REMOTE_DISCONNECT") from why
        raise kind_of(why)() from why

    def connect(self, link):
        with link.lock:
            self.dial(link)

    def remotes_of(self, link, ranges):
        """The peer's regions of some ranges, opened where they are not."""
        with link.lock:
            self.dial(link)
            try:
                for each in ranges:
                    if each.name not in link.remotes:
                        link.remotes[each.name] = link.peer.open(each.name)
            except hmc.HMCError as error:
                raise kind_of(error)() from error
            return [link.remotes[each.name] for each in ranges]

    def notify(self, link, note):
        """Sends it; where the receiver has no room for it yet, it waits in the background."""
        with link.lock:
            self.dial(link)
            try:
                link.mailbox.put_nb(b"", notify=note, timeout=self.deadline)
            except hmc.HMCError as error:
                raise kind_of(error)() from error

    def notes(self):
        """What has arrived, as bytes, the oldest first."""
        while True:
            note = self.context.poll_notification()
            if note is None:
                return
            yield note.data


def check_info(info):
    """Raises where it is not how a backend says it is reached."""
    words = info.split(" ")
    if len(words) < 4 or words[0] != GREETING or not words[3].isdigit() or not 0 < int(words[3]) < 65536:
        raise nixlMismatchError()

