#include "memory.h"
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static const hmc_memory_t cpu = {.kind = HMC_MEMORY_CPU, .device = 0};
static const hmc_memory_t sim = {.kind = HMC_MEMORY_SIM, .device = 0};
static const hmc_memory_t other_sim = {.kind = HMC_MEMORY_SIM, .device = 1};
static const hmc_memory_t nvidia = {.kind = HMC_MEMORY_NVIDIA_GPU, .device = 0};
static const hmc_memory_t by_default = {.kind = HMC_MEMORY_DEFAULT, .device = 0};

/* ---- an accelerator whose every copy is watched ------------------------------------------------------------------ */

static struct {
  hmc_status_t open_status;
  int devices;
  char bytes[4 * MIB];  /* its memory */
  size_t extent;        /* what of it counts as allocated */
  size_t largest;       /* copy so far */
  int copies, fails_at; /* copies so far; the one that fails, -1: none */
} fake;

static hmc_status_t fake_open(int *devices) {
  if (fake.open_status != HMC_SUCCESS) {
    return hmci_fail(fake.open_status, "fake: no driver");
  }
  *devices = fake.devices;
  return HMC_SUCCESS;
}

static hmc_status_t fake_copy(int device, void *destination, const void *source, size_t size) {
  assert_int_equal(device, 0);
  if (fake.copies++ == fake.fails_at) {
    return hmci_fail(HMC_ERROR, "fake: copy failed");
  }
  fake.largest = size > fake.largest ? size : fake.largest;
  memmove(destination, source, size);
  return HMC_SUCCESS;
}

static hmc_status_t fake_query(const void *pointer, hmc_memory_info_t *info) {
  if ((const char *)pointer < fake.bytes || (const char *)pointer >= fake.bytes + fake.extent) {
    return hmci_fail(HMC_NOT_FOUND, "fake: not mine");
  }
  *info = (hmc_memory_info_t){
      .size = sizeof(hmc_memory_info_t), .memory = nvidia, .base = fake.bytes, .bytes = fake.extent};
  return HMC_SUCCESS;
}

static const hmci_memory_ops_t fake_ops = {
    .kind = HMC_MEMORY_NVIDIA_GPU,
    .name = "fake",
    .open = fake_open,
    .copy_from_host = fake_copy,
    .copy_to_host = fake_copy,
    .query = fake_query,
};
static const hmci_memory_ops_t fake_moore_ops = {.kind = HMC_MEMORY_MOORE_GPU, .name = "fake", .open = fake_open};
static const hmci_memory_ops_t empty_ops = {.kind = HMC_MEMORY_NVIDIA_GPU, .name = "empty", .open = fake_open};

static int set_up(void **state) {
  (void)state;
  setenv("HMC_SIM_DEVICES", "2", 1);
  setenv("HMC_SIM_BANDWIDTH", "0", 1);
  setenv("HMC_SIM_LATENCY", "0", 1);
  assert_int_equal(hmci_sim_reread(), HMC_SUCCESS);
  memset(&fake, 0, sizeof(fake));
  fake.devices = 1;
  fake.fails_at = -1;
  fake.extent = sizeof(fake.bytes);
  for (int kind = HMC_MEMORY_NVIDIA_GPU; kind < HMC_MEMORY_SIM; kind++) {
    hmci_memory_replace((hmc_memory_kind_t)kind, NULL);
  }
  return 0;
}

static char *allocate(hmc_memory_t memory, size_t size) {
  void *pointer = NULL;
  assert_int_equal(hmc_memory_allocate(memory, size, &pointer), HMC_SUCCESS);
  return pointer;
}

static void release(hmc_memory_t memory, void *pointer) {
  assert_int_equal(hmc_memory_free(memory, pointer), HMC_SUCCESS);
}

static char *random_bytes(size_t size) {
  char *bytes = malloc(size);
  assert_non_null(bytes);
  hmci_random(bytes, size);
  return bytes;
}

/* ---- kinds and devices ------------------------------------------------------------------------------------------- */

