/* The board's streams: queues of work that move on when somebody asks for it.
 *
 * Invariants: a stream does its work in order; an event is complete when the stream has come to the work that was
 * queued before its record. The first query after something was queued answers "not yet".
 *
 * Locking: each stream has a lock, held while its work is done. An event that is waited for is awaited before the
 * waiting stream's lock is taken again, so that two streams never hold each other. `streams_lock` guards the list. */
#include "board_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct work {
  struct work *next;
  enum { WORK_COPY, WORK_FILL, WORK_RUN, WORK_WAIT } type;
  void *to;
  const void *from;
  size_t size;
  board_direction_t direction;
  bool need_peer;
  int value;
  board_status_t (*run)(int device, void *argument);
  board_stream_t *other; /* WAIT: until that stream has done `target` */
  uint64_t target;
  uint8_t argument[];
} work_t;

struct board_stream {
  board_stream_t *next;
  int device;
  bool is_default;
  pthread_mutex_t lock;
  work_t *first, **last;
  uint64_t queued, done, asked; /* asked: what was queued when somebody last heard "not yet" */
  board_status_t failed;        /* the first failure of its work, reported once */
  _Atomic int references;
};

struct board_event {
  int device;
  pthread_mutex_t lock;
  board_stream_t *stream; /* holds a reference; NULL: never recorded */
  uint64_t target;
};

static pthread_mutex_t streams_lock = PTHREAD_MUTEX_INITIALIZER;
static board_stream_t *streams;
static board_stream_t *defaults[BOARD_DEVICES_MOST];

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static board_stream_t *new_stream(int device, bool is_default) {
  board_stream_t *stream = calloc(1, sizeof *stream);
  if (!stream) return NULL;
  stream->device = device;
  stream->is_default = is_default;
  stream->last = &stream->first;
  atomic_store(&stream->references, 1);
  pthread_mutex_init(&stream->lock, NULL);
  return stream;
}

static void drop_stream(board_stream_t *stream) {
  if (!stream || atomic_fetch_sub(&stream->references, 1) > 1) return;
  pthread_mutex_destroy(&stream->lock);
  free(stream);
}

/* The stream that a handle means; NULL where it is none, or another device's. */
static board_stream_t *resolve(int device, board_stream_t *stream, board_status_t *status) {
  *status = board_check(device);
  if (*status != BOARD_OK) return NULL;
  board_stream_t *found = NULL;
  pthread_mutex_lock(&streams_lock);
  if (!stream) {
    if (!defaults[device]) defaults[device] = new_stream(device, true);
    found = defaults[device];
  }
  for (board_stream_t *at = streams; at && !found; at = at->next) {
    if (at == stream) found = at;
  }
  if (found) atomic_fetch_add(&found->references, 1);
  pthread_mutex_unlock(&streams_lock);
  if (!found) {
    *status = board_refuse(BOARD_BAD_HANDLE, "no such stream");
  } else if (found->device != device) {
    *status = board_refuse(BOARD_OTHER_DEVICE, "a stream of another device");
    drop_stream(found);
    found = NULL;
  }
  return found;
}

