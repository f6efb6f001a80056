/* The requesting end of a stream (see requester.h). */
#include "requester.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
  PARTS = 320,          /* of one send: more than one whole frame's entries */
  HEADERS = 12 << 10,   /* room for headers, tables and inlined payload of one send */
  FRAMES = 128,         /* of one send */
  INLINE = 512,         /* a payload up to this is copied behind its header */
  ROUND = 4 << 20,      /* payload bytes after which a send stops collecting */
  QUEUE_BEFORE_SEND = 32, /* small operations kept back while earlier ones are unacknowledged */
  BUFFER = 4096,
};

/* The transport's part of an operation. */
typedef struct stream_state {
  hmci_list_t link;
  uint64_t sequence;
  hmci_cursor_t received; /* of a get */
} stream_state_t;
_Static_assert(sizeof(stream_state_t) <= HMCI_OPERATION_STATE, "an operation has room for the stream's state");

static stream_state_t *state_of(hmci_operation_t *operation) { return (stream_state_t *)(void *)operation->transport; }

static hmci_operation_t *operation_of(hmci_list_t *link) {
  return HMCI_CONTAINER(HMCI_CONTAINER(link, stream_state_t, link), hmci_operation_t, transport);
}

static hmci_operation_t *operation_after(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_list_t *next = state_of(operation)->link.next;
  return next == &requester->queue ? NULL : operation_of(next);
}

static hmci_operation_t *operation_before(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_list_t *previous = state_of(operation)->link.previous;
  return previous == &requester->queue ? NULL : operation_of(previous);
}

static void complete(hmci_operation_t *operation, hmc_status_t status) {
  hmci_list_remove(&state_of(operation)->link);
  hmci_operation_complete(operation, status);
}

/* True where an operation has to wait for the get before it. */
static bool is_held(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_operation_t *before = operation->chained ? operation_before(requester, operation) : NULL;
  return before && before->kind == HMCI_GET;
}

/* Ends everything: the devices finish, all operations get `status`, the loop looks no more. */
static void end_all(hmci_requester_t *requester, hmc_status_t status) {
  requester->sending = requester->sink = NULL;
  hmci_stage_t *stages[] = {&requester->out, &requester->in};
  for (int i = 0; i < 2; i++) {
    for (; !hmci_stage_is_empty(stages[i]); hmci_stage_pop(stages[i])) hmci_stage_finish(hmci_stage_oldest(stages[i]));
  }
  while (!hmci_list_is_empty(&requester->queue)) complete(operation_of(requester->queue.next), status);
  requester->armed = requester->polled = false;
  hmci_loop_set_polled(requester->host->loop, &requester->watch, false);
  hmci_loop_silence(requester->host->loop, &requester->watch);
}

static void lose(hmci_requester_t *requester, const char *reason) {
  requester->failed = HMC_PEER_LOST;
  end_all(requester, HMC_PEER_LOST);
  requester->host->connection_lost(requester->host, requester->connection, reason);
}

/* ---- sending --------------------------------------------------------------------------------------------------------- */

/* One frame, planned. */
typedef struct frame {
  hmci_operation_t *operation;
  hmci_cursor_t end; /* where the next frame starts */
  uint64_t payload, size;
  uint32_t header; /* bytes of header and table */
  bool last;
} frame_t;

static bool is_host(const hmci_operation_t *operation) { return operation->local->ops->host_accessible; }

/* Its payload has to come from device memory first. */
static bool is_staged(const hmci_operation_t *operation) { return operation->kind == HMCI_PUT && !is_host(operation); }

static const uint8_t wire_types[] = {
    [HMCI_PUT] = HMCI_WIRE_PUT, [HMCI_GET] = HMCI_WIRE_GET, [HMCI_ATOMIC] = HMCI_WIRE_ATOMIC, [HMCI_NOTIFY] = HMCI_WIRE_NOTIFY};

static void plan_atomic(const hmci_operation_t *operation, hmci_request_header_t *header, uint8_t *table) {
  const hmci_atomic_t *atomic = &operation->atomic;
  header->entries = HMCI_ATOMIC_ENTRIES;
  header->offset = operation->single.remote;
  header->length = operation->single.length;
  hmci_request_encode_entry(table, atomic->operation, atomic->operand);
  hmci_request_encode_entry(table + HMCI_REQUEST_ENTRY, atomic->compare, atomic->fetch);
}

