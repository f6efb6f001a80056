/* What goes well. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_and_get(scene_t *scene, uint64_t here, uint64_t there, uint64_t length, uint64_t seed) {
  pattern_write(scene->local, here, length, seed);
  assert_success(hmc_put(scene->local, here, scene->remote, there, length));
  assert_true(pattern_is(scene->far, there, length, seed));
  pattern_write(scene->far, there, length, ~seed);
  assert_success(hmc_get(scene->local, here, scene->remote, there, length));
  assert_true(pattern_is(scene->local, here, length, ~seed));
}

void puts_and_gets_of_every_size(void **state) {
  scene_t *scene = *state;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  static const uint64_t lengths[] = {
      1, 8, 63, 64, 65, 219, 220, 221, 4097, 128 * KIB, 128 * KIB + 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) put_and_get(scene, 3 + i, 100 + 7 * i, lengths[i], i);
  put_and_get(scene, ROOM - 1, 0, 1, 1);
  put_and_get(scene, 0, 0, ROOM, 2);
}

void sides_of_every_kind(void **state) {
  scene_t *scene = *state;
  static const hmc_memory_kind_t kinds[] = {HMC_MEMORY_CPU, HMC_MEMORY_SIM};
  static const uint64_t lengths[] = {1, 64, 65, 300, 5000, 128 * KIB, 128 * KIB + 1, 2 * MIB + 3};
  for (int i = 1; i < 4; i++) {
    scene_open(scene, kinds[i & 1], kinds[i >> 1]);
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
      put_and_get(scene, 5 + k, 9 + 3 * k, lengths[k], 10 * k);
    nic_counts_t counts = nic_counts();
    assert_true(counts.registered <= 2 * (16 * MIB + ROOM)); /* the regions, and both ends' staging */
    scene_close(scene);
  }
}

/* ---- both ways --------------------------------------------------------------------------------------------------- */

typedef struct runner {
  pthread_t thread;
  hmc_region_t *local;
  hmc_remote_t *remote;
  uint64_t from, rounds;
  hmc_status_t status;
  bool whole;
} runner_t;

/* Puts, and gets back to another place. */
static void *run(void *argument) {
  runner_t *runner = argument;
  const uint64_t room = 64 * KIB;
  for (uint64_t i = 0; i < runner->rounds && runner->status == HMC_SUCCESS && runner->whole; i++) {
    uint64_t length = 1 + i * 7919 % room, seed = runner->from + i;
    pattern_write(runner->local, runner->from, length, seed);
    runner->status = hmc_put(runner->local, runner->from, runner->remote, runner->from, length);
    if (runner->status != HMC_SUCCESS) break;
    runner->status = hmc_get(runner->local, runner->from + room, runner->remote, runner->from, length);
    runner->whole = runner->status != HMC_SUCCESS || pattern_is(runner->local, runner->from + room, length, seed);
  }
  return NULL;
}

void both_ways_at_once(void **state) {
  scene_t *scene = *state;
  hmc_remote_t *mirror = NULL;
  runner_t runners[4];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  assert_success(hmc_remote_open(scene->back, "here", 0, &mirror));
  for (uint64_t i = 0; i < 4; i++) {
    runners[i] = (runner_t){.local = i % 2 ? scene->far : scene->local,
                            .remote = i % 2 ? mirror : scene->remote,
                            .from = (2 * i + 1) * 256 * KIB,
                            .rounds = 60,
                            .whole = true};
    assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
  }
  for (int i = 0; i < 4; i++) pthread_join(runners[i].thread, NULL);
  for (int i = 0; i < 4; i++) {
    assert_status(runners[i].status, HMC_SUCCESS);
    assert_true(runners[i].whole);
  }
}

/* ---- what the adapter is asked ----------------------------------------------------------------------------------- */

void many_in_flight_are_signalled_sparingly(void **state) {
  scene_t *scene = *state;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  hmc_segment_t pieces[1000];
  for (uint64_t i = 0; i < 1000; i++) pieces[i] = (hmc_segment_t){i * 512, i * 1024, 8};
  hmc_batch_t *batch = NULL;
  assert_success(hmc_batch_create(scene->local, scene->remote, pieces, 1000, &batch));
  pattern_write(scene->local, 0, MIB, 5);
  nic_counts_t before = nic_counts();
  assert_success(hmc_batch_put(batch));
  nic_counts_t after = nic_counts();
  assert_int_equal(after.writes - before.writes, 1000);
  assert_true(after.completions - before.completions < 1000 / 4);
  assert_true(after.doorbells - before.doorbells < 1000 / 4);
  hmc_batch_free(batch);
}

