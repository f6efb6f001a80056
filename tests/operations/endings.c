/* How operations begin and end: calls that return at once, deadlines of the caller's own, bounds, callbacks, and regions
 * that close under them. */
#include "suite.h"

#include <hmc/state.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define LARGE (SANITIZED ? 32 * MIB : 64 * MIB)

/* A large request ends when it is cancelled or its time is over, wherever its bytes are copied; what comes later is not
 * disturbed, and the caller's memory is not read any more. */
void large_requests_can_be_ended(void **state) {
  context_pair_t *pair = *state;
  if (!stamp_is_plain()) return; /* host memories: the others go through the same stages as small ones */
  far_t far = far_make(pair, (far_options_t){.name = "large", .size = LARGE});
  test_buffer_t local = near_make(pair, LARGE, false);
  hmc_request_t *request = NULL;
  int cancelled = 0;
  for (int round = 1; round <= 6; round++) {
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .timeout_ms = round % 2 ? 0 : 1};
    bytes_fill(&local, 0, LARGE, (uint8_t)round);
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, LARGE, &options, &request));
    hmc_status_t status = round % 2 ? hmc_request_cancel(request) : hmc_request_wait(request);
    cancelled += status == (round % 2 ? HMC_CANCELLED : HMC_TIMEOUT);
    bytes_fill(&local, 0, LARGE, 0x77);
    assert_int_equal(owner_others(&far.place, 0, LARGE, (uint8_t)round, (uint8_t)(round - 1)), 0); /* none of 0x77 */
    hmc_request_free(request);
    bytes_fill(&local, 0, LARGE, (uint8_t)round);
    assert_success(hmc_put(local.region, 0, far.remote, 0, LARGE));
    assert_int_equal(owner_others(&far.place, 0, LARGE, (uint8_t)round, (uint8_t)round), 0);
  }
  assert_true(cancelled > 0); /* one that copies before it returns is complete by then, every time */
  test_buffer_close(&local);
  far_close(&far);
}

/* Signal and notification of a large request come after its bytes. */
void large_requests_tell_after_the_data(void **state) {
  context_pair_t *pair = *state;
  const uint64_t size = 3 * MIB + 12345;
  far_t far = far_make(pair, (far_options_t){.name = "large", .size = size});
  far_t word = far_make(pair, (far_options_t){.name = "word", .size = 64});
  test_buffer_t local = near_make(pair, size, false);
  for (uint64_t round = 1; round <= 10; round++) {
    uint8_t told = 0;
    size_t length = 0;
    hmc_signal_t signal = {word.remote, 0, HMC_ATOMIC_SWAP, round};
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                       .signal = &signal,
                                       .notification = &round,
                                       .notification_size = 1,
                                       .flags = round % 2 ? 0 : HMC_OPERATION_CHECKSUM};
    hmc_request_t *request = NULL;
    bytes_fill(&local, 0, size, (uint8_t)round);
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, size, &options, &request));
    assert_success(hmc_notification_receive(pair->there, &told, 1, &length, NULL, 0));
    assert_int_equal(told, round);
    assert_int_equal(word_load(&word.place, 0), round);
    assert_int_equal(owner_others(&far.place, 0, size, (uint8_t)round, (uint8_t)round), 0);
    assert_success(finish(request));
  }
  test_buffer_close(&local);
  far_close(&word);
  far_close(&far);
}

/* ---- deadlines of the caller's own */

