/* Registered memory that its process uses as any other and that no other process can read: memfd_secret, which stands for
 * what drivers map (a dma-buf). Over shm the reading end finds that out, and such bytes go by a socket. Where the system
 * has none, ordinary memory takes its place; regions.sandbox then shows that way. */
#include "regions.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif
#define ROOM (2 * MIB)
#define MARGIN 64u /* bytes watched behind those that are moved */

static const uint64_t sizes[] = {8, 100, 4096, 16 * KIB, 128 * KIB + 1, MIB + MIB / 4};

static uint8_t *secret(void) {
  int descriptor = (int)syscall(SYS_memfd_secret, 0);
  void *memory = MAP_FAILED;
  if (descriptor >= 0 && ftruncate(descriptor, (off_t)ROOM) == 0)
    memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (descriptor >= 0) close(descriptor);
  if (memory != MAP_FAILED) return memory;
  printf("  no secret memory here\n");
  memory = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(memory != MAP_FAILED);
  return memory;
}

/* Memory at both ends, one of them secret. */
typedef struct ends {
  uint8_t *here, *there;
  hmc_region_t *near, *far;
  hmc_remote_t *remote;
  uint64_t seed;
} ends_t;

static void ends_open(ends_t *ends, context_pair_t *pair, bool secret_here) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
  uint8_t *plain = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, flags, -1, 0), *other = secret();
  assert_true(plain != MAP_FAILED);
  *ends = (ends_t){.here = secret_here ? other : plain, .there = secret_here ? plain : other};
  assert_success(hmc_region_register(pair->here, ends->here, ROOM, NULL, 0, &ends->near));
  assert_success(hmc_region_register(pair->there, ends->there, ROOM, "ends", HMC_REMOTE_ALL, &ends->far));
  assert_success(hmc_remote_open(pair->peer, "ends", 0, &ends->remote));
}

static void ends_close(ends_t *ends) {
  hmc_remote_close(ends->remote);
  hmc_region_close(ends->near);
  hmc_region_close(ends->far);
  munmap(ends->here, ROOM);
  munmap(ends->there, ROOM);
}

static uint8_t pattern(uint64_t seed, uint64_t i) { return (uint8_t)(i * 7 + i / 251 + seed); }

/* Other bytes than before in the first `length` and some of both ends. */
static void fill(ends_t *ends, uint64_t length) {
  uint64_t seed = ++ends->seed;
  shared_begin();
  for (uint64_t i = 0; i < length + MARGIN; i++) {
    ends->here[i] = pattern(seed, i);
    ends->there[i] = (uint8_t)~pattern(seed, i);
  }
  shared_end();
}

/* The `length` bytes from `near` on here and from `far` on there are the same, as they were `put` or not; those around
 * them in the region that was written are as fill left them. */
static void check(const ends_t *ends, uint64_t near, uint64_t far, uint64_t length, bool put) {
  const uint8_t *written = put ? ends->there : ends->here;
  uint64_t at = put ? far : near, from = put ? near : far;
  shared_begin();
  for (uint64_t i = 0; i < length + MARGIN; i++) {
    bool moved = i >= at && i < at + length;
    uint8_t byte = pattern(ends->seed, moved ? i - at + from : i);
    if (moved != put) byte = (uint8_t)~byte; /* what stood there at first */
    if (written[i] != byte) fail_msg("byte %llu is %u, not %u", (unsigned long long)i, written[i], byte);
  }
  shared_end();
}

static void blocking_calls(ends_t *ends) {
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    uint64_t near = 3 * i + 1, far = 5 * i;
    fill(ends, sizes[i]);
    assert_success(hmc_put(ends->near, near, ends->remote, far, sizes[i]));
    check(ends, near, far, sizes[i], true);
    fill(ends, sizes[i]);
    assert_success(hmc_get(ends->near, near, ends->remote, far, sizes[i]));
    check(ends, near, far, sizes[i], false);
  }
}

static void requests(ends_t *ends) {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  for (size_t i = 0; i < 2 * COUNT_OF(sizes); i++) {
    uint64_t length = sizes[i / 2];
    hmc_request_t *request;
    options.flags = i % 2 ? HMC_OPERATION_CHECKSUM : 0;
    fill(ends, length);
    assert_success(hmc_put_nb(ends->near, 1, ends->remote, 2, length, &options, &request));
    assert_success(finish(request));
    check(ends, 1, 2, length, true);
    fill(ends, length);
    assert_success(hmc_get_nb(ends->near, 1, ends->remote, 2, length, &options, &request));
    assert_success(finish(request));
    check(ends, 1, 2, length, false);
  }
}

