/* One place to wait: completions, arrivals, notifications and lost peers, from one call and one descriptor.
 *
 * Each event of a context is returned once, in the order in which they happened: by hmc_poll, or, for their kinds, by
 * hmc_context_accept and hmc_notification_receive. A program that uses several of them shares the events among them. */
#ifndef HMC_POLL_H
#define HMC_POLL_H

#include <hmc/context.h>
#include <hmc/export.h>
#include <hmc/operation.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hmc_event_kind {
  HMC_EVENT_COMPLETION = 0,   /* a request that was started with HMC_OPERATION_EVENT is complete */
  HMC_EVENT_ARRIVAL = 1,      /* a peer connected to a listener of the context */
  HMC_EVENT_NOTIFICATION = 2, /* a peer sent a notification */
  HMC_EVENT_PEER_LOST = 3,    /* a peer is gone; its handle stays valid until hmc_peer_close */
} hmc_event_kind_t;

/* Sets of kinds. */
#define HMC_EVENT_BIT(kind) (1u << (kind))
#define HMC_EVENT_ALL 15u

typedef struct hmc_event {
  size_t size; /* of the struct, see hmc_poll */
  hmc_event_kind_t kind;
  hmc_status_t status;    /* completion: the result of the request; else HMC_SUCCESS */
  hmc_request_t *request; /* completion */
  void *user;             /* completion: `user` of its options */
  hmc_peer_t
      *peer;  /* arrival, lost; completion of hmc_context_connect_nb; notification: the sender, NULL: it is closed */
  void *data; /* notification: its bytes; the caller's, until hmc_notification_free */
  size_t data_size;
  hmc_remote_t *remote; /* completion of hmc_remote_open_nb or hmc_remote_find_nb: the region */
} hmc_event_t;
#define HMC_EVENT_INIT HMC_SIZED_INIT(hmc_event_t)

/**
 * Waits until something happens on a context, and takes what has happened so far, the oldest first.
 *
 * Ownership: an arrived peer is the context's as by hmc_context_accept; a notification's bytes are the caller's. A
 * request stays the caller's; one that is freed is not returned. Threads: any, several at once.
 *
 * \param context The context.
 * \param events Gets what happened. The `size` of the first entry says how large all are; begin with HMC_EVENT_INIT.
 * \param capacity How many entries there are; at least 1.
 * \param count Gets how many were filled; 0 unless HMC_SUCCESS is returned.
 * \param timeout_ms How long to wait at most; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return HMC_SUCCESS At least one entry is filled.
 * \return HMC_TIMEOUT Nothing happened in that time.
 * \return HMC_CANCELLED hmc_context_interrupt was called, or the context ends.
 * \return HMC_UNSUPPORT Called in a callback with nothing there: it would wait for the thread that runs the callback.
 * \return HMC_INVALID_CONFIG NULL, no capacity, or a `size` that no release of HMC has.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_poll(hmc_context_t *context, hmc_event_t *events, size_t capacity, size_t *count,
                                          uint64_t timeout_ms);

/**
 * As hmc_poll, for some kinds of events. Others stay where they are.
 *
 * \param context The context.
 * \param kinds The kinds, by HMC_EVENT_BIT.
 * \param events Gets what happened.
 * \param capacity How many entries there are; at least 1.
 * \param count Gets how many were filled.
 * \param timeout_ms How long to wait at most; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return As hmc_poll; HMC_INVALID_CONFIG also for a set that is empty or has unknown kinds.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_poll_kinds(hmc_context_t *context, unsigned kinds, hmc_event_t *events,
                                                size_t capacity, size_t *count, uint64_t timeout_ms);

/**
 * Frees the bytes of a notification.
 *
 * \param data The `data` of an event; NULL is allowed.
 */
HMC_API void hmc_notification_free(void *data);

/**
 * A descriptor for poll loops that is readable while hmc_poll_kinds would find something. Do not read from it.
 *
 * Ownership: the context's. There is one per context; a later call changes its kinds. Threads: any.
 *
 * \param context The context.
 * \param kinds The kinds, by HMC_EVENT_BIT; an interrupt makes it readable in any case.
 * \param descriptor Gets the descriptor.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or a set that is empty or has unknown kinds.
 * \return HMC_NO_MEMORY No descriptors are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_poll_descriptor(hmc_context_t *context, unsigned kinds, int *descriptor);

/**
 * Ends the calls that wait on a context in other threads: hmc_poll, hmc_context_accept and hmc_notification_receive
 * return HMC_CANCELLED. Where no hmc_poll waits, the next one returns HMC_CANCELLED at once. Threads: any.
 *
 * \param context The context; NULL is allowed.
 */
HMC_API void hmc_context_interrupt(hmc_context_t *context);

/**
 * Does in the calling thread what the context's service threads do: answers peers and moves operations on. A program
 * that waits for bytes which a peer writes into its memory calls this between looks at them; it sees them one thread
 * switch earlier than by sleeping, and finds its processor free for it.
 *
 * A service thread leaves this work to the caller meanwhile and takes it up again 200 us after the last such call: what
 * peers ask for in between waits that long. Callbacks of requests still run in a service thread, those of regions in
 * either. Threads: any, several at once; none while the context is destroyed.
 *
 * \param context The context.
 * \param timeout_us How long to wait for something to do, in microseconds; 0: not at all. Where a context has several
 *                   service threads it never waits.
 * \return HMC_SUCCESS Something was done.
 * \return HMC_TIMEOUT There was nothing to do in that time; leaves no error text.
 * \return HMC_UNSUPPORT Called in a callback.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API hmc_status_t hmc_context_progress(hmc_context_t *context, uint64_t timeout_us);

#ifdef __cplusplus
}
#endif
#endif
