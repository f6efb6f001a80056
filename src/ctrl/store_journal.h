/* The journal of a store: a file of records, each a message of store_wire.h in its frame, that is written as things
 * change and read when the server starts. A record cut short by a crash ends the reading and is dropped.
 *
 * What the kernel has taken survives the process; nothing is forced to the disk, so a crash of the host can lose the
 * last seconds. No locking: the server's loop alone. The file itself is locked against a second server. */
#ifndef HMCI_STORE_JOURNAL_H
#define HMCI_STORE_JOURNAL_H

#include "store_wire.h"

typedef struct hmci_store_journal hmci_store_journal_t;

/* Records: SET (key, value, lease; floor: the session, sequence, number: of the reply, where sequence is not 0), DELETE
 * (the same), LEASE (lease, number: TTL in ms, floor: the session), REVOKE (lease, floor), ANSWER (floor, sequence,
 * number, value: a reply), ARRIVE (index: how many; value: so many pairs of session and sequence, then what the meeting
 * answers). */

typedef hmc_status_t (*hmci_store_replay_t)(void *user, const hmci_store_message_t *record);

/* Opens or makes the file and gives each record to `replay`. Errors: HMC_ADDRESS_IN_USE, HMC_INVALID_CONFIG,
 * HMC_CORRUPT (no journal), HMC_NO_MEMORY, those of `replay`. */
hmc_status_t hmci_store_journal_open(const char *path, hmci_store_replay_t replay, void *user,
                                     hmci_store_journal_t **journal);
void hmci_store_journal_close(hmci_store_journal_t *journal); /* NULL is allowed */

/* Appends. HMC_ERROR: the disk does not take it. */
hmc_status_t hmci_store_journal_write(hmci_store_journal_t *journal, const hmci_store_message_t *record);

/* Its size, and a fresh one in its place: begin gives a second journal to fill, end puts it in place of the first one
 * or, with `keep` false, drops it. */
uint64_t hmci_store_journal_size(const hmci_store_journal_t *journal);
hmc_status_t hmci_store_journal_begin(hmci_store_journal_t *journal, hmci_store_journal_t **fresh);
hmc_status_t hmci_store_journal_end(hmci_store_journal_t **journal, hmci_store_journal_t *fresh, bool keep);

#endif
