/* A peer that stands still without being dead: operations end at their deadline, or when cancelled, and do not touch
 * the caller's memory afterwards, not even when the peer goes on.
 *
 * Where a put or get needs nothing from the target's process (stamp.direct) it succeeds instead, which is as good. */
#include "suite.h"

#include <hmc/state.h>
#include <signal.h>

#define DEADLINE_MS 250u

static const hmc_operation_options_t hasty = {.size = sizeof(hmc_operation_options_t), .timeout_ms = DEADLINE_MS};

/* The subject answers again; the connection may have been given up, then a new one serves. */
static void expect_recovery(scene_t *scene) {
  hmc_status_t status = exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 3, 1);
  if (status == HMC_PEER_LOST) {
    hmc_peer_close(scene->subject.peer);
    side_join(scene, &scene->subject);
    status = exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 3, 1);
  }
  assert_status(status, HMC_SUCCESS);
  assert_success(exchange(&scene->local, 0, scene->bystander.remote, 0, TRAFFIC_ROOM, 3, 1));
}

/* Lets the subject run again and looks at its region: every byte as it was before the put, or as the put brought it. */
static void expect_target_whole(scene_t *scene, hmc_status_t status) {
  bytes_fill(&scene->local, 0, REGION_SIZE, REFILL);
  side_continue(&scene->subject);
  sleep_ms(100);
  assert_int_equal(side_others(&scene->subject, REGION_SIZE, status == HMC_SUCCESS ? NEW : OLD, NEW), 0);
  assert_int_equal(bytes_other(&scene->local, 0, REGION_SIZE, REFILL, REFILL), 0);
  expect_recovery(scene);
}

/* Lets the subject run again and looks at the local memory: nothing of a late answer may come. */
static void expect_local_quiet(scene_t *scene, hmc_status_t status) {
  assert_int_equal(bytes_other(&scene->local, 0, REGION_SIZE, status == HMC_SUCCESS ? OLD : NEW, OLD), 0);
  bytes_fill(&scene->local, 0, REGION_SIZE, REFILL);
  side_continue(&scene->subject);
  sleep_ms(150);
  assert_int_equal(bytes_other(&scene->local, 0, REGION_SIZE, REFILL, REFILL), 0);
  expect_recovery(scene);
}

/* The connection has carried something before. */
static void stop_subject(scene_t *scene) {
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 1, 1));
  side_fill(&scene->subject, REGION_SIZE, OLD);
  bytes_fill(&scene->local, 0, REGION_SIZE, NEW);
  traffic_start(scene, scene->bystander.remote);
  side_stop(&scene->subject);
}

static void expect_ended(scene_t *scene, hmc_status_t status, hmc_status_t wanted) {
  assert_status(status, stamp.direct && status == HMC_SUCCESS ? HMC_SUCCESS : wanted);
  traffic_end(scene);
}

/* ---- deadlines --------------------------------------------------------------------------------------------------- */

static hmc_status_t wait_hastily(scene_t *scene, hmc_request_t *request, uint64_t start) {
  hmc_status_t status = hmc_request_wait(request);
  if (status != HMC_SUCCESS) assert_text();
  assert_took(start, status == HMC_SUCCESS ? 0 : DEADLINE_MS, DEADLINE_MS);
  assert_int_equal(hmc_request_test(request), status);
  hmc_request_free(request);
  expect_ended(scene, status, HMC_TIMEOUT);
  return status;
}

void stopped_put_times_out(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  stop_subject(scene);
  uint64_t start = now_ms();
  assert_success(hmc_put_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, &hasty, &request));
  expect_target_whole(scene, wait_hastily(scene, request, start));
}

void stopped_get_times_out(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  stop_subject(scene);
  uint64_t start = now_ms();
  assert_success(hmc_get_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, &hasty, &request));
  expect_local_quiet(scene, wait_hastily(scene, request, start));
}

void stopped_polling_times_out(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  stop_subject(scene);
  uint64_t start = now_ms();
  assert_success(hmc_put_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, &hasty, &request));
  hmc_status_t status;
  while ((status = hmc_request_test(request)) == HMC_IN_PROGRESS) sleep_ms(1);
  assert_int_equal(wait_hastily(scene, request, start), status);
  expect_target_whole(scene, status);
}

