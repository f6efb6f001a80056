/* Links that this end makes: hmc_control_connect.
 *
 * It runs in the caller's thread, which may block until its deadline. A dial is repeated while nobody listens, because
 * ranks come up in any order; what repeating cannot mend (another secret, a bad address) ends it at once. */
#include "../base/stop.h"
#include "control_state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

enum {
  NAMED_MS = 15000, /* an attempt that has to look up a name */
  FIRST_PAUSE_MS = 2,
  LONGEST_PAUSE_MS = 50
};

/* What a dial needs to know besides its hmci_dial_t. */
typedef struct call {
  hmc_control_t *control;
  hmci_dial_t *dial;
  uint32_t self_rank;
  const char *ip; /* NULL: none, as below */
  uint16_t port;
  const char *path;
  uint64_t deadline;
} call_t;

static uint64_t sooner(uint64_t deadline, uint64_t timeout_ms) {
  uint64_t limit = hmci_deadline(timeout_ms);
  return limit < deadline ? limit : deadline;
}

/* With the lock held: a link to the rank has come up since the dial began. */
static bool came_up(const call_t *call) {
  const hmci_entry_t *entry = hmci_control_entry(call->control, call->dial->rank);
  return entry != NULL && entry->arrival > call->dial->began && hmci_link_state(entry->link) == HMC_SUCCESS;
}

/* From now on destroying the channel ends what the call does with the socket, which a forked child does not keep.
 * HMC_CANCELLED: it is being destroyed, and has looked for sockets already. */
static hmc_status_t show_socket(const call_t *call, int descriptor) {
  hmc_control_t *control = call->control;
  pthread_mutex_lock(&control->lock);
  bool closing = control->closing;
  if (!closing) {
    call->dial->descriptor = descriptor;
    hmci_loop_keep(control->loop, &call->dial->kept, descriptor);
  }
  pthread_mutex_unlock(&control->lock);
  return closing ? hmci_fail(HMC_CANCELLED, "the control channel is being destroyed") : HMC_SUCCESS;
}

/* With the lock held: before the socket is closed, or once a link has it. */
static void hide_socket(const call_t *call) {
  call->dial->descriptor = -1;
  hmci_loop_drop(call->control->loop, &call->dial->kept);
}

static void close_shown(const call_t *call, hmci_secure_t *stream) {
  pthread_mutex_lock(&call->control->lock);
  hide_socket(call);
  pthread_mutex_unlock(&call->control->lock);
  hmci_secure_close(stream);
}

/* ---- the hello --------------------------------------------------------------------------------------------------- */

/* Sends a hello and reads the answer, no byte more: a message may follow. */
static hmc_status_t exchange(const call_t *call, hmci_secure_t *stream, hmci_link_hello_t *answer) {
  hmci_link_hello_t hello = {.kind = HMCI_LINK_HELLO_DIAL,
                             .rank = call->self_rank,
                             .peer_rank = call->dial->rank,
                             .incarnation = call->control->incarnation,
                             .serial = call->dial->serial};
  uint8_t frame[HMCI_HELLO_FRAME];
  hmci_frame_header_t header;
  uint64_t deadline = sooner(call->deadline, HMCI_CONTROL_HANDSHAKE_MS);
  hmc_status_t status = hmci_secure_write_wait(stream, frame, hmci_link_hello_encode(&hello, frame), deadline);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = hmci_secure_read_wait(stream, frame, HMCI_FRAME_HEADER, deadline);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = hmci_frame_decode(frame, HMCI_HELLO_BODY, &header);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = hmci_secure_read_wait(stream, frame + HMCI_FRAME_HEADER, header.size, deadline);
  return status != HMC_SUCCESS ? status : hmci_link_hello_decode(&header, frame + HMCI_FRAME_HEADER, answer);
}

/* With the lock held, after the exchange: the link, if it is the one that stands. HMC_IN_PROGRESS: another one is on
 * its way. */
