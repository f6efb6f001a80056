/* Links (see link.h).
 *
 * Invariants:
 *   - at most one thread reads the stream at a time (`reading`), and at most one writes a message (`sending`); both let
 * go of `lock` only while they wait for the socket;
 *   - `out` holds the rest of one frame. What is in it counts as sent: it goes out before anything else;
 *   - after the parts of a message that its sender gave up comes a drop frame (`must_drop`);
 *   - the stream is closed with the last reference, so that a thread in poll() never holds a descriptor that is
 * somebody else's by then. The end of a link shuts the socket down, which ends those polls.
 *
 * Locking: `lock` guards everything below it in the struct, the stream included. Lock order: the loop's dispatch, then
 * `lock`, then the loop's table; so nothing here waits for the loop's dispatch under `lock`.
 *
 * Service. The watch is one-shot. It is armed while the loop is in charge of reading; when it fires while a thread
 * reads, it stays unarmed. A thread that stops reading sets the timer, and the loop takes over when the link was left
 * alone for a whole period. So a stream of messages costs the loop one look per period, and an idle link none. */
#include "link.h"

#include "../base/socket.h"
#include "inbox.h"

#include <errno.h>
#include <hmc/control.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)
#define LEFT_ALONE (10 * NS_PER_MS) /* after so long without a receiver the loop reads */

enum {
  IN_ROOM = 16 << 10, /* one TLS record */
  OUT_ROOM = HMCI_FRAME_HEADER + HMCI_DATA_PREFIX + HMCI_DATA_PART,
  MOST_SKIPS = 4096,
  READS_AT_ONCE = 64, /* of a peer that sends without end, before others get the lock, and deadlines are looked at */
  READ_COST = 64,     /* what a read of a few bytes counts for, in bytes, where they are counted */
};

struct hmci_link {
  hmci_loop_t *loop;
  int descriptor;
  uint64_t spin;
  hmci_watch_t watch; /* the loop's */
  hmci_timer_t timer; /* the loop's */
  _Atomic unsigned references;
  char name[HMCI_ADDRESS_TEXT];

  pthread_mutex_t lock;
  pthread_cond_t changed; /* a message, the end, `reading` or `sending` */
  hmci_secure_t *stream;
  hmc_status_t ended; /* HMC_SUCCESS: it lives */
  char why[HMCI_ERROR_TEXT];

  bool armed;          /* the loop is in charge of reading */
  bool timing;         /* the timer is set */
  bool reading;        /* a thread is in charge */
  bool sending;        /* a thread has a message to write */
  unsigned waiting;    /* threads that wait for `changed` */
  uint64_t uses, seen; /* receives, and how many of them the timer has seen */
  unsigned skip;       /* so many waits go without polling first, */
  unsigned next_skip;  /* and so many after the next one that polls in vain */

  hmci_inbox_t inbox;
  uint8_t in[IN_ROOM];
  uint8_t *out; /* OUT_ROOM bytes */
  size_t out_size, out_done;
  bool must_drop;

  int shown;    /* an eventfd that is readable while the inbox has messages, or -1 */
  int pollable; /* an epoll of it and the socket, or -1 */
};

static bool on_ready(hmci_watch_t *watch, uint32_t events);
static void on_timer(hmci_timer_t *timer);

/* ---- making and freeing ------------------------------------------------------------------------------------------ */

static void init_condition(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
}

