/* BM: a pool of the host and device memory of all members.
 *
 * A member gives host memory ("DRAM"), device memory ("HBM"), or both to the pool. Every byte of it has a global
 * address, the same number in each member: one range of addresses per kind, linear over the ranks. Of one's own host
 * part, and of that of a member on the same host, it is also a pointer that may be dereferenced: see smem_bm_ptr.
 * Everything is reached by smem_bm_copy.
 *
 * Members come and go as they like. A copy to or from a member that has left or died ends with SM_OBJECT_NOT_EXISTS,
 * never with old bytes; its rank can be taken by a new member.
 *
 * Threads: any. smem_bm_destroy waits for the calls that use the pool, later ones get SM_INVALID_PARAM; uninit must not
 * run beside init, create or another uninit. Every call ends by the config's timeouts. */
#ifndef SMEM_BM_H
#define SMEM_BM_H

#include "smem_bm_def.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Fills in the defaults: 120 s each, startConfigStore, unifiedAddressSpace, no autoRanking, rankId 65535.
 *
 * \param config The config to fill in.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL.
 */
SMEM_API int32_t smem_bm_config_init(smem_bm_config_t *config);

/**
 * Makes this process a member of the world of a store. Does nothing while it is a member already.
 *
 * \param storeURL Where the store is: "tcp://ip:port", "tcp6://[ipv6]:port" or "etcd://host:port,...".
 * \param worldSize Most members of the world: 1 to 1024.
 * \param deviceId The accelerator of this member's device memory; where there is none, device memory is the software
 *   accelerator's.
 * \param config What smem_bm_config_init filled in, changed where needed.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, a URL or a number that is not possible, or a certificate's file that cannot be used.
 * \return SM_TIMEOUT Nobody serves the store.
 * \return SM_DUPLICATED_OBJECT Another member has the rank.
 * \return SM_ERROR The store turns this process away; the text says why.
 */
SMEM_API int32_t smem_bm_init(const char *storeURL, uint32_t worldSize, uint16_t deviceId,
                              const smem_bm_config_t *config);

/**
 * Leaves and destroys all pools of this process, and gives the rank back.
 *
 * \param flags Not used.
 */
SMEM_API void smem_bm_uninit(uint32_t flags);

/**
 * This member's rank.
 *
 * \return The rank; UINT32_MAX before smem_bm_init.
 */
SMEM_API uint32_t smem_bm_get_rank_id(void);

/**
 * Makes a pool here: reserves its addresses and allocates this member's part.
 *
 * \param id The pool's number, the same at all members.
 * \param memberSize Not used.
 * \param dataOpType The ways that copies may take, as a mask of SMEMB_DATA_OP_*.
 * \param localDRAMSize Bytes of host memory in this member's part: a multiple of 2 MiB. One of the two sizes is above
 *   0.
 * \param localHBMSize Bytes of device memory in it: a multiple of 2 MiB.
 * \param flags Not used.
 * \return The pool.
 * \return NULL: it failed, because sizes do not fit those of the others, or this process has that id already; the
 *   text says which.
 */
SMEM_API smem_bm_t smem_bm_create(uint32_t id, uint32_t memberSize, smem_bm_data_op_type dataOpType,
                                  uint64_t localDRAMSize, uint64_t localHBMSize, uint32_t flags);

/**
 * As smem_bm_create, with all that can be chosen, such as the largest part that a member may have.
 *
 * \param id The pool's number, the same at all members.
 * \param option The choices.
 * \return The pool.
 * \return NULL: it failed, because sizes do not fit those of the others, or this process has that id already; the
 *   text says which.
 */
SMEM_API smem_bm_t smem_bm_create2(uint32_t id, const smem_bm_create_option_t *option);

/**
 * Leaves the pool and frees this member's part. What is not a pool is only logged.
 *
 * \param handle The pool.
 */
SMEM_API void smem_bm_destroy(smem_bm_t handle);

/**
 * Shows this member's part to the others; from then on they can copy to and from it.
 *
 * \param handle The pool.
 * \param flags Not used.
 * \return SM_OK
 * \return SM_INVALID_PARAM `handle` is not a pool of smem_bm_create.
 * \return SM_REPEAT_CALL It has joined already.
 * \return SM_TIMEOUT The store does not answer.
 */
SMEM_API int32_t smem_bm_join(smem_bm_t handle, uint32_t flags);

/**
 * Takes this member's part back: no member can read or write it after the call returns.
 *
 * \param handle The pool.
 * \param flags Not used.
 * \return SM_OK
 * \return SM_INVALID_PARAM `handle` is not a pool of smem_bm_create.
 * \return SM_NOT_STARTED It has not joined.
 */
