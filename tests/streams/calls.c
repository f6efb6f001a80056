/* Calls that do not wait do not wait: they leave large transfers to others, and nobody waits for a peer that does not
 * answer, cancelling included. */
#include "suite.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#define LARGE (256 * MIB)

static uint64_t thread_time_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000u + (uint64_t)time.tv_nsec / 1000u;
}

/* Processor time, which a busy machine does not change; sending it all takes a hundred times as long. */
void calls_return_before_the_bytes_are_gone(void **state) {
  (void)state;
  context_pair_t pair;
  context_pair_open(&pair, NULL);
  far_t far = far_make(&pair, (far_options_t){.name = "large", .size = LARGE, .registered = false});
  test_buffer_t local = near_make(&pair, LARGE, false);
  bytes_fill(&local, 0, LARGE, 7);
  bytes_fill(&far.place, 0, LARGE, 0);
  for (int put = 0; put < 2; put++) {
    hmc_request_t *request = NULL;
    uint64_t before = thread_time_us();
    assert_success(put ? hmc_put_nb(local.region, 0, far.remote, 0, LARGE, NULL, &request)
                       : hmc_get_nb(local.region, 0, far.remote, 0, LARGE, NULL, &request));
    uint64_t used = thread_time_us() - before;
    if (!SANITIZED) assert_in_range(used, 0, 3000);
    assert_success(finish(request));
    if (!put) bytes_fill(&local, 0, LARGE, 9);
  }
  assert_int_equal(owner_others(&far.place, 0, LARGE, 9, 9), 0);
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&pair);
}

void calls_cancel_large_transfers(void **state) {
  (void)state;
  context_pair_t pair;
  context_pair_open(&pair, NULL);
  far_t far = far_make(&pair, (far_options_t){.name = "large", .size = LARGE, .registered = false});
  test_buffer_t local = near_make(&pair, LARGE, false);
  for (int i = 0; i < 6; i++) {
    hmc_request_t *request = NULL;
    hmc_operation_options_t hasty = {.size = sizeof(hmc_operation_options_t), .timeout_ms = i < 3 ? 0 : 5};
    assert_success(i % 2 ? hmc_put_nb(local.region, 0, far.remote, 0, LARGE, &hasty, &request)
                         : hmc_get_nb(local.region, 0, far.remote, 0, LARGE, &hasty, &request));
    if (i < 3)
      assert_status(hmc_request_cancel(request), HMC_CANCELLED);
    else
      assert_status(hmc_request_wait(request), HMC_TIMEOUT);
    hmc_request_free(request);
  }
  assert_connected(pair.peer);
  assert_success(exchange(&local, 0, far.remote, 0, MIB, 3, 1));
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&pair);
}

/* A put over several streams to a peer that stands still ends at its deadline, by the service thread, which goes on to
 * serve others. */
void calls_to_others_go_on_when_a_striped_put_is_cut_off(void **state) {
  (void)state;
  context_pair_t pair;
  distant_t distant;
  hmc_request_t *cut = NULL, *request = NULL;
  hmc_operation_options_t hasty = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 100};
  context_pair_open(&pair, (const char *const[]){"HMC_TCP_STREAMS", "4", NULL});
  far_t far = far_make(&pair, (far_options_t){.name = "healthy", .size = MIB, .registered = true});
  distant_start(&distant, &pair);
  test_buffer_t local = near_make(&pair, DISTANT_SIZE, true);
  distant_stop(&distant);
  assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, DISTANT_SIZE, &hasty, &cut));
  sleep_ms(150); /* its deadline is a timer of the service thread */
  hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = SLACK_MS};
  for (int i = 0; i < 20; i++) {
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, MIB, &patient, &request));
    assert_success(finish(request));
  }
  assert_status(hmc_request_test(cut), HMC_TIMEOUT);
  hmc_request_free(cut);
  assert_connected(distant.peer);
  distant_end(&distant);
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&pair);
}

