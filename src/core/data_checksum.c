/* Checksums for transports that have none: a second pass over what was moved.
 *
 * When the data of an operation are visible, both ends compute the CRC-32C of the same ranges, slice by slice, and the
 * initiator compares. Only then the signal and the notification go out. The request's completion is that of one
 * operation more, the result, which no transport knows.
 *
 * All of it runs in the loops' threads: a part that completes makes its request due (under the transport's locks, so no
 * more is done there), the timer takes it up, answers come by the session. A peer gets to know a checksum of its own
 * choice of bytes, which tells what they are: that takes the right to read.
 *
 * Locking: `checksum.lock` guards the list, `due` and `checking`. A request on the list is to be completed by who takes it
 * off: the loop, or who ends it (hmci_checksum_claim). While `checking` it is the loop's. What is being started stays in
 * the phase of its data. */
#include "request.h"

#include "../base/guarded.h"

#include <sched.h>

enum {
  SLICE_BYTES = 1 << 20, /* bounds what a service thread does at a time */
  SLICE_PIECES = 512,
  QUESTION = 20,        /* bytes of one before its ranges */
  LOOK_AGAIN = 1000000, /* nanoseconds until a request that was being started is looked at again */
};

/* ---- checksums --------------------------------------------------------------------------------------------------- */

/* Registered memory may be unmapped or protected by its owner. */
static hmc_status_t to_scratch(const hmci_host_t *host, const hmci_region_view_t *region, uint64_t offset,
                               uint64_t size) {
  const uint8_t *from = region->base + offset;
  if (!region->ops->host_accessible) return region->ops->copy_to_host(region->memory.device, host->scratch, from, size);
  return hmci_guarded_read(host->scratch, from, size) ? HMC_SUCCESS : HMC_STALE;
}

/* Continues a checksum over bytes of a region; in the loop's thread, because it uses the scratch memory. */
static hmc_status_t add_bytes(const hmci_host_t *host, const hmci_region_view_t *region, uint64_t offset,
                              uint64_t length, uint32_t *crc) {
  if (region->ops->host_accessible && region->owned) {
    *crc = hmci_crc32c(*crc, region->base + offset, length);
    return HMC_SUCCESS;
  }
  while (length) {
    uint64_t size = length < HMCI_SCRATCH ? length : HMCI_SCRATCH;
    hmc_status_t status = to_scratch(host, region, offset, size);
    if (status != HMC_SUCCESS) return status;
    *crc = hmci_crc32c(*crc, host->scratch, size);
    offset += size;
    length -= size;
  }
  return HMC_SUCCESS;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

/* A part, the data or what follows them, is about to be complete. */
static void on_part(hmci_operation_t *operation) {
  hmc_request_t *request = operation->owner;
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->checksum.lock);
  bool listed = !hmci_list_is_empty(&request->checksum.link);
  request->checksum.due = listed;
  pthread_mutex_unlock(&context->checksum.lock);
  if (listed) hmci_loop_set_timer(context->loop, &context->checksum.timer, 0);
}

void hmci_checksum_prepare(hmc_request_t *request) {
  hmci_operation_t *data = &request->chain[0], *rest = hmci_request_last(request);
  request->checksummed = true;
  request->checksum = (hmci_checksum_t){.phase = HMCI_CHECKSUM_DATA};
  hmci_list_init(&request->checksum.link);
  data->checksum = false;
  data->owner = rest->owner = request;
  data->completed = rest->completed = on_part;
  hmci_operation_t *result = &request->chain[request->count++];
  hmci_operation_prepare(result, data->kind, NULL, NULL, data->deadline);
}

void hmci_checksum_begin(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->checksum.lock);
  hmci_list_append(&context->checksum.list, &request->checksum.link);
  pthread_mutex_unlock(&context->checksum.lock);
}

bool hmci_checksum_claim(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  bool inside = hmci_loop_is_own(context->loop);
  pthread_mutex_lock(&context->checksum.lock);
  while (context->checksum.current == request && !inside) {
    pthread_mutex_unlock(&context->checksum.lock);
    sched_yield();
    pthread_mutex_lock(&context->checksum.lock);
  }
  bool ours = !hmci_list_is_empty(&request->checksum.link);
  hmci_list_remove(&request->checksum.link);
  pthread_mutex_unlock(&context->checksum.lock);
  return ours;
}

