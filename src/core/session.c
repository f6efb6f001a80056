/* The session of two peers: what they ask each other apart from the data. What is your region of that name? (Here.)
 * What is the checksum of those bytes? (In check.c.)
 *
 * A lookup is a number and a waiting thread. The answer is copied to it in the loop's thread, under the peer's lock. */
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct lookup {
  hmci_list_t link; /* peer->lookups */
  uint32_t number;
  bool answered;
  hmc_status_t status;
  char text[HMCI_REASON_SIZE];
  hmci_found_t found;
} lookup_t;

/* ---- answering --------------------------------------------------------------------------------------------------- */

static hmc_status_t answer_lookup(hmc_peer_t *peer, hmci_reader_t *reader) {
  char name[HMC_REGION_NAME_SIZE];
  uint32_t number = hmci_read_u32(reader);
  hmci_read_text(reader, name, sizeof name);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed lookup of a region");
  hmc_region_t *region = hmci_region_find(peer->context, name);
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmci_blob_t key = {0};
  hmc_status_t result = region ? HMC_SUCCESS : hmci_fail(HMC_NOT_FOUND, "it has no region named '%s'", name);
  if (region && ops->region_export) result = ops->region_export(peer->connection->state, &region->view, &key);

  uint8_t body[HMCI_BLOB_MAX + 2 * HMCI_REASON_SIZE];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u32(&writer, number);
  hmci_write_u32(&writer, (uint32_t)result);
  hmci_write_text(&writer, result == HMC_SUCCESS ? "" : hmc_last_error());
  if (result == HMC_SUCCESS) {
    hmci_write_u32(&writer, region->view.id);
    hmci_write_u32(&writer, region->view.generation);
    hmci_write_u64(&writer, region->view.size);
    hmci_write_u32(&writer, (uint32_t)region->view.memory.kind);
    hmci_write_u32(&writer, (uint32_t)region->view.memory.device);
    hmci_write_u32(&writer, region->view.rights);
    hmci_write_blob(&writer, key.data, key.size);
  }
  if (region) hmci_region_release(&peer->context->host, &region->view);
  return hmci_channel_send(&peer->channel, HMCI_FOUND, body, writer.size);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void read_found(hmci_reader_t *reader, hmci_found_t *found) {
  found->view.id = hmci_read_u32(reader);
  found->view.generation = hmci_read_u32(reader);
  found->view.size = hmci_read_u64(reader);
  found->view.memory.kind = (hmc_memory_kind_t)hmci_read_u32(reader);
  found->view.memory.device = (int)hmci_read_u32(reader);
  found->view.rights = hmci_read_u32(reader);
  found->key.size = hmci_read_blob(reader, found->key.data, sizeof found->key.data);
}

static hmc_status_t take_found(hmc_peer_t *peer, hmci_reader_t *reader) {
  hmci_found_t found;
  char text[HMCI_REASON_SIZE];
  uint32_t number = hmci_read_u32(reader), result = hmci_read_u32(reader);
  hmci_read_text(reader, text, sizeof text);
  if (result == HMC_SUCCESS) read_found(reader, &found);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed description of a region");
  pthread_mutex_lock(&peer->lock);
  for (hmci_list_t *link = peer->lookups.next; link != &peer->lookups; link = link->next) {
    lookup_t *lookup = HMCI_CONTAINER(link, lookup_t, link);
    if (lookup->number != number) continue;
    lookup->answered = true;
    lookup->status = hmci_status_known(result);
    memcpy(lookup->text, text, sizeof text);
    if (result == HMC_SUCCESS) lookup->found = found;
    pthread_cond_broadcast(&peer->answered);
    break;
  }
  pthread_mutex_unlock(&peer->lock);
  return HMC_SUCCESS;
}

static hmc_status_t wait_for_answer(hmc_peer_t *peer, lookup_t *lookup, uint64_t deadline) {
  struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
  int failed = 0;
  while (!lookup->answered && atomic_load(&peer->connected) && !failed) {
    failed = pthread_cond_timedwait(&peer->answered, &peer->lock, &until);
  }
  if (lookup->answered) return lookup->status;
  return atomic_load(&peer->connected) ? HMC_TIMEOUT : HMC_PEER_LOST;
}

hmc_status_t hmci_session_lookup(hmc_peer_t *peer, const char *name, uint64_t deadline, hmci_found_t *found) {
  lookup_t lookup = {0};
  pthread_mutex_lock(&peer->lock);
  lookup.number = ++peer->lookup_count;
  hmci_list_append(&peer->lookups, &lookup.link);
  pthread_mutex_unlock(&peer->lock);

  uint8_t body[HMC_REGION_NAME_SIZE + 16];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u32(&writer, lookup.number);
  hmci_write_text(&writer, name);
  hmc_status_t status =
      atomic_load(&peer->connected) ? hmci_channel_send(&peer->channel, HMCI_LOOKUP, body, writer.size) : HMC_PEER_LOST;
  pthread_mutex_lock(&peer->lock);
  if (status == HMC_SUCCESS) status = wait_for_answer(peer, &lookup, deadline);
  hmci_list_remove(&lookup.link);
  pthread_mutex_unlock(&peer->lock);
  switch (status) {
  case HMC_SUCCESS: *found = lookup.found; return HMC_SUCCESS;
  case HMC_TIMEOUT: return hmci_fail(status, "region '%s': %s did not answer within the deadline", name, peer->where);
  case HMC_PEER_LOST:
    return hmci_fail(status, "region '%s': %s is gone: %s", name, peer->where, hmci_peer_lost_reason(peer));
  default: return hmci_fail(status, "region '%s' of %s: %s", name, peer->where, lookup.text);
  }
}

hmc_status_t hmci_session_handle(hmc_peer_t *peer, uint16_t type, hmci_reader_t *reader) {
  switch (type) {
  case HMCI_LOOKUP: return answer_lookup(peer, reader);
  case HMCI_FOUND: return take_found(peer, reader);
  case HMCI_CHECK: return hmci_check_answer(peer, reader);
  case HMCI_CHECKED: return hmci_check_answered(peer, reader);
  default: break;
  }
  if (type > HMCI_CHECKED) return HMC_SUCCESS; /* of a newer peer, which does without an answer */
  return hmci_fail(HMC_CORRUPT, "unexpected message %u in a session", type);
}
