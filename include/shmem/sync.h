/* Waiting for words, ordering, and locks.
 *
 * The wait forms block until a word of this PE's symmetric memory compares as asked with a value; the test forms look
 * once. In the forms over several words, `status` (may be NULL) is non-zero for those to leave out, and SIZE_MAX is
 * returned where nothing is left or, by test_any, where nothing compares. Waiting spins a little, then yields, then
 * sleeps. */
#ifndef SHMEM_SYNC_H
#define SHMEM_SYNC_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HMC_SHMEM_DECLARE_SYNC(a, NAME, TYPE)                                                                          \
  SHMEM_API void shmem_##NAME##_wait_until(TYPE *ivar, int cmp, TYPE cmp_value);                                       \
  SHMEM_API void shmem_##NAME##_wait_until_all(TYPE *ivars, size_t nelems, const int *status, int cmp,                 \
                                               TYPE cmp_value);                                                        \
  SHMEM_API size_t shmem_##NAME##_wait_until_any(TYPE *ivars, size_t nelems, const int *status, int cmp,               \
                                                 TYPE cmp_value);                                                      \
  SHMEM_API size_t shmem_##NAME##_wait_until_some(TYPE *ivars, size_t nelems, size_t *indices, const int *status,      \
                                                  int cmp, TYPE cmp_value);                                            \
  SHMEM_API void shmem_##NAME##_wait_until_all_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,          \
                                                      const TYPE *cmp_values);                                         \
  SHMEM_API size_t shmem_##NAME##_wait_until_any_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,        \
                                                        const TYPE *cmp_values);                                       \
  SHMEM_API size_t shmem_##NAME##_wait_until_some_vector(TYPE *ivars, size_t nelems, size_t *indices,                  \
                                                         const int *status, int cmp, const TYPE *cmp_values);          \
  SHMEM_API int shmem_##NAME##_test(TYPE *ivar, int cmp, TYPE cmp_value);                                              \
  SHMEM_API int shmem_##NAME##_test_all(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value);       \
  SHMEM_API size_t shmem_##NAME##_test_any(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value);    \
  SHMEM_API size_t shmem_##NAME##_test_some(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,   \
                                            TYPE cmp_value);                                                           \
  SHMEM_API int shmem_##NAME##_test_all_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                 \
                                               const TYPE *cmp_values);                                                \
  SHMEM_API size_t shmem_##NAME##_test_any_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,              \
                                                  const TYPE *cmp_values);                                             \
  SHMEM_API size_t shmem_##NAME##_test_some_vector(TYPE *ivars, size_t nelems, size_t *indices, const int *status,     \
                                                   int cmp, const TYPE *cmp_values);

HMC_SHMEM_SYNC_TYPES(HMC_SHMEM_DECLARE_SYNC, )

/* Waits for a signal word and returns its value. */
SHMEM_API uint64_t shmem_signal_wait_until(uint64_t *sig_addr, int cmp, uint64_t cmp_value);

/* fence: what was started to a PE before arrives there before what follows. quiet: all that was started is complete and
 * visible; pe_quiet: to those PEs. Without `ctx`: on the default context. */
SHMEM_API void shmem_fence(void);
SHMEM_API void shmem_ctx_fence(shmem_ctx_t ctx);
SHMEM_API void shmem_quiet(void);
SHMEM_API void shmem_ctx_quiet(shmem_ctx_t ctx);
SHMEM_API void shmem_pe_quiet(const int *target_pes, size_t npes);
SHMEM_API void shmem_ctx_pe_quiet(shmem_ctx_t ctx, const int *target_pes, size_t npes);

/* A lock is a symmetric long, 0 at first. Waiting PEs get it in the order in which they came. clear completes the
 * holder's operations first. test returns 0 when it has taken the lock. */
SHMEM_API void shmem_set_lock(long *lock);
SHMEM_API void shmem_clear_lock(long *lock);
SHMEM_API int shmem_test_lock(long *lock);

#ifdef __cplusplus
}
#endif
#endif
