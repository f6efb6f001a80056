/* Keys, leases and sessions of a store (see store_state.h).
 *
 * Invariants: an entry with a lease is in that lease's keys; a lease is in its session's; a session is in one bucket;
 * every change of a key raises `revision`, goes to the journal before it is answered, and is sent to all watches. */
#include "store_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_TTL_MS = 100, REPLIES_KEPT_MS = 120000 };

void hmci_store_state_init(hmci_store_state_t *state, const hmci_store_wires_t *wires) {
  *state = (hmci_store_state_t){.wires = wires};
  hmci_random(&state->incarnation, sizeof(state->incarnation));
  hmci_store_map_init(&state->map);
  hmci_list_init(&state->sessions);
  hmci_list_init(&state->waits);
  hmci_list_init(&state->meetings);
  hmci_list_init(&state->watches);
  for (size_t i = 0; i < HMCI_STORE_BUCKETS; i++) {
    hmci_list_init(&state->buckets[i]);
  }
}

void hmci_store_state_clear(hmci_store_state_t *state) {
  hmci_store_journal_t *journal = state->journal;
  state->journal = NULL; /* what ends with the server is not what its clients ended */
  while (!hmci_list_is_empty(&state->sessions)) {
    hmci_store_session_end(HMCI_CONTAINER(state->sessions.next, hmci_store_session_t, member));
  }
  hmci_store_map_clear(&state->map);
  hmci_store_journal_close(journal);
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

void hmci_store_answer(hmci_store_session_t *session, uint64_t sequence, int64_t number) {
  const hmci_store_message_t answer = {.type = HMCI_STORE_ANSWER, .sequence = sequence, .number = number};
  session->state->wires->send(session, &answer, NULL);
}

void hmci_store_answer_value(hmci_store_session_t *session, uint64_t sequence, const hmci_store_entry_t *entry) {
  const hmci_store_message_t answer = {
      .type = HMCI_STORE_ANSWER, .sequence = sequence, .value = entry->value, .value_size = entry->value_size};
  session->state->wires->send(session, &answer, NULL);
}

void hmci_store_refuse(hmci_store_session_t *session, uint64_t sequence, hmc_status_t status) {
  const char *text = hmc_last_error();
  const hmci_store_message_t answer = {.type = HMCI_STORE_ANSWER,
                                       .sequence = sequence,
                                       .status = (uint8_t)status,
                                       .value = text,
                                       .value_size = (uint32_t)strlen(text)};
  session->state->wires->send(session, &answer, NULL);
}

void hmci_store_send_reply(hmci_store_session_t *session, const hmci_store_reply_t *reply) {
  const hmci_store_message_t answer = {.type = HMCI_STORE_ANSWER, .sequence = reply->sequence, .number = reply->number};
  session->state->wires->send(session, &answer, reply->value);
}

hmc_status_t hmci_store_keep_reply(hmci_store_session_t *session, uint64_t sequence, int64_t number,
                                   hmci_store_shared_t *value) {
  hmci_store_reply_t *reply = calloc(1, sizeof(*reply));
  if (reply == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for an answer");
  }
  *reply = (hmci_store_reply_t){.sequence = sequence, .number = number};
  reply->value = value != NULL ? hmci_store_shared_acquire(value) : NULL;
  hmci_list_append(&session->replies, &reply->member);
  return HMC_SUCCESS;
}

static hmci_store_reply_t *find_reply(const hmci_store_session_t *session, uint64_t sequence) {
  for (hmci_list_t *at = session->replies.next; at != &session->replies; at = at->next) {
    hmci_store_reply_t *reply = HMCI_CONTAINER(at, hmci_store_reply_t, member);
    if (reply->sequence == sequence) {
      return reply;
    }
  }
  return NULL;
}

/* Forgets the answers below the floor. */
static void drop_replies(hmci_store_session_t *session, uint64_t floor) {
  hmci_list_t *at = session->replies.next;
  while (at != &session->replies) {
    hmci_store_reply_t *reply = HMCI_CONTAINER(at, hmci_store_reply_t, member);
    at = at->next;
    if (reply->sequence < floor) {
      hmci_list_remove(&reply->member);
      hmci_store_shared_release(reply->value);
      free(reply);
    }
  }
}

hmc_status_t hmci_store_record(hmci_store_state_t *state, const hmci_store_message_t *record) {
  if (state->journal == NULL) {
    return HMC_SUCCESS;
  }
  hmc_status_t status = hmci_store_journal_write(state->journal, record);
  if (status == HMC_SUCCESS) {
    return status;
  }
  char text[HMCI_ERROR_TEXT];
  snprintf(text, sizeof(text), "%s", hmc_last_error());
  return state->wires->make_room(state) ? hmci_store_journal_write(state->journal, record)
                                        : hmci_fail(status, "%s", text);
}

/* ---- changing keys ----------------------------------------------------------------------------------------------- */

hmci_store_held_t *hmci_store_lease_find(const hmci_store_session_t *session, uint64_t id) {
  for (hmci_list_t *at = session->leases.next; at != &session->leases; at = at->next) {
    hmci_store_held_t *lease = HMCI_CONTAINER(at, hmci_store_held_t, member);
    if (lease->id == id) {
      return lease;
    }
  }
  return NULL;
}

/* The lease that a request names, or NULL where it names none. HMC_STALE. */
static hmc_status_t lease_of(const hmci_store_session_t *session, const hmci_store_message_t *request,
                             hmci_store_held_t **lease) {
  *lease = request->lease != 0 ? hmci_store_lease_find(session, request->lease) : NULL;
  if (request->lease != 0 && *lease == NULL) {
    return hmci_fail(HMC_STALE, "the lease is lost: the store has not heard from this client for too long");
  }
  return HMC_SUCCESS;
}

hmci_store_entry_t *hmci_store_entry_put(hmci_store_state_t *state, const hmci_store_message_t *request,
                                         const void *value, uint32_t size, hmci_store_held_t *lease) {
  hmci_store_entry_t *entry = hmci_store_map_set(&state->map, request->key, request->key_size, value, size);
  if (entry != NULL) {
    hmci_list_remove(&entry->held);
    entry->lease = lease;
    entry->revision = ++state->revision;
    if (lease != NULL) {
      hmci_list_append(&lease->keys, &entry->held);
    }
  }
  return entry;
}

static hmc_status_t has_room(const hmci_store_state_t *state, const hmci_store_message_t *request, uint32_t size) {
  if (size > HMC_STORE_VALUE_MAX || request->key_size == 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "a key of %u B with a value of %u B: 1 to %d B and up to %u B are taken",
                     request->key_size, size, HMC_STORE_KEY_MAX, HMC_STORE_VALUE_MAX);
  }
  if (state->map.bytes + request->key_size + size > state->memory_max) {
    return hmci_fail(HMC_NO_MEMORY, "the store is full: it holds %zu B and takes %" PRIu64 " B (HMC_STORE_MEMORY)",
                     state->map.bytes, state->memory_max);
  }
  return HMC_SUCCESS;
}

