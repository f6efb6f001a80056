/* Regions: names, rights, generations and mappings. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static command_t place_command(uint32_t slot, const char *name, uint64_t size, unsigned rights, bool registered) {
  command_t command = {.verb = VERB_PLACE,
                       .slot = slot,
                       .memory = stamp.remote,
                       .length = size,
                       .rights = rights,
                       .registered = registered};
  snprintf(command.text, sizeof command.text, "%s", name);
  return command;
}

/* ---- many, and their names --------------------------------------------------------------------------------------- */

void many_regions(void **state) {
  pair_t *pair = *state;
  enum { REGIONS = 150, ROOM = 3 * FRAME_GUARD };
  hmc_remote_t *remotes[REGIONS], *again = NULL;
  test_buffer_t local = local_make(pair, REGIONS * ROOM, false);
  for (uint32_t i = 0; i < REGIONS; i++) {
    char name[32];
    snprintf(name, sizeof name, "region %u", i);
    remotes[i] = remote_make(pair, name, (there_t){.slot = i, .size = 101 + i, .registered = i % 2});
    frame_write(&local, (uint64_t)i * ROOM + FRAME_GUARD, 101 + i, i);
    target_write_frame(pair, i, 0, 101 + i, ~(uint64_t)i);
    assert_success(hmc_put(local.region, (uint64_t)i * ROOM + FRAME_GUARD, remotes[i], 0, 101 + i));
  }
  for (uint32_t i = 0; i < REGIONS; i++) target_check_frame(&pair->target, i, 0, 101 + i, i);
  assert_success(hmc_remote_open(pair->peer, "region 77", 0, &again)); /* a second handle of the same region */
  frame_write(&local, FRAME_GUARD, 101, 0);
  assert_success(hmc_get(local.region, FRAME_GUARD, again, 0, 101));
  hmc_remote_close(again);
  assert_success(hmc_get(local.region, FRAME_GUARD, remotes[77], 0, 101));
  assert_true(frame_check(&local, FRAME_GUARD, 101, 77) == PATTERN_SAME);
  for (uint32_t i = 0; i < REGIONS; i++) hmc_remote_close(remotes[i]);
  hmc_remote_close(NULL);
  test_buffer_close(&local);
}

static void expect_place(pair_t *pair, const char *name, uint64_t size, unsigned rights, hmc_status_t wanted) {
  test_buffer_t place;
  hmc_region_t *untouched = (hmc_region_t *)pair, *region = untouched;
  hmc_status_t status = hmc_region_allocate(pair->context, stamp.local, size, name, rights, &region);
  assert_status(status, wanted);
  assert_ptr_equal(region, untouched);
  assert_string_not_equal(hmc_last_error(), "");
  status = test_buffer_open(&place, pair->context, stamp.local, size ? size : 1, name, rights, true);
  if (size != 0) assert_status(status, wanted);
}

