/* SHM for kernels that run as threads of the host, over host memory or the software accelerator: rank, size, the extra
 * context, and copies, by the number of the object. In C++ the Ascend C names are in smem_shm_aicore_base_api.h.
 *
 * The host makes and ends objects (smem/host/smem_shm.h); a kernel runs while its object lives. Threads: any. */
#ifndef SMEM_SHM_DEVICE_H
#define SMEM_SHM_DEVICE_H

#include <stdint.h>
#include <string.h>

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

extern __attribute__((visibility("default"))) smem_shm_device_object_t smem_shm_device_objects[SMEM_SHM_DEVICE_OBJECTS];

static inline const smem_shm_device_object_t *smem_shm_device_get(uint32_t shmem_id) {
  return &smem_shm_device_objects[shmem_id % SMEM_SHM_DEVICE_OBJECTS];
}

/* The address of `offset` in a rank's part. */
static inline void *smem_shm_device_address(uint32_t shmem_id, uint32_t rank, uint64_t offset) {
  const smem_shm_device_object_t *object = smem_shm_device_get(shmem_id);
  return (char *)object->base + object->symmetric_size * rank + offset;
}

/* Copies between memory of the kernel's own and an object's, or within it; done when it returns. */
static inline void smem_shm_device_copy(void *destination, const void *source, uint64_t size) {
  memcpy(destination, source, size);
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#ifdef __cplusplus
}
#endif

#endif