hmc_status_t hmci_link_create(hmci_loop_t *loop, hmci_secure_t *stream, const char *name, uint64_t spin,
                              const void *first, size_t first_size, hmci_link_t **created) {
  hmc_status_t status = HMC_NO_MEMORY;
  hmci_link_t *link = calloc(1, sizeof(*link));
  uint8_t *out = malloc(OUT_ROOM);
  if (link == NULL || out == NULL) {
    hmci_fail(status, "no memory for a link to %s", name);
    goto err_free;
  }
  link->loop = loop;
  link->stream = stream;
  link->descriptor = hmci_secure_descriptor(stream);
  link->spin = spin;
  link->watch.ready = on_ready;
  link->references = 1;
  link->armed = true;
  link->out = out;
  link->out_size = first_size;
  link->shown = link->pollable = -1;
  if (first_size > 0) {
    memcpy(out, first, first_size);
  }
  snprintf(link->name, sizeof(link->name), "%s", name);
  hmci_timer_init(&link->timer, on_timer);
  hmci_inbox_init(&link->inbox);
  pthread_mutex_init(&link->lock, NULL);
  init_condition(&link->changed);
  status = hmci_loop_add(loop, &link->watch, link->descriptor,
                         EPOLLIN | EPOLLRDHUP | EPOLLONESHOT | (first_size > 0 ? EPOLLOUT : 0));
  if (status != HMC_SUCCESS) {
    goto err_locks;
  }
  *created = link;
  return HMC_SUCCESS;

err_locks:
  pthread_cond_destroy(&link->changed);
  pthread_mutex_destroy(&link->lock);
err_free:
  free(out);
  free(link);
  return status;
}

hmci_link_t *hmci_link_acquire(hmci_link_t *link) {
  atomic_fetch_add_explicit(&link->references, 1, memory_order_relaxed);
  return link;
}

void hmci_link_release(hmci_link_t *link) {
  if (link == NULL || atomic_fetch_sub_explicit(&link->references, 1, memory_order_acq_rel) > 1) {
    return;
  }
  hmci_loop_clear_timer(link->loop, &link->timer);
  hmci_loop_remove(link->loop, &link->watch);
  hmci_secure_close(link->stream);
  hmci_inbox_clear(&link->inbox);
  if (link->pollable >= 0) {
    close(link->pollable);
    close(link->shown);
  }
  pthread_cond_destroy(&link->changed);
  pthread_mutex_destroy(&link->lock);
  free(link->out);
  free(link);
}

/* ---- under the lock: small things -------------------------------------------------------------------------------- */

static hmc_status_t wait_changed(hmci_link_t *link, uint64_t deadline) {
  int result;
  link->waiting++;
  if (deadline == HMCI_NEVER) {
    result = pthread_cond_wait(&link->changed, &link->lock);
  } else {
    struct timespec until = {.tv_sec = (time_t)(deadline / (1000 * NS_PER_MS)),
                             .tv_nsec = (long)(deadline % (1000 * NS_PER_MS))};
    result = pthread_cond_timedwait(&link->changed, &link->lock, &until);
  }
  link->waiting--;
  return result == ETIMEDOUT ? HMC_TIMEOUT : HMC_SUCCESS;
}

static void tell_waiting(hmci_link_t *link) {
  if (link->waiting > 0) {
    pthread_cond_broadcast(&link->changed);
  }
}

/* Lets go of the lock until the socket is ready, at most until the deadline; what it is then shows in the next call. */
static void wait_socket(hmci_link_t *link, short events, uint64_t deadline) {
  struct pollfd wait = {.fd = link->descriptor, .events = events};
  pthread_mutex_unlock(&link->lock);
  poll(&wait, 1, hmci_poll_timeout(deadline));
  pthread_mutex_lock(&link->lock);
}

/* Sets what the loop waits for. */
static void set_watch(hmci_link_t *link) {
  bool has_out = link->out_done < link->out_size && !link->sending;
  uint32_t events = (link->armed ? EPOLLIN | EPOLLRDHUP : 0) | (has_out ? EPOLLOUT : 0);
  if (events != 0 && link->ended == HMC_SUCCESS) {
    hmci_loop_modify(link->loop, &link->watch, events | EPOLLONESHOT);
  }
}

