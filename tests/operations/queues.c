/* Queues: what include/hmc/queue.h says, on a pair, and with a distant end where something must not move. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static hmc_queue_t *queue_make(hmc_context_t *context, uint32_t depth, uint32_t flags, uint64_t timeout_ms) {
  hmc_queue_options_t options = HMC_QUEUE_OPTIONS_INIT;
  options.depth = depth;
  options.flags = flags;
  options.timeout_ms = timeout_ms;
  hmc_queue_t *queue = NULL;
  assert_success(hmc_queue_create(context, &options, &queue));
  assert_non_null(queue);
  return queue;
}

/* ---- bytes */

#define BYTES_SIZE (512 * KIB)

/* Small ones mostly, and some that are longer than any buffer on the way. */
static uint64_t draw_length(uint64_t *random) {
  uint64_t number = draw(random);
  return number % 8 ? (number >> 8) % 600 : (number >> 8) % (100 * KIB);
}

/* Puts to places that do not overlap, from memory that is not a region; gets back by another queue. */
void queue_moves_any_memory(void **state) {
  context_pair_t *pair = *state;
  uint8_t *model = malloc(BYTES_SIZE), *seen = malloc(BYTES_SIZE);
  const int rounds = SANITIZED ? 1 : 2;
  assert_non_null(model);
  assert_non_null(seen);
  hmc_queue_t *puts = queue_make(pair->here, 40, 0, 0), *gets = queue_make(pair->here, 0, 0, 0);
  for (int registered = 0; registered < 2; registered++) {
    far_t far = far_make(
        pair,
        (far_options_t){.name = registered ? "registered" : "made", .size = BYTES_SIZE, .registered = registered});
    uint64_t random = (uint64_t)registered + 11;
    for (int round = 0; round < rounds; round++) {
      for (size_t i = 0; i < BYTES_SIZE; i++) model[i] = (uint8_t)(mix(i + (uint64_t)round) >> 7);
      memset(seen, 0, BYTES_SIZE);
      for (uint64_t offset = 0, length; offset < BYTES_SIZE; offset += length) {
        length = draw_length(&random);
        if (length > BYTES_SIZE - offset) length = BYTES_SIZE - offset;
        assert_success(hmc_queue_put(puts, model + offset, far.remote, offset, length));
      }
      assert_success(hmc_queue_flush(puts, NULL, 0));
      assert_int_equal(hmc_queue_pending(puts), 0);
      shared_begin();
      test_buffer_load(&far.place, 0, seen, BYTES_SIZE);
      shared_end();
      assert_memory_equal(seen, model, BYTES_SIZE); /* complete means visible */
      memset(seen, 0, BYTES_SIZE);
      for (uint64_t offset = 0, length; offset < BYTES_SIZE; offset += length) {
        length = draw_length(&random);
        if (length > BYTES_SIZE - offset) length = BYTES_SIZE - offset;
        assert_success(hmc_queue_get(gets, seen + offset, far.remote, offset, length));
      }
      assert_success(hmc_queue_flush(gets, pair->peer, 0));
      assert_memory_equal(seen, model, BYTES_SIZE);
    }
    far_close(&far);
  }
  hmc_queue_destroy(puts);
  hmc_queue_destroy(gets);
  free(model);
  free(seen);
}

/* A small put's bytes are the caller's again when the call returns. */
void queue_copies_what_is_small(void **state) {
  context_pair_t *pair = *state;
  enum { PUTS = 100 };
  far_t far = far_make(pair, (far_options_t){.name = "small", .size = PUTS * HMC_QUEUE_COPIED, .registered = true});
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, 0);
  uint8_t bytes[HMC_QUEUE_COPIED];
  for (int i = 0; i < PUTS; i++) {
    memset(bytes, i, sizeof bytes);
    assert_success(hmc_queue_put(queue, bytes, far.remote, (uint64_t)i * sizeof bytes, sizeof bytes));
    memset(bytes, 0xee, sizeof bytes);
  }
  assert_success(hmc_queue_flush(queue, pair->peer, 0));
  for (int i = 0; i < PUTS; i++)
    assert_int_equal(owner_others(&far.place, (uint64_t)i * sizeof bytes, sizeof bytes, (uint8_t)i, (uint8_t)i), 0);
  hmc_queue_destroy(queue);
  far_close(&far);
}

