/* Leases: what a peer may reach of a leased region, until its owner takes that back.
 *
 * A lease is found by its slot in the context's table, under `region_lock`, as the region itself is; its number is used
 * again after 2^32 others. Who takes a lease out of the table then tells the transport of its peer, which lets go of
 * what it has begun; so none of its bytes moves afterwards.
 *
 * Locking: `context->lock` guards the list of leases, their peers and the timer, and is held while the transport is
 * informed, so that neither the peer nor the lease goes meanwhile. `region_lock` guards the table. */
#include "core.h"

#include <hmc/lease.h>
#include <stdlib.h>
#include <string.h>

enum { SLOT_BITS = 24, FIRST_ROOM = 64 };

struct hmc_lease {
  hmci_list_t link;      /* context->lease.list; context->lock */
  hmci_list_t of_region; /* region->leases; region_lock */
  hmc_context_t *context;
  hmc_region_t *region; /* region_lock; NULL: closed */
  hmc_peer_t *peer;     /* written under both locks; NULL: closed */
  uint64_t number, end; /* HMCI_NEVER: none */
  uint32_t slot, rights;
  uint32_t count;
  hmc_range_t ranges[]; /* sorted; none touches the next */
};

/* ---- ranges ------------------------------------------------------------------------------------------------------ */

