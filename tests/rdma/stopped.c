/* Peers that stand still, and what is asked of one that does not. */
#include "suite.h"

#include <string.h>

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