/* ---- words */

/* Fetched words are there with the flush, in the order of the adds; the blocking form at once. */
void queue_fetches_words(void **state) {
  context_pair_t *pair = *state;
  enum { ADDS = 300 };
  uint64_t fetched[ADDS], word = 0;
  for (unsigned width = 1; width <= 8; width *= 2) {
    uint64_t mask = width == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * width) - 1;
    far_t far = far_make(pair, (far_options_t){.name = "words", .size = 64, .registered = width & 5});
    owner_fill(&far.place, 0, 64, 0);
    hmc_queue_t *queue = queue_make(pair->here, 64, 0, 0);
    memset(fetched, 0xff, sizeof fetched);
    for (uint64_t i = 0; i < ADDS; i++)
      assert_success(hmc_queue_atomic(queue, far.remote, 8 + width, HMC_ATOMIC_ADD, width, 1, 0, &fetched[i]));
    assert_success(hmc_queue_flush(queue, pair->peer, 0));
    uint64_t sum = 0, expected = 0;
    for (uint64_t i = 0; i < ADDS; i++) sum += fetched[i], expected += i & mask;
    assert_int_equal(sum, expected); /* each value once; their order is not promised */
    assert_success(hmc_queue_atomic_fetch(queue, far.remote, 8 + width, HMC_ATOMIC_LOAD, width, 0, 0, &word));
    assert_int_equal(word, ADDS & mask);
    assert_success(hmc_queue_atomic(queue, far.remote, 8 + width, HMC_ATOMIC_STORE, width, 77, 0, NULL));
    assert_success(hmc_queue_flush(queue, pair->peer, 0));
    assert_success(hmc_queue_atomic_fetch(queue, far.remote, 8 + width, HMC_ATOMIC_COMPARE_SWAP, width, 5, 77, &word));
    assert_int_equal(word, 77);
    assert_success(hmc_queue_atomic_fetch(queue, far.remote, 8 + width, HMC_ATOMIC_LOAD, width, 0, 0, &word));
    assert_int_equal(word, 5);
    assert_int_equal(owner_others(&far.place, 0, 8 + width, 0, 0), 0); /* the neighbours are as they were */
    assert_int_equal(owner_others(&far.place, 8 + 2 * width, 64 - 8 - 2 * width, 0, 0), 0);
    hmc_queue_destroy(queue);
    far_close(&far);
  }
}

/* ---- order */

typedef struct watcher {
  pthread_t thread;
  const test_buffer_t *data, *flag;
  uint64_t rounds, length;
  uint64_t early; /* rounds whose flag came before their data */
  _Atomic uint64_t seen;
} watcher_t;

/* The owner looks at all the data as soon as it sees the flag of a round. */
static void *watch_rounds(void *argument) {
  watcher_t *watcher = argument;
  for (uint64_t round = 1; round <= watcher->rounds; round++) {
    uint64_t limit = now_ms() + 4 * PATIENCE_MS;
    while (word_load(watcher->flag, 0) < round && now_ms() < limit)
      ;
    if (word_load(watcher->flag, 0) < round) break;
    uint8_t value = (uint8_t)round;
    if (owner_others(watcher->data, 0, watcher->length, value, value)) watcher->early++;
    atomic_store(&watcher->seen, round);
  }
  return NULL;
}

static void await_seen(watcher_t *watcher, uint64_t round) {
  uint64_t limit = now_ms() + PATIENCE_MS;
  while (atomic_load(&watcher->seen) < round && now_ms() < limit) sched_yield();
}

typedef enum how { BY_ATOMIC, BY_PUT, BY_SIGNAL } how_t;

