/* Many pieces as one operation, and the many ways to learn that operations are complete. */
#include "suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- what a batch should do, on two arrays of the host ----------------------------------------------------------- */

#define BATCH_SIZE (256 * KIB)
#define PIECES 700u

/* Where a batch's bytes are expected: `here` and `there` are what lies in the local and the remote region. */
typedef struct model {
  uint8_t *here, *there;
  test_buffer_t local, back;
  hmc_remote_t *remote;
} model_t;

static void model_open(model_t *model, pair_t *pair, bool registered) {
  model->here = malloc(BATCH_SIZE);
  model->there = malloc(BATCH_SIZE);
  assert_true(model->here && model->there);
  model->local = local_make(pair, BATCH_SIZE, registered);
  model->back = local_make(pair, BATCH_SIZE, false);
  model->remote = remote_make(pair, registered ? "registered" : "made",
                              (there_t){.slot = registered, .size = BATCH_SIZE, .registered = registered});
}

static void model_close(model_t *model) {
  hmc_remote_close(model->remote);
  test_buffer_close(&model->local);
  test_buffer_close(&model->back);
  free(model->here);
  free(model->there);
}

/* New bytes everywhere. */
static void model_fill(model_t *model, uint64_t seed) {
  for (uint64_t i = 0; i < BATCH_SIZE; i++) {
    model->here[i] = (uint8_t)mix(seed + i);
    model->there[i] = (uint8_t)mix(~(seed + i));
  }
  test_buffer_store(&model->local, 0, model->here, BATCH_SIZE);
  test_buffer_store(&model->back, 0, model->there, BATCH_SIZE);
  assert_success(hmc_put(model->back.region, 0, model->remote, 0, BATCH_SIZE));
}

static void model_check(model_t *model) {
  uint8_t *seen = malloc(BATCH_SIZE);
  assert_non_null(seen);
  test_buffer_load(&model->local, 0, seen, BATCH_SIZE);
  int here = memcmp(seen, model->here, BATCH_SIZE);
  assert_success(hmc_get(model->back.region, 0, model->remote, 0, BATCH_SIZE));
  test_buffer_load(&model->back, 0, seen, BATCH_SIZE);
  int there = memcmp(seen, model->there, BATCH_SIZE);
  free(seen);
  assert_int_equal(here, 0);
  assert_int_equal(there, 0);
}

