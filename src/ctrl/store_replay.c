/* A store's state as records of its journal: taking them while it is read, and writing all that is there (see
 * store_state.h). */
#include "store_state.h"

#include <stdlib.h>
#include <string.h>

enum { SHARED_FROM = 256 }; /* bytes of an answer that is worth being written once for all who got it */

static hmc_status_t replay_change(hmci_store_session_t *session, const hmci_store_message_t *record) {
  hmci_store_state_t *state = session->state;
  if (record->type == HMCI_STORE_SET) {
    hmci_store_held_t *lease = record->lease != 0 ? hmci_store_lease_find(session, record->lease) : NULL;
    if (hmci_store_entry_put(state, record, record->value, record->value_size, lease) == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for the keys of the journal");
    }
  } else {
    hmci_store_entry_t *entry = hmci_store_map_find(&state->map, record->key, record->key_size);
    if (entry != NULL) {
      hmci_store_entry_remove(state, entry);
    }
  }
  return record->sequence != 0 ? hmci_store_keep_reply(session, record->sequence, record->number, NULL) : HMC_SUCCESS;
}

static hmc_status_t replay_reply(hmci_store_session_t *session, const hmci_store_message_t *record) {
  hmci_store_shared_t *value = record->value_size > 0 ? hmci_store_shared_create(record->value_size) : NULL;
  if (record->value_size > 0 && value == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for an answer of the journal");
  }
  if (value != NULL) {
    memcpy(value->data, record->value, record->value_size);
  }
  hmc_status_t status = hmci_store_keep_reply(session, record->sequence, record->number, value);
  hmci_store_shared_release(value);
  return status;
}

hmc_status_t hmci_store_replay(hmci_store_state_t *state, const hmci_store_message_t *record) {
  if (record->type == HMCI_STORE_ARRIVE) {
    return hmci_store_replay_meeting(state, record);
  }
  hmci_store_session_t *session = hmci_store_session(state, record->floor);
  if (session == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a client of the journal");
  }
  session->is_restored = true;
  hmci_store_held_t *lease = hmci_store_lease_find(session, record->lease);
  switch (record->type) {
  case HMCI_STORE_SET:
  case HMCI_STORE_DELETE: return replay_change(session, record);
  case HMCI_STORE_ANSWER: return replay_reply(session, record);
  case HMCI_STORE_LEASE:
    return lease == NULL ? hmci_store_lease_add(session, record->lease, record->number) : HMC_SUCCESS;
  case HMCI_STORE_REVOKE:
    if (lease != NULL) {
      hmci_store_lease_remove(lease);
    }
    return HMC_SUCCESS;
  default: return hmci_fail(HMC_CORRUPT, "a record of type %u", record->type);
  }
}

static bool is_shared(const hmci_store_reply_t *reply) {
  return reply->value != NULL && reply->value->size >= SHARED_FROM;
}

/* How many replies have this value; who they are goes to `pairs`, unless it is NULL. */
static uint32_t find_holders(const hmci_store_state_t *state, const hmci_store_shared_t *value, uint8_t *pairs) {
  uint32_t count = 0;
  for (hmci_list_t *at = state->sessions.next; at != &state->sessions; at = at->next) {
    const hmci_store_session_t *session = HMCI_CONTAINER(at, hmci_store_session_t, member);
    for (hmci_list_t *item = session->replies.next; item != &session->replies; item = item->next) {
      const hmci_store_reply_t *reply = HMCI_CONTAINER(item, hmci_store_reply_t, member);
      if (reply->value == value && pairs != NULL) {
        hmci_store64(pairs + (size_t)count * HMCI_STORE_PAIR, session->id);
        hmci_store64(pairs + (size_t)count * HMCI_STORE_PAIR + 8, reply->sequence);
      }
      count += reply->value == value;
    }
  }
  return count;
}