/* Data of several puts, then a flag behind a fence, or by the last put's own signal. */
static void announce(context_pair_t *pair, bool lend_data, bool lend_flag, how_t how) {
  const uint64_t rounds = 100, length = 256 * KIB;
  far_t data = far_make(pair, (far_options_t){.name = "data", .size = length, .registered = lend_data});
  far_t flag = far_make(pair, (far_options_t){.name = "flag", .size = 64, .registered = lend_flag});
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, 0);
  uint8_t *bytes = malloc(length);
  void *mapped = NULL;
  assert_non_null(bytes);
  word_store(&flag.place, 0, 0);
  if (how == BY_PUT && hmc_remote_map(flag.remote, &mapped) != HMC_SUCCESS)
    how = BY_ATOMIC; /* what the owner receives into a word that it watches is a race, and not one store */
  watcher_t watcher = {.data = &data.place, .flag = &flag.place, .rounds = rounds, .length = length};
  assert_int_equal(pthread_create(&watcher.thread, NULL, watch_rounds, &watcher), 0);
  hmc_status_t status = HMC_SUCCESS;
  for (uint64_t round = 1; round <= rounds && status == HMC_SUCCESS; round++) {
    hmc_signal_t signal = {flag.remote, 0, HMC_ATOMIC_SWAP, round};
    memset(bytes, (int)round, length);
    if (how == BY_SIGNAL) {
      status = hmc_queue_put_signal(queue, bytes, data.remote, 0, length, &signal);
    } else {
      status = hmc_queue_put(queue, bytes, data.remote, 0, length / 2);
      if (status == HMC_SUCCESS) status = hmc_queue_put(queue, bytes, data.remote, length / 2, length / 2);
      if (status == HMC_SUCCESS) status = hmc_queue_fence(queue);
      if (status == HMC_SUCCESS && how == BY_PUT) status = hmc_queue_put(queue, &round, flag.remote, 0, sizeof round);
      if (status == HMC_SUCCESS && how == BY_ATOMIC)
        status = hmc_queue_atomic(queue, flag.remote, 0, HMC_ATOMIC_STORE, 8, round, 0, NULL);
    }
    if (status == HMC_SUCCESS) status = hmc_queue_flush(queue, NULL, 0);
    await_seen(&watcher, round);
  }
  pthread_join(watcher.thread, NULL);
  assert_status(status, HMC_SUCCESS);
  assert_int_equal(atomic_load(&watcher.seen), rounds);
  assert_int_equal(watcher.early, 0);
  free(bytes);
  hmc_queue_destroy(queue);
  far_close(&flag);
  far_close(&data);
}

void queue_fence_orders(void **state) {
  for (int way = 0; way < 8; way++) announce(*state, way & 1, way & 2, way & 4 ? BY_PUT : BY_ATOMIC);
}

void queue_signals_after_the_data(void **state) {
  for (int way = 0; way < 4; way++) announce(*state, way & 1, way & 2, BY_SIGNAL);
}

/* ---- bounds, deadlines, ends */

/* One more add to the distant word, which needs the distant service thread. */
static hmc_status_t add(hmc_queue_t *queue, const distant_t *distant) {
  return hmc_queue_atomic(queue, distant->remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL);
}

static uint64_t distant_word(const distant_t *distant) {
  uint64_t fetched = 0;
  assert_success(hmc_atomic(distant->remote, 64, HMC_ATOMIC_LOAD, 8, 0, 0, &fetched));
  return fetched;
}

void queue_has_a_bound(void **state) {
  context_pair_t *pair = *state;
  distant_t distant;
  distant_start(&distant, pair);
  uint64_t before = distant_word(&distant);
  hmc_queue_t *refusing = queue_make(pair->here, 40, HMC_QUEUE_NO_WAIT, 0);
  hmc_queue_t *waiting = queue_make(pair->here, 5, 0, 0);
  distant_stop(&distant);
  for (int i = 0; i < 40; i++) assert_success(add(refusing, &distant));
  assert_status(add(refusing, &distant), HMC_NO_MEMORY);
  assert_error_names("flush");
  assert_int_equal(hmc_queue_pending(refusing), 40);
  uint64_t start = now_ms();
  assert_status(hmc_queue_flush(refusing, NULL, HMC_NO_WAIT), HMC_TIMEOUT);
  assert_status(hmc_queue_flush(refusing, distant.peer, HMC_NO_WAIT), HMC_TIMEOUT);
  assert_took(start, 0, 0);
  start = now_ms();
  assert_status(hmc_queue_flush(refusing, distant.peer, 100), HMC_TIMEOUT);
  assert_took(start, 100, 100);
  distant_continue(&distant);
  assert_success(hmc_queue_flush(refusing, distant.peer, 0)); /* a flush that ran out of time has ended nothing */
  for (int i = 0; i < 60; i++) assert_success(add(waiting, &distant));
  assert_true(hmc_queue_pending(waiting) <= 5);
  assert_success(hmc_queue_flush(waiting, NULL, 0));
  assert_int_equal(distant_word(&distant), before + 100);
  hmc_queue_destroy(refusing);
  hmc_queue_destroy(waiting);
  distant_end(&distant);
}

