/* Regions: how they are made and how they end. region_table.c has the table of them. */
#include "core.h"
#include "region_memory.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The chunk in which a device's memory is moved, as set or from its speed; what it is moved through is pinned for it. */
static hmc_status_t set_chunk(hmc_region_t *region) {
  hmci_region_view_t *view = &region->view;
  if (view->ops->host_accessible) return HMC_SUCCESS;
  hmci_staging_pin_for(&region->context->staging, view->ops, view->memory.device);
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
  hmc_status_t status = set_chunk(region);
  return status == HMC_SUCCESS ? hmci_region_enter(region) : status;
}

/* The struct in its first release. */
enum { OPTIONS_LEAST = offsetof(hmc_region_options_t, flags) + sizeof(unsigned) };

/* ---- making regions ---------------------------------------------------------------------------------------------- */

static hmc_status_t check_options(const hmc_context_t *context, const hmc_region_options_t *options) {
  const char *name = options->name;
  bool given = options->pointer || options->descriptor >= 0;
  if (!context) return hmci_fail(HMC_INVALID_CONFIG, "region: context is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  if (options->bytes == 0 && options->descriptor < 0) return hmci_fail(HMC_INVALID_CONFIG, "a region of 0 B");
  if (options->rights & ~(unsigned)HMC_REMOTE_ALL)
    return hmci_fail(HMC_INVALID_CONFIG, "unknown rights 0x%x", options->rights);
  if (options->flags & ~(unsigned)(HMC_REGION_POPULATE | HMC_REGION_LEASED))
    return hmci_fail(HMC_INVALID_CONFIG, "unknown flags 0x%x of a region", options->flags);
  if (name && strlen(name) >= HMC_REGION_NAME_SIZE) {
    return hmci_fail(HMC_INVALID_CONFIG, "region name of %zu B: at most %d", strlen(name), HMC_REGION_NAME_SIZE - 1);
  }
  if (options->pointer && options->descriptor >= 0)
    return hmci_fail(HMC_INVALID_CONFIG, "region: a pointer and a descriptor are two sources of memory");
  if (options->pointer && options->address)
    return hmci_fail(HMC_INVALID_CONFIG, "region: memory behind a pointer has its address already");
  if (given && (options->page_size || options->numa_node >= 0 || options->flags & HMC_REGION_POPULATE))
    return hmci_fail(HMC_INVALID_CONFIG, "region: page size, NUMA node and flags are for what HMC allocates");
  return HMC_SUCCESS;
}

/* The memory behind a pointer is asked what it is. */
static hmc_status_t lend(hmc_region_t *region, const hmc_region_options_t *options) {
  uint64_t size = options->bytes;
  uint8_t *pointer = options->pointer;
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  if (size > UINTPTR_MAX - (uintptr_t)pointer) {
    return hmci_fail(HMC_INVALID_CONFIG, "region: %llu B from %p on run past the address space",
                     (unsigned long long)size, (void *)pointer);
  }
  hmc_status_t status = hmc_memory_query(pointer, &info);
  if (status == HMC_SUCCESS) status = hmci_memory_find(info.memory, &region->view.ops);
  if (status != HMC_SUCCESS) return status;
  uint64_t before = info.base ? (uint64_t)(pointer - (uint8_t *)info.base) : 0;
  if (info.bytes && !hmci_range_fits(before, size, info.bytes)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%llu B at offset %llu run past the %zu B of the %s allocation",
                     (unsigned long long)size, (unsigned long long)before, info.bytes,
                     hmc_memory_kind_name(info.memory.kind));
  }
  region->view.memory = info.memory;
  region->view.base = pointer;
  return HMC_SUCCESS;
}

static hmc_status_t allocate_on_device(hmc_region_t *region, const hmc_region_options_t *options) {
  hmci_region_view_t *view = &region->view;
  void *base;
  if (options->address || options->page_size || options->numa_node >= 0 || options->flags & HMC_REGION_POPULATE) {
    return hmci_fail(HMC_UNSUPPORT, "%s memory: address, page size, NUMA node and flags are for host memory",
                     hmc_memory_kind_name(view->memory.kind));
  }
  hmc_status_t status = hmc_memory_allocate(view->memory, view->size, &base);
  if (status == HMC_SUCCESS) view->base = base;
  return status;
}

