/* How the two ends of a rail come to have queue pairs that belong together, the first time and whenever one fails.
 *
 * The dialling end leads, so that two never begin at once. A round is an epoch: CONNECT with its queue pair; the
 * acceptor makes one, connects it and answers CONNECTED; the dialler connects its own, sees a read of the peer's flush
 * word come back, for only that shows that packets get through, and says READY, before which the acceptor sends
 * nothing. An end whose queue pair failed says BROKEN once it is gone, and the other one breaks its own and says so
 * too. Only when both are gone is anything done again that was in progress.
 *
 *   UNMADE --make--> CONNECTING --connected--> [PROBING --came back-->] UP --break--> FLUSHING --all retired--> PARTING
 *     ^---------------------------------------the peer's is gone------------------------------------------------'
 *
 * The main rail is one that is up, and another one as soon as it is not. A rail that keeps failing is tried at growing
 * intervals, the peer is lost when none is up and for HMC_PEER_TIMEOUT nothing came through. */
#include "pairing.h"

#include "message.h"
#include "notes.h"

#include <stdio.h>
#include <string.h>

#define RETRY_FIRST UINT64_C(20000000)

static void retry_at(verbs_rail_t *rail, uint64_t when) {
  rail->retry_when = when;
  hmci_loop_set_timer(rail->connection->transport->host->loop, &rail->retry, when);
}

void hmci_verbs_pairing_works(verbs_rail_t *rail) {
  rail->connection->down_since = 0;
  if (rail->phase == VERBS_UP) rail->failures = 0;
}

/* At once, unless the last attempt failed as well. */
static void retry_later(verbs_rail_t *rail) {
  uint64_t delay = 0;
  if (rail->dead) return;
  if (rail->failures > 1) delay = RETRY_FIRST << (rail->failures < 8 ? rail->failures - 2 : 6);
  retry_at(rail, hmci_now() + (delay < VERBS_RETRY_MOST ? delay : VERBS_RETRY_MOST));
}

static verbs_rail_t *find_up(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].phase == VERBS_UP) return &connection->rails[i];
  }
  return NULL;
}

/* The way of all that is not striped; what was in progress on the former one is done again. */
static void choose_main(verbs_connection_t *connection) {
  if (connection->main || connection->failed) return;
  verbs_rail_t *former = &connection->rails[connection->main_before];
  if (former->phase == VERBS_FLUSHING || former->phase == VERBS_PARTING) return; /* it may still be done there */
  connection->main = find_up(connection);
  if (!connection->main) return;
  hmci_verbs_queue_restart(connection, connection->main != former && !former->peer_stores_at_once);
  connection->main_before = connection->main->index;
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static void come_up(verbs_rail_t *rail) {
  verbs_connection_t *connection = rail->connection;
  rail->phase = VERBS_UP;
  rail->tried = true;
  connection->down_since = 0;
  choose_main(connection);
  hmci_verbs_touch(connection);
  pthread_cond_broadcast(&connection->changed);
}

/* At the dialling end. */
static hmc_status_t begin_round(verbs_rail_t *rail) {
  hmc_status_t status = hmci_verbs_pair_make(rail);
  if (status != HMC_SUCCESS) return status;
  rail->epoch++;
  rail->phase = VERBS_CONNECTING;
  rail->peer_gone = rail->recalled = false;
  verbs_note_t note = {.type = VERBS_CONNECT, .rail = (uint8_t)rail->index};
  hmci_verbs_pair_describe(rail, &note);
  hmci_verbs_notes_send(rail->connection, &note);
  return HMC_SUCCESS;
}

hmc_status_t hmci_verbs_pairing_add(verbs_connection_t *connection, const verbs_gid_t *mine,
                                    const verbs_gid_t *theirs) {
  verbs_rail_t *rail = &connection->rails[connection->rail_count];
  hmc_status_t status = hmci_verbs_rail_open(rail, connection->transport->ports[mine->place].device);
  if (status != HMC_SUCCESS) return status;
  rail->mine = mine->place;
  rail->theirs = theirs->place;
  rail->peer_gid = *theirs;
  connection->rail_count++;
  return HMC_SUCCESS;
}

static void count_failure(verbs_rail_t *rail) {
  verbs_connection_t *connection = rail->connection;
  if (!connection->down_since && !find_up(connection)) connection->down_since = hmci_now();
  rail->failures++;
}

/* The round came to nothing: `reason`. The first one of each rail decides whether there is a connection at all. */
static void end_round(verbs_rail_t *rail, const char *reason) {
  verbs_connection_t *connection = rail->connection;
  hmci_verbs_pair_destroy(rail);
  rail->phase = VERBS_UNMADE;
  if (!rail->tried) snprintf(connection->refusal, sizeof connection->refusal, "%.180s", reason);
  rail->tried = true;
  hmci_log(HMC_LOG_DEBUG, "no queue pair: %s", reason);
  count_failure(rail);
  retry_later(rail);
  pthread_cond_broadcast(&connection->changed);
}

hmc_status_t hmci_verbs_pairing_begin(verbs_connection_t *connection) {
  hmc_status_t status = HMC_SUCCESS;
  bool begun = false;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    hmc_status_t one = begin_round(&connection->rails[i]);
    begun |= one == HMC_SUCCESS;
    if (one == HMC_SUCCESS) continue;
    status = one;
    end_round(&connection->rails[i], hmc_last_error());
  }
  return begun ? HMC_SUCCESS : status;
}

