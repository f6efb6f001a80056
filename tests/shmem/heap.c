/* The symmetric heap, pointers to others' memory, and repeated init. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

static int me, n;

/* The same offset everywhere: PE 0 writes by its own pointer's offset, through everybody's pointer. */
static void expect_symmetric(long *block) {
  *block = -1;
  shmem_barrier_all();
  shmem_long_p(block, me, (me + 1) % n);
  shmem_barrier_all();
  CHECK(*block == (me + n - 1) % n);
  shmem_barrier_all();
}

static void test_calls(void) {
  CHECK(shmem_malloc(0) == NULL);
  CHECK(shmem_calloc(0, 8) == NULL && shmem_calloc(SIZE_MAX, 2) == NULL);
  CHECK(shmem_malloc(SIZE_MAX / 4) == NULL);
  CHECK(shmem_align(3, 8) == NULL && shmem_align(0, 8) == NULL);
  char *zeroed = shmem_calloc(1000, 3);
  for (int i = 0; i < 3000; i++) CHECK(zeroed[i] == 0);
  memset(zeroed, 1, 3000);
  for (size_t alignment = 1; alignment <= 4 << 20; alignment *= 2) {
    void *block = shmem_align(alignment, 100);
    CHECK(block && (uintptr_t)block % alignment == 0);
    expect_symmetric(block);
    shmem_free(block);
  }
  long *hinted = shmem_malloc_with_hints(8, SHMEM_MALLOC_ATOMICS_REMOTE | SHMEM_MALLOC_SIGNAL_REMOTE);
  expect_symmetric(hinted);
  shmem_free(hinted);
  shmem_free(zeroed);
  shmem_free(NULL);
  zeroed = shmem_calloc(1000, 3); /* used memory comes back zeroed */
  for (int i = 0; i < 3000; i++) CHECK(zeroed[i] == 0);
  shmem_free(zeroed);
}

static void test_realloc(void) {
  char *block = shmem_realloc(NULL, 100);
  for (int i = 0; i < 100; i++) block[i] = (char)(i + me);
  block = shmem_realloc(block, 100000);
  CHECK(block);
  for (int i = 0; i < 100; i++) CHECK(block[i] == (char)(i + me));
  block = shmem_realloc(block, 50);
  for (int i = 0; i < 50; i++) CHECK(block[i] == (char)(i + me));
  expect_symmetric((long *)(void *)block);
  CHECK(shmem_realloc(block, SIZE_MAX / 4) == NULL);
  CHECK(shmem_realloc(block, 0) == NULL);
}

/* Random sizes and orders, the same at all PEs; nothing overlaps, and in the end the whole heap is one piece again. */
static void test_stress(void) {
  enum { BLOCKS = 200 };
  static unsigned char *blocks[BLOCKS];
  static size_t sizes[BLOCKS];
  unsigned seed = 1;
  for (int round = 0; round < 2000; round++) {
    int i = (int)(rand_r(&seed) % BLOCKS);
    if (blocks[i]) {
      for (size_t j = 0; j < sizes[i]; j += 97) CHECK(blocks[i][j] == (unsigned char)i);
      shmem_free(blocks[i]);
      blocks[i] = NULL;
    } else {
      sizes[i] = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 10 ? 2000u : 1000000u);
      blocks[i] = shmem_malloc(sizes[i]);
      if (blocks[i]) memset(blocks[i], i, sizes[i]);
    }
  }
  for (int i = 0; i < BLOCKS; i++) shmem_free(blocks[i]);
  void *all = shmem_malloc(63 << 20);
  CHECK(all);
  shmem_free(all);
}

