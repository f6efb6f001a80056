/* The test's side of a target: starting, calling, ending it. The registry below knows every live target, so that a test
 * that failed leaves none behind. All of it belongs to the test's own thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define TARGETS_MAX 16
#define ANSWER_MS 60000
#define END_MS 60000

static struct {
  pid_t process;
  int socket;
} living[TARGETS_MAX];

static void register_target(pid_t process, int descriptor) {
  for (size_t i = 0; i < TARGETS_MAX; i++)
    if (living[i].process == 0) {
      living[i].process = process;
      living[i].socket = descriptor;
      return;
    }
  fail_msg("more than %d targets at once", TARGETS_MAX);
}

static void forget_target(pid_t process) {
  for (size_t i = 0; i < TARGETS_MAX; i++)
    if (living[i].process == process) living[i].process = 0;
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* This process's environment with `variables` over it. The array is one allocation, the added texts follow the
 * pointers. */
static char **environment_with(const char *const *variables) {
  size_t own = 0, added = 0, bytes = 0;
  while (environ[own]) own++;
  for (; variables && variables[2 * added]; added++)
    bytes += strlen(variables[2 * added]) + strlen(variables[2 * added + 1]) + 2;
  char **result = malloc((own + added + 1) * sizeof *result + bytes);
  assert_non_null(result);
  char *text = (char *)(result + own + added + 1);
  size_t count = 0;
  for (size_t i = 0; i < added; i++) {
    result[count++] = text;
    text += sprintf(text, "%s=%s", variables[2 * i], variables[2 * i + 1]) + 1;
  }
  for (size_t i = 0; i < own; i++) {
    bool replaced = false;
    for (size_t k = 0; k < added; k++) {
      size_t length = strlen(variables[2 * k]);
      replaced |= strncmp(environ[i], variables[2 * k], length) == 0 && environ[i][length] == '=';
    }
    if (!replaced) result[count++] = environ[i];
  }
  result[count] = NULL;
  return result;
}

static int home_socket(char path[static 108]) {
  static unsigned number;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s/call-%u.sock", environment_home(), number++);
  memcpy(path, address.sun_path, sizeof address.sun_path);
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  assert_true(listener >= 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(listener, 1), 0);
  return listener;
}

/* Runs between fork and exec in a process with threads: async-signal-safe calls only. */
static void become_target(char *const *arguments, char *const *environment, int output, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  dup2(output, STDOUT_FILENO);
  execve("/proc/self/exe", arguments, environment);
  _exit(127);
}

