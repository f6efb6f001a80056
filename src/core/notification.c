/* Notifications: the queue of small messages that peers send after their data.
 *
 * Bounded by HMC_NOTIFICATION_QUEUE, for a target that never looks must neither stop its service thread nor grow. */
#include "core.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct notice {
  hmci_list_t link;
  hmc_peer_t *peer; /* NULL: closed meanwhile */
  size_t size;
  uint8_t data[];
} notice_t;

hmc_status_t hmci_notification_put(const hmci_host_t *host, void *connection, const void *data, size_t size) {
  hmc_context_t *context = host->owner;
  notice_t *notice = malloc(sizeof *notice + size);
  if (!notice) return HMC_NO_MEMORY;
  notice->peer = HMCI_CONTAINER(connection, hmci_connection_t, state)->peer;
  notice->size = size;
  memcpy(notice->data, data, size);
  pthread_mutex_lock(&context->notice_lock);
  bool room = context->notice_count < HMC_NOTIFICATION_QUEUE;
  if (room) {
    hmci_list_append(&context->notices, &notice->link);
    context->notice_count++;
    pthread_cond_signal(&context->noticed);
  }
  pthread_mutex_unlock(&context->notice_lock);
  if (room) hmci_room_tell(&context->room); /* for those who wait by the context's descriptor */
  if (!room) free(notice);
  return room ? HMC_SUCCESS : HMC_NO_MEMORY;
}

void hmci_notifications_orphan(hmc_context_t *context, const hmc_peer_t *peer) {
  pthread_mutex_lock(&context->notice_lock);
  for (hmci_list_t *link = context->notices.next; link != &context->notices; link = link->next) {
    notice_t *notice = HMCI_CONTAINER(link, notice_t, link);
    if (notice->peer == peer) notice->peer = NULL;
  }
  pthread_mutex_unlock(&context->notice_lock);
}

void hmci_notifications_destroy(hmc_context_t *context) {
  while (!hmci_list_is_empty(&context->notices)) {
    notice_t *notice = HMCI_CONTAINER(context->notices.next, notice_t, link);
    hmci_list_remove(&notice->link);
    free(notice);
  }
}

/* Takes the oldest out of the queue when it fits; with `notice_lock` held. */
static hmc_status_t take(hmc_context_t *context, size_t capacity, size_t *size, notice_t **out) {
  notice_t *notice = HMCI_CONTAINER(context->notices.next, notice_t, link);
  *size = notice->size;
  if (notice->size > capacity) {
    pthread_cond_signal(&context->noticed); /* somebody else who waits may have the room */
    return hmci_fail(HMC_OUT_OF_RANGE, "the next notification has %zu B, there is room for %zu", notice->size,
                     capacity);
  }
  hmci_list_remove(&notice->link);
  context->notice_count--;
  *out = notice;
  return HMC_SUCCESS;
}

hmc_status_t hmc_notification_receive(hmc_context_t *context, void *data, size_t capacity, size_t *size,
                                      hmc_peer_t **peer, uint64_t timeout_ms) {
  if (!context || !size || (!data && capacity)) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_notification_receive: context, data or size is NULL");
  }
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  uint64_t deadline = hmci_context_deadline(context, timeout_ms);
  struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
  notice_t *notice = NULL;
  int failed = 0;
  pthread_mutex_lock(&context->notice_lock);
  hmc_status_t status = hmci_list_is_empty(&context->notices)
                            ? hmci_context_check_waiting(context, "hmc_notification_receive")
                            : HMC_SUCCESS;
  while (status == HMC_SUCCESS && hmci_list_is_empty(&context->notices) && !failed) {
    failed = pthread_cond_timedwait(&context->noticed, &context->notice_lock, &until);
  }
  if (status == HMC_SUCCESS) {
    status = hmci_list_is_empty(&context->notices) ? hmci_fail(HMC_TIMEOUT, "no notification within the deadline")
                                                   : take(context, capacity, size, &notice);
  }
  if (notice && peer) *peer = notice->peer;
  pthread_mutex_unlock(&context->notice_lock);
  if (!notice) return status;
  if (notice->size) memcpy(data, notice->data, notice->size);
  free(notice);
  return HMC_SUCCESS;
}
