/* What a lease allows, and what it does not. */
#include "leases.h"

#include <stdio.h>
#include <string.h>

#define BYTES (64 * KIB)

typedef struct stand {
  hmc_region_t *region;
  hmc_remote_t *remote;
  test_buffer_t near;
} stand_t;

static stand_t stand_make(context_pair_t *pair) {
  stand_t stand = {.region = leased_make(pair, "pages", BYTES)};
  assert_success(hmc_remote_open(pair->peer, "pages", 0, &stand.remote));
  stand.near = near_make(pair, BYTES, true);
  return stand;
}

static void stand_close(stand_t *stand) {
  hmc_remote_close(stand->remote);
  hmc_region_close(stand->region);
  test_buffer_close(&stand->near);
}

static hmc_operation_options_t under(uint64_t number) {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.lease = number;
  return options;
}

static hmc_status_t put(stand_t *stand, uint64_t offset, uint64_t length, uint64_t number) {
  hmc_operation_options_t options = under(number);
  return put_with(&stand->near, 0, stand->remote, offset, length, &options);
}

static hmc_status_t get(stand_t *stand, uint64_t offset, uint64_t length, uint64_t number) {
  hmc_operation_options_t options = under(number);
  return get_with(&stand->near, 0, stand->remote, offset, length, &options);
}

static hmc_status_t add(stand_t *stand, uint64_t offset, uint64_t number) {
  hmc_operation_options_t options = under(number);
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_atomic_nb(stand->remote, offset, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &options, &request);
  return status == HMC_SUCCESS ? finish(request) : status;
}

void lease_allows_and_ends(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  hmc_lease_t *lease;
  assert_success(hmc_lease_grant(stand.region, pair->back, NULL, &lease));
  uint64_t number = hmc_lease_number(lease);
  assert_true(number != 0);
  bytes_fill(&stand.near, 0, BYTES, 5);
  assert_success(put(&stand, 0, BYTES, number));
  bytes_fill(&stand.near, 0, BYTES, 6);
  assert_success(get(&stand, 100, 1000, number));
  assert_int_equal(bytes_other(&stand.near, 0, 1000, 5, 5), 0);
  assert_success(add(&stand, 8, number));
  hmc_lease_revoke(lease);
  assert_status(put(&stand, 0, 8, number), HMC_STALE);
  assert_status(get(&stand, 0, 8, number), HMC_STALE);
  assert_status(add(&stand, 8, number), HMC_STALE);
  stand_close(&stand);
}

void lease_is_needed(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  void *pointer;
  assert_status(put(&stand, 0, 8, 0), HMC_DENIED);
  assert_status(get(&stand, 0, 8, 0), HMC_DENIED);
  assert_status(add(&stand, 8, 0), HMC_DENIED);
  assert_status(hmc_put(stand.near.region, 0, stand.remote, 0, 8), HMC_DENIED);
  assert_status(put(&stand, 0, 8, 12345), HMC_STALE);
  assert_status(put(&stand, 0, 8, UINT64_MAX), HMC_STALE);
  assert_status(hmc_remote_map(stand.remote, &pointer), HMC_UNSUPPORT);
  stand_close(&stand);
}

void lease_of_ranges(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  const hmc_range_t ranges[] = {{8192, 4096}, {100, 50}, {4096, 4096}, {150, 10}, {40000, 0}};
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  hmc_lease_t *lease;
  options.ranges = ranges;
  options.range_count = COUNT_OF(ranges);
  assert_success(hmc_lease_grant(stand.region, pair->back, &options, &lease));
  uint64_t number = hmc_lease_number(lease);
  assert_success(put(&stand, 100, 60, number)); /* over both that touch */
  assert_success(put(&stand, 4096, 8192, number));
  assert_status(put(&stand, 99, 2, number), HMC_OUT_OF_RANGE);
  assert_status(put(&stand, 150, 11, number), HMC_OUT_OF_RANGE);
  assert_status(put(&stand, 4096, 8193, number), HMC_OUT_OF_RANGE);
  assert_status(put(&stand, 0, BYTES, number), HMC_OUT_OF_RANGE);
  assert_status(put(&stand, 40000, 1, number), HMC_OUT_OF_RANGE);
  assert_status(get(&stand, 0, 1, number), HMC_OUT_OF_RANGE);
  hmc_lease_revoke(lease);
  stand_close(&stand);
}

