/* The control channel and those who are not what they say, or say nothing: other secrets, garbage, and peers played by
 * hand that do what ours never do. */
#include "control_impostor_fixture.h"
#include "control_state.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/resource.h>

static _Atomic int warnings;
static void count_warnings(hmc_log_level_t level, const char *text, void *user) {
  (void)user;
  if (level == HMC_LOG_WARNING && strstr(text, "HMC_SECRET_FILE") != NULL) {
    atomic_fetch_add(&warnings, 1);
  }
}

static void test_another_secret_is_denied(void **state) {
  (void)state;
  setenv("HMC_SECRET", "the secret of ours", 1);
  pair_t pair = make_pair(BY_TCP);
  setenv("HMC_SECRET", "the secret of theirs", 1);
  hmc_control_t *stranger = make();
  atomic_store(&warnings, 0);
  hmc_log_set_callback(count_warnings, NULL);
  hmc_log_set_level(HMC_LOG_WARNING);
  FAILS(hmc_control_connect(stranger, 0, 2, "127.0.0.1", pair.port, NULL, PATIENCE_MS), HMC_DENIED, "HMC_SECRET_FILE");
  FAILS(hmc_control_connect(stranger, 0, 2, "127.0.0.1", pair.port, NULL, PATIENCE_MS), HMC_DENIED,
        "looked for here is HMC_SECRET.");
  for (int i = 0; i < PATIENCE_MS / 5 && atomic_load(&warnings) == 0; i++) {
    sleep_ms(5);
  }
  hmc_log_set_callback(NULL, NULL);
  hmc_log_set_level(HMC_LOG_NONE);
  assert_int_equal(atomic_load(&warnings), 1); /* the listener's user is informed, but not each time */
  talk(pair.one, 1, pair.zero, 0);
  /* The same user of the same host, at the customary path: as another rank, and in the place of one that is linked. */
  FAILS(hmc_control_connect(stranger, 0, 2, NULL, 0, path, PATIENCE_MS), HMC_DENIED, "has another secret");
  FAILS(hmc_control_connect(stranger, 0, 1, NULL, 0, path, PATIENCE_MS), HMC_DENIED, "HMC_SECRET_FILE");
  talk(pair.one, 1, pair.zero, 0);
  talk(pair.zero, 0, pair.one, 1);
  hmc_control_destroy(stranger);

  setenv("HMC_INSECURE", "1", 1);
  stranger = make();
  FAILS(hmc_control_connect(stranger, 0, 2, "127.0.0.1", pair.port, NULL, PATIENCE_MS), HMC_DENIED, "HMC_INSECURE");
  FAILS(hmc_control_connect(stranger, 0, 2, NULL, 0, path, PATIENCE_MS), HMC_DENIED, "HMC_INSECURE");
  hmc_control_destroy(stranger);
  destroy_pair(&pair);
}

static void test_settings_that_are_refused(void **state) {
  (void)state;
  hmc_control_t *control = NULL;
  setenv("HMC_SECRET_FILE", "/no/such/file", 1);
  FAILS(hmc_control_create(&control), HMC_INVALID_CONFIG, "/no/such/file");
  unsetenv("HMC_SECRET_FILE");
  setenv("HMC_TIMEOUT", "soon", 1);
  FAILS(hmc_control_create(&control), HMC_INVALID_CONFIG, "HMC_TIMEOUT");
  assert_null(control);
}

