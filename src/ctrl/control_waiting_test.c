/* Waiting on the control channel: deadlines, who comes late, and the descriptor to poll. */
#include "control_fixture.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <hmc/state.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* That it does not take until the default deadline, half a minute, is all that is certain on a busy machine. */
static void assert_took(uint64_t start, uint64_t at_least_ms) {
  assert_in_range(hmci_now() - start, at_least_ms * MS, (at_least_ms + PATIENCE_MS) * MS);
}

static atomic_bool is_asked;

static bool says_stop(void) {
  atomic_store(&is_asked, true);
  return true;
}

/* A thread can stop its dial, whether nobody listens at the other end or the listener never answers. */
static void test_a_program_that_stops_its_dial(void **state) {
  (void)state;
  hmc_control_t *control;
  GOOD(hmc_control_create(&control));
  int deaf = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  assert_int_equal(bind(deaf, (struct sockaddr *)&address, size), 0);
  assert_int_equal(getsockname(deaf, (struct sockaddr *)&address, &size), 0);
  hmc_state_of_thread()->stop = says_stop;
  for (int listens = 0; listens < 2; listens++) {
    if (listens) assert_int_equal(listen(deaf, 1), 0);
    atomic_store(&is_asked, false);
    uint64_t start = hmci_now();
    assert_int_equal(hmc_control_connect(control, 0, 1, "127.0.0.1", ntohs(address.sin_port), NULL, 1000000),
                     HMC_CANCELLED);
    assert_took(start, 0);
    assert_true(atomic_load(&is_asked));
  }
  hmc_state_of_thread()->stop = NULL;
  close(deaf);
  hmc_control_destroy(control);
}

