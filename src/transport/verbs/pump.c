/* What is posted next: answers, what a rail lost, and the operations of the queue in their order.
 *
 * A chained operation is posted behind the one it is chained to where the queue pair's order makes sure that it
 * comes after it and fails with it: behind a put, and behind a message, which says so to the owner; behind a get it
 * is held until that is complete, and so it is behind a put whose bytes the owner has to settle: to make visible to
 * its device; and behind a striped one. */
#include "pump.h"

#include "message.h"
#include "pairing.h"
#include "stripe.h"

void hmci_verbs_pump_add(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  *state = (verbs_state_t){0};
  if (operation->kind == HMCI_ATOMIC || operation->kind == HMCI_NOTIFY) {
    state->messages = true;
  } else {
    bool follows = operation->kind == HMCI_PUT && hmci_verbs_message_is_late(connection);
    state->messages = operation->checksum || ((const verbs_remote_t *)operation->remote_state)->staged || follows;
    state->striped = !state->messages && hmci_verbs_stripe_fits(connection, operation);
  }
  hmci_list_append(&connection->queue, &state->link);
  connection->transport->expected++;
  if (!connection->next) connection->next = operation;
}

/* Posts a whole operation. False: not all of it now. */
static bool post(verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_state_t *state = hmci_verbs_state(operation);
  if (!state->messages) return hmci_verbs_stripe_or_straight_post(connection, operation);
  if (!connection->main) return state->posted;
  while (!state->posted) {
    if (!hmci_verbs_message_request(connection, operation)) return false;
  }
  return true;
}

/* Posts a small put while nothing else is to be posted, as nearly all operations that are waited for are: what the pump
 * would do in twice the instructions. False: it is none, or not now. */
static bool post_small(verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_rail_t *rail = connection->main;
  const verbs_state_t *state = hmci_verbs_state(operation);
  const hmci_segment_t *segment = operation->segments;
  if (operation->kind != HMCI_PUT || operation->segment_count != 1 || state->next.offset) return false;
  if (state->messages || state->striped) return false;
  if (!rail || segment->length > rail->inline_most || !operation->local->ops->host_accessible) return false;
  if (rail->post.count || !hmci_verbs_straight_has_room(rail)) return false;
  const verbs_piece_t piece = {segment->local, segment->remote, segment->length, {0, segment->length}};
  const verbs_place_t place = {.piece = {.addr = (uint64_t)(uintptr_t)(operation->local->base + segment->local),
                                         .length = (uint32_t)segment->length},
                               .is_inline = true};
  hmci_verbs_straight_add(connection, operation, &piece, &place);
  return true;
}

/* True where an operation must wait for the one before it. */
static bool is_held(verbs_connection_t *connection, hmci_operation_t *operation) {
  hmci_operation_t *before = hmci_verbs_queue_before(connection, operation);
  if (!before) return false;
  const verbs_state_t *state = hmci_verbs_state(before);
  return before->kind == HMCI_GET || hmci_verbs_queue_is_settled_there(before) || state->striped || !state->posted ||
         state->error != HMC_SUCCESS;
}

/* The operation to be posted next: what has begun, and what follows on it, before all others. */
static hmci_operation_t *pick(verbs_connection_t *connection) {
  if (connection->current) return connection->current;
  bool first = true;
  for (hmci_operation_t *operation = connection->next; operation;
       operation = hmci_verbs_queue_after(connection, operation)) {
    bool posted = hmci_verbs_state(operation)->posted;
    if (first) connection->next = operation; /* all before it are posted */
    first = first && posted;
    if (!posted && !is_held(connection, operation)) return operation;
  }
  if (first) connection->next = NULL;
  return NULL;
}

/* Is an operation being taken back? Then what comes after it waits until both ends are done with its bytes. */
static bool is_recalling(const verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].recalled) return true;
  }
  return false;
}

/* Is one operation all that there is to post, and is it a small put? Then it has been posted. */
static bool post_only(verbs_connection_t *connection) {
  hmci_operation_t *only = connection->next;
  if (!only || connection->current || hmci_verbs_state(only)->link.next != &connection->queue) return false;
  if (!post_small(connection, only)) return false;
  connection->next = NULL;
  return true;
}

static void post_operations(verbs_connection_t *connection) {
  hmci_operation_t *operation;
  while ((operation = pick(connection))) {
    hmci_operation_t *next = hmci_verbs_queue_after(connection, operation);
    connection->current = operation;
    if (!post(connection, operation)) break;
    connection->current = next && next->chained && !is_held(connection, next) ? next : NULL;
    hmci_verbs_queue_try_complete(connection, operation); /* one that had nothing to post */
  }
}

bool hmci_verbs_pump_is_waiting(const verbs_connection_t *connection) {
  return connection->next || connection->current || connection->job_count || connection->repeat_due ||
         connection->lost > 0;
}

void hmci_verbs_pump(verbs_connection_t *connection) {
  verbs_rail_t *main = connection->main;
  if (connection->failed || is_recalling(connection)) return;
  bool room = !main || !main->spoilt;
  if (main && room && connection->job_count) hmci_verbs_answer_send(connection);
  if (main && room && connection->repeat_due) room = hmci_verbs_message_repeat(connection);
  if (connection->lost) room = hmci_verbs_stripe_post(connection, NULL) && room;
  if (room && !post_only(connection)) post_operations(connection);
  if (main && main->flush_due && !main->spoilt)
    hmci_verbs_ring_flush(main, &(verbs_entry_t){.kind = VERBS_ENTRY_FLUSH});
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    hmci_verbs_ring_post(rail);
    if (rail->spoilt) hmci_verbs_pairing_break(rail, true);
  }
}
