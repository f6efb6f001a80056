/* Peers: made by a handshake, served by the loop, ended by either side.
 *
 * The end of a peer has two steps. Losing it (the other side died, or hung up) ends what is in progress and refuses
 * what comes; the handle stays valid. Closing it (hmc_peer_close) frees it. */
#include "core.h"

#include "../base/recorder.h"
#include "../base/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static void on_loss(hmci_timer_t *timer);
static bool on_session(hmci_watch_t *watch, uint32_t events);

hmc_peer_t *hmci_peer_create(hmc_context_t *context, hmci_role_t role) {
  hmc_peer_t *peer = calloc(1, sizeof *peer);
  hmci_stats_t *stats = hmci_allocate_aligned(sizeof *stats);
  if (!peer || !stats) {
    free(peer);
    free(stats);
    hmci_fail(HMC_NO_MEMORY, "no memory for a peer");
    return NULL;
  }
  peer->stats = stats;
  peer->context = context;
  peer->number = atomic_fetch_add(&context->peer_count, 1) + 1;
  peer->role = role;
  uint32_t service = atomic_fetch_add(&context->next_service, 1) % (context->service_count + 1);
  peer->service = service ? &context->services[service - 1] : &context->host;
  peer->watch.ready = on_session;
  hmci_list_init(&peer->link);
  hmci_event_init(&peer->arrival, HMC_EVENT_ARRIVAL);
  hmci_event_init(&peer->lost, HMC_EVENT_PEER_LOST);
  hmci_list_init(&peer->lookups);
  hmci_list_init(&peer->remotes);
  hmci_timer_init(&peer->loss, on_loss);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&peer->lock, NULL);
  pthread_cond_init(&peer->answered, &monotonic);
  pthread_condattr_destroy(&monotonic);
  hmci_random(&peer->token, sizeof peer->token);
  hmci_post_open(peer);
  return peer;
}

hmc_status_t hmci_peer_attach(hmc_peer_t *peer, hmci_transport_slot_t *slot, hmci_blob_t *data) {
  hmci_connection_t *connection = hmci_allocate_aligned(sizeof *connection + slot->ops->connection_size);
  if (!connection) return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
  connection->peer = peer;
  hmc_status_t status = slot->ops->connection_open(slot->state, connection->state, peer->role, data);
  if (status != HMC_SUCCESS) {
    free(connection);
    return status;
  }
  peer->transport = slot;
  peer->connection = connection;
  return HMC_SUCCESS;
}

void hmci_peer_refuse(hmc_peer_t *peer, size_t transport, const char *why) {
  char text[HMCI_REASON_SIZE];
  snprintf(text, sizeof text, "%s", why);
  free(peer->refused[transport]);
  peer->refused[transport] = strdup(text);
}

void hmci_peer_detach(hmc_peer_t *peer) {
  if (!peer->connection) return;
  peer->transport->ops->connection_fail(peer->connection->state, HMC_CANCELLED);
  peer->transport->ops->connection_close(peer->connection->state);
  free(peer->connection);
  peer->connection = NULL;
  peer->transport = NULL;
}

hmc_status_t hmci_peer_enter_token(hmc_peer_t *peer) {
  hmc_context_t *context = peer->context;
  pthread_mutex_lock(&context->lock);
  if (!peer->has_token) peer->has_token = hmci_table_add(&context->tokens, &peer->by_token, peer->token);
  pthread_mutex_unlock(&context->lock);
  return peer->has_token ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory for another peer");
}

/* With the context's lock held. */
static void forget_token(hmc_peer_t *peer) {
  if (peer->has_token) hmci_table_remove(&peer->context->tokens, &peer->by_token);
  peer->has_token = false;
}

/* Takes a peer out of the context's list; the loop has it no more. */
static void unlist(hmc_peer_t *peer) {
  pthread_mutex_lock(&peer->context->lock);
  forget_token(peer);
  hmci_list_remove(&peer->link);
  pthread_mutex_unlock(&peer->context->lock);
  hmci_event_drop(&peer->context->events, &peer->arrival);
}

