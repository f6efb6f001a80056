/* Host names: from what people write for an address to the numeric addresses that sockets take. */
#ifndef HMCI_RESOLVE_H
#define HMCI_RESOLVE_H

#include "base.h"

enum { HMCI_IP_TEXT = 64, HMCI_HOST_TEXT = 256, HMCI_ADDRESSES = 8 };

/* "10.0.0.2", "fe80::1%eth0", "node7", and each with a port: "10.0.0.2:2025", "[fe80::1]:2025", "node7:2025"; an IPv6
 * address may stand in brackets without one. `host` gets the first part. A port in the text stands for `*port` where
 * that is 0, and must be the same where it is not. Pure. Errors: HMC_INVALID_CONFIG. */
hmc_status_t hmci_address_split(const char *text, char host[HMCI_HOST_TEXT], uint16_t *port);

typedef struct hmci_addresses {
  size_t count;
  char ip[HMCI_ADDRESSES][HMCI_IP_TEXT]; /* numeric, in the order in which to try them */
} hmci_addresses_t;

/* The addresses of a host, at most until `deadline`; at once for one that is numeric. Blocking: the system's resolver
 * runs in a thread of its own, which may outlive the call; not for the service thread. Errors: HMC_NOT_FOUND (no host of
 * that name), HMC_TIMEOUT, HMC_NO_MEMORY, HMC_INVALID_CONFIG (nothing, or a name that is none), HMC_CANCELLED (the thread
 * is to give up, see stop.h). */
hmc_status_t hmci_resolve(const char *host, uint64_t deadline, hmci_addresses_t *addresses);

/* Until when to wait for an address that has `more` addresses behind it: at most `each_ms`, and no more than its share
 * of the time that is left. One that never answers leaves time for the others, however soon the deadline is. */
uint64_t hmci_address_turn(uint64_t each_ms, size_t more, uint64_t deadline);

#endif
