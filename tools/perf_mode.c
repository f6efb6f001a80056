/* What --mode settles: the memory at the ends, and whether it can run here at all. */
#include "perf.h"

int perf_mode_memory(const perf_options_t *options, hmc_memory_t asked, bool far, hmc_memory_t *memory) {
  const tool_mode_t *mode = options->mode;
  char reason[512];
  if (mode && !tool_mode_works(mode, reason, sizeof reason))
    return tool_fail("mode %s cannot run here: %s; %s", mode->name, reason, tool_type_remedy(mode->type));
  *memory = asked;
  if (!mode || asked.kind != HMC_MEMORY_DEFAULT) return TOOL_DONE;
  hmc_memory_t first, second;
  hmc_status_t status = tool_choose_devices(HMC_MEMORY_DEFAULT, &first, &second);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the device's memory", status);
  memory->kind = first.kind;
  if (far && asked.device == 0) memory->device = second.device;
  return TOOL_DONE;
}
