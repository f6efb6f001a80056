/* What goes wrong: paths that fail, for a while or for good; operations taken back; regions that close. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 64, PIECE = 50000 };

static void start_puts(scene_t *scene, hmc_request_t *requests[MANY], uint64_t seed,
                       const hmc_operation_options_t *options) {
  pattern_write(scene->local, 0, (uint64_t)MANY * PIECE, seed);
  for (uint64_t i = 0; i < MANY; i++) {
    assert_success(hmc_put_nb(scene->local, i * PIECE, scene->remote, i * PIECE, PIECE, options, &requests[i]));
  }
}

static void end_all(hmc_request_t *requests[MANY], hmc_status_t wanted) {
  for (int i = 0; i < MANY; i++) {
    hmc_status_t status = hmc_request_wait(requests[i]);
    if (status != HMC_SUCCESS) assert_status(status, wanted);
    hmc_request_free(requests[i]);
  }
}

/* ---- paths ------------------------------------------------------------------------------------------------------- */

void a_path_that_comes_back(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[MANY];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t round = 0; round < 5; round++) {
    nic_delay(50);
    start_puts(scene, requests, round, NULL);
    nic_cut(true);
    nic_delay(0);
    sleep_ms(60);
    nic_cut(false);
    end_all(requests, HMC_SUCCESS);
    assert_true(pattern_is(scene->far, 0, (uint64_t)MANY * PIECE, round));
  }
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  assert_success(hmc_peer_get_info(scene->peer, &info));
  assert_int_equal(info.state, HMC_PEER_CONNECTED);
}

void a_path_that_does_not(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[MANY];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  setenv("HMC_PEER_TIMEOUT", "300ms", 1);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  nic_cut(true);
  uint64_t start = now_ms();
  start_puts(scene, requests, 1, NULL);
  for (int i = 0; i < MANY; i++) {
    assert_status(hmc_request_wait(requests[i]), HMC_PEER_LOST);
    hmc_request_free(requests[i]);
  }
  assert_true(now_ms() - start >= 300);
  assert_success(hmc_peer_get_info(scene->peer, &info));
  assert_int_equal(info.state, HMC_PEER_GONE);
  assert_status(hmc_put(scene->local, 0, scene->remote, 0, 8), HMC_PEER_LOST);
  assert_says("HMC_PEER_TIMEOUT");
}

void packets_that_never_get_through(void **state) {
  scene_t *scene = *state;
  nic_cut(true);
  assert_status(scene_try(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU, HMC_REMOTE_ALL), HMC_UNSUPPORT);
  assert_says("get through");
  assert_null(scene->peer);
  nic_cut(false);
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, 0, &scene->peer));
}

void a_port_that_is_down(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[MANY];
  nic_port_down(true);
  assert_status(scene_try(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU, HMC_REMOTE_ALL), HMC_UNSUPPORT);
  assert_says("port");
  nic_port_down(false);
  scene_close(scene);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  nic_port_down(true); /* in mid-transfer, as a cable that is pulled */
  nic_cut(true);
  start_puts(scene, requests, 7, NULL);
  sleep_ms(100);
  nic_cut(false);
  nic_port_down(false);
  end_all(requests, HMC_SUCCESS);
  assert_true(pattern_is(scene->far, 0, (uint64_t)MANY * PIECE, 7));
}

/* What a device needs cannot be pinned: AUTO goes on, and says what to do. */
void no_allowance_to_pin(void **state) {
  scene_t *scene = *state;
  nic_refuse_memory(true);
  assert_status(scene_try(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU, HMC_REMOTE_ALL), HMC_UNSUPPORT);
  assert_says("ulimit -l");
  nic_refuse_memory(false);
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, 0, &scene->peer));
}

/* ---- exactly once ------------------------------------------------------------------------------------------------ */

void atomics_happen_once(void **state) {
  scene_t *scene = *state;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  nic_fail_every(7);
  for (uint64_t i = 0; i < 200; i++) {
    uint64_t was = UINT64_MAX;
    assert_success(hmc_atomic(scene->remote, 8, HMC_ATOMIC_ADD, 8, 1, 0, &was));
    assert_int_equal(was, i);
  }
}

