/* Teams, contexts and sessions: numbers, translation, splits of splits, many of them one after the other. */
#include "check.h"

#include <pthread.h>
#include <shmem/device.h>
#include <stdbool.h>

static int me, n;

static long total(shmem_team_t team) {
  static long source, dest;
  source = me;
  shmem_team_sync(team);
  CHECK(shmem_long_sum_reduce(team, &dest, &source, 1) == 0);
  shmem_team_sync(team);
  return dest;
}

static void test_predefined(void) {
  CHECK(shmem_team_my_pe(SHMEM_TEAM_WORLD) == me && shmem_team_n_pes(SHMEM_TEAM_WORLD) == n);
  int shared = shmem_team_n_pes(SHMEM_TEAM_SHARED);
  CHECK(shared >= 1 && shared <= n);
  int self = shmem_team_my_pe(SHMEM_TEAM_SHARED);
  CHECK(shmem_team_translate_pe(SHMEM_TEAM_SHARED, self, SHMEM_TEAM_WORLD) == me);
  static int word;
  for (int pe = 0; pe < shared; pe++) CHECK(shmem_team_ptr(SHMEM_TEAM_SHARED, &word, pe) != NULL);
  CHECK(shmem_team_my_pe(SHMEM_TEAM_INVALID) == -1 && shmem_team_n_pes(SHMEM_TEAM_INVALID) == -1);
  CHECK(shmem_team_translate_pe(SHMEM_TEAM_INVALID, 0, SHMEM_TEAM_WORLD) == -1);
  CHECK(shmem_team_translate_pe(SHMEM_TEAM_WORLD, n, SHMEM_TEAM_WORLD) == -1);
  CHECK(shmem_team_translate_pe(SHMEM_TEAM_WORLD, -1, SHMEM_TEAM_WORLD) == -1);
  CHECK(shmem_team_sync(SHMEM_TEAM_INVALID) != 0);
  shmem_team_destroy(SHMEM_TEAM_WORLD); /* the predefined ones stay */
  CHECK(shmem_team_n_pes(SHMEM_TEAM_WORLD) == n);
}

static void test_strided(void) {
  shmem_team_t even, reverse;
  shmem_team_config_t config = {.num_contexts = 3};
  int half = (n + 1) / 2;
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 2, half, &config, SHMEM_TEAM_NUM_CONTEXTS, &even) == 0);
  CHECK((even != SHMEM_TEAM_INVALID) == (me % 2 == 0));
  if (even != SHMEM_TEAM_INVALID) {
    CHECK(shmem_team_my_pe(even) == me / 2 && shmem_team_n_pes(even) == half);
    CHECK(shmem_team_translate_pe(SHMEM_TEAM_WORLD, 0, even) == 0);
    if (n > 1) CHECK(shmem_team_translate_pe(SHMEM_TEAM_WORLD, 1, even) == -1);
    shmem_team_config_t got = {.num_contexts = -1};
    CHECK(shmem_team_get_config(even, SHMEM_TEAM_NUM_CONTEXTS, &got) == 0 && got.num_contexts == 3);
    long wanted = 0;
    for (int pe = 0; pe < n; pe += 2) wanted += pe;
    CHECK(total(even) == wanted);
  }
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, n - 1, -1, n, NULL, 0, &reverse) == 0);
  CHECK(shmem_team_my_pe(reverse) == n - 1 - me);
  CHECK(total(reverse) == (long)n * (n - 1) / 2);
  if (even != SHMEM_TEAM_INVALID) CHECK(shmem_team_translate_pe(even, shmem_team_my_pe(even), reverse) == n - 1 - me);
  shmem_team_destroy(reverse);
  if (even != SHMEM_TEAM_INVALID) shmem_team_destroy(even);
  static const int bad[][3] = {{-1, 1, 1}, {0, 1, 100000}, {0, 0, 2}, {0, -1, 2}, {100000, 1, 1}, {0, 1, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    shmem_team_t team = 7;
    CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, bad[i][0], bad[i][1], bad[i][2], NULL, 0, &team) != 0);
    CHECK(team == SHMEM_TEAM_INVALID);
  }
}

