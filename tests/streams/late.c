/* The accepting side's stream of a tcp connection, which comes with that side's first operation. */
#include "suite.h"

enum { WORDS = 64 };

/* A region of the dialling side, as the accepting one sees it. */
static hmc_remote_t *seen_from_there(const context_pair_t *pair, test_buffer_t *words) {
  hmc_remote_t *remote;
  assert_success(test_buffer_open(words, pair->here, stamp.near, WORDS, "words", HMC_REMOTE_ALL, false));
  assert_success(hmc_remote_open(pair->back, "words", 0, &remote));
  return remote;
}

static hmc_status_t add_one(hmc_remote_t *remote) { return hmc_atomic(remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL); }

/* Both ends are in this process: four descriptors, and two more once the accepting side has something to say. */
void late_stream_comes_with_the_first_operation(void **state) {
  (void)state;
  context_pair_t pair;
  test_buffer_t words;
  context_pair_open(&pair, NULL);
  hmc_remote_t *remote = seen_from_there(&pair, &words);
  hmc_peer_t *second, *second_back;
  uint64_t files = open_files();
  assert_success(hmc_context_connect(pair.here, "127.0.0.1", pair.port, stamp.type, 0, &second));
  assert_success(hmc_context_accept(pair.there, 0, &second_back));
  assert_int_equal(open_files() - files, 4);
  hmc_remote_t *again;
  assert_success(hmc_remote_open(second_back, "words", 0, &again));
  assert_int_equal(open_files() - files, 4);
  assert_success(add_one(again));
  assert_true(open_files() - files >= 6); /* and what the thread that dials has */
  assert_success(add_one(again));
  assert_success(add_one(remote));
  assert_int_equal(word_load(&words, 0), 3);
  hmc_remote_close(again);
  hmc_remote_close(remote);
  test_buffer_close(&words);
  context_pair_close(&pair);
}

/* Several at once, of which one is cancelled while the stream is on its way: the others take effect in their order. */
void late_stream_keeps_the_order(void **state) {
  (void)state;
  enum { COUNT = 20 };
  context_pair_t pair;
  test_buffer_t words, from;
  hmc_request_t *requests[COUNT];
  context_pair_open(&pair, NULL);
  hmc_remote_t *remote = seen_from_there(&pair, &words);
  assert_success(test_buffer_open(&from, pair.there, stamp.near, 8 * COUNT, NULL, 0, false));
  for (uint64_t i = 0; i < COUNT; i++) word_store(&from, 8 * i, i + 1);
  for (uint64_t i = 0; i < COUNT; i++) assert_success(hmc_put_nb(from.region, 8 * i, remote, 0, 8, NULL, &requests[i]));
  hmc_status_t cut = hmc_request_cancel(requests[1]);
  assert_true(cut == HMC_CANCELLED || cut == HMC_SUCCESS);
  for (uint64_t i = 0; i < COUNT; i++) {
    hmc_status_t status = hmc_request_wait(requests[i]);
    assert_int_equal(status, i == 1 ? cut : HMC_SUCCESS);
    hmc_request_free(requests[i]);
  }
  assert_int_equal(word_load(&words, 0), COUNT);
  hmc_remote_close(remote);
  test_buffer_close(&from);
  test_buffer_close(&words);
  context_pair_close(&pair);
}

typedef struct reply {
  hmc_remote_t *remote;
  hmc_status_t status;
} reply_t;

static void add_in_callback(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request;
  reply_t *answer = user;
  answer->status = status == HMC_SUCCESS ? add_one(answer->remote) : status;
}

/* The first operation is one that a callback waits for: the thread that would take the stream is the one that waits. */
void late_stream_comes_into_a_callback(void **state) {
  (void)state;
  context_pair_t pair;
  test_buffer_t words;
  context_pair_open(&pair, NULL);
  reply_t answer = {seen_from_there(&pair, &words), HMC_IN_PROGRESS};
  uint16_t port;
  hmc_peer_t *other;
  hmc_remote_t *direct;
  hmc_request_t *request;
  assert_success(hmc_context_listen(pair.here, "127.0.0.1", 0, &port));
  assert_success(hmc_context_connect(pair.there, "127.0.0.1", port, stamp.type, 0, &other));
  assert_success(hmc_remote_open(other, "words", 0, &direct));
  hmc_operation_options_t options = {.size = sizeof options, .callback = add_in_callback, .user = &answer};
  test_buffer_t from;
  assert_success(test_buffer_open(&from, pair.there, stamp.near, 8, NULL, 0, false));
  word_store(&from, 0, 41);
  assert_success(hmc_put_nb(from.region, 0, direct, 0, 8, &options, &request));
  assert_success(hmc_request_wait(request));
  hmc_request_free(request); /* after its callback */
  assert_success(answer.status);
  assert_int_equal(word_load(&words, 0), 42);
  hmc_remote_close(direct);
  hmc_remote_close(answer.remote);
  test_buffer_close(&from);
  test_buffer_close(&words);
  context_pair_close(&pair);
}

