/* The control channel when something goes wrong: peers that die, strangers, links that are replaced, ends in the middle of a call. */
#include "control_testing.h"

#include "hello.h"
#include "inbox.h"
#include "secure.h"
#include "socket.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- peers that die -------------------------------------------------------------------------------------------------- */

typedef struct child {
  pid_t process;
  uint16_t port;
} child_t;

/* A process that is rank 0: it listens, sends three numbers to the rank 1 that dials it, and waits for its end. Made before this process
 * has threads. */
static child_t make_child(void) {
  child_t child = {0};
  int ports[2];
  assert_int_equal(pipe(ports), 0);
  child.process = fork();
  assert_true(child.process >= 0);
  if (child.process == 0) {
    hmc_control_t *control;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (hmc_control_create(&control) != HMC_SUCCESS ||
        hmc_control_listen(control, "127.0.0.1", 0, path, &child.port) != HMC_SUCCESS ||
        write(ports[1], &child.port, sizeof(child.port)) != sizeof(child.port)) {
      _exit(1);
    }
    for (uint64_t i = 1; i <= 3; i++) {
      (void)hmc_control_send_u64(control, 1, i, 5000);
    }
    sleep_ms(20000);
    _exit(1);
  }
  close(ports[1]);
  assert_int_equal(read(ports[0], &child.port, sizeof(child.port)), sizeof(child.port));
  close(ports[0]);
  return child;
}

static void kill_child(const child_t *child) {
  int status;
  kill(child->process, SIGKILL);
  assert_int_equal(waitpid(child->process, &status, 0), child->process);
  assert_true(WIFSIGNALED(status));
}

static void lose_peer(way_t way) {
  child_t child = make_child();
  hmc_control_t *control = make();
  const char *transport;
  uint64_t value = 0;
  GOOD(hmc_control_connect(control, 0, 1, way == BY_TCP ? "127.0.0.1" : NULL, child.port, way == BY_UDS ? path : NULL, 5000));
  GOOD(hmc_control_receive_u64(control, 0, &value, 5000));
  assert_true(value == 1);
  sleep_ms(20); /* all three have been sent */
  kill_child(&child);
  uint64_t start = hmci_now();
  GOOD(hmc_control_receive_u64(control, 0, &value, 5000)); /* what had arrived is read */
  assert_true(value == 2);
  GOOD(hmc_control_receive_u64(control, 0, &value, 5000));
  assert_true(value == 3);
  FAILS(hmc_control_receive_u64(control, 0, &value, 5000), HMC_PEER_LOST, "rank 0");
  FAILS(hmc_control_receive_u64(control, 0, &value, 5000), HMC_PEER_LOST, "rank 0");
  FAILS(hmc_control_send_u64(control, 0, 1, 5000), HMC_PEER_LOST, "rank 0");
  FAILS(hmc_control_transport(control, 0, &transport), HMC_PEER_LOST, "rank 0");
  assert_true(hmci_now() - start < 1000 * MS);
  hmc_control_destroy(control);
  unlink(path);
}

static void test_a_killed_peer(void **state) {
  (void)state;
  lose_peer(BY_TCP);
  lose_peer(BY_UDS);
}

static void *kill_soon(void *argument) {
  sleep_ms(40);
  kill_child(argument);
  return NULL;
}

static void test_a_killed_peer_wakes_the_receiver(void **state) {
  (void)state;
  child_t child = make_child();
  hmc_control_t *control = make();
  pthread_t thread;
  uint64_t value, start = hmci_now();
  GOOD(hmc_control_connect(control, 0, 1, "127.0.0.1", child.port, NULL, 5000));
  for (int i = 0; i < 3; i++) {
    GOOD(hmc_control_receive_u64(control, 0, &value, 5000));
  }
  assert_int_equal(pthread_create(&thread, NULL, kill_soon, &child), 0);
  FAILS(hmc_control_receive_u64(control, 0, &value, 10000), HMC_PEER_LOST, "rank 0");
  assert_true(hmci_now() - start < 2000 * MS);
  pthread_join(thread, NULL);
  hmc_control_destroy(control);
  unlink(path);
}

