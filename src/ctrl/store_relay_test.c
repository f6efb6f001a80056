/* Tests of the store's client over a line that is slow, holds answers back, or breaks at the worst moment. */
#include "store_fixture.h"

#include "../base/socket.h"

#include <errno.h>
#include <hmc/state.h>
#include <semaphore.h>
#include <sys/socket.h>

/* ---- the line ---------------------------------------------------------------------------------------------------- */

enum { LINES = 8, ROOM = 64 << 10, AT_ONCE = 64, TICK_MS = 2 };

/* Stands between clients and the store. */
typedef struct relay {
  pthread_t thread;
  int listener;
  uint16_t port, target;
  atomic_bool is_over, breaks; /* hangs up on all, once */
  atomic_bool holds;           /* what the store says stays here */
  atomic_uint rate;            /* bytes of it that go on in a millisecond; 0: all */
  int clients[LINES], stores[LINES];
  uint8_t bytes[ROOM];
} relay_t;

static void hang_up(relay_t *relay, int line) {
  close(relay->clients[line]);
  close(relay->stores[line]);
  relay->clients[line] = relay->stores[line] = -1;
}

static void take_client(relay_t *relay) {
  char text[HMCI_ADDRESS_TEXT];
  int client, line = 0;
  while (line < LINES && relay->clients[line] >= 0) {
    line++;
  }
  if (line == LINES || hmci_socket_accept(relay->listener, &client, text) != HMC_SUCCESS) {
    return;
  }
  if (hmci_socket_connect_tcp("127.0.0.1", relay->target, hmci_deadline(1000), &relay->stores[line]) != HMC_SUCCESS) {
    relay->stores[line] = -1;
    close(client);
    return;
  }
  relay->clients[line] = client;
}

/* Bytes that went on; -1: this line is over. */
static ssize_t pass_on(relay_t *relay, int from, int to, size_t most) {
  ssize_t got = recv(from, relay->bytes, most < ROOM ? most : ROOM, MSG_DONTWAIT);
  if (got < 0) {
    return errno == EAGAIN ? 0 : -1;
  }
  for (ssize_t gone = 0; gone < got;) {
    ssize_t sent = send(to, relay->bytes + gone, (size_t)(got - gone), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) {
      return -1;
    }
    gone += sent > 0 ? sent : 0;
    if (sent < 0) {
      sleep_ms(1);
    }
  }
  return got > 0 ? got : -1;
}

static void *run_relay(void *argument) {
  relay_t *relay = argument;
  uint64_t looked = hmci_now();
  size_t allowed = 0;
  while (!atomic_load(&relay->is_over)) {
    sleep_ms(TICK_MS);
    unsigned rate = atomic_load(&relay->rate);
    uint64_t now = hmci_now();
    allowed += rate * (size_t)((now - looked) / MS);
    looked += (now - looked) / MS * MS;
    allowed = rate == 0 ? SIZE_MAX / 2 : allowed < ROOM ? allowed : ROOM;
    if (is_readable(relay->listener, 0)) {
      take_client(relay);
    }
    bool must_break = atomic_exchange(&relay->breaks, false);
    for (int line = 0; line < LINES; line++) {
      if (relay->clients[line] < 0) {
        continue;
      }
      ssize_t up = pass_on(relay, relay->clients[line], relay->stores[line], ROOM), down = 0;
      for (int i = 0; i < (rate == 0 ? AT_ONCE : 1) && up >= 0 && down >= 0 && allowed > 0; i++) {
        down = atomic_load(&relay->holds) ? 0 : pass_on(relay, relay->stores[line], relay->clients[line], allowed);
        allowed -= rate != 0 && down > 0 ? (size_t)down : 0;
      }
      if (up < 0 || down < 0 || must_break) {
        hang_up(relay, line);
      }
    }
  }
  return NULL;
}

