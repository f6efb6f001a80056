/* Where a region's memory comes from: allocated (sparse, at an address, huge, on a node), given as a pointer or as a
 * descriptor. */
#include "regions.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define HEAP (16 * 1024 * MIB)

static hmc_region_options_t named(const char *name, uint64_t bytes) {
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.name = name;
  options.bytes = bytes;
  options.rights = HMC_REMOTE_ALL;
  return options;
}

/* Puts a word at an offset of the far region and looks at it in the owner's memory, and back. */
static void check_word(context_pair_t *pair, hmc_region_t *far, const char *name, uint64_t offset, uint64_t word) {
  hmc_remote_t *remote;
  uint64_t back = 0;
  test_buffer_t near = near_make(pair, PAGE, true);
  assert_success(hmc_remote_open(pair->peer, name, 0, &remote));
  assert_int_equal(hmc_remote_size(remote), hmc_region_size(far));
  test_buffer_store(&near, 0, &word, sizeof word);
  assert_success(hmc_put(near.region, 0, remote, offset, sizeof word));
  memcpy(&back, (uint8_t *)hmc_region_pointer(far) + offset, sizeof back);
  assert_int_equal(back, word);
  assert_success(hmc_get(near.region, 8, remote, offset, sizeof word));
  test_buffer_load(&near, 8, &back, sizeof back);
  assert_int_equal(back, word);
  hmc_remote_close(remote);
  test_buffer_close(&near);
}

static uint64_t resident(void) {
  unsigned long long whole = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%llu %llu", &whole, &pages), 2);
  fclose(file);
  return pages * PAGE;
}

void create_allocates_sparsely(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *heap;
  hmc_region_options_t options = named("heap", HEAP);
  uint64_t before = resident();
  assert_success(hmc_region_create(pair->there, &options, &heap));
  assert_int_equal(hmc_region_size(heap), HEAP);
  check_word(pair, heap, "heap", 0, 1);
  check_word(pair, heap, "heap", HEAP - 8, 2);
  check_word(pair, heap, "heap", HEAP / 2, 3);
  assert_true(resident() < before + 256 * MIB);
  hmc_region_close(heap);
}

void create_at_an_address(void **state) {
  context_pair_t *pair = *state;
  uint8_t *range = reserve(8 * MIB);
  hmc_region_options_t options = named("placed", MIB + 100);
  hmc_region_t *region;
  options.address = range + 2 * MIB;
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_ptr_equal(hmc_region_pointer(region), range + 2 * MIB);
  check_word(pair, region, "placed", MIB, 4);
  assert_true(is_reserved(range + 2 * MIB - PAGE));
  assert_true(is_reserved(range + 3 * MIB + PAGE));
  assert_false(is_reserved(range + 3 * MIB));
  hmc_region_close(region);
  assert_true(is_reserved(range + 2 * MIB)); /* as before, so that nothing else moves in */
  assert_true(is_reserved(range + 3 * MIB));
  assert_success(hmc_region_create(pair->there, &options, &region));
  check_word(pair, region, "placed", 0, 5);
  hmc_region_close(region);
  munmap(range, 8 * MIB);
}

