/* Tests of pipes, workers and listeners over a UCX in software. Two workers, here and there, are joined by one pipe.
 * The test attends both ends, so that the loop leaves them alone, and polls them itself; tests of the loop let go of
 * them. */
#include "pipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_ucx_fixture.h"
#include "listener.h"

#include <errno.h>
#include <time.h>

typedef struct pair {
  hmci_loop_t *loop;
  hmci_ucx_worker_t here, there;
  hmci_ucx_pipe_t *near, *far;                /* near connects */
  ucp_ep_h strangers[HMCI_UCX_STRANGERS + 8]; /* clients of the tests' own */
  int stranger_count;
  struct sockaddr_storage address; /* where `there` listens */
} pair_t;

static uint8_t pattern(uint64_t position) { return (uint8_t)(position * 7 + position / 251); }

/* ---- moving ------------------------------------------------------------------------------------------------------ */

static bool poll_once(hmci_ucx_worker_t *worker) {
  pthread_mutex_lock(&worker->lock);
  bool moved = hmci_ucx_worker_poll(worker);
  pthread_mutex_unlock(&worker->lock);
  return moved;
}

/* Until neither worker has anything left. */
static void pump(pair_t *pair) {
  for (bool moved = true; moved;) {
    moved = poll_once(&pair->here);
    moved |= poll_once(&pair->there);
  }
}

/* Sends `size` bytes of the pattern from `position` on; answers how many were taken, or -1 with errno. */
static ssize_t send_pattern(hmci_ucx_pipe_t *pipe, uint64_t position, size_t size) {
  uint8_t *bytes = malloc(size + 1);
  for (size_t i = 0; i < size; i++) bytes[i] = pattern(position + i);
  size_t cut = size / 3;
  struct iovec parts[] = {{bytes, cut}, {bytes + cut, 0}, {bytes + cut, size - cut}};
  ssize_t taken = pipe->base.send(&pipe->base, parts, 3);
  int error = errno;
  free(bytes);
  errno = error;
  return taken;
}

/* Receives at most `size` bytes and compares them; answers how many came, or -1 with errno. */
static ssize_t receive_pattern(hmci_ucx_pipe_t *pipe, uint64_t position, size_t size) {
  uint8_t *bytes = malloc(size + 1);
  size_t cut = size / 4;
  struct iovec parts[] = {{bytes, cut}, {bytes + cut, size - cut}};
  ssize_t got = pipe->base.receive(&pipe->base, parts, 2);
  int error = errno;
  for (ssize_t i = 0; i < got; i++) assert_int_equal(bytes[i], pattern(position + (uint64_t)i));
  free(bytes);
  errno = error;
  return got;
}

static void receive_all(pair_t *pair, hmci_ucx_pipe_t *pipe, uint64_t position, uint64_t size) {
  for (uint64_t done = 0; done < size;) {
    ssize_t got = receive_pattern(pipe, position + done, size - done);
    if (got < 0) assert_int_equal(errno, EAGAIN);
    if (got < 0) pump(pair);
    done += got > 0 ? (uint64_t)got : 0;
  }
}

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

static bool never_busy(void *argument) {
  (void)argument;
  return false;
}

static hmci_ucx_end_t end_of(const hmci_ucx_pipe_t *pipe) { return (hmci_ucx_end_t){pipe->number, pipe->token}; }

static void open_workers(pair_t *pair) {
  assert_int_equal(hmci_loop_create(0, "test", &pair->loop), HMC_SUCCESS);
  assert_int_equal(hmci_ucx_worker_open(&pair->here, &fake_library, NULL, pair->loop, 0, never_busy, NULL),
                   HMC_SUCCESS);
  assert_int_equal(hmci_ucx_worker_open(&pair->there, &fake_library, NULL, pair->loop, 0, never_busy, NULL),
                   HMC_SUCCESS);
  assert_int_equal(hmci_ucx_pipe_open(&pair->here, &pair->near), HMC_SUCCESS);
  assert_int_equal(hmci_ucx_pipe_open(&pair->there, &pair->far), HMC_SUCCESS);
  hmci_ucx_pipe_attend(pair->near);
  hmci_ucx_pipe_attend(pair->far);
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  uint16_t port = 0;
  memcpy(&pair->address, &any, sizeof any);
  assert_int_equal(hmci_ucx_worker_listen(&pair->there, &pair->address, &port), HMC_SUCCESS);
  hmci_ucx_address_set_port(&pair->address, port);
}

