/* Regions: the table of what peers may reach here.
 *
 * An id is a slot of the table and is used again; the generation never is (a 32-bit count from a random start, skipping
 * 0). Users are counted under `region_lock`, so that a region that was taken out of the table gets no new ones. */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FIRST_ROOM = 64 };

/* ---- the table --------------------------------------------------------------------------------------------------- */

static hmc_region_t *find_locked(hmc_context_t *context, const char *name) {
  for (uint32_t id = 1; id < context->region_room; id++) {
    hmc_region_t *region = context->regions[id];
    if (region && region->name[0] && strcmp(region->name, name) == 0) return region;
  }
  return NULL;
}

/* A free id, or 0. */
static uint32_t free_id_locked(hmc_context_t *context) {
  for (uint32_t id = 1; id < context->region_room; id++) {
    if (!context->regions[id]) return id;
  }
  uint32_t room = context->region_room ? context->region_room * 2 : FIRST_ROOM;
  if (room > HMCI_REGIONS) room = HMCI_REGIONS;
  if (room <= context->region_room) return 0;
  hmc_region_t **regions = realloc(context->regions, room * sizeof(*regions));
  if (!regions) return 0;
  memset(regions + context->region_room, 0, (room - context->region_room) * sizeof(*regions));
  uint32_t id = context->region_room ? context->region_room : 1;
  context->regions = regions;
  context->region_room = room;
  return id;
}

/* The chunk in which a device's memory is moved, as set or from its speed. */
static hmc_status_t set_chunk(hmc_region_t *region) {
  hmci_region_view_t *view = &region->view;
  if (view->ops->host_accessible) return HMC_SUCCESS;
  uint64_t set = region->context->settings.chunk;
  if (set) {
    view->chunk = set < HMCI_CHUNK_LEAST ? HMCI_CHUNK_LEAST : set > HMCI_CHUNK_MOST ? HMCI_CHUNK_MOST : set;
    return HMC_SUCCESS;
  }
  hmci_copy_speed_t speed;
  hmc_status_t status = hmci_copy_speed_measure(view->memory, &speed);
  if (status == HMC_SUCCESS) view->chunk = hmci_chunk_size(&speed);
  return status;
}

static hmc_status_t enter(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  hmc_status_t status = set_chunk(region);
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_lock(&context->region_lock);
  if (region->name[0] && find_locked(context, region->name)) {
    status = hmci_fail(HMC_INVALID_CONFIG, "there is a region named '%s' already: close it first", region->name);
    goto out;
  }
  region->view.id = free_id_locked(context);
  if (!region->view.id) {
    status = hmci_fail(HMC_NO_MEMORY, "a context has at most %d regions at a time", HMCI_REGIONS - 1);
    goto out;
  }
  if (++context->generation == 0) context->generation = 1;
  region->view.generation = context->generation;
  context->regions[region->view.id] = region;
out:
  pthread_mutex_unlock(&context->region_lock);
  return status;
}

hmc_status_t hmci_region_acquire(const hmci_host_t *host, uint32_t id, uint32_t generation, uint32_t rights,
                                 hmci_region_view_t **out) {
  hmc_context_t *context = HMCI_CONTAINER((uintptr_t)host, hmc_context_t, host);
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&context->region_lock);
  hmc_region_t *region = id < context->region_room ? context->regions[id] : NULL;
  if (!region || region->view.generation != generation || !region->name[0]) {
    status = HMC_STALE;
  } else if ((region->view.rights & rights) != rights) {
    status = HMC_DENIED;
  } else {
    atomic_fetch_add_explicit(&region->view.users, 1, memory_order_relaxed); /* under region_lock, as close's removal */
    *out = &region->view;
  }
  pthread_mutex_unlock(&context->region_lock);
  return status;
}

void hmci_region_release(const hmci_host_t *host, hmci_region_view_t *region) {
  (void)host;
  atomic_fetch_sub_explicit(&region->users, 1, memory_order_release); /* partner: the load in hmc_region_close */
}

hmc_region_t *hmci_region_find(hmc_context_t *context, const char *name) {
  pthread_mutex_lock(&context->region_lock);
  hmc_region_t *region = *name ? find_locked(context, name) : NULL;
  if (region) atomic_fetch_add_explicit(&region->view.users, 1, memory_order_relaxed);
  pthread_mutex_unlock(&context->region_lock);
  return region;
}

/* ---- making regions ---------------------------------------------------------------------------------------------- */

