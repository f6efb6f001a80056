/* Slots: registered host memory that the sending side fills, or reads replies into.
 *
 * A slot is taken until its message is answered, or its entry is retired, and a peer that stands still keeps what it has.
 * So there are more as there are more peers, as of receive buffers: the registrar adds them, up to HMC_RDMA_BUFFERS, and
 * they stay until the context ends. And each connection has some of its own (VERBS_SLOTS_OWN), those for its answers
 * apart, since two peers that had all theirs in questions would wait for each other's answers. What goes beyond that comes
 * out of what no other could still claim:
 *
 *   owed == the sum, over all connections, of what each could still take of its own
 *   a connection that has taken its own gets another slot only while free_count > owed
 *
 * Where HMC_RDMA_BUFFERS or memory leaves fewer than are owed, it is who comes first. */
#include "connection.h"

#include <stdlib.h>

static const uint32_t own[VERBS_PURPOSES] = {VERBS_SLOTS_OWN, VERBS_SLOTS_OWN_ANSWERS};

/* ---- slabs ------------------------------------------------------------------------------------------------------- */

static verbs_slab_t *make_slab(uint32_t count) {
  verbs_slab_t *slab = calloc(1, sizeof *slab + count * sizeof *slab->slots);
  if (slab) slab->count = count;
  return slab;
}

static void add_slab(verbs_transport_t *transport, verbs_slab_t *slab) {
  slab->next = transport->slabs;
  transport->slabs = slab;
  for (uint32_t i = 0; i < slab->count; i++) {
    verbs_slot_t *slot = &slab->slots[i];
    slot->data = slab->data + (size_t)i * VERBS_SLOT;
    slot->slab = slab;
    slot->next = transport->free_slots;
    transport->free_slots = slot;
  }
  transport->slot_count += slab->count;
  transport->free_count += slab->count;
  transport->returned = true;
}

/* The first device makes the first slots. */
static hmc_status_t need_slots(verbs_transport_t *transport) {
  if (transport->slabs) return HMC_SUCCESS;
  uint8_t *pages;
  uint32_t count;
  hmc_status_t status = hmci_verbs_pages_take(transport, VERBS_SLOTS, VERBS_SLOTS_LEAST, &pages, &count);
  if (status != HMC_SUCCESS) return status;
  verbs_slab_t *slab = make_slab(count);
  if (!slab) {
    hmci_verbs_pages_give(transport, pages, count);
    return hmci_fail(HMC_NO_MEMORY, "no memory for an RDMA device");
  }
  slab->data = pages;
  slab->pooled = true;
  add_slab(transport, slab);
  return HMC_SUCCESS;
}

void hmci_verbs_slots_free(verbs_transport_t *transport) {
  while (transport->slabs) {
    verbs_slab_t *slab = transport->slabs;
    transport->slabs = slab->next;
    if (slab->pooled) {
      hmci_verbs_pages_give(transport, slab->data, slab->count);
    } else {
      free(slab->data);
    }
    free(slab);
  }
  transport->free_slots = NULL;
  transport->slot_count = transport->free_count = 0;
}

static uint32_t place_of(const verbs_device_t *device) { return (uint32_t)(device - device->transport->devices); }

hmc_status_t hmci_verbs_slots_open(verbs_device_t *device) {
  verbs_transport_t *transport = device->transport;
  hmc_status_t status = need_slots(transport);
  for (verbs_slab_t *slab = transport->slabs; slab && status == HMC_SUCCESS; slab = slab->next)
    status = hmci_verbs_pages_register(device, slab->data, slab->count, &slab->memory[place_of(device)]);
  if (status != HMC_SUCCESS) hmci_verbs_slots_close(device);
  return status;
}

void hmci_verbs_slots_close(verbs_device_t *device) {
  for (verbs_slab_t *slab = device->transport->slabs; slab; slab = slab->next) {
    struct ibv_mr **memory = &slab->memory[place_of(device)];
    if (*memory) ibv_dereg_mr(*memory);
    *memory = NULL;
  }
}

/* ---- more of them ------------------------------------------------------------------------------------------------ */

static uint32_t count_missing(const verbs_transport_t *transport) {
  uint64_t needed = (uint64_t)transport->connection_count * VERBS_SLOTS_EACH;
  uint64_t most = transport->host->settings->verbs_buffers;
  if (needed > most) needed = most;
  return needed > transport->slot_count ? (uint32_t)(needed - transport->slot_count) : 0;
}

