/* Starting and freeing requests: operations that the caller does not wait for at once. Ending them: request_end.c.
 *
 * A request is a chain of at most four operations: the one asked for, its signal, its notification, the result of a
 * check. Its last one's completion is its own.
 *
 * Large copies to and from mapped regions, and what a transport moves by a thread that waits, are done by the context's
 * workers (work.h), so that the call that starts them returns at once.
 *
 * Locking: while `starting`, a request is the starting thread's: others see it in its list, and where it goes and until
 * when, but nothing else of it; the timer does not end it and its callback is put off, because its operations may not
 * be the transport's yet. */
#include "request.h"
#include "notification.h"

#include <stdlib.h>
#include <string.h>

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static hmc_status_t check_options(const hmci_start_t *what) {
  const hmc_operation_options_t *options = what->options;
  if (!options) return HMC_SUCCESS;
  const hmc_peer_t *peer = what->remote->peer;
  if (options->flags & ~(unsigned)(HMC_OPERATION_CHECKSUM | HMC_OPERATION_EVENT | HMC_OPERATION_AFTER_STREAM))
    return hmci_fail(HMC_INVALID_CONFIG, "unknown operation flags 0x%x", options->flags);
  if (options->notification_size && !options->notification)
    return hmci_fail(HMC_INVALID_CONFIG, "a notification of %zu B, and no bytes of it: it is NULL",
                     options->notification_size);
  hmc_status_t status = hmci_notification_check(peer, options->notification_size);
  if (status != HMC_SUCCESS) return status;
  const hmc_signal_t *signal = options->signal;
  if (!signal) return HMC_SUCCESS;
  status = hmci_atomic_check(signal->remote, signal->offset, signal->operation, 8);
  if (status != HMC_SUCCESS) return hmci_fail_prefix(status, "signal: ");
  if (signal->remote->peer != peer) return hmci_fail(HMC_INVALID_CONFIG, "a signal goes to the peer of its operation");
  return HMC_SUCCESS;
}

/* Does the core look at the data, because the transport does not? */
static bool is_to_be_checked(const hmci_start_t *what) {
  bool wanted =
      what->options && what->options->flags & HMC_OPERATION_CHECKSUM && what->kind <= HMCI_GET && what->length;
  return wanted && !what->remote->peer->transport->ops->checksums && !hmci_is_mapped(what->local, what->remote);
}

static hmci_operation_t *add_operation(hmc_request_t *request, hmci_operation_kind_t kind, hmc_region_t *local,
                                       hmc_remote_t *remote, uint64_t deadline) {
  hmci_operation_t *operation = &request->chain[request->count];
  hmci_operation_prepare(operation, kind, local, remote, deadline);
  operation->owner = request; /* any of them may have something to say of its end */
  operation->chained = request->count > 0;
  operation->message_size = 0;
  request->count++;
  return operation;
}

/* The lease of an operation on a leased region; else 0. */
static uint64_t lease_of(const hmc_remote_t *remote, const hmc_operation_options_t *options) {
  return options && remote->view.rights & HMCI_REMOTE_LEASED ? options->lease : 0;
}

static void add_data(hmc_request_t *request, const hmci_start_t *what, uint64_t deadline) {
  hmci_operation_t *operation = add_operation(request, what->kind, what->local, what->remote, deadline);
  operation->single = what->single;
  operation->lease = lease_of(what->remote, what->options);
  operation->atomic = what->atomic;
  operation->awaited = what->awaited;
  operation->checksum = what->options && what->options->flags & HMC_OPERATION_CHECKSUM;
  if (what->segments) {
    operation->segments = what->segments;
    operation->segment_count = what->count;
    operation->single.length = what->length;
  }
}

