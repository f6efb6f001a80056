/* The server's end of a staged mode: one thread that copies between the device's region and the stage beside it, as
 * clients order. The stage is made when the first client asks for it, and serves all of them: where two work at the
 * same time they see each other's bytes, as they do in the region itself.
 *
 * Locking: `stage` and the copies are the thread's alone. A peer that a notification came from may have left by the
 * time the thread looks at it, so it is only used under the server's lock, and only while it is among the clients. */
#include "perf.h"

#include <stdlib.h>
#include <string.h>

enum { POLL_MS = 100 };

struct perf_orders {
  hmc_context_t *context;
  hmc_region_t *device;
  hmc_region_t *stage;
  pthread_mutex_t *lock;
  perf_find_door_t find_door;
  void *user;
  pthread_t thread;
  atomic_bool stop; /* relaxed: nothing is read on its word but itself */
};

static void refuse(perf_order_t *answer, const char *why) {
  answer->kind = PERF_ORDER_FAILED;
  snprintf(answer->text, sizeof answer->text, "%s", why);
}

static void make_stage(perf_orders_t *orders, perf_order_t *answer) {
  uint64_t size = hmc_region_size(orders->device);
  if (orders->stage) return;
  if (size > tool_host_bytes() / 2)
    refuse(answer,
           "the server's host memory has no room for a stage as large as its region: give it a smaller --region");
  else if (hmc_region_allocate(orders->context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, size, PERF_STAGE, HMC_REMOTE_ALL,
                               &orders->stage) != HMC_SUCCESS)
    refuse(answer, hmc_last_error());
}

static void copy(const perf_orders_t *orders, const perf_order_t *order, perf_order_t *answer) {
  uint64_t size = hmc_region_size(orders->device);
  if (!orders->stage) return refuse(answer, "there is no stage yet");
  if (order->offset > size || order->length > size - order->offset)
    return refuse(answer, "the order runs past the region");
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, memory = hmc_region_memory(orders->device);
  unsigned char *device = (unsigned char *)hmc_region_pointer(orders->device) + order->offset;
  unsigned char *stage = (unsigned char *)hmc_region_pointer(orders->stage) + order->offset;
  hmc_status_t status = order->kind == PERF_ORDER_LOAD ? hmc_memory_copy(stage, cpu, device, memory, order->length)
                                                       : hmc_memory_copy(device, memory, stage, cpu, order->length);
  if (status != HMC_SUCCESS) refuse(answer, hmc_last_error());
}

/* A client that does not take its answer has left, which the server's own thread notices. */
static void answer_order(perf_orders_t *orders, const perf_order_t *order, const hmc_peer_t *peer) {
  perf_order_t answer = {.kind = PERF_ORDER_DONE, .number = order->number};
  hmc_remote_t *door = orders->find_door(orders->user, peer);
  if (!door) return;
  if (order->kind == PERF_ORDER_STAGE)
    make_stage(orders, &answer);
  else if (order->kind == PERF_ORDER_LOAD || order->kind == PERF_ORDER_STORE)
    copy(orders, order, &answer);
  else
    refuse(&answer, "that is not an order");
  perf_order_send(orders->device, door, &answer);
}

static void *work(void *argument) {
  perf_orders_t *orders = argument;
  static char text[4096]; /* one server in a process */
  while (!atomic_load_explicit(&orders->stop, memory_order_relaxed) && !tool_interrupted) {
    size_t size;
    hmc_peer_t *peer = NULL;
    perf_order_t order;
    hmc_status_t status = hmc_notification_receive(orders->context, text, sizeof text, &size, &peer, POLL_MS);
    if (status == HMC_TIMEOUT || (status == HMC_SUCCESS && !perf_order_parse(text, size, &order))) continue;
    if (status != HMC_SUCCESS) break;
    pthread_mutex_lock(orders->lock);
    answer_order(orders, &order, peer);
    pthread_mutex_unlock(orders->lock);
  }
  return NULL;
}

int perf_orders_open(hmc_context_t *context, hmc_region_t *device, pthread_mutex_t *lock, perf_find_door_t find_door,
                     void *user, perf_orders_t **orders) {
  perf_orders_t *made = calloc(1, sizeof *made);
  if (!made) return tool_fail("out of memory");
  made->context = context;
  made->device = device;
  made->lock = lock;
  made->find_door = find_door;
  made->user = user;
  if (pthread_create(&made->thread, NULL, work, made) != 0) {
    free(made);
    return tool_fail("the thread for staged modes could not be started");
  }
  *orders = made;
  return TOOL_DONE;
}

void perf_orders_close(perf_orders_t *orders) {
  if (!orders) return;
  atomic_store_explicit(&orders->stop, true, memory_order_relaxed);
  pthread_join(orders->thread, NULL);
  free(orders);
}
