/* What the files of the suite of leases share. Tests run on a pair (tests/operations); peers that are stopped, killed
 * or go on though their lease is over are processes of their own (holder.c). */
#ifndef TESTS_LEASES_H
#define TESTS_LEASES_H

#include "suite.h"

#include <hmc/lease.h>
#include <signal.h>

extern uint64_t reuse_rounds; /* pages that reuse_under_load goes through */

/* A peer in another process: it puts into the region "pages" of the context that listens on `port`, under whatever lease
 * numbers it is given, again and again. */
typedef struct holder {
  pid_t process;
  int socket;
  hmc_peer_t *peer; /* as the owner accepted it */
} holder_t;

/* Runs the holder when the program was started as one, and does not return then. Comes first in main(). */
void holder_main(int argc, char **argv);
void holder_start(holder_t *holder, context_pair_t *pair); /* asserts */
/* From now on it fills the page at `offset` with `value` under that lease, until it is given the next one. Returns once
 * it has begun. */
typedef struct task {
  uint64_t lease, offset, length;
  uint8_t value;
} task_t;
void holder_give(const holder_t *holder, const task_t *task);
void holder_stop(const holder_t *holder); /* SIGSTOP, and waits until it stands */
void holder_continue(const holder_t *holder);
void holder_kill(holder_t *holder);
void holders_end(void);

/* A leased region of the far end: allocated, or of the test's memory. */
hmc_region_t *leased_make(context_pair_t *pair, const char *name, uint64_t bytes);

#define LEASE_TESTS(X)                                                                                                 \
  X(lease_allows_and_ends)                                                                                             \
  X(lease_is_needed)                                                                                                   \
  X(lease_of_ranges)                                                                                                   \
  X(lease_of_blocks)                                                                                                   \
  X(lease_of_rights)                                                                                                   \
  X(lease_ends_by_itself)                                                                                              \
  X(lease_of_another_peer)                                                                                             \
  X(lease_refused)                                                                                                     \
  X(leases_by_the_thousand)                                                                                            \
  X(lease_outlives_region_and_peer)                                                                                    \
  X(lease_under_signals_and_batches)                                                                                   \
  X(lease_of_runs)                                                                                                     \
  X(reuse_under_load)                                                                                                  \
  X(reuse_while_stopped)                                                                                               \
  X(reuse_after_death)                                                                                                 \
  X(reuse_of_pages_that_are_read)
#define DECLARE(name) void name(void **state);
LEASE_TESTS(DECLARE)
#undef DECLARE

#endif
