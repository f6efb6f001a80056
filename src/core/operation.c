/* Blocking puts and gets.
 *
 * A small put to a mapped peer takes no lock, makes no allocation and no system call: hmc_put checks, copies, and that
 * is all. Everything else goes through `transfer`. */
#include "operation.h"

#include "../base/recorder.h"
#include "../base/stop.h"

#include <sched.h>
#include <string.h>

/* ---- checks and texts -------------------------------------------------------------------------------------------- */

const char *hmci_operation_name(hmci_operation_kind_t kind) {
  static const char *const names[] = {"put to",          "get from",      "atomic on",
                                      "notification to", "connection to", "region of"};
  return names[kind];
}

/* Is the far end there? */
static hmc_status_t check_remote(hmci_operation_kind_t kind, const hmc_remote_t *remote, uint64_t length) {
  if (!atomic_load_explicit(remote->connected, memory_order_relaxed)) {
    return hmci_operation_explain(kind, HMC_PEER_LOST, remote, length);
  }
  if (remote->generation && atomic_load_explicit(remote->generation, memory_order_acquire) != remote->view.generation) {
    return hmci_operation_explain(kind, HMC_STALE, remote, length);
  }
  return HMC_SUCCESS;
}

static bool is_width(unsigned width) { return width == 1 || width == 2 || width == 4 || width == 8; }

hmc_status_t hmci_atomic_check(const hmc_remote_t *remote, uint64_t offset, hmc_atomic_operation_t operation,
                               unsigned width) {
  if (!remote) return hmci_fail(HMC_INVALID_CONFIG, "atomic on a peer: the remote region is NULL");
  const hmc_peer_t *peer = remote->peer;
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  if (operation < HMC_ATOMIC_ADD || operation > HMC_ATOMIC_STORE || !is_width(width)) {
    return hmci_fail(HMC_INVALID_CONFIG, "atomic on %s: no operation %d on %u B", peer->where, (int)operation, width);
  }
  if (offset % width) {
    return hmci_fail(HMC_INVALID_CONFIG, "atomic on %s: offset %llu is not a multiple of %u", peer->where,
                     (unsigned long long)offset, width);
  }
  if (!hmci_range_fits(offset, width, remote->view.size)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "atomic on %s: %u B at offset %llu run past the %llu B of its region '%s'",
                     peer->where, width, (unsigned long long)offset, (unsigned long long)remote->view.size,
                     remote->name);
  }
  if (!(remote->view.rights & HMC_REMOTE_ATOMIC)) {
    return hmci_fail(HMC_DENIED,
                     "atomic on %s: region '%s' gives peers no right to atomics: its owner made it without "
                     "HMC_REMOTE_ATOMIC",
                     peer->where, remote->name);
  }
  return check_remote(HMCI_ATOMIC, remote, width);
}

hmc_status_t hmci_remote_check(hmci_operation_kind_t kind, const hmc_remote_t *remote, uint64_t offset,
                               uint64_t length) {
  const char *name = hmci_operation_name(kind);
  const hmc_peer_t *peer = remote->peer;
  unsigned right = kind == HMCI_PUT ? HMC_REMOTE_WRITE : HMC_REMOTE_READ;
  if (!(remote->view.rights & right)) {
    return hmci_fail(HMC_DENIED, "%s %s: region '%s' gives peers no right to %s", name, peer->where, remote->name,
                     kind == HMCI_PUT ? "write: its owner made it without HMC_REMOTE_WRITE"
                                      : "read: its owner made it without HMC_REMOTE_READ");
  }
  if (!hmci_range_fits(offset, length, remote->view.size)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%s %s: %llu B at offset %llu run past the %llu B of its region '%s'", name,
                     peer->where, (unsigned long long)length, (unsigned long long)offset,
                     (unsigned long long)remote->view.size, remote->name);
  }
  return check_remote(kind, remote, length);
}

/* Everything that can be said before an operation starts; the cold path. */
hmc_status_t hmci_operation_check(hmci_operation_kind_t kind, const hmc_region_t *local, uint64_t offset,
                                  const hmc_remote_t *remote, uint64_t remote_offset, uint64_t length) {
  const char *name = hmci_operation_name(kind);
  if (!local || !remote)
    return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: the %s region is NULL", name, local ? "remote" : "local");
  const hmc_peer_t *peer = remote->peer;
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  if (local->context != peer->context) {
    return hmci_fail(HMC_INVALID_CONFIG, "%s %s: the local region belongs to another context", name, peer->where);
  }
  hmc_status_t status = hmci_remote_check(kind, remote, remote_offset, length);
  if (status != HMC_SUCCESS) return status;
  if (!hmci_range_fits(offset, length, local->view.size)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%s %s: %llu B at offset %llu run past the %llu B of the local region%s%s%s",
                     name, peer->where, (unsigned long long)length, (unsigned long long)offset,
                     (unsigned long long)local->view.size, *local->name ? " '" : "", local->name,
                     *local->name ? "'" : "");
  }
  return HMC_SUCCESS;
}

