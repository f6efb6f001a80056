/* Peers and hardware that stand still, and what is asked of those that do not. */
#include "suite.h"

#include <pthread.h>

enum { STOPPED = 4, WINDOW = 8, BLOCK = 128 << 10 };

static void standing_open(scene_t *scenes, hmc_context_t *here, hmc_region_t *local) {
  for (int i = 0; i < STOPPED; i++) {
    scene_t *scene = &scenes[i];
    *scene = (scene_t){.here = here, .local = local};
    hmc_context_options_t options = {.size = sizeof options, .name = "stopped", .timeout_ms = PATIENCE_MS};
    assert_success(hmc_context_create(&options, &scene->there));
    assert_success(hmc_context_listen(scene->there, "127.0.0.1", 0, &scene->port));
    hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
    assert_success(hmc_region_allocate(scene->there, cpu, ROOM, "there", HMC_REMOTE_ALL, &scene->far));
    hmc_connection_type_t rdma = HMC_CONNECTION_RDMA;
    assert_success(hmc_context_connect(here, "127.0.0.1", scene->port, rdma, PATIENCE_MS, &scene->peer));
    assert_success(hmc_context_accept(scene->there, 0, &scene->back));
    assert_success(hmc_remote_open(scene->peer, "there", 0, &scene->remote));
  }
}

/* Each of them keeps as many messages as a peer may be sent without an answer. */
static void fill_windows(scene_t *scenes, hmc_request_t *requests[STOPPED][WINDOW]) {
  hmc_operation_options_t options = {.size = sizeof options, .flags = HMC_OPERATION_CHECKSUM};
  uint64_t before = nic_counts().sends;
  for (int i = 0; i < STOPPED; i++) {
    for (uint64_t k = 0; k < WINDOW; k++) {
      hmc_remote_t *remote = scenes[i].remote;
      assert_success(hmc_put_nb(scenes[i].local, 0, remote, k * BLOCK, BLOCK, &options, &requests[i][k]));
    }
  }
  /* Not all may be: what others could need is left to them. */
  for (uint64_t limit = now_ms() + 1000; nic_counts().sends - before < STOPPED * WINDOW && now_ms() < limit;)
    sleep_ms(1);
}

/* All that goes by messages, both ways. */
static void assert_messages_pass(scene_t *scene, hmc_remote_t *backwards) {
  static const uint64_t length = 3 * MIB + 5;
  hmc_operation_options_t options = {.size = sizeof options, .flags = HMC_OPERATION_CHECKSUM};
  uint64_t was = 0, word = 7, came = 0;
  size_t size = 0;
  hmc_request_t *request = NULL;
  pattern_write(scene->local, 0, length, 1);
  options.notification = &word;
  options.notification_size = sizeof word;
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, length, &options, &request));
  assert_success(hmc_notification_receive(scene->there, &came, sizeof came, &size, NULL, 0));
  assert_int_equal(came, word);
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  assert_true(pattern_is(scene->far, 0, length, 1));
  pattern_write(scene->local, 0, length, 2);
  options.notification = NULL;
  options.notification_size = 0;
  assert_success(hmc_get_nb(scene->far, 0, backwards, 0, length, &options, &request)); /* answered from here */
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  assert_true(pattern_is(scene->far, 0, length, 2));
  assert_success(hmc_atomic(scene->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, &was));
}

void stopped_peers_take_no_slots_from_others(void **state) {
  scene_t *scene = *state, stopped[STOPPED];
  hmc_request_t *gates[STOPPED], *requests[STOPPED][WINDOW];
  gate_t gate[STOPPED];
  hmc_remote_t *backwards = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_success(hmc_remote_open(scene->back, "here", 0, &backwards));
  standing_open(stopped, scene->here, scene->local);
  for (int i = 0; i < STOPPED; i++) gates[i] = scene_stop_there(&stopped[i], &gate[i]);
  fill_windows(stopped, requests);
  assert_messages_pass(scene, backwards);
  for (int i = 0; i < STOPPED; i++) {
    assert_int_equal(hmc_request_test(requests[i][0]), HMC_IN_PROGRESS);
    atomic_store(&gate[i].open, true);
  }
  for (int i = 0; i < STOPPED; i++) {
    for (int k = 0; k < WINDOW; k++) {
      assert_success(hmc_request_wait(requests[i][k]));
      hmc_request_free(requests[i][k]);
    }
    assert_success(hmc_request_wait(gates[i]));
    hmc_request_free(gates[i]);
    hmc_context_destroy(stopped[i].there);
  }
}

