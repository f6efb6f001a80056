/* PEs that share processors leave them to each other while they wait: a barrier costs each PE a bounded time of its processor
 * and a bounded number of sleeps, however many there are. An element of a strided transfer costs a bounded time too, at all
 * PEs together. */
#include "check.h"

#include <sys/resource.h>

enum { ELEMENTS = 1000, MOST_NS = 600 /* of a processor, for an element */ };
enum { BARRIERS = 200, MOST = 900 /* us of a processor, for a PE's part in a barrier */, MOST_SLEEPS = 9 };

typedef struct use {
  double time, sleeps;
} use_t;

static use_t used(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (use_t){(double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
                     (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
                 (double)usage.ru_nvcsw};
}

static void test_strided(int n) {
  static double mine, all;
  size_t elements = ELEMENTS * (size_t)n;
  int *source = shmem_calloc(2 * elements, sizeof *source), *dest = shmem_malloc(3 * elements * sizeof *dest);
  CHECK(shmem_int_alltoalls(SHMEM_TEAM_WORLD, dest, source, 3, 2, 10) == 0); /* connections are made */
  shmem_barrier_all();
  use_t before = used();
  CHECK(shmem_int_alltoalls(SHMEM_TEAM_WORLD, dest, source, 3, 2, ELEMENTS) == 0);
  shmem_barrier_all();
  mine = (used().time - before.time) * 1000 / (double)elements;
  CHECK(shmem_double_sum_reduce(SHMEM_TEAM_WORLD, &all, &mine, 1) == 0);
  if (shmem_my_pe() == 0) {
    printf("an element of alltoalls takes %.0f ns of a processor\n", all / n);
    CHECK(all / n < MOST_NS);
  }
  shmem_free(dest);
  shmem_free(source);
}

int main(void) {
  static double mine[2], all[2];
  shmem_init();
  int n = shmem_n_pes();
  for (int i = 0; i < 10; i++) shmem_barrier_all(); /* connections are made */
  use_t before = used();
  for (int i = 0; i < BARRIERS; i++) shmem_barrier_all();
  use_t after = used();
  mine[0] = (after.time - before.time) / BARRIERS;
  mine[1] = (after.sleeps - before.sleeps) / BARRIERS;
  CHECK(shmem_double_sum_reduce(SHMEM_TEAM_WORLD, all, mine, 2) == 0);
  if (shmem_my_pe() == 0) {
    printf("a barrier of %d PEs takes %.0f us of a processor at each, and %.1f sleeps\n", n, all[0] / n, all[1] / n);
    CHECK(all[0] / n < MOST && all[1] / n < MOST_SLEEPS);
  }
  test_strided(n);
  shmem_finalize();
  return 0;
}
