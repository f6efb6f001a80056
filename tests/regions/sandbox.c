/* A program in a sandbox: without memfd_create, without reaching into other processes, without /proc, and without all of
 * them, two contexts still reach each other, and what is slower for it is said once.
 *
 * Each case is a process of its own: this program again, with the names of what is taken away. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES (256 * KIB)
#define CHECK(call)                                                                                                    \
  do {                                                                                                                 \
    hmc_status_t status_ = (call);                                                                                     \
    if (status_ != HMC_SUCCESS) {                                                                                      \
      fprintf(stderr, "failed: %s: %s: %s\n", #call, hmc_status_name(status_), hmc_last_error());                      \
      return 1;                                                                                                        \
    }                                                                                                                  \
  } while (0)

/* ---- taking away ------------------------------------------------------------------------------------------------- */

/* These calls answer `error` from now on, in all threads. */
static bool answer(const int *calls, size_t count, unsigned error) {
  struct sock_filter program[32];
  unsigned short used = 0;
  program[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, nr));
  for (size_t i = 0; i < count; i++) {
    program[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
    program[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error);
  }
  program[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  struct sock_fprog filter = {used, program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

static bool forbid(const int *calls, size_t count) { return answer(calls, count, EPERM); }

/* EFAULT: as of memory that a driver has mapped. EPERM: as of a program that puts itself into a sandbox. */
static bool make_unreadable(unsigned error) {
  const int reads[] = {SYS_process_vm_readv, SYS_process_vm_writev};
  return answer(reads, COUNT_OF(reads), error);
}

static bool hide_proc(void) {
  if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    /* Where not even that is allowed, opening files is: the next best is to have no descriptor of processes. */
    const int calls[] = {SYS_pidfd_open};
    return forbid(calls, COUNT_OF(calls));
  }
  mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
  return mount("none", "/proc", "tmpfs", 0, NULL) == 0;
}

static bool take_away(const char *what) {
  const int memfd[] = {SYS_memfd_create};
  const int attach[] = {SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_open
#ifdef SYS_pidfd_getfd
                        ,
                        SYS_pidfd_getfd
#endif
  };
  return (!strstr(what, "proc") || hide_proc()) && (!strstr(what, "memfd") || forbid(memfd, COUNT_OF(memfd))) &&
         (!strstr(what, "attach") || forbid(attach, COUNT_OF(attach)));
}

/* ---- the sandboxed process --------------------------------------------------------------------------------------- */

/* Puts a pattern to a region and gets it back. */
static int exchange_with(hmc_region_t *local, hmc_remote_t *remote, uint8_t value) {
  uint8_t *bytes = hmc_region_pointer(local);
  memset(bytes, value, BYTES);
  CHECK(hmc_put(local, 0, remote, 0, BYTES));
  memset(bytes, 0, BYTES);
  CHECK(hmc_get(local, 0, remote, 0, BYTES));
  for (uint64_t i = 0; i < BYTES; i++)
    if (bytes[i] != value) return 1;
  return 0;
}

/* `error`: what reading memory from outside answers once the two are connected; 0: as before. */
static int use(uint8_t *registered, unsigned error) {
  hmc_context_t *here, *there;
  hmc_peer_t *peer, *back;
  hmc_region_t *owned, *given, *local, *read_only;
  hmc_remote_t *remote;
  uint16_t port = 0;
  hmc_memory_t host = {HMC_MEMORY_CPU, 0};
  CHECK(hmc_context_create(NULL, &here));
  CHECK(hmc_context_create(NULL, &there));
  CHECK(hmc_context_listen(there, "127.0.0.1", 0, &port));
  CHECK(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_AUTO, 0, &peer));
  CHECK(hmc_context_accept(there, 0, &back));
  CHECK(hmc_region_allocate(there, host, BYTES, "owned", HMC_REMOTE_ALL, &owned));
  CHECK(hmc_region_allocate(there, host, BYTES, "read-only", HMC_REMOTE_READ, &read_only));
  CHECK(hmc_region_register(there, registered, BYTES, "registered", HMC_REMOTE_ALL, &given));
  CHECK(hmc_region_allocate(here, host, BYTES, NULL, 0, &local));
  if (error && !make_unreadable(error)) return 1;
  CHECK(hmc_remote_open(peer, "owned", 0, &remote));
  if (exchange_with(local, remote, 1)) return 1;
  CHECK(hmc_remote_open(peer, "registered", 0, &remote));
  if (exchange_with(local, remote, 2)) return 1;
  CHECK(hmc_remote_open(peer, "read-only", 0, &remote));
  CHECK(hmc_get(local, 0, remote, 0, BYTES));
  hmc_context_destroy(here);
  hmc_context_destroy(there);
  return 0;
}

static int run(const char *what) {
  static uint8_t registered[BYTES];
  if (!take_away(what)) {
    fprintf(stderr, "failed: taking away %s: %s\n", what, strerror(errno));
    return 1;
  }
  if (strstr(what, "reading")) return use(registered, EFAULT);
  if (strstr(what, "permission")) return use(registered, EPERM);
  return use(registered, 0) || use(registered, 0); /* the second time says nothing that the first has said */
}

/* ---- the test ---------------------------------------------------------------------------------------------------- */

/* The text that the sandboxed process wrote to stderr. */
static void run_without(const char *what, char text[8192]) {
  int ends[2], status = 0;
  size_t size = 0;
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    setenv("HMC_LOG", "warning", 1);
    if (SANITIZED) { /* looking for leaks needs /proc */
      char options[512];
      const char *given = getenv("ASAN_OPTIONS");
      snprintf(options, sizeof options, "%s%sdetect_leaks=0", given ? given : "", given ? ":" : "");
      setenv("ASAN_OPTIONS", options, 1);
    }
    execl("/proc/self/exe", "sandbox", "without", what, (char *)NULL);
    _exit(127);
  }
  close(ends[1]);
  for (ssize_t got; (got = read(ends[0], text + size, 8191 - size)) > 0;) size += (size_t)got;
  text[size] = 0;
  close(ends[0]);
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("without %s: status %x, said:\n%s", what, status, text);
}

