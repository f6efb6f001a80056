/* The surroundings of a test program: an empty home, no settings, a watchdog, and looks at the process itself.
 *
 * The watchdog is one thread that reads two atomics; the thread that runs a test sets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <dirent.h>
#include <fnmatch.h>
#include <ftw.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static char home[] = "/tmp/hmc-test-XXXXXX";
static uint64_t files_at_start;
static _Atomic uint64_t watch_deadline; /* milliseconds; 0: nothing is watched. Released after watch_what */
static const char *_Atomic watch_what;
static bool is_target;

/* ---- clock and watchdog ------------------------------------------------------------------------------------------ */

uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void sleep_ms(uint64_t milliseconds) {
  struct timespec rest = {(time_t)(milliseconds / 1000), (long)(milliseconds % 1000) * 1000000};
  while (nanosleep(&rest, &rest) != 0)
    ;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk) {
  (void)status, (void)type, (void)walk;
  return remove(path);
}

static void remove_home(void) { nftw(home, remove_entry, 8, FTW_DEPTH | FTW_PHYS); }

static void *watchdog(void *started) {
  sem_post(started);
  for (;;) {
    sleep_ms(1000);
    uint64_t deadline = atomic_load(&watch_deadline);
    if (deadline == 0 || now_ms() < deadline) continue;
    fprintf(stderr, "watchdog: %s %d hangs in: %s\n", is_target ? "target" : "test", (int)getpid(),
            atomic_load(&watch_what));
    if (!is_target) remove_home();
    _exit(1);
  }
  return NULL;
}

void watch(const char *what, unsigned seconds) {
  atomic_store(&watch_what, what);
  atomic_store(&watch_deadline, now_ms() + UINT64_C(1000) * seconds * (PATIENCE_MS / 60000));
}

void watch_end(void) { atomic_store(&watch_deadline, 0); }

/* Returns when the thread runs: one that is still starting may hold the allocator's lock of a sanitizer, and a test that
 * forks then has a child whose first allocation waits forever. */
void watchdog_start(bool in_target) {
  static sem_t started;
  pthread_t thread;
  is_target = in_target;
  if (sem_init(&started, 0, 0) != 0 || pthread_create(&thread, NULL, watchdog, &started) != 0) {
    perror("watchdog");
    _exit(1);
  }
  while (sem_wait(&started) != 0)
    ;
  pthread_detach(thread);
}

/* ---- cases ------------------------------------------------------------------------------------------------------- */

void pick_cases(const char *pattern, const struct CMUnitTest *tests, size_t count) {
  if (!pattern) return;
  cmocka_set_test_filter(pattern);
  for (size_t i = 0; i < count; i++)
    if (fnmatch(pattern, tests[i].name, 0) == 0) return;
  fprintf(stderr, "no case is called %s; there are:\n", pattern);
  for (size_t i = 0; i < count; i++) fprintf(stderr, "  %s\n", tests[i].name);
  exit(2);
}

/* ---- environment ------------------------------------------------------------------------------------------------- */

/* Which vendors' libraries there are belongs to the stamp of a test, not to who runs it. */
static bool names_a_library(const char *variable, size_t length) {
  return (length > 8 && strncmp(variable + length - 8, "_LIBRARY", 8) == 0) ||
         strncmp(variable, "HMC_LOOKALIKE_", 14) == 0;
}

static void forget_settings(void) {
  for (char **variable = environ; *variable;) {
    char name[128];
    size_t length = strcspn(*variable, "=");
    bool ours =
        strncmp(*variable, "HMC_", 4) == 0 || strncmp(*variable, "CTRL_", 5) == 0 || strncmp(*variable, "UCX_", 4) == 0;
    if (!ours || length >= sizeof name || names_a_library(*variable, length)) {
      variable++;
      continue;
    }
    memcpy(name, *variable, length);
    name[length] = 0;
    unsetenv(name);
    variable = environ;
  }
}

/* cmocka takes crashes for failed tests and goes on, with whatever locks the crash left. Here a crash ends the program.
 */
static void on_crash(int number) {
  static const char text[] = "crashed in: ", end[] = "\n";
  const char *what = atomic_load(&watch_what);
  struct iovec parts[] = {{(void *)(uintptr_t)text, sizeof text - 1},
                          {(void *)(uintptr_t)what, what ? strlen(what) : 0},
                          {(void *)(uintptr_t)end, 1}};
  ssize_t written = writev(STDERR_FILENO, parts, COUNT_OF(parts));
  (void)written;
  if (!is_target) remove_home();
  signal(number, SIG_DFL); /* the same instruction, or abort(), raises it again */
}