/* A memfd of the test's own. */
static int make_file(uint64_t size, int seals) {
  int file = memfd_create("hmc-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_true(file >= 0);
  assert_int_equal(ftruncate(file, (off_t)size), 0);
  assert_int_equal(fcntl(file, F_ADD_SEALS, seals), 0);
  return file;
}

void create_of_a_descriptor(void **state) {
  context_pair_t *pair = *state;
  int file = make_file(MIB, F_SEAL_SHRINK);
  uint64_t word = 0;
  hmc_region_t *region;
  hmc_region_options_t options = named("file", 0);
  options.descriptor = file;
  options.descriptor_offset = 4 * PAGE;
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_int_equal(hmc_region_size(region), MIB - 4 * PAGE); /* up to its end */
  check_word(pair, region, "file", 64, 6);
  assert_int_equal(pread(file, &word, sizeof word, (off_t)(4 * PAGE + 64)), sizeof word);
  assert_int_equal(word, 6);
  hmc_region_close(region);

  uint8_t *range = reserve(MIB);
  options.bytes = PAGE + 8;
  options.address = range;
  options.rights = HMC_REMOTE_READ;
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_ptr_equal(hmc_region_pointer(region), range);
  close(file); /* HMC has its own */
  hmc_remote_t *remote;
  test_buffer_t near = near_make(pair, PAGE, true);
  assert_success(hmc_remote_open(pair->peer, "file", 0, &remote));
  assert_success(hmc_get(near.region, 0, remote, 64, 8));
  test_buffer_load(&near, 0, &word, sizeof word);
  assert_int_equal(word, 6);
  assert_status(hmc_put(near.region, 0, remote, 64, 8), HMC_DENIED);
  hmc_remote_close(remote);
  hmc_region_close(region);
  munmap(range, MIB);
}

void create_lends_a_pointer(void **state) {
  context_pair_t *pair = *state;
  static uint8_t memory[2 * 4096];
  hmc_region_t *region;
  hmc_region_options_t options = named("registered", sizeof memory);
  options.pointer = memory;
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_ptr_equal(hmc_region_pointer(region), memory);
  check_word(pair, region, "registered", 128, 7);
  hmc_region_close(region);
}

void create_on_nodes_and_pages(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region;
  hmc_region_options_t options = named("node", MIB);
  options.numa_node = 0;
  options.page_size = PAGE;
  assert_success(hmc_region_create(pair->there, &options, &region));
  check_word(pair, region, "node", 0, 8);
  hmc_region_close(region);
  options.numa_node = 1000;
  assert_status(hmc_region_create(pair->there, &options, &region), HMC_NOT_FOUND);
  options = named("huge", 3 * MIB);
  options.page_size = 2 * MIB;
  hmc_status_t status = hmc_region_create(pair->there, &options, &region);
  if (status == HMC_SUCCESS) {
    assert_int_equal((uintptr_t)hmc_region_pointer(region) % (2 * MIB), 0);
    check_word(pair, region, "huge", 3 * MIB - 8, 9);
    hmc_region_close(region);
  } else { /* the usual machine keeps none */
    assert_status(status, HMC_NO_MEMORY);
    assert_error_names("vm.nr_hugepages");
  }
}

void create_commits(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region;
  hmc_region_options_t options = named("committed", 8 * MIB);
  options.flags = HMC_REGION_POPULATE;
  uint64_t before = resident();
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_true(resident() >= before + 7 * MIB);
  hmc_region_close(region);
}

void create_refuses(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region = NULL;
  uint8_t *range = reserve(16 * MIB);
  munmap(range + 4 * MIB, PAGE); /* so that the range ends there */
  int open = make_file(MIB, 0), sealed = make_file(MIB, F_SEAL_SHRINK), plain = fileno(tmpfile());
  const struct {
    hmc_region_options_t options;
    hmc_status_t status;
    const char *text;
  } cases[] = {
      {{.bytes = 0, .descriptor = -1, .numa_node = -1}, HMC_INVALID_CONFIG, "0 B"},
      {{.bytes = 8, .descriptor = -1, .numa_node = -1, .flags = 1u << 20}, HMC_INVALID_CONFIG, "flags"},
      {{.bytes = 8, .descriptor = -1, .numa_node = -1, .rights = 64}, HMC_INVALID_CONFIG, "rights"},
      {{.bytes = 8, .descriptor = -1, .numa_node = -1, .page_size = 12345}, HMC_INVALID_CONFIG, "12345"},
      {{.bytes = 8, .descriptor = -1, .numa_node = -1, .address = range + 8}, HMC_INVALID_CONFIG, "multiple"},
      {{.bytes = 8 * MIB, .descriptor = -1, .numa_node = -1, .address = range}, HMC_INVALID_CONFIG, "reserved"},
      {{.bytes = 8, .descriptor = sealed, .numa_node = -1, .pointer = range}, HMC_INVALID_CONFIG, "two sources"},
      {{.bytes = 8, .descriptor = open, .numa_node = -1}, HMC_INVALID_CONFIG, "F_SEAL_SHRINK"},
      {{.bytes = 8, .descriptor = plain, .numa_node = -1}, HMC_INVALID_CONFIG, "neither a memfd"},
      {{.bytes = 8, .descriptor = 1000, .numa_node = -1}, HMC_INVALID_CONFIG, "1000"},
      {{.bytes = 8, .descriptor = sealed, .numa_node = -1, .descriptor_offset = 8}, HMC_INVALID_CONFIG, "multiple"},
      {{.bytes = MIB, .descriptor = sealed, .numa_node = -1, .descriptor_offset = PAGE}, HMC_OUT_OF_RANGE, "run past"},
      {{.descriptor = sealed, .numa_node = -1, .descriptor_offset = 2 * MIB}, HMC_OUT_OF_RANGE, "run past"},
      {{.bytes = 8, .descriptor = -1, .numa_node = -1, .memory = {HMC_MEMORY_SIM, 0}, .address = range},
       HMC_UNSUPPORT,
       "host memory"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    hmc_region_options_t options = cases[i].options;
    options.size = sizeof options;
    if (options.memory.kind == HMC_MEMORY_DEFAULT) options.memory.kind = HMC_MEMORY_CPU;
    assert_status(hmc_region_create(pair->there, &options, &region), cases[i].status);
    assert_error_names(cases[i].text);
    assert_null(region);
  }
  assert_true(is_reserved(range) && is_reserved(range + 3 * MIB));
  assert_status(hmc_region_create(pair->there, NULL, &region), HMC_INVALID_CONFIG);
  close(open);
  close(sealed);
  munmap(range, 16 * MIB);
}

/* The kernel ends who makes a file above the limit, and shared memory is a file. */
void create_under_a_limit_of_files(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region = NULL;
  hmc_region_options_t options = named("limited", MIB);
  struct rlimit before, tight;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  tight = before;
  tight.rlim_cur = MIB - 1;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  hmc_status_t status = hmc_region_create(pair->there, &options, &region);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_status(status, HMC_NO_MEMORY);
  assert_error_names("ulimit -f");
  assert_success(hmc_region_create(pair->there, &options, &region));
  hmc_region_close(region);
}

void create_for_older_programs(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region;
  struct {
    hmc_region_options_t known;
    uint64_t later;
  } newer = {HMC_REGION_OPTIONS_INIT, 0};
  newer.known.bytes = PAGE;
  newer.known.size = sizeof newer;
  assert_success(hmc_region_create(pair->there, &newer.known, &region));
  hmc_region_close(region);
  newer.later = 1;
  assert_status(hmc_region_create(pair->there, &newer.known, &region), HMC_UNSUPPORT);
  newer.known.size = 4;
  assert_status(hmc_region_create(pair->there, &newer.known, &region), HMC_INVALID_CONFIG);
}

void retained_regions_stay(void **state) {
  context_pair_t *pair = *state;
  hmc_region_t *region;
  hmc_remote_t *remote;
  hmc_region_options_t options = named("kept", PAGE);
  test_buffer_t near = near_make(pair, PAGE, false);
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_success(hmc_remote_open(pair->peer, "kept", 0, &remote));
  hmc_region_retain(region);
  hmc_region_retain(region);
  hmc_region_release(region); /* not the last one */
  assert_success(hmc_put(near.region, 0, remote, 0, 8));
  hmc_region_close(region);
  assert_status(hmc_put(near.region, 0, remote, 0, 8), HMC_STALE);
  memset(hmc_region_pointer(region), 1, PAGE); /* still there */
  hmc_region_release(region);
  hmc_remote_close(remote);
  test_buffer_close(&near);
}
