/* A pipe through UCX: messages, frames, credit (see pipe.h). */
#include "pipe.h"

#include "../../base/guarded.h"
#include "lane.h"
#include "listener.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SINK_PARTS = 72 };

/* What has come and waits for its reader. */
typedef struct chunk {
  hmci_list_t link;
  uint64_t position;
  size_t size;
  uint8_t bytes[];
} chunk_t;

/* A message on its way out. UCX owns its bytes until it calls back. */
typedef struct frame {
  hmci_list_t link; /* worker->posted, or one of the spare lists */
  hmci_ucx_worker_t *worker;
  hmci_ucx_pipe_t *pipe; /* NULL: closed meanwhile */
  size_t room;
  uint8_t bytes[];
} frame_t;

/* ---- readers ----------------------------------------------------------------------------------------------------- */

static bool has_news(const hmci_ucx_pipe_t *pipe) { return pipe->stored || pipe->failed; }

/* UCX holds as many bytes of the worker's pipes as it may. */
static bool is_full(const hmci_ucx_pipe_t *pipe) { return pipe->worker->staged >= HMCI_UCX_STAGE_LIMIT && pipe->held; }

/* How many bytes may go in the next message. */
static size_t room_of(const hmci_ucx_pipe_t *pipe) {
  uint64_t window = HMCI_UCX_WINDOW - (pipe->sent - pipe->acknowledged);
  if (!pipe->open || pipe->held >= HMCI_UCX_HELD || is_full(pipe) || atomic_load(&pipe->shut)) return 0;
  return window < pipe->frame_room ? window : pipe->frame_room;
}

/* There is something for its reader: news, or room where the last send found none. */
static bool calls_for_reader(const hmci_ucx_pipe_t *pipe) { return has_news(pipe) || (pipe->blocked && room_of(pipe)); }

static void make_ready(hmci_ucx_pipe_t *pipe) {
  if (pipe->attended || pipe->muted || !pipe->reader || !hmci_list_is_empty(&pipe->ready)) return;
  hmci_list_append(&pipe->worker->ready, &pipe->ready);
}

void hmci_ucx_pipe_fail(hmci_ucx_pipe_t *pipe, const char *reason) {
  if (pipe->failed) return;
  pipe->failed = true;
  snprintf(pipe->failure, sizeof pipe->failure, "%s", reason);
  make_ready(pipe);
}

/* Connections of UCX are reset and time out on a busy host. What it says of its settings and devices stays true. */
static bool is_transient(ucs_status_t status) {
  switch (status) {
  case UCS_ERR_UNREACHABLE:
  case UCS_ERR_UNSUPPORTED:
  case UCS_ERR_NOT_IMPLEMENTED:
  case UCS_ERR_NO_DEVICE:
  case UCS_ERR_INVALID_ADDR:
  case UCS_ERR_INVALID_PARAM: return false;
  default: return true;
  }
}

void hmci_ucx_pipe_break(hmci_ucx_pipe_t *pipe, ucs_status_t status) {
  if (pipe->failed) return;
  pipe->transient = is_transient(status);
  hmci_ucx_pipe_fail(pipe, pipe->worker->ucx->ucs_status_string(status));
}

void hmci_ucx_pipe_called(hmci_ucx_pipe_t *pipe, bool moved) {
  if (has_news(pipe) && (moved || pipe->stubborn)) make_ready(pipe);
}

void hmci_ucx_pipe_set_reader(hmci_ucx_pipe_t *pipe, hmci_watch_t *reader, bool stubborn) {
  pthread_mutex_lock(&pipe->worker->lock);
  pipe->reader = reader;
  pipe->stubborn = stubborn;
  if (has_news(pipe)) make_ready(pipe);
  hmci_ucx_worker_update(pipe->worker);
  pthread_mutex_unlock(&pipe->worker->lock);
}

void hmci_ucx_pipe_set_lane(hmci_ucx_pipe_t *pipe, hmci_ucx_lane_t *lane) {
  pthread_mutex_lock(&pipe->worker->lock);
  pipe->lane = lane;
  pthread_mutex_unlock(&pipe->worker->lock);
}

void hmci_ucx_pipe_attend(hmci_ucx_pipe_t *pipe) {
  hmci_ucx_worker_t *worker = pipe->worker;
  pthread_mutex_lock(&worker->lock);
  pipe->attended++;
  worker->drivers++;
  hmci_list_remove(&pipe->ready);
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
}

