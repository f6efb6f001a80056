/* One-sided operations: the target's application does nothing.
 *
 * Complete means visible: when a put returns, or its request completes, any later load, kernel or copy at the target
 * sees the bytes, and no message sent afterwards overtakes them. Every operation ends by its deadline with one status.
 * Operations in flight at the same time are not ordered among each other.
 *
 * The local side is a region of the same context (lend memory with hmc_region_register), the remote side one opened at
 * a peer. Offsets and lengths are in bytes; length 0 succeeds and moves nothing. Where both sides are the same memory
 * (a context can be its own peer), the two ranges must not overlap. All calls are thread-safe.
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
typedef struct hmc_batch hmc_batch_t;

/* ---- blocking ---------------------------------------------------------------------------------------------------- */

/* Writes `length` bytes of the local region at `offset` to the peer's region at `remote_offset`, and returns when they
 * are visible there. To a mapped peer this is a bounds check and a copy by the calling thread. */
HMC_API HMC_CHECKED hmc_status_t hmc_put(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                         uint64_t remote_offset, uint64_t length);

/* Reads `length` bytes of the peer's region at `remote_offset` into the local region at `offset`. */
HMC_API HMC_CHECKED hmc_status_t hmc_get(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                         uint64_t remote_offset, uint64_t length);

/* ---- atomics ----------------------------------------------------------------------------------------------------- */

typedef enum hmc_atomic_operation {
  HMC_ATOMIC_ADD = 1, /* wraps around */
  HMC_ATOMIC_AND = 2,
  HMC_ATOMIC_OR = 3,
  HMC_ATOMIC_XOR = 4,
  HMC_ATOMIC_SWAP = 5,         /* sets the word */
  HMC_ATOMIC_COMPARE_SWAP = 6, /* sets the word where it equals `compare` */
  HMC_ATOMIC_LOAD = 7,         /* only fetches it */
  HMC_ATOMIC_STORE = 8,        /* sets the word; nothing is fetched (0) */
} hmc_atomic_operation_t;

/* Changes the word of `width` bytes (1, 2, 4 or 8, little-endian as on its owner) at `remote_offset`, which must be a
 * multiple of `width`, in one step. In host memory it is atomic towards the owner's processors too; in device memory
 * towards all other HMC atomics. `fetched` gets the word as it was; NULL: nothing is fetched. Complete means visible,
 * as for a put. The region must give HMC_REMOTE_ATOMIC. Errors besides the common ones: HMC_INVALID_CONFIG (operation,
 * width, alignment). */
HMC_API HMC_CHECKED hmc_status_t hmc_atomic(hmc_remote_t *remote, uint64_t remote_offset,
                                            hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                            uint64_t compare, uint64_t *fetched);

/* ---- what goes with an operation --------------------------------------------------------------------------------- */

/* A 64-bit word at the target that is changed once the operation's data are visible there; not at all where the
 * operation fails. */
typedef struct hmc_signal {
  hmc_remote_t *remote;             /* a region of the same peer, with HMC_REMOTE_ATOMIC */
  uint64_t offset;                  /* a multiple of 8 */
  hmc_atomic_operation_t operation; /* HMC_ATOMIC_SWAP sets the word, HMC_ATOMIC_ADD adds to it */
  uint64_t value;
} hmc_signal_t;

#define HMC_NOTIFICATION_MAX (1 << 20) /* bytes of a notification; over RDMA 128 KiB, more answers HMC_UNSUPPORT */
#define HMC_NOTIFICATION_QUEUE 1024    /* of one peer that wait for the application, unless HMC_NOTIFICATIONS is set */

/* Called exactly once when a request is complete, from the context's service thread, or by hmc_request_free where it is
 * still due then. In the service thread it should not block, and may start further operations. Operations that it waits
 * for go on, by itself; what would wait for the service thread (hmc_context_connect, hmc_remote_open,
 * hmc_context_accept, hmc_poll and hmc_notification_receive with nothing there) answers HMC_UNSUPPORT, and
 * hmc_context_destroy does nothing. */
typedef void (*hmc_completion_callback_t)(hmc_request_t *request, hmc_status_t status, void *user);

enum {
  /* Verifies the data of a put or get end to end by CRC-32C; an operation whose bytes were damaged on the way ends
   * with HMC_CORRUPT, and its signal and notification stay away. Where the transport does not compute checksums
   * while it copies, both ends look at the bytes once more: then the target's must stay as they are until the
   * operation is complete (what its owner writes there in between counts as damage), and the region must give
   * HMC_REMOTE_READ, also for a put (HMC_DENIED). */
  HMC_OPERATION_CHECKSUM = 1,
  /* The completion is an event of the context: hmc_poll gives the request out, unless it is freed before. */
  HMC_OPERATION_EVENT = 2,
};

