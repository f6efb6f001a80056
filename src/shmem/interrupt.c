/* Ending calls that wait: see hmc_shmem_set_interrupt_hook. Calls no other file.
 *
 * Locking: none; `hmci_interrupted` is set once and for all. */
#include "state.h"

#include <shmem/ascend.h>
#include <time.h>

static _Atomic(hmc_shmem_hook_t) hook;
_Atomic bool hmci_interrupted;                     /* from then on */
static _Thread_local bool asks;                    /* this thread has set the hook */
static _Thread_local uint64_t asked;               /* when it asked the hook last */
#define ASK_EVERY (HMCI_SLICE * UINT64_C(1000000)) /* ns */

uint64_t hmci_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void hmc_shmem_set_interrupt_hook(hmc_shmem_hook_t wanted) {
  atomic_store(&hook, wanted);
  asks = wanted;
}
void hmc_shmem_interrupt(void) { atomic_store(&hmci_interrupted, true); }

bool hmci_may_be_interrupted(void) { return atomic_load_explicit(&hook, memory_order_relaxed); }

bool hmci_is_interrupted(void) {
  if (atomic_load_explicit(&hmci_interrupted, memory_order_relaxed)) return true;
  hmc_shmem_hook_t ask = atomic_load_explicit(&hook, memory_order_relaxed);
  uint64_t now = asks && ask ? hmci_now_ns() : 0;
  if (!asks || !ask || now - asked < ASK_EVERY) return false;
  asked = now;
  if (ask()) hmc_shmem_interrupt();
  return atomic_load_explicit(&hmci_interrupted, memory_order_relaxed);
}
