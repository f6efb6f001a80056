/* The answering end of a stream: the service (see responder.h). */
#include "responder_internal.h"

#include "../../base/futex.h"
#include "../../base/socket.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum {
  EASY_NANOSECONDS = 20000000
};                        /* until operations that nobody waits for are acknowledged: an answer costs what they do */
enum { DELAY_ACKS = 32 }; /* turns of the loop without an answer, between two such wishes */
enum { TURNS = 4, TURN = 500000 }; /* how often the loop's thread lets others go first, and for how many nanoseconds */

void hmci_responder_free_job(hmci_responder_t *responder, hmci_responder_job_t *job) {
  hmci_responder_release(responder, &job->region);
  if (!job->count) responder->refusals--;
  hmci_list_remove(&job->link);
  responder->job_count--;
  free(job);
}

/* Ends the service; the peer sees the socket close. */
static void stop(hmci_responder_t *responder) {
  responder->failed = true;
  for (; !hmci_stage_is_empty(&responder->in); hmci_stage_pop(&responder->in)) {
    hmci_stage_slot_t *slot = hmci_stage_oldest(&responder->in);
    hmci_stage_finish(slot);
    hmci_responder_release(responder, &slot->region);
  }
  for (; !hmci_stage_is_empty(&responder->out); hmci_stage_pop(&responder->out)) {
    hmci_stage_finish(hmci_stage_oldest(&responder->out));
  }
  hmci_loop_set_polled(responder->host->loop, &responder->watch, false);
  hmci_responder_release(responder, &responder->region);
  free(responder->rest);
  responder->rest = NULL;
  while (!hmci_list_is_empty(&responder->jobs)) hmci_responder_free_job(responder, hmci_responder_first_job(responder));
  hmci_loop_silence(responder->host->loop, &responder->watch);
}

void hmci_responder_lose(hmci_responder_t *responder, const char *reason) {
  stop(responder);
  responder->host->connection_lost(responder->host, responder->connection, reason);
}

void hmci_responder_break_off(hmci_responder_t *responder) {
  hmci_log(HMC_LOG_WARNING, "a data connection is closed: %s", hmc_last_error());
  hmci_responder_lose(responder, "it broke the protocol");
}

/* ---- the service ------------------------------------------------------------------------------------------------- */

/* What no descriptor tells: a device copies, the pool has to get a buffer back, or an encrypting pipe holds bytes that
 * wait. */
static bool has_to_poll(const hmci_responder_t *responder) {
  if (!responder->paused && responder->pipe->pending && responder->pipe->pending(responder->pipe)) return true;
  if (!hmci_stage_is_empty(&responder->in) && responder->in.slots[responder->in.head].started) return true;
  if (responder->blocked || hmci_list_is_empty(&responder->jobs)) return false;
  const hmci_responder_job_t *job = HMCI_CONTAINER(responder->jobs.next, hmci_responder_job_t, link);
  return job->region && !job->region->ops->host_accessible;
}

/* Asks the loop for what is waited for, where that has changed; an idle responder keeps no buffers. */
static void settle(hmci_responder_t *responder, bool was_blocked, bool was_paused) {
  hmci_loop_t *loop = responder->host->loop;
  if (was_blocked != responder->blocked || was_paused != responder->paused) {
    hmci_loop_modify(loop, &responder->watch, (responder->paused ? 0 : EPOLLIN) | (responder->blocked ? EPOLLOUT : 0));
  }
  if (responder->ack_sent < responder->ack_due && !responder->ack_presses) {
    hmci_loop_call_within(loop, &responder->watch, EASY_NANOSECONDS);
    if (responder->unanswered++ % DELAY_ACKS == 0) hmci_socket_delay_acks(responder->pipe->descriptor);
  }
  bool polled = has_to_poll(responder);
  if (polled != responder->polled) hmci_loop_set_polled(loop, &responder->watch, polled);
  responder->polled = polled;
  if (responder->in.depth && hmci_stage_is_empty(&responder->in) && !responder->payload_left)
    hmci_stage_release(&responder->in);
  if (hmci_list_is_empty(&responder->jobs)) hmci_responder_narrow(responder);
  if (responder->out.depth && hmci_list_is_empty(&responder->jobs)) hmci_stage_release(&responder->out);
}

/* ---- whose turn it is -------------------------------------------------------------------------------------------- */

static void take_first(hmci_responder_t *responder) {
  atomic_fetch_add(&responder->callers, 1); /* partner: hmci_responder_is_wanted */
  pthread_mutex_lock(&responder->lock);
}

static void leave(hmci_responder_t *responder) {
  pthread_mutex_unlock(&responder->lock);
  if (atomic_fetch_sub(&responder->callers, 1) == 1) hmci_futex_wake(&responder->callers, HMCI_FUTEX_PRIVATE);
}

/* In the loop's thread: the others go first. Not for ever, should many of them come. */
static void take_last(hmci_responder_t *responder) {
  uint32_t callers;
  for (int i = 0; i < TURNS && (callers = atomic_load(&responder->callers)) > 0; i++)
    hmci_futex_wait(&responder->callers, callers, TURN, HMCI_FUTEX_PRIVATE);
  pthread_mutex_lock(&responder->lock);
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  hmci_responder_t *responder = HMCI_CONTAINER(watch, hmci_responder_t, watch);
  bool moved = false;
  take_last(responder);
  if (!responder->failed) {
    bool was_blocked = responder->blocked, was_paused = responder->paused;
    if (!responder->paused) moved = hmci_responder_receive(responder);
    if (events & HMCI_SOON && responder->ack_sent < responder->ack_due) responder->ack_presses = true;
    if (!responder->failed) moved |= hmci_responder_send(responder);
    if (!responder->failed && responder->paused && responder->job_count < HMCI_RESPONDER_JOBS) {
      responder->paused = false; /* there is room again; what waits in the socket makes the next event */
      moved = true;
    }
    if (!moved && !responder->failed && events & (EPOLLHUP | EPOLLERR))
      hmci_responder_lose(responder, "the peer closed the connection");
    if (!responder->failed) settle(responder, was_blocked, was_paused);
  }
  pthread_mutex_unlock(&responder->lock);
  return moved;
}

