/* Handshakes with peers that are not like us: of the first release, of a later one, and of one that lies; and with a
 * listener that stands still meanwhile. The test plays the dialling side by hand; the other one is a context. */
#include "handshake.h"

#include "../base/socket.h"
#include "../transport/stream/wire.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { SIZE = 4096 };
static const uint64_t incarnation = 0x1234567;

typedef struct scene {
  hmc_context_t *context;
  hmc_region_t *region;
  uint16_t port;
  uint8_t bytes[SIZE];
  hmci_channel_t channel; /* the session */
  uint64_t token;
} scene_t;

/* What a hello says behind what the first release says. */
typedef struct abilities {
  bool any;
  uint16_t least, most;
  uint64_t features;
  bool more; /* something that nobody knows yet */
} abilities_t;

static uint64_t soon(void) { return hmci_deadline(20000); }

static void dial(const scene_t *scene, hmci_channel_t *channel) {
  int descriptor;
  hmci_secure_t *stream;
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", scene->port, soon(), &descriptor), HMC_SUCCESS);
  assert_int_equal(hmci_secure_open(&scene->context->secret, descriptor, HMCI_SECURE_CLIENT, "the context", &stream),
                   HMC_SUCCESS);
  assert_int_equal(hmci_secure_handshake_wait(stream, soon()), HMC_SUCCESS);
  hmci_channel_open(channel, stream);
}

static void say(hmci_channel_t *channel, uint16_t type, const hmci_writer_t *body) {
  assert_int_equal(hmci_channel_send(channel, type, body->data, body->size), HMC_SUCCESS);
  assert_int_equal(hmci_channel_flush_wait(channel, soon()), HMC_SUCCESS);
}

static hmc_status_t hear(hmci_channel_t *channel, uint16_t expected, hmci_reader_t *reader) {
  uint16_t type;
  hmc_status_t status = hmci_channel_receive_wait(channel, soon(), &type, reader);
  if (status == HMC_SUCCESS) assert_int_equal(type, expected);
  return status;
}

static hmc_status_t result_of(hmci_reader_t *reader) {
  char text[HMCI_REASON_SIZE];
  hmc_status_t status = (hmc_status_t)hmci_read_u32(reader);
  hmci_read_text(reader, text, sizeof text);
  assert_false(reader->failed);
  return status;
}

static hmc_status_t say_hello(scene_t *scene, abilities_t abilities) {
  uint8_t body[512];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_reader_t reader;
  hmci_write_u64(&writer, incarnation);
  hmci_write_u32(&writer, (uint32_t)getpid());
  hmci_write_u8(&writer, 0);
  hmci_write_text(&writer, "the test");
  hmci_write_text(&writer, "here");
  hmci_write_u8(&writer, 1);
  hmci_write_text(&writer, "tcp");
  hmci_write_blob(&writer, "", 0);
  if (abilities.any) {
    hmci_write_u16(&writer, abilities.least);
    hmci_write_u16(&writer, abilities.most);
    hmci_write_u64(&writer, abilities.features);
  }
  if (abilities.more) hmci_write_text(&writer, "and what else there may be");
  dial(scene, &scene->channel);
  say(&scene->channel, HMCI_HELLO, &writer);
  return hear(&scene->channel, HMCI_HELLO, &reader);
}

/* `why` is what the transport before it failed of; NULL: there was none. */
static void ask_for_tcp(scene_t *scene, const char *why) {
  uint8_t body[128], data[HMCI_BLOB_MAX];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_reader_t reader;
  hmci_write_text(&writer, "tcp");
  hmci_write_blob(&writer, "\1", 1);
  if (why) hmci_write_text(&writer, why);
  say(&scene->channel, HMCI_OPEN, &writer);
  assert_int_equal(hear(&scene->channel, HMCI_OPENED, &reader), HMC_SUCCESS);
  assert_int_equal(result_of(&reader), HMC_SUCCESS);
  hmci_read_blob(&reader, data, sizeof data);
  scene->token = hmci_read_u64(&reader);
  assert_false(reader.failed);
}

