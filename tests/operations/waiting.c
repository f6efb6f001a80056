/* Waiting for one, any, some and all; deadlines; flush. The distant end can be stopped, so that nothing moves. */
#include "rest.h"
#include "suite.h"

#include <pthread.h>

/* Atomics on the distant region need its service thread, whatever the transport. */
static hmc_request_t *start_word(const distant_t *distant, uint64_t timeout_ms) {
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .timeout_ms = timeout_ms};
  hmc_request_t *request = NULL;
  assert_success(hmc_atomic_nb(distant->remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options, &request));
  return request;
}

static uint64_t distant_word(const distant_t *distant) {
  uint64_t fetched = 0;
  assert_success(hmc_atomic(distant->remote, 64, HMC_ATOMIC_ADD, 8, 0, 0, &fetched));
  return fetched;
}

/* ---- order */

/* Which of several is named, and whose status. */
void wait_in_order(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64 * KIB, .registered = true});
  test_buffer_t local = near_make(pair, 64 * KIB, false);
  hmc_request_t *requests[6] = {NULL}, *none[3] = {NULL};
  size_t index = 99, indices[6], done = 99;
  distant_t distant;
  distant_start(&distant, pair);
  distant_stop(&distant);
  requests[1] = start_word(&distant, 0);
  assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 64 * KIB, NULL, &requests[2]));
  assert_success(hmc_get_nb(local.region, 0, far.remote, 0, 100, NULL, &requests[4]));
  assert_success(hmc_request_wait(requests[4]));
  assert_success(hmc_request_wait(requests[2]));
  requests[5] = start_word(&distant, 0);
  assert_status(hmc_request_cancel(requests[5]), HMC_CANCELLED);

  assert_success(hmc_request_wait_any(requests, 6, &index)); /* the first that is complete */
  assert_int_equal(index, 2);
  assert_success(hmc_request_wait_some(requests, 6, indices, &done));
  assert_int_equal(done, 3);
  assert_int_equal(indices[0], 2);
  assert_int_equal(indices[1], 4);
  assert_int_equal(indices[2], 5);
  assert_status(hmc_request_wait_any(requests + 5, 1, &index), HMC_CANCELLED); /* the request's own status */
  assert_int_equal(index, 0);
  assert_string_not_equal(hmc_last_error(), "");
  assert_status(hmc_request_test(requests[1]), HMC_IN_PROGRESS);

  /* all: the first in the list that failed, whichever failed first */
  hmc_request_t *late = start_word(&distant, 250), *all[] = {NULL, requests[2], late, requests[5], requests[4]};
  uint64_t start = now_ms();
  assert_status(hmc_request_wait_all(all, COUNT_OF(all)), HMC_TIMEOUT);
  assert_took(start, 240, 250);
  assert_error_names(hmc_status_text(HMC_TIMEOUT));
  distant_continue(&distant);
  assert_success(hmc_request_wait(requests[1]));

  assert_success(hmc_request_wait_all(none, 3));
  assert_success(hmc_request_wait_all(NULL, 0));
  assert_status(hmc_request_wait_all(NULL, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_request_wait_any(none, 3, &index), HMC_NOT_FOUND);
  assert_int_equal(index, 3);
  assert_status(hmc_request_wait_any(NULL, 0, &index), HMC_NOT_FOUND);
  assert_int_equal(index, 0);
  assert_status(hmc_request_wait_any(requests, 6, NULL), HMC_INVALID_CONFIG);
  assert_status(hmc_request_wait_any(NULL, 6, &index), HMC_INVALID_CONFIG);
  assert_status(hmc_request_wait_some(none, 3, indices, &done), HMC_NOT_FOUND);
  assert_status(hmc_request_wait_some(requests, 6, NULL, &done), HMC_INVALID_CONFIG);
  assert_status(hmc_request_wait_some(requests, 6, indices, NULL), HMC_INVALID_CONFIG);
  hmc_request_free(late);
  for (size_t i = 0; i < 6; i++) hmc_request_free(requests[i]);
  distant_end(&distant);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- deadlines */

void wait_ends_at_deadlines(void **state) {
  context_pair_t *pair = *state;
  static const uint64_t deadlines[] = {450, 150, 300};
  hmc_request_t *requests[5];
  size_t index = 99, indices[5], done = 0;
  distant_t distant;
  distant_start(&distant, pair);
  distant_stop(&distant);
  uint64_t start = now_ms();
  for (size_t i = 0; i < 3; i++) requests[i] = start_word(&distant, deadlines[i]);
  requests[3] = NULL;
  requests[4] = start_word(&distant, 0);
  assert_status(hmc_request_wait_any(requests, 5, &index), HMC_TIMEOUT);
  assert_took(start, 150, 150);
  if (now_ms() - start < deadlines[2]) assert_int_equal(index, 1); /* on a slow day others have ended as well */
  hmc_request_free(requests[1]);
  requests[1] = NULL;
  assert_success(hmc_request_wait_some(requests, 5, indices, &done));
  assert_took(start, 300, 300);
  assert_true(done == 1 || done == 2); /* two on a slow day */
  assert_int_equal(indices[done - 1], 2);
  hmc_request_free(requests[2]);
  assert_status(hmc_request_wait(requests[0]), HMC_TIMEOUT);
  assert_took(start, 450, 450);
  /* one that nobody asked about has ended, too, and never happens later */
  hmc_request_t *forgotten = start_word(&distant, 100);
  sleep_ms(250);
  await_rest(); /* the service thread has done what was due */
  distant_continue(&distant);
  assert_status(hmc_request_test(forgotten), HMC_TIMEOUT);
  assert_success(hmc_request_wait(requests[4]));
  assert_true(distant_word(&distant) >= 1);
  hmc_request_free(forgotten);
  hmc_request_free(requests[0]);
  hmc_request_free(requests[4]);
  distant_end(&distant);
}

/* The list may hold requests of several contexts. */
typedef struct waker {
  pthread_t thread;
  distant_t *distant;
} waker_t;

static void *wake_later(void *argument) {
  waker_t *waker = argument;
  sleep_ms(200);
  distant_continue(waker->distant);
  return NULL;
}

void wait_across_contexts(void **state) {
  context_pair_t *pair = *state, other;
  distant_t stopped, woken;
  context_pair_open(&other, NULL);
  for (int order = 0; order < 2; order++) {
    distant_start(&stopped, order ? pair : &other);
    distant_start(&woken, order ? &other : pair);
    distant_stop(&stopped);
    distant_stop(&woken);
    hmc_request_t *requests[] = {start_word(&stopped, 8000), start_word(&woken, 8000)};
    waker_t waker = {.distant = &woken};
    size_t index = 99, indices[2], done = 0;
    uint64_t start = now_ms();
    assert_int_equal(pthread_create(&waker.thread, NULL, wake_later, &waker), 0);
    hmc_status_t status =
        order ? hmc_request_wait_some(requests, 2, indices, &done) : hmc_request_wait_any(requests, 2, &index);
    pthread_join(waker.thread, NULL);
    assert_status(status, HMC_SUCCESS);
    assert_took(start, 200, 200);
    if (order)
      assert_true(done == 1 && indices[0] == 1);
    else
      assert_int_equal(index, 1);
    distant_continue(&stopped);
    assert_success(hmc_request_wait_all(requests, 2));
    hmc_request_free(requests[0]);
    hmc_request_free(requests[1]);
    distant_end(&stopped);
    distant_end(&woken);
  }
  context_pair_close(&other);
}

void deadline_shorter_than_the_context(void **state) {
  context_pair_t *pair = *state;
  hmc_context_t *hasty = NULL;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "hasty", 200}, &hasty));
  assert_success(hmc_peer_get_info(distant.peer, &info));
  assert_success(hmc_context_connect(hasty, "127.0.0.1", info.port, stamp.type, PATIENCE_MS, &peer));
  assert_success(hmc_remote_open(peer, "distant", PATIENCE_MS, &remote));
  hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = PATIENCE_MS};
  hmc_request_t *request = NULL;
  assert_success(hmc_atomic_nb(remote, 64, HMC_ATOMIC_ADD, 8, 0, 0, NULL, &patient, &request));
  assert_success(finish(request));
  uint64_t before = distant_word(&distant);
  distant_stop(&distant);
  uint64_t start = now_ms(); /* shorter than its context's */
  assert_status(finish(start_word(&distant, 120)), HMC_TIMEOUT);
  assert_took(start, 120, 120);
  start = now_ms(); /* the context's, blocking and not */
  assert_status(hmc_atomic(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL), HMC_TIMEOUT);
  assert_took(start, 200, 200);
  start = now_ms();
  assert_success(hmc_atomic_nb(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &request));
  assert_status(finish(request), HMC_TIMEOUT);
  assert_took(start, 200, 200);
  /* and longer than the context's: it lives to see the peer go on */
  assert_success(hmc_atomic_nb(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &patient, &request));
  sleep_ms(400);
  assert_status(hmc_request_test(request), HMC_IN_PROGRESS);
  distant_continue(&distant);
  assert_success(finish(request));
  uint64_t after = distant_word(&distant); /* those that were on their way may have come: the patient one must have */
  assert_true(after > before && after <= before + 4);
  hmc_context_destroy(hasty);
  distant_end(&distant);
}

