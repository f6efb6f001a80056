/* The answering end of a stream: taking requests.
 *
 * Bytes come to where they belong by the call that reads them, or through the loop's scratch, where small frames come
 * many at a time, and small pieces. */
#include "../../base/socket.h"
#include "responder_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
  BULK = 32 << 10,       /* a payload from this size on is read without look-ahead */
  LOOK_AHEAD = 64 << 10, /* most bytes read into the scratch at a time */
  MESSAGE = 4 << 10,     /* room that is kept for notifications */
  ASK_AGAIN = 32,        /* times that a round asks for the rest of a payload which is not there yet */
};
_Static_assert((int)LOOK_AHEAD <= (int)HMCI_SCRATCH, "the look-ahead fits into the scratch");

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static hmci_responder_job_t *new_job(hmci_responder_t *responder, uint64_t sequence, hmc_status_t status,
                                     uint32_t count) {
  hmci_responder_job_t *job = calloc(1, sizeof *job + count * sizeof(hmci_segment_t));
  if (!job) return NULL;
  job->sequence = sequence;
  job->status = status;
  job->done = responder->ack_due;
  job->count = count;
  hmci_list_append(&responder->jobs, &job->link);
  responder->job_count++;
  if (!count) responder->refusals++;
  return job;
}

static bool add_refusal(hmci_responder_t *responder, uint64_t sequence, hmc_status_t status) {
  return new_job(responder, sequence, status, 0) != NULL;
}

static bool add_result(hmci_responder_t *responder, uint64_t value) {
  hmci_responder_job_t *job = new_job(responder, responder->request.sequence, HMC_SUCCESS, 0);
  if (job) job->value = value;
  return job != NULL;
}

static bool add_get(hmci_responder_t *responder, const hmci_segment_t *entries, uint64_t total) {
  const hmci_request_header_t *request = &responder->request;
  hmci_responder_job_t *job = new_job(responder, request->sequence, HMC_SUCCESS, request->entries);
  if (!job) return false;
  job->last = request->flags & HMCI_FLAG_LAST;
  job->checksum = request->flags & HMCI_FLAG_CHECKSUM;
  job->left = job->to_copy = total;
  memcpy(job->entries, entries, request->entries * sizeof *entries);
  job->lease = request->lease;
  job->is_fine = responder->region->ops->host_accessible && hmci_pieces_are_fine(request->entries, total);
  job->region = responder->region; /* its use goes over to the job */
  responder->region = NULL;
  return true;
}

void hmci_responder_refuse(hmci_responder_t *responder, hmc_status_t status) {
  responder->refused_sequence = responder->request.sequence;
  responder->refused_status = status;
}

/* Ends an operation that needs no answer but an acknowledgement, or a refusal. */
static bool end_sequence(hmci_responder_t *responder, uint64_t sequence, hmc_status_t status, bool easy) {
  responder->last_status = status;
  if (status != HMC_SUCCESS && !add_refusal(responder, sequence, status)) return false;
  responder->ack_due = sequence;
  if (!easy || sequence - responder->ack_sent >= HMCI_RESPONDER_EASY) responder->ack_presses = true;
  return true;
}

/* The same for the current one, with the refusal that was noted. */
static bool end_operation(hmci_responder_t *responder) {
  hmc_status_t status = responder->refused_status;
  responder->refused_status = HMC_SUCCESS;
  return end_sequence(responder, responder->request.sequence, status, responder->request.flags & HMCI_FLAG_EASY);
}

/* ---- chunks on their way into device memory ---------------------------------------------------------------------- */

/* The frame that comes in goes into device memory by the stage. */
bool hmci_responder_is_staged(const hmci_responder_t *responder) {
  return responder->region && !responder->region->ops->host_accessible && responder->in.depth;
}

/* Ends the oldest chunk, whose copies are done, and its operation with the last one. False when the stream is
 * broken. */
static bool end_chunk(hmci_responder_t *responder) {
  hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->in);
  if (slot->last && slot->status == HMC_SUCCESS && slot->region) hmci_region_tell(slot->region);
  hmci_responder_release(responder, &slot->region);
  hmc_status_t status = slot->status;
  if (slot->sequence == responder->chunk_sequence && status == HMC_SUCCESS) status = responder->chunk_status;
  responder->chunk_sequence = slot->sequence;
  responder->chunk_status = status;
  bool sound = !slot->last || end_sequence(responder, slot->sequence, status, false);
  hmci_stage_pop(&responder->in);
  return sound;
}

