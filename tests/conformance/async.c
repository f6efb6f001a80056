/* Requests: many at once, their whole life, and what cancelling promises about the caller's memory. */
#include "suite.h"

#include <pthread.h>
#include <stdlib.h>

#define IN_FLIGHT 192u
#define SLOT_ROOM (64 * KIB)

enum { OLD = 0x11, NEW = 0x22, REFILL = 0xee };

/* ---- many in flight ---------------------------------------------------------------------------------------------- */

typedef struct flight {
  hmc_request_t *request;
  uint64_t here, there, length, seed;
  bool is_put;
} flight_t;

static flight_t flight_plan(uint64_t number) {
  uint64_t random = mix(number + 77);
  return (flight_t){.here = number * SLOT_ROOM + FRAME_GUARD + random % 41,
                    .there = number * SLOT_ROOM + FRAME_GUARD + random % 37,
                    .length = 1 + random % (SLOT_ROOM - 3 * FRAME_GUARD),
                    .seed = random,
                    .is_put = number % 3 != 0};
}

static void flight_prepare(pair_t *pair, const test_buffer_t *local, const flight_t *flight) {
  frame_write(local, flight->here, flight->length, flight->is_put ? flight->seed : ~flight->seed);
  target_write_frame(pair, 0, flight->there, flight->length, flight->is_put ? ~flight->seed : flight->seed);
}

static void flight_launch(const test_buffer_t *local, hmc_remote_t *remote, flight_t *flight) {
  if (flight->is_put)
    assert_success(
        hmc_put_nb(local->region, flight->here, remote, flight->there, flight->length, NULL, &flight->request));
  else
    assert_success(
        hmc_get_nb(local->region, flight->here, remote, flight->there, flight->length, NULL, &flight->request));
  assert_non_null(flight->request);
}

static void flight_land(pair_t *pair, const test_buffer_t *local, flight_t *flight, bool by_polling) {
  hmc_status_t status = HMC_IN_PROGRESS;
  while (by_polling && status == HMC_IN_PROGRESS) status = hmc_request_test(flight->request);
  assert_success(hmc_request_wait(flight->request));
  hmc_request_free(flight->request);
  assert_true(frame_check(local, flight->here, flight->length, flight->seed) == PATTERN_SAME);
  target_check_frame(&pair->target, 0, flight->there, flight->length, flight->seed);
}

