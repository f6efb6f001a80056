/* The device heap: every kind of operation between host and device memory of all PEs, over the software accelerator,
 * whose addresses fault when the host touches them. */
#include "check.h"

#include <hmc/memory.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define N 5000 /* elements: more than what queues copy */

static int me, n, next, before;
static long *device;            /* N * n longs of the device heap */
static long *heap;              /* the same of the host heap */
static uint64_t *signal_device; /* words of both */
static uint64_t *signal_heap;

static long value(int pe, long i, long salt) { return salt * 1000000007L + pe * 1000003L + i; }

/* Local copies, by the engine's public call. */
static void upload(void *to, const void *from, size_t size) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  CHECK(hmc_memory_query(to, &info) == HMC_SUCCESS && info.memory.kind == HMC_MEMORY_SIM);
  CHECK(hmc_memory_copy(to, info.memory, from, (hmc_memory_t){.kind = HMC_MEMORY_CPU}, size) == HMC_SUCCESS);
}
static void download(void *to, const void *from, size_t size) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  CHECK(hmc_memory_query(from, &info) == HMC_SUCCESS && info.memory.kind == HMC_MEMORY_SIM);
  CHECK(hmc_memory_copy(to, (hmc_memory_t){.kind = HMC_MEMORY_CPU}, from, info.memory, size) == HMC_SUCCESS);
}

static void fill(long *to, bool in_device, long count, long salt) {
  long *values = malloc((size_t)count * sizeof *values);
  for (long i = 0; i < count; i++) values[i] = value(me, i, salt);
  if (in_device) {
    upload(to, values, (size_t)count * sizeof *values);
  } else {
    memcpy(to, values, (size_t)count * sizeof *values);
  }
  free(values);
}

static void expect(const long *at, bool in_device, long count, int pe, long salt) {
  long *values = malloc((size_t)count * sizeof *values);
  if (in_device) {
    download(values, at, (size_t)count * sizeof *values);
  } else {
    memcpy(values, at, (size_t)count * sizeof *values);
  }
  for (long i = 0; i < count; i++) CHECK(values[i] == value(pe, i, salt));
  free(values);
}

static long load(const long *at) {
  long found;
  download(&found, at, sizeof found);
  return found;
}

/* ---- the heap itself -------------------------------------------------------------------------------------------------- */

static void check_heap(void) {
  size_t size, host_size;
  char *base = shmemx_space_base(SHMEMX_SPACE_DEVICE, &size);
  CHECK(base && size == 8 << 20);
  CHECK(shmemx_space_base(SHMEMX_SPACE_HOST, &host_size) && host_size == 64 << 20);
  char *first = shmemx_space_malloc(SHMEMX_SPACE_DEVICE, 100),
       *second = shmemx_space_align(SHMEMX_SPACE_DEVICE, 4096, 64);
  CHECK(first >= base && first < base + size && ((uintptr_t)second & 4095) == 0);
  CHECK(shmemx_space_of(first) == SHMEMX_SPACE_DEVICE && shmemx_space_of(heap) == SHMEMX_SPACE_HOST);
  CHECK(shmemx_space_of(&me) == SHMEMX_SPACE_HOST && shmemx_space_of(&size) == -1);
  CHECK(shmem_addr_accessible(first, next) && shmem_ptr(first, me) == first);
  if (!getenv("HMC_SHMEM_CHECK"))
    CHECK(shmemx_space_malloc(SHMEMX_SPACE_DEVICE, 9 << 20) == NULL); /* else it ends the job */

  long *hinted = shmem_malloc_with_hints(64, SHMEMX_MALLOC_DEVICE | SHMEM_MALLOC_SIGNAL_REMOTE);
  CHECK(shmemx_space_of(hinted) == SHMEMX_SPACE_DEVICE);
  fill(hinted, true, 8, 77);
  hinted = shmem_realloc(hinted, 1 << 20); /* another place: `first` and `second` are not free */
  CHECK(shmemx_space_of(hinted) == SHMEMX_SPACE_DEVICE);
  expect(hinted, true, 8, me, 77);
  shmem_free(hinted);
  long *full = shmemx_space_malloc(SHMEMX_SPACE_DEVICE, 1 << 21);
  fill(full, true, 1 << 18, 78);
  shmem_free(full);
  long *zeroed = shmemx_space_calloc(SHMEMX_SPACE_DEVICE, 1 << 18, 8);
  CHECK(zeroed == full);
  for (long i = 0; i < 1 << 18; i += 1021) CHECK(load(&zeroed[i]) == 0);
  shmem_free(zeroed);
  shmem_free(second);
  shmem_free(first);
}

/* ---- moving ------------------------------------------------------------------------------------------------------------- */