static relay_t *start_relay(uint16_t target) {
  relay_t *relay = calloc(1, sizeof(*relay));
  relay->target = target;
  memset(relay->clients, -1, sizeof(relay->clients));
  memset(relay->stores, -1, sizeof(relay->stores));
  GOOD(hmci_socket_listen_tcp("127.0.0.1", 0, &relay->listener, &relay->port));
  assert_int_equal(pthread_create(&relay->thread, NULL, run_relay, relay), 0);
  return relay;
}

static void stop_relay(relay_t *relay) {
  atomic_store(&relay->is_over, true);
  pthread_join(relay->thread, NULL);
  for (int line = 0; line < LINES; line++) {
    if (relay->clients[line] >= 0) {
      hang_up(relay, line);
    }
  }
  close(relay->listener);
  free(relay);
}

static hmc_store_t *join_by(const relay_t *relay) {
  char by[64];
  hmc_store_t *store = NULL;
  snprintf(by, sizeof(by), "tcp://127.0.0.1:%u", relay->port);
  GOOD(hmc_store_connect(by, NULL, PATIENCE_MS, &store));
  return store;
}

/* ---- an outage under a thread that has not taken its answer ------------------------------------------------------ */

static sem_t is_asked, may_go;
static atomic_bool was_asked;

/* As a program whose answer to "shall the call end?" takes its time. */
static bool take_time(void) {
  if (!atomic_exchange(&was_asked, true)) {
    sem_post(&is_asked);
    sem_wait(&may_go);
  }
  return false;
}

typedef struct caller {
  hmc_store_t *store;
  hmc_store_lease_t *lease;
  hmc_store_watch_t *watch; /* started where there is no lease */
  hmc_status_t status;
} caller_t;

static void *set_or_watch(void *argument) {
  caller_t *caller = argument;
  hmc_state_of_thread()->stop = take_time;
  caller->status = caller->lease != NULL ? hmc_store_set(caller->store, "r/1", "x", 1, caller->lease, PATIENCE_MS)
                                         : hmc_store_watch_start(caller->store, "r/", PATIENCE_MS, &caller->watch);
  return NULL;
}

/* Its call succeeds, and the store goes and comes back empty before the calling thread is back. */
static hmc_store_server_t *lose_store_under(relay_t *relay, hmc_store_server_t *server, caller_t *caller) {
  pthread_t thread;
  sem_init(&is_asked, 0, 0);
  sem_init(&may_go, 0, 0);
  atomic_store(&was_asked, false);
  atomic_store(&relay->holds, true);
  assert_int_equal(pthread_create(&thread, NULL, set_or_watch, caller), 0);
  sem_wait(&is_asked);
  atomic_store(&relay->holds, false);
  assert_absent(caller->store, "none"); /* the answer before this one has come, too */
  hmc_store_server_stop(server);
  server = serve(relay->target, NULL);
  assert_absent(caller->store, "none"); /* it has all that the client puts back before it asks anything else */
  sem_post(&may_go);
  pthread_join(thread, NULL);
  assert_int_equal(caller->status, HMC_SUCCESS);
  return server;
}

static void what_was_set_comes_back(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(free_port(AF_INET), NULL);
  relay_t *relay = start_relay(hmc_store_server_port(server));
  caller_t caller = {.store = join_by(relay)};
  GOOD(hmc_store_lease_create(caller.store, 2000, 0, &caller.lease));
  server = lose_store_under(relay, server, &caller);
  assert_value(caller.store, "r/1", "x");
  hmc_store_close(caller.store);
  stop_relay(relay);
  hmc_store_server_stop(server);
}

static void what_is_watched_is_watched_on(void **state) {
  (void)state;
  hmc_store_event_t event;
  hmc_store_server_t *server = serve(free_port(AF_INET), NULL);
  relay_t *relay = start_relay(hmc_store_server_port(server));
  caller_t caller = {.store = join_by(relay)};
  server = lose_store_under(relay, server, &caller);
  assert_event(caller.watch, HMC_STORE_SYNCED, NULL, NULL);
  set(caller.store, "r/2", "y", NULL);
  GOOD(hmc_store_watch_next(caller.watch, &event, 10000));
  assert_int_equal(event.kind, HMC_STORE_PUT);
  assert_string_equal(event.key, "r/2");
  hmc_store_close(caller.store);
  stop_relay(relay);
  hmc_store_server_stop(server);
}

