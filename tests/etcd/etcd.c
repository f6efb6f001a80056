/* The store over etcd: every call of hmc/store.h, a load that may not do anything twice, and an outage. See etcd.py.
 *
 * usage: etcd_store calls|rolling|load|outage ADDRESS */
#include "rest.h"

#include <hmc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 60000, CLIENTS = 4, ADDS = 60, MEETERS = 6, LEASES = 16 };

static const char *address;

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, hmc_last_error());                            \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

static hmc_store_t *join_store(void) {
  hmc_store_options_t options = HMC_STORE_OPTIONS_INIT;
  hmc_store_t *store = NULL;
  options.timeout_ms = PATIENCE_MS;
  CHECK(hmc_store_connect(address, &options, PATIENCE_MS, &store) == HMC_SUCCESS);
  return store;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static void note_key(const char *key, const void *value, size_t size, void *user) {
  char *text = user;
  snprintf(text + strlen(text), 200 - strlen(text), "%s=%.*s ", key, (int)size, (const char *)value);
}

static void keys(hmc_store_t *store) {
  char value[64], all[200] = "";
  size_t size = 0;
  int64_t sum = 0;
  int swapped = 2;
  CHECK(hmc_store_get(store, "a", value, sizeof(value), &size, 0) == HMC_NOT_FOUND);
  CHECK(hmc_store_set(store, "a/1", "one", 3, NULL, 0) == HMC_SUCCESS);
  CHECK(hmc_store_set(store, "a/2", "", 0, NULL, 0) == HMC_SUCCESS);
  CHECK(hmc_store_set(store, "b", "\0\xff\n", 3, NULL, 0) == HMC_SUCCESS);
  CHECK(hmc_store_get(store, "b", value, sizeof(value), &size, 0) == HMC_SUCCESS && size == 3);
  CHECK(memcmp(value, "\0\xff\n", 3) == 0);
  CHECK(hmc_store_get(store, "a/1", value, 2, &size, 0) == HMC_OUT_OF_RANGE && size == 3);
  CHECK(hmc_store_get(store, "a/2", value, sizeof(value), &size, 0) == HMC_SUCCESS && size == 0);
  CHECK(hmc_store_list(store, "a/", note_key, all, 0) == HMC_SUCCESS);
  CHECK(strcmp(all, "a/1=one a/2= ") == 0);
  CHECK(hmc_store_compare_swap(store, "c", NULL, 0, "x", 1, NULL, &swapped, 0) == HMC_SUCCESS && swapped == 1);
  CHECK(hmc_store_compare_swap(store, "c", NULL, 0, "y", 1, NULL, &swapped, 0) == HMC_SUCCESS && swapped == 0);
  CHECK(hmc_store_compare_swap(store, "c", "z", 1, "y", 1, NULL, &swapped, 0) == HMC_SUCCESS && swapped == 0);
  CHECK(hmc_store_compare_swap(store, "c", "x", 1, "y", 1, NULL, &swapped, 0) == HMC_SUCCESS && swapped == 1);
  CHECK(hmc_store_add(store, "n", 5, &sum, 0) == HMC_SUCCESS && sum == 5);
  CHECK(hmc_store_add(store, "n", -7, &sum, 0) == HMC_SUCCESS && sum == -2);
  CHECK(hmc_store_add(store, "c", 1, &sum, 0) == HMC_CORRUPT);
  CHECK(hmc_store_delete(store, "c", 0) == HMC_SUCCESS && hmc_store_delete(store, "c", 0) == HMC_NOT_FOUND);
  CHECK(hmc_store_wait(store, "c", value, sizeof(value), &size, 300) == HMC_TIMEOUT);
  char *large = calloc(1, HMC_STORE_VALUE_MAX), *back = malloc(HMC_STORE_VALUE_MAX);
  large[12345] = 7;
  CHECK(hmc_store_set(store, "large", large, HMC_STORE_VALUE_MAX, NULL, 0) == HMC_SUCCESS);
  CHECK(hmc_store_get(store, "large", back, HMC_STORE_VALUE_MAX, &size, 0) == HMC_SUCCESS);
  CHECK(size == HMC_STORE_VALUE_MAX && memcmp(large, back, size) == 0);
  free(large);
  free(back);
}

static void *set_later(void *argument) {
  hmc_store_t *other = argument;
  usleep(200000);
  CHECK(hmc_store_set(other, "late", "here", 4, NULL, 0) == HMC_SUCCESS);
  return NULL;
}

static void waits(hmc_store_t *store, hmc_store_t *other) {
  pthread_t thread;
  char value[16];
  size_t size;
  CHECK(pthread_create(&thread, NULL, set_later, other) == 0);
  CHECK(hmc_store_wait(store, "late", value, sizeof(value), &size, 0) == HMC_SUCCESS && size == 4);
  pthread_join(thread, NULL);
}

/* ---- leases and watches ------------------------------------------------------------------------------------------ */

static void expect(hmc_store_watch_t *watch, hmc_store_event_kind_t kind, const char *key, const char *value) {
  hmc_store_event_t event;
  CHECK(hmc_store_watch_next(watch, &event, PATIENCE_MS) == HMC_SUCCESS);
  CHECK(event.kind == kind && (key == NULL || strcmp(event.key, key) == 0));
  CHECK(value == NULL || (event.value_size == strlen(value) && memcmp(event.value, value, event.value_size) == 0));
}

static _Noreturn void hold_and_die(void) {
  hmc_store_t *store = join_store();
  hmc_store_lease_t *lease;
  CHECK(hmc_store_lease_create(store, 1000, 0, &lease) == HMC_SUCCESS);
  CHECK(hmc_store_set(store, "held/child", "c", 1, lease, 0) == HMC_SUCCESS);
  kill(getpid(), SIGKILL);
  exit(1);
}

static void leases(hmc_store_t *store, hmc_store_t *other) {
  hmc_store_lease_t *lease;
  hmc_store_watch_t *watch;
  hmc_store_event_t event;
  int swapped;
  CHECK(hmc_store_set(store, "held/old", "o", 1, NULL, 0) == HMC_SUCCESS);
  CHECK(hmc_store_watch_start(other, "held/", 0, &watch) == HMC_SUCCESS);
  expect(watch, HMC_STORE_PUT, "held/old", "o");
  expect(watch, HMC_STORE_SYNCED, NULL, NULL);
  CHECK(hmc_store_watch_next(watch, &event, 100) == HMC_TIMEOUT);
  CHECK(hmc_store_lease_create(store, 4000, 0, &lease) == HMC_SUCCESS);
  CHECK(hmc_store_compare_swap(store, "held/mine", NULL, 0, "m", 1, lease, &swapped, 0) == HMC_SUCCESS && swapped);
  expect(watch, HMC_STORE_PUT, "held/mine", "m");
  sleep(9); /* longer than the lease: it is kept */
  CHECK(hmc_store_lease_state(lease) == HMC_SUCCESS);
  CHECK(hmc_store_watch_next(watch, &event, 100) == HMC_TIMEOUT);
  pid_t child = fork_at_rest();
  if (child == 0) {
    hold_and_die();
  }
  expect(watch, HMC_STORE_PUT, "held/child", "c");
  CHECK(waitpid(child, NULL, 0) == child);
  expect(watch, HMC_STORE_DELETE, "held/child", NULL);
  hmc_store_lease_release(lease, 0);
  expect(watch, HMC_STORE_DELETE, "held/mine", NULL);
  hmc_store_watch_interrupt(watch);
  CHECK(hmc_store_watch_next(watch, &event, 0) == HMC_CANCELLED);
  CHECK(hmc_store_delete(store, "held/old", 0) == HMC_SUCCESS);
  expect(watch, HMC_STORE_DELETE, "held/old", NULL);
  hmc_store_watch_stop(watch);
}

/* ---- meeting ----------------------------------------------------------------------------------------------------- */

static void meet(uint32_t index) {
  hmc_store_t *store = join_store();
  for (int round = 0; round < 5; round++) {
    char mine[32], all[MEETERS * 32];
    CHECK(hmc_store_barrier(store, "all come", MEETERS, 0) == HMC_SUCCESS);
    snprintf(mine, sizeof(mine), "%u of %d", index, round);
    CHECK(hmc_store_gather(store, "all tell", MEETERS, index, mine, sizeof(mine), all, 0) == HMC_SUCCESS);
    for (uint32_t i = 0; i < MEETERS; i++) {
      snprintf(mine, sizeof(mine), "%u of %d", i, round);
      CHECK(strcmp(all + (size_t)i * 32, mine) == 0);
    }
  }
  hmc_store_close(store);
  exit(0);
}

static void *come_too_early(void *argument) {
  CHECK(hmc_store_barrier(argument, "three", 3, PATIENCE_MS) == HMC_SUCCESS);
  return NULL;
}

/* A caller whose deadline passes, and one that dies, are taken out again. */
static void who_goes_is_not_counted(hmc_store_t *store, hmc_store_t *other) {
  CHECK(hmc_store_barrier(store, "three", 3, 500) == HMC_TIMEOUT);
  pid_t child = fork_at_rest();
  if (child == 0) {
    alarm(3); /* dies while it waits */
    HMC_IGNORE(hmc_store_barrier(join_store(), "three", 3, PATIENCE_MS));
    exit(1);
  }
  CHECK(waitpid(child, NULL, 0) == child);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, come_too_early, other) == 0);
  sleep(12); /* longer than a client's own lease */
  pthread_t second;
  hmc_store_t *third = join_store();
  CHECK(pthread_create(&second, NULL, come_too_early, third) == 0);
  CHECK(hmc_store_barrier(store, "three", 3, 0) == HMC_SUCCESS);
  pthread_join(thread, NULL);
  pthread_join(second, NULL);
  hmc_store_close(third);
}

