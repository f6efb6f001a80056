/* Several rails: large transfers over two devices, of which one fails and comes back. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTS = 4 };

/* How many bytes each device has written and read may be seen by what is registered and cut; what counts here is that
 * every byte is right whatever the devices do meanwhile. */
static void open_rails(scene_t *scene, hmc_memory_kind_t here, hmc_memory_kind_t there) {
  nic_devices(2);
  setenv("HMC_RDMA_RAILS", "2", 1);
  scene_open(scene, here, there);
  unsetenv("HMC_RDMA_RAILS");
}

static void explain(scene_t *scene, char *text, size_t size) {
  assert_success(hmc_peer_explain(scene->peer, text, size, NULL));
}

static void assert_explains(scene_t *scene, const char *part) {
  char text[2048];
  explain(scene, text, sizeof text);
  if (!strstr(text, part)) fail_msg("\"%s\" is not in: %s", part, text);
}

static void exchange(scene_t *scene, uint64_t seed) {
  pattern_write(scene->local, 0, ROOM, seed);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, ROOM));
  assert_true(pattern_is(scene->far, 0, ROOM, seed));
  pattern_write(scene->far, 0, ROOM, ~seed);
  assert_success(hmc_get(scene->local, 0, scene->remote, 0, ROOM));
  assert_true(pattern_is(scene->local, 0, ROOM, ~seed));
}

void rails_share_large_transfers(void **state) {
  scene_t *scene = *state;
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_int_equal(nic_counts().queue_pairs, 4);
  assert_explains(scene, "2 rails");
  assert_explains(scene, "loop0");
  assert_explains(scene, "loop1");
  assert_explains(scene, "queue pairs: 2 to this peer");
  nic_counts_t before = nic_counts();
  for (uint64_t round = 0; round < 10; round++) exchange(scene, round);
  nic_counts_t after = nic_counts();
  for (unsigned i = 0; i < 2; i++) { /* neither did less than a tenth */
    uint64_t moved = after.moved[i] - before.moved[i];
    if (moved < 20 * ROOM / 10) fail_msg("device %u moved %llu B", i, (unsigned long long)moved);
  }
  before = nic_counts(); /* and small ones go one way */
  for (int i = 0; i < 10; i++) assert_success(hmc_put(scene->local, 0, scene->remote, 0, 64 * KIB));
  after = nic_counts();
  assert_true(after.moved[0] == before.moved[0] || after.moved[1] == before.moved[1]);
}

/* Both devices reach the peer. The second is at the node that this process runs on, of the first nothing is known. */
void a_near_device_is_taken(void **state) {
  scene_t *scene = *state;
  char folder[] = "/tmp/hmc-test-node-XXXXXX", path[96];
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/device", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/device/numa_node", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("0\n", file);
  fclose(file);
  nic_devices(2);
  nic_folder(1, folder);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_explains(scene, "from 127.0.0.2 (loop1 port 1)");
  exchange(scene, 3);
  unlink(path);
  snprintf(path, sizeof path, "%s/device", folder);
  rmdir(path);
  rmdir(folder);
}

/* One end wants rails, the other does not: then there is one. */
void rails_are_wanted_by_both(void **state) {
  scene_t *scene = *state;
  nic_devices(2);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_int_equal(nic_counts().queue_pairs, 2);
  hmc_context_t *third = NULL;
  hmc_peer_t *peer = NULL;
  setenv("HMC_RDMA_RAILS", "2", 1);
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "third"}, &third));
  unsetenv("HMC_RDMA_RAILS");
  assert_success(hmc_context_connect(third, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, PATIENCE_MS, &peer));
  assert_int_equal(nic_counts().queue_pairs, 4);
  hmc_context_destroy(third);
}