/* The device finishes with a region: chunks of it are ended, or become bytes of nothing. False when the stream is
 * broken. */
static bool finish_chunks(hmci_responder_t *responder, const hmci_region_view_t *region) {
  bool moved;
  if (responder->region == region && hmci_responder_is_staged(responder) && !hmci_stage_is_empty(&responder->in)) {
    hmci_stage_slot_t *newest = hmci_stage_newest(&responder->in);
    newest->started = true; /* half full: not copied */
  }
  return hmci_responder_end_chunks(responder, true, &moved);
}

/* The frame that comes in loses its region: its payload is dropped, and its operation refused. */
static void drop_sink(hmci_responder_t *responder) {
  hmci_responder_release(responder, &responder->region);
  hmci_responder_refuse(responder, HMC_STALE);
}

/* Is the header of a get's last frame out, which says that the get is complete with it? */
static bool is_promised(const hmci_responder_t *responder, const hmci_responder_job_t *job) {
  uint64_t size = responder->data_left;
  return &job->link == responder->jobs.next && size && job->last && job->left == size;
}

/* Takes the bytes that were promised now, while they are still the region's. */
static bool keep_rest(hmci_responder_t *responder, const hmci_responder_job_t *job) {
  uint64_t size = responder->data_left;
  uint8_t *rest = malloc(size);
  if (!rest) return false;
  hmci_cursor_t cursor = job->cursor;
  if (!job->region->ops->host_accessible) {
    memcpy(rest, hmci_stage_oldest(&responder->out)->buffer + responder->out_sent, size);
  } else if (hmci_pieces_to_host(job->region, job->entries, job->count, &cursor, rest, size) != HMC_SUCCESS) {
    free(rest);
    return false;
  }
  responder->rest = rest;
  responder->rest_sent = 0;
  return true;
}

/* A get that is not answered yet loses its region: what still goes out of it is zeros and a refusal. False, and the
 * peer is lost, where success was promised and the bytes cannot be had: nothing else would keep it from that. */
static bool drop_source(hmci_responder_t *responder, hmci_responder_job_t *job) {
  if (!is_promised(responder, job)) {
    job->status = HMC_STALE;
  } else if (!keep_rest(responder, job)) {
    hmci_responder_lose(responder, "the last bytes of a get are gone, or there is no memory for them");
    return false;
  }
  if (&job->link == responder->jobs.next) hmci_responder_drop_chunks(responder);
  hmci_responder_release(responder, &job->region);
  return true;
}

void hmci_responder_revoke(hmci_responder_t *responder, hmci_region_view_t *region) {
  if (!responder->pipe) return;
  take_first(responder);
  if (!responder->failed && !finish_chunks(responder, region)) hmci_responder_break_off(responder);
  if (responder->region == region) drop_sink(responder);
  for (hmci_list_t *link = responder->jobs.next; link != &responder->jobs; link = link->next) {
    hmci_responder_job_t *job = HMCI_CONTAINER(link, hmci_responder_job_t, link);
    if (job->region && job->region == region && !drop_source(responder, job)) break;
  }
  leave(responder);
}

void hmci_responder_revoke_lease(hmci_responder_t *responder, uint64_t lease) {
  if (!responder->pipe) return;
  take_first(responder);
  bool sink = responder->region && responder->request.lease == lease;
  if (!responder->failed && !finish_chunks(responder, sink ? responder->region : NULL))
    hmci_responder_break_off(responder);
  if (responder->region && sink) drop_sink(responder);
  for (hmci_list_t *link = responder->jobs.next; link != &responder->jobs; link = link->next) {
    hmci_responder_job_t *job = HMCI_CONTAINER(link, hmci_responder_job_t, link);
    if (job->region && job->lease == lease && !drop_source(responder, job)) break;
  }
  leave(responder);
}

hmc_status_t hmci_responder_open(hmci_responder_t *responder, const hmci_host_t *host, void *connection,
                                 hmci_pipe_t *pipe) {
  *responder = (hmci_responder_t){.host = host, .connection = connection, .pipe = pipe, .watch.ready = on_ready};
  responder->replies = responder->narrow;
  hmci_list_init(&responder->jobs);
  pthread_mutex_init(&responder->lock, NULL);
  hmc_status_t status = hmci_loop_add(host->loop, &responder->watch, pipe->descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) {
    pthread_mutex_destroy(&responder->lock);
    responder->pipe = NULL;
  }
  return status;
}

void hmci_responder_fail(hmci_responder_t *responder) {
  if (!responder->pipe) return;
  take_first(responder);
  if (!responder->failed) stop(responder);
  leave(responder);
}

void hmci_responder_close(hmci_responder_t *responder) {
  if (!responder->pipe) return;
  hmci_responder_fail(responder);
  hmci_loop_remove(responder->host->loop, &responder->watch);
  responder->pipe->close(responder->pipe);
  responder->pipe = NULL;
  responder->replies_size = 0;
  hmci_responder_narrow(responder);
  free(responder->table);
  free(responder->entries);
  free(responder->message);
  hmci_stage_release(&responder->in);
  hmci_stage_release(&responder->out);
  pthread_mutex_destroy(&responder->lock);
}
