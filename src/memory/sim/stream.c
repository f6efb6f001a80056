/* The software accelerator's asynchronous copies: single, batched, and on streams.
 *
 * A job is one submission to the engine: some transfers that are over at `due`. Calls that ask for its end move what has
 * had its time, and the call that reports the end moves the rest, so that a missing wait is seen. A stream is a queue of
 * jobs; an event is a number of its jobs.
 *
 * Locking: a stream's lock guards its queue, and is held while its jobs' bytes move, so that they move in order.
 * `streams_lock` guards the list of streams, and is inner. References are atomic. */
#include "engine.h"
#include "sim_internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
  PART = 1 << 20,   /* bytes of a transfer that move at once before its end */
  LOOK_NS = 1000000 /* how often a thread that waits moves what has had its time */
};

typedef struct job {
  struct job *next;
  uint64_t due;
  uint64_t bytes, moved; /* of all transfers */
  size_t offset;         /* how far transfer `index` has moved */
  uint32_t index, count;
  hmci_sim_transfer_t transfers[];
} job_t;

typedef struct stream {
  hmci_list_t link; /* streams_lock */
  int device;
  _Atomic int references;
  pthread_mutex_t lock;
  job_t *first, **last;  /* lock, as all below */
  uint64_t queued, done; /* jobs */
  hmc_status_t failed;   /* of the first job that failed, until somebody is given it */
} stream_t;

static pthread_mutex_t streams_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_list_t streams = {&streams, &streams};
static stream_t *defaults[HMCI_SIM_ENGINES]; /* streams_lock */

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

/* What moves next. A transfer whose ends overlap moves as a whole. */
static hmci_sim_transfer_t next_part(const job_t *job) {
  hmci_sim_transfer_t part = job->transfers[job->index];
  uintptr_t to = (uintptr_t)part.destination, from = (uintptr_t)part.source;
  if (to < from + part.size && from < to + part.size) return part;
  part.destination = (uint8_t *)part.destination + job->offset;
  part.source = (const uint8_t *)part.source + job->offset;
  part.size -= job->offset;
  if (part.size > PART) part.size = PART;
  return part;
}

/* Moves the parts that lie within the job's first `limit` bytes. A part that fails is tried again by the next call. */
static hmc_status_t move_until(job_t *job, uint64_t limit) {
  while (job->index < job->count) {
    hmci_sim_transfer_t part = next_part(job);
    if (job->moved + part.size > limit) break;
    hmc_status_t status = hmci_sim_move(&part);
    if (status != HMC_SUCCESS) return status;
    job->moved += part.size;
    job->offset += part.size;
    if (job->offset < job->transfers[job->index].size) continue;
    job->index++;
    job->offset = 0;
  }
  return HMC_SUCCESS;
}

/* Moves what is due. HMC_IN_PROGRESS: there is more; that something failed is said at the end. */
static hmc_status_t move_due(job_t *job) {
  uint64_t now = hmci_now(); /* once: what is said and what is moved must agree */
  if (job->due <= now) return move_until(job, job->bytes);
  move_until(job, hmci_sim_engine_moved(job->due, job->bytes, now));
  return HMC_IN_PROGRESS;
}

