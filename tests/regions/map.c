/* Peers' regions in this process's address space, and what is known of their end. */
#include "regions.h"

#include <hmc/mapping.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static bool maps(void) { return stamp.type == HMC_CONNECTION_SHM; }

static hmc_region_t *make(context_pair_t *pair, const char *name, uint64_t bytes, unsigned rights) {
  hmc_region_t *region;
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.name = name;
  options.bytes = bytes;
  options.rights = rights;
  assert_success(hmc_region_create(pair->there, &options, &region));
  return region;
}

static hmc_status_t map(hmc_remote_t *remote, uint64_t offset, uint64_t length, void *address,
                        hmc_mapping_t **mapping) {
  hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
  options.offset = offset;
  options.length = length;
  options.address = address;
  return hmc_remote_map_range(remote, &options, mapping);
}

static void store(void *at, uint64_t word) { __atomic_store_n((uint64_t *)at, word, __ATOMIC_RELEASE); }
static uint64_t load(const void *at) { return __atomic_load_n((const uint64_t *)at, __ATOMIC_ACQUIRE); }

/* What is not mapped says why. */
static void assert_maps_nothing(hmc_remote_t *remote) {
  hmc_mapping_t *mapping = NULL;
  assert_status(map(remote, 0, 0, NULL, &mapping), HMC_UNSUPPORT);
  assert_error_names("shm");
  assert_null(mapping);
}

void map_lays_out_peers(void **state) {
  enum { PEERS = 4 };
  const uint64_t room = 16 * MIB;
  context_pair_t *pair = *state;
  uint8_t *space = reserve(PEERS * room);
  hmc_region_t *regions[PEERS];
  hmc_remote_t *remotes[PEERS];
  hmc_mapping_t *mappings[PEERS];
  for (size_t i = 0; i < PEERS; i++) {
    char name[16];
    snprintf(name, sizeof name, "part%zu", i);
    regions[i] = make(pair, name, room - i * PAGE, HMC_REMOTE_ALL);
    assert_success(hmc_remote_open(pair->peer, name, 0, &remotes[i]));
  }
  for (size_t i = 0; i < PEERS && maps(); i++) {
    assert_success(map(remotes[i], 0, 0, space + i * room, &mappings[i]));
    assert_ptr_equal(hmc_mapping_pointer(mappings[i]), space + i * room);
    assert_int_equal(hmc_mapping_length(mappings[i]), room - i * PAGE);
    assert_true(hmc_mapping_is_live(mappings[i]));
    store(space + i * room + 4096, 100 + i);
    assert_int_equal(load((uint8_t *)hmc_region_pointer(regions[i]) + 4096), 100 + i);
  }
  if (!maps()) assert_maps_nothing(remotes[0]);
  for (size_t i = 0; i < PEERS; i++) {
    if (maps() && i % 2) hmc_mapping_close(mappings[i]);
    hmc_remote_close(remotes[i]); /* closes the others */
    assert_true(is_reserved(space + i * room));
    hmc_region_close(regions[i]);
  }
  munmap(space, PEERS * room);
}

void map_of_a_part(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region = make(pair, "parts", MIB, HMC_REMOTE_ALL);
  hmc_remote_t *remote;
  hmc_mapping_t *one, *two;
  uint8_t *space = reserve(MIB);
  assert_success(hmc_remote_open(pair->peer, "parts", 0, &remote));
  if (maps()) {
    assert_success(map(remote, 3 * PAGE + 16, 2 * PAGE, NULL, &one));
    store(hmc_mapping_pointer(one), 21);
    assert_int_equal(load((uint8_t *)hmc_region_pointer(region) + 3 * PAGE + 16), 21);
    assert_success(map(remote, 3 * PAGE + 16, 8, space + PAGE + 16, &two)); /* the same word twice */
    assert_ptr_equal(hmc_mapping_pointer(two), space + PAGE + 16);
    assert_int_equal(load(space + PAGE + 16), 21);
    hmc_mapping_close(one);
    store(space + PAGE + 16, 22);
    assert_int_equal(load((uint8_t *)hmc_region_pointer(region) + 3 * PAGE + 16), 22);
    assert_true(is_reserved(space));
    hmc_mapping_close(two);
    assert_true(is_reserved(space + PAGE));
  } else {
    assert_maps_nothing(remote);
  }
  hmc_remote_close(remote);
  hmc_region_close(region);
  munmap(space, MIB);
}

