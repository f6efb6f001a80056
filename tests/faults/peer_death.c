/* Peers that die: the survivor learns it at once, long before any deadline, whatever it was doing, and goes on with the
 * others. */
#include "suite.h"

#include <signal.h>
#include <string.h>

/* Kills a process in a moment, from a thread, and notes when. */
typedef struct killer {
  pthread_t thread;
  pid_t process;
  uint64_t after_ms;
  uint64_t when; /* read after the thread is joined */
} killer_t;

static void *kill_soon(void *argument) {
  killer_t *killer = argument;
  sleep_ms(killer->after_ms);
  killer->when = now_ms();
  if (killer->process > 1) kill(killer->process, SIGKILL);
  return NULL;
}

static void killer_start(killer_t *killer, pid_t process, uint64_t after_ms) {
  *killer = (killer_t){.process = process, .after_ms = after_ms};
  assert_int_equal(pthread_create(&killer->thread, NULL, kill_soon, killer), 0);
}

/* After the subject's death: its handles say so, the bystander does not notice. */
static void expect_lost(scene_t *scene) {
  side_t *subject = &scene->subject;
  hmc_remote_t *none = NULL;
  hmc_request_t *request = NULL;
  assert_gone(subject->peer);
  uint64_t start = now_ms();
  assert_status(hmc_put(scene->local.region, 0, subject->remote, 0, 4096), HMC_PEER_LOST);
  assert_error_has_number(subject->port);
  assert_status(hmc_get(scene->local.region, 0, subject->remote, 0, 4096), HMC_PEER_LOST);
  hmc_status_t status = hmc_get_nb(scene->local.region, 0, subject->remote, 0, 4096, NULL, &request);
  if (status == HMC_SUCCESS) status = hmc_request_wait(request);
  assert_status(status, HMC_PEER_LOST);
  hmc_request_free(request);
  assert_status(hmc_remote_open(subject->peer, "region", 0, &none), HMC_PEER_LOST);
  assert_null(none);
  assert_took(start, 0, 0);
  hmc_remote_close(subject->remote);
  side_drop(subject);
  assert_success(exchange(&scene->local, 0, scene->bystander.remote, 0, TRAFFIC_ROOM, 5, 1));
}

/* ---- the target dies --------------------------------------------------------------------------------------------- */

typedef hmc_status_t move_t(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                            uint64_t length);

/* Lengths from a few bytes to 4 MiB, so that death comes at any stage of a transfer. */
static void move_until_lost(scene_t *scene, move_t *move, uint64_t length) {
  killer_t killer;
  traffic_start(scene, scene->bystander.remote);
  killer_start(&killer, scene->subject.target.process, 30);
  hmc_status_t status;
  do status = move(scene->local.region, 0, scene->subject.remote, 0, length);
  while (status == HMC_SUCCESS);
  uint64_t ended = now_ms();
  pthread_join(killer.thread, NULL);
  assert_status(status, HMC_PEER_LOST);
  assert_text();
  assert_true(ended + 1 >= killer.when && ended - killer.when < SLACK_MS);
  traffic_end(scene);
  expect_lost(scene);
}

static void target_killed_during(scene_t *scene, move_t *move) {
  static const uint64_t lengths[] = {8, 70000, 4 * MIB, REGION_SIZE};
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    if (i > 0) {
      side_start(&scene->subject, 0, REGION_SIZE, NULL);
      side_join(scene, &scene->subject);
    }
    move_until_lost(scene, move, lengths[i]);
  }
}

void target_killed_during_puts(void **state) { target_killed_during(*state, hmc_put); }
void target_killed_during_gets(void **state) { target_killed_during(*state, hmc_get); }

#define PIECES 64u
#define STARTS 8u

/* Each with bytes of its own: where memory is mapped, several threads of this process copy at a time. */
static void prepare_batches(scene_t *scene, hmc_batch_t *batches[STARTS]) {
  hmc_segment_t pieces[PIECES];
  for (uint64_t start = 0; start < STARTS; start++) {
    for (uint64_t i = 0; i < PIECES; i++) {
      uint64_t place = start * PIECES + i;
      pieces[i] = (hmc_segment_t){place * 9000, place * 12000, 8000};
    }
    assert_success(hmc_batch_create(scene->local.region, scene->subject.remote, pieces, PIECES, &batches[start]));
  }
}

/* Prepared batches are started again and again, several at once, until the peer is gone; what is refused then and what
 * ends says so, and the batches can be freed. */
