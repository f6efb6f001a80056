/* Atomics at the owner's side. */
#include "../base/futex.h"
#include "../base/guarded.h"
#include "bell.h"
#include "transport.h"

#include <string.h>

hmci_bell_t hmci_bell;

void hmci_bell_wake(void) {
  atomic_fetch_add(&hmci_bell.number, 1);
  hmci_futex_wake(&hmci_bell.number, HMCI_FUTEX_PRIVATE);
}

#define APPLY(type)                                                                                                    \
  static uint64_t apply_##type(_Atomic type *word, hmc_atomic_operation_t operation, type operand, type compare) {     \
    switch (operation) {                                                                                               \
    case HMC_ATOMIC_ADD: return atomic_fetch_add(word, operand);                                                       \
    case HMC_ATOMIC_AND: return atomic_fetch_and(word, operand);                                                       \
    case HMC_ATOMIC_OR: return atomic_fetch_or(word, operand);                                                         \
    case HMC_ATOMIC_XOR: return atomic_fetch_xor(word, operand);                                                       \
    case HMC_ATOMIC_SWAP: return atomic_exchange(word, operand);                                                       \
    case HMC_ATOMIC_STORE: atomic_store(word, operand); return 0;                                                      \
    case HMC_ATOMIC_LOAD: return atomic_load(word);                                                                    \
    case HMC_ATOMIC_COMPARE_SWAP: atomic_compare_exchange_strong(word, &compare, operand); return compare;             \
    }                                                                                                                  \
    return 0;                                                                                                          \
  }

APPLY(uint8_t)
APPLY(uint16_t)
APPLY(uint32_t)
APPLY(uint64_t)

uint64_t hmci_atomic_apply(void *word, unsigned width, hmc_atomic_operation_t operation, uint64_t operand,
                           uint64_t compare) {
  switch (width) {
  case 1: return apply_uint8_t(word, operation, (uint8_t)operand, (uint8_t)compare);
  case 2: return apply_uint16_t(word, operation, (uint16_t)operand, (uint16_t)compare);
  case 4: return apply_uint32_t(word, operation, (uint32_t)operand, (uint32_t)compare);
  default: return apply_uint64_t(word, operation, operand, compare);
  }
}

/* A word in device memory: one at a time, for the whole process. */
static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;

static hmc_status_t apply_on_device(const hmci_region_view_t *region, uint64_t offset, unsigned width,
                                    hmci_atomic_t *atomic) {
  uint8_t *address = region->base + offset;
  uint64_t word = 0;
  pthread_mutex_lock(&device_lock);
  hmc_status_t status = region->ops->copy_to_host(region->memory.device, &word, address, width);
  if (status == HMC_SUCCESS) {
    uint64_t before = word;
    atomic->fetched = hmci_atomic_apply(&word, width, atomic->operation, atomic->operand, atomic->compare);
    /* What stays as it was is not written back: a kernel may be changing it. */
    if (word != before) status = region->ops->copy_from_host(region->memory.device, address, &word, width);
  }
  pthread_mutex_unlock(&device_lock);
  hmci_bell_ring();
  return status;
}

/* Registered memory may be unmapped or protected by its owner, who is the one to be protected. */
static bool is_there(const hmci_region_view_t *region, uint64_t offset, unsigned width, hmc_atomic_operation_t what) {
  if (region->owned) return true;
  if (what == HMC_ATOMIC_LOAD) return hmci_guarded_is_there(region->base + offset, width);
  return hmci_guarded_is_word(region->base + offset - (uintptr_t)(region->base + offset) % 4);
}

hmc_status_t hmci_atomic_on_region(const hmci_region_view_t *region, uint64_t offset, unsigned width,
                                   hmci_atomic_t *atomic) {
  if (!region->ops->host_accessible) return apply_on_device(region, offset, width, atomic);
  bool loads = atomic->operation == HMC_ATOMIC_OR && !atomic->operand; /* as a load travels: memory may be read only */
  hmc_atomic_operation_t operation = loads ? HMC_ATOMIC_LOAD : atomic->operation;
  if (!is_there(region, offset, width, operation))
    return hmci_fail(HMC_STALE, "the memory of the region is not mapped any more, or protected");
  atomic->fetched = hmci_atomic_apply(region->base + offset, width, operation, atomic->operand, atomic->compare);
  hmci_bell_ring();
  return HMC_SUCCESS;
}
