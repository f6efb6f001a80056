/* What OpenSHMEM 1.6 deprecates and still has: active sets, older names of the atomics, start_pes.
 *
 * An active set is the PEs PE_start, PE_start + 2^logPE_stride, ... (PE_size of them). `pSync` is a symmetric array of
 * SHMEM_SYNC_SIZE longs with SHMEM_SYNC_VALUE in each, and has that again afterwards. */
#ifndef SHMEM_DEPRECATED_H
#define SHMEM_DEPRECATED_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

SHMEM_API void start_pes(int npes);
SHMEM_API int _my_pe(void);   /* NOLINT(bugprone-reserved-identifier): the specification gives the name */
SHMEM_API int _num_pes(void); /* NOLINT(bugprone-reserved-identifier) */
SHMEM_API void *shmalloc(size_t size);
SHMEM_API void *shrealloc(void *pointer, size_t size);
SHMEM_API void *shmemalign(size_t alignment, size_t size);
SHMEM_API void shfree(void *pointer);

/* Of machines whose caches were not coherent; they do nothing. */
SHMEM_API void shmem_set_cache_inv(void);
SHMEM_API void shmem_set_cache_line_inv(void *dest);
SHMEM_API void shmem_clear_cache_inv(void);
SHMEM_API void shmem_clear_cache_line_inv(void *dest);
SHMEM_API void shmem_udcflush(void);
SHMEM_API void shmem_udcflush_line(void *dest);

SHMEM_API void shmem_barrier(int PE_start, int logPE_stride, int PE_size, long *pSync);
SHMEM_API void shmem_sync(int PE_start, int logPE_stride, int PE_size, long *pSync);

#define HMC_SHMEM_DECLARE_ACTIVE_SET(bits)                                                                             \
  SHMEM_API void shmem_broadcast##bits(void *dest, const void *source, size_t nelems, int PE_root, int PE_start,       \
                                       int logPE_stride, int PE_size, long *pSync);                                    \
  SHMEM_API void shmem_collect##bits(void *dest, const void *source, size_t nelems, int PE_start, int logPE_stride,    \
                                     int PE_size, long *pSync);                                                        \
  SHMEM_API void shmem_fcollect##bits(void *dest, const void *source, size_t nelems, int PE_start, int logPE_stride,   \
                                      int PE_size, long *pSync);                                                       \
  SHMEM_API void shmem_alltoall##bits(void *dest, const void *source, size_t nelems, int PE_start, int logPE_stride,   \
                                      int PE_size, long *pSync);                                                       \
  SHMEM_API void shmem_alltoalls##bits(void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,    \
                                       int PE_start, int logPE_stride, int PE_size, long *pSync);
HMC_SHMEM_DECLARE_ACTIVE_SET(32)
HMC_SHMEM_DECLARE_ACTIVE_SET(64)

#define HMC_SHMEM_DECLARE_TO_ALL(operation, NAME, TYPE)                                                                \
  SHMEM_API void shmem_##NAME##_##operation##_to_all(TYPE *dest, const TYPE *source, int nreduce, int PE_start,        \
                                                     int logPE_stride, int PE_size, TYPE *pWrk, long *pSync);
HMC_SHMEM_OLD_INTEGER_TYPES(HMC_SHMEM_DECLARE_TO_ALL, and)
HMC_SHMEM_OLD_INTEGER_TYPES(HMC_SHMEM_DECLARE_TO_ALL, or)
HMC_SHMEM_OLD_INTEGER_TYPES(HMC_SHMEM_DECLARE_TO_ALL, xor)
HMC_SHMEM_OLD_ORDERED_TYPES(HMC_SHMEM_DECLARE_TO_ALL, max)
HMC_SHMEM_OLD_ORDERED_TYPES(HMC_SHMEM_DECLARE_TO_ALL, min)
HMC_SHMEM_OLD_NUMBER_TYPES(HMC_SHMEM_DECLARE_TO_ALL, sum)
HMC_SHMEM_OLD_NUMBER_TYPES(HMC_SHMEM_DECLARE_TO_ALL, prod)

#define HMC_SHMEM_DECLARE_OLD_EXTENDED_AMO(a, NAME, TYPE)                                                              \
  SHMEM_API TYPE shmem_##NAME##_fetch(const TYPE *source, int pe);                                                     \
  SHMEM_API void shmem_##NAME##_set(TYPE *dest, TYPE value, int pe);                                                   \
  SHMEM_API TYPE shmem_##NAME##_swap(TYPE *dest, TYPE value, int pe);
HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(HMC_SHMEM_DECLARE_OLD_EXTENDED_AMO, )

#define HMC_SHMEM_DECLARE_OLD_AMO(a, NAME, TYPE)                                                                       \
  SHMEM_API TYPE shmem_##NAME##_cswap(TYPE *dest, TYPE cond, TYPE value, int pe);                                      \
  SHMEM_API TYPE shmem_##NAME##_finc(TYPE *dest, int pe);                                                              \
  SHMEM_API void shmem_##NAME##_inc(TYPE *dest, int pe);                                                               \
  SHMEM_API TYPE shmem_##NAME##_fadd(TYPE *dest, TYPE value, int pe);                                                  \
  SHMEM_API void shmem_##NAME##_add(TYPE *dest, TYPE value, int pe);
HMC_SHMEM_OLD_AMO_TYPES(HMC_SHMEM_DECLARE_OLD_AMO, )

/* Waits until the word differs from the value. */
SHMEM_API void shmem_wait(long *ivar, long cmp_value);
SHMEM_API void shmem_wait_until(long *ivar, int cmp, long cmp_value);
#define HMC_SHMEM_DECLARE_OLD_WAIT(a, NAME, TYPE) SHMEM_API void shmem_##NAME##_wait(TYPE *ivar, TYPE cmp_value);
HMC_SHMEM_DECLARE_OLD_WAIT(, short, short)
HMC_SHMEM_OLD_AMO_TYPES(HMC_SHMEM_DECLARE_OLD_WAIT, )

#ifdef __cplusplus
}
#endif
#endif
