/* Counters and latencies say what happened, and a thread that waits for a signal is woken and does not spin. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ROUNDS 100u

static hmc_stats_t stats_of(hmc_context_t *context) {
  hmc_stats_t stats = HMC_STATS_INIT;
  assert_success(hmc_context_get_stats(context, &stats));
  return stats;
}

void stats_count_what_is_done(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "counted", .size = 4096});
  test_buffer_t local = near_make(pair, 4096, false);
  hmc_stats_t before = stats_of(pair->here), peer = HMC_STATS_INIT;
  uint64_t fetched;
  for (unsigned i = 0; i < ROUNDS; i++) {
    hmc_request_t *request;
    assert_success(hmc_put(local.region, 0, far.remote, 0, 8));
    assert_success(hmc_put(local.region, 0, far.remote, 8, 100));
    assert_success(hmc_get(local.region, 0, far.remote, 0, 50));
    assert_success(hmc_atomic(far.remote, 512, HMC_ATOMIC_ADD, 8, 1, 0, &fetched));
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 1000, NULL, &request));
    assert_success(finish(request));
  }
  hmc_stats_t after = stats_of(pair->here);
  assert_int_equal(after.puts - before.puts, 3 * ROUNDS);
  assert_int_equal(after.put_bytes - before.put_bytes, 1108 * ROUNDS);
  assert_int_equal(after.gets - before.gets, ROUNDS);
  assert_int_equal(after.get_bytes - before.get_bytes, 50 * ROUNDS);
  assert_int_equal(after.atomics - before.atomics, ROUNDS);
  assert_int_equal(after.failures, before.failures);
  assert_int_equal(after.peers, 1);
  assert_success(hmc_peer_get_stats(pair->peer, &peer));
  assert_int_equal(peer.put_bytes, after.put_bytes);
  assert_true(stats_of(pair->there).regions >= 1);
  test_buffer_close(&local);
  far_close(&far);
}

/* Whatever the way: each operation is either this thread's, and not timed, or timed once. */
void latencies_are_of_what_took_time(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "timed", .size = 4096, .registered = true});
  test_buffer_t local = near_make(pair, 4096, false);
  hmc_latency_t latency = HMC_LATENCY_INIT, part = HMC_LATENCY_INIT;
  for (unsigned i = 0; i < ROUNDS; i++) {
    hmc_request_t *request;
    assert_success(hmc_put(local.region, 0, far.remote, 0, 64));
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 64, NULL, &request));
    assert_success(finish(request));
  }
  assert_success(hmc_context_get_latency(pair->here, HMC_LATENCY_PUT, &latency));
  assert_int_equal(latency.count, 2 * ROUNDS); /* registered memory: nobody's plain copy */
  assert_true(latency.longest > 0 && latency.nanoseconds >= latency.longest);
  uint64_t median = hmc_latency_quantile(&latency, 0.5), late = hmc_latency_quantile(&latency, 0.99);
  assert_true(median > 0 && median <= late && late <= latency.longest);
  assert_success(hmc_peer_get_latency(pair->peer, HMC_LATENCY_PUT, &part));
  assert_int_equal(part.count, latency.count);
  assert_success(hmc_context_get_latency(pair->here, HMC_LATENCY_GET, &latency));
  assert_int_equal(latency.count, 0);
  assert_int_equal(hmc_latency_quantile(&latency, 0.5), 0);
  test_buffer_close(&local);
  far_close(&far);
}

void stats_outlive_their_peer(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "left", .size = 4096});
  test_buffer_t local = near_make(pair, 4096, false);
  assert_success(hmc_put(local.region, 0, far.remote, 0, 640));
  hmc_peer_close(pair->peer);
  pair->peer = NULL;
  hmc_stats_t stats = stats_of(pair->here);
  assert_true(stats.put_bytes >= 640);
  assert_int_equal(stats.peers, 0);
  test_buffer_close(&local);
  hmc_region_close(far.place.region);
}

