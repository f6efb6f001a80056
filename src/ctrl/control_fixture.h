/* What the tests of the control channel share: a home of their own, and pairs of channels. Included once per test
 * program. */
#ifndef HMCI_CONTROL_FIXTURE_H
#define HMCI_CONTROL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/base.h"
#include "../base/descriptors_fixture.h"

#include <hmc/control.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

/* The thread sanitizer takes a second for what takes a millisecond else: large messages are smaller there. */
#if defined(__SANITIZE_THREAD__)
#define IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define IS_SLOW 1
#endif
#endif
#ifndef IS_SLOW
#define IS_SLOW 0
#endif

/* For what comes soon, on a machine that has other things to do. */
enum { PATIENCE_MS = 60000 };

static char folder[64], path[96];

/* Each test has an empty home, a socket path in it, and settings that nothing outside touches. */
static int set_up(void **state) {
  (void)state;
  static const char *const variables[] = {"HMC_TIMEOUT", "HMC_PEER_TIMEOUT", "HMC_SPIN",    "HMC_SECRET_FILE",
                                          "HMC_SECRET",  "HMC_INSECURE",     "HMC_ENCRYPT", "CTRL_TRANSPORT"};
  for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
    unsetenv(variables[i]);
  }
  hmc_log_set_level(HMC_LOG_NONE);
  descriptors_before = open_descriptors();
  snprintf(folder, sizeof(folder), "/tmp/hmc-test-control-XXXXXX");
  assert_non_null(mkdtemp(folder));
  setenv("HOME", folder, 1);
  snprintf(path, sizeof(path), "%s/socket", folder);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  char name[96];
  unlink(path);
  snprintf(name, sizeof(name), "%s/.hmc/secret", folder);
  unlink(name);
  snprintf(name, sizeof(name), "%s/.hmc", folder);
  rmdir(name);
  if (rmdir(folder) != 0) {
    fprintf(stderr, "something was left behind in %s\n", folder);
    return -1;
  }
  int now = open_descriptors();
  if (now != descriptors_before) {
    fprintf(stderr, "%d descriptors are open, %d were before\n", now, descriptors_before);
    return -1;
  }
  return 0;
}

#define GOOD(call) assert_good(call, #call, __LINE__)
static inline void assert_good(hmc_status_t status, const char *call, int line) {
  if (status != HMC_SUCCESS) {
    fail_msg("line %d: %s: %s: %s", line, call, hmc_status_name(status), hmc_last_error());
  }
}

#define FAILS(call, expected, text) assert_fails(call, expected, text, #call, __LINE__)
static inline void assert_fails(hmc_status_t status, hmc_status_t expected, const char *text, const char *call,
                                int line) {
  if (status != expected || strstr(hmc_last_error(), text) == NULL) {
    fail_msg("line %d: %s: %s: \"%s\", not %s with \"%s\"", line, call, hmc_status_name(status), hmc_last_error(),
             hmc_status_name(expected), text);
  }
}

static inline hmc_control_t *make(void) {
  hmc_control_t *control = NULL;
  GOOD(hmc_control_create(&control));
  return control;
}

typedef enum way { BY_TCP, BY_UDS } way_t;

/* Rank 0 listens, rank 1 has dialled it. */
typedef struct pair {
  hmc_control_t *zero, *one;
  uint16_t port;
} pair_t;

static inline void dial(pair_t *pair, way_t way) {
  GOOD(hmc_control_connect(pair->one, 0, 1, way == BY_TCP ? "127.0.0.1" : NULL, pair->port, way == BY_UDS ? path : NULL,
                           PATIENCE_MS));
}

static inline pair_t make_pair(way_t way) {
  pair_t pair = {.zero = make(), .one = make()};
  GOOD(hmc_control_listen(pair.zero, "127.0.0.1", 0, path, &pair.port));
  dial(&pair, way);
  return pair;
}

static inline void destroy_pair(pair_t *pair) {
  hmc_control_destroy(pair->one);
  hmc_control_destroy(pair->zero);
}

