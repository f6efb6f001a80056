/* One place to wait: hmc_poll, its descriptor, and what ends those who wait. */
#include "suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define EVENTS 16u

/* Polls until there is something; asserts that it is one event of that kind, and gives it. */
static hmc_event_t next_event(hmc_context_t *context, hmc_event_kind_t kind) {
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count = 0;
  assert_success(hmc_poll(context, &event, 1, &count, PATIENCE_MS));
  assert_int_equal(count, 1);
  assert_int_equal(event.kind, kind);
  assert_int_equal(event.size, sizeof event);
  return event;
}

static void assert_nothing(hmc_context_t *context) {
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count = 5;
  assert_status(hmc_poll(context, &event, 1, &count, HMC_NO_WAIT), HMC_TIMEOUT);
  assert_int_equal(count, 0);
}

static bool is_readable(int descriptor, int timeout) {
  struct pollfd one = {.fd = descriptor, .events = POLLIN};
  return poll(&one, 1, timeout) == 1;
}

static hmc_request_t *start_put(const test_buffer_t *local, hmc_remote_t *remote, void *user) {
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_EVENT, .user = user};
  hmc_request_t *request = NULL;
  assert_success(hmc_put_nb(local->region, 0, remote, 0, 64, &options, &request));
  return request;
}

/* A peer comes, sends, and goes; each is reported once and in that order. */
void poll_tells_in_order(void **state) {
  context_pair_t *pair = *state;
  hmc_context_t *third = NULL;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  uint8_t text[3] = {1, 2, 3};
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 64});
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "third", PATIENCE_MS}, &third));
  test_buffer_t local;
  assert_success(test_buffer_open(&local, third, stamp.near, 64, NULL, 0, false));
  assert_success(hmc_context_connect(third, "127.0.0.1", pair->port, stamp.type, 0, &peer));
  assert_success(hmc_remote_open(peer, "inbox", 0, &remote));
  for (uint8_t i = 0; i < 3; i++) {
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .notification = &text[i], .notification_size = 1};
    assert_success(put_with(&local, 0, remote, 0, 8, &options));
  }
  hmc_event_t event = next_event(pair->there, HMC_EVENT_ARRIVAL);
  hmc_context_destroy(third); /* its regions go with it */
  peer = event.peer;
  assert_non_null(peer);
  assert_ptr_not_equal(peer, pair->back);
  for (uint8_t i = 0; i < 3; i++) {
    event = next_event(pair->there, HMC_EVENT_NOTIFICATION);
    assert_ptr_equal(event.peer, peer);
    assert_int_equal(event.data_size, 1);
    assert_int_equal(*(uint8_t *)event.data, text[i]);
    hmc_notification_free(event.data);
  }
  event = next_event(pair->there, HMC_EVENT_PEER_LOST);
  assert_ptr_equal(event.peer, peer);
  assert_nothing(pair->there);
  hmc_peer_close(peer);
  far_close(&far);
}

void poll_gives_out_requests(void **state) {
  enum { REQUESTS = 100 };
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64, .registered = true});
  test_buffer_t local = near_make(pair, 64, false);
  hmc_request_t *requests[REQUESTS], *plain = NULL;
  hmc_event_t events[7] = {HMC_EVENT_INIT};
  bool seen[REQUESTS] = {false};
  size_t count = 0, all = 0;
  for (size_t i = 0; i < REQUESTS; i++) requests[i] = start_put(&local, far.remote, &seen[i]);
  assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 64, NULL, &plain));
  assert_success(finish(plain));              /* has not asked for a report */
  for (size_t i = 0; i < REQUESTS; i += 10) { /* freed: not returned */
    hmc_request_free(requests[i]);
    requests[i] = NULL;
  }
  while (all < REQUESTS - REQUESTS / 10) {
    events[0].size = sizeof events[0];
    assert_success(hmc_poll(pair->here, events, COUNT_OF(events), &count, PATIENCE_MS));
    assert_in_range(count, 1, COUNT_OF(events));
    for (size_t i = 0; i < count; i++, all++) {
      assert_int_equal(events[i].kind, HMC_EVENT_COMPLETION);
      assert_int_equal(events[i].status, HMC_SUCCESS);
      size_t place = (size_t)((bool *)events[i].user - seen);
      assert_in_range(place, 0, REQUESTS - 1);
      assert_ptr_equal(events[i].request, requests[place]);
      assert_non_null(events[i].request);
      assert_false(seen[place]);
      seen[place] = true;
      hmc_request_free(events[i].request);
    }
  }
  assert_nothing(pair->here);
  test_buffer_close(&local);
  far_close(&far);
}

