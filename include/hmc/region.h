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
HMC_API HMC_CHECKED hmc_status_t hmc_region_allocate(hmc_context_t *context, hmc_memory_t memory, size_t size,
                                                     const char *name, unsigned rights, hmc_region_t **region);

/* Makes a region of memory that the caller owns and keeps until hmc_region_close; nothing is copied. The memory may
 * be of any kind: the pointer is asked. Where adapters need the memory pinned, regions without a name share what is
 * pinned for a range that contains theirs. It stays so after the last of them where hmc_memory_allocate gave the
 * memory, until that is freed (HMC_REGISTRATION_CACHE), so that lending it again costs nothing; memory from
 * elsewhere is unpinned when its last region closes, for HMC hooks no allocator and would not learn of its end. What
 * peers reach is pinned for each region by itself, and its key ends with it. Errors and the rest as for
 * hmc_region_allocate. */
HMC_API HMC_CHECKED hmc_status_t hmc_region_register(hmc_context_t *context, void *pointer, size_t size,
                                                     const char *name, unsigned rights, hmc_region_t **region);

/* Called when bytes that a peer put into a region, or a word of it that a peer changed, can be read here: for programs
 * that sleep until their memory changes. Not called for what peers write past this process, by a mapping of the region or
 * an RDMA adapter. Several changes may make one call.
 * Threads: a service thread, which does nothing else meanwhile: it must return at once, and call nothing of HMC. It is not
 * called any more once the region is closed. */
typedef void (*hmc_region_written_t)(void *user);

/* What can be set for a region. Begin with HMC_REGION_OPTIONS_INIT, which sets the defaults that are given below. */
typedef struct hmc_region_options {
  size_t size;         /* sizeof(hmc_region_options_t), by HMC_REGION_OPTIONS_INIT */
  hmc_memory_t memory; /* what to allocate, or what a descriptor holds; CPU. A pointer is asked instead */
  uint64_t bytes;      /* of the region; 0 with a descriptor: up to its end */

  /* Where the memory comes from: a pointer, a descriptor, or (NULL and -1) HMC allocates it. */
  void *pointer;              /* memory of the caller, as for hmc_region_register */
  int descriptor;             /* a memfd or a dma-buf that the host can map; HMC keeps a copy of the descriptor */
  uint64_t descriptor_offset; /* where the region begins in it: a multiple of its page size */

  void *address;      /* host memory: where to map it. The caller has reserved that range; see hmc_region_create */
  uint64_t page_size; /* of an allocation of host memory: 0 for the system's, 2 MiB (or 1 GiB) for huge pages */
  int numa_node;      /* where allocated host memory should lie; -1: where it is first touched */
  const char *name;   /* for hmc_remote_open; NULL: only those open it who import its descriptor (hmc_region_export) */
  unsigned rights;    /* HMC_REMOTE_*, for peers; 0: none, the region is for this side's use */
  unsigned flags;     /* HMC_REGION_* */

  hmc_region_written_t written; /* NULL: nobody is told */
  void *written_user;           /* what it gets */
} hmc_region_options_t;

#define HMC_REGION_OPTIONS_INIT                                                                                        \
  { sizeof(hmc_region_options_t), {HMC_MEMORY_CPU, 0}, 0, NULL, -1, 0, NULL, 0, -1, NULL, 0, 0, NULL, NULL }

enum {
  HMC_REGION_POPULATE = 1, /* allocated host memory is committed by the call, not by the first touch of each page */
  HMC_REGION_LEASED = 2,   /* peers reach it under leases only (hmc/lease.h) */
};

/* Makes a region as `options` say.
 *
 * Allocated host memory is zeroed and sparse: pages are committed when they are first touched, so that a heap may be
 * larger than what is used of it. Peers on the same host map it.
 *
 * With `address` the memory is mapped exactly there, in place of what is mapped there. The whole range must have been
 * reserved by the caller, for example by mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0).
 * When the region ends, the range is reserved in the same way again.
 *
 * A memfd must be sealed against shrinking (F_SEAL_SHRINK), because a file that is cut off kills all who touch it. Peers
 * on the same host map the descriptor's file and can read the parts of it outside the region too.
 *
 * Ownership: the region is the context's until its last reference is given back (hmc_region_release); the call gives
 *   one. Strings are copied. The descriptor stays the caller's.
 * Threads: any.
 * Blocking: no, but for the time that the kernel takes to commit memory (HMC_REGION_POPULATE).
 *
 * context: where the region belongs.
 * options: see above; NULL is refused.
 * region: gets the region.
 *
 * HMC_INVALID_CONFIG: no bytes, more than one source, unknown rights, flags or size of the struct, a name that is too
 *   long or in use, a page size that does not exist, an address that is not aligned or not reserved, a descriptor that
 *   is neither a memfd nor a dma-buf, or that is not sealed.
 * HMC_OUT_OF_RANGE: the descriptor or the allocation around the pointer is smaller than the region.
 * HMC_NOT_FOUND: no such device or NUMA node.
 * HMC_NO_MEMORY: memory, huge pages or descriptors are used up.
 * HMC_UNSUPPORT: this kind of memory cannot be allocated, placed or mapped in that way. */