static hmc_status_t settle(const call_t *call, hmci_secure_t **stream, bool is_unix, const char *address,
                           const hmci_link_hello_t *answer, hmci_link_t **former) {
  hmc_control_t *control = call->control;
  switch (answer->kind) {
  case HMCI_LINK_HELLO_WELCOME: break;
  case HMCI_LINK_HELLO_BUSY: return HMC_IN_PROGRESS;
  case HMCI_LINK_HELLO_REFUSED: return hmci_fail(HMC_INVALID_CONFIG, "%s refuses a link: %s", address, answer->text);
  default: return hmci_fail(HMC_CORRUPT, "%s answers a hello with another", address);
  }
  if (control->closing) {
    return hmci_fail(HMC_CANCELLED, "the control channel is being destroyed");
  }
  hmci_entry_t peer = {
      .rank = call->dial->rank, .is_unix = is_unix, .incarnation = answer->incarnation, .floor = answer->serial};
  const hmci_entry_t *entry = hmci_control_entry(control, peer.rank);
  if (entry != NULL && entry->incarnation == peer.incarnation && entry->floor > peer.floor) {
    peer.floor = entry->floor;
  }
  if (call->ip != NULL) {
    hmci_control_plain_ip(call->ip, peer.ip);
  }
  hmc_status_t status = hmci_control_adopt(control, &peer, *stream, address, NULL, 0, former);
  if (status == HMC_SUCCESS) {
    *stream = NULL;
  }
  return status;
}

/* The stream is authenticated: agrees with the other end on the link. Takes the stream. */
static hmc_status_t agree(const call_t *call, hmci_secure_t *stream, bool is_unix, const char *address) {
  hmc_control_t *control = call->control;
  hmci_dial_t *dial = call->dial;
  hmci_link_hello_t answer;
  hmci_link_t *former = NULL;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&control->lock);
  bool is_up = came_up(call);
  if (!is_up) {
    dial->serial = ++control->serials;
    dial->pending = true;
    dial->crossed = false;
  }
  pthread_mutex_unlock(&control->lock);
  if (!is_up) {
    status = exchange(call, stream, &answer);
    pthread_mutex_lock(&control->lock);
    dial->pending = false;
    if (dial->crossed) {
      status = HMC_SUCCESS; /* by the other end's dial, which stands whatever became of this one */
    } else if (status == HMC_SUCCESS) {
      status = settle(call, &stream, is_unix, address, &answer, &former);
    }
    hide_socket(call);
    pthread_mutex_unlock(&control->lock);
    hmci_secure_close(stream);
  } else {
    close_shown(call, stream);
  }
  hmci_link_release(former);
  return status;
}

/* ---- one attempt ------------------------------------------------------------------------------------------------- */

static hmc_status_t attempt(const call_t *call, bool is_unix) {
  hmc_control_t *control = call->control;
  char address[HMCI_ADDRESS_TEXT];
  hmci_secure_t *stream;
  int descriptor;
  if (is_unix) {
    snprintf(address, sizeof(address), "unix:%s", call->path);
  } else {
    snprintf(address, sizeof(address), strchr(call->ip, ':') != NULL ? "[%s]:%u" : "%s:%u", call->ip, call->port);
  }
  hmc_status_t status =
      is_unix
          ? hmci_socket_connect_unix(call->path, sooner(call->deadline, HMCI_EACH_MS), &descriptor)
          : hmci_socket_connect_each(call->ip, call->port, HMCI_EACH_MS, sooner(call->deadline, NAMED_MS), &descriptor);
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmci_socket_set_liveness(descriptor, control->settings.peer_timeout / NS_PER_MS);
  status = hmci_secure_open(&control->secret, descriptor, HMCI_SECURE_CLIENT, address, &stream);
  if (status != HMC_SUCCESS) {
    close(descriptor);
    return status;
  }
  status = show_socket(call, descriptor);
  if (status == HMC_SUCCESS) {
    status = hmci_secure_handshake_wait(stream, sooner(call->deadline, HMCI_CONTROL_HANDSHAKE_MS));
  }
  if (status != HMC_SUCCESS) {
    close_shown(call, stream);
    return status;
  }
  return agree(call, stream, is_unix, address);
}

/* Another attempt may do better. */
static bool is_passing(hmc_status_t status) {
  return status == HMC_NOT_FOUND || status == HMC_TIMEOUT || status == HMC_PEER_LOST || status == HMC_IN_PROGRESS;
}

/* Tries the UNIX socket, then TCP. */
static hmc_status_t try_both(const call_t *call) {
  hmc_status_t status = HMC_NOT_FOUND;
  if (call->path != NULL) {
    status = attempt(call, true);
    if (status == HMC_SUCCESS || status == HMC_CANCELLED || call->ip == NULL) {
      return status;
    }
  }
  return attempt(call, false);
}

