/* The staging pool: host buffers through which bytes of device memory pass, bounded per context.
 *
 * Threads: any. Nothing blocks: who gets no buffer tries again later, or goes another way. */
#ifndef HMCI_STAGING_H
#define HMCI_STAGING_H

#include "memory.h"

#include <pthread.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

enum { HMCI_STAGING_KEPT = 64 };

/* Buffers that were given back are kept for the next taker, for fresh pages are slow. They are pinned for a device, on its
 * NUMA node, once there is one: a driver copies other memory by way of buffers of its own. */
typedef struct hmci_staging {
  uint64_t limit;               /* bytes; constant */
  const hmci_memory_ops_t *ops; /* lock; pins the buffers that are made from now on; NULL: nobody */
  int device;                   /* lock; of `ops` */
  pthread_mutex_t lock;
  uint64_t allocated; /* lock; bytes in use and kept: never over the limit */
  uint32_t kept;      /* lock */
  struct {
    void *buffer;
    uint64_t size;
  } keep[HMCI_STAGING_KEPT]; /* lock */
} hmci_staging_t;

void hmci_staging_open(hmci_staging_t *staging, uint64_t limit);
/* All buffers must have been given back. */
void hmci_staging_close(hmci_staging_t *staging);

/* Buffers that are made from now on are pinned for that device, where its kind can. */
void hmci_staging_pin_for(hmci_staging_t *staging, const hmci_memory_ops_t *ops, int device);

/* `size` bytes on a page of their own, or NULL when the pool's limit is reached. */
void *hmci_staging_take(hmci_staging_t *staging, uint64_t size);
void hmci_staging_give(hmci_staging_t *staging, void *buffer, uint64_t size);

/* How fast a device copies: measured once per kind and device by small copies to the host, and kept. */
typedef struct hmci_copy_speed {
  uint64_t latency; /* ns of a copy beside its bytes */
  uint64_t rate;    /* bytes per second */
} hmci_copy_speed_t;
hmc_status_t hmci_copy_speed_measure(hmc_memory_t memory, hmci_copy_speed_t *speed);

/* The size of a chunk for a device of that speed: large enough that its latency costs little, small enough that the
 * stages before and after it overlap soon. Between HMCI_CHUNK_LEAST and HMCI_CHUNK_MOST, a power of two. */
enum { HMCI_CHUNK_LEAST = 64 << 10, HMCI_CHUNK_MOST = 1 << 20 };
uint64_t hmci_chunk_size(const hmci_copy_speed_t *speed);

#pragma GCC visibility pop

#endif
