/* Mappings: a peer's region, or a part of it, in this process's address space, where the program wants it.
 *
 * Through a mapping the program loads and stores by itself, without a call. It must check by itself whether the region
 * is still open: hmc_mapping_is_live costs one load. */
#ifndef HMC_MAPPING_H
#define HMC_MAPPING_H

#include <hmc/export.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_mapping hmc_mapping_t;

/* Options of a mapping. Begin with HMC_MAPPING_OPTIONS_INIT. */
typedef struct hmc_mapping_options {
  size_t size;     /* sizeof(hmc_mapping_options_t), by HMC_MAPPING_OPTIONS_INIT */
  uint64_t offset; /* where in the region the mapping begins */
  uint64_t length; /* bytes; 0: up to the region's end */
  void *address;   /* where to map `offset`; NULL: anywhere. See hmc_remote_map_range */
  unsigned flags;  /* HMC_MAPPING_* */
} hmc_mapping_options_t;

#define HMC_MAPPING_OPTIONS_INIT                                                                                       \
  { sizeof(hmc_mapping_options_t), 0, 0, NULL, 0 }

enum {
  HMC_MAPPING_READ_ONLY = 1, /* stores through the mapping fault, also where the region may be written */
};

/**
 * Maps a peer's region, or a part of it. The same part may be mapped several times.
 *
 * With `address` the bytes are mapped exactly there, in place of what is mapped there, so that a program can lay out
 * the regions of all peers in one range of addresses. The caller has reserved the whole range, rounded to pages of the
 * region (see hmc_region_create); when the mapping is closed, the range is reserved again, without access. `address`
 * and `offset` must have the same distance from the start of a page.
 *
 * Device memory is mapped where a device of this process can reach it. The pointer is then a device address, for
 * kernels and hmc_memory_copy, and cannot be placed.
 *
 * When the peer dies or closes the region, the mapping stays readable and writable, and leads to memory that nobody
 * else uses any more.
 *
 * Ownership: the mapping belongs to the remote region until hmc_mapping_close; hmc_remote_close and hmc_peer_close
 * close it too. Threads: any. Blocking: for one answer of the peer's service thread, at most for the context's timeout.
 *
 * \param remote The region.
 * \param options What to map, and where; NULL: all of it, anywhere.
 * \param mapping Gets the mapping.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, unknown flags or size of the struct, or an address that is not aligned or not
 * reserved.
 * \return HMC_OUT_OF_RANGE The part runs past the region.
 * \return HMC_UNSUPPORT This process cannot reach the memory by loads and stores: it lies on another host, or the peer
 * neither allocated it by HMC nor gave it as a descriptor, or the device cannot; the text says which.
 * \return HMC_STALE The region is closed.
 * \return HMC_DENIED The region gives peers no right to read.
 * \return HMC_PEER_LOST The peer is gone.
 * \return HMC_TIMEOUT The peer did not answer in time.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_map_range(hmc_remote_t *remote, const hmc_mapping_options_t *options,
                                                      hmc_mapping_t **mapping);

/**
 * Unmaps. Threads: nobody may use the memory any more.
 *
 * \param mapping The mapping; NULL is allowed.
 */
HMC_API void hmc_mapping_close(hmc_mapping_t *mapping);

/**
 * Where the bytes are. Threads: any.
 *
 * \param mapping The mapping.
 * \return The address, of a device for device memory; NULL for NULL.
 */
HMC_API void *hmc_mapping_pointer(const hmc_mapping_t *mapping);

/**
 * How many bytes are mapped. Threads: any.
 *
 * \param mapping The mapping.
 * \return The bytes; 0 for NULL.
 */
HMC_API uint64_t hmc_mapping_length(const hmc_mapping_t *mapping);

/* How a mapping begins; for hmc_mapping_is_live alone. */
struct hmc_mapping_head {
  const uint32_t *word; /* the owner's; never NULL */
  uint32_t value;       /* what it holds while the region is open and the peer is connected */
};

/**
 * Tells whether the region is still open and the peer connected. Costs one load. What was stored shortly before the
 * answer turned 0 may or may not have been seen. Threads: any.
 *
 * \param mapping The mapping.
 * \return Not 0 while it is.
 */
static inline int hmc_mapping_is_live(const hmc_mapping_t *mapping) {
  const struct hmc_mapping_head *head = (const struct hmc_mapping_head *)(const void *)mapping;
  return __atomic_load_n(head->word, __ATOMIC_ACQUIRE) == head->value;
}

#ifdef __cplusplus
}
#endif
#endif
