/* The fault suite: bad input, peers that die or stop, intruders, and what is left behind. Stamped with a transport.
 *
 * Time limits are part of what is tested; SLACK_MS on top of them is what a busy machine may add. */
#ifndef TESTS_FAULTS_SUITE_H
#define TESTS_FAULTS_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>

enum { OLD = 0x11, NEW = 0x22, REFILL = 0xee };

/* The transport of this run. `direct`: puts and gets need nothing from the target's process, not even that it runs; the
 * regions are registered where that makes them go the other way. `maps`: they are copies by the calling thread, too. */
extern struct fault_stamp {
  hmc_memory_t memory; /* of the targets */
  hmc_connection_type_t type;
  bool registered, direct, maps;
} stamp;

/* More than moves in the time that a test leaves it, and no more: each test registers three of them. */
#define REGION_SIZE ((SANITIZED ? 12 : 24) * MIB)
static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

/* A target, this side's connection to it, and its region "region" in its place 0. */
typedef struct side {
  target_t target;
  uint16_t port;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
} side_t;

/* What each test starts with. `bystander` is another target, whom nothing may disturb. */
typedef struct scene {
  const struct test_case *test;
  hmc_context_t *context;
  test_buffer_t local; /* REGION_SIZE */
  side_t subject, bystander;
  pthread_t traffic; /* exchanges with the bystander, see traffic_start */
  _Atomic bool traffic_stop;
  bool traffic_runs;
  _Atomic uint64_t traffic_rounds;
  hmc_status_t traffic_status;
  hmc_remote_t *traffic_remote;
  char traffic_text[256];
  test_buffer_t traffic_local;
} scene_t;

/* Starts a target that listens on `port` (0: any) and has the region. Asserts. */
void side_start(side_t *side, uint16_t port, uint64_t size, const char *const *variables);
/* Connects and opens. Asserts. */
void side_join(scene_t *scene, side_t *side);
/* Kills the target and forgets the connection. */
void side_drop(side_t *side);

/* Runs exchanges with `remote` in a thread of its own until traffic_end, which asserts that there were some and all
 * were right. */
#define TRAFFIC_ROOM (64 * KIB)
void traffic_start(scene_t *scene, hmc_remote_t *remote);
void traffic_end(scene_t *scene);

/* SIGSTOP, and waits until the process stands; SIGCONT. Asserts. */
void side_stop(side_t *side);
void side_continue(side_t *side);

void side_fill(side_t *side, uint64_t length, uint8_t value);
uint64_t side_others(side_t *side, uint64_t length, uint8_t one, uint8_t two);

/* Asserts that `since` (now_ms) lies at least `least` and at most `most` + SLACK_MS milliseconds back. */
void assert_took(uint64_t since, uint64_t least, uint64_t most);

/* Asserts that a peer becomes HMC_PEER_GONE within a second. */
void assert_gone(hmc_peer_t *peer);

/* Asserts that hmc_last_error() has a text. */
#define assert_text() assert_string_not_equal(hmc_last_error(), "")

#define BAD_INPUT_TESTS(X)                                                                                             \
  X(ranges_are_checked)                                                                                                \
  X(nulls_are_refused)                                                                                                 \
  X(bad_regions_are_refused)                                                                                           \
  X(bad_settings_are_refused)
#define ADDRESS_TESTS(X)                                                                                               \
  X(port_taken)                                                                                                        \
  X(nobody_listens)                                                                                                    \
  X(addresses_are_bracketed)                                                                                           \
  X(bad_address)                                                                                                       \
  X(listener_never_answers)                                                                                            \
  X(listener_answers_nonsense)
#define LOST_TESTS(X)                                                                                                  \
  X(target_killed_during_puts)                                                                                         \
  X(target_killed_during_gets)                                                                                         \
  X(target_killed_during_batches)                                                                                      \
  X(target_killed_with_many_in_flight)                                                                                 \
  X(target_killed_wakes_everyone)                                                                                      \
  X(initiator_killed_during_puts)                                                                                      \
  X(initiator_killed_during_gets)                                                                                      \
  X(target_hangs_up)                                                                                                   \
  X(target_restarts_on_its_port)
#define STOPPED_TESTS(X)                                                                                               \
  X(stopped_put_times_out)                                                                                             \
  X(stopped_get_times_out)                                                                                             \
  X(stopped_put_is_cancelled)                                                                                          \
  X(stopped_get_is_cancelled)                                                                                          \
  X(stopped_waits_of_all_kinds_end)                                                                                    \
  X(stopped_peer_does_not_hold_a_start)                                                                                \
  X(stopped_blocking_call_times_out)                                                                                   \
  X(stopped_blocking_put_ends_when_asked)                                                                              \
  X(stopped_blocking_get_ends_when_asked)                                                                              \
  X(stopped_polling_times_out)                                                                                         \
  X(stopped_peer_opens_nothing)                                                                                        \
  X(stopped_initiator_does_not_hold_a_region)                                                                          \
  X(destroyed_with_requests_outstanding)
#define INTRUDER_TESTS(X)                                                                                              \
  X(garbage_on_the_port)                                                                                               \
  X(half_open_connections)
#define SECRET_TESTS(X)                                                                                                \
  X(wrong_secret)                                                                                                      \
  X(same_secret_in_settings)                                                                                           \
  X(insecure_and_secure)                                                                                               \
  X(secret_file)                                                                                                       \
  X(secret_made_on_first_use)
#define LEFTOVER_TESTS(X)                                                                                              \
  X(forked_child)                                                                                                      \
  X(nothing_left_by_contexts)                                                                                          \
  X(nothing_in_dev_shm)                                                                                                \
  X(nothing_inherited_by_programs)                                                                                     \
  X(nothing_on_stdout)
#define ALL_TESTS(X)                                                                                                   \
  BAD_INPUT_TESTS(X)                                                                                                   \
  ADDRESS_TESTS(X) LOST_TESTS(X) STOPPED_TESTS(X) INTRUDER_TESTS(X) SECRET_TESTS(X) LEFTOVER_TESTS(X)

#define DECLARE_TEST(name) void name(void **state);
ALL_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