static int open_pair(void **state) {
  pair_t *pair = calloc(1, sizeof *pair);
  *state = pair;
  open_workers(pair);
  hmci_ucx_pipe_expect(pair->far, end_of(pair->near));
  assert_int_equal(hmci_ucx_pipe_connect(pair->near, end_of(pair->far), &pair->address), HMC_SUCCESS);
  pump(pair);
  fake_release(UCS_OK); /* HELLO waited for the connection */
  pump(pair);
  return 0;
}

static void close_pipe(hmci_ucx_pipe_t **pipe) {
  if (*pipe) (*pipe)->base.close(&(*pipe)->base);
  *pipe = NULL;
}

static int close_pair(void **state) {
  pair_t *pair = *state;
  close_pipe(&pair->near);
  close_pipe(&pair->far);
  for (int i = 0; i < pair->stranger_count; i++) {
    if (!pair->strangers[i]->closed) fake_ep_close(pair->strangers[i], NULL);
  }
  hmci_ucx_worker_close(&pair->here);
  hmci_ucx_worker_close(&pair->there);
  hmci_loop_destroy(pair->loop);
  int left = fake.endpoints;
  fake_end();
  free(pair);
  return left;
}

/* ---- meeting ----------------------------------------------------------------------------------------------------- */

static void both_ends_open(void **state) {
  pair_t *pair = *state;
  assert_true(pair->near->open && pair->far->open);
  assert_int_equal(fake.endpoints, 2);
  assert_string_equal(pair->near->way, "tcp/eth0");
  assert_string_equal(pair->far->way, "tcp/eth0");
  assert_true(pair->near->frame_room > 32 << 10); /* over tcp a message may be large */
  assert_false(hmci_ucx_pipe_is_busy(pair->near));
  assert_int_equal(hmci_ucx_pipe_await_welcome(pair->near, hmci_deadline(10)), HMC_SUCCESS);
}

/* A connection of its own to `there`, as by somebody without a token. */
static ucp_ep_h connect_stranger(pair_t *pair) {
  ucp_ep_h endpoint = NULL;
  ucp_ep_params_t params = {.sockaddr.addr = (const struct sockaddr *)&pair->address,
                            .err_handler.cb = hmci_ucx_worker_on_error,
                            .err_handler.arg = &pair->here};
  assert_int_equal(fake_ep_create(pair->here.handle, &params, &endpoint), UCS_OK);
  pair->strangers[pair->stranger_count++] = endpoint;
  pump(pair);
  return endpoint;
}

static void say_as(pair_t *pair, ucp_ep_h endpoint, hmci_ucx_message_t message, size_t size, uint32_t flags) {
  uint8_t bytes[HMCI_UCX_HEADER + 64] = {0};
  hmci_ucx_message_encode(bytes, &message);
  fake_push(endpoint->peer, bytes, size, flags);
  pump(pair);
}

static void a_stranger_without_the_token_is_cut_off(void **state) {
  pair_t *pair = *state;
  hmci_ucx_message_t hello = {.type = HMCI_UCX_HELLO, .pipe = pair->far->number, .token = pair->far->token + 1};
  ucp_ep_h stranger = connect_stranger(pair);
  assert_non_null(stranger->peer);
  assert_int_equal(pair->there.stranger_count, 1);
  say_as(pair, stranger, hello, HMCI_UCX_HEADER, UCP_AM_SEND_FLAG_REPLY);
  assert_null(stranger->peer);
  assert_int_equal(pair->there.stranger_count, 0);
  hello.pipe = 1u << 20;
  stranger = connect_stranger(pair);
  say_as(pair, stranger, hello, HMCI_UCX_HEADER, UCP_AM_SEND_FLAG_REPLY);
  assert_null(stranger->peer);
  assert_false(pair->far->failed);
}

