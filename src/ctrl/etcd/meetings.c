/* Barriers and gathers over etcd (see store_etcd.h).
 *
 * A meeting is one key, which each arrival changes by compare-and-swap: who has come, and whether all have. Who sees
 * himself in a list that is complete has met the others; etcd tells every change in order, so nobody misses one. The
 * last one takes out those whose clients have died before he completes it, and removes the key afterwards. A piece of a
 * gather is a key of its own, which etcd forgets a while after the call's deadline.
 *
 * The answer to an arrival can get lost, and the meeting be over and its key gone before the caller asks again. The change
 * tells that it has taken effect, and when, and the events of the meeting are followed from there. */
#include "store_etcd.h"

#include "../../base/stop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  PIECES_STAY_MS = 60000,
  PIECES_MOST_S = 100000000, /* three years, for waits without a deadline: etcd takes no lease of more than 285 */
  RETRY_MS = 4,
  STREAM_MS = 20000
};

typedef struct arrival {
  uint64_t id, client;
  uint32_t index;
} arrival_t;

typedef struct meeting {
  uint32_t count, piece, arrived, room;
  int is_gather, is_complete;
  int64_t revision; /* of the key; 0: there is none */
  int64_t seen;     /* the store's, when it was read */
  arrival_t *arrivals;
} meeting_t;

/* The caller's call. */
typedef struct visit {
  hmci_etcd_client_t *client;
  const hmci_store_message_t *request;
  hmci_etcd_key_t key;
  arrival_t me;
  uint64_t deadline;
  meeting_t met;
  bool may_be_in;      /* a change with this caller in it was made, or may have been */
  hmc_status_t status; /* of the stream; HMC_IN_PROGRESS: goes on */
} visit_t;

/* ---- the key's value --------------------------------------------------------------------------------------------- */

static bool add_arrival(meeting_t *meeting, arrival_t arrival) {
  if (meeting->arrived == meeting->room) {
    uint32_t room = meeting->room * 2 + 16;
    arrival_t *more = realloc(meeting->arrivals, room * sizeof(*more));
    if (more == NULL) {
      return false;
    }
    meeting->arrivals = more;
    meeting->room = room;
  }
  meeting->arrivals[meeting->arrived++] = arrival;
  return true;
}

static void write_meeting(const meeting_t *meeting, hmci_text_t *text) {
  hmci_text_print(text, "%u %d %u %d", meeting->count, meeting->is_gather, meeting->piece, meeting->is_complete);
  for (uint32_t i = 0; i < meeting->arrived; i++) {
    const arrival_t *at = &meeting->arrivals[i];
    hmci_text_print(text, "\n%" PRIx64 " %" PRIx64 " %u", at->id, at->client, at->index);
  }
}

/* Reads a value; false: it is none, or no memory. */
static bool read_meeting(hmci_json_t kv, meeting_t *meeting) {
  size_t size = 0;
  char *text = (char *)hmci_json_bytes(hmci_json_get(kv, "value"), &size);
  meeting->arrived = 0;
  meeting->revision = hmci_json_number(hmci_json_get(kv, "mod_revision"));
  bool is_good = text != NULL && sscanf(text, "%u %d %u %d", &meeting->count, &meeting->is_gather, &meeting->piece,
                                        &meeting->is_complete) == 4;
  for (const char *at = is_good ? strchr(text, '\n') : NULL; at != NULL && is_good; at = strchr(at + 1, '\n')) {
    arrival_t arrival;
    is_good = sscanf(at + 1, "%" SCNx64 " %" SCNx64 " %u", &arrival.id, &arrival.client, &arrival.index) == 3 &&
              add_arrival(meeting, arrival);
  }
  free(text);
  return is_good;
}

static bool has_id(const meeting_t *meeting, uint64_t id) {
  uint32_t i = 0;
  while (i < meeting->arrived && meeting->arrivals[i].id != id) {
    i++;
  }
  return i < meeting->arrived;
}

