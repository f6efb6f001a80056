/* Queues: what is in progress, waiting for it, and the queues' own lives (see queue.h). */
#include "queue.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_BUCKETS = 16, BLOCK = 32, DEFAULT_DEPTH = 1024 };

/* Memory for some flights; it is freed with the queue. */
typedef struct block {
  hmci_list_t link;
  hmci_flight_t flights[BLOCK];
} block_t;

const hmci_region_view_t hmci_anywhere = {.base = (uint8_t *)(uintptr_t)HMCI_ANYWHERE_BASE,
                                          .size = UINT64_MAX - HMCI_ANYWHERE_BASE,
                                          .memory = {HMC_MEMORY_CPU, 0},
                                          .ops = &hmci_memory_host,
                                          .descriptor = -1,
                                          .anywhere = true};

const hmci_region_view_t hmci_copied = {.base = (uint8_t *)(uintptr_t)HMCI_ANYWHERE_BASE,
                                        .size = UINT64_MAX - HMCI_ANYWHERE_BASE,
                                        .memory = {HMC_MEMORY_CPU, 0},
                                        .ops = &hmci_memory_host,
                                        .descriptor = -1,
                                        .owned = true,
                                        .anywhere = true};

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

hmci_lane_t *hmci_lane_find(hmc_queue_t *queue, uint64_t number) {
  hmci_lane_t *lane = queue->table[number & (queue->table_size - 1)];
  while (lane && lane->number != number) lane = lane->next;
  return lane;
}

static void insert(hmci_lane_t **table, uint32_t size, hmci_lane_t *lane) {
  hmci_lane_t **bucket = &table[lane->number & (size - 1)];
  lane->next = *bucket;
  *bucket = lane;
}

/* Twice as many buckets, where that many lanes want them; it goes on without where there is no memory. */
static void grow_table(hmc_queue_t *queue) {
  uint32_t size = queue->table_size * 2;
  hmci_lane_t **table = queue->lane_count < queue->table_size ? NULL : calloc(size, sizeof(*table));
  if (!table) return;
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    insert(table, size, HMCI_CONTAINER(link, hmci_lane_t, link));
  }
  free(queue->table);
  queue->table = table;
  queue->table_size = size;
}

static void remove_lane(hmc_queue_t *queue, hmci_lane_t *lane) {
  hmci_lane_t **place = &queue->table[lane->number & (queue->table_size - 1)];
  while (*place != lane) place = &(*place)->next;
  *place = lane->next;
  hmci_list_remove(&lane->link);
  queue->lane_count--;
  if (queue->last == lane) queue->last = NULL;
  free(lane);
}

/* Lanes to peers that are closed, and of which nothing is left to be said. */
static void sweep(hmc_queue_t *queue) {
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes;) {
    hmci_lane_t *lane = HMCI_CONTAINER(link, hmci_lane_t, link);
    link = link->next;
    if (!atomic_load(&lane->closed)) continue;
    hmci_lane_reap(queue, lane);
    if (hmci_list_is_empty(&lane->flights) && lane->failure.status == HMC_SUCCESS) remove_lane(queue, lane);
  }
}

hmci_lane_t *hmci_lane_of(hmc_queue_t *queue, hmc_peer_t *peer) {
  hmci_lane_t *lane = queue->last;
  if (lane && lane->number == peer->number) return lane;
  lane = hmci_lane_find(queue, peer->number);
  if (!lane) {
    lane = calloc(1, sizeof *lane);
    if (!lane) {
      hmci_fail(HMC_NO_MEMORY, "no memory for a queue's operations to %s", peer->where);
      return NULL;
    }
    lane->peer = peer;
    lane->number = peer->number;
    hmci_list_init(&lane->flights);
    pthread_mutex_lock(&queue->lock);
    sweep(queue);
    grow_table(queue);
    hmci_list_append(&queue->lanes, &lane->link);
    insert(queue->table, queue->table_size, lane);
    queue->lane_count++;
    pthread_mutex_unlock(&queue->lock);
  }
  queue->last = lane;
  return lane;
}

/* ---- flights ----------------------------------------------------------------------------------------------------- */

