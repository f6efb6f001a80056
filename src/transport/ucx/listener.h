/* Where a worker takes connections of UCX, and those that have not said HELLO yet.
 *
 * Who connects is a stranger until a HELLO with a pipe's token comes over the connection; what else it sends is
 * dropped. There are at most STRANGERS of them at a time: the oldest makes room, so that idle connections lock nobody
 * out. */
#ifndef HMCI_UCX_LISTENER_H
#define HMCI_UCX_LISTENER_H

#include "worker.h"

#include <sys/socket.h>

enum { HMCI_UCX_STRANGERS = 64 };

/* Makes the worker take connections at that address of this host (its port does not count), once; `port` gets the one
 * UCX has picked. HMC_UNSUPPORT. */
hmc_status_t hmci_ucx_worker_listen(hmci_ucx_worker_t *worker, const struct sockaddr_storage *address, uint16_t *port);
/* Ends that, and closes all strangers. The worker is out of the loop. */
void hmci_ucx_listeners_close(hmci_ucx_worker_t *worker);

/* With the worker's lock held. Takes a stranger that has shown whose it is out of the list; false: it is none of them.
 */
bool hmci_ucx_stranger_claim(hmci_ucx_worker_t *worker, ucp_ep_h endpoint);
/* The stranger, if it is one, is to go; closed after UCX's callback. */
void hmci_ucx_stranger_refuse(hmci_ucx_worker_t *worker, ucp_ep_h endpoint);
/* Closes those that are to go. */
void hmci_ucx_strangers_close_dead(hmci_ucx_worker_t *worker);
/* UCX's error handler of all endpoints; `worker` is the argument. The endpoint's pipe fails. */
void hmci_ucx_worker_on_error(void *worker, ucp_ep_h endpoint, ucs_status_t status);

socklen_t hmci_ucx_address_size(const struct sockaddr_storage *address);
void hmci_ucx_address_set_port(struct sockaddr_storage *address, uint16_t port);

#endif
