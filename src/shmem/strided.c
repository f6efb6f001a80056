/* Small blocks at far PEs, one stride from another: lists of the engine instead of an operation for each.
 *
 * Bytes pass through memory that the context keeps for it, in slots: a put packs the blocks of a slot before it starts, a
 * get spreads them when it is complete. Some slots are in progress at a time.
 *
 * Locking: the context's lock is held while its slots are used. */
#include "state.h"

#include <stdlib.h>
#include <string.h>

enum {
  SLOTS = 32,
  SLOT_BYTES = 16384,
  SLOT_BLOCKS = 4096,
  MOST_BYTES = 1024, /* of a block; larger ones gain nothing */
};

typedef struct slot {
  hmc_request_t *request; /* NULL: it is free */
  hmc_batch_t *batch;
  hmci_strided_t part; /* the blocks in it */
} slot_t;

struct hmci_slots {
  hmc_region_t *region; /* the context's `slots_region` */
  unsigned next;        /* the one to be used next: the one that has been in progress the longest */
  slot_t slots[SLOTS];
};

static void open_slots(struct hmc_shmem_ctx *ctx) {
  ctx->slots = calloc(1, sizeof *ctx->slots);
  if (!ctx->slots) hmci_die("no memory for strided transfers");
  hmc_memory_t host = {.kind = HMC_MEMORY_CPU, .device = 0};
  hmci_far_expect(hmc_region_allocate(hmci_pe.context, host, SLOTS * SLOT_BYTES, NULL, 0, &ctx->slots_region),
                  "memory for strided transfers of", hmci_pe.me);
  ctx->slots->region = ctx->slots_region;
}

static char *bytes_of(const struct hmci_slots *slots, const slot_t *slot) {
  return (char *)hmc_region_pointer(slots->region) + (slot - slots->slots) * SLOT_BYTES;
}

/* ---- one slot ------------------------------------------------------------------------------------------------------- */

/* Copies blocks from one stride to another. Words have loops of their own: the block's size is known there. */
static void move(char *to, ptrdiff_t to_step, const char *from, ptrdiff_t from_step, size_t block, size_t count) {
  switch (block) {
  case 4:
    for (size_t i = 0; i < count; i++) memcpy(to + (ptrdiff_t)i * to_step, from + (ptrdiff_t)i * from_step, 4);
    break;
  case 8:
    for (size_t i = 0; i < count; i++) memcpy(to + (ptrdiff_t)i * to_step, from + (ptrdiff_t)i * from_step, 8);
    break;
  default:
    for (size_t i = 0; i < count; i++) memcpy(to + (ptrdiff_t)i * to_step, from + (ptrdiff_t)i * from_step, block);
  }
}

static void pack(char *bytes, const hmci_strided_t *part) {
  move(bytes, (ptrdiff_t)part->block, part->local, part->here, part->block, part->count);
}

static void spread(const char *bytes, const hmci_strided_t *part) {
  move(part->local, part->here, bytes, (ptrdiff_t)part->block, part->block, part->count);
}

/* Waits in slices where somebody may interrupt: then what is in progress is cancelled, as a queue's is. */
static hmc_status_t await(hmc_request_t *request) {
  if (!hmci_may_be_interrupted()) return hmc_request_wait(request);
  for (;;) {
    hmc_status_t status = hmc_request_wait_for(request, HMCI_SLICE);
    if (status != HMC_IN_PROGRESS) return status;
    if (!hmci_is_interrupted()) continue;
    hmc_request_cancel(request);
    return HMC_CANCELLED;
  }
}

static void end_slot(const struct hmci_slots *slots, slot_t *slot) {
  if (!slot->request) return;
  hmc_status_t status = await(slot->request);
  bool is_interrupted = status == HMC_CANCELLED && atomic_load_explicit(&hmci_interrupted, memory_order_relaxed);
  if (!is_interrupted) hmci_far_expect(status, "a strided transfer with", slot->part.pe);
  if (slot->part.is_get && !is_interrupted) spread(bytes_of(slots, slot), &slot->part);
  hmc_request_free(slot->request);
  hmc_batch_free(slot->batch);
  slot->request = NULL;
}

static void start_slot(struct hmci_slots *slots, slot_t *slot, hmc_remote_t *remote, const hmci_strided_t *part) {
  slot->part = *part;
  hmc_strided_t shape = {.element = part->block,
                         .count = {1, part->count, 1},
                         .local_offset = (uint64_t)(slot - slots->slots) * SLOT_BYTES,
                         .local_stride = {part->block},
                         .remote_offset = part->offset,
                         .remote_stride = {(uint64_t)part->there}};
  if (!part->is_get) pack(bytes_of(slots, slot), part);
  hmci_far_expect(hmc_batch_create_strided(slots->region, remote, &shape, &slot->batch), "a strided transfer with",
                  part->pe);
  hmci_far_expect(part->is_get ? hmc_batch_get_nb(slot->batch, NULL, &slot->request)
                               : hmc_batch_put_nb(slot->batch, NULL, &slot->request),
                  "a strided transfer with", part->pe);
}

/* ---- whole transfers ------------------------------------------------------------------------------------------------- */

bool hmci_strided_fits(const hmci_strided_t *what) {
  bool is_far_host = !hmci_pe.base[what->pe] && !(what->offset & HMCI_IN_DEVICE);
  return is_far_host && what->block && what->block <= MOST_BYTES && what->count > 1 && what->there > 0 &&
         hmci_is_host(hmci_memory_of(what->local));
}

void hmci_strided_start(struct hmc_shmem_ctx *ctx, const hmci_strided_t *what) {
  hmci_far_quiet_pe(ctx, what->pe); /* a fence may have come before */
  hmc_remote_t *remote = hmci_far_remote(what->pe);
  pthread_mutex_lock(&ctx->lock);
  if (!ctx->slots) open_slots(ctx);
  size_t most = SLOT_BYTES / what->block < SLOT_BLOCKS ? SLOT_BYTES / what->block : SLOT_BLOCKS;
  hmci_strided_t part = *what;
  for (size_t left = what->count; left; left -= part.count) {
    part.count = left < most ? left : most;
    slot_t *slot = &ctx->slots->slots[ctx->slots->next++ % SLOTS];
    end_slot(ctx->slots, slot);
    start_slot(ctx->slots, slot, remote, &part);
    part.local += (ptrdiff_t)part.count * part.here;
    part.offset += (uint64_t)((ptrdiff_t)part.count * part.there);
  }
  pthread_mutex_unlock(&ctx->lock);
}

void hmci_strided_end(struct hmc_shmem_ctx *ctx) {
  pthread_mutex_lock(&ctx->lock);
  for (unsigned i = 0; ctx->slots && i < SLOTS; i++) {
    end_slot(ctx->slots, &ctx->slots->slots[(ctx->slots->next + i) % SLOTS]);
  }
  pthread_mutex_unlock(&ctx->lock);
}
