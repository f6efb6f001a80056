/* Drivers: streams, events and copies on them (see driver.h). */
#include "driver_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- spare events ----------------------------------------------------------------------------------------------------- */

static hmc_status_t take_event(hmci_driver_t *driver, int device, void **event) {
  hmci_driver_device_t *pool = &driver->device[device];
  pthread_mutex_lock(&pool->pool_lock);
  bool spare = pool->event_count;
  if (spare) *event = pool->events[--pool->event_count];
  pthread_mutex_unlock(&pool->pool_lock);
  return spare ? HMC_SUCCESS : driver->ops->event_create(event);
}

static void give_event(hmci_driver_t *driver, int device, void *event) {
  hmci_driver_device_t *pool = &driver->device[device];
  pthread_mutex_lock(&pool->pool_lock);
  bool kept = pool->event_count < HMCI_DRIVER_SPARE;
  if (kept) pool->events[pool->event_count++] = event;
  pthread_mutex_unlock(&pool->pool_lock);
  if (!kept) driver->ops->event_destroy(event);
}

/* The stream of a direction. */
static hmc_status_t ordered_stream(hmci_driver_t *driver, int device, hmci_copy_direction_t direction, void **stream) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&driver->lock);
  void **slot = &driver->device[device].ordered[direction];
  if (!*slot) status = driver->ops->stream_create(slot);
  *stream = *slot;
  pthread_mutex_unlock(&driver->lock);
  return status;
}

/* ---- checking copies --------------------------------------------------------------------------------------------- */

/* One side that is device memory: within its bounds, as far as they are known; `*owner` is its device. */
static hmc_status_t check_side(hmci_driver_t *driver, const void *pointer, size_t size, bool owner_matters,
                               int *owner) {
  known_t known;
  if (hmci_driver_look_up(driver, pointer, &known)) {
    size_t offset = (size_t)((const char *)pointer - (const char *)known.base);
    *owner = known.device;
    if (hmci_range_fits(offset, size, known.size)) return HMC_SUCCESS;
    return hmci_fail(HMC_OUT_OF_RANGE, "%s:%d: %zu B at offset %zu run past the allocation's %zu B", driver->ops->name,
                     known.device, size, offset, known.size);
  }
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  if (!owner_matters) return HMC_SUCCESS;
  if (hmci_driver_query(driver, pointer, &info) == HMC_SUCCESS) *owner = info.memory.device;
  return HMC_SUCCESS;
}

static hmc_status_t refuse_host(hmci_driver_t *driver, const void *pointer) {
  known_t known;
  if (!hmci_driver_look_up(driver, pointer, &known)) return HMC_SUCCESS;
  return hmci_fail(HMC_INVALID_CONFIG, "%s: %p is device memory, but was given as host memory", driver->ops->name,
                   pointer);
}

/* The current device gets access to another's memory, once. HMC_UNSUPPORT: it cannot have it. */
static hmc_status_t let_in(hmci_driver_t *driver, int device, int other) {
  if (device == other || !driver->ops->let_in) return HMC_SUCCESS;
  uint32_t bit = UINT32_C(1) << other;
  if (atomic_load(&driver->device[device].lets_in) & bit) return HMC_SUCCESS;
  bool reaches = true;
  hmc_status_t status = hmci_driver_need(driver, HMCI_NEED_PEERS, "copy between devices");
  if (status == HMC_SUCCESS && driver->ops->reaches) status = driver->ops->reaches(device, other, &reaches);
  if (status == HMC_SUCCESS && !reaches)
    status = hmci_fail(HMC_UNSUPPORT, "%s:%d does not reach memory of %s:%d", driver->ops->name, device,
                       driver->ops->name, other);
  if (status == HMC_SUCCESS) status = driver->ops->let_in(device, other);
  if (status == HMC_SUCCESS) atomic_fetch_or(&driver->device[device].lets_in, bit);
  return status;
}

/* The way between two devices. Copies of some vendors go without one, through host memory, where the devices have none. */
static hmc_status_t open_way(hmci_driver_t *driver, int device, int other) {
  if (!driver->ops->copies_across) return let_in(driver, device, other);
  uint32_t bit = UINT32_C(1) << other;
  if (device == other || atomic_load(&driver->device[device].tried) & bit) return HMC_SUCCESS;
  if (atomic_fetch_or(&driver->device[device].tried, bit) & bit) return HMC_SUCCESS;
  bool was_silent = hmci_fail_silently(true);
  let_in(driver, device, other);
  hmci_fail_silently(was_silent);
  return HMC_SUCCESS;
}