/* Both directions work. */
static inline void talk(hmc_control_t *here, uint32_t here_rank, hmc_control_t *there, uint32_t there_rank) {
  uint64_t value = 0;
  static uint64_t number = 1000;
  GOOD(hmc_control_send_u64(here, there_rank, ++number, PATIENCE_MS));
  GOOD(hmc_control_receive_u64(there, here_rank, &value, PATIENCE_MS));
  assert_true(value == number);
  GOOD(hmc_control_send_u64(there, here_rank, ++number, PATIENCE_MS));
  GOOD(hmc_control_receive_u64(here, there_rank, &value, PATIENCE_MS));
  assert_true(value == number);
}

/* In runs of odd lengths, which are quick to make, and shift against every power of two. */
static inline void fill(uint8_t *data, size_t size, size_t seed) {
  for (size_t at = 0, run = 1; at < size; at += run) {
    run = run % 997 + 2 < size - at ? run % 997 + 2 : size - at;
    memset(data + at, (int)(seed + at), run);
  }
}

static inline void sleep_ms(int ms) { poll(NULL, 0, ms); }

/* Waits until a thread that has said who it is sleeps in the call that it made after that. */
static inline void await_asleep(_Atomic pid_t *thread) {
  char phase = 0;
  for (int i = 0; i < PATIENCE_MS && phase != 'S'; i++) {
    char name[64], text[128] = "";
    sleep_ms(1);
    snprintf(name, sizeof(name), "/proc/self/task/%d/stat", (int)atomic_load(thread));
    FILE *file = atomic_load(thread) != 0 ? fopen(name, "r") : NULL;
    const char *end = file != NULL && fgets(text, sizeof(text), file) != NULL ? strrchr(text, ')') : NULL;
    phase = end != NULL && end[1] == ' ' ? end[2] : '\0';
    if (file != NULL) {
      fclose(file);
    }
  }
  assert_int_equal(phase, 'S');
}

typedef struct waiter {
  hmc_control_t *control;
  uint32_t rank;
  uint64_t value;
  hmc_status_t status;
  _Atomic pid_t thread;
} waiter_t;

static inline void *wait_for_value(void *argument) {
  waiter_t *waiter = argument;
  atomic_store(&waiter->thread, gettid());
  waiter->status = hmc_control_receive_u64(waiter->control, waiter->rank, &waiter->value, PATIENCE_MS);
  return NULL;
}

/* A message for a thread that waits for it, after which the service thread leaves the link to its users for a while. */
static inline void talk_to_waiter(hmc_control_t *from, uint32_t from_rank, hmc_control_t *to, uint32_t to_rank) {
  waiter_t waiter = {.control = to, .rank = from_rank};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, wait_for_value, &waiter), 0);
  await_asleep(&waiter.thread);
  GOOD(hmc_control_send_u64(from, to_rank, 31, PATIENCE_MS));
  pthread_join(thread, NULL);
  assert_int_equal(waiter.status, HMC_SUCCESS);
  assert_true(waiter.value == 31);
}

static inline uint64_t processor_time(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000 * MS + (uint64_t)time.tv_nsec;
}

/* The process does nothing while nobody does anything: not at once where the machine is busy, for what it has begun takes
 * longer there. */
static inline bool is_at_rest(int ms) {
  uint64_t used = UINT64_MAX;
  for (int i = 0; i < PATIENCE_MS / ms && used >= (uint64_t)ms * MS / 8; i++) {
    uint64_t start = processor_time();
    sleep_ms(ms);
    used = processor_time() - start;
  }
  return used < (uint64_t)ms * MS / 8;
}

static inline bool is_readable(int descriptor, int timeout_ms) {
  struct pollfd wait = {.fd = descriptor, .events = POLLIN};
  return poll(&wait, 1, timeout_ms) == 1;
}

/* How many descriptors of this process are the dialling ends of connections to a port. */
static inline int count_connections(uint16_t port) {
  int count = 0;
  for (int descriptor = 0; descriptor < 1024; descriptor++) {
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    count += getpeername(descriptor, (struct sockaddr *)&address, &size) == 0 && address.sin_family == AF_INET &&
             address.sin_port == htons(port);
  }
  return count;
}

#endif
