/* Heat in a rod: each PE has a part, and gets its neighbours' edges by puts before each step.
 *
 *   PE 0        PE 1        PE 2
 *   [h|.....|h] [h|.....|h] [h|.....|h]     h: the halo, a copy of the neighbour's edge
 *        +------->^  ^<------+
 *
 * The ends are held at 100 and 0 degrees; in the end the rod is a straight line between them. */
#include <math.h>
#include <shmem.h>
#include <stdio.h>

enum { CELLS = 48, STEPS = 20000 };

static double error_of(const double *cells, int first, int each) {
  double worst = 0;
  for (int i = 1; i <= each; i++) {
    double wanted = 100.0 * (1 - (double)(first + i) / (CELLS + 1));
    double error = fabs(cells[i] - wanted);
    if (error > worst) worst = error;
  }
  return worst;
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  if (CELLS % n) {
    if (me == 0) fprintf(stderr, "%d cells cannot be shared out to %d PEs\n", CELLS, n);
    shmem_finalize();
    return 1;
  }
  int each = CELLS / n;
  double *now = shmem_calloc((size_t)each + 2, sizeof *now), *next = shmem_calloc((size_t)each + 2, sizeof *next);
  if (me == 0) now[0] = next[0] = 100;
  shmem_barrier_all();
  for (int step = 0; step < STEPS; step++) {
    if (me > 0) shmem_double_p(&now[each + 1], now[1], me - 1);
    if (me + 1 < n) shmem_double_p(&now[0], now[each], me + 1);
    shmem_barrier_all();
    for (int i = 1; i <= each; i++) next[i] = now[i] + 0.4 * (now[i - 1] - 2 * now[i] + now[i + 1]);
    double *swapped = now;
    now = next;
    next = swapped;
  }
  static double mine, worst;
  mine = error_of(now, me * each, each);
  shmem_double_max_reduce(SHMEM_TEAM_WORLD, &worst, &mine, 1);
  if (me == 0) printf("after %d steps the rod is a straight line: %s\n", STEPS, worst < 0.01 ? "yes" : "no");
  shmem_finalize();
  return worst < 0.01 ? 0 : 1;
}
