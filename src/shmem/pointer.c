/* What of the job's memory this PE can reach, and by which pointer. */
#include "alias.h"
#include "state.h"

int shmem_pe_accessible(int pe) { return hmci_pe.levels > 0 && pe >= 0 && pe < hmci_pe.n; }

int shmem_addr_accessible(const void *address, int pe) {
  if (!shmem_pe_accessible(pe)) return 0;
  size_t offset = hmci_offset(address);
  return offset != SIZE_MAX && offset >= hmci_pe.globals_at;
}

void *shmem_ptr(const void *dest, int pe) {
  if (!shmem_addr_accessible(dest, pe)) return NULL;
  if (pe == hmci_pe.me) return (void *)(uintptr_t)dest;
  size_t offset = hmci_offset(dest);
  char *base = offset & HMCI_IN_DEVICE ? hmci_device_base(pe) : hmci_pe.base[pe];
  return base ? base + (offset & ~HMCI_IN_DEVICE) : NULL;
}

void *shmem_team_ptr(shmem_team_t team, const void *dest, int pe) {
  int world = shmem_team_translate_pe(team, pe, SHMEM_TEAM_WORLD);
  return world < 0 ? NULL : shmem_ptr(dest, world);
}

PROFILED(shmem_pe_accessible);
PROFILED(shmem_addr_accessible);
PROFILED(shmem_ptr);
PROFILED(shmem_team_ptr);
