/* The requesting end of a stream: receiving replies.
 *
 * The bytes of a get go from the socket to their place by the call that reads them; small replies come many at a time
 * through a buffer, and so do the bytes of small pieces. */
#include "../../base/socket.h"
#include "requester_internal.h"

#include <errno.h>
#include <string.h>

enum {
  BUFFER = 8192,
  BULK = 4096,  /* a get of more is received in two steps, its header and its bytes in place */
  DROPPED = 32, /* buffers full of what nobody wants, per call */
};

/* ---- replies ----------------------------------------------------------------------------------------------------- */

static hmci_operation_t *find(hmci_requester_t *requester, uint64_t sequence) {
  for (hmci_list_t *link = requester->queue.next; link != &requester->queue; link = link->next) {
    hmci_operation_t *operation = hmci_stream_operation(link);
    if (hmci_stream_state(operation)->sequence == sequence) return operation;
    if (hmci_stream_state(operation)->sequence > sequence) break;
  }
  return NULL;
}

void hmci_requester_abandon(hmci_requester_t *requester, hmci_operation_t *operation) {
  uint64_t sequence = hmci_stream_state(operation)->sequence;
  const hmci_operation_t *sending = requester->sending;
  bool begun = !sending || sequence < hmci_stream_state(requester->sending)->sequence ||
               (operation == sending && (requester->frame_sent || requester->cursor.index || requester->cursor.offset));
  if (begun && operation->kind != HMCI_GET && requester->late < sequence) requester->late = sequence;
  if (!begun || !hmci_stream_is_answered(operation)) return;
  if (!requester->owed) requester->owed_from = sequence;
  if (requester->owed < sequence) requester->owed = sequence;
}

/* The answers come in order: all that was asked before `sequence` is answered, and that one itself with `last`. */
static void settle_debts(hmci_requester_t *requester, uint64_t sequence, bool last) {
  if (!requester->owed) return;
  if (sequence > requester->owed || (last && sequence == requester->owed)) requester->owed = 0;
  if (sequence > requester->owed_from) requester->owed_from = sequence;
}

/* Ends an operation that failed while its bytes came in, or was refused: `answered`. A get of many pieces may still be
 * asking for the last ones then. */
static void fail(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status, bool answered) {
  hmci_requester_abandon(requester, operation);
  if (operation == requester->sending && !hmci_requester_break_off(requester, answered)) return;
  hmci_requester_finish(requester, operation, status);
}

/* What still comes for the sink is dropped, and what has come into its open chunk is not copied. */
static void drop_sink(hmci_requester_t *requester) {
  hmci_stage_t *in = &requester->in;
  requester->sink = NULL;
  if (!hmci_stage_is_empty(in)) hmci_stage_newest(in)->started = true;
}

/* The peer has done all up to `sequence`, and will do none of it later. */
static void settle_late(hmci_requester_t *requester, uint64_t sequence) {
  uint64_t late = requester->late;
  if (late && late <= sequence) requester->late = 0;
}

/* The peer has done all up to that sequence: their operations are complete. */
static void take_ack(hmci_requester_t *requester, uint64_t sequence) {
  settle_late(requester, sequence);
  hmci_list_t *link = requester->queue.next;
  while (link != &requester->queue) {
    hmci_operation_t *operation = hmci_stream_operation(link);
    link = link->next;
    if (hmci_stream_state(operation)->sequence > sequence || operation == requester->sending) return;
    if (!hmci_stream_is_answered(operation)) hmci_stream_complete(operation, HMC_SUCCESS);
  }
}

/* What it was chained to is complete before it: a NAK may overtake the ACK of that. */
static void take_nak(hmci_requester_t *requester, uint64_t sequence, hmc_status_t status) {
  if (sequence) take_ack(requester, sequence - 1);
  hmci_operation_t *operation = find(requester, sequence);
  settle_debts(requester, sequence, true);
  if (!operation) return;
  if (operation == requester->sink) drop_sink(requester);
  fail(requester, operation, status, true);
  settle_debts(requester, sequence, true);
  settle_late(requester, sequence);
}

static void take_result(hmci_requester_t *requester, uint64_t sequence, uint64_t value) {
  hmci_operation_t *operation = find(requester, sequence);
  settle_debts(requester, sequence, true);
  if (!operation || operation == requester->sending || operation->kind != HMCI_ATOMIC) return;
  operation->atomic.fetched = value;
  hmci_stream_complete(operation, HMC_SUCCESS);
}

/* All bytes of a get have come. */
static void end_get(hmci_requester_t *requester, hmci_operation_t *operation) {
  bool damaged = hmci_stream_state(operation)->damaged;
  hmci_requester_finish(requester, operation, damaged ? HMC_CORRUPT : HMC_SUCCESS);
}