/* What is seldom flushed is done as soon as anything, and a flush ends it. */
void queue_is_seldom_flushed(void **state) {
  context_pair_t *pair = *state;
  distant_t distant;
  distant_start(&distant, pair);
  uint64_t before = distant_word(&distant);
  hmc_queue_t *queue = queue_make(pair->here, 0, HMC_QUEUE_SELDOM_FLUSHED, 0);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < 100; i++) assert_success(add(queue, &distant));
    while (hmc_queue_pending(queue)) sched_yield(); /* without a flush too */
    assert_int_equal(distant_word(&distant), before + 100 * (uint64_t)(2 * round + 1));
    for (int i = 0; i < 100; i++) assert_success(add(queue, &distant));
    assert_success(hmc_queue_flush(queue, round ? distant.peer : NULL, 0));
    assert_int_equal(hmc_queue_pending(queue), 0);
    assert_int_equal(distant_word(&distant), before + 200 * (uint64_t)(round + 1));
  }
  hmc_queue_destroy(queue);
  hmc_queue_options_t unknown = HMC_QUEUE_OPTIONS_INIT;
  unknown.flags = HMC_QUEUE_SELDOM_FLUSHED << 1;
  assert_status(hmc_queue_create(pair->here, &unknown, &queue), HMC_INVALID_CONFIG);
  distant_end(&distant);
}

void queue_has_deadlines(void **state) {
  context_pair_t *pair = *state;
  distant_t distant;
  distant_start(&distant, pair);
  hmc_queue_t *queue = queue_make(pair->here, 2, 0, 300);
  uint64_t word = 99, start = now_ms();
  distant_stop(&distant);
  assert_success(add(queue, &distant));
  assert_success(add(queue, &distant));
  assert_success(add(queue, &distant)); /* when the first has had its time */
  assert_took(start, 300, 300);
  assert_status(hmc_queue_flush(queue, distant.peer, 0), HMC_TIMEOUT);
  assert_error_names("distant");
  assert_took(start, 600, 600);
  assert_int_equal(hmc_queue_pending(queue), 0);
  assert_success(hmc_queue_flush(queue, distant.peer, 0)); /* said once */
  start = now_ms();
  assert_status(hmc_queue_atomic_fetch(queue, distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, &word), HMC_TIMEOUT);
  assert_took(start, 300, 300);
  assert_int_equal(word, 99);
  distant_continue(&distant); /* and on a busy machine it needs more than 300 ms to come back */
  hmc_status_t status = HMC_TIMEOUT;
  for (uint64_t until = now_ms() + PATIENCE_MS; status == HMC_TIMEOUT && now_ms() < until;)
    status = hmc_queue_atomic_fetch(queue, distant.remote, 64, HMC_ATOMIC_LOAD, 8, 0, 0, &word);
  assert_status(status, HMC_SUCCESS);
  hmc_queue_destroy(queue);
  distant_end(&distant);
}

/* The first error counts, per peer; the others of the queue are not touched by it. */
void queue_reports_the_first_error(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "short-lived", .size = 64, .registered = true});
  far_t kept = far_make(pair, (far_options_t){.name = "kept", .size = 64, .registered = true});
  distant_t distant;
  distant_start(&distant, pair);
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, 0);
  uint64_t one = 1, words[8] = {0}, seen = 0;
  test_buffer_withdraw(&far.place);
  hmc_status_t status = hmc_queue_put(queue, &one, far.remote, 0, sizeof one);
  if (status == HMC_SUCCESS) { /* this side could not know yet */
    assert_success(hmc_queue_put(queue, &one, kept.remote, 0, sizeof one));
    assert_success(add(queue, &distant));
    assert_success(hmc_queue_flush(queue, distant.peer, 0));
    status = hmc_queue_flush(queue, pair->peer, 0);
  }
  assert_status(status, HMC_STALE);
  assert_error_names("short-lived");
  assert_success(hmc_queue_put(queue, &one, kept.remote, 8, sizeof one));
  assert_success(hmc_queue_flush(queue, NULL, 0));
  assert_success(hmc_queue_get(queue, words, kept.remote, 0, sizeof words));
  assert_success(hmc_queue_flush(queue, NULL, 0));
  assert_int_equal(words[1], 1);
  status = hmc_queue_atomic_fetch(queue, far.remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, &seen);
  assert_status(status, HMC_STALE);
  hmc_queue_destroy(queue);
  distant_end(&distant);
  far_close(&kept);
  far_close(&far);
}