static void start_all(scene_t *scene, hmc_request_t *requests[PARTS], uint64_t seed) {
  pattern_write(scene->local, 0, ROOM, seed);
  for (uint64_t i = 0; i < PARTS; i++) {
    uint64_t offset = i * (ROOM / PARTS);
    assert_success(hmc_put_nb(scene->local, offset, scene->remote, offset, ROOM / PARTS, NULL, &requests[i]));
  }
}

static void end_all(hmc_request_t *requests[PARTS]) {
  for (int i = 0; i < PARTS; i++) {
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
  }
}

static void await_rails(scene_t *scene, bool all) {
  char text[2048];
  for (int i = 0; i < 4000; i++, sleep_ms(5)) {
    explain(scene, text, sizeof text);
    if (!strstr(text, "made again") == all) return;
  }
  fail_msg("never: %s", text);
}

static void lose_and_find(scene_t *scene, unsigned device) {
  hmc_request_t *requests[PARTS];
  for (uint64_t round = 0; round < 3; round++) {
    nic_delay(10000); /* 16 pieces, of which few are done when it fails */
    start_all(scene, requests, 10 * device + round);
    sleep_ms(25);
    nic_port_down_device(device, true);
    nic_cut_device(device, true);
    nic_delay(0);
    end_all(requests); /* by the other one */
    assert_true(pattern_is(scene->far, 0, ROOM, 10 * device + round));
    await_rails(scene, false);
    exchange(scene, 77);
    uint64_t was = 0;
    assert_success(hmc_atomic(scene->remote, 0, HMC_ATOMIC_SWAP, 8, round, 0, &was));
    nic_cut_device(device, false);
    nic_port_down_device(device, false);
    await_rails(scene, true);
    nic_counts_t before = nic_counts();
    for (int i = 0; i < 4; i++) exchange(scene, 78);
    assert_true(nic_counts().moved[device] > before.moved[device]); /* it takes part again */
  }
}

void a_rail_fails_and_comes_back(void **state) {
  scene_t *scene = *state;
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  lose_and_find(scene, 1);
  lose_and_find(scene, 0); /* that all else went by */
}

void a_rail_that_is_missing_at_first(void **state) {
  scene_t *scene = *state;
  nic_cut_device(0, true);
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  exchange(scene, 1);
  nic_cut_device(0, false);
  await_rails(scene, true);
  exchange(scene, 2);
}

void rails_survive_failures(void **state) {
  scene_t *scene = *state;
  static const hmc_memory_kind_t kinds[] = {HMC_MEMORY_CPU, HMC_MEMORY_SIM};
  for (int lazy = 0; lazy < 2; lazy++) {
    for (int i = 0; i < 2; i++) {
      nic_in_software(!lazy);
      nic_lazy_writes(lazy);
      open_rails(scene, kinds[i], HMC_MEMORY_CPU);
      nic_fail_every(13);
      for (uint64_t seed = 0; seed < 4; seed++) exchange(scene, seed);
      nic_fail_every(0);
      scene_close(scene);
    }
  }
}

/* A signal and a notification come after all pieces, whichever way these went. */
void rails_keep_the_order_of_chains(void **state) {
  scene_t *scene = *state;
  nic_in_software(false);
  nic_lazy_writes(true);
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  volatile uint64_t *word = hmc_region_pointer(scene->far);
  for (uint64_t round = 1; round <= 20; round++) {
    hmc_signal_t signal = {scene->remote, 0, HMC_ATOMIC_SWAP, round};
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                       .signal = &signal,
                                       .notification = &round,
                                       .notification_size = sizeof round};
    hmc_request_t *request = NULL;
    bool cut = round % 2; /* what the second rail had is done again, when the first one is long through with its own */
    uint64_t told = 0, length = (cut ? 300 * KIB : 3 * MIB) - round;
    size_t size = 0;
    pattern_write(scene->local, 64, length, round);
    nic_cut_device(1, cut);
    assert_success(hmc_put_nb(scene->local, 64, scene->remote, 64, length, &options, &request));
    assert_success(hmc_notification_receive(scene->there, &told, sizeof told, &size, NULL, 0));
    assert_int_equal(told, round);
    assert_int_equal(*word, round);
    assert_true(pattern_is(scene->far, 64, length, round));
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
    nic_cut_device(1, false);
    await_rails(scene, true);
  }
}