static void note_failure(hmci_lane_t *lane, const hmci_flight_t *flight, hmc_status_t status) {
  hmci_failure_t *failure = &lane->failure;
  if (failure->status != HMC_SUCCESS && failure->number < flight->number) return;
  *failure = (hmci_failure_t){.status = status,
                              .number = flight->number,
                              .kind = flight->chain[0].kind,
                              .end = flight->end,
                              .length = flight->length};
}

void hmci_flight_give(hmc_queue_t *queue, hmci_flight_t *flight) {
  hmci_lane_t *lane = flight->lane;
  if (flight->working) hmci_work_leave(&flight->work);
  free(flight->message);
  flight->message = NULL;
  hmci_list_remove(&flight->link);
  hmci_list_remove(&flight->age);
  hmci_list_append(&queue->spare, &flight->link);
  queue->under_way--;
  if (lane->fenced && hmci_list_is_empty(&lane->flights)) {
    lane->fenced = false;
    hmci_queue_fenced(queue, -1);
  }
}

/* Gives back the credit of a notification that failed, where its peer is not closed meanwhile. */
static void refund(hmc_queue_t *queue, hmci_flight_t *flight) {
  const hmci_lane_t *lane = flight->lane;
  atomic_store(&queue->driving, lane->peer);
  if (!atomic_load(&lane->closed)) hmci_post_refund(lane->peer, hmci_flight_last(flight)->message_size);
  atomic_store(&queue->driving, NULL);
}

void hmci_flight_end(hmc_queue_t *queue, hmci_flight_t *flight, hmc_status_t *status) {
  hmc_status_t ended = hmci_flight_last(flight)->status;
  if (ended == HMC_SUCCESS && flight->fetched) *flight->fetched = flight->chain[0].atomic.fetched;
  if (ended != HMC_SUCCESS && flight->charged) refund(queue, flight);
  if (status) {
    *status = ended;
  } else if (ended != HMC_SUCCESS) {
    note_failure(flight->lane, flight, ended);
  }
  hmci_flight_give(queue, flight);
}

void hmci_lane_reap(hmc_queue_t *queue, hmci_lane_t *lane) {
  for (hmci_list_t *link = lane->flights.next; link != &lane->flights;) {
    hmci_flight_t *flight = HMCI_CONTAINER(link, hmci_flight_t, link);
    link = link->next;
    if (!hmci_operation_is_complete(hmci_flight_last(flight))) return;
    hmci_flight_end(queue, flight, NULL);
  }
}

/* Ends the operations of a flight. The queue is driving. */
static void cancel(hmci_flight_t *flight, hmc_status_t status) {
  hmc_peer_t *peer = flight->lane->peer;
  if (flight->working && hmci_work_stop(&flight->work, status)) {
    hmci_operation_sleep(hmci_flight_last(flight), HMCI_NEVER); /* it ends by itself, soon */
    return;
  }
  for (uint32_t i = 0; i < flight->count; i++) {
    if (hmci_operation_is_complete(&flight->chain[i])) continue;
    peer->transport->ops->cancel(peer->connection->state, &flight->chain[i], status);
  }
}

/* Moves things on until an operation is complete, or the deadline comes, which is earlier than the operation's own. */
static void await_briefly(hmc_peer_t *peer, hmci_operation_t *operation, uint64_t deadline) {
  const hmc_context_t *context = peer->context;
  uint64_t until = hmci_now() + context->settings.spin;
  for (;;) {
    peer->transport->ops->progress(peer->connection->state);
    uint64_t now = hmci_now();
    if (hmci_operation_is_complete(operation) || now >= deadline) return;
    if (now < until || hmci_loop_is_own(context->loop)) continue;
    hmci_context_hand_back(context);
    hmci_operation_sleep(operation, deadline);
    return;
  }
}

/* Workers move the bytes, and this thread where it has as long; what comes behind is moved on by the loop, or, in a
 * callback, by this thread. */
static void await_work(hmci_flight_t *flight, uint64_t deadline) {
  hmci_operation_t *last = hmci_flight_last(flight);
  const hmc_peer_t *peer = flight->work.peer;
  bool inside = hmci_loop_is_own(peer->context->loop), briefly = deadline < last->deadline;
  if (!briefly) {
    deadline = last->deadline;
    hmci_work_help(&flight->work, deadline, inside);
  }
  while (inside && !hmci_operation_is_complete(last) && hmci_now() < deadline)
    peer->transport->ops->progress(peer->connection->state);
  if (!hmci_operation_sleep(last, deadline) && !briefly) cancel(flight, HMC_TIMEOUT);
}

