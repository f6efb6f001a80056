/* Lanes: how operations go by them (see lane.h). */
#include "lane.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#define RENEWAL 100000000u   /* nanoseconds before a lane that broke is made again */
#define PATIENCE 5000000000u /* lane->patience, but for tests */
#define HASTE 1000000u       /* in the loop's thread, which has others to serve */
enum { READ = 8 };           /* bytes of the read behind a put */

/* The lane's part of an operation. */
typedef struct part {
  hmci_list_t link; /* lane->waiting, posted or back */
  uint32_t index;   /* what is posted next: of the segments, */
  uint64_t offset;  /* and of that one's bytes */
  uct_mem_h handle;
  uint32_t pieces; /* in progress */
  bool followed;   /* the read behind them is posted, or none is needed */
  bool failed, cancelled;
} part_t;
_Static_assert(sizeof(part_t) <= HMCI_OPERATION_STATE, "an operation has room for the lane's part");

static part_t *part_of(hmci_operation_t *operation) { return (part_t *)(void *)operation->transport; }

static hmci_operation_t *operation_of(hmci_list_t *link) {
  return HMCI_CONTAINER(HMCI_CONTAINER(link, part_t, link), hmci_operation_t, transport);
}

static void move_to(hmci_list_t *list, hmci_operation_t *operation) {
  hmci_list_remove(&part_of(operation)->link);
  hmci_list_append(list, &part_of(operation)->link);
}

static void complete(hmci_operation_t *operation, hmc_status_t status) {
  hmci_list_remove(&part_of(operation)->link);
  hmci_operation_complete(operation, status);
}

/* Keeps `active` true: a lane is in the list while it has something to do for the devices, and while it waits for the
 * peer's word that its end is gone, which nobody else may be there to hear. */
