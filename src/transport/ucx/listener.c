/* Where a worker takes connections of UCX (see listener.h). */
#include "listener.h"

#include "pipe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

typedef struct listener {
  hmci_list_t link; /* worker->listeners */
  ucp_listener_h handle;
  struct sockaddr_storage address; /* port 0 */
  uint16_t port;
} listener_t;

typedef struct stranger {
  hmci_list_t link; /* worker->strangers, oldest first */
  ucp_ep_h endpoint;
  bool dead;
} stranger_t;

/* ---- addresses --------------------------------------------------------------------------------------------------- */

socklen_t hmci_ucx_address_size(const struct sockaddr_storage *address) {
  return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

void hmci_ucx_address_set_port(struct sockaddr_storage *address, uint16_t port) {
  if (address->ss_family == AF_INET6) {
    ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
  } else {
    ((struct sockaddr_in *)address)->sin_port = htons(port);
  }
}

static uint16_t port_of(const struct sockaddr_storage *address) {
  return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                              : ((const struct sockaddr_in *)address)->sin_port);
}

/* ---- strangers --------------------------------------------------------------------------------------------------- */

static void send_away(hmci_ucx_worker_t *worker, stranger_t *stranger) {
  hmci_list_remove(&stranger->link);
  worker->stranger_count--;
  hmci_ucx_endpoint_close(worker, stranger->endpoint);
  free(stranger);
}

static stranger_t *find(hmci_ucx_worker_t *worker, ucp_ep_h endpoint) {
  for (hmci_list_t *link = worker->strangers.next; link != &worker->strangers; link = link->next) {
    stranger_t *stranger = HMCI_CONTAINER(link, stranger_t, link);
    if (stranger->endpoint == endpoint) return stranger;
  }
  return NULL;
}

bool hmci_ucx_stranger_claim(hmci_ucx_worker_t *worker, ucp_ep_h endpoint) {
  stranger_t *stranger = endpoint ? find(worker, endpoint) : NULL;
  if (!stranger || stranger->dead) return false;
  hmci_list_remove(&stranger->link);
  worker->stranger_count--;
  free(stranger);
  return true;
}

/* Closing polls, which may close others in the meantime: so each time from the start. */
void hmci_ucx_strangers_close_dead(hmci_ucx_worker_t *worker) {
  hmci_list_t *link = worker->strangers.next;
  while (link != &worker->strangers) {
    stranger_t *stranger = HMCI_CONTAINER(link, stranger_t, link);
    link = link->next;
    if (!stranger->dead) continue;
    send_away(worker, stranger);
    link = worker->strangers.next;
  }
  worker->has_dead = false;
}

/* What may not be closed inside a callback of UCX is closed after it. */
static void mark_dead(hmci_ucx_worker_t *worker, stranger_t *stranger) { stranger->dead = worker->has_dead = true; }

void hmci_ucx_stranger_refuse(hmci_ucx_worker_t *worker, ucp_ep_h endpoint) {
  stranger_t *stranger = find(worker, endpoint);
  if (stranger) mark_dead(worker, stranger);
}

void hmci_ucx_worker_on_error(void *argument, ucp_ep_h endpoint, ucs_status_t status) {
  hmci_ucx_worker_t *worker = argument;
  hmci_ucx_stranger_refuse(worker, endpoint);
  for (uint32_t i = 0; i < worker->pipe_room; i++) {
    hmci_ucx_pipe_t *pipe = worker->pipes[i];
    if (pipe && pipe->endpoint == endpoint) hmci_ucx_pipe_break(pipe, status);
  }
}

static void make_room(hmci_ucx_worker_t *worker) {
  for (hmci_list_t *link = worker->strangers.next; link != &worker->strangers; link = link->next) {
    stranger_t *stranger = HMCI_CONTAINER(link, stranger_t, link);
    if (stranger->dead) continue;
    mark_dead(worker, stranger);
    return;
  }
}

