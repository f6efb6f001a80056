/* Links that others make: listeners, and the handshakes of what they accept.
 *
 * All of it runs in the loop's thread and never blocks. What a stranger can cost is bounded: HMCI_CONTROL_GREETINGS
 * connections at once, of which the oldest one that has not shown the secret makes room for a new one;
 * HMCI_CONTROL_HANDSHAKE_MS for each; and the few KiB of a handshake. So strangers, silent or many, do not keep out an
 * HMC, which shows it by its first message, however far away it is.
 *
 * Invariants: a handshake is in `handshakes`, has its watch and timer set, and owns its stream, until it is freed. */
#include "control_state.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)
#define WARNING_EVERY (10000 * NS_PER_MS)
#define PAUSE (100 * NS_PER_MS) /* of a listener, when there are no descriptors left */

enum { ACCEPTS_AT_ONCE = 16 };

struct hmci_listener {
  hmci_list_t member;
  hmci_watch_t watch;
  hmci_timer_t pause;
  hmc_control_t *control;
  int descriptor;
  char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "": no file */
  dev_t device;                                           /* the file's, so that another one's is not removed */
  ino_t number;
};

typedef struct handshake {
  hmci_list_t member;
  hmci_watch_t watch;
  hmci_timer_t limit;
  hmc_control_t *control;
  hmci_secure_t *stream; /* NULL: it became a link */
  bool is_unix, is_known, is_watched;
  char address[HMCI_ADDRESS_TEXT];
  uint8_t frame[HMCI_HELLO_FRAME];
  size_t filled;
} handshake_t;

/* ---- handshakes --------------------------------------------------------------------------------------------------- */

static void free_handshake(handshake_t *handshake) {
  hmc_control_t *control = handshake->control;
  if (handshake->is_watched) {
    hmci_loop_remove(control->loop, &handshake->watch);
  }
  hmci_loop_clear_timer(control->loop, &handshake->limit);
  hmci_list_remove(&handshake->member);
  control->handshake_count--;
  hmci_secure_close(handshake->stream);
  free(handshake);
}

void hmci_control_drop_handshakes(hmc_control_t *control) {
  while (!hmci_list_is_empty(&control->handshakes)) {
    free_handshake(HMCI_CONTAINER(control->handshakes.next, handshake_t, member));
  }
}

/* Says why somebody was turned away: as a warning, so that who waits for a peer finds out, but not for each knock of a
 * stranger. */
static void log_turned_away(handshake_t *handshake) {
  hmc_control_t *control = handshake->control;
  uint64_t now = hmci_now();
  bool is_due = now >= control->next_warning;
  if (is_due) {
    control->next_warning = now + WARNING_EVERY;
  }
  hmci_log(is_due ? HMC_LOG_WARNING : HMC_LOG_INFO, "control channel: %s was turned away: %s", handshake->address,
           hmc_last_error());
}

static void on_limit(hmci_timer_t *timer) {
  handshake_t *handshake = HMCI_CONTAINER(timer, handshake_t, limit);
  hmci_fail(HMC_TIMEOUT, "it did not greet within %d ms", HMCI_CONTROL_HANDSHAKE_MS);
  log_turned_away(handshake);
  free_handshake(handshake);
}

/* Turns a hello down. The socket's buffer is empty, so that the answer fits. */
static hmc_status_t turn_down(handshake_t *handshake, const hmci_link_hello_t *hello, hmci_link_hello_kind_t kind,
                              const char *text) {
  hmci_link_hello_t answer = {
      .kind = kind, .rank = hello->peer_rank, .peer_rank = hello->rank, .incarnation = handshake->control->incarnation};
  uint8_t frame[HMCI_HELLO_FRAME];
  size_t done;
  short events;
  snprintf(answer.text, sizeof(answer.text), "%s", text);
  (void)hmci_secure_write(handshake->stream, frame, hmci_link_hello_encode(&answer, frame), &done, &events);
  return HMC_SUCCESS;
}

static hmci_dial_t *pending_dial(hmc_control_t *control, uint32_t rank) {
  for (hmci_list_t *at = control->dials.next; at != &control->dials; at = at->next) {
    hmci_dial_t *dial = HMCI_CONTAINER(at, hmci_dial_t, member);
    if (dial->rank == rank && dial->pending) {
      return dial;
    }
  }
  return NULL;
}

