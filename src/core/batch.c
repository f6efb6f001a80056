/* Batches: lists of pieces, prepared once and moved as one operation.
 *
 * Preparing checks all bounds, drops empty pieces and joins those that lie one behind the other at both ends; a strided
 * form is written out as such a list, its innermost dimension being one piece. */
#include "request.h"

#include <stdlib.h>

enum { RESERVED = 1 << 16 }; /* pieces of a block that there is room for at once */

typedef struct list {
  hmci_segment_t *segments;
  size_t count, room;
} list_t;

static bool reserve(list_t *list, size_t room) {
  hmci_segment_t *segments = room <= UINT32_MAX ? realloc(list->segments, room * sizeof *segments) : NULL;
  if (!segments) return false;
  list->segments = segments;
  list->room = room;
  return true;
}

/* Adds a piece; joins it with the one before where it goes on from there at both ends. False: no memory. */
static bool add(list_t *list, hmci_segment_t piece) {
  if (!piece.length) return true;
  hmci_segment_t *last = list->count ? &list->segments[list->count - 1] : NULL;
  if (last && last->local + last->length == piece.local && last->remote + last->length == piece.remote) {
    last->length += piece.length;
    return true;
  }
  if (list->count == list->room && !reserve(list, list->room ? list->room * 2 : 16)) return false;
  list->segments[list->count++] = piece;
  return true;
}

static hmc_status_t check_ends(const hmc_region_t *local, const hmc_remote_t *remote, const void *what, void *out) {
  if (!local || !remote || !what || !out)
    return hmci_fail(HMC_INVALID_CONFIG, "batch: a region, the list or the result is NULL");
  if (hmci_context_is_foreign(remote->peer->context)) return HMC_UNSUPPORT;
  if (local->context != remote->peer->context) {
    return hmci_fail(HMC_INVALID_CONFIG, "batch: the local region belongs to another context than the peer");
  }
  return HMC_SUCCESS;
}

static hmc_status_t check_piece(const hmc_region_t *local, const hmc_remote_t *remote, size_t index,
                                const hmci_segment_t *piece) {
  bool local_fits = hmci_range_fits(piece->local, piece->length, local->view.size);
  if (local_fits && hmci_range_fits(piece->remote, piece->length, remote->view.size)) return HMC_SUCCESS;
  return hmci_fail(
      HMC_OUT_OF_RANGE, "batch: piece %zu, %llu B at offset %llu, runs past the %llu B of the %s region", index,
      (unsigned long long)piece->length, (unsigned long long)(local_fits ? piece->remote : piece->local),
      (unsigned long long)(local_fits ? remote->view.size : local->view.size), local_fits ? "remote" : "local");
}

static hmc_status_t make_batch(hmc_region_t *local, hmc_remote_t *remote, list_t *list, hmc_batch_t **out) {
  hmc_batch_t *batch = malloc(sizeof *batch);
  if (!batch) {
    free(list->segments);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a batch");
  }
  *batch = (hmc_batch_t){.local = local, .remote = remote, .segments = list->segments, .count = (uint32_t)list->count};
  for (size_t i = 0; i < list->count; i++) batch->size += list->segments[i].length;
  *out = batch;
  return HMC_SUCCESS;
}

hmc_status_t hmc_batch_create(hmc_region_t *local, hmc_remote_t *remote, const hmc_segment_t *segments, size_t count,
                              hmc_batch_t **out) {
  hmc_status_t status = check_ends(local, remote, segments, out);
  if (status != HMC_SUCCESS) return status;
  if (!count) return hmci_fail(HMC_INVALID_CONFIG, "a batch of no pieces");
  list_t list = {0};
  for (size_t i = 0; i < count; i++) {
    hmci_segment_t piece = {segments[i].local_offset, segments[i].remote_offset, segments[i].length};
    status = check_piece(local, remote, i, &piece);
    if (status == HMC_SUCCESS && !add(&list, piece))
      status = hmci_fail(HMC_NO_MEMORY, "no memory for a batch of %zu pieces", count);
    if (status != HMC_SUCCESS) {
      free(list.segments);
      return status;
    }
  }
  return make_batch(local, remote, &list, out);
}

/* a * b + c without overflow. */
static bool place(uint64_t a, uint64_t b, uint64_t c, uint64_t *result) {
  uint64_t product;
  return !__builtin_mul_overflow(a, b, &product) && !__builtin_add_overflow(product, c, result);
}