void many_in_flight(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *remote = remote_make(pair, "flights", (there_t){.size = IN_FLIGHT * SLOT_ROOM});
  test_buffer_t local = local_make(pair, IN_FLIGHT * SLOT_ROOM, false);
  flight_t flights[IN_FLIGHT];
  for (uint64_t i = 0; i < IN_FLIGHT; i++) {
    flights[i] = flight_plan(i);
    flight_prepare(pair, &local, &flights[i]);
  }
  for (uint64_t i = 0; i < IN_FLIGHT; i++) flight_launch(&local, remote, &flights[i]);
  for (uint64_t i = 0; i < IN_FLIGHT; i++) /* 71 has no factor in common with the number: every one, in another order */
    flight_land(pair, &local, &flights[(i * 71 + 5) % IN_FLIGHT], i % 2 == 0);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- one request's life ------------------------------------------------------------------------------------------ */

static void expect_finished(hmc_request_t *request) {
  assert_success(hmc_request_test(request));
  assert_success(hmc_request_wait(request));
  assert_success(hmc_request_cancel(request));
  assert_success(hmc_request_test(request));
}

void request_life(void **state) {
  pair_t *pair = *state;
  const uint64_t size = 2 * MIB;
  hmc_remote_t *remote = remote_make(pair, "life", (there_t){.size = size});
  test_buffer_t local = local_make(pair, size, false);
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .timeout_ms = PATIENCE_MS};
  hmc_request_t *request = NULL;

  assert_success(hmc_put_nb(local.region, 7, remote, 9, 0, NULL, &request));
  assert_success(hmc_request_wait(request));
  expect_finished(request);
  hmc_request_free(request);

  target_write_frame(pair, 0, 301, MIB, 1);
  frame_write(&local, 503, MIB, 2);
  assert_success(hmc_put_nb(local.region, 503, remote, 301, MIB, &options, &request));
  hmc_status_t status;
  while ((status = hmc_request_test(request)) == HMC_IN_PROGRESS)
    ;
  assert_status(status, HMC_SUCCESS);
  target_check_frame(&pair->target, 0, 301, MIB, 2);
  expect_finished(request);
  hmc_request_free(request);
  hmc_request_free(NULL);

  bytes_fill(&local, 0, size, OLD);
  for (int i = 0; i < (SANITIZED ? 6 : 20); i++) { /* freed while in progress: as if cancelled */
    assert_success(hmc_get_nb(local.region, 0, remote, 0, size, &options, &request));
    hmc_request_free(request);
    bytes_fill(&local, 0, size, REFILL);
    assert_int_equal(bytes_other(&local, 0, size, REFILL, REFILL), 0);
  }
  sleep_ms(20);
  assert_int_equal(bytes_other(&local, 0, size, REFILL, REFILL), 0);
  assert_success(exchange(&local, 0, remote, 0, MIB, 4, 9));
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- cancel ------------------------------------------------------------------------------------------------------ */

static void target_fill(pair_t *pair, uint64_t length, uint8_t value) {
  target_do(&pair->target, (command_t){.verb = VERB_BYTES_FILL, .length = length, .value = value});
}

static uint64_t target_others(pair_t *pair, uint64_t length, uint8_t one, uint8_t two) {
  command_t command = {.verb = VERB_BYTES_OTHER, .length = length, .value = (uint64_t)two << 8 | one};
  return target_do(&pair->target, command);
}

static hmc_status_t cancel_soon(hmc_request_t *request, uint64_t round) {
  if (round % 3 == 1) HMC_IGNORE(hmc_request_test(request));
  if (round % 3 == 2) sleep_ms(1);
  hmc_status_t status = hmc_request_cancel(request);
  if (status != HMC_SUCCESS) assert_status(status, HMC_CANCELLED);
  assert_int_equal(hmc_request_test(request), status);
  assert_int_equal(hmc_request_wait(request), status);
  hmc_request_free(request);
  return status;
}

void request_cancel_leaves_memory_alone(void **state) {
  pair_t *pair = *state;
  const uint64_t size = 6 * MIB + 11, rounds = SANITIZED ? 3 : 12;
  hmc_remote_t *remote = remote_make(pair, "cancel", (there_t){.size = size});
  test_buffer_t local = local_make(pair, size, false);
  hmc_request_t *request = NULL;
  for (uint64_t round = 0; round < rounds; round++) {
    target_fill(pair, size, OLD);
    bytes_fill(&local, 0, size, NEW);
    assert_success(hmc_put_nb(local.region, 0, remote, 0, size, NULL, &request));
    hmc_status_t status = cancel_soon(request, round);
    bytes_fill(&local, 0, size, REFILL);
    sleep_ms(10);
    assert_int_equal(target_others(pair, size, status == HMC_SUCCESS ? NEW : OLD, NEW), 0);

    target_fill(pair, size, NEW);
    bytes_fill(&local, 0, size, OLD);
    assert_success(hmc_get_nb(local.region, 0, remote, 0, size, NULL, &request));
    status = cancel_soon(request, round);
    assert_int_equal(bytes_other(&local, 0, size, status == HMC_SUCCESS ? NEW : OLD, NEW), 0);
    bytes_fill(&local, 0, size, REFILL);
    sleep_ms(10);
    assert_int_equal(bytes_other(&local, 0, size, REFILL, REFILL), 0);
  }
  assert_success(exchange(&local, 0, remote, 0, MIB, 4, 9));
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- several waiters --------------------------------------------------------------------------------------------- */

typedef struct waiter {
  pthread_t thread;
  hmc_request_t *request;
  hmc_status_t status;
} waiter_t;

static void *wait_for_it(void *argument) {
  waiter_t *waiter = argument;
  waiter->status = hmc_request_wait(waiter->request);
  return NULL;
}

void request_waited_for_by_many(void **state) {
  pair_t *pair = *state;
  const uint64_t size = 4 * MIB;
  hmc_remote_t *remote = remote_make(pair, "waiters", (there_t){.size = size});
  test_buffer_t local = local_make(pair, size, false);
  for (uint64_t round = 0; round < 5; round++) {
    hmc_request_t *request = NULL;
    frame_write(&local, 0, size, round);
    assert_success(hmc_put_nb(local.region, 0, remote, 0, size, NULL, &request));
    waiter_t waiters[4];
    for (size_t i = 0; i < COUNT_OF(waiters); i++) {
      waiters[i] = (waiter_t){.request = request, .status = HMC_ERROR};
      assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_it, &waiters[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(waiters); i++) pthread_join(waiters[i].thread, NULL);
    for (size_t i = 0; i < COUNT_OF(waiters); i++) assert_status(waiters[i].status, HMC_SUCCESS);
    hmc_request_free(request);
    target_check_frame(&pair->target, 0, 0, size, round);
  }
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- hanging up -------------------------------------------------------------------------------------------------- */

void peer_close_cancels(void **state) {
  pair_t *pair = *state;
  const uint64_t size = 4 * MIB;
  hmc_remote_t *remote = remote_make(pair, "hang up", (there_t){.size = size});
  test_buffer_t local = local_make(pair, size, false);
  target_fill(pair, size, OLD);
  bytes_fill(&local, 0, size, NEW);
  hmc_request_t *requests[16];
  for (size_t i = 0; i < COUNT_OF(requests); i++)
    assert_success(hmc_put_nb(local.region, 0, remote, 0, size, NULL, &requests[i]));
  hmc_peer_close(pair->peer);
  pair->peer = NULL;
  bytes_fill(&local, 0, size, REFILL);
  for (size_t i = 0; i < COUNT_OF(requests); i++) {
    hmc_status_t status = hmc_request_test(requests[i]);
    if (status != HMC_SUCCESS) assert_status(status, HMC_CANCELLED);
    hmc_request_free(requests[i]);
  }
  sleep_ms(20);
  assert_int_equal(target_others(pair, size, OLD, NEW), 0);

  assert_success(hmc_context_connect(pair->context, "127.0.0.1", pair->port, stamp.type, 0, &pair->peer));
  assert_success(hmc_remote_open(pair->peer, "hang up", 0, &remote));
  assert_success(exchange(&local, 0, remote, 0, MIB, 4, 3));
  hmc_remote_close(remote);
  test_buffer_close(&local);
}