/* A thread that waits for its own put polls: nobody is informed, nobody else wakes up. Where it loses its processor for
 * longer than the service thread leaves such a thread alone, that one takes over, and is informed; so not each time. */
void blocking_puts_wake_nobody(void **state) {
  scene_t *scene = *state;
  setenv("HMC_SPIN", "5s", 1); /* so that the wait never sleeps */
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  unsetenv("HMC_SPIN");
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 8));
  bool quiet = false;
  for (int round = 0; round < 100 && !quiet; round++) {
    nic_counts_t before = nic_counts();
    for (int i = 0; i < 20; i++) assert_success(hmc_put(scene->local, 0, scene->remote, 0, 8));
    assert_int_equal(nic_counts().doorbells - before.doorbells, 20);
    quiet = nic_counts().events == before.events;
  }
  assert_true(quiet);
}

void small_puts_go_inline(void **state) {
  scene_t *scene = *state;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  uint32_t memories = nic_counts().memories;
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 8));
  assert_int_equal(nic_counts().memories, memories); /* the local region was not registered for it */
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 4096));
  assert_int_equal(nic_counts().memories, memories + 1);
}

/* ---- complete means visible -------------------------------------------------------------------------------------- */

void puts_are_seen_when_complete(void **state) {
  scene_t *scene = *state;
  nic_in_software(false);
  nic_lazy_writes(true);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  hmc_request_t *requests[32];
  for (uint64_t round = 1; round <= 50; round++) {
    put_and_get(scene, round, 2 * round, round * 331, round);
    pattern_write(scene->local, 0, 32 * 5000, round);
    for (uint64_t i = 0; i < 32; i++) {
      assert_success(hmc_put_nb(scene->local, i * 5000, scene->remote, i * 5000, 5000, NULL, &requests[i]));
    }
    for (uint64_t i = 0; i < 32; i++) {
      assert_success(hmc_request_wait(requests[31 - i]));
      const uint8_t *here = hmc_region_pointer(scene->local), *there = hmc_region_pointer(scene->far);
      assert_memory_equal(here + (31 - i) * 5000, there + (31 - i) * 5000, 5000);
      hmc_request_free(requests[31 - i]);
    }
  }
  assert_true(nic_counts().reads > 50);
}

void a_software_device_needs_no_flush(void **state) {
  scene_t *scene = *state;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  uint64_t reads = nic_counts().reads;
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 100000));
  assert_int_equal(nic_counts().reads, reads);
  scene_close(scene);
  setenv("HMC_RDMA_FLUSH", "yes", 1);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  reads = nic_counts().reads;
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 100000));
  assert_int_equal(nic_counts().reads, reads + 1);
}

static hmc_connection_type_t automatic_type(scene_t *scene, hmc_peer_t **peer) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_AUTO, 0, peer));
  assert_success(hmc_peer_get_info(*peer, &info));
  return info.type;
}

/* Where shm is left out AUTO goes by a device in hardware, but not by one in software, and says why. */
void automatic_type_is_the_fastest(void **state) {
  scene_t *scene = *state;
  hmc_peer_t *peer = NULL;
  char text[4096];
  setenv("HMC_TRANSPORTS", "rdma,tcp", 1);
  nic_in_software(false);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_int_equal(automatic_type(scene, &peer), HMC_CONNECTION_RDMA);
  assert_status(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_SHM, 0, &peer),
                HMC_UNSUPPORT);
  scene_close(scene);
  nic_in_software(true);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_int_equal(automatic_type(scene, &peer), HMC_CONNECTION_TCP);
  assert_success(hmc_peer_explain(peer, text, sizeof text, NULL));
  assert_non_null(strstr(text, "a device in software"));
  assert_non_null(strstr(text, "HMC_TRANSPORTS"));
  scene_close(scene);
  setenv("HMC_TRANSPORTS", "rdma", 1); /* nothing else is left */
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_int_equal(automatic_type(scene, &peer), HMC_CONNECTION_RDMA);
}

