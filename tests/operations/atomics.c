/* Atomics: every operation against a model, and words that many change at once. */
#include "suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_SIZE 4096u

/* ---- a model */

typedef struct step {
  hmc_atomic_operation_t operation;
  unsigned width;
  uint64_t offset, operand, compare;
  bool fetch, later; /* as a request */
} step_t;

static step_t step_draw(uint64_t *random, const uint8_t *model) {
  uint64_t number = draw(random);
  step_t step = {.operation = (hmc_atomic_operation_t)(1 + number % 8),
                 .width = 1u << (number >> 14 & 3),
                 .operand = draw(random),
                 .compare = draw(random),
                 .fetch = number >> 9 & 3,
                 .later = number >> 12 & 1};
  step.offset = (number >> 16) % (WORDS_SIZE / step.width) * step.width;
  step.operand >>= 64 - 8 * step.width;
  step.compare >>= 64 - 8 * step.width;
  if (number >> 13 & 1) { /* half of the comparisons hold */
    step.compare = 0;
    memcpy(&step.compare, model + step.offset, step.width);
  }
  return step;
}

/* What the header says, on a word of the host; returns the word as it was. */
static uint64_t step_model(const step_t *step, uint8_t *model) {
  uint64_t old = 0, word;
  memcpy(&old, model + step->offset, step->width);
  switch (step->operation) {
  case HMC_ATOMIC_ADD: word = old + step->operand; break;
  case HMC_ATOMIC_AND: word = old & step->operand; break;
  case HMC_ATOMIC_OR: word = old | step->operand; break;
  case HMC_ATOMIC_XOR: word = old ^ step->operand; break;
  case HMC_ATOMIC_SWAP: word = step->operand; break;
  case HMC_ATOMIC_LOAD: word = old; break;
  case HMC_ATOMIC_STORE:
    word = step->operand;
    memcpy(model + step->offset, &word, step->width);
    return 0;
  default: word = old == step->compare ? step->operand : old;
  }
  memcpy(model + step->offset, &word, step->width);
  return old;
}

static void step_run(const step_t *step, hmc_remote_t *remote, uint64_t *fetched) {
  uint64_t *where = step->fetch ? fetched : NULL;
  if (!step->later) {
    assert_success(hmc_atomic(remote, step->offset, step->operation, step->width, step->operand, step->compare, where));
    return;
  }
  hmc_request_t *request = NULL;
  assert_success(hmc_atomic_nb(remote, step->offset, step->operation, step->width, step->operand, step->compare, where,
                               NULL, &request));
  assert_success(finish(request));
}

void words_follow_a_model(void **state) {
  context_pair_t *pair = *state;
  static uint8_t model[WORDS_SIZE], seen[WORDS_SIZE];
  const int steps = SANITIZED ? 600 : 1500;
  for (int registered = 0; registered < 2; registered++) {
    far_t far = far_make(
        pair,
        (far_options_t){.name = registered ? "registered" : "made", .size = WORDS_SIZE, .registered = registered});
    uint64_t random = (uint64_t)registered;
    for (size_t i = 0; i < sizeof model; i++) model[i] = (uint8_t)draw(&random);
    shared_begin();
    test_buffer_store(&far.place, 0, model, sizeof model);
    shared_end();
    for (int i = 0; i < steps; i++) {
      const uint64_t untouched = UINT64_C(0x5555555555555555);
      uint64_t fetched = untouched;
      step_t step = step_draw(&random, model);
      uint64_t old = step_model(&step, model);
      step_run(&step, far.remote, &fetched);
      if (fetched != (step.fetch ? old : untouched))
        fail_msg("step %d: operation %d on %u B fetched %llx, not %llx", i, (int)step.operation, step.width,
                 (unsigned long long)fetched, (unsigned long long)old);
    }
    shared_begin();
    test_buffer_load(&far.place, 0, seen, sizeof seen);
    shared_end();
    assert_memory_equal(seen, model, sizeof seen);
    far_close(&far);
  }
}

/* ---- contended words */

#define HANDS 4u

/* A thread that changes a word; `note` keeps what it fetched. */
typedef struct hand {
  pthread_t thread;
  const test_buffer_t *owner; /* not NULL: by the owner's own processor */
  hmc_remote_t *remote;
  uint64_t offset, times, number;
  unsigned width;
  uint64_t *note;
  hmc_status_t status;
} hand_t;

