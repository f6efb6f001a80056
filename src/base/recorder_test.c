/* The recorder's file, under a limit of the size of files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* Neither SIGXFSZ ends this process, nor is anything left that is in the way later. */
static void test_a_file_above_the_limit_is_refused(void **state) {
  (void)state;
  char folder[] = "/tmp/hmc-test-recorder-XXXXXX", path[64];
  struct rlimit before, tight;
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/record", folder);
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
  tight = before;
  tight.rlim_cur = 8192;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
  assert_int_equal(hmci_recorder_open(path), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "File too large"));
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
  assert_int_equal(hmci_recorder_open(path), HMC_SUCCESS);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(folder), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_file_above_the_limit_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
