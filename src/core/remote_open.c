/* Opening remote regions: by name, and by an address of their owner's.
 *
 * The directory of a peer keeps what was found by an address, in a tree by the owner's addresses; each entry has a
 * reference. Locking: the peer's lock. */
#include "core.h"

#include <stdio.h>
#include <string.h>

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
    if (ended) hmci_remote_release(ended);
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
    if (remote) hmci_remote_release(remote);
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
