/* The requesting end of a stream, whose peer is the test. */
#include "requester.h"
#include "stream_fixture.h"
#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <cmocka.h>

#define LENGTH (4u << 20)

/* A pipe that always has room, and whose descriptor never says so. */
typedef struct hidden_pipe {
  hmci_pipe_t base;
  _Atomic uint64_t taken;
} hidden_pipe_t;

static ssize_t take(hmci_pipe_t *base, const struct iovec *parts, int count) {
  hidden_pipe_t *pipe = HMCI_CONTAINER(base, hidden_pipe_t, base);
  uint64_t size = 0;
  for (int i = 0; i < count; i++) size += parts[i].iov_len;
  atomic_fetch_add(&pipe->taken, size);
  return (ssize_t)size;
}

static ssize_t receive_nothing(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  (void)pipe, (void)parts, (void)count;
  errno = EAGAIN;
  return -1;
}

static void close_descriptor(hmci_pipe_t *pipe) { close(pipe->descriptor); }

/* A call that does not wait sends the first bytes only; the loop sends the rest, though no event tells it to. */
static void test_sends_all_without_events(void **state) {
  (void)state;
  stream_stand_t stand;
  stand_open(&stand, LENGTH);
  hidden_pipe_t pipe = {.base = {.send = take,
                                 .receive = receive_nothing,
                                 .close = close_descriptor,
                                 .hidden = true,
                                 .descriptor = epoll_create1(EPOLL_CLOEXEC)}};
  hmci_requester_t requester;
  assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, &pipe.base), HMC_SUCCESS);
  hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
  hmci_operation_t put = {.kind = HMCI_PUT,
                          .local = &stand.region,
                          .remote = &remote,
                          .segments = &put.single,
                          .segment_count = 1,
                          .deadline = UINT64_MAX,
                          .single = {0, 0, LENGTH}};
  assert_int_equal(hmci_requester_submit(&requester, &put, 1), HMC_SUCCESS);
  for (int i = 0; i < 60000 && atomic_load(&pipe.taken) < LENGTH; i++) poll(NULL, 0, 1);
  assert_true(atomic_load(&pipe.taken) > LENGTH);
  hmci_requester_fail(&requester, HMC_PEER_LOST);
  hmci_requester_close(&requester);
  stand.pipe->close(stand.pipe);
  stand_close(&stand);
}

/* The session's end may be seen before an answer that came earlier by the data's own socket. */
static void test_last_answers_count(void **state) {
  (void)state;
  stream_stand_t stand;
  stand_open(&stand, LENGTH);
  hmci_requester_t requester;
  assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  requester.drivers++; /* so that nobody but the end looks */
  hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
  hmci_operation_t puts[2];
  for (int i = 0; i < 2; i++) {
    puts[i] = (hmci_operation_t){.kind = HMCI_PUT,
                                 .local = &stand.region,
                                 .remote = &remote,
                                 .segments = &puts[i].single,
                                 .segment_count = 1,
                                 .deadline = UINT64_MAX,
                                 .awaited = true,
                                 .single = {0, 0, 64}};
    assert_int_equal(hmci_requester_submit(&requester, &puts[i], 1), HMC_SUCCESS);
  }
  uint8_t answer[HMCI_REPLY_HEADER];
  hmci_reply_encode(answer, &(hmci_reply_header_t){.type = HMCI_WIRE_ACK, .sequence = 1});
  assert_int_equal(send(stand.far, answer, sizeof answer, MSG_NOSIGNAL), sizeof answer);
  hmci_requester_fail(&requester, HMC_PEER_LOST);
  assert_true(hmci_operation_is_complete(&puts[0]));
  assert_int_equal(puts[0].status, HMC_SUCCESS);
  assert_true(hmci_operation_is_complete(&puts[1]));
  assert_int_equal(puts[1].status, HMC_PEER_LOST);
  hmci_requester_close(&requester);
  stand_close(&stand);
}