/* Nobody calls anything: the loss is noticed all the same. */
static void test_a_killed_peer_is_noticed_by_itself(void **state) {
  (void)state;
  child_t child = make_child();
  hmc_control_t *control = make();
  const char *transport;
  uint64_t value;
  GOOD(hmc_control_connect(control, 0, 1, "127.0.0.1", child.port, NULL, 5000));
  GOOD(hmc_control_receive_u64(control, 0, &value, 5000));
  kill_child(&child);
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < 200 && status == HMC_SUCCESS; i++) {
    sleep_ms(5);
    status = hmc_control_transport(control, 0, &transport);
  }
  assert_int_equal(status, HMC_PEER_LOST);
  hmc_control_destroy(control);
  unlink(path);
}

/* A peer that is gone, but whose last words are still in the socket when a send finds out. */
static void test_a_failed_send_loses_no_message(void **state) {
  (void)state;
  for (int round = 0; round < 10; round++) {
    pair_t pair = make_pair(round % 2 ? BY_TCP : BY_UDS);
    uint64_t value = 0;
    hmc_status_t status = HMC_SUCCESS;
    talk_to_waiter(pair.one, 1, pair.zero, 0);
    GOOD(hmc_control_send_u64(pair.one, 0, 5, 0));
    hmc_control_destroy(pair.one);
    for (int i = 0; i < 2000 && status == HMC_SUCCESS; i++) {
      status = hmc_control_send_u64(pair.zero, 1, 6, 1000);
    }
    assert_int_equal(status, HMC_PEER_LOST);
    GOOD(hmc_control_receive_u64(pair.zero, 1, &value, 0));
    assert_true(value == 5);
    FAILS(hmc_control_receive_u64(pair.zero, 1, &value, 0), HMC_PEER_LOST, "rank 1");
    hmc_control_destroy(pair.zero);
  }
}

/* ---- links that are replaced ----------------------------------------------------------------------------------------- */

static void test_reconnecting(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) {
    talk_to_waiter(pair.one, 1, pair.zero, 0);
    GOOD(hmc_control_send_u64(pair.one, 0, 7, 0)); /* is not read before the new link comes */
    dial(&pair, i % 2 ? BY_TCP : BY_UDS);
    GOOD(hmc_control_send_u64(pair.one, 0, 8, 0));
    GOOD(hmc_control_receive_u64(pair.zero, 1, &value, 5000));
    assert_true(value == 7);
    GOOD(hmc_control_receive_u64(pair.zero, 1, &value, 5000));
    assert_true(value == 8);
    talk(pair.one, 1, pair.zero, 0);
  }
  destroy_pair(&pair);
}

static void test_a_restarted_peer(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  uint64_t value = 0;
  GOOD(hmc_control_send_u64(pair.one, 0, 7, 0));
  hmc_control_destroy(pair.one);
  sleep_ms(30);
  pair.one = make();
  dial(&pair, BY_TCP);
  GOOD(hmc_control_receive_u64(pair.zero, 1, &value, 5000)); /* from the one before */
  assert_true(value == 7);
  talk(pair.one, 1, pair.zero, 0);

  hmc_control_t *twin = make(); /* while the one before is alive: the newer one is kept */
  GOOD(hmc_control_connect(twin, 0, 1, "127.0.0.1", pair.port, NULL, 5000));
  talk(twin, 1, pair.zero, 0);
  FAILS(hmc_control_receive_u64(pair.one, 0, &value, 5000), HMC_PEER_LOST, "rank 0");
  hmc_control_destroy(twin);
  destroy_pair(&pair);
}

static void test_a_waiting_receiver_goes_over_to_the_new_link(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  waiter_t waiter = {.control = pair.zero, .rank = 1};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, wait_for_value, &waiter), 0);
  sleep_ms(20);
  dial(&pair, BY_TCP);
  GOOD(hmc_control_send_u64(pair.one, 0, 99, 0));
  pthread_join(thread, NULL);
  assert_int_equal(waiter.status, HMC_SUCCESS);
  assert_true(waiter.value == 99);
  destroy_pair(&pair);
}