SMEM_API int32_t smem_bm_leave(smem_bm_t handle, uint32_t flags);

/**
 * How large this member's part is: the device part where it has one, else the host part.
 *
 * \param handle The pool.
 * \return Its bytes; 0: there is none.
 */
SMEM_API uint64_t smem_bm_get_local_mem_size(smem_bm_t handle);

/**
 * How large this member's part of one kind is.
 *
 * \param handle The pool.
 * \param memType The kind of memory.
 * \return Its bytes; 0: there is none.
 */
SMEM_API uint64_t smem_bm_get_local_mem_size_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType);

/**
 * The global address of a member's part: the device part where this member has one, else the host part.
 *
 * The host part of a member on the same host that has joined is mapped when the call returns, and the first copy to
 * or from it maps it too: plain loads and stores reach it then. When the member leaves or dies the pages stay, so
 * that a load never faults, but what they hold means nothing any more; they are replaced when this call asks for a
 * new member of that rank. With SMEMB_DATA_OP_HOST_TCP or RDMA alone nothing is mapped.
 *
 * Blocking: as long as connecting to that member takes, and at most 5 s where the store has to be asked and is away.
 *
 * \param handle The pool.
 * \param peerRankId The member's rank.
 * \return The address.
 * \return NULL: there is no such rank.
 */
SMEM_API void *smem_bm_ptr(smem_bm_t handle, uint16_t peerRankId);

/**
 * The global address of a member's part of one kind. What smem_bm_ptr says of mapping and blocking holds here.
 *
 * \param handle The pool.
 * \param memType SMEM_MEM_TYPE_DEVICE or SMEM_MEM_TYPE_HOST.
 * \param peerRankId The member's rank.
 * \return The address.
 * \return NULL: there is no such rank or kind.
 */
SMEM_API void *smem_bm_ptr_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType, uint16_t peerRankId);

/**
 * The pointer by which this process, or a kernel of its device, reaches this member's own part. That of the device
 * part is not its global address. An addition of HMC's.
 *
 * \param handle The pool.
 * \param memType SMEM_MEM_TYPE_LOCAL_DEVICE or SMEM_MEM_TYPE_LOCAL_HOST.
 * \return The pointer.
 * \return NULL: this member has no such part.
 */
SMEM_API void *smem_bm_local_ptr(smem_bm_t handle, smem_bm_mem_type memType);

/**
 * Finds the member whose part holds an address.
 *
 * \param handle The pool.
 * \param gva A global address.
 * \return Its rank; UINT32_MAX where the address is in no part.
 */
SMEM_API uint32_t smem_bm_get_rank_id_by_gva(smem_bm_t handle, void *gva);

/**
 * Copies. When it returns SM_OK without ASYNC_COPY_FLAG, the bytes are at their destination, for all to see.
 *
 * \param handle The pool.
 * \param params Source, destination and bytes.
 * \param t The direction; SMEMB_COPY_AUTO: as the addresses say.
 * \param flags 0, or ASYNC_COPY_FLAG: start the copy only.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, no bytes, addresses that are not what `t` says, or a range that runs past its part
 *   or lies in no part.
 * \return SM_TIMEOUT The deadline passed.
 * \return SM_OBJECT_NOT_EXISTS The member has left or died.
 * \return SM_NOT_INITIALIZED smem_bm_init comes first.
 */
SMEM_API int32_t smem_bm_copy(smem_bm_t handle, smem_copy_params *params, smem_bm_copy_type t, uint32_t flags);

/**
 * Makes a list of copies, all of the direction of the first. Each ends by itself.
 *
 * \param handle The pool.
 * \param params The list.
 * \param t The direction; SMEMB_COPY_AUTO: as the addresses say.
 * \param flags 0, or ASYNC_COPY_FLAG: start the copy only.
 * \return SM_OK
 * \return The first error among the copies, as of smem_bm_copy.
 */
SMEM_API int32_t smem_bm_copy_batch(smem_bm_t handle, smem_batch_copy_params *params, smem_bm_copy_type t,
                                    uint32_t flags);

/**
 * Copies rows that lie at equal distances.
 *
 * \param handle The pool.
 * \param params Source, destination, their distances, and `height` rows of `width` bytes.
 * \param t The direction; SMEMB_COPY_AUTO: as the addresses say.
 * \param flags 0, or ASYNC_COPY_FLAG: start the copy only.
 * \return As smem_bm_copy.
 */
SMEM_API int32_t smem_bm_copy_2d(smem_bm_t handle, smem_copy_2d_params *params, smem_bm_copy_type t, uint32_t flags);

/**
 * Waits for all copies of the pool that were started with ASYNC_COPY_FLAG.
 *
 * \param handle The pool.
 * \return SM_OK
 * \return The first error among them, as of smem_bm_copy.
 */