bool hmci_flight_await(hmc_queue_t *queue, hmci_flight_t *flight, uint64_t deadline) {
  hmc_peer_t *peer = flight->lane->peer;
  hmci_operation_t *last = hmci_flight_last(flight);
  atomic_store(&queue->driving, peer);
  if (!hmci_operation_is_complete(last)) {
    if (flight->working) {
      await_work(flight, deadline);
    } else if (deadline < last->deadline) {
      await_briefly(peer, last, deadline);
    } else if (hmci_operation_await(peer, last) == HMC_TIMEOUT) {
      cancel(flight, HMC_TIMEOUT);
    }
  }
  atomic_store(&queue->driving, NULL);
  return hmci_operation_is_complete(last);
}

bool hmci_lane_drain(hmc_queue_t *queue, hmci_lane_t *lane, uint64_t deadline) {
  hmci_lane_reap(queue, lane);
  /* The newest first: the others are complete with it, as a rule. */
  for (bool newest = true; !hmci_list_is_empty(&lane->flights); newest = false) {
    hmci_list_t *link = newest ? lane->flights.previous : lane->flights.next;
    if (!hmci_flight_await(queue, HMCI_CONTAINER(link, hmci_flight_t, link), deadline)) return false;
    hmci_lane_reap(queue, lane);
  }
  return true;
}

static bool add_block(hmc_queue_t *queue) {
  block_t *block = malloc(sizeof *block);
  if (!block) return false;
  hmci_list_append(&queue->blocks, &block->link);
  for (uint32_t i = 0; i < BLOCK && queue->room < queue->depth; i++, queue->room++) {
    hmci_flight_t *flight = &block->flights[i];
    flight->message = NULL;
    hmci_list_init(&flight->age);
    hmci_work_init(&flight->work);
    hmci_list_append(&queue->spare, &flight->link);
  }
  return true;
}

/* With all flights in progress: waits for the oldest one, and ends those that are complete by then. */
static hmc_status_t make_room(hmc_queue_t *queue) {
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    hmci_lane_reap(queue, HMCI_CONTAINER(link, hmci_lane_t, link));
  }
  if (!hmci_list_is_empty(&queue->spare)) return HMC_SUCCESS;
  if (queue->flags & HMC_QUEUE_NO_WAIT)
    return hmci_fail(HMC_NO_MEMORY, "all %u operations of the queue are pending: flush it first", queue->depth);
  hmci_flight_t *oldest = HMCI_CONTAINER(queue->flights.next, hmci_flight_t, age);
  hmci_lane_t *lane = oldest->lane;
  uint64_t deadline = hmci_context_deadline(queue->context, queue->timeout_ms);
  if (!hmci_flight_await(queue, oldest, deadline))
    return hmci_fail(HMC_TIMEOUT, "all %u operations of the queue are pending, and none ends", queue->depth);
  hmci_lane_reap(queue, lane);
  if (hmci_list_is_empty(&queue->spare)) hmci_flight_end(queue, oldest, NULL); /* others of its lane stand before it */
  return HMC_SUCCESS;
}

hmc_status_t hmci_flight_take(hmc_queue_t *queue, hmci_lane_t *lane, hmci_flight_t **out) {
  if (hmci_list_is_empty(&queue->spare)) {
    hmc_status_t status = queue->room < queue->depth ? HMC_SUCCESS : make_room(queue);
    if (status != HMC_SUCCESS) return status;
    if (hmci_list_is_empty(&queue->spare) && !add_block(queue))
      return hmci_fail(HMC_NO_MEMORY, "no memory for operations of a queue");
  }
  hmci_flight_t *flight = HMCI_CONTAINER(queue->spare.next, hmci_flight_t, link);
  hmci_list_remove(&flight->link);
  hmci_list_append(&lane->flights, &flight->link);
  hmci_list_append(&queue->flights, &flight->age);
  flight->lane = lane;
  flight->number = ++queue->started;
  flight->fetched = NULL;
  flight->charged = flight->working = false;
  flight->count = 0;
  queue->under_way++;
  *out = flight;
  return HMC_SUCCESS;
}

