/* The program of the RDMA tests: `rdma transfers|faults|rails|routes [PATTERN]`. */
#include "suite.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char home[] = "/tmp/hmc-test-rdma-XXXXXX";

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_ms(unsigned milliseconds) {
  nanosleep(&(struct timespec){milliseconds / 1000, (long)(milliseconds % 1000) * 1000000}, NULL);
}

void assert_status_at(hmc_status_t status, hmc_status_t wanted, const char *call, const char *file, int line) {
  if (status == wanted) return;
  print_error("%s: %s, not %s: %s\n", call, hmc_status_name(status), hmc_status_name(wanted), hmc_last_error());
  _fail(file, line);
}

void assert_says(const char *part) {
  if (!strstr(hmc_last_error(), part)) fail_msg("\"%s\" is not in: %s", part, hmc_last_error());
}

static uint64_t word_of(uint64_t seed, uint64_t number) {
  uint64_t word = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + number * UINT64_C(0xbf58476d1ce4e5b9);
  return word ^ word >> 29;
}

static uint8_t *make_pattern(uint64_t length, uint64_t seed) {
  uint64_t words = (length + 7) / 8, *bytes = malloc(words * 8 + 8);
  assert_non_null(bytes);
  for (uint64_t i = 0; i < words; i++) bytes[i] = word_of(seed, i);
  return (uint8_t *)bytes;
}

void pattern_write(hmc_region_t *region, uint64_t offset, uint64_t length, uint64_t seed) {
  uint8_t *bytes = make_pattern(length, seed);
  uint8_t *to = (uint8_t *)hmc_region_pointer(region) + offset;
  assert_success(hmc_memory_copy(to, hmc_region_memory(region), bytes, (hmc_memory_t){HMC_MEMORY_CPU, 0}, length));
  free(bytes);
}

bool pattern_is(hmc_region_t *region, uint64_t offset, uint64_t length, uint64_t seed) {
  uint8_t *bytes = make_pattern(length, seed), *found = malloc(length + 1);
  const uint8_t *from = (const uint8_t *)hmc_region_pointer(region) + offset;
  assert_non_null(found);
  assert_success(hmc_memory_copy(found, (hmc_memory_t){HMC_MEMORY_CPU, 0}, from, hmc_region_memory(region), length));
  bool same = memcmp(bytes, found, length) == 0;
  free(found);
  free(bytes);
  return same;
}

/* ---- scenes ------------------------------------------------------------------------------------------------------ */

hmc_status_t scene_try(scene_t *scene, hmc_memory_kind_t here, hmc_memory_kind_t there, unsigned rights) {
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "here", .timeout_ms = PATIENCE_MS},
      &scene->here));
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "there", .timeout_ms = PATIENCE_MS},
      &scene->there));
  assert_success(hmc_context_listen(scene->there, "127.0.0.1", 0, &scene->port));
  assert_success(
      hmc_region_allocate(scene->here, (hmc_memory_t){here, 0}, ROOM, "here", HMC_REMOTE_ALL, &scene->local));
  assert_success(hmc_region_allocate(scene->there, (hmc_memory_t){there, 0}, ROOM, "there", rights, &scene->far));
  hmc_status_t status =
      hmc_context_connect(scene->here, "127.0.0.1", scene->port, HMC_CONNECTION_RDMA, PATIENCE_MS, &scene->peer);
  if (status != HMC_SUCCESS) return status;
  assert_success(hmc_context_accept(scene->there, 0, &scene->back));
  assert_success(hmc_remote_open(scene->peer, "there", 0, &scene->remote));
  return HMC_SUCCESS;
}

void scene_open(scene_t *scene, hmc_memory_kind_t here, hmc_memory_kind_t there) {
  assert_success(scene_try(scene, here, there, HMC_REMOTE_ALL));
}

void scene_close(scene_t *scene) {
  hmc_context_destroy(scene->here);
  hmc_context_destroy(scene->there);
  *scene = (scene_t){0};
}

