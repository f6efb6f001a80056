/* The session of two peers: what they ask each other apart from the data. What is your region of that name? (Here.)
 * What is the checksum of those bytes? (In data_checksum.c.)
 *
 * A lookup is a number and a waiting thread. The answer is copied to it in the loop's thread, under the peer's lock. */
#include "../base/stop.h"
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LOOKUP_MAX = HMC_REGION_NAME_SIZE + 16 }; /* bytes of a question */

typedef struct lookup {
  hmci_list_t link; /* peer->lookups */
  uint32_t number;
  bool answered;
  hmc_status_t status;
  char text[HMCI_REASON_SIZE];
  hmci_found_t found;
} lookup_t;

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* By its name, or, where that is empty, by its number and generation, which follow. */
static hmc_region_t *read_region(hmc_peer_t *peer, hmci_reader_t *reader, char name[HMC_REGION_NAME_SIZE]) {
  hmci_read_text(reader, name, HMC_REGION_NAME_SIZE);
  if (reader->failed || name[0]) return reader->failed ? NULL : hmci_region_find(peer->context, name);
  uint32_t id = hmci_read_u32(reader), generation = hmci_read_u32(reader);
  hmci_region_view_t *view;
  if (reader->failed || hmci_region_acquire(&peer->context->host, id, generation, 0, &view) != HMC_SUCCESS) return NULL;
  return HMCI_CONTAINER(view, hmc_region_t, view);
}

/* Describes a region that is counted among its users, and lets go of it; or says why not, with NULL. */
static hmc_status_t answer(hmc_peer_t *peer, uint32_t number, hmc_region_t *region, hmc_status_t result,
                           uint64_t offset) {
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmci_blob_t key = {0};
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
    hmci_write_u32(&writer, region->view.rights | (region->view.leased ? HMCI_REMOTE_LEASED : 0));
    hmci_write_blob(&writer, key.data, key.size);
    hmci_write_u64(&writer, offset);
    hmci_write_text(&writer, region->name);
  }
  if (region) hmci_region_release(&peer->context->host, &region->view);
  return hmci_channel_send(&peer->channel, HMCI_FOUND, body, writer.size);
}

static hmc_status_t answer_lookup(hmc_peer_t *peer, hmci_reader_t *reader) {
  char name[HMC_REGION_NAME_SIZE];
  uint32_t number = hmci_read_u32(reader);
  hmc_region_t *region = read_region(peer, reader, name);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed lookup of a region");
  hmc_status_t result = HMC_SUCCESS;
  if (!region) {
    result = name[0] ? hmci_fail(HMC_NOT_FOUND, "it has no region named '%s'", name)
                     : hmci_fail(HMC_STALE, "it has closed that region");
  }
  return answer(peer, number, region, result, 0);
}

/* By an address of this process. The peer learns no more of it than it knew, for only regions are found that it may
 * reach and that hold all of what it asks for. */
