/* Several at once: threads, directions, contexts; and the order that one process may rely on: complete means visible.
 */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- threads ----------------------------------------------------------------------------------------------------- */

#define THREADS 8u
#define THREAD_ROOM (128 * KIB)

typedef struct worker {
  pthread_t thread;
  const test_buffer_t *local;
  hmc_remote_t *remote;
  uint64_t number, rounds;
  hmc_status_t status;
} worker_t;

static void *work(void *argument) {
  worker_t *worker = argument;
  worker->status = exchange(worker->local, 2 * worker->number * THREAD_ROOM, worker->remote,
                            worker->number * THREAD_ROOM, THREAD_ROOM, worker->rounds, worker->number << 40);
  return NULL;
}

void many_threads(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *remote = remote_make(pair, "threads", (there_t){.size = THREADS * THREAD_ROOM});
  test_buffer_t local = local_make(pair, 2 * THREADS * THREAD_ROOM, false);
  worker_t workers[THREADS];
  for (uint64_t i = 0; i < THREADS; i++) {
    workers[i] = (worker_t){.local = &local, .remote = remote, .number = i, .rounds = SANITIZED ? 20 : 80};
    assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (size_t i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
  for (size_t i = 0; i < THREADS; i++) assert_status(workers[i].status, HMC_SUCCESS);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- visibility -------------------------------------------------------------------------------------------------- */

static void show_round(const test_buffer_t *local, hmc_remote_t *remote, hmc_control_t *control, uint64_t round) {
  uint64_t words[VISIBLE_BLOCK / 8], length = visible_length(round);
  for (uint64_t i = 0; i < length / 8; i++) words[i] = round;
  test_buffer_store(local, 0, words, length);
  assert_success(hmc_put(local->region, 0, remote, round % VISIBLE_BURST * VISIBLE_BLOCK, length));
  assert_success(hmc_control_send_u64(control, 1, round, 0));
}

void visible_when_complete(void **state) {
  pair_t *pair = *state;
  const bool slow = SANITIZED && stamp.type == HMC_CONNECTION_UCX;
  const uint64_t rounds = stamp_is_plain() && !slow ? (SANITIZED ? 10000 : 100000) : (SANITIZED ? 2000 : 5000);
  hmc_remote_t *remote = remote_make(pair, "visible", (there_t){.size = VISIBLE_BURST * VISIBLE_BLOCK});
  test_buffer_t local = local_make(pair, VISIBLE_BLOCK, false);
  hmc_control_t *control = NULL;
  assert_success(hmc_control_create(&control));
  command_t command = {.verb = VERB_VISIBLE, .value = rounds};
  assert_success(hmc_control_uds_path(environment_home(), 0, command.text, sizeof command.text));
  assert_success(hmc_control_listen(control, NULL, 0, command.text, NULL));
  target_send(&pair->target, &command);
  for (uint64_t round = 1; round <= rounds; round++) {
    show_round(&local, remote, control, round);
    uint64_t stale = 0;
    if (round % VISIBLE_BURST == 0 || round == rounds) assert_success(hmc_control_receive_u64(control, 1, &stale, 0));
    assert_int_equal(stale, 0);
  }
  answer_t answer = target_receive(&pair->target);
  assert_int_equal(answer.status, HMC_SUCCESS);
  assert_int_equal(answer.value, 0);
  hmc_control_destroy(control);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- both directions --------------------------------------------------------------------------------------------- */

#define BOTH_ROOM (256 * KIB)

/* The target's peer in slot 0 leads here. Both ends exchange with each other's region at the same time. */
static void exchange_both_ways(pair_t *pair, hmc_peer_t *forth) {
  test_buffer_t here, local = local_make(pair, 2 * BOTH_ROOM, false);
  assert_success(test_buffer_open(&here, pair->context, stamp.local, BOTH_ROOM, "here", HMC_REMOTE_ALL, false));
  command_t place = {
      .verb = VERB_PLACE, .memory = stamp.remote, .length = BOTH_ROOM, .rights = HMC_REMOTE_ALL, .text = "there"};
  target_do(&pair->target, place);
  target_do(&pair->target, (command_t){.verb = VERB_PLACE, .slot = 1, .memory = stamp.remote, .length = 2 * BOTH_ROOM});
  target_do(&pair->target, (command_t){.verb = VERB_REMOTE_OPEN, .text = "here"});
  hmc_remote_t *remote = NULL;
  assert_success(hmc_remote_open(forth, "there", 0, &remote));

  uint64_t rounds = SANITIZED ? 40 : 150;
  target_send(&pair->target, &(command_t){.verb = VERB_EXCHANGE, .slot = 1, .length = BOTH_ROOM, .value = rounds});
  hmc_status_t status = exchange(&local, 0, remote, 0, BOTH_ROOM, rounds, 5);
  answer_t answer = target_receive(&pair->target);
  assert_status(status, HMC_SUCCESS);
  if (answer.status != HMC_SUCCESS)
    fail_msg("the target's exchange: %s: %s", hmc_status_name(answer.status), answer.text);

  target_do(&pair->target, (command_t){.verb = VERB_REMOTE_CLOSE});
  hmc_remote_close(remote);
  test_buffer_close(&here);
  test_buffer_close(&local);
}

void both_directions_on_one_connection(void **state) {
  pair_t *pair = *state;
  target_do(&pair->target, (command_t){.verb = VERB_ACCEPT});
  exchange_both_ways(pair, pair->peer);
}

void both_directions_on_two_connections(void **state) {
  pair_t *pair = *state;
  uint16_t port = 0;
  assert_success(hmc_context_listen(pair->context, "127.0.0.1", 0, &port));
  assert_int_not_equal(port, 0);
  target_do(&pair->target, (command_t){.verb = VERB_CONNECT, .text = "127.0.0.1", .value = port, .type = stamp.type});
  exchange_both_ways(pair, pair->peer);
  hmc_peer_t *back = NULL; /* the accepted end of the second connection carries as well */
  assert_success(hmc_context_accept(pair->context, 0, &back));
  target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 0});
  target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 1});
  exchange_both_ways(pair, back);
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

void two_contexts_in_one_process(void **state) {
  pair_t *pair = *state;
  hmc_context_t *other = NULL;
  uint16_t port = 0;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *inside = NULL, *outside = remote_make(pair, "same name", (there_t){.size = BOTH_ROOM});
  assert_success(hmc_context_create(NULL, &other));
  assert_success(hmc_context_listen(other, "127.0.0.1", 0, &port));
  test_buffer_t there, local = local_make(pair, 2 * BOTH_ROOM, false);
  assert_success(test_buffer_open(&there, other, stamp.remote, BOTH_ROOM, "same name", HMC_REMOTE_ALL, false));
  assert_success(hmc_context_connect(pair->context, "127.0.0.1", port, stamp.type, 0, &peer));
  assert_success(hmc_remote_open(peer, "same name", 0, &inside));

  assert_success(exchange(&local, 0, inside, 0, BOTH_ROOM, 20, 1));
  target_write_frame(pair, 0, FRAME_GUARD, 5000, 1);
  shared_begin();
  frame_write(&there, FRAME_GUARD, 5000, 2);
  shared_end();
  frame_write(&local, FRAME_GUARD, 5000, 3);
  assert_success(hmc_put(local.region, FRAME_GUARD, inside, FRAME_GUARD, 5000));
  assert_true(frame_check(&there, FRAME_GUARD, 5000, 3) == PATTERN_SAME);
  target_check_frame(&pair->target, 0, FRAME_GUARD, 5000, 1);
  assert_success(hmc_get(local.region, FRAME_GUARD, outside, FRAME_GUARD, 5000));
  assert_true(frame_check(&local, FRAME_GUARD, 5000, 1) == PATTERN_SAME);

  hmc_request_t *request = NULL; /* a region of one context is not a local side for a peer of the other */
  assert_status(hmc_put(there.region, 0, inside, 0, 8), HMC_INVALID_CONFIG);
  assert_status(hmc_get_nb(there.region, 0, outside, 0, 8, NULL, &request), HMC_INVALID_CONFIG);
  assert_null(request);

  test_buffer_close(&there);
  hmc_context_destroy(other);
  assert_success(exchange(&local, 0, outside, 0, BOTH_ROOM, 5, 1));
  assert_int_not_equal(hmc_put(local.region, 0, inside, 0, 8), HMC_SUCCESS);
  hmc_remote_close(inside);
  hmc_remote_close(outside);
  test_buffer_close(&local);
}

/* ---- idling ------------------------------------------------------------------------------------------------------ */

static uint64_t processor_us(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

void idle_uses_no_processor(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *remote = remote_make(pair, "idle", (there_t){.size = BOTH_ROOM});
  test_buffer_t local = local_make(pair, 2 * BOTH_ROOM, false);
  assert_success(exchange(&local, 0, remote, 0, BOTH_ROOM, 5, 1));
  sleep_ms(20);
  const uint64_t quiet_ms = 300, most_us = SANITIZED ? 60000 : 15000;
  uint64_t target_us, own_us, limit = now_ms() + PATIENCE_MS; /* a busy machine is late with what follows traffic */
  do {
    uint64_t before = processor_us();
    target_us = target_do(&pair->target, (command_t){.verb = VERB_CPU_TIME, .value = quiet_ms});
    own_us = processor_us() - before;
  } while ((target_us > most_us || own_us > most_us) && now_ms() < limit);
  if (target_us > most_us || own_us > most_us)
    fail_msg("idle for %d ms: %d us of processor time here, %d us at the target", (int)quiet_ms, (int)own_us,
             (int)target_us);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}
