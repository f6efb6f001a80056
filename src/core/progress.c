/* hmc_context_progress: a thread that waits does the work of the service threads by itself, and saves a thread switch.
 *
 * The loops see to it that a service thread leaves its events alone meanwhile (hmci_loop_drive). */
#include "core.h"

#include <hmc/poll.h>

hmc_status_t hmc_context_progress(hmc_context_t *context, uint64_t timeout_us) {
  if (!context) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_progress: context is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_context_check_waiting(context, "hmc_context_progress");
  if (status != HMC_SUCCESS) return status;
  bool moved = false;
  for (uint32_t i = 0; i < context->service_count; i++) moved |= hmci_loop_drive(context->services[i].loop, 0);
  uint64_t nanoseconds = moved || context->service_count ? 0 : timeout_us * 1000;
  moved |= hmci_loop_drive(context->loop, nanoseconds);
  return moved ? HMC_SUCCESS : HMC_TIMEOUT;
}

void hmci_context_hand_back(const hmc_context_t *context) {
  hmci_loop_hand_back(context->loop);
  for (uint32_t i = 0; i < context->service_count; i++) hmci_loop_hand_back(context->services[i].loop);
}