void lease_of_blocks(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  const uint64_t blocks[] = {7, 3, 12};
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  hmc_lease_t *lease;
  options.blocks = blocks;
  options.block_count = COUNT_OF(blocks);
  options.block_size = 4096;
  assert_success(hmc_lease_grant(stand.region, pair->back, &options, &lease));
  uint64_t number = hmc_lease_number(lease);
  for (uint64_t block = 0; block < BYTES / 4096; block++) {
    bool leased = block == 3 || block == 7 || block == 12;
    assert_status(put(&stand, block * 4096, 4096, number), leased ? HMC_SUCCESS : HMC_OUT_OF_RANGE);
  }
  hmc_lease_revoke(lease);
  stand_close(&stand);
}

void lease_of_rights(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  hmc_lease_t *lease;
  options.rights = HMC_REMOTE_READ;
  assert_success(hmc_lease_grant(stand.region, pair->back, &options, &lease));
  uint64_t number = hmc_lease_number(lease);
  assert_success(get(&stand, 0, 8, number));
  assert_status(put(&stand, 0, 8, number), HMC_DENIED);
  assert_status(add(&stand, 8, number), HMC_DENIED);
  hmc_lease_revoke(lease);
  stand_close(&stand);
}

void lease_ends_by_itself(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  hmc_lease_t *brief, *lasting;
  options.duration_ms = 60000;
  assert_success(hmc_lease_grant(stand.region, pair->back, &options, &lasting));
  options.duration_ms = 30;
  assert_success(hmc_lease_grant(stand.region, pair->back, &options, &brief));
  hmc_status_t status = HMC_SUCCESS;
  for (uint64_t limit = now_ms() + 30000; status == HMC_SUCCESS && now_ms() < limit;)
    status = put(&stand, 0, 8, hmc_lease_number(brief));
  assert_status(status, HMC_STALE);
  assert_success(put(&stand, 0, 8, hmc_lease_number(lasting)));
  hmc_lease_revoke(brief);
  hmc_lease_revoke(lasting);
  stand_close(&stand);
}

void lease_of_another_peer(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  hmc_peer_t *other, *back;
  hmc_lease_t *lease;
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &other));
  assert_success(hmc_context_accept(pair->there, 0, &back));
  assert_success(hmc_lease_grant(stand.region, back, NULL, &lease));
  assert_status(put(&stand, 0, 8, hmc_lease_number(lease)), HMC_STALE); /* by the first peer */
  hmc_peer_close(other);
  hmc_lease_revoke(lease);
  stand_close(&stand);
}

