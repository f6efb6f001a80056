/* Operations on their way: in the order they were submitted, each until it is complete. What posts them: pump.c.
 *
 * Two cursors say what is posted, so that a queue pair that is made again goes on from what was retired.
 * Messages (message.c) are not posted again from cursors, but as they were. Parts that any rail may take (stripe.c) are
 * noted one by one instead.
 *
 * A chained operation never completes before the one it is chained to. Invariant: `chained` holds only while the
 * operation before it in the queue is the one meant. */
#include "queue.h"
#include "notes.h"

hmci_operation_t *hmci_verbs_queue_after(verbs_connection_t *connection, hmci_operation_t *operation) {
  hmci_list_t *next = hmci_verbs_state(operation)->link.next;
  return next == &connection->queue ? NULL : hmci_verbs_operation(next);
}

hmci_operation_t *hmci_verbs_queue_before(verbs_connection_t *connection, hmci_operation_t *operation) {
  hmci_list_t *previous = hmci_verbs_state(operation)->link.previous;
  return operation->chained && previous != &connection->queue ? hmci_verbs_operation(previous) : NULL;
}

/* The operation waits for no answers any more. */
static void detach_messages(verbs_connection_t *connection, hmci_operation_t *operation) {
  for (uint32_t i = 0; i < VERBS_WINDOW; i++) {
    verbs_request_t *request = &connection->requests[i];
    if (request->operation != operation) continue;
    request->operation = NULL;
    hmci_verbs_state(operation)->outstanding--;
  }
}

void hmci_verbs_queue_stop(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status) {
  verbs_state_t *state = hmci_verbs_state(operation);
  state->error = status;
  state->posted = true;
  if (connection->current == operation) connection->current = NULL;
  detach_messages(connection, operation);
  if (state->striped) hmci_verbs_rail_forget(connection, operation);
  if (state->question) state->outstanding--;
  state->question = 0;
}

bool hmci_verbs_queue_is_visible(const verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_state_t *state = hmci_verbs_state(operation);
  const verbs_rail_t *main = connection->main;
  if (operation->kind != HMCI_PUT || state->messages || state->striped) return true;
  return main && (main->peer_stores_at_once || (int32_t)(main->visible - state->last) >= 0);
}

bool hmci_verbs_queue_is_settled_there(const hmci_operation_t *operation) {
  const verbs_remote_t *remote = operation->remote_state;
  return operation->kind == HMCI_PUT && remote->settles;
}

static bool is_settled_here(const hmci_operation_t *operation) {
  return operation->kind == HMCI_GET && operation->local->ops->settle;
}

/* The number of a question to the owner about that operation, which is not complete before it is answered. */
static uint32_t ask_owner(verbs_connection_t *connection, verbs_state_t *state) {
  if (++connection->question == 0) connection->question = 1;
  state->question = connection->question;
  state->outstanding++;
  return state->question;
}

/* Makes bytes that an adapter wrote visible to the device. False: the owner does, and will answer. */
static bool settle_bytes(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  if (state->messages || state->settling == VERBS_SETTLED) return true;
  if (is_settled_here(operation)) state->error = operation->local->ops->settle(operation->local->memory.device);
  bool asks = hmci_verbs_queue_is_settled_there(operation);
  state->settling = asks ? VERBS_ASKED : VERBS_SETTLED;
  if (!asks) return true;
  verbs_note_t note = {.type = VERBS_SETTLE,
                       .number = ask_owner(connection, state),
                       .region = operation->remote->id,
                       .generation = operation->remote->generation};
  hmci_verbs_notes_send(connection, &note);
  return false;
}

bool hmci_verbs_queue_try_complete(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  if (!state->posted || state->outstanding || operation->chained) return false;
  if (state->error == HMC_SUCCESS && !hmci_verbs_queue_is_visible(connection, operation)) return false;
  if (state->error == HMC_SUCCESS && !settle_bytes(connection, operation)) return false;
  hmc_status_t status = state->error;
  hmci_operation_t *next = hmci_verbs_queue_after(connection, operation);
  if (connection->next == operation) connection->next = next;
  if (connection->current == operation) connection->current = NULL;
  hmci_list_remove(&state->link);
  connection->transport->expected--;
  hmci_operation_complete(operation, status);
  if (!next || !next->chained) return true;
  next->chained = false;
  if (status != HMC_SUCCESS) hmci_verbs_queue_stop(connection, next, status);
  hmci_verbs_touch(connection);
  hmci_verbs_queue_try_complete(connection, next);
  return true;
}

