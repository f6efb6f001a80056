/* Small copies to and from members on this host: no lock, no allocation, nothing counted; the bytes are moved while this
 * thread reads (see bm.h).
 *
 * Copies mostly go the way of the one before them, which the thread keeps. Between host memories both ends are pointers,
 * where the member's part is mapped, so that the thread moves the bytes itself: a put or a get would look at the ranges a
 * second time. The far pointer is the engine's and not the global address: these lie a power of two apart, and processors
 * that guess the way of their first cache by some of an address's bits (AMD's do) take two such places for one and miss
 * at each turn, which halves the rate of what lies there. Only what goes well is done here. Whatever fails
 * is done again by bm_copy.c, which has the texts, connects again, and waits; a batch whose pieces were moved in part is
 * moved again as a whole. */
#include "bm.h"

#include <stdlib.h>
#include <string.h>

/* A thread reads no longer than so many bytes take; larger ones are puts and gets, which HMC counts (hmc_stats_t): what a
 * put costs beside its bytes is nothing there; and pieces of a batch on the stack, and in all. */
enum { PLAIN_BYTES = 1 << 20, STRAIGHT_BYTES = 64 << 10, STACK_PIECES = 256, PIECES_MOST = 4096 };

typedef enum verdict { WRONG, NOT_PLAIN, PLAIN } verdict_t;

typedef struct copy {
  smem_bm_t handle;
  smem_bm_copy_type type;
  uint64_t source, destination, size;
} copy_t;

/* Is the way that of the copy? */
static inline int fits(const hmci_smem_way_t *way, const copy_t *copy) {
  return way->epoch == atomic_load_explicit(&hmci_smem_read_epoch, memory_order_acquire) &&
         way->handle == copy->handle && way->type == copy->type && copy->size > 0 &&
         hmci_smem_holds(way->source, way->source_size, copy->source, copy->size) &&
         hmci_smem_holds(way->destination, way->destination_size, copy->destination, copy->size);
}

/* The same where the copy may go straight; in fewer steps, because no range is smaller than what goes straight. */
static inline int fits_straight(const hmci_smem_way_t *way, const copy_t *copy) {
  return copy->size - 1 < way->straight && /* no bytes are too many */
         way->epoch == atomic_load_explicit(&hmci_smem_read_epoch, memory_order_acquire) &&
         way->handle == copy->handle && way->type == copy->type &&
         copy->source - way->source <= way->source_size - copy->size &&
         copy->destination - way->destination <= way->destination_size - copy->size;
}

/* The same for a word. */
static inline int fits_word(const hmci_smem_way_t *way, const copy_t *copy) {
  return way->word_epoch == atomic_load_explicit(&hmci_smem_read_epoch, memory_order_acquire) &&
         way->handle == copy->handle && way->type == copy->type && copy->source - way->source <= way->source_word &&
         copy->destination - way->destination <= way->destination_word;
}

/* The far part that an end lies in, where copies are done by this thread; else NULL. */
static hmci_smem_far_t *find_far(const hmci_smem_object_t *object, const hmci_smem_end_t *end) {
  hmci_smem_far_t *far =
      atomic_load_explicit(&object->places[end->rank].far, memory_order_acquire); /* partner: connect_place */
  return far != NULL && far->is_here ? far : NULL;
}

/* Makes both ends of a way pointers, where they are host memory. */
static void straighten(hmci_smem_way_t *way, hmci_smem_far_t *far, const hmci_smem_end_t *from,
                       const hmci_smem_end_t *to) {
  void *mapped = NULL;
  const hmc_mapping_t *mapping =
      atomic_load_explicit(&far->mapping, memory_order_relaxed); /* set before `far` was shown */
  if (from->kind == HMCI_SMEM_HOST && to->kind == HMCI_SMEM_HOST && mapping != NULL &&
      hmc_remote_map(far->remote[HMCI_SMEM_HOST], &mapped) == HMC_SUCCESS) {
    uint64_t most = way->source_size < way->destination_size ? way->source_size : way->destination_size;
    way->straight = most < STRAIGHT_BYTES ? most : STRAIGHT_BYTES;
    if (most >= sizeof(uint64_t)) {
      way->word_epoch = way->epoch;
      way->source_word = way->source_size - sizeof(uint64_t);
      way->destination_word = way->destination_size - sizeof(uint64_t);
    }
    way->mapping = mapping;
    way->source_shift = way->is_put ? 0 : (uint64_t)(uintptr_t)mapped - way->source;
    way->destination_shift = way->is_put ? (uint64_t)(uintptr_t)mapped - way->destination : 0;
  }
}