/* The signal's word changes after the data are there; a notification comes after both. */
void chains_are_seen_in_order(void **state) {
  scene_t *scene = *state;
  nic_in_software(false);
  nic_lazy_writes(true);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  volatile uint64_t *word = (volatile uint64_t *)((uint8_t *)hmc_region_pointer(scene->far) + 8);
  for (uint64_t round = 1; round <= 100; round++) {
    hmc_signal_t signal = {scene->remote, 8, HMC_ATOMIC_SWAP, round};
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                       .signal = &signal,
                                       .notification = &round,
                                       .notification_size = sizeof round};
    hmc_request_t *request = NULL;
    uint64_t told = 0, length = round * 997;
    size_t size = 0;
    pattern_write(scene->local, 64, length, round);
    assert_success(hmc_put_nb(scene->local, 64, scene->remote, 64, length, &options, &request));
    assert_success(hmc_notification_receive(scene->there, &told, sizeof told, &size, NULL, 0));
    assert_int_equal(told, round);
    assert_int_equal(*word, round);
    assert_true(pattern_is(scene->far, 64, length, round));
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
  }
}

/* ---- shapes and limits ------------------------------------------------------------------------------------------- */

void batches_of_many_pieces(void **state) {
  scene_t *scene = *state;
  static const hmc_memory_kind_t kinds[] = {HMC_MEMORY_CPU, HMC_MEMORY_SIM};
  for (int i = 0; i < 4; i++) {
    scene_open(scene, kinds[i & 1], kinds[i >> 1]);
    hmc_segment_t pieces[300];
    for (uint64_t k = 0; k < 300; k++) pieces[k] = (hmc_segment_t){k * 4000, (299 - k) * 5000, 1 + k * 13};
    hmc_batch_t *batch = NULL;
    assert_success(hmc_batch_create(scene->local, scene->remote, pieces, 300, &batch));
    for (uint64_t k = 0; k < 300; k++) pattern_write(scene->local, pieces[k].local_offset, pieces[k].length, k);
    assert_success(hmc_batch_put(batch));
    for (uint64_t k = 0; k < 300; k++)
      assert_true(pattern_is(scene->far, pieces[k].remote_offset, pieces[k].length, k));
    for (uint64_t k = 0; k < 300; k++) pattern_write(scene->far, pieces[k].remote_offset, pieces[k].length, ~k);
    assert_success(hmc_batch_get(batch));
    for (uint64_t k = 0; k < 300; k++)
      assert_true(pattern_is(scene->local, pieces[k].local_offset, pieces[k].length, ~k));
    hmc_batch_free(batch);
    scene_close(scene);
  }
}

void pinned_memory_is_bounded(void **state) {
  scene_t *scene = *state;
  setenv("HMC_RDMA_PINNED_MAX", "1M", 1);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  uint64_t before = nic_counts().registered;
  put_and_get(scene, 0, 0, ROOM, 3);
  assert_true(nic_counts().registered <= before + 2 * MIB);
  char text[2048];
  assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
  assert_non_null(strstr(text, "HMC_RDMA_PINNED_MAX"));
}

void memory_that_is_refused_is_staged(void **state) {
  scene_t *scene = *state;
  hmc_region_t *refused = NULL;
  hmc_remote_t *remote = NULL;
  static uint8_t lent[100000];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_success(hmc_region_register(scene->there, lent, sizeof lent, "refused", HMC_REMOTE_ALL, &refused));
  nic_refuse_memory(true);
  assert_success(hmc_remote_open(scene->peer, "refused", 0, &remote));
  pattern_write(scene->local, 0, sizeof lent, 1);
  assert_success(hmc_put(scene->local, 0, remote, 0, sizeof lent));
  assert_true(pattern_is(refused, 0, sizeof lent, 1));
  put_and_get(scene, 0, 0, 2 * MIB, 2);
}

void nothing_goes_inline(void **state) {
  scene_t *scene = *state;
  nic_inline_most(0);
  scene_open(scene, HMC_MEMORY_SIM, HMC_MEMORY_SIM);
  put_and_get(scene, 1, 2, 1, 1);
  put_and_get(scene, 1, 2, MIB, 2);
  uint64_t was = 99;
  pattern_write(scene->far, 0, 8, 0);
  assert_success(hmc_atomic(scene->remote, 64, HMC_ATOMIC_SWAP, 8, 5, 0, &was));
  assert_success(hmc_atomic(scene->remote, 64, HMC_ATOMIC_ADD, 8, 2, 0, &was));
  assert_int_equal(was, 5);
}

