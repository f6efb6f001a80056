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
  for (uint32_t i = 0; group && i < group->count; i++) {
    if (group->parts[i] && !hmci_request_is_complete(group->parts[i])) hmci_request_end(group->parts[i], status);
  }
  for (uint32_t i = group ? 1 : 0; i < known; i++) {
    if (hmci_operation_is_complete(&request->chain[i])) continue;
    peer->transport->ops->cancel(peer->connection->state, &request->chain[i], status);
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