static void test_rows_and_columns(void) {
  int width = n >= 4 ? 2 : 1;
  shmem_team_t row, column;
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, width, NULL, 0, &row, NULL, 0, &column) == 0);
  CHECK(shmem_team_my_pe(row) == me % width && shmem_team_my_pe(column) == me / width);
  long in_row = 0, in_column = 0;
  for (int pe = 0; pe < n; pe++) {
    if (pe / width == me / width) in_row += pe;
    if (pe % width == me % width) in_column += pe;
  }
  CHECK(total(row) == in_row);
  CHECK(total(column) == in_column);
  shmem_team_t part;
  CHECK(shmem_team_split_strided(column, 0, 1, 1, NULL, 0, &part) == 0);
  if (part != SHMEM_TEAM_INVALID) {
    CHECK(shmem_team_n_pes(part) == 1 && total(part) == me);
    shmem_team_destroy(part);
  }
  shmem_team_destroy(row);
  shmem_team_destroy(column);
}

/* More teams one after the other than there are places, with work in each. */
static void test_many(void) {
  for (int i = 0; i < 300; i++) {
    shmem_team_t team;
    int start = i % n;
    CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, start, 1, n - start, NULL, 0, &team) == 0);
    if (team == SHMEM_TEAM_INVALID) continue;
    for (int j = 0; j < 3; j++) CHECK(total(team) == ((long)n * (n - 1) - (long)start * (start - 1)) / 2);
    shmem_team_destroy(team);
  }
  shmem_team_t all[300];
  int made = 0;
  while (made < 300 && shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, n, NULL, 0, &all[made]) == 0) made++;
  CHECK(made >= 200 && made < 300); /* the places are used up: all PEs learn of it */
  shmem_team_destroy(all[--made]);
  shmem_team_t row, column = 7; /* a place for one of the two: all get that, and none the other */
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, n, NULL, 0, &row, NULL, 0, &column) != 0);
  CHECK(row != SHMEM_TEAM_INVALID && column == SHMEM_TEAM_INVALID);
  CHECK(total(row) == (long)n * (n - 1) / 2);
  shmem_team_destroy(row);
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, n, NULL, 0, &all[made]) == 0);
  CHECK(total(all[made++]) == (long)n * (n - 1) / 2);
  while (made > 0) shmem_team_destroy(all[--made]);
  CHECK(total(SHMEM_TEAM_WORLD) == (long)n * (n - 1) / 2);
}

/* One member's arguments are bad: all get that answer, and nobody waits for it. */
static void test_one_refuses(void) {
  shmem_team_t team = 7, other = 7;
  bool is_odd_one = me == n - 1;
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, n, NULL, 0, is_odd_one ? NULL : &team) != 0);
  CHECK(is_odd_one || team == SHMEM_TEAM_INVALID);
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, is_odd_one ? n + 1 : n, NULL, 0, &team) != 0);
  CHECK(team == SHMEM_TEAM_INVALID);
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, 1, NULL, 0, &other, NULL, 0, is_odd_one ? NULL : &team) != 0);
  CHECK(team == SHMEM_TEAM_INVALID && other == SHMEM_TEAM_INVALID);
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, is_odd_one ? 0 : 1, NULL, 0, &other, NULL, 0, &team) != 0);
  CHECK(team == SHMEM_TEAM_INVALID && other == SHMEM_TEAM_INVALID);
  CHECK(total(SHMEM_TEAM_WORLD) == (long)n * (n - 1) / 2);
}

/* Views for kernels, of teams of several sizes and of none: they are there at all PEs where all share memory, and else at
 * none. */
static void test_views(void) {
  shmem_team_t row, column;
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, 2, NULL, 0, &row, NULL, 0, &column) == 0);
  const shmem_team_t views[] = {SHMEM_TEAM_WORLD, row, me % 2 ? SHMEM_TEAM_INVALID : column, SHMEM_TEAM_SHARED};
  bool is_near = shmem_team_n_pes(SHMEM_TEAM_SHARED) == n;
  for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
    shmem_device_t view;
    CHECK((shmem_device_open(views[i], &view) == 0) == is_near);
    if (!is_near) continue;
    CHECK(view.n == (views[i] == SHMEM_TEAM_INVALID ? 0 : shmem_team_n_pes(views[i])));
    CHECK(view.n == 0 || view.start + view.me * view.stride == me);
    shmem_device_close(&view);
  }
  CHECK(total(SHMEM_TEAM_WORLD) == (long)n * (n - 1) / 2);
  shmem_team_destroy(row);
  shmem_team_destroy(column);
}