static void await_all(pid_t *children, int count) {
  bool good = true;
  for (int i = 0; i < count; i++) {
    int status = 0;
    CHECK(waitpid(children[i], &status, 0) == children[i]);
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  CHECK(good);
}

static void calls(void) {
  pid_t children[MEETERS];
  hmc_store_t *store = join_store(), *other = join_store(), *none;
  keys(store);
  waits(store, other);
  leases(store, other);
  for (uint32_t i = 0; i < MEETERS; i++) {
    children[i] = fork_at_rest();
    if (children[i] == 0) {
      meet(i);
    }
  }
  await_all(children, MEETERS);
  CHECK(hmc_store_barrier(store, "alone", 1, 0) == HMC_SUCCESS);
  who_goes_is_not_counted(store, other);
  hmc_store_close(store);
  hmc_store_close(other);
  CHECK(hmc_store_connect("etcd://127.0.0.1:1", NULL, 500, &none) == HMC_TIMEOUT);
  CHECK(strstr(hmc_last_error(), "127.0.0.1:1") != NULL);
  CHECK(hmc_store_connect("etcd://nowhere", NULL, 500, &none) == HMC_INVALID_CONFIG);
}

/* ---- load -------------------------------------------------------------------------------------------------------- */

static void add_and_meet(uint32_t index, atomic_int *done) {
  hmc_store_t *store = join_store();
  hmc_store_lease_t *lease;
  char name[32];
  CHECK(hmc_store_lease_create(store, 3000, 0, &lease) == HMC_SUCCESS);
  snprintf(name, sizeof(name), "member/%u", index);
  CHECK(hmc_store_set(store, name, "x", 1, lease, 0) == HMC_SUCCESS);
  for (int i = 0; i < ADDS; i++) {
    CHECK(hmc_store_add(store, "sum", 1, NULL, 0) == HMC_SUCCESS);
    if (i % 20 == 10) {
      CHECK(hmc_store_barrier(store, "load", CLIENTS, 0) == HMC_SUCCESS);
    }
    if (atomic_fetch_add(done, 1) + 1 == CLIENTS * ADDS / 2) {
      printf("half\n");
      fflush(stdout);
      sleep(1); /* for the kill to come into the load */
    }
  }
  char value[4];
  size_t size;
  CHECK(hmc_store_get(store, name, value, sizeof(value), &size, 0) == HMC_SUCCESS); /* the lease outlived it */
  CHECK(hmc_store_lease_state(lease) == HMC_SUCCESS);
  hmc_store_lease_release(lease, 0);
  hmc_store_close(store);
  exit(0);
}

static void load(void) {
  pid_t children[CLIENTS];
  atomic_int *done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(done != MAP_FAILED);
  for (uint32_t i = 0; i < CLIENTS; i++) {
    children[i] = fork_at_rest();
    if (children[i] == 0) {
      add_and_meet(i, done);
    }
  }
  await_all(children, CLIENTS);
  hmc_store_t *store = join_store();
  int64_t sum = 0;
  CHECK(hmc_store_add(store, "sum", 0, &sum, 0) == HMC_SUCCESS);
  printf("%lld of %d\n", (long long)sum, CLIENTS * ADDS);
  CHECK(sum == CLIENTS * ADDS); /* each once, whatever was lost on the way */
  hmc_store_close(store);
}

/* ---- a rolling restart ------------------------------------------------------------------------------------------- */

static void ask(const char *what);

/* Holds leases, adds, sets and looks until *is_over. */
static _Noreturn void go_on(uint32_t index, const atomic_int *is_over, atomic_int *added) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  hmc_store_t *store = join_store();
  hmc_store_lease_t *leases[LEASES];
  char name[32], held[32], value[4];
  size_t size;
  snprintf(name, sizeof(name), "mine/%u", index);
  for (int i = 0; i < LEASES; i++) {
    snprintf(held, sizeof(held), "held/%u/%d", index, i);
    CHECK(hmc_store_lease_create(store, 5000, 0, &leases[i]) == HMC_SUCCESS);
    CHECK(hmc_store_set(store, held, "h", 1, leases[i], 0) == HMC_SUCCESS);
  }
  while (atomic_load(is_over) == 0) {
    CHECK(hmc_store_add(store, "rolled", 1, NULL, 0) == HMC_SUCCESS);
    atomic_fetch_add(added, 1);
    CHECK(hmc_store_set(store, name, "x", 1, NULL, 0) == HMC_SUCCESS);
    CHECK(hmc_store_get(store, name, value, sizeof(value), &size, 0) == HMC_SUCCESS && size == 1);
  }
  for (int i = 0; i < LEASES; i++) {
    CHECK(hmc_store_lease_state(leases[i]) == HMC_SUCCESS);
  }
  hmc_store_close(store);
  exit(0);
}

