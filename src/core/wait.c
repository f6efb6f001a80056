/* Waiting for requests: one, all, any, some, all of a peer.
 *
 * Who waits for one request moves its connection himself (the transport's `wait`). Who waits for one of several moves
 * all their connections for a while, and then sleeps in the context's room, which every completion tells; the service
 * thread moves things on meanwhile. Either counts among the requests' users meanwhile, unless they are complete at
 * once. */
#include "request.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A callback keeps the loop's thread, so who waits in one does the loop's part for the operations to a peer: takes what
 * comes for them, begins those whose event has come, and starts what was parked. */
static void do_for_loop(hmc_context_t *context, hmc_peer_t *peer) {
  if (!hmci_loop_is_own(context->loop)) return;
  hmci_delays_run(&context->delay.timer);
  hmci_checksums_run(&context->checksum.timer);
  hmci_loop_turn(context->loop);
  hmci_post_turn(peer);
  peer->transport->ops->progress(peer->connection->state);
}

/* Sleeps, or in a callback looks, until a request is complete: HMC_TIMEOUT where its deadline comes first. */
static hmc_status_t sleep_until_complete(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  hmci_operation_t *last = hmci_request_last(request);
  while (hmci_loop_is_own(context->loop) && !hmci_operation_is_complete(last) && hmci_now() < request->deadline)
    do_for_loop(context, request->peer);
  return hmci_operation_sleep(last, request->deadline) ? HMC_SUCCESS : HMC_TIMEOUT;
}

/* Moves a request on; ends it where its deadline has passed. True when it is complete. The caller is among its
 * users. */
static bool advance(hmc_request_t *request) {
  if (hmci_request_is_complete(request)) return true;
  if (!request->is_setup) do_for_loop(request->context, request->peer);
  for (uint32_t i = 0; request->group && i < request->group->count; i++) {
    if (request->group->parts[i]) HMC_IGNORE(hmc_request_test(request->group->parts[i])); /* the whole has it */
  }
  if (!request->group && !request->is_setup && !request->delayed)
    request->peer->transport->ops->progress(request->peer->connection->state);
  if (hmci_request_is_complete(request)) return true;
  if (hmci_now() < request->deadline) return false;
  hmci_request_end_now(request, HMC_TIMEOUT);
  return true;
}

/* As hmci_operation_await, for a request: the transport knows nothing of a checksum's result. */
static hmc_status_t await(hmc_request_t *request) {
  if (request->group) { /* the parts are moved on one after the other, what comes behind by the loop */
    for (uint32_t i = 0; i < request->group->count; i++) {
      if (request->group->parts[i]) HMC_IGNORE(hmc_request_wait(request->group->parts[i])); /* the whole has it */
    }
    return sleep_until_complete(request);
  }
  if (request->is_setup || request->delayed) /* threads of the context, or its loop, do it */
    return sleep_until_complete(request);
  if (request->working) { /* this thread helps to copy; what may come behind is moved on by the loop */
    hmci_work_help(&request->work, request->deadline, hmci_loop_is_own(request->context->loop));
    return sleep_until_complete(request);
  }
  if (request->posted) { /* the loop starts it, or has: what comes before it is moved on, then there is only sleeping */
    hmci_operation_t *before = request->parked.before;
    hmc_status_t status = before ? hmci_operation_await(request->peer, before) : HMC_SUCCESS;
    if (status != HMC_SUCCESS) return status;
    return sleep_until_complete(request);
  }
  if (!request->checksummed) return hmci_operation_await(request->peer, hmci_request_last(request));
  hmc_status_t status = hmci_operation_await(request->peer, &request->chain[0]);
  if (status != HMC_SUCCESS) return status;
  return sleep_until_complete(request);
}

hmc_status_t hmc_request_test(hmc_request_t *request) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_test: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  if (hmci_request_is_complete(request)) return hmci_request_status(request);
  hmci_request_enter(request);
  hmc_status_t status = advance(request) ? hmci_request_status(request) : HMC_IN_PROGRESS;
  hmci_request_leave(request);
  return status;
}

