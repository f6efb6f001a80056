/* The answering end of a stream: sending answers. */
#include "../../base/socket.h"
#include "responder_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { LAST_COPIED = 64 }; /* bytes of a get's last frame, where its memory may not be there */

/* ---- answers ----------------------------------------------------------------------------------------------------- */

/* Appends the header of a frame. */
static void add_reply(hmci_responder_t *responder, const hmci_reply_header_t *header) {
  hmci_reply_encode(responder->replies + responder->replies_size, header);
  responder->replies_size += HMCI_REPLY_HEADER;
}

static uint32_t room_of(const hmci_responder_t *responder) {
  return (responder->replies == responder->narrow ? HMCI_RESPONDER_REPLIES : HMCI_RESPONDER_WIDE) -
         responder->replies_size;
}

static bool has_room(const hmci_responder_t *responder) {
  return room_of(responder) >= HMCI_REPLY_HEADER + HMCI_STREAM_INLINE;
}

void hmci_responder_narrow(hmci_responder_t *responder) {
  if (responder->replies == responder->narrow || responder->replies_size) return;
  free(responder->replies);
  responder->replies = responder->narrow;
}

/* Many answers in fine pieces go out by one call where there is memory for them. */
static void widen(hmci_responder_t *responder) {
  if (responder->replies != responder->narrow || responder->replies_size) return;
  uint8_t *wide = malloc(HMCI_RESPONDER_WIDE);
  if (wide) responder->replies = wide;
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
void hmci_responder_drop_chunks(hmci_responder_t *responder) {
  for (; !hmci_stage_is_empty(&responder->out); hmci_stage_pop(&responder->out)) {
    hmci_stage_finish(hmci_stage_oldest(&responder->out));
  }
}

/* A DATA frame that is copied whole, so that its job is over where it was the last one. HMC_STALE where its memory is
 * not there any more. */
static hmc_status_t add_small_data(hmci_responder_t *responder, hmci_responder_job_t *job,
                                   hmci_reply_header_t *header) {
  uint8_t *payload = responder->replies + responder->replies_size + HMCI_REPLY_HEADER;
  if (hmci_pieces_to_host(job->region, job->entries, job->count, &job->cursor, payload, header->length) !=
      HMC_SUCCESS) {
    return HMC_STALE;
  }
  if (job->checksum) header->crc = hmci_crc32c(0, payload, header->length);
  add_reply(responder, header);
  responder->replies_size += (uint32_t)header->length;
  job->left -= header->length;
  if (!job->left) hmci_responder_free_job(responder, job);
  return HMC_SUCCESS;
}

/* The payload of the next DATA frame from host memory. The last frame says that the get is complete before its bytes are
 * read: of memory that may go meanwhile it is one that is copied first, so that a NAK can still follow the others. */
static uint64_t next_length(const hmci_responder_t *responder, const hmci_responder_job_t *job) {
  uint64_t length = job->left < HMCI_FRAME_PAYLOAD ? job->left : HMCI_FRAME_PAYLOAD;
  if (job->is_fine) { /* copied as well, as much as there is room for */
    uint64_t room = room_of(responder) - HMCI_REPLY_HEADER;
    return length < room ? length : room;
  }
  bool ends = !job->region->owned && job->last && length == job->left && length > HMCI_STREAM_INLINE;
  return ends ? length - LAST_COPIED : length;
}

/* Appends the next DATA frame of a job, of a large one the header: HMC_IN_PROGRESS while the device copies it. */
static hmc_status_t add_data(hmci_responder_t *responder, hmci_responder_job_t *job) {
  bool host = job->region->ops->host_accessible;
  if (job->is_fine) widen(responder);
  uint64_t length = host ? next_length(responder, job) : 0;
  hmci_stage_slot_t *slot = NULL;
  if (!host) {
    copy_ahead(responder, job);
    if (hmci_stage_is_empty(&responder->out) || !hmci_stage_is_done(hmci_stage_oldest(&responder->out)))
      return HMC_IN_PROGRESS;
    slot = hmci_stage_oldest(&responder->out);
    length = slot->size;
    responder->out_sent = 0;
    if (slot->status != HMC_SUCCESS) return slot->status;
  }
  hmci_reply_header_t header = {.type = HMCI_WIRE_DATA, .sequence = job->sequence, .length = length};
  if (job->last && length == job->left) header.flags |= HMCI_FLAG_LAST;
  if (job->checksum) header.flags |= HMCI_FLAG_CHECKSUM;
  if (job->is_fine || (host && length <= HMCI_STREAM_INLINE)) {
    return add_small_data(responder, job, &header);
  }
  if (job->checksum) {
    hmci_cursor_t cursor = job->cursor;
    header.crc = host ? hmci_pieces_crc(job->region, job->entries, job->count, &cursor, length, 0)
                      : hmci_crc32c(0, slot->buffer, length);
  }
  add_reply(responder, &header);
  responder->data_left = length;
  return HMC_SUCCESS;
}

/* Acknowledges up to `sequence`. False when that is done. */
static bool acknowledge(hmci_responder_t *responder, uint64_t sequence) {
  if (responder->ack_sent >= sequence) return false;
  responder->ack_sent = sequence;
  if (sequence == responder->ack_due) responder->ack_presses = false;
  add_reply(responder, &(hmci_reply_header_t){.type = HMCI_WIRE_ACK, .sequence = sequence});
  return true;
}

/* Appends the next frame. False when there is nothing to say. An ACK overtakes the bytes of gets, but not a NAK of
 * what it would cover. What was done before an answer is acknowledged before it: that costs no message of its own, and a
 * flush that waits for a get waits for that too. */
static bool next_reply(hmci_responder_t *responder) {
  if (!responder->refusals && responder->ack_presses && acknowledge(responder, responder->ack_due)) return true;
  if (hmci_list_is_empty(&responder->jobs)) return false;
  hmci_responder_job_t *job = hmci_responder_first_job(responder);
  if (acknowledge(responder, job->done)) return true;
  if (job->status == HMC_SUCCESS && job->count) {
    hmc_status_t status = add_data(responder, job);
    if (status == HMC_SUCCESS || status == HMC_IN_PROGRESS) return status == HMC_SUCCESS;
    hmci_responder_drop_chunks(responder);
    job->status = status;
  }
  hmci_reply_header_t header = {.type = HMCI_WIRE_RESULT, .sequence = job->sequence, .length = job->value};
  if (job->status != HMC_SUCCESS) {
    header = (hmci_reply_header_t){.type = HMCI_WIRE_NAK, .sequence = job->sequence, .status = (uint16_t)job->status};
  }
  add_reply(responder, &header);
  hmci_responder_free_job(responder, job);
  return true;
}

/* Payload of a frame whose region went away meanwhile. */
static const uint8_t zeros[4096];

/* What is still to go of the frames and the payload behind them. */
static int reply_parts(hmci_responder_t *responder, struct iovec *parts) {
  int used = 0;
  uint64_t covered;
  if (responder->replies_sent < responder->replies_size) {
    parts[used++] =
        (struct iovec){responder->replies + responder->replies_sent, responder->replies_size - responder->replies_sent};
  }
  if (!responder->data_left) return used;
  hmci_responder_job_t *job = hmci_responder_first_job(responder);
  if (responder->rest) {
    parts[used++] = (struct iovec){responder->rest + responder->rest_sent, responder->data_left};
  } else if (!job->region) {
    uint64_t left = responder->data_left;
    for (uint64_t length; left && used < HMCI_RESPONDER_PARTS; left -= length) {
      length = left < sizeof zeros ? left : sizeof zeros;
      parts[used++] = (struct iovec){(void *)(uintptr_t)zeros, length};
    }
  } else if (!job->region->ops->host_accessible) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->out);
    parts[used++] = (struct iovec){slot->buffer + responder->out_sent, slot->size - responder->out_sent};
  } else {
    hmci_cursor_t cursor = job->cursor;
    uint64_t most =
        job->lease && responder->data_left > HMCI_RESPONDER_LEASED ? HMCI_RESPONDER_LEASED : responder->data_left;
    used += hmci_pieces_next(job->entries, job->count, job->region->base, &cursor, most, parts + used,
                             HMCI_RESPONDER_PARTS - used, &covered);
  }
  return used;
}

