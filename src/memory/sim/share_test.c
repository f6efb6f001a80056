/* What other processes get of the software accelerator's memory: exports, imports, dma-bufs. */
#include "sim_test.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* One who maps the descriptor sees the device's bytes, and a range has its place in it. */
static void test_a_dmabuf_shares_the_bytes(void **state) {
  (void)state;
  char *pointer = allocate(1, 10000);
  int descriptor = -1;
  uint64_t offset = 0;
  fill(1, pointer, 7, 10000);
  assert_int_equal(sim->export_dmabuf(1, pointer + 5000, 5000, &descriptor, &offset), HMC_SUCCESS);
  assert_int_equal(offset, 5000);
  char *mapping = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  assert_ptr_not_equal(mapping, MAP_FAILED);
  close(descriptor);
  assert_int_equal(mapping[9999], 7);
  mapping[9999] = 8;
  char byte = 0;
  assert_int_equal(sim->copy_to_host(1, &byte, pointer + 9999, 1), HMC_SUCCESS);
  assert_int_equal(byte, 8);
  munmap(mapping, 10000);
  descriptor = -1;
  assert_int_equal(sim->export_dmabuf(1, pointer + 5000, 5001, &descriptor, &offset), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->export_dmabuf(0, pointer, 100, &descriptor, &offset), HMC_UNSUPPORT);
  assert_int_equal(sim->export_dmabuf(1, &descriptor, 1, &descriptor, &offset), HMC_OUT_OF_RANGE);
  assert_int_equal(descriptor, -1);
  release(1, pointer);
}

static void test_an_import_shares_the_bytes(void **state) {
  (void)state;
  char *pointer = allocate(1, 5000);
  fill(1, pointer, 6, 5000);
  hmci_memory_export_t exported;
  assert_int_equal(sim->export_range(1, pointer, 5000, &exported), HMC_SUCCESS);
  assert_true(exported.size <= HMCI_MEMORY_EXPORT_MAX);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    void *imported;
    char bytes[5000];
    int failures = sim->free(1, pointer) != HMC_SUCCESS; /* of this process only */
    failures += sim->import_range(0, &exported, 5000, &imported) != HMC_SUCCESS;
    failures += sim->copy_to_host(0, bytes, imported, 5000) != HMC_SUCCESS || bytes[4999] != 6;
    failures += sim->copy_from_host(0, (char *)imported + 10, "new", 3) != HMC_SUCCESS;
    sim->release_import(0, imported, 5000);
    _exit(failures);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  close(exported.descriptor);
  char text[5] = "";
  assert_int_equal(sim->copy_to_host(1, text, pointer + 9, 4), HMC_SUCCESS);
  assert_string_equal(text, "\6new");
  release(1, pointer);
}

static void test_an_import_behaves_like_memory(void **state) {
  (void)state;
  char *pointer = allocate(0, 5000);
  hmci_memory_export_t exported, again;
  void *imported;
  assert_int_equal(sim->export_range(0, pointer, 5000, &exported), HMC_SUCCESS);
  assert_int_equal(sim->import_range(1, &exported, 4000, &imported), HMC_SUCCESS);
  close(exported.descriptor);
  assert_host_access_faults(imported);
  release(0, pointer); /* the bytes stay for the importer */
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  assert_int_equal(sim->query((char *)imported + 1, &info), HMC_SUCCESS);
  assert_int_equal(info.memory.device, 1);
  assert_int_equal(info.bytes, 4000);
  fill(1, imported, 8, 4000);
  assert_filled(1, imported, 8, 4000);
  assert_int_equal(sim->copy_from_host(1, imported, "x", 4001), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->free(1, imported), HMC_NOT_FOUND);
  assert_int_equal(sim->export_range(1, imported, 1, &again), HMC_NOT_FOUND);
  sim->release_import(1, imported, 4000);
  assert_int_equal(sim->query(imported, &info), HMC_NOT_FOUND);
}

static void test_an_import_of_a_range(void **state) {
  (void)state;
  char *pointer = allocate(0, 20000);
  fill(0, pointer, 1, 20000);
  fill(0, pointer + 7001, 2, 900);
  hmci_memory_export_t exported;
  void *imported;
  assert_int_equal(sim->export_range(0, pointer + 7001, 900, &exported), HMC_SUCCESS);
  assert_int_equal(sim->import_range(1, &exported, 901, &imported), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->import_range(1, &exported, 900, &imported), HMC_SUCCESS);
  close(exported.descriptor);
  assert_filled(1, imported, 2, 900);
  char byte;
  assert_int_equal(sim->copy_to_host(1, &byte, (char *)imported + 900, 1), HMC_OUT_OF_RANGE);
  sim->release_import(1, imported, 900);
  release(0, pointer);
}

