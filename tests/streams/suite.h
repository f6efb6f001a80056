/* The suite of what runs over sockets under pressure: peers that stand still, answers that nobody wants any more, full
 * sockets, memory that goes away. Stamped with a transport whose data go by sockets: streams.<transport>.
 *
 * It stands on the pairs of tests/operations. */
#ifndef TESTS_STREAMS_SUITE_H
#define TESTS_STREAMS_SUITE_H

#include "../operations/suite.h"

/* Asserts that the state of a peer is CONNECTED; shows why it is gone where it is not. */
#define assert_connected(peer) assert_connected_at((peer), __FILE__, __LINE__)
void assert_connected_at(hmc_peer_t *peer, const char *file, int line);

#define SLOW_TESTS(X)                                                                                                  \
  X(slow_peer_outlives_the_peer_timeout)                                                                               \
  X(slow_rest_after_a_cancelled_get)                                                                                   \
  X(slow_loss_names_its_setting)
#define CREDIT_TESTS(X)                                                                                                \
  X(credits_keep_both_directions_going)                                                                                \
  X(credits_bound_a_batch_of_pieces)
#define CALL_TESTS(X)                                                                                                  \
  X(calls_return_before_the_bytes_are_gone)                                                                            \
  X(calls_cancel_large_transfers)                                                                                      \
  X(calls_to_others_go_on_when_a_striped_put_is_cut_off)                                                               \
  X(calls_keep_their_order_behind_a_cut_off_put)                                                                       \
  X(calls_keep_their_order_behind_small_cut_off_puts)                                                                  \
  X(calls_on_one_processor_do_not_poll)
#define LATE_TESTS(X)                                                                                                  \
  X(late_stream_comes_with_the_first_operation)                                                                        \
  X(late_stream_keeps_the_order)                                                                                       \
  X(late_stream_comes_into_a_callback)                                                                                 \
  X(late_stream_ends_with_its_peer)                                                                                    \
  X(late_stream_comes_after_listening_has_stopped)                                                                     \
  X(late_stream_comes_to_one_who_stood_still)
#define UNMAPPED_TESTS(X)                                                                                              \
  X(unmapped_source_ends_the_operation)                                                                                \
  X(unmapped_sink_ends_the_operation)                                                                                  \
  X(unmapped_region_ends_the_operation)                                                                                \
  X(protected_source_ends_the_operation)                                                                               \
  X(protected_sink_ends_the_operation)                                                                                 \
  X(protected_region_ends_the_operation)                                                                               \
  X(protected_page_ends_the_operation)                                                                                 \
  X(protected_again_and_again_ends_the_operation)
#define STREAM_TESTS(X) SLOW_TESTS(X) CREDIT_TESTS(X) CALL_TESTS(X) LATE_TESTS(X) UNMAPPED_TESTS(X)

#define DECLARE_TEST(name) void name(void **state);
STREAM_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