/* True where payload goes out from memory that may not be there. */
static bool sends_doubtful(const hmci_responder_t *responder) {
  if (!responder->data_left || responder->rest) return false;
  const hmci_region_view_t *region = hmci_responder_first_job((hmci_responder_t *)responder)->region;
  return region && region->ops->host_accessible && !region->owned;
}

/* Takes note of payload that went out, and ends the job with its last byte. */
static void advance_data(hmci_responder_t *responder, uint64_t sent) {
  hmci_responder_job_t *job = hmci_responder_first_job(responder);
  bool host = job->region && job->region->ops->host_accessible;
  if (host) hmci_pieces_skip(job->entries, job->count, &job->cursor, sent);
  responder->out_sent += sent;
  responder->data_left -= sent;
  responder->rest_sent += sent;
  job->left -= sent;
  if (responder->data_left) return;
  if (responder->rest) {
    free(responder->rest);
    responder->rest = NULL;
    hmci_responder_free_job(responder, job);
    return;
  }
  if (job->region && !host) hmci_stage_pop(&responder->out);
  if (job->region && !job->left) hmci_responder_free_job(responder, job); /* one without a region still owes its NAK */
}

/* Takes note of what went out. */
static void advance(hmci_responder_t *responder, uint64_t sent) {
  uint64_t frames = responder->replies_size - responder->replies_sent;
  if (frames > sent) frames = sent;
  responder->replies_sent += (uint32_t)frames;
  if (responder->replies_sent == responder->replies_size) responder->replies_sent = responder->replies_size = 0;
  if (sent > frames) advance_data(responder, sent - frames);
}