static void model_move(model_t *model, uint64_t here, uint64_t there, uint64_t length, bool put) {
  if (put)
    memcpy(model->there + there, model->here + here, length);
  else
    memcpy(model->here + here, model->there + there, length);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* Pieces that do not overlap, in no order, of none to some hundred bytes. */
static uint64_t scatter(hmc_segment_t pieces[PIECES]) {
  uint64_t total = 0;
  for (uint64_t i = 0; i < PIECES; i++) {
    uint64_t from = i * 277 % PIECES, to = i * 311 % PIECES, random = mix(i);
    pieces[i] = (hmc_segment_t){from * 370 + random % 11, to * 370 + random % 13, random % 7 ? random % 350 : 0};
    total += pieces[i].length;
  }
  return total;
}

static void batch_both_ways(model_t *model, hmc_batch_t *batch, void (*move)(model_t *model, bool put)) {
  model_fill(model, 1);
  assert_success(hmc_batch_put(batch));
  move(model, true);
  model_check(model);
  model_fill(model, 2);
  assert_success(hmc_batch_get(batch));
  move(model, false);
  model_check(model);
  for (uint64_t round = 3; round < 5; round++) { /* several times at once */
    hmc_request_t *requests[4];
    model_fill(model, round);
    for (size_t i = 0; i < COUNT_OF(requests); i++)
      assert_success(round % 2 ? hmc_batch_put_nb(batch, NULL, &requests[i])
                               : hmc_batch_get_nb(batch, NULL, &requests[i]));
    assert_success(hmc_request_wait_all(requests, COUNT_OF(requests)));
    for (size_t i = 0; i < COUNT_OF(requests); i++) hmc_request_free(requests[i]);
    move(model, round % 2);
    model_check(model);
  }
}

static void move_scattered(model_t *model, bool put) {
  hmc_segment_t pieces[PIECES];
  scatter(pieces);
  for (size_t i = 0; i < PIECES; i++)
    model_move(model, pieces[i].local_offset, pieces[i].remote_offset, pieces[i].length, put);
}

void batch_of_scattered_pieces(void **state) {
  pair_t *pair = *state;
  for (int registered = 0; registered < 2; registered++) {
    model_t model;
    hmc_segment_t pieces[PIECES];
    hmc_batch_t *batch = NULL;
    model_open(&model, pair, registered);
    uint64_t total = scatter(pieces);
    assert_success(hmc_batch_create(model.local.region, model.remote, pieces, PIECES, &batch));
    memset(pieces, 0xff, sizeof pieces); /* the list was copied */
    assert_int_equal(hmc_batch_size(batch), total);
    batch_both_ways(&model, batch, move_scattered);
    hmc_batch_free(batch);
    model_close(&model);
  }
  hmc_batch_free(NULL);
}

static const hmc_strided_t block = {.element = 24,
                                    .count = {5, 7, 9},
                                    .local_offset = 1001,
                                    .local_stride = {131, 1511},
                                    .remote_offset = 77,
                                    .remote_stride = {203, 2003}};

static void move_block(model_t *model, bool put) {
  for (uint64_t plane = 0; plane < block.count[2]; plane++)
    for (uint64_t row = 0; row < block.count[1]; row++)
      model_move(model, block.local_offset + plane * block.local_stride[1] + row * block.local_stride[0],
                 block.remote_offset + plane * block.remote_stride[1] + row * block.remote_stride[0],
                 block.element * block.count[0], put);
}

void batch_of_a_block(void **state) {
  pair_t *pair = *state;
  model_t model;
  hmc_batch_t *batch = NULL;
  model_open(&model, pair, false);
  assert_success(hmc_batch_create_strided(model.local.region, model.remote, &block, &batch));
  assert_int_equal(hmc_batch_size(batch), 24 * 5 * 7 * 9);
  batch_both_ways(&model, batch, move_block);
  hmc_batch_free(batch);
  hmc_strided_t line = {.element = 10, .local_offset = 5, .remote_offset = 9}; /* counts of 0 stand for 1 */
  assert_success(hmc_batch_create_strided(model.local.region, model.remote, &line, &batch));
  assert_int_equal(hmc_batch_size(batch), 10);
  model_fill(&model, 8);
  assert_success(hmc_batch_put(batch));
  model_move(&model, 5, 9, 10, true);
  model_check(&model);
  hmc_batch_free(batch);
  model_close(&model);
}

void batch_checked_once(void **state) {
  pair_t *pair = *state;
  model_t model;
  hmc_batch_t *untouched = (hmc_batch_t *)pair, *batch = untouched;
  hmc_segment_t pieces[] = {{0, 0, 100}, {200, 200, 100}, {300, BATCH_SIZE - 99, 100}, {400, 400, 100}};
  model_open(&model, pair, false);
  model_fill(&model, 1);
  hmc_region_t *local = model.local.region;
  hmc_remote_t *remote = model.remote;
  assert_status(hmc_batch_create(local, remote, pieces, 4, &batch), HMC_OUT_OF_RANGE);
  assert_error_has_number(2); /* the piece */
  assert_error_has_number(BATCH_SIZE - 99);
  pieces[2] = (hmc_segment_t){UINT64_MAX, 0, 2};
  assert_status(hmc_batch_create(local, remote, pieces, 4, &batch), HMC_OUT_OF_RANGE);
  assert_status(hmc_batch_create(local, remote, pieces, 0, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(local, remote, NULL, 2, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(NULL, remote, pieces, 2, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(local, NULL, pieces, 2, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(local, remote, pieces, 2, NULL), HMC_INVALID_CONFIG);
  hmc_strided_t shape = block;
  shape.count[2] = UINT64_MAX / 2;
  assert_int_not_equal(hmc_batch_create_strided(local, remote, &shape, &batch), HMC_SUCCESS);
  shape = block;
  shape.remote_stride[1] = UINT64_MAX / 4;
  assert_status(hmc_batch_create_strided(local, remote, &shape, &batch), HMC_OUT_OF_RANGE);
  assert_status(hmc_batch_create_strided(local, remote, NULL, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_put(NULL), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_get(NULL), HMC_INVALID_CONFIG);
  assert_ptr_equal(batch, untouched);
  model_check(&model);

  assert_success(hmc_batch_create(local, remote, pieces, 2, &batch));
  target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE});
  assert_status(hmc_batch_put(batch), HMC_STALE);
  assert_status(hmc_batch_get(batch), HMC_STALE);
  hmc_batch_free(batch);
  model_close(&model);
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

#define MANY 48u
#define MANY_LENGTH UINT64_C(40000)

static void start_many(const test_buffer_t *local, hmc_remote_t *remote, hmc_request_t *requests[MANY],
                       const hmc_operation_options_t *options) {
  for (uint64_t i = 0; i < MANY; i++)
    assert_success(
        hmc_put_nb(local->region, i * MANY_LENGTH, remote, i * MANY_LENGTH, MANY_LENGTH, options, &requests[i]));
}

static void end_many(hmc_request_t *requests[MANY]) {
  for (size_t i = 0; i < MANY; i++) {
    assert_success(hmc_request_test(requests[i]));
    hmc_request_free(requests[i]);
  }
}

void wait_for_several(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, MANY * MANY_LENGTH, false);
  hmc_remote_t *remote = remote_make(pair, "several", (there_t){.size = MANY * MANY_LENGTH, .registered = true});
  hmc_request_t *requests[MANY + 2] = {NULL}, *left[MANY + 2];
  size_t index = 99, indices[MANY + 2], done = 99;
  frame_write(&local, 0, MANY * MANY_LENGTH, 1);
  target_write_frame(pair, 0, 0, MANY * MANY_LENGTH, 0);
  start_many(&local, remote, requests + 1, NULL);
  assert_success(hmc_request_wait_all(requests, MANY + 2));
  end_many(requests + 1);
  target_check_frame(&pair->target, 0, 0, MANY * MANY_LENGTH, 1);

  start_many(&local, remote, requests + 1, NULL);
  memcpy(left, requests, sizeof left);
  for (size_t i = 0; i < MANY; i++) { /* each exactly once */
    assert_success(hmc_request_wait_any(left, MANY + 2, &index));
    assert_true(index > 0 && index <= MANY && left[index]);
    assert_success(hmc_request_test(left[index]));
    left[index] = NULL;
  }
  assert_status(hmc_request_wait_any(left, MANY + 2, &index), HMC_NOT_FOUND);
  assert_int_equal(index, MANY + 2);
  end_many(requests + 1);

  start_many(&local, remote, requests + 1, NULL);
  memcpy(left, requests, sizeof left);
  for (size_t ended = 0; ended < MANY; ended += done) {
    assert_success(hmc_request_wait_some(left, MANY + 2, indices, &done));
    assert_true(done > 0 && done <= MANY - ended);
    for (size_t i = 0; i < done; i++) {
      assert_non_null(left[indices[i]]);
      left[indices[i]] = NULL;
    }
  }
  assert_status(hmc_request_wait_some(left, MANY + 2, indices, &done), HMC_NOT_FOUND);
  end_many(requests + 1);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

void flush_waits_for_all(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, MANY * MANY_LENGTH, false);
  hmc_remote_t *remote = remote_make(pair, "flushed", (there_t){.size = MANY * MANY_LENGTH, .registered = true});
  hmc_request_t *requests[MANY];
  target_write_frame(pair, 0, 0, MANY * MANY_LENGTH, 99);
  for (uint64_t round = 0; round < 5; round++) {
    frame_write(&local, 0, MANY * MANY_LENGTH, round);
    start_many(&local, remote, requests, NULL);
    assert_success(hmc_peer_flush(pair->peer, 0));
    end_many(requests);
    target_check_frame(&pair->target, 0, 0, MANY * MANY_LENGTH, round);
  }
  assert_success(hmc_peer_flush(pair->peer, 0));
  assert_status(hmc_peer_flush(NULL, 0), HMC_INVALID_CONFIG);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

void event_descriptor_tells(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, MANY * MANY_LENGTH, false);
  hmc_remote_t *remote = remote_make(pair, "events", (there_t){.size = MANY * MANY_LENGTH, .registered = true});
  hmc_request_t *requests[MANY];
  int descriptor = -1, again = -1;
  assert_success(hmc_context_event_descriptor(pair->context, &descriptor));
  assert_success(hmc_context_event_descriptor(pair->context, &again));
  assert_int_equal(again, descriptor);
  struct pollfd ready = {.fd = descriptor, .events = POLLIN};
  assert_int_equal(poll(&ready, 1, 20), 0);
  for (int round = 0; round < 5; round++) {
    start_many(&local, remote, requests, NULL);
    size_t ended = 0;
    while (ended < MANY) {
      uint64_t count = 0;
      assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
      assert_int_equal(read(descriptor, &count, sizeof count), sizeof count);
      assert_true(count > 0);
      ended = 0;
      for (size_t i = 0; i < MANY; i++) ended += hmc_request_test(requests[i]) != HMC_IN_PROGRESS;
    }
    end_many(requests);
    uint64_t rest; /* of completions that were seen before they were reported */
    ssize_t drained = read(descriptor, &rest, sizeof rest);
    (void)drained;
  }
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- callbacks --------------------------------------------------------------------------------------------------- */

typedef struct calls {
  _Atomic unsigned count, wrong, chained;
  pthread_t tester;
  const test_buffer_t *local;
  hmc_remote_t *remote;
  hmc_request_t *chain; /* written by the first callback, read after `chained` says so */
} calls_t;

static void on_complete(hmc_request_t *request, hmc_status_t status, void *user) {
  calls_t *calls = user;
  if (status != HMC_SUCCESS || hmc_request_test(request) != HMC_SUCCESS || pthread_equal(pthread_self(), calls->tester))
    atomic_fetch_add(&calls->wrong, 1);
  if (atomic_fetch_add(&calls->count, 1) == 0) { /* it may start further operations */
    if (hmc_put_nb(calls->local->region, 0, calls->remote, MANY * MANY_LENGTH, 1000, NULL, &calls->chain) !=
        HMC_SUCCESS)
      atomic_fetch_add(&calls->wrong, 1);
    atomic_store(&calls->chained, 1);
  }
}

void callbacks_come_once(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, MANY * MANY_LENGTH, false);
  hmc_remote_t *remote = remote_make(pair, "calls", (there_t){.size = MANY * MANY_LENGTH + 1000, .registered = true});
  calls_t calls = {.tester = pthread_self(), .local = &local, .remote = remote};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .callback = on_complete, .user = &calls};
  hmc_request_t *requests[MANY];
  bytes_fill(&local, 0, 1000, 0x5a);
  start_many(&local, remote, requests, &options);
  uint64_t limit = now_ms() + PATIENCE_MS;
  while ((atomic_load(&calls.count) < MANY || !atomic_load(&calls.chained)) && now_ms() < limit) sleep_ms(1);
  assert_int_equal(atomic_load(&calls.chained), 1);
  assert_success(hmc_request_wait(calls.chain));
  sleep_ms(10); /* none comes twice */
  assert_int_equal(atomic_load(&calls.count), MANY);
  assert_int_equal(atomic_load(&calls.wrong), 0);
  command_t look = {.verb = VERB_BYTES_OTHER, .offset = MANY * MANY_LENGTH, .length = 1000, .value = 0x5a5a};
  assert_int_equal(target_do(&pair->target, look), 0);
  hmc_request_free(calls.chain);
  end_many(requests);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- checksums --------------------------------------------------------------------------------------------------- */

void checksums(void **state) {
  pair_t *pair = *state;
  static const uint64_t lengths[] = {0, 1, 4097, MIB + 1};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM},
                          unknown = {.flags = 1u << 30};
  hmc_request_t *request = NULL;
  test_buffer_t local = local_make(pair, 2 * MIB, false);
  for (uint32_t i = 0; i < 2 * COUNT_OF(lengths); i++) {
    uint64_t length = lengths[i / 2];
    bool registered = i % 2;
    hmc_remote_t *remote = remote_make(pair, "summed", (there_t){.size = 2 * MIB, .registered = registered});
    frame_write(&local, 301, length, 1);
    target_write_frame(pair, 0, 303, length, 2);
    assert_success(hmc_put_nb(local.region, 301, remote, 303, length, &options, &request));
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
    target_check_frame(&pair->target, 0, 303, length, 1);
    target_write_frame(pair, 0, 303, length, 3);
    assert_success(hmc_get_nb(local.region, 301, remote, 303, length, &options, &request));
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
    assert_true(frame_check(&local, 301, length, 3) == PATTERN_SAME);
    request = NULL;
    assert_status(hmc_put_nb(local.region, 0, remote, 0, 8, &unknown, &request), HMC_INVALID_CONFIG);
    assert_null(request);
    hmc_remote_close(remote);
    target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE});
  }
  test_buffer_close(&local);
}
