/* The answering end of a stream (see responder.h). */
#include "responder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
  JOBS = 64,             /* gets waiting for their answer */
  ROUND = 4 << 20,       /* bytes served before other watches get their turn */
  PARTS = 66,
  BULK = 32 << 10,       /* a payload from this size on is read without look-ahead */
  LOOK_AHEAD = 64 << 10, /* most bytes read into the scratch at a time */
};
_Static_assert((int)LOOK_AHEAD <= (int)HMCI_SCRATCH, "the look-ahead fits into the scratch");

/* A get that waits for its answer, the result of an atomic, or a refusal. */
struct hmci_responder_job {
  hmci_list_t link;
  uint64_t sequence;
  hmc_status_t status; /* not HMC_SUCCESS: a NAK */
  bool last;           /* the operation ends with this job */
  bool checksum;
  uint64_t value; /* of a result */
  hmci_region_view_t *region;
  hmci_cursor_t cursor; /* where the next frame starts, or the next chunk that the device copies */
  uint64_t left;        /* to be sent */
  uint64_t to_copy;     /* to be copied by the device */
  uint32_t count; /* 0: a refusal, or a result */
  hmci_segment_t entries[];
};

static hmci_responder_job_t *first_job(hmci_responder_t *responder) {
  return HMCI_CONTAINER(responder->jobs.next, hmci_responder_job_t, link);
}

static void release_region(hmci_responder_t *responder, hmci_region_view_t **region) {
  if (*region) responder->host->region_release(responder->host, *region);
  *region = NULL;
}

static void free_job(hmci_responder_t *responder, hmci_responder_job_t *job) {
  release_region(responder, &job->region);
  if (!job->count) responder->refusals--;
  hmci_list_remove(&job->link);
  responder->job_count--;
  free(job);
}

/* Ends the service; the peer sees the socket close. */
static void stop(hmci_responder_t *responder) {
  responder->failed = true;
  for (; !hmci_stage_is_empty(&responder->in); hmci_stage_pop(&responder->in)) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->in);
    hmci_stage_finish(slot);
    release_region(responder, &slot->region);
  }
  for (; !hmci_stage_is_empty(&responder->out); hmci_stage_pop(&responder->out)) {
    hmci_stage_finish(hmci_stage_oldest(&responder->out));
  }
  hmci_loop_set_polled(responder->host->loop, &responder->watch, false);
  release_region(responder, &responder->region);
  while (!hmci_list_is_empty(&responder->jobs)) free_job(responder, first_job(responder));
  hmci_loop_silence(responder->host->loop, &responder->watch);
}

static void lose(hmci_responder_t *responder, const char *reason) {
  stop(responder);
  responder->host->connection_lost(responder->host, responder->connection, reason);
}

/* ---- requests -------------------------------------------------------------------------------------------------------- */

static hmci_responder_job_t *new_job(hmci_responder_t *responder, uint64_t sequence, hmc_status_t status, uint32_t count) {
  hmci_responder_job_t *job = calloc(1, sizeof *job + count * sizeof(hmci_segment_t));
  if (!job) return NULL;
  job->sequence = sequence;
  job->status = status;
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
  job->region = responder->region; /* its use goes over to the job */
  responder->region = NULL;
  return true;
}

static void refuse(hmci_responder_t *responder, hmc_status_t status) {
  responder->refused_sequence = responder->request.sequence;
  responder->refused_status = status;
}

/* Ends an operation that needs no answer but an acknowledgement, or a refusal. */
static bool end_sequence(hmci_responder_t *responder, uint64_t sequence, hmc_status_t status) {
  responder->last_status = status;
  if (status != HMC_SUCCESS && !add_refusal(responder, sequence, status)) return false;
  responder->ack_due = sequence;
  return true;
}

/* The same for the current one, with the refusal that was noted. */
static bool end_operation(hmci_responder_t *responder) {
  hmc_status_t status = responder->refused_status;
  responder->refused_status = HMC_SUCCESS;
  return end_sequence(responder, responder->request.sequence, status);
}

