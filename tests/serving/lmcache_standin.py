"""The part of LMCache that a transfer channel meets, by its documented interface: for machines without LMCache, whose own
package wants torch. `make test-vllm` runs the same cases with LMCache itself.
"""

import abc
import dataclasses
import sys
import types


@dataclasses.dataclass
class L1MemoryDesc:
    ptr: int
    size: int
    align_bytes: int
    stable_registration_size: int = None


@dataclasses.dataclass(frozen=True)
class TransferChannelAddress:
    offset: int
    size: int

    def is_valid(self):
        return self.offset >= 0 and self.size > 0


@dataclasses.dataclass
class TransferChannelReadResult:
    finished: bool
    succeeded_mask: list = dataclasses.field(default_factory=list)

    def is_finished(self):
        return self.finished


def _abstract(name, *methods):
    members = {method: abc.abstractmethod(lambda self, *arguments: None) for method in methods}
    return abc.ABCMeta(name, (), members)


TransferChannelServer = _abstract("TransferChannelServer", "__init__", "close")
TransferChannelClient = _abstract("TransferChannelClient", "__init__", "submit_read", "query_read_status", "close")
TransferChannelContext = _abstract(
    "TransferChannelContext", "get_transfer_channel_server", "get_transfer_channel_client",
    "remove_transfer_channel_client", "get_transfer_channel_address", "get_num_connected_clients", "close")

_factories = {}


def register_transfer_channel_factory(transfer_channel_type, factory):
    if transfer_channel_type in _factories:
        raise ValueError("Transfer channel factory already registered: %r" % transfer_channel_type)
    _factories[transfer_channel_type] = factory


def create_transfer_channel_context(transfer_channel_type, l1_memory_desc, listen_url, advertise_url, **more):
    if transfer_channel_type not in _factories:
        raise ValueError("Unsupported transfer_channel_type: %r" % transfer_channel_type)
    return _factories[transfer_channel_type](l1_memory_desc=l1_memory_desc, listen_url=listen_url,
                                             advertise_url=advertise_url, **more)


def install():
    """Puts it where LMCache's modules are looked for."""
    parts = {
        "internal_api": (L1MemoryDesc,),
        "transfer_channel.api": (TransferChannelAddress, TransferChannelReadResult),
        "transfer_channel.abstract": (TransferChannelServer, TransferChannelClient, TransferChannelContext),
        "transfer_channel.factory": (register_transfer_channel_factory, create_transfer_channel_context),
    }
    for name in ("lmcache", "lmcache.v1", "lmcache.v1.distributed", "lmcache.v1.distributed.transfer_channel"):
        sys.modules[name] = types.ModuleType(name)
    for name, members in parts.items():
        module = sys.modules["lmcache.v1.distributed." + name] = types.ModuleType(name)
        for member in members:
            setattr(module, member.__name__, member)