/* A peer of an earlier release takes a flag that it does not know for a broken stream. */
static void test_easy_ones_only_where_known(void **state) {
  (void)state;
  for (int known = 0; known < 2; known++) {
    stream_stand_t stand;
    stand_open(&stand, LENGTH);
    hmci_requester_t requester;
    assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
    requester.takes_easy = known;
    hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
    hmci_operation_t add = {.kind = HMCI_ATOMIC,
                            .remote = &remote,
                            .segments = &add.single,
                            .segment_count = 1,
                            .deadline = UINT64_MAX,
                            .easy = true,
                            .atomic = {HMC_ATOMIC_ADD, false, 1, 0, 0},
                            .single = {0, 0, 8}};
    assert_int_equal(hmci_requester_submit(&requester, &add, 1), HMC_SUCCESS);
    uint8_t frame[HMCI_REQUEST_HEADER];
    hmci_request_header_t header;
    assert_int_equal(recv(stand.far, frame, sizeof frame, MSG_WAITALL), sizeof frame);
    assert_int_equal(hmci_request_decode(frame, &header), HMC_SUCCESS);
    assert_int_equal(header.flags, HMCI_FLAG_LAST | (known ? HMCI_FLAG_EASY : 0));
    hmci_requester_fail(&requester, HMC_PEER_LOST);
    hmci_requester_close(&requester);
    stand_close(&stand);
  }
}

/* The frames of a list of elements at equal distances: runs where the peer knows them, and lists where it does not, or
 * where a run would end before the frame is full: a get may not become more frames by them. */
static void test_runs_only_where_known(void **state) {
  (void)state;
  enum { COUNT = HMCI_FRAME_ENTRIES + 100, ELEMENT = 4, STRIDE = 12, SECOND = 100 };
  for (int known = 0; known < 2; known++) {
    for (int broken = 0; broken < 2; broken++) {
      stream_stand_t stand;
      stand_open(&stand, LENGTH);
      hmci_requester_t requester;
      assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
      requester.takes_runs = known;
      hmci_segment_t segments[COUNT];
      for (uint64_t i = 0; i < COUNT; i++)
        segments[i] = (hmci_segment_t){i * ELEMENT, 1000 + i * STRIDE + (broken && i >= SECOND), ELEMENT};
      hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
      hmci_operation_t get = {.kind = HMCI_GET,
                              .local = &stand.region,
                              .remote = &remote,
                              .segments = segments,
                              .segment_count = COUNT,
                              .deadline = UINT64_MAX};
      assert_int_equal(hmci_requester_submit(&requester, &get, 1), HMC_SUCCESS);
      for (uint64_t first = 0; first < COUNT;) {
        uint8_t frame[HMCI_REQUEST_HEADER], table[HMCI_FRAME_TABLE];
        hmci_request_header_t header;
        hmci_segment_t seen[HMCI_FRAME_ENTRIES];
        uint64_t total;
        assert_int_equal(recv(stand.far, frame, sizeof frame, MSG_WAITALL), sizeof frame);
        assert_int_equal(hmci_request_decode(frame, &header), HMC_SUCCESS);
        bool is_run = known && (!broken || first >= SECOND);
        assert_int_equal(!!(header.flags & HMCI_FLAG_RUN), is_run);
        uint32_t rest = hmci_request_table(&header);
        if (rest) assert_int_equal(recv(stand.far, table, rest, MSG_WAITALL), rest);
        assert_int_equal(hmci_request_decode_entries(&header, table, seen, &total), HMC_SUCCESS);
        assert_int_equal(header.entries, first ? COUNT - HMCI_FRAME_ENTRIES : HMCI_FRAME_ENTRIES);
        for (uint64_t i = 0; i < header.entries; i++)
          assert_true(seen[i].local == segments[first + i].remote && seen[i].length == ELEMENT);
        first += header.entries;
        assert_int_equal(!!(header.flags & HMCI_FLAG_LAST), first == COUNT);
      }
      hmci_requester_fail(&requester, HMC_PEER_LOST);
      hmci_requester_close(&requester);
      stand_close(&stand);
    }
  }
}

static bool await_bytes(int descriptor, void *to, size_t size) {
  for (size_t got = 0; got < size;) {
    struct pollfd set = {.fd = descriptor, .events = POLLIN};
    if (poll(&set, 1, 20000) != 1) return false;
    ssize_t some = recv(descriptor, (uint8_t *)to + got, size - got, 0);
    if (some <= 0) return false;
    got += (size_t)some;
  }
  return true;
}

