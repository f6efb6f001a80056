/* Connections by the hundred: all that know the secret get in, no matter who else connects.
 *
 * The diallers are processes of their own, with a thread per connection, so that all begin at the same moment. */
#include "rest.h"
#include "suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DIALLERS = 4, CONNECT_TIMEOUT_MS = 120000, STACK = 256 << 10 };

/* ---- diallers ---------------------------------------------------------------------------------------------------- */

typedef struct crowd {
  hmc_context_t *context;
  uint16_t port;
  pthread_barrier_t start;
  _Atomic uint32_t failed;
} crowd_t;

static void *connect_one(void *argument) {
  crowd_t *crowd = argument;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  pthread_barrier_wait(&crowd->start);
  hmc_status_t status =
      hmc_context_connect(crowd->context, "127.0.0.1", crowd->port, crowd_type, CONNECT_TIMEOUT_MS, &peer);
  if (status == HMC_SUCCESS) status = hmc_remote_open(peer, "words", CONNECT_TIMEOUT_MS, &remote);
  if (status == HMC_SUCCESS) status = hmc_atomic(remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL);
  if (status != HMC_SUCCESS && atomic_fetch_add(&crowd->failed, 1) == 0)
    fprintf(stderr, "a connect failed: %s\n", hmc_last_error());
  return NULL;
}

/* The whole life of a dialling process: 0 when all of its connections worked. */
static int dial_all(uint16_t port, uint32_t count) {
  crowd_t crowd = {.port = port};
  pthread_t *threads = calloc(count, sizeof *threads);
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, SANITIZED ? 4 * STACK : STACK);
  pthread_barrier_init(&crowd.start, NULL, count);
  if (hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "dialler", CONNECT_TIMEOUT_MS},
                         &crowd.context) != HMC_SUCCESS)
    return 2;
  for (uint32_t i = 0; i < count; i++) {
    if (pthread_create(&threads[i], &small, connect_one, &crowd) != 0) return 3;
  }
  for (uint32_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
  hmc_context_destroy(crowd.context);
  free(threads);
  return crowd.failed ? 1 : 0;
}

typedef struct server {
  hmc_context_t *context;
  hmc_region_t *words;
  uint16_t port;
} server_t;

static void server_open(server_t *server) {
  assert_success(hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "server", 30000},
                                    &server->context));
  assert_success(hmc_region_allocate(server->context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, 64, "words", HMC_REMOTE_ALL,
                                     &server->words));
  assert_success(hmc_context_listen(server->context, "127.0.0.1", 0, &server->port));
}

/* All of them connect and add 1 to the server's word. The children are forked before the server has threads. */
static void expect_all(uint32_t count, void (*meanwhile)(uint16_t port)) {
  int ports[2];
  pid_t diallers[DIALLERS];
  assert_int_equal(pipe(ports), 0);
  fflush(NULL);
  for (int i = 0; i < DIALLERS; i++) {
    diallers[i] = fork_at_rest();
    assert_true(diallers[i] >= 0);
    if (diallers[i]) continue;
    uint16_t port;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(ports[0], &port, sizeof port) != sizeof port) _exit(4);
    _exit(dial_all(port, count / DIALLERS));
  }
  server_t server;
  server_open(&server);
  if (meanwhile) meanwhile(server.port);
  uint64_t start = now_ms();
  for (int i = 0; i < DIALLERS; i++) assert_int_equal(write(ports[1], &server.port, 2), 2);
  bool good = true;
  for (int i = 0; i < DIALLERS; i++) {
    int status;
    assert_int_equal(waitpid(diallers[i], &status, 0), diallers[i]);
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  printf("%u connects took %d ms\n", count, (int)(now_ms() - start));
  close(ports[0]);
  close(ports[1]);
  assert_true(good);
  uint64_t words = __atomic_load_n((uint64_t *)hmc_region_pointer(server.words), __ATOMIC_ACQUIRE);
  assert_int_equal(words, count / DIALLERS * DIALLERS);
  hmc_context_destroy(server.context);
}

void all_connect_at_once(void **state) {
  (void)state;
  descriptors_raise();
  expect_all(SANITIZED ? 200 : 2000, NULL);
}

/* ---- strangers --------------------------------------------------------------------------------------------------- */

/* A process that keeps connections open which say nothing, or the wrong thing, and opens another when one goes. */
static pid_t strangers;

static int knock(uint16_t port, uint32_t number) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -1;
  if (connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0 && errno != EINPROGRESS) {
    close(descriptor);
    return -1;
  }
  if (number % 4 == 3) {
    struct pollfd ready = {.fd = descriptor, .events = POLLOUT};
    poll(&ready, 1, 100);
    ssize_t sent = send(descriptor, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent;
  }
  return descriptor;
}

static void stay_outside(uint16_t port) {
  enum { STRANGERS = 1500 };
  static struct pollfd sockets[STRANGERS];
  for (uint32_t i = 0; i < STRANGERS; i++) sockets[i] = (struct pollfd){.fd = knock(port, i), .events = POLLIN};
  for (uint32_t number = 0;;) {
    poll(sockets, STRANGERS, 100);
    for (uint32_t i = 0; i < STRANGERS; i++) {
      if (sockets[i].fd >= 0 && !sockets[i].revents) continue;
      if (sockets[i].fd >= 0) close(sockets[i].fd);
      sockets[i].fd = knock(port, ++number);
    }
    sleep_ms(5);
  }
}

static void invite_strangers(uint16_t port) {
  strangers = fork();
  assert_true(strangers >= 0);
  if (strangers) {
    sleep_ms(700); /* the house is full of them */
    return;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  stay_outside(port);
}

void all_connect_beside_strangers(void **state) {
  (void)state;
  descriptors_raise();
  expect_all(SANITIZED ? 80 : 400, invite_strangers);
  kill(strangers, SIGKILL);
  waitpid(strangers, NULL, 0);
}

/* ---- no descriptors left ----------------------------------------------------------------------------------------- */

static uint64_t cpu_ms(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
         (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

static _Atomic uint32_t lines;

static void count_lines(hmc_log_level_t level, const char *text, void *user) {
  (void)level, (void)text, (void)user;
  atomic_fetch_add(&lines, 1);
}

void without_descriptors_accepting_pauses(void **state) {
  (void)state;
  enum { WAITING = 8, REST_MS = 1500 };
  server_t server;
  server_open(&server);
  struct rlimit before, tight;
  int waiting[WAITING];
  for (int i = 0; i < WAITING; i++) waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
  tight = before;
  tight.rlim_cur = 3; /* none is free */
  hmc_log_set_callback(count_lines, NULL);
  hmc_log_set_level(HMC_LOG_WARNING);
  atomic_store(&lines, 0);
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(server.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  for (int i = 0; i < WAITING; i++)
    assert_int_equal(connect(waiting[i], (struct sockaddr *)&address, sizeof address), 0);
  uint64_t used = cpu_ms();
  sleep_ms(REST_MS);
  used = cpu_ms() - used;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
  hmc_log_set_callback(NULL, NULL);
  hmc_log_set_level(HMC_LOG_ERROR);
  for (int i = 0; i < WAITING; i++) close(waiting[i]);
  assert_in_range(atomic_load(&lines), 1, 20);
  assert_in_range(used, 0, REST_MS / 3);

  /* And it goes on by itself. */
  hmc_context_t *context = NULL;
  hmc_peer_t *peer = NULL;
  assert_success(hmc_context_create(NULL, &context));
  assert_success(hmc_context_connect(context, "127.0.0.1", server.port, crowd_type, 0, &peer));
  hmc_context_destroy(context);
  hmc_context_destroy(server.context);
}
