/* SHM: symmetric objects: the same number of bytes of each rank, side by side in one range of addresses that is the same
 * in every process, and what ranks need to work on them together.
 *
 * Rank r's part lies at *gva + symmetricSize * r. Parts of ranks on the same host are mapped there: plain loads and
 * stores reach them. smem_shm_topology_can_reach tells which.
 *
 * Threads: any; the collective calls of one object are made by all ranks in the same order, one at a time per rank.
 * Every call ends by the config's timeouts. */
#ifndef SMEM_SHM_H
#define SMEM_SHM_H

#include "smem_shm_def.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Fills in the defaults: 120 s each, startConfigStore, flags 0. -2000: NULL. */
SMEM_API int32_t smem_shm_config_init(smem_shm_config_t *config);

/* Joins the world of the store at `configStoreIpPort` ("tcp://ip:port"). Again while initialised: 0. Errors: -2000,
 * -2004 (nobody serves the store), -1. */
SMEM_API int32_t smem_shm_init(const char *configStoreIpPort, uint32_t worldSize, uint32_t rankId, uint16_t deviceId,
                               smem_shm_config_t *config);
SMEM_API void smem_shm_uninit(uint32_t flags);

/* What kernels here can use: SMEMS_DATA_OP_MTE. */
SMEM_API uint32_t smem_shm_query_support_data_operation(void);

/* Makes object `id` (0 to 63): returns in all ranks when all have called it. symmetricSize: a multiple of 2 MiB, the same
 * everywhere. *gva gets the base. NULL: it failed. */
SMEM_API smem_shm_t smem_shm_create(uint32_t id, uint32_t rankSize, uint32_t rankId, uint64_t symmetricSize,
                                    smem_shm_data_op_type dataOpType, uint32_t flags, void **gva);

/* Ends it for this rank; what others reach of it is gone when it returns. */
SMEM_API int32_t smem_shm_destroy(smem_shm_t handle, uint32_t flags);

/* Bytes (1 to 65536) that kernels of this process find by smem_shm_get_extra_context_addr; copied. */
SMEM_API int32_t smem_shm_set_extra_context(smem_shm_t handle, const void *context, uint32_t size);

/* UINT32_MAX: no handle. */
SMEM_API uint32_t smem_shm_get_global_rank(smem_shm_t handle);
SMEM_API uint32_t smem_shm_get_global_rank_size(smem_shm_t handle);

/* Returns when all ranks of the object have called it. Errors: -2004. */
SMEM_API int32_t smem_shm_control_barrier(smem_shm_t handle);

/* Brings `sendSize` bytes (1 to 65536) of each rank to all, in the order of ranks; recvSize: at least all of them. */
SMEM_API int32_t smem_shm_control_allgather(smem_shm_t handle, const char *sendBuf, uint32_t sendSize, char *recvBuf,
                                            uint32_t recvSize);

/* The same among `rankSize` ranks that give one `key`; rankId is the place in that group. */
SMEM_API int32_t smem_shm_subgroup_barrier(smem_shm_t handle, const char *key, uint32_t rankSize, uint32_t rankId);
SMEM_API int32_t smem_shm_subgroup_allgather(smem_shm_t handle, const char *key, uint32_t rankSize, uint32_t rankId,
                                             const char *sendBuf, uint32_t sendSize, char *recvBuf, uint32_t recvSize);

/* How a rank's part can be reached from here, as a mask of smem_shm_data_op_type. */
SMEM_API int32_t smem_shm_topology_can_reach(smem_shm_t handle, uint32_t remoteRank, uint32_t *reachInfo);

/* Takes the smallest number below `limit` (at most 1024) that no rank of the object has, and gives it back. Errors: -1
 * (all are taken). A rank that ends gives back what it has. */
SMEM_API int32_t smem_shm_atomic_alloc_value(smem_shm_t handle, uint32_t limit, uint32_t *retVal);
SMEM_API int32_t smem_shm_atomic_release_value(smem_shm_t handle, int32_t value);

/* `exit` is called once, in a thread of the library, when any rank calls smem_shm_global_exit, with its status. One for
 * each object; a second one: -1. */
SMEM_API int32_t smem_shm_register_exit(smem_shm_t handle, void (*exit)(int));
SMEM_API void smem_shm_global_exit(smem_shm_t handle, int status);

#ifdef __cplusplus
}
#endif

#endif
