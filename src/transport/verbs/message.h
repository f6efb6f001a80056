/* Messages: what the owner's service thread does for the other side. */
#ifndef HMCI_VERBS_MESSAGE_H
#define HMCI_VERBS_MESSAGE_H

#include "queue.h"

/* message.c: the requesting end */
/* Sends the next message of an operation. False: not now. */
bool hmci_verbs_message_request(verbs_connection_t *connection, hmci_operation_t *operation);
/* Sends again what a new queue pair has not seen. False: no room yet. */
bool hmci_verbs_message_repeat(verbs_connection_t *connection);
/* HMC_CORRUPT: no answer to what was asked. */
hmc_status_t hmci_verbs_message_answered(verbs_connection_t *connection, const verbs_message_t *answer,
                                         const uint8_t *payload);
/* True while the owner may still do what has ended here: what an adapter writes by itself could come before that. */
bool hmci_verbs_message_is_late(const verbs_connection_t *connection);
/* What was sent may not have arrived. */
void hmci_verbs_message_restart(verbs_connection_t *connection);
void hmci_verbs_message_forget(verbs_connection_t *connection);

/* answer.c: the owner's end */
/* Handles a message that arrived. HMC_CORRUPT: the peer broke the protocol. */
hmc_status_t hmci_verbs_answer_take(verbs_connection_t *connection, const uint8_t *data, size_t size);
void hmci_verbs_answer_send(verbs_connection_t *connection);
/* What was to be answered will be asked again. */
void hmci_verbs_answer_forget(verbs_connection_t *connection);

#endif