static hmc_status_t add_rest(hmc_request_t *request, const hmc_operation_options_t *options, uint64_t deadline) {
  if (options && options->signal) {
    const hmc_signal_t *signal = options->signal;
    hmci_operation_t *operation = add_operation(request, HMCI_ATOMIC, NULL, signal->remote, deadline);
    operation->single = (hmci_segment_t){.remote = signal->offset, .length = 8};
    operation->lease = lease_of(signal->remote, options);
    operation->atomic = hmci_atomic_for_wire(signal->operation, signal->value, 0, false);
  }
  if (options && options->notification_size) {
    request->message = malloc(options->notification_size);
    if (!request->message) return hmci_fail(HMC_NO_MEMORY, "no memory for a notification");
    memcpy(request->message, options->notification, options->notification_size);
    hmci_operation_t *operation = add_operation(request, HMCI_NOTIFY, NULL, NULL, deadline);
    operation->message = request->message;
    operation->message_size = (uint32_t)options->notification_size;
    operation->single = (hmci_segment_t){.length = options->notification_size};
  }
  return HMC_SUCCESS;
}

/* Does by this thread what is mapped. True when the operation is done. */
static bool run_mapped(hmci_operation_t *operation, const hmc_region_t *local, hmc_remote_t *remote,
                       hmc_status_t *status) {
  if (!remote->mapped) return false;
  *status = HMC_SUCCESS;
  if (operation->kind == HMCI_ATOMIC) {
    hmci_atomic_t *atomic = &operation->atomic;
    uint64_t old = hmci_atomic_apply(remote->mapped + operation->single.remote, (unsigned)operation->single.length,
                                     atomic->operation, atomic->operand, atomic->compare);
    atomic->fetched = atomic->fetch ? old : 0;
    return true;
  }
  if (!hmci_is_mapped(local, remote)) return false;
  for (uint32_t i = 0; i < operation->segment_count; i++) {
    const hmci_segment_t *segment = &operation->segments[i];
    hmci_copy_mapped(operation->kind, local, remote, segment);
    if (operation->checksum && hmci_crc32c(0, local->view.base + segment->local, segment->length) !=
                                   hmci_crc32c(0, remote->mapped + segment->remote, segment->length)) {
      *status = HMC_CORRUPT;
    }
  }
  return true;
}

/* Ends the first operation, which is done, and those behind it that this thread can do by itself; returns how many.
 * With the last one the request may be gone. */
static uint32_t end_head(hmc_request_t *request, hmc_status_t status) {
  uint32_t count = request->count, done = 1;
  hmc_remote_t *signalled = request->signalled;
  hmci_operation_complete(&request->chain[0], status);
  while (done < count) {
    hmci_operation_t *next = &request->chain[done];
    if (status == HMC_SUCCESS && (next->kind != HMCI_ATOMIC || !run_mapped(next, NULL, signalled, &status))) break;
    hmci_operation_complete(next, status);
    done++;
  }
  if (done < count) request->chain[done].chained = false; /* what it came after is done */
  return done;
}

/* Runs the head of the chain that this thread can do by itself; returns the number of operations it ended. */
static uint32_t run_head(hmc_request_t *request, const hmci_start_t *what) {
  hmc_status_t status = HMC_SUCCESS;
  if (what->length && !run_mapped(&request->chain[0], what->local, what->remote, &status)) return 0;
  return end_head(request, status);
}

/* The notification of a chain goes with it where there is credit for it, else it is parked. */
static void post(hmc_request_t *request) {
  hmci_operation_t *last = hmci_request_last(request);
  request->charged = request->posted = false;
  if (last->kind != HMCI_NOTIFY) return; /* or data are checked: those that went without credit are in the next grant */
  request->charged = hmci_post_charge(request->peer, last->message_size);
  request->posted = !request->charged;
  if (!last->completed) {
    last->completed = hmci_request_on_completed; /* gives credit back */
    last->quiet = true;
  }
}

