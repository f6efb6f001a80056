/* Leases: memory that an owner lets a peer reach for a time, and takes back at any moment.
 *
 * A region made with HMC_REGION_LEASED is reached under leases only. The owner grants one peer a lease on ranges or
 * blocks of it and tells the peer its number, by whatever way the two talk; the peer names that number in the options of
 * its operations (hmc_operation_options_t.lease). Every access under a lease is made by the owner's service thread,
 * which looks at the lease for each piece: peers get no mapping of such a region and no key that a device would honour.
 * So a revoked lease is over, whatever the peer is doing, and the memory can be used for something else at once. */
#ifndef HMC_LEASE_H
#define HMC_LEASE_H

#include <hmc/export.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_lease hmc_lease_t;

/* Bytes of a region. */
typedef struct hmc_range {
  uint64_t offset, length;
} hmc_range_t;

/* What a lease is on, and for how long. Zero in a field means the default. Begin with HMC_LEASE_OPTIONS_INIT. */
typedef struct hmc_lease_options {
  size_t size;               /* sizeof(hmc_lease_options_t) */
  const hmc_range_t *ranges; /* ranges of the region, in any order; read during the call only */
  size_t range_count;
  const uint64_t *blocks; /* or numbers of blocks: block n lies at n * block_size */
  size_t block_count;     /* neither ranges nor blocks: the whole region */
  uint64_t block_size;
  unsigned rights;      /* HMC_REMOTE_*, of those that the region gives; 0: all of them */
  uint64_t duration_ms; /* the lease ends by itself after so long; 0: it does not */
} hmc_lease_options_t;
#define HMC_LEASE_OPTIONS_INIT HMC_SIZED_INIT(hmc_lease_options_t)

/* Grants a peer a lease. Ranges and blocks may overlap; a transfer may cross those that touch. Thousands of leases may
 * live at a time, several on the same bytes, and each costs the peer's operations one look into a table.
 *
 * Ownership: the lease is the caller's until hmc_lease_revoke, also when it has ended by itself, when its region is
 *   closed or its peer is gone.
 * Threads: any. Blocking: no.
 *
 * region: one of this context, made with HMC_REGION_LEASED.
 * peer: who may use it; a peer of the same context.
 * options: see above; NULL: all of the region, with all its rights, without an end.
 * lease: gets the lease.
 *
 * HMC_INVALID_CONFIG: an argument is NULL, the region or the peer is of another context, the region was made without
 *   HMC_REGION_LEASED, blocks without a size, or both ranges and blocks.
 * HMC_OUT_OF_RANGE: a range or a block runs past the region; the text names it.
 * HMC_DENIED: the region does not give these rights.
 * HMC_STALE: the region is closed.
 * HMC_PEER_LOST: the peer is gone.
 * HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_lease_grant(hmc_region_t *region, hmc_peer_t *peer,
                                                 const hmc_lease_options_t *options, hmc_lease_t **lease);

/* The lease's number, for the peer; never 0, and not used again for a long time. Threads: any. */
HMC_API uint64_t hmc_lease_number(const hmc_lease_t *lease);

/* Takes a lease back and frees it. When it returns, no byte can be written or read under it any more, also when the peer
 * is stopped, dead or lies; operations under it answer HMC_STALE. NULL is allowed.
 *
 * Threads: any, callbacks included.
 * Blocking: it waits for this process's own service thread only, until that has done with the piece it is at: less than
 *   a millisecond where a processor is free. It never waits for the peer or the network. Memory of a device waits for
 *   the device's copy of that piece. */
HMC_API void hmc_lease_revoke(hmc_lease_t *lease);

#ifdef __cplusplus
}
#endif
#endif
