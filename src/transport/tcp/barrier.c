/* What follows a cancelled put over several streams.
 *
 * The rest of a frame that was half sent still goes to the peer on its stream, and could overwrite what a later
 * operation brings by another one. So a get of one byte goes behind it on each stream, and until all of those are
 * answered what is submitted waits in `held`. Nobody waits for the peer: a cancel returns at once, operations that are
 * held end at their deadlines, and a peer that stands still for long goes on where it stopped.
 *
 * Locking: `hold_lock` guards the lists. The answers come under the requesters' locks, which are inner to it: they count
 * down and set a timer, and the loop's thread does the rest. */
#include "tcp.h"

#include <sched.h>
#include <stdlib.h>

struct tcp_barrier {
  hmci_list_t link; /* connection->barriers */
  tcp_connection_t *connection;
  uint32_t count;
  _Atomic uint32_t left; /* streams that have not answered */
  hmci_remote_view_t remote;
  hmci_region_view_t here;
  uint8_t bytes[TCP_STREAMS]; /* one each: the streams are received from under different locks */
  hmci_operation_t gets[TCP_STREAMS];
};

/* In the transport's part of an operation that is held: the first of a chain. */
typedef struct held {
  hmci_list_t link; /* connection->held */
  uint32_t count;   /* of the chain */
} held_t;
_Static_assert(sizeof(held_t) <= HMCI_OPERATION_STATE, "an operation has room for its place in the row");

static held_t *held_of(hmci_operation_t *operation) { return (held_t *)(void *)operation->transport; }

static hmci_operation_t *operation_of(hmci_list_t *link) {
  return HMCI_CONTAINER(HMCI_CONTAINER(link, held_t, link), hmci_operation_t, transport);
}

static void complete_all(hmci_operation_t *operations, uint32_t count, hmc_status_t status) {
  for (uint32_t i = 0; i < count; i++) hmci_operation_complete(&operations[i], status);
}

/* ---- barriers ---------------------------------------------------------------------------------------------------- */

/* Whatever the answer is: what lay before it on the stream has been dealt with. */
static void on_answer(hmci_operation_t *get) {
  tcp_barrier_t *barrier = get->owner;
  tcp_connection_t *connection = barrier->connection;
  if (atomic_fetch_sub(&barrier->left, 1) == 1)
    hmci_loop_set_timer(connection->transport->host->loop, &connection->answered, 0);
}

tcp_barrier_t *hmci_tcp_barrier_raise(tcp_connection_t *connection, const hmci_remote_view_t *remote, uint32_t count) {
  tcp_barrier_t *barrier = calloc(1, sizeof *barrier);
  if (!barrier) return NULL;
  barrier->connection = connection;
  barrier->count = count;
  barrier->remote = (hmci_remote_view_t){.size = remote->size, /* not `stale`, which others may be noting */
                                         .memory = remote->memory,
                                         .id = remote->id,
                                         .generation = remote->generation,
                                         .rights = remote->rights};
  barrier->here = (hmci_region_view_t){.base = barrier->bytes,
                                       .size = sizeof barrier->bytes,
                                       .memory = {HMC_MEMORY_CPU, 0},
                                       .ops = &hmci_memory_host,
                                       .owned = true};
  atomic_store(&barrier->left, count);
  pthread_mutex_lock(&connection->hold_lock);
  hmci_list_append(&connection->barriers, &barrier->link);
  pthread_mutex_unlock(&connection->hold_lock);
  return barrier;
}

void hmci_tcp_barrier_send(tcp_barrier_t *barrier) {
  tcp_connection_t *connection = barrier->connection;
  uint32_t count = barrier->count; /* with the last answer the barrier may be gone */
  for (uint32_t i = 0; i < count; i++) {
    hmci_operation_t *get = &barrier->gets[i];
    *get = (hmci_operation_t){.kind = HMCI_GET,
                              .local = &barrier->here,
                              .remote = &barrier->remote,
                              .segment_count = 1,
                              .deadline = HMCI_NEVER,
                              .completed = on_answer,
                              .owner = barrier,
                              .single = {.local = i, .length = 1}};
    get->segments = &get->single;
    hmc_status_t status = hmci_requester_submit(&connection->requesters[i], get, 1);
    if (status != HMC_SUCCESS) hmci_operation_complete(get, status);
  }
}

