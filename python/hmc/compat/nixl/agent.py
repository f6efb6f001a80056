"""nixlAgent: what NIXL has in C++, by the same names.

Locking. `_lock` guards the tables of backends, agents, handles and notifications. It is not held while a backend dials,
registers or transfers. Handles are numbers, as in NIXL; one handle is used by one thread at a time.
"""

import itertools
import json
import os
import struct
import threading
import time

import hmc

from . import backend as _backend
from .lists import nixlRemoteDList, nixlXferDList
from .logging import get_logger
from .status import (nixl_status_t, nixl_xfer_op_t, nixlBackendError, nixlInvalidParamError, nixlMismatchError,
                     nixlNotFoundError, nixlNoTelemetryError, nixlNotSupportedError, nixlRemoteDisconnectError)
from .transfer import Side, Transfer, expand, places

logger = get_logger(__name__)

DEFAULT_COMM_PORT = 8888
NIXL_INIT_AGENT = ""
PLUGINS = ("HMC", "UCX")

NOTE, METADATA, INVALID = range(3)      # what a notification's first byte says
HEAD = struct.Struct("<BH")             # that, and how long the sender's name is


def _text(name):
    return name.decode() if isinstance(name, (bytes, bytearray)) else name


def _bytes(message):
    return message.encode() if isinstance(message, str) else bytes(message)


def _captures(config):
    """Whether transfers are measured: the environment decides where it says anything, as with NIXL."""
    said = os.environ.get("NIXL_TELEMETRY_ENABLE")
    if said is None:
        return config.captureTelemetry
    return said.strip().lower() in ("y", "yes", "on", "true", "1", "enable")


class nixlXferTelemetry:
    """Times in microseconds, begun ones counted; startTime is of the monotonic clock."""

    def __init__(self, start, post, took, total, count, backend):
        self.startTime, self.postDuration, self.xferDuration = start // 1000, -(-post // 1000), -(-took // 1000)
        self.totalBytes, self.descCount, self.backendName = total, count, backend


class _Agent:
    """Another agent as its metadata say. `generation` differs whenever it is added after it was removed."""

    _generations = itertools.count(1)

    def __init__(self, name):
        self.name = name
        self.generation = next(self._generations)
        self.links = {}     # Backend: Link

    def hang_up(self):
        for link in self.links.values():
            with link.lock:
                link.hang_up()