/* The loop will look whether the link is left alone. */
static void set_timer(hmci_link_t *link) {
  if (!link->armed && !link->timing && link->ended == HMC_SUCCESS) {
    link->timing = true;
    hmci_loop_set_timer(link->loop, &link->timer, hmci_now() + LEFT_ALONE);
  }
}

/* Makes the eventfd readable while there are messages. */
static void show_messages(hmci_link_t *link) {
  uint64_t value = 1;
  ssize_t ignored;
  if (link->shown < 0) {
    return;
  }
  if (hmci_inbox_first(&link->inbox) != NULL) {
    ignored = write(link->shown, &value, sizeof(value));
  } else {
    ignored = read(link->shown, &value, sizeof(value));
  }
  (void)ignored;
}

static hmc_status_t how_it_ended(const hmci_link_t *link) { return hmci_fail(link->ended, "%s", link->why); }

/* ---- under the lock: moving bytes -------------------------------------------------------------------------------- */

/* Reads once. HMC_IN_PROGRESS: nothing is there. */
static hmc_status_t read_some(hmci_link_t *link, short *events, size_t *done) {
  size_t capacity = 0;
  void *place = hmci_inbox_place(&link->inbox, &capacity);
  if (place == NULL || capacity < IN_ROOM) { /* little is missing: what follows it is read in the same call */
    place = link->in;
    capacity = IN_ROOM;
  }
  hmc_status_t status = hmci_secure_read(link->stream, place, capacity, done, events);
  return status == HMC_SUCCESS ? hmci_inbox_feed(&link->inbox, place, *done) : status;
}

/* Marks the end, with the thread's error text as the reason, and wakes everybody. */
static void mark_ended(hmci_link_t *link, hmc_status_t status) {
  link->ended = status;
  memcpy(link->why, hmc_last_error(), sizeof(link->why));
  link->out_size = link->out_done = 0;
  shutdown(link->descriptor, SHUT_RDWR);
  show_messages(link);
  pthread_cond_broadcast(&link->changed);
}

/* Reads what has arrived before the end, as far as it goes. A peer that is gone can have left no more than the kernel's
 * buffers hold; the limits are for one that sends on, messages or what never becomes one. */
static void read_rest(hmci_link_t *link) {
  size_t limit = link->inbox.bytes + HMCI_LINK_QUEUE_LIMIT, done = 0;
  short events;
  for (size_t all = 0; all < 4 * HMCI_LINK_QUEUE_LIMIT && link->inbox.bytes < limit; all += done + READ_COST) {
    if (read_some(link, &events, &done) != HMC_SUCCESS) {
      return;
    }
  }
}

/* The stream failed, as the thread's error text says. Everything it can mean to a user is that the peer is gone. */
static void lose(hmci_link_t *link) {
  hmci_fail_prefix(HMC_PEER_LOST, "the link to %s is lost: ", link->name);
  mark_ended(link, HMC_PEER_LOST);
}

/* Reads until there is a message. HMC_IN_PROGRESS: the socket must become ready first, or is still; otherwise the inbox
 * or `ended` tells. */
static hmc_status_t read_message(hmci_link_t *link, short *events) {
  size_t done;
  *events = POLLIN;
  for (int reads = 0; hmci_inbox_first(&link->inbox) == NULL && link->ended == HMC_SUCCESS; reads++) {
    hmc_status_t status = reads < READS_AT_ONCE ? read_some(link, events, &done) : HMC_IN_PROGRESS;
    if (status == HMC_IN_PROGRESS) {
      return status;
    }
    if (status != HMC_SUCCESS) {
      lose(link);
    }
  }
  return HMC_SUCCESS;
}

