/* Listening: sockets that wait for peers, and hand each one to its handshake.
 *
 * Stopping: peers that are here may lack a data connection, which only they can dial, to the listener. So a listener
 * that is stopped asks for what is missing, and turns away all but data connections from then on; it closes when no peer
 * lacks one any more. hmc_context_stop_listening waits for that, but for STOP_TIME at most: the rest happens in the loop,
 * and a peer that stands still holds up the port alone.
 *
 * Listeners are in the context's list, under its lock; their watches run in the first service thread. */
#include "core.h"

#include "../base/socket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

typedef struct listener {
  hmci_list_t link;
  hmci_watch_t watch;
  hmc_context_t *context;
  _Atomic bool stopped; /* it takes data connections alone; changes with the context's lock */
  char ip[HMCI_HOST_TEXT];
  uint16_t port;
} listener_t;

enum { ACCEPTS_AT_ONCE = 32 }; /* connections taken before other watches get their turn */
#define ACCEPT_PAUSE 50000000u /* nanoseconds; what waits meanwhile stays in the kernel's queue */
#define STOP_TIME 1000000000u  /* nanoseconds that stopping waits for what peers lack */
#define FIRST_LOOK 1000000u    /* ... until it looks again whether that has come; each pause is twice as long */
#define LONGEST_LOOK 320000000u

static void listen_for(hmc_context_t *context, uint32_t events) {
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->accept.listeners.next; link != &context->accept.listeners; link = link->next) {
    hmci_loop_modify(context->loop, &HMCI_CONTAINER(link, listener_t, link)->watch, events);
  }
  pthread_mutex_unlock(&context->lock);
}

void hmci_listening_resume(hmci_timer_t *timer) {
  listen_for(HMCI_CONTAINER(timer, hmc_context_t, accept.timer), EPOLLIN);
}

/* No descriptors, or no room for another stranger: asking again at once would only burn the processor. */
static bool pause_listening(hmc_context_t *context) {
  listen_for(context, 0);
  hmci_loop_set_timer(context->loop, &context->accept.timer, hmci_now() + ACCEPT_PAUSE);
  return false;
}

static bool on_connection(hmci_watch_t *watch, uint32_t events) {
  listener_t *listener = HMCI_CONTAINER(watch, listener_t, watch);
  hmc_context_t *context = listener->context;
  if (!events) return false;
  for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
    int descriptor;
    char from[HMCI_ADDRESS_TEXT];
    if (!hmci_handshake_has_room(context)) return pause_listening(context);
    hmc_status_t status = hmci_socket_accept(watch->descriptor, &descriptor, from);
    if (status == HMC_IN_PROGRESS) return i > 0;
    if (status != HMC_SUCCESS) {
      hmci_log(HMC_LOG_WARNING, "accepting connections pauses: %s", hmc_last_error());
      return pause_listening(context);
    }
    hmci_handshake_accept(context, descriptor, from, atomic_load(&listener->stopped));
  }
  return true;
}

/* True where the context still has that address, of a listener that was stopped: that one goes on. */
static bool resume(hmc_context_t *context, const char *ip, uint16_t port) {
  bool found = false;
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->accept.listeners.next; link != &context->accept.listeners && !found;
       link = link->next) {
    listener_t *listener = HMCI_CONTAINER(link, listener_t, link);
    found = atomic_load(&listener->stopped) && port && listener->port == port && strcmp(listener->ip, ip) == 0;
    if (found) atomic_store(&listener->stopped, false);
  }
  pthread_mutex_unlock(&context->lock);
  return found;
}

