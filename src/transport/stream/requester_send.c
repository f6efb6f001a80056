/* The requesting end of a stream: sending.
 *
 * A send collects frames from the cursor on, headers and small payloads in a buffer of its own, everything else from
 * where it lies, and notes how far the pipe took them. */
#include "../../base/socket.h"
#include "requester_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  PARTS = 320,                     /* of one send: more than one whole frame's entries */
  HEADERS = 12 << 10,              /* room for headers, tables and inlined payload of one send */
  FRAMES = 128,                    /* of one send */
  AHEAD = 64 * HMCI_FRAME_ENTRIES, /* pieces that a get asks for beyond those that have come */
  FEW = 16,                        /* operations in progress when one begins that asks by many frames */
  LEAST_OF_RUN = 8,                /* segments that are worth a frame of their own */
  SMALL_REST = 16,                 /* of what a call may send, the part by which it may be exceeded to finish */
};

static hmci_operation_t *operation_before(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_list_t *previous = hmci_stream_state(operation)->link.previous;
  return previous == &requester->queue ? NULL : hmci_stream_operation(previous);
}

/* True where an operation has to wait for the one before it, whose answer an ACK may overtake. */
static bool is_held(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_operation_t *before = operation->chained ? operation_before(requester, operation) : NULL;
  return before && hmci_stream_is_answered(before);
}

/* The oldest operation that the peer may still be at. */
static uint64_t oldest(hmci_requester_t *requester) {
  uint64_t first = hmci_stream_state(hmci_stream_operation(requester->queue.next))->sequence;
  return requester->owed && requester->owed_from < first ? requester->owed_from : first;
}