/* ---- chunks on their way into device memory -------------------------------------------------------------------------- */

/* The frame that comes in goes into device memory by the stage. */
static bool is_staged(const hmci_responder_t *responder) {
  return responder->region && !responder->region->ops->host_accessible && responder->in.depth;
}

/* Ends the oldest chunk, whose copies are done, and its operation with the last one. False when the stream is broken. */
static bool end_chunk(hmci_responder_t *responder) {
  hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->in);
  release_region(responder, &slot->region);
  hmc_status_t status = slot->status;
  if (slot->sequence == responder->chunk_sequence && status == HMC_SUCCESS) status = responder->chunk_status;
  responder->chunk_sequence = slot->sequence;
  responder->chunk_status = status;
  bool sound = !slot->last || end_sequence(responder, slot->sequence, status);
  hmci_stage_pop(&responder->in);
  return sound;
}

/* Ends what the device has copied; all of it, waiting, when `wait` is set. False when the stream is broken. */
static bool end_chunks(hmci_responder_t *responder, bool wait, bool *moved) {
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
  atomic_fetch_add_explicit(&responder->region->users, 1, memory_order_relaxed); /* counted: the frame's own use is still held */
  slot->region = responder->region;
  hmci_stage_start(slot, responder->region, entries_of(responder), responder->request.entries, &responder->cursor, slot->size, false);
}

/* Bytes have come into the open chunk. */
static void fill_chunk(hmci_responder_t *responder, hmci_stage_slot_t *slot, uint64_t size) {
  if (responder->request.flags & HMCI_FLAG_CHECKSUM) responder->crc = hmci_crc32c(responder->crc, slot->buffer + slot->size, size);
  slot->size += size;
  responder->payload_left -= size;
  if (slot->size == responder->in.chunk && responder->payload_left) start_chunk(responder, slot);
}

/* A staged frame is complete: its last chunk goes to the device, and the operation ends with it. */
static bool end_staged(hmci_responder_t *responder) {
  hmci_stage_slot_t *slot = hmci_stage_newest(&responder->in);
  slot->last = responder->request.flags & HMCI_FLAG_LAST;
  start_chunk(responder, slot);
  release_region(responder, &responder->region);
  return true;
}

