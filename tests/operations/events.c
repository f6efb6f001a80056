/* Learning of completions without waiting: the event descriptor and callbacks. */
#include "suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define LENGTH (40 * KIB)

static bool is_readable(int descriptor, int timeout_ms) {
  struct pollfd ready = {.fd = descriptor, .events = POLLIN};
  return poll(&ready, 1, timeout_ms) == 1 && ready.revents == POLLIN;
}

static void drain(int descriptor) {
  uint64_t count = 0;
  assert_true(is_readable(descriptor, PATIENCE_MS));
  assert_int_equal(read(descriptor, &count, sizeof count), sizeof count);
  assert_true(count > 0);
}

/* ---- the event descriptor */

void event_descriptor_polls(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LENGTH, .registered = true});
  far_t made = far_make(pair, (far_options_t){.name = "made", .size = LENGTH});
  test_buffer_t local = near_make(pair, LENGTH, false);
  int descriptor = -1, again = -1, other = -1;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(put_with(&local, 0, far.remote, 0, 8, NULL)); /* before the first call: not counted */
  assert_success(hmc_context_event_descriptor(pair->here, &descriptor));
  assert_success(hmc_context_event_descriptor(pair->here, &again));
  assert_success(hmc_context_event_descriptor(pair->there, &other));
  assert_int_equal(descriptor, again);
  assert_int_not_equal(descriptor, other);
  if (is_readable(descriptor, 20)) drain(descriptor); /* the put before may be reported as late as now */
  /* each way to an end is reported, by every way that the bytes go */
  hmc_remote_t *remotes[] = {far.remote, made.remote};
  for (size_t i = 0; i < 4; i++) {
    hmc_request_t *request = NULL;
    hmc_region_t *region = local.region;
    assert_success(i / 2 ? hmc_put_nb(region, 0, remotes[i % 2], 0, LENGTH, NULL, &request)
                         : hmc_get_nb(region, 0, remotes[i % 2], 0, LENGTH, NULL, &request));
    drain(descriptor);
    assert_success(hmc_request_test(request));
    hmc_request_free(request);
    assert_false(is_readable(descriptor, 5));
  }
  distant_stop(&distant);
  hmc_operation_options_t brief = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 100};
  hmc_request_t *request = NULL, *cancelled = NULL;
  assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &brief, &request));
  assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &cancelled));
  drain(descriptor); /* nobody asks about the request meanwhile */
  assert_status(hmc_request_test(request), HMC_TIMEOUT);
  assert_status(hmc_request_cancel(cancelled), HMC_CANCELLED);
  drain(descriptor);
  assert_false(is_readable(descriptor, 5));
  hmc_request_free(request);
  hmc_request_free(cancelled);
  target_kill(&distant.target);
  /* a whole program that does nothing but poll and test */
  enum { MANY = 64 };
  hmc_request_t *requests[MANY];
  for (int round = 0; round < (SANITIZED ? 3 : 10); round++) {
    size_t left = MANY;
    for (size_t i = 0; i < MANY; i++)
      assert_success(hmc_put_nb(local.region, 0, remotes[i % 2], 0, i * 600, NULL, &requests[i]));
    while (left > 0) {
      drain(descriptor);
      for (size_t i = 0; i < MANY; i++) {
        hmc_status_t status = requests[i] ? hmc_request_test(requests[i]) : HMC_IN_PROGRESS;
        if (status == HMC_IN_PROGRESS) continue;
        assert_status(status, HMC_SUCCESS);
        hmc_request_free(requests[i]);
        requests[i] = NULL;
        left--;
      }
    }
    while (is_readable(descriptor, 5)) /* reported after they were seen */
      drain(descriptor);
  }
  assert_false(is_readable(other, 0));
  assert_status(hmc_context_event_descriptor(NULL, &again), HMC_INVALID_CONFIG);
  assert_status(hmc_context_event_descriptor(pair->here, NULL), HMC_INVALID_CONFIG);
  test_buffer_close(&local);
  far_close(&made);
  far_close(&far);
}

/* ---- callbacks */

/* What one request's callback saw. */
typedef struct call {
  _Atomic uint32_t count;
  hmc_request_t *request;
  hmc_status_t status, tested;
  pthread_t thread;
} call_t;