void many_peers(void **state) {
  scene_t *scene = *state;
  enum { PEERS = 64 };
  hmc_peer_t *peers[PEERS];
  hmc_remote_t *remotes[PEERS];
  hmc_request_t *requests[PEERS];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  for (int i = 0; i < PEERS; i++) {
    assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, 0, &peers[i]));
    assert_success(hmc_remote_open(peers[i], "there", 0, &remotes[i]));
  }
  assert_int_equal(nic_counts().queue_pairs, 2 * (PEERS + 1));
  for (uint64_t i = 0; i < PEERS; i++) {
    pattern_write(scene->local, i * 60000, 60000, i);
    assert_success(hmc_put_nb(scene->local, i * 60000, remotes[i], i * 60000, 60000, NULL, &requests[i]));
  }
  for (uint64_t i = 0; i < PEERS; i++) {
    uint64_t word = 0;
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
    assert_true(pattern_is(scene->far, i * 60000, 60000, i));
    assert_success(hmc_atomic(remotes[i], 0, HMC_ATOMIC_ADD, 8, 1, 0, &word));
  }
  for (int i = 0; i < PEERS; i += 2) hmc_peer_close(peers[i]);
  for (int i = 1; i < PEERS; i += 2) assert_success(hmc_put(scene->local, 0, remotes[i], 0, 60000));
}

static unsigned buffers_of(hmc_peer_t *peer) {
  char text[2048];
  unsigned count = 0;
  assert_success(hmc_peer_explain(peer, text, sizeof text, NULL));
  const char *found = strstr(text, "receive buffers: ");
  assert_non_null(found);
  assert_int_equal(sscanf(found, "receive buffers: %u", &count), 1);
  return count;
}

static void await_buffers(hmc_peer_t *peer, unsigned wanted) {
  for (uint64_t limit = now_ms() + PATIENCE_MS; buffers_of(peer) < wanted && now_ms() < limit;) sleep_ms(1);
  assert_int_equal(buffers_of(peer), wanted);
}

/* Each asks for eight pieces at once, which is as many messages as a peer sends without an answer; all of them together
 * come while the owner has looked at none. */
static void get_at_once(scene_t *scene, unsigned buffers) {
  enum { PEERS = 24 };
  hmc_peer_t *peers[PEERS];
  hmc_remote_t *remotes[PEERS];
  hmc_request_t *requests[PEERS];
  hmc_region_t *into;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  assert_success(hmc_region_allocate(scene->here, (hmc_memory_t){HMC_MEMORY_CPU, 0}, PEERS * MIB, NULL, 0, &into));
  for (int i = 0; i < PEERS; i++) {
    assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, 0, &peers[i]));
    assert_success(hmc_remote_open(peers[i], "there", 0, &remotes[i]));
  }
  await_buffers(scene->peer, buffers);
  await_buffers(scene->back, buffers);
  pattern_write(scene->far, 0, MIB, 5);
  nic_pause(true);
  for (uint64_t i = 0; i < PEERS; i++)
    assert_success(hmc_get_nb(into, i * MIB, remotes[i], 0, MIB, NULL, &requests[i]));
  nic_pause(false);
  for (uint64_t i = 0; i < PEERS; i++) {
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
    assert_true(pattern_is(into, i * MIB, MIB, 5));
  }
}

void many_that_send_at_once(void **state) {
  scene_t *scene = *state;
  get_at_once(scene, 25 * 8);
  assert_int_equal(nic_counts().not_ready, 0);
  scene_close(scene);
  setenv("HMC_RDMA_BUFFERS", "40", 1); /* fewer than are needed: slower, and nothing is lost */
  get_at_once(scene, 40);
}

static void await_held(void) {
  for (uint64_t limit = now_ms() + PATIENCE_MS; !nic_counts().waiting && now_ms() < limit;) sleep_ms(1);
  assert_int_equal(nic_counts().waiting, 1);
}

enum { LARGE = 16 << 20 };

/* All that needs the locks and the loops of both ends goes on. */
static void assert_all_goes_on(scene_t *scene, hmc_remote_t *beside, hmc_remote_t *backwards) {
  uint64_t was;
  for (int i = 0; i < 3; i++) {
    assert_success(hmc_put(scene->local, 0, beside, 0, MIB));
    assert_success(hmc_atomic(beside, 0, HMC_ATOMIC_ADD, 8, 1, 0, &was));
    assert_success(hmc_atomic(backwards, 0, HMC_ATOMIC_ADD, 8, 1, 0, &was));
  }
}

