/* The ways of computing CRC-32C, so that tests can hold each against the others. Users call hmci_crc32c (base.h). */
#ifndef HMCI_CRC32C_H
#define HMCI_CRC32C_H

#include "base.h"

typedef struct hmci_crc32c_variant {
  const char *name;
  bool (*is_available)(void); /* on this processor */
  uint32_t (*update)(uint32_t crc, const void *data, size_t size);
} hmci_crc32c_variant_t;

/* From the slowest to the fastest; the entry after the last has no name. The first is available everywhere. */
extern const hmci_crc32c_variant_t hmci_crc32c_variants[];

#endif