/* Cause and remedy, as far as the status alone tells. */
static const char *cause_of(hmc_status_t status) {
  switch (status) {
  case HMC_ERROR:
    return "the memory at one of the ends could not be reached: it was unmapped meanwhile, or its device failed";
  case HMC_STALE:
    return "the peer closed that region, unmapped its memory or revoked the lease: open it, or ask for a lease, again";
  case HMC_TIMEOUT:
    return "deadline passed; the peer may be stopped or its network slow (HMC_TIMEOUT, or a deadline of its own)";
  case HMC_INVALID_CONFIG: return "the memory of this side's region was unmapped";
  case HMC_DENIED: return "the owner refused it: rights of the region or the lease, or a lease that was not named";
  case HMC_CANCELLED: return "cancelled, or the peer was closed on this side";
  case HMC_NO_MEMORY: return "the peer's queue of notifications is full, or one of the ends is out of memory";
  default: return hmc_status_text(status);
  }
}

void hmci_far_end_note(hmci_far_end_t *end, const hmc_remote_t *remote) {
  memcpy(end->where, remote->peer->where, sizeof end->where);
  memcpy(end->region, remote->name, sizeof end->region);
}

void hmci_far_end_of(hmci_far_end_t *end, const hmc_peer_t *peer) {
  memcpy(end->where, peer->where, sizeof end->where);
  end->region[0] = 0;
}

static hmc_status_t explain(hmci_operation_kind_t kind, hmc_status_t status, const hmci_far_end_t *end, uint64_t length,
                            const char *cause) {
  if (status == HMC_SUCCESS) return status;
  if (!end->region[0])
    return hmci_fail(status, "%s %s, %llu B: %s", hmci_operation_name(kind), end->where, (unsigned long long)length,
                     cause);
  return hmci_fail(status, "%s %s, region '%s', %llu B: %s", hmci_operation_name(kind), end->where, end->region,
                   (unsigned long long)length, cause);
}

hmc_status_t hmci_far_end_explain(hmci_operation_kind_t kind, hmc_status_t status, const hmci_far_end_t *end,
                                  uint64_t length) {
  return explain(kind, status, end, length, cause_of(status));
}

hmc_status_t hmci_operation_explain(hmci_operation_kind_t kind, hmc_status_t status, const hmc_remote_t *remote,
                                    uint64_t length) {
  hmci_far_end_t end;
  hmci_far_end_note(&end, remote);
  return explain(kind, status, &end, length,
                 status == HMC_PEER_LOST ? hmci_peer_lost_reason(remote->peer) : cause_of(status));
}

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* Moves it on as long as there is something to move: HMC_IN_PROGRESS where it goes on by itself, and
 * the caller is going to sleep. */
static hmc_status_t move_on(const hmc_peer_t *peer, hmci_operation_t *operation) {
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmc_status_t status = ops->wait(peer->connection->state, operation, peer->context->settings.spin);
  /* In a callback there is nobody else to move it on. */
  while (status == HMC_IN_PROGRESS && hmci_loop_is_own(peer->context->loop))
    status = ops->wait(peer->connection->state, operation, peer->context->settings.spin);
  if (status == HMC_IN_PROGRESS) hmci_context_hand_back(peer->context);
  return status;
}

hmc_status_t hmci_operation_await(const hmc_peer_t *peer, hmci_operation_t *operation) {
  hmc_status_t status = move_on(peer, operation);
  if (status != HMC_IN_PROGRESS) return status;
  return hmci_operation_sleep(operation, operation->deadline) ? HMC_SUCCESS : HMC_TIMEOUT;
}

/* The same, with HMC_CANCELLED where the thread's program wants the call to end (hmc/state.h), which it is asked only once
 * there is nothing left to do but sleep. */
static hmc_status_t await_or_stop(const hmc_peer_t *peer, hmci_operation_t *operation) {
  hmc_status_t status = move_on(peer, operation);
  while (status == HMC_IN_PROGRESS) {
    uint64_t next = hmci_now() + HMCI_STOP_ASK_NS, deadline = operation->deadline;
    if (hmci_operation_sleep(operation, next < deadline ? next : deadline)) return HMC_SUCCESS;
    if (next >= deadline) return HMC_TIMEOUT;
    if (hmci_stop_is_wanted()) return HMC_CANCELLED;
  }
  return status;
}