/* True where the next frame of an operation would be more than the peer has to keep at a time; see requester.h. */
static bool lacks_credit(hmci_requester_t *requester, hmci_operation_t *operation, const hmci_cursor_t *cursor) {
  const hmci_stream_state_t *state = hmci_stream_state(operation);
  uint64_t before = state->sequence - oldest(requester);
  if (before >= HMCI_REQUESTER_WINDOW) return true;
  if (operation->kind != HMCI_GET || operation->segment_count <= HMCI_FRAME_ENTRIES) return false;
  return before >= FEW || cursor->index - state->received.index >= AHEAD;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

/* One frame, planned. */
typedef struct frame {
  hmci_operation_t *operation;
  hmci_cursor_t end; /* where the next frame starts */
  uint64_t payload, size;
  uint32_t header; /* bytes of header and table */
  bool last;
} frame_t;

static const uint8_t wire_types[] = {[HMCI_PUT] = HMCI_WIRE_PUT,
                                     [HMCI_GET] = HMCI_WIRE_GET,
                                     [HMCI_ATOMIC] = HMCI_WIRE_ATOMIC,
                                     [HMCI_NOTIFY] = HMCI_WIRE_NOTIFY};

static void plan_atomic(const hmci_operation_t *operation, hmci_request_header_t *header, uint8_t *table) {
  const hmci_atomic_t *atomic = &operation->atomic;
  header->entries = HMCI_ATOMIC_ENTRIES;
  header->offset = operation->single.remote;
  header->length = operation->single.length;
  hmci_request_encode_entry(table, atomic->operation, atomic->operand);
  hmci_request_encode_entry(table + HMCI_REQUEST_ENTRY, atomic->compare, atomic->fetch);
}

/* Fills the header's entry and the table with segments from the cursor on, which it moves; returns their bytes. */
static uint64_t plan_segments(const hmci_operation_t *operation, hmci_cursor_t *cursor, uint64_t limit,
                              hmci_request_header_t *header, uint8_t *table) {
  uint64_t total = 0;
  uint16_t entries = hmci_stream_is_staged(operation) ? HMCI_STAGE_PIECES : HMCI_FRAME_ENTRIES;
  while (cursor->index < operation->segment_count && header->entries < entries && total < limit) {
    const hmci_segment_t *segment = &operation->segments[cursor->index];
    uint64_t length = segment->length - cursor->offset, offset = segment->remote + cursor->offset;
    bool whole = length <= limit - total;
    if (!whole) length = limit - total;
    if (header->entries == 0) {
      header->offset = offset;
      header->length = length;
    } else {
      hmci_request_encode_entry(table + (header->entries - 1) * HMCI_REQUEST_ENTRY, offset, length);
    }
    header->entries++;
    total += length;
    *cursor =
        whole ? (hmci_cursor_t){.index = cursor->index + 1} : (hmci_cursor_t){cursor->index, cursor->offset + length};
  }
  return total;
}

/* Fills the header with a run of segments: of one length, one stride from one to the next, at most `limit` bytes. Moves
 * the cursor and returns their bytes; 0 where they are not a run. One that would end before the frame or the operation is
 * full is none: the peer has to keep each frame of a get. */
static uint64_t plan_run(const hmci_operation_t *operation, hmci_cursor_t *cursor, uint64_t limit,
                         hmci_request_header_t *header) {
  const hmci_segment_t *first = &operation->segments[cursor->index];
  uint32_t most = operation->segment_count - cursor->index, count = 1;
  if (cursor->offset || most < LEAST_OF_RUN || first[1].remote <= first->remote || !first->length) return 0;
  if (most > HMCI_FRAME_ENTRIES) most = HMCI_FRAME_ENTRIES;
  if (most > limit / first->length) most = (uint32_t)(limit / first->length);
  uint64_t stride = first[1].remote - first->remote;
  while (count < most && first[count].length == first->length &&
         first[count].remote - first[count - 1].remote == stride)
    count++;
  if (count < most || count < LEAST_OF_RUN) return 0;
  header->flags |= HMCI_FLAG_RUN;
  header->entries = (uint16_t)count;
  header->offset = first->remote;
  header->length = first->length;
  header->stride = stride;
  cursor->index += count;
  return count * first->length;
}

/* Writes the header and table of the frame that starts at `start` to `to` (room for one of full size) and plans it; its
 * CRC comes later. */
static frame_t plan_frame(hmci_operation_t *operation, hmci_cursor_t start, uint8_t *to) {
  frame_t frame = {.operation = operation, .end = start, .last = true};
  hmci_request_header_t header = {.type = wire_types[operation->kind],
                                  .sequence = hmci_stream_state(operation)->sequence};
  uint8_t *table = to + HMCI_REQUEST_HEADER;
  bool runs = hmci_stream_state(operation)->takes_runs;
  if (operation->remote) {
    header.region = operation->remote->id;
    header.generation = operation->remote->generation;
    header.lease = operation->lease;
  }
  switch (operation->kind) {
  case HMCI_PUT:
    if (hmci_stream_is_staged(operation)) {
      frame.payload = plan_segments(operation, &frame.end, operation->local->chunk, &header, table);
    } else {
      if (runs) frame.payload = plan_run(operation, &frame.end, HMCI_FRAME_PAYLOAD, &header);
      if (!frame.payload) frame.payload = plan_segments(operation, &frame.end, HMCI_FRAME_PAYLOAD, &header, table);
    }
    frame.last = frame.end.index == operation->segment_count;
    break;
  case HMCI_GET:
    if (!runs || !plan_run(operation, &frame.end, UINT64_MAX, &header))
      plan_segments(operation, &frame.end, UINT64_MAX, &header, table);
    frame.last = frame.end.index == operation->segment_count;
    break;
  case HMCI_ATOMIC: plan_atomic(operation, &header, table); break;
  case HMCI_NOTIFY:
    header.entries = 1;
    header.length = frame.payload = operation->message_size;
    break;
  }
  if (frame.last) header.flags |= HMCI_FLAG_LAST;
  if (operation->chained) header.flags |= HMCI_FLAG_CHAINED;
  if (operation->checksum) header.flags |= HMCI_FLAG_CHECKSUM;
  if (operation->easy) header.flags |= HMCI_FLAG_EASY;
  hmci_request_encode(to, &header);
  frame.header = HMCI_REQUEST_HEADER + hmci_request_table(&header);
  frame.size = frame.header + frame.payload;
  return frame;
}

/* ---- chunks on their way out ------------------------------------------------------------------------------------- */

/* Lets the device copy ahead, as far as there are buffers. */
static void copy_ahead(hmci_requester_t *requester) {
  hmci_operation_t *operation = requester->sending;
  const hmci_host_t *host = requester->host;
  hmci_stage_t *out = &requester->out;
  if (!hmci_stage_reserve(out, host->staging, operation->local->chunk, (uint32_t)host->settings->depth)) return;
  while (requester->out_cursor.index < operation->segment_count && !hmci_stage_is_full(out)) {
    uint8_t table[HMCI_STAGE_PIECES * HMCI_REQUEST_ENTRY];
    hmci_request_header_t header = {0};
    hmci_cursor_t from = requester->out_cursor;
    hmci_stage_slot_t *slot = hmci_stage_claim(out);
    slot->size = plan_segments(operation, &requester->out_cursor, operation->local->chunk, &header, table);
    hmci_stage_start(slot, operation->local, operation->segments, operation->segment_count, &from, slot->size, true);
  }
}

/* The chunk of the frame that is next: HMC_IN_PROGRESS while the device copies it, or there is no buffer. */
static hmc_status_t next_chunk(hmci_requester_t *requester, uint8_t **chunk) {
  copy_ahead(requester);
  if (hmci_stage_is_empty(&requester->out) || !hmci_stage_is_done(hmci_stage_oldest(&requester->out)))
    return HMC_IN_PROGRESS;
  hmci_stage_slot_t *slot = hmci_stage_oldest(&requester->out);
  *chunk = slot->buffer;
  return slot->status;
}

/* Drops the chunks of an operation that will not be sent; the device has finished when it returns. */
static void drop_chunks(hmci_requester_t *requester) {
  while (!hmci_stage_is_empty(&requester->out)) {
    hmci_stage_finish(hmci_stage_oldest(&requester->out));
    hmci_stage_pop(&requester->out);
  }
}

/* Goes on with the next operation. */
void hmci_requester_send_next(hmci_requester_t *requester, hmci_operation_t *next) {
  drop_chunks(requester);
  requester->sending = next;
  requester->cursor = requester->out_cursor = (hmci_cursor_t){0};
  requester->frame_sent = 0;
  requester->crc_known = false;
}

/* Nothing of it has gone out. */
static bool has_not_begun(const hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_operation_t *sending = requester->sending;
  if (operation == sending) return !requester->frame_sent && !requester->cursor.index && !requester->cursor.offset;
  return sending && hmci_stream_state(operation)->sequence > hmci_stream_state(sending)->sequence;
}

/* Ends an operation, and with it, where it failed, those chained to it that have not begun to go out: the peer would take
 * them for chained to what went out last. */
void hmci_requester_finish(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status) {
  hmci_operation_t *next = hmci_requester_after(requester, operation);
  hmci_stream_complete(operation, status);
  while (status != HMC_SUCCESS && next && next->chained && has_not_begun(requester, next)) {
    operation = next;
    next = hmci_requester_after(requester, operation);
    if (operation == requester->sending) hmci_requester_send_next(requester, next);
    hmci_stream_complete(operation, status);
  }
}

/* What one send collects. */
typedef struct batch {
  struct iovec parts[PARTS];
  int part_count;
  frame_t frames[FRAMES];
  int frame_count;
  uint8_t headers[HEADERS];
  uint32_t header_size;
  uint64_t payload;
} batch_t;

static void add_part(batch_t *batch, const void *data, uint64_t size, uint64_t *skip) {
  uint64_t gone = *skip < size ? *skip : size;
  *skip -= gone;
  if (gone == size) return;
  uint8_t *from = (uint8_t *)(uintptr_t)data + gone;
  struct iovec *before = batch->part_count ? &batch->parts[batch->part_count - 1] : NULL;
  if (before && (uint8_t *)before->iov_base + before->iov_len == from) {
    before->iov_len += size - gone;
    return;
  }
  batch->parts[batch->part_count++] = (struct iovec){from, size - gone};
}

static bool has_room(const batch_t *batch, uint64_t limit) {
  return batch->frame_count < FRAMES && batch->part_count + HMCI_FRAME_ENTRIES + 2 <= PARTS &&
         batch->header_size + HMCI_REQUEST_HEADER + HMCI_FRAME_TABLE + HMCI_STREAM_INLINE <= HEADERS &&
         batch->payload < limit;
}

/* Puts the CRC of a planned frame's payload into its header. It is kept while the frame is sent in several goes. */
static void add_crc(hmci_requester_t *requester, const frame_t *frame, hmci_cursor_t start, const uint8_t *chunk,
                    bool first, uint8_t *header) {
  const hmci_operation_t *operation = frame->operation;
  uint32_t crc = requester->crc;
  if (!first || !requester->crc_known) {
    crc = chunk ? hmci_crc32c(0, chunk, frame->payload)
                : hmci_pieces_crc(operation->local, operation->segments, operation->segment_count, &start,
                                  frame->payload, 0);
  }
  if (first) {
    requester->crc = crc;
    requester->crc_known = true;
  }
  hmci_store32(header + 4, crc);
}

/* Adds the payload of a planned frame that lies in host memory. */
static void add_payload(batch_t *batch, const frame_t *frame, hmci_cursor_t start, uint64_t *skip) {
  hmci_operation_t *operation = frame->operation;
  uint64_t covered;
  if (operation->kind == HMCI_NOTIFY) {
    add_part(batch, operation->message, frame->payload, skip);
    return;
  }
  if (frame->payload <= HMCI_STREAM_INLINE && operation->local->owned) { /* else the kernel finds out what is there */
    uint8_t *to = batch->headers + batch->header_size;
    hmci_pieces_to_host(operation->local, operation->segments, operation->segment_count, &start, to, frame->payload);
    batch->header_size += (uint32_t)frame->payload;
    add_part(batch, to, frame->payload, skip);
    return;
  }
  struct iovec pieces[HMCI_FRAME_ENTRIES];
  int count = hmci_pieces_next(operation->segments, operation->segment_count, operation->local->base, &start,
                               frame->payload, pieces, HMCI_FRAME_ENTRIES, &covered);
  for (int i = 0; i < count; i++) add_part(batch, pieces[i].iov_base, pieces[i].iov_len, skip);
}

/* Collects frames from the cursor on. A chunk from device memory goes alone: HMC_IN_PROGRESS while it is not there
 * yet. */
static hmc_status_t collect(hmci_requester_t *requester, batch_t *batch, uint64_t limit) {
  uint64_t skip = requester->frame_sent;
  hmci_operation_t *operation = requester->sending;
  hmci_cursor_t cursor = requester->cursor;
  while (operation && has_room(batch, limit) && !is_held(requester, operation) &&
         !lacks_credit(requester, operation, &cursor)) {
    uint8_t *header = batch->headers + batch->header_size, *chunk = NULL;
    bool staged = hmci_stream_is_staged(operation);
    if (staged && batch->frame_count) break;
    if (staged) {
      hmc_status_t status = next_chunk(requester, &chunk);
      if (status != HMC_SUCCESS) return status;
    }
    frame_t frame = plan_frame(operation, cursor, header);
    batch->header_size += frame.header;
    if (operation->checksum && operation->kind == HMCI_PUT)
      add_crc(requester, &frame, cursor, chunk, batch->frame_count == 0, header);
    add_part(batch, header, frame.header, &skip);
    if (staged) {
      add_part(batch, chunk, frame.payload, &skip);
    } else if (frame.payload) {
      add_payload(batch, &frame, cursor, &skip);
    }
    batch->frames[batch->frame_count++] = frame;
    batch->payload += frame.payload;
    if (staged) break;
    cursor = frame.last ? (hmci_cursor_t){0} : frame.end;
    if (frame.last) operation = hmci_requester_after(requester, operation);
  }
  return HMC_SUCCESS;
}

/* Moves the cursor past `sent` bytes of what was collected. */
static void advance(hmci_requester_t *requester, const batch_t *batch, uint64_t sent) {
  for (int i = 0; i < batch->frame_count; i++) {
    const frame_t *frame = &batch->frames[i];
    uint64_t left = frame->size - requester->frame_sent;
    if (sent < left) {
      requester->frame_sent += sent;
      return;
    }
    sent -= left;
    if (hmci_stream_is_staged(frame->operation)) hmci_stage_pop(&requester->out);
    if (frame->last) {
      hmci_requester_send_next(requester, hmci_requester_after(requester, frame->operation));
    } else {
      requester->frame_sent = 0;
      requester->crc_known = false;
      requester->cursor = frame->end;
    }
  }
}

/* Writes to the pipe: the bytes taken, 0 when it is full, -1 when it is broken. */
static ssize_t write_parts(hmci_requester_t *requester, const struct iovec *parts, int count, bool doubtful) {
  ssize_t sent = hmci_pipe_send(requester->pipe, parts, count, doubtful);
  if (sent >= 0) return sent;
  if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return -1;
  requester->blocked = true;
  return 0;
}

/* A part of what is sent is not there: memory that was unmapped or protected under an operation. Whose it is shows when
 * the first frame goes alone; that operation ends. True: go on. */
static bool blame(hmci_requester_t *requester, bool alone) {
  hmci_operation_t *operation = requester->sending;
  if (!alone) return true;
  hmci_requester_abandon(requester, operation);
  if (!hmci_requester_break_off(requester, false)) return false;
  hmci_requester_finish(requester, operation, HMC_INVALID_CONFIG);
  return true;
}

/* Keeps the parts of the first frame only. */
static void keep_first(const hmci_requester_t *requester, batch_t *batch) {
  uint64_t left = batch->frames[0].size - requester->frame_sent;
  batch->frame_count = 1;
  for (int i = 0; i < batch->part_count; i++) {
    if (batch->parts[i].iov_len > left) batch->parts[i].iov_len = left;
    left -= batch->parts[i].iov_len;
    if (!left) batch->part_count = i + 1;
  }
}

/* Sends the rest of a cancelled operation's frame. True when it is gone. */
static bool send_residue(hmci_requester_t *requester, bool *moved) {
  while (requester->residue) {
    struct iovec part = {requester->residue + requester->residue_sent,
                         requester->residue_size - requester->residue_sent};
    ssize_t sent = write_parts(requester, &part, 1, false);
    if (sent < 0) hmci_requester_lose(requester, hmci_socket_loss(errno, "the connection broke while sending"));
    if (sent <= 0) return false;
    *moved = true;
    requester->residue_sent += (uint64_t)sent;
    if (requester->residue_sent == requester->residue_size) {
      free(requester->residue);
      requester->residue = NULL;
    }
  }
  return true;
}

/* A frame whose bytes cannot be read from device memory: the operation fails alone, nothing of the frame was sent. */
static void give_up(hmci_requester_t *requester, hmc_status_t status) {
  hmci_operation_t *operation = requester->sending;
  hmci_requester_abandon(requester, operation); /* frames before it may still come out of the pipe */
  hmci_requester_send_next(requester, hmci_requester_after(requester, operation));
  hmci_requester_finish(requester, operation, status);
}

/* An encrypting pipe may have taken bytes that the socket has not. */
static void flush(hmci_requester_t *requester) {
  if (!requester->pipe->flush || requester->failed || requester->pipe->flush(requester->pipe) == 0) return;
  if (errno == EAGAIN) {
    requester->blocked = true;
  } else {
    hmci_requester_lose(requester, hmci_socket_loss(errno, "the connection broke while sending"));
  }
}

/* True where some of it comes from memory that may not be there. */
static bool is_doubtful(const batch_t *batch) {
  bool doubtful = false;
  for (int i = 0; i < batch->frame_count; i++) {
    const hmci_operation_t *operation = batch->frames[i].operation;
    doubtful |= operation->kind == HMCI_PUT && hmci_stream_is_host(operation) && !operation->local->owned;
  }
  return doubtful;
}

/* Leaves out what is over `limit` bytes; not a small rest, which would cost as much as a call of its own. */
static void cut(batch_t *batch, uint64_t limit) {
  uint64_t total = 0, small = limit / SMALL_REST;
  for (int i = 0; i < batch->part_count; i++) total += batch->parts[i].iov_len;
  if (total <= limit + small) return;
  for (int i = 0; i < batch->part_count; i++) {
    if (batch->parts[i].iov_len >= limit) {
      batch->parts[i].iov_len = limit;
      batch->part_count = i + 1;
      return;
    }
    limit -= batch->parts[i].iov_len;
  }
}

/* Stops though there is room, so that others get their turn. A socket, being writable, makes the next event. */
static void yield(hmci_requester_t *requester) {
  requester->blocked = requester->yielded = requester->sending;
  hmci_requester_come_again(requester);
}

/* Sends until all is gone, the pipe is full or the limit reached. True when something moved. */
static bool send_frames(hmci_requester_t *requester, uint64_t limit) {
  bool moved = false, alone = false;
  requester->blocked = requester->yielded = false;
  if (requester->failed || !send_residue(requester, &moved)) return moved;
  while (requester->sending && !requester->failed) {
    batch_t batch;
    batch.part_count = batch.frame_count = 0;
    batch.header_size = 0;
    batch.payload = 0;
    hmc_status_t status = collect(requester, &batch, limit);
    if (status == HMC_IN_PROGRESS) return moved;
    if (status != HMC_SUCCESS) {
      give_up(requester, status);
      continue;
    }
    if (!batch.frame_count) return moved; /* what is next waits for an answer */
    if (alone) keep_first(requester, &batch);
    cut(&batch, limit);
    ssize_t sent = write_parts(requester, batch.parts, batch.part_count, is_doubtful(&batch));
    if (sent < 0 && errno == EFAULT) {
      if (!blame(requester, alone || batch.frame_count == 1)) return true;
      alone = !alone;
      if (!send_residue(requester, &moved)) return moved;
      continue;
    }
    alone = false;
    if (sent < 0) hmci_requester_lose(requester, hmci_socket_loss(errno, "the connection broke while sending"));
    if (sent <= 0) return moved;
    moved = true;
    advance(requester, &batch, (uint64_t)sent);
    limit -= (uint64_t)sent < limit ? (uint64_t)sent : limit;
    if (!limit) {
      yield(requester);
      return moved;
    }
  }
  return moved;
}

bool hmci_requester_send(hmci_requester_t *requester, uint64_t limit) {
  bool moved = send_frames(requester, limit);
  flush(requester);
  return moved;
}

/* The frame that ends a get from which the last pieces are not asked for: of one byte, which is dropped when it comes. Without
 * it the peer would have no last answer to give, and what has begun would count as in progress for ever. */
static void encode_end(hmci_operation_t *operation, hmci_cursor_t at, uint8_t *to) {
  hmci_request_encode(to, &(hmci_request_header_t){.type = HMCI_WIRE_GET,
                                                   .flags = HMCI_FLAG_LAST,
                                                   .entries = 1,
                                                   .region = operation->remote->id,
                                                   .generation = operation->remote->generation,
                                                   .sequence = hmci_stream_state(operation)->sequence,
                                                   .offset = operation->segments[at.index].remote + at.offset,
                                                   .length = 1,
                                                   .lease = operation->lease});
}

/* Keeps a private copy of what the peer still has to get of the operation that is being sent: the rest of a frame that is
 * half sent, and, of a get that was not `answered`, its end. False: no memory. */
static bool keep_residue(hmci_requester_t *requester, bool answered) {
  uint8_t header[HMCI_REQUEST_HEADER + HMCI_FRAME_TABLE];
  hmci_operation_t *operation = requester->sending;
  hmci_cursor_t cursor = requester->cursor;
  bool begun = requester->frame_sent || cursor.index || cursor.offset;
  frame_t frame = {.end = cursor};
  if (requester->frame_sent) frame = plan_frame(operation, cursor, header);
  bool ends = begun && operation->kind == HMCI_GET && !frame.last && !answered;
  uint64_t size = frame.size + (ends ? HMCI_REQUEST_HEADER : 0);
  uint8_t *copy = size ? malloc(size) : NULL;
  if (!copy) return !size;
  if (ends) encode_end(operation, frame.end, copy + frame.size);
  memcpy(copy, header, frame.header);
  if (operation->checksum && operation->kind == HMCI_PUT) hmci_store32(copy + 4, requester->crc);
  if (operation->kind == HMCI_NOTIFY) {
    memcpy(copy + frame.header, operation->message, frame.payload);
  } else if (hmci_stream_is_staged(operation)) {
    memcpy(copy + frame.header, hmci_stage_oldest(&requester->out)->buffer, frame.payload);
  } else if (frame.payload && hmci_pieces_to_host(operation->local, operation->segments, operation->segment_count,
                                                  &cursor, copy + frame.header, frame.payload) != HMC_SUCCESS) {
    memset(copy + frame.header, 0, frame.payload); /* it is not there any more: bytes of nothing end the frame */
  }
  requester->residue = copy;
  requester->residue_size = size;
  requester->residue_sent = requester->frame_sent;
  requester->blocked = requester->yielded = true; /* the next look sends it */
  return true;
}

bool hmci_requester_break_off(hmci_requester_t *requester, bool answered) {
  if (!keep_residue(requester, answered)) {
    hmci_requester_lose(requester, "no memory to cancel an operation");
    return false;
  }
  hmci_requester_send_next(requester, hmci_requester_after(requester, requester->sending));
  return true;
}