/* All of a frame's payload is where it belongs, or dropped. */
static bool end_payload(hmci_responder_t *responder) {
  const hmci_request_header_t *request = &responder->request;
  if (responder->refused_status == HMC_SUCCESS && request->flags & HMCI_FLAG_CHECKSUM && responder->crc != request->crc) {
    refuse(responder, HMC_CORRUPT);
  }
  if (is_staged(responder)) {
    if (responder->refused_status == HMC_SUCCESS) return end_staged(responder);
    bool moved;
    hmci_stage_newest(&responder->in)->started = true; /* damaged: not copied */
    if (!end_chunks(responder, true, &moved)) return false;
  }
  release_region(responder, &responder->region);
  if (responder->refused_status == HMC_SUCCESS && request->type == HMCI_WIRE_NOTIFY) {
    const hmci_host_t *host = responder->host;
    hmc_status_t status = host->notify(host, responder->connection, responder->message, request->length);
    if (status != HMC_SUCCESS) refuse(responder, status);
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
  if (request->sequence != responder->refused_sequence) responder->refused_status = HMC_SUCCESS; /* the former one was cancelled */
  if (responder->refused_status != HMC_SUCCESS) return responder->refused_status;
  if (request->flags & HMCI_FLAG_CHAINED && responder->last_status != HMC_SUCCESS) return responder->last_status;
  if (request->type == HMCI_WIRE_NOTIFY) return HMC_SUCCESS;
  hmc_status_t status = responder->host->region_acquire(responder->host, request->region, request->generation,
                                                        rights_needed[request->type], &responder->region);
  uint32_t places = request->type == HMCI_WIRE_ATOMIC ? 1 : request->entries;
  if (status == HMC_SUCCESS && !entries_fit(entries, places, responder->region->size)) {
    release_region(responder, &responder->region);
    status = HMC_OUT_OF_RANGE;
  }
  return status;
}

static bool take_atomic(hmci_responder_t *responder, const hmci_segment_t *entries) {
  hmci_atomic_t atomic = {.operation = (hmc_atomic_operation_t)entries[1].local, .fetch = entries[2].length, .operand = entries[1].length,
                          .compare = entries[2].local};
  hmc_status_t status = hmci_atomic_on_region(responder->region, entries[0].local, (unsigned)entries[0].length, &atomic);
  release_region(responder, &responder->region);
  if (status != HMC_SUCCESS) refuse(responder, status);
  if (status != HMC_SUCCESS || !atomic.fetch) return end_operation(responder);
  responder->last_status = HMC_SUCCESS;
  return add_result(responder, atomic.fetched);
}

static bool take_get(hmci_responder_t *responder, hmc_status_t status, const hmci_segment_t *entries, uint64_t total) {
  responder->bulk = false;
  bool last = responder->request.flags & HMCI_FLAG_LAST;
  if (status == HMC_SUCCESS) {
    if (last) responder->last_status = HMC_SUCCESS;
    return add_get(responder, entries, total);
  }
  return last ? end_operation(responder) : true;
}

/* A frame into device memory gets its buffers where the pool has some; any other waits until the device has finished. */
static bool prepare_stage(hmci_responder_t *responder) {
  const hmci_host_t *host = responder->host;
  bool moved, device = responder->request.type == HMCI_WIRE_PUT && !responder->region->ops->host_accessible;
  if (device && responder->in.chunk >= responder->region->chunk) return true;
  if (!end_chunks(responder, true, &moved)) return false;
  if (device) hmci_stage_reserve(&responder->in, host->staging, responder->region->chunk, (uint32_t)host->settings->depth);
  return true;
}

/* Header and table are complete. False when the stream is broken. */
static bool take_request(hmci_responder_t *responder) {
  hmci_request_header_t *request = &responder->request;
  hmci_segment_t *entries = request->entries > 1 ? responder->entries : &responder->entry;
  uint64_t total;
  responder->header_size = responder->table_size = 0;
  if (hmci_request_decode_entries(request, responder->table, entries, &total) != HMC_SUCCESS) return false;
  bool moved, plain = request->type == HMCI_WIRE_PUT && !(request->flags & HMCI_FLAG_CHAINED);
  if (!plain && !end_chunks(responder, true, &moved)) return false;
  hmc_status_t status = admit(responder, entries);
  if (status == HMC_SUCCESS ? !prepare_stage(responder) : !end_chunks(responder, true, &moved)) return false;
  if (status != HMC_SUCCESS) refuse(responder, status);
  if (request->type == HMCI_WIRE_GET) return take_get(responder, status, entries, total);
  if (request->type == HMCI_WIRE_ATOMIC) return status == HMC_SUCCESS ? take_atomic(responder, entries) : end_operation(responder);
  if (request->type == HMCI_WIRE_NOTIFY && !responder->message && !(responder->message = malloc(HMC_NOTIFICATION_MAX))) return false;
  responder->cursor = (hmci_cursor_t){0};
  responder->payload_left = total;
  responder->crc = 0;
  responder->bulk = total >= BULK;
  return true;
}

/* Puts payload that came through the scratch to where it belongs. */
static bool place_staged(hmci_responder_t *responder, const uint8_t *data, uint64_t size) {
  while (size) {
    bool moved;
    hmci_stage_slot_t *slot = open_chunk(responder);
    if (!slot) {
      hmci_stage_finish(hmci_stage_oldest(&responder->in));
      if (!end_chunks(responder, false, &moved)) return false;
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
  if (is_staged(responder)) return place_staged(responder, data, size);
  if (responder->request.flags & HMCI_FLAG_CHECKSUM) responder->crc = hmci_crc32c(responder->crc, data, size);
  if (responder->request.type == HMCI_WIRE_NOTIFY) {
    memcpy(responder->message + (responder->request.length - responder->payload_left), data, size);
  } else if (responder->region) {
    uint32_t count = responder->request.entries;
    hmc_status_t status = hmci_pieces_from_host(responder->region, count > 1 ? responder->entries : &responder->entry, count,
                                                &responder->cursor, data, size);
    if (status != HMC_SUCCESS) {
      release_region(responder, &responder->region);
      refuse(responder, status);
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
        if (responder->request.entries == 1 && !take_request(responder)) return false;
      }
    } else {
      uint32_t need = (responder->request.entries - 1u) * HMCI_REQUEST_ENTRY;
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
  struct iovec parts[PARTS];
  int count;
  uint64_t direct, wanted; /* bytes that go to their place, and all */
  hmci_stage_slot_t *chunk; /* they go into this one */
} aim_t;

/* Payload: to its place in the region, with the scratch for what follows behind it; into a chunk for a device; or through the scratch. */
static uint64_t aim_payload(hmci_responder_t *responder, aim_t *aim) {
  uint64_t left = responder->payload_left;
  if (is_staged(responder)) {
    if (!(aim->chunk = open_chunk(responder))) return 0;
    uint64_t room = responder->in.chunk - aim->chunk->size;
    aim->direct = left < room ? left : room;
    aim->parts[aim->count++] = (struct iovec){aim->chunk->buffer + aim->chunk->size, aim->direct};
    return 0;
  }
  if (responder->region && responder->region->ops->host_accessible) {
    hmci_cursor_t cursor = responder->cursor;
    aim->count = hmci_pieces_next(entries_of(responder), responder->request.entries, responder->region->base, &cursor, left, aim->parts,
                                  PARTS - 1, &aim->direct);
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
    responder->crc = hmci_pieces_crc(entries, count, responder->region->base, &responder->cursor, size, responder->crc);
  } else {
    hmci_pieces_skip(entries, count, &responder->cursor, size);
  }
  responder->payload_left -= size;
}

static void break_off(hmci_responder_t *responder) {
  hmci_log(HMC_LOG_WARNING, "a data connection is closed: %s", hmc_last_error());
  lose(responder, "it broke the protocol");
}

/* Receives what is there, up to a round. True when something moved. */
static bool receive_more(hmci_responder_t *responder) {
  uint64_t round = 0;
  bool moved = false;
  aim_t aim;
  if (!end_chunks(responder, false, &moved)) {
    break_off(responder);
    return true;
  }
  while (round < ROUND) {
    responder->paused = responder->job_count >= JOBS;
    if (responder->paused) break;
    aim_next(responder, &aim);
    if (!aim.count) break; /* all chunks are with the device */
    ssize_t got = responder->pipe->receive(responder->pipe, aim.parts, aim.count);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) break;
    if (got <= 0) {
      lose(responder, got == 0 ? "the peer closed the connection" : "the connection broke while receiving");
      return true;
    }
    round += (uint64_t)got;
    uint64_t placed = (uint64_t)got < aim.direct ? (uint64_t)got : aim.direct;
    bool sound = true;
    if (placed) {
      take_placed(responder, &aim, placed);
      if (!responder->payload_left) sound = end_payload(responder);
    }
    if (!sound || !consume(responder, responder->host->scratch, (uint64_t)got - placed)) {
      break_off(responder);
      return true;
    }
    bool more = responder->pipe->pending && responder->pipe->pending(responder->pipe);
    if ((uint64_t)got < aim.wanted && !more) break;
  }
  return moved || round > 0;
}

/* ---- answers --------------------------------------------------------------------------------------------------------- */

static void begin_reply(hmci_responder_t *responder, const hmci_reply_header_t *header) {
  hmci_reply_encode(responder->reply, header);
  responder->reply_size = HMCI_REPLY_HEADER;
  responder->reply_sent = 0;
}

/* Lets the device copy ahead for a job, as far as there are buffers. */
static void copy_ahead(hmci_responder_t *responder, hmci_responder_job_t *job) {
  const hmci_host_t *host = responder->host;
  hmci_stage_t *out = &responder->out;
  if (!hmci_stage_reserve(out, host->staging, job->region->chunk, (uint32_t)host->settings->depth)) return;
  while (job->to_copy && !hmci_stage_is_full(out)) {
    hmci_stage_slot_t *slot = hmci_stage_claim(out);
    slot->size = job->to_copy < out->chunk ? job->to_copy : out->chunk;
    job->to_copy -= slot->size;
    hmci_stage_start(slot, job->region, job->entries, job->count, &job->cursor, slot->size, true);
  }
}

/* Drops the chunks of the oldest job; the device has finished when it returns. */
static void drop_chunks(hmci_responder_t *responder) {
  for (; !hmci_stage_is_empty(&responder->out); hmci_stage_pop(&responder->out)) {
    hmci_stage_finish(hmci_stage_oldest(&responder->out));
  }
}

/* Begins the next DATA frame of a job: HMC_IN_PROGRESS while the device copies it. */
static hmc_status_t begin_data(hmci_responder_t *responder, hmci_responder_job_t *job) {
  bool host = job->region->ops->host_accessible;
  uint64_t length = job->left < HMCI_FRAME_PAYLOAD ? job->left : HMCI_FRAME_PAYLOAD;
  hmci_stage_slot_t *slot = NULL;
  if (!host) {
    copy_ahead(responder, job);
    if (hmci_stage_is_empty(&responder->out) || !hmci_stage_is_done(hmci_stage_oldest(&responder->out))) return HMC_IN_PROGRESS;
    slot = hmci_stage_oldest(&responder->out);
    length = slot->size;
    responder->out_sent = 0;
    if (slot->status != HMC_SUCCESS) return slot->status;
  }
  hmci_reply_header_t header = {.type = HMCI_WIRE_DATA, .sequence = job->sequence, .length = length};
  if (job->last && length == job->left) header.flags |= HMCI_FLAG_LAST;
  if (job->checksum) {
    hmci_cursor_t cursor = job->cursor;
    header.flags |= HMCI_FLAG_CHECKSUM;
    header.crc = host ? hmci_pieces_crc(job->entries, job->count, job->region->base, &cursor, length, 0)
                      : hmci_crc32c(0, slot->buffer, length);
  }
  begin_reply(responder, &header);
  responder->data_left = length;
  return HMC_SUCCESS;
}

/* Prepares the next frame. False when there is nothing to say. An ACK overtakes the bytes of gets, but not a NAK of what it would cover. */
static bool next_reply(hmci_responder_t *responder) {
  if (responder->ack_sent != responder->ack_due && !responder->refusals) {
    responder->ack_sent = responder->ack_due;
    begin_reply(responder, &(hmci_reply_header_t){.type = HMCI_WIRE_ACK, .sequence = responder->ack_due});
    return true;
  }
  if (hmci_list_is_empty(&responder->jobs)) return false;
  hmci_responder_job_t *job = first_job(responder);
  if (job->status == HMC_SUCCESS && job->count) {
    hmc_status_t status = begin_data(responder, job);
    if (status == HMC_SUCCESS || status == HMC_IN_PROGRESS) return status == HMC_SUCCESS;
    drop_chunks(responder);
    job->status = status;
  }
  hmci_reply_header_t header = {.type = HMCI_WIRE_RESULT, .sequence = job->sequence, .length = job->value};
  if (job->status != HMC_SUCCESS) {
    header = (hmci_reply_header_t){.type = HMCI_WIRE_NAK, .sequence = job->sequence, .status = (uint16_t)job->status};
  }
  begin_reply(responder, &header);
  free_job(responder, job);
  return true;
}

/* Payload of a frame whose region went away meanwhile. */
static const uint8_t zeros[4096];

/* The parts of the frame being sent that are still to go. */
static int reply_parts(hmci_responder_t *responder, struct iovec *parts) {
  int used = 0;
  uint64_t covered;
  if (responder->reply_sent < responder->reply_size) {
    parts[used++] = (struct iovec){responder->reply + responder->reply_sent, responder->reply_size - responder->reply_sent};
  }
  if (!responder->data_left) return used;
  hmci_responder_job_t *job = first_job(responder);
  if (!job->region) {
    uint64_t length = responder->data_left < sizeof zeros ? responder->data_left : sizeof zeros;
    parts[used++] = (struct iovec){(void *)(uintptr_t)zeros, length};
  } else if (!job->region->ops->host_accessible) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->out);
    parts[used++] = (struct iovec){slot->buffer + responder->out_sent, slot->size - responder->out_sent};
  } else {
    hmci_cursor_t cursor = job->cursor;
    used += hmci_pieces_next(job->entries, job->count, job->region->base, &cursor, responder->data_left, parts + used,
                             PARTS - used, &covered);
  }
  return used;
}

/* Takes note of payload that went out, and ends the job with its last byte. */
static void advance_data(hmci_responder_t *responder, uint64_t sent) {
  hmci_responder_job_t *job = first_job(responder);
  bool host = job->region && job->region->ops->host_accessible;
  if (host) hmci_pieces_skip(job->entries, job->count, &job->cursor, sent);
  responder->out_sent += sent;
  responder->data_left -= sent;
  job->left -= sent;
  if (responder->data_left) return;
  if (job->region && !host) hmci_stage_pop(&responder->out);
  if (job->region && !job->left) free_job(responder, job); /* one without a region still owes its NAK */
}

/* Sends answers until all are gone or the pipe is full. True when something moved. */
static bool send_replies(hmci_responder_t *responder) {
  bool moved = false;
  uint64_t round = 0;
  responder->blocked = false;
  while (round < ROUND) {
    bool framed = responder->reply_sent < responder->reply_size || responder->data_left;
    if (!framed && !next_reply(responder)) break;
    struct iovec parts[PARTS];
    int count = reply_parts(responder, parts);
    ssize_t sent = responder->pipe->send(responder->pipe, parts, count);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        responder->blocked = true;
        return moved;
      }
      lose(responder, "the connection broke while sending");
      return true;
    }
    moved = true;
    round += (uint64_t)sent;
    uint32_t header = responder->reply_size - responder->reply_sent;
    if (header > (uint64_t)sent) header = (uint32_t)sent;
    responder->reply_sent += header;
    if ((uint64_t)sent > header) advance_data(responder, (uint64_t)sent - header);
  }
  return moved;
}