/* The right token over another connection, once the pipe has its own. */
static void a_pipe_is_claimed_once(void **state) {
  pair_t *pair = *state;
  hmci_ucx_message_t hello = {.type = HMCI_UCX_HELLO, .pipe = pair->far->number, .token = pair->far->token};
  ucp_ep_h before = pair->far->endpoint, stranger = connect_stranger(pair);
  say_as(pair, stranger, hello, HMCI_UCX_HEADER, UCP_AM_SEND_FLAG_REPLY);
  assert_ptr_equal(pair->far->endpoint, before);
  assert_int_equal(pair->there.stranger_count, 1);
}

static void strangers_are_bounded(void **state) {
  pair_t *pair = *state;
  ucp_ep_h first = connect_stranger(pair);
  for (int i = 1; i < HMCI_UCX_STRANGERS; i++) connect_stranger(pair);
  assert_int_equal(pair->there.stranger_count, HMCI_UCX_STRANGERS);
  assert_non_null(first->peer);
  ucp_ep_h last = connect_stranger(pair);
  assert_int_equal(pair->there.stranger_count, HMCI_UCX_STRANGERS);
  assert_null(first->peer);
  assert_non_null(last->peer);
}

static void a_stranger_that_hangs_up_is_forgotten(void **state) {
  pair_t *pair = *state;
  ucp_ep_h stranger = connect_stranger(pair);
  fake_ep_close(stranger, NULL);
  pump(pair);
  assert_int_equal(pair->there.stranger_count, 0);
}

static void foreign_messages_are_dropped(void **state) {
  pair_t *pair = *state;
  ucp_ep_h near = pair->near->endpoint;
  hmci_ucx_message_t data = {.type = HMCI_UCX_DATA, .pipe = pair->far->number, .token = pair->far->token ^ 1};
  say_as(pair, near, data, HMCI_UCX_HEADER + 8, 0);
  data.token ^= 1;
  say_as(pair, near, data, HMCI_UCX_HEADER - 1, 0);
  say_as(pair, near, data, HMCI_UCX_HEADER + 8, UCP_AM_SEND_FLAG_RNDV);
  assert_int_equal(pair->far->received, 0);
  assert_false(pair->far->failed);
  assert_int_equal(send_pattern(pair->near, 0, 100), 100);
  receive_all(pair, pair->far, 0, 100);
}

static void nobody_answers(void **state) {
  pair_t *pair = *state;
  hmci_ucx_pipe_t *lonely;
  uint64_t before = hmci_now();
  assert_int_equal(hmci_ucx_pipe_open(&pair->here, &lonely), HMC_SUCCESS);
  assert_int_equal(hmci_ucx_pipe_connect(lonely, (hmci_ucx_end_t){77, 78}, &pair->address), HMC_SUCCESS);
  assert_true(hmci_ucx_pipe_is_busy(lonely));
  assert_int_equal(send_pattern(lonely, 0, 10), -1); /* not before the welcome */
  assert_int_equal(errno, EAGAIN);
  assert_int_equal(hmci_ucx_pipe_await_welcome(lonely, hmci_deadline(30)), HMC_TIMEOUT);
  assert_true(hmci_now() - before >= 29000000u);
  lonely->base.close(&lonely->base);
}