void target_killed_during_batches(void **state) {
  scene_t *scene = *state;
  hmc_batch_t *batches[STARTS];
  hmc_status_t status = HMC_SUCCESS;
  killer_t killer;
  prepare_batches(scene, batches);
  traffic_start(scene, scene->bystander.remote);
  killer_start(&killer, scene->subject.target.process, 30);
  uint64_t limit = now_ms() + PATIENCE_MS;
  while (status == HMC_SUCCESS && now_ms() < limit) {
    hmc_request_t *requests[STARTS] = {NULL};
    for (size_t i = 0; i < STARTS && status == HMC_SUCCESS; i++)
      status =
          i % 2 ? hmc_batch_put_nb(batches[i], NULL, &requests[i]) : hmc_batch_get_nb(batches[i], NULL, &requests[i]);
    hmc_status_t ended = hmc_request_wait_all(requests, STARTS);
    if (status == HMC_SUCCESS) status = ended;
    if (ended != HMC_SUCCESS) assert_status(ended, HMC_PEER_LOST);
    for (size_t i = 0; i < STARTS; i++) hmc_request_free(requests[i]);
  }
  pthread_join(killer.thread, NULL);
  assert_status(status, HMC_PEER_LOST);
  assert_gone(scene->subject.peer);
  assert_status(hmc_batch_put(batches[0]), HMC_PEER_LOST);
  assert_error_has_number(PIECES * 8000);
  for (size_t i = 0; i < STARTS; i++) hmc_batch_free(batches[i]);
  traffic_end(scene);
  expect_lost(scene);
}

#define IN_FLIGHT 64u
#define PIECE (REGION_SIZE / 96)

static hmc_status_t launch(scene_t *scene, uint64_t number, hmc_request_t **request) {
  uint64_t offset = number % (REGION_SIZE / PIECE) * PIECE;
  hmc_region_t *local = scene->local.region;
  return number % 2 ? hmc_put_nb(local, offset, scene->subject.remote, offset, PIECE, NULL, request)
                    : hmc_get_nb(local, offset, scene->subject.remote, offset, PIECE, NULL, request);
}

/* Keeps many requests in flight until the peer's death shows, then looks how all of them ended. */
void target_killed_with_many_in_flight(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[IN_FLIGHT] = {NULL};
  hmc_status_t status = HMC_SUCCESS;
  killer_t killer;
  traffic_start(scene, scene->bystander.remote);
  killer_start(&killer, scene->subject.target.process, 40);
  uint64_t limit = now_ms() + PATIENCE_MS;
  for (uint64_t i = 0; status == HMC_SUCCESS && now_ms() < limit; i++) {
    hmc_request_t **request = &requests[i % IN_FLIGHT];
    if (*request) status = hmc_request_wait(*request);
    hmc_request_free(*request);
    *request = NULL;
    if (status == HMC_SUCCESS) status = launch(scene, i, request);
  }
  assert_status(status, HMC_PEER_LOST);
  pthread_join(killer.thread, NULL);
  for (size_t i = 0; i < IN_FLIGHT; i++) {
    if (!requests[i]) continue;
    status = hmc_request_wait(requests[i]);
    if (status != HMC_SUCCESS) assert_status(status, HMC_PEER_LOST);
    assert_int_equal(hmc_request_cancel(requests[i]), status);
    hmc_request_free(requests[i]);
  }
  assert_took(killer.when, 0, 0);
  traffic_end(scene);
  expect_lost(scene);
}

typedef struct told {
  _Atomic unsigned count, lost;
} told_t;

static void on_end(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request;
  told_t *told = user;
  if (status == HMC_PEER_LOST) atomic_fetch_add(&told->lost, 1);
  atomic_fetch_add(&told->count, 1);
}

/* A callback comes for those too that ended because the peer died, and waiters of every kind are woken. */
void target_killed_wakes_everyone(void **state) {
  scene_t *scene = *state;
  const uint64_t size = 4 * PIECE;
  hmc_request_t *requests[16] = {NULL};
  told_t told = {0};
  killer_t killer;
  size_t index, started = 0;
  const hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .callback = on_end, .user = &told};
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 1, 1));
  side_stop(&scene->subject);
  for (; started < COUNT_OF(requests); started++)
    assert_success(
        hmc_put_nb(scene->local.region, 0, scene->subject.remote, started * size, size, &options, &requests[started]));
  killer_start(&killer, scene->subject.target.process, 30);
  hmc_status_t any = hmc_request_wait_any(requests, started, &index), all = hmc_request_wait_all(requests, started);
  assert_success(hmc_peer_flush(scene->subject.peer, 0));
  pthread_join(killer.thread, NULL);
  assert_took(killer.when, 0, 0);
  for (int i = 0; i < 20000 && atomic_load(&told.count) < started; i++) sleep_ms(1);
  assert_int_equal(atomic_load(&told.count), started);
  unsigned lost = atomic_load(&told.lost); /* an adapter, or a copy here, has done some or all of them by then */
  assert_in_range(lost, stamp.direct ? 0 : started, started);
  assert_status(all, lost ? HMC_PEER_LOST : HMC_SUCCESS);
  if (lost == 0 || lost == started) assert_status(any, all);
  for (size_t i = 0; i < started; i++) hmc_request_free(requests[i]);
  expect_lost(scene);
}

/* ---- the initiator dies ------------------------------------------------------------------------------------------ */