/* What a meeting answered, as one record: a thousand clients that each got a MiB are not a GiB of journal. */
static hmc_status_t dump_shared(const hmci_store_state_t *state, hmci_store_shared_t *value,
                                hmci_store_journal_t *journal) {
  uint32_t count = find_holders(state, value, NULL);
  size_t pairs = (size_t)count * HMCI_STORE_PAIR;
  uint8_t *all = malloc(pairs + value->size);
  if (all == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a record");
  }
  find_holders(state, value, all);
  memcpy(all + pairs, value->data, value->size);
  const hmci_store_message_t record = {
      .type = HMCI_STORE_ARRIVE, .index = count, .value = all, .value_size = (uint32_t)(pairs + value->size)};
  hmc_status_t status = hmci_store_journal_write(journal, &record);
  free(all);
  value->is_marked = true;
  return status;
}

static hmc_status_t dump_all_shared(const hmci_store_state_t *state, hmci_store_journal_t *journal) {
  hmc_status_t status = HMC_SUCCESS;
  for (int is_writing = 1; is_writing >= 0; is_writing--) { /* the second time takes the marks away */
    for (hmci_list_t *at = state->sessions.next; at != &state->sessions; at = at->next) {
      const hmci_store_session_t *session = HMCI_CONTAINER(at, hmci_store_session_t, member);
      for (hmci_list_t *item = session->replies.next; item != &session->replies; item = item->next) {
        const hmci_store_reply_t *reply = HMCI_CONTAINER(item, hmci_store_reply_t, member);
        if (!is_shared(reply)) {
          continue;
        }
        if (!is_writing) {
          reply->value->is_marked = false;
        } else if (!reply->value->is_marked && status == HMC_SUCCESS) {
          status = dump_shared(state, reply->value, journal);
        }
      }
    }
  }
  return status;
}

static hmc_status_t dump_session(const hmci_store_session_t *session, hmci_store_journal_t *journal) {
  hmc_status_t status = HMC_SUCCESS;
  for (hmci_list_t *at = session->leases.next; at != &session->leases && status == HMC_SUCCESS; at = at->next) {
    const hmci_store_held_t *lease = HMCI_CONTAINER(at, hmci_store_held_t, member);
    const hmci_store_message_t record = {.type = HMCI_STORE_LEASE,
                                         .floor = session->id,
                                         .lease = lease->id,
                                         .number = (int64_t)(lease->ttl / HMCI_STORE_NS_PER_MS)};
    status = hmci_store_journal_write(journal, &record);
  }
  for (hmci_list_t *at = session->replies.next; at != &session->replies && status == HMC_SUCCESS; at = at->next) {
    const hmci_store_reply_t *reply = HMCI_CONTAINER(at, hmci_store_reply_t, member);
    if (is_shared(reply)) {
      continue;
    }
    const hmci_store_message_t record = {.type = HMCI_STORE_ANSWER,
                                         .floor = session->id,
                                         .sequence = reply->sequence,
                                         .number = reply->number,
                                         .value = reply->value != NULL ? reply->value->data : NULL,
                                         .value_size = reply->value != NULL ? reply->value->size : 0};
    status = hmci_store_journal_write(journal, &record);
  }
  return status;
}

hmc_status_t hmci_store_dump(hmci_store_state_t *state, hmci_store_journal_t *journal) {
  hmc_status_t status = dump_all_shared(state, journal);
  for (hmci_list_t *at = state->sessions.next; at != &state->sessions && status == HMC_SUCCESS; at = at->next) {
    status = dump_session(HMCI_CONTAINER(at, hmci_store_session_t, member), journal);
  }
  for (const hmci_store_entry_t *entry = state->map.first[0]; entry != NULL && status == HMC_SUCCESS;
       entry = entry->next[0]) {
    const hmci_store_held_t *lease = entry->lease;
    const hmci_store_message_t record = {.type = HMCI_STORE_SET,
                                         .floor = lease != NULL ? lease->session->id : 0,
                                         .lease = lease != NULL ? lease->id : 0,
                                         .key = entry->key,
                                         .key_size = entry->key_size,
                                         .value = entry->value,
                                         .value_size = entry->value_size};
    status = hmci_store_journal_write(journal, &record);
  }
  return status;
}
