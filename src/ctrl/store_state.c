/* Keys, leases, sessions and watches of a store (see store_state.h).
 *
 * Invariants: an entry with a lease is in that lease's keys; a lease is in its session's; a session is in one bucket;
 * every change of a key raises `revision`, goes to the journal before it is answered, and is told to all watches. */
#include "store_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS UINT64_C(1000000)

enum { LEAST_TTL_MS = 100, REPLIES_KEPT_MS = 120000, LIST_MAX = 64 << 20 };

typedef struct watching {
  hmci_list_t member, of_session;
  hmci_store_session_t *session;
  uint64_t sequence;
  uint16_t prefix_size;
  char prefix[];
} watching_t;

void hmci_store_state_init(hmci_store_state_t *state, const hmci_store_wires_t *wires) {
  *state = (hmci_store_state_t){.wires = wires, .memory_max = UINT64_C(1) << 30, .grace = 1000 * NS_PER_MS};
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
  return state->journal != NULL ? hmci_store_journal_write(state->journal, record) : HMC_SUCCESS;
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

static void send_event(const watching_t *watch, hmc_store_event_kind_t kind, const hmci_store_entry_t *entry) {
  hmci_store_message_t event = {.type = HMCI_STORE_EVENT, .sequence = watch->sequence, .flags = (uint8_t)kind};
  if (entry != NULL) {
    event.key = entry->key;
    event.key_size = entry->key_size;
    event.number = (int64_t)entry->revision;
    event.value = kind == HMC_STORE_PUT ? entry->value : NULL;
    event.value_size = kind == HMC_STORE_PUT ? entry->value_size : 0;
  }
  watch->session->state->wires->send(watch->session, &event, NULL);
}

static void tell_watches(const hmci_store_state_t *state, hmc_store_event_kind_t kind,
                         const hmci_store_entry_t *entry) {
  for (hmci_list_t *at = state->watches.next; at != &state->watches; at = at->next) {
    const watching_t *watch = HMCI_CONTAINER(at, watching_t, member);
    if (hmci_store_entry_begins(entry, watch->prefix, watch->prefix_size)) {
      send_event(watch, kind, entry);
    }
  }
}

static void end_watch(watching_t *watch) {
  hmci_list_remove(&watch->member);
  hmci_list_remove(&watch->of_session);
  free(watch);
}

/* One with that number; 0: any. */
static watching_t *find_watch(const hmci_store_session_t *session, uint64_t sequence) {
  for (hmci_list_t *at = session->watches.next; at != &session->watches; at = at->next) {
    watching_t *watch = HMCI_CONTAINER(at, watching_t, of_session);
    if (sequence == 0 || watch->sequence == sequence) {
      return watch;
    }
  }
  return NULL;
}

/* The bytes of all that begins with the request's key; HMC_OUT_OF_RANGE where a list would be too long. */
static hmc_status_t measure(const hmci_store_state_t *state, const hmci_store_message_t *request) {
  uint64_t bytes = 0;
  for (const hmci_store_entry_t *entry = hmci_store_map_seek(&state->map, request->key, request->key_size);
       entry != NULL && hmci_store_entry_begins(entry, request->key, request->key_size); entry = entry->next[0]) {
    bytes += (uint64_t)entry->key_size + entry->value_size + HMCI_STORE_FIXED;
  }
  return bytes <= LIST_MAX ? HMC_SUCCESS
                           : hmci_fail(HMC_OUT_OF_RANGE,
                                       "keys and values that begin with \"%.*s\" have %" PRIu64
                                       " B, and a list takes %d B: give a longer prefix",
                                       request->key_size, request->key, bytes, LIST_MAX);
}

static void serve_watch(hmci_store_session_t *session, const hmci_store_message_t *request) {
  hmci_store_state_t *state = session->state;
  hmc_status_t status = measure(state, request);
  watching_t *watch = status == HMC_SUCCESS ? calloc(1, sizeof(*watch) + request->key_size) : NULL;
  if (watch == NULL) {
    hmci_store_refuse(session, request->sequence,
                      status != HMC_SUCCESS ? status : hmci_fail(HMC_NO_MEMORY, "the store has no memory for a watch"));
    return;
  }
  watch->session = session;
  watch->sequence = request->sequence;
  watch->prefix_size = request->key_size;
  memcpy(watch->prefix, request->key, request->key_size);
  hmci_list_append(&state->watches, &watch->member);
  hmci_list_append(&session->watches, &watch->of_session);
  hmci_store_answer(session, request->sequence, 0);
  for (const hmci_store_entry_t *entry = hmci_store_map_seek(&state->map, watch->prefix, watch->prefix_size);
       entry != NULL && hmci_store_entry_begins(entry, watch->prefix, watch->prefix_size); entry = entry->next[0]) {
    send_event(watch, HMC_STORE_PUT, entry);
  }
  send_event(watch, HMC_STORE_SYNCED, NULL);
}

static void serve_list(hmci_store_session_t *session, const hmci_store_message_t *request) {
  const hmci_store_state_t *state = session->state;
  hmc_status_t status = measure(state, request);
  if (status != HMC_SUCCESS) {
    hmci_store_refuse(session, request->sequence, status);
    return;
  }
  for (const hmci_store_entry_t *entry = hmci_store_map_seek(&state->map, request->key, request->key_size);
       entry != NULL && hmci_store_entry_begins(entry, request->key, request->key_size); entry = entry->next[0]) {
    const hmci_store_message_t part = {.type = HMCI_STORE_ENTRY,
                                       .sequence = request->sequence,
                                       .number = (int64_t)entry->revision,
                                       .key = entry->key,
                                       .key_size = entry->key_size,
                                       .value = entry->value,
                                       .value_size = entry->value_size};
    state->wires->send(session, &part, NULL);
  }
  hmci_store_answer(session, request->sequence, (int64_t)state->revision);
}

/* ---- changing keys ----------------------------------------------------------------------------------------------- */

static hmci_store_held_t *find_lease(const hmci_store_session_t *session, uint64_t id) {
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
  *lease = request->lease != 0 ? find_lease(session, request->lease) : NULL;
  if (request->lease != 0 && *lease == NULL) {
    return hmci_fail(HMC_STALE, "the lease is lost: the store has not heard from this client for too long");
  }
  return HMC_SUCCESS;
}

/* Puts a value into the map, and the entry into its lease. NULL: no memory. */
static hmci_store_entry_t *put_entry(hmci_store_state_t *state, const hmci_store_message_t *request, const void *value,
                                     uint32_t size, hmci_store_held_t *lease) {
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
    return hmci_fail(HMC_NO_MEMORY, "the store is full: it holds %zu B and takes %" PRIu64 " B", state->map.bytes,
                     state->memory_max);
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
  const hmci_store_entry_t *entry = put_entry(state, request, value, size, lease);
  if (entry == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a value of %u B", size);
  }
  hmci_store_answer(session, request->sequence, number);
  tell_watches(state, HMC_STORE_PUT, entry);
  hmci_store_tell_waits(state, entry);
  return HMC_SUCCESS;
}

/* Takes a key out and tells of it. */
static void remove_entry(hmci_store_state_t *state, hmci_store_entry_t *entry) {
  entry->revision = ++state->revision;
  tell_watches(state, HMC_STORE_DELETE, entry);
  hmci_store_map_remove(&state->map, entry);
}

static void remove_lease(hmci_store_held_t *lease) {
  hmci_store_state_t *state = lease->session->state;
  const hmci_store_message_t record = {.type = HMCI_STORE_REVOKE, .floor = lease->session->id, .lease = lease->id};
  if (hmci_store_record(state, &record) != HMC_SUCCESS) {
    hmci_log(HMC_LOG_WARNING, "store: %s", hmc_last_error());
  }
  while (!hmci_list_is_empty(&lease->keys)) {
    remove_entry(state, HMCI_CONTAINER(lease->keys.next, hmci_store_entry_t, held));
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
  const hmci_store_held_t *lease = find_lease(session, request->lease);
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
    remove_entry(state, entry);
    hmci_store_answer(session, request->sequence, 0);
  }
  return status;
}

static hmc_status_t add_lease(hmci_store_session_t *session, uint64_t id, int64_t ttl_ms) {
  hmci_store_held_t *lease = calloc(1, sizeof(*lease));
  if (lease == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a lease");
  }
  *lease =
      (hmci_store_held_t){.id = id, .ttl = (uint64_t)ttl_ms * NS_PER_MS, .serial = session->serial, .session = session};
  hmci_list_init(&lease->keys);
  hmci_list_append(&session->leases, &lease->member);
  return HMC_SUCCESS;
}

static hmc_status_t serve_lease(hmci_store_session_t *session, const hmci_store_message_t *request) {
  if (request->lease == 0 || request->number < LEAST_TTL_MS || request->number > INT64_MAX / 1000000) {
    return hmci_fail(HMC_INVALID_CONFIG, "a lease of %" PRId64 " ms: %d ms are the least", request->number,
                     LEAST_TTL_MS);
  }
  hmci_store_held_t *lease = find_lease(session, request->lease);
  if (lease == NULL) {
    const hmci_store_message_t record = {
        .type = HMCI_STORE_LEASE, .floor = session->id, .lease = request->lease, .number = request->number};
    hmc_status_t status = hmci_store_record(session->state, &record);
    if (status == HMC_SUCCESS) {
      status = add_lease(session, request->lease, request->number);
    }
    if (status != HMC_SUCCESS) {
      return status;
    }
  } else {
    lease->ttl = (uint64_t)request->number * NS_PER_MS;
  }
  hmci_store_answer(session, request->sequence, lease == NULL);
  return HMC_SUCCESS;
}

static hmc_status_t dispatch(hmci_store_session_t *session, const hmci_store_message_t *request) {
  hmci_store_held_t *lease;
  watching_t *watch;
  switch (request->type) {
  case HMCI_STORE_SET: return change(session, request, request->value, request->value_size, 0);
  case HMCI_STORE_RESTORE: return serve_restore(session, request);
  case HMCI_STORE_GET: return serve_get(session, request);
  case HMCI_STORE_WAIT: hmci_store_await(session, request); return HMC_SUCCESS;
  case HMCI_STORE_ADD: return serve_add(session, request);
  case HMCI_STORE_SWAP: return serve_swap(session, request);
  case HMCI_STORE_DELETE: return serve_delete(session, request);
  case HMCI_STORE_LIST: serve_list(session, request); return HMC_SUCCESS;
  case HMCI_STORE_WATCH: serve_watch(session, request); return HMC_SUCCESS;
  case HMCI_STORE_LEASE: return serve_lease(session, request);
  case HMCI_STORE_ARRIVE: hmci_store_meet(session, request); return HMC_SUCCESS;
  case HMCI_STORE_UNWATCH:
    watch = request->number != 0 ? find_watch(session, (uint64_t)request->number) : NULL;
    if (watch != NULL) {
      end_watch(watch);
    }
    break;
  case HMCI_STORE_REVOKE:
    lease = find_lease(session, request->lease);
    if (lease != NULL) {
      remove_lease(lease);
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
  session->serial++;
}

void hmci_store_session_part(hmci_store_session_t *session) {
  session->connection = NULL;
  session->gone = hmci_now();
  watching_t *watch;
  while ((watch = find_watch(session, 0)) != NULL) {
    end_watch(watch); /* the client will ask for it again */
  }
}

void hmci_store_session_end(hmci_store_session_t *session) {
  hmci_store_session_part(session);
  hmci_store_withdraw(session, 0);
  while (!hmci_list_is_empty(&session->leases)) {
    remove_lease(HMCI_CONTAINER(session->leases.next, hmci_store_held_t, member));
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
      remove_lease(lease);
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
      uint64_t forgotten = session->gone + REPLIES_KEPT_MS * NS_PER_MS;
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

/* ---- the journal ------------------------------------------------------------------------------------------------- */

static hmc_status_t replay_change(hmci_store_session_t *session, const hmci_store_message_t *record) {
  hmci_store_state_t *state = session->state;
  if (record->type == HMCI_STORE_SET) {
    hmci_store_held_t *lease = record->lease != 0 ? find_lease(session, record->lease) : NULL;
    if (put_entry(state, record, record->value, record->value_size, lease) == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for the keys of the journal");
    }
  } else {
    hmci_store_entry_t *entry = hmci_store_map_find(&state->map, record->key, record->key_size);
    if (entry != NULL) {
      remove_entry(state, entry);
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
  hmci_store_held_t *lease = find_lease(session, record->lease);
  switch (record->type) {
  case HMCI_STORE_SET:
  case HMCI_STORE_DELETE: return replay_change(session, record);
  case HMCI_STORE_ANSWER: return replay_reply(session, record);
  case HMCI_STORE_LEASE: return lease == NULL ? add_lease(session, record->lease, record->number) : HMC_SUCCESS;
  case HMCI_STORE_REVOKE:
    if (lease != NULL) {
      remove_lease(lease);
    }
    return HMC_SUCCESS;
  default: return hmci_fail(HMC_CORRUPT, "a record of type %u", record->type);
  }
}

static hmc_status_t dump_session(const hmci_store_session_t *session, hmci_store_journal_t *journal) {
  hmc_status_t status = HMC_SUCCESS;
  for (hmci_list_t *at = session->leases.next; at != &session->leases && status == HMC_SUCCESS; at = at->next) {
    const hmci_store_held_t *lease = HMCI_CONTAINER(at, hmci_store_held_t, member);
    const hmci_store_message_t record = {.type = HMCI_STORE_LEASE,
                                         .floor = session->id,
                                         .lease = lease->id,
                                         .number = (int64_t)(lease->ttl / NS_PER_MS)};
    status = hmci_store_journal_write(journal, &record);
  }
  for (hmci_list_t *at = session->replies.next; at != &session->replies && status == HMC_SUCCESS; at = at->next) {
    const hmci_store_reply_t *reply = HMCI_CONTAINER(at, hmci_store_reply_t, member);
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

hmc_status_t hmci_store_dump(const hmci_store_state_t *state, hmci_store_journal_t *journal) {
  hmc_status_t status = HMC_SUCCESS;
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