/* Makes the target of `side` connect here and open "prey". */
static void become_prey(scene_t *scene, side_t *side, uint16_t port, hmc_peer_t **accepted) {
  command_t dial = {.verb = VERB_CONNECT, .text = "127.0.0.1", .value = port, .type = stamp.type};
  target_do(&side->target, dial);
  assert_success(hmc_context_accept(scene->context, 0, accepted));
  target_do(&side->target, (command_t){.verb = VERB_REMOTE_OPEN, .text = "prey"});
}

/* Waits until something has arrived. */
static void await_bytes(const test_buffer_t *place) {
  uint64_t limit = now_ms() + PATIENCE_MS, bytes = 0;
  while (bytes == 0 && now_ms() < limit) {
    sleep_ms(1);
    shared_begin();
    bytes = bytes_other(place, 0, 4096, 0, 0);
    shared_end();
  }
}

static void initiator_killed_during(scene_t *scene, verb_t verb) {
  test_buffer_t prey;
  uint16_t port = 0;
  hmc_peer_t *accepted = NULL, *other = NULL;
  hmc_remote_t *none = NULL;
  assert_success(test_buffer_open(&prey, scene->context, cpu, REGION_SIZE, "prey", HMC_REMOTE_ALL, true));
  assert_success(hmc_context_listen(scene->context, "127.0.0.1", 0, &port));
  become_prey(scene, &scene->subject, port, &accepted);
  side_fill(&scene->subject, REGION_SIZE, NEW);
  traffic_start(scene, scene->bystander.remote);
  target_send(&scene->subject.target, &(command_t){.verb = verb, .length = 5 * MIB + 1, .value = UINT64_MAX});
  if (verb == VERB_PUT) await_bytes(&prey);
  sleep_ms(60);
  kill(scene->subject.target.process, SIGKILL);
  assert_gone(accepted);
  assert_status(hmc_remote_open(accepted, "region", 0, &none), HMC_PEER_LOST);
  traffic_end(scene);

  become_prey(scene, &scene->bystander, port, &other); /* another initiator is served */
  command_t move = {
      .verb = VERB_EXCHANGE, .offset = 4 * MIB, .length = TRAFFIC_ROOM, .remote_offset = 8 * MIB, .value = 10};
  target_do(&scene->bystander.target, move);

  test_buffer_withdraw(&prey); /* what came before the death is whole bytes of the dead one's, and nothing else */
  assert_int_equal(bytes_other(&prey, 0, 8 * MIB, 0, NEW), 0);
  assert_true((bytes_other(&prey, 0, 8 * MIB, 0, 0) > 0) == (verb == VERB_PUT));
  assert_int_equal(bytes_other(&prey, 5 * MIB + 1, 3 * MIB - 1, 0, 0), 0);
  expect_lost(scene);
  test_buffer_close(&prey);
}

void initiator_killed_during_puts(void **state) { initiator_killed_during(*state, VERB_PUT); }
void initiator_killed_during_gets(void **state) { initiator_killed_during(*state, VERB_GET); }

/* ---- other ends -------------------------------------------------------------------------------------------------- */

void target_hangs_up(void **state) {
  scene_t *scene = *state;
  target_do(&scene->subject.target, (command_t){.verb = VERB_ACCEPT, .slot = 3});
  target_do(&scene->subject.target, (command_t){.verb = VERB_PEER_CLOSE, .slot = 3});
  assert_gone(scene->subject.peer);
  assert_status(hmc_put(scene->local.region, 0, scene->subject.remote, 0, 64), HMC_PEER_LOST);
  hmc_peer_close(scene->subject.peer);
  side_join(scene, &scene->subject);
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 5, 1));
}

void target_restarts_on_its_port(void **state) {
  scene_t *scene = *state;
  hmc_peer_info_t former = HMC_PEER_INFO_INIT, now = HMC_PEER_INFO_INIT;
  uint16_t port = scene->subject.port;
  side_t successor;
  assert_success(hmc_peer_get_info(scene->subject.peer, &former));
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 5, 1));
  target_kill(&scene->subject.target);
  side_start(&successor, port, REGION_SIZE, NULL);
  side_fill(&successor, REGION_SIZE, OLD);
  assert_int_equal(successor.port, port);
  side_join(scene, &successor);
  bytes_fill(&scene->local, 0, 4096, NEW);
  assert_status(hmc_put(scene->local.region, 0, scene->subject.remote, 0, 4096), HMC_PEER_LOST);
  assert_int_equal(side_others(&successor, REGION_SIZE, OLD, OLD), 0);
  expect_lost(scene);
  assert_success(hmc_peer_get_info(successor.peer, &now));
  assert_true(now.incarnation != former.incarnation);
  assert_int_equal(now.process, successor.target.process);
  assert_success(exchange(&scene->local, 0, successor.remote, 0, TRAFFIC_ROOM, 5, 2));
  scene->subject = successor;
}
