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

/* The same between tensors: anything that tells by GetPhyAddr() where its elements lie. */
template <typename G, typename U>
SMEM_SHM_INLINE_AICORE auto smem_shm_copy_ub2gm(const G &dstGva, const U &srcUb, uint32_t size, bool enableL2 = true)
    -> decltype(dstGva.GetPhyAddr(), srcUb.GetPhyAddr(), void()) {
  smem_shm_copy_ub2gm(dstGva.GetPhyAddr(), srcUb.GetPhyAddr(), size, enableL2);
}

template <typename U, typename G>
SMEM_SHM_INLINE_AICORE auto smem_shm_copy_gm2ub(const U &dstUb, const G &srcGva, uint32_t size, bool enableL2 = true)
    -> decltype(dstUb.GetPhyAddr(), srcGva.GetPhyAddr(), void()) {
  smem_shm_copy_gm2ub(dstUb.GetPhyAddr(), srcGva.GetPhyAddr(), size, enableL2);
}

/* The RDMA calls of a kernel. Ranks whose parts are mapped are reached by plain copies, so each is done when it returns,
 * and queue pairs and work space are taken and not used. */
template <typename T, typename W64, typename W32>
SMEM_SHM_INLINE_AICORE void smem_shm_roce_write(__gm__ T *srcDmaAddr, __gm__ T *destDmaAddr, uint32_t destRankId,
                                                uint32_t qpIdx, uint64_t messageLen, const W64 &ubLocal64,
                                                const W32 &ubLocal32) {
  (void)destRankId, (void)qpIdx, (void)ubLocal64, (void)ubLocal32;
  smem_shm_device_copy(destDmaAddr, srcDmaAddr, messageLen);
}

template <typename T, typename W64, typename W32>
SMEM_SHM_INLINE_AICORE void smem_shm_roce_read(__gm__ T *srcDmaAddr, __gm__ T *destDmaAddr, uint32_t srcRankId,
                                               uint32_t qpIdx, uint64_t messageLen, const W64 &ubLocal64,
                                               const W32 &ubLocal32) {
  (void)srcRankId, (void)qpIdx, (void)ubLocal64, (void)ubLocal32;
  smem_shm_device_copy(destDmaAddr, srcDmaAddr, messageLen);
}

/* Waits for what was started towards a rank. */
template <typename W64, typename W32>
SMEM_SHM_INLINE_AICORE void smem_shm_roce_quiet(uint32_t remoteRankId, uint32_t qpIdx, const W64 &ubLocal64,
                                                const W32 &ubLocal32) {
  (void)remoteRankId, (void)qpIdx, (void)ubLocal64, (void)ubLocal32;
  smem_shm_device_fence();
}

#endif

#endif