static hmc_status_t new_region(hmc_context_t *context, size_t size, const char *name, unsigned rights,
                               hmc_region_t **out) {
  if (!context) return hmci_fail(HMC_INVALID_CONFIG, "region: context is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  if (size == 0) return hmci_fail(HMC_INVALID_CONFIG, "a region of 0 B");
  if (rights & ~(unsigned)HMC_REMOTE_ALL) return hmci_fail(HMC_INVALID_CONFIG, "unknown rights 0x%x", rights);
  if (name && strlen(name) >= HMC_REGION_NAME_SIZE) {
    return hmci_fail(HMC_INVALID_CONFIG, "region name of %zu B: at most %d", strlen(name), HMC_REGION_NAME_SIZE - 1);
  }
  hmc_region_t *region = calloc(1, sizeof *region);
  if (!region) return hmci_fail(HMC_NO_MEMORY, "no memory for a region");
  region->context = context;
  region->view.size = size;
  region->view.rights = name && *name ? rights : 0; /* no peer can open it */
  region->view.descriptor = -1;
  if (name) snprintf(region->name, sizeof region->name, "%s", name);
  *out = region;
  return HMC_SUCCESS;
}

/* Host memory that other processes can map: anonymous, without a name anywhere. */
static hmc_status_t allocate_shareable(hmci_region_view_t *view) {
  view->descriptor = memfd_create("hmc-region", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (view->descriptor < 0) return hmci_fail(HMC_NO_MEMORY, "memfd_create failed: %s", strerror(errno));
  if (ftruncate(view->descriptor, (off_t)view->size)) {
    hmci_fail(HMC_NO_MEMORY, "%llu B of shared memory: %s", (unsigned long long)view->size, strerror(errno));
    goto err_descriptor;
  }
  fcntl(view->descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW); /* no peer can cut it off under the others */
  void *base = mmap(NULL, view->size, PROT_READ | PROT_WRITE, MAP_SHARED, view->descriptor, 0);
  if (base == MAP_FAILED) {
    hmci_fail(HMC_NO_MEMORY, "mapping %llu B: %s", (unsigned long long)view->size, strerror(errno));
    goto err_descriptor;
  }
  view->base = base;
  return HMC_SUCCESS;

err_descriptor:
  close(view->descriptor);
  view->descriptor = -1;
  return HMC_NO_MEMORY;
}

static void free_memory(hmci_region_view_t *view) {
  if (!view->owned) return;
  if (view->descriptor >= 0) {
    munmap(view->base, view->size);
    close(view->descriptor);
  } else {
    hmc_memory_free(view->memory, view->base);
  }
}

hmc_status_t hmc_region_allocate(hmc_context_t *context, hmc_memory_t memory, size_t size, const char *name,
                                 unsigned rights, hmc_region_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_allocate: region is NULL");
  hmc_region_t *region;
  hmc_status_t status = new_region(context, size, name, rights, &region);
  if (status != HMC_SUCCESS) return status;
  hmci_region_view_t *view = &region->view;
  status = hmc_memory_resolve(memory, &view->memory);
  if (status != HMC_SUCCESS) goto err_region;
  status = hmci_memory_find(view->memory, &view->ops);
  if (status != HMC_SUCCESS) goto err_region;
  if (view->memory.kind == HMC_MEMORY_CPU) {
    status = allocate_shareable(view);
  } else {
    void *base;
    status = hmc_memory_allocate(view->memory, size, &base);
    if (status == HMC_SUCCESS) view->base = base;
  }
  if (status != HMC_SUCCESS) goto err_region;
  view->owned = true;
  status = enter(region);
  if (status != HMC_SUCCESS) goto err_memory;
  *out = region;
  return HMC_SUCCESS;

err_memory:
  free_memory(view);
err_region:
  free(region);
  return status;
}

hmc_status_t hmc_region_register(hmc_context_t *context, void *pointer, size_t size, const char *name, unsigned rights,
                                 hmc_region_t **out) {
  if (!pointer || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_register: pointer or region is NULL");
  if (size > UINTPTR_MAX - (uintptr_t)pointer) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_register: %zu B from %p on run past the address space", size,
                     pointer);
  }
  hmc_region_t *region;
  hmc_status_t status = new_region(context, size, name, rights, &region);
  if (status != HMC_SUCCESS) return status;
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  status = hmc_memory_query(pointer, &info);
  if (status == HMC_SUCCESS) status = hmci_memory_find(info.memory, &region->view.ops);
  if (status != HMC_SUCCESS) goto err_region;
  uint64_t before = info.base ? (uint64_t)((uint8_t *)pointer - (uint8_t *)info.base) : 0;
  if (info.bytes && !hmci_range_fits(before, size, info.bytes)) {
    status = hmci_fail(HMC_OUT_OF_RANGE, "%zu B at offset %llu run past the %zu B of the %s allocation", size,
                       (unsigned long long)before, info.bytes, hmc_memory_kind_name(info.memory.kind));
    goto err_region;
  }
  region->view.memory = info.memory;
  region->view.base = pointer;
  status = enter(region);
  if (status != HMC_SUCCESS) goto err_region;
  *out = region;
  return HMC_SUCCESS;

err_region:
  free(region);
  return status;
}

/* ---- ending them ------------------------------------------------------------------------------------------------- */

/* Every connection lets go of the region. With the loop's lock held, so that none is made meanwhile. */
static void revoke_everywhere(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->peers.next; link != &context->peers; link = link->next) {
    hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
    if (peer->transport && peer->transport->ops->region_revoke) {
      peer->transport->ops->region_revoke(peer->connection->state, &region->view);
    }
  }
  pthread_mutex_unlock(&context->lock);
}

void hmc_region_close(hmc_region_t *region) {
  if (!region) return;
  hmc_context_t *context = region->context;
  if (hmci_context_is_foreign(context)) return;
  pthread_mutex_lock(&context->region_lock);
  context->regions[region->view.id] = NULL;
  pthread_mutex_unlock(&context->region_lock);

  bool take = !hmci_loop_is_held(context->loop);
  if (take) hmci_loop_lock(context->loop);
  revoke_everywhere(region);
  if (take) hmci_loop_unlock(context->loop);
  while (atomic_load_explicit(&region->view.users, memory_order_acquire)) sched_yield(); /* partner: release */
  free_memory(&region->view);
  free(region);
}

void *hmc_region_pointer(const hmc_region_t *region) { return region ? region->view.base : NULL; }
size_t hmc_region_size(const hmc_region_t *region) { return region ? region->view.size : 0; }
hmc_memory_t hmc_region_memory(const hmc_region_t *region) {
  return region ? region->view.memory : (hmc_memory_t){HMC_MEMORY_DEFAULT, 0};
}
