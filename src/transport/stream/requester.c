/* The requesting end of a stream: who moves it, and how operations begin and end (see requester.h). */
#include "../../base/processor.h"
#include "../../base/socket.h"
#include "requester_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum { BYTES_PER_NANOSECOND = 4, PATIENT_BYTES = 4 << 20 };
enum { LAST_LOOKS = 64 };         /* at the answers of a peer that is gone; one takes 8 KiB of them */
enum { QUEUE_BEFORE_SEND = 100 }; /* small operations kept back while earlier ones are unacknowledged */

/* Ends everything: the devices finish, all operations get `status`, the loop looks no more. */
static void end_all(hmci_requester_t *requester, hmc_status_t status) {
  requester->sending = requester->sink = NULL;
  requester->owed = requester->data_left = 0;
  free(requester->residue);
  requester->residue = NULL;
  hmci_stage_t *stages[] = {&requester->out, &requester->in};
  for (int i = 0; i < 2; i++) {
    for (; !hmci_stage_is_empty(stages[i]); hmci_stage_pop(stages[i])) hmci_stage_finish(hmci_stage_oldest(stages[i]));
  }
  while (!hmci_list_is_empty(&requester->queue))
    hmci_stream_complete(hmci_stream_operation(requester->queue.next), status);
  requester->armed = requester->polled = false;
  hmci_loop_set_polled(requester->host->loop, &requester->watch, false);
  hmci_loop_silence(requester->host->loop, &requester->watch);
}

void hmci_requester_lose(hmci_requester_t *requester, const char *reason) {
  requester->failed = HMC_PEER_LOST;
  end_all(requester, HMC_PEER_LOST);
  requester->host->connection_lost(requester->host, requester->connection, reason);
}

/* ---- who moves it ------------------------------------------------------------------------------------------------ */

/* A device copies, and no descriptor will tell when it is done; or the pool has to get a buffer back. */
static bool waits_for_device(const hmci_requester_t *requester) {
  bool out = requester->sending && hmci_stream_is_staged(requester->sending) && !requester->blocked;
  return out || (!hmci_stage_is_empty(&requester->in) && requester->in.slots[requester->in.head].started);
}

static bool is_busy(const hmci_requester_t *requester) {
  return !hmci_list_is_empty(&requester->queue) || hmci_requester_is_haunted(requester);
}

void hmci_requester_come_again(hmci_requester_t *requester) {
  if (requester->yielded && requester->pipe->hidden) hmci_loop_call_soon(requester->host->loop, &requester->watch);
}

/* Restores the invariant on `armed`; see requester.h. `prompt`: now rather than soon. */
static void settle(hmci_requester_t *requester, bool prompt) {
  bool needed = is_busy(requester) && !requester->drivers && !requester->failed;
  if (hmci_list_is_empty(&requester->queue)) requester->told = false;
  bool keeps_back = requester->sending && !requester->blocked;
  if (needed && !requester->armed && !requester->told && !keeps_back && !prompt) {
    if (atomic_load(&requester->vain)) {
      hmci_loop_call_later(requester->host->loop, &requester->watch);
    } else {
      hmci_loop_call_soon(requester->host->loop, &requester->watch);
    }
    return;
  }
  if (needed) {
    hmci_loop_modify(requester->host->loop, &requester->watch, EPOLLIN | (requester->blocked ? EPOLLOUT : 0));
    hmci_requester_come_again(requester);
  } else if (requester->armed) {
    hmci_loop_modify(requester->host->loop, &requester->watch, 0);
  }
  requester->armed = needed;
  bool polled = needed && waits_for_device(requester);
  if (polled != requester->polled) hmci_loop_set_polled(requester->host->loop, &requester->watch, polled);
  requester->polled = polled;
}

/* An idle requester keeps no buffers. */
static void release_stages(hmci_requester_t *requester) {
  if (!hmci_list_is_empty(&requester->queue)) return;
  if (requester->out.depth && hmci_stage_is_empty(&requester->out)) hmci_stage_release(&requester->out);
  if (requester->in.depth && hmci_stage_is_empty(&requester->in)) hmci_stage_release(&requester->in);
}