void hmci_ucx_pipe_leave(hmci_ucx_pipe_t *pipe) {
  hmci_ucx_worker_t *worker = pipe->worker;
  pthread_mutex_lock(&worker->lock);
  pipe->attended--;
  worker->drivers--;
  if (calls_for_reader(pipe)) make_ready(pipe); /* the reader has not seen room that came under a driver */
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
}

void hmci_ucx_pipe_reopened(hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&pipe->worker->lock);
  if (calls_for_reader(pipe)) make_ready(pipe);
  hmci_ucx_worker_update(pipe->worker);
  pthread_mutex_unlock(&pipe->worker->lock);
}

void hmci_ucx_pipe_mute(hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&pipe->worker->lock);
  pipe->muted = true;
  hmci_list_remove(&pipe->ready);
  pthread_mutex_unlock(&pipe->worker->lock);
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

static frame_t *take_frame(hmci_ucx_worker_t *worker, size_t size) {
  size_t room = size <= HMCI_UCX_SMALL_FRAME ? HMCI_UCX_SMALL_FRAME : HMCI_UCX_FRAME;
  hmci_list_t *spare = room == HMCI_UCX_FRAME ? &worker->spare_large : &worker->spare_small;
  frame_t *frame;
  if (!hmci_list_is_empty(spare)) {
    frame = HMCI_CONTAINER(spare->next, frame_t, link);
    hmci_list_remove(&frame->link);
    return frame;
  }
  frame = malloc(sizeof *frame + room);
  if (!frame) return NULL;
  *frame = (frame_t){.worker = worker, .room = room};
  hmci_list_init(&frame->link);
  return frame;
}

static void give_frame(frame_t *frame) {
  hmci_ucx_worker_t *worker = frame->worker;
  hmci_list_t *spare = frame->room == HMCI_UCX_FRAME ? &worker->spare_large : &worker->spare_small;
  hmci_list_remove(&frame->link);
  hmci_list_append(spare->next, &frame->link); /* in front: the next to be used is still in the cache */
}

static void free_list(hmci_list_t *list) {
  while (!hmci_list_is_empty(list)) {
    frame_t *frame = HMCI_CONTAINER(list->next, frame_t, link);
    hmci_list_remove(&frame->link);
    free(frame);
  }
}

void hmci_ucx_frames_free(hmci_ucx_worker_t *worker) {
  free_list(&worker->posted);
  free_list(&worker->spare_small);
  free_list(&worker->spare_large);
}

void hmci_ucx_pipe_forget(hmci_ucx_pipe_t *pipe) {
  hmci_ucx_worker_t *worker = pipe->worker;
  for (hmci_list_t *link = worker->posted.next; link != &worker->posted; link = link->next) {
    frame_t *frame = HMCI_CONTAINER(link, frame_t, link);
    if (frame->pipe == pipe) frame->pipe = NULL;
  }
  while (!hmci_list_is_empty(&pipe->chunks)) {
    hmci_list_t *link = pipe->chunks.next;
    hmci_list_remove(link);
    free(HMCI_CONTAINER(link, chunk_t, link));
  }
  if (pipe->starved) worker->starved--;
  pipe->starved = false;
}

/* There is room again for those who found none. */
static void wake_writers(hmci_ucx_worker_t *worker, hmci_ucx_pipe_t *pipe) {
  if (pipe && pipe->blocked) make_ready(pipe);
  for (uint32_t i = 0; i < worker->pipe_room && worker->starved; i++) {
    hmci_ucx_pipe_t *other = worker->pipes[i];
    if (!other || !other->starved) continue;
    other->starved = false;
    worker->starved--;
    make_ready(other);
  }
}

/* UCX is through with a frame. */
static void on_sent(void *request, ucs_status_t status, void *argument) {
  frame_t *frame = argument;
  hmci_ucx_worker_t *worker = frame->worker;
  hmci_ucx_pipe_t *pipe = frame->pipe;
  worker->staged -= frame->room;
  give_frame(frame);
  worker->ucx->ucp_request_free(request);
  if (pipe) {
    pipe->held--;
    if (status != UCS_OK) hmci_ucx_pipe_break(pipe, status);
  }
  wake_writers(worker, pipe);
}

/* Sends a frame whose header and bytes are in place. */
static void post(hmci_ucx_pipe_t *pipe, frame_t *frame, size_t size, uint32_t flags) {
  hmci_ucx_worker_t *worker = pipe->worker;
  ucp_request_param_t param = {
      .op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA,
      .flags = UCP_AM_SEND_FLAG_EAGER | flags, /* with a rendezvous the peer would reach into the frame by itself */
      .cb.send = on_sent,
      .user_data = frame,
  };
  ucs_status_ptr_t request =
      worker->ucx->ucp_am_send_nbx(pipe->endpoint, HMCI_UCX_AM, NULL, 0, frame->bytes, size, &param);
  if (UCS_PTR_IS_PTR(request)) {
    frame->pipe = pipe;
    pipe->held++;
    worker->staged += frame->room;
    hmci_list_append(&worker->posted, &frame->link);
    return;
  }
  give_frame(frame);
  if (UCS_PTR_IS_ERR(request)) hmci_ucx_pipe_break(pipe, UCS_PTR_STATUS(request));
}

