/* PEs that share processors leave them to each other while they wait: a barrier costs each PE a bounded time of its processor,
 * however many there are. */
#include "check.h"

#include <sys/resource.h>

enum { BARRIERS = 200, MOST = 900 /* us of a processor, for a PE's part in a barrier */ };

static double used(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

int main(void) {
  static double mine, all;
  shmem_init();
  int n = shmem_n_pes();
  for (int i = 0; i < 10; i++) shmem_barrier_all(); /* connections are made */
  double before = used();
  for (int i = 0; i < BARRIERS; i++) shmem_barrier_all();
  mine = (used() - before) / BARRIERS;
  CHECK(shmem_double_sum_reduce(SHMEM_TEAM_WORLD, &all, &mine, 1) == 0);
  if (shmem_my_pe() == 0) {
    printf("a barrier of %d PEs takes %.0f us of a processor at each\n", n, all / n);
    CHECK(all / n < MOST);
  }
  shmem_finalize();
  return 0;
}
