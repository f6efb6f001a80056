/* Put, get and their kin, of every type and size, with and without a context, to the heap and to globals. Each PE writes
 * to the next one. */
#include "check.h"

#include <string.h>

enum { N = 24 };

static int me, n, next, before;
static shmem_ctx_t ctx;

/* A PE's i-th value; small enough for each type. */
#define VALUE(TYPE, pe, i) ((TYPE)(((pe)*7 + (i)) % 100))

#define DEFINE_TYPED(a, NAME, TYPE)                                                                                    \
  static TYPE NAME##_global[N];                                                                                        \
  static void NAME##_fill(TYPE *values, int pe) {                                                                      \
    for (int i = 0; i < N; i++) values[i] = VALUE(TYPE, pe, i);                                                        \
  }                                                                                                                    \
  static void NAME##_expect(const TYPE *values, int pe, int first, int count, int step) {                              \
    shmem_barrier_all();                                                                                               \
    for (int i = 0; i < count; i++) CHECK(values[first + i * step] == VALUE(TYPE, pe, i));                             \
    shmem_barrier_all();                                                                                               \
    memset((void *)(uintptr_t)values, 0, N * sizeof *values);                                                          \
    shmem_barrier_all();                                                                                               \
  }                                                                                                                    \
  static void NAME##_puts(TYPE *heap) {                                                                                \
    TYPE mine[N], got[N];                                                                                              \
    NAME##_fill(mine, me);                                                                                             \
    shmem_##NAME##_put(heap, mine, N, next);                                                                           \
    NAME##_expect(heap, before, 0, N, 1);                                                                              \
    shmem_##NAME##_put(NAME##_global, mine, N, next);                                                                  \
    NAME##_expect(NAME##_global, before, 0, N, 1);                                                                     \
    shmem_ctx_##NAME##_put(ctx, heap, mine, N, next);                                                                  \
    shmem_ctx_quiet(ctx);                                                                                              \
    NAME##_expect(heap, before, 0, N, 1);                                                                              \
    shmem_##NAME##_put_nbi(heap, mine, N, next);                                                                       \
    NAME##_expect(heap, before, 0, N, 1);                                                                              \
    shmem_ctx_##NAME##_put_nbi(ctx, heap, mine, N, next);                                                              \
    shmem_ctx_quiet(ctx);                                                                                              \
    NAME##_expect(heap, before, 0, N, 1);                                                                              \
    shmem_##NAME##_p(&heap[3], VALUE(TYPE, me, 0), next);                                                              \
    NAME##_expect(heap, before, 3, 1, 1);                                                                              \
    shmem_ctx_##NAME##_p(ctx, &heap[4], VALUE(TYPE, me, 0), next);                                                     \
    shmem_ctx_quiet(ctx);                                                                                              \
    NAME##_expect(heap, before, 4, 1, 1);                                                                              \
    shmem_##NAME##_iput(heap, mine, 3, 1, 8, next);                                                                    \
    NAME##_expect(heap, before, 0, 8, 3);                                                                              \
    shmem_ctx_##NAME##_iput(ctx, heap, mine, 2, 1, 12, next);                                                          \
    shmem_ctx_quiet(ctx);                                                                                              \
    NAME##_expect(heap, before, 0, 12, 2);                                                                             \
    shmem_##NAME##_ibput(heap, mine, 4, 2, 2, 4, next);                                                                \
    shmem_barrier_all();                                                                                               \
    for (int i = 0; i < 8; i++) CHECK(heap[i / 2 * 4 + i % 2] == VALUE(TYPE, before, i));                              \
    shmem_barrier_all();                                                                                               \
    shmem_ctx_##NAME##_ibput(ctx, heap, mine, 5, 3, 3, 3, next);                                                       \
    shmem_ctx_quiet(ctx);                                                                                              \
    shmem_barrier_all();                                                                                               \
    for (int i = 0; i < 9; i++) CHECK(heap[i / 3 * 5 + i % 3] == VALUE(TYPE, before, i));                              \
    shmem_barrier_all();                                                                                               \
    NAME##_fill(heap, me);                                                                                             \
    NAME##_fill(NAME##_global, me);                                                                                    \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_get(got, heap, N, next);                                                                            \
    for (int i = 0; i < N; i++) CHECK(got[i] == VALUE(TYPE, next, i));                                                 \
    shmem_ctx_##NAME##_get(ctx, got, NAME##_global, N, before);                                                        \
    for (int i = 0; i < N; i++) CHECK(got[i] == VALUE(TYPE, before, i));                                               \
    shmem_##NAME##_get_nbi(got, heap, N, next);                                                                        \
    shmem_quiet();                                                                                                     \
    for (int i = 0; i < N; i++) CHECK(got[i] == VALUE(TYPE, next, i));                                                 \
    shmem_ctx_##NAME##_get_nbi(ctx, got, heap, N, before);                                                             \
    shmem_ctx_quiet(ctx);                                                                                              \
    for (int i = 0; i < N; i++) CHECK(got[i] == VALUE(TYPE, before, i));                                               \
    CHECK(shmem_##NAME##_g(&heap[5], next) == VALUE(TYPE, next, 5));                                                   \
    CHECK(shmem_ctx_##NAME##_g(ctx, &NAME##_global[6], next) == VALUE(TYPE, next, 6));                                 \
    shmem_##NAME##_iget(got, heap, 1, 2, 10, next);                                                                    \
    for (int i = 0; i < 10; i++) CHECK(got[i] == VALUE(TYPE, next, 2 * i));                                            \
    shmem_ctx_##NAME##_iget(ctx, got, heap, 1, 3, 8, before);                                                          \
    for (int i = 0; i < 8; i++) CHECK(got[i] == VALUE(TYPE, before, 3 * i));                                           \
    shmem_##NAME##_ibget(got, heap, 2, 4, 2, 4, next);                                                                 \
    for (int i = 0; i < 8; i++) CHECK(got[i] == VALUE(TYPE, next, i / 2 * 4 + i % 2));                                 \
    shmem_ctx_##NAME##_ibget(ctx, got, heap, 3, 5, 3, 3, before);                                                      \
    for (int i = 0; i < 9; i++) CHECK(got[i] == VALUE(TYPE, before, i / 3 * 5 + i % 3));                               \
    shmem_barrier_all();                                                                                               \
  }                                                                                                                    \
  static void NAME##_signals(TYPE *heap, uint64_t *word) {                                                             \
    TYPE mine[N];                                                                                                      \
    NAME##_fill(mine, me);                                                                                             \
    *word = 0;                                                                                                         \
    memset(heap, 0, N * sizeof *heap);                                                                                 \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_put_signal(heap, mine, 6, word, 1, SHMEM_SIGNAL_ADD, next);                                         \
    CHECK(shmem_signal_wait_until(word, SHMEM_CMP_GE, 1) >= 1);                                                        \
    for (int i = 0; i < 6; i++) CHECK(heap[i] == VALUE(TYPE, before, i));                                              \
    shmem_##NAME##_put_signal_nbi(&heap[6], &mine[6], 6, word, 1, SHMEM_SIGNAL_ADD, next);                             \
    shmem_signal_wait_until(word, SHMEM_CMP_GE, 2);                                                                    \
    for (int i = 0; i < 12; i++) CHECK(heap[i] == VALUE(TYPE, before, i));                                             \
    shmem_ctx_##NAME##_put_signal(ctx, &heap[12], &mine[12], 6, word, 77, SHMEM_SIGNAL_SET, next);                     \
    shmem_signal_wait_until(word, SHMEM_CMP_GE, 77);                                                                   \
    for (int i = 0; i < 18; i++) CHECK(heap[i] == VALUE(TYPE, before, i));                                             \
    shmem_ctx_##NAME##_put_signal_nbi(ctx, &heap[18], &mine[18], 6, word, 78, SHMEM_SIGNAL_SET, next);                 \
    shmem_signal_wait_until(word, SHMEM_CMP_EQ, 78);                                                                   \
    for (int i = 0; i < N; i++) CHECK(heap[i] == VALUE(TYPE, before, i));                                              \
    shmem_quiet();                                                                                                     \
    shmem_ctx_quiet(ctx);                                                                                              \
    shmem_barrier_all();                                                                                               \
  }

