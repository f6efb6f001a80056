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

/**
 * Fills in the defaults: 120 s each, startConfigStore, flags 0.
 *
 * \param config The config to fill in.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL.
 */
SMEM_API int32_t smem_shm_config_init(smem_shm_config_t *config);

/**
 * Makes this process a rank of the world of a store. Does nothing while it is one already.
 *
 * \param configStoreIpPort Where the store is: "tcp://ip:port" or "etcd://host:port,...".
 * \param worldSize How many ranks the world has.
 * \param rankId This process's rank.
 * \param deviceId The accelerator of this rank.
 * \param config What smem_shm_config_init filled in, changed where needed.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, or a URL or a number that is not possible.
 * \return SM_TIMEOUT Nobody serves the store.
 * \return SM_ERROR The store turns this process away; the text says why.
 */
SMEM_API int32_t smem_shm_init(const char *configStoreIpPort, uint32_t worldSize, uint32_t rankId, uint16_t deviceId,
                               smem_shm_config_t *config);

/**
 * Destroys all objects of this process, and leaves the world.
 *
 * \param flags Not used.
 */
SMEM_API void smem_shm_uninit(uint32_t flags);

/**
 * What kernels can use here.
 *
 * \return SMEMS_DATA_OP_MTE.
 */
SMEM_API uint32_t smem_shm_query_support_data_operation(void);

/**
 * Makes an object. Collective: it returns at all ranks when all have called it.
 *
 * \param id The object's number: 0 to 63.
 * \param rankSize How many ranks it has.
 * \param rankId This process's place among them.
 * \param symmetricSize Bytes of each rank's part: a multiple of 2 MiB, the same everywhere.
 * \param dataOpType How kernels will reach it, as a mask of SMEMS_DATA_OP_*.
 * \param flags Not used.
 * \param gva Gets the base of the addresses.
 * \return The object.
 * \return NULL: it failed; the text says why.
 */
SMEM_API smem_shm_t smem_shm_create(uint32_t id, uint32_t rankSize, uint32_t rankId, uint64_t symmetricSize,
                                    smem_shm_data_op_type dataOpType, uint32_t flags, void **gva);

/**
 * Ends the object for this rank; others reach nothing of its part when the call returns.
 *
 * \param handle The object.
 * \param flags Not used.
 * \return SM_OK
 * \return SM_INVALID_PARAM `handle` is not an object of smem_shm_create.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 */
SMEM_API int32_t smem_shm_destroy(smem_shm_t handle, uint32_t flags);

/**
 * Gives kernels of this process bytes that smem_shm_get_extra_context_addr finds.
 *
 * \param handle The object.
 * \param context The bytes; copied.
 * \param size How many: 1 to 65536.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, a size that is not possible, or no object.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 * \return SM_MALLOC_FAILED
 */
SMEM_API int32_t smem_shm_set_extra_context(smem_shm_t handle, const void *context, uint32_t size);

/**
 * This process's place in the object.
 *
 * \param handle The object.
 * \return Its rank; UINT32_MAX where `handle` is not an object.
 */
SMEM_API uint32_t smem_shm_get_global_rank(smem_shm_t handle);

/**
 * How many ranks the object has.
 *
 * \param handle The object.
 * \return Their number; UINT32_MAX where `handle` is not an object.
 */
SMEM_API uint32_t smem_shm_get_global_rank_size(smem_shm_t handle);

/**
 * Returns when all ranks of the object have called it.
 *
 * \param handle The object.
 * \return SM_OK
 * \return SM_INVALID_PARAM `handle` is not an object of smem_shm_create.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 * \return SM_TIMEOUT A rank did not come.
 */
SMEM_API int32_t smem_shm_control_barrier(smem_shm_t handle);

/**
 * Brings bytes of each rank to all, in the order of ranks.
 *
 * \param handle The object.
 * \param sendBuf This rank's bytes.
 * \param sendSize How many: 1 to 65536, the same at all.
 * \param recvBuf Gets those of all.
 * \param recvSize Its bytes: room for all of them.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, sizes that are not possible, or no object.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 * \return SM_TIMEOUT A rank did not come.
 */
SMEM_API int32_t smem_shm_control_allgather(smem_shm_t handle, const char *sendBuf, uint32_t sendSize, char *recvBuf,
                                            uint32_t recvSize);

/**
 * As smem_shm_control_barrier, among some of the ranks.
 *
 * \param handle The object.
 * \param key A name, the same at the ranks of the group.
 * \param rankSize How many ranks the group has.
 * \param rankId This rank's place in it.
 * \return As smem_shm_control_barrier; SM_INVALID_PARAM also for a key or a place that is not possible.
 */
SMEM_API int32_t smem_shm_subgroup_barrier(smem_shm_t handle, const char *key, uint32_t rankSize, uint32_t rankId);

/**
 * As smem_shm_control_allgather, among some of the ranks.
 *
 * \param handle The object.
 * \param key A name, the same at the ranks of the group.
 * \param rankSize How many ranks the group has.
 * \param rankId This rank's place in it.
 * \param sendBuf This rank's bytes.
 * \param sendSize How many.
 * \param recvBuf Gets those of all.
 * \param recvSize Its bytes.
 * \return As smem_shm_control_allgather; SM_INVALID_PARAM also for a key or a place that is not possible.
 */
SMEM_API int32_t smem_shm_subgroup_allgather(smem_shm_t handle, const char *key, uint32_t rankSize, uint32_t rankId,
                                             const char *sendBuf, uint32_t sendSize, char *recvBuf, uint32_t recvSize);

/**
 * How kernels here can reach a rank's part.
 *
 * \param handle The object.
 * \param remoteRank The rank.
 * \param reachInfo Gets a mask of smem_shm_data_op_type; 0: not at all.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, no such rank, or no object.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 */
SMEM_API int32_t smem_shm_topology_can_reach(smem_shm_t handle, uint32_t remoteRank, uint32_t *reachInfo);

/**
 * Takes the smallest number that no rank of the object has. A rank that ends gives back what it has.
 *
 * \param handle The object.
 * \param limit The number is below it; at most 1024.
 * \param retVal Gets the number.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, a limit that is not possible, or no object.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 * \return SM_ERROR All numbers are taken.
 */
SMEM_API int32_t smem_shm_atomic_alloc_value(smem_shm_t handle, uint32_t limit, uint32_t *retVal);

/**
 * Gives back a number of smem_shm_atomic_alloc_value.
 *
 * \param handle The object.
 * \param value The number.
 * \return SM_OK
 * \return SM_INVALID_PARAM No such number, or no object.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 */
SMEM_API int32_t smem_shm_atomic_release_value(smem_shm_t handle, int32_t value);

/**
 * Has a function called once, in a thread of the library, when any rank calls smem_shm_global_exit.
 *
 * \param handle The object.
 * \param exit The function; it gets the status.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, or no object.
 * \return SM_NOT_INITIALIZED smem_shm_init comes first.
 * \return SM_ERROR The object has a function already.
 * \return SM_MALLOC_FAILED There is no thread to wait for the end.
 */
SMEM_API int32_t smem_shm_register_exit(smem_shm_t handle, void (*exit)(int));

/**
 * Calls the functions of smem_shm_register_exit at all ranks.
 *
 * \param handle The object.
 * \param status What they get.
 */
SMEM_API void smem_shm_global_exit(smem_shm_t handle, int status);

#ifdef __cplusplus
}
#endif

#endif
