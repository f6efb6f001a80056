/* What all of core asks of a peer, and what needs nothing of core in turn: its address as text, its end, its second peer.
 *
 * Losing a peer may happen in any thread and under any lock: it takes notes, and leaves the rest to a timer. */
#include "core.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

void hmci_where(char where[HMCI_WHERE_SIZE], const char *ip, uint16_t port) {
  snprintf(where, HMCI_WHERE_SIZE, strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
}

void hmci_connection_lose(hmci_connection_t *connection, const char *reason) {
  uint32_t no = 0;
  if (!atomic_compare_exchange_strong(&connection->lost, &no, 1)) return;
  snprintf(connection->reason, sizeof connection->reason, "%s", reason);
  atomic_store(&connection->lost, 2);
  /* Sequentially consistent, as the stores of `lost` here and of `published` in hmci_peer_publish: one of the two sees
   * the other. */
  if (atomic_load(&connection->peer->published)) hmci_peer_lose(connection->peer, reason);
}

hmc_status_t hmci_connection_check(hmci_connection_t *connection) {
  uint32_t lost = atomic_load(&connection->lost);
  const hmci_transport_ops_t *ops = connection->peer->transport->ops;
  if (!lost) return ops->connection_check ? ops->connection_check(connection->state) : HMC_SUCCESS;
  return hmci_fail(HMC_PEER_LOST, "%s", lost == 2 ? connection->reason : "the connection ended");
}

void hmci_peer_lose(hmc_peer_t *peer, const char *reason) {
  uint32_t no = 0;
  if (!atomic_compare_exchange_strong(&peer->losing, &no, 1)) return;
  snprintf(peer->lost_reason, sizeof peer->lost_reason, "%s", reason);
  atomic_store_explicit(&peer->losing, 2, memory_order_release); /* partner: hmci_peer_lost_reason */
  atomic_store(&peer->connected, 0);
  hmci_loop_silence(peer->context->loop, &peer->watch);
  hmci_loop_set_timer(peer->context->loop, &peer->loss, 0);
}

const char *hmci_peer_lost_reason(const hmc_peer_t *peer) {
  return atomic_load_explicit(&peer->losing, memory_order_acquire) == 2 ? peer->lost_reason : "the connection ended";
}

/* ---- the second peer (route.c) ----------------------------------------------------------------------------------- */

/* `context->lock` guards `second` and `parted`. Who parts a peer also keeps the loop from its callbacks, so that a second
 * peer that these have found stays until they are through. */

hmc_peer_t *hmci_peer_second(const hmc_peer_t *peer) {
  pthread_mutex_lock(&peer->context->lock);
  hmc_peer_t *second = peer->second;
  pthread_mutex_unlock(&peer->context->lock);
  return second;
}

hmc_peer_t *hmci_peer_other(const hmc_peer_t *peer) { return peer->first ? peer->first : hmci_peer_second(peer); }

hmc_status_t hmci_peer_join(hmc_peer_t *first, hmc_peer_t *second) {
  pthread_mutex_lock(&first->context->lock);
  bool free_place = !first->second && !first->parted;
  if (free_place) first->second = second;
  pthread_mutex_unlock(&first->context->lock);
  return free_place ? HMC_SUCCESS : hmci_fail(HMC_STALE, "the peer has a second connection, or is being closed");
}

static hmc_peer_t *part(hmc_peer_t *peer, bool for_good) {
  hmci_loop_t *loop = peer->context->loop;
  bool locks = !hmci_loop_is_own(loop);
  if (locks) hmci_loop_lock(loop);
  pthread_mutex_lock(&peer->context->lock);
  hmc_peer_t *second = peer->second;
  peer->second = NULL;
  peer->parted = for_good;
  pthread_mutex_unlock(&peer->context->lock);
  if (locks) hmci_loop_unlock(loop);
  return second;
}

hmc_peer_t *hmci_peer_part(hmc_peer_t *peer) { return part(peer, true); }
void hmci_peer_unjoin(hmc_peer_t *first) { part(first, false); }

/* ---- the session, as others need it ------------------------------------------------------------------------------ */

void hmci_peer_watch_for_room(hmc_peer_t *peer) {
  bool blocked = hmci_channel_is_blocked(&peer->channel);
  if (blocked == peer->watched_out) return;
  peer->watched_out = blocked;
  hmci_loop_modify(peer->context->loop, &peer->watch, EPOLLIN | EPOLLRDHUP | (blocked ? EPOLLOUT : 0));
}

void hmci_peer_stir(hmc_peer_t *peer) {
  pthread_mutex_lock(&peer->lock);
  pthread_cond_broadcast(&peer->answered);
  pthread_mutex_unlock(&peer->lock);
}
