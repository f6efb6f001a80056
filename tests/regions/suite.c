/* The program of the suite: `regions TRANSPORT MEMORY [PATTERN]`. */
#include "regions.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct test_case {
  const char *name;
  void (*run)(void **state);
} test_case_t;

uint8_t *reserve(uint64_t length) {
  void *range = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  assert_ptr_not_equal(range, MAP_FAILED);
  return range;
}

bool is_reserved(const uint8_t *address) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  bool faults = write(ends[1], address, 1) < 0; /* EFAULT and no signal */
  close(ends[0]);
  close(ends[1]);
  return faults && msync((void *)(uintptr_t)address, PAGE, MS_ASYNC) == 0;
}

static void run_case(void **state) {
  crash_handlers_set();
  (*(context_pair_t **)state)->test->run(state);
}

static int open_case(void **state) {
  const test_case_t *test = *state;
  watch(test->name, 200);
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
  owners_end();
  watch_end();
  return 0;
}

int main(int argc, char **argv) {
  owner_main(argc, argv);
  environment_open();
  if (argc < 3 || argc > 4 || !stamp_parse(argv[1], argv[2])) {
    fprintf(stderr, "usage: %s TRANSPORT MEMORY [PATTERN]\n", argv[0]);
    return 2;
  }
  setenv("HMC_LOG", "error", 1);
#define TEST_CASE(name) {#name, name},
  static test_case_t cases[] = {REGION_TESTS(TEST_CASE)};
#undef TEST_CASE
  struct CMUnitTest tests[COUNT_OF(cases)];
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    tests[i] = (struct CMUnitTest){cases[i].name, run_case, open_case, close_case, &cases[i]};
  pick_cases(argc == 4 ? argv[3] : NULL, tests, COUNT_OF(tests));
  char title[128];
  snprintf(title, sizeof title, "regions.%s.%s", argv[1], argv[2]);
  return _cmocka_run_group_tests(title, tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
