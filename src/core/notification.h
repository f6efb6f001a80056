/* Notifications that wait for the application: messages of peers, in the order in which they came. */
#ifndef HMCI_NOTIFICATION_H
#define HMCI_NOTIFICATION_H

#include "core.h"

typedef struct hmci_notice {
  hmci_poll_event_t event;
  hmc_peer_t *peer; /* NULL: closed meanwhile; changed with the events' lock held */
  size_t size;
  _Alignas(16) uint8_t data[];
} hmci_notice_t;

/* Can a notification of that size go to the peer? HMC_INVALID_CONFIG, HMC_UNSUPPORT. */
hmc_status_t hmci_notification_check(const hmc_peer_t *peer, size_t size);

/* One was taken out of the list by the application. With the events' lock held. */
void hmci_notice_taken(hmci_notice_t *notice);

#endif
