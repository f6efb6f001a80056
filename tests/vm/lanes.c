/* What type ucx does by its lanes, the RDMA of src/transport/ucx/lane.h: that large blocks go by them, and what becomes
 * of operations when a region closes under them, when they are cancelled, and when the peer stops or dies. Runs in the
 * virtual machine only. This side is on rxe1, where nobody else sends anything, so that its counters are ours, and the
 * target on rxe0: they are as fast as the cable lets them be, and some tests make it slow to find work in progress.
 *
 *   lanes [PATTERN]      tests by name, with * and ? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define ROOM (12 * MIB) /* of this side's memory and of the target's, in place 0 */
enum { OLD = 0x11, NEW = 0x22, SOURCE = 0x33, REFILL = 0xee };

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
static hmc_connection_type_t type;
static _Atomic uint64_t broken; /* lanes, as the log tells */

typedef struct scene {
  target_t target;
  hmc_context_t *context;
  test_buffer_t local;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
} scene_t;

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static void on_log(hmc_log_level_t level, const char *text, void *user) {
  (void)user;
  if (strstr(text, "connection of rc_verbs/rxe1") && strstr(text, " broke")) atomic_fetch_add(&broken, 1);
  if (level <= HMC_LOG_ERROR) fprintf(stderr, "%s\n", text);
}

/* Messages that this side has sent; RDMA writes and reads do not count as such. */
static uint64_t messages_sent(void) {
  unsigned long long number = 0;
  sleep_ms(20); /* the kernel gives a number that is up to 12 ms old */
  FILE *file = fopen("/sys/class/infiniband/rxe1/ports/1/hw_counters/rdma_sends", "re");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%llu", &number), 1);
  fclose(file);
  return number;
}

static void await_lane(scene_t *scene) {
  char text[2048];
  uint64_t limit = now_ms() + PATIENCE_MS;
  for (;;) {
    assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
    if (strstr(text, "by RDMA of rc_verbs/rxe1:1")) return;
    if (now_ms() > limit) fail_msg("%s", text);
    sleep_ms(20);
  }
}

static void place_at_target(scene_t *scene, uint32_t slot, const char *name, hmc_remote_t **remote) {
  command_t command = {.verb = VERB_PLACE, .slot = slot, .memory = cpu, .length = ROOM, .rights = HMC_REMOTE_ALL};
  command.registered = true;
  snprintf(command.text, sizeof command.text, "%s", name);
  target_do(&scene->target, command);
  assert_success(hmc_remote_open(scene->peer, name, 0, remote));
}

static void target_fill(scene_t *scene, uint32_t slot, uint64_t offset, uint64_t length, uint8_t value) {
  command_t command = {.verb = VERB_BYTES_FILL, .slot = slot, .offset = offset, .length = length, .value = value};
  target_do(&scene->target, command);
}

static uint64_t target_others(scene_t *scene, uint32_t slot, uint64_t offset, uint64_t length, uint8_t one,
                              uint8_t two) {
  command_t command = {.verb = VERB_BYTES_OTHER, .slot = slot, .offset = offset, .length = length};
  command.value = (uint64_t)two << 8 | one;
  return target_do(&scene->target, command);
}

static void target_frame(scene_t *scene, uint64_t offset, uint64_t length, uint64_t seed) {
  command_t command = {.verb = VERB_FRAME_WRITE, .offset = offset, .length = length, .value = seed};
  target_do(&scene->target, command);
}

