/* Types of SHM (smem_shm.h), in all generations of the interface. */
#ifndef SMEM_SHM_DEF_H
#define SMEM_SHM_DEF_H

#include "smem.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void *smem_shm_t;

#define SMEM_SHM_TIMEOUT_MAX UINT32_MAX
#define SMEM_SHM_ATOMIC_NUM_LIMIT 1024U

/* How a rank's part can be reached from kernels here: a mask. */
typedef enum {
  SMEMS_DATA_OP_MTE = 1U << 0, /* by loads and stores */
  SMEMS_DATA_OP_SDMA = 1U << 1,
  SMEMS_DATA_OP_RDMA = 1U << 2,
  SMEMS_DATA_OP_ROCE = 1U << 2, /* its name in the first generation */
  SMEMS_DATA_OP_BUTT
} smem_shm_data_op_type;

typedef struct {
  uint32_t shmInitTimeout;          /* seconds */
  uint32_t shmCreateTimeout;        /* seconds */
  uint32_t controlOperationTimeout; /* seconds */
  union {
    bool startConfigStore; /* rank 0 serves the store */
    bool startConfigStoreServer;
  };
  uint32_t flags;
} smem_shm_config_t;

#ifdef __cplusplus
}
#endif

#endif
