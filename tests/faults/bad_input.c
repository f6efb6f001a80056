/* Bad input: a status, a text that names the numbers, and no byte moved. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

#define HERE_SIZE UINT64_C(70001)
#define THERE_SIZE UINT64_C(90001)

typedef struct bad_range {
  uint64_t here, there, length;
} bad_range_t;

static const bad_range_t bad_ranges[] = {
    {0, 0, HERE_SIZE + 1},       {HERE_SIZE, 0, 1},
    {1, 0, HERE_SIZE},           {HERE_SIZE + 1, 0, 1},
    {UINT64_MAX, 0, 2},          {UINT64_MAX - 9, 0, 10},
    {0, THERE_SIZE, 1},          {0, THERE_SIZE - 4095, 4096},
    {0, UINT64_MAX, 1},          {0, UINT64_MAX - 99, 100},
    {0, UINT64_MAX, UINT64_MAX}, {0, 0, UINT64_MAX},
    {70001, 90001, UINT64_MAX},  {UINT64_C(1) << 63, UINT64_C(1) << 63, UINT64_C(1) << 63},
    {5, THERE_SIZE - 100, 101},  {HERE_SIZE - 100, 5, 101},
};

/* The side that the range runs over is named by its offset, its length and the size that it ran past. */
static void expect_numbers(const bad_range_t *bad) {
  bool here = bad->here > HERE_SIZE || bad->length > HERE_SIZE - bad->here;
  bool there = bad->there > THERE_SIZE || bad->length > THERE_SIZE - bad->there;
  assert_error_has_number(bad->length);
  char size[24];
  snprintf(size, sizeof size, "%llu", (unsigned long long)THERE_SIZE);
  bool names_there = there && strstr(hmc_last_error(), size);
  assert_true(here || there);
  assert_error_has_number(names_there ? THERE_SIZE : HERE_SIZE);
  assert_error_has_number(names_there ? bad->there : bad->here);
}

static void expect_refused(scene_t *scene, const test_buffer_t *local, hmc_remote_t *remote, const bad_range_t *bad) {
  hmc_request_t *untouched = (hmc_request_t *)scene, *request = untouched;
  assert_status(hmc_put(local->region, bad->here, remote, bad->there, bad->length), HMC_OUT_OF_RANGE);
  expect_numbers(bad);
  assert_status(hmc_get(local->region, bad->here, remote, bad->there, bad->length), HMC_OUT_OF_RANGE);
  expect_numbers(bad);
  assert_status(hmc_put_nb(local->region, bad->here, remote, bad->there, bad->length, NULL, &request),
                HMC_OUT_OF_RANGE);
  expect_numbers(bad);
  assert_status(hmc_get_nb(local->region, bad->here, remote, bad->there, bad->length, NULL, &request),
                HMC_OUT_OF_RANGE);
  assert_ptr_equal(request, untouched);
}

void ranges_are_checked(void **state) {
  scene_t *scene = *state;
  test_buffer_t local;
  hmc_remote_t *remote = NULL;
  assert_success(test_buffer_open(&local, scene->context, cpu, HERE_SIZE, NULL, 0, true));
  target_do(&scene->subject.target, (command_t){.verb = VERB_PLACE,
                                                .slot = 1,
                                                .memory = cpu,
                                                .length = THERE_SIZE,
                                                .rights = HMC_REMOTE_ALL,
                                                .registered = true,
                                                .text = "odd"});
  assert_success(hmc_remote_open(scene->subject.peer, "odd", 0, &remote));
  command_t write = {.verb = VERB_FRAME_WRITE, .slot = 1, .length = THERE_SIZE, .value = 1};
  target_do(&scene->subject.target, write);
  frame_write(&local, 0, HERE_SIZE, 2);
  for (size_t i = 0; i < COUNT_OF(bad_ranges); i++) expect_refused(scene, &local, remote, &bad_ranges[i]);
  assert_true(frame_check(&local, 0, HERE_SIZE, 2) == PATTERN_SAME);
  target_check_frame(&scene->subject.target, 1, 0, THERE_SIZE, 1);

  assert_success(hmc_put(local.region, HERE_SIZE, remote, THERE_SIZE, 0));
  assert_success(hmc_get(local.region, 0, remote, 0, 0));
  assert_true(frame_check(&local, 0, HERE_SIZE, 2) == PATTERN_SAME);
  target_check_frame(&scene->subject.target, 1, 0, THERE_SIZE, 1);
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 3, 1));
  test_buffer_close(&local);
}