static void take_connected(verbs_rail_t *rail, const verbs_note_t *note) {
  rail->peer = *note;
  if (hmci_verbs_pair_connect(rail) != HMC_SUCCESS) {
    end_round(rail, hmc_last_error());
    return;
  }
  rail->phase = VERBS_PROBING;
  hmci_verbs_ring_flush(rail, &(verbs_entry_t){.kind = VERBS_ENTRY_FLUSH});
  hmci_verbs_ring_post(rail);
  if (rail->spoilt) hmci_verbs_pairing_break(rail, true);
}

void hmci_verbs_pairing_proven(verbs_rail_t *rail) {
  verbs_note_t ready = {.type = VERBS_READY, .rail = (uint8_t)rail->index, .epoch = rail->epoch};
  hmci_verbs_notes_send(rail->connection, &ready);
  come_up(rail);
}

bool hmci_verbs_pairing_give_up(verbs_connection_t *connection) {
  uint64_t limit = connection->transport->host->settings->peer_timeout;
  if (!connection->down_since || hmci_now() - connection->down_since <= limit) return false;
  hmci_verbs_lose(connection, "RDMA to it has failed for as long as HMC_PEER_TIMEOUT");
  return true;
}

/* ---- the accepting end ------------------------------------------------------------------------------------------- */

/* The first CONNECT of a rail, which come in their order. A device that cannot be used leaves a rail that never comes
 * up. */
static hmc_status_t take_place(verbs_rail_t *rail, const verbs_note_t *note) {
  verbs_transport_t *transport = rail->connection->transport;
  if (rail->device) return note->to == rail->mine ? HMC_SUCCESS : hmci_fail(HMC_CORRUPT, "the peer changed devices");
  if (note->to >= transport->gid_count)
    return hmci_fail(HMC_CORRUPT, "RDMA address %u of %u", note->to, transport->gid_count);
  hmc_status_t status = hmci_verbs_rail_open(rail, transport->ports[note->to].device);
  if (status != HMC_SUCCESS) return status;
  rail->mine = note->to;
  rail->theirs = note->from;
  return HMC_SUCCESS;
}

static void take_connect(verbs_rail_t *rail, const verbs_note_t *note) {
  rail->peer = *note;
  hmci_verbs_pair_destroy(rail); /* of a round that the dialler could not finish */
  rail->phase = VERBS_UNMADE;
  hmc_status_t status = take_place(rail, note);
  if (status == HMC_SUCCESS) {
    rail->epoch = note->epoch;
    rail->peer_gone = rail->recalled = false;
    memcpy(rail->peer_gid.raw, note->gid, sizeof note->gid);
    status = hmci_verbs_pair_make(rail);
  }
  if (status == HMC_SUCCESS) status = hmci_verbs_pair_connect(rail);
  if (status != HMC_SUCCESS) {
    verbs_note_t refusal = {.type = VERBS_REFUSED, .rail = (uint8_t)rail->index, .epoch = note->epoch};
    snprintf(refusal.text, sizeof refusal.text, "%.180s", hmc_last_error());
    hmci_verbs_pair_destroy(rail);
    hmci_verbs_notes_send(rail->connection, &refusal);
    return;
  }
  rail->phase = VERBS_CONNECTING;
  verbs_note_t answer = {.type = VERBS_CONNECTED, .rail = (uint8_t)rail->index};
  hmci_verbs_pair_describe(rail, &answer);
  hmci_verbs_notes_send(rail->connection, &answer);
}

/* ---- ends of queue pairs ----------------------------------------------------------------------------------------- */

static void say_broken(const verbs_rail_t *rail) {
  verbs_note_t broken = {.type = VERBS_BROKEN, .rail = (uint8_t)rail->index, .epoch = rail->epoch};
  hmci_verbs_notes_send(rail->connection, &broken);
}

