/* What is posted next. */
#ifndef HMCI_VERBS_PUMP_H
#define HMCI_VERBS_PUMP_H

#include "connection.h"

/* A new operation, at the end of the queue. */
void hmci_verbs_pump_add(verbs_connection_t *connection, hmci_operation_t *operation);
/* Is there anything that is not posted? */
bool hmci_verbs_pump_is_waiting(const verbs_connection_t *connection);
/* Posts what can be posted. */
void hmci_verbs_pump(verbs_connection_t *connection);

#endif