/* A get that is cancelled before all of it was asked for gets one last frame, and with the answer to it nothing is owed. */
static void test_a_cancelled_get_has_an_end(void **state) {
  (void)state;
  enum { COUNT = 200 * HMCI_FRAME_ENTRIES };
  static hmci_segment_t segments[COUNT];
  for (int known = 0; known < 2; known++) {
    stream_stand_t stand;
    stand_open(&stand, LENGTH);
    hmci_requester_t requester;
    assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
    requester.takes_runs = known;
    for (uint64_t i = 0; i < COUNT; i++) segments[i] = (hmci_segment_t){i * 4, 1000 + i * 12, 4};
    hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
    hmci_operation_t get = {.kind = HMCI_GET,
                            .local = &stand.region,
                            .remote = &remote,
                            .segments = segments,
                            .segment_count = COUNT,
                            .deadline = UINT64_MAX};
    assert_int_equal(hmci_requester_submit(&requester, &get, 1), HMC_SUCCESS);
    hmci_requester_cancel(&requester, &get, HMC_CANCELLED);
    assert_int_equal(get.status, HMC_CANCELLED);
    hmci_request_header_t header = {0};
    uint64_t frames = 0;
    for (; !(header.flags & HMCI_FLAG_LAST); frames++) {
      uint8_t frame[HMCI_REQUEST_HEADER], table[HMCI_FRAME_TABLE];
      hmci_segment_t seen[HMCI_FRAME_ENTRIES];
      uint64_t total;
      assert_true(await_bytes(stand.far, frame, sizeof frame));
      assert_int_equal(hmci_request_decode(frame, &header), HMC_SUCCESS);
      assert_true(await_bytes(stand.far, table, hmci_request_table(&header)));
      assert_int_equal(hmci_request_decode_entries(&header, table, seen, &total), HMC_SUCCESS);
      assert_int_equal(header.sequence, 1);
    }
    assert_in_range(frames, 2, COUNT / HMCI_FRAME_ENTRIES - 1);
    assert_int_equal(header.entries, 1);
    assert_int_equal(header.length, 1);
    assert_true(hmci_requester_has_work(&requester)); /* the answers still come */
    uint8_t answer[HMCI_REPLY_HEADER + 1] = {0};
    hmci_reply_encode(
        answer, &(hmci_reply_header_t){.type = HMCI_WIRE_DATA, .flags = HMCI_FLAG_LAST, .sequence = 1, .length = 1});
    assert_int_equal(send(stand.far, answer, sizeof answer, MSG_NOSIGNAL), sizeof answer);
    for (int i = 0; i < 20000 && hmci_requester_has_work(&requester); i++) poll(NULL, 0, 1);
    assert_false(hmci_requester_has_work(&requester));
    hmci_requester_fail(&requester, HMC_PEER_LOST);
    hmci_requester_close(&requester);
    stand_close(&stand);
  }
}

static hmci_operation_t make_put(const stream_stand_t *stand, const hmci_remote_view_t *remote, uint64_t length) {
  return (hmci_operation_t){.kind = HMCI_PUT,
                            .local = &stand->region,
                            .remote = remote,
                            .segment_count = 1,
                            .deadline = UINT64_MAX,
                            .single = {0, 0, length}};
}

/* A put that is cancelled while it waits behind another one takes its signal with it: the peer would take that for chained
 * to the other one. */
static void test_a_cancelled_put_takes_its_signal_along(void **state) {
  (void)state;
  stream_stand_t stand;
  stand_open(&stand, LENGTH);
  hmci_requester_t requester;
  assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
  hmci_operation_t first = make_put(&stand, &remote, LENGTH), chain[2], after = make_put(&stand, &remote, 8);
  chain[0] = make_put(&stand, &remote, LENGTH);
  chain[1] = (hmci_operation_t){.kind = HMCI_ATOMIC,
                                .remote = &remote,
                                .segment_count = 1,
                                .deadline = UINT64_MAX,
                                .chained = true,
                                .atomic = {HMC_ATOMIC_ADD, false, 1, 0, 0},
                                .single = {0, 0, 8}};
  hmci_operation_t *all[] = {&first, &chain[0], &chain[1], &after};
  for (int i = 0; i < 4; i++) all[i]->segments = &all[i]->single;
  assert_int_equal(hmci_requester_submit(&requester, &first, 1), HMC_SUCCESS); /* more than the socket takes */
  assert_int_equal(hmci_requester_submit(&requester, chain, 2), HMC_SUCCESS);
  hmci_requester_cancel(&requester, &chain[0], HMC_CANCELLED);
  assert_true(hmci_operation_is_complete(&chain[0]));
  assert_true(hmci_operation_is_complete(&chain[1]));
  assert_int_equal(chain[1].status, HMC_CANCELLED);
  assert_int_equal(hmci_requester_submit(&requester, &after, 1), HMC_SUCCESS);
  static uint8_t payload[HMCI_FRAME_PAYLOAD];
  for (hmci_request_header_t header = {0}; header.sequence != 4;) {
    uint8_t frame[HMCI_REQUEST_HEADER];
    assert_true(await_bytes(stand.far, frame, sizeof frame));
    assert_int_equal(hmci_request_decode(frame, &header), HMC_SUCCESS);
    assert_true(header.sequence == 1 || header.sequence == 4);
    assert_true(await_bytes(stand.far, payload, header.length));
  }
  hmci_requester_fail(&requester, HMC_PEER_LOST);
  hmci_requester_close(&requester);
  stand_close(&stand);
}

