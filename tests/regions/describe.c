/* A region's descriptor: bytes that any way may carry, which open the region at a peer. */
#include "regions.h"

#include <stdio.h>
#include <string.h>

typedef struct described {
  hmc_region_t *region;
  uint8_t bytes[HMC_REGION_DESCRIPTOR_MAX];
  size_t size;
} described_t;

static described_t describe(hmc_context_t *context, uint64_t bytes, unsigned rights, void *pointer) {
  described_t described = {0};
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.bytes = bytes;
  options.rights = rights;
  options.pointer = pointer;
  assert_success(hmc_region_create(context, &options, &described.region));
  assert_success(hmc_region_export(described.region, described.bytes, sizeof described.bytes, &described.size));
  return described;
}

static void check(context_pair_t *pair, hmc_remote_t *remote, const described_t *described, uint64_t seed) {
  test_buffer_t near = near_make(pair, 2 * PAGE, true);
  uint64_t word = seed;
  test_buffer_store(&near, 0, &word, sizeof word);
  assert_success(hmc_put(near.region, 0, remote, 8, sizeof word));
  memcpy(&word, (uint8_t *)hmc_region_pointer(described->region) + 8, sizeof word);
  assert_int_equal(word, seed);
  assert_success(hmc_get(near.region, PAGE, remote, 8, sizeof word));
  test_buffer_load(&near, PAGE, &word, sizeof word);
  assert_int_equal(word, seed);
  test_buffer_close(&near);
}

void descriptor_opens_a_region(void **state) {
  context_pair_t *pair = *state;
  static uint8_t memory[4096];
  hmc_remote_t *remote;
  described_t owned = describe(pair->there, 64 * KIB, HMC_REMOTE_ALL, NULL);
  described_t registered = describe(pair->there, sizeof memory, HMC_REMOTE_ALL, memory);
  assert_success(hmc_remote_import(pair->peer, owned.bytes, owned.size, &remote));
  assert_int_equal(hmc_remote_size(remote), 64 * KIB);
  check(pair, remote, &owned, 11);
  hmc_remote_close(remote);
  assert_success(hmc_remote_import(pair->peer, registered.bytes, registered.size, &remote));
  check(pair, remote, &registered, 12);
  hmc_remote_close(remote);
  hmc_region_close(owned.region);
  hmc_region_close(registered.region);
}

void descriptor_of_many(void **state) {
  enum { MANY = 300 };
  static described_t many[MANY];
  static hmc_remote_t *remotes[MANY];
  context_pair_t *pair = *state;
  for (uint64_t i = 0; i < MANY; i++) many[i] = describe(pair->there, PAGE, HMC_REMOTE_ALL, NULL);
  for (uint64_t i = 0; i < MANY; i++)
    assert_success(hmc_remote_import(pair->peer, many[i].bytes, many[i].size, &remotes[i]));
  for (uint64_t i = 0; i < MANY; i += 37) check(pair, remotes[i], &many[i], i);
  for (uint64_t i = 0; i < MANY; i++) hmc_remote_close(remotes[i]);
  for (uint64_t i = 0; i < MANY; i++) hmc_region_close(many[i].region);
}

typedef struct collection {
  const void *descriptors[300];
  size_t sizes[300];
  hmc_remote_t *remotes[300];
} collection_t;

void descriptors_at_once(void **state) {
  enum { MANY = 300 };
  static described_t many[MANY];
  static collection_t collection;
  context_pair_t *pair = *state;
  for (uint64_t i = 0; i < MANY; i++) {
    many[i] = describe(pair->there, PAGE, HMC_REMOTE_ALL, NULL);
    collection.descriptors[i] = many[i].bytes;
    collection.sizes[i] = many[i].size;
  }
  assert_success(
      hmc_remote_import_many(pair->peer, collection.descriptors, collection.sizes, MANY, collection.remotes));
  for (uint64_t i = 0; i < MANY; i += 23) check(pair, collection.remotes[i], &many[i], i);
  for (uint64_t i = 0; i < MANY; i++) hmc_remote_close(collection.remotes[i]);
  assert_success(hmc_remote_import_many(pair->peer, NULL, NULL, 0, NULL)); /* none is not too few */
  for (uint64_t i = 0; i < MANY; i++) hmc_region_close(many[i].region);
}

