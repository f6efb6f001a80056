/* Regions: how their bytes go, at the owner's side and at the user's (see verbs.h). A region's key: u8 cause of
 * staging, 0 for none; u8 number of rails; u8 the way of the owner's adapters; u8 1 where what
 * adapters write has to be settled by the owner, else 0; u32 0; then for each rail: u32 1
 * where its device reaches the region, else 0; u32 key; u64 address; then a text on why the way is
 * not a faster one. A region is reached straight by all rails whose device the owner can use, or by none:
 * any of them may have to stand in for the others.
 *
 * The key is made in the loop's thread, where nothing is registered. Of a region that is not registered yet it says so
 * (VERBS_LATER); the peer, whose opening thread may wait, then asks by a note for the rest, and is answered when it is. */
#include "verbs.h"

#include "../../base/stop.h"

#include "notes.h"
#include "pairing.h"
#include "poll.h"
#include "queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KEY_HEAD = 8, KEY_RAIL = 16 };
enum { STOP_LOOK = 100000000 }; /* nanoseconds between looks at whether to give up */

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

typedef struct region_key {
  verbs_cause_t cause;
  uint8_t way;
  bool settles;
  struct {
    bool there;
    uint32_t key;
    uint64_t address;
  } ways[VERBS_RAILS];
  char why[VERBS_WHY];
} region_key_t;

/* What the peer needs; cause VERBS_LATER where that is not known yet. With the lock. */
static void make_key(verbs_connection_t *connection, const hmci_region_view_t *region, region_key_t *key) {
  verbs_cause_t cause = region->leased ? VERBS_LEASED : VERBS_STRAIGHT;
  bool later = false;
  *key = (region_key_t){.cause = cause};
  for (uint32_t i = 0; i < connection->rail_count && (cause == VERBS_STRAIGHT || later); i++) {
    verbs_device_t *device = connection->rails[i].device;
    if (!device) continue;
    const verbs_memory_t *memory = hmci_verbs_memory_export(device, region, &cause);
    later |= cause == VERBS_LATER;
    if (!memory && cause != VERBS_LATER) break;
    if (!memory) continue; /* the other devices may begin meanwhile */
    cause = VERBS_STRAIGHT;
    key->way = (uint8_t)memory->way;
    key->ways[i].there = true;
    key->ways[i].key = memory->handle->rkey;
    key->ways[i].address = memory->address;
  }
  key->cause = later && (cause == VERBS_STRAIGHT || cause == VERBS_LATER) ? VERBS_LATER : cause;
  key->settles = key->cause == VERBS_STRAIGHT && region->ops->settle;
  for (uint32_t i = 0; i < connection->rail_count && key->way != VERBS_BY_DMABUF && !region->leased; i++) {
    if (!connection->rails[i].device) continue;
    hmci_verbs_memory_why(connection->rails[i].device, region->ops, key->why, sizeof key->why);
    if (key->why[0]) break;
  }
}

hmc_status_t hmci_verbs_region_export(void *block, hmci_region_view_t *region, hmci_blob_t *to) {
  verbs_connection_t *connection = block;
  region_key_t key;
  pthread_mutex_lock(&connection->transport->lock);
  make_key(connection, region, &key);
  to->size = (uint16_t)(KEY_HEAD + connection->rail_count * KEY_RAIL);
  memset(to->data, 0, to->size);
  to->data[0] = (uint8_t)key.cause;
  to->data[1] = (uint8_t)connection->rail_count;
  to->data[2] = key.way;
  to->data[3] = key.settles;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    uint8_t *way = to->data + KEY_HEAD + i * KEY_RAIL;
    hmci_store32(way, key.ways[i].there);
    hmci_store32(way + 4, key.ways[i].key);
    hmci_store64(way + 8, key.ways[i].address);
  }
  memcpy(to->data + to->size, key.why, strlen(key.why));
  to->size = (uint16_t)(to->size + strlen(key.why));
  hmci_verbs_settle(connection->transport);
  pthread_mutex_unlock(&connection->transport->lock);
  return HMC_SUCCESS;
}

static void send_key(verbs_connection_t *connection, uint32_t number, hmc_status_t status, const region_key_t *key) {
  verbs_note_t last = {.type = VERBS_KEY,
                       .number = number,
                       .status = status,
                       .rights = key->cause,
                       .from = key->way,
                       .to = key->settles};
  for (uint32_t i = 0; i < connection->rail_count && status == HMC_SUCCESS; i++) {
    verbs_note_t way = {.type = VERBS_WAY,
                        .number = number,
                        .rail = (uint8_t)i,
                        .rights = key->ways[i].there,
                        .flush_key = key->ways[i].key,
                        .flush_address = key->ways[i].address};
    if (key->ways[i].there) hmci_verbs_notes_send(connection, &way);
  }
  memcpy(last.text, key->why, sizeof key->why);
  hmci_verbs_notes_send(connection, &last);
}
_Static_assert((int)VERBS_WHY <= (int)VERBS_NOTE_TEXT, "a reason fits into a note");