/* Every way of waiting ends by the request's deadline, or by its own. */
void stopped_waits_of_all_kinds_end(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[3] = {NULL};
  uint64_t fetched = 99, start;
  size_t index = 99, indices[3], done = 0;
  hmc_status_t status;
  stop_subject(scene);
  hmc_region_t *local = scene->local.region;
  hmc_remote_t *remote = scene->subject.remote;
  start = now_ms();
  assert_success(hmc_put_nb(local, MIB, remote, MIB, REGION_SIZE - MIB, &hasty, &requests[0]));
  assert_success(hmc_atomic_nb(remote, 8, HMC_ATOMIC_ADD, 8, 1, 0, &fetched, &hasty, &requests[2]));
  status = hmc_peer_flush(scene->subject.peer, DEADLINE_MS / 2);
  bool all_end = stamp.direct || now_ms() - start >= DEADLINE_MS; /* a busy machine comes to the flush late */
  assert_status(status, all_end && status == HMC_SUCCESS ? HMC_SUCCESS : HMC_TIMEOUT);
  assert_took(start, status == HMC_SUCCESS ? 0 : DEADLINE_MS / 2, DEADLINE_MS / 2);
  status = hmc_request_wait_any(requests, 3, &index);
  assert_status(status, stamp.direct && status == HMC_SUCCESS ? HMC_SUCCESS : HMC_TIMEOUT);
  assert_true(index == 0 || index == 2);
  assert_success(hmc_request_wait_some(requests, 3, indices, &done));
  assert_true(done > 0);
  status = hmc_request_wait_all(requests, 3);
  assert_took(start, status == HMC_SUCCESS ? 0 : DEADLINE_MS, DEADLINE_MS);
  expect_ended(scene, status, HMC_TIMEOUT);
  assert_success(hmc_peer_flush(scene->subject.peer, DEADLINE_MS));
  assert_true((fetched == 99) == (hmc_request_test(requests[2]) != HMC_SUCCESS));
  hmc_request_free(requests[0]);
  hmc_request_free(requests[2]);
  uint8_t note[8];
  start = now_ms();
  assert_status(hmc_notification_receive(scene->context, note, sizeof note, &done, NULL, DEADLINE_MS), HMC_TIMEOUT);
  assert_took(start, DEADLINE_MS, DEADLINE_MS);
  side_continue(&scene->subject);
  expect_recovery(scene);
}

/* Starting does not wait, also for the first operation on a connection. */
void stopped_peer_does_not_hold_a_start(void **state) {
  scene_t *scene = *state;
  const hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 2 * SLACK_MS};
  hmc_request_t *put = NULL, *get = NULL;
  side_stop(&scene->subject);
  uint64_t start = now_ms();
  assert_success(hmc_put_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, &patient, &put));
  assert_success(hmc_get_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, &patient, &get));
  assert_took(start, 0, 0);
  hmc_request_free(put);
  hmc_request_free(get);
  assert_took(start, 0, 0);
  side_continue(&scene->subject);
  expect_recovery(scene);
}

/* The context's deadline holds for calls that have none of their own. */
void stopped_blocking_call_times_out(void **state) {
  scene_t *scene = *state;
  hmc_context_t *context = NULL;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  test_buffer_t local;
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "hasty", DEADLINE_MS}, &context));
  assert_success(hmc_context_connect(context, "127.0.0.1", scene->subject.port, stamp.type, PATIENCE_MS, &peer));
  assert_success(hmc_remote_open(peer, "region", PATIENCE_MS, &remote));
  assert_success(test_buffer_open(&local, context, cpu, REGION_SIZE, NULL, 0, true));
  bytes_fill(&local, 0, REGION_SIZE, NEW);
  stop_subject(scene);
  uint64_t start = now_ms();
  hmc_status_t status = hmc_put(local.region, 0, remote, 0, REGION_SIZE);
  assert_took(start, status == HMC_SUCCESS ? 0 : DEADLINE_MS, DEADLINE_MS);
  bytes_fill(&local, 0, REGION_SIZE, REFILL);
  expect_ended(scene, status, HMC_TIMEOUT);
  expect_target_whole(scene, status);
  assert_int_equal(bytes_other(&local, 0, REGION_SIZE, REFILL, REFILL), 0);
  test_buffer_close(&local);
  hmc_context_destroy(context);
}

/* ---- cancel ------------------------------------------------------------------------------------------------------ */

static hmc_status_t cancel_now(scene_t *scene, hmc_request_t *request) {
  sleep_ms(20);
  uint64_t start = now_ms();
  hmc_status_t status = hmc_request_cancel(request);
  assert_took(start, 0, 0);
  assert_int_equal(hmc_request_wait(request), status);
  hmc_request_free(request);
  expect_ended(scene, status, HMC_CANCELLED);
  return status;
}

void stopped_put_is_cancelled(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  stop_subject(scene);
  assert_success(hmc_put_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, NULL, &request));
  expect_target_whole(scene, cancel_now(scene, request));
}

void stopped_get_is_cancelled(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  stop_subject(scene);
  assert_success(hmc_get_nb(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE, NULL, &request));
  expect_local_quiet(scene, cancel_now(scene, request));
}

/* What a thread's program may want of its blocking calls: false for a while. */
static int asked;
static bool ends_at_the_third_time(void) { return ++asked == 3; }

typedef hmc_status_t (*blocking_call_t)(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                        uint64_t remote_offset, uint64_t length);

static hmc_status_t end_by_asking(scene_t *scene, blocking_call_t call) {
  stop_subject(scene);
  asked = 0;
  hmc_state_of_thread()->stop = ends_at_the_third_time;
  uint64_t start = now_ms();
  hmc_status_t status = call(scene->local.region, 0, scene->subject.remote, 0, REGION_SIZE);
  hmc_state_of_thread()->stop = NULL;
  assert_took(start, 0, 0);
  assert_int_equal(asked, status == HMC_SUCCESS ? 0 : 3);
  if (status != HMC_SUCCESS) assert_text();
  expect_ended(scene, status, HMC_CANCELLED);
  return status;
}