static void test_names_go_both_ways(void **state) {
  (void)state;
  static const char *const names[] = {"default", "cpu", "nvidia", "amd", "mlu", "ascend", "moore", "sim"};
  hmc_memory_kind_t kind;
  for (int i = 0; i < 8; i++) {
    assert_string_equal(hmc_memory_kind_name((hmc_memory_kind_t)i), names[i]);
    assert_int_equal(hmc_memory_kind_parse(names[i], &kind), HMC_SUCCESS);
    assert_int_equal(kind, i);
  }
  assert_string_equal(hmc_memory_kind_name((hmc_memory_kind_t)8), "unknown");
  assert_string_equal(hmc_memory_kind_name((hmc_memory_kind_t)-1), "unknown");
  assert_int_equal(hmc_memory_kind_parse("gpu", &kind), HMC_NOT_FOUND);
  assert_non_null(strstr(hmc_last_error(), "\"gpu\""));
  assert_int_equal(kind, HMC_MEMORY_SIM);
  assert_int_equal(hmc_memory_kind_parse(NULL, &kind), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_kind_parse("cpu", NULL), HMC_INVALID_CONFIG);
}

static void test_kinds_without_a_backend_say_what_is_missing(void **state) {
  (void)state;
  static const struct {
    int kind;
    const char *text;
  } cases[] = {
      {HMC_MEMORY_NVIDIA_GPU, "nvidia memory: this build of HMC lacks the CUDA backend"},
      {HMC_MEMORY_AMD_GPU, "amd memory: this build of HMC lacks the HIP backend"},
      {HMC_MEMORY_CAMBRICON_MLU, "mlu memory: this build of HMC lacks the CNRT backend"},
      {HMC_MEMORY_HUAWEI_ASCEND_NPU, "ascend memory: this build of HMC lacks the ACL backend"},
      {HMC_MEMORY_MOORE_GPU, "moore memory: this build of HMC lacks the MUSA backend"},
      {99, "99 is not a kind of memory"},
      {-1, "-1 is not a kind of memory"},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    hmc_memory_t memory = {.kind = (hmc_memory_kind_t)cases[i].kind};
    hmc_memory_t resolved = {.device = 55};
    int devices = 55;
    void *pointer = &devices;
    assert_int_equal(hmc_memory_devices(memory.kind, &devices), HMC_UNSUPPORT);
    assert_string_equal(hmc_last_error(), cases[i].text);
    assert_int_equal(hmc_memory_resolve(memory, &resolved), HMC_UNSUPPORT);
    assert_int_equal(hmc_memory_allocate(memory, 1, &pointer), HMC_UNSUPPORT);
    assert_int_equal(hmc_memory_free(memory, pointer), HMC_UNSUPPORT);
    assert_int_equal(hmc_memory_copy(pointer, memory, pointer, cpu, 1), HMC_UNSUPPORT);
    assert_int_equal(hmc_memory_copy(pointer, cpu, pointer, memory, 1), HMC_UNSUPPORT);
    assert_int_equal(devices, 55);
    assert_int_equal(resolved.device, 55);
    assert_ptr_equal(pointer, &devices);
  }
}

static void test_devices_are_counted_and_checked(void **state) {
  (void)state;
  int devices = 0;
  hmc_memory_t resolved;
  assert_int_equal(hmc_memory_devices(HMC_MEMORY_CPU, &devices), HMC_SUCCESS);
  assert_int_equal(devices, 1);
  assert_int_equal(hmc_memory_devices(HMC_MEMORY_SIM, &devices), HMC_SUCCESS);
  assert_int_equal(devices, 2);
  assert_int_equal(hmc_memory_devices(HMC_MEMORY_CPU, NULL), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_resolve(other_sim, &resolved), HMC_SUCCESS);
  assert_int_equal(resolved.kind, HMC_MEMORY_SIM);
  assert_int_equal(resolved.device, 1);
  assert_int_equal(hmc_memory_resolve((hmc_memory_t){HMC_MEMORY_SIM, 2}, &resolved), HMC_NOT_FOUND);
  assert_string_equal(hmc_last_error(), "sim memory has no device 2: there are 2");
  assert_int_equal(hmc_memory_resolve((hmc_memory_t){HMC_MEMORY_CPU, -1}, &resolved), HMC_NOT_FOUND);
  assert_string_equal(hmc_last_error(), "cpu memory has no device -1: there is 1");
  assert_int_equal(hmc_memory_resolve(cpu, NULL), HMC_INVALID_CONFIG);
}

