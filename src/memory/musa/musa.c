/* Moore Threads GPUs, by the MUSA runtime (libmusart).
 *
 * The runtime is the CUDA runtime's with other names (MUSA Runtime API, docs.mthreads.com); its header is not public. The
 * names used here are those of github.com/MooreThreads/torch_musa and of the musa parts of github.com/kvcache-ai/Mooncake,
 * the values the CUDA runtime's. muMemGetAddressRange is of the driver below it, which the runtime brings along. */
#include "../driver/runtime.h"

static const hmci_symbol_t symbols[] = {
    RUNTIME_SYMBOLS("musa"),
    RUNTIME_SYMBOL("musaHostAlloc", host_allocate, HMCI_NEED_HOST),
    RUNTIME_SYMBOL("musaFreeHost", host_free, HMCI_NEED_HOST),
    RUNTIME_SYMBOL("muMemGetAddressRange_v2", range, HMCI_NEED_RANGE),
    {NULL, 0, 0},
};
static const char *const files[] = {"libmusart.so",   "libmusart.so.5",   "libmusart.so.4",
                                    "libmusart.so.3", "libmusart.so.1.5", NULL};

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
  return runtime_query(pointer, HMC_MEMORY_MOORE_GPU, "moore", ON_DEVICE, info);
}

static const hmci_driver_ops_t operations = {
    RUNTIME_OPERATIONS, .kind = HMC_MEMORY_MOORE_GPU, .name = "moore", .variable = "HMC_MUSA_LIBRARY",
    .files = files,     .symbols = symbols,           .start = start,  .query = query,
};
static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

HMCI_DRIVER_TABLE(musa, HMC_MEMORY_MOORE_GPU, "moore", true);
