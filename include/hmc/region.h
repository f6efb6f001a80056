/* Regions: memory that peers may reach, and the peers' regions as seen from here.
 *
 * A region has a name, rights and a generation. Operations carry no addresses: a peer names a region, its generation,
 * an offset and a length, and the owner's side checks rights and bounds. Operations on a region that was closed return
 * HMC_STALE, also where a new region has the same name.
 *
 * Regions may overlap. Each has its own name, rights and end. */
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

/* ---- making regions ---------------------------------------------------------------------------------------------- */

/**
 * Allocates memory, zeroed, as a region. Peers on the same host map host memory that was allocated in this way, which
 * is the fastest way to reach it.
 *
 * Ownership: the region belongs to the context until hmc_region_close; its memory goes with it. Threads: any. Never
 * blocks.
 *
 * \param context The context.
 * \param memory Which memory.
 * \param size Its bytes.
 * \param name The region's name; copied. NULL or "": the region is for local use only, and no peer can open it.
 * \param rights What peers may do: HMC_REMOTE_*.
 * \param region Gets the region.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, size 0, unknown rights, or a name that is too long or in use.
 * \return HMC_UNSUPPORT This kind of memory does not work here.
 * \return HMC_NOT_FOUND The device does not exist.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_region_allocate(hmc_context_t *context, hmc_memory_t memory, size_t size,
                                                     const char *name, unsigned rights, hmc_region_t **region);

/**
 * Makes a region of the caller's own memory, which must stay allocated until hmc_region_close. Nothing is copied. HMC
 * asks which kind of memory the pointer belongs to.
 *
 * Network adapters need pinned memory. Regions without a name share the pin of a range that contains them. Memory of
 * hmc_memory_allocate stays pinned after its last region, until it is freed (HMC_REGISTRATION_CACHE), so that the next
 * registration costs nothing. Other memory is unpinned with its last region, because HMC hooks no allocator and would
 * not learn when it is freed. What peers reach is pinned for each region by itself, and its key ends with the region.
 *
 * Ownership, threads and blocking: as for hmc_region_allocate.
 *
 * \param context The context.
 * \param pointer The memory, of any kind.
 * \param size Its bytes.
 * \param name As for hmc_region_allocate.
 * \param rights As for hmc_region_allocate.
 * \param region Gets the region.
 * \return As hmc_region_allocate.
 * \return HMC_OUT_OF_RANGE The allocation around the pointer is smaller than the region.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_region_register(hmc_context_t *context, void *pointer, size_t size,
                                                     const char *name, unsigned rights, hmc_region_t **region);

/* Called when bytes that a peer put into a region, or a word of it that a peer changed, can be read here: for programs
 * that sleep until their memory changes. Not called for what peers write past this process, by a mapping of the region or
 * an RDMA adapter. Several changes may make one call.
 * Threads: a service thread, which does nothing else meanwhile: it must return at once, and call nothing of HMC. It is not
 * called any more once the region is closed. */
typedef void (*hmc_region_written_t)(void *user);

/* Options of a region. Begin with HMC_REGION_OPTIONS_INIT, which sets the defaults that are given below. */
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
  const char *name;   /* for hmc_remote_open; NULL: only by hmc_remote_import or hmc_remote_find */
  unsigned rights;    /* HMC_REMOTE_*, for peers; 0: none, the region is for this side's use */
  unsigned flags;     /* HMC_REGION_* */

  hmc_region_written_t written; /* NULL: none */
  void *written_user;           /* what it gets */
} hmc_region_options_t;

#define HMC_REGION_OPTIONS_INIT                                                                                        \
  { sizeof(hmc_region_options_t), {HMC_MEMORY_CPU, 0}, 0, NULL, -1, 0, NULL, 0, -1, NULL, 0, 0, NULL, NULL }

enum {
  HMC_REGION_POPULATE = 1, /* the call commits allocated host memory, not the first touch of each page */
  HMC_REGION_LEASED = 2,   /* peers reach it under leases only (hmc/lease.h) */
};

