/* State of the C++ classes: see hmc/state.h.
 *
 * Locking: `lock` guards the list of objects. It is held while an object is made, and may be taken again by the thread
 * that makes one. */
#include <hmc/state.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct object {
  struct object *next;
  void *object;
  char name[];
} object_t;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static object_t *objects; /* lock */

static _Thread_local hmc_state_thread_t thread_state;

hmc_state_thread_t *hmc_state_of_thread(void) { return &thread_state; }

static void *find(const char *name) {
  for (const object_t *at = objects; at; at = at->next) {
    if (strcmp(at->name, name) == 0) return at->object;
  }
  return NULL;
}

static void *add(const char *name, void *(*make)(void)) {
  size_t size = strlen(name) + 1;
  object_t *entry = malloc(sizeof *entry + size);
  if (!entry) return NULL;
  entry->object = make();
  if (!entry->object) {
    free(entry);
    return NULL;
  }
  memcpy(entry->name, name, size);
  entry->next = objects;
  objects = entry;
  return entry->object;
}

void *hmc_state_object(const char *name, void *(*make)(void)) {
  pthread_mutex_lock(&lock);
  void *object = find(name);
  if (!object) object = add(name, make);
  pthread_mutex_unlock(&lock);
  return object;
}
