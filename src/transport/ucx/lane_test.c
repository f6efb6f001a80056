/* Tests of what goes by lanes, of cancelling it, and of what becomes of it when they break. */
#include "lane.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lane_fixture.h"

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static void a_put_writes_there(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  uint64_t size = REGION - 4097; /* more pieces than there may be at a time */
  paint(&pair->here, 0, REGION);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 4096, size)));
  assert_false(hmci_operation_is_complete(&operation));
  assert_true(hmci_ucx_lane_is_busy(&pair->here.lane));
  assert_int_equal(fake_lanes.write_count, HMCI_UCX_PIECES);
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_false(hmci_ucx_lane_is_busy(&pair->here.lane));
  assert_memory_equal(pair->there.region.base + 4096, pair->here.region.base + 4096, size);
  assert_int_equal(pair->there.region.base[4095], 0);
  assert_int_equal(pair->there.region.base[REGION - 1], 0);
}

static void a_get_reads_there(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  paint(&pair->there, 0, REGION);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_GET, 1, 3 << 20)));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_memory_equal(pair->here.region.base + 1, pair->there.region.base + 1, 3 << 20);
}

/* Devices do not read a few bytes without a copy. */
static void no_piece_is_small(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  uint64_t size = 2 * HMCI_UCX_PIECE + 3;
  paint(&pair->there, 0, REGION);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_GET, 0, size)));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_memory_equal(pair->here.region.base, pair->there.region.base, size);
  assert_int_equal(pair->here.region.base[size], 0);
}

static void segments_go_each_to_its_place(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  hmci_segment_t segments[] = {{0, 1 << 20, 20000}, {500000, 3, 300000}, {60000, 5 << 20, HMCI_UCX_LANE_LEAST}};
  paint(&pair->here, 0, REGION);
  prepare(pair, &operation, HMCI_PUT, 0, 0);
  operation.segments = segments;
  operation.segment_count = 3;
  assert_true(submit(pair, &operation));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  for (int i = 0; i < 3; i++) {
    assert_memory_equal(pair->there.region.base + segments[i].remote, pair->here.region.base + segments[i].local,
                        segments[i].length);
  }
  segments[1].length = HMCI_UCX_LANE_LEAST - 1; /* one that is small is enough */
  prepare(pair, &operation, HMCI_PUT, 0, 0);
  operation.segments = segments;
  operation.segment_count = 3;
  assert_false(submit(pair, &operation));
}

static void a_full_device_is_asked_again(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second;
  fake_lanes.room = 2;
  paint(&pair->here, 0, REGION);
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 2 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_PUT, 2 << 20, 1 << 20)));
  assert_int_equal(fake_lanes.write_count, 2);
  pump(pair);
  expect_end(&first, HMC_SUCCESS);
  expect_end(&second, HMC_SUCCESS);
  assert_memory_equal(pair->there.region.base, pair->here.region.base, 3 << 20);
}

static void the_rest_is_for_the_stream(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, HMCI_UCX_LANE_LEAST - 1)));
  prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)->checksum = true;
  assert_false(submit(pair, &operation));
  assert_false(submit(pair, prepare(pair, &operation, HMCI_ATOMIC, 0, 1 << 20)));
  assert_false(submit(pair, prepare(pair, &operation, HMCI_NOTIFY, 0, 1 << 20)));
  pair->here.ops.host_accessible = false;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  assert_int_equal(fake_lanes.posted, 0);
}

/* Where the owner's device asks for it, a put is through with a read behind it. */
static void a_read_follows_a_put(void **state) {
  pair_t *pair = *state;
  hmci_operation_t put, get;
  pair->there.fabric.devices[0].stores_at_once = false;
  hmci_ucx_lane_remote_close(&pair->here.lane, &pair->remote);
  open_remote(pair);
  fake_lanes.hold = true;
  fake_lanes.room = 4;
  assert_true(submit(pair, prepare(pair, &put, HMCI_PUT, 0, 4 * HMCI_UCX_PIECE)));
  assert_int_equal(fake_lanes.posted, 4);
  fake_lanes.hold = false;
  for (int i = 0; i < 4; i++) poll_half(&pair->here);
  assert_memory_equal(pair->there.region.base, pair->here.region.base, 4 * HMCI_UCX_PIECE);
  assert_false(hmci_operation_is_complete(&put));
  pump(pair);
  expect_end(&put, HMC_SUCCESS);
  assert_int_equal(fake_lanes.reads, 1);
  assert_true(submit(pair, prepare(pair, &get, HMCI_GET, 0, 1 << 20)));
  pump(pair);
  expect_end(&get, HMC_SUCCESS);
  assert_int_equal(fake_lanes.reads, 1);
}

