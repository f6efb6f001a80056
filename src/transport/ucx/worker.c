/* A UCX worker in the service loop (see worker.h). */
#include "worker.h"

#include "lane.h"
#include "listener.h"
#include "pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NAP 1000000u      /* nanoseconds between two looks at a worker that will not be armed */
#define LINGER 100000000u /* nanoseconds that UCX has to be through with what was closed */
enum { ARM_TRIES = 8, FRUITLESS = 16 };

/* ---- moving ------------------------------------------------------------------------------------------------------ */

bool hmci_ucx_worker_poll(hmci_ucx_worker_t *worker) {
  worker->polls++;
  bool moved = worker->ucx->ucp_worker_progress(worker->handle) != 0;
  if (worker->fabric && atomic_load(&worker->fabric->busy)) moved |= hmci_ucx_lanes_poll(worker->fabric);
  if (!moved) return false;
  if (worker->has_dead) hmci_ucx_strangers_close_dead(worker);
  worker->armed = false;
  worker->moves++;
  return true;
}

static void set_enabled(hmci_ucx_worker_t *worker, bool enabled) {
  if (worker->enabled == enabled) return;
  worker->enabled = enabled;
  hmci_loop_modify(worker->loop, &worker->events, enabled ? EPOLLIN : 0);
}

static void set_signalled(hmci_ucx_worker_t *worker, bool signalled) {
  if (worker->signalled == signalled) return;
  worker->signalled = signalled;
  uint64_t value = 1;
  ssize_t done = signalled ? write(worker->awake.descriptor, &value, sizeof value)
                           : read(worker->awake.descriptor, &value, sizeof value);
  (void)done; /* the counter is 0 or 1, so neither blocks */
}

static bool has_attention(const hmci_ucx_worker_t *worker) {
  return worker->wanted && !worker->drivers && !worker->napping;
}

static void restore(hmci_ucx_worker_t *worker) {
  bool attention = has_attention(worker);
  set_enabled(worker, attention);
  set_signalled(worker, (attention && !worker->armed) || !hmci_list_is_empty(&worker->ready));
}

static bool arm_fabric(hmci_ucx_worker_t *worker) {
  bool moved = false, armed = hmci_ucx_lanes_arm(worker->fabric, &moved);
  if (moved) {
    worker->moves++;
    worker->moved_at = hmci_now();
  }
  return armed;
}

bool hmci_ucx_worker_arm(hmci_ucx_worker_t *worker) {
  if (worker->fabric && !arm_fabric(worker)) return worker->armed = false;
  if (worker->ucx->ucp_worker_arm(worker->handle) != UCS_OK) return worker->armed = false;
  worker->armed = true;
  if (hmci_ucx_worker_poll(worker)) worker->moved_at = hmci_now();
  return worker->armed;
}

void hmci_ucx_worker_update(hmci_ucx_worker_t *worker) {
  if (worker->stepping) return;
  /* A thread that leaves the worker to the loop arms it where it can: the loop sleeps on then. */
  int tries = hmci_loop_is_held(worker->loop) ? 0 : ARM_TRIES;
  for (int i = 0; i < tries && has_attention(worker) && !worker->armed && !hmci_ucx_worker_arm(worker); i++) {
    hmci_ucx_worker_poll(worker);
  }
  restore(worker);
}

bool hmci_ucx_worker_drive(hmci_ucx_worker_t *worker) {
  bool moved = hmci_ucx_worker_poll(worker);
  if (moved) hmci_ucx_worker_update(worker);
  return moved;
}

void hmci_ucx_worker_linger(hmci_ucx_worker_t *worker) {
  worker->wanted = true;
  worker->wishes++;
  worker->linger = hmci_now() + LINGER;
}

void hmci_ucx_worker_want(hmci_ucx_worker_t *worker) {
  pthread_mutex_lock(&worker->lock);
  worker->wanted = true;
  worker->wishes++;
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
}

void hmci_ucx_worker_want_soon(hmci_ucx_worker_t *worker) {
  pthread_mutex_lock(&worker->lock);
  if (!worker->wanted) hmci_loop_call_soon(worker->loop, &worker->awake);
  pthread_mutex_unlock(&worker->lock);
}

void hmci_ucx_worker_spare(hmci_ucx_worker_t *worker) {
  pthread_mutex_lock(&worker->lock);
  if (worker->wanted && hmci_now() >= worker->linger) {
    worker->wanted = false;
    hmci_loop_call_soon(worker->loop, &worker->awake);
  }
  pthread_mutex_unlock(&worker->lock);
}

