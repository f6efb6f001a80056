/* Memory that is unmapped or protected while it is registered: the operation that meets it ends with a status, at either
 * end. The peer stays, what was in progress beside it succeeds, and nobody dies. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SIZE (4 * MIB)
#define GONE (2 * MIB) /* from here on */
#define GAP (1024ull * MIB)
enum { UNMAPPED = -1 }; /* what is done to it, where it is not PROT_NONE or PROT_READ */

typedef struct lent {
  uint8_t *memory;
  hmc_region_t *region;
} lent_t;

/* With much free room above it: there the kernel puts what is mapped next, and not where this was unmapped. */
static lent_t registered(hmc_context_t *context, const char *name) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  lent_t lent = {mmap(NULL, SIZE + GAP, PROT_READ | PROT_WRITE, flags, -1, 0), NULL};
  assert_true(lent.memory != MAP_FAILED);
  assert_int_equal(munmap(lent.memory + SIZE, GAP), 0);
  memset(lent.memory, 3, SIZE);
  assert_success(hmc_region_register(context, lent.memory, SIZE, name, name ? HMC_REMOTE_ALL : 0, &lent.region));
  return lent;
}

static void unmap(const lent_t *lent) { assert_int_equal(munmap(lent->memory + GONE, SIZE - GONE), 0); }

static void protect(const lent_t *lent, uint64_t offset, uint64_t size, int protection) {
  assert_int_equal(mprotect(lent->memory + offset, size, protection), 0);
}

static void lent_close(lent_t *lent) {
  hmc_region_close(lent->region);
  munmap(lent->memory, SIZE);
}

/* Small, half there, and all of it; by itself, and in the middle of others. */
static const struct {
  uint64_t offset, length;
} ranges[] = {{GONE, 8}, {GONE + 5, 400},    {GONE + 70000, 3000}, {GONE - 100000, 200000},
              {0, SIZE}, {GONE, SIZE - GONE}};

static void move_around(context_pair_t *pair, const lent_t *lent, far_t *far, bool put, unsigned flags) {
  test_buffer_t sound = near_make(pair, MIB, true);
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .flags = flags};
  for (size_t i = 0; i < COUNT_OF(ranges); i++) {
    hmc_request_t *requests[3] = {NULL};
    for (int k = 0; k < 3; k++) {
      hmc_region_t *region = k == 1 ? lent->region : sound.region;
      uint64_t offset = k == 1 ? ranges[i].offset : 0, length = k == 1 ? ranges[i].length : 50000;
      assert_success(put ? hmc_put_nb(region, offset, far->remote, 0, length, &options, &requests[k])
                         : hmc_get_nb(region, offset, far->remote, 0, length, &options, &requests[k]));
    }
    assert_success(finish(requests[0]));
    assert_status(finish(requests[1]), HMC_INVALID_CONFIG);
    assert_success(finish(requests[2]));
    assert_connected(pair->peer);
  }
  test_buffer_close(&sound);
}

static void try_source_or_sink(bool put, int protection) {
  context_pair_t pair;
  context_pair_open(&pair, NULL);
  far_t far = far_make(&pair, (far_options_t){.name = "far", .size = SIZE, .registered = true});
  lent_t lent = registered(pair.here, NULL);
  protection == UNMAPPED ? unmap(&lent) : protect(&lent, GONE, SIZE - GONE, protection);
  move_around(&pair, &lent, &far, put, 0);
  if (!put) move_around(&pair, &lent, &far, put, HMC_OPERATION_CHECKSUM);
  lent_close(&lent);
  far_close(&far);
  context_pair_close(&pair);
}

void unmapped_source_ends_the_operation(void **state) {
  (void)state;
  try_source_or_sink(true, UNMAPPED);
}

void protected_source_ends_the_operation(void **state) {
  (void)state;
  try_source_or_sink(true, PROT_NONE);
}

void unmapped_sink_ends_the_operation(void **state) {
  (void)state;
  try_source_or_sink(false, UNMAPPED);
}

void protected_sink_ends_the_operation(void **state) {
  (void)state;
  try_source_or_sink(false, PROT_NONE);
  try_source_or_sink(false, PROT_READ);
}

/* What peers get to know of memory at the owner's that is not there; `readable`: it is, but may not be written. */
static void try_ranges(const test_buffer_t *local, hmc_remote_t *remote, unsigned flags, bool readable) {
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .flags = flags};
  for (size_t i = 0; i < COUNT_OF(ranges); i++) {
    uint64_t offset = ranges[i].offset, length = ranges[i].length;
    assert_status(put_with(local, 0, remote, offset, length, &options), HMC_STALE);
    hmc_status_t status = get_with(local, 0, remote, offset, length, &options);
    assert_status(status, readable ? HMC_SUCCESS : HMC_STALE);
  }
}