static void test_closing_a_link_ends_the_waits(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_UDS);
  waiter_t here = {.control = pair.one, .rank = 0}, there = {.control = pair.zero, .rank = 1};
  pthread_t threads[2];
  const char *transport;
  assert_int_equal(pthread_create(&threads[0], NULL, wait_for_value, &here), 0);
  assert_int_equal(pthread_create(&threads[1], NULL, wait_for_value, &there), 0);
  sleep_ms(20);
  hmc_control_close(pair.one, 0);
  pthread_join(threads[0], NULL);
  pthread_join(threads[1], NULL);
  assert_int_equal(here.status, HMC_PEER_LOST);
  assert_int_equal(there.status, HMC_PEER_LOST);
  FAILS(hmc_control_transport(pair.one, 0, &transport), HMC_NOT_FOUND, "rank 0");
  dial(&pair, BY_UDS);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

typedef struct dialler {
  hmc_control_t *control;
  uint32_t peer, self;
  uint16_t port;
  pthread_barrier_t *barrier;
  hmc_status_t status;
  char text[HMCI_ERROR_TEXT];
} dialler_t;

static void *dial_peer(void *argument) {
  dialler_t *dialler = argument;
  pthread_barrier_wait(dialler->barrier);
  dialler->status = hmc_control_connect(dialler->control, dialler->peer, dialler->self, "127.0.0.1", dialler->port, NULL, 5000);
  memcpy(dialler->text, hmc_last_error(), sizeof(dialler->text));
  return NULL;
}

static void dial_together(dialler_t diallers[2]) {
  pthread_barrier_t barrier;
  pthread_t threads[2];
  pthread_barrier_init(&barrier, NULL, 2);
  for (int i = 0; i < 2; i++) {
    diallers[i].barrier = &barrier;
    assert_int_equal(pthread_create(&threads[i], NULL, dial_peer, &diallers[i]), 0);
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
    if (diallers[i].status != HMC_SUCCESS) {
      fail_msg("%s: %s", hmc_status_name(diallers[i].status), diallers[i].text);
    }
  }
  pthread_barrier_destroy(&barrier);
}

/* Two ends that dial each other at the same time agree on one link. */
static void test_dials_that_cross(void **state) {
  (void)state;
  hmc_control_t *controls[2] = {make(), make()};
  uint16_t ports[2];
  for (int i = 0; i < 2; i++) {
    GOOD(hmc_control_listen(controls[i], "127.0.0.1", 0, NULL, &ports[i]));
  }
  for (int round = 0; round < 25; round++) {
    dialler_t diallers[2] = {{.control = controls[0], .peer = 1, .self = 0, .port = ports[1]},
                             {.control = controls[1], .peer = 0, .self = 1, .port = ports[0]}};
    dial_together(diallers);
    talk(controls[0], 0, controls[1], 1);
    if (round % 5 == 4) {
      hmc_control_close(controls[round % 2], 1 - round % 2);
    }
  }
  hmc_control_destroy(controls[0]);
  hmc_control_destroy(controls[1]);
}

static void test_two_threads_dial_one_rank(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  for (int round = 0; round < 5; round++) {
    dialler_t diallers[2] = {{.control = pair.one, .peer = 0, .self = 1, .port = pair.port},
                             {.control = pair.one, .peer = 0, .self = 1, .port = pair.port}};
    dial_together(diallers);
    talk(pair.one, 1, pair.zero, 0);
  }
  destroy_pair(&pair);
}

static void test_a_channel_does_not_link_to_itself(void **state) {
  (void)state;
  hmc_control_t *control = make();
  uint16_t port;
  GOOD(hmc_control_listen(control, "127.0.0.1", 0, NULL, &port));
  FAILS(hmc_control_connect(control, 1, 0, "127.0.0.1", port, NULL, 5000), HMC_INVALID_CONFIG, "own");
  hmc_control_destroy(control);
}

/* ---- strangers ------------------------------------------------------------------------------------------------------- */

static _Atomic int warnings;
static void count_warnings(hmc_log_level_t level, const char *text, void *user) {
  (void)user;
  if (level == HMC_LOG_WARNING && strstr(text, "HMC_SECRET_FILE") != NULL) {
    atomic_fetch_add(&warnings, 1);
  }
}