typedef struct flusher {
  pthread_t thread;
  hmc_queue_t *queue;
  hmc_status_t status;
  _Atomic bool begun;
} flusher_t;

static void *flush_all(void *argument) {
  flusher_t *flusher = argument;
  atomic_store(&flusher->begun, true);
  flusher->status = hmc_queue_flush(flusher->queue, NULL, 0);
  return NULL;
}

/* A peer is closed while another thread flushes; and queues end with operations in progress. */
void queue_survives_its_peers(void **state) {
  enum { PEERS = 5 };
  context_pair_t *pair = *state;
  hmc_peer_t *peers[PEERS];
  hmc_remote_t *remotes[PEERS];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  uint64_t random = 5;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(hmc_peer_get_info(distant.peer, &info));
  for (size_t i = 0; i < PEERS; i++) {
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", info.port, stamp.type, 0, &peers[i]));
    assert_success(hmc_remote_open(peers[i], "distant", 0, &remotes[i]));
    assert_success(hmc_atomic(remotes[i], 64, HMC_ATOMIC_ADD, 8, 0, 0, NULL));
  }
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, 0);
  hmc_queue_t *doomed = queue_make(pair->here, 0, 0, 0);
  distant_stop(&distant);
  assert_success(add(doomed, &distant));
  for (size_t i = 0; i < PEERS; i++) {
    flusher_t flusher = {.queue = queue};
    assert_success(hmc_queue_atomic(queue, remotes[i], 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL));
    assert_int_equal(pthread_create(&flusher.thread, NULL, flush_all, &flusher), 0);
    while (!atomic_load(&flusher.begun)) sched_yield();
    spin_ns(draw(&random) % 200000); /* sometimes it polls still, sometimes it sleeps */
    hmc_peer_close(peers[i]);
    pthread_join(flusher.thread, NULL);
    assert_status(flusher.status, HMC_CANCELLED);
  }
  uint64_t start = now_ms();
  hmc_queue_destroy(doomed);
  assert_took(start, 0, 0);
  assert_success(add(queue, &distant));
  distant_continue(&distant);
  assert_success(hmc_queue_flush(queue, distant.peer, 0));
  assert_success(add(queue, &distant)); /* the context ends with it in progress */
  distant_end(&distant);
}

