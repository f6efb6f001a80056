/* Queues: starting operations.
 *
 * To a mapped peer that is a check and a copy by the calling thread, as in operation.c. All else becomes a flight
 * (queue.h), whose local side is a plain address: transports that need registered memory stage it. Small flights may be
 * kept back for those that follow, until a flush, a full queue or the service thread sends them. */
#include "queue.h"
#include "notification.h"

#include <stdlib.h>
#include <string.h>

/* What a call is to do; checked already. */
typedef struct start {
  hmci_operation_kind_t kind;
  hmc_remote_t *remote;
  const void *local; /* put, get: the bytes */
  uint64_t offset, length;
  hmci_atomic_t atomic;
  uint64_t *fetched;
  const hmc_signal_t *signal; /* NULL: none */
  bool awaited;               /* the caller waits for it at once */
} start_t;

/* ---- checks ------------------------------------------------------------------------------------------------------ */

/* True where nothing stands against copying right away. */
static inline bool is_plain(const hmc_queue_t *queue, const void *local, const hmc_remote_t *remote, uint64_t offset,
                            uint64_t length, unsigned right) {
  return HMCI_LIKELY(queue && local && remote && remote->context == queue->plain &&
                     hmci_remote_is_plain(remote, offset, length, right));
}

static hmc_status_t check_ends(hmci_operation_kind_t kind, const hmc_queue_t *queue, const hmc_remote_t *remote) {
  const char *name = hmci_operation_name(kind);
  if (!queue || !remote)
    return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: the %s is NULL", name, queue ? "remote region" : "queue");
  if (hmci_context_is_foreign(queue->context)) return HMC_UNSUPPORT;
  if (remote->context != queue->context)
    return hmci_fail(HMC_INVALID_CONFIG, "%s %s: the queue belongs to another context", name, remote->peer->where);
  return HMC_SUCCESS;
}

/* All that can be said before a put or a get starts. */
static hmc_status_t check_transfer(hmci_operation_kind_t kind, const hmc_queue_t *queue, const void *local,
                                   const hmc_remote_t *remote, uint64_t offset, uint64_t length) {
  hmc_status_t status = check_ends(kind, queue, remote);
  if (status != HMC_SUCCESS) return status;
  if (!local && length)
    return hmci_fail(HMC_INVALID_CONFIG, "%s %s: the local address is NULL", hmci_operation_name(kind),
                     remote->peer->where);
  return hmci_remote_check(kind, remote, offset, length);
}

/* ---- flights ----------------------------------------------------------------------------------------------------- */

static hmci_operation_t *add_operation(hmci_flight_t *flight, hmci_operation_kind_t kind, hmc_remote_t *remote,
                                       uint64_t deadline) {
  hmci_operation_t *operation = &flight->chain[flight->count];
  hmci_operation_prepare(operation, kind, NULL, remote, deadline);
  operation->chained = flight->count > 0;
  operation->held = true;
  operation->message_size = 0;
  flight->count++;
  return operation;
}

/* Nobody waits for its answer soon. */
static bool is_easy(const hmc_queue_t *queue, const start_t *what) {
  if (!(queue->flags & HMC_QUEUE_SELDOM_FLUSHED) || what->awaited || what->fetched) return false;
  return what->kind == HMCI_ATOMIC || (what->kind == HMCI_PUT && what->length <= HMC_QUEUE_COPIED);
}

/* The bytes of a put or a get as the operation's local side; a small put's are copied. */
static void set_local(hmci_flight_t *flight, hmci_operation_t *operation, const start_t *what) {
  const void *local = what->local;
  operation->local = &hmci_anywhere;
  if (what->kind == HMCI_PUT && what->length <= HMC_QUEUE_COPIED) {
    memcpy(flight->copied, local, what->length);
    local = flight->copied;
    operation->local = &hmci_copied;
  }
  operation->single = (hmci_segment_t){hmci_anywhere_offset(local), what->offset, what->length};
}

static void add_signal(hmci_flight_t *flight, const hmc_signal_t *signal, uint64_t deadline) {
  hmci_operation_t *operation = add_operation(flight, HMCI_ATOMIC, signal->remote, deadline);
  operation->single = (hmci_segment_t){.remote = signal->offset, .length = 8};
  operation->atomic = hmci_atomic_for_wire(signal->operation, signal->value, 0, false);
}

