#include "sim_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int count_descriptors(void) {
  DIR *folder = opendir("/proc/self/fd");
  assert_non_null(folder);
  int count = 0;
  while (readdir(folder) != NULL) {
    count++;
  }
  closedir(folder);
  return count;
}

static int count_mappings(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  assert_non_null(maps);
  char line[512];
  int count = 0;
  while (fgets(line, sizeof(line), maps) != NULL) {
    count += strstr(line, "hmc-sim") != NULL;
  }
  fclose(maps);
  return count;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static void test_settings_are_read_at_the_first_call(void **state) {
  (void)state;
  int devices = -1;
  setenv("HMC_SIM_DEVICES", "many", 1);
  assert_int_equal(sim->open(&devices), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "sim: HMC_SIM_DEVICES=many"));
  assert_int_equal(devices, -1);
  setenv("HMC_SIM_DEVICES", "3", 1);
  assert_int_equal(sim->open(&devices), HMC_SUCCESS);
  assert_int_equal(devices, 3);
  setenv("HMC_SIM_DEVICES", "1", 1);
  assert_int_equal(sim->open(&devices), HMC_SUCCESS);
  assert_int_equal(devices, 3);
  assert_int_equal(hmci_sim_reread(), HMC_SUCCESS);
  assert_int_equal(sim->open(&devices), HMC_SUCCESS);
  assert_int_equal(devices, 1);
}

static void test_no_devices(void **state) {
  (void)state;
  configure("0", "0", "0");
  int devices = -1;
  void *pointer = NULL;
  assert_int_equal(sim->open(&devices), HMC_UNSUPPORT);
  assert_non_null(strstr(hmc_last_error(), "HMC_SIM_DEVICES is 0"));
  assert_int_equal(devices, -1);
  assert_int_equal(sim->allocate(0, 1, &pointer), HMC_NOT_FOUND);
  assert_null(pointer);
}

static void test_device_numbers_are_checked(void **state) {
  (void)state;
  void *pointer = NULL;
  char byte = 0;
  hmci_copy_t copy = {{0}};
  assert_int_equal(sim->allocate(2, 1, &pointer), HMC_NOT_FOUND);
  assert_int_equal(sim->allocate(-1, 1, &pointer), HMC_NOT_FOUND);
  assert_int_equal(sim->copy_from_host(2, &byte, &byte, 0), HMC_NOT_FOUND);
  assert_int_equal(sim->copy_start(-1, &byte, &byte, 0, true, &copy), HMC_NOT_FOUND);
  assert_null(pointer);
  assert_null(copy.state[0]);
  assert_non_null(strstr(hmc_last_error(), "sim:-1"));
}

/* ---- allocations ------------------------------------------------------------------------------------------------- */

static void test_memory_is_zeroed_aligned_and_out_of_reach(void **state) {
  (void)state;
  char *pointer = allocate(1, 10000);
  assert_int_equal((uintptr_t)pointer % 256, 0);
  assert_filled(1, pointer, 0, 10000);
  assert_host_access_faults(pointer);
  assert_host_access_faults(pointer + 9999);
  release(1, pointer);
}

static void test_what_does_not_fit_is_refused(void **state) {
  (void)state;
  void *pointer = &pointer;
  int descriptors = count_descriptors();
  assert_int_equal(sim->allocate(0, SIZE_MAX, &pointer), HMC_NO_MEMORY);
  assert_int_equal(sim->allocate(0, SIZE_MAX / 2, &pointer), HMC_NO_MEMORY);
  assert_int_equal(sim->allocate(0, SIZE_MAX / 4, &pointer), HMC_NO_MEMORY);
  assert_ptr_equal(pointer, &pointer);
  assert_int_equal(count_descriptors(), descriptors);
}

static void test_running_out_of_descriptors(void **state) {
  (void)state;
  struct rlimit before;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  char *kept = allocate(0, 100);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max}), 0);
  void *pointer = NULL;
  hmci_memory_export_t exported;
  hmc_status_t allocated = sim->allocate(0, 100, &pointer);
  hmc_status_t status = sim->export_range(0, kept, 1, &exported);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  assert_int_equal(allocated, HMC_NO_MEMORY);
  assert_int_equal(status, HMC_NO_MEMORY);
  assert_null(pointer);
  release(0, kept);
}