static void count_records(hmc_log_level_t level, const char *text, void *count) {
  (void)level;
  (void)text;
  ++*(int *)count;
}

static void test_releasing_what_is_no_import_warns(void **state) {
  (void)state;
  int records = 0;
  hmc_log_set_level(HMC_LOG_WARNING);
  hmc_log_set_callback(count_records, &records);
  char *pointer = allocate(0, 100);
  sim->release_import(0, NULL, 0);
  assert_int_equal(records, 0);
  sim->release_import(0, pointer, 100);
  hmc_log_set_callback(NULL, NULL);
  assert_int_equal(records, 1);
  release(0, pointer);
}

static void test_exports_of_nothing(void **state) {
  (void)state;
  char *pointer = allocate(0, 5000);
  hmci_memory_export_t exported = {.descriptor = -7};
  assert_int_equal(sim->export_range(0, pointer + 1, 5000, &exported), HMC_NOT_FOUND);
  assert_int_equal(sim->export_range(1, pointer, 1, &exported), HMC_NOT_FOUND);
  assert_int_equal(sim->export_range(0, &exported, 1, &exported), HMC_NOT_FOUND);
  assert_int_equal(exported.descriptor, -7);
  release(0, pointer);
}

static void test_bad_handles_are_refused(void **state) {
  (void)state;
  char *pointer = allocate(0, 5000);
  hmci_memory_export_t good, bad;
  void *imported = NULL;
  assert_int_equal(sim->export_range(0, pointer, 5000, &good), HMC_SUCCESS);
  assert_int_equal(sim->import_range(0, &good, 5001, &imported), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->import_range(0, &good, 0, &imported), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->import_range(2, &good, 5000, &imported), HMC_NOT_FOUND);
  bad = good;
  bad.size--;
  assert_int_equal(sim->import_range(0, &bad, 5000, &imported), HMC_CORRUPT);
  bad = good;
  bad.handle[0] ^= 1;
  assert_int_equal(sim->import_range(0, &bad, 5000, &imported), HMC_CORRUPT);
  bad = good;
  memset(bad.handle + 8, 0xff, 8); /* claims more than the file has */
  assert_int_equal(sim->import_range(0, &bad, 9000, &imported), HMC_CORRUPT);
  assert_int_equal(sim->import_range(0, &bad, SIZE_MAX, &imported), HMC_CORRUPT);
  bad = good;
  bad.descriptor = -1;
  assert_int_equal(sim->import_range(0, &bad, 5000, &imported), HMC_CORRUPT);
  bad.descriptor = memfd_create("can-shrink", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  assert_int_equal(ftruncate(bad.descriptor, 8192), 0);
  assert_int_equal(sim->import_range(0, &bad, 5000, &imported), HMC_CORRUPT);
  close(bad.descriptor);
  assert_null(imported);
  close(good.descriptor);
  release(0, pointer);
}

static void test_an_importer_cannot_take_the_pages_away(void **state) {
  (void)state;
  char *pointer = allocate(0, 8192);
  hmci_memory_export_t exported;
  assert_int_equal(sim->export_range(0, pointer, 1, &exported), HMC_SUCCESS);
  assert_int_not_equal(ftruncate(exported.descriptor, 0), 0);
  close(exported.descriptor);
  release(0, pointer);
}

int main(void) {
#define WITH_TWO_DEVICES(test) cmocka_unit_test_setup(test, two_fast_devices)
  const struct CMUnitTest tests[] = {
      WITH_TWO_DEVICES(test_a_dmabuf_shares_the_bytes),
      WITH_TWO_DEVICES(test_an_import_shares_the_bytes),
      WITH_TWO_DEVICES(test_an_import_behaves_like_memory),
      WITH_TWO_DEVICES(test_an_import_of_a_range),
      WITH_TWO_DEVICES(test_releasing_what_is_no_import_warns),
      WITH_TWO_DEVICES(test_exports_of_nothing),
      WITH_TWO_DEVICES(test_bad_handles_are_refused),
      WITH_TWO_DEVICES(test_an_importer_cannot_take_the_pages_away),
  };
  return cmocka_run_group_tests(tests, clear_environment, clear_environment);
}
