/* Each PE says who it is, in turn.
 *
 *   oshcc hello.c -o hello && oshrun -n 4 ./hello */
#include <shmem.h>
#include <stdio.h>

int main(void) {
  static int turn; /* a static variable is symmetric: every PE has one, and all can reach it */
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  shmem_int_wait_until(&turn, SHMEM_CMP_EQ, me);
  printf("Hello from PE %d of %d\n", me, n);
  fflush(stdout);
  if (me + 1 < n) shmem_int_p(&turn, me + 1, me + 1);
  shmem_finalize();
  return 0;
}