void map_refused(void **state) {
  context_pair_t *pair = *state;
  static uint8_t memory[4096];
  hmc_region_t *region = make(pair, "whole", MIB, HMC_REMOTE_ALL), *registered;
  hmc_remote_t *remote, *remote_registered;
  hmc_mapping_t *mapping = NULL;
  hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
  uint8_t *space = reserve(2 * MIB);
  munmap(space + MIB, PAGE); /* so that nothing follows */
  assert_success(hmc_region_register(pair->there, memory, sizeof memory, "registered", HMC_REMOTE_ALL, &registered));
  assert_success(hmc_remote_open(pair->peer, "whole", 0, &remote));
  assert_success(hmc_remote_open(pair->peer, "registered", 0, &remote_registered));
  assert_status(map(remote, MIB, 0, NULL, &mapping), HMC_OUT_OF_RANGE);
  assert_status(map(remote, PAGE, MIB, NULL, &mapping), HMC_OUT_OF_RANGE);
  options.flags = 1u << 30;
  assert_status(hmc_remote_map_range(remote, &options, &mapping), HMC_INVALID_CONFIG);
  options.flags = 0;
  options.size = 2;
  assert_status(hmc_remote_map_range(remote, &options, &mapping), HMC_INVALID_CONFIG);
  assert_status(map(remote_registered, 0, 0, NULL, &mapping), HMC_UNSUPPORT);
  if (maps()) {
    assert_status(map(remote, 0, 0, space + 8, &mapping), HMC_INVALID_CONFIG);
    assert_status(map(remote, 8, 8, space, &mapping), HMC_INVALID_CONFIG);
    assert_status(map(remote, 0, 0, space + PAGE, &mapping), HMC_INVALID_CONFIG); /* the last page is not reserved */
    assert_true(is_reserved(space) && is_reserved(space + PAGE));
    hmc_region_close(region);
    region = NULL;
    assert_status(map(remote, 0, 0, NULL, &mapping), HMC_STALE);
  }
  assert_null(mapping);
  hmc_region_close(region);
  hmc_region_close(registered);
  munmap(space, 2 * MIB);
}

void map_tells_of_the_end(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region = make(pair, "ending", MIB, HMC_REMOTE_ALL);
  hmc_remote_t *remote;
  hmc_mapping_t *mapping;
  assert_success(hmc_remote_open(pair->peer, "ending", 0, &remote));
  if (maps()) {
    assert_success(hmc_remote_map_range(remote, NULL, &mapping));
    assert_true(hmc_mapping_is_live(mapping));
    hmc_region_close(region);
    assert_false(hmc_mapping_is_live(mapping)); /* at once */
    store(hmc_mapping_pointer(mapping), 1);     /* nobody's memory, but memory */
    hmc_mapping_close(mapping);
  } else {
    assert_maps_nothing(remote);
    hmc_region_close(region);
  }
}

void map_of_the_dead(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *remote;
  hmc_mapping_t *mapping;
  hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
  options.flags = HMC_MAPPING_READ_ONLY;
  owner_t owner;
  owner_start(&owner, pair);
  assert_success(hmc_remote_open(owner.peer, "owned", 0, &remote));
  if (maps()) {
    assert_success(hmc_remote_map_range(remote, &options, &mapping));
    assert_true(hmc_mapping_is_live(mapping));
    owner_kill(&owner);
    for (uint64_t limit = now_ms() + 30000; hmc_mapping_is_live(mapping) && now_ms() < limit;) sleep_ms(1);
    assert_false(hmc_mapping_is_live(mapping));
    assert_int_equal(load(hmc_mapping_pointer(mapping)), 0);
    assert_status(hmc_remote_map_range(remote, NULL, &mapping), HMC_PEER_LOST);
  } else {
    assert_maps_nothing(remote);
    owner_kill(&owner);
  }
  hmc_peer_close(owner.peer);
}

