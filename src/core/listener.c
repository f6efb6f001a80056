/* Listening: sockets that wait for peers, and hand each one to its handshake.
 *
 * Listeners are in the context's list, under its lock; their watches run in the first service thread. */
#include "core.h"

#include "../base/socket.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

typedef struct listener {
  hmci_list_t link;
  hmci_watch_t watch;
  hmc_context_t *context;
} listener_t;

enum { ACCEPTS_AT_ONCE = 32 }; /* connections taken before other watches get their turn */
#define ACCEPT_PAUSE 50000000u /* nanoseconds; what waits meanwhile stays in the kernel's queue */

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
    hmci_handshake_accept(context, descriptor, from);
  }
  return true;
}

hmc_status_t hmc_context_listen(hmc_context_t *context, const char *ip, uint16_t port, uint16_t *bound_port) {
  if (!context || !ip) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_listen: context or ip is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  int descriptor;
  uint16_t bound;
  hmc_status_t status = hmci_socket_listen_tcp(ip, port, &descriptor, &bound);
  if (status != HMC_SUCCESS) return status;
  listener_t *listener = calloc(1, sizeof *listener);
  if (!listener) {
    status = hmci_fail(HMC_NO_MEMORY, "no memory for a listener");
    goto err_socket;
  }
  listener->context = context;
  listener->watch.ready = on_connection;
  status = hmci_loop_add(context->loop, &listener->watch, descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) goto err_listener;
  pthread_mutex_lock(&context->lock);
  hmci_list_append(&context->accept.listeners, &listener->link);
  pthread_mutex_unlock(&context->lock);
  if (bound_port) *bound_port = bound;
  return HMC_SUCCESS;

err_listener:
  free(listener);
err_socket:
  close(descriptor);
  return status;
}

void hmc_context_stop_listening(hmc_context_t *context) {
  if (!context || hmci_context_is_foreign(context)) return;
  for (;;) {
    pthread_mutex_lock(&context->lock);
    listener_t *listener = NULL;
    if (!hmci_list_is_empty(&context->accept.listeners)) {
      listener = HMCI_CONTAINER(context->accept.listeners.next, listener_t, link);
      hmci_list_remove(&listener->link);
    }
    pthread_mutex_unlock(&context->lock);
    if (!listener) return;
    hmci_loop_remove(context->loop, &listener->watch);
    close(listener->watch.descriptor);
    free(listener);
  }
}