/* Checks all transfers before it books the time of their sum: one latency, however many they are. */
static hmc_status_t make_job(int device, const hmci_copy_piece_t *pieces, uint32_t count,
                             hmci_copy_direction_t direction, job_t **out) {
  job_t *job = malloc(sizeof *job + count * sizeof job->transfers[0]);
  if (!job) return hmci_fail(HMC_NO_MEMORY, "sim:%d: no memory for %u copies", device, (unsigned)count);
  *job = (job_t){.count = count};
  hmc_status_t status = hmci_sim_check_device(device);
  for (uint32_t i = 0; i < count && status == HMC_SUCCESS; i++) {
    job->transfers[i] = (hmci_sim_transfer_t){.device = device,
                                              .destination = pieces[i].destination,
                                              .source = pieces[i].source,
                                              .size = pieces[i].size,
                                              .is_to_host = direction == HMCI_COPY_TO_HOST,
                                              .is_from_host = direction == HMCI_COPY_FROM_HOST};
    status = hmci_sim_begin(&job->transfers[i], NULL);
    job->bytes += pieces[i].size;
  }
  if (status != HMC_SUCCESS) {
    free(job);
    return status;
  }
  job->due = hmci_sim_engine_book(device, job->bytes);
  *out = job;
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_copy_batch_start(int device, const hmci_copy_piece_t *pieces, uint32_t count,
                                       hmci_copy_direction_t direction, hmci_copy_t *copy) {
  job_t *job;
  hmc_status_t status = make_job(device, pieces, count, direction, &job);
  if (status == HMC_SUCCESS) *copy = (hmci_copy_t){.state = {job}};
  return status;
}

static hmci_copy_direction_t direction_from(const void *source) {
  return hmci_sim_is_device(source) ? HMCI_COPY_WITHIN : HMCI_COPY_FROM_HOST;
}

hmc_status_t hmci_sim_copy_start(int device, void *destination, const void *source, size_t size, bool to_host,
                                 hmci_copy_t *copy) {
  hmci_copy_piece_t piece = {destination, source, size};
  return hmci_sim_copy_batch_start(device, &piece, 1, to_host ? HMCI_COPY_TO_HOST : direction_from(source), copy);
}

hmc_status_t hmci_sim_copy_done(hmci_copy_t *copy) {
  job_t *job = copy->state[0];
  if (!job) return hmci_fail(HMC_INVALID_CONFIG, "sim: this copy is over or was never started");
  hmc_status_t status = move_due(job);
  if (status == HMC_IN_PROGRESS) return status;
  copy->state[0] = NULL;
  free(job);
  return status;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static stream_t *new_stream(int device) {
  stream_t *stream = calloc(1, sizeof *stream);
  if (!stream) return NULL;
  stream->device = device;
  stream->last = &stream->first;
  atomic_store(&stream->references, 1);
  pthread_mutex_init(&stream->lock, NULL);
  hmci_list_append(&streams, &stream->link);
  return stream;
}

static void drop(stream_t *stream) {
  if (atomic_fetch_sub(&stream->references, 1) > 1) return;
  pthread_mutex_destroy(&stream->lock);
  free(stream);
}

/* The stream that a handle means, with a reference. */
static hmc_status_t resolve(int device, void *handle, stream_t **out) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status != HMC_SUCCESS) return status;
  stream_t *found = NULL;
  pthread_mutex_lock(&streams_lock);
  if (!handle && !defaults[device]) defaults[device] = new_stream(device);
  if (!handle) found = defaults[device];
  for (hmci_list_t *link = streams.next; link != &streams && !found; link = link->next) {
    stream_t *stream = HMCI_CONTAINER(link, stream_t, link);
    if (stream == handle && stream->device == device) found = stream;
  }
  if (found) atomic_fetch_add(&found->references, 1);
  pthread_mutex_unlock(&streams_lock);
  if (!found && !handle) return hmci_fail(HMC_NO_MEMORY, "sim:%d: no memory for a stream", device);
  if (!found) return hmci_fail(HMC_NOT_FOUND, "sim:%d: %p is not a stream of this device", device, handle);
  *out = found;
  return HMC_SUCCESS;
}

/* Does the jobs up to number `target` whose time has come; HMC_IN_PROGRESS where one's has not. */
static hmc_status_t advance(stream_t *stream, uint64_t target) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&stream->lock);
  while (stream->first && stream->done < target && status == HMC_SUCCESS) {
    job_t *job = stream->first;
    hmc_status_t moved = move_due(job);
    if (moved == HMC_IN_PROGRESS) {
      status = moved;
      break;
    }
    if (stream->failed == HMC_SUCCESS) stream->failed = moved;
    stream->first = job->next;
    if (!stream->first) stream->last = &stream->first;
    stream->done++;
    free(job);
  }
  if (status == HMC_SUCCESS) {
    status = stream->failed;
    stream->failed = HMC_SUCCESS;
  }
  pthread_mutex_unlock(&stream->lock);
  return status;
}