static bool send_more(hmci_responder_t *responder) {
  bool moved = send_replies(responder);
  if (responder->failed || !responder->pipe->flush || responder->pipe->flush(responder->pipe) == 0) return moved;
  if (errno == EAGAIN) {
    responder->blocked = true;
  } else {
    lose(responder, "the connection broke while sending");
  }
  return moved;
}

/* ---- the service ----------------------------------------------------------------------------------------------------- */

/* A device copies, and no descriptor will tell when it is done; or the pool has to get a buffer back. */
static bool waits_for_device(const hmci_responder_t *responder) {
  if (!hmci_stage_is_empty(&responder->in) && responder->in.slots[responder->in.head].started) return true;
  if (responder->blocked || hmci_list_is_empty(&responder->jobs)) return false;
  const hmci_responder_job_t *job = HMCI_CONTAINER(responder->jobs.next, hmci_responder_job_t, link);
  return job->region && !job->region->ops->host_accessible;
}

/* Asks the loop for what is waited for, where that has changed; an idle responder keeps no buffers. */
static void settle(hmci_responder_t *responder, bool was_blocked, bool was_paused) {
  hmci_loop_t *loop = responder->host->loop;
  if (was_blocked != responder->blocked || was_paused != responder->paused) {
    hmci_loop_modify(loop, &responder->watch, (responder->paused ? 0 : EPOLLIN) | (responder->blocked ? EPOLLOUT : 0));
  }
  bool polled = waits_for_device(responder);
  if (polled != responder->polled) hmci_loop_set_polled(loop, &responder->watch, polled);
  responder->polled = polled;
  if (responder->in.depth && hmci_stage_is_empty(&responder->in) && !responder->payload_left) hmci_stage_release(&responder->in);
  if (responder->out.depth && hmci_list_is_empty(&responder->jobs)) hmci_stage_release(&responder->out);
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  hmci_responder_t *responder = HMCI_CONTAINER(watch, hmci_responder_t, watch);
  bool moved = false;
  pthread_mutex_lock(&responder->lock);
  if (!responder->failed) {
    bool was_blocked = responder->blocked, was_paused = responder->paused;
    if (!responder->paused) moved = receive_more(responder);
    if (!responder->failed) moved |= send_more(responder);
    if (!responder->failed && responder->paused && responder->job_count < JOBS) {
      responder->paused = false; /* there is room again; what waits in the socket makes the next event */
      moved = true;
    }
    if (!moved && !responder->failed && events & (EPOLLHUP | EPOLLERR)) lose(responder, "the peer closed the connection");
    if (!responder->failed) settle(responder, was_blocked, was_paused);
  }
  pthread_mutex_unlock(&responder->lock);
  return moved;
}