/* Reads through a mapping of another process's device memory what its owner wrote, and writes there. */
static void use_device_mapping(const hmc_mapping_t *mapping, hmc_remote_t *remote, uint64_t offset,
                               test_buffer_t *near) {
  uint8_t bytes[1000];
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  hmc_memory_t device = {hmc_remote_memory(remote).kind, 0};
  uint8_t *pointer = hmc_mapping_pointer(mapping);
  assert_success(hmc_memory_copy(bytes, cpu, pointer, device, sizeof bytes));
  for (size_t i = 0; i < sizeof bytes; i++) assert_int_equal(bytes[i], owner_byte(offset + i));
  memset(bytes, 0xd7, sizeof bytes);
  assert_success(hmc_memory_copy(pointer + 100, device, bytes, cpu, 10));
  assert_success(hmc_get(near->region, 0, remote, offset + 99, 12));
  test_buffer_load(near, 0, bytes, 12);
  assert_int_equal(bytes[0], owner_byte(offset + 99));
  for (size_t i = 1; i <= 10; i++) assert_int_equal(bytes[i], 0xd7);
  assert_int_equal(bytes[11], owner_byte(offset + 110));
}

void map_of_device_memory(void **state) {
  context_pair_t *pair = *state;
  test_buffer_t near = near_make(pair, PAGE, true);
  hmc_remote_t *remote;
  hmc_mapping_t *whole, *part, *placed = NULL;
  uint8_t *space = reserve(OWNER_DEVICE_BYTES);
  owner_t owner;
  owner_start(&owner, pair);
  assert_success(hmc_remote_open(owner.peer, "device", 0, &remote));
  if (maps()) {
    assert_success(hmc_remote_map_range(remote, NULL, &whole));
    assert_int_equal(hmc_mapping_length(whole), OWNER_DEVICE_BYTES);
    use_device_mapping(whole, remote, 0, &near);
    assert_success(map(remote, 5000, 3000, NULL, &part));
    hmc_mapping_close(whole); /* the other one stays */
    use_device_mapping(part, remote, 5000, &near);
    assert_status(map(remote, 0, 0, space, &placed), HMC_UNSUPPORT);
    assert_status(map(remote, OWNER_DEVICE_BYTES - 8, 9, NULL, &placed), HMC_OUT_OF_RANGE);
    assert_true(hmc_mapping_is_live(part));
    owner_kill(&owner);
    for (uint64_t limit = now_ms() + PATIENCE_MS; hmc_mapping_is_live(part) && now_ms() < limit;) sleep_ms(1);
    assert_false(hmc_mapping_is_live(part));
  } else {
    assert_status(map(remote, 0, 0, NULL, &whole), HMC_UNSUPPORT);
    owner_kill(&owner);
  }
  hmc_peer_close(owner.peer); /* closes the mappings */
  test_buffer_close(&near);
  munmap(space, OWNER_DEVICE_BYTES);
}

/* The first put after the owner has closed the peer does not succeed. */
void closed_peer_stops_at_once(void **state) {
  enum { ROUNDS = 50 };
  context_pair_t *pair = *state;
  hmc_region_t *region = make(pair, "shut", PAGE, HMC_REMOTE_ALL);
  test_buffer_t near = near_make(pair, PAGE, true);
  hmc_remote_t *remote;
  assert_success(hmc_remote_open(pair->peer, "shut", 0, &remote));
  for (int i = 0; i < ROUNDS; i++) {
    hmc_peer_t *peer, *back;
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &peer));
    assert_success(hmc_context_accept(pair->there, 0, &back));
    hmc_remote_t *other;
    assert_success(hmc_remote_open(peer, "shut", 0, &other));
    assert_success(hmc_put(near.region, 0, other, 0, 8));
    store(hmc_region_pointer(region), 0);
    hmc_peer_close(back);
    uint64_t word = 77;
    test_buffer_store(&near, 0, &word, sizeof word);
    assert_status(hmc_put(near.region, 0, other, 0, 8), HMC_PEER_LOST);
    assert_int_equal(load(hmc_region_pointer(region)), 0);
    hmc_peer_close(peer);
  }
  assert_success(hmc_put(near.region, 0, remote, 0, 8)); /* the other one has not noticed */
  hmc_region_close(region);
  test_buffer_close(&near);
}