void calls_have_deadlines_of_their_own(void **state) {
  context_pair_t *pair = *state;
  distant_t distant;
  distant_start(&distant, pair);
  distant_stop(&distant);
  hmc_operation_options_t brief = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 120};
  test_buffer_t local = near_make(pair, 4096, false);
  uint64_t fetched = 99, start = now_ms();
  assert_status(hmc_atomic_with(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, &fetched, &brief), HMC_TIMEOUT);
  assert_took(start, 120, 120);
  assert_int_equal(fetched, 99);
  hmc_request_t *requests[3] = {NULL};
  size_t index = 0, done = 0, places[3];
  for (size_t i = 0; i < 2; i++)
    assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &requests[i]));
  start = now_ms();
  assert_status(hmc_request_wait_for(requests[0], 60), HMC_IN_PROGRESS);
  assert_status(hmc_request_wait_all_for(requests, 3, 60), HMC_IN_PROGRESS);
  assert_status(hmc_request_wait_any_for(requests, 3, &index, 60), HMC_IN_PROGRESS);
  assert_int_equal(index, 3);
  assert_status(hmc_request_wait_some_for(requests, 3, places, &done, 60), HMC_IN_PROGRESS);
  assert_int_equal(done, 0);
  assert_took(start, 240, 240);
  start = now_ms();
  assert_status(hmc_request_wait_for(requests[0], HMC_NO_WAIT), HMC_IN_PROGRESS);
  assert_status(hmc_request_wait_any_for(requests, 3, &index, HMC_NO_WAIT), HMC_IN_PROGRESS);
  assert_status(hmc_peer_flush(distant.peer, HMC_NO_WAIT), HMC_TIMEOUT);
  assert_took(start, 0, 0);
  distant_continue(&distant);
  assert_success(hmc_request_wait_for(requests[0], 0));
  assert_success(hmc_request_wait_all_for(requests, 3, HMC_FOREVER));
  brief.timeout_ms = PATIENCE_MS;
  assert_success(hmc_put_with(local.region, 0, distant.remote, 4096, 4096, &brief));
  assert_success(hmc_get_with(local.region, 0, distant.remote, 4096, 4096, NULL));
  for (size_t i = 0; i < 2; i++) hmc_request_free(requests[i]);
  test_buffer_close(&local);
  distant_end(&distant);
}

/* ---- bounds */

void requests_have_a_bound(void **state) {
  context_pair_t narrow;
  (void)state;
  context_pair_open(&narrow, (const char *const[]){"HMC_REQUESTS", "40", NULL});
  far_t far = far_make(&narrow, (far_options_t){.name = "far", .size = 64});
  test_buffer_t local = near_make(&narrow, 64, false);
  hmc_request_t *requests[40], *more = NULL;
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < COUNT_OF(requests); i++)
      assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, NULL, &requests[i]));
    assert_status(hmc_put_nb(local.region, 0, far.remote, 0, 8, NULL, &more), HMC_NO_MEMORY);
    assert_error_names("HMC_REQUESTS");
    assert_null(more);
    for (size_t i = 0; i < COUNT_OF(requests); i++) assert_success(finish(requests[i]));
  }
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&narrow);
}

/* ---- callbacks */

static void count_call(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  atomic_fetch_add((_Atomic uint32_t *)user, 1);
}

static void free_and_count(hmc_request_t *request, hmc_status_t status, void *user) {
  hmc_request_free(request);
  count_call(NULL, status, user);
}

/* Waited for and freed, freed at once, freed by itself: one call for each, and none after the free. */
void callbacks_are_called_exactly_once(void **state) {
  enum { PUTS = 1000 };
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64, .registered = true});
  test_buffer_t local = near_make(pair, 64, false);
  for (int way = 0; way < 3; way++) {
    _Atomic uint32_t calls = 0;
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                       .callback = way == 2 ? free_and_count : count_call,
                                       .user = (void *)&calls};
    for (uint32_t i = 0; i < PUTS; i++) {
      hmc_request_t *request = NULL;
      assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, &options, &request));
      if (way == 2) continue;
      if (way == 0) assert_success(hmc_request_wait(request));
      hmc_request_free(request);
      assert_int_equal(atomic_load(&calls), i + 1);
    }
    uint64_t limit = now_ms() + PATIENCE_MS;
    while (atomic_load(&calls) < PUTS && now_ms() < limit) sleep_ms(1);
    sleep_ms(20);
    assert_int_equal(atomic_load(&calls), PUTS);
  }
  test_buffer_close(&local);
  far_close(&far);
}

typedef struct dial {
  context_pair_t *pair;
  _Atomic int status; /* -1: not called yet */
} dial_t;

static void dial_in_callback(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  dial_t *dial = user;
  hmc_peer_t *peer = NULL;
  atomic_store(&dial->status,
               (int)hmc_context_connect(dial->pair->here, "127.0.0.1", dial->pair->port, stamp.type, 0, &peer));
}

void callbacks_may_not_connect(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64});
  test_buffer_t local = near_make(pair, 64, false);
  dial_t dial = {pair, -1};
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .callback = dial_in_callback, .user = &dial};
  hmc_request_t *request = NULL;
  uint64_t limit = now_ms() + PATIENCE_MS;
  assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, &options, &request));
  while (atomic_load(&dial.status) < 0 && now_ms() < limit) sleep_ms(1);
  assert_int_equal(atomic_load(&dial.status), HMC_UNSUPPORT);
  assert_success(finish(request));
  test_buffer_close(&local);
  far_close(&far);
}

