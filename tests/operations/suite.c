/* The program of the suite: `operations TRANSPORT MEMORY [PATTERN]`; PATTERN picks tests by name, with * and ?. A stamp
 * of a device's memory leaves out what no memory has a part in (see suite.h), unless it is asked for by a pattern. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- fixture */

typedef enum scope { MEMORY, ENGINE } scope_t;

typedef struct test_case {
  const char *name;
  scope_t scope;
  void (*run)(void **state);
} test_case_t;

static void run_case(void **state) {
  crash_handlers_set();
  (*(context_pair_t **)state)->test->run(state);
}

static int open_case(void **state) {
  const test_case_t *test = *state;
  watch(test->name, 400);
  context_pair_t *pair = calloc(1, sizeof *pair);
  assert_non_null(pair);
  pair->test = test;
  *state = pair;
  context_pair_open(pair, NULL);
  return 0;
}

static int close_case(void **state) {
  context_pairs_end();
  free(*state);
  target_kill_all();
  watch_end();
  return 0;
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  if (argc == 5 && strcmp(argv[1], "parent") == 0 && stamp_parse(argv[2], "cpu"))
    live_as_parent((uint16_t)atoi(argv[3]), atoi(argv[4]));
  environment_open();
  if (argc < 3 || argc > 4 || !stamp_parse(argv[1], argv[2])) {
    fprintf(stderr, "usage: %s TRANSPORT MEMORY [PATTERN]\n", argv[0]);
    return 2;
  }
  setenv("HMC_LOG", "error", 1); /* what goes wrong here is meant to */
#define TEST_CASE(name, scope) {#name, scope, name},
  static test_case_t cases[] = {ALL_TESTS(TEST_CASE)};
#undef TEST_CASE
  struct CMUnitTest tests[COUNT_OF(cases)];
  size_t count = 0;
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    if (cases[i].scope == MEMORY || stamp_is_host() || argc == 4)
      tests[count++] = (struct CMUnitTest){cases[i].name, run_case, open_case, close_case, &cases[i]};
  pick_cases(argc == 4 ? argv[3] : NULL, tests, count);
  char title[128];
  snprintf(title, sizeof title, "operations.%s.%s", argv[1], argv[2]);
  return _cmocka_run_group_tests(title, tests, count, NULL, NULL) == 0 ? 0 : 1;
}