static void queues(context_pair_t *pair, ends_t *ends) {
  hmc_queue_t *queue;
  assert_success(hmc_queue_create(pair->here, NULL, &queue));
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    fill(ends, sizes[i]);
    assert_success(hmc_queue_put(queue, ends->here + 1, ends->remote, 2, sizes[i]));
    assert_success(hmc_queue_flush(queue, NULL, PATIENCE_MS));
    check(ends, 1, 2, sizes[i], true);
    fill(ends, sizes[i]);
    assert_success(hmc_queue_get(queue, ends->here + 1, ends->remote, 2, sizes[i]));
    assert_success(hmc_queue_flush(queue, NULL, PATIENCE_MS));
    check(ends, 1, 2, sizes[i], false);
  }
  hmc_queue_destroy(queue);
}

/* The pieces are moved, and not what lies between them. */
static void batches(ends_t *ends) {
  enum { PIECES = 300, STRIDE = 4001, PIECE = 1000 };
  hmc_segment_t pieces[PIECES];
  hmc_batch_t *batch;
  for (uint64_t i = 0; i < PIECES; i++) pieces[i] = (hmc_segment_t){i * STRIDE, i * STRIDE + 2, PIECE};
  assert_success(hmc_batch_create(ends->near, ends->remote, pieces, PIECES, &batch));
  for (int round = 0; round < 4; round++) {
    hmc_request_t *request;
    bool put = round % 2;
    fill(ends, PIECES * STRIDE);
    if (round < 2) assert_success(put ? hmc_batch_put(batch) : hmc_batch_get(batch));
    if (round >= 2) {
      assert_success(put ? hmc_batch_put_nb(batch, NULL, &request) : hmc_batch_get_nb(batch, NULL, &request));
      assert_success(finish(request));
    }
    shared_begin();
    for (uint64_t i = 0; i < PIECES; i++) {
      const uint8_t *here = ends->here + pieces[i].local_offset, *there = ends->there + pieces[i].remote_offset;
      assert_memory_equal(here, there, PIECE);
      assert_memory_not_equal(here + PIECE, there + PIECE, 64);
    }
    shared_end();
  }
  hmc_batch_free(batch);
}

/* Each is applied once. */
static void atomics(ends_t *ends) {
  uint64_t was = 0, zero = 0;
  hmc_signal_t signal = {ends->remote, 24, HMC_ATOMIC_ADD, 5};
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.signal = &signal;
  shared_begin();
  memset(ends->there, 0, 64);
  shared_end();
  for (uint64_t i = 0; i < 10; i++) {
    hmc_request_t *request;
    assert_success(hmc_atomic(ends->remote, 8, HMC_ATOMIC_ADD, 8, 3, 0, &was));
    assert_int_equal(was, i * 3);
    assert_success(hmc_atomic(ends->remote, 16, HMC_ATOMIC_ADD, 4, 1, 0, NULL));
    assert_success(hmc_put_nb(ends->near, 0, ends->remote, MIB, MIB / 2, &options, &request));
    assert_success(finish(request));
    assert_success(hmc_atomic(ends->remote, 24, HMC_ATOMIC_LOAD, 8, 0, 0, &was));
    assert_int_equal(was, (i + 1) * 5);
  }
  assert_success(hmc_atomic(ends->remote, 16, HMC_ATOMIC_LOAD, 4, 0, 0, &was));
  assert_int_equal(was, 10);
  assert_success(hmc_atomic(ends->remote, 0, HMC_ATOMIC_LOAD, 8, 0, 0, &zero));
  assert_int_equal(zero, 0);
}

static void move_all(context_pair_t *pair, bool here) {
  ends_t ends;
  for (int first = 0; first < 2; first++) { /* either way finds it out */
    ends_open(&ends, pair, here);
    if (first) requests(&ends);
    blocking_calls(&ends);
    if (!first) requests(&ends);
    batches(&ends);
    queues(pair, &ends);
    atomics(&ends);
    ends_close(&ends);
  }
  ends_open(&ends, pair, here); /* found out by a queue */
  queues(pair, &ends);
  ends_close(&ends);
}

void unreadable_memory_here(void **state) { move_all(*state, true); }
void unreadable_memory_there(void **state) { move_all(*state, false); }