static void open_tcp(scene_t *scene) { ask_for_tcp(scene, NULL); }

/* A data connection as the first release makes it: with a handshake of its own. */
static int open_stream(const scene_t *scene, uint32_t purpose) {
  uint8_t body[64];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_reader_t reader;
  hmci_channel_t channel;
  dial(scene, &channel);
  hmci_write_u64(&writer, scene->token);
  hmci_write_u64(&writer, incarnation);
  hmci_write_u32(&writer, purpose);
  say(&channel, HMCI_STREAM, &writer);
  assert_int_equal(hear(&channel, HMCI_ADOPTED, &reader), HMC_SUCCESS);
  assert_int_equal(result_of(&reader), HMC_SUCCESS);
  int descriptor = hmci_secure_detach(channel.stream);
  channel.stream = NULL;
  hmci_channel_close(&channel);
  return descriptor;
}

static hmc_status_t say_ready(scene_t *scene) {
  hmci_reader_t reader;
  say(&scene->channel, HMCI_READY, &(hmci_writer_t){.data = scene->bytes});
  hmc_status_t status = hear(&scene->channel, HMCI_WELCOME, &reader);
  return status == HMC_SUCCESS ? result_of(&reader) : status;
}

static void look_up(scene_t *scene, hmci_remote_view_t *view) {
  uint8_t body[64];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_reader_t reader;
  hmci_write_u32(&writer, 7);
  hmci_write_text(&writer, "region");
  say(&scene->channel, HMCI_LOOKUP, &writer);
  assert_int_equal(hear(&scene->channel, HMCI_FOUND, &reader), HMC_SUCCESS);
  assert_int_equal(hmci_read_u32(&reader), 7);
  assert_int_equal(result_of(&reader), HMC_SUCCESS);
  view->id = hmci_read_u32(&reader);
  view->generation = hmci_read_u32(&reader);
  view->size = hmci_read_u64(&reader);
  assert_int_equal(view->size, SIZE);
}

