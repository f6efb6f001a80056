/* Collectives of every type, over all PEs, over teams, and over active sets. */
#include "check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SMALL = 3, LARGE = 5000 };

static int me, n;

#define MOVED(TYPE, pe, i) ((TYPE)(((pe)*11 + (i)) % 100))

/* The moving ones, over a team; each PE's block has `count` elements. */
#define DEFINE_MOVING(a, NAME, TYPE)                                                                                   \
  static void NAME##_moving(shmem_team_t team, size_t count) {                                                         \
    int self = shmem_team_my_pe(team), size = shmem_team_n_pes(team);                                                  \
    size_t all = count * (size_t)size;                                                                                 \
    TYPE *source = shmem_malloc(2 * all * sizeof *source), *dest = shmem_malloc(4 * all * sizeof *dest);               \
    for (size_t i = 0; i < 2 * all; i++) source[i] = MOVED(TYPE, self, (int)i);                                        \
    memset(dest, 0, 4 * all * sizeof *dest);                                                                           \
    shmem_barrier_all();                                                                                               \
    int root = size - 1;                                                                                               \
    CHECK(shmem_##NAME##_broadcast(team, dest, source, count, root) == 0);                                             \
    for (size_t i = 0; i < count; i++) CHECK(dest[i] == MOVED(TYPE, root, (int)i));                                    \
    shmem_team_sync(team);                                                                                             \
    CHECK(shmem_##NAME##_fcollect(team, dest, source, count) == 0);                                                    \
    for (size_t i = 0; i < all; i++) CHECK(dest[i] == MOVED(TYPE, (int)(i / count), (int)(i % count)));                \
    shmem_team_sync(team);                                                                                             \
    memset(dest, 0, all * sizeof *dest);                                                                               \
    shmem_team_sync(team);                                                                                             \
    CHECK(shmem_##NAME##_collect(team, dest, source, (size_t)self % 3) == 0);                                          \
    for (size_t pe = 0, at = 0; pe < (size_t)size; pe++) {                                                             \
      for (size_t i = 0; i < pe % 3; i++) CHECK(dest[at++] == MOVED(TYPE, (int)pe, (int)i));                           \
    }                                                                                                                  \
    shmem_team_sync(team);                                                                                             \
    CHECK(shmem_##NAME##_alltoall(team, dest, source, count) == 0);                                                    \
    for (size_t i = 0; i < all; i++) {                                                                                 \
      CHECK(dest[i] == MOVED(TYPE, (int)(i / count), (int)((size_t)self * count + i % count)));                        \
    }                                                                                                                  \
    shmem_team_sync(team);                                                                                             \
    memset(dest, 0, 4 * all * sizeof *dest);                                                                           \
    shmem_team_sync(team);                                                                                             \
    CHECK(shmem_##NAME##_alltoalls(team, dest, source, 3, 2, count) == 0);                                             \
    for (size_t i = 0; i < all; i++) {                                                                                 \
      CHECK(dest[3 * i] == MOVED(TYPE, (int)(i / count), (int)(2 * ((size_t)self * count + i % count))));              \
    }                                                                                                                  \
    shmem_barrier_all();                                                                                               \
    shmem_free(dest);                                                                                                  \
    shmem_free(source);                                                                                                \
  }
HMC_SHMEM_RMA_TYPES(DEFINE_MOVING, )

/* A reduction: PE p's element j is 1 + (p + j) % 3, so that products of floats are exact; those of integers wrap around
 * where many PEs multiply. What comes out is computed one by one. */
#define ELEMENT(pe, j) (1 + ((pe) + (int)(j)) % 3)
#define IS_INTEGER(TYPE) ((TYPE)0.5 == 0)
#define FOLD_and(TYPE, a, b) ((a) & (b))
#define FOLD_or(TYPE, a, b) ((a) | (b))
#define FOLD_xor(TYPE, a, b) ((a) ^ (b))
#define FOLD_max(TYPE, a, b) ((a) > (b) ? (a) : (b))
#define FOLD_min(TYPE, a, b) ((a) < (b) ? (a) : (b))
#define FOLD_sum(TYPE, a, b) (IS_INTEGER(TYPE) ? (TYPE)((uint64_t)(a) + (uint64_t)(b)) : (a) + (b))
#define FOLD_prod(TYPE, a, b) (IS_INTEGER(TYPE) ? (TYPE)((uint64_t)(a) * (uint64_t)(b)) : (a) * (b))

#define DEFINE_REDUCE(operation, NAME, TYPE)                                                                           \
  static void NAME##_##operation##_test(shmem_team_t team, size_t count) {                                             \
    int self = shmem_team_my_pe(team), size = shmem_team_n_pes(team);                                                  \
    TYPE *source = shmem_malloc(count * sizeof *source), *dest = shmem_malloc(count * sizeof *dest);                   \
    for (int in_place = 0; in_place < 2; in_place++) {                                                                 \
      for (size_t j = 0; j < count; j++) source[j] = (TYPE)ELEMENT(self, j);                                           \
      TYPE *to = in_place ? source : dest;                                                                             \
      shmem_team_sync(team);                                                                                           \
      CHECK(shmem_##NAME##_##operation##_reduce(team, to, source, count) == 0);                                        \
      for (size_t j = 0; j < count; j++) {                                                                             \
        TYPE wanted = (TYPE)ELEMENT(0, j);                                                                             \
        for (int pe = 1; pe < size; pe++) wanted = (TYPE)FOLD_##operation(TYPE, wanted, (TYPE)ELEMENT(pe, j));         \
        CHECK(to[j] == wanted);                                                                                        \
      }                                                                                                                \
    }                                                                                                                  \
    shmem_barrier_all();                                                                                               \
    shmem_free(dest);                                                                                                  \
    shmem_free(source);                                                                                                \
  }
HMC_SHMEM_BITWISE_REDUCE_TYPES(DEFINE_REDUCE, and)
HMC_SHMEM_BITWISE_REDUCE_TYPES(DEFINE_REDUCE, or)
HMC_SHMEM_BITWISE_REDUCE_TYPES(DEFINE_REDUCE, xor)
HMC_SHMEM_MINMAX_REDUCE_TYPES(DEFINE_REDUCE, max)
HMC_SHMEM_MINMAX_REDUCE_TYPES(DEFINE_REDUCE, min)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(DEFINE_REDUCE, sum)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(DEFINE_REDUCE, prod)

#define DEFINE_SCAN(a, NAME, TYPE)                                                                                     \
  static void NAME##_scan_test(shmem_team_t team, size_t count) {                                                      \
    int self = shmem_team_my_pe(team);                                                                                 \
    TYPE *source = shmem_malloc(count * sizeof *source), *dest = shmem_malloc(count * sizeof *dest);                   \
    for (int inclusive = 0; inclusive < 2; inclusive++) {                                                              \
      for (int in_place = 0; in_place < 2; in_place++) {                                                               \
        for (size_t j = 0; j < count; j++) source[j] = (TYPE)ELEMENT(self, j);                                         \
        TYPE *to = in_place ? source : dest;                                                                           \
        shmem_team_sync(team);                                                                                         \
        CHECK((inclusive ? shmem_##NAME##_sum_inscan(team, to, source, count)                                          \
                         : shmem_##NAME##_sum_exscan(team, to, source, count)) == 0);                                  \
        for (size_t j = 0; j < count; j++) {                                                                           \
          TYPE wanted = 0;                                                                                             \
          for (int pe = 0; pe < self + inclusive; pe++) wanted = (TYPE)(wanted + (TYPE)ELEMENT(pe, j));                \
          CHECK(to[j] == wanted);                                                                                      \
        }                                                                                                              \
      }                                                                                                                \
    }                                                                                                                  \
    shmem_barrier_all();                                                                                               \
    shmem_free(dest);                                                                                                  \
    shmem_free(source);                                                                                                \
  }
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(DEFINE_SCAN, )

/* Integers wrap around, those with a sign too: each PE brings the greatest one. */
#define DEFINE_WRAPPING(a, NAME, TYPE)                                                                                 \
  static void NAME##_wrapping_test(void) {                                                                             \
    static TYPE source, dest;                                                                                          \
    bool has_sign = (TYPE)-1 < (TYPE)1;                                                                                \
    uint64_t greatest = UINT64_MAX >> (64 - 8 * sizeof(TYPE) + has_sign), sum = 0, product = 1;                        \
    for (int pe = 0; pe < n; pe++) {                                                                                   \
      sum += greatest;                                                                                                 \
      product *= greatest;                                                                                             \
    }                                                                                                                  \
    source = (TYPE)greatest;                                                                                           \
    CHECK(shmem_##NAME##_sum_reduce(SHMEM_TEAM_WORLD, &dest, &source, 1) == 0 && dest == (TYPE)sum);                   \
    shmem_sync_all();                                                                                                  \
    CHECK(shmem_##NAME##_prod_reduce(SHMEM_TEAM_WORLD, &dest, &source, 1) == 0 && dest == (TYPE)product);              \
    shmem_sync_all();                                                                                                  \
    CHECK(shmem_##NAME##_sum_inscan(SHMEM_TEAM_WORLD, &dest, &source, 1) == 0);                                        \
    CHECK(dest == (TYPE)(greatest * ((uint64_t)me + 1)));                                                              \
    shmem_sync_all();                                                                                                  \
  }
HMC_SHMEM_SIGNED_TYPES(DEFINE_WRAPPING, )
HMC_SHMEM_BITWISE_TYPES(DEFINE_WRAPPING, )

static void test_wrapping(void) {
#define WRAP(a, NAME, TYPE) NAME##_wrapping_test();
  HMC_SHMEM_SIGNED_TYPES(WRAP, )
  HMC_SHMEM_BITWISE_TYPES(WRAP, )
}

static void over_team(shmem_team_t team, size_t count) {
#define MOVE(a, NAME, TYPE) NAME##_moving(team, count);
  HMC_SHMEM_RMA_TYPES(MOVE, )
#define REDUCE(operation, NAME, TYPE) NAME##_##operation##_test(team, count);
  HMC_SHMEM_BITWISE_REDUCE_TYPES(REDUCE, and)
  HMC_SHMEM_BITWISE_REDUCE_TYPES(REDUCE, or)
  HMC_SHMEM_BITWISE_REDUCE_TYPES(REDUCE, xor)
  HMC_SHMEM_MINMAX_REDUCE_TYPES(REDUCE, max)
  HMC_SHMEM_MINMAX_REDUCE_TYPES(REDUCE, min)
  HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(REDUCE, sum)
  HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(REDUCE, prod)
#define SCAN(a, NAME, TYPE) NAME##_scan_test(team, count);
  HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(SCAN, )
}

/* The calls that count bytes. */
static void test_bytes(void) {
  char *source = shmem_malloc((size_t)n * 8), *dest = shmem_malloc((size_t)n * 16);
  for (int i = 0; i < n * 8; i++) source[i] = MOVED(char, me, i);
  shmem_barrier_all();
  CHECK(shmem_broadcastmem(SHMEM_TEAM_WORLD, dest, source, 8, 0) == 0);
  for (int i = 0; i < 8; i++) CHECK(dest[i] == MOVED(char, 0, i));
  shmem_barrier_all();
  CHECK(shmem_collectmem(SHMEM_TEAM_WORLD, dest, source, 5) == 0);
  for (int i = 0; i < 5 * n; i++) CHECK(dest[i] == MOVED(char, i / 5, i % 5));
  shmem_barrier_all();
  CHECK(shmem_fcollectmem(SHMEM_TEAM_WORLD, dest, source, 7) == 0);
  for (int i = 0; i < 7 * n; i++) CHECK(dest[i] == MOVED(char, i / 7, i % 7));
  shmem_barrier_all();
  CHECK(shmem_alltoallmem(SHMEM_TEAM_WORLD, dest, source, 8) == 0);
  for (int i = 0; i < 8 * n; i++) CHECK(dest[i] == MOVED(char, i / 8, me * 8 + i % 8));
  shmem_barrier_all();
  CHECK(shmem_alltoallsmem(SHMEM_TEAM_WORLD, dest, source, 2, 1, 8) == 0);
  for (int i = 0; i < 8 * n; i++) CHECK(dest[2 * i] == MOVED(char, i / 8, me * 8 + i % 8));
  shmem_barrier_all();
  shmem_free(dest);
  shmem_free(source);
}

/* ---- active sets -------------------------------------------------------------------------------------------------- */

static long sync_array[2][SHMEM_SYNC_SIZE];
static int uses; /* two arrays by turns, as the specification asks for without a barrier in between */

static long *next_sync(void) { return sync_array[uses++ & 1]; }

#define DEFINE_ACTIVE(bits)                                                                                            \
  static void test_active_##bits(int start, int log_stride, int size) {                                                \
    typedef uint##bits##_t word_t;                                                                                     \
    int self = (me - start) >> log_stride;                                                                             \
    static word_t source[1024], dest[4096];                                                                            \
    for (int i = 0; i < 1024; i++) source[i] = MOVED(word_t, self, i);                                                 \
    memset(dest, 0, sizeof dest);                                                                                      \
    shmem_sync(start, log_stride, size, next_sync());                                                                  \
    shmem_broadcast##bits(dest, source, 5, size - 1, start, log_stride, size, next_sync());                            \
    for (int i = 0; i < 5; i++) CHECK(dest[i] == (self == size - 1 ? 0 : MOVED(word_t, size - 1, i)));                 \
    shmem_barrier(start, log_stride, size, next_sync());                                                               \
    shmem_fcollect##bits(dest, source, 4, start, log_stride, size, next_sync());                                       \
    for (int i = 0; i < 4 * size; i++) CHECK(dest[i] == MOVED(word_t, i / 4, i % 4));                                  \
    shmem_barrier(start, log_stride, size, next_sync());                                                               \
    shmem_collect##bits(dest, source, (size_t)self + 1, start, log_stride, size, next_sync());                         \
    for (int pe = 0, at = 0; pe < size; pe++) {                                                                        \
      for (int i = 0; i <= pe; i++) CHECK(dest[at++] == MOVED(word_t, pe, i));                                         \
    }                                                                                                                  \
    shmem_barrier(start, log_stride, size, next_sync());                                                               \
    shmem_alltoall##bits(dest, source, 2, start, log_stride, size, next_sync());                                       \
    for (int i = 0; i < 2 * size; i++) CHECK(dest[i] == MOVED(word_t, i / 2, self * 2 + i % 2));                       \
    shmem_barrier(start, log_stride, size, next_sync());                                                               \
    shmem_alltoalls##bits(dest, source, 2, 3, 2, start, log_stride, size, next_sync());                                \
    for (int i = 0; i < 2 * size; i++) CHECK(dest[2 * i] == MOVED(word_t, i / 2, 3 * (self * 2 + i % 2)));             \
    shmem_barrier(start, log_stride, size, next_sync());                                                               \
  }
DEFINE_ACTIVE(32)
DEFINE_ACTIVE(64)

#define DEFINE_TO_ALL(operation, NAME, TYPE)                                                                           \
  static void NAME##_##operation##_to_all_test(int start, int log_stride, int size) {                                  \
    static TYPE source[7], dest[7], work[8];                                                                           \
    int self = (me - start) >> log_stride;                                                                             \
    for (int j = 0; j < 7; j++) source[j] = (TYPE)ELEMENT(self, j);                                                    \
    shmem_##NAME##_##operation##_to_all(dest, source, 7, start, log_stride, size, work, next_sync());                  \
    for (int j = 0; j < 7; j++) {                                                                                      \
      TYPE wanted = (TYPE)ELEMENT(0, j);                                                                               \
      for (int pe = 1; pe < size; pe++) wanted = (TYPE)FOLD_##operation(TYPE, wanted, (TYPE)ELEMENT(pe, j));           \
      CHECK(dest[j] == wanted);                                                                                        \
    }                                                                                                                  \
    shmem_barrier(start, log_stride, size, next_sync());                                                               \
  }
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_TO_ALL, and)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_TO_ALL, or)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_TO_ALL, xor)
HMC_SHMEM_OLD_ORDERED_TYPES(DEFINE_TO_ALL, max)
HMC_SHMEM_OLD_ORDERED_TYPES(DEFINE_TO_ALL, min)
HMC_SHMEM_OLD_NUMBER_TYPES(DEFINE_TO_ALL, sum)
HMC_SHMEM_OLD_NUMBER_TYPES(DEFINE_TO_ALL, prod)

static void over_active_set(int start, int log_stride, int size) {
  if (me < start || (me - start) % (1 << log_stride) || (me - start) >> log_stride >= size) return;
  test_active_32(start, log_stride, size);
  test_active_64(start, log_stride, size);
#define TO_ALL(operation, NAME, TYPE) NAME##_##operation##_to_all_test(start, log_stride, size);
  HMC_SHMEM_OLD_INTEGER_TYPES(TO_ALL, and)
  HMC_SHMEM_OLD_INTEGER_TYPES(TO_ALL, or)
  HMC_SHMEM_OLD_INTEGER_TYPES(TO_ALL, xor)
  HMC_SHMEM_OLD_ORDERED_TYPES(TO_ALL, max)
  HMC_SHMEM_OLD_ORDERED_TYPES(TO_ALL, min)
  HMC_SHMEM_OLD_NUMBER_TYPES(TO_ALL, sum)
  HMC_SHMEM_OLD_NUMBER_TYPES(TO_ALL, prod)
  for (int i = 0; i < SHMEM_SYNC_SIZE; i++) CHECK(sync_array[0][i] == SHMEM_SYNC_VALUE);
}

/* No PE leaves a barrier before all have come: each counts up everywhere first. */
static void test_barriers(void) {
  static long arrived;
  for (int round = 1; round <= 100; round++) {
    for (int pe = 0; pe < n; pe++) shmem_long_atomic_inc(&arrived, pe);
    if (round % 2) {
      shmem_barrier_all();
    } else {
      shmem_quiet();
      shmem_sync_all();
    }
    CHECK(arrived >= (long)round * n);
    CHECK(shmem_team_sync(SHMEM_TEAM_WORLD) == 0);
  }
  CHECK(arrived == 100L * n);
}

int main(void) {
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  test_barriers();
  over_team(SHMEM_TEAM_WORLD, SMALL);
  int_moving(SHMEM_TEAM_WORLD, LARGE);
  double_sum_test(SHMEM_TEAM_WORLD, LARGE);
  uchar_xor_test(SHMEM_TEAM_WORLD, LARGE);
  complexf_sum_test(SHMEM_TEAM_WORLD, LARGE);
  long_scan_test(SHMEM_TEAM_WORLD, LARGE);
  test_bytes();
  test_wrapping();
  over_active_set(0, 0, n);
  shmem_barrier_all();
  over_active_set(n > 1, 0, n > 1 ? n - 1 : 1);
  shmem_barrier_all();
  over_active_set(0, 1, (n + 1) / 2);
  shmem_barrier_all();
  if (n > 1) {
    shmem_team_t odd_even;
    CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, n, NULL, 0, &odd_even) == 0);
    over_team(odd_even, SMALL);
    shmem_team_destroy(odd_even);
  }
  shmem_finalize();
  return 0;
}
