/* The flight recorder's inside (hmc/recorder.h): a ring in a file that all of a process share.
 *
 * Writing is a reservation by one atomic addition and stores into mapped memory: no lock, no system call; the kernel has
 * the bytes whatever becomes of the process. Without HMC_RECORDER it is a look at one pointer. */
#ifndef HMCI_RECORDER_H
#define HMCI_RECORDER_H

#include "base.h"

#include <hmc/recorder.h>
#include <stdatomic.h>

struct hmci_ring_file;
extern struct hmci_ring_file *_Atomic hmci_recorder;

/* Opens the file, once per process; `path` may have %p for the process's number. Errors: HMC_INVALID_CONFIG (it cannot
 * be made). */
hmc_status_t hmci_recorder_open(const char *path);

void hmci_recorder_write(hmc_record_kind_t kind, hmc_status_t status, uint64_t bytes, uint64_t duration,
                         const char *text);

static inline void hmci_record(hmc_record_kind_t kind, hmc_status_t status, uint64_t bytes, uint64_t duration,
                               const char *text) {
  if (HMCI_UNLIKELY(atomic_load_explicit(&hmci_recorder, memory_order_relaxed) != NULL))
    hmci_recorder_write(kind, status, bytes, duration, text);
}

/* `path` with %p replaced. HMC_INVALID_CONFIG where it is too long. */
hmc_status_t hmci_path_expand(const char *path, char *expanded, size_t size);

#endif
