/* A ring of staging buffers (see stage.h). */
#include "stage.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

bool hmci_stage_reserve(hmci_stage_t *stage, hmci_staging_t *pool, uint64_t chunk, uint32_t depth) {
  if (stage->depth && stage->chunk >= chunk) return true;
  if (stage->count) return stage->depth > 0;
  hmci_stage_release(stage);
  stage->slots = calloc(HMCI_STAGE_SLOTS, sizeof *stage->slots);
  if (!stage->slots) return false;
  stage->pool = pool;
  stage->chunk = chunk;
  while (stage->depth < depth && (stage->slots[stage->depth].buffer = hmci_staging_take(pool, chunk))) stage->depth++;
  if (!stage->depth) hmci_stage_release(stage); /* the next one asks again */
  return stage->depth > 0;
}

void hmci_stage_release(hmci_stage_t *stage) {
  for (uint32_t i = 0; i < stage->depth; i++) hmci_staging_give(stage->pool, stage->slots[i].buffer, stage->chunk);
  free(stage->slots);
  stage->slots = NULL;
  stage->depth = stage->head = stage->count = 0;
  stage->chunk = 0;
}

hmci_stage_slot_t *hmci_stage_claim(hmci_stage_t *stage) {
  hmci_stage_slot_t *slot = &stage->slots[(stage->head + stage->count++) % stage->depth];
  uint8_t *buffer = slot->buffer;
  memset(slot, 0, offsetof(hmci_stage_slot_t, copy));
  slot->buffer = buffer;
  return slot;
}

hmci_stage_slot_t *hmci_stage_oldest(hmci_stage_t *stage) { return &stage->slots[stage->head]; }

hmci_stage_slot_t *hmci_stage_newest(hmci_stage_t *stage) {
  return &stage->slots[(stage->head + stage->count - 1) % stage->depth];
}

void hmci_stage_pop(hmci_stage_t *stage) {
  stage->head = (stage->head + 1) % stage->depth;
  stage->count--;
}

/* One piece: on the device's copy engine where there is room to note it, else at once. */
static hmc_status_t copy_piece(hmci_stage_slot_t *slot, const hmci_region_view_t *region, void *there, uint8_t *here,
                               uint64_t length, bool to_host) {
  const hmci_memory_ops_t *ops = region->ops;
  int device = region->memory.device;
  if (ops->copy_start && slot->copies < HMCI_STAGE_PIECES) {
    void *to = to_host ? here : there;
    const void *from = to_host ? there : here;
    hmc_status_t status = ops->copy_start(device, to, from, length, to_host, &slot->copy[slot->copies]);
    if (status == HMC_SUCCESS) slot->copies++;
    return status;
  }
  return to_host ? ops->copy_to_host(device, here, there, length) : ops->copy_from_host(device, there, here, length);
}

void hmci_stage_start(hmci_stage_slot_t *slot, const hmci_region_view_t *region, const hmci_segment_t *segments,
                      uint32_t count, hmci_cursor_t *cursor, uint64_t bytes, bool to_host) {
  struct iovec part;
  uint64_t length;
  uint8_t *here = slot->buffer;
  slot->ops = region->ops;
  slot->started = true;
  while (bytes && hmci_pieces_next(segments, count, region->base, cursor, bytes, &part, 1, &length)) {
    if (slot->status == HMC_SUCCESS) slot->status = copy_piece(slot, region, part.iov_base, here, length, to_host);
    here += length;
    bytes -= length;
  }
}

bool hmci_stage_is_done(hmci_stage_slot_t *slot) {
  while (slot->copied < slot->copies) {
    hmc_status_t status = slot->ops->copy_done(&slot->copy[slot->copied]);
    if (status == HMC_IN_PROGRESS) return false;
    if (status != HMC_SUCCESS && slot->status == HMC_SUCCESS) slot->status = status;
    slot->copied++;
  }
  return true;
}

void hmci_stage_finish(hmci_stage_slot_t *slot) {
  while (!hmci_stage_is_done(slot)) sched_yield();
}