HMC_SHMEM_RMA_TYPES(DEFINE_TYPED, )

/* The calls without type: `bytes` an element. */
static unsigned char mine[N * 16], got[N * 16];
static unsigned char *heap;
static uint64_t *word;

static void fill(unsigned char *bytes, int pe) {
  for (int i = 0; i < N * 16; i++) bytes[i] = VALUE(unsigned char, pe, i);
}

static void expect(const unsigned char *bytes, int pe, size_t size) {
  for (size_t i = 0; i < size; i++) CHECK(bytes[i] == VALUE(unsigned char, pe, (int)i));
}

static void expect_heap(size_t size) {
  shmem_barrier_all();
  expect(heap, before, size);
  shmem_barrier_all();
  memset(heap, 0, N * 16);
  shmem_barrier_all();
}

#define TEST_CONTIGUOUS(suffix, bytes)                                                                                 \
  do {                                                                                                                 \
    memset(heap, 0, N * 16);                                                                                           \
    *word = 0;                                                                                                         \
    shmem_barrier_all();                                                                                               \
    shmem_put##suffix(heap, mine, N, next);                                                                            \
    expect_heap(N *(bytes));                                                                                           \
    shmem_ctx_put##suffix(ctx, heap, mine, N, next);                                                                   \
    shmem_ctx_quiet(ctx);                                                                                              \
    expect_heap(N *(bytes));                                                                                           \
    shmem_put##suffix##_nbi(heap, mine, N, next);                                                                      \
    expect_heap(N *(bytes));                                                                                           \
    shmem_ctx_put##suffix##_nbi(ctx, heap, mine, N, next);                                                             \
    shmem_ctx_quiet(ctx);                                                                                              \
    expect_heap(N *(bytes));                                                                                           \
    shmem_put##suffix##_signal(heap, mine, N, word, 1, SHMEM_SIGNAL_SET, next);                                        \
    shmem_signal_wait_until(word, SHMEM_CMP_EQ, 1);                                                                    \
    expect_heap(N *(bytes));                                                                                           \
    shmem_put##suffix##_signal_nbi(heap, mine, N, word, 1, SHMEM_SIGNAL_ADD, next);                                    \
    shmem_signal_wait_until(word, SHMEM_CMP_EQ, 2);                                                                    \
    expect_heap(N *(bytes));                                                                                           \
    shmem_ctx_put##suffix##_signal(ctx, heap, mine, N, word, 3, SHMEM_SIGNAL_SET, next);                               \
    shmem_signal_wait_until(word, SHMEM_CMP_EQ, 3);                                                                    \
    expect_heap(N *(bytes));                                                                                           \
    shmem_ctx_put##suffix##_signal_nbi(ctx, heap, mine, N, word, 1, SHMEM_SIGNAL_ADD, next);                           \
    shmem_signal_wait_until(word, SHMEM_CMP_EQ, 4);                                                                    \
    expect_heap(N *(bytes));                                                                                           \
    fill(heap, me);                                                                                                    \
    shmem_barrier_all();                                                                                               \
    shmem_get##suffix(got, heap, N, next);                                                                             \
    expect(got, next, N *(bytes));                                                                                     \
    shmem_ctx_get##suffix(ctx, got, heap, N, before);                                                                  \
    expect(got, before, N *(bytes));                                                                                   \
    shmem_get##suffix##_nbi(got, heap, N, next);                                                                       \
    shmem_quiet();                                                                                                     \
    expect(got, next, N *(bytes));                                                                                     \
    shmem_ctx_get##suffix##_nbi(ctx, got, heap, N, before);                                                            \
    shmem_ctx_quiet(ctx);                                                                                              \
    expect(got, before, N *(bytes));                                                                                   \
    shmem_barrier_all();                                                                                               \
  } while (0)

