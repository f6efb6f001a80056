#include "base.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* What a reader looks at: the lines without their time, process and thread, which must be there. */
static void strip_origins(char *output) {
  char *to = output;
  for (char *line = output; *line;) {
    char *end = strchr(line, '\n');
    size_t length = end ? (size_t)(end - line) + 1 : strlen(line);
    unsigned hours, minutes, seconds, fraction;
    int process, thread, used = 0;
    if (sscanf(line, "hmc %2u:%2u:%2u.%6uZ %d/%d %n", &hours, &minutes, &seconds, &fraction, &process, &thread,
               &used) != 6 ||
        hours > 23 || minutes > 59 || seconds > 59 || process < 1 || thread < 1) {
      fail_msg("a line without its origin: %s", line);
    }
    to += sprintf(to, "hmc: ");
    memmove(to, line + used, length - (size_t)used);
    to += length - (size_t)used;
    line += length;
  }
  *to = '\0';
}

/* The level is read once in a process, so each case runs in a child, which has not logged yet. What it writes to stdout
 * and stderr comes back in `output`; it ends with the status that `body` returns. */
static int in_child(int (*body)(void), const char *level, char output[4096]) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(60);
    if (level == NULL) {
      unsetenv("HMC_LOG");
    } else {
      setenv("HMC_LOG", level, 1);
    }
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    syscall(SYS_exit_group, body()); /* _exit() lets the thread sanitizer look for the parent's threads in the child */
  }
  close(ends[1]);
  size_t length = 0;
  ssize_t got;
  while (length < 4095 && (got = read(ends[0], output + length, 4095 - length)) > 0) {
    length += (size_t)got;
  }
  output[length] = '\0';
  strip_origins(output);
  close(ends[0]);
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int log_at_all_levels(void) {
  errno = EBADF;
  hmci_log(HMC_LOG_NONE, "never");
  hmci_log(HMC_LOG_ERROR, "e%d", 1);
  hmci_log(HMC_LOG_WARNING, "w%d", 2);
  hmci_log(HMC_LOG_INFO, "i%d", 3);
  hmci_log(HMC_LOG_DEBUG, "d%d", 4);
  return errno == EBADF ? (int)hmc_log_get_level() : 100;
}

static void test_level_comes_from_the_environment(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_at_all_levels, NULL, output), HMC_LOG_WARNING);
  assert_string_equal(output, "hmc: error: e1\nhmc: warning: w2\n");
  assert_int_equal(in_child(log_at_all_levels, "", output), HMC_LOG_WARNING);
  assert_string_equal(output, "hmc: error: e1\nhmc: warning: w2\n");
  assert_int_equal(in_child(log_at_all_levels, "none", output), HMC_LOG_NONE);
  assert_string_equal(output, "");
  assert_int_equal(in_child(log_at_all_levels, "error", output), HMC_LOG_ERROR);
  assert_string_equal(output, "hmc: error: e1\n");
  assert_int_equal(in_child(log_at_all_levels, "ERROR", output), HMC_LOG_ERROR);
  assert_string_equal(output, "hmc: error: e1\n");
  assert_int_equal(in_child(log_at_all_levels, "debug", output), HMC_LOG_DEBUG);
  assert_string_equal(output, "hmc: error: e1\nhmc: warning: w2\nhmc: info: i3\nhmc: debug: d4\n");
}

static void test_a_wrong_level_warns_once(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_at_all_levels, "loud", output), HMC_LOG_WARNING);
  assert_string_equal(output, "hmc: warning: HMC_LOG=loud: takes none, error, warning, info or debug; warning is used\n"
                              "hmc: error: e1\nhmc: warning: w2\n");
}

static int set_level_first(void) {
  hmc_log_set_level(HMC_LOG_INFO);
  log_at_all_levels();
  hmc_log_set_level((hmc_log_level_t)77);
  return (int)hmc_log_get_level();
}

static void test_set_level_overrides_the_environment(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(set_level_first, "none", output), HMC_LOG_DEBUG);
  assert_string_equal(output, "hmc: error: e1\nhmc: warning: w2\nhmc: info: i3\n");
}

static int log_odd_texts(void) {
  hmci_log(HMC_LOG_ERROR, "two\nlines\r");
  static char text[5000];
  memset(text, 'x', sizeof(text) - 1);
  hmci_log(HMC_LOG_ERROR, "%s", text);
  return 0;
}

static void test_a_record_is_one_line(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_odd_texts, NULL, output), 0);
  assert_int_equal(strncmp(output, "hmc: error: two lines \nhmc: error: xxxx", 39), 0);
  char *second = strchr(output, '\n') + 1;
  assert_ptr_equal(strchr(second, '\n'), output + strlen(output) - 1);
}

typedef struct seen {
  hmc_log_level_t level;
  char text[64];
  int calls;
} seen_t;

static void remember(hmc_log_level_t level, const char *text, void *user) {
  seen_t *seen = user;
  seen->level = level;
  snprintf(seen->text, sizeof(seen->text), "%s", text);
  seen->calls++;
}

