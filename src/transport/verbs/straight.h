/* Parts of puts and gets that go straight, by RDMA write and read of the main rail. */
#ifndef HMCI_VERBS_STRAIGHT_H
#define HMCI_VERBS_STRAIGHT_H

#include "queue.h"

typedef struct verbs_piece {
  uint64_t local, remote, length;
  verbs_cursor_t end; /* where the next one begins */
} verbs_piece_t;
/* The piece of a put or get that begins at `from`, at most `most` bytes of it; false: there is none. */
bool hmci_verbs_straight_piece(const hmci_operation_t *operation, verbs_cursor_t from, uint64_t most,
                               verbs_piece_t *piece);

/* Where the bytes of a part lie for a rail's adapter. */
typedef struct verbs_place {
  struct ibv_sge piece;
  verbs_memory_t *memory; /* counted as in use, or NULL */
  verbs_slot_t *slot;     /* or NULL */
  bool is_inline;
} verbs_place_t;
/* Finds a place for a piece, and cuts it to what the place holds; a put's bytes are in it then. HMC_IN_PROGRESS: no
 * slot is free. `copied`: for bytes of device memory that go inline. */
hmc_status_t hmci_verbs_straight_place(verbs_rail_t *rail, uint8_t copied[VERBS_COPIED],
                                       const hmci_operation_t *operation, verbs_piece_t *piece, verbs_place_t *place);
/* Adds the write or read of a piece that has its place, as an entry that says so. */
void hmci_verbs_straight_move(verbs_rail_t *rail, const verbs_piece_t *piece, const verbs_place_t *place,
                              verbs_entry_t *entry);
/* Is there room for one more part? */
bool hmci_verbs_straight_has_room(const verbs_rail_t *rail);
/* Adds a part that has its place. */
void hmci_verbs_straight_add(verbs_connection_t *connection, hmci_operation_t *operation, const verbs_piece_t *piece,
                             const verbs_place_t *place);
/* Posts what is left of an operation. False: not all of it now. */
bool hmci_verbs_straight_post(verbs_connection_t *connection, hmci_operation_t *operation);

#endif