/* What connects or opens needs the thread that runs callbacks. */
static hmc_status_t check_waiting(const hmc_request_t *request) {
  return request->is_setup ? hmci_context_check_waiting(request->context, "waiting for what connects or opens")
                           : HMC_SUCCESS;
}

hmc_status_t hmc_request_wait(hmc_request_t *request) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  if (hmci_request_is_complete(request)) return hmci_request_status(request);
  hmc_status_t status = check_waiting(request);
  if (status != HMC_SUCCESS) return status;
  hmci_request_enter(request);
  if (!hmci_request_is_complete(request) && await(request) == HMC_TIMEOUT) hmci_request_end_now(request, HMC_TIMEOUT);
  status = hmci_request_status(request);
  hmci_request_leave(request);
  return status;
}

hmc_status_t hmc_request_wait_all(hmc_request_t *const *requests, size_t count) {
  hmc_status_t first = HMC_SUCCESS;
  size_t failed = count;
  if (!requests && count) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait_all: requests is NULL");
  for (size_t i = 0; i < count; i++) {
    if (!requests[i]) continue;
    hmc_status_t status = hmc_request_wait(requests[i]);
    if (status == HMC_SUCCESS || first != HMC_SUCCESS) continue;
    first = status;
    failed = i;
  }
  return first == HMC_SUCCESS ? first : hmc_request_wait(requests[failed]); /* for its text */
}

/* ---- any and some ------------------------------------------------------------------------------------------------ */

enum { MIXED_LOOK = 500000 }; /* nanoseconds between looks at requests of several contexts */

static hmc_request_t *first_given(hmc_request_t *const *requests, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (requests[i]) return requests[i];
  }
  return NULL;
}

/* Are there requests of other contexts? Their completions are reported elsewhere. */
static bool is_mixed(hmc_request_t *const *requests, size_t count, const hmc_context_t *context) {
  for (size_t i = 0; i < count; i++) {
    if (requests[i] && requests[i]->context != context) return true;
  }
  return false;
}

static uint64_t earliest_deadline(hmc_request_t *const *requests, size_t count) {
  uint64_t earliest = HMCI_NEVER;
  for (size_t i = 0; i < count; i++) {
    if (requests[i] && requests[i]->deadline < earliest) earliest = requests[i]->deadline;
  }
  return earliest;
}

/* Lists those that are complete, at most `room`. */
static size_t collect(hmc_request_t *const *requests, size_t count, size_t *indices, size_t room) {
  size_t found = 0;
  for (size_t i = 0; i < count && found < room; i++) {
    if (requests[i] && advance(requests[i])) indices[found++] = i;
  }
  return found;
}

/* Until at least one is complete, or `limit`; the caller is among the users of all. */
static size_t look_for_some(hmc_request_t *const *requests, size_t count, hmc_context_t *context, size_t *indices,
                            size_t room, uint64_t limit) {
  uint64_t until = hmci_now() + context->settings.spin;
  bool mixed = is_mixed(requests, count, context);
  for (;;) {
    uint32_t seen = atomic_load(&context->waitset.completions);
    size_t found = collect(requests, count, indices, room);
    if (found) return found;
    uint64_t now = hmci_now(), deadline = earliest_deadline(requests, count);
    if (now >= limit) return 0;
    if (deadline > limit) deadline = limit;
    if (now < until || hmci_loop_is_own(context->loop)) continue; /* in a callback nobody else moves things on */
    if (mixed && deadline > now + MIXED_LOOK) deadline = now + MIXED_LOOK;
    hmci_waitset_sleep(&context->waitset, seen, deadline);
  }
}

static size_t await_some(hmc_request_t *const *requests, size_t count, hmc_context_t *context, size_t *indices,
                         size_t room, uint64_t limit) {
  hmci_waitset_enter(&context->waitset);
  size_t found = look_for_some(requests, count, context, indices, room, limit);
  hmci_waitset_leave(&context->waitset);
  return found;
}