/* Listed first, so that a region that closes from now on finds it; then its session may run. */
hmc_status_t hmci_peer_publish(hmc_peer_t *peer) {
  hmc_context_t *context = peer->context;
  pthread_mutex_lock(&context->lock);
  hmci_list_append(&context->peers, &peer->link);
  pthread_mutex_unlock(&context->lock);
  atomic_store(&peer->connected, 1);
  hmc_status_t status =
      hmci_loop_add(context->loop, &peer->watch, hmci_secure_descriptor(peer->channel.stream), EPOLLIN | EPOLLRDHUP);
  if (status != HMC_SUCCESS) {
    atomic_store(&peer->connected, 0);
    unlist(peer);
    return status;
  }
  atomic_store(&peer->published, true);
  if (hmci_connection_check(peer->connection) != HMC_SUCCESS) hmci_peer_lose(peer, hmc_last_error());
  hmci_loop_set_timer(context->loop, &peer->post.timer, 0); /* says how many notifications may come */
  hmci_record(HMC_RECORD_PEER, HMC_SUCCESS, 0, 0, peer->where);
  hmci_log(HMC_LOG_INFO, "%s (%s on %s, process %d) is reached by %s", peer->where, peer->name, peer->host,
           peer->process, hmci_transport_text(peer->transport->ops));
  return HMC_SUCCESS;
}

/* ---- the session in the loop ------------------------------------------------------------------------------------- */

static bool on_session(hmci_watch_t *watch, uint32_t events) {
  hmc_peer_t *peer = HMCI_CONTAINER(watch, hmc_peer_t, watch);
  if (!events) return false;
  if (atomic_load(&peer->losing)) { /* lost before it was watched: nobody has silenced it */
    hmci_loop_silence(peer->context->loop, watch);
    return false;
  }
  hmc_status_t status = hmci_channel_flush(&peer->channel);
  if (status == HMC_IN_PROGRESS) status = HMC_SUCCESS;
  while (status == HMC_SUCCESS) {
    uint16_t type;
    hmci_reader_t reader;
    status = hmci_channel_receive(&peer->channel, &type, &reader);
    if (status == HMC_SUCCESS) status = hmci_session_handle(peer, type, &reader);
  }
  if (status != HMC_IN_PROGRESS) {
    const char *ended = hmci_socket_loss(hmci_secure_error(peer->channel.stream), "the peer hung up");
    hmci_peer_lose(peer, status == HMC_PEER_LOST ? ended : hmc_last_error());
  } else {
    hmci_peer_watch_for_room(peer);
  }
  return false; /* sessions are quiet: no reason to spin */
}

/* A peer that the application was never given is nobody's to close, unless a thread waits for one: it has been woken,
 * and gets this one however short its stay. True when it was taken out of the lists. */
static bool take_back(hmc_peer_t *peer) {
  hmc_context_t *context = peer->context;
  pthread_mutex_lock(&context->lock);
  bool ours = !peer->first && hmci_event_drop_unawaited(&context->events, &peer->arrival);
  if (ours) {
    hmci_list_remove(&peer->link);
    forget_token(peer);
  }
  pthread_mutex_unlock(&context->lock);
  if (!ours) return false;
  hmci_loop_remove(context->loop, &peer->watch);
  hmci_notifications_orphan(context, peer);
  hmci_leases_orphan(context, peer);
  return true;
}

/* Of the two connections of a peer one has ended: so does the other. */
static void lose_other(hmc_peer_t *peer) {
  char reason[HMCI_REASON_SIZE];
  hmc_peer_t *other = hmci_peer_other(peer);
  snprintf(reason, sizeof reason, "its connection by %s ended: %.200s", hmci_transport_text(peer->transport->ops),
           hmci_peer_lost_reason(peer));
  if (other) hmci_peer_lose(other, reason);
}

