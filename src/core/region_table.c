/* The table of a context's regions, by number and by name.
 *
 * An id is a slot of the table and is used again; the generation never is (a 32-bit count from a random start, skipping
 * 0). The slot is free when no transport has anything more to do with the number: what one notes of a region that
 * ends, in shm's board for instance, would otherwise hit the next one. Users are counted under `region_lock`, so that a region that was taken out of the table gets no new ones, and so
 * is noted that a peer has reached for it. `region_lock` guards all and is held for a few instructions, the doubling of
 * the table apart. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 64 };

/* A peer cannot name one that has neither a name nor rights. */
static bool is_reachable(const hmc_region_t *region) { return region->name[0] || region->view.rights; }

static hmc_region_t *find_locked(hmc_context_t *context, const char *name) {
  for (hmci_member_t *at = NULL; (at = hmci_table_next(&context->region_names, hmci_hash_text(name), at));) {
    hmc_region_t *region = HMCI_CONTAINER(at, hmc_region_t, by_name);
    if (strcmp(region->name, name) == 0) return region;
  }
  return NULL;
}

static bool grow(hmc_context_t *context) {
  uint32_t room = context->region_room ? context->region_room * 2 : FIRST_ROOM;
  if (room > HMCI_REGIONS) room = HMCI_REGIONS;
  if (room <= context->region_room) return false;
  hmci_region_slot_t *slots = realloc(context->regions, room * sizeof *slots);
  if (!slots) return false;
  uint32_t first = context->region_room ? context->region_room : 1; /* 0 is not an id */
  for (uint32_t id = context->region_room; id < room; id++)
    slots[id] = (hmci_region_slot_t){.next_free = id && id + 1 < room ? id + 1 : 0};
  context->free_region = first;
  context->regions = slots;
  context->region_room = room;
  return true;
}

hmc_status_t hmci_region_enter(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&context->region_lock);
  if (region->name[0] && find_locked(context, region->name)) {
    status = hmci_fail(HMC_INVALID_CONFIG, "there is a region named '%s' already: close it first", region->name);
  } else if (!context->free_region && !grow(context)) {
    status = hmci_fail(HMC_NO_MEMORY, "a context has at most %d regions at a time", HMCI_REGIONS - 1);
  } else if (region->name[0] &&
             !hmci_table_add(&context->region_names, &region->by_name, hmci_hash_text(region->name))) {
    status = hmci_fail(HMC_NO_MEMORY, "no memory for another region");
  } else {
    region->view.id = context->free_region;
    context->free_region = context->regions[region->view.id].next_free;
    context->regions[region->view.id] = (hmci_region_slot_t){.region = region};
    if (++context->generation == 0) context->generation = 1;
    region->view.generation = context->generation;
    uint64_t start = (uintptr_t)region->view.base;
    if (region->view.rights)
      hmci_intervals_add(&context->region_places, &region->place, start, start + region->view.size);
  }
  pthread_mutex_unlock(&context->region_lock);
  return status;
}

void hmci_region_leave(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  pthread_mutex_lock(&context->region_lock);
  context->regions[region->view.id].region = NULL;
  hmci_leases_end_locked(region);
  if (region->view.rights) hmci_intervals_remove(&context->region_places, &region->place);
  if (region->name[0]) hmci_table_remove(&context->region_names, &region->by_name);
  pthread_mutex_unlock(&context->region_lock);
}

void hmci_region_free_id(const hmc_region_t *region) {
  hmc_context_t *context = region->context;
  pthread_mutex_lock(&context->region_lock);
  context->regions[region->view.id].next_free = context->free_region;
  context->free_region = region->view.id;
  pthread_mutex_unlock(&context->region_lock);
}

/* With `region_lock` held. */
static void use(hmc_region_t *region) {
  atomic_fetch_add_explicit(&region->view.users, 1, memory_order_relaxed); /* under region_lock, as leave's removal */
  hmci_region_note_reached(&region->view);
}

hmc_status_t hmci_region_acquire(const hmci_host_t *host, uint32_t id, uint32_t generation, uint32_t rights,
                                 hmci_region_view_t **out) {
  hmc_context_t *context = host->owner;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&context->region_lock);
  hmc_region_t *region = id < context->region_room ? context->regions[id].region : NULL;
  if (!region || region->view.generation != generation || !is_reachable(region)) {
    status = HMC_STALE;
  } else if ((region->view.rights & rights) != rights || (rights && region->view.leased)) {
    status = HMC_DENIED;
  } else {
    use(region);
    *out = &region->view;
  }
  pthread_mutex_unlock(&context->region_lock);
  return status;
}

void hmci_region_release(const hmci_host_t *host, hmci_region_view_t *region) {
  (void)host;
  atomic_fetch_sub_explicit(&region->users, 1, memory_order_release); /* partner: the load in region.c's end */
}

hmc_region_t *hmci_region_find(hmc_context_t *context, const char *name) {
  pthread_mutex_lock(&context->region_lock);
  hmc_region_t *region = *name ? find_locked(context, name) : NULL;
  if (region) use(region);
  pthread_mutex_unlock(&context->region_lock);
  return region;
}

hmc_region_t *hmci_region_locate(hmc_context_t *context, uint64_t address, uint64_t bytes) {
  if (bytes > UINT64_MAX - address) return NULL;
  pthread_mutex_lock(&context->region_lock);
  hmci_interval_t *place = hmci_intervals_find(context->region_places, address, address + bytes);
  hmc_region_t *region = place ? HMCI_CONTAINER(place, hmc_region_t, place) : NULL;
  if (region) use(region);
  pthread_mutex_unlock(&context->region_lock);
  return region;
}
