/* Copies of BM: single and batched, synchronous and not (see bm.h).
 *
 * Every copy is one of three: between two ends in this process (a copy of memories), between one here and one of a peer
 * (a put or a get of the engine), or between two peers (through a buffer here). What has been started and is waited for
 * later is in a list: the object's, or that of a batch. */
#include "bm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { SPAN_FACTOR = 4 };

/* ---- what is in progress ----------------------------------------------------------------------------------------- */

/* The code of a finished operation; one on a member that is gone is dropped, so that the next copy looks again. */
static int32_t judge(hmci_smem_object_t *object, const hmci_smem_far_t *far, hmc_status_t status) {
  if (status == HMC_SUCCESS) {
    return SM_OK;
  }
  int32_t code = hmci_smem_fail_hmc(status, "the copy to or from rank %u of pool %u failed", far->rank, object->id);
  if (code == SM_OBJECT_NOT_EXISTS) {
    hmci_smem_far_drop(object, far);
  }
  return code;
}

static void add_pending(hmci_smem_pending_t **list, hmci_smem_pending_t *pending) {
  pending->next = *list;
  *list = pending;
}

/* Waits for each of a list and frees it; the first error in the order in which they were started. */
static int32_t finish_list(hmci_smem_object_t *object, hmci_smem_pending_t *list) {
  int32_t first = SM_OK;
  while (list != NULL) {
    hmci_smem_pending_t *next = list->next;
    hmc_status_t status = hmc_request_wait(list->request);
    if (status != HMC_SUCCESS) {
      first = judge(object, list->far, status);
    }
    hmc_request_free(list->request);
    hmc_batch_free(list->batch);
    hmc_region_close(list->region);
    hmci_smem_far_release(list->far);
    free(list);
    list = next;
  }
  return first;
}

int32_t hmci_smem_finish(hmci_smem_object_t *object) {
  pthread_mutex_lock(&object->lock);
  hmci_smem_pending_t *list = object->pending;
  object->pending = NULL;
  pthread_mutex_unlock(&object->lock);
  return finish_list(object, list);
}

int32_t smem_bm_wait(smem_bm_t handle) {
  hmci_smem_object_t *object;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code == SM_OK) {
    code = hmci_smem_finish(object);
    hmci_smem_object_release(object);
  }
  return code;
}

