/* Secure streams between ends that know each other. Others are in secure_strangers_test.c. */
#include "secure_fixture.h"

#include <fcntl.h>
#include <pthread.h>

/* ---- streams that work ------------------------------------------------------------------------------------------- */

static void exchange(hmci_secure_t *from, hmci_secure_t *to) {
  char message[] = "a message", received[sizeof(message)] = "";
  assert_int_equal(hmci_secure_write_wait(from, message, sizeof(message), soon()), HMC_SUCCESS);
  assert_int_equal(hmci_secure_read_wait(to, received, 1, soon()), HMC_SUCCESS);
  assert_int_equal(hmci_secure_read_wait(to, received + 1, sizeof(message) - 1, soon()), HMC_SUCCESS);
  assert_string_equal(received, message);
  assert_false(hmci_secure_pending(to));
}

/* When large, far more than the socket buffers hold, so that writes are partial and wait. */
static void push_much(hmci_secure_t *from, hmci_secure_t *to, size_t size) {
  bool is_large = size >= 8 << 20;
  uint8_t *data = malloc(size), *received = malloc(size);
  assert_non_null(data);
  assert_non_null(received);
  for (size_t i = 0; i < size; i++) {
    data[i] = (uint8_t)(i * 7 + (i >> 13));
  }
  size_t sent = 0, got = 0, waits = 0;
  while (got < size) {
    size_t done = 0;
    short events = 0;
    hmc_status_t status = HMC_SUCCESS;
    while (sent < size && status == HMC_SUCCESS) {
      done = 0;
      status = hmci_secure_write(from, data + sent, size - sent, &done, &events);
      assert_true(status == HMC_SUCCESS ? done > 0 && (done < size || !is_large)
                                        : status == HMC_IN_PROGRESS && done == 0 && events == POLLOUT);
      sent += done;
      waits += status == HMC_IN_PROGRESS;
    }
    do {
      done = 0;
      status = hmci_secure_read(to, received + got, size - got, &done, &events);
      assert_true(status == HMC_SUCCESS ? done > 0 : status == HMC_IN_PROGRESS && done == 0 && events == POLLIN);
      got += done;
    } while (status == HMC_SUCCESS && got < size);
  }
  assert_true(waits > 0 || !is_large);
  assert_memory_equal(data, received, size);
  free(data);
  free(received);
}

static void use_pair(const hmci_secret_t *secret, bool is_unix) {
  pair_t pair;
  char byte;
  size_t done = 0;
  short events = 0;
  good_pair(&pair, secret, is_unix);
  exchange(pair.client, pair.server);
  exchange(pair.server, pair.client);
  push_much(pair.client, pair.server, is_unix ? 1 << 20 : 8 << 20);
  push_much(pair.server, pair.client, 1 << 20);
  assert_int_equal(hmci_secure_read(pair.client, &byte, 1, &done, &events), HMC_IN_PROGRESS);
  assert_int_equal(events, POLLIN);
  assert_int_equal(hmci_secure_handshake(pair.client, &events), HMC_SUCCESS);
  close_pair(&pair);
}

static void test_tls(void **state) {
  (void)state;
  use_pair(&ours, false);
}

static void test_unix(void **state) {
  (void)state;
  use_pair(&ours, true);
}

static void test_insecure(void **state) {
  (void)state;
  use_pair(&insecure, false);
  use_pair(&insecure, true);
}