void hmci_operation_prepare(hmci_operation_t *operation, hmci_operation_kind_t kind, hmc_region_t *local,
                            hmc_remote_t *remote, uint64_t deadline) {
  operation->kind = kind;
  operation->local = local ? &local->view : NULL;
  operation->remote = remote ? &remote->view : NULL;
  operation->remote_state = remote ? remote->state : NULL;
  operation->segments = &operation->single;
  operation->segment_count = 1;
  operation->deadline = deadline;
  operation->lease = 0;
  operation->awaited = operation->held = operation->easy = operation->checksum = operation->chained = operation->quiet =
      false;
  atomic_store_explicit(&operation->stop, false, memory_order_relaxed); /* nobody else knows it yet */
  operation->completed = NULL;
  operation->waitset = NULL;
  operation->parts = NULL;
  operation->status = HMC_IN_PROGRESS;
  atomic_store_explicit(&operation->state, HMCI_PENDING, memory_order_relaxed); /* nobody else knows it yet */
}

/* An operation that its thread waits for at once, where others find it. */
typedef struct blocking {
  hmci_list_t link; /* context->blocking.list */
  hmc_peer_t *peer;
  hmci_operation_t *operation;
  const hmc_region_t *local; /* NULL: none */
  bool submitted;            /* context->blocking.lock */
} blocking_t;

static void list_blocking(hmc_context_t *context, blocking_t *blocking, bool in) {
  pthread_mutex_lock(&context->blocking.lock);
  in ? hmci_list_append(&context->blocking.list, &blocking->link) : hmci_list_remove(&blocking->link);
  pthread_mutex_unlock(&context->blocking.lock);
}

/* From here on the transport can cancel it; what was to be ended before is ended now. */
static void note_submitted(hmc_context_t *context, blocking_t *blocking) {
  pthread_mutex_lock(&context->blocking.lock);
  blocking->submitted = true;
  pthread_mutex_unlock(&context->blocking.lock);
}

/* Runs one operation that nobody but this thread waits for. */
static hmc_status_t run(hmc_peer_t *peer, const hmc_region_t *local, hmci_operation_t *operation) {
  const hmci_transport_ops_t *ops = peer->transport->ops;
  blocking_t blocking = {.peer = peer, .operation = operation, .local = local};
  operation->awaited = true;
  list_blocking(peer->context, &blocking, true);
  hmc_status_t status = ops->submit(peer->connection->state, operation, 1);
  if (status == HMC_SUCCESS && !hmci_operation_is_complete(operation)) {
    note_submitted(peer->context, &blocking);
    hmc_status_t waited =
        hmci_stop_is_possible() ? await_or_stop(peer, operation) : hmci_operation_await(peer, operation);
    if (waited == HMC_TIMEOUT || waited == HMC_CANCELLED) ops->cancel(peer->connection->state, operation, waited);
  }
  list_blocking(peer->context, &blocking, false);
  return status == HMC_SUCCESS ? operation->status : status;
}

/* True: some of them are still on their way out. */
static bool end_blocking(hmc_context_t *context, const hmc_region_t *region) {
  bool some = false;
  pthread_mutex_lock(&context->blocking.lock);
  for (hmci_list_t *link = context->blocking.list.next; link != &context->blocking.list; link = link->next) {
    const blocking_t *blocking = HMCI_CONTAINER(link, blocking_t, link);
    if (blocking->local != region) continue;
    const hmc_peer_t *peer = blocking->peer;
    atomic_store(&blocking->operation->stop, true);
    if (blocking->submitted && !hmci_operation_is_complete(blocking->operation))
      peer->transport->ops->cancel(peer->connection->state, blocking->operation, HMC_CANCELLED);
    some = true;
  }
  pthread_mutex_unlock(&context->blocking.lock);
  return some;
}

void hmci_operations_end_local(hmc_context_t *context, const hmc_region_t *region) {
  while (end_blocking(context, region)) sched_yield();
}

/* ---- put and get ------------------------------------------------------------------------------------------------- */

void hmci_copy_range(hmci_operation_kind_t kind, void *here, void *there, uint64_t length) {
  if (kind == HMCI_PUT) {
    memcpy(there, here, length);
    atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  } else {
    atomic_thread_fence(memory_order_acquire); /* partner: what made this thread look */
    memcpy(here, there, length);
  }
}

void hmci_copy_mapped(hmci_operation_kind_t kind, const hmc_region_t *local, const hmc_remote_t *remote,
                      const hmci_segment_t *segment) {
  hmci_copy_range(kind, local->view.base + segment->local, remote->mapped + segment->remote, segment->length);
}