/* Deadlines so short that they pass while an operation is being started. */
typedef struct hurry {
  pthread_t thread;
  const test_buffer_t *local;
  hmc_remote_t *remote;
  uint64_t offset, rounds, succeeded;
  hmc_status_t status;
} hurry_t;

#define HURRY_LENGTH (300 * KIB)

static void *hurry_on(void *argument) {
  hurry_t *hurry = argument;
  hmc_operation_options_t brief = {
      .size = sizeof(hmc_operation_options_t), .timeout_ms = 1, .notification = "brief", .notification_size = 5};
  for (uint64_t i = 0; i < hurry->rounds; i++) {
    uint64_t length = i % 4 ? HURRY_LENGTH : 64;
    hmc_request_t *request = NULL;
    brief.notification_size = i % 16 ? 0 : 5;
    hmc_status_t status =
        i % 3 ? hmc_put_nb(hurry->local->region, hurry->offset, hurry->remote, hurry->offset, length, &brief, &request)
              : hmc_get_nb(hurry->local->region, hurry->offset, hurry->remote, hurry->offset, length, &brief, &request);
    if (status == HMC_SUCCESS) status = finish(request);
    hurry->succeeded += status == HMC_SUCCESS;
    if (status != HMC_SUCCESS && status != HMC_TIMEOUT && status != HMC_NO_MEMORY) hurry->status = status;
  }
  return NULL;
}

