/* Strided transfers of many blocks, between any memory here and symmetric memory of the next PE: all bytes arrive, nothing
 * between them changes, and what came before a fence comes first. */
#include "check.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 2 << 20, GAP = 0xA5 };

static int me, n, next, before;
static unsigned char *heap;
static unsigned char global[1 << 17];

static unsigned char value(int pe, size_t i) { return (unsigned char)((size_t)pe * 31 + i * 7 + (i >> 8)); }

typedef struct shape {
  size_t unit, block, count; /* elements of `unit` bytes, `block` of them in each of `count` blocks */
  ptrdiff_t there, here;     /* elements from one block to the next */
} shape_t;

/* Byte `i` of all blocks, one behind the other, lies here in memory of that stride. */
static size_t place(const shape_t *shape, ptrdiff_t stride, size_t i) {
  size_t block = shape->unit * shape->block;
  return i / block * (size_t)stride * shape->unit + i % block;
}

static void put(shmem_ctx_t ctx, void *there, const void *here, const shape_t *s) {
  switch (s->unit) {
  case 1: shmem_ctx_ibput8(ctx, there, here, s->there, s->here, s->block, s->count, next); break;
  case 4: shmem_ctx_ibput32(ctx, there, here, s->there, s->here, s->block, s->count, next); break;
  default: shmem_ctx_ibput128(ctx, there, here, s->there, s->here, s->block, s->count, next); break;
  }
}

static void get(shmem_ctx_t ctx, void *here, const void *there, const shape_t *s) {
  switch (s->unit) {
  case 1: shmem_ctx_ibget8(ctx, here, there, s->here, s->there, s->block, s->count, next); break;
  case 4: shmem_ctx_ibget32(ctx, here, there, s->here, s->there, s->block, s->count, next); break;
  default: shmem_ctx_ibget128(ctx, here, there, s->here, s->there, s->block, s->count, next); break;
  }
}

/* Exactly the bytes of the shape are a PE's; all others are as they were. */
static void expect(const unsigned char *bytes, size_t room, const shape_t *shape, ptrdiff_t stride, int pe) {
  size_t all = shape->unit * shape->block * shape->count, next_one = 0;
  for (size_t i = 0; i < room; i++) {
    bool is_one = next_one < all && place(shape, stride, next_one) == i;
    CHECK(bytes[i] == (is_one ? value(pe, next_one) : GAP));
    next_one += is_one;
  }
  CHECK(next_one == all);
}

static void test_shape(shmem_ctx_t ctx, unsigned char *there, size_t room, const shape_t *shape) {
  size_t all = shape->unit * shape->block * shape->count;
  unsigned char *here = malloc(ROOM);
  CHECK(here);
  memset(here, GAP, ROOM);
  memset(there, GAP, room);
  for (size_t i = 0; i < all; i++) here[place(shape, shape->here, i)] = value(me, i);
  shmem_barrier_all();
  put(ctx, there, here, shape);
  memset(here, GAP, ROOM); /* it is the program's again */
  shmem_ctx_quiet(ctx);
  shmem_barrier_all();
  expect(there, room, shape, shape->there, before);
  shmem_barrier_all();
  get(ctx, here, there, shape);
  expect(here, ROOM, shape, shape->here, me);
  shmem_barrier_all();
  free(here);
}

static const shape_t shapes[] = {
    {1, 1, 0, 2, 2},           {1, 1, 1, 2, 2},    {1, 1, 2, 3, 1},           {1, 1, 20000, 3, 3},
    {4, 1, 5000, 3, 2},        {4, 1, 5000, 1, 3}, {4, 1, 5000, 3, 1},        {4, 1, 5000, 1, 1},
    {16, 1, 3000, 1, 1},       {16, 3, 999, 5, 4}, {1, 1023, 40, 1024, 1023}, {1, 1024, 40, 1500, 1025},
    {1, 1025, 40, 1026, 1027}, {16, 0, 7, 1, 1},   {4, 3000, 2, 3000, 4000},
};
static const shape_t long_ones[] = {{1, 1, 300000, 5, 1}, {4, 1, 170000, 3, 2}, {16, 2, 30000, 3, 4}};

static void test_shapes(shmem_ctx_t ctx) {
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    test_shape(ctx, heap, sizeof global, &shapes[i]);
    test_shape(ctx, global, sizeof global, &shapes[i]);
  }
  for (size_t i = 0; i < sizeof long_ones / sizeof *long_ones; i++) test_shape(ctx, heap, ROOM, &long_ones[i]);
}

/* A put, a fence, and a strided put to the same place: the second one stays. Then a signal comes behind it. */
static void test_order(void) {
  static uint64_t signal;
  static int words[2000], first[1000], second[1000];
  for (int round = 1; round <= 50; round++) {
    for (int i = 0; i < 1000; i++) {
      first[i] = -round;
      second[i] = round;
    }
    shmem_int_put_nbi(words, first, 1000, next);
    shmem_fence();
    shmem_int_iput(words, second, 2, 1, 500, next);
    shmem_fence();
    shmem_signal_set(&signal, (uint64_t)round, next);
    shmem_signal_wait_until(&signal, SHMEM_CMP_EQ, (uint64_t)round);
    for (int i = 0; i < 1000; i++) CHECK(words[i] == (i % 2 ? -round : round));
    shmem_barrier_all();
  }
}

/* As all do it at a time, with a context of a team in which PEs have other numbers. */
static void test_team(void) {
  shmem_team_t reverse;
  shmem_ctx_t ctx;
  static int words[3000], mine[1000], got[1000];
  CHECK(shmem_team_split_strided(SHMEM_TEAM_WORLD, n - 1, -1, n, NULL, 0, &reverse) == 0);
  CHECK(shmem_team_create_ctx(reverse, SHMEM_CTX_PRIVATE, &ctx) == 0);
  int self = shmem_team_my_pe(reverse), right = (self + 1) % n, left = (self + n - 1) % n;
  for (int i = 0; i < 1000; i++) mine[i] = self * 1000 + i;
  shmem_ctx_int_iput(ctx, words, mine, 3, 1, 1000, right);
  shmem_barrier_all();
  for (int i = 0; i < 1000; i++) CHECK(words[3 * i] == left * 1000 + i && !words[3 * i + 1] && !words[3 * i + 2]);
  shmem_ctx_int_iget(ctx, got, words, 1, 3, 1000, right);
  for (int i = 0; i < 1000; i++) CHECK(got[i] == self * 1000 + i);
  shmem_ctx_destroy(ctx);
  shmem_team_destroy(reverse);
}

int main(void) {
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  next = (me + 1) % n;
  before = (me + n - 1) % n;
  heap = shmem_malloc(ROOM);
  CHECK(heap);
  shmem_ctx_t ctx;
  CHECK(shmem_ctx_create(0, &ctx) == 0);
  test_shapes(SHMEM_CTX_DEFAULT);
  test_shapes(ctx);
  shmem_ctx_destroy(ctx);
  test_order();
  test_team();
  shmem_free(heap);
  shmem_finalize();
  return 0;
}
