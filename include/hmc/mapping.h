/* Mappings: a peer's region, or a part of it, in this process's address space, where the program wants it.
 *
 * Through a mapping the program loads and stores by itself, without a call, and has to look whether the region is still
 * there: hmc_mapping_is_live costs one load. */
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

/* What can be set for a mapping. Begin with HMC_MAPPING_OPTIONS_INIT. */
typedef struct hmc_mapping_options {
  size_t size;     /* sizeof(hmc_mapping_options_t), by HMC_MAPPING_OPTIONS_INIT */
  uint64_t offset; /* where in the region the mapping begins */
  uint64_t length; /* bytes; 0: up to the region's end */
  void *address;   /* where `offset` is to be; NULL: anywhere. See hmc_remote_map_range */
  unsigned flags;  /* HMC_MAPPING_* */
} hmc_mapping_options_t;

#define HMC_MAPPING_OPTIONS_INIT                                                                                       \
  { sizeof(hmc_mapping_options_t), 0, 0, NULL, 0 }

enum {
  HMC_MAPPING_READ_ONLY = 1, /* stores through the mapping fault, also where the region may be written */
};

/* Maps a peer's region, or a part of it. The same part may be mapped several times.
 *
 * With `address` the bytes are mapped exactly there, in place of what is mapped there, so that a program can lay the
 * regions of all peers out in one range of addresses. The caller has reserved the whole range, rounded to pages of the
 * region (see hmc_region_create); when the mapping is closed, it is reserved again, without access. `address` and
 * `offset` must have the same distance from a page's start.
 *
 * Device memory is mapped where its kind lets a device of this process reach it; the pointer is then a device address,
 * for kernels and hmc_memory_copy, and cannot be placed.
 *
 * When the peer dies or closes the region the mapping stays readable and writable, and leads to memory that nobody else
 * uses any more.
 *
 * Ownership: the mapping is the remote region's until hmc_mapping_close; hmc_remote_close, and hmc_peer_close, close it
 *   too.
 * Threads: any. Blocking: at most for the context's timeout, for one answer of the peer's service thread.
 *
 * remote: the region.
 * options: what to map, and where; NULL: all of it, anywhere.
 * mapping: gets the mapping.
 *
 * HMC_INVALID_CONFIG: an argument is NULL, unknown flags or size of the struct, an address that is not aligned or not
 *   reserved.
 * HMC_OUT_OF_RANGE: the part runs past the region.
 * HMC_UNSUPPORT: this process cannot reach the memory by loads and stores: another host, memory that the peer did not
 *   allocate by HMC or give as a descriptor, or a device that cannot; the text says which.
 * HMC_STALE: the region is closed.
 * HMC_DENIED: the region gives peers no right to read.
 * HMC_PEER_LOST, HMC_TIMEOUT, HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_map_range(hmc_remote_t *remote, const hmc_mapping_options_t *options,
                                                      hmc_mapping_t **mapping);

/* Unmaps; NULL is allowed. Threads: nobody may use the memory any more. */
HMC_API void hmc_mapping_close(hmc_mapping_t *mapping);

/* Where the bytes are; a device address for device memory. NULL for NULL. Threads: any. */
HMC_API void *hmc_mapping_pointer(const hmc_mapping_t *mapping);

/* The bytes that are mapped. 0 for NULL. Threads: any. */
HMC_API uint64_t hmc_mapping_length(const hmc_mapping_t *mapping);

/* How a mapping begins; for hmc_mapping_is_live alone. */
struct hmc_mapping_head {
  const uint32_t *word; /* the owner's; never NULL */
  uint32_t value;       /* what it holds while the region is open and the peer is connected */
};

/* Not 0 while the region is open and the peer is connected: one load. What was stored before it turned 0 may or may not
 * have been seen. Threads: any. */
static inline int hmc_mapping_is_live(const hmc_mapping_t *mapping) {
  const struct hmc_mapping_head *head = (const struct hmc_mapping_head *)(const void *)mapping;
  return __atomic_load_n(head->word, __ATOMIC_ACQUIRE) == head->value;
}

#ifdef __cplusplus
}
#endif
#endif
