/* Large puts and gets over several rails: their pieces are taken by whichever rail has room, so that each carries what
 * it can, and a rail that fails is left out.
 *
 * So are puts of any size, over one rail too, to device memory that the peer's adapter reaches by itself: what makes
 * them visible there is a read of that very memory.
 *
 * A piece is done by itself: the read behind its write, where the peer's device needs one, goes the same way. One that
 * does not get through is lost by its rail, and is taken again before anything new, but not before both ends'
 * queue pairs are gone: until then packets of the former attempt may arrive, and write old bytes over newer ones.
 *
 * Invariant: lost pieces count among the outstanding ones of their operation. */
#include "stripe.h"

/* A put to device memory of the peer that a read of the host's would not make visible. */
static bool reads_back(const verbs_rail_t *rail, const hmci_operation_t *operation) {
  const verbs_remote_t *remote = operation->remote_state;
  return operation->kind == HMCI_PUT && remote->way != VERBS_BY_PAGES && !rail->peer_stores_at_once;
}

bool hmci_verbs_stripe_fits(const verbs_connection_t *connection, const hmci_operation_t *operation) {
  const verbs_remote_t *remote = operation->remote_state;
  uint64_t bytes = 0;
  if (reads_back(&connection->rails[connection->main_before], operation)) return true;
  if (connection->rail_count < 2 || operation->chained) return false;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device && !remote->ways[i].there) return false;
  }
  for (uint32_t i = 0; i < operation->segment_count; i++) bytes += operation->segments[i].length;
  return bytes > VERBS_STRIPE && bytes / operation->segment_count >= VERBS_STRIPE_LEAST;
}

static bool is_free(const verbs_rail_t *rail) {
  return rail->phase == VERBS_UP && !rail->spoilt && hmci_verbs_ring_room(rail) >= VERBS_RESERVE + 3 &&
         rail->flying < VERBS_STRIPE_FLYING;
}

/* The rail to take the next piece: the one with the least to do; NULL: none has room. */
static verbs_rail_t *find_free(verbs_connection_t *connection) {
  verbs_rail_t *best = NULL;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    if (is_free(rail) && (!best || rail->flying < best->flying)) best = rail;
  }
  return best;
}

/* Hands a piece to a rail. HMC_IN_PROGRESS: not now. */
static hmc_status_t hand_out(verbs_rail_t *rail, hmci_operation_t *operation, verbs_piece_t *piece) {
  verbs_post_t *post = &rail->post;
  verbs_cursor_t begin = {piece->end.index, piece->end.offset - piece->length};
  verbs_place_t place;
  bool flushed = operation->kind == HMCI_PUT && !rail->peer_stores_at_once;
  if (post->count >= VERBS_POST - 1) hmci_verbs_ring_post(rail);
  hmc_status_t status = hmci_verbs_straight_place(rail, post->copied[post->count], operation, piece, &place);
  if (status != HMC_SUCCESS) return status;
  const verbs_entry_t stripe = {.kind = VERBS_ENTRY_STRIPE, .operation = operation, .begin = begin, .end = piece->end};
  verbs_entry_t entry = stripe;
  if (flushed) entry.kind = VERBS_ENTRY_FORE;
  hmci_verbs_straight_move(rail, piece, &place, &entry);
  if (flushed) hmci_verbs_ring_flush(rail, &stripe);
  if (reads_back(rail, operation)) {
    const verbs_remote_t *remote = operation->remote_state;
    struct ibv_send_wr *request = &post->requests[post->count - 1];
    request->wr.rdma.remote_addr = remote->ways[rail->index].address + piece->remote;
    request->wr.rdma.rkey = remote->ways[rail->index].key;
    if (piece->length < VERBS_FLUSH_WORD) request->sg_list->length = (uint32_t)piece->length;
  }
  post->requests[post->count - 1].send_flags |= IBV_SEND_SIGNALED;
  rail->signalled = rail->posted;
  return HMC_SUCCESS;
}

/* A rail whose lost pieces can be done again; NULL: there is none. First the one that is to do it. */
static verbs_rail_t *find_lost(verbs_connection_t *connection, verbs_rail_t *first) {
  if (!connection->lost) return NULL;
  if (first->lost_count) return first;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    if (rail->lost_count && rail->phase != VERBS_FLUSHING && rail->phase != VERBS_PARTING) return rail;
  }
  return NULL;
}

/* Gives the next lost piece to a rail. False: there is none, or no room. `current` is settled by the caller. */
static bool hand_out_lost(verbs_connection_t *connection, verbs_rail_t *rail, const hmci_operation_t *current,
                          bool *room) {
  verbs_rail_t *loser = find_lost(connection, rail);
  if (!loser) return false;
  verbs_entry_t *entry = &loser->lost[loser->lost_count - 1];
  hmci_operation_t *operation = entry->operation;
  verbs_piece_t piece;
  hmci_verbs_straight_piece(operation, entry->begin, entry->end.offset - entry->begin.offset, &piece);
  hmc_status_t status = hand_out(rail, operation, &piece);
  if (status == HMC_SUCCESS) {
    entry->begin = piece.end; /* a slot may hold less than all of it */
    if (entry->begin.offset == entry->end.offset) {
      loser->lost_count--;
      connection->lost--;
    } else {
      hmci_verbs_state(operation)->outstanding++;
    }
  } else if (status != HMC_IN_PROGRESS) {
    hmci_verbs_queue_stop(connection, operation, status);
    if (operation != current) hmci_verbs_queue_try_complete(connection, operation);
  }
  *room = status != HMC_IN_PROGRESS;
  return *room;
}

bool hmci_verbs_stripe_post(verbs_connection_t *connection, hmci_operation_t *operation) {
  verbs_state_t *state = operation ? hmci_verbs_state(operation) : NULL;
  verbs_rail_t *rail;
  bool room = true;
  while ((rail = find_free(connection))) {
    verbs_piece_t piece;
    if (hand_out_lost(connection, rail, operation, &room)) continue;
    if (!room || !operation) return room;
    if (state->posted) return true;
    if (!hmci_verbs_straight_piece(operation, state->next, VERBS_STRIPE, &piece)) {
      state->posted = true;
      return true;
    }
    hmc_status_t status = hand_out(rail, operation, &piece);
    if (status == HMC_IN_PROGRESS) return false;
    if (status != HMC_SUCCESS) {
      hmci_verbs_queue_stop(connection, operation, status);
      return true;
    }
    state->next = piece.end;
    state->outstanding++;
  }
  return !operation;
}

bool hmci_verbs_stripe_or_straight_post(verbs_connection_t *connection, hmci_operation_t *operation) {
  const verbs_state_t *state = hmci_verbs_state(operation);
  if (state->striped) return state->posted || hmci_verbs_stripe_post(connection, operation);
  return hmci_verbs_straight_post(connection, operation);
}
