/* A stage: a ring of staging buffers between a socket and device memory, so that copies of the device and the socket's
 * work overlap.
 *
 * Slots are claimed, filled and released in order. Towards the socket a slot is filled by copies from the device and
 * sent when they are done; from the socket it is filled by receiving, and released when the copies to the device are
 * done. The buffers are taken from the context's pool with the first claim and given back when the ring is empty and
 * its owner is idle.
 *
 * Locking: its owner's. */
#ifndef HMCI_STREAM_STAGE_H
#define HMCI_STREAM_STAGE_H

#include "../../memory/staging.h"
#include "pieces.h"

enum { HMCI_STAGE_SLOTS = 8, HMCI_STAGE_PIECES = 16, HMCI_STAGE_BATCH = 64 };

typedef struct hmci_stage_slot {
  uint8_t *buffer;
  uint64_t size;              /* bytes in the buffer */
  bool started, last;         /* its copies run; its operation ends with it */
  uint64_t sequence;          /* of its operation */
  hmci_region_view_t *region; /* the owner's to release, or NULL */
  hmc_status_t status;
  uint32_t copies, copied;
  const hmci_memory_ops_t *ops;
  hmci_copy_t copy[HMCI_STAGE_PIECES];
} hmci_stage_slot_t;

typedef struct hmci_stage {
  hmci_staging_t *pool;
  uint64_t chunk; /* bytes of each buffer; 0: none taken */
  uint32_t depth; /* buffers taken */
  uint32_t head, count;
  hmci_stage_slot_t *slots; /* HMCI_STAGE_SLOTS while buffers are taken, else NULL: an idle connection is small */
} hmci_stage_t;

/* Makes sure of buffers of `chunk` bytes, `depth` of them or as many as the pool gives. False: not one. The ring must
 * be empty to change. */
bool hmci_stage_reserve(hmci_stage_t *stage, hmci_staging_t *pool, uint64_t chunk, uint32_t depth);
/* Gives the buffers back; the ring must be empty. */
void hmci_stage_release(hmci_stage_t *stage);

static inline bool hmci_stage_is_full(const hmci_stage_t *stage) { return stage->count == stage->depth; }
static inline bool hmci_stage_is_empty(const hmci_stage_t *stage) { return stage->count == 0; }
/* The newest slot, claimed empty; the ring must not be full. */
hmci_stage_slot_t *hmci_stage_claim(hmci_stage_t *stage);
hmci_stage_slot_t *hmci_stage_oldest(hmci_stage_t *stage);
hmci_stage_slot_t *hmci_stage_newest(hmci_stage_t *stage);
void hmci_stage_pop(hmci_stage_t *stage);

/* Starts the copies between the slot's buffer and `bytes` bytes of the pieces from `cursor` on, which it moves, in batches
 * of HMCI_STAGE_BATCH. At most HMCI_STAGE_PIECES batches run on the device's own; the others are done when it returns.
 * Errors are kept in the slot. */
void hmci_stage_start(hmci_stage_slot_t *slot, const hmci_region_view_t *region, const hmci_segment_t *segments,
                      uint32_t count, hmci_cursor_t *cursor, uint64_t bytes, bool to_host);
/* True when all copies of the slot are done; `slot->status` then says how. */
bool hmci_stage_is_done(hmci_stage_slot_t *slot);
/* Waits for them. */
void hmci_stage_finish(hmci_stage_slot_t *slot);

#endif
