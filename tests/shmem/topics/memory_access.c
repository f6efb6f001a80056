/* Topics: put, get, p, g, strided, in blocks, non-blocking, put with a signal, fence and quiet, shmem_local memory. */
#include "topic.h"

static short strided[20];
static long target[10], flag;
static uint64_t signals;

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
  static uint64_t passed; /* around the ring: each goes on with what came */
  shmem_barrier_all();
  if (me) shmem_wait_until(&passed, SHMEM_CMP_EQ, 1);
  shmem_putmem_signal(target, source, sizeof source, &passed, 1, SHMEM_SIGNAL_SET, next);
  if (!me) shmem_wait_until(&passed, SHMEM_CMP_EQ, 1);
  CHECK(target[9] == previous * 10 + 9);
  shmem_finalize();
  return 0;
}