void stopped_blocking_put_ends_when_asked(void **state) {
  scene_t *scene = *state;
  expect_target_whole(scene, end_by_asking(scene, hmc_put));
}

void stopped_blocking_get_ends_when_asked(void **state) {
  scene_t *scene = *state;
  expect_local_quiet(scene, end_by_asking(scene, hmc_get));
}

/* ---- what is not an operation ------------------------------------------------------------------------------------ */

void stopped_peer_opens_nothing(void **state) {
  scene_t *scene = *state;
  hmc_remote_t *remote = NULL;
  hmc_peer_t *peer = NULL;
  side_stop(&scene->subject);
  uint64_t start = now_ms();
  assert_status(hmc_remote_open(scene->subject.peer, "region", DEADLINE_MS, &remote), HMC_TIMEOUT);
  assert_took(start, DEADLINE_MS, DEADLINE_MS);
  start = now_ms();
  assert_status(hmc_context_connect(scene->context, "127.0.0.1", scene->subject.port, stamp.type, DEADLINE_MS, &peer),
                HMC_TIMEOUT);
  assert_took(start, DEADLINE_MS, DEADLINE_MS);
  assert_null(remote);
  assert_null(peer);
  start = now_ms();
  hmc_peer_close(scene->subject.peer);
  assert_took(start, 0, 0);
  side_continue(&scene->subject);
  side_join(scene, &scene->subject);
  expect_recovery(scene);
}

/* An initiator that stops in the middle of its puts cannot keep the owner from closing the region, nor write to it
 * later. Small puts, and some rounds, so that it stops at every point of one. */
void stopped_initiator_does_not_hold_a_region(void **state) {
  scene_t *scene = *state;
  uint16_t port = 0;
  assert_success(hmc_context_listen(scene->context, "127.0.0.1", 0, &port));
  command_t dial = {.verb = VERB_CONNECT, .text = "127.0.0.1", .value = port, .type = stamp.type};
  target_do(&scene->subject.target, dial);
  for (int round = 0; round < 5; round++) {
    test_buffer_t prey;
    assert_success(test_buffer_open(&prey, scene->context, cpu, MIB, "prey", HMC_REMOTE_ALL, true));
    target_do(&scene->subject.target, (command_t){.verb = VERB_REMOTE_OPEN, .text = "prey"});
    target_send(&scene->subject.target, &(command_t){.verb = VERB_PUT, .length = 4096, .value = UINT64_MAX});
    sleep_ms(10);
    side_stop(&scene->subject);
    uint64_t start = now_ms();
    test_buffer_withdraw(&prey);
    assert_took(start, 0, 2000);
    bytes_fill(&prey, 0, MIB, REFILL);
    side_continue(&scene->subject);
    assert_int_equal(target_receive(&scene->subject.target).status, HMC_STALE);
    sleep_ms(5);
    assert_int_equal(bytes_other(&prey, 0, MIB, REFILL, REFILL), 0);
    target_do(&scene->subject.target, (command_t){.verb = VERB_REMOTE_CLOSE});
    test_buffer_close(&prey);
  }
  assert_success(exchange(&scene->local, 0, scene->bystander.remote, 0, TRAFFIC_ROOM, 3, 1));
}

void destroyed_with_requests_outstanding(void **state) {
  scene_t *scene = *state;
  hmc_context_t *context = NULL;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  hmc_request_t *request = NULL;
  test_buffer_t local;
  assert_success(hmc_context_create(NULL, &context));
  assert_success(hmc_context_listen(context, "127.0.0.1", 0, NULL));
  assert_success(hmc_context_connect(context, "127.0.0.1", scene->subject.port, stamp.type, 0, &peer));
  assert_success(hmc_remote_open(peer, "region", 0, &remote));
  assert_success(test_buffer_open(&local, context, cpu, REGION_SIZE, NULL, 0, true));
  bytes_fill(&local, 0, REGION_SIZE, NEW);
  side_fill(&scene->subject, REGION_SIZE, NEW);
  assert_success(hmc_put(local.region, 0, remote, 0, 64));
  side_stop(&scene->subject);
  for (uint64_t i = 0; i < 12; i++) {
    uint64_t length = REGION_SIZE / 12, offset = i * length;
    assert_success(i % 2 ? hmc_put_nb(local.region, offset, remote, offset, length, NULL, &request)
                         : hmc_get_nb(local.region, offset, remote, offset, length, NULL, &request));
  }
  uint64_t start = now_ms();
  hmc_context_destroy(context);
  assert_took(start, 0, 0);
  local.region = NULL; /* went with the context */
  bytes_fill(&local, 0, REGION_SIZE, REFILL);
  side_continue(&scene->subject);
  sleep_ms(100);
  assert_int_equal(side_others(&scene->subject, REGION_SIZE, NEW, NEW), 0);
  assert_int_equal(bytes_other(&local, 0, REGION_SIZE, REFILL, REFILL), 0);
  test_buffer_close(&local);
  expect_recovery(scene);
}