void notifications_come_once(void **state) {
  scene_t *scene = *state;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  nic_fail_every(5);
  hmc_request_t *requests[100];
  for (uint64_t i = 0; i < 100; i++) {
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .notification = &i, .notification_size = sizeof i};
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, 100, &options, &requests[i]));
  }
  for (uint64_t i = 0; i < 100; i++) {
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
  }
  bool seen[100] = {false};
  for (int i = 0; i < 100; i++) {
    uint64_t told = UINT64_MAX;
    size_t size;
    assert_success(hmc_notification_receive(scene->there, &told, sizeof told, &size, NULL, 0));
    assert_true(told < 100 && !seen[told]);
    seen[told] = true;
  }
  uint64_t none;
  size_t size;
  assert_status(hmc_notification_receive(scene->there, &none, sizeof none, &size, NULL, 20), HMC_TIMEOUT);
}

static void survive(scene_t *scene, hmc_memory_kind_t here, hmc_memory_kind_t there, unsigned every) {
  scene_open(scene, here, there);
  nic_fail_every(every);
  for (uint64_t i = 0; i < 12; i++) {
    uint64_t length = 1 + i * 170001;
    pattern_write(scene->local, i, length, i);
    assert_success(hmc_put(scene->local, i, scene->remote, 2 * i, length));
    assert_true(pattern_is(scene->far, 2 * i, length, i));
    pattern_write(scene->far, 2 * i, length, ~i);
    assert_success(hmc_get(scene->local, i, scene->remote, 2 * i, length));
    assert_true(pattern_is(scene->local, i, length, ~i));
  }
  nic_fail_every(0);
  scene_close(scene);
}

void puts_survive_failures(void **state) {
  survive(*state, HMC_MEMORY_CPU, HMC_MEMORY_CPU, 3);
  nic_in_software(false);
  nic_lazy_writes(true);
  survive(*state, HMC_MEMORY_CPU, HMC_MEMORY_CPU, 4);
}

void staged_transfers_survive_failures(void **state) {
  survive(*state, HMC_MEMORY_SIM, HMC_MEMORY_SIM, 11);
  survive(*state, HMC_MEMORY_SIM, HMC_MEMORY_CPU, 5);
  survive(*state, HMC_MEMORY_CPU, HMC_MEMORY_SIM, 7);
}

/* ---- taking back ------------------------------------------------------------------------------------------------- */

void a_deadline_takes_it_back(void **state) {
  scene_t *scene = *state;
  const hmc_operation_options_t hasty = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 50};
  hmc_request_t *put = NULL, *get = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (int round = 0; round < 3; round++) {
    pattern_write(scene->far, 0, ROOM, 1);
    pattern_write(scene->local, 0, ROOM, 2);
    nic_pause(true);
    uint64_t start = now_ms();
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, MIB, &hasty, &put));
    assert_success(hmc_get_nb(scene->local, 2 * MIB, scene->remote, 2 * MIB, MIB, &hasty, &get));
    assert_status(hmc_request_wait(put), HMC_TIMEOUT);
    assert_status(hmc_request_wait(get), HMC_TIMEOUT);
    assert_true(now_ms() - start >= 50);
    pattern_write(scene->local, 0, ROOM, 3); /* the memory is the caller's again */
    nic_pause(false);
    sleep_ms(20);
    assert_true(pattern_is(scene->far, 0, ROOM, 1));
    assert_true(pattern_is(scene->local, 0, ROOM, 3));
    hmc_request_free(put);
    hmc_request_free(get);
    assert_success(hmc_put(scene->local, 0, scene->remote, 0, ROOM));
    assert_true(pattern_is(scene->far, 0, ROOM, 3));
  }
}

/* A queue pair is destroyed only once its events are acknowledged, and the thread that has taken them wants the lock of
 * the one who destroys it. */
void devices_tell_of_queue_pairs_that_end(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t round = 0; round < 20; round++) {
    nic_delay_events(round % 4 * 1000);
    nic_pause(true);
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, MIB, NULL, &request));
    assert_status(hmc_request_cancel(request), HMC_CANCELLED); /* which breaks the queue pair */
    hmc_request_free(request);
    nic_pause(false);
    pattern_write(scene->local, 0, MIB, round);
    assert_success(hmc_put(scene->local, 0, scene->remote, 0, MIB));
    assert_true(pattern_is(scene->far, 0, MIB, round));
  }
}

/* A put and an atomic that the owner's service thread is to do are taken back before it has; a put that the adapter does
 * by itself is not overwritten by them later. */
