/* Requests and batches to and from memory that its owner has registered: over shm they go as blocking puts and gets do,
 * without a socket, by threads of the context. */
#include "regions.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PIECES = 300, STRIDE = 5000, ROOM = PIECES * STRIDE };

typedef struct scene {
  far_t far;
  test_buffer_t near;
  hmc_batch_t *batch;
  uint64_t files; /* open before anything was moved */
} scene_t;

/* Pieces of all sizes up to a page, none of which joins another. */
static void scene_open(scene_t *scene, context_pair_t *pair) {
  hmc_segment_t pieces[PIECES];
  for (uint64_t i = 0; i < PIECES; i++) {
    uint64_t back = PIECES - 1 - i;
    pieces[i] = (hmc_segment_t){i * STRIDE + 1, back * STRIDE + 3, i % 2 ? PAGE : 1 + i};
  }
  scene->far = far_make(pair, (far_options_t){.name = "registered", .size = ROOM, .registered = true});
  scene->near = near_make(pair, ROOM, true);
  assert_success(hmc_batch_create(scene->near.region, scene->far.remote, pieces, PIECES, &scene->batch));
  scene->files = open_files();
}

static void scene_close(scene_t *scene) {
  hmc_batch_free(scene->batch);
  far_close(&scene->far);
  test_buffer_close(&scene->near);
}

/* Two patterns, one at each end. */
static void fill(const scene_t *scene, uint64_t seed) {
  uint64_t word;
  shared_begin();
  for (uint64_t i = 0; i < ROOM; i += sizeof word) {
    word = mix(seed + i);
    test_buffer_store(&scene->near, i, &word, sizeof word);
    word = mix(~seed + i);
    test_buffer_store(&scene->far.place, i, &word, sizeof word);
  }
  shared_end();
}

/* The batch has been moved: its pieces are the same at both ends, and what lies between them is not. */
static void check(const scene_t *scene) {
  uint8_t *here = malloc(ROOM), *there = malloc(ROOM);
  assert_true(here && there);
  shared_begin();
  test_buffer_load(&scene->near, 0, here, ROOM);
  test_buffer_load(&scene->far.place, 0, there, ROOM);
  shared_end();
  for (uint64_t i = 0; i < PIECES; i++) {
    uint64_t back = PIECES - 1 - i, length = i % 2 ? PAGE : 1 + i;
    const uint8_t *one = here + i * STRIDE + 1, *other = there + back * STRIDE + 3;
    assert_memory_equal(one, other, length);
    assert_memory_not_equal(one + length, other + length, 64); /* 2^-512 */
  }
  free(here);
  free(there);
}

/* Nobody helps: threads of the context do all. */
static hmc_status_t test_until_done(hmc_request_t *request) {
  hmc_status_t status;
  while ((status = hmc_request_test(request)) == HMC_IN_PROGRESS) sleep_ms(1);
  hmc_request_free(request);
  return status;
}

void registered_batches_need_no_socket(void **state) {
  context_pair_t *pair = *state;
  scene_t scene;
  hmc_request_t *request;
  scene_open(&scene, pair);
  for (uint64_t round = 0; round < 4; round++) {
    fill(&scene, 100 + round);
    if (round % 2) {
      assert_success(hmc_batch_put_nb(scene.batch, NULL, &request));
    } else {
      assert_success(hmc_batch_get_nb(scene.batch, NULL, &request));
    }
    assert_success(test_until_done(request));
    check(&scene);
    fill(&scene, 200 + round);
    assert_success(round % 2 ? hmc_batch_put(scene.batch) : hmc_batch_get(scene.batch));
    check(&scene);
  }
  if (stamp_is("shm")) assert_int_equal(open_files(), scene.files); /* a stream has two descriptors here */
  scene_close(&scene);
}

