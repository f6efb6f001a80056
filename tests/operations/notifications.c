/* Notifications: small messages that come after the data, and the queue they wait in. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define ROOM (64 * KIB)

static void letters_write(uint8_t *text, size_t size, uint64_t seed) {
  for (size_t i = 0; i < size; i += 8) {
    uint64_t word = mix(seed * 5000 + i);
    memcpy(text + i, &word, size - i < 8 ? size - i : 8);
  }
}

/* Mostly what fits a message, sometimes what does not, and sometimes as much as there may be. */
static size_t draw_letters(uint64_t round) {
  return round % 10 == 0 ? HMC_NOTIFICATION_MAX : 1 + mix(~round) % (round % 10 == 5 ? HMC_NOTIFICATION_MAX : 5000);
}

static hmc_status_t notify(const test_buffer_t *local, hmc_remote_t *remote, const void *text, size_t size) {
  return put_with(local, 0, remote, 0, 0,
                  &(hmc_operation_options_t){
                      .size = sizeof(hmc_operation_options_t), .notification = text, .notification_size = size});
}

/* ---- order and content */

void notification_after_data_and_signal(void **state) {
  context_pair_t *pair = *state;
  const uint64_t rounds = SANITIZED ? 60 : 150;
  static uint8_t sent[HMC_NOTIFICATION_MAX], got[HMC_NOTIFICATION_MAX + 8];
  for (int registered = 0; registered < 2; registered++) {
    far_t far = far_make(pair, (far_options_t){.name = "noted", .size = ROOM, .registered = registered});
    far_t words = far_make(pair, (far_options_t){.name = "words", .size = 64, .registered = !registered});
    test_buffer_t local = near_make(pair, ROOM, false);
    for (uint64_t round = 1; round <= rounds; round++) {
      uint64_t length = mix(round) % (ROOM - 1024);
      size_t letters = draw_letters(round), size = 0;
      hmc_signal_t signal = {words.remote, 8, HMC_ATOMIC_SWAP, round};
      hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                         .signal = &signal,
                                         .notification = sent,
                                         .notification_size = letters};
      hmc_request_t *request = NULL;
      hmc_peer_t *peer = NULL;
      letters_write(sent, letters, round);
      frame_write(&local, 300, length, round);
      owner_frame_write(&far.place, 300, length, ~round);
      assert_success(hmc_put_nb(local.region, 300, far.remote, 300, length, &options, &request));
      memset(sent, 0xff, letters); /* it was copied */
      memset(got, 0x77, sizeof got);
      assert_success(hmc_notification_receive(pair->there, got, sizeof got, &size, &peer, 0));
      assert_int_equal(owner_frame_check(&far.place, 300, length, round), PATTERN_SAME);
      assert_int_equal(word_load(&words.place, 8), round);
      assert_int_equal(size, letters);
      assert_ptr_equal(peer, pair->back);
      letters_write(sent, letters, round);
      assert_memory_equal(got, sent, letters);
      assert_int_equal(got[letters], 0x77);
      assert_success(finish(request));
    }
    test_buffer_close(&local);
    far_close(&words);
    far_close(&far);
  }
}

void notification_after_a_get(void **state) {
  context_pair_t *pair = *state;
  for (int registered = 0; registered < 2; registered++) {
    const uint64_t length = MIB + 5;
    far_t far = far_make(pair, (far_options_t){.name = "read", .size = length + 1024, .registered = registered});
    test_buffer_t local = near_make(pair, length + 1024, false);
    for (uint64_t round = 1; round <= (SANITIZED ? 5 : 20); round++) {
      hmc_operation_options_t options = {
          .size = sizeof(hmc_operation_options_t), .notification = &round, .notification_size = sizeof round};
      hmc_request_t *request = NULL;
      uint64_t told = 0;
      size_t size = 0;
      owner_frame_write(&far.place, 512, length, round);
      frame_write(&local, 512, length, ~round);
      assert_success(hmc_get_nb(local.region, 512, far.remote, 512, length, &options, &request));
      assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, NULL, 0));
      owner_fill(&far.place, 512, length, 0xee); /* the owner may use its memory again */
      assert_int_equal(told, round);
      assert_success(finish(request));
      assert_true(frame_check(&local, 512, length, round) == PATTERN_SAME);
    }
    test_buffer_close(&local);
    far_close(&far);
  }
}

/* ---- who sent it */

