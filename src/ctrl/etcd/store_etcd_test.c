/* Tests of the store over etcd where etcd fails in the middle of something (tests/etcd has those with a real one). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fake_etcd_fixture.h"

#include <hmc/state.h>
#include <hmc/store.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000 };

static char address[64];

static int set_up(void **state) {
  (void)state;
  hmc_log_set_level(HMC_LOG_NONE);
  fake_start();
  snprintf(address, sizeof(address), "etcd://127.0.0.1:%u/x", fake.port);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  hmc_state_of_thread()->stop = NULL;
  fake_stop();
  return 0;
}

#define GOOD(call) assert_int_equal(call, HMC_SUCCESS)

static hmc_store_t *join(void) {
  hmc_store_t *store = NULL;
  GOOD(hmc_store_connect(address, NULL, PATIENCE_MS, &store));
  return store;
}

static unsigned read_count(const unsigned *count) {
  pthread_mutex_lock(&fake.lock);
  unsigned now = *count;
  pthread_mutex_unlock(&fake.lock);
  return now;
}

static void await_more(const unsigned *count, unsigned than) {
  for (int i = 0; i < PATIENCE_MS && read_count(count) <= than; i++) usleep(1000);
  assert_true(read_count(count) > than);
}

static void end_lease(int64_t lease) {
  pthread_mutex_lock(&fake.lock);
  fake_end_lease(lease);
  pthread_mutex_unlock(&fake.lock);
}

static void refuse(const char *name) {
  pthread_mutex_lock(&fake.lock);
  snprintf(fake.refused, sizeof(fake.refused), "%s", name);
  pthread_mutex_unlock(&fake.lock);
}

/* A client with a lease of two keys. */
static hmc_store_t *hold_two(hmc_store_lease_t **lease, int64_t *number) {
  hmc_store_t *store = join();
  GOOD(hmc_store_lease_create(store, 2000, 0, lease));
  GOOD(hmc_store_set(store, "a", "1", 1, *lease, 0));
  GOOD(hmc_store_set(store, "b", "2", 1, *lease, 0));
  *number = fake_lease_of("x/k/a");
  assert_int_equal(fake_lease_of("x/k/b"), *number);
  return store;
}

/* etcd loses a lease, and goes again while its keys are put back: what is back is not somebody else's. */
static void a_lease_is_made_again_at_the_second_attempt(void **state) {
  (void)state;
  hmc_store_lease_t *lease = NULL;
  int64_t number;
  hmc_store_t *store = hold_two(&lease, &number);
  refuse("x/k/b");
  end_lease(number);
  await_more(&fake.refusals, 0);
  await_more(&fake.keeps[number], read_count(&fake.keeps[number])); /* that attempt is over */
  refuse("");
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < PATIENCE_MS && status == HMC_SUCCESS && fake_lease_of("x/k/b") < 0; i++) {
    usleep(1000);
    status = hmc_store_lease_state(lease);
  }
  GOOD(status);
  assert_true(fake_lease_of("x/k/b") > number);
  assert_int_equal(fake_lease_of("x/k/a"), fake_lease_of("x/k/b"));
  GOOD(hmc_store_set(store, "c", "3", 1, lease, 0));
  assert_int_equal(fake_lease_of("x/k/c"), fake_lease_of("x/k/a"));
  hmc_store_lease_release(lease, 0);
  assert_int_equal(fake_lease_of("x/k/a"), -1);
  assert_int_equal(fake_lease_of("x/k/b"), -1);
  hmc_store_close(store);
}

/* Of a lease that is lost nothing stays, nor what was put back before that was found out. */
static void a_lost_lease_leaves_no_keys(void **state) {
  (void)state;
  hmc_store_lease_t *lease = NULL;
  int64_t number;
  hmc_store_t *store = hold_two(&lease, &number);
  pthread_mutex_lock(&fake.lock);
  fake_end_lease(number);
  fake_change("x/k/b", "somebody else's", 0);
  pthread_mutex_unlock(&fake.lock);
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < PATIENCE_MS && status == HMC_SUCCESS; i++) {
    usleep(1000);
    status = hmc_store_lease_state(lease);
  }
  assert_int_equal(status, HMC_STALE);
  for (int i = 0; i < 5000 && fake_lease_of("x/k/a") >= 0; i++) usleep(1000);
  assert_int_equal(fake_lease_of("x/k/a"), -1);
  assert_int_equal(fake_lease_of("x/k/b"), 0);
  hmc_store_lease_release(lease, 0);
  hmc_store_close(store);
}