/* Its signal and its notification come after the data, by the stream. */
void registered_puts_tell_after_the_data(void **state) {
  context_pair_t *pair = *state;
  far_t words = far_make(pair, (far_options_t){.name = "words", .size = PAGE});
  scene_t scene;
  scene_open(&scene, pair);
  for (uint64_t round = 1; round <= 10; round++) {
    uint8_t text[8];
    size_t size;
    hmc_peer_t *from;
    hmc_signal_t signal = {words.remote, 8, HMC_ATOMIC_ADD, 1};
    hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
    options.signal = &signal;
    options.notification = "done";
    options.notification_size = 4;
    hmc_request_t *request;
    fill(&scene, 300 + round);
    assert_success(hmc_batch_put_nb(scene.batch, &options, &request));
    assert_success(hmc_notification_receive(pair->there, text, sizeof text, &size, &from, 60000));
    assert_int_equal(word_load(&words.place, 8), round);
    check(&scene);
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
  }
  scene_close(&scene);
  far_close(&words);
}

/* What is unmapped at either end, or closed there, is the status of the request; the peer stays. */
void registered_requests_to_unmapped_memory(void **state) {
  context_pair_t *pair = *state;
  scene_t scene;
  hmc_region_t *far, *near;
  hmc_remote_t *remote;
  hmc_request_t *request;
  const uint64_t length = 300 * KIB;
  if (!stamp_is("shm")) return;
  scene_open(&scene, pair);
  uint8_t *theirs = reserve(ROOM), *ours = reserve(ROOM);
  assert_success(hmc_region_register(pair->there, theirs, ROOM, "none", HMC_REMOTE_ALL, &far));
  assert_success(hmc_region_register(pair->here, ours, ROOM, NULL, 0, &near));
  assert_success(hmc_remote_open(pair->peer, "none", 0, &remote));
  for (int waits = 0; waits < 2; waits++) {
    hmc_status_t (*end)(hmc_request_t *) = waits ? hmc_request_wait : test_until_done;
    assert_success(hmc_put_nb(scene.near.region, 0, remote, 0, length, NULL, &request));
    assert_status(end(request), HMC_STALE);
    if (waits) hmc_request_free(request);
    assert_success(hmc_get_nb(scene.near.region, 0, remote, 0, length, NULL, &request));
    assert_status(end(request), HMC_STALE);
    if (waits) hmc_request_free(request);
    assert_success(hmc_put_nb(near, 0, scene.far.remote, 0, length, NULL, &request));
    assert_status(end(request), HMC_INVALID_CONFIG);
    if (waits) hmc_request_free(request);
    assert_success(hmc_get_nb(near, 0, scene.far.remote, 0, length, NULL, &request));
    assert_status(end(request), HMC_INVALID_CONFIG);
    if (waits) hmc_request_free(request);
  }
  hmc_region_close(far);
  assert_status(hmc_put_nb(scene.near.region, 0, remote, 0, length, NULL, &request), HMC_STALE);
  fill(&scene, 1);
  assert_success(hmc_batch_put(scene.batch));
  check(&scene);
  hmc_region_close(near);
  munmap(theirs, ROOM);
  munmap(ours, ROOM);
  scene_close(&scene);
}

/* Requests to an owner that stands end by their deadline, by being cancelled, and with the peer. */
void registered_requests_end_though_the_owner_stands(void **state) {
  context_pair_t *pair = *state;
  owner_t owner;
  hmc_remote_t *remote;
  hmc_request_t *requests[4];
  hmc_operation_options_t brief = HMC_OPERATION_OPTIONS_INIT;
  brief.timeout_ms = 300;
  owner_start(&owner, pair);
  assert_success(hmc_remote_open(owner.peer, "registered", 20000, &remote));
  test_buffer_t near = near_make(pair, OWNER_BYTES, true);
  assert_success(hmc_put_nb(near.region, 0, remote, 0, OWNER_BYTES, NULL, &requests[0]));
  assert_success(hmc_request_wait(requests[0]));
  hmc_request_free(requests[0]);
  owner_stop(&owner);
  assert_success(hmc_put_nb(near.region, 0, remote, 0, OWNER_BYTES, &brief, &requests[0]));
  assert_success(hmc_put_nb(near.region, 0, remote, 0, OWNER_BYTES, &brief, &requests[1]));
  for (int i = 2; i < 4; i++) assert_success(hmc_put_nb(near.region, 0, remote, 0, OWNER_BYTES, NULL, &requests[i]));
  assert_status(hmc_request_wait(requests[0]), HMC_TIMEOUT);
  assert_status(test_until_done(requests[1]), HMC_TIMEOUT);
  assert_status(hmc_request_cancel(requests[2]), HMC_CANCELLED);
  if (stamp_is("shm")) { /* it asks nobody, and is awake enough for gets */
    assert_success(hmc_get_nb(near.region, 0, remote, 0, OWNER_BYTES, NULL, &requests[1]));
    assert_success(hmc_request_wait(requests[1]));
    hmc_request_free(requests[1]);
  }
  owner_kill(&owner);
  assert_status(hmc_request_wait(requests[3]), HMC_PEER_LOST);
  for (int i = 0; i < 4; i++)
    if (i != 1) hmc_request_free(requests[i]);
  hmc_peer_close(owner.peer);
  test_buffer_close(&near);
}

