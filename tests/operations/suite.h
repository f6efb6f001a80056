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

#define WORD_TESTS(X)                                                                                                  \
  X(words_follow_a_model)                                                                                              \
  X(words_lose_no_increment)                                                                                           \
  X(words_lose_no_token)                                                                                               \
  X(words_bits_are_their_owners)                                                                                       \
  X(words_refused)                                                                                                     \
  X(words_fetched_until_complete)                                                                                      \
  X(words_with_all_options)
#define SIGNAL_TESTS(X)                                                                                                \
  X(signal_never_early_across_processes)                                                                               \
  X(signal_after_many_frames)                                                                                          \
  X(signal_after_a_get)                                                                                                \
  X(signal_undone_when_refused)                                                                                        \
  X(signal_undone_when_stale)                                                                                          \
  X(signal_undone_when_cancelled)                                                                                      \
  X(written_is_told)
#define NOTIFICATION_TESTS(X)                                                                                          \
  X(notification_after_data_and_signal)                                                                                \
  X(notification_after_a_get)                                                                                          \
  X(notification_names_its_sender)                                                                                     \
  X(notification_stays_until_it_fits)                                                                                  \
  X(notification_queue_has_a_limit)                                                                                    \
  X(notification_receivers_share)                                                                                      \
  X(notification_refused)
#define QUEUE_TESTS(X)                                                                                                 \
  X(queue_moves_any_memory)                                                                                            \
  X(queue_copies_what_is_small)                                                                                        \
  X(queue_fetches_words)                                                                                               \
  X(queue_fence_orders)                                                                                                \
  X(queue_signals_after_the_data)                                                                                      \
  X(queue_has_a_bound)                                                                                                 \
  X(queue_has_deadlines)                                                                                               \
  X(queue_reports_the_first_error)                                                                                     \
  X(queue_notifies_after_all)                                                                                          \
  X(queue_survives_its_peers)                                                                                          \
  X(queue_refuses)
#define POLL_TESTS(X)                                                                                                  \
  X(poll_tells_in_order)                                                                                               \
  X(poll_gives_out_requests)                                                                                           \
  X(poll_has_a_descriptor)                                                                                             \
  X(poll_ends_when_interrupted)                                                                                        \
  X(progress_answers_peers)                                                                                            \
  X(poll_refuses)
#define SETUP_TESTS(X)                                                                                                 \
  X(setup_connects_and_opens)                                                                                          \
  X(setup_of_many_at_once)                                                                                             \
  X(setup_can_be_ended)                                                                                                \
  X(setup_ends_with_its_peer)                                                                                          \
  X(setup_ended_at_any_moment)                                                                                         \
  X(setup_refuses)                                                                                                     \
  X(find_by_address)                                                                                                   \
  X(find_asks_again)                                                                                                   \
  X(regions_overlap)
#define ENDING_TESTS(X)                                                                                                \
  X(large_requests_can_be_ended)                                                                                       \
  X(large_requests_tell_after_the_data)                                                                                \
  X(calls_have_deadlines_of_their_own)                                                                                 \
  X(requests_have_a_bound)                                                                                             \
  X(callbacks_are_called_exactly_once)                                                                                 \
  X(callbacks_may_not_connect)                                                                                         \
  X(closing_a_local_region_ends_its_operations)
#define BATCH_TESTS(X)                                                                                                 \
  X(batch_random_lists)                                                                                                \
  X(batch_adjacent_pieces)                                                                                             \
  X(batch_of_single_bytes)                                                                                             \
  X(batch_of_a_cache)                                                                                                  \
  X(batch_random_blocks)                                                                                               \
  X(batch_over_many_regions)                                                                                           \
  X(batch_over_peers_that_fail)                                                                                        \
  X(batch_restarted)                                                                                                   \
  X(batch_bounds)                                                                                                      \
  X(batch_of_nothing)                                                                                                  \
  X(batch_strides_overflow)                                                                                            \
  X(batch_with_all_options)
#define CHECKSUM_TESTS(X)                                                                                              \
  X(checksum_of_good_data)                                                                                             \
  X(checksum_finds_damage)
#define WAITING_TESTS(X)                                                                                               \
  X(wait_in_order)                                                                                                     \
  X(wait_ends_at_deadlines)                                                                                            \
  X(wait_across_contexts)                                                                                              \
  X(deadline_shorter_than_the_context)                                                                                 \
  X(deadline_of_a_moment)                                                                                              \
  X(flush_sees_everything)                                                                                             \
  X(flush_has_a_deadline)
#define EVENT_TESTS(X)                                                                                                 \
  X(event_descriptor_polls)                                                                                            \
  X(callback_once_by_the_service_thread)                                                                               \
  X(callback_starts_the_next)                                                                                          \
  X(callback_not_after_free)                                                                                           \
  X(callback_may_free)                                                                                                 \
  X(callback_waits_for_operations)                                                                                     \
  X(callback_waits_for_nobody_else)
#define QUIET_TESTS(X)                                                                                                 \
  X(quiet_after_cancelled_puts)                                                                                        \
  X(quiet_after_cancelled_gets)                                                                                        \
  X(quiet_after_timeouts)                                                                                              \
  X(quiet_batches)
#define CLOSING_TESTS(X)                                                                                               \
  X(closing_a_peer_wakes_those_who_wait)                                                                               \
  X(destroying_a_context_wakes_those_who_wait)
#define LIFETIME_TESTS(X)                                                                                              \
  X(two_callbacks_close_each_others)                                                                                   \
  X(peers_that_hang_up_at_once)                                                                                        \
  X(hosts_that_hang_up_at_once)                                                                                        \
  X(a_child_connects_or_is_told_why)                                                                                   \
  X(a_child_keeps_no_peer_alive)                                                                                       \
  X(the_environment_is_read_once)                                                                                      \
  X(destroying_a_context_ends_accept)
#define TEXT_TESTS(X)                                                                                                  \
  X(text_of_a_request_names_both_ends)                                                                                 \
  X(text_of_a_refusal_says_what_is_missing)                                                                            \
  X(text_of_a_batch_has_its_size)                                                                                      \
  X(text_explains_puts_and_gets)                                                                                       \
  X(unmapped_memory_is_told_at_once)
#define STATS_TESTS(X)                                                                                                 \
  X(stats_count_what_is_done)                                                                                          \
  X(latencies_are_of_what_took_time)                                                                                   \
  X(stats_outlive_their_peer)                                                                                          \
  X(metrics_are_text_for_prometheus)                                                                                   \
  X(signal_wait_sleeps_until_it_comes)                                                                                 \
  X(signal_wait_compares_and_ends)
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

#define DECLARE_TEST(name) void name(void **state);
ALL_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
