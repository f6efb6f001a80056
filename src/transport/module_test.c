#include "module.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "/tmp/hmc-test-module-XXXXXX";
static char reason[512];

static hmc_status_t load(const char *name, const char *from) {
  const hmci_transport_ops_t *untouched = &hmci_transport_tcp, *ops = untouched;
  memset(reason, 0, sizeof reason);
  hmc_status_t status = hmci_module_load(name, from, &ops, reason, sizeof reason);
  if (status != HMC_SUCCESS) assert_ptr_equal(ops, untouched);
  return status;
}

static void expect_reason(const char *part) {
  if (!strstr(reason, part)) fail_msg("\"%s\" is not in: %s", part, reason);
}

static void test_what_is_not_there(void **state) {
  (void)state;
  assert_int_equal(load("nonesuch", folder), HMC_UNSUPPORT);
  expect_reason("libhmc-nonesuch.so");
  expect_reason(folder);
  expect_reason("HMC_MODULE_PATH");
}

static void test_the_setting_leads_there(void **state) {
  (void)state;
  setenv("HMC_MODULE_PATH", folder, 1);
  assert_int_equal(load("nonesuch", NULL), HMC_UNSUPPORT);
  expect_reason(folder);
  unsetenv("HMC_MODULE_PATH");
  assert_int_equal(load("nonesuch", NULL), HMC_UNSUPPORT);
  assert_null(strstr(reason, folder));
  expect_reason("/hmc/libhmc-nonesuch.so"); /* beside the one who holds the library */
}

static void test_what_is_no_module(void **state) {
  (void)state;
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/libhmc-garbage.so", folder);
  FILE *file = fopen(path, "we");
  assert_non_null(file);
  fputs("this is no shared object", file);
  fclose(file);
  assert_int_equal(load("garbage", folder), HMC_UNSUPPORT);
  expect_reason("cannot be loaded");
  unlink(path);
}

/* This program has the library linked into it; a module would work on another copy, with other error texts and other
 * regions. */
static void test_a_module_of_the_shared_library(void **state) {
  (void)state;
  char here[PATH_MAX] = "", modules[PATH_MAX + 16], path[PATH_MAX + 64];
  assert_true(readlink("/proc/self/exe", here, sizeof here - 1) > 0);
  *strrchr(here, '/') = 0;
  snprintf(modules, sizeof modules, "%s/../hmc", here);
  snprintf(path, sizeof path, "%s/libhmc-verbs.so", modules);
  assert_int_equal(load("verbs", modules), HMC_UNSUPPORT);
  if (access(path, R_OK) == 0) {
    expect_reason("linked into it");
  } else {
    expect_reason("is not there");
  }
}

static int make_folder(void **state) {
  (void)state;
  unsetenv("HMC_MODULE_PATH");
  return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
  (void)state;
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_not_there),
      cmocka_unit_test(test_the_setting_leads_there),
      cmocka_unit_test(test_what_is_no_module),
      cmocka_unit_test(test_a_module_of_the_shared_library),
  };
  return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