/* Hands what was started over to smem_bm_wait. */
static void leave_pending(hmci_smem_object_t *object, hmci_smem_pending_t *list) {
  pthread_mutex_lock(&object->lock);
  while (list != NULL) {
    hmci_smem_pending_t *next = list->next;
    add_pending(&object->pending, list);
    list = next;
  }
  pthread_mutex_unlock(&object->lock);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* Begins a call that lasts: the object is held where it succeeds. */
static int32_t begin_call(smem_bm_t handle, smem_bm_copy_type type, hmci_smem_object_t **object) {
  int32_t code = hmci_smem_object_hold(handle, object);
  if (code == SM_OK && ((int)type < 0 || type >= SMEMB_COPY_BUTT)) {
    hmci_smem_object_release(*object);
    code = hmci_smem_fail(SM_INVALID_PARAM, "direction %d: one of SMEMB_COPY_L2G to AUTO is needed", (int)type);
  }
  return code;
}

int32_t hmci_smem_copy_fail(smem_bm_t handle) {
  hmci_smem_object_t *object;
  int32_t code = begin_call(handle, SMEMB_COPY_AUTO, &object);
  if (code == SM_OK) {
    hmci_smem_object_release(object);
    code = hmci_smem_fail(SM_INVALID_PARAM, "no parameters: a copy needs them");
  }
  return code;
}

static int32_t find_ends(const hmci_smem_object_t *object, const void *source, const void *destination, uint64_t size,
                         smem_bm_copy_type type, hmci_smem_end_t *from, hmci_smem_end_t *to) {
  hmci_smem_reader_t *reader = hmci_smem_read_begin();
  if (reader == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for what a thread that uses a pool needs");
  }
  int32_t code = hmci_smem_find_ends(object, source, destination, size, type, from, to);
  hmci_smem_read_end(reader);
  return code;
}

/* ---- one copy ---------------------------------------------------------------------------------------------------- */

/* A put or get between an end here and one of a peer. With `list` it is started only. */
static int32_t copy_far(hmci_smem_object_t *object, const hmci_smem_end_t *near, const hmci_smem_end_t *end,
                        uint64_t size, int is_put, hmci_smem_pending_t **list) {
  hmci_smem_far_t *far;
  hmc_region_t *region = NULL, *lent = NULL;
  uint64_t offset = 0;
  int32_t code = hmci_smem_far_acquire(object, end->rank, &far);
  if (code != SM_OK) {
    return code;
  }
  hmc_remote_t *remote = far->remote[end->kind];
  hmci_smem_pending_t *pending = list != NULL ? calloc(1, sizeof(*pending)) : NULL;
  if (remote == NULL) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "rank %u has no %s part in pool %u: it was created with 0 B of that kind",
                          end->rank, end->kind == HMCI_SMEM_HOST ? "host" : "device", object->id);
  } else if (list != NULL && pending == NULL) {
    code = hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a copy");
  } else {
    code = hmci_smem_near_region(object, near, size, &region, &offset, &lent);
  }
  if (code != SM_OK) {
    goto out;
  }
  hmc_status_t status;
  if (list == NULL) {
    status = is_put ? hmc_put(region, offset, remote, end->offset, size)
                    : hmc_get(region, offset, remote, end->offset, size);
  } else {
    status = is_put ? hmc_put_nb(region, offset, remote, end->offset, size, NULL, &pending->request)
                    : hmc_get_nb(region, offset, remote, end->offset, size, NULL, &pending->request);
  }
  code = judge(object, far, status);
  if (code == SM_OK && list != NULL) {
    pending->region = lent;
    pending->far = far;
    add_pending(list, pending);
    return SM_OK;
  }
out:
  free(pending);
  hmc_region_close(lent);
  hmci_smem_far_release(far);
  return code;
}

typedef struct between {
  hmci_smem_object_t *object;
  const hmci_smem_end_t *from, *to;
} between_t;

static int32_t move_between(void *user, void *buffer, uint64_t done, uint64_t bytes) {
  const between_t *between = user;
  const hmci_smem_end_t here = {
      .where = HMCI_SMEM_NEAR, .pointer = buffer, .memory = {.kind = HMC_MEMORY_CPU, .device = 0}};
  hmci_smem_end_t source = *between->from, target = *between->to;
  source.offset += done;
  target.offset += done;
  int32_t code = copy_far(between->object, &here, &source, bytes, 0, NULL);
  return code == SM_OK ? copy_far(between->object, &here, &target, bytes, 1, NULL) : code;
}

static int32_t copy_here(const hmci_smem_end_t *from, const hmci_smem_end_t *to, uint64_t size) {
  hmc_status_t status = hmc_memory_copy(to->pointer, to->memory, from->pointer, from->memory, size);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "the copy within this process failed");
}

static int32_t copy_ends(hmci_smem_object_t *object, const hmci_smem_end_t *from, const hmci_smem_end_t *to,
                         uint64_t size, hmci_smem_pending_t **list) {
  if (from->where == HMCI_SMEM_NEAR && to->where == HMCI_SMEM_NEAR) {
    return copy_here(from, to, size);
  }
  if (from->where == HMCI_SMEM_FAR && to->where == HMCI_SMEM_FAR) {
    between_t between = {.object = object, .from = from, .to = to};
    return hmci_smem_bounce(size, move_between, &between);
  }
  int is_put = to->where == HMCI_SMEM_FAR;
  return copy_far(object, is_put ? from : to, is_put ? to : from, size, is_put, list);
}

