/* The program of the conformance suite: `conformance TRANSPORT LOCAL-REMOTE [PATTERN...]`.
 *
 * PATTERNs pick tests by name, with * and ?; each has to fit one. Each test gets a target and a connection of its own, so that one that
 * fails leaves nothing to the next. */
#include "suite.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

stamp_t stamp;

/* "cpu-sim": the local side is device 0 of its kind, the remote one the last device, so that two of a kind differ. */
static bool parse_memories(const char *names) {
  char local[32];
  const char *dash = strchr(names, '-');
  if (!dash || (size_t)(dash - names) >= sizeof local) return false;
  memcpy(local, names, (size_t)(dash - names));
  local[dash - names] = 0;
  int devices = 0;
  if (hmc_memory_kind_parse(local, &stamp.local.kind) != HMC_SUCCESS ||
      hmc_memory_kind_parse(dash + 1, &stamp.remote.kind) != HMC_SUCCESS ||
      hmc_memory_devices(stamp.remote.kind, &devices) != HMC_SUCCESS)
    return false;
  stamp.remote.device = devices - 1;
  return true;
}

bool stamp_is_plain(void) {
  return stamp.local.kind == HMC_MEMORY_CPU && stamp.remote.kind == HMC_MEMORY_CPU && !strchr(stamp.transport, '_');
}

/* ---- fixture ----------------------------------------------------------------------------------------------------- */

bool stamp_maps(bool registered) {
  return stamp.type == HMC_CONNECTION_SHM && stamp.remote.kind == HMC_MEMORY_CPU && !registered;
}

hmc_remote_t *remote_make(pair_t *pair, const char *name, there_t there) {
  command_t command = {.verb = VERB_PLACE,
                       .slot = there.slot,
                       .memory = stamp.remote,
                       .length = there.size,
                       .rights = there.rights ? there.rights : HMC_REMOTE_ALL,
                       .registered = there.registered};
  snprintf(command.text, sizeof command.text, "%s", name);
  target_do(&pair->target, command);
  hmc_remote_t *remote = NULL;
  assert_success(hmc_remote_open(pair->peer, name, 0, &remote));
  assert_non_null(remote);
  assert_int_equal(hmc_remote_size(remote), there.size);
  assert_int_equal(hmc_remote_memory(remote).kind, stamp.remote.kind);
  assert_int_equal(hmc_remote_memory(remote).device, stamp.remote.device);
  return remote;
}

test_buffer_t local_make(pair_t *pair, uint64_t size, bool registered) {
  test_buffer_t place;
  assert_success(test_buffer_open(&place, pair->context, stamp.local, size, NULL, 0, registered));
  assert_non_null(place.region);
  assert_int_equal(hmc_region_size(place.region), size);
  assert_int_equal(hmc_region_memory(place.region).kind, stamp.local.kind);
  assert_ptr_equal(hmc_region_pointer(place.region), place.whole + place.margin);
  return place;
}

void target_write_frame(pair_t *pair, uint32_t slot, uint64_t offset, uint64_t length, uint64_t seed) {
  command_t command = {.verb = VERB_FRAME_WRITE, .slot = slot, .offset = offset, .length = length, .value = seed};
  target_do(&pair->target, command);
}

typedef struct test_case {
  const char *name;
  void (*run)(void **state);
} test_case_t;

static void run_case(void **state) {
  crash_handlers_set();
  (*(pair_t **)state)->test->run(state);
}

static int open_pair(void **state) {
  const test_case_t *test = *state;
  watch(test->name, 400);
  pair_t *pair = calloc(1, sizeof *pair);
  assert_non_null(pair);
  pair->test = test;
  *state = pair;
  target_start(&pair->target, NULL);
  target_do(&pair->target, (command_t){.verb = VERB_CREATE, .timeout_ms = PATIENCE_MS});
  pair->port = (uint16_t)target_do(&pair->target, (command_t){.verb = VERB_LISTEN, .text = "127.0.0.1"});
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "initiator", PATIENCE_MS}, &pair->context));
  assert_success(hmc_context_connect(pair->context, "127.0.0.1", pair->port, stamp.type, 0, &pair->peer));
  return 0;
}

static int close_pair(void **state) {
  pair_t *pair = *state;
  hmc_context_destroy(pair->context);
  bool ended = target_finish(&pair->target);
  free(pair);
  target_kill_all();
  watch_end();
  return ended ? 0 : -1;
}

static bool any_fits(const struct CMUnitTest *tests, size_t count, const char *pattern) {
  for (size_t i = 0; i < count; i++)
    if (fnmatch(pattern, tests[i].name, 0) == 0) return true;
  return false;
}

/* Keeps the tests that a pattern fits and returns how many; 0 where one fits none, because that would test nothing. */
static size_t tests_pick(struct CMUnitTest *tests, size_t count, char *const *patterns) {
  size_t kept = 0;
  for (char *const *pattern = patterns; *pattern; pattern++) {
    if (any_fits(tests, count, *pattern)) continue;
    fprintf(stderr, "no test is called %s\n", *pattern);
    return 0;
  }
  for (size_t i = 0; i < count; i++) {
    bool fits = false;
    for (char *const *pattern = patterns; *pattern && !fits; pattern++) fits = any_fits(&tests[i], 1, *pattern);
    if (fits) tests[kept++] = tests[i];
  }
  return kept;
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  if (argc < 3 || !transport_parse(argv[1], &stamp.type) || !parse_memories(argv[2])) {
    fprintf(stderr, "usage: %s TRANSPORT LOCAL-REMOTE [PATTERN...]\n", argv[0]);
    return 2;
  }
  stamp.transport = argv[1];
#define TEST_CASE(name) {#name, name},
  static test_case_t cases[] = {ALL_TESTS(TEST_CASE)};
#undef TEST_CASE
  struct CMUnitTest tests[COUNT_OF(cases)];
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    tests[i] = (struct CMUnitTest){cases[i].name, run_case, open_pair, close_pair, &cases[i]};
  size_t count = argc > 3 ? tests_pick(tests, COUNT_OF(tests), argv + 3) : COUNT_OF(tests);
  if (count == 0) return 2;
  char title[128];
  snprintf(title, sizeof title, "conformance.%s.%s", argv[1], argv[2]);
  return _cmocka_run_group_tests(title, tests, count, NULL, NULL) == 0 ? 0 : 1;
}
