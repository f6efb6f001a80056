/* The program of the suite (see suite.h). */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

hmc_connection_type_t crowd_type;

void descriptors_raise(void) {
  struct rlimit files;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static int open_case(void **state) {
  (void)state;
  crash_handlers_set();
  watch("crowds", 400);
  return 0;
}

static int close_case(void **state) {
  (void)state;
  target_kill_all();
  watch_end();
  return 0;
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  if (argc < 2 || argc > 3 || !transport_parse(argv[1], &crowd_type)) {
    fprintf(stderr, "usage: %s TRANSPORT [PATTERN]\n", argv[0]);
    return 2;
  }
  setenv("HMC_LOG", "error", 1);                   /* what goes wrong here is meant to */
  if (argc == 2) cmocka_set_skip_filter("idle_*"); /* a test of its own */
#define TEST_CASE(name) cmocka_unit_test_setup_teardown(name, open_case, close_case),
  const struct CMUnitTest tests[] = {ALL_TESTS(TEST_CASE)};
#undef TEST_CASE
  pick_cases(argc == 3 ? argv[2] : NULL, tests, COUNT_OF(tests));
  char title[64];
  snprintf(title, sizeof title, "crowds.%s", argv[1]);
  return _cmocka_run_group_tests(title, tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
