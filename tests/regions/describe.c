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

static void check(couple_t *couple, hmc_remote_t *remote, const described_t *described, uint64_t seed) {
  place_t near = near_make(couple, 2 * PAGE, true);
  uint64_t word = seed;
  place_store(&near, 0, &word, sizeof word);
  assert_success(hmc_put(near.region, 0, remote, 8, sizeof word));
  memcpy(&word, (uint8_t *)hmc_region_pointer(described->region) + 8, sizeof word);
  assert_int_equal(word, seed);
  assert_success(hmc_get(near.region, PAGE, remote, 8, sizeof word));
  place_load(&near, PAGE, &word, sizeof word);
  assert_int_equal(word, seed);
  place_close(&near);
}

void descriptor_opens_a_region(void **state) {
  couple_t *couple = *state;
  static uint8_t memory[4096];
  hmc_remote_t *remote;
  described_t owned = describe(couple->there, 64 * KIB, HMC_REMOTE_ALL, NULL);
  described_t lent = describe(couple->there, sizeof memory, HMC_REMOTE_ALL, memory);
  assert_success(hmc_remote_import(couple->peer, owned.bytes, owned.size, &remote));
  assert_int_equal(hmc_remote_size(remote), 64 * KIB);
  check(couple, remote, &owned, 11);
  hmc_remote_close(remote);
  assert_success(hmc_remote_import(couple->peer, lent.bytes, lent.size, &remote));
  check(couple, remote, &lent, 12);
  hmc_remote_close(remote);
  hmc_region_close(owned.region);
  hmc_region_close(lent.region);
}

void descriptor_of_many(void **state) {
  enum { MANY = 300 };
  static described_t many[MANY];
  static hmc_remote_t *remotes[MANY];
  couple_t *couple = *state;
  for (uint64_t i = 0; i < MANY; i++) many[i] = describe(couple->there, PAGE, HMC_REMOTE_ALL, NULL);
  for (uint64_t i = 0; i < MANY; i++)
    assert_success(hmc_remote_import(couple->peer, many[i].bytes, many[i].size, &remotes[i]));
  for (uint64_t i = 0; i < MANY; i += 37) check(couple, remotes[i], &many[i], i);
  for (uint64_t i = 0; i < MANY; i++) hmc_remote_close(remotes[i]);
  for (uint64_t i = 0; i < MANY; i++) hmc_region_close(many[i].region);
}

/* A stopped process answers nothing. */
void descriptor_needs_no_answer(void **state) {
  couple_t *couple = *state;
  hmc_remote_t *remote;
  owner_t owner;
  owner_start(&owner, couple);
  if (stamp.type == HMC_CONNECTION_UCX) {
    assert_success(hmc_remote_import(owner.peer, owner.descriptor, owner.descriptor_size, &remote));
  } else {
    owner_stop(&owner);
    assert_success(hmc_remote_import(owner.peer, owner.descriptor, owner.descriptor_size, &remote));
    owner_continue(&owner);
  }
  place_t near = near_make(couple, PAGE, true);
  assert_success(hmc_put(near.region, 0, remote, 0, 64));
  place_close(&near);
  hmc_peer_close(owner.peer);
  owner_kill(&owner);
}

void descriptor_goes_stale(void **state) {
  couple_t *couple = *state;
  hmc_remote_t *remote = NULL;
  place_t near = near_make(couple, PAGE, true);
  described_t described = describe(couple->there, PAGE, HMC_REMOTE_ALL, NULL);
  assert_success(hmc_remote_import(couple->peer, described.bytes, described.size, &remote));
  hmc_region_close(described.region);
  assert_status(hmc_put(near.region, 0, remote, 0, 8), HMC_STALE);
  hmc_remote_close(remote);
  remote = NULL;
  hmc_status_t status = hmc_remote_import(couple->peer, described.bytes, described.size, &remote);
  if (status == HMC_SUCCESS) status = hmc_put(near.region, 0, remote, 0, 8);
  assert_status(status, HMC_STALE);
  hmc_remote_close(remote);
  place_close(&near);
}

void descriptor_refused(void **state) {
  couple_t *couple = *state;
  hmc_remote_t *remote = NULL;
  uint8_t spoilt[HMC_REGION_DESCRIPTOR_MAX + 1];
  size_t size;
  described_t described = describe(couple->there, PAGE, HMC_REMOTE_ALL, NULL),
              own = describe(couple->here, PAGE, 1, NULL);
  for (size_t cut = 0; cut < described.size; cut++)
    assert_status(hmc_remote_import(couple->peer, described.bytes, cut, &remote), HMC_CORRUPT);
  memcpy(spoilt, described.bytes, described.size);
  spoilt[described.size] = 0;
  assert_status(hmc_remote_import(couple->peer, spoilt, described.size + 1, &remote), HMC_CORRUPT);
  for (size_t i = 0; i < described.size; i++) { /* whatever is wrong in it: an answer */
    memcpy(spoilt, described.bytes, described.size);
    spoilt[i] ^= 0xff;
    if (hmc_remote_import(couple->peer, spoilt, described.size, &remote) == HMC_SUCCESS) hmc_remote_close(remote);
  }
  assert_status(hmc_remote_import(couple->peer, own.bytes, own.size, &remote), HMC_INVALID_CONFIG);
  assert_error_names("another context");
  assert_status(hmc_region_export(described.region, spoilt, 10, &size), HMC_OUT_OF_RANGE);
  assert_int_equal(size, described.size);
  assert_success(hmc_region_export(described.region, NULL, 0, &size));
  assert_int_equal(size, described.size);
  place_t local = near_make(couple, PAGE, false);
  assert_status(hmc_region_export(local.region, spoilt, sizeof spoilt, &size), HMC_INVALID_CONFIG);
  place_close(&local);
  hmc_region_close(described.region);
  hmc_region_close(own.region);
}

void descriptor_gives_no_more_rights(void **state) {
  couple_t *couple = *state;
  hmc_remote_t *remote;
  place_t near = near_make(couple, PAGE, true);
  described_t described = describe(couple->there, PAGE, HMC_REMOTE_READ, NULL);
  assert_success(hmc_remote_import(couple->peer, described.bytes, described.size, &remote));
  assert_success(hmc_get(near.region, 0, remote, 0, 8));
  assert_status(hmc_put(near.region, 0, remote, 0, 8), HMC_DENIED);
  assert_status(hmc_atomic(remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL), HMC_DENIED);
  hmc_remote_close(remote);
  hmc_region_close(described.region);
  place_close(&near);
}
