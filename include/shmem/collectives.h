/* Collectives over teams: all members call them, in the same order.
 *
 * `dest` and `source` are symmetric and do not overlap, except that reductions and scans may work in place. When a call
 * returns, `dest` of this PE is complete and `source` can be used again; other PEs may not have returned yet. They
 * return 0, or non-zero for an invalid team. */
#ifndef SHMEM_COLLECTIVES_H
#define SHMEM_COLLECTIVES_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Waits for all PEs; shmem_barrier_all also completes all operations on the default context first. */
SHMEM_API void shmem_barrier_all(void);
SHMEM_API void shmem_sync_all(void);
SHMEM_API int shmem_team_sync(shmem_team_t team);
/* What shmem_barrier(team) of SHMEM for Ascend is: quiet, then shmem_team_sync. */
SHMEM_API void hmc_shmem_team_barrier(shmem_team_t team);

#define HMC_SHMEM_DECLARE_COLLECTIVE(a, NAME, TYPE)                                                                    \
  SHMEM_API int shmem_##NAME##_broadcast(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems,             \
                                         int PE_root);                                                                 \
  SHMEM_API int shmem_##NAME##_collect(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems);              \
  SHMEM_API int shmem_##NAME##_fcollect(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems);             \
  SHMEM_API int shmem_##NAME##_alltoall(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems);             \
  SHMEM_API int shmem_##NAME##_alltoalls(shmem_team_t team, TYPE *dest, const TYPE *source, ptrdiff_t dst,             \
                                         ptrdiff_t sst, size_t nelems);
HMC_SHMEM_RMA_TYPES(HMC_SHMEM_DECLARE_COLLECTIVE, )

SHMEM_API int shmem_broadcastmem(shmem_team_t team, void *dest, const void *source, size_t nelems, int PE_root);
SHMEM_API int shmem_collectmem(shmem_team_t team, void *dest, const void *source, size_t nelems);
SHMEM_API int shmem_fcollectmem(shmem_team_t team, void *dest, const void *source, size_t nelems);
SHMEM_API int shmem_alltoallmem(shmem_team_t team, void *dest, const void *source, size_t nelems);
SHMEM_API int shmem_alltoallsmem(shmem_team_t team, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst,
                                 size_t nelems);

/* Sums and products of integers wrap around, of those with a sign too. */
#define HMC_SHMEM_DECLARE_REDUCE(operation, NAME, TYPE)                                                                \
  SHMEM_API int shmem_##NAME##_##operation##_reduce(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nreduce);
HMC_SHMEM_BITWISE_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, and)
HMC_SHMEM_BITWISE_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, or)
HMC_SHMEM_BITWISE_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, xor)
HMC_SHMEM_MINMAX_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, max)
HMC_SHMEM_MINMAX_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, min)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, sum)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(HMC_SHMEM_DECLARE_REDUCE, prod)

/* Element j at PE i becomes the sum of the elements j of the PEs up to i (inscan), or before i (exscan). */
#define HMC_SHMEM_DECLARE_SCAN(a, NAME, TYPE)                                                                          \
  SHMEM_API int shmem_##NAME##_sum_inscan(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems);           \
  SHMEM_API int shmem_##NAME##_sum_exscan(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems);
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(HMC_SHMEM_DECLARE_SCAN, )

#ifdef __cplusplus
}
#endif
#endif