/* False: the region is still being registered. */
static bool answer_ask(verbs_connection_t *connection, const verbs_ask_t *ask) {
  const hmci_host_t *host = connection->transport->host;
  hmci_region_view_t *region;
  region_key_t key = {.cause = VERBS_STRAIGHT};
  hmc_status_t status = host->region_acquire(host, ask->region, ask->generation, 0, &region);
  if (status == HMC_SUCCESS) {
    make_key(connection, region, &key);
    host->region_release(host, region);
  }
  if (key.cause == VERBS_LATER) return false;
  send_key(connection, ask->number, status, &key);
  return true;
}

void hmci_verbs_asks_answer(verbs_transport_t *transport) {
  hmci_list_t *link = transport->asks.next;
  while (link != &transport->asks) {
    verbs_ask_t *ask = HMCI_CONTAINER(link, verbs_ask_t, link);
    link = link->next;
    if (!answer_ask(ask->connection, ask)) continue;
    hmci_list_remove(&ask->link);
    free(ask);
  }
}

void hmci_verbs_asks_forget(verbs_connection_t *connection) {
  hmci_list_t *asks = &connection->transport->asks, *link = asks->next;
  while (link != asks) {
    verbs_ask_t *ask = HMCI_CONTAINER(link, verbs_ask_t, link);
    link = link->next;
    if (ask->connection != connection) continue;
    hmci_list_remove(&ask->link);
    free(ask);
  }
}

/* A peer asks for one key at a time and thread; one that asks for very many of them at once is not honest. */
static void take_ask(verbs_connection_t *connection, const verbs_note_t *note) {
  enum { MOST = 4096 };
  uint32_t count = 0;
  hmci_list_t *asks = &connection->transport->asks;
  for (hmci_list_t *link = asks->next; link != asks; link = link->next)
    count += HMCI_CONTAINER(link, verbs_ask_t, link)->connection == connection;
  verbs_ask_t ask = {
      .connection = connection, .number = note->number, .region = note->region, .generation = note->generation};
  if (answer_ask(connection, &ask)) return;
  verbs_ask_t *kept = count < MOST ? malloc(sizeof *kept) : NULL;
  if (!kept) {
    hmci_verbs_lose(connection, "it asks for too many regions at a time");
    return;
  }
  *kept = ask;
  hmci_list_append(asks, &kept->link);
}

/* Every peer is informed before the adapters forget the memory, so that most operations that come too late fail here
 * and not in the hardware, which would cost a queue pair. The first connection that is asked does it for all. */
void hmci_verbs_region_revoke(void *block, hmci_region_view_t *region) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  hmci_list_t dropped;
  hmci_list_init(&dropped);
  pthread_mutex_lock(&transport->lock);
  hmci_verbs_notes_send(connection,
                        &(verbs_note_t){.type = VERBS_REVOKED, .region = region->id, .generation = region->generation});
  for (uint32_t i = 0; i < transport->device_count; i++) {
    if (transport->devices[i].started) hmci_verbs_memory_drop(&transport->devices[i], region, &dropped);
  }
  hmci_verbs_asks_answer(transport);
  pthread_mutex_unlock(&transport->lock);
  hmci_verbs_memory_free(&dropped);
}

/* A message that found the lease is done by the thread that holds the lock. */
void hmci_verbs_lease_revoke(void *block, uint64_t number) {
  verbs_connection_t *connection = block;
  (void)number;
  pthread_mutex_lock(&connection->transport->lock);
  pthread_mutex_unlock(&connection->transport->lock);
}

/* ---- the user's side --------------------------------------------------------------------------------------------- */