/* True where a copy that found a member gone shall be done again: the member has left and joined again, and the copy came
 * before what the store tells of it. */
static int is_renewed(hmci_smem_object_t *object, const hmci_smem_end_t *end) {
  return end->where == HMCI_SMEM_FAR && hmci_smem_far_is_renewed(object, end->rank);
}

static int32_t copy_one(hmci_smem_object_t *object, const void *source, void *destination, uint64_t size,
                        smem_bm_copy_type type, uint32_t flags) {
  hmci_smem_end_t from, to;
  hmci_smem_pending_t *started = NULL;
  int is_async = (flags & ASYNC_COPY_FLAG) != 0;
  int32_t code = find_ends(object, source, destination, size, type, &from, &to);
  if (code == SM_OK) {
    code = copy_ends(object, &from, &to, size, is_async ? &started : NULL);
    if (code == SM_OBJECT_NOT_EXISTS && (is_renewed(object, &from) || is_renewed(object, &to))) {
      code = copy_ends(object, &from, &to, size, is_async ? &started : NULL);
    }
  }
  if (started != NULL) {
    leave_pending(object, started);
  }
  return code;
}

int32_t hmci_smem_copy(smem_bm_t handle, const void *source, void *destination, uint64_t size, smem_bm_copy_type type,
                       uint32_t flags) {
  hmci_smem_object_t *object;
  int32_t code = begin_call(handle, type, &object);
  if (code == SM_OK) {
    code = copy_one(object, source, destination, size, type, flags);
    hmci_smem_object_release(object);
  }
  return code;
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* Pieces that follow one another in a batch, between the same two regions, go as one operation. */
typedef struct group {
  hmci_smem_object_t *object;
  hmc_segment_t *segments;
  uint32_t count;
  hmc_region_t *region;
  uint32_t rank;
  int kind, is_put;
  hmci_smem_pending_t *list;
} group_t;

/* Starts a batch, for finish_list to wait for; what starts takes the batch and the far part. */
static int32_t start_batch(group_t *group, hmci_smem_far_t *far, hmc_batch_t *batch) {
  hmci_smem_pending_t *pending = calloc(1, sizeof(*pending));
  if (pending == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a batch");
  }
  hmc_status_t status = group->is_put ? hmc_batch_put_nb(batch, NULL, &pending->request)
                                      : hmc_batch_get_nb(batch, NULL, &pending->request);
  if (status != HMC_SUCCESS) {
    free(pending);
    return judge(group->object, far, status);
  }
  pending->batch = batch;
  pending->far = far;
  add_pending(&group->list, pending);
  return SM_OK;
}

static int32_t make_batch(const group_t *group, const hmci_smem_far_t *far, hmc_batch_t **batch) {
  if (far->remote[group->kind] == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "rank %u has no %s part in pool %u: it was created with 0 B of that kind",
                          group->rank, group->kind == HMCI_SMEM_HOST ? "host" : "device", group->object->id);
  }
  hmc_status_t status = hmc_batch_create(group->region, far->remote[group->kind], group->segments, group->count, batch);
  return judge(group->object, far, status);
}

/* `moves_here`: by this thread, at once, which saves handing it to another one that this one would wait for. */
static int32_t flush_group(group_t *group, int moves_here) {
  hmci_smem_object_t *object = group->object;
  hmci_smem_far_t *far;
  hmc_batch_t *batch = NULL;
  if (group->count == 0) {
    return SM_OK;
  }
  int32_t code = hmci_smem_far_acquire(object, group->rank, &far);
  if (code == SM_OK) {
    code = make_batch(group, far, &batch);
    if (code == SM_OK && !moves_here) {
      code = start_batch(group, far, batch);
    } else if (code == SM_OK) {
      code = judge(object, far, group->is_put ? hmc_batch_put(batch) : hmc_batch_get(batch));
    }
    if (code != SM_OK || moves_here) {
      hmc_batch_free(batch);
      hmci_smem_far_release(far);
    }
  }
  group->count = 0;
  return code;
}