static void hands_run(hand_t *hands, size_t count, void *(*work)(void *)) {
  for (size_t i = 0; i < count; i++) assert_int_equal(pthread_create(&hands[i].thread, NULL, work, &hands[i]), 0);
  for (size_t i = 0; i < count; i++) pthread_join(hands[i].thread, NULL);
  for (size_t i = 0; i < count; i++) assert_status(hands[i].status, HMC_SUCCESS);
}

/* One change of the hand's word, by turns blocking and as a request; the word as it was. */
static uint64_t hand_change(hand_t *hand, uint64_t turn, hmc_atomic_operation_t operation, uint64_t operand) {
  uint64_t fetched = 0;
  hmc_request_t *request = NULL;
  if (hand->status != HMC_SUCCESS) return 0;
  if (turn % 2) {
    hand->status = hmc_atomic(hand->remote, hand->offset, operation, hand->width, operand, 0, &fetched);
    return fetched;
  }
  hand->status =
      hmc_atomic_nb(hand->remote, hand->offset, operation, hand->width, operand, 0, &fetched, NULL, &request);
  if (hand->status == HMC_SUCCESS) hand->status = finish(request);
  return fetched;
}

static uint64_t owner_add(const hand_t *hand) {
  uint8_t *word = hand->owner->whole + hand->owner->margin + hand->offset;
  if (hand->width == 4) return __atomic_fetch_add((uint32_t *)(void *)word, 1, __ATOMIC_SEQ_CST);
  return __atomic_fetch_add((uint64_t *)(void *)word, 1, __ATOMIC_SEQ_CST);
}

static void *count_up(void *argument) {
  hand_t *hand = argument;
  for (uint64_t i = 0; i < hand->times; i++)
    hand->note[i] = hand->owner ? owner_add(hand) : hand_change(hand, i, HMC_ATOMIC_ADD, 1);
  return NULL;
}

/* Every hand adds 1; each number must have been fetched by exactly one of them. */
static void count_together(context_pair_t *pair, bool registered, unsigned width) {
  const uint64_t times = SANITIZED ? 400 : 600, start = UINT32_MAX - 1000; /* 4 B wrap around on the way */
  far_t far = far_make(pair, (far_options_t){.name = "counted", .size = WORDS_SIZE, .registered = registered});
  size_t count = stamp_is_host() ? HANDS + 1 : HANDS;
  uint64_t total = count * times, *notes = calloc(total, sizeof *notes);
  uint8_t *taken = calloc(total, 1);
  hand_t hands[HANDS + 1];
  assert_true(notes && taken);
  word_store(&far.place, 64, start);
  for (size_t i = 0; i < count; i++)
    hands[i] = (hand_t){.owner = i == HANDS ? &far.place : NULL,
                        .remote = far.remote,
                        .offset = 64,
                        .times = times,
                        .width = width,
                        .note = notes + i * times};
  hands_run(hands, count, count_up);
  for (uint64_t i = 0; i < total; i++) {
    uint64_t number = width == 4 ? (uint32_t)(notes[i] - start) : notes[i] - start;
    assert_true(number < total);
    assert_int_equal(taken[number]++, 0);
  }
  uint64_t end = word_load(&far.place, 64);
  assert_true(end == (width == 4 ? (uint32_t)(start + total) : start + total));
  free(notes);
  free(taken);
  far_close(&far);
}

void words_lose_no_increment(void **state) {
  for (int i = 0; i < 4; i++) count_together(*state, i % 2, i / 2 ? 4 : 8);
}

static uint64_t token(const hand_t *hand, uint64_t turn) { return hand->number * hand->times + turn + 1; }

static void *swap_tokens(void *argument) {
  hand_t *hand = argument;
  for (uint64_t i = 0; i < hand->times; i++) hand->note[i] = hand_change(hand, i, HMC_ATOMIC_SWAP, token(hand, i));
  return NULL;
}