static hmc_status_t read_key(verbs_remote_t *remote, const hmci_blob_t *key) {
  uint32_t rails = key->size > 1 ? key->data[1] : 0;
  uint32_t whole = KEY_HEAD + rails * KEY_RAIL;
  bool sound = rails <= VERBS_RAILS && key->size >= whole && key->size - whole < VERBS_WHY;
  if (!sound || key->data[0] > VERBS_CAUSE_LAST || key->data[2] > VERBS_BY_PEER_MEMORY)
    return hmci_fail(HMC_CORRUPT, "malformed key of a region");
  remote->staged = key->data[0] != VERBS_STRAIGHT;
  remote->cause = key->data[0];
  remote->way = key->data[2];
  remote->settles = key->data[3];
  memcpy(remote->why, key->data + whole, key->size - whole);
  hmci_text_clean(remote->why);
  for (uint32_t i = 0; i < rails && remote->cause != VERBS_LATER; i++) {
    const uint8_t *way = key->data + KEY_HEAD + i * KEY_RAIL;
    remote->ways[i].there = hmci_load32(way);
    remote->ways[i].key = hmci_load32(way + 4);
    remote->ways[i].address = hmci_load64(way + 8);
  }
  return HMC_SUCCESS;
}

static verbs_remote_t *find_asked(verbs_connection_t *connection, uint32_t number) {
  for (hmci_list_t *link = connection->remotes.next; link != &connection->remotes; link = link->next) {
    verbs_remote_t *remote = HMCI_CONTAINER(link, verbs_remote_t, link);
    if (number && remote->question == number) return remote;
  }
  return NULL;
}

static void take_way(verbs_connection_t *connection, const verbs_note_t *note) {
  verbs_remote_t *remote = find_asked(connection, note->number);
  if (!remote || note->rail >= VERBS_RAILS) return;
  remote->ways[note->rail].there = note->rights;
  remote->ways[note->rail].key = note->flush_key;
  remote->ways[note->rail].address = note->flush_address;
}

static void take_key(verbs_connection_t *connection, const verbs_note_t *note) {
  verbs_remote_t *remote = find_asked(connection, note->number);
  if (!remote) return; /* its opening was given up */
  bool sound = note->rights < VERBS_LATER && note->from <= VERBS_BY_PEER_MEMORY;
  remote->answer = sound ? hmci_status_known(note->status) : HMC_CORRUPT;
  if (remote->answer == HMC_SUCCESS) {
    remote->cause = (uint8_t)note->rights;
    remote->staged = note->rights != VERBS_STRAIGHT;
    remote->way = note->from;
    remote->settles = note->to;
    snprintf(remote->why, sizeof remote->why, "%.159s", note->text);
  }
  remote->question = 0;
  pthread_cond_broadcast(&connection->changed);
}

/* With the lock. */
static hmc_status_t ask_for_key(verbs_connection_t *connection, verbs_remote_t *remote, const hmci_remote_view_t *view,
                                uint64_t deadline) {
  if (++connection->question == 0) connection->question = 1;
  remote->question = connection->question;
  hmci_verbs_notes_send(connection, &(verbs_note_t){.type = VERBS_ASK,
                                                    .number = remote->question,
                                                    .region = view->id,
                                                    .generation = view->generation});
  while (remote->question && !connection->failed && !connection->cut && hmci_now() < deadline) {
    if (hmci_stop_is_asked()) return hmci_fail(HMC_CANCELLED, "cancelled");
    uint64_t look = hmci_now() + STOP_LOOK, next = look < deadline ? look : deadline;
    struct timespec until = {.tv_sec = (time_t)(next / 1000000000u), .tv_nsec = (long)(next % 1000000000u)};
    pthread_cond_timedwait(&connection->changed, &connection->transport->lock, &until);
  }
  if (!remote->question && remote->answer == HMC_SUCCESS) return HMC_SUCCESS;
  if (!remote->question) return hmci_fail(remote->answer, "the peer has no key for that region");
  if (connection->failed || connection->cut) return hmci_fail(HMC_PEER_LOST, "the peer hung up");
  return hmci_fail(HMC_TIMEOUT, "the peer did not register that region within the deadline");
}

hmc_status_t hmci_verbs_remote_open(void *block, void *state, const hmci_remote_view_t *view, const hmci_blob_t *key,
                                    uint64_t deadline, void **mapped, const _Atomic uint32_t **generation) {
  (void)mapped;
  verbs_connection_t *connection = block;
  verbs_remote_t *remote = state;
  hmc_status_t status = read_key(remote, key);
  if (status != HMC_SUCCESS) return status;
  remote->id = view->id;
  atomic_store(&remote->generation, view->generation);
  *generation = &remote->generation;
  pthread_mutex_lock(&connection->transport->lock);
  hmci_list_append(&connection->remotes, &remote->link);
  if (remote->cause == VERBS_LATER) status = ask_for_key(connection, remote, view, deadline);
  if (status != HMC_SUCCESS) hmci_list_remove(&remote->link);
  pthread_mutex_unlock(&connection->transport->lock);
  return status;
}

