/* Members of a pool that join, leave and are killed at random under load, while the store is killed and restarted.
 *
 * Each member writes blocks into an area of its own in others' parts and reads them back. Every copy must end, with
 * success or with a code that says that the other member is gone or the time is up; and what was written and read back
 * in one life of the other member must be the same.
 *
 * usage: smem_churn HMC_STORE SECONDS [REST]
 *
 * REST: members rest that many times as long as they work, so that others get the processors meanwhile. */
#include "ranks.h"

#include <hmc.h>
#include <smem/host/smem_bm.h>

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define REST_MOST_S 0.02

enum { MEMBERS = 4, AREA = 256 << 10, HEADER = 4096, BLOCK_MOST = 100000, TIMEOUT_S = 10, END_S = 60 };

typedef struct counts {
  atomic_ullong copies, gone, late, verified, lives, store_lives;
} counts_t;

static counts_t *counts;
static volatile sig_atomic_t must_leave;
static const char *store_program;
static char journal[128];
static double rest; /* times the work */

static void leave_soon(int number) {
  (void)number;
  must_leave = 1;
}

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- a member ---------------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t random_below(uint64_t limit) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state % limit;
}

/* One copy; false where the other member is gone. A code that no copy may end with fails the test. */
static bool copy(smem_bm_t pool, const void *from, void *to, uint64_t size) {
  smem_copy_params params = {.src = from, .dest = to, .dataSize = size};
  int32_t code = smem_bm_copy(pool, &params, SMEMB_COPY_AUTO, 0);
  atomic_fetch_add(&counts->copies, 1);
  if (code == -2007) {
    atomic_fetch_add(&counts->gone, 1);
  } else if (code == -2004) {
    atomic_fetch_add(&counts->late, 1);
  } else if (code != 0) {
    char text[1200];
    snprintf(text, sizeof(text), "a copy ended with %d: %s", code, smem_get_last_err_msg());
    fail_at(__FILE__, __LINE__, text);
  }
  return code == 0;
}

static void work(smem_bm_t pool, uint32_t rank) {
  static uint8_t sent[BLOCK_MOST], got[BLOCK_MOST];
  uint64_t before = 0, after = 0, size = 1 + random_below(BLOCK_MOST), seed = random_below(1u << 30);
  char *host = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)rank);
  char *device = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_DEVICE, (uint16_t)rank);
  uint64_t offset = HEADER + (uint64_t)my_rank * AREA + random_below(AREA - size);
  char *there = (random_below(2) == 0 ? host : device) + offset;
  fill(sent, size, seed);
  if (!copy(pool, host, &before, sizeof(before)) || !copy(pool, sent, there, size) || !copy(pool, there, got, size) ||
      !copy(pool, host, &after, sizeof(after))) {
    return;
  }
  CHECK(before != 0);
  if (before == after) {
    CHECK(is_filled(got, size, seed));
    atomic_fetch_add(&counts->verified, 1);
  }
}

/* After so many seconds of work; a wait for a member that is gone counts as little. */
static void rest_after(double seconds) {
  double pause = rest * (seconds < REST_MOST_S ? seconds : REST_MOST_S);
  if (pause > 0) {
    sleep_ms(1 + (int)(pause * 1000));
  }
}

/* The rank is free a moment after its last owner died; while the store is away it takes longer. */
static void enter(void) {
  smem_bm_config_t config;
  double until = now_s() + END_S;
  int32_t code;
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = TIMEOUT_S;
  config.startConfigStore = false;
  config.rankId = (uint16_t)my_rank;
  do {
    code = smem_bm_init(store_url, MEMBERS, 0, &config);
  } while ((code == -2006 || code == -2004) && now_s() < until);
  ANSWERS(0, code);
}

