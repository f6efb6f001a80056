/* How the two ends come to have queue pairs that belong together, the first time and whenever one fails.
 *
 * The dialling end leads, so that two never begin at once. A round is an epoch: CONNECT with its queue pair; the
 * acceptor makes one, connects it and answers CONNECTED; the dialler connects its own and says READY, before which
 * the acceptor sends nothing. An acceptor whose queue pair fails says BROKEN. The first time, a read of the peer's
 * flush word has to come back: only that shows that packets get through.
 *
 *   UNMADE --make--> CONNECTING --connected, ready--> UP --break--> FLUSHING --all retired--> UNMADE
 *
 * A path that keeps failing is tried at growing intervals, until HMC_PEER_TIMEOUT has passed without anything coming
 * through. */
#include "verbs.h"

#include <stdio.h>
#include <string.h>

#define RETRY_FIRST UINT64_C(20000000)

static void retry_at(verbs_connection_t *connection, uint64_t when) {
  hmci_loop_set_timer(connection->transport->host->loop, &connection->retry, when);
}

static void count_failure(verbs_connection_t *connection) {
  if (!connection->failing_since) connection->failing_since = hmci_now();
  connection->failures++;
}

void hmci_verbs_pairing_works(verbs_connection_t *connection) {
  connection->failing_since = 0;
  connection->failures = 0;
}

/* At once, unless the last attempt failed as well. */
static void retry_later(verbs_connection_t *connection) {
  uint64_t delay = 0;
  if (connection->failures > 1) delay = RETRY_FIRST << (connection->failures < 8 ? connection->failures - 2 : 6);
  retry_at(connection, hmci_now() + (delay < VERBS_RETRY_MOST ? delay : VERBS_RETRY_MOST));
}

static void come_up(verbs_connection_t *connection) {
  connection->phase = VERBS_UP;
  if (connection->probe == VERBS_UNPROBED && connection->role == HMCI_DIALLED) {
    verbs_post_t post;
    post.count = 0;
    connection->probe = VERBS_PROBING;
    connection->device->expected++;
    hmci_verbs_ring_flush(connection, &post);
    hmci_verbs_ring_post(connection, &post);
    if (connection->spoilt) hmci_verbs_pairing_break(connection, true);
  }
  hmci_verbs_touch(connection);
  pthread_cond_broadcast(&connection->changed);
}

/* ---- the dialling end -------------------------------------------------------------------------------------------- */

static hmc_status_t begin_round(verbs_connection_t *connection) {
  hmc_status_t status = hmci_verbs_pair_make(connection);
  if (status != HMC_SUCCESS) return status;
  connection->epoch++;
  connection->phase = VERBS_CONNECTING;
  verbs_note_t note = {.type = VERBS_CONNECT};
  hmci_verbs_pair_describe(connection, &note);
  hmci_verbs_link_send(connection, &note);
  return HMC_SUCCESS;
}

hmc_status_t hmci_verbs_pairing_begin(verbs_connection_t *connection) { return begin_round(connection); }

/* The round came to nothing: `reason`. The first one decides whether there is a connection at all. */
static void end_round(verbs_connection_t *connection, const char *reason) {
  hmci_verbs_pair_destroy(connection);
  connection->phase = VERBS_UNMADE;
  if (connection->probe != VERBS_PROVEN) {
    snprintf(connection->refusal, sizeof connection->refusal, "%.180s", reason);
    pthread_cond_broadcast(&connection->changed);
    return;
  }
  hmci_log(HMC_LOG_DEBUG, "no queue pair: %s", reason);
  count_failure(connection);
  retry_later(connection);
}

static void take_connected(verbs_connection_t *connection, const verbs_note_t *note) {
  connection->peer = *note;
  if (hmci_verbs_pair_connect(connection) != HMC_SUCCESS) {
    end_round(connection, hmc_last_error());
    return;
  }
  hmci_verbs_link_send(connection, &(verbs_note_t){.type = VERBS_READY, .epoch = connection->epoch});
  come_up(connection);
}

static void begin_again(verbs_connection_t *connection) {
  uint64_t limit = connection->transport->host->settings->peer_timeout;
  if (connection->failing_since && hmci_now() - connection->failing_since > limit) {
    hmci_verbs_lose(connection, "RDMA to it has failed for as long as HMC_PEER_TIMEOUT");
    return;
  }
  if (begin_round(connection) != HMC_SUCCESS) end_round(connection, hmc_last_error());
}

/* ---- the accepting end ------------------------------------------------------------------------------------------- */

static hmc_status_t take_place(verbs_connection_t *connection, const verbs_note_t *note) {
  verbs_transport_t *transport = connection->transport;
  if (connection->device)
    return note->to == connection->mine ? HMC_SUCCESS : hmci_fail(HMC_CORRUPT, "the peer changed devices");
  if (note->to >= transport->gid_count)
    return hmci_fail(HMC_CORRUPT, "RDMA address %u of %u", note->to, transport->gid_count);
  verbs_device_t *device = transport->ports[note->to].device;
  hmc_status_t status = hmci_verbs_device_start(device);
  if (status == HMC_SUCCESS) status = hmci_verbs_device_grow(device);
  if (status != HMC_SUCCESS) return status;
  connection->device = device;
  connection->mine = note->to;
  connection->theirs = note->from;
  return HMC_SUCCESS;
}

