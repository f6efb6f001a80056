/* Which PEs and addresses can be reached, and loads and stores where they can. Topics: shmem_pe_accessible,
 * shmem_addr_accessible, shmem_ptr, shmem_team_ptr, shmem_my_pe, shmem_n_pes. */
#include "topic.h"

static int word;

int main(void) {
  int local = 0;
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes(), next = (me + 1) % n;
  CHECK(me >= 0 && me < n && shmem_pe_accessible(next) && !shmem_pe_accessible(n));
  CHECK(shmem_addr_accessible(&word, next) && !shmem_addr_accessible(&local, next));
  int *there = shmem_ptr(&word, next);
  CHECK(shmem_team_ptr(SHMEM_TEAM_WORLD, &word, next) == there);
  CHECK(shmem_ptr(&local, next) == NULL && shmem_ptr(&word, me) == &word);
  if (there) {
    *there = me + 1;
  } else {
    shmem_p(&word, me + 1, next);
  }
  shmem_barrier_all();
  CHECK(word == (me + n - 1) % n + 1);
  shmem_finalize();
  return 0;
}
