/* Events: places in streams of devices, which programs make and requests wait for.
 *
 * The device's own event answers its end once; this keeps the answer for all who ask. An event that nobody refers to
 * any more, and that has not come, is kept aside until it has: nobody waits for a device to free one.
 *
 * Locking: an event's lock guards its answer; `aside_lock` the list of those that are kept aside. Neither is taken
 * while the other is held, but by `sweep`, which holds the latter alone: nobody else knows those events. */
#include "memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct hmc_memory_event {
  hmci_list_t link; /* aside_lock */
  _Atomic uint32_t references;
  pthread_mutex_t lock;
  const hmci_memory_ops_t *ops;
  hmci_event_t event;
  hmc_status_t status; /* lock; HMC_IN_PROGRESS until it has come */
};

static pthread_mutex_t aside_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_list_t aside = {&aside, &aside};

/* The answer; the device is asked where there is none yet. */
static hmc_status_t look(hmc_memory_event_t *event) {
  pthread_mutex_lock(&event->lock);
  if (event->status == HMC_IN_PROGRESS) event->status = event->ops->event_done(&event->event);
  hmc_status_t status = event->status;
  pthread_mutex_unlock(&event->lock);
  return status;
}

static void destroy(hmc_memory_event_t *event) {
  pthread_mutex_destroy(&event->lock);
  free(event);
}

/* Frees those that have come meanwhile. */
static void sweep(void) {
  pthread_mutex_lock(&aside_lock);
  for (hmci_list_t *link = aside.next; link != &aside;) {
    hmc_memory_event_t *event = HMCI_CONTAINER(link, hmc_memory_event_t, link);
    link = link->next;
    if (look(event) == HMC_IN_PROGRESS) continue;
    hmci_list_remove(&event->link);
    destroy(event);
  }
  pthread_mutex_unlock(&aside_lock);
}

hmc_status_t hmc_memory_event_record(hmc_memory_t memory, hmc_memory_stream_t stream, hmc_memory_event_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_event_record: event is NULL");
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  if (!ops->event_record || !ops->event_done)
    return hmci_fail(HMC_UNSUPPORT, "%s memory has no way to record events", ops->name);
  sweep();
  hmc_memory_event_t *event = calloc(1, sizeof *event);
  if (!event) return hmci_fail(HMC_NO_MEMORY, "no memory for an event");
  event->ops = ops;
  status = ops->event_record(memory.device, stream, &event->event);
  if (status != HMC_SUCCESS) {
    free(event);
    return status;
  }
  hmci_list_init(&event->link);
  atomic_init(&event->references, 1);
  pthread_mutex_init(&event->lock, NULL);
  event->status = HMC_IN_PROGRESS;
  *out = event;
  return HMC_SUCCESS;
}

hmc_status_t hmc_memory_event_test(hmc_memory_event_t *event) {
  if (!event) return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_event_test: event is NULL");
  hmc_status_t status = look(event);
  if (status == HMC_SUCCESS || status == HMC_IN_PROGRESS) return status;
  return hmci_fail(status, "what the %s stream had before the event has failed", event->ops->name);
}

void hmci_memory_event_retain(hmc_memory_event_t *event) { atomic_fetch_add(&event->references, 1); }

void hmc_memory_event_free(hmc_memory_event_t *event) {
  if (!event || atomic_fetch_sub(&event->references, 1) > 1) return;
  if (look(event) != HMC_IN_PROGRESS) {
    destroy(event);
    return;
  }
  pthread_mutex_lock(&aside_lock);
  hmci_list_append(&aside, &event->link);
  pthread_mutex_unlock(&aside_lock);
}