/* Submits what is left of a chain, `done` of which has ended; a notification without credit is parked behind it. */
static hmc_status_t submit(hmc_request_t *request, uint32_t done) {
  hmc_peer_t *peer = request->peer;
  uint32_t count = request->count - done;
  if (request->posted) {
    count--;
    hmci_operation_t *before = count ? &request->chain[request->count - 2] : NULL;
    if (before) before->completed = hmci_request_on_completed;
    request->parked = (hmci_parked_t){
        .operations = hmci_request_last(request), .count = 1, .before = before, .charged = &request->charged};
    hmci_list_init(&request->parked.link);
    if (!hmci_post_park(peer, &request->parked)) return HMC_PEER_LOST;
    if (!count) {
      hmci_post_stir(peer);
      return HMC_SUCCESS;
    }
  } else if (request->checksummed) {
    count = 1; /* what comes after data that are checked follows later */
  }
  hmc_status_t status = peer->transport->ops->submit(peer->connection->state, &request->chain[done], count);
  if (status == HMC_SUCCESS || !request->posted || hmci_post_unpark(peer, &request->parked)) return status;
  /* The connection has ended meanwhile, and the parked notification with it: the request has started, and ends. */
  for (uint32_t i = done; i < done + count; i++) hmci_operation_complete(&request->chain[i], status);
  return HMC_SUCCESS;
}

/* Goes on with a chain whose data have been moved, with that status. */
static void go_on(hmci_work_t *work, hmc_status_t status) {
  hmc_request_t *request = HMCI_CONTAINER(work, hmc_request_t, work);
  uint32_t count = request->count, done = end_head(request, status);
  if (done == count) return;
  status = submit(request, done);
  for (; status != HMC_SUCCESS && done < count; done++) hmci_operation_complete(&request->chain[done], status);
}

/* Counts a request; one that this thread does not end by itself is timed, too. */
static void count_start(hmc_request_t *request, const hmci_start_t *what) {
  hmci_stats_t *stats = hmci_peer_known(request->peer)->stats;
  request->begun = 0;
  switch (what->kind) {
  case HMCI_PUT: hmci_stats_put(stats, what->length); break;
  case HMCI_GET: hmci_stats_get(stats, what->length); break;
  case HMCI_ATOMIC: hmci_stats_add(&hmci_stats_stripe(stats)->atomics, 1); break;
  default: return;
  }
  if (what->remote->mapped && (what->kind == HMCI_ATOMIC || hmci_is_mapped(what->local, what->remote))) return;
  request->begun = hmci_now();
  hmci_operation_t *last = hmci_request_last(request);
  if (last->completed) return;
  last->completed = hmci_request_on_completed;
  last->quiet = true;
}

/* A copy that takes long is the workers'. */
static bool is_copied(const hmci_start_t *what) {
  return what->length >= HMCI_WORK_LEAST && what->kind <= HMCI_GET && hmci_is_mapped(what->local, what->remote);
}

/* So is what the transport moves by a thread that waits. */
static bool is_moved(const hmc_request_t *request, const hmci_start_t *what) {
  const hmci_transport_ops_t *ops = request->peer->transport->ops;
  if (!ops->moves || !what->length || what->kind > HMCI_GET || what->remote->mapped || request->checksummed)
    return false;
  return !request->chain[0].checksum && ops->moves(request->peer->connection->state, what->remote->state,
                                                   what->local->view.ops, what->kind, what->length);
}

/* Gives the data to the workers where they are theirs. */
static bool start_work(hmc_request_t *request, const hmci_start_t *what) {
  bool moved = is_moved(request, what);
  request->working = moved || is_copied(what);
  if (!request->working) return false;
  hmci_requests_set_timer(request->context, request->deadline);
  request->work.operation = &request->chain[0];
  request->work.peer = request->peer;
  request->work.mapped = moved ? NULL : what->remote->mapped;
  request->work.go_on = go_on;
  return hmci_work_start(&request->context->workers, &request->work);
}

void hmci_request_init(hmc_request_t *request, const hmc_operation_options_t *options) {
  request->message = NULL;
  request->fetched = NULL;
  request->length = request->begun = 0;
  request->callback = options ? options->callback : NULL;
  request->user = options ? options->user : NULL;
  request->tells = options && options->flags & HMC_OPERATION_EVENT;
  atomic_store(&request->event_parts, 2);
  request->signalled = NULL;
  request->count = 0;
  request->checksummed = request->working = request->charged = request->posted = false;
}

/* The last one's end is the request's. */
static void watch_last(hmc_request_t *request) {
  hmci_operation_t *last = hmci_request_last(request);
  last->owner = request;
  last->waitset = &request->context->waitset;
  if (request->callback || request->tells || request->parent) last->completed = hmci_request_on_completed;
}