/* ---- flushing ---------------------------------------------------------------------------------------------------- */

/* Sends on every lane what was kept back for company. */
static void kick(hmc_queue_t *queue) {
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    hmci_lane_t *lane = HMCI_CONTAINER(link, hmci_lane_t, link);
    if (hmci_list_is_empty(&lane->flights)) continue;
    hmci_flight_t *newest = HMCI_CONTAINER(lane->flights.previous, hmci_flight_t, link);
    hmc_peer_t *peer = lane->peer;
    atomic_store(&queue->driving, peer);
    if (!hmci_operation_is_complete(hmci_flight_last(newest))) peer->transport->ops->progress(peer->connection->state);
    atomic_store(&queue->driving, NULL);
  }
}

/* Takes the failure out of a lane: its status, with a text. */
static hmc_status_t report(hmci_lane_t *lane) {
  hmci_failure_t *failure = &lane->failure;
  hmc_status_t status = failure->status;
  if (status == HMC_SUCCESS) return status;
  failure->status = HMC_SUCCESS;
  return hmci_far_end_explain(failure->kind, status, &failure->end, failure->length);
}

static hmc_status_t still_under_way(hmc_queue_t *queue) {
  return hmci_fail(HMC_TIMEOUT, "flush: operations are still pending, %u of the whole queue", queue->under_way);
}

static hmc_status_t flush_all(hmc_queue_t *queue, uint64_t deadline) {
  hmci_lane_t *failed = NULL;
  bool drained = true;
  kick(queue);
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    hmci_lane_t *lane = HMCI_CONTAINER(link, hmci_lane_t, link);
    drained &= hmci_lane_drain(queue, lane, deadline);
    bool first = lane->failure.status && (!failed || lane->failure.number < failed->failure.number);
    if (first) failed = lane;
  }
  if (!failed) return drained ? HMC_SUCCESS : still_under_way(queue);
  hmc_status_t status = report(failed);
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    HMCI_CONTAINER(link, hmci_lane_t, link)->failure.status = HMC_SUCCESS;
  }
  return status;
}

/* By both of the peer's connections; NULL: the queue has no lane there. */
static hmc_status_t flush_peer(hmc_queue_t *queue, hmci_lane_t *const lanes[2], uint64_t deadline) {
  hmci_lane_t *failed = NULL;
  bool drained = true;
  for (int i = 0; i < 2; i++) {
    if (!lanes[i]) continue;
    drained &= hmci_lane_drain(queue, lanes[i], deadline);
    const hmci_failure_t *failure = &lanes[i]->failure;
    if (failure->status != HMC_SUCCESS && (!failed || failure->number < failed->failure.number)) failed = lanes[i];
  }
  if (!failed) return drained ? HMC_SUCCESS : still_under_way(queue);
  hmc_status_t status = report(failed);
  for (int i = 0; i < 2; i++)
    if (lanes[i]) lanes[i]->failure.status = HMC_SUCCESS;
  return status;
}

hmc_status_t hmc_queue_flush(hmc_queue_t *queue, hmc_peer_t *peer, uint64_t timeout_ms) {
  if (!queue) return hmci_fail(HMC_INVALID_CONFIG, "hmc_queue_flush: queue is NULL");
  if (hmci_context_is_foreign(queue->context)) return HMC_UNSUPPORT;
  uint64_t deadline = hmci_context_deadline(queue->context, timeout_ms);
  if (!peer) return flush_all(queue, deadline);
  const hmc_peer_t *second = hmci_peer_second(peer);
  hmci_lane_t *lanes[] = {hmci_lane_find(queue, peer->number), second ? hmci_lane_find(queue, second->number) : NULL};
  return flush_peer(queue, lanes, deadline);
}

uint32_t hmc_queue_pending(hmc_queue_t *queue) {
  if (!queue || hmci_context_is_foreign(queue->context)) return 0;
  kick(queue);
  for (hmci_list_t *link = queue->lanes.next; link != &queue->lanes; link = link->next) {
    hmci_lane_reap(queue, HMCI_CONTAINER(link, hmci_lane_t, link));
  }
  return queue->under_way;
}

/* ---- making and ending ------------------------------------------------------------------------------------------- */