static int resolved_default(void) {
  hmc_memory_t resolved = {.kind = HMC_MEMORY_DEFAULT};
  assert_int_equal(hmc_memory_resolve(by_default, &resolved), HMC_SUCCESS);
  return (int)resolved.kind;
}

static void test_the_default_is_the_first_accelerator_that_works(void **state) {
  (void)state;
  hmci_fail(HMC_ERROR, "as before");
  assert_int_equal(resolved_default(), HMC_MEMORY_CPU); /* sim works, but is never the default */
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  assert_int_equal(resolved_default(), HMC_MEMORY_NVIDIA_GPU);
  fake.devices = 0;
  assert_int_equal(resolved_default(), HMC_MEMORY_CPU);
  fake.open_status = HMC_UNSUPPORT;
  assert_int_equal(resolved_default(), HMC_MEMORY_CPU);
  assert_string_equal(hmc_last_error(), "as before");
  fake.open_status = HMC_SUCCESS;
  fake.devices = 3;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, NULL);
  hmci_memory_replace(HMC_MEMORY_MOORE_GPU, &fake_moore_ops);
  assert_int_equal(resolved_default(), HMC_MEMORY_MOORE_GPU);
  int devices = 0;
  assert_int_equal(hmc_memory_devices(HMC_MEMORY_DEFAULT, &devices), HMC_SUCCESS);
  assert_int_equal(devices, 3);
}

static void test_default_memory_is_used_like_any(void **state) {
  (void)state;
  char *pointer = allocate(by_default, 100);
  memcpy(pointer, "plain", 6); /* no accelerator: host memory */
  char text[6];
  assert_int_equal(hmc_memory_copy(text, cpu, pointer, by_default, 6), HMC_SUCCESS);
  assert_string_equal(text, "plain");
  release(by_default, pointer);
}

static void test_a_kind_that_does_not_open_gives_its_reason(void **state) {
  (void)state;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  fake.open_status = HMC_UNSUPPORT;
  int devices = 55;
  assert_int_equal(hmc_memory_devices(HMC_MEMORY_NVIDIA_GPU, &devices), HMC_UNSUPPORT);
  assert_string_equal(hmc_last_error(), "fake: no driver");
  assert_int_equal(devices, 55);
}

static void test_missing_ops_are_unsupported(void **state) {
  (void)state;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &empty_ops);
  char bytes[4] = "abc";
  void *pointer = bytes;
  assert_int_equal(hmc_memory_allocate(nvidia, 1, &pointer), HMC_UNSUPPORT);
  assert_string_equal(hmc_last_error(), "empty memory has no way to allocate");
  assert_int_equal(hmc_memory_free(nvidia, bytes), HMC_UNSUPPORT);
  assert_int_equal(hmc_memory_copy(bytes, nvidia, bytes, cpu, 1), HMC_UNSUPPORT);
  assert_string_equal(hmc_last_error(), "empty memory has no way to copy from the host");
  assert_int_equal(hmc_memory_copy(bytes, cpu, bytes, nvidia, 1), HMC_UNSUPPORT);
  assert_int_equal(hmc_memory_copy(bytes, nvidia, bytes, sim, 1), HMC_UNSUPPORT);
  assert_int_equal(hmc_memory_copy(bytes, sim, bytes, nvidia, 1), HMC_UNSUPPORT);
  assert_int_equal(hmc_memory_copy(bytes, nvidia, bytes, nvidia, 1), HMC_UNSUPPORT);
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  assert_int_equal(hmc_memory_query(bytes, &info), HMC_SUCCESS);
  assert_ptr_equal(pointer, bytes);
}

/* ---- allocating -------------------------------------------------------------------------------------------------- */