static void on_complete(hmc_request_t *request, hmc_status_t status, void *user) {
  call_t *call = user;
  call->request = request;
  call->status = status;
  call->tested = hmc_request_test(request);
  call->thread = pthread_self();
  atomic_fetch_add(&call->count, 1);
}

static void await_calls(_Atomic uint32_t *count, uint32_t wanted) {
  uint64_t limit = now_ms() + PATIENCE_MS;
  while (atomic_load(count) < wanted && now_ms() < limit) sleep_ms(1);
  assert_int_equal(atomic_load(count), wanted);
}

void callback_once_by_the_service_thread(void **state) {
  enum { KINDS = 10 };
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LENGTH, .registered = true});
  far_t made = far_make(pair, (far_options_t){.name = "made", .size = LENGTH});
  test_buffer_t local = near_make(pair, LENGTH, false);
  test_buffer_t got = near_make(pair, 2 * LENGTH, false); /* what is in progress at the same time shares no bytes */
  hmc_segment_t pieces[] = {{0, 0, 10}, {100, 100, 10}};
  hmc_batch_t *batch = NULL;
  distant_t distant;
  distant_start(&distant, pair);
  distant_stop(&distant);
  assert_success(hmc_batch_create(local.region, far.remote, pieces, 2, &batch));
  for (int round = 0; round < (SANITIZED ? 3 : 10); round++) {
    call_t calls[KINDS] = {0};
    hmc_request_t *requests[KINDS];
    hmc_operation_options_t options[KINDS];
    hmc_signal_t signal = {made.remote, 8, HMC_ATOMIC_ADD, 1};
    hmc_region_t *region = local.region;
    for (size_t i = 0; i < KINDS; i++)
      options[i] = (hmc_operation_options_t){
          .size = sizeof(hmc_operation_options_t), .callback = on_complete, .user = &calls[i]};
    options[5].signal = &signal;
    options[6].notification = "told", options[6].notification_size = 4;
    options[8].timeout_ms = 50;
    assert_success(hmc_put_nb(region, 0, far.remote, 0, LENGTH, &options[0], &requests[0]));
    assert_success(hmc_get_nb(got.region, 0, far.remote, 0, LENGTH, &options[1], &requests[1]));
    assert_success(hmc_put_nb(region, 0, made.remote, 0, LENGTH, &options[2], &requests[2]));
    assert_success(hmc_atomic_nb(far.remote, 8, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options[3], &requests[3]));
    assert_success(hmc_batch_put_nb(batch, &options[4], &requests[4]));
    assert_success(hmc_put_nb(region, 0, made.remote, 64, LENGTH - 64, &options[5], &requests[5]));
    assert_success(hmc_get_nb(got.region, LENGTH, made.remote, 0, LENGTH, &options[6], &requests[6]));
    assert_success(hmc_put_nb(region, 0, made.remote, 0, 0, &options[7], &requests[7]));
    assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options[8], &requests[8]));
    assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options[9], &requests[9]));
    assert_status(hmc_request_cancel(requests[9]), HMC_CANCELLED);
    for (size_t i = 0; i < KINDS; i++) await_calls(&calls[i].count, 1);
    for (size_t i = 0; i < KINDS; i++) {
      hmc_status_t status = i < 8 ? HMC_SUCCESS : i == 8 ? HMC_TIMEOUT : HMC_CANCELLED;
      assert_status(hmc_request_wait(requests[i]), status);
      assert_int_equal(calls[i].status, status);
      assert_int_equal(calls[i].tested, status);
      assert_ptr_equal(calls[i].request, requests[i]);
      assert_true(pthread_equal(calls[i].thread, calls[0].thread));
      assert_false(pthread_equal(calls[i].thread, pthread_self()));
    }
    sleep_ms(5);
    for (size_t i = 0; i < KINDS; i++) {
      assert_int_equal(atomic_load(&calls[i].count), 1); /* once */
      hmc_request_free(requests[i]);
    }
    uint8_t note[8];
    size_t size = 0;
    assert_success(hmc_notification_receive(pair->there, note, sizeof note, &size, NULL, 0));
  }
  hmc_batch_free(batch);
  target_kill(&distant.target);
  test_buffer_close(&got);
  test_buffer_close(&local);
  far_close(&made);
  far_close(&far);
}

/* A chain in which each callback starts the next operation and frees what is done. */
typedef struct relay {
  const test_buffer_t *local;
  hmc_remote_t *remotes[2];
  _Atomic uint32_t runs;
  uint32_t most;
  hmc_status_t status;
  hmc_request_t *last;
} relay_t;

