/* How the two ends of a rail come to have queue pairs that belong together (pairing.c). */
#ifndef HMCI_VERBS_PAIRING_H
#define HMCI_VERBS_PAIRING_H

#include "connection.h"

/* Adds a rail between two GIDs, whose place in the offers is known; at the dialling end. */
hmc_status_t hmci_verbs_pairing_add(verbs_connection_t *connection, const verbs_gid_t *mine, const verbs_gid_t *theirs);
/* Begins the first round of all rails, at the dialling end. Fails where none could begin. */
hmc_status_t hmci_verbs_pairing_begin(verbs_connection_t *connection);
void hmci_verbs_pairing_take(verbs_connection_t *connection, const verbs_note_t *note);
/* The queue pair is of no use any more: flushes it, to be made again. `failure`: by a fault of the path, not of
 * ours. */
void hmci_verbs_pairing_break(verbs_rail_t *rail, bool failure);
/* Something came through. */
void hmci_verbs_pairing_works(verbs_rail_t *rail);
/* The first read came back. */
void hmci_verbs_pairing_proven(verbs_rail_t *rail);
/* All entries are retired, of a queue that is being flushed. */
void hmci_verbs_pairing_flushed(verbs_rail_t *rail);
/* A rail's port came up. */
void hmci_verbs_pairing_port_up(verbs_rail_t *rail);
/* A rail's device is of no use any more. */
void hmci_verbs_pairing_device_failed(verbs_rail_t *rail);
/* The time of a rail that is not up has come: another round, where this end begins them. */
void hmci_verbs_pairing_again(verbs_rail_t *rail);
/* Has nothing come through for so long that the peer is given up? */
bool hmci_verbs_pairing_give_up(verbs_connection_t *connection);

#endif
