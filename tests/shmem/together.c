/* One of each: puts and gets, atomics, signals, waits, locks, teams and their contexts, every kind of collective, small. For
 * places where code is slow; the other programs have the types and sizes.
 *
 * usage: together [few]     few: of the teams only that of all PEs, for RDMA in the virtual machine. */
#include "check.h"

#include <stdbool.h>
#include <string.h>

enum { COUNT = 3, MOST = 64 /* PEs */ };

static int me, n, next;

static long source[MOST * COUNT], dest[MOST * (MOST + 1) / 2]; /* PE i brings i + 1 to a collect */

static long value_of(int pe, int i) { return 100 * pe + i + 1; }

static void prepare(void) {
  shmem_barrier_all();
  for (int i = 0; i < MOST * COUNT; i++) source[i] = value_of(me, i);
  memset(dest, 0, sizeof dest);
  shmem_barrier_all();
}

static void done(const char *what) {
  shmem_barrier_all();
  if (me == 0) printf("%s\n", what);
  fflush(stdout);
}

/* Sizes on both sides of what queues copy. */
static void test_operations(void) {
  static long word;
  prepare();
  shmem_long_put(dest, source, 64 * COUNT, next);
  shmem_quiet();
  shmem_barrier_all();
  int before = (me + n - 1) % n;
  for (int i = 0; i < 64 * COUNT; i++) CHECK(dest[i] == value_of(before, i));
  memset(dest, 0, sizeof dest);
  shmem_long_get_nbi(dest, source, COUNT, next);
  shmem_quiet();
  for (int i = 0; i < COUNT; i++) CHECK(dest[i] == value_of(next, i));
  shmem_long_get(dest, source, 64 * COUNT, next);
  for (int i = 0; i < 64 * COUNT; i++) CHECK(dest[i] == value_of(next, i));
  shmem_long_atomic_add(&word, 3, 0);
  CHECK(shmem_long_atomic_fetch_inc(&word, 0) >= 3);
  shmem_barrier_all();
  CHECK(shmem_long_atomic_fetch(&word, 0) == 4 * n && shmem_long_g(&source[1], next) == value_of(next, 1));
  shmem_barrier_all();
  if (me == 0) CHECK(shmem_long_atomic_compare_swap(&word, 4 * n, 5, 0) == 4 * n && word == 5);
  done("operations");
}

static void test_signals(void) {
  static uint64_t signal, added;
  prepare();
  shmem_long_put_signal(dest, source, COUNT, &signal, 7, SHMEM_SIGNAL_SET, next);
  CHECK(shmem_signal_wait_until(&signal, SHMEM_CMP_EQ, 7) == 7);
  int before = (me + n - 1) % n;
  for (int i = 0; i < COUNT; i++) CHECK(dest[i] == value_of(before, i));
  shmem_signal_add(&added, 2, next);
  shmem_signal_add(&added, 3, next);
  CHECK(shmem_signal_wait_until(&added, SHMEM_CMP_GE, 5) == 5);
  done("signals");
}

static void test_waits(void) {
  static uint64_t words[2];
  prepare();
  shmem_uint64_p(&words[1], 4, next);
  CHECK(shmem_uint64_wait_until_any(words, 2, NULL, SHMEM_CMP_EQ, 4) == 1);
  shmem_barrier_all();
  shmem_uint64_p(&words[0], 4, next);
  shmem_uint64_wait_until_all(words, 2, NULL, SHMEM_CMP_EQ, 4);
  done("waits");
}

static void test_lock(void) {
  static long lock, count;
  for (int i = 0; i < 2; i++) {
    shmem_set_lock(&lock);
    shmem_long_p(&count, shmem_long_g(&count, 0) + 1, 0);
    shmem_quiet();
    shmem_clear_lock(&lock);
  }
  shmem_barrier_all();
  CHECK(shmem_long_g(&count, 0) == 2 * n);
  done("locks");
}

static void test_moving(shmem_team_t team) {
  int self = shmem_team_my_pe(team), size = shmem_team_n_pes(team);
  int first = shmem_team_translate_pe(team, 0, SHMEM_TEAM_WORLD);
  CHECK(shmem_long_broadcast(team, dest, source, COUNT, 0) == 0);
  for (int i = 0; i < COUNT; i++) CHECK(dest[i] == value_of(first, i));
  shmem_team_sync(team);
  CHECK(shmem_long_fcollect(team, dest, source, COUNT) == 0);
  for (int pe = 0; pe < size; pe++) {
    CHECK(dest[pe * COUNT] == value_of(shmem_team_translate_pe(team, pe, SHMEM_TEAM_WORLD), 0));
  }
  shmem_team_sync(team);
  CHECK(shmem_long_collect(team, dest, source, (size_t)self + 1) == 0);
  for (int pe = 0, at = 0; pe < size; at += ++pe) {
    CHECK(dest[at] == value_of(shmem_team_translate_pe(team, pe, SHMEM_TEAM_WORLD), 0));
  }
  shmem_team_sync(team);
  CHECK(shmem_long_alltoall(team, dest, source, COUNT) == 0);
  for (int pe = 0; pe < size; pe++) {
    CHECK(dest[pe * COUNT] == value_of(shmem_team_translate_pe(team, pe, SHMEM_TEAM_WORLD), self * COUNT));
  }
  shmem_team_sync(team);
  CHECK(shmem_long_alltoalls(team, dest, source, 1, 2, 1) == 0);
  for (int pe = 0; pe < size; pe++) {
    CHECK(dest[pe] == value_of(shmem_team_translate_pe(team, pe, SHMEM_TEAM_WORLD), 2 * self));
  }
  shmem_team_sync(team);
}

