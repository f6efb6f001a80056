/* tcp: what its files share. */
#ifndef HMCI_TCP_H
#define HMCI_TCP_H

#include "../stream/requester.h"
#include "../stream/responder.h"

enum { TCP_STREAMS = 16 };

typedef struct tcp_transport {
  const hmci_host_t *host;
} tcp_transport_t;

typedef struct tcp_connection {
  tcp_transport_t *transport;
  uint32_t count; /* streams per direction */
  hmci_requester_t requesters[TCP_STREAMS];
  hmci_responder_t responders[TCP_STREAMS];

  pthread_mutex_t stripe_lock;
  hmci_list_t stripes; /* stripe_lock; all, under way or not */
} tcp_connection_t;

/* stripe.c: large transfers over several streams. */

/* True where the operation is worth spreading over the connection's streams. */
bool hmci_tcp_is_striped(const tcp_connection_t *connection, const hmci_operation_t *operation, uint32_t count);
hmc_status_t hmci_tcp_stripe_submit(tcp_connection_t *connection, hmci_operation_t *operation);
hmc_status_t hmci_tcp_stripe_wait(tcp_connection_t *connection, hmci_operation_t *operation, uint64_t spin);
void hmci_tcp_stripe_cancel(tcp_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
/* True where a submitted operation went by several streams. */
bool hmci_tcp_was_striped(const hmci_operation_t *operation);
void hmci_tcp_stripes_free(tcp_connection_t *connection);

#endif
