/* The software accelerator's devices: what they are, and the host memory that is pinned for them.
 *
 * Pinning does nothing to speed, but is refused where a driver would refuse it: twice, in part, and the release of what was
 * never pinned. Locking: `lock` guards the set of pinned ranges. */
#include "../ranges.h"
#include "engine.h"
#include "sim_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_ranges_t pinned;    /* lock; what the user pinned */
static hmci_ranges_t allocated; /* lock; what was allocated pinned */

/* Is a byte of the range in the set? The caller holds `lock`. */
static bool touches(const hmci_ranges_t *set, const void *pointer, size_t size) {
  for (size_t i = 0; i < set->count; i++) {
    uintptr_t start = set->sorted[i].start, from = (uintptr_t)pointer;
    if (from < start + set->sorted[i].size && start < from + size) return true;
  }
  return false;
}

/* Takes the range that starts at `pointer` out of the set; false where there is none. */
static bool take_out(hmci_ranges_t *set, const void *pointer) {
  pthread_mutex_lock(&lock);
  hmci_range_t *range = hmci_ranges_find(set, pointer);
  bool found = range && range->start == (uintptr_t)pointer;
  if (found) hmci_ranges_remove(set, range);
  pthread_mutex_unlock(&lock);
  return found;
}

hmc_status_t hmci_sim_host_allocate(int device, size_t size, void **pointer) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status != HMC_SUCCESS) return status;
  void *made = size > SIZE_MAX / 2 ? NULL : aligned_alloc(PAGE, (size + PAGE - 1) / PAGE * PAGE);
  if (!made) return hmci_fail(HMC_NO_MEMORY, "sim:%d: no %zu B of host memory", device, size);
  pthread_mutex_lock(&lock);
  status = hmci_ranges_insert(&allocated, made, size, NULL);
  pthread_mutex_unlock(&lock);
  if (status != HMC_SUCCESS) {
    free(made);
    return status;
  }
  *pointer = made;
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_host_free(int device, void *pointer) {
  if (!take_out(&allocated, pointer)) {
    return hmci_fail(HMC_NOT_FOUND, "sim:%d: %p is not host memory that was allocated for it", device, pointer);
  }
  free(pointer);
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_pin(int device, void *pointer, size_t size) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status != HMC_SUCCESS) return status;
  if (hmci_sim_is_device(pointer)) return hmci_fail(HMC_INVALID_CONFIG, "sim: %p is not host memory", pointer);
  pthread_mutex_lock(&lock);
  if (touches(&pinned, pointer, size) || touches(&allocated, pointer, size)) {
    status = hmci_fail(HMC_INVALID_CONFIG, "sim: %zu B at %p are pinned already, at least in part", size, pointer);
  } else {
    status = hmci_ranges_insert(&pinned, pointer, size, NULL);
  }
  pthread_mutex_unlock(&lock);
  return status;
}

hmc_status_t hmci_sim_unpin(int device, void *pointer) {
  return take_out(&pinned, pointer) ? HMC_SUCCESS
                                    : hmci_fail(HMC_NOT_FOUND, "sim:%d: nothing is pinned at %p", device, pointer);
}

hmc_status_t hmci_sim_properties(int device, hmc_memory_properties_t *properties) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status != HMC_SUCCESS) return status;
  strcpy(properties->name, "software accelerator");
  strcpy(properties->driver, "HMC");
  properties->numa_node = -1;
  properties->features = HMC_MEMORY_IPC | HMC_MEMORY_DMABUF | HMC_MEMORY_PEERABLE | HMC_MEMORY_STREAMS |
                         HMC_MEMORY_PINNING | HMC_MEMORY_BATCHES;
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_reaches(int device, int other, bool *reaches) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status == HMC_SUCCESS) status = hmci_sim_check_device(other);
  if (status == HMC_SUCCESS) *reaches = true;
  return status;
}

static _Atomic uint64_t settles[HMCI_SIM_ENGINES];

hmc_status_t hmci_sim_settle(int device) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status == HMC_SUCCESS) atomic_fetch_add(&settles[device], 1);
  return status;
}

uint64_t hmci_sim_settles(int device) { return atomic_load(&settles[device]); }
