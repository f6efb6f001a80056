/* The program of the fault suite: `faults TRANSPORT [PATTERN [MEMORY]]`; PATTERN picks tests by name, with * and ?; MEMORY is
 * that of the targets, cpu unless given. */
#include "suite.h"
#include "port.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

struct fault_stamp stamp = {.memory = {HMC_MEMORY_CPU, 0}};

/* ---- sides ------------------------------------------------------------------------------------------------------- */

void side_start(side_t *side, uint16_t port, uint64_t size, const char *const *variables) {
  *side = (side_t){0};
  target_start(&side->target, variables);
  target_do(&side->target, (command_t){.verb = VERB_CREATE, .timeout_ms = PATIENCE_MS});
  command_t listening = {.verb = VERB_LISTEN, .text = "127.0.0.1", .value = port};
  side->port = (uint16_t)target_do(&side->target, listening);
  target_do(&side->target, (command_t){.verb = VERB_PLACE,
                                       .memory = stamp.memory,
                                       .length = size,
                                       .rights = HMC_REMOTE_ALL,
                                       .registered = stamp.registered,
                                       .text = "region"});
}

void side_join(scene_t *scene, side_t *side) {
  assert_success(hmc_context_connect(scene->context, "127.0.0.1", side->port, stamp.type, 0, &side->peer));
  assert_success(hmc_remote_open(side->peer, "region", 0, &side->remote));
}

void side_drop(side_t *side) {
  target_kill(&side->target);
  hmc_peer_close(side->peer);
  *side = (side_t){0};
}

void side_stop(side_t *side) {
  int status = 0;
  assert_int_equal(kill(side->target.process, SIGSTOP), 0);
  assert_int_equal(waitpid(side->target.process, &status, WUNTRACED), side->target.process);
  assert_true(WIFSTOPPED(status));
}

void side_continue(side_t *side) { assert_int_equal(kill(side->target.process, SIGCONT), 0); }

void side_fill(side_t *side, uint64_t length, uint8_t value) {
  target_do(&side->target, (command_t){.verb = VERB_BYTES_FILL, .length = length, .value = value});
}

uint64_t side_others(side_t *side, uint64_t length, uint8_t one, uint8_t two) {
  command_t command = {.verb = VERB_BYTES_OTHER, .length = length, .value = (uint64_t)two << 8 | one};
  return target_do(&side->target, command);
}

/* ---- traffic ----------------------------------------------------------------------------------------------------- */

static void *run_traffic(void *argument) {
  scene_t *scene = argument;
  while (!atomic_load(&scene->traffic_stop) && scene->traffic_status == HMC_SUCCESS) {
    scene->traffic_status = exchange(&scene->traffic_local, 0, scene->traffic_remote, REGION_SIZE / 2, TRAFFIC_ROOM, 1,
                                     ++scene->traffic_rounds);
    if (scene->traffic_status != HMC_SUCCESS)
      snprintf(scene->traffic_text, sizeof scene->traffic_text, "%s", hmc_last_error());
    sleep_ms(1);
  }
  return NULL;
}

void traffic_start(scene_t *scene, hmc_remote_t *remote) {
  assert_success(test_buffer_open(&scene->traffic_local, scene->context, cpu, 2 * TRAFFIC_ROOM, NULL, 0, false));
  scene->traffic_remote = remote;
  scene->traffic_status = HMC_SUCCESS;
  scene->traffic_rounds = 0;
  atomic_store(&scene->traffic_stop, false);
  assert_int_equal(pthread_create(&scene->traffic, NULL, run_traffic, scene), 0);
  scene->traffic_runs = true;
}

static void traffic_join(scene_t *scene) {
  if (!scene->traffic_runs) return;
  atomic_store(&scene->traffic_stop, true);
  pthread_join(scene->traffic, NULL);
  scene->traffic_runs = false;
}