void hmci_verbs_pairing_break(verbs_rail_t *rail, bool failure) {
  verbs_connection_t *connection = rail->connection;
  if (rail->phase != VERBS_UP && rail->phase != VERBS_PROBING) return;
  uint64_t now = hmci_now();
  rail->phase = VERBS_FLUSHING;
  rail->flushing_since = now;
  rail->flush_due = false;
  if (connection->main == rail) connection->main = NULL;
  if (failure) count_failure(rail);
  struct ibv_qp_attr wanted = {.qp_state = IBV_QPS_ERR};
  int error = ibv_modify_qp(rail->pair, &wanted, IBV_QP_STATE);
  if (error) hmci_log(HMC_LOG_DEBUG, "failing a queue pair failed: %s", strerror(error));
  hmci_verbs_ring_mark(rail);
  retry_at(rail, now + VERBS_DRAIN);
}

/* Neither end has its queue pair any more. */
static void part(verbs_rail_t *rail) {
  verbs_connection_t *connection = rail->connection;
  rail->phase = VERBS_UNMADE;
  rail->recalled = false;
  choose_main(connection);
  hmci_verbs_touch(connection);
  if (connection->role == HMCI_ACCEPTED) return;
  if (rail->tried) {
    retry_later(rail);
  } else {
    end_round(rail, "RDMA packets do not get through (a firewall? RoCE uses UDP port 4791)");
  }
}

void hmci_verbs_pairing_flushed(verbs_rail_t *rail) {
  verbs_connection_t *connection = rail->connection;
  hmci_verbs_pair_destroy(rail);
  rail->phase = connection->failed ? VERBS_UNMADE : VERBS_PARTING;
  if (connection->failed) return;
  hmci_verbs_message_restart(connection); /* the peer may have answered this way */
  say_broken(rail);
  if (rail->peer_gone) {
    part(rail);
  } else {
    retry_at(rail, hmci_now() + VERBS_RETRY_MOST);
  }
}

static void take_broken(verbs_rail_t *rail) {
  rail->peer_gone = true;
  switch (rail->phase) {
  case VERBS_PROBING:
  case VERBS_UP: hmci_verbs_pairing_break(rail, true); break;
  case VERBS_PARTING: part(rail); break;
  case VERBS_CONNECTING: /* the acceptor's: nothing was sent from here */
    hmci_verbs_pair_destroy(rail);
    rail->phase = VERBS_UNMADE;
    say_broken(rail);
    break;
  default: break;
  }
}

void hmci_verbs_pairing_port_up(verbs_rail_t *rail) {
  if (rail->phase != VERBS_UNMADE || rail->connection->role == HMCI_ACCEPTED) return;
  rail->failures = 0;
  retry_later(rail);
}

void hmci_verbs_pairing_device_failed(verbs_rail_t *rail) {
  verbs_connection_t *connection = rail->connection;
  bool others = false;
  rail->dead = true;
  hmci_verbs_pairing_break(rail, true);
  for (uint32_t i = 0; i < connection->rail_count; i++)
    others |= connection->rails[i].device && !connection->rails[i].dead;
  if (!others) hmci_verbs_lose(connection, "the RDMA device failed");
}

/* ---- notes ------------------------------------------------------------------------------------------------------- */

/* The rail that a note is about; NULL: the peer broke the protocol. */
static verbs_rail_t *rail_of(verbs_connection_t *connection, const verbs_note_t *note) {
  bool dialler = connection->role == HMCI_DIALLED,
       first = note->type == VERBS_CONNECT && note->rail == connection->rail_count;
  bool for_dialler = note->type == VERBS_CONNECTED || note->type == VERBS_REFUSED;
  if (note->type != VERBS_BROKEN && dialler != for_dialler) return NULL;
  if (first && note->rail < VERBS_RAILS) connection->rail_count++;
  return note->rail < connection->rail_count ? &connection->rails[note->rail] : NULL;
}

void hmci_verbs_pairing_take(verbs_connection_t *connection, const verbs_note_t *note) {
  verbs_rail_t *rail = rail_of(connection, note);
  bool connecting = rail && rail->phase == VERBS_CONNECTING;
  if (!rail || (note->type == VERBS_CONNECT && !connecting && rail->phase != VERBS_UNMADE)) {
    hmci_verbs_lose(connection, "it broke the protocol");
    return;
  }
  bool current = note->epoch == rail->epoch;
  switch (note->type) {
  case VERBS_CONNECT: take_connect(rail, note); break;
  case VERBS_CONNECTED:
    if (current && connecting) take_connected(rail, note);
    break;
  case VERBS_REFUSED:
    if (current && connecting) end_round(rail, note->text);
    break;
  case VERBS_READY:
    if (current && connecting) come_up(rail);
    break;
  case VERBS_BROKEN:
    if (current) take_broken(rail);
    break;
  }
}

void hmci_verbs_pairing_again(verbs_rail_t *rail) {
  if (rail->phase == VERBS_PARTING) {
    retry_at(rail, hmci_now() + VERBS_RETRY_MOST);
  } else if (rail->phase == VERBS_UNMADE && rail->connection->role == HMCI_DIALLED) {
    if (begin_round(rail) != HMC_SUCCESS) end_round(rail, hmc_last_error());
  }
}
