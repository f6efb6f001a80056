/* What a backend does by its table, over the look-alike of its vendor: `backends KIND [old]`. With `old` the look-alike lacks
 * the vendor's newer calls. */
#include "../../src/memory/memory.h"

#include <dlfcn.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { SIZE = 300000 };

static hmc_memory_kind_t kind;
static const hmci_memory_ops_t *ops;
static bool is_old;
static void *library;
static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

static hmc_memory_t on(int device) { return (hmc_memory_t){kind, device}; }

static char *allocate(int device, size_t size) {
  void *pointer = NULL;
  if (ops->allocate(device, size, &pointer) != HMC_SUCCESS) fail_msg("%s", hmc_last_error());
  return pointer;
}

static void succeed(hmc_status_t status) {
  if (status != HMC_SUCCESS) fail_msg("%s: %s", hmc_status_name(status), hmc_last_error());
}

static void fill(int device, char *pointer, int seed, size_t size) {
  char *bytes = malloc(size);
  for (size_t i = 0; i < size; i++) bytes[i] = (char)(i * 7 + (size_t)seed + i / 251);
  succeed(ops->copy_from_host(device, pointer, bytes, size));
  free(bytes);
}

static void assert_filled(int device, const char *pointer, int seed, size_t first, size_t size) {
  char *bytes = malloc(size);
  succeed(ops->copy_to_host(device, bytes, pointer, size));
  for (size_t i = 0; i < size; i++) {
    size_t at = first + i;
    if (bytes[i] != (char)(at * 7 + (size_t)seed + at / 251)) fail_msg("byte %zu of %zu is wrong", i, size);
  }
  free(bytes);
}

static hmc_status_t finish(hmci_copy_t *copy) {
  hmc_status_t status;
  while ((status = ops->copy_done(copy)) == HMC_IN_PROGRESS) usleep(100);
  return status;
}

/* ---- the calling thread's device --------------------------------------------------------------------------------- */

static int call(const char *name, void *argument) {
  int (*function)(void *);
  void *address = dlsym(library, name);
  assert_non_null(address);
  memcpy(&function, &address, sizeof function);
  return function(argument);
}

/* Sets device 1 by the vendor's own call, uses device 0 by HMC, and asks. */
static void the_current_device_is_left_alone(void **state) {
  (void)state;
  static const struct {
    hmc_memory_kind_t kind;
    const char *set, *get;
  } names[] = {{HMC_MEMORY_AMD_GPU, "hipSetDevice", "hipGetDevice"},
               {HMC_MEMORY_MOORE_GPU, "musaSetDevice", "musaGetDevice"},
               {HMC_MEMORY_CAMBRICON_MLU, "cnrtSetDevice", "cnrtGetDevice"},
               {HMC_MEMORY_HUAWEI_ASCEND_NPU, "aclrtSetDevice", "aclrtGetDevice"}};
  void *context = (void *)1;
  int device = -1;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (names[i].kind == kind) call(names[i].set, (void *)(intptr_t)1);
  }
  char *pointer = allocate(0, SIZE);
  fill(0, pointer, 1, SIZE);
  assert_filled(0, pointer, 1, 0, SIZE);
  succeed(ops->free(0, pointer));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (names[i].kind != kind) continue;
    call(names[i].get, &device);
    assert_int_equal(device, 1);
    call(names[i].set, (void *)(intptr_t)0);
  }
  if (kind != HMC_MEMORY_NVIDIA_GPU) return;
  call("cuCtxGetCurrent", &context);
  assert_null(context);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void devices_say_what_they_are(void **state) {
  (void)state;
  hmc_memory_properties_t properties = HMC_MEMORY_PROPERTIES_INIT;
  succeed(hmc_memory_get_properties(on(1), &properties));
  assert_true(properties.name[0] && properties.driver[0]);
  assert_true(properties.features & HMC_MEMORY_STREAMS);
  if (kind != HMC_MEMORY_HUAWEI_ASCEND_NPU) assert_int_equal(strncmp(properties.pci, "0000:", 5), 0);
  assert_true(properties.total_bytes >= UINT64_C(1) << 30);
  hmc_memory_link_t link;
  succeed(hmc_memory_get_link(on(0), on(1), &link));
  assert_int_equal(link, HMC_MEMORY_LINK_DIRECT);
  assert_int_equal(hmc_memory_get_properties(on(2), &properties), HMC_NOT_FOUND);
}