/* Checks a copy, and finds on which device it runs: the one that its memory is on. */
static hmc_status_t check(hmci_driver_t *driver, int *device, hmci_driver_copy_t *copy) {
  bool across = copy->direction == HMCI_COPY_WITHIN && driver->devices > 1;
  copy->to_device = copy->from_device = -1;
  hmc_status_t status = HMC_SUCCESS;
  if (copy->direction != HMCI_COPY_TO_HOST) {
    copy->to_device = *device;
    status = check_side(driver, copy->destination, copy->size, across, &copy->to_device);
  } else {
    status = refuse_host(driver, copy->destination);
  }
  if (status != HMC_SUCCESS) return status;
  if (copy->direction != HMCI_COPY_FROM_HOST) {
    copy->from_device = *device;
    status = check_side(driver, copy->source, copy->size, across, &copy->from_device);
  } else {
    status = refuse_host(driver, copy->source);
  }
  if (copy->direction == HMCI_COPY_FROM_HOST) *device = copy->to_device;
  if (copy->direction == HMCI_COPY_TO_HOST) *device = copy->from_device;
  if (copy->direction == HMCI_COPY_WITHIN && *device != copy->from_device && *device != copy->to_device)
    *device = copy->to_device;
  return status;
}

/* Queues a checked copy on a stream of the current device. */
static hmc_status_t queue(hmci_driver_t *driver, int device, const hmci_driver_copy_t *copy, void *stream) {
  hmc_status_t status = HMC_SUCCESS;
  if (copy->direction == HMCI_COPY_WITHIN) {
    int other = copy->from_device == device ? copy->to_device : copy->from_device;
    status = open_way(driver, device, other);
  }
  return status == HMC_SUCCESS ? driver->ops->copy(copy, stream) : status;
}

/* ---- blocking copies --------------------------------------------------------------------------------------------- */

hmc_status_t hmci_driver_copy(hmci_driver_t *driver, int device, void *destination, const void *source, size_t size,
                              hmci_copy_direction_t direction) {
  hmci_driver_copy_t copy = {.destination = destination, .source = source, .size = size, .direction = direction};
  void *saved, *stream;
  int devices;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status != HMC_SUCCESS || !size) return status;
  status = check(driver, &device, &copy);
  if (status == HMC_SUCCESS) status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = hmci_driver_take_stream(driver, device, &stream);
  if (status == HMC_SUCCESS) {
    status = queue(driver, device, &copy, stream);
    if (status == HMC_SUCCESS) status = driver->ops->stream_wait(stream);
    hmci_driver_give_stream(driver, device, stream);
  }
  hmci_driver_leave(driver, device, saved);
  return status;
}

/* ---- asynchronous copies ----------------------------------------------------------------------------------------- */

hmci_copy_direction_t hmci_driver_direction(hmci_driver_t *driver, const void *source, bool to_host) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  if (to_host) return HMCI_COPY_TO_HOST;
  known_t known;
  if (hmci_driver_look_up(driver, source, &known)) return HMCI_COPY_WITHIN;
  return driver->ops->query && hmci_driver_has(driver, HMCI_NEED_QUERY) &&
                 driver->ops->query(source, &info) == HMC_SUCCESS
             ? HMCI_COPY_WITHIN
             : HMCI_COPY_FROM_HOST;
}

/* What there is to know of the pieces of a batch. */
typedef struct survey {
  bool one_device, has_empty;
  uint32_t others; /* devices besides the one that copies: a bit each */
} survey_t;

static uint32_t other_bit(int device, int owner) { return owner < 0 || owner == device ? 0 : UINT32_C(1) << owner; }

/* Checks all pieces before one is queued. */
static hmc_status_t check_all(hmci_driver_t *driver, int *device, const hmci_copy_piece_t *pieces, uint32_t count,
                              hmci_copy_direction_t direction, survey_t *survey) {
  hmc_status_t status = HMC_SUCCESS;
  *survey = (survey_t){.one_device = false};
  for (uint32_t i = 0; i < count && status == HMC_SUCCESS; i++) {
    hmci_driver_copy_t copy = {pieces[i].destination, pieces[i].source, pieces[i].size, direction, -1, -1};
    if (!pieces[i].size) {
      survey->has_empty = true;
      continue;
    }
    status = check(driver, device, &copy);
    survey->others |= other_bit(*device, copy.to_device) | other_bit(*device, copy.from_device);
  }
  survey->one_device = !survey->others;
  return status;
}

static hmc_status_t queue_one_by_one(hmci_driver_t *driver, int device, const hmci_copy_piece_t *pieces, uint32_t count,
                                     hmci_copy_direction_t direction, void *stream) {
  hmc_status_t status = HMC_SUCCESS;
  uint32_t queued = 0;
  for (uint32_t i = 0; i < count && status == HMC_SUCCESS; i++) {
    hmci_driver_copy_t copy = {pieces[i].destination, pieces[i].source, pieces[i].size, direction, -1, -1};
    int here = device;
    if (!pieces[i].size) continue;
    status = check(driver, &here, &copy);
    if (status == HMC_SUCCESS) status = queue(driver, device, &copy, stream);
    queued += status == HMC_SUCCESS;
  }
  if (status != HMC_SUCCESS && queued) driver->ops->stream_wait(stream); /* nothing moves once this has failed */
  return status;
}

