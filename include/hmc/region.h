/* Regions: memory that peers may reach, and the peers' regions as seen from here.
 *
 * A region has a name, rights and a generation. No address ever travels: a peer names (region, generation, offset,
 * length), and the owner's side checks rights and bounds. A region that was closed, or closed and made anew under the
 * same name, answers HMC_STALE to those who opened the former one. */
#ifndef HMC_REGION_H
#define HMC_REGION_H

#include <hmc/context.h>
#include <hmc/export.h>
#include <hmc/memory.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_region hmc_region_t;
typedef struct hmc_remote hmc_remote_t;

/* What peers may do with a region. */
enum {
  HMC_REMOTE_READ = 1,
  HMC_REMOTE_WRITE = 2,
  HMC_REMOTE_ATOMIC = 4,
  HMC_REMOTE_ALL = 7,
};

#define HMC_REGION_NAME_SIZE 64 /* bytes of a region's name with the end */

/* Allocates `size` bytes of `memory`, zeroed, as a region named `name` that peers may reach with `rights`. Host memory
 * made so is mapped by peers on the same host, which is the fastest there is.
 * Ownership: the region is the context's until hmc_region_close; its memory goes with it. `name` is copied; NULL or ""
 * makes a region for local use only, which no peer can open. Errors: HMC_INVALID_CONFIG (size 0, a name too long or in
 * use, unknown rights), HMC_UNSUPPORT, HMC_NOT_FOUND (no such device), HMC_NO_MEMORY. Threads: any. */
HMC_API hmc_status_t hmc_region_allocate(hmc_context_t *context, hmc_memory_t memory, size_t size, const char *name,
                                         unsigned rights, hmc_region_t **region);

/* Makes a region of memory that the caller owns and keeps until hmc_region_close; nothing is copied. The memory may
 * be of any kind: the pointer is asked. Where adapters need the memory pinned, regions without a name share what is
 * pinned for a range that contains theirs. It stays so after the last of them where hmc_memory_allocate gave the
 * memory, until that is freed (HMC_REGISTRATION_CACHE), so that lending it again costs nothing; memory from
 * elsewhere is unpinned when its last region closes, for HMC hooks no allocator and would not learn of its end. What
 * peers reach is pinned for each region by itself, and its key ends with it. Errors and the rest as for
 * hmc_region_allocate. */
HMC_API hmc_status_t hmc_region_register(hmc_context_t *context, void *pointer, size_t size, const char *name,
                                         unsigned rights, hmc_region_t **region);

/* Ends a region. When it returns no peer reads or writes the memory any more, and later operations on it answer
 * HMC_STALE. NULL is allowed. Threads: no operation of this side may use the region meanwhile. */
HMC_API void hmc_region_close(hmc_region_t *region);

/* The region's memory. The pointer is a device address for device memory. Threads: any. */
HMC_API void *hmc_region_pointer(const hmc_region_t *region);
HMC_API size_t hmc_region_size(const hmc_region_t *region);
HMC_API hmc_memory_t hmc_region_memory(const hmc_region_t *region);

/* Opens the peer's region of that name. Blocks for one round trip, at most `timeout_ms` (0: the context's).
 * Ownership: the handle is the peer's until hmc_remote_close. Errors: HMC_NOT_FOUND (no region of that name there),
 * HMC_TIMEOUT, HMC_PEER_LOST. Threads: any. */
HMC_API hmc_status_t hmc_remote_open(hmc_peer_t *peer, const char *name, uint64_t timeout_ms, hmc_remote_t **remote);

/* Gives the handle back; NULL is allowed. Threads: no operation may use it meanwhile. */
HMC_API void hmc_remote_close(hmc_remote_t *remote);

HMC_API size_t hmc_remote_size(const hmc_remote_t *remote);
HMC_API hmc_memory_t hmc_remote_memory(const hmc_remote_t *remote);

/* A pointer to the peer's memory, where this process can reach it by plain loads and stores (host memory that HMC
 * allocated, on the same host). It stays valid until hmc_remote_close, also when the peer is gone or has closed the
 * region; it then leads to memory that nobody else reads. Errors: HMC_UNSUPPORT. Threads: any. */
HMC_API hmc_status_t hmc_remote_map(hmc_remote_t *remote, void **pointer);

#ifdef __cplusplus
}
#endif
#endif
