/* Words that change in one step, and what follows an operation's data: signals and notifications. */
#include "suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define WORDS_SIZE 4096u

/* ---- single words ------------------------------------------------------------------------------------------------ */

/* Three words, of which the middle one is meant to change. */
typedef struct trio {
  uint64_t before, word, after;
} trio_t;

static void trio_set(const test_buffer_t *local, hmc_remote_t *remote, uint64_t offset, uint64_t word) {
  trio_t trio = {UINT64_C(0x1111111111111111), word, UINT64_C(0x3333333333333333)};
  test_buffer_store(local, 0, &trio, sizeof trio);
  assert_success(hmc_put(local->region, 0, remote, offset - 8, sizeof trio));
}

static uint64_t trio_get(const test_buffer_t *local, hmc_remote_t *remote, uint64_t offset) {
  trio_t trio;
  assert_success(hmc_get(local->region, 64, remote, offset - 8, sizeof trio));
  test_buffer_load(local, 64, &trio, sizeof trio);
  assert_true(trio.before == UINT64_C(0x1111111111111111));
  assert_true(trio.after == UINT64_C(0x3333333333333333));
  return trio.word;
}

#define A UINT64_C(0xf0f0f0f0f0f0f0f0)
#define B UINT64_C(0x123456789abcdef0)

static const struct {
  hmc_atomic_operation_t operation;
  uint64_t word, operand, compare, wide, narrow; /* the word afterwards, by width 8 and 4 */
} steps[] = {
    {HMC_ATOMIC_ADD, B, 5, 0, B + 5, B + 5},
    {HMC_ATOMIC_ADD, UINT64_MAX, 2, 0, 1, UINT64_C(0xffffffff00000001)},
    {HMC_ATOMIC_AND, B, A, 0, B &A, UINT64_C(0x1234567890b0d0f0)},
    {HMC_ATOMIC_OR, B, A, 0, B | A, UINT64_C(0x12345678fafcfef0)},
    {HMC_ATOMIC_XOR, B, A, 0, B ^ A, UINT64_C(0x123456786a4c2e00)},
    {HMC_ATOMIC_SWAP, B, A, 0, A, UINT64_C(0x12345678f0f0f0f0)},
    {HMC_ATOMIC_COMPARE_SWAP, B, A, B, A, UINT64_C(0x12345678f0f0f0f0)},
    {HMC_ATOMIC_COMPARE_SWAP, B, A, B + 1, B, B},
};

void atomics_of_every_kind(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *made = remote_make(pair, "made", (there_t){.slot = 0, .size = WORDS_SIZE});
  hmc_remote_t *registered =
      remote_make(pair, "registered", (there_t){.slot = 1, .size = WORDS_SIZE, .registered = true});
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  for (size_t i = 0; i < 4 * COUNT_OF(steps); i++) {
    hmc_remote_t *remote = i % 2 ? registered : made;
    unsigned width = i / 2 % 2 ? 4 : 8;
    size_t k = i / 4;
    uint64_t offset = 8 + 8 * i, fetched = 99, mask = width == 8 ? UINT64_MAX : UINT32_MAX;
    trio_set(&local, remote, offset, steps[k].word);
    uint64_t compare = steps[k].compare & mask;
    assert_success(
        hmc_atomic(remote, offset, steps[k].operation, width, steps[k].operand, compare, k % 3 == 2 ? NULL : &fetched));
    assert_true(trio_get(&local, remote, offset) == (width == 8 ? steps[k].wide : steps[k].narrow));
    assert_true(fetched == (k % 3 == 2 ? 99 : steps[k].word & mask));

    hmc_request_t *request = NULL;
    trio_set(&local, remote, offset, steps[k].word);
    assert_success(
        hmc_atomic_nb(remote, offset, steps[k].operation, width, steps[k].operand, compare, &fetched, NULL, &request));
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
    assert_true(trio_get(&local, remote, offset) == (width == 8 ? steps[k].wide : steps[k].narrow));
    assert_true(fetched == (steps[k].word & mask));
  }
  uint64_t fetched = 0; /* the upper half of a word, by itself */
  trio_set(&local, made, 800, B);
  assert_success(hmc_atomic(made, 804, HMC_ATOMIC_ADD, 4, 1, 0, &fetched));
  assert_true(fetched == B >> 32);
  assert_true(trio_get(&local, made, 800) == B + (UINT64_C(1) << 32));
  hmc_remote_close(made);
  hmc_remote_close(registered);
  test_buffer_close(&local);
}