static int open_scene(void **state, bool dial) {
  static scene_t scene;
  uint16_t port = 0;
  scene = (scene_t){.peer = NULL};
  *state = &scene;
  crash_handlers_set();
  watch("lanes", 100);
  target_start(&scene.target, (const char *const[]){"UCX_NET_DEVICES", "lo,rxe0:1", NULL});
  target_do(&scene.target, (command_t){.verb = VERB_CREATE, .timeout_ms = PATIENCE_MS});
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "near", PATIENCE_MS}, &scene.context));
  if (dial) {
    port = (uint16_t)target_do(&scene.target, (command_t){.verb = VERB_LISTEN, .text = "127.0.0.1"});
    assert_success(hmc_context_connect(scene.context, "127.0.0.1", port, type, 0, &scene.peer));
  } else {
    assert_success(hmc_context_listen(scene.context, "127.0.0.1", 0, &port));
    target_do(&scene.target, (command_t){.verb = VERB_CONNECT, .text = "127.0.0.1", .value = port, .type = type});
    assert_success(hmc_context_accept(scene.context, 0, &scene.peer));
  }
  await_lane(&scene);
  assert_success(test_buffer_open(&scene.local, scene.context, cpu, ROOM, NULL, 0, true));
  place_at_target(&scene, 0, "far", &scene.remote);
  return 0;
}

static int open_dialling(void **state) { return open_scene(state, true); }
static int open_accepting(void **state) { return open_scene(state, false); }

/* 25 MB/s from here to the target. */
static int open_slow(void **state, bool dial) {
  if (system("tc qdisc add dev v1 root netem rate 200mbit") != 0) return -1;
  return open_scene(state, dial);
}

static int open_dialling_slow(void **state) { return open_slow(state, true); }
static int open_accepting_slow(void **state) { return open_slow(state, false); }

/* A thread that waits polls until the operation is over, also while the lane breaks: without it most sleep by then. */
static int open_polling(void **state) {
  setenv("HMC_SPIN", "300ms", 1);
  int result = open_scene(state, true);
  unsetenv("HMC_SPIN");
  return result;
}

static int close_scene(void **state) {
  scene_t *scene = *state;
  test_buffer_close(&scene->local);
  hmc_context_destroy(scene->context);
  bool ended = target_finish(&scene->target);
  target_kill_all();
  watch_end();
  return ended ? 0 : -1;
}

static int close_slow(void **state) {
  int result = close_scene(state);
  return system("tc qdisc del dev v1 root") == 0 ? result : -1;
}

/* Puts a block, gets it back to another place, and looks at both. */
static void there_and_back(scene_t *scene, uint64_t offset, uint64_t length, uint64_t seed) {
  uint64_t back = ROOM / 2 + FRAME_GUARD;
  target_frame(scene, offset, length, ~seed);
  frame_write(&scene->local, 3 * FRAME_GUARD, length, seed);
  assert_success(hmc_put(scene->local.region, 3 * FRAME_GUARD, scene->remote, offset, length));
  target_check_frame(&scene->target, 0, offset, length, seed);
  frame_write(&scene->local, back, length, ~seed);
  assert_success(hmc_get(scene->local.region, back, scene->remote, offset, length));
  assert_true(frame_check(&scene->local, back, length, seed) == PATTERN_SAME);
}

/* The lane, which may just have broken, carries again. */
static void expect_lane(scene_t *scene) {
  await_lane(scene);
  uint64_t before = messages_sent();
  there_and_back(scene, 1001, MIB, before);
  assert_in_range(messages_sent() - before, 0, 9);
}

static void stop_target(scene_t *scene) {
  int status = 0;
  assert_int_equal(kill(scene->target.process, SIGSTOP), 0);
  assert_int_equal(waitpid(scene->target.process, &status, WUNTRACED), scene->target.process);
  assert_true(WIFSTOPPED(status));
}

/* ---- what goes by it --------------------------------------------------------------------------------------------- */

static void large_blocks_need_no_messages(void **state) {
  scene_t *scene = *state;
  char text[2048];
  assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
  if (!strstr(text, "by RDMA write and read")) fail_msg("%s", text);
  uint64_t before = messages_sent();
  there_and_back(scene, 4099, 5 * MIB + 13, 1);
  there_and_back(scene, FRAME_GUARD, 16 * KIB, 2);
  assert_in_range(messages_sent() - before, 0, 9);
  there_and_back(scene, FRAME_GUARD, 16 * KIB - 1, 3);
  assert_in_range(messages_sent() - before, 3, 40); /* the counter counts */
}

