/* Symmetric addresses: from a pointer to an offset in a part, and on to a pointer or a far PE. */
#include "state.h"

_Alignas(HMCI_CACHE_LINE) hmc_shmem_here_t hmc_shmem_here; /* the inlined forms touch one line */

size_t hmci_offset(const void *address) {
  size_t offset = (uintptr_t)address - (uintptr_t)hmci_pe.part;
  if (offset < hmci_pe.part_size) return offset;
  offset = (uintptr_t)address - hmc_shmem_here.globals;
  if (hmc_shmem_here.globals && offset < hmci_pe.globals_size) return offset + hmci_pe.globals_at;
  if (hmci_is_device(address)) return (size_t)((const char *)address - hmci_pe.device.start) | HMCI_IN_DEVICE;
  return SIZE_MAX;
}

/* The library's own copies, for calls that were not inlined. */
HMC_SHMEM_DEFINE_NEAR(, hmc_shmem_near, size, globals_size)
HMC_SHMEM_DEFINE_NEAR(, hmc_shmem_near_bytes, bytes_size, bytes_globals_size)

/* Where what the offset is in ends, and what that is. */
static size_t end_of(size_t offset, const char **name) {
  bool in_device = offset & HMCI_IN_DEVICE, in_globals = offset < hmci_pe.heap_at;
  *name = in_device ? "device heap" : in_globals ? "globals" : "heap";
  if (in_device) return hmci_pe.device.size | HMCI_IN_DEVICE;
  return in_globals ? hmci_pe.heap_at : hmci_pe.part_size;
}

void hmci_check(const char *call, const void *address, size_t size, int pe) {
  bool is_pe = pe >= 0 && pe < hmci_pe.n;
  if (is_pe && !hmci_pe.checks) return;
  if (hmci_pe.levels == 0) hmci_die("%s: called before shmem_init or after shmem_finalize: call it in between", call);
  if (!is_pe) hmci_die("%s: there is no PE %d: the job has %d, which count from 0", call, pe, hmci_pe.n);
  if (size == 0) return;
  size_t offset = hmci_offset(address);
  if (offset == SIZE_MAX || offset < hmci_pe.globals_at) {
    hmci_die("%s: %p is not symmetric: it lies neither in a heap nor in the globals of the executable; allocate it by "
             "shmem_malloc, or make it a static or global variable",
             call, address);
  }
  const char *name;
  if (size > end_of(offset, &name) - offset) {
    hmci_die("%s: %zu B from %p run past the end of the symmetric %s: look at the count and at what was allocated",
             call, size, address, name);
  }
}

void hmci_check_host(const char *call, const void *address) {
  if (hmci_is_device(address)) {
    hmci_die("%s: %p lies in the device heap: allocate locks and pSync arrays by shmem_malloc", call, address);
  }
}