/* ---- nulls ------------------------------------------------------------------------------------------------------- */

#define refuse(call)                                                                                                   \
  do {                                                                                                                 \
    assert_status((call), HMC_INVALID_CONFIG);                                                                         \
    assert_text();                                                                                                     \
  } while (0)

static void refuse_null_operations(scene_t *scene) {
  hmc_region_t *local = scene->local.region;
  hmc_remote_t *remote = scene->subject.remote;
  hmc_request_t *request = NULL;
  size_t index = 0;
  refuse(hmc_put(NULL, 0, remote, 0, 8));
  refuse(hmc_put(local, 0, NULL, 0, 8));
  refuse(hmc_get(NULL, 0, remote, 0, 8));
  refuse(hmc_get(local, 0, NULL, 0, 8));
  refuse(hmc_put_nb(NULL, 0, remote, 0, 8, NULL, &request));
  refuse(hmc_put_nb(local, 0, NULL, 0, 8, NULL, &request));
  refuse(hmc_put_nb(local, 0, remote, 0, 8, NULL, NULL));
  refuse(hmc_get_nb(local, 0, remote, 0, 8, NULL, NULL));
  refuse(hmc_atomic(NULL, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL));
  refuse(hmc_atomic_nb(remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, NULL));
  refuse(hmc_request_wait_all(NULL, 1));
  refuse(hmc_request_wait_any(NULL, 1, &index));
  refuse(hmc_request_wait_any(&request, 1, NULL));
  refuse(hmc_request_wait_some(&request, 1, NULL, &index));
  refuse(hmc_request_wait_some(&request, 1, &index, NULL));
  refuse(hmc_request_test(NULL));
  refuse(hmc_request_wait(NULL));
  refuse(hmc_request_cancel(NULL));
  assert_null(request);
}

static void refuse_null_regions(scene_t *scene) {
  static uint8_t bytes[64];
  hmc_region_t *region = NULL;
  hmc_remote_t *remote = NULL;
  void *pointer = NULL;
  refuse(hmc_region_allocate(NULL, cpu, 8, "n", 0, &region));
  refuse(hmc_region_allocate(scene->context, cpu, 8, "n", 0, NULL));
  refuse(hmc_region_register(NULL, bytes, 8, "n", 0, &region));
  refuse(hmc_region_register(scene->context, NULL, 8, "n", 0, &region));
  refuse(hmc_region_register(scene->context, bytes, 8, "n", 0, NULL));
  refuse(hmc_remote_open(NULL, "region", 0, &remote));
  refuse(hmc_remote_open(scene->subject.peer, NULL, 0, &remote));
  refuse(hmc_remote_open(scene->subject.peer, "region", 0, NULL));
  refuse(hmc_remote_map(NULL, &pointer));
  refuse(hmc_remote_map(scene->subject.remote, NULL));
  assert_null(region);
  assert_null(remote);
  assert_null(pointer);
}