/* Every hand puts in tokens of its own: each comes out once, but for the one that stays. */
void words_lose_no_token(void **state) {
  context_pair_t *pair = *state;
  const uint64_t times = SANITIZED ? 300 : 800, total = HANDS * times;
  far_t far = far_make(pair, (far_options_t){.name = "tokens", .size = WORDS_SIZE, .registered = true});
  uint64_t *notes = calloc(total, sizeof *notes);
  uint8_t *seen = calloc(total + 1, 1);
  hand_t hands[HANDS];
  assert_true(notes && seen);
  word_store(&far.place, 8, 0);
  for (size_t i = 0; i < HANDS; i++)
    hands[i] =
        (hand_t){.remote = far.remote, .offset = 8, .times = times, .number = i, .width = 8, .note = notes + i * times};
  hands_run(hands, HANDS, swap_tokens);
  uint64_t last = word_load(&far.place, 8);
  assert_true(last <= total);
  seen[last]++;
  for (uint64_t i = 0; i < total; i++) {
    assert_true(notes[i] <= total);
    seen[notes[i]]++;
  }
  for (uint64_t i = 0; i <= total; i++) assert_int_equal(seen[i], 1);
  free(notes);
  free(seen);
  far_close(&far);
}

/* Sets, flips and clears a bit that no other hand touches; notes what went wrong. */
static void *own_a_bit(void *argument) {
  hand_t *hand = argument;
  uint64_t bit = UINT64_C(1) << (hand->number * 9);
  for (uint64_t i = 0; i < hand->times; i++) {
    *hand->note += (hand_change(hand, i, HMC_ATOMIC_OR, bit) & bit) != 0;
    *hand->note += (hand_change(hand, i, HMC_ATOMIC_AND, ~bit) & bit) == 0;
    *hand->note += (hand_change(hand, i, HMC_ATOMIC_XOR, bit) & bit) != 0;
    *hand->note += (hand_change(hand, i + 1, HMC_ATOMIC_XOR, bit) & bit) == 0;
  }
  return NULL;
}

void words_bits_are_their_owners(void **state) {
  context_pair_t *pair = *state;
  const uint64_t times = SANITIZED ? 100 : 200, others = UINT64_C(0xf000000000000000);
  for (unsigned width = 4; width <= 8; width += 4) {
    far_t far = far_make(pair, (far_options_t){.name = "bits", .size = WORDS_SIZE, .registered = width == 4});
    uint64_t wrong[HANDS] = {0};
    hand_t hands[HANDS];
    word_store(&far.place, 16, others);
    for (size_t i = 0; i < HANDS; i++)
      hands[i] =
          (hand_t){.remote = far.remote, .offset = 16, .times = times, .number = i, .width = width, .note = &wrong[i]};
    hands_run(hands, HANDS, own_a_bit);
    for (size_t i = 0; i < HANDS; i++) assert_int_equal(wrong[i], 0);
    assert_true(word_load(&far.place, 16) == others);
    far_close(&far);
  }
}

/* ---- what is refused */

static void refuse(hmc_remote_t *remote, uint64_t offset, int operation, unsigned width, hmc_status_t wanted,
                   const char *part) {
  const uint64_t untouched = 99;
  uint64_t fetched = untouched;
  hmc_request_t *request = NULL;
  hmc_atomic_operation_t kind = (hmc_atomic_operation_t)operation;
  assert_status(hmc_atomic(remote, offset, kind, width, 1, 0, &fetched), wanted);
  assert_error_names(part);
  assert_status(hmc_atomic_nb(remote, offset, kind, width, 1, 0, &fetched, NULL, &request), wanted);
  assert_error_names(part);
  assert_null(request);
  assert_true(fetched == untouched);
}

