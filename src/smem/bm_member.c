/* The members of an object: who has joined, and the connections to them (see bm.h).
 *
 * A connection is made by the first copy that needs it. What the store tells decides who is a member; when it tells that
 * one has left, the connection is dropped, and the engine answers for what is in progress. */
#include "bm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ASK_MS = 5000 }; /* for the store, where a pointer is asked, or after a copy that failed */

void hmci_smem_member_key(const hmci_smem_object_t *object, uint32_t rank, char key[64]) {
  snprintf(key, 64, "smem/bm/%u/member/%u", object->id, rank);
}

int hmci_smem_member_write(const hmci_smem_member_t *member, char text[200]) {
  return snprintf(text, 200, "%016" PRIx64 " %s %u %" PRIu64 " %" PRIu64, member->tag, member->ip, member->port,
                  member->size[HMCI_SMEM_HOST], member->size[HMCI_SMEM_DEVICE]);
}

static int member_read(const char *text, size_t size, hmci_smem_member_t *member) {
  char copy[200];
  unsigned port;
  if (size >= sizeof(copy)) {
    return 0;
  }
  memcpy(copy, text, size);
  copy[size] = '\0';
  hmci_smem_member_t read = {.tag = 0};
  if (sscanf(copy, "%16" SCNx64 " %63s %u %" SCNu64 " %" SCNu64, &read.tag, read.ip, &port, &read.size[HMCI_SMEM_HOST],
             &read.size[HMCI_SMEM_DEVICE]) != 5 ||
      port > UINT16_MAX) {
    return 0;
  }
  read.port = (uint16_t)port;
  *member = read;
  return 1;
}

/* ---- far parts --------------------------------------------------------------------------------------------------- */

static void close_far(hmci_smem_far_t *far) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    hmc_remote_close(far->remote[kind]);
  }
  hmc_peer_close(far->peer);
  free(far);
}

void hmci_smem_far_release(hmci_smem_far_t *far) {
  if (far != NULL && atomic_fetch_sub(&far->references, 1) == 1) {
    close_far(far);
  }
}

/* With the lock held: takes the far part out of its place; the caller retires it without the lock. */
static hmci_smem_far_t *take_out(hmci_smem_place_t *place) { return atomic_exchange(&place->far, NULL); }

/* Gives up the reference that a place had. Who found the far part there has a reference of its own by now, or is done. */
static void retire(hmci_smem_far_t *far) {
  if (far != NULL) {
    hmci_smem_read_wait();
    hmci_smem_far_release(far);
  }
}

void hmci_smem_far_drop(hmci_smem_object_t *object, const hmci_smem_far_t *far) {
  hmci_smem_place_t *place = &object->places[far->rank];
  hmci_smem_far_t *dropped = NULL;
  pthread_mutex_lock(&object->lock);
  place->lost = far->tag;
  if (atomic_load(&place->far) == far) {
    dropped = take_out(place);
  }
  pthread_mutex_unlock(&object->lock);
  retire(dropped);
}

/* With the right to connect, or at the object's end: takes the mapping of a place away. */
static void unmap(hmci_smem_place_t *place) {
  if (place->mapping != NULL) {
    atomic_store(&place->mapped->mapping, NULL);
    hmci_smem_read_wait(); /* no copy goes by it any more */
  }
  hmc_mapping_close(place->mapping);
  place->mapping = NULL;
  hmci_smem_far_release(place->mapped);
  place->mapped = NULL;
}

/* With the right to connect: maps a member's host part where everybody has it. Copies do not need it. */
static void map(hmci_smem_object_t *object, uint32_t rank, const hmci_smem_member_t *member, hmci_smem_far_t *far) {
  hmci_smem_place_t *place = &object->places[rank];
  hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
  options.address = (char *)(uintptr_t)object->base[HMCI_SMEM_HOST] + object->most[HMCI_SMEM_HOST] * (uint64_t)rank;
  if (far->remote[HMCI_SMEM_HOST] == NULL || member->size[HMCI_SMEM_HOST] > object->most[HMCI_SMEM_HOST]) {
    return;
  }
  unmap(place);
  hmc_status_t status = hmc_remote_map_range(far->remote[HMCI_SMEM_HOST], &options, &place->mapping);
  if (status != HMC_SUCCESS) {
    place->mapping = NULL;
    hmci_smem_log(HMCI_SMEM_DEBUG, "rank %u of pool %u is not mapped: %s", rank, object->id, hmc_last_error());
    return;
  }
  atomic_fetch_add(&far->references, 1);
  atomic_store(&far->mapping, place->mapping);
  place->mapped = far;
}

/* True where small copies are done by this thread, whatever the other process does meanwhile. */
static int is_by_memory(hmc_peer_t *peer) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  return hmc_peer_get_info(peer, &info) == HMC_SUCCESS && info.type == HMC_CONNECTION_SHM;
}

