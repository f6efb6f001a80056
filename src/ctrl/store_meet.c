/* Barriers, gathers, and waits for keys (see store_state.h).
 *
 * A meeting exists while somebody waits in it. It is over when as many as it counts have come: their answers are kept,
 * so that a client whose connection broke right then still gets its own. */
#include "store_state.h"

#include <stdlib.h>
#include <string.h>

typedef struct waiting {
  hmci_list_t member;
  hmci_store_session_t *session;
  uint64_t sequence;
  uint16_t key_size;
  char key[];
} waiting_t;

typedef struct arrival {
  hmci_list_t member;
  hmci_store_session_t *session;
  uint64_t sequence;
  uint32_t index;
  hmci_store_shared_t *piece; /* of a gather */
} arrival_t;

typedef struct meeting {
  hmci_list_t member, arrivals;
  uint32_t count, arrived, piece_size;
  bool is_gather;
  uint16_t name_size;
  char name[];
} meeting_t;

/* ---- waits for keys ---------------------------------------------------------------------------------------------- */

void hmci_store_await(hmci_store_session_t *session, const hmci_store_message_t *request) {
  hmci_store_state_t *state = session->state;
  const hmci_store_entry_t *entry = hmci_store_map_find(&state->map, request->key, request->key_size);
  if (entry != NULL) {
    hmci_store_answer_value(session, request->sequence, entry);
    return;
  }
  hmci_store_withdraw(session, request->sequence); /* where it was asked before the connection broke */
  waiting_t *wait = calloc(1, sizeof(*wait) + request->key_size);
  if (wait == NULL) {
    hmci_store_refuse(session, request->sequence, hmci_fail(HMC_NO_MEMORY, "the store has no memory for a wait"));
    return;
  }
  wait->session = session;
  wait->sequence = request->sequence;
  wait->key_size = request->key_size;
  memcpy(wait->key, request->key, request->key_size);
  hmci_list_append(&state->waits, &wait->member);
}

void hmci_store_tell_waits(hmci_store_state_t *state, const hmci_store_entry_t *entry) {
  hmci_list_t *at = state->waits.next;
  while (at != &state->waits) {
    waiting_t *wait = HMCI_CONTAINER(at, waiting_t, member);
    at = at->next;
    if (wait->key_size == entry->key_size && memcmp(wait->key, entry->key, entry->key_size) == 0) {
      hmci_store_answer_value(wait->session, wait->sequence, entry);
      hmci_list_remove(&wait->member);
      free(wait);
    }
  }
}

/* ---- meetings ---------------------------------------------------------------------------------------------------- */

static void free_meeting(meeting_t *meeting) {
  hmci_list_remove(&meeting->member);
  free(meeting);
}

static void leave(meeting_t *meeting, arrival_t *arrival) {
  hmci_list_remove(&arrival->member);
  meeting->arrived--;
  hmci_store_shared_release(arrival->piece);
  free(arrival);
}

static void withdraw_from(meeting_t *meeting, const hmci_store_session_t *session, uint64_t sequence) {
  hmci_list_t *at = meeting->arrivals.next;
  while (at != &meeting->arrivals) {
    arrival_t *arrival = HMCI_CONTAINER(at, arrival_t, member);
    at = at->next;
    if (arrival->session == session && (sequence == 0 || arrival->sequence == sequence)) {
      leave(meeting, arrival);
    }
  }
}

void hmci_store_withdraw(hmci_store_session_t *session, uint64_t sequence) {
  hmci_store_state_t *state = session->state;
  hmci_list_t *at = state->waits.next;
  while (at != &state->waits) {
    waiting_t *wait = HMCI_CONTAINER(at, waiting_t, member);
    at = at->next;
    if (wait->session == session && (sequence == 0 || wait->sequence == sequence)) {
      hmci_list_remove(&wait->member);
      free(wait);
    }
  }
  at = state->meetings.next;
  while (at != &state->meetings) {
    meeting_t *meeting = HMCI_CONTAINER(at, meeting_t, member);
    at = at->next;
    withdraw_from(meeting, session, sequence);
    if (meeting->arrived == 0) {
      free_meeting(meeting);
    }
  }
}

static meeting_t *find_meeting(hmci_store_state_t *state, const hmci_store_message_t *request) {
  for (hmci_list_t *at = state->meetings.next; at != &state->meetings; at = at->next) {
    meeting_t *meeting = HMCI_CONTAINER(at, meeting_t, member);
    if (meeting->name_size == request->key_size && memcmp(meeting->name, request->key, request->key_size) == 0) {
      return meeting;
    }
  }
  return NULL;
}