/* More silent and noisy connections than are taken at once: those that were there go on, and new ones get in. */
static void test_strangers_do_not_disturb(void **state) {
  (void)state;
  enum { STRANGERS = 100, SILENT = 80 };
  static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff\x01\xff\xff\xff", "HMCG\x01\x03",
                                      "\xff\xff\xff\xff\xff\xff\xff\xff"};
  pair_t pair = make_pair(BY_TCP);
  int strangers[STRANGERS];
  for (int i = 0; i < STRANGERS; i++) {
    const char *text = i >= SILENT ? words[i % 4] : i % 2 ? "" : "\x16\x03\x01\x02";
    if (i % 10 == 9) {
      GOOD(hmci_socket_connect_unix(path, hmci_deadline(PATIENCE_MS), &strangers[i]));
    } else {
      GOOD(hmci_socket_connect_tcp("127.0.0.1", pair.port, hmci_deadline(PATIENCE_MS), &strangers[i]));
    }
    (void)!send(strangers[i], text, strlen(text), MSG_NOSIGNAL);
    if (i % 25 == 0) {
      talk(pair.one, 1, pair.zero, 0);
    }
  }
  hmc_control_t *two = make();
  GOOD(hmc_control_connect(two, 0, 2, "127.0.0.1", pair.port, NULL, PATIENCE_MS));
  talk(two, 2, pair.zero, 0);
  talk(pair.one, 1, pair.zero, 0);
  int turned_away = 0;
  for (int look = 0; look < PATIENCE_MS / 5 && turned_away < SILENT - 64; look++) { /* the oldest made room */
    sleep_ms(look > 0 ? 5 : 0);
    turned_away = 0;
    for (int i = 0; i < SILENT; i++) {
      turned_away += is_readable(strangers[i], 0);
    }
  }
  assert_true(turned_away >= SILENT - 64);
  for (int i = 0; i < STRANGERS; i++) {
    close(strangers[i]);
  }
  hmc_control_destroy(two);
  destroy_pair(&pair);
}

static void test_bytes_that_are_no_hello(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_WELCOME, .rank = 5, .incarnation = 55, .serial = 1};
  uint8_t frame[1024] = {0};

  hmci_secure_t *stream = pose_as_peer(pair.port);
  send_all(stream, "certainly no frame", 18);
  assert_hung_up(stream);
  stream = pose_as_peer(pair.port);
  hmci_frame_encode(frame, HMCI_FRAME_HELLO, frame + HMCI_FRAME_HEADER, 900); /* larger than any hello */
  send_all(stream, frame, HMCI_FRAME_HEADER);
  assert_hung_up(stream);
  stream = pose_as_peer(pair.port);
  send_all(stream, frame, hmci_link_hello_encode(&hello, frame)); /* an answer to nothing */
  assert_hung_up(stream);
  stream = pose_as_peer(pair.port);
  hmci_frame_encode(frame, HMCI_FRAME_DATA, "abcdef", 6); /* a message from nobody */
  memcpy(frame + HMCI_FRAME_HEADER, "abcdef", 6);
  send_all(stream, frame, HMCI_FRAME_HEADER + 6);
  assert_hung_up(stream);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

static void test_bytes_that_are_no_message(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_DIAL, .rank = 5, .peer_rank = 0, .incarnation = 55, .serial = 1},
                    answer;
  uint8_t frame[HMCI_FRAME_HEADER + HMCI_DATA_PREFIX + 4] = {0};
  int32_t value = 0;
  hmci_secure_t *stream = pose_as_peer(pair.port);
  say_hello(stream, &hello, &answer);
  assert_int_equal(answer.kind, HMCI_LINK_HELLO_WELCOME);
  assert_int_equal(answer.peer_rank, 5);
  assert_int_equal(answer.rank, 0);

  hmci_store16(frame + HMCI_FRAME_HEADER, HMC_CONTROL_INT);
  hmci_store32(frame + HMCI_FRAME_HEADER + 2, 4);
  hmci_store32(frame + HMCI_FRAME_HEADER + HMCI_DATA_PREFIX, 31);
  hmci_frame_encode(frame, HMCI_FRAME_DATA, frame + HMCI_FRAME_HEADER, HMCI_DATA_PREFIX + 4);
  send_all(stream, frame, sizeof(frame));
  frame[sizeof(frame) - 1] ^= 1;
  send_all(stream, frame, sizeof(frame));
  GOOD(hmc_control_receive_int(pair.zero, 5, &value, PATIENCE_MS));
  assert_int_equal(value, 31);
  FAILS(hmc_control_receive_int(pair.zero, 5, &value, PATIENCE_MS), HMC_PEER_LOST, "CRC");
  assert_hung_up(stream);

  /* The dial of a channel that comes after a newer one of it is turned down. */
  hmci_link_hello_t second = hello;
  stream = pose_as_peer(pair.port);
  second.serial = 3;
  say_hello(stream, &second, &answer);
  assert_int_equal(answer.kind, HMCI_LINK_HELLO_WELCOME);
  hmci_secure_t *late = pose_as_peer(pair.port);
  second.serial = 2;
  say_hello(late, &second, &answer);
  assert_int_equal(answer.kind, HMCI_LINK_HELLO_BUSY);
  assert_hung_up(late);
  send_all(stream, "x", 1);
  hmci_secure_close(stream);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