void lease_refused(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  test_buffer_t plain;
  hmc_lease_t *lease = NULL;
  const hmc_range_t outside[] = {{0, 8}, {BYTES - 8, 9}};
  const uint64_t blocks[] = {BYTES / 4096}, huge[] = {UINT64_MAX};
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  assert_success(test_buffer_open(&plain, pair->there, stamp.far, BYTES, "plain", HMC_REMOTE_ALL, false));
  assert_status(hmc_lease_grant(plain.region, pair->back, NULL, &lease), HMC_INVALID_CONFIG);
  assert_error_names("HMC_REGION_LEASED");
  assert_status(hmc_lease_grant(stand.region, pair->peer, NULL, &lease), HMC_INVALID_CONFIG);
  assert_status(hmc_lease_grant(NULL, pair->back, NULL, &lease), HMC_INVALID_CONFIG);
  options.ranges = outside;
  options.range_count = 2;
  assert_status(hmc_lease_grant(stand.region, pair->back, &options, &lease), HMC_OUT_OF_RANGE);
  assert_error_names("range 1");
  options.blocks = blocks;
  options.block_count = 1;
  assert_status(hmc_lease_grant(stand.region, pair->back, &options, &lease), HMC_INVALID_CONFIG);
  options.range_count = 0;
  assert_status(hmc_lease_grant(stand.region, pair->back, &options, &lease), HMC_INVALID_CONFIG);
  options.block_size = 4096;
  assert_status(hmc_lease_grant(stand.region, pair->back, &options, &lease), HMC_OUT_OF_RANGE);
  options.blocks = huge;
  assert_status(hmc_lease_grant(stand.region, pair->back, &options, &lease), HMC_OUT_OF_RANGE);
  options.block_count = 0;
  options.rights = 64;
  assert_status(hmc_lease_grant(stand.region, pair->back, &options, &lease), HMC_DENIED);
  assert_null(lease);
  hmc_lease_revoke(NULL);
  test_buffer_close(&plain);
  stand_close(&stand);
}

void leases_by_the_thousand(void **state) {
  enum { MANY = 5000 };
  static hmc_lease_t *leases[MANY];
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  for (size_t i = 0; i < MANY; i++) {
    const hmc_range_t range = {i * 8, 8};
    hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
    options.ranges = &range;
    options.range_count = 1;
    assert_success(hmc_lease_grant(stand.region, pair->back, &options, &leases[i]));
  }
  for (size_t i = 0; i < MANY; i += 331) {
    assert_success(put(&stand, i * 8, 8, hmc_lease_number(leases[i])));
    assert_status(put(&stand, i * 8 + 8, 8, hmc_lease_number(leases[i])), HMC_OUT_OF_RANGE);
  }
  uint64_t former = hmc_lease_number(leases[17]);
  hmc_lease_revoke(leases[17]);
  assert_success(hmc_lease_grant(stand.region, pair->back, NULL, &leases[17]));
  assert_true(hmc_lease_number(leases[17]) != former); /* also where the slot is the same */
  assert_status(put(&stand, 17 * 8, 8, former), HMC_STALE);
  for (size_t i = 0; i < MANY; i++) hmc_lease_revoke(leases[i]);
  stand_close(&stand);
}

/* Elements at equal distances, `count` of them from `offset` on, under a lease. */
static hmc_status_t put_run(stand_t *stand, uint64_t offset, uint64_t count, uint64_t number) {
  hmc_strided_t shape = {
      .element = 4, .count = {1, count, 1}, .local_stride = {4}, .remote_offset = offset, .remote_stride = {16}};
  hmc_operation_options_t options = under(number);
  hmc_batch_t *batch;
  hmc_request_t *request;
  assert_success(hmc_batch_create_strided(stand->near.region, stand->remote, &shape, &batch));
  assert_success(hmc_batch_put_nb(batch, &options, &request));
  hmc_status_t status = finish(request);
  hmc_batch_free(batch);
  return status;
}

/* Each element has to lie in the lease: where one does not, at either end or in a gap, the put is refused, and nothing is
 * written outside. What lies inside may be: a device's memory is filled by several messages. */