void target_start(target_t *target, const char *const *variables) {
  *target = (target_t){.socket = -1};
  char path[108];
  int listener = home_socket(path);
  snprintf(target->output, sizeof target->output, "%s/output-XXXXXX", environment_home());
  int output = mkostemp(target->output, O_CLOEXEC);
  assert_true(output >= 0);
  char **environment = environment_with(variables);
  char *arguments[] = {(char *)"target", (char *)"--target", path, NULL};

  pid_t parent = getpid();
  target->process = fork();
  assert_true(target->process >= 0);
  if (target->process == 0) become_target(arguments, environment, output, parent);
  free(environment);
  close(output);

  struct pollfd ready = {.fd = listener, .events = POLLIN};
  int count = poll(&ready, 1, ANSWER_MS);
  target->socket = count == 1 ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
  close(listener);
  unlink(path);
  register_target(target->process, target->socket);
  assert_true(target->socket >= 0);
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

static bool reap(pid_t process, int *status, uint64_t timeout_ms) {
  uint64_t deadline = now_ms() + timeout_ms;
  for (;;) {
    pid_t reaped = waitpid(process, status, WNOHANG);
    if (reaped == process || (reaped < 0 && errno != EINTR)) return reaped == process;
    if (now_ms() >= deadline) return false;
    sleep_ms(2);
  }
}

/* QUIT, and its answer, without asserting. */
static bool ask_to_quit(const target_t *target) {
  command_t command = {.verb = VERB_QUIT};
  answer_t answer;
  struct pollfd ready = {.fd = target->socket, .events = POLLIN};
  return send(target->socket, &command, sizeof command, MSG_NOSIGNAL) == sizeof command &&
         poll(&ready, 1, END_MS) == 1 && recv(target->socket, &answer, sizeof answer, 0) == sizeof answer;
}

bool target_finish(target_t *target) {
  if (target->process <= 1) return true;
  kill(target->process, SIGCONT); /* a test that failed may have left it stopped */
  int status = -1;
  struct stat output = {.st_size = -1};
  bool asked = ask_to_quit(target), ended = reap(target->process, &status, END_MS);
  bool clean = ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  bool silent = stat(target->output, &output) == 0 && output.st_size == 0;
  if (!asked || !clean) print_error("the target %s, status 0x%x\n", ended ? "ended" : "does not end", status);
  if (!silent) print_error("the target wrote %lld bytes to its stdout\n", (long long)output.st_size);
  if (ended) {
    forget_target(target->process);
    close(target->socket);
    target->process = 0;
  } else {
    target_kill(target);
  }
  return asked && clean && silent;
}

void target_stop(target_t *target) { assert_true(target_finish(target)); }

void target_kill(target_t *target) {
  if (target->process <= 1) /* never kill(0) or kill(-1), whatever a failed test left here */
    return;
  int status;
  kill(target->process, SIGKILL);
  reap(target->process, &status, END_MS);
  forget_target(target->process);
  close(target->socket);
  target->process = 0;
}

void target_kill_all(void) {
  for (size_t i = 0; i < TARGETS_MAX; i++) {
    if (living[i].process <= 1) continue;
    int status;
    kill(living[i].process, SIGKILL);
    reap(living[i].process, &status, END_MS);
    close(living[i].socket);
    living[i].process = 0;
  }
}

/* ---- calling ----------------------------------------------------------------------------------------------------- */

void target_send(target_t *target, const command_t *command) {
  if (send(target->socket, command, sizeof *command, MSG_NOSIGNAL) != sizeof *command)
    fail_msg("the target is gone: %s", strerror(errno));
}

answer_t target_receive(target_t *target) {
  answer_t answer;
  struct pollfd ready = {.fd = target->socket, .events = POLLIN};
  int count;
  do count = poll(&ready, 1, ANSWER_MS);
  while (count < 0 && errno == EINTR);
  if (count != 1) fail_msg("the target does not answer");
  if (recv(target->socket, &answer, sizeof answer, 0) != sizeof answer) fail_msg("the target died");
  return answer;
}

answer_t target_call(target_t *target, command_t command) {
  target_send(target, &command);
  return target_receive(target);
}

uint64_t target_do(target_t *target, command_t command) {
  answer_t answer = target_call(target, command);
  if (answer.status != HMC_SUCCESS)
    fail_msg("the target's command %d answered %s: %s", (int)command.verb, hmc_status_name(answer.status), answer.text);
  return answer.value;
}

void target_check_frame(target_t *target, uint32_t slot, uint64_t offset, uint64_t length, uint64_t seed) {
  uint64_t wrong = target_do(
      target, (command_t){.verb = VERB_FRAME_CHECK, .slot = slot, .offset = offset, .length = length, .value = seed});
  if (wrong != PATTERN_SAME)
    fail_msg("target: byte %lld of %llu at offset %llu is wrong", (long long)wrong, (unsigned long long)length,
             (unsigned long long)offset);
}

/* ---- asserting --------------------------------------------------------------------------------------------------- */

void assert_status_at(hmc_status_t status, hmc_status_t wanted, const char *call, const char *file, int line) {
  if (status == wanted) return;
  print_error("%s: %s, not %s: %s\n", call, hmc_status_name(status), hmc_status_name(wanted), hmc_last_error());
  _fail(file, line);
}

void assert_error_names_at(const char *part, const char *file, int line) {
  if (strstr(hmc_last_error(), part)) return;
  print_error("\"%s\" is not in the text \"%s\"\n", part, hmc_last_error());
  _fail(file, line);
}

void assert_error_has_number(uint64_t number) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)number);
  assert_error_names(text);
}
