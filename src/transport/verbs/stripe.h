/* Puts and gets whose pieces any rail takes. */
#ifndef HMCI_VERBS_STRIPE_H
#define HMCI_VERBS_STRIPE_H

#include "straight.h"

/* Is the operation to be striped? */
bool hmci_verbs_stripe_fits(const verbs_connection_t *connection, const hmci_operation_t *operation);
/* Hands out what is lost, then what is left of an operation (NULL: nothing). False: not all of it now. */
bool hmci_verbs_stripe_post(verbs_connection_t *connection, hmci_operation_t *operation);
/* Posts what is left of an operation that does not go by messages. False: not all of it now. */
bool hmci_verbs_stripe_or_straight_post(verbs_connection_t *connection, hmci_operation_t *operation);

#endif