static void memory_is_zeroed_and_known(void **state) {
  (void)state;
  char *pointer = allocate(1, SIZE), *host = malloc(SIZE);
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  memset(host, 1, SIZE);
  assert_int_equal((uintptr_t)pointer % 256, 0);
  succeed(ops->copy_to_host(1, host, pointer, SIZE));
  for (size_t i = 0; i < SIZE; i++) assert_int_equal(host[i], 0);
  succeed(hmc_memory_query(pointer + 5000, &info));
  assert_int_equal(info.memory.kind, kind);
  assert_int_equal(info.memory.device, 1);
  assert_ptr_equal(info.base, pointer);
  assert_int_equal(info.bytes, SIZE);
  succeed(hmc_memory_query(host, &info));
  assert_int_equal(info.memory.kind, HMC_MEMORY_CPU);
  assert_int_equal(ops->free(0, pointer), HMC_NOT_FOUND);
  assert_int_equal(ops->free(1, pointer + 1), HMC_NOT_FOUND);
  succeed(ops->free(1, pointer));
  assert_int_equal(ops->free(1, pointer), HMC_NOT_FOUND);
  free(host);
}

static void bad_copies_change_nothing(void **state) {
  (void)state;
  char *pointer = allocate(0, SIZE), host[64] = {0};
  fill(0, pointer, 3, SIZE);
  assert_int_equal(ops->copy_from_host(0, pointer + SIZE - 63, host, 64), HMC_OUT_OF_RANGE);
  assert_int_equal(ops->copy_to_host(0, host, pointer + SIZE - 63, 64), HMC_OUT_OF_RANGE);
  assert_int_equal(ops->copy_to_host(0, pointer, pointer + 64, 64), HMC_INVALID_CONFIG);
  assert_int_not_equal(ops->copy_from_host(0, host, host, 64), HMC_SUCCESS);
  assert_filled(0, pointer, 3, 0, SIZE);
  succeed(ops->free(0, pointer));
}

static void copies_between_devices(void **state) {
  (void)state;
  char *first = allocate(0, SIZE), *second = allocate(1, SIZE);
  fill(0, first, 9, SIZE);
  succeed(ops->copy_within(0, second, first, SIZE));
  assert_filled(1, second, 9, 0, SIZE);
  fill(1, second, 4, SIZE);
  succeed(hmc_memory_copy(first, on(0), second, on(1), SIZE));
  assert_filled(0, first, 4, 0, SIZE);
  succeed(ops->free(0, first));
  succeed(ops->free(1, second));
}

/* The function of a name in the vendor's library. */
static void find(const char *name, void *slot) {
  void *address = dlsym(library, name);
  assert_non_null(address);
  memcpy(slot, &address, sizeof address);
}

/* What HMC has copied between two devices went by peer access: the vendor says that it is enabled already. */
static void copies_open_the_way(void **state) {
  (void)state;
  enum { ALREADY = 704 };
  const char *vendor = kind == HMC_MEMORY_AMD_GPU ? "hip" : kind == HMC_MEMORY_MOORE_GPU ? "musa" : NULL;
  char *first = allocate(0, SIZE), *second = allocate(1, SIZE);
  succeed(ops->copy_within(0, second, first, SIZE));
  if (vendor) {
    char name[64];
    int (*enable)(int peer, unsigned flags);
    snprintf(name, sizeof name, "%sDeviceEnablePeerAccess", vendor);
    find(name, &enable);
    assert_int_equal(enable(1, 0), ALREADY);
    snprintf(name, sizeof name, "%sGetLastError", vendor);
    call(name, NULL);
  }
  if (kind == HMC_MEMORY_NVIDIA_GPU) {
    int (*retain)(void **, int), (*push)(void *), (*pop)(void **), (*enable)(void *, unsigned);
    void *contexts[2], *popped;
    find("cuDevicePrimaryCtxRetain", &retain);
    find("cuCtxPushCurrent_v2", &push);
    find("cuCtxPopCurrent_v2", &pop);
    find("cuCtxEnablePeerAccess", &enable);
    for (int i = 0; i < 2; i++) assert_int_equal(retain(&contexts[i], i), 0);
    assert_int_equal(push(contexts[0]), 0);
    assert_int_equal(enable(contexts[1], 0), ALREADY);
    assert_int_equal(pop(&popped), 0);
  }
  succeed(ops->free(0, first));
  succeed(ops->free(1, second));
}

