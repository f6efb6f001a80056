/* Tests of the verbs transport on the look-alike of ibverbs.c. Both ends are contexts of this process. */
#ifndef TESTS_RDMA_SUITE_H
#define TESTS_RDMA_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ibverbs.h"

#include <hmc.h>
#include <stdatomic.h>
#include <stdbool.h>

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define ROOM (4 * MIB)

/* How long a test waits for what must come: on a machine with much else to do, too. */
#define PATIENCE_MS 60000u

/* Two contexts, connected both ways of looking: `peer` is what `here` dialled, `back` the same connection as `there`
 * sees it. Each has a region of ROOM bytes, of memory `kind`, the one there named "there". */
typedef struct scene {
  hmc_context_t *here, *there;
  uint16_t port;
  hmc_peer_t *peer, *back;
  hmc_region_t *local, *far;
  hmc_remote_t *remote;
} scene_t;

hmc_status_t scene_try(scene_t *scene, hmc_memory_kind_t here, hmc_memory_kind_t there, unsigned rights);
void scene_open(scene_t *scene, hmc_memory_kind_t here, hmc_memory_kind_t there);
void scene_close(scene_t *scene);

/* Stops the service thread there until the gate is opened; the request is to be freed then. */
typedef struct gate {
  _Atomic bool inside, open;
} gate_t;
hmc_request_t *scene_stop_there(scene_t *scene, gate_t *gate);

/* Writes a pattern to a range of a region, whatever its memory; and looks whether it is there. */
void pattern_write(hmc_region_t *region, uint64_t offset, uint64_t length, uint64_t seed);
bool pattern_is(hmc_region_t *region, uint64_t offset, uint64_t length, uint64_t seed);

uint64_t now_ms(void);
void sleep_ms(unsigned milliseconds);

#define assert_success(call) assert_status((call), HMC_SUCCESS)
#define assert_status(call, wanted) assert_status_at((call), (wanted), #call, __FILE__, __LINE__)
void assert_status_at(hmc_status_t status, hmc_status_t wanted, const char *call, const char *file, int line);
void assert_says(const char *part);

#define TRANSFER_TESTS(X)                                                                                              \
  X(puts_and_gets_of_every_size)                                                                                       \
  X(sides_of_every_kind)                                                                                               \
  X(both_ways_at_once)                                                                                                 \
  X(many_in_flight_are_signalled_sparingly)                                                                            \
  X(blocking_puts_wake_nobody)                                                                                         \
  X(small_puts_go_inline)                                                                                              \
  X(puts_are_seen_when_complete)                                                                                       \
  X(a_software_device_needs_no_flush)                                                                                  \
  X(automatic_type_is_the_fastest)                                                                                     \
  X(chains_are_seen_in_order)                                                                                          \
  X(batches_of_many_pieces)                                                                                            \
  X(pinned_memory_is_bounded)                                                                                          \
  X(memory_that_is_refused_is_staged)                                                                                  \
  X(nothing_goes_inline)                                                                                               \
  X(many_peers)                                                                                                        \
  X(many_that_send_at_once)                                                                                            \
  X(registering_holds_up_nobody)                                                                                       \
  X(a_peer_opens_what_is_being_registered)                                                                             \
  X(checksums)                                                                                                         \
  X(device_memory_by_dmabuf)                                                                                           \
  X(device_memory_is_settled)                                                                                          \
  X(device_memory_that_is_not_reached)                                                                                 \
  X(explain_tells_how)
#define FAULT_TESTS(X)                                                                                                 \
  X(a_path_that_comes_back)                                                                                            \
  X(a_path_that_does_not)                                                                                              \
  X(packets_that_never_get_through)                                                                                    \
  X(no_allowance_to_pin)                                                                                               \
  X(a_port_that_is_down)                                                                                               \
  X(atomics_happen_once)                                                                                               \
  X(notifications_come_once)                                                                                           \
  X(puts_survive_failures)                                                                                             \
  X(staged_transfers_survive_failures)                                                                                 \
  X(a_deadline_takes_it_back)                                                                                          \
  X(devices_tell_of_queue_pairs_that_end)                                                                              \
  X(what_was_taken_back_comes_before_what_follows)                                                                     \
  X(cancel_spares_the_others)                                                                                          \
  X(cancel_of_what_waits)                                                                                              \
  X(a_closed_region_is_stale)                                                                                          \
  X(callbacks_are_told_why)                                                                                            \
  X(a_region_closed_under_fire)                                                                                        \
  X(a_chain_ends_with_its_head)                                                                                        \
  X(closing_with_much_under_way)                                                                                       \
  X(threads_and_failures)                                                                                              \
  X(stopped_peers_take_no_slots_from_others)                                                                           \
  X(hardware_that_keeps_its_queue_holds_up_nobody)
#define RAIL_TESTS(X)                                                                                                  \
  X(rails_share_large_transfers)                                                                                       \
  X(a_near_device_is_taken)                                                                                            \
  X(rails_are_wanted_by_both)                                                                                          \
  X(a_rail_fails_and_comes_back)                                                                                       \
  X(a_rail_that_is_missing_at_first)                                                                                   \
  X(rails_survive_failures)                                                                                            \
  X(rails_keep_the_order_of_chains)                                                                                    \
  X(rails_let_nothing_land_late)                                                                                       \
  X(rails_that_fail_beside_messages)                                                                                   \
  X(rails_that_fail_before_an_answer)                                                                                  \
  X(rails_take_operations_back)                                                                                        \
  X(threads_and_failing_rails)
#define ROUTE_TESTS(X)                                                                                                 \
  X(each_region_by_its_route)                                                                                          \
  X(both_ends_use_it)                                                                                                  \
  X(chains_keep_their_order)                                                                                           \
  X(queues_order_both)                                                                                                 \
  X(a_second_connection_that_fails)                                                                                    \
  X(a_first_connection_that_ends)                                                                                      \
  X(closing_in_any_order)                                                                                              \
  X(without_a_better_route)
#define DECLARE_TEST(name) void name(void **state);
TRANSFER_TESTS(DECLARE_TEST)
FAULT_TESTS(DECLARE_TEST)
RAIL_TESTS(DECLARE_TEST)
ROUTE_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