/**
 * Makes a region from options.
 *
 * Allocated host memory is zeroed and sparse: a page is committed when it is first touched, so a heap may be larger
 * than what is used of it. Peers on the same host map it.
 *
 * With `address` the memory is mapped exactly there, in place of what is mapped there. The caller must have reserved
 * the whole range, for example by mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0). When
 * the region ends, the range is reserved in the same way again.
 *
 * A memfd must be sealed against shrinking (F_SEAL_SHRINK), because a file that shrinks kills every process that
 * touches the missing part. Peers on the same host map the file of the descriptor and can read its other parts too.
 *
 * Ownership: the region belongs to the context until its last reference is given back (hmc_region_release); the call
 * gives one. Strings are copied. The descriptor stays the caller's. Threads: any. Never blocks, except for the time
 * that the kernel takes to commit memory (HMC_REGION_POPULATE).
 *
 * \param context The context.
 * \param options The options.
 * \param region Gets the region.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, no bytes, or more than one source.
 * \return HMC_INVALID_CONFIG Unknown rights or flags, a struct without its size, or a name that is too long or in use.
 * \return HMC_INVALID_CONFIG A page size that does not exist, or an address that is not aligned or not reserved.
 * \return HMC_INVALID_CONFIG A descriptor that is neither a memfd nor a dma-buf, or is not sealed.
 * \return HMC_OUT_OF_RANGE The descriptor, or the allocation around the pointer, is smaller than the region.
 * \return HMC_NOT_FOUND The device or NUMA node does not exist.
 * \return HMC_NO_MEMORY No memory, huge pages or descriptors are left.
 * \return HMC_UNSUPPORT This kind of memory cannot be allocated, placed or mapped in that way, or a newer program sets
 * a field that this library does not know.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_region_create(hmc_context_t *context, const hmc_region_options_t *options,
                                                   hmc_region_t **region);

/**
 * Adds a reference: the region and its memory stay until as many references are given back. Threads: any, while a
 * reference is held.
 *
 * \param region The region; NULL is allowed.
 */
HMC_API void hmc_region_retain(hmc_region_t *region);

/**
 * Gives a reference back. The last one ends the region as hmc_region_close does, and frees it. Threads: any. Blocking:
 * the last one, as hmc_region_close.
 *
 * \param region The region; NULL is allowed.
 */
HMC_API void hmc_region_release(hmc_region_t *region);

/**
 * Ends a region and gives one reference back. When the call returns, peers no longer read or write the memory, and
 * later operations on the region return HMC_STALE. Where other references are left (hmc_region_retain), their holders
 * can still use the memory locally.
 *
 * Threads: any. Where this is the last reference, no operation of this side may use the region at the same time.
 * Blocking: it waits for this process's threads and for copies that peers on this host have announced, never for the
 * network.
 *
 * \param region The region; NULL is allowed.
 */
HMC_API void hmc_region_close(hmc_region_t *region);

/* ---- a region's own side ----------------------------------------------------------------------------------------- */

#define HMC_REGION_DESCRIPTOR_MAX 1024 /* bytes of a region's descriptor at most */

/**
 * Describes a region in bytes that a program can carry to a peer of the context in any way (a message, a store, an
 * allgather). There hmc_remote_import makes a remote region of them. One descriptor serves all peers. It names the
 * region and where it lies and holds no secret: without a connection it opens nothing. It ends with the region.
 * Threads: any. Never blocks.
 *
 * \param region A region with rights for peers; it need not have a name.
 * \param descriptor Gets the bytes; NULL with capacity 0 asks for the size only.
 * \param capacity Its size in bytes; HMC_REGION_DESCRIPTOR_MAX is always enough.
 * \param bytes Gets the number of bytes.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or peers have no rights to the region.
 * \return HMC_OUT_OF_RANGE The capacity is too small; *bytes is the size.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_region_export(hmc_region_t *region, void *descriptor, size_t capacity,
                                                   size_t *bytes);

/**
 * A region's memory. Threads: any.
 *
 * \param region The region.
 * \return Where it begins, a device address for device memory; NULL for NULL.
 */
HMC_API void *hmc_region_pointer(const hmc_region_t *region);

/**
 * A region's size. Threads: any.
 *
 * \param region The region.
 * \return Its bytes; 0 for NULL.
 */
HMC_API size_t hmc_region_size(const hmc_region_t *region);

/**
 * The kind and device of a region's memory. Threads: any.
 *
 * \param region The region.
 * \return The memory; HMC_MEMORY_DEFAULT for NULL.
 */
HMC_API hmc_memory_t hmc_region_memory(const hmc_region_t *region);

/* ---- peers' regions ---------------------------------------------------------------------------------------------- */