static int32_t add_to_group(group_t *group, const hmci_smem_end_t *end, int is_put, hmc_region_t *region,
                            uint64_t offset, uint64_t size) {
  int32_t code = SM_OK;
  if (group->count > 0 &&
      (group->region != region || group->rank != end->rank || group->kind != end->kind || group->is_put != is_put)) {
    code = flush_group(group, 0);
  }
  group->region = region;
  group->rank = end->rank;
  group->kind = end->kind;
  group->is_put = is_put;
  group->segments[group->count++] =
      (hmc_segment_t){.local_offset = offset, .remote_offset = end->offset, .length = size};
  return code;
}

/* What a batch's ends in this process without a region have in common: a range that holds them all. */
typedef struct span {
  uint64_t begin, end, bytes;
  hmc_memory_t memory;
  int is_mixed;
  hmc_region_t *region;
} span_t;

static void widen(span_t *span, const hmci_smem_end_t *end, uint64_t size) {
  uint64_t begin = (uint64_t)(uintptr_t)end->pointer;
  if (end->where != HMCI_SMEM_NEAR || end->region != NULL) {
    return;
  }
  if (span->bytes == 0) {
    span->begin = begin;
    span->end = begin + size;
    span->memory = end->memory;
  }
  span->begin = begin < span->begin ? begin : span->begin;
  span->end = begin + size > span->end ? begin + size : span->end;
  span->bytes += size;
  span->is_mixed = span->is_mixed || end->memory.kind != span->memory.kind || end->memory.device != span->memory.device;
}

/* Registers the whole span once, where its parts lie close together; where that is not to be had each part is
 * registered. */
static void lend_span(hmci_smem_object_t *object, span_t *span) {
  if (span->bytes == 0 || span->is_mixed || (span->end - span->begin) / SPAN_FACTOR > span->bytes) {
    return;
  }
  if (hmc_region_register(object->world->context, (void *)(uintptr_t)span->begin, span->end - span->begin, NULL, 0,
                          &span->region) != HMC_SUCCESS) {
    span->region = NULL;
  }
}

/* The region of a piece's near end: its own, or that of the span; NULL: it has to be registered by itself. */
static hmc_region_t *shared_region(const hmci_smem_end_t *near, const span_t *span, uint64_t *offset) {
  if (near->region != NULL) {
    *offset = near->offset;
    return near->region;
  }
  *offset = (uint64_t)(uintptr_t)near->pointer - span->begin;
  return span->region;
}

static int32_t copy_piece(group_t *group, const hmci_smem_end_t *from, const hmci_smem_end_t *to, uint64_t size,
                          const span_t *span) {
  hmci_smem_object_t *object = group->object;
  if (from->where == to->where) {
    return copy_ends(object, from, to, size, NULL);
  }
  int is_put = to->where == HMCI_SMEM_FAR;
  const hmci_smem_end_t *near = is_put ? from : to, *end = is_put ? to : from;
  uint64_t offset = 0;
  hmc_region_t *region = shared_region(near, span, &offset);
  if (region == NULL) {
    return copy_far(object, near, end, size, is_put, &group->list);
  }
  return add_to_group(group, end, is_put, region, offset, size);
}

typedef struct piece {
  hmci_smem_end_t from, to;
} piece_t;

/* Starts all pieces; the first error, after which the others are still started. The last group is moved here, unless
 * smem_bm_wait shall wait for it. */
static int32_t start_pieces(group_t *group, const piece_t *pieces, const smem_batch_copy_params *params,
                            const span_t *span, int is_async) {
  int32_t first = SM_OK;
  for (uint32_t i = 0; i < params->batchSize; i++) {
    int32_t code = copy_piece(group, &pieces[i].from, &pieces[i].to, params->dataSizes[i], span);
    first = first == SM_OK ? code : first;
  }
  int32_t code = flush_group(group, !is_async);
  return first == SM_OK ? code : first;
}

