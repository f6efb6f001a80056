/* Who takes completions, and when the loop hears of them.
 *
 * A thread that waits for an operation polls the device's queues itself (a driver), so that a small put costs no
 * thread switch and no system call of ours. Only without drivers are the queues armed: that of sends while anything
 * is in progress; that of messages always, for requests, which are sent as solicited events, and for answers too while
 * any is due. Invariant, whenever the lock is free and there are no drivers: what may come wakes the loop, or the loop
 * is going to look soon; a thread that waits again and again need not have it reported in between, unless something is
 * left to be posted, or somebody else is to be informed. A queue is polled once more
 * after it was armed, for what came before that. */
#include "verbs.h"

#include <sched.h>
#include <string.h>
#include <sys/epoll.h>

enum { BATCH = 16, ROUNDS = 16 };

void hmci_verbs_touch(verbs_connection_t *connection) {
  if (!hmci_list_is_empty(&connection->touch)) return;
  hmci_list_append(&connection->transport->touched, &connection->touch);
}

/* ---- taking ------------------------------------------------------------------------------------------------------ */

static void take_sent(verbs_device_t *device, const struct ibv_wc *completion) {
  verbs_transport_t *transport = device->transport;
  uint32_t number = (uint32_t)(completion->wr_id >> 32), count = (uint32_t)completion->wr_id;
  verbs_rail_t *rail = number < transport->number_room ? transport->numbers[number] : NULL;
  if (rail) hmci_verbs_ring_complete(rail, count, completion);
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
  uint32_t index = (uint32_t)completion->wr_id;
  verbs_rail_t *rail = completion->status == IBV_WC_SUCCESS ? find_pair(device, completion->qp_num) : NULL;
  verbs_connection_t *connection = rail ? rail->connection : NULL;
  if (connection && !connection->failed && !connection->cut) {
    const uint8_t *data = device->buffers + (size_t)index * VERBS_SLOT;
    hmci_verbs_pairing_works(rail);
    if (hmci_verbs_answer_take(connection, data, completion->byte_len) != HMC_SUCCESS) {
      hmci_log(HMC_LOG_WARNING, "a connection is closed: %s", hmc_last_error());
      hmci_verbs_lose(connection, "it broke the protocol");
    }
  }
  hmci_verbs_buffer_post(device, index);
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

static void touch_all(verbs_transport_t *transport) {
  transport->starved = false;
  for (hmci_list_t *link = transport->connections.next; link != &transport->connections; link = link->next) {
    hmci_verbs_touch(HMCI_CONTAINER(link, verbs_connection_t, link));
  }
}

static void pump_touched(verbs_transport_t *transport) {
  if (transport->starved && transport->free_slots) touch_all(transport);
  while (!hmci_list_is_empty(&transport->touched)) {
    verbs_connection_t *connection = HMCI_CONTAINER(transport->touched.next, verbs_connection_t, touch);
    hmci_list_remove(&connection->touch);
    hmci_verbs_queue_pump(connection);
  }
}

bool hmci_verbs_poll(verbs_device_t *device) {
  bool moved = take_from(device, device->sent, take_sent);
  moved |= take_from(device, device->received, take_received);
  if (moved) pump_touched(device->transport);
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

/* ---- waiting ----------------------------------------------------------------------------------------------------- */

/* Polls what operations of a connection go by. */
static bool poll_all(verbs_connection_t *connection) {
  bool moved = false;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device) moved |= hmci_verbs_poll(connection->rails[i].device);
  }
  return moved;
}

static void drive(verbs_connection_t *connection, int change) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device) connection->rails[i].device->drivers += (uint32_t)change;
  }
}

/* A thread has seen the end of what it waited for. */
static void leave(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device) connection->rails[i].device->looks++;
  }
  hmci_verbs_settle_soon(connection->transport);
}

/* A look at once: what is awaited has often come meanwhile. False: nothing yet, and the caller is a driver now. */
static bool look(verbs_connection_t *connection, hmci_operation_t *operation) {
  pthread_mutex_lock(&connection->transport->lock);
  poll_all(connection);
  bool complete = hmci_operation_is_complete(operation);
  if (complete) {
    leave(connection);
  } else {
    drive(connection, 1);
  }
  pthread_mutex_unlock(&connection->transport->lock);
  return complete;
}