/* All pairs of memories, blocking and not: to the next PE, and back from it. `other` is memory of the device too, but not
 * of the heap. */
static void check_pairs(long *other) {
  long *places[] = {device, heap, NULL, other};
  long *local = malloc(N * sizeof *local);
  for (int from = 0; from < 4; from++) {
    for (int to = 0; to < 4; to++) {
      for (int blocking = 0; blocking < 2; blocking++) {
        long salt = 10 + from * 8 + to * 2 + blocking;
        long *source = from == 2 ? local : places[from], *dest = to == 2 ? local : places[to];
        if (to < 2) { /* put; the source lies behind what the PE before puts */
          long *mine = from < 2 ? source + N : source;
          fill(mine, from % 2 == 0 ? from == 0 : from == 3, N, salt);
          shmem_barrier_all();
          if (blocking) {
            shmem_long_put(dest, mine, N, next);
          } else {
            shmem_putmem_nbi(dest, mine, N * sizeof *mine, next);
          }
          shmem_barrier_all();
          expect(dest, to == 0, N, before, salt);
        }
        if (from < 2) { /* get */
          long *mine = to < 2 ? dest + N : dest;
          fill(source, from == 0, N, salt + 100);
          shmem_barrier_all();
          if (blocking) {
            shmem_getmem(mine, source, N * sizeof *mine, next);
          } else {
            shmem_long_get_nbi(mine, source, N, next);
            shmem_quiet();
          }
          expect(mine, to == 0 || to == 3, N, next, salt + 100);
          shmem_barrier_all();
        }
      }
    }
  }
  free(local);
}

static void check_scalars(void) {
  fill(device, true, 4, 200);
  shmem_barrier_all();
  CHECK(shmem_long_g(&device[3], next) == value(next, 3, 200));
  CHECK(shmem_int_g((int *)device, next) == (int)value(next, 0, 200));
  shmem_barrier_all();
  shmem_long_p(&device[1], 4711 + me, next);
  shmem_double_p((double *)&device[2], 0.5, next);
  shmem_barrier_all();
  CHECK(load(&device[1]) == 4711 + before);
  long bits = load(&device[2]);
  CHECK(memcmp(&bits, &(double){0.5}, 8) == 0);
  shmem_barrier_all();
}

static void check_strides(void) {
  long three[3] = {1 + me, 2 + me, 3 + me}, back[3] = {0};
  shmem_long_iput(device, three, 2, 1, 3, next);
  shmem_barrier_all();
  for (int i = 0; i < 3; i++) CHECK(load(&device[2 * i]) == i + 1 + before);
  shmem_long_iget(back, device, 1, 2, 3, next);
  CHECK(back[0] == 1 + me && back[2] == 3 + me);
  shmem_barrier_all();
  shmem_long_ibput(device + 16, device, 4, 2, 1, 3, next); /* device to device */
  shmem_barrier_all();
  for (int i = 0; i < 3; i++) CHECK(load(&device[16 + 4 * i]) == i + 1 + (before + n - 1) % n);
  shmem_barrier_all();
}

/* A fence orders small puts behind each other, wherever they go. */
static void check_order(void) {
  for (long round = 1; round <= 20; round++) {
    shmem_long_p(&device[0], round, next);
    shmem_fence();
    shmem_long_put(&device[0], &(long){-round}, 1, next);
    shmem_fence();
    shmem_long_p(&heap[0], round, next);
    shmem_long_wait_until(&heap[0], SHMEM_CMP_EQ, round);
    CHECK(load(&device[0]) == -round);
    shmem_barrier_all();
    fill(&device[N], true, 1, round);
    shmem_long_p(&device[1], round, next);
    shmem_fence();
    shmem_long_put(&device[1], &device[N], 1, next); /* which goes another way */
    shmem_barrier_all();
    expect(&device[1], true, 1, before, round);
    shmem_barrier_all();
  }
}

/* ---- words ----------------------------------------------------------------------------------------------------------- */