void notification_names_its_sender(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 64, .registered = true});
  test_buffer_t local = near_make(pair, 64, false);
  hmc_peer_t *peers[3], *backs[3], *sender = NULL;
  hmc_remote_t *remotes[3];
  uint64_t told = 0;
  size_t size = 0;
  for (size_t i = 0; i < 3; i++) {
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &peers[i]));
    assert_success(hmc_context_accept(pair->there, 0, &backs[i]));
    assert_success(hmc_remote_open(peers[i], "inbox", 0, &remotes[i]));
  }
  for (uint64_t i = 0; i < 12; i++) assert_success(notify(&local, remotes[i % 3], &i, sizeof i));
  for (uint64_t i = 0; i < 6; i++) {
    assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, &sender, 0));
    assert_int_equal(told, i);
    assert_ptr_equal(sender, backs[i % 3]);
  }
  hmc_peer_close(backs[0]); /* closed here: nobody */
  hmc_peer_close(peers[1]); /* hung up there: still known here */
  for (uint64_t i = 6; i < 12; i++) {
    assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, &sender, 0));
    assert_int_equal(told, i);
    assert_ptr_equal(sender, i % 3 ? backs[i % 3] : NULL);
  }
  hmc_peer_close(peers[0]);
  hmc_peer_close(peers[2]);
  hmc_peer_close(backs[1]);
  hmc_peer_close(backs[2]);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- buffers and deadlines */

void notification_stays_until_it_fits(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 64});
  test_buffer_t local = near_make(pair, 64, false);
  uint8_t got[32] = {0};
  size_t size = 0;
  hmc_peer_t *sender = pair->peer;
  assert_success(notify(&local, far.remote, "twelve bytes", 12));
  assert_success(notify(&local, far.remote, "two", 3));
  for (size_t capacity = 0; capacity < 12; capacity++) {
    size = 0;
    assert_status(hmc_notification_receive(pair->there, capacity ? got : NULL, capacity, &size, &sender, 0),
                  HMC_OUT_OF_RANGE);
    assert_int_equal(size, 12);
    assert_int_equal(got[0], 0);
    assert_ptr_equal(sender, pair->peer);
    assert_error_has_number(12);
  }
  assert_success(hmc_notification_receive(pair->there, got, 12, &size, &sender, 0));
  assert_memory_equal(got, "twelve bytes", 12);
  assert_ptr_equal(sender, pair->back);
  assert_success(hmc_notification_receive(pair->there, got, sizeof got, &size, NULL, 0));
  assert_int_equal(size, 3);
  assert_memory_equal(got, "two", 3);

  uint64_t start = now_ms();
  size = 99;
  assert_status(hmc_notification_receive(pair->there, got, sizeof got, &size, &sender, 150), HMC_TIMEOUT);
  assert_took(start, 150, 150);
  assert_int_equal(size, 99);
  hmc_context_t *hasty = NULL; /* 0: the context's deadline */
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "hasty", 100}, &hasty));
  start = now_ms();
  assert_status(hmc_notification_receive(hasty, got, sizeof got, &size, NULL, 0), HMC_TIMEOUT);
  assert_took(start, 100, 100);
  hmc_context_destroy(hasty);
  test_buffer_close(&local);
  far_close(&far);
}

