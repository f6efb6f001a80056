/* The send queue: what is in the hardware's hands, in order.
 *
 * Invariant: retired <= signalled + a quarter of the ring <= posted, as counts; posted - retired <=
 * VERBS_SEND_QUEUE. An entry that needs to be noticed soon (all but messages) is followed by a signalled one in the
 * same submission.
 *
 * A completion of an entry says that all before it are done as well. One in error says that those before it that did
 * not complete themselves were done: hardware completes every entry it flushes, signalled or not (InfiniBand
 * Architecture Specification, volume 1, 10.7.4). */
#include "verbs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static verbs_entry_t *entry_at(verbs_connection_t *connection, uint32_t count) {
  return &connection->entries[count % VERBS_SEND_QUEUE];
}

uint32_t hmci_verbs_ring_room(const verbs_connection_t *connection) {
  return connection->spoilt ? 0 : VERBS_SEND_QUEUE - (connection->posted - connection->retired);
}

/* ---- posting ----------------------------------------------------------------------------------------------------- */

struct ibv_send_wr *hmci_verbs_ring_add(verbs_connection_t *connection, verbs_post_t *post, verbs_entry_t entry) {
  if (post->count == VERBS_POST) hmci_verbs_ring_post(connection, post);
  *entry_at(connection, connection->posted) = entry;
  struct ibv_send_wr *request = &post->requests[post->count];
  *request = (struct ibv_send_wr){
      .wr_id = (uint64_t)connection->number << 32 | connection->posted,
      .sg_list = &post->pieces[post->count],
      .num_sge = 1,
  };
  post->count++;
  connection->posted++;
  connection->device->posted++;
  connection->flying += entry.bytes;
  if (connection->posted - connection->signalled >= VERBS_SEND_QUEUE / 4) {
    request->send_flags = IBV_SEND_SIGNALED;
    connection->signalled = connection->posted;
  }
  return request;
}

void hmci_verbs_ring_flush(verbs_connection_t *connection, verbs_post_t *post) {
  struct ibv_send_wr *request = hmci_verbs_ring_add(connection, post, (verbs_entry_t){.kind = VERBS_ENTRY_FLUSH});
  request->opcode = IBV_WR_RDMA_READ;
  request->wr.rdma.remote_addr = connection->peer.flush_address;
  request->wr.rdma.rkey = connection->peer.flush_key;
  /* What comes back is of no interest: one word serves all, behind the one that peers read. */
  verbs_device_t *device = connection->device;
  *request->sg_list =
      (struct ibv_sge){device->flush_address + VERBS_FLUSH_WORD, VERBS_FLUSH_WORD, device->flush_memory->lkey};
  connection->flush_due = false;
}

/* True where the completion of an entry is waited for. */
static bool is_urgent(const verbs_entry_t *entry) {
  return entry->kind == VERBS_ENTRY_PART || entry->kind == VERBS_ENTRY_FLUSH || entry->kind == VERBS_ENTRY_MARK ||
         entry->slot;
}

/* Takes back the entries from `count` on, which the hardware never got. */
static void withdraw(verbs_connection_t *connection, uint32_t count) {
  while (connection->posted != count) {
    connection->posted--;
    connection->device->posted--;
    verbs_entry_t *entry = entry_at(connection, connection->posted);
    connection->flying -= entry->bytes;
    if (entry->memory) entry->memory->users--;
    if (entry->slot) hmci_verbs_slot_give(connection->transport, entry->slot);
    if (entry->kind != VERBS_ENTRY_PART) continue;
    hmci_verbs_state(entry->operation)->outstanding--;
    hmci_verbs_state(entry->operation)->posted = false;
  }
  connection->signalled = count;
}

void hmci_verbs_ring_post(verbs_connection_t *connection, verbs_post_t *post) {
  if (!post->count) return;
  uint32_t count = post->count, first = connection->posted - count, taken = 0;
  bool urgent = false;
  post->count = 0;
  for (uint32_t i = 0; i < count; i++) {
    post->requests[i].next = i + 1 < count ? &post->requests[i + 1] : NULL;
    urgent |= is_urgent(entry_at(connection, first + i));
  }
  if (urgent) {
    post->requests[count - 1].send_flags |= IBV_SEND_SIGNALED;
    connection->signalled = connection->posted;
  }
  struct ibv_send_wr *refused = post->requests;
  int error = connection->spoilt ? ECANCELED : ibv_post_send(connection->pair, post->requests, &refused);
  if (!error) return;
  if (refused >= post->requests && refused < post->requests + count) taken = (uint32_t)(refused - post->requests);
  hmci_log(HMC_LOG_DEBUG, "posting to a queue pair failed: %s", strerror(error));
  withdraw(connection, first + taken);
  connection->spoilt = true; /* whoever called this breaks the queue pair when he is done */
}