static void test_another_secret_is_denied(void **state) {
  (void)state;
  setenv("HMC_SECRET", "ours", 1);
  pair_t pair = make_pair(BY_TCP);
  setenv("HMC_SECRET", "theirs", 1);
  hmc_control_t *stranger = make();
  uint64_t start = hmci_now();
  atomic_store(&warnings, 0);
  hmc_log_set_callback(count_warnings, NULL);
  hmc_log_set_level(HMC_LOG_WARNING);
  FAILS(hmc_control_connect(stranger, 0, 2, "127.0.0.1", pair.port, NULL, 5000), HMC_DENIED, "HMC_SECRET_FILE");
  FAILS(hmc_control_connect(stranger, 0, 2, "127.0.0.1", pair.port, NULL, 5000), HMC_DENIED, "looked for here is HMC_SECRET.");
  assert_true(hmci_now() - start < 2000 * MS); /* it is not repeated */
  for (int i = 0; i < 100 && atomic_load(&warnings) == 0; i++) {
    sleep_ms(5);
  }
  hmc_log_set_callback(NULL, NULL);
  hmc_log_set_level(HMC_LOG_NONE);
  assert_int_equal(atomic_load(&warnings), 1); /* the listener's user is told, but not each time */
  talk(pair.one, 1, pair.zero, 0);
  GOOD(hmc_control_connect(stranger, 0, 2, NULL, 0, path, 5000)); /* the same user of the same host */
  talk(stranger, 2, pair.zero, 0);
  hmc_control_destroy(stranger);

  setenv("HMC_INSECURE", "1", 1);
  stranger = make();
  FAILS(hmc_control_connect(stranger, 0, 2, "127.0.0.1", pair.port, NULL, 5000), HMC_DENIED, "HMC_INSECURE");
  FAILS(hmc_control_connect(stranger, 0, 2, NULL, 0, path, 5000), HMC_DENIED, "HMC_INSECURE");
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
      GOOD(hmci_socket_connect_unix(path, hmci_deadline(5000), &strangers[i]));
    } else {
      GOOD(hmci_socket_connect_tcp("127.0.0.1", pair.port, hmci_deadline(5000), &strangers[i]));
    }
    (void)!send(strangers[i], text, strlen(text), MSG_NOSIGNAL);
    if (i % 25 == 0) {
      talk(pair.one, 1, pair.zero, 0);
    }
  }
  uint64_t start = hmci_now();
  hmc_control_t *two = make();
  GOOD(hmc_control_connect(two, 0, 2, "127.0.0.1", pair.port, NULL, 5000));
  talk(two, 2, pair.zero, 0);
  talk(pair.one, 1, pair.zero, 0);
  assert_true(hmci_now() - start < 2000 * MS);
  int turned_away = 0;
  for (int i = 0; i < STRANGERS; i++) {
    turned_away += i < SILENT && is_readable(strangers[i], 0);
    close(strangers[i]);
  }
  assert_in_range(turned_away, SILENT - 64, SILENT); /* the oldest made room */
  hmc_control_destroy(two);
  destroy_pair(&pair);
}

static hmci_secret_t no_secret = {.insecure = true, .source = "HMC_INSECURE"};

/* Speaks for a peer: up to the greeting. Port 0: by the UNIX socket. */
static hmci_secure_t *pose_as_peer(uint16_t port) {
  hmci_secure_t *stream;
  int descriptor;
  GOOD(port != 0 ? hmci_socket_connect_tcp("127.0.0.1", port, hmci_deadline(5000), &descriptor)
                 : hmci_socket_connect_unix(path, hmci_deadline(5000), &descriptor));
  GOOD(hmci_secure_open(&no_secret, descriptor, HMCI_SECURE_CLIENT, "the listener", &stream));
  GOOD(hmci_secure_handshake_wait(stream, hmci_deadline(5000)));
  return stream;
}

static void send_all(hmci_secure_t *stream, const void *data, size_t size) {
  GOOD(hmci_secure_write_wait(stream, data, size, hmci_deadline(5000)));
}