static void encode(hmci_ucx_pipe_t *pipe, frame_t *frame, hmci_ucx_type_t type, uint64_t position) {
  hmci_ucx_message_t message = {
      .type = type,
      .pipe = pipe->peer_number,
      .token = pipe->peer_token,
      .position = position,
      .taken = pipe->taken,
  };
  hmci_ucx_message_encode(frame->bytes, &message);
  pipe->credited = pipe->taken;
}

void hmci_ucx_pipe_tell(hmci_ucx_pipe_t *pipe, hmci_ucx_type_t type, uint64_t position, const uint8_t *bytes,
                        size_t size) {
  if (pipe->failed || !pipe->endpoint) return;
  frame_t *frame = take_frame(pipe->worker, HMCI_UCX_HEADER + size);
  if (!frame) {
    hmci_ucx_pipe_fail(pipe, "no memory for a message");
    return;
  }
  encode(pipe, frame, type, position);
  if (size) memcpy(frame->bytes + HMCI_UCX_HEADER, bytes, size);
  /* HELLO has the flag for the endpoint that comes with it at the other end. */
  post(pipe, frame, HMCI_UCX_HEADER + size, type == HMCI_UCX_HELLO ? UCP_AM_SEND_FLAG_REPLY : 0);
}

static void say(hmci_ucx_pipe_t *pipe, hmci_ucx_type_t type) { hmci_ucx_pipe_tell(pipe, type, 0, NULL, 0); }

void hmci_ucx_pipe_hello(hmci_ucx_pipe_t *pipe) { say(pipe, HMCI_UCX_HELLO); }

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* How many bytes may go in the next message; 0: none, and `blocked` says that somebody waits for it. */
static size_t room_to_send(hmci_ucx_pipe_t *pipe) {
  size_t room = room_of(pipe);
  if (room) return room;
  pipe->blocked = true;
  if (is_full(pipe) && !pipe->starved) {
    pipe->starved = true;
    pipe->worker->starved++;
  }
  return 0;
}

typedef struct source {
  const struct iovec *parts;
  int count;
  size_t offset; /* in the first of them */
  size_t left;
} source_t;

/* Copies the next `size` bytes; false where some are not there, which `doubtful` ones may be. */
static bool gather(source_t *source, uint8_t *to, size_t size, bool doubtful) {
  source->left -= size;
  while (size) {
    size_t length = source->parts->iov_len - source->offset;
    if (length > size) length = size;
    const uint8_t *from = (const uint8_t *)source->parts->iov_base + source->offset;
    if (!doubtful) {
      memcpy(to, from, length);
    } else if (!hmci_guarded_read(to, from, length)) {
      return false;
    }
    to += length;
    size -= length;
    source->offset += length;
    if (source->offset == source->parts->iov_len) {
      source->parts++;
      source->offset = 0;
    }
  }
  return true;
}

/* Sends the next `size` bytes as one message. False: the pipe has failed, or some bytes are not there. */
static bool send_frame(hmci_ucx_pipe_t *pipe, source_t *source, size_t size, bool doubtful) {
  frame_t *frame = take_frame(pipe->worker, HMCI_UCX_HEADER + size);
  const source_t before = *source;
  if (!frame) {
    hmci_ucx_pipe_fail(pipe, "no memory for a message");
    return false;
  }
  if (!gather(source, frame->bytes + HMCI_UCX_HEADER, size, doubtful)) {
    *source = before;
    give_frame(frame);
    return false;
  }
  encode(pipe, frame, HMCI_UCX_DATA, pipe->sent);
  pipe->sent += size;
  post(pipe, frame, HMCI_UCX_HEADER + size, 0);
  return true;
}

static ssize_t send_parts(hmci_pipe_t *base, const struct iovec *parts, int count, bool doubtful) {
  hmci_ucx_pipe_t *pipe = (hmci_ucx_pipe_t *)base;
  hmci_ucx_worker_t *worker = pipe->worker;
  source_t source = {.parts = parts, .count = count};
  for (int i = 0; i < count; i++) source.left += parts[i].iov_len;
  size_t wanted = source.left, size;
  bool sound = true;
  pthread_mutex_lock(&worker->lock);
  pipe->blocked = false;
  while (source.left && sound && !pipe->failed && (size = room_to_send(pipe)))
    sound = send_frame(pipe, &source, size < source.left ? size : source.left, doubtful);
  int error = pipe->failed ? ECONNRESET : sound ? EAGAIN : EFAULT;
  pthread_mutex_unlock(&worker->lock);
  if (source.left < wanted) return (ssize_t)(wanted - source.left);
  errno = error;
  return -1;
}

