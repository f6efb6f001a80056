/* Tests of making lanes, at first and again, and of the keys of regions. */
#include "lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lane_fixture.h"

/* ---- making a lane ----------------------------------------------------------------------------------------------- */

static void both_halves_are_ready(void **state) {
  pair_t *pair = *state;
  char text[HMCI_UCX_LANE_TEXT];
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_READY);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_READY);
  assert_true(pair->here.lane.answered);
  hmci_ucx_lane_explain(&pair->there.lane, text, sizeof text);
  assert_non_null(strstr(text, "RDMA of rc_verbs/fake0:1"));
}

static void expect_none(pair_t *pair, const char *reason) {
  char text[HMCI_UCX_LANE_TEXT];
  hmci_operation_t operation;
  offer(pair);
  assert_true(pair->here.lane.answered);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_NONE);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_NONE);
  hmci_ucx_lane_explain(&pair->here.lane, text, sizeof text);
  assert_non_null(strstr(text, reason));
  open_remote(pair);
  assert_false(hmci_ucx_lane_has_keys(&pair->there.lane));
  assert_null(pair->remote.device);
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, REGION)));
}

static void no_lane_without_a_device(void **state) {
  pair_t *pair = *state;
  snprintf(pair->here.pipe->way, sizeof pair->here.pipe->way, "tcp/eth0");
  expect_none(pair, "tcp/eth0 has no remote access in hardware");
}

static void no_lane_where_the_peer_has_none(void **state) {
  pair_t *pair = *state;
  pair->there.library.has_lanes = false;
  expect_none(pair, "the peer has none");
}

static void no_lane_between_releases(void **state) {
  pair_t *pair = *state;
  pair->there.library.minor = 14;
  expect_none(pair, "the peer has none");
}

static void no_lane_out_of_reach(void **state) {
  fake_lanes.unreachable = true;
  expect_none(*state, "the peer has none");
}

/* ---- making it again --------------------------------------------------------------------------------------------- */

/* As a device finds it. */
static void break_at(half_t *half) {
  pthread_mutex_lock(&half->fabric.lock);
  hmci_ucx_lane_lose(&half->lane);
  pthread_mutex_unlock(&half->fabric.lock);
}

static void expect_use(pair_t *pair) {
  hmci_operation_t operation;
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_READY);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_READY);
  paint(&pair->here, 0, 1 << 20);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_memory_equal(pair->there.region.base, pair->here.region.base, 1 << 20);
}

static void a_lane_is_made_anew(void **state) {
  pair_t *pair = *state;
  break_at(&pair->here);
  go_on(pair, &pair->here, 1); /* says so */
  go_on(pair, &pair->here, 2); /* offers */
  expect_use(pair);
}

/* The end that has not dialled breaks. */
static void a_lane_lost_there_is_made_anew(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  break_at(&pair->there);
  go_on(pair, &pair->there, 1);
  fake_lanes.hold = false;
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_NONE);
  await(&pair->here.instead, 1); /* at once, for the other end was gone before */
  expect_end(&operation, HMC_STALE);
  go_on(pair, &pair->here, 1);
  expect_use(pair);
}

/* Both ends break, and say so at the same time. */
static void a_lane_lost_at_both_ends_is_made_anew(void **state) {
  pair_t *pair = *state;
  break_at(&pair->here);
  break_at(&pair->there);
  await(&pair->here.go_on, 1);
  await(&pair->there.go_on, 1);
  half_t *halves[] = {&pair->here, &pair->there};
  for (int i = 0; i < 2; i++) {
    pthread_mutex_lock(&halves[i]->worker.lock);
    hmci_ucx_lane_go_on(&halves[i]->lane, halves[i]->pipe);
    pthread_mutex_unlock(&halves[i]->worker.lock);
  }
  pump(pair);
  go_on(pair, &pair->here, 2);
  expect_use(pair);
}

/* What is said of a former lane does nothing to this one. */
static void an_old_loss_is_none(void **state) {
  pair_t *pair = *state;
  half_t *there = &pair->there;
  static const hmci_ucx_type_t types[] = {HMCI_UCX_LOST, HMCI_UCX_GONE, HMCI_UCX_READY};
  for (int i = 0; i < 3; i++) {
    pthread_mutex_lock(&there->worker.lock);
    hmci_ucx_pipe_tell(there->pipe, types[i], 0, NULL, 0);
    pthread_mutex_unlock(&there->worker.lock);
  }
  pump(pair);
  expect_use(pair);
}

