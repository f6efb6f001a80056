/* SHM's calls for kernels by their Ascend C names, for kernels in C++ that run as threads of the host, and in CUDA: `__gm__`
 * is memory of an object, `__ubuf__` a kernel's own buffer. Not to be included beside smem/host/smem_shm.h, whose calls of the same
 * names take handles. */
#ifndef SMEM_SHM_AICORE_BASE_API_H
#define SMEM_SHM_AICORE_BASE_API_H

#include "smem_shm_device.h"

#ifdef __cplusplus

#ifndef __gm__
#define __gm__
#endif
#ifndef __ubuf__
#define __ubuf__
#endif
#ifndef __aicore__
#define __aicore__
#endif
#if defined(__CUDACC__)
#define SMEM_SHM_INLINE_AICORE SMEM_SHM_DEVICE
#else
#define SMEM_SHM_INLINE_AICORE static inline __attribute__((always_inline)) __aicore__
#endif

SMEM_SHM_INLINE_AICORE uint32_t smem_shm_get_global_rank(uint32_t shmemId = 0) {
  return smem_shm_device_get(shmemId)->rank;
}

SMEM_SHM_INLINE_AICORE uint32_t smem_shm_get_global_rank_size(uint32_t shmemId = 0) {
  return smem_shm_device_get(shmemId)->rank_size;
}

SMEM_SHM_INLINE_AICORE uint64_t smem_shm_get_symmetric_size(uint32_t shmemId = 0) {
  return smem_shm_device_get(shmemId)->symmetric_size;
}

SMEM_SHM_INLINE_AICORE __gm__ void *smem_shm_get_extra_context_addr(uint32_t shmemId = 0) {
  return smem_shm_device_get(shmemId)->context;
}

SMEM_SHM_INLINE_AICORE uint32_t smem_shm_get_extra_context_size(uint32_t shmemId = 0) {
  return smem_shm_device_get(shmemId)->context_size;
}

/* `size` in bytes. */
template <typename T>
SMEM_SHM_INLINE_AICORE void smem_shm_copy_ub2gm(__gm__ T *dstGva, __ubuf__ T *srcUb, uint32_t size,
                                                bool enableL2 = true) {
  (void)enableL2; /* what the copy writes is seen by all */
  smem_shm_device_copy(dstGva, srcUb, size);
}

template <typename T>
SMEM_SHM_INLINE_AICORE void smem_shm_copy_gm2ub(__ubuf__ T *dstUb, __gm__ T *srcGva, uint32_t size,
                                                bool enableL2 = true) {
  (void)enableL2;
  smem_shm_device_copy(dstUb, srcGva, size);
}

#endif

#endif