void names(void **state) {
  pair_t *pair = *state;
  char longest[HMC_REGION_NAME_SIZE], too_long[HMC_REGION_NAME_SIZE + 1];
  memset(longest, 'n', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  memset(too_long, 'n', sizeof too_long - 1);
  too_long[sizeof too_long - 1] = 0;

  hmc_remote_t *remote = remote_make(pair, longest, (there_t){.size = 64}), *none = NULL;
  hmc_remote_close(remote);
  remote = remote_make(pair, "größe 中", (there_t){.slot = 1, .size = 64});
  hmc_remote_close(remote);
  answer_t answer = target_call(&pair->target, place_command(2, longest, 64, HMC_REMOTE_ALL, false));
  assert_int_equal(answer.status, HMC_INVALID_CONFIG);

  test_buffer_t here;
  assert_success(test_buffer_open(&here, pair->context, stamp.local, 64, "taken", HMC_REMOTE_ALL, false));
  expect_place(pair, "taken", 64, HMC_REMOTE_ALL, HMC_INVALID_CONFIG);
  assert_error_names("taken");
  expect_place(pair, too_long, 64, HMC_REMOTE_ALL, HMC_INVALID_CONFIG);
  expect_place(pair, "unknown rights", 64, 64, HMC_INVALID_CONFIG);
  test_buffer_close(&here);
  assert_success(test_buffer_open(&here, pair->context, stamp.local, 64, "taken", HMC_REMOTE_ALL, true));
  test_buffer_close(&here);

  assert_status(hmc_remote_open(pair->peer, "nobody has this", 0, &none), HMC_NOT_FOUND);
  assert_error_names("nobody has this");
  target_do(&pair->target, place_command(3, "", 64, HMC_REMOTE_ALL, false));
  assert_int_not_equal(hmc_remote_open(pair->peer, "", 0, &none), HMC_SUCCESS);
  assert_null(none);
}

/* ---- generations ------------------------------------------------------------------------------------------------- */

#define STALE_SIZE (64 * KIB)

static void expect_stale(const test_buffer_t *local, hmc_remote_t *remote) {
  frame_write(local, FRAME_GUARD, 40000, 8);
  assert_status(hmc_put(local->region, FRAME_GUARD, remote, 100, 40000), HMC_STALE);
  assert_string_not_equal(hmc_last_error(), "");
  assert_status(hmc_get(local->region, FRAME_GUARD, remote, 100, 40000), HMC_STALE);
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_put_nb(local->region, FRAME_GUARD, remote, 100, 40000, NULL, &request);
  if (status == HMC_SUCCESS) status = hmc_request_wait(request);
  assert_status(status, HMC_STALE);
  hmc_request_free(request);
  assert_true(frame_check(local, FRAME_GUARD, 40000, 8) == PATTERN_SAME);
}

void remade_region_is_stale(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, STALE_SIZE, false);
  for (uint32_t registered = 0; registered < 2; registered++) {
    const char *name = registered ? "registered" : "made";
    hmc_remote_t *former = remote_make(pair, name,
                                       (there_t){.slot = registered, .size = STALE_SIZE, .registered = registered}),
                 *now = NULL;
    frame_write(&local, FRAME_GUARD, 40000, 7);
    assert_success(hmc_put(local.region, FRAME_GUARD, former, 100, 40000));
    for (int generation = 0; generation < 3; generation++) {
      target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = registered});
      target_do(&pair->target, place_command(registered, name, STALE_SIZE, HMC_REMOTE_ALL, registered));
      target_write_frame(pair, registered, 100, 40000, 6);
      expect_stale(&local, former);
      target_check_frame(&pair->target, registered, 100, 40000, 6);
      assert_success(hmc_remote_open(pair->peer, name, 0, &now));
      frame_write(&local, FRAME_GUARD, 40000, 5);
      assert_success(hmc_put(local.region, FRAME_GUARD, now, 100, 40000));
      target_check_frame(&pair->target, registered, 100, 40000, 5);
      expect_stale(&local, former);
      hmc_remote_close(former);
      former = now;
    }
    hmc_remote_close(former);
  }
  test_buffer_close(&local);
}

void closed_region_is_stale(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, STALE_SIZE, false);
  for (uint32_t registered = 0; registered < 2; registered++) {
    hmc_remote_t *remote = remote_make(pair, "closed",
                                       (there_t){.slot = registered, .size = STALE_SIZE, .registered = registered}),
                 *none = NULL;
    target_write_frame(pair, registered, 100, 40000, 6);
    target_do(&pair->target, (command_t){.verb = VERB_WITHDRAW, .slot = registered});
    expect_stale(&local, remote);
    if (registered) target_check_frame(&pair->target, registered, 100, 40000, 6);
    assert_status(hmc_remote_open(pair->peer, "closed", 0, &none), HMC_NOT_FOUND);
    hmc_remote_close(remote);
  }
  test_buffer_close(&local);
}

typedef struct hammer {
  pthread_t thread;
  const test_buffer_t *local;
  hmc_remote_t *remote;
  uint64_t length;
  _Atomic uint64_t puts; /* relaxed: only a sign of life */
  hmc_status_t status;
} hammer_t;