static hmc_status_t answer_locate(hmc_peer_t *peer, hmci_reader_t *reader) {
  uint32_t number = hmci_read_u32(reader);
  uint64_t address = hmci_read_u64(reader), bytes = hmci_read_u64(reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed search for a region");
  hmc_region_t *region = hmci_region_locate(peer->context, address, bytes);
  hmc_status_t result = HMC_SUCCESS;
  if (!region) result = hmci_fail(HMC_NOT_FOUND, "none of its regions holds these bytes");
  return answer(peer, number, region, result, region ? address - (uintptr_t)region->view.base : 0);
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
  found->name[0] = '\0';
  found->offset = 0;
  if (reader->failed || reader->position == reader->size) return; /* of an end that knows no addresses */
  found->offset = hmci_read_u64(reader);
  hmci_read_text(reader, found->name, sizeof found->name);
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
  while (!lookup->answered && atomic_load(&peer->connected) && !failed && !hmci_stop_is_asked()) {
    failed = pthread_cond_timedwait(&peer->answered, &peer->lock, &until);
  }
  if (lookup->answered) return lookup->status;
  if (hmci_stop_is_asked()) return HMC_CANCELLED;
  return atomic_load(&peer->connected) ? HMC_TIMEOUT : HMC_PEER_LOST;
}

/* Sends a question. The lookup waits for its answer from now on, also where sending failed: await_answer ends it. */
static hmc_status_t ask(hmc_peer_t *peer, hmci_message_t type, const hmci_writer_t *question, lookup_t *lookup) {
  pthread_mutex_lock(&peer->lock);
  lookup->answered = false;
  lookup->number = ++peer->lookup_count;
  hmci_list_append(&peer->lookups, &lookup->link);
  pthread_mutex_unlock(&peer->lock);

  uint8_t body[LOOKUP_MAX + 4];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u32(&writer, lookup->number);
  memcpy(body + writer.size, question->data, question->size);
  writer.size += question->size;
  if (!atomic_load(&peer->connected)) return HMC_PEER_LOST;
  return hmci_channel_send(&peer->channel, (uint16_t)type, body, writer.size);
}

/* `asked`: what ask returned; a failure is not waited for. */
static hmc_status_t await_answer(hmc_peer_t *peer, lookup_t *lookup, hmc_status_t asked, uint64_t deadline) {
  pthread_mutex_lock(&peer->lock);
  hmc_status_t status = asked == HMC_SUCCESS ? wait_for_answer(peer, lookup, deadline) : asked;
  hmci_list_remove(&lookup->link);
  pthread_mutex_unlock(&peer->lock);
  return status;
}

/* The result with its text. `text` is the region's name for people. */
static hmc_status_t explain(const hmc_peer_t *peer, const lookup_t *lookup, hmc_status_t status, const char *text) {
  switch (status) {
  case HMC_SUCCESS: return HMC_SUCCESS;
  case HMC_CANCELLED: return hmci_fail(status, "region '%s' of %s: cancelled", text, peer->where);
  case HMC_TIMEOUT: return hmci_fail(status, "region '%s': %s did not answer within the deadline", text, peer->where);
  case HMC_PEER_LOST:
    return hmci_fail(status, "region '%s': %s is gone: %s", text, peer->where, hmci_peer_lost_reason(peer));
  default: return hmci_fail(status, "region '%s' of %s: %s", text, peer->where, lookup->text);
  }
}

static hmc_status_t look_up(hmc_peer_t *peer, hmci_message_t type, const char *text, const hmci_writer_t *question,
                            uint64_t deadline, hmci_found_t *found) {
  lookup_t lookup = {0};
  hmc_status_t status = await_answer(peer, &lookup, ask(peer, type, question, &lookup), deadline);
  if (status == HMC_SUCCESS) *found = lookup.found;
  return explain(peer, &lookup, status, text);
}

hmc_status_t hmci_session_lookup(hmc_peer_t *peer, const char *name, uint64_t deadline, hmci_found_t *found) {
  uint8_t body[LOOKUP_MAX];
  hmci_writer_t question = {.data = body, .capacity = sizeof body};
  hmci_write_text(&question, name);
  return look_up(peer, HMCI_LOOKUP, name, &question, deadline, found);
}

static hmc_status_t ask_for_key(hmc_peer_t *peer, const hmci_remote_view_t *view, lookup_t *lookup) {
  uint8_t body[LOOKUP_MAX];
  hmci_writer_t question = {.data = body, .capacity = sizeof body};
  hmci_write_text(&question, "");
  hmci_write_u32(&question, view->id);
  hmci_write_u32(&question, view->generation);
  return ask(peer, HMCI_LOOKUP, &question, lookup);
}

hmc_status_t hmci_session_lookup_keys(hmc_peer_t *peer, const hmci_key_question_t *questions, size_t count,
                                      uint64_t deadline, size_t *failed) {
  lookup_t lookups[HMCI_KEY_QUESTIONS] = {0};
  hmc_status_t asked[HMCI_KEY_QUESTIONS], status = HMC_SUCCESS;
  for (size_t i = 0; i < count; i++) asked[i] = ask_for_key(peer, &questions[i].found->view, &lookups[i]);
  for (size_t i = 0; i < count; i++) {
    bool was_good = status == HMC_SUCCESS;
    status = await_answer(peer, &lookups[i], was_good ? asked[i] : status, deadline);
    if (was_good) *failed = i;
    if (status == HMC_SUCCESS) *questions[i].found = lookups[i].found;
  }
  return explain(peer, &lookups[*failed], status, questions[*failed].name);
}

hmc_status_t hmci_session_lookup_key(hmc_peer_t *peer, const char *name, uint64_t deadline, hmci_found_t *found) {
  size_t failed = 0;
  return hmci_session_lookup_keys(peer, &(hmci_key_question_t){name, found}, 1, deadline, &failed);
}

hmc_status_t hmci_session_locate(hmc_peer_t *peer, uint64_t address, uint64_t bytes, uint64_t deadline,
                                 hmci_found_t *found) {
  uint8_t body[LOOKUP_MAX];
  char text[HMC_REGION_NAME_SIZE];
  hmci_writer_t question = {.data = body, .capacity = sizeof body};
  snprintf(text, sizeof text, "%llu B at 0x%llx", (unsigned long long)bytes, (unsigned long long)address);
  if (!(peer->features & HMCI_FEATURE_LOCATE))
    return hmci_fail(HMC_UNSUPPORT, "region '%s': %s is of a release that finds no regions by address", text,
                     peer->where);
  hmci_write_u64(&question, address);
  hmci_write_u64(&question, bytes);
  return look_up(peer, HMCI_LOCATE, text, &question, deadline, found);
}

hmc_status_t hmci_session_handle(hmc_peer_t *peer, uint16_t type, hmci_reader_t *reader) {
  switch (type) {
  case HMCI_LOOKUP: return answer_lookup(peer, reader);
  case HMCI_FOUND: return take_found(peer, reader);
  case HMCI_CHECKSUM_ASKED: return hmci_checksum_answer(peer, reader);
  case HMCI_CHECKSUM_TOLD: return hmci_checksum_answered(peer, reader);
  case HMCI_GRANT: return hmci_post_granted(peer, reader);
  case HMCI_LOCATE: return answer_locate(peer, reader);
  case HMCI_DIAL: return hmci_data_dial(peer, reader);
  case HMCI_UNDIALLED: return hmci_data_undialled(peer, reader);
  default: break;
  }
  if (type > HMCI_UNDIALLED) return HMC_SUCCESS; /* of a newer peer, which does without an answer */
  return hmci_fail(HMC_CORRUPT, "unexpected message %u in a session", type);
}