/* What can be set for one operation; zero in a field means the default. */
typedef struct hmc_operation_options {
  size_t size;                /* sizeof(hmc_operation_options_t) */
  uint64_t timeout_ms;        /* its own deadline; 0: the context's */
  unsigned flags;             /* HMC_OPERATION_* */
  const hmc_signal_t *signal; /* read during the call only */
  const void *notification;   /* for the target's queue (hmc_notification_receive), after data and signal; copied */
  size_t notification_size;   /* 0: none */
  hmc_completion_callback_t callback;
  void *user;     /* the callback's */
  uint64_t lease; /* the number of the lease that the operation is under, and its signal where that lies in a leased
                     region too (hmc/lease.h); 0: none */
} hmc_operation_options_t;
#define HMC_OPERATION_OPTIONS_INIT HMC_SIZED_INIT(hmc_operation_options_t)

/* ---- non-blocking ------------------------------------------------------------------------------------------------ */

/* As hmc_put and hmc_get, but return at once with a request. The local bytes must stay as they are (put) or untouched
 * (get) until the request is complete. `options` may be NULL. A failure to start returns its status and makes no
 * request. Ownership: the request is the caller's until hmc_request_free. */
HMC_API HMC_CHECKED hmc_status_t hmc_put_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                            uint64_t remote_offset, uint64_t length,
                                            const hmc_operation_options_t *options, hmc_request_t **request);
HMC_API HMC_CHECKED hmc_status_t hmc_get_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                            uint64_t remote_offset, uint64_t length,
                                            const hmc_operation_options_t *options, hmc_request_t **request);

/* hmc_atomic as a request; `fetched` (may be NULL) must stay valid until it is complete. */
HMC_API HMC_CHECKED hmc_status_t hmc_atomic_nb(hmc_remote_t *remote, uint64_t remote_offset,
                                               hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                               uint64_t compare, uint64_t *fetched,
                                               const hmc_operation_options_t *options, hmc_request_t **request);

/* ---- blocking, with options -------------------------------------------------------------------------------------- */

/**
 * As hmc_put and hmc_get, with a deadline, a signal and a notification of their own.
 *
 * \param local The local region.
 * \param offset Where the bytes are in it.
 * \param remote The peer's region.
 * \param remote_offset Where they go, or come from.
 * \param length How many.
 * \param options As for hmc_put_nb; may be NULL.
 * \return The final status of the operation, or why it did not start.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_put_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                              uint64_t remote_offset, uint64_t length,
                                              const hmc_operation_options_t *options);
HMC_API HMC_CHECKED hmc_status_t hmc_get_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                              uint64_t remote_offset, uint64_t length,
                                              const hmc_operation_options_t *options);

/* hmc_atomic with options. */
HMC_API HMC_CHECKED hmc_status_t hmc_atomic_with(hmc_remote_t *remote, uint64_t remote_offset,
                                                 hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                                 uint64_t compare, uint64_t *fetched,
                                                 const hmc_operation_options_t *options);

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* One piece of a batch. */
typedef struct hmc_segment {
  uint64_t local_offset, remote_offset, length;
} hmc_segment_t;

/* A block of `count[2]` x `count[1]` x `count[0]` elements; count 0 stands for 1. Along dimension 0 the elements lie
 * one behind the other; `stride[0]` is the distance in bytes from one row (dimension 1) to the next, `stride[1]` from
 * one plane (dimension 2) to the next. */
typedef struct hmc_strided {
  uint64_t element; /* bytes of an element */
  uint64_t count[3];
  uint64_t local_offset, local_stride[2];
  uint64_t remote_offset, remote_stride[2];
} hmc_strided_t;

/* Prepares a list of pieces between two regions, to be moved as one operation, as often as wanted. The list is copied;
 * bounds are checked here, once. Ownership: the caller's until hmc_batch_free; the regions must stay open meanwhile.
 * Errors: HMC_OUT_OF_RANGE (the text names the piece), HMC_INVALID_CONFIG (no pieces, two regions of different
 * contexts), HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create(hmc_region_t *local, hmc_remote_t *remote,
                                                  const hmc_segment_t *segments, size_t count, hmc_batch_t **batch);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create_strided(hmc_region_t *local, hmc_remote_t *remote,
                                                          const hmc_strided_t *shape, hmc_batch_t **batch);

enum {
  HMC_PIECE_GET = 1, /* from the peer; else it is put */
};

/* One piece of a batch over several regions. */
typedef struct hmc_piece {
  hmc_region_t *local;
  hmc_remote_t *remote; /* of any peer of the context */
  uint64_t local_offset, remote_offset, length;
  unsigned flags; /* HMC_PIECE_* */
} hmc_piece_t;

