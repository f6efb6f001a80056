/* Numbers that another library gives to the same processes, mapped to PEs and back. Topics: shmem_collect of them, and of
 * a team whose members count by them. */
#include "topic.h"

enum { MOST = 64 };
static int pe_of[MOST], mine;

/* As a library would that counts from the last PE down. */
static int other_number(int me, int n) { return n - 1 - me; }

static void over_all(int me, int n) {
  mine = other_number(me, n);
  int *other_of = shmem_calloc((size_t)n, sizeof *other_of); /* by PE */
  CHECK(other_of && shmem_collect(SHMEM_TEAM_WORLD, other_of, &mine, 1) == 0);
  for (int pe = 0; pe < n; pe++) pe_of[other_of[pe]] = pe;
  for (int number = 0; number < n; number++) CHECK(other_of[pe_of[number]] == number);
  CHECK(pe_of[mine] == me);
  shmem_free(other_of);
}

/* A team of every second PE: its numbers to those of the world. */
static void over_a_team(int me, int n) {
  shmem_team_t team;
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 2, (n + 1) / 2, NULL, 0, &team) == 0);
  if (team == SHMEM_TEAM_INVALID) return;
  int number = shmem_team_my_pe(team);
  CHECK(shmem_team_translate_pe(team, number, SHMEM_TEAM_WORLD) == me);
  CHECK(shmem_team_translate_pe(SHMEM_TEAM_WORLD, pe_of[mine], team) == number);
  shmem_team_destroy(team);
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  CHECK(n <= MOST);
  over_all(me, n);
  over_a_team(me, n);
  shmem_finalize();
  return 0;
}