static void say_hello(hmci_secure_t *stream, const hmci_hello_t *hello, hmci_hello_t *answer) {
  uint8_t frame[HMCI_HELLO_FRAME];
  hmci_frame_header_t header;
  send_all(stream, frame, hmci_hello_encode(hello, frame));
  GOOD(hmci_secure_read_wait(stream, frame, HMCI_FRAME_HEADER, hmci_deadline(5000)));
  GOOD(hmci_frame_decode(frame, HMCI_HELLO_BODY, &header));
  GOOD(hmci_secure_read_wait(stream, frame + HMCI_FRAME_HEADER, header.size, hmci_deadline(5000)));
  GOOD(hmci_hello_decode(&header, frame + HMCI_FRAME_HEADER, answer));
}

static void assert_hung_up(hmci_secure_t *stream) {
  char byte;
  assert_int_equal(hmci_secure_read_wait(stream, &byte, 1, hmci_deadline(5000)), HMC_PEER_LOST);
  hmci_secure_close(stream);
}

static void test_bytes_that_are_no_hello(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  hmci_hello_t hello = {.kind = HMCI_HELLO_WELCOME, .rank = 5, .incarnation = 55, .serial = 1};
  uint8_t frame[1024] = {0};

  hmci_secure_t *stream = pose_as_peer(pair.port);
  send_all(stream, "certainly no frame", 18);
  assert_hung_up(stream);
  stream = pose_as_peer(pair.port);
  hmci_frame_encode(frame, HMCI_FRAME_HELLO, frame + HMCI_FRAME_HEADER, 900); /* larger than any hello */
  send_all(stream, frame, HMCI_FRAME_HEADER);
  assert_hung_up(stream);
  stream = pose_as_peer(pair.port);
  send_all(stream, frame, hmci_hello_encode(&hello, frame)); /* an answer to nothing */
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
  hmci_hello_t hello = {.kind = HMCI_HELLO_DIAL, .rank = 5, .peer_rank = 0, .incarnation = 55, .serial = 1}, answer;
  uint8_t frame[HMCI_FRAME_HEADER + HMCI_DATA_PREFIX + 4] = {0};
  int32_t value = 0;
  hmci_secure_t *stream = pose_as_peer(pair.port);
  say_hello(stream, &hello, &answer);
  assert_int_equal(answer.kind, HMCI_HELLO_WELCOME);
  assert_int_equal(answer.peer_rank, 5);
  assert_int_equal(answer.rank, 0);

  hmci_store16(frame + HMCI_FRAME_HEADER, HMC_CONTROL_INT);
  hmci_store32(frame + HMCI_FRAME_HEADER + 2, 4);
  hmci_store32(frame + HMCI_FRAME_HEADER + HMCI_DATA_PREFIX, 31);
  hmci_frame_encode(frame, HMCI_FRAME_DATA, frame + HMCI_FRAME_HEADER, HMCI_DATA_PREFIX + 4);
  send_all(stream, frame, sizeof(frame));
  frame[sizeof(frame) - 1] ^= 1;
  send_all(stream, frame, sizeof(frame));
  GOOD(hmc_control_receive_int(pair.zero, 5, &value, 5000));
  assert_int_equal(value, 31);
  FAILS(hmc_control_receive_int(pair.zero, 5, &value, 5000), HMC_PEER_LOST, "CRC");
  assert_hung_up(stream);

  /* The dial of a channel that comes after a newer one of it is turned down. */
  hmci_hello_t second = hello;
  stream = pose_as_peer(pair.port);
  second.serial = 3;
  say_hello(stream, &second, &answer);
  assert_int_equal(answer.kind, HMCI_HELLO_WELCOME);
  hmci_secure_t *late = pose_as_peer(pair.port);
  second.serial = 2;
  say_hello(late, &second, &answer);
  assert_int_equal(answer.kind, HMCI_HELLO_BUSY);
  assert_hung_up(late);
  send_all(stream, "x", 1);
  hmci_secure_close(stream);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

/* Reads messages from a link, as a peer that has slept would; returns how many of `size` bytes came. */
static int read_messages(hmci_secure_t *stream, size_t size, int most) {
  hmci_inbox_t inbox;
  uint8_t data[4096];
  int count = 0;
  hmci_inbox_init(&inbox);
  while (count < most) {
    size_t done = 0;
    short events;
    hmc_status_t status = hmci_secure_read(stream, data, sizeof(data), &done, &events);
    if (status == HMC_IN_PROGRESS) {
      if (!is_readable(hmci_secure_descriptor(stream), 150)) {
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

/* What a send called sent arrives, also the last one, of which a part was still here; what it called not sent does not. */
static void test_a_peer_that_sleeps_gets_what_was_sent(void **state) {
  (void)state;
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  hmci_hello_t hello = {.kind = HMCI_HELLO_DIAL, .rank = 5, .incarnation = 55, .serial = 1}, answer;
  hmci_secure_t *stream = pose_as_peer(0);
  int sent = 0;
  uint8_t data[50000] = {0}; /* more than is free when the socket is about full */
  say_hello(stream, &hello, &answer);
  while (hmc_control_send(pair.zero, 5, 256, data, sizeof(data), 10) == HMC_SUCCESS) {
    sent++;
  }
  assert_in_range(sent, 2, 1000);
  assert_int_equal(read_messages(stream, sizeof(data), sent + 1), sent);
  GOOD(hmc_control_send(pair.zero, 5, 256, data, sizeof(data), 5000));
  assert_int_equal(read_messages(stream, sizeof(data), 1), 1);
  hmci_secure_close(stream);
  destroy_pair(&pair);
}

/* A peer that gets our dial, dials us before it answers, and then answers. Exactly one of the two links stands, at both ends. */
static void cross(uint64_t incarnation, hmci_hello_kind_t expected) {
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_UDS);
  pthread_barrier_t barrier;
  dialler_t dialler = {.control = pair.zero, .peer = 5, .self = 0, .barrier = &barrier};
  hmci_hello_t hello = {.kind = HMCI_HELLO_DIAL, .rank = 5, .incarnation = incarnation, .serial = 1}, answer, welcome;
  hmci_secure_t *theirs;
  int listener, descriptor;
  char address[HMCI_ADDRESS_TEXT];
  uint8_t frame[HMCI_HELLO_FRAME];
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 1);
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &dialler.port));
  assert_int_equal(pthread_create(&thread, NULL, dial_peer, &dialler), 0);
  assert_true(is_readable(listener, 5000));
  GOOD(hmci_socket_accept(listener, &descriptor, address));
  GOOD(hmci_secure_open(&no_secret, descriptor, HMCI_SECURE_SERVER, "the dialler", &theirs));
  GOOD(hmci_secure_handshake_wait(theirs, hmci_deadline(5000)));
  GOOD(hmci_secure_read_wait(theirs, frame, HMCI_FRAME_HEADER + 27, hmci_deadline(5000)));

  hmci_secure_t *ours = pose_as_peer(pair.port);
  say_hello(ours, &hello, &answer);
  assert_int_equal(answer.kind, expected);
  welcome = (hmci_hello_t){.kind = HMCI_HELLO_WELCOME, .rank = 5, .incarnation = incarnation};
  send_all(theirs, frame, hmci_hello_encode(&welcome, frame));
  pthread_join(thread, NULL);
  assert_int_equal(dialler.status, HMC_SUCCESS);
  bool by_ours = expected == HMCI_HELLO_WELCOME;
  assert_int_equal(answer.serial != 0, by_ours);
  assert_hung_up(by_ours ? theirs : ours);
  GOOD(hmc_control_send_u64(pair.zero, 5, 1, 5000));
  assert_int_equal(read_messages(by_ours ? ours : theirs, 8, 1), 1);
  hmci_secure_close(by_ours ? ours : theirs);
  pthread_barrier_destroy(&barrier);
  close(listener);
  destroy_pair(&pair);
}

static void test_a_dial_that_is_crossed(void **state) {
  (void)state;
  cross(0, HMCI_HELLO_WELCOME);
  cross(UINT64_MAX, HMCI_HELLO_BUSY);
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
    hmci_hello_t welcome = {.kind = HMCI_HELLO_WELCOME, .rank = 5, .incarnation = 55};
    assert_true(is_readable(listener, 5000));
    GOOD(hmci_socket_accept(listener, &descriptor, address));
    assert_false(is_readable(listener, 30));
    GOOD(hmci_secure_open(&no_secret, descriptor, HMCI_SECURE_SERVER, "the dialler", &streams[i]));
    GOOD(hmci_secure_handshake_wait(streams[i], hmci_deadline(5000)));
    GOOD(hmci_secure_read_wait(streams[i], frame, HMCI_FRAME_HEADER + 27, hmci_deadline(5000)));
    send_all(streams[i], frame, hmci_hello_encode(&welcome, frame));
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

/* Without a free descriptor nobody can be let in; who waits gets in when there is one, and until then the channel rests. */
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
  sleep_ms(20);
  uint64_t start = processor_time();
  sleep_ms(60);
  uint64_t used = processor_time() - start;
  setrlimit(RLIMIT_NOFILE, &before);
  while (count > 0) {
    close(spare[--count]);
  }
  assert_int_equal(connected, 0);
  assert_true(used < 6 * MS);
  talk(pair.one, 1, pair.zero, 0);
  dial(&pair, BY_TCP); /* behind the one that waited */
  talk(pair.one, 1, pair.zero, 0);
  close(dialled);
  destroy_pair(&pair);
}

/* ---- the end in the middle of a call --------------------------------------------------------------------------------- */

typedef struct call {
  hmc_control_t *control;
  hmc_status_t (*run)(hmc_control_t *control);
  hmc_status_t status;
} call_t;

static uint16_t silent_port;

static hmc_status_t run_receive(hmc_control_t *control) {
  uint64_t value;
  return hmc_control_receive_u64(control, 1, &value, 10000);
}
static hmc_status_t run_receive_without_link(hmc_control_t *control) {
  uint64_t value;
  return hmc_control_receive_u64(control, 44, &value, 10000);
}
static hmc_status_t run_send_without_link(hmc_control_t *control) { return hmc_control_send_u64(control, 44, 1, 10000); }
static hmc_status_t run_find(hmc_control_t *control) {
  uint32_t rank;
  return hmc_control_find(control, "192.0.2.1", 10000, &rank);
}
static hmc_status_t run_connect_to_nobody(hmc_control_t *control) {
  return hmc_control_connect(control, 55, 0, NULL, 0, "/no/such/socket", 10000);
}
static hmc_status_t run_connect_to_silence(hmc_control_t *control) {
  return hmc_control_connect(control, 66, 0, "127.0.0.1", silent_port, NULL, 10000);
}
static hmc_status_t run_send_much(hmc_control_t *control) {
  uint8_t *data = calloc(1, 4 << 20);
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < 100 && status == HMC_SUCCESS; i++) {
    status = hmc_control_send(control, 2, 256, data, 4 << 20, 10000);
  }
  free(data);
  return status;
}

