/* Parts of puts and gets that go straight: RDMA writes and reads of the main rail; and where the bytes of a part lie. */
#include "straight.h"

bool hmci_verbs_straight_piece(const hmci_operation_t *operation, verbs_cursor_t from, uint64_t most,
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

hmc_status_t hmci_verbs_straight_place(verbs_rail_t *rail, uint8_t copied[VERBS_COPIED],
                                       const hmci_operation_t *operation, verbs_piece_t *piece, verbs_place_t *place) {
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
  if (hmci_verbs_memory_use(rail->device, local, piece->local, piece->length, !put, &place->memory) == HMC_IN_PROGRESS)
    return HMC_IN_PROGRESS;
  if (place->memory) {
    place->piece.addr = place->memory->address + (uint64_t)(bytes - place->memory->base);
    place->piece.lkey = place->memory->handle->lkey;
    return HMC_SUCCESS;
  }
  place->slot = hmci_verbs_slot_take(rail->connection, VERBS_FOR_OPERATIONS);
  if (!place->slot) return HMC_IN_PROGRESS;
  if (piece->length > VERBS_STAGE) {
    piece->end.offset -= piece->length - VERBS_STAGE;
    piece->length = VERBS_STAGE;
  }
  place->piece = (struct ibv_sge){(uint64_t)(uintptr_t)place->slot->data, (uint32_t)piece->length,
                                  hmci_verbs_slot_key(place->slot, rail->device)};
  hmc_status_t status = put ? hmci_verbs_copy_out(local, bytes, place->slot->data, piece->length) : HMC_SUCCESS;
  if (status != HMC_SUCCESS) hmci_verbs_slot_give(place->slot);
  return status;
}

void hmci_verbs_straight_move(verbs_rail_t *rail, const verbs_piece_t *piece, const verbs_place_t *place,
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
  if (!hmci_verbs_queue_is_visible(connection, operation)) connection->main->flush_due = true;
}

bool hmci_verbs_straight_has_room(const verbs_rail_t *rail) {
  return hmci_verbs_ring_room(rail) >= VERBS_RESERVE + 2 && rail->flying < VERBS_FLYING;
}

void hmci_verbs_straight_add(verbs_connection_t *connection, hmci_operation_t *operation, const verbs_piece_t *piece,
                             const verbs_place_t *place) {
  verbs_state_t *state = hmci_verbs_state(operation);
  verbs_entry_t entry = {.kind = VERBS_ENTRY_PART, .operation = operation, .end = piece->end};
  hmci_verbs_straight_move(connection->main, piece, place, &entry);
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
  if (!hmci_verbs_straight_has_room(rail)) return false;
  if (!hmci_verbs_straight_piece(operation, hmci_verbs_state(operation)->next, VERBS_PART, &piece)) {
    end_posting(connection, operation); /* its last segments are empty */
    return true;
  }
  if (post->count >= VERBS_POST - 1) hmci_verbs_ring_post(rail);
  hmc_status_t status = hmci_verbs_straight_place(rail, post->copied[post->count], operation, &piece, &place);
  if (status == HMC_IN_PROGRESS) return false;
  if (status != HMC_SUCCESS) {
    hmci_verbs_queue_stop(connection, operation, status);
    return true;
  }
  hmci_verbs_straight_add(connection, operation, &piece, &place);
  return true;
}

bool hmci_verbs_straight_post(verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_state_t *state = hmci_verbs_state(operation);
  if (!connection->main) return state->posted;
  while (!state->posted) {
    if (!post_part(connection, operation)) return false;
  }
  return true;
}