/* The meeting of that name, made where there is none. */
static hmc_status_t open_meeting(hmci_store_state_t *state, const hmci_store_message_t *request, meeting_t **opened) {
  *opened = find_meeting(state, request);
  if (*opened != NULL) {
    return HMC_SUCCESS;
  }
  meeting_t *meeting = calloc(1, sizeof(*meeting) + request->key_size);
  if (meeting == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a barrier");
  }
  meeting->count = (uint32_t)request->number;
  meeting->is_gather = (request->flags & HMCI_STORE_GATHER) != 0;
  meeting->piece_size = request->value_size;
  meeting->name_size = request->key_size;
  memcpy(meeting->name, request->key, request->key_size);
  hmci_list_init(&meeting->arrivals);
  hmci_list_append(&state->meetings, &meeting->member);
  *opened = meeting;
  return HMC_SUCCESS;
}

static hmc_status_t check_request(const hmci_store_message_t *request) {
  bool is_gather = (request->flags & HMCI_STORE_GATHER) != 0;
  if (request->number < 1 || request->number > UINT32_MAX || request->key_size == 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "a barrier of %lld: 1 to %u, and a name, are needed",
                     (long long)request->number, UINT32_MAX);
  }
  if (!is_gather && request->value_size > 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "a barrier takes no data");
  }
  if (is_gather &&
      (request->index >= request->number || (uint64_t)request->number * request->value_size > HMC_STORE_GATHER_MAX)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "piece %u of %lld, each of %u B: an index below the count, and %u B in all",
                     request->index, (long long)request->number, request->value_size, HMC_STORE_GATHER_MAX);
  }
  return HMC_SUCCESS;
}

/* Says why this arrival does not go with those that are there. */
static hmc_status_t check_fit(const meeting_t *meeting, const hmci_store_message_t *request) {
  bool is_gather = (request->flags & HMCI_STORE_GATHER) != 0;
  if (meeting->count != (uint32_t)request->number || meeting->is_gather != is_gather) {
    return hmci_fail(HMC_INVALID_CONFIG, "\"%.*s\" is a %s of %u, and this call makes it a %s of %lld",
                     request->key_size, request->key, meeting->is_gather ? "gather" : "barrier", meeting->count,
                     is_gather ? "gather" : "barrier", (long long)request->number);
  }
  if (meeting->piece_size != request->value_size) {
    return hmci_fail(HMC_INVALID_CONFIG, "a piece of %u B where the others of \"%.*s\" brought %u B",
                     request->value_size, request->key_size, request->key, meeting->piece_size);
  }
  for (hmci_list_t *at = meeting->arrivals.next; is_gather && at != &meeting->arrivals; at = at->next) {
    if (HMCI_CONTAINER(at, arrival_t, member)->index == request->index) {
      return hmci_fail(HMC_INVALID_CONFIG, "index %u came to \"%.*s\" twice", request->index, request->key_size,
                       request->key);
    }
  }
  return HMC_SUCCESS;
}

static hmc_status_t add_arrival(meeting_t *meeting, hmci_store_session_t *session,
                                const hmci_store_message_t *request) {
  arrival_t *arrival = calloc(1, sizeof(*arrival));
  hmci_store_shared_t *piece = meeting->is_gather ? hmci_store_shared_create(request->value_size) : NULL;
  if (arrival == NULL || (meeting->is_gather && piece == NULL)) {
    free(arrival);
    hmci_store_shared_release(piece);
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a barrier");
  }
  if (piece != NULL && request->value_size > 0) {
    memcpy(piece->data, request->value, request->value_size);
  }
  *arrival = (arrival_t){.session = session, .sequence = request->sequence, .index = request->index, .piece = piece};
  hmci_list_append(&meeting->arrivals, &arrival->member);
  meeting->arrived++;
  return HMC_SUCCESS;
}

/* What all get: the pieces in the order of their index. NULL: no memory. */
static hmci_store_shared_t *join_pieces(const meeting_t *meeting) {
  hmci_store_shared_t *all = hmci_store_shared_create(meeting->count * meeting->piece_size);
  for (hmci_list_t *at = meeting->arrivals.next; all != NULL && at != &meeting->arrivals; at = at->next) {
    const arrival_t *arrival = HMCI_CONTAINER(at, arrival_t, member);
    if (meeting->piece_size > 0) {
      memcpy(all->data + (size_t)arrival->index * meeting->piece_size, arrival->piece->data, meeting->piece_size);
    }
  }
  return all;
}

