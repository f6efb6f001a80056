/* Copies between two peers, which go in pieces through a buffer here (see common.h). */
#include "common.h"

enum { BOUNCE = 4 << 20 };

int32_t hmci_smem_bounce(uint64_t size, hmci_smem_bounce_t move, void *user) {
  const hmc_memory_t host = {.kind = HMC_MEMORY_CPU, .device = 0};
  uint64_t room = size < BOUNCE ? size : BOUNCE;
  void *buffer = NULL;
  hmc_status_t status = hmc_memory_allocate(host, room, &buffer);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "no buffer for a copy between two members");
  }
  int32_t code = SM_OK;
  for (uint64_t done = 0; done < size && code == SM_OK; done += room) {
    code = move(user, buffer, done, size - done < room ? size - done : room);
  }
  hmc_memory_free(host, buffer);
  return code;
}
