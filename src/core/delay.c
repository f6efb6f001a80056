/* Requests that begin after an event of a device: what a stream had when the program asked.
 *
 * No descriptor tells of a device's event, so the loop looks: again and again for the context's spin time, and then
 * every millisecond, until the events have come. A request begins in the loop; from then on it is one like any other,
 * but that those who wait for it sleep.
 *
 * Locking: `delay.lock` guards the list, and is held while a request begins or ends here, so that a thread that
 * ends one finds that it has begun, that it has not, or that another thread has ended it. One may end while it still
 * begins, with its connection; it is freed behind the lock. */
#include "request.h"

#include <string.h>

enum { LATER = 1000000 }; /* nanoseconds until the next look at events that take their time */

static hmc_context_t *context_of(hmci_timer_t *timer) { return HMCI_CONTAINER(timer, hmc_context_t, delay.timer); }

/* With `delay.lock` held. */
static void take_out(hmc_request_t *request) {
  hmci_list_remove(&request->delay.link);
  hmci_delay_drop(&request->delay);
}

void hmci_delay_drop(hmci_delay_t *delay) {
  for (int i = 0; i < 2; i++) {
    hmc_memory_event_free(delay->events[i]);
    delay->events[i] = NULL;
  }
}

/* HMC_IN_PROGRESS until all have come. */
static hmc_status_t look(hmci_delay_t *delay) {
  for (int i = 0; i < 2; i++) {
    hmc_status_t status = delay->events[i] ? hmc_memory_event_test(delay->events[i]) : HMC_SUCCESS;
    if (status != HMC_SUCCESS) return status;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_delay_prepare(const hmc_operation_options_t *options, hmci_delay_t *delay, bool *waits) {
  *delay = (hmci_delay_t){0};
  *waits = false;
  if (!options) return HMC_SUCCESS;
  hmc_status_t status = HMC_SUCCESS;
  if (options->flags & HMC_OPERATION_AFTER_STREAM)
    status = hmc_memory_event_record(options->stream_memory, options->stream, &delay->events[1]);
  if (status != HMC_SUCCESS) return status;
  if (options->event) hmci_memory_event_retain(options->event);
  delay->events[0] = options->event;
  status = look(delay);
  *waits = status == HMC_IN_PROGRESS;
  if (*waits) return HMC_SUCCESS;
  hmci_delay_drop(delay);
  return status;
}

void hmci_delay_add(hmc_request_t *request, const hmci_delay_t *delay, void (*begin)(hmc_request_t *request)) {
  hmc_context_t *context = request->context;
  memcpy(request->delay.events, delay->events, sizeof delay->events);
  request->delay.begin = begin;
  pthread_mutex_lock(&context->delay.lock);
  hmci_list_append(&context->delay.list, &request->delay.link);
  context->delay.moved = hmci_now();
  pthread_mutex_unlock(&context->delay.lock);
  hmci_loop_set_timer(context->loop, &context->delay.timer, 0);
}

static void complete_all(hmc_request_t *request, hmc_status_t status) {
  uint32_t count = request->count;
  for (uint32_t i = 0; i < count; i++) hmci_operation_complete(&request->chain[i], status);
}

bool hmci_delay_end(hmc_request_t *request, hmc_status_t status) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->delay.lock);
  bool waits = !hmci_list_is_empty(&request->delay.link);
  if (waits) {
    take_out(request);
    complete_all(request, status);
  }
  bool over = waits || hmci_request_is_complete(request);
  pthread_mutex_unlock(&context->delay.lock);
  return over;
}

void hmci_delay_leave(hmc_request_t *request) {
  hmc_context_t *context = request->context;
  pthread_mutex_lock(&context->delay.lock);
  pthread_mutex_unlock(&context->delay.lock);
}

/* Begins a request whose event has come; what has become of the far end meanwhile counts. */
static void begin(hmc_request_t *request, hmc_status_t status) {
  const hmci_operation_t *first = &request->chain[0];
  take_out(request);
  if (status == HMC_SUCCESS && first->kind <= HMCI_GET)
    status = hmci_operation_check(first->kind, request->local, 0, request->remote, 0, 0);
  if (status == HMC_SUCCESS && first->kind == HMCI_ATOMIC)
    status = hmci_atomic_check(request->remote, first->single.remote, first->atomic.operation,
                               (unsigned)first->single.length);
  if (status == HMC_SUCCESS) {
    request->delay.begin(request);
  } else {
    complete_all(request, status);
  }
}

void hmci_delays_run(hmci_timer_t *timer) {
  hmc_context_t *context = context_of(timer);
  pthread_mutex_lock(&context->delay.lock);
  for (hmci_list_t *link = context->delay.list.next; link != &context->delay.list;) {
    hmc_request_t *request = HMCI_CONTAINER(link, hmc_request_t, delay.link);
    link = link->next;
    hmc_status_t status = look(&request->delay);
    if (status == HMC_IN_PROGRESS) continue;
    context->delay.moved = hmci_now();
    begin(request, status);
  }
  bool more = !hmci_list_is_empty(&context->delay.list);
  uint64_t now = hmci_now();
  bool soon = now - context->delay.moved < context->settings.spin;
  pthread_mutex_unlock(&context->delay.lock);
  if (more) hmci_loop_set_timer(context->loop, timer, soon ? now : now + LATER);
}

void hmci_delays_end(hmc_context_t *context, const hmc_peer_t *peer, hmc_status_t status) {
  pthread_mutex_lock(&context->delay.lock);
  for (hmci_list_t *link = context->delay.list.next; link != &context->delay.list;) {
    hmc_request_t *request = HMCI_CONTAINER(link, hmc_request_t, delay.link);
    link = link->next;
    if (request->peer != peer) continue;
    take_out(request);
    complete_all(request, status);
  }
  pthread_mutex_unlock(&context->delay.lock);
}
