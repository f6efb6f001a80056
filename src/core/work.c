/* Workers that move bytes for requests (see work.h). */
#include "../base/thread.h"
#include "request.h"

#include <sched.h>
#include <unistd.h>

enum {
  PIECE = 1 << 20, /* bytes */
  PARTS = 64,      /* segments that a transport is given at a time */
};

/* One piece, or the end of one segment and the beginning of others. */
typedef struct piece {
  uint32_t index;
  uint64_t offset, length;
} piece_t;

static hmci_workers_t *workers_of(hmc_request_t *request) { return &request->context->workers; }

/* Takes the next piece of a request out of its list; false: there is none. With `lock` held. */
static bool take_piece(hmc_request_t *request, piece_t *piece) {
  hmci_work_t *work = &request->work;
  const hmci_operation_t *operation = &request->chain[0];
  if (hmci_list_is_empty(&work->link)) return false;
  *piece = (piece_t){work->index, work->offset, 0};
  while (piece->length < PIECE && work->index < operation->segment_count) {
    uint64_t left = operation->segments[work->index].length - work->offset, room = PIECE - piece->length;
    piece->length += left < room ? left : room;
    work->offset += left < room ? left : room;
    if (left > room) break;
    work->index++;
    work->offset = 0;
  }
  hmci_list_t *jobs = &workers_of(request)->jobs;
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
static hmc_status_t copy_piece(hmc_request_t *request, piece_t piece) {
  const hmci_operation_t *operation = &request->chain[0];
  const hmc_remote_t *remote = request->remote;
  bool sound = true;
  while (piece.length) {
    hmci_segment_t part = next_part(operation, &piece);
    hmci_copy_mapped(operation->kind, request->local, remote, &part);
    if (operation->checksum) {
      sound &= hmci_crc32c(0, request->local->view.base + part.local, part.length) ==
               hmci_crc32c(0, remote->mapped + part.remote, part.length);
    }
  }
  return sound ? HMC_SUCCESS : HMC_CORRUPT;
}

/* Has the transport move a piece. */
static hmc_status_t move_piece(hmc_request_t *request, piece_t piece) {
  const hmci_operation_t *operation = &request->chain[0];
  const hmc_peer_t *peer = request->peer;
  hmci_segment_t parts[PARTS];
  hmc_status_t status = HMC_SUCCESS;
  while (piece.length && status == HMC_SUCCESS) {
    uint32_t count = 0;
    while (piece.length && count < PARTS) parts[count++] = next_part(operation, &piece);
    status = peer->transport->ops->move(peer->connection->state, operation, parts, count);
  }
  return status;
}

/* The thread that finished the last piece goes on with the chain. */
static void go_on(hmc_request_t *request) {
  hmci_request_copied(request, (hmc_status_t)request->work.status);
  atomic_store_explicit(&request->work.phase, HMCI_WORK_OVER, memory_order_release); /* partner: hmci_work_leave */
}

/* No more of it is begun, and what a transport moves of it ends early. With `lock` held. */
static void drop_rest(hmc_request_t *request, int status) {
  hmci_work_t *work = &request->work;
  hmci_list_remove(&work->link);
  if (work->status == HMC_SUCCESS) work->status = status;
  if (work->moved) atomic_store(&request->chain[0].stop, true);
}

/* Moves a piece that was taken; with `lock` held, which it lets go meanwhile. */
static void do_piece(hmc_request_t *request, piece_t piece) {
  hmci_workers_t *workers = workers_of(request);
  hmci_work_t *work = &request->work;
  pthread_mutex_unlock(&workers->lock);
  hmc_status_t status = work->moved ? move_piece(request, piece) : copy_piece(request, piece);
  pthread_mutex_lock(&workers->lock);
  if (status != HMC_SUCCESS) drop_rest(request, (int)status);
  if (--work->active || !hmci_list_is_empty(&work->link)) return;
  atomic_store(&work->phase, HMCI_WORK_GOING_ON);
  pthread_mutex_unlock(&workers->lock);
  go_on(request);
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
    hmc_request_t *request = HMCI_CONTAINER(work, hmc_request_t, work);
    if (take_piece(request, &piece)) do_piece(request, piece);
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

bool hmci_work_start(hmc_request_t *request, bool moved) {
  hmci_workers_t *workers = workers_of(request);
  hmci_work_t *work = &request->work;
  pthread_mutex_lock(&workers->lock);
  if (!workers->tried) start_threads(workers);
  bool some = workers->count;
  if (some) {
    work->active = work->index = 0;
    work->offset = 0;
    work->status = HMC_SUCCESS;
    work->moved = moved;
    atomic_store(&work->phase, HMCI_WORK_COPYING);
    hmci_list_append(&workers->jobs, &work->link);
    pthread_cond_broadcast(&workers->wanted);
  }
  pthread_mutex_unlock(&workers->lock);
  return some;
}

void hmci_work_help(hmc_request_t *request, uint64_t limit) {
  hmci_workers_t *workers = workers_of(request);
  piece_t piece;
  if (request->work.moved && hmci_loop_is_own(request->context->loop)) return;
  pthread_mutex_lock(&workers->lock);
  while (hmci_now() < limit && take_piece(request, &piece)) do_piece(request, piece);
  pthread_mutex_unlock(&workers->lock);
}

bool hmci_work_stop(hmc_request_t *request, int status) {
  hmci_workers_t *workers = workers_of(request);
  hmci_work_t *work = &request->work;
  pthread_mutex_lock(&workers->lock);
  bool copying = atomic_load(&work->phase) == HMCI_WORK_COPYING, last = copying && !work->active;
  if (copying) drop_rest(request, status);
  if (last) atomic_store(&work->phase, HMCI_WORK_GOING_ON);
  pthread_mutex_unlock(&workers->lock);
  if (last) go_on(request);
  if (!copying) hmci_work_leave(request);
  return copying;
}

void hmci_work_leave(hmc_request_t *request) {
  while (atomic_load_explicit(&request->work.phase, memory_order_acquire) == HMCI_WORK_GOING_ON)
    sched_yield(); /* partner: go_on */
}

void hmci_workers_open(hmci_workers_t *workers) {
  pthread_mutex_init(&workers->lock, NULL);
  pthread_cond_init(&workers->wanted, NULL);
  hmci_list_init(&workers->jobs);
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