static int copies;

static hmc_status_t copy_twice(int device, void *destination, const void *source, size_t size) {
  (void)device;
  if (copies++ == 2) return HMC_ERROR;
  memcpy(destination, source, size);
  return HMC_SUCCESS;
}

/* A put whose device fails after some chunks: those may still be in the pipe, so that what is put next goes behind them. */
static void test_a_put_that_its_device_ends_is_late(void **state) {
  (void)state;
  enum { CHUNK = 64 << 10 };
  static const hmci_memory_ops_t device = {.name = "none", .copy_to_host = copy_twice};
  stream_stand_t stand;
  stand_open(&stand, LENGTH);
  hmci_staging_t staging;
  hmci_staging_open(&staging, LENGTH);
  stand.host.staging = &staging;
  stand.region.ops = &device;
  stand.region.chunk = CHUNK;
  hmci_requester_t requester;
  assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  hmci_remote_view_t remote = {.size = LENGTH, .id = 1, .generation = 1, .rights = HMC_REMOTE_ALL};
  hmci_operation_t put = make_put(&stand, &remote, 3 * CHUNK);
  put.segments = &put.single;
  static uint8_t taken[2 * (CHUNK + HMCI_REQUEST_HEADER)];
  assert_int_equal(hmci_requester_submit(&requester, &put, 1), HMC_SUCCESS);
  assert_true(await_bytes(stand.far, taken, sizeof taken));
  assert_true(hmci_operation_sleep(&put, hmci_now() + UINT64_C(20000000000)));
  assert_int_equal(put.status, HMC_ERROR);
  assert_true(hmci_requester_is_late(&requester));
  hmci_requester_fail(&requester, HMC_PEER_LOST);
  hmci_requester_close(&requester);
  hmci_staging_close(&staging);
  stand_close(&stand);
}

static _Atomic int looks;
static bool (*look)(hmci_watch_t *watch, uint32_t events);

static bool count_look(hmci_watch_t *watch, uint32_t events) {
  bool moved = look(watch, events);
  atomic_fetch_add(&looks, 1);
  return moved;
}

static void await_looks(int count) {
  for (int i = 0; i < 60000 && atomic_load(&looks) < count; i++) poll(NULL, 0, 1);
  assert_true(atomic_load(&looks) >= count);
}

/* The loop does not look again and again at what a waiting thread moves: each look takes the processor from that one. It
 * does where the lock's owner may be about to leave without asking for a look. */
static void test_no_looks_beside_a_driver(void **state) {
  (void)state;
  stream_stand_t stand;
  stand_open(&stand, LENGTH);
  hmci_requester_t requester;
  assert_int_equal(hmci_requester_open(&requester, &stand.host, NULL, stand.pipe), HMC_SUCCESS);
  look = requester.watch.ready;
  requester.watch.ready = count_look;
  pthread_mutex_lock(&requester.lock);
  hmci_loop_call_soon(stand.host.loop, &requester.watch);
  await_looks(5);
  assert_false(atomic_load(&requester.vain));
  requester.drivers = 1;
  int before = -1;
  for (int i = 0; i < 100 && before != atomic_load(&looks); i++) {
    before = atomic_load(&looks);
    poll(NULL, 0, 50);
  }
  assert_int_equal(atomic_load(&looks), before); /* they came to an end */
  assert_true(atomic_load(&requester.vain));
  requester.drivers = 0;
  pthread_mutex_unlock(&requester.lock);
  hmci_loop_call_soon(stand.host.loop, &requester.watch);
  await_looks(atomic_load(&looks) + 1);
  assert_false(atomic_load(&requester.vain));
  hmci_requester_fail(&requester, HMC_PEER_LOST);
  hmci_requester_close(&requester);
  stand_close(&stand);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sends_all_without_events),
                                     cmocka_unit_test(test_last_answers_count),
                                     cmocka_unit_test(test_easy_ones_only_where_known),
                                     cmocka_unit_test(test_runs_only_where_known),
                                     cmocka_unit_test(test_no_looks_beside_a_driver),
                                     cmocka_unit_test(test_a_cancelled_get_has_an_end),
                                     cmocka_unit_test(test_a_cancelled_put_takes_its_signal_along),
                                     cmocka_unit_test(test_a_put_that_its_device_ends_is_late)};
  return cmocka_run_group_tests_name("transport.stream.requester", tests, NULL, NULL);
}
