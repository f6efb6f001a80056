/* The control channel when something goes wrong: peers that die, links that are replaced, ends in the middle of a call.
 * Strangers are in control_strangers_test.c. */
#include "control_impostor_fixture.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* ---- peers that die ---------------------------------------------------------------------------------------------- */

typedef struct child {
  pid_t process;
  uint16_t port;
  int sent; /* readable once it has sent all three, or is gone */
} child_t;

/* A process that is rank 0: it listens, sends three numbers to the rank 1 that dials it, and waits for its end. Made
 * before this process has threads. */
static child_t make_child(void) {
  child_t child = {0};
  int ports[2];
  char byte = 0;
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
      HMC_IGNORE(hmc_control_send_u64(control, 1, i, PATIENCE_MS));
    }
    (void)!write(ports[1], &byte, 1);
    sleep_ms(20000);
    _exit(1);
  }
  close(ports[1]);
  assert_int_equal(read(ports[0], &child.port, sizeof(child.port)), sizeof(child.port));
  child.sent = ports[0];
  return child;
}

static void kill_child(const child_t *child) {
  int status;
  close(child->sent);
  kill(child->process, SIGKILL);
  assert_int_equal(waitpid(child->process, &status, 0), child->process);
  assert_true(WIFSIGNALED(status));
}

static void lose_peer(way_t way) {
  child_t child = make_child();
  hmc_control_t *control = make();
  const char *transport;
  uint64_t value = 0;
  GOOD(hmc_control_connect(control, 0, 1, way == BY_TCP ? "127.0.0.1" : NULL, child.port, way == BY_UDS ? path : NULL,
                           PATIENCE_MS));
  GOOD(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS));
  assert_true(value == 1);
  assert_true(is_readable(child.sent, PATIENCE_MS)); /* all three have been sent */
  kill_child(&child);
  GOOD(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS)); /* what had arrived is read */
  assert_true(value == 2);
  GOOD(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS));
  assert_true(value == 3);
  FAILS(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS), HMC_PEER_LOST, "rank 0");
  FAILS(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS), HMC_PEER_LOST, "rank 0");
  FAILS(hmc_control_send_u64(control, 0, 1, PATIENCE_MS), HMC_PEER_LOST, "rank 0");
  FAILS(hmc_control_transport(control, 0, &transport), HMC_PEER_LOST, "rank 0");
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
  uint64_t value;
  GOOD(hmc_control_connect(control, 0, 1, "127.0.0.1", child.port, NULL, PATIENCE_MS));
  for (int i = 0; i < 3; i++) {
    GOOD(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS));
  }
  assert_int_equal(pthread_create(&thread, NULL, kill_soon, &child), 0);
  FAILS(hmc_control_receive_u64(control, 0, &value, 10000), HMC_PEER_LOST, "rank 0");
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
  GOOD(hmc_control_connect(control, 0, 1, "127.0.0.1", child.port, NULL, PATIENCE_MS));
  GOOD(hmc_control_receive_u64(control, 0, &value, PATIENCE_MS));
  kill_child(&child);
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < PATIENCE_MS / 5 && status == HMC_SUCCESS; i++) {
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

/* ---- links that are replaced ------------------------------------------------------------------------------------- */

static void test_reconnecting(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) {
    talk_to_waiter(pair.one, 1, pair.zero, 0);
    GOOD(hmc_control_send_u64(pair.one, 0, 7, 0)); /* is not read before the new link comes */
    dial(&pair, i % 2 ? BY_TCP : BY_UDS);
    GOOD(hmc_control_send_u64(pair.one, 0, 8, 0));
    GOOD(hmc_control_receive_u64(pair.zero, 1, &value, PATIENCE_MS));
    assert_true(value == 7);
    GOOD(hmc_control_receive_u64(pair.zero, 1, &value, PATIENCE_MS));
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
  GOOD(hmc_control_receive_u64(pair.zero, 1, &value, PATIENCE_MS)); /* from the one before */
  assert_true(value == 7);
  talk(pair.one, 1, pair.zero, 0);

  hmc_control_t *twin = make(); /* while the one before is alive: the newer one is kept */
  GOOD(hmc_control_connect(twin, 0, 1, "127.0.0.1", pair.port, NULL, PATIENCE_MS));
  talk(twin, 1, pair.zero, 0);
  FAILS(hmc_control_receive_u64(pair.one, 0, &value, PATIENCE_MS), HMC_PEER_LOST, "rank 0");
  hmc_control_destroy(twin);
  destroy_pair(&pair);
}

static void test_a_waiting_receiver_goes_over_to_the_new_link(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  waiter_t waiter = {.control = pair.zero, .rank = 1};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, wait_for_value, &waiter), 0);
  await_asleep(&waiter.thread);
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
  await_asleep(&here.thread);
  await_asleep(&there.thread);
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
  FAILS(hmc_control_connect(control, 1, 0, "127.0.0.1", port, NULL, PATIENCE_MS), HMC_INVALID_CONFIG, "own");
  hmc_control_destroy(control);
}