static hmc_status_t load(visit_t *visit, meeting_t *meeting) {
  hmci_text_t answer = {.data = NULL};
  hmc_status_t status = hmci_etcd_range(visit->client, &visit->key, false, visit->deadline, &answer);
  hmci_json_t kv = hmci_etcd_first(&answer);
  meeting->arrived = 0;
  meeting->revision = 0;
  meeting->seen = hmci_json_number(hmci_json_get(hmci_text_read(&answer), "header.revision"));
  if (status == HMC_SUCCESS && kv != NULL && !read_meeting(kv, meeting)) {
    status = hmci_fail(HMC_CORRUPT, "the key of a meeting cannot be read");
  }
  hmci_text_free(&answer);
  return status;
}

/* Stores the meeting, or removes its key when nobody is left in it, provided that it has not changed since it was read.
 * *revision: that of the change. */
static hmc_status_t store(visit_t *visit, meeting_t *meeting, bool *has_put, int64_t *revision) {
  hmci_text_t compare = {.data = NULL}, effect = {.data = NULL}, value = {.data = NULL};
  hmci_etcd_outcome_t outcome;
  hmci_etcd_key_print(&compare, &visit->key, false);
  hmci_text_print(&compare, ",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"%" PRId64 "\"",
                  meeting->revision);
  if (meeting->arrived > 0) {
    write_meeting(meeting, &value);
    hmci_etcd_put_print(&effect, &visit->key, value.data, value.size, 0);
  } else {
    hmci_etcd_delete_print(&effect, &visit->key);
  }
  effect.has_failed = effect.has_failed || value.has_failed;
  hmc_status_t status = hmci_etcd_change(visit->client, &compare, &effect, visit->deadline, &outcome);
  if (outcome.is_done && !outcome.is_fresh) {
    meeting->is_complete = 0; /* others have come and gone meanwhile: the events tell */
  }
  *has_put = outcome.is_done;
  *revision = outcome.revision;
  visit->may_be_in = visit->may_be_in || outcome.is_done || outcome.is_doubtful;
  hmci_text_free(&compare);
  hmci_text_free(&effect);
  hmci_text_free(&value);
  return status;
}

/* ---- arriving ---------------------------------------------------------------------------------------------------- */

static hmc_status_t check_fit(const visit_t *visit, const meeting_t *meeting) {
  const hmci_store_message_t *request = visit->request;
  int is_gather = (request->flags & HMCI_STORE_GATHER) != 0;
  if (meeting->count != (uint32_t)request->number || meeting->is_gather != is_gather) {
    return hmci_fail(HMC_INVALID_CONFIG, "\"%.*s\" is a %s of %u, and this call makes it a %s of %lld",
                     request->key_size, request->key, meeting->is_gather ? "gather" : "barrier", meeting->count,
                     is_gather ? "gather" : "barrier", (long long)request->number);
  }
  if (meeting->piece != request->value_size) {
    return hmci_fail(HMC_INVALID_CONFIG, "a piece of %u B where the others of \"%.*s\" brought %u B",
                     request->value_size, request->key_size, request->key, meeting->piece);
  }
  for (uint32_t i = 0; is_gather && i < meeting->arrived; i++) {
    if (meeting->arrivals[i].index == request->index) {
      return hmci_fail(HMC_INVALID_CONFIG, "index %u came to \"%.*s\" twice", request->index, request->key_size,
                       request->key);
    }
  }
  return HMC_SUCCESS;
}

/* Takes those out whose clients do not live any more. */
static hmc_status_t take_dead_out(visit_t *visit, meeting_t *meeting) {
  hmci_etcd_key_t living;
  hmci_text_t answer = {.data = NULL};
  hmci_etcd_key_make(visit->client, 'h', "", 0, &living);
  hmc_status_t status = hmci_etcd_range(visit->client, &living, true, visit->deadline, &answer);
  hmci_json_t all = hmci_json_get(hmci_text_read(&answer), "kvs");
  uint32_t kept = 0;
  for (uint32_t i = 0; i < meeting->arrived && status == HMC_SUCCESS; i++) {
    bool lives = false;
    for (hmci_json_t at = hmci_json_next(all, NULL); at != NULL && !lives; at = hmci_json_next(all, at)) {
      size_t size = 0;
      char *name = (char *)hmci_json_bytes(hmci_json_get(at, "key"), &size);
      lives =
          name != NULL && size > living.size && strtoull(name + living.size, NULL, 16) == meeting->arrivals[i].client;
      free(name);
    }
    if (lives) {
      meeting->arrivals[kept++] = meeting->arrivals[i];
    }
  }
  if (status == HMC_SUCCESS) {
    meeting->arrived = kept;
  }
  hmci_text_free(&answer);
  return status;
}

