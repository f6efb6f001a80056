"""TransferEngine: transfers to memory that a peer registered, by the peer's session ("ip:port") and raw addresses."""

import enum
import os
import socket
import threading

from ._library import CTransConfig, INVALID, address, apart, c_size, lib, pointers, stream_of, text

__all__ = ["TransferEngine", "TransferOpcode", "TransDataOpType", "Read", "Write", "SDMA", "DEVICE_RDMA"]


class TransferOpcode(enum.IntEnum):
    Read = 0
    Write = 1


class TransDataOpType(enum.IntFlag):
    SDMA = 1
    DEVICE_RDMA = 8


Read, Write = TransferOpcode.Read, TransferOpcode.Write
SDMA, DEVICE_RDMA = TransDataOpType.SDMA, TransDataOpType.DEVICE_RDMA
_ROLES = {"Prefill": 1, "Decode": 2, "Both": 3}
_LEVEL_NAMES = ("SHMEM_LOG_LEVEL", "ASCEND_MF_LOG_LEVEL")


def _take_log_level():
    for name in _LEVEL_NAMES:
        if name in os.environ:
            if name == "ASCEND_MF_LOG_LEVEL" and os.environ[name] in tuple("0123"):
                lib.smem_set_log_level(int(os.environ[name]))
            return


class TransferEngine:
    """One end of transfers. Calls return 0 or a code; several engines may live in one process.

    Threads: any, except that destroy() must not run beside other calls on the engine."""

    TransferOpcode = TransferOpcode
    TransDataOpType = TransDataOpType
    _lock = threading.RLock()  # for short steps, in which the collector may yet end another engine
    _engines = 0  # of this process that are initialised, or about to be; guarded by _lock

    def __init__(self):
        self._handle = None
        self._port = 0

    def __del__(self):
        self.destroy()

    def initialize(self, store_url, session_id, role, device_id, data_op_type=SDMA):
        """role: "Prefill" (a sender), "Decode" (a receiver) or "Both"; another: -1. session_id: "ip:port" of this host,
        where peers connect. Peers can be reached when it returns."""
        if role not in _ROLES or self._handle is not None:
            return -1
        _take_log_level()
        config = CTransConfig()
        lib.smem_trans_config_init(config)
        config.role, config.deviceId, config.dataOpType = _ROLES[role], device_id, int(data_op_type)
        with self._lock:
            TransferEngine._engines += 1
            lib.smem_trans_init(config)
        handle = None
        try:
            handle = apart(lib.smem_trans_create, text(store_url), text(session_id), config,
                           undo=lambda handle: lib.smem_trans_destroy(handle, 0) if handle else None) or None
        finally:
            if handle is None:
                self._leave()
        if handle is None:
            return -1
        self._handle = handle
        self._port = int(session_id.rpartition(":")[2])
        return 0

    def get_rpc_port(self):
        """The session's port; before initialize() one that is free, to make a session id of. Above 1024."""
        while self._port <= 1024:
            with socket.socket() as free:
                free.bind(("", 0))
                self._port = free.getsockname()[1]
        return self._port

    def destroy(self):
        handle, self._handle = getattr(self, "_handle", None), None
        if handle is None:
            return
        lib.smem_trans_destroy(handle, 0)
        self._leave()

    def _leave(self):
        with self._lock:
            TransferEngine._engines -= 1
            if TransferEngine._engines == 0:
                lib.smem_trans_uninit(0)

    def unInitialize(self):
        self.destroy()

    # ---- memory

    def register_memory(self, buffer_addr, capacity):
        """Lets peers reach it, when the call returns."""
        return lib.smem_trans_register_mem(self._handle, address(buffer_addr), capacity, 0)

    def unregister_memory(self, buffer_addr):
        """When it returns no peer reads or writes it any more."""
        return lib.smem_trans_deregister_mem(self._handle, address(buffer_addr))

    def batch_register_memory(self, buffer_addrs, capacities):
        count = len(buffer_addrs)
        if count != len(capacities):
            return INVALID
        return lib.smem_trans_batch_register_mem(self._handle, pointers(buffer_addrs), (c_size * count)(*capacities),
                                                 count, 0)

    # ---- transfers

    def _one(self, call, session, buffer, peer_buffer, length, *more):
        return call(self._handle, address(buffer), text(session), address(peer_buffer), length, *more)

    def _many(self, call, session, buffers, peer_buffers, lengths, *more):
        count = len(buffers)
        if count != len(peer_buffers) or count != len(lengths):
            return INVALID
        return call(self._handle, pointers(buffers), text(session), pointers(peer_buffers), (c_size * count)(*lengths),
                    count, *more)

    def transfer_sync_write(self, dest_session, buffer, peer_buffer, length, flags=0):
        return self._one(lib.smem_trans_write, dest_session, buffer, peer_buffer, length, flags)

    def transfer_sync_read(self, dest_session, buffer, peer_buffer, length, flags=0):
        return self._one(lib.smem_trans_read, dest_session, buffer, peer_buffer, length, flags)

    def batch_transfer_sync_write(self, dest_session, buffers, peer_buffers, lengths, flags=0):
        return self._many(lib.smem_trans_batch_write, dest_session, buffers, peer_buffers, lengths, flags)

    def batch_transfer_sync_read(self, dest_session, buffers, peer_buffers, lengths, flags=0):
        return self._many(lib.smem_trans_batch_read, dest_session, buffers, peer_buffers, lengths, flags)

    def transfer_async_write_submit(self, dest_session, buffer, peer_buffer, length, stream, flags=0):
        """In the order of a stream: a number, or an object of torch."""
        return self._one(lib.smem_trans_write_submit, dest_session, buffer, peer_buffer, length, stream_of(stream),
                         flags)

    def transfer_async_read_submit(self, dest_session, buffer, peer_buffer, length, stream, flags=0):
        return self._one(lib.smem_trans_read_submit, dest_session, buffer, peer_buffer, length, stream_of(stream),
                         flags)

    def batch_transfer_async_write_submit(self, dest_session, buffers, peer_buffers, lengths, stream, flags=0):
        return self._many(lib.smem_trans_batch_write_submit, dest_session, buffers, peer_buffers, lengths,
                          stream_of(stream), flags)

    def batch_transfer_async_read_submit(self, dest_session, buffers, peer_buffers, lengths, stream, flags=0):
        return self._many(lib.smem_trans_batch_read_submit, dest_session, buffers, peer_buffers, lengths,
                          stream_of(stream), flags)
