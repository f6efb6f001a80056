/* Who takes completions, and when the loop hears of them.
 *
 * A thread that waits for an operation polls the device's queues itself (a driver), so that a small put costs no
 * thread switch and no system call of ours. Only without drivers are the queues armed: that of sends while anything
 * is in progress; that of messages always, for requests, which are sent as solicited events, and for answers too while
 * any is due. Invariant, whenever the lock is free and there are no drivers: what may come wakes the loop, or the loop
 * is going to look soon; a thread that waits again and again need not have it reported in between, unless something is
 * left to be posted, or somebody else is to be informed. A queue is polled once more
 * after it was armed, for what came before that. */
#include "poll.h"

#include "message.h"
#include "notes.h"
#include "pairing.h"
#include "pump.h"

#include <string.h>

enum { BATCH = 16, ROUNDS = 16 };

/* ---- taking ------------------------------------------------------------------------------------------------------ */

/* An entry failed, not for being flushed: who is to blame? True: the path. */
static bool blame(verbs_rail_t *rail, const verbs_entry_t *entry, const struct ibv_wc *completion) {
  if (completion->status == IBV_WC_WR_FLUSH_ERR) return false;
  char address[VERBS_GID_TEXT];
  hmci_verbs_gid_text(rail->peer_gid.raw, address);
  hmci_log(HMC_LOG_DEBUG, "RDMA to %s: %s (vendor's code 0x%x)", address, ibv_wc_status_str(completion->status),
           completion->vendor_err);
  verbs_completion_status_t kind = entry->operation ? hmci_verbs_completion_status(completion->status) : VERBS_PATH;
  if (kind == VERBS_ACCESS) hmci_verbs_queue_ask(rail->connection, entry->operation);
  if (kind == VERBS_OPERATION) {
    hmci_log(HMC_LOG_ERROR, "RDMA to %s: an operation failed: %s", address, ibv_wc_status_str(completion->status));
    hmci_verbs_queue_blame(rail->connection, entry->operation, HMC_ERROR);
  }
  return kind == VERBS_PATH;
}

/* A completion of the entry with that count came. */
static void complete(verbs_rail_t *rail, uint32_t count, const struct ibv_wc *completion) {
  if (count - rail->retired >= rail->posted - rail->retired) return; /* of a queue pair that is gone */
  bool failed = completion->status != IBV_WC_SUCCESS;
  bool up = rail->phase == VERBS_UP || rail->phase == VERBS_PROBING;
  uint32_t done = count + !failed;
  if (rail->retired != done) hmci_verbs_pairing_works(rail);
  bool flushed = hmci_verbs_retire(rail, done, true);
  if (flushed && rail->phase == VERBS_PROBING) hmci_verbs_pairing_proven(rail);
  if (failed) {
    bool path = up && blame(rail, &rail->entries[count % VERBS_SEND_QUEUE], completion);
    hmci_verbs_retire(rail, count + 1, false);
    if (up) hmci_verbs_pairing_break(rail, path);
  }
  if (rail->phase == VERBS_FLUSHING && rail->retired == rail->posted) hmci_verbs_pairing_flushed(rail);
  if (hmci_verbs_pump_is_waiting(rail->connection)) hmci_verbs_touch(rail->connection);
}

static void take_sent(verbs_device_t *device, const struct ibv_wc *completion) {
  verbs_transport_t *transport = device->transport;
  uint32_t number = (uint32_t)(completion->wr_id >> 32), count = (uint32_t)completion->wr_id;
  verbs_rail_t *rail = number < transport->number_room ? transport->numbers[number] : NULL;
  if (rail) complete(rail, count, completion);
}

static verbs_rail_t *find_pair(verbs_device_t *device, uint32_t queue_pair) {
  hmci_list_t *head = &device->transport->connections;
  for (hmci_list_t *link = head->next; link != head; link = link->next) {
    verbs_connection_t *connection = HMCI_CONTAINER(link, verbs_connection_t, link);
    for (uint32_t i = 0; i < connection->rail_count; i++) {
      verbs_rail_t *rail = &connection->rails[i];
      if (rail->pair && rail->device == device && rail->pair->qp_num == queue_pair) return rail;
    }
  }
  return NULL;
}

static void take_received(verbs_device_t *device, const struct ibv_wc *completion) {
  verbs_rail_t *rail = completion->status == IBV_WC_SUCCESS ? find_pair(device, completion->qp_num) : NULL;
  verbs_connection_t *connection = rail ? rail->connection : NULL;
  if (connection && !connection->failed && !connection->cut) {
    const uint8_t *data = hmci_verbs_buffer_data(device, completion->wr_id);
    hmci_verbs_pairing_works(rail);
    if (hmci_verbs_answer_take(connection, data, completion->byte_len) != HMC_SUCCESS) {
      hmci_log(HMC_LOG_WARNING, "a connection is closed: %s", hmc_last_error());
      hmci_verbs_lose(connection, "it broke the protocol");
    }
  }
  hmci_verbs_buffer_post(device, completion->wr_id);
}

