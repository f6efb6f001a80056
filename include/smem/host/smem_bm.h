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

/* Fills in the defaults: 120 s each, startConfigStore, unifiedAddressSpace, no autoRanking, rankId 65535. -2000: NULL. */
SMEM_API int32_t smem_bm_config_init(smem_bm_config_t *config);

/* Makes this process a member of the world of `storeURL`. worldSize: 1 to 1024. deviceId: the accelerator of its device
 * memory; where there is none, device memory is the software accelerator's. Again while initialised: 0.
 * Errors: -2000, -2004 (nobody serves the store), -2006 (another member has the rank), -1 (the store turns this process
 * away; the text says why). */
SMEM_API int32_t smem_bm_init(const char *storeURL, uint32_t worldSize, uint16_t deviceId,
                              const smem_bm_config_t *config);

/* Leaves and destroys all pools of this process, and gives the rank back. `flags` is not used. */
SMEM_API void smem_bm_uninit(uint32_t flags);

/* This member's rank; UINT32_MAX before smem_bm_init. */
SMEM_API uint32_t smem_bm_get_rank_id(void);

/* Makes the pool object `id` here: reserves its addresses and allocates this member's part. Sizes are multiples of 2
 * MiB, one of them above 0 in all; memberSize is not looked at. NULL: it failed (sizes that do not fit those of the
 * others, an id that this process has already). */
SMEM_API smem_bm_t smem_bm_create(uint32_t id, uint32_t memberSize, smem_bm_data_op_type dataOpType,
                                  uint64_t localDRAMSize, uint64_t localHBMSize, uint32_t flags);
SMEM_API smem_bm_t smem_bm_create2(uint32_t id, const smem_bm_create_option_t *option);

/* Leaves it and frees this member's part. Anything but a handle is only logged. */
SMEM_API void smem_bm_destroy(smem_bm_t handle);

/* Shows this member's part to the others; from then on they can copy to and from it. Errors: -2000 (no pool), -2004. */
SMEM_API int32_t smem_bm_join(smem_bm_t handle, uint32_t flags);

/* Takes this member's part back: when it returns nobody reads or writes it any more. Errors: -2000 (no pool),
 * -2003 (it has not joined). */
SMEM_API int32_t smem_bm_leave(smem_bm_t handle, uint32_t flags);

/* Bytes of this member's part: the device part where it has one, else the host part; or that of one kind. 0: none. */
SMEM_API uint64_t smem_bm_get_local_mem_size(smem_bm_t handle);
SMEM_API uint64_t smem_bm_get_local_mem_size_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType);

/* The global address of a member's part: the device part where this member has one, else the host part; or that of one
 * kind (SMEM_MEM_TYPE_DEVICE or HOST). NULL: no such rank or kind.
 *
 * The host part of a member on the same host that has joined is mapped when the call returns, and the first copy to or
 * from it maps it too: plain loads and stores reach it then. When the member leaves or dies the pages stay, so that a
 * load never faults, but what they hold means nothing any more; they are replaced when a new member of that rank is
 * asked for here. With SMEMB_DATA_OP_HOST_TCP or RDMA alone nothing is mapped.
 * Blocking: as long as connecting to that member takes, and at most 5 s where the store has to be asked and is away. */
SMEM_API void *smem_bm_ptr(smem_bm_t handle, uint16_t peerRankId);
SMEM_API void *smem_bm_ptr_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType, uint16_t peerRankId);

/* The pointer by which this process, or a kernel of its device, reaches this member's own part
 * (SMEM_MEM_TYPE_LOCAL_DEVICE or LOCAL_HOST): of the device part it is not the global address. NULL: it has none. An
 * addition of HMC's. */
SMEM_API void *smem_bm_local_ptr(smem_bm_t handle, smem_bm_mem_type memType);

/* The rank whose part holds that address; UINT32_MAX where it is in no part. */
SMEM_API uint32_t smem_bm_get_rank_id_by_gva(smem_bm_t handle, void *gva);

/* Copies. When it returns 0 without ASYNC_COPY_FLAG the bytes are at their destination, for all to see. Errors: -2000
 * (NULL, no bytes, addresses that are not what `t` says, a range past its end or in nobody's part), -2004, -2007 (the
 * member has left or died), -2008. */
SMEM_API int32_t smem_bm_copy(smem_bm_t handle, smem_copy_params *params, smem_bm_copy_type t, uint32_t flags);

/* A list of copies, all of the direction of the first; each ends as by itself, and the first error is returned. */
SMEM_API int32_t smem_bm_copy_batch(smem_bm_t handle, smem_batch_copy_params *params, smem_bm_copy_type t,
                                    uint32_t flags);

/* `height` rows of `width` bytes. */
SMEM_API int32_t smem_bm_copy_2d(smem_bm_t handle, smem_copy_2d_params *params, smem_bm_copy_type t, uint32_t flags);

/* Waits for all copies of the object that were started with ASYNC_COPY_FLAG; the first error among them. */
SMEM_API int32_t smem_bm_wait(smem_bm_t handle);

/* Registers memory of this process that copies will often name, so that it is pinned once. Registering it again with the
 * same size answers 0, with another size -1. It stays the caller's, and must be unregistered before it is freed;
 * unregistering what is not registered answers 0. Errors: -2000 (NULL, no bytes, no pool). */
SMEM_API int32_t smem_bm_register_user_mem(smem_bm_t handle, uint64_t addr, uint64_t size);
SMEM_API int32_t smem_bm_unregister_user_mem(smem_bm_t handle, uint64_t addr);

/* ---- the first generation's argument lists: the same names take them ---------------------------------------------- */

SMEM_API int32_t smem_bm_join_gva(smem_bm_t handle, uint32_t flags, void **localGvaAddress);
SMEM_API int32_t smem_bm_copy_plain(smem_bm_t handle, const void *src, void *dest, uint64_t size, smem_bm_copy_type t,
                                    uint32_t flags);
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
