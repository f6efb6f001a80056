/* Memory for structures with members that are kept on cache lines of their own. */
#include "base.h"

#include <stdlib.h>
#include <string.h>

void *hmci_allocate_aligned(size_t size) {
  size_t whole = (size + HMCI_CACHE_LINE - 1) / HMCI_CACHE_LINE * HMCI_CACHE_LINE;
  void *memory = aligned_alloc(HMCI_CACHE_LINE, whole);
  if (memory)
    memset(memory, 0, whole);
  return memory;
}
