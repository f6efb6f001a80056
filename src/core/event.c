/* Events: the lists, and waiting for them (see event.h). */
#include "event.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

void hmci_events_open(hmci_events_t *events) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&events->lock, NULL);
  pthread_cond_init(&events->happened, &monotonic);
  pthread_condattr_destroy(&monotonic);
  for (int i = 0; i < HMCI_EVENT_KINDS; i++) hmci_list_init(&events->waiting[i]);
  events->descriptor = -1;
}

void hmci_events_close(hmci_events_t *events) {
  if (events->descriptor >= 0) close(events->descriptor);
  pthread_cond_destroy(&events->happened);
  pthread_mutex_destroy(&events->lock);
}

void hmci_event_init(hmci_poll_event_t *event, hmc_event_kind_t kind) {
  hmci_list_init(&event->link);
  event->kind = kind;
}

/* The descriptor is readable exactly while there is something to report. */
void hmci_events_update_descriptor(hmci_events_t *events) {
  if (events->descriptor < 0) return;
  bool something = events->interrupts != events->noticed;
  for (int i = 0; i < HMCI_EVENT_KINDS; i++) something |= events->kinds >> i & 1 && events->count[i];
  if (something == events->raised) return;
  uint64_t value = 1;
  ssize_t moved =
      something ? write(events->descriptor, &value, sizeof value) : read(events->descriptor, &value, sizeof value);
  (void)moved; /* it holds 0 or 1 */
  events->raised = something;
}

void hmci_event_add(hmci_events_t *events, hmci_poll_event_t *event) {
  pthread_mutex_lock(&events->lock);
  event->order = ++events->order;
  hmci_list_append(&events->waiting[event->kind], &event->link);
  events->count[event->kind]++;
  atomic_fetch_add(&events->changes, 1);
  hmci_events_update_descriptor(events);
  if (events->guests) pthread_cond_broadcast(&events->happened);
  pthread_mutex_unlock(&events->lock);
}

void hmci_event_remove(hmci_events_t *events, hmci_poll_event_t *event) {
  hmci_list_remove(&event->link);
  events->count[event->kind]--;
  hmci_events_update_descriptor(events);
}

static bool drop(hmci_events_t *events, hmci_poll_event_t *event, bool unawaited) {
  pthread_mutex_lock(&events->lock);
  bool waits = !hmci_list_is_empty(&event->link) && !(unawaited && events->waiters[event->kind]);
  if (waits) hmci_event_remove(events, event);
  pthread_mutex_unlock(&events->lock);
  return waits;
}

bool hmci_event_drop(hmci_events_t *events, hmci_poll_event_t *event) { return drop(events, event, false); }
bool hmci_event_drop_unawaited(hmci_events_t *events, hmci_poll_event_t *event) { return drop(events, event, true); }

hmci_poll_event_t *hmci_event_oldest(hmci_events_t *events, unsigned kinds) {
  hmci_poll_event_t *oldest = NULL;
  for (int i = 0; i < HMCI_EVENT_KINDS; i++) {
    if (!(kinds >> i & 1) || hmci_list_is_empty(&events->waiting[i])) continue;
    hmci_poll_event_t *event = HMCI_CONTAINER(events->waiting[i].next, hmci_poll_event_t, link);
    if (!oldest || event->order < oldest->order) oldest = event;
  }
  return oldest;
}

static void count_waiter(hmci_events_t *events, unsigned kinds, uint32_t by) {
  for (int i = 0; i < HMCI_EVENT_KINDS; i++) {
    if (kinds >> i & 1) events->waiters[i] += by;
  }
}

hmc_status_t hmci_events_await(hmci_events_t *events, unsigned kinds, uint64_t deadline) {
  struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
  uint32_t interrupts = events->interrupts;
  hmc_status_t status = HMC_SUCCESS;
  events->guests++;
  count_waiter(events, kinds, 1);
  while (status == HMC_SUCCESS && !hmci_event_oldest(events, kinds)) {
    if (events->closing || events->interrupts != interrupts) {
      status = HMC_CANCELLED;
    } else if (deadline == HMCI_NEVER) {
      pthread_cond_wait(&events->happened, &events->lock);
    } else if (!deadline || pthread_cond_timedwait(&events->happened, &events->lock, &until) == ETIMEDOUT) {
      if (!hmci_event_oldest(events, kinds)) status = HMC_TIMEOUT;
    }
  }
  count_waiter(events, kinds, (uint32_t)-1);
  events->guests--;
  return status;
}

void hmci_events_interrupt(hmci_events_t *events, bool closing) {
  pthread_mutex_lock(&events->lock);
  events->closing |= closing;
  events->interrupts++;
  atomic_fetch_add(&events->changes, 1);
  hmci_events_update_descriptor(events);
  pthread_cond_broadcast(&events->happened);
  while (closing && events->guests) {
    pthread_mutex_unlock(&events->lock);
    sched_yield();
    pthread_mutex_lock(&events->lock);
  }
  pthread_mutex_unlock(&events->lock);
}

hmc_status_t hmci_events_descriptor(hmci_events_t *events, unsigned kinds, int *descriptor) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&events->lock);
  if (events->descriptor < 0) events->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (events->descriptor < 0) {
    status = hmci_fail(HMC_NO_MEMORY, "eventfd failed: %s", strerror(errno));
  } else {
    events->kinds = kinds;
    hmci_events_update_descriptor(events);
    *descriptor = events->descriptor;
  }
  pthread_mutex_unlock(&events->lock);
  return status;
}