void what_was_taken_back_comes_before_what_follows(void **state) {
  scene_t *scene = *state;
  enum { LENGTH = 1000 };
  const hmc_operation_options_t checked = {.size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM};
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t round = 0; round < 4; round++) {
    gate_t gate;
    hmc_request_t *late = NULL, *next = NULL, *stopped = scene_stop_there(scene, &gate);
    pattern_write(scene->local, 0, LENGTH, 2 * round);
    if (round % 2) {
      assert_success(hmc_atomic_nb(scene->remote, 0, HMC_ATOMIC_SWAP, 8, round, 0, NULL, NULL, &late));
    } else {
      assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, LENGTH, &checked, &late));
    }
    assert_status(hmc_request_cancel(late), HMC_CANCELLED);
    pattern_write(scene->local, 0, LENGTH, 2 * round + 1);
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, LENGTH, NULL, &next));
    sleep_ms(20);
    atomic_store(&gate.open, true);
    assert_success(hmc_request_wait(next));
    assert_success(hmc_atomic(scene->remote, 2 * LENGTH, HMC_ATOMIC_ADD, 8, 1, 0, NULL)); /* behind all of it */
    assert_true(pattern_is(scene->far, 0, LENGTH, 2 * round + 1));
    hmc_request_free(late);
    hmc_request_free(next);
    hmc_request_free(stopped);
    nic_counts_t before = nic_counts(); /* and by itself again */
    assert_success(hmc_put(scene->local, 0, scene->remote, 0, LENGTH));
    assert_true(nic_counts().writes > before.writes);
  }
}

void cancel_spares_the_others(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[MANY];
  int cancelled = 0;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t round = 0; round < 200 && cancelled < 4; round++) {
    nic_delay(100);
    start_puts(scene, requests, round, NULL);
    nic_pause(true);
    hmc_status_t status = hmc_request_cancel(requests[40]); /* on a busy machine it may be done by now */
    nic_pause(false);
    if (status != HMC_SUCCESS) assert_status(status, HMC_CANCELLED);
    cancelled += status == HMC_CANCELLED;
    nic_delay(0);
    end_all(requests, HMC_CANCELLED);
    for (uint64_t i = 0; i < MANY; i++) {
      const uint8_t *here = hmc_region_pointer(scene->local), *there = hmc_region_pointer(scene->far);
      if (i != 40 || status == HMC_SUCCESS) assert_memory_equal(here + i * PIECE, there + i * PIECE, PIECE);
    }
  }
  assert_int_equal(cancelled, 4);
}

/* What has not gone out yet ends at once, whatever the network does. */
void cancel_of_what_waits(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[MANY];
  scene_open(scene, HMC_MEMORY_SIM, HMC_MEMORY_SIM);
  nic_cut(true);
  start_puts(scene, requests, 1, NULL);
  sleep_ms(30);
  for (int i = 0; i < MANY; i++) {
    assert_status(hmc_request_cancel(requests[i]), HMC_CANCELLED);
    hmc_request_free(requests[i]);
  }
  nic_cut(false);
  pattern_write(scene->local, 0, MIB, 9);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, MIB));
  assert_true(pattern_is(scene->far, 0, MIB, 9));
}

/* ---- regions that close ------------------------------------------------------------------------------------------ */

static hmc_region_t *lend(scene_t *scene, uint8_t *bytes, uint64_t size, hmc_remote_t **remote) {
  hmc_region_t *region = NULL;
  assert_success(hmc_region_register(scene->there, bytes, size, "lent", HMC_REMOTE_ALL, &region));
  assert_success(hmc_remote_open(scene->peer, "lent", 0, remote));
  return region;
}