/* The device finishes with a region: chunks of it are ended, or become bytes of nothing. False when the stream is broken. */
static bool finish_chunks(hmci_responder_t *responder, const hmci_region_view_t *region) {
  bool moved;
  if (responder->region == region && is_staged(responder) && !hmci_stage_is_empty(&responder->in)) {
    hmci_stage_slot_t *newest = hmci_stage_newest(&responder->in);
    newest->started = true; /* half full: not copied */
  }
  return end_chunks(responder, true, &moved);
}

void hmci_responder_revoke(hmci_responder_t *responder, hmci_region_view_t *region) {
  if (!responder->pipe) return;
  pthread_mutex_lock(&responder->lock);
  if (!responder->failed && !finish_chunks(responder, region)) break_off(responder);
  if (responder->region == region) {
    release_region(responder, &responder->region);
    refuse(responder, HMC_STALE);
  }
  for (hmci_list_t *link = responder->jobs.next; link != &responder->jobs; link = link->next) {
    hmci_responder_job_t *job = HMCI_CONTAINER(link, hmci_responder_job_t, link);
    if (job->region != region) continue;
    if (link == responder->jobs.next) drop_chunks(responder);
    release_region(responder, &job->region);
    job->status = HMC_STALE;
  }
  pthread_mutex_unlock(&responder->lock);
}

