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
 * Results that all operations share:
 *   HMC_OUT_OF_RANGE    offset + length runs past one of the regions
 *   HMC_STALE           the peer closed its region
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
typedef struct hmc_batch hmc_batch_t;

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

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* One part of a batch: bytes that are contiguous at both ends. */
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

/**
 * Prepares a list of segments between two regions, to be moved as one operation, as often as wanted. The list is copied
 * and checked here, once.
 *
 * Ownership: the batch is the caller's until hmc_batch_free; the regions must stay open until then. Never blocks.
 *
 * \param local The local region.
 * \param remote The peer's region.
 * \param segments The segments.
 * \param count How many.
 * \param batch Gets the batch.
 * \return HMC_SUCCESS
 * \return HMC_OUT_OF_RANGE A segment runs past one of the regions; the text names it.
 * \return HMC_INVALID_CONFIG NULL, no segments, or regions of different contexts.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create(hmc_region_t *local, hmc_remote_t *remote,
                                                  const hmc_segment_t *segments, size_t count, hmc_batch_t **batch);

/**
 * hmc_batch_create for a regular shape.
 *
 * \param local The local region.
 * \param remote The peer's region.
 * \param shape The shape; read during the call only.
 * \param batch Gets the batch.
 * \return As hmc_batch_create.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create_strided(hmc_region_t *local, hmc_remote_t *remote,
                                                          const hmc_strided_t *shape, hmc_batch_t **batch);

enum {
  HMC_PIECE_GET = 1, /* from the peer; else it is put */
};

/* One piece of a batch over several regions: a segment with its regions and its direction. */
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
 * Ownership: as hmc_batch_create. Never blocks.
 *
 * \param pieces The pieces.
 * \param count How many.
 * \param batch Gets the batch.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, no pieces, unknown flags, or regions of different contexts.
 * \return HMC_OUT_OF_RANGE A piece runs past one of its regions; the text names it.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create_pieces(const hmc_piece_t *pieces, size_t count, hmc_batch_t **batch);

/**
 * Starts all pieces of a batch over several regions. Signal and notification go to the peer of the first piece, once
 * all pieces are complete at all peers, and only if none has failed. A batch may be started again while it is pending.
 *
 * \param batch A batch of hmc_batch_create_pieces.
 * \param options As hmc_put_nb.
 * \param request Gets the request. It is complete when all pieces are; its status is that of the first failure.
 * \return As hmc_put_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_start_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                    hmc_request_t **request);

/**
 * hmc_batch_start_nb, and waits.
 *
 * \param batch A batch of hmc_batch_create_pieces.
 * \param options As hmc_put_nb.
 * \return The status of the first failure; HMC_SUCCESS if there was none.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_start(hmc_batch_t *batch, const hmc_operation_options_t *options);

/**
 * Frees a batch. None of its requests may be pending.
 *
 * \param batch The batch; NULL is allowed.
 */
HMC_API void hmc_batch_free(hmc_batch_t *batch);

/**
 * How much one start of a batch moves. Threads: any.
 *
 * \param batch The batch.
 * \return The bytes; 0 for NULL.
 */
HMC_API uint64_t hmc_batch_size(const hmc_batch_t *batch);

/**
 * Moves all segments of a batch to the peer, and waits. A batch may be started again while it is pending.
 *
 * \param batch A batch of hmc_batch_create or hmc_batch_create_strided.
 * \return As hmc_put.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put(hmc_batch_t *batch);

/**
 * Moves all segments of a batch from the peer, and waits.
 *
 * \param batch As hmc_batch_put.
 * \return As hmc_get.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get(hmc_batch_t *batch);

/**
 * hmc_batch_put with options.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \return As hmc_put_with.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put_with(hmc_batch_t *batch, const hmc_operation_options_t *options);

/**
 * hmc_batch_get with options.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \return As hmc_get_with.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get_with(hmc_batch_t *batch, const hmc_operation_options_t *options);

/**
 * hmc_batch_put as a request, which is complete when all segments are.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \param request Gets the request.
 * \return As hmc_put_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                  hmc_request_t **request);

/**
 * hmc_batch_get as a request, which is complete when all segments are.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \param request Gets the request.
 * \return As hmc_get_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                  hmc_request_t **request);

/* ---- connecting and opening as requests -------------------------------------------------------------------------- */

