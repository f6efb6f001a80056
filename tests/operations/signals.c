/* Signals: words that change once the data are there, and not at all where the operation fails. */
#include "suite.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_SIZE 4096u

/* ---- never early */

static void await_word(const test_buffer_t *local, hmc_remote_t *remote, uint64_t offset, uint64_t wanted) {
  uint64_t seen = 0, limit = now_ms() + PATIENCE_MS;
  while (seen < wanted && now_ms() < limit) {
    assert_success(hmc_get(local->region, 2048, remote, offset, 8));
    test_buffer_load(local, 2048, &seen, sizeof seen);
  }
  assert_int_equal(seen, wanted);
}

/* Some rounds with fresh words; the target's own thread spins on the one and looks at the data the moment it changes.
 * Where a round is no more than stores by this thread, it waits for that look each time. */
static void watched_rounds(distant_t *distant, const test_buffer_t *local, hmc_remote_t *remote, uint64_t rounds) {
  const uint64_t burst = stamp_is("shm") && stamp_is_host() ? 1 : VISIBLE_BURST;
  static const uint64_t nothing[1 + SIGNAL_DATA / 8];
  test_buffer_store(local, 0, nothing, SIGNAL_DATA);
  assert_success(hmc_put(local->region, 0, remote, 0, SIGNAL_DATA));
  target_send(&distant->target, &(command_t){.verb = VERB_SIGNALLED, .slot = 1, .value = rounds});
  for (uint64_t round = 1; round <= rounds; round++) {
    uint64_t words[VISIBLE_BLOCK / 8], length = visible_length(round);
    for (uint64_t i = 0; i < length / 8; i++) words[i] = round;
    test_buffer_store(local, 0, words, length);
    hmc_signal_t signal = {remote, SIGNAL_WORD, HMC_ATOMIC_ADD, 1};
    if (round % 2) signal = (hmc_signal_t){remote, SIGNAL_WORD, HMC_ATOMIC_SWAP, round};
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .signal = &signal};
    assert_success(put_with(local, 0, remote, signal_data(round), length, &options));
    if (round % burst == 0 || round == rounds) await_word(local, remote, SIGNAL_SEEN, round);
  }
  answer_t answer = target_receive(&distant->target);
  assert_int_equal(answer.status, HMC_SUCCESS);
  assert_int_equal(answer.value, 0);
}

/* 5,000 rounds, and 2,000 where the same code has a setting more; on a machine that is busy with something else, as
 * many as some seconds bring. */
void signal_never_early_across_processes(void **state) {
  context_pair_t *pair = *state;
  const uint64_t bursts = SANITIZED ? 2 : stamp_is_plain() ? 10 : 4, limit = now_ms() + 4000;
  distant_t distant;
  distant_start(&distant, pair);
  test_buffer_t local = near_make(pair, WORDS_SIZE, false);
  target_do(&distant.target, (command_t){.verb = VERB_PLACE,
                                         .slot = 1,
                                         .memory = stamp.far,
                                         .length = SIGNAL_ROOM,
                                         .rights = HMC_REMOTE_ALL,
                                         .text = "watched"});
  hmc_remote_t *remote = NULL;
  assert_success(hmc_remote_open(distant.peer, "watched", 0, &remote));
  for (uint64_t burst = 0; burst < bursts && now_ms() < limit; burst++) watched_rounds(&distant, &local, remote, 500);
  test_buffer_close(&local);
  distant_end(&distant);
}

/* ---- many frames */

#define LARGE (3 * MIB)

/* The owner: waits for word == round, looks at the data at once, and lets the next round begin. */
typedef struct watcher {
  pthread_t thread;
  const test_buffer_t *data, *words;
  uint64_t rounds;
  _Atomic uint64_t seen;
  uint64_t wrong;
} watcher_t;

static uint64_t round_length(uint64_t round) { return round % 5 ? 1 + mix(round) % 5000 : LARGE - mix(round) % 5000; }

