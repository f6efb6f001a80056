"""Groups of sessions and alltoall between them: the collective API of the first HMC.

`init_group` learns who is there through torch.distributed, which must be initialised; data and control messages go by
HMC. Groups without torch, and more operations, are in `hmc.groups`.

The control link between two ranks is dialled by the lower one, so that there is one; data connections are dialled by
the one who puts. Every transfer is framed by two control messages: the receiver's, that its part of the buffer is
free, and the sender's, that the data are there.
"""

from dataclasses import asdict, dataclass

from . import hmc as _core
from .enums import ConnType, MemoryType, status_t
from .session import _check, _is_on_device, _size_of

__all__ = ["GroupMember", "Group", "init_group", "alltoall"]

_READY = 1 << 62  # tags of ours, apart from those of steps


@dataclass(frozen=True)
class GroupMember:
    """Where one rank of a group is, and what its buffer is."""

    rank: int
    world: int
    ip: str
    port_ucx: int
    port_rdma: int
    port_ctrl: int
    mem_type: int
    device_id: int
    buffer_size: int

    @property
    def memory_type(self):
        return MemoryType(self.mem_type)

    def port_for(self, conn):
        return self.port_rdma if conn == ConnType.RDMA else self.port_ucx

    def to_dict(self):
        return asdict(self)

    @classmethod
    def from_dict(cls, d):
        return cls(**{name: d[name] for name in cls.__dataclass_fields__})


class Group:
    """Ranks 0 to world - 1, one session each."""

    def __init__(self, *, session, members, rank, group_id="default"):
        members = sorted(members, key=lambda each: each.rank)
        if not members:
            raise ValueError("empty group")
        if not 0 <= rank < len(members):
            raise ValueError("bad rank: %d of %d" % (rank, len(members)))
        if [each.rank for each in members] != list(range(len(members))):
            raise ValueError("members must be contiguous ranks 0..world-1")
        if any(each.world != len(members) for each in members):
            raise ValueError("member.world mismatch")
        self.session = session
        self.group_id = group_id
        self.members = members
        self.rank = rank
        self.world = len(members)
        self.me = members[rank]
        self._linked = set()

    def peer(self, r):
        """The member of rank `r`, counted around."""
        return self.members[r % self.world]

    @property
    def right(self):
        """The member of the next rank."""
        return self.peer(self.rank + 1)

    @property
    def left(self):
        """The member of the rank before."""
        return self.peer(self.rank - 1)

    def __repr__(self):
        return "<hmc.Group %r, rank %d of %d>" % (self.group_id, self.rank, self.world)


def _distributed():
    try:
        import torch.distributed as dist
    except ImportError:
        dist = None
    if dist is None or not dist.is_available() or not dist.is_initialized():
        raise RuntimeError("torch.distributed is not initialized. Call torch.distributed.init_process_group first, or "
                           "use hmc.groups, which needs no torch.")
    return dist


def init_group(*, session, my_ip, port_ucx, port_rdma, port_ctrl, group_id="default", ctrl_tcp_port=None,
               ctrl_uds_dir="/tmp", start_servers=True, server_barrier=True):
    """Makes the Group of all ranks of torch.distributed; starts this session's servers first."""
    dist = _distributed()
    rank, world = dist.get_rank(), dist.get_world_size()
    ctrl = port_ctrl if ctrl_tcp_port is None else ctrl_tcp_port
    me = GroupMember(rank, world, my_ip, int(port_ucx), int(port_rdma), int(ctrl), int(session.buf.mem_type),
                     session.buf.device_id, session.buf.size)
    found = [None] * world
    dist.all_gather_object(found, me.to_dict())
    group = Group(session=session, members=[GroupMember.from_dict(each) for each in found], rank=rank,
                  group_id=group_id)
    if start_servers:
        session.init_server(bind_ip=my_ip, ucx_port=port_ucx, rdma_port=port_rdma, ctrl_tcp_port=ctrl, self_id=rank,
                            ctrl_uds_dir=ctrl_uds_dir)
    if server_barrier:
        dist.barrier()
    return group


def _connection(group, other, conn):
    """How two members are connected, when `conn` is "auto"."""
    if conn != "auto":
        return ConnType(int(conn))
    mlu_like = (MemoryType.CAMBRICON_MLU, MemoryType.MOORE_GPU)
    mine, theirs = group.me.memory_type, other.memory_type
    if mine == theirs or MemoryType.CPU in (mine, theirs):
        kind = ConnType.RDMA if mine in mlu_like or theirs in mlu_like else ConnType.UCX
    else:
        kind = ConnType.RDMA
    return kind if _core_has(kind) else ConnType.AUTO