static uint64_t due_of_next(stream_t *stream) {
  pthread_mutex_lock(&stream->lock);
  uint64_t due = stream->first ? stream->first->due : 0;
  pthread_mutex_unlock(&stream->lock);
  return due;
}

/* Looks now and then, so that the bytes of a long copy do not all move after its time. */
static hmc_status_t wait_for(stream_t *stream) {
  hmc_status_t status;
  while ((status = advance(stream, UINT64_MAX)) == HMC_IN_PROGRESS) {
    uint64_t due = due_of_next(stream), soon = hmci_now() + LOOK_NS;
    hmci_sim_engine_wait(due < soon ? due : soon);
  }
  return status;
}

hmc_status_t hmci_sim_stream_create(int device, void **stream) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_lock(&streams_lock);
  stream_t *made = new_stream(device);
  pthread_mutex_unlock(&streams_lock);
  if (!made) return hmci_fail(HMC_NO_MEMORY, "sim:%d: no memory for a stream", device);
  *stream = made;
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_stream_destroy(int device, void *handle) {
  stream_t *stream;
  if (!handle) return hmci_fail(HMC_INVALID_CONFIG, "sim:%d: the default stream cannot be destroyed", device);
  hmc_status_t status = resolve(device, handle, &stream);
  if (status != HMC_SUCCESS) return status;
  status = wait_for(stream);
  pthread_mutex_lock(&streams_lock);
  hmci_list_remove(&stream->link);
  pthread_mutex_unlock(&streams_lock);
  drop(stream); /* its own reference */
  drop(stream);
  return status;
}

hmc_status_t hmci_sim_stream_wait(int device, void *handle) {
  stream_t *stream;
  hmc_status_t status = resolve(device, handle, &stream);
  if (status != HMC_SUCCESS) return status;
  status = wait_for(stream);
  drop(stream);
  return status;
}

hmc_status_t hmci_sim_copy_on_stream(int device, void *destination, const void *source, size_t size, void *handle) {
  stream_t *stream;
  job_t *job;
  hmc_status_t status = resolve(device, handle, &stream);
  if (status != HMC_SUCCESS) return status;
  hmci_copy_piece_t piece = {destination, source, size};
  bool to_host = size && !hmci_sim_is_device(destination);
  status = make_job(device, &piece, 1, to_host ? HMCI_COPY_TO_HOST : direction_from(source), &job);
  if (status == HMC_SUCCESS) {
    pthread_mutex_lock(&stream->lock);
    *stream->last = job;
    stream->last = &job->next;
    stream->queued++;
    pthread_mutex_unlock(&stream->lock);
  }
  drop(stream);
  return status;
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

hmc_status_t hmci_sim_event_record(int device, void *handle, hmci_event_t *event) {
  stream_t *stream;
  hmc_status_t status = resolve(device, handle, &stream);
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_lock(&stream->lock);
  uint64_t target = stream->queued;
  pthread_mutex_unlock(&stream->lock);
  *event = (hmci_event_t){.state = {stream, (void *)(uintptr_t)target}}; /* keeps the reference */
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_event_done(hmci_event_t *event) {
  stream_t *stream = event->state[0];
  if (!stream) return hmci_fail(HMC_INVALID_CONFIG, "sim: this event is over or was never recorded");
  hmc_status_t status = advance(stream, (uint64_t)(uintptr_t)event->state[1]);
  if (status == HMC_IN_PROGRESS) return status;
  event->state[0] = NULL;
  drop(stream);
  return status;
}
