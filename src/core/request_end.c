/* Ending requests before they end by themselves: by the deadline, a cancel, or with their peer.
 *
 * A request may be at one of several places when it is ended: a setup that runs, an event that it waits for, workers
 * that move its data, the second pass over its checksums, a notification that waits for credit, the transport. Each
 * place is asked for it, and the one that gives it up, or the thread that has taken it from there, completes it.
 *
 * A peer may be closed, and a context be destroyed, while other threads wait for their requests: these complete first,
 * and the thread that frees peer or context waits until nobody is among a request's `users`.
 *
 * Locking: takes that of each place for a moment; see their files. */
#include "request.h"

/* The result is decided here, by what became of the part in progress. */
static void end_checked(hmc_request_t *request, hmc_status_t status) {
  const hmci_transport_ops_t *ops = request->peer->transport->ops;
  if (!hmci_checksum_claim(request)) {
    hmci_operation_sleep(hmci_request_last(request), HMCI_NEVER); /* who has claimed it takes a moment */
    return;
  }
  bool rest = request->checksum.phase == HMCI_CHECKSUM_REST;
  hmci_operation_t *part = &request->chain[rest ? request->count - 2 : 0];
  for (hmci_operation_t *operation = &request->chain[rest ? 1 : 0]; operation <= part; operation++) {
    if (!hmci_operation_is_complete(operation)) ops->cancel(request->peer->connection->state, operation, status);
  }
  if (rest || part->status != HMC_SUCCESS) status = part->status;
  hmci_operation_complete(hmci_request_last(request), status);
}

static void complete_rest(hmc_request_t *whole, hmc_status_t status) {
  uint32_t count = whole->count;
  for (uint32_t i = 1; i < count; i++) hmci_operation_complete(&whole->chain[i], status);
}

/* A part of a group is complete, or all have been started. */
void hmci_request_end_part(hmc_request_t *whole, hmc_status_t status) {
  hmci_group_t *group = whole->group;
  uint32_t none = HMC_SUCCESS;
  if (status != HMC_SUCCESS) atomic_compare_exchange_strong(&group->status, &none, (uint32_t)status);
  if (atomic_fetch_sub(&group->left, 1) > 1) return;
  bool rest = atomic_fetch_add(&group->ends, 1) == 1; /* then it stays until this thread ends it, else it may be gone */
  hmci_operation_complete(&whole->chain[0], (hmc_status_t)atomic_load(&group->status));
  if (rest) complete_rest(whole, group->end);
}

void hmci_request_end_rest(hmc_request_t *whole, hmc_status_t status) {
  hmci_group_t *group = whole->group;
  group->end = status;
  if (atomic_fetch_add(&group->ends, 1) == 0) return;                 /* the last part does it */
  while (!hmci_operation_is_complete(&whole->chain[0])) hmci_pause(); /* its thread is a few instructions from it */
  complete_rest(whole, status);
}

/* Each part may go to another peer, which may be closed meanwhile. */
static void end_parts(const hmci_group_t *group, hmc_status_t status) {
  for (uint32_t i = 0; i < group->count; i++) {
    hmc_request_t *part = group->parts[i];
    if (!part) continue;
    hmci_request_enter(part);
    if (!hmci_request_is_complete(part)) hmci_request_end(part, status);
    hmci_request_leave(part);
  }
}

void hmci_request_end(hmc_request_t *request, hmc_status_t status) {
  if (request->is_setup) {
    hmci_setup_end(request, status);
    return;
  }
  if (request->delayed && hmci_delay_end(request, status)) return;
  if (request->working && hmci_work_stop(&request->work, status)) return;
  if (request->checksummed) {
    end_checked(request, status);
    return;
  }
  hmc_peer_t *peer = request->peer;
  hmci_group_t *group = request->group;
  bool parked = request->posted && hmci_post_unpark(peer, &request->parked);
  /* What is not the transport's is ended here, or by the thread that has taken it out. */
  bool unknown = request->posted && !atomic_load(&request->parked.submitted);
  uint32_t count = request->count, known = unknown ? count - request->parked.count : count;
  if (group) end_parts(group, status);
  for (uint32_t i = group ? 1 : 0; i < known; i++) {
    if (hmci_operation_is_complete(&request->chain[i])) continue;
    peer->transport->ops->cancel(peer->connection->state, &request->chain[i], status);
  }
  if (group && parked) {
    hmci_request_end_rest(request, status); /* not before the parts, some of which may be copying still */
    return;
  }
  for (; parked && known < count; known++) hmci_operation_complete(&request->chain[known], status);
}

hmc_status_t hmc_request_cancel(hmc_request_t *request) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_cancel: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  if (hmci_request_is_complete(request)) return hmci_request_status(request);
  hmci_request_enter(request);
  if (!hmci_request_is_complete(request)) hmci_request_end_now(request, HMC_CANCELLED);
  hmc_status_t status = hmci_request_status(request);
  hmci_request_leave(request);
  return status;
}