void traffic_end(scene_t *scene) {
  uint64_t rounds = atomic_load(&scene->traffic_rounds),
           limit = now_ms() + PATIENCE_MS; /* some more, after what the test did */
  while (atomic_load(&scene->traffic_rounds) < rounds + 4 && now_ms() < limit) sleep_ms(2);
  rounds = atomic_load(&scene->traffic_rounds) - rounds;
  traffic_join(scene);
  if (scene->traffic_status != HMC_SUCCESS)
    fail_msg("the bystander was disturbed: %s: %s", hmc_status_name(scene->traffic_status), scene->traffic_text);
  assert_true(rounds > 3);
  test_buffer_close(&scene->traffic_local);
}

/* ---- asserting --------------------------------------------------------------------------------------------------- */

void assert_took(uint64_t since, uint64_t least, uint64_t most) {
  uint64_t took = now_ms() - since;
  if (took + 1 < least || took > most + SLACK_MS) /* both clocks are cut to milliseconds */
    fail_msg("took %d ms, not %d to %d ms", (int)took, (int)least, (int)(most + SLACK_MS));
}

void assert_gone(hmc_peer_t *peer) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  uint64_t limit = now_ms() + SLACK_MS;
  do {
    assert_success(hmc_peer_get_info(peer, &info));
    if (info.state == HMC_PEER_GONE) return;
    sleep_ms(2);
  } while (now_ms() < limit);
  fail_msg("the peer still counts as connected");
}

/* ---- fixture ----------------------------------------------------------------------------------------------------- */

typedef struct test_case {
  const char *name;
  void (*run)(void **state);
} test_case_t;

static void run_case(void **state) {
  crash_handlers_set();
  (*(scene_t **)state)->test->run(state);
}

static int open_scene(void **state) {
  const test_case_t *test = *state;
  watch(test->name, 400);
  scene_t *scene = calloc(1, sizeof *scene);
  assert_non_null(scene);
  scene->test = test;
  *state = scene;
  /* Before there is much memory to fork with. The subject's successor listens at its port. */
  side_start(&scene->subject, free_port(AF_INET), REGION_SIZE, NULL);
  side_start(&scene->bystander, 0, REGION_SIZE, NULL);
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "survivor", PATIENCE_MS}, &scene->context));
  assert_success(test_buffer_open(&scene->local, scene->context, cpu, REGION_SIZE, NULL, 0, stamp.registered));
  side_join(scene, &scene->subject);
  side_join(scene, &scene->bystander);
  return 0;
}

static int close_scene(void **state) {
  scene_t *scene = *state;
  traffic_join(scene);
  test_buffer_close(&scene->traffic_local);
  test_buffer_close(&scene->local);
  hmc_context_destroy(scene->context);
  bool subject_ended = target_finish(&scene->subject.target), bystander_ended = target_finish(&scene->bystander.target);
  free(scene);
  target_kill_all();
  watch_end();
  return subject_ended && bystander_ended ? 0 : -1;
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  if (argc < 2 || argc > 4 || !transport_parse(argv[1], &stamp.type) ||
      (argc == 4 && hmc_memory_kind_parse(argv[3], &stamp.memory.kind) != HMC_SUCCESS)) {
    fprintf(stderr, "usage: %s TRANSPORT [PATTERN [MEMORY]]\n", argv[0]);
    return 2;
  }
  setenv("HMC_LOG", "error", 1); /* what goes wrong here is meant to */
  stamp.registered = strcmp(argv[1], "shm_staged") == 0;
  stamp.maps = strcmp(argv[1], "shm") == 0 && stamp.memory.kind == HMC_MEMORY_CPU;
  stamp.direct = strcmp(argv[1], "shm") == 0 || stamp.type == HMC_CONNECTION_RDMA;
#define TEST_CASE(name) {#name, name},
  static test_case_t cases[] = {ALL_TESTS(TEST_CASE)};
#undef TEST_CASE
  struct CMUnitTest tests[COUNT_OF(cases)];
  for (size_t i = 0; i < COUNT_OF(cases); i++)
    tests[i] = (struct CMUnitTest){cases[i].name, run_case, open_scene, close_scene, &cases[i]};
  pick_cases(argc >= 3 ? argv[2] : NULL, tests, COUNT_OF(tests));
  char title[64];
  snprintf(title, sizeof title, "faults.%s", argv[1]);
  return _cmocka_run_group_tests(title, tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