static void test_only_live_allocations_are_freed(void **state) {
  (void)state;
  char *pointer = allocate(0, 8192);
  int mine = 0;
  assert_int_equal(sim->free(0, pointer + 4096), HMC_NOT_FOUND);
  assert_int_equal(sim->free(1, pointer), HMC_NOT_FOUND);
  assert_int_equal(sim->free(0, &mine), HMC_NOT_FOUND);
  fill(0, pointer, 7, 8192);
  release(0, pointer);
  assert_int_equal(sim->free(0, pointer), HMC_NOT_FOUND);
}

static void test_query_tells_device_and_extent(void **state) {
  (void)state;
  char *pointer = allocate(1, 5000);
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  assert_int_equal(sim->query(pointer + 4999, &info), HMC_SUCCESS);
  assert_int_equal(info.memory.kind, HMC_MEMORY_SIM);
  assert_int_equal(info.memory.device, 1);
  assert_ptr_equal(info.base, pointer);
  assert_int_equal(info.bytes, 5000);
  memset(&info, 0x5a, sizeof(info));
  assert_int_equal(sim->query(pointer + 5000, &info), HMC_NOT_FOUND);
  assert_int_equal(sim->query(&info, &info), HMC_NOT_FOUND);
  release(1, pointer);
  assert_int_equal(sim->query(pointer, &info), HMC_NOT_FOUND);
  assert_int_equal(info.memory.device, 0x5a5a5a5a);
}

static void test_nothing_is_left_behind(void **state) {
  (void)state;
  int descriptors = count_descriptors(), mappings = count_mappings();
  for (int i = 0; i < 20; i++) {
    char *first = allocate(0, 100000), *second = allocate(1, 1);
    hmci_memory_export_t exported;
    void *imported;
    assert_int_equal(sim->export_range(0, first, 100000, &exported), HMC_SUCCESS);
    assert_int_equal(sim->import_range(1, &exported, 100000, &imported), HMC_SUCCESS);
    close(exported.descriptor);
    assert_true(count_mappings() > mappings);
    sim->release_import(1, imported, 100000);
    release(0, first);
    release(1, second);
  }
  assert_int_equal(count_descriptors(), descriptors);
  assert_int_equal(count_mappings(), mappings);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static void test_copies_take_interior_pointers(void **state) {
  (void)state;
  char *pointer = allocate(0, 10000), *other = allocate(1, 10000);
  fill(0, pointer + 1, 1, 9998);
  fill(0, pointer + 5000, 2, 1);
  assert_filled(0, pointer, 0, 1);
  assert_filled(0, pointer + 1, 1, 4999);
  assert_filled(0, pointer + 5000, 2, 1);
  assert_filled(0, pointer + 9999, 0, 1);
  assert_int_equal(sim->copy_within(1, other + 7, pointer + 5000, 5000), HMC_SUCCESS); /* between devices */
  assert_filled(1, other + 7, 2, 1);
  assert_filled(1, other + 8, 1, 4998);
  assert_filled(1, other + 5007, 0, 10000 - 5007);
  release(0, pointer);
  release(1, other);
}

static void test_copies_within_may_overlap(void **state) {
  (void)state;
  char *pointer = allocate(0, 16);
  char text[17] = "";
  assert_int_equal(sim->copy_from_host(0, pointer, "0123456789abcdef", 16), HMC_SUCCESS);
  assert_int_equal(sim->copy_within(0, pointer + 3, pointer, 10), HMC_SUCCESS);
  assert_int_equal(sim->copy_to_host(0, text, pointer, 16), HMC_SUCCESS);
  assert_string_equal(text, "0120123456789def");
  release(0, pointer);
}

static void test_copies_past_the_end_change_nothing(void **state) {
  (void)state;
  char *pointer = allocate(0, 5000), *other = allocate(0, 9000);
  char bytes[9000];
  memset(bytes, 3, sizeof(bytes));
  assert_int_equal(sim->copy_from_host(0, pointer, bytes, 5001), HMC_OUT_OF_RANGE);
  assert_non_null(strstr(hmc_last_error(), "5001 B at offset 0 run past the allocation's 5000 B"));
  assert_int_equal(sim->copy_from_host(0, pointer + 4999, bytes, 2), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_from_host(0, pointer + 5000, bytes, 1), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_from_host(0, pointer, bytes, SIZE_MAX), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_to_host(0, bytes, pointer + 1, 5000), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_within(0, pointer, other, 5001), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_within(0, other, pointer, 5001), HMC_OUT_OF_RANGE);
  hmci_copy_t copy = {{0}};
  assert_int_equal(sim->copy_start(0, pointer, bytes, 5001, false, &copy), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_start(0, bytes, pointer + 1, 5000, true, &copy), HMC_OUT_OF_RANGE);
  assert_null(copy.state[0]);
  assert_filled(0, pointer, 0, 5000);
  assert_filled(0, other, 0, 9000);
  for (size_t i = 0; i < sizeof(bytes); i++) {
    assert_int_equal(bytes[i], 3);
  }
  release(0, pointer);
  assert_int_equal(sim->copy_to_host(0, bytes, pointer, 1), HMC_OUT_OF_RANGE);
  assert_non_null(strstr(hmc_last_error(), "no live allocation"));
  release(0, other);
}

static void test_mixed_up_memories_are_refused(void **state) {
  (void)state;
  char *first = allocate(0, 100), *second = allocate(1, 100);
  char bytes[100] = {0};
  assert_int_equal(sim->copy_to_host(0, second, first, 1), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "given as host memory"));
  assert_int_equal(sim->copy_from_host(0, first, second, 1), HMC_INVALID_CONFIG);
  assert_int_equal(sim->copy_from_host(1, first, bytes, 1), HMC_INVALID_CONFIG);
  assert_int_equal(sim->copy_to_host(0, bytes, second, 1), HMC_INVALID_CONFIG);
  assert_int_equal(sim->copy_within(1, first, first, 1), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "sim:1"));
  release(0, first);
  release(1, second);
}