static void refuse_null_peers(scene_t *scene) {
  uint16_t port = scene->subject.port;
  hmc_peer_t *peer = NULL;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  char text[64];
  size_t size = 0;
  int descriptor = -1;
  refuse(hmc_context_create(NULL, NULL));
  refuse(hmc_context_listen(NULL, "127.0.0.1", 0, NULL));
  refuse(hmc_context_listen(scene->context, NULL, 0, NULL));
  refuse(hmc_context_connect(NULL, "127.0.0.1", port, stamp.type, 0, &peer));
  refuse(hmc_context_connect(scene->context, NULL, port, stamp.type, 0, &peer));
  refuse(hmc_context_connect(scene->context, "127.0.0.1", port, stamp.type, 0, NULL));
  refuse(hmc_context_accept(NULL, 1, &peer));
  refuse(hmc_context_accept(scene->context, 1, NULL));
  refuse(hmc_context_event_descriptor(NULL, &descriptor));
  refuse(hmc_context_event_descriptor(scene->context, NULL));
  refuse(hmc_notification_receive(NULL, text, sizeof text, &size, NULL, 1));
  refuse(hmc_notification_receive(scene->context, NULL, sizeof text, &size, NULL, 1));
  refuse(hmc_notification_receive(scene->context, text, sizeof text, NULL, NULL, 1));
  refuse(hmc_peer_flush(NULL, 1));
  refuse(hmc_peer_get_info(NULL, &info));
  refuse(hmc_peer_get_info(scene->subject.peer, NULL));
  refuse(hmc_peer_explain(NULL, text, sizeof text, NULL));
  assert_null(peer);
  hmc_context_destroy(NULL);
  hmc_peer_close(NULL);
  hmc_region_close(NULL);
  hmc_remote_close(NULL);
  hmc_request_free(NULL);
}

void nulls_are_refused(void **state) {
  scene_t *scene = *state;
  refuse_null_operations(scene);
  refuse_null_regions(scene);
  refuse_null_peers(scene);
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 3, 1));
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */

void bad_regions_are_refused(void **state) {
  scene_t *scene = *state;
  static uint8_t bytes[64];
  hmc_region_t *region = NULL;
  hmc_remote_t *remote = NULL;
  refuse(hmc_region_allocate(scene->context, cpu, 0, "empty", 0, &region));
  refuse(hmc_region_register(scene->context, bytes, 0, "empty", 0, &region));
  assert_status(hmc_region_allocate(scene->context, (hmc_memory_t){HMC_MEMORY_CPU, 7}, 64, "seventh", 0, &region),
                HMC_NOT_FOUND);
  assert_error_names("7");
  assert_status(hmc_region_allocate(scene->context, (hmc_memory_t){HMC_MEMORY_SIM, 99}, 64, "far", 0, &region),
                HMC_NOT_FOUND);
  assert_error_names("99");
  assert_int_not_equal(
      hmc_region_allocate(scene->context, (hmc_memory_t){(hmc_memory_kind_t)77, 0}, 64, "odd", 0, &region),
      HMC_SUCCESS);
  assert_text();
  assert_status(hmc_region_allocate(scene->context, cpu, SIZE_MAX / 2, "vast", 0, &region), HMC_NO_MEMORY);
  assert_error_has_number(SIZE_MAX / 2);
  assert_status(hmc_region_allocate(scene->context, cpu, SIZE_MAX, "vaster", 0, &region), HMC_NO_MEMORY);
  refuse(hmc_region_register(scene->context, (void *)(UINTPTR_MAX - 63), 128, "wraps", 0, &region));
  assert_null(region);
  assert_status(hmc_remote_open(scene->subject.peer, "unheard of", 0, &remote), HMC_NOT_FOUND);
  assert_error_names("unheard of");
  assert_null(remote);
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

void bad_settings_are_refused(void **state) {
  (void)state;
  static const char *const bad[][2] = {
      {"HMC_TIMEOUT", "soon"},          {"HMC_TIMEOUT", "-5s"},   {"HMC_SPIN", "7 apples"},
      {"HMC_TCP_STREAMS", "several"},   {"HMC_ENCRYPT", "maybe"}, {"HMC_TCP_BUFFER", "99999999999999999999G"},
      {"HMC_TCP_CONGESTION", "wishes"}, {"HMC_CIPHER", "rot13"},  {"HMC_TRANSPORTS", "tcp,telepathy"}};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    hmc_context_t *context = NULL;
    char former[64] = "";
    const char *value = getenv(bad[i][0]);
    if (value) snprintf(former, sizeof former, "%s", value);
    setenv(bad[i][0], bad[i][1], 1);
    assert_status(hmc_context_create(NULL, &context), HMC_INVALID_CONFIG);
    assert_null(context);
    assert_error_names(bad[i][0]);
    assert_error_names(bad[i][1]);
    if (value)
      setenv(bad[i][0], former, 1);
    else
      unsetenv(bad[i][0]);
  }
}
