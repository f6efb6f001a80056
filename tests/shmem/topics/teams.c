/* Topics: shmem_team_split_strided, shmem_team_split_2d, shmem_team_translate_pe, shmem_team_sync, shmem_sync_all. */
#include "topic.h"

/* Every second PE from the third on writes to the next of them. */
static void pass_in_a_team(int me, int n) {
  static int word = -1;
  shmem_team_t team = SHMEM_TEAM_INVALID;
  if (n > 2) shmem_team_split_strided(SHMEM_TEAM_WORLD, 2, 2, (n - 1) / 2, NULL, 0, &team);
  if (team == SHMEM_TEAM_INVALID) {
    CHECK(word == -1);
    return;
  }
  int mine = shmem_team_my_pe(team), members = shmem_team_n_pes(team);
  shmem_p(&word, mine, shmem_team_translate_pe(team, (mine + 1) % members, SHMEM_TEAM_WORLD));
  shmem_quiet();
  shmem_sync(team);
  CHECK(me == 2 * mine + 2 && word == (mine + members - 1) % members);
  shmem_team_destroy(team);
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  shmem_team_t odds, row, column, shared = SHMEM_TEAM_SHARED;
  CHECK(shmem_team_my_pe(SHMEM_TEAM_WORLD) == me && shmem_team_n_pes(SHMEM_TEAM_WORLD) == n);
  CHECK(shmem_team_n_pes(shared) >= 1 && shmem_team_my_pe(SHMEM_TEAM_INVALID) == -1);
  if (n > 1) {
    CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 1, 2, n / 2, NULL, 0, &odds) == 0);
    CHECK((me % 2 == 1) == (odds != SHMEM_TEAM_INVALID));
    if (odds != SHMEM_TEAM_INVALID) {
      CHECK(shmem_team_my_pe(odds) == me / 2);
      CHECK(shmem_team_translate_pe(odds, me / 2, SHMEM_TEAM_WORLD) == me);
      CHECK(shmem_team_translate_pe(SHMEM_TEAM_WORLD, 0, odds) == -1);
      shmem_team_sync(odds);
      shmem_team_destroy(odds);
    }
  }
  pass_in_a_team(me, n);
  shmem_sync_all();
  CHECK(shmem_team_split_2d(SHMEM_TEAM_WORLD, 2, NULL, 0, &row, NULL, 0, &column) == 0);
  CHECK(shmem_team_my_pe(row) == me % 2 && shmem_team_my_pe(column) == me / 2);
  CHECK(shmem_team_translate_pe(column, 0, SHMEM_TEAM_WORLD) == me % 2);
  static int sums[2], one = 1;
  CHECK(shmem_sum_reduce(row, &sums[0], &one, 1) == 0 && shmem_sum_reduce(column, &sums[1], &one, 1) == 0);
  CHECK(sums[0] == shmem_team_n_pes(row) && sums[1] == shmem_team_n_pes(column));
  shmem_team_destroy(row);
  shmem_team_destroy(column);
  shmem_finalize();
  return 0;
}