/* A put is taken back while its rail has failed at this end, and not yet at the other one: what it has sent does not come
 * after the put that follows, which goes by the other rail. */
void rails_let_nothing_land_late(void **state) {
  scene_t *scene = *state;
  hmc_request_t *first = NULL, *second = NULL;
  gate_t gate;
  const uint64_t length = 600 * KIB;
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  hmc_request_t *stopped = scene_stop_there(scene, &gate); /* so it does not let go of its queue pair */
  nic_cut_device(1, true);
  nic_stray_writes(true);
  pattern_write(scene->local, 0, length, 1);
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, length, NULL, &first));
  await_rails(scene, false);
  assert_status(hmc_request_cancel(first), HMC_CANCELLED);
  pattern_write(scene->local, 0, length, 2);
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, length, NULL, &second));
  hmc_status_t status = hmc_request_wait_for(second, 50);
  nic_stray_writes(false);
  if (status != HMC_IN_PROGRESS) assert_success(status);
  atomic_store(&gate.open, true);
  assert_success(hmc_request_wait(second));
  assert_true(pattern_is(scene->far, 0, length, 2));
  hmc_request_free(first);
  hmc_request_free(second);
  hmc_request_free(stopped);
  nic_cut_device(1, false);
  await_rails(scene, true);
  exchange(scene, 3);
}

/* A rail fails while a message waits in the queue of the other one. It is sent once more, because its answer could have gone
 * by the first; what answers the former copy does not give away the bytes of the latter. */
void rails_that_fail_beside_messages(void **state) {
  scene_t *scene = *state;
  enum { BETWEEN = 12, WIDE = 64 << 10 };
  const hmc_operation_options_t checked = {.size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM};
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t round = 0; round < 3; round++) {
    hmc_request_t *message = NULL, *next = NULL, *striped = NULL, *between[BETWEEN];
    pattern_write(scene->local, 0, ROOM, round);
    nic_delay(10000);
    nic_cut_device(1, true);
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, 100000, &checked, &message));
    for (uint64_t i = 0; i < BETWEEN; i++) {
      uint64_t at = MIB + i * WIDE;
      assert_success(hmc_put_nb(scene->local, at, scene->remote, at, WIDE, NULL, &between[i]));
    }
    assert_success(hmc_put_nb(scene->local, 2 * MIB, scene->remote, 2 * MIB, 300 * KIB, NULL, &striped));
    assert_success(hmc_request_wait(message));
    assert_success(hmc_put_nb(scene->local, 200000, scene->remote, 200000, 50000, &checked, &next));
    assert_success(hmc_request_wait(next));
    nic_delay(0);
    for (int i = 0; i < BETWEEN; i++) {
      assert_success(hmc_request_wait(between[i]));
      hmc_request_free(between[i]);
    }
    assert_success(hmc_request_wait(striped));
    assert_true(pattern_is(scene->far, 0, 100000, round));
    hmc_request_free(message);
    hmc_request_free(next);
    hmc_request_free(striped);
    nic_cut_device(1, false);
    await_rails(scene, true);
    exchange(scene, round);
  }
}

