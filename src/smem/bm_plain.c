/* Small copies to and from members on this host: no lock, no allocation, nothing counted; the bytes are moved while this
 * thread reads (see bm.h).
 *
 * Copies mostly go the way of the one before them, which the thread keeps. Only what goes well is done here. Whatever fails
 * is done again by bm_copy.c, which has the texts, connects again, and waits; a batch whose pieces were moved in part is
 * moved again as a whole. */
#include "bm.h"

#include <stdlib.h>

/* A thread reads no longer than so many bytes take; and pieces of a batch on the stack, and in all. */
enum { PLAIN_BYTES = 1 << 20, STACK_PIECES = 256, PIECES_MOST = 4096 };

typedef enum verdict { WRONG, NOT_PLAIN, PLAIN } verdict_t;

typedef struct copy {
  smem_bm_t handle;
  smem_bm_copy_type type;
  uint64_t source, destination, size;
} copy_t;

static int holds(uint64_t begin, uint64_t bytes, uint64_t address, uint64_t size) {
  return address - begin <= bytes && size <= bytes - (address - begin);
}

/* Is the way that of the copy? */
static inline int fits(const hmci_smem_way_t *way, const copy_t *copy) {
  return way->epoch == atomic_load_explicit(&hmci_smem_read_epoch, memory_order_acquire) &&
         way->handle == copy->handle && way->type == copy->type && copy->size > 0 &&
         holds(way->source, way->source_size, copy->source, copy->size) &&
         holds(way->destination, way->destination_size, copy->destination, copy->size);
}

/* The far part that an end lies in, where copies are done by this thread; else NULL. */
static hmc_remote_t *find_remote(const hmci_smem_object_t *object, const hmci_smem_end_t *end) {
  const hmci_smem_far_t *far =
      atomic_load_explicit(&object->places[end->rank].far, memory_order_acquire); /* partner: connect_place */
  return far != NULL && far->is_here ? far->remote[end->kind] : NULL;
}

/* Finds the way of a copy. WRONG: *code says so. */
static verdict_t find_way_of(hmci_smem_way_t *way, const copy_t *copy, int32_t *code) {
  hmci_smem_end_t from, to;
  uint64_t epoch = atomic_load_explicit(&hmci_smem_read_epoch, memory_order_acquire); /* before what it stands for */
  const hmci_smem_object_t *object = hmci_smem_object_find(copy->handle);
  way->handle = NULL;
  if (object == NULL) {
    return NOT_PLAIN;
  }
  *code = hmci_smem_find_ends(object, (const void *)(uintptr_t)copy->source, (const void *)(uintptr_t)copy->destination,
                              copy->size, copy->type, &from, &to);
  if (*code != SM_OK) {
    return WRONG;
  }
  int is_put = to.where == HMCI_SMEM_FAR;
  hmci_smem_end_t *far = is_put ? &to : &from;
  hmc_region_t *region = is_put ? from.region : to.region;
  hmc_remote_t *remote = from.where != to.where ? find_remote(object, far) : NULL;
  far->room = hmc_remote_size(remote); /* so that a batch with a piece past it moves nothing */
  if (region == NULL || !holds(0, far->room, far->offset, copy->size)) {
    return NOT_PLAIN;
  }
  *way = (hmci_smem_way_t){.handle = copy->handle,
                           .type = copy->type,
                           .is_put = is_put,
                           .epoch = epoch,
                           .source = copy->source - from.offset,
                           .source_size = from.room,
                           .destination = copy->destination - to.offset,
                           .destination_size = to.room,
                           .region = region,
                           .remote = remote};
  return PLAIN;
}

/* By value and out of line, so that a copy that goes the last one's way stays in registers. */
__attribute__((noinline)) static verdict_t find_way(hmci_smem_way_t *way, copy_t copy, int32_t *code) {
  return find_way_of(way, &copy, code);
}

/* What is left of a copy: a put or a get. */
typedef struct piece {
  hmc_region_t *region;
  hmc_remote_t *remote;
  uint64_t offset, remote_offset, size;
  int is_put;
} piece_t;

static inline piece_t piece_of(const hmci_smem_way_t *way, const copy_t *copy) {
  uint64_t from = copy->source - way->source, to = copy->destination - way->destination;
  return (piece_t){.region = way->region,
                   .remote = way->remote,
                   .offset = way->is_put ? from : to,
                   .remote_offset = way->is_put ? to : from,
                   .size = copy->size,
                   .is_put = way->is_put};
}

static inline int move(const piece_t *piece) {
  hmc_status_t status = piece->is_put
                            ? hmc_put(piece->region, piece->offset, piece->remote, piece->remote_offset, piece->size)
                            : hmc_get(piece->region, piece->offset, piece->remote, piece->remote_offset, piece->size);
  return status == HMC_SUCCESS;
}

