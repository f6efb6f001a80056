/* The answering end of a stream, whose peer is the test. */
#include "stream_fixture.h"
#include "wire.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <cmocka.h>

enum { ASKED = 2000 };
#define LENGTH (64u << 10)

/* Stands before the C library's, and counts. */
static _Atomic int wishes; /* for fewer acknowledgements of the kernel's */

int setsockopt(int descriptor, int level, int name, const void *value, socklen_t size) {
  if (level == IPPROTO_TCP && name == TCP_QUICKACK) atomic_fetch_add(&wishes, 1);
  return (int)syscall(SYS_setsockopt, descriptor, level, name, value, size);
}

static void wait_a_moment(void) { poll(NULL, 0, 1); }

/* Bytes that the other end has not read yet. */
static int unread(int descriptor) {
  int bytes = 0;
  assert_int_equal(ioctl(descriptor, SIOCOUTQ, &bytes), 0);
  return bytes;
}

static void send_all(int descriptor, const uint8_t *bytes, size_t size) {
  int waited = 0;
  for (size_t sent = 0; sent < size;) {
    ssize_t done = send(descriptor, bytes + sent, size - sent, MSG_NOSIGNAL);
    if (done > 0) sent += (size_t)done;
    assert_true(waited < 20000);
    if (done < 0) wait_a_moment(), waited++;
  }
}

static void send_request(int descriptor, const hmci_request_header_t *header) {
  uint8_t frame[HMCI_REQUEST_HEADER];
  hmci_request_encode(frame, header);
  send_all(descriptor, frame, sizeof frame);
}

/* Gets whose answers nobody takes: what comes behind them is read all the same. */
static void test_reads_though_nothing_goes_out(void **state) {
  (void)state;
  stream_stand_t stand;
  hmci_responder_t responder;
  stand_open(&stand, 1 << 20);
  assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  for (uint64_t i = 1; i <= ASKED; i++) {
    send_request(stand.far, &(hmci_request_header_t){.type = HMCI_WIRE_GET,
                                                     .flags = HMCI_FLAG_LAST,
                                                     .entries = 1,
                                                     .region = 1,
                                                     .generation = 1,
                                                     .sequence = i,
                                                     .length = LENGTH});
  }
  for (int i = 0; i < 20000 && unread(stand.far); i++) wait_a_moment();
  assert_int_equal(unread(stand.far), 0);
  assert_int_equal(atomic_load(&stand.lost), 0);
  hmci_responder_close(&responder);
  assert_int_equal(atomic_load(&stand.region.users), 0);
  stand_close(&stand);
}

static void send_add(int descriptor, uint64_t sequence, uint8_t flags) {
  uint8_t table[(HMCI_ATOMIC_ENTRIES - 1) * HMCI_REQUEST_ENTRY];
  hmci_request_encode_entry(table, HMC_ATOMIC_ADD, 1);
  hmci_request_encode_entry(table + HMCI_REQUEST_ENTRY, 0, 0);
  send_request(descriptor, &(hmci_request_header_t){.type = HMCI_WIRE_ATOMIC,
                                                    .flags = HMCI_FLAG_LAST | flags,
                                                    .entries = HMCI_ATOMIC_ENTRIES,
                                                    .region = 1,
                                                    .generation = 1,
                                                    .sequence = sequence,
                                                    .length = 8});
  send_all(descriptor, table, sizeof table);
}

/* The next answer, which is an ACK: up to where. */
static uint64_t next_ack(int descriptor) {
  uint8_t frame[HMCI_REPLY_HEADER];
  hmci_reply_header_t reply;
  for (size_t got = 0; got < sizeof frame;) {
    struct pollfd set = {.fd = descriptor, .events = POLLIN};
    assert_int_equal(poll(&set, 1, 120000), 1);
    ssize_t done = recv(descriptor, frame + got, sizeof frame - got, 0);
    assert_true(done > 0);
    got += (size_t)done;
  }
  assert_int_equal(hmci_reply_decode(frame, &reply), HMC_SUCCESS);
  assert_int_equal(reply.type, HMCI_WIRE_ACK);
  return reply.sequence;
}

/* Operations whose answers nobody waits for share one: with the first that is waited for, and at the latest when no more
 * come. */
