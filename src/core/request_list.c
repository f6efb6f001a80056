/* The lists of requests, and the timer that ends those past their deadline.
 *
 * A request is taken from a spare list and goes back to it, so that a stream of them allocates nothing. All that are
 * not freed are listed; while there are any, a timer in the loop looks for those past their deadline, so that also a
 * request nobody asks about ends. The lists are divided into shards, one for some threads each, so that threads do not
 * share a lock; how many requests there may be in all is counted where one is allocated or freed.
 *
 * Locking: a shard's lock guards its lists and is held while one of them is ended by the timer, so that it cannot be
 * freed meanwhile; no two are held at a time. `request_lock` guards the timer. */
#include "request.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum { SPARE = 1024 };         /* requests that a shard keeps for later */
enum { LOOK_AGAIN = 1000000 }; /* nanoseconds until a request that was being started is looked at again */

/* ---- the shards -------------------------------------------------------------------------------------------------- */

static hmci_shard_t *own_shard(hmc_context_t *context) {
  static _Atomic uint32_t threads;
  static _Thread_local uint32_t number;
  if (!number) number = atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed) + 1;
  return &context->shards[number % HMCI_SHARDS];
}

void hmci_requests_each(hmc_context_t *context, hmci_request_visit_t visit, void *argument) {
  bool on = true;
  for (int i = 0; i < HMCI_SHARDS && on; i++) {
    hmci_shard_t *shard = &context->shards[i];
    pthread_mutex_lock(&shard->lock);
    for (hmci_list_t *link = shard->requests.next; link != &shard->requests && on; link = link->next) {
      on = visit(HMCI_CONTAINER(link, hmc_request_t, link), argument);
    }
    pthread_mutex_unlock(&shard->lock);
  }
}

static hmc_request_t *make_request(hmc_context_t *context) {
  if (atomic_fetch_add(&context->request_made, 1) >= context->settings.requests) {
    atomic_fetch_sub(&context->request_made, 1);
    hmci_fail(HMC_NO_MEMORY, "%llu requests of the context are not freed: wait for some, and free them (HMC_REQUESTS)",
              (unsigned long long)context->settings.requests);
    return NULL;
  }
  hmc_request_t *request = malloc(sizeof *request);
  if (!request) {
    atomic_fetch_sub(&context->request_made, 1);
    hmci_fail(HMC_NO_MEMORY, "no memory for a request");
    return NULL;
  }
  hmci_list_init(&request->link);
  hmci_list_init(&request->due);
  hmci_work_init(&request->work);
  hmci_event_init(&request->event, HMC_EVENT_COMPLETION);
  hmci_list_init(&request->parked.link);
  hmci_list_init(&request->delay.link);
  request->context = context;
  request->message = NULL;
  request->text = NULL;
  atomic_init(&request->starting, false);
  atomic_init(&request->users, 0);
  return request;
}

static void free_request(hmc_request_t *request) {
  atomic_fetch_sub(&request->context->request_made, 1);
  free(request->message);
  free(request->text);
  free(request->group);
  free(request);
}

hmc_request_t *hmci_request_take(hmc_context_t *context, hmc_peer_t *peer, hmc_region_t *local, uint64_t deadline) {
  hmci_shard_t *shard = own_shard(context);
  hmc_request_t *request = NULL;
  pthread_mutex_lock(&shard->lock);
  if (!hmci_list_is_empty(&shard->spare)) {
    request = HMCI_CONTAINER(shard->spare.next, hmc_request_t, link);
    hmci_list_remove(&request->link);
    shard->spare_count--;
  } else if (!(request = make_request(context))) {
    goto out;
  }
  atomic_store_explicit(&request->starting, true, memory_order_relaxed); /* published by the locks of the lists */
  request->shard = shard;
  request->freeing = false;
  request->group = NULL;
  request->parent = NULL;
  request->setup = NULL;
  request->is_setup = request->delayed = false;
  request->peer = peer;
  request->local = local;
  request->deadline = deadline;
  request->number = ++shard->count;
  hmci_list_append(&shard->requests, &request->link);
out:
  pthread_mutex_unlock(&shard->lock);
  return request;
}

void hmci_request_give(hmc_request_t *request) {
  hmci_shard_t *shard = request->shard;
  free(request->message);
  request->message = NULL;
  free(request->text);
  request->text = NULL;
  pthread_mutex_lock(&shard->lock);
  hmci_list_remove(&request->link);
  bool kept = shard->spare_count < SPARE;
  if (kept) {
    hmci_list_append(&shard->spare, &request->link);
    shard->spare_count++;
  }
  pthread_mutex_unlock(&shard->lock);
  if (!kept) free_request(request);
}

/* ---- deadlines --------------------------------------------------------------------------------------------------- */

void hmci_requests_set_timer(hmc_context_t *context, uint64_t deadline) {
  if (deadline >= atomic_load_explicit(&context->request_check, memory_order_relaxed)) return;
  pthread_mutex_lock(&context->request_lock);
  if (deadline < atomic_load_explicit(&context->request_check, memory_order_relaxed)) {
    atomic_store_explicit(&context->request_check, deadline, memory_order_relaxed);
    hmci_loop_set_timer(context->loop, &context->request_timer, deadline);
  }
  pthread_mutex_unlock(&context->request_lock);
}