/* The peer goes while the stream is on its way, or a moment later: what waits for it ends. */
void late_stream_ends_with_its_peer(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    context_pair_t pair;
    test_buffer_t words, from;
    hmc_request_t *request;
    context_pair_open(&pair, NULL);
    hmc_remote_t *remote = seen_from_there(&pair, &words);
    assert_success(test_buffer_open(&from, pair.there, stamp.near, 8, NULL, 0, false));
    assert_success(hmc_put_nb(from.region, 0, remote, 0, 8, NULL, &request));
    if (round % 2) sleep_ms(round / 2);
    hmc_peer_close(pair.peer);
    hmc_status_t status = hmc_request_wait(request);
    assert_true(status == HMC_SUCCESS || status == HMC_PEER_LOST);
    hmc_request_free(request);
    hmc_remote_close(remote);
    test_buffer_close(&from);
    test_buffer_close(&words);
    context_pair_close(&pair);
  }
}

/* Who has stopped listening keeps its peers, those that it has not spoken to yet as well. */
void late_stream_comes_after_listening_has_stopped(void **state) {
  (void)state;
  context_pair_t pair;
  test_buffer_t words;
  context_pair_open(&pair, NULL);
  hmc_context_stop_listening(pair.there);
  hmc_remote_t *remote = seen_from_there(&pair, &words);
  assert_success(add_one(remote));
  assert_int_equal(word_load(&words, 0), 1);
  hmc_remote_close(remote);
  test_buffer_close(&words);
  context_pair_close(&pair);
}

/* True once nobody listens there any more; until then a caller is turned away. */
static bool port_comes_free(hmc_context_t *context, uint16_t port) {
  for (int i = 0; i < 6000; i++) {
    hmc_peer_t *peer;
    hmc_status_t status = hmc_context_connect(context, "127.0.0.1", port, stamp.type, 0, &peer);
    if (status == HMC_NOT_FOUND) return true;
    assert_status(status, HMC_PEER_LOST);
    sleep_ms(10);
  }
  return false;
}

/* A peer stands still while listening stops: the port stays until it has what it lacks, for nobody else. */
void late_stream_comes_to_one_who_stood_still(void **state) {
  (void)state;
  context_pair_t pair;
  distant_t distant = {.peer = NULL};
  uint16_t port, again;
  context_pair_open(&pair, NULL);
  target_start(&distant.target, NULL);
  target_do(&distant.target, (command_t){.verb = VERB_CREATE, .timeout_ms = 60000});
  assert_success(hmc_context_listen(pair.here, "127.0.0.1", 0, &port));
  target_do(&distant.target, (command_t){.verb = VERB_PLACE,
                                         .memory = stamp.far,
                                         .length = WORDS,
                                         .rights = HMC_REMOTE_ALL,
                                         .registered = true,
                                         .text = "still"});
  command_t dial = {.verb = VERB_CONNECT, .text = "127.0.0.1", .value = port, .type = stamp.type};
  target_do(&distant.target, dial);
  assert_success(hmc_context_accept(pair.here, 0, &distant.peer));
  assert_success(hmc_remote_open(distant.peer, "still", 0, &distant.remote));
  distant_stop(&distant);
  hmc_context_stop_listening(pair.here);
  hmc_peer_t *refused;
  assert_status(hmc_context_connect(pair.there, "127.0.0.1", port, stamp.type, 0, &refused), HMC_PEER_LOST);
  assert_success(hmc_context_listen(pair.here, "127.0.0.1", port, &again)); /* it goes on where it was */
  assert_int_equal(again, port);
  hmc_peer_t *more, *more_back;
  assert_success(hmc_context_connect(pair.there, "127.0.0.1", port, stamp.type, 0, &more));
  assert_success(hmc_context_accept(pair.here, 0, &more_back));
  hmc_context_stop_listening(pair.here);
  distant_continue(&distant);
  assert_success(add_one(distant.remote));
  assert_true(port_comes_free(pair.there, port));
  assert_success(add_one(distant.remote));
  distant_end(&distant);
  context_pair_close(&pair);
}