static void check_atomics(void) {
  long zero[8] = {0};
  upload(device, zero, sizeof zero);
  heap[N] = 99;
  upload(&device[N + 2], &(long){98}, sizeof(long));
  shmem_barrier_all();
  for (int i = 0; i < 10; i++) shmem_long_atomic_add(&device[0], 1 + me, 0);
  long fetched = shmem_long_atomic_fetch_inc(&device[1], 0);
  CHECK(fetched >= 0 && fetched < n);
  shmem_uint64_atomic_or((uint64_t *)&device[2], 1ull << me, 0);
  shmem_int32_atomic_add((int32_t *)&device[3] + 1, 5, 0);
  long won = shmem_long_atomic_compare_swap(&device[4], 0, 1 + me, 0), late = -1;
  shmem_long_atomic_fetch_add_nbi(&late, &device[5], 1, 0);
  shmem_long_atomic_fetch_nbi(&device[N], &heap[N], next); /* into device memory */
  shmem_long_atomic_fetch_nbi(&device[N + 1], &device[N + 2], next);
  shmem_quiet();
  CHECK(load(&device[N]) == 99 && load(&device[N + 1]) == 98);
  CHECK(won >= 0 && won <= n && late >= 0 && late < n);
  shmem_double_atomic_set((double *)&device[6], 2.25, next);
  shmem_barrier_all();
  CHECK(shmem_double_atomic_fetch((double *)&device[6], me) == 2.25);
  CHECK(shmem_long_atomic_fetch(&device[0], 0) == 10 * n * (n + 1) / 2);
  if (me == 0) {
    CHECK(load(&device[1]) == n && load(&device[2]) == (1l << n) - 1);
    CHECK(load(&device[3]) == (5l * n) << 32 && load(&device[4]) > 0 && load(&device[5]) == n);
  }
  CHECK(shmem_long_atomic_swap(&device[7], 9, me) == 0 && load(&device[7]) == 9);
  shmem_barrier_all();
}

static void check_signals(void) {
  for (uint64_t round = 1; round <= 10; round++) {
    for (int kind = 0; kind < 8; kind++) {
      long salt = 300 + (long)round * 8 + kind;
      bool from_device = kind & 1, to_device = kind & 2;
      uint64_t *word = kind & 4 ? signal_device : signal_heap;
      long *source = (from_device ? device : heap) + N, *dest = to_device ? device : heap;
      long count = round % 2 ? N : 5;
      fill(source, from_device, count, salt);
      shmem_barrier_all(); /* the next one has looked at what came before */
      uint64_t goal = round * 4 + kind % 4;
      if (kind % 3) {
        shmem_putmem_signal(dest, source, (size_t)count * sizeof *dest, word, goal, SHMEM_SIGNAL_SET, next);
      } else {
        shmem_long_put_signal_nbi(dest, source, (size_t)count, word, goal, SHMEM_SIGNAL_SET, next);
      }
      CHECK(shmem_signal_wait_until(word, SHMEM_CMP_EQ, goal) == goal && shmem_signal_fetch(word) == goal);
      expect(dest, to_device, count, before, salt);
    }
  }
  shmem_barrier_all();
  shmem_signal_add(signal_device, 1, next);
  shmem_uint64_wait_until(signal_device, SHMEM_CMP_EQ, 44);
  int32_t half = 0;
  CHECK(shmem_uint64_test(signal_device, SHMEM_CMP_GT, 43));
  upload(&device[10], &half, sizeof half);
  shmem_barrier_all();
  shmem_int32_p((int32_t *)&device[10], -3 - me, next);
  shmem_int32_wait_until((int32_t *)&device[10], SHMEM_CMP_EQ, -3 - before);
  CHECK(shmem_int32_test_any((int32_t *)&device[10], 1, NULL, SHMEM_CMP_LT, 0) == 0);
  shmem_barrier_all();
}

/* ---- collectives -------------------------------------------------------------------------------------------------------- */

static void check_reductions(bool from_device, bool to_device) {
  long *source = (from_device ? device : heap) + N, *dest = to_device ? device : heap;
  for (long count = 1; count <= N; count = count * 70 < N || count == N ? count * 70 : N) {
    fill(source, from_device, count, 1);
    CHECK(shmem_long_sum_reduce(SHMEM_TEAM_WORLD, dest, source, (size_t)count) == 0);
    long last = to_device ? load(&dest[count - 1]) : dest[count - 1], sum = 0;
    for (int i = 0; i < n; i++) sum += value(i, count - 1, 1);
    CHECK(last == sum);
    CHECK(shmem_long_sum_inscan(SHMEM_TEAM_WORLD, dest, source, (size_t)count) == 0);
    sum = 0;
    for (int i = 0; i <= me; i++) sum += value(i, count - 1, 1);
    CHECK((to_device ? load(&dest[count - 1]) : dest[count - 1]) == sum);
    CHECK(shmem_long_sum_exscan(SHMEM_TEAM_WORLD, dest, source, (size_t)count) == 0);
    CHECK((to_device ? load(&dest[count - 1]) : dest[count - 1]) == sum - value(me, count - 1, 1));
    CHECK(shmem_long_max_reduce(SHMEM_TEAM_WORLD, source, source, (size_t)count) == 0); /* in place */
    CHECK((from_device ? load(&source[0]) : source[0]) == value(n - 1, 0, 1));
    shmem_barrier_all();
  }
}