/* Connects to a member and opens its part. */
static int32_t connect_far(hmci_smem_object_t *object, uint32_t rank, const hmci_smem_member_t *member,
                           hmci_smem_far_t **made) {
  const hmci_smem_world_t *world = object->world;
  hmci_smem_far_t *far = calloc(1, sizeof(*far));
  if (far == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a connection to rank %u", rank);
  }
  atomic_init(&far->references, 1);
  far->rank = rank;
  far->tag = member->tag;
  hmc_status_t status = hmci_smem_connect(world->context, member->ip, member->port, object->type, &far->peer);
  for (int kind = 0; kind < HMCI_SMEM_KINDS && status == HMC_SUCCESS; kind++) {
    if (member->size[kind] > 0) {
      char name[HMC_REGION_NAME_SIZE];
      snprintf(name, sizeof(name), "smem-bm/%016" PRIx64 "/%d", member->tag, kind);
      status = hmc_remote_open(far->peer, name, 0, &far->remote[kind]);
    }
  }
  if (status != HMC_SUCCESS) {
    int32_t code = hmci_smem_fail_hmc(status, "rank %u of pool %u cannot be reached", rank, object->id);
    close_far(far);
    return code;
  }
  far->is_here = is_by_memory(far->peer);
  map(object, rank, member, far);
  *made = far;
  return SM_OK;
}

/* With the lock held: notes what the store says of a rank. Returns a far part to be retired. */
static hmci_smem_far_t *note_member(hmci_smem_place_t *place, const hmci_smem_member_t *member) {
  const hmci_smem_far_t *far = atomic_load(&place->far);
  hmci_smem_far_t *old = far != NULL && far->tag != member->tag ? take_out(place) : NULL;
  place->member = *member;
  return old;
}

/* Asks the store itself, for a member whose joining has not been reported yet. HMC_NOT_FOUND: it is not a member. */
static hmc_status_t look_up(const hmci_smem_object_t *object, uint32_t rank, uint64_t timeout_ms,
                            hmci_smem_member_t *member) {
  char key[64], text[200];
  size_t size = 0;
  hmci_smem_member_key(object, rank, key);
  hmc_status_t status = hmc_store_get(object->world->store, key, text, sizeof(text), &size, timeout_ms);
  return status == HMC_SUCCESS && !member_read(text, size, member) ? HMC_NOT_FOUND : status;
}

static uint64_t patience(const hmci_smem_object_t *object) {
  return object->world->control_ms < ASK_MS ? object->world->control_ms : ASK_MS;
}

static int32_t ask_store(const hmci_smem_object_t *object, uint32_t rank, hmci_smem_member_t *member) {
  hmc_status_t status = look_up(object, rank, object->world->control_ms, member);
  if (status == HMC_NOT_FOUND) {
    return hmci_smem_fail(
        SM_OBJECT_NOT_EXISTS,
        "rank %u is not in pool %u: it has not joined, has left, or died; copy when it is there again", rank,
        object->id);
  }
  return status == HMC_SUCCESS
             ? SM_OK
             : hmci_smem_fail_hmc(status, "whether rank %u is in pool %u is not known", rank, object->id);
}

/* Without the lock, and with the right to connect: makes the far part of a rank. */
static int32_t make_far(hmci_smem_object_t *object, uint32_t rank, hmci_smem_member_t member, hmci_smem_far_t **far) {
  int32_t code = SM_OK;
  int is_known = member.tag != 0;
  if (is_known) {
    code = connect_far(object, rank, &member, far);
  }
  if (!is_known || code == SM_OBJECT_NOT_EXISTS) {
    hmci_smem_member_t now;
    int32_t asked = ask_store(object, rank, &now);
    if (asked != SM_OK || (is_known && now.tag == member.tag)) {
      return asked != SM_OK ? asked : code;
    }
    code = connect_far(object, rank, &now, far);
  }
  return code;
}

/* The far part where there is a connection already, counted; else NULL. */
static hmci_smem_far_t *find_far(hmci_smem_place_t *place) {
  hmci_smem_reader_t *reader = hmci_smem_read_begin();
  if (reader == NULL) {
    return NULL;
  }
  hmci_smem_far_t *far = atomic_load_explicit(&place->far, memory_order_acquire); /* partner: connect_place */
  if (far != NULL) {
    atomic_fetch_add_explicit(&far->references, 1, memory_order_relaxed); /* the place has one as well: see retire */
  }
  hmci_smem_read_end(reader);
  return far;
}

/* Connects, unless another thread does; then waits for it. */
static int32_t connect_place(hmci_smem_object_t *object, uint32_t rank, hmci_smem_far_t **acquired) {
  int32_t code = SM_OK;
  hmci_smem_far_t *far = NULL;
  pthread_mutex_lock(&object->lock);
  hmci_smem_place_t *place = &object->places[rank];
  while (place->is_connecting) {
    pthread_cond_wait(&object->changed, &object->lock); /* a thread that connects ends by the context's deadline */
  }
  if (atomic_load(&place->far) == NULL) {
    hmci_smem_member_t member = place->member;
    place->is_connecting = 1;
    pthread_mutex_unlock(&object->lock);
    code = make_far(object, rank, member, &far);
    pthread_mutex_lock(&object->lock);
    place->is_connecting = 0;
    pthread_cond_broadcast(&object->changed);
    atomic_store(&place->far, far); /* and where it has left meanwhile, the engine says so */
  }
  if (code == SM_OK) {
    *acquired = atomic_load(&place->far);
    atomic_fetch_add(&(*acquired)->references, 1);
  }
  pthread_mutex_unlock(&object->lock);
  return code;
}

