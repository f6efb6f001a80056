/* Notifications: the queue of messages that peers send after their data.
 *
 * Bounded per peer by credits (post.h), for a target that never looks must neither stop its service thread nor grow. */
#include "notification.h"

#include <stdlib.h>
#include <string.h>

static hmci_notice_t *notice_of(hmci_list_t *link) {
  return HMCI_CONTAINER(HMCI_CONTAINER(link, hmci_poll_event_t, link), hmci_notice_t, event);
}

hmc_status_t hmci_notification_check(const hmc_peer_t *peer, size_t size) {
  const hmci_transport_ops_t *ops = peer->transport->ops;
  if (size > HMC_NOTIFICATION_MAX)
    return hmci_fail(HMC_INVALID_CONFIG, "a notification of %zu B: at most %d", size, HMC_NOTIFICATION_MAX);
  if (ops->notification_most && size > ops->notification_most)
    return hmci_fail(HMC_UNSUPPORT, "a notification of %zu B: %s carries at most %u B", size, hmci_transport_text(ops),
                     ops->notification_most);
  if (!(peer->features & HMCI_FEATURE_GRANTS) && size > HMCI_NOTIFICATION_OLD)
    return hmci_fail(HMC_UNSUPPORT, "a notification of %zu B: %s is of an older release and takes at most %d B", size,
                     peer->where, HMCI_NOTIFICATION_OLD);
  return HMC_SUCCESS;
}

hmc_status_t hmci_notification_put(const hmci_host_t *host, void *connection, const void *data, size_t size) {
  hmc_context_t *context = host->owner;
  hmc_peer_t *peer = HMCI_CONTAINER(connection, hmci_connection_t, state)->peer;
  hmc_status_t status = hmci_post_arrive(&peer->post, size);
  if (status != HMC_SUCCESS) return status;
  hmci_stats_add(&peer->stats->notifications, 1); /* its stream has one thread */
  hmci_notice_t *notice = malloc(sizeof *notice + size);
  if (!notice) {
    hmci_post_take(peer, size);
    return HMC_NO_MEMORY;
  }
  hmci_event_init(&notice->event, HMC_EVENT_NOTIFICATION);
  notice->peer = peer;
  notice->size = size;
  memcpy(notice->data, data, size);
  hmci_event_add(&context->events, &notice->event);
  hmci_waitset_tell(&context->waitset); /* for those who wait by the context's descriptor */
  return HMC_SUCCESS;
}

void hmci_notice_taken(hmci_notice_t *notice) {
  if (notice->peer) hmci_post_take(notice->peer, notice->size);
}

void hmci_notifications_orphan(hmc_context_t *context, const hmc_peer_t *peer) {
  hmci_list_t *list = &context->events.waiting[HMC_EVENT_NOTIFICATION];
  pthread_mutex_lock(&context->events.lock);
  for (hmci_list_t *link = list->next; link != list; link = link->next) {
    if (notice_of(link)->peer == peer) notice_of(link)->peer = NULL;
  }
  pthread_mutex_unlock(&context->events.lock);
}

void hmci_notifications_destroy(hmc_context_t *context) {
  hmci_list_t *list = &context->events.waiting[HMC_EVENT_NOTIFICATION];
  while (!hmci_list_is_empty(list)) {
    hmci_notice_t *notice = notice_of(list->next);
    hmci_event_drop(&context->events, &notice->event);
    free(notice);
  }
}

void hmc_notification_free(void *data) {
  if (data) free(HMCI_CONTAINER(data, hmci_notice_t, data));
}

/* Takes the oldest out of the queue when it fits. With the events' lock held. */
static hmc_status_t take(hmc_context_t *context, size_t capacity, size_t *size, hmci_notice_t **out) {
  hmci_events_t *events = &context->events;
  hmci_notice_t *notice = notice_of(events->waiting[HMC_EVENT_NOTIFICATION].next);
  *size = notice->size;
  if (notice->size > capacity) {
    pthread_cond_broadcast(&events->happened); /* somebody else who waits may have the room */
    return hmci_fail(HMC_OUT_OF_RANGE, "the next notification has %zu B, there is room for %zu", notice->size,
                     capacity);
  }
  hmci_event_remove(events, &notice->event);
  hmci_notice_taken(notice);
  *out = notice;
  return HMC_SUCCESS;
}

hmc_status_t hmc_notification_receive(hmc_context_t *context, void *data, size_t capacity, size_t *size,
                                      hmc_peer_t **peer, uint64_t timeout_ms) {
  if (!context || !size || (!data && capacity)) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_notification_receive: context, data or size is NULL");
  }
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmci_events_t *events = &context->events;
  unsigned kinds = HMC_EVENT_BIT(HMC_EVENT_NOTIFICATION);
  uint64_t deadline = hmci_context_deadline(context, timeout_ms);
  hmci_notice_t *notice = NULL;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&events->lock);
  if (!hmci_event_oldest(events, kinds) && deadline)
    status = hmci_context_check_waiting(context, "hmc_notification_receive");
  bool asked = status == HMC_SUCCESS;
  if (asked) status = hmci_events_await(events, kinds, deadline);
  if (status == HMC_SUCCESS) status = take(context, capacity, size, &notice);
  if (notice && peer) *peer = notice->peer;
  pthread_mutex_unlock(&events->lock);
  if (status == HMC_TIMEOUT) return hmci_fail(status, "no notification within the deadline");
  if (status == HMC_CANCELLED)
    return hmci_fail(status, "waiting for a notification was interrupted, or its context ends");
  if (!notice) return status;
  if (data && notice->size) memcpy(data, notice->data, notice->size);
  free(notice);
  return HMC_SUCCESS;
}