/* ---- hardware that does not let go ------------------------------------------------------------------------------- */

enum { ROUNDS = 8, SOON_MS = 600 }; /* less than hardware may take for a queue pair, which is a second */

typedef struct closer {
  hmc_peer_t *peer;
  gate_t gate;
  uint64_t took;
  _Atomic bool ended;
} closer_t;

static void close_peer(closer_t *closer) {
  uint64_t start = now_ms();
  hmc_peer_close(closer->peer);
  closer->took = now_ms() - start;
  atomic_store(&closer->ended, true);
}

static void close_in_callback(hmc_request_t *request, hmc_status_t status, void *user) {
  closer_t *closer = user;
  (void)request, (void)status;
  atomic_store(&closer->gate.inside, true);
  while (!atomic_load(&closer->gate.open)) sleep_ms(1);
  close_peer(closer);
}

static void *close_in_thread(void *user) {
  close_peer(user);
  return NULL;
}

/* Connects once more. The memory of puts is registered from then on. */
static hmc_remote_t *connect_more(scene_t *scene, closer_t *closer) {
  hmc_remote_t *remote;
  *closer = (closer_t){0};
  hmc_connection_type_t rdma = HMC_CONNECTION_RDMA;
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, rdma, PATIENCE_MS, &closer->peer));
  assert_success(hmc_remote_open(closer->peer, "there", 0, &remote));
  assert_success(hmc_put(scene->local, 0, remote, 0, 100000));
  return remote;
}

/* A put that the hardware has, which neither moves nor flushes it. */
static hmc_request_t *get_stuck(scene_t *scene, hmc_remote_t *remote) {
  hmc_request_t *request;
  nic_pause(true);
  nic_hold_flush(true);
  assert_success(hmc_put_nb(scene->local, 0, remote, 0, 100000, NULL, &request));
  return request;
}

static void let_go(hmc_request_t *request) {
  assert_status(hmc_request_wait(request), HMC_CANCELLED);
  hmc_request_free(request);
  nic_pause(false);
  nic_hold_flush(false);
}

/* How long it takes in the service thread. */
static uint64_t close_by_service_thread(scene_t *scene) {
  closer_t closer;
  hmc_remote_t *remote = connect_more(scene, &closer);
  hmc_operation_options_t options = {.size = sizeof options, .callback = close_in_callback, .user = &closer};
  hmc_request_t *call;
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, 8, &options, &call));
  while (!atomic_load(&closer.gate.inside)) sleep_ms(1);
  hmc_request_t *stuck = get_stuck(scene, remote);
  atomic_store(&closer.gate.open, true);
  while (!atomic_load(&closer.ended)) sleep_ms(1);
  let_go(stuck);
  assert_success(hmc_request_wait(call));
  hmc_request_free(call);
  return closer.took;
}

/* Did others get the transport's lock while another thread waited for the hardware? */
static bool close_by_thread(scene_t *scene) {
  closer_t closer;
  pthread_t thread;
  char text[2048];
  bool passed = false;
  hmc_remote_t *remote = connect_more(scene, &closer);
  hmc_request_t *stuck = get_stuck(scene, remote);
  assert_int_equal(pthread_create(&thread, NULL, close_in_thread, &closer), 0);
  while (!atomic_load(&closer.ended)) {
    bool before = nic_counts().kept;
    assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
    passed |= before && nic_counts().kept;
  }
  pthread_join(thread, NULL);
  let_go(stuck);
  return passed;
}

/* A busy machine may have stopped the threads that are looked at, but not each time. */
void hardware_that_keeps_its_queue_holds_up_nobody(void **state) {
  scene_t *scene = *state;
  bool soon = false, passed = false;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (int i = 0; i < ROUNDS && !soon; i++) soon = close_by_service_thread(scene) < SOON_MS;
  assert_true(soon);
  for (int i = 0; i < ROUNDS && !passed; i++) passed = close_by_thread(scene);
  assert_true(passed);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 100000));
}
