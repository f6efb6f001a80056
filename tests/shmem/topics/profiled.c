/* The profiling interface: this program defines a routine itself, and calls the library's by its other name. */
#include <pshmem.h>

#include "topic.h"

static int calls;

void shmem_long_put(long *dest, const long *source, size_t nelems, int pe) {
  calls++;
  pshmem_long_put(dest, source, nelems, pe);
}

int main(void) {
  static long word;
  shmem_init();
  long value = shmem_my_pe() + 1;
  shmem_long_put(&word, &value, 1, (shmem_my_pe() + 1) % shmem_n_pes());
  pshmem_barrier_all();
  CHECK(calls == 1 && word > 0);
  shmem_finalize();
  return 0;
}