void notification_queue_has_a_limit(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 4096, .registered = true});
  far_t words = far_make(pair, (far_options_t){.name = "words", .size = 4096});
  test_buffer_t local = near_make(pair, 4096, false);
  hmc_request_t *requests[16];
  uint32_t number = 0, told = 0;
  uint64_t attempts = 0;
  size_t size = 0;
  /* several at a time fill it: the limit holds all the same */
  while (number < HMC_NOTIFICATION_QUEUE) {
    for (size_t i = 0; i < COUNT_OF(requests); i++, number++) {
      hmc_operation_options_t options = {
          .size = sizeof(hmc_operation_options_t), .notification = &number, .notification_size = sizeof number};
      assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, &options, &requests[i]));
    }
    assert_success(hmc_request_wait_all(requests, COUNT_OF(requests)));
    for (size_t i = 0; i < COUNT_OF(requests); i++) hmc_request_free(requests[i]);
  }
  for (uint64_t round = 1; round <= 3; round++) {
    frame_write(&local, 300, 2000, round);
    owner_frame_write(&far.place, 300, 2000, ~round);
    hmc_signal_t signal = {words.remote, 0, HMC_ATOMIC_ADD, 1};
    hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                       .signal = &signal,
                                       .notification = "over",
                                       .notification_size = 4,
                                       .timeout_ms = 100};
    do { /* a busy machine may not even move the bytes in that time; they may arrive when the put has ended */
      uint64_t start = now_ms();
      signal.offset = ++attempts * sizeof(uint64_t);
      assert_status(put_with(&local, 300, far.remote, 300, 2000, &options), HMC_TIMEOUT);
      assert_took(start, options.timeout_ms, 100);
      assert_string_not_equal(hmc_last_error(), "");
      options.timeout_ms *= 2;
    } while (word_load(&words.place, signal.offset) == 0 && options.timeout_ms < 60000);
    assert_int_equal(owner_frame_check(&far.place, 300, 2000, round), PATTERN_SAME);
    assert_int_equal(word_load(&words.place, signal.offset), 1);
  }
  for (uint64_t i = 1; i <= attempts; i++) assert_true(word_load(&words.place, i * sizeof(uint64_t)) <= 1);
  assert_success(hmc_put(local.region, 0, far.remote, 0, 64)); /* nothing else is held up */
  hmc_operation_options_t last = {
      .size = sizeof(hmc_operation_options_t), .notification = &number, .notification_size = sizeof number};
  assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 64, &last, &requests[0]));
  sleep_ms(20);
  assert_status(hmc_request_test(requests[0]), HMC_IN_PROGRESS); /* it waits, and fails nobody */
  last.timeout_ms = 50;
  assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 64, &last, &requests[1]));
  assert_status(hmc_request_cancel(requests[1]), HMC_CANCELLED); /* nor does what ends behind it */
  hmc_request_free(requests[1]);
  assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, NULL, 0));
  assert_int_equal(told, 0);
  assert_success(finish(requests[0])); /* there was room for one */
  uint8_t seen[HMC_NOTIFICATION_QUEUE + 1] = {1};
  for (uint32_t i = 1; i <= HMC_NOTIFICATION_QUEUE; i++) {
    assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, NULL, 0));
    assert_int_equal(size, sizeof told);
    assert_true(told <= HMC_NOTIFICATION_QUEUE);
    assert_int_equal(seen[told]++, 0);
  }
  assert_no_notification(pair->there);
  test_buffer_close(&local);
  far_close(&words);
  far_close(&far);
}

/* It waits for room behind its data and a signal; many at a time, so that none has the memory of one that has ended. */
void notification_waits_behind_a_signal(void **state) {
  context_pair_t *pair = *state;
  enum { WAITING = 32 };
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 64, .registered = true});
  test_buffer_t local = near_make(pair, 64, false);
  hmc_request_t *requests[WAITING];
  uint8_t data[8];
  size_t size = 0;
  hmc_signal_t signal = {far.remote, 8, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .signal = &signal, .notification = "behind", .notification_size = 6};
  word_store(&far.place, 8, 0);
  for (uint32_t i = 0; i < HMC_NOTIFICATION_QUEUE; i++) assert_success(notify(&local, far.remote, "full", 4));
  for (int i = 0; i < WAITING; i++)
    assert_success(hmc_put_nb(local.region, 0, far.remote, 0, 8, &options, &requests[i]));
  sleep_ms(20);
  for (int i = 0; i < WAITING; i++) assert_status(hmc_request_test(requests[i]), HMC_IN_PROGRESS);
  for (uint32_t i = 0; i < HMC_NOTIFICATION_QUEUE; i++)
    assert_success(hmc_notification_receive(pair->there, data, sizeof data, &size, NULL, 0));
  for (int i = 0; i < WAITING; i++) {
    assert_success(finish(requests[i]));
    assert_success(hmc_notification_receive(pair->there, data, sizeof data, &size, NULL, 0));
    assert_memory_equal(data, "behind", 6);
  }
  assert_int_equal(word_load(&far.place, 8), WAITING);
  assert_no_notification(pair->there);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- several receivers */

#define RECEIVERS 4u

typedef struct receiver {
  pthread_t thread;
  hmc_context_t *context;
  _Atomic uint32_t *left;
  _Atomic uint8_t *taken;
  uint64_t wrong;
} receiver_t;

static void *receive_many(void *argument) {
  receiver_t *receiver = argument;
  uint32_t number = 0;
  size_t size = 0;
  while (atomic_load(receiver->left) > 0) {
    hmc_status_t status = hmc_notification_receive(receiver->context, &number, sizeof number, &size, NULL, 200);
    if (status == HMC_TIMEOUT) continue;
    receiver->wrong += status != HMC_SUCCESS || size != sizeof number || atomic_fetch_add(&receiver->taken[number], 1);
    atomic_fetch_sub(receiver->left, 1);
  }
  return NULL;
}