static void batches_go_the_same_way(void **state) {
  scene_t *scene = *state;
  enum { SEGMENTS = 5 };
  hmc_segment_t segments[SEGMENTS];
  for (uint64_t i = 0; i < SEGMENTS; i++) {
    segments[i] = (hmc_segment_t){(2 * i + 1) * 600000 + i, (SEGMENTS - i) * 700001, 16 * KIB + i * 150001};
    target_frame(scene, segments[i].remote_offset, segments[i].length, 1);
    frame_write(&scene->local, segments[i].local_offset, segments[i].length, 10 + i);
  }
  hmc_batch_t *batch = NULL;
  assert_success(hmc_batch_create(scene->local.region, scene->remote, segments, SEGMENTS, &batch));
  uint64_t before = messages_sent();
  assert_success(hmc_batch_put(batch));
  for (uint64_t i = 0; i < SEGMENTS; i++) {
    target_check_frame(&scene->target, 0, segments[i].remote_offset, segments[i].length, 10 + i);
    frame_write(&scene->local, segments[i].local_offset, segments[i].length, 1);
  }
  assert_success(hmc_batch_get(batch));
  for (uint64_t i = 0; i < SEGMENTS; i++)
    assert_true(frame_check(&scene->local, segments[i].local_offset, segments[i].length, 10 + i) == PATTERN_SAME);
  assert_in_range(messages_sent() - before, 0, 9);
  hmc_batch_free(batch);
}

typedef struct mover {
  pthread_t thread;
  scene_t *scene;
  uint64_t number;
  hmc_remote_t *doomed;
  hmc_status_t status;
  _Atomic bool over;
} mover_t;

/* Blocks of nearly 1 MiB, in a part of either side's memory that nobody else uses. */
static void *move_blocks(void *argument) {
  mover_t *mover = argument;
  const test_buffer_t *local = &mover->scene->local;
  hmc_remote_t *remote = mover->scene->remote;
  uint64_t there = mover->number * MIB + FRAME_GUARD, back = there + 2 * MIB;
  for (uint64_t round = 0; round < 10 && mover->status == HMC_SUCCESS; round++) {
    uint64_t length = MIB - 2 * FRAME_GUARD - 40001 * round, seed = mover->number << 32 | round;
    frame_write(local, there, length, seed);
    frame_write(local, back, length, ~seed);
    mover->status = hmc_put(local->region, there, remote, there, length);
    if (mover->status == HMC_SUCCESS) mover->status = hmc_get(local->region, back, remote, there, length);
    if (mover->status == HMC_SUCCESS && frame_check(local, back, length, seed) != PATTERN_SAME)
      mover->status = HMC_CORRUPT;
  }
  return NULL;
}

static void threads_share_it(void **state) {
  scene_t *scene = *state;
  mover_t movers[2];
  uint64_t word = 0, rounds = 0, start = messages_sent();
  target_fill(scene, 0, 5 * MIB, 8, 0);
  for (uint64_t i = 0; i < COUNT_OF(movers); i++) {
    movers[i] = (mover_t){.scene = scene, .number = i};
    assert_int_equal(pthread_create(&movers[i].thread, NULL, move_blocks, &movers[i]), 0);
  }
  hmc_status_t status = HMC_SUCCESS;
  for (; rounds < 30 && status == HMC_SUCCESS; rounds++) {
    status = hmc_atomic(scene->remote, 5 * MIB, HMC_ATOMIC_ADD, 8, 3, 0, NULL);
    if (status == HMC_SUCCESS) status = exchange(&scene->local, 6 * MIB, scene->remote, 6 * MIB, 8 * KIB, 1, rounds);
  }
  for (size_t i = 0; i < COUNT_OF(movers); i++) pthread_join(movers[i].thread, NULL);
  for (size_t i = 0; i < COUNT_OF(movers); i++) assert_status(movers[i].status, HMC_SUCCESS);
  assert_success(status);
  assert_success(hmc_get(scene->local.region, 8 * MIB, scene->remote, 5 * MIB, 8));
  test_buffer_load(&scene->local, 8 * MIB, &word, sizeof word);
  assert_int_equal(word, 3 * rounds);
  assert_in_range(messages_sent() - start, 2 * rounds, 40 * rounds); /* 30 blocks of 1 MiB would be thousands */
}

