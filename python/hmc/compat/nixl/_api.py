"""nixl_agent: the API that serving engines call, over the layer in `_bindings`."""

import enum
import pickle
import sys

import numpy

from . import _bindings as nixlBind
from .agent import DEFAULT_COMM_PORT
from .logging import get_logger

__all__ = ["nixl_agent", "nixl_agent_config", "nixl_xfer_handle", "nixl_prepped_dlist_handle", "nixl_backend_handle",
           "nixl_thread_sync_t", "DEFAULT_COMM_PORT", "nixlBind"]

logger = get_logger(__name__)
nixl_backend_handle = int


class nixl_thread_sync_t(enum.Enum):
    NIXL_THREAD_SYNC_NONE = nixlBind.NIXL_THREAD_SYNC_NONE
    NIXL_THREAD_SYNC_STRICT = nixlBind.NIXL_THREAD_SYNC_STRICT
    NIXL_THREAD_SYNC_RW = nixlBind.NIXL_THREAD_SYNC_RW
    NIXL_THREAD_SYNC_DEFAULT = nixlBind.NIXL_THREAD_SYNC_DEFAULT


class _Handle:
    """A number of the agent's, given back once: by release(), or when nobody holds it any more."""

    __slots__ = ("_handle", "_agent", "_released")

    def __init__(self, agent, value):
        self._handle, self._agent, self._released = int(value), agent, False

    def release(self):
        if not self._released:
            self._give_back()
            self._released = True

    def __del__(self):
        try:
            self.release()
        except Exception as error:      # at the end of the program; nobody could take it
            logger.debug("%r was not given back: %s", self, error)

    def __repr__(self):
        return "%s(0x%x, released=%s)" % (type(self).__name__, self._handle, self._released)


class nixl_prepped_dlist_handle(_Handle):
    """A prepared list of blocks."""

    __slots__ = ()

    def _give_back(self):
        self._agent.releasedDlistH(self._handle)


class nixl_xfer_handle(_Handle):
    """A transfer. release() ends it where it is in progress: nothing of it lands or is read any more then."""

    __slots__ = ()

    def _give_back(self):
        self._agent.releaseXferReq(self._handle)


class nixl_agent_config:
    """How an agent is made. Threads and sync_mode are taken and change nothing: HMC's service thread moves everything
    on, and any thread may call."""

    def __init__(self, enable_prog_thread=True, enable_listen_thread=False, listen_port=DEFAULT_COMM_PORT,
                 capture_telemetry=False, num_threads=0, backends=["UCX"], sync_mode=None):
        if sync_mode is not None and not isinstance(sync_mode, nixl_thread_sync_t):
            raise TypeError("sync_mode must be a nixl_thread_sync_t (got %r)" % type(sync_mode).__name__)
        self.backends = backends
        self.enable_pthread = enable_prog_thread
        self.enable_listen = enable_listen_thread
        self.port = listen_port
        self.capture_telemetry = capture_telemetry
        self.num_threads = num_threads
        self.sync_mode = sync_mode


