/* A holder of leases in a process of its own: this program again, started with "holder", a socket, a port and a
 * connection type. It is not an honest one: it never looks at a status and goes on under leases that are over. */
#include "leases.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { HOLDERS = 8, FLIGHTS = 4 };
static pid_t running[HOLDERS];

/* ---- the holder's process ---------------------------------------------------------------------------------------- */

typedef struct flight {
  hmc_region_t *region;
  hmc_request_t *request;
} flight_t;

static void fill(const flight_t *flight, const task_t *task) {
  uint8_t bytes[4096];
  memset(bytes, task->value, sizeof bytes);
  hmc_memory_t host = {HMC_MEMORY_CPU, 0};
  for (uint64_t at = 0; at < task->length; at += sizeof bytes)
    HMC_IGNORE(hmc_memory_copy((uint8_t *)hmc_region_pointer(flight->region) + at, hmc_region_memory(flight->region),
                               bytes, host, sizeof bytes));
}

/* Several puts at a time, each started again when it has ended. */
static void go_on(flight_t *flights, hmc_remote_t *pages, const task_t *task) {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.lease = task->lease;
  for (size_t i = 0; i < FLIGHTS; i++) {
    flight_t *flight = &flights[i];
    if (flight->request && hmc_request_test(flight->request) == HMC_IN_PROGRESS) continue;
    hmc_request_free(flight->request);
    flight->request = NULL;
    HMC_IGNORE(hmc_put_nb(flight->region, 0, pages, task->offset, task->length, &options, &flight->request));
  }
}

/* The bytes of a task must be those of its value: nothing of the one before is in progress from here. */
static void change(flight_t *flights, const task_t *task) {
  for (size_t i = 0; i < FLIGHTS; i++) {
    hmc_request_free(flights[i].request); /* cancels it */
    flights[i].request = NULL;
    fill(&flights[i], task);
  }
}

static int run(int socket, uint16_t port, hmc_connection_type_t type) {
  hmc_context_t *context;
  hmc_peer_t *peer;
  hmc_remote_t *pages;
  flight_t flights[FLIGHTS] = {{NULL, NULL}};
  task_t task = {0};
  const hmc_context_options_t options = {.size = sizeof options, .name = "holder", .timeout_ms = 300000};
  char ready = 1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (hmc_context_create(&options, &context) != HMC_SUCCESS ||
      hmc_context_connect(context, "127.0.0.1", port, type, 0, &peer) != HMC_SUCCESS ||
      hmc_remote_open(peer, "pages", 0, &pages) != HMC_SUCCESS) {
    fprintf(stderr, "holder: %s\n", hmc_last_error());
    return 1;
  }
  for (size_t i = 0; i < FLIGHTS; i++)
    if (hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, 256 * KIB, NULL, 0, &flights[i].region))
      return 1;
  if (write(socket, &ready, 1) != 1) return 1;
  for (;;) {
    ssize_t got = recv(socket, &task, sizeof task, task.lease ? MSG_DONTWAIT : MSG_WAITALL);
    if (got == 0) break;
    if (got > 0) {
      change(flights, &task);
      go_on(flights, pages, &task);
      if (write(socket, &ready, 1) != 1) break;
    }
    go_on(flights, pages, &task);
  }
  hmc_context_destroy(context);
  return 0;
}

void holder_main(int argc, char **argv) {
  if (argc != 5 || strcmp(argv[1], "holder") != 0) return;
  _exit(run(atoi(argv[2]), (uint16_t)atoi(argv[3]), (hmc_connection_type_t)atoi(argv[4])));
}

/* ---- the test's side --------------------------------------------------------------------------------------------- */

static void await_byte(const holder_t *holder) {
  char byte;
  assert_int_equal(recv(holder->socket, &byte, 1, MSG_WAITALL), 1);
}

void holder_start(holder_t *holder, context_pair_t *pair) {
  int ends[2];
  char port[16], type[16];
  *holder = (holder_t){.process = 0};
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
  snprintf(port, sizeof port, "%u", pair->port);
  snprintf(type, sizeof type, "%d", (int)stamp.type);
  char *arguments[] = {"leases", "holder", "3", port, type, NULL};
  assert_int_equal(posix_spawn(&holder->process, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  holder->socket = ends[0];
  for (size_t i = 0; i < HOLDERS; i++) {
    if (running[i]) continue;
    running[i] = holder->process;
    break;
  }
  assert_success(hmc_context_accept(pair->there, 300000, &holder->peer));
  await_byte(holder);
}

void holder_give(const holder_t *holder, const task_t *task) {
  assert_int_equal(send(holder->socket, task, sizeof *task, MSG_NOSIGNAL), sizeof *task);
  await_byte(holder);
}

void holder_stop(const holder_t *holder) {
  int status = 0;
  assert_int_equal(kill(holder->process, SIGSTOP), 0);
  assert_int_equal(waitpid(holder->process, &status, WUNTRACED), holder->process);
  assert_true(WIFSTOPPED(status));
}

void holder_continue(const holder_t *holder) { assert_int_equal(kill(holder->process, SIGCONT), 0); }

static void bury(pid_t process) {
  kill(process, SIGKILL);
  while (waitpid(process, NULL, 0) < 0 && errno == EINTR) continue;
}

void holder_kill(holder_t *holder) {
  for (size_t i = 0; i < HOLDERS; i++)
    if (running[i] == holder->process) running[i] = 0;
  bury(holder->process);
  close(holder->socket);
}

void holders_end(void) {
  for (size_t i = 0; i < HOLDERS; i++) {
    if (running[i]) bury(running[i]);
    running[i] = 0;
  }
}