/* Finds or makes the memory that the options ask for. */
static hmc_status_t take_memory(hmc_region_t *region, const hmc_region_options_t *options) {
  hmci_region_view_t *view = &region->view;
  if (options->pointer) return lend(region, options);
  hmc_status_t status = hmc_memory_resolve(options->memory, &view->memory);
  if (status == HMC_SUCCESS) status = hmci_memory_find(view->memory, &view->ops);
  if (status != HMC_SUCCESS) return status;
  bool host = view->memory.kind == HMC_MEMORY_CPU;
  if (options->descriptor >= 0 && !host) {
    return hmci_fail(HMC_UNSUPPORT, "%s memory by a descriptor: map it by the vendor's library and give its pointer",
                     hmc_memory_kind_name(view->memory.kind));
  }
  if (options->descriptor >= 0) {
    status = hmci_region_memory_adopt(region, options);
  } else {
    status = host ? hmci_region_memory_allocate(region, options) : allocate_on_device(region, options);
  }
  view->owned = status == HMC_SUCCESS;
  return status;
}

static void free_memory(hmc_region_t *region) {
  if (!region->view.owned) return;
  if (region->mapped) {
    hmci_region_memory_free(region);
  } else {
    hmc_memory_free(region->view.memory, region->view.base);
  }
}

static hmc_status_t create(hmc_context_t *context, const hmc_region_options_t *options, hmc_region_t **out) {
  hmc_status_t status = check_options(context, options);
  if (status != HMC_SUCCESS) return status;
  hmc_region_t *region = calloc(1, sizeof *region);
  if (!region) return hmci_fail(HMC_NO_MEMORY, "no memory for a region");
  region->context = context;
  atomic_init(&region->references, 1);
  region->view.size = options->bytes;
  region->view.rights = options->rights;
  region->view.leased = options->flags & HMC_REGION_LEASED;
  region->view.written = options->written;
  region->view.written_user = options->written_user;
  hmci_list_init(&region->leases);
  region->view.descriptor = -1;
  if (options->name) snprintf(region->name, sizeof region->name, "%s", options->name);
  status = take_memory(region, options);
  if (status != HMC_SUCCESS) goto err_region;
  status = enter(region);
  if (status != HMC_SUCCESS) goto err_memory;
  *out = region;
  return HMC_SUCCESS;

err_memory:
  free_memory(region);
err_region:
  free(region);
  return status;
}

