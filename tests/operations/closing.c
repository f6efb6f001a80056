/* Closing a peer, or its context, while other threads wait for their requests: they are woken, and nothing that is
 * freed is touched, which the sanitizers look at. The distant end stands still, so that nothing completes by itself. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REQUESTS 8u

typedef struct pending {
  hmc_request_t *requests[REQUESTS];
  _Atomic uint32_t begun;
} pending_t;

typedef struct waiter {
  pthread_t thread;
  pending_t *pending;
  hmc_status_t (*wait)(hmc_request_t *const *requests);
  hmc_status_t status;
  _Atomic pid_t number; /* the kernel's, of the thread */
} waiter_t;

static hmc_status_t wait_one(hmc_request_t *const *requests) { return hmc_request_wait(requests[0]); }
static hmc_status_t wait_first_too(hmc_request_t *const *requests) { return hmc_request_wait_all(requests, 2); }
static hmc_status_t wait_any(hmc_request_t *const *requests) {
  size_t index;
  return hmc_request_wait_any(requests, REQUESTS, &index);
}
static hmc_status_t wait_some(hmc_request_t *const *requests) {
  size_t indices[REQUESTS], done = 0;
  hmc_status_t status = hmc_request_wait_some(requests + 2, 3, indices, &done);
  return status == HMC_SUCCESS && done ? hmc_request_test(requests[2 + indices[0]]) : status;
}
static hmc_status_t test_again_and_again(hmc_request_t *const *requests) {
  hmc_status_t status;
  while ((status = hmc_request_test(requests[5])) == HMC_IN_PROGRESS) {
  }
  return status;
}
static hmc_status_t cancel(hmc_request_t *const *requests) { return hmc_request_cancel(requests[6]); }

static void *run_waiter(void *argument) {
  waiter_t *waiter = argument;
  atomic_store(&waiter->number, (pid_t)syscall(SYS_gettid));
  atomic_fetch_add(&waiter->pending->begun, 1);
  waiter->status = waiter->wait(waiter->pending->requests);
  return NULL;
}

static void pending_start(pending_t *pending, hmc_remote_t *remote) {
  atomic_store(&pending->begun, 0);
  for (size_t i = 0; i < REQUESTS; i++)
    assert_success(hmc_atomic_nb(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &pending->requests[i]));
}

static void waiters_start(waiter_t *waiters, size_t count, pending_t *pending) {
  for (size_t i = 0; i < count; i++) {
    waiters[i].pending = pending;
    assert_int_equal(pthread_create(&waiters[i].thread, NULL, run_waiter, &waiters[i]), 0);
  }
  while (atomic_load(&pending->begun) < count) sleep_ms(1);
}

/* A thread that has begun sleeps nowhere but in the call that it makes. */
static void await_asleep(const waiter_t *waiter) {
  uint64_t limit = now_ms() + PATIENCE_MS;
  char path[64], phase = 'R';
  snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)atomic_load(&waiter->number));
  while (phase != 'S' && now_ms() < limit) {
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    int fields = fscanf(file, "%*d (%*[^)]) %c", &phase);
    fclose(file);
    assert_int_equal(fields, 1);
    sleep_ms(1);
  }
  assert_int_equal(phase, 'S');
}

static void waiters_end(waiter_t *waiters, size_t count) {
  for (size_t i = 0; i < count; i++) pthread_join(waiters[i].thread, NULL);
  for (size_t i = 0; i < count; i++) assert_status(waiters[i].status, HMC_CANCELLED);
}

