/* The copy engines' timelines.
 *
 * Invariant: free_at never goes back but in hmci_sim_engine_configure. No locking: all of it is atomic; who configures
 * while copies are booked may see one booked by the former figures. */
#include "engine.h"

#include <stdatomic.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define SPIN_NS UINT64_C(100000) /* the rest of a wait that is spun: about what waking up can take */

static _Atomic uint64_t bandwidth; /* bytes per second, 0: without limit */
static _Atomic uint64_t latency;   /* ns */
static _Atomic uint64_t free_at[HMCI_SIM_ENGINES];

void hmci_sim_engine_configure(uint64_t new_bandwidth, uint64_t new_latency) {
  atomic_store(&bandwidth, new_bandwidth);
  atomic_store(&latency, new_latency);
  for (int i = 0; i < HMCI_SIM_ENGINES; i++) {
    atomic_store(&free_at[i], 0);
  }
}

static uint64_t add_saturating(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

static uint64_t copy_duration(size_t size) {
  uint64_t rate = atomic_load(&bandwidth);
  double moving = rate == 0 ? 0 : (double)size / (double)rate * (double)NS_PER_S;
  return add_saturating(atomic_load(&latency), moving >= 0x1p63 ? UINT64_MAX : (uint64_t)moving);
}

uint64_t hmci_sim_engine_book(int device, size_t size) {
  uint64_t duration = copy_duration(size);
  if (duration == 0) {
    return 0;
  }
  uint64_t now = hmci_now();
  uint64_t free_from = atomic_load(&free_at[device]);
  uint64_t due;
  do {
    due = add_saturating(free_from > now ? free_from : now, duration);
  } while (!atomic_compare_exchange_weak(&free_at[device], &free_from, due));
  return due;
}

/* Rounded down: until `due` at least one byte is left. */
uint64_t hmci_sim_engine_moved(uint64_t due, uint64_t size, uint64_t now) {
  if (now >= due) return size;
  double left = (double)(due - now) / (double)NS_PER_S * (double)atomic_load(&bandwidth);
  return left <= 0 || left >= (double)size - 1 ? 0 : size - (uint64_t)left - 1;
}

void hmci_sim_engine_wait(uint64_t due) {
  uint64_t now;
  while ((now = hmci_now()) < due) {
    if (due - now <= SPIN_NS) {
      hmci_pause();
      continue;
    }
    uint64_t wake = due - SPIN_NS;
    struct timespec at = {.tv_sec = (time_t)(wake / NS_PER_S), .tv_nsec = (long)(wake % NS_PER_S)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
  }
}