/* ---- the end in the middle of a call ----------------------------------------------------------------------------- */

typedef struct call {
  hmc_control_t *control;
  hmc_status_t (*run)(hmc_control_t *control);
  hmc_status_t status;
  _Atomic pid_t thread;
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
static hmc_status_t run_send_without_link(hmc_control_t *control) {
  return hmc_control_send_u64(control, 44, 1, 10000);
}
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
  atomic_store(&call->thread, gettid());
  call->status = call->run(call->control);
  return NULL;
}

static void test_destroying_ends_every_call(void **state) {
  (void)state;
  static hmc_status_t (*const runs[])(hmc_control_t *) = {
      run_receive, run_receive,           run_receive_without_link, run_send_without_link,
      run_find,    run_connect_to_nobody, run_connect_to_silence,   run_send_much};
  enum { CALLS = sizeof(runs) / sizeof(runs[0]) };
  setenv("HMC_INSECURE", "1", 1);
  pair_t pair = make_pair(BY_TCP);
  call_t calls[CALLS];
  pthread_t threads[CALLS];
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_DIAL, .rank = 2, .incarnation = 22, .serial = 1}, answer;
  int silent;
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &silent, &silent_port));
  hmci_secure_t *rank_two = pose_as_peer(pair.port); /* reads nothing, so that a sender waits for the socket */
  say_hello(rank_two, &hello, &answer);
  for (int i = 0; i < CALLS; i++) {
    calls[i] = (call_t){.control = pair.zero, .run = runs[i], .status = HMC_SUCCESS};
    assert_int_equal(pthread_create(&threads[i], NULL, run_call, &calls[i]), 0);
  }
  for (int i = 0; i < CALLS; i++) {
    await_asleep(&calls[i].thread);
  }
  sleep_ms(20); /* those that dial have got to the waiting */
  hmc_control_destroy(pair.zero);
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

static uint16_t deaf_port;

static hmc_status_t run_connect_to_both(hmc_control_t *control) {
  return hmc_control_connect(control, 66, 0, "127.0.0.1", deaf_port, path, PATIENCE_MS);
}

/* A peer that stands still takes connections and says nothing; what is dialled next is not waited for. */
static void test_destroying_ends_a_dial_by_both_ways(void **state) {
  (void)state;
  hmc_control_t *control = make();
  call_t call = {.control = control, .run = run_connect_to_both};
  pthread_t thread;
  int deaf, deaf_unix;
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &deaf, &deaf_port));
  GOOD(hmci_socket_listen_unix(path, &deaf_unix));
  assert_int_equal(pthread_create(&thread, NULL, run_call, &call), 0);
  assert_true(is_readable(deaf_unix, PATIENCE_MS));
  await_asleep(&call.thread);
  uint64_t start = hmci_now();
  hmc_control_destroy(control);
  uint64_t took = hmci_now() - start;
  pthread_join(thread, NULL);
  assert_int_equal(call.status, HMC_CANCELLED);
  assert_true(took < 4000 * MS); /* a greeting may take 5 s */
  close(deaf);
  close(deaf_unix);
}

static void test_destroying_with_strangers_at_the_door(void **state) {
  (void)state;
  for (int i = 0; i < 5; i++) {
    pair_t pair = make_pair(BY_TCP);
    int strangers[10];
    for (int j = 0; j < 10; j++) {
      GOOD(hmci_socket_connect_tcp("127.0.0.1", pair.port, hmci_deadline(PATIENCE_MS), &strangers[j]));
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
    bool good = hmc_control_send_u64(pair.zero, 1, 1, 100) == HMC_UNSUPPORT &&
                strstr(hmc_last_error(), "fork") != NULL &&
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
  GOOD(hmc_control_receive_u64(pair.zero, 1, &value, PATIENCE_MS));
  assert_true(value == 17);
  talk(pair.one, 1, pair.zero, 0);
  dial(&pair, BY_UDS); /* the socket file is there still */
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

/* A child does not keep what a thread of its parent dials meanwhile: the peer sees the parent end although it lives. */
static void test_fork_beside_a_dial(void **state) {
  (void)state;
  hmc_control_t *control = make();
  call_t call = {.control = control, .run = run_connect_to_silence};
  pthread_t thread;
  int silent, status;
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &silent, &silent_port));
  assert_int_equal(pthread_create(&thread, NULL, run_call, &call), 0);
  assert_true(is_readable(silent, PATIENCE_MS));
  await_asleep(&call.thread);
  sleep_ms(20); /* it has got to the greeting */
  assert_int_equal(count_connections(silent_port), 1);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(count_connections(silent_port));
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  hmc_control_destroy(control);
  pthread_join(thread, NULL);
  close(silent);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
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
      TEST(test_destroying_ends_every_call),
      TEST(test_destroying_ends_a_dial_by_both_ways),
      TEST(test_destroying_with_strangers_at_the_door),
      TEST(test_fork),
      TEST(test_fork_beside_a_dial),
  };
  return cmocka_run_group_tests_name("control faults", tests, NULL, NULL);
}
