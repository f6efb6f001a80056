/* What both ends of hmc-perf do alike: memory for operations, and the processor they run on. */
#include "perf.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

int perf_pin(const perf_options_t *options, unsigned end) {
  cpu_set_t one;
  if (!options->pinned) return TOOL_DONE;
  CPU_ZERO(&one);
  CPU_SET(options->processors[end], &one);
  if (sched_setaffinity(0, sizeof one, &one) == 0) return TOOL_DONE;
  return tool_fail("--processor: this process may not run on processor %d", options->processors[end]);
}

/* Memory of the program's own has to stay while it is a region: until there is another one, or the process ends. */
hmc_status_t perf_region(const perf_options_t *options, hmc_context_t *context, hmc_memory_t memory, uint64_t bytes,
                         const char *name, unsigned rights, hmc_region_t **region) {
  if (!options->own_memory) return hmc_region_allocate(context, memory, bytes, name, rights, region);
  static void *pages;
  free(pages);
  pages = NULL;
  if (posix_memalign(&pages, (size_t)sysconf(_SC_PAGESIZE), bytes) != 0) return HMC_NO_MEMORY;
  return hmc_region_register(context, pages, bytes, name, rights, region);
}
