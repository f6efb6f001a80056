/* What the files of the requester share: requester.c (who moves it), requester_send.c, requester_receive.c. */
#ifndef HMCI_STREAM_REQUESTER_INTERNAL_H
#define HMCI_STREAM_REQUESTER_INTERNAL_H

#include "requester.h"

/* The transport's part of an operation. */
typedef struct hmci_stream_state {
  hmci_list_t link;
  uint64_t sequence;
  hmci_cursor_t received; /* of a get */
  uint64_t due;           /* of a get: bytes that no DATA frame has announced yet */
  bool is_fine;           /* of a get: what comes is copied to its pieces from a buffer; see hmci_pieces_are_fine */
  bool takes_runs;        /* the peer knows FLAG_RUN */
  bool damaged;           /* of a get: a checksum did not fit. Its end, or the NAK that explains it, decides */
} hmci_stream_state_t;
_Static_assert(sizeof(hmci_stream_state_t) <= HMCI_OPERATION_STATE, "an operation has room for the stream's state");

static inline hmci_stream_state_t *hmci_stream_state(hmci_operation_t *operation) {
  return (hmci_stream_state_t *)(void *)operation->transport;
}

static inline hmci_operation_t *hmci_stream_operation(hmci_list_t *link) {
  return HMCI_CONTAINER(HMCI_CONTAINER(link, hmci_stream_state_t, link), hmci_operation_t, transport);
}

static inline hmci_operation_t *hmci_requester_after(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_list_t *next = hmci_stream_state(operation)->link.next;
  return next == &requester->queue ? NULL : hmci_stream_operation(next);
}

/* Something of ended operations still comes in, or has to go out. */
static inline bool hmci_requester_is_haunted(const hmci_requester_t *requester) {
  return requester->owed || requester->data_left || requester->residue;
}

static inline bool hmci_stream_is_host(const hmci_operation_t *operation) {
  return operation->local->ops->host_accessible;
}

/* It is complete with an answer of its own, not with an ACK. */
static inline bool hmci_stream_is_answered(const hmci_operation_t *operation) {
  return operation->kind == HMCI_GET || (operation->kind == HMCI_ATOMIC && operation->atomic.fetch);
}

/* Its payload has to come from device memory first. */
static inline bool hmci_stream_is_staged(const hmci_operation_t *operation) {
  return operation->kind == HMCI_PUT && !hmci_stream_is_host(operation);
}

/* Takes an operation out of the queue and completes it. */
static inline void hmci_stream_complete(hmci_operation_t *operation, hmc_status_t status) {
  hmci_list_remove(&hmci_stream_state(operation)->link);
  hmci_operation_complete(operation, status);
}

/* The peer is gone: ends everything, and tells the host. */
void hmci_requester_lose(hmci_requester_t *requester, const char *reason);

/* Sends until all is gone, the pipe is full, `limit` bytes are gone, or a device has to copy first. True when something
 * moved. */
bool hmci_requester_send(hmci_requester_t *requester, uint64_t limit);
/* Where sending stopped though there was room, and no descriptor will tell that there is: asks the loop to call. */
void hmci_requester_come_again(hmci_requester_t *requester);
/* Goes on with that operation, or NULL. */
void hmci_requester_send_next(hmci_requester_t *requester, hmci_operation_t *next);
/* Ends an operation, and with it, where it failed, those chained to it that have not begun to go out. */
void hmci_requester_finish(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status);
/* Stops sending the operation that is being sent and goes on with the next: what is left of a half sent frame is kept
 * as a private copy. `answered`: the peer has ended it by itself. False: no memory, and all is lost. */
bool hmci_requester_break_off(hmci_requester_t *requester, bool answered);

/* An operation ends before its answer has come: what of it comes will be dropped. Before it leaves the queue. */
void hmci_requester_abandon(hmci_requester_t *requester, hmci_operation_t *operation);

/* Receives what is there. True when something moved. */
bool hmci_requester_receive(hmci_requester_t *requester);
/* No byte goes to a get's memory any more: the device finishes what it has, and what still comes is dropped. */
void hmci_requester_forget_sink(hmci_requester_t *requester, hmci_operation_t *operation);

#endif