static void run_on(hmc_request_t *request, hmc_status_t status, void *user) {
  relay_t *relay = user;
  uint32_t run = atomic_load(&relay->runs) + 1;
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .callback = run_on, .user = relay};
  hmc_request_free(request);
  if (status == HMC_SUCCESS && run < relay->most) {
    uint64_t at = run * 16;
    status = run % 3 ? hmc_put_nb(relay->local->region, at, relay->remotes[run % 2], at, 16, &options, &relay->last)
                     : hmc_get_nb(relay->local->region, at, relay->remotes[run % 2], at, 16, &options, &relay->last);
  }
  if (status != HMC_SUCCESS) relay->status = status;
  atomic_store(&relay->runs, status == HMC_SUCCESS ? run : relay->most);
}

void callback_starts_the_next(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LENGTH, .registered = true});
  far_t made = far_make(pair, (far_options_t){.name = "made", .size = LENGTH});
  test_buffer_t local = near_make(pair, LENGTH, false);
  relay_t relay = {.local = &local, .remotes = {far.remote, made.remote}, .most = SANITIZED ? 300 : 1000};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .callback = run_on, .user = &relay};
  bytes_fill(&local, 0, LENGTH, 0x5a);
  assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 16, &options, &relay.last));
  await_calls(&relay.runs, relay.most);
  assert_status(relay.status, HMC_SUCCESS);
  for (uint64_t run = 1; run < relay.most; run++)
    if (run % 3) assert_int_equal(owner_others(run % 2 ? &made.place : &far.place, run * 16, 16, 0x5a, 0x5a), 0);
  test_buffer_close(&local);
  far_close(&made);
  far_close(&far);
}

/* ---- freed before */

typedef struct promise {
  _Atomic uint32_t calls, freed, late;
} promise_t;

static void on_promise(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  promise_t *promise = user;
  if (atomic_load(&promise->freed)) atomic_store(&promise->late, 1);
  spin_ns(2000); /* a thread that frees meanwhile has to wait for the end of it */
  if (atomic_load(&promise->freed)) atomic_store(&promise->late, 1);
  atomic_fetch_add(&promise->calls, 1);
}

/* Once hmc_request_free has returned, the callback neither comes nor is still running. */
void callback_not_after_free(void **state) {
  context_pair_t *pair = *state;
  const size_t rounds = SANITIZED ? 1500 : 4000;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64, .registered = true});
  far_t made = far_make(pair, (far_options_t){.name = "made", .size = 64});
  test_buffer_t local = near_make(pair, 64, false);
  promise_t *promises = calloc(rounds, sizeof *promises);
  assert_non_null(promises);
  uint64_t random = 1;
  uint32_t came = 0, late = 0;
  for (size_t i = 0; i < rounds; i++) {
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .callback = on_promise, .user = &promises[i]};
    hmc_request_t *request = NULL;
    assert_success(hmc_put_nb(local.region, 0, i % 3 ? made.remote : far.remote, 0, i % 64, &options, &request));
    spin_ns(draw(&random) % (i % 4 ? 30000 : 2000));
    hmc_request_free(request);
    atomic_store(&promises[i].freed, 1);
  }
  sleep_ms(20);
  for (size_t i = 0; i < rounds; i++) {
    came += atomic_load(&promises[i].calls);
    late += atomic_load(&promises[i].late);
    assert_true(atomic_load(&promises[i].calls) <= 1);
  }
  assert_int_equal(late, 0);
  assert_true(came > 0); /* some were in time */
  free(promises);
  test_buffer_close(&local);
  far_close(&made);
  far_close(&far);
}

static void free_at_once(hmc_request_t *request, hmc_status_t status, void *user) {
  hmc_request_free(request);
  if (status == HMC_SUCCESS) atomic_fetch_add((_Atomic uint32_t *)user, 1);
}

