/* The suite of the wider operations: every sentence of include/hmc/operation.h, beyond what the conformance suite asks
 * of each pair of memories. Stamped with a transport and one kind of memory, which lies at both ends.
 *
 * Most tests run on a pair: two contexts of this process, so that the test sees both ends' memory and handles. What
 * needs another process (stopping it, watching it from outside) starts a distant end. */
#ifndef TESTS_OPERATIONS_SUITE_H
#define TESTS_OPERATIONS_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

typedef struct stamp {
  const char *transport; /* as in the name of the test: "shm", "tcp_encrypted" */
  hmc_connection_type_t type;
  hmc_memory_t near, far; /* of one kind; two devices of it where there are several */
} stamp_t;

extern stamp_t stamp;

/* The parent of a_child_keeps_no_peer_alive, which is a program of its own. */
void live_as_parent(uint16_t port, int ready);

/* From the names of a transport and of a kind of memory. */
bool stamp_parse(const char *transport, const char *memory);

/* True where the owner's processor reaches the stamp's memory. */
bool stamp_is_host(void);
bool stamp_is(const char *transport);
/* A transport as it comes, between host memories: what repeats itself very often does so there. The other stamps share
 * that code, and look at what is different. */
bool stamp_is_plain(void);

/* ---- pairs */

/* `here` has dialled `there`; `back` is what `there` accepted. */
typedef struct pair {
  const struct test_case *test; /* of the fixture's one */
  hmc_context_t *here, *there;
  hmc_peer_t *peer, *back;
  uint16_t port;
} context_pair_t;

/* Makes two contexts and connects them, with `settings` (pairs "NAME", "value", ended by NULL; may be NULL) in force
 * for both. Ends with the test at the latest. Asserts. */
void context_pair_open(context_pair_t *pair, const char *const *settings);
void context_pair_close(context_pair_t *pair);
/* Closes what a test that failed has left open. */
void context_pairs_end(void);

/* Set-up and tear-down for programs of a few cases: the watchdog, and a pair in *state. */
int pair_case_open(void **state);
int pair_case_close(void **state);

/* A region of the stamp's memory at the far end, and the same as seen from here. Asserts. */
typedef struct far {
  test_buffer_t place;
  hmc_remote_t *remote;
} far_t;
typedef struct far_options {
  const char *name;
  uint64_t size;
  unsigned rights; /* 0: all */
  bool registered;
} far_options_t;
far_t far_make(context_pair_t *pair, far_options_t options);
void far_close(far_t *far);

/* A local region of the stamp's memory. Asserts. */
test_buffer_t near_make(context_pair_t *pair, uint64_t size, bool registered);

/* The owner's looks at what peers change meanwhile, and its own writes there. */
uint64_t word_load(const test_buffer_t *place, uint64_t offset);
void word_store(const test_buffer_t *place, uint64_t offset, uint64_t word);
void owner_fill(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t value);
uint64_t owner_others(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t one, uint8_t two);
void owner_frame_write(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed);
uint64_t owner_frame_check(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed);

/* ---- a distant end */

/* A target process, connected to a pair's `here`, with a registered region "distant" in its place 0: atomics on that
 * one always need the target's service thread. */
typedef struct distant {
  target_t target;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
} distant_t;
#define DISTANT_SIZE (4 * MIB)

void distant_start(distant_t *distant, context_pair_t *pair);
/* SIGSTOP, and waits until it stands; SIGCONT. Assert. */
void distant_stop(distant_t *distant);
void distant_continue(distant_t *distant);
void distant_end(distant_t *distant);

/* ---- small things */

/* Waits for a request, frees it, gives its status. */
hmc_status_t finish(hmc_request_t *request);

/* hmc_put_nb or hmc_get_nb, waited for; the status of either. */
hmc_status_t put_with(const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                      uint64_t length, const hmc_operation_options_t *options);
hmc_status_t get_with(const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                      uint64_t length, const hmc_operation_options_t *options);

/* Asserts that no notification waits at the far end. */
void assert_no_notification(hmc_context_t *context);

/* Asserts that `since` (now_ms) lies at least `least` and at most `most` + SLACK_MS milliseconds back. */
void assert_took(uint64_t since, uint64_t least, uint64_t most);

/* Numbers of a thread of its own. */
uint64_t draw(uint64_t *state);

/* Time in nanoseconds, and busy waiting for some of it. */
uint64_t now_ns(void);
void spin_ns(uint64_t nanoseconds);

/* ---- the cases */

/* MEMORY: what it looks at may depend on the kind of memory, or on how its bytes are copied: runs in each stamp.
 * ENGINE: setups, waits, bounds, ends and texts, which no memory has a part in: runs in the stamps of host memory, so
 * once for each transport. */

#define WORD_TESTS(X)                                                                                                  \
  X(words_follow_a_model, MEMORY)                                                                                      \
  X(words_lose_no_increment, MEMORY)                                                                                   \
  X(words_lose_no_token, MEMORY)                                                                                       \
  X(words_bits_are_their_owners, MEMORY)                                                                               \
  X(words_refused, MEMORY)                                                                                             \
  X(words_fetched_until_complete, MEMORY)                                                                              \
  X(words_with_all_options, MEMORY)
