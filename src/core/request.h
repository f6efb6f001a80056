/* What requests, batches and waiting share. */
#ifndef HMCI_REQUEST_H
#define HMCI_REQUEST_H

#include "operation.h"

enum { HMCI_CHAIN = 4 }; /* the operation itself, its signal, its notification, the result of a checksum */

/* Where the second pass over the data is, for transports without checksums (data_checksum.c). */
typedef enum hmci_checksum_phase {
  HMCI_CHECKSUM_DATA,   /* the data are on their way */
  HMCI_CHECKSUM_SLICES, /* the peer has been asked for the checksum of a slice */
  HMCI_CHECKSUM_REST,   /* signal and notification are on their way */
} hmci_checksum_phase_t;

typedef struct hmci_checksum {
  hmci_list_t link; /* context->checksum.list; off it: somebody is completing the request */
  hmci_checksum_phase_t phase;
  bool due;        /* checksum.lock; data or rest are complete */
  uint32_t index;  /* what comes next: piece, */
  uint64_t offset; /* and place in it */
  uint32_t crc;    /* of the slice in question, on this side */
} hmci_checksum_t;

/* What a request waits for before it begins (delay.c). */
typedef struct hmci_delay {
  hmci_list_t link;              /* context->delay.list, or empty: it has begun, or ended */
  hmc_memory_event_t *events[2]; /* NULL: none, or it has come */
  void (*begin)(hmc_request_t *request);
} hmci_delay_t;

/* The parts of a request over several regions: requests of their own. The first operation of the whole belongs to
 * none of the transports; it is complete with the last part. */
typedef struct hmci_group {
  _Atomic uint32_t left;   /* parts in progress, and one more while they are started */
  _Atomic uint32_t status; /* the first failure */
  _Atomic uint32_t ends;   /* of two things that have happened: all parts are complete; what follows them is to end */
  hmc_status_t end;        /* with that status; set before it is counted */
  uint32_t count;
  hmc_request_t *parts[];
} hmci_group_t;

struct hmc_request {
  hmci_list_t link; /* the context's list, or its spare list */
  hmci_shard_t *shard;
  hmc_context_t *context;
  hmc_region_t *local;  /* NULL: none. Open while the request is incomplete; may have been closed later */
  hmc_peer_t *peer;     /* may have been closed unless the request was seen incomplete after counting among `users` */
  hmc_remote_t *remote; /* likewise */
  hmci_far_end_t end;   /* for texts */
  uint64_t number;      /* in the order of starting */
  uint64_t deadline;    /* of all its operations */
  uint64_t length;
  uint64_t begun;    /* when, for its latency; 0: it is not timed */
  uint64_t *fetched; /* of an atomic */
  void *message;     /* the copy of a notification */
  char *text;        /* of a setup that failed; NULL: none */

  bool freeing; /* hmc_request_free calls its callback */
  hmc_completion_callback_t callback;
  void *user;
  hmci_list_t due; /* context->callback.due */
  bool tells;      /* its completion is an event */
  hmci_poll_event_t event;
  _Atomic uint32_t event_parts; /* what is left to happen before: the completion, and the end of its starting */
  _Atomic bool starting;        /* hmci_request_start has not returned yet */
  _Atomic uint32_t users;       /* calls in progress that wait for it, test it or cancel it */

  hmci_group_t *group;   /* its parts, of a batch over several regions; NULL: none */
  hmc_request_t *parent; /* it is a part of that one; NULL: none */

  bool is_setup; /* it connects or opens: it has no operation that a transport knows, and a thread that waits sleeps */
  hmc_peer_t *peer_made;    /* of a setup that connected */
  struct hmci_setup *setup; /* setups' lock; what it is about, until it ends */

  bool delayed; /* it begins after an event of a device; a thread that waits sleeps */
  hmci_delay_t delay;

  bool working; /* its data are moved by workers */
  hmci_work_t work;
  hmc_remote_t *signalled; /* where the signal goes; of the same peer */

  hmci_parked_t parked; /* the notification, while it waits for credit */
  bool posted;          /* it was parked; a thread that waits sleeps */
  bool charged;         /* the notification's credit is used */

  bool checksummed; /* by a second pass: the last one of the chain is the result, `checksum` says where it is */
  hmci_checksum_t checksum;

  uint32_t count;                     /* operations of the chain */
  hmci_operation_t chain[HMCI_CHAIN]; /* the last one's completion is the request's */
};

static inline hmci_operation_t *hmci_request_last(hmc_request_t *request) {
  return &request->chain[request->count - 1];
}
static inline bool hmci_request_is_complete(hmc_request_t *request) {
  return hmci_operation_is_complete(hmci_request_last(request));
}

/* The final status of a complete request, with its text. */
static inline hmc_status_t hmci_request_status(hmc_request_t *request) {
  hmc_status_t status = hmci_request_last(request)->status;
  if (request->text && status != HMC_SUCCESS) return hmci_fail(status, "%s", request->text);
  return hmci_far_end_explain(request->chain[0].kind, status, &request->end, request->length);
}

/* Around all that follows `peer`, and around sleeping for a request: its peer and its context stay as long as it has
 * users. Who closes them has completed the request before it looks for users. */
static inline void hmci_request_enter(hmc_request_t *request) { atomic_fetch_add(&request->users, 1); }
static inline void hmci_request_leave(hmc_request_t *request) {
  atomic_fetch_sub_explicit(&request->users, 1, memory_order_release); /* partner: hmci_requests_await_users */
}