static void no_way_is_said(void **state) {
  pair_t *pair = *state;
  hmci_ucx_pipe_t *pipe;
  struct sockaddr_storage elsewhere = {.ss_family = AF_INET6};
  uint16_t port = 77;
  assert_int_equal(hmci_ucx_pipe_open(&pair->here, &pipe), HMC_SUCCESS);
  fake.endpoint_status = UCS_ERR_UNREACHABLE;
  fake.listener_status = UCS_ERR_INVALID_ADDR;
  assert_int_equal(hmci_ucx_pipe_connect(pipe, (hmci_ucx_end_t){0, 0}, &pair->address), HMC_UNSUPPORT);
  assert_non_null(strstr(hmc_last_error(), "UCX_TLS"));
  assert_int_equal(hmci_ucx_worker_listen(&pair->there, &elsewhere, &port), HMC_UNSUPPORT);
  assert_int_equal(port, 77);
  pipe->base.close(&pipe->base);
}

/* Another attempt is of use where UCX's connection broke or nobody answered; not where UCX has no way, or we are at fault. */
static void some_failures_may_pass(void **state) {
  pair_t *pair = *state;
  static const struct {
    ucs_status_t status; /* UCS_OK: a reason of ours */
    bool transient;
  } cases[] = {{UCS_ERR_CONNECTION_RESET, true}, {UCS_ERR_ENDPOINT_TIMEOUT, true}, {UCS_ERR_TIMED_OUT, true},
               {UCS_ERR_UNREACHABLE, false},     {UCS_ERR_UNSUPPORTED, false},     {UCS_OK, false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    hmci_ucx_pipe_t *pipe;
    assert_int_equal(hmci_ucx_pipe_open(&pair->here, &pipe), HMC_SUCCESS);
    assert_false(hmci_ucx_pipe_is_transient(pipe)); /* it has not even tried */
    assert_int_equal(hmci_ucx_pipe_connect(pipe, (hmci_ucx_end_t){77, 78}, &pair->address), HMC_SUCCESS);
    assert_true(hmci_ucx_pipe_is_transient(pipe));
    pthread_mutex_lock(&pair->here.lock);
    if (cases[i].status == UCS_OK) {
      hmci_ucx_pipe_fail(pipe, "no memory");
    } else {
      hmci_ucx_worker_on_error(&pair->here, pipe->endpoint, cases[i].status);
    }
    pthread_mutex_unlock(&pair->here.lock);
    assert_true(hmci_ucx_pipe_has_failed(pipe));
    assert_int_equal(hmci_ucx_pipe_is_transient(pipe), cases[i].transient);
    pipe->base.close(&pipe->base);
  }
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static void bytes_come_in_order(void **state) {
  pair_t *pair = *state;
  static const size_t sizes[] = {1, 7, 40, 2015, 2016, 2017, 61407, 61408, 61409, 200000};
  uint64_t position = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (size_t done = 0; done < sizes[i];) {
      ssize_t taken = send_pattern(pair->near, position + done, sizes[i] - done);
      assert_true(taken > 0);
      receive_all(pair, pair->far, position + done, (uint64_t)taken);
      pump(pair); /* credit goes back */
      done += (size_t)taken;
    }
    position += sizes[i];
  }
  assert_int_equal(send_pattern(pair->far, 0, 333), 333); /* and the other way */
  receive_all(pair, pair->near, 0, 333);
  assert_int_equal(receive_pattern(pair->far, 0, 1), -1);
  assert_int_equal(errno, EAGAIN);
}

static void a_mix_up_on_the_way_is_put_right(void **state) {
  pair_t *pair = *state;
  fake.reverse = true;
  for (uint64_t position = 0; position < 3000; position += 100) {
    assert_int_equal(send_pattern(pair->near, position, 100), 100);
  }
  assert_int_equal(receive_pattern(pair->far, 0, 50), -1); /* the last one came first */
  pump(pair);
  assert_true(pair->far->base.pending(&pair->far->base));
  receive_all(pair, pair->far, 0, 3000);
  assert_false(pair->far->base.pending(&pair->far->base));
}

static void what_comes_twice_ends_the_pipe(void **state) {
  pair_t *pair = *state;
  hmci_ucx_message_t data = {
      .type = HMCI_UCX_DATA, .pipe = pair->far->number, .token = pair->far->token, .position = 10};
  say_as(pair, pair->near->endpoint, data, HMCI_UCX_HEADER + 20, 0);
  assert_false(pair->far->failed);
  data.position = 15;
  say_as(pair, pair->near->endpoint, data, HMCI_UCX_HEADER + 20, 0);
  assert_true(pair->far->failed);
  assert_int_equal(receive_pattern(pair->far, 0, 50), -1);
  assert_int_equal(errno, ECONNRESET);
}

static void more_than_the_window_ends_the_pipe(void **state) {
  pair_t *pair = *state;
  hmci_ucx_message_t data = {
      .type = HMCI_UCX_DATA, .pipe = pair->far->number, .token = pair->far->token, .position = HMCI_UCX_WINDOW - 4};
  say_as(pair, pair->near->endpoint, data, HMCI_UCX_HEADER + 4, 0);
  assert_false(pair->far->failed);
  data.position = HMCI_UCX_WINDOW;
  say_as(pair, pair->near->endpoint, data, HMCI_UCX_HEADER + 1, 0);
  assert_true(pair->far->failed);
}

static void credit_for_nothing_ends_the_pipe(void **state) {
  pair_t *pair = *state;
  hmci_ucx_message_t credit = {
      .type = HMCI_UCX_CREDIT, .pipe = pair->near->number, .token = pair->near->token, .taken = 1};
  say_as(pair, pair->far->endpoint, credit, HMCI_UCX_HEADER, 0);
  assert_true(pair->near->failed);
}

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

static void the_window_holds_the_sender(void **state) {
  pair_t *pair = *state;
  ssize_t taken = send_pattern(pair->near, 0, 2 * HMCI_UCX_WINDOW);
  assert_int_equal(taken, HMCI_UCX_WINDOW);
  pump(pair);
  assert_int_equal(send_pattern(pair->near, (uint64_t)taken, 1), -1);
  assert_int_equal(errno, EAGAIN);
  receive_all(pair, pair->far, 0, HMCI_UCX_WINDOW / 8); /* not worth a credit */
  pump(pair);
  assert_int_equal(send_pattern(pair->near, (uint64_t)taken, 1), -1);
  receive_all(pair, pair->far, HMCI_UCX_WINDOW / 8, HMCI_UCX_WINDOW / 4);
  pump(pair);
  ssize_t more = send_pattern(pair->near, (uint64_t)taken, HMCI_UCX_WINDOW);
  assert_true(more >= HMCI_UCX_WINDOW / 4);
  receive_all(pair, pair->far, HMCI_UCX_WINDOW / 8 * 3, HMCI_UCX_WINDOW / 8 * 5 + (uint64_t)more);
}

static void ucx_holds_few_frames(void **state) {
  pair_t *pair = *state;
  fake.hold = true;
  for (int i = 0; i < HMCI_UCX_HELD; i++) assert_int_equal(send_pattern(pair->near, 10u * (uint64_t)i, 10), 10);
  assert_int_equal(send_pattern(pair->near, 40, 10), -1);
  assert_int_equal(errno, EAGAIN);
  assert_true(hmci_ucx_pipe_is_busy(pair->near));
  assert_int_equal(pair->here.staged, HMCI_UCX_HELD * HMCI_UCX_SMALL_FRAME);
  fake.hold = false;
  fake_release(UCS_OK);
  pump(pair);
  assert_int_equal(pair->here.staged, 0);
  assert_false(hmci_ucx_pipe_is_busy(pair->near));
  assert_int_equal(send_pattern(pair->near, 40, 10), 10);
  receive_all(pair, pair->far, 0, 50);
}

static void frames_held_outlive_their_pipe(void **state) {
  pair_t *pair = *state;
  fake.hold = true;
  assert_int_equal(send_pattern(pair->near, 0, 100), 100);
  assert_int_equal(send_pattern(pair->near, 100, 50000), 50000);
  close_pipe(&pair->near);
  fake_release(UCS_ERR_CANCELED);
  while (poll_once(&pair->here)) {
  }
  assert_int_equal(pair->here.staged, 0);
}

/* ---- failing ----------------------------------------------------------------------------------------------------- */

static void a_lost_peer_shows_at_both_calls(void **state) {
  pair_t *pair = *state;
  assert_int_equal(send_pattern(pair->far, 0, 10), 10);
  pump(pair);
  close_pipe(&pair->far);
  pump(pair);
  assert_true(pair->near->failed);
  assert_string_equal(pair->near->failure, "reset");
  assert_int_equal(send_pattern(pair->near, 0, 10), -1);
  assert_int_equal(errno, ECONNRESET);
  assert_int_equal(receive_pattern(pair->near, 0, 20), 10); /* what had come still counts */
  assert_int_equal(receive_pattern(pair->near, 10, 20), -1);
  assert_int_equal(errno, ECONNRESET);
}

static void a_send_that_fails_ends_the_pipe(void **state) {
  pair_t *pair = *state;
  fake.hold = true;
  assert_int_equal(send_pattern(pair->near, 0, 10), 10);
  fake_release(UCS_ERR_CONNECTION_RESET);
  pump(pair);
  assert_true(pair->near->failed);
  fake.send_status = UCS_ERR_ENDPOINT_TIMEOUT;
  assert_int_equal(send_pattern(pair->far, 0, 10), 10); /* taken, and lost with the pipe */
  assert_true(pair->far->failed);
  fake.send_status = UCS_OK;
}

/* ---- readers ----------------------------------------------------------------------------------------------------- */

typedef struct reader {
  hmci_watch_t watch;
  hmci_ucx_pipe_t *pipe;
  _Atomic int calls, busy; /* busy: so many calls in which it does nothing */
  _Atomic uint64_t bytes;
} reader_t;

static bool read_bytes(hmci_watch_t *watch, uint32_t events) {
  reader_t *reader = HMCI_CONTAINER(watch, reader_t, watch);
  assert_int_not_equal(events, 0);
  atomic_fetch_add(&reader->calls, 1);
  if (atomic_load(&reader->busy) > 0) {
    atomic_fetch_sub(&reader->busy, 1);
    return false;
  }
  ssize_t got = receive_pattern(reader->pipe, atomic_load(&reader->bytes), 4000);
  if (got > 0) atomic_fetch_add(&reader->bytes, (uint64_t)got);
  return got > 0;
}

static bool await_bytes(reader_t *reader, uint64_t bytes) {
  for (int i = 0; i < 60000 && atomic_load(&reader->bytes) < bytes; i++) {
    nanosleep(&(struct timespec){0, 1000000}, NULL);
  }
  return atomic_load(&reader->bytes) == bytes;
}

static void the_loop_calls_the_reader(void **state) {
  pair_t *pair = *state;
  reader_t reader = {.watch.ready = read_bytes, .pipe = pair->far};
  hmci_ucx_pipe_set_reader(pair->far, &reader.watch, false);
  assert_int_equal(send_pattern(pair->near, 0, 10000), 10000);
  nanosleep(&(struct timespec){0, 20000000}, NULL);
  assert_int_equal(atomic_load(&reader.calls), 0); /* it is attended */
  hmci_ucx_pipe_leave(pair->far);
  hmci_ucx_worker_want(&pair->there);
  assert_true(await_bytes(&reader, 10000));
  hmci_ucx_worker_want(&pair->there);
  assert_int_equal(send_pattern(pair->near, 10000, 5), 5);
  assert_true(await_bytes(&reader, 10005));
  hmci_ucx_pipe_mute(pair->far);
  int calls = atomic_load(&reader.calls);
  hmci_ucx_worker_want(&pair->there);
  assert_int_equal(send_pattern(pair->near, 10005, 5), 5);
  nanosleep(&(struct timespec){0, 20000000}, NULL);
  assert_int_equal(atomic_load(&reader.calls), calls);
  hmci_ucx_pipe_attend(pair->far);
}

static void what_came_before_arming_is_found(void **state) {
  pair_t *pair = *state;
  reader_t reader = {.watch.ready = read_bytes, .pipe = pair->far};
  hmci_ucx_pipe_set_reader(pair->far, &reader.watch, false);
  assert_int_equal(send_pattern(pair->near, 0, 10), 10);
  fake.blind = true;
  hmci_ucx_pipe_leave(pair->far);
  hmci_ucx_worker_want(&pair->there);
  assert_false(fake.blind);
  assert_true(await_bytes(&reader, 10));
  hmci_ucx_pipe_attend(pair->far);
}

static void what_nobody_waits_for_is_moved_soon(void **state) {
  pair_t *pair = *state;
  reader_t reader = {.watch.ready = read_bytes, .pipe = pair->far};
  hmci_ucx_pipe_set_reader(pair->far, &reader.watch, false);
  hmci_ucx_worker_want(&pair->there);
  hmci_ucx_worker_spare(&pair->there); /* it has a driver so far */
  pthread_mutex_lock(&pair->there.lock);
  bool wanted = pair->there.wanted;
  pthread_mutex_unlock(&pair->there.lock);
  assert_false(wanted);
  assert_int_equal(send_pattern(pair->near, 0, 10), 10);
  hmci_ucx_pipe_leave(pair->far);
  assert_true(await_bytes(&reader, 10));
  hmci_ucx_worker_want_soon(&pair->there);
  assert_int_equal(send_pattern(pair->near, 10, 10), 10);
  assert_true(await_bytes(&reader, 20));
  hmci_ucx_pipe_attend(pair->far);
}

static void a_busy_reader_is_called_again(void **state) {
  pair_t *pair = *state;
  reader_t reader = {.watch.ready = read_bytes, .pipe = pair->far, .busy = 3};
  hmci_ucx_pipe_set_reader(pair->far, &reader.watch, true);
  assert_int_equal(send_pattern(pair->near, 0, 9000), 9000);
  while (poll_once(&pair->there)) { /* all of it is stored */
  }
  hmci_ucx_pipe_leave(pair->far);
  assert_true(await_bytes(&reader, 9000));
  assert_true(atomic_load(&reader.calls) > 3);
  hmci_ucx_pipe_attend(pair->far);
}

static void a_writer_without_room_is_called(void **state) {
  pair_t *pair = *state;
  reader_t writer = {.watch.ready = read_bytes, .pipe = pair->near};
  hmci_ucx_pipe_set_reader(pair->near, &writer.watch, false);
  fake.hold = true;
  for (int i = 0; i < HMCI_UCX_HELD; i++) assert_int_equal(send_pattern(pair->near, 10u * (uint64_t)i, 10), 10);
  assert_int_equal(send_pattern(pair->near, 40, 10), -1);
  fake.hold = false;
  hmci_ucx_pipe_leave(pair->near);
  hmci_ucx_worker_want(&pair->here);
  fake_release(UCS_OK);
  for (int i = 0; i < 2000 && !atomic_load(&writer.calls); i++) nanosleep(&(struct timespec){0, 1000000}, NULL);
  assert_true(atomic_load(&writer.calls) > 0);
  hmci_ucx_pipe_attend(pair->near);
}

/* Room that came while a thread polled the pipe for something else, as for a lane: the thread may ask for it, and nobody
 * else would look once it has left. */
static void room_that_came_under_a_driver_is_not_forgotten(void **state) {
  pair_t *pair = *state;
  reader_t writer = {.watch.ready = read_bytes, .pipe = pair->near};
  hmci_ucx_pipe_set_reader(pair->near, &writer.watch, true);
  assert_int_equal(send_pattern(pair->near, 0, HMCI_UCX_WINDOW), HMCI_UCX_WINDOW);
  assert_int_equal(send_pattern(pair->near, HMCI_UCX_WINDOW, 10), -1);
  pump(pair);
  assert_false(hmci_ucx_pipe_calls_for_reader(pair->near));
  receive_all(pair, pair->far, 0, HMCI_UCX_WINDOW);
  pump(pair); /* the credit comes */
  assert_true(hmci_ucx_pipe_calls_for_reader(pair->near));
  assert_int_equal(atomic_load(&writer.calls), 0);
  hmci_ucx_pipe_leave(pair->near);
  for (int i = 0; i < 2000 && !atomic_load(&writer.calls); i++) nanosleep(&(struct timespec){0, 1000000}, NULL);
  assert_int_equal(atomic_load(&writer.calls), 1);
  nanosleep(&(struct timespec){0, 20000000}, NULL);
  assert_int_equal(atomic_load(&writer.calls), 1); /* it did not want the room */
  hmci_ucx_pipe_attend(pair->near);
  assert_int_equal(send_pattern(pair->near, HMCI_UCX_WINDOW, 10), 10);
  assert_false(hmci_ucx_pipe_calls_for_reader(pair->near));
}

static void an_idle_worker_rests(void **state) {
  pair_t *pair = *state;
  reader_t reader = {.watch.ready = read_bytes, .pipe = pair->far};
  hmci_ucx_pipe_set_reader(pair->far, &reader.watch, false);
  hmci_ucx_pipe_leave(pair->far);
  hmci_ucx_worker_want(&pair->there);
  assert_int_equal(send_pattern(pair->near, 0, 10), 10);
  assert_true(await_bytes(&reader, 10));
  nanosleep(&(struct timespec){0, 20000000}, NULL);
  pthread_mutex_lock(&pair->there.lock);
  uint64_t polls = pair->there.polls;
  bool wanted = pair->there.wanted, signalled = pair->there.signalled;
  pthread_mutex_unlock(&pair->there.lock);
  assert_false(wanted || signalled);
  nanosleep(&(struct timespec){0, 20000000}, NULL);
  pthread_mutex_lock(&pair->there.lock);
  assert_true(pair->there.polls == polls);
  pthread_mutex_unlock(&pair->there.lock);
  hmci_ucx_pipe_attend(pair->far);
}

int main(void) {
#define PAIR_TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)
  const struct CMUnitTest tests[] = {
      PAIR_TEST(both_ends_open),
      PAIR_TEST(a_stranger_without_the_token_is_cut_off),
      PAIR_TEST(a_pipe_is_claimed_once),
      PAIR_TEST(strangers_are_bounded),
      PAIR_TEST(a_stranger_that_hangs_up_is_forgotten),
      PAIR_TEST(foreign_messages_are_dropped),
      PAIR_TEST(nobody_answers),
      PAIR_TEST(no_way_is_said),
      PAIR_TEST(some_failures_may_pass),
      PAIR_TEST(bytes_come_in_order),
      PAIR_TEST(a_mix_up_on_the_way_is_put_right),
      PAIR_TEST(what_comes_twice_ends_the_pipe),
      PAIR_TEST(more_than_the_window_ends_the_pipe),
      PAIR_TEST(credit_for_nothing_ends_the_pipe),
      PAIR_TEST(the_window_holds_the_sender),
      PAIR_TEST(ucx_holds_few_frames),
      PAIR_TEST(frames_held_outlive_their_pipe),
      PAIR_TEST(a_lost_peer_shows_at_both_calls),
      PAIR_TEST(a_send_that_fails_ends_the_pipe),
      PAIR_TEST(the_loop_calls_the_reader),
      PAIR_TEST(what_came_before_arming_is_found),
      PAIR_TEST(what_nobody_waits_for_is_moved_soon),
      PAIR_TEST(a_busy_reader_is_called_again),
      PAIR_TEST(a_writer_without_room_is_called),
      PAIR_TEST(room_that_came_under_a_driver_is_not_forgotten),
      PAIR_TEST(an_idle_worker_rests),
  };
#undef PAIR_TEST
  return cmocka_run_group_tests(tests, NULL, NULL);
}