static void test_copies_of_nothing(void **state) {
  (void)state;
  hmci_copy_t copy;
  assert_int_equal(sim->copy_from_host(0, NULL, NULL, 0), HMC_SUCCESS);
  assert_int_equal(sim->copy_to_host(0, NULL, NULL, 0), HMC_SUCCESS);
  assert_int_equal(sim->copy_start(0, NULL, NULL, 0, true, &copy), HMC_SUCCESS);
  assert_int_equal(sim->copy_done(&copy), HMC_SUCCESS);
}

/* ---- asynchronous copies ----------------------------------------------------------------------------------------- */

static void test_freeing_under_a_copy_fails_it(void **state) {
  (void)state;
  configure("1", "0", "5ms");
  char *pointer = allocate(0, 100);
  char bytes[100] = {0};
  hmci_copy_t copy;
  assert_int_equal(sim->copy_start(0, bytes, pointer, 100, true, &copy), HMC_SUCCESS);
  release(0, pointer);
  assert_int_equal(finish(&copy), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->copy_done(&copy), HMC_INVALID_CONFIG);
}

static void test_asynchronous_copies_within(void **state) {
  (void)state;
  char *first = allocate(0, 100), *second = allocate(1, 100);
  fill(0, first, 4, 100);
  hmci_copy_t copy;
  assert_int_equal(sim->copy_start(1, second, first, 100, false, &copy), HMC_SUCCESS);
  assert_int_equal(finish(&copy), HMC_SUCCESS);
  assert_filled(1, second, 4, 100);
  release(0, first);
  release(1, second);
}

/* ---- threads and forks ------------------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

/* By the system call itself: the thread sanitizer would look for the parent's threads in the child. */
static void leave_child(int result) { syscall(SYS_exit_group, result); }

static bool copy_around(int device, void *first, void *second) {
  static const char pattern[3000] = "pattern";
  char bytes[3000];
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  hmci_copy_t copy;
  return sim->copy_from_host(device, first, pattern, 3000) == HMC_SUCCESS &&
         sim->copy_within(device, (char *)second + 3000, first, 3000) == HMC_SUCCESS &&
         sim->query(second, &info) == HMC_SUCCESS && info.base == second &&
         sim->copy_start(device, bytes, (char *)second + 3000, 3000, true, &copy) == HMC_SUCCESS &&
         finish(&copy) == HMC_SUCCESS && memcmp(bytes, pattern, 3000) == 0;
}

static void *lasting[2][2]; /* by device */

/* With memory of its own. The allocator of a sanitizer does not survive a fork while another thread is in it: there the
 * memory was made before. */
static bool use_a_device(int device) {
  void *first, *second;
  if (IS_SANITIZED) {
    return copy_around(device, lasting[device][0], lasting[device][1]);
  }
  return sim->allocate(device, 3000, &first) == HMC_SUCCESS && sim->allocate(device, 6000, &second) == HMC_SUCCESS &&
         copy_around(device, first, second) && sim->free(device, first) == HMC_SUCCESS &&
         sim->free(device, second) == HMC_SUCCESS;
}

static atomic_bool is_over;
static _Atomic int begun, failures;

static void *use_all_the_time(void *device) {
  begun++;
  while (!is_over) {
    failures += !use_a_device(*(int *)device);
  }
  return NULL;
}

