/* Memory that is unmapped while it is registered: the operation that meets it ends with a status, at either end. The peer
 * stays, what was in progress beside it succeeds, and nobody dies. */
#include "suite.h"

#include <string.h>
#include <sys/mman.h>

#define SIZE (4 * MIB)
#define GONE (2 * MIB) /* from here on */
#define GAP (1024ull * MIB)

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

static void lent_close(lent_t *lent) {
  hmc_region_close(lent->region);
  munmap(lent->memory, GONE);
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

static void try_source_or_sink(bool put) {
  context_pair_t pair;
  context_pair_open(&pair, NULL);
  far_t far = far_make(&pair, (far_options_t){.name = "far", .size = SIZE, .registered = true});
  lent_t lent = registered(pair.here, NULL);
  unmap(&lent);
  move_around(&pair, &lent, &far, put, 0);
  if (!put) move_around(&pair, &lent, &far, put, HMC_OPERATION_CHECKSUM);
  lent_close(&lent);
  far_close(&far);
  context_pair_close(&pair);
}

void unmapped_source_ends_the_operation(void **state) {
  (void)state;
  try_source_or_sink(true);
}

void unmapped_sink_ends_the_operation(void **state) {
  (void)state;
  try_source_or_sink(false);
}

void unmapped_region_ends_the_operation(void **state) {
  (void)state;
  context_pair_t pair;
  hmc_remote_t *remote = NULL;
  context_pair_open(&pair, NULL);
  lent_t lent = registered(pair.there, "registered");
  assert_success(hmc_remote_open(pair.peer, "registered", 0, &remote));
  test_buffer_t local = near_make(&pair, SIZE, false);
  unmap(&lent);
  for (size_t i = 0; i < COUNT_OF(ranges); i++) {
    uint64_t offset = ranges[i].offset, length = ranges[i].length;
    for (unsigned flags = 0; flags <= HMC_OPERATION_CHECKSUM; flags += HMC_OPERATION_CHECKSUM) {
      hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .flags = flags};
      assert_status(put_with(&local, 0, remote, offset, length, &options), HMC_STALE);
      hmc_status_t status = get_with(&local, 0, remote, offset, length, &options);
      assert_true(status == HMC_STALE || (flags && status == HMC_CORRUPT));
    }
    assert_success(hmc_put(local.region, 0, remote, 0, MIB));
    assert_success(hmc_get(local.region, 0, remote, 0, MIB));
  }
  for (uint64_t offset = GONE; offset < SIZE; offset += 500000) {
    uint64_t before = 0;
    assert_status(hmc_atomic(remote, offset, HMC_ATOMIC_ADD, 8, 1, 0, NULL), HMC_STALE);
    assert_status(hmc_atomic(remote, offset, HMC_ATOMIC_SWAP, 4, 1, 0, &before), HMC_STALE);
  }
  uint64_t before = 0;
  assert_success(hmc_atomic(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, &before));
  assert_connected(pair.peer);
  hmc_remote_close(remote);
  lent_close(&lent);
  test_buffer_close(&local);
  context_pair_close(&pair);
}
