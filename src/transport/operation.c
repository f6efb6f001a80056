/* Completing operations and sleeping for them. */
#include "transport.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void hmci_operation_complete(hmci_operation_t *operation, hmc_status_t status) {
  operation->status = status;
  _Atomic uint32_t *state = &operation->state;
  /* From here on the operation may be gone; waking an address that is nobody's is harmless. */
  if (atomic_exchange_explicit(state, HMCI_COMPLETE, memory_order_acq_rel) == HMCI_PENDING_WITH_SLEEPER) {
    syscall(SYS_futex, state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
  }
}

bool hmci_operation_sleep(hmci_operation_t *operation, uint64_t deadline) {
  for (;;) {
    uint32_t pending = HMCI_PENDING;
    atomic_compare_exchange_strong(&operation->state, &pending, HMCI_PENDING_WITH_SLEEPER);
    if (hmci_operation_is_complete(operation)) return true;
    uint64_t now = hmci_now();
    if (now >= deadline) return false;
    uint64_t left = deadline - now;
    struct timespec time = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    syscall(SYS_futex, &operation->state, FUTEX_WAIT_PRIVATE, HMCI_PENDING_WITH_SLEEPER,
            deadline == HMCI_NEVER ? NULL : &time, NULL, 0);
  }
}
