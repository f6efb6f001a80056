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

static void read_all(int descriptor, void *to, size_t size) {
  for (size_t got = 0; got < size;) {
    struct pollfd set = {.fd = descriptor, .events = POLLIN};
    assert_int_equal(poll(&set, 1, 120000), 1);
    ssize_t done = recv(descriptor, (uint8_t *)to + got, size - got, 0);
    assert_true(done > 0);
    got += (size_t)done;
  }
}

static hmci_reply_header_t next_reply(int descriptor) {
  uint8_t frame[HMCI_REPLY_HEADER];
  hmci_reply_header_t reply;
  read_all(descriptor, frame, sizeof frame);
  assert_int_equal(hmci_reply_decode(frame, &reply), HMC_SUCCESS);
  return reply;
}

enum { RUN = 200, ELEMENT = 4 };

static hmci_request_header_t run_of(uint8_t type, uint64_t sequence, uint64_t offset, uint64_t stride) {
  return (hmci_request_header_t){.type = type,
                                 .flags = HMCI_FLAG_LAST | HMCI_FLAG_RUN,
                                 .entries = RUN,
                                 .region = 1,
                                 .generation = 1,
                                 .sequence = sequence,
                                 .offset = offset,
                                 .length = ELEMENT,
                                 .stride = stride};
}

/* A run goes to its places and comes from there. One whose last element is over the end of the region writes nothing. */
static void test_runs(void **state) {
  (void)state;
  enum { SIZE = 8192, AT = 5, STRIDE = 11 };
  uint8_t sent[RUN * ELEMENT], got[RUN * ELEMENT];
  for (size_t i = 0; i < sizeof sent; i++) sent[i] = (uint8_t)(1 + i % 250);
  for (int owned = 0; owned < 2; owned++) {
    stream_stand_t stand;
    hmci_responder_t responder;
    stand_open(&stand, SIZE);
    stand.region.owned = owned;
    assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
    const uint8_t *memory = stand.region.base;
    const uint64_t over = SIZE - (RUN - 1) * STRIDE - ELEMENT;
    hmci_request_header_t put = run_of(HMCI_WIRE_PUT, 1, over + 1, STRIDE);
    send_request(stand.far, &put);
    send_all(stand.far, sent, sizeof sent);
    hmci_reply_header_t reply = next_reply(stand.far);
    assert_int_equal(reply.type, HMCI_WIRE_NAK);
    assert_int_equal(reply.status, HMC_OUT_OF_RANGE);
    for (size_t i = 0; i < SIZE; i++) assert_int_equal(memory[i], 0);

    put = run_of(HMCI_WIRE_PUT, 2, AT, STRIDE);
    send_request(stand.far, &put);
    send_all(stand.far, sent, sizeof sent);
    while (next_ack(stand.far) < 2) continue;
    for (size_t i = 0; i < SIZE; i++) {
      size_t element = i < AT ? RUN : (i - AT) / STRIDE, byte = (i - AT) % STRIDE;
      bool is_one = element < RUN && byte < ELEMENT;
      assert_int_equal(memory[i], is_one ? sent[element * ELEMENT + byte] : 0);
    }
    hmci_request_header_t get = run_of(HMCI_WIRE_GET, 3, AT, STRIDE);
    send_request(stand.far, &get);
    uint64_t taken = 0;
    for (bool last = false; !last;) {
      reply = next_reply(stand.far);
      assert_int_equal(reply.type, HMCI_WIRE_DATA);
      assert_true(reply.length <= sizeof got - taken);
      read_all(stand.far, got + taken, reply.length);
      taken += reply.length;
      last = reply.flags & HMCI_FLAG_LAST;
    }
    assert_int_equal(taken, sizeof got);
    assert_memory_equal(got, sent, sizeof got);
    get = run_of(HMCI_WIRE_GET, 4, over + 1, STRIDE);
    send_request(stand.far, &get);
    assert_int_equal(next_reply(stand.far).status, HMC_OUT_OF_RANGE);
    hmci_responder_close(&responder);
    assert_int_equal(atomic_load(&stand.region.users), 0);
    stand_close(&stand);
  }
}

/* A stride that would come round to where the region is breaks the protocol. */
static void test_runs_that_overflow(void **state) {
  (void)state;
  for (int type = HMCI_WIRE_PUT; type <= HMCI_WIRE_GET; type++) {
    stream_stand_t stand;
    hmci_responder_t responder;
    stand_open(&stand, 8192);
    assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
    hmci_request_header_t request = run_of((uint8_t)type, 1, 4096, UINT64_MAX - 15); /* 16 bytes back each time */
    send_request(stand.far, &request);
    for (int i = 0; i < 20000 && !atomic_load(&stand.lost); i++) wait_a_moment();
    assert_int_equal(atomic_load(&stand.lost), 1);
    for (size_t i = 0; i < 8192; i++) assert_int_equal(stand.region.base[i], 0);
    hmci_responder_close(&responder);
    stand_close(&stand);
  }
}

static void expect_refusal(int descriptor, uint64_t sequence) {
  hmci_reply_header_t reply;
  do reply = next_reply(descriptor);
  while (reply.type == HMCI_WIRE_ACK);
  assert_int_equal(reply.type, HMCI_WIRE_NAK);
  assert_int_equal(reply.status, HMC_STALE);
  assert_int_equal(reply.sequence, sequence);
}

/* A get of many frames is refused when the first of them comes: who asks waits for answers before it sends the last ones.
 * The last one, where it comes all the same, has an answer of its own. */
static void test_a_long_get_is_refused_at_once(void **state) {
  (void)state;
  stream_stand_t stand;
  hmci_responder_t responder;
  hmci_request_header_t get = {.type = HMCI_WIRE_GET, .entries = 1, .region = 2, .generation = 1, .length = 8};
  stand_open(&stand, LENGTH);
  assert_int_equal(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  for (get.sequence = 7; get.sequence < 10; get.sequence++) {
    get.flags = 0;
    for (int frames = 0; frames < 5; frames++) send_request(stand.far, &get);
    expect_refusal(stand.far, get.sequence);
    for (int frames = 0; frames < 5; frames++) send_request(stand.far, &get);
    get.flags = HMCI_FLAG_LAST;
    if (get.sequence % 2) send_request(stand.far, &get);
    if (get.sequence % 2) expect_refusal(stand.far, get.sequence);
  }
  hmci_responder_close(&responder);
  stand_close(&stand);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_reads_though_nothing_goes_out),
                                     cmocka_unit_test(test_easy_ones_share_an_answer),
                                     cmocka_unit_test(test_easy_ones_wait_for_others),
                                     cmocka_unit_test(test_easy_ones_go_with_a_get),
                                     cmocka_unit_test(test_the_kernel_acknowledges_less),
                                     cmocka_unit_test(test_runs),
                                     cmocka_unit_test(test_runs_that_overflow),
                                     cmocka_unit_test(test_a_long_get_is_refused_at_once)};
  return cmocka_run_group_tests_name("transport.stream.responder", tests, NULL, NULL);
}