static void test_allocate_and_free_check_their_arguments(void **state) {
  (void)state;
  void *pointer = NULL;
  assert_int_equal(hmc_memory_allocate(cpu, 0, &pointer), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_allocate(cpu, 1, NULL), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_allocate((hmc_memory_t){HMC_MEMORY_CPU, 1}, 1, &pointer), HMC_NOT_FOUND);
  assert_null(pointer);
  assert_int_equal(hmc_memory_free(cpu, NULL), HMC_SUCCESS);
  assert_int_equal(hmc_memory_free(sim, NULL), HMC_SUCCESS);
  char *allocated = allocate(sim, 100);
  assert_int_equal(hmc_memory_free(other_sim, allocated), HMC_NOT_FOUND);
  assert_int_equal(hmc_memory_free(cpu, allocated), HMC_NOT_FOUND);
  release(sim, allocated);
  assert_int_equal(hmc_memory_free(sim, allocated), HMC_NOT_FOUND);
}

static void test_query_finds_the_owner(void **state) {
  (void)state;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  hmci_fail(HMC_ERROR, "as before");
  char *device = allocate(other_sim, 5000), *host = allocate(cpu, 100);
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  assert_int_equal(hmc_memory_query(device + 10, &info), HMC_SUCCESS);
  assert_int_equal(info.memory.kind, HMC_MEMORY_SIM);
  assert_int_equal(info.memory.device, 1);
  assert_ptr_equal(info.base, device);
  assert_int_equal(info.bytes, 5000);
  assert_int_equal(hmc_memory_query(fake.bytes + 5, &info), HMC_SUCCESS);
  assert_int_equal(info.memory.kind, HMC_MEMORY_NVIDIA_GPU);
  fake.open_status = HMC_UNSUPPORT; /* then nothing is its own */
  assert_int_equal(hmc_memory_query(fake.bytes + 5, &info), HMC_SUCCESS);
  assert_int_equal(info.memory.kind, HMC_MEMORY_CPU);
  assert_int_equal(hmc_memory_query(host, &info), HMC_SUCCESS);
  assert_int_equal(info.memory.kind, HMC_MEMORY_CPU);
  assert_int_equal(info.memory.device, 0);
  assert_null(info.base);
  assert_int_equal(info.bytes, 0);
  assert_string_equal(hmc_last_error(), "as before");
  assert_int_equal(hmc_memory_query(NULL, &info), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_query(host, NULL), HMC_INVALID_CONFIG);
  release(other_sim, device);
  release(cpu, host);
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

static void test_copies_in_all_directions(void **state) {
  (void)state;
  enum { SIZE = 100000 };
  char *source = random_bytes(SIZE), *destination = malloc(SIZE);
  assert_non_null(destination);
  char *host = allocate(cpu, SIZE), *first = allocate(sim, SIZE), *second = allocate(other_sim, SIZE);
  assert_int_equal(hmc_memory_copy(host, cpu, source, cpu, SIZE), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy(first, sim, host, cpu, SIZE), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy(second, other_sim, first, sim, SIZE), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy(destination, cpu, second, other_sim, SIZE), HMC_SUCCESS);
  assert_memory_equal(destination, source, SIZE);
  release(cpu, host);
  release(sim, first);
  release(other_sim, second);
  free(source);
  free(destination);
}

static void test_copy_checks_its_arguments(void **state) {
  (void)state;
  char bytes[10] = "";
  char *device = allocate(sim, 10);
  assert_int_equal(hmc_memory_copy(NULL, cpu, bytes, cpu, 1), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_copy(bytes, cpu, NULL, sim, 1), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_copy(NULL, cpu, NULL, sim, 0), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy(NULL, (hmc_memory_t){HMC_MEMORY_SIM, 2}, NULL, sim, 0), HMC_NOT_FOUND);
  assert_int_equal(hmc_memory_copy(device, sim, bytes, cpu, 11), HMC_OUT_OF_RANGE);
  assert_int_equal(hmc_memory_copy(bytes, cpu, device + 1, sim, 10), HMC_OUT_OF_RANGE);
  release(sim, device);
}

static void test_two_kinds_meet_in_a_bounded_buffer(void **state) {
  (void)state;
  enum { SIZE = 3 * (1 << 20) + 5 };
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  char *source = random_bytes(SIZE), *destination = malloc(SIZE);
  assert_non_null(destination);
  char *device = allocate(sim, SIZE + 1);
  assert_int_equal(hmc_memory_copy(device + 1, sim, source, cpu, SIZE), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy(fake.bytes + 3, nvidia, device + 1, sim, SIZE), HMC_SUCCESS);
  assert_memory_equal(fake.bytes + 3, source, SIZE);
  assert_true(fake.largest <= MIB);
  assert_int_equal(fake.copies, 4);
  assert_int_equal(hmc_memory_copy(device, sim, fake.bytes + 3, nvidia, SIZE), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy(destination, cpu, device, sim, SIZE), HMC_SUCCESS);
  assert_memory_equal(destination, source, SIZE);
  assert_true(fake.largest <= MIB);
  release(sim, device);
  free(source);
  free(destination);
}

static void test_a_long_copy_past_the_end_moves_nothing(void **state) {
  (void)state;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  fake.extent = 2 * MIB;
  char *device = allocate(sim, 3 * MIB);
  assert_int_equal(hmc_memory_copy(fake.bytes, nvidia, device, sim, 2 * MIB + 1), HMC_OUT_OF_RANGE);
  assert_non_null(strstr(hmc_last_error(), "run past the allocation's 2097152 B"));
  assert_int_equal(hmc_memory_copy(device + 2 * MIB, sim, fake.bytes, nvidia, MIB + 1), HMC_OUT_OF_RANGE);
  assert_int_equal(hmc_memory_copy(fake.bytes, nvidia, device + 2 * MIB, sim, MIB + 1), HMC_OUT_OF_RANGE);
  assert_int_equal(fake.copies, 0);
  release(sim, device);
}

static void test_a_failing_piece_ends_the_copy(void **state) {
  (void)state;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  char *device = allocate(sim, 3 * MIB);
  fake.fails_at = 1;
  assert_int_equal(hmc_memory_copy(fake.bytes, nvidia, device, sim, 3 * MIB), HMC_ERROR);
  assert_string_equal(hmc_last_error(), "fake: copy failed");
  assert_int_equal(fake.copies, 2);
  release(sim, device);
}

static void test_overlapping_copies_without_an_own_way(void **state) {
  (void)state;
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &fake_ops);
  char *source = random_bytes(3 * MIB);
  memcpy(fake.bytes, source, 3 * MIB);
  assert_int_equal(hmc_memory_copy(fake.bytes + 100, nvidia, fake.bytes, nvidia, 3 * MIB), HMC_SUCCESS);
  assert_memory_equal(fake.bytes + 100, source, 3 * MIB);
  assert_int_equal(hmc_memory_copy(fake.bytes + 9, nvidia, fake.bytes + 100, nvidia, 3 * MIB), HMC_SUCCESS);
  assert_memory_equal(fake.bytes + 9, source, 3 * MIB);
  free(source);
}