HMC_API HMC_CHECKED hmc_status_t hmc_region_create(hmc_context_t *context, const hmc_region_options_t *options,
                                                   hmc_region_t **region);

/* Adds a reference, so that the region and its memory stay until as many references are given back.
 * Threads: any, while a reference is held. NULL is allowed. */
HMC_API void hmc_region_retain(hmc_region_t *region);

/* Gives a reference back. The last one ends the region as hmc_region_close does and frees it. NULL is allowed.
 * Threads: any. Blocking: the last one, as hmc_region_close. */
HMC_API void hmc_region_release(hmc_region_t *region);

/* Ends a region and gives one reference back. When it returns no peer reads or writes the memory any more, and later
 * operations on it answer HMC_STALE. Where others hold references (hmc_region_retain), the memory stays theirs to use
 * locally until they release it. NULL is allowed.
 * Threads: any; where this is the last reference, no operation of this side may use the region meanwhile. */
HMC_API void hmc_region_close(hmc_region_t *region);

#define HMC_REGION_DESCRIPTOR_MAX 1024 /* bytes of a region's descriptor at most */

/* Describes a region in bytes that any program may carry to a peer of this context (by a message, a store, an
 * allgather), where hmc_remote_import makes a remote region of them. One descriptor serves all peers. It names the
 * region and where it lies, holds no secret, and opens nothing to who is not a connected peer. It ends with the region.
 * Threads: any. Blocking: no.
 *
 * region: one with rights for peers; it need not have a name.
 * descriptor: gets the bytes; NULL with capacity 0 asks for the size only.
 * capacity: its room in bytes; HMC_REGION_DESCRIPTOR_MAX is always enough.
 * bytes: gets the number of bytes.
 *
 * HMC_INVALID_CONFIG: an argument is NULL, or peers have no rights to the region.
 * HMC_OUT_OF_RANGE: the capacity is too small; *bytes tells the size. */
HMC_API HMC_CHECKED hmc_status_t hmc_region_export(hmc_region_t *region, void *descriptor, size_t capacity,
                                                   size_t *bytes);

/* The region's memory. The pointer is a device address for device memory. Threads: any. */
HMC_API void *hmc_region_pointer(const hmc_region_t *region);
HMC_API size_t hmc_region_size(const hmc_region_t *region);
HMC_API hmc_memory_t hmc_region_memory(const hmc_region_t *region);

/* Opens the peer's region of that name. Blocks for one round trip, at most `timeout_ms` (0: the context's).
 * Ownership: the handle is the peer's until hmc_remote_close. Errors: HMC_NOT_FOUND (no region of that name there),
 * HMC_TIMEOUT, HMC_PEER_LOST. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_open(hmc_peer_t *peer, const char *name, uint64_t timeout_ms,
                                                 hmc_remote_t **remote);

/* Makes a remote region of a descriptor that the peer's context made by hmc_region_export. Asks the peer nothing by shm
 * and tcp; rdma and ucx, whose keys are made for each connection, take one round trip. Whether the region is still open
 * is known by the first operation.
 * Ownership: as for hmc_remote_open. Threads: any. Blocking: by rdma and ucx, at most for the context's timeout.
 *
 * peer: the peer whose context exported the region.
 * descriptor, bytes: what hmc_region_export gave.
 * remote: gets the remote region.
 *
 * HMC_CORRUPT: the bytes are not a descriptor.
 * HMC_INVALID_CONFIG: an argument is NULL, or the descriptor is of another context than the peer's.
 * HMC_STALE: the region has been closed (where that can be seen).
 * HMC_PEER_LOST, HMC_TIMEOUT, HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_import(hmc_peer_t *peer, const void *descriptor, size_t bytes,
                                                   hmc_remote_t **remote);

/* Gives the handle back, and closes its mappings (hmc_remote_map_range); NULL is allowed. Threads: no operation may use
 * it meanwhile. */
HMC_API void hmc_remote_close(hmc_remote_t *remote);

HMC_API size_t hmc_remote_size(const hmc_remote_t *remote);
HMC_API hmc_memory_t hmc_remote_memory(const hmc_remote_t *remote);

/* A pointer to the peer's memory, where this process can reach it by plain loads and stores (host memory that HMC
 * allocated, on the same host). It stays valid until hmc_remote_close, also when the peer is gone or has closed the
 * region; it then leads to memory that nobody else reads. Errors: HMC_UNSUPPORT. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_map(hmc_remote_t *remote, void **pointer);

#ifdef __cplusplus
}
#endif
#endif