hmc_status_t hmc_context_listen(hmc_context_t *context, const char *ip, uint16_t port, uint16_t *bound_port) {
  if (!context || !ip) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_listen: context or ip is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  int descriptor;
  uint16_t bound = port;
  if (resume(context, ip, port)) goto listening;
  hmc_status_t status = hmci_socket_listen_tcp(ip, port, &descriptor, &bound);
  if (status != HMC_SUCCESS) return status;
  listener_t *listener = calloc(1, sizeof *listener);
  if (!listener) {
    status = hmci_fail(HMC_NO_MEMORY, "no memory for a listener");
    goto err_socket;
  }
  listener->context = context;
  listener->watch.ready = on_connection;
  snprintf(listener->ip, sizeof listener->ip, "%s", ip);
  listener->port = bound;
  status = hmci_loop_add(context->loop, &listener->watch, descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) goto err_listener;
  pthread_mutex_lock(&context->lock);
  hmci_list_append(&context->accept.listeners, &listener->link);
  pthread_mutex_unlock(&context->lock);
listening:
  if (bound_port) *bound_port = bound;
  return HMC_SUCCESS;

err_listener:
  free(listener);
err_socket:
  close(descriptor);
  return status;
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

/* Marks all, or finds one that is marked. */
static bool look_for_stopped(hmc_context_t *context, bool stop) {
  bool found = false;
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->accept.listeners.next; link != &context->accept.listeners; link = link->next) {
    listener_t *listener = HMCI_CONTAINER(link, listener_t, link);
    if (stop) atomic_store(&listener->stopped, true);
    found |= atomic_load(&listener->stopped);
  }
  pthread_mutex_unlock(&context->lock);
  return found;
}

/* Takes one that is stopped, or any, out of the list; NULL: there is none. */
static listener_t *take_out(hmc_context_t *context, bool any) {
  listener_t *found = NULL;
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->accept.listeners.next; link != &context->accept.listeners && !found;
       link = link->next) {
    listener_t *listener = HMCI_CONTAINER(link, listener_t, link);
    if (any || atomic_load(&listener->stopped)) found = listener;
  }
  if (found) hmci_list_remove(&found->link);
  pthread_mutex_unlock(&context->lock);
  return found;
}

static void close_listeners(hmc_context_t *context, bool all) {
  listener_t *listener;
  while ((listener = take_out(context, all))) {
    hmci_loop_remove(context->loop, &listener->watch);
    close(listener->watch.descriptor);
    free(listener);
  }
}

/* Asks for what peers lack; false: something is on its way. With `dispatch` held. */
static bool is_settled(hmc_context_t *context) {
  bool settled = hmci_list_is_empty(&context->accept.callers) && hmci_list_is_empty(&context->accept.handshakes);
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->peers.next; link != &context->peers; link = link->next) {
    hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
    const hmci_transport_ops_t *ops = peer->transport->ops;
    if (peer->role == HMCI_ACCEPTED && atomic_load(&peer->connected) && ops->complete)
      settled &= ops->complete(peer->connection->state);
  }
  pthread_mutex_unlock(&context->lock);
  return settled;
}

/* With `dispatch` held. */
static void settle(hmc_context_t *context) {
  if (!look_for_stopped(context, false)) return;
  if (is_settled(context)) {
    close_listeners(context, false);
    return;
  }
  hmci_loop_set_timer(context->loop, &context->accept.stop, hmci_now() + context->accept.stop_pause);
  if (context->accept.stop_pause < LONGEST_LOOK) context->accept.stop_pause *= 2;
}

void hmci_listening_settle(hmci_timer_t *timer) { settle(HMCI_CONTAINER(timer, hmc_context_t, accept.stop)); }

void hmc_context_stop_listening(hmc_context_t *context) {
  if (!context || hmci_context_is_foreign(context) || !look_for_stopped(context, true)) return;
  bool take = !hmci_loop_is_held(context->loop);
  if (take) hmci_loop_lock(context->loop);
  context->accept.stop_pause = FIRST_LOOK;
  settle(context);
  if (take) hmci_loop_unlock(context->loop);
  if (!take || hmci_loop_is_own(context->loop)) return; /* what is missing comes by this thread */
  const struct timespec look = {.tv_nsec = FIRST_LOOK};
  for (uint64_t end = hmci_now() + STOP_TIME; look_for_stopped(context, false) && hmci_now() < end;)
    nanosleep(&look, NULL);
}

void hmci_listening_end(hmc_context_t *context) {
  close_listeners(context, true);
  hmci_loop_clear_timer(context->loop, &context->accept.timer);
  hmci_loop_clear_timer(context->loop, &context->accept.stop);
}
