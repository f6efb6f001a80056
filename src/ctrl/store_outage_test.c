/* Tests of the store in bad weather: it goes and comes back, with a journal and without; clients die or are stopped. */
#include "store_fixture.h"

#include "../base/descriptors_fixture.h"

#include <fcntl.h>
#include <hmc/state.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void forget_journal(void) { unlink(journal); }

static bool is_there(hmc_store_t *store, const char *key) {
  char value[8];
  return hmc_store_get(store, key, value, sizeof(value), NULL, PATIENCE_MS) == HMC_SUCCESS;
}

static void with_a_journal_all_is_back(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  hmc_store_server_t *server = serve(port, NULL);
  hmc_store_server_stop(server);
  server = serve(port, journal);
  hmc_store_t *store = join();
  hmc_store_lease_t *lease = NULL;
  int64_t sum = 0;
  GOOD(hmc_store_lease_create(store, 2000, 0, &lease));
  set(store, "leased", "x", lease);
  set(store, "free", "y", NULL);
  set(store, "gone", "z", NULL);
  GOOD(hmc_store_delete(store, "gone", 0));
  GOOD(hmc_store_add(store, "n", 3, NULL, 0));
  hmc_store_server_stop(server);
  FAILS(hmc_store_set(store, "free", "y", 1, NULL, 50), HMC_TIMEOUT, "away");
  server = serve(port, journal);
  assert_value(store, "free", "y");
  assert_value(store, "leased", "x");
  assert_absent(store, "gone");
  GOOD(hmc_store_add(store, "n", 1, &sum, 0));
  assert_int_equal(sum, 4);
  GOOD(hmc_store_lease_state(lease));
  hmc_store_close(store);
  hmc_store_server_stop(server);
  forget_journal();
}

static void without_a_journal_leases_are_put_back(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  hmc_store_server_t *server = serve(port, NULL);
  hmc_store_t *one = join(), *two = join();
  hmc_store_lease_t *lease = NULL, *other = NULL;
  hmc_store_watch_t *watch = NULL;
  GOOD(hmc_store_lease_create(one, 2000, 0, &lease));
  GOOD(hmc_store_lease_create(two, 2000, 0, &other));
  set(one, "m/1", "x", lease);
  set(two, "m/2", "y", other);
  set(one, "m/3", "z", NULL);
  GOOD(hmc_store_watch_start(one, "m/", 0, &watch));
  assert_event(watch, HMC_STORE_PUT, "m/1", "x");
  assert_event(watch, HMC_STORE_PUT, "m/2", "y");
  assert_event(watch, HMC_STORE_PUT, "m/3", "z");
  assert_event(watch, HMC_STORE_SYNCED, NULL, NULL);
  hmc_store_server_stop(server);
  server = serve(port, NULL);
  assert_value(one, "m/1", "x");
  assert_absent(one, "m/3");
  assert_event(watch, HMC_STORE_DELETE, "m/3", NULL); /* and of the two others nothing: they never went */
  assert_value(one, "m/2", "y");
  GOOD(hmc_store_lease_state(lease));
  GOOD(hmc_store_lease_state(other));
  hmc_store_watch_stop(watch);
  hmc_store_close(one);
  hmc_store_close(two);
  hmc_store_server_stop(server);
}

