/* The conformance suite: one set of tests, stamped with a transport and two kinds of memory by the program's arguments.
 */
#ifndef TESTS_CONFORMANCE_SUITE_H
#define TESTS_CONFORMANCE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

typedef struct stamp {
  const char *transport; /* as in the name of the test: "shm", "tcp_encrypted" */
  hmc_connection_type_t type;
  hmc_memory_t local, remote;
} stamp_t;

extern stamp_t stamp;

/* A transport as it comes, between host memories: what repeats itself very often, or is very large, does so there. The
 * other stamps share that code, and look whether their way differs. */
bool stamp_is_plain(void);

/* What each test starts with: a target that listens, and a peer connected to it by the stamp's type. */
typedef struct pair {
  const struct test_case *test;
  target_t target;
  uint16_t port;
  hmc_context_t *context;
  hmc_peer_t *peer;
} pair_t;

/* True where the stamp's remote memory, made by HMC or registered, can be mapped by a peer. */
bool stamp_maps(bool lent);

/* Makes a region of the stamp's memory at the target, in place `slot`, and opens it here. Asserts. */
typedef struct there {
  uint32_t slot;
  uint64_t size;
  unsigned rights; /* 0: all */
  bool registered;
} there_t;
hmc_remote_t *remote_make(pair_t *pair, const char *name, there_t there);

/* Makes a local region of the stamp's memory, for local use. Asserts. */
test_buffer_t local_make(pair_t *pair, uint64_t size, bool registered);

/* Frames at the target, asserting. */
void target_write_frame(pair_t *pair, uint32_t slot, uint64_t offset, uint64_t length, uint64_t seed);

/* The tests, by file. Each takes `void **state` whose content is a pair_t. */
#define TRANSFER_TESTS(X)                                                                                              \
  X(sizes_and_odd_offsets)                                                                                             \
  X(up_to_the_edges)                                                                                                   \
  X(registered_memory)                                                                                                 \
  X(huge)                                                                                                              \
  X(small_moves_of_every_length)
#define ASYNC_TESTS(X)                                                                                                 \
  X(many_in_flight)                                                                                                    \
  X(request_life)                                                                                                      \
  X(request_cancel_leaves_memory_alone)                                                                                \
  X(request_waited_for_by_many)                                                                                        \
  X(peer_close_cancels)
#define PARALLEL_TESTS(X)                                                                                              \
  X(many_threads)                                                                                                      \
  X(visible_when_complete)                                                                                             \
  X(both_directions_on_one_connection)                                                                                 \
  X(both_directions_on_two_connections)                                                                                \
  X(two_contexts_in_one_process)                                                                                       \
  X(idle_uses_no_processor)
#define REGION_TESTS(X)                                                                                                \
  X(many_regions)                                                                                                      \
  X(names)                                                                                                             \
  X(remade_region_is_stale)                                                                                            \
  X(closed_region_is_stale)                                                                                            \
  X(closed_region_is_quiet)                                                                                            \
  X(rights_are_kept)                                                                                                   \
  X(map_is_coherent)                                                                                                   \
  X(map_respects_rights)                                                                                               \
  X(map_outlives_the_peer)
#define PEER_TESTS(X)                                                                                                  \
  X(info_tells_who)                                                                                                    \
  X(explain_names_the_transport)                                                                                       \
  X(required_type_is_kept)                                                                                             \
  X(automatic_type_is_shm_here)                                                                                        \
  X(accept_gives_each_peer_once)
#define ATOMIC_TESTS(X)                                                                                                \
  X(atomics_of_every_kind)                                                                                             \
  X(atomics_that_are_refused)                                                                                          \
  X(atomics_from_many)                                                                                                 \
  X(atomics_compare_and_swap)                                                                                          \
  X(signal_comes_after_the_data)                                                                                       \
  X(signal_stays_away_on_failure)                                                                                      \
  X(notification_comes_after_the_data)                                                                                 \
  X(notification_queue_is_bounded)
#define BATCH_TESTS(X)                                                                                                 \
  X(batch_of_scattered_pieces)                                                                                         \
  X(batch_of_a_block)                                                                                                  \
  X(batch_checked_once)                                                                                                \
  X(wait_for_several)                                                                                                  \
  X(flush_waits_for_all)                                                                                               \
  X(event_descriptor_tells)                                                                                            \
  X(callbacks_come_once)                                                                                               \
  X(checksums)
#define ALL_TESTS(X)                                                                                                   \
  ATOMIC_TESTS(X) BATCH_TESTS(X) TRANSFER_TESTS(X) ASYNC_TESTS(X) PARALLEL_TESTS(X) REGION_TESTS(X) PEER_TESTS(X)

#define DECLARE_TEST(name) void name(void **state);
ALL_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