static hmc_status_t dial_until_up(const call_t *call) {
  hmc_control_t *control = call->control;
  uint64_t pause_ms = FIRST_PAUSE_MS;
  char last[HMCI_ERROR_TEXT] = "";
  for (;;) {
    hmc_status_t status = try_both(call);
    if (!is_passing(status)) {
      return status;
    }
    if (hmci_stop_is_wanted()) {
      return hmci_fail(HMC_CANCELLED, "cancelled");
    }
    snprintf(last, sizeof(last), "%s",
             status == HMC_IN_PROGRESS ? "it dials this end itself, and that link did not come up" : hmc_last_error());
    pthread_mutex_lock(&control->lock);
    bool is_up = came_up(call);
    if (!is_up) {
      status = hmci_control_wait(control, sooner(call->deadline, pause_ms));
      is_up = came_up(call);
    }
    pthread_mutex_unlock(&control->lock);
    if (is_up || status == HMC_CANCELLED) {
      return is_up ? HMC_SUCCESS : hmci_fail(status, "the control channel is being destroyed");
    }
    if (hmci_now() >= call->deadline) {
      return hmci_fail(HMC_TIMEOUT, "the link to rank %u did not come up in time: %s", call->dial->rank, last);
    }
    pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
  }
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

/* Decides which addresses are tried. */
static hmc_status_t choose(call_t *call, const char *ip, uint16_t port, const char *path) {
  hmci_forced_t forced = call->control->forced;
  bool has_ip = ip != NULL && ip[0] != '\0', has_path = path != NULL && path[0] != '\0';
  if (!has_ip && !has_path) {
    return hmci_fail(HMC_INVALID_CONFIG, "no address given for rank %u", call->dial->rank);
  }
  if (forced == HMCI_FORCED_TCP && !has_ip) {
    return hmci_fail(HMC_INVALID_CONFIG, "CTRL_TRANSPORT=tcp asks for TCP, but rank %u was given no IP address",
                     call->dial->rank);
  }
  if (forced == HMCI_FORCED_UDS && !has_path) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "CTRL_TRANSPORT=uds asks for a UNIX socket, but rank %u was given no path of one",
                     call->dial->rank);
  }
  /* The same path may be somebody else's here when the peer is on another host. */
  bool by_unix = has_path && forced != HMCI_FORCED_TCP &&
                 (forced == HMCI_FORCED_UDS || !has_ip || hmci_socket_is_local(ip, call->deadline));
  call->path = by_unix ? path : NULL;
  call->ip = has_ip && forced != HMCI_FORCED_UDS ? ip : NULL;
  call->port = port;
  return HMC_SUCCESS;
}

/* With the lock held: two dials to one rank go one after the other. */
static hmc_status_t wait_turn(const call_t *call) {
  hmci_list_t *dials = &call->control->dials;
  hmci_list_t *at = dials->next;
  while (at != dials) {
    if (HMCI_CONTAINER(at, hmci_dial_t, member)->rank != call->dial->rank) {
      at = at->next;
      continue;
    }
    hmc_status_t status = hmci_control_wait(call->control, call->deadline);
    if (status != HMC_SUCCESS) {
      return status == HMC_TIMEOUT
                 ? hmci_fail(status, "another thread was dialling rank %u all the time", call->dial->rank)
                 : status;
    }
    at = dials->next;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmc_control_connect(hmc_control_t *control, uint32_t peer_rank, uint32_t self_rank, const char *ip,
                                 uint16_t port, const char *uds_path, uint64_t timeout_ms) {
  hmci_dial_t dial = {.rank = peer_rank, .descriptor = -1};
  call_t call = {.control = control, .dial = &dial, .self_rank = self_rank};
  hmci_list_init(&dial.kept.link);
  hmc_status_t status = hmci_control_enter(control);
  if (status != HMC_SUCCESS) {
    return status;
  }
  call.deadline = hmci_control_deadline(control, timeout_ms);
  status = choose(&call, ip, port, uds_path);
  if (status != HMC_SUCCESS) {
    goto out;
  }
  pthread_mutex_lock(&control->lock);
  status = wait_turn(&call);
  if (status == HMC_SUCCESS) {
    dial.began = control->arrivals;
    hmci_list_append(&control->dials, &dial.member);
  }
  pthread_mutex_unlock(&control->lock);
  if (status != HMC_SUCCESS) {
    goto out;
  }
  status = dial_until_up(&call);
  pthread_mutex_lock(&control->lock);
  hmci_list_remove(&dial.member);
  pthread_cond_broadcast(&control->changed);
  pthread_mutex_unlock(&control->lock);
out:
  hmci_control_leave(control);
  return status;
}