void deadline_of_a_moment(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "brief", .size = 4 * HURRY_LENGTH, .registered = true});
  test_buffer_t local = near_make(pair, 4 * HURRY_LENGTH, false);
  hurry_t hurries[4];
  for (size_t i = 0; i < COUNT_OF(hurries); i++) {
    hurries[i] =
        (hurry_t){.local = &local, .remote = far.remote, .offset = i * HURRY_LENGTH, .rounds = SANITIZED ? 150 : 400};
    assert_int_equal(pthread_create(&hurries[i].thread, NULL, hurry_on, &hurries[i]), 0);
  }
  for (size_t i = 0; i < COUNT_OF(hurries); i++) pthread_join(hurries[i].thread, NULL);
  for (size_t i = 0; i < COUNT_OF(hurries); i++) assert_status(hurries[i].status, HMC_SUCCESS);
  owner_fill(&far.place, 0, 64, 0);
  bytes_fill(&local, 0, 64, 7);
  assert_success(hmc_put(local.region, 0, far.remote, 0, 64));
  assert_int_equal(owner_others(&far.place, 0, 64, 7, 7), 0);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- flush */

#define FLUSHED 40u

void flush_sees_everything(void **state) {
  context_pair_t *pair = *state;
  const uint64_t length = 70000;
  far_t far = far_make(pair, (far_options_t){.name = "flushed", .size = FLUSHED * length, .registered = true});
  test_buffer_t local = near_make(pair, FLUSHED * length, false);
  assert_success(hmc_peer_flush(pair->peer, 0)); /* nothing is in progress */
  for (uint64_t round = 1; round <= 5; round++) {
    hmc_request_t *requests[FLUSHED];
    uint64_t here = 0;
    owner_frame_write(&far.place, 0, FLUSHED * length, ~round);
    frame_write(&local, 0, FLUSHED * length, round);
    for (uint64_t i = 0; i < FLUSHED; i++)
      assert_success(
          hmc_put_nb(local.region, i * length, far.remote, i * length, i % 2 ? length : 100, NULL, &requests[i]));
    assert_success(hmc_peer_flush(pair->peer, 0));
    shared_begin();
    for (uint64_t i = 0; i < FLUSHED; i++) {
      uint8_t one[100], two[100];
      test_buffer_load(&far.place, i * length, one, sizeof one);
      test_buffer_load(&local, i * length, two, sizeof two);
      for (size_t k = 0; k < sizeof one; k++) here += one[k] != two[k];
    }
    shared_end();
    assert_int_equal(here, 0);
    for (uint64_t i = 0; i < FLUSHED; i++) {
      assert_success(hmc_request_test(requests[i]));
      hmc_request_free(requests[i]);
    }
  }
  /* what failed is complete as well: flush does not say so, the request does */
  hmc_request_t *request = NULL;
  hmc_status_t started = HMC_SUCCESS;
  test_buffer_withdraw(&far.place);
  started = hmc_put_nb(local.region, 0, far.remote, 0, length, NULL, &request);
  assert_success(hmc_peer_flush(pair->peer, 0));
  assert_status(started == HMC_SUCCESS ? hmc_request_test(request) : started, HMC_STALE);
  hmc_request_free(request);
  test_buffer_close(&local);
  far_close(&far);
}

void flush_has_a_deadline(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64});
  distant_t distant;
  distant_start(&distant, pair);
  uint64_t before = distant_word(&distant);
  distant_stop(&distant);
  hmc_request_t *request = start_word(&distant, 0);
  uint64_t start = now_ms();
  assert_status(hmc_peer_flush(distant.peer, 150), HMC_TIMEOUT);
  assert_took(start, 150, 150);
  assert_string_not_equal(hmc_last_error(), "");
  assert_success(hmc_peer_flush(pair->peer, 0));             /* another peer's operations do not matter */
  assert_status(hmc_request_test(request), HMC_IN_PROGRESS); /* a flush ends nothing */
  waker_t waker = {.distant = &distant};
  assert_int_equal(pthread_create(&waker.thread, NULL, wake_later, &waker), 0);
  assert_success(hmc_peer_flush(distant.peer, 0));
  pthread_join(waker.thread, NULL);
  assert_success(hmc_request_test(request));
  hmc_request_free(request);
  assert_int_equal(distant_word(&distant), before + 1);
  assert_status(hmc_peer_flush(NULL, 0), HMC_INVALID_CONFIG);
  distant_end(&distant);
  far_close(&far);
}