void closing_a_peer_wakes_those_who_wait(void **state) {
  enum { PEERS = 20 };
  context_pair_t *pair = *state;
  hmc_peer_t *peers[PEERS];
  hmc_remote_t *remotes[PEERS];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  uint64_t random = 3;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(hmc_peer_get_info(distant.peer, &info));
  for (size_t i = 0; i < PEERS; i++) {
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", info.port, stamp.type, 0, &peers[i]));
    assert_success(hmc_remote_open(peers[i], "distant", 0, &remotes[i]));
    assert_success(hmc_atomic(remotes[i], 64, HMC_ATOMIC_ADD, 8, 0, 0, NULL));
  }
  distant_stop(&distant);
  for (size_t i = 0; i < PEERS; i++) {
    waiter_t waiters[] = {{.wait = wait_one},  {.wait = wait_one},  {.wait = wait_first_too},       {.wait = wait_any},
                          {.wait = wait_some}, {.wait = wait_some}, {.wait = test_again_and_again}, {.wait = cancel}};
    pending_t pending;
    pending_start(&pending, remotes[i]);
    waiters_start(waiters, COUNT_OF(waiters), &pending);
    spin_ns(draw(&random) % 200000); /* sometimes they poll still, sometimes they sleep */
    hmc_peer_close(peers[i]);
    for (size_t k = 0; k < REQUESTS; k++) /* a request outlives its peer */
      assert_status(hmc_request_wait(pending.requests[k]), HMC_CANCELLED);
    waiters_end(waiters, COUNT_OF(waiters));
    for (size_t k = 0; k < REQUESTS; k++) hmc_request_free(pending.requests[k]);
  }
  distant_continue(&distant);
  assert_success(hmc_atomic(distant.remote, 64, HMC_ATOMIC_ADD, 8, 0, 0, NULL)); /* the other peers have not noticed */
  distant_end(&distant);
}

void destroying_a_context_wakes_those_who_wait(void **state) {
  enum { ROUNDS = SANITIZED ? 5 : 10 };
  context_pair_t *pair = *state;
  hmc_context_t *contexts[ROUNDS];
  hmc_remote_t *remotes[ROUNDS];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(hmc_peer_get_info(distant.peer, &info));
  for (size_t i = 0; i < ROUNDS; i++) {
    hmc_peer_t *peer = NULL;
    assert_success(hmc_context_create(
        &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "brief", PATIENCE_MS}, &contexts[i]));
    assert_success(hmc_context_connect(contexts[i], "127.0.0.1", info.port, stamp.type, 0, &peer));
    assert_success(hmc_remote_open(peer, "distant", 0, &remotes[i]));
    assert_success(hmc_atomic(remotes[i], 64, HMC_ATOMIC_ADD, 8, 0, 0, NULL));
  }
  distant_stop(&distant);
  for (size_t i = 0; i < ROUNDS; i++) {
    waiter_t waiters[] = {{.wait = wait_one}, {.wait = wait_one}, {.wait = wait_any}, {.wait = wait_any}};
    pending_t pending;
    pending_start(&pending, remotes[i]);
    waiters_start(waiters, COUNT_OF(waiters), &pending);
    for (size_t k = 0; k < COUNT_OF(waiters); k++) /* their calls must have begun before this one does */
      await_asleep(&waiters[k]);
    hmc_context_destroy(contexts[i]);
    waiters_end(waiters, COUNT_OF(waiters));
  }
  distant_end(&distant);
}

typedef struct canceller {
  pthread_t thread;
  hmc_request_t *request;
  _Atomic bool go;
} canceller_t;

static void *cancel_at_once(void *argument) {
  canceller_t *canceller = argument;
  while (!atomic_load(&canceller->go)) continue;
  hmc_request_cancel(canceller->request);
  return NULL;
}

/* A batch over two peers is cancelled while the second one is closed. */
void closing_a_peer_beside_a_cancel(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 4 * MIB, .registered = true});
  test_buffer_t local = near_make(pair, 4 * MIB, true);
  for (int round = 0; round < 300; round++) {
    canceller_t canceller = {.request = NULL};
    hmc_peer_t *second = NULL, *back = NULL;
    hmc_remote_t *remote = NULL;
    hmc_batch_t *batch = NULL;
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &second));
    assert_success(hmc_context_accept(pair->there, 0, &back));
    assert_success(hmc_remote_open(second, "far", 0, &remote));
    hmc_piece_t pieces[] = {{local.region, far.remote, 0, 0, 64, 0}, {local.region, remote, 0, 0, 4 * MIB, 0}};
    assert_success(hmc_batch_create_pieces(pieces, 2, &batch));
    assert_success(hmc_batch_start_nb(batch, NULL, &canceller.request));
    assert_int_equal(pthread_create(&canceller.thread, NULL, cancel_at_once, &canceller), 0);
    spin_ns(100000);
    atomic_store(&canceller.go, true);
    hmc_peer_close(second);
    pthread_join(canceller.thread, NULL);
    hmc_request_free(canceller.request);
    hmc_batch_free(batch);
    hmc_peer_close(back);
  }
  test_buffer_close(&local);
  far_close(&far);
}

