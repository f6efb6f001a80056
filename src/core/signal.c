/* Waiting for a word that peers change (hmc/signal.h).
 *
 * Signals that this side applies ring a bell: a number that waiters sleep on, with a count of them, so that nobody rings
 * for nobody. What a peer or an adapter writes straight into the memory rings nothing; so nobody sleeps longer than
 * NAP_MOST. The bell is the process's: a waiter that is woken for another's signal looks, and sleeps again.
 *
 * Locking: none; who rings changes the number before it looks for waiters, who waits counts itself before it looks at the
 * word, and both orders are seq_cst. */
#include "core.h"

#include "../base/futex.h"
#include "../base/guarded.h"
#include "../transport/bell.h"

#include <errno.h>
#include <hmc/signal.h>
#include <string.h>

#define NAP_LEAST 50000u /* nanoseconds that a waiter sleeps first, and at most */
#define NAP_MOST 1000000u

static bool compares(uint64_t word, hmc_comparison_t comparison, uint64_t value) {
  switch (comparison) {
  case HMC_COMPARE_EQ: return word == value;
  case HMC_COMPARE_NE: return word != value;
  case HMC_COMPARE_GT: return word > value;
  case HMC_COMPARE_GE: return word >= value;
  case HMC_COMPARE_LT: return word < value;
  case HMC_COMPARE_LE: return word <= value;
  }
  return false;
}

static hmc_status_t load(const hmc_region_t *region, uint64_t offset, uint64_t *word) {
  uint8_t *address = region->view.base + offset;
  if (!region->view.ops->host_accessible)
    return region->view.ops->copy_to_host(region->view.memory.device, word, address, sizeof *word);
  if (!region->view.owned && !hmci_guarded_is_there(address, sizeof *word))
    return hmci_fail(HMC_STALE, "the memory of the region is not mapped any more");
  *word = atomic_load((_Atomic uint64_t *)(void *)address); /* partner: the peer's signal, after its data */
  return HMC_SUCCESS;
}

static hmc_status_t check(const hmc_region_t *region, uint64_t offset, hmc_comparison_t comparison) {
  if (!region) return hmci_fail(HMC_INVALID_CONFIG, "hmc_signal_wait: region is NULL");
  if (hmci_context_is_foreign(region->context)) return HMC_UNSUPPORT;
  if ((unsigned)comparison > HMC_COMPARE_LE)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_signal_wait: unknown comparison %d", (int)comparison);
  if (offset % 8)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_signal_wait: offset %llu is not a multiple of 8",
                     (unsigned long long)offset);
  if (!hmci_range_fits(offset, 8, region->view.size))
    return hmci_fail(HMC_OUT_OF_RANGE, "hmc_signal_wait: 8 B at offset %llu run past the %llu B of the region",
                     (unsigned long long)offset, (unsigned long long)region->view.size);
  return HMC_SUCCESS;
}

/* One look: HMC_IN_PROGRESS where the word does not fit. */
static hmc_status_t look(const hmc_region_t *region, uint64_t offset, hmc_comparison_t comparison, uint64_t value,
                         uint64_t *seen) {
  uint64_t word = 0;
  hmc_status_t status = load(region, offset, &word);
  if (status != HMC_SUCCESS) return status;
  if (!compares(word, comparison, value)) return HMC_IN_PROGRESS;
  if (seen) *seen = word;
  return HMC_SUCCESS;
}

hmc_status_t hmc_signal_wait(hmc_region_t *region, uint64_t offset, hmc_comparison_t comparison, uint64_t value,
                             uint64_t timeout_ms, uint64_t *seen) {
  hmc_status_t status = check(region, offset, comparison);
  if (status != HMC_SUCCESS) return status;
  status = look(region, offset, comparison, value, seen);
  if (status != HMC_IN_PROGRESS) return status;
  uint64_t deadline = hmci_context_deadline(region->context, timeout_ms), now = hmci_now();
  if (now < deadline) {
    hmc_status_t waiting = hmci_context_check_waiting(region->context, "hmc_signal_wait");
    if (waiting != HMC_SUCCESS) return waiting;
  }
  uint64_t spun = now + region->context->settings.spin, nap = NAP_LEAST;
  atomic_fetch_add(&hmci_bell.waiters, 1);
  while (status == HMC_IN_PROGRESS && now < deadline) {
    uint32_t rung = atomic_load(&hmci_bell.number);
    status = look(region, offset, comparison, value, seen);
    if (status == HMC_IN_PROGRESS && now < spun) hmci_pause();
    if (status == HMC_IN_PROGRESS && now >= spun) {
      hmci_futex_wait(&hmci_bell.number, rung, nap < deadline - now ? nap : deadline - now, HMCI_FUTEX_PRIVATE);
      nap = nap * 2 < NAP_MOST ? nap * 2 : NAP_MOST;
    }
    now = hmci_now();
  }
  atomic_fetch_sub(&hmci_bell.waiters, 1);
  if (status != HMC_IN_PROGRESS) return status;
  return hmci_fail(HMC_TIMEOUT, "the signal at offset %llu of region '%s' did not come within the deadline",
                   (unsigned long long)offset, region->name);
}
