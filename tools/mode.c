/* See mode.h. */
#include "mode.h"

#include <string.h>

static const tool_mode_t modes[] = {
    {.name = "uhm",
     .summary = "device to device, by the library: staged and overlapped where there is no direct way",
     .type = HMC_CONNECTION_AUTO},
    {.name = "rdma_cpu", .summary = "host to host, by RDMA", .type = HMC_CONNECTION_RDMA, .is_host = true},
    {.name = "g2h2g",
     .summary = "device to host, host to host, host to device, each for the whole",
     .type = HMC_CONNECTION_AUTO,
     .is_staged = true},
    {.name = "serial",
     .summary = "the same for one chunk after the other",
     .type = HMC_CONNECTION_AUTO,
     .is_staged = true,
     .is_chunked = true},
    {.name = "ucx", .summary = "as uhm, by UCX", .type = HMC_CONNECTION_UCX},
};
enum { MODES = sizeof modes / sizeof modes[0] };

const tool_mode_t *tool_modes(size_t *count) {
  *count = MODES;
  return modes;
}

const tool_mode_t *tool_mode_find(const char *name) {
  for (size_t i = 0; i < MODES; i++)
    if (strcmp(modes[i].name, name) == 0) return &modes[i];
  return NULL;
}

const char *tool_mode_names(void) { return "uhm, rdma_cpu, g2h2g, serial or ucx"; }

bool tool_mode_works(const tool_mode_t *mode, char *reason, size_t size) {
  return mode->type == HMC_CONNECTION_AUTO || hmc_connection_type_probe(mode->type, reason, size) == HMC_SUCCESS;
}

const char *tool_type_remedy(hmc_connection_type_t type) {
  switch (type) {
  case HMC_CONNECTION_RDMA:
    return "it takes an RDMA device that ibv_devinfo shows as active, at both ends; on a network card without RDMA, "
           "Soft-RoCE is one (rdma link add rxe0 type rxe netdev ...)";
  case HMC_CONNECTION_UCX:
    return "it takes UCX (Debian, Ubuntu: libucx0) and the module libhmc-ucx.so, which is built where libucx-dev is "
           "installed, at both ends";
  default: return "hmc-info shows what works here, and why others do not";
  }
}

hmc_status_t tool_mode_move(const tool_mode_t *mode, const tool_steps_t *steps, uint64_t length, uint64_t chunk) {
  if (!mode->is_staged) return steps->carry(steps->user, 0, length);
  uint64_t step = mode->is_chunked && chunk < length ? chunk : length;
  hmc_status_t status = HMC_SUCCESS;
  for (uint64_t offset = 0; status == HMC_SUCCESS && offset < length; offset += step) {
    uint64_t part = length - offset < step ? length - offset : step;
    status = steps->load(steps->user, offset, part);
    if (status == HMC_SUCCESS) status = steps->carry(steps->user, offset, part);
    if (status == HMC_SUCCESS) status = steps->store(steps->user, offset, part);
  }
  return status;
}

hmc_status_t tool_choose_devices(hmc_memory_kind_t kind, hmc_memory_t *first, hmc_memory_t *second) {
  int devices;
  hmc_memory_t memory;
  hmc_status_t status = hmc_memory_resolve((hmc_memory_t){kind, 0}, &memory);
  if (status == HMC_SUCCESS && kind == HMC_MEMORY_DEFAULT && memory.kind == HMC_MEMORY_CPU) {
    memory.kind = HMC_MEMORY_SIM;
    status = hmc_memory_resolve(memory, &memory);
  }
  if (status == HMC_SUCCESS) status = hmc_memory_devices(memory.kind, &devices);
  if (status != HMC_SUCCESS) return status;
  *first = memory;
  *second = (hmc_memory_t){memory.kind, devices > 1 ? 1 : 0};
  return HMC_SUCCESS;
}