static void test_deadlines(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  uint64_t value = 8, start = hmci_now();
  uint32_t rank = 77;
  FAILS(hmc_control_receive_u64(pair.zero, 1, &value, 30), HMC_TIMEOUT, "no message from rank 1");
  assert_took(start, 30);
  start = hmci_now();
  FAILS(hmc_control_receive_u64(pair.zero, 5, &value, 30), HMC_TIMEOUT, "no link to rank 5");
  FAILS(hmc_control_send_u64(pair.zero, 5, 1, 30), HMC_TIMEOUT, "no link to rank 5");
  FAILS(hmc_control_find(pair.zero, "192.0.2.1", 30, &rank), HMC_TIMEOUT, "192.0.2.1");
  assert_took(start, 90);
  assert_true(value == 8 && rank == 77);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

static void test_the_default_deadline(void **state) {
  (void)state;
  setenv("HMC_TIMEOUT", "40ms", 1);
  hmc_control_t *control = make();
  uint64_t value, start = hmci_now();
  FAILS(hmc_control_receive_u64(control, 1, &value, 0), HMC_TIMEOUT, "rank 1");
  assert_took(start, 40);
  hmc_control_destroy(control);
}

static void *connect_late(void *argument) {
  pair_t *pair = argument;
  sleep_ms(30);
  return hmc_control_connect(pair->one, 0, 1, "127.0.0.1", pair->port, NULL, PATIENCE_MS) == HMC_SUCCESS ? argument
                                                                                                         : NULL;
}

static void test_sending_waits_for_the_link(void **state) {
  (void)state;
  pair_t pair = {.zero = make(), .one = make()};
  pthread_t thread;
  void *result;
  uint64_t value = 0;
  GOOD(hmc_control_listen(pair.zero, "127.0.0.1", 0, NULL, &pair.port));
  assert_int_equal(pthread_create(&thread, NULL, connect_late, &pair), 0);
  GOOD(hmc_control_send_u64(pair.zero, 1, 4321, PATIENCE_MS));
  GOOD(hmc_control_receive_u64(pair.one, 0, &value, PATIENCE_MS));
  assert_true(value == 4321);
  pthread_join(thread, &result);
  assert_non_null(result);
  destroy_pair(&pair);
}

static void *listen_late(void *argument) {
  sleep_ms(60);
  return hmc_control_listen(argument, NULL, 0, path, NULL) == HMC_SUCCESS ? argument : NULL;
}

static void test_a_dial_is_repeated_until_the_peer_listens(void **state) {
  (void)state;
  hmc_control_t *zero = make(), *one = make();
  pthread_t thread;
  void *result;
  assert_int_equal(pthread_create(&thread, NULL, listen_late, zero), 0);
  GOOD(hmc_control_connect(one, 0, 1, NULL, 0, path, PATIENCE_MS));
  pthread_join(thread, &result);
  assert_non_null(result);
  talk(one, 1, zero, 0);
  hmc_control_destroy(one);
  hmc_control_destroy(zero);
}

static void test_a_dial_ends_at_its_deadline(void **state) {
  (void)state;
  hmc_control_t *control = make(), *other = make();
  uint16_t port;
  GOOD(hmc_control_listen(other, "127.0.0.1", 0, NULL, &port));
  hmc_control_destroy(other);
  uint64_t start = hmci_now();
  FAILS(hmc_control_connect(control, 0, 1, "127.0.0.1", port, NULL, 50), HMC_TIMEOUT, "nobody listens at 127.0.0.1:");
  FAILS(hmc_control_connect(control, 0, 1, NULL, 0, path, 50), HMC_TIMEOUT, path);
  assert_took(start, 100);
  hmc_control_destroy(control);
}

enum { SLOW_MS = 4000, SILENT_MS = 9000 };
static atomic_bool is_over; /* what asks for silent.test may go */
static atomic_int asking;

/* Stands before the C library's: slow.test is this host, as a name server says in the end, and that of silent.test says
 * nothing for longer than anybody wants to wait. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
  memcpy(&next, &symbol, sizeof(symbol));
  if (strcmp(node, "slow.test") == 0) {
    sleep_ms(SLOW_MS);
    return next("127.0.0.1", service, hints, found);
  }
  if (strcmp(node, "silent.test") == 0) {
    atomic_fetch_add(&asking, 1);
    for (int i = 0; i < SILENT_MS && !atomic_load(&is_over); i++) {
      sleep_ms(1);
    }
    atomic_fetch_sub(&asking, 1);
    return EAI_AGAIN;
  }
  return next(node, service, hints, found);
}

static void test_deadlines_while_a_name_is_looked_up(void **state) {
  (void)state;
  hmc_control_t *control = make();
  uint32_t rank = 77;
  uint64_t start = hmci_now();
  FAILS(hmc_control_connect(control, 0, 1, "silent.test", 7, path, 50), HMC_TIMEOUT, "did not come up in time");
  FAILS(hmc_control_find(control, "silent.test", 50, &rank), HMC_TIMEOUT, "silent.test");
  assert_in_range(hmci_now() - start, 100 * MS, (SILENT_MS - 1000) * MS);
  assert_int_equal(rank, 77);
  hmc_control_destroy(control);
  atomic_store(&is_over, true);
  for (int i = 0; i < PATIENCE_MS && atomic_load(&asking) > 0; i++) {
    sleep_ms(1);
  }
}

/* Looking a name up may take longer than any attempt to connect. */
static void test_a_dial_to_a_name_that_is_looked_up_slowly(void **state) {
  (void)state;
  hmc_control_t *zero = make(), *one = make();
  uint16_t port;
  GOOD(hmc_control_listen(zero, "127.0.0.1", 0, NULL, &port));
  GOOD(hmc_control_connect(one, 0, 1, "slow.test", port, NULL, PATIENCE_MS));
  talk(one, 1, zero, 0);
  hmc_control_destroy(one);
  hmc_control_destroy(zero);
}

/* Messages that nobody has asked for yet are taken off the peer's hands: two ends that both send much before they
 * receive do not wait for each other. */
static void test_both_ends_send_first(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_UDS);
  enum { SIZE = 1 << 20 }; /* the kernel holds a quarter of it */
  uint8_t *data = malloc(SIZE), *got = malloc(SIZE);
  for (size_t i = 0; i < 3; i++) {
    fill(data, SIZE, i);
    GOOD(hmc_control_send(pair.zero, 1, 256, data, SIZE, PATIENCE_MS));
    GOOD(hmc_control_send(pair.one, 0, 256, data, SIZE, PATIENCE_MS));
    GOOD(hmc_control_receive(pair.zero, 1, NULL, got, SIZE, NULL, PATIENCE_MS));
    assert_int_equal(memcmp(data, got, SIZE), 0);
    GOOD(hmc_control_receive(pair.one, 0, NULL, got, SIZE, NULL, PATIENCE_MS));
    assert_int_equal(memcmp(data, got, SIZE), 0);
    talk_to_waiter(pair.one, 1, pair.zero, 0);
    talk_to_waiter(pair.zero, 0, pair.one, 1);
  }
  free(data);
  free(got);
  destroy_pair(&pair);
}

/* A peer that sends without end to an application that does not receive fills a bounded queue, and then waits. What its
 * sends said was sent arrives, what they said was not does not. */
