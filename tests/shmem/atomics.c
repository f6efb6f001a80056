/* Atomics of every type, with and without a context and without waiting; all PEs on one word at the last PE. */
#include "check.h"

#include <string.h>

static int me, n, last;
static shmem_ctx_t ctx;

#define DEFINE_EXTENDED(a, NAME, TYPE)                                                                                 \
  static TYPE NAME##_extended;                                                                                         \
  static void NAME##_extended_test(void) {                                                                             \
    TYPE got = 0;                                                                                                      \
    NAME##_extended = (TYPE)(me + 1);                                                                                  \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_atomic_fetch(&NAME##_extended, last) == (TYPE)n);                                             \
    CHECK(shmem_ctx_##NAME##_atomic_fetch(ctx, &NAME##_extended, last) == (TYPE)n);                                    \
    shmem_##NAME##_atomic_fetch_nbi(&got, &NAME##_extended, last);                                                     \
    shmem_quiet();                                                                                                     \
    CHECK(got == (TYPE)n);                                                                                             \
    shmem_ctx_##NAME##_atomic_fetch_nbi(ctx, &got, &NAME##_extended, 0);                                               \
    shmem_ctx_quiet(ctx);                                                                                              \
    CHECK(got == (TYPE)1);                                                                                             \
    shmem_barrier_all();                                                                                               \
    int to = (me + 1) % n;                                                                                             \
    shmem_##NAME##_atomic_set(&NAME##_extended, (TYPE)10, to);                                                         \
    shmem_barrier_all();                                                                                               \
    CHECK(NAME##_extended == (TYPE)10);                                                                                \
    shmem_barrier_all();                                                                                               \
    shmem_ctx_##NAME##_atomic_set(ctx, &NAME##_extended, (TYPE)11, to);                                                \
    shmem_ctx_quiet(ctx);                                                                                              \
    shmem_barrier_all();                                                                                               \
    CHECK(NAME##_extended == (TYPE)11);                                                                                \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_atomic_swap(&NAME##_extended, (TYPE)12, to) == (TYPE)11);                                     \
    CHECK(shmem_ctx_##NAME##_atomic_swap(ctx, &NAME##_extended, (TYPE)13, to) == (TYPE)12);                            \
    shmem_##NAME##_atomic_swap_nbi(&got, &NAME##_extended, (TYPE)14, to);                                              \
    shmem_quiet();                                                                                                     \
    CHECK(got == (TYPE)13);                                                                                            \
    shmem_ctx_##NAME##_atomic_swap_nbi(ctx, &got, &NAME##_extended, (TYPE)15, to);                                     \
    shmem_ctx_quiet(ctx);                                                                                              \
    CHECK(got == (TYPE)14);                                                                                            \
    shmem_barrier_all();                                                                                               \
    CHECK(NAME##_extended == (TYPE)15);                                                                                \
    shmem_barrier_all();                                                                                               \
  }
HMC_SHMEM_EXTENDED_AMO_TYPES(DEFINE_EXTENDED, )

/* Each PE adds ROUNDS times what makes 20 in all per round. */
enum { ROUNDS = 50 };
#define DEFINE_STANDARD(a, NAME, TYPE)                                                                                 \
  static TYPE NAME##_word;                                                                                             \
  static void NAME##_standard_test(void) {                                                                             \
    TYPE got[4] = {0};                                                                                                 \
    NAME##_word = 0;                                                                                                   \
    shmem_barrier_all();                                                                                               \
    TYPE seen = 0;                                                                                                     \
    for (int i = 0; i < ROUNDS; i++) {                                                                                 \
      shmem_##NAME##_atomic_inc(&NAME##_word, last);                                                                   \
      shmem_ctx_##NAME##_atomic_inc(ctx, &NAME##_word, last);                                                          \
      shmem_##NAME##_atomic_add(&NAME##_word, 2, last);                                                                \
      shmem_ctx_##NAME##_atomic_add(ctx, &NAME##_word, 2, last);                                                       \
      TYPE now = shmem_##NAME##_atomic_fetch_inc(&NAME##_word, last);                                                  \
      CHECK(now >= seen);                                                                                              \
      seen = shmem_ctx_##NAME##_atomic_fetch_inc(ctx, &NAME##_word, last);                                             \
      CHECK(seen > now);                                                                                               \
      now = shmem_##NAME##_atomic_fetch_add(&NAME##_word, 3, last);                                                    \
      CHECK(now > seen);                                                                                               \
      seen = shmem_ctx_##NAME##_atomic_fetch_add(ctx, &NAME##_word, 3, last);                                          \
      CHECK(seen >= now + 3);                                                                                          \
      shmem_##NAME##_atomic_fetch_inc_nbi(&got[0], &NAME##_word, last);                                                \
      shmem_ctx_##NAME##_atomic_fetch_inc_nbi(ctx, &got[1], &NAME##_word, last);                                       \
      shmem_##NAME##_atomic_fetch_add_nbi(&got[2], &NAME##_word, 2, last);                                             \
      shmem_ctx_##NAME##_atomic_fetch_add_nbi(ctx, &got[3], &NAME##_word, 2, last);                                    \
      shmem_quiet();                                                                                                   \
      shmem_ctx_quiet(ctx);                                                                                            \
      for (int j = 0; j < 4; j++) CHECK(got[j] > seen);                                                                \
    }                                                                                                                  \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_g(&NAME##_word, last) == (TYPE)(n * ROUNDS * 20));                                            \
    shmem_barrier_all();                                                                                               \
    NAME##_word = 1;                                                                                                   \
    shmem_barrier_all();                                                                                               \
    int to = (me + 1) % n;                                                                                             \
    CHECK(shmem_##NAME##_atomic_compare_swap(&NAME##_word, 5, 6, to) == 1);                                            \
    CHECK(shmem_##NAME##_atomic_compare_swap(&NAME##_word, 1, 2, to) == 1);                                            \
    CHECK(shmem_ctx_##NAME##_atomic_compare_swap(ctx, &NAME##_word, 2, 3, to) == 2);                                   \
    shmem_##NAME##_atomic_compare_swap_nbi(&got[0], &NAME##_word, 3, 4, to);                                           \
    shmem_quiet();                                                                                                     \
    CHECK(got[0] == 3);                                                                                                \
    shmem_ctx_##NAME##_atomic_compare_swap_nbi(ctx, &got[0], &NAME##_word, 4, 5, to);                                  \
    shmem_ctx_quiet(ctx);                                                                                              \
    CHECK(got[0] == 4);                                                                                                \
    shmem_barrier_all();                                                                                               \
    CHECK(NAME##_word == 5);                                                                                           \
    shmem_barrier_all();                                                                                               \
  }
HMC_SHMEM_AMO_TYPES(DEFINE_STANDARD, )

/* Each operation in its four fetching forms and two others; `each` is done by every PE, at its right neighbour. */
#define ONE_BITWISE(NAME, TYPE, operation, first, operand, result)                                                     \
  NAME##_word = (TYPE)(first);                                                                                         \
  shmem_barrier_all();                                                                                                 \
  CHECK(shmem_##NAME##_atomic_fetch_##operation(&NAME##_word, (TYPE)(operand), to) == (TYPE)(first));                  \
  shmem_barrier_all();                                                                                                 \
  CHECK(NAME##_word == (TYPE)(result));                                                                                \
  shmem_barrier_all();                                                                                                 \
  NAME##_word = (TYPE)(first);                                                                                         \
  shmem_barrier_all();                                                                                                 \
  CHECK(shmem_ctx_##NAME##_atomic_fetch_##operation(ctx, &NAME##_word, (TYPE)(operand), to) == (TYPE)(first));         \
  shmem_barrier_all();                                                                                                 \
  CHECK(NAME##_word == (TYPE)(result));                                                                                \
  NAME##_word = (TYPE)(first);                                                                                         \
  shmem_barrier_all();                                                                                                 \
  shmem_##NAME##_atomic_##operation(&NAME##_word, (TYPE)(operand), to);                                                \
  shmem_barrier_all();                                                                                                 \
  CHECK(NAME##_word == (TYPE)(result));                                                                                \
  NAME##_word = (TYPE)(first);                                                                                         \
  shmem_barrier_all();                                                                                                 \
  shmem_ctx_##NAME##_atomic_##operation(ctx, &NAME##_word, (TYPE)(operand), to);                                       \
  shmem_ctx_quiet(ctx);                                                                                                \
  shmem_barrier_all();                                                                                                 \
  CHECK(NAME##_word == (TYPE)(result));                                                                                \
  NAME##_word = (TYPE)(first);                                                                                         \
  shmem_barrier_all();                                                                                                 \
  shmem_##NAME##_atomic_fetch_##operation##_nbi(&got, &NAME##_word, (TYPE)(operand), to);                              \
  shmem_barrier_all();                                                                                                 \
  CHECK(got == (TYPE)(first) && NAME##_word == (TYPE)(result));                                                        \
  NAME##_word = (TYPE)(first);                                                                                         \
  shmem_barrier_all();                                                                                                 \
  shmem_ctx_##NAME##_atomic_fetch_##operation##_nbi(ctx, &got, &NAME##_word, (TYPE)(operand), to);                     \
  shmem_ctx_quiet(ctx);                                                                                                \
  shmem_barrier_all();                                                                                                 \
  CHECK(got == (TYPE)(first) && NAME##_word == (TYPE)(result));                                                        \
  shmem_barrier_all();

#define DEFINE_BITWISE(a, NAME, TYPE)                                                                                  \
  static void NAME##_bitwise_test(void) {                                                                              \
    TYPE got = 0;                                                                                                      \
    int to = (me + 1) % n;                                                                                             \
    ONE_BITWISE(NAME, TYPE, and, 0xff0f, 0x0fff, 0x0f0f)                                                               \
    ONE_BITWISE(NAME, TYPE, or, 0xf000, 0x000f, 0xf00f)                                                                \
    ONE_BITWISE(NAME, TYPE, xor, 0xff00, 0x0ff0, 0xf0f0)                                                               \
  }
HMC_SHMEM_BITWISE_AMO_TYPES(DEFINE_BITWISE, )

#define DEFINE_OLD_EXTENDED(a, NAME, TYPE)                                                                             \
  static void NAME##_old_extended_test(void) {                                                                         \
    NAME##_extended = (TYPE)me;                                                                                        \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_fetch(&NAME##_extended, last) == (TYPE)last);                                                 \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_set(&NAME##_extended, (TYPE)3, (me + 1) % n);                                                       \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_swap(&NAME##_extended, (TYPE)4, (me + 1) % n) == (TYPE)3);                                    \
    shmem_barrier_all();                                                                                               \
    CHECK(NAME##_extended == (TYPE)4);                                                                                 \
    shmem_barrier_all();                                                                                               \
  }
HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(DEFINE_OLD_EXTENDED, )

#define DEFINE_OLD(a, NAME, TYPE)                                                                                      \
  static void NAME##_old_test(void) {                                                                                  \
    NAME##_word = 0;                                                                                                   \
    shmem_barrier_all();                                                                                               \
    shmem_##NAME##_inc(&NAME##_word, last);                                                                            \
    shmem_##NAME##_add(&NAME##_word, 2, last);                                                                         \
    CHECK(shmem_##NAME##_finc(&NAME##_word, last) >= 3);                                                               \
    CHECK(shmem_##NAME##_fadd(&NAME##_word, 2, last) >= 4);                                                            \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_g(&NAME##_word, last) == (TYPE)(6 * n));                                                      \
    shmem_barrier_all();                                                                                               \
    NAME##_word = 7;                                                                                                   \
    shmem_barrier_all();                                                                                               \
    CHECK(shmem_##NAME##_cswap(&NAME##_word, 7, 8, (me + 1) % n) == 7);                                                \
    shmem_barrier_all();                                                                                               \
    CHECK(NAME##_word == 8);                                                                                           \
    shmem_barrier_all();                                                                                               \
  }
HMC_SHMEM_OLD_AMO_TYPES(DEFINE_OLD, )

static void test_signals(void) {
  static uint64_t word;
  shmem_signal_add(&word, 2, last);
  shmem_ctx_signal_add(ctx, &word, 3, last);
  shmem_ctx_quiet(ctx);
  shmem_barrier_all();
  if (me == last) CHECK(shmem_signal_fetch(&word) == 5u * (uint64_t)n);
  shmem_barrier_all();
  shmem_signal_set(&word, 9, (me + 1) % n);
  shmem_barrier_all();
  CHECK(shmem_signal_fetch(&word) == 9);
  shmem_barrier_all();
  shmem_ctx_signal_set(ctx, &word, 10, (me + 1) % n);
  shmem_ctx_quiet(ctx);
  shmem_barrier_all();
  CHECK(shmem_signal_fetch(&word) == 10);
}

/* More than the library keeps at a time, on neighbours of 4 bytes: each fetches a number of its own, and nothing else is
 * touched. One PE at a time; a session of batches changes nothing of it. */
static void test_many_without_waiting(void) {
  enum { MANY = 1500 };
  static int32_t count, got[MANY + 2];
  static char seen[MANY];
  for (int turn = 0; turn < n; turn++) {
    count = 0;
    shmem_barrier_all();
    if (me == turn) {
      for (int i = 0; i < MANY + 2; i++) got[i] = -1;
      memset(seen, 0, sizeof seen);
      shmem_ctx_session_start(SHMEM_CTX_DEFAULT, SHMEM_CTX_SESSION_BATCH, NULL, 0);
      for (int i = 0; i < MANY; i++) shmem_int32_atomic_fetch_add_nbi(&got[i + 1], &count, 1, (me + 1) % n);
      shmem_ctx_session_stop(SHMEM_CTX_DEFAULT);
      int target = (me + 1) % n;
      shmem_pe_quiet(&target, 1);
      for (int i = 0; i < MANY; i++) {
        CHECK(got[i + 1] >= 0 && got[i + 1] < MANY && !seen[got[i + 1]]);
        seen[got[i + 1]] = 1;
      }
      CHECK(got[0] == -1 && got[MANY + 1] == -1);
    }
    shmem_barrier_all();
  }
}

int main(void) {
  shmem_init();
  me = shmem_my_pe();
  n = shmem_n_pes();
  last = n - 1;
  CHECK(shmem_ctx_create(SHMEM_CTX_SERIALIZED, &ctx) == 0);
#define RUN(kind, NAME, TYPE) NAME##_##kind##_test();
  HMC_SHMEM_EXTENDED_AMO_TYPES(RUN, extended)
  HMC_SHMEM_AMO_TYPES(RUN, standard)
  HMC_SHMEM_BITWISE_AMO_TYPES(RUN, bitwise)
  HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(RUN, old_extended)
  HMC_SHMEM_OLD_AMO_TYPES(RUN, old)
  test_signals();
  test_many_without_waiting();
  shmem_ctx_destroy(ctx);
  shmem_finalize();
  return 0;
}
