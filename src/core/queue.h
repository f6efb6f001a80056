/* What the files of queues share: queue.c (starting operations), queue_flush.c (what is in progress).
 *
 * A flight is an operation in progress, or two of them that are chained: a put and its signal. The transport learns of
 * it as of any operation; nothing tells the queue of its end, it looks when it is called. All state is the owning
 * thread's, but for what hmci_queues_forget touches: `lock` guards the table of lanes while a lane is added or removed,
 * and `driving` names the peer whose connection the owner is using. Who closes a peer completes its operations first,
 * and the owner uses no connection but after it saw an operation that is incomplete. */
#ifndef HMCI_QUEUE_H
#define HMCI_QUEUE_H

#include "operation.h"

#include <hmc/queue.h>

typedef struct hmci_lane hmci_lane_t;

typedef struct hmci_flight {
  hmci_list_t link; /* lane->flights, or queue->spare */
  hmci_list_t age;  /* queue->flights */
  hmci_lane_t *lane;
  uint64_t number;    /* in the order of starting */
  bool charged;       /* the notification's credit is used */
  uint64_t *fetched;  /* of an atomic */
  void *message;      /* the copy of a long notification */
  hmci_far_end_t end; /* for texts */
  uint64_t length;    /* likewise */
  bool working;       /* the first one is moved by workers */
  hmci_work_t work;
  uint32_t count; /* operations of the chain */
  hmci_operation_t chain[2];
  uint8_t copied[HMC_QUEUE_COPIED]; /* the bytes of a small put or notification */
} hmci_flight_t;

/* The first failure among the flights of a lane since it was last reported. */
typedef struct hmci_failure {
  hmc_status_t status;
  uint64_t number;
  hmci_operation_kind_t kind;
  hmci_far_end_t end;
  uint64_t length;
} hmci_failure_t;

/* What a queue has to do with one peer. */
struct hmci_lane {
  hmci_lane_t *next; /* of the same bucket */
  hmci_list_t link;  /* queue->lanes */
  hmc_peer_t *peer;  /* may be closed unless a flight was seen incomplete while `driving` named it */
  uint64_t number;   /* the peer's */
  hmci_list_t flights;
  bool fenced; /* what comes next must not overtake the flights */
  _Atomic bool closed;
  hmci_failure_t failure;
};

struct hmc_queue {
  /* What a put to mapped memory reads; kept together. */
  const hmc_context_t
      *plain; /* the context while no lane is fenced, else NULL: one look sees that a put need not wait */
  size_t
      stripe; /* of the peers' statistics, in bytes: what its puts are counted in, as a queue is one thread's at a time */

  hmc_context_t *context;
  uint32_t fences; /* lanes that are fenced */
  uint32_t depth, flags, under_way;
  uint64_t timeout_ms, started;
  hmci_lane_t *last; /* the lane that was used last, or NULL */
  hmci_list_t lanes, flights, spare;
  hmci_list_t blocks; /* of memory for flights */
  uint32_t room;      /* flights there is memory for */

  pthread_mutex_t lock;
  hmci_lane_t **table; /* lock, to change */
  uint32_t table_size, lane_count;
  _Atomic(const hmc_peer_t *) driving;
  hmci_list_t member; /* context->queue.list */
};

/* Local sides that are plain addresses: an address is `HMCI_ANYWHERE_BASE` + offset. */
#define HMCI_ANYWHERE_BASE 4096u /* nobody maps the first page */
extern const hmci_region_view_t hmci_anywhere;
extern const hmci_region_view_t hmci_copied; /* likewise; the bytes are HMC's, so they are there */
static inline uint64_t hmci_anywhere_offset(const void *pointer) {
  return (uint64_t)(uintptr_t)pointer - HMCI_ANYWHERE_BASE;
}

/* One lane more is fenced, or one less. */
static inline void hmci_queue_fenced(hmc_queue_t *queue, int change) {
  queue->fences += (uint32_t)change;
  queue->plain = queue->fences ? NULL : queue->context;
}

/* queue_flush.c */
/* The lane to a peer, made where there is none; NULL: no memory, with a text. */
hmci_lane_t *hmci_lane_of(hmc_queue_t *queue, hmc_peer_t *peer);
/* The same, where there is one; else NULL. */
hmci_lane_t *hmci_lane_find(hmc_queue_t *queue, uint64_t number);
/* Ends the flights of a lane that are complete. */
void hmci_lane_reap(hmc_queue_t *queue, hmci_lane_t *lane);
/* Waits until a lane has no flights. False: the deadline came first. Flights past their own deadline are ended. */
bool hmci_lane_drain(hmc_queue_t *queue, hmci_lane_t *lane, uint64_t deadline);
/* Waits until a flight is complete. False: the deadline came first. */
bool hmci_flight_await(hmc_queue_t *queue, hmci_flight_t *flight, uint64_t deadline);
/* A flight on that lane, to be filled in and then launched or given back. */
hmc_status_t hmci_flight_take(hmc_queue_t *queue, hmci_lane_t *lane, hmci_flight_t **flight);
void hmci_flight_give(hmc_queue_t *queue, hmci_flight_t *flight);
/* Ends a complete flight; its failure is noted, unless `status` (may be NULL) takes it. */
void hmci_flight_end(hmc_queue_t *queue, hmci_flight_t *flight, hmc_status_t *status);

static inline hmci_operation_t *hmci_flight_last(hmci_flight_t *flight) { return &flight->chain[flight->count - 1]; }

#endif
