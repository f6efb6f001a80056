/* Requests: operations that the caller does not wait for at once.
 *
 * A request is taken from the context's spare list and goes back to it, so that a stream of them allocates nothing. All that are not freed are on
 * the context's list; while there are any, a timer in the loop looks for those past their deadline, so that also a request nobody asks about ends.
 *
 * Locking: `request_lock` guards the lists and is held while one is cancelled by the timer, so that it cannot be freed meanwhile. */
#include "operation.h"

#include <stdlib.h>

struct hmc_request {
  hmci_list_t link; /* the context's list, or its spare list */
  hmc_context_t *context;
  hmc_peer_t *peer;     /* not to be followed once the operation is complete: it may have been closed */
  hmc_remote_t *remote; /* likewise */
  uint64_t length;
  hmci_operation_t operation;
};

/* ---- deadlines ------------------------------------------------------------------------------------------------------- */

static void expire(hmc_request_t *request) {
  request->peer->transport->ops->cancel(request->peer->connection->state, &request->operation, HMC_TIMEOUT);
}

void hmci_requests_expire(hmci_timer_t *timer) {
  hmc_context_t *context = HMCI_CONTAINER(timer, hmc_context_t, request_timer);
  uint64_t now = hmci_now(), next = HMCI_NEVER;
  pthread_mutex_lock(&context->request_lock);
  for (hmci_list_t *link = context->requests.next; link != &context->requests; link = link->next) {
    hmc_request_t *request = HMCI_CONTAINER(link, hmc_request_t, link);
    if (hmci_operation_is_complete(&request->operation)) continue;
    if (request->operation.deadline <= now) {
      expire(request);
    } else if (request->operation.deadline < next) {
      next = request->operation.deadline;
    }
  }
  context->request_check = next;
  if (next != HMCI_NEVER) hmci_loop_set_timer(context->loop, timer, next);
  pthread_mutex_unlock(&context->request_lock);
}

/* ---- the lists ------------------------------------------------------------------------------------------------------- */

static hmc_request_t *take_request(hmc_context_t *context) {
  hmc_request_t *request = NULL;
  pthread_mutex_lock(&context->request_lock);
  if (!hmci_list_is_empty(&context->spare_requests)) {
    request = HMCI_CONTAINER(context->spare_requests.next, hmc_request_t, link);
    hmci_list_remove(&request->link);
  }
  pthread_mutex_unlock(&context->request_lock);
  if (!request && (request = malloc(sizeof *request))) hmci_list_init(&request->link);
  return request;
}

static void give_request(hmc_context_t *context, hmc_request_t *request) {
  pthread_mutex_lock(&context->request_lock);
  hmci_list_remove(&request->link);
  hmci_list_append(&context->spare_requests, &request->link);
  pthread_mutex_unlock(&context->request_lock);
}

static void list_request(hmc_context_t *context, hmc_request_t *request) {
  pthread_mutex_lock(&context->request_lock);
  hmci_list_append(&context->requests, &request->link);
  if (request->operation.deadline < context->request_check) {
    context->request_check = request->operation.deadline;
    hmci_loop_set_timer(context->loop, &context->request_timer, context->request_check);
  }
  pthread_mutex_unlock(&context->request_lock);
}

static void free_list(hmci_list_t *list) {
  while (!hmci_list_is_empty(list)) {
    hmc_request_t *request = HMCI_CONTAINER(list->next, hmc_request_t, link);
    hmci_list_remove(&request->link);
    free(request);
  }
}

void hmci_requests_destroy(hmc_context_t *context) {
  hmci_loop_clear_timer(context->loop, &context->request_timer);
  free_list(&context->requests);
  free_list(&context->spare_requests);
}

/* ---- starting -------------------------------------------------------------------------------------------------------- */

static hmc_status_t start(hmci_operation_kind_t kind, hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                          uint64_t remote_offset, uint64_t length, const hmc_operation_options_t *options, hmc_request_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: request is NULL", hmci_operation_name(kind));
  hmc_status_t status = hmci_operation_check(kind, local, offset, remote, remote_offset, length);
  if (status != HMC_SUCCESS) return status;
  hmc_peer_t *peer = remote->peer;
  hmc_context_t *context = peer->context;
  hmc_request_t *request = take_request(context);
  if (!request) return hmci_fail(HMC_NO_MEMORY, "no memory for a request");
  request->context = context;
  request->peer = peer;
  request->remote = remote;
  request->length = length;
  hmci_operation_t *operation = &request->operation;
  hmci_operation_prepare(operation, kind, local, remote, hmci_context_deadline(context, options ? options->timeout_ms : 0));
  operation->single = (hmci_segment_t){offset, remote_offset, length};
  operation->segments = &operation->single;
  operation->segment_count = 1;
  if (length == 0 || hmci_is_mapped(local, remote)) {
    if (length) hmci_copy_mapped(kind, local, remote, &operation->single);
    hmci_operation_complete(operation, HMC_SUCCESS);
  } else {
    status = peer->transport->ops->submit(peer->connection->state, operation);
    if (status != HMC_SUCCESS) {
      give_request(context, request);
      return hmci_operation_explain(kind, status, remote, length);
    }
    list_request(context, request);
  }
  *out = request;
  return HMC_SUCCESS;
}

hmc_status_t hmc_put_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset, uint64_t length,
                        const hmc_operation_options_t *options, hmc_request_t **request) {
  return start(HMCI_PUT, local, offset, remote, remote_offset, length, options, request);
}

hmc_status_t hmc_get_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset, uint64_t length,
                        const hmc_operation_options_t *options, hmc_request_t **request) {
  return start(HMCI_GET, local, offset, remote, remote_offset, length, options, request);
}

/* ---- ending ---------------------------------------------------------------------------------------------------------- */

static hmc_status_t final_status(hmc_request_t *request) {
  hmc_status_t status = request->operation.status;
  if (status == HMC_SUCCESS) return status;
  return hmci_fail(status, "%s a peer, %llu B: %s", hmci_operation_name(request->operation.kind), (unsigned long long)request->length,
                   hmc_status_text(status));
}

hmc_status_t hmc_request_test(hmc_request_t *request) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_test: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  if (!hmci_operation_is_complete(&request->operation)) {
    const hmci_transport_ops_t *ops = request->peer->transport->ops;
    ops->progress(request->peer->connection->state);
    if (!hmci_operation_is_complete(&request->operation)) {
      if (hmci_now() < request->operation.deadline) return HMC_IN_PROGRESS;
      expire(request);
    }
  }
  return final_status(request);
}

hmc_status_t hmc_request_wait(hmc_request_t *request) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  if (!hmci_operation_is_complete(&request->operation)) hmci_operation_await(request->peer, &request->operation);
  return final_status(request);
}

hmc_status_t hmc_request_cancel(hmc_request_t *request) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_cancel: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  if (!hmci_operation_is_complete(&request->operation)) {
    request->peer->transport->ops->cancel(request->peer->connection->state, &request->operation, HMC_CANCELLED);
  }
  return final_status(request);
}

void hmc_request_free(hmc_request_t *request) {
  if (!request || hmci_context_is_foreign(request->context)) return;
  hmc_request_cancel(request);
  give_request(request->context, request);
}
