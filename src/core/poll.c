/* hmc_poll, its descriptor and interrupting it; and hmc_context_accept, which waits for one kind of event. */
#include "notification.h"
#include "request.h"

#include <hmc/poll.h>
#include <stdlib.h>
#include <string.h>

/* Since this release; members that came later are written where the caller has them. */
enum { LEAST_SIZE = offsetof(hmc_event_t, data_size) + sizeof(size_t) };

static void fill_completion(hmc_event_t *out, hmci_poll_event_t *event) {
  hmc_request_t *request = HMCI_CONTAINER(event, hmc_request_t, event);
  /* The completing and the starting thread are a few instructions from these. */
  while (!hmci_request_is_complete(request)) hmci_pause();
  while (atomic_load_explicit(&request->starting, memory_order_acquire)) hmci_pause(); /* partner: hmci_request_start */
  out->request = request;
  out->status = hmci_request_last(request)->status;
  out->user = request->user;
  if (request->is_setup) {
    out->peer = request->peer_made;
    out->remote = request->remote;
  }
}

static void fill_notification(hmc_event_t *out, hmci_poll_event_t *event) {
  hmci_notice_t *notice = HMCI_CONTAINER(event, hmci_notice_t, event);
  out->peer = notice->peer;
  out->data = notice->data;
  out->data_size = notice->size;
}

/* Takes an event out of its list. With the events' lock held. */
static void take(hmc_context_t *context, hmci_poll_event_t *event, hmc_event_t *out) {
  *out = (hmc_event_t){.kind = event->kind, .status = HMC_SUCCESS};
  hmci_event_remove(&context->events, event);
  switch (event->kind) {
  case HMC_EVENT_COMPLETION: fill_completion(out, event); break;
  case HMC_EVENT_ARRIVAL: out->peer = HMCI_CONTAINER(event, hmc_peer_t, arrival); break;
  case HMC_EVENT_NOTIFICATION:
    fill_notification(out, event);
    hmci_notice_taken(HMCI_CONTAINER(event, hmci_notice_t, event));
    break;
  case HMC_EVENT_PEER_LOST: out->peer = HMCI_CONTAINER(event, hmc_peer_t, lost); break;
  }
}

static size_t take_all(hmc_context_t *context, unsigned kinds, hmc_event_t *events, size_t capacity) {
  size_t size = events->size, count = 0;
  hmci_poll_event_t *event;
  while (count < capacity && (event = hmci_event_oldest(&context->events, kinds))) {
    hmc_event_t out;
    take(context, event, &out);
    out.size = size;
    memcpy((uint8_t *)events + count++ * size, &out, size < sizeof out ? size : sizeof out);
  }
  return count;
}

/* Looks for a while without sleeping: what is on its way is here before a thread has slept and woken. With the events'
 * lock held, which it lets go meanwhile. */
static void spin(hmc_context_t *context, unsigned kinds, uint64_t deadline) {
  hmci_events_t *events = &context->events;
  uint32_t seen = atomic_load(&events->changes);
  uint64_t until = hmci_now() + context->settings.spin;
  bool there = hmci_event_oldest(events, kinds) || events->interrupts != events->noticed;
  pthread_mutex_unlock(&events->lock);
  if (until > deadline) until = deadline;
  while (!there && atomic_load(&events->changes) == seen && hmci_now() < until) hmci_pause();
  pthread_mutex_lock(&events->lock);
}

static hmc_status_t check_kinds(const char *call, unsigned kinds) {
  if (kinds && !(kinds & ~HMC_EVENT_ALL)) return HMC_SUCCESS;
  return hmci_fail(HMC_INVALID_CONFIG, "%s: no set of kinds 0x%x", call, kinds);
}

