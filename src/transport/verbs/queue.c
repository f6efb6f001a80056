/* Operations on their way: in the order they were submitted, each until it is complete.
 *
 * Two cursors say what is posted, so that a queue pair that is made again goes on from what was retired.
 * Messages (message.c) are not posted again from cursors, but as they were.
 *
 * Parts that any rail may take (stripe.c) are noted one by one instead, and what is chained to their operation is held.
 *
 * A chained operation is posted behind the one it is chained to where the queue pair's order makes sure that it
 * comes after it and fails with it: behind a put, and behind a message, which says so to the owner; behind a get it
 * is held until that is complete, and so it is behind a put whose bytes the owner has to settle: to make visible to
 * its device. It never completes before it. Invariant: `chained` holds only while the operation
 * before it in the queue is the one meant. */
#include "verbs.h"

hmci_operation_t *hmci_verbs_queue_after(verbs_connection_t *connection, hmci_operation_t *operation) {
  hmci_list_t *next = hmci_verbs_state(operation)->link.next;
  return next == &connection->queue ? NULL : hmci_verbs_operation(next);
}

hmci_operation_t *hmci_verbs_queue_before(verbs_connection_t *connection, hmci_operation_t *operation) {
  hmci_list_t *previous = hmci_verbs_state(operation)->link.previous;
  return operation->chained && previous != &connection->queue ? hmci_verbs_operation(previous) : NULL;
}

void hmci_verbs_queue_add(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  *state = (verbs_state_t){0};
  if (operation->kind == HMCI_ATOMIC || operation->kind == HMCI_NOTIFY) {
    state->messages = true;
  } else {
    state->messages = operation->checksum || ((const verbs_remote_t *)operation->remote_state)->staged;
    state->striped = !state->messages && hmci_verbs_stripe_fits(connection, operation);
  }
  hmci_list_append(&connection->queue, &state->link);
  connection->transport->expected++;
  if (!connection->next) connection->next = operation;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

void hmci_verbs_queue_stop(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status) {
  verbs_state_t *state = hmci_verbs_state(operation);
  state->error = status;
  state->posted = true;
  if (connection->current == operation) connection->current = NULL;
  hmci_verbs_message_detach(connection, operation);
  if (state->striped) hmci_verbs_stripe_forget(connection, operation);
  if (state->question) state->outstanding--;
  state->question = 0;
}

static bool is_visible(const verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_state_t *state = hmci_verbs_state(operation);
  const verbs_rail_t *main = connection->main;
  if (operation->kind != HMCI_PUT || state->messages || state->striped) return true;
  return main && (main->peer_stores_at_once || (int32_t)(main->visible - state->last) >= 0);
}

/* Does an adapter write into a device's memory that has to be informed? */
static bool is_settled_there(const hmci_operation_t *operation) {
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
  bool asks = is_settled_there(operation);
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
  if (state->error == HMC_SUCCESS && !is_visible(connection, operation)) return false;
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
  if (state->striped) hmci_verbs_stripe_forget(connection, operation);
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
    hmci_verbs_message_detach(connection, operation);
    operation->chained = false;
    hmci_verbs_state(operation)->outstanding = 0; /* nothing is in the hardware's hands any more */
    hmci_verbs_queue_try_complete(connection, operation);
  }
}

/* ---- posting ----------------------------------------------------------------------------------------------------- */

bool hmci_verbs_queue_piece(const hmci_operation_t *operation, verbs_cursor_t from, uint64_t most,
                            verbs_piece_t *piece) {
  while (from.index < operation->segment_count && operation->segments[from.index].length == from.offset) {
    from = (verbs_cursor_t){.index = from.index + 1};
  }
  if (from.index >= operation->segment_count) return false;
  const hmci_segment_t *segment = &operation->segments[from.index];
  *piece = (verbs_piece_t){
      segment->local + from.offset, segment->remote + from.offset, segment->length - from.offset, {from.index, 0}};
  if (piece->length > most) piece->length = most;
  piece->end.offset = from.offset + piece->length;
  return true;
}

hmc_status_t hmci_verbs_queue_place(verbs_rail_t *rail, uint8_t copied[VERBS_COPIED], const hmci_operation_t *operation,
                                    verbs_piece_t *piece, verbs_place_t *place) {
  const hmci_region_view_t *local = operation->local;
  bool put = operation->kind == HMCI_PUT, host = local->ops->host_accessible;
  uint8_t *bytes = local->base + piece->local;
  *place = (verbs_place_t){.piece = {.addr = (uint64_t)(uintptr_t)bytes, .length = (uint32_t)piece->length}};
  if (put && piece->length <= rail->inline_most && (host || piece->length <= VERBS_COPIED)) {
    place->is_inline = true;
    if (host) return HMC_SUCCESS;
    place->piece.addr = (uint64_t)(uintptr_t)copied;
    return hmci_verbs_copy_out(local, bytes, copied, piece->length);
  }
  place->memory = hmci_verbs_memory_use(rail->device, local, piece->local, piece->length, !put);
  if (place->memory) {
    place->piece.addr = place->memory->address + (uint64_t)(bytes - place->memory->base);
    place->piece.lkey = place->memory->handle->lkey;
    return HMC_SUCCESS;
  }
  place->slot = hmci_verbs_slot_take(rail->connection->transport);
  if (!place->slot) return HMC_IN_PROGRESS;
  if (piece->length > VERBS_STAGE) {
    piece->end.offset -= piece->length - VERBS_STAGE;
    piece->length = VERBS_STAGE;
  }
  place->piece = (struct ibv_sge){(uint64_t)(uintptr_t)place->slot->data, (uint32_t)piece->length,
                                  rail->device->slot_memory->lkey};
  hmc_status_t status = put ? hmci_verbs_copy_out(local, bytes, place->slot->data, piece->length) : HMC_SUCCESS;
  if (status != HMC_SUCCESS) hmci_verbs_slot_give(rail->connection->transport, place->slot);
  return status;
}