/* The next request that is due, which then is the loop's; NULL. */
static hmc_request_t *next_due(hmc_context_t *context) {
  hmc_request_t *found = NULL;
  bool early = false;
  pthread_mutex_lock(&context->checksum.lock);
  for (hmci_list_t *link = context->checksum.list.next; link != &context->checksum.list && !found; link = link->next) {
    hmc_request_t *request = HMCI_CONTAINER(link, hmc_request_t, checksum.link);
    if (!request->checksum.due) continue;
    if (atomic_load_explicit(&request->starting, memory_order_acquire)) { /* partner: hmci_request_start */
      early = true;
    } else {
      found = request;
    }
  }
  if (found) found->checksum.due = false;
  context->checksum.current = found;
  pthread_mutex_unlock(&context->checksum.lock);
  if (!found && early) hmci_loop_set_timer(context->loop, &context->checksum.timer, hmci_now() + LOOK_AGAIN);
  return found;
}

/* The request whose slice the peer was asked about; then the loop's. NULL: it has ended meanwhile. */
static hmc_request_t *find_asking(hmc_context_t *context, const hmc_peer_t *peer, uint64_t number) {
  hmc_request_t *found = NULL;
  pthread_mutex_lock(&context->checksum.lock);
  for (hmci_list_t *link = context->checksum.list.next; link != &context->checksum.list && !found; link = link->next) {
    hmc_request_t *request = HMCI_CONTAINER(link, hmc_request_t, checksum.link);
    if (request->number == number && request->peer == peer && request->checksum.phase == HMCI_CHECKSUM_SLICES)
      found = request;
  }
  context->checksum.current = found;
  pthread_mutex_unlock(&context->checksum.lock);
  return found;
}

/* ---- the initiator ----------------------------------------------------------------------------------------------- */

static void let_go(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->checksum.lock);
  context->checksum.current = NULL;
  pthread_mutex_unlock(&context->checksum.lock);
}

static void finish(hmc_request_t *request, hmc_status_t status) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->checksum.lock);
  hmci_list_remove(&request->checksum.link);
  context->checksum.current = NULL;
  pthread_mutex_unlock(&context->checksum.lock);
  hmci_operation_complete(hmci_request_last(request), status);
}

/* The pieces of the next slice; none where all have been looked at. */
static uint32_t take_slice(hmc_request_t *request, hmci_segment_t pieces[SLICE_PIECES]) {
  const hmci_operation_t *data = &request->chain[0];
  hmci_checksum_t *check = &request->checksum;
  uint64_t room = SLICE_BYTES;
  uint32_t count = 0;
  while (room && count < SLICE_PIECES && check->index < data->segment_count) {
    const hmci_segment_t *segment = &data->segments[check->index];
    uint64_t left = segment->length - check->offset, length = left < room ? left : room;
    pieces[count++] = (hmci_segment_t){segment->local + check->offset, segment->remote + check->offset, length};
    room -= length;
    check->offset += length;
    if (length < left) break;
    check->index++;
    check->offset = 0;
  }
  return count;
}

/* Asks about the next slice, and looks at this side's while the peer looks at its own. HMC_SUCCESS: there was none
 * left. */
static hmc_status_t ask(hmc_request_t *request) {
  hmc_peer_t *peer = request->peer;
  const hmci_operation_t *data = &request->chain[0];
  hmci_segment_t pieces[SLICE_PIECES];
  uint32_t count = take_slice(request, pieces);
  if (!count) return HMC_SUCCESS;
  if (!atomic_load(&peer->connected)) return HMC_PEER_LOST;
  uint8_t body[QUESTION + SLICE_PIECES * 16];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u64(&writer, request->number);
  hmci_write_u32(&writer, data->remote->id);
  hmci_write_u32(&writer, data->remote->generation);
  hmci_write_u32(&writer, count);
  for (uint32_t i = 0; i < count; i++) {
    hmci_write_u64(&writer, pieces[i].remote);
    hmci_write_u64(&writer, pieces[i].length);
  }
  hmc_status_t status = hmci_channel_send(&peer->channel, HMCI_CHECKSUM_ASKED, body, writer.size);
  hmci_peer_watch_for_room(peer);
  request->checksum.crc = 0;
  for (uint32_t i = 0; i < count && status == HMC_SUCCESS; i++) {
    status = add_bytes(&request->context->host, data->local, pieces[i].local, pieces[i].length, &request->checksum.crc);
  }
  return status == HMC_SUCCESS ? HMC_IN_PROGRESS : status;
}