void atomics_that_are_refused(void **state) {
  pair_t *pair = *state;
  hmc_remote_t *remote = remote_make(pair, "words", (there_t){.slot = 0, .size = WORDS_SIZE}), *shut = NULL;
  unsigned others = HMC_REMOTE_READ | HMC_REMOTE_WRITE;
  shut = remote_make(pair, "no atomics", (there_t){.slot = 1, .size = WORDS_SIZE, .rights = others});
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  hmc_atomic_operation_t none = (hmc_atomic_operation_t)0, unknown = (hmc_atomic_operation_t)9;
  uint64_t fetched = 99;
  hmc_request_t *request = NULL;
  trio_set(&local, remote, 16, B);
  trio_set(&local, shut, 16, B);
  assert_status(hmc_atomic(NULL, 16, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_INVALID_CONFIG);
  assert_status(hmc_atomic(remote, 16, none, 8, 1, 0, &fetched), HMC_INVALID_CONFIG);
  assert_status(hmc_atomic(remote, 16, unknown, 8, 1, 0, &fetched), HMC_INVALID_CONFIG);
  assert_status(hmc_atomic(remote, 16, HMC_ATOMIC_ADD, 3, 1, 0, &fetched), HMC_INVALID_CONFIG);
  assert_status(hmc_atomic(remote, 12, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_INVALID_CONFIG);
  assert_error_has_number(12);
  assert_status(hmc_atomic(remote, 18, HMC_ATOMIC_ADD, 4, 1, 0, &fetched), HMC_INVALID_CONFIG);
  assert_status(hmc_atomic(remote, WORDS_SIZE, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_OUT_OF_RANGE);
  assert_error_has_number(WORDS_SIZE);
  assert_status(hmc_atomic(remote, UINT64_MAX - 7, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_OUT_OF_RANGE);
  assert_status(hmc_atomic(shut, 16, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_DENIED);
  assert_status(hmc_atomic_nb(shut, 16, HMC_ATOMIC_ADD, 8, 1, 0, &fetched, NULL, &request), HMC_DENIED);
  assert_null(request);
  assert_true(fetched == 99);
  assert_true(trio_get(&local, remote, 16) == B);
  assert_true(trio_get(&local, shut, 16) == B);
  target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 0});
  assert_status(hmc_atomic(remote, 16, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_STALE);
  assert_true(fetched == 99);
  hmc_remote_close(remote);
  hmc_remote_close(shut);
  test_buffer_close(&local);
}

/* ---- contended words --------------------------------------------------------------------------------------------- */

/* Adds 1 to a word for a while, and counts how often. */
typedef struct adder {
  pthread_t thread;
  hmc_remote_t *remote;
  uint64_t end, times;
  bool by_swapping;
  hmc_status_t status;
} adder_t;

#define CONTENDED 16u /* offset of the word */

static hmc_status_t add_by_swapping(hmc_remote_t *remote) {
  uint64_t seen = 0, wanted;
  hmc_status_t status;
  do {
    wanted = seen;
    status = hmc_atomic(remote, CONTENDED, HMC_ATOMIC_COMPARE_SWAP, 8, wanted + 1, wanted, &seen);
  } while (status == HMC_SUCCESS && seen != wanted);
  return status;
}

static void *add(void *argument) {
  adder_t *adder = argument;
  adder->status = HMC_SUCCESS;
  while (adder->status == HMC_SUCCESS && (adder->times % 16 != 0 || now_ms() < adder->end)) {
    adder->status = adder->by_swapping ? add_by_swapping(adder->remote)
                                       : hmc_atomic(adder->remote, CONTENDED, HMC_ATOMIC_ADD, 8, 1, 0, NULL);
    adder->times++;
  }
  return NULL;
}

/* Four threads; returns how often they added. */
static uint64_t adders_run(hmc_remote_t *remote, uint64_t milliseconds, bool by_swapping) {
  adder_t adders[4];
  uint64_t sum = 0;
  for (size_t i = 0; i < COUNT_OF(adders); i++) {
    adders[i] = (adder_t){.remote = remote, .end = now_ms() + milliseconds, .by_swapping = by_swapping};
    assert_int_equal(pthread_create(&adders[i].thread, NULL, add, &adders[i]), 0);
  }
  for (size_t i = 0; i < COUNT_OF(adders); i++) pthread_join(adders[i].thread, NULL);
  for (size_t i = 0; i < COUNT_OF(adders); i++) {
    assert_status(adders[i].status, HMC_SUCCESS);
    sum += adders[i].times;
  }
  return sum;
}

/* What the owner adds with: its processor where that reaches the word, else a connection of its own to itself. */
static command_t owner_adds(pair_t *pair, uint32_t slot, const char *name, uint64_t milliseconds) {
  if (stamp.remote.kind == HMC_MEMORY_CPU)
    return (command_t){.verb = VERB_OWN_ADD, .slot = slot, .offset = CONTENDED, .value = milliseconds};
  command_t dial = {.verb = VERB_CONNECT, .slot = 5, .text = "127.0.0.1", .value = pair->port, .type = stamp.type};
  target_do(&pair->target, dial);
  command_t open = {.verb = VERB_REMOTE_OPEN, .slot = 5, .peer = 5};
  snprintf(open.text, sizeof open.text, "%s", name);
  target_do(&pair->target, open);
  return (command_t){.verb = VERB_ATOMIC_ADD, .remote = 5, .remote_offset = CONTENDED, .value = milliseconds};
}

void atomics_from_many(void **state) {
  pair_t *pair = *state;
  const uint64_t milliseconds = 100;
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  for (uint32_t registered = 0; registered < 2; registered++) {
    const char *name = registered ? "registered" : "made";
    hmc_remote_t *remote =
        remote_make(pair, name, (there_t){.slot = registered, .size = WORDS_SIZE, .registered = registered});
    trio_set(&local, remote, CONTENDED, 0);
    command_t own = owner_adds(pair, registered, name, milliseconds);
    target_send(&pair->target, &own);
    uint64_t times = adders_run(remote, milliseconds, false);
    answer_t answer = target_receive(&pair->target);
    assert_int_equal(answer.status, HMC_SUCCESS);
    assert_int_equal(trio_get(&local, remote, CONTENDED), times + answer.value);
    hmc_remote_close(remote);
  }
  test_buffer_close(&local);
}

void atomics_compare_and_swap(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  hmc_remote_t *remote = remote_make(pair, "swapped", (there_t){.size = WORDS_SIZE});
  trio_set(&local, remote, CONTENDED, 0);
  uint64_t times = adders_run(remote, 60, true);
  assert_int_equal(trio_get(&local, remote, CONTENDED), times);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static void await_seen(const test_buffer_t *local, hmc_remote_t *remote, uint64_t round) {
  uint64_t seen = 0, limit = now_ms() + PATIENCE_MS;
  while (seen < round && now_ms() < limit) {
    assert_success(hmc_get(local->region, 2048, remote, SIGNAL_SEEN, 8));
    test_buffer_load(local, 2048, &seen, sizeof seen);
    sched_yield();
  }
  assert_int_equal(seen, round);
}

void signal_comes_after_the_data(void **state) {
  pair_t *pair = *state;
  const uint64_t rounds = SANITIZED ? 200 : stamp_is_plain() ? 2000 : 500;
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  hmc_remote_t *remote = remote_make(pair, "signal", (there_t){.size = SIGNAL_ROOM});
  target_send(&pair->target, &(command_t){.verb = VERB_SIGNALLED, .value = rounds});
  for (uint64_t round = 1; round <= rounds; round++) {
    uint64_t words[VISIBLE_BLOCK / 8], length = visible_length(round);
    for (uint64_t i = 0; i < length / 8; i++) words[i] = round;
    test_buffer_store(&local, 0, words, length);
    hmc_signal_t signal = {remote, SIGNAL_WORD, HMC_ATOMIC_ADD, 1};
    if (round % 2 == 0) signal = (hmc_signal_t){remote, SIGNAL_WORD, HMC_ATOMIC_SWAP, round};
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .signal = &signal};
    hmc_request_t *request = NULL;
    assert_success(hmc_put_nb(local.region, 0, remote, signal_data(round), length, &options, &request));
    signal = (hmc_signal_t){NULL, 0, HMC_ATOMIC_ADD, 77}; /* is read during the call only */
    assert_success(hmc_request_wait(request));
    hmc_request_free(request);
    if (round % VISIBLE_BURST == 0 || round == rounds) await_seen(&local, remote, round);
  }
  answer_t answer = target_receive(&pair->target);
  assert_int_equal(answer.status, HMC_SUCCESS);
  assert_int_equal(answer.value, 0);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

void signal_stays_away_on_failure(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  hmc_remote_t *words = remote_make(pair, "words", (there_t){.slot = 0, .size = WORDS_SIZE});
  hmc_remote_t *gone = remote_make(pair, "gone", (there_t){.slot = 1, .size = WORDS_SIZE, .registered = true});
  trio_set(&local, words, 16, 5);
  target_do(&pair->target, (command_t){.verb = VERB_PLACE_CLOSE, .slot = 1});
  hmc_signal_t signal = {words, 16, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .signal = &signal};
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_put_nb(local.region, 0, gone, 0, 64, &options, &request);
  if (status == HMC_SUCCESS) status = hmc_request_wait(request);
  assert_status(status, HMC_STALE);
  hmc_request_free(request);
  request = NULL;
  signal.offset = 20;
  assert_status(hmc_put_nb(local.region, 0, words, 64, 64, &options, &request), HMC_INVALID_CONFIG);
  signal.offset = WORDS_SIZE;
  assert_status(hmc_put_nb(local.region, 0, words, 64, 64, &options, &request), HMC_OUT_OF_RANGE);
  assert_null(request);
  assert_int_equal(trio_get(&local, words, 16), 5);
  hmc_remote_close(words);
  hmc_remote_close(gone);
  test_buffer_close(&local);
}

/* ---- notifications ----------------------------------------------------------------------------------------------- */

static answer_t notified(pair_t *pair, uint64_t capacity, uint64_t timeout_ms) {
  return target_call(&pair->target, (command_t){.verb = VERB_NOTIFIED, .length = capacity, .timeout_ms = timeout_ms});
}

static hmc_status_t put_notifying_within(const test_buffer_t *local, hmc_remote_t *remote, uint64_t length,
                                         const void *text, size_t size, uint64_t timeout_ms) {
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                     .notification = text,
                                     .notification_size = size,
                                     .timeout_ms = timeout_ms};
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_put_nb(local->region, 300, remote, 300, length, &options, &request);
  if (status == HMC_SUCCESS) status = hmc_request_wait(request);
  hmc_request_free(request);
  return status;
}

static hmc_status_t put_notifying(const test_buffer_t *local, hmc_remote_t *remote, uint64_t length, const void *text,
                                  size_t size) {
  return put_notifying_within(local, remote, length, text, size, 0);
}

#define NOTIFICATION_MOST_RDMA (128 * KIB) /* hmc/operation.h */

void notification_comes_after_the_data(void **state) {
  pair_t *pair = *state;
  const uint64_t size = 64 * KIB;
  static uint8_t text[HMC_NOTIFICATION_MAX + 1];
  test_buffer_t local = local_make(pair, size, false);
  hmc_remote_t *remote = remote_make(pair, "noted", (there_t){.size = size, .registered = true});
  for (uint64_t round = 1; round <= 60; round++) {
    uint64_t length = mix(round) % 50000;
    size_t letters = 1 + round * 7 % 300;
    memset(text, (int)('a' + round % 26), letters);
    frame_write(&local, 300, length, round);
    target_write_frame(pair, 0, 300, length, ~round);
    command_t take = {.verb = VERB_NOTIFIED, .length = HMC_NOTIFICATION_MAX, .timeout_ms = PATIENCE_MS};
    target_send(&pair->target, &take); /* it waits already */
    assert_success(put_notifying(&local, remote, length, text, letters));
    answer_t answer = target_receive(&pair->target);
    assert_int_equal(answer.status, HMC_SUCCESS);
    assert_int_equal(answer.value, letters);
    assert_memory_equal(answer.text, text, letters);
    target_check_frame(&pair->target, 0, 300, length, round);
  }
  size_t most = stamp.type == HMC_CONNECTION_RDMA ? NOTIFICATION_MOST_RDMA : HMC_NOTIFICATION_MAX;
  assert_success(put_notifying(&local, remote, 0, text, most)); /* nothing but the notification */
  if (most < HMC_NOTIFICATION_MAX) assert_status(put_notifying(&local, remote, 0, text, most + 1), HMC_UNSUPPORT);
  assert_status(put_notifying(&local, remote, 8, text, HMC_NOTIFICATION_MAX + 1), HMC_INVALID_CONFIG);
  assert_error_has_number(HMC_NOTIFICATION_MAX);
  answer_t answer = notified(pair, 100, PATIENCE_MS); /* too small a buffer: it stays */
  assert_int_equal(answer.status, HMC_OUT_OF_RANGE);
  assert_int_equal(answer.value, most);
  assert_int_equal(notified(pair, HMC_NOTIFICATION_MAX, PATIENCE_MS).value, most);
  assert_int_equal(notified(pair, HMC_NOTIFICATION_MAX, 50).status, HMC_TIMEOUT);
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

void notification_queue_is_bounded(void **state) {
  pair_t *pair = *state;
  test_buffer_t local = local_make(pair, WORDS_SIZE, false);
  hmc_remote_t *remote = remote_make(pair, "full", (there_t){.size = WORDS_SIZE});
  for (uint32_t i = 0; i < HMC_NOTIFICATION_QUEUE; i++) assert_success(put_notifying(&local, remote, 8, &i, sizeof i));
  uint32_t over = UINT32_MAX;
  for (uint64_t round = 0; round < 5; round++) { /* the message waits for room, the data have arrived */
    frame_write(&local, 300, 1000, round);
    target_write_frame(pair, 0, 300, 1000, ~round);
    command_t check = {.verb = VERB_FRAME_CHECK, .offset = 300, .length = 1000, .value = round};
    uint64_t within = 15;
    do { /* a busy machine may not even move the bytes in that time */
      within *= 2;
      assert_status(put_notifying_within(&local, remote, 1000, &over, sizeof over, within), HMC_TIMEOUT);
    } while (target_do(&pair->target, check) != PATTERN_SAME && within < PATIENCE_MS / 2);
    target_check_frame(&pair->target, 0, 300, 1000, round);
  }
  for (uint32_t i = 0; i < HMC_NOTIFICATION_QUEUE; i++) { /* in the order they were sent, one after the other */
    answer_t answer = notified(pair, HMC_NOTIFICATION_MAX, PATIENCE_MS);
    assert_int_equal(answer.status, HMC_SUCCESS);
    assert_int_equal(answer.value, sizeof i);
    assert_memory_equal(answer.text, &i, sizeof i);
  }
  assert_int_equal(notified(pair, HMC_NOTIFICATION_MAX, 20).status, HMC_TIMEOUT);
  assert_success(put_notifying(&local, remote, 8, &over, sizeof over));
  hmc_remote_close(remote);
  test_buffer_close(&local);
}