/* ---- a region that closes ---------------------------------------------------------------------------------------- */

enum { TO_DOOMED, FROM_DOOMED, TO_OTHER, FROM_OTHER, WAYS, BLOCKS = 3 };
#define BLOCK MIB
#define GROUP (BLOCKS * BLOCK) /* of this side's memory for each way; the target has one to write and one to read */

/* Block i of one way. At the target what is put lies in the first group of a region, and what is got in the second. */
static hmc_status_t start_block(scene_t *scene, int way, uint64_t i, hmc_remote_t *remote, hmc_request_t **request) {
  uint64_t local = (uint64_t)way * GROUP + i * BLOCK;
  return way == TO_DOOMED || way == TO_OTHER
             ? hmc_put_nb(scene->local.region, local, remote, i * BLOCK, BLOCK, NULL, request)
             : hmc_get_nb(scene->local.region, local, remote, GROUP + i * BLOCK, BLOCK, NULL, request);
}

/* An operation that says that it has moved its bytes has; and only those with the region that closed may say no. */
static void check_block(scene_t *scene, int way, uint64_t i, hmc_status_t status) {
  bool doomed = way == TO_DOOMED || way == FROM_DOOMED, put = way == TO_DOOMED || way == TO_OTHER;
  if (!doomed || status != HMC_STALE) assert_status(status, HMC_SUCCESS);
  if (status != HMC_SUCCESS) return;
  uint64_t others = put ? target_others(scene, doomed, i * BLOCK, BLOCK, NEW, NEW)
                        : bytes_other(&scene->local, (uint64_t)way * GROUP + i * BLOCK, BLOCK, SOURCE, SOURCE);
  assert_int_equal(others, 0);
}

static void close_under_way(scene_t *scene, uint64_t after) {
  hmc_request_t *requests[WAYS][BLOCKS] = {{NULL}};
  hmc_status_t results[WAYS][BLOCKS];
  hmc_remote_t *doomed = NULL;
  place_at_target(scene, 1, "doomed", &doomed);
  for (uint32_t slot = 0; slot < 2; slot++) {
    target_fill(scene, slot, 0, GROUP, OLD);
    target_fill(scene, slot, GROUP, GROUP, SOURCE);
  }
  bytes_fill(&scene->local, 0, WAYS * GROUP, OLD);
  bytes_fill(&scene->local, TO_DOOMED * GROUP, GROUP, NEW);
  bytes_fill(&scene->local, TO_OTHER * GROUP, GROUP, NEW);
  for (uint64_t i = 0; i < BLOCKS; i++) {
    if (i == after) target_send(&scene->target, &(command_t){.verb = VERB_WITHDRAW, .slot = 1});
    for (int way = 0; way < WAYS; way++)
      results[way][i] = start_block(scene, way, i, way < TO_OTHER ? doomed : scene->remote, &requests[way][i]);
  }
  for (uint64_t i = 0; i < BLOCKS; i++) {
    for (int way = 0; way < WAYS; way++) {
      if (requests[way][i]) results[way][i] = hmc_request_wait(requests[way][i]);
      hmc_request_free(requests[way][i]);
    }
  }
  assert_int_equal(target_receive(&scene->target).status, HMC_SUCCESS);
  for (uint64_t i = 0; i < BLOCKS; i++) {
    for (int way = 0; way < WAYS; way++) check_block(scene, way, i, results[way][i]);
  }
  there_and_back(scene, 1001, BLOCK + 1, 7); /* by whatever way there is now */
  assert_status(hmc_put(scene->local.region, 0, doomed, 0, BLOCK), HMC_STALE);
  hmc_remote_close(doomed);
  target_do(&scene->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 1});
}