void callback_may_free(void **state) {
  context_pair_t *pair = *state;
  const uint32_t rounds = SANITIZED ? 500 : 1500;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LENGTH, .registered = true});
  far_t made = far_make(pair, (far_options_t){.name = "made", .size = LENGTH});
  test_buffer_t local = near_make(pair, LENGTH, false);
  _Atomic uint32_t count = 0;
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .callback = free_at_once, .user = (void *)&count};
  for (uint32_t i = 0; i < rounds; i++) {
    hmc_request_t *request = NULL;
    hmc_remote_t *remote = i % 2 ? far.remote : made.remote;
    assert_success(hmc_put_nb(local.region, 0, remote, 0, i % 5 ? 100 : LENGTH, &options, &request));
    if (i % 100 == 99) assert_success(hmc_peer_flush(pair->peer, 0));
  }
  await_calls(&count, rounds);
  test_buffer_close(&local);
  far_close(&made);
  far_close(&far);
}

/* ---- what a callback may wait for */

typedef struct inside {
  context_pair_t *pair;
  const test_buffer_t *local;
  hmc_remote_t *remote;
  _Atomic uint32_t begun, runs;
  hmc_status_t put, get, any, all, flushed;
  hmc_status_t opened, accepted, received, progressed;
  uint64_t took;
} inside_t;

static void run_inside(inside_t *inside, void (*callback)(hmc_request_t *, hmc_status_t, void *)) {
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .callback = callback, .user = inside};
  hmc_request_t *request = NULL;
  assert_success(hmc_put_nb(inside->local->region, 0, inside->remote, 0, 8, &options, &request));
  await_calls(&inside->runs, 1);
  hmc_request_free(request);
}

static void wait_inside(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  inside_t *inside = user;
  hmc_region_t *region = inside->local->region;
  hmc_request_t *requests[3] = {NULL};
  size_t index = 0;
  inside->put = hmc_put(region, 0, inside->remote, 0, LENGTH);
  inside->get = hmc_get(region, LENGTH, inside->remote, 0, LENGTH);
  HMC_IGNORE(hmc_put_nb(region, 0, inside->remote, 0, LENGTH, NULL, &requests[0]));
  HMC_IGNORE(hmc_get_nb(region, LENGTH, inside->remote, 0, LENGTH, NULL, &requests[1]));
  HMC_IGNORE(hmc_atomic_nb(inside->remote, 0, HMC_ATOMIC_ADD, 8, 0, 0, NULL, NULL, &requests[2]));
  inside->any = hmc_request_wait_any(requests, 3, &index);
  inside->flushed = hmc_peer_flush(inside->pair->peer, 0);
  inside->all = hmc_request_wait_all(requests, 3);
  for (size_t i = 0; i < 3; i++) hmc_request_free(requests[i]);
  atomic_fetch_add(&inside->runs, 1);
}

/* Nobody else moves them on then. */
void callback_waits_for_operations(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LENGTH, .registered = true});
  test_buffer_t local = near_make(pair, 2 * LENGTH, false);
  bytes_fill(&local, 0, LENGTH, 0x77);
  for (int round = 0; round < (SANITIZED ? 5 : 30); round++) {
    inside_t inside = {.pair = pair, .local = &local, .remote = far.remote};
    run_inside(&inside, wait_inside);
    assert_status(inside.put, HMC_SUCCESS);
    assert_status(inside.get, HMC_SUCCESS);
    assert_status(inside.any, HMC_SUCCESS);
    assert_status(inside.flushed, HMC_SUCCESS);
    assert_status(inside.all, HMC_SUCCESS);
  }
  assert_int_equal(bytes_other(&local, LENGTH, LENGTH, 0x77, 0x77), 0);
  test_buffer_close(&local);
  far_close(&far);
}

#define LONG (512 * KIB) /* threads of the context move so many */

/* Its data, a signal and a notification, by a request and, without the notification, by a queue. */
static void follow_inside(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  inside_t *inside = user;
  static uint8_t bytes[LONG];
  hmc_signal_t signal = {inside->remote, 8, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                     .timeout_ms = PATIENCE_MS / 3,
                                     .signal = &signal,
                                     .notification = "behind",
                                     .notification_size = 6};
  hmc_queue_options_t flushed_soon = HMC_QUEUE_OPTIONS_INIT;
  hmc_queue_t *queue = NULL;
  hmc_request_t *requests[2] = {NULL};
  flushed_soon.timeout_ms = PATIENCE_MS / 3;
  atomic_fetch_add(&inside->begun, 1);
  inside->put = hmc_put_with(inside->local->region, 64, inside->remote, 64, LONG - 64, &options);
  inside->get = hmc_get_with(inside->local->region, 64, inside->remote, 64, LONG - 64, &options);
  for (int i = 0; i < 2; i++)
    HMC_IGNORE(hmc_put_nb(inside->local->region, 64, inside->remote, 64, i ? LONG - 64 : 8, &options, &requests[i]));
  inside->flushed = hmc_peer_flush(inside->pair->peer, PATIENCE_MS / 3);
  inside->all = hmc_request_wait_all(requests, 2);
  for (int i = 0; i < 2; i++) hmc_request_free(requests[i]);
  inside->any = hmc_queue_create(inside->pair->here, &flushed_soon, &queue);
  if (inside->any == HMC_SUCCESS)
    inside->any = hmc_queue_put_signal(queue, bytes + 64, inside->remote, 64, LONG - 64, &signal);
  if (inside->any == HMC_SUCCESS) inside->any = hmc_queue_flush(queue, NULL, 0);
  hmc_queue_destroy(queue);
  atomic_fetch_add(&inside->runs, 1);
}

