/* Large transfers over several streams: an operation is cut into one part per stream, and complete when all parts are.
 *
 * The waiting thread moves one part, the service thread the others, and the peer answers each stream for itself.
 *
 * Order. On one stream a later operation never comes before an earlier one, so what is left of a cancelled put cannot
 * overwrite what follows. Over several it could: barrier.c keeps what follows back until it cannot.
 *
 * A stripe outlives its operation by the few instructions in which its last part completes, so it is kept and used
 * again, not freed. Who waits for an operation or cancels it counts among the users of its stripe, because it could be
 * another operation's the moment that one is complete. */
#include "tcp.h"

#include <stdlib.h>

enum { PART_LEAST = 256 << 10 };

typedef struct stripe {
  hmci_list_t link; /* connection->stripes */
  hmci_operation_t *whole;
  _Atomic uint32_t left; /* parts in progress; 0: the stripe is free once all of them say complete and nobody uses it */
  uint32_t users;        /* connection->stripe_lock */
  _Atomic uint32_t status;
  uint32_t count;
  hmci_operation_t parts[TCP_STREAMS];
  hmci_segment_t *segments;
  uint32_t room;
} stripe_t;

static uint64_t total_of(const hmci_operation_t *operation) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < operation->segment_count; i++) total += operation->segments[i].length;
  return total;
}

bool hmci_tcp_is_striped(const tcp_connection_t *connection, const hmci_operation_t *operation, uint32_t count) {
  bool data = operation->kind == HMCI_PUT || operation->kind == HMCI_GET;
  return connection->count > 1 && count == 1 && data && total_of(operation) >= 2 * PART_LEAST;
}

bool hmci_tcp_was_striped(const hmci_operation_t *operation) { return operation->parts != NULL; }

/* ---- making ------------------------------------------------------------------------------------------------------ */

static bool is_free(stripe_t *stripe) {
  if (stripe->users) return false;
  if (atomic_load_explicit(&stripe->left, memory_order_acquire)) return false; /* partner: on_part's release */
  for (uint32_t i = 0; i < stripe->count; i++) {
    if (!hmci_operation_is_complete(&stripe->parts[i])) return false;
  }
  return true;
}

static stripe_t *take_stripe(tcp_connection_t *connection, uint32_t segments) {
  stripe_t *stripe = NULL;
  pthread_mutex_lock(&connection->stripe_lock);
  for (hmci_list_t *link = connection->stripes.next; link != &connection->stripes && !stripe; link = link->next) {
    stripe_t *candidate = HMCI_CONTAINER(link, stripe_t, link);
    if (is_free(candidate)) stripe = candidate;
  }
  if (!stripe && (stripe = calloc(1, sizeof *stripe))) hmci_list_append(&connection->stripes, &stripe->link);
  if (stripe) atomic_store(&stripe->left, 1); /* taken */
  pthread_mutex_unlock(&connection->stripe_lock);
  if (stripe && stripe->room < segments) {
    hmci_segment_t *more = realloc(stripe->segments, segments * sizeof *more);
    if (!more) {
      atomic_store(&stripe->left, 0);
      return NULL;
    }
    stripe->segments = more;
    stripe->room = segments;
  }
  return stripe;
}

/* A part is about to be complete; the last one completes the whole. */
static void on_part(hmci_operation_t *part) {
  stripe_t *stripe = part->owner;
  uint32_t none = HMC_SUCCESS;
  if (part->status != HMC_SUCCESS) atomic_compare_exchange_strong(&stripe->status, &none, part->status);
  hmci_operation_t *whole = stripe->whole;
  if (atomic_fetch_sub_explicit(&stripe->left, 1, memory_order_acq_rel) == 1) {
    hmci_operation_complete(whole, (hmc_status_t)atomic_load(&stripe->status));
  }
}

/* Deals the segments out, cutting them where a part is full. */
static void deal(stripe_t *stripe, const hmci_operation_t *operation, uint32_t parts) {
  uint64_t share = (total_of(operation) + parts - 1) / parts, room = share;
  uint32_t used = 0, index = 0;
  stripe->parts[0].segments = stripe->segments;
  stripe->parts[0].segment_count = 0;
  for (uint32_t i = 0; i < operation->segment_count; i++) {
    hmci_segment_t rest = operation->segments[i];
    while (rest.length) {
      if (!room && index + 1 < parts) {
        index++;
        room = share;
        stripe->parts[index].segments = &stripe->segments[used];
        stripe->parts[index].segment_count = 0;
      }
      uint64_t length = rest.length < room || index + 1 == parts ? rest.length : room;
      stripe->segments[used++] = (hmci_segment_t){rest.local, rest.remote, length};
      stripe->parts[index].segment_count++;
      rest.local += length;
      rest.remote += length;
      rest.length -= length;
      room -= length < room ? length : room;
    }
  }
  stripe->count = index + 1;
}