/* Memory of its own physical pages is for all devices that can reach it. */
static void peerable_memory_is_for_all_devices(void **state) {
  (void)state;
  struct {
    int type, id;
  } location = {1, 1};
  int (*get_access)(unsigned long long *flags, const void *location, void *pointer);
  unsigned long long flags = 0;
  void *pointer;
  if (kind != HMC_MEMORY_NVIDIA_GPU || is_old) return; /* the others have no such memory */
  succeed(hmc_memory_allocate_peerable(on(0), SIZE, &pointer));
  find("cuMemGetAccess", &get_access);
  assert_int_equal(get_access(&flags, &location, pointer), 0);
  assert_int_equal(flags, 3);
  succeed(hmc_memory_free(on(0), pointer));
}

/* ---- copies in the background ------------------------------------------------------------------------------------ */

static void copies_end_in_order(void **state) {
  (void)state;
  char *pointer = allocate(0, SIZE), *one = malloc(SIZE), *two = malloc(SIZE), *back = calloc(1, SIZE);
  hmci_copy_t first, second, third;
  memset(one, 1, SIZE);
  memset(two, 2, SIZE);
  succeed(ops->copy_start(0, pointer, one, SIZE, false, &first));
  succeed(ops->copy_start(0, pointer, two, SIZE, false, &second));
  succeed(finish(&second));
  succeed(ops->copy_start(0, back, pointer, SIZE, true, &third));
  assert_int_equal(ops->copy_done(&third), HMC_IN_PROGRESS);
  succeed(finish(&third));
  assert_memory_equal(back, two, SIZE);
  succeed(finish(&first));
  assert_int_equal(ops->copy_done(&first), HMC_INVALID_CONFIG);
  succeed(ops->free(0, pointer));
  free(one);
  free(two);
  free(back);
}

static void batch(int to_device, char *to, const char *from, const size_t *at, uint32_t count, size_t size) {
  hmci_copy_piece_t *pieces = calloc(count, sizeof *pieces);
  hmci_copy_t copy;
  for (uint32_t i = 0; i < count; i++) pieces[i] = (hmci_copy_piece_t){to + at[i], from + at[i], size};
  succeed(ops->copy_batch_start(to_device, pieces, count, HMCI_COPY_WITHIN, &copy));
  succeed(finish(&copy));
  for (uint32_t i = 0; i < count; i++) assert_filled(to_device, to + at[i], 5, at[i], size);
  free(pieces);
}

/* Equal steps, many at odd places, few large ones, and across devices: what a backend may choose different ways for. */
static void batches_of_every_shape(void **state) {
  (void)state;
  char *from = allocate(0, SIZE), *to = allocate(0, SIZE), *there = allocate(1, SIZE);
  size_t steps[100], odd[100], few[] = {0, 70000, 200000};
  for (size_t i = 0; i < 100; i++) steps[i] = i * 2048;
  for (size_t i = 0; i < 100; i++) odd[i] = i * 2048 + i * i % 131;
  fill(0, from, 5, SIZE);
  batch(0, to, from, steps, 100, 1000);
  batch(0, to, from, odd, 100, 1531);
  batch(0, to, from, odd, 3, 17);
  batch(0, to, from, few, 3, 60000);
  batch(1, there, from, odd, 100, 1024);
  succeed(ops->free(0, from));
  succeed(ops->free(0, to));
  succeed(ops->free(1, there));
}