void crash_handlers_set(void) {
  static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
  for (size_t i = 0; i < COUNT_OF(signals); i++)
    signal(signals[i], on_crash); /* sanitizers that have handlers of their own keep them: see below */
}

#if SANITIZED
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void) { return "handle_segv=2:handle_sigbus=2:handle_abort=2:handle_sigfpe=2"; }
const char *__tsan_default_options(void) {
  return "handle_segv=2:handle_sigbus=2:handle_abort=2:handle_sigfpe=2:atexit_sleep_ms=0";
}
#endif

void environment_open(void) {
  files_at_start = open_files();
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (!mkdtemp(home)) {
    perror(home);
    _exit(1);
  }
  atexit(remove_home);
  forget_settings();
  setenv("HOME", home, 1);
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 1024) {
    files.rlim_cur = files.rlim_max < 1024 ? files.rlim_max : 1024;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  watchdog_start(false);
}

const char *environment_home(void) { return home; }
uint64_t environment_files(void) { return files_at_start; }

/* UCX on the emulated devices of the virtual machine. The first: see docs/ucx.md. The others keep what is allocated and
 * pinned for each connection small, for pinning is what takes the time there. */
#define SOFT_ROCE_SETTINGS                                                                                             \
  "UCX_UD_VERBS_ETH_DGID_CHECK=n", "UCX_NET_DEVICES=lo,rxe0:1", "UCX_RC_VERBS_RX_QUEUE_LEN=256",                       \
      "UCX_UD_VERBS_RX_QUEUE_LEN=256"

/* A transport as the stamps name it: a type, and settings that make it take another way. */
static const struct {
  const char *name;
  hmc_connection_type_t type;
  const char *settings[5];
} transports[] = {
    {"shm", HMC_CONNECTION_SHM, {NULL}},
    {"shm_staged", HMC_CONNECTION_SHM, {"HMC_SHM_CMA=no", "HMC_SERVICE_THREADS=2"}},
    {"tcp", HMC_CONNECTION_TCP, {NULL}},
    {"tcp_streams", HMC_CONNECTION_TCP, {"HMC_TCP_STREAMS=4", "HMC_SERVICE_THREADS=3"}},
    {"tcp_encrypted", HMC_CONNECTION_TCP, {"HMC_ENCRYPT=yes"}},
    {"ucx-tcp", HMC_CONNECTION_UCX, {"UCX_TLS=tcp"}},
    {"ucx-shm", HMC_CONNECTION_UCX, {"UCX_POSIX_ERROR_HANDLING=y"}},
    {"ucx-rc", HMC_CONNECTION_UCX, {"UCX_TLS=rc_v,tcp", SOFT_ROCE_SETTINGS}},
    {"ucx-ud", HMC_CONNECTION_UCX, {"UCX_TLS=ud_v,tcp", SOFT_ROCE_SETTINGS}},
    {"verbs", HMC_CONNECTION_RDMA, {NULL}},
    {"verbs_flush", HMC_CONNECTION_RDMA, {"HMC_RDMA_FLUSH=yes"}},
    {"verbs_pinched", HMC_CONNECTION_RDMA, {"HMC_RDMA_PINNED_MAX=64K"}},
};

static void apply(const char *setting) {
  char name[64];
  snprintf(name, sizeof name, "%.*s", (int)strcspn(setting, "="), setting);
  setenv(name, strchr(setting, '=') + 1, 1);
}

bool transport_parse(const char *name, hmc_connection_type_t *type) {
  for (size_t i = 0; i < COUNT_OF(transports); i++) {
    if (strcmp(name, transports[i].name) != 0) continue;
    *type = transports[i].type;
    for (size_t j = 0; j < COUNT_OF(transports[i].settings) && transports[i].settings[j]; j++)
      apply(transports[i].settings[j]);
    return true;
  }
  return false;
}

/* ---- looking at this process ------------------------------------------------------------------------------------- */

static uint64_t entries_of(const char *path) {
  DIR *directory = opendir(path);
  uint64_t count = 0;
  for (struct dirent *entry; directory && (entry = readdir(directory));) count += entry->d_name[0] != '.';
  if (directory) closedir(directory);
  return count;
}

uint64_t open_files(void) { return entries_of("/proc/self/fd") - 1; } /* less the one that reads the folder */
uint64_t running_threads(void) { return entries_of("/proc/self/task"); }

uint64_t mappings_of(const char *part) {
  FILE *maps = fopen("/proc/self/maps", "re");
  uint64_t count = 0;
  char line[512];
  while (maps && fgets(line, sizeof line, maps)) count += strstr(line, part) != NULL;
  if (maps) fclose(maps);
  return count;
}
