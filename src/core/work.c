/* Workers that move bytes (see work.h). */
#include "../base/thread.h"
#include "operation.h"

#include <sched.h>
#include <unistd.h>

enum { PARTS = 64 }; /* segments that a transport is given at a time */

/* One piece, or the end of one segment and the beginning of others. */
typedef struct piece {
  uint32_t index;
  uint64_t offset, length;
} piece_t;

/* Takes the next piece of a work out of its list; false: there is none. With `lock` held. */
static bool take_piece(hmci_work_t *work, piece_t *piece) {
  const hmci_operation_t *operation = work->operation;
  if (hmci_list_is_empty(&work->link)) return false;
  *piece = (piece_t){work->index, work->offset, 0};
  while (piece->length < HMCI_WORK_PIECE && work->index < operation->segment_count) {
    uint64_t left = operation->segments[work->index].length - work->offset, room = HMCI_WORK_PIECE - piece->length;
    piece->length += left < room ? left : room;
    work->offset += left < room ? left : room;
    if (left > room) break;
    work->index++;
    work->offset = 0;
  }
  hmci_list_t *jobs = &work->workers->jobs;
  hmci_list_remove(&work->link);
  if (work->index < operation->segment_count) hmci_list_append(jobs, &work->link); /* behind the others */
  work->active++;
  return true;
}

/* Takes the first part, of one segment, off a piece. */
static hmci_segment_t next_part(const hmci_operation_t *operation, piece_t *piece) {
  hmci_segment_t part = operation->segments[piece->index++];
  part.local += piece->offset;
  part.remote += piece->offset;
  part.length -= piece->offset;
  if (part.length > piece->length) part.length = piece->length;
  piece->length -= part.length;
  piece->offset = 0;
  return part;
}

/* Copies a piece. HMC_CORRUPT: what was to be checked is damaged. */
static hmc_status_t copy_piece(const hmci_work_t *work, piece_t piece) {
  const hmci_operation_t *operation = work->operation;
  bool sound = true;
  while (piece.length) {
    hmci_segment_t part = next_part(operation, &piece);
    uint8_t *here = operation->local->base + part.local, *there = work->mapped + part.remote;
    hmci_copy_range(operation->kind, here, there, part.length);
    if (operation->checksum) sound &= hmci_crc32c(0, here, part.length) == hmci_crc32c(0, there, part.length);
  }
  return sound ? HMC_SUCCESS : HMC_CORRUPT;
}

/* Has the transport move a piece. */
static hmc_status_t move_piece(const hmci_work_t *work, piece_t piece) {
  const hmc_peer_t *peer = work->peer;
  hmci_segment_t parts[PARTS];
  hmc_status_t status = HMC_SUCCESS;
  while (piece.length && status == HMC_SUCCESS) {
    uint32_t count = 0;
    while (piece.length && count < PARTS) parts[count++] = next_part(work->operation, &piece);
    status = peer->transport->ops->move(peer->connection->state, work->operation, parts, count);
  }
  return status;
}

/* The thread that finished the last piece goes on. */
static void go_on(hmci_work_t *work) {
  hmci_workers_t *workers = work->workers;
  work->go_on(work, (hmc_status_t)work->status);
  pthread_mutex_lock(&workers->lock);
  hmci_list_remove(&work->member);
  atomic_store_explicit(&work->phase, HMCI_WORK_OVER, memory_order_release); /* partner: hmci_work_leave */
  pthread_mutex_unlock(&workers->lock);
}

/* No more of it is begun, and what a transport moves of it ends early. With `lock` held. */
static void drop_rest(hmci_work_t *work, hmc_status_t status) {
  hmci_list_remove(&work->link);
  if (work->status == HMC_SUCCESS) work->status = (int)status;
  if (!work->mapped) atomic_store(&work->operation->stop, true);
}

/* Moves a piece that was taken; with `lock` held, which it lets go meanwhile. */
static void do_piece(hmci_work_t *work, piece_t piece) {
  hmci_workers_t *workers = work->workers;
  pthread_mutex_unlock(&workers->lock);
  hmc_status_t status = work->mapped ? copy_piece(work, piece) : move_piece(work, piece);
  pthread_mutex_lock(&workers->lock);
  if (status != HMC_SUCCESS) drop_rest(work, status);
  if (--work->active || !hmci_list_is_empty(&work->link)) return;
  atomic_store(&work->phase, HMCI_WORK_GOING_ON);
  pthread_mutex_unlock(&workers->lock);
  go_on(work);
  pthread_mutex_lock(&workers->lock);
}

static void *run(void *argument) {
  hmci_workers_t *workers = argument;
  piece_t piece;
  pthread_mutex_lock(&workers->lock);
  while (!workers->ending) {
    if (hmci_list_is_empty(&workers->jobs)) {
      pthread_cond_wait(&workers->wanted, &workers->lock);
      continue;
    }
    hmci_work_t *work = HMCI_CONTAINER(workers->jobs.next, hmci_work_t, link);
    if (take_piece(work, &piece)) do_piece(work, piece);
  }
  pthread_mutex_unlock(&workers->lock);
  return NULL;
}