/* ---- the loop's round -------------------------------------------------------------------------------------------- */

/* Calls the reader of a pipe, which stays: closing it takes the loop's lock, and this thread has it. */
static bool call_reader(hmci_ucx_worker_t *worker, hmci_ucx_pipe_t *pipe) {
  hmci_watch_t *reader = pipe->reader;
  if (!reader || pipe->muted) return false;
  pthread_mutex_unlock(&worker->lock);
  bool moved = reader->ready(reader, EPOLLIN);
  pthread_mutex_lock(&worker->lock);
  return moved;
}

/* Each of the pipes that are ready now, once. One that is not through comes again in the next round. */
static void call_ready(hmci_ucx_worker_t *worker) {
  hmci_list_t round;
  hmci_list_init(&round);
  while (!hmci_list_is_empty(&worker->ready)) {
    hmci_list_t *link = worker->ready.next;
    hmci_list_remove(link);
    hmci_list_append(&round, link);
  }
  while (!hmci_list_is_empty(&round)) {
    hmci_ucx_pipe_t *pipe = HMCI_CONTAINER(round.next, hmci_ucx_pipe_t, ready);
    hmci_list_remove(&pipe->ready);
    worker->hot = pipe;
    bool moved = call_reader(worker, pipe);
    hmci_ucx_pipe_called(pipe, moved);
  }
}

/* Asks whether it still is wanted. Lets the lock go meanwhile; a wish that came in between counts. */
static void review(hmci_ucx_worker_t *worker) {
  if (!worker->wanted || !worker->busy) return;
  uint64_t wishes = worker->wishes;
  pthread_mutex_unlock(&worker->lock);
  bool busy = worker->busy(worker->argument);
  pthread_mutex_lock(&worker->lock);
  if (!busy && wishes == worker->wishes && hmci_now() >= worker->linger) worker->wanted = false;
}

void hmci_ucx_worker_review(hmci_ucx_worker_t *worker) {
  pthread_mutex_lock(&worker->lock);
  review(worker);
  pthread_mutex_unlock(&worker->lock);
}

/* Nothing has moved for a while: rest until UCX has something. Where it cannot tell, or keeps waking us for nothing
 * (its tcp does while the peer's side does not answer a connection), look again in a moment. */
static void rest(hmci_ucx_worker_t *worker, uint64_t now) {
  review(worker);
  if (!has_attention(worker)) return;
  bool armed = hmci_ucx_worker_arm(worker);
  if (armed ? worker->fruitless < FRUITLESS : now - worker->moved_at < worker->spin + NAP) return;
  worker->napping = true;
  worker->fruitless = 0;
  hmci_loop_set_timer(worker->loop, &worker->nap, now + NAP);
}

static void on_nap(hmci_timer_t *timer) {
  hmci_ucx_worker_t *worker = HMCI_CONTAINER(timer, hmci_ucx_worker_t, nap);
  pthread_mutex_lock(&worker->lock);
  worker->napping = false;
  restore(worker);
  pthread_mutex_unlock(&worker->lock);
}

/* The reader called last polls the worker itself, with its buffers in place: most bytes are for it and go there
 * straight. */
static void poll_for_loop(hmci_ucx_worker_t *worker) {
  uint64_t polls = worker->polls;
  if (worker->hot) call_reader(worker, worker->hot);
  if (worker->polls == polls) hmci_ucx_worker_poll(worker);
}

static bool step(hmci_ucx_worker_t *worker, bool readable) {
  pthread_mutex_lock(&worker->lock);
  uint64_t moves = worker->moves;
  worker->stepping = true;
  if (readable) worker->armed = false;
  if (has_attention(worker)) poll_for_loop(worker);
  call_ready(worker);
  bool moved = worker->moves != moves;
  if (moved || readable) worker->fruitless = moved ? 0 : worker->fruitless + 1;
  if (moved) {
    worker->moved_at = hmci_now();
  } else if (has_attention(worker) && !worker->armed && hmci_list_is_empty(&worker->ready)) {
    uint64_t now = hmci_now();
    if (now - worker->moved_at >= worker->spin) rest(worker, now);
  }
  worker->stepping = false;
  restore(worker);
  pthread_mutex_unlock(&worker->lock);
  return moved;
}

static bool on_events(hmci_watch_t *watch, uint32_t events) {
  return step(HMCI_CONTAINER(watch, hmci_ucx_worker_t, events), events != 0);
}