/**
 * Starts hmc_context_connect and returns at once with a request. A context runs up to 64 such requests, and those of
 * hmc_remote_open_nb and hmc_remote_find_nb, at a time; others wait for their turn.
 *
 * Completion: as for operations (wait, test, callback, hmc_poll). A request that was cancelled, or whose deadline
 * passed, leaves no peer. Ownership: the peer belongs to the context, the request to the caller. Threads: any,
 * callbacks included. Never blocks.
 *
 * \param context The context.
 * \param ip The peer's address, as for hmc_context_connect; copied.
 * \param port Its port; 0: the port that `ip` brings.
 * \param type How to reach it.
 * \param options A deadline, HMC_OPERATION_EVENT, a callback and `user` may be set; NULL: the defaults.
 * \param peer Gets the peer before the request is complete with HMC_SUCCESS; must stay valid until then. hmc_poll
 * returns the peer too.
 * \param request Gets the request.
 * \return HMC_SUCCESS The request was started; its result is that of hmc_context_connect.
 * \return HMC_INVALID_CONFIG NULL, not an address, an unknown type, or an option that does not apply.
 * \return HMC_UNSUPPORT The required type does not work here.
 * \return HMC_NO_MEMORY No memory, descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_connect_nb(hmc_context_t *context, const char *ip, uint16_t port,
                                                        hmc_connection_type_t type,
                                                        const hmc_operation_options_t *options, hmc_peer_t **peer,
                                                        hmc_request_t **request);

/**
 * Starts hmc_remote_open and returns at once with a request.
 *
 * Completion, threads and blocking: as hmc_context_connect_nb. Ownership: the handle belongs to the peer until
 * hmc_remote_close, the request to the caller.
 *
 * \param peer The peer.
 * \param name The region's name; copied.
 * \param options As hmc_context_connect_nb.
 * \param remote Gets the handle before the request is complete with HMC_SUCCESS; must stay valid until then. hmc_poll
 * returns it too.
 * \param request Gets the request.
 * \return HMC_SUCCESS The request was started; its result is that of hmc_remote_open.
 * \return HMC_INVALID_CONFIG NULL, or an option that does not apply.
 * \return HMC_NOT_FOUND No region can have that name.
 * \return HMC_NO_MEMORY No memory, descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_open_nb(hmc_peer_t *peer, const char *name,
                                                    const hmc_operation_options_t *options, hmc_remote_t **remote,
                                                    hmc_request_t **request);

/**
 * Starts hmc_remote_find and returns at once with a request.
 *
 * Completion, ownership, threads and blocking: as hmc_remote_open_nb.
 *
 * \param peer The peer.
 * \param address The first byte, as the peer's process knows it.
 * \param bytes How many bytes the region must hold from there.
 * \param options As hmc_context_connect_nb.
 * \param remote Gets the handle before the request is complete with HMC_SUCCESS; must stay valid until then.
 * \param offset Gets the offset of the address in the region; like `remote`.
 * \param request Gets the request.
 * \return HMC_SUCCESS The request was started; its result is that of hmc_remote_find.
 * \return HMC_INVALID_CONFIG NULL, or an option that does not apply.
 * \return HMC_NO_MEMORY No memory, descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_find_nb(hmc_peer_t *peer, uint64_t address, uint64_t bytes,
                                                    const hmc_operation_options_t *options, hmc_remote_t **remote,
                                                    uint64_t *offset, hmc_request_t **request);

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/**
 * Looks whether a request is complete, and makes progress. Threads: any. Never blocks.
 *
 * \param request The request.
 * \return HMC_IN_PROGRESS It is not complete.
 * \return Its result.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_test(hmc_request_t *request);

/**
 * Waits until a request is complete. At its deadline the operation ends with HMC_TIMEOUT; as after hmc_request_cancel,
 * it does not read or write the caller's memory any more then. Threads: any, several at once.
 *
 * \param request The request.
 * \return Its result.
 * \return HMC_UNSUPPORT It connects or opens, and this is a callback.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait(hmc_request_t *request);

/**
 * Waits until all of several requests are complete.
 *
 * \param requests The requests; NULL entries are skipped.
 * \param count How many entries.
 * \return HMC_SUCCESS All have succeeded.
 * \return The status of the first one in the list that failed.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_all(hmc_request_t *const *requests, size_t count);

/**
 * Waits until one of several requests is complete.
 *
 * \param requests The requests; NULL entries are skipped.
 * \param count How many entries.
 * \param index Gets the place of the complete one; `count` where there is none.
 * \return Its result.
 * \return HMC_NOT_FOUND All entries are NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_any(hmc_request_t *const *requests, size_t count, size_t *index);

/**
 * Waits until at least one of several requests is complete, and lists all that are. Each request reports its own result
 * (hmc_request_test).
 *
 * \param requests The requests; NULL entries are skipped.
 * \param count How many entries.
 * \param indices Gets the places of those that are complete; has room for `count`.
 * \param done Gets how many there are.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND All entries are NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_some(hmc_request_t *const *requests, size_t count, size_t *indices,
                                                       size_t *done);

/**
 * hmc_request_wait for a limited time. When the time is over the request continues, and can be waited for again.
 *
 * \param request The request.
 * \param timeout_ms How long to wait; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return As hmc_request_wait.
 * \return HMC_IN_PROGRESS The time is over and the request is not complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_for(hmc_request_t *request, uint64_t timeout_ms);

/**
 * hmc_request_wait_all for a limited time.
 *
 * \param requests As hmc_request_wait_all.
 * \param count As hmc_request_wait_all.
 * \param timeout_ms As hmc_request_wait_for.
 * \return As hmc_request_wait_all.
 * \return HMC_IN_PROGRESS The time is over and not all are complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_all_for(hmc_request_t *const *requests, size_t count,
                                                          uint64_t timeout_ms);

/**
 * hmc_request_wait_any for a limited time.
 *
 * \param requests As hmc_request_wait_any.
 * \param count As hmc_request_wait_any.
 * \param index As hmc_request_wait_any.
 * \param timeout_ms As hmc_request_wait_for.
 * \return As hmc_request_wait_any.
 * \return HMC_IN_PROGRESS The time is over and none is complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_any_for(hmc_request_t *const *requests, size_t count, size_t *index,
                                                          uint64_t timeout_ms);

/**
 * hmc_request_wait_some for a limited time.
 *
 * \param requests As hmc_request_wait_some.
 * \param count As hmc_request_wait_some.
 * \param indices As hmc_request_wait_some.
 * \param done As hmc_request_wait_some.
 * \param timeout_ms As hmc_request_wait_for.
 * \return As hmc_request_wait_some.
 * \return HMC_IN_PROGRESS The time is over and none is complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_some_for(hmc_request_t *const *requests, size_t count,
                                                           size_t *indices, size_t *done, uint64_t timeout_ms);

/**
 * Ends a request with HMC_CANCELLED unless it is complete already. When the call returns, the operation does not touch
 * the caller's memory any more. A part of a put may have arrived at the target. Threads: any.
 *
 * \param request The request.
 * \return Its result.
 */
HMC_API hmc_status_t hmc_request_cancel(hmc_request_t *request);

/**
 * Frees a request, and cancels it first where it is not complete. Its callback has been called when this returns: one
 * that is still due is called here; one that runs in the service thread is waited for, so the caller must not hold what
 * the callback needs. In a callback the call waits for no other callback. Threads: no other call may use the request.
 *
 * \param request The request; NULL is allowed.
 */
HMC_API void hmc_request_free(hmc_request_t *request);

/**
 * Waits until every request that was started to a peer before the call is complete. Each request reports its own
 * result.
 *
 * \param peer The peer.
 * \param timeout_ms How long to wait; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT Some are still pending.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_flush(hmc_peer_t *peer, uint64_t timeout_ms);

/**
 * An eventfd for poll loops that becomes readable when a request of the context completes or a notification arrives:
 * read it, then test the requests. The first call begins the counting; it may count a completion shortly before it too.
 * See hmc_context_poll_descriptor for one that tells of events.
 *
 * Ownership: the context's.
 *
 * \param context The context.
 * \param descriptor Gets the descriptor.
 * \return HMC_SUCCESS
 * \return HMC_NO_MEMORY No descriptors are left.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_event_descriptor(hmc_context_t *context, int *descriptor);

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
#endif
