/* Queues: one-sided operations without requests.
 *
 * A queue belongs to one thread. It takes puts, gets and atomics between any address of this process's host memory and
 * regions of any peers, makes no object for them, and takes no lock that threads share. Operations are pending from the
 * call to the flush, unless the peer's memory is mapped here: then they are done when the call returns.
 *
 * Order. Operations of a queue are not ordered, except by hmc_queue_fence, by hmc_queue_flush, and as their calls say.
 * Complete means visible, as everywhere in HMC.
 *
 * Results. A call returns the errors that show at once. Later errors are kept, per peer, until hmc_queue_flush returns
 * the first one.
 *
 * Threads: calls on one queue must not overlap; different queues do not disturb each other. Peers may be closed by
 * other threads meanwhile: their operations end with HMC_CANCELLED, and no call may name them any more. */
#ifndef HMC_QUEUE_H
#define HMC_QUEUE_H

#include <hmc/export.h>
#include <hmc/operation.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_queue hmc_queue_t;

#define HMC_QUEUE_COPIED 256 /* bytes up to which a put's local bytes are free again when its call returns */

enum {
  /* A call that finds `depth` operations pending returns HMC_NO_MEMORY and does not wait. */
  HMC_QUEUE_NO_WAIT = 1,
  /* Puts of at most HMC_QUEUE_COPIED bytes and atomics that fetch nothing may count as pending for 20 milliseconds after
   * they have been done: then the peer need not answer each of them. Their effect is as early as ever. For a queue that is
   * flushed seldom; a flush of it may last that much longer. */
  HMC_QUEUE_SELDOM_FLUSHED = 2,
};

/* Options of a queue. Zero in a field means the default. Begin with HMC_QUEUE_OPTIONS_INIT. */
typedef struct hmc_queue_options {
  size_t size;         /* sizeof(hmc_queue_options_t) */
  uint32_t depth;      /* most pending operations; 0: 1024 */
  uint32_t flags;      /* HMC_QUEUE_* */
  uint64_t timeout_ms; /* deadline of each operation; 0: the context's */
} hmc_queue_options_t;
#define HMC_QUEUE_OPTIONS_INIT HMC_SIZED_INIT(hmc_queue_options_t)

/**
 * Creates a queue. Its memory grows with the pending operations, up to `depth`.
 *
 * Ownership: the context's until hmc_queue_destroy; hmc_context_destroy ends it too. Threads: any. Never blocks.
 *
 * \param context The context whose peers the queue reaches.
 * \param options The options; NULL: the defaults.
 * \param queue Gets the queue.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, unknown flags, or a `size` that no release of HMC has.
 * \return HMC_NO_MEMORY No memory is left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_create(hmc_context_t *context, const hmc_queue_options_t *options,
                                                  hmc_queue_t **queue);

/**
 * Cancels pending operations and frees the queue. When it returns, no operation of the queue touches local memory.
 *
 * \param queue The queue; NULL is allowed.
 */
HMC_API void hmc_queue_destroy(hmc_queue_t *queue);