static void stand(hmc_request_t *request, hmc_status_t status, void *user) {
  gate_t *gate = user;
  (void)request, (void)status;
  atomic_store(&gate->inside, true);
  while (!atomic_load(&gate->open)) sleep_ms(1);
}

hmc_request_t *scene_stop_there(scene_t *scene, gate_t *gate) {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  hmc_remote_t *remote = NULL;
  hmc_request_t *request = NULL;
  options.callback = stand;
  options.user = gate;
  *gate = (gate_t){false, false};
  assert_success(hmc_remote_open(scene->back, "here", 0, &remote));
  assert_success(hmc_put_nb(scene->far, ROOM - 8, remote, ROOM - 8, 8, &options, &request));
  while (!atomic_load(&gate->inside)) sleep_ms(1);
  return request;
}

/* ---- running ----------------------------------------------------------------------------------------------------- */

static scene_t the_scene;

static int set_up(void **state) {
  nic_reset();
  alarm(200); /* whatever hangs ends the program */
  *state = &the_scene;
  return 0;
}

/* Nothing may be left, whatever went wrong meanwhile. */
static int tear_down(void **state) {
  scene_t *scene = *state;
  nic_reset();
  unsetenv("HMC_SPIN");
  unsetenv("HMC_RDMA_PINNED_MAX");
  unsetenv("HMC_TRANSPORTS");
  unsetenv("HMC_PEER_TIMEOUT");
  unsetenv("HMC_RDMA_FLUSH");
  unsetenv("HMC_RDMA_BUFFERS");
  unsetenv("HMC_RDMA_RAILS");
  scene_close(scene);
  nic_counts_t left = nic_counts();
  if (left.memories || left.queue_pairs)
    print_error("%u registrations and %u queue pairs are left\n", left.memories, left.queue_pairs);
  alarm(0);
  return left.memories || left.queue_pairs;
}

static void forget_settings(void) {
  for (char **variable = environ; *variable;) {
    size_t length = strcspn(*variable, "=");
    char name[128];
    if (strncmp(*variable, "HMC_", 4) != 0 || length >= sizeof name) {
      variable++;
      continue;
    }
    memcpy(name, *variable, length);
    name[length] = 0;
    unsetenv(name);
    variable = environ;
  }
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
  (void)status, (void)type, (void)walk;
  return remove(path);
}

static void remove_home(void) { nftw(home, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

int main(int argc, char **argv) {
#define ENTRY(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down),
  static const struct CMUnitTest transfers[] = {TRANSFER_TESTS(ENTRY)};
  static const struct CMUnitTest faults[] = {FAULT_TESTS(ENTRY)};
  static const struct CMUnitTest rails[] = {RAIL_TESTS(ENTRY)};
  static const struct CMUnitTest routes[] = {ROUTE_TESTS(ENTRY)};
#undef ENTRY
  if (argc < 2 || !mkdtemp(home)) return 2;
  atexit(remove_home);
  forget_settings();
  setenv("HOME", home, 1);
  const char *wanted = getenv("RDMA_LOG");
  setenv("HMC_LOG", wanted ? wanted : "none", 1); /* what goes wrong here is meant to */
  if (argc == 3) cmocka_set_test_filter(argv[2]);
  if (strcmp(argv[1], "transfers") == 0) return cmocka_run_group_tests(transfers, NULL, NULL);
  if (strcmp(argv[1], "faults") == 0) return cmocka_run_group_tests(faults, NULL, NULL);
  if (strcmp(argv[1], "rails") == 0) return cmocka_run_group_tests(rails, NULL, NULL);
  setenv("HMC_SIM_HANDLES", "no", 1); /* before the accelerator is first asked for */
  if (strcmp(argv[1], "routes") == 0) return cmocka_run_group_tests(routes, NULL, NULL);
  return 2;
}
