/* SHM from inside: what shm.c (the world, objects), shm_group.c (barriers, slots, exits) and shm_handle.c share.
 *
 * Locking: `hmci_smem_shm_lock` guards the world and its objects, and is not held while one is made. An object is constant once
 * it has been made, but for what its own `lock` guards: the exit handler and the slots. */
#ifndef HMCI_SMEM_SHM_H
#define HMCI_SMEM_SHM_H

#include "common.h"

#include <smem/device/smem_shm_device.h>
#include <smem/host/smem_shm.h>

enum { HMCI_SMEM_OBJECTS = 64 };

typedef struct hmci_smem_shm_world {
  hmci_smem_link_t *link;
  hmc_store_t *store;
  hmc_store_lease_t *lease;
  hmc_context_t *context;
  uint32_t size, rank;
  uint64_t create_ms, control_ms;
  char ip[64];
  uint16_t port;
} hmci_smem_shm_world_t;

/* Another rank's part. */
typedef struct hmci_smem_shm_peer {
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  hmc_mapping_t *mapping; /* NULL: it is not on this host, and kernels do not reach it by loads and stores */
} hmci_smem_shm_peer_t;

typedef struct hmci_smem_shm {
  hmci_smem_shm_world_t *world;
  uint32_t id, size, rank;
  uint64_t bytes; /* of a part */
  void *base;
  int descriptor;
  hmc_region_t *region;
  hmci_smem_shm_peer_t *peers;

  pthread_mutex_t lock;
  void (*on_exit)(int);
  hmc_store_watch_t *watch;
  pthread_t watcher;
  int has_watcher;
} hmci_smem_shm_t;

/* ---- shm_handle.c ------------------------------------------------------------------------------------------------ */

extern pthread_mutex_t hmci_smem_shm_lock;
extern hmci_smem_shm_world_t *hmci_smem_shm_world; /* NULL: none */
extern hmci_smem_shm_t *hmci_smem_shm_objects[HMCI_SMEM_OBJECTS];

/* The object of a handle, or NULL. */
hmci_smem_shm_t *hmci_smem_shm_of(smem_shm_t handle);

/* -2000 or -2008, with a text, for a handle that is none. */
int32_t hmci_smem_shm_bad_handle(smem_shm_t handle);

/* ---- shm_group.c ------------------------------------------------------------------------------------------------- */

/* Ends the thread that waits for global exits. */
void hmci_smem_shm_end_watch(hmci_smem_shm_t *object);

/* Before an object is made: what a former one of that id ended with. */
void hmci_smem_shm_forget_exit(const hmci_smem_shm_t *object);

#endif
