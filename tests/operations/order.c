/* Order with devices: operations that begin after an event, or after what a stream has.
 *
 *   operations_order TRANSPORT MEMORY
 *
 * Each copy of the software accelerator takes 2 ms here, and moves its bytes at its end; the vendors' look-alikes move
 * them when they are asked a second time. So an operation that begins too early moves the old ones. */
#include "suite.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BYTES 65536u

static hmc_memory_t memory; /* of the local region */

typedef struct bench {
  far_t far;
  uint8_t *device; /* of the local region, filled by the stream */
  hmc_region_t *region;
  hmc_memory_stream_t stream;
  uint8_t before[BYTES], after[BYTES];
} bench_t;

/* A local region of device memory that holds `before`, and a stream that turns it into `after`. */
static bench_t *bench_open(context_pair_t *pair) {
  bench_t *bench = calloc(1, sizeof *bench);
  assert_non_null(bench);
  memset(bench->before, 'b', BYTES);
  memset(bench->after, 'a', BYTES);
  bench->far = far_make(pair, (far_options_t){.name = "far", .size = BYTES});
  assert_success(hmc_memory_allocate(memory, BYTES, (void **)&bench->device));
  assert_success(hmc_memory_copy(bench->device, memory, bench->before, (hmc_memory_t){HMC_MEMORY_CPU, 0}, BYTES));
  assert_success(hmc_region_register(pair->here, bench->device, BYTES, NULL, 0, &bench->region));
  assert_success(hmc_memory_stream_create(memory, &bench->stream));
  return bench;
}

static void fill_by_stream(bench_t *bench, int copies) {
  for (int i = 0; i < copies; i++) {
    const uint8_t *from = i + 1 < copies ? bench->before : bench->after;
    assert_success(
        hmc_memory_copy_async(bench->device, memory, from, (hmc_memory_t){HMC_MEMORY_CPU, 0}, BYTES, bench->stream));
  }
}

static void assert_far(bench_t *bench, uint8_t byte) {
  assert_int_equal(owner_others(&bench->far.place, 0, BYTES, byte, byte), 0);
}

static void bench_close(bench_t *bench) {
  hmc_memory_stream_destroy(memory, bench->stream);
  hmc_region_close(bench->region);
  hmc_memory_free(memory, bench->device);
  far_close(&bench->far);
  free(bench);
}

static void order_after_an_event(void **state) {
  bench_t *bench = bench_open(*state);
  hmc_memory_event_t *event = NULL;
  hmc_request_t *request = NULL;
  fill_by_stream(bench, 20);
  assert_success(hmc_memory_event_record(memory, bench->stream, &event));
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.event = event;
  options.flags = HMC_OPERATION_EVENT;
  assert_success(hmc_put_nb(bench->region, 0, bench->far.remote, 0, BYTES, &options, &request));
  hmc_memory_event_free(event); /* the operation keeps it */
  assert_success(finish(request));
  assert_far(bench, 'a');
  bench_close(bench);
}

static void order_after_a_stream(void **state) {
  bench_t *bench = bench_open(*state);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.flags = HMC_OPERATION_AFTER_STREAM;
  options.stream_memory = memory;
  options.stream = bench->stream;
  uint64_t word = 1;
  options.notification = &word;
  options.notification_size = sizeof word;
  fill_by_stream(bench, 20);
  assert_success(hmc_put_with(bench->region, 0, bench->far.remote, 0, BYTES, &options));
  assert_far(bench, 'a');
  context_pair_t *pair = *state;
  size_t size = 0;
  assert_success(hmc_notification_receive(pair->there, &word, sizeof word, &size, NULL, 0));
  /* With nothing on the stream it does not wait. */
  options.notification_size = 0;
  assert_success(hmc_put_with(bench->region, 0, bench->far.remote, 0, BYTES, &options));
  bench_close(bench);
}

typedef struct inside {
  bench_t *bench;
  _Atomic bool over;
  hmc_status_t status;
} inside_t;

static void put_inside(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  inside_t *inside = user;
  bench_t *bench = inside->bench;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.flags = HMC_OPERATION_AFTER_STREAM;
  options.stream_memory = memory;
  options.stream = bench->stream;
  options.timeout_ms = PATIENCE_MS / 3;
  inside->status = hmc_put_with(bench->region, 0, bench->far.remote, 0, BYTES, &options);
  atomic_store(&inside->over, true);
}