void hmci_request_make_single(hmc_request_t *request, hmci_operation_kind_t kind) {
  add_operation(request, kind, NULL, NULL, request->deadline);
  watch_last(request);
}

void hmci_request_started(hmc_request_t *request) {
  if (request->tells) hmci_request_report_event(request);
  atomic_store_explicit(&request->starting, false, memory_order_release); /* partners: the timer, who calls back, and
                                                                             who returns it as an event */
}

/* Starts the chain: by workers, by this thread where the memory is mapped, by the transport. */
static hmc_status_t launch(hmc_request_t *request, const hmci_start_t *what) {
  hmc_context_t *context = request->context;
  hmc_status_t status = HMC_SUCCESS;
  bool checked = request->checksummed;
  uint64_t deadline = request->deadline;
  uint32_t count = request->count;
  if (start_work(request, what)) return status; /* it may be gone */
  request->working = false;
  uint32_t done = run_head(request, what);
  if (done == count) return status; /* it may be gone */
  hmci_requests_set_timer(context, deadline);
  if (checked) hmci_checksum_begin(request);
  status = submit(request, done);
  if (status != HMC_SUCCESS && checked) hmci_checksum_claim(request);
  return status;
}

/* Starts the chain of a request whose event has come, or ends it. */
static void begin(hmc_request_t *request) {
  const hmci_operation_t *first = &request->chain[0];
  hmci_start_t what = {
      .kind = first->kind, .local = request->local, .remote = request->remote, .length = request->length};
  uint32_t count = request->count;
  hmc_status_t status = launch(request, &what);
  if (status == HMC_SUCCESS) return;
  /* What was done by this thread is complete; the rest is this thread's to end. */
  for (uint32_t i = 0; i < count; i++) {
    if (!hmci_operation_is_complete(&request->chain[i])) hmci_operation_complete(&request->chain[i], status);
  }
}

/* Makes the chain of a request. */
static hmc_status_t make_chain(hmc_request_t *request, const hmci_start_t *what, bool checked) {
  const hmc_operation_options_t *options = what->options;
  hmci_request_init(request, options);
  request->remote = what->remote;
  hmci_far_end_note(&request->end, what->remote);
  request->length = what->length;
  request->fetched = what->fetched;
  request->signalled = options && options->signal ? options->signal->remote : NULL;
  request->parent = what->parent;
  add_data(request, what, request->deadline);
  hmc_status_t status = add_rest(request, options, request->deadline);
  if (status != HMC_SUCCESS) return status;
  if (checked) hmci_checksum_prepare(request);
  watch_last(request);
  if (request->fetched) request->chain[0].completed = hmci_request_on_completed;
  post(request);
  count_start(request, what);
  return HMC_SUCCESS;
}

static hmc_status_t start_request(const hmci_start_t *what, hmc_request_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: request is NULL", hmci_operation_name(what->kind));
  hmc_status_t status = check_options(what);
  if (status != HMC_SUCCESS) return status;
  hmc_peer_t *peer = what->remote->peer;
  bool checked = is_to_be_checked(what);
  if (checked && !(what->remote->view.rights & HMC_REMOTE_READ)) {
    return hmci_fail(HMC_DENIED, "put to %s: a checksum by %s takes the right to read, which region '%s' does not give",
                     peer->where, hmci_transport_text(peer->transport->ops), what->remote->name);
  }
  uint64_t deadline = hmci_context_deadline(peer->context, what->options ? what->options->timeout_ms : 0);
  hmc_request_t *request = hmci_request_take(peer->context, peer, what->local, deadline);
  if (!request) return HMC_NO_MEMORY;
  hmci_delay_t delay = {0};
  bool waits = false;
  status = make_chain(request, what, checked);
  if (status == HMC_SUCCESS) status = hmci_delay_prepare(what->options, &delay, &waits);
  if (status != HMC_SUCCESS) {
    if (request->charged) hmci_post_refund(peer, hmci_request_last(request)->message_size);
    atomic_store_explicit(&request->starting, false, memory_order_release); /* partner: the timer */
    hmci_request_give(request);
    return status;
  }
  *out = request; /* before the callback can run */
  if (waits) {
    request->delayed = true;
    hmci_requests_set_timer(peer->context, deadline);
    hmci_delay_add(request, &delay, begin);
  } else {
    status = launch(request, what);
  }
  if (status == HMC_SUCCESS) {
    hmci_request_started(request);
    return status; /* from here on the callback may have freed it */
  }
  atomic_store_explicit(&request->starting, false, memory_order_release); /* partner: the timer */
  if (request->charged) hmci_post_refund(peer, hmci_request_last(request)->message_size);
  hmci_request_give(request);
  *out = NULL;
  return hmci_operation_explain(what->kind, status, what->remote, what->length);
}