/* Finds the way of a copy. WRONG: *code says so. */
static verdict_t find_way_of(hmci_smem_way_t *way, const copy_t *copy, int32_t *code) {
  hmci_smem_end_t from, to;
  uint64_t epoch = atomic_load_explicit(&hmci_smem_read_epoch, memory_order_acquire); /* before what it stands for */
  const hmci_smem_object_t *object = hmci_smem_object_find(copy->handle);
  *way = (hmci_smem_way_t){.word_epoch = HMCI_SMEM_NO_EPOCH}; /* nor does a copy without a handle find the former one */
  if (object == NULL) {
    return NOT_PLAIN;
  }
  *code = hmci_smem_find_ends(object, (const void *)(uintptr_t)copy->source, (const void *)(uintptr_t)copy->destination,
                              copy->size, copy->type, &from, &to);
  if (*code != SM_OK) {
    return WRONG;
  }
  int is_put = to.where == HMCI_SMEM_FAR;
  hmci_smem_end_t *end = is_put ? &to : &from;
  hmc_region_t *region = is_put ? from.region : to.region;
  hmci_smem_far_t *far = from.where != to.where ? find_far(object, end) : NULL;
  if (far == NULL || region == NULL) {
    return NOT_PLAIN;
  }
  end->room = hmc_remote_size(far->remote[end->kind]); /* so that a batch with a piece past it moves nothing */
  if (!hmci_smem_holds(0, end->room, end->offset, copy->size)) {
    return NOT_PLAIN;
  }
  *way = (hmci_smem_way_t){.handle = copy->handle,
                           .type = copy->type,
                           .is_put = is_put,
                           .epoch = epoch,
                           .word_epoch = HMCI_SMEM_NO_EPOCH,
                           .source = copy->source - from.offset,
                           .source_size = from.room,
                           .destination = copy->destination - to.offset,
                           .destination_size = to.room,
                           .region = region,
                           .remote = far->remote[end->kind]};
  straighten(way, far, &from, &to);
  return PLAIN;
}

/* By value and out of line, so that a copy that goes the last one's way stays in registers. */
__attribute__((noinline)) static verdict_t find_way(hmci_smem_way_t *way, copy_t copy, int32_t *code) {
  return find_way_of(way, &copy, code);
}

/* What is left of a copy: pointers, or a put or a get. */
typedef struct piece {
  const hmc_mapping_t *mapping; /* NULL: by region and remote */
  hmc_region_t *region;
  hmc_remote_t *remote;
  uint64_t source, destination; /* addresses, or offsets */
  uint64_t size;
  int is_put;
} piece_t;

static inline piece_t piece_of(const hmci_smem_way_t *way, const copy_t *copy) {
  int is_straight = copy->size <= way->straight;
  return (piece_t){.mapping = is_straight ? way->mapping : NULL,
                   .region = way->region,
                   .remote = way->remote,
                   .source = is_straight ? copy->source + way->source_shift : copy->source - way->source,
                   .destination =
                       is_straight ? copy->destination + way->destination_shift : copy->destination - way->destination,
                   .size = copy->size,
                   .is_put = way->is_put};
}

/* Moves the bytes between two pointers. What the put or get that this is promises to those who inform one another by other
 * words holds here too. */