static int log_to_callback(void) {
  seen_t seen = {0};
  hmc_log_set_callback(remember, &seen);
  hmci_log(HMC_LOG_ERROR, "number %d", 5);
  hmci_log(HMC_LOG_DEBUG, "not seen");
  hmc_log_set_callback(NULL, NULL);
  hmci_log(HMC_LOG_ERROR, "to stderr");
  return seen.calls == 1 && seen.level == HMC_LOG_ERROR && strcmp(seen.text, "number 5") == 0 ? 0 : 1;
}

static void test_a_callback_takes_the_records(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_to_callback, NULL, output), 0);
  assert_string_equal(output, "hmc: error: to stderr\n");
}

/* A callback that tells when it is running and ends when it is let. */
typedef struct gate {
  sem_t entered, leave;
  _Atomic int finished;
} gate_t;

static void pass_gate(hmc_log_level_t level, const char *text, void *user) {
  (void)level;
  (void)text;
  gate_t *gate = user;
  sem_post(&gate->entered);
  sem_wait(&gate->leave);
  gate->finished++;
}

static void *log_one(void *unused) {
  (void)unused;
  hmci_log(HMC_LOG_ERROR, "from a thread");
  return NULL;
}

static bool wait_for(sem_t *semaphore) {
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 10;
  return sem_timedwait(semaphore, &until) == 0;
}

static void open_gate(gate_t *gate) {
  sem_init(&gate->entered, 0, 0);
  sem_init(&gate->leave, 0, 0);
  gate->finished = 0;
  hmc_log_set_level(HMC_LOG_WARNING);
  hmc_log_set_callback(pass_gate, gate);
}

static void *leave_later(void *user) {
  gate_t *gate = user;
  struct timespec pause = {.tv_nsec = 30000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
  sem_post(&gate->leave);
  return NULL;
}

static void test_changing_the_callback_waits_for_running_calls(void **state) {
  (void)state;
  gate_t gate;
  open_gate(&gate);
  pthread_t logger, opener;
  assert_int_equal(pthread_create(&logger, NULL, log_one, NULL), 0);
  assert_true(wait_for(&gate.entered));
  assert_int_equal(pthread_create(&opener, NULL, leave_later, &gate), 0);
  hmc_log_set_callback(NULL, NULL);
  assert_int_equal(gate.finished, 1);
  pthread_join(logger, NULL);
  pthread_join(opener, NULL);
}

static sem_t sending, sent;
static bool is_slow; /* stderr is a socket, and what is sent there takes until `sent` */

ssize_t send(int descriptor, const void *bytes, size_t size, int flags) {
  ssize_t (*next)(int, const void *, size_t, int);
  void *symbol = dlsym(RTLD_NEXT, "send");
  memcpy(&next, &symbol, sizeof symbol);
  if (is_slow && descriptor == STDERR_FILENO) {
    sem_post(&sending);
    sem_wait(&sent);
  }
  return next(descriptor, bytes, size, flags);
}

/* A thread is still writing to stderr when the callback takes its first record, and done before the callback is. */
static int change_the_callback_after_a_slow_write(void) {
  int ends[2];
  gate_t gate;
  pthread_t writer, opener;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || dup2(ends[0], STDERR_FILENO) < 0) return 1;
  sem_init(&sending, 0, 0);
  sem_init(&sent, 0, 0);
  is_slow = true;
  if (pthread_create(&writer, NULL, log_one, NULL) || !wait_for(&sending)) return 2;
  open_gate(&gate); /* does not wait for stderr, but for a moment */
  log_one(NULL);
  if (!wait_for(&gate.entered)) return 3;
  sem_post(&sent);
  pthread_join(writer, NULL);
  if (pthread_create(&opener, NULL, leave_later, &gate)) return 4;
  hmc_log_set_callback(NULL, NULL);
  int finished = gate.finished;
  pthread_join(opener, NULL);
  return finished == 1 ? 0 : 5;
}

static void test_a_slow_write_ends_no_wait_for_a_callback(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(change_the_callback_after_a_slow_write, NULL, output), 0);
}

/* A callback that hangs holds up nobody who logs. */
static void test_a_callback_holds_nobody_up(void **state) {
  (void)state;
  gate_t gate;
  open_gate(&gate);
  for (int i = 0; i < 5; i++) log_one(NULL);
  assert_true(wait_for(&gate.entered));
  assert_int_equal(gate.finished, 0);
  for (int i = 0; i < 5; i++) sem_post(&gate.leave);
  hmc_log_set_callback(NULL, NULL);
  assert_int_equal(gate.finished, 5);
}