/* Ends what the device has copied; all of it, waiting, when `wait` is set. False when the stream is broken. */
bool hmci_responder_end_chunks(hmci_responder_t *responder, bool wait, bool *moved) {
  bool sound = true;
  while (sound && !hmci_stage_is_empty(&responder->in)) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->in);
    if (!slot->started) break;
    if (wait) hmci_stage_finish(slot);
    if (!hmci_stage_is_done(slot)) break;
    sound = end_chunk(responder);
    *moved = true;
  }
  return sound;
}

static const hmci_segment_t *entries_of(const hmci_responder_t *responder) {
  return responder->request.entries > 1 ? responder->entries : &responder->entry;
}

/* The chunk that takes the next bytes: the newest while it has room. NULL: all are with the device. */
static hmci_stage_slot_t *open_chunk(hmci_responder_t *responder) {
  hmci_stage_t *in = &responder->in;
  if (!hmci_stage_is_empty(in) && !hmci_stage_newest(in)->started) return hmci_stage_newest(in);
  if (hmci_stage_is_full(in)) return NULL;
  hmci_stage_slot_t *slot = hmci_stage_claim(in);
  slot->sequence = responder->request.sequence;
  return slot;
}

/* Hands the open chunk to the device. */
static void start_chunk(hmci_responder_t *responder, hmci_stage_slot_t *slot) {
  atomic_fetch_add_explicit(&responder->region->users, 1,
                            memory_order_relaxed); /* counted: the frame's own use is still held */
  slot->region = responder->region;
  hmci_stage_start(slot, responder->region, entries_of(responder), responder->request.entries, &responder->cursor,
                   slot->size, false);
}

/* Bytes have come into the open chunk. */
static void fill_chunk(hmci_responder_t *responder, hmci_stage_slot_t *slot, uint64_t size) {
  if (responder->request.flags & HMCI_FLAG_CHECKSUM)
    responder->crc = hmci_crc32c(responder->crc, slot->buffer + slot->size, size);
  slot->size += size;
  responder->payload_left -= size;
  if (slot->size == responder->in.chunk && responder->payload_left) start_chunk(responder, slot);
}

/* A staged frame is complete: its last chunk goes to the device, and the operation ends with it. */
static bool end_staged(hmci_responder_t *responder) {
  hmci_stage_slot_t *slot = hmci_stage_newest(&responder->in);
  slot->last = responder->request.flags & HMCI_FLAG_LAST;
  start_chunk(responder, slot);
  hmci_responder_release(responder, &responder->region);
  return true;
}

/* All of a frame's payload is where it belongs, or dropped. */
static bool end_payload(hmci_responder_t *responder) {
  const hmci_request_header_t *request = &responder->request;
  if (responder->refused_status == HMC_SUCCESS && request->flags & HMCI_FLAG_CHECKSUM &&
      responder->crc != request->crc) {
    hmci_responder_refuse(responder, HMC_CORRUPT);
  }
  if (hmci_responder_is_staged(responder)) {
    if (responder->refused_status == HMC_SUCCESS) return end_staged(responder);
    bool moved;
    hmci_stage_newest(&responder->in)->started = true; /* damaged: not copied */
    if (!hmci_responder_end_chunks(responder, true, &moved)) return false;
  }
  if (responder->region) hmci_region_tell(responder->region); /* damaged bytes are there too */
  hmci_responder_release(responder, &responder->region);
  if (responder->refused_status == HMC_SUCCESS && request->type == HMCI_WIRE_NOTIFY) {
    const hmci_host_t *host = responder->host;
    hmc_status_t status = host->notify(host, responder->connection, responder->message, request->length);
    if (status != HMC_SUCCESS) hmci_responder_refuse(responder, status);
  }
  return request->flags & HMCI_FLAG_LAST ? end_operation(responder) : true;
}

static bool entries_fit(const hmci_segment_t *entries, uint32_t count, uint64_t size) {
  for (uint32_t i = 0; i < count; i++) {
    if (!hmci_range_fits(entries[i].local, entries[i].length, size)) return false;
  }
  return true;
}

static const uint32_t rights_needed[] = {
    [HMCI_WIRE_PUT] = HMC_REMOTE_WRITE, [HMCI_WIRE_GET] = HMC_REMOTE_READ, [HMCI_WIRE_ATOMIC] = HMC_REMOTE_ATOMIC};