/* Closing the peer ends them as cancelled. */
void registered_requests_end_with_their_peer(void **state) {
  context_pair_t *pair = *state;
  owner_t owner;
  hmc_remote_t *remote;
  hmc_request_t *request;
  owner_start(&owner, pair);
  assert_success(hmc_remote_open(owner.peer, "registered", 20000, &remote));
  test_buffer_t near = near_make(pair, OWNER_BYTES, true);
  owner_stop(&owner);
  assert_success(hmc_put_nb(near.region, 0, remote, 0, OWNER_BYTES, NULL, &request));
  sleep_ms(20);
  hmc_peer_close(owner.peer);
  assert_status(hmc_request_test(request), HMC_CANCELLED);
  hmc_request_free(request);
  owner_kill(&owner);
  test_buffer_close(&near);
}

/* What queues move goes the same way, as do its ends. */
void registered_queues_need_no_socket(void **state) {
  context_pair_t *pair = *state;
  scene_t scene;
  hmc_queue_t *queue;
  uint8_t *here = malloc(ROOM), *back = malloc(ROOM);
  assert_true(here && back);
  scene_open(&scene, pair);
  assert_success(hmc_queue_create(pair->here, NULL, &queue));
  for (uint64_t round = 0; round < 4; round++) {
    for (uint64_t i = 0; i < ROOM; i++) here[i] = (uint8_t)(mix(round) + i * 7);
    memset(back, 0, ROOM);
    for (uint64_t i = 0; i < ROOM; i += ROOM / 4)
      assert_success(hmc_queue_put(queue, here + i, scene.far.remote, i, ROOM / 4));
    assert_success(hmc_queue_flush(queue, round % 2 ? pair->peer : NULL, 60000));
    assert_success(hmc_queue_get(queue, back, scene.far.remote, 0, ROOM));
    if (round % 2) {
      while (hmc_queue_pending(queue)) sleep_ms(1); /* nobody helps */
    }
    assert_success(hmc_queue_flush(queue, NULL, 60000));
    assert_memory_equal(here, back, ROOM);
  }
  if (stamp_is("shm")) assert_int_equal(open_files(), scene.files);
  hmc_queue_destroy(queue);
  scene_close(&scene);
  free(here);
  free(back);
}

void registered_queues_end_with_their_peer(void **state) {
  context_pair_t *pair = *state;
  owner_t owner;
  hmc_remote_t *remote;
  hmc_queue_t *queue, *left;
  uint8_t *bytes = calloc(1, OWNER_BYTES);
  assert_non_null(bytes);
  owner_start(&owner, pair);
  assert_success(hmc_remote_open(owner.peer, "registered", 20000, &remote));
  assert_success(hmc_queue_create(pair->here, NULL, &queue));
  assert_success(hmc_queue_create(pair->here, NULL, &left));
  owner_stop(&owner);
  for (int i = 0; i < 8; i++) assert_success(hmc_queue_put(left, bytes, remote, 0, OWNER_BYTES));
  hmc_queue_destroy(left); /* cancels them */
  assert_success(hmc_queue_put(queue, bytes, remote, 0, OWNER_BYTES));
  assert_status(hmc_queue_flush(queue, NULL, 100), HMC_TIMEOUT);
  assert_int_equal(hmc_queue_pending(queue), 1);
  hmc_peer_close(owner.peer);
  assert_status(hmc_queue_flush(queue, NULL, 60000), HMC_CANCELLED);
  hmc_queue_destroy(queue);
  owner_kill(&owner);
  free(bytes);
}
