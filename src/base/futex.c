/* The kernel's futex (see futex.h). */
#include "futex.h"

#include "base.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void hmci_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t nanoseconds, hmci_futex_reach_t reach) {
  const struct timespec time = {.tv_sec = (time_t)(nanoseconds / 1000000000u),
                                .tv_nsec = (long)(nanoseconds % 1000000000u)};
  int operation = reach == HMCI_FUTEX_SHARED ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE;
  syscall(SYS_futex, word, operation, value, nanoseconds == HMCI_NEVER ? NULL : &time, NULL, 0);
}

void hmci_futex_wake(_Atomic uint32_t *word, hmci_futex_reach_t reach) {
  int operation = reach == HMCI_FUTEX_SHARED ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE;
  syscall(SYS_futex, word, operation, INT_MAX, NULL, NULL, 0);
}
