/* What hmcrun and the other launchers are tried with: prints, exits, dies, waits, as its argument says. */
#include "check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who has mail passes it on, and returns from main without shmem_finalize. */
static int return_early(int me, int n) {
  static long mail;
  if (me) shmem_long_wait_until(&mail, SHMEM_CMP_EQ, 7);
  if (me + 1 < n) shmem_long_p(&mail, 7, me + 1);
  return 0;
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  static long sum;
  shmem_long_atomic_add(&sum, me + 1, 0);
  shmem_barrier_all();
  if (me == 0) CHECK(sum == (long)n * (n + 1) / 2);
  printf("PE %d of %d\n", me, n);
  fflush(stdout);
  shmem_barrier_all();
  int last = n - 1;
  if (strcmp(what, "exit") == 0 && me == last) shmem_global_exit(argc > 2 ? atoi(argv[2]) : 0);
  if (strcmp(what, "status") == 0 && me == last) _exit(7);
  if (strcmp(what, "fault") == 0 && me == last) exit(7);
  if (strcmp(what, "return") == 0) return return_early(me, n);
  if (strcmp(what, "die") == 0 && me == last) raise(SIGKILL);
  if (strcmp(what, "wait") == 0) pause();
  if (*what && strcmp(what, "wait") != 0) {
    if (me % 2) shmem_barrier_all(); /* never ends by itself */
    pause();
  }
  shmem_finalize();
  return 0;
}
