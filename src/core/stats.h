/* Counting what peers are asked to do (hmc/stats.h).
 *
 * Each peer has stripes of counters; a thread adds to one of them by a plain load and store, so that counting costs an
 * addition in a cache line that other threads seldom touch. Two threads that share a stripe may lose a count to each
 * other, which is the price. Latencies are added to by atomics: who gets there has made a system call already.
 *
 * Locking: none; all fields are atomics, relaxed, and order nothing. */
#ifndef HMCI_STATS_H
#define HMCI_STATS_H

#include "../base/base.h"

#include <hmc/stats.h>
#include <pthread.h>
#include <stdatomic.h>

enum { HMCI_STRIPES = 16, HMCI_LATENCIES = 3 };

/* Puts of 8 bytes have a counter of their own, so that one addition does. */
typedef struct hmci_stripe {
  _Alignas(HMCI_CACHE_LINE) _Atomic uint64_t words;
  _Atomic uint64_t puts, put_bytes, gets, get_bytes, atomics;
} hmci_stripe_t;

typedef struct hmci_latency {
  _Atomic uint64_t nanoseconds, longest;
  _Atomic uint64_t buckets[HMC_LATENCY_BUCKETS];
} hmci_latency_t;

typedef struct hmci_stats {
  hmci_stripe_t stripes[HMCI_STRIPES];
  hmci_latency_t latencies[HMCI_LATENCIES]; /* by hmc_latency_kind_t */
  _Atomic uint64_t failures, timeouts, cancellations, notifications, lost;
} hmci_stats_t;

/* A number of the calling thread's own: the address of its control block. A call to pthread_self would cost more than
 * the count, and a thread-local variable needs room in the static block that all libraries share: programs that load this
 * one late have none left. */
static inline uintptr_t hmci_stats_thread(void) {
#if defined(__x86_64__)
  uintptr_t self;
  __asm__("mov %%fs:0, %0" : "=r"(self)); /* System V ABI, x86-64: the block begins with its own address */
  return self;
#elif defined(__aarch64__)
  return (uintptr_t)__builtin_thread_pointer();
#else
  return (uintptr_t)pthread_self();
#endif
}

/* Control blocks lie one stack and a page apart: multiplying by the golden ratio spreads such numbers evenly. */
static inline hmci_stripe_t *hmci_stats_stripe(hmci_stats_t *stats) {
  return &stats->stripes[(uint64_t)(hmci_stats_thread() >> 6) * 0x9e3779b97f4a7c15u >> 60];
}

_Static_assert(HMCI_STRIPES == 16, "the four high bits number a stripe");

static inline void hmci_stats_add(_Atomic uint64_t *counter, uint64_t count) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + count, memory_order_relaxed);
}

static inline void hmci_stats_put(hmci_stats_t *stats, uint64_t bytes) {
  hmci_stripe_t *stripe = hmci_stats_stripe(stats);
  hmci_stats_add(&stripe->puts, 1);
  hmci_stats_add(&stripe->put_bytes, bytes);
}

static inline void hmci_stats_get(hmci_stats_t *stats, uint64_t bytes) {
  hmci_stripe_t *stripe = hmci_stats_stripe(stats);
  hmci_stats_add(&stripe->gets, 1);
  hmci_stats_add(&stripe->get_bytes, bytes);
}

/* One operation ended, `nanoseconds` after it began (0: not timed). */
void hmci_stats_end(hmci_stats_t *stats, hmc_latency_kind_t kind, hmc_status_t status, uint64_t nanoseconds);

/* Adds what `from` has counted. */
void hmci_stats_merge(hmci_stats_t *into, const hmci_stats_t *from);

/* The sums; `peers` and `regions` are the caller's. */
void hmci_stats_read(const hmci_stats_t *stats, hmc_stats_t *sums);
void hmci_latency_read(const hmci_stats_t *stats, hmc_latency_kind_t kind, hmc_latency_t *latency);

#endif
