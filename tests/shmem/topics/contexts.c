/* Topics: contexts, an invalid one, a reduction in a pipeline over two of them, contexts of teams, and sessions. */
#include "topic.h"

#include <pthread.h>

enum { LENGTH = 2048, STAGE = 256 };
static int in[LENGTH], out[LENGTH], value;

/* Each stage is sent while the one before it is summed up. */
static void pipelined_sum(int me, int n) {
  int *stages[2];
  shmem_ctx_t ctx[2];
  for (int i = 0; i < 2; i++) {
    stages[i] = shmem_malloc((size_t)(STAGE * n) * sizeof(int));
    CHECK(stages[i] && shmem_ctx_create(0, &ctx[i]) == 0);
  }
  for (int i = 0; i < LENGTH; i++) in[i] = me + i;
  for (int stage = 0; stage <= LENGTH / STAGE; stage++) {
    int now = stage % 2, before = 1 - now;
    for (int to = 0; stage < LENGTH / STAGE && to < n; to++) {
      shmem_put_nbi(ctx[now], &stages[now][STAGE * me], &in[STAGE * stage], STAGE, to);
    }
    if (stage == 0) continue;
    shmem_ctx_quiet(ctx[before]);
    shmem_sync_all();
    for (int i = 0; i < n * STAGE; i++) out[STAGE * (stage - 1) + i % STAGE] += stages[before][i];
    shmem_sync_all();
  }
  for (int i = 0; i < LENGTH; i++) CHECK(out[i] == n * (n - 1) / 2 + n * i);
  for (int i = 0; i < 2; i++) {
    shmem_ctx_destroy(ctx[i]);
    shmem_free(stages[i]);
  }
}

static void context_of_team(int me, int n) {
  shmem_team_t evens, found;
  shmem_team_config_t config = {.num_contexts = 1};
  shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 2, (n + 1) / 2, &config, SHMEM_TEAM_NUM_CONTEXTS, &evens);
  if (me % 2 == 0) {
    shmem_ctx_t ctx;
    CHECK(shmem_team_create_ctx(evens, 0, &ctx) == 0);
    CHECK(shmem_ctx_get_team(ctx, &found) == 0 && found == evens);
    int mine = shmem_team_my_pe(evens), right = (mine + 1) % shmem_team_n_pes(evens);
    shmem_ctx_int_put(ctx, &value, &mine, 1, right);
    shmem_ctx_quiet(ctx);
    shmem_team_sync(evens);
    CHECK(value == (mine + shmem_team_n_pes(evens) - 1) % shmem_team_n_pes(evens));
    static int sum; /* at the team's first member */
    shmem_ctx_int_atomic_add(ctx, &sum, value, 0);
    shmem_ctx_quiet(ctx);
    shmem_team_sync(evens);
    if (mine == 0) CHECK(sum == shmem_team_n_pes(evens) * (shmem_team_n_pes(evens) - 1) / 2);
    shmem_ctx_destroy(ctx);
    shmem_team_destroy(evens);
  } else {
    CHECK(evens == SHMEM_TEAM_INVALID);
  }
  shmem_team_t team;
  CHECK(shmem_ctx_get_team(SHMEM_CTX_INVALID, &team) != 0);
  shmem_ctx_destroy(SHMEM_CTX_INVALID);
}

static void session(int n) {
  uint64_t *table = shmem_calloc(64, sizeof *table), *bits = shmem_calloc(64, sizeof *bits);
  shmem_ctx_t ctx;
  CHECK(table && bits && shmem_ctx_create(SHMEM_CTX_PRIVATE, &ctx) == 0);
  shmem_ctx_session_config_t config;
  config.total_ops = 2000;
  shmem_ctx_session_start(ctx, SHMEM_CTX_SESSION_BATCH, &config, SHMEM_CTX_SESSION_TOTAL_OPS);
  for (unsigned i = 0; i < 2000; i++) shmem_ctx_uint64_atomic_add(ctx, &table[i % 64], 1, (int)(i % (unsigned)n));
  uint64_t mine = UINT64_C(1) << shmem_my_pe() % 64;
  for (unsigned i = 0; i < 64u * (unsigned)n; i++)
    shmem_ctx_uint64_atomic_xor(ctx, &bits[i / (unsigned)n], mine, (int)(i % (unsigned)n));
  shmem_ctx_session_stop(ctx);
  shmem_ctx_quiet(ctx);
  shmem_sync_all();
  uint64_t sum = 0;
  for (int i = 0; i < 64; i++) {
    for (int pe = 0; pe < n; pe++) sum += shmem_g(&table[i], pe);
  }
  CHECK(sum == 2000u * (unsigned)n);
  for (int i = 0; i < 64; i++) CHECK(bits[i] == (n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1));
  shmem_ctx_destroy(ctx);
  shmem_free(bits);
  shmem_free(table);
}

enum { NUMBERS = 50 };

/* One thread of a PE, with a context of its own. Returns how many it drew. */
static void *draw_in_thread(void *unused) {
  static long counter;
  int me = shmem_my_pe(), n = shmem_n_pes();
  intptr_t drawn = 0;
  shmem_ctx_t ctx;
  CHECK(shmem_ctx_create(SHMEM_CTX_PRIVATE, &ctx) == 0);
  for (int i = 0; i < n; i++) {
    while (shmem_atomic_fetch_inc(ctx, &counter, (me + i) % n) < NUMBERS) drawn++;
  }
  shmem_ctx_destroy(ctx);
  (void)unused;
  return (void *)drawn;
}

/* Numbers that the threads of all PEs draw from counters, first from their own; each is drawn once. */
static void draw_numbers(int n) {
  static long drawn, sum;
  pthread_t threads[3];
  for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, draw_in_thread, NULL) == 0);
  for (int i = 0; i < 3; i++) {
    void *some;
    CHECK(pthread_join(threads[i], &some) == 0);
    drawn += (long)(intptr_t)some;
  }
  shmem_sync_all();
  CHECK(shmem_sum_reduce(SHMEM_TEAM_WORLD, &sum, &drawn, 1) == 0 && sum == (long)NUMBERS * n);
}

/* A library's thread has a context of its own, where there is one. */
static _Thread_local shmem_ctx_t own = SHMEM_CTX_INVALID;

static void put_by_own(int me, int n) {
  long *to = shmem_calloc((size_t)n, sizeof *to);
  CHECK(to);
  if (shmem_ctx_create(SHMEM_CTX_PRIVATE, &own) && shmem_ctx_create(0, &own)) own = SHMEM_CTX_DEFAULT;
  long word = me + 1;
  for (int pe = 0; pe < n; pe++) shmem_ctx_putmem(own, &to[me], &word, sizeof word, pe);
  shmem_ctx_quiet(own);
  if (own != SHMEM_CTX_DEFAULT) shmem_ctx_destroy(own);
  shmem_sync_all();
  for (int pe = 0; pe < n; pe++) CHECK(to[pe] == pe + 1);
  shmem_free(to);
}

int main(void) {
  int provided;
  CHECK(shmem_init_thread(SHMEM_THREAD_MULTIPLE, &provided) == 0 && provided == SHMEM_THREAD_MULTIPLE);
  draw_numbers(shmem_n_pes());
  put_by_own(shmem_my_pe(), shmem_n_pes());
  pipelined_sum(shmem_my_pe(), shmem_n_pes());
  context_of_team(shmem_my_pe(), shmem_n_pes());
  session(shmem_n_pes());
  shmem_finalize();
  return 0;
}
