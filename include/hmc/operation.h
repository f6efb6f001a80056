/* One-sided operations: the application at the target does nothing.
 *
 * Complete means visible: when a put returns, or its request is complete, any later load, kernel or copy at the target
 * sees the bytes, and no message that is sent afterwards overtakes them. Every operation ends by its deadline with one
 * status. Operations that are pending at the same time have no order.
 *
 * The local side is a region of the same context (hmc_region_register), the remote side a region opened at a peer.
 * Offsets and lengths are in bytes; length 0 succeeds and moves nothing. Where both sides are the same memory (a
 * context can be its own peer), the two ranges must not overlap. Threads: any, for all calls.
 *
 * Lists of ranges that move as one operation are in hmc/batch.h, waiting for requests in hmc/request.h. This header brings
 * both.
 *
 * Results that all operations share:
 *   HMC_OUT_OF_RANGE    offset + length runs past one of the regions
 *   HMC_STALE           the peer closed its region, unmapped its memory, or revoked the lease
 *   HMC_DENIED          the region does not give the right
 *   HMC_TIMEOUT         the deadline passed
 *   HMC_PEER_LOST       the peer is gone
 *   HMC_CANCELLED       the operation was cancelled, or its peer or local region was closed on this side
 *   HMC_INVALID_CONFIG  NULL, or regions of different contexts
 *   HMC_NO_MEMORY       no memory is left, or HMC_REQUESTS requests are not freed */
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

/* ---- blocking ---------------------------------------------------------------------------------------------------- */

/**
 * Writes to a peer's region and returns when the bytes are visible there. To a mapped peer this is a bounds check and a
 * copy by the calling thread. Blocking: for at most the context's timeout.
 *
 * \param local The local region.
 * \param offset Where the bytes are in it.
 * \param remote The peer's region.
 * \param remote_offset Where they go.
 * \param length How many bytes.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_put(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                         uint64_t remote_offset, uint64_t length);

/**
 * Reads from a peer's region and returns when the bytes are there. Blocking: as hmc_put.
 *
 * \param local The local region.
 * \param offset Where the bytes go in it.
 * \param remote The peer's region.
 * \param remote_offset Where they are.
 * \param length How many bytes.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 */
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

/**
 * Changes or reads a word of a peer's region in one step. In host memory the step is atomic for the owner's processors
 * too, in device memory for all other atomics of HMC. Complete means visible, as for a put. Blocking: as hmc_put.
 *
 * \param remote The region, which must give HMC_REMOTE_ATOMIC.
 * \param remote_offset Where the word is; a multiple of `width`.
 * \param operation What happens to it.
 * \param width Its bytes: 1, 2, 4 or 8, little-endian as on its owner.
 * \param operand The value of the operation.
 * \param compare What the word must equal; for HMC_ATOMIC_COMPARE_SWAP only.
 * \param fetched Gets the word as it was; NULL: nothing is fetched.
 * \return HMC_SUCCESS, or one of the results at the head of this file.
 * \return HMC_INVALID_CONFIG Also an operation, width or alignment that does not exist.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_atomic(hmc_remote_t *remote, uint64_t remote_offset,
                                            hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                            uint64_t compare, uint64_t *fetched);

/* ---- what goes with an operation --------------------------------------------------------------------------------- */

/* A 64-bit word at the target that is changed once the data of an operation are visible there. It is not changed where
 * the operation fails. */
typedef struct hmc_signal {
  hmc_remote_t *remote;             /* a region of the same peer, with HMC_REMOTE_ATOMIC */
  uint64_t offset;                  /* a multiple of 8 */
  hmc_atomic_operation_t operation; /* HMC_ATOMIC_SWAP sets the word, HMC_ATOMIC_ADD adds to it */
  uint64_t value;
} hmc_signal_t;

#define HMC_NOTIFICATION_MAX (1 << 20) /* bytes of a notification; over RDMA 128 KiB, more answers HMC_UNSUPPORT */
#define HMC_NOTIFICATION_QUEUE 1024    /* of one peer that wait for the application, unless HMC_NOTIFICATIONS is set */

/**
 * Called exactly once when a request is complete: by the context's service thread, or by hmc_request_free where the
 * call is still due then.
 *
 * In the service thread it should not block. It may start operations, and wait for them. Calls that would wait for the
 * service thread itself return HMC_UNSUPPORT there: hmc_context_connect, hmc_remote_open, hmc_remote_find and waiting
 * for their requests; hmc_context_accept, hmc_poll and hmc_notification_receive with nothing there. hmc_context_destroy
 * does nothing there.
 *
 * \param request The request.
 * \param status Its result.
 * \param user What its options said.
 */
typedef void (*hmc_completion_callback_t)(hmc_request_t *request, hmc_status_t status, void *user);

enum {
  /* Verifies the data of a put or get end to end by CRC-32C. An operation whose bytes were damaged on the way ends with
   * HMC_CORRUPT and sends neither signal nor notification. Where the transport does not compute checksums while it
   * copies, both ends read the bytes once more: then the bytes at the target must not change until the operation is
   * complete (a write by their owner counts as damage), and the region must give HMC_REMOTE_READ, also for a put
   * (HMC_DENIED). */
  HMC_OPERATION_CHECKSUM = 1,
  /* The completion is an event of the context: hmc_poll returns the request, unless it is freed before. */
  HMC_OPERATION_EVENT = 2,
  /* The operation begins once the work is done that `stream` has when the call is made. */
  HMC_OPERATION_AFTER_STREAM = 4,
};