void a_closed_region_is_stale(void **state) {
  scene_t *scene = *state;
  static uint8_t lent[MIB];
  hmc_remote_t *remote = NULL, *former = NULL;
  hmc_request_t *put = NULL, *get = NULL, *other = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (int round = 0; round < 3; round++) {
    hmc_region_t *region = lend(scene, lent, sizeof lent, &remote);
    memset(lent, 0x5a, sizeof lent);
    pattern_write(scene->local, 0, ROOM, 1);
    nic_pause(true); /* they are on their way when it closes: the adapter refuses them, and the owner is asked */
    assert_success(hmc_put_nb(scene->local, 0, remote, 0, sizeof lent, NULL, &put));
    assert_success(hmc_get_nb(scene->local, 2 * MIB, remote, 0, sizeof lent, NULL, &get));
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, sizeof lent, NULL, &other));
    hmc_region_close(region);
    nic_pause(false);
    assert_status(hmc_request_wait(put), HMC_STALE);
    assert_status(hmc_request_wait(get), HMC_STALE);
    assert_success(hmc_request_wait(other)); /* went down with the queue pair, and again */
    assert_true(pattern_is(scene->far, 0, sizeof lent, 1));
    for (size_t i = 0; i < sizeof lent; i++) assert_int_equal(lent[i], 0x5a);
    assert_status(hmc_put(scene->local, 0, remote, 0, 8), HMC_STALE);
    hmc_request_free(put);
    hmc_request_free(get);
    hmc_request_free(other);
    former = remote;
    region = lend(scene, lent, sizeof lent, &remote); /* made again, it is another one */
    assert_status(hmc_put(scene->local, 0, former, 0, 8), HMC_STALE);
    assert_success(hmc_put(scene->local, 0, remote, 0, 8));
    hmc_remote_close(former);
    hmc_remote_close(remote);
    hmc_region_close(region);
  }
}

typedef struct inside {
  scene_t *scene;
  hmc_remote_t *remote;
  _Atomic int step;
  hmc_status_t closed, other;
} inside_t;

/* The first put meets a region that is closed, which costs the queue pair; the second goes by the next one. */
static void put_inside(hmc_request_t *request, hmc_status_t status, void *user) {
  inside_t *inside = user;
  (void)request, (void)status;
  atomic_store(&inside->step, 1);
  while (atomic_load(&inside->step) != 2) sleep_ms(1);
  inside->closed = hmc_put(inside->scene->local, 0, inside->remote, 0, 1000);
  inside->other = hmc_put(inside->scene->local, 0, inside->scene->remote, 0, 1000);
  atomic_store(&inside->step, 3);
}

/* A callback keeps the thread that hears what the peer says, and waits for it. */
void callbacks_are_told_why(void **state) {
  scene_t *scene = *state;
  static uint8_t lent[MIB];
  inside_t inside = {.scene = scene};
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  hmc_request_t *request = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  options.callback = put_inside;
  options.user = &inside;
  for (uint64_t round = 0; round < 3; round++) {
    hmc_region_t *region = lend(scene, lent, sizeof lent, &inside.remote);
    pattern_write(scene->local, 0, 1000, round);
    assert_success(hmc_put_nb(scene->local, 0, inside.remote, 0, 1000, &options, &request));
    while (atomic_load(&inside.step) != 1) sleep_ms(1);
    hmc_region_close(region);
    atomic_store(&inside.step, 2);
    while (atomic_load(&inside.step) != 3) sleep_ms(1);
    hmc_request_free(request);
    assert_status(inside.closed, HMC_STALE);
    assert_success(inside.other);
    assert_true(pattern_is(scene->far, 0, 1000, round));
    hmc_remote_close(inside.remote);
    atomic_store(&inside.step, 0);
  }
}

typedef struct shooter {
  pthread_t thread;
  scene_t *scene;
  hmc_remote_t *remote;
  uint64_t offset;
  hmc_status_t status;
  _Atomic uint64_t shots;
} shooter_t;

static void *shoot(void *argument) {
  shooter_t *shooter = argument;
  do {
    shooter->status = hmc_put(shooter->scene->local, shooter->offset, shooter->remote, 0, 200000);
    atomic_fetch_add(&shooter->shots, 1);
  } while (shooter->status == HMC_SUCCESS);
  return NULL;
}

void a_region_closed_under_fire(void **state) {
  scene_t *scene = *state;
  static uint8_t lent[200000];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (int round = 0; round < 10; round++) {
    shooter_t shooters[3];
    hmc_remote_t *remote = NULL;
    hmc_region_t *region = lend(scene, lent, sizeof lent, &remote);
    for (uint64_t i = 0; i < 3; i++) {
      shooters[i] = (shooter_t){.scene = scene, .remote = remote, .offset = i * MIB};
      assert_int_equal(pthread_create(&shooters[i].thread, NULL, shoot, &shooters[i]), 0);
    }
    while (atomic_load(&shooters[0].shots) < 3) sleep_ms(1);
    hmc_region_close(region);
    memset(lent, 0x77, sizeof lent); /* nobody writes to it any more */
    for (int i = 0; i < 3; i++) pthread_join(shooters[i].thread, NULL);
    for (int i = 0; i < 3; i++) assert_status(shooters[i].status, HMC_STALE);
    for (size_t i = 0; i < sizeof lent; i++) assert_int_equal(lent[i], 0x77);
    hmc_remote_close(remote);
  }
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, MIB));
}