static void settle(hmci_ucx_lane_t *lane) {
  bool needed = lane->under_way || !hmci_list_is_empty(&lane->waiting) || lane->broken || lane->parting;
  bool listed = !hmci_list_is_empty(&lane->active);
  if (needed == listed) return;
  if (needed) {
    hmci_list_append(&lane->fabric->active, &lane->active);
    atomic_fetch_add(&lane->fabric->busy, 1);
  } else {
    hmci_list_remove(&lane->active);
    atomic_fetch_sub(&lane->fabric->busy, 1);
  }
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

/* None of its pieces is in progress: what now? */
static void end_operation(hmci_ucx_lane_t *lane, hmci_operation_t *operation) {
  part_t *part = part_of(operation);
  if (part->pieces || part->cancelled) return;
  if (part->failed) {
    move_to(&lane->back, operation);
    if (!lane->parting && !lane->broken) hmci_loop_set_timer(lane->host->loop, &lane->turn, hmci_now());
  } else if (part->index == operation->segment_count && part->followed) {
    complete(operation, HMC_SUCCESS);
  }
}

static void on_piece(uct_completion_t *completion) {
  hmci_ucx_piece_t *piece = HMCI_CONTAINER(completion, hmci_ucx_piece_t, completion);
  hmci_ucx_lane_t *lane = piece->lane;
  part_t *part = part_of(piece->operation);
  if (completion->status != UCS_OK) part->failed = lane->broken = true;
  part->pieces--;
  lane->under_way--;
  hmci_list_append(&lane->spare, &piece->link);
  end_operation(lane, piece->operation);
}

/* A piece for an operation that the device has taken, or not: what it answered. */
static bool count_in(hmci_ucx_lane_t *lane, hmci_ucx_piece_t *piece, ucs_status_t status) {
  part_t *part = part_of(piece->operation);
  if (status == UCS_OK || status == UCS_ERR_NO_RESOURCE) return status == UCS_OK;
  if (status != UCS_INPROGRESS) {
    part->failed = lane->broken = true;
    return false;
  }
  hmci_list_remove(&piece->link);
  part->pieces++;
  lane->under_way++;
  return true;
}

static hmci_ucx_piece_t *spare_piece(hmci_ucx_lane_t *lane, hmci_operation_t *operation) {
  hmci_ucx_piece_t *piece = HMCI_CONTAINER(lane->spare.next, hmci_ucx_piece_t, link);
  piece->operation = operation;
  piece->completion = (uct_completion_t){.func = on_piece, .count = 1, .status = UCS_OK};
  return piece;
}

/* How much of what is left of a segment goes next. The last two pieces are alike: devices read no few bytes. */
static uint64_t piece_of(uint64_t left) {
  if (left <= HMCI_UCX_PIECE) return left;
  return left < 2 * HMCI_UCX_PIECE ? left / 2 : HMCI_UCX_PIECE;
}

/* Posts the next piece of an operation. False: it goes no further just now. */
static bool post(hmci_ucx_lane_t *lane, hmci_operation_t *operation) {
  const hmci_ucx_remote_t *remote = operation->remote_state;
  part_t *part = part_of(operation);
  const hmci_segment_t *segment = &operation->segments[part->index];
  uint64_t offset = part->offset, length = piece_of(segment->length - offset);
  uct_iov_t parts = {
      .buffer = operation->local->base + segment->local + offset, .length = length, .memh = part->handle, .count = 1};
  uint64_t address = remote->address + segment->remote + offset;
  hmci_ucx_piece_t *piece = spare_piece(lane, operation);
  ucs_status_t status =
      operation->kind == HMCI_PUT
          ? uct_ep_put_zcopy(lane->endpoint, &parts, 1, address, remote->key.rkey, &piece->completion)
          : uct_ep_get_zcopy(lane->endpoint, &parts, 1, address, remote->key.rkey, &piece->completion);
  if (!count_in(lane, piece, status)) return false;
  part->offset += length;
  if (part->offset == segment->length) {
    part->index++;
    part->offset = 0;
  }
  return true;
}

static void ignore(void *argument, const void *data, size_t size) { (void)argument, (void)data, (void)size; }

/* Posts the read behind the last piece of a put, which pushes all of them before it. */
static bool post_read(hmci_ucx_lane_t *lane, hmci_operation_t *operation) {
  const hmci_ucx_remote_t *remote = operation->remote_state;
  const hmci_segment_t *last = &operation->segments[operation->segment_count - 1];
  hmci_ucx_piece_t *piece = spare_piece(lane, operation);
  ucs_status_t status = uct_ep_get_bcopy(lane->endpoint, ignore, NULL, READ, remote->address + last->remote,
                                         remote->key.rkey, &piece->completion);
  return part_of(operation)->followed = count_in(lane, piece, status);
}

/* Posts what there is room for, in order. */
static bool pump(hmci_ucx_lane_t *lane) {
  bool moved = false;
  while (!hmci_list_is_empty(&lane->waiting) && !lane->broken && !hmci_list_is_empty(&lane->spare)) {
    hmci_operation_t *operation = operation_of(lane->waiting.next);
    part_t *part = part_of(operation);
    bool all = part->index == operation->segment_count;
    if (!(all ? post_read(lane, operation) : post(lane, operation))) break;
    moved = true;
    if (part->index < operation->segment_count || !part->followed) continue;
    move_to(&lane->posted, operation);
    end_operation(lane, operation);
  }
  return moved;
}

/* ---- the end of a lane ------------------------------------------------------------------------------------------- */

static void give_back_all(hmci_ucx_lane_t *lane, hmci_list_t *list) {
  for (hmci_list_t *link = list->next; link != list;) {
    hmci_operation_t *operation = operation_of(link);
    link = link->next;
    part_of(operation)->failed = true;
    end_operation(lane, operation);
  }
}

void hmci_ucx_lane_disconnect(hmci_ucx_lane_t *lane, bool parting) {
  lane->parting = parting;
  if (lane->endpoint) lane->fabric->ucx->uct_ep_destroy(lane->endpoint); /* ends all pieces */
  lane->endpoint = NULL;
  lane->broken = false;
  give_back_all(lane, &lane->waiting);
  give_back_all(lane, &lane->posted);
  settle(lane);
}

static void renew(hmci_ucx_lane_t *lane, uint64_t delay) {
  hmci_loop_set_timer(lane->host->loop, &lane->renewal, hmci_now() + delay);
}

void hmci_ucx_lane_lose(hmci_ucx_lane_t *lane) {
  bool ended = atomic_load(&lane->state) == HMCI_UCX_LANE_ENDED;
  if (!ended) {
    atomic_store(&lane->state, HMCI_UCX_LANE_NONE);
    snprintf(lane->reason, sizeof lane->reason, "the connection of the devices broke");
    hmci_log(HMC_LOG_INFO, "UCX: the connection of %s broke; pending operations go in messages", lane->device->name);
  }
  hmci_ucx_lane_disconnect(lane, !ended);
  lane->silent = !ended;
  if (!ended) renew(lane, 0);
}

static bool uses(hmci_list_t *list, const hmci_ucx_remote_t *remote) {
  for (hmci_list_t *link = list->next; link != list; link = link->next) {
    if (operation_of(link)->remote_state == remote) return true;
  }
  return false;
}

void hmci_ucx_lane_revoke(hmci_ucx_lane_t *lane, hmci_ucx_remote_t *remote) {
  atomic_store(&remote->generation, 0); /* partner: the core's look before an operation starts */
  if (uses(&lane->waiting, remote) || uses(&lane->posted, remote)) hmci_ucx_lane_lose(lane);
}

void hmci_ucx_lane_part(hmci_ucx_lane_t *lane) {
  lane->parting = false;
  settle(lane);
  bool shut = atomic_exchange(&lane->stream->shut, false); /* partner: room_of of the pipe */
  if (shut || !hmci_list_is_empty(&lane->back)) hmci_loop_set_timer(lane->host->loop, &lane->turn, hmci_now());
  if (lane->dialled) renew(lane, RENEWAL);
}

ucs_status_t hmci_ucx_lane_on_error(void *argument, uct_ep_h endpoint, ucs_status_t status) {
  (void)status;
  hmci_ucx_fabric_t *fabric = argument;
  for (hmci_list_t *link = fabric->lanes.next; link != &fabric->lanes; link = link->next) {
    hmci_ucx_lane_t *lane = HMCI_CONTAINER(link, hmci_ucx_lane_t, link);
    if (lane->endpoint != endpoint) continue;
    lane->broken = true;
    settle(lane);
  }
  return UCS_OK;
}

/* ---- who moves them ---------------------------------------------------------------------------------------------- */

static bool poll_locked(hmci_ucx_fabric_t *fabric) {
  bool moved = uct_worker_progress(fabric->worker) != 0;
  for (hmci_list_t *link = fabric->active.next; link != &fabric->active;) {
    hmci_ucx_lane_t *lane = HMCI_CONTAINER(link, hmci_ucx_lane_t, active);
    link = link->next;
    if (lane->broken) {
      hmci_ucx_lane_lose(lane);
      moved = true;
    } else {
      moved |= pump(lane);
    }
    settle(lane);
  }
  return moved;
}

bool hmci_ucx_lanes_poll(hmci_ucx_fabric_t *fabric) {
  if (pthread_mutex_trylock(&fabric->lock)) return false; /* who polls comes again */
  bool moved = fabric->worker && poll_locked(fabric);
  pthread_mutex_unlock(&fabric->lock);
  return moved;
}

bool hmci_ucx_lanes_arm(hmci_ucx_fabric_t *fabric, bool *moved) {
  pthread_mutex_lock(&fabric->lock);
  bool armed = hmci_ucx_fabric_arm(fabric);
  *moved = armed && atomic_load(&fabric->busy) && poll_locked(fabric);
  pthread_mutex_unlock(&fabric->lock);
  return armed && !*moved;
}

bool hmci_ucx_lane_is_busy(const hmci_ucx_lane_t *lane) {
  if (lane->dialled && atomic_load(&lane->state) == HMCI_UCX_LANE_MAKING) return true;
  if (!atomic_load(&lane->fabric->busy)) return false;
  pthread_mutex_lock(&lane->fabric->lock);
  bool busy = !hmci_list_is_empty(&lane->active);
  pthread_mutex_unlock(&lane->fabric->lock);
  return busy;
}

bool hmci_ucx_lane_is_waiting(const hmci_ucx_lane_t *lane) {
  pthread_mutex_lock(&lane->fabric->lock);
  bool waiting = !hmci_list_is_empty(&lane->waiting) || lane->broken;
  pthread_mutex_unlock(&lane->fabric->lock);
  return waiting;
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

/* Is it of the kind that lanes carry? */
static bool suits(const hmci_ucx_lane_t *lane, const hmci_operation_t *operation) {
  if (operation->kind != HMCI_PUT && operation->kind != HMCI_GET) return false;
  const hmci_ucx_remote_t *remote = operation->remote_state;
  if (operation->checksum || !operation->local->ops->host_accessible || !remote->device) return false;
  if (operation->local->anywhere) return false; /* there is no region to register */
  if (atomic_load(&lane->state) != HMCI_UCX_LANE_READY) return false;
  for (uint32_t i = 0; i < operation->segment_count; i++) {
    if (operation->segments[i].length < HMCI_UCX_LANE_LEAST) return false;
  }
  return operation->segment_count > 0;
}

/* With fabric->lock held. */
static bool reaches(hmci_ucx_lane_t *lane, const hmci_ucx_remote_t *remote) {
  bool ready = atomic_load(&lane->state) == HMCI_UCX_LANE_READY;
  return ready && lane->device == remote->device && atomic_load(&remote->generation);
}

bool hmci_ucx_lane_submit(hmci_ucx_lane_t *lane, hmci_operation_t *operation) {
  if (!suits(lane, operation)) return false;
  hmci_ucx_fabric_t *fabric = lane->fabric;
  const hmci_ucx_remote_t *remote = operation->remote_state;
  pthread_mutex_lock(&fabric->lock);
  bool reached = reaches(lane, remote);
  uct_mem_h handle = reached ? hmci_ucx_fabric_register(fabric, lane->device, operation->local) : NULL;
  reached = handle && reaches(lane, remote); /* others had the lock meanwhile */
  if (reached) {
    part_t *part = part_of(operation);
    *part = (part_t){.handle = handle, .followed = operation->kind != HMCI_PUT || !remote->follow};
    hmci_list_init(&part->link);
    hmci_list_append(&lane->waiting, &part->link);
    pump(lane);
    settle(lane);
  }
  pthread_mutex_unlock(&fabric->lock);
  return reached;
}

/* ---- what goes back to the stream -------------------------------------------------------------------------------- */

static hmci_operation_t *take_back(hmci_ucx_lane_t *lane) {
  hmci_operation_t *operation = NULL;
  pthread_mutex_lock(&lane->fabric->lock);
  if (!lane->parting && !lane->broken && !hmci_list_is_empty(&lane->back)) {
    operation = operation_of(lane->back.next);
    hmci_list_remove(&part_of(operation)->link);
  }
  pthread_mutex_unlock(&lane->fabric->lock);
  return operation;
}

static void on_turn(hmci_timer_t *timer) {
  hmci_ucx_lane_t *lane = HMCI_CONTAINER(timer, hmci_ucx_lane_t, turn);
  lane->reopened(lane->connection);
  pthread_mutex_lock(&lane->handover);
  for (hmci_operation_t *operation = take_back(lane); operation; operation = take_back(lane)) {
    hmc_status_t status = lane->instead(lane->connection, operation);
    if (status != HMC_SUCCESS) hmci_operation_complete(operation, status);
  }
  pthread_mutex_unlock(&lane->handover);
}

static void on_renewal(hmci_timer_t *timer) {
  hmci_ucx_lane_t *lane = HMCI_CONTAINER(timer, hmci_ucx_lane_t, renewal);
  lane->go_on(lane->connection);
}

bool hmci_ucx_lane_stand_in(hmci_ucx_lane_t *lane) {
  pthread_mutex_lock(&lane->fabric->lock);
  bool parting = lane->parting, silent = parting && lane->silent, back = !hmci_list_is_empty(&lane->back);
  pthread_mutex_unlock(&lane->fabric->lock);
  if (silent) on_renewal(&lane->renewal);
  if (back) on_turn(&lane->turn);
  return parting;
}

static bool is_among(hmci_list_t *list, const hmci_operation_t *operation) {
  for (hmci_list_t *link = list->next; link != list; link = link->next) {
    if (operation_of(link) == operation) return true;
  }
  return false;
}

/* The lane's operation is ended by the caller now; false: it is none. */
static bool take_over(hmci_ucx_lane_t *lane, hmci_operation_t *operation) {
  pthread_mutex_lock(&lane->handover);
  pthread_mutex_lock(&lane->fabric->lock);
  bool found =
      is_among(&lane->waiting, operation) || is_among(&lane->posted, operation) || is_among(&lane->back, operation);
  if (found) {
    part_of(operation)->cancelled = true;
    move_to(&lane->posted, operation);
    settle(lane);
  }
  pthread_mutex_unlock(&lane->fabric->lock);
  pthread_mutex_unlock(&lane->handover);
  return found;
}

bool hmci_ucx_lane_cancel(hmci_ucx_lane_t *lane, hmci_operation_t *operation, hmc_status_t status) {
  hmci_ucx_fabric_t *fabric = lane->fabric;
  part_t *part = part_of(operation);
  bool hasty = hmci_loop_is_held(lane->host->loop) && lane->patience > HASTE;
  uint64_t limit = hmci_now() + (hasty ? HASTE : lane->patience); /* then the lane is made again */
  if (!take_over(lane, operation)) return false;
  pthread_mutex_lock(&fabric->lock);
  while (part->pieces && hmci_now() < limit) {
    poll_locked(fabric);
    pthread_mutex_unlock(&fabric->lock);
    sched_yield();
    pthread_mutex_lock(&fabric->lock);
  }
  if (part->pieces) hmci_ucx_lane_lose(lane);
  if (operation->kind == HMCI_PUT && (lane->parting || lane->broken)) atomic_store(&lane->stream->shut, true);
  complete(operation, status);
  pthread_mutex_unlock(&fabric->lock);
  return true;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

void hmci_ucx_lane_open(hmci_ucx_lane_t *lane, hmci_ucx_fabric_t *fabric, const hmci_host_t *host) {
  lane->fabric = fabric;
  lane->host = host;
  lane->patience = PATIENCE;
  snprintf(lane->reason, sizeof lane->reason, "none was made");
  hmci_list_t *lists[] = {&lane->link, &lane->active,  &lane->waiting, &lane->posted,
                          &lane->back, &lane->remotes, &lane->spare};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) hmci_list_init(lists[i]);
  for (int i = 0; i < HMCI_UCX_PIECES; i++) {
    lane->pieces[i].lane = lane;
    hmci_list_append(&lane->spare, &lane->pieces[i].link);
  }
  hmci_timer_init(&lane->turn, on_turn);
  hmci_timer_init(&lane->renewal, on_renewal);
  pthread_mutex_init(&lane->handover, NULL);
  pthread_mutex_lock(&fabric->lock);
  hmci_list_append(&fabric->lanes, &lane->link);
  pthread_mutex_unlock(&fabric->lock);
}

void hmci_ucx_lane_fail(hmci_ucx_lane_t *lane, hmc_status_t status) {
  pthread_mutex_lock(&lane->fabric->lock);
  atomic_store(&lane->state, HMCI_UCX_LANE_ENDED);
  hmci_ucx_lane_disconnect(lane, false);
  while (!hmci_list_is_empty(&lane->back)) complete(operation_of(lane->back.next), status);
  pthread_mutex_unlock(&lane->fabric->lock);
}

void hmci_ucx_lane_close(hmci_ucx_lane_t *lane) {
  hmci_ucx_fabric_t *fabric = lane->fabric;
  hmci_loop_clear_timer(lane->host->loop, &lane->turn);
  hmci_loop_clear_timer(lane->host->loop, &lane->renewal);
  pthread_mutex_lock(&fabric->lock);
  hmci_list_remove(&lane->link);
  hmci_ucx_lane_disconnect(lane, false);
  if (lane->device && --lane->device->lanes == 0) hmci_ucx_fabric_drop(fabric, lane->device);
  pthread_mutex_unlock(&fabric->lock);
  pthread_mutex_destroy(&lane->handover);
}