/**
 * Opens a peer's region by its name. hmc_remote_open_nb does the same as a request.
 *
 * Ownership: the handle belongs to the peer until hmc_remote_close. Threads: any; in a callback it returns
 * HMC_UNSUPPORT. Blocking: for one round trip, at most for `timeout_ms`.
 *
 * \param peer The peer.
 * \param name The region's name.
 * \param timeout_ms How long to wait; 0: the context's timeout.
 * \param remote Gets the handle.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND The peer has no region of that name.
 * \return HMC_STALE Its owner closed the region at the same time.
 * \return HMC_TIMEOUT The peer did not answer in time.
 * \return HMC_PEER_LOST The peer is gone.
 * \return HMC_INVALID_CONFIG NULL.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_open(hmc_peer_t *peer, const char *name, uint64_t timeout_ms,
                                                 hmc_remote_t **remote);

/**
 * Makes a remote region of a descriptor that the peer's context made by hmc_region_export. By shm and tcp the peer is
 * not asked. By rdma and ucx, which make keys for each connection, it takes one round trip. The first operation shows
 * whether the region is still open.
 *
 * Ownership: as for hmc_remote_open. Threads: any. Blocking: by rdma and ucx, at most for the context's timeout.
 *
 * \param peer The peer whose context exported the region.
 * \param descriptor What hmc_region_export gave.
 * \param bytes Its size.
 * \param remote Gets the handle.
 * \return HMC_SUCCESS
 * \return HMC_CORRUPT The bytes are not a descriptor.
 * \return HMC_INVALID_CONFIG NULL, or the descriptor is of another context than the peer's.
 * \return HMC_STALE The region has been closed, where that can be seen.
 * \return HMC_PEER_LOST The peer is gone.
 * \return HMC_TIMEOUT The peer did not answer in time.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_import(hmc_peer_t *peer, const void *descriptor, size_t bytes,
                                                   hmc_remote_t **remote);

/**
 * hmc_remote_import for many descriptors of one peer's context: all of them, or none. By rdma and ucx one round trip
 * serves up to 32 of them.
 *
 * Ownership, threads and blocking: as hmc_remote_import.
 *
 * \param peer The peer whose context exported the regions.
 * \param descriptors What hmc_region_export gave.
 * \param bytes The size of each.
 * \param count How many; 0: nothing is done.
 * \param remotes Gets the handles; unchanged after a failure.
 * \return HMC_SUCCESS
 * \return As hmc_remote_import, for the first one that failed; the text names it.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_import_many(hmc_peer_t *peer, const void *const *descriptors,
                                                        const size_t *bytes, size_t count, hmc_remote_t **remotes);

/**
 * Finds a peer's region by an address in it, as the peer's own process knows it: for programs that exchange plain
 * addresses. Among regions that overlap it finds one that gives peers rights and holds all the bytes; of several, one
 * that begins last. hmc_remote_find_nb does the same as a request.
 *
 * Regions that were found are kept in a directory of the peer, so the next call for an address in the same region asks
 * nobody. The peer is asked again where the directory has no such region, or where the region has ended. On transports
 * other than shm this side learns of that end by the first operation that returns HMC_STALE; the next call then asks
 * again.
 *
 * Ownership: the handle belongs to the peer until hmc_remote_close. Calls share one handle; each gives a reference, and
 * closing the last one closes it. Threads: any; in a callback it returns HMC_UNSUPPORT. Blocking: where the peer is
 * asked, for one round trip, at most for `timeout_ms`.
 *
 * \param peer The peer.
 * \param address The first byte.
 * \param bytes How many bytes the region must hold from there; at least 1.
 * \param timeout_ms How long to wait; 0: the context's timeout.
 * \param remote Gets the handle.
 * \param offset Gets the offset of the address in the region.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, no bytes, or a range that leaves the address space.
 * \return HMC_NOT_FOUND No region of the peer holds these bytes and gives rights.
 * \return HMC_UNSUPPORT The peer is of an older release.
 * \return HMC_TIMEOUT The peer did not answer in time.
 * \return HMC_PEER_LOST The peer is gone.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_find(hmc_peer_t *peer, uint64_t address, uint64_t bytes,
                                                 uint64_t timeout_ms, hmc_remote_t **remote, uint64_t *offset);

/**
 * Closes a handle and its mappings (hmc_remote_map_range). Threads: no operation may use it at the same time.
 *
 * \param remote The handle; NULL is allowed.
 */
HMC_API void hmc_remote_close(hmc_remote_t *remote);

/**
 * The size of a peer's region. Threads: any.
 *
 * \param remote The region.
 * \return Its bytes; 0 for NULL.
 */
HMC_API size_t hmc_remote_size(const hmc_remote_t *remote);

/**
 * The kind and device of a peer's region, as its owner numbers devices. Threads: any.
 *
 * \param remote The region.
 * \return The memory; HMC_MEMORY_DEFAULT for NULL.
 */
HMC_API hmc_memory_t hmc_remote_memory(const hmc_remote_t *remote);

/**
 * Gives a pointer to a peer's memory, where this process can reach it by plain loads and stores: host memory that HMC
 * allocated, on the same host. The pointer stays valid until hmc_remote_close, also when the peer is gone or has closed
 * the region; then it leads to memory that nobody else reads. Threads: any.
 *
 * \param remote The region.
 * \param pointer Gets the pointer.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The memory is not mapped here.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_map(hmc_remote_t *remote, void **pointer);

#ifdef __cplusplus
}
#endif
#endif