/* Stderr is a pipe that nobody reads; alarm() ends this child where a thread waits. */
static int log_into_a_full_pipe(void) {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK) || dup2(ends[1], STDERR_FILENO) < 0) return 1;
  char filling[4096] = "";
  hmc_log_set_level(HMC_LOG_DEBUG);
  while (write(ends[1], filling, sizeof filling) > 0) {
  }
  fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) & ~O_NONBLOCK);
  for (int i = 0; i < 2000; i++) hmci_log(HMC_LOG_DEBUG, "line %d", i); /* debug lines are not rate-limited */
  if (hmci_log_flush(50)) return 2;
  while (read(ends[0], filling, sizeof filling) == (ssize_t)sizeof filling) hmci_log_flush(10);
  return hmci_log_flush(20000) ? 0 : 3;
}

static void test_a_full_pipe_holds_nobody_up(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_into_a_full_pipe, "debug", output), 0);
}

static int log_the_same_often(void) {
  for (int i = 0; i < 300000; i++) hmci_log(HMC_LOG_WARNING, "stranger %d", i);
  hmci_log(HMC_LOG_WARNING, "another");
  return 0;
}

static void test_one_message_does_not_flood(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_the_same_often, NULL, output), 0);
  int lines = 0;
  for (const char *at = output; (at = strchr(at, '\n')); at++) lines++;
  assert_in_range(lines, 2, 40); /* a slow machine gets into a second window */
  assert_non_null(strstr(output, "stranger 0"));
  assert_non_null(strstr(output, "another"));
}

static int change_callback(void) {
  hmc_log_set_callback(NULL, NULL);
  hmci_log(HMC_LOG_ERROR, "from the child");
  return 0;
}

static void test_a_child_is_not_held_up_by_its_parents_callbacks(void **state) {
  (void)state;
  gate_t gate;
  open_gate(&gate);
  pthread_t logger;
  assert_int_equal(pthread_create(&logger, NULL, log_one, NULL), 0);
  assert_true(wait_for(&gate.entered));
  char output[4096];
  int result = in_child(change_callback, NULL, output);
  sem_post(&gate.leave);
  pthread_join(logger, NULL);
  hmc_log_set_callback(NULL, NULL);
  assert_int_equal(result, 0);
  assert_string_equal(output, "hmc: error: from the child\n");
}

static void test_level_names(void **state) {
  (void)state;
  hmc_log_level_t level = HMC_LOG_INFO;
  assert_false(hmci_log_level_parse("warnings", &level));
  assert_false(hmci_log_level_parse("", &level));
  assert_int_equal(level, HMC_LOG_INFO);
  assert_true(hmci_log_level_parse("WARNING", &level));
  assert_int_equal(level, HMC_LOG_WARNING);
  assert_true(hmci_log_level_parse("none", &level));
  assert_int_equal(level, HMC_LOG_NONE);
  assert_true(hmci_log_level_parse("debug", &level));
  assert_int_equal(level, HMC_LOG_DEBUG);
}

/* The reader of stderr is gone. */
static int log_to_a_broken_pipe(void) {
  int ends[2];
  signal(SIGPIPE, SIG_DFL);
  if (pipe(ends) != 0) return 1;
  close(ends[0]);
  dup2(ends[1], STDERR_FILENO);
  for (int i = 0; i < 3; i++) hmci_log(HMC_LOG_ERROR, "nobody reads this");
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGPIPE) ? 2 : 0;
}

/* Stderr is a file that has all the bytes that the process may write to one. */
static int log_to_a_full_file(void) {
  int file = memfd_create("stderr", 0);
  const struct rlimit none = {0, 0};
  signal(SIGXFSZ, SIG_DFL);
  if (file < 0 || setrlimit(RLIMIT_FSIZE, &none) != 0) return 1;
  dup2(file, STDERR_FILENO);
  for (int i = 0; i < 3; i++) hmci_log(HMC_LOG_ERROR, "there is no room for this");
  sigset_t pending;
  sigpending(&pending);
  return sigismember(&pending, SIGXFSZ) ? 2 : 0;
}

static void test_what_stderr_cannot_take_ends_no_program(void **state) {
  (void)state;
  char output[4096];
  assert_int_equal(in_child(log_to_a_broken_pipe, NULL, output), 0);
  assert_int_equal(in_child(log_to_a_full_file, NULL, output), 0);
}

int main(void) {
  /* The first ones fork, so they must come before anything in this process logs. */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_level_comes_from_the_environment),
      cmocka_unit_test(test_a_wrong_level_warns_once),
      cmocka_unit_test(test_set_level_overrides_the_environment),
      cmocka_unit_test(test_a_record_is_one_line),
      cmocka_unit_test(test_what_stderr_cannot_take_ends_no_program),
      cmocka_unit_test(test_a_callback_takes_the_records),
      cmocka_unit_test(test_a_slow_write_ends_no_wait_for_a_callback),
      cmocka_unit_test(test_a_full_pipe_holds_nobody_up),
      cmocka_unit_test(test_one_message_does_not_flood),
      cmocka_unit_test(test_changing_the_callback_waits_for_running_calls),
      cmocka_unit_test(test_a_callback_holds_nobody_up),
      cmocka_unit_test(test_a_child_is_not_held_up_by_its_parents_callbacks),
      cmocka_unit_test(test_level_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