/* The DATA frame is complete. */
static void end_data(hmci_requester_t *requester) {
  hmci_operation_t *operation = requester->sink;
  requester->sink = NULL;
  settle_debts(requester, requester->data_sequence, requester->data_last);
  if (!operation) return;
  if (requester->data_checked && requester->data_crc != requester->data_crc_due)
    hmci_stream_state(operation)->damaged = true;
  if (requester->data_last) end_get(requester, operation);
}

/* Begins with a reply whose header is complete. False when the stream is broken. */
static bool take_header(hmci_requester_t *requester) {
  hmci_reply_header_t reply;
  requester->header_size = 0;
  if (hmci_reply_decode(requester->header, &reply) != HMC_SUCCESS) return false;
  switch (reply.type) {
  case HMCI_WIRE_ACK: take_ack(requester, reply.sequence); break;
  case HMCI_WIRE_NAK: take_nak(requester, reply.sequence, hmci_status_known(reply.status)); break;
  case HMCI_WIRE_RESULT: take_result(requester, reply.sequence, reply.length); break;
  case HMCI_WIRE_DATA:
    requester->sink = find(requester, reply.sequence);
    if (requester->sink) {
      bool last = reply.flags & HMCI_FLAG_LAST;
      bool wanted = requester->sink->kind == HMCI_GET && !(last && requester->sink == requester->sending);
      uint64_t expected = wanted ? hmci_stream_state(requester->sink)->due : 0;
      if (!wanted || reply.length > expected || last != (reply.length == expected)) {
        hmci_fail(HMC_CORRUPT, "a get brought %llu B where %llu B are due", (unsigned long long)reply.length,
                  (unsigned long long)expected);
        return false;
      }
      hmci_stream_state(requester->sink)->due -= reply.length;
    }
    requester->data_left = reply.length;
    requester->data_sequence = reply.sequence;
    requester->data_last = reply.flags & HMCI_FLAG_LAST;
    requester->data_checked = reply.flags & HMCI_FLAG_CHECKSUM;
    requester->data_crc = 0;
    requester->data_crc_due = reply.crc;
    if (!requester->data_left) end_data(requester);
    break;
  }
  return true;
}

/* ---- chunks on their way in -------------------------------------------------------------------------------------- */

/* Ends the oldest chunk, whose copies are done. */
static void end_chunk(hmci_requester_t *requester) {
  hmci_stage_slot_t *slot = hmci_stage_oldest(&requester->in);
  hmci_operation_t *operation = find(requester, slot->sequence);
  if (operation && slot->status != HMC_SUCCESS) {
    if (operation == requester->sink) drop_sink(requester);
    fail(requester, operation, slot->status, false);
  } else if (operation && slot->last) {
    end_get(requester, operation);
  }
  hmci_stage_pop(&requester->in);
}

/* Ends what the device has copied; all of it, waiting, when `wait` is set. True when something moved. */
static bool end_chunks(hmci_requester_t *requester, bool wait) {
  bool moved = false;
  while (!hmci_stage_is_empty(&requester->in)) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&requester->in);
    if (!slot->started) break; /* the sink's: bytes still come into it */
    if (wait) hmci_stage_finish(slot);
    if (!hmci_stage_is_done(slot)) break;
    end_chunk(requester);
    moved = true;
  }
  return moved;
}

/* The chunk that takes the next bytes of the sink: the newest while it has room. NULL: all are with the device, or
 * there is no buffer. */
static hmci_stage_slot_t *open_chunk(hmci_requester_t *requester) {
  const hmci_host_t *host = requester->host;
  hmci_stage_t *in = &requester->in;
  uint64_t size = requester->sink->local->chunk;
  if (!hmci_stage_is_empty(in) && !hmci_stage_newest(in)->started) return hmci_stage_newest(in);
  if (!hmci_stage_reserve(in, host->staging, size, (uint32_t)host->settings->depth) || hmci_stage_is_full(in))
    return NULL;
  hmci_stage_slot_t *slot = hmci_stage_claim(in);
  slot->sequence = hmci_stream_state(requester->sink)->sequence;
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
    hmci_stage_start(slot, sink->local, sink->segments, sink->segment_count, &hmci_stream_state(sink)->received,
                     slot->size, false);
  } else { /* not copied, but it has come */
    hmci_pieces_skip(sink->segments, sink->segment_count, &hmci_stream_state(sink)->received, slot->size);
    slot->started = true;
    hmci_stream_state(sink)->damaged = true;
  }
  if (requester->data_left) return;
  requester->sink = NULL;
  settle_debts(requester, requester->data_sequence, requester->data_last);
}