static inline void move_bytes(uint64_t destination, uint64_t source, uint64_t size) {
  atomic_thread_fence(memory_order_acquire); /* partner: what made this thread look */
  memcpy((void *)(uintptr_t)destination, (const void *)(uintptr_t)source, size);
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
}

static inline int move(const piece_t *piece) {
  if (piece->mapping != NULL && hmc_mapping_is_live(piece->mapping)) {
    move_bytes(piece->destination, piece->source, piece->size);
    return 1;
  }
  if (piece->mapping != NULL) {
    return 0;
  }
  hmc_status_t status = piece->is_put
                            ? hmc_put(piece->region, piece->source, piece->remote, piece->destination, piece->size)
                            : hmc_get(piece->region, piece->destination, piece->remote, piece->source, piece->size);
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
static int copy_plain(hmci_smem_reader_t *reader, const copy_t *copy, int32_t *code) {
  piece_t piece;
  *code = SM_OK;
  uint64_t count = hmci_smem_read_enter(reader);
  verdict_t verdict = resolve(&reader->way, copy, &piece, code);
  if (verdict == PLAIN && !move(&piece)) {
    verdict = NOT_PLAIN;
  }
  hmci_smem_read_leave(reader, count);
  return verdict != NOT_PLAIN;
}

/* Copies that do not go straight by the last way of this thread. */
__attribute__((noinline)) static int32_t copy_in_turn(smem_bm_t handle, const void *source, void *destination,
                                                      uint64_t size, smem_bm_copy_type type, uint32_t flags) {
  int32_t code;
  const copy_t copy = {.handle = handle,
                       .type = type,
                       .source = (uint64_t)(uintptr_t)source,
                       .destination = (uint64_t)(uintptr_t)destination,
                       .size = size};
  hmci_smem_reader_t *reader =
      (flags & ASYNC_COPY_FLAG) == 0 && is_direction(type) && size <= PLAIN_BYTES ? hmci_smem_reader_get() : NULL;
  if (reader != NULL && copy_plain(reader, &copy, &code)) {
    return code;
  }
  return hmci_smem_copy(handle, source, destination, size, type, flags);
}

/* The rest of a straight copy; the count is this thread's own. */
__attribute__((noinline)) static int32_t end_straight(hmci_smem_reader_t *reader, uint64_t destination, uint64_t source,
                                                      uint64_t size) {
  move_bytes(destination, source, size);
  hmci_smem_read_end(reader);
  return SM_OK;
}

/* What goes straight by the last way of this thread is done here, in as few instructions as a put is: there is no call but
 * at the ends, so that no register has to be saved; and a word is one load and one store. */
__attribute__((always_inline)) static inline int32_t copy_it(smem_bm_t handle, const void *from, void *to,
                                                             uint64_t size, smem_bm_copy_type type, uint32_t flags) {
  hmci_smem_reader_t *reader = hmci_smem_reader_find();
  if (reader == NULL || (flags & ASYNC_COPY_FLAG) != 0) {
    return copy_in_turn(handle, from, to, size, type, flags);
  }
  const hmci_smem_way_t *way = &reader->way;
  const copy_t copy = {.handle = handle,
                       .type = type,
                       .source = (uint64_t)(uintptr_t)from,
                       .destination = (uint64_t)(uintptr_t)to,
                       .size = size};
  uint64_t count = hmci_smem_read_enter_found(reader);
  int is_word = size == sizeof(uint64_t);
  if (!(is_word ? fits_word(way, &copy) : fits_straight(way, &copy)) || !hmc_mapping_is_live(way->mapping)) {
    hmci_smem_read_leave(reader, count);
    return copy_in_turn(handle, from, to, size, type, flags);
  }
  uint64_t source = copy.source + way->source_shift, destination = copy.destination + way->destination_shift;
  if (!is_word) {
    return end_straight(reader, destination, source, size);
  }
  move_bytes(destination, source, sizeof(uint64_t));
  hmci_smem_read_leave(reader, count);
  return SM_OK;
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