/* Fills the header's entry and the table with segments from the cursor on, which it moves; returns their bytes. */
static uint64_t plan_segments(const hmci_operation_t *operation, hmci_cursor_t *cursor, uint64_t limit, hmci_request_header_t *header,
                              uint8_t *table) {
  uint64_t total = 0;
  uint16_t entries = is_staged(operation) ? HMCI_STAGE_PIECES : HMCI_FRAME_ENTRIES;
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
    *cursor = whole ? (hmci_cursor_t){.index = cursor->index + 1} : (hmci_cursor_t){cursor->index, cursor->offset + length};
  }
  return total;
}

/* Writes the header and table of the frame that starts at `start` to `to` (room for one of full size) and plans it; its CRC comes later. */
static frame_t plan_frame(hmci_operation_t *operation, hmci_cursor_t start, uint8_t *to) {
  frame_t frame = {.operation = operation, .end = start, .last = true};
  hmci_request_header_t header = {.type = wire_types[operation->kind], .sequence = state_of(operation)->sequence};
  uint8_t *table = to + HMCI_REQUEST_HEADER;
  if (operation->remote) {
    header.region = operation->remote->id;
    header.generation = operation->remote->generation;
  }
  switch (operation->kind) {
  case HMCI_PUT:
    frame.payload = plan_segments(operation, &frame.end, is_staged(operation) ? operation->local->chunk : HMCI_FRAME_PAYLOAD, &header, table);
    frame.last = frame.end.index == operation->segment_count;
    break;
  case HMCI_GET:
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
  hmci_request_encode(to, &header);
  frame.header = HMCI_REQUEST_HEADER + (header.entries - 1u) * HMCI_REQUEST_ENTRY;
  frame.size = frame.header + frame.payload;
  return frame;
}

/* ---- chunks on their way out ----------------------------------------------------------------------------------------- */

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
  if (hmci_stage_is_empty(&requester->out) || !hmci_stage_is_done(hmci_stage_oldest(&requester->out))) return HMC_IN_PROGRESS;
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
static void send_next(hmci_requester_t *requester, hmci_operation_t *next) {
  drop_chunks(requester);
  requester->sending = next;
  requester->cursor = requester->out_cursor = (hmci_cursor_t){0};
  requester->frame_sent = 0;
  requester->crc_known = false;
}

/* Ends an operation, and with it, where it failed, those chained to it that have not begun to go out. */
static void finish(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status) {
  hmci_operation_t *next = operation_after(requester, operation);
  complete(operation, status);
  while (status != HMC_SUCCESS && next && next == requester->sending && next->chained && !requester->frame_sent) {
    operation = next;
    next = operation_after(requester, operation);
    send_next(requester, next);
    complete(operation, status);
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

static bool has_room(const batch_t *batch) {
  return batch->frame_count < FRAMES && batch->part_count + HMCI_FRAME_ENTRIES + 2 <= PARTS &&
         batch->header_size + HMCI_REQUEST_HEADER + HMCI_FRAME_TABLE + INLINE <= HEADERS && batch->payload < ROUND;
}

/* Puts the CRC of a planned frame's payload into its header. It is kept while the frame is sent in several goes. */
static void add_crc(hmci_requester_t *requester, const frame_t *frame, hmci_cursor_t start, const uint8_t *chunk, bool first,
                    uint8_t *header) {
  const hmci_operation_t *operation = frame->operation;
  uint32_t crc = requester->crc;
  if (!first || !requester->crc_known) {
    crc = chunk ? hmci_crc32c(0, chunk, frame->payload)
                : hmci_pieces_crc(operation->segments, operation->segment_count, operation->local->base, &start, frame->payload, 0);
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
  if (frame->payload <= INLINE) {
    uint8_t *to = batch->headers + batch->header_size;
    hmci_pieces_to_host(operation->local, operation->segments, operation->segment_count, &start, to, frame->payload);
    batch->header_size += (uint32_t)frame->payload;
    add_part(batch, to, frame->payload, skip);
    return;
  }
  struct iovec pieces[HMCI_FRAME_ENTRIES];
  int count = hmci_pieces_next(operation->segments, operation->segment_count, operation->local->base, &start, frame->payload,
                               pieces, HMCI_FRAME_ENTRIES, &covered);
  for (int i = 0; i < count; i++) add_part(batch, pieces[i].iov_base, pieces[i].iov_len, skip);
}

/* Collects frames from the cursor on. A chunk from device memory goes alone: HMC_IN_PROGRESS while it is not there yet. */
static hmc_status_t collect(hmci_requester_t *requester, batch_t *batch) {
  uint64_t skip = requester->frame_sent;
  hmci_operation_t *operation = requester->sending;
  hmci_cursor_t cursor = requester->cursor;
  while (operation && has_room(batch) && !is_held(requester, operation)) {
    uint8_t *header = batch->headers + batch->header_size, *chunk = NULL;
    bool staged = is_staged(operation);
    if (staged && batch->frame_count) break;
    if (staged) {
      hmc_status_t status = next_chunk(requester, &chunk);
      if (status != HMC_SUCCESS) return status;
    }
    frame_t frame = plan_frame(operation, cursor, header);
    batch->header_size += frame.header;
    if (operation->checksum && operation->kind == HMCI_PUT) add_crc(requester, &frame, cursor, chunk, batch->frame_count == 0, header);
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
    if (frame.last) operation = operation_after(requester, operation);
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
    if (is_staged(frame->operation)) hmci_stage_pop(&requester->out);
    if (frame->last) {
      send_next(requester, operation_after(requester, frame->operation));
    } else {
      requester->frame_sent = 0;
      requester->crc_known = false;
      requester->cursor = frame->end;
    }
  }
}

/* Writes to the pipe: the bytes taken, 0 when it is full, -1 when it is broken. */
static ssize_t write_parts(hmci_requester_t *requester, const struct iovec *parts, int count) {
  ssize_t sent = requester->pipe->send(requester->pipe, parts, count);
  if (sent >= 0) return sent;
  if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) return -1;
  requester->blocked = true;
  return 0;
}

/* Sends the rest of a cancelled operation's frame. True when it is gone. */
static bool send_residue(hmci_requester_t *requester, bool *moved) {
  while (requester->residue) {
    struct iovec part = {requester->residue + requester->residue_sent, requester->residue_size - requester->residue_sent};
    ssize_t sent = write_parts(requester, &part, 1);
    if (sent < 0) lose(requester, "the connection broke while sending");
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
  send_next(requester, operation_after(requester, operation));
  finish(requester, operation, status);
}

/* An encrypting pipe may have taken bytes that the socket has not. */
static void flush(hmci_requester_t *requester) {
  if (!requester->pipe->flush || requester->failed || requester->pipe->flush(requester->pipe) == 0) return;
  if (errno == EAGAIN) {
    requester->blocked = true;
  } else {
    lose(requester, "the connection broke while sending");
  }
}

/* Sends until all is gone or the pipe is full. True when something moved. */
static bool send_frames(hmci_requester_t *requester) {
  bool moved = false;
  requester->blocked = false;
  if (requester->failed || !send_residue(requester, &moved)) return moved;
  while (requester->sending && !requester->failed) {
    batch_t batch;
    batch.part_count = batch.frame_count = 0;
    batch.header_size = 0;
    batch.payload = 0;
    hmc_status_t status = collect(requester, &batch);
    if (status == HMC_IN_PROGRESS) return moved;
    if (status != HMC_SUCCESS) {
      give_up(requester, status);
      continue;
    }
    if (!batch.frame_count) return moved; /* what is next waits for a get */
    ssize_t sent = write_parts(requester, batch.parts, batch.part_count);
    if (sent < 0) lose(requester, "the connection broke while sending");
    if (sent <= 0) return moved;
    moved = true;
    advance(requester, &batch, (uint64_t)sent);
  }
  return moved;
}

static bool send_more(hmci_requester_t *requester) {
  bool moved = send_frames(requester);
  flush(requester);
  return moved;
}

/* ---- receiving ------------------------------------------------------------------------------------------------------- */

static hmci_operation_t *find(hmci_requester_t *requester, uint64_t sequence) {
  for (hmci_list_t *link = requester->queue.next; link != &requester->queue; link = link->next) {
    hmci_operation_t *operation = operation_of(link);
    if (state_of(operation)->sequence == sequence) return operation;
    if (state_of(operation)->sequence > sequence) break;
  }
  return NULL;
}

static void take_ack(hmci_requester_t *requester, uint64_t sequence) {
  hmci_list_t *link = requester->queue.next;
  while (link != &requester->queue) {
    hmci_operation_t *operation = operation_of(link);
    link = link->next;
    if (state_of(operation)->sequence > sequence || operation == requester->sending) return;
    bool answered = operation->kind == HMCI_GET || (operation->kind == HMCI_ATOMIC && operation->atomic.fetch);
    if (!answered) complete(operation, HMC_SUCCESS);
  }
}

static void take_nak(hmci_requester_t *requester, uint64_t sequence, hmc_status_t status) {
  hmci_operation_t *operation = find(requester, sequence);
  if (!operation || operation == requester->sending) return;
  if (operation == requester->sink) requester->sink = NULL;
  finish(requester, operation, status);
}

static void take_result(hmci_requester_t *requester, uint64_t sequence, uint64_t value) {
  hmci_operation_t *operation = find(requester, sequence);
  if (!operation || operation == requester->sending || operation->kind != HMCI_ATOMIC) return;
  operation->atomic.fetched = value;
  complete(operation, HMC_SUCCESS);
}

/* The DATA frame is complete. */
static void end_data(hmci_requester_t *requester) {
  hmci_operation_t *operation = requester->sink;
  requester->sink = NULL;
  if (!operation) return;
  if (requester->data_checked && requester->data_crc != requester->data_crc_due) {
    finish(requester, operation, HMC_CORRUPT);
  } else if (requester->data_last) {
    complete(operation, HMC_SUCCESS);
  }
}

static uint64_t bytes_expected(const hmci_operation_t *operation) {
  const stream_state_t *state = (const stream_state_t *)(const void *)operation->transport;
  uint64_t sum = 0;
  for (uint32_t i = state->received.index; i < operation->segment_count; i++) sum += operation->segments[i].length;
  return sum - state->received.offset;
}

/* Begins with a reply whose header is complete. False when the stream is broken. */
static bool take_header(hmci_requester_t *requester) {
  hmci_reply_header_t reply;
  requester->header_size = 0;
  if (hmci_reply_decode(requester->header, &reply) != HMC_SUCCESS) return false;
  switch (reply.type) {
  case HMCI_WIRE_ACK: take_ack(requester, reply.sequence); break;
  case HMCI_WIRE_NAK: take_nak(requester, reply.sequence, (hmc_status_t)reply.status); break;
  case HMCI_WIRE_RESULT: take_result(requester, reply.sequence, reply.length); break;
  case HMCI_WIRE_DATA:
    requester->sink = find(requester, reply.sequence);
    if (requester->sink) {
      bool wanted = requester->sink->kind == HMCI_GET && requester->sink != requester->sending;
      uint64_t expected = wanted ? bytes_expected(requester->sink) : 0;
      bool last = reply.flags & HMCI_FLAG_LAST;
      if (!wanted || reply.length > expected || last != (reply.length == expected)) {
        hmci_fail(HMC_CORRUPT, "a get got %llu B where %llu B are due", (unsigned long long)reply.length,
                  (unsigned long long)expected);
        return false;
      }
    }
    requester->data_left = reply.length;
    requester->data_last = reply.flags & HMCI_FLAG_LAST;
    requester->data_checked = reply.flags & HMCI_FLAG_CHECKSUM;
    requester->data_crc = 0;
    requester->data_crc_due = reply.crc;
    if (!requester->data_left) end_data(requester);
    break;
  }
  return true;
}

/* ---- chunks on their way in ------------------------------------------------------------------------------------------ */

/* Ends the oldest chunk, whose copies are done. */
static void end_chunk(hmci_requester_t *requester) {
  hmci_stage_slot_t *slot = hmci_stage_oldest(&requester->in);
  hmci_operation_t *operation = find(requester, slot->sequence);
  if (operation && slot->status != HMC_SUCCESS) {
    if (operation == requester->sink) requester->sink = NULL;
    finish(requester, operation, slot->status);
  } else if (operation && slot->last) {
    complete(operation, HMC_SUCCESS);
  }
  hmci_stage_pop(&requester->in);
}

/* Ends what the device has copied; all of it, waiting, when `wait` is set. True when something moved. */
static bool end_chunks(hmci_requester_t *requester, bool wait) {
  bool moved = false;
  while (!hmci_stage_is_empty(&requester->in)) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&requester->in);
    if (!slot->started && !wait) break;
    if (wait) hmci_stage_finish(slot);
    if (!hmci_stage_is_done(slot)) break;
    end_chunk(requester);
    moved = true;
  }
  return moved;
}

/* The chunk that takes the next bytes of the sink: the newest while it has room. NULL: all are with the device, or there is no buffer. */
static hmci_stage_slot_t *open_chunk(hmci_requester_t *requester) {
  const hmci_host_t *host = requester->host;
  hmci_stage_t *in = &requester->in;
  uint64_t size = requester->sink->local->chunk;
  if (!hmci_stage_is_empty(in) && !hmci_stage_newest(in)->started) return hmci_stage_newest(in);
  if (!hmci_stage_reserve(in, host->staging, size, (uint32_t)host->settings->depth) || hmci_stage_is_full(in)) return NULL;
  hmci_stage_slot_t *slot = hmci_stage_claim(in);
  slot->sequence = state_of(requester->sink)->sequence;
  return slot;
}

/* Bytes have come into the open chunk: hands it to the device when it is full, or the frame ends. */
static void fill_chunk(hmci_requester_t *requester, hmci_stage_slot_t *slot, uint64_t size) {
  hmci_operation_t *sink = requester->sink;
  if (requester->data_checked) requester->data_crc = hmci_crc32c(requester->data_crc, slot->buffer + slot->size, size);
  slot->size += size;
  requester->data_left -= size;
  if (requester->data_left && slot->size < requester->in.chunk) return;
  bool sound = !requester->data_checked || requester->data_left || requester->data_crc == requester->data_crc_due;
  slot->last = !requester->data_left && requester->data_last;
  if (sound) {
    hmci_stage_start(slot, sink->local, sink->segments, sink->segment_count, &state_of(sink)->received, slot->size, false);
  } else {
    slot->started = true;
    slot->status = HMC_CORRUPT;
  }
  if (!requester->data_left) requester->sink = NULL;
}

/* Puts payload that came through a buffer to where it belongs. */
static void place(hmci_requester_t *requester, const uint8_t *data, uint64_t size) {
  while (requester->sink && !is_host(requester->sink) && size) {
    hmci_stage_slot_t *slot = open_chunk(requester);
    if (!slot) {
      if (hmci_stage_is_empty(&requester->in)) break; /* no buffer: copied at once, below */
      hmci_stage_finish(hmci_stage_oldest(&requester->in));
      end_chunk(requester);
      continue;
    }
    uint64_t room = requester->in.chunk - slot->size, length = size < room ? size : room;
    memcpy(slot->buffer + slot->size, data, length);
    fill_chunk(requester, slot, length);
    data += length;
    size -= length;
  }
  if (!size) return;
  hmci_operation_t *operation = requester->sink;
  if (operation) {
    if (requester->data_checked) requester->data_crc = hmci_crc32c(requester->data_crc, data, size);
    hmc_status_t status = hmci_pieces_from_host(operation->local, operation->segments, operation->segment_count,
                                                &state_of(operation)->received, data, size);
    if (status != HMC_SUCCESS) {
      requester->sink = NULL;
      finish(requester, operation, status);
    }
  }
  requester->data_left -= size;
  if (!requester->data_left) end_data(requester);
}

/* Takes bytes that lie in a buffer. False when the stream is broken. */
static bool consume(hmci_requester_t *requester, const uint8_t *data, uint64_t size) {
  while (size) {
    uint64_t length;
    if (requester->data_left) {
      length = size < requester->data_left ? size : requester->data_left;
      place(requester, data, length);
    } else {
      length = HMCI_REPLY_HEADER - requester->header_size;
      if (length > size) length = size;
      memcpy(requester->header + requester->header_size, data, length);
      requester->header_size += (uint32_t)length;
      if (requester->header_size == HMCI_REPLY_HEADER && !take_header(requester)) return false;
    }
    data += length;
    size -= length;
  }
  return true;
}

/* Where the next bytes should go. */
typedef struct aim {
  struct iovec parts[64];
  int count;
  uint64_t direct, wanted; /* bytes that go to their place, and all */
  hmci_stage_slot_t *chunk; /* they go into this one */
} aim_t;

/* Payload: to the pieces of the sink, with a buffer for the next header behind them; into a chunk for a device; or through the buffer. */
static uint64_t aim_payload(hmci_requester_t *requester, aim_t *aim) {
  hmci_operation_t *sink = requester->sink;
  uint64_t left = requester->data_left;
  if (sink && is_host(sink)) {
    hmci_cursor_t cursor = state_of(sink)->received;
    aim->count = hmci_pieces_next(sink->segments, sink->segment_count, sink->local->base, &cursor, left, aim->parts, 63, &aim->direct);
    return aim->direct == left ? HMCI_REPLY_HEADER : 0;
  }
  if (sink && (aim->chunk = open_chunk(requester))) {
    uint64_t room = requester->in.chunk - aim->chunk->size;
    aim->direct = left < room ? left : room;
    aim->parts[aim->count++] = (struct iovec){aim->chunk->buffer + aim->chunk->size, aim->direct};
    return 0;
  }
  if (sink && !hmci_stage_is_empty(&requester->in)) return 0; /* all chunks are with the device */
  return left < BUFFER ? left : BUFFER;
}

static void aim_next(hmci_requester_t *requester, uint8_t *buffer, aim_t *aim) {
  uint64_t buffered = BUFFER;
  aim->count = 0;
  aim->direct = 0;
  aim->chunk = NULL;
  if (requester->data_left) {
    buffered = aim_payload(requester, aim);
  } else if (!hmci_list_is_empty(&requester->queue)) {
    hmci_operation_t *oldest = operation_of(requester->queue.next);
    bool bulk = oldest->kind == HMCI_GET && (!is_host(oldest) || bytes_expected(oldest) > BUFFER);
    if (bulk) buffered = HMCI_REPLY_HEADER - requester->header_size; /* what follows goes to its place without a copy */
  }
  if (buffered) aim->parts[aim->count++] = (struct iovec){buffer, buffered};
  aim->wanted = aim->direct + buffered;
}

/* Payload has come straight to its place. */
static void take_placed(hmci_requester_t *requester, const aim_t *aim, uint64_t size) {
  if (aim->chunk) {
    fill_chunk(requester, aim->chunk, size);
    return;
  }
  hmci_operation_t *sink = requester->sink;
  hmci_cursor_t *at = &state_of(sink)->received;
  if (requester->data_checked) {
    requester->data_crc = hmci_pieces_crc(sink->segments, sink->segment_count, sink->local->base, at, size, requester->data_crc);
  } else {
    hmci_pieces_skip(sink->segments, sink->segment_count, at, size);
  }
  requester->data_left -= size;
  if (!requester->data_left) end_data(requester);
}

/* Receives what is there. True when something moved. */
static bool receive_more(hmci_requester_t *requester) {
  bool moved = end_chunks(requester, false), first = true;
  uint8_t buffer[BUFFER];
  aim_t aim;
  while (!requester->failed && (!hmci_list_is_empty(&requester->queue) || requester->data_left || first)) {
    first = false;
    aim_next(requester, buffer, &aim);
    if (!aim.count) break;
    ssize_t got = requester->pipe->receive(requester->pipe, aim.parts, aim.count);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) break;
    if (got <= 0) {
      lose(requester, got == 0 ? "the peer closed the connection" : "the connection broke while receiving");
      return true;
    }
    moved = true;
    uint64_t placed = (uint64_t)got < aim.direct ? (uint64_t)got : aim.direct;
    if (placed) take_placed(requester, &aim, placed);
    if (!consume(requester, buffer, (uint64_t)got - placed)) {
      lose(requester, hmc_last_error());
      return true;
    }
    bool more = requester->pipe->pending && requester->pipe->pending(requester->pipe);
    if ((uint64_t)got < aim.wanted && !more) break;
  }
  return moved;
}

/* ---- who moves it ---------------------------------------------------------------------------------------------------- */

/* A device copies, and no descriptor will tell when it is done; or the pool has to get a buffer back. */
static bool waits_for_device(const hmci_requester_t *requester) {
  bool out = requester->sending && is_staged(requester->sending) && !requester->blocked;
  return out || (!hmci_stage_is_empty(&requester->in) && requester->in.slots[requester->in.head].started);
}

/* Restores the invariant on `armed`; see requester.h. */
static void settle(hmci_requester_t *requester) {
  bool needed = !hmci_list_is_empty(&requester->queue) && !requester->drivers && !requester->failed;
  if (needed) {
    hmci_loop_modify(requester->host->loop, &requester->watch, EPOLLIN | (requester->blocked ? EPOLLOUT : 0));
  } else if (requester->armed) {
    hmci_loop_modify(requester->host->loop, &requester->watch, 0);
  }
  requester->armed = needed;
  bool polled = needed && waits_for_device(requester);
  if (polled != requester->polled) hmci_loop_set_polled(requester->host->loop, &requester->watch, polled);
  requester->polled = polled;
}

/* An idle requester keeps no buffers. */
static void release_stages(hmci_requester_t *requester) {
  if (!hmci_list_is_empty(&requester->queue)) return;
  if (requester->out.depth && hmci_stage_is_empty(&requester->out)) hmci_stage_release(&requester->out);
  if (requester->in.depth && hmci_stage_is_empty(&requester->in)) hmci_stage_release(&requester->in);
}

static bool move(hmci_requester_t *requester) {
  bool moved = receive_more(requester);
  if (requester->sending || requester->residue || requester->blocked) moved |= send_more(requester);
  return moved;
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  hmci_requester_t *requester = HMCI_CONTAINER(watch, hmci_requester_t, watch);
  bool moved = false;
  if (pthread_mutex_trylock(&requester->lock)) return false; /* whoever has it moves it, and settles at the end */
  if (!requester->drivers && !requester->failed) {
    bool was_blocked = requester->blocked;
    moved = move(requester);
    if (!requester->failed && (hmci_list_is_empty(&requester->queue) || was_blocked != requester->blocked ||
                               requester->polled != waits_for_device(requester))) {
      settle(requester);
    }
    if (events & (EPOLLHUP | EPOLLERR) && !moved && !requester->failed) {
      lose(requester, "the peer closed the connection");
    }
  }
  pthread_mutex_unlock(&requester->lock);
  return moved;
}

static void enqueue(hmci_requester_t *requester, hmci_operation_t *operation) {
  stream_state_t *state = state_of(operation);
  *state = (stream_state_t){.sequence = ++requester->sequence};
  hmci_list_append(&requester->queue, &state->link);
  if (!requester->sending) {
    send_next(requester, operation);
  }
}

/* A small operation waits for company while earlier ones are unacknowledged: their acknowledgement, or a waiting thread, sends it. */
static bool may_wait(const hmci_requester_t *requester, hmci_operation_t *first, bool idle) {
  bool small = first->segment_count <= 1 && first->single.length <= INLINE;
  return small && !idle && requester->sequence - state_of(requester->sending)->sequence < QUEUE_BEFORE_SEND;
}

hmc_status_t hmci_requester_submit(hmci_requester_t *requester, hmci_operation_t *operations, uint32_t count) {
  pthread_mutex_lock(&requester->lock);
  if (requester->failed) {
    hmc_status_t status = requester->failed;
    pthread_mutex_unlock(&requester->lock);
    return hmci_fail(status, "the peer is gone");
  }
  bool idle = hmci_list_is_empty(&requester->queue), awaited = operations[0].awaited;
  for (uint32_t i = 0; i < count; i++) enqueue(requester, &operations[i]);
  if (!may_wait(requester, &operations[0], idle)) send_more(requester);
  if (!awaited && (!requester->armed || requester->blocked)) settle(requester);
  pthread_mutex_unlock(&requester->lock);
  return HMC_SUCCESS;
}

hmc_status_t hmci_requester_wait(hmci_requester_t *requester, hmci_operation_t *operation, uint64_t spin) {
  hmc_status_t status = HMC_SUCCESS;
  uint64_t idle_since = 0;
  pthread_mutex_lock(&requester->lock);
  requester->drivers++;
  if (requester->armed) settle(requester);
  pthread_mutex_unlock(&requester->lock);

  while (!hmci_operation_is_complete(operation)) {
    bool moved = false;
    if (pthread_mutex_trylock(&requester->lock)) {
      sched_yield();
    } else {
      moved = move(requester);
      pthread_mutex_unlock(&requester->lock);
    }
    uint64_t now = hmci_now();
    if (now >= operation->deadline) {
      status = HMC_TIMEOUT;
      break;
    }
    if (moved || !idle_since) {
      idle_since = now;
    } else if (now - idle_since > spin) {
      status = HMC_IN_PROGRESS;
      break;
    }
  }

  pthread_mutex_lock(&requester->lock);
  requester->drivers--;
  if (!hmci_list_is_empty(&requester->queue)) settle(requester);
  release_stages(requester);
  pthread_mutex_unlock(&requester->lock);
  return hmci_operation_is_complete(operation) ? HMC_SUCCESS : status;
}

void hmci_requester_progress(hmci_requester_t *requester) {
  if (pthread_mutex_trylock(&requester->lock)) return;
  if (!hmci_list_is_empty(&requester->queue)) move(requester);
  if (requester->armed) settle(requester);
  pthread_mutex_unlock(&requester->lock);
}

/* ---- cancelling ------------------------------------------------------------------------------------------------------ */

/* Keeps a private copy of what is left of the frame that is half sent. */
static bool keep_residue(hmci_requester_t *requester) {
  uint8_t header[HMCI_REQUEST_HEADER + HMCI_FRAME_TABLE];
  hmci_operation_t *operation = requester->sending;
  hmci_cursor_t cursor = requester->cursor;
  frame_t frame = plan_frame(operation, cursor, header);
  uint8_t *copy = malloc(frame.size);
  if (!copy) return false;
  memcpy(copy, header, frame.header);
  if (operation->checksum && operation->kind == HMCI_PUT) hmci_store32(copy + 4, requester->crc);
  if (operation->kind == HMCI_NOTIFY) {
    memcpy(copy + frame.header, operation->message, frame.payload);
  } else if (is_staged(operation)) {
    memcpy(copy + frame.header, hmci_stage_oldest(&requester->out)->buffer, frame.payload);
  } else if (frame.payload) {
    hmci_pieces_to_host(operation->local, operation->segments, operation->segment_count, &cursor, copy + frame.header,
                        frame.payload);
  }
  requester->residue = copy;
  requester->residue_size = frame.size;
  requester->residue_sent = requester->frame_sent;
  return true;
}

/* No byte goes to a get's memory any more: the device finishes what it has, and what still comes is dropped. */
static void forget_sink(hmci_requester_t *requester, hmci_operation_t *operation) {
  if (operation == requester->sink) {
    hmci_stage_t *in = &requester->in;
    requester->sink = NULL;
    if (!hmci_stage_is_empty(in) && !hmci_stage_newest(in)->started) hmci_stage_newest(in)->started = true; /* half full: not copied */
  }
  if (operation->kind == HMCI_GET && !is_host(operation)) end_chunks(requester, true);
}

void hmci_requester_cancel(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status) {
  pthread_mutex_lock(&requester->lock);
  if (!hmci_operation_is_complete(operation)) {
    if (operation == requester->sending) {
      if (requester->frame_sent && !keep_residue(requester)) {
        lose(requester, "no memory to cancel an operation");
        goto out;
      }
      send_next(requester, operation_after(requester, operation));
    }
    forget_sink(requester, operation);
    if (!hmci_operation_is_complete(operation)) finish(requester, operation, status);
    if (requester->armed) settle(requester);
  }
out:
  pthread_mutex_unlock(&requester->lock);
}

void hmci_requester_fail(hmci_requester_t *requester, hmc_status_t status) {
  pthread_mutex_lock(&requester->lock);
  if (!requester->failed) requester->failed = status;
  end_all(requester, status);
  pthread_mutex_unlock(&requester->lock);
}

/* ---- opening and closing --------------------------------------------------------------------------------------------- */

hmc_status_t hmci_requester_open(hmci_requester_t *requester, const hmci_host_t *host, void *connection, hmci_pipe_t *pipe) {
  *requester = (hmci_requester_t){.host = host, .connection = connection, .pipe = pipe, .watch.ready = on_ready};
  hmci_list_init(&requester->queue);
  pthread_mutex_init(&requester->lock, NULL);
  hmc_status_t status = hmci_loop_add(host->loop, &requester->watch, pipe->descriptor, 0);
  if (status != HMC_SUCCESS) {
    pthread_mutex_destroy(&requester->lock);
    requester->pipe = NULL;
  }
  return status;
}

void hmci_requester_close(hmci_requester_t *requester) {
  if (!requester->pipe) return;
  hmci_loop_remove(requester->host->loop, &requester->watch);
  requester->pipe->close(requester->pipe);
  requester->pipe = NULL;
  free(requester->residue);
  hmci_stage_release(&requester->out);
  hmci_stage_release(&requester->in);
  pthread_mutex_destroy(&requester->lock);
}