/* May the frame do what it wants? On success `responder->region` is the region, in use. */
static hmc_status_t admit(hmci_responder_t *responder, const hmci_segment_t *entries) {
  const hmci_request_header_t *request = &responder->request;
  if (request->sequence != responder->refused_sequence)
    responder->refused_status = HMC_SUCCESS; /* the former one was cancelled */
  if (responder->refused_status != HMC_SUCCESS) return responder->refused_status;
  if (request->flags & HMCI_FLAG_CHAINED && responder->last_status != HMC_SUCCESS) return responder->last_status;
  if (request->type == HMCI_WIRE_NOTIFY) return HMC_SUCCESS;
  const hmci_host_t *host = responder->host;
  uint32_t rights = rights_needed[request->type], places = request->type == HMCI_WIRE_ATOMIC ? 1 : request->entries;
  if (request->lease) {
    hmci_lease_use_t use = {request->lease, request->region, request->generation, rights, entries, places};
    return host->lease_acquire(host, responder->connection, &use, &responder->region);
  }
  hmc_status_t status = host->region_acquire(host, request->region, request->generation, rights, &responder->region);
  if (status == HMC_SUCCESS && !entries_fit(entries, places, responder->region->size)) {
    hmci_responder_release(responder, &responder->region);
    status = HMC_OUT_OF_RANGE;
  }
  return status;
}

static bool take_atomic(hmci_responder_t *responder, const hmci_segment_t *entries) {
  hmci_atomic_t atomic = {.operation = (hmc_atomic_operation_t)entries[1].local,
                          .fetch = entries[2].length,
                          .operand = entries[1].length,
                          .compare = entries[2].local};
  hmc_status_t status =
      hmci_atomic_on_region(responder->region, entries[0].local, (unsigned)entries[0].length, &atomic);
  if (status == HMC_SUCCESS) hmci_region_tell(responder->region);
  hmci_responder_release(responder, &responder->region);
  if (status != HMC_SUCCESS) hmci_responder_refuse(responder, status);
  if (status != HMC_SUCCESS || !atomic.fetch) return end_operation(responder);
  responder->last_status = HMC_SUCCESS;
  return add_result(responder, atomic.fetched);
}

/* A refusal does not wait for the last frame: who gets many pieces asks for the last ones once the first have come. */
static bool take_get(hmci_responder_t *responder, hmc_status_t status, const hmci_segment_t *entries, uint64_t total) {
  const hmci_request_header_t *request = &responder->request;
  bool last = request->flags & HMCI_FLAG_LAST;
  responder->bulk = false;
  if (status == HMC_SUCCESS) {
    if (last) responder->last_status = HMC_SUCCESS;
    return add_get(responder, entries, total);
  }
  if (last) return end_operation(responder);
  bool was_told = responder->told_sequence == request->sequence;
  responder->told_sequence = request->sequence;
  return was_told || add_refusal(responder, request->sequence, status);
}

/* A frame into device memory gets its buffers where the pool has some; any other waits until the device has
 * finished. */
static bool prepare_stage(hmci_responder_t *responder) {
  const hmci_host_t *host = responder->host;
  bool moved, device = responder->request.type == HMCI_WIRE_PUT && !responder->region->ops->host_accessible;
  if (device && responder->in.chunk >= responder->region->chunk) return true;
  if (!hmci_responder_end_chunks(responder, true, &moved)) return false;
  if (device)
    hmci_stage_reserve(&responder->in, host->staging, responder->region->chunk, (uint32_t)host->settings->depth);
  return true;
}

/* Room for a notification; what was for a long one is not kept. */
static bool make_message(hmci_responder_t *responder, uint64_t size) {
  uint64_t room = size < MESSAGE ? MESSAGE : size;
  if (responder->message && responder->message_room == room) return true;
  free(responder->message);
  responder->message = malloc(room);
  responder->message_room = responder->message ? room : 0;
  return responder->message != NULL;
}

/* Header and table are complete. False when the stream is broken. */
static bool take_request(hmci_responder_t *responder) {
  hmci_request_header_t *request = &responder->request;
  hmci_segment_t *entries = request->entries > 1 ? responder->entries : &responder->entry;
  uint64_t total;
  responder->header_size = responder->table_size = 0;
  if (hmci_request_decode_entries(request, responder->table, entries, &total) != HMC_SUCCESS) return false;
  bool moved, plain = request->type == HMCI_WIRE_PUT && !(request->flags & HMCI_FLAG_CHAINED);
  if (!plain && !hmci_responder_end_chunks(responder, true, &moved)) return false;
  hmc_status_t status = admit(responder, entries);
  if (status == HMC_SUCCESS ? !prepare_stage(responder) : !hmci_responder_end_chunks(responder, true, &moved))
    return false;
  if (status != HMC_SUCCESS) hmci_responder_refuse(responder, status);
  if (request->type == HMCI_WIRE_GET) return take_get(responder, status, entries, total);
  if (request->type == HMCI_WIRE_ATOMIC)
    return status == HMC_SUCCESS ? take_atomic(responder, entries) : end_operation(responder);
  if (request->type == HMCI_WIRE_NOTIFY && !make_message(responder, total)) return false;
  responder->cursor = (hmci_cursor_t){0};
  responder->payload_left = total;
  responder->crc = 0;
  responder->is_fine = hmci_pieces_are_fine(request->entries, total);
  responder->bulk = total >= BULK && !responder->is_fine;
  return true;
}