/* The signal and the notification. */
static void start_rest(hmc_request_t *request) {
  hmc_peer_t *peer = request->peer;
  uint32_t count = request->count - 2;
  request->checksum.phase = HMCI_CHECKSUM_REST;
  request->chain[1].chained = false; /* what it came after is done */
  hmc_status_t status =
      count ? peer->transport->ops->submit(peer->connection->state, &request->chain[1], count) : HMC_SUCCESS;
  if (!count || status != HMC_SUCCESS) {
    finish(request, status);
  } else {
    let_go(request);
  }
}

static void look_on(hmc_request_t *request) {
  hmc_status_t status = ask(request);
  if (status == HMC_IN_PROGRESS) {
    let_go(request);
  } else if (status == HMC_SUCCESS) {
    start_rest(request);
  } else {
    finish(request, status);
  }
}

void hmci_checksums_run(hmci_timer_t *timer) {
  hmc_context_t *context = HMCI_CONTAINER(timer, hmc_context_t, checksum.timer);
  hmc_request_t *request;
  while ((request = next_due(context))) {
    bool rest = request->checksum.phase == HMCI_CHECKSUM_REST;
    hmci_operation_t *part = &request->chain[rest ? request->count - 2 : 0];
    while (!hmci_operation_is_complete(part)) hmci_pause(); /* the completing thread is a few instructions from it */
    if (rest || part->status != HMC_SUCCESS) {
      finish(request, part->status);
    } else {
      request->checksum.phase = HMCI_CHECKSUM_SLICES;
      look_on(request);
    }
  }
}

hmc_status_t hmci_checksum_answered(hmc_peer_t *peer, hmci_reader_t *reader) {
  uint64_t number = hmci_read_u64(reader);
  uint32_t result = hmci_read_u32(reader), crc = hmci_read_u32(reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed answer about a checksum");
  hmc_request_t *request = find_asking(peer->context, peer, number);
  if (!request) return HMC_SUCCESS;
  if (result != HMC_SUCCESS) {
    finish(request, hmci_status_known(result));
  } else if (crc != request->checksum.crc) {
    finish(request, HMC_CORRUPT);
  } else {
    look_on(request);
  }
  return HMC_SUCCESS;
}

/* ---- the owner --------------------------------------------------------------------------------------------------- */

/* The checksum of `count` ranges that the reader has; all are read. */
static hmc_status_t sum_ranges(const hmci_host_t *host, const hmci_region_view_t *region, hmci_reader_t *reader,
                               uint32_t count, uint32_t *crc) {
  hmc_status_t status = HMC_SUCCESS;
  uint64_t room = SLICE_BYTES;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t offset = hmci_read_u64(reader), length = hmci_read_u64(reader);
    if (status != HMC_SUCCESS || reader->failed) continue;
    if (length > room || !hmci_range_fits(offset, length, region->size)) {
      status = HMC_OUT_OF_RANGE;
      continue;
    }
    room -= length;
    status = add_bytes(host, region, offset, length, crc);
  }
  return status;
}

hmc_status_t hmci_checksum_answer(hmc_peer_t *peer, hmci_reader_t *reader) {
  const hmci_host_t *host = &peer->context->host;
  uint64_t number = hmci_read_u64(reader);
  uint32_t id = hmci_read_u32(reader), generation = hmci_read_u32(reader), count = hmci_read_u32(reader), crc = 0;
  if (reader->failed || count > SLICE_PIECES) return hmci_fail(HMC_CORRUPT, "malformed question about a checksum");
  hmci_region_view_t *region;
  hmc_status_t result = hmci_region_acquire(host, id, generation, HMC_REMOTE_READ, &region);
  if (result == HMC_SUCCESS) {
    result = sum_ranges(host, region, reader, count, &crc);
    hmci_region_release(host, region);
    if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed question about a checksum");
  }
  uint8_t body[16];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u64(&writer, number);
  hmci_write_u32(&writer, (uint32_t)result);
  hmci_write_u32(&writer, crc);
  return hmci_channel_send(&peer->channel, HMCI_CHECKSUM_TOLD, body, writer.size);
}
