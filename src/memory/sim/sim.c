/* An accelerator in software, for laptops and tests: its table, and copies that the caller waits for.
 *
 * Each device has one copy engine. A copy occupies it for latency + size / bandwidth from the time when the engine is
 * free; asynchronous ones and streams are in stream.c, pinned host memory and properties in device.c, and the memory
 * itself in allocation.c. */
#include "sim.h"

#include "engine.h"
#include "sim_internal.h"

/* The time of the host's own copying is part of the engine's time, so the bytes move first. */
static hmc_status_t copy_and_wait(const hmci_sim_transfer_t *transfer) {
  uint64_t due;
  hmc_status_t status = hmci_sim_begin(transfer, &due);
  if (status == HMC_SUCCESS) {
    status = hmci_sim_move(transfer);
  }
  if (status == HMC_SUCCESS) {
    hmci_sim_engine_wait(due);
  }
  return status;
}

static hmc_status_t sim_copy_from_host(int device, void *destination, const void *source, size_t size) {
  return copy_and_wait(&(hmci_sim_transfer_t){
      .device = device, .destination = destination, .source = source, .size = size, .is_from_host = true});
}

static hmc_status_t sim_copy_to_host(int device, void *destination, const void *source, size_t size) {
  return copy_and_wait(&(hmci_sim_transfer_t){
      .device = device, .destination = destination, .source = source, .size = size, .is_to_host = true});
}

static hmc_status_t sim_copy_within(int device, void *destination, const void *source, size_t size) {
  return copy_and_wait(
      &(hmci_sim_transfer_t){.device = device, .destination = destination, .source = source, .size = size});
}

const hmci_memory_ops_t hmci_memory_sim = {
    .kind = HMC_MEMORY_SIM,
    .name = "sim",
    .host_accessible = false,
    .exports_foreign = true,
    .open = hmci_sim_open,
    .allocate = hmci_sim_allocate,
    .free = hmci_sim_free,
    .copy_from_host = sim_copy_from_host,
    .copy_to_host = sim_copy_to_host,
    .copy_within = sim_copy_within,
    .copy_start = hmci_sim_copy_start,
    .copy_done = hmci_sim_copy_done,
    .copy_batch_start = hmci_sim_copy_batch_start,
    .stream_create = hmci_sim_stream_create,
    .stream_destroy = hmci_sim_stream_destroy,
    .stream_wait = hmci_sim_stream_wait,
    .copy_on_stream = hmci_sim_copy_on_stream,
    .event_record = hmci_sim_event_record,
    .event_done = hmci_sim_event_done,
    .host_allocate = hmci_sim_host_allocate,
    .host_free = hmci_sim_host_free,
    .pin = hmci_sim_pin,
    .unpin = hmci_sim_unpin,
    .allocate_peerable = hmci_sim_allocate,
    .properties = hmci_sim_properties,
    .reaches = hmci_sim_reaches,
    .settle = hmci_sim_settle,
    .query = hmci_sim_query,
    .export_range = hmci_sim_export,
    .import_range = hmci_sim_import,
    .release_import = hmci_sim_release_import,
    .export_dmabuf = hmci_sim_export_dmabuf,
};
