/* Topics: shmem_set_lock, shmem_test_lock, shmem_clear_lock. */
#include "topic.h"

static long lock;
static int count;

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  for (int i = 0; i < 20; i++) { /* without the lock, some would be lost */
    if (i % 2) {
      shmem_set_lock(&lock);
    } else {
      while (shmem_test_lock(&lock)) continue;
    }
    int now = shmem_g(&count, 0);
    shmem_p(&count, now + 1, 0);
    shmem_quiet();
    shmem_clear_lock(&lock);
  }
  shmem_barrier_all();
  if (me == 0) CHECK(count == 20 * n);
  shmem_finalize();
  return 0;
}
