/* The runtimes of all five vendors in one process, over their look-alikes: bytes move between each pair of memories, of
 * both devices, by plain copies and between two contexts. */
#include <hmc.h>

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SIZE = 70000, PLACES = 12, PATIENCE_MS = 300000 };

/* Two devices of each vendor, and the host and a software device beside them. */
static const hmc_memory_t places[PLACES] = {
    {HMC_MEMORY_CPU, 0},
    {HMC_MEMORY_NVIDIA_GPU, 0},
    {HMC_MEMORY_NVIDIA_GPU, 1},
    {HMC_MEMORY_AMD_GPU, 0},
    {HMC_MEMORY_AMD_GPU, 1},
    {HMC_MEMORY_CAMBRICON_MLU, 0},
    {HMC_MEMORY_CAMBRICON_MLU, 1},
    {HMC_MEMORY_MOORE_GPU, 0},
    {HMC_MEMORY_MOORE_GPU, 1},
    {HMC_MEMORY_HUAWEI_ASCEND_NPU, 0},
    {HMC_MEMORY_HUAWEI_ASCEND_NPU, 1},
    {HMC_MEMORY_SIM, 0},
};

static const char *const libraries[] = {"HMC_CUDA_LIBRARY", "HMC_HIP_LIBRARY", "HMC_CNRT_LIBRARY", "HMC_MUSA_LIBRARY",
                                        "HMC_ACL_LIBRARY"};

static void succeed(hmc_status_t status) {
  if (status != HMC_SUCCESS) fail_msg("%s: %s", hmc_status_name(status), hmc_last_error());
}

/* Bytes that differ from pair to pair. */
static void fill(unsigned char *bytes, size_t from, size_t to) {
  for (size_t i = 0; i < SIZE; i++) bytes[i] = (unsigned char)(i * 7 + i / 251 + from * 31 + to * 17);
}

static void set(void *pointer, size_t place, const unsigned char *bytes) {
  succeed(hmc_memory_copy(pointer, places[place], bytes, places[0], SIZE));
}

static void expect(const void *pointer, size_t from, size_t to) {
  static unsigned char wanted[SIZE], found[SIZE];
  fill(wanted, from, to);
  succeed(hmc_memory_copy(found, places[0], pointer, places[to], SIZE));
  if (memcmp(wanted, found, SIZE) != 0)
    fail_msg("%s:%d to %s:%d: wrong bytes", hmc_memory_kind_name(places[from].kind), places[from].device,
             hmc_memory_kind_name(places[to].kind), places[to].device);
}

static void all_are_loaded(void **state) {
  (void)state;
  for (size_t i = 0; i < PLACES; i++) {
    int devices = 0;
    succeed(hmc_memory_devices(places[i].kind, &devices));
    assert_true(devices > places[i].device);
  }
  for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
    void *library = dlopen(getenv(libraries[i]), RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(library);
    dlclose(library);
  }
}

static void copies(void **state) {
  (void)state;
  static unsigned char bytes[SIZE];
  void *pointers[PLACES];
  for (size_t i = 0; i < PLACES; i++) succeed(hmc_memory_allocate(places[i], SIZE, &pointers[i]));
  for (size_t from = 0; from < PLACES; from++) {
    for (size_t to = 0; to < PLACES; to++) {
      if (from == to) continue;
      fill(bytes, from, to);
      set(pointers[from], from, bytes);
      succeed(hmc_memory_copy(pointers[to], places[to], pointers[from], places[from], SIZE));
      expect(pointers[to], from, to);
    }
  }
  for (size_t i = 0; i < PLACES; i++) succeed(hmc_memory_free(places[i], pointers[i]));
}

/* A pointer is known as its vendor's, the one who else is asked about it. */
static void pointers_are_told_apart(void **state) {
  (void)state;
  void *pointers[PLACES];
  for (size_t i = 0; i < PLACES; i++) succeed(hmc_memory_allocate(places[i], SIZE, &pointers[i]));
  for (size_t i = 0; i < PLACES; i++) {
    hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
    succeed(hmc_memory_query((char *)pointers[i] + 100, &info));
    assert_int_equal(info.memory.kind, places[i].kind);
    assert_int_equal(info.memory.device, places[i].device);
  }
  for (size_t i = 0; i < PLACES; i++) succeed(hmc_memory_free(places[i], pointers[i]));
}

typedef struct ends {
  hmc_context_t *here, *there;
  hmc_region_t *near[PLACES], *far[PLACES];
  hmc_remote_t *remotes[PLACES];
} ends_t;

static void ends_open(ends_t *ends, hmc_connection_type_t type) {
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  hmc_peer_t *peer;
  uint16_t port;
  options.timeout_ms = PATIENCE_MS;
  succeed(hmc_context_create(&options, &ends->here));
  succeed(hmc_context_create(&options, &ends->there));
  succeed(hmc_context_listen(ends->there, "127.0.0.1", 0, &port));
  succeed(hmc_context_connect(ends->here, "127.0.0.1", port, type, 0, &peer));
  for (size_t i = 0; i < PLACES; i++) {
    char name[32];
    snprintf(name, sizeof name, "far%zu", i);
    succeed(hmc_region_allocate(ends->here, places[i], SIZE, NULL, 0, &ends->near[i]));
    succeed(hmc_region_allocate(ends->there, places[i], SIZE, name, HMC_REMOTE_ALL, &ends->far[i]));
    succeed(hmc_remote_open(peer, name, 0, &ends->remotes[i]));
  }
}

static void transfers(hmc_connection_type_t type) {
  static unsigned char bytes[SIZE];
  ends_t ends;
  ends_open(&ends, type);
  for (size_t from = 0; from < PLACES; from++) {
    for (size_t to = 0; to < PLACES; to++) {
      fill(bytes, from, to);
      set(hmc_region_pointer(ends.near[from]), from, bytes);
      succeed(hmc_put(ends.near[from], 0, ends.remotes[to], 0, SIZE));
      expect(hmc_region_pointer(ends.far[to]), from, to);
      fill(bytes, to, from);
      set(hmc_region_pointer(ends.far[to]), to, bytes);
      succeed(hmc_get(ends.near[from], 0, ends.remotes[to], 0, SIZE));
      expect(hmc_region_pointer(ends.near[from]), to, from);
    }
  }
  hmc_context_destroy(ends.here);
  hmc_context_destroy(ends.there);
}

static void transfers_within_the_host(void **state) {
  (void)state;
  transfers(HMC_CONNECTION_SHM);
}

static void transfers_over_tcp(void **state) {
  (void)state;
  transfers(HMC_CONNECTION_TCP);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_are_loaded),          cmocka_unit_test(copies),
      cmocka_unit_test(pointers_are_told_apart), cmocka_unit_test(transfers_within_the_host),
      cmocka_unit_test(transfers_over_tcp),
  };
  return cmocka_run_group_tests_name("together", tests, NULL, NULL) ? 1 : 0;
}