static void test_pointers(void) {
  static long global;
  long local = 0, *heap = shmem_malloc(sizeof *heap);
  CHECK(shmem_ptr(heap, me) == heap && shmem_ptr(&global, me) == &global);
  CHECK(shmem_ptr(&local, me) == NULL && shmem_ptr(heap, n) == NULL && shmem_ptr(heap, -1) == NULL);
  CHECK(shmem_pe_accessible(0) && !shmem_pe_accessible(n) && !shmem_pe_accessible(-1));
  CHECK(shmem_addr_accessible(heap, n - 1) && shmem_addr_accessible(&global, 0));
  CHECK(!shmem_addr_accessible(&local, 0) && !shmem_addr_accessible(heap, n));
  global = -1;
  *heap = -1;
  shmem_barrier_all();
  int next = (me + 1) % n;
  long *there = shmem_ptr(heap, next), *global_there = shmem_ptr(&global, next);
  CHECK(!there == !global_there);
  if (there) {
    *there = me;
    *global_there = me;
  } else { /* of another host */
    shmem_long_p(heap, me, next);
    shmem_long_p(&global, me, next);
  }
  shmem_barrier_all();
  CHECK(*heap == (me + n - 1) % n && global == (me + n - 1) % n);
  shmem_barrier_all();
  shmem_free(heap);
}

/* Initialised and zeroed data keep what they hold over init and finalize. */
static long initialised = 12345, zeroed;
static char text[] = "as it was";

static void test_info(void) {
  int major = 0, minor = 0;
  char name[SHMEM_MAX_NAME_LEN] = "";
  shmem_info_get_version(&major, &minor);
  shmem_info_get_name(name);
  CHECK(major == SHMEM_MAJOR_VERSION && minor == SHMEM_MINOR_VERSION && strcmp(name, SHMEM_VENDOR_STRING) == 0);
}

/* What contexts have pending is complete when the PEs have left the job. Those that have nothing pending leave first. */
static void leave_with_pending(void) {
  size_t count = (24u << 20) / sizeof(long);
  long *block = shmem_malloc(count * sizeof *block), *got = calloc(count, sizeof *got);
  int next = (me + 1) % n;
  shmem_team_t pair;
  shmem_ctx_t ctx = SHMEM_CTX_INVALID, of_team = SHMEM_CTX_INVALID;
  CHECK(block && got && shmem_team_split_strided(SHMEM_TEAM_WORLD, 0, 1, n, NULL, 0, &pair) == 0);
  CHECK(shmem_ctx_create(SHMEM_CTX_SERIALIZED, &ctx) == 0 && shmem_team_create_ctx(pair, 0, &of_team) == 0);
  for (size_t i = 0; i < count; i++) block[i] = (long)i + next;
  shmem_barrier_all();
  if (me % 2 == 0) {
    shmem_ctx_long_get_nbi(ctx, got, block, count / 2, next);
    shmem_ctx_long_get_nbi(of_team, got + count / 2, block + count / 2, count - count / 2, next);
  }
  shmem_finalize();
  for (size_t i = 0; me % 2 == 0 && i < count; i++) CHECK(got[i] == (long)i + (next + 1) % n);
  free(got);
}

int main(void) {
  int on = 1, provided = -1;
  shmem_query_initialized(&on);
  CHECK(!on && shmem_malloc(8) == NULL);
  zeroed = 7;
  CHECK(shmem_init_thread(SHMEM_THREAD_MULTIPLE, &provided) == 0 && provided == SHMEM_THREAD_MULTIPLE);
  CHECK(initialised == 12345 && zeroed == 7 && strcmp(text, "as it was") == 0);
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  shmem_query_initialized(&on);
  shmem_query_thread(&provided);
  CHECK(on && provided == SHMEM_THREAD_MULTIPLE);
  shmem_finalize(); /* the inner one */
  test_calls();
  test_realloc();
  test_stress();
  test_pointers();
  test_info();
  initialised = 54321;
  shmem_finalize();
  shmem_query_initialized(&on);
  CHECK(!on && initialised == 54321 && zeroed == 7);
  start_pes(0);
  CHECK(shmem_my_pe() == me && shmem_n_pes() == n && initialised == 54321);
  long *again = shmem_malloc(8);
  expect_symmetric(again);
  shmem_free(again);
  leave_with_pending();
  return 0;
}