/* The meeting with this caller in it. */
static hmc_status_t join(visit_t *visit, meeting_t *meeting) {
  const hmci_store_message_t *request = visit->request;
  hmc_status_t status = HMC_SUCCESS;
  if (meeting->revision == 0 || meeting->is_complete || meeting->arrived == 0) {
    meeting->count = (uint32_t)request->number;
    meeting->is_gather = (request->flags & HMCI_STORE_GATHER) != 0;
    meeting->piece = request->value_size;
    meeting->is_complete = 0;
    meeting->arrived = 0;
  } else {
    status = check_fit(visit, meeting);
    if (status != HMC_SUCCESS || meeting->arrived + 1 >= meeting->count) {
      hmc_status_t looked = take_dead_out(visit, meeting);
      status = looked != HMC_SUCCESS || meeting->arrived == 0 ? looked : check_fit(visit, meeting);
      if (status == HMC_SUCCESS && meeting->arrived == 0) {
        meeting->is_complete = 1;
        return join(visit, meeting); /* all of them had died: a new one */
      }
    }
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (!add_arrival(meeting, visit->me)) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a meeting");
  }
  meeting->is_complete = meeting->arrived >= meeting->count;
  return HMC_SUCCESS;
}

static void back_off(const visit_t *visit) {
  uint8_t random;
  hmci_random(&random, 1);
  hmci_etcd_pause(1 + random % (RETRY_MS + visit->request->number / 8), visit->deadline);
}

/* What was sent and has not taken effect does not do so later. */
static void forget_arrival(visit_t *visit) {
  const hmci_text_t nothing = {.data = NULL};
  hmci_etcd_outcome_t outcome;
  (void)hmci_etcd_change(visit->client, &nothing, &nothing, visit->deadline, &outcome);
}

/* Leaves again, also where the program wants the thread back. True: the meeting was complete meanwhile, with this
 * caller. */
static bool leave(visit_t *visit) {
  static hmci_stop_t never = {.descriptor = -1};
  meeting_t *meeting = &visit->met;
  int64_t revision;
  bool is_met = false;
  visit->deadline = hmci_deadline(1000);
  hmci_stop_follow(&never);
  for (bool has_put = false; !has_put && !is_met && hmci_now() < visit->deadline; back_off(visit)) {
    if (load(visit, meeting) != HMC_SUCCESS) {
      break;
    }
    if (!has_id(meeting, visit->me.id)) {
      forget_arrival(visit);
      break;
    }
    is_met = meeting->is_complete;
    for (uint32_t i = 0; i < meeting->arrived && !is_met; i++) {
      if (meeting->arrivals[i].id == visit->me.id) {
        meeting->arrivals[i] = meeting->arrivals[--meeting->arrived];
      }
    }
    if (!is_met && store(visit, meeting, &has_put, &revision) != HMC_SUCCESS) {
      break;
    }
  }
  hmci_stop_follow(NULL);
  return is_met;
}

/* ---- waiting for the others -------------------------------------------------------------------------------------- */

static bool look(hmci_json_t kv, bool is_delete, void *user) {
  visit_t *visit = user;
  if (is_delete || !read_meeting(kv, &visit->met)) {
    visit->status = is_delete ? HMC_STALE : HMC_CORRUPT;
    return false;
  }
  bool is_there = has_id(&visit->met, visit->me.id);
  if (is_there && visit->met.is_complete) {
    visit->status = HMC_SUCCESS;
    return false;
  }
  if (!is_there) { /* taken for dead: it arrives once more */
    visit->status = HMC_STALE;
    return false;
  }
  return true;
}

/* The stream has ended before the meeting was complete. The next one begins at the meeting as it is now, where this caller
 * is in it: etcd may have forgotten what lies further back (compaction), and ends every stream that begins there. Where it
 * is not in it, the events tell why. */