/* A program may leave its watches to the client. */
static void watches_end_with_their_client(void **state) {
  (void)state;
  hmc_store_watch_t *watches[2];
  hmc_store_t *store = join();
  for (int i = 0; i < 2; i++) GOOD(hmc_store_watch_start(store, "w/", 0, &watches[i]));
  await_more(&fake.streams, 1);
  hmc_store_watch_stop(watches[0]);
  hmc_store_close(store);
  for (int i = 0; i < 5000 && read_count(&fake.streams) > 0; i++) usleep(1000);
  assert_int_equal(read_count(&fake.streams), 0);
}

/* What is put back is the counter as it stands. */
static void a_counter_comes_back_with_its_lease(void **state) {
  (void)state;
  hmc_store_lease_t *lease = NULL;
  int64_t sum = 0, number;
  char value[8] = "";
  hmc_store_t *store = hold_two(&lease, &number);
  GOOD(hmc_store_add(store, "a", 41, &sum, 0));
  end_lease(number);
  GOOD(hmc_store_wait(store, "a", value, sizeof(value) - 1, NULL, PATIENCE_MS));
  assert_string_equal(value, "42");
  hmc_store_lease_release(lease, 0);
  hmc_store_close(store);
}

/* ---- lost answers ------------------------------------------------------------------------------------------------ */

static void *delete_one(void *store) { return (void *)(uintptr_t)hmc_store_delete(store, "a", 10000); }
static void *set_one(void *store) { return (void *)(uintptr_t)hmc_store_set(store, "a", "1", 1, NULL, 10000); }

/* Has the call take effect and its answer be lost; returns while it asks again. */
static void start_in_doubt(pthread_t *thread, void *(*call)(void *), hmc_store_t *store) {
  pthread_mutex_lock(&fake.lock);
  fake.goes_away = true;
  unsigned before = fake.change_count;
  pthread_mutex_unlock(&fake.lock);
  assert_int_equal(pthread_create(thread, NULL, call, store), 0);
  await_more(&fake.change_count, before);
}

static void come_back(void) {
  pthread_mutex_lock(&fake.lock);
  fake.is_away = false;
  pthread_mutex_unlock(&fake.lock);
}

/* libcurl sends a request again, too, where a connection ends that it has used before. */
static void what_was_deleted_in_doubt_was_there(void **state) {
  (void)state;
  pthread_t thread;
  void *status;
  hmc_store_t *store = join();
  GOOD(hmc_store_set(store, "a", "1", 1, NULL, 0));
  start_in_doubt(&thread, delete_one, store);
  come_back();
  pthread_join(thread, &status);
  assert_int_equal((uintptr_t)status, HMC_SUCCESS);
  assert_int_equal(hmc_store_delete(store, "a", 10000), HMC_NOT_FOUND);
  hmc_store_close(store);
}

static void what_was_set_in_doubt_is_not_set_again(void **state) {
  (void)state;
  pthread_t thread;
  void *status;
  char value[8] = "";
  hmc_store_t *store = join();
  start_in_doubt(&thread, set_one, store);
  pthread_mutex_lock(&fake.lock);
  fake_change("x/k/a", "later", 0);
  pthread_mutex_unlock(&fake.lock);
  come_back();
  pthread_join(thread, &status);
  assert_int_equal((uintptr_t)status, HMC_SUCCESS);
  GOOD(hmc_store_get(store, "a", value, sizeof(value) - 1, NULL, 0));
  assert_string_equal(value, "later");
  hmc_store_close(store);
}

/* ---- meetings ---------------------------------------------------------------------------------------------------- */

static void *meet(void *store) { return (void *)(uintptr_t)hmc_store_barrier(store, "m", 2, 10000); }

/* etcd forgets old revisions, and ends streams that begin there. */
static void a_barrier_outlives_a_compaction(void **state) {
  (void)state;
  pthread_t thread;
  void *status;
  hmc_store_t *one = join(), *two = join();
  assert_int_equal(pthread_create(&thread, NULL, meet, one), 0);
  while (fake_lease_of("x/m/m") < 0) usleep(1000);
  usleep(100000);
  pthread_mutex_lock(&fake.lock);
  fake.compacted = fake.revision + 10; /* others change keys, too */
  fake.revision += 20;
  fake.cut_streams = 1;
  pthread_mutex_unlock(&fake.lock);
  usleep(300000);
  GOOD(hmc_store_barrier(two, "m", 2, 10000));
  pthread_join(thread, &status);
  assert_int_equal((uintptr_t)status, HMC_SUCCESS);
  hmc_store_close(one);
  hmc_store_close(two);
}