/* What is put back is the counter as it stands. */
static void a_counter_comes_back_with_its_lease(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  hmc_store_server_t *server = serve(port, NULL);
  hmc_store_t *store = join();
  hmc_store_lease_t *lease = NULL;
  int64_t sum = 0;
  GOOD(hmc_store_lease_create(store, 2000, 0, &lease));
  set(store, "n", "5", lease);
  GOOD(hmc_store_add(store, "n", 37, &sum, 0));
  GOOD(hmc_store_add(store, "other", 1, &sum, 0));
  hmc_store_server_stop(server);
  server = serve(port, NULL);
  assert_value(store, "n", "42");
  assert_absent(store, "other");
  hmc_store_lease_release(lease, 0);
  assert_absent(store, "n");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static bool always(void) { return true; }

/* The program gives up waiting for the store, which is away; another lease goes on. */
static void a_release_that_is_cancelled_counts(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  snprintf(journal, sizeof(journal), "%s/journal", folder);
  hmc_store_server_t *server = serve(port, journal);
  hmc_store_t *store = join();
  hmc_store_lease_t *lease = NULL, *other = NULL;
  GOOD(hmc_store_lease_create(store, 1000, 0, &lease));
  GOOD(hmc_store_lease_create(store, 1000, 0, &other));
  set(store, "gone", "x", lease);
  set(store, "stays", "y", other);
  hmc_store_server_stop(server);
  hmc_state_of_thread()->stop = always;
  hmc_store_lease_release(lease, PATIENCE_MS);
  hmc_state_of_thread()->stop = NULL;
  server = serve(port, journal);
  assert_value(store, "stays", "y");
  for (int i = 0; i < 5000 && is_there(store, "gone"); i++) {
    sleep_ms(1);
  }
  assert_absent(store, "gone");
  assert_value(store, "stays", "y");
  hmc_store_close(store);
  hmc_store_server_stop(server);
  forget_journal();
}

/* While a store waits for keys to be put back it goes once more: nobody is reported to be dead. */
static void a_second_outage_is_no_death(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  hmc_store_server_t *server = serve(port, NULL);
  hmc_store_t *one = join(), *two = join();
  hmc_store_lease_t *lease = NULL;
  hmc_store_watch_t *watch = NULL;
  hmc_store_event_t event;
  GOOD(hmc_store_lease_create(one, 2000, 0, &lease));
  set(one, "m/1", "x", lease);
  GOOD(hmc_store_watch_start(two, "m/", 0, &watch));
  assert_event(watch, HMC_STORE_PUT, "m/1", "x");
  assert_event(watch, HMC_STORE_SYNCED, NULL, NULL);
  hmc_store_server_stop(server);
  server = serve(port, NULL);
  assert_value(one, "m/1", "x");
  assert_value(two, "m/1", "x");
  hmc_store_server_stop(server);
  sleep_ms(3500); /* longer than keys have to come back */
  server = serve(port, NULL);
  assert_value(one, "m/1", "x");
  assert_value(two, "m/1", "x");
  FAILS(hmc_store_watch_next(watch, &event, 500), HMC_TIMEOUT, "m/");
  GOOD(hmc_store_lease_state(lease));
  hmc_store_watch_stop(watch);
  hmc_store_close(one);
  hmc_store_close(two);
  hmc_store_server_stop(server);
}

static void *await_key(void *store) {
  char value[8];
  return (void *)(uintptr_t)hmc_store_wait(store, "k", value, sizeof(value), NULL, 3000);
}

/* Calls that wait for a store that is away leave the processor to others. */
static void who_waits_for_a_store_is_at_rest(void **state) {
  (void)state;
  pthread_t thread;
  void *status;
  hmc_store_server_t *server = serve(0, NULL);
  hmc_store_t *store = join();
  hmc_store_server_stop(server);
  assert_int_equal(pthread_create(&thread, NULL, await_key, store), 0);
  sleep_ms(100);
  assert_true(is_at_rest(400));
  pthread_join(thread, &status);
  assert_int_equal((uintptr_t)status, HMC_TIMEOUT);
  hmc_store_close(store);
}

/* A host that does not take connections: its queue is full. */
static void connecting_ends_by_its_deadline(void **state) {
  (void)state;
  enum { CALLERS = 4 };
  int callers[CALLERS], listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof(where);
  hmc_store_t *store = NULL;
  assert_int_equal(bind(listener, (struct sockaddr *)&where, sizeof(where)), 0);
  assert_int_equal(listen(listener, 0), 0);
  assert_int_equal(getsockname(listener, (struct sockaddr *)&where, &size), 0);
  for (int i = 0; i < CALLERS; i++) {
    callers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    HMC_IGNORE(connect(callers[i], (struct sockaddr *)&where, sizeof(where)));
  }
  snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", ntohs(where.sin_port));
  uint64_t begin = hmci_now();
  FAILS(hmc_store_connect(address, NULL, 200, &store), HMC_TIMEOUT, "away");
  assert_true(hmci_now() - begin < 2000 * MS);
  for (int i = 0; i < CALLERS; i++) {
    close(callers[i]);
  }
  close(listener);
}

typedef struct worker {
  pthread_t thread;
  uint32_t index;
  hmc_status_t status;
  char text[200];
} worker_t;

enum { WORKERS = 4, ROUNDS = 60, WORDS = 16 }; /* pieces so large that a journal has the answer once for all */

static void *work(void *argument) {
  worker_t *worker = argument;
  hmc_store_t *store = join();
  for (uint32_t round = 0; round < ROUNDS && worker->status == HMC_SUCCESS; round++) {
    uint32_t all[WORKERS * WORDS], piece[WORDS] = {worker->index + round};
    worker->status = hmc_store_add(store, "work", 1, NULL, PATIENCE_MS);
    if (worker->status == HMC_SUCCESS) {
      worker->status = hmc_store_gather(store, "round", WORKERS, worker->index, piece, sizeof(piece), all, PATIENCE_MS);
    }
    for (uint32_t i = 0; i < WORKERS && worker->status == HMC_SUCCESS; i++) {
      worker->status = all[(size_t)i * WORDS] == i + round ? HMC_SUCCESS : HMC_CORRUPT;
    }
  }
  snprintf(worker->text, sizeof(worker->text), "%.199s", hmc_last_error());
  hmc_store_close(store);
  return NULL;
}

/* Every addition counts once, and no gather is torn, although the server goes away again and again under them. */
static void each_request_takes_effect_once(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  hmc_store_server_t *server = serve(port, NULL);
  hmc_store_server_stop(server);
  server = serve(port, journal);
  worker_t workers[WORKERS] = {0};
  hmc_store_t *store = join();
  int64_t sum = 0;
  for (uint32_t i = 0; i < WORKERS; i++) {
    workers[i].index = i;
    assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (int64_t seen = 0; seen < WORKERS * ROUNDS;) {
    hmc_store_server_stop(server);
    server = serve(port, journal);
    GOOD(hmc_store_add(store, "work", 0, &sum, PATIENCE_MS));
    seen = sum > seen + 20 ? sum : seen + 20;
  }
  for (uint32_t i = 0; i < WORKERS; i++) {
    pthread_join(workers[i].thread, NULL);
    if (workers[i].status != HMC_SUCCESS) {
      fail_msg("worker %u: %s: %s", i, hmc_status_name(workers[i].status), workers[i].text);
    }
  }
  GOOD(hmc_store_add(store, "work", 0, &sum, PATIENCE_MS));
  assert_int_equal(sum, WORKERS * ROUNDS);
  hmc_store_close(store);
  hmc_store_server_stop(server);
  forget_journal();
}

typedef struct member {
  pid_t process;
  int orders, answers; /* pipes */
} member_t;

/* A process that will hold a leased key. Made before this one has threads: the allocator of a sanitizer does not survive
 * a fork beside them. */
static member_t fork_member(const char *key) {
  int orders[2], answers[2];
  assert_true(pipe(orders) == 0 && pipe(answers) == 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    hmc_store_t *store = NULL;
    hmc_store_lease_t *lease = NULL;
    if (read(orders[0], address, sizeof(address)) != sizeof(address) ||
        hmc_store_connect(address, NULL, PATIENCE_MS, &store) != HMC_SUCCESS ||
        hmc_store_lease_create(store, 1500, 0, &lease) != HMC_SUCCESS ||
        hmc_store_set(store, key, "child", 5, lease, 0) != HMC_SUCCESS || write(answers[1], "x", 1) != 1) {
      _exit(1);
    }
    for (;;) {
      pause();
    }
  }
  close(orders[0]);
  close(answers[1]);
  return (member_t){child, orders[1], answers[0]};
}

/* It joins the store that is served now, and has its key when this returns. */
static pid_t start_member(const member_t *member) {
  char byte;
  assert_int_equal(write(member->orders, address, sizeof(address)), sizeof(address));
  assert_int_equal(read(member->answers, &byte, 1), 1);
  close(member->orders);
  close(member->answers);
  return member->process;
}

static void who_dies_is_noticed(void **state) {
  (void)state;
  member_t member = fork_member("d/1");
  hmc_store_server_t *server = serve(0, NULL);
  pid_t child = start_member(&member);
  hmc_store_t *store = join();
  assert_value(store, "d/1", "child");
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  await_absent(store, "d/1");
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

static void who_was_stopped_takes_its_keys_up_again(void **state) {
  (void)state;
  member_t member = fork_member("s/1");
  hmc_store_server_t *server = serve(0, NULL);
  pid_t child = start_member(&member);
  hmc_store_t *store = join();
  char value[8];
  kill(child, SIGSTOP);
  await_absent(store, "s/1");
  kill(child, SIGCONT);
  GOOD(hmc_store_wait(store, "s/1", value, sizeof(value), NULL, PATIENCE_MS));
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  hmc_store_close(store);
  hmc_store_server_stop(server);
}

/* A process that serves a store, until it is killed. Made before this one has threads, as above. */
static pid_t fork_server(void) {
  int answers[2];
  assert_int_equal(pipe(answers), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(0, NULL);
    if (write(answers[1], address, sizeof(address)) != sizeof(address)) {
      _exit(1);
    }
    for (;;) {
      pause();
    }
  }
  close(answers[1]);
  assert_int_equal(read(answers[0], address, sizeof(address)), sizeof(address));
  close(answers[0]);
  return child;
}

/* What the clients sent while the server was stopped counts when it goes on. */
static void a_server_that_was_stopped_ends_no_leases(void **state) {
  (void)state;
  pid_t server = fork_server();
  hmc_store_t *store = join(), *other = join();
  hmc_store_lease_t *lease = NULL;
  hmc_store_watch_t *watch = NULL;
  hmc_store_event_t event;
  GOOD(hmc_store_lease_create(store, 1000, 0, &lease));
  set(store, "p/1", "x", lease);
  GOOD(hmc_store_watch_start(other, "p/", 0, &watch));
  assert_event(watch, HMC_STORE_PUT, "p/1", "x");
  assert_event(watch, HMC_STORE_SYNCED, NULL, NULL);
  for (int i = 0; i < 3; i++) {
    kill(server, SIGSTOP);
    sleep_ms(1500);
    kill(server, SIGCONT);
    sleep_ms(200);
  }
  FAILS(hmc_store_watch_next(watch, &event, 500), HMC_TIMEOUT, "p/");
  hmc_store_watch_stop(watch);
  hmc_store_close(store);
  hmc_store_close(other);
  kill(server, SIGKILL);
  assert_int_equal(waitpid(server, NULL, 0), server);
}

static void a_lease_whose_key_was_taken_is_lost(void **state) {
  (void)state;
  uint16_t port = free_port(AF_INET);
  hmc_store_server_t *server = serve(port, NULL);
  hmc_store_t *store = join();
  hmc_store_lease_t *lease = NULL;
  GOOD(hmc_store_lease_create(store, 2000, 0, &lease));
  set(store, "rank/0", "first", lease);
  hmc_store_server_stop(server);
  snprintf(journal, sizeof(journal), "%s/journal", folder);
  server = serve(0, journal); /* elsewhere, so that the first client does not come in */
  hmc_store_t *thief = join();
  set(thief, "rank/0", "second", NULL);
  hmc_store_close(thief);
  hmc_store_server_stop(server);
  server = serve(port, journal);
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < PATIENCE_MS && status == HMC_SUCCESS; i++) {
    sleep_ms(1);
    status = hmc_store_lease_state(lease);
  }
  FAILS(status, HMC_STALE, "rank/0");
  FAILS(hmc_store_set(store, "rank/0", "x", 1, lease, 0), HMC_STALE, "lost");
  assert_value(store, "rank/0", "second");
  hmc_store_lease_release(lease, 0);
  hmc_store_close(store);
  hmc_store_server_stop(server);
  forget_journal();
}

static void a_torn_journal_is_read_as_far_as_it_is_whole(void **state) {
  (void)state;
  snprintf(journal, sizeof(journal), "%s/journal", folder);
  hmc_store_server_t *server = serve(0, journal);
  hmc_store_t *store = join();
  set(store, "a", "1", NULL);
  hmc_store_close(store);
  hmc_store_server_stop(server);
  int descriptor = open(journal, O_WRONLY | O_APPEND | O_CLOEXEC);
  assert_int_equal(write(descriptor, "HMC1\1\0", 6), 6);
  close(descriptor);
  server = serve(0, journal);
  store = join();
  assert_value(store, "a", "1");
  hmc_store_close(store);
  hmc_store_server_t *second = NULL;
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  options.journal = journal;
  FAILS(hmc_store_server_start(&options, &second), HMC_ADDRESS_IN_USE, "another server");
  hmc_store_server_stop(server);
  descriptor = open(journal, O_WRONLY | O_TRUNC | O_CLOEXEC);
  assert_int_equal(write(descriptor, "something else", 14), 14);
  close(descriptor);
  FAILS(hmc_store_server_start(&options, &second), HMC_CORRUPT, "not a journal");
  forget_journal();
}

static off_t size_of_journal(void) {
  struct stat file;
  assert_int_equal(stat(journal, &file), 0);
  return file.st_size;
}

enum { GATHERERS = 16, PIECE = 32 << 10 };

static void *gather(void *index) {
  hmc_store_t *store = join();
  static const char piece[PIECE];
  char *all = malloc(GATHERERS * PIECE);
  hmc_status_t status =
      hmc_store_gather(store, "g", GATHERERS, (uint32_t)(uintptr_t)index, piece, PIECE, all, PATIENCE_MS);
  free(all);
  hmc_store_close(store);
  return (void *)(uintptr_t)status;
}

/* Who got an answer may ask for it again: it is kept, once for all of them. */
static void what_many_gathered_is_written_once(void **state) {
  (void)state;
  pthread_t threads[GATHERERS];
  snprintf(journal, sizeof(journal), "%s/journal", folder);
  hmc_store_server_t *server = serve(0, journal);
  for (uintptr_t i = 0; i < GATHERERS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, gather, (void *)i), 0);
  }
  for (int i = 0; i < GATHERERS; i++) {
    void *status = NULL;
    pthread_join(threads[i], &status);
    assert_null(status);
  }
  hmc_store_server_stop(server);
  assert_true(size_of_journal() >= GATHERERS * PIECE);
  for (int i = 0; i < 2; i++) { /* it is written again when the server starts */
    server = serve(0, journal);
    hmc_store_server_stop(server);
    assert_in_range(size_of_journal(), GATHERERS * PIECE, GATHERERS * PIECE * 2);
  }
  forget_journal();
}

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* As a disk that is full does, but without ending this process by SIGXFSZ. */
static void a_full_disk_refuses_what_it_cannot_keep(void **state) {
  (void)state;
  enum { LIMIT = 64 << 10, VALUE = 1000, KEPT = 40 };
  static const char value[LIMIT];
  char key[16];
  snprintf(journal, sizeof(journal), "%s/journal", folder);
  hmc_store_server_t *server = serve(0, journal);
  hmc_store_t *store = join();
  int descriptors = open_descriptors();
  limit_files(LIMIT);
  for (int i = 0; i < 10 * LIMIT / VALUE; i++) { /* what is written over makes room */
    GOOD(hmc_store_set(store, "again", value, VALUE, NULL, PATIENCE_MS));
  }
  for (int i = 0; i < KEPT; i++) {
    snprintf(key, sizeof(key), "%d", i);
    GOOD(hmc_store_set(store, key, value, VALUE, NULL, PATIENCE_MS));
  }
  FAILS(hmc_store_set(store, "large", value, LIMIT, NULL, PATIENCE_MS), HMC_ERROR, "takes no record: File too large");
  assert_absent(store, "large");
  set(store, "small", "fits", NULL);
  hmc_store_close(store);
  hmc_store_server_stop(server);
  limit_files(size_of_journal() / 2); /* it can be read, but not written again */
  server = serve(0, journal);
  store = join();
  assert_int_equal(open_descriptors(), descriptors);
  assert_value(store, "small", "fits");
  FAILS(hmc_store_set(store, "more", value, 1, NULL, PATIENCE_MS), HMC_ERROR, "takes no record: File too large");
  FAILS(hmc_store_delete(store, "0", PATIENCE_MS), HMC_ERROR, "takes no record: File too large");
  limit_files(4);
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  hmc_store_server_t *second = NULL;
  char fresh[96];
  snprintf(fresh, sizeof(fresh), "%s/fresh", folder);
  options.journal = fresh;
  FAILS(hmc_store_server_start(&options, &second), HMC_INVALID_CONFIG, "cannot be written: File too large");
  unlink(fresh);
  assert_int_equal(open_descriptors(), descriptors);
  limit_files(RLIM_INFINITY);
  set(store, "more", "fits", NULL);
  hmc_store_close(store);
  hmc_store_server_stop(server);
  limit_files(4); /* not even the head of a new one */
  server = serve(0, journal);
  store = join();
  assert_int_equal(open_descriptors(), descriptors);
  assert_value(store, "more", "fits");
  limit_files(RLIM_INFINITY);
  hmc_store_close(store);
  hmc_store_server_stop(server);
  forget_journal();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(with_a_journal_all_is_back, set_up, tear_down),
      cmocka_unit_test_setup_teardown(without_a_journal_leases_are_put_back, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_counter_comes_back_with_its_lease, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_release_that_is_cancelled_counts, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_second_outage_is_no_death, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_waits_for_a_store_is_at_rest, set_up, tear_down),
      cmocka_unit_test_setup_teardown(connecting_ends_by_its_deadline, set_up, tear_down),
      cmocka_unit_test_setup_teardown(each_request_takes_effect_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_dies_is_noticed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(who_was_stopped_takes_its_keys_up_again, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_server_that_was_stopped_ends_no_leases, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_lease_whose_key_was_taken_is_lost, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_torn_journal_is_read_as_far_as_it_is_whole, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_many_gathered_is_written_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_full_disk_refuses_what_it_cannot_keep, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
