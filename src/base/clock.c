/* The monotonic clock and deadlines on it. */
#include "base.h"

#include <limits.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

uint64_t hmci_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t hmci_deadline(uint64_t timeout_ms) {
  uint64_t timeout, deadline;
  if (__builtin_mul_overflow(timeout_ms, NS_PER_MS, &timeout) ||
      __builtin_add_overflow(hmci_now(), timeout, &deadline)) {
    return HMCI_NEVER;
  }
  return deadline;
}

int hmci_poll_timeout(uint64_t deadline) {
  if (deadline == HMCI_NEVER) {
    return -1;
  }
  uint64_t now = hmci_now();
  if (deadline <= now) {
    return 0;
  }
  uint64_t left = (deadline - now - 1) / NS_PER_MS + 1;
  return left > INT_MAX ? INT_MAX : (int)left;
}
