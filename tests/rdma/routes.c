/* Two routes to one peer: host memory by shm, the memory of a device that has no handles by the adapter. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a peer of AUTO reaches by shm, with an adapter beside it that reaches devices. */
static void open_both(scene_t *scene) {
  static const hmc_context_options_t here = {.size = sizeof here, .name = "here", .timeout_ms = 60000};
  static const hmc_context_options_t there = {.size = sizeof there, .name = "there", .timeout_ms = 60000};
  const hmc_memory_t host = {HMC_MEMORY_CPU, 0}, device = {HMC_MEMORY_SIM, 0};
  nic_in_software(false);
  nic_can_dmabuf(true);
  assert_success(hmc_context_create(&here, &scene->here));
  assert_success(hmc_context_create(&there, &scene->there));
  assert_success(hmc_context_listen(scene->there, "127.0.0.1", 0, &scene->port));
  assert_success(hmc_region_allocate(scene->here, host, ROOM, "here", HMC_REMOTE_ALL, &scene->local));
  assert_success(hmc_region_allocate(scene->there, device, ROOM, "there", HMC_REMOTE_ALL, &scene->far));
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_AUTO, 60000, &scene->peer));
  assert_success(hmc_context_accept(scene->there, 60000, &scene->back));
  assert_success(hmc_remote_open(scene->peer, "there", 60000, &scene->remote));
}

static hmc_remote_t *open_host(scene_t *scene, hmc_region_t **region) {
  hmc_remote_t *remote = NULL;
  assert_success(
      hmc_region_allocate(scene->there, (hmc_memory_t){HMC_MEMORY_CPU, 0}, MIB, "host", HMC_REMOTE_ALL, region));
  assert_success(hmc_remote_open(scene->peer, "host", 60000, &remote));
  return remote;
}

static void assert_explains(hmc_peer_t *peer, const char *part, bool wanted) {
  char text[8192];
  assert_success(hmc_peer_explain(peer, text, sizeof text, NULL));
  if (!strstr(text, part) == wanted) fail_msg("\"%s\" is %s: %s", part, wanted ? "missing in" : "in", text);
}

void each_region_by_its_route(void **state) {
  scene_t *scene = *state;
  hmc_region_t *host = NULL;
  open_both(scene);
  hmc_remote_t *near = open_host(scene, &host);
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  assert_success(hmc_peer_get_info(scene->peer, &info));
  assert_int_equal(info.type, HMC_CONNECTION_SHM);
  assert_explains(scene->peer, "is reached by shm", true);
  assert_explains(scene->peer, "puts and gets by rdma", true);

  uint64_t writes = nic_counts().writes;
  pattern_write(scene->local, 0, 300000, 1);
  assert_success(hmc_put(scene->local, 0, scene->remote, 4096, 300000));
  assert_true(nic_counts().writes > writes); /* by the adapter, */
  assert_true(pattern_is(scene->far, 4096, 300000, 1));
  uint64_t reads = nic_counts().reads;
  pattern_write(scene->far, 0, 300000, 2);
  assert_success(hmc_get(scene->local, 7, scene->remote, 0, 300000));
  assert_true(nic_counts().reads > reads);
  assert_true(pattern_is(scene->local, 7, 300000, 2));

  nic_counts_t before = nic_counts(); /* and host memory without it */
  pattern_write(scene->local, 0, 100000, 3);
  assert_success(hmc_put(scene->local, 0, near, 0, 100000));
  assert_true(pattern_is(host, 0, 100000, 3));
  assert_int_equal(nic_counts().writes, before.writes);
  void *mapped = NULL;
  assert_success(hmc_remote_map(near, &mapped));

  hmc_peer_t *arrival = NULL; /* the second connection is nobody's arrival */
  assert_status(hmc_context_accept(scene->there, 1, &arrival), HMC_TIMEOUT);
  hmc_stats_t stats = HMC_STATS_INIT;
  assert_success(hmc_peer_get_stats(scene->peer, &stats));
  assert_int_equal(stats.puts, 2);
}

/* The other end uses the second connection too. */
void both_ends_use_it(void **state) {
  scene_t *scene = *state;
  hmc_region_t *device = NULL;
  hmc_remote_t *mirror = NULL;
  open_both(scene);
  assert_success(
      hmc_region_allocate(scene->here, (hmc_memory_t){HMC_MEMORY_SIM, 1}, MIB, "mine", HMC_REMOTE_ALL, &device));
  assert_success(hmc_remote_open(scene->back, "mine", 60000, &mirror));
  uint64_t writes = nic_counts().writes;
  pattern_write(scene->far, 0, 200000, 5);
  assert_success(hmc_put(scene->far, 0, mirror, 100, 200000));
  assert_true(nic_counts().writes > writes);
  assert_true(pattern_is(device, 100, 200000, 5));
}