/* ---- chains ------------------------------------------------------------------------------------------------------ */

void a_chain_ends_with_its_head(void **state) {
  scene_t *scene = *state;
  static uint8_t lent[MIB];
  hmc_remote_t *remote = NULL;
  hmc_request_t *request = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  volatile uint64_t *word = hmc_region_pointer(scene->far);
  for (int get = 0; get < 2; get++) {
    hmc_region_t *region = lend(scene, lent, sizeof lent, &remote);
    hmc_signal_t signal = {scene->remote, 0, HMC_ATOMIC_SWAP, 5};
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .signal = &signal, .notification = "told", .notification_size = 5};
    nic_pause(true);
    assert_success((get ? hmc_get_nb : hmc_put_nb)(scene->local, 0, remote, 0, sizeof lent, &options, &request));
    hmc_region_close(region);
    nic_pause(false);
    assert_status(hmc_request_wait(request), HMC_STALE);
    hmc_request_free(request);
    char told[8];
    size_t size;
    assert_status(hmc_notification_receive(scene->there, told, sizeof told, &size, NULL, 30), HMC_TIMEOUT);
    assert_int_equal(*word, 0);
    hmc_remote_close(remote);
  }
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

void closing_with_much_under_way(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[MANY], *more[8];
  uint64_t fetched[8];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  nic_pause(true);
  start_puts(scene, requests, 1, NULL);
  for (int i = 0; i < 8; i++) {
    assert_success(hmc_atomic_nb(scene->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, &fetched[i], NULL, &more[i]));
  }
  hmc_peer_close(scene->peer);
  for (int i = 0; i < MANY; i++) {
    assert_status(hmc_request_test(requests[i]), HMC_CANCELLED);
    hmc_request_free(requests[i]);
  }
  for (int i = 0; i < 8; i++) {
    assert_status(hmc_request_test(more[i]), HMC_CANCELLED);
    hmc_request_free(more[i]);
  }
  nic_pause(false);
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, 0, &scene->peer));
  assert_success(hmc_remote_open(scene->peer, "there", 0, &scene->remote));
  uint64_t was = 99;
  assert_success(hmc_atomic(scene->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, &was));
  assert_int_equal(was, 0);
}

typedef struct worker {
  pthread_t thread;
  scene_t *scene;
  uint64_t number;
  hmc_status_t status;
  bool whole;
} worker_t;

static void *work(void *argument) {
  worker_t *worker = argument;
  scene_t *scene = worker->scene;
  uint64_t place = (worker->number + 1) * 512 * KIB;
  const hmc_operation_options_t hasty = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 1 + worker->number};
  for (uint64_t i = 0; i < 60 && worker->status == HMC_SUCCESS && worker->whole; i++) {
    uint64_t length = 1 + i * 4001 % (256 * KIB), seed = worker->number * 1000 + i;
    hmc_request_t *request = NULL;
    pattern_write(scene->local, place, length, seed);
    worker->status = hmc_put(scene->local, place, scene->remote, place, length);
    if (worker->status == HMC_SUCCESS) worker->status = hmc_atomic(scene->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL);
    worker->whole = worker->status != HMC_SUCCESS || pattern_is(scene->far, place, length, seed);
    if (worker->status != HMC_SUCCESS) break;
    worker->status = hmc_get_nb(scene->local, place, scene->remote, place, length, &hasty, &request);
    if (i % 2 == 0) hmc_request_cancel(request);
    hmc_request_free(request);
  }
  return NULL;
}

void threads_and_failures(void **state) {
  scene_t *scene = *state;
  worker_t workers[4];
  uint64_t was = 0;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  nic_fail_every(41);
  nic_delay(20);
  for (uint64_t i = 0; i < 4; i++) {
    workers[i] = (worker_t){.scene = scene, .number = i, .whole = true};
    assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < 4; i++) pthread_join(workers[i].thread, NULL);
  nic_fail_every(0);
  for (int i = 0; i < 4; i++) {
    assert_status(workers[i].status, HMC_SUCCESS);
    assert_true(workers[i].whole);
  }
  assert_success(hmc_atomic(scene->remote, 0, HMC_ATOMIC_ADD, 8, 0, 0, &was));
  assert_int_equal(was, 4 * 60);
}
