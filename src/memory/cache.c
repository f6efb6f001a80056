/* Registrations by range (see cache.h).
 *
 * Registrations may overlap, so one that contains a range is looked for from where ranges that start behind it begin,
 * backwards, no further than the longest one reaches.
 *
 * Locking: `table_lock` guards the list of all caches and the allocations that are known of; a cache's own lock is
 * inner to it. Both are free in a child made by fork(): the table's is held across it, and a cache there is its
 * parent's. */
#include "cache.h"

#include "ranges.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 16

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_list_t caches = {&caches, &caches};
static hmci_ranges_t allocated[HMC_MEMORY_SIM + 1]; /* by kind */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void lock_table(void) { pthread_mutex_lock(&table_lock); }
static void unlock_table(void) { pthread_mutex_unlock(&table_lock); }

/* A child has none of the threads that use its parent's caches. */
static void forget_caches(void) {
  hmci_list_init(&caches);
  pthread_mutex_init(&table_lock, NULL);
}
static void watch_fork(void) { pthread_atfork(lock_table, unlock_table, forget_caches); }

/* ---- the table --------------------------------------------------------------------------------------------------- */

/* Will somebody tell when this memory is freed? */
static bool is_known(const uint8_t *base, uint64_t size) {
  bool known = false;
  lock_table();
  for (int kind = 0; kind <= HMC_MEMORY_SIM && !known; kind++) {
    const hmci_range_t *range = hmci_ranges_find(&allocated[kind], base);
    known = range != NULL && hmci_range_fits((uintptr_t)base - range->start, size, range->size);
  }
  unlock_table();
  return known;
}

/* ---- the set ----------------------------------------------------------------------------------------------------- */

