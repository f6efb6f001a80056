/* One-sided operations: the target's application does nothing.
 *
 * Complete means visible: when a put returns, or its request completes, any later load, kernel or copy at the target sees the
 * bytes, and no message sent afterwards overtakes them. Every operation ends by its deadline with one status. Operations in
 * flight at the same time are not ordered among each other.
 *
 * The local side is a region of the same context (lend memory with hmc_region_register), the remote side one opened at a peer.
 * Offsets and lengths are in bytes; length 0 succeeds and moves nothing. All calls are thread-safe.
 *
 * Errors common to all: HMC_OUT_OF_RANGE (offset + length past either region), HMC_STALE (the peer closed its region),
 * HMC_DENIED (the region's rights), HMC_TIMEOUT, HMC_PEER_LOST, HMC_CANCELLED (the peer was closed here),
 * HMC_INVALID_CONFIG (NULL). */
#ifndef HMC_OPERATION_H
#define HMC_OPERATION_H

#include <hmc/export.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_request hmc_request_t;

/* Writes `length` bytes of the local region at `offset` to the peer's region at `remote_offset`, and returns when they are
 * visible there. To a mapped peer this is a bounds check and a copy by the calling thread. */
HMC_API hmc_status_t hmc_put(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                             uint64_t length);

/* Reads `length` bytes of the peer's region at `remote_offset` into the local region at `offset`. */
HMC_API hmc_status_t hmc_get(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                             uint64_t length);

/* What can be set for one operation; zero in a field means the default. */
typedef struct hmc_operation_options {
  uint64_t timeout_ms; /* its own deadline; 0: the context's */
} hmc_operation_options_t;

/* As hmc_put and hmc_get, but return at once with a request. The local bytes must stay as they are (put) or untouched (get)
 * until the request is complete. `options` may be NULL. A failure to start returns its status and makes no request.
 * Ownership: the request is the caller's until hmc_request_free. */
HMC_API hmc_status_t hmc_put_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                                uint64_t length, const hmc_operation_options_t *options, hmc_request_t **request);
HMC_API hmc_status_t hmc_get_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                                uint64_t length, const hmc_operation_options_t *options, hmc_request_t **request);

/* HMC_IN_PROGRESS, or the final status. Never blocks; moves things on. Threads: any. */
HMC_API hmc_status_t hmc_request_test(hmc_request_t *request);

/* Waits until the request is complete and returns its final status. At its deadline the operation ends with HMC_TIMEOUT; as with
 * cancel, no byte of the caller's memory is read or written by it any more then. Threads: any, several at once. */
HMC_API hmc_status_t hmc_request_wait(hmc_request_t *request);

/* Ends the operation with HMC_CANCELLED unless it is complete already, and returns its final status. When it returns, the
 * operation does not touch the caller's memory any more; at the target a part of a put may have arrived. Threads: any. */
HMC_API hmc_status_t hmc_request_cancel(hmc_request_t *request);

/* Gives the request back, cancelling it first where it is not complete. NULL is allowed. Threads: no other call may use it. */
HMC_API void hmc_request_free(hmc_request_t *request);

#ifdef __cplusplus
}
#endif
#endif
