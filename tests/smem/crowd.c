/* A world of 1,024 members, each a process of its own, on one machine: all become members, create a pool, join it, see one
 * another, and leave. Prints the time and the memory per member. */
#include "ranks.h"

#include <smem/host/smem_bm.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum { PATIENCE_MS = 1200000, TIMEOUT_S = 1200 }; /* a busy machine takes minutes */

static atomic_uint *served, *joined, *done;
static uint32_t members;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void await(atomic_uint *count, uint32_t wanted) {
  for (int waited = 0; atomic_load(count) < wanted; waited += 500) { /* rarely: so many would keep the machine busy */
    CHECK(waited < PATIENCE_MS && atomic_load(&shared->failures) == 0);
    sleep_ms(500);
  }
}

static int be_member(void) {
  smem_bm_config_t config;
  uint32_t word = my_rank + 1, got = 0, next = (my_rank + 1) % members;
  ANSWERS(0, smem_bm_config_init(&config));
  config.startConfigStore = false;
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = TIMEOUT_S;
  await(served, 1);
  config.rankId = (uint16_t)my_rank;
  ANSWERS(0, smem_bm_init(store_url, members, 0, &config));
  smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, 2 * MIB, 0, 0);
  if (pool == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  *(uint32_t *)smem_bm_ptr(pool, (uint16_t)my_rank) = word;
  ANSWERS(0, smem_bm_join(pool, 0));
  atomic_fetch_add(joined, 1);
  await(joined, members);
  int32_t code;
  do { /* one that gets no processor for seconds is taken for dead, and is back when it does */
    code = smem_bm_copy(pool, smem_bm_ptr(pool, (uint16_t)next), &got, sizeof(got), SMEMB_COPY_G2H, 0);
    sleep_ms(code == 0 ? 0 : 500);
  } while (code == -2007 && atomic_load(&shared->failures) == 0);
  ANSWERS(0, code);
  CHECK(got == next + 1);
  atomic_fetch_add(done, 1);
  await(done, members + 1); /* the parent has measured */
  smem_bm_uninit(0);
  return 0;
}

/* Memory of a process that is its own, in KiB. */
static double private_kib(pid_t process) {
  char path[64], line[128];
  double sum = 0, value;
  snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)process);
  FILE *file = fopen(path, "r");
  while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
    if (sscanf(line, "Pss: %lf kB", &value) == 1) {
      sum += value;
    }
  }
  if (file != NULL) {
    fclose(file);
  }
  return sum;
}

int main(int count, char **arguments) {
  members = count > 1 ? (uint32_t)atoi(arguments[1]) : SMEM_WORLD_SIZE_MAX;
  pid_t *children = calloc(members, sizeof(*children));
  ranks_set_up();
  ranks_share();
  joined = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(children != NULL && joined != MAP_FAILED);
  done = joined + 1;
  served = joined + 2;
  double begin, kib = 0;
  for (uint32_t rank = 0; rank < members; rank++) {
    children[rank] = fork();
    if (children[rank] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      my_rank = rank;
      _exit(be_member());
    }
    CHECK(children[rank] > 0);
  }
  ANSWERS(0, smem_create_config_store(store_url));
  begin = now_s();
  atomic_store(served, 1);
  await(joined, members);
  double all_joined = now_s() - begin;
  await(done, members);
  double all_done = now_s() - begin;
  for (uint32_t rank = 0; rank < members; rank++) {
    kib += private_kib(children[rank]);
  }
  double store_kib = private_kib(getpid());
  atomic_fetch_add(done, 1);
  for (uint32_t rank = 0; rank < members; rank++) {
    int status = 0;
    waitpid(children[rank], &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  fprintf(
      stderr,
      "%u members: joined in %.2f s (%.2f ms each), a copy with a neighbour by %.2f s, %.0f KiB each, %.0f KiB in the "
      "process with the store\n",
      members, all_joined, 1000 * all_joined / members, all_done, kib / members, store_kib);
  free(children);
  return 0;
}
