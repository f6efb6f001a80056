/* AMD and Hygon GPUs, by the HIP runtime (libamdhip64, libgalaxyhip).
 *
 * Prototypes and values: github.com/ROCm/HIP, include/hip/hip_runtime_api.h; those of hipMemGetHandleForAddressRange:
 * github.com/ROCm/rocm-systems, the same file. Before HIP 6 the kinds of memory that hipPointerGetAttributes tells were
 * numbered differently; the runtime's version tells which. */
#include "../driver/runtime.h"

#define NEED(name, member, need)                                                                                       \
  { "hip" name, RUNTIME_SLOT(member), need }
static const hmci_symbol_t symbols[] = {
    NEED("GetDeviceCount", device_count, HMCI_NEED_BASE),
    NEED("GetDevice", get_device, HMCI_NEED_BASE),
    NEED("SetDevice", set_device, HMCI_NEED_BASE),
    NEED("RuntimeGetVersion", version, HMCI_NEED_BASE),
    NEED("GetErrorString", error_string, HMCI_NEED_BASE),
    NEED("GetLastError", last_error, HMCI_NEED_BASE),
    NEED("DeviceGetPCIBusId", device_pci, HMCI_NEED_PROPERTIES),
    NEED("MemGetInfo", memory_info, HMCI_NEED_PROPERTIES),
    NEED("Malloc", allocate, HMCI_NEED_BASE),
    NEED("Free", free, HMCI_NEED_BASE),
    NEED("MemsetAsync", set, HMCI_NEED_BASE),
    NEED("MemcpyAsync", copy, HMCI_NEED_BASE),
    NEED("StreamCreateWithFlags", stream_create, HMCI_NEED_BASE),
    NEED("StreamDestroy", stream_destroy, HMCI_NEED_BASE),
    NEED("StreamSynchronize", stream_wait, HMCI_NEED_BASE),
    NEED("EventCreateWithFlags", event_create, HMCI_NEED_BASE),
    NEED("EventDestroy", event_destroy, HMCI_NEED_BASE),
    NEED("EventRecord", event_record, HMCI_NEED_BASE),
    NEED("EventQuery", event_query, HMCI_NEED_BASE),
    NEED("HostRegister", pin, HMCI_NEED_PINNING),
    NEED("HostUnregister", unpin, HMCI_NEED_PINNING),
    NEED("HostMalloc", host_allocate, HMCI_NEED_HOST),
    NEED("HostFree", host_free, HMCI_NEED_HOST),
    NEED("PointerGetAttributes", attributes, HMCI_NEED_QUERY),
    NEED("MemGetAddressRange", range, HMCI_NEED_RANGE),
    NEED("IpcGetMemHandle", ipc_get, HMCI_NEED_IPC),
    NEED("IpcOpenMemHandle", ipc_open, HMCI_NEED_IPC),
    NEED("IpcCloseMemHandle", ipc_close, HMCI_NEED_IPC),
    NEED("MemGetHandleForAddressRange", range_handle, HMCI_NEED_DMABUF),
    NEED("DeviceCanAccessPeer", can_access, HMCI_NEED_PEERS),
    NEED("DeviceEnablePeerAccess", enable_peer, HMCI_NEED_PEERS),
    {NULL, 0, 0},
};
static const char *const files[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                                    "libamdhip64.so",   "libgalaxyhip.so",  NULL};

/* hipPointerAttribute_t, with room behind it for what later versions add. */
typedef struct pointer_attributes {
  int type, device;
  void *device_pointer, *host_pointer;
  uint64_t rest[8];
} pointer_attributes_t;

static int version_of_runtime; /* constant after `start` */

static hmc_status_t start(int *devices, char *version, size_t size) {
  hmc_status_t status = runtime_told(runtime.device_count(devices), "hipGetDeviceCount");
  if (status == HMC_SUCCESS) status = runtime_told(runtime.version(&version_of_runtime), "hipRuntimeGetVersion");
  if (status != HMC_SUCCESS) return status;
  snprintf(version, size, "HIP %d.%d", version_of_runtime / 10000000, version_of_runtime / 100000 % 100);
  return HMC_SUCCESS;
}

static hmc_status_t query(const void *pointer, hmc_memory_info_t *info) {
  enum { SIX = 60000000, ON_DEVICE_BEFORE = 1, ON_DEVICE = 2 };
  pointer_attributes_t found = {0};
  int error = runtime.attributes(&found, pointer);
  if (error != RUNTIME_DONE) runtime.last_error();
  if (error != RUNTIME_DONE || found.type != (version_of_runtime < SIX ? ON_DEVICE_BEFORE : ON_DEVICE)) {
    return hmci_fail(HMC_NOT_FOUND, "amd: %p is not device memory", pointer);
  }
  *info = (hmc_memory_info_t){.size = sizeof *info, .memory = {HMC_MEMORY_AMD_GPU, found.device}};
  runtime_find_range(pointer, info);
  return HMC_SUCCESS;
}

/* The runtime takes whole pages of the host's size only. */
static hmc_status_t dmabuf(void *pointer, size_t size, int *descriptor, uint64_t *offset) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)pointer / page * page;
  uintptr_t to = ((uintptr_t)pointer + size + page - 1) / page * page;
  hmc_status_t status = runtime_told(runtime.range_handle(descriptor, (void *)from, to - from, RUNTIME_DMABUF, 0),
                                     "hipMemGetHandleForAddressRange");
  if (status == HMC_SUCCESS) *offset = (uintptr_t)pointer - from;
  return status;
}

static const hmci_driver_ops_t operations = {
    RUNTIME_OPERATIONS, .kind = HMC_MEMORY_AMD_GPU, .name = "amd",  .variable = "HMC_HIP_LIBRARY",
    .files = files,     .symbols = symbols,         .start = start, .query = query,
    .dmabuf = dmabuf,
};
static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

HMCI_DRIVER_TABLE(hip, HMC_MEMORY_AMD_GPU, "amd", true);
