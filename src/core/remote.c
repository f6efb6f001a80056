/* Remote regions: the peers' regions as seen from here. They are opened in remote_open.c. */
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hmc_status_t hmci_remote_create(hmc_peer_t *peer, const char *name, const hmci_found_t *found, uint64_t deadline,
                                hmc_remote_t **out) {
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmc_remote_t *remote = hmci_allocate_aligned(sizeof *remote + ops->remote_size);
  if (!remote) return hmci_fail(HMC_NO_MEMORY, "no memory for a remote region");
  remote->peer = peer;
  remote->view = found->view;
  atomic_init(&remote->view.stale, false);
  remote->connected = ops->connected_word ? ops->connected_word(peer->connection->state) : &peer->connected;
  remote->here = peer->context->here;
  remote->context = peer->context;
  remote->stats = hmci_peer_known(peer)->stats;
  hmci_list_init(&remote->mappings);
  atomic_init(&remote->references, 1);
  snprintf(remote->name, sizeof remote->name, "%s", name);
  if (ops->remote_open) {
    void *mapped = NULL;
    hmc_status_t status = ops->remote_open(peer->connection->state, remote->state, &remote->view, &found->key, deadline,
                                           &mapped, &remote->generation);
    if (status != HMC_SUCCESS) {
      free(remote);
      return hmci_fail_prefix(status, "region '%s' of %s: ", name, peer->where);
    }
    remote->mapped = mapped;
    if (mapped && remote->view.rights & HMC_REMOTE_WRITE && remote->view.size >= 8)
      remote->words_end = remote->view.size - 7;
  }
  pthread_mutex_lock(&peer->lock);
  hmci_list_append(&peer->remotes, &remote->link);
  pthread_mutex_unlock(&peer->lock);
  *out = remote;
  return HMC_SUCCESS;
}

hmc_status_t hmci_remote_check_name(const char *name) {
  if (*name && strlen(name) < HMC_REGION_NAME_SIZE) return HMC_SUCCESS;
  return hmci_fail(HMC_NOT_FOUND, "no peer has a region named '%s': names have 1 to %d B", name,
                   HMC_REGION_NAME_SIZE - 1);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

void hmci_remote_drop(hmc_remote_t *remote) {
  pthread_mutex_lock(&remote->peer->lock);
  hmci_list_remove(&remote->link);
  pthread_mutex_unlock(&remote->peer->lock);
  hmci_remote_destroy(remote);
}

void hmci_remote_unchoose(hmc_remote_t *remote) {
  hmc_remote_t *second = remote->second;
  if (remote->first) remote->first->second = NULL; /* its peer is being closed */
  if (!second) return;
  remote->second = NULL;
  second->first = NULL;
  hmci_remote_drop(second);
}

void hmci_remote_release(hmc_remote_t *remote) {
  if (atomic_fetch_sub(&remote->references, 1) > 1) return;
  hmci_remote_drop(remote);
}

void hmci_remote_destroy(hmc_remote_t *remote) {
  hmc_peer_t *peer = remote->peer;
  hmci_remote_unchoose(remote);
  hmci_mappings_close(remote);
  if (peer->transport->ops->remote_close) peer->transport->ops->remote_close(peer->connection->state, remote->state);
  free(remote);
}

void hmc_remote_close(hmc_remote_t *remote) {
  if (remote && !hmci_context_is_foreign(remote->peer->context)) hmci_remote_release(remote);
}

size_t hmc_remote_size(const hmc_remote_t *remote) { return remote ? remote->view.size : 0; }
hmc_memory_t hmc_remote_memory(const hmc_remote_t *remote) {
  return remote ? remote->view.memory : (hmc_memory_t){HMC_MEMORY_DEFAULT, 0};
}

hmc_status_t hmc_remote_map(hmc_remote_t *remote, void **pointer) {
  if (!remote || !pointer) return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_map: remote or pointer is NULL");
  if (hmci_context_is_foreign(remote->peer->context)) return HMC_UNSUPPORT;
  if (!remote->mapped) {
    return hmci_fail(HMC_UNSUPPORT,
                     "region '%s' of %s is not mapped here: that takes host memory allocated by HMC, and shm",
                     remote->name, remote->peer->where);
  }
  *pointer = remote->mapped;
  return HMC_SUCCESS;
}