/* Whether the device meets a block in progress when the region closes is chance: until it has done so twice. */
static void a_region_closes_under_way(void **state) {
  scene_t *scene = *state;
  uint64_t before = atomic_load(&broken);
  for (uint64_t round = 0; round < 20 && atomic_load(&broken) < before + 2; round++) {
    close_under_way(scene, round % 2);
    expect_lane(scene);
  }
  assert_in_range(atomic_load(&broken), before + 2, before + 40);
}

static void a_region_of_who_has_dialled_closes(void **state) { a_region_closes_under_way(state); }

static void *put_until_it_fails(void *argument) {
  mover_t *mover = argument;
  while (mover->status == HMC_SUCCESS) mover->status = hmc_put(mover->scene->local.region, 0, mover->doomed, 0, GROUP);
  return NULL;
}

/* What a lane gives back is more than goes in messages at once; the thread that waits has to send the rest. */
static void a_region_closes_under_a_thread_that_polls(void **state) {
  scene_t *scene = *state;
  uint64_t before = atomic_load(&broken);
  for (uint64_t round = 0; round < 20 && atomic_load(&broken) == before; round++) {
    mover_t mover = {.scene = scene};
    place_at_target(scene, 1, "doomed", &mover.doomed);
    assert_int_equal(pthread_create(&mover.thread, NULL, put_until_it_fails, &mover), 0);
    sleep_ms(100 + 20 * round);
    target_do(&scene->target, (command_t){.verb = VERB_WITHDRAW, .slot = 1});
    uint64_t closed = now_ms();
    pthread_join(mover.thread, NULL);
    assert_status(mover.status, HMC_STALE);
    assert_in_range(now_ms() - closed, 0, PATIENCE_MS / 2);
    hmc_remote_close(mover.doomed);
    target_do(&scene->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 1});
    await_lane(scene);
  }
  assert_in_range(atomic_load(&broken), before + 1, before + 20);
}

static void put_in_callback(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request;
  mover_t *mover = user;
  mover->status = status;
  while (mover->number && mover->status == HMC_SUCCESS) {
    hmc_request_t *put = NULL;
    size_t index;
    mover->status = hmc_put_nb(mover->scene->local.region, 0, mover->doomed, 0, GROUP, NULL, &put);
    if (mover->status == HMC_SUCCESS) mover->status = hmc_request_wait_any(&put, 1, &index);
    hmc_request_free(put);
  }
  put_until_it_fails(mover);
  atomic_store(&mover->over, true);
}

/* The thread that would give the operation to the messages is the one that waits for it. */
static void close_under_callback(scene_t *scene, bool by_request) {
  uint64_t before = atomic_load(&broken);
  for (uint64_t round = 0; round < 20 && atomic_load(&broken) == before; round++) {
    mover_t mover = {.scene = scene, .number = by_request};
    hmc_request_t *request = NULL;
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .callback = put_in_callback, .user = &mover};
    place_at_target(scene, 1, "doomed", &mover.doomed);
    assert_success(hmc_put_nb(scene->local.region, 0, scene->remote, 0, 64, &options, &request));
    sleep_ms(100 + 20 * round);
    target_do(&scene->target, (command_t){.verb = VERB_WITHDRAW, .slot = 1});
    uint64_t closed = now_ms();
    while (!atomic_load(&mover.over) && now_ms() - closed < 2 * PATIENCE_MS) sleep_ms(1);
    assert_status(mover.status, HMC_STALE);
    assert_in_range(now_ms() - closed, 0, PATIENCE_MS / 2);
    hmc_request_free(request);
    hmc_remote_close(mover.doomed);
    target_do(&scene->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 1});
    await_lane(scene);
  }
  assert_in_range(atomic_load(&broken), before + 1, before + 20);
}

