/* A small put or get to a mapped peer allocates nothing, takes no lock and makes no system call.
 *
 * Allocations and locks are counted by this program's own malloc, free and pthread_mutex_lock, which stand before the C
 * library's; a sanitizer has its own, and hooks to count them. System calls are counted by tracing a second run of this
 * program, in which the same puts run between two marks. Each count is first seen to count. */
#include "suite.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* ---- counting */

/* What the thread has called since it began to count. */
static _Thread_local struct {
  bool on;
  uint32_t allocations, frees, locks;
} calls;

/* Goes on to the function of that name which this program's own hides; `real` keeps it. */
typedef int lock_function_t(pthread_mutex_t *mutex);

static int lock_by(lock_function_t *_Atomic *real, const char *name, pthread_mutex_t *mutex) {
  lock_function_t *function = atomic_load(real);
  if (!function) {
    function = (lock_function_t *)dlsym(RTLD_NEXT, name);
    if (!function) abort();
    atomic_store(real, function);
  }
  calls.locks += calls.on;
  return function(mutex);
}

int pthread_mutex_lock(pthread_mutex_t *mutex) {
  static lock_function_t *_Atomic real;
  return lock_by(&real, "pthread_mutex_lock", mutex);
}

int pthread_mutex_trylock(pthread_mutex_t *mutex) {
  static lock_function_t *_Atomic real;
  return lock_by(&real, "pthread_mutex_trylock", mutex);
}

#if SANITIZED
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                              void (*on_free)(const volatile void *));

static void count_malloc(const volatile void *pointer, size_t size) {
  (void)pointer, (void)size;
  calls.allocations += calls.on;
}

static void count_free(const volatile void *pointer) {
  (void)pointer;
  calls.frees += calls.on;
}

static void count_begin_early(void) { __sanitizer_install_malloc_and_free_hooks(count_malloc, count_free); }
#else
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *pointer);

void *malloc(size_t size) {
  calls.allocations += calls.on;
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  calls.allocations += calls.on;
  return __libc_calloc(count, size);
}

void *realloc(void *pointer, size_t size) {
  calls.allocations += calls.on;
  return __libc_realloc(pointer, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  calls.allocations += calls.on;
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **pointer, size_t alignment, size_t size) {
  calls.allocations += calls.on;
  *pointer = __libc_memalign(alignment, size);
  return *pointer ? 0 : ENOMEM;
}

void free(void *pointer) {
  calls.frees += calls.on;
  __libc_free(pointer);
}

static void count_begin_early(void) {}
#endif

static void count_begin(void) {
  memset(&calls, 0, sizeof calls);
  calls.on = true;
}

static void count_end(void) { calls.on = false; }

/* ---- what is counted */

typedef struct scene {
  context_pair_t pair;
  far_t made, lent;
  test_buffer_t local;
} scene_t;

#define SMALL_MAX 4096u
#define PUTS 10000u

static void scene_open(scene_t *scene) {
  context_pair_open(&scene->pair, NULL);
  scene->made = far_make(&scene->pair, (far_options_t){.name = "made", .size = 4 * SMALL_MAX});
  scene->lent = far_make(&scene->pair, (far_options_t){.name = "lent", .size = 4 * SMALL_MAX, .registered = true});
  scene->local = near_make(&scene->pair, 4 * SMALL_MAX, false);
}

static void scene_close(scene_t *scene) {
  test_buffer_close(&scene->local);
  far_close(&scene->lent);
  far_close(&scene->made);
  context_pair_close(&scene->pair);
}

/* Small puts, and every fourth time a get, of all sizes up to a page. */
static hmc_status_t small_moves(const scene_t *scene, hmc_remote_t *remote, uint32_t times) {
  hmc_status_t status = HMC_SUCCESS;
  for (uint32_t i = 0; i < times && status == HMC_SUCCESS; i++) {
    uint64_t length = i % 3 ? 8 : 1 + i * 37 % SMALL_MAX, offset = i % SMALL_MAX;
    status = i % 4 ? hmc_put(scene->local.region, offset, remote, 2 * offset, length)
                   : hmc_get(scene->local.region, offset, remote, 2 * offset, length);
  }
  return status;
}

static void small_put_allocates_and_locks_nothing(void **state) {
  (void)state;
  scene_t scene;
  scene_open(&scene);
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .notification = "seen", .notification_size = 4};
  count_begin(); /* a request with a notification does all three */
  hmc_status_t status = put_with(&scene.local, 0, scene.lent.remote, 0, 8, &options);
  count_end();
  assert_status(status, HMC_SUCCESS);
  assert_true(calls.allocations > 0);
  assert_true(calls.frees > 0);
  assert_true(calls.locks > 0);

  count_begin();
  status = small_moves(&scene, scene.made.remote, PUTS);
  count_end();
  assert_status(status, HMC_SUCCESS);
  assert_int_equal(calls.allocations, 0);
  assert_int_equal(calls.frees, 0);
  assert_int_equal(calls.locks, 0);
  scene_close(&scene);
}

