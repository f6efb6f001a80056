/* SHM: what ranks of an object do together: barriers, gathers, slots, and ending all (see shm.h). */
#include "shm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEND_MOST = 65536 };

/* ---- barriers and gathers ---------------------------------------------------------------------------------------- */

static int32_t meet(const hmci_smem_shm_t *object, const char *name, uint32_t count) {
  hmc_status_t status = hmc_store_barrier(object->world->store, name, count, object->world->control_ms);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "object %u: the barrier failed", object->id);
}

static int32_t gather(const hmci_smem_shm_t *object, const char *name, uint32_t count, uint32_t index, const char *send,
                      uint32_t send_size, char *receive, uint32_t receive_size) {
  if (send == NULL || receive == NULL || send_size == 0 || send_size > SEND_MOST ||
      receive_size < (uint64_t)send_size * count) {
    return hmci_smem_fail(SM_INVALID_PARAM, "%u B of each of %u into %u B: 1 to %d B, and room for all, are needed",
                          send_size, count, receive_size, SEND_MOST);
  }
  hmc_status_t status =
      hmc_store_gather(object->world->store, name, count, index, send, send_size, receive, object->world->control_ms);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "object %u: the allgather failed", object->id);
}

int32_t smem_shm_control_barrier(smem_shm_t handle) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char name[64];
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  snprintf(name, sizeof(name), "smem/shm/%u/barrier", object->id);
  return meet(object, name, object->size);
}

int32_t smem_shm_control_allgather(smem_shm_t handle, const char *sendBuf, uint32_t sendSize, char *recvBuf,
                                   uint32_t recvSize) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char name[64];
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  snprintf(name, sizeof(name), "smem/shm/%u/gather", object->id);
  return gather(object, name, object->size, object->rank, sendBuf, sendSize, recvBuf, recvSize);
}

static int32_t group_name(const hmci_smem_shm_t *object, const char *what, const char *key, uint32_t size,
                          uint32_t rank, char name[HMC_STORE_KEY_MAX]) {
  int length = key != NULL ? snprintf(name, HMC_STORE_KEY_MAX, "smem/shm/%u/%s/%s", object->id, what, key) : 0;
  if (key == NULL || key[0] == '\0' || length >= HMC_STORE_KEY_MAX || size == 0 || rank >= size ||
      size > object->world->size) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "rank %u of %u in the group \"%.40s\": a key, and a rank in the group, are "
                          "needed",
                          rank, size, key != NULL ? key : "");
  }
  return SM_OK;
}

int32_t smem_shm_subgroup_barrier(smem_shm_t handle, const char *key, uint32_t rankSize, uint32_t rankId) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char name[HMC_STORE_KEY_MAX];
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  int32_t code = group_name(object, "group-barrier", key, rankSize, rankId, name);
  return code == SM_OK ? meet(object, name, rankSize) : code;
}

int32_t smem_shm_subgroup_allgather(smem_shm_t handle, const char *key, uint32_t rankSize, uint32_t rankId,
                                    const char *sendBuf, uint32_t sendSize, char *recvBuf, uint32_t recvSize) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char name[HMC_STORE_KEY_MAX];
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  int32_t code = group_name(object, "group-gather", key, rankSize, rankId, name);
  return code == SM_OK ? gather(object, name, rankSize, rankId, sendBuf, sendSize, recvBuf, recvSize) : code;
}

/* ---- slots: numbers that one rank has at a time ------------------------------------------------------------------ */

static void slot_key(const hmci_smem_shm_t *object, uint32_t value, char key[64]) {
  snprintf(key, 64, "smem/shm/%u/slot/%u", object->id, value);
}

int32_t smem_shm_atomic_alloc_value(smem_shm_t handle, uint32_t limit, uint32_t *retVal) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  if (retVal == NULL || limit == 0 || limit > SMEM_SHM_ATOMIC_NUM_LIMIT) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a number below %u: limits of 1 to %u, and a place for it, are needed",
                          limit, SMEM_SHM_ATOMIC_NUM_LIMIT);
  }
  for (uint32_t value = 0; value < limit; value++) {
    char key[64], owner[16];
    int swapped = 0, size = snprintf(owner, sizeof(owner), "%u", object->rank);
    slot_key(object, value, key);
    hmc_status_t status = hmc_store_compare_swap(object->world->store, key, NULL, 0, owner, (size_t)size,
                                                 object->world->lease, &swapped, object->world->control_ms);
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "object %u: no number can be taken", object->id);
    }
    if (swapped) {
      *retVal = value;
      return SM_OK;
    }
  }
  return hmci_smem_fail(SM_ERROR, "object %u: all numbers below %u are taken: release one, or give a larger limit",
                        object->id, limit);
}