static void batches_with_the_host(void **state) {
  (void)state;
  char *device = allocate(0, SIZE), *host = calloc(1, SIZE);
  hmci_copy_piece_t pieces[80], wrong[2];
  hmci_copy_t copy;
  fill(0, device, 5, SIZE);
  for (size_t i = 0; i < 80; i++)
    pieces[i] = (hmci_copy_piece_t){host + i * 3001, device + i * 3001, i == 7 ? 0 : 2999};
  succeed(ops->copy_batch_start(0, pieces, 80, HMCI_COPY_TO_HOST, &copy));
  succeed(finish(&copy));
  char *again = allocate(0, SIZE);
  for (size_t i = 0; i < 80; i++) pieces[i] = (hmci_copy_piece_t){again + i * 3001, host + i * 3001, i == 7 ? 0 : 2999};
  succeed(ops->copy_batch_start(0, pieces, 80, HMCI_COPY_FROM_HOST, &copy));
  succeed(finish(&copy));
  for (size_t i = 0; i < 80; i++) assert_filled(0, again + i * 3001, 5, i * 3001, i == 7 ? 0 : 2999);
  wrong[0] = (hmci_copy_piece_t){again, host, 100};
  wrong[1] = (hmci_copy_piece_t){again + SIZE - 99, host, 100};
  assert_int_equal(ops->copy_batch_start(0, wrong, 2, HMCI_COPY_FROM_HOST, &copy), HMC_OUT_OF_RANGE);
  succeed(ops->free(0, device));
  succeed(ops->free(0, again));
  free(host);
}

static void streams_of_the_user(void **state) {
  (void)state;
  char *there = allocate(1, SIZE), *here = malloc(SIZE), *back = calloc(1, SIZE);
  hmc_memory_stream_t stream;
  hmci_event_t event;
  memset(here, 6, SIZE);
  succeed(hmc_memory_stream_create(on(1), &stream));
  succeed(hmc_memory_copy_async(there, on(1), here, cpu, SIZE, stream));
  succeed(hmc_memory_copy_async(back, cpu, there, on(1), SIZE, stream));
  assert_int_equal(back[SIZE - 1], 0);
  succeed(ops->event_record(1, stream, &event));
  hmc_status_t status;
  while ((status = ops->event_done(&event)) == HMC_IN_PROGRESS) usleep(100);
  succeed(status);
  assert_memory_equal(here, back, SIZE);
  hmc_memory_event_t *noted, *dropped;
  succeed(hmc_memory_event_record(on(1), stream, &noted));
  succeed(hmc_memory_event_record(on(1), stream, &dropped));
  hmc_memory_event_free(dropped); /* whether it has come or not */
  while ((status = hmc_memory_event_test(noted)) == HMC_IN_PROGRESS) sched_yield();
  succeed(status);
  succeed(hmc_memory_event_test(noted)); /* the answer stays */
  hmc_memory_event_free(noted);
  succeed(hmc_memory_stream_wait(on(1), stream));
  succeed(hmc_memory_stream_destroy(on(1), stream));
  succeed(ops->free(1, there));
  free(here);
  free(back);
}

/* ---- host memory, sharing ---------------------------------------------------------------------------------------- */

static void host_memory_is_pinned(void **state) {
  (void)state;
  void *pinned, *mine = aligned_alloc(4096, 8192);
  succeed(hmc_memory_host_allocate(on(0), 10000, &pinned));
  memset(pinned, 1, 10000);
  succeed(hmc_memory_host_free(on(0), pinned));
  if (ops->pin && kind != HMC_MEMORY_CAMBRICON_MLU) {
    succeed(hmc_memory_pin(on(0), mine, 8192));
    assert_int_not_equal(hmc_memory_pin(on(0), mine, 8192), HMC_SUCCESS);
    succeed(hmc_memory_unpin(on(0), mine));
    assert_int_not_equal(hmc_memory_unpin(on(0), mine), HMC_SUCCESS);
  } else {
    assert_int_equal(hmc_memory_pin(on(0), mine, 8192), HMC_UNSUPPORT);
  }
  free(mine);
}