static void on_loss(hmci_timer_t *timer) {
  hmc_peer_t *peer = HMCI_CONTAINER(timer, hmc_peer_t, loss);
  if (atomic_load(&peer->closing)) return;
  lose_other(peer);
  if (peer->connection) peer->transport->ops->connection_fail(peer->connection->state, HMC_PEER_LOST);
  hmci_requests_end_beyond(peer->context, peer, HMC_PEER_LOST);
  hmci_post_end(peer, HMC_PEER_LOST);
  hmci_delays_end(peer->context, peer, HMC_PEER_LOST);
  hmci_works_end(&peer->context->workers, peer, HMC_PEER_LOST, false);
  hmci_channel_hang_up(&peer->channel); /* it may be this side alone that has found the connection broken */
  pthread_mutex_lock(&peer->lock);
  pthread_cond_broadcast(&peer->answered);
  pthread_mutex_unlock(&peer->lock);
  if (peer->first) return; /* the program hears of the other one */
  hmci_log(HMC_LOG_INFO, "%s is gone: %s", peer->where, hmci_peer_lost_reason(peer));
  hmci_stats_add(&peer->stats->lost, 1);
  hmci_record(HMC_RECORD_PEER, HMC_PEER_LOST, 0, 0, peer->where);
  if (take_back(peer)) {
    hmc_peer_t *second = hmci_peer_part(peer);
    if (second) hmci_peer_close_one(second);
    hmci_peer_destroy(peer);
  } else {
    hmci_event_add(&peer->context->events, &peer->lost);
  }
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

void hmci_peer_destroy(hmc_peer_t *peer) {
  atomic_store(&peer->closing, true);
  pthread_mutex_lock(&peer->context->lock);
  forget_token(peer);
  pthread_mutex_unlock(&peer->context->lock);
  hmci_loop_clear_timer(peer->context->loop, &peer->loss); /* on_loss runs no more, or finds it closing */
  hmci_event_drop(&peer->context->events, &peer->lost);
  while (!hmci_list_is_empty(&peer->remotes)) {
    hmc_remote_t *remote = HMCI_CONTAINER(peer->remotes.next, hmc_remote_t, link);
    hmci_list_remove(&remote->link);
    hmci_remote_destroy(remote);
  }
  hmci_peer_detach(peer);
  hmci_loop_clear_timer(peer->context->loop, &peer->loss); /* what its connection has set until it was closed */
  hmci_post_close(peer);
  hmci_channel_close(&peer->channel);
  hmci_stats_merge(peer->context->stats, peer->stats);
  free(peer->stats);
  for (size_t i = 0; i < HMCI_TRANSPORTS; i++) free(peer->refused[i]);
  pthread_cond_destroy(&peer->answered);
  pthread_mutex_destroy(&peer->lock);
  free(peer);
}

void hmci_peer_close_one(hmc_peer_t *peer) {
  hmc_context_t *context = peer->context;
  hmci_setups_end(&context->setups, peer, HMC_CANCELLED, false); /* before they see it go */
  atomic_store(&peer->connected, 0);
  atomic_store(&peer->losing, 1);
  peer->transport->ops->connection_fail(peer->connection->state, HMC_CANCELLED);
  hmci_requests_end_beyond(context, peer, HMC_CANCELLED);
  hmci_post_end(peer, HMC_CANCELLED);
  hmci_delays_end(context, peer, HMC_CANCELLED);
  hmci_works_end(&context->workers, peer, HMC_CANCELLED, true);
  hmci_setups_end(&context->setups, peer, HMC_CANCELLED, true);
  hmci_requests_await_users(context, peer);
  hmci_queues_forget(context, peer);
  hmci_loop_remove(context->loop, &peer->watch);
  unlist(peer);
  hmci_notifications_orphan(context, peer);
  hmci_leases_orphan(context, peer);
  hmci_peer_destroy(peer);
}

void hmc_peer_close(hmc_peer_t *peer) {
  if (!peer || hmci_context_is_foreign(peer->context)) return;
  hmci_setups_end(&peer->context->setups, peer, HMC_CANCELLED, true); /* one of them may make the second peer */
  hmc_peer_t *second = hmci_peer_part(peer);
  if (second) hmci_peer_close_one(second);
  hmci_peer_close_one(peer);
}

/* ---- asking about them ------------------------------------------------------------------------------------------- */

hmc_status_t hmc_peer_get_info(hmc_peer_t *peer, hmc_peer_info_t *info) {
  if (!peer || !info) return hmci_fail(HMC_INVALID_CONFIG, "hmc_peer_get_info: peer or info is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_sized_check(info, "hmc_peer_info_t");
  if (status != HMC_SUCCESS) return status;
  hmc_peer_info_t found = {.size = sizeof(hmc_peer_info_t),
                           .state = atomic_load(&peer->connected) ? HMC_PEER_CONNECTED : HMC_PEER_GONE,
                           .type = peer->transport->ops->type,
                           .port = peer->port,
                           .incarnation = peer->incarnation,
                           .process = peer->process};
  snprintf(found.ip, sizeof found.ip, "%s", peer->ip);
  snprintf(found.name, sizeof found.name, "%s", peer->name);
  snprintf(found.host, sizeof found.host, "%s", peer->host);
  hmci_sized_write(info, &found, sizeof found);
  return HMC_SUCCESS;
}
