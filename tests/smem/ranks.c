/* Processes that are ranks (see ranks.h). */
#include "ranks.h"

#include "port.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

shared_t *shared;
uint32_t my_rank, rank_count;
char store_url[128], unserved_url[64];

static unsigned fences;
static char home[64];

void sleep_ms(int ms) {
  const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
  nanosleep(&pause, NULL);
}

static void remove_home(void) {
  char path[96];
  snprintf(path, sizeof(path), "%s/.hmc/secret", home);
  unlink(path);
  snprintf(path, sizeof(path), "%s/.hmc", home);
  rmdir(path);
  rmdir(home);
}

void ranks_set_up(void) {
  snprintf(home, sizeof(home), "/tmp/hmc-test-smem-XXXXXX");
  if (mkdtemp(home) == NULL) {
    perror("mkdtemp");
    exit(1);
  }
  setenv("HOME", home, 1);
  setenv("HMC_SECRET", home, 1);
  unsetenv("HMC_SECRET_FILE");
  unsetenv("HMC_INSECURE");
  setenv("HMC_SIM_DEVICES", "8", 1);
  remove_home();
}

/* A port that nobody listens on, for a store of this run's own; or the one that HMC_TEST_STORE names, below keys of this
 * run's own. */
static void choose_store(void) {
  static unsigned runs;
  const char *given = getenv("HMC_TEST_STORE");
  unsigned port = free_port(AF_INET);
  CHECK(port != 0);
  snprintf(unserved_url, sizeof(unserved_url), "tcp://127.0.0.1:%u", port);
  if (given != NULL) {
    CHECK(snprintf(store_url, sizeof(store_url), "%s-%d-%u", given, (int)getpid(), runs++) < (int)sizeof(store_url));
  } else {
    snprintf(store_url, sizeof(store_url), "%s", unserved_url);
  }
}

_Noreturn void fail_at(const char *file, int line, const char *what) {
  fprintf(stderr, "rank %u: %s:%d: %s\n", my_rank, file, line, what);
  if (shared != NULL) {
    atomic_fetch_add(&shared->failures, 1);
  }
  _exit(1);
}

void fence_of(uint32_t count) {
  atomic_uint *arrived = &shared->arrived[fences++ % 256];
  atomic_fetch_add(arrived, 1);
  for (int i = 0; atomic_load(arrived) < count; i++) {
    if (i > PATIENCE_S * 1000 || atomic_load(&shared->failures) > 0) {
      fail_at(__FILE__, __LINE__, "the others did not come to the fence");
    }
    sleep_ms(1);
  }
}

void fence(void) { fence_of(rank_count); }

pid_t ranks_spawn(uint32_t rank, int (*scenario)(void)) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
    my_rank = rank;
    int code = scenario();
    fflush(NULL);
    _exit(code);
  }
  CHECK(child > 0);
  atomic_store(&shared->processes[rank], child);
  return child;
}

static bool await_children(const pid_t *children, uint32_t count) {
  bool good = true;
  for (uint32_t rank = 0; rank < count; rank++) {
    int status = 0;
    for (int i = 0; waitpid(children[rank], &status, WNOHANG) == 0; i++) {
      if (i > 2 * PATIENCE_S * 1000) {
        fprintf(stderr, "rank %u hangs\n", rank);
        kill(children[rank], SIGKILL);
        good = false;
      }
      sleep_ms(1);
    }
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  return good;
}

void ranks_share(void) {
  shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(shared != MAP_FAILED);
  choose_store();
}

bool ranks_run(const char *name, uint32_t count, int (*scenario)(void)) {
  pid_t children[RANKS_MOST];
  fprintf(stderr, "%s, %u ranks\n", name, count);
  ranks_share();
  rank_count = count;
  for (uint32_t rank = 0; rank < count; rank++) {
    children[rank] = ranks_spawn(rank, scenario);
  }
  bool good = await_children(children, count);
  munmap(shared, sizeof(*shared));
  if (!good) {
    fprintf(stderr, "%s FAILED\n", name);
  }
  return good;
}

void fill(void *data, size_t size, uint64_t seed) {
  uint8_t *bytes = data;
  for (size_t i = 0; i < size; i++) {
    bytes[i] = (uint8_t)((seed * 131 + i) ^ ((i >> 8) * 7));
  }
}

/* What orders another process's bytes before this look at them is in the other process, where the thread sanitizer does
 * not see it: this process's service thread received them, and the fence that followed was the other one's. */
__attribute__((no_sanitize("thread"))) bool is_filled(const void *data, size_t size, uint64_t seed) {
  const uint8_t *bytes = data;
  for (size_t i = 0; i < size; i++) {
    if (bytes[i] != (uint8_t)((seed * 131 + i) ^ ((i >> 8) * 7))) {
      fprintf(stderr, "byte %zu of %zu is %02x\n", i, size, bytes[i]);
      return false;
    }
  }
  return true;
}