/* Sends answers until all are gone or the pipe is full. True when something moved. */
static bool send_replies(hmci_responder_t *responder) {
  bool moved = false;
  uint64_t round = 0;
  responder->blocked = false;
  for (;;) {
    while (!responder->data_left && has_room(responder) && next_reply(responder)) continue;
    if (!responder->replies_size && !responder->data_left) break;
    if (round >= HMCI_RESPONDER_ROUND || (round && hmci_responder_is_wanted(responder))) {
      responder->blocked = true; /* others first; a socket, being writable, makes the next event */
      if (responder->pipe->hidden) hmci_loop_call_soon(responder->host->loop, &responder->watch);
      break;
    }
    struct iovec parts[HMCI_RESPONDER_PARTS];
    int count = reply_parts(responder, parts);
    ssize_t sent = hmci_pipe_send(responder->pipe, parts, count, sends_doubtful(responder));
    if (sent < 0 && errno == EFAULT && responder->data_left) { /* its owner has unmapped or protected the memory */
      hmci_responder_job_t *job = hmci_responder_first_job(responder);
      hmci_responder_release(responder, &job->region);
      job->status = HMC_STALE;
      continue;
    }
    if (sent < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
        responder->blocked = true;
        return moved;
      }
      hmci_responder_lose(responder, hmci_socket_loss(errno, "the connection broke while sending"));
      return true;
    }
    moved = true;
    round += (uint64_t)sent;
    advance(responder, (uint64_t)sent);
  }
  return moved;
}

bool hmci_responder_send(hmci_responder_t *responder) {
  bool moved = send_replies(responder);
  if (responder->failed || !responder->pipe->flush || responder->pipe->flush(responder->pipe) == 0) return moved;
  if (errno == EAGAIN) {
    responder->blocked = true;
  } else {
    hmci_responder_lose(responder, hmci_socket_loss(errno, "the connection broke while sending"));
  }
  return moved;
}
