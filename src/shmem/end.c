/* Ending the job early, and telling about the library. */
#include "alias.h"
#include "state.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Those of this host learn it from their control blocks when they wait, those of other hosts from the launcher. */
static void tell_locals(int status) {
  for (int i = 0; i < hmci_pe.n_locals; i++) {
    int pe = hmci_pe.locals[i];
    if (pe != hmci_pe.me && hmci_pe.base[pe]) {
      atomic_store(&hmci_control_of(pe)->ended, (uint32_t)(status & 0xff) + 1);
      hmci_wake_all_threads(pe);
    }
  }
}

void shmem_global_exit(int status) {
  if (hmci_pe.levels > 0 && hmci_pe.part) tell_locals(status);
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
