/* One misuse, by name: the job must end with a text under HMC_SHMEM_CHECK=1. See misuse.py. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

static long word;

int main(int argc, char **argv) {
  const char *which = argc > 1 ? argv[1] : "";
  long local = 0;
  if (strcmp(which, "before") == 0) shmem_barrier_all();
  shmem_init();
  int me = shmem_my_pe();
  long *heap = shmem_malloc(sizeof *heap);
  if (strcmp(which, "address") == 0) shmem_long_p(&local, 1, 0);
  if (strcmp(which, "pe") == 0) shmem_long_p(heap, 1, shmem_n_pes());
  if (strcmp(which, "negative") == 0) shmem_long_g(heap, -1);
  if (strcmp(which, "past") == 0) shmem_putmem(heap, heap, 1ul << 40, 0);
  if (strcmp(which, "room") == 0) shmem_malloc(1ul << 40);
  if (strcmp(which, "atomic") == 0) shmem_long_atomic_add(&local, 1, 0);
  if (strcmp(which, "free") == 0) shmem_free((char *)heap + 8);
  if (strcmp(which, "context") == 0) shmem_ctx_long_p(SHMEM_CTX_INVALID, heap, 1, 0);
  if (strcmp(which, "team") == 0) shmem_team_sync(77);
  if (strcmp(which, "compare") == 0) shmem_long_wait_until(heap, 77, 0);
  if (strcmp(which, "collective") == 0) {
    if (me == 0) shmem_long_sum_reduce(SHMEM_TEAM_WORLD, heap, heap, 1);
    if (me != 0) shmem_long_max_reduce(SHMEM_TEAM_WORLD, heap, heap, 1);
  }
  if (strcmp(which, "addresses") == 0) shmem_long_sum_reduce(SHMEM_TEAM_WORLD, me ? heap : &word, heap, 1);
  if (strcmp(which, "long") == 0) shmem_long_sum_reduce(SHMEM_TEAM_WORLD, heap, heap, 1ul << 40);
  if (strcmp(which, "nothing") == 0) shmem_long_sum_reduce(SHMEM_TEAM_WORLD, NULL, NULL, 0);
  if (strcmp(which, "set") == 0) shmem_barrier(0, 0, 100, &word);
  shmem_finalize();
  if (strcmp(which, "after") == 0) shmem_long_p(&word, 1, 0);
  return 0;
}