/* Options of an operation. Zero in a field means the default. Begin with HMC_OPERATION_OPTIONS_INIT. */
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
  hmc_memory_event_t *event;  /* the operation begins once it has come; NULL: at once. May be freed after the call */
  hmc_memory_t stream_memory; /* with HMC_OPERATION_AFTER_STREAM: the device, and its stream (NULL: the default one) */
  hmc_memory_stream_t stream;
} hmc_operation_options_t;
#define HMC_OPERATION_OPTIONS_INIT HMC_SIZED_INIT(hmc_operation_options_t)

/* ---- non-blocking ------------------------------------------------------------------------------------------------ */

/**
 * Starts a put and returns at once with a request.
 *
 * Ownership: the request is the caller's until hmc_request_free. The local bytes must not change until the request is
 * complete. Never blocks.
 *
 * \param local The local region.
 * \param offset Where the bytes are in it.
 * \param remote The peer's region.
 * \param remote_offset Where they go.
 * \param length How many bytes.
 * \param options The options; NULL: the defaults. Read during the call only.
 * \param request Gets the request.
 * \return HMC_SUCCESS The operation was started; its result is the request's.
 * \return One of the results at the head of this file; there is no request then.
 * \return HMC_UNSUPPORT The transport, or a peer of an older release, carries shorter notifications only; or a kind of
 * memory has no streams.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_put_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                            uint64_t remote_offset, uint64_t length,
                                            const hmc_operation_options_t *options, hmc_request_t **request);

/**
 * Starts a get and returns at once with a request.
 *
 * Ownership: as hmc_put_nb; nobody may touch the local bytes until the request is complete. Never blocks.
 *
 * \param local The local region.
 * \param offset Where the bytes go in it.
 * \param remote The peer's region.
 * \param remote_offset Where they are.
 * \param length How many bytes.
 * \param options As hmc_put_nb.
 * \param request Gets the request.
 * \return As hmc_put_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_get_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                            uint64_t remote_offset, uint64_t length,
                                            const hmc_operation_options_t *options, hmc_request_t **request);

/**
 * Starts an atomic, as hmc_atomic, and returns at once with a request. Never blocks.
 *
 * \param remote The region.
 * \param remote_offset Where the word is.
 * \param operation What happens to it.
 * \param width Its bytes.
 * \param operand The value of the operation.
 * \param compare For HMC_ATOMIC_COMPARE_SWAP.
 * \param fetched Gets the word as it was; must stay valid until the request is complete. NULL: nothing is fetched.
 * \param options As hmc_put_nb.
 * \param request Gets the request.
 * \return As hmc_put_nb and hmc_atomic.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_atomic_nb(hmc_remote_t *remote, uint64_t remote_offset,
                                               hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                               uint64_t compare, uint64_t *fetched,
                                               const hmc_operation_options_t *options, hmc_request_t **request);

/* ---- blocking, with options -------------------------------------------------------------------------------------- */

/**
 * hmc_put with options.
 *
 * \param local The local region.
 * \param offset Where the bytes are in it.
 * \param remote The peer's region.
 * \param remote_offset Where they go.
 * \param length How many bytes.
 * \param options As hmc_put_nb.
 * \return The result of the operation, or why it did not start.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_put_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                              uint64_t remote_offset, uint64_t length,
                                              const hmc_operation_options_t *options);

/**
 * hmc_get with options.
 *
 * \param local The local region.
 * \param offset Where the bytes go in it.
 * \param remote The peer's region.
 * \param remote_offset Where they are.
 * \param length How many bytes.
 * \param options As hmc_put_nb.
 * \return As hmc_put_with.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_get_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                                              uint64_t remote_offset, uint64_t length,
                                              const hmc_operation_options_t *options);

/**
 * hmc_atomic with options.
 *
 * \param remote The region.
 * \param remote_offset Where the word is.
 * \param operation What happens to it.
 * \param width Its bytes.
 * \param operand The value of the operation.
 * \param compare For HMC_ATOMIC_COMPARE_SWAP.
 * \param fetched Gets the word as it was; NULL: nothing is fetched.
 * \param options As hmc_put_nb.
 * \return As hmc_put_with.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_atomic_with(hmc_remote_t *remote, uint64_t remote_offset,
                                                 hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                                 uint64_t compare, uint64_t *fetched,
                                                 const hmc_operation_options_t *options);

/* ---- notifications ----------------------------------------------------------------------------------------------- */

/**
 * Takes the oldest notification that any peer has sent. A sender whose peer does not take its notifications waits for
 * its own deadline. Blocking: for at most `timeout_ms`.
 *
 * \param context The context.
 * \param data Gets the bytes.
 * \param capacity Its size in bytes.
 * \param size Gets the notification's size.
 * \param peer Gets the sender, or NULL where that peer is closed; may be NULL.
 * \param timeout_ms How long to wait; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT None came in time.
 * \return HMC_OUT_OF_RANGE It is larger than `capacity` and stays in the queue; *size is its size.
 * \return HMC_CANCELLED hmc_context_interrupt was called, or the context ends.
 * \return HMC_UNSUPPORT This is a callback, and none is there.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_notification_receive(hmc_context_t *context, void *data, size_t capacity,
                                                          size_t *size, hmc_peer_t **peer, uint64_t timeout_ms);

#ifdef __cplusplus
}
#endif

#include <hmc/batch.h>
#include <hmc/request.h>
#endif