/* Where row (y, z) begins. */
static bool row_offset(uint64_t start, const uint64_t stride[2], uint64_t y, uint64_t z, uint64_t *offset) {
  return place(y, stride[0], start, offset) && place(z, stride[1], *offset, offset);
}

/* Whether row (y, z) of a block, the last one, lies within both regions: then all do, because no stride is negative. */
static hmc_status_t check_last_row(const hmc_region_t *local, const hmc_remote_t *remote, const hmc_strided_t *shape,
                                   uint64_t length, uint64_t y, uint64_t z, size_t index) {
  hmci_segment_t piece = {.length = length};
  if (!row_offset(shape->local_offset, shape->local_stride, y, z, &piece.local) ||
      !row_offset(shape->remote_offset, shape->remote_stride, y, z, &piece.remote)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "batch: the offset of piece %zu, a row of a block, overflows", index);
  }
  return check_piece(local, remote, index, &piece);
}

/* Lists rows that do not go on from one to the next at both ends, the first one being the list's last. False: no
 * memory. */
static bool list_others(list_t *list, const hmc_strided_t *shape, hmci_segment_t first, uint64_t rows) {
  for (uint64_t y = 1; y < rows;) {
    if (list->count == list->room && !reserve(list, list->room * 2)) return false;
    uint64_t some = list->room - list->count < rows - y ? list->room - list->count : rows - y;
    hmci_segment_t *to = list->segments + list->count;
    for (uint64_t end = y + some; y < end; y++, to++) {
      to->local = first.local + y * shape->local_stride[0];
      to->remote = first.remote + y * shape->remote_stride[0];
      to->length = first.length;
    }
    list->count += some;
  }
  return true;
}

/* Lists the rows of a block whose last one fits. False: no memory. */
static bool list_rows(list_t *list, const hmc_strided_t *shape, uint64_t length, uint64_t rows, uint64_t planes) {
  bool is_whole = shape->local_stride[0] == length && shape->remote_stride[0] == length; /* a plane is one piece */
  uint64_t listed = is_whole ? 1 : rows, all = listed * planes;
  if (!reserve(list, all < RESERVED ? all : RESERVED)) return false;
  hmci_segment_t piece = {shape->local_offset, shape->remote_offset, length * (rows / listed)};
  for (uint64_t z = 0; z < planes; z++) {
    if (!add(list, piece) || !list_others(list, shape, piece, listed)) return false;
    piece.local += shape->local_stride[1];
    piece.remote += shape->remote_stride[1];
  }
  return true;
}

hmc_status_t hmc_batch_create_strided(hmc_region_t *local, hmc_remote_t *remote, const hmc_strided_t *shape,
                                      hmc_batch_t **out) {
  hmc_status_t status = check_ends(local, remote, shape, out);
  if (status != HMC_SUCCESS) return status;
  uint64_t count[3], rows, length;
  for (int i = 0; i < 3; i++) count[i] = shape->count[i] ? shape->count[i] : 1;
  if (!place(count[0], shape->element, 0, &length))
    return hmci_fail(HMC_OUT_OF_RANGE, "batch: the rows of a block overflow");
  if (!length) count[1] = count[2] = 1; /* nothing, however often */
  if (__builtin_mul_overflow(count[1], count[2], &rows) || rows > UINT32_MAX) {
    return hmci_fail(HMC_NO_MEMORY, "batch: a block of more than %u rows", UINT32_MAX);
  }
  status = check_last_row(local, remote, shape, length, count[1] - 1, count[2] - 1, rows - 1);
  list_t list = {0};
  if (status == HMC_SUCCESS && !list_rows(&list, shape, length, count[1], count[2]))
    status = hmci_fail(HMC_NO_MEMORY, "no memory for a batch");
  if (status == HMC_SUCCESS) return make_batch(local, remote, &list, out);
  free(list.segments);
  return status;
}

/* ---- over several regions ---------------------------------------------------------------------------------------- */

/* What goes one way between two regions; its list, while it is made. */
typedef struct part {
  hmci_operation_kind_t kind;
  hmc_region_t *local;
  hmc_remote_t *remote;
  list_t list;
} part_t;