/* What runs over TCP with a secret is TLS: nothing that is sent can be read on the way. */
static void test_tls_hides_what_it_carries(void **state) {
  (void)state;
  static const char text[] = "nobody else may read this line";
  pair_t pair;
  char raw[512];
  good_pair(&pair, &ours, false);
  assert_int_equal(hmci_secure_write_wait(pair.client, text, sizeof(text), soon()), HMC_SUCCESS);
  struct pollfd wait = {.fd = hmci_secure_descriptor(pair.server), .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  ssize_t size = recv(wait.fd, raw, sizeof(raw), MSG_PEEK);
  assert_true(size > (ssize_t)sizeof(text));
  assert_memory_equal(raw, "\x17\x03\x03", 3);
  assert_null(memmem(raw, (size_t)size, "nobody", 6));
  close_pair(&pair);
}

static void test_pending_tells_of_the_rest_of_a_record(void **state) {
  (void)state;
  pair_t pair;
  char data[100] = {0};
  good_pair(&pair, &ours, false);
  assert_false(hmci_secure_pending(pair.server));
  assert_int_equal(hmci_secure_write_wait(pair.client, data, sizeof(data), soon()), HMC_SUCCESS);
  assert_int_equal(hmci_secure_read_wait(pair.server, data, 40, soon()), HMC_SUCCESS);
  assert_true(hmci_secure_pending(pair.server));
  assert_int_equal(hmci_secure_read_wait(pair.server, data, 60, soon()), HMC_SUCCESS);
  assert_false(hmci_secure_pending(pair.server));
  close_pair(&pair);
}

/* Bare bytes right behind the last secure ones are all there for the socket's next user. */
static void detach_pair(const hmci_secret_t *secret, bool is_unix) {
  pair_t pair;
  char received[32] = "";
  good_pair(&pair, secret, is_unix);
  assert_int_equal(hmci_secure_write_wait(pair.client, "inside", 6, soon()), HMC_SUCCESS);
  int client = hmci_secure_detach(pair.client);
  assert_int_equal(send(client, "outside", 8, 0), 8);
  assert_int_equal(hmci_secure_read_wait(pair.server, received, 6, soon()), HMC_SUCCESS);
  assert_memory_equal(received, "inside", 6);
  int server = hmci_secure_detach(pair.server);
  struct pollfd wait = {.fd = server, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(recv(server, received, sizeof(received), 0), 8);
  assert_string_equal(received, "outside");
  assert_int_equal(send(server, "back", 5, 0), 5);
  wait.fd = client;
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(recv(client, received, sizeof(received), 0), 5);
  assert_string_equal(received, "back");
  close(client);
  close(server);
}

static void test_detach(void **state) {
  (void)state;
  detach_pair(&ours, false);
  detach_pair(&ours, true);
  detach_pair(&insecure, false);
}

/* ---- streams that end -------------------------------------------------------------------------------------------- */

static void end_pair(const hmci_secret_t *secret, bool is_unix, bool politely) {
  pair_t pair;
  char byte = 0;
  good_pair(&pair, secret, is_unix);
  int copy = dup(hmci_secure_descriptor(pair.client)); /* as a child made by fork() has one */
  assert_int_equal(hmci_secure_write_wait(pair.client, "x", 1, soon()), HMC_SUCCESS);
  if (politely) {
    hmci_secure_close(pair.client);
  } else {
    close(hmci_secure_detach(pair.client));
    shutdown(copy, SHUT_RDWR);
  }
  assert_int_equal(hmci_secure_read_wait(pair.server, &byte, 1, soon()), HMC_SUCCESS);
  assert_int_equal(byte, 'x');
  assert_int_equal(hmci_secure_read_wait(pair.server, &byte, 1, soon()), HMC_PEER_LOST);
  assert_says(hmc_last_error(), "the client");
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < 10000 && status == HMC_SUCCESS; i++) { /* would raise SIGPIPE */
    status = hmci_secure_write_wait(pair.server, "yyyyyyyyyyyyyyyy", 16, hmci_deadline(1000));
  }
  assert_int_equal(status, HMC_PEER_LOST);
  assert_true(ERR_peek_error() == 0);
  close(copy);
  hmci_secure_close(pair.server);
}

static void test_the_end_of_a_stream(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    end_pair(kinds[i].secret, kinds[i].is_unix, true);
    end_pair(kinds[i].secret, kinds[i].is_unix, false);
  }
}

