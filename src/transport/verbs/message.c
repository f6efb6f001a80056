/* Messages, the requesting end: what the owner's service thread does for this side.
 *
 * A message lies in a slot, or where it is but a header in the request itself, until it is answered, so that it can
 * be sent again over a new queue pair. Its number tells the owner whether it has been done already. At most
 * VERBS_WINDOW wait for their answers; over a queue pair that was made again it is one at first, so that a path which
 * fails again and again lets some answers through before it does.
 *
 * The user's memory is copied into the slot, and out of the buffer that an answer arrived in: to forget a message
 * takes no hardware. */
#include "message.h"

#include "stripe.h"

#include <string.h>

static verbs_request_t *request_at(verbs_connection_t *connection, uint32_t number) {
  return &connection->requests[number % VERBS_WINDOW];
}

/* Is it in the queue of a rail that is not flushed? */
static bool is_posted(const verbs_request_t *request) {
  return request->rail && (int32_t)(request->count - request->rail->retired) >= 0;
}

/* An answer shows that the hardware is through with what it was to send, but not with a copy of it: that one's entry has the
 * slot until it is retired. */
static void free_slot(verbs_request_t *request, bool answered) {
  if (is_posted(request) && (request->twice || !answered)) {
    request->rail->entries[request->count % VERBS_SEND_QUEUE].slot = request->slot;
  } else {
    hmci_verbs_slot_give(request->slot);
  }
}

static void free_request(verbs_connection_t *connection, verbs_request_t *request, bool answered) {
  if (request->slot) free_slot(request, answered);
  if (request->sent) connection->unanswered--;
  *request = (verbs_request_t){0};
  connection->transport->asked--;
  while (connection->request_first != connection->request_next &&
         !request_at(connection, connection->request_first)->busy) {
    connection->request_first++;
  }
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void send_request(verbs_connection_t *connection, verbs_request_t *request) {
  verbs_rail_t *rail = connection->main;
  struct ibv_send_wr *wanted = hmci_verbs_ring_add(rail, &(verbs_entry_t){.kind = VERBS_ENTRY_REQUEST});
  wanted->opcode = IBV_WR_SEND;
  wanted->send_flags |= IBV_SEND_SOLICITED;
  uint8_t *data = request->slot ? request->slot->data : request->header;
  *wanted->sg_list = (struct ibv_sge){(uint64_t)(uintptr_t)data, request->size,
                                      request->slot ? hmci_verbs_slot_key(request->slot, rail->device) : 0};
  if (!request->slot) wanted->send_flags |= IBV_SEND_INLINE;
  request->twice = request->rail != NULL;
  if (request->twice) { /* its slot waits for this copy */
    wanted->send_flags |= IBV_SEND_SIGNALED;
    rail->signalled = rail->posted;
  }
  request->rail = rail;
  request->count = rail->posted - 1;
  request->sent = true;
  connection->unanswered++;
}

/* Room for one more message, and what goes with it. */
static bool has_room(const verbs_connection_t *connection) {
  return connection->unanswered < connection->window && hmci_verbs_ring_room(connection->main) >= 3;
}

/* True where the owner is to refuse the message where the one before it failed. */
static bool depends(verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_state_t *state = hmci_verbs_state(operation);
  if (state->next.index || state->next.offset) return true; /* on the part before */
  hmci_operation_t *before = hmci_verbs_queue_before(connection, operation);
  return before && hmci_verbs_state(before)
                       ->messages; /* what it follows went straight otherwise, and fails with the queue pair */
}

static verbs_message_t describe(verbs_connection_t *connection, hmci_operation_t *operation,
                                const verbs_piece_t *piece) {
  static const uint8_t types[] = {
      [HMCI_PUT] = VERBS_PUT, [HMCI_GET] = VERBS_GET, [HMCI_ATOMIC] = VERBS_ATOMIC, [HMCI_NOTIFY] = VERBS_NOTIFY};
  verbs_message_t message = {.type = types[operation->kind],
                             .chained = depends(connection, operation),
                             .number = connection->request_next,
                             .offset = piece->remote,
                             .length = piece->length};
  message.checksum = operation->checksum;
  if (operation->kind != HMCI_NOTIFY) {
    message.region = operation->remote->id;
    message.generation = operation->remote->generation;
    message.lease = operation->lease;
  }
  if (operation->kind == HMCI_ATOMIC) {
    message.operation = (uint8_t)operation->atomic.operation;
    message.value = operation->atomic.operand;
    message.compare = operation->atomic.compare;
  }
  return message;
}

/* What the next message of an operation is about; false: there is none left. */
static bool next_piece(const hmci_operation_t *operation, const verbs_state_t *state, verbs_piece_t *piece) {
  if (operation->kind == HMCI_PUT || operation->kind == HMCI_GET) {
    return hmci_verbs_straight_piece(operation, state->next, VERBS_STAGE, piece);
  }
  *piece = (verbs_piece_t){.remote = operation->single.remote, .length = operation->single.length, .end = {.index = 1}};
  if (operation->kind == HMCI_NOTIFY) *piece = (verbs_piece_t){.length = operation->message_size, .end = {.index = 1}};
  return state->next.index == 0;
}

static hmc_status_t fill_payload(const hmci_operation_t *operation, const verbs_piece_t *piece, uint8_t *to) {
  if (operation->kind == HMCI_PUT)
    return hmci_verbs_copy_out(operation->local, operation->local->base + piece->local, to, piece->length);
  memcpy(to, operation->message, piece->length);
  return HMC_SUCCESS;
}

/* A header alone goes inline, where every rail can do that: it may have to go over another one in the end. */
static bool goes_inline(const verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device && connection->rails[i].inline_most < VERBS_HEADER) return false;
  }
  return true;
}