board_status_t board_stream_create(int device, board_stream_t **stream) {
  board_status_t status = board_check(device);
  if (status != BOARD_OK) return status;
  board_stream_t *made = new_stream(device, false);
  if (!made) return BOARD_NO_MEMORY;
  pthread_mutex_lock(&streams_lock);
  made->next = streams;
  streams = made;
  pthread_mutex_unlock(&streams_lock);
  *stream = made;
  return BOARD_OK;
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

static board_status_t copy_now(int device, void *to, const void *from, size_t size, board_direction_t direction,
                               bool need_peer) {
  if (!size) return BOARD_OK;
  board_place_t target, source;
  board_status_t status = board_take(device, to, size, direction, true, need_peer, &target);
  if (status != BOARD_OK) return status;
  status = board_take(device, from, size, direction, false, need_peer, &source);
  if (status == BOARD_OK) {
    memmove(target.bytes, source.bytes, size);
    board_drop(source.area);
  }
  board_drop(target.area);
  return status;
}

static board_status_t fill_now(int device, void *to, int value, size_t size) {
  board_place_t target;
  board_status_t status = board_take(device, to, size, BOARD_TO_DEVICE, true, false, &target);
  if (status != BOARD_OK) return status;
  memset(target.bytes, value, size);
  board_drop(target.area);
  return BOARD_OK;
}

static board_status_t do_work(board_stream_t *stream, work_t *work) {
  switch (work->type) {
  case WORK_COPY: return copy_now(stream->device, work->to, work->from, work->size, work->direction, work->need_peer);
  case WORK_FILL: return fill_now(stream->device, work->to, work->value, work->size);
  case WORK_RUN: return work->run(stream->device, work->argument);
  case WORK_WAIT: return BOARD_OK; /* awaited before: see advance */
  }
  return BOARD_BAD_ARGUMENT;
}

static void advance(board_stream_t *stream, uint64_t target);

/* Awaits what a piece of work waits for, without the stream's lock. Other threads may do the same meanwhile. */
static void await_other(board_stream_t *stream, work_t *work) {
  board_stream_t *other = work->other;
  uint64_t until = work->target, here = stream->done;
  atomic_fetch_add(&other->references, 1);
  pthread_mutex_unlock(&stream->lock);
  advance(other, until);
  pthread_mutex_lock(&stream->lock);
  if (stream->done == here && work->other) { /* nobody else came by: the work is still there */
    drop_stream(work->other);
    work->other = NULL;
  }
  drop_stream(other);
}

/* Does the stream's work until `target` pieces of it are done; what fails stays noted. */
static void advance(board_stream_t *stream, uint64_t target) {
  pthread_mutex_lock(&stream->lock);
  while (stream->first && stream->done < target) {
    work_t *work = stream->first;
    if (work->type == WORK_WAIT && work->other) {
      await_other(stream, work);
      continue;
    }
    board_status_t status = do_work(stream, work);
    if (status != BOARD_OK && stream->failed == BOARD_OK) stream->failed = status;
    stream->first = work->next;
    if (!stream->first) stream->last = &stream->first;
    stream->done++;
    free(work);
  }
  pthread_mutex_unlock(&stream->lock);
}

/* The same, and tells the first failure, once. */
static board_status_t catch_up(board_stream_t *stream, uint64_t target) {
  advance(stream, target);
  pthread_mutex_lock(&stream->lock);
  board_status_t failed = stream->failed;
  stream->failed = BOARD_OK;
  pthread_mutex_unlock(&stream->lock);
  return failed;
}

static board_status_t enqueue(int device, board_stream_t *handle, const work_t *what, const void *argument,
                              size_t argument_size) {
  board_status_t status;
  board_stream_t *stream = resolve(device, handle, &status);
  if (!stream) return status;
  work_t *work = malloc(sizeof *work + argument_size);
  if (!work) {
    drop_stream(stream);
    return BOARD_NO_MEMORY;
  }
  *work = *what;
  work->next = NULL;
  if (argument_size) memcpy(work->argument, argument, argument_size);
  pthread_mutex_lock(&stream->lock);
  *stream->last = work;
  stream->last = &work->next;
  stream->queued++;
  pthread_mutex_unlock(&stream->lock);
  drop_stream(stream);
  return BOARD_OK;
}

board_status_t board_stream_synchronize(int device, board_stream_t *handle) {
  board_status_t status;
  board_stream_t *stream = resolve(device, handle, &status);
  if (!stream) return status;
  status = catch_up(stream, UINT64_MAX);
  drop_stream(stream);
  return status;
}

/* "Not yet", once for each state of the queue that somebody asks in. */
static bool is_too_early(board_stream_t *stream, uint64_t target) {
  pthread_mutex_lock(&stream->lock);
  bool early = stream->done < target && stream->asked != stream->queued;
  stream->asked = stream->queued;
  pthread_mutex_unlock(&stream->lock);
  return early;
}

board_status_t board_stream_query(int device, board_stream_t *handle) {
  board_status_t status;
  board_stream_t *stream = resolve(device, handle, &status);
  if (!stream) return status;
  pthread_mutex_lock(&stream->lock);
  uint64_t target = stream->queued;
  pthread_mutex_unlock(&stream->lock);
  status = is_too_early(stream, target) ? BOARD_NOT_READY : catch_up(stream, target);
  drop_stream(stream);
  return status;
}

board_status_t board_stream_destroy(board_stream_t *stream) {
  bool found = false;
  pthread_mutex_lock(&streams_lock);
  for (board_stream_t **at = &streams; *at; at = &(*at)->next) {
    if (*at != stream) continue;
    *at = stream->next;
    found = true;
    break;
  }
  pthread_mutex_unlock(&streams_lock);
  if (!found) return board_refuse(BOARD_BAD_HANDLE, "destroying no stream");
  catch_up(stream, UINT64_MAX);
  drop_stream(stream);
  return BOARD_OK;
}

board_status_t board_device_synchronize(int device) {
  board_status_t first = board_stream_synchronize(device, NULL);
  for (unsigned index = 0;; index++) {
    unsigned at = 0;
    pthread_mutex_lock(&streams_lock);
    board_stream_t *stream = streams;
    while (stream && (stream->device != device || at++ != index)) stream = stream->next;
    if (stream) atomic_fetch_add(&stream->references, 1);
    pthread_mutex_unlock(&streams_lock);
    if (!stream) return first;
    board_status_t status = catch_up(stream, UINT64_MAX);
    if (first == BOARD_OK) first = status;
    drop_stream(stream);
  }
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

/* Looks at both sides without touching them. */
static board_status_t look(int device, void *to, const void *from, size_t size, board_direction_t direction,
                           bool need_peer) {
  if (!size) return board_check(device);
  board_place_t place;
  board_status_t status = board_check(device);
  if (status == BOARD_OK) status = board_take(device, to, size, direction, true, need_peer, &place);
  if (status != BOARD_OK) return status;
  board_drop(place.area);
  status = board_take(device, from, size, direction, false, need_peer, &place);
  if (status == BOARD_OK) board_drop(place.area);
  return status;
}

board_status_t board_copy(int device, void *to, const void *from, size_t size, board_direction_t direction,
                          bool need_peer) {
  board_status_t status = look(device, to, from, size, direction, need_peer);
  if (status == BOARD_OK) status = board_stream_synchronize(device, NULL);
  return status == BOARD_OK ? copy_now(device, to, from, size, direction, need_peer) : status;
}

board_status_t board_copy_async(int device, board_stream_t *stream, void *to, const void *from, size_t size,
                                board_direction_t direction, bool need_peer) {
  board_status_t status = look(device, to, from, size, direction, need_peer);
  if (status != BOARD_OK) return status;
  work_t work = {
      .type = WORK_COPY, .to = to, .from = from, .size = size, .direction = direction, .need_peer = need_peer};
  return enqueue(device, stream, &work, NULL, 0);
}

board_status_t board_fill(int device, void *to, int value, size_t size) {
  board_status_t status = board_stream_synchronize(device, NULL);
  return status == BOARD_OK ? fill_now(device, to, value, size) : status;
}

board_status_t board_fill_async(int device, board_stream_t *stream, void *to, int value, size_t size) {
  work_t work = {.type = WORK_FILL, .to = to, .value = value, .size = size};
  return enqueue(device, stream, &work, NULL, 0);
}

board_status_t board_run_async(int device, board_stream_t *stream, board_status_t (*run)(int device, void *argument),
                               const void *argument, size_t size) {
  work_t work = {.type = WORK_RUN, .run = run};
  return enqueue(device, stream, &work, argument, size);
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

board_status_t board_event_create(int device, board_event_t **event) {
  board_status_t status = board_check(device);
  if (status != BOARD_OK) return status;
  board_event_t *made = calloc(1, sizeof *made);
  if (!made) return BOARD_NO_MEMORY;
  made->device = device;
  pthread_mutex_init(&made->lock, NULL);
  *event = made;
  return BOARD_OK;
}

board_status_t board_event_destroy(board_event_t *event) {
  if (!event) return board_refuse(BOARD_BAD_HANDLE, "destroying no event");
  drop_stream(event->stream);
  pthread_mutex_destroy(&event->lock);
  free(event);
  return BOARD_OK;
}

board_status_t board_event_record(int device, board_event_t *event, board_stream_t *handle) {
  if (!event) return board_refuse(BOARD_BAD_HANDLE, "recording no event");
  if (event->device != device) return board_refuse(BOARD_OTHER_DEVICE, "recording an event of another device");
  board_status_t status;
  board_stream_t *stream = resolve(device, handle, &status);
  if (!stream) return status;
  pthread_mutex_lock(&stream->lock);
  uint64_t target = stream->queued;
  pthread_mutex_unlock(&stream->lock);
  pthread_mutex_lock(&event->lock);
  board_stream_t *former = event->stream;
  event->stream = stream;
  event->target = target;
  pthread_mutex_unlock(&event->lock);
  drop_stream(former);
  return BOARD_OK;
}

/* What the event stands for, with a reference to the stream. */
static board_stream_t *mark_of(board_event_t *event, uint64_t *target) {
  pthread_mutex_lock(&event->lock);
  board_stream_t *stream = event->stream;
  *target = event->target;
  if (stream) atomic_fetch_add(&stream->references, 1);
  pthread_mutex_unlock(&event->lock);
  return stream;
}

board_status_t board_event_query(board_event_t *event) {
  if (!event) return board_refuse(BOARD_BAD_HANDLE, "asking no event");
  uint64_t target;
  board_stream_t *stream = mark_of(event, &target);
  if (!stream) return BOARD_OK;
  board_status_t status = is_too_early(stream, target) ? BOARD_NOT_READY : catch_up(stream, target);
  drop_stream(stream);
  return status;
}

board_status_t board_event_synchronize(board_event_t *event) {
  if (!event) return board_refuse(BOARD_BAD_HANDLE, "waiting for no event");
  uint64_t target;
  board_stream_t *stream = mark_of(event, &target);
  if (!stream) return BOARD_OK;
  board_status_t status = catch_up(stream, target);
  drop_stream(stream);
  return status;
}

board_status_t board_stream_wait(int device, board_stream_t *handle, board_event_t *event) {
  if (!event) return board_refuse(BOARD_BAD_HANDLE, "a stream that waits for no event");
  work_t work = {.type = WORK_WAIT};
  work.other = mark_of(event, &work.target);
  board_status_t status = work.other ? enqueue(device, handle, &work, NULL, 0) : BOARD_OK;
  if (status != BOARD_OK) drop_stream(work.other);
  return status;
}