/* Data that go by the peer's second transport; what follows them goes by the first one, once they are there. */
static hmc_status_t start_second(hmci_start_t *what, hmc_request_t **request) {
  if (what->options && (what->options->signal || what->options->notification_size))
    return hmci_request_start_group(what, 1, what->options, request);
  what->remote = what->remote->second;
  return start_request(what, request);
}

hmc_status_t hmci_request_start(const hmci_start_t *given, hmc_request_t **request) {
  hmci_start_t what = *given;
  hmc_operation_options_t options;
  if (given->options) {
    hmc_status_t status = hmci_sized_read(&options, sizeof options, given->options, "hmc_operation_options_t");
    if (status != HMC_SUCCESS) return status;
    what.options = &options; /* it is read during the call only */
  }
  return what.remote->second && what.kind <= HMCI_GET ? start_second(&what, request) : start_request(&what, request);
}

static void end_parked(hmci_parked_t *parked, hmc_status_t status) {
  hmci_request_end_rest(HMCI_CONTAINER(parked, hmc_request_t, parked), status);
}

/* The request for the whole of a group, with its signal and notification parked behind the parts. */
static hmc_status_t make_whole(const hmci_start_t *first, uint32_t count, const hmc_operation_options_t *options,
                               hmc_request_t **out) {
  hmc_peer_t *peer = first->remote->peer;
  uint64_t deadline = hmci_context_deadline(peer->context, options ? options->timeout_ms : 0);
  hmci_group_t *group = calloc(1, sizeof *group + count * sizeof(*group->parts));
  hmc_request_t *whole = group ? hmci_request_take(peer->context, peer, NULL, deadline) : NULL;
  if (!whole) {
    free(group);
    return group ? HMC_NO_MEMORY : hmci_fail(HMC_NO_MEMORY, "no memory for a batch");
  }
  group->count = count;
  atomic_store(&group->left, count + 1);
  hmci_request_init(whole, options);
  whole->remote = first->remote;
  hmci_far_end_note(&whole->end, first->remote);
  add_operation(whole, first->kind, NULL, first->remote, deadline);
  hmc_status_t status = add_rest(whole, options, deadline);
  if (status != HMC_SUCCESS) {
    free(group);
    hmci_request_give(whole);
    return status;
  }
  whole->group = group;
  watch_last(whole);
  if (whole->count > 1) {
    hmci_request_last(whole)->completed = hmci_request_on_completed;
    whole->chain[0].completed = hmci_request_on_completed;
    whole->posted = true;
    whole->parked = (hmci_parked_t){.operations = &whole->chain[1],
                                    .count = whole->count - 1,
                                    .before = &whole->chain[0],
                                    .charged = &whole->charged,
                                    .end = end_parked};
    hmci_list_init(&whole->parked.link);
  }
  *out = whole;
  return HMC_SUCCESS;
}