/* Element i of a strided transfer, and its bytes, come from element i * step. */
static void expect_strided(const unsigned char *bytes, int pe, size_t unit, int count, int to_step, int from_step) {
  for (int i = 0; i < count; i++) {
    for (size_t j = 0; j < unit; j++) {
      CHECK(bytes[(size_t)(i * to_step) * unit + j] == VALUE(unsigned char, pe, i *from_step *(int)unit + (int)j));
    }
  }
}

#define TEST_STRIDED(a, bits, bytes)                                                                                   \
  TEST_CONTIGUOUS(bits, bytes);                                                                                        \
  shmem_iget##bits(got, heap, 1, 2, 8, next);                                                                          \
  expect_strided(got, next, bytes, 8, 1, 2);                                                                           \
  shmem_ctx_iget##bits(ctx, got, heap, 2, 3, 8, before);                                                               \
  expect_strided(got, before, bytes, 8, 2, 3);                                                                         \
  shmem_ibget##bits(got, heap, 1, 3, 1, 8, next);                                                                      \
  expect_strided(got, next, bytes, 8, 1, 3);                                                                           \
  shmem_ctx_ibget##bits(ctx, got, heap, 2, 2, 2, 8, before);                                                           \
  expect(got, before, 16 * (bytes));                                                                                   \
  shmem_barrier_all();                                                                                                 \
  shmem_iput##bits(heap, mine, 2, 1, 8, next);                                                                         \
  shmem_barrier_all();                                                                                                 \
  expect_strided(heap, before, bytes, 8, 2, 1);                                                                        \
  shmem_barrier_all();                                                                                                 \
  shmem_ctx_iput##bits(ctx, heap, mine, 1, 2, 8, next);                                                                \
  shmem_ctx_quiet(ctx);                                                                                                \
  shmem_barrier_all();                                                                                                 \
  expect_strided(heap, before, bytes, 8, 1, 2);                                                                        \
  shmem_barrier_all();                                                                                                 \
  shmem_ibput##bits(heap, mine, 2, 2, 2, 8, next);                                                                     \
  expect_heap(16 * (bytes));                                                                                           \
  shmem_ctx_ibput##bits(ctx, heap, mine, 3, 3, 3, 5, next);                                                            \
  shmem_ctx_quiet(ctx);                                                                                                \
  expect_heap(15 * (bytes));