typedef struct fetcher {
  waiter_t waiter; /* its thread, number and status */
  hmc_queue_t *queue;
  hmc_remote_t *remote;
} fetcher_t;

static void *fetch_once(void *argument) {
  fetcher_t *fetcher = argument;
  uint64_t word = 0;
  atomic_store(&fetcher->waiter.number, (pid_t)syscall(SYS_gettid));
  fetcher->waiter.status = hmc_queue_atomic_fetch(fetcher->queue, fetcher->remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, &word);
  return NULL;
}

/* A queue that waits for a word names neither the peer nor its region once the peer has been closed. */
void closing_a_peer_under_a_fetch(void **state) {
  enum { PEERS = 100 };
  context_pair_t *pair = *state;
  hmc_peer_t *peers[PEERS];
  fetcher_t fetcher = {.queue = NULL};
  hmc_remote_t *remotes[PEERS];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(hmc_peer_get_info(distant.peer, &info));
  assert_success(hmc_queue_create(pair->here, NULL, &fetcher.queue));
  for (size_t i = 0; i < PEERS; i++) {
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", info.port, stamp.type, 0, &peers[i]));
    assert_success(hmc_remote_open(peers[i], "distant", 0, &remotes[i]));
    assert_success(hmc_atomic(remotes[i], 64, HMC_ATOMIC_ADD, 8, 0, 0, NULL));
  }
  distant_stop(&distant);
  for (size_t i = 0; i < PEERS; i++) {
    fetcher.remote = remotes[i];
    atomic_store(&fetcher.waiter.number, 0);
    assert_int_equal(pthread_create(&fetcher.waiter.thread, NULL, fetch_once, &fetcher), 0);
    while (!atomic_load(&fetcher.waiter.number)) sleep_ms(1);
    await_asleep(&fetcher.waiter);
    hmc_peer_close(peers[i]);
    pthread_join(fetcher.waiter.thread, NULL);
    assert_true(fetcher.waiter.status == HMC_CANCELLED);
  }
  hmc_queue_destroy(fetcher.queue);
  distant_continue(&distant);
  distant_end(&distant);
}

/* A copy that the peer's device has begun is over when the peer is closed: the memory may be used for something else once its
 * region is closed, too. */
void closing_a_peer_ends_its_copies(void **state) {
  context_pair_t *pair = *state;
  target_t target;
  hmc_peer_t *back = NULL;
  test_buffer_t place;
  target_start(&target, (const char *const[]){"HMC_SIM_LATENCY", "300ms", NULL});
  target_do(&target, (command_t){.verb = VERB_CREATE, .timeout_ms = PATIENCE_MS});
  target_do(
      &target,
      (command_t){.verb = VERB_CONNECT, .text = "127.0.0.1", .value = pair->port, .type = stamp.type, .timeout_ms = 0});
  assert_success(hmc_context_accept(pair->there, 0, &back));
  assert_success(test_buffer_open(&place, pair->there, stamp.far, MIB, "late", HMC_REMOTE_ALL, true));
  target_do(&target, (command_t){.verb = VERB_PLACE, .memory = stamp.near, .length = MIB, .registered = true});
  target_do(&target, (command_t){.verb = VERB_REMOTE_OPEN, .text = "late"});
  target_do(&target, (command_t){.verb = VERB_BYTES_FILL, .length = MIB, .value = 7});
  target_send(&target, &(command_t){.verb = VERB_PUT, .length = MIB, .value = 1});
  sleep_ms(100);
  hmc_peer_close(back);
  test_buffer_withdraw(&place);
  bytes_fill(&place, 0, MIB, 9);
  sleep_ms(500);
  assert_int_equal(bytes_other(&place, 0, MIB, 9, 9), 0);
  target_receive(&target); /* any status */
  target_stop(&target);
  test_buffer_close(&place);
}
