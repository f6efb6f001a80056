/* The completion of requests: what is reported of it, and the program's callbacks.
 *
 * Callbacks run in the first service thread, some at a time, without the loop's lock. Who frees a request calls the
 * callback that is still due, and waits for one that runs elsewhere. Locking: `callback.lock`, see core.h. */
#include "request.h"

#include "../base/recorder.h"

#include <sched.h>

enum { CALLBACKS_AT_ONCE = 16 };
enum { LOOK_AGAIN = 1000000 }; /* nanoseconds until a request that was being started is looked at again */

static void queue_callback(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->callback.lock);
  bool first = hmci_list_is_empty(&context->callback.due);
  hmci_list_append(&context->callback.due, &request->due);
  pthread_mutex_unlock(&context->callback.lock);
  if (first) hmci_loop_set_timer(context->loop, &context->callback.timer, 0);
}

/* One of the two things has happened that must have before the request is returned as an event. */
void hmci_request_report_event(hmc_request_t *request) {
  if (atomic_fetch_sub(&request->event_parts, 1) == 1) hmci_event_add(&request->context->events, &request->event);
}

/* What a parked operation waited for is there. Its peer may be closed meanwhile, unless it is parked still: who closes
 * the peer takes it out first, and then waits for those who use the request. */
static void stir(hmc_request_t *request) {
  hmci_request_enter(request);
  atomic_store(&request->parked.due, true);
  if (atomic_load(&request->parked.waits)) hmci_post_stir(request->peer);
  hmci_request_leave(request);
}

/* Its time is counted and recorded. */
static void end_timed(const hmc_request_t *request, hmc_status_t status) {
  hmci_operation_kind_t kind = request->chain[0].kind;
  uint64_t took = hmci_now() - request->begun;
  hmci_stats_end(hmci_peer_known(request->peer)->stats, (hmc_latency_kind_t)kind, status, took);
  hmci_record((hmc_record_kind_t)(HMC_RECORD_PUT + kind), status, request->length, took, request->end.where);
}

/* An operation of a request is about to be complete. */
void hmci_request_on_completed(hmci_operation_t *operation) {
  hmc_request_t *request = operation->owner;
  bool fetches = request->fetched && operation == &request->chain[0];
  if (fetches && operation->status == HMC_SUCCESS) *request->fetched = operation->atomic.fetched;
  if (request->posted && operation == request->parked.before) stir(request);
  if (operation != hmci_request_last(request)) return;
  if (request->begun) end_timed(request, operation->status);
  if (request->parent) hmci_request_end_part(request->parent, operation->status);
  if (request->charged && operation->status != HMC_SUCCESS) hmci_post_refund(request->peer, operation->message_size);
  if (request->callback) queue_callback(request);
  if (request->tells) hmci_request_report_event(request);
}

/* The next request whose callback can run, which then counts as being called; NULL. */
static hmc_request_t *next_callback(hmc_context_t *context) {
  hmc_request_t *request = NULL;
  pthread_mutex_lock(&context->callback.lock);
  if (!hmci_list_is_empty(&context->callback.due)) {
    request = HMCI_CONTAINER(context->callback.due.next, hmc_request_t, due);
    if (atomic_load_explicit(&request->starting, memory_order_acquire)) { /* partner: hmci_request_start */
      hmci_loop_set_timer(context->loop, &context->callback.timer, hmci_now() + LOOK_AGAIN);
      request = NULL;
    } else {
      hmci_list_remove(&request->due);
    }
  }
  context->callback.running = request;
  pthread_mutex_unlock(&context->callback.lock);
  return request;
}

/* A callback that runs: one that frees a request may call another one's. */
typedef struct call {
  const hmc_context_t *context;
  const struct call *outer;
} call_t;

/* In a thread that runs a callback: it must not wait for another one. */
static _Thread_local const call_t *calling;

bool hmci_context_is_calling_back(const hmc_context_t *context) {
  const call_t *call = calling;
  while (call && call->context != context) call = call->outer;
  return call;
}

static void call_back(hmc_request_t *request) {
  const call_t call = {request->context, calling};
  while (!hmci_request_is_complete(request)) hmci_pause(); /* the completing thread is a few instructions from it */
  calling = &call;
  request->callback(request, hmci_request_status(request), request->user);
  calling = call.outer;
}

/* Some at a time: a callback that starts the next operation, which is complete at once, must not keep the thread. */
void hmci_requests_call_back(hmci_timer_t *timer) {
  hmc_context_t *context = HMCI_CONTAINER(timer, hmc_context_t, callback.timer);
  hmc_request_t *request;
  for (int i = 0; i < CALLBACKS_AT_ONCE; i++) {
    if (!(request = next_callback(context))) return;
    call_back(request); /* which may free it */
    pthread_mutex_lock(&context->callback.lock);
    bool orphan = context->callback.is_orphan;
    context->callback.running = NULL;
    context->callback.is_orphan = false;
    pthread_mutex_unlock(&context->callback.lock);
    if (orphan) hmci_request_give(request);
  }
  pthread_mutex_lock(&context->callback.lock);
  bool more = !hmci_list_is_empty(&context->callback.due);
  pthread_mutex_unlock(&context->callback.lock);
  if (more) hmci_loop_set_timer(context->loop, timer, 0);
}

/* A request is about to be freed: its callback has been called when this returns. One that is still due is called by
 * this thread; one that runs in the service thread is waited for, but not in a callback: two could wait for each other.
 * False: it will be given back by the thread that runs its callback. */
bool hmci_request_await_callback(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->callback.lock);
  bool due = !hmci_list_is_empty(&request->due), left = false;
  hmci_list_remove(&request->due);
  bool inside = hmci_loop_is_own(context->loop); /* the callback itself frees */
  while (!due && !inside && !left && context->callback.running == request) {
    left = context->callback.is_orphan = calling != NULL;
    pthread_mutex_unlock(&context->callback.lock);
    if (!left) sched_yield();
    pthread_mutex_lock(&context->callback.lock);
  }
  pthread_mutex_unlock(&context->callback.lock);
  if (due) {
    request->freeing = true;
    call_back(request);
  }
  return !left;
}