/* Reads messages from a link, as a peer that has slept would: waits for so many, and looks whether more come. Returns
 * how many of `size` bytes came. */
static int read_messages(hmci_secure_t *stream, size_t size, int wanted) {
  hmci_inbox_t inbox;
  uint8_t data[4096];
  int count = 0;
  hmci_inbox_init(&inbox);
  while (count <= wanted) {
    size_t done = 0;
    short events;
    hmc_status_t status = hmci_secure_read(stream, data, sizeof(data), &done, &events);
    if (status == HMC_IN_PROGRESS) {
      if (!is_readable(hmci_secure_descriptor(stream), count < wanted ? PATIENCE_MS : 50)) {
        break;
      }
      continue;
    }
    GOOD(status);
    GOOD(hmci_inbox_feed(&inbox, data, done));
    while (hmci_inbox_first(&inbox) != NULL) {
      assert_int_equal(hmci_inbox_first(&inbox)->size, size);
      hmci_inbox_remove_first(&inbox);
      count++;
    }
  }
  hmci_inbox_clear(&inbox);
  return count;
}

/* What a send called sent arrives, also the last one, of which a part was still here; what it called not sent does not.
 */
static void test_a_peer_that_sleeps_gets_what_was_sent(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_DIAL, .rank = 5, .incarnation = 55, .serial = 1}, answer;
  hmci_secure_t *stream = pose_as_peer(0);
  int sent = 0;
  uint8_t data[50000] = {0}; /* more than is free when the socket is about full */
  say_hello(stream, &hello, &answer);
  while (hmc_control_send(pair.zero, 5, 256, data, sizeof(data), 10) == HMC_SUCCESS) {
    sent++;
  }
  assert_in_range(sent, 2, 1000);
  assert_int_equal(read_messages(stream, sizeof(data), sent), sent);
  GOOD(hmc_control_send(pair.zero, 5, 256, data, sizeof(data), PATIENCE_MS));
  assert_int_equal(read_messages(stream, sizeof(data), 1), 1);
  hmci_secure_close(stream);
  destroy_pair(&pair);
}

/* A peer that gets our dial, dials us before it answers, and then answers. Exactly one of the two links stands, at both
 * ends. */
static void cross(uint64_t incarnation, hmci_link_hello_kind_t expected) {
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_UDS);
  pthread_barrier_t barrier;
  dialler_t dialler = {.control = pair.zero, .peer = 5, .self = 0, .barrier = &barrier};
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_DIAL, .rank = 5, .incarnation = incarnation, .serial = 1}, answer,
                    welcome;
  hmci_secure_t *theirs;
  int listener, descriptor;
  char address[HMCI_ADDRESS_TEXT];
  uint8_t frame[HMCI_HELLO_FRAME];
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 1);
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &dialler.port));
  assert_int_equal(pthread_create(&thread, NULL, dial_peer, &dialler), 0);
  assert_true(is_readable(listener, PATIENCE_MS));
  GOOD(hmci_socket_accept(listener, &descriptor, address));
  GOOD(hmci_secure_open(&no_secret, descriptor, HMCI_SECURE_SERVER, "the dialler", &theirs));
  GOOD(hmci_secure_handshake_wait(theirs, hmci_deadline(PATIENCE_MS)));
  GOOD(hmci_secure_read_wait(theirs, frame, HMCI_FRAME_HEADER + 27, hmci_deadline(PATIENCE_MS)));

  hmci_secure_t *ours = pose_as_peer(pair.port);
  say_hello(ours, &hello, &answer);
  assert_int_equal(answer.kind, expected);
  welcome = (hmci_link_hello_t){.kind = HMCI_LINK_HELLO_WELCOME, .rank = 5, .incarnation = incarnation};
  send_all(theirs, frame, hmci_link_hello_encode(&welcome, frame));
  pthread_join(thread, NULL);
  assert_int_equal(dialler.status, HMC_SUCCESS);
  bool by_ours = expected == HMCI_LINK_HELLO_WELCOME;
  assert_int_equal(answer.serial != 0, by_ours);
  assert_hung_up(by_ours ? theirs : ours);
  GOOD(hmc_control_send_u64(pair.zero, 5, 1, PATIENCE_MS));
  assert_int_equal(read_messages(by_ours ? ours : theirs, 8, 1), 1);
  hmci_secure_close(by_ours ? ours : theirs);
  pthread_barrier_destroy(&barrier);
  close(listener);
  destroy_pair(&pair);
}