/* What comes after such a put comes after what is left of it, and the peer is not lost, however long it stood. */
void calls_keep_their_order_behind_a_cut_off_put(void **state) {
  (void)state;
  context_pair_t pair;
  distant_t distant;
  hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 60000};
  context_pair_open(&pair, (const char *const[]){"HMC_TCP_STREAMS", "4", "HMC_PEER_TIMEOUT", "1s", NULL});
  distant_start(&distant, &pair);
  test_buffer_t local = near_make(&pair, DISTANT_SIZE, true);
  for (uint8_t round = 1; round <= 3; round++) {
    hmc_request_t *cut[3] = {NULL}, *small = NULL, *later = NULL, *given_up = NULL;
    bytes_fill(&local, 0, DISTANT_SIZE, 99);
    distant_stop(&distant);
    for (int i = 0; i < 3; i++) {
      assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, DISTANT_SIZE, &patient, &cut[i]));
      hmc_request_cancel(cut[i]);
      hmc_request_free(cut[i]);
    }
    bytes_fill(&local, 0, DISTANT_SIZE, round);
    assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, DISTANT_SIZE, &patient, &later));
    assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, 8, &patient, &small));
    assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, 8, &patient, &given_up));
    assert_status(hmc_request_cancel(given_up), HMC_CANCELLED);
    hmc_request_free(given_up);
    sleep_ms(round == 1 ? 2500 : 10);
    distant_continue(&distant);
    assert_success(finish(later));
    assert_success(finish(small));
    assert_success(hmc_get(local.region, 0, distant.remote, 0, DISTANT_SIZE));
    assert_int_equal(bytes_other(&local, 0, DISTANT_SIZE, round, round), 0);
  }
  assert_connected(distant.peer);
  distant_end(&distant);
  test_buffer_close(&local);
  context_pair_close(&pair);
}

/* The same where the put was too small for several streams: what is left of it lies on the first stream, and the later one
 * comes by all of them. */
void calls_keep_their_order_behind_small_cut_off_puts(void **state) {
  (void)state;
  enum { CUT = 3 };
  context_pair_t pair;
  distant_t distant;
  hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = PATIENCE_MS};
  const uint64_t length = 400 * KIB, last = DISTANT_SIZE / 4 * 3; /* where that goes which the last stream brings */
  context_pair_open(&pair, (const char *const[]){"HMC_TCP_STREAMS", "4", NULL});
  distant_start(&distant, &pair);
  test_buffer_t local = near_make(&pair, DISTANT_SIZE, true);
  for (uint8_t round = 1; round <= 5; round++) {
    hmc_request_t *cut[CUT] = {NULL}, *later = NULL;
    bytes_fill(&local, 0, DISTANT_SIZE, 99);
    distant_stop(&distant);
    for (int i = 0; i < CUT; i++) /* their end is the last stream's beginning */
      assert_success(hmc_put_nb(local.region, 0, distant.remote, last + 64 * KIB - length, length, &patient, &cut[i]));
    sleep_ms(20); /* until the socket is full */
    for (int i = 0; i < CUT; i++) {
      assert_status(hmc_request_cancel(cut[i]), HMC_CANCELLED);
      hmc_request_free(cut[i]);
    }
    bytes_fill(&local, 0, DISTANT_SIZE, round);
    assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, DISTANT_SIZE, &patient, &later));
    distant_continue(&distant);
    assert_success(finish(later));
    assert_success(hmc_get(local.region, 0, distant.remote, 0, DISTANT_SIZE));
    assert_int_equal(bytes_other(&local, 0, DISTANT_SIZE, round, round), 0);
  }
  assert_connected(distant.peer);
  distant_end(&distant);
  test_buffer_close(&local);
  context_pair_close(&pair);
}

/* ---- one processor */

/* Both ends on one processor: who waits sleeps, and lets the other end run. Polling would take HMC_SPIN, here ten
 * milliseconds, of each turn. */
void calls_on_one_processor_do_not_poll(void **state) {
  (void)state;
  enum { ROUNDS = 50 };
  cpu_set_t all, one;
  context_pair_t pair;
  assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
    if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0); /* what is started from here on has it, too */
  context_pair_open(&pair, (const char *const[]){"HMC_SPIN", "10ms", NULL});
  far_t far = far_make(&pair, (far_options_t){.name = "near", .size = MIB, .registered = true});
  test_buffer_t local = near_make(&pair, MIB, true);
  sleep_ms(250); /* what was seen of the processors before is forgotten */
  struct timespec before, after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  for (int i = 0; i < ROUNDS; i++) assert_success(hmc_put(local.region, 0, far.remote, 0, 8));
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
  uint64_t used =
      (uint64_t)(after.tv_sec - before.tv_sec) * 1000000000u + (uint64_t)after.tv_nsec - (uint64_t)before.tv_nsec;
  if (!SANITIZED) assert_in_range(used, 0, UINT64_C(2000000) * ROUNDS);
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&pair);
}