typedef struct parts {
  part_t *parts;
  size_t count, room, last;
} parts_t;

/* The part that a piece belongs to; NULL: no memory. Pieces of one part tend to follow each other. */
static part_t *part_of(parts_t *parts, const hmc_piece_t *piece) {
  hmci_operation_kind_t kind = piece->flags & HMC_PIECE_GET ? HMCI_GET : HMCI_PUT;
  for (size_t i = 0; i < parts->count; i++) {
    size_t place = (parts->last + i) % parts->count;
    part_t *part = &parts->parts[place];
    if (part->kind != kind || part->local != piece->local || part->remote != piece->remote) continue;
    parts->last = place;
    return part;
  }
  if (parts->count == parts->room) {
    size_t room = parts->room ? parts->room * 2 : 8;
    part_t *more = realloc(parts->parts, room * sizeof *more);
    if (!more) return NULL;
    parts->parts = more;
    parts->room = room;
  }
  parts->last = parts->count;
  parts->parts[parts->count] = (part_t){.kind = kind, .local = piece->local, .remote = piece->remote};
  return &parts->parts[parts->count++];
}

static hmc_status_t add_piece(parts_t *parts, const hmc_piece_t *piece, size_t index, const hmc_context_t *context) {
  hmc_status_t status = check_ends(piece->local, piece->remote, piece, parts);
  if (status != HMC_SUCCESS) return hmci_fail_prefix(status, "piece %zu: ", index);
  if (piece->flags & ~(unsigned)HMC_PIECE_GET)
    return hmci_fail(HMC_INVALID_CONFIG, "batch: piece %zu has unknown flags 0x%x", index, piece->flags);
  if (piece->local->context != context)
    return hmci_fail(HMC_INVALID_CONFIG, "batch: piece %zu belongs to another context than the first one", index);
  hmci_segment_t segment = {piece->local_offset, piece->remote_offset, piece->length};
  status = check_piece(piece->local, piece->remote, index, &segment);
  if (status != HMC_SUCCESS) return status;
  part_t *part = part_of(parts, piece);
  return part && add(&part->list, segment) ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory for a batch");
}

static void free_parts(parts_t *parts) {
  for (size_t i = 0; i < parts->count; i++) free(parts->parts[i].list.segments);
  free(parts->parts);
}

static hmc_status_t make_parts(parts_t *parts, hmc_batch_t **out) {
  hmc_batch_t *batch = calloc(1, sizeof *batch);
  hmc_batch_t **made = calloc(parts->count, sizeof(*made));
  hmc_status_t status = batch && made ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory for a batch");
  if (status != HMC_SUCCESS) {
    free(batch);
    free(made);
    return status;
  }
  batch->parts = made;
  for (size_t i = 0; i < parts->count && status == HMC_SUCCESS; i++) {
    part_t *part = &parts->parts[i];
    status = make_batch(part->local, part->remote, &part->list, &made[i]); /* takes the list, or frees it */
    part->list = (list_t){0};
    if (status != HMC_SUCCESS) break;
    made[i]->kind = part->kind;
    batch->size += made[i]->size;
    batch->part_count++;
  }
  if (status != HMC_SUCCESS) {
    hmc_batch_free(batch);
    return status;
  }
  *out = batch;
  return status;
}

hmc_status_t hmc_batch_create_pieces(const hmc_piece_t *pieces, size_t count, hmc_batch_t **out) {
  if (!pieces || !count || !out || !pieces[0].local)
    return hmci_fail(HMC_INVALID_CONFIG, "batch: pieces, a region or the result is NULL, or there are no pieces");
  parts_t parts = {0};
  hmc_status_t status = HMC_SUCCESS;
  for (size_t i = 0; i < count && status == HMC_SUCCESS; i++)
    status = add_piece(&parts, &pieces[i], i, pieces[0].local->context);
  if (status == HMC_SUCCESS) status = make_parts(&parts, out);
  free_parts(&parts);
  return status;
}

void hmc_batch_free(hmc_batch_t *batch) {
  if (!batch) return;
  for (uint32_t i = 0; i < batch->part_count; i++) hmc_batch_free(batch->parts[i]);
  free(batch->parts);
  free(batch->segments);
  free(batch);
}

uint64_t hmc_batch_size(const hmc_batch_t *batch) { return batch ? batch->size : 0; }