static hmc_status_t queue_all(hmci_driver_t *driver, int device, const hmci_copy_piece_t *pieces, uint32_t count,
                              hmci_copy_direction_t direction, const survey_t *survey, void *stream) {
  hmc_status_t status = HMC_UNSUPPORT;
  if (count > 1 && driver->ops->batch && !survey->has_empty) {
    for (int other = 0; other < driver->devices; other++) {
      if (survey->others >> other & 1) open_way(driver, device, other);
    }
    status = driver->ops->batch(device, pieces, count, direction, survey->one_device, stream);
  }
  return status == HMC_UNSUPPORT ? queue_one_by_one(driver, device, pieces, count, direction, stream) : status;
}

static void *mark_device(int device) { return (void *)(intptr_t)device; }
static int device_of(void *mark) { return (int)(intptr_t)mark; }

hmc_status_t hmci_driver_copy_start(hmci_driver_t *driver, int device, const hmci_copy_piece_t *pieces, uint32_t count,
                                    hmci_copy_direction_t direction, hmci_copy_t *copy) {
  void *saved, *stream, *event;
  int devices;
  survey_t survey;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status == HMC_SUCCESS) status = check_all(driver, &device, pieces, count, direction, &survey);
  if (status == HMC_SUCCESS) status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = ordered_stream(driver, device, direction, &stream);
  if (status == HMC_SUCCESS) status = take_event(driver, device, &event);
  if (status != HMC_SUCCESS) goto out;
  status = queue_all(driver, device, pieces, count, direction, &survey, stream);
  if (status == HMC_SUCCESS) {
    status = driver->ops->event_record(event, stream);
    if (status != HMC_SUCCESS) driver->ops->stream_wait(stream); /* nothing moves once this has failed */
  }
  if (status == HMC_SUCCESS) {
    *copy = (hmci_copy_t){.state = {event, mark_device(device), driver}};
  } else {
    give_event(driver, device, event);
  }
out:
  hmci_driver_leave(driver, device, saved);
  return status;
}

/* Asks an event, and takes it back when it has come. */
static hmc_status_t ask(hmci_driver_t *driver, void **event, void *mark) {
  void *saved;
  int device = device_of(mark);
  if (!*event) return hmci_fail(HMC_INVALID_CONFIG, "%s: this is over, or was never started", driver->ops->name);
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = driver->ops->event_query(*event);
  if (status != HMC_IN_PROGRESS) {
    give_event(driver, device, *event);
    *event = NULL;
  }
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_copy_done(hmci_driver_t *driver, hmci_copy_t *copy) {
  return ask(driver, &copy->state[0], copy->state[1]);
}

/* ---- streams of the user's --------------------------------------------------------------------------------------- */

hmc_status_t hmci_driver_stream_create(hmci_driver_t *driver, int device, void **stream) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = driver->ops->stream_create(stream);
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_stream_destroy(hmci_driver_t *driver, int device, void *stream) {
  void *saved;
  if (!stream) return hmci_fail(HMC_INVALID_CONFIG, "%s: the default stream is not to be destroyed", driver->ops->name);
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = driver->ops->stream_wait(stream);
  hmc_status_t destroyed = driver->ops->stream_destroy(stream);
  hmci_driver_leave(driver, device, saved);
  return status == HMC_SUCCESS ? destroyed : status;
}

hmc_status_t hmci_driver_stream_wait(hmci_driver_t *driver, int device, void *stream) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = driver->ops->stream_wait(stream);
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_copy_on_stream(hmci_driver_t *driver, int device, void *destination, const void *source,
                                        size_t size, void *stream) {
  void *saved;
  int devices, here = device;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status != HMC_SUCCESS || !size) return status;
  bool to_host = hmci_driver_direction(driver, destination, false) == HMCI_COPY_FROM_HOST; /* it is not device memory */
  hmci_driver_copy_t copy = {.destination = destination,
                             .source = source,
                             .size = size,
                             .direction = hmci_driver_direction(driver, source, to_host)};
  status = check(driver, &here, &copy);
  if (status == HMC_SUCCESS) status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = queue(driver, device, &copy, stream);
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_event_record(hmci_driver_t *driver, int device, void *stream, hmci_event_t *event) {
  void *saved, *made;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = take_event(driver, device, &made);
  if (status == HMC_SUCCESS) {
    status = driver->ops->event_record(made, stream);
    if (status == HMC_SUCCESS) *event = (hmci_event_t){.state = {made, mark_device(device)}};
    if (status != HMC_SUCCESS) give_event(driver, device, made);
  }
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_event_done(hmci_driver_t *driver, hmci_event_t *event) {
  return ask(driver, &event->state[0], event->state[1]);
}