static void a_region_closes_under_a_callback(void **state) {
  close_under_callback(*state, false);
  close_under_callback(*state, true);
}

/* ---- cancel ------------------------------------------------------------------------------------------------------ */

/* Gives the number of those that were cancelled. The last one has more pieces than go at a time, so that its end is
 * still to come when it has started; and it is cancelled first. */
static uint64_t cancel_puts(scene_t *scene) {
  static const uint64_t ends[] = {0, MIB, 2 * MIB, ROOM};
  enum { PUTS = COUNT_OF(ends) - 1 };
  hmc_request_t *requests[PUTS];
  hmc_status_t results[PUTS];
  uint64_t cancelled = 0;
  target_fill(scene, 0, 0, ROOM, OLD);
  bytes_fill(&scene->local, 0, ROOM, NEW);
  for (size_t i = 0; i < PUTS; i++) {
    uint64_t length = ends[i + 1] - ends[i];
    assert_success(hmc_put_nb(scene->local.region, ends[i], scene->remote, ends[i], length, NULL, &requests[i]));
  }
  for (size_t i = PUTS; i-- > 0;) {
    results[i] = hmc_request_cancel(requests[i]);
    bytes_fill(&scene->local, ends[i], ends[i + 1] - ends[i], REFILL);
    if (results[i] != HMC_SUCCESS) assert_status(results[i], HMC_CANCELLED);
    cancelled += results[i] != HMC_SUCCESS;
    hmc_request_free(requests[i]);
  }
  bytes_fill(&scene->local, 0, 64 * KIB, NEW);
  assert_success(hmc_put(scene->local.region, 0, scene->remote, 0, 64 * KIB)); /* nothing of before comes later */
  for (size_t i = 0; i < PUTS; i++) {
    uint8_t other = results[i] == HMC_SUCCESS ? NEW : OLD;
    assert_int_equal(target_others(scene, 0, ends[i], ends[i + 1] - ends[i], other, NEW), 0);
  }
  return cancelled;
}

static void cancelled_puts_leave_the_memory_alone(void **state) {
  scene_t *scene = *state;
  uint64_t cancelled = 0;
  for (int round = 0; round < 20 && cancelled < 4; round++) cancelled += cancel_puts(scene);
  assert_in_range(cancelled, 4, 20 * 3);
  expect_lane(scene);
}

/* ---- a peer that does not run ------------------------------------------------------------------------------------ */

static void start_puts(scene_t *scene, uint64_t from, uint64_t to, hmc_request_t **requests) {
  for (uint64_t i = from; i < to; i++)
    assert_success(hmc_put_nb(scene->local.region, i * MIB, scene->remote, i * MIB, MIB, NULL, &requests[i]));
}

static void a_stopped_peer_is_written_to(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[8];
  uint64_t before = messages_sent(), back = 9 * MIB;
  target_frame(scene, 0, 8 * MIB, 1);
  frame_write(&scene->local, 0, 8 * MIB, 2);
  start_puts(scene, 0, 4, requests);
  stop_target(scene);
  start_puts(scene, 4, 8, requests);
  for (size_t i = 0; i < COUNT_OF(requests); i++) {
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
  }
  assert_success(hmc_get(scene->local.region, back, scene->remote, 5 * MIB, MIB));
  const uint8_t *local = hmc_region_pointer(scene->local.region);
  assert_memory_equal(local + back, local + 5 * MIB, MIB);
  assert_in_range(messages_sent() - before, 0, 9);
  assert_int_equal(kill(scene->target.process, SIGCONT), 0);
  target_check_frame(&scene->target, 0, 0, 8 * MIB, 2);
  expect_lane(scene);
}