static bool take_from(verbs_device_t *device, struct ibv_cq *queue,
                      void (*take)(verbs_device_t *, const struct ibv_wc *)) {
  struct ibv_wc completions[BATCH];
  bool moved = false;
  int count = BATCH;
  for (int round = 0; round < ROUNDS && count == BATCH; round++) {
    count = ibv_poll_cq(queue, BATCH, completions);
    for (int i = 0; i < count; i++) take(device, &completions[i]);
    moved |= count > 0;
  }
  return moved;
}

/* ---- going on ---------------------------------------------------------------------------------------------------- */

void hmci_verbs_touch_all(verbs_transport_t *transport) {
  transport->starved = transport->returned = false;
  for (hmci_list_t *link = transport->connections.next; link != &transport->connections; link = link->next) {
    hmci_verbs_touch(HMCI_CONTAINER(link, verbs_connection_t, link));
  }
}

static void pump_touched(verbs_transport_t *transport) {
  if (transport->starved && transport->returned) hmci_verbs_touch_all(transport);
  while (!hmci_list_is_empty(&transport->touched)) {
    verbs_connection_t *connection = HMCI_CONTAINER(transport->touched.next, verbs_connection_t, touch);
    hmci_list_remove(&connection->touch);
    hmci_verbs_pump(connection);
  }
}

bool hmci_verbs_poll(verbs_device_t *device) {
  bool moved = take_from(device, device->sent, take_sent);
  moved |= take_from(device, device->received, take_received);
  if (moved) pump_touched(device->transport);
  return moved;
}

bool hmci_verbs_poll_all(verbs_connection_t *connection) {
  bool moved = false;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device) moved |= hmci_verbs_poll(connection->rails[i].device);
  }
  return moved;
}

void hmci_verbs_reap(verbs_connection_t *connection) {
  if (connection->main) take_from(connection->main->device, connection->main->device->sent, take_sent);
}

static bool sends_need_arming(const verbs_device_t *device) {
  return (device->transport->expected || device->posted) && !device->sent_armed;
}

static int wanted_arming(const verbs_device_t *device) { return device->transport->asked ? VERBS_ALL : VERBS_REQUESTS; }

/* Arms what is to wake the loop. True when something was armed that was not before. */
static bool arm(verbs_device_t *device) {
  bool armed = false;
  if (sends_need_arming(device)) armed = device->sent_armed = ibv_req_notify_cq(device->sent, 0) == 0;
  int wanted = wanted_arming(device);
  if ((int)device->received_armed < wanted) {
    if (ibv_req_notify_cq(device->received, wanted == VERBS_REQUESTS) == 0) {
      device->received_armed = wanted;
      armed = true;
    }
  }
  return armed;
}

void hmci_verbs_settle(verbs_transport_t *transport) {
  bool moved = true;
  while (moved) { /* what moves on one device may post to another one */
    moved = false;
    pump_touched(transport);
    for (uint32_t i = 0; i < transport->device_count; i++) {
      verbs_device_t *device = &transport->devices[i];
      if (device->started && !device->drivers && arm(device)) moved |= hmci_verbs_poll(device);
    }
  }
}

void hmci_verbs_settle_soon(verbs_transport_t *transport) {
  pump_touched(transport);
  for (uint32_t i = 0; i < transport->device_count; i++) {
    verbs_device_t *device = &transport->devices[i];
    if (!device->started || device->drivers || device->will_look) continue;
    if (!sends_need_arming(device) && (int)device->received_armed >= wanted_arming(device)) continue;
    hmci_loop_call_soon(transport->host->loop, &device->watch);
  }
}

static void take_events(verbs_device_t *device) {
  struct ibv_cq *queue;
  void *context;
  while (ibv_get_cq_event(device->channel, &queue, &context) == 0) {
    ibv_ack_cq_events(queue, 1);
    if (queue == device->sent) device->sent_armed = false;
    if (queue == device->received) device->received_armed = VERBS_OFF;
  }
}

/* Has a thread waited for something, and seen it come, since the last time that this was asked? Then it is likely to
 * do so again, and the loop stays out of its way. */
static bool is_attended(verbs_device_t *device) {
  bool attended = device->looks != device->looks_seen;
  device->looks_seen = device->looks;
  return attended;
}

static void look_later(verbs_device_t *device) {
  device->will_look = true;
  hmci_loop_set_timer(device->transport->host->loop, &device->look, hmci_now() + VERBS_LOOK);
}

void hmci_verbs_look(hmci_timer_t *timer) {
  verbs_device_t *device = HMCI_CONTAINER(timer, verbs_device_t, look);
  pthread_mutex_lock(&device->transport->lock);
  device->will_look = false;
  if (is_attended(device)) {
    look_later(device);
  } else {
    hmci_verbs_poll(device);
    hmci_verbs_settle(device->transport);
  }
  pthread_mutex_unlock(&device->transport->lock);
}

bool hmci_verbs_on_channel(hmci_watch_t *watch, uint32_t events) {
  verbs_device_t *device = HMCI_CONTAINER(watch, verbs_device_t, watch);
  bool moved = false;
  pthread_mutex_lock(&device->transport->lock);
  if (events & ~HMCI_SOON) take_events(device);
  if (events == HMCI_SOON && !device->drivers && is_attended(device)) {
    look_later(device);
  } else if (!device->drivers) {
    moved = hmci_verbs_poll(device);
    if (events || moved) hmci_verbs_settle(device->transport);
  }
  pthread_mutex_unlock(&device->transport->lock);
  return moved;
}
