/* The program of the suite: `leases TRANSPORT MEMORY [PATTERN | long [ROUNDS]]`. */
#include "leases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct test_case {
  const char *name;
  void (*run)(void **state);
} test_case_t;

uint64_t reuse_rounds = SANITIZED ? 30 : 100;

hmc_region_t *leased_make(context_pair_t *pair, const char *name, uint64_t bytes) {
  hmc_region_t *region;
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.memory = stamp.far;
  options.name = name;
  options.bytes = bytes;
  options.rights = HMC_REMOTE_ALL;
  options.flags = HMC_REGION_LEASED;
  assert_success(hmc_region_create(pair->there, &options, &region));
  return region;
}

static void run_case(void **state) {
  crash_handlers_set();
  (*(context_pair_t **)state)->test->run(state);
}

static int open_case(void **state) {
  const test_case_t *test = *state;
  watch(test->name, SANITIZED ? 3400 : 1700); /* less than the time of the virtual machine, or of ctest */
  context_pair_t *pair = calloc(1, sizeof *pair);
  assert_non_null(pair);
  pair->test = test;
  *state = pair;
  context_pair_open(pair, NULL);
  return 0;
}

static int close_case(void **state) {
  holders_end();
  context_pairs_end();
  free(*state);
  watch_end();
  return 0;
}

int main(int argc, char **argv) {
  holder_main(argc, argv);
  environment_open();
  if (argc < 3 || argc > 5 || !stamp_parse(argv[1], argv[2])) {
    fprintf(stderr, "usage: %s TRANSPORT MEMORY [PATTERN | long [ROUNDS]]\n", argv[0]);
    return 2;
  }
  setenv("HMC_LOG", "error", 1);
  const char *pattern = NULL;
  if (argc >= 4 && strcmp(argv[3], "long") == 0) {
    reuse_rounds = argc == 5 ? strtoull(argv[4], NULL, 10) : 10000;
    pattern = "reuse_under_load";
  } else if (argc == 4) {
    pattern = argv[3];
  }
#define TEST_CASE(name) {#name, name},
  static test_case_t cases[] = {LEASE_TESTS(TEST_CASE)};
#undef TEST_CASE
  struct CMUnitTest tests[COUNT_OF(cases)];
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    tests[i] = (struct CMUnitTest){cases[i].name, run_case, open_case, close_case, &cases[i]};
  pick_cases(pattern, tests, COUNT_OF(tests));
  char title[128];
  snprintf(title, sizeof title, "leases.%s.%s", argv[1], argv[2]);
  return _cmocka_run_group_tests(title, tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