static int clear_environment(void **state) {
  (void)state;
  for (char **entry = environ; *entry != NULL;) {
    char name[64];
    if (strncmp(*entry, "HMC_", 4) == 0 && sscanf(*entry, "%63[^=]", name) == 1) {
      unsetenv(name);
      entry = environ;
    } else {
      entry++;
    }
  }
  return 0;
}

int main(void) {
#define WITH_SET_UP(test) cmocka_unit_test_setup(test, set_up)
  const struct CMUnitTest tests[] = {
      WITH_SET_UP(test_names_go_both_ways),
      WITH_SET_UP(test_kinds_without_a_backend_say_what_is_missing),
      WITH_SET_UP(test_devices_are_counted_and_checked),
      WITH_SET_UP(test_the_default_is_the_first_accelerator_that_works),
      WITH_SET_UP(test_default_memory_is_used_like_any),
      WITH_SET_UP(test_a_kind_that_does_not_open_gives_its_reason),
      WITH_SET_UP(test_missing_ops_are_unsupported),
      WITH_SET_UP(test_allocate_and_free_check_their_arguments),
      WITH_SET_UP(test_query_finds_the_owner),
      WITH_SET_UP(test_copies_in_all_directions),
      WITH_SET_UP(test_copy_checks_its_arguments),
      WITH_SET_UP(test_two_kinds_meet_in_a_bounded_buffer),
      WITH_SET_UP(test_a_long_copy_past_the_end_moves_nothing),
      WITH_SET_UP(test_a_failing_piece_ends_the_copy),
      WITH_SET_UP(test_overlapping_copies_without_an_own_way),
  };
  return cmocka_run_group_tests(tests, clear_environment, clear_environment);
}