ssize_t hmci_ucx_pipe_send(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  return send_parts(pipe, parts, count, false);
}

ssize_t hmci_ucx_pipe_send_guarded(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  return send_parts(pipe, parts, count, true);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static const char sent_twice[] = "the peer sent bytes twice, or more than there is room for";

/* Copies into what is left of the sink; returns how much. */
static size_t fill_sink(hmci_ucx_pipe_t *pipe, const uint8_t *bytes, size_t size) {
  size_t done = 0;
  while (done < size && pipe->sink_parts) {
    size_t length = size - done;
    if (length > pipe->sink->iov_len) length = pipe->sink->iov_len;
    memcpy(pipe->sink->iov_base, bytes + done, length);
    pipe->sink->iov_base = (uint8_t *)pipe->sink->iov_base + length;
    pipe->sink->iov_len -= length;
    done += length;
    if (pipe->sink->iov_len) continue;
    pipe->sink++;
    pipe->sink_parts--;
  }
  pipe->taken += done;
  pipe->sink_done += done;
  return done;
}

static chunk_t *chunk_of(hmci_list_t *link) { return HMCI_CONTAINER(link, chunk_t, link); }

/* Keeps bytes for later, at their place by position. */
static void store(hmci_ucx_pipe_t *pipe, uint64_t position, const uint8_t *bytes, size_t size) {
  hmci_list_t *head = &pipe->chunks, *before = head->previous;
  while (before != head && chunk_of(before)->position > position) before = before->previous;
  bool clear = (before == head || chunk_of(before)->position + chunk_of(before)->size <= position) &&
               (before->next == head || chunk_of(before->next)->position >= position + size);
  chunk_t *chunk = clear ? malloc(sizeof *chunk + size) : NULL;
  if (!chunk) {
    hmci_ucx_pipe_fail(pipe, clear ? "no memory for what has come" : sent_twice);
    return;
  }
  chunk->position = position;
  chunk->size = size;
  memcpy(chunk->bytes, bytes, size);
  hmci_list_append(before->next, &chunk->link); /* before the one behind it */
}

/* Counts in what follows in order on what has come; what is still early stays behind. */
static void advance(hmci_ucx_pipe_t *pipe) {
  for (hmci_list_t *link = pipe->chunks.next; link != &pipe->chunks; link = link->next) {
    const chunk_t *chunk = chunk_of(link);
    if (chunk->position + chunk->size <= pipe->received) continue;
    if (chunk->position != pipe->received) return;
    pipe->received += chunk->size;
    pipe->stored += chunk->size;
  }
}

/* Puts bytes where the call of receive in progress wants them, or keeps them. */
static void take_data(hmci_ucx_pipe_t *pipe, const hmci_ucx_message_t *message) {
  uint64_t end = message->position + message->size;
  if (message->position < pipe->received || end - pipe->taken > HMCI_UCX_WINDOW) {
    hmci_ucx_pipe_fail(pipe, sent_twice);
    return;
  }
  const uint8_t *bytes = message->bytes;
  size_t size = message->size;
  uint64_t position = message->position;
  pipe->sink_last = size;
  if (position == pipe->received && !pipe->stored && pipe->sink) {
    size_t done = fill_sink(pipe, bytes, size);
    pipe->received += done;
    position += done;
    bytes += done;
    size -= done;
  }
  if (size) store(pipe, position, bytes, size);
  advance(pipe);
  if (pipe->stored) make_ready(pipe);
}

/* Returns what is stored. */
static void drain(hmci_ucx_pipe_t *pipe) {
  while (pipe->stored && pipe->sink_parts) {
    chunk_t *chunk = chunk_of(pipe->chunks.next);
    size_t start = (size_t)(pipe->taken - chunk->position), left = chunk->size - start;
    size_t done = fill_sink(pipe, chunk->bytes + start, left);
    pipe->stored -= done;
    if (done < left) return;
    hmci_list_remove(&chunk->link);
    free(chunk);
  }
}

ssize_t hmci_ucx_pipe_receive(hmci_pipe_t *base, const struct iovec *parts, int count) {
  hmci_ucx_pipe_t *pipe = (hmci_ucx_pipe_t *)base;
  hmci_ucx_worker_t *worker = pipe->worker;
  struct iovec sink[SINK_PARTS];
  if (count > SINK_PARTS) count = SINK_PARTS;
  memcpy(sink, parts, (size_t)count * sizeof *sink);
  pthread_mutex_lock(&worker->lock);
  pipe->sink = sink;
  pipe->sink_parts = count;
  pipe->sink_done = 0;
  drain(pipe);
  bool more = true;
  while (more && pipe->sink_parts && !pipe->failed) {
    pipe->sink_last = 0;
    more = hmci_ucx_worker_poll(worker) && pipe->sink_last > HMCI_UCX_SMALL_FRAME; /* a small one is answered at once */
  }
  pipe->sink = NULL;
  pipe->sink_parts = 0;
  size_t done = pipe->sink_done;
  if (pipe->taken - pipe->credited >= HMCI_UCX_WINDOW / 4 && !pipe->failed) say(pipe, HMCI_UCX_CREDIT);
  bool failed = pipe->failed;
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
  if (done) return (ssize_t)done;
  errno = failed ? ECONNRESET : EAGAIN;
  return -1;
}

bool hmci_ucx_pipe_pending(hmci_pipe_t *base) {
  hmci_ucx_pipe_t *pipe = (hmci_ucx_pipe_t *)base;
  pthread_mutex_lock(&pipe->worker->lock);
  bool pending = has_news(pipe);
  pthread_mutex_unlock(&pipe->worker->lock);
  return pending;
}

bool hmci_ucx_pipe_calls_for_reader(hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&pipe->worker->lock);
  bool calls = calls_for_reader(pipe);
  pthread_mutex_unlock(&pipe->worker->lock);
  return calls;
}

