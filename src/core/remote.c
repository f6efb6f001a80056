/* Remote regions: the peers' regions as seen from here. */
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

hmc_status_t hmci_remote_open(hmc_peer_t *peer, const char *name, uint64_t deadline, hmc_remote_t **out) {
  hmci_found_t found;
  hmc_status_t status = hmci_session_lookup(peer, name, deadline, &found);
  if (status == HMC_SUCCESS) status = hmci_remote_create(peer, name, &found, deadline, out);
  if (status == HMC_SUCCESS) hmci_remote_choose(*out, deadline);
  return status;
}

hmc_status_t hmc_remote_open(hmc_peer_t *peer, const char *name, uint64_t timeout_ms, hmc_remote_t **out) {
  if (!peer || !name || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_open: peer, name or remote is NULL");
  hmc_context_t *context = peer->context;
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_remote_check_name(name);
  if (status == HMC_SUCCESS) status = hmci_context_check_waiting(context, "hmc_remote_open");
  return status == HMC_SUCCESS ? hmci_remote_open(peer, name, hmci_context_deadline(context, timeout_ms), out) : status;
}

/* ---- by address -------------------------------------------------------------------------------------------------- */

enum { DIRECTORY_MOST = 4096 }; /* entries of a peer's directory; at that it begins again */

static void release(hmc_remote_t *remote) {
  if (atomic_fetch_sub(&remote->references, 1) > 1) return;
  pthread_mutex_lock(&remote->peer->lock);
  hmci_list_remove(&remote->link);
  pthread_mutex_unlock(&remote->peer->lock);
  hmci_remote_destroy(remote);
}

/* Takes an entry out of the directory, whose reference is the caller's then. With the peer's lock held. */
static void forget(hmc_peer_t *peer, hmc_remote_t *remote) {
  hmci_intervals_remove(&peer->directory, &remote->place);
  peer->directory_count--;
}

static bool is_stale(const hmc_remote_t *remote) {
  if (atomic_load(&remote->view.stale)) return true;
  if (remote->second && atomic_load(&remote->second->view.stale)) return true;
  return remote->generation && atomic_load(remote->generation) != remote->view.generation;
}

/* An entry that holds these bytes, with a reference; one whose region has ended goes. */
static hmc_remote_t *find_known(hmc_peer_t *peer, uint64_t address, uint64_t bytes) {
  hmc_remote_t *found = NULL;
  for (bool looking = true; looking;) {
    hmc_remote_t *ended = NULL;
    pthread_mutex_lock(&peer->lock);
    hmci_interval_t *place = hmci_intervals_find(peer->directory, address, address + bytes);
    found = place ? HMCI_CONTAINER(place, hmc_remote_t, place) : NULL;
    if (found && is_stale(found)) ended = found;
    if (ended) {
      forget(peer, ended);
    } else if (found) {
      atomic_fetch_add(&found->references, 1);
    }
    pthread_mutex_unlock(&peer->lock);
    if (ended) release(ended);
    looking = ended;
  }
  return found;
}

/* Makes room in a full directory: its entries stay with those who use them. */
static void empty_directory(hmc_peer_t *peer) {
  hmc_remote_t *remote = NULL;
  do {
    pthread_mutex_lock(&peer->lock);
    bool full = peer->directory && (remote || peer->directory_count >= DIRECTORY_MOST);
    remote = full ? HMCI_CONTAINER(peer->directory, hmc_remote_t, place) : NULL;
    if (remote) forget(peer, remote);
    pthread_mutex_unlock(&peer->lock);
    if (remote) release(remote);
  } while (remote);
}

hmc_status_t hmci_remote_find(hmc_peer_t *peer, uint64_t address, uint64_t bytes, uint64_t deadline, hmc_remote_t **out,
                              uint64_t *offset) {
  hmci_found_t found;
  char name[HMC_REGION_NAME_SIZE];
  if (!bytes || bytes > UINT64_MAX - address)
    return hmci_fail(HMC_INVALID_CONFIG, "no region holds %llu B at 0x%llx", (unsigned long long)bytes,
                     (unsigned long long)address);
  hmc_remote_t *remote = find_known(peer, address, bytes);
  if (remote) {
    *offset = address - remote->place.start;
    *out = remote;
    return HMC_SUCCESS;
  }
  hmc_status_t status = hmci_session_locate(peer, address, bytes, deadline, &found);
  if (status != HMC_SUCCESS) return status;
  if (found.offset > address || !hmci_range_fits(found.offset, bytes, found.view.size))
    return hmci_fail(HMC_CORRUPT, "%s describes a region that does not hold 0x%llx", peer->where,
                     (unsigned long long)address);
  snprintf(name, sizeof name, found.name[0] ? "%s" : "%s#%u", found.name, found.view.id);
  status = hmci_remote_create(peer, name, &found, deadline, &remote);
  if (status != HMC_SUCCESS) return status;
  hmci_remote_choose(remote, deadline);
  empty_directory(peer);
  uint64_t start = address - found.offset;
  atomic_fetch_add(&remote->references, 1); /* the directory's */
  pthread_mutex_lock(&peer->lock);
  hmci_intervals_add(&peer->directory, &remote->place, start, start + found.view.size);
  peer->directory_count++;
  pthread_mutex_unlock(&peer->lock);
  *offset = found.offset;
  *out = remote;
  return HMC_SUCCESS;
}

hmc_status_t hmc_remote_find(hmc_peer_t *peer, uint64_t address, uint64_t bytes, uint64_t timeout_ms,
                             hmc_remote_t **out, uint64_t *offset) {
  if (!peer || !out || !offset) return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_find: peer, remote or offset is NULL");
  hmc_context_t *context = peer->context;
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_context_check_waiting(context, "hmc_remote_find");
  if (status != HMC_SUCCESS) return status;
  return hmci_remote_find(peer, address, bytes, hmci_context_deadline(context, timeout_ms), out, offset);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

void hmci_remote_destroy(hmc_remote_t *remote) {
  hmc_peer_t *peer = remote->peer;
  hmci_remote_unchoose(remote);
  hmci_mappings_close(remote);
  if (peer->transport->ops->remote_close) peer->transport->ops->remote_close(peer->connection->state, remote->state);
  free(remote);
}

void hmc_remote_close(hmc_remote_t *remote) {
  if (remote && !hmci_context_is_foreign(remote->peer->context)) release(remote);
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
