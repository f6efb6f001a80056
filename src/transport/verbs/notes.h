/* The link: the pipe on which both ends of a connection exchange notes (wire.h). */
#ifndef HMCI_VERBS_NOTES_H
#define HMCI_VERBS_NOTES_H

#include "connection.h"

hmc_status_t hmci_verbs_notes_open(verbs_connection_t *connection, hmci_pipe_t *pipe);
void hmci_verbs_notes_close(verbs_connection_t *connection); /* without the lock */
void hmci_verbs_notes_send(verbs_connection_t *connection, const verbs_note_t *note);
/* Loses the peer; the reason is its text. */
void hmci_verbs_lose(verbs_connection_t *connection, const char *reason);

#endif