bool hmci_ucx_pipe_has_failed(hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&pipe->worker->lock);
  bool failed = pipe->failed;
  pthread_mutex_unlock(&pipe->worker->lock);
  return failed;
}

bool hmci_ucx_pipe_is_transient(hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&pipe->worker->lock);
  bool transient = pipe->failed ? pipe->transient : pipe->endpoint != NULL;
  pthread_mutex_unlock(&pipe->worker->lock);
  return transient;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static void take_credit(hmci_ucx_pipe_t *pipe, uint64_t taken) {
  if (taken > pipe->sent) {
    hmci_ucx_pipe_fail(pipe, "the peer took bytes that it was not sent");
    return;
  }
  if (taken <= pipe->acknowledged) return; /* an older message */
  pipe->acknowledged = taken;
  if (pipe->blocked) make_ready(pipe);
}

static void take_message(hmci_ucx_pipe_t *pipe, const hmci_ucx_message_t *message, ucp_ep_h endpoint) {
  take_credit(pipe, message->taken);
  switch (message->type) {
  case HMCI_UCX_DATA: take_data(pipe, message); break;
  case HMCI_UCX_CREDIT: break;
  case HMCI_UCX_HELLO:
    if (pipe->endpoint || !hmci_ucx_stranger_claim(pipe->worker, endpoint)) break;
    pipe->endpoint = endpoint;
    pipe->open = true;
    hmci_ucx_pipe_look(pipe);
    say(pipe, HMCI_UCX_WELCOME);
    break;
  case HMCI_UCX_WELCOME:
    if (pipe->open || !pipe->endpoint) break;
    pipe->open = true;
    hmci_ucx_pipe_look(pipe);
    if (pipe->blocked) make_ready(pipe);
    break;
  default:
    if (pipe->lane && pipe->open) hmci_ucx_lane_take(pipe->lane, pipe, message);
    break;
  }
}

ucs_status_t hmci_ucx_pipe_on_message(void *argument, const void *header, size_t header_size, void *data, size_t size,
                                      const ucp_am_recv_param_t *param) {
  (void)header;
  hmci_ucx_worker_t *worker = argument;
  hmci_ucx_message_t message;
  ucp_ep_h endpoint = param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP ? param->reply_ep : NULL;
  bool sound = !header_size && !(param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) &&
               hmci_ucx_message_decode(data, size, &message) == HMC_SUCCESS && message.pipe < worker->pipe_room;
  hmci_ucx_pipe_t *pipe = sound ? worker->pipes[message.pipe] : NULL;
  if (pipe && pipe->token == message.token && pipe->expecting && !pipe->failed) {
    take_message(pipe, &message, endpoint);
  } else if (endpoint) { /* anybody may connect, but nobody stays without the token of a pipe */
    hmci_ucx_stranger_refuse(worker, endpoint);
  }
  return UCS_OK;
}