/**
 * Prepares a list of pieces between any local regions and regions of any peers of one context, puts and gets mixed, to
 * be moved as one operation by hmc_batch_start. The list is copied and checked here, once.
 *
 * Ownership: the caller's until hmc_batch_free; the regions must stay open meanwhile.
 *
 * \param pieces The pieces.
 * \param count How many.
 * \param batch Gets the batch.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, no pieces, unknown flags, regions of different contexts.
 * \return HMC_OUT_OF_RANGE A piece runs past one of its regions; the text names it.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create_pieces(const hmc_piece_t *pieces, size_t count, hmc_batch_t **batch);

/**
 * Moves all pieces of a batch over several regions. Signal and notification go to the peer of the first piece, once all
 * pieces are complete at all peers; they stay away where one failed.
 *
 * \param batch A batch of hmc_batch_create_pieces.
 * \param options As for hmc_put_nb; may be NULL.
 * \param request Gets the request. It is complete when all pieces are; its status is that of the first failure.
 * \return As hmc_put_nb; the blocking form returns the final status.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_start_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                    hmc_request_t **request);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_start(hmc_batch_t *batch, const hmc_operation_options_t *options);

/* NULL is allowed. No request of the batch may be under way. */
HMC_API void hmc_batch_free(hmc_batch_t *batch);

/* The bytes one start moves. */
HMC_API uint64_t hmc_batch_size(const hmc_batch_t *batch);

/* Moves all pieces, to the peer or from it; complete when all are. A batch may be under way several times at once. */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put(hmc_batch_t *batch);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get(hmc_batch_t *batch);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put_with(hmc_batch_t *batch, const hmc_operation_options_t *options);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get_with(hmc_batch_t *batch, const hmc_operation_options_t *options);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                  hmc_request_t **request);
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                  hmc_request_t **request);

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* HMC_IN_PROGRESS, or the final status. Never blocks; moves things on. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_request_test(hmc_request_t *request);

/* Waits until the request is complete and returns its final status. At its deadline the operation ends with
 * HMC_TIMEOUT; as with cancel, no byte of the caller's memory is read or written by it any more then. Threads: any,
 * several at once. */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait(hmc_request_t *request);

/* Wait for all of `count` requests: HMC_SUCCESS, or the status of the first one in the list that failed. NULL entries
 * are passed over. */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_all(hmc_request_t *const *requests, size_t count);

/* Waits until one of `count` requests is complete: its place in the list goes to `index`, its final status is returned.
 * Errors of the call itself: HMC_NOT_FOUND, and *index = count, where all entries are NULL. */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_any(hmc_request_t *const *requests, size_t count, size_t *index);

/* Waits until at least one is complete and lists the places of all that are: `indices` (room for `count`), `*done` of
 * them. HMC_NOT_FOUND where all entries are NULL; the requests' own statuses are hmc_request_test's. */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_some(hmc_request_t *const *requests, size_t count, size_t *indices,
                                                       size_t *done);

/**
 * As the calls above, for a time of the caller's own: at its end the requests go on, and can be waited for again.
 *
 * \param timeout_ms How long to wait at most; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return As the call without a time.
 * \return HMC_IN_PROGRESS The time has passed and what was waited for is not complete; no index is given then.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_for(hmc_request_t *request, uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_all_for(hmc_request_t *const *requests, size_t count,
                                                          uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_any_for(hmc_request_t *const *requests, size_t count, size_t *index,
                                                          uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_some_for(hmc_request_t *const *requests, size_t count,
                                                           size_t *indices, size_t *done, uint64_t timeout_ms);

/* Ends the operation with HMC_CANCELLED unless it is complete already, and returns its final status. When it returns,
 * the operation does not touch the caller's memory any more; at the target a part of a put may have arrived. Threads:
 * any. */
HMC_API hmc_status_t hmc_request_cancel(hmc_request_t *request);

/* Gives the request back, cancelling it first where it is not complete. Its callback has been called when this returns:
 * one that is due is called here, and one that runs in the service thread is waited for, so the caller should hold
 * nothing that the callback needs. In a callback it waits for no other one. NULL is allowed. Threads: no other call may
 * use the request. */
HMC_API void hmc_request_free(hmc_request_t *request);

/* Waits until every operation started to that peer by now is complete, at most `timeout_ms` (0: the context's); what
 * they came to is told by their requests. Errors: HMC_TIMEOUT. */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_flush(hmc_peer_t *peer, uint64_t timeout_ms);

/* An eventfd that becomes readable whenever a request of the context completes or a notification arrives, for poll
 * loops: read it, then test the
 * requests. Ownership: the context's. The first call begins the counting; a completion right before it may be counted
 * too. Errors: HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_context_event_descriptor(hmc_context_t *context, int *descriptor);

/* ---- notifications ----------------------------------------------------------------------------------------------- */

/* Takes the oldest notification that any peer has sent into `data` (`capacity` bytes); `size` gets its size, `peer`
 * (may be NULL) the sender, or NULL where that peer is closed. Waits at most `timeout_ms` (0: the context's).
 * Errors: HMC_TIMEOUT, HMC_OUT_OF_RANGE (larger than `capacity`; it stays, *size tells). A sender whose notification
 * finds HMC_NOTIFICATION_QUEUE waiting ends with HMC_NO_MEMORY; its data have arrived. */
HMC_API HMC_CHECKED hmc_status_t hmc_notification_receive(hmc_context_t *context, void *data, size_t capacity,
                                                          size_t *size, hmc_peer_t **peer, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