/* One that fails: no handle is left, the outputs are as they were, and the text says which one. */
void descriptors_all_or_none(void **state) {
  enum { MANY = 40, BAD = 37 };
  static described_t many[MANY];
  static collection_t collection;
  context_pair_t *pair = *state;
  hmc_remote_t *const untouched = (hmc_remote_t *)(uintptr_t)8;
  for (uint64_t i = 0; i < MANY; i++) {
    many[i] = describe(pair->there, PAGE, HMC_REMOTE_ALL, NULL);
    collection.descriptors[i] = many[i].bytes;
    collection.sizes[i] = many[i].size - (i == BAD);
    collection.remotes[i] = untouched;
  }
  uint64_t maps = mappings_of("hmc");
  hmc_status_t status =
      hmc_remote_import_many(pair->peer, collection.descriptors, collection.sizes, MANY, collection.remotes);
  assert_status(status, HMC_CORRUPT);
  assert_error_names("descriptor 37 of 40");
  assert_int_equal(mappings_of("hmc"), maps);
  for (uint64_t i = 0; i < MANY; i++) assert_ptr_equal(collection.remotes[i], untouched);
  collection.descriptors[0] = NULL;
  status = hmc_remote_import_many(pair->peer, collection.descriptors, collection.sizes, MANY, collection.remotes);
  assert_status(status, HMC_INVALID_CONFIG);
  for (uint64_t i = 0; i < MANY; i++) hmc_region_close(many[i].region);
}

/* A stopped process answers nothing. */
void descriptor_needs_no_answer(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *remote;
  owner_t owner;
  owner_start(&owner, pair);
  if (stamp.type == HMC_CONNECTION_UCX) {
    assert_success(hmc_remote_import(owner.peer, owner.descriptor, owner.descriptor_size, &remote));
  } else {
    owner_stop(&owner);
    assert_success(hmc_remote_import(owner.peer, owner.descriptor, owner.descriptor_size, &remote));
    owner_continue(&owner);
  }
  test_buffer_t near = near_make(pair, PAGE, true);
  assert_success(hmc_put(near.region, 0, remote, 0, 64));
  test_buffer_close(&near);
  hmc_peer_close(owner.peer);
  owner_kill(&owner);
}

void descriptor_goes_stale(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *remote = NULL;
  test_buffer_t near = near_make(pair, PAGE, true);
  described_t described = describe(pair->there, PAGE, HMC_REMOTE_ALL, NULL);
  assert_success(hmc_remote_import(pair->peer, described.bytes, described.size, &remote));
  hmc_region_close(described.region);
  assert_status(hmc_put(near.region, 0, remote, 0, 8), HMC_STALE);
  hmc_remote_close(remote);
  remote = NULL;
  hmc_status_t status = hmc_remote_import(pair->peer, described.bytes, described.size, &remote);
  if (status == HMC_SUCCESS) status = hmc_put(near.region, 0, remote, 0, 8);
  assert_status(status, HMC_STALE);
  hmc_remote_close(remote);
  test_buffer_close(&near);
}

void descriptor_refused(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *remote = NULL;
  uint8_t spoilt[HMC_REGION_DESCRIPTOR_MAX + 1];
  size_t size;
  described_t described = describe(pair->there, PAGE, HMC_REMOTE_ALL, NULL), own = describe(pair->here, PAGE, 1, NULL);
  for (size_t cut = 0; cut < described.size; cut++)
    assert_status(hmc_remote_import(pair->peer, described.bytes, cut, &remote), HMC_CORRUPT);
  memcpy(spoilt, described.bytes, described.size);
  spoilt[described.size] = 0;
  assert_status(hmc_remote_import(pair->peer, spoilt, described.size + 1, &remote), HMC_CORRUPT);
  for (size_t i = 0; i < described.size; i++) { /* whatever is wrong in it: an answer */
    memcpy(spoilt, described.bytes, described.size);
    spoilt[i] ^= 0xff;
    if (hmc_remote_import(pair->peer, spoilt, described.size, &remote) == HMC_SUCCESS) hmc_remote_close(remote);
  }
  assert_status(hmc_remote_import(pair->peer, own.bytes, own.size, &remote), HMC_INVALID_CONFIG);
  assert_error_names("another context");
  assert_status(hmc_region_export(described.region, spoilt, 10, &size), HMC_OUT_OF_RANGE);
  assert_int_equal(size, described.size);
  assert_success(hmc_region_export(described.region, NULL, 0, &size));
  assert_int_equal(size, described.size);
  test_buffer_t local = near_make(pair, PAGE, false);
  assert_status(hmc_region_export(local.region, spoilt, sizeof spoilt, &size), HMC_INVALID_CONFIG);
  test_buffer_close(&local);
  hmc_region_close(described.region);
  hmc_region_close(own.region);
}

void descriptor_gives_no_more_rights(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *remote;
  test_buffer_t near = near_make(pair, PAGE, true);
  described_t described = describe(pair->there, PAGE, HMC_REMOTE_READ, NULL);
  assert_success(hmc_remote_import(pair->peer, described.bytes, described.size, &remote));
  assert_success(hmc_get(near.region, 0, remote, 0, 8));
  assert_status(hmc_put(near.region, 0, remote, 0, 8), HMC_DENIED);
  assert_status(hmc_atomic(remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL), HMC_DENIED);
  hmc_remote_close(remote);
  hmc_region_close(described.region);
  test_buffer_close(&near);
}