/* Out of line, so that a put that is plain has no registers to save. */
__attribute__((noinline)) hmc_status_t hmci_transfer(hmci_operation_kind_t kind, hmc_region_t *local, uint64_t offset,
                                                     hmc_remote_t *remote, uint64_t remote_offset, uint64_t length,
                                                     uint64_t timeout_ms) {
  hmc_status_t status = hmci_operation_check(kind, local, offset, remote, remote_offset, length);
  if (status != HMC_SUCCESS || length == 0) return status;
  hmci_segment_t segment = {offset, remote_offset, length};
  kind == HMCI_PUT ? hmci_stats_put(remote->stats, length) : hmci_stats_get(remote->stats, length);
  if (hmci_is_mapped(local, remote)) {
    hmci_copy_mapped(kind, local, remote, &segment);
    return HMC_SUCCESS;
  }
  uint64_t begun = hmci_now();
  hmci_operation_t operation;
  remote = hmci_remote_for_data(remote);
  hmci_operation_prepare(&operation, kind, local, remote, hmci_context_deadline(remote->peer->context, timeout_ms));
  operation.single = segment;
  status = run(remote->peer, local, &operation);
  uint64_t took = hmci_now() - begun;
  hmci_stats_end(remote->stats, (hmc_latency_kind_t)kind, status, took);
  hmci_record((hmc_record_kind_t)(HMC_RECORD_PUT + kind), status, length, took, remote->peer->where);
  return status == HMC_SUCCESS ? status : hmci_operation_explain(kind, status, remote, length);
}

/* True where nothing stands against copying right away. */
static inline bool is_plain(const hmc_region_t *local, uint64_t offset, const hmc_remote_t *remote,
                            uint64_t remote_offset, uint64_t length, unsigned right) {
  return HMCI_LIKELY(local && remote && local->view.ops->host_accessible && local->context == remote->context &&
                     hmci_range_fits(offset, length, local->view.size) &&
                     hmci_remote_is_plain(remote, remote_offset, length, right));
}

hmc_status_t hmci_put_mapped(const hmc_remote_t *remote, uint64_t offset, const void *from, uint64_t length) {
  memcpy(remote->mapped + offset, from, length);
  hmci_stats_put(remote->stats, length);
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  return HMC_SUCCESS;
}

hmc_status_t hmc_put(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                     uint64_t length) {
  if (!is_plain(local, offset, remote, remote_offset, length, HMC_REMOTE_WRITE)) {
    return hmci_transfer(HMCI_PUT, local, offset, remote, remote_offset, length, 0);
  }
  return hmci_put_plain(remote, remote_offset, local->view.base + offset, length);
}

hmc_status_t hmc_get(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                     uint64_t length) {
  if (!is_plain(local, offset, remote, remote_offset, length, HMC_REMOTE_READ)) {
    return hmci_transfer(HMCI_GET, local, offset, remote, remote_offset, length, 0);
  }
  atomic_thread_fence(memory_order_acquire); /* partner: what made this thread look */
  memcpy(local->view.base + offset, remote->mapped + remote_offset, length);
  hmci_stats_get(remote->stats, length);
  return HMC_SUCCESS;
}

/* ---- atomics ----------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_atomic(hmc_remote_t *remote, uint64_t remote_offset, hmc_atomic_operation_t operation, unsigned width,
                        uint64_t operand, uint64_t compare, uint64_t *fetched) {
  hmc_status_t status = hmci_atomic_check(remote, remote_offset, operation, width);
  if (status != HMC_SUCCESS) return status;
  hmci_stats_add(&hmci_stats_stripe(remote->stats)->atomics, 1);
  if (remote->mapped) {
    uint64_t old = hmci_atomic_apply(remote->mapped + remote_offset, width, operation, operand, compare);
    if (fetched) *fetched = old;
    return HMC_SUCCESS;
  }
  bool stores = operation == HMC_ATOMIC_STORE;
  uint64_t begun = hmci_now();
  hmci_operation_t under_way;
  hmci_operation_prepare(&under_way, HMCI_ATOMIC, NULL, remote, hmci_context_deadline(remote->peer->context, 0));
  under_way.single = (hmci_segment_t){.remote = remote_offset, .length = width};
  under_way.atomic = hmci_atomic_for_wire(operation, operand, compare, fetched != NULL);
  status = run(remote->peer, NULL, &under_way);
  uint64_t took = hmci_now() - begun;
  hmci_stats_end(remote->stats, HMC_LATENCY_ATOMIC, status, took);
  hmci_record(HMC_RECORD_ATOMIC, status, width, took, remote->peer->where);
  if (status != HMC_SUCCESS) return hmci_operation_explain(HMCI_ATOMIC, status, remote, width);
  if (fetched) *fetched = stores ? 0 : under_way.atomic.fetched;
  return HMC_SUCCESS;
}