/* Becomes a user of all, and gives the context to sleep in. */
static hmc_status_t enter_all(hmc_request_t *const *requests, size_t count, hmc_context_t **context) {
  hmc_request_t *first = first_given(requests, count);
  if (!first) return hmci_fail(HMC_NOT_FOUND, "there is no request to wait for");
  if (hmci_context_is_foreign(first->context)) return HMC_UNSUPPORT;
  for (size_t i = 0; i < count; i++) {
    hmc_status_t status = requests[i] ? check_waiting(requests[i]) : HMC_SUCCESS;
    if (status != HMC_SUCCESS) return status;
  }
  for (size_t i = 0; i < count; i++) {
    if (requests[i]) hmci_request_enter(requests[i]);
  }
  *context = first->context;
  return HMC_SUCCESS;
}

static void leave_all(hmc_request_t *const *requests, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (requests[i]) hmci_request_leave(requests[i]);
  }
}

static hmc_status_t wait_any(hmc_request_t *const *requests, size_t count, size_t *index, uint64_t limit) {
  if ((!requests && count) || !index)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait_any: requests or index is NULL");
  hmc_context_t *context = NULL;
  *index = count;
  hmc_status_t status = enter_all(requests, count, &context);
  if (!requests || status != HMC_SUCCESS) return status; /* no list: no request to wait for */
  bool found = await_some(requests, count, context, index, 1, limit);
  status = found ? hmci_request_status(requests[*index]) : HMC_IN_PROGRESS;
  leave_all(requests, count);
  return status;
}

hmc_status_t hmc_request_wait_any(hmc_request_t *const *requests, size_t count, size_t *index) {
  return wait_any(requests, count, index, HMCI_NEVER);
}

static hmc_status_t wait_some(hmc_request_t *const *requests, size_t count, size_t *indices, size_t *done,
                              uint64_t limit) {
  if (((!requests || !indices) && count) || !done) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait_some: requests, indices or done is NULL");
  }
  hmc_context_t *context;
  *done = 0;
  hmc_status_t status = enter_all(requests, count, &context);
  if (status != HMC_SUCCESS) return status;
  *done = await_some(requests, count, context, indices, count, limit);
  leave_all(requests, count);
  return *done ? HMC_SUCCESS : HMC_IN_PROGRESS;
}

hmc_status_t hmc_request_wait_some(hmc_request_t *const *requests, size_t count, size_t *indices, size_t *done) {
  return wait_some(requests, count, indices, done, HMCI_NEVER);
}

/* ---- for a time -------------------------------------------------------------------------------------------------- */

/* A time of the caller's own; the requests' deadlines go on. */
static uint64_t limit_of(hmc_request_t *const *requests, size_t count, uint64_t timeout_ms) {
  hmc_request_t *first = requests ? first_given(requests, count) : NULL;
  return first ? hmci_context_deadline(first->context, timeout_ms) : 0;
}

/* As in hmc_request_wait, this thread copies with the workers; not what a transport moves, which may take longer than
 * the caller has time. */
static void help(hmc_request_t *request, uint64_t limit) {
  if (!request->working || !request->work.mapped) return;
  hmci_request_enter(request);
  if (!hmci_request_is_complete(request))
    hmci_work_help(&request->work, limit, hmci_loop_is_own(request->context->loop));
  hmci_request_leave(request);
}

hmc_status_t hmc_request_wait_for(hmc_request_t *request, uint64_t timeout_ms) {
  if (!request) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait_for: request is NULL");
  if (hmci_context_is_foreign(request->context)) return HMC_UNSUPPORT;
  uint64_t limit = hmci_context_deadline(request->context, timeout_ms);
  if (limit >= request->deadline) return hmc_request_wait(request);
  if (hmci_request_is_complete(request)) return hmci_request_status(request);
  help(request, limit);
  size_t index;
  return wait_any(&request, 1, &index, limit);
}

hmc_status_t hmc_request_wait_all_for(hmc_request_t *const *requests, size_t count, uint64_t timeout_ms) {
  if (!requests && count) return hmci_fail(HMC_INVALID_CONFIG, "hmc_request_wait_all_for: requests is NULL");
  uint64_t limit = limit_of(requests, count, timeout_ms);
  for (size_t i = 0; i < count; i++) {
    size_t index;
    if (!requests[i] || hmci_request_is_complete(requests[i])) continue;
    help(requests[i], limit);
    if (wait_any(&requests[i], 1, &index, limit) == HMC_IN_PROGRESS) return HMC_IN_PROGRESS;
  }
  return hmc_request_wait_all(requests, count);
}