/* With `lock` held. */
static void start_threads(hmci_workers_t *workers) {
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  uint32_t wanted = cores <= 2 ? 1 : cores > HMCI_WORKERS ? HMCI_WORKERS : (uint32_t)cores - 1;
  workers->tried = true;
  while (workers->count < wanted && !hmci_thread_create(&workers->threads[workers->count], run, workers)) {
    pthread_setname_np(workers->threads[workers->count], "hmc-copy");
    workers->count++;
  }
  if (!workers->count)
    hmci_log(HMC_LOG_WARNING,
             "no threads that copy: large requests on this host block their caller, or take a slower way");
}

void hmci_work_init(hmci_work_t *work) {
  hmci_list_init(&work->link);
  hmci_list_init(&work->member);
  atomic_init(&work->phase, HMCI_WORK_OVER);
}

bool hmci_work_start(hmci_workers_t *workers, hmci_work_t *work) {
  pthread_mutex_lock(&workers->lock);
  if (!workers->tried) start_threads(workers);
  bool some = workers->count;
  if (some) {
    work->workers = workers;
    work->active = work->index = 0;
    work->offset = 0;
    work->status = HMC_SUCCESS;
    atomic_store(&work->phase, HMCI_WORK_COPYING);
    hmci_list_append(&workers->works, &work->member);
    hmci_list_append(&workers->jobs, &work->link);
    pthread_cond_broadcast(&workers->wanted);
  }
  pthread_mutex_unlock(&workers->lock);
  return some;
}

void hmci_work_help(hmci_work_t *work, uint64_t limit, bool in_loop) {
  hmci_workers_t *workers = work->workers;
  piece_t piece;
  if (in_loop && !work->mapped) return;
  pthread_mutex_lock(&workers->lock);
  while (hmci_now() < limit && take_piece(work, &piece)) do_piece(work, piece);
  pthread_mutex_unlock(&workers->lock);
}

bool hmci_work_stop(hmci_work_t *work, hmc_status_t status) {
  hmci_workers_t *workers = work->workers;
  pthread_mutex_lock(&workers->lock);
  bool copying = atomic_load(&work->phase) == HMCI_WORK_COPYING, last = copying && !work->active;
  if (copying) drop_rest(work, status);
  if (last) atomic_store(&work->phase, HMCI_WORK_GOING_ON);
  pthread_mutex_unlock(&workers->lock);
  if (last) go_on(work);
  if (!copying) hmci_work_leave(work);
  return copying;
}

void hmci_work_leave(hmci_work_t *work) {
  while (atomic_load_explicit(&work->phase, memory_order_acquire) == HMCI_WORK_GOING_ON)
    sched_yield(); /* partner: go_on */
}

/* Stops the works to a peer that can be stopped; one that no thread is at is the caller's to go on with: `idle`. True
 * while there are some. With `lock` held. */
static bool stop_works(hmci_workers_t *workers, const hmc_peer_t *peer, hmc_status_t status, hmci_work_t **idle) {
  bool some = false;
  for (hmci_list_t *link = workers->works.next; link != &workers->works; link = link->next) {
    hmci_work_t *work = HMCI_CONTAINER(link, hmci_work_t, member);
    if (work->peer != peer) continue;
    some = true;
    if (atomic_load(&work->phase) != HMCI_WORK_COPYING) continue;
    drop_rest(work, status);
    if (work->active) continue;
    atomic_store(&work->phase, HMCI_WORK_GOING_ON);
    *idle = work;
    return true;
  }
  return some;
}

void hmci_works_end(hmci_workers_t *workers, const hmc_peer_t *peer, hmc_status_t status, bool wait) {
  for (;;) {
    hmci_work_t *idle = NULL;
    pthread_mutex_lock(&workers->lock);
    bool some = stop_works(workers, peer, status, &idle);
    pthread_mutex_unlock(&workers->lock);
    if (idle) {
      go_on(idle);
    } else if (!some || !wait) {
      return;
    } else {
      sched_yield();
    }
  }
}

void hmci_workers_open(hmci_workers_t *workers) {
  pthread_mutex_init(&workers->lock, NULL);
  pthread_cond_init(&workers->wanted, NULL);
  hmci_list_init(&workers->jobs);
  hmci_list_init(&workers->works);
}

void hmci_workers_close(hmci_workers_t *workers) {
  pthread_mutex_lock(&workers->lock);
  workers->ending = true;
  pthread_cond_broadcast(&workers->wanted);
  pthread_mutex_unlock(&workers->lock);
  for (uint32_t i = 0; i < workers->count; i++) pthread_join(workers->threads[i], NULL);
  pthread_cond_destroy(&workers->wanted);
  pthread_mutex_destroy(&workers->lock);
}