static void test_a_dial_that_is_crossed(void **state) {
  (void)state;
  cross(0, HMCI_LINK_HELLO_WELCOME);
  cross(UINT64_MAX, HMCI_LINK_HELLO_BUSY);
}

/* A second dial to a rank waits until the first is settled. */
static void test_dials_to_one_rank_take_turns(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  hmc_control_t *control = make();
  pthread_barrier_t barrier;
  dialler_t dialler = {.control = control, .peer = 5, .self = 0, .barrier = &barrier};
  int listener;
  pthread_t threads[2];
  pthread_barrier_init(&barrier, NULL, 2);
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &dialler.port));
  dialler_t diallers[2] = {dialler, dialler};
  hmci_secure_t *streams[2];
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, dial_peer, &diallers[i]), 0);
  }
  for (int i = 0; i < 2; i++) {
    int descriptor;
    char address[HMCI_ADDRESS_TEXT];
    uint8_t frame[HMCI_HELLO_FRAME];
    hmci_link_hello_t welcome = {.kind = HMCI_LINK_HELLO_WELCOME, .rank = 5, .incarnation = 55};
    assert_true(is_readable(listener, PATIENCE_MS));
    GOOD(hmci_socket_accept(listener, &descriptor, address));
    assert_false(is_readable(listener, 30));
    GOOD(hmci_secure_open(&no_secret, descriptor, HMCI_SECURE_SERVER, "the dialler", &streams[i]));
    GOOD(hmci_secure_handshake_wait(streams[i], hmci_deadline(PATIENCE_MS)));
    GOOD(hmci_secure_read_wait(streams[i], frame, HMCI_FRAME_HEADER + 27, hmci_deadline(PATIENCE_MS)));
    send_all(streams[i], frame, hmci_link_hello_encode(&welcome, frame));
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(diallers[i].status, HMC_SUCCESS);
  }
  assert_hung_up(streams[0]); /* the newer one took its place */
  hmci_secure_close(streams[1]);
  pthread_barrier_destroy(&barrier);
  close(listener);
  hmc_control_destroy(control);
}

/* A peer that is far away is not sent away for those who came after it, once it has shown the secret. */
static void test_strangers_do_not_take_a_peers_place(void **state) {
  (void)state;
  enum { MANY = HMCI_CONTROL_GREETINGS + 6 };
  hmc_control_t *control = make();
  hmci_settings_t settings;
  hmci_secret_t secret;
  hmci_secure_t *stream;
  int strangers[MANY], far, wire, peer;
  uint16_t port, wire_port;
  short events;
  char bytes[2048], from[HMCI_ADDRESS_TEXT];
  GOOD(hmci_settings_read(&settings));
  GOOD(hmci_secret_load(&settings, &secret));
  GOOD(hmc_control_listen(control, "127.0.0.1", 0, NULL, &port));
  /* The peer's first message, on a way that is long. */
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &wire, &wire_port));
  GOOD(hmci_socket_connect_tcp("127.0.0.1", wire_port, hmci_deadline(PATIENCE_MS), &peer));
  GOOD(hmci_secure_open(&secret, peer, HMCI_SECURE_CLIENT, "the listener", &stream));
  assert_int_equal(hmci_secure_handshake(stream, &events), HMC_IN_PROGRESS);
  assert_true(is_readable(wire, PATIENCE_MS));
  GOOD(hmci_socket_accept(wire, &far, from));
  assert_true(is_readable(far, PATIENCE_MS));
  ssize_t size = recv(far, bytes, sizeof(bytes), 0);
  assert_true(size > 0);
  close(far);
  GOOD(hmci_socket_connect_tcp("127.0.0.1", port, hmci_deadline(PATIENCE_MS), &far));
  assert_int_equal(send(far, bytes, (size_t)size, MSG_NOSIGNAL), size);
  assert_true(is_readable(far, PATIENCE_MS)); /* it was answered, which takes the secret */
  for (int i = 0; i < MANY; i++) {
    GOOD(hmci_socket_connect_tcp("127.0.0.1", port, hmci_deadline(PATIENCE_MS), &strangers[i]));
  }
  for (int i = 0; i < MANY - HMCI_CONTROL_GREETINGS; i++) {
    assert_true(is_readable(strangers[i], PATIENCE_MS));
    assert_true(recv(strangers[i], bytes, 1, 0) <= 0);
  }
  while ((size = recv(far, bytes, sizeof(bytes), 0)) > 0) {
  }
  assert_true(size < 0 && errno == EAGAIN); /* the listener waits for its next one */
  for (int i = 0; i < MANY; i++) {
    close(strangers[i]);
  }
  close(far);
  close(wire);
  hmci_secure_close(stream);
  hmci_secret_wipe(&secret);
  hmc_control_destroy(control);
}

