/* The memory table: one folder per kind of memory, one ops table each.
 *
 * Locking: backends lock for themselves; every op may be called from any thread at once. A backend that lacks an op
 * leaves it NULL and the registry answers HMC_UNSUPPORT with a text.
 *
 * Vendor runtimes are opened with dlopen when `open` is first called, never linked. */
#ifndef HMCI_MEMORY_H
#define HMCI_MEMORY_H

#include "../base/base.h"

#include <hmc/memory.h>

/* Bytes that lead another process on this host to an allocation: what the vendor's IPC handle is. */
#define HMCI_MEMORY_EXPORT_MAX 128

typedef struct hmci_memory_export {
  int descriptor; /* to be passed over a UNIX socket, or -1; the receiver of the struct owns it */
  uint32_t size;  /* bytes used of `handle` */
  uint8_t handle[HMCI_MEMORY_EXPORT_MAX];
} hmci_memory_export_t;

/* A copy under way. Backends without asynchronous copies leave `copy_start` NULL. */
typedef struct hmci_copy {
  void *state[4];
} hmci_copy_t;

typedef struct hmci_memory_ops {
  hmc_memory_kind_t kind;
  const char *name;
  bool host_accessible; /* plain loads and stores reach it */

  /* Finds the driver and counts devices, once. HMC_UNSUPPORT with a text that says what is missing. */
  hmc_status_t (*open)(int *devices);

  /* Zeroed memory, aligned to 256 or more. */
  hmc_status_t (*allocate)(int device, size_t size, void **pointer);
  hmc_status_t (*free)(int device, void *pointer);

  /* Between this memory and the host, and inside this memory (also between two devices of the kind). Blocking. */
  hmc_status_t (*copy_from_host)(int device, void *destination, const void *source, size_t size);
  hmc_status_t (*copy_to_host)(int device, void *destination, const void *source, size_t size);
  hmc_status_t (*copy_within)(int device, void *destination, const void *source, size_t size);

  /* The same, started on the device's copy engine: `copy_done` answers HMC_IN_PROGRESS until the bytes are there, then
   * releases the copy's resources and answers HMC_SUCCESS or an error, exactly once. Either side of `copy_start` may be
   * the host. The bytes may move as late as in the call of copy_done that answers HMC_SUCCESS: do not read the
   * destination earlier. */
  hmc_status_t (*copy_start)(int device, void *destination, const void *source, size_t size, bool to_host,
                             hmci_copy_t *copy);
  hmc_status_t (*copy_done)(hmci_copy_t *copy);

  /* HMC_NOT_FOUND when the pointer is none of this memory's. */
  hmc_status_t (*query)(const void *pointer, hmc_memory_info_t *info);

  /* For other processes of this host: export the allocation that `pointer` starts; import gives a pointer that this
   * kind's copies take; release undoes import. */
  hmc_status_t (*export_allocation)(int device, void *pointer, hmci_memory_export_t *exported);
  hmc_status_t (*import_allocation)(int device, const hmci_memory_export_t *exported, size_t size, void **pointer);
  void (*release_import)(int device, void *pointer, size_t size);

  /* For devices that read and write this memory by themselves: a dma-buf with a range that lies in one allocation, and
   * where in it the range begins. The descriptor is the caller's. HMC_UNSUPPORT: this memory has none. */
  hmc_status_t (*export_dmabuf)(int device, void *pointer, size_t size, int *descriptor, uint64_t *offset);
} hmci_memory_ops_t;

/* The tables, one per folder. */
extern const hmci_memory_ops_t hmci_memory_host;
extern const hmci_memory_ops_t hmci_memory_sim;

#pragma GCC visibility push(default) /* modules call this: see hmc.map */
/* The table of a resolved memory, opened. Errors: HMC_UNSUPPORT, HMC_NOT_FOUND (device number). */
hmc_status_t hmci_memory_find(hmc_memory_t memory, const hmci_memory_ops_t **ops);
#pragma GCC visibility pop

/* For tests: puts a table in the place of that kind's (NULL: none), and returns what was there. Threads: no other call
 * of this room may run. */
const hmci_memory_ops_t *hmci_memory_replace(hmc_memory_kind_t kind, const hmci_memory_ops_t *ops);

#endif
