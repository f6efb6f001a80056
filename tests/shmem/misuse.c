/* One misuse, by name: the job must end with a text under HMC_SHMEM_CHECK=1. See misuse.py. */
#include "check.h"

#include <shmem/device.h>
#include <stdlib.h>
#include <string.h>

static long word;

int main(int argc, char **argv) {
  const char *which = argc > 1 ? argv[1] : "";
  long local = 0;
  if (strcmp(which, "before") == 0) shmem_barrier_all();
  if (strcmp(which, "before sync") == 0) shmem_sync_all();
  if (strcmp(which, "early") == 0) shmem_malloc(8);
  if (strncmp(which, "device", 6) == 0)
    shmemx_set_device_heap(4 << 20, strcmp(which, "device none") ? "sim" : "sim:77");
  if (strcmp(which, "device sizes") == 0 && strcmp(getenv("HMC_JOB_RANK"), "1") == 0) shmemx_set_device_heap(1, "sim");
  shmem_init();
  int me = shmem_my_pe();
  long *heap = shmem_malloc(sizeof *heap);
  if (strcmp(which, "device room") == 0) shmemx_space_malloc(SHMEMX_SPACE_DEVICE, 5 << 20);
  if (strcmp(which, "no device") == 0) shmemx_space_calloc(SHMEMX_SPACE_DEVICE, 8, 8);
  if (strcmp(which, "space") == 0) shmemx_space_malloc((shmemx_space_t)2, 8);
  if (strncmp(which, "device", 6) == 0) {
    long *device = shmemx_space_malloc(SHMEMX_SPACE_DEVICE, sizeof *device);
    if (strcmp(which, "device past") == 0) shmem_putmem(device, heap, (4 << 20) + 1, 0);
    if (strcmp(which, "device lock") == 0) shmem_set_lock(device);
    if (strcmp(which, "device sync") == 0) shmem_barrier(0, 0, 2, device);
    if (strcmp(which, "device free") == 0) shmem_free(device + 1);
    if (strcmp(which, "device addresses") == 0) shmem_long_max_reduce(SHMEM_TEAM_WORLD, me ? device : heap, heap, 1);
  }
  if (strcmp(which, "address") == 0) shmem_long_p(&local, 1, 0);
  if (strcmp(which, "pe") == 0) shmem_long_p(heap, 1, shmem_n_pes());
  if (strcmp(which, "negative") == 0) shmem_long_g(heap, -1);
  if (strcmp(which, "past") == 0) shmem_putmem(heap, heap, 1ul << 40, 0);
  if (strcmp(which, "room") == 0) shmem_malloc(1ul << 40);
  if (strcmp(which, "atomic") == 0) shmem_long_atomic_add(&local, 1, 0);
  if (strcmp(which, "calloc") == 0) shmem_calloc(1ul << 20, 1ul << 20);
  if (strcmp(which, "realloc") == 0) shmem_realloc(heap, 1ul << 40);
  if (strcmp(which, "sizes") == 0) shmem_malloc(me ? 64 : 128);
  if (strcmp(which, "xor") == 0) shmem_uint_atomic_fetch_xor((unsigned *)heap, 1, 2);
  if (strcmp(which, "wait") == 0) shmem_long_wait_until(&local, SHMEM_CMP_EQ, 1);
  if (strcmp(which, "root") == 0) shmem_long_broadcast(SHMEM_TEAM_WORLD, heap, heap, 1, 2);
  if (strcmp(which, "old root") == 0) shmem_broadcast64(heap, heap, 1, -1, 0, 0, 2, &word);
  if (strcmp(which, "roots") == 0) shmem_long_broadcast(SHMEM_TEAM_WORLD, heap, heap, 1, me);
  if (strcmp(which, "barrier") == 0) {
    if (me == 0) shmem_barrier_all();
    if (me != 0) shmem_long_max_reduce(SHMEM_TEAM_WORLD, heap, heap, 1);
  }
  if (strcmp(which, "split") == 0) {
    shmem_team_t team;
    if (me == 0) shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, 2, NULL, 0, &team);
    if (me != 0) shmem_team_sync(SHMEM_TEAM_WORLD);
  }
  if (strcmp(which, "place") == 0) shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, 2, NULL, 0, NULL);
  if (strcmp(which, "view") == 0) shmem_device_open(SHMEM_TEAM_WORLD, NULL);
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
  if (strcmp(which, "nothing") == 0) shmem_long_collect(SHMEM_TEAM_WORLD, heap, heap, me ? 0 : 1);
  if (strcmp(which, "set") == 0) shmem_barrier(0, 0, 100, &word);
  shmem_finalize();
  if (strcmp(which, "after") == 0) shmem_long_p(&word, 1, 0);
  return 0;
}