bool hmci_verbs_message_request(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = hmci_verbs_state(operation);
  verbs_piece_t piece;
  if (!next_piece(operation, state, &piece)) {
    state->posted = true;
    return true;
  }
  if (connection->request_next - connection->request_first >= VERBS_WINDOW || !has_room(connection)) return false;
  bool payload = operation->kind == HMCI_PUT || operation->kind == HMCI_NOTIFY;
  verbs_slot_t *slot = NULL;
  if ((payload || !goes_inline(connection)) && !(slot = hmci_verbs_slot_take(connection, VERBS_FOR_OPERATIONS)))
    return false;
  hmc_status_t status = payload ? fill_payload(operation, &piece, slot->data + VERBS_HEADER) : HMC_SUCCESS;
  if (status != HMC_SUCCESS) {
    hmci_verbs_slot_give(slot);
    hmci_verbs_queue_stop(connection, operation, status);
    return true;
  }
  verbs_request_t *request = request_at(connection, connection->request_next);
  verbs_message_t message = describe(connection, operation, &piece);
  *request = (verbs_request_t){.operation = operation,
                               .number = connection->request_next,
                               .busy = true,
                               .writes = operation->kind == HMCI_PUT || operation->kind == HMCI_ATOMIC,
                               .slot = slot,
                               .size = VERBS_HEADER + (payload ? (uint32_t)piece.length : 0),
                               .bytes = piece.length,
                               .end = piece.end};
  if (operation->kind == HMCI_GET) request->sink = operation->local->base + piece.local;
  uint8_t *data = slot ? slot->data : request->header;
  if (operation->kind == HMCI_PUT && message.checksum)
    message.value = hmci_crc32c(0, data + VERBS_HEADER, piece.length);
  hmci_verbs_message_encode(data, &message);
  connection->request_next++;
  connection->transport->asked++;
  state->next = piece.end;
  state->outstanding++;
  send_request(connection, request);
  return true;
}

bool hmci_verbs_message_repeat(verbs_connection_t *connection) {
  for (uint32_t number = connection->request_first; number != connection->request_next; number++) {
    verbs_request_t *request = request_at(connection, number);
    if (!request->busy || request->sent) continue;
    hmci_operation_t *operation = request->operation;
    if (!operation) {
      free_request(connection, request, false);
      continue;
    }
    /* The put that the message comes after goes first again; a message before it did so by its number. */
    hmci_operation_t *before = hmci_verbs_queue_before(connection, operation);
    if (before && !hmci_verbs_state(before)->messages && !hmci_verbs_stripe_or_straight_post(connection, before))
      return false;
    if (!has_room(connection)) return false;
    send_request(connection, request);
  }
  connection->repeat_due = false;
  return true;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static hmc_status_t take_result(verbs_request_t *request, const verbs_message_t *answer, const uint8_t *payload) {
  hmci_operation_t *operation = request->operation;
  if (answer->type == VERBS_DATA) {
    bool sound = !operation->checksum || (answer->checksum && answer->value == hmci_crc32c(0, payload, request->bytes));
    return sound ? hmci_verbs_copy_in(operation->local, request->sink, payload, request->bytes) : HMC_CORRUPT;
  }
  if (answer->status == HMC_SUCCESS) operation->atomic.fetched = answer->value;
  return (hmc_status_t)answer->status;
}

hmc_status_t hmci_verbs_message_answered(verbs_connection_t *connection, const verbs_message_t *answer,
                                         const uint8_t *payload) {
  verbs_request_t *request = request_at(connection, answer->number);
  if (!request->busy || request->number != answer->number || !request->sent)
    return HMC_SUCCESS; /* it was repeated, and answered twice */
  hmci_operation_t *operation = request->operation;
  if (connection->window < VERBS_WINDOW) connection->window *= 2;
  hmci_verbs_touch(connection);
  if (operation) {
    bool get = operation->kind == HMCI_GET;
    bool fits =
        answer->type == VERBS_DATA ? get && answer->length == request->bytes : !get || answer->status != HMC_SUCCESS;
    if (!fits)
      return hmci_fail(HMC_CORRUPT, "an answer of type %u to an operation of kind %d", answer->type,
                       (int)operation->kind);
    verbs_state_t *state = hmci_verbs_state(operation);
    hmc_status_t status = take_result(request, answer, payload);
    state->done = request->end;
    state->outstanding--;
    request->operation = NULL;
    if (status != HMC_SUCCESS) hmci_verbs_queue_stop(connection, operation, status);
  }
  free_request(connection, request, true);
  if (operation) hmci_verbs_queue_try_complete(connection, operation);
  return HMC_SUCCESS;
}

bool hmci_verbs_message_is_late(const verbs_connection_t *connection) {
  for (uint32_t number = connection->request_first; number != connection->request_next; number++) {
    const verbs_request_t *request = &connection->requests[number % VERBS_WINDOW];
    if (request->busy && request->writes && !request->operation) return true;
  }
  return false;
}

/* ---- forgetting -------------------------------------------------------------------------------------------------- */

void hmci_verbs_message_restart(verbs_connection_t *connection) {
  connection->repeat_due = connection->request_first != connection->request_next;
  connection->unanswered = 0;
  connection->window = 1;
  for (uint32_t i = 0; i < VERBS_WINDOW; i++) connection->requests[i].sent = false;
}

void hmci_verbs_message_forget(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < VERBS_WINDOW; i++) {
    if (connection->requests[i].busy) free_request(connection, &connection->requests[i], true);
  }
}