/* Puts payload that came through the scratch to where it belongs. */
static bool place_staged(hmci_responder_t *responder, const uint8_t *data, uint64_t size) {
  while (size) {
    bool moved;
    hmci_stage_slot_t *slot = open_chunk(responder);
    if (!slot) {
      hmci_stage_finish(hmci_stage_oldest(&responder->in));
      if (!hmci_responder_end_chunks(responder, false, &moved)) return false;
      continue;
    }
    uint64_t room = responder->in.chunk - slot->size, length = size < room ? size : room;
    memcpy(slot->buffer + slot->size, data, length);
    fill_chunk(responder, slot, length);
    data += length;
    size -= length;
  }
  return responder->payload_left ? true : end_payload(responder);
}

static bool place(hmci_responder_t *responder, const uint8_t *data, uint64_t size) {
  if (hmci_responder_is_staged(responder)) return place_staged(responder, data, size);
  if (responder->request.flags & HMCI_FLAG_CHECKSUM) responder->crc = hmci_crc32c(responder->crc, data, size);
  if (responder->request.type == HMCI_WIRE_NOTIFY) {
    memcpy(responder->message + (responder->request.length - responder->payload_left), data, size);
  } else if (responder->region) {
    uint32_t count = responder->request.entries;
    hmc_status_t status = hmci_pieces_from_host(responder->region, count > 1 ? responder->entries : &responder->entry,
                                                count, &responder->cursor, data, size);
    if (status != HMC_SUCCESS) {
      hmci_responder_release(responder, &responder->region);
      hmci_responder_refuse(responder, status == HMC_INVALID_CONFIG ? HMC_STALE : status);
    }
  }
  responder->payload_left -= size;
  return responder->payload_left ? true : end_payload(responder);
}

static uint64_t gather(uint8_t *to, uint32_t *have, uint32_t need, const uint8_t *data, uint64_t size) {
  uint64_t length = need - *have;
  if (length > size) length = size;
  memcpy(to + *have, data, length);
  *have += (uint32_t)length;
  return length;
}

static bool make_table(hmci_responder_t *responder) {
  if (!responder->table) responder->table = malloc(HMCI_FRAME_TABLE);
  if (!responder->entries) responder->entries = malloc(HMCI_FRAME_ENTRIES * sizeof *responder->entries);
  return responder->table && responder->entries;
}

/* Takes bytes that lie in the scratch. False when the stream is broken. */
static bool consume(hmci_responder_t *responder, const uint8_t *data, uint64_t size) {
  while (size) {
    uint64_t length;
    if (responder->payload_left) {
      length = size < responder->payload_left ? size : responder->payload_left;
      if (!place(responder, data, length)) return false;
    } else if (responder->header_size < HMCI_REQUEST_HEADER) {
      length = gather(responder->header, &responder->header_size, HMCI_REQUEST_HEADER, data, size);
      if (responder->header_size == HMCI_REQUEST_HEADER) {
        if (hmci_request_decode(responder->header, &responder->request) != HMC_SUCCESS) return false;
        if (responder->request.entries > 1 && !make_table(responder)) return false;
        if (!hmci_request_table(&responder->request) && !take_request(responder)) return false;
      }
    } else {
      uint32_t need = hmci_request_table(&responder->request);
      length = gather(responder->table, &responder->table_size, need, data, size);
      if (responder->table_size == need && !take_request(responder)) return false;
    }
    data += length;
    size -= length;
  }
  return true;
}

/* Where the next bytes should go. */
typedef struct aim {
  struct iovec parts[HMCI_RESPONDER_PARTS];
  int count;
  uint64_t direct, wanted;  /* bytes that go to their place, and all */
  hmci_stage_slot_t *chunk; /* they go into this one */
} aim_t;

/* Payload: to its place in the region, with the scratch for what follows behind it; into a chunk for a device; or
 * through the scratch. */