static void a_gather_may_wait_for_ever(void **state) {
  (void)state;
  char all[4] = "";
  hmc_store_t *store = join();
  GOOD(hmc_store_gather(store, "g", 1, 0, "abc", 3, all, UINT64_MAX));
  assert_string_equal(all, "abc");
  hmc_store_close(store);
}

static void *meet_briefly(void *store) { return (void *)(uintptr_t)hmc_store_barrier(store, "m", 2, 500); }

/* A caller whose arrival was not answered before its deadline does not count as present afterwards. */
static void who_arrived_in_doubt_is_not_counted(void **state) {
  (void)state;
  pthread_t thread;
  void *status;
  hmc_store_t *store = join();
  start_in_doubt(&thread, meet_briefly, store);
  usleep(560000);
  come_back();
  pthread_join(thread, &status);
  assert_int_equal((uintptr_t)status, HMC_TIMEOUT);
  assert_int_equal(fake_lease_of("x/m/m"), -1);
  hmc_store_close(store);
}

/* With the lock. Another one comes to the meeting "m", which is over then: its key is gone, or the next one's. */
static void finish_meeting(bool is_overwritten) {
  char value[200], first[100];
  snprintf(first, sizeof(first), "%s", strchr((const char *)fake_find("x/m/m")->value, '\n'));
  snprintf(value, sizeof(value), "2 0 0 1%s\nabc def 0", first);
  fake_change("x/m/m", value, 0);
  fake_change("x/m/m", is_overwritten ? "2 0 0 0\nfed def 0" : NULL, 0);
}

/* Nor does it come to the next meeting instead of its own, which ended before it could ask again. */
static void who_arrived_in_doubt_has_met_the_others(void **state) {
  (void)state;
  hmc_store_t *store = join();
  for (int round = 0; round < 2; round++) {
    pthread_t thread;
    void *status;
    start_in_doubt(&thread, meet, store);
    pthread_mutex_lock(&fake.lock);
    finish_meeting(round == 1);
    pthread_mutex_unlock(&fake.lock);
    come_back();
    pthread_join(thread, &status);
    assert_int_equal((uintptr_t)status, HMC_SUCCESS);
  }
  hmc_store_close(store);
}

/* The mark of an arrival goes with the client's lease, which etcd may have lost. */
static void who_arrives_without_a_lease_waits_for_the_next(void **state) {
  (void)state;
  hmc_store_t *store = join();
  pthread_mutex_lock(&fake.lock);
  fake_end_lease(1);
  pthread_mutex_unlock(&fake.lock);
  GOOD(hmc_store_barrier(store, "m", 1, PATIENCE_MS));
  hmc_store_close(store);
}

static bool always(void) { return true; }

/* The program can end calls of every kind early, and the others of a meeting do not count on it then. */
static void calls_end_when_the_program_wants_it(void **state) {
  (void)state;
  char value[8];
  hmc_store_t *store = join();
  uint64_t begin = hmci_now();
  hmc_state_of_thread()->stop = always;
  assert_int_equal(hmc_store_wait(store, "k", value, sizeof(value), NULL, PATIENCE_MS), HMC_CANCELLED);
  assert_int_equal(hmc_store_barrier(store, "m", 2, PATIENCE_MS), HMC_CANCELLED);
  hmc_state_of_thread()->stop = NULL;
  assert_true(hmci_now() - begin < UINT64_C(20000000000));
  assert_int_equal(fake_lease_of("x/m/m"), -1);
  GOOD(hmc_store_barrier(store, "m", 1, PATIENCE_MS));
  hmc_store_close(store);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_lease_is_made_again_at_the_second_attempt, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_lost_lease_leaves_no_keys, set_up, tear_down),
      cmocka_unit_test_setup_teardown(watches_end_with_their_client, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_counter_comes_back_with_its_lease, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_was_deleted_in_doubt_was_there, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_was_set_in_doubt_is_not_set_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_barrier_outlives_a_compaction, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_gather_may_wait_for_ever, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_arrived_in_doubt_is_not_counted, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_arrived_in_doubt_has_met_the_others, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_arrives_without_a_lease_waits_for_the_next, set_up, tear_down),
      cmocka_unit_test_setup_teardown(calls_end_when_the_program_wants_it, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