static int compare(const void *one, const void *two) {
  const hmc_range_t *a = one, *b = two;
  return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Sorts them and joins those that touch. */
static void merge_ranges(hmc_lease_t *lease) {
  uint32_t used = 0;
  qsort(lease->ranges, lease->count, sizeof *lease->ranges, compare);
  for (uint32_t i = 0; i < lease->count; i++) {
    hmc_range_t range = lease->ranges[i], *last = used ? &lease->ranges[used - 1] : NULL;
    if (!range.length) continue;
    if (last && range.offset <= last->offset + last->length) {
      uint64_t end = range.offset + range.length;
      if (end > last->offset + last->length) last->length = end - last->offset;
    } else {
      lease->ranges[used++] = range;
    }
  }
  lease->count = used;
}

static bool covers(const hmc_lease_t *lease, uint64_t offset, uint64_t length) {
  uint32_t low = 0, high = lease->count;
  while (low < high) { /* the ranges that begin at or before it */
    uint32_t middle = low + (high - low) / 2;
    if (lease->ranges[middle].offset <= offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (!low) return false;
  const hmc_range_t *range = &lease->ranges[low - 1];
  return hmci_range_fits(offset - range->offset, length, range->length);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static hmc_status_t enter_locked(hmc_context_t *context, hmc_lease_t *lease) {
  uint32_t room = context->lease.room;
  uint32_t slot = context->lease.hint;
  for (uint32_t i = 0; i < room && context->lease.table[slot % room]; i++) slot++;
  if (!room || context->lease.table[slot % room]) {
    uint32_t more = room ? room * 2 : FIRST_ROOM;
    hmc_lease_t **leases = more <= 1u << SLOT_BITS ? realloc(context->lease.table, more * sizeof(*leases)) : NULL;
    if (!leases) return hmci_fail(HMC_NO_MEMORY, "no room for more than %u leases", room);
    memset(leases + room, 0, (more - room) * sizeof(*leases));
    context->lease.table = leases;
    context->lease.room = more;
    slot = room;
    room = more;
  }
  lease->slot = slot % room;
  context->lease.hint = lease->slot + 1;
  if (++context->lease.serial == 0) context->lease.serial = 1;
  lease->number = (uint64_t)context->lease.serial << SLOT_BITS | lease->slot;
  context->lease.table[lease->slot] = lease;
  hmci_list_append(&lease->region->leases, &lease->of_region);
  return HMC_SUCCESS;
}

static void leave_locked(hmc_lease_t *lease) {
  hmc_context_t *context = lease->context;
  if (context->lease.table[lease->slot] == lease) context->lease.table[lease->slot] = NULL;
  hmci_list_remove(&lease->of_region);
}

hmc_status_t hmci_lease_acquire(const hmci_host_t *host, void *connection, const hmci_lease_use_t *use,
                                hmci_region_view_t **out) {
  hmc_context_t *context = host->owner;
  const hmc_peer_t *peer = HMCI_CONTAINER(connection, hmci_connection_t, state)->peer;
  uint64_t slot = use->number & ((1u << SLOT_BITS) - 1);
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&context->region_lock);
  const hmc_lease_t *lease = slot < context->lease.room ? context->lease.table[slot] : NULL;
  if (!lease || lease->number != use->number || lease->peer != peer || lease->region->view.id != use->id ||
      lease->region->view.generation != use->generation || (lease->end != HMCI_NEVER && hmci_now() >= lease->end)) {
    status = HMC_STALE;
  } else if ((lease->rights & use->rights) != use->rights) {
    status = HMC_DENIED;
  }
  for (uint32_t i = 0; i < use->count && status == HMC_SUCCESS; i++) {
    if (!covers(lease, use->segments[i].local, use->segments[i].length)) status = HMC_OUT_OF_RANGE;
  }
  if (status == HMC_SUCCESS) {
    atomic_fetch_add_explicit(&lease->region->view.users, 1, memory_order_relaxed); /* under region_lock */
    hmci_region_note_reached(&lease->region->view);
    *out = &lease->region->view;
  }
  pthread_mutex_unlock(&context->region_lock);
  return status;
}

void hmci_leases_end_locked(hmc_region_t *region) {
  while (!hmci_list_is_empty(&region->leases)) {
    hmc_lease_t *lease = HMCI_CONTAINER(region->leases.next, hmc_lease_t, of_region);
    leave_locked(lease);
    lease->region = NULL;
  }
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* No byte moves under it when this returns. With context->lock held; more than once does no harm. */
static void end_locked(hmc_lease_t *lease) {
  hmc_context_t *context = lease->context;
  pthread_mutex_lock(&context->region_lock);
  leave_locked(lease);
  pthread_mutex_unlock(&context->region_lock);
  const hmc_peer_t *peer = lease->peer;
  if (!peer || !peer->connection || !peer->transport->ops->lease_revoke) return;
  peer->transport->ops->lease_revoke(peer->connection->state, lease->number);
}

void hmci_leases_expire(hmci_timer_t *timer) {
  hmc_context_t *context = HMCI_CONTAINER(timer, hmc_context_t, lease.timer);
  uint64_t now = hmci_now(), next = HMCI_NEVER;
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->lease.list.next; link != &context->lease.list; link = link->next) {
    hmc_lease_t *lease = HMCI_CONTAINER(link, hmc_lease_t, link);
    if (lease->end <= now) {
      end_locked(lease);
      lease->end = HMCI_NEVER;
    } else if (lease->end < next) {
      next = lease->end;
    }
  }
  context->lease.next_look = next;
  if (next != HMCI_NEVER) hmci_loop_set_timer(context->loop, &context->lease.timer, next);
  pthread_mutex_unlock(&context->lock);
}

void hmci_leases_orphan(hmc_context_t *context, const hmc_peer_t *peer) {
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->lease.list.next; link != &context->lease.list; link = link->next) {
    hmc_lease_t *lease = HMCI_CONTAINER(link, hmc_lease_t, link);
    if (lease->peer != peer) continue;
    pthread_mutex_lock(&context->region_lock);
    leave_locked(lease);
    lease->peer = NULL;
    pthread_mutex_unlock(&context->region_lock);
  }
  pthread_mutex_unlock(&context->lock);
}

void hmci_leases_destroy(hmc_context_t *context) {
  hmci_loop_clear_timer(context->loop, &context->lease.timer);
  while (!hmci_list_is_empty(&context->lease.list)) {
    hmc_lease_t *lease = HMCI_CONTAINER(context->lease.list.next, hmc_lease_t, link);
    hmci_list_remove(&lease->link);
    free(lease);
  }
  free(context->lease.table);
  context->lease.table = NULL;
}

void hmc_lease_revoke(hmc_lease_t *lease) {
  if (!lease || hmci_context_is_foreign(lease->context)) return;
  hmc_context_t *context = lease->context;
  pthread_mutex_lock(&context->lock);
  hmci_list_remove(&lease->link);
  end_locked(lease);
  pthread_mutex_unlock(&context->lock);
  free(lease);
}

/* ---- granting ---------------------------------------------------------------------------------------------------- */

static hmc_status_t check(const hmc_region_t *region, const hmc_peer_t *peer, const hmc_lease_options_t *options) {
  if (region->context != peer->context)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_lease_grant: region and peer are of different contexts");
  if (!region->view.leased)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_lease_grant: the region was made without HMC_REGION_LEASED");
  if ((options->range_count && !options->ranges) || (options->block_count && !options->blocks))
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_lease_grant: ranges or blocks are NULL");
  if (options->range_count && options->block_count)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_lease_grant: ranges and blocks are two lists of the same");
  if (options->block_count && !options->block_size)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_lease_grant: blocks of 0 B");
  if (options->range_count > UINT32_MAX || options->block_count > UINT32_MAX)
    return hmci_fail(HMC_NO_MEMORY, "hmc_lease_grant: too many ranges");
  if (options->rights & ~region->view.rights)
    return hmci_fail(HMC_DENIED, "hmc_lease_grant: the region gives peers the rights 0x%x, not 0x%x",
                     region->view.rights, options->rights);
  if (!atomic_load(&peer->connected))
    return hmci_fail(HMC_PEER_LOST, "%s is gone: %s", peer->where, hmci_peer_lost_reason(peer));
  return HMC_SUCCESS;
}

static hmc_status_t add_ranges(hmc_lease_t *lease, const hmc_lease_options_t *options, uint64_t size) {
  for (uint32_t i = 0; i < lease->count; i++) {
    hmc_range_t range = {0, size};
    if (options->range_count) range = options->ranges[i];
    if (options->block_count) {
      bool sound = options->blocks[i] <= size / options->block_size;
      range = (hmc_range_t){sound ? options->blocks[i] * options->block_size : UINT64_MAX, options->block_size};
    }
    if (!hmci_range_fits(range.offset, range.length, size)) {
      return hmci_fail(HMC_OUT_OF_RANGE, "hmc_lease_grant: %s %u runs past the %llu B of the region",
                       options->block_count ? "block" : "range", i, (unsigned long long)size);
    }
    lease->ranges[i] = range;
  }
  merge_ranges(lease);
  return HMC_SUCCESS;
}

hmc_status_t hmc_lease_grant(hmc_region_t *region, hmc_peer_t *peer, const hmc_lease_options_t *given,
                             hmc_lease_t **out) {
  hmc_lease_options_t options;
  if (!region || !peer || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_lease_grant: region, peer or lease is NULL");
  hmc_context_t *context = peer->context;
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_sized_read(&options, sizeof options, given, "hmc_lease_options_t");
  if (status == HMC_SUCCESS) status = check(region, peer, &options);
  if (status != HMC_SUCCESS) return status;
  size_t count = options.range_count ? options.range_count : options.block_count ? options.block_count : 1;
  hmc_lease_t *lease = calloc(1, sizeof *lease + count * sizeof(hmc_range_t));
  if (!lease) return hmci_fail(HMC_NO_MEMORY, "no memory for a lease");
  lease->context = context;
  lease->region = region;
  lease->peer = peer;
  lease->count = (uint32_t)count;
  lease->rights = options.rights ? options.rights : region->view.rights;
  lease->end = options.duration_ms ? hmci_deadline(options.duration_ms) : HMCI_NEVER;
  hmci_list_init(&lease->of_region);
  status = add_ranges(lease, &options, region->view.size);
  if (status != HMC_SUCCESS) goto err_lease;

  pthread_mutex_lock(&context->lock);
  pthread_mutex_lock(&context->region_lock);
  status = atomic_load(&region->ended) ? hmci_fail(HMC_STALE, "hmc_lease_grant: the region is closed")
                                       : enter_locked(context, lease);
  pthread_mutex_unlock(&context->region_lock);
  if (status == HMC_SUCCESS) {
    hmci_list_append(&context->lease.list, &lease->link);
    if (lease->end < context->lease.next_look) {
      context->lease.next_look = lease->end;
      hmci_loop_set_timer(context->loop, &context->lease.timer, lease->end);
    }
  }
  pthread_mutex_unlock(&context->lock);
  if (status != HMC_SUCCESS) goto err_lease;
  *out = lease;
  return HMC_SUCCESS;

err_lease:
  free(lease);
  return status;
}

uint64_t hmc_lease_number(const hmc_lease_t *lease) { return lease ? lease->number : 0; }