void hmci_verbs_ring_mark(verbs_connection_t *connection) {
  struct ibv_send_wr *refused, request = {.opcode = IBV_WR_RDMA_WRITE,
                                          .send_flags = IBV_SEND_SIGNALED,
                                          .wr_id = (uint64_t)connection->number << 32 | connection->posted};
  *entry_at(connection, connection->posted) = (verbs_entry_t){.kind = VERBS_ENTRY_MARK};
  connection->posted++;
  connection->device->posted++;
  connection->signalled = connection->posted;
  request.wr.rdma.remote_addr = connection->peer.flush_address;
  request.wr.rdma.rkey = connection->peer.flush_key;
  int error = ibv_post_send(connection->pair, &request, &refused);
  if (error) hmci_log(HMC_LOG_DEBUG, "marking the end of a queue failed: %s", strerror(error)); /* the timer ends it */
}

/* ---- retiring ---------------------------------------------------------------------------------------------------- */

static void retire_part(verbs_connection_t *connection, const verbs_entry_t *entry, bool done) {
  hmci_operation_t *operation = entry->operation;
  verbs_state_t *state = hmci_verbs_state(operation);
  if (done && state->error == HMC_SUCCESS) {
    hmc_status_t status = HMC_SUCCESS;
    if (entry->sink) status = hmci_verbs_copy_in(operation->local, entry->sink, entry->slot->data, entry->bytes);
    if (status != HMC_SUCCESS) hmci_verbs_queue_stop(connection, operation, status);
    state->done = entry->end;
  }
  if (!done && state->error == HMC_SUCCESS && !state->question) state->posted = false; /* it will be posted again */
  state->outstanding--;
}

static void take_flush(verbs_connection_t *connection, uint32_t count) {
  connection->visible = count;
  hmci_verbs_queue_visible(connection);
  if (connection->probe != VERBS_PROBING) return;
  connection->probe = VERBS_PROVEN;
  connection->device->expected--;
  pthread_cond_broadcast(&connection->changed);
}

static void retire(verbs_connection_t *connection, bool done) {
  uint32_t count = connection->retired;
  verbs_entry_t entry = *entry_at(connection, count);
  connection->retired++;
  connection->device->posted--;
  connection->flying -= entry.bytes;
  if (entry.memory) entry.memory->users--;
  if (entry.kind == VERBS_ENTRY_PART) retire_part(connection, &entry, done);
  if (entry.slot) hmci_verbs_slot_give(connection->transport, entry.slot);
  if (entry.kind == VERBS_ENTRY_FLUSH && done) take_flush(connection, count);
  if (entry.kind == VERBS_ENTRY_PART) hmci_verbs_queue_settle(connection, entry.operation);
}

static void retire_to(verbs_connection_t *connection, uint32_t count, bool done) {
  while (connection->retired != count) retire(connection, done);
}

/* An entry failed, not for being flushed: who is to blame? True: the path. */
static bool blame(verbs_connection_t *connection, const verbs_entry_t *entry, const struct ibv_wc *completion) {
  if (completion->status == IBV_WC_WR_FLUSH_ERR) return false;
  char address[VERBS_GID_TEXT];
  hmci_verbs_gid_text(connection->peer_gid.raw, address);
  hmci_log(HMC_LOG_DEBUG, "RDMA to %s: %s (vendor's code 0x%x)", address, ibv_wc_status_str(completion->status),
           completion->vendor_err);
  verbs_verdict_t verdict = entry->kind == VERBS_ENTRY_PART ? hmci_verbs_verdict(completion->status) : VERBS_PATH;
  if (verdict == VERBS_ACCESS) hmci_verbs_queue_ask(connection, entry->operation);
  if (verdict == VERBS_OPERATION) {
    hmci_log(HMC_LOG_ERROR, "RDMA to %s: an operation failed: %s", address, ibv_wc_status_str(completion->status));
    hmci_verbs_queue_blame(connection, entry->operation, HMC_ERROR);
  }
  return verdict == VERBS_PATH;
}

void hmci_verbs_ring_complete(verbs_connection_t *connection, uint32_t count, const struct ibv_wc *completion) {
  if (count - connection->retired >= connection->posted - connection->retired)
    return; /* of a queue pair that is gone */
  hmci_verbs_touch(connection);
  bool failed = completion->status != IBV_WC_SUCCESS;
  uint32_t done = count + !failed;
  if (connection->retired != done) hmci_verbs_pairing_works(connection);
  retire_to(connection, done, true);
  if (failed) {
    bool path = connection->phase == VERBS_UP && blame(connection, entry_at(connection, count), completion);
    retire(connection, false);
    if (connection->phase == VERBS_UP) hmci_verbs_pairing_break(connection, path);
  }
  if (connection->phase == VERBS_FLUSHING && connection->retired == connection->posted)
    hmci_verbs_pairing_flushed(connection);
}

void hmci_verbs_ring_abandon(verbs_connection_t *connection) { retire_to(connection, connection->posted, false); }
