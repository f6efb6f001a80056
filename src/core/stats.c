/* Counters and latencies (see stats.h): adding them up. */
#include "stats.h"

#include <string.h>

static uint64_t load(const _Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

static void add(_Atomic uint64_t *counter, uint64_t count) {
  if (count) atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t nanoseconds) {
  unsigned bucket = nanoseconds > 1 ? 63u - (unsigned)__builtin_clzll(nanoseconds) : 0;
  return bucket < HMC_LATENCY_BUCKETS ? bucket : HMC_LATENCY_BUCKETS - 1;
}

static void time_one(hmci_latency_t *latency, uint64_t nanoseconds) {
  add(&latency->nanoseconds, nanoseconds);
  add(&latency->buckets[bucket_of(nanoseconds)], 1);
  uint64_t longest = load(&latency->longest);
  while (nanoseconds > longest && !atomic_compare_exchange_weak_explicit(&latency->longest, &longest, nanoseconds,
                                                                         memory_order_relaxed, memory_order_relaxed)) {
  }
}

void hmci_stats_end(hmci_stats_t *stats, hmc_latency_kind_t kind, hmc_status_t status, uint64_t nanoseconds) {
  if (status == HMC_SUCCESS && nanoseconds) time_one(&stats->latencies[kind], nanoseconds);
  if (status == HMC_SUCCESS) return;
  add(status == HMC_TIMEOUT ? &stats->timeouts : status == HMC_CANCELLED ? &stats->cancellations : &stats->failures, 1);
}

static void merge_latency(hmci_latency_t *into, const hmci_latency_t *from) {
  add(&into->nanoseconds, load(&from->nanoseconds));
  for (int i = 0; i < HMC_LATENCY_BUCKETS; i++) add(&into->buckets[i], load(&from->buckets[i]));
  uint64_t theirs = load(&from->longest), ours = load(&into->longest);
  while (theirs > ours && !atomic_compare_exchange_weak(&into->longest, &ours, theirs)) {
  }
}

void hmci_stats_merge(hmci_stats_t *into, const hmci_stats_t *from) {
  hmci_stripe_t *all = &into->stripes[0];
  for (int i = 0; i < HMCI_STRIPES; i++) {
    const hmci_stripe_t *stripe = &from->stripes[i];
    add(&all->words, load(&stripe->words));
    add(&all->puts, load(&stripe->puts));
    add(&all->put_bytes, load(&stripe->put_bytes));
    add(&all->gets, load(&stripe->gets));
    add(&all->get_bytes, load(&stripe->get_bytes));
    add(&all->atomics, load(&stripe->atomics));
  }
  for (int i = 0; i < HMCI_LATENCIES; i++) merge_latency(&into->latencies[i], &from->latencies[i]);
  add(&into->failures, load(&from->failures));
  add(&into->timeouts, load(&from->timeouts));
  add(&into->cancellations, load(&from->cancellations));
  add(&into->notifications, load(&from->notifications));
  add(&into->lost, load(&from->lost));
}

void hmci_stats_read(const hmci_stats_t *stats, hmc_stats_t *sums) {
  *sums = (hmc_stats_t)HMC_STATS_INIT;
  for (int i = 0; i < HMCI_STRIPES; i++) {
    const hmci_stripe_t *stripe = &stats->stripes[i];
    uint64_t words = load(&stripe->words);
    sums->puts += words + load(&stripe->puts);
    sums->put_bytes += 8 * words + load(&stripe->put_bytes);
    sums->gets += load(&stripe->gets);
    sums->get_bytes += load(&stripe->get_bytes);
    sums->atomics += load(&stripe->atomics);
  }
  sums->failures = load(&stats->failures);
  sums->timeouts = load(&stats->timeouts);
  sums->cancellations = load(&stats->cancellations);
  sums->notifications = load(&stats->notifications);
  sums->peers_lost = load(&stats->lost);
}

void hmci_latency_read(const hmci_stats_t *stats, hmc_latency_kind_t kind, hmc_latency_t *latency) {
  const hmci_latency_t *from = &stats->latencies[kind];
  *latency = (hmc_latency_t)HMC_LATENCY_INIT;
  latency->nanoseconds = load(&from->nanoseconds);
  latency->longest = load(&from->longest);
  for (int i = 0; i < HMC_LATENCY_BUCKETS; i++) {
    latency->buckets[i] = load(&from->buckets[i]);
    latency->count += latency->buckets[i];
  }
}

/* Inside a bucket the operations are taken to be spread evenly. */
uint64_t hmc_latency_quantile(const hmc_latency_t *latency, double share) {
  if (!latency || !latency->count || !(share >= 0)) return 0;
  double due = (share > 1 ? 1 : share) * (double)latency->count, passed = 0;
  for (int i = 0; i < HMC_LATENCY_BUCKETS; i++) {
    double here = (double)latency->buckets[i];
    if (here == 0 || passed + here < due) {
      passed += here;
      continue;
    }
    double low = i ? (double)(UINT64_C(1) << i) : 0, high = (double)(UINT64_C(2) << i);
    uint64_t found = (uint64_t)(low + (high - low) * (due - passed) / here);
    return found < latency->longest ? found : latency->longest;
  }
  return latency->longest;
}
