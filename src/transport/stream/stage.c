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

/* Some pieces: as one submission where the device takes them so. */
static void copy_pieces(hmci_stage_slot_t *slot, const hmci_region_view_t *region, const hmci_copy_piece_t *pieces,
                        uint32_t count, bool to_host) {
  const hmci_memory_ops_t *ops = region->ops;
  hmci_copy_direction_t direction = to_host ? HMCI_COPY_TO_HOST : HMCI_COPY_FROM_HOST;
  if (slot->status != HMC_SUCCESS) return;
  if (count > 1 && ops->copy_batch_start && slot->copies < HMCI_STAGE_PIECES) {
    slot->status = ops->copy_batch_start(region->memory.device, pieces, count, direction, &slot->copy[slot->copies]);
    if (slot->status == HMC_SUCCESS) slot->copies++;
    return;
  }
  for (uint32_t i = 0; i < count && slot->status == HMC_SUCCESS; i++) {
    void *there = to_host ? (void *)(uintptr_t)pieces[i].source : pieces[i].destination;
    void *here = to_host ? pieces[i].destination : (void *)(uintptr_t)pieces[i].source;
    slot->status = copy_piece(slot, region, there, here, pieces[i].size, to_host);
  }
}

void hmci_stage_start(hmci_stage_slot_t *slot, const hmci_region_view_t *region, const hmci_segment_t *segments,
                      uint32_t count, hmci_cursor_t *cursor, uint64_t bytes, bool to_host) {
  struct iovec part;
  uint64_t length;
  hmci_copy_piece_t pieces[HMCI_STAGE_BATCH];
  uint32_t gathered = 0;
  uint8_t *here = slot->buffer;
  slot->ops = region->ops;
  slot->started = true;
  while (bytes && hmci_pieces_next(segments, count, region->base, cursor, bytes, &part, 1, &length)) {
    pieces[gathered++] =
        to_host ? (hmci_copy_piece_t){here, part.iov_base, length} : (hmci_copy_piece_t){part.iov_base, here, length};
    if (gathered == HMCI_STAGE_BATCH) {
      copy_pieces(slot, region, pieces, gathered, to_host);
      gathered = 0;
    }
    here += length;
    bytes -= length;
  }
  if (gathered) copy_pieces(slot, region, pieces, gathered, to_host);
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