static void test_tampering_is_noticed(void **state) {
  (void)state;
  pair_t pair;
  char byte;
  good_pair(&pair, &ours, false);
  /* A record that was not made by the peer. */
  static const uint8_t forged[] = {0x17, 3,  3,  0,  20, 1,  2,  3,  4,  5,  6,  7, 8,
                                   9,    10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  assert_int_equal(send(hmci_secure_descriptor(pair.client), forged, sizeof(forged), 0), sizeof(forged));
  assert_int_equal(hmci_secure_read_wait(pair.server, &byte, 1, soon()), HMC_CORRUPT);
  assert_says(hmc_last_error(), "the client");
  assert_true(ERR_peek_error() == 0);
  close_pair(&pair);
}

static void test_waits_end_at_their_deadlines(void **state) {
  (void)state;
  pair_t pair;
  char *data = calloc(1, 16 << 20), byte;
  assert_non_null(data);
  good_pair(&pair, &ours, false);
  uint64_t start = hmci_now();
  assert_int_equal(hmci_secure_read_wait(pair.client, &byte, 1, hmci_deadline(20)), HMC_TIMEOUT);
  assert_says(hmc_last_error(), "0 of 1 B");
  assert_int_equal(hmci_secure_write_wait(pair.client, data, 16 << 20, hmci_deadline(20)), HMC_TIMEOUT);
  assert_int_equal(hmci_secure_read_wait(pair.client, &byte, 1, 0), HMC_TIMEOUT);
  uint64_t took = hmci_now() - start;
  assert_true(took >= 40 * UINT64_C(1000000));
  close_pair(&pair);
  free(data);
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

static void *run_server(void *argument) {
  hmci_secure_t *stream;
  char received[8];
  bool good = hmci_secure_open(&ours, *(int *)argument, HMCI_SECURE_SERVER, "the client", &stream) == HMC_SUCCESS &&
              hmci_secure_handshake_wait(stream, soon()) == HMC_SUCCESS &&
              hmci_secure_read_wait(stream, received, 8, soon()) == HMC_SUCCESS &&
              hmci_secure_write_wait(stream, received, 8, soon()) == HMC_SUCCESS;
  hmci_secure_close(good ? stream : NULL);
  return good ? argument : NULL;
}

static void *run_client(void *argument) {
  hmci_secure_t *stream;
  char received[8] = "";
  bool good = hmci_secure_open(&ours, *(int *)argument, HMCI_SECURE_CLIENT, "the server", &stream) == HMC_SUCCESS &&
              hmci_secure_handshake_wait(stream, soon()) == HMC_SUCCESS &&
              hmci_secure_write_wait(stream, "message", 8, soon()) == HMC_SUCCESS &&
              hmci_secure_read_wait(stream, received, 8, soon()) == HMC_SUCCESS && strcmp(received, "message") == 0;
  hmci_secure_close(good ? stream : NULL);
  return good ? argument : NULL;
}

/* Streams of several threads share what belongs to the secret. */
static void test_threads(void **state) {
  (void)state;
  enum { PAIRS = 4, ROUNDS = 5 };
  for (int round = 0; round < ROUNDS; round++) {
    int ends[PAIRS][2];
    pthread_t threads[PAIRS][2];
    for (int i = 0; i < PAIRS; i++) {
      tcp_pair(ends[i]);
      assert_int_equal(pthread_create(&threads[i][0], NULL, run_client, &ends[i][0]), 0);
      assert_int_equal(pthread_create(&threads[i][1], NULL, run_server, &ends[i][1]), 0);
    }
    for (int i = 0; i < PAIRS; i++) {
      void *result;
      pthread_join(threads[i][0], &result);
      assert_non_null(result);
      pthread_join(threads[i][1], &result);
      assert_non_null(result);
    }
  }
}

static void test_a_failed_open_leaves_the_descriptor(void **state) {
  (void)state;
  hmci_secure_t *stream = (hmci_secure_t *)&ours;
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_int_equal(hmci_secure_open(&ours, file, HMCI_SECURE_CLIENT, "nobody", &stream), HMC_INVALID_CONFIG);
  assert_ptr_equal(stream, &ours);
  assert_int_equal(close(file), 0);
  hmci_secure_close(NULL);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, count_before, count_after)
  const struct CMUnitTest tests[] = {
      TEST(test_tls),
      TEST(test_unix),
      TEST(test_insecure),
      TEST(test_tls_hides_what_it_carries),
      TEST(test_pending_tells_of_the_rest_of_a_record),
      TEST(test_detach),
      TEST(test_the_end_of_a_stream),
      TEST(test_tampering_is_noticed),
      TEST(test_waits_end_at_their_deadlines),
      TEST(test_threads),
      TEST(test_a_failed_open_leaves_the_descriptor),
  };
  return cmocka_run_group_tests_name("secure", tests, NULL, NULL);
}
