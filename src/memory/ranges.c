/* Sets of address ranges.
 *
 * Invariant: sorted[i].start + sorted[i].size <= sorted[i + 1].start; capacity is 0 exactly when sorted is NULL. */
#include "ranges.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16

/* The number of ranges that start at or before `address`. */
static size_t count_up_to(const hmci_ranges_t *ranges, uintptr_t address) {
  size_t low = 0, high = ranges->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (ranges->sorted[middle].start <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

hmc_status_t hmci_ranges_insert(hmci_ranges_t *ranges, const void *start, size_t size, void *item) {
  if (ranges->count == ranges->capacity) {
    size_t capacity = ranges->capacity == 0 ? FIRST_CAPACITY : 2 * ranges->capacity;
    hmci_range_t *grown = realloc(ranges->sorted, capacity * sizeof(*grown));
    if (grown == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for a list of %zu allocations", capacity);
    }
    ranges->sorted = grown;
    ranges->capacity = capacity;
  }
  size_t at = count_up_to(ranges, (uintptr_t)start);
  memmove(&ranges->sorted[at + 1], &ranges->sorted[at], (ranges->count - at) * sizeof(ranges->sorted[0]));
  ranges->sorted[at] = (hmci_range_t){.start = (uintptr_t)start, .size = size, .item = item};
  ranges->count++;
  return HMC_SUCCESS;
}

hmci_range_t *hmci_ranges_find(const hmci_ranges_t *ranges, const void *pointer) {
  uintptr_t address = (uintptr_t)pointer;
  size_t after = count_up_to(ranges, address);
  if (after == 0) {
    return NULL;
  }
  hmci_range_t *range = &ranges->sorted[after - 1];
  return address - range->start < range->size ? range : NULL;
}

void hmci_ranges_remove(hmci_ranges_t *ranges, hmci_range_t *range) {
  size_t at = (size_t)(range - ranges->sorted);
  ranges->count--;
  memmove(range, range + 1, (ranges->count - at) * sizeof(*range));
  if (ranges->count == 0) {
    free(ranges->sorted);
    *ranges = (hmci_ranges_t){0};
  }
}
