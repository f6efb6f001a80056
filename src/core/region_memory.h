/* The memory under a region that HMC maps: allocated here, or given as a descriptor. */
#ifndef HMCI_REGION_MEMORY_H
#define HMCI_REGION_MEMORY_H

#include "core.h"

/* Allocates host memory that peers on this host can map where the system has memfd_create; else they reach it in other
 * ways, which is logged once. */
hmc_status_t hmci_region_memory_allocate(hmc_region_t *region, const hmc_region_options_t *options);
/* Maps the descriptor's memory; sets the size where the options leave it open. */
hmc_status_t hmci_region_memory_adopt(hmc_region_t *region, const hmc_region_options_t *options);
/* Unmaps what one of the two has mapped. */
void hmci_region_memory_free(hmc_region_t *region);

#endif