static void *query_all_the_time(void *pointer) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  begun++;
  while (!is_over) {
    failures += sim->query(pointer, &info) != HMC_NOT_FOUND;
  }
  return NULL;
}

static void test_threads_and_forks(void **state) {
  (void)state;
  pthread_t threads[3];
  int devices[2] = {0, 1};
  for (int i = 0; i < 2; i++) {
    lasting[i][0] = allocate(i, 3000);
    lasting[i][1] = allocate(i, 6000);
    assert_int_equal(pthread_create(&threads[i], NULL, use_all_the_time, &devices[i]), 0);
  }
  assert_int_equal(pthread_create(&threads[2], NULL, query_all_the_time, &devices), 0);
  while (begun < 3) { /* one that is still starting may be in that allocator */
    usleep(100);
  }
  for (int i = 0; i < 40 && failures == 0; i++) { /* some of them while a thread holds the lock */
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      leave_child(!use_a_device(0));
    }
    int status;
    failures += waitpid(child, &status, 0) != child || status != 0;
  }
  is_over = true;
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  for (int i = 0; i < 4; i++) {
    release(i / 2, lasting[i / 2][i % 2]);
  }
  assert_int_equal(failures, 0);
}

/* One allocation that a thread copies from while the main thread frees and replaces it. */
typedef struct contested {
  _Atomic(char *) pointer;
  atomic_bool is_over;
  int others; /* results that must not be */
} contested_t;

static void *copy_all_the_time(void *user) {
  contested_t *contested = user;
  static char bytes[1 << 20];
  while (!contested->is_over) {
    hmc_status_t status = sim->copy_to_host(0, bytes, contested->pointer, sizeof(bytes));
    contested->others += status != HMC_SUCCESS && status != HMC_OUT_OF_RANGE;
  }
  return NULL;
}

static void test_freeing_beside_copies(void **state) {
  (void)state;
  contested_t contested = {.pointer = allocate(0, 1 << 20)};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, copy_all_the_time, &contested), 0);
  for (int i = 0; i < 100; i++) {
    struct timespec pause = {.tv_nsec = 50000};
    nanosleep(&pause, NULL);
    char *former = contested.pointer;
    release(0, former);
    contested.pointer = allocate(0, 1 << 20);
  }
  contested.is_over = true;
  pthread_join(thread, NULL);
  release(0, contested.pointer);
  assert_int_equal(contested.others, 0);
  assert_int_equal(count_mappings(), 0);
}

static void test_a_refused_setting_changes_nothing(void **state) {
  (void)state;
  setenv("HMC_SIM_DEVICES", "1", 1);
  setenv("HMC_SIM_LATENCY", "late", 1);
  assert_int_equal(hmci_sim_reread(), HMC_INVALID_CONFIG);
  int devices = 0;
  assert_int_equal(sim->open(&devices), HMC_SUCCESS);
  assert_int_equal(devices, 2);
}

int main(void) {
#define WITH_TWO_DEVICES(test) cmocka_unit_test_setup(test, two_fast_devices)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_settings_are_read_at_the_first_call), /* must come first */
      cmocka_unit_test(test_no_devices),
      WITH_TWO_DEVICES(test_device_numbers_are_checked),
      WITH_TWO_DEVICES(test_memory_is_zeroed_aligned_and_out_of_reach),
      WITH_TWO_DEVICES(test_what_does_not_fit_is_refused),
      WITH_TWO_DEVICES(test_running_out_of_descriptors),
      WITH_TWO_DEVICES(test_only_live_allocations_are_freed),
      WITH_TWO_DEVICES(test_query_tells_device_and_extent),
      WITH_TWO_DEVICES(test_nothing_is_left_behind),
      WITH_TWO_DEVICES(test_copies_take_interior_pointers),
      WITH_TWO_DEVICES(test_copies_within_may_overlap),
      WITH_TWO_DEVICES(test_copies_past_the_end_change_nothing),
      WITH_TWO_DEVICES(test_mixed_up_memories_are_refused),
      WITH_TWO_DEVICES(test_copies_of_nothing),
      WITH_TWO_DEVICES(test_freeing_under_a_copy_fails_it),
      WITH_TWO_DEVICES(test_asynchronous_copies_within),
      WITH_TWO_DEVICES(test_threads_and_forks),
      WITH_TWO_DEVICES(test_freeing_beside_copies),
      WITH_TWO_DEVICES(test_a_refused_setting_changes_nothing),
  };
  return cmocka_run_group_tests(tests, clear_environment, clear_environment);
}