void hmci_verbs_remote_close(void *block, void *state) {
  verbs_connection_t *connection = block;
  verbs_remote_t *remote = state;
  pthread_mutex_lock(&connection->transport->lock);
  hmci_list_remove(&remote->link);
  pthread_mutex_unlock(&connection->transport->lock);
}

void hmci_verbs_remote_explain(void *block, void *state, char *text, size_t size) {
  (void)block;
  static const char *const causes[] = {
      [VERBS_STRAIGHT] = "straight, by RDMA write and read",
      [VERBS_DEVICE_MEMORY] = "staged by the owner's service thread: the RDMA device cannot reach that memory",
      [VERBS_PIN_LIMIT] =
          "staged by the owner's service thread: HMC_RDMA_PINNED_MAX there leaves no room to register it",
      [VERBS_REFUSED_BY_DEVICE] =
          "staged by the owner's service thread: the RDMA device there refused to register it (ulimit -l?)",
      [VERBS_LEASED] = "placed by the owner's service thread, which looks at the lease",
  };
  static const char *const ways[] = {"", " (by dma-buf)", " (as peer memory)"};
  const verbs_remote_t *remote = state;
  snprintf(text, size, "%s%s%s%s%s", causes[remote->cause], remote->staged ? "" : ways[remote->way],
           remote->why[0] ? " (" : "", remote->why, remote->why[0] ? ")" : "");
}

/* Whether an adapter reaches device memory here is known once some was used. What goes by messages passes through slots
 * in any case. */
unsigned hmci_verbs_remote_is_staged(void *block, void *state, const hmci_memory_ops_t *local) {
  verbs_connection_t *connection = block;
  const verbs_remote_t *remote = state;
  pthread_mutex_lock(&connection->transport->lock);
  const verbs_device_t *device = connection->rails[connection->main_before].device;
  bool reached = device && (int)local->kind < VERBS_KINDS && device->reached[local->kind];
  bool here = !local->host_accessible && (remote->staged || !reached);
  pthread_mutex_unlock(&connection->transport->lock);
  return (here ? HMCI_STAGED_HERE : 0) | (remote->staged ? HMCI_STAGED_THERE : 0);
}

/* ---- notes about regions, and others --------------------------------------------------------------------------------- */

/* The owner says that a region is closed. */
static void remote_revoked(verbs_connection_t *connection, uint32_t id, uint32_t generation) {
  for (hmci_list_t *link = connection->remotes.next; link != &connection->remotes; link = link->next) {
    verbs_remote_t *remote = HMCI_CONTAINER(link, verbs_remote_t, link);
    /* Partner: the core's look before an operation starts. */
    if (remote->id == id && atomic_load(&remote->generation) == generation) atomic_store(&remote->generation, 0);
  }
}

static void answer_query(verbs_connection_t *connection, const verbs_note_t *query) {
  const hmci_host_t *host = connection->transport->host;
  hmci_region_view_t *region;
  hmc_status_t status =
      host->region_acquire(host, query->region, query->generation, query->rights & HMC_REMOTE_ALL, &region);
  if (status == HMC_SUCCESS) host->region_release(host, region);
  hmci_verbs_notes_send(connection, &(verbs_note_t){.type = VERBS_VERDICT, .number = query->number, .status = status});
}

/* What the peer's adapter wrote is in place: it has seen that before it asked. */
static void answer_settle(verbs_connection_t *connection, const verbs_note_t *note) {
  const hmci_host_t *host = connection->transport->host;
  hmci_region_view_t *region;
  hmc_status_t status = host->region_acquire(host, note->region, note->generation, HMC_REMOTE_WRITE, &region);
  if (status == HMC_SUCCESS) {
    if (region->ops->settle) status = region->ops->settle(region->memory.device);
    host->region_release(host, region);
  }
  hmci_verbs_notes_send(connection, &(verbs_note_t){.type = VERBS_VERDICT, .number = note->number, .status = status});
}

void hmci_verbs_take_note(verbs_connection_t *connection, const verbs_note_t *note) {
  switch (note->type) {
  case VERBS_REVOKED: remote_revoked(connection, note->region, note->generation); break;
  case VERBS_QUERY: answer_query(connection, note); break;
  case VERBS_SETTLE: answer_settle(connection, note); break;
  case VERBS_ASK: take_ask(connection, note); break;
  case VERBS_WAY: take_way(connection, note); break;
  case VERBS_KEY: take_key(connection, note); break;
  case VERBS_VERDICT: hmci_verbs_queue_answered(connection, note->number, hmci_status_known(note->status)); break;
  default: hmci_verbs_pairing_take(connection, note);
  }
}
