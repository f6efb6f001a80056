/* Tests of the store: what one server and a few clients do, without outages (those are in store_outage_test.c). */
#include "store_fixture.h"

#include <fcntl.h>
#include <hmc/state.h>
#include <sys/wait.h>

static void keys_are_set_read_and_removed(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *one = join(), *two = join();
  char small[2];
  size_t size = 0;
  set(one, "a", "first", NULL);
  assert_value(two, "a", "first");
  set(two, "a", "", NULL);
  assert_value(one, "a", "");
  set(one, "a", "third", NULL);
  FAILS(hmc_store_get(two, "a", small, sizeof(small), &size, 0), HMC_OUT_OF_RANGE, "5 B");
  assert_int_equal(size, 5);
  GOOD(hmc_store_delete(two, "a", 0));
  assert_absent(one, "a");
  FAILS(hmc_store_delete(one, "a", 0), HMC_NOT_FOUND, "\"a\"");
  hmc_store_close(one);
  hmc_store_close(two);
  hmc_store_server_stop(server);
}

static void large_values_arrive_whole(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  uint8_t *sent = malloc(HMC_STORE_VALUE_MAX), *got = malloc(HMC_STORE_VALUE_MAX);
  size_t size = 0;
  fill(sent, HMC_STORE_VALUE_MAX, 3);
  GOOD(hmc_store_set(store, "large", sent, HMC_STORE_VALUE_MAX, NULL, PATIENCE_MS));
  GOOD(hmc_store_get(store, "large", got, HMC_STORE_VALUE_MAX, &size, PATIENCE_MS));
  assert_int_equal(size, HMC_STORE_VALUE_MAX);
  assert_memory_equal(sent, got, size);
  FAILS(hmc_store_set(store, "larger", sent, HMC_STORE_VALUE_MAX + 1, NULL, 0), HMC_INVALID_CONFIG, "at most");
  free(sent);
  free(got);
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void bad_arguments_are_refused(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL), *second = NULL;
  hmc_store_t *store = join(), *none = NULL;
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  hmc_store_options_t unsized = {0};
  hmc_store_lease_t *lease = NULL;
  char key[HMC_STORE_KEY_MAX + 2];
  memset(key, 'k', sizeof(key));
  key[HMC_STORE_KEY_MAX + 1] = '\0';
  FAILS(hmc_store_set(store, key, "", 0, NULL, 0), HMC_INVALID_CONFIG, "too many bytes");
  FAILS(hmc_store_set(store, "", "", 0, NULL, 0), HMC_INVALID_CONFIG, "no bytes");
  FAILS(hmc_store_set(NULL, "k", "", 0, NULL, 0), HMC_INVALID_CONFIG, "no store");
  key[HMC_STORE_KEY_MAX] = '\0';
  GOOD(hmc_store_set(store, key, "", 0, NULL, 0));
  FAILS(hmc_store_lease_create(store, 99, 0, &lease), HMC_INVALID_CONFIG, "100");
  FAILS(hmc_store_barrier(store, "b", 0, 0), HMC_INVALID_CONFIG, "nobody");
  FAILS(hmc_store_gather(store, "b", 2, 2, "", 1, key, 0), HMC_INVALID_CONFIG, "index 2 of 2");
  FAILS(hmc_store_connect("udp://127.0.0.1:1", NULL, 0, &none), HMC_INVALID_CONFIG, "tcp://");
  FAILS(hmc_store_connect("tcp://127.0.0.1", NULL, 0, &none), HMC_INVALID_CONFIG, "IP:PORT");
  FAILS(hmc_store_connect("tcp://127.0.0.1:99999", NULL, 0, &none), HMC_INVALID_CONFIG, "IP:PORT");
  FAILS(hmc_store_connect(address, &unsized, 0, &none), HMC_INVALID_CONFIG, "INIT");
  options.port = hmc_store_server_port(server);
  assert_int_equal(hmc_store_server_start(&options, &second), HMC_ADDRESS_IN_USE);
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void counters_count(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  int64_t sum = 0;
  GOOD(hmc_store_add(store, "n", 5, &sum, 0));
  assert_int_equal(sum, 5);
  GOOD(hmc_store_add(store, "n", -7, &sum, 0));
  assert_int_equal(sum, -2);
  assert_value(store, "n", "-2");
  set(store, "text", "12 apples", NULL);
  FAILS(hmc_store_add(store, "text", 1, &sum, 0), HMC_CORRUPT, "not a number");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void a_swap_needs_what_it_expects(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  int swapped = -1;
  GOOD(hmc_store_compare_swap(store, "k", NULL, 0, "one", 3, NULL, &swapped, 0));
  assert_int_equal(swapped, 1);
  GOOD(hmc_store_compare_swap(store, "k", NULL, 0, "two", 3, NULL, &swapped, 0));
  assert_int_equal(swapped, 0);
  GOOD(hmc_store_compare_swap(store, "k", "on", 2, "two", 3, NULL, &swapped, 0));
  assert_int_equal(swapped, 0);
  GOOD(hmc_store_compare_swap(store, "k", "one", 3, "two", 3, NULL, &swapped, 0));
  assert_int_equal(swapped, 1);
  assert_value(store, "k", "two");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void note_key(const char *key, const void *value, size_t size, void *user) {
  char *text = user;
  size_t length = strlen(text);
  snprintf(text + length, 128 - length, "%s=%.*s ", key, (int)size, (const char *)value);
}

static void a_list_has_what_begins_with_the_prefix(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  char text[128] = "";
  set(store, "b/2", "y", NULL);
  set(store, "b/1", "x", NULL);
  set(store, "b", "w", NULL);
  set(store, "c", "z", NULL);
  GOOD(hmc_store_list(store, "b/", note_key, text, 0));
  assert_string_equal(text, "b/1=x b/2=y ");
  text[0] = '\0';
  GOOD(hmc_store_list(store, "", note_key, text, 0));
  assert_string_equal(text, "b=w b/1=x b/2=y c=z ");
  text[0] = '\0';
  GOOD(hmc_store_list(store, "d", note_key, text, 0));
  assert_string_equal(text, "");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

typedef struct job {
  pthread_t thread;
  uint32_t index, count;
  hmc_status_t status;
  int64_t sum;
  uint32_t all[64];
} job_t;

static void *wait_for_key(void *argument) {
  job_t *job = argument;
  hmc_store_t *store = join();
  char value[16];
  size_t size = 0;
  job->status = hmc_store_wait(store, "late", value, sizeof(value), &size, PATIENCE_MS);
  job->sum = (int64_t)size;
  hmc_store_close(store);
  return NULL;
}

static void a_wait_ends_when_the_key_comes(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  job_t job = {.index = 0};
  char value[8];
  FAILS(hmc_store_wait(store, "late", value, sizeof(value), NULL, 30), HMC_TIMEOUT, "in time");
  assert_int_equal(pthread_create(&job.thread, NULL, wait_for_key, &job), 0);
  sleep_ms(30);
  set(store, "late", "now", NULL);
  pthread_join(job.thread, NULL);
  assert_int_equal(job.status, HMC_SUCCESS);
  assert_int_equal(job.sum, 3);
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void *meet(void *argument) {
  job_t *job = argument;
  hmc_store_t *store = join();
  for (int round = 0; round < 20 && job->status == HMC_SUCCESS; round++) {
    uint32_t piece = job->index * 1000 + (uint32_t)round;
    job->status = hmc_store_add(store, "turns", 1, NULL, PATIENCE_MS);
    if (job->status == HMC_SUCCESS) {
      job->status = hmc_store_barrier(store, "turn", job->count, PATIENCE_MS);
    }
    if (job->status == HMC_SUCCESS) {
      job->status = hmc_store_add(store, "turns", 0, &job->sum, PATIENCE_MS);
    }
    if (job->status == HMC_SUCCESS && job->sum < (int64_t)job->count * (round + 1)) {
      job->status = HMC_ERROR; /* somebody went through who was not awaited */
    }
    if (job->status == HMC_SUCCESS) {
      job->status =
          hmc_store_gather(store, "pieces", job->count, job->index, &piece, sizeof(piece), job->all, PATIENCE_MS);
    }
    for (uint32_t i = 0; i < job->count && job->status == HMC_SUCCESS; i++) {
      job->status = job->all[i] == i * 1000 + (uint32_t)round ? HMC_SUCCESS : HMC_CORRUPT;
    }
  }
  hmc_store_close(store);
  return NULL;
}

static void all_meet_at_barriers_and_gathers(void **state) {
  (void)state;
  enum { MEMBERS = 12 };
  hmc_store_server_t *server = serve(0, NULL);
  job_t jobs[MEMBERS] = {0};
  for (uint32_t i = 0; i < MEMBERS; i++) {
    jobs[i].index = i;
    jobs[i].count = MEMBERS;
    assert_int_equal(pthread_create(&jobs[i].thread, NULL, meet, &jobs[i]), 0);
  }
  for (uint32_t i = 0; i < MEMBERS; i++) {
    pthread_join(jobs[i].thread, NULL);
    assert_int_equal(jobs[i].status, HMC_SUCCESS);
  }
  hmc_store_server_stop(server);
}

static void who_gives_up_is_not_counted(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  uint8_t piece = 1, all[2];
  FAILS(hmc_store_barrier(store, "b", 2, 30), HMC_TIMEOUT, "in time");
  FAILS(hmc_store_barrier(store, "b", 2, 30), HMC_TIMEOUT, "in time");
  FAILS(hmc_store_gather(store, "g", 2, 0, &piece, 1, all, 30), HMC_TIMEOUT, "in time");
  FAILS(hmc_store_gather(store, "g", 2, 0, &piece, 1, all, 30), HMC_TIMEOUT, "in time");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static bool always(void) { return true; }

/* Not even by one that comes as soon as the call has ended. */
static void who_is_cancelled_is_not_counted(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *one = join(), *two = join();
  for (int round = 0; round < 30; round++) {
    char name[16];
    snprintf(name, sizeof(name), "b%d", round);
    hmc_state_of_thread()->stop = always;
    FAILS(hmc_store_barrier(one, name, 2, PATIENCE_MS), HMC_CANCELLED, "cancelled");
    hmc_state_of_thread()->stop = NULL;
    FAILS(hmc_store_barrier(two, name, 2, 20), HMC_TIMEOUT, "in time");
  }
  hmc_store_close(one);
  hmc_store_close(two);
  hmc_store_server_stop(server);
}

static void a_watch_tells_what_is_and_what_comes(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *one = join(), *two = join();
  hmc_store_watch_t *watch = NULL;
  hmc_store_event_t event;
  set(one, "w/a", "1", NULL);
  set(one, "x", "1", NULL);
  GOOD(hmc_store_watch_start(two, "w/", 0, &watch));
  assert_event(watch, HMC_STORE_PUT, "w/a", "1");
  assert_event(watch, HMC_STORE_SYNCED, NULL, NULL);
  FAILS(hmc_store_watch_next(watch, &event, 20), HMC_TIMEOUT, "w/");
  set(one, "w/b", "2", NULL);
  assert_event(watch, HMC_STORE_PUT, "w/b", "2");
  set(one, "w/b", "2", NULL);
  assert_event(watch, HMC_STORE_PUT, "w/b", "2");
  GOOD(hmc_store_delete(one, "w/a", 0));
  assert_event(watch, HMC_STORE_DELETE, "w/a", NULL);
  hmc_store_watch_interrupt(watch);
  FAILS(hmc_store_watch_next(watch, &event, PATIENCE_MS), HMC_CANCELLED, "interrupted");
  hmc_store_watch_stop(watch);
  set(one, "w/c", "3", NULL);
  hmc_store_close(two);
  hmc_store_close(one);
  hmc_store_server_stop(server);
}

static void a_lease_ends_with_its_release_or_its_client(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *one = join(), *two = join();
  hmc_store_lease_t *lease = NULL, *other = NULL;
  GOOD(hmc_store_lease_create(one, 1000, 0, &lease));
  GOOD(hmc_store_lease_create(one, 1000, 0, &other));
  set(one, "l/1", "x", lease);
  set(one, "l/2", "x", other);
  assert_value(two, "l/1", "x");
  GOOD(hmc_store_lease_state(lease));
  FAILS(hmc_store_set(two, "l/3", "", 0, lease, 0), HMC_INVALID_CONFIG, "another client");
  hmc_store_lease_release(lease, 0);
  assert_absent(two, "l/1");
  assert_value(two, "l/2", "x");
  sleep_ms(1500); /* heartbeats keep it */
  assert_value(two, "l/2", "x");
  hmc_store_close(one);
  await_absent(two, "l/2");
  hmc_store_close(two);
  hmc_store_server_stop(server);
}

static void others_are_turned_away(void **state) {
  (void)state;
  hmc_store_t *store = NULL;
  setenv("HMC_SECRET", "the secret of the one side 4711", 1);
  hmc_store_server_t *server = serve(0, NULL);
  setenv("HMC_SECRET", "and that of the other side 0815", 1);
  FAILS(hmc_store_connect(address, NULL, PATIENCE_MS, &store), HMC_DENIED, "HMC_SECRET");
  unsetenv("HMC_SECRET");
  hmc_store_server_stop(server);
  FAILS(hmc_store_connect(address, NULL, 100, &store), HMC_TIMEOUT, "away");
}

static void a_full_store_says_so(void **state) {
  (void)state;
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  hmc_store_server_t *server = NULL;
  char value[2000] = "";
  options.memory_max = 4096;
  GOOD(hmc_store_server_start(&options, &server));
  snprintf(address, sizeof(address), "127.0.0.1:%u", hmc_store_server_port(server));
  hmc_store_t *store = join();
  GOOD(hmc_store_set(store, "1", value, sizeof(value), NULL, 0));
  FAILS(hmc_store_set(store, "2", value, sizeof(value), NULL, 0), HMC_NO_MEMORY, "full");
  GOOD(hmc_store_delete(store, "1", 0));
  GOOD(hmc_store_set(store, "2", value, sizeof(value), NULL, 0));
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void note_log(hmc_log_level_t level, const char *text, void *user) {
  (void)level;
  if (strstr(text, "HMC_STORE_CLIENTS") != NULL) {
    atomic_store((atomic_bool *)user, true);
  }
}

/* What neither the server's options nor a lease say comes from the settings. */
static void limits_and_heartbeats_are_settings(void **state) {
  (void)state;
  hmc_store_server_t *server = NULL;
  hmc_store_t *third = NULL;
  hmc_store_lease_t *lease = NULL;
  char value[4096] = "";
  atomic_bool is_told = false;
  setenv("HMC_STORE_MEMORY", "4K", 1);
  setenv("HMC_STORE_CLIENTS", "2", 1);
  setenv("HMC_STORE_GRACE", "10ms", 1);
  setenv("HMC_STORE_LEASE", "400ms", 1);
  setenv("HMC_STORE_HEARTBEAT", "3600s", 1); /* half of the lease's time, therefore */
  GOOD(hmc_store_server_start(NULL, &server));
  snprintf(address, sizeof(address), "127.0.0.1:%u", hmc_store_server_port(server));
  hmc_store_t *one = join(), *two = join();
  hmc_log_set_callback(note_log, &is_told);
  hmc_log_set_level(HMC_LOG_WARNING);
  FAILS(hmc_store_connect(address, NULL, 300, &third), HMC_TIMEOUT, "away");
  hmc_log_set_level(HMC_LOG_NONE);
  hmc_log_set_callback(NULL, NULL);
  assert_true(atomic_load(&is_told));
  FAILS(hmc_store_set(one, "full", value, sizeof(value), NULL, 0), HMC_NO_MEMORY, "HMC_STORE_MEMORY");
  GOOD(hmc_store_lease_create(one, 0, 0, &lease));
  assert_int_equal(hmc_store_lease_ttl(lease), 400);
  assert_int_equal(hmc_store_lease_ttl(NULL), 0);
  set(one, "held", "x", lease);
  sleep_ms(1200);
  assert_value(two, "held", "x");
  GOOD(hmc_store_lease_state(lease));
  hmc_store_close(one);
  await_absent(two, "held");
  GOOD(hmc_store_connect(address, NULL, PATIENCE_MS, &third)); /* there is room again */
  hmc_store_close(third);
  hmc_store_close(two);
  hmc_store_server_stop(server);
  setenv("HMC_STORE_LEASE", "3", 1);
  FAILS(hmc_store_connect(address, NULL, 100, &third), HMC_INVALID_CONFIG, "HMC_STORE_LEASE=3: a time needs its unit");
  for (size_t i = 0; i < 5; i++) {
    unsetenv((const char *const[]){"HMC_STORE_MEMORY", "HMC_STORE_CLIENTS", "HMC_STORE_GRACE", "HMC_STORE_LEASE",
                                   "HMC_STORE_HEARTBEAT"}[i]);
  }
}

/* The store sees the parent end although a child of it lives. */
static void a_child_keeps_no_connection(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  uint16_t port = hmc_store_server_port(server);
  hmc_store_t *store = join();
  int status;
  assert_int_equal(count_connections(port), 1);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(count_connections(port));
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  set(store, "after", "1", NULL);
  assert_value(store, "after", "1");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

enum { OWN = 32 };

/* What a child has opened since the fork has the numbers of the sockets that were closed with it. */
static int stop_in_child(hmc_store_server_t *server) {
  int own[OWN], lost = 0;
  alarm(20);
  for (int i = 0; i < OWN; i++) own[i] = dup(STDERR_FILENO);
  hmc_store_server_stop(server);
  for (int i = 0; i < OWN; i++) lost += fcntl(own[i], F_GETFD) < 0;
  return lost;
}

/* It has a copy of the server without its thread, and none of the server's sockets. */
static void a_child_leaves_the_server_alone(void **state) {
  (void)state;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  int status;
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    _exit(stop_in_child(server));
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  set(store, "after", "1", NULL);
  assert_value(store, "after", "1");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(keys_are_set_read_and_removed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(large_values_arrive_whole, set_up, tear_down),
      cmocka_unit_test_setup_teardown(bad_arguments_are_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(limits_and_heartbeats_are_settings, set_up, tear_down),
      cmocka_unit_test_setup_teardown(counters_count, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_swap_needs_what_it_expects, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_list_has_what_begins_with_the_prefix, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_wait_ends_when_the_key_comes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(all_meet_at_barriers_and_gathers, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_gives_up_is_not_counted, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_is_cancelled_is_not_counted, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_watch_tells_what_is_and_what_comes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_lease_ends_with_its_release_or_its_client, set_up, tear_down),
      cmocka_unit_test_setup_teardown(others_are_turned_away, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_child_keeps_no_connection, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_child_leaves_the_server_alone, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_full_store_says_so, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
