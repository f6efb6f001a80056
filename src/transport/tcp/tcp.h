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
  uint32_t count;               /* streams per direction; 0 until the dialling half has said how many */
  hmci_requester_t *requesters; /* as many, so that an idle peer is small */
  hmci_responder_t *responders;

  pthread_mutex_t stripe_lock;
  hmci_list_t stripes; /* stripe_lock; all, in progress or not */

  pthread_mutex_t hold_lock; /* outer to the requesters' locks */
  hmci_list_t barriers;      /* hold_lock; those that the peer has not answered on all streams */
  hmci_list_t held;          /* hold_lock; what was submitted meanwhile */
  bool hold_failed;          /* hold_lock; nothing waits any more */
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

/* True where a submitted operation went by several streams. */
bool hmci_tcp_was_striped(const hmci_operation_t *operation);
void hmci_tcp_stripes_free(tcp_connection_t *connection);

#endif
