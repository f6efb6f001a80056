/* SHM: handles. The world and its objects, and which of them a handle stands for (see shm.h). */
#include "shm.h"

pthread_mutex_t hmci_smem_shm_lock = PTHREAD_MUTEX_INITIALIZER;
hmci_smem_shm_world_t *hmci_smem_shm_world;
hmci_smem_shm_t *hmci_smem_shm_objects[HMCI_SMEM_OBJECTS];

int32_t hmci_smem_shm_bad_handle(smem_shm_t handle) {
  if (handle == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no object given: smem_shm_create makes one");
  }
  pthread_mutex_lock(&hmci_smem_shm_lock);
  int is_there = hmci_smem_shm_world != NULL;
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  return is_there ? hmci_smem_fail(
                        SM_INVALID_PARAM,
                        "%p is not an object of this process: give a handle of smem_shm_create that was not destroyed",
                        handle)
                  : hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_shm_init first");
}

hmci_smem_shm_t *hmci_smem_shm_of(smem_shm_t handle) {
  hmci_smem_shm_t *found = NULL;
  pthread_mutex_lock(&hmci_smem_shm_lock);
  for (int id = 0; id < HMCI_SMEM_OBJECTS && handle != NULL; id++) {
    found = hmci_smem_shm_objects[id] == handle ? hmci_smem_shm_objects[id] : found;
  }
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  return found;
}
