/* What all of core asks of a peer, and what needs nothing of core in turn: its address as text, and its end.
 *
 * Losing a peer may happen in any thread and under any lock: it takes notes, and leaves the rest to a timer. */
#include "core.h"

#include <stdio.h>
#include <string.h>

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