static void check_moves(bool from_device, bool to_device) {
  long *source = (from_device ? device : heap) + n * 100, *dest = to_device ? device : heap;
  fill(source, from_device, 100, 2);
  CHECK(shmem_long_fcollect(SHMEM_TEAM_WORLD, dest, source, 100) == 0);
  for (int i = 0; i < n; i++) expect(dest + i * 100, to_device, 100, i, 2);
  shmem_barrier_all();
  CHECK(shmem_long_broadcast(SHMEM_TEAM_WORLD, dest, source, 100, n - 1) == 0);
  expect(dest, to_device, 100, n - 1, 2);
  shmem_barrier_all();
  CHECK(shmem_long_collect(SHMEM_TEAM_WORLD, dest, source, (size_t)me + 1) == 0);
  for (int i = 0; i < n; i++) expect(dest + i * (i + 1) / 2, to_device, i + 1, i, 2);
  shmem_barrier_all();
  for (int i = 0; i < n; i++) fill(source + i * 10, from_device, 10, 500 + i);
  shmem_barrier_all();
  CHECK(shmem_long_alltoall(SHMEM_TEAM_WORLD, dest, source, 10) == 0);
  for (int i = 0; i < n; i++) expect(dest + i * 10, to_device, 10, i, 500 + me);
  shmem_barrier_all();
  CHECK(shmem_long_alltoalls(SHMEM_TEAM_WORLD, dest, source, 2, 1, 10) == 0);
  for (int i = 0; i < n; i++) {
    long third = to_device ? load(&dest[i * 20 + 6]) : dest[i * 20 + 6];
    CHECK(third == value(i, 3, 500 + me));
  }
  shmem_barrier_all();
}

static void check_collectives(void) {
  for (int kind = 0; kind < 4; kind++) {
    check_reductions(kind & 1, kind & 2);
    check_moves(kind & 1, kind & 2);
  }
}

/* A pointer to another PE's memory, for copies of the device, where both are on one host. */
static void check_pointers(void) {
  fill(device, true, 100, 600);
  shmem_barrier_all();
  long *theirs = shmem_ptr(device, next);
  CHECK((theirs != NULL) == (n == 1 || (shmem_ptr(heap, next) && !getenv("HMC_SIM_HANDLES"))));
  if (theirs) expect(theirs, true, 100, next, 600);
  CHECK(shmem_team_ptr(SHMEM_TEAM_WORLD, device, me) == device);
  shmem_barrier_all();
}

static void run(void) {
  me = shmem_my_pe();
  n = shmem_n_pes();
  next = (me + 1) % n;
  before = (me + n - 1) % n;
  size_t bytes = (size_t)N * sizeof(long) * 2;
  device = shmemx_space_malloc(SHMEMX_SPACE_DEVICE, bytes);
  heap = shmem_calloc(1, bytes);
  signal_device = shmemx_space_calloc(SHMEMX_SPACE_DEVICE, 1, 8);
  signal_heap = shmem_calloc(1, 8);
  CHECK(device && heap && signal_device && signal_heap);
  void *other;
  CHECK(hmc_memory_allocate((hmc_memory_t){.kind = HMC_MEMORY_SIM}, N * sizeof(long), &other) == HMC_SUCCESS);
  check_heap();
  check_pairs(other);
  check_scalars();
  check_strides();
  check_order();
  check_atomics();
  check_signals();
  check_collectives();
  check_pointers();
  CHECK(hmc_memory_free((hmc_memory_t){.kind = HMC_MEMORY_SIM}, other) == HMC_SUCCESS);
  shmem_free(signal_heap);
  shmem_free(signal_device);
  shmem_free(heap);
  shmem_free(device);
}

/* Twice: by the call, and, where that has been used up, by the environment. */
int main(void) {
  CHECK(shmemx_set_device_heap(8 << 20, "sim:0") == 0);
  shmem_init();
  CHECK(shmemx_set_device_heap(1, NULL) == -1);
  run();
  shmem_finalize();
  setenv("SHMEM_DEVICE_SIZE", "7.5M", 1); /* rounded up */
  setenv("SHMEM_DEVICE", "sim", 1);
  shmem_init();
  size_t size;
  CHECK(shmemx_space_base(SHMEMX_SPACE_DEVICE, &size) && size == 8 << 20);
  run();
  shmem_finalize();
  unsetenv("SHMEM_DEVICE_SIZE");
  shmem_init();
  CHECK(!shmemx_space_base(SHMEMX_SPACE_DEVICE, NULL));
  if (!getenv("HMC_SHMEM_CHECK")) CHECK(!shmemx_space_malloc(SHMEMX_SPACE_DEVICE, 8));
  CHECK(shmemx_space_of(device) == -1);
  shmem_finalize();
  return 0;
}
