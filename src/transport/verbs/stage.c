/* Registered host memory for what cannot be registered itself: slots (slots.c), which the sending side fills or reads
 * replies into, and buffers, which messages arrive in. All of it is bounded, whatever is transferred.
 *
 * The first slots and buffers come from the context's staging pool. All connections on a device share its buffers: a
 * message that finds none is sent again by the adapter, which delays what is behind it. So there are as many as the
 * peers may send without waiting for an answer, up to HMC_RDMA_BUFFERS: the registrar adds those that are missing, and
 * they stay until the context ends. */
#include "device.h"

#include "../../base/guarded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

/* Takes over a block of buffers, and gives them to the adapter. With the lock held. */
static bool add_block(verbs_device_t *device, verbs_block_t block) {
  verbs_block_t *blocks = realloc(device->blocks, (device->block_count + 1) * sizeof *blocks);
  if (!blocks) return false;
  device->blocks = blocks;
  blocks[device->block_count] = block;
  uint64_t number = (uint64_t)device->block_count++ << 32;
  device->buffer_count += block.count;
  for (uint32_t i = 0; i < block.count; i++) hmci_verbs_buffer_post(device, number | i);
  return true;
}

static void free_block(verbs_device_t *device, const verbs_block_t *block) {
  ibv_dereg_mr(block->memory);
  if (block->pooled) {
    hmci_verbs_pages_give(device->transport, block->data, block->count);
  } else {
    free(block->data);
  }
}

const uint8_t *hmci_verbs_buffer_data(const verbs_device_t *device, uint64_t number) {
  return device->blocks[number >> 32].data + (size_t)(uint32_t)number * VERBS_SLOT;
}

void hmci_verbs_buffer_post(verbs_device_t *device, uint64_t number) {
  struct ibv_sge piece = {(uint64_t)(uintptr_t)hmci_verbs_buffer_data(device, number), VERBS_SLOT,
                          device->blocks[number >> 32].memory->lkey};
  struct ibv_recv_wr request = {.wr_id = number, .sg_list = &piece, .num_sge = 1}, *refused;
  int error = ibv_post_srq_recv(device->receives, &request, &refused);
  if (error) hmci_log(HMC_LOG_ERROR, "a receive buffer is lost: %s", strerror(error));
}

/* How many more the rails of a device may need, for all their peers to send at once. */
static uint32_t count_missing(const verbs_device_t *device) {
  uint64_t needed = (uint64_t)device->rails * VERBS_BUFFERS_EACH;
  if (needed > device->buffers_most) needed = device->buffers_most;
  return needed > device->buffer_count ? (uint32_t)needed - device->buffer_count : 0;
}

bool hmci_verbs_buffers_are_short(const verbs_device_t *device) {
  return device->started && !device->buffers_refused && count_missing(device) > 0;
}

void hmci_verbs_buffers_add(verbs_device_t *device) {
  verbs_transport_t *transport = device->transport;
  verbs_block_t block = {.count = count_missing(device)};
  if (block.count > VERBS_BUFFERS) block.count = VERBS_BUFFERS;
  pthread_mutex_unlock(&transport->lock);
  block.data = hmci_allocate_aligned((size_t)block.count * VERBS_SLOT);
  hmc_status_t status = block.data ? hmci_verbs_pages_register(device, block.data, block.count, &block.memory)
                                   : hmci_fail(HMC_NO_MEMORY, "no memory");
  pthread_mutex_lock(&transport->lock);
  if (status == HMC_SUCCESS && add_block(device, block)) return;
  device->buffers_refused = true;
  hmci_log(HMC_LOG_WARNING, "%u peers share %u receive buffers of %s, and may have to send again: %s", device->rails,
           device->buffer_count, ibv_get_device_name(device->context->device), hmc_last_error());
  if (status == HMC_SUCCESS) ibv_dereg_mr(block.memory);
  free(block.data);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static hmc_status_t open_buffers(verbs_device_t *device, uint32_t most) {
  verbs_block_t block = {.pooled = true};
  if (most > device->buffers_most) most = device->buffers_most;
  hmc_status_t status = hmci_verbs_pages_take(device->transport, most, VERBS_BUFFERS_MORE, &block.data, &block.count);
  if (status != HMC_SUCCESS) return status;
  status = hmci_verbs_pages_register(device, block.data, block.count, &block.memory);
  if (status != HMC_SUCCESS) {
    hmci_verbs_pages_give(device->transport, block.data, block.count);
    return status;
  }
  if (add_block(device, block)) return HMC_SUCCESS;
  free_block(device, &block);
  return hmci_fail(HMC_NO_MEMORY, "no memory for an RDMA device");
}

static void close_buffers(verbs_device_t *device) {
  for (uint32_t i = 0; i < device->block_count; i++) free_block(device, &device->blocks[i]);
  free(device->blocks);
  device->blocks = NULL;
  device->block_count = device->buffer_count = 0;
}

hmc_status_t hmci_verbs_stage_open(verbs_device_t *device) {
  verbs_transport_t *transport = device->transport;
  uint32_t most = transport->slabs ? VERBS_BUFFERS_MORE : VERBS_BUFFERS;
  hmc_status_t status = hmci_verbs_slots_open(device);
  if (status != HMC_SUCCESS) return status;
  status = open_buffers(device, most);
  if (status != HMC_SUCCESS) hmci_verbs_slots_close(device);
  return status;
}

void hmci_verbs_stage_close(verbs_device_t *device) {
  hmci_verbs_slots_close(device);
  close_buffers(device);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

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