static bool move(hmci_requester_t *requester) {
  bool moved = hmci_requester_receive(requester);
  if (requester->sending || requester->residue || requester->blocked)
    moved |= hmci_requester_send(requester, HMCI_REQUESTER_ROUND);
  return moved;
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  hmci_requester_t *requester = HMCI_CONTAINER(watch, hmci_requester_t, watch);
  bool moved = false;
  if (pthread_mutex_trylock(&requester->lock)) { /* the thread that has it moves it, but may have finished already, */
    /* unless it is a driver: that one asks the loop to look once it leaves, which is still to come as it counts here */
    bool driven = atomic_load(&requester->drivers);
    if (events & HMCI_SOON) atomic_store(&requester->vain, driven);
    if (events & HMCI_SOON && !driven) hmci_loop_call_soon(requester->host->loop, watch);
    return false;
  }
  if (events & HMCI_SOON) atomic_store(&requester->vain, requester->drivers > 0);
  if (!requester->drivers && !requester->failed) {
    bool was_blocked = requester->blocked;
    moved = move(requester);
    if (!requester->failed && (!is_busy(requester) || was_blocked != requester->blocked ||
                               requester->polled != waits_for_device(requester) || events & HMCI_SOON)) {
      settle(requester, true);
    }
    if (events & (EPOLLHUP | EPOLLERR) && !moved && !requester->failed) {
      hmci_requester_lose(requester, "the peer closed the connection");
    }
  }
  pthread_mutex_unlock(&requester->lock);
  return moved;
}

static void enqueue(hmci_requester_t *requester, hmci_operation_t *operation) {
  hmci_stream_state_t *state = hmci_stream_state(operation);
  *state = (hmci_stream_state_t){.sequence = ++requester->sequence, .takes_runs = requester->takes_runs};
  if (operation->kind == HMCI_GET) {
    for (uint32_t i = 0; i < operation->segment_count; i++) state->due += operation->segments[i].length;
    state->is_fine = hmci_pieces_are_fine(operation->segment_count, state->due);
  }
  hmci_list_append(&requester->queue, &state->link);
  operation->easy = operation->easy && requester->takes_easy;
  if (!requester->sending) {
    hmci_requester_send_next(requester, operation);
  }
}

/* Nothing is in progress whose answer will come soon, and send what waits for company. */
static bool is_idle(const hmci_requester_t *requester) {
  if (hmci_list_is_empty(&requester->queue)) return true;
  return !requester->sending && hmci_stream_operation(requester->queue.previous)->easy;
}

/* A small operation waits for company while earlier ones are unacknowledged: their acknowledgement, or a waiting
 * thread, sends it. */
static bool may_wait(const hmci_requester_t *requester, hmci_operation_t *first, bool idle) {
  bool small = first->segment_count <= 1 && first->single.length <= HMCI_STREAM_INLINE;
  return small && (!idle || first->held) &&
         requester->sequence - hmci_stream_state(requester->sending)->sequence < QUEUE_BEFORE_SEND;
}

/* Takes the lock from those who move in a loop, each of whom would take it again before this thread has woken up. */
static void enter(hmci_requester_t *requester) {
  if (!pthread_mutex_trylock(&requester->lock)) return;
  atomic_fetch_add(&requester->callers, 1);
  pthread_mutex_lock(&requester->lock);
  atomic_fetch_sub(&requester->callers, 1);
}

hmc_status_t hmci_requester_submit(hmci_requester_t *requester, hmci_operation_t *operations, uint32_t count) {
  enter(requester);
  if (requester->failed) {
    hmc_status_t status = requester->failed;
    pthread_mutex_unlock(&requester->lock);
    return hmci_fail(status, "the peer is gone");
  }
  bool idle = is_idle(requester), awaited = operations[0].awaited;
  for (uint32_t i = 0; i < count; i++) enqueue(requester, &operations[i]);
  if (hmci_operation_is_told(&operations[count - 1])) requester->told = true;
  bool waits = may_wait(requester, &operations[0], idle);
  if (!waits) hmci_requester_send(requester, awaited ? HMCI_REQUESTER_ROUND : HMCI_REQUESTER_AT_ONCE);
  if (waits && operations[0].held) {
    if (!requester->armed) hmci_loop_call_soon(requester->host->loop, &requester->watch);
  } else if (!awaited && (!requester->armed || requester->blocked)) {
    settle(requester, false);
  }
  pthread_mutex_unlock(&requester->lock);
  return HMC_SUCCESS;
}

/* How long a waiting thread polls though nothing moves: `spin`, and the time the other end may take to receive so
 * much. */
static uint64_t patience(const hmci_operation_t *operation, uint64_t spin) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < operation->segment_count && bytes < PATIENT_BYTES; i++)
    bytes += operation->segments[i].length;
  spin = hmci_processor_spin(spin);
  return spin ? spin + (bytes < PATIENT_BYTES ? bytes : PATIENT_BYTES) / BYTES_PER_NANOSECOND : 0;
}

