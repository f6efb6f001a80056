/* Watches of a store, and lists: all keys with a prefix, once or for good (see store_state.h).
 *
 * Invariant: a watch is in the state's list and in its session's. */
#include "store_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 64 << 20 };

typedef struct watching {
  hmci_list_t member, of_session;
  hmci_store_session_t *session;
  uint64_t sequence;
  uint16_t prefix_size;
  char prefix[];
} watching_t;

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

void hmci_store_tell_watches(const hmci_store_state_t *state, hmc_store_event_kind_t kind,
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

void hmci_store_watch(hmci_store_session_t *session, const hmci_store_message_t *request) {
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

void hmci_store_list(hmci_store_session_t *session, const hmci_store_message_t *request) {
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

void hmci_store_unwatch(hmci_store_session_t *session, uint64_t sequence) {
  watching_t *watch;
  while ((watch = find_watch(session, sequence)) != NULL) {
    end_watch(watch);
  }
}