hmc_status_t hmci_responder_open(hmci_responder_t *responder, const hmci_host_t *host, void *connection, hmci_pipe_t *pipe) {
  *responder = (hmci_responder_t){.host = host, .connection = connection, .pipe = pipe, .watch.ready = on_ready};
  hmci_list_init(&responder->jobs);
  pthread_mutex_init(&responder->lock, NULL);
  hmc_status_t status = hmci_loop_add(host->loop, &responder->watch, pipe->descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) {
    pthread_mutex_destroy(&responder->lock);
    responder->pipe = NULL;
  }
  return status;
}

void hmci_responder_fail(hmci_responder_t *responder) {
  if (!responder->pipe) return;
  pthread_mutex_lock(&responder->lock);
  if (!responder->failed) stop(responder);
  pthread_mutex_unlock(&responder->lock);
}

void hmci_responder_close(hmci_responder_t *responder) {
  if (!responder->pipe) return;
  hmci_responder_fail(responder);
  hmci_loop_remove(responder->host->loop, &responder->watch);
  responder->pipe->close(responder->pipe);
  responder->pipe = NULL;
  free(responder->table);
  free(responder->entries);
  free(responder->message);
  hmci_stage_release(&responder->in);
  hmci_stage_release(&responder->out);
  pthread_mutex_destroy(&responder->lock);
}