static void try_region(int protection) {
  context_pair_t pair;
  hmc_remote_t *remote = NULL;
  context_pair_open(&pair, NULL);
  lent_t lent = registered(pair.there, "registered");
  assert_success(hmc_remote_open(pair.peer, "registered", 0, &remote));
  test_buffer_t local = near_make(&pair, SIZE, false);
  uint64_t before = 0;
  bool readable = protection == PROT_READ;
  readable || protection == PROT_NONE ? protect(&lent, GONE, SIZE - GONE, protection) : unmap(&lent);
  try_ranges(&local, remote, 0, readable);
  try_ranges(&local, remote, HMC_OPERATION_CHECKSUM, readable);
  assert_success(hmc_put(local.region, 0, remote, 0, MIB));
  assert_success(hmc_get(local.region, 0, remote, 0, MIB));
  for (uint64_t offset = GONE; offset < SIZE; offset += 500000) {
    assert_status(hmc_atomic(remote, offset, HMC_ATOMIC_ADD, 8, 1, 0, NULL), HMC_STALE);
    assert_status(hmc_atomic(remote, offset, HMC_ATOMIC_SWAP, 4, 1, 0, &before), HMC_STALE);
    assert_status(hmc_atomic(remote, offset, HMC_ATOMIC_LOAD, 8, 0, 0, &before), readable ? HMC_SUCCESS : HMC_STALE);
  }
  assert_success(hmc_atomic(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, &before));
  assert_connected(pair.peer);
  hmc_remote_close(remote);
  lent_close(&lent);
  test_buffer_close(&local);
  context_pair_close(&pair);
}

void unmapped_region_ends_the_operation(void **state) {
  (void)state;
  try_region(UNMAPPED);
}

void protected_region_ends_the_operation(void **state) {
  (void)state;
  try_region(PROT_NONE);
  try_region(PROT_READ);
}

/* One page that cannot be touched, at either end, with bytes before and behind it that can. */
void protected_page_ends_the_operation(void **state) {
  (void)state;
  const uint64_t page = 4096, before = 100000;
  context_pair_t pair;
  hmc_remote_t *remote = NULL;
  context_pair_open(&pair, NULL);
  lent_t theirs = registered(pair.there, "registered"), ours = registered(pair.here, NULL);
  assert_success(hmc_remote_open(pair.peer, "registered", 0, &remote));
  test_buffer_t local = near_make(&pair, SIZE, false);
  protect(&theirs, GONE, page, PROT_NONE);
  for (uint64_t size = 2 * before; size <= SIZE - GONE + before; size += 600000) { /* of one frame and of several */
    assert_status(hmc_get(local.region, 0, remote, GONE - before, size), HMC_STALE);
    assert_status(hmc_put(local.region, 0, remote, GONE - before, size), HMC_STALE);
    assert_connected(pair.peer);
  }
  protect(&theirs, GONE, page, PROT_READ | PROT_WRITE);
  protect(&ours, GONE, page, PROT_NONE);
  for (uint64_t size = 2 * before; size <= SIZE - GONE + before; size += 600000) {
    assert_status(hmc_put(ours.region, GONE - before, remote, 0, size), HMC_INVALID_CONFIG);
    assert_status(hmc_get(ours.region, GONE - before, remote, 0, size), HMC_INVALID_CONFIG);
    assert_connected(pair.peer);
  }
  assert_success(hmc_put(ours.region, 0, remote, 0, GONE));
  hmc_remote_close(remote);
  lent_close(&theirs);
  lent_close(&ours);
  test_buffer_close(&local);
  context_pair_close(&pair);
}

typedef struct flicker {
  const lent_t *theirs, *ours;
  _Atomic bool ends;
  bool failed;
} flicker_t;

/* Takes the memory away and gives it back, without end. */
static void *protect_again_and_again(void *argument) {
  flicker_t *flicker = argument;
  for (int i = 0; !atomic_load(&flicker->ends); i++) {
    const lent_t *lent = i & 2 ? flicker->theirs : flicker->ours;
    flicker->failed |= mprotect(lent->memory + GONE, SIZE - GONE, i & 1 ? PROT_READ | PROT_WRITE : PROT_NONE) != 0;
    for (volatile int k = 0; k < 3000 * (i % 7); k++) continue;
  }
  return NULL;
}

/* It goes at any moment of an operation: between a look and a copy, too. */
void protected_again_and_again_ends_the_operation(void **state) {
  (void)state;
  enum { ROUNDS = SANITIZED ? 40 : 300 };
  const uint64_t sizes[] = {8, 600, 70000, 1200000};
  context_pair_t pair;
  hmc_remote_t *remote = NULL;
  pthread_t thread;
  uint64_t ended = 0;
  context_pair_open(&pair, NULL);
  lent_t theirs = registered(pair.there, "registered"), ours = registered(pair.here, NULL);
  flicker_t flicker = {.theirs = &theirs, .ours = &ours};
  assert_success(hmc_remote_open(pair.peer, "registered", 0, &remote));
  assert_int_equal(pthread_create(&thread, NULL, protect_again_and_again, &flicker), 0);
  for (uint64_t i = 0; i < ROUNDS; i++) {
    uint64_t size = sizes[i % 4], offset = GONE - (i & 4 ? size / 2 : 0);
    hmc_status_t put = hmc_put(ours.region, offset, remote, offset, size);
    hmc_status_t get = hmc_get(ours.region, offset, remote, offset, size);
    assert_true(put == HMC_SUCCESS || put == HMC_STALE || put == HMC_INVALID_CONFIG);
    assert_true(get == HMC_SUCCESS || get == HMC_STALE || get == HMC_INVALID_CONFIG);
    ended += (put != HMC_SUCCESS) + (get != HMC_SUCCESS);
  }
  atomic_store(&flicker.ends, true);
  pthread_join(thread, NULL);
  assert_false(flicker.failed);
  printf("  %llu of %d operations met memory that was not there\n", (unsigned long long)ended, 2 * ROUNDS);
  assert_true(ended > 0); /* else nothing was shown */
  assert_connected(pair.peer);
  hmc_remote_close(remote);
  lent_close(&theirs);
  lent_close(&ours);
  context_pair_close(&pair);
}