hmc_status_t hmci_verbs_wait(void *block, hmci_operation_t *operation, uint64_t spin) {
  verbs_connection_t *connection = block;
  pthread_mutex_t *lock = &connection->transport->lock;
  hmc_status_t status = HMC_SUCCESS;
  uint64_t idle_since = 0;
  if (hmci_operation_is_complete(operation) || look(connection, operation)) return HMC_SUCCESS;

  while (!hmci_operation_is_complete(operation)) {
    bool moved = false;
    if (pthread_mutex_trylock(lock)) {
      sched_yield();
    } else {
      moved = poll_all(connection);
      pthread_mutex_unlock(lock);
    }
    if (moved && hmci_operation_is_complete(operation)) break;
    uint64_t now = hmci_now();
    if (now >= operation->deadline) {
      status = HMC_TIMEOUT;
      break;
    }
    if (moved || !idle_since) {
      idle_since = now;
    } else if (now - idle_since > spin) {
      status = HMC_IN_PROGRESS;
      break;
    }
  }

  pthread_mutex_lock(lock);
  drive(connection, -1);
  if (status == HMC_IN_PROGRESS) { /* it is going to sleep */
    hmci_verbs_settle(connection->transport);
  } else {
    leave(connection);
  }
  pthread_mutex_unlock(lock);
  return hmci_operation_is_complete(operation) ? HMC_SUCCESS : status;
}

void hmci_verbs_leave_alone(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_device_t *device = connection->rails[i].device;
    if (!device) continue;
    device->looks_seen = device->looks;
    device->will_look = false;
  }
}

/* Its caller may go to sleep somewhere else. */
void hmci_verbs_progress(void *block) {
  verbs_connection_t *connection = block;
  if (pthread_mutex_trylock(&connection->transport->lock)) return;
  if (poll_all(connection)) {
    hmci_verbs_settle(connection->transport);
  } else {
    hmci_verbs_leave_alone(connection);
    hmci_verbs_settle_soon(connection->transport);
  }
  pthread_mutex_unlock(&connection->transport->lock);
}

#define HASTE UINT64_C(1000000) /* nanoseconds that the loop's thread waits for the wire: it has others to serve */

/* ---- letting go -------------------------------------------------------------------------------------------------- */

/* The hardware does not come to an end: its queue pair goes, and with it everything it still holds. */
static void tear_away(verbs_rail_t *rail) {
  hmci_verbs_pair_destroy(rail);
  hmci_verbs_ring_abandon(rail);
  if (rail->phase == VERBS_FLUSHING) hmci_verbs_pairing_flushed(rail);
}

/* Gets a stopped operation out of the hardware's hands. What is on the wire may end by itself; when it does not, the
 * queue pairs that hold it are failed, which flushes them. */
static void let_go(verbs_connection_t *connection, hmci_operation_t *operation) {
  uint64_t start = hmci_now();
  uint64_t grace = hmci_loop_is_held(connection->transport->host->loop) ? HASTE : VERBS_GRACE;
  while (!hmci_operation_is_complete(operation)) {
    poll_all(connection);
    uint64_t waited = hmci_now() - start;
    for (uint32_t i = 0; i < connection->rail_count && !hmci_operation_is_complete(operation); i++) {
      verbs_rail_t *rail = &connection->rails[i];
      if (!rail->device || !hmci_verbs_ring_holds(rail, operation)) continue;
      if (waited > grace && rail->phase == VERBS_UP) {
        rail->recalled = true;
        hmci_verbs_pairing_break(rail, false);
      }
      if (waited > grace + VERBS_DRAIN) tear_away(rail);
    }
  }
}

void hmci_verbs_cancel(void *block, hmci_operation_t *operation, hmc_status_t status) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  if (!hmci_operation_is_complete(operation)) {
    operation->chained = false;
    hmci_verbs_queue_stop(connection, operation, status);
    if (!hmci_verbs_queue_try_complete(connection, operation)) let_go(connection, operation);
    hmci_verbs_settle(connection->transport);
  }
  pthread_mutex_unlock(&connection->transport->lock);
}

/* Flushes the send queues for good. */
static void drain(verbs_connection_t *connection) {
  uint64_t limit = hmci_now() + VERBS_DRAIN;
  for (uint32_t i = 0; i < connection->rail_count; i++) hmci_verbs_pairing_break(&connection->rails[i], false);
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    while (rail->phase == VERBS_FLUSHING) {
      if (!hmci_verbs_poll(rail->device) && hmci_now() > limit) tear_away(rail);
    }
    hmci_verbs_pair_destroy(rail);
    rail->phase = VERBS_UNMADE;
  }
}

void hmci_verbs_fail(void *block, hmc_status_t status) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  if (!connection->failed) {
    connection->failed = status;
    if (connection->pipe) hmci_loop_silence(connection->transport->host->loop, &connection->watch);
    drain(connection);
    hmci_verbs_answer_forget(connection);
    hmci_verbs_queue_fail(connection, status);
    hmci_verbs_message_forget(connection);
    hmci_verbs_settle(connection->transport);
    pthread_cond_broadcast(&connection->changed);
  }
  pthread_mutex_unlock(&connection->transport->lock);
}
