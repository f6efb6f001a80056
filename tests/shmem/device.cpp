/* Kernels of SHMEM: the same source runs as threads of the processor (g++) and on a GPU (nvcc -x cu). */
#include <shmem.h>
#include <shmem/device.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

enum { THREADS = 64, WORDS = 1000 };

struct board {
  long faults, sum, scalar;
  uint64_t signal;
  long block[WORDS], warp[WORDS], got[WORDS];
};

#define EXPECT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) shmem_device_long_atomic_add(view, &board->faults, 1, view.me);                                  \
  } while (0)

SHMEM_KERNEL void exchange(shmem_device_t view, board *board, const long *mine) {
  int next = (view.me + 1) % view.n, before = (view.me + view.n - 1) % view.n;
  shmem_device_putmem_block(view, board->block, mine, sizeof board->block, next);
  if (shmem_device_thread() < 32) shmem_device_putmem_warp(view, board->warp, mine, sizeof board->warp, next);
  if (shmem_device_thread() == 0) {
    shmem_device_long_p(view, &board->scalar, view.me, next);
    shmem_device_long_atomic_add(view, &board->sum, view.me + 1, 0);
  }
  shmem_device_barrier(view);
  for (int i = shmem_device_thread(); i < WORDS; i += shmem_device_threads()) {
    EXPECT(board->block[i] == before * 10000L + i && board->warp[i] == before * 10000L + i);
  }
  if (shmem_device_thread() == 0) {
    EXPECT(board->scalar == before && shmem_device_long_g(view, &board->scalar, next) == view.me);
    EXPECT(shmem_device_long_g(view, &board->sum, 0) == (long)view.n * (view.n + 1) / 2);
  }
  shmem_device_getmem_block(view, board->got, board->block, sizeof board->got, next);
  for (int i = shmem_device_thread(); i < WORDS; i += shmem_device_threads()) {
    EXPECT(board->got[i] == view.me * 10000L + i);
  }
  shmem_device_barrier(view);
}

SHMEM_KERNEL void signals(shmem_device_t view, board *board, const long *mine) {
  int next = (view.me + 1) % view.n, before = (view.me + view.n - 1) % view.n;
  shmem_device_putmem_signal_block(view, board->block, mine, 64, &board->signal, 1, SHMEM_SIGNAL_ADD, next);
  if (shmem_device_thread() == 0) {
    EXPECT(shmem_device_signal_wait_until(&board->signal, SHMEM_CMP_GE, 1) >= 1);
    EXPECT(board->block[7] == before * 10000L + 7);
    EXPECT(shmem_device_long_atomic_compare_swap(view, &board->scalar, before, 77, view.me) == before);
    EXPECT(shmem_device_long_atomic_swap(view, &board->scalar, 78, view.me) == 77);
    EXPECT(shmem_device_long_atomic_fetch(view, &board->scalar, view.me) == 78);
    EXPECT(shmem_device_long_atomic_fetch_or(view, &board->scalar, 1, view.me) == 78);
    EXPECT(shmem_device_long_atomic_fetch_and(view, &board->scalar, 3, view.me) == 79);
    EXPECT(shmem_device_long_atomic_fetch_xor(view, &board->scalar, 1, view.me) == 3);
    EXPECT(shmem_device_long_test(&board->scalar, SHMEM_CMP_EQ, 2));
  }
  shmem_device_barrier(view);
}

SHMEM_KERNEL void in_team(shmem_device_t team, shmem_device_t world, board *board) {
  shmem_device_t view = world;
  EXPECT(shmem_device_translate_pe(team, team.me, world) == world.me);
  if (shmem_device_thread() == 0) shmem_device_long_p(team, &board->scalar, 500 + team.me, (team.me + 1) % team.n);
  shmem_device_barrier(team);
  EXPECT(board->scalar == 500 + (team.me + team.n - 1) % team.n);
}

/* Kernels that are threads do not reach what lies at these addresses, but they get them. */
SHMEM_KERNEL void pointers(shmem_device_t view, void *in_device, void **expected, board *board) {
  for (int i = 0; i < view.n; i++) {
    EXPECT(expected[i] && shmem_device_ptr(view, (char *)in_device + 8, i) == (char *)expected[i] + 8);
  }
}

int main() {
  if (shmemx_set_device_heap(2 << 20, "sim")) return 1;
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  board *mine = static_cast<board *>(shmem_calloc(1, sizeof(board)));
  long *source = static_cast<long *>(shmem_malloc(WORDS * sizeof(long)));
  shmem_device_t world, even;
  shmem_team_t team;
  if (shmem_device_open(SHMEM_TEAM_WORLD, &world)) shmem_global_exit(2);
  shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 2, (n + 1) / 2, nullptr, 0, &team);
  if (shmem_device_open(team, &even)) shmem_global_exit(2);
  for (int i = 0; i < WORDS; i++) source[i] = me * 10000L + i;
  shmem_barrier_all();
  SHMEM_LAUNCH(1, THREADS, exchange, world, mine, source);
  SHMEM_LAUNCH(1, THREADS, signals, world, mine, source);
  void *in_device = shmemx_space_malloc(SHMEMX_SPACE_DEVICE, 64);
  void **expected = static_cast<void **>(shmem_calloc(static_cast<size_t>(n), sizeof(void *)));
  for (int i = 0; i < n; i++) expected[i] = shmem_ptr(in_device, i);
  SHMEM_LAUNCH(1, 1, pointers, world, in_device, expected, mine);
  if (team != SHMEM_TEAM_INVALID) SHMEM_LAUNCH(1, THREADS, in_team, even, world, mine);
  shmem_barrier_all();
  long faults = mine->faults;
  if (faults) std::fprintf(stderr, "PE %d: %ld faults\n", me, faults);
  shmem_device_close(&even);
  shmem_device_close(&world);
  if (faults) shmem_global_exit(1);
  shmem_finalize();
  return 0;
}
