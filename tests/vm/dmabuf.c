/* Regions made of a dma-buf, by every way between two processes: `dmabuf`. The dma-buf is one of the kernel's own
 * (vgem), which stands in for a driver's; the machine has it, others have none. Its pages are mapped by a driver, so
 * that the kernel neither pins them by their address nor copies them for another process. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of drm.h and drm_mode.h, which not every machine that builds this has. */
typedef struct dumb {
  uint32_t height, width, bits, flags, handle, pitch;
  uint64_t size;
} dumb_t;
typedef struct prime {
  uint32_t handle, flags;
  int32_t descriptor;
} prime_t;
#define MAKE_DUMB _IOWR('d', 0xb2, dumb_t)
#define GIVE_PRIME _IOWR('d', 0x2d, prime_t)

enum { BYTES = 1 << 20 };

static int make_dmabuf(void) {
  int card = open("/dev/dri/card0", O_RDWR | O_CLOEXEC);
  dumb_t dumb = {.height = BYTES / 4096, .width = 1024, .bits = 32};
  assert_true(card >= 0);
  assert_int_equal(ioctl(card, MAKE_DUMB, &dumb), 0);
  assert_int_equal(dumb.size, BYTES);
  prime_t prime = {.handle = dumb.handle, .flags = O_RDWR | O_CLOEXEC};
  assert_int_equal(ioctl(card, GIVE_PRIME, &prime), 0);
  close(card);
  return prime.descriptor;
}

static hmc_region_t *make_region(context_pair_t *pair, int descriptor) {
  hmc_region_t *region;
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.name = "dmabuf";
  options.descriptor = descriptor;
  options.rights = HMC_REMOTE_ALL;
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_int_equal(hmc_region_size(region), BYTES);
  return region;
}

/* What a peer puts is in the dma-buf, and what is there comes back. */
static void bytes_go_both_ways(void **state) {
  context_pair_t *pair = *state;
  char text[2048];
  int descriptor = make_dmabuf();
  hmc_region_t *region = make_region(pair, descriptor);
  uint8_t *view = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  assert_true(view != MAP_FAILED);
  close(descriptor); /* HMC has its own */
  hmc_remote_t *remote;
  test_buffer_t near = near_make(pair, BYTES, true);
  assert_success(hmc_remote_open(pair->peer, "dmabuf", 0, &remote));
  static const uint64_t lengths[] = {8, 100, 4096, 128 * KIB + 1, BYTES};
  for (uint8_t i = 0; i < COUNT_OF(lengths); i++) {
    bytes_fill(&near, 0, lengths[i], (uint8_t)(i + 1));
    assert_success(hmc_put(near.region, 0, remote, BYTES - lengths[i], lengths[i]));
    for (uint64_t at = BYTES - lengths[i]; at < BYTES; at++)
      if (view[at] != i + 1) fail_msg("byte %llu is %u, not %d", (unsigned long long)at, view[at], i + 1);
    memset(view, 0x50 + i, lengths[i]);
    assert_success(hmc_get(near.region, 0, remote, 0, lengths[i]));
    assert_int_equal(bytes_other(&near, 0, lengths[i], (uint8_t)(0x50 + i), (uint8_t)(0x50 + i)), 0);
  }
  uint64_t was;
  memset(view, 0, 8);
  assert_success(hmc_atomic(remote, 0, HMC_ATOMIC_ADD, 8, 5, 0, &was));
  assert_success(hmc_atomic(remote, 0, HMC_ATOMIC_ADD, 8, 5, 0, &was));
  assert_int_equal(was, 5);
  assert_int_equal(view[0], 10);
  assert_success(hmc_peer_explain(pair->peer, text, sizeof text, NULL));
  printf("%s\n", text);
  hmc_region_close(region);
  assert_status(hmc_put(near.region, 0, remote, 0, 8), HMC_STALE);
  hmc_remote_close(remote);
  test_buffer_close(&near);
  munmap(view, BYTES);
}

/* As the near side of an operation. The kernel does not copy that memory for another process: what would be read from
 * there goes by a socket. */
static void it_is_a_source_and_a_sink(void **state) {
  context_pair_t *pair = *state;
  hmc_remote_t *remote;
  int descriptor = make_dmabuf();
  hmc_region_t *region = make_region(pair, descriptor);
  close(descriptor);
  test_buffer_t far;
  assert_success(
      test_buffer_open(&far, pair->here, (hmc_memory_t){HMC_MEMORY_CPU, 0}, BYTES, "plain", HMC_REMOTE_ALL, true));
  assert_success(hmc_remote_open(pair->back, "plain", 0, &remote));
  memset(hmc_region_pointer(region), 7, BYTES);
  assert_success(hmc_put(region, 0, remote, 0, BYTES));
  assert_int_equal(bytes_other(&far, 0, BYTES, 7, 7), 0);
  bytes_fill(&far, 0, BYTES, 8);
  assert_success(hmc_get(region, 0, remote, 0, BYTES));
  for (uint64_t at = 0; at < BYTES; at++) assert_int_equal(((uint8_t *)hmc_region_pointer(region))[at], 8);
  hmc_remote_close(remote);
  hmc_region_close(region);
  test_buffer_close(&far);
}

int main(int argc, char **argv) {
  environment_open();
  setenv("HMC_LOG", "error", 1); /* that it is staged is meant */
  int failed = 0;
  static const char *const transports[] = {"shm", "shm_staged", "tcp", "verbs"};
#define TEST_CASE(name) cmocka_unit_test_setup_teardown(name, pair_case_open, pair_case_close)
  const struct CMUnitTest tests[] = {TEST_CASE(bytes_go_both_ways), TEST_CASE(it_is_a_source_and_a_sink)};
  (void)argv;
  for (size_t i = 0; i < COUNT_OF(transports) && argc == 1; i++) {
    if (!stamp_parse(transports[i], "cpu")) return 2;
    failed += _cmocka_run_group_tests(transports[i], tests, COUNT_OF(tests), NULL, NULL);
  }
  return failed || argc != 1;
}