static void test_contexts(void) {
  static const long options[] = {0, SHMEM_CTX_SERIALIZED, SHMEM_CTX_PRIVATE, SHMEM_CTX_NOSTORE};
  static long word;
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    shmem_ctx_t ctx;
    CHECK(shmem_ctx_create(options[i], &ctx) == 0);
    shmem_team_t team;
    CHECK(shmem_ctx_get_team(ctx, &team) == 0 && team == SHMEM_TEAM_WORLD);
    word = -1;
    shmem_barrier_all();
    shmem_ctx_session_config_t config = {.total_ops = 10};
    shmem_ctx_session_start(ctx, SHMEM_CTX_SESSION_BATCH, &config, SHMEM_CTX_SESSION_TOTAL_OPS);
    shmem_ctx_long_put_nbi(ctx, &word, &(long){me}, 1, (me + 1) % n);
    shmem_ctx_fence(ctx);
    shmem_ctx_session_stop(ctx);
    shmem_ctx_pe_quiet(ctx, &(int){(me + 1) % n}, 1);
    shmem_barrier_all();
    CHECK(word == (me + n - 1) % n);
    shmem_barrier_all();
    shmem_ctx_destroy(ctx);
  }
  shmem_pe_quiet(&(int){0}, 1);
  shmem_fence();
  shmem_team_t team;
  CHECK(shmem_ctx_get_team(SHMEM_CTX_DEFAULT, &team) == 0 && team == SHMEM_TEAM_WORLD);
  CHECK(shmem_ctx_get_team(SHMEM_CTX_INVALID, &team) != 0 && team == SHMEM_TEAM_INVALID);
  shmem_ctx_session_start(SHMEM_CTX_INVALID, 0, NULL, 0);
  shmem_ctx_session_stop(SHMEM_CTX_INVALID);
  shmem_ctx_destroy(SHMEM_CTX_INVALID);
  shmem_ctx_t none;
  CHECK(shmem_team_create_ctx(SHMEM_TEAM_INVALID, 0, &none) != 0 && none == SHMEM_CTX_INVALID);
}

/* On a team's context, PEs count in the team; the team ends the context. */
static void test_team_contexts(void) {
  static long word;
  shmem_team_t reverse;
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, n - 1, -1, n, NULL, 0, &reverse) == 0);
  shmem_ctx_t ctx;
  CHECK(shmem_team_create_ctx(reverse, 0, &ctx) == 0);
  shmem_team_t team;
  CHECK(shmem_ctx_get_team(ctx, &team) == 0 && team == reverse);
  word = -1;
  shmem_barrier_all();
  shmem_ctx_long_p(ctx, &word, me, 0);
  shmem_ctx_quiet(ctx);
  shmem_barrier_all();
  if (me == n - 1) CHECK(word >= 0);
  if (me != n - 1) CHECK(word == -1);
  shmem_barrier_all();
  shmem_team_destroy(reverse);
}

/* Threads split teams of their own at the same time, each several times. */
enum { THREADS = 3, SPLITS = 100 };

static shmem_team_t own_teams[THREADS];
static long brought[THREADS], sums[THREADS];

static void *split_again_and_again(void *argument) {
  int k = (int)(intptr_t)argument;
  for (int i = 0; i < SPLITS; i++) {
    shmem_team_t made;
    CHECK(shmem_team_split_strided(own_teams[k], 0, 1, n, NULL, 0, &made) == 0);
    brought[k] = 100 * k + i + me;
    CHECK(shmem_long_sum_reduce(made, &sums[k], &brought[k], 1) == 0);
    CHECK(sums[k] == (long)n * (100 * k + i) + n * (n - 1) / 2);
    shmem_team_destroy(made);
  }
  return NULL;
}

static void test_threads(void) {
  pthread_t threads[THREADS];
  CHECK(shmem_init_thread(SHMEM_THREAD_MULTIPLE, NULL) == 0);
  for (int k = 0; k < THREADS; k++) {
    CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, n, NULL, 0, &own_teams[k]) == 0);
  }
  for (int k = 0; k < THREADS; k++) {
    CHECK(pthread_create(&threads[k], NULL, split_again_and_again, (void *)(intptr_t)k) == 0);
  }
  for (int k = 0; k < THREADS; k++) CHECK(pthread_join(threads[k], NULL) == 0);
  for (int k = 0; k < THREADS; k++) shmem_team_destroy(own_teams[k]);
  shmem_finalize(); /* counts back only */
}

int main(void) {
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  test_predefined();
  test_strided();
  test_rows_and_columns();
  test_many();
  test_one_refuses();
  test_views();
  test_contexts();
  test_team_contexts();
  test_threads();
  shmem_finalize();
  return 0;
}
