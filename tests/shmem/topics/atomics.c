/* A counter and a lock made of atomics. Topics: the atomics, their generic forms, a word that is read while others change
 * it, and the specification's three scenarios of atomics that meet something else, each as it is right. */
#include "topic.h"

static int count, turn;
static unsigned flags;

/* Where types, a reduction or the owner's own store meet an atomic, the result is undefined. So each word has one type, a
 * barrier comes before the reduction, and the owner counts by an atomic as well. */
static void scenarios(int me, int n) {
  static uint64_t wide;
  static uint32_t narrow;
  static int counted, sum;
  shmem_uint64_atomic_or(&wide, UINT64_C(1) << me % 64, 0);
  shmem_uint32_atomic_or(&narrow, UINT32_C(1) << me % 32, 0);
  shmem_int_atomic_inc(&counted, (me + 1) % n);
  shmem_int_atomic_inc(&counted, 0);
  shmem_barrier_all();
  CHECK(shmem_int_sum_reduce(SHMEM_TEAM_WORLD, &sum, &counted, 1) == 0 && sum == 2 * n);
  if (me == 0) CHECK(counted == n + 1 && wide & 1 && narrow & 1 && (n >= 32 || wide == narrow));
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  long *last = shmem_malloc(sizeof *last);
  CHECK(last);
  *last = -1;
  shmem_barrier_all();
  int seen = shmem_atomic_fetch_inc(&count, 0);
  CHECK(seen >= 0 && seen < 12 * n);
  shmem_atomic_add(&count, 9, 0);
  shmem_atomic_inc(&count, 0);
  CHECK(shmem_atomic_fetch_add(&count, 1, 0) >= 11);
  shmem_atomic_or(&flags, 1u << (me % 32), 0);
  CHECK(shmem_atomic_fetch(&flags, 0) & 1u << (me % 32));
  long before = shmem_atomic_swap(last, (long)me, 0);
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
  scenarios(me, n);
  shmem_free(last);
  shmem_finalize();
  return 0;
}
