/* BM: handles. The list of objects, what a handle stands for, and that nobody uses an object that ends (see bm.h).
 *
 * Locking: `hmci_smem_bm_lock` guards changes of the list, which calls read without it. An object that ends stays in the
 * list, where its id is taken, but no call finds it any more. */
#include "bm.h"

pthread_mutex_t hmci_smem_bm_lock = PTHREAD_MUTEX_INITIALIZER;
hmci_smem_world_t *hmci_smem_bm_world;
static _Atomic(hmci_smem_object_t *) objects;

int hmci_smem_object_has(uint32_t id) {
  hmci_smem_object_t *at = atomic_load(&objects);
  while (at != NULL && at->id != id) {
    at = atomic_load(&at->next);
  }
  return at != NULL;
}

void hmci_smem_object_add(hmci_smem_object_t *object) {
  atomic_init(&object->next, atomic_load(&objects));
  atomic_store(&objects, object);
}

hmci_smem_object_t *hmci_smem_object_find(smem_bm_t handle) {
  hmci_smem_object_t *at = atomic_load_explicit(&objects, memory_order_acquire); /* partner: hmci_smem_object_add */
  while (at != NULL && at != handle) {
    at = atomic_load_explicit(&at->next, memory_order_acquire);
  }
  return at != NULL && !atomic_load_explicit(&at->is_ending, memory_order_relaxed) ? at : NULL;
}

static int32_t fail_handle(smem_bm_t handle) {
  pthread_mutex_lock(&hmci_smem_bm_lock);
  int has_world = hmci_smem_bm_world != NULL;
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  return has_world ? hmci_smem_fail(SM_INVALID_PARAM,
                                    "%p is not a pool of this process: give a handle of smem_bm_create that was not "
                                    "destroyed",
                                    handle)
                   : hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_bm_init first");
}

int32_t hmci_smem_object_hold(smem_bm_t handle, hmci_smem_object_t **held) {
  if (handle == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no pool given: smem_bm_create makes one");
  }
  hmci_smem_reader_t *reader = hmci_smem_read_begin();
  if (reader == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for what a thread that uses a pool needs");
  }
  hmci_smem_object_t *object = hmci_smem_object_find(handle);
  if (object != NULL) {
    atomic_fetch_add_explicit(&object->calls, 1, memory_order_relaxed);
  }
  hmci_smem_read_end(reader);
  *held = object;
  return object != NULL ? SM_OK : fail_handle(handle);
}

void hmci_smem_object_release(hmci_smem_object_t *object) {
  atomic_fetch_sub_explicit(&object->calls, 1, memory_order_release); /* partner: await_calls */
}

/* ---- ending one -------------------------------------------------------------------------------------------------- */

/* Makes the object one that no call finds any more; NULL: another thread has, or there is none. */
static hmci_smem_object_t *begin_end(smem_bm_t handle) {
  pthread_mutex_lock(&hmci_smem_bm_lock);
  hmci_smem_object_t *object = hmci_smem_object_find(handle);
  if (object != NULL) {
    atomic_store(&object->is_ending, 1);
  }
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  return object;
}

/* Waits for the calls of other threads: each ends, by its deadline at the latest. */
static void await_calls(hmci_smem_object_t *object) {
  hmci_smem_read_wait();
  while (atomic_load_explicit(&object->calls, memory_order_acquire) > 0) { /* partner: hmci_smem_object_release */
    hmci_smem_nap();
  }
}

int32_t hmci_smem_object_end(smem_bm_t handle, hmci_smem_object_t **ended) {
  hmci_smem_object_t *object = begin_end(handle);
  if (object == NULL) {
    return fail_handle(handle);
  }
  await_calls(object);
  *ended = object;
  return SM_OK;
}

void hmci_smem_object_remove(hmci_smem_object_t *object) {
  pthread_mutex_lock(&hmci_smem_bm_lock);
  _Atomic(hmci_smem_object_t *) *at = &objects;
  while (atomic_load(at) != object) {
    at = &atomic_load(at)->next;
  }
  atomic_store(at, atomic_load(&object->next));
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  hmci_smem_read_wait();
}

smem_bm_t hmci_smem_object_first(void) { return atomic_load(&objects); }

void hmci_smem_objects_forget(void) { atomic_store(&objects, NULL); }
