/* The accepting side of data connections: they show a ticket (ctrl/ticket.h), and their transport gets them. All in the
 * loop's thread, nothing blocks.
 *
 * Until its hello is there a connection is a stranger, and counted among those. The hello names a peer that is here, and
 * who dialled has some time (times.proof) to prove that it belongs to that one. At most CALLERS do so at a time. */
#include "handshake.h"

#include "../base/socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CALLERS = 16384 };

typedef struct caller {
  hmci_list_t link; /* context->accept.callers */
  hmci_watch_t watch;
  hmci_timer_t timer;
  hmc_context_t *context;
  int descriptor;
  char from[HMCI_WHERE_SIZE];
  hmci_ticket_t ticket;
  uint8_t hello[HMCI_TICKET_HELLO], challenge[HMCI_TICKET_CHALLENGE], proof[HMCI_TICKET_MAC];
  size_t got; /* of the proof */
} caller_t;

static bool has_hung_up(int descriptor) {
  struct pollfd look = {.fd = descriptor, .events = POLLRDHUP};
  return poll(&look, 1, 0) > 0;
}

/* A socket that has a part of a hello only makes no event until the rest is there, or the other end has hung up: from
 * then on it makes them without end. */
hmc_status_t hmci_data_knocks(int descriptor) {
  uint8_t hello[HMCI_TICKET_HELLO];
  int whole = HMCI_TICKET_HELLO, one = 1;
  ssize_t got = recv(descriptor, hello, sizeof hello, MSG_PEEK | MSG_DONTWAIT);
  if (got <= 0 || !hmci_ticket_is_hello(hello, (size_t)got)) {
    setsockopt(descriptor, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    return HMC_NOT_FOUND;
  }
  bool here = got == (ssize_t)sizeof hello;
  setsockopt(descriptor, SOL_SOCKET, SO_RCVLOWAT, here ? &one : &whole, sizeof one);
  if (here) return HMC_SUCCESS;
  return has_hung_up(descriptor) ? HMC_PEER_LOST : HMC_IN_PROGRESS;
}

/* Ends a caller; the socket goes with it unless it was handed on. */
static void end_caller(caller_t *caller) {
  hmc_context_t *context = caller->context;
  hmci_loop_remove(context->loop, &caller->watch);
  hmci_loop_clear_timer(context->loop, &caller->timer);
  hmci_list_remove(&caller->link);
  context->accept.caller_count--;
  if (caller->descriptor >= 0) close(caller->descriptor);
  free(caller);
}

static void turn_away(caller_t *caller) {
  hmci_handshake_log_refusal(caller->from);
  end_caller(caller);
}

static hmc_peer_t *find_owner(const caller_t *caller) {
  hmc_peer_t *owner = hmci_handshake_find_peer(caller->context, caller->ticket.token, caller->ticket.incarnation);
  if (owner && owner->connection && owner->transport->ops->adopt) return owner;
  hmci_fail(HMC_STALE, "a data connection for a peer that is not here");
  return NULL;
}

/* A socket that is as good as new has room for either answer. */
static bool say(const caller_t *caller, const uint8_t *bytes, size_t size) {
  return send(caller->descriptor, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
}

/* The proof is there: the transport gets the connection. The answer goes out first: what follows is payload. */
static hmc_status_t hand_over(caller_t *caller) {
  uint8_t answer[HMCI_TICKET_ANSWER];
  hmc_peer_t *owner = find_owner(caller);
  if (!owner) return HMC_STALE;
  hmc_status_t status = hmci_ticket_check(owner->ticket_key, caller->hello, caller->challenge, caller->proof);
  if (status != HMC_SUCCESS) return status;
  hmci_ticket_answer(HMC_SUCCESS, "", answer);
  if (!say(caller, answer, sizeof answer)) return hmci_fail(HMC_PEER_LOST, "a data connection took no answer");
  hmci_pipe_t *pipe;
  hmci_loop_remove(caller->context->loop, &caller->watch);
  status = hmci_ticket_pipe(owner, caller->descriptor, caller->hello, caller->challenge, &pipe);
  if (status != HMC_SUCCESS) return status;
  caller->descriptor = -1;
  status = owner->transport->ops->adopt(owner->connection->state, caller->ticket.purpose, pipe);
  if (status != HMC_SUCCESS) pipe->close(pipe);
  return status;
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  caller_t *caller = HMCI_CONTAINER(watch, caller_t, watch);
  if (!events) return false;
  while (caller->got < sizeof caller->proof) {
    ssize_t got =
        recv(caller->descriptor, caller->proof + caller->got, sizeof caller->proof - caller->got, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) {
      end_caller(caller);
      return false;
    }
    caller->got += (size_t)got;
  }
  if (hand_over(caller) == HMC_SUCCESS) {
    end_caller(caller);
  } else {
    turn_away(caller);
  }
  return false;
}

static void set_timer(caller_t *caller) {
  hmc_context_t *context = caller->context;
  hmci_loop_set_timer(context->loop, &caller->timer, hmci_now() + context->accept.times.proof);
}

/* Where this process was the slow one, the proof may wait in the socket, or come yet. */
static void on_timeout(hmci_timer_t *timer) {
  caller_t *caller = HMCI_CONTAINER(timer, caller_t, timer);
  if (hmci_handshake_stood_still(timer)) {
    set_timer(caller);
  } else if (hmci_handshake_has_bytes(caller->descriptor)) {
    set_timer(caller); /* on_ready may leave it waiting for the rest */
    on_ready(&caller->watch, EPOLLIN);
  } else {
    hmci_log(HMC_LOG_INFO, "%s did not prove in time which peer it belongs to", caller->from);
    end_caller(caller);
  }
}

static hmc_status_t begin(caller_t *caller) {
  hmc_context_t *context = caller->context;
  if (recv(caller->descriptor, caller->hello, sizeof caller->hello, MSG_DONTWAIT) != (ssize_t)sizeof caller->hello)
    return hmci_fail(HMC_PEER_LOST, "a data connection went away");
  hmc_status_t status = hmci_ticket_read(caller->hello, &caller->ticket);
  if (status != HMC_SUCCESS) return status;
  const hmc_peer_t *owner = find_owner(caller);
  if (!owner) return HMC_STALE;
  status = hmci_ticket_challenge(owner->ticket_key, caller->hello, caller->challenge);
  if (status != HMC_SUCCESS) return status;
  if (!say(caller, caller->challenge, sizeof caller->challenge))
    return hmci_fail(HMC_PEER_LOST, "a data connection took no answer");
  set_timer(caller);
  return hmci_loop_add(context->loop, &caller->watch, caller->descriptor, EPOLLIN);
}

void hmci_data_accept(hmc_context_t *context, int descriptor, const char *from) {
  caller_t *caller = context->accept.caller_count < CALLERS ? calloc(1, sizeof *caller) : NULL;
  if (!caller) {
    hmci_secure_send_busy(descriptor);
    close(descriptor);
    return;
  }
  caller->context = context;
  caller->descriptor = descriptor;
  caller->watch.ready = on_ready;
  hmci_timer_init(&caller->timer, on_timeout);
  snprintf(caller->from, sizeof caller->from, "%s", from);
  hmci_list_append(&context->accept.callers, &caller->link);
  context->accept.caller_count++;
  if (begin(caller) != HMC_SUCCESS) turn_away(caller);
}

void hmci_data_cancel_all(hmc_context_t *context) {
  while (!hmci_list_is_empty(&context->accept.callers))
    end_caller(HMCI_CONTAINER(context->accept.callers.next, caller_t, link));
}