static void put_by_hand(const scene_t *scene, int descriptor, const hmci_remote_view_t *view) {
  uint8_t frame[HMCI_REQUEST_HEADER + 4] = {0}, answer[HMCI_REPLY_HEADER];
  hmci_reply_header_t reply;
  size_t got = 0;
  hmci_request_encode(frame, &(hmci_request_header_t){.type = HMCI_WIRE_PUT,
                                                      .flags = HMCI_FLAG_LAST,
                                                      .entries = 1,
                                                      .region = view->id,
                                                      .generation = view->generation,
                                                      .sequence = 1,
                                                      .offset = 100,
                                                      .length = 4});
  memcpy(frame + HMCI_REQUEST_HEADER, "abcd", 4);
  assert_int_equal(send(descriptor, frame, sizeof frame, MSG_NOSIGNAL), sizeof frame);
  while (got < sizeof answer) {
    struct pollfd wait = {.fd = descriptor, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    ssize_t some = recv(descriptor, answer + got, sizeof answer - got, MSG_DONTWAIT);
    assert_true(some > 0);
    got += (size_t)some;
  }
  assert_int_equal(hmci_reply_decode(answer, &reply), HMC_SUCCESS);
  assert_int_equal(reply.type, HMCI_WIRE_ACK);
  assert_memory_equal(scene->bytes + 100, "abcd", 4);
}

static void open_scene(scene_t *scene) {
  memset(scene, 0, sizeof *scene);
  setenv("HMC_SECRET", "the secret of handshakes", 1);
  hmc_log_set_level(HMC_LOG_NONE);
  assert_int_equal(hmc_context_create(NULL, &scene->context), HMC_SUCCESS);
  assert_int_equal(hmc_region_register(scene->context, scene->bytes, SIZE, "region", HMC_REMOTE_ALL, &scene->region),
                   HMC_SUCCESS);
  assert_int_equal(hmc_context_listen(scene->context, "127.0.0.1", 0, &scene->port), HMC_SUCCESS);
}

static void close_scene(scene_t *scene) {
  hmci_channel_close(&scene->channel);
  hmc_context_destroy(scene->context);
}

/* It knows no versions and no features, and each of its connections makes its own handshake. */
static void test_the_first_release(void **state) {
  (void)state;
  scene_t scene;
  hmci_remote_view_t view;
  hmc_peer_t *peer;
  open_scene(&scene);
  assert_int_equal(say_hello(&scene, (abilities_t){0}), HMC_SUCCESS);
  open_tcp(&scene);
  int asks = open_stream(&scene, 0), serves = open_stream(&scene, 1);
  assert_int_equal(say_ready(&scene), HMC_SUCCESS);
  assert_int_equal(hmc_context_accept(scene.context, 20000, &peer), HMC_SUCCESS);
  look_up(&scene, &view);
  put_by_hand(&scene, asks, &view);
  close(asks);
  close(serves);
  close_scene(&scene);
}

/* It can more than this end, says more in its hello, and sends what is not known here. */
static void test_a_later_release(void **state) {
  (void)state;
  scene_t scene;
  hmci_remote_view_t view;
  open_scene(&scene);
  assert_int_equal(say_hello(&scene, (abilities_t){true, 1, 9, UINT64_C(1) << 40, true}), HMC_SUCCESS);
  say(&scene.channel, 200, &(hmci_writer_t){.data = scene.bytes, .size = 30});
  open_tcp(&scene);
  int asks = open_stream(&scene, 0), serves = open_stream(&scene, 1);
  assert_int_equal(say_ready(&scene), HMC_SUCCESS);
  say(&scene.channel, 201, &(hmci_writer_t){.data = scene.bytes, .size = 9});
  look_up(&scene, &view);
  put_by_hand(&scene, asks, &view);
  close(asks);
  close(serves);
  close_scene(&scene);
}

static void test_a_release_that_is_too_late(void **state) {
  (void)state;
  scene_t scene;
  open_scene(&scene);
  assert_int_equal(say_hello(&scene, (abilities_t){true, 5, 9, 0, false}), HMC_PEER_LOST);
  close_scene(&scene);
}

/* "Ready", it says, and has made none of its data connections, or only the one that may come later: no such peer
 * is returned. */
static void test_ready_without_streams(void **state) {
  (void)state;
  for (int streams = 0; streams < 2; streams++) {
    scene_t scene;
    hmc_peer_t *peer;
    open_scene(&scene);
    assert_int_equal(say_hello(&scene, (abilities_t){0}), HMC_SUCCESS);
    open_tcp(&scene);
    int serves = streams ? open_stream(&scene, 1) : -1;
    assert_int_not_equal(say_ready(&scene), HMC_SUCCESS);
    assert_int_equal(hmc_context_accept(scene.context, 100, &peer), HMC_TIMEOUT);
    if (serves >= 0) close(serves);
    close_scene(&scene);
  }
}

/* ---- a listener that stands still -------------------------------------------------------------------------------- */

enum { SHORT_MS = 4000, LATE_MS = 1500 }; /* LATE_MS: more than a timer is late on a host that is only busy */

static const hmci_accept_times_t usual = HMCI_ACCEPT_TIMES;
static const hmci_accept_times_t less = {SHORT_MS * 1000000u, SHORT_MS * 1000000u, SHORT_MS * 1000000u};

static void set_times(scene_t *scene, hmci_accept_times_t times) {
  hmci_loop_lock(scene->context->loop);
  scene->context->accept.times = times;
  hmci_loop_unlock(scene->context->loop);
}

static void sleep_ms(int milliseconds) { poll(NULL, 0, milliseconds); }

static void receive(int descriptor, uint8_t *bytes, size_t size) {
  while (size) {
    struct pollfd wait = {.fd = descriptor, .events = POLLIN};
    assert_int_equal(poll(&wait, 1, 20000), 1);
    ssize_t some = recv(descriptor, bytes, size, MSG_DONTWAIT);
    assert_true(some > 0);
    bytes += some;
    size -= (size_t)some;
  }
}

/* A data connection that waits for its proof. */
typedef struct caller {
  int descriptor;
  uint8_t proof[HMCI_TICKET_MAC];
} caller_t;

static void call(scene_t *scene, uint32_t purpose, caller_t *caller) {
  uint8_t key[HMCI_TICKET_KEY], hello[HMCI_TICKET_HELLO], challenge[HMCI_TICKET_CHALLENGE];
  const hmci_ticket_t ticket = {scene->token, incarnation, purpose};
  assert_int_equal(hmci_secure_export(scene->channel.stream, HMCI_TICKET_LABEL, key, sizeof key), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", scene->port, soon(), &caller->descriptor), HMC_SUCCESS);
  hmci_ticket_hello(&ticket, hello);
  assert_int_equal(send(caller->descriptor, hello, sizeof hello, MSG_NOSIGNAL), sizeof hello);
  receive(caller->descriptor, challenge, sizeof challenge);
  assert_int_equal(hmci_ticket_prove(key, hello, challenge, caller->proof), HMC_SUCCESS);
}

static void prove(const caller_t *caller) {
  assert_int_equal(send(caller->descriptor, caller->proof, sizeof caller->proof, MSG_NOSIGNAL), sizeof caller->proof);
}

static void expect_answer(const caller_t *caller) {
  uint8_t answer[HMCI_TICKET_ANSWER];
  receive(caller->descriptor, answer, sizeof answer);
  assert_int_equal(hmci_ticket_judged(answer), HMC_SUCCESS);
}

/* It stands still until all whom it waits for are late. They get their time again: a stranger, a peer in its handshake,
 * a data connection. */
static void test_a_listener_that_stands_still(void **state) {
  (void)state;
  scene_t scene;
  caller_t caller;
  hmc_peer_t *peer;
  hmci_secure_t *stream;
  int stranger;
  open_scene(&scene);
  set_times(&scene, less);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", scene.port, soon(), &stranger), HMC_SUCCESS);
  assert_int_equal(say_hello(&scene, (abilities_t){true, 1, 1, HMCI_FEATURE_TICKETS, false}), HMC_SUCCESS);
  open_tcp(&scene);
  call(&scene, 0, &caller);
  set_times(&scene, usual);
  hmci_loop_lock(scene.context->loop);
  sleep_ms(SHORT_MS + LATE_MS);
  hmci_loop_unlock(scene.context->loop);
  sleep_ms(300); /* all timers have fired */
  prove(&caller);
  expect_answer(&caller);
  assert_int_equal(say_ready(&scene), HMC_SUCCESS);
  assert_int_equal(hmc_context_accept(scene.context, 20000, &peer), HMC_SUCCESS);
  assert_int_equal(hmci_secure_open(&scene.context->secret, stranger, HMCI_SECURE_CLIENT, "the context", &stream),
                   HMC_SUCCESS);
  assert_int_equal(hmci_secure_handshake_wait(stream, soon()), HMC_SUCCESS);
  hmci_secure_close(stream);
  close(caller.descriptor);
  close_scene(&scene);
}

/* The dialling side asks for the same transport once more, as where its connection broke: the half that stands goes, and the
 * new one has the whole time of a handshake. */
static void test_a_transport_that_is_asked_for_again(void **state) {
  (void)state;
  scene_t scene;
  hmci_remote_view_t view;
  hmc_peer_t *peer;
  char text[2048];
  open_scene(&scene);
  set_times(&scene, less);
  assert_int_equal(say_hello(&scene, (abilities_t){0}), HMC_SUCCESS);
  open_tcp(&scene);
  int before = open_stream(&scene, 0);
  set_times(&scene, usual);
  ask_for_tcp(&scene, "its link broke");
  sleep_ms(SHORT_MS + 300);
  int asks = open_stream(&scene, 0), serves = open_stream(&scene, 1);
  assert_int_equal(say_ready(&scene), HMC_SUCCESS);
  assert_int_equal(hmc_context_accept(scene.context, 20000, &peer), HMC_SUCCESS);
  assert_int_equal(hmc_peer_explain(peer, text, sizeof text, NULL), HMC_SUCCESS);
  assert_non_null(strstr(text, "not at first by tcp: its link broke"));
  assert_int_equal(recv(before, &(char){0}, 1, 0), 0); /* closed */
  look_up(&scene, &view);
  put_by_hand(&scene, asks, &view);
  close(before);
  close(asks);
  close(serves);
  close_scene(&scene);
}

/* What came in time is not thrown away because the listener looks at its timers first. */
static void test_a_proof_that_waits(void **state) {
  (void)state;
  scene_t scene;
  caller_t caller;
  open_scene(&scene);
  assert_int_equal(say_hello(&scene, (abilities_t){true, 1, 1, HMCI_FEATURE_TICKETS, false}), HMC_SUCCESS);
  open_tcp(&scene);
  set_times(&scene, less);
  call(&scene, 0, &caller);
  sleep_ms(300); /* the loop's thread sleeps */
  hmci_loop_lock(scene.context->loop);
  sleep_ms(SHORT_MS); /* it is at the timer */
  prove(&caller);
  hmci_loop_unlock(scene.context->loop);
  expect_answer(&caller);
  close(caller.descriptor);
  close_scene(&scene);
}

/* ---- strangers that say half a hello ------------------------------------------------------------------------------ */

static int say_half(const scene_t *scene) {
  int descriptor;
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", scene->port, soon(), &descriptor), HMC_SUCCESS);
  assert_int_equal(send(descriptor, "HMCD", 4, MSG_NOSIGNAL), 4);
  return descriptor;
}

/* The rest will not come from one that has hung up: it is let go at once. */
static void test_half_a_hello_and_gone(void **state) {
  (void)state;
  scene_t scene;
  char byte;
  open_scene(&scene);
  int stranger = say_half(&scene);
  sleep_ms(50); /* it has been looked at */
  assert_int_equal(shutdown(stranger, SHUT_WR), 0);
  struct pollfd wait = {.fd = stranger, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 20000), 1);
  assert_true(recv(stranger, &byte, 1, 0) <= 0);
  close(stranger);
  hmc_context_destroy(scene.context);
}

/* They make room as those do that say nothing. */
static void test_half_a_hello_keeps_no_place(void **state) {
  (void)state;
  enum { ROOM = 4 };
  scene_t scene;
  int strangers[ROOM];
  open_scene(&scene);
  hmci_loop_lock(scene.context->loop);
  scene.context->accept.stranger_room = ROOM;
  hmci_loop_unlock(scene.context->loop);
  for (int i = 0; i < ROOM; i++) strangers[i] = say_half(&scene);
  dial(&scene, &scene.channel);
  for (int i = 0; i < ROOM; i++) close(strangers[i]);
  close_scene(&scene);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_first_release),
      cmocka_unit_test(test_a_later_release),
      cmocka_unit_test(test_a_release_that_is_too_late),
      cmocka_unit_test(test_ready_without_streams),
      cmocka_unit_test(test_a_listener_that_stands_still),
      cmocka_unit_test(test_a_transport_that_is_asked_for_again),
      cmocka_unit_test(test_a_proof_that_waits),
      cmocka_unit_test(test_half_a_hello_and_gone),
      cmocka_unit_test(test_half_a_hello_keeps_no_place),
  };
  return cmocka_run_group_tests_name("core.handshake", tests, NULL, NULL);
}
