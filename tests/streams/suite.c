/* The program of the suite: `streams TRANSPORT [PATTERN]`; PATTERN picks tests by name, with * and ?. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct test_case {
  const char *name;
  void (*run)(void **state);
} test_case_t;

void assert_connected_at(hmc_peer_t *peer, const char *file, int line) {
  hmc_peer_info_t info = {.size = sizeof info};
  char text[1024];
  assert_success(hmc_peer_get_info(peer, &info));
  if (info.state == HMC_PEER_CONNECTED) return;
  assert_success(hmc_peer_explain(peer, text, sizeof text, NULL));
  print_error("%s\n", text);
  _fail(file, line);
}

static void run_case(void **state) {
  crash_handlers_set();
  ((const test_case_t *)*state)->run(state);
}

static int open_case(void **state) {
  watch(((const test_case_t *)*state)->name, 300);
  return 0;
}

static int close_case(void **state) {
  (void)state;
  context_pairs_end();
  target_kill_all();
  watch_end();
  return 0;
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  if (argc < 2 || argc > 3 || !stamp_parse(argv[1], "cpu")) {
    fprintf(stderr, "usage: %s TRANSPORT [PATTERN]\n", argv[0]);
    return 2;
  }
  setenv("HMC_LOG", "error", 1); /* what goes wrong here is meant to */
#define TEST_CASE(name) {#name, name},
  static test_case_t cases[] = {STREAM_TESTS(TEST_CASE)};
#undef TEST_CASE
  struct CMUnitTest tests[COUNT_OF(cases)];
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    tests[i] = (struct CMUnitTest){cases[i].name, run_case, open_case, close_case, &cases[i]};
  pick_cases(argc == 3 ? argv[2] : NULL, tests, COUNT_OF(tests));
  char title[64];
  snprintf(title, sizeof title, "streams.%s", argv[1]);
  return _cmocka_run_group_tests(title, tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
