/* Taking things back from the hardware: a cancelled operation, all of a connection that fails, and a queue pair that does
 * not come to an end by itself. */
#include "poll.h"
#include "verbs.h"

#include "message.h"
#include "notes.h"
#include "pairing.h"

#include <sched.h>
#include <time.h>

#define HASTE UINT64_C(1000000) /* nanoseconds that the loop's thread waits for the wire: it has others to serve */
#define PAUSE 20000             /* nanoseconds between two looks */

/* The hardware does not come to an end: its queue pair goes, and with it everything it still holds. */
static void tear_away(verbs_rail_t *rail) {
  hmci_verbs_pair_destroy(rail);
  hmci_verbs_retire(rail, rail->posted, false);
  if (rail->phase == VERBS_FLUSHING) hmci_verbs_pairing_flushed(rail);
}

/* Gets a stopped operation out of the hardware's hands. What is on the wire may end by itself; when it does not, the
 * queue pairs that hold it are failed, which flushes them. Others have the lock between two looks. */
static void let_go(verbs_connection_t *connection, hmci_operation_t *operation) {
  uint64_t start = hmci_now();
  uint64_t grace = hmci_loop_is_held(connection->transport->host->loop) ? HASTE : VERBS_GRACE;
  while (!hmci_operation_is_complete(operation)) {
    hmci_verbs_poll_all(connection);
    uint64_t waited = hmci_now() - start;
    for (uint32_t i = 0; i < connection->rail_count && !hmci_operation_is_complete(operation); i++) {
      verbs_rail_t *rail = &connection->rails[i];
      if (!rail->device || !hmci_verbs_ring_holds(rail, operation)) continue;
      if (waited > grace && rail->phase == VERBS_UP) {
        rail->recalled = true;
        hmci_verbs_pairing_break(rail, false);
      }
      if (waited > grace + VERBS_DRAIN) tear_away(rail);
    }
    pthread_mutex_unlock(&connection->transport->lock);
    sched_yield();
    pthread_mutex_lock(&connection->transport->lock);
  }
}

/* A put ends that may have been on a queue pair which has failed, but is not gone at the peer's end: packets of it may still
 * arrive there, so what comes after it waits. */
static void hold_back(verbs_connection_t *connection, hmci_operation_t *operation) {
  if (operation->kind != HMCI_PUT || hmci_verbs_state(operation)->messages) return;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    rail->recalled |= rail->phase == VERBS_FLUSHING || rail->phase == VERBS_PARTING;
  }
}

void hmci_verbs_cancel(void *block, hmci_operation_t *operation, hmc_status_t status) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  if (!hmci_operation_is_complete(operation)) {
    operation->chained = false;
    hold_back(connection, operation);
    hmci_verbs_queue_stop(connection, operation, status);
    if (!hmci_verbs_queue_try_complete(connection, operation)) let_go(connection, operation);
    hmci_verbs_settle(connection->transport);
  }
  pthread_mutex_unlock(&connection->transport->lock);
}

/* Others have the lock meanwhile. One who takes it again at once gets it before those who wait, so this thread sleeps. */
static void pause_briefly(verbs_transport_t *transport) {
  pthread_mutex_unlock(&transport->lock);
  nanosleep(&(struct timespec){.tv_nsec = PAUSE}, NULL);
  pthread_mutex_lock(&transport->lock);
}

/* Flushes the send queues for good. Hardware that does not do so in time loses its queue pairs. Others have the lock between
 * two looks, and may come here as well. */
static void drain(verbs_connection_t *connection) {
  verbs_transport_t *transport = connection->transport;
  hmci_loop_t *loop = transport->host->loop;
  uint64_t limit = hmci_now() + (hmci_loop_is_held(loop) || hmci_loop_is_own(loop) ? HASTE : VERBS_DRAIN);
  for (uint32_t i = 0; i < connection->rail_count; i++) hmci_verbs_pairing_break(&connection->rails[i], false);
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    while (rail->phase == VERBS_FLUSHING) {
      bool moved = hmci_verbs_poll(rail->device);
      if (rail->phase != VERBS_FLUSHING) break;
      if (hmci_now() > limit) {
        tear_away(rail);
      } else if (!moved) {
        pause_briefly(transport);
      }
    }
  }
}

/* Nothing of the connection is in the hardware's hands any more. */
static void end_connection(verbs_connection_t *connection) {
  connection->ended = true;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    hmci_verbs_pair_destroy(&connection->rails[i]);
    connection->rails[i].phase = VERBS_UNMADE;
  }
  hmci_verbs_answer_forget(connection);
  hmci_verbs_queue_fail(connection, connection->failed);
  hmci_verbs_message_forget(connection);
  hmci_verbs_settle(connection->transport);
  pthread_cond_broadcast(&connection->changed);
}

void hmci_verbs_fail(void *block, hmc_status_t status) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  if (!connection->failed) {
    connection->failed = status;
    if (connection->pipe) hmci_loop_silence(connection->transport->host->loop, &connection->watch);
  }
  if (!connection->ended) drain(connection);
  if (!connection->ended) end_connection(connection);
  pthread_mutex_unlock(&connection->transport->lock);
}

/* The time of a rail has come. With the lock. */
static void retry(verbs_rail_t *rail) {
  verbs_connection_t *connection = rail->connection;
  rail->retry_when = 0;
  if (connection->failed || connection->cut || hmci_verbs_pairing_give_up(connection)) return;
  if (rail->phase == VERBS_FLUSHING) {
    hmci_verbs_poll(rail->device);
    if (rail->phase == VERBS_FLUSHING && hmci_now() >= rail->flushing_since + VERBS_DRAIN) {
      hmci_log(HMC_LOG_WARNING, "%s did not flush a queue pair", ibv_get_device_name(rail->device->context->device));
      tear_away(rail); /* from here on the hardware has let go */
    }
  } else {
    hmci_verbs_pairing_again(rail);
  }
  hmci_verbs_settle(connection->transport);
}

void hmci_verbs_on_retry(hmci_timer_t *timer) {
  verbs_rail_t *rail = HMCI_CONTAINER(timer, verbs_rail_t, retry);
  pthread_mutex_lock(&rail->connection->transport->lock);
  if (rail->retry_when) retry(rail); /* else a callback has done so */
  pthread_mutex_unlock(&rail->connection->transport->lock);
}

void hmci_verbs_stand_in(verbs_connection_t *connection) {
  verbs_transport_t *transport = connection->transport;
  if (!hmci_loop_turn(transport->host->loop)) return;
  pthread_mutex_lock(&transport->lock);
  uint64_t now = hmci_now();
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    if (rail->retry_when && rail->retry_when <= now) retry(rail);
  }
  bool lost = connection->cut && !connection->failed;
  pthread_mutex_unlock(&transport->lock);
  if (lost) hmci_verbs_fail(connection, HMC_PEER_LOST);
}