/* With the channel's lock held: makes the link. */
static hmc_status_t welcome(handshake_t *handshake, const hmci_link_hello_t *hello, hmci_dial_t *dial,
                            hmci_link_t **former) {
  hmc_control_t *control = handshake->control;
  hmci_link_hello_t answer = {.kind = HMCI_LINK_HELLO_WELCOME,
                              .rank = hello->peer_rank,
                              .peer_rank = hello->rank,
                              .incarnation = control->incarnation,
                              .serial = dial != NULL ? dial->serial : 0};
  hmci_entry_t peer = {
      .rank = hello->rank, .is_unix = handshake->is_unix, .incarnation = hello->incarnation, .floor = hello->serial};
  uint8_t frame[HMCI_HELLO_FRAME];
  if (!handshake->is_unix) {
    hmci_control_plain_ip(handshake->address, peer.ip);
  }
  hmci_loop_remove(control->loop, &handshake->watch); /* the link has one of its own */
  handshake->is_watched = false;
  hmc_status_t status = hmci_control_adopt(control, &peer, handshake->stream, handshake->address, frame,
                                           hmci_link_hello_encode(&answer, frame), former);
  if (status == HMC_SUCCESS) {
    handshake->stream = NULL;
    if (dial != NULL) {
      dial->crossed = true;
    }
  }
  return status;
}

static hmc_status_t judge(handshake_t *handshake, const hmci_link_hello_t *hello) {
  hmc_control_t *control = handshake->control;
  hmci_link_t *former = NULL;
  hmc_status_t status;
  if (hello->kind != HMCI_LINK_HELLO_DIAL) {
    return hmci_fail(HMC_CORRUPT, "its hello answers none");
  }
  if (hello->incarnation == control->incarnation) {
    return turn_down(handshake, hello, HMCI_LINK_HELLO_REFUSED, "that address is this control channel's own");
  }
  pthread_mutex_lock(&control->lock);
  hmci_dial_t *dial = pending_dial(control, hello->rank);
  const hmci_entry_t *entry = hmci_control_entry(control, hello->rank);
  bool is_old = entry != NULL && entry->incarnation == hello->incarnation && hello->serial <= entry->floor;
  bool gives_way = dial != NULL && control->incarnation < hello->incarnation;
  if (control->closing) {
    status = hmci_fail(HMC_CANCELLED, "the control channel is being destroyed");
  } else if (is_old || gives_way) {
    status = turn_down(handshake, hello, HMCI_LINK_HELLO_BUSY, "the two are dialling each other");
  } else {
    status = welcome(handshake, hello, dial, &former);
  }
  pthread_mutex_unlock(&control->lock);
  hmci_link_release(former);
  return status;
}

/* Reads until `needed` bytes of the hello's frame are there. */
static hmc_status_t fill(handshake_t *handshake, size_t needed, short *events) {
  while (handshake->filled < needed) {
    size_t done = 0;
    hmc_status_t status = hmci_secure_read(handshake->stream, handshake->frame + handshake->filled,
                                           needed - handshake->filled, &done, events);
    if (status != HMC_SUCCESS) {
      return status;
    }
    handshake->filled += done;
  }
  return HMC_SUCCESS;
}

static hmc_status_t advance(handshake_t *handshake, short *events) {
  hmci_frame_header_t header;
  hmci_link_hello_t hello;
  hmc_status_t status;
  if (!handshake->is_known) {
    status = hmci_secure_handshake(handshake->stream, events);
    if (status != HMC_SUCCESS) {
      return status;
    }
    handshake->is_known = true;
  }
  status = fill(handshake, HMCI_FRAME_HEADER, events);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = hmci_frame_decode(handshake->frame, HMCI_HELLO_BODY, &header);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = fill(handshake, HMCI_FRAME_HEADER + header.size, events);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = hmci_link_hello_decode(&header, handshake->frame + HMCI_FRAME_HEADER, &hello);
  return status != HMC_SUCCESS ? status : judge(handshake, &hello);
}

static bool on_handshake(hmci_watch_t *watch, uint32_t ready) {
  handshake_t *handshake = HMCI_CONTAINER(watch, handshake_t, watch);
  short events = 0;
  (void)ready;
  hmc_status_t status = advance(handshake, &events);
  if (status == HMC_IN_PROGRESS) {
    hmci_loop_modify(handshake->control->loop, watch,
                     (events & POLLOUT ? EPOLLOUT : 0) | (events & POLLIN ? EPOLLIN : 0));
    return true;
  }
  if (status != HMC_SUCCESS) {
    log_turned_away(handshake);
  }
  free_handshake(handshake);
  return true;
}

static hmc_status_t add_handshake(hmc_control_t *control, int descriptor, const char *address) {
  handshake_t *handshake = calloc(1, sizeof(*handshake));
  if (handshake == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a connection from %s", address);
  }
  handshake->control = control;
  handshake->is_unix = strncmp(address, "unix:", 5) == 0;
  handshake->watch.ready = on_handshake;
  snprintf(handshake->address, sizeof(handshake->address), "%s", address);
  hmc_status_t status = hmci_secure_open(&control->secret, descriptor, HMCI_SECURE_SERVER, address, &handshake->stream);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  status = hmci_loop_add(control->loop, &handshake->watch, descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) {
    goto err_stream;
  }
  handshake->is_watched = true;
  hmci_socket_set_liveness(descriptor, control->settings.peer_timeout / NS_PER_MS);
  hmci_list_append(&control->handshakes, &handshake->member);
  control->handshake_count++;
  hmci_timer_init(&handshake->limit, on_limit);
  hmci_loop_set_timer(control->loop, &handshake->limit, hmci_deadline(HMCI_CONTROL_HANDSHAKE_MS));
  return HMC_SUCCESS;

err_stream:
  hmci_secure_detach(handshake->stream);
err_free:
  free(handshake);
  return status;
}