static hmc_status_t check_poll(hmc_context_t *context, unsigned kinds, hmc_event_t *events, size_t capacity,
                               size_t *count) {
  if (!context || !events || !count || !capacity)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_poll: context, events or count is NULL, or capacity is 0");
  if (events->size < LEAST_SIZE || events->size > 16 * sizeof *events)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_poll: events of %zu B: begin with HMC_EVENT_INIT", events->size);
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  return check_kinds("hmc_poll", kinds);
}

hmc_status_t hmc_poll_kinds(hmc_context_t *context, unsigned kinds, hmc_event_t *events, size_t capacity, size_t *count,
                            uint64_t timeout_ms) {
  hmc_status_t status = check_poll(context, kinds, events, capacity, count);
  if (status != HMC_SUCCESS) return status;
  hmci_events_t *all = &context->events;
  uint64_t deadline = hmci_context_deadline(context, timeout_ms);
  *count = 0;
  pthread_mutex_lock(&all->lock);
  all->guests++;
  if (deadline) spin(context, kinds, deadline);
  bool interrupted = all->interrupts != all->noticed;
  if (interrupted) {
    status = HMC_CANCELLED;
  } else if (!hmci_event_oldest(all, kinds) && deadline) {
    status = hmci_context_check_waiting(context, "hmc_poll");
    if (status == HMC_SUCCESS) status = hmci_events_await(all, kinds, deadline);
  }
  if (status == HMC_CANCELLED) all->noticed = all->interrupts;
  if (status == HMC_SUCCESS) *count = take_all(context, kinds, events, capacity);
  if (status == HMC_SUCCESS && !*count) status = HMC_TIMEOUT;
  hmci_events_update_descriptor(all);
  all->guests--;
  pthread_mutex_unlock(&all->lock);
  if (status == HMC_CANCELLED) return hmci_fail(status, "hmc_poll was interrupted");
  if (status == HMC_TIMEOUT) return hmci_fail(status, "nothing happened within the deadline");
  return status;
}

hmc_status_t hmc_poll(hmc_context_t *context, hmc_event_t *events, size_t capacity, size_t *count,
                      uint64_t timeout_ms) {
  return hmc_poll_kinds(context, HMC_EVENT_ALL, events, capacity, count, timeout_ms);
}

hmc_status_t hmc_context_poll_descriptor(hmc_context_t *context, unsigned kinds, int *descriptor) {
  if (!context || !descriptor)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_poll_descriptor: context or descriptor is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = check_kinds("hmc_context_poll_descriptor", kinds);
  return status == HMC_SUCCESS ? hmci_events_descriptor(&context->events, kinds, descriptor) : status;
}

void hmc_context_interrupt(hmc_context_t *context) {
  if (context && !hmci_context_is_foreign(context)) hmci_events_interrupt(&context->events, false);
}

hmc_status_t hmc_context_accept(hmc_context_t *context, uint64_t timeout_ms, hmc_peer_t **out) {
  if (!context || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_accept: context or peer is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmci_events_t *events = &context->events;
  unsigned kinds = HMC_EVENT_BIT(HMC_EVENT_ARRIVAL);
  uint64_t deadline = hmci_context_deadline(context, timeout_ms);
  hmc_peer_t *peer = NULL;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&events->lock);
  if (!hmci_event_oldest(events, kinds) && deadline) status = hmci_context_check_waiting(context, "hmc_context_accept");
  if (status == HMC_SUCCESS) status = hmci_events_await(events, kinds, deadline);
  if (status == HMC_SUCCESS) {
    hmci_poll_event_t *event = hmci_event_oldest(events, kinds);
    peer = HMCI_CONTAINER(event, hmc_peer_t, arrival);
    hmci_event_remove(events, event);
  }
  pthread_mutex_unlock(&events->lock);
  if (status == HMC_TIMEOUT) return hmci_fail(status, "no peer connected within the deadline");
  if (status == HMC_CANCELLED) return hmci_fail(status, "waiting for a peer was interrupted, or its context ends");
  if (status == HMC_SUCCESS) *out = peer;
  return status;
}
