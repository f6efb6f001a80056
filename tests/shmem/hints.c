/* Routines that may do nothing here: the profiler's level, what a library of MPI may expect, and the caches of old machines.
 * They return, whatever they are given, and the bytes that they name are as they were. */
#include "check.h"

#include <string.h>

static long words[32];

static void expect(const long *values, long first) {
  for (long i = 0; i < 32; i++) CHECK(values[i] == first + i);
}

static void caches(long *heap) {
  shmem_set_cache_inv();
  shmem_set_cache_line_inv(&heap[1]);
  shmem_udcflush();
  shmem_udcflush_line(&words[31]);
  shmem_clear_cache_line_inv(&heap[31]);
  shmem_clear_cache_inv();
}

int main(void) {
  shmem_pcontrol(0); /* before the start as well */
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes(), next = (me + 1) % n, before = (me + n - 1) % n;
  long *heap = shmem_malloc(sizeof words), mine[32];
  CHECK(heap);
  for (long i = 0; i < 32; i++) mine[i] = me * 100 + i;
  for (int level = -1; level < 4; level++) {
    shmem_barrier_all();
    memset(words, 0, sizeof words);
    memset(heap, 0, sizeof words);
    shmem_barrier_all();
    shmem_pcontrol(level, "with more", 2.5, heap);
    shmem_long_put(words, mine, 32, next);
    caches(heap);
    shmem_long_put(heap, mine, 32, next);
    shmem_pcontrol(level);
    shmem_barrier_all();
    caches(heap);
    expect(words, before * 100L);
    expect(heap, before * 100L);
  }
  CHECK(shmem_query_interoperability(SHMEM_PROGRESS_MPI) == 0); /* nothing here knows of MPI */
  CHECK(shmem_query_interoperability(12345) == 0);
  shmem_finalize();
  return 0;
}