/* ---- listeners --------------------------------------------------------------------------------------------------- */

static void on_pause_over(hmci_timer_t *timer) {
  hmci_listener_t *listener = HMCI_CONTAINER(timer, hmci_listener_t, pause);
  hmci_loop_modify(listener->control->loop, &listener->watch, EPOLLIN);
}

/* On a UNIX socket, what comes first takes no secret. */
static void make_room(hmc_control_t *control) {
  handshake_t *leaves = HMCI_CONTAINER(control->handshakes.next, handshake_t, member);
  for (hmci_list_t *at = control->handshakes.next; at != &control->handshakes; at = at->next) {
    handshake_t *handshake = HMCI_CONTAINER(at, handshake_t, member);
    if (handshake->is_unix || !hmci_secure_has_proved(handshake->stream)) {
      leaves = handshake;
      break;
    }
  }
  free_handshake(leaves);
}

static bool on_connection(hmci_watch_t *watch, uint32_t events) {
  hmci_listener_t *listener = HMCI_CONTAINER(watch, hmci_listener_t, watch);
  hmc_control_t *control = listener->control;
  char address[HMCI_ADDRESS_TEXT];
  (void)events;
  for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
    int descriptor = -1;
    hmc_status_t status = hmci_socket_accept(listener->descriptor, &descriptor, address);
    if (status == HMC_SUCCESS) {
      if (control->handshake_count >= HMCI_CONTROL_GREETINGS) {
        make_room(control);
      }
      status = add_handshake(control, descriptor, address);
      if (status != HMC_SUCCESS) {
        close(descriptor);
      }
    }
    if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
      /* The listener stays readable while there is nothing to accept by: look again in a while. */
      hmci_log(HMC_LOG_WARNING, "control channel: %s", hmc_last_error());
      hmci_loop_modify(control->loop, watch, 0);
      hmci_loop_set_timer(control->loop, &listener->pause, hmci_now() + PAUSE);
    }
    if (status != HMC_SUCCESS) {
      break;
    }
  }
  return true;
}

hmc_status_t hmci_control_add_listener(hmc_control_t *control, int descriptor, const char *path,
                                       hmci_listener_t **added) {
  struct stat file;
  hmci_listener_t *listener = calloc(1, sizeof(*listener));
  if (listener == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a listener");
  }
  listener->control = control;
  listener->descriptor = descriptor;
  listener->watch.ready = on_connection;
  hmci_timer_init(&listener->pause, on_pause_over);
  if (path != NULL && lstat(path, &file) == 0) {
    snprintf(listener->path, sizeof(listener->path), "%s", path);
    listener->device = file.st_dev;
    listener->number = file.st_ino;
  }
  hmc_status_t status = hmci_loop_add(control->loop, &listener->watch, descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) {
    free(listener);
    return status;
  }
  pthread_mutex_lock(&control->lock);
  hmci_list_append(&control->listeners, &listener->member);
  pthread_mutex_unlock(&control->lock);
  *added = listener;
  return HMC_SUCCESS;
}

static void close_listener(hmci_listener_t *listener) {
  struct stat file;
  hmci_loop_remove(listener->control->loop, &listener->watch);
  hmci_loop_clear_timer(listener->control->loop, &listener->pause);
  if (listener->path[0] != '\0' && lstat(listener->path, &file) == 0 && file.st_dev == listener->device &&
      file.st_ino == listener->number) {
    unlink(listener->path);
  }
  close(listener->descriptor);
  free(listener);
}

void hmci_control_remove_listener(hmc_control_t *control, hmci_listener_t *listener) {
  hmci_listener_t *found;
  do {
    found = NULL;
    pthread_mutex_lock(&control->lock);
    for (hmci_list_t *at = control->listeners.next; at != &control->listeners && found == NULL; at = at->next) {
      hmci_listener_t *each = HMCI_CONTAINER(at, hmci_listener_t, member);
      found = listener == NULL || each == listener ? each : NULL;
    }
    if (found != NULL) {
      hmci_list_remove(&found->member); /* the one who takes it out closes it */
    }
    pthread_mutex_unlock(&control->lock);
    if (found != NULL) {
      close_listener(found);
    }
  } while (found != NULL && listener == NULL);
}