void hmci_verbs_queue_move(verbs_rail_t *rail, const verbs_piece_t *piece, const verbs_place_t *place,
                           verbs_entry_t *entry) {
  const hmci_operation_t *operation = entry->operation;
  const verbs_remote_t *remote = operation->remote_state;
  bool put = operation->kind == HMCI_PUT;
  entry->memory = place->memory;
  entry->slot = place->slot;
  entry->bytes = piece->length;
  if (!put && place->slot) entry->sink = operation->local->base + piece->local;
  struct ibv_send_wr *request = hmci_verbs_ring_add(rail, entry);
  *request->sg_list = place->piece;
  request->opcode = put ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
  if (place->is_inline) request->send_flags |= IBV_SEND_INLINE;
  request->wr.rdma.remote_addr = remote->ways[rail->index].address + piece->remote;
  request->wr.rdma.rkey = remote->ways[rail->index].key;
}

/* All of an operation has been posted. */
static void end_posting(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  state->posted = true;
  state->last = connection->main->posted;
  if (!is_visible(connection, operation)) connection->main->flush_due = true;
}

static bool has_room(const verbs_rail_t *rail) {
  return hmci_verbs_ring_room(rail) >= VERBS_RESERVE + 2 && rail->flying < VERBS_FLYING;
}

/* Adds a part that has its place. */
static void add_part(verbs_connection_t *connection, hmci_operation_t *operation, const verbs_piece_t *piece,
                     const verbs_place_t *place) {
  verbs_state_t *state = hmci_verbs_state(operation);
  verbs_entry_t entry = {.kind = VERBS_ENTRY_PART, .operation = operation, .end = piece->end};
  hmci_verbs_queue_move(connection->main, piece, place, &entry);
  state->next = piece->end;
  state->outstanding++;
  uint32_t last = operation->segment_count - 1;
  if (piece->end.index == last && piece->end.offset == operation->segments[last].length)
    end_posting(connection, operation);
}

/* Posts the next part of an operation. False: not now. */
static bool post_part(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_rail_t *rail = connection->main;
  verbs_post_t *post = &rail->post;
  verbs_piece_t piece;
  verbs_place_t place;
  if (!has_room(rail)) return false;
  if (!hmci_verbs_queue_piece(operation, hmci_verbs_state(operation)->next, VERBS_PART, &piece)) {
    end_posting(connection, operation); /* its last segments are empty */
    return true;
  }
  if (post->count >= VERBS_POST - 1) hmci_verbs_ring_post(rail);
  hmc_status_t status = hmci_verbs_queue_place(rail, post->copied[post->count], operation, &piece, &place);
  if (status == HMC_IN_PROGRESS) return false;
  if (status != HMC_SUCCESS) {
    hmci_verbs_queue_stop(connection, operation, status);
    return true;
  }
  add_part(connection, operation, &piece, &place);
  return true;
}

bool hmci_verbs_queue_post(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  if (state->striped) return state->posted || hmci_verbs_stripe_post(connection, operation);
  if (!connection->main) return state->posted;
  while (!state->posted) {
    bool moved = state->messages ? hmci_verbs_message_request(connection, operation) : post_part(connection, operation);
    if (!moved) return false;
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
  if (rail->post.count || !has_room(rail)) return false;
  const verbs_piece_t piece = {segment->local, segment->remote, segment->length, {0, segment->length}};
  const verbs_place_t place = {.piece = {.addr = (uint64_t)(uintptr_t)(operation->local->base + segment->local),
                                         .length = (uint32_t)segment->length},
                               .is_inline = true};
  add_part(connection, operation, &piece, &place);
  return true;
}

/* True where an operation must wait for the one before it. */
static bool is_held(verbs_connection_t *connection, hmci_operation_t *operation) {
  hmci_operation_t *before = hmci_verbs_queue_before(connection, operation);
  if (!before) return false;
  const verbs_state_t *state = hmci_verbs_state(before);
  return before->kind == HMCI_GET || is_settled_there(before) || state->striped || !state->posted ||
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
    if (!hmci_verbs_queue_post(connection, operation)) break;
    connection->current = next && next->chained && !is_held(connection, next) ? next : NULL;
    hmci_verbs_queue_try_complete(connection, operation); /* one that had nothing to post */
  }
}

bool hmci_verbs_queue_is_waiting(const verbs_connection_t *connection) {
  return connection->next || connection->current || connection->job_count || connection->repeat_due ||
         connection->lost > 0;
}

void hmci_verbs_queue_pump(verbs_connection_t *connection) {
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