/* Writes what is in `out`. HMC_IN_PROGRESS: the socket must become ready first. */
static hmc_status_t write_out(hmci_link_t *link, short *events) {
  while (link->out_done < link->out_size && link->ended == HMC_SUCCESS) {
    size_t done = 0;
    hmc_status_t status =
        hmci_secure_write(link->stream, link->out + link->out_done, link->out_size - link->out_done, &done, events);
    if (status == HMC_IN_PROGRESS) {
      return status;
    }
    if (status != HMC_SUCCESS) {
      char text[HMCI_ERROR_TEXT];
      memcpy(text, hmc_last_error(), sizeof(text));
      read_rest(link); /* which fails at its end, and has another text for it */
      hmci_fail(status, "%s", text);
      lose(link);
    }
    link->out_done += link->ended == HMC_SUCCESS ? done : 0;
  }
  return link->ended;
}

/* Writes what is in `out`, and waits until it is through. HMC_TIMEOUT, or how the link ended. */
static hmc_status_t flush(hmci_link_t *link, uint64_t deadline) {
  short events = 0;
  hmc_status_t status;
  while ((status = write_out(link, &events)) == HMC_IN_PROGRESS) {
    if (hmci_now() >= deadline) {
      return HMC_TIMEOUT;
    }
    wait_socket(link, events, deadline);
  }
  return status;
}

/* ---- the loop's part --------------------------------------------------------------------------------------------- */

static bool has_room(const hmci_link_t *link) {
  return link->ended == HMC_SUCCESS && link->inbox.bytes <= HMCI_LINK_QUEUE_LIMIT;
}

/* Reads what is there, up to the limit; with more than some, the loop comes again. */
static void serve_reading(hmci_link_t *link) {
  short events;
  size_t done;
  hmc_status_t status = HMC_SUCCESS;
  link->armed = false;
  if (link->reading) {
    return;
  }
  for (int reads = 0; reads < READS_AT_ONCE && status == HMC_SUCCESS && has_room(link); reads++) {
    status = read_some(link, &events, &done);
    if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
      lose(link);
    }
  }
  link->armed = has_room(link);
  show_messages(link);
  tell_waiting(link);
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  hmci_link_t *link = HMCI_CONTAINER(watch, hmci_link_t, watch);
  short ignored;
  pthread_mutex_lock(&link->lock);
  if (link->ended == HMC_SUCCESS) {
    if (!link->sending) {
      (void)write_out(link, &ignored);
    }
    if (link->armed && (events & ~(uint32_t)EPOLLOUT) != 0) {
      serve_reading(link);
    }
    set_watch(link);
  }
  pthread_mutex_unlock(&link->lock);
  return true;
}

