/* Topics: put, get, p, g, strided, in blocks, non-blocking, put with a signal, fence, quiet and barrier, what PEs print one
 * after the other. */
#include "topic.h"

static short strided[20];
static long target[10], flag;
static uint64_t signals;

/* From PE 0 around the ring and back to it: each goes on with what came. */
static void around_the_ring(int me, int next) {
  enum { COUNT = 300 };
  static uint64_t passed;
  uint64_t first[COUNT];
  for (int i = 0; i < COUNT; i++) first[i] = (uint64_t)i + 7;
  uint64_t *data = shmem_calloc(COUNT, sizeof *data);
  CHECK(data);
  if (me) shmem_wait_until(&passed, SHMEM_CMP_EQ, 1);
  shmem_put_signal(data, me ? data : first, COUNT, &passed, 1, SHMEM_SIGNAL_SET, next);
  if (!me) shmem_wait_until(&passed, SHMEM_CMP_EQ, 1);
  for (int i = 0; i < COUNT; i++) CHECK(data[i] == (uint64_t)i + 7);
  shmem_free(data);
}

/* From PE 0 to all others, each of which looks at it while no other does. */
static void to_all(int me, int n) {
  static short values[16];
  static long lock;
  static int looks;
  double *number = shmem_malloc(sizeof *number);
  CHECK(number);
  *number = 0;
  shmem_barrier_all();
  short words[16];
  for (short i = 0; i < 16; i++) words[i] = i;
  for (int pe = 1; me == 0 && pe < n; pe++) {
    shmem_put(values, words, 16, pe);
    shmem_p(number, 2.5, pe);
  }
  shmem_barrier_all();
  shmem_set_lock(&lock);
  shmem_p(&looks, shmem_g(&looks, 0) + 1, 0);
  for (short i = 0; me && i < 16; i++) CHECK(values[i] == i && *number == 2.5);
  shmem_clear_lock(&lock);
  shmem_barrier_all();
  if (me == 0) CHECK(looks == n);
  shmem_free(number);
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes(), next = (me + 1) % n, previous = (me + n - 1) % n;
  long source[10];
  for (int i = 0; i < 10; i++) source[i] = me * 10 + i;
  shmem_put(target, source, 9, next);
  shmem_fence(); /* the ninth before the flag */
  shmem_p(&flag, (long)me + 1, next);
  shmem_wait_until(&flag, SHMEM_CMP_EQ, (long)previous + 1);
  for (int i = 0; i < 9; i++) CHECK(target[i] == previous * 10 + i);
  CHECK(shmem_g(&target[9], next) == 0);
  long back[9];
  shmem_get(back, target, 9, next);
  for (int i = 0; i < 9; i++) CHECK(back[i] == me * 10 + i);
  shmem_get_nbi(back, target, 3, me);
  shmem_quiet();
  CHECK(back[2] == previous * 10 + 2);
  shmem_barrier_all();
  shmem_put_nbi(&target[9], &source[9], 1, me);
  shmem_quiet();
  CHECK(target[9] == me * 10 + 9);
  short five[5] = {1, 2, 3, 4, 5}, got[5];
  shmem_iput(strided, five, 2, 1, 5, next); /* to every second place */
  shmem_barrier_all();
  for (int i = 0; i < 10; i++) CHECK(strided[i] == (i % 2 ? 0 : i / 2 + 1));
  shmem_iget(got, strided, 1, 2, 5, next);
  CHECK(got[0] == 1 && got[4] == 5);
  shmem_ibput(&strided[10], five, 3, 2, 2, 2, next); /* two blocks of two */
  shmem_barrier_all();
  CHECK(strided[10] == 1 && strided[11] == 2 && strided[12] == 0 && strided[13] == 3 && strided[14] == 4);
  shmem_put_signal(target, source, 10, &signals, 5, SHMEM_SIGNAL_SET, next);
  CHECK(shmem_signal_wait_until(&signals, SHMEM_CMP_EQ, 5) == 5 && target[9] == previous * 10 + 9);
  shmem_barrier_all();
  shmem_put_signal_nbi(target, source, 10, &signals, 2, SHMEM_SIGNAL_ADD, next);
  shmem_signal_wait_until(&signals, SHMEM_CMP_GE, 7);
  CHECK(shmem_signal_fetch(&signals) == 7);
  around_the_ring(me, next);
  to_all(me, n);
  shmem_finalize();
  return 0;
}
