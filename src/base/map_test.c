/* Files that back memory, under a limit of the size of files. */
#include "map.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

/* Without the check SIGXFSZ would end the process here. */
static void test_a_file_above_the_limit_is_refused(void **state) {
  (void)state;
  struct rlimit before, tight;
  int file = memfd_create("map_test", MFD_CLOEXEC);
  assert_true(file >= 0);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  tight = before;
  tight.rlim_cur = 8192;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  assert_int_equal(hmci_map_resize(file, 8193), -1);
  assert_int_equal(errno, EFBIG);
  assert_int_equal(lseek(file, 0, SEEK_END), 0);
  assert_int_equal(hmci_map_resize(file, 8192), 0);
  assert_int_equal(lseek(file, 0, SEEK_END), 8192);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(hmci_map_resize(file, 1 << 20), 0);
  close(file);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_file_above_the_limit_is_refused)};
  return cmocka_run_group_tests_name("base.map", tests, NULL, NULL);
}