/* Lines of it with that word. */
static int lines_with(const char *text, const char *word) {
  int count = 0;
  for (const char *at = text; (at = strstr(at, word)); at++) count++;
  return count;
}

static void test_with_everything(void **state) {
  (void)state;
  char text[8192];
  run_without("nothing", text);
  assert_string_equal(text, "");
}

static void test_without_memfd(void **state) {
  (void)state;
  char text[8192];
  run_without("memfd", text);
  assert_int_equal(lines_with(text, "allocated memory cannot be mapped by peers"), 1);
  assert_int_equal(lines_with(text, "not reached by shm"), 1);
}

static void test_without_attaching(void **state) {
  (void)state;
  char text[8192];
  run_without("attach", text);
  assert_int_equal(lines_with(text, "attaching does not work"), 1);
}

static void test_without_reading(void **state) {
  (void)state;
  char text[8192];
  run_without("reading", text);
  assert_string_equal(text, "");
}

static void test_without_permission(void **state) {
  (void)state;
  char text[8192];
  run_without("permission", text);
  assert_string_equal(text, "");
}

static void test_without_proc(void **state) {
  (void)state;
  char text[8192];
  run_without("proc", text);
}

static void test_without_any(void **state) {
  (void)state;
  char text[8192];
  run_without("proc memfd attach", text);
  assert_int_equal(lines_with(text, "not reached by shm"), 1);
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "without") == 0) return run(argv[2]);
  environment_open();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_with_everything),    cmocka_unit_test(test_without_memfd),
      cmocka_unit_test(test_without_attaching),  cmocka_unit_test(test_without_reading),
      cmocka_unit_test(test_without_permission), cmocka_unit_test(test_without_proc),
      cmocka_unit_test(test_without_any),
  };
  return cmocka_run_group_tests_name("regions.sandbox", tests, NULL, NULL);
}