hmc_status_t hmc_region_create(hmc_context_t *context, const hmc_region_options_t *given, hmc_region_t **out) {
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  if (!given || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_create: options or region is NULL");
  hmc_status_t status = hmci_sized_take(&options, sizeof options, OPTIONS_LEAST, given, "hmc_region_options_t");
  return status == HMC_SUCCESS ? create(context, &options, out) : status;
}

hmc_status_t hmc_region_allocate(hmc_context_t *context, hmc_memory_t memory, size_t size, const char *name,
                                 unsigned rights, hmc_region_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_allocate: region is NULL");
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.memory = memory;
  options.bytes = size;
  options.name = name;
  options.rights = rights;
  hmc_status_t status = check_options(context, &options);
  if (status != HMC_SUCCESS) return status;
  if (!name || !*name) options.rights = 0; /* no peer can open it */
  return create(context, &options, out);
}

hmc_status_t hmc_region_register(hmc_context_t *context, void *pointer, size_t size, const char *name, unsigned rights,
                                 hmc_region_t **out) {
  if (!pointer || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_register: pointer or region is NULL");
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.pointer = pointer;
  options.bytes = size;
  options.name = name;
  options.rights = rights;
  hmc_status_t status = check_options(context, &options);
  if (status != HMC_SUCCESS) return status;
  if (!name || !*name) options.rights = 0;
  return create(context, &options, out);
}

/* ---- ending them ------------------------------------------------------------------------------------------------- */

#define QUIET_LIMIT 1000000000u /* nanoseconds that a close waits for peers that are stopped in the middle of a copy */

/* Every connection lets go of the region; none of them waits for its peer. */
static void revoke_everywhere(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  for (size_t i = 0; i < hmci_transport_count; i++) {
    const hmci_transport_slot_t *slot = &context->transports[i];
    if (slot->state && slot->ops->region_forget) slot->ops->region_forget(slot->state, &region->view);
  }
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->peers.next; link != &context->peers; link = link->next) {
    hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
    if (peer->transport->ops->region_revoke)
      peer->transport->ops->region_revoke(peer->connection->state, &region->view);
  }
  pthread_mutex_unlock(&context->lock);
}

/* A peer that is in the middle of a copy of its own; NULL when there is none. With the context's lock held. */
static hmc_peer_t *find_copying(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  for (hmci_list_t *link = context->peers.next; link != &context->peers; link = link->next) {
    hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
    const hmci_transport_ops_t *ops = peer->transport->ops;
    if (ops->region_is_quiet && !ops->region_is_quiet(peer->connection->state, &region->view)) return peer;
  }
  return NULL;
}

/* Waits for those copies, for all of them together and with no lock held; a piece takes a moment. */
static void await_copies(hmc_region_t *region) {
  hmc_context_t *context = region->context;
  uint64_t limit = hmci_now() + QUIET_LIMIT;
  for (bool copying = true; copying;) {
    pthread_mutex_lock(&context->lock);
    hmc_peer_t *peer = find_copying(region);
    copying = peer && hmci_now() < limit;
    if (peer && !copying)
      hmci_log(HMC_LOG_WARNING, "%s was stopped while it reached into a region that closes", peer->where);
    pthread_mutex_unlock(&context->lock);
    if (copying) nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
  }
}

/* No peer reaches it when this returns. Only once. What no peer has asked for, and no transport has taken note of, is
 * nobody else's: then there is no list to walk. A thread that was about to inform a peer of the region counts among its
 * users, so that what it sent then is taken back in the second round. */
static void end(hmc_region_t *region) {
  hmci_region_leave(region);
  hmci_requests_end_local(region->context, region);
  hmci_operations_end_local(region->context, region);
  bool reached = atomic_load(&region->view.reached);
  if (reached) revoke_everywhere(region);
  while (atomic_load_explicit(&region->view.users, memory_order_acquire)) sched_yield(); /* partner: release */
  if (reached) revoke_everywhere(region);
  if (reached) await_copies(region);
  hmci_region_free_id(region);
}

static void destroy(hmc_region_t *region) {
  if (!atomic_exchange(&region->ended, true)) end(region);
  free_memory(region);
  free(region);
}

void hmci_region_destroy(hmc_region_t *region) { destroy(region); }

void hmc_region_retain(hmc_region_t *region) {
  if (region) atomic_fetch_add_explicit(&region->references, 1, memory_order_relaxed); /* the caller holds one */
}

void hmc_region_release(hmc_region_t *region) {
  if (!region) return;
  if (!atomic_load(&region->ended) && hmci_context_is_foreign(region->context)) return;
  if (atomic_fetch_sub(&region->references, 1) == 1) destroy(region);
}

void hmc_region_close(hmc_region_t *region) {
  if (!region) return;
  if (!atomic_load(&region->ended)) {
    if (hmci_context_is_foreign(region->context)) return;
    if (!atomic_exchange(&region->ended, true)) end(region);
  }
  hmc_region_release(region);
}

void *hmc_region_pointer(const hmc_region_t *region) { return region ? region->view.base : NULL; }
size_t hmc_region_size(const hmc_region_t *region) { return region ? region->view.size : 0; }
hmc_memory_t hmc_region_memory(const hmc_region_t *region) {
  return region ? region->view.memory : (hmc_memory_t){HMC_MEMORY_DEFAULT, 0};
}

void hmci_regions_close(hmc_context_t *context) {
  for (uint32_t id = 1; id < context->region_room; id++) {
    if (context->regions[id].region) hmci_region_destroy(context->regions[id].region);
  }
  free(context->regions);
  hmci_table_close(&context->region_names);
}