/* Goes on with a flight whose bytes have been moved, with that status. */
static void go_on(hmci_work_t *work, hmc_status_t status) {
  hmci_flight_t *flight = HMCI_CONTAINER(work, hmci_flight_t, work);
  const hmc_peer_t *peer = work->peer;
  hmci_operation_t *next = flight->count > 1 ? &flight->chain[1] : NULL;
  hmci_operation_complete(&flight->chain[0], status);
  if (!next) return;
  next->chained = next->held = false; /* what it came after is done */
  if (status == HMC_SUCCESS) status = peer->transport->ops->submit(peer->connection->state, next, 1);
  if (status != HMC_SUCCESS) hmci_operation_complete(next, status);
}

/* Gives the bytes to the workers where the transport wants that. */
static bool start_work(hmc_queue_t *queue, hmci_flight_t *flight) {
  hmc_peer_t *peer = flight->lane->peer;
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmci_operation_t *first = &flight->chain[0];
  if (!ops->moves || first->kind > HMCI_GET) return false;
  if (!ops->moves(peer->connection->state, first->remote_state, first->local->ops, first->kind, first->single.length))
    return false;
  flight->working = true;
  flight->work.operation = first;
  flight->work.peer = peer;
  flight->work.mapped = NULL;
  flight->work.go_on = go_on;
  if (!hmci_work_start(&queue->context->workers, &flight->work)) flight->working = false;
  return flight->working;
}

/* Hands a flight to the workers or to the transport; gives it back where that fails. */
static hmc_status_t launch(hmc_queue_t *queue, hmci_flight_t *flight) {
  hmc_peer_t *peer = flight->lane->peer;
  if (start_work(queue, flight)) return HMC_SUCCESS;
  hmc_status_t status = peer->transport->ops->submit(peer->connection->state, flight->chain, flight->count);
  if (status == HMC_SUCCESS) return status;
  hmci_operation_kind_t kind = flight->chain[0].kind;
  hmci_far_end_t end = flight->end;
  uint64_t length = flight->length;
  hmci_flight_give(queue, flight);
  return hmci_far_end_explain(kind, status, &end, length);
}

static hmc_status_t start_flight(hmc_queue_t *queue, hmci_lane_t *lane, const start_t *what, hmci_flight_t **out) {
  hmci_flight_t *flight;
  hmc_status_t status = hmci_flight_take(queue, lane, &flight);
  if (status != HMC_SUCCESS) return status;
  uint64_t deadline = hmci_context_deadline(queue->context, queue->timeout_ms);
  hmci_far_end_note(&flight->end, what->remote);
  flight->length = what->length;
  if (what->length) {
    hmci_operation_t *operation = add_operation(flight, what->kind, what->remote, deadline);
    operation->awaited = what->awaited;
    operation->held = !what->awaited;
    operation->easy = is_easy(queue, what);
    if (what->kind == HMCI_ATOMIC) {
      operation->single = (hmci_segment_t){.remote = what->offset, .length = what->length};
      operation->atomic = what->atomic;
      flight->fetched = what->fetched;
    } else {
      set_local(flight, operation, what);
    }
  }
  if (what->signal) add_signal(flight, what->signal, deadline);
  if (what->signal) hmci_flight_last(flight)->easy = queue->flags & HMC_QUEUE_SELDOM_FLUSHED;
  *out = flight;
  return launch(queue, flight);
}

/* Keeps the order that a fence asks for, on both connections of the peer. `mapped`: by this thread's own loads and
 * stores. */
static void pass_fence(hmc_queue_t *queue, const hmc_peer_t *peer, hmci_operation_kind_t kind, bool mapped) {
  if (!queue->fences || kind == HMCI_GET) return;
  const hmc_peer_t *other = hmci_peer_other(peer);
  hmci_lane_t *lane = other ? hmci_lane_find(queue, other->number) : NULL;
  if (lane && lane->fenced) hmci_lane_drain(queue, lane, HMCI_NEVER); /* each has a deadline of its own */
  lane = hmci_lane_find(queue, peer->number);
  if (!lane || !lane->fenced) return;
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmci_lane_reap(queue, lane);
  if (hmci_list_is_empty(&lane->flights)) return;
  if (!mapped && ops->keeps_order && ops->keeps_order(peer->connection->state)) return;
  hmci_lane_drain(queue, lane, HMCI_NEVER);
}

/* ---- put and get ------------------------------------------------------------------------------------------------- */

static void apply_mapped(const hmc_remote_t *remote, uint64_t offset, unsigned width, const hmci_atomic_t *atomic,
                         uint64_t *fetched) {
  uint64_t old = hmci_atomic_apply(remote->mapped + offset, width, atomic->operation, atomic->operand, atomic->compare);
  if (fetched) *fetched = old;
}