void registering_holds_up_nobody(void **state) {
  scene_t *scene = *state;
  hmc_peer_t *other;
  hmc_remote_t *beside, *backwards;
  hmc_region_t *large;
  hmc_request_t *request;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_success(hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, 0, &other));
  assert_success(hmc_remote_open(other, "there", 0, &beside));
  assert_success(hmc_remote_open(scene->back, "here", 0, &backwards));
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, MIB)); /* that much is registered from now on */
  for (int round = 0; round < 2; round++) {
    assert_success(hmc_region_allocate(scene->here, (hmc_memory_t){HMC_MEMORY_CPU, 0}, LARGE, NULL, 0, &large));
    pattern_write(large, 0, ROOM, 7);
    nic_hold_memory(LARGE);
    assert_success(hmc_put_nb(large, 0, scene->remote, 0, ROOM, NULL, &request));
    await_held();
    assert_all_goes_on(scene, beside, backwards);
    assert_int_equal(hmc_request_test(request), HMC_IN_PROGRESS);
    if (round == 1) {
      assert_status(hmc_request_cancel(request), HMC_CANCELLED); /* the region goes while it is being registered */
      hmc_region_close(large);
    }
    nic_hold_memory(0);
    assert_status(hmc_request_wait(request), round ? HMC_CANCELLED : HMC_SUCCESS);
    hmc_request_free(request);
    if (round == 0) assert_true(pattern_is(scene->far, 0, ROOM, 7));
  }
}

void a_peer_opens_what_is_being_registered(void **state) {
  scene_t *scene = *state;
  hmc_remote_t *backwards, *opened[2];
  hmc_region_t *regions[2];
  hmc_request_t *requests[2];
  static const char *const names[] = {"stays", "closes"};
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_CPU);
  assert_success(hmc_remote_open(scene->back, "here", 0, &backwards));
  for (int i = 0; i < 2; i++) {
    hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
    assert_success(hmc_region_allocate(scene->there, cpu, LARGE, names[i], HMC_REMOTE_ALL, &regions[i]));
  }
  nic_hold_memory(LARGE);
  for (int i = 0; i < 2; i++) {
    assert_success(hmc_remote_open_nb(scene->peer, names[i], NULL, &opened[i], &requests[i]));
    await_held();
    assert_all_goes_on(scene, scene->remote, backwards);
    assert_int_equal(hmc_request_test(requests[i]), HMC_IN_PROGRESS);
  }
  hmc_region_close(regions[1]);
  hmc_status_t closed = hmc_request_wait(requests[1]);
  if (closed != HMC_NOT_FOUND) assert_status(closed, HMC_STALE); /* on a busy machine it asks for it only now */
  assert_int_equal(hmc_request_test(requests[0]), HMC_IN_PROGRESS);
  nic_hold_memory(0);
  assert_success(hmc_request_wait(requests[0]));
  for (int i = 0; i < 2; i++) hmc_request_free(requests[i]);
  pattern_write(scene->local, 0, ROOM, 9);
  nic_counts_t before = nic_counts();
  assert_success(hmc_put(scene->local, 0, opened[0], 0, ROOM));
  assert_true(pattern_is(regions[0], 0, ROOM, 9));
  assert_int_equal(nic_counts().sends, before.sends); /* straight, by its key */
}

void checksums(void **state) {
  scene_t *scene = *state;
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM};
  hmc_request_t *request = NULL;
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  pattern_write(scene->local, 0, MIB, 1);
  assert_success(hmc_put_nb(scene->local, 0, scene->remote, 3, MIB, &options, &request));
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  assert_true(pattern_is(scene->far, 3, MIB, 1));
  assert_success(hmc_get_nb(scene->local, 2 * MIB, scene->remote, 3, MIB, &options, &request));
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  assert_true(pattern_is(scene->local, 2 * MIB, MIB, 1));
}

void explain_tells_how(void **state) {
  scene_t *scene = *state;
  char text[2048];
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
  assert_non_null(strstr(text, "loop0"));
  assert_non_null(strstr(text, "127.0.0.1")); /* and not the link-local address, which comes first */
  assert_null(strstr(text, "fe80"));
  assert_non_null(strstr(text, "path MTU 4096"));
  assert_non_null(strstr(text, "queue pairs: 1 to this peer"));
  assert_non_null(strstr(text, "staged"));
}

