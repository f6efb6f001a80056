/* What devices report of themselves and their ports. */
#include "verbs.h"

#include "pairing.h"
#include "poll.h"

/* What an event says of a device, or of one of its ports, concerns the rails there: a port that went down needs not be
 * waited for until the hardware has retried, and one that came up is tried at once. What it says of a queue pair, which
 * may be gone by now, is not looked at. */
static void tell_rails(verbs_device_t *device, const struct ibv_async_event *event) {
  hmci_list_t *head = &device->transport->connections;
  for (hmci_list_t *link = head->next; link != head; link = link->next) {
    verbs_connection_t *connection = HMCI_CONTAINER(link, verbs_connection_t, link);
    for (uint32_t i = 0; i < connection->rail_count; i++) {
      verbs_rail_t *rail = &connection->rails[i];
      if (rail->device != device) continue;
      bool port = device->transport->ports[rail->mine].number == event->element.port_num;
      if (event->event_type == IBV_EVENT_DEVICE_FATAL) hmci_verbs_pairing_device_failed(rail);
      if (event->event_type == IBV_EVENT_PORT_ERR && port) hmci_verbs_pairing_break(rail, true);
      if (event->event_type == IBV_EVENT_PORT_ACTIVE && port) hmci_verbs_pairing_port_up(rail);
    }
  }
  hmci_verbs_settle(device->transport);
}

bool hmci_verbs_on_event(hmci_watch_t *watch, uint32_t events) {
  verbs_device_t *device = HMCI_CONTAINER(watch, verbs_device_t, events);
  struct ibv_async_event event;
  if (!events) return false;
  while (ibv_get_async_event(device->context, &event) == 0) {
    const char *name = ibv_get_device_name(device->context->device);
    bool fatal = event.event_type == IBV_EVENT_DEVICE_FATAL;
    hmci_log(fatal ? HMC_LOG_ERROR : HMC_LOG_DEBUG, "RDMA device %s: %s", name, ibv_event_type_str(event.event_type));
    /* First: who destroys a queue pair waits, with the lock held, until its events are acknowledged. */
    ibv_ack_async_event(&event);
    pthread_mutex_lock(&device->transport->lock);
    tell_rails(device, &event);
    pthread_mutex_unlock(&device->transport->lock);
  }
  return false;
}