static void peerable_memory_is_shared(void **state) {
  (void)state;
  void *pointer, *imported;
  hmci_memory_export_t exported;
  succeed(hmc_memory_allocate_peerable(on(0), SIZE, &pointer));
  fill(0, pointer, 8, SIZE);
  hmc_status_t status = ops->export_range(0, (char *)pointer + 100, 5000, &exported);
  if (status == HMC_SUCCESS) {
    assert_int_equal(exported.descriptor >= 0, kind == HMC_MEMORY_NVIDIA_GPU && !is_old);
    assert_int_equal(ops->import_range(0, &exported, 5001, &imported), HMC_OUT_OF_RANGE);
    succeed(ops->import_range(0, &exported, 5000, &imported)); /* this process's own */
    assert_ptr_equal(imported, (char *)pointer + 100);
    ops->release_import(0, imported, 5000);
    exported.handle[0] ^= 1;
    assert_int_equal(ops->import_range(0, &exported, 5000, &imported), HMC_CORRUPT);
    if (exported.descriptor >= 0) close(exported.descriptor);
  } else { /* a runtime without the calls: it says which one it lacks */
    assert_true(is_old);
    assert_int_equal(status, HMC_UNSUPPORT);
    assert_non_null(strstr(hmc_last_error(), "has no"));
  }
  succeed(hmc_memory_free(on(0), pointer));
  succeed(hmc_memory_query(pointer, &(hmc_memory_info_t)HMC_MEMORY_INFO_INIT));
}

/* What adapters wrote is made visible, or needs nothing: never an error. */
static void writes_are_made_visible(void **state) {
  (void)state;
  char *pointer = allocate(0, SIZE);
  if (ops->settle) succeed(ops->settle(0));
  succeed(ops->free(0, pointer));
}

static void dmabufs(void **state) {
  (void)state;
  char *pointer = allocate(0, SIZE);
  int descriptor = -1;
  uint64_t offset = 0;
  hmc_status_t status = ops->export_dmabuf(0, pointer, 5000, &descriptor, &offset);
  bool has = (kind == HMC_MEMORY_NVIDIA_GPU || kind == HMC_MEMORY_AMD_GPU) && !is_old;
  assert_int_equal(status, has ? HMC_SUCCESS : HMC_UNSUPPORT);
  assert_int_equal(offset, 0);
  if (descriptor >= 0) close(descriptor);
  succeed(ops->free(0, pointer));
}

static void a_child_is_told(void **state) {
  (void)state;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    int devices;
    bool told = hmc_memory_devices(kind, &devices) == HMC_UNSUPPORT && strstr(hmc_last_error(), "fork");
    _exit(told ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

int main(int argc, char **argv) {
  if (argc < 2 || hmc_memory_kind_parse(argv[1], &kind) != HMC_SUCCESS) return 2;
  is_old = argc > 2;
  if (hmci_memory_find((hmc_memory_t){kind, 1}, &ops) != HMC_SUCCESS) {
    fprintf(stderr, "%s\n", hmc_last_error());
    return 1;
  }
  static const char *const variables[] = {
      [HMC_MEMORY_NVIDIA_GPU] = "HMC_CUDA_LIBRARY",       [HMC_MEMORY_AMD_GPU] = "HMC_HIP_LIBRARY",
      [HMC_MEMORY_CAMBRICON_MLU] = "HMC_CNRT_LIBRARY",    [HMC_MEMORY_MOORE_GPU] = "HMC_MUSA_LIBRARY",
      [HMC_MEMORY_HUAWEI_ASCEND_NPU] = "HMC_ACL_LIBRARY",
  };
  library = dlopen(getenv(variables[kind]), RTLD_NOW | RTLD_NOLOAD);
  if (!library) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_current_device_is_left_alone),
      cmocka_unit_test(devices_say_what_they_are),
      cmocka_unit_test(memory_is_zeroed_and_known),
      cmocka_unit_test(bad_copies_change_nothing),
      cmocka_unit_test(copies_open_the_way), /* the first that copies between devices */
      cmocka_unit_test(copies_between_devices),
      cmocka_unit_test(copies_end_in_order),
      cmocka_unit_test(batches_of_every_shape),
      cmocka_unit_test(batches_with_the_host),
      cmocka_unit_test(streams_of_the_user),
      cmocka_unit_test(host_memory_is_pinned),
      cmocka_unit_test(peerable_memory_is_shared),
      cmocka_unit_test(peerable_memory_is_for_all_devices),
      cmocka_unit_test(writes_are_made_visible),
      cmocka_unit_test(dmabufs),
      cmocka_unit_test(a_child_is_told),
  };
  return cmocka_run_group_tests_name(argv[1], tests, NULL, NULL) ? 1 : 0;
}