static void *run_call(void *argument) {
  call_t *call = argument;
  call->status = call->run(call->control);
  return NULL;
}

static void test_destroying_ends_every_call(void **state) {
  (void)state;
  static hmc_status_t (*const runs[])(hmc_control_t *) = {
      run_receive,           run_receive,            run_receive_without_link, run_send_without_link, run_find,
      run_connect_to_nobody, run_connect_to_silence, run_send_much};
  enum { CALLS = sizeof(runs) / sizeof(runs[0]) };
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  call_t calls[CALLS];
  pthread_t threads[CALLS];
  hmci_hello_t hello = {.kind = HMCI_HELLO_DIAL, .rank = 2, .incarnation = 22, .serial = 1}, answer;
  int silent;
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &silent, &silent_port));
  hmci_secure_t *rank_two = pose_as_peer(pair.port); /* reads nothing, so that a sender waits for the socket */
  say_hello(rank_two, &hello, &answer);
  for (int i = 0; i < CALLS; i++) {
    calls[i] = (call_t){.control = pair.zero, .run = runs[i], .status = HMC_SUCCESS};
    assert_int_equal(pthread_create(&threads[i], NULL, run_call, &calls[i]), 0);
  }
  sleep_ms(IS_SLOW ? 200 : 60);
  uint64_t start = hmci_now();
  hmc_control_destroy(pair.zero);
  assert_true(hmci_now() - start < 1000 * MS);
  for (int i = 0; i < CALLS; i++) {
    pthread_join(threads[i], NULL);
    if (calls[i].status != HMC_CANCELLED) {
      fail_msg("call %d ended with %s", i, hmc_status_name(calls[i].status));
    }
  }
  hmci_secure_close(rank_two);
  close(silent);
  hmc_control_destroy(pair.one);
}

