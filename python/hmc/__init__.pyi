from . import collective as collective, groups as groups
from ._engine import (Batch as Batch, Context as Context, DeviceBuffer as DeviceBuffer, Notification as Notification,
                      Peer as Peer, Region as Region, Remote as Remote, Request as Request, Signal as Signal,
                      Slice as Slice, allocate as allocate, as_completed as as_completed,
                      connection_types as connection_types, copy as copy, devices as devices, log_to as log_to,
                      memory_of as memory_of, version as version, wait_all as wait_all, wait_any as wait_any)
from .collective import Group as Group, alltoall as alltoall, init_group as init_group
from .enums import ConnType as ConnType, CtrlTransport as CtrlTransport, MemoryType as MemoryType, status_t as status_t
from .errors import *
from .hmc import (Buffer as Buffer, Communicator as Communicator, ConnBuffer as ConnBuffer, CtrlLink as CtrlLink,
                  Memory as Memory, memory_supported as memory_supported)
from .session import (DeviceHint as DeviceHint, IOBuffer as IOBuffer, Session as Session,
                      create_session as create_session, memory_type_from_torch_tensor as memory_type_from_torch_tensor)
