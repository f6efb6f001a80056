/* HYBM: handles. The list of entities, and which of them a handle stands for (see hybm_entity.h). */
#include "hybm_entity.h"

static pthread_mutex_t entities_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_hybm_entity_t *entities;

void hmci_hybm_entity_add(hmci_hybm_entity_t *entity) {
  pthread_mutex_lock(&entities_lock);
  entity->next = entities;
  entities = entity;
  pthread_mutex_unlock(&entities_lock);
}

/* With the lock: where the list has the handle, or its end. */
static hmci_hybm_entity_t **find(hybm_entity_t handle) {
  hmci_hybm_entity_t **at = &entities;
  while (*at != NULL && *at != handle) {
    at = &(*at)->next;
  }
  return at;
}

static int32_t judge(hybm_entity_t handle, const hmci_hybm_entity_t *found) {
  return found != NULL ? SM_OK : hmci_smem_fail(SM_INVALID_PARAM, "%p is not an entity of hybm_create_entity", handle);
}

int32_t hmci_hybm_entity_of(hybm_entity_t handle, hmci_hybm_entity_t **entity) {
  pthread_mutex_lock(&entities_lock);
  *entity = *find(handle);
  pthread_mutex_unlock(&entities_lock);
  return judge(handle, *entity);
}

int32_t hmci_hybm_entity_take(hybm_entity_t handle, hmci_hybm_entity_t **entity) {
  pthread_mutex_lock(&entities_lock);
  hmci_hybm_entity_t **at = find(handle);
  *entity = *at;
  if (*at != NULL) {
    *at = (*at)->next;
  }
  pthread_mutex_unlock(&entities_lock);
  return judge(handle, *entity);
}

void hmci_hybm_await(hmc_request_t *request) {
  if (hmc_request_wait(request) != HMC_SUCCESS) {
    hmci_smem_log(HMCI_SMEM_DEBUG, "a copy that was started failed: %s", hmc_last_error());
  }
}

int32_t hmci_hybm_entity_change(hybm_entity_t handle, hmci_hybm_entity_t **entity) {
  int32_t code = hmci_hybm_entity_of(handle, entity);
  if (code == SM_OK) {
    pthread_rwlock_wrlock(&(*entity)->lock);
    pthread_mutex_lock(&(*entity)->pending_lock);
    for (hmci_hybm_pending_t *at = (*entity)->pending; at != NULL; at = at->next) {
      hmci_hybm_await(at->request); /* hybm_wait still tells what became of it */
    }
    pthread_mutex_unlock(&(*entity)->pending_lock);
  }
  return code;
}