static void test_destroying_with_strangers_at_the_door(void **state) {
  (void)state;
  for (int i = 0; i < 5; i++) {
    pair_t pair = make_pair(BY_TCP);
    int strangers[10];
    for (int j = 0; j < 10; j++) {
      GOOD(hmci_socket_connect_tcp("127.0.0.1", pair.port, hmci_deadline(5000), &strangers[j]));
    }
    sleep_ms(i);
    destroy_pair(&pair);
    for (int j = 0; j < 10; j++) {
      close(strangers[j]);
    }
  }
}

/* A child has no use of its parent's channel, and does it no harm. */
static void test_fork(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  uint64_t value = 0;
  int status;
  GOOD(hmc_control_send_u64(pair.one, 0, 17, 0));
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    uint32_t rank;
    const char *name;
    int descriptor;
    bool good = hmc_control_send_u64(pair.zero, 1, 1, 100) == HMC_UNSUPPORT && strstr(hmc_last_error(), "fork") != NULL &&
                hmc_control_receive_u64(pair.zero, 1, &value, 100) == HMC_UNSUPPORT &&
                hmc_control_connect(pair.one, 0, 1, "127.0.0.1", pair.port, NULL, 100) == HMC_UNSUPPORT &&
                hmc_control_listen(pair.one, "127.0.0.1", 0, NULL, NULL) == HMC_UNSUPPORT &&
                hmc_control_transport(pair.zero, 1, &name) == HMC_UNSUPPORT &&
                hmc_control_find(pair.zero, "127.0.0.1", 100, &rank) == HMC_UNSUPPORT &&
                hmc_control_socket(pair.zero, 1, &descriptor) == HMC_UNSUPPORT;
    hmc_control_close(pair.zero, 1);
    hmc_control_stop_listening(pair.zero);
    hmc_control_destroy(pair.one);
    hmc_control_destroy(pair.zero);
    _exit(good ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  GOOD(hmc_control_receive_u64(pair.zero, 1, &value, 5000));
  assert_true(value == 17);
  talk(pair.one, 1, pair.zero, 0);
  dial(&pair, BY_UDS); /* the socket file is there still */
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(test_a_killed_peer),
      TEST(test_a_killed_peer_wakes_the_receiver),
      TEST(test_a_killed_peer_is_noticed_by_itself),
      TEST(test_a_failed_send_loses_no_message),
      TEST(test_reconnecting),
      TEST(test_a_restarted_peer),
      TEST(test_a_waiting_receiver_goes_over_to_the_new_link),
      TEST(test_closing_a_link_ends_the_waits),
      TEST(test_dials_that_cross),
      TEST(test_two_threads_dial_one_rank),
      TEST(test_a_channel_does_not_link_to_itself),
      TEST(test_another_secret_is_denied),
      TEST(test_settings_that_are_refused),
      TEST(test_strangers_do_not_disturb),
      TEST(test_bytes_that_are_no_hello),
      TEST(test_bytes_that_are_no_message),
      TEST(test_a_peer_that_sleeps_gets_what_was_sent),
      TEST(test_a_dial_that_is_crossed),
      TEST(test_dials_to_one_rank_take_turns),
      TEST(test_out_of_descriptors),
      TEST(test_destroying_ends_every_call),
      TEST(test_destroying_with_strangers_at_the_door),
      TEST(test_fork),
  };
  return cmocka_run_group_tests_name("control faults", tests, NULL, NULL);
}