/* One record for all arrivals, so that either each has its answer after a restart, or none has. */
static hmc_status_t record_meeting(hmci_store_state_t *state, const meeting_t *meeting,
                                   const hmci_store_shared_t *all) {
  if (state->journal == NULL) {
    return HMC_SUCCESS;
  }
  size_t pairs = (size_t)meeting->arrived * HMCI_STORE_PAIR, size = pairs + all->size;
  uint8_t *value = malloc(size), *to = value;
  if (value == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "the store has no memory for a record");
  }
  for (hmci_list_t *at = meeting->arrivals.next; at != &meeting->arrivals; at = at->next, to += HMCI_STORE_PAIR) {
    const arrival_t *arrival = HMCI_CONTAINER(at, arrival_t, member);
    hmci_store64(to, arrival->session->id);
    hmci_store64(to + 8, arrival->sequence);
  }
  memcpy(to, all->data, all->size);
  const hmci_store_message_t record = {
      .type = HMCI_STORE_ARRIVE, .index = meeting->arrived, .value = value, .value_size = (uint32_t)size};
  hmc_status_t status = hmci_store_record(state, &record);
  free(value);
  return status;
}

hmc_status_t hmci_store_replay_meeting(hmci_store_state_t *state, const hmci_store_message_t *record) {
  uint64_t pairs = (uint64_t)record->index * HMCI_STORE_PAIR;
  if (pairs > record->value_size) {
    return hmci_fail(HMC_CORRUPT, "a record of a meeting of %u in %u B", record->index, record->value_size);
  }
  const uint8_t *value = record->value;
  hmci_store_shared_t *all = hmci_store_shared_create(record->value_size - (uint32_t)pairs);
  hmc_status_t status = all != NULL ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory for a meeting");
  if (all != NULL) {
    memcpy(all->data, value + pairs, all->size);
  }
  for (uint32_t i = 0; i < record->index && status == HMC_SUCCESS; i++) {
    hmci_store_session_t *session = hmci_store_session(state, hmci_load64(value + (size_t)i * HMCI_STORE_PAIR));
    status = session != NULL
                 ? hmci_store_keep_reply(session, hmci_load64(value + (size_t)i * HMCI_STORE_PAIR + 8), 0, all)
                 : hmci_fail(HMC_NO_MEMORY, "no memory for a client of the journal");
  }
  hmci_store_shared_release(all);
  return status;
}

/* All are there: answers each and ends the meeting. */
static void conclude(hmci_store_state_t *state, meeting_t *meeting) {
  hmci_store_shared_t *all = join_pieces(meeting);
  hmc_status_t status = all != NULL ? record_meeting(state, meeting, all)
                                    : hmci_fail(HMC_NO_MEMORY, "the store has no memory for what was gathered");
  while (!hmci_list_is_empty(&meeting->arrivals)) {
    arrival_t *arrival = HMCI_CONTAINER(meeting->arrivals.next, arrival_t, member);
    hmc_status_t each = status;
    if (each == HMC_SUCCESS) {
      each = hmci_store_keep_reply(arrival->session, arrival->sequence, 0, all);
    }
    if (each == HMC_SUCCESS) {
      const hmci_list_t *last = arrival->session->replies.previous;
      hmci_store_send_reply(arrival->session, HMCI_CONTAINER(last, hmci_store_reply_t, member));
    } else {
      hmci_store_refuse(arrival->session, arrival->sequence, each);
    }
    leave(meeting, arrival);
  }
  hmci_store_shared_release(all);
  free_meeting(meeting);
}

void hmci_store_meet(hmci_store_session_t *session, const hmci_store_message_t *request) {
  meeting_t *meeting = NULL;
  hmci_store_withdraw(session, request->sequence); /* where it had come before the connection broke */
  hmc_status_t status = check_request(request);
  if (status == HMC_SUCCESS) {
    status = open_meeting(session->state, request, &meeting);
  }
  if (status == HMC_SUCCESS) {
    status = check_fit(meeting, request);
  }
  if (status == HMC_SUCCESS) {
    status = add_arrival(meeting, session, request);
  }
  if (status == HMC_SUCCESS && meeting->arrived == meeting->count) {
    conclude(session->state, meeting);
    return;
  }
  if (status != HMC_SUCCESS) {
    hmci_store_refuse(session, request->sequence, status);
    if (meeting != NULL && meeting->arrived == 0) {
      free_meeting(meeting);
    }
  }
}
