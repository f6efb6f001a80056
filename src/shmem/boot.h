/* Start-up: who this PE is, and how all exchange a few bytes before they reach each other's memory. */
#ifndef HMCI_SHMEM_BOOT_H
#define HMCI_SHMEM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hmci_boot hmci_boot_t;

/* One way to start. Functions return false with a text in hmc_last_error or on stderr. */
struct hmci_boot {
  const char *name;
  int rank, size;
  bool one_host; /* the launcher says that all PEs are on this host */
  /* `all` gets size x bytes, in the order of the ranks. Collective. */
  bool (*gather)(hmci_boot_t *boot, const void *mine, size_t bytes, void *all);
  /* Tells the launcher to end all PEs with that status; may return. */
  void (*abort)(hmci_boot_t *boot, int status);
  void (*close)(hmci_boot_t *boot);
  void *state;
};

extern hmci_boot_t hmci_boot; /* of this job; all zero before init and after finalize, and written by them only */

/* Finds the launcher by the environment and joins; ends the process where that fails. */
void hmci_boot_open(hmci_boot_t *boot);

/* A job that was described by the caller (unique id, addresses) instead of the environment. */
typedef struct hmci_boot_wish {
  int rank, size;
  const char *address; /* "tcp://ip:port": the first PE serves there; NULL with size 1 */
  uint64_t timeout_ms; /* for all to meet; 0: that of HMC_TIMEOUT */
} hmci_boot_wish_t;
bool hmci_boot_open_as(hmci_boot_t *boot, const hmci_boot_wish_t *wish);

/* Listens for a job whose first PE this process will be; writes the address for the others. For the next
 * hmci_boot_open_as with that address and rank 0. False with a text on stderr. */
bool hmci_boot_prepare(const char *wish, char *address, size_t size);

/* True where the environment says that a launcher has started this process. */
bool hmci_boot_is_launched(void);

/* shmem_init for a job as described, or as the environment says where `wish` is NULL; `heap` in bytes, 0: by the
 * environment. False where the PEs do not meet. (init.c) */
bool hmci_join_as(const hmci_boot_wish_t *wish, size_t heap);

/* The ways; each returns false where it does not apply. */
bool hmci_boot_by_pmix(hmci_boot_t *boot);

/* Serves at `address` where rank is 0 and joins; "unix:/path" or "tcp://ip:port". `timeout_ms` is for all to meet; 0: that
 * of HMC_TIMEOUT. False with a text on stderr. */
bool hmci_boot_by_rendezvous(hmci_boot_t *boot, int rank, int size, const char *address, uint64_t timeout_ms);

#endif
