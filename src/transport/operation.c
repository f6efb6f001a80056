/* Completing operations and sleeping for them. */
#include "transport.h"

#include "../base/futex.h"

#include <unistd.h>

/* Waits for a change of a word, at most until `deadline`. */
static void wait_until(_Atomic uint32_t *word, uint32_t value, uint64_t deadline) {
  uint64_t now = deadline == HMCI_NEVER ? 0 : hmci_now(), left = deadline > now ? deadline - now : 0;
  hmci_futex_wait(word, value, left, HMCI_FUTEX_PRIVATE);
}

/* One who looks for the region by an address asks its owner again. */
static void note_stale(const hmci_remote_view_t *remote) {
  hmci_remote_view_t *noted = (hmci_remote_view_t *)(uintptr_t)remote;
  atomic_store(&noted->stale, true);
}

void hmci_operation_complete(hmci_operation_t *operation, hmc_status_t status) {
  if (HMCI_UNLIKELY(status == HMC_STALE) && operation->remote) note_stale(operation->remote);
  operation->status = status;
  if (operation->completed) operation->completed(operation);
  hmci_waitset_t *waitset = operation->waitset;
  _Atomic uint32_t *state = &operation->state;
  /* From here on the operation may be gone; waking an address that is nobody's is harmless. */
  if (atomic_exchange(state, HMCI_COMPLETE) == HMCI_PENDING_WITH_SLEEPER) hmci_futex_wake(state, HMCI_FUTEX_PRIVATE);
  if (waitset) hmci_waitset_tell(waitset);
}

void hmci_waitset_tell(hmci_waitset_t *waitset) {
  if (atomic_load(&waitset->sleepers)) { /* partner: hmci_waitset_enter */
    atomic_fetch_add(&waitset->completions, 1);
    hmci_futex_wake(&waitset->completions, HMCI_FUTEX_PRIVATE);
  }
  int event = atomic_load_explicit(&waitset->event, memory_order_acquire); /* partner: the store that made it */
  uint64_t one = 1;
  if (event >= 0 && write(event, &one, sizeof one) < 0) return; /* its count is full: it is readable already */
}

void hmci_waitset_sleep(hmci_waitset_t *waitset, uint32_t seen, uint64_t deadline) {
  if (atomic_load(&waitset->completions) == seen) wait_until(&waitset->completions, seen, deadline);
}

bool hmci_operation_sleep(hmci_operation_t *operation, uint64_t deadline) {
  for (;;) {
    uint32_t pending = HMCI_PENDING;
    atomic_compare_exchange_strong(&operation->state, &pending, HMCI_PENDING_WITH_SLEEPER);
    if (hmci_operation_is_complete(operation)) return true;
    if (hmci_now() >= deadline) return false;
    wait_until(&operation->state, HMCI_PENDING_WITH_SLEEPER, deadline);
  }
}