/* What a request is to do; checked already. */
typedef struct hmci_start {
  hmci_operation_kind_t kind;
  hmc_region_t *local; /* put, get */
  hmc_remote_t *remote;
  const hmci_segment_t *segments; /* must outlive the request; NULL: `single` */
  uint32_t count;
  hmci_segment_t single;
  hmci_atomic_t atomic;
  uint64_t *fetched;
  uint64_t length; /* bytes in all */
  bool awaited;    /* the caller waits for it at once */
  const hmc_operation_options_t *options;
  hmc_request_t *parent; /* NULL: none */
} hmci_start_t;

hmc_status_t hmci_request_start(const hmci_start_t *what, hmc_request_t **request);
/* What all requests have: how their end is reported. Comes first; `options` may be NULL. */
void hmci_request_init(hmc_request_t *request, const hmc_operation_options_t *options);
/* A request with one operation that no transport gets to see; completed by the caller. */
void hmci_request_make_single(hmc_request_t *request, hmci_operation_kind_t kind);
/* Its start is over: from here on it may be ended by others and, after a callback, be gone. */
void hmci_request_started(hmc_request_t *request);

/* request_callback.c */
/* One of the two things has happened that must have before the request is returned as an event. */
void hmci_request_report_event(hmc_request_t *request);
/* An operation of a request is about to be complete; as hmci_operation_t's `completed`. */
void hmci_request_on_completed(hmci_operation_t *operation);
/* A request is about to be freed: its callback has been called when this returns. False: the thread that runs the
 * callback gives it back. */
bool hmci_request_await_callback(hmc_request_t *request);

/* request_list.c */
/* A request, listed and about to be started; NULL, with a text. */
hmc_request_t *hmci_request_take(hmc_context_t *context, hmc_peer_t *peer, hmc_region_t *local, uint64_t deadline);
void hmci_request_give(hmc_request_t *request);
/* Makes sure that the timer looks at a listed request in time. */
void hmci_requests_set_timer(hmc_context_t *context, uint64_t deadline);
/* Calls `visit` for each request that is not freed, with its shard's lock held, until it answers false. */
typedef bool (*hmci_request_visit_t)(hmc_request_t *request, void *argument);
void hmci_requests_each(hmc_context_t *context, hmci_request_visit_t visit, void *argument);

/* request_end.c */
/* A part of a group is complete, or all have been started. */
void hmci_request_end_part(hmc_request_t *whole, hmc_status_t status);
/* Ends the operations behind the parts of a group, which nothing else will start or end, once all parts are complete. */
void hmci_request_end_rest(hmc_request_t *whole, hmc_status_t status);
/* Ends all operations of an incomplete request. */
void hmci_request_end(hmc_request_t *request, hmc_status_t status);

/* The same; the request is complete when it returns. Not in the loop. */
static inline void hmci_request_end_now(hmc_request_t *request, hmc_status_t status) {
  hmci_request_end(request, status);
  if (request->working || request->posted ||
      request->delayed) /* a piece is being copied, or another thread ends what is parked */
    hmci_operation_sleep(hmci_request_last(request), HMCI_NEVER);
  for (uint32_t i = 0; request->group && i < request->group->count; i++) {
    hmc_request_t *part = request->group->parts[i];
    if (part) hmci_operation_sleep(hmci_request_last(part), HMCI_NEVER);
  }
}

/* Starts several as one; `starts` have no options. */
hmc_status_t hmci_request_start_group(const hmci_start_t *starts, uint32_t count,
                                      const hmc_operation_options_t *options, hmc_request_t **request);

/* setup.c */
/* Ends a setup that is not over; the request is complete when it returns. */
void hmci_setup_end(hmc_request_t *request, hmc_status_t status);

/* delay.c */
/* Records what the options ask for; `waits`: the request must. Each event of `delay` is a reference then. */
hmc_status_t hmci_delay_prepare(const hmc_operation_options_t *options, hmci_delay_t *delay, bool *waits);
void hmci_delay_drop(hmci_delay_t *delay);
/* Lets the request begin once the events have come, which it takes: by `begin`, with delay.lock held. */
void hmci_delay_add(hmc_request_t *request, const hmci_delay_t *delay, void (*begin)(hmc_request_t *request));
/* Ends a request that has not begun. True: it is complete, by this call or by another thread; false: it has begun. */
bool hmci_delay_end(hmc_request_t *request, hmc_status_t status);

/* Waits until no thread begins the request any more; it is complete. */
void hmci_delay_leave(hmc_request_t *request);

/* data_checksum.c */
/* Adds the result to a chain that is complete otherwise. */
void hmci_checksum_prepare(hmc_request_t *request);
/* Comes before the data are submitted: from here on who completes the request must have claimed it. */
void hmci_checksum_begin(hmc_request_t *request);
/* Takes the completing upon the caller; false: somebody else is about to complete it. Waits for the loop to let go
 * of it. */
bool hmci_checksum_claim(hmc_request_t *request);

struct hmc_batch {
  hmc_batch_t **parts; /* of one over several regions, each with its `kind`; NULL: it is none */
  uint32_t part_count;
  hmci_operation_kind_t kind;
  hmc_region_t *local;
  hmc_remote_t *remote;
  hmci_segment_t *segments;
  uint32_t count;
  uint64_t size;
};

#endif