hmc_status_t hmci_requester_wait(hmci_requester_t *requester, hmci_operation_t *operation, uint64_t spin) {
  hmc_status_t status = HMC_SUCCESS;
  uint64_t idle_since = 0, allowed = patience(operation, spin), look_after = hmci_processor_look_after();
  bool looked = false;
  enter(requester);
  requester->drivers++;
  if (requester->armed) settle(requester, false);
  pthread_mutex_unlock(&requester->lock);

  while (!hmci_operation_is_complete(operation)) {
    bool moved = false;
    if (atomic_load(&requester->callers) || pthread_mutex_trylock(&requester->lock)) {
      sched_yield();
    } else {
      moved = move(requester);
      pthread_mutex_unlock(&requester->lock);
    }
    uint64_t now = hmci_now();
    if (now >= operation->deadline) {
      status = HMC_TIMEOUT;
      break;
    }
    if (moved || !idle_since) {
      idle_since = now;
    } else if (now - idle_since > allowed) {
      status = HMC_IN_PROGRESS;
      break;
    } else if (!looked && now - idle_since > look_after) {
      looked = true; /* once: who shares the processor answers only when this thread lets it run, or sleeps */
      if (hmci_processor_is_shared(requester->pipe->descriptor)) {
        allowed = 0;
        sched_yield();
      }
    }
  }

  enter(requester);
  requester->drivers--;
  if (is_busy(requester)) settle(requester, status == HMC_IN_PROGRESS);
  release_stages(requester);
  pthread_mutex_unlock(&requester->lock);
  return hmci_operation_is_complete(operation) ? HMC_SUCCESS : status;
}

bool hmci_requester_has_work(hmci_requester_t *requester) {
  enter(requester);
  bool work = is_busy(requester) && !requester->failed;
  pthread_mutex_unlock(&requester->lock);
  return work;
}

bool hmci_requester_is_late(const hmci_requester_t *requester) {
  return atomic_load_explicit(&requester->late, memory_order_relaxed) != 0; /* who asks has seen that operation end */
}

void hmci_requester_progress(hmci_requester_t *requester) {
  if (pthread_mutex_trylock(&requester->lock)) return;
  bool moved = false;
  if (requester->sending && !requester->blocked) /* what was kept back goes first: the other end may wait for it */
    moved = hmci_requester_send(requester, HMCI_REQUESTER_ROUND);
  if (!moved && is_busy(requester)) move(requester);
  if (requester->armed) settle(requester, false);
  pthread_mutex_unlock(&requester->lock);
}

/* An operation ended at its deadline: is there a host at all at the other end? */
static void look_at_host(hmci_requester_t *requester) {
  uint64_t silence = requester->host->settings->peer_timeout / 1000000u;
  if (hmci_socket_is_deserted(requester->pipe->descriptor, silence))
    hmci_requester_lose(requester, hmci_socket_loss(ETIMEDOUT, NULL));
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

void hmci_requester_cancel(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status) {
  enter(requester);
  if (!hmci_operation_is_complete(operation)) {
    hmci_requester_abandon(requester, operation);
    if (operation == requester->sending && !hmci_requester_break_off(requester, false)) goto out;
    hmci_requester_forget_sink(requester, operation);
    if (!hmci_operation_is_complete(operation)) hmci_requester_finish(requester, operation, status);
    if (requester->armed || hmci_requester_is_haunted(requester)) settle(requester, true);
    if (status == HMC_TIMEOUT) look_at_host(requester);
  }
out:
  pthread_mutex_unlock(&requester->lock);
}

/* What the peer answered before it went counts, though its session's end was seen first: that goes by another socket. */
static void take_last_answers(hmci_requester_t *requester) {
  for (int i = 0; i < LAST_LOOKS && !requester->failed && hmci_requester_receive(requester); i++) continue;
}

void hmci_requester_fail(hmci_requester_t *requester, hmc_status_t status) {
  enter(requester);
  if (status == HMC_PEER_LOST) take_last_answers(requester);
  if (!requester->failed) requester->failed = status;
  end_all(requester, status);
  pthread_mutex_unlock(&requester->lock);
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

hmc_status_t hmci_requester_open(hmci_requester_t *requester, const hmci_host_t *host, void *connection,
                                 hmci_pipe_t *pipe) {
  *requester = (hmci_requester_t){.host = host, .connection = connection, .pipe = pipe, .watch.ready = on_ready};
  hmci_list_init(&requester->queue);
  pthread_mutex_init(&requester->lock, NULL);
  hmc_status_t status = hmci_loop_add(host->loop, &requester->watch, pipe->descriptor, 0);
  if (status != HMC_SUCCESS) {
    pthread_mutex_destroy(&requester->lock);
    requester->pipe = NULL;
  }
  return status;
}

void hmci_requester_close(hmci_requester_t *requester) {
  if (!requester->pipe) return;
  hmci_loop_remove(requester->host->loop, &requester->watch);
  requester->pipe->close(requester->pipe);
  requester->pipe = NULL;
  free(requester->residue);
  hmci_stage_release(&requester->out);
  hmci_stage_release(&requester->in);
  pthread_mutex_destroy(&requester->lock);
}