void poll_has_a_descriptor(void **state) {
  context_pair_t *pair = *state;
  distant_t distant;
  int descriptor = -1;
  distant_start(&distant, pair);
  assert_success(hmc_context_poll_descriptor(pair->here, HMC_EVENT_ALL, &descriptor));
  assert_false(is_readable(descriptor, 0));
  distant_stop(&distant);
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_EVENT};
  hmc_request_t *one = NULL, *two = NULL;
  assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options, &one));
  assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options, &two));
  assert_false(is_readable(descriptor, 20));
  distant_continue(&distant);
  assert_true(is_readable(descriptor, PATIENCE_MS));
  assert_success(hmc_request_wait(one));
  assert_success(hmc_request_wait(two)); /* waiting takes no event away */
  assert_true(is_readable(descriptor, 0));
  next_event(pair->here, HMC_EVENT_COMPLETION);
  assert_true(is_readable(descriptor, 0)); /* there is another one */
  hmc_request_free(one);
  hmc_request_free(two);
  size_t count;
  hmc_event_t event = HMC_EVENT_INIT;
  HMC_IGNORE(hmc_poll(pair->here, &event, 1, &count, HMC_NO_WAIT));
  assert_false(is_readable(descriptor, 0));
  hmc_context_interrupt(pair->here);
  assert_true(is_readable(descriptor, 0));
  assert_status(hmc_poll(pair->here, &event, 1, &count, 0), HMC_CANCELLED);
  assert_false(is_readable(descriptor, 0));
  int same = -1;
  assert_success(hmc_context_poll_descriptor(pair->here, HMC_EVENT_BIT(HMC_EVENT_ARRIVAL), &same));
  assert_int_equal(same, descriptor);
  target_kill(&distant.target);
  event = next_event(pair->here, HMC_EVENT_PEER_LOST);
  assert_ptr_equal(event.peer, distant.peer);
  assert_false(is_readable(descriptor, 0)); /* not of that kind */
  hmc_peer_close(distant.peer);
}

/* ---- ending those who wait */

typedef struct guest {
  pthread_t thread;
  hmc_context_t *context;
  hmc_status_t (*wait)(hmc_context_t *context);
  _Atomic bool begun;
  hmc_status_t status;
} guest_t;

static hmc_status_t wait_polling(hmc_context_t *context) {
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count;
  return hmc_poll(context, &event, 1, &count, HMC_FOREVER);
}
static hmc_status_t wait_accepting(hmc_context_t *context) {
  hmc_peer_t *peer;
  return hmc_context_accept(context, 10 * PATIENCE_MS, &peer);
}
static hmc_status_t wait_receiving(hmc_context_t *context) {
  uint8_t data[8];
  size_t size;
  return hmc_notification_receive(context, data, sizeof data, &size, NULL, 10 * PATIENCE_MS);
}

static void *run_guest(void *argument) {
  guest_t *guest = argument;
  atomic_store(&guest->begun, true);
  guest->status = guest->wait(guest->context);
  return NULL;
}

static void guests_start(guest_t *guests, size_t count, hmc_context_t *context) {
  for (size_t i = 0; i < count; i++) {
    guests[i].context = context;
    assert_int_equal(pthread_create(&guests[i].thread, NULL, run_guest, &guests[i]), 0);
  }
  for (size_t i = 0; i < count; i++)
    while (!atomic_load(&guests[i].begun)) sleep_ms(1);
  sleep_ms(50); /* they are in their calls then, all but surely; if not, the next one finds them */
}

static void guests_end(guest_t *guests, size_t count) {
  for (size_t i = 0; i < count; i++) pthread_join(guests[i].thread, NULL);
  for (size_t i = 0; i < count; i++) assert_status(guests[i].status, HMC_CANCELLED);
}

void poll_ends_when_interrupted(void **state) {
  context_pair_t *pair = *state;
  guest_t guests[] = {
      {.wait = wait_polling}, {.wait = wait_polling}, {.wait = wait_accepting}, {.wait = wait_receiving}};
  uint64_t start = now_ms();
  guests_start(guests, COUNT_OF(guests), pair->there);
  hmc_context_interrupt(pair->there);
  guests_end(guests, COUNT_OF(guests));
  assert_nothing(pair->there); /* it was for those who waited */
  hmc_context_interrupt(pair->there);
  assert_status(wait_polling(pair->there), HMC_CANCELLED);
  assert_nothing(pair->there);
  hmc_context_interrupt(NULL);
  hmc_context_t *brief = NULL;
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "brief", PATIENCE_MS}, &brief));
  guest_t last[] = {{.wait = wait_polling}, {.wait = wait_accepting}, {.wait = wait_receiving}};
  guests_start(last, COUNT_OF(last), brief);
  hmc_context_destroy(brief);
  guests_end(last, COUNT_OF(last));
  assert_took(start, 0, 200);
}

