/* Routes: how the bytes of a region go, where a peer has more than one transport for them.
 *
 * A peer has one transport. Where that is shm, or tcp, it may stage the memory of a device that another transport of
 * the two, RDMA, reaches as it lies. The first handle to such a region that is opened makes a second peer: a connection
 * of its own to the same context, by that transport, which no program sees. The handle then has a second handle by that
 * peer, and the data of puts and gets go by it. All else, which is atomics, signals and notifications, goes by the
 * first peer: it follows the data once they are in place. So a route is chosen once, when a handle is made; operations
 * on mapped memory, which have no second handle, do not look for one.
 *
 * Only the side that dialled can make the second peer, for the other one may have no address to dial; both use it. The
 * end of one of the two connections ends the peer. */
#include "core.h"

unsigned hmci_remote_staging(const hmc_remote_t *remote, hmc_memory_kind_t kind) {
  const hmci_transport_ops_t *ops = remote->peer->transport->ops;
  void *connection = remote->peer->connection->state, *state = (void *)(uintptr_t)remote->state;
  const hmci_memory_ops_t *local;
  if (ops->remote_is_staged && hmci_memory_find((hmc_memory_t){kind, 0}, &local) == HMC_SUCCESS)
    return ops->remote_is_staged(connection, state, local);
  return (kind != HMC_MEMORY_CPU ? HMCI_STAGED_HERE : 0) |
         (remote->view.memory.kind != HMC_MEMORY_CPU ? HMCI_STAGED_THERE : 0);
}

bool hmci_remote_is_direct(const hmc_remote_t *remote, hmc_memory_kind_t kind, hmci_operation_kind_t operation) {
  const hmci_transport_ops_t *ops = remote->peer->transport->ops;
  void *connection = remote->peer->connection->state, *state = (void *)(uintptr_t)remote->state;
  const hmci_memory_ops_t *local;
  return ops->remote_is_direct && hmci_memory_find((hmc_memory_t){kind, 0}, &local) == HMC_SUCCESS &&
         ops->remote_is_direct(connection, state, local, operation);
}

/* Do bytes pass through staging memory of the peer, to and from host memory here? */
static bool is_staged_there(const hmc_remote_t *remote) {
  bool direct = hmci_remote_is_direct(remote, HMC_MEMORY_CPU, HMCI_PUT) &&
                hmci_remote_is_direct(remote, HMC_MEMORY_CPU, HMCI_GET);
  return !direct && hmci_remote_staging(remote, HMC_MEMORY_CPU) & HMCI_STAGED_THERE;
}

/* Could another transport be better? Where the program, a lease or an old peer leaves no choice there is none. */
static bool may_choose(const hmc_remote_t *remote) {
  const hmc_peer_t *peer = remote->peer;
  bool device = remote->view.memory.kind != HMC_MEMORY_CPU;
  return device && !(remote->view.rights & HMCI_REMOTE_LEASED) && !peer->first &&
         (peer->features & HMCI_FEATURE_SECOND) && is_staged_there(remote);
}

/* Tries the transports that may reach devices, the best first; half of the time is for what follows. */
static hmc_status_t connect_second(hmc_peer_t *peer, uint64_t deadline, hmc_peer_t **second) {
  uint64_t now = hmci_now(), limit = deadline > now ? now + (deadline - now) / 2 : deadline;
  hmc_status_t status = hmci_fail(HMC_UNSUPPORT, "no transport of this context reaches the memory of devices");
  for (size_t i = 0; i < hmci_transport_count && status != HMC_SUCCESS; i++) {
    const hmci_transport_slot_t *slot = &peer->context->transports[i];
    if (!slot->ops->reaches_devices || !slot->state || slot == peer->transport) continue;
    status = hmci_handshake_connect_second(peer, slot->ops->type, limit, second);
  }
  return status;
}

/* The second peer, made where there is none; NULL: none works. */
static hmc_peer_t *find_second(hmc_peer_t *peer, uint64_t deadline) {
  hmc_peer_t *second = hmci_peer_second(peer), *made = NULL;
  bool dials = peer->role == HMCI_DIALLED && peer->asked == HMC_CONNECTION_AUTO;
  if (second || !dials || atomic_load(&peer->second_refused)) return second;
  hmc_status_t status = connect_second(peer, deadline, &made);
  if (status == HMC_SUCCESS) {
    status = hmci_peer_join(peer, made);
    if (status == HMC_SUCCESS) return made;
    hmci_peer_close_one(made);
  }
  second = hmci_peer_second(peer); /* another thread may have made it meanwhile */
  if (second || status == HMC_CANCELLED) return second;
  atomic_store(&peer->second_refused, true);
  hmci_log(HMC_LOG_DEBUG, "%s gets no second connection: %s", peer->where, hmc_last_error());
  return NULL;
}

void hmci_remote_choose(hmc_remote_t *remote, uint64_t deadline) {
  if (!may_choose(remote)) return;
  hmc_peer_t *peer = find_second(remote->peer, deadline);
  if (!peer) return;
  hmci_found_t found = {.view = {.id = remote->view.id, .generation = remote->view.generation}};
  hmc_remote_t *second = NULL;
  hmc_status_t status = hmci_session_lookup_key(peer, remote->name, deadline, &found);
  if (status == HMC_SUCCESS) status = hmci_remote_create(peer, remote->name, &found, deadline, &second);
  if (status == HMC_SUCCESS && is_staged_there(second)) {
    hmci_remote_drop(second);
  } else if (status == HMC_SUCCESS) {
    pthread_mutex_lock(&remote->peer->lock); /* who explains the peer may look */
    second->first = remote;
    remote->second = second;
    pthread_mutex_unlock(&remote->peer->lock);
  }
}