/* Spins, but lets others run on a machine with few processors. */
static bool await_own_word(const test_buffer_t *words, uint64_t offset, uint64_t wanted) {
  uint64_t limit = now_ms() + PATIENCE_MS;
  uint32_t looks = 0;
  while (word_load(words, offset) != wanted)
    if (++looks % 1024 == 0 && now_ms() > limit) return false;
  return true;
}

static void *watch_rounds(void *argument) {
  watcher_t *watcher = argument;
  for (uint64_t round = 1; round <= watcher->rounds; round++) {
    bool came = await_own_word(watcher->words, 8, round);
    watcher->wrong += !came || owner_frame_check(watcher->data, 512, round_length(round), round) != PATTERN_SAME;
    owner_frame_write(watcher->data, 512, round_length(round + 1), ~round); /* what the next one has to replace */
    atomic_store(&watcher->seen, round);
    if (!came) break;
  }
  return NULL;
}

static hmc_status_t put_round(const test_buffer_t *local, hmc_remote_t *data, uint64_t round,
                              const hmc_signal_t *signal) {
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .signal = signal};
  uint64_t length = round_length(round);
  frame_write(local, 512, length, round);
  if (round % 3) return put_with(local, 512, data, 512, length, &options);
  hmc_segment_t pieces[] = {{512, 512, length / 3}, {512 + length / 3, 512 + length / 3, length - length / 3}};
  hmc_batch_t *batch = NULL;
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_batch_create(local->region, data, pieces, 2, &batch);
  if (status == HMC_SUCCESS) status = hmc_batch_put_nb(batch, &options, &request);
  if (status == HMC_SUCCESS) status = finish(request);
  hmc_batch_free(batch);
  return status;
}

/* Data and word in regions that are reached in different ways. */
static void signal_rounds(context_pair_t *pair, bool lend_data, bool lend_words) {
  const uint64_t rounds = 20; /* four of them large */
  far_t data = far_make(pair, (far_options_t){.name = "data", .size = LARGE + 1024, .registered = lend_data});
  far_t words = far_make(pair, (far_options_t){.name = "words", .size = WORDS_SIZE, .registered = lend_words});
  test_buffer_t local = near_make(pair, LARGE + 1024, lend_words);
  watcher_t watcher = {.data = &data.place, .words = &words.place, .rounds = rounds};
  owner_frame_write(&data.place, 512, round_length(1), 99);
  assert_int_equal(pthread_create(&watcher.thread, NULL, watch_rounds, &watcher), 0);
  hmc_status_t status = HMC_SUCCESS;
  for (uint64_t round = 1; round <= rounds && status == HMC_SUCCESS; round++) {
    hmc_signal_t signal = {words.remote, 8, round % 2 ? HMC_ATOMIC_ADD : HMC_ATOMIC_SWAP, round % 2 ? 1 : round};
    status = put_round(&local, data.remote, round, &signal);
    uint64_t limit = now_ms() + PATIENCE_MS;
    while (atomic_load(&watcher.seen) < round && now_ms() < limit) spin_ns(1000);
  }
  pthread_join(watcher.thread, NULL);
  assert_status(status, HMC_SUCCESS);
  assert_int_equal(watcher.wrong, 0);
  assert_int_equal(word_load(&words.place, 8), rounds);
  assert_int_equal(word_load(&words.place, 0), 0);
  assert_int_equal(word_load(&words.place, 16), 0);
  test_buffer_close(&local);
  far_close(&words);
  far_close(&data);
}

void signal_after_many_frames(void **state) {
  for (int i = 0; i < 4; i++) signal_rounds(*state, i % 2, i / 2);
}

/* ---- after a get */

/* The owner overwrites what is being read as soon as the signal says that the get is over. */
typedef struct eraser {
  pthread_t thread;
  const test_buffer_t *data, *words;
  uint64_t rounds, length;
  _Atomic uint64_t ready; /* the round whose data lie there */
  bool late;
} eraser_t;