/* Sets a key with all that goes with it: record, kept reply, watches, waits. */
static hmc_status_t change(hmci_store_session_t *session, const hmci_store_message_t *request, const void *value,
                           uint32_t size, int64_t number) {
  hmci_store_state_t *state = session->state;
  hmci_store_held_t *lease;
  hmc_status_t status = lease_of(session, request, &lease);
  if (status == HMC_SUCCESS) {
    status = has_room(state, request, size);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  const hmci_store_message_t record = {.type = HMCI_STORE_SET,
                                       .sequence = request->sequence,
                                       .floor = session->id,
                                       .lease = request->lease,
                                       .number = number,
                                       .key = request->key,
                                       .key_size = request->key_size,
                                       .value = value,
                                       .value_size = size};
  status = hmci_store_record(state, &record);
  if (status == HMC_SUCCESS) {
    status = hmci_store_keep_reply(session, request->sequence, number, NULL);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  const hmci_store_entry_t *entry = hmci_store_entry_put(state, request, value, size, lease);
  if (entry == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a value of %u B", size);
  }
  hmci_store_answer(session, request->sequence, number);
  hmci_store_tell_watches(state, HMC_STORE_PUT, entry);
  hmci_store_tell_waits(state, entry);
  return HMC_SUCCESS;
}

void hmci_store_entry_remove(hmci_store_state_t *state, hmci_store_entry_t *entry) {
  entry->revision = ++state->revision;
  hmci_store_tell_watches(state, HMC_STORE_DELETE, entry);
  hmci_store_map_remove(&state->map, entry);
}

void hmci_store_lease_remove(hmci_store_held_t *lease) {
  hmci_store_state_t *state = lease->session->state;
  const hmci_store_message_t record = {.type = HMCI_STORE_REVOKE, .floor = lease->session->id, .lease = lease->id};
  if (hmci_store_record(state, &record) != HMC_SUCCESS) {
    hmci_log(HMC_LOG_WARNING, "store: %s", hmc_last_error());
  }
  while (!hmci_list_is_empty(&lease->keys)) {
    hmci_store_entry_remove(state, HMCI_CONTAINER(lease->keys.next, hmci_store_entry_t, held));
  }
  hmci_list_remove(&lease->member);
  free(lease);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static hmc_status_t serve_get(hmci_store_session_t *session, const hmci_store_message_t *request) {
  const hmci_store_entry_t *entry = hmci_store_map_find(&session->state->map, request->key, request->key_size);
  if (entry == NULL) {
    return hmci_fail(HMC_NOT_FOUND, "the store has no key \"%.*s\"", request->key_size, request->key);
  }
  hmci_store_answer_value(session, request->sequence, entry);
  return HMC_SUCCESS;
}

static hmc_status_t serve_restore(hmci_store_session_t *session, const hmci_store_message_t *request) {
  const hmci_store_held_t *lease = hmci_store_lease_find(session, request->lease);
  const hmci_store_entry_t *entry = hmci_store_map_find(&session->state->map, request->key, request->key_size);
  bool is_new = lease != NULL && lease->serial == session->serial;
  if (is_new && entry != NULL && entry->lease != lease) {
    return hmci_fail(HMC_STALE, "the lease is lost: another client has set \"%.*s\" meanwhile", request->key_size,
                     request->key);
  }
  if (is_new && entry == NULL) {
    return change(session, request, request->value, request->value_size, 0);
  }
  hmci_store_answer(session, request->sequence, 0);
  return HMC_SUCCESS;
}

static hmc_status_t serve_add(hmci_store_session_t *session, const hmci_store_message_t *request) {
  const hmci_store_entry_t *entry = hmci_store_map_find(&session->state->map, request->key, request->key_size);
  char text[32] = "0", *end = text;
  if (entry != NULL && entry->value_size < sizeof(text)) {
    memcpy(text, entry->value_size > 0 ? (const char *)entry->value : "", entry->value_size);
    text[entry->value_size] = '\0';
  }
  int64_t value = strtoll(text, &end, 10);
  if (end == text || *end != '\0' || (entry != NULL && entry->value_size >= sizeof(text))) {
    return hmci_fail(HMC_CORRUPT, "the value of \"%.*s\" is not a number", request->key_size, request->key);
  }
  value = (int64_t)((uint64_t)value + (uint64_t)request->number);
  int size = snprintf(text, sizeof(text), "%" PRId64, value);
  hmci_store_message_t set = *request;
  const hmci_store_held_t *lease = entry != NULL ? entry->lease : NULL;
  set.lease = lease != NULL && lease->session == session ? lease->id : 0;
  return change(session, &set, text, (uint32_t)size, value);
}

static hmc_status_t serve_swap(hmci_store_session_t *session, const hmci_store_message_t *request) {
  const hmci_store_entry_t *entry = hmci_store_map_find(&session->state->map, request->key, request->key_size);
  bool wants_absent = (request->flags & HMCI_STORE_ABSENT) != 0;
  uint32_t expected = request->index;
  const uint8_t *value = request->value;
  if (expected > request->value_size) {
    return hmci_fail(HMC_CORRUPT, "an expected value of %u B in a request of %u B", expected, request->value_size);
  }
  bool fits = wants_absent ? entry == NULL
                           : entry != NULL && entry->value_size == expected &&
                                 (expected == 0 || memcmp(entry->value, value, expected) == 0);
  if (fits) {
    return change(session, request, value + expected, request->value_size - expected, 1);
  }
  hmci_store_answer(session, request->sequence, 0);
  return HMC_SUCCESS;
}

static hmc_status_t serve_delete(hmci_store_session_t *session, const hmci_store_message_t *request) {
  hmci_store_state_t *state = session->state;
  hmci_store_entry_t *entry = hmci_store_map_find(&state->map, request->key, request->key_size);
  if (entry == NULL) {
    return hmci_fail(HMC_NOT_FOUND, "the store has no key \"%.*s\"", request->key_size, request->key);
  }
  const hmci_store_message_t record = {.type = HMCI_STORE_DELETE,
                                       .sequence = request->sequence,
                                       .floor = session->id,
                                       .key = request->key,
                                       .key_size = request->key_size};
  hmc_status_t status = hmci_store_record(state, &record);
  if (status == HMC_SUCCESS) {
    status = hmci_store_keep_reply(session, request->sequence, 0, NULL);
  }
  if (status == HMC_SUCCESS) {
    hmci_store_entry_remove(state, entry);
    hmci_store_answer(session, request->sequence, 0);
  }
  return status;
}

hmc_status_t hmci_store_lease_add(hmci_store_session_t *session, uint64_t id, int64_t ttl_ms) {
  hmci_store_held_t *lease = calloc(1, sizeof(*lease));
  if (lease == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a lease");
  }
  *lease = (hmci_store_held_t){
      .id = id, .ttl = (uint64_t)ttl_ms * HMCI_STORE_NS_PER_MS, .serial = session->serial, .session = session};
  hmci_list_init(&lease->keys);
  hmci_list_append(&session->leases, &lease->member);
  return HMC_SUCCESS;
}

static hmc_status_t serve_lease(hmci_store_session_t *session, const hmci_store_message_t *request) {
  if (request->lease == 0 || request->number < LEAST_TTL_MS || request->number > INT64_MAX / 1000000) {
    return hmci_fail(HMC_INVALID_CONFIG, "a lease of %" PRId64 " ms: %d ms are the least", request->number,
                     LEAST_TTL_MS);
  }
  hmci_store_held_t *lease = hmci_store_lease_find(session, request->lease);
  if (lease == NULL) {
    const hmci_store_message_t record = {
        .type = HMCI_STORE_LEASE, .floor = session->id, .lease = request->lease, .number = request->number};
    hmc_status_t status = hmci_store_record(session->state, &record);
    if (status == HMC_SUCCESS) {
      status = hmci_store_lease_add(session, request->lease, request->number);
    }
    if (status != HMC_SUCCESS) {
      return status;
    }
  } else {
    lease->ttl = (uint64_t)request->number * HMCI_STORE_NS_PER_MS;
  }
  hmci_store_answer(session, request->sequence, lease == NULL);
  return HMC_SUCCESS;
}

static hmc_status_t dispatch(hmci_store_session_t *session, const hmci_store_message_t *request) {
  hmci_store_held_t *lease;
  switch (request->type) {
  case HMCI_STORE_SET: return change(session, request, request->value, request->value_size, 0);
  case HMCI_STORE_RESTORE: return serve_restore(session, request);
  case HMCI_STORE_GET: return serve_get(session, request);
  case HMCI_STORE_WAIT: hmci_store_await(session, request); return HMC_SUCCESS;
  case HMCI_STORE_ADD: return serve_add(session, request);
  case HMCI_STORE_SWAP: return serve_swap(session, request);
  case HMCI_STORE_DELETE: return serve_delete(session, request);
  case HMCI_STORE_LIST: hmci_store_list(session, request); return HMC_SUCCESS;
  case HMCI_STORE_WATCH: hmci_store_watch(session, request); return HMC_SUCCESS;
  case HMCI_STORE_LEASE: return serve_lease(session, request);
  case HMCI_STORE_ARRIVE: hmci_store_meet(session, request); return HMC_SUCCESS;
  case HMCI_STORE_UNWATCH:
    if (request->number != 0) {
      hmci_store_unwatch(session, (uint64_t)request->number);
    }
    break;
  case HMCI_STORE_REVOKE:
    lease = hmci_store_lease_find(session, request->lease);
    if (lease != NULL) {
      hmci_store_lease_remove(lease);
    }
    break;
  case HMCI_STORE_CANCEL:
    if (request->number != 0) {
      hmci_store_withdraw(session, (uint64_t)request->number);
    }
    break;
  case HMCI_STORE_KEEP: break;
  default: return hmci_fail(HMC_UNSUPPORT, "the store here knows no request of type %u", request->type);
  }
  hmci_store_answer(session, request->sequence, 0);
  return HMC_SUCCESS;
}

hmc_status_t hmci_store_serve(hmci_store_session_t *session, const hmci_store_message_t *request) {
  session->heard = hmci_now();
  if (request->type != HMCI_STORE_LEASE && request->type != HMCI_STORE_RESTORE) {
    session->is_restoring = false;
  }
  if (request->floor > session->floor) {
    session->floor = request->floor;
    drop_replies(session, request->floor);
  }
  if (request->sequence == 0 || request->sequence < session->floor) {
    return hmci_fail(HMC_CORRUPT, "request %" PRIu64 " after its answer was acknowledged", request->sequence);
  }
  const hmci_store_reply_t *reply = find_reply(session, request->sequence);
  if (reply != NULL) {
    hmci_store_send_reply(session, reply);
    return HMC_SUCCESS;
  }
  hmc_status_t status = dispatch(session, request);
  if (status != HMC_SUCCESS) {
    hmci_store_refuse(session, request->sequence, status);
  }
  return HMC_SUCCESS;
}

/* ---- sessions ---------------------------------------------------------------------------------------------------- */

hmci_store_session_t *hmci_store_session(hmci_store_state_t *state, uint64_t id) {
  hmci_list_t *bucket = &state->buckets[(id ^ id >> 32) % HMCI_STORE_BUCKETS];
  for (hmci_list_t *at = bucket->next; at != bucket; at = at->next) {
    hmci_store_session_t *session = HMCI_CONTAINER(at, hmci_store_session_t, bucket);
    if (session->id == id) {
      return session;
    }
  }
  hmci_store_session_t *session = calloc(1, sizeof(*session));
  if (session != NULL) {
    session->state = state;
    session->id = id;
    session->heard = session->gone = hmci_now();
    hmci_list_init(&session->leases);
    hmci_list_init(&session->replies);
    hmci_list_init(&session->watches);
    hmci_list_append(bucket, &session->bucket);
    hmci_list_append(&state->sessions, &session->member);
  }
  return session;
}

void hmci_store_session_join(hmci_store_session_t *session, void *connection) {
  session->connection = connection;
  session->heard = hmci_now();
  session->gone = 0;
  session->is_restored = false;
  session->is_restoring = true;
  session->serial++;
}

/* The connection ended while the client put its keys back: to the next one its new leases are new, too, because it puts
 * all of their keys back. */
static void go_on_restoring(hmci_store_session_t *session) {
  for (hmci_list_t *at = session->leases.next; at != &session->leases; at = at->next) {
    hmci_store_held_t *lease = HMCI_CONTAINER(at, hmci_store_held_t, member);
    lease->serial += lease->serial == session->serial;
  }
}

void hmci_store_session_part(hmci_store_session_t *session) {
  if (session->connection != NULL && session->is_restoring) {
    go_on_restoring(session);
  }
  session->connection = NULL;
  session->gone = hmci_now();
  hmci_store_unwatch(session, 0); /* the client will ask for them again */
}

void hmci_store_session_end(hmci_store_session_t *session) {
  hmci_store_session_part(session);
  hmci_store_withdraw(session, 0);
  while (!hmci_list_is_empty(&session->leases)) {
    hmci_store_lease_remove(HMCI_CONTAINER(session->leases.next, hmci_store_held_t, member));
  }
  drop_replies(session, UINT64_MAX);
  hmci_list_remove(&session->bucket);
  hmci_list_remove(&session->member);
  free(session);
}

/* When the lease ends if nothing more is heard. */
static uint64_t lease_end(const hmci_store_held_t *lease) {
  const hmci_store_session_t *session = lease->session;
  uint64_t end = session->heard + lease->ttl, grace = session->gone + session->state->grace;
  return session->gone != 0 && !session->is_restored && grace < end ? grace : end;
}

/* Ends the leases of a session whose time has come; when the next one does. */
static uint64_t expire_leases(hmci_store_session_t *session, uint64_t now) {
  uint64_t next = HMCI_NEVER;
  bool has_ended = false;
  hmci_list_t *at = session->leases.next;
  while (at != &session->leases) {
    hmci_store_held_t *lease = HMCI_CONTAINER(at, hmci_store_held_t, member);
    uint64_t end = lease_end(lease);
    at = at->next;
    if (end <= now) {
      hmci_store_lease_remove(lease);
      has_ended = true;
    } else if (end < next) {
      next = end;
    }
  }
  if (has_ended && session->connection != NULL) {
    session->state->wires->cut(
        session); /* the client connects again, and takes its leases up or learns that it cannot */
  }
  return next;
}

uint64_t hmci_store_expire(hmci_store_state_t *state, uint64_t now) {
  uint64_t next = HMCI_NEVER;
  hmci_list_t *at = state->sessions.next;
  while (at != &state->sessions) {
    hmci_store_session_t *session = HMCI_CONTAINER(at, hmci_store_session_t, member);
    at = at->next;
    uint64_t end = expire_leases(session, now);
    if (session->gone != 0) {
      if (now >= session->gone + state->grace) {
        hmci_store_withdraw(session, 0);
      } else if (session->gone + state->grace < end) {
        end = session->gone + state->grace;
      }
      uint64_t forgotten = session->gone + REPLIES_KEPT_MS * HMCI_STORE_NS_PER_MS;
      if (now >= forgotten && hmci_list_is_empty(&session->leases)) {
        hmci_store_session_end(session);
      } else if (forgotten < end) {
        end = forgotten;
      }
    }
    next = end < next ? end : next;
  }
  return next;
}