void lease_of_runs(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  const hmc_range_t ranges[] = {{4096, 1600}, {5704, 2488}}; /* between them 8 bytes that are another's */
  hmc_lease_options_t options = HMC_LEASE_OPTIONS_INIT;
  hmc_lease_t *lease, *all;
  options.ranges = ranges;
  options.range_count = COUNT_OF(ranges);
  assert_success(hmc_lease_grant(stand.region, pair->back, &options, &lease));
  assert_success(hmc_lease_grant(stand.region, pair->back, NULL, &all));
  uint64_t number = hmc_lease_number(lease), whole = hmc_lease_number(all);
  bytes_fill(&stand.near, 0, BYTES, 1);
  assert_success(put(&stand, 0, BYTES, whole));
  bytes_fill(&stand.near, 0, BYTES, 9);
  assert_status(put_run(&stand, 4096 - 16, 100, number), HMC_OUT_OF_RANGE);
  assert_status(put_run(&stand, 4096, 101, number), HMC_OUT_OF_RANGE); /* the last one is in the gap */
  assert_status(put_run(&stand, 4096, 200, number), HMC_OUT_OF_RANGE);
  assert_status(put_run(&stand, 6144, 129, number), HMC_OUT_OF_RANGE);
  assert_success(get(&stand, 0, BYTES, whole));
  assert_int_equal(bytes_other(&stand.near, 0, 4096, 1, 1), 0);
  assert_int_equal(bytes_other(&stand.near, 5696, 8, 1, 1), 0);
  assert_int_equal(bytes_other(&stand.near, 8192, BYTES - 8192, 1, 1), 0);
  bytes_fill(&stand.near, 0, BYTES, 9);
  assert_success(put_run(&stand, 4096, 100, number));
  assert_success(put_run(&stand, 4096 + 8, 200, number)); /* steps over the gap */
  hmc_lease_revoke(lease);
  assert_status(put_run(&stand, 4096, 100, number), HMC_STALE);
  hmc_lease_revoke(all);
  stand_close(&stand);
}

void lease_outlives_region_and_peer(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  hmc_region_t *again;
  hmc_peer_t *other, *back;
  hmc_lease_t *of_region, *of_peer, *left;
  assert_success(hmc_lease_grant(stand.region, pair->back, NULL, &of_region));
  hmc_region_close(stand.region);
  assert_status(put(&stand, 0, 8, hmc_lease_number(of_region)), HMC_STALE);
  again = leased_make(pair, "pages", BYTES);
  assert_status(put(&stand, 0, 8, hmc_lease_number(of_region)), HMC_STALE);
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &other));
  assert_success(hmc_context_accept(pair->there, 0, &back));
  assert_success(hmc_lease_grant(again, back, NULL, &of_peer));
  hmc_peer_close(back);
  hmc_peer_close(other);
  hmc_lease_revoke(of_region);
  hmc_lease_revoke(of_peer);
  stand.region = again;
  assert_success(hmc_lease_grant(again, pair->back, NULL, &left)); /* goes with its context */
  stand_close(&stand);
}

void lease_under_signals_and_batches(void **state) {
  context_pair_t *pair = *state;
  stand_t stand = stand_make(pair);
  const hmc_segment_t segments[] = {{0, 4096, 100}, {200, 4400, 100}, {400, 8192, 8}};
  hmc_lease_t *lease;
  hmc_batch_t *batch;
  hmc_request_t *request;
  assert_success(hmc_lease_grant(stand.region, pair->back, NULL, &lease));
  hmc_signal_t signal = {.remote = stand.remote, .offset = 16, .operation = HMC_ATOMIC_SWAP, .value = 99};
  hmc_operation_options_t options = under(hmc_lease_number(lease));
  options.signal = &signal;
  bytes_fill(&stand.near, 0, BYTES, 7);
  assert_success(hmc_batch_create(stand.near.region, stand.remote, segments, COUNT_OF(segments), &batch));
  assert_success(hmc_batch_put_nb(batch, &options, &request));
  assert_success(finish(request));
  bytes_fill(&stand.near, 0, BYTES, 8);
  assert_success(get(&stand, 4400, 100, options.lease));
  assert_int_equal(bytes_other(&stand.near, 0, 100, 7, 7), 0);
  uint64_t word = 0;
  assert_success(get(&stand, 16, 8, options.lease));
  test_buffer_load(&stand.near, 0, &word, sizeof word);
  assert_int_equal(word, 99);
  hmc_lease_revoke(lease);
  signal.value = 100;
  assert_success(hmc_batch_put_nb(batch, &options, &request));
  assert_status(finish(request), HMC_STALE);
  hmc_batch_free(batch);
  stand_close(&stand);
}