static void answer_connect(verbs_connection_t *connection) {
  const verbs_note_t *note = &connection->peer;
  connection->answer_due = false;
  hmci_verbs_pair_destroy(connection);
  connection->phase = VERBS_UNMADE;
  hmci_verbs_answer_forget(connection); /* what arrived before READY did will come again */
  hmc_status_t status = take_place(connection, note);
  if (status == HMC_SUCCESS) {
    connection->epoch = note->epoch;
    memcpy(connection->peer_gid.raw, note->gid, sizeof note->gid);
    status = hmci_verbs_pair_make(connection);
  }
  if (status == HMC_SUCCESS) status = hmci_verbs_pair_connect(connection);
  if (status != HMC_SUCCESS) {
    verbs_note_t refusal = {.type = VERBS_REFUSED, .epoch = note->epoch};
    snprintf(refusal.text, sizeof refusal.text, "%.180s", hmc_last_error());
    hmci_verbs_pair_destroy(connection);
    hmci_verbs_link_send(connection, &refusal);
    return;
  }
  connection->phase = VERBS_CONNECTING;
  connection->probe = VERBS_PROVEN; /* the dialler does that */
  verbs_note_t answer = {.type = VERBS_CONNECTED};
  hmci_verbs_pair_describe(connection, &answer);
  hmci_verbs_link_send(connection, &answer);
}

static void take_connect(verbs_connection_t *connection, const verbs_note_t *note) {
  connection->peer = *note;
  connection->answer_due = true;
  if (connection->phase == VERBS_UP) hmci_verbs_pairing_break(connection, false);
  if (connection->phase != VERBS_FLUSHING) answer_connect(connection);
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

void hmci_verbs_pairing_take(verbs_connection_t *connection, const verbs_note_t *note) {
  bool dialler = connection->role == HMCI_DIALLED, current = note->epoch == connection->epoch;
  bool connecting = connection->phase == VERBS_CONNECTING;
  bool for_dialler = note->type == VERBS_CONNECTED || note->type == VERBS_REFUSED || note->type == VERBS_BROKEN;
  if (dialler != for_dialler) {
    hmci_verbs_lose(connection, "it broke the protocol");
    return;
  }
  switch (note->type) {
  case VERBS_CONNECT: take_connect(connection, note); break;
  case VERBS_CONNECTED:
    if (current && connecting) take_connected(connection, note);
    break;
  case VERBS_REFUSED:
    if (current && connecting) end_round(connection, note->text);
    break;
  case VERBS_READY:
    if (current && connecting) come_up(connection);
    break;
  case VERBS_BROKEN:
    if (current && connection->phase == VERBS_UP) hmci_verbs_pairing_break(connection, true);
    break;
  }
}

void hmci_verbs_pairing_break(verbs_connection_t *connection, bool failure) {
  if (connection->phase != VERBS_UP) return;
  uint64_t now = hmci_now();
  connection->phase = VERBS_FLUSHING;
  connection->flushing_since = now;
  connection->device->expected++;
  if (failure) count_failure(connection);
  struct ibv_qp_attr wanted = {.qp_state = IBV_QPS_ERR};
  int error = ibv_modify_qp(connection->pair, &wanted, IBV_QP_STATE);
  if (error) hmci_log(HMC_LOG_DEBUG, "failing a queue pair failed: %s", strerror(error));
  hmci_verbs_ring_mark(connection);
  retry_at(connection, now + VERBS_DRAIN);
}

void hmci_verbs_pairing_flushed(verbs_connection_t *connection) {
  hmci_verbs_pair_destroy(connection);
  connection->phase = VERBS_UNMADE;
  connection->device->expected--;
  if (connection->failed) return;
  hmci_verbs_answer_forget(connection);
  hmci_verbs_message_restart(connection);
  hmci_verbs_queue_restart(connection);
  if (connection->role == HMCI_ACCEPTED) {
    if (connection->answer_due) {
      answer_connect(connection);
    } else {
      hmci_verbs_link_send(connection, &(verbs_note_t){.type = VERBS_BROKEN, .epoch = connection->epoch});
    }
  } else if (connection->probe == VERBS_PROBING) {
    connection->probe = VERBS_UNPROBED;
    connection->device->expected--;
    end_round(connection, "RDMA packets do not get through (a firewall? RoCE uses UDP port 4791)");
  } else {
    retry_later(connection);
  }
}

void hmci_verbs_pairing_retry(hmci_timer_t *timer) {
  verbs_connection_t *connection = HMCI_CONTAINER(timer, verbs_connection_t, retry);
  pthread_mutex_lock(&connection->transport->lock);
  uint64_t now = hmci_now();
  if (connection->failed || connection->cut) goto out;
  if (connection->phase == VERBS_FLUSHING) {
    hmci_verbs_poll(connection->device);
    if (connection->phase == VERBS_FLUSHING && now >= connection->flushing_since + VERBS_DRAIN) {
      hmci_log(HMC_LOG_WARNING, "%s did not flush a queue pair",
               ibv_get_device_name(connection->device->context->device));
      hmci_verbs_pair_destroy(connection); /* from here on the hardware has let go */
      hmci_verbs_ring_abandon(connection);
      hmci_verbs_pairing_flushed(connection);
    }
  } else if (connection->phase == VERBS_UNMADE && connection->role == HMCI_DIALLED) {
    begin_again(connection);
  }
  hmci_verbs_settle(connection->device);
out:
  pthread_mutex_unlock(&connection->transport->lock);
}