hmc_status_t hmci_tcp_stripe_submit(tcp_connection_t *connection, hmci_operation_t *operation) {
  uint64_t most = total_of(operation) / PART_LEAST;
  uint32_t parts = 1;
  while (parts < connection->count && parts < most) parts++;
  stripe_t *stripe = take_stripe(connection, operation->segment_count + parts);
  if (!stripe) return hmci_fail(HMC_NO_MEMORY, "no memory to spread a transfer over streams");
  stripe->whole = operation;
  atomic_store(&stripe->status, HMC_SUCCESS);
  for (uint32_t i = 0; i < parts; i++) {
    hmci_operation_t *part = &stripe->parts[i];
    *part = *operation;
    atomic_store(&part->state, HMCI_PENDING);
    part->awaited = operation->awaited && i == 0;
    part->completed = on_part;
    part->waitset = NULL;
    part->owner = stripe;
    part->parts = NULL;
  }
  deal(stripe, operation, parts);
  for (uint32_t i = 0; i < stripe->count; i++) stripe->parts[i].single.length = UINT64_MAX; /* never a small one */
  operation->parts = stripe;
  uint32_t count = stripe->count;
  atomic_store(&stripe->left, count);
  for (uint32_t i = 0; i < count; i++) {
    hmc_status_t status = hmci_requester_submit(&connection->requesters[i], &stripe->parts[i], 1);
    if (status != HMC_SUCCESS) hmci_operation_complete(&stripe->parts[i], status);
  }
  return HMC_SUCCESS;
}

/* ---- waiting and cancelling -------------------------------------------------------------------------------------- */

/* The stripe of an operation that is in progress, kept from being used again until it is released; NULL: the operation
 * is complete. */
static stripe_t *acquire(tcp_connection_t *connection, hmci_operation_t *operation) {
  stripe_t *stripe = NULL;
  pthread_mutex_lock(&connection->stripe_lock);
  if (!hmci_operation_is_complete(operation)) {
    stripe = operation->parts;
    stripe->users++;
  }
  pthread_mutex_unlock(&connection->stripe_lock);
  return stripe;
}

static void release(tcp_connection_t *connection, stripe_t *stripe) {
  pthread_mutex_lock(&connection->stripe_lock);
  stripe->users--;
  pthread_mutex_unlock(&connection->stripe_lock);
}

hmc_status_t hmci_tcp_stripe_wait(tcp_connection_t *connection, hmci_operation_t *operation, uint64_t spin) {
  stripe_t *stripe = acquire(connection, operation);
  if (!stripe) return HMC_SUCCESS;
  hmci_requester_wait(&connection->requesters[0], &stripe->parts[0], spin);
  release(connection, stripe);
  if (hmci_operation_is_complete(operation)) return HMC_SUCCESS;
  return hmci_now() >= operation->deadline ? HMC_TIMEOUT : HMC_IN_PROGRESS;
}

void hmci_tcp_stripe_cancel(tcp_connection_t *connection, hmci_operation_t *operation, hmc_status_t status) {
  stripe_t *stripe = acquire(connection, operation);
  if (!stripe) return;
  tcp_barrier_t *barrier = NULL;
  bool held = stripe->parts[0].kind == HMCI_GET;
  if (!held) { /* raised first: one who learns of the end may start what has to wait */
    barrier = hmci_tcp_barrier_raise(connection, stripe->parts[0].remote, stripe->count);
    held = barrier != NULL;
  }
  for (uint32_t i = 0; i < stripe->count; i++)
    hmci_requester_cancel(&connection->requesters[i], &stripe->parts[i], status);
  release(connection, stripe);
  if (barrier) hmci_tcp_barrier_send(barrier);
  const hmci_host_t *host = connection->transport->host;
  if (!held) host->connection_lost(host, connection, "no memory to cancel a transfer over several streams");
}

void hmci_tcp_stripes_free(tcp_connection_t *connection) {
  while (!hmci_list_is_empty(&connection->stripes)) {
    stripe_t *stripe = HMCI_CONTAINER(connection->stripes.next, stripe_t, link);
    hmci_list_remove(&stripe->link);
    free(stripe->segments);
    free(stripe);
  }
}