static void *erase_rounds(void *argument) {
  eraser_t *eraser = argument;
  for (uint64_t round = 1; round <= eraser->rounds && !eraser->late; round++) {
    owner_frame_write(eraser->data, 512, eraser->length, round);
    atomic_store(&eraser->ready, round);
    eraser->late = !await_own_word(eraser->words, 8, round);
    owner_fill(eraser->data, 512, eraser->length, 0xee);
  }
  return NULL;
}

void signal_after_a_get(void **state) {
  context_pair_t *pair = *state;
  for (int registered = 0; registered < 2; registered++) {
    const uint64_t length = 2 * MIB + 77;
    far_t data = far_make(pair, (far_options_t){.name = "data", .size = length + 1024, .registered = registered});
    far_t words = far_make(pair, (far_options_t){.name = "words", .size = WORDS_SIZE, .registered = !registered});
    test_buffer_t local = near_make(pair, length + 1024, false);
    eraser_t eraser = {.data = &data.place, .words = &words.place, .rounds = SANITIZED ? 10 : 15, .length = length};
    assert_int_equal(pthread_create(&eraser.thread, NULL, erase_rounds, &eraser), 0);
    uint64_t wrong = 0;
    hmc_status_t status = HMC_SUCCESS;
    for (uint64_t round = 1; round <= eraser.rounds && status == HMC_SUCCESS; round++) {
      hmc_signal_t signal = {words.remote, 8, HMC_ATOMIC_SWAP, round};
      frame_write(&local, 512, length, ~round);
      uint64_t limit = now_ms() + PATIENCE_MS;
      while (atomic_load(&eraser.ready) < round && now_ms() < limit) spin_ns(1000);
      status = get_with(&local, 512, data.remote, 512, length,
                        &(hmc_operation_options_t){.size = sizeof(hmc_operation_options_t), .signal = &signal});
      wrong += frame_check(&local, 512, length, round) != PATTERN_SAME;
    }
    pthread_join(eraser.thread, NULL);
    assert_status(status, HMC_SUCCESS);
    assert_false(eraser.late);
    assert_int_equal(wrong, 0);
    test_buffer_close(&local);
    far_close(&words);
    far_close(&data);
  }
}

/* ---- undone */

/* Everything that may go with an operation. */
static hmc_operation_options_t with_all(const hmc_signal_t *signal) {
  return (hmc_operation_options_t){
      .size = sizeof(hmc_operation_options_t), .signal = signal, .notification = "over", .notification_size = 4};
}