/* Large, odd and empty transfers, and one to itself. */
static void test_sizes(void) {
  static const size_t sizes[] = {0, 1, 7, 4097, 1 << 20, (3 << 20) + 5};
  size_t room = 4 << 20;
  unsigned char *there = shmem_malloc(room), *here = shmem_malloc(room);
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t j = 0; j < sizes[i]; j++) here[j] = (unsigned char)(j * 31 + (size_t)me);
    memset(there, 255, room);
    shmem_barrier_all();
    shmem_putmem(there, here, sizes[i], next);
    shmem_barrier_all();
    for (size_t j = 0; j < sizes[i]; j++) CHECK(there[j] == (unsigned char)(j * 31 + (size_t)before));
    CHECK(there[sizes[i]] == 255);
    shmem_getmem(there, here, sizes[i], next);
    for (size_t j = 0; j < sizes[i]; j++) CHECK(there[j] == (unsigned char)(j * 31 + (size_t)next));
    shmem_barrier_all();
  }
  shmem_putmem(there, here, 100, me);
  shmem_quiet();
  CHECK(memcmp(there, here, 100) == 0);
  shmem_free(here);
  shmem_free(there);
}

int main(void) {
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  next = (me + 1) % n;
  before = (me + n - 1) % n;
  CHECK(shmem_ctx_create(0, &ctx) == 0);
  heap = shmem_calloc(N, 16);
  word = shmem_calloc(1, sizeof *word);
  fill(mine, me);
#define RUN(a, NAME, TYPE)                                                                                             \
  memset(heap, 0, N * 16);                                                                                             \
  shmem_barrier_all();                                                                                                 \
  NAME##_puts((TYPE *)(void *)heap);                                                                                   \
  NAME##_signals((TYPE *)(void *)heap, word);
  HMC_SHMEM_RMA_TYPES(RUN, )
  TEST_CONTIGUOUS(mem, 1);
  HMC_SHMEM_SIZES(TEST_STRIDED, )
  test_sizes();
  shmem_ctx_destroy(ctx);
  shmem_free(word);
  shmem_free(heap);
  shmem_finalize();
  return 0;
}