/* ---- a peer that sends without end what never becomes a message ---------------------------------------------------- */

enum { FLOOD_MS = 30000, RECEIVES = 10 };

typedef struct flood {
  hmci_secure_t *stream;
  uint64_t end;
} flood_t;

static void *send_drops(void *argument) {
  flood_t *flood = argument;
  static uint8_t frames[4096][HMCI_FRAME_HEADER];
  for (size_t i = 0; i < 4096; i++) {
    hmci_frame_encode(frames[i], HMCI_FRAME_DROP, NULL, 0);
  }
  while (hmci_now() < flood->end &&
         hmci_secure_write_wait(flood->stream, frames, sizeof(frames), hmci_deadline(PATIENCE_MS)) == HMC_SUCCESS) {
  }
  return NULL;
}

/* Neither who receives from it nor anybody else waits beyond a deadline, and the channel can be destroyed. */
static void test_a_flood_of_nothing(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_DIAL, .rank = 5, .incarnation = 55, .serial = 1}, answer;
  flood_t flood = {.stream = pose_as_peer(pair.port), .end = hmci_deadline(FLOOD_MS)};
  pthread_t thread;
  uint64_t value;
  say_hello(flood.stream, &hello, &answer);
  assert_int_equal(pthread_create(&thread, NULL, send_drops, &flood), 0);
  sleep_ms(200); /* the service thread has them, and the kernel many more */
  talk(pair.one, 1, pair.zero, 0);
  uint64_t start = hmci_now();
  for (int i = 0; i < RECEIVES; i++) {
    FAILS(hmc_control_receive_u64(pair.zero, 5, &value, 20), HMC_TIMEOUT, "no message from rank 5");
  }
  assert_true(hmci_now() - start < FLOOD_MS / 10 * MS);
  GOOD(hmc_control_send_u64(pair.zero, 5, 1, PATIENCE_MS));
  hmc_control_destroy(pair.zero);
  assert_true(hmci_now() < flood.end); /* not because it stopped */
  pthread_join(thread, NULL);
  hmci_secure_close(flood.stream);
  hmc_control_destroy(pair.one);
}

/* Without a free descriptor nobody can be let in; who waits gets in when there is one, and until then the channel
 * rests. */
static void test_out_of_descriptors(void **state) {
  (void)state;
  enum { MOST = 64 };
  pair_t pair = make_pair(BY_UDS);
  int spare[MOST], count = 0, dialled = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct rlimit before, few;
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(pair.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  getrlimit(RLIMIT_NOFILE, &before);
  few = before;
  few.rlim_cur = (rlim_t)dialled + 10;
  setrlimit(RLIMIT_NOFILE, &few);
  while (count < MOST && (spare[count] = dup(dialled)) >= 0) {
    count++;
  }
  int connected = connect(dialled, (struct sockaddr *)&address, sizeof(address));
  bool rests = is_at_rest(60);
  setrlimit(RLIMIT_NOFILE, &before);
  while (count > 0) {
    close(spare[--count]);
  }
  assert_int_equal(connected, 0);
  assert_true(rests);
  talk(pair.one, 1, pair.zero, 0);
  dial(&pair, BY_TCP); /* behind the one that waited */
  talk(pair.one, 1, pair.zero, 0);
  close(dialled);
  destroy_pair(&pair);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(test_another_secret_is_denied),
      TEST(test_settings_that_are_refused),
      TEST(test_strangers_do_not_disturb),
      TEST(test_bytes_that_are_no_hello),
      TEST(test_bytes_that_are_no_message),
      TEST(test_a_peer_that_sleeps_gets_what_was_sent),
      TEST(test_a_dial_that_is_crossed),
      TEST(test_dials_to_one_rank_take_turns),
      TEST(test_strangers_do_not_take_a_peers_place),
      TEST(test_a_flood_of_nothing),
      TEST(test_out_of_descriptors),
  };
  return cmocka_run_group_tests_name("control strangers", tests, NULL, NULL);
}
