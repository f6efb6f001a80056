/* A counter and a lock made of atomics. Topics: the atomics of the specification's scenarios, their generic forms, and a
 * word that is read while others change it. */
#include "topic.h"

static int count, turn;
static long last = -1;
static unsigned flags;

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  int seen = shmem_atomic_fetch_inc(&count, 0);
  CHECK(seen >= 0 && seen < 12 * n);
  shmem_atomic_add(&count, 9, 0);
  shmem_atomic_inc(&count, 0);
  CHECK(shmem_atomic_fetch_add(&count, 1, 0) >= 11);
  shmem_atomic_or(&flags, 1u << (me % 32), 0);
  CHECK(shmem_atomic_fetch(&flags, 0) & 1u << (me % 32));
  long before = shmem_atomic_swap(&last, (long)me, 0);
  CHECK(before >= -1 && before < n && before != me);
  while (shmem_atomic_compare_swap(&turn, me, me + 1, 0) != me) continue; /* each in its turn */
  shmem_barrier_all();
  CHECK(shmem_atomic_fetch(&count, 0) == 12 * n && shmem_atomic_fetch(&turn, 0) == n);
  CHECK(shmem_atomic_fetch_xor(&flags, 0u, 0) == (n >= 32 ? 0xffffffffu : (1u << n) - 1));
  shmem_barrier_all();
  shmem_atomic_set(&count, 7, (me + 1) % n);
  shmem_barrier_all();
  CHECK(count == 7);
  int got = 0;
  shmem_atomic_fetch_nbi(&got, &count, (me + 1) % n);
  shmem_quiet();
  CHECK(got == 7);
  shmem_finalize();
  return 0;
}