static void test_easy_ones_share_an_answer(void **state) {
  (void)state;
  enum { EASY = 1000 };
  stream_stand_t stand;
  hmci_responder_t responder;
  stand_open(&stand, 4096);
  assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  uint64_t answers = 0, acknowledged = 0;
  for (uint64_t i = 1; i <= EASY; i++) send_add(stand.far, i, HMCI_FLAG_EASY);
  for (; acknowledged < EASY; answers++) acknowledged = next_ack(stand.far); /* the last one comes by itself */
  assert_true(answers <= EASY / 4);
  const _Atomic uint64_t *word = (const _Atomic uint64_t *)(const void *)stand.region.base;
  assert_int_equal(atomic_load(word), EASY);
  send_add(stand.far, EASY + 1, HMCI_FLAG_EASY);
  send_add(stand.far, EASY + 2, 0);
  while (acknowledged < EASY + 2) acknowledged = next_ack(stand.far);
  assert_int_equal(acknowledged, EASY + 2);
  hmci_responder_close(&responder);
  stand_close(&stand);
}

/* Those that come one by one share answers too. */
static void test_easy_ones_wait_for_others(void **state) {
  (void)state;
  enum { EASY = 40, GAP = 1000000, WAIT = 20000000 };
  stream_stand_t stand;
  hmci_responder_t responder;
  stand_open(&stand, 4096);
  assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  uint64_t answers = 0, acknowledged = 0, begin = hmci_now();
  for (uint64_t i = 1; i <= EASY; i++) {
    send_add(stand.far, i, HMCI_FLAG_EASY);
    for (uint64_t until = hmci_now() + GAP; hmci_now() < until;) wait_a_moment();
  }
  for (; acknowledged < EASY; answers++) acknowledged = next_ack(stand.far);
  assert_in_range(answers, 1, (hmci_now() - begin) / WAIT);
  hmci_responder_close(&responder);
  stand_close(&stand);
}

/* A get's answer brings theirs along: who waits for all of them waits no longer than for the get. */
static void test_easy_ones_go_with_a_get(void **state) {
  (void)state;
  stream_stand_t stand;
  hmci_responder_t responder;
  stand_open(&stand, 4096);
  assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  for (uint64_t i = 1; i <= 9; i += 2) {
    uint8_t data[HMCI_REPLY_HEADER + 8];
    send_add(stand.far, i, HMCI_FLAG_EASY);
    send_request(stand.far, &(hmci_request_header_t){.type = HMCI_WIRE_GET,
                                                     .flags = HMCI_FLAG_LAST,
                                                     .entries = 1,
                                                     .region = 1,
                                                     .generation = 1,
                                                     .sequence = i + 1,
                                                     .length = 8});
    assert_int_equal(next_ack(stand.far), i);
    assert_int_equal(recv(stand.far, data, sizeof data, MSG_WAITALL), sizeof data);
  }
  hmci_responder_close(&responder);
  stand_close(&stand);
}

/* Where no answers go back, the kernel would acknowledge each small message by a packet of its own. */
static void test_the_kernel_acknowledges_less(void **state) {
  (void)state;
  enum { TURNS = 100 };
  for (int easy = 0; easy < 2; easy++) {
    stream_stand_t stand;
    hmci_responder_t responder;
    stand_open(&stand, 4096);
    assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
    const _Atomic uint64_t *word = (const _Atomic uint64_t *)(const void *)stand.region.base;
    int before = atomic_load(&wishes);
    for (uint64_t i = 1; i <= TURNS; i++) {
      send_add(stand.far, i, easy ? HMCI_FLAG_EASY : 0);
      for (int waited = 0; atomic_load(word) < i && waited < 20000; waited++) wait_a_moment();
      assert_int_equal(atomic_load(word), i);
    }
    hmci_responder_close(&responder);
    int made = atomic_load(&wishes) - before;
    assert_true(easy ? made > 0 && made < TURNS / 4 : made == 0);
    stand_close(&stand);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reads_though_nothing_goes_out), cmocka_unit_test(test_easy_ones_share_an_answer),
      cmocka_unit_test(test_easy_ones_wait_for_others), cmocka_unit_test(test_easy_ones_go_with_a_get),
      cmocka_unit_test(test_the_kernel_acknowledges_less)};
  return cmocka_run_group_tests_name("transport.stream.responder", tests, NULL, NULL);
}
