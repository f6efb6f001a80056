#include "../memory.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static const hmci_memory_ops_t *const host = &hmci_memory_host;

static void test_there_is_one_device(void **state) {
  (void)state;
  int devices = 0;
  assert_int_equal(host->open(&devices), HMC_SUCCESS);
  assert_int_equal(devices, 1);
  assert_true(host->host_accessible);
}

static void test_memory_is_zeroed_and_aligned(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 4096, 4097, 3000000};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    void *pointer;
    assert_int_equal(host->allocate(0, sizes[i], &pointer), HMC_SUCCESS);
    assert_int_equal((uintptr_t)pointer % 256, 0);
    const unsigned char *bytes = pointer;
    for (size_t at = 0; at < sizes[i]; at += at < 4096 ? 1 : 997) {
      assert_int_equal(bytes[at], 0);
    }
    memset(pointer, 0xff, sizes[i]);
    assert_int_equal(host->free(0, pointer), HMC_SUCCESS);
  }
}

static void test_what_does_not_fit_is_refused(void **state) {
  (void)state;
  void *pointer = &pointer;
  assert_int_equal(host->allocate(0, SIZE_MAX, &pointer), HMC_NO_MEMORY);
  assert_int_equal(host->allocate(0, SIZE_MAX / 2, &pointer), HMC_NO_MEMORY);
  assert_ptr_equal(pointer, &pointer);
  assert_non_null(strstr(hmc_last_error(), "no room for 9223372036854775807 bytes"));
}

static void test_only_live_allocations_are_freed(void **state) {
  (void)state;
  void *pointer;
  int mine = 0;
  assert_int_equal(host->allocate(0, 10000, &pointer), HMC_SUCCESS);
  assert_int_equal(host->free(0, (char *)pointer + 4096), HMC_NOT_FOUND);
  assert_int_equal(host->free(0, &mine), HMC_NOT_FOUND);
  ((char *)pointer)[9999] = 1; /* still there */
  assert_int_equal(host->free(0, pointer), HMC_SUCCESS);
  assert_int_equal(host->free(0, pointer), HMC_NOT_FOUND);
  assert_non_null(strstr(hmc_last_error(), "not the start of a live allocation"));
}

static void test_copies_may_overlap(void **state) {
  (void)state;
  char text[] = "abcdefgh";
  assert_int_equal(host->copy_within(0, text + 2, text, 5), HMC_SUCCESS);
  assert_string_equal(text, "ababcdeh");
  assert_int_equal(host->copy_from_host(0, text, text + 1, 3), HMC_SUCCESS);
  assert_string_equal(text, "babbcdeh");
  assert_int_equal(host->copy_to_host(0, text, "xyz", 3), HMC_SUCCESS);
  assert_string_equal(text, "xyzbcdeh");
}

static void test_no_pointer_is_claimed(void **state) {
  (void)state;
  hmc_memory_info_t info = {.bytes = 77};
  assert_int_equal(host->query(&info, &info), HMC_NOT_FOUND);
  assert_int_equal(info.bytes, 77);
}

/* By the system call itself: the thread sanitizer would look for the parent's threads in the child. */
static void leave_child(int result) { syscall(SYS_exit_group, result); }

static bool allocate_and_free(void) {
  void *first, *second;
  if (host->allocate(0, 5000, &first) != HMC_SUCCESS || host->allocate(0, 100, &second) != HMC_SUCCESS) {
    return false;
  }
  *(char *)first = 1;
  return host->free(0, first) == HMC_SUCCESS && host->free(0, second) == HMC_SUCCESS;
}

static atomic_bool is_over;
static _Atomic int begun, failures;

static void *allocate_all_the_time(void *unused) {
  (void)unused;
  failures += !allocate_and_free();
  begun++;
  while (!is_over) {
    failures += !allocate_and_free();
  }
  return NULL;
}

static void test_threads_and_forks(void **state) {
  (void)state;
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, allocate_all_the_time, NULL), 0);
  }
  while (begun < 3) { /* a thread that is still starting may hold a lock of a sanitizer, which a child cannot free */
    usleep(100);
  }
  for (int i = 0; i < 100 && failures == 0; i++) { /* some of them while a thread holds the lock */
    pid_t child = fork();
    if (child == 0) {
      alarm(60);
      leave_child(!allocate_and_free());
    }
    int status;
    failures += waitpid(child, &status, 0) != child || status != 0;
  }
  is_over = true;
  for (int i = 0; i < 3; i++) {
    pthread_join(threads[i], NULL);
  }
  assert_int_equal(failures, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_there_is_one_device),
      cmocka_unit_test(test_memory_is_zeroed_and_aligned),
      cmocka_unit_test(test_what_does_not_fit_is_refused),
      cmocka_unit_test(test_only_live_allocations_are_freed),
      cmocka_unit_test(test_copies_may_overlap),
      cmocka_unit_test(test_no_pointer_is_claimed),
      cmocka_unit_test(test_threads_and_forks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