static bool on_awake(hmci_watch_t *watch, uint32_t events) {
  hmci_ucx_worker_t *worker = HMCI_CONTAINER(watch, hmci_ucx_worker_t, awake);
  if (events & HMCI_SOON) hmci_ucx_worker_want(worker);
  return step(worker, false);
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

static hmc_status_t fail_ucx(const hmci_ucx_worker_t *worker, const char *what, ucs_status_t status) {
  return hmci_fail(status == UCS_ERR_NO_MEMORY ? HMC_NO_MEMORY : HMC_UNSUPPORT, "UCX: %s: %s", what,
                   worker->ucx->ucs_status_string(status));
}

static hmc_status_t make_handle(hmci_ucx_worker_t *worker, ucp_context_h context, int *descriptor) {
  const hmci_ucx_library_t *ucx = worker->ucx;
  /* SERIALIZED: our lock sees to it. */
  ucp_worker_params_t params = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                .thread_mode = UCS_THREAD_MODE_SERIALIZED};
  ucs_status_t status = ucx->ucp_worker_create(context, &params, &worker->handle);
  if (status != UCS_OK) return fail_ucx(worker, "no worker", status);
  ucp_am_handler_param_t handler = {
      .field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG,
      .id = HMCI_UCX_AM,
      .cb = hmci_ucx_pipe_on_message,
      .arg = worker,
  };
  status = ucx->ucp_worker_set_am_recv_handler(worker->handle, &handler);
  if (status == UCS_OK) status = ucx->ucp_worker_get_efd(worker->handle, descriptor);
  if (status == UCS_OK) return HMC_SUCCESS;
  ucx->ucp_worker_destroy(worker->handle);
  return fail_ucx(worker, "no wake-ups", status);
}

hmc_status_t hmci_ucx_worker_open(hmci_ucx_worker_t *worker, const hmci_ucx_library_t *ucx, ucp_context_h context,
                                  hmci_loop_t *loop, uint64_t spin, bool (*busy)(void *argument), void *argument) {
  int descriptor, set;
  *worker =
      (hmci_ucx_worker_t){.ucx = ucx, .loop = loop, .spin = spin, .busy = busy, .argument = argument, .wanted = !busy};
  worker->events.ready = on_events;
  worker->awake.ready = on_awake;
  hmci_timer_init(&worker->nap, on_nap);
  hmci_list_init(&worker->ready);
  hmci_list_init(&worker->spare_small);
  hmci_list_init(&worker->spare_large);
  hmci_list_init(&worker->posted);
  hmci_list_init(&worker->listeners);
  hmci_list_init(&worker->strangers);
  hmc_status_t status = make_handle(worker, context, &descriptor);
  if (status != HMC_SUCCESS) goto err_clear;
  struct epoll_event event = {.events = EPOLLIN};
  set = epoll_create1(EPOLL_CLOEXEC);
  if (set < 0 || epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event)) {
    status = hmci_fail(HMC_NO_MEMORY, "an epoll set failed: %s", strerror(errno));
    goto err_set;
  }
  int awake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (awake < 0) {
    status = hmci_fail(HMC_NO_MEMORY, "eventfd failed: %s", strerror(errno));
    goto err_set;
  }
  pthread_mutex_init(&worker->lock, NULL);
  status = hmci_loop_add(loop, &worker->events, set, 0);
  if (status != HMC_SUCCESS) goto err_awake;
  status = hmci_loop_add(loop, &worker->awake, awake, EPOLLIN);
  if (status != HMC_SUCCESS) goto err_events;
  pthread_mutex_lock(&worker->lock);
  restore(worker);
  pthread_mutex_unlock(&worker->lock);
  return HMC_SUCCESS;

err_events:
  hmci_loop_remove(loop, &worker->events);
err_awake:
  pthread_mutex_destroy(&worker->lock);
  close(awake);
err_set:
  if (set >= 0) close(set);
  ucx->ucp_worker_destroy(worker->handle);
err_clear:
  worker->handle = NULL;
  return status;
}

void hmci_ucx_worker_close(hmci_ucx_worker_t *worker) {
  if (!worker->handle) return;
  hmci_loop_remove(worker->loop, &worker->events);
  hmci_loop_remove(worker->loop, &worker->awake);
  hmci_loop_clear_timer(worker->loop, &worker->nap);
  close(worker->awake.descriptor);
  close(worker->events.descriptor);
  hmci_ucx_listeners_close(worker);
  worker->ucx->ucp_worker_destroy(worker->handle);
  worker->handle = NULL;
  hmci_ucx_frames_free(worker);
  free(worker->pipes);
  pthread_mutex_destroy(&worker->lock);
}