static void *hammer_away(void *argument) {
  hammer_t *hammer = argument;
  do {
    hammer->status = hmc_put(hammer->local->region, 0, hammer->remote, 0, hammer->length);
    atomic_fetch_add_explicit(&hammer->puts, 1, memory_order_relaxed);
  } while (hammer->status == HMC_SUCCESS);
  return NULL;
}

/* Closes a region under somebody's puts of `length` bytes, and looks whether its memory stays as the owner leaves it.
 */
static void close_under_puts(pair_t *pair, const test_buffer_t *local, uint64_t length, uint64_t watch_for_ms) {
  hmc_remote_t *remote = remote_make(pair, "quiet", (there_t){.size = length, .registered = true});
  hammer_t hammer = {.local = local, .remote = remote, .length = length};
  assert_int_equal(pthread_create(&hammer.thread, NULL, hammer_away, &hammer), 0);
  for (int i = 0; i < 5000 && atomic_load_explicit(&hammer.puts, memory_order_relaxed) < 3; i++) sleep_ms(1);
  uint64_t changed = target_do(&pair->target, (command_t){.verb = VERB_CLOSE_QUIET, .value = watch_for_ms});
  pthread_join(hammer.thread, NULL);
  assert_status(hammer.status, HMC_STALE);
  assert_int_equal(changed, 0);
  target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE});
  hmc_remote_close(remote);
}

void closed_region_is_quiet(void **state) {
  pair_t *pair = *state;
  const uint64_t size = 3 * MIB + 77;
  test_buffer_t local = local_make(pair, size, false);
  bytes_fill(&local, 0, size, 0x3c);
  for (int round = 0; round < (SANITIZED ? 3 : 8); round++) close_under_puts(pair, &local, size, 20);
  for (int round = 0; round < (SANITIZED ? 10 : 60); round++) /* where announcing a copy takes as long as the copy */
    close_under_puts(pair, &local, 64, 1);
  test_buffer_close(&local);
}

/* ---- rights ------------------------------------------------------------------------------------------------------ */

static void expect_right(hmc_status_t status, bool granted) {
  assert_status(status, granted ? HMC_SUCCESS : HMC_DENIED);
  if (!granted) assert_string_not_equal(hmc_last_error(), "");
}

void rights_are_kept(void **state) {
  pair_t *pair = *state;
  static const unsigned rights[] = {0, HMC_REMOTE_READ, HMC_REMOTE_WRITE, HMC_REMOTE_READ | HMC_REMOTE_WRITE,
                                    HMC_REMOTE_ATOMIC};
  test_buffer_t local = local_make(pair, STALE_SIZE, false);
  for (uint32_t i = 0; i < 2 * COUNT_OF(rights); i++) {
    unsigned right = rights[i / 2];
    char name[16];
    snprintf(name, sizeof name, "rights %u", i);
    target_do(&pair->target, place_command(i, name, STALE_SIZE, right, i % 2));
    hmc_remote_t *remote = NULL;
    assert_success(hmc_remote_open(pair->peer, name, 0, &remote));
    target_write_frame(pair, i, 300, 5000, 4);
    frame_write(&local, 500, 5000, 3);
    expect_right(hmc_put(local.region, 500, remote, 300, 5000), right & HMC_REMOTE_WRITE);
    target_check_frame(&pair->target, i, 300, 5000, right & HMC_REMOTE_WRITE ? 3 : 4);
    frame_write(&local, 500, 5000, 2);
    expect_right(hmc_get(local.region, 500, remote, 300, 5000), right & HMC_REMOTE_READ);
    uint64_t seed = !(right & HMC_REMOTE_READ) ? 2 : right & HMC_REMOTE_WRITE ? 3 : 4;
    assert_true(frame_check(&local, 500, 5000, seed) == PATTERN_SAME);
    hmc_remote_close(remote);
  }
  test_buffer_close(&local);
}