hmc_status_t hmc_request_wait_any_for(hmc_request_t *const *requests, size_t count, size_t *index,
                                      uint64_t timeout_ms) {
  return wait_any(requests, count, index, limit_of(requests, count, timeout_ms));
}

hmc_status_t hmc_request_wait_some_for(hmc_request_t *const *requests, size_t count, size_t *indices, size_t *done,
                                       uint64_t timeout_ms) {
  return wait_some(requests, count, indices, done, limit_of(requests, count, timeout_ms));
}

/* ---- all of a peer ----------------------------------------------------------------------------------------------- */

typedef struct flush {
  const hmc_peer_t *peer, *second; /* NULL: there is no second one */
  uint64_t counts[HMCI_SHARDS];    /* requests that were started by then */
  bool busy;
} flush_t;

/* Is it an incomplete one to that peer, of those that count? */
static bool look_for_busy(hmc_request_t *request, void *argument) {
  flush_t *flush = argument;
  bool ours = request->peer == flush->peer || (flush->second && request->peer == flush->second);
  if (!ours || request->number > flush->counts[request->shard - request->context->shards]) return true;
  bool starting = atomic_load_explicit(&request->starting, memory_order_acquire); /* partner: hmci_request_start */
  flush->busy = starting || !hmci_request_is_complete(request);
  return !flush->busy;
}

static hmc_status_t await_flush(hmc_peer_t *peer, flush_t *flush, uint64_t deadline) {
  hmc_context_t *context = peer->context;
  uint64_t until = hmci_now() + context->settings.spin;
  for (;;) {
    uint32_t seen = atomic_load(&context->waitset.completions);
    do_for_loop(context, peer);
    peer->transport->ops->progress(peer->connection->state);
    if (flush->second) flush->second->transport->ops->progress(flush->second->connection->state);
    flush->busy = false;
    hmci_requests_each(context, look_for_busy, flush);
    if (!flush->busy) return HMC_SUCCESS;
    uint64_t now = hmci_now();
    if (now >= deadline) return hmci_fail(HMC_TIMEOUT, "flush: operations to %s are still pending", peer->where);
    if (now >= until && !hmci_loop_is_own(context->loop)) hmci_waitset_sleep(&context->waitset, seen, deadline);
  }
}

hmc_status_t hmc_peer_flush(hmc_peer_t *peer, uint64_t timeout_ms) {
  if (!peer) return hmci_fail(HMC_INVALID_CONFIG, "hmc_peer_flush: peer is NULL");
  hmc_context_t *context = peer->context;
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  flush_t flush = {.peer = peer, .second = hmci_peer_second(peer)};
  for (int i = 0; i < HMCI_SHARDS; i++) {
    pthread_mutex_lock(&context->shards[i].lock);
    flush.counts[i] = context->shards[i].count;
    pthread_mutex_unlock(&context->shards[i].lock);
  }
  hmci_waitset_enter(&context->waitset);
  hmc_status_t status = await_flush(peer, &flush, hmci_context_deadline(context, timeout_ms));
  hmci_waitset_leave(&context->waitset);
  return status;
}

hmc_status_t hmc_context_event_descriptor(hmc_context_t *context, int *descriptor) {
  if (!context || !descriptor)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_event_descriptor: context or descriptor is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&context->request_lock);
  int event = atomic_load(&context->waitset.event);
  if (event < 0) {
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) status = hmci_fail(HMC_NO_MEMORY, "eventfd failed: %s", strerror(errno));
    atomic_store_explicit(&context->waitset.event, event, memory_order_release); /* partner: hmci_waitset_tell */
  }
  pthread_mutex_unlock(&context->request_lock);
  if (status == HMC_SUCCESS) *descriptor = event;
  return status;
}
