/* Registered host memory for what cannot be registered itself: slots, which the sending side fills or reads replies
 * into, and buffers, which messages arrive in. All of it is bounded, whatever is transferred, and comes from the
 * context's staging pool. */
#include "device.h"

#include "../../base/guarded.h"

#include <errno.h>
#include <string.h>

/* Takes as many pieces of VERBS_SLOT bytes from the context's pool as it gives, `most` at most and `least` at least. */
static hmc_status_t take_pages(verbs_transport_t *transport, uint32_t most, uint32_t least, uint8_t **pages,
                               uint32_t *count) {
  for (uint32_t wanted = most; wanted >= least; wanted /= 2) {
    *pages = hmci_staging_take(transport->host->staging, (uint64_t)wanted * VERBS_SLOT);
    if (!*pages) continue;
    *count = wanted;
    return HMC_SUCCESS;
  }
  return hmci_fail(HMC_UNSUPPORT, "HMC_STAGING leaves no %u B for messages over RDMA", least * VERBS_SLOT);
}

static void give_pages(verbs_transport_t *transport, uint8_t *pages, uint32_t count) {
  hmci_staging_give(transport->host->staging, pages, (uint64_t)count * VERBS_SLOT);
}

/* The first device's makes the slots. */
static hmc_status_t need_slots(verbs_transport_t *transport) {
  if (transport->slots) return HMC_SUCCESS;
  hmc_status_t status =
      take_pages(transport, VERBS_SLOTS, VERBS_SLOTS_LEAST, &transport->slots, &transport->slot_count);
  if (status != HMC_SUCCESS) return status;
  for (uint32_t i = 0; i < transport->slot_count; i++) {
    verbs_slot_t *slot = &transport->slot_table[i];
    slot->data = transport->slots + (size_t)i * VERBS_SLOT;
    slot->next = transport->free_slots;
    transport->free_slots = slot;
  }
  return HMC_SUCCESS;
}

void hmci_verbs_slots_free(verbs_transport_t *transport) {
  if (transport->slots) give_pages(transport, transport->slots, transport->slot_count);
  transport->slots = NULL;
  transport->free_slots = NULL;
}

static hmc_status_t register_pages(verbs_device_t *device, uint8_t *pages, uint32_t count, struct ibv_mr **memory) {
  size_t size = (size_t)count * VERBS_SLOT;
  *memory = ibv_reg_mr(device->domain, pages, size, IBV_ACCESS_LOCAL_WRITE);
  if (*memory) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT,
                   "%zu B of staging buffers cannot be registered: %s (ulimit -l tells how much memory may be pinned; "
                   "docs/rdma.md how to raise it)",
                   size, strerror(errno));
}

hmc_status_t hmci_verbs_stage_open(verbs_device_t *device) {
  verbs_transport_t *transport = device->transport;
  uint32_t most = transport->slots ? VERBS_BUFFERS_MORE : VERBS_BUFFERS;
  hmc_status_t status = need_slots(transport);
  if (status != HMC_SUCCESS) return status;
  status = take_pages(transport, most, VERBS_BUFFERS_MORE, &device->buffers, &device->buffer_count);
  if (status != HMC_SUCCESS) return status;
  status = register_pages(device, device->buffers, device->buffer_count, &device->buffer_memory);
  if (status != HMC_SUCCESS) goto err_buffers;
  status = register_pages(device, transport->slots, transport->slot_count, &device->slot_memory);
  if (status != HMC_SUCCESS) goto err_buffer_memory;
  for (uint32_t i = 0; i < device->buffer_count; i++) hmci_verbs_buffer_post(device, i);
  return HMC_SUCCESS;

err_buffer_memory:
  ibv_dereg_mr(device->buffer_memory);
err_buffers:
  give_pages(transport, device->buffers, device->buffer_count);
  return status;
}

void hmci_verbs_stage_close(verbs_device_t *device) {
  ibv_dereg_mr(device->slot_memory);
  ibv_dereg_mr(device->buffer_memory);
  give_pages(device->transport, device->buffers, device->buffer_count);
}

void hmci_verbs_buffer_post(verbs_device_t *device, uint32_t index) {
  struct ibv_sge piece = {(uint64_t)(uintptr_t)(device->buffers + (size_t)index * VERBS_SLOT), VERBS_SLOT,
                          device->buffer_memory->lkey};
  struct ibv_recv_wr request = {.wr_id = index, .sg_list = &piece, .num_sge = 1}, *refused;
  int error = ibv_post_srq_recv(device->receives, &request, &refused);
  if (error) hmci_log(HMC_LOG_ERROR, "a receive buffer is lost: %s", strerror(error));
}

verbs_slot_t *hmci_verbs_slot_take(verbs_transport_t *transport) {
  verbs_slot_t *slot = transport->free_slots;
  if (slot) {
    transport->free_slots = slot->next;
  } else {
    transport->starved = true;
  }
  return slot;
}

void hmci_verbs_slot_give(verbs_transport_t *transport, verbs_slot_t *slot) {
  slot->next = transport->free_slots;
  transport->free_slots = slot;
}

/* Registered memory may be unmapped or protected by its program meanwhile. */
hmc_status_t hmci_verbs_copy_out(const hmci_region_view_t *region, const uint8_t *from, void *to_host, uint64_t size) {
  if (!region->ops->host_accessible) return region->ops->copy_to_host(region->memory.device, to_host, from, size);
  if (!region->owned) return hmci_guarded_read(to_host, from, size) ? HMC_SUCCESS : HMC_INVALID_CONFIG;
  memcpy(to_host, from, size);
  return HMC_SUCCESS;
}

hmc_status_t hmci_verbs_copy_in(const hmci_region_view_t *region, uint8_t *to, const void *from_host, uint64_t size) {
  if (!region->ops->host_accessible) return region->ops->copy_from_host(region->memory.device, to, from_host, size);
  if (!region->owned) return hmci_guarded_write(to, from_host, size) ? HMC_SUCCESS : HMC_INVALID_CONFIG;
  memcpy(to, from_host, size);
  return HMC_SUCCESS;
}