void queue_refuses(void **state) {
  context_pair_t *pair = *state;
  uint64_t word = 0;
  uint8_t bytes[64] = {0};
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64});
  far_t shut = far_make(pair, (far_options_t){.name = "shut", .size = 64, .rights = HMC_REMOTE_READ});
  far_t small = far_make(pair, (far_options_t){.name = "small", .size = 7});
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, 0), *none = NULL, *other = queue_make(pair->there, 0, 0, 0);
  hmc_queue_options_t options = HMC_QUEUE_OPTIONS_INIT;
  assert_status(hmc_queue_create(NULL, NULL, &none), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_create(pair->here, NULL, NULL), HMC_INVALID_CONFIG);
  options.flags = 0x80;
  assert_status(hmc_queue_create(pair->here, &options, &none), HMC_INVALID_CONFIG);
  assert_error_names("0x80");
  options = (hmc_queue_options_t){.size = 3};
  assert_status(hmc_queue_create(pair->here, &options, &none), HMC_INVALID_CONFIG);
  assert_null(none);
  assert_status(hmc_queue_put(NULL, bytes, far.remote, 0, 8), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_put(queue, bytes, NULL, 0, 8), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_put(queue, NULL, far.remote, 0, 8), HMC_INVALID_CONFIG);
  assert_success(hmc_queue_put(queue, NULL, far.remote, 64, 0));
  assert_status(hmc_queue_put(other, bytes, far.remote, 0, 8), HMC_INVALID_CONFIG);
  assert_error_names("context");
  assert_success(hmc_queue_put(queue, bytes, far.remote, 56, 8));
  assert_status(hmc_queue_put(queue, bytes, far.remote, 57, 8), HMC_OUT_OF_RANGE);
  assert_status(hmc_queue_put(queue, bytes, far.remote, UINT64_MAX - 7, 8), HMC_OUT_OF_RANGE);
  assert_status(hmc_queue_put(queue, bytes, small.remote, 0, 8), HMC_OUT_OF_RANGE);
  assert_status(hmc_queue_get(queue, bytes, far.remote, UINT64_MAX, 2), HMC_OUT_OF_RANGE);
  assert_status(hmc_queue_put(queue, bytes, shut.remote, 0, 8), HMC_DENIED);
  assert_status(hmc_queue_atomic(queue, shut.remote, 0, HMC_ATOMIC_LOAD, 8, 0, 0, &word), HMC_DENIED);
  assert_status(hmc_queue_atomic(queue, far.remote, 0, HMC_ATOMIC_ADD, 3, 0, 0, &word), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_atomic(queue, far.remote, 2, HMC_ATOMIC_ADD, 4, 0, 0, &word), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_atomic_fetch(queue, far.remote, 0, HMC_ATOMIC_ADD, 4, 0, 0, NULL), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_put_signal(queue, bytes, far.remote, 0, 8, NULL), HMC_INVALID_CONFIG);
  hmc_signal_t signal = {shut.remote, 0, HMC_ATOMIC_SWAP, 1};
  assert_status(hmc_queue_put_signal(queue, bytes, far.remote, 0, 8, &signal), HMC_DENIED);
  assert_status(hmc_queue_fence(NULL), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_flush(NULL, NULL, 0), HMC_INVALID_CONFIG);
  assert_success(hmc_queue_flush(queue, pair->peer, 0));
  assert_int_equal(hmc_queue_pending(queue), 0);
  hmc_queue_destroy(queue);
  hmc_queue_destroy(other);
  hmc_queue_destroy(NULL);
  far_close(&small);
  far_close(&shut);
  far_close(&far);
}

/* ---- notifications */

/* The bytes that wait at the owner have a bound, and who sends more its deadline. One took `slow` ms at most: on a busy
 * machine too some come through before it. */
static void notify_beyond_the_bound(context_pair_t *pair, uint8_t *large, size_t most, uint64_t slow) {
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, 2000 + 20 * slow);
  uint32_t waiting = 0;
  hmc_status_t status;
  size_t size = 0;
  while ((status = hmc_queue_notify(queue, pair->peer, large, most)) == HMC_SUCCESS && waiting < 100) waiting++;
  assert_status(status, HMC_TIMEOUT);
  assert_in_range(waiting, 4, 40);
  assert_success(hmc_queue_flush(queue, pair->peer, 0));
  for (uint32_t i = 0; i < waiting; i++)
    assert_success(hmc_notification_receive(pair->there, large, most, &size, NULL, 0));
  hmc_queue_destroy(queue);
}

