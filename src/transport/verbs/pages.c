/* Pieces of VERBS_SLOT bytes, which slots and buffers are made of: out of the context's staging pool, and registered with a
 * device. */
#include "device.h"

#include <errno.h>
#include <string.h>

hmc_status_t hmci_verbs_pages_take(verbs_transport_t *transport, uint32_t most, uint32_t least, uint8_t **pages,
                                   uint32_t *count) {
  for (uint32_t wanted = most; wanted >= least; wanted /= 2) {
    *pages = hmci_staging_take(transport->host->staging, (uint64_t)wanted * VERBS_SLOT);
    if (!*pages) continue;
    *count = wanted;
    return HMC_SUCCESS;
  }
  return hmci_fail(HMC_UNSUPPORT, "HMC_STAGING leaves no %u B for messages over RDMA", least * VERBS_SLOT);
}

void hmci_verbs_pages_give(verbs_transport_t *transport, uint8_t *pages, uint32_t count) {
  hmci_staging_give(transport->host->staging, pages, (uint64_t)count * VERBS_SLOT);
}

hmc_status_t hmci_verbs_pages_register(verbs_device_t *device, uint8_t *pages, uint32_t count, struct ibv_mr **memory) {
  size_t size = (size_t)count * VERBS_SLOT;
  *memory = ibv_reg_mr(device->domain, pages, size, IBV_ACCESS_LOCAL_WRITE);
  if (*memory) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT,
                   "%zu B of staging buffers cannot be registered: %s (ulimit -l tells how much memory may be pinned; "
                   "docs/rdma.md how to raise it)",
                   size, strerror(errno));
}