/* Frees the barriers that are through. The last answer may be a few instructions before its end. */
static void clear(tcp_connection_t *connection) {
  for (hmci_list_t *link = connection->barriers.next; link != &connection->barriers;) {
    tcp_barrier_t *barrier = HMCI_CONTAINER(link, tcp_barrier_t, link);
    link = link->next;
    if (atomic_load(&barrier->left)) continue;
    for (uint32_t i = 0; i < barrier->count; i++) {
      while (!hmci_operation_is_complete(&barrier->gets[i])) sched_yield();
    }
    hmci_list_remove(&barrier->link);
    free(barrier);
  }
}

/* ---- what is held ------------------------------------------------------------------------------------------------ */

void hmci_tcp_held_add(tcp_connection_t *connection, hmci_operation_t *operations, uint32_t count) {
  *held_of(operations) = (held_t){.count = count};
  hmci_list_append(&connection->held, &held_of(operations)->link);
}

bool hmci_tcp_hold(tcp_connection_t *connection, hmci_operation_t *operations, uint32_t count) {
  pthread_mutex_lock(&connection->hold_lock);
  bool holds = !connection->hold_failed &&
               (!hmci_list_is_empty(&connection->barriers) || !hmci_list_is_empty(&connection->held));
  if (holds) hmci_tcp_held_add(connection, operations, count);
  pthread_mutex_unlock(&connection->hold_lock);
  return holds;
}

/* The row goes by one stream. One who waits for one of these may poll another stream, or none: the loop moves them. */
void hmci_tcp_held_go(tcp_connection_t *connection) {
  while (!hmci_list_is_empty(&connection->held)) {
    hmci_operation_t *operations = operation_of(connection->held.next);
    uint32_t count = held_of(operations)->count;
    hmci_list_remove(&held_of(operations)->link);
    for (uint32_t i = 0; i < count; i++) operations[i].awaited = false;
    hmc_status_t status = hmci_requester_submit(&connection->requesters[0], operations, count);
    if (status != HMC_SUCCESS) complete_all(operations, count, status);
  }
}

static void on_answered(hmci_timer_t *timer) {
  tcp_connection_t *connection = HMCI_CONTAINER(timer, tcp_connection_t, answered);
  pthread_mutex_lock(&connection->hold_lock);
  clear(connection);
  if (hmci_list_is_empty(&connection->barriers)) hmci_tcp_held_go(connection);
  pthread_mutex_unlock(&connection->hold_lock);
}

/* Those chained to it end with it. */
bool hmci_tcp_held_cancel(tcp_connection_t *connection, hmci_operation_t *operation, hmc_status_t status) {
  bool found = false;
  pthread_mutex_lock(&connection->hold_lock);
  for (hmci_list_t *link = connection->held.next; link != &connection->held && !found; link = link->next) {
    hmci_operation_t *first = operation_of(link);
    held_t *held = held_of(first);
    if (operation < first || operation >= first + held->count) continue;
    uint32_t before = (uint32_t)(operation - first), ended = held->count - before;
    found = true;
    held->count = before;
    if (!before) hmci_list_remove(link);
    complete_all(operation, ended, status);
  }
  pthread_mutex_unlock(&connection->hold_lock);
  return found;
}

void hmci_tcp_held_end(tcp_connection_t *connection, hmc_status_t status) {
  while (!hmci_list_is_empty(&connection->held)) {
    hmci_operation_t *operations = operation_of(connection->held.next);
    uint32_t count = held_of(operations)->count;
    hmci_list_remove(&held_of(operations)->link);
    complete_all(operations, count, status);
  }
}

void hmci_tcp_held_fail(tcp_connection_t *connection, hmc_status_t status) {
  pthread_mutex_lock(&connection->hold_lock);
  connection->hold_failed = true;
  hmci_tcp_held_end(connection, status);
  pthread_mutex_unlock(&connection->hold_lock);
}

void hmci_tcp_barriers_open(tcp_connection_t *connection) {
  pthread_mutex_init(&connection->hold_lock, NULL);
  hmci_list_init(&connection->barriers);
  hmci_list_init(&connection->held);
  hmci_timer_init(&connection->answered, on_answered);
}

void hmci_tcp_barriers_close(tcp_connection_t *connection) {
  hmci_loop_clear_timer(connection->transport->host->loop, &connection->answered);
  clear(connection);
  pthread_mutex_destroy(&connection->hold_lock);
}
