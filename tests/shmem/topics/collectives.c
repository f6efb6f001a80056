/* Topics: shmem_broadcast, shmem_collect, shmem_fcollect, shmem_alltoall, shmem_alltoalls, reductions and scans over
 * teams, and the old calls over active sets. */
#include "topic.h"

#include <stdlib.h>

static long sync_words[SHMEM_REDUCE_SYNC_SIZE];
static long lock;
static int work[SHMEM_REDUCE_MIN_WRKDATA_SIZE + 4];

static void old_calls(int n) {
  static long sync_of_evens[SHMEM_BARRIER_SYNC_SIZE];
  for (size_t i = 0; i < SHMEM_BARRIER_SYNC_SIZE; i++) sync_of_evens[i] = SHMEM_SYNC_VALUE;
  static int from[4], to[4];
  for (size_t i = 0; i < SHMEM_REDUCE_SYNC_SIZE; i++) sync_words[i] = SHMEM_SYNC_VALUE;
  for (int i = 0; i < 4; i++) from[i] = shmem_my_pe() + i;
  shmem_barrier_all();
  shmem_int_sum_to_all(to, from, 4, 0, 0, n, work, sync_words);
  for (int i = 0; i < 4; i++) CHECK(to[i] == n * (n - 1) / 2 + n * i);
  shmem_barrier_all();
  shmem_broadcast32(to, from, 4, 0, 0, 0, n, sync_words);
  if (shmem_my_pe()) CHECK(to[0] == 0 && to[3] == 3);
  shmem_barrier(0, 0, n, sync_words);
  static int passed; /* among the PEs of even number alone */
  int me = shmem_my_pe(), evens = (n + 1) / 2;
  if (me % 2) return;
  shmem_p(&passed, me + 1, (me + 2) % (2 * evens));
  shmem_barrier(0, 1, evens, sync_of_evens);
  CHECK(passed == (me + 2 * evens - 2) % (2 * evens) + 1);
}

/* me + 1 longs of each at PE 0, one after the other. */
static void gather_at_the_first(long *from, long *to, int me, int n) {
  static size_t place;
  for (int i = 0; i <= me; i++) from[i] = me;
  place = (size_t)me + 1;
  shmem_team_sync(SHMEM_TEAM_WORLD);
  CHECK(shmem_sum_exscan(SHMEM_TEAM_WORLD, &place, &place, 1) == 0);
  shmem_putmem(&to[place], from, ((size_t)me + 1) * sizeof *from, 0);
  shmem_quiet();
  shmem_team_sync(SHMEM_TEAM_WORLD);
  for (int pe = 0, at = 0; me == 0 && pe < n; pe++) {
    for (int i = 0; i <= pe; i++) CHECK(to[at++] == pe);
  }
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  size_t many = (size_t)n * (size_t)(n + 1);
  long *from = shmem_malloc(many * sizeof *from), *to = shmem_calloc(many, sizeof *to);
  CHECK(from && to);
  for (size_t i = 0; i < many; i++) from[i] = me * 100 + (long)i;
  shmem_sync_all();
  CHECK(shmem_broadcast(SHMEM_TEAM_WORLD, to, from, 2, n - 1) == 0);
  CHECK(to[0] == (n - 1) * 100 && to[1] == (n - 1) * 100 + 1);
  shmem_sync(SHMEM_TEAM_WORLD);
  CHECK(shmem_collect(SHMEM_TEAM_WORLD, to, from, (size_t)me + 1) == 0); /* 1, 2, 3, ... elements */
  for (int pe = 0, at = 0; pe < n; pe++) {
    for (int i = 0; i <= pe; i++) CHECK(to[at++] == pe * 100 + i);
  }
  shmem_set_lock(&lock); /* so that what they print would not mix */
  CHECK(shmem_test_lock(&lock) == 1);
  shmem_clear_lock(&lock);
  shmem_sync_all();
  CHECK(shmem_fcollect(SHMEM_TEAM_WORLD, to, from, 1) == 0);
  for (int pe = 0; pe < n; pe++) CHECK(to[pe] == pe * 100);
  shmem_sync_all();
  CHECK(shmem_alltoall(SHMEM_TEAM_WORLD, to, from, 1) == 0);
  for (int pe = 0; pe < n; pe++) CHECK(to[pe] == pe * 100 + me);
  shmem_sync_all();
  CHECK(shmem_alltoalls(SHMEM_TEAM_WORLD, to, from, 1, 2, 1) == 0 || n == 1);
  for (int pe = 0; pe < n; pe++) CHECK(to[pe] == pe * 100 + 2 * me);
  shmem_sync_all();
  CHECK(shmem_max_reduce(SHMEM_TEAM_WORLD, to, from, 1) == 0 && to[0] == (n - 1) * 100);
  CHECK(shmem_sum_inscan(SHMEM_TEAM_WORLD, to, from, 1) == 0 && to[0] == 100L * me * (me + 1) / 2);
  CHECK(shmem_sum_exscan(SHMEM_TEAM_WORLD, to, from, 1) == 0 && to[0] == 100L * me * (me - 1) / 2);
  shmem_sync_all();
  from[0] = 1L << me % 32;
  CHECK(shmem_sum_reduce(SHMEM_TEAM_WORLD, to, from, 1) == 0 && (n > 32 || to[0] == (1L << n) - 1));
  CHECK(shmem_or_reduce(SHMEM_TEAM_WORLD, (unsigned long *)to, (const unsigned long *)from, 1) == 0);
  CHECK(to[0] == (n >= 32 ? 0xffffffffL : (1L << n) - 1));
  gather_at_the_first(from, to, me, n);
  shmem_sync_all();
  shmem_free(from);
  shmem_free(to);
  old_calls(n);
  shmem_finalize();
  return 0;
}