void signal_undone_when_refused(void **state) {
  context_pair_t *pair = *state;
  far_t words = far_make(pair, (far_options_t){.name = "words", .size = WORDS_SIZE});
  far_t shut =
      far_make(pair, (far_options_t){.name = "shut", .size = WORDS_SIZE, .rights = HMC_REMOTE_READ | HMC_REMOTE_WRITE});
  test_buffer_t local = near_make(pair, WORDS_SIZE, false);
  distant_t distant;
  distant_start(&distant, pair);
  owner_fill(&words.place, 0, WORDS_SIZE, 0x11);
  uint64_t before = word_load(&words.place, 16);
  hmc_signal_t signal = {words.remote, 16, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = with_all(&signal);
  /* the operation itself cannot be */
  assert_status(put_with(&local, 0, words.remote, WORDS_SIZE - 7, 8, &options), HMC_OUT_OF_RANGE);
  assert_status(put_with(&local, WORDS_SIZE - 7, words.remote, 0, 8, &options), HMC_OUT_OF_RANGE);
  assert_status(get_with(&local, 0, words.remote, WORDS_SIZE + 1, 8, &options), HMC_OUT_OF_RANGE);
  /* its signal cannot be: then no data go either */
  signal.offset = 12;
  assert_status(put_with(&local, 0, words.remote, 64, 8, &options), HMC_INVALID_CONFIG);
  assert_error_names("signal");
  assert_error_names("12");
  signal.offset = WORDS_SIZE;
  assert_status(put_with(&local, 0, words.remote, 64, 8, &options), HMC_OUT_OF_RANGE);
  assert_error_names("signal");
  signal = (hmc_signal_t){shut.remote, 16, HMC_ATOMIC_ADD, 1};
  assert_status(put_with(&local, 0, words.remote, 64, 8, &options), HMC_DENIED);
  signal = (hmc_signal_t){NULL, 16, HMC_ATOMIC_ADD, 1};
  assert_status(put_with(&local, 0, words.remote, 64, 8, &options), HMC_INVALID_CONFIG);
  signal = (hmc_signal_t){words.remote, 16, (hmc_atomic_operation_t)0, 1};
  assert_status(put_with(&local, 0, words.remote, 64, 8, &options), HMC_INVALID_CONFIG);
  signal = (hmc_signal_t){distant.remote, 16, HMC_ATOMIC_ADD, 1};
  assert_status(put_with(&local, 0, words.remote, 64, 8, &options), HMC_INVALID_CONFIG);
  assert_true(word_load(&words.place, 16) == before);
  assert_int_equal(owner_others(&words.place, 0, WORDS_SIZE, 0x11, 0x11), 0);
  assert_no_notification(pair->there);
  distant_end(&distant);
  test_buffer_close(&local);
  far_close(&shut);
  far_close(&words);
}

static void undo_stale(context_pair_t *pair, bool registered, uint64_t length) {
  far_t words = far_make(pair, (far_options_t){.name = "words", .size = WORDS_SIZE, .registered = !registered});
  far_t gone = far_make(pair, (far_options_t){.name = "gone", .size = length, .registered = registered});
  test_buffer_t local = near_make(pair, length, false);
  hmc_segment_t pieces[] = {{0, 0, length / 2}, {length / 2 + 1, length / 2 + 1, 5}};
  hmc_batch_t *batch = NULL;
  hmc_request_t *request = NULL;
  assert_success(hmc_batch_create(local.region, gone.remote, pieces, 2, &batch));
  test_buffer_withdraw(&gone.place);
  hmc_signal_t signal = {words.remote, 16, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = with_all(&signal);
  assert_status(put_with(&local, 0, gone.remote, 0, length, &options), HMC_STALE);
  assert_status(get_with(&local, 0, gone.remote, 0, length, &options), HMC_STALE);
  hmc_status_t status = hmc_batch_put_nb(batch, &options, &request);
  assert_status(status == HMC_SUCCESS ? finish(request) : status, HMC_STALE);
  /* the signal's own region is gone: where that is seen on the way only, the data have arrived */
  signal = (hmc_signal_t){gone.remote, 16, HMC_ATOMIC_ADD, 1};
  owner_fill(&words.place, 64, 64, 0x77);
  for (uint8_t round = 1; round <= 30; round++) {
    bytes_fill(&local, 0, 64, round);
    status = hmc_put_nb(local.region, 0, words.remote, 64, 64, &options, &request);
    uint8_t there = status == HMC_SUCCESS ? round : 0x77;
    assert_status(status == HMC_SUCCESS ? finish(request) : status, HMC_STALE);
    assert_int_equal(owner_others(&words.place, 64, 64, there, there), 0);
  }
  assert_int_equal(word_load(&words.place, 16), 0);
  assert_no_notification(pair->there);
  /* and the peers go on */
  signal = (hmc_signal_t){words.remote, 16, HMC_ATOMIC_ADD, 1};
  assert_success(put_with(&local, 0, words.remote, 64, 64, &options));
  assert_int_equal(word_load(&words.place, 16), 1);
  uint8_t data[8];
  size_t size = 0;
  assert_success(hmc_notification_receive(pair->there, data, sizeof data, &size, NULL, 0));
  hmc_batch_free(batch);
  test_buffer_close(&local);
  far_close(&gone);
  far_close(&words);
}

void signal_undone_when_stale(void **state) {
  for (int registered = 0; registered < 2; registered++) {
    undo_stale(*state, registered, 64);
    undo_stale(*state, registered, 2 * MIB + 3);
  }
}

/* A put that was cancelled on its way may have been complete at the target already; where it was not, its signal and
 * its notification stay away for ever. */
void signal_undone_when_cancelled(void **state) {
  (void)state;
  static const char *const narrow[] = {"HMC_TCP_BUFFER", "64K", NULL};
  const uint64_t length = 4 * MIB;
  const int rounds = SANITIZED ? 30 : 50;
  context_pair_t pair;
  context_pair_open(&pair, narrow);
  far_t words = far_make(&pair, (far_options_t){.name = "words", .size = WORDS_SIZE});
  far_t data = far_make(&pair, (far_options_t){.name = "data", .size = length, .registered = true});
  test_buffer_t local = near_make(&pair, length, false);
  uint64_t random = 7, cancelled = 0;
  for (int round = 1; round <= rounds; round++) {
    uint8_t pattern = (uint8_t)(1 + round % 250);
    hmc_signal_t signal = {words.remote, 16, HMC_ATOMIC_SWAP, (uint64_t)round};
    hmc_operation_options_t options = with_all(&signal);
    hmc_request_t *request = NULL;
    bytes_fill(&local, 0, length, pattern);
    owner_fill(&data.place, 0, length, 0);
    word_store(&words.place, 16, 0);
    assert_success(hmc_put_nb(local.region, 0, data.remote, 0, length, &options, &request));
    spin_ns(draw(&random) % 2000000);
    hmc_status_t status = hmc_request_cancel(request);
    hmc_request_free(request);
    if (status != HMC_SUCCESS) assert_status(status, HMC_CANCELLED);
    cancelled += status == HMC_CANCELLED;
    assert_success(hmc_put(local.region, 0, words.remote, 64, 8)); /* by here the rest of it has come, too */
    assert_success(hmc_atomic(data.remote, 0, HMC_ATOMIC_ADD, 8, 0, 0, NULL));
    bool whole = owner_others(&data.place, 0, length, pattern, pattern) == 0;
    bool signalled = word_load(&words.place, 16) == (uint64_t)round;
    uint8_t note[8];
    size_t size = 0;
    bool noted = hmc_notification_receive(pair.there, note, sizeof note, &size, NULL, 1) == HMC_SUCCESS;
    if (status == HMC_SUCCESS) assert_true(whole && signalled && noted);
    assert_true(whole || !signalled);
    assert_true(signalled || !noted);
  }
  assert_true(cancelled > 0 || stamp.type == HMC_CONNECTION_SHM);
  test_buffer_close(&local);
  far_close(&data);
  far_close(&words);
  context_pair_close(&pair);
}

/* ---- a region that says when peers have written */

typedef struct told {
  _Atomic uint32_t calls;
  _Atomic uint64_t word; /* of the region, as the last call saw it; host memory only */
  const uint8_t *base;
} told_t;

static void note_written(void *user) {
  told_t *told = user;
  if (told->base)
    atomic_store(&told->word, __atomic_load_n((const uint64_t *)(const void *)told->base, __ATOMIC_ACQUIRE));
  atomic_fetch_add(&told->calls, 1);
}

static void await_call(const told_t *told, uint32_t before) {
  uint64_t limit = now_ms() + PATIENCE_MS;
  while (atomic_load(&told->calls) == before && now_ms() < limit) sched_yield();
  assert_true(atomic_load(&told->calls) > before);
}

/* Each write that passes the owner's process calls, after it can be read; a get does not, nor does what maps the region. */
void written_is_told(void **state) {
  context_pair_t *pair = *state;
  told_t told = {.base = NULL};
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.memory = stamp.far;
  options.bytes = WORDS_SIZE;
  options.name = "told";
  options.rights = HMC_REMOTE_ALL;
  options.written = note_written;
  options.written_user = &told;
  hmc_region_t *region = NULL;
  assert_success(hmc_region_create(pair->there, &options, &region));
  if (stamp_is_host()) told.base = hmc_region_pointer(region);
  hmc_remote_t *remote = NULL;
  assert_success(hmc_remote_open(pair->peer, "told", 0, &remote));
  test_buffer_t local = near_make(pair, WORDS_SIZE, false);
  bool by_tcp = stamp.type == HMC_CONNECTION_TCP, by_mapping = stamp_is("shm") && stamp_is_host();
  for (uint64_t round = 1; round <= 20; round++) {
    uint32_t before = atomic_load(&told.calls);
    test_buffer_store(&local, 0, &round, sizeof round);
    assert_success(hmc_put(local.region, 0, remote, 0, 8));
    if (by_tcp) await_call(&told, before);
    if (by_tcp && stamp_is_host()) assert_int_equal(atomic_load(&told.word), round);
    before = atomic_load(&told.calls);
    assert_success(hmc_atomic(remote, 8, HMC_ATOMIC_ADD, 8, 1, 0, NULL));
    if (by_tcp) await_call(&told, before);
    before = atomic_load(&told.calls);
    assert_success(hmc_get(local.region, 0, remote, 0, 8));
    assert_int_equal(atomic_load(&told.calls), before);
  }
  if (by_mapping) assert_int_equal(atomic_load(&told.calls), 0);
  hmc_remote_close(remote);
  hmc_region_close(region);
  test_buffer_close(&local);
}

/* Memory that the owner has registered is written by the owner's process, over shm too: small puts, large ones, requests,
 * lists and words. */
void written_is_told_of_registered_memory(void **state) {
  context_pair_t *pair = *state;
  enum { SIZE = 512 * 1024 };
  static const uint64_t lengths[] = {8, 16, 500, 4096, 300000};
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  hmc_region_t *region = NULL;
  hmc_remote_t *remote = NULL;
  hmc_batch_t *batch = NULL;
  hmc_segment_t pieces[100];
  if (stamp.type != HMC_CONNECTION_TCP && stamp.type != HMC_CONNECTION_SHM) return; /* an adapter may have written it */
  told_t told = {.base = aligned_alloc(4096, SIZE)};
  assert_non_null(told.base);
  memset((uint8_t *)(uintptr_t)told.base, 0, SIZE);
  options.pointer = (uint8_t *)(uintptr_t)told.base;
  options.bytes = SIZE;
  options.name = "told";
  options.rights = HMC_REMOTE_ALL;
  options.written = note_written;
  options.written_user = &told;
  assert_success(hmc_region_create(pair->there, &options, &region));
  assert_success(hmc_remote_open(pair->peer, "told", 0, &remote));
  test_buffer_t local = near_make(pair, SIZE, true);
  for (uint64_t i = 0; i < COUNT_OF(pieces); i++) pieces[i] = (hmc_segment_t){64 * i, 128 * i, 32};
  assert_success(hmc_batch_create(local.region, remote, pieces, COUNT_OF(pieces), &batch));
  for (uint64_t round = 1; round <= 10; round++) {
    for (size_t i = 0; i < 2 * COUNT_OF(lengths) + 2; i++) {
      uint64_t word = 100 * round + i, length = lengths[i / 2 % COUNT_OF(lengths)];
      uint32_t before = atomic_load(&told.calls);
      test_buffer_store(&local, 0, &word, sizeof word);
      if (i / 2 == COUNT_OF(lengths)) {
        assert_success(i % 2 ? hmc_batch_put(batch) : hmc_atomic(remote, 0, HMC_ATOMIC_SWAP, 8, word, 0, NULL));
      } else {
        assert_success(i % 2 ? put_with(&local, 0, remote, 0, length, NULL)
                             : hmc_put(local.region, 0, remote, 0, length));
      }
      await_call(&told, before);
      assert_int_equal(atomic_load(&told.word), word);
    }
  }
  hmc_batch_free(batch);
  hmc_remote_close(remote);
  hmc_region_close(region);
  test_buffer_close(&local);
  free((uint8_t *)(uintptr_t)told.base);
}