/* While reading: finds what a copy is. */
static inline verdict_t resolve(hmci_smem_way_t *way, const copy_t *copy, piece_t *piece, int32_t *code) {
  verdict_t verdict = fits(way, copy) ? PLAIN : find_way(way, *copy, code);
  if (verdict == PLAIN) {
    *piece = piece_of(way, copy);
  }
  return verdict;
}

static int is_direction(smem_bm_copy_type type) { return (int)type >= 0 && type < SMEMB_COPY_BUTT; }

/* False: to be done as all others are; else *code is set. */
static inline int copy_plain(const copy_t *copy, int32_t *code) {
  hmci_smem_reader_t *reader = is_direction(copy->type) && copy->size <= PLAIN_BYTES ? hmci_smem_read_begin() : NULL;
  piece_t piece;
  if (reader == NULL) {
    return 0;
  }
  *code = SM_OK;
  verdict_t verdict = resolve(&reader->way, copy, &piece, code);
  if (verdict == PLAIN && !move(&piece)) {
    verdict = NOT_PLAIN;
  }
  hmci_smem_read_end(reader);
  return verdict != NOT_PLAIN;
}

static inline int32_t copy_it(smem_bm_t handle, const void *source, void *destination, uint64_t size,
                              smem_bm_copy_type type, uint32_t flags) {
  int32_t code;
  const copy_t copy = {.handle = handle,
                       .type = type,
                       .source = (uint64_t)(uintptr_t)source,
                       .destination = (uint64_t)(uintptr_t)destination,
                       .size = size};
  if ((flags & ASYNC_COPY_FLAG) == 0 && copy_plain(&copy, &code)) {
    return code;
  }
  return hmci_smem_copy(handle, source, destination, size, type, flags);
}

int32_t smem_bm_copy_plain(smem_bm_t handle, const void *src, void *dest, uint64_t size, smem_bm_copy_type t,
                           uint32_t flags) {
  return copy_it(handle, src, dest, size, t, flags);
}

int32_t(smem_bm_copy)(smem_bm_t handle, smem_copy_params *params, smem_bm_copy_type t, uint32_t flags) {
  return params != NULL ? copy_it(handle, params->src, params->dest, params->dataSize, t, flags)
                        : hmci_smem_copy_fail(handle);
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

static verdict_t resolve_all(hmci_smem_way_t *way, smem_bm_t handle, const smem_batch_copy_params *params,
                             smem_bm_copy_type type, piece_t *pieces, int32_t *code) {
  uint64_t bytes = 0;
  verdict_t verdict = PLAIN;
  for (uint32_t i = 0; i < params->batchSize && verdict == PLAIN; i++) {
    const copy_t copy = {.handle = handle,
                         .type = type,
                         .source = (uint64_t)(uintptr_t)params->sources[i],
                         .destination = (uint64_t)(uintptr_t)params->destinations[i],
                         .size = params->dataSizes[i]};
    bytes += copy.size <= PLAIN_BYTES ? copy.size : PLAIN_BYTES + 1;
    verdict = bytes <= PLAIN_BYTES ? resolve(way, &copy, &pieces[i], code) : NOT_PLAIN;
  }
  return verdict;
}

/* All pieces are looked at before the first one is moved. */
static verdict_t copy_all(smem_bm_t handle, const smem_batch_copy_params *params, smem_bm_copy_type type,
                          piece_t *pieces, int32_t *code) {
  hmci_smem_reader_t *reader = hmci_smem_read_begin();
  if (reader == NULL) {
    return NOT_PLAIN;
  }
  *code = SM_OK;
  verdict_t verdict = resolve_all(&reader->way, handle, params, type, pieces, code);
  for (uint32_t i = 0; i < params->batchSize && verdict == PLAIN; i++) {
    verdict = move(&pieces[i]) ? PLAIN : NOT_PLAIN;
  }
  hmci_smem_read_end(reader);
  return verdict;
}

static int copy_batch_plain(smem_bm_t handle, const smem_batch_copy_params *params, smem_bm_copy_type type,
                            int32_t *code) {
  piece_t some[STACK_PIECES];
  if (params->batchSize == 0 || params->batchSize > PIECES_MOST || params->sources == NULL ||
      params->destinations == NULL || params->dataSizes == NULL || !is_direction(type)) {
    return 0;
  }
  piece_t *pieces = params->batchSize <= STACK_PIECES ? some : malloc(params->batchSize * sizeof(*pieces));
  verdict_t verdict = pieces != NULL ? copy_all(handle, params, type, pieces, code) : NOT_PLAIN;
  if (pieces != some) {
    free(pieces);
  }
  return verdict != NOT_PLAIN;
}

int32_t smem_bm_copy_batch(smem_bm_t handle, smem_batch_copy_params *params, smem_bm_copy_type t, uint32_t flags) {
  int32_t code;
  if (params == NULL) {
    return hmci_smem_copy_fail(handle);
  }
  if ((flags & ASYNC_COPY_FLAG) == 0 && copy_batch_plain(handle, params, t, &code)) {
    return code;
  }
  return hmci_smem_copy_batch(handle, params, t, flags);
}