int32_t hmci_smem_far_acquire(hmci_smem_object_t *object, uint32_t rank, hmci_smem_far_t **acquired) {
  *acquired = find_far(&object->places[rank]);
  return *acquired != NULL ? SM_OK : connect_place(object, rank, acquired);
}

int hmci_smem_far_is_renewed(hmci_smem_object_t *object, uint32_t rank) {
  hmci_smem_member_t member;
  pthread_mutex_lock(&object->lock);
  uint64_t lost = object->places[rank].lost;
  pthread_mutex_unlock(&object->lock);
  return lost != 0 && look_up(object, rank, patience(object), &member) == HMC_SUCCESS && member.tag != lost;
}

void hmci_smem_far_map(hmci_smem_object_t *object, uint32_t rank) {
  hmci_smem_far_t *far;
  pthread_mutex_lock(&object->lock);
  hmci_smem_member_t member = object->places[rank].member;
  int is_connected = atomic_load(&object->places[rank].far) != NULL;
  pthread_mutex_unlock(&object->lock);
  if (is_connected || rank == object->world->rank ||
      (member.tag == 0 && look_up(object, rank, patience(object), &member) != HMC_SUCCESS) ||
      !hmci_smem_is_own(member.ip)) {
    return;
  }
  if (hmci_smem_far_acquire(object, rank, &far) == SM_OK) {
    hmci_smem_far_release(far);
  }
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

/* The rank in a member's key; UINT32_MAX: none of this world's. */
static uint32_t rank_of(const hmci_smem_object_t *object, const char *key) {
  const char *slash = strrchr(key, '/');
  char *end = NULL;
  unsigned long rank = slash != NULL ? strtoul(slash + 1, &end, 10) : UINT32_MAX;
  return slash != NULL && end != slash + 1 && *end == '\0' && rank < object->world->size ? (uint32_t)rank : UINT32_MAX;
}

static void take_event(hmci_smem_object_t *object, const hmc_store_event_t *event) {
  hmci_smem_member_t member = {.tag = 0};
  if (event->kind == HMC_STORE_SYNCED) {
    return;
  }
  uint32_t rank = rank_of(object, event->key);
  if (rank == UINT32_MAX || (event->kind == HMC_STORE_PUT && !member_read(event->value, event->value_size, &member))) {
    hmci_smem_log(HMCI_SMEM_WARNING, "the store has a key that is not a member: %s", event->key);
    return;
  }
  pthread_mutex_lock(&object->lock);
  hmci_smem_far_t *old = note_member(&object->places[rank], &member);
  pthread_mutex_unlock(&object->lock);
  retire(old);
}

static void *watch_members(void *argument) {
  hmci_smem_object_t *object = argument;
  hmc_store_event_t event;
  hmc_status_t status = HMC_SUCCESS;
  while (status != HMC_CANCELLED) {
    status = hmc_store_watch_next(object->watch, &event, 3600000);
    if (status == HMC_SUCCESS) {
      take_event(object, &event);
    } else if (status != HMC_CANCELLED && status != HMC_TIMEOUT) {
      hmci_smem_log(HMCI_SMEM_ERROR, "pool %u: the members are not watched any more: %s", object->id, hmc_last_error());
      break; /* copies ask the store themselves */
    }
  }
  return NULL;
}

int32_t hmci_smem_members_start(hmci_smem_object_t *object) {
  char prefix[64];
  snprintf(prefix, sizeof(prefix), "smem/bm/%u/member/", object->id);
  hmc_status_t status = hmc_store_watch_start(object->world->store, prefix, object->world->create_ms, &object->watch);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "the members of pool %u cannot be watched", object->id);
  }
  if (hmci_smem_thread_create(&object->watcher, watch_members, object) != 0) {
    hmc_store_watch_stop(object->watch);
    return hmci_smem_fail(SM_MALLOC_FAILED, "no thread to watch the members of pool %u", object->id);
  }
  return SM_OK;
}

void hmci_smem_members_stop(hmci_smem_object_t *object) {
  hmc_store_watch_interrupt(object->watch);
  pthread_join(object->watcher, NULL);
  hmc_store_watch_stop(object->watch);
  for (uint32_t rank = 0; rank < object->world->size; rank++) {
    unmap(&object->places[rank]);
    pthread_mutex_lock(&object->lock);
    hmci_smem_far_t *far = take_out(&object->places[rank]);
    pthread_mutex_unlock(&object->lock);
    hmci_smem_far_release(far); /* nobody reads the object any more */
  }
}