/* Takes what the far end is informed of, until there is nothing more and the callback is over. */
static void take_all_notes(context_pair_t *pair, inside_t *inside) {
  uint64_t limit = now_ms() + 3 * PATIENCE_MS;
  uint8_t data[8];
  size_t size;
  bool over, some;
  await_calls(&inside->begun, 1);
  sleep_ms(20); /* it waits for room */
  do {
    over = atomic_load(&inside->runs) > 0;
    some = hmc_notification_receive(pair->there, data, sizeof data, &size, NULL, 5) == HMC_SUCCESS;
  } while ((some || !over) && now_ms() < limit);
}

/* What comes behind the data the service thread would begin, or hear of: also where the far end has no room for a
 * notification at first. */
void callback_waits_for_what_follows(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LONG, .registered = true});
  test_buffer_t local = near_make(pair, LONG, false);
  for (int crowded = 1; crowded >= 0; crowded--) {
    inside_t inside = {.pair = pair, .local = &local, .remote = far.remote};
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .callback = follow_inside, .user = &inside};
    hmc_operation_options_t note = {
        .size = sizeof(hmc_operation_options_t), .notification = "full", .notification_size = 4};
    hmc_request_t *request = NULL;
    for (uint32_t i = 0; crowded && i < HMC_NOTIFICATION_QUEUE; i++)
      assert_success(hmc_put_with(local.region, 0, far.remote, 0, 0, &note));
    word_store(&far.place, 8, 0);
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, &options, &request));
    take_all_notes(pair, &inside);
    await_calls(&inside.runs, 1);
    hmc_request_free(request);
    assert_status(inside.put, HMC_SUCCESS);
    assert_status(inside.get, HMC_SUCCESS);
    assert_status(inside.flushed, HMC_SUCCESS);
    assert_status(inside.all, HMC_SUCCESS);
    assert_status(inside.any, HMC_SUCCESS);
    assert_int_equal(word_load(&far.place, 8), 5);
  }
  test_buffer_close(&local);
  far_close(&far);
}

static void ask_inside(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  inside_t *inside = user;
  hmc_context_t *context = inside->pair->here;
  hmc_remote_t *remote = NULL;
  hmc_peer_t *peer = NULL;
  uint8_t data[8];
  size_t size = 0;
  uint64_t start = now_ms();
  inside->opened = hmc_remote_open(inside->pair->peer, "far", 0, &remote);
  inside->accepted = hmc_context_accept(context, 0, &peer);
  inside->received = hmc_notification_receive(context, data, sizeof data, &size, NULL, 0);
  inside->progressed = hmc_context_progress(context, 1);
  hmc_context_destroy(context);
  inside->took = now_ms() - start;
  atomic_fetch_add(&inside->runs, 1);
}

/* What the service thread would have to bring is refused, at once. */
void callback_waits_for_nobody_else(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = LENGTH, .registered = true});
  test_buffer_t local = near_make(pair, LENGTH, false);
  inside_t inside = {.pair = pair, .local = &local, .remote = far.remote};
  run_inside(&inside, ask_inside);
  assert_status(inside.opened, HMC_UNSUPPORT);
  assert_status(inside.accepted, HMC_UNSUPPORT);
  assert_status(inside.received, HMC_UNSUPPORT);
  assert_status(inside.progressed, HMC_UNSUPPORT);
  assert_true(inside.took < SLACK_MS);
  assert_success(hmc_put(local.region, 0, far.remote, 0, LENGTH)); /* the context is still there */
  test_buffer_close(&local);
  far_close(&far);
}