/* The same where the hardware is through with the former copy when the rail fails: only the answer to it is still missing. */
void rails_that_fail_before_an_answer(void **state) {
  scene_t *scene = *state;
  enum { BETWEEN = 24, WIDE = 64 << 10 };
  const hmc_operation_options_t checked = {.size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM};
  hmc_request_t *message = NULL, *next = NULL, *striped = NULL, *between[BETWEEN];
  gate_t gate;
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  pattern_write(scene->local, 0, ROOM, 1);
  hmc_request_t *stopped = scene_stop_there(scene, &gate); /* so it does not answer */
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, 100000, &checked, &message));
  assert_success(hmc_put(scene->local, MIB, scene->remote, MIB, 8)); /* behind it */
  nic_delay(5000);
  nic_cut_device(1, true);
  for (uint64_t i = 0; i < BETWEEN; i++) {
    uint64_t at = MIB + i * WIDE / 2;
    assert_success(hmc_put_nb(scene->local, at, scene->remote, at, WIDE, NULL, &between[i]));
  }
  assert_success(hmc_put_nb(scene->local, 2 * MIB, scene->remote, 2 * MIB, 300 * KIB, NULL, &striped));
  await_rails(scene, false);
  atomic_store(&gate.open, true);
  assert_success(hmc_request_wait(message));
  assert_success(hmc_put_nb(scene->local, 200000, scene->remote, 200000, 50000, &checked, &next));
  assert_success(hmc_request_wait(next));
  nic_delay(0);
  for (int i = 0; i < BETWEEN; i++) {
    assert_success(hmc_request_wait(between[i]));
    hmc_request_free(between[i]);
  }
  assert_success(hmc_request_wait(striped));
  assert_true(pattern_is(scene->far, 0, 100000, 1));
  hmc_request_free(message);
  hmc_request_free(next);
  hmc_request_free(striped);
  hmc_request_free(stopped);
  nic_cut_device(1, false);
  await_rails(scene, true);
  exchange(scene, 2);
}

void rails_take_operations_back(void **state) {
  scene_t *scene = *state;
  hmc_request_t *requests[PARTS];
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t round = 0; round < 3; round++) {
    nic_pause(true);
    start_all(scene, requests, round);
    assert_status(hmc_request_cancel(requests[0]), HMC_CANCELLED);
    assert_status(hmc_request_cancel(requests[2]), HMC_CANCELLED);
    pattern_write(scene->local, 0, ROOM / PARTS, 99); /* the memory is the caller's again */
    nic_pause(false);
    assert_success(hmc_request_wait(requests[1]));
    assert_success(hmc_request_wait(requests[3]));
    for (int i = 0; i < PARTS; i++) hmc_request_free(requests[i]);
    exchange(scene, round);
  }
}

typedef struct sender {
  pthread_t thread;
  scene_t *scene;
  uint64_t number;
  hmc_status_t status;
  bool whole;
} sender_t;

static void *send_all(void *argument) {
  sender_t *sender = argument;
  scene_t *scene = sender->scene;
  uint64_t place = sender->number * MIB, length = MIB - 7;
  for (uint64_t i = 0; i < 25 && sender->status == HMC_SUCCESS && sender->whole; i++) {
    uint64_t seed = sender->number * 100 + i;
    pattern_write(scene->local, place, length, seed);
    sender->status = hmc_put(scene->local, place, scene->remote, place, length);
    if (sender->status == HMC_SUCCESS) sender->whole = pattern_is(scene->far, place, length, seed);
    if (sender->status == HMC_SUCCESS)
      sender->status = hmc_atomic(scene->remote, place + length / 8 * 8 - 8, HMC_ATOMIC_ADD, 8, 1, 0, NULL);
  }
  return NULL;
}

void threads_and_failing_rails(void **state) {
  scene_t *scene = *state;
  sender_t senders[4];
  open_rails(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (uint64_t i = 0; i < 4; i++) {
    senders[i] = (sender_t){.scene = scene, .number = i, .whole = true};
    assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
  }
  for (unsigned i = 0; i < 10; i++) {
    nic_cut_device(i % 2, true);
    sleep_ms(10);
    nic_cut_device(i % 2, false);
    sleep_ms(10);
  }
  for (int i = 0; i < 4; i++) pthread_join(senders[i].thread, NULL);
  for (int i = 0; i < 4; i++) {
    assert_status(senders[i].status, HMC_SUCCESS);
    assert_true(senders[i].whole);
  }
}