/* ---- moving ------------------------------------------------------------------------------------------------------ */

static hmc_status_t check(hmci_operation_kind_t kind, const hmc_batch_t *batch) {
  if (!batch) return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: batch is NULL", hmci_operation_name(kind));
  if (batch->parts)
    return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: the batch has pieces of both ways: hmc_batch_start it",
                     hmci_operation_name(kind));
  hmc_status_t status = hmci_operation_check(kind, batch->local, 0, batch->remote, 0, 0);
  if (status == HMC_PEER_LOST || status == HMC_STALE)
    return hmci_operation_explain(kind, status, batch->remote, batch->size);
  return status;
}

static hmc_status_t start(hmci_operation_kind_t kind, hmc_batch_t *batch, const hmc_operation_options_t *options,
                          bool awaited, hmc_request_t **request) {
  hmc_status_t status = check(kind, batch);
  if (status != HMC_SUCCESS) return status;
  hmci_start_t what = {.kind = kind,
                       .local = batch->local,
                       .remote = batch->remote,
                       .segments = batch->segments,
                       .count = batch->count,
                       .length = batch->size,
                       .awaited = awaited,
                       .options = options};
  return hmci_request_start(&what, request);
}

hmc_status_t hmc_batch_start_nb(hmc_batch_t *batch, const hmc_operation_options_t *options, hmc_request_t **request) {
  if (!batch || !batch->parts)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_batch_start_nb: batch is NULL, or between two regions: put or get it");
  hmci_start_t *starts = calloc(batch->part_count, sizeof *starts);
  if (!starts) return hmci_fail(HMC_NO_MEMORY, "no memory to start a batch");
  hmc_status_t status = HMC_SUCCESS;
  for (uint32_t i = 0; i < batch->part_count && status == HMC_SUCCESS; i++) {
    const hmc_batch_t *part = batch->parts[i];
    status = hmci_operation_check(part->kind, part->local, 0, part->remote, 0, 0);
    starts[i] = (hmci_start_t){.kind = part->kind,
                               .local = part->local,
                               .remote = part->remote,
                               .segments = part->segments,
                               .count = part->count,
                               .length = part->size};
  }
  if (status == HMC_SUCCESS) status = hmci_request_start_group(starts, batch->part_count, options, request);
  free(starts);
  return status;
}

hmc_status_t hmc_batch_start(hmc_batch_t *batch, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_batch_start_nb(batch, options, &request);
  if (status != HMC_SUCCESS) return status;
  status = hmc_request_wait(request);
  hmc_request_free(request);
  return status;
}

/* Copies all of it by this thread: no request, no other thread. */
static void copy(hmci_operation_kind_t kind, const hmc_batch_t *batch) {
  hmci_stats_t *stats = batch->remote->stats;
  for (uint32_t i = 0; i < batch->count; i++) hmci_copy_mapped(kind, batch->local, batch->remote, &batch->segments[i]);
  kind == HMCI_PUT ? hmci_stats_put(stats, batch->size) : hmci_stats_get(stats, batch->size);
}

static hmc_status_t run(hmci_operation_kind_t kind, hmc_batch_t *batch) {
  hmc_request_t *request = NULL;
  if (batch && !batch->parts && batch->size <= HMCI_WORK_PIECE && hmci_is_mapped(batch->local, batch->remote)) {
    hmc_status_t status = check(kind, batch);
    if (status == HMC_SUCCESS) copy(kind, batch);
    return status;
  }
  hmc_status_t status = start(kind, batch, NULL, true, &request);
  if (status != HMC_SUCCESS) return status;
  status = hmc_request_wait(request);
  hmc_request_free(request);
  return status;
}

hmc_status_t hmc_batch_put(hmc_batch_t *batch) { return run(HMCI_PUT, batch); }
hmc_status_t hmc_batch_get(hmc_batch_t *batch) { return run(HMCI_GET, batch); }

hmc_status_t hmc_batch_put_nb(hmc_batch_t *batch, const hmc_operation_options_t *options, hmc_request_t **request) {
  return start(HMCI_PUT, batch, options, false, request);
}

hmc_status_t hmc_batch_get_nb(hmc_batch_t *batch, const hmc_operation_options_t *options, hmc_request_t **request) {
  return start(HMCI_GET, batch, options, false, request);
}
