/* Moore Threads GPUs, by the MUSA runtime (libmusart).
 *
 * The runtime is the CUDA runtime's with other names (MUSA Runtime API, docs.mthreads.com); its header is not public. The
 * names used here are those of github.com/MooreThreads/torch_musa and of the musa parts of github.com/kvcache-ai/Mooncake,
 * the values the CUDA runtime's. muMemGetAddressRange is of the driver below it, which the runtime brings along. */
#include "../driver/runtime.h"

#define NEED(name, member, need)                                                                                       \
  { "musa" name, RUNTIME_SLOT(member), need }
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
    NEED("HostAlloc", host_allocate, HMCI_NEED_HOST),
    NEED("FreeHost", host_free, HMCI_NEED_HOST),
    NEED("PointerGetAttributes", attributes, HMCI_NEED_QUERY),
    {"muMemGetAddressRange_v2", RUNTIME_SLOT(range), HMCI_NEED_RANGE},
    NEED("IpcGetMemHandle", ipc_get, HMCI_NEED_IPC),
    NEED("IpcOpenMemHandle", ipc_open, HMCI_NEED_IPC),
    NEED("IpcCloseMemHandle", ipc_close, HMCI_NEED_IPC),
    NEED("DeviceCanAccessPeer", can_access, HMCI_NEED_PEERS),
    NEED("DeviceEnablePeerAccess", enable_peer, HMCI_NEED_PEERS),
    {NULL, 0, 0},
};
static const char *const files[] = {"libmusart.so", "libmusart.so.4", "libmusart.so.3", NULL};

/* musaPointerAttributes, with room behind it for what later versions add. */
typedef struct pointer_attributes {
  int type, device;
  void *device_pointer, *host_pointer;
  uint64_t rest[8];
} pointer_attributes_t;

static hmc_status_t start(int *devices, char *version, size_t size) {
  int number = 0;
  hmc_status_t status = runtime_told(runtime.device_count(devices), "musaGetDeviceCount");
  if (status == HMC_SUCCESS) status = runtime_told(runtime.version(&number), "musaRuntimeGetVersion");
  if (status != HMC_SUCCESS) return status;
  snprintf(version, size, "MUSA %d.%d", number / 10000, number / 100 % 100);
  return HMC_SUCCESS;
}

static hmc_status_t query(const void *pointer, hmc_memory_info_t *info) {
  enum { ON_DEVICE = 2 };
  pointer_attributes_t found = {0};
  int error = runtime.attributes(&found, pointer);
  if (error != RUNTIME_DONE) runtime.last_error();
  if (error != RUNTIME_DONE || found.type != ON_DEVICE) {
    return hmci_fail(HMC_NOT_FOUND, "moore: %p is not device memory", pointer);
  }
  *info = (hmc_memory_info_t){.size = sizeof *info, .memory = {HMC_MEMORY_MOORE_GPU, found.device}};
  runtime_find_range(pointer, info);
  return HMC_SUCCESS;
}

static const hmci_driver_ops_t operations = {
    RUNTIME_OPERATIONS, .kind = HMC_MEMORY_MOORE_GPU, .name = "moore", .variable = "HMC_MUSA_LIBRARY",
    .files = files,     .symbols = symbols,           .start = start,  .query = query,
};
static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

HMCI_DRIVER_TABLE(musa, HMC_MEMORY_MOORE_GPU, "moore", true);
