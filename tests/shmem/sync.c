/* The wait and test families of every type, and locks. The words are written by the PE before this one. */
#include "check.h"

#include <stdlib.h>

static int me, n, next;

enum { N = 6 };

#define DEFINE_SYNC(a, NAME, TYPE)                                                                                     \
  static TYPE NAME##_words[N];                                                                                         \
  static void NAME##_clear(void) {                                                                                     \
    shmem_barrier_all();                                                                                               \
    for (int i = 0; i < N; i++) NAME##_words[i] = 0;                                                                   \
    shmem_barrier_all();                                                                                               \
  }                                                                                                                    \
  static void NAME##_one(void) {                                                                                       \
    TYPE *word = &NAME##_words[0];                                                                                     \
    CHECK(!shmem_##NAME##_test(word, SHMEM_CMP_EQ, 5) && shmem_##NAME##_test(word, SHMEM_CMP_LT, 5));                  \
    CHECK(shmem_##NAME##_test(word, SHMEM_CMP_LE, 0) && shmem_##NAME##_test(word, SHMEM_CMP_GE, 0));                   \
    CHECK(shmem_##NAME##_test(word, SHMEM_CMP_NE, 1) && !shmem_##NAME##_test(word, SHMEM_CMP_GT, 0));                  \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_p(word, 5, next);                                                                                   \
    shmem_quiet();                                                                                                     \
    shmem_##NAME##_wait_until(word, SHMEM_CMP_EQ, 5);                                                                  \
    CHECK(*word == 5);                                                                                                 \
    shmem_##NAME##_wait_until(word, SHMEM_CMP_NE, 4);                                                                  \
    shmem_##NAME##_wait_until(word, SHMEM_CMP_GT, 4);                                                                  \
    shmem_##NAME##_wait_until(word, SHMEM_CMP_GE, 5);                                                                  \
    shmem_##NAME##_wait_until(word, SHMEM_CMP_LT, 6);                                                                  \
    shmem_##NAME##_wait_until(word, SHMEM_CMP_LE, 5);                                                                  \
    NAME##_clear();                                                                                                    \
  }                                                                                                                    \
  static void NAME##_several(void) {                                                                                   \
    TYPE *words = NAME##_words;                                                                                        \
    static const int none[N] = {1, 1, 1, 1, 1, 1}, some[N] = {0, 1, 0, 1, 0, 1};                                       \
    size_t places[N];                                                                                                  \
    CHECK(!shmem_##NAME##_test_all(words, N, NULL, SHMEM_CMP_EQ, 1));                                                  \
    CHECK(shmem_##NAME##_test_all(words, N, none, SHMEM_CMP_EQ, 1));                                                   \
    CHECK(shmem_##NAME##_test_any(words, N, NULL, SHMEM_CMP_EQ, 1) == SIZE_MAX);                                       \
    CHECK(shmem_##NAME##_test_some(words, N, places, NULL, SHMEM_CMP_EQ, 1) == 0);                                     \
    CHECK(shmem_##NAME##_wait_until_any(words, N, none, SHMEM_CMP_EQ, 1) == SIZE_MAX);                                 \
    CHECK(shmem_##NAME##_wait_until_some(words, N, places, none, SHMEM_CMP_EQ, 1) == 0);                               \
    CHECK(shmem_##NAME##_wait_until_any(words, 0, NULL, SHMEM_CMP_EQ, 1) == SIZE_MAX);                                 \
    shmem_##NAME##_wait_until_all(words, N, none, SHMEM_CMP_EQ, 1);                                                    \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_p(&words[4], 1, next);                                                                              \
    shmem_quiet();                                                                                                     \
    CHECK(shmem_##NAME##_wait_until_any(words, N, some, SHMEM_CMP_EQ, 1) == 4);                                        \
    CHECK(shmem_##NAME##_test_any(words, N, some, SHMEM_CMP_EQ, 1) == 4);                                              \
    CHECK(shmem_##NAME##_wait_until_some(words, N, places, some, SHMEM_CMP_EQ, 1) == 1 && places[0] == 4);             \
    CHECK(shmem_##NAME##_test_some(words, N, places, NULL, SHMEM_CMP_EQ, 1) == 1 && places[0] == 4);                   \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_p(&words[0], 1, next);                                                                              \
    shmem_##NAME##_p(&words[2], 1, next);                                                                              \
    shmem_quiet();                                                                                                     \
    shmem_##NAME##_wait_until_all(words, N, some, SHMEM_CMP_EQ, 1);                                                    \
    CHECK(shmem_##NAME##_test_all(words, N, some, SHMEM_CMP_EQ, 1));                                                   \
    CHECK(shmem_##NAME##_test_some(words, N, places, some, SHMEM_CMP_EQ, 1) == 3 && places[2] == 4);                   \
    NAME##_clear();                                                                                                    \
  }                                                                                                                    \
  static void NAME##_vectors(void) {                                                                                   \
    TYPE *words = NAME##_words;                                                                                        \
    static const TYPE wanted[N] = {1, 2, 3, 4, 5, 6};                                                                  \
    size_t places[N];                                                                                                  \
    CHECK(shmem_##NAME##_test_any_vector(words, N, NULL, SHMEM_CMP_EQ, wanted) == SIZE_MAX);                           \
    CHECK(!shmem_##NAME##_test_all_vector(words, N, NULL, SHMEM_CMP_EQ, wanted));                                      \
    CHECK(shmem_##NAME##_test_some_vector(words, N, places, NULL, SHMEM_CMP_EQ, wanted) == 0);                         \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_p(&words[3], 4, next);                                                                              \
    shmem_quiet();                                                                                                     \
    CHECK(shmem_##NAME##_wait_until_any_vector(words, N, NULL, SHMEM_CMP_EQ, wanted) == 3);                            \
    CHECK(shmem_##NAME##_wait_until_some_vector(words, N, places, NULL, SHMEM_CMP_EQ, wanted) == 1 && places[0] == 3); \
    CHECK(shmem_##NAME##_test_any_vector(words, N, NULL, SHMEM_CMP_EQ, wanted) == 3);                                  \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_put(words, wanted, N, next);                                                                        \
    shmem_quiet();                                                                                                     \
    shmem_##NAME##_wait_until_all_vector(words, N, NULL, SHMEM_CMP_EQ, wanted);                                        \
    CHECK(shmem_##NAME##_test_all_vector(words, N, NULL, SHMEM_CMP_EQ, wanted));                                       \
    CHECK(shmem_##NAME##_test_some_vector(words, N, places, NULL, SHMEM_CMP_GE, wanted) == N);                         \
    NAME##_clear();                                                                                                    \
  }
HMC_SHMEM_SYNC_TYPES(DEFINE_SYNC, )

#define DEFINE_OLD_WAIT(a, NAME, TYPE)                                                                                 \
  static void NAME##_old(void) {                                                                                       \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_p(&NAME##_words[1], 3, next);                                                                       \
    shmem_quiet();                                                                                                     \
    shmem_##NAME##_wait(&NAME##_words[1], 0);                                                                          \
    CHECK(NAME##_words[1] == 3);                                                                                       \
    NAME##_clear();                                                                                                    \
  }
DEFINE_OLD_WAIT(, short, short)
HMC_SHMEM_OLD_AMO_TYPES(DEFINE_OLD_WAIT, )

static void test_old_names(void) {
  shmem_barrier_all();
  shmem_long_p(&long_words[2], 3, next);
  shmem_quiet();
  shmem_wait(&long_words[2], 0);
  (shmem_wait_until)(&long_words[2], SHMEM_CMP_EQ, 3); /* the function, not the generic name */
  long_clear();
}

/* A chain through all PEs without quiet: who sleeps must notice a bare store. */
static void test_chain(void) {
  static long token;
  token = -1;
  shmem_barrier_all();
  for (long round = 0; round < 20; round++) {
    if (me == 0) {
      shmem_long_p(&token, round, next);
      shmem_long_wait_until(&token, SHMEM_CMP_EQ, round);
    } else {
      shmem_long_wait_until(&token, SHMEM_CMP_EQ, round);
      shmem_long_p(&token, round, next);
    }
  }
  shmem_barrier_all();
}

/* A counter that only the holder changes, without atomics. */
static void test_locks(void) {
  static long lock, counter;
  enum { TURNS = 50 };
  for (int i = 0; i < TURNS; i++) {
    if (i % 5 == 4) {
      while (shmem_test_lock(&lock)) {
      }
    } else {
      shmem_set_lock(&lock);
    }
    long now = shmem_long_g(&counter, n - 1);
    CHECK(shmem_test_lock(&lock) == 1); /* the holder may ask, too, while others come to wait */
    shmem_long_p(&counter, now + 1, n - 1);
    shmem_clear_lock(&lock);
  }
  shmem_barrier_all();
  CHECK(shmem_long_g(&counter, n - 1) == (long)TURNS * n);
  shmem_barrier_all();
  if (me == 0) {
    shmem_set_lock(&lock);
    shmem_barrier_all();
    shmem_barrier_all();
    shmem_clear_lock(&lock);
  } else {
    shmem_barrier_all();
    CHECK(shmem_test_lock(&lock) == 1);
    shmem_barrier_all();
  }
}

int main(void) {
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  next = (me + 1) % n;
#define RUN(a, NAME, TYPE)                                                                                             \
  NAME##_one();                                                                                                        \
  NAME##_several();                                                                                                    \
  NAME##_vectors();
  HMC_SHMEM_SYNC_TYPES(RUN, )
  short_old();
#define RUN_OLD(a, NAME, TYPE) NAME##_old();
  HMC_SHMEM_OLD_AMO_TYPES(RUN_OLD, )
  test_old_names();
  test_chain();
  test_locks();
  shmem_finalize();
  return 0;
}
