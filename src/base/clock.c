/* The monotonic clock and deadlines on it. */
#include "base.h"

#include <limits.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)
#define TICK (10 * NS_PER_MS) /* the longest of Linux; the coarse clock moves by ticks */

enum { EXACT_MS = 1000 }; /* longer timeouts may end a tick late */

uint64_t hmci_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Not before the time that it is now, and at most a tick later: read in a third of the time. */
static uint64_t now_coarse(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec + TICK;
}

uint64_t hmci_deadline(uint64_t timeout_ms) {
  uint64_t timeout, deadline, now = timeout_ms < EXACT_MS ? hmci_now() : now_coarse();
  if (__builtin_mul_overflow(timeout_ms, NS_PER_MS, &timeout) || __builtin_add_overflow(now, timeout, &deadline)) {
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
