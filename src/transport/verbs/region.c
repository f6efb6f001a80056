/* Regions: how their bytes go, at the owner's side and at the user's (see verbs.h). A region's key: u8 cause of
 * staging, 0 for none; u8 number of rails; u8 the way of the owner's adapters; u8 1 where what
 * adapters write has to be settled by the owner, else 0; u32 0; then for each rail: u32 1
 * where its device reaches the region, else 0; u32 key; u64 address; then a text on why the way is
 * not a faster one. A region is reached straight by all rails whose device the owner can use, or by none:
 * any of them may have to stand in for the others. */
#include "verbs.h"

#include "notes.h"
#include "pairing.h"
#include "poll.h"
#include "queue.h"

#include <stdio.h>
#include <string.h>

enum { KEY_HEAD = 8, KEY_RAIL = 16 };

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

hmc_status_t hmci_verbs_region_export(void *block, hmci_region_view_t *region, hmci_blob_t *key) {
  verbs_connection_t *connection = block;
  verbs_cause_t cause = region->leased ? VERBS_LEASED : VERBS_STRAIGHT;
  pthread_mutex_lock(&connection->transport->lock);
  key->size = (uint16_t)(KEY_HEAD + connection->rail_count * KEY_RAIL);
  memset(key->data, 0, key->size);
  for (uint32_t i = 0; i < connection->rail_count && cause == VERBS_STRAIGHT; i++) {
    verbs_device_t *device = connection->rails[i].device;
    uint8_t *way = key->data + KEY_HEAD + i * KEY_RAIL;
    if (!device) continue;
    verbs_memory_t *memory = hmci_verbs_memory_export(device, region, &cause);
    if (!memory) break;
    cause = VERBS_STRAIGHT;
    key->data[2] = (uint8_t)memory->way;
    hmci_store32(way, 1);
    hmci_store32(way + 4, memory->handle->rkey);
    hmci_store64(way + 8, memory->address);
  }
  key->data[0] = (uint8_t)cause;
  key->data[1] = (uint8_t)connection->rail_count;
  key->data[3] = cause == VERBS_STRAIGHT && region->ops->settle;
  for (uint32_t i = 0; i < connection->rail_count && key->data[2] != VERBS_BY_DMABUF && !region->leased; i++) {
    char why[VERBS_WHY];
    if (!connection->rails[i].device) continue;
    hmci_verbs_memory_why(connection->rails[i].device, region->ops, why, sizeof why);
    if (!why[0]) continue;
    memcpy(key->data + key->size, why, strlen(why));
    key->size = (uint16_t)(key->size + strlen(why));
    break;
  }
  hmci_verbs_settle(connection->transport);
  pthread_mutex_unlock(&connection->transport->lock);
  return HMC_SUCCESS;
}

/* Every peer is informed before the adapters forget the memory, so that most operations that come too late fail here
 * and not in the hardware, which would cost a queue pair. The first connection that is asked does it for all. */
void hmci_verbs_region_revoke(void *block, hmci_region_view_t *region) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  pthread_mutex_lock(&transport->lock);
  hmci_verbs_notes_send(connection,
                        &(verbs_note_t){.type = VERBS_REVOKED, .region = region->id, .generation = region->generation});
  for (uint32_t i = 0; i < transport->device_count; i++) {
    if (transport->devices[i].started) hmci_verbs_memory_drop(&transport->devices[i], region);
  }
  pthread_mutex_unlock(&transport->lock);
}

/* A message that found the lease is done by the thread that holds the lock. */
void hmci_verbs_lease_revoke(void *block, uint64_t number) {
  verbs_connection_t *connection = block;
  (void)number;
  pthread_mutex_lock(&connection->transport->lock);
  pthread_mutex_unlock(&connection->transport->lock);
}

/* ---- the user's side --------------------------------------------------------------------------------------------- */

hmc_status_t hmci_verbs_remote_open(void *block, void *state, const hmci_remote_view_t *view, const hmci_blob_t *key,
                                    uint64_t deadline, void **mapped, const _Atomic uint32_t **generation) {
  (void)deadline, (void)mapped;
  verbs_connection_t *connection = block;
  verbs_remote_t *remote = state;
  uint32_t rails = key->size > 1 ? key->data[1] : 0;
  uint32_t whole = KEY_HEAD + rails * KEY_RAIL;
  bool sound = rails <= VERBS_RAILS && key->size >= whole && key->size - whole < VERBS_WHY;
  if (!sound || key->data[0] > VERBS_CAUSE_LAST || key->data[2] > VERBS_BY_PEER_MEMORY)
    return hmci_fail(HMC_CORRUPT, "malformed key of a region");
  remote->id = view->id;
  remote->staged = key->data[0] != VERBS_STRAIGHT;
  remote->cause = key->data[0];
  remote->way = key->data[2];
  remote->settles = key->data[3];
  memcpy(remote->why, key->data + whole, key->size - whole);
  hmci_text_clean(remote->why);
  for (uint32_t i = 0; i < rails; i++) {
    const uint8_t *way = key->data + KEY_HEAD + i * KEY_RAIL;
    remote->ways[i].there = hmci_load32(way);
    remote->ways[i].key = hmci_load32(way + 4);
    remote->ways[i].address = hmci_load64(way + 8);
  }
  atomic_store(&remote->generation, view->generation);
  *generation = &remote->generation;
  pthread_mutex_lock(&connection->transport->lock);
  hmci_list_append(&connection->remotes, &remote->link);
  pthread_mutex_unlock(&connection->transport->lock);
  return HMC_SUCCESS;
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
  case VERBS_VERDICT: hmci_verbs_queue_answered(connection, note->number, hmci_status_known(note->status)); break;
  default: hmci_verbs_pairing_take(connection, note);
  }
}