static void test_combining(shmem_team_t team) {
  int self = shmem_team_my_pe(team), size = shmem_team_n_pes(team);
  long sum = 0, before = 0, largest = 0;
  for (int pe = 0; pe < size; pe++) {
    long theirs = value_of(shmem_team_translate_pe(team, pe, SHMEM_TEAM_WORLD), 0);
    if (pe < self) before += theirs;
    if (theirs > largest) largest = theirs;
    sum += theirs;
  }
  CHECK(shmem_long_sum_reduce(team, dest, source, COUNT) == 0 && dest[0] == sum);
  shmem_team_sync(team);
  CHECK(shmem_long_max_reduce(team, dest, source, COUNT) == 0 && dest[0] == largest);
  shmem_team_sync(team);
  CHECK(shmem_long_sum_inscan(team, dest, source, COUNT) == 0 && dest[0] == before + source[0]);
  shmem_team_sync(team);
  CHECK(shmem_long_sum_exscan(team, dest, source, COUNT) == 0 && dest[0] == before);
  shmem_team_sync(team);
}

static void test_context(shmem_team_t team) {
  shmem_ctx_t ctx;
  int self = shmem_team_my_pe(team), size = shmem_team_n_pes(team);
  CHECK(shmem_team_create_ctx(team, 0, &ctx) == 0);
  shmem_ctx_long_p(ctx, &dest[0], 55, (self + 1) % size);
  shmem_ctx_quiet(ctx);
  shmem_team_sync(team);
  CHECK(dest[0] == 55);
  shmem_ctx_destroy(ctx);
}

static void test_team(shmem_team_t team, const char *what) {
  prepare();
  if (team != SHMEM_TEAM_INVALID) {
    test_moving(team);
    test_combining(team);
    test_context(team);
  }
  done(what);
}

static void test_teams(void) {
  shmem_team_t reverse, even, row, column;
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, n - 1, -1, n, NULL, 0, &reverse) == 0);
  test_team(reverse, "collectives of a team in reverse");
  shmem_team_destroy(reverse);
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 2, (n + 1) / 2, NULL, 0, &even) == 0);
  test_team(even, "collectives of every second PE");
  shmem_team_destroy(even);
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, 2, NULL, 0, &row, NULL, 0, &column) == 0);
  test_team(row, "collectives of rows");
  test_team(column, "collectives of columns");
  shmem_team_destroy(row);
  shmem_team_destroy(column);
}

static void test_active_set(void) {
  static long sync[4][SHMEM_REDUCE_SYNC_SIZE], work[SHMEM_REDUCE_MIN_WRKDATA_SIZE + COUNT];
  for (int i = 0; i < 4; i++) {
    for (int j = 0; j < SHMEM_REDUCE_SYNC_SIZE; j++) sync[i][j] = SHMEM_SYNC_VALUE;
  }
  prepare();
  shmem_barrier(0, 0, n, sync[0]);
  shmem_broadcast64(dest, source, COUNT, 0, 0, 0, n, sync[1]);
  if (me != 0) CHECK(dest[0] == value_of(0, 0));
  shmem_barrier_all();
  shmem_fcollect64(dest, source, COUNT, 0, 0, n, sync[2]);
  for (int pe = 0; pe < n; pe++) CHECK(dest[pe * COUNT] == value_of(pe, 0));
  shmem_barrier_all();
  shmem_long_max_to_all(dest, source, COUNT, 0, 0, n, work, sync[3]);
  CHECK(dest[0] == value_of(n - 1, 0));
  done("collectives of an active set");
}

int main(int argc, char **argv) {
  bool few = argc > 1 && strcmp(argv[1], "few") == 0;
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  next = (me + 1) % n;
  test_operations();
  test_signals();
  test_waits();
  test_lock();
  test_team(SHMEM_TEAM_WORLD, "collectives of all");
  if (!few) test_teams();
  test_active_set();
  shmem_finalize();
  return 0;
}
