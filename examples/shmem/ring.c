/* A token goes around the ring of PEs, by puts with a signal, and each adds its number. */
#include <shmem.h>
#include <stdio.h>

enum { ROUNDS = 3 };

int main(void) {
  static long token;
  static uint64_t arrived;
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes(), next = (me + 1) % n;
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    if (me != 0) shmem_signal_wait_until(&arrived, SHMEM_CMP_GE, round);
    long sum = token + me;
    shmem_long_put_signal(&token, &sum, 1, &arrived, 1, SHMEM_SIGNAL_ADD, next);
    if (me == 0) shmem_signal_wait_until(&arrived, SHMEM_CMP_GE, round);
  }
  if (me == 0) printf("after %d rounds over %d PEs the token is %ld\n", ROUNDS, n, token);
  shmem_finalize();
  return 0;
}