/* ---- mappings ---------------------------------------------------------------------------------------------------- */

void map_is_coherent(void **state) {
  pair_t *pair = *state;
  for (uint32_t registered = 0; registered < 2; registered++) {
    hmc_remote_t *remote = remote_make(pair, registered ? "registered" : "made",
                                       (there_t){.slot = registered, .size = STALE_SIZE, .registered = registered});
    void *pointer = pair, *again = NULL;
    hmc_status_t status = hmc_remote_map(remote, &pointer);
    if (!stamp_maps(registered)) {
      assert_status(status, HMC_UNSUPPORT);
      assert_ptr_equal(pointer, pair);
      assert_string_not_equal(hmc_last_error(), "");
      hmc_remote_close(remote);
      continue;
    }
    assert_status(status, HMC_SUCCESS);
    assert_success(hmc_remote_map(remote, &again));
    assert_ptr_equal(again, pointer);
    test_buffer_t mapped = {.memory = {HMC_MEMORY_CPU, 0}, .whole = pointer, .size = STALE_SIZE};
    test_buffer_t local = local_make(pair, STALE_SIZE, false);
    target_write_frame(pair, registered, 300, 5000, 1);
    assert_true(frame_check(&mapped, 300, 5000, 1) == PATTERN_SAME);
    frame_write(&mapped, 300, 5000, 2);
    target_check_frame(&pair->target, registered, 300, 5000, 2);
    frame_write(&local, 300, 5000, 3);
    assert_success(hmc_put(local.region, 300, remote, 300, 5000));
    assert_true(frame_check(&mapped, 300, 5000, 3) == PATTERN_SAME);
    hmc_remote_close(remote);
    test_buffer_close(&local);
  }
}

/* The permissions of the mapping that holds `pointer`, as in /proc/self/maps: "rw-s". */
static void permissions_of(const void *pointer, char permissions[8]) {
  FILE *maps = fopen("/proc/self/maps", "re");
  assert_non_null(maps);
  unsigned long from, to;
  char line[512];
  permissions[0] = 0;
  while (fgets(line, sizeof line, maps))
    if (sscanf(line, "%lx-%lx %7s", &from, &to, permissions) == 3 && (uintptr_t)pointer >= from &&
        (uintptr_t)pointer < to)
      break;
  fclose(maps);
}

void map_respects_rights(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *remote = remote_make(pair, "read only", (there_t){.size = STALE_SIZE, .rights = HMC_REMOTE_READ});
  void *pointer = NULL;
  hmc_status_t status = hmc_remote_map(remote, &pointer);
  if (status == HMC_SUCCESS) {
    char permissions[8] = "";
    permissions_of(pointer, permissions);
    if (permissions[1] == 'w') fail_msg("a region without the right to write is mapped %s", permissions);
  } else if (status != HMC_DENIED) {
    assert_status(status, HMC_UNSUPPORT);
  }
  hmc_remote_close(remote);
}

void map_outlives_the_peer(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *remote = remote_make(pair, "outlived", (there_t){.size = STALE_SIZE});
  void *pointer = NULL;
  hmc_status_t status = hmc_remote_map(remote, &pointer);
  assert_status(status, stamp_maps(false) ? HMC_SUCCESS : HMC_UNSUPPORT);
  test_buffer_t mapped = {.memory = {HMC_MEMORY_CPU, 0}, .whole = pointer, .size = STALE_SIZE};
  if (pointer) {
    frame_write(&mapped, 300, 5000, 1);
    target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE});
    assert_true(frame_check(&mapped, 300, 5000, 1) == PATTERN_SAME);
  }
  target_kill(&pair->target);
  if (pointer) {
    assert_true(frame_check(&mapped, 300, 5000, 1) == PATTERN_SAME);
    frame_write(&mapped, 300, 5000, 2);
    assert_true(frame_check(&mapped, 300, 5000, 2) == PATTERN_SAME);
  }
  hmc_remote_close(remote);
}
