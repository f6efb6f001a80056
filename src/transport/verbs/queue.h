/* Operations on their way (queue.c), and the entries of the send queue that they were posted as (retire.c). */
#ifndef HMCI_VERBS_QUEUE_H
#define HMCI_VERBS_QUEUE_H

#include "connection.h"

/* Completes the operation where nothing is left to wait for; true when it has. */
bool hmci_verbs_queue_try_complete(verbs_connection_t *connection, hmci_operation_t *operation);
/* The operation is not to go on: no more of it is posted, and it ends with that status once nothing is outstanding
 * (settle). */
void hmci_verbs_queue_stop(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
/* Puts up to the main rail's `visible` are visible. */
void hmci_verbs_queue_visible(verbs_connection_t *connection);
/* The main rail was flushed: what is not retired is to be posted again. `moved`: over another rail. */
void hmci_verbs_queue_restart(verbs_connection_t *connection, bool moved);
/* The operation this one is chained to, while that is not complete; NULL. */
hmci_operation_t *hmci_verbs_queue_before(verbs_connection_t *connection, hmci_operation_t *operation);
/* Ends everything. */
void hmci_verbs_queue_fail(verbs_connection_t *connection, hmc_status_t status);
hmci_operation_t *hmci_verbs_queue_after(verbs_connection_t *connection, hmci_operation_t *operation);
/* The operation failed in the hardware, which flushes what is chained to it. */
void hmci_verbs_queue_blame(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
/* Likewise, and asks the owner why a region cannot be reached; the operation ends with the answer. */
void hmci_verbs_queue_ask(verbs_connection_t *connection, hmci_operation_t *operation);
void hmci_verbs_queue_answered(verbs_connection_t *connection, uint32_t question, hmc_status_t status);
/* Are the bytes of a put that was posted visible at the owner? */
bool hmci_verbs_queue_is_visible(const verbs_connection_t *connection, hmci_operation_t *operation);
/* Does an adapter write into a device's memory there, which has to be informed? */
bool hmci_verbs_queue_is_settled_there(const hmci_operation_t *operation);

/* retire.c */
/* Retires entries of the send queue up to that count: done, or flushed. True: a flush came back. */
bool hmci_verbs_retire(verbs_rail_t *rail, uint32_t count, bool done);

#endif