static hmc_status_t look_again(visit_t *visit, int64_t *revision) {
  hmc_status_t status = load(visit, &visit->met);
  if (status == HMC_SUCCESS && visit->met.revision != 0 && has_id(&visit->met, visit->me.id)) {
    visit->status = visit->met.is_complete ? HMC_SUCCESS : HMC_IN_PROGRESS;
    *revision = visit->met.seen + 1;
  }
  return status;
}

/* Follows the meeting from the revision of this caller's own change on. */
static hmc_status_t follow(visit_t *visit, hmci_curl_t *handle, int64_t revision) {
  visit->status = HMC_IN_PROGRESS;
  while (visit->status == HMC_IN_PROGRESS) {
    uint64_t soon = hmci_deadline(STREAM_MS);
    hmc_status_t streamed = hmci_etcd_stream(&visit->client->cluster, handle, visit->key.text, visit->key.size, false,
                                             revision, soon < visit->deadline ? soon : visit->deadline, look, visit);
    if (visit->status != HMC_IN_PROGRESS) {
      break;
    }
    if (hmci_now() >= visit->deadline) {
      return hmci_fail(HMC_TIMEOUT, "the others did not come to \"%.*s\" in time", visit->request->key_size,
                       visit->request->key);
    }
    hmc_status_t looked = streamed == HMC_CANCELLED ? streamed : look_again(visit, &revision);
    if (looked == HMC_CANCELLED) {
      return looked;
    }
    if (visit->status == HMC_IN_PROGRESS && streamed != HMC_TIMEOUT) {
      back_off(visit); /* another member of the cluster goes on */
    }
  }
  return visit->status;
}

/* Brings this caller in; *revision: one at which it is in there. */
static hmc_status_t enter(visit_t *visit, int64_t *revision) {
  meeting_t *meeting = &visit->met;
  hmc_status_t status = HMC_SUCCESS;
  bool is_in = false;
  while (status == HMC_SUCCESS && !is_in) {
    status = load(visit, meeting);
    if (status == HMC_SUCCESS && meeting->revision != 0 && has_id(meeting, visit->me.id)) {
      *revision = meeting->revision; /* also where the answer to the change was lost */
      return HMC_SUCCESS;
    }
    if (status == HMC_SUCCESS) {
      status = join(visit, meeting);
    }
    if (status == HMC_SUCCESS) {
      status = store(visit, meeting, &is_in, revision);
    }
    if (status == HMC_NOT_FOUND && hmci_now() < visit->deadline) {
      status = HMC_SUCCESS; /* the client's lease is made again */
    }
    if (status == HMC_SUCCESS && !is_in) {
      back_off(visit);
    }
  }
  return status;
}

/* ---- gathers ----------------------------------------------------------------------------------------------------- */

static void piece_key(const visit_t *visit, uint64_t id, hmci_etcd_key_t *key) {
  char name[24];
  int size = snprintf(name, sizeof(name), "%016" PRIx64, id);
  hmci_etcd_key_make(visit->client, 'p', name, (size_t)size, key);
}

static hmc_status_t put_piece(visit_t *visit) {
  hmci_etcd_key_t key;
  hmci_text_t body = {.data = NULL}, answer = {.data = NULL};
  uint64_t now = hmci_now(), left = visit->deadline > now ? (visit->deadline - now) / 1000000000 : 0;
  left = left < PIECES_MOST_S ? left : PIECES_MOST_S;
  hmci_text_print(&body, "{\"TTL\":\"%" PRIu64 "\"}", left + PIECES_STAY_MS / 1000);
  hmc_status_t status = hmci_etcd_call(&visit->client->cluster, "lease/grant", &body, visit->deadline, &answer, NULL);
  int64_t lease = hmci_json_number(hmci_json_get(hmci_text_read(&answer), "ID"));
  if (status == HMC_SUCCESS) {
    hmci_text_clear(&body);
    piece_key(visit, visit->me.id, &key);
    hmci_text_print(&body, "{");
    hmci_etcd_key_print(&body, &key, false);
    hmci_text_print(&body, ",\"value\":");
    hmci_text_bytes(&body, visit->request->value, visit->request->value_size);
    hmci_text_print(&body, ",\"lease\":\"%" PRId64 "\"}", lease);
    status = hmci_etcd_call(&visit->client->cluster, "kv/put", &body, visit->deadline, &answer, NULL);
  }
  hmci_text_free(&body);
  hmci_text_free(&answer);
  return status;
}

