/* Ending the job early, and telling about the library. */
#include "alias.h"
#include "state.h"

#include <string.h>

void shmem_global_exit(int status) {
  if (hmci_pe.levels > 0 && hmci_pe.part) hmci_tell_end(status);
  hmci_end_job(status);
}

void shmem_info_get_version(int *major, int *minor) {
  if (major) *major = SHMEM_MAJOR_VERSION;
  if (minor) *minor = SHMEM_MINOR_VERSION;
}

void shmem_info_get_name(char *name) {
  if (name) memcpy(name, SHMEM_VENDOR_STRING, sizeof SHMEM_VENDOR_STRING);
}

void shmem_pcontrol(const int level, ...) { (void)level; }

int shmem_query_interoperability(int property) {
  (void)property;
  return 0;
}

extern void pshmem_global_exit(int status) __attribute__((alias("shmem_global_exit"), visibility("default"), noreturn));
PROFILED(shmem_pcontrol);
PROFILED(shmem_query_interoperability);
PROFILED(shmem_info_get_version);
PROFILED(shmem_info_get_name);
