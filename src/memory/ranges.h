/* A set of address ranges that do not touch, found by any address inside: what backends know their allocations by.
 *
 * A sorted array: lookups happen on every copy, changes rarely. Not thread-safe: the owner locks. Zeroed is empty; an
 * empty set holds no memory. */
#ifndef HMCI_RANGES_H
#define HMCI_RANGES_H

#include "../base/base.h"

typedef struct hmci_range {
  uintptr_t start;
  size_t size;
  void *item; /* the owner's */
} hmci_range_t;

typedef struct hmci_ranges {
  hmci_range_t *sorted; /* by start */
  size_t count, capacity;
} hmci_ranges_t;

/* Errors: HMC_NO_MEMORY. */
hmc_status_t hmci_ranges_insert(hmci_ranges_t *ranges, const void *start, size_t size, void *item);

/* The range that `pointer` lies in, or NULL. Valid until the next insert or remove. */
hmci_range_t *hmci_ranges_find(const hmci_ranges_t *ranges, const void *pointer);

/* Removes one that find gave. */
void hmci_ranges_remove(hmci_ranges_t *ranges, hmci_range_t *range);

#endif