static void on_timer(hmci_timer_t *timer) {
  hmci_link_t *link = HMCI_CONTAINER(timer, hmci_link_t, timer);
  pthread_mutex_lock(&link->lock);
  link->timing = false;
  if (link->uses != link->seen) {
    link->seen = link->uses;
    set_timer(link);
  } else if (!link->reading && link->inbox.bytes <= HMCI_LINK_QUEUE_LIMIT) {
    link->armed = true;
    set_watch(link);
  } /* else the thread that reads, or the one that makes room, sets the timer again */
  pthread_mutex_unlock(&link->lock);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void put_part(hmci_link_t *link, uint16_t type, const uint8_t *data, size_t part, size_t whole) {
  uint8_t *body = link->out + HMCI_FRAME_HEADER;
  hmci_store16(body, type);
  hmci_store32(body + 2, (uint32_t)whole);
  if (part > 0) {
    memcpy(body + HMCI_DATA_PREFIX, data, part);
  }
  hmci_frame_encode(link->out, HMCI_FRAME_DATA, body, (uint32_t)(HMCI_DATA_PREFIX + part));
  link->out_size = HMCI_FRAME_HEADER + HMCI_DATA_PREFIX + part;
  link->out_done = 0;
}

/* With the right to send: puts the parts into `out`, each when the one before is through. */
static hmc_status_t send_parts(hmci_link_t *link, uint16_t type, const uint8_t *data, size_t size, uint64_t deadline) {
  hmc_status_t status = flush(link, deadline);
  if (status == HMC_SUCCESS && link->must_drop) {
    hmci_frame_encode(link->out, HMCI_FRAME_DROP, NULL, 0);
    link->out_size = HMCI_FRAME_HEADER;
    link->out_done = 0;
    link->must_drop = false;
    status = flush(link, deadline);
  }
  size_t sent = 0;
  while (status == HMC_SUCCESS) {
    size_t part = size - sent < HMCI_DATA_PART ? size - sent : HMCI_DATA_PART;
    put_part(link, type, data + sent, part, size);
    sent += part;
    status = flush(link, deadline);
    if (sent == size) {
      /* All is in the kernel or in `out`, which the loop writes on: it will arrive. */
      return status == HMC_TIMEOUT ? HMC_SUCCESS : status;
    }
  }
  link->must_drop = link->must_drop || sent > 0;
  return status;
}

hmc_status_t hmci_link_send(hmci_link_t *link, uint16_t type, const void *data, size_t size, uint64_t deadline) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&link->lock);
  while (link->sending && link->ended == HMC_SUCCESS && status == HMC_SUCCESS) {
    status = wait_changed(link, deadline);
  }
  if (link->ended == HMC_SUCCESS && !link->sending) {
    link->sending = true;
    status = send_parts(link, type, data, size, deadline);
    link->sending = false;
    tell_waiting(link);
    if (link->out_done < link->out_size) {
      set_watch(link);
    }
  }
  if (link->ended != HMC_SUCCESS) {
    status = how_it_ended(link);
  } else if (status == HMC_TIMEOUT) {
    hmci_fail(status, "%s took no message of %zu B in time: nobody receives there", link->name, size);
  }
  pthread_mutex_unlock(&link->lock);
  return status;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* Gives the first message to the caller, if it is what the caller takes. */
static hmc_status_t deliver(hmci_link_t *link, const hmci_link_wish_t *wish, uint16_t *type, void *data,
                            size_t capacity, size_t *size) {
  const hmci_message_t *message = hmci_inbox_first(&link->inbox);
  if (wish->typed && (message->type != wish->type || message->size != wish->size)) {
    return hmci_fail(HMC_CORRUPT, "the next message from %s is of type %u and %u B, not of type %u and %zu B",
                     link->name, message->type, message->size, wish->type, wish->size);
  }
  if (size != NULL) {
    *size = message->size;
  }
  if (message->size > capacity) {
    return hmci_fail(HMC_OUT_OF_RANGE, "the next message from %s has %u B, and there is room for %zu B", link->name,
                     message->size, capacity);
  }
  if (type != NULL) {
    *type = message->type;
  }
  if (message->size > 0) {
    memcpy(data, message->data, message->size);
  }
  hmci_inbox_remove_first(&link->inbox);
  show_messages(link);
  return HMC_SUCCESS;
}

/* Polls for a while; true when that brought a message, or the end. Each time it did not, it is left out for a while,
 * four times longer than before: it is worth something only with a peer that answers quickly and has a processor of its
 * own. */
static bool poll_stream(hmci_link_t *link) {
  short events;
  if (link->skip > 0 || link->spin == 0) {
    link->skip -= link->skip > 0;
    return false;
  }
  uint64_t until = hmci_now() + link->spin;
  do {
    if (read_message(link, &events) != HMC_IN_PROGRESS) {
      link->next_skip -= link->next_skip > 0;
      return true;
    }
    pthread_mutex_unlock(&link->lock);
    hmci_pause();
    pthread_mutex_lock(&link->lock);
  } while (hmci_now() < until);
  link->next_skip = link->next_skip < MOST_SKIPS / 4 ? 4 * link->next_skip + 4 : MOST_SKIPS;
  link->skip = link->next_skip;
  return false;
}

/* With the right to read: polls, then sleeps until the socket is ready, until there is a message, or the end, or the
 * deadline. */