/* ---- a slow line ------------------------------------------------------------------------------------------------- */

static void count_key(const char *key, const void *value, size_t value_size, void *user) {
  (void)key, (void)value;
  *(size_t *)user += value_size;
}

/* A list that takes longer to come than heartbeats may go without an answer, and than the lease lasts. */
static void a_long_answer_is_a_sign_of_life(void **state) {
  (void)state;
  enum { VALUES = 6 };
  char key[24];
  size_t bytes = 0;
  uint8_t *value = calloc(1, HMC_STORE_VALUE_MAX);
  hmc_store_lease_t *lease = NULL;
  hmc_store_watch_t *watch = NULL;
  hmc_store_event_t event;
  hmc_store_server_t *server = serve(0, NULL);
  relay_t *relay = start_relay(hmc_store_server_port(server));
  hmc_store_t *near = join(), *far = join_by(relay);
  for (int i = 0; i < VALUES; i++) {
    snprintf(key, sizeof(key), "large/%d", i);
    GOOD(hmc_store_set(near, key, value, HMC_STORE_VALUE_MAX, NULL, PATIENCE_MS));
  }
  GOOD(hmc_store_lease_create(far, 1000, 0, &lease));
  set(far, "held/far", "x", lease);
  GOOD(hmc_store_watch_start(near, "held/", 0, &watch));
  assert_event(watch, HMC_STORE_PUT, "held/far", "x");
  assert_event(watch, HMC_STORE_SYNCED, NULL, NULL);
  atomic_store(&relay->rate, 1200);
  GOOD(hmc_store_list(far, "large/", count_key, &bytes, 20000));
  atomic_store(&relay->rate, 0);
  assert_int_equal(bytes, (size_t)VALUES * HMC_STORE_VALUE_MAX);
  FAILS(hmc_store_watch_next(watch, &event, 100), HMC_TIMEOUT, "held/");
  GOOD(hmc_store_lease_state(lease));
  hmc_store_close(far);
  hmc_store_close(near);
  stop_relay(relay);
  hmc_store_server_stop(server);
  free(value);
}

/* What has grown so that the store does not list it any more cannot be watched on after an outage, and the reader hears
 * so. */
static void a_watch_that_is_not_taken_up_again_says_so(void **state) {
  (void)state;
  enum { VALUES = 65 };
  char key[24];
  uint8_t *value = calloc(1, HMC_STORE_VALUE_MAX);
  hmc_store_watch_t *watch = NULL;
  hmc_store_event_t event;
  hmc_store_server_t *server = serve(0, NULL);
  relay_t *relay = start_relay(hmc_store_server_port(server));
  hmc_store_t *near = join(), *far = join_by(relay);
  GOOD(hmc_store_watch_start(far, "large/", 0, &watch));
  for (int i = 0; i < VALUES; i++) {
    snprintf(key, sizeof(key), "large/%d", i);
    GOOD(hmc_store_set(near, key, value, HMC_STORE_VALUE_MAX, NULL, PATIENCE_MS));
  }
  assert_absent(far, "none");
  assert_event(watch, HMC_STORE_SYNCED, NULL, NULL);
  for (int i = 0; i < VALUES; i++) {
    assert_event(watch, HMC_STORE_PUT, NULL, NULL);
  }
  atomic_store(&relay->breaks, true);
  FAILS(hmc_store_watch_next(watch, &event, PATIENCE_MS), HMC_OUT_OF_RANGE, "longer prefix");
  hmc_store_close(far);
  hmc_store_close(near);
  stop_relay(relay);
  hmc_store_server_stop(server);
  free(value);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(what_was_set_comes_back, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_watched_is_watched_on, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_long_answer_is_a_sign_of_life, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_watch_that_is_not_taken_up_again_says_so, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