/* Each member of the cluster is shut down in order and comes back, as for an upgrade: no call and no lease notices. */
static void rolling(void) {
  pid_t children[CLIENTS];
  atomic_int *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(counts != MAP_FAILED);
  for (uint32_t i = 0; i < CLIENTS; i++) {
    children[i] = fork_at_rest();
    if (children[i] == 0) {
      go_on(i, &counts[0], &counts[1]);
    }
  }
  ask("restart");
  atomic_store(&counts[0], 1);
  await_all(children, CLIENTS);
  hmc_store_t *store = join_store();
  int64_t sum = 0;
  CHECK(hmc_store_add(store, "rolled", 0, &sum, 0) == HMC_SUCCESS);
  CHECK(sum == atomic_load(&counts[1]));
  hmc_store_close(store);
}

/* ---- an outage --------------------------------------------------------------------------------------------------- */

/* Has etcd.py stop a majority of the cluster, let it run again, or restart one member after the other. */
static void ask(const char *what) {
  char line[16];
  printf("%s\n", what);
  fflush(stdout);
  CHECK(fgets(line, sizeof(line), stdin) != NULL);
}

/* Passes over what is reported of other keys. */
static void expect_in_time(hmc_store_watch_t *watch, hmc_store_event_kind_t kind, const char *key) {
  hmc_store_event_t event;
  do {
    CHECK(hmc_store_watch_next(watch, &event, PATIENCE_MS) == HMC_SUCCESS);
  } while (event.kind != kind || strcmp(event.key, key) != 0);
}