/* Puts payload that came through a buffer to where it belongs. */
static void place(hmci_requester_t *requester, const uint8_t *data, uint64_t size) {
  while (requester->sink && !hmci_stream_is_host(requester->sink) && size) {
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
                                                &hmci_stream_state(operation)->received, data, size);
    if (status != HMC_SUCCESS) {
      requester->sink = NULL;
      fail(requester, operation, status, false);
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
  uint64_t direct, wanted;  /* bytes that go to their place, and all */
  hmci_stage_slot_t *chunk; /* they go into this one */
} aim_t;

/* Payload: to the pieces of the sink, with a buffer for the next header behind them; into a chunk for a device; or
 * through the buffer. */
static uint64_t aim_payload(hmci_requester_t *requester, uint8_t *buffer, aim_t *aim) {
  hmci_operation_t *sink = requester->sink;
  uint64_t left = requester->data_left;
  bool guarded = sink && requester->pipe->copies && !sink->local->owned; /* goes by way of the buffer */
  if (sink && hmci_stream_is_host(sink) && hmci_stream_state(sink)->is_fine) return BUFFER;
  if (sink && hmci_stream_is_host(sink) && !guarded) {
    hmci_cursor_t cursor = hmci_stream_state(sink)->received;
    aim->count = hmci_pieces_next(sink->segments, sink->segment_count, sink->local->base, &cursor, left, aim->parts, 63,
                                  &aim->direct);
    return aim->direct == left ? HMCI_REPLY_HEADER : 0;
  }
  if (sink && !hmci_stream_is_host(sink) && (aim->chunk = open_chunk(requester))) {
    uint64_t room = requester->in.chunk - aim->chunk->size;
    aim->direct = left < room ? left : room;
    aim->parts[aim->count++] = (struct iovec){aim->chunk->buffer + aim->chunk->size, aim->direct};
    return 0;
  }
  if (sink && !hmci_stage_is_empty(&requester->in)) return 0; /* all chunks are with the device */
  if (sink) return left < BUFFER ? left : BUFFER;
  for (; aim->count < DROPPED && aim->direct < left; aim->count++) { /* for nobody: one buffer takes it all */
    uint64_t rest = left - aim->direct, length = rest < BUFFER ? rest : BUFFER;
    aim->parts[aim->count] = (struct iovec){buffer, length};
    aim->direct += length;
  }
  return 0;
}

static void aim_next(hmci_requester_t *requester, uint8_t *buffer, aim_t *aim) {
  uint64_t buffered = BUFFER;
  aim->count = 0;
  aim->direct = 0;
  aim->chunk = NULL;
  if (requester->data_left) {
    buffered = aim_payload(requester, buffer, aim);
  } else if (!hmci_list_is_empty(&requester->queue)) {
    hmci_operation_t *oldest = hmci_stream_operation(requester->queue.next);
    const hmci_stream_state_t *state = hmci_stream_state(oldest);
    bool bulk = oldest->kind == HMCI_GET && (!hmci_stream_is_host(oldest) || (state->due > BULK && !state->is_fine));
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
  hmci_cursor_t *at = sink ? &hmci_stream_state(sink)->received : NULL;
  if (!sink) {
  } else if (requester->data_checked) {
    requester->data_crc =
        hmci_pieces_crc(sink->local, sink->segments, sink->segment_count, at, size, requester->data_crc);
  } else {
    hmci_pieces_skip(sink->segments, sink->segment_count, at, size);
  }
  requester->data_left -= size;
  if (!requester->data_left) end_data(requester);
}

/* Receives what is there. True when something moved. */
bool hmci_requester_receive(hmci_requester_t *requester) {
  bool moved = end_chunks(requester, false), first = true;
  uint8_t buffer[BUFFER];
  aim_t aim;
  while (!requester->failed && (!hmci_list_is_empty(&requester->queue) || requester->data_left || first)) {
    first = false;
    aim_next(requester, buffer, &aim);
    if (!aim.count) break;
    ssize_t got = requester->pipe->receive(requester->pipe, aim.parts, aim.count);
    if (got < 0 && errno == EFAULT && requester->sink) { /* a get's memory was unmapped: what comes is dropped */
      hmci_operation_t *operation = requester->sink;
      drop_sink(requester);
      fail(requester, operation, HMC_INVALID_CONFIG, false);
      moved = true;
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) break;
    if (got <= 0) {
      hmci_requester_lose(requester, got == 0 ? "the peer closed the connection"
                                              : hmci_socket_loss(errno, "the connection broke while receiving"));
      return true;
    }
    moved = true;
    uint64_t placed = (uint64_t)got < aim.direct ? (uint64_t)got : aim.direct;
    if (placed) take_placed(requester, &aim, placed);
    if (!consume(requester, buffer, (uint64_t)got - placed)) {
      hmci_requester_lose(requester, hmc_last_error());
      return true;
    }
    bool more = requester->pipe->pending && requester->pipe->pending(requester->pipe);
    if ((uint64_t)got < aim.wanted && !more) break;
  }
  return moved;
}

/* No byte goes to a get's memory any more: the device finishes what it has, and what still comes is dropped. */
void hmci_requester_forget_sink(hmci_requester_t *requester, hmci_operation_t *operation) {
  if (operation == requester->sink) drop_sink(requester);
  if (operation->kind == HMCI_GET && !hmci_stream_is_host(operation)) end_chunks(requester, true);
}