typedef struct putter {
  const test_buffer_t *local;
  hmc_remote_t *remote;
  _Atomic int puts;
  _Atomic bool stop;
} putter_t;

static void *put_again_and_again(void *user) {
  putter_t *putter = user;
  while (!atomic_load(&putter->stop)) {
    if (hmc_put(putter->local->region, 0, putter->remote, 0, 8) != HMC_SUCCESS) break;
    atomic_fetch_add(&putter->puts, 1);
  }
  return NULL;
}

/* One thread does the service thread's work for the puts of another, at both ends; when it stops, that thread does it. */
void progress_answers_peers(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64});
  test_buffer_t local = near_make(pair, 64, false);
  putter_t putter = {.local = &local, .remote = far.remote};
  assert_status(hmc_context_progress(NULL, 0), HMC_INVALID_CONFIG);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, put_again_and_again, &putter), 0);
  bool may_move = stamp_is("tcp"); /* over shm to host memory nobody answers */
  int moved = 0;
  uint64_t start = now_ms();
  while ((atomic_load(&putter.puts) < 100 || (may_move && moved < 10)) && now_ms() - start < PATIENCE_MS) {
    hmc_status_t status = hmc_context_progress(pair->there, 200);
    assert_true(status == HMC_SUCCESS || status == HMC_TIMEOUT);
    moved += status == HMC_SUCCESS;
    assert_true(hmc_context_progress(pair->here, 0) != HMC_INVALID_CONFIG);
  }
  assert_true(atomic_load(&putter.puts) >= 100);
  if (may_move) assert_true(moved >= 10);
  int before = atomic_load(&putter.puts);
  while (atomic_load(&putter.puts) < before + 10 && now_ms() - start < 2 * PATIENCE_MS) sleep_ms(1);
  assert_true(atomic_load(&putter.puts) >= before + 10);
  atomic_store(&putter.stop, true);
  pthread_join(thread, NULL);
  test_buffer_close(&local);
  far_close(&far);
}

static void *ask_in_a_moment(void *user) {
  hmc_peer_t *peer = user;
  hmc_remote_t *remote = NULL;
  sleep_ms(100);
  if (hmc_remote_open(peer, "nothing", 0, &remote) == HMC_SUCCESS) hmc_remote_close(remote);
  return NULL;
}

/* A thread that did the service thread's work comes back early, and goes on with a call that sleeps or never comes again:
 * nothing keeps answers from anybody. */
void progress_ends_with_the_thread(void **state) {
  (void)state;
  context_pair_t pair;
  context_pair_open(&pair, (const char *const[]){"HMC_SPIN", "0", NULL});
  far_t far = far_make(&pair, (far_options_t){.name = "far", .size = 64});
  test_buffer_t local = near_make(&pair, 64, false);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, ask_in_a_moment, pair.back), 0);
  /* Returns with that question, and was to do the work for much longer. */
  hmc_status_t status = hmc_context_progress(pair.here, 4 * PATIENCE_MS * UINT64_C(1000));
  assert_true(status == HMC_SUCCESS || status == HMC_TIMEOUT);
  uint64_t start = now_ms();
  assert_success(hmc_get(local.region, 0, far.remote, 0, 64));
  pthread_join(thread, NULL); /* its question has an answer by now, too */
  assert_took(start, 0, PATIENCE_MS / 2);
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&pair);
}

void poll_refuses(void **state) {
  context_pair_t *pair = *state;
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count = 0;
  int descriptor;
  assert_status(hmc_poll(NULL, &event, 1, &count, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_poll(pair->here, NULL, 1, &count, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_poll(pair->here, &event, 0, &count, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_poll(pair->here, &event, 1, NULL, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_poll_kinds(pair->here, 0, &event, 1, &count, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_poll_kinds(pair->here, 0x40, &event, 1, &count, 1), HMC_INVALID_CONFIG);
  assert_error_names("0x40");
  assert_status(hmc_context_poll_descriptor(pair->here, 0, &descriptor), HMC_INVALID_CONFIG);
  assert_status(hmc_context_poll_descriptor(pair->here, HMC_EVENT_ALL, NULL), HMC_INVALID_CONFIG);
  event.size = 8;
  assert_status(hmc_poll(pair->here, &event, 1, &count, 1), HMC_INVALID_CONFIG);
  hmc_notification_free(NULL);
  uint64_t start = now_ms();
  event.size = sizeof event;
  assert_status(hmc_poll(pair->here, &event, 1, &count, 150), HMC_TIMEOUT);
  assert_took(start, 150, 150);
  hmc_peer_t *peer;
  start = now_ms();
  assert_status(hmc_context_accept(pair->here, HMC_NO_WAIT, &peer), HMC_TIMEOUT);
  assert_took(start, 0, 0);
}