/* ---- system calls */

/* The traced run: marks, then puts to mapped memory, a mark, puts to memory that only the kernel reaches, a mark. */
#define MARK SYS_getppid
#define LENT_PUTS 10u

static int run_traced(void) {
  scene_t scene;
  scene_open(&scene);
  hmc_status_t status = small_moves(&scene, scene.made.remote, 100); /* what is done once, is done */
  if (status == HMC_SUCCESS) status = small_moves(&scene, scene.lent.remote, 100);
  syscall(MARK);
  if (status == HMC_SUCCESS) status = small_moves(&scene, scene.made.remote, PUTS);
  syscall(MARK);
  if (status == HMC_SUCCESS) status = small_moves(&scene, scene.lent.remote, LENT_PUTS);
  syscall(MARK);
  scene_close(&scene);
  return status == HMC_SUCCESS ? 0 : 1;
}

static pid_t start_traced(void) {
  char *arguments[] = {(char *)"fast_path", (char *)"--traced", NULL};
  pid_t process = fork();
  assert_true(process >= 0);
  if (process == 0) { /* async-signal-safe calls only: there are threads */
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    execve("/proc/self/exe", arguments, environ);
    _exit(127);
  }
  int status = 0;
  assert_int_equal(waitpid(process, &status, 0), process);
  assert_true(WIFSTOPPED(status)); /* at its exec */
  assert_int_equal(ptrace(PTRACE_SETOPTIONS, process, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL), 0);
  return process;
}

/* The number of the system call at whose entry the process stands, or -1. */
static int64_t call_at(pid_t process) {
  struct __ptrace_syscall_info info;
  memset(&info, 0, sizeof info);
  void *size = (void *)sizeof info;
  if (ptrace(PTRACE_GET_SYSCALL_INFO, process, size, &info) <= 0 || info.op != PTRACE_SYSCALL_INFO_ENTRY) return -1;
  return (int64_t)info.entry.nr;
}

/* Follows the main thread; `counts` gets the calls before the first mark, between it and the second, and so on. */
static int follow(pid_t process, uint64_t counts[4], int64_t *example) {
  int status = 0, deliver = 0;
  size_t marks = 0;
  for (;;) {
    assert_int_equal(ptrace(PTRACE_SYSCALL, process, NULL, (void *)(intptr_t)deliver), 0);
    assert_int_equal(waitpid(process, &status, 0), process);
    if (!WIFSTOPPED(status)) return status;
    bool at_call = WSTOPSIG(status) == (SIGTRAP | 0x80);
    deliver = at_call ? 0 : WSTOPSIG(status);
    int64_t number = at_call ? call_at(process) : -1;
    if (number == MARK) {
      marks++;
    } else if (number >= 0 && marks < 4) {
      counts[marks]++;
      if (marks == 1) *example = number;
    }
  }
}

static void small_put_makes_no_system_call(void **state) {
  (void)state;
  uint64_t counts[4] = {0};
  int64_t example = -1;
  int status = follow(start_traced(), counts, &example);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  assert_true(counts[0] > 20);         /* making contexts */
  assert_true(counts[2] >= LENT_PUTS); /* one or more each */
  if (counts[1])
    fail_msg("%u puts and gets: %llu system calls, number %lld among them", PUTS, (unsigned long long)counts[1],
             (long long)example);
}

static int open_case(void **state) {
  (void)state;
  crash_handlers_set();
  watch("fast path", 250);
  return 0;
}

int main(int argc, char **argv) {
  (void)argv;
  count_begin_early();
  if (!stamp_parse("shm", "cpu")) return 2;
  if (argc == 2) _exit(run_traced()); /* no leak check: that one traces, too */
  environment_open();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(small_put_allocates_and_locks_nothing, open_case, pair_case_close),
      cmocka_unit_test_setup_teardown(small_put_makes_no_system_call, open_case, pair_case_close),
  };
  return _cmocka_run_group_tests("operations.shm.fast_path", tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