static uint64_t aim_payload(hmci_responder_t *responder, aim_t *aim) {
  uint64_t left = responder->payload_left, most = responder->request.lease ? HMCI_RESPONDER_LEASED : left;
  if (hmci_responder_is_staged(responder)) {
    if (!(aim->chunk = open_chunk(responder))) return 0;
    uint64_t room = responder->in.chunk - aim->chunk->size;
    aim->direct = left < room ? left : room;
    aim->parts[aim->count++] = (struct iovec){aim->chunk->buffer + aim->chunk->size, aim->direct};
    return 0;
  }
  bool guarded = responder->region && responder->pipe->copies && !responder->region->owned; /* goes by the scratch */
  guarded = guarded || responder->is_fine;
  if (responder->region && responder->region->ops->host_accessible && !guarded) {
    hmci_cursor_t cursor = responder->cursor;
    aim->count = hmci_pieces_next(entries_of(responder), responder->request.entries, responder->region->base, &cursor,
                                  left < most ? left : most, aim->parts, HMCI_RESPONDER_PARTS - 1, &aim->direct);
    if (aim->direct < left) return 0;
    return responder->bulk ? HMCI_REQUEST_HEADER : LOOK_AHEAD;
  }
  if (left < BULK) return LOOK_AHEAD;
  return left < HMCI_SCRATCH ? left : HMCI_SCRATCH;
}

static void aim_next(hmci_responder_t *responder, aim_t *aim) {
  uint64_t buffered = LOOK_AHEAD;
  aim->count = 0;
  aim->direct = 0;
  aim->chunk = NULL;
  if (responder->payload_left) {
    buffered = aim_payload(responder, aim);
  } else if (responder->bulk && responder->header_size < HMCI_REQUEST_HEADER) {
    buffered = HMCI_REQUEST_HEADER - responder->header_size;
  }
  if (buffered) aim->parts[aim->count++] = (struct iovec){responder->host->scratch, buffered};
  aim->wanted = aim->direct + buffered;
}

/* Payload that came straight into the region. */
static void take_placed(hmci_responder_t *responder, const aim_t *aim, uint64_t size) {
  uint32_t count = responder->request.entries;
  const hmci_segment_t *entries = entries_of(responder);
  if (aim->chunk) {
    fill_chunk(responder, aim->chunk, size);
    return;
  }
  if (responder->request.flags & HMCI_FLAG_CHECKSUM) {
    responder->crc = hmci_pieces_crc(responder->region, entries, count, &responder->cursor, size, responder->crc);
  } else {
    hmci_pieces_skip(entries, count, &responder->cursor, size);
  }
  responder->payload_left -= size;
}

/* In the middle of a payload the rest is near: asking again at once costs less than a turn of the loop. */
static bool asks_again(const hmci_responder_t *responder, uint32_t *asked) {
  return responder->payload_left && (*asked)++ < ASK_AGAIN;
}

/* Receives what is there, up to a round. True when something moved. */
bool hmci_responder_receive(hmci_responder_t *responder) {
  uint64_t round = 0;
  uint32_t asked = 0;
  bool moved = false;
  aim_t aim;
  if (!hmci_responder_end_chunks(responder, false, &moved)) {
    hmci_responder_break_off(responder);
    return true;
  }
  while (round < HMCI_RESPONDER_ROUND && !hmci_responder_is_wanted(responder)) {
    responder->paused = responder->job_count >= HMCI_RESPONDER_JOBS;
    if (responder->paused) break;
    aim_next(responder, &aim);
    if (!aim.count) break; /* all chunks are with the device */
    ssize_t got = responder->pipe->receive(responder->pipe, aim.parts, aim.count);
    if (got < 0 && errno == EFAULT && responder->region) { /* its owner has unmapped the memory */
      hmci_responder_release(responder, &responder->region);
      hmci_responder_refuse(responder, HMC_STALE);
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
      if (asks_again(responder, &asked)) continue;
      break;
    }
    if (got <= 0) {
      hmci_responder_lose(responder, got == 0 ? "the peer closed the connection"
                                              : hmci_socket_loss(errno, "the connection broke while receiving"));
      return true;
    }
    round += (uint64_t)got;
    asked = 0;
    uint64_t placed = (uint64_t)got < aim.direct ? (uint64_t)got : aim.direct;
    bool sound = true;
    if (placed) {
      take_placed(responder, &aim, placed);
      if (!responder->payload_left) sound = end_payload(responder);
    }
    if (!sound || !consume(responder, responder->host->scratch, (uint64_t)got - placed)) {
      hmci_responder_break_off(responder);
      return true;
    }
    bool more = responder->pipe->pending && responder->pipe->pending(responder->pipe);
    if ((uint64_t)got < aim.wanted && !more && !asks_again(responder, &asked)) break;
  }
  return moved || round > 0;
}
