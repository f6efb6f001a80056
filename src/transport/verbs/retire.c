/* What becomes of an entry of the send queue that is done, or was flushed.
 *
 * A completion of an entry says that all before it are done as well. One in error says that those before it that did
 * not complete themselves were done: hardware completes every entry it flushes, signalled or not (InfiniBand
 * Architecture Specification, volume 1, 10.7.4). */
#include "queue.h"

static void land(const verbs_rail_t *rail, const verbs_entry_t *entry) {
  hmci_operation_t *operation = entry->operation;
  if (!entry->sink || hmci_verbs_state(operation)->error != HMC_SUCCESS) return;
  hmc_status_t status = hmci_verbs_copy_in(operation->local, entry->sink, entry->slot->data, entry->bytes);
  if (status != HMC_SUCCESS) hmci_verbs_queue_stop(rail->connection, operation, status);
}

static void retire_part(verbs_rail_t *rail, const verbs_entry_t *entry, bool done) {
  verbs_state_t *state = hmci_verbs_state(entry->operation);
  if (done && state->error == HMC_SUCCESS) {
    land(rail, entry);
    state->done = entry->end;
  }
  if (!done && state->error == HMC_SUCCESS && !state->question) state->posted = false; /* it will be posted again */
  state->outstanding--;
}

static void retire_stripe(verbs_rail_t *rail, const verbs_entry_t *entry, bool done) {
  verbs_state_t *state = hmci_verbs_state(entry->operation);
  if (!done && state->error == HMC_SUCCESS && !state->question) {
    hmci_verbs_rail_lose(rail, entry);
  } else {
    if (done) land(rail, entry);
    state->outstanding--;
  }
}

static void take_flush(verbs_rail_t *rail, uint32_t count) {
  rail->visible = count;
  if (rail == rail->connection->main) hmci_verbs_queue_visible(rail->connection);
}

/* Retires the oldest entry. True: it was a flush, which came back. */
static bool retire(verbs_rail_t *rail, bool done) {
  uint32_t count = rail->retired;
  verbs_entry_t entry = rail->entries[count % VERBS_SEND_QUEUE];
  bool tells = entry.kind == VERBS_ENTRY_PART || entry.kind == VERBS_ENTRY_STRIPE;
  rail->retired++;
  rail->device->posted--;
  rail->flying -= entry.bytes;
  if (entry.memory) entry.memory->users--;
  if (entry.kind == VERBS_ENTRY_PART) retire_part(rail, &entry, done);
  if (entry.kind == VERBS_ENTRY_STRIPE) retire_stripe(rail, &entry, done);
  if (entry.slot) hmci_verbs_slot_give(entry.slot);
  bool flushed = entry.kind == VERBS_ENTRY_FLUSH && done;
  if (flushed) take_flush(rail, count);
  if (tells) hmci_verbs_queue_try_complete(rail->connection, entry.operation);
  return flushed;
}

bool hmci_verbs_retire(verbs_rail_t *rail, uint32_t count, bool done) {
  bool flushed = false;
  while (rail->retired != count) flushed |= retire(rail, done);
  return flushed;
}