static int be_member(void) {
  smem_bm_t pool = NULL;
  double until = now_s() + END_S;
  random_state = ((uint64_t)getpid() << 32) ^ (uint64_t)time(NULL) ^ 88172645463325252ull;
  enter();
  while (pool == NULL && now_s() < until) {
    pool = smem_bm_create(9, 0, SMEMB_DATA_OP_SDMA, 2 * MIB, 2 * MIB, 0);
  }
  if (pool == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  uint64_t life = random_below(UINT64_MAX) | 1;
  memcpy(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)my_rank), &life, sizeof(life));
  int32_t code;
  do {
    code = smem_bm_join(pool, 0);
  } while (code == -2004 && now_s() < until);
  ANSWERS(0, code);
  atomic_fetch_add(&counts->lives, 1);
  while (!must_leave) {
    double begin = now_s();
    uint32_t rank = (my_rank + 1 + (uint32_t)random_below(MEMBERS - 1)) % MEMBERS;
    work(pool, rank);
    CHECK(now_s() - begin < END_S); /* four copies, each with its deadline */
    rest_after(now_s() - begin);
  }
  smem_bm_destroy(pool);
  smem_bm_uninit(0);
  return 0;
}

/* ---- what happens to them ---------------------------------------------------------------------------------------- */

static pid_t start_store(void) {
  const char *port = strrchr(store_url, ':') + 1;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (freopen("/dev/null", "w", stdout) == NULL) {
      _exit(127);
    }
    execl(store_program, store_program, "--port", port, "--journal", journal, (char *)NULL);
    _exit(127);
  }
  CHECK(child > 0);
  atomic_fetch_add(&counts->store_lives, 1);
  return child;
}

static void end_child(pid_t child, int number) {
  int status = 0;
  double until = now_s() + 2 * END_S;
  kill(child, number);
  while (waitpid(child, &status, WNOHANG) == 0) {
    CHECK(now_s() < until);
    sleep_ms(2);
  }
  if (number == SIGTERM && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
    fail_at(__FILE__, __LINE__, "a member that was asked to leave failed");
  }
}

/* None has failed by itself. */
static void look_at(const pid_t *members) {
  for (int i = 0; i < MEMBERS; i++) {
    CHECK(waitpid(members[i], NULL, WNOHANG) == 0);
  }
  CHECK(atomic_load(&shared->failures) == 0);
}

static void churn(double seconds) {
  signal(SIGTERM, leave_soon); /* a member has it from its first moment, and may be asked to leave then */
  pid_t members[MEMBERS], store = start_store();
  for (uint32_t i = 0; i < MEMBERS; i++) {
    members[i] = ranks_spawn(i, be_member);
  }
  double until = now_s() + seconds;
  while (now_s() < until) {
    sleep_ms(100 + (int)random_below(900));
    look_at(members);
    uint32_t chosen = (uint32_t)random_below(MEMBERS), what = (uint32_t)random_below(6);
    if (what == 0) {
      end_child(store, SIGKILL);
      sleep_ms((int)random_below(1000));
      store = start_store();
    } else {
      end_child(members[chosen], what == 1 ? SIGTERM : SIGKILL);
      members[chosen] = ranks_spawn(chosen, be_member);
    }
  }
  for (uint32_t i = 0; i < MEMBERS; i++) {
    end_child(members[i], SIGTERM);
  }
  end_child(store, SIGKILL);
}

int main(int count, char **arguments) {
  if (count != 3 && count != 4) {
    fprintf(stderr, "usage: smem_churn HMC_STORE SECONDS [REST]\n");
    return 2;
  }
  store_program = arguments[1];
  rest = count == 4 ? strtod(arguments[3], NULL) : 0;
  ranks_set_up();
  ranks_share();
  counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(counts != MAP_FAILED);
  snprintf(journal, sizeof(journal), "/tmp/hmc-test-smem-journal-%d", (int)getpid());
  random_state = ((uint64_t)getpid() << 32) ^ (uint64_t)time(NULL);
  unlink(journal);
  churn(strtod(arguments[2], NULL));
  unlink(journal);
  fprintf(
      stderr,
      "%llu copies, %llu to members that were gone, %llu late, %llu blocks verified, %llu lives of members, %llu of "
      "the store\n",
      (unsigned long long)counts->copies, (unsigned long long)counts->gone, (unsigned long long)counts->late,
      (unsigned long long)counts->verified, (unsigned long long)counts->lives, (unsigned long long)counts->store_lives);
  CHECK(counts->verified > 0);
  return 0;
}