static void destroy_in_callback(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  hmc_context_destroy(user);
}

/* Neither in the service thread nor where hmc_request_free calls them. */
void callbacks_may_not_destroy(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64, .registered = true});
  test_buffer_t local = near_make(pair, 64, false);
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .callback = destroy_in_callback, .user = pair->here};
  for (int i = 0; i < 100; i++) {
    hmc_request_t *request = NULL;
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, &options, &request));
    assert_success(hmc_request_wait(request));
    if (i == 0) sleep_ms(20); /* the service thread calls */
    hmc_request_free(request);
  }
  assert_success(hmc_put(local.region, 0, far.remote, 0, 8));
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- local regions */

typedef struct putter {
  pthread_t thread;
  const test_buffer_t *local;
  hmc_remote_t *remote;
  hmc_status_t status;
} putter_t;

static void *put_blocking(void *argument) {
  putter_t *putter = argument;
  putter->status = hmc_put(putter->local->region, 0, putter->remote, 0, 2 * MIB);
  return NULL;
}

/* A local region that closes ends the operations that move its bytes, and is not touched any more. */
void closing_a_local_region_ends_its_operations(void **state) {
  context_pair_t *pair = *state;
  if (stamp_is("shm") && !stamp_is_host())
    return; /* this side's device moves the bytes: a stopped peer holds up none */
  distant_t distant;
  distant_start(&distant, pair);
  test_buffer_t local = near_make(pair, 4 * MIB, true), other = near_make(pair, 4096, false);
  hmc_request_t *requests[8], *kept = NULL;
  distant_stop(&distant);
  for (size_t i = 0; i < COUNT_OF(requests); i++)
    assert_success(hmc_put_nb(local.region, i * 100, distant.remote, 0, i % 2 ? 8 : 3 * MIB, NULL, &requests[i]));
  assert_success(hmc_put_nb(other.region, 0, distant.remote, 3 * MIB, 4096, NULL, &kept));
  putter_t putter = {.local = &local, .remote = distant.remote};
  assert_int_equal(pthread_create(&putter.thread, NULL, put_blocking, &putter), 0);
  sleep_ms(100); /* it waits by then, or at least */
  test_buffer_withdraw(&local);
  pthread_join(putter.thread, NULL);
  assert_status(putter.status, HMC_CANCELLED);
  for (size_t i = 0; i < COUNT_OF(requests); i++) assert_status(finish(requests[i]), HMC_CANCELLED);
  assert_status(hmc_request_test(kept), HMC_IN_PROGRESS);
  distant_continue(&distant);
  assert_success(finish(kept));
  test_buffer_close(&local);
  test_buffer_close(&other);
  distant_end(&distant);
}

static int asked;
static bool ends_at_the_third_time(void) { return ++asked == 3; }

/* A thread's program may end its blocking calls, and nothing of the caller's memory is read afterwards. */
void blocking_calls_end_when_asked(void **state) {
  context_pair_t *pair = *state;
  if (stamp_is("shm") && !stamp_is_host())
    return; /* this side's device moves the bytes: a stopped peer holds up none */
  static const uint64_t lengths[] = {8, 2 * MIB};
  distant_t distant;
  distant_start(&distant, pair);
  test_buffer_t local = near_make(pair, 2 * MIB, true);
  bytes_fill(&local, 0, 2 * MIB, 0x11);
  assert_success(hmc_put(local.region, 0, distant.remote, 0, 2 * MIB));
  for (size_t i = 0; i < COUNT_OF(lengths); i++) {
    distant_stop(&distant);
    asked = 0;
    hmc_state_of_thread()->stop = ends_at_the_third_time;
    hmc_status_t status = hmc_put(local.region, 0, distant.remote, 0, lengths[i]);
    hmc_state_of_thread()->stop = NULL;
    assert_status(status, HMC_CANCELLED);
    assert_int_equal(asked, 3);
    bytes_fill(&local, 0, 2 * MIB, 0x22);
    distant_continue(&distant);
    sleep_ms(50);
    assert_success(hmc_get(local.region, 0, distant.remote, 0, 2 * MIB));
    assert_int_equal(bytes_other(&local, 0, 2 * MIB, 0x11, 0x11), 0);
  }
  test_buffer_close(&local);
  distant_end(&distant);
}
