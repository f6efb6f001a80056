/* The way back of a connection with one stream in each direction: opened when the accepting half first has something to
 * send, so that a peer to which nobody speaks costs that half, and the dialling one, a socket less.
 *
 * The dialling half tells by its offer, as the accepting one does, that it knows of this; it makes its own stream, and
 * dials the other one when the accepting half asks (host->want). What is submitted there meanwhile is held (barrier.c),
 * and goes out in its order once the stream has come. Where it cannot be made, what waits ends with the reason's status,
 * and the next operation asks again.
 *
 * In the program's own code in the loop's thread nobody else takes the stream that comes: who waits there turns the
 * loop.
 *
 * Locking: `hold_lock` guards all. `whole` changes under it, from false to true, after what was held is submitted: who
 * sees it true finds the stream, and overtakes nothing. */
#include "tcp.h"

enum { MAY_BE_LATE = 1, TAKES_EASY = 2, TAKES_RUNS = 4 }; /* in an offer */

void hmci_tcp_late_offer(hmci_blob_t *offer) {
  offer->size = 1;
  offer->data[0] = MAY_BE_LATE | TAKES_EASY | TAKES_RUNS;
}

bool hmci_tcp_may_be_late(const hmci_blob_t *offer) { return offer->size && offer->data[0] & MAY_BE_LATE; }
bool hmci_tcp_takes_easy(const hmci_blob_t *offer) { return offer->size && offer->data[0] & TAKES_EASY; }
bool hmci_tcp_takes_runs(const hmci_blob_t *offer) { return offer->size && offer->data[0] & TAKES_RUNS; }

bool hmci_tcp_is_whole(tcp_connection_t *connection) {
  return atomic_load_explicit(&connection->whole, memory_order_acquire); /* partner: hmci_tcp_late_note */
}

void hmci_tcp_late_note(tcp_connection_t *connection) {
  for (uint32_t i = 0; i < connection->count; i++) {
    if (!connection->requesters[i].pipe || !connection->responders[i].pipe) return;
  }
  hmci_tcp_held_go(connection);
  atomic_store_explicit(&connection->whole, true, memory_order_release);
}

/* With `hold_lock` held. */
static hmc_status_t ask(tcp_connection_t *connection) {
  const hmci_host_t *host = connection->transport->host;
  if (connection->hold_failed) return hmci_fail(HMC_PEER_LOST, "the peer is gone");
  if (connection->wanted) return HMC_SUCCESS;
  hmc_status_t status = host->want(host, connection, 1);
  connection->wanted = status == HMC_SUCCESS;
  connection->refused = false;
  return status;
}

hmc_status_t hmci_tcp_late_submit(tcp_connection_t *connection, hmci_operation_t *operations, uint32_t count,
                                  bool *taken) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&connection->hold_lock);
  *taken = !hmci_tcp_is_whole(connection);
  if (*taken) status = ask(connection);
  if (*taken && status == HMC_SUCCESS) hmci_tcp_held_add(connection, operations, count);
  pthread_mutex_unlock(&connection->hold_lock);
  return status;
}

bool hmci_tcp_late_complete(tcp_connection_t *connection) {
  pthread_mutex_lock(&connection->hold_lock);
  bool over = hmci_tcp_is_whole(connection) || connection->hold_failed || connection->refused;
  if (!over && ask(connection) != HMC_SUCCESS) hmci_log(HMC_LOG_INFO, "no data connection yet: %s", hmc_last_error());
  pthread_mutex_unlock(&connection->hold_lock);
  return over;
}

void hmci_tcp_late_look(tcp_connection_t *connection) { hmci_loop_turn(connection->transport->host->loop); }

hmc_status_t hmci_tcp_late_wait(tcp_connection_t *connection, hmci_operation_t *operation) {
  hmci_tcp_late_look(connection);
  if (hmci_operation_is_complete(operation)) return HMC_SUCCESS;
  return hmci_now() >= operation->deadline ? HMC_TIMEOUT : HMC_IN_PROGRESS;
}

void hmci_tcp_late_failed(tcp_connection_t *connection, hmc_status_t status) {
  pthread_mutex_lock(&connection->hold_lock);
  if (!hmci_tcp_is_whole(connection)) {
    connection->wanted = false;
    connection->refused = true;
    hmci_tcp_held_end(connection, status);
  }
  pthread_mutex_unlock(&connection->hold_lock);
}