/* A put that went as a message was taken back while the target stood still: it comes before the one that follows, which
 * the device could do by itself. */
static void what_was_taken_back_comes_before_what_follows(void **state) {
  scene_t *scene = *state;
  hmc_request_t *late = NULL, *next = NULL;
  target_fill(scene, 0, 0, MIB, OLD);
  bytes_fill(&scene->local, 0, MIB, SOURCE);
  stop_target(scene);
  assert_success(hmc_put_nb(scene->local.region, 0, scene->remote, 0, 8 * KIB, NULL, &late));
  sleep_ms(200);
  assert_status(hmc_request_cancel(late), HMC_CANCELLED);
  bytes_fill(&scene->local, 0, MIB, NEW);
  assert_success(hmc_put_nb(scene->local.region, 0, scene->remote, 0, 64 * KIB, NULL, &next));
  sleep_ms(200);
  assert_int_equal(kill(scene->target.process, SIGCONT), 0);
  assert_success(hmc_request_wait(next));
  assert_success(hmc_atomic(scene->remote, 2 * MIB, HMC_ATOMIC_ADD, 8, 1, 0, NULL)); /* behind all of it */
  assert_int_equal(target_others(scene, 0, 0, 64 * KIB, NEW, NEW), 0);
  hmc_request_free(late);
  hmc_request_free(next);
  expect_lane(scene);
}

static void a_killed_peer_is_lost(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[ROOM / MIB];
  start_puts(scene, 0, COUNT_OF(requests), requests);
  target_kill(&scene->target);
  uint64_t killed = now_ms();
  for (size_t i = 0; i < COUNT_OF(requests); i++) {
    hmc_status_t status = hmc_request_wait(requests[i]);
    if (status != HMC_SUCCESS) assert_status(status, HMC_PEER_LOST);
    hmc_request_free(requests[i]);
  }
  assert_status(hmc_put(scene->local.region, 0, scene->remote, 0, MIB), HMC_PEER_LOST);
  assert_in_range(now_ms() - killed, 0, SLACK_MS); /* as in tests/faults */
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  if (!transport_parse("ucx-rc", &type)) return 2;
  setenv("UCX_NET_DEVICES", "lo,rxe1:1", 1);
  setenv("HMC_LOG", "error", 1); /* what goes wrong here is meant to */
  hmc_log_set_callback(on_log, NULL);
  hmc_log_set_level(HMC_LOG_INFO);
  if (argc == 2) cmocka_set_test_filter(argv[1]);
#define TEST_CASE(name, open) cmocka_unit_test_setup_teardown(name, open, close_scene)
#define SLOW_TEST_CASE(name, open) cmocka_unit_test_setup_teardown(name, open##_slow, close_slow)
  const struct CMUnitTest tests[] = {
      TEST_CASE(large_blocks_need_no_messages, open_dialling),
      TEST_CASE(batches_go_the_same_way, open_accepting),
      TEST_CASE(threads_share_it, open_dialling),
      SLOW_TEST_CASE(a_region_closes_under_way, open_dialling),
      SLOW_TEST_CASE(a_region_of_who_has_dialled_closes, open_accepting),
      TEST_CASE(a_region_closes_under_a_thread_that_polls, open_polling),
      TEST_CASE(a_region_closes_under_a_callback, open_dialling),
      SLOW_TEST_CASE(cancelled_puts_leave_the_memory_alone, open_dialling),
      SLOW_TEST_CASE(a_stopped_peer_is_written_to, open_dialling),
      TEST_CASE(what_was_taken_back_comes_before_what_follows, open_dialling),
      SLOW_TEST_CASE(a_killed_peer_is_lost, open_dialling),
  };
  return cmocka_run_group_tests_name("vm.lanes", tests, NULL, NULL) == 0 ? 0 : 1;
}
