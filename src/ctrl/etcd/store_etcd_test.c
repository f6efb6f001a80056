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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(watches_end_with_their_client, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