void hmci_verbs_queue_visible(verbs_connection_t *connection) {
  hmci_list_t *link = connection->queue.next;
  while (link != &connection->queue) {
    hmci_operation_t *operation = hmci_verbs_operation(link);
    if (!hmci_verbs_state(operation)->posted && !operation->chained) return; /* nor is anything behind it */
    /* What completes takes with it, at most, those chained to it, which come right after. */
    hmci_list_t *before = link->previous;
    link = hmci_verbs_queue_try_complete(connection, operation) ? before->next : link->next;
  }
}

/* What is chained to a failing operation was flushed behind it, and must not be sent again meanwhile. */
static void stop_chained(verbs_connection_t *connection, hmci_operation_t *operation) {
  while ((operation = hmci_verbs_queue_after(connection, operation)) && operation->chained) {
    hmci_verbs_queue_stop(connection, operation, HMC_ERROR); /* gets the status of the other in the end */
  }
}

void hmci_verbs_queue_blame(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status) {
  stop_chained(connection, operation);
  if (hmci_verbs_state(operation)->error == HMC_SUCCESS) hmci_verbs_queue_stop(connection, operation, status);
}

void hmci_verbs_queue_ask(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  stop_chained(connection, operation);
  if (state->error != HMC_SUCCESS || state->question) return;
  if (!atomic_load_explicit(&((verbs_remote_t *)operation->remote_state)->generation, memory_order_relaxed)) {
    hmci_verbs_queue_stop(connection, operation, HMC_STALE);
    return;
  }
  if (state->striped) hmci_verbs_rail_forget(connection, operation);
  state->posted = true;
  verbs_note_t note = {
      .type = VERBS_QUERY,
      .number = ask_owner(connection, state),
      .region = operation->remote->id,
      .generation = operation->remote->generation,
      .rights = operation->kind == HMCI_PUT ? HMC_REMOTE_WRITE : HMC_REMOTE_READ,
  };
  hmci_verbs_notes_send(connection, &note);
}

void hmci_verbs_queue_answered(verbs_connection_t *connection, uint32_t question, hmc_status_t status) {
  for (hmci_list_t *link = connection->queue.next; link != &connection->queue; link = link->next) {
    hmci_operation_t *operation = hmci_verbs_operation(link);
    verbs_state_t *state = hmci_verbs_state(operation);
    if (state->question != question) continue;
    if (state->settling == VERBS_ASKED && status == HMC_SUCCESS) {
      state->settling = VERBS_SETTLED;
      state->question = 0;
      state->outstanding--;
    } else {
      hmci_verbs_queue_stop(connection, operation, status == HMC_SUCCESS ? HMC_ERROR : status);
    }
    hmci_verbs_queue_try_complete(connection, operation);
    return;
  }
}

void hmci_verbs_queue_restart(verbs_connection_t *connection, bool moved) {
  connection->next = NULL;
  if (connection->current && !hmci_verbs_state(connection->current)->messages) connection->current = NULL;
  for (hmci_list_t *link = connection->queue.next; link != &connection->queue; link = link->next) {
    hmci_operation_t *operation = hmci_verbs_operation(link);
    verbs_state_t *state = hmci_verbs_state(operation);
    if (!connection->next) connection->next = operation;
    if (state->messages || state->striped || state->error != HMC_SUCCESS || state->question) continue;
    /* A read through one adapter makes nothing visible that another one wrote. */
    if (moved && operation->kind == HMCI_PUT) state->done = (verbs_cursor_t){0};
    state->next = state->done;
    state->posted = false;
  }
}

void hmci_verbs_queue_fail(verbs_connection_t *connection, hmc_status_t status) {
  while (!hmci_list_is_empty(&connection->queue)) {
    hmci_operation_t *operation = hmci_verbs_operation(connection->queue.next);
    if (hmci_verbs_state(operation)->error == HMC_SUCCESS) hmci_verbs_queue_stop(connection, operation, status);
    detach_messages(connection, operation);
    operation->chained = false;
    hmci_verbs_state(operation)->outstanding = 0; /* nothing is in the hardware's hands any more */
    hmci_verbs_queue_try_complete(connection, operation);
  }
}