/* ---- arming ------------------------------------------------------------------------------------------------------ */

/* Another thread has the fabric's lock: from when the devices are armed. */
static struct holder {
  pthread_t thread;
  half_t *half;
  _Atomic bool holds, released;
} holder;

static void *hold_fabric(void *argument) {
  (void)argument;
  pthread_mutex_lock(&holder.half->fabric.lock);
  atomic_store(&holder.holds, true);
  while (!atomic_load(&holder.released)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  pthread_mutex_unlock(&holder.half->fabric.lock);
  return NULL;
}

static ucs_status_t arm_beside_holder(ucp_worker_h worker) {
  (void)worker;
  assert_int_equal(pthread_create(&holder.thread, NULL, hold_fabric, NULL), 0);
  while (!atomic_load(&holder.holds)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  return UCS_OK;
}

static ucs_status_t arm_blindly(uct_iface_h interface, unsigned events) {
  (void)interface, (void)events;
  return UCS_OK;
}

static void what_came_before_arming_is_moved(void **state) {
  pair_t *pair = *state;
  half_t *here = &pair->here;
  static hmci_operation_t operation;
  const hmci_ucx_library_t library = here->library;
  holder = (struct holder){.half = here};
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, HMCI_UCX_PIECE)));
  here->library.uct_iface_event_arm = arm_blindly;
  here->library.ucp_worker_arm = arm_beside_holder;
  bool armed = false;
  pthread_mutex_lock(&here->worker.lock);
  for (int i = 0; i < 4 && !armed; i++) armed = hmci_ucx_worker_arm(&here->worker);
  here->library = library;
  pthread_mutex_unlock(&here->worker.lock);
  atomic_store(&holder.released, true);
  pthread_join(holder.thread, NULL);
  assert_true(armed);
  expect_end(&operation, HMC_SUCCESS);
}

/* ---- breaking ---------------------------------------------------------------------------------------------------- */

/* The owner's device refuses, and all that was in progress goes in messages once both ends are gone. */
static void what_broke_goes_in_messages(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second, third;
  hmci_ucx_lane_forget(&pair->there.lane, &pair->there.region);
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_GET, 0, 10 << 20))); /* of which some has to wait */
  assert_true(submit(pair, prepare(pair, &third, HMCI_PUT, 0, 1 << 20)));
  fake_lanes.hold = false;
  pump(pair);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_NONE);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_READY);
  assert_int_equal(fake_lanes.write_count, 0);
  assert_true(hmci_ucx_lane_is_busy(&pair->here.lane)); /* it waits for the peer's word */
  await(&pair->here.go_on, 1);
  assert_int_equal(atomic_load(&pair->here.instead), 0);
  go_on(pair, &pair->here, 1);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_NONE);
  await(&pair->here.instead, 3);
  expect_end(&first, HMC_STALE);
  expect_end(&second, HMC_STALE);
  expect_end(&third, HMC_STALE);
  assert_false(hmci_ucx_lane_is_busy(&pair->here.lane));
  assert_false(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
}

static void a_failed_connection_ends_all(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second;
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 10 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_GET, 0, 1 << 20)));
  hmci_ucx_lane_fail(&pair->here.lane, HMC_PEER_LOST);
  expect_end(&first, HMC_PEER_LOST);
  expect_end(&second, HMC_PEER_LOST);
  assert_int_equal(fake_lanes.write_count, 0);
  assert_false(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
  offer(pair);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_ENDED);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

static void a_cancel_waits_for_its_pieces(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second, other;
  fake_lanes.room = 6;
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_PUT, 0, 8 << 20))); /* begun */
  assert_true(submit(pair, prepare(pair, &other, HMCI_PUT, 0, 1 << 20)));
  assert_false(cancel(pair, &(hmci_operation_t){.kind = HMCI_PUT}));
  assert_true(cancel(pair, &second));
  expect_end(&second, HMC_CANCELLED);
  int posted = fake_lanes.posted;
  assert_true(posted < 16);
  pump(pair);
  expect_end(&first, HMC_SUCCESS);
  expect_end(&other, HMC_SUCCESS);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_READY);
}