void words_refused(void **state) {
  context_pair_t *pair = *state;
  uint64_t word = UINT64_C(0x123456789abcdef0);
  far_t far = far_make(pair, (far_options_t){.name = "words", .size = 100, .registered = true});
  far_t shut =
      far_make(pair, (far_options_t){.name = "shut", .size = 100, .rights = HMC_REMOTE_READ | HMC_REMOTE_WRITE});
  word_store(&far.place, 16, word);
  word_store(&shut.place, 16, word);
  refuse(NULL, 16, HMC_ATOMIC_ADD, 8, HMC_INVALID_CONFIG, "NULL");
  refuse(far.remote, 16, 0, 8, HMC_INVALID_CONFIG, "operation 0");
  refuse(far.remote, 16, 9, 8, HMC_INVALID_CONFIG, "operation 9");
  refuse(far.remote, 16, -1, 4, HMC_INVALID_CONFIG, "operation -1");
  static const unsigned widths[] = {0, 3, 5, 6, 12, 16};
  for (size_t i = 0; i < COUNT_OF(widths); i++)
    refuse(far.remote, 16, HMC_ATOMIC_SWAP, widths[i], HMC_INVALID_CONFIG, "B");
  refuse(far.remote, 20, HMC_ATOMIC_ADD, 8, HMC_INVALID_CONFIG, "20");
  refuse(far.remote, 17, HMC_ATOMIC_ADD, 4, HMC_INVALID_CONFIG, "17");
  refuse(far.remote, 96, HMC_ATOMIC_ADD, 8, HMC_OUT_OF_RANGE, "96"); /* its first half lies inside */
  refuse(far.remote, 100, HMC_ATOMIC_ADD, 4, HMC_OUT_OF_RANGE, "100");
  refuse(far.remote, UINT64_MAX - 7, HMC_ATOMIC_ADD, 8, HMC_OUT_OF_RANGE, "words");
  refuse(shut.remote, 16, HMC_ATOMIC_ADD, 8, HMC_DENIED, "shut");
  assert_status(hmc_atomic_nb(far.remote, 16, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, NULL), HMC_INVALID_CONFIG);
  assert_true(word_load(&far.place, 16) == word);
  assert_true(word_load(&shut.place, 16) == word);
  assert_success(hmc_atomic(far.remote, 96, HMC_ATOMIC_ADD, 4, 1, 0, NULL)); /* the last one inside */

  test_buffer_withdraw(&far.place);
  uint64_t fetched = 99;
  assert_status(hmc_atomic(far.remote, 16, HMC_ATOMIC_ADD, 8, 1, 0, &fetched), HMC_STALE);
  assert_true(fetched == 99);
  far_close(&far);
  far_close(&shut);
}

/* `fetched` has its word as soon as the request is complete, however one learns of that, and is left alone later. */
void words_fetched_until_complete(void **state) {
  context_pair_t *pair = *state;
  for (int registered = 0; registered < 2; registered++) {
    far_t far = far_make(pair, (far_options_t){.name = "fetched", .size = WORDS_SIZE, .registered = registered});
    uint64_t fetched = 0;
    hmc_request_t *request = NULL;
    word_store(&far.place, 8, 41);
    assert_success(hmc_atomic_nb(far.remote, 8, HMC_ATOMIC_ADD, 8, 1, 0, &fetched, NULL, &request));
    assert_success(hmc_peer_flush(pair->peer, 0));
    assert_true(fetched == 41);
    fetched = 77; /* its owner may use it for something else */
    assert_success(hmc_request_test(request));
    assert_success(hmc_request_wait(request));
    assert_success(hmc_request_cancel(request));
    hmc_request_free(request);
    assert_true(fetched == 77);
    far_close(&far);
  }
}

/* What goes along with an atomic comes after it, and the request is complete when all of it is. */
void words_with_all_options(void **state) {
  context_pair_t *pair = *state;
  for (int registered = 0; registered < 2; registered++) {
    far_t far = far_make(pair, (far_options_t){.name = "words", .size = WORDS_SIZE, .registered = registered});
    far_t others = far_make(pair, (far_options_t){.name = "others", .size = WORDS_SIZE, .registered = !registered});
    for (uint64_t round = 1; round <= (SANITIZED ? 200 : 400); round++) {
      hmc_signal_t signal = {others.remote, 8, HMC_ATOMIC_SWAP, round};
      hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                         .signal = round % 3 ? &signal : NULL,
                                         .notification = &round,
                                         .notification_size = sizeof round};
      uint64_t fetched = 0, told = 0;
      size_t size = 0;
      hmc_request_t *request = NULL;
      assert_success(
          hmc_atomic_nb(far.remote, 8, HMC_ATOMIC_ADD, 8, 1, 0, round % 2 ? &fetched : NULL, &options, &request));
      if (round % 5) {
        assert_success(finish(request));
        assert_true(fetched == (round % 2 ? round - 1 : 0));
      }
      assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, NULL, 0));
      assert_int_equal(told, round);
      assert_int_equal(word_load(&far.place, 8), round);
      assert_int_equal(word_load(&others.place, 8), round - (round % 3 == 0));
      if (round % 5 == 0) {
        assert_success(finish(request));
        assert_true(fetched == (round % 2 ? round - 1 : 0));
      }
    }
    far_close(&others);
    far_close(&far);
  }
}