#define SIGNAL_TESTS(X)                                                                                                \
  X(signal_never_early_across_processes, MEMORY)                                                                       \
  X(signal_after_many_frames, MEMORY)                                                                                  \
  X(signal_after_a_get, MEMORY)                                                                                        \
  X(signal_undone_when_refused, ENGINE)                                                                                \
  X(signal_undone_when_stale, MEMORY)                                                                                  \
  X(signal_undone_when_cancelled, MEMORY)                                                                              \
  X(written_is_told, MEMORY)                                                                                           \
  X(written_is_told_of_registered_memory, ENGINE)
#define NOTIFICATION_TESTS(X)                                                                                          \
  X(notification_after_data_and_signal, MEMORY)                                                                        \
  X(notification_after_a_get, MEMORY)                                                                                  \
  X(notification_names_its_sender, ENGINE)                                                                             \
  X(notification_stays_until_it_fits, ENGINE)                                                                          \
  X(notification_queue_has_a_limit, ENGINE)                                                                            \
  X(notification_waits_behind_a_signal, ENGINE)                                                                        \
  X(notification_receivers_share, ENGINE)                                                                              \
  X(notification_refused, ENGINE)
#define QUEUE_TESTS(X)                                                                                                 \
  X(queue_moves_any_memory, MEMORY)                                                                                    \
  X(queue_copies_what_is_small, MEMORY)                                                                                \
  X(queue_fetches_words, MEMORY)                                                                                       \
  X(queue_fence_orders, MEMORY)                                                                                        \
  X(queue_signals_after_the_data, MEMORY)                                                                              \
  X(queue_has_a_bound, ENGINE)                                                                                         \
  X(queue_is_seldom_flushed, ENGINE)                                                                                   \
  X(queue_has_deadlines, ENGINE)                                                                                       \
  X(queue_reports_the_first_error, MEMORY)                                                                             \
  X(queue_notifies_after_all, MEMORY)                                                                                  \
  X(queue_notifies_once_others_have, ENGINE)                                                                           \
  X(queue_survives_its_peers, ENGINE)                                                                                  \
  X(queue_refuses, ENGINE)
#define POLL_TESTS(X)                                                                                                  \
  X(poll_tells_in_order, ENGINE)                                                                                       \
  X(poll_gives_out_requests, ENGINE)                                                                                   \
  X(poll_has_a_descriptor, ENGINE)                                                                                     \
  X(poll_ends_when_interrupted, ENGINE)                                                                                \
  X(progress_answers_peers, MEMORY)                                                                                    \
  X(progress_ends_with_the_thread, ENGINE)                                                                             \
  X(poll_refuses, ENGINE)
#define SETUP_TESTS(X)                                                                                                 \
  X(setup_connects_and_opens, ENGINE)                                                                                  \
  X(setup_of_many_at_once, ENGINE)                                                                                     \
  X(setup_dials_again, ENGINE)                                                                                         \
  X(setup_dials_until_its_deadline, ENGINE)                                                                            \
  X(setup_can_be_ended, ENGINE)                                                                                        \
  X(setup_ends_with_its_peer, ENGINE)                                                                                  \
  X(setup_ended_at_any_moment, ENGINE)                                                                                 \
  X(setup_refuses, ENGINE)                                                                                             \
  X(find_by_address, MEMORY)                                                                                           \
  X(find_asks_again, MEMORY)                                                                                           \
  X(regions_overlap, MEMORY)
#define ENDING_TESTS(X)                                                                                                \
  X(large_requests_can_be_ended, ENGINE)                                                                               \
  X(large_requests_tell_after_the_data, MEMORY)                                                                        \
  X(calls_have_deadlines_of_their_own, ENGINE)                                                                         \
  X(requests_have_a_bound, ENGINE)                                                                                     \
  X(callbacks_are_called_exactly_once, MEMORY)                                                                         \
  X(callbacks_may_not_destroy, MEMORY)                                                                                 \
  X(callbacks_may_not_connect, ENGINE)                                                                                 \
  X(closing_a_local_region_ends_its_operations, MEMORY)                                                                \
  X(blocking_calls_end_when_asked, MEMORY)
#define BATCH_TESTS(X)                                                                                                 \
  X(batch_random_lists, MEMORY)                                                                                        \
  X(batch_adjacent_pieces, MEMORY)                                                                                     \
  X(batch_of_single_bytes, MEMORY)                                                                                     \
  X(batch_of_a_cache, MEMORY)                                                                                          \
  X(batch_random_blocks, MEMORY)                                                                                       \
  X(batch_runs, MEMORY)                                                                                                \
  X(batch_over_many_regions, MEMORY)                                                                                   \
  X(batch_over_peers_that_fail, MEMORY)                                                                                \
  X(batch_over_peers_ends_at_all, MEMORY)                                                                              \
  X(batch_restarted, MEMORY)                                                                                           \
  X(batch_of_very_many_is_refused_at_once, MEMORY)                                                                     \
  X(batch_of_very_many_leaves_nothing_behind, MEMORY)                                                                  \
  X(batch_bounds, ENGINE)                                                                                              \
  X(batch_of_nothing, ENGINE)                                                                                          \
  X(batch_strides_overflow, ENGINE)                                                                                    \
  X(batch_with_all_options, MEMORY)