/* Puts and gets that are not plain, with their signals. */
static hmc_status_t run(hmc_queue_t *queue, const start_t *what) {
  start_t rest = *what;
  if (!what->signal) rest.remote = hmci_remote_for_data(what->remote); /* a chain stays on one connection */
  hmc_peer_t *peer = rest.remote->peer;
  hmci_lane_t *lane = hmci_lane_of(queue, peer);
  if (!lane) return HMC_NO_MEMORY;
  bool mapped = what->remote->mapped;
  what->kind == HMCI_PUT ? hmci_stats_put(what->remote->stats, what->length)
                         : hmci_stats_get(what->remote->stats, what->length);
  pass_fence(queue, peer, what->kind, mapped);
  if (mapped && what->length) {
    hmci_copy_range(what->kind, (void *)(uintptr_t)what->local, what->remote->mapped + what->offset, what->length);
    rest.length = 0;
  }
  if (!rest.length) { /* the signal alone is left */
    if (!rest.signal) return HMC_SUCCESS;
    const hmc_signal_t *signal = rest.signal;
    if (signal->remote->mapped) {
      hmci_atomic_t atomic = hmci_atomic_for_wire(signal->operation, signal->value, 0, false);
      pass_fence(queue, peer, HMCI_ATOMIC, true);
      apply_mapped(signal->remote, signal->offset, 8, &atomic, NULL);
      return HMC_SUCCESS;
    }
  }
  hmci_flight_t *flight;
  return start_flight(queue, lane, &rest, &flight);
}

/* A put or a get that is not plain. Out of line, and with its parameters where those of the calls are, so that one that
 * is plain has no registers to save or to move. */
__attribute__((noinline)) static hmc_status_t start_transfer(hmc_queue_t *queue, const void *local,
                                                             hmc_remote_t *remote, uint64_t offset, uint64_t length,
                                                             hmci_operation_kind_t kind) {
  hmc_status_t status = check_transfer(kind, queue, local, remote, offset, length);
  if (status != HMC_SUCCESS || !length) return status;
  start_t what = {.kind = kind, .remote = remote, .local = local, .offset = offset, .length = length};
  return run(queue, &what);
}

/* A put that is not of 8 bytes, or not plain. Its parameters are where those of the call are, as above. */
__attribute__((noinline)) static hmc_status_t put_other(hmc_queue_t *queue, const void *local, hmc_remote_t *remote,
                                                        uint64_t remote_offset, uint64_t length) {
  if (is_plain(queue, local, remote, remote_offset, length, HMC_REMOTE_WRITE))
    return hmci_put_mapped(remote, remote_offset, local, length);
  return start_transfer(queue, local, remote, remote_offset, length, HMCI_PUT);
}

hmc_status_t hmc_queue_put(hmc_queue_t *queue, const void *local, hmc_remote_t *remote, uint64_t remote_offset,
                           uint64_t length) {
  if (HMCI_UNLIKELY(length != 8 || !queue || !local || !remote))
    return put_other(queue, local, remote, remote_offset, length);
  if (HMCI_UNLIKELY(remote->context != queue->plain || remote_offset >= remote->words_end ||
                    !hmci_remote_is_open(remote)))
    return put_other(queue, local, remote, remote_offset, length);
  memcpy(remote->mapped + remote_offset, local, 8);
  hmci_stats_add(&((hmci_stripe_t *)((char *)remote->stats->stripes + queue->stripe))->words, 1);
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  return HMC_SUCCESS;
}

hmc_status_t hmc_queue_get(hmc_queue_t *queue, void *local, hmc_remote_t *remote, uint64_t remote_offset,
                           uint64_t length) {
  if (!is_plain(queue, local, remote, remote_offset, length, HMC_REMOTE_READ))
    return start_transfer(queue, local, remote, remote_offset, length, HMCI_GET);
  atomic_thread_fence(memory_order_acquire); /* partner: what made this thread look */
  memcpy(local, remote->mapped + remote_offset, length);
  hmci_stats_get(remote->stats, length);
  return HMC_SUCCESS;
}