SMEM_API int32_t smem_bm_wait(smem_bm_t handle);

/**
 * Registers memory of this process that copies will often name, so that it is pinned once. It stays the caller's, and
 * must be unregistered before it is freed.
 *
 * \param handle The pool.
 * \param addr Where it begins.
 * \param size Its bytes.
 * \return SM_OK Also where it is registered with the same size.
 * \return SM_INVALID_PARAM NULL, no bytes, or no pool.
 * \return SM_ERROR It is registered with another size.
 */
SMEM_API int32_t smem_bm_register_user_mem(smem_bm_t handle, uint64_t addr, uint64_t size);

/**
 * Ends what smem_bm_register_user_mem began.
 *
 * \param handle The pool.
 * \param addr Where the memory begins.
 * \return SM_OK Also where it is not registered.
 * \return SM_INVALID_PARAM `handle` is not a pool of smem_bm_create.
 */
SMEM_API int32_t smem_bm_unregister_user_mem(smem_bm_t handle, uint64_t addr);

/* ---- the first generation's argument lists: the same names take them ---------------------------------------------- */

/**
 * As smem_bm_join of the first generation.
 *
 * \param handle The pool.
 * \param flags Not used.
 * \param localGvaAddress Gets the global address of this member's part.
 * \return As smem_bm_join.
 */
SMEM_API int32_t smem_bm_join_gva(smem_bm_t handle, uint32_t flags, void **localGvaAddress);

/**
 * As smem_bm_copy of the first generation.
 *
 * \param handle The pool.
 * \param src The source.
 * \param dest The destination.
 * \param size How many bytes.
 * \param t The direction; SMEMB_COPY_AUTO: as the addresses say.
 * \param flags 0, or ASYNC_COPY_FLAG: start the copy only.
 * \return As smem_bm_copy.
 */
SMEM_API int32_t smem_bm_copy_plain(smem_bm_t handle, const void *src, void *dest, uint64_t size, smem_bm_copy_type t,
                                    uint32_t flags);

/**
 * As smem_bm_copy_2d of the first generation.
 *
 * \param handle The pool.
 * \param src The source.
 * \param spitch Bytes from one row to the next there.
 * \param dest The destination.
 * \param dpitch Bytes from one row to the next there.
 * \param width Bytes of a row.
 * \param height How many rows.
 * \param t The direction; SMEMB_COPY_AUTO: as the addresses say.
 * \param flags 0, or ASYNC_COPY_FLAG: start the copy only.
 * \return As smem_bm_copy.
 */
SMEM_API int32_t smem_bm_copy_2d_plain(smem_bm_t handle, const void *src, uint64_t spitch, void *dest, uint64_t dpitch,
                                       uint64_t width, uint64_t height, smem_bm_copy_type t, uint32_t flags);

#ifdef __cplusplus
}

static inline int32_t smem_bm_join(smem_bm_t handle, uint32_t flags, void **localGvaAddress) {
  return smem_bm_join_gva(handle, flags, localGvaAddress);
}
static inline int32_t smem_bm_copy(smem_bm_t handle, const void *src, void *dest, uint64_t size, smem_bm_copy_type t,
                                   uint32_t flags) {
  return smem_bm_copy_plain(handle, src, dest, size, t, flags);
}
static inline int32_t smem_bm_copy_2d(smem_bm_t handle, const void *src, uint64_t spitch, void *dest, uint64_t dpitch,
                                      uint64_t width, uint64_t height, smem_bm_copy_type t, uint32_t flags) {
  return smem_bm_copy_2d_plain(handle, src, spitch, dest, dpitch, width, height, t, flags);
}
#else
/* By the number of arguments. */
#define SMEM_BM_THIRD(a, b, c, name, ...) name
#define SMEM_BM_SIXTH(a, b, c, d, e, f, name, ...) name
#define SMEM_BM_NINTH(a, b, c, d, e, f, g, h, i, name, ...) name
#define smem_bm_join(...) SMEM_BM_THIRD(__VA_ARGS__, smem_bm_join_gva, smem_bm_join, 0)(__VA_ARGS__)
#define smem_bm_copy(...) SMEM_BM_SIXTH(__VA_ARGS__, smem_bm_copy_plain, 0, smem_bm_copy, 0, 0, 0)(__VA_ARGS__)
#define smem_bm_copy_2d(...)                                                                                           \
  SMEM_BM_NINTH(__VA_ARGS__, smem_bm_copy_2d_plain, 0, 0, 0, 0, smem_bm_copy_2d, 0, 0, 0)(__VA_ARGS__)
#endif

#endif