/* Device memory that the adapter reaches by a dma-buf: no staging at either end, and seen when complete. */
void device_memory_by_dmabuf(void **state) {
  scene_t *scene = *state;
  static const hmc_memory_kind_t kinds[] = {HMC_MEMORY_CPU, HMC_MEMORY_SIM};
  static const uint64_t lengths[] = {1, 8, 300, 5000, 128 * KIB + 1, 2 * MIB + 3};
  char text[2048];
  for (int i = 1; i < 8; i++) {
    bool hardware = i & 4;
    if (!(i & 3)) continue;
    nic_can_dmabuf(true);
    nic_in_software(!hardware);
    nic_lazy_writes(hardware);
    scene_open(scene, kinds[i & 1], kinds[i >> 1 & 1]);
    nic_counts_t before = nic_counts();
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++)
      put_and_get(scene, 5 + k, 9 + 3 * k, lengths[k], 10 * k);
    nic_counts_t after = nic_counts();
    assert_int_equal(after.sends, before.sends); /* nothing went by messages */
    assert_true(after.dmabufs > 0);
    assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
    if (i & 2 && !strstr(text, "by dma-buf")) fail_msg("%s", text);
    if (strstr(text, "staged")) fail_msg("%s", text);
    scene_close(scene);
    assert_int_equal(nic_counts().dmabufs, 0);
  }
}

uint64_t hmci_sim_settles(int device); /* the software accelerator's door for tests */

/* What adapters write into a device's memory is made visible to the device before the operation is complete, and before
 * what is chained to it: there for a put, here for a get; by nobody where the device copies by itself. */
void device_memory_is_settled(void **state) {
  scene_t *scene = *state;
  uint64_t word = 0;
  nic_can_dmabuf(true);
  scene_open(scene, HMC_MEMORY_CPU, HMC_MEMORY_SIM);
  uint64_t before = hmci_sim_settles(0);
  pattern_write(scene->local, 0, MIB, 1);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, 8));
  assert_int_equal(hmci_sim_settles(0), before + 1);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, MIB));
  assert_int_equal(hmci_sim_settles(0), before + 2);
  assert_success(hmc_get(scene->local, 0, scene->remote, 0, MIB)); /* into the host's memory */
  assert_int_equal(hmci_sim_settles(0), before + 2);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.notification = &word;
  options.notification_size = sizeof word;
  for (uint64_t i = 0; i < 200; i++) {
    size_t size = 0;
    word = i;
    hmc_request_t *request = NULL;
    assert_success(hmc_put_nb(scene->local, 0, scene->remote, 0, 64 + i, &options, &request));
    assert_success(hmc_notification_receive(scene->there, &word, sizeof word, &size, NULL, 0));
    assert_int_equal(word, i);
    assert_true(hmci_sim_settles(0) >= before + 3 + i);
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
  }
  scene_close(scene);

  nic_can_dmabuf(true);
  scene_open(scene, HMC_MEMORY_SIM, HMC_MEMORY_CPU);
  before = hmci_sim_settles(0);
  assert_success(hmc_get(scene->local, 0, scene->remote, 0, MIB));
  assert_int_equal(hmci_sim_settles(0), before + 1);
  assert_success(hmc_put(scene->local, 0, scene->remote, 0, MIB));
  assert_int_equal(hmci_sim_settles(0), before + 1);
  scene_close(scene);

  nic_can_dmabuf(false);
  scene_open(scene, HMC_MEMORY_SIM, HMC_MEMORY_SIM); /* staged at both ends */
  before = hmci_sim_settles(0);
  put_and_get(scene, 0, 0, MIB, 1);
  assert_int_equal(hmci_sim_settles(0), before);
}

/* It says why not: and that it was tried, once. */
void device_memory_that_is_not_reached(void **state) {
  scene_t *scene = *state;
  char text[2048];
  scene_open(scene, HMC_MEMORY_SIM, HMC_MEMORY_SIM);
  put_and_get(scene, 0, 0, MIB, 1);
  assert_success(hmc_peer_explain(scene->peer, text, sizeof text, NULL));
  if (!strstr(text, "dma-buf: ") || !strstr(text, "peer memory: ") || !strstr(text, "staged at both ends"))
    fail_msg("%s", text);
}