/* Somebody connects. Inside ucp_worker_progress, so with the lock held. */
static void on_connection(ucp_conn_request_h request, void *argument) {
  hmci_ucx_worker_t *worker = argument;
  listener_t *listener = HMCI_CONTAINER(worker->listeners.next, listener_t, link);
  ucp_ep_params_t params = {
      .field_mask =
          UCP_EP_PARAM_FIELD_CONN_REQUEST | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER,
      .conn_request = request,
      .err_mode = UCP_ERR_HANDLING_MODE_PEER,
      .err_handler = {.cb = hmci_ucx_worker_on_error, .arg = worker},
  };
  stranger_t *stranger = calloc(1, sizeof *stranger);
  if (!stranger) {
    worker->ucx->ucp_listener_reject(listener->handle, request);
    return;
  }
  ucs_status_t status = worker->ucx->ucp_ep_create(worker->handle, &params, &stranger->endpoint);
  if (status != UCS_OK) {
    hmci_log(HMC_LOG_INFO, "a UCX connection came to nothing: %s", worker->ucx->ucs_status_string(status));
    free(stranger);
    return;
  }
  if (worker->stranger_count >= HMCI_UCX_STRANGERS) make_room(worker);
  hmci_list_append(&worker->strangers, &stranger->link);
  worker->stranger_count++;
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

static listener_t *find_listener(hmci_ucx_worker_t *worker, const struct sockaddr_storage *address) {
  for (hmci_list_t *link = worker->listeners.next; link != &worker->listeners; link = link->next) {
    listener_t *listener = HMCI_CONTAINER(link, listener_t, link);
    if (memcmp(&listener->address, address, hmci_ucx_address_size(address)) == 0) return listener;
  }
  return NULL;
}

static hmc_status_t make_listener(hmci_ucx_worker_t *worker, const struct sockaddr_storage *address, listener_t **out) {
  const hmci_ucx_library_t *ucx = worker->ucx;
  listener_t *listener = calloc(1, sizeof *listener);
  if (!listener) return hmci_fail(HMC_NO_MEMORY, "no memory for a UCX listener");
  listener->address = *address;
  ucp_listener_params_t params = {
      .field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER,
      .sockaddr = {.addr = (const struct sockaddr *)address, .addrlen = hmci_ucx_address_size(address)},
      .conn_handler = {.cb = on_connection, .arg = worker},
  };
  ucp_listener_attr_t attributes = {.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR};
  ucs_status_t status = ucx->ucp_listener_create(worker->handle, &params, &listener->handle);
  if (status != UCS_OK) goto err_free;
  status = ucx->ucp_listener_query(listener->handle, &attributes);
  if (status != UCS_OK) goto err_listener;
  listener->port = port_of(&attributes.sockaddr);
  hmci_list_append(&worker->listeners, &listener->link);
  *out = listener;
  return HMC_SUCCESS;

err_listener:
  ucx->ucp_listener_destroy(listener->handle);
err_free:
  free(listener);
  return hmci_fail(HMC_UNSUPPORT, "UCX cannot listen at the address that was dialled: %s",
                   ucx->ucs_status_string(status));
}

hmc_status_t hmci_ucx_worker_listen(hmci_ucx_worker_t *worker, const struct sockaddr_storage *from, uint16_t *port) {
  struct sockaddr_storage address = *from;
  hmci_ucx_address_set_port(&address, 0);
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&worker->lock);
  listener_t *listener = find_listener(worker, &address);
  if (!listener) status = make_listener(worker, &address, &listener);
  if (status == HMC_SUCCESS) *port = listener->port;
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
  return status;
}

void hmci_ucx_listeners_close(hmci_ucx_worker_t *worker) {
  while (!hmci_list_is_empty(&worker->listeners)) {
    listener_t *listener = HMCI_CONTAINER(worker->listeners.next, listener_t, link);
    hmci_list_remove(&listener->link);
    worker->ucx->ucp_listener_destroy(listener->handle);
    free(listener);
  }
  while (!hmci_list_is_empty(&worker->strangers)) {
    send_away(worker, HMCI_CONTAINER(worker->strangers.next, stranger_t, link));
  }
}