/* ---- registrations ----------------------------------------------------------------------------------------------- */

static void a_region_is_registered_once(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  assert_int_equal(fake_lanes.registered, 1); /* there's, by its export */
  for (int i = 0; i < 3; i++) {
    assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
    pump(pair);
  }
  assert_int_equal(fake_lanes.registered, 2);
  hmci_ucx_lane_forget(&pair->here.lane, &pair->here.region);
  assert_int_equal(fake_lanes.registered, 1);
}

static struct watch {
  pair_t *pair;
  pthread_t thread;
  int calls, held;
  _Atomic bool ended;
  hmci_operation_t other;
} watch;

static void look_at_lock(void) {
  pthread_mutex_t *lock = &watch.pair->here.fabric.lock;
  watch.calls++;
  if (pthread_mutex_trylock(lock)) {
    watch.held++;
  } else {
    pthread_mutex_unlock(lock);
  }
}

static void nothing_is_registered_under_the_lock(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  watch = (struct watch){.pair = pair};
  fake_lanes.memory = look_at_lock;
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  pump(pair);
  hmci_ucx_lane_forget(&pair->here.lane, &pair->here.region);
  fake_lanes.memory = NULL;
  assert_int_equal(watch.calls, 2);
  assert_int_equal(watch.held, 0);
}

static void *close_region(void *argument) {
  hmci_ucx_lane_forget(&watch.pair->here.lane, &watch.pair->here.region);
  atomic_store(&watch.ended, true);
  return argument;
}

static void *submit_other(void *argument) {
  assert_true(submit(watch.pair, prepare(watch.pair, &watch.other, HMCI_PUT, 1 << 20, 1 << 20)));
  atomic_store(&watch.ended, true);
  return argument;
}

/* What another thread does to the region while it is being registered: it waits. */
static void *(*meanwhile)(void *argument);

static void start_other(void) {
  fake_lanes.memory = NULL;
  assert_int_equal(pthread_create(&watch.thread, NULL, meanwhile, NULL), 0);
  nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  assert_false(atomic_load(&watch.ended));
}

static void register_beside(pair_t *pair, hmci_operation_t *operation, void *(*other)(void *argument)) {
  watch = (struct watch){.pair = pair};
  meanwhile = other;
  fake_lanes.memory = start_other;
  assert_true(submit(pair, prepare(pair, operation, HMCI_PUT, 0, 1 << 20)));
  pthread_join(watch.thread, NULL);
  pump(pair);
  expect_end(operation, HMC_SUCCESS);
}

static void a_region_that_closes_waits_for_its_registration(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  register_beside(pair, &operation, close_region);
  assert_int_equal(fake_lanes.registered, 1); /* there's */
  assert_int_equal(pair->here.fabric.pinned, 0);
}

static void two_that_need_a_region_register_it_once(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  register_beside(pair, &operation, submit_other);
  expect_end(&watch.other, HMC_SUCCESS);
  assert_int_equal(fake_lanes.registered, 2);
}

static void *lose_lane(void *argument) {
  pthread_mutex_lock(&watch.pair->here.fabric.lock);
  hmci_ucx_lane_lose(&watch.pair->here.lane);
  pthread_mutex_unlock(&watch.pair->here.fabric.lock);
  return argument;
}

/* The lane breaks while the memory is being registered. */
static void break_meanwhile(void) {
  fake_lanes.memory = NULL;
  assert_int_equal(pthread_create(&watch.thread, NULL, lose_lane, NULL), 0);
  pthread_join(watch.thread, NULL);
}

static void a_lane_lost_meanwhile_takes_nothing(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  watch = (struct watch){.pair = pair};
  fake_lanes.memory = break_meanwhile;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  assert_int_equal(fake_lanes.posted, 0);
}

static void memory_that_is_refused_goes_in_messages(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  fake_lanes.refuse = true;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  fake_lanes.refuse = false;
  assert_false(submit(pair, &operation)); /* not asked again */
}

static void the_ceiling_holds(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  pair->here.settings.verbs_pinned_max = REGION - 1;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
}

/* UCX's keys let peers read and write. */
static void only_what_may_be_written_gets_a_key(void **state) {
  pair_t *pair = *state;
  hmci_blob_t key = {.size = 77};
  pair->there.region.rights = HMC_REMOTE_READ;
  hmci_ucx_lane_export(&pair->there.lane, &pair->there.region, &key);
  assert_int_equal(key.size, 0);
}