hmc_status_t hmc_queue_put_signal(hmc_queue_t *queue, const void *local, hmc_remote_t *remote, uint64_t remote_offset,
                                  uint64_t length, const hmc_signal_t *signal) {
  hmc_status_t status = check_transfer(HMCI_PUT, queue, local, remote, remote_offset, length);
  if (status != HMC_SUCCESS) return status;
  if (!signal) return hmci_fail(HMC_INVALID_CONFIG, "put to %s: the signal is NULL", remote->peer->where);
  status = hmci_atomic_check(signal->remote, signal->offset, signal->operation, 8);
  if (status != HMC_SUCCESS) return hmci_fail_prefix(status, "signal: ");
  if (signal->remote->peer != remote->peer)
    return hmci_fail(HMC_INVALID_CONFIG, "a signal goes to the peer of its operation");
  start_t what = {
      .kind = HMCI_PUT, .remote = remote, .local = local, .offset = remote_offset, .length = length, .signal = signal};
  return run(queue, &what);
}

/* ---- atomics ----------------------------------------------------------------------------------------------------- */

static hmc_status_t check_atomic(const hmc_queue_t *queue, const hmc_remote_t *remote, uint64_t offset,
                                 hmc_atomic_operation_t operation, unsigned width) {
  hmc_status_t status = check_ends(HMCI_ATOMIC, queue, remote);
  return status == HMC_SUCCESS ? hmci_atomic_check(remote, offset, operation, width) : status;
}

/* True where it is done. */
static bool run_mapped_atomic(hmc_queue_t *queue, const start_t *what) {
  if (!what->remote->mapped) return false;
  if (queue->fences) {
    pass_fence(queue, what->remote->peer, HMCI_ATOMIC, true);
  }
  apply_mapped(what->remote, what->offset, (unsigned)what->length, &what->atomic, what->fetched);
  return true;
}

/* A flight's atomic fetches nothing of a store, and gives 0. */
static void make_atomic(start_t *what, hmc_remote_t *remote, uint64_t offset, unsigned width, hmci_atomic_t atomic,
                        uint64_t *fetched) {
  hmci_stats_add(&hmci_stats_stripe(remote->stats)->atomics, 1);
  *what = (start_t){
      .kind = HMCI_ATOMIC, .remote = remote, .offset = offset, .length = width, .atomic = atomic, .fetched = fetched};
}

hmc_status_t hmc_queue_atomic(hmc_queue_t *queue, hmc_remote_t *remote, uint64_t remote_offset,
                              hmc_atomic_operation_t operation, unsigned width, uint64_t operand, uint64_t compare,
                              uint64_t *fetched) {
  hmc_status_t status = check_atomic(queue, remote, remote_offset, operation, width);
  if (status != HMC_SUCCESS) return status;
  start_t what;
  make_atomic(&what, remote, remote_offset, width, (hmci_atomic_t){operation, true, operand, compare, 0}, fetched);
  if (run_mapped_atomic(queue, &what)) return HMC_SUCCESS;
  what.atomic = hmci_atomic_for_wire(operation, operand, compare, fetched != NULL);
  hmci_lane_t *lane = hmci_lane_of(queue, remote->peer);
  if (!lane) return HMC_NO_MEMORY;
  pass_fence(queue, remote->peer, HMCI_ATOMIC, false);
  hmci_flight_t *flight;
  return start_flight(queue, lane, &what, &flight);
}

hmc_status_t hmc_queue_atomic_fetch(hmc_queue_t *queue, hmc_remote_t *remote, uint64_t remote_offset,
                                    hmc_atomic_operation_t operation, unsigned width, uint64_t operand,
                                    uint64_t compare, uint64_t *fetched) {
  hmc_status_t status = check_atomic(queue, remote, remote_offset, operation, width);
  if (status != HMC_SUCCESS) return status;
  if (!fetched)
    return hmci_fail(HMC_INVALID_CONFIG, "atomic on %s: there is no place for the word: fetched is NULL",
                     remote->peer->where);
  start_t what;
  make_atomic(&what, remote, remote_offset, width, (hmci_atomic_t){operation, true, operand, compare, 0}, fetched);
  if (run_mapped_atomic(queue, &what)) return HMC_SUCCESS;
  what.atomic = hmci_atomic_for_wire(operation, operand, compare, true);
  what.awaited = true;
  hmci_lane_t *lane = hmci_lane_of(queue, remote->peer);
  if (!lane) return HMC_NO_MEMORY;
  pass_fence(queue, remote->peer, HMCI_ATOMIC, false);
  hmci_flight_t *flight;
  status = start_flight(queue, lane, &what, &flight);
  if (status != HMC_SUCCESS) return status;
  hmci_flight_await(queue, flight, HMCI_NEVER); /* it has a deadline of its own; the peer may have been closed then */
  hmci_far_end_t end = flight->end;
  hmci_flight_end(queue, flight, &status);
  return hmci_far_end_explain(HMCI_ATOMIC, status, &end, width);
}

