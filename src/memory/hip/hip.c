/* AMD and Hygon GPUs, by the HIP runtime (libamdhip64, libgalaxyhip).
 *
 * Prototypes and values: github.com/ROCm/HIP, include/hip/hip_runtime_api.h; those of hipMemGetHandleForAddressRange:
 * github.com/ROCm/rocm-systems, the same file. Before HIP 6 the kinds of memory that hipPointerGetAttributes tells were
 * numbered differently; the runtime's version tells which. */
#include "../driver/runtime.h"

static const hmci_symbol_t symbols[] = {
    RUNTIME_SYMBOLS("hip"),
    RUNTIME_SYMBOL("hipHostMalloc", host_allocate, HMCI_NEED_HOST),
    RUNTIME_SYMBOL("hipHostFree", host_free, HMCI_NEED_HOST),
    RUNTIME_SYMBOL("hipDeviceGetName", device_name, HMCI_NEED_PROPERTIES),
    RUNTIME_SYMBOL("hipMemGetAddressRange", range, HMCI_NEED_RANGE),
    RUNTIME_SYMBOL("hipMemGetHandleForAddressRange", range_handle, HMCI_NEED_DMABUF),
    {NULL, 0, 0},
};
static const char *const files[] = {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5",
                                    "libamdhip64.so",   "libgalaxyhip.so",  NULL};

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
  int on_device = version_of_runtime < SIX ? ON_DEVICE_BEFORE : ON_DEVICE;
  return runtime_query(pointer, HMC_MEMORY_AMD_GPU, "amd", on_device, info);
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