/* No majority for longer than a lease lasts: calls end by their deadlines, and then all goes on. */
static void a_majority_is_away(hmc_store_t *store, hmc_store_t *other) {
  hmc_store_lease_t *lease;
  hmc_store_watch_t *watch;
  char value[16];
  size_t size;
  CHECK(hmc_store_lease_create(store, 2000, 0, &lease) == HMC_SUCCESS);
  CHECK(hmc_store_set(store, "kept/mine", "m", 1, lease, 0) == HMC_SUCCESS);
  CHECK(hmc_store_watch_start(other, "kept/", 0, &watch) == HMC_SUCCESS);
  expect_in_time(watch, HMC_STORE_PUT, "kept/mine");
  ask("stop");
  CHECK(hmc_store_set(store, "away", "a", 1, NULL, 500) == HMC_TIMEOUT);
  CHECK(strstr(hmc_last_error(), "etcd") != NULL);
  sleep(5); /* longer than the lease */
  CHECK(hmc_store_get(store, "away", value, sizeof(value), &size, 500) == HMC_TIMEOUT);
  ask("go on");
  CHECK(hmc_store_set(store, "away", "b", 1, NULL, 0) == HMC_SUCCESS);
  CHECK(hmc_store_wait(store, "kept/mine", value, sizeof(value), &size, 0) == HMC_SUCCESS);
  CHECK(hmc_store_lease_state(lease) == HMC_SUCCESS);
  CHECK(hmc_store_set(store, "kept/new", "n", 1, NULL, 0) == HMC_SUCCESS);
  expect_in_time(watch, HMC_STORE_PUT, "kept/new");
  hmc_store_lease_release(lease, 0);
  expect_in_time(watch, HMC_STORE_DELETE, "kept/mine");
  hmc_store_watch_stop(watch);
}