def _core_has(kind):
    from . import _engine

    return _engine.connection_types()[kind.name.lower()][0]


def _link(group, other, conn):
    """Both connections with another rank, made when they are first needed."""
    session, key = group.session, (other.rank, conn)
    port = other.port_for(conn)
    if key in group._linked and session.check_conn(other.ip, port, conn):
        return
    if not session.check_conn(other.ip, port, conn):
        _check(session.comm.connectTo(other.ip, port, conn), "Communicator.connectTo")
    if group.rank < other.rank and other.rank not in {rank for rank, _ in group._linked}:
        link = _core.CtrlLink(ip=other.ip, port=other.port_ctrl)
        _check(session.comm.connectCtrl(other.rank, group.rank, link), "Communicator.connectCtrl")
    group._linked.add(key)


def _put(group, other, conn, local, remote, nbytes, chunk):
    """Chunks of a part, several at a time."""
    session, ids, port = group.session, [], other.port_for(conn)
    for begin in range(0, nbytes, chunk):
        ids.append(session.put_nb(other.ip, port, local + begin, remote + begin, min(chunk, nbytes - begin), conn))
        if len(ids) >= 16:
            session.wait(ids.pop(0))
    session.wait(ids)


def alltoall(group, send, recv, *, algo="auto", conn="auto", send_bias=0, recv_bias=None,
             chunk_bytes=4 * 1024 * 1024, do_self_copy=True):
    """Part r of `send` goes to rank r, whose part for this rank comes to the same place of `recv`.

    Both have world * part bytes: numpy arrays, torch tensors of any device, or buffers. They are staged in the
    session's buffer, `send` at `send_bias` and `recv` at `recv_bias` (default: behind it).
    """
    total, world, me = _size_of(send), group.world, group.rank
    if total != _size_of(recv):
        raise ValueError("send/recv nbytes mismatch: %d and %d" % (total, _size_of(recv)))
    if world < 1:
        raise ValueError("bad group world")
    if total % world:
        raise ValueError("send nbytes must be divisible by world: %d by %d" % (total, world))
    if recv_bias is None:
        recv_bias = send_bias + total
    need = max(send_bias, recv_bias) + total
    if need > group.session.buf.size:
        raise ValueError("ConnBuffer too small: need=%d have=%d" % (need, group.session.buf.size))
    if algo == "auto":
        algo = "direct" if world <= 8 else "ring"
    if algo not in ("direct", "ring"):
        raise ValueError("Unknown algo: %s" % (algo,))
    part, buffer = total // world, group.session.buf
    buffer.put(send, offset=send_bias, device="cuda" if _is_on_device(send) else None)
    if do_self_copy and part:
        buffer.buffer_copy_within(dst_offset=recv_bias + me * part, src_offset=send_bias + me * part, nbytes=part)
    others = [group.peer(me + step) for step in range(1, world)]
    for other in others:
        _link(group, other, _connection(group, other, conn))
    exchange = _direct if algo == "direct" else _ring
    if part:
        exchange(group, conn, send_bias, recv_bias, part, int(chunk_bytes))
    buffer.get_into(recv, nbytes=total, offset=recv_bias, device="cuda" if _is_on_device(recv) else None)


def _expect(group, rank, tag, what):
    got = group.session.ctrl_recv(rank)
    if got != tag:
        raise RuntimeError("%s tag mismatch: rank %d sent %d, %d was expected" % (what, rank, got, tag))


def _direct(group, conn, send_bias, recv_bias, part, chunk):
    """All say that they are ready; all put; all say that they have put."""
    session, me = group.session, group.rank
    others = [group.peer(me + step) for step in range(1, group.world)]
    for other in others:
        session.ctrl_send(other.rank, _READY)
    for other in others:
        _expect(group, other.rank, _READY, "direct ready")
        _put(group, other, _connection(group, other, conn), send_bias + other.rank * part, recv_bias + me * part, part,
             chunk)
        session.ctrl_send(other.rank, _READY + 1)
    for other in others:
        _expect(group, other.rank, _READY + 1, "direct done")


def _ring(group, conn, send_bias, recv_bias, part, chunk):
    """In step s, each rank puts to the one s places on, and hears from the one s places back."""
    session, me = group.session, group.rank
    for step in range(1, group.world):
        to, source = group.peer(me + step), group.peer(me - step)
        session.ctrl_send(source.rank, _READY + step)
        _expect(group, to.rank, _READY + step, "ring ready")
        _put(group, to, _connection(group, to, conn), send_bias + to.rank * part, recv_bias + me * part, part, chunk)
        session.ctrl_send(to.rank, step)
        _expect(group, source.rank, step, "ring step")
