/* Regions: how their bytes go, at the owner's side and at the user's (see verbs.h). A region's key: u8 cause of
 * staging, 0 for none; u8 0; u16 0; u32 key; u64 address. */
#include "verbs.h"

#include <stdio.h>
#include <string.h>

enum { KEY = 16 };

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

hmc_status_t hmci_verbs_region_export(void *block, hmci_region_view_t *region, hmci_blob_t *key) {
  verbs_connection_t *connection = block;
  verbs_cause_t cause;
  pthread_mutex_lock(&connection->transport->lock);
  verbs_memory_t *memory = hmci_verbs_memory_export(connection->device, region, &cause);
  memset(key->data, 0, KEY);
  key->size = KEY;
  key->data[0] = memory ? VERBS_STRAIGHT : (uint8_t)cause;
  hmci_store32(key->data + 4, memory ? memory->handle->rkey : 0);
  hmci_store64(key->data + 8, memory ? memory->address : 0);
  hmci_verbs_settle(connection->device);
  pthread_mutex_unlock(&connection->transport->lock);
  return HMC_SUCCESS;
}

/* Every peer is told before the adapters forget the memory, so that most operations that come too late fail here and
 * not in the hardware, which would cost a queue pair. The first connection that is asked does it for all. */
void hmci_verbs_region_revoke(void *block, hmci_region_view_t *region) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  pthread_mutex_lock(&transport->lock);
  hmci_verbs_link_send(connection,
                       &(verbs_note_t){.type = VERBS_REVOKED, .region = region->id, .generation = region->generation});
  for (uint32_t i = 0; i < transport->device_count; i++) {
    if (transport->devices[i].started)
      hmci_verbs_memory_drop(&transport->devices[i], region);
  }
  pthread_mutex_unlock(&transport->lock);
}

/* ---- the user's side --------------------------------------------------------------------------------------------- */

hmc_status_t hmci_verbs_remote_open(void *block, void *state, const hmci_remote_view_t *view, const hmci_blob_t *key,
                                    uint64_t deadline, void **mapped, const _Atomic uint32_t **generation) {
  (void)deadline, (void)mapped;
  verbs_connection_t *connection = block;
  verbs_remote_t *remote = state;
  if (key->size != KEY || key->data[0] > VERBS_REFUSED_BY_DEVICE)
    return hmci_fail(HMC_CORRUPT, "malformed key of a region");
  remote->id = view->id;
  remote->staged = key->data[0] != VERBS_STRAIGHT;
  remote->cause = key->data[0];
  remote->key = hmci_load32(key->data + 4);
  remote->address = hmci_load64(key->data + 8);
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

void hmci_verbs_remote_revoked(verbs_connection_t *connection, uint32_t id, uint32_t generation) {
  for (hmci_list_t *link = connection->remotes.next; link != &connection->remotes; link = link->next) {
    verbs_remote_t *remote = HMCI_CONTAINER(link, verbs_remote_t, link);
    /* Partner: the core's look before an operation starts. */
    if (remote->id == id && atomic_load(&remote->generation) == generation)
      atomic_store(&remote->generation, 0);
  }
}

void hmci_verbs_remote_explain(void *block, void *state, char *text, size_t size) {
  (void)block;
  static const char *const ways[] = {
      [VERBS_STRAIGHT] = "straight, by RDMA write and read",
      [VERBS_DEVICE_MEMORY] = "staged by the owner's service thread: the RDMA device cannot reach that memory",
      [VERBS_PIN_LIMIT] =
          "staged by the owner's service thread: HMC_VERBS_PINNED_MAX there leaves no room to register it",
      [VERBS_REFUSED_BY_DEVICE] =
          "staged by the owner's service thread: the RDMA device there refused to register it (ulimit -l?)",
  };
  const verbs_remote_t *remote = state;
  snprintf(text, size, "%s", ways[remote->cause]);
}