def _is_tensor(obj):
    """Torch is never imported for this: who passes a tensor has imported it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(obj, torch.Tensor)


class nixl_agent:
    """One end: registers memory, knows other agents by their metadata, and moves blocks between the two."""

    def __init__(self, agent_name, nixl_conf=None, instantiate_all=False):
        if nixl_conf and instantiate_all:
            instantiate_all = False
            logger.warning("instantiate_all is ignored: a configuration was given")
        conf = nixl_conf or nixl_agent_config()
        usual = nixl_thread_sync_t.NIXL_THREAD_SYNC_STRICT if conf.enable_listen else \
            nixl_thread_sync_t.NIXL_THREAD_SYNC_NONE
        settings = nixlBind.nixlAgentConfig(useProgThread=conf.enable_pthread, useListenThread=conf.enable_listen,
                                            listenPort=conf.port, syncMode=(conf.sync_mode or usual).value,
                                            captureTelemetry=conf.capture_telemetry)
        self.agent = nixlBind.nixlAgent(agent_name, settings)
        self.name = agent_name
        self.notifs = {}
        self.backends = {}
        self.backend_mems = {}
        self.backend_options = {}
        self.plugin_list = self.agent.getAvailPlugins()
        self.plugin_b_options = {}
        self.plugin_mem_types = {}
        self.nixl_mems = {"DRAM": nixlBind.DRAM_SEG, "VRAM": nixlBind.VRAM_SEG, "FILE": nixlBind.FILE_SEG,
                          "BLOCK": nixlBind.BLK_SEG, "OBJ": nixlBind.OBJ_SEG,
                          "cpu": nixlBind.DRAM_SEG, "cuda": nixlBind.VRAM_SEG}
        self.nixl_ops = {"WRITE": nixlBind.NIXL_WRITE, "READ": nixlBind.NIXL_READ}
        for kind in self.plugin_list[:1] if instantiate_all else conf.backends:
            if kind in self.plugin_list:
                self.create_backend(kind)
            else:
                logger.warning("There is no plug-in for the backend %s, which is left out", kind)

    # ---- backends

    def get_plugin_list(self):
        return self.plugin_list

    def _plugin(self, backend, known, empty):
        if backend not in known and backend in self.plugin_list:
            self.plugin_b_options[backend], self.plugin_mem_types[backend] = self.agent.getPluginParams(backend)
        if backend not in known:
            logger.warning("There is no plug-in %s", backend)
        return known.get(backend, empty)

    def get_plugin_mem_types(self, backend):
        return self._plugin(backend, self.plugin_mem_types, [])

    def get_plugin_params(self, backend):
        return self._plugin(backend, self.plugin_b_options, {})

    def get_backend_mem_types(self, backend):
        if backend not in self.backend_mems:
            logger.warning("The backend %s was not created", backend)
        return self.backend_mems.get(backend, [])

    def get_backend_params(self, backend):
        if backend not in self.backend_options:
            logger.warning("The backend %s was not created", backend)
        return self.backend_options.get(backend, {})

    def create_backend(self, backend, initParams={}):
        handle = self.agent.createBackend(backend, initParams)
        self.backends[backend] = handle
        self.backend_options[backend], self.backend_mems[backend] = self.agent.getBackendParams(handle)

    def _handles(self, backends):
        return [self.backends[name] for name in backends or ()]

    # ---- memory

    def register_memory(self, reg_list, mem_type=None, backends=[]):
        """Registers memory (see get_reg_descs) and gives its list, for deregister_memory."""
        descs = self.get_reg_descs(reg_list, mem_type)
        self.agent.registerMem(descs, self._handles(backends))
        return descs

    def deregister_memory(self, dereg_list, backends=[]):
        """When it returns nobody reads or writes that memory any more."""
        self.agent.deregisterMem(dereg_list, self._handles(backends))

    def query_memory(self, reg_list, backend, mem_type=None):
        descs = self.get_reg_descs(reg_list, mem_type)
        if backend not in self.backends:
            raise ValueError("Backend '%s' not found. Available backends: %s" % (backend, list(self.backends)))
        return self.agent.queryMem(descs, self.backends[backend])

    # ---- lists

    def _of_tensors(self, made, tensors):
        """A list of contiguous tensors of one device; None, and a line in the log, for others."""
        first = tensors[0].device
        if any(each.device != first for each in tensors):
            return None
        if not all(each.is_contiguous() for each in tensors):
            logger.error("Please use a list of contiguous Tensors")
            return None
        device = tensors[0].get_device()
        rows = numpy.array([(each.data_ptr(), each.numel() * each.element_size(), max(device, 0)) for each in tensors],
                           dtype=numpy.uint64)
        return made(self.nixl_mems["DRAM" if device == -1 else "VRAM"], rows)

    def _list(self, made, width, descs, mem_type):
        if isinstance(descs, made):
            return descs
        if _is_tensor(descs):
            return self._of_tensors(made, [descs])
        if isinstance(descs, (nixlBind.nixlXferDList, nixlBind.nixlRegDList)):
            logger.error("A list of the other kind was given: register with a RegDList, transfer with an XferDList")
            return None
        is_array, first = isinstance(descs, numpy.ndarray), descs[0]
        if _is_tensor(first):
            return self._of_tensors(made, descs)
        if not is_array and not isinstance(first, tuple):
            return None
        if mem_type is None:
            logger.error("Please specify a mem type if not using Tensors")
            return None
        if descs.ndim != 2 or descs.shape[1] != 3 if is_array else len(first) != width:
            logger.error("A list of tuples of %d, or an array of Nx3, is needed", width)
            return None
        return made(self.nixl_mems[mem_type], descs)

    def get_xfer_descs(self, descs, mem_type=None):
        """A nixlXferDList of (address, bytes, device) tuples, an Nx3 array, or contiguous tensors. None for others."""
        return self._list(nixlBind.nixlXferDList, 3, descs, mem_type)

    def get_reg_descs(self, descs, mem_type=None):
        """A nixlRegDList of (address, bytes, device, text) tuples, an Nx3 array, or contiguous tensors."""
        return self._list(nixlBind.nixlRegDList, 4, descs, mem_type)

    def get_remote_descs(self, descs, mem_type=None):
        """A nixlRemoteDList of (address, bytes, device, agent) tuples."""
        return self._list(nixlBind.nixlRemoteDList, 4, descs, mem_type)

    def get_serialized_descs(self, descs):
        return pickle.dumps(descs)

    def deserialize_descs(self, serialized_descs):
        """From bytes of get_serialized_descs of an agent that is trusted: pickle runs what they say."""
        return pickle.loads(serialized_descs)

    def prep_mem_view(self, dlist, *, backends=None):
        return self.agent.prepMemView(dlist, self._handles(backends))

    def release_mem_view(self, mvh):
        self.agent.releaseMemView(mvh)

    # ---- transfers

    def make_connection(self, remote_agent, backends=[]):
        self.agent.makeConnection(remote_agent, self._handles(backends))

    def prep_xfer_dlist(self, agent_name, xfer_list, mem_type=None, backends=[]):
        """Prepares blocks to be chosen from by place. `agent_name`: "" or "NIXL_INIT_AGENT" for local ones, another
        agent's, or this one's as the remote side. An Nx5 array (address, bytes, device, stride, count) is strided."""
        if agent_name in ("NIXL_INIT_AGENT", b"NIXL_INIT_AGENT", "", b""):
            agent_name = nixlBind.NIXL_INIT_AGENT
        handles = self._handles(backends)
        if isinstance(xfer_list, numpy.ndarray) and xfer_list.ndim == 2 and xfer_list.shape[1] == 5:
            if mem_type is None:
                raise ValueError("Please specify a mem type for strided descriptors")
            handle = self.agent.prepXferDlist(agent_name, self.nixl_mems[mem_type], xfer_list, handles)
        else:
            handle = self.agent.prepXferDlist(agent_name, self.get_xfer_descs(xfer_list, mem_type), handles)
        return nixl_prepped_dlist_handle(self.agent, handle)

    def make_prepped_xfer(self, operation, local_xfer_side, local_indices, remote_xfer_side, remote_indices,
                          notif_msg=b"", backends=[], skip_desc_merge=False):
        """A transfer between blocks of two prepared lists, by their places."""
        handle = self.agent.makeXferReq(self.nixl_ops[operation], local_xfer_side._handle, local_indices,
                                        remote_xfer_side._handle, remote_indices, notif_msg, self._handles(backends),
                                        skip_desc_merge)
        return nixl_xfer_handle(self.agent, handle)

    def initialize_xfer(self, operation, local_descs, remote_descs, remote_agent, notif_msg=b"", backends=[]):
        """A transfer between two lists; each block has the size of the one at its place in the other."""
        handle = self.agent.createXferReq(self.nixl_ops[operation], local_descs, remote_descs, remote_agent, notif_msg,
                                          self._handles(backends))
        return nixl_xfer_handle(self.agent, handle)

    @staticmethod
    def _word(status):
        return {nixlBind.NIXL_SUCCESS: "DONE", nixlBind.NIXL_IN_PROG: "PROC"}.get(status, "ERR")

    def transfer(self, handle, notif_msg=b""):
        """Starts it: "DONE" or "PROC"; what fails raises. A message given here replaces the one before for good."""
        return self._word(self.agent.postXferReq(handle._handle, notif_msg))

    def check_xfer_state(self, handle):
        return self._word(self.agent.getXferStatus(handle._handle))

    def get_xfer_telemetry(self, handle):
        return self.agent.getXferTelemetry(handle._handle)

    def query_xfer_backend(self, handle):
        number = self.agent.queryXferBackend(handle._handle)
        return next(name for name, each in self.backends.items() if each == number)

    def estimate_xfer_cost(self, req_handle):
        duration, margin, method = self.agent.estimateXferCost(req_handle._handle)
        return duration, margin, "ANALYTICAL_BACKEND" if method == nixlBind.NIXL_COST_ANALYTICAL_BACKEND else "UNKNOWN"

    def release_xfer_handle(self, handle):
        handle.release()

    def release_dlist_handle(self, handle):
        handle.release()

    # ---- notifications

    def get_new_notifs(self, backends=[]):
        """{agent: [messages]} of what has come since the last call."""
        return self.agent.getNotifs({}, self._handles(backends))

    def update_notifs(self, backends=[]):
        """`notifs`, with what has come added to it."""
        self.notifs = self.agent.getNotifs(self.notifs, self._handles(backends))
        return self.notifs

    def check_remote_xfer_done(self, remote_agent_name, lookup_tag, backends=[], tag_is_prefix=True):
        """True, once, for a message of that agent that begins with (or has in it) `lookup_tag`."""
        messages = self.update_notifs(backends).get(remote_agent_name, [])
        for message in messages:
            if message.startswith(lookup_tag) if tag_is_prefix else lookup_tag in message:
                messages.remove(message)
                return True
        return False

    def send_notif(self, remote_agent_name, notif_msg, backend=None):
        self.agent.genNotif(remote_agent_name, notif_msg, () if backend is None else [self.backends[backend]])

    # ---- metadata

    def get_agent_metadata(self):
        return self.agent.getLocalMD()

    def get_partial_agent_metadata(self, descs, inc_conn_info=False, backends=[]):
        return self.agent.getLocalPartialMD(descs, inc_conn_info, self._handles(backends))

    def add_remote_agent(self, metadata):
        return self.agent.loadRemoteMD(metadata)

    def remove_remote_agent(self, agent):
        self.agent.invalidateRemoteMD(agent)

    def check_remote_metadata(self, agent, descs=None):
        if descs is None:
            descs = nixlBind.nixlXferDList(nixlBind.DRAM_SEG)
        return self.agent.checkRemoteMD(agent, descs) == nixlBind.NIXL_SUCCESS

    def send_local_metadata(self, ip_addr="", port=DEFAULT_COMM_PORT):
        """To the agent that listens at that address. There is no central server."""
        self.agent.sendLocalMD(ip_addr, port)

    def send_partial_agent_metadata(self, descs, inc_conn_info=False, backends=[], ip_addr="", port=DEFAULT_COMM_PORT,
                                    label=""):
        self.agent.sendLocalPartialMD(descs, inc_conn_info, self._handles(backends), ip_addr, port, label)

    def fetch_remote_metadata(self, remote_agent, ip_addr="", port=DEFAULT_COMM_PORT, label=""):
        self.agent.fetchRemoteMD(remote_agent, ip_addr, port, label)

    def invalidate_local_metadata(self, ip_addr="", port=DEFAULT_COMM_PORT):
        self.agent.invalidateLocalMD(ip_addr, port)