/* The number of registrations that start at or before `address`. */
static size_t count_up_to(const hmci_cache_t *cache, const uint8_t *address) {
  size_t low = 0, high = cache->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (cache->sorted[middle]->base <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static hmci_registration_t *find(const hmci_cache_t *cache, const uint8_t *base, uint64_t size, uint32_t traits) {
  for (size_t i = count_up_to(cache, base); i > 0; i--) {
    hmci_registration_t *at = cache->sorted[i - 1];
    uint64_t before = (uint64_t)(base - at->base);
    if (before >= cache->longest) return NULL;
    if (at->traits == traits && hmci_range_fits(before, size, at->size)) return at;
  }
  return NULL;
}

static bool has_room(hmci_cache_t *cache) {
  if (cache->count < cache->capacity) return true;
  size_t capacity = cache->capacity ? 2 * cache->capacity : FIRST_CAPACITY;
  hmci_registration_t **grown = realloc(cache->sorted, capacity * sizeof(hmci_registration_t *));
  if (!grown) return false;
  cache->sorted = grown;
  cache->capacity = capacity;
  return true;
}

static void insert(hmci_cache_t *cache, hmci_registration_t *registration) {
  size_t at = count_up_to(cache, registration->base);
  memmove(&cache->sorted[at + 1], &cache->sorted[at], (cache->count - at) * sizeof(hmci_registration_t *));
  cache->sorted[at] = registration;
  cache->count++;
  if (registration->size > cache->longest) cache->longest = registration->size;
}

static void take_out(hmci_cache_t *cache, const hmci_registration_t *registration) {
  size_t at = 0;
  while (cache->sorted[at] != registration) at++;
  cache->count--;
  memmove(&cache->sorted[at], &cache->sorted[at + 1], (cache->count - at) * sizeof(hmci_registration_t *));
  if (!cache->count) cache->longest = 0;
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

/* It has no users. */
static void drop(hmci_cache_t *cache, hmci_registration_t *registration) {
  if (!hmci_list_is_empty(&registration->age)) cache->idle_bytes -= registration->size;
  hmci_list_remove(&registration->age);
  if (!registration->gone) take_out(cache, registration);
  cache->ops->drop(cache->owner, registration->thing, registration->size);
  free(registration);
}

static void drop_oldest(hmci_cache_t *cache) {
  drop(cache, HMCI_CONTAINER(cache->idle.next, hmci_registration_t, age));
}

bool hmci_cache_trim(hmci_cache_t *cache) {
  pthread_mutex_lock(&cache->lock);
  bool any = !hmci_list_is_empty(&cache->idle);
  if (any) drop_oldest(cache);
  pthread_mutex_unlock(&cache->lock);
  return any;
}

/* With the memory of a range go its registrations: the idle ones at once, the others with their users. */
static void forget_range(hmci_cache_t *cache, const uint8_t *base, uint64_t size) {
  pthread_mutex_lock(&cache->lock);
  for (hmci_list_t *link = cache->making.next; link != &cache->making; link = link->next) {
    hmci_registration_t *at = HMCI_CONTAINER(link, hmci_registration_t, age);
    at->gone |= at->base < base + size && base < at->base + at->size;
  }
  for (size_t i = cache->count; i > 0; i--) { /* what is taken out lies behind those still to be looked at */
    hmci_registration_t *at = cache->sorted[i - 1];
    if (at->base >= base + size || base >= at->base + at->size) continue;
    if (at->users == 0) {
      drop(cache, at);
    } else {
      take_out(cache, at);
      at->gone = true;
    }
  }
  pthread_mutex_unlock(&cache->lock);
}

void hmci_cache_note_allocated(hmc_memory_kind_t kind, void *pointer, size_t size) {
  pthread_once(&fork_once, watch_fork);
  lock_table();
  hmci_ranges_insert(&allocated[kind], pointer, size, NULL); /* where that fails, nothing is kept for this memory */
  unlock_table();
}

void hmci_cache_note_freed(hmc_memory_kind_t kind, void *pointer) {
  lock_table();
  hmci_range_t *range = hmci_ranges_find(&allocated[kind], pointer);
  if (range != NULL && range->start == (uintptr_t)pointer) {
    for (hmci_list_t *link = caches.next; link != &caches; link = link->next) {
      forget_range(HMCI_CONTAINER(link, hmci_cache_t, member), pointer, range->size);
    }
    hmci_ranges_remove(&allocated[kind], range);
  }
  unlock_table();
}

/* ---- using one --------------------------------------------------------------------------------------------------- */

void hmci_cache_open(hmci_cache_t *cache, const hmci_cache_ops_t *ops, void *owner, uint64_t ceiling) {
  *cache = (hmci_cache_t){.ops = ops, .owner = owner, .ceiling = ceiling};
  hmci_list_init(&cache->idle);
  hmci_list_init(&cache->making);
  pthread_mutex_init(&cache->lock, NULL);
  pthread_once(&fork_once, watch_fork);
  lock_table();
  hmci_list_append(&caches, &cache->member);
  unlock_table();
}

void hmci_cache_close(hmci_cache_t *cache) {
  lock_table();
  hmci_list_remove(&cache->member);
  unlock_table();
  while (hmci_cache_trim(cache)) continue;
  free(cache->sorted);
  pthread_mutex_destroy(&cache->lock);
}

/* With the lock held, which it lets go while the owner makes the thing: two threads may make the same one, for two
 * registrations may overlap. */
static hmc_status_t make(hmci_cache_t *cache, uint8_t *base, uint64_t size, uint32_t traits,
                         hmci_registration_t **made) {
  hmci_registration_t *registration = calloc(1, sizeof(*registration));
  if (!registration) return hmci_fail(HMC_NO_MEMORY, "no memory for a registration");
  *registration = (hmci_registration_t){.base = base, .size = size, .traits = traits};
  hmci_list_init(&registration->age);
  hmci_list_append(&cache->making, &registration->age);
  pthread_mutex_unlock(&cache->lock);
  hmc_status_t status = cache->ops->make(cache->owner, base, size, traits, &registration->thing);
  pthread_mutex_lock(&cache->lock);
  hmci_list_remove(&registration->age);
  if (status != HMC_SUCCESS) {
    free(registration);
    return status;
  }
  if (!has_room(cache)) registration->gone = true; /* for this user alone */
  if (!registration->gone) insert(cache, registration);
  *made = registration;
  return HMC_SUCCESS;
}

hmc_status_t hmci_cache_acquire(hmci_cache_t *cache, uint8_t *base, uint64_t size, uint32_t traits,
                                hmci_registration_t **acquired) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&cache->lock);
  hmci_registration_t *registration = find(cache, base, size, traits);
  if (!registration) status = make(cache, base, size, traits, &registration);
  if (status == HMC_SUCCESS) {
    if (!hmci_list_is_empty(&registration->age)) cache->idle_bytes -= registration->size;
    hmci_list_remove(&registration->age);
    registration->users++;
    *acquired = registration;
  }
  pthread_mutex_unlock(&cache->lock);
  return status;
}

void hmci_cache_release(hmci_cache_t *cache, hmci_registration_t *registration) {
  bool stays = is_known(registration->base, registration->size);
  pthread_mutex_lock(&cache->lock);
  if (--registration->users == 0) {
    if (registration->gone || !stays) {
      drop(cache, registration);
    } else {
      hmci_list_append(&cache->idle, &registration->age);
      cache->idle_bytes += registration->size;
      while (cache->idle_bytes > cache->ceiling) drop_oldest(cache);
    }
  }
  pthread_mutex_unlock(&cache->lock);
}