/**
 * Writes to a peer's region.
 *
 * Completion: at the flush, or at once where the region is mapped. Up to HMC_QUEUE_COPIED bytes are copied before the
 * call returns; more must stay as they are until the flush. Blocks only while `depth` operations are pending.
 *
 * \param queue The queue.
 * \param local The bytes, in host memory.
 * \param remote The region.
 * \param remote_offset Where they go, in bytes from the start of the region.
 * \param length How many bytes; 0 succeeds and moves nothing.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or a region of another context.
 * \return HMC_OUT_OF_RANGE The range runs past the region.
 * \return HMC_DENIED The region does not give HMC_REMOTE_WRITE.
 * \return HMC_STALE The peer closed the region.
 * \return HMC_PEER_LOST The peer is gone.
 * \return HMC_TIMEOUT No operation ended within the deadline to make room for this one.
 * \return HMC_NO_MEMORY `depth` operations are pending (HMC_QUEUE_NO_WAIT), or no memory is left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_put(hmc_queue_t *queue, const void *local, hmc_remote_t *remote,
                                               uint64_t remote_offset, uint64_t length);

/**
 * Reads from a peer's region.
 *
 * Completion: at the flush, or at once where the region is mapped. Nobody may touch the local bytes until then.
 *
 * \param queue The queue.
 * \param local Where the bytes go, in host memory.
 * \param remote The region.
 * \param remote_offset Where they are, in bytes from the start of the region.
 * \param length How many bytes; 0 succeeds and moves nothing.
 * \return As hmc_queue_put; HMC_DENIED means that the region does not give HMC_REMOTE_READ.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_get(hmc_queue_t *queue, void *local, hmc_remote_t *remote,
                                               uint64_t remote_offset, uint64_t length);

/**
 * Changes or reads a word of a peer's region in one step, as hmc_atomic.
 *
 * Completion: at the flush, or at once where the region is mapped.
 *
 * \param queue The queue.
 * \param remote The region, which must give HMC_REMOTE_ATOMIC.
 * \param remote_offset Where the word is; a multiple of `width`.
 * \param operation What happens to it; HMC_ATOMIC_LOAD and HMC_ATOMIC_STORE are among the choices.
 * \param width Its bytes: 1, 2, 4 or 8.
 * \param operand The operation's value.
 * \param compare What the word must equal; for HMC_ATOMIC_COMPARE_SWAP only.
 * \param fetched Gets the word as it was, by the flush; must stay valid until then. NULL: nothing is fetched.
 * \return As hmc_queue_put; HMC_INVALID_CONFIG also for an operation, a width or an alignment that does not exist.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_atomic(hmc_queue_t *queue, hmc_remote_t *remote, uint64_t remote_offset,
                                                  hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                                  uint64_t compare, uint64_t *fetched);

/**
 * As hmc_queue_atomic, and waits for the word: it is in `fetched` when the call returns HMC_SUCCESS. Earlier operations
 * of the queue may still be pending then.
 *
 * \param queue The queue.
 * \param remote The region, which must give HMC_REMOTE_ATOMIC.
 * \param remote_offset Where the word is; a multiple of `width`.
 * \param operation What happens to it.
 * \param width Its bytes: 1, 2, 4 or 8.
 * \param operand The operation's value.
 * \param compare What the word must equal; for HMC_ATOMIC_COMPARE_SWAP only.
 * \param fetched Gets the word as it was.
 * \return As hmc_atomic: the final status of the operation.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_atomic_fetch(hmc_queue_t *queue, hmc_remote_t *remote,
                                                        uint64_t remote_offset, hmc_atomic_operation_t operation,
                                                        unsigned width, uint64_t operand, uint64_t compare,
                                                        uint64_t *fetched);

/**
 * Writes to a peer's region and, once the bytes are visible there, changes a word of a region of the same peer.
 *
 * \param queue The queue.
 * \param local The bytes, in host memory; as for hmc_queue_put.
 * \param remote The region.
 * \param remote_offset Where they go.
 * \param length How many bytes; 0: only the signal.
 * \param signal What happens to which word; read during the call only.
 * \return As hmc_queue_put and, for the signal, hmc_queue_atomic.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_put_signal(hmc_queue_t *queue, const void *local, hmc_remote_t *remote,
                                                      uint64_t remote_offset, uint64_t length,
                                                      const hmc_signal_t *signal);

/**
 * Sends a notification that announces all that the queue has done to a peer so far: it waits until those operations are
 * complete, and sends the notification if none of them has failed. The bytes are copied.
 *
 * Completion: at the flush. Blocks until the earlier operations are complete, and while the peer's application has as
 * many notifications of this context waiting as it takes.
 *
 * \param queue The queue.
 * \param peer Who gets it, by hmc_poll or hmc_notification_receive.
 * \param data Its bytes.
 * \param size How many; 1 to HMC_NOTIFICATION_MAX.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, no bytes, or more than HMC_NOTIFICATION_MAX; a peer of another context.
 * \return HMC_UNSUPPORT The transport, or a peer of an older release, carries shorter ones only.
 * \return HMC_TIMEOUT The peer's application took none within the queue's deadline.
 * \return The first error among the earlier operations, which the flush reports too; nothing is sent then.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_notify(hmc_queue_t *queue, hmc_peer_t *peer, const void *data, size_t size);

/**
 * Orders: to each peer, puts, atomics, signals and notifications of this queue that come after the call take effect
 * after those that came before it. Gets are not ordered; a flush orders them.
 *
 * Where the transport keeps order by itself this costs nothing; elsewhere the next operation to a peer waits until the
 * earlier ones are complete.
 *
 * \param queue The queue.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_fence(hmc_queue_t *queue);

/**
 * Waits until operations are complete, and returns the first error among them.
 *
 * \param queue The queue.
 * \param peer Whose operations; NULL: those of all peers.
 * \param timeout_ms How long to wait at most; 0: the context's timeout; HMC_NO_WAIT: not at all. Operations that are
 * still pending then continue.
 * \return HMC_SUCCESS All are complete, and none has failed since the last flush that covered it.
 * \return HMC_TIMEOUT Some are still pending; or, of an operation, its own deadline passed.
 * \return The first operation's status that is not HMC_SUCCESS, with its text; it is forgotten then.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_queue_flush(hmc_queue_t *queue, hmc_peer_t *peer, uint64_t timeout_ms);

/**
 * How many operations of the queue are pending. Never blocks.
 *
 * \param queue The queue; NULL has none.
 * \return Their number, without those that have ended.
 */
HMC_API uint32_t hmc_queue_pending(hmc_queue_t *queue);

#ifdef __cplusplus
}
#endif
#endif
