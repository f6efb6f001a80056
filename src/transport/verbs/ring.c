/* The send queue: what is in the hardware's hands, in order.
 *
 * Invariant: retired <= signalled + a quarter of the ring <= posted, as counts; posted - retired <=
 * VERBS_SEND_QUEUE. An entry that needs to be noticed soon (all but messages) is followed by a signalled one in the
 * same submission. What becomes of an entry that is done: retire.c. */
#include "connection.h"

#include <errno.h>
#include <string.h>

static verbs_entry_t *entry_at(verbs_rail_t *rail, uint32_t count) { return &rail->entries[count % VERBS_SEND_QUEUE]; }

uint32_t hmci_verbs_ring_room(const verbs_rail_t *rail) {
  return rail->spoilt ? 0 : VERBS_SEND_QUEUE - (rail->posted - rail->retired);
}

struct ibv_send_wr *hmci_verbs_ring_add(verbs_rail_t *rail, const verbs_entry_t *entry) {
  verbs_post_t *post = &rail->post;
  if (post->count == VERBS_POST) hmci_verbs_ring_post(rail);
  *entry_at(rail, rail->posted) = *entry;
  struct ibv_send_wr *request = &post->requests[post->count];
  *request = (struct ibv_send_wr){
      .wr_id = (uint64_t)rail->number << 32 | rail->posted,
      .sg_list = &post->pieces[post->count],
      .num_sge = 1,
  };
  post->count++;
  rail->posted++;
  rail->device->posted++;
  rail->flying += entry->bytes;
  if (rail->posted - rail->signalled >= VERBS_SEND_QUEUE / 4) {
    request->send_flags = IBV_SEND_SIGNALED;
    rail->signalled = rail->posted;
  }
  return request;
}

void hmci_verbs_ring_flush(verbs_rail_t *rail, const verbs_entry_t *entry) {
  struct ibv_send_wr *request = hmci_verbs_ring_add(rail, entry);
  request->opcode = IBV_WR_RDMA_READ;
  request->wr.rdma.remote_addr = rail->peer.flush_address;
  request->wr.rdma.rkey = rail->peer.flush_key;
  /* What comes back is of no interest: one word serves all, behind the one that peers read. */
  verbs_device_t *device = rail->device;
  *request->sg_list =
      (struct ibv_sge){device->flush_address + VERBS_FLUSH_WORD, VERBS_FLUSH_WORD, device->flush_memory->lkey};
  if (entry->kind == VERBS_ENTRY_FLUSH) rail->flush_due = false;
}

/* True where the completion of an entry is waited for. */
static bool is_urgent(const verbs_entry_t *entry) {
  return entry->operation || entry->kind == VERBS_ENTRY_FLUSH || entry->kind == VERBS_ENTRY_MARK || entry->slot;
}

/* Takes back the entries from `count` on, which the hardware never got. */
static void withdraw(verbs_rail_t *rail, uint32_t count) {
  while (rail->posted != count) {
    rail->posted--;
    rail->device->posted--;
    verbs_entry_t *entry = entry_at(rail, rail->posted);
    rail->flying -= entry->bytes;
    if (entry->memory) entry->memory->users--;
    if (entry->slot) hmci_verbs_slot_give(entry->slot);
    if (entry->kind == VERBS_ENTRY_STRIPE) hmci_verbs_rail_lose(rail, entry);
    if (entry->kind != VERBS_ENTRY_PART) continue;
    hmci_verbs_state(entry->operation)->outstanding--;
    hmci_verbs_state(entry->operation)->posted = false;
  }
  rail->signalled = count;
}

void hmci_verbs_ring_post(verbs_rail_t *rail) {
  verbs_post_t *post = &rail->post;
  if (!post->count) return;
  uint32_t count = post->count, first = rail->posted - count, taken = 0;
  bool urgent = false;
  post->count = 0;
  for (uint32_t i = 0; i < count; i++) {
    post->requests[i].next = i + 1 < count ? &post->requests[i + 1] : NULL;
    urgent |= is_urgent(entry_at(rail, first + i));
  }
  if (urgent) {
    post->requests[count - 1].send_flags |= IBV_SEND_SIGNALED;
    rail->signalled = rail->posted;
  }
  struct ibv_send_wr *refused = post->requests;
  int error = rail->spoilt ? ECANCELED : ibv_post_send(rail->pair, post->requests, &refused);
  if (!error) return;
  if (refused >= post->requests && refused < post->requests + count) taken = (uint32_t)(refused - post->requests);
  hmci_log(HMC_LOG_DEBUG, "posting to a queue pair failed: %s", strerror(error));
  withdraw(rail, first + taken);
  rail->spoilt = true; /* the caller breaks the queue pair when it is done */
}

void hmci_verbs_ring_mark(verbs_rail_t *rail) {
  struct ibv_send_wr *refused, request = {.opcode = IBV_WR_RDMA_WRITE,
                                          .send_flags = IBV_SEND_SIGNALED,
                                          .wr_id = (uint64_t)rail->number << 32 | rail->posted};
  *entry_at(rail, rail->posted) = (verbs_entry_t){.kind = VERBS_ENTRY_MARK};
  rail->posted++;
  rail->device->posted++;
  rail->signalled = rail->posted;
  request.wr.rdma.remote_addr = rail->peer.flush_address;
  request.wr.rdma.rkey = rail->peer.flush_key;
  int error = ibv_post_send(rail->pair, &request, &refused);
  if (error) hmci_log(HMC_LOG_DEBUG, "marking the end of a queue failed: %s", strerror(error)); /* the timer ends it */
}

bool hmci_verbs_ring_holds(const verbs_rail_t *rail, const hmci_operation_t *operation) {
  for (uint32_t count = rail->retired; count != rail->posted; count++) {
    if (rail->entries[count % VERBS_SEND_QUEUE].operation == operation) return true;
  }
  return false;
}
