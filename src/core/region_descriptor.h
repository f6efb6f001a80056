/* Reading a region's descriptor (see region_descriptor.c). */
#ifndef HMCI_REGION_DESCRIPTOR_H
#define HMCI_REGION_DESCRIPTOR_H

#include "core.h"

typedef struct hmci_region_descriptor {
  uint64_t incarnation; /* of the owner's context */
  char name[HMC_REGION_NAME_SIZE];
  hmci_found_t found;
  bool has_key; /* for the transport that was asked for */
} hmci_region_descriptor_t;

/* Pure. HMC_CORRUPT: the bytes are not a descriptor. */
hmc_status_t hmci_region_descriptor_read(const void *bytes, size_t size, hmc_connection_type_t type,
                                         hmci_region_descriptor_t *descriptor);

#endif
