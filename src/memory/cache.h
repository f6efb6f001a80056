/* A cache of registrations: what is made for a range of memory so that something can reach it (a pin, an export, a
 * key), shared by all who need the range or a part of it, and kept for the next one.
 *
 * A registration lives while it has users. Then it may stay, idle, as long as the memory does: that is known of what
 * hmc_memory_allocate gave, for hmc_memory_free tells all caches before it frees. Nobody tells of memory that comes
 * from elsewhere (HMC hooks no allocator), so there it goes with its last user. Idle ones are dropped, the oldest
 * first, when they are more than the ceiling, or when the owner wants room.
 *
 * What lets others in, such as a key that peers hold, must end with the region that it was given for: its owner does
 * not share it, and does not keep it here.
 *
 * Threads: any. `make` takes its time and runs with no lock held; memory may be freed meanwhile. `drop` runs with the
 * cache's lock held, in any thread, and must not call the cache. */
#ifndef HMCI_CACHE_H
#define HMCI_CACHE_H

#include "../base/base.h"

#include <hmc/memory.h>
#include <pthread.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

typedef struct hmci_registration {
  uint8_t *base;
  uint64_t size;
  uint32_t traits; /* only those with the same ones are shared; the owner's */
  void *thing;     /* what was made */

  uint32_t users;  /* the rest is the cache's */
  bool gone;       /* its memory was freed under its users, or while it was being made */
  hmci_list_t age; /* idle ones: cache->idle; those that are being made: cache->making */
} hmci_registration_t;

typedef struct hmci_cache_ops {
  hmc_status_t (*make)(void *owner, uint8_t *base, uint64_t size, uint32_t traits, void **thing);
  void (*drop)(void *owner, void *thing, uint64_t size);
} hmci_cache_ops_t;

typedef struct hmci_cache {
  const hmci_cache_ops_t *ops;
  void *owner;
  uint64_t ceiling; /* most bytes that stay idle */
  hmci_list_t member;

  pthread_mutex_t lock;
  hmci_registration_t **sorted; /* lock, as all below; by base; those whose memory is there */
  size_t count, capacity;
  uint64_t longest; /* none in `sorted` is larger */
  hmci_list_t making;
  hmci_list_t idle; /* the oldest first */
  uint64_t idle_bytes;
} hmci_cache_t;

void hmci_cache_open(hmci_cache_t *cache, const hmci_cache_ops_t *ops, void *owner, uint64_t ceiling);
/* Drops what is idle; nothing may be in use. */
void hmci_cache_close(hmci_cache_t *cache);

/* Finds or makes a registration of at least [base, base + size), and counts the caller among its users. Errors: what
 * `make` answers, HMC_NO_MEMORY. */
hmc_status_t hmci_cache_acquire(hmci_cache_t *cache, uint8_t *base, uint64_t size, uint32_t traits,
                                hmci_registration_t **registration);
void hmci_cache_release(hmci_cache_t *cache, hmci_registration_t *registration);

/* Drops the oldest idle one. False: there is none. */
bool hmci_cache_trim(hmci_cache_t *cache);

#pragma GCC visibility pop

/* What the registry tells: memory of that kind was allocated, and is about to be freed. The size is remembered; what
 * was never reported is none of the caches' business. */
void hmci_cache_note_allocated(hmc_memory_kind_t kind, void *pointer, size_t size);
void hmci_cache_note_freed(hmc_memory_kind_t kind, void *pointer);

#endif