/* A region that is opened while there is no lane goes by the next one. */
static void keys_are_for_the_next_lane_too(void **state) {
  pair_t *pair = *state;
  break_at(&pair->here);
  go_on(pair, &pair->here, 1);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_NONE);
  assert_true(hmci_ucx_lane_has_keys(&pair->there.lane)); /* so the peer hears of regions that close meanwhile */
  hmci_ucx_lane_remote_close(&pair->here.lane, &pair->remote);
  open_remote(pair);
  go_on(pair, &pair->here, 2);
  expect_use(pair);
}

static void a_malformed_key_is_refused(void **state) {
  pair_t *pair = *state;
  hmci_ucx_remote_t remote = {0};
  hmci_blob_t key = {0};
  hmci_ucx_lane_export(&pair->there.lane, &pair->there.region, &key);
  assert_int_equal(key.size, 24);
  key.size--;
  assert_int_equal(hmci_ucx_lane_remote_open(&pair->here.lane, &remote, &pair->view, &key), HMC_CORRUPT);
  key.size += 2;
  assert_int_equal(hmci_ucx_lane_remote_open(&pair->here.lane, &remote, &pair->view, &key), HMC_CORRUPT);
}

static void a_closed_region_is_known(void **state) {
  pair_t *pair = *state;
  half_t *there = &pair->there;
  pthread_mutex_lock(&there->worker.lock);
  hmci_ucx_pipe_tell(there->pipe, HMCI_UCX_REVOKED, 3ull << 32 | 8, NULL, 0); /* an older one */
  pthread_mutex_unlock(&there->worker.lock);
  pump(pair);
  assert_int_equal(atomic_load(&pair->remote.generation), 9);
  pthread_mutex_lock(&there->worker.lock);
  hmci_ucx_pipe_tell(there->pipe, HMCI_UCX_REVOKED, 3ull << 32 | 9, NULL, 0);
  pthread_mutex_unlock(&there->worker.lock);
  pump(pair);
  assert_int_equal(atomic_load(&pair->remote.generation), 0);
}

/* The device might never say that it has refused a piece. */
static void a_region_that_closes_under_way_ends_the_lane(void **state) {
  pair_t *pair = *state;
  half_t *here = &pair->here, *there = &pair->there;
  hmci_operation_t operation, late;
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  pthread_mutex_lock(&there->worker.lock);
  hmci_ucx_pipe_tell(there->pipe, HMCI_UCX_REVOKED, 3ull << 32 | 9, NULL, 0);
  pthread_mutex_unlock(&there->worker.lock);
  pump(pair);
  assert_int_equal(state_of(here), HMCI_UCX_LANE_NONE);
  assert_true(hmci_ucx_lane_is_busy(&here->lane)); /* or nobody would hear that the other end is gone */
  go_on(pair, here, 1);
  await(&here->instead, 1);
  expect_end(&operation, HMC_STALE);
  assert_false(hmci_ucx_lane_is_busy(&here->lane));
  fake_lanes.hold = false;
  go_on(pair, here, 2);
  assert_int_equal(state_of(here), HMCI_UCX_LANE_READY);
  assert_false(submit(pair, prepare(pair, &late, HMCI_PUT, 0, 1 << 20)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LANE_TEST(both_halves_are_ready),
      PAIR_TEST(no_lane_without_a_device),
      PAIR_TEST(no_lane_where_the_peer_has_none),
      PAIR_TEST(no_lane_between_releases),
      PAIR_TEST(no_lane_out_of_reach),
      LANE_TEST(a_region_is_registered_once),
      LANE_TEST(nothing_is_registered_under_the_lock),
      LANE_TEST(a_region_that_closes_waits_for_its_registration),
      LANE_TEST(two_that_need_a_region_register_it_once),
      LANE_TEST(a_lane_lost_meanwhile_takes_nothing),
      LANE_TEST(memory_that_is_refused_goes_in_messages),
      LANE_TEST(the_ceiling_holds),
      LANE_TEST(only_what_may_be_written_gets_a_key),
      LANE_TEST(keys_are_for_the_next_lane_too),
      LANE_TEST(a_malformed_key_is_refused),
      LANE_TEST(a_closed_region_is_known),
      LANE_TEST(a_region_that_closes_under_way_ends_the_lane),
      LANE_TEST(a_lane_is_made_anew),
      LANE_TEST(a_lane_lost_there_is_made_anew),
      LANE_TEST(a_lane_lost_at_both_ends_is_made_anew),
      LANE_TEST(an_old_loss_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