/* ---- notifications ----------------------------------------------------------------------------------------------- */

/* Former operations are complete, and the peer has room. */
static hmc_status_t prepare_notify(hmc_queue_t *queue, hmci_lane_t *lane, size_t size, uint64_t deadline) {
  hmc_peer_t *peer = lane->peer;
  const hmci_failure_t *failure = &lane->failure;
  const hmc_peer_t *second = hmci_peer_second(peer);
  hmci_lane_t *other = second ? hmci_lane_find(queue, second->number) : NULL;
  hmci_lane_drain(queue, lane, HMCI_NEVER); /* each has a deadline of its own */
  if (other) hmci_lane_drain(queue, other, HMCI_NEVER);
  if (failure->status == HMC_SUCCESS && other) failure = &other->failure;
  if (failure->status != HMC_SUCCESS)
    return hmci_far_end_explain(failure->kind, failure->status, &failure->end, failure->length);
  atomic_store(&queue->driving, peer);
  hmc_status_t status = atomic_load(&lane->closed) ? HMC_CANCELLED : hmci_post_await(peer, size, deadline);
  if (status == HMC_TIMEOUT)
    (void)hmci_fail(status, "notification to %s: its application takes none of those that wait", peer->where);
  atomic_store(&queue->driving, NULL);
  if (status != HMC_SUCCESS && status != HMC_TIMEOUT)
    return hmci_fail(status, "notification to a peer: it is gone, or was closed");
  return status;
}

static hmc_status_t start_notify(hmc_queue_t *queue, hmci_lane_t *lane, const void *data, size_t size,
                                 uint64_t deadline) {
  hmci_flight_t *flight;
  hmc_status_t status = hmci_flight_take(queue, lane, &flight);
  if (status != HMC_SUCCESS) return status;
  void *copy = flight->copied;
  if (size > sizeof flight->copied) copy = flight->message = malloc(size);
  if (!copy) {
    hmci_flight_give(queue, flight);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a notification of %zu B", size);
  }
  memcpy(copy, data, size);
  hmci_operation_t *operation = add_operation(flight, HMCI_NOTIFY, NULL, deadline);
  operation->message = copy;
  operation->message_size = (uint32_t)size;
  operation->single = (hmci_segment_t){.length = size};
  hmci_far_end_of(&flight->end, lane->peer);
  flight->length = size;
  flight->charged = true;
  return launch(queue, flight);
}

hmc_status_t hmc_queue_notify(hmc_queue_t *queue, hmc_peer_t *peer, const void *data, size_t size) {
  if (!queue || !peer || !data || !size)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_queue_notify: queue, peer or data is NULL, or there are no bytes");
  if (hmci_context_is_foreign(queue->context)) return HMC_UNSUPPORT;
  if (peer->context != queue->context)
    return hmci_fail(HMC_INVALID_CONFIG, "notification to %s: the queue belongs to another context", peer->where);
  hmc_status_t status = hmci_notification_check(peer, size);
  if (status != HMC_SUCCESS) return status;
  hmci_lane_t *lane = hmci_lane_of(queue, peer);
  if (!lane) return HMC_NO_MEMORY;
  uint64_t deadline = hmci_context_deadline(queue->context, queue->timeout_ms);
  status = prepare_notify(queue, lane, size, deadline);
  if (status != HMC_SUCCESS) return status;
  status = start_notify(queue, lane, data, size, deadline);
  if (status != HMC_SUCCESS) hmci_post_refund(peer, size);
  return status;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_queue_fence(hmc_queue_t *queue) {
  if (!queue) return hmci_fail(HMC_INVALID_CONFIG, "hmc_queue_fence: queue is NULL");
  if (hmci_context_is_foreign(queue->context)) return HMC_UNSUPPORT;
  if (!queue->under_way) {
    atomic_thread_fence(memory_order_release); /* what is mapped is in order by itself */
    return HMC_SUCCESS;
  }
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    hmci_lane_t *lane = HMCI_CONTAINER(link, hmci_lane_t, link);
    hmci_lane_reap(queue, lane);
    if (hmci_list_is_empty(&lane->flights) || lane->fenced) continue;
    lane->fenced = true;
    hmci_queue_fenced(queue, 1);
  }
  return HMC_SUCCESS;
}