static void test_a_peer_that_sends_too_much_is_held_back(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  enum { SIZE = 1 << 20, LEAST = 16, MOST = 64 };
  uint32_t *data = calloc(1, SIZE);
  uint32_t sent = 0, given_up = 0, patience = 200;
  while ((sent < LEAST || given_up < 2) && sent < MOST && patience-- > 0) {
    data[0] = data[SIZE / 4 - 1] = sent;
    hmc_status_t status = hmc_control_send(pair.one, 0, 256, data, SIZE, IS_SLOW ? 200 : 60);
    assert_true(status == HMC_SUCCESS || status == HMC_TIMEOUT);
    sent += status == HMC_SUCCESS;
    given_up = status == HMC_SUCCESS ? 0 : given_up + 1; /* twice in a row: not just a slow machine */
  }
  assert_true(given_up >= 2);
  assert_true(is_at_rest(30));
  assert_in_range(sent, LEAST, MOST - 1);
  for (uint32_t i = 0; i < sent; i++) {
    size_t size = 0;
    GOOD(hmc_control_receive(pair.zero, 1, NULL, data, SIZE, &size, PATIENCE_MS));
    assert_int_equal(size, SIZE);
    assert_int_equal(data[0], i);
    assert_int_equal(data[SIZE / 4 - 1], i);
  }
  talk(pair.one, 1, pair.zero, 0);
  free(data);
  destroy_pair(&pair);
}

/* ---- the descriptor to poll -------------------------------------------------------------------------------------- */

static void poll_link(way_t way) {
  pair_t pair = make_pair(way);
  int descriptor = -1, again = -2;
  int32_t value;
  FAILS(hmc_control_socket(pair.zero, 9, &descriptor), HMC_NOT_FOUND, "rank 9");
  GOOD(hmc_control_send_int(pair.one, 0, 1, 0));
  sleep_ms(40); /* nobody receives: the message is taken off the socket */
  GOOD(hmc_control_socket(pair.zero, 1, &descriptor));
  GOOD(hmc_control_socket(pair.zero, 1, &again));
  assert_int_equal(descriptor, again);
  assert_true(is_readable(descriptor, PATIENCE_MS));
  GOOD(hmc_control_receive_int(pair.zero, 1, &value, 0));
  assert_false(is_readable(descriptor, 20));
  for (int i = 0; i < 3; i++) {
    GOOD(hmc_control_send_int(pair.one, 0, i, 0));
    GOOD(hmc_control_send_int(pair.one, 0, 100 + i, 0));
    sleep_ms(i * 15);
    assert_true(is_readable(descriptor, PATIENCE_MS));
    GOOD(hmc_control_receive_int(pair.zero, 1, &value, 0));
    assert_int_equal(value, i);
    assert_true(is_readable(descriptor, PATIENCE_MS));
    GOOD(hmc_control_receive_int(pair.zero, 1, &value, 0));
    assert_int_equal(value, 100 + i);
    assert_false(is_readable(descriptor, 0));
  }
  hmc_control_close(pair.one, 0);
  assert_true(is_readable(descriptor, PATIENCE_MS));
  FAILS(hmc_control_receive_int(pair.zero, 1, &value, 0), HMC_PEER_LOST, "rank 1");
  destroy_pair(&pair);
}

static void test_polling(void **state) {
  (void)state;
  poll_link(BY_TCP);
  poll_link(BY_UDS);
}

/* Links that carried messages and now rest, and one end that waits, cost no processor time. */
static void test_an_idle_channel_uses_no_processor(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  waiter_t waiter = {.control = pair.zero, .rank = 1};
  pthread_t thread;
  for (int i = 0; i < 20; i++) {
    talk(pair.one, 1, pair.zero, 0);
  }
  assert_int_equal(pthread_create(&thread, NULL, wait_for_value, &waiter), 0);
  sleep_ms(60);
  assert_true(is_at_rest(100));
  GOOD(hmc_control_send_u64(pair.one, 0, 9, 0));
  pthread_join(thread, NULL);
  assert_int_equal(waiter.status, HMC_SUCCESS);
  destroy_pair(&pair);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(test_deadlines),
      TEST(test_a_program_that_stops_its_dial),
      TEST(test_the_default_deadline),
      TEST(test_sending_waits_for_the_link),
      TEST(test_a_dial_is_repeated_until_the_peer_listens),
      TEST(test_a_dial_ends_at_its_deadline),
      TEST(test_deadlines_while_a_name_is_looked_up),
      TEST(test_a_dial_to_a_name_that_is_looked_up_slowly),
      TEST(test_both_ends_send_first),
      TEST(test_a_peer_that_sends_too_much_is_held_back),
      TEST(test_polling),
      TEST(test_an_idle_channel_uses_no_processor),
  };
  return cmocka_run_group_tests_name("control_waiting", tests, NULL, NULL);
}