class nixlAgent:
    def __init__(self, name, config):
        name = _text(name)
        if not name:
            raise ValueError("Agent needs a non-empty name")
        self.name, self._config, self._captures = name, config, _captures(config)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._backends = {}     # handle: Backend, in the order they were made
        self._agents = {}
        self._sides = {}
        self._transfers = {}
        self._notes = []        # (agent, message) that have arrived
        self._listener = None
        self._board = None
        if config.useListenThread:
            self._listen()

    def __del__(self):
        for each in (list(self.__dict__.get("_backends", {}).values()) + [self.__dict__.get("_listener")]):
            if each is not None:
                each.close()

    # ---- backends

    def getAvailPlugins(self):
        return list(PLUGINS)

    def getPluginParams(self, kind):
        if kind not in PLUGINS:
            raise nixlNotFoundError()
        return dict(_backend.DEFAULTS), list(_backend.MEMORIES)

    def createBackend(self, kind, parameters=None):
        if kind not in PLUGINS:
            raise nixlNotFoundError()
        with self._lock:
            if any(each.kind == kind for each in self._backends.values()):
                raise nixlInvalidParamError()
            made = _backend.Backend(kind, parameters or {})
            handle = next(self._numbers)
            self._backends[handle] = made
        return handle

    def _backend(self, handle):
        found = self._backends.get(handle)
        if found is None:
            raise nixlInvalidParamError()
        return found

    def _chosen(self, handles):
        """The backends of a list of handles; all for an empty one. The first one that can do a thing does it."""
        with self._lock:
            return [self._backend(each) for each in handles] if handles else list(self._backends.values())

    def getBackendParams(self, handle):
        parameters = dict(self._backend(handle).parameters)
        parameters.pop("secret")
        return parameters, list(_backend.MEMORIES)

    # ---- memory

    def registerMem(self, descs, backends=()):
        """Registers with each backend that takes the memory; one has to."""
        rows = descs._rows.tolist()
        taken, why = 0, nixlNotFoundError()
        for each in self._chosen(backends):
            done = []
            try:
                for address, size, device in rows:
                    each.register(descs.getType(), address, size, device)
                    done.append((address, size, device))
                taken += 1
            except Exception as error:
                why = error
                for row in done:
                    each.deregister(descs.getType(), *row)
        if not taken:
            raise why
        self._publish()
        return nixl_status_t.NIXL_SUCCESS

    def deregisterMem(self, descs, backends=()):
        chosen = self._chosen(backends)
        rows = descs._rows.tolist()
        keys = [(descs.getType(), *row) for row in rows]
        holders = [each for each in chosen if all(key in each.ranges.by_key for key in keys)]
        if not holders:
            raise nixlNotFoundError()
        for each in holders:
            for key in keys:
                each.deregister(*key)
        self._publish()
        return nixl_status_t.NIXL_SUCCESS

    def queryMem(self, descs, backend):
        self._backend(backend)
        raise nixlNotSupportedError()

    def prepMemView(self, dlist, backends=()):
        raise (nixlNotSupportedError if isinstance(dlist, (nixlXferDList, nixlRemoteDList)) else TypeError)()

    def releaseMemView(self, view):
        raise nixlNotSupportedError()

    # ---- metadata

    def _describe(self, backends, with_connection, keys=None):
        described = {}
        for each in backends:
            with each.lock:
                ranges = [[int(part.kind), part.base, part.size, part.device, part.name] for part in each.ranges
                          if keys is None or part.key in keys]
            described[each.kind] = {"info": each.info if with_connection else "", "ranges": ranges}
        return json.dumps({"hmc": 1, "agent": self.name, "backends": described}, separators=(",", ":")).encode()

    def getLocalMD(self):
        return self._describe(self._chosen(()), True)

    def getLocalPartialMD(self, descs, inc_conn_info=False, backends=()):
        chosen = self._chosen(backends)
        keys = {(descs.getType(), *row) for row in descs._rows.tolist()}
        holders = [each for each in chosen if keys <= set(each.ranges.by_key)]
        if keys and not holders:
            raise nixlNotFoundError()
        return self._describe(holders, inc_conn_info or not keys, keys)

    @staticmethod
    def _parse(metadata):
        try:
            said = json.loads(_bytes(metadata))
            name, backends = said["agent"], said["backends"]
            for each in backends.values():
                if each["info"]:
                    _backend.check_info(each["info"])
                for kind, base, size, device, region in each["ranges"]:
                    if min(kind, base, size, device) < 0 or not isinstance(region, str):
                        raise nixlMismatchError()
            if said["hmc"] != 1 or not name:
                raise nixlMismatchError()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise nixlMismatchError() from error
        return name, backends

    def loadRemoteMD(self, metadata):
        """Adds an agent, or what its metadata have more than before. Gives its name, as bytes."""
        name, backends = self._parse(metadata)
        if name == self.name:
            raise nixlInvalidParamError()
        with self._lock:
            common = [each for each in self._backends.values() if each.kind in backends]
            known = self._agents.get(name)
            restarted = known is not None and any(
                each in known.links and backends[each.kind]["info"] not in ("", known.links[each].info)
                for each in common)
            if not common or (known is None or restarted) and not any(backends[each.kind]["info"] for each in common):
                raise nixlBackendError()
            entry = _Agent(name) if known is None or restarted else known
            for each in common:
                self._merge(entry, each, backends[each.kind])
            self._agents[name] = entry
        if restarted:
            known.hang_up()
        return name.encode()

    @staticmethod
    def _merge(entry, backend, said):
        link = entry.links.get(backend)
        if link is None:
            if not said["info"]:
                return
            link = entry.links[backend] = _backend.Link(said["info"])
        for kind, base, size, device, region in said["ranges"]:
            known = link.ranges.by_key.get((kind, base, size, device))
            if known is None or known.name != region:
                link.ranges.add(_backend.Range(kind, base, size, device, region))

    def invalidateRemoteMD(self, name):
        """Forgets an agent and hangs up; transfers with it that are in progress end. One that is not known is fine."""
        with self._lock:
            entry = self._agents.pop(_text(name), None)
        if entry is None:
            return nixl_status_t.NIXL_ERR_NOT_FOUND
        entry.hang_up()
        return nixl_status_t.NIXL_SUCCESS

    def checkRemoteMD(self, name, descs):
        self._drain()
        try:
            entry = self._agent(_text(name))
        except nixlNotFoundError:
            return nixl_status_t.NIXL_ERR_NOT_FOUND
        if descs.isEmpty():
            return nixl_status_t.NIXL_SUCCESS
        for link in entry.links.values():
            if link.ranges.find(descs.getType(), descs._rows) is not None:
                return nixl_status_t.NIXL_SUCCESS
        return nixl_status_t.NIXL_ERR_NOT_FOUND

    def _agent(self, name):
        """The entry of an agent; this one's own for its own name."""
        with self._lock:
            if name == self.name:
                own = _Agent(name)
                own.generation = 0
                own.links = {each: each.own_link() for each in self._backends.values()}
                return own
            entry = self._agents.get(name)
        if entry is None:
            raise nixlNotFoundError()
        return entry

    def _is_current(self, entry):
        if entry.name == self.name:
            return True
        with self._lock:
            known = self._agents.get(entry.name)
            return known is not None and known.generation == entry.generation

    # ---- metadata from agent to agent, by address

    def _listen(self):
        """A context at the agreed port: peers read its metadata there, and leave theirs."""
        self._listener = hmc.Context("nixl-listener")
        try:
            self._listener_box = self._listener.allocate(64, name=_backend.MAILBOX, rights="w")
            self._listener.listen(("0.0.0.0", self._config.listenPort))
        except hmc.HMCError as error:
            self._listener.close()
            self._listener = None
            raise nixlBackendError("NIXL_ERR_BACKEND: %s" % error) from error
        self._publish()

    def _publish(self):
        """Shows this agent's metadata, as they are now, to those who ask by address."""
        if self._listener is None:
            return
        with self._lock:
            data = self.getLocalMD()
            if self._board is not None:
                self._board.close()
            self._board = self._listener.allocate(len(data), name=_backend.METADATA, rights="r")
            memoryview(self._board)[:] = data

    def _visit(self, ip_addr, port, use):
        """Calls use(peer) of the listener of another agent."""
        if not ip_addr:
            raise nixlInvalidParamError()    # there is no central server
        try:
            with hmc.Context("nixl-visitor") as visitor:
                return use(visitor.connect((ip_addr, port), timeout=_backend.DIAL_SECONDS))
        except hmc.HMCError as error:
            raise nixlBackendError("NIXL_ERR_BACKEND: %s" % error) from error

    def _leave(self, ip_addr, port, what, message):
        note = self._pack(what, message)
        self._visit(ip_addr, port, lambda peer: peer.open(_backend.MAILBOX).notify(note))

    def sendLocalMD(self, ip_addr="", port=0):
        self._leave(ip_addr, port, METADATA, self.getLocalMD())

    def sendLocalPartialMD(self, descs, inc_conn_info=False, backends=(), ip_addr="", port=0, label=""):
        self._leave(ip_addr, port, METADATA, self.getLocalPartialMD(descs, inc_conn_info, backends))

    def invalidateLocalMD(self, ip_addr="", port=0):
        self._leave(ip_addr, port, INVALID, b"")

    def fetchRemoteMD(self, remote_agent, ip_addr="", port=0, label=""):
        def read(peer):
            for attempt in range(100):
                try:
                    return bytes(peer.open(_backend.METADATA).get())
                except (hmc.StaleError, hmc.NotFoundError):     # it changes just now
                    time.sleep(0.01)
            raise nixlNotFoundError()

        metadata = self._visit(ip_addr, port, read)
        if self._parse(metadata)[0] != _text(remote_agent):
            raise nixlNotFoundError()
        self.loadRemoteMD(metadata)

    # ---- notifications

    def _pack(self, what, message):
        name = self.name.encode()
        return HEAD.pack(what, len(name)) + name + message

    def _note(self, message):
        return self._pack(NOTE, message)

    def _take(self, note):
        """Sorts one that has arrived."""
        if len(note) < HEAD.size:
            return
        what, size = HEAD.unpack_from(note)
        name, message = note[HEAD.size:HEAD.size + size].decode("utf-8", "replace"), note[HEAD.size + size:]
        if what == NOTE:
            self._notes.append((name, message))
        elif what == METADATA:
            try:
                self.loadRemoteMD(message)
            except (nixlMismatchError, nixlBackendError, nixlInvalidParamError) as error:
                logger.warning("the metadata that %s sent are of no use: %s", name, error)
        elif what == INVALID:
            self.invalidateRemoteMD(name)

    def _drain(self, backends=None):
        with self._lock:
            for each in self._chosen(()) if backends is None else backends:
                for note in each.notes():
                    self._take(note)
            while self._listener is not None:
                note = self._listener.poll_notification()
                if note is None:
                    break
                self._take(note.data)

    def getNotifs(self, notif_map, backends=()):
        """The map with what has arrived since the last call."""
        found = {name: list(messages) for name, messages in notif_map.items()}
        with self._lock:
            self._drain(self._chosen(backends))
            notes, self._notes = self._notes, []
        for name, message in notes:
            found.setdefault(name, []).append(message)
        return found

    def genNotif(self, remote_agent, msg, backends=()):
        entry = self._agent(_text(remote_agent))
        handles = backends if isinstance(backends, (list, tuple)) else [backends]
        for each in self._chosen(handles):
            if each in entry.links:
                self._guarded(entry, lambda: each.notify(entry.links[each], self._note(_bytes(msg))))
                return nixl_status_t.NIXL_SUCCESS
        raise nixlNotFoundError()

    # ---- transfers

    def makeConnection(self, name, backends=()):
        with self._lock:
            entry = self._agents.get(_text(name))
        if entry is None:
            raise nixlNotFoundError()
        for each in self._chosen(backends):
            if each in entry.links:
                self._guarded(entry, lambda: each.connect(entry.links[each]))
        return nixl_status_t.NIXL_SUCCESS

    def _guarded(self, entry, call):
        """Does something with an agent; where that has gone, its metadata go too."""
        try:
            return call()
        except nixlRemoteDisconnectError:
            with self._lock:
                if self._agents.get(entry.name) is entry:
                    del self._agents[entry.name]
            entry.hang_up()
            raise

    def _side(self, name, kind, rows, backends):
        """Blocks found in an agent's memory; NIXL_INIT_AGENT stands for local ones."""
        entry = None if name == NIXL_INIT_AGENT else self._agent(name)
        found = {}
        for each in backends:
            ranges = each.ranges if entry is None else entry.links[each].ranges if each in entry.links else None
            where = None if ranges is None or not len(rows) else ranges.find(kind, rows)
            if where is not None:
                found[each] = where
        if not found:
            raise nixlNotFoundError()
        return Side(entry, rows, found)

    def prepXferDlist(self, agent_name, descs, *more, mem_type=None, backend=()):
        """(agent, list[, backends]), or (agent, memory type, Nx5 array of strided blocks[, backends])."""
        more = list(more)
        if not isinstance(descs, nixlXferDList):
            kind, rows = descs if mem_type is None else mem_type, expand(more.pop(0) if mem_type is None else descs)
        else:
            kind, rows = descs.getType(), descs._rows.copy()
        side = self._side(_text(agent_name), kind, rows, self._chosen(more[0] if more else backend))
        with self._lock:
            handle = next(self._numbers)
            self._sides[handle] = side
        return handle

    def releasedDlistH(self, handle):
        with self._lock:
            if self._sides.pop(handle, None) is None:
                raise nixlInvalidParamError()
        return nixl_status_t.NIXL_SUCCESS

    def _make(self, operation, local, remote, note, handles):
        if local.agent is not None or remote.agent is None:
            raise nixlInvalidParamError()
        if not self._is_current(remote.agent):
            raise nixlNotFoundError()
        for each in self._chosen(handles):
            if each in local.found and each in remote.found:
                made = self._guarded(remote.agent, lambda: Transfer(nixl_xfer_op_t(operation), local, remote, each,
                                                                    _bytes(note)))
                with self._lock:
                    handle = next(self._numbers)
                    self._transfers[handle] = made
                return handle
        raise nixlNotFoundError()

    def makeXferReq(self, operation, local_side, local_indices, remote_side, remote_indices, notif_msg="", backend=(),
                    skip_desc_merg=False):
        with self._lock:
            local, remote = self._sides.get(local_side), self._sides.get(remote_side)
        if local is None or remote is None:
            raise nixlInvalidParamError()
        mine, theirs = places(local_indices, len(local.rows)), places(remote_indices, len(remote.rows))
        return self._make(operation, local.pick(mine), remote.pick(theirs), notif_msg, backend)

    def createXferReq(self, operation, local_descs, remote_descs, remote_agent, notif_msg="", backend=()):
        if not isinstance(local_descs, nixlXferDList) or not isinstance(remote_descs, nixlXferDList):
            raise TypeError("createXferReq(): lists are nixlXferDList")
        chosen = self._chosen(backend)
        local = self._side(NIXL_INIT_AGENT, local_descs.getType(), local_descs._rows, chosen)
        remote = self._side(_text(remote_agent), remote_descs.getType(), remote_descs._rows, chosen)
        return self._make(operation, local, remote, notif_msg, backend)

    def _transfer(self, handle):
        with self._lock:
            found = self._transfers.get(handle)
        if found is None:
            raise nixlInvalidParamError()
        return found

    def postXferReq(self, reqh, notif_msg=""):
        transfer = self._transfer(reqh)
        if not self._is_current(transfer.agent):
            raise nixlNotFoundError()
        return self._guarded(transfer.agent, lambda: transfer.post(_bytes(notif_msg), self._note))

    def getXferStatus(self, reqh):
        transfer = self._transfer(reqh)
        if transfer.state == nixl_status_t.NIXL_IN_PROG and not self._is_current(transfer.agent):
            transfer.release()
            raise nixlNotFoundError()
        return self._guarded(transfer.agent, transfer.check)

    def getXferTelemetry(self, reqh):
        transfer = self._transfer(reqh)
        if not self._captures:
            raise nixlNoTelemetryError()
        transfer.check()
        return nixlXferTelemetry(transfer.began, transfer.post_ns, transfer.took_ns, transfer.total,
                                 len(transfer.pieces), transfer.backend.kind)

    def queryXferBackend(self, reqh):
        transfer = self._transfer(reqh)
        return next(handle for handle, each in self._backends.items() if each is transfer.backend)

    def estimateXferCost(self, req_handle):
        self._transfer(req_handle)
        return 0, 0, 1      # as a backend that does not know

    def releaseXferReq(self, reqh):
        """Ends the transfer, where it is in progress; nothing of it lands or is read any more then."""
        with self._lock:
            transfer = self._transfers.pop(reqh, None)
        if transfer is None:
            raise nixlInvalidParamError()
        transfer.release()
        return nixl_status_t.NIXL_SUCCESS


__all__ = ["nixlAgent", "nixlXferTelemetry", "DEFAULT_COMM_PORT", "NIXL_INIT_AGENT"]
