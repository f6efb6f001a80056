/* HYBM from inside: entities, their slices, and what they have imported.
 *
 * Locking: `entities_lock` (hybm_handle.c) guards the list of entities, `setup_lock` (hybm_entity.c) the device. An
 * entity's `lock` is held for reading by copies, and for writing by what changes its lists; `pending_lock` guards the
 * copies that were started. */
#ifndef HMCI_SMEM_HYBM_ENTITY_H
#define HMCI_SMEM_HYBM_ENTITY_H

#include "common.h"

#include <hybm/hybm_big_mem.h>

enum { HMCI_HYBM_HOST = 0, HMCI_HYBM_DEVICE = 1, HMCI_HYBM_KINDS = 2 };

typedef struct hmci_hybm_slice {
  struct hmci_hybm_slice *next;
  int kind, is_registered;
  uint64_t number, gva, size;
  void *pointer;  /* for this process: of host memory the global address */
  int descriptor; /* of allocated host memory; -1: none */
  hmc_memory_t memory;
  hmc_region_t *region;
} hmci_hybm_slice_t;

typedef struct hmci_hybm_peer {
  struct hmci_hybm_peer *next;
  uint32_t rank;
  uint64_t tag;
  hmc_peer_t *peer;
  int is_near; /* reached by shared memory */
} hmci_hybm_peer_t;

typedef struct hmci_hybm_import {
  struct hmci_hybm_import *next;
  hmci_hybm_peer_t *peer;
  int kind, is_registered;
  uint64_t number, gva, size; /* of registered memory, gva is a range that only names it here */
  hmc_remote_t *remote;
  hmc_mapping_t *mapping; /* NULL: none */
} hmci_hybm_import_t;

/* A copy that was started. */
typedef struct hmci_hybm_pending {
  struct hmci_hybm_pending *next;
  hmc_request_t *request;
  hmc_region_t *lent; /* registered for it alone; NULL: none */
} hmci_hybm_pending_t;

typedef struct hmci_hybm_entity {
  struct hmci_hybm_entity *next;
  uint16_t id, rank, ranks;
  uint64_t tag; /* differs for each entity ever made */
  hmc_connection_type_t type;
  hmc_memory_t device;
  hmc_context_t *context;
  char ip[64];
  uint16_t port;
  uint64_t space[HMCI_HYBM_KINDS]; /* of each rank */
  uint64_t base[HMCI_HYBM_KINDS], used[HMCI_HYBM_KINDS];
  int is_reserved;
  uint64_t numbers; /* of slices, given so far */
  pthread_rwlock_t lock;
  hmci_hybm_slice_t *slices;
  hmci_hybm_peer_t *peers;
  hmci_hybm_import_t *imports;
  void *extra; /* device memory */
  uint32_t extra_size;
  pthread_mutex_t pending_lock;
  hmci_hybm_pending_t *pending;
} hmci_hybm_entity_t;

/* ---- hybm_handle.c ----------------------------------------------------------------------------------------------- */

void hmci_hybm_entity_add(hmci_hybm_entity_t *entity);
/* Takes it out of the list, to be destroyed. -2000: it is none. */
int32_t hmci_hybm_entity_take(hybm_entity_t handle, hmci_hybm_entity_t **entity);
/* The entity of a handle. -2000. */
int32_t hmci_hybm_entity_of(hybm_entity_t handle, hmci_hybm_entity_t **entity);
/* The same, with its lock held for writing, and with nothing pending any more. */
int32_t hmci_hybm_entity_change(hybm_entity_t handle, hmci_hybm_entity_t **entity);
/* Waits for a copy that was started, whatever becomes of it. */
void hmci_hybm_await(hmc_request_t *request);

/* ---- hybm_slice.c ------------------------------------------------------------------------------------------------ */

void hmci_hybm_slice_free(hmci_hybm_entity_t *entity, hmci_hybm_slice_t *slice);
/* NULL: it is none of the entity's. */
hmci_hybm_slice_t *hmci_hybm_slice_of(const hmci_hybm_entity_t *entity, hybm_mem_slice_t handle);

/* ---- hybm_import.c ----------------------------------------------------------------------------------------------- */

/* Forgets what was imported of a peer, or of all (NULL). */
void hmci_hybm_peer_forget(hmci_hybm_entity_t *entity, const hmci_hybm_peer_t *peer);

#endif
