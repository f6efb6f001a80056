/* SHM for kernels: rank, size, the extra context, and copies, by the number of the object. One source serves kernels that
 * run as threads of the host, over host memory or the software accelerator, and, compiled by nvcc, kernels on a GPU. In
 * C++ the Ascend C names are in smem_shm_aicore_base_api.h.
 *
 * The host makes and ends objects (smem/host/smem_shm.h); a kernel runs while its object lives. On a GPU the host also
 * publishes each object to the kernels of a source file (smem_shm_device_publish), after smem_shm_create and
 * smem_shm_set_extra_context: parts are host memory, which the GPU reaches by the bus. Threads: any. */
#ifndef SMEM_SHM_DEVICE_H
#define SMEM_SHM_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__) /* which has CUDA's runtime included already */
#define SMEM_SHM_DEVICE static __device__ __forceinline__
#else
#define SMEM_SHM_DEVICE static inline
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define SMEM_SHM_DEVICE_OBJECTS 64

/* What a kernel sees of an object. base NULL: there is none of that number. */
typedef struct smem_shm_device_object {
  void *base; /* rank r's part begins at base + symmetric_size * r */
  uint64_t symmetric_size;
  uint32_t rank, rank_size;
  void *context;
  uint32_t context_size;
} smem_shm_device_object_t;

/* Of the host; kernels ask smem_shm_device_get. */
extern __attribute__((visibility("default"))) smem_shm_device_object_t smem_shm_device_objects[SMEM_SHM_DEVICE_OBJECTS];

#if defined(__CUDACC__)
/* What has been published to the kernels of this source file. */
static __device__ smem_shm_device_object_t smem_shm_device_table[SMEM_SHM_DEVICE_OBJECTS];
SMEM_SHM_DEVICE const smem_shm_device_object_t *smem_shm_device_get(uint32_t shmem_id) {
  return &smem_shm_device_table[shmem_id % SMEM_SHM_DEVICE_OBJECTS];
}
SMEM_SHM_DEVICE void smem_shm_device_fence(void) { __threadfence_system(); }
#else
SMEM_SHM_DEVICE const smem_shm_device_object_t *smem_shm_device_get(uint32_t shmem_id) {
  return &smem_shm_device_objects[shmem_id % SMEM_SHM_DEVICE_OBJECTS];
}
SMEM_SHM_DEVICE void smem_shm_device_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif

/* The address of `offset` in a rank's part. */
SMEM_SHM_DEVICE void *smem_shm_device_address(uint32_t shmem_id, uint32_t rank, uint64_t offset) {
  const smem_shm_device_object_t *object = smem_shm_device_get(shmem_id);
  return (char *)object->base + object->symmetric_size * rank + offset;
}

/* Copies, shared out among `threads` threads of which this is `thread`: each moves every `threads`-th word. */
SMEM_SHM_DEVICE void smem_shm_device_copy_shared(void *destination, const void *source, uint64_t size, uint32_t thread,
                                                 uint32_t threads) {
  uint64_t words = (((uintptr_t)destination | (uintptr_t)source) & 7) != 0 ? 0 : size / 8;
  for (uint64_t i = thread; i < words; i += threads) ((uint64_t *)destination)[i] = ((const uint64_t *)source)[i];
  for (uint64_t i = words * 8 + thread; i < size; i += threads) ((char *)destination)[i] = ((const char *)source)[i];
  smem_shm_device_fence();
}

/* Copies between memory of the kernel's own and an object's, or within it, by one thread; done when it returns. */
SMEM_SHM_DEVICE void smem_shm_device_copy(void *destination, const void *source, uint64_t size) {
#if defined(__CUDA_ARCH__)
  smem_shm_device_copy_shared(destination, source, size, 0, 1);
#else
  memcpy(destination, source, size);
  smem_shm_device_fence();
#endif
}

#ifdef __cplusplus
}
#endif

#if defined(__CUDACC__)
/* Publishes an object to the kernels of this source file: pins the parts, where the GPU does not reach all of the host's
 * memory by itself, and copies the extra context to the device. Called by the host, for the current device, after the
 * object was made and its context set, and again after that is set again. Errors: CUDA's; cudaErrorInvalidValue: there is
 * no such object. */
static inline cudaError_t smem_shm_device_publish(uint32_t shmem_id) {
  smem_shm_device_object_t seen = smem_shm_device_objects[shmem_id % SMEM_SHM_DEVICE_OBJECTS];
  int device = 0, reaches_all = 0;
  void *context = NULL;
  if (seen.base == NULL) return cudaErrorInvalidValue;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&reaches_all, cudaDevAttrPageableMemoryAccess, device);
  if (error == cudaSuccess && !reaches_all) {
    error = cudaHostRegister(seen.base, seen.symmetric_size * seen.rank_size, cudaHostRegisterMapped);
    if (error == cudaErrorHostMemoryAlreadyRegistered) error = cudaSuccess;
    (void)cudaGetLastError();
  }
  if (error == cudaSuccess && seen.context_size > 0) {
    error = cudaMalloc(&context, seen.context_size);
    if (error == cudaSuccess) error = cudaMemcpy(context, seen.context, seen.context_size, cudaMemcpyHostToDevice);
    seen.context = context;
  }
  if (error == cudaSuccess) {
    error = cudaMemcpyToSymbol(smem_shm_device_table, &seen, sizeof(seen),
                               shmem_id % SMEM_SHM_DEVICE_OBJECTS * sizeof(seen));
  }
  return error;
}

/* Takes it back, before smem_shm_destroy. */
static inline cudaError_t smem_shm_device_withdraw(uint32_t shmem_id) {
  const smem_shm_device_object_t none = {NULL, 0, 0, 0, NULL, 0};
  smem_shm_device_object_t seen;
  size_t offset = shmem_id % SMEM_SHM_DEVICE_OBJECTS * sizeof(seen);
  cudaError_t error = cudaMemcpyFromSymbol(&seen, smem_shm_device_table, sizeof(seen), offset);
  if (error == cudaSuccess) error = cudaMemcpyToSymbol(smem_shm_device_table, &none, sizeof(none), offset);
  if (error == cudaSuccess && seen.base != NULL) {
    (void)cudaHostUnregister(seen.base); /* where it was pinned */
    (void)cudaGetLastError();
    error = cudaFree(seen.context);
  }
  return error;
}
#endif

#endif
