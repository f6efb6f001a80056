/* Data between the PEs over the network, or what stands in for it: each PE puts a block to every other one and checks
 * what came, and says how fast it was.
 *
 * usage: rdma_demo [BYTES]; see run.sh */
#include <shmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static unsigned char value(int from, int to, size_t i) { return (unsigned char)(from * 7 + to * 13 + (int)(i % 251)); }

int main(int argc, char **argv) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  size_t size = argc > 1 ? strtoull(argv[1], NULL, 10) : 1 << 20;
  unsigned char *received = shmem_malloc((size_t)n * size), *block = shmem_malloc((size_t)n * size);
  static long faults, all_faults;
  if (!received || !block) shmem_global_exit(1);
  for (int pe = 0; pe < n; pe++) {
    for (size_t i = 0; i < size; i++) block[(size_t)pe * size + i] = value(me, pe, i);
  }
  shmem_barrier_all();
  double start = seconds();
  for (int i = 0; i < n; i++) {
    int pe = (me + i) % n;
    shmem_putmem_nbi(received + (size_t)me * size, block + (size_t)pe * size, size, pe);
  }
  shmem_barrier_all();
  double took = seconds() - start;
  for (int pe = 0; pe < n; pe++) {
    for (size_t i = 0; i < size; i++) faults += received[(size_t)pe * size + i] != value(pe, me, i);
  }
  shmem_long_sum_reduce(SHMEM_TEAM_WORLD, &all_faults, &faults, 1);
  if (me == 0) {
    printf("%d PEs, %zu B to each: %s\n", n, size, all_faults ? "wrong" : "right");
    fprintf(stderr, "%.0f MB/s in all\n", (double)size * n * n / took * 1e-6);
  }
  shmem_finalize();
  return all_faults != 0;
}