hmc_status_t hmc_queue_create(hmc_context_t *context, const hmc_queue_options_t *options, hmc_queue_t **out) {
  if (!context || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_queue_create: context or queue is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_queue_options_t set;
  hmc_status_t status = hmci_sized_read(&set, sizeof set, options, "hmc_queue_options_t");
  if (status != HMC_SUCCESS) return status;
  if (set.flags & ~(unsigned)(HMC_QUEUE_NO_WAIT | HMC_QUEUE_SELDOM_FLUSHED))
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_queue_create: unknown flags 0x%x", set.flags);
  hmc_queue_t *queue = hmci_allocate_aligned(sizeof *queue); /* no line that two queues share */
  hmci_lane_t **table = calloc(FIRST_BUCKETS, sizeof(*table));
  if (!queue || !table) {
    free(queue);
    free(table);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a queue");
  }
  static _Atomic uint32_t queues;
  queue->plain = queue->context = context;
  /* Not next to the one before: processors fetch a neighbouring line along. */
  queue->stripe =
      atomic_fetch_add_explicit(&queues, 1, memory_order_relaxed) * 5 % HMCI_STRIPES * sizeof(hmci_stripe_t);
  queue->depth = set.depth ? set.depth : DEFAULT_DEPTH;
  queue->flags = set.flags;
  queue->timeout_ms = set.timeout_ms;
  queue->table = table;
  queue->table_size = FIRST_BUCKETS;
  hmci_list_init(&queue->lanes);
  hmci_list_init(&queue->flights);
  hmci_list_init(&queue->spare);
  hmci_list_init(&queue->blocks);
  pthread_mutex_init(&queue->lock, NULL);
  pthread_mutex_lock(&context->queue.lock);
  hmci_list_append(&context->queue.list, &queue->member);
  pthread_mutex_unlock(&context->queue.lock);
  *out = queue;
  return HMC_SUCCESS;
}

/* Ends all flights; a service thread may be a few instructions from the end of one. */
static void cancel_all(hmc_queue_t *queue) {
  for (hmci_list_t *link = queue->flights.next; link != &queue->flights; link = link->next) {
    hmci_flight_t *flight = HMCI_CONTAINER(link, hmci_flight_t, age);
    atomic_store(&queue->driving, flight->lane->peer);
    if (!hmci_operation_is_complete(hmci_flight_last(flight))) cancel(flight, HMC_CANCELLED);
    while (!hmci_operation_is_complete(hmci_flight_last(flight))) hmci_pause();
    atomic_store(&queue->driving, NULL);
    free(flight->message);
  }
}

void hmc_queue_destroy(hmc_queue_t *queue) {
  if (!queue || hmci_context_is_foreign(queue->context)) return;
  cancel_all(queue);
  pthread_mutex_lock(&queue->context->queue.lock);
  hmci_list_remove(&queue->member);
  pthread_mutex_unlock(&queue->context->queue.lock);
  while (!hmci_list_is_empty(&queue->lanes)) remove_lane(queue, HMCI_CONTAINER(queue->lanes.next, hmci_lane_t, link));
  while (!hmci_list_is_empty(&queue->blocks)) {
    block_t *block = HMCI_CONTAINER(queue->blocks.next, block_t, link);
    hmci_list_remove(&block->link);
    free(block);
  }
  free(queue->table);
  pthread_mutex_destroy(&queue->lock);
  free(queue);
}

void hmci_queues_forget(hmc_context_t *context, const hmc_peer_t *peer) {
  pthread_mutex_lock(&context->queue.lock);
  for (hmci_list_t *link = context->queue.list.next; link != &context->queue.list; link = link->next) {
    hmc_queue_t *queue = HMCI_CONTAINER(link, hmc_queue_t, member);
    pthread_mutex_lock(&queue->lock);
    hmci_lane_t *lane = hmci_lane_find(queue, peer->number);
    if (lane) atomic_store(&lane->closed, true);
    pthread_mutex_unlock(&queue->lock);
    while (atomic_load(&queue->driving) == peer) sched_yield();
  }
  pthread_mutex_unlock(&context->queue.lock);
}

void hmci_queues_destroy(hmc_context_t *context) {
  while (!hmci_list_is_empty(&context->queue.list)) {
    hmc_queue_destroy(HMCI_CONTAINER(context->queue.list.next, hmc_queue_t, member));
  }
}