typedef struct look {
  uint64_t now, next;
} look_t;

static bool expire(hmc_request_t *request, void *argument) {
  look_t *look = argument;
  uint64_t deadline = request->deadline;
  if (atomic_load_explicit(&request->starting, memory_order_acquire)) { /* partner: hmci_request_start */
    if (deadline <= look->now) deadline = look->now + LOOK_AGAIN;
  } else if (hmci_request_is_complete(request)) {
    return true;
  } else if (deadline <= look->now) {
    hmci_request_end(request, HMC_TIMEOUT);
    return true;
  }
  if (deadline < look->next) look->next = deadline;
  return true;
}

/* Requests that are started while this looks set the timer by themselves. */
void hmci_requests_expire(hmci_timer_t *timer) {
  hmc_context_t *context = HMCI_CONTAINER(timer, hmc_context_t, request_timer);
  look_t look = {hmci_now(), HMCI_NEVER};
  pthread_mutex_lock(&context->request_lock);
  atomic_store_explicit(&context->request_check, HMCI_NEVER, memory_order_relaxed);
  pthread_mutex_unlock(&context->request_lock);
  hmci_requests_each(context, expire, &look);
  hmci_requests_set_timer(context, look.next);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

typedef struct use {
  const hmc_peer_t *peer; /* NULL: any */
  bool found;
} use_t;

static bool find_user(hmc_request_t *request, void *argument) {
  use_t *use = argument;
  use->found = (!use->peer || request->peer == use->peer) && atomic_load(&request->users);
  return !use->found;
}

void hmci_requests_await_users(hmc_context_t *context, const hmc_peer_t *peer) {
  use_t use = {peer, false};
  for (;;) {
    hmci_requests_each(context, find_user, &use);
    if (!use.found) return;
    use.found = false;
    sched_yield();
  }
}

typedef struct local {
  const hmc_region_t *region;
  bool busy;
} local_t;

static bool end_local(hmc_request_t *request, void *argument) {
  local_t *local = argument;
  if (request->local != local->region) return true;
  if (atomic_load_explicit(&request->starting, memory_order_acquire)) { /* partner: hmci_request_start */
    local->busy = true;
  } else if (!hmci_request_is_complete(request)) {
    hmci_request_end(request, HMC_CANCELLED);
    local->busy |= !hmci_request_is_complete(request);
  }
  return true;
}

void hmci_requests_end_local(hmc_context_t *context, const hmc_region_t *region) {
  local_t local = {region, false};
  for (;;) {
    hmci_requests_each(context, end_local, &local);
    if (!local.busy) return;
    local.busy = false;
    sched_yield();
  }
}

typedef struct end_of_peer {
  const hmc_peer_t *peer;
  hmc_status_t status;
} end_of_peer_t;

/* One whose data are checked has an operation that the transport does not know, and so does not end; one over several peers
 * has parts at the others. */
static bool end_beyond(hmc_request_t *request, void *argument) {
  const end_of_peer_t *end = argument;
  bool starting = atomic_load_explicit(&request->starting, memory_order_acquire); /* partner: hmci_request_start */
  if (starting || request->peer != end->peer || hmci_request_is_complete(request)) return true;
  if (!request->checksummed && !request->group) return true;
  hmci_request_end(request, end->status);
  return true;
}

void hmci_requests_end_beyond(hmc_context_t *context, const hmc_peer_t *peer, hmc_status_t status) {
  end_of_peer_t end = {peer, status};
  hmci_requests_each(context, end_beyond, &end);
}

static void free_list(hmci_list_t *list) {
  while (!hmci_list_is_empty(list)) {
    hmc_request_t *request = HMCI_CONTAINER(list->next, hmc_request_t, link);
    hmci_list_remove(&request->link);
    free_request(request);
  }
}

void hmci_requests_open(hmc_context_t *context) {
  for (int i = 0; i < HMCI_SHARDS; i++) {
    hmci_shard_t *shard = &context->shards[i];
    pthread_mutex_init(&shard->lock, NULL);
    hmci_list_init(&shard->requests);
    hmci_list_init(&shard->spare);
  }
}

void hmci_requests_close(hmc_context_t *context) {
  for (int i = 0; i < HMCI_SHARDS; i++) pthread_mutex_destroy(&context->shards[i].lock);
}

void hmci_requests_destroy(hmc_context_t *context) {
  hmci_requests_await_users(context, NULL);
  hmci_loop_clear_timer(context->loop, &context->request_timer);
  hmci_loop_clear_timer(context->loop, &context->callback.timer);
  hmci_loop_clear_timer(context->loop, &context->checksum.timer);
  hmci_loop_clear_timer(context->loop, &context->delay.timer);
  int event = atomic_load(&context->waitset.event);
  if (event >= 0) close(event);
  for (int i = 0; i < HMCI_SHARDS; i++) {
    free_list(&context->shards[i].requests);
    free_list(&context->shards[i].spare);
  }
}