void metrics_are_text_for_prometheus(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "shown", .size = 4096});
  test_buffer_t local = near_make(pair, 4096, false);
  static char text[1 << 17];
  char line[160];
  size_t needed = 0;
  assert_success(hmc_put(local.region, 0, far.remote, 0, 24));
  assert_success(hmc_metrics_text(NULL, 0, &needed));
  assert_in_range(needed, 2, sizeof text);
  assert_success(hmc_metrics_text(text, sizeof text, NULL));
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  assert_success(hmc_peer_get_info(pair->peer, &info));
  snprintf(line, sizeof line, "route=\"%s\",operation=\"put\"} 1\n", hmc_connection_type_name(info.type));
  if (info.type != HMC_CONNECTION_RDMA) assert_non_null(strstr(text, line));
  assert_non_null(strstr(text, "# TYPE hmc_operations_total counter\n"));
  assert_non_null(strstr(text, "# TYPE hmc_latency_seconds histogram\n"));
  memset(text, 'x', sizeof text);
  assert_success(hmc_metrics_text(text, 10, NULL)); /* cut, and ended */
  assert_int_equal(strlen(text), 9);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- waiting for a signal */

typedef struct waiter {
  pthread_t thread;
  hmc_region_t *region;
  uint64_t seen;
  hmc_status_t status;
  struct timespec used; /* of the processor */
} waiter_t;

static void *wait_for_word(void *argument) {
  waiter_t *waiter = argument;
  waiter->status = hmc_signal_wait(waiter->region, 8, HMC_COMPARE_GE, 5, PATIENCE_MS, &waiter->seen);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &waiter->used);
  return NULL;
}

void signal_wait_sleeps_until_it_comes(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "words", .size = 4096});
  test_buffer_t local = near_make(pair, 4096, false);
  waiter_t waiter = {.region = far.place.region};
  word_store(&far.place, 8, 0);
  assert_int_equal(pthread_create(&waiter.thread, NULL, wait_for_word, &waiter), 0);
  nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
  hmc_signal_t signal = {far.remote, 8, HMC_ATOMIC_ADD, 5};
  hmc_operation_options_t options = {.size = sizeof options, .signal = &signal};
  assert_success(put_with(&local, 64, far.remote, 64, 512, &options));
  pthread_join(waiter.thread, NULL);
  assert_status(waiter.status, HMC_SUCCESS);
  assert_int_equal(waiter.seen, 5);
  /* 300 ms of spinning are 300 ms of the processor; sleeping is a few */
  assert_true(waiter.used.tv_sec == 0 && waiter.used.tv_nsec < 150000000);
  test_buffer_close(&local);
  far_close(&far);
}

void signal_wait_compares_and_ends(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "words", .size = 4096});
  hmc_region_t *region = far.place.region;
  uint64_t seen = 77;
  word_store(&far.place, 8, 9);
  static const struct {
    hmc_comparison_t comparison;
    uint64_t value;
    bool fits;
  } looks[] = {{HMC_COMPARE_EQ, 9, true},  {HMC_COMPARE_EQ, 8, false},  {HMC_COMPARE_NE, 8, true},
               {HMC_COMPARE_NE, 9, false}, {HMC_COMPARE_GT, 8, true},   {HMC_COMPARE_GT, 9, false},
               {HMC_COMPARE_GE, 9, true},  {HMC_COMPARE_GE, 10, false}, {HMC_COMPARE_LT, 10, true},
               {HMC_COMPARE_LT, 9, false}, {HMC_COMPARE_LE, 9, true},   {HMC_COMPARE_LE, 8, false}};
  for (size_t i = 0; i < COUNT_OF(looks); i++)
    assert_status(hmc_signal_wait(region, 8, looks[i].comparison, looks[i].value, HMC_NO_WAIT, NULL),
                  looks[i].fits ? HMC_SUCCESS : HMC_TIMEOUT);
  assert_status(hmc_signal_wait(region, 8, HMC_COMPARE_EQ, 1, 30, &seen), HMC_TIMEOUT);
  assert_int_equal(seen, 77);
  assert_status(hmc_signal_wait(region, 4096, HMC_COMPARE_EQ, 1, 30, &seen), HMC_OUT_OF_RANGE);
  assert_status(hmc_signal_wait(region, 4, HMC_COMPARE_EQ, 1, 30, &seen), HMC_INVALID_CONFIG);
  assert_status(hmc_signal_wait(region, 8, (hmc_comparison_t)9, 1, 30, &seen), HMC_INVALID_CONFIG);
  assert_status(hmc_signal_wait(NULL, 8, HMC_COMPARE_EQ, 1, 30, &seen), HMC_INVALID_CONFIG);
  far_close(&far);
}
