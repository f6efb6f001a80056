/* tcp: what its files share. */
#ifndef HMCI_TCP_H
#define HMCI_TCP_H

#include "../stream/requester.h"
#include "../stream/responder.h"

enum { TCP_STREAMS = 16 };

typedef struct tcp_transport {
  const hmci_host_t *host;
} tcp_transport_t;

typedef struct tcp_barrier tcp_barrier_t;

typedef struct tcp_connection {
  tcp_transport_t *transport;
  hmci_role_t role;
  uint32_t count;               /* streams per direction; 0 until the dialling half has said how many */
  hmci_requester_t *requesters; /* as many, so that an idle peer is small */
  hmci_responder_t *responders;

  pthread_mutex_t stripe_lock;
  hmci_list_t stripes; /* stripe_lock; all, in progress or not */

  pthread_mutex_t hold_lock; /* outer to the requesters' locks */
  hmci_list_t barriers;      /* hold_lock; those that the peer has not answered on all streams */
  hmci_list_t held;          /* hold_lock; what was submitted meanwhile */
  bool hold_failed;          /* hold_lock; nothing waits any more */
  bool wanted;               /* hold_lock; the peer was asked for the stream that is not there */
  bool refused;              /* hold_lock; and has said that it cannot make it */
  _Atomic bool whole;        /* each stream is there; changes once, with hold_lock (late.c) */
  hmci_timer_t answered;     /* a barrier is through: the loop's thread lets go */
} tcp_connection_t;

/* stripe.c: large transfers over several streams. */

/* True where the operation is worth spreading over the connection's streams. */
bool hmci_tcp_is_striped(const tcp_connection_t *connection, const hmci_operation_t *operation, uint32_t count);
hmc_status_t hmci_tcp_stripe_submit(tcp_connection_t *connection, hmci_operation_t *operation);
hmc_status_t hmci_tcp_stripe_wait(tcp_connection_t *connection, hmci_operation_t *operation, uint64_t spin);
void hmci_tcp_stripe_cancel(tcp_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
/* barrier.c: what follows a cancelled put over several streams. */
tcp_barrier_t *hmci_tcp_barrier_raise(tcp_connection_t *connection, const hmci_remote_view_t *remote, uint32_t count);
void hmci_tcp_barrier_send(tcp_barrier_t *barrier);
/* True where operations have to wait, and do. */
bool hmci_tcp_hold(tcp_connection_t *connection, hmci_operation_t *operations, uint32_t count);
/* True where the operation was held, and is complete with `status` now. */
bool hmci_tcp_held_cancel(tcp_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
void hmci_tcp_held_fail(tcp_connection_t *connection, hmc_status_t status);
void hmci_tcp_barriers_open(tcp_connection_t *connection);
void hmci_tcp_barriers_close(tcp_connection_t *connection); /* after the requesters are closed */

/* Submits what is held, in its order, with hold_lock. */
void hmci_tcp_held_go(tcp_connection_t *connection);
/* Ends what is held, with hold_lock. */
void hmci_tcp_held_end(tcp_connection_t *connection, hmc_status_t status);
/* Holds operations though nothing else does, with hold_lock. */
void hmci_tcp_held_add(tcp_connection_t *connection, hmci_operation_t *operations, uint32_t count);

/* late.c: the way back of a connection that has one stream in each direction. */
/* True where all streams are there: what comes goes out at once. */
bool hmci_tcp_is_whole(tcp_connection_t *connection);
/* True where `transport`'s peer of that offer makes its connections with the dialling half's requests alone. */
bool hmci_tcp_may_be_late(const hmci_blob_t *offer);
/* True where the peer of that offer knows HMCI_FLAG_EASY. */
bool hmci_tcp_takes_easy(const hmci_blob_t *offer);
/* The same of HMCI_FLAG_RUN. */
bool hmci_tcp_takes_runs(const hmci_blob_t *offer);
void hmci_tcp_late_offer(hmci_blob_t *offer);
/* A stream has come; with hold_lock. */
void hmci_tcp_late_note(tcp_connection_t *connection);
/* As submit: keeps the operations until the stream is there, and asks for it. `*taken` is false where it is. */
hmc_status_t hmci_tcp_late_submit(tcp_connection_t *connection, hmci_operation_t *operations, uint32_t count,
                                  bool *taken);
/* As wait and progress, while it is not there. */
hmc_status_t hmci_tcp_late_wait(tcp_connection_t *connection, hmci_operation_t *operation);
void hmci_tcp_late_look(tcp_connection_t *connection);
/* Asks for it where nothing waits for it yet; true: it is there, or cannot come. */
bool hmci_tcp_late_complete(tcp_connection_t *connection);
/* The dialling half cannot make it: what waits for it ends, and what comes asks again. */
void hmci_tcp_late_failed(tcp_connection_t *connection, hmc_status_t status);

/* True where a submitted operation went by several streams. */
bool hmci_tcp_was_striped(const hmci_operation_t *operation);
void hmci_tcp_stripes_free(tcp_connection_t *connection);

#endif