int32_t smem_shm_atomic_release_value(smem_shm_t handle, int32_t value) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char key[64];
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  if (value < 0 || (uint32_t)value >= SMEM_SHM_ATOMIC_NUM_LIMIT) {
    return hmci_smem_fail(SM_INVALID_PARAM, "number %d: 0 to %u are given", value, SMEM_SHM_ATOMIC_NUM_LIMIT - 1);
  }
  slot_key(object, (uint32_t)value, key);
  hmc_status_t status = hmc_store_delete(object->world->store, key, object->world->control_ms);
  return status == HMC_SUCCESS
             ? SM_OK
             : hmci_smem_fail_hmc(status, "object %u: number %d is not given back", object->id, value);
}

/* ---- ending all -------------------------------------------------------------------------------------------------- */

static void exit_key(const hmci_smem_shm_t *object, char key[64]) { snprintf(key, 64, "smem/shm/%u/exit", object->id); }

/* Waits for the key that global exit sets, and calls the handler once. */
static void *wait_for_exit(void *argument) {
  hmci_smem_shm_t *object = argument;
  hmc_store_event_t event;
  hmc_status_t status = HMC_TIMEOUT;
  while (status == HMC_TIMEOUT || (status == HMC_SUCCESS && event.kind != HMC_STORE_PUT)) {
    status = hmc_store_watch_next(object->watch, &event, 3600000);
  }
  if (status == HMC_SUCCESS) {
    char text[16] = "";
    memcpy(text, event.value, event.value_size < sizeof(text) ? event.value_size : sizeof(text) - 1);
    object->on_exit((int)strtol(text, NULL, 10));
  } else if (status != HMC_CANCELLED) {
    hmci_smem_log(HMCI_SMEM_ERROR, "object %u: a global exit will not be noticed: %s", object->id, hmc_last_error());
  }
  return NULL;
}

int32_t smem_shm_register_exit(smem_shm_t handle, void (*exit)(int)) {
  hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char key[64];
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  if (exit == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no function given to be called at the end: give one");
  }
  int32_t code = SM_OK;
  pthread_mutex_lock(&object->lock);
  exit_key(object, key);
  if (object->on_exit != NULL) {
    code = hmci_smem_fail(SM_ERROR, "object %u has a function for its end already: it takes one for good", object->id);
  } else {
    hmc_status_t status = hmc_store_watch_start(object->world->store, key, object->world->control_ms, &object->watch);
    if (status != HMC_SUCCESS) {
      code = hmci_smem_fail_hmc(status, "object %u: its end cannot be watched", object->id);
    } else {
      object->on_exit = exit;
      object->has_watcher = hmci_smem_thread_create(&object->watcher, wait_for_exit, object) == 0;
      code = object->has_watcher ? SM_OK : hmci_smem_fail(SM_MALLOC_FAILED, "no thread to watch object %u", object->id);
    }
  }
  pthread_mutex_unlock(&object->lock);
  return code;
}

void smem_shm_global_exit(smem_shm_t handle, int status) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  char key[64], text[16];
  if (object == NULL) {
    hmci_smem_shm_bad_handle(handle);
    return;
  }
  exit_key(object, key);
  int size = snprintf(text, sizeof(text), "%d", status);
  hmc_status_t told = hmc_store_set(object->world->store, key, text, (size_t)size, NULL, object->world->control_ms);
  if (told != HMC_SUCCESS) {
    hmci_smem_fail_hmc(told, "object %u: its end cannot be reported", object->id);
  }
}

void hmci_smem_shm_end_watch(hmci_smem_shm_t *object) {
  if (object->watch == NULL) {
    return;
  }
  hmc_store_watch_interrupt(object->watch);
  if (object->has_watcher && !pthread_equal(pthread_self(), object->watcher)) {
    pthread_join(object->watcher, NULL);
  } else if (object->has_watcher) {
    pthread_detach(object->watcher); /* the handler itself ends the object */
  }
  hmc_store_watch_stop(object->watch);
  object->watch = NULL;
}

void hmci_smem_shm_forget_exit(const hmci_smem_shm_t *object) {
  char key[64];
  exit_key(object, key);
  HMC_IGNORE(hmc_store_delete(object->world->store, key, object->world->create_ms)); /* mostly there is none */
}