bool hmci_verbs_slots_are_short(const verbs_transport_t *transport) {
  return transport->slabs && !transport->slots_refused && count_missing(transport) > 0;
}

/* A started device that has not registered the slab; NULL: there is none. */
static verbs_device_t *find_unregistered(verbs_transport_t *transport, const verbs_slab_t *slab) {
  for (uint32_t i = 0; i < transport->device_count; i++) {
    if (transport->devices[i].started && !slab->memory[i]) return &transport->devices[i];
  }
  return NULL;
}

/* Registers a slab with every device, of which another may be started meanwhile. */
static hmc_status_t register_slab(verbs_transport_t *transport, verbs_slab_t *slab) {
  hmc_status_t status = HMC_SUCCESS;
  verbs_device_t *device;
  while (status == HMC_SUCCESS && (device = find_unregistered(transport, slab))) {
    pthread_mutex_unlock(&transport->lock);
    status = hmci_verbs_pages_register(device, slab->data, slab->count, &slab->memory[place_of(device)]);
    pthread_mutex_lock(&transport->lock);
  }
  return status;
}

static void free_slab(verbs_slab_t *slab) {
  for (uint32_t i = 0; slab && i < VERBS_DEVICES; i++) {
    if (slab->memory[i]) ibv_dereg_mr(slab->memory[i]);
  }
  if (slab) free(slab->data);
  free(slab);
}

void hmci_verbs_slots_add(verbs_transport_t *transport) {
  uint32_t count = count_missing(transport);
  if (count > VERBS_SLOTS) count = VERBS_SLOTS;
  pthread_mutex_unlock(&transport->lock);
  verbs_slab_t *slab = make_slab(count);
  if (slab) slab->data = hmci_allocate_aligned((size_t)count * VERBS_SLOT);
  pthread_mutex_lock(&transport->lock);
  hmc_status_t status =
      slab && slab->data ? register_slab(transport, slab) : hmci_fail(HMC_NO_MEMORY, "no memory for messages");
  if (status == HMC_SUCCESS) {
    add_slab(transport, slab);
    return;
  }
  transport->slots_refused = true;
  hmci_log(HMC_LOG_WARNING, "%u peers share %u slots for messages over RDMA, and may wait for each other: %s",
           transport->connection_count, transport->slot_count, hmc_last_error());
  pthread_mutex_unlock(&transport->lock);
  free_slab(slab);
  pthread_mutex_lock(&transport->lock);
}

/* ---- taking and giving ------------------------------------------------------------------------------------------- */

void hmci_verbs_slots_join(verbs_transport_t *transport) {
  transport->connection_count++;
  transport->owed += VERBS_SLOTS_OWN + VERBS_SLOTS_OWN_ANSWERS;
}

void hmci_verbs_slots_leave(verbs_transport_t *transport) {
  transport->connection_count--;
  transport->owed -= VERBS_SLOTS_OWN + VERBS_SLOTS_OWN_ANSWERS;
  transport->returned = true;
}

verbs_slot_t *hmci_verbs_slot_take(verbs_connection_t *connection, verbs_purpose_t purpose) {
  verbs_transport_t *transport = connection->transport;
  bool is_own = connection->slots[purpose] < own[purpose];
  verbs_slot_t *slot = is_own || transport->free_count > transport->owed ? transport->free_slots : NULL;
  if (!slot) {
    transport->starved = true;
    return NULL;
  }
  transport->free_slots = slot->next;
  transport->free_count--;
  if (is_own) transport->owed--;
  connection->slots[purpose]++;
  slot->holder = connection;
  slot->purpose = purpose;
  return slot;
}

void hmci_verbs_slot_give(verbs_slot_t *slot) {
  verbs_connection_t *connection = slot->holder;
  verbs_transport_t *transport = connection->transport;
  if (--connection->slots[slot->purpose] < own[slot->purpose]) transport->owed++;
  slot->holder = NULL;
  slot->next = transport->free_slots;
  transport->free_slots = slot;
  transport->free_count++;
  transport->returned = true;
}

uint32_t hmci_verbs_slot_key(const verbs_slot_t *slot, const verbs_device_t *device) {
  return slot->slab->memory[place_of(device)]->lkey;
}