/* What follows the data goes by the first connection, and not before they are there. */
void chains_keep_their_order(void **state) {
  scene_t *scene = *state;
  hmc_region_t *host = NULL;
  open_both(scene);
  hmc_remote_t *words = open_host(scene, &host);
  volatile uint64_t *word = hmc_region_pointer(host);
  for (uint64_t round = 1; round <= 50; round++) {
    char got[16];
    size_t size = 0;
    hmc_signal_t signal = {.remote = words, .operation = HMC_ATOMIC_ADD, .value = 1};
    hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
    options.signal = &signal;
    options.notification = "done";
    options.notification_size = 5;
    pattern_write(scene->local, 0, 70000, round);
    hmc_request_t *request = NULL;
    uint64_t writes = nic_counts().writes;
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, 70000, &options, &request));
    assert_success(hmc_notification_receive(scene->there, got, sizeof got, &size, NULL, 60000));
    assert_true(pattern_is(scene->far, 0, 70000, round));
    assert_int_equal(*word, round);
    assert_success(hmc_request_wait(request));
    assert_true(nic_counts().writes > writes);
    hmc_request_free(request);
  }
  uint64_t old = 0; /* atomics on the device's memory */
  pattern_write(scene->far, 0, 8, 9);
  assert_success(hmc_atomic(scene->remote, 0, HMC_ATOMIC_SWAP, 8, 77, 0, &old));
  assert_success(hmc_atomic(scene->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, &old));
  assert_int_equal(old, 77);
}

/* Queues: a fence and a flush count for both connections. */
void queues_order_both(void **state) {
  scene_t *scene = *state;
  hmc_region_t *host = NULL;
  hmc_queue_t *queue = NULL;
  open_both(scene);
  hmc_remote_t *words = open_host(scene, &host);
  volatile uint64_t *word = hmc_region_pointer(host);
  assert_success(hmc_queue_create(scene->here, NULL, &queue));
  uint8_t *bytes = hmc_region_pointer(scene->local);
  for (uint64_t round = 1; round <= 50; round++) {
    pattern_write(scene->local, 0, 50000, round);
    nic_delay(20);
    assert_success(hmc_queue_put(queue, bytes, scene->remote, 0, 50000));
    assert_success(hmc_queue_fence(queue));
    assert_success(hmc_queue_put(queue, &round, words, 0, 8)); /* a store, after the data */
    assert_int_equal(*word, round);
    assert_true(pattern_is(scene->far, 0, 50000, round));
    assert_success(hmc_queue_put(queue, bytes, scene->remote, 60000, 50000));
    assert_success(hmc_queue_flush(queue, scene->peer, 60000));
    assert_true(pattern_is(scene->far, 60000, 50000, round));
  }
  nic_delay(0);
  hmc_queue_destroy(queue);
}

/* A second connection that fails ends the peer; the operations say so, on both. */
void a_second_connection_that_fails(void **state) {
  scene_t *scene = *state;
  hmc_region_t *host = NULL;
  hmc_request_t *request = NULL;
  setenv("HMC_PEER_TIMEOUT", "300ms", 1);
  open_both(scene);
  hmc_remote_t *near = open_host(scene, &host);
  nic_cut(true);
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, MIB, NULL, &request));
  assert_status(hmc_request_wait(request), HMC_PEER_LOST);
  hmc_request_free(request);
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  for (int i = 0; i < 60000; i++) {
    assert_success(hmc_peer_get_info(scene->peer, &info));
    if (info.state == HMC_PEER_GONE) break;
    sleep_ms(1);
  }
  assert_int_equal(info.state, HMC_PEER_GONE);
  hmc_status_t status = HMC_SUCCESS; /* mapped memory is cut off right after */
  for (int i = 0; i < 60000 && status == HMC_SUCCESS; i++) {
    status = hmc_put(scene->local, 0, near, 0, 8);
    sleep_ms(1);
  }
  assert_status(status, HMC_PEER_LOST);
  assert_status(hmc_put(scene->local, 0, scene->remote, 0, 8), HMC_PEER_LOST);
  assert_explains(scene->peer, "its connection by rdma ended", true);
}

/* The first one ends with the other context: operations by the second one do, too. */
void a_first_connection_that_ends(void **state) {
  scene_t *scene = *state;
  hmc_request_t *request = NULL;
  open_both(scene);
  nic_pause(true);
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, MIB, NULL, &request));
  hmc_context_destroy(scene->there);
  scene->there = NULL;
  assert_status(hmc_request_wait(request), HMC_PEER_LOST);
  nic_pause(false);
  hmc_request_free(request);
  assert_status(hmc_put(scene->local, 0, scene->remote, 0, 8), HMC_PEER_LOST);
}

/* Handles and peers close in any order; a region that ends is stale on both ways. */
void closing_in_any_order(void **state) {
  scene_t *scene = *state;
  open_both(scene);
  hmc_remote_t *again = NULL;
  assert_success(hmc_remote_open(scene->peer, "there", 60000, &again));
  hmc_remote_close(again);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 5000));
  hmc_region_close(scene->far);
  scene->far = NULL;
  assert_status(hmc_put(scene->local, 0, scene->remote, 0, 5000), HMC_STALE);
  hmc_peer_close(scene->peer); /* with a handle open */
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_AUTO, 60000, &scene->peer));
}

/* Without an adapter that reaches devices, or where the program asks for shm, the bytes are staged as before. */
void without_a_better_route(void **state) {
  scene_t *scene = *state;
  open_both(scene);
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_SHM, 60000, &peer));
  assert_success(hmc_remote_open(peer, "there", 60000, &remote));
  uint64_t writes = nic_counts().writes;
  pattern_write(scene->local, 0, 90000, 4);
  assert_success(hmc_put(scene->local, 0, remote, 0, 90000));
  assert_int_equal(nic_counts().writes, writes);
  assert_true(pattern_is(scene->far, 0, 90000, 4));
  assert_explains(peer, "puts and gets by", false);
  nic_cut(true);
  nic_port_down(true);
}