/* Holds a key until it is killed, or loses its lease. */
static _Noreturn void hold(const char *key) {
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* it would keep the output open */
  hmc_store_t *store = join_store();
  hmc_store_lease_t *lease;
  CHECK(hmc_store_lease_create(store, 2000, 0, &lease) == HMC_SUCCESS);
  CHECK(hmc_store_set(store, key, "held", 4, lease, 0) == HMC_SUCCESS);
  while (hmc_store_lease_state(lease) == HMC_SUCCESS) {
    usleep(20000);
  }
  CHECK(hmc_store_lease_state(lease) == HMC_STALE);
  CHECK(hmc_store_set(store, key, "back", 4, lease, 0) == HMC_STALE);
  _exit(0); /* with the parent's stores, which are not its own to close */
}

/* Members that stand still for longer than their leases: one is back when it runs again, one hears that its key is
 * somebody else's. */
static void who_stood_still_comes_back(hmc_store_t *store, hmc_store_t *other) {
  static const char *const keys[2] = {"still/a", "still/b"};
  pid_t members[2];
  hmc_store_watch_t *watch;
  char value[16];
  size_t size;
  int status = 0;
  CHECK(hmc_store_watch_start(other, "still/", 0, &watch) == HMC_SUCCESS);
  for (int i = 0; i < 2; i++) {
    members[i] = fork_at_rest();
    if (members[i] == 0) {
      hold(keys[i]);
    }
    expect_in_time(watch, HMC_STORE_PUT, keys[i]);
  }
  for (int i = 0; i < 2; i++) {
    kill(members[i], SIGSTOP);
    expect_in_time(watch, HMC_STORE_DELETE, keys[i]);
  }
  CHECK(hmc_store_set(store, keys[1], "taken", 5, NULL, 0) == HMC_SUCCESS);
  expect_in_time(watch, HMC_STORE_PUT, keys[1]);
  kill(members[0], SIGCONT);
  expect_in_time(watch, HMC_STORE_PUT, keys[0]);
  kill(members[1], SIGCONT);
  CHECK(waitpid(members[1], &status, 0) == members[1] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
  CHECK(hmc_store_get(store, keys[1], value, sizeof(value), &size, 0) == HMC_SUCCESS && size == 5);
  kill(members[0], SIGKILL);
  CHECK(waitpid(members[0], NULL, 0) == members[0]);
  expect_in_time(watch, HMC_STORE_DELETE, keys[0]);
  hmc_store_watch_stop(watch);
}

static void outage(void) {
  hmc_store_t *store = join_store(), *other = join_store();
  a_majority_is_away(store, other);
  who_stood_still_comes_back(store, other);
  hmc_store_close(store);
  hmc_store_close(other);
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "usage: etcd_store calls|rolling|load|outage ADDRESS\n");
    return 2;
  }
  address = arguments[2];
  if (strcmp(arguments[1], "calls") == 0) {
    calls();
  } else if (strcmp(arguments[1], "outage") == 0) {
    outage();
  } else if (strcmp(arguments[1], "rolling") == 0) {
    rolling();
  } else {
    load();
  }
  return 0;
}