typedef struct picky {
  pthread_t thread;
  hmc_context_t *context;
  size_t capacity;
  hmc_status_t status;
  uint64_t took;
} picky_t;

static void *receive_one(void *argument) {
  picky_t *picky = argument;
  uint8_t data[64];
  size_t size = 0;
  uint64_t start = now_ms();
  picky->status = hmc_notification_receive(picky->context, data, picky->capacity, &size, NULL, PATIENCE_MS);
  picky->took = now_ms() - start;
  return NULL;
}

/* Each is taken by one; one who has no room for it does not keep it from the others who wait. */
void notification_receivers_share(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 64});
  test_buffer_t local = near_make(pair, 64, false);
  static _Atomic uint8_t taken[1000];
  _Atomic uint32_t left = COUNT_OF(taken);
  receiver_t receivers[RECEIVERS];
  memset((void *)taken, 0, sizeof taken);
  for (size_t i = 0; i < RECEIVERS; i++) {
    receivers[i] = (receiver_t){.context = pair->there, .left = &left, .taken = taken};
    assert_int_equal(pthread_create(&receivers[i].thread, NULL, receive_many, &receivers[i]), 0);
  }
  hmc_status_t status = HMC_SUCCESS;
  for (uint32_t i = 0; i < COUNT_OF(taken) && status == HMC_SUCCESS; i++) {
    status = notify(&local, far.remote, &i, sizeof i);
  }
  for (size_t i = 0; i < RECEIVERS; i++) pthread_join(receivers[i].thread, NULL);
  assert_status(status, HMC_SUCCESS);
  for (size_t i = 0; i < RECEIVERS; i++) assert_int_equal(receivers[i].wrong, 0);

  for (int round = 0; round < 5; round++) {
    picky_t small = {.context = pair->there, .capacity = 2}, large = {.context = pair->there, .capacity = 64};
    assert_int_equal(pthread_create(&small.thread, NULL, receive_one, &small), 0);
    sleep_ms(20); /* it waits first */
    assert_int_equal(pthread_create(&large.thread, NULL, receive_one, &large), 0);
    sleep_ms(20);
    assert_success(notify(&local, far.remote, "large one", 9));
    pthread_join(large.thread, NULL);
    assert_success(notify(&local, far.remote, "s", 1)); /* for the one that may have come too late */
    pthread_join(small.thread, NULL);
    assert_status(large.status, HMC_SUCCESS);
    assert_true(large.took < PATIENCE_MS / 2); /* else its deadline woke it */
    assert_true(small.status == HMC_OUT_OF_RANGE || small.status == HMC_SUCCESS);
    uint8_t data[64];
    size_t size = 0;
    if (small.status == HMC_OUT_OF_RANGE)
      assert_success(hmc_notification_receive(pair->there, data, sizeof data, &size, NULL, 0));
  }
  assert_no_notification(pair->there);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- what is refused */

void notification_refused(void **state) {
  context_pair_t *pair = *state;
  static uint8_t text[HMC_NOTIFICATION_MAX + 1];
  far_t far = far_make(pair, (far_options_t){.name = "inbox", .size = 64});
  test_buffer_t local = near_make(pair, 64, false);
  size_t size = 0;
  owner_fill(&far.place, 0, 64, 0x11);
  assert_status(notify(&local, far.remote, text, sizeof text), HMC_INVALID_CONFIG);
  assert_error_has_number(HMC_NOTIFICATION_MAX);
  hmc_operation_options_t nothing = {
      .size = sizeof(hmc_operation_options_t), .notification = NULL, .notification_size = 5};
  assert_status(put_with(&local, 0, far.remote, 0, 64, &nothing), HMC_INVALID_CONFIG);
  assert_error_names("NULL");
  nothing = (hmc_operation_options_t){
      .size = sizeof(hmc_operation_options_t), .notification = text, .notification_size = 0}; /* none */
  assert_success(put_with(&local, 0, far.remote, 0, 0, &nothing));
  assert_int_equal(owner_others(&far.place, 0, 64, 0x11, 0x11), 0);
  assert_no_notification(pair->there);
  assert_status(hmc_notification_receive(NULL, text, 8, &size, NULL, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_notification_receive(pair->there, NULL, 8, &size, NULL, 1), HMC_INVALID_CONFIG);
  assert_status(hmc_notification_receive(pair->there, text, 8, NULL, NULL, 1), HMC_INVALID_CONFIG);
  test_buffer_close(&local);
  far_close(&far);
}