/* Comes after all that the queue did, large or small; nothing is announced that has failed. */
void queue_notifies_after_all(void **state) {
  context_pair_t *pair = *state;
  enum { ROUNDS = 20 };
  const uint64_t length = 200 * KIB;
  far_t far = far_make(pair, (far_options_t){.name = "noted", .size = length, .registered = true});
  far_t gone = far_make(pair, (far_options_t){.name = "gone", .size = 64, .registered = true});
  hmc_queue_t *queue = queue_make(pair->here, 0, 0, PATIENCE_MS);
  uint8_t *bytes = malloc(length), *large = malloc(HMC_NOTIFICATION_MAX);
  assert_non_null(bytes);
  assert_non_null(large);
  size_t most = stamp.type == HMC_CONNECTION_RDMA ? 128 * KIB : HMC_NOTIFICATION_MAX, size = 0;
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    hmc_peer_t *from = NULL;
    uint32_t told = 0;
    memset(bytes, (int)round, length);
    assert_success(hmc_queue_put(queue, bytes, far.remote, 0, length));
    for (uint64_t at = 0; at < 10; at++) assert_success(hmc_queue_put(queue, &round, far.remote, 8 * at, 1));
    assert_success(hmc_queue_notify(queue, pair->peer, &round, sizeof round));
    assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, &from, 0));
    assert_int_equal(told, round);
    assert_ptr_equal(from, pair->back);
    assert_int_equal(owner_others(&far.place, 0, length, (uint8_t)round, (uint8_t)round), 0);
  }
  uint64_t slowest = 0;
  for (uint64_t round = 0; round < 20; round++) { /* more bytes than may wait: they are taken meanwhile */
    uint64_t start = now_ms();
    for (size_t i = 0; i < most; i++) large[i] = (uint8_t)mix(i + round);
    assert_success(hmc_queue_notify(queue, pair->peer, large, most));
    hmc_event_t event = HMC_EVENT_INIT;
    size_t count = 0;
    assert_success(hmc_poll_kinds(pair->there, HMC_EVENT_BIT(HMC_EVENT_NOTIFICATION), &event, 1, &count, 0));
    assert_int_equal(event.data_size, most);
    assert_memory_equal(event.data, large, most);
    hmc_notification_free(event.data);
    if (now_ms() - start > slowest) slowest = now_ms() - start;
  }
  assert_success(hmc_queue_flush(queue, NULL, 0));
  notify_beyond_the_bound(pair, large, most, slowest);
  test_buffer_withdraw(&gone.place);
  hmc_status_t status = hmc_queue_put(queue, bytes, gone.remote, 0, 64);
  if (status == HMC_SUCCESS) status = hmc_queue_notify(queue, pair->peer, "x", 1);
  assert_status(status, HMC_STALE);
  assert_no_notification(pair->there);
  assert_status(hmc_queue_notify(queue, pair->peer, large, HMC_NOTIFICATION_MAX + 1), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_notify(queue, pair->peer, large, 0), HMC_INVALID_CONFIG);
  assert_status(hmc_queue_notify(queue, pair->back, large, 1), HMC_INVALID_CONFIG);
  free(bytes);
  free(large);
  hmc_queue_destroy(queue);
  far_close(&gone);
  far_close(&far);
}

typedef struct notifier {
  pthread_t thread;
  hmc_queue_t *queue;
  hmc_peer_t *peer;
  hmc_status_t status;
} notifier_t;

static void *notify_once(void *argument) {
  notifier_t *notifier = argument;
  notifier->status = hmc_queue_notify(notifier->queue, notifier->peer, "queued", 6);
  return NULL;
}

/* Room for all comes at once, and requests that wait for it are served first: the queue's thread must not sleep on. */
void queue_notifies_once_others_have(void **state) {
  (void)state;
  enum { ROOM = 4096, WAITING = 1500 };
  static hmc_request_t *requests[ROOM];
  static hmc_event_t events[ROOM];
  size_t count = 0;
  events[0] = (hmc_event_t)HMC_EVENT_INIT;
  for (int round = 0; round < 3; round++) {
    context_pair_t pair;
    context_pair_open(&pair, (const char *const[]){"HMC_NOTIFICATIONS", "4096", NULL});
    far_t far = far_make(&pair, (far_options_t){.name = "inbox", .size = 64, .registered = true});
    test_buffer_t local = near_make(&pair, 64, false);
    notifier_t notifier = {.queue = queue_make(pair.here, 0, 0, PATIENCE_MS / 3), .peer = pair.peer};
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .notification = "request", .notification_size = 7};
    for (uint32_t i = 0; i < ROOM; i++)
      assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 0, &options, &requests[i]));
    assert_success(hmc_request_wait_all(requests, ROOM));
    for (uint32_t i = 0; i < ROOM; i++) hmc_request_free(requests[i]);
    for (uint32_t i = 0; i < WAITING; i++)
      assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 0, &options, &requests[i]));
    assert_int_equal(pthread_create(&notifier.thread, NULL, notify_once, &notifier), 0);
    sleep_ms(50); /* it waits */
    assert_success(hmc_poll_kinds(pair.there, HMC_EVENT_BIT(HMC_EVENT_NOTIFICATION), events, ROOM, &count, 0));
    assert_int_equal(count, ROOM);
    for (size_t i = 0; i < count; i++) hmc_notification_free(events[i].data);
    assert_success(hmc_request_wait_all(requests, WAITING));
    for (uint32_t i = 0; i < WAITING; i++) hmc_request_free(requests[i]);
    pthread_join(notifier.thread, NULL);
    assert_status(notifier.status, HMC_SUCCESS);
    assert_success(hmc_queue_flush(notifier.queue, NULL, 0));
    hmc_queue_destroy(notifier.queue);
    test_buffer_close(&local);
    far_close(&far);
    context_pair_close(&pair);
  }
}