hmc_status_t hmci_request_start_group(const hmci_start_t *starts, uint32_t count,
                                      const hmc_operation_options_t *options, hmc_request_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "%s a peer: request is NULL", hmci_operation_name(starts[0].kind));
  hmci_start_t first = starts[0];
  hmc_operation_options_t own = {.size = sizeof own};
  hmc_operation_options_t part = {.size = sizeof part};
  hmc_request_t *whole = NULL;
  hmc_status_t status = options ? hmci_sized_read(&own, sizeof own, options, "hmc_operation_options_t") : HMC_SUCCESS;
  first.options = &own;
  if (status == HMC_SUCCESS) status = check_options(&first);
  if (status == HMC_SUCCESS) status = make_whole(&first, count, &own, &whole);
  if (status != HMC_SUCCESS) return status;
  part.timeout_ms = own.timeout_ms;
  part.lease = own.lease;
  part.event = own.event;
  part.stream_memory = own.stream_memory;
  part.stream = own.stream;
  part.flags = own.flags & (HMC_OPERATION_CHECKSUM | HMC_OPERATION_AFTER_STREAM);
  hmci_requests_set_timer(whole->context, whole->deadline);
  bool lost = whole->posted && !hmci_post_park(whole->peer, &whole->parked);
  if (lost) status = HMC_PEER_LOST;
  hmci_group_t *group = whole->group;
  for (uint32_t i = 0; i < count; i++) {
    hmci_start_t one = starts[i];
    one.remote = hmci_remote_for_data(one.remote);
    one.options = &part;
    one.parent = whole;
    whole->length += one.length;
    if (status == HMC_SUCCESS) status = start_request(&one, &group->parts[i]);
    if (!group->parts[i]) hmci_request_end_part(whole, status); /* it did not start, nor do those behind it */
  }
  *out = whole;
  hmci_request_end_part(whole, status);
  for (uint32_t i = 1; lost && i < whole->count; i++) hmci_operation_complete(&whole->chain[i], status);
  hmci_request_started(whole);
  return HMC_SUCCESS; /* a failure is the request's own status */
}

static hmc_status_t start(hmci_operation_kind_t kind, hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                          uint64_t remote_offset, uint64_t length, const hmc_operation_options_t *options,
                          hmc_request_t **request) {
  hmc_status_t status = hmci_operation_check(kind, local, offset, remote, remote_offset, length);
  if (status != HMC_SUCCESS) return status;
  hmci_start_t what = {.kind = kind,
                       .local = local,
                       .remote = remote,
                       .single = {offset, remote_offset, length},
                       .length = length,
                       .options = options};
  return hmci_request_start(&what, request);
}

hmc_status_t hmc_put_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                        uint64_t length, const hmc_operation_options_t *options, hmc_request_t **request) {
  return start(HMCI_PUT, local, offset, remote, remote_offset, length, options, request);
}

hmc_status_t hmc_get_nb(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                        uint64_t length, const hmc_operation_options_t *options, hmc_request_t **request) {
  return start(HMCI_GET, local, offset, remote, remote_offset, length, options, request);
}

hmc_status_t hmc_atomic_nb(hmc_remote_t *remote, uint64_t remote_offset, hmc_atomic_operation_t operation,
                           unsigned width, uint64_t operand, uint64_t compare, uint64_t *fetched,
                           const hmc_operation_options_t *options, hmc_request_t **request) {
  hmc_status_t status = hmci_atomic_check(remote, remote_offset, operation, width);
  if (status != HMC_SUCCESS) return status;
  hmci_start_t what = {.kind = HMCI_ATOMIC,
                       .remote = remote,
                       .single = {.remote = remote_offset, .length = width},
                       .atomic = hmci_atomic_for_wire(operation, operand, compare, fetched != NULL),
                       .fetched = fetched,
                       .length = width,
                       .options = options};
  return hmci_request_start(&what, request);
}

/* ---- freeing ----------------------------------------------------------------------------------------------------- */

static void free_group(hmc_request_t *request) {
  hmci_group_t *group = request->group;
  if (!group) return;
  pthread_mutex_lock(&request->shard->lock); /* the timer may be at it */
  request->group = NULL;
  pthread_mutex_unlock(&request->shard->lock);
  for (uint32_t i = 0; i < group->count; i++) hmc_request_free(group->parts[i]);
  free(group);
}

void hmc_request_free(hmc_request_t *request) {
  if (!request || hmci_context_is_foreign(request->context)) return;
  if (request->freeing) return; /* by the callback that this call runs */
  hmc_request_cancel(request);
  if (request->delayed) hmci_delay_leave(request);
  if (request->working) hmci_work_leave(&request->work);
  free_group(request);
  if (request->tells) hmci_event_drop(&request->context->events, &request->event);
  if (!request->callback || hmci_request_await_callback(request)) hmci_request_give(request);
}