/* A callback may wait for such an operation, though it keeps the thread that would look for the event. */
static void order_in_a_callback(void **state) {
  bench_t *bench = bench_open(*state);
  inside_t inside = {.bench = bench};
  hmc_request_t *request = NULL;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.callback = put_inside;
  options.user = &inside;
  fill_by_stream(bench, 100);
  assert_success(hmc_put_nb(bench->region, 0, bench->far.remote, 0, 8, &options, &request));
  uint64_t limit = now_ms() + PATIENCE_MS;
  while (!atomic_load(&inside.over) && now_ms() < limit) sleep_ms(1);
  assert_true(atomic_load(&inside.over));
  assert_status(inside.status, HMC_SUCCESS);
  assert_success(finish(request));
  assert_far(bench, 'a');
  bench_close(bench);
}

/* Ended before the event has come: nothing moves. The look-alikes' events come too soon to be sure that they had not. */
static void order_can_be_given_up(void **state) {
  context_pair_t *pair = *state;
  bench_t *bench = bench_open(pair);
  hmc_request_t *request = NULL;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.flags = HMC_OPERATION_AFTER_STREAM;
  options.stream_memory = memory;
  options.stream = bench->stream;
  owner_fill(&bench->far.place, 0, BYTES, 'f');
  fill_by_stream(bench, 300);
  assert_success(hmc_put_nb(bench->region, 0, bench->far.remote, 0, BYTES, &options, &request));
  hmc_status_t status = hmc_request_cancel(request);
  hmc_request_free(request);
  assert_true(status == HMC_CANCELLED || status == HMC_SUCCESS);
  if (status == HMC_CANCELLED && memory.kind == HMC_MEMORY_SIM) assert_far(bench, 'f');
  options.timeout_ms = 1;
  fill_by_stream(bench, 300);
  assert_success(hmc_put_nb(bench->region, 0, bench->far.remote, 0, BYTES, &options, &request));
  status = finish(request);
  assert_true(status == HMC_TIMEOUT || status == HMC_SUCCESS);
  assert_success(hmc_memory_stream_wait(memory, bench->stream));
  bench_close(bench);
}

static void order_refuses(void **state) {
  bench_t *bench = bench_open(*state);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  hmc_memory_event_t *event = NULL;
  hmc_request_t *request = NULL;
  options.flags = HMC_OPERATION_AFTER_STREAM;
  options.stream_memory = (hmc_memory_t){HMC_MEMORY_CPU, 0};
  assert_status(hmc_put_nb(bench->region, 0, bench->far.remote, 0, 8, &options, &request), HMC_UNSUPPORT);
  options.stream_memory = memory;
  options.stream = &options; /* each vendor has a word of its own for that */
  assert_int_not_equal(hmc_put_nb(bench->region, 0, bench->far.remote, 0, 8, &options, &request), HMC_SUCCESS);
  assert_null(request);
  assert_status(hmc_memory_event_record(memory, bench->stream, NULL), HMC_INVALID_CONFIG);
  assert_status(hmc_memory_event_test(NULL), HMC_INVALID_CONFIG);
  assert_success(hmc_memory_event_record(memory, bench->stream, &event));
  assert_success(hmc_memory_event_test(event)); /* there is nothing before it */
  assert_success(hmc_memory_event_test(event));
  hmc_memory_event_free(event);
  hmc_memory_event_free(NULL);
  bench_close(bench);
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  setenv("HMC_SIM_LATENCY", "2ms", 1); /* before the accelerator is first asked for */
  setenv("HMC_LOG", "error", 1);
  if (argc != 3 || !stamp_parse(argv[1], argv[2])) return 2;
  memory = stamp.near;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(order_after_an_event, pair_case_open, pair_case_close),
      cmocka_unit_test_setup_teardown(order_after_a_stream, pair_case_open, pair_case_close),
      cmocka_unit_test_setup_teardown(order_in_a_callback, pair_case_open, pair_case_close),
      cmocka_unit_test_setup_teardown(order_can_be_given_up, pair_case_open, pair_case_close),
      cmocka_unit_test_setup_teardown(order_refuses, pair_case_open, pair_case_close),
  };
  return cmocka_run_group_tests_name("operations.order", tests, NULL, NULL) == 0 ? 0 : 1;
}