static void read_and_wait(hmci_link_t *link, uint64_t deadline) {
  short events = POLLIN;
  if (poll_stream(link)) {
    return;
  }
  while (read_message(link, &events) == HMC_IN_PROGRESS && hmci_now() < deadline) {
    wait_socket(link, events, deadline);
  }
}

/* Waits for the first message, reading the stream where nobody else does. HMC_TIMEOUT, or how the link ended. */
static hmc_status_t wait_message(hmci_link_t *link, uint64_t deadline) {
  bool has_looked = false;
  while (hmci_inbox_first(&link->inbox) == NULL && link->ended == HMC_SUCCESS) {
    if (has_looked && hmci_now() >= deadline) {
      return HMC_TIMEOUT;
    }
    has_looked = true;
    if (link->reading) {
      wait_changed(link, deadline);
      continue;
    }
    link->reading = true;
    read_and_wait(link, deadline);
    link->reading = false;
  }
  return hmci_inbox_first(&link->inbox) != NULL ? HMC_SUCCESS : link->ended;
}

hmc_status_t hmci_link_receive(hmci_link_t *link, const hmci_link_wish_t *wish, uint16_t *type, void *data,
                               size_t capacity, size_t *size, uint64_t deadline) {
  pthread_mutex_lock(&link->lock);
  hmc_status_t status = wait_message(link, deadline);
  if (status == HMC_SUCCESS) {
    status = deliver(link, wish, type, data, capacity, size);
  } else if (status == HMC_TIMEOUT) {
    hmci_fail(status, "no message from %s in time", link->name);
  } else {
    how_it_ended(link);
  }
  link->uses++;
  set_timer(link);
  tell_waiting(link);
  pthread_mutex_unlock(&link->lock);
  return status;
}

/* ---- the rest ---------------------------------------------------------------------------------------------------- */

void hmci_link_end(hmci_link_t *link, hmc_status_t status, const char *text) {
  pthread_mutex_lock(&link->lock);
  if (link->ended == HMC_SUCCESS) {
    read_rest(link); /* also because closing a socket with unread bytes may discard what was sent last */
    hmci_fail(status, "%s", text);
    mark_ended(link, status);
  }
  pthread_mutex_unlock(&link->lock);
}

hmc_status_t hmci_link_state(hmci_link_t *link) {
  pthread_mutex_lock(&link->lock);
  hmc_status_t status = link->ended == HMC_SUCCESS ? HMC_SUCCESS : how_it_ended(link);
  pthread_mutex_unlock(&link->lock);
  return status;
}

void hmci_link_inherit(hmci_link_t *to, hmci_link_t *from) {
  pthread_mutex_lock(&from->lock);
  pthread_mutex_lock(&to->lock); /* `to` is new: nobody else holds its lock and waits for that of an old one */
  hmci_inbox_inherit(&to->inbox, &from->inbox);
  show_messages(from);
  pthread_mutex_unlock(&to->lock);
  pthread_mutex_unlock(&from->lock);
}

hmc_status_t hmci_link_descriptor(hmci_link_t *link, int *descriptor) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&link->lock);
  if (link->pollable < 0) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP};
    int shown = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int pollable = epoll_create1(EPOLL_CLOEXEC);
    if (shown < 0 || pollable < 0 || epoll_ctl(pollable, EPOLL_CTL_ADD, shown, &event) != 0 ||
        epoll_ctl(pollable, EPOLL_CTL_ADD, link->descriptor, &event) != 0) {
      status = hmci_fail(HMC_NO_MEMORY, "no descriptor to poll the link to %s by: %s", link->name, strerror(errno));
      close(shown);
      close(pollable);
    } else {
      link->shown = shown;
      link->pollable = pollable;
      show_messages(link);
    }
  }
  if (status == HMC_SUCCESS) {
    *descriptor = link->pollable;
  }
  pthread_mutex_unlock(&link->lock);
  return status;
}
