/* Topics: shmem_global_exit by one PE while the others wait for it, shmem_query_interoperability, and a word that a PE
 * looks at again and again while another sets it. */
#include "topic.h"

#include <stdlib.h>

static long never;

int main(void) {
  shmem_init();
  int progress = shmem_query_interoperability(SHMEM_PROGRESS_MPI);
  CHECK(progress == 0 || progress == 1);
  static int there;
  if (shmem_my_pe() == shmem_n_pes() - 1) shmem_int_atomic_set(&there, 1, 0);
  if (shmem_my_pe() == 0) {
    while (shmem_int_atomic_fetch(&there, 0) != 1) continue;
  }
  shmem_barrier_all();
  if (shmem_my_pe() == 0) {
    FILE *input = fopen("/nonexistent/input.txt", "r");
    if (!input) shmem_global_exit(EXIT_SUCCESS); /* what the program needs is not there: all end, with that status */
    fclose(input);
  }
  shmem_long_wait_until(&never, SHMEM_CMP_EQ, 1);
  return EXIT_FAILURE;
}
