#include <hmc/version.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static void test_number_and_text_agree_with_the_header(void **state) {
  (void)state;
  int major, minor, patch;
  char rest;
  assert_int_equal(sscanf(hmc_version_text(), "%d.%d.%d%c", &major, &minor, &patch, &rest), 3);
  assert_int_equal(major, HMC_VERSION_MAJOR);
  assert_int_equal(minor, HMC_VERSION_MINOR);
  assert_int_equal(patch, HMC_VERSION_PATCH);
  assert_int_equal(hmc_version(), major * 10000 + minor * 100 + patch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_number_and_text_agree_with_the_header),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
