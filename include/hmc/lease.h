/* Leases: memory that an owner lets a peer reach for a time, and takes back at any moment.
 *
 * Peers reach a region made with HMC_REGION_LEASED under leases only. The owner grants one peer a lease on ranges or
 * blocks of it and sends the peer the lease's number in any way it likes. The peer names that number in the options of
 * its operations (hmc_operation_options_t.lease). The owner's service thread makes every access under a lease and
 * checks the lease for each part of it: peers get no mapping of such a region and no key that a device would honour. So
 * a revoked lease is over, whatever the peer does, and the memory can be used again at once. */
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

/* Options of a lease. Zero in a field means the default. Begin with HMC_LEASE_OPTIONS_INIT. */
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

/**
 * Grants a peer a lease. Ranges and blocks may overlap, and a transfer may cross those that touch. Thousands of leases
 * may exist at a time, several of them on the same bytes; each operation of the peer costs one lookup in a table.
 *
 * Ownership: the lease is the caller's until hmc_lease_revoke, also when it has ended by itself, when its region is
 * closed or its peer is gone. Threads: any. Never blocks.
 *
 * \param region A region of this context, made with HMC_REGION_LEASED.
 * \param peer Who may use it; a peer of the same context.
 * \param options The options; NULL: the whole region, with all its rights, without an end.
 * \param lease Gets the lease.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or region or peer are of another context.
 * \return HMC_INVALID_CONFIG A region without HMC_REGION_LEASED, blocks without a size, or both ranges and blocks.
 * \return HMC_OUT_OF_RANGE A range or a block runs past the region; the text names it.
 * \return HMC_DENIED The region does not give these rights.
 * \return HMC_STALE The region is closed.
 * \return HMC_PEER_LOST The peer is gone.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_lease_grant(hmc_region_t *region, hmc_peer_t *peer,
                                                 const hmc_lease_options_t *options, hmc_lease_t **lease);

/**
 * The number by which a peer names a lease. A number is not used again for a long time. Threads: any.
 *
 * \param lease The lease.
 * \return Its number, never 0.
 */
HMC_API uint64_t hmc_lease_number(const hmc_lease_t *lease);

/**
 * Revokes a lease and frees it. When the call returns, no byte can be written or read under it any more, also when
 * the peer is stopped, dead or lies; operations under it return HMC_STALE.
 *
 * Threads: any, callbacks included. Blocking: it waits for this process's own service thread only, until that has
 * finished the current part of a transfer: less than a millisecond where a processor is free. It never waits for the
 * peer or the network. For memory of a device it waits for the device's copy of that part.
 *
 * \param lease The lease; NULL is allowed.
 */
HMC_API void hmc_lease_revoke(hmc_lease_t *lease);

#ifdef __cplusplus
}
#endif
#endif