static int ends;

static void count_end(hmci_operation_t *operation) {
  (void)operation;
  ends++;
}

static void a_cancelled_operation_ends_once(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)->completed = count_end;
  ends = 0;
  assert_true(submit(pair, &operation));
  assert_true(cancel(pair, &operation)); /* all is posted: its pieces end meanwhile */
  expect_end(&operation, HMC_CANCELLED);
  assert_int_equal(ends, 1);
}

/* A device that does not come to an end has to let go. */
static void a_cancel_comes_to_an_end(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, other;
  fake_lanes.hold = true;
  pair->here.lane.patience = 1000000;
  assert_true(submit(pair, prepare(pair, &first, HMCI_GET, 0, 1 << 20)));
  assert_true(submit(pair, prepare(pair, &other, HMCI_GET, 0, 1 << 20)));
  assert_true(cancel(pair, &first));
  expect_end(&first, HMC_CANCELLED);
  assert_int_equal(fake_lanes.write_count, 0);
  go_on(pair, &pair->here, 1);
  await(&pair->here.instead, 1); /* the other one */
  expect_end(&other, HMC_STALE);
}

static ssize_t send_word(half_t *half) {
  static uint64_t word = 5;
  struct iovec part = {&word, sizeof word};
  return half->pipe->base.send(&half->pipe->base, &part, 1);
}

/* Packets of a put that is taken back may still be on their way, and must not land on what the stream brings after it. */
static void a_put_taken_back_holds_the_stream(void **state) {
  pair_t *pair = *state;
  hmci_operation_t put;
  fake_lanes.hold = true;
  pair->here.lane.patience = 1000000;
  assert_true(submit(pair, prepare(pair, &put, HMCI_PUT, 0, 1 << 20)));
  assert_true(cancel(pair, &put));
  expect_end(&put, HMC_CANCELLED);
  assert_int_equal(send_word(&pair->here), -1);
  assert_int_equal(errno, EAGAIN);
  assert_false(submit(pair, prepare(pair, &put, HMCI_PUT, 0, 1 << 20)));
  assert_false(hmci_ucx_pipe_calls_for_reader(pair->here.pipe));
  go_on(pair, &pair->here, 1); /* both ends are gone */
  assert_true(hmci_ucx_pipe_calls_for_reader(pair->here.pipe));
  assert_int_equal(send_word(&pair->here), sizeof(uint64_t));
  assert_int_equal(send_word(&pair->there), sizeof(uint64_t));
}

/* The lane broke by itself, and waits for the peer's word when the put is cancelled. */
static void a_put_cancelled_while_parting_holds_the_stream(void **state) {
  pair_t *pair = *state;
  hmci_operation_t put;
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &put, HMCI_PUT, 0, 1 << 20)));
  pthread_mutex_lock(&pair->here.fabric.lock);
  hmci_ucx_lane_lose(&pair->here.lane);
  pthread_mutex_unlock(&pair->here.fabric.lock);
  assert_int_equal(send_word(&pair->here), sizeof(uint64_t)); /* nothing has ended yet that it could follow on */
  assert_true(cancel(pair, &put));
  expect_end(&put, HMC_CANCELLED);
  assert_int_equal(send_word(&pair->here), -1);
  go_on(pair, &pair->here, 1);
  assert_int_equal(send_word(&pair->here), sizeof(uint64_t));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LANE_TEST(a_put_writes_there),
      LANE_TEST(a_get_reads_there),
      LANE_TEST(no_piece_is_small),
      LANE_TEST(segments_go_each_to_its_place),
      LANE_TEST(a_full_device_is_asked_again),
      LANE_TEST(the_rest_is_for_the_stream),
      LANE_TEST(a_read_follows_a_put),
      LANE_TEST(what_came_before_arming_is_moved),
      LANE_TEST(what_broke_goes_in_messages),
      LANE_TEST(a_failed_connection_ends_all),
      LANE_TEST(a_cancel_waits_for_its_pieces),
      LANE_TEST(a_cancelled_operation_ends_once),
      LANE_TEST(a_cancel_comes_to_an_end),
      LANE_TEST(a_put_taken_back_holds_the_stream),
      LANE_TEST(a_put_cancelled_while_parting_holds_the_stream),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
