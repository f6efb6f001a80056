/* Topics: start_pes, shmem_init_thread, shmem_query_thread, shmem_query_initialized, shmem_info_get_*, several init and
 * finalize. */
#include "topic.h"

#include <string.h>

int main(void) {
  int provided = -1, initialized = -1, major, minor;
  char name[SHMEM_MAX_NAME_LEN];
  shmem_query_initialized(&initialized);
  CHECK(!initialized);
  CHECK(shmem_init_thread(SHMEM_THREAD_MULTIPLE, &provided) == 0 && provided == SHMEM_THREAD_MULTIPLE);
  shmem_init(); /* counts */
  start_pes(0);
  shmem_query_thread(&provided);
  shmem_query_initialized(&initialized);
  CHECK(initialized && provided == SHMEM_THREAD_MULTIPLE && _num_pes() == shmem_n_pes());
  shmem_info_get_version(&major, &minor);
  shmem_info_get_name(name);
  CHECK(major == 1 && minor == 6 && major == SHMEM_MAJOR_VERSION && strcmp(name, SHMEM_VENDOR_STRING) == 0);
  void *first = shmem_align(4096, 100), *second = shmem_malloc_with_hints(100, SHMEM_MALLOC_ATOMICS_REMOTE);
  CHECK(first && second && (uintptr_t)first % 4096 == 0 && shmem_malloc(0) == NULL);
  first = shmem_realloc(first, 10000);
  CHECK(first);
  shmem_free(first);
  shmem_free(second);
  shmem_finalize();
  shmem_query_initialized(&initialized);
  CHECK(initialized);
  shmem_barrier_all();
  shmem_finalize();
  return 0;
}