static int32_t find_pieces(hmci_smem_object_t *object, const smem_batch_copy_params *params, smem_bm_copy_type type,
                           piece_t *pieces, span_t *span) {
  for (uint32_t i = 0; i < params->batchSize; i++) {
    int32_t code = find_ends(object, params->sources[i], params->destinations[i], params->dataSizes[i], type,
                             &pieces[i].from, &pieces[i].to);
    if (code != SM_OK) {
      return code;
    }
    widen(span, &pieces[i].from, params->dataSizes[i]);
    widen(span, &pieces[i].to, params->dataSizes[i]);
  }
  return SM_OK;
}

/* Starts all pieces, and finishes them unless smem_bm_wait shall. */
static int32_t copy_pieces(group_t *group, const piece_t *pieces, const smem_batch_copy_params *params, span_t *span,
                           int is_async) {
  int32_t code = start_pieces(group, pieces, params, span, is_async);
  if (is_async && code == SM_OK && group->list != NULL) {
    group->list->region = group->list->region == NULL ? span->region : group->list->region;
    span->region = group->list->region == span->region ? NULL : span->region; /* the last that is freed closes it */
    leave_pending(group->object, group->list);
    group->list = NULL;
  }
  int32_t finished = finish_list(group->object, group->list);
  group->list = NULL;
  return code == SM_OK ? finished : code;
}

static int has_renewed(hmci_smem_object_t *object, const piece_t *pieces, uint32_t count) {
  uint32_t asked = UINT32_MAX; /* pieces of one rank mostly follow one another */
  for (uint32_t i = 0; i < count; i++) {
    const hmci_smem_end_t *far = pieces[i].to.where == HMCI_SMEM_FAR ? &pieces[i].to : &pieces[i].from;
    if (far->rank != asked && (is_renewed(object, &pieces[i].from) || is_renewed(object, &pieces[i].to))) {
      return 1;
    }
    asked = far->rank;
  }
  return 0;
}

static int32_t copy_batch(hmci_smem_object_t *object, const smem_batch_copy_params *params, smem_bm_copy_type type,
                          uint32_t flags) {
  span_t span = {.bytes = 0};
  int32_t code;
  if (params->batchSize == 0 || params->sources == NULL || params->destinations == NULL || params->dataSizes == NULL) {
    return hmci_smem_fail(
        SM_INVALID_PARAM,
        "a batch of %u pieces, or without a list: sources, destinations and sizes of at least one are needed",
        params->batchSize);
  }
  piece_t *pieces = calloc(params->batchSize, sizeof(*pieces));
  group_t group = {.object = object, .segments = calloc(params->batchSize, sizeof(hmc_segment_t))};
  if (pieces == NULL || group.segments == NULL) {
    code = hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a batch of %u pieces", params->batchSize);
  } else {
    code = find_pieces(object, params, type, pieces, &span);
  }
  if (code == SM_OK) {
    lend_span(object, &span);
    code = copy_pieces(&group, pieces, params, &span, (flags & ASYNC_COPY_FLAG) != 0);
    if (code == SM_OBJECT_NOT_EXISTS && has_renewed(object, pieces, params->batchSize)) {
      code = copy_pieces(&group, pieces, params, &span, (flags & ASYNC_COPY_FLAG) != 0);
    }
  }
  hmc_region_close(span.region);
  free(group.segments);
  free(pieces);
  return code;
}

int32_t hmci_smem_copy_batch(smem_bm_t handle, const smem_batch_copy_params *params, smem_bm_copy_type type,
                             uint32_t flags) {
  hmci_smem_object_t *object;
  int32_t code = begin_call(handle, type, &object);
  if (code == SM_OK) {
    code = copy_batch(object, params, type, flags);
    hmci_smem_object_release(object);
  }
  return code;
}