#define CHECKSUM_TESTS(X)                                                                                              \
  X(checksum_of_good_data, MEMORY)                                                                                     \
  X(checksum_finds_damage, MEMORY)
#define WAITING_TESTS(X)                                                                                               \
  X(wait_in_order, ENGINE)                                                                                             \
  X(wait_ends_at_deadlines, ENGINE)                                                                                    \
  X(wait_across_contexts, ENGINE)                                                                                      \
  X(deadline_shorter_than_the_context, ENGINE)                                                                         \
  X(deadline_of_a_moment, MEMORY)                                                                                      \
  X(flush_sees_everything, MEMORY)                                                                                     \
  X(flush_has_a_deadline, ENGINE)
#define EVENT_TESTS(X)                                                                                                 \
  X(event_descriptor_polls, MEMORY)                                                                                    \
  X(callback_once_by_the_service_thread, MEMORY)                                                                       \
  X(callback_starts_the_next, MEMORY)                                                                                  \
  X(callback_not_after_free, MEMORY)                                                                                   \
  X(callback_may_free, MEMORY)                                                                                         \
  X(callback_waits_for_operations, MEMORY)                                                                             \
  X(callback_waits_for_what_follows, MEMORY)                                                                           \
  X(callback_waits_for_nobody_else, ENGINE)
#define QUIET_TESTS(X)                                                                                                 \
  X(quiet_after_cancelled_puts, MEMORY)                                                                                \
  X(quiet_after_cancelled_gets, MEMORY)                                                                                \
  X(quiet_after_timeouts, MEMORY)                                                                                      \
  X(quiet_batches, MEMORY)
#define CLOSING_TESTS(X)                                                                                               \
  X(closing_a_peer_wakes_those_who_wait, ENGINE)                                                                       \
  X(destroying_a_context_wakes_those_who_wait, ENGINE)                                                                 \
  X(closing_a_peer_beside_a_cancel, ENGINE)                                                                            \
  X(closing_a_peer_under_a_fetch, ENGINE)                                                                              \
  X(closing_a_peer_ends_its_copies, MEMORY)
#define LIFETIME_TESTS(X)                                                                                              \
  X(two_callbacks_close_each_others, ENGINE)                                                                           \
  X(peers_that_hang_up_at_once, ENGINE)                                                                                \
  X(hosts_that_hang_up_at_once, ENGINE)                                                                                \
  X(a_child_connects_or_is_told_why, ENGINE)                                                                           \
  X(a_child_keeps_no_peer_alive, ENGINE)                                                                               \
  X(the_environment_is_read_once, ENGINE)                                                                              \
  X(destroying_a_context_ends_accept, ENGINE)
#define TEXT_TESTS(X)                                                                                                  \
  X(text_of_a_request_names_both_ends, ENGINE)                                                                         \
  X(text_of_a_refusal_says_what_is_missing, ENGINE)                                                                    \
  X(text_of_a_batch_has_its_size, ENGINE)                                                                              \
  X(text_explains_puts_and_gets, MEMORY)                                                                               \
  X(unmapped_memory_is_told_at_once, MEMORY)
#define STATS_TESTS(X)                                                                                                 \
  X(stats_count_what_is_done, MEMORY)                                                                                  \
  X(latencies_are_of_what_took_time, MEMORY)                                                                           \
  X(stats_outlive_their_peer, ENGINE)                                                                                  \
  X(metrics_are_text_for_prometheus, ENGINE)                                                                           \
  X(signal_wait_sleeps_until_it_comes, MEMORY)                                                                         \
  X(signal_wait_compares_and_ends, MEMORY)
#define ALL_TESTS(X)                                                                                                   \
  SETUP_TESTS(X)                                                                                                       \
  ENDING_TESTS(X)                                                                                                      \
  STATS_TESTS(X)                                                                                                       \
  POLL_TESTS(X)                                                                                                        \
  QUEUE_TESTS(X)                                                                                                       \
  WORD_TESTS(X)                                                                                                        \
  SIGNAL_TESTS(X)                                                                                                      \
  NOTIFICATION_TESTS(X)                                                                                                \
  BATCH_TESTS(X)                                                                                                       \
  CHECKSUM_TESTS(X) WAITING_TESTS(X) EVENT_TESTS(X) QUIET_TESTS(X) CLOSING_TESTS(X) LIFETIME_TESTS(X) TEXT_TESTS(X)

#define DECLARE_TEST(name, scope) void name(void **state);
ALL_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