/* Reads everybody's piece, in the order of their indices. */
static hmc_status_t collect(visit_t *visit, hmci_store_result_t *result) {
  const meeting_t *meeting = &visit->met;
  size_t whole = (size_t)meeting->count * meeting->piece;
  uint8_t *all = calloc(1, whole > 0 ? whole : 1);
  hmc_status_t status = all != NULL ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory for a gather of %zu B", whole);
  for (uint32_t i = 0; i < meeting->arrived && status == HMC_SUCCESS && meeting->piece > 0; i++) {
    hmci_etcd_key_t key;
    hmci_text_t answer = {.data = NULL};
    size_t size = 0;
    piece_key(visit, meeting->arrivals[i].id, &key);
    status = hmci_etcd_range(visit->client, &key, false, visit->deadline, &answer);
    uint8_t *piece =
        status == HMC_SUCCESS ? hmci_json_bytes(hmci_json_get(hmci_etcd_first(&answer), "value"), &size) : NULL;
    if (status == HMC_SUCCESS &&
        (piece == NULL || size != meeting->piece || meeting->arrivals[i].index >= meeting->count)) {
      status = hmci_fail(HMC_CORRUPT, "a piece of \"%.*s\" is not in etcd any more", visit->request->key_size,
                         visit->request->key);
    } else if (status == HMC_SUCCESS) {
      memcpy(all + (size_t)meeting->arrivals[i].index * meeting->piece, piece, size);
    }
    free(piece);
    hmci_text_free(&answer);
  }
  if (status == HMC_SUCCESS) {
    result->value = all;
    result->value_size = (uint32_t)whole;
  } else {
    free(all);
  }
  return status;
}

/* Removes the key of a meeting that is over, unless the next one has begun. */
static void clear_away(visit_t *visit) {
  meeting_t *meeting = &visit->met;
  bool has_put;
  int64_t revision;
  if (load(visit, meeting) == HMC_SUCCESS && meeting->revision != 0 && meeting->is_complete &&
      has_id(meeting, visit->me.id)) {
    meeting->arrived = 0;
    (void)store(visit, meeting, &has_put, &revision); /* else the next one overwrites it */
  }
}

hmc_status_t hmci_etcd_arrive(hmci_etcd_client_t *client, const hmci_store_message_t *request, uint64_t deadline,
                              hmci_store_result_t *result) {
  visit_t visit = {.client = client, .request = request, .deadline = deadline};
  hmci_curl_t *handle = NULL;
  bool is_gather = (request->flags & HMCI_STORE_GATHER) != 0;
  hmci_etcd_key_make(client, 'm', request->key, request->key_size, &visit.key);
  visit.me = (arrival_t){.client = client->id, .index = request->index};
  hmci_random(&visit.me.id, sizeof(visit.me.id));
  hmc_status_t status = hmci_etcd_handle_take(&client->cluster, &handle);
  if (status == HMC_SUCCESS && is_gather && request->value_size > 0) {
    status = put_piece(&visit);
  }
  bool is_last = false;
  while (status == HMC_SUCCESS) {
    int64_t revision = 0;
    status = enter(&visit, &revision);
    is_last = status == HMC_SUCCESS && visit.met.is_complete;
    if (status == HMC_SUCCESS && !is_last) {
      status = follow(&visit, handle, revision);
    }
    if (status != HMC_STALE) {
      break;
    }
    status = HMC_SUCCESS;
  }
  if ((status == HMC_TIMEOUT || status == HMC_CANCELLED) && visit.may_be_in) {
    char why[HMCI_ERROR_TEXT];
    snprintf(why, sizeof(why), "%s", hmc_last_error());
    status = leave(&visit) ? HMC_SUCCESS : hmci_fail(status, "%s", why);
  }
  if (status == HMC_SUCCESS && is_gather) {
    status = collect(&visit, result);
  }
  if (status == HMC_SUCCESS && is_last) {
    clear_away(&visit);
  }
  hmci_etcd_handle_give(&client->cluster, handle, false);
  free(visit.met.arrivals);
  return status;
}
