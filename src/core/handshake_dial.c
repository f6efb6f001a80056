/* The dialling side of a handshake: in the caller's thread, blocking, with a deadline.
 *
 * A listener that is busy, and one that hangs up though both ends know the secret, is dialled again until the deadline:
 * it has given up on a side that stood still, as sides do on a busy host. Which is dialled again, the data connection or
 * the whole peer, is seen by the session: once that has ended, the listener knows no data connection of this peer.
 * A transport that fails, however it fails, is followed by the next one; only where the handshake's own stream fails is
 * there nobody left to agree with. A required one is tried again where it says that its failure may pass:
 * both ends make another connection of it, as they would of the next transport, so a peer of any release takes part. */
#include "handshake.h"

#include "../base/resolve.h"
#include "../base/socket.h"
#include "../base/stop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HANG_UPS = 4 };           /* attempts of a data connection that the peer ends at once, before it answered */
#define AT_ONCE 500000000u       /* nanoseconds; a peer that hangs up later than that has waited in vain */
#define FIRST_PAUSE 5000000u     /* nanoseconds before a listener is dialled again; each pause is twice as long */
#define LONGEST_PAUSE 320000000u /* ... up to this */
#define LEAST_HALF 1000000000u   /* nanoseconds; an attempt gets half of the time that is left, where that is more */

/* Waits before the next attempt, a little longer each time, and not all diallers alike. False: no time is left. */
static bool pause_dialling(uint64_t *pause, uint64_t deadline) {
  uint32_t random;
  hmci_random(&random, sizeof random);
  uint64_t length = *pause / 2 + random % *pause, until = hmci_now() + length;
  if (until >= deadline) return false;
  while (hmci_now() < until && !hmci_stop_is_asked()) hmci_stop_poll(-1, 0, hmci_poll_timeout(until));
  if (hmci_stop_is_asked()) return false;
  if (*pause < LONGEST_PAUSE) *pause *= 2;
  return true;
}

/* One attempt of dial_secure. The socket is kept from a forked child until the loop has it. */
static hmc_status_t dial_once(hmc_context_t *context, const char *ip, uint16_t port, size_t more, uint64_t deadline,
                              hmci_kept_t *kept, hmci_secure_t **out, bool *busy) {
  int descriptor;
  char name[HMCI_WHERE_SIZE];
  hmci_where(name, ip, port);
  uint64_t limit = more ? hmci_address_turn(HMCI_EACH_MS, more, deadline) : deadline;
  hmc_status_t status = hmci_socket_connect_tcp(ip, port, limit, &descriptor);
  if (status != HMC_SUCCESS) return status;
  hmci_socket_set_liveness(descriptor, context->settings.peer_timeout / 1000000u);
  hmci_loop_keep(context->loop, kept, descriptor);
  hmci_secure_t *stream;
  status = hmci_secure_open(&context->secret, descriptor, HMCI_SECURE_CLIENT, name, &stream);
  if (status != HMC_SUCCESS) {
    hmci_loop_drop(context->loop, kept);
    close(descriptor);
    return status;
  }
  status = hmci_secure_handshake_wait(stream, deadline);
  if (status != HMC_SUCCESS) {
    *busy = hmci_secure_is_busy(stream) || (status == HMC_PEER_LOST && hmci_secure_has_proved(stream));
    hmci_loop_drop(context->loop, kept);
    hmci_secure_close(stream);
    return status;
  }
  *out = stream;
  return HMC_SUCCESS;
}

/* Connects and authenticates: a secure stream to the listener there, which may be reached at `more` addresses instead.
 * The caller drops `kept`, in the end. */
static hmc_status_t dial_secure(hmc_context_t *context, const char *ip, uint16_t port, size_t more, uint64_t deadline,
                                hmci_kept_t *kept, hmci_secure_t **out) {
  uint64_t pause = FIRST_PAUSE;
  for (;;) {
    bool busy = false;
    hmc_status_t status = dial_once(context, ip, port, more, deadline, kept, out, &busy);
    if (status == HMC_SUCCESS || !busy || !pause_dialling(&pause, deadline)) return status;
  }
}

/* Sends one message and waits for one of type `expected`. */
static hmc_status_t ask(hmci_channel_t *channel, hmci_message_t type, const hmci_writer_t *body,
                        hmci_message_t expected, uint64_t deadline, hmci_reader_t *reader) {
  uint16_t got;
  hmc_status_t status = hmci_channel_send(channel, (uint16_t)type, body->data, body->size);
  if (status == HMC_SUCCESS) status = hmci_channel_flush_wait(channel, deadline);
  if (status == HMC_SUCCESS) status = hmci_channel_receive_wait(channel, deadline, &got, reader);
  if (status != HMC_SUCCESS) return status;
  if (got != expected) return hmci_fail(HMC_CORRUPT, "message %u where %u was due", got, expected);
  return HMC_SUCCESS;
}

/* Reads the status and text that answers begin with. */
static hmc_status_t read_result(hmci_reader_t *reader) {
  char text[HMCI_REASON_SIZE];
  uint32_t result = hmci_read_u32(reader);
  hmci_read_text(reader, text, sizeof text);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed answer");
  return result == HMC_SUCCESS ? HMC_SUCCESS : hmci_fail(hmci_status_known(result), "the peer says: %s", text);
}

static hmc_status_t say_hello(hmc_peer_t *peer, uint64_t deadline, hmci_blob_t offers[HMCI_TRANSPORTS],
                              bool offered[HMCI_TRANSPORTS]) {
  uint8_t body[HMCI_HANDSHAKE_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_handshake_write_hello(peer->context, &writer);
  hmci_reader_t reader;
  hmc_status_t status = ask(&peer->channel, HMCI_HELLO, &writer, HMCI_HELLO, deadline, &reader);
  return status == HMC_SUCCESS ? hmci_handshake_read_hello(peer, &reader, offers, offered) : status;
}

/* Where a handshake is: what the other side has, and whether the stream that carries the handshake still works. */
typedef struct dialogue {
  hmci_blob_t offers[HMCI_TRANSPORTS];
  bool offered[HMCI_TRANSPORTS];
  bool over;                       /* the stream failed: there is nobody left to agree with */
  bool transient;                  /* the last attempt failed for a reason that another one may not meet */
  char given_up[HMCI_REASON_SIZE]; /* why the transport that the accepting side still has is not used after all */
} dialogue_t;

/* Both sides agree on the transport that stands: the accepting side publishes the peer. */
static hmc_status_t agree(hmc_peer_t *peer, dialogue_t *dialogue, uint64_t deadline) {
  uint8_t body[16];
  hmci_writer_t of_first = {.data = body, .capacity = sizeof body};
  if (peer->first) {
    hmci_write_u64(&of_first, peer->first->token);
    hmci_write_u64(&of_first, peer->context->host.incarnation);
  }
  hmci_reader_t reader;
  hmc_status_t status = hmci_connection_check(peer->connection);
  if (status != HMC_SUCCESS) return status;
  status = ask(&peer->channel, HMCI_READY, &of_first, HMCI_WELCOME, deadline, &reader);
  dialogue->over = status != HMC_SUCCESS;
  if (status == HMC_SUCCESS) status = read_result(&reader);
  if (status != HMC_SUCCESS || !(peer->features & HMCI_FEATURE_RESEAL)) return status;
  status = hmci_channel_reseal(&peer->channel);
  dialogue->over = status != HMC_SUCCESS;
  return status;
}

/* Asks for a transport; `theirs` is the data of the accepting half. */
static hmc_status_t open_there(hmc_peer_t *peer, dialogue_t *dialogue, const hmci_blob_t *ours, hmci_blob_t *theirs,
                               uint64_t deadline) {
  uint8_t body[HMCI_BLOB_MAX + HMCI_REASON_SIZE + 64];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_text(&writer, peer->transport->ops->name);
  hmci_write_blob(&writer, ours->data, ours->size);
  hmci_write_text(&writer, dialogue->given_up);
  hmci_reader_t reader;
  hmc_status_t status = ask(&peer->channel, HMCI_OPEN, &writer, HMCI_OPENED, deadline, &reader);
  dialogue->over = status != HMC_SUCCESS;
  if (status == HMC_SUCCESS) status = read_result(&reader);
  if (status != HMC_SUCCESS) return status;
  theirs->size = hmci_read_blob(&reader, theirs->data, sizeof theirs->data);
  peer->token = hmci_read_u64(&reader);
  return reader.failed ? hmci_fail(HMC_CORRUPT, "malformed answer") : HMC_SUCCESS;
}

/* Has the listener given up on the peer? What it sent before does not matter. */
static bool session_has_ended(const hmc_peer_t *peer) {
  struct pollfd look = {.fd = hmci_secure_descriptor(peer->channel.stream), .events = POLLRDHUP};
  return poll(&look, 1, 0) > 0;
}

/* Tries one transport, at most until `limit`; on failure the connection is undone and the text says why. */
static hmc_status_t try_transport(hmc_peer_t *peer, hmci_transport_slot_t *slot, dialogue_t *dialogue,
                                  const hmci_blob_t *offer, bool slow, uint64_t limit, uint64_t deadline) {
  dialogue->transient = false;
  if (!slot->state) return hmci_fail(HMC_UNSUPPORT, "%s", slot->reason);
  hmc_status_t status = slot->ops->reachable(slot->state, offer);
  if (status == HMC_SUCCESS && !slow && slot->ops->suits_auto) status = slot->ops->suits_auto(slot->state, offer);
  if (status != HMC_SUCCESS) return status;
  hmci_blob_t ours = {0}, theirs;
  status = hmci_peer_attach(peer, slot, &ours);
  if (status != HMC_SUCCESS) return status;
  status = open_there(peer, dialogue, &ours, &theirs, deadline);
  bool opened = status == HMC_SUCCESS;
  if (status == HMC_SUCCESS) status = slot->ops->connection_dial(peer->connection->state, offer, &theirs, limit);
  if (status == HMC_SUCCESS) status = agree(peer, dialogue, deadline);
  if (status != HMC_SUCCESS) {
    char text[HMCI_ERROR_TEXT];
    snprintf(text, sizeof text, "%s", hmc_last_error());
    snprintf(dialogue->given_up, sizeof dialogue->given_up, "%.*s", HMCI_REASON_SIZE - 1, opened ? text : "");
    dialogue->over = dialogue->over || (status == HMC_PEER_LOST && session_has_ended(peer));
    dialogue->transient = opened && !dialogue->over && status != HMC_CANCELLED && slot->ops->is_transient &&
                          slot->ops->is_transient(peer->connection->state);
    hmci_peer_detach(peer);
    hmci_fail(status, "%s", text);
  }
  return status;
}

/* What a required transport failed of after some attempts; one that was cut off says less than one before it that failed. */
static hmc_status_t explain_attempts(hmc_status_t status, unsigned attempts, const char *failure) {
  char text[HMCI_ERROR_TEXT];
  snprintf(text, sizeof text, "%s", hmc_last_error());
  if (status == HMC_TIMEOUT && failure[0])
    return hmci_fail(status, "%s, the last of %u attempts; one before: %s", text, attempts, failure);
  return hmci_fail(status, "%s; tried %u times", text, attempts);
}

/* Tries a required transport until it works, another attempt is of no use, or the deadline comes. */
static hmc_status_t try_required(hmc_peer_t *peer, size_t index, dialogue_t *dialogue, bool slow, uint64_t deadline) {
  hmci_transport_slot_t *slot = &peer->context->transports[index];
  uint64_t pause = FIRST_PAUSE;
  char failure[HMCI_REASON_SIZE] = "";
  for (unsigned attempts = 1;; attempts++) {
    uint64_t now = hmci_now(), half = deadline > now ? (deadline - now) / 2 : 0;
    uint64_t limit = slot->ops->is_transient && half > LEAST_HALF ? now + half : deadline;
    hmc_status_t status = try_transport(peer, slot, dialogue, &dialogue->offers[index], slow, limit, deadline);
    if (status == HMC_SUCCESS) return status;
    if (dialogue->transient) {
      hmci_log(HMC_LOG_INFO, "%s is not reached by %s yet: %s", peer->where, slot->ops->name, hmc_last_error());
      hmci_peer_refuse(peer, index, hmc_last_error());
      if (status != HMC_TIMEOUT) snprintf(failure, sizeof failure, "%s", hmc_last_error());
    }
    if (!dialogue->transient || !pause_dialling(&pause, deadline))
      return attempts > 1 ? explain_attempts(status, attempts, failure) : status;
  }
}

/* A faster way that should have worked and did not is worth a warning, once; one that could not work is not. */
static void log_refusal(const hmc_peer_t *peer, hmci_transport_slot_t *slot, const hmci_blob_t *offer,
                        const char *reason) {
  bool expected = slot->state && offer && slot->ops->reachable(slot->state, offer) == HMC_SUCCESS &&
                  (!slot->ops->suits_auto || slot->ops->suits_auto(slot->state, offer) == HMC_SUCCESS);
  bool first = expected && !atomic_exchange(&slot->downgraded, 1);
  hmci_log(first ? HMC_LOG_WARNING : HMC_LOG_INFO, "%s is not reached by %s: %s", peer->where,
           hmci_transport_text(slot->ops), reason);
}

/* Takes the required transport, or the first that works, and remembers why not those before it. `slow`: one that is
 * slower than a later one will do. */
static hmc_status_t try_all(hmc_peer_t *peer, hmc_connection_type_t type, dialogue_t *dialogue, bool slow,
                            uint64_t deadline) {
  hmc_context_t *context = peer->context;
  hmc_status_t status = HMC_UNSUPPORT;
  const bool *offered = dialogue->offered;
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    if (type != HMC_CONNECTION_AUTO && slot->ops->type != type) {
      char required[HMCI_REASON_SIZE];
      snprintf(required, sizeof required, "%s was required", hmc_connection_type_name(type));
      hmci_peer_refuse(peer, i, required);
      continue;
    }
    /* Where others may follow, one that hangs leaves them half of the time. */
    uint64_t now = hmci_now(), half = deadline > now ? now + (deadline - now) / 2 : deadline;
    if (!offered[i] && slot->state)
      status = hmci_fail(HMC_UNSUPPORT, "the peer has no %s", hmci_transport_text(slot->ops));
    else if (type != HMC_CONNECTION_AUTO)
      status = try_required(peer, i, dialogue, slow, deadline);
    else
      status = try_transport(peer, slot, dialogue, &dialogue->offers[i], slow, half, deadline);
    if (status == HMC_SUCCESS) return HMC_SUCCESS;
    hmci_peer_refuse(peer, i, hmc_last_error());
    if (dialogue->over) return status;
    if (type == HMC_CONNECTION_AUTO)
      log_refusal(peer, slot, offered[i] ? &dialogue->offers[i] : NULL, peer->refused[i] ? peer->refused[i] : "");
  }
  return status;
}

/* When no way is left, each of them says why. */
static hmc_status_t explain_all(const hmc_peer_t *peer, hmc_status_t status) {
  char text[HMCI_ERROR_TEXT];
  size_t used = 0;
  for (size_t i = 0; i < hmci_transport_count && used < sizeof text; i++) {
    int length = snprintf(text + used, sizeof text - used, "%s%s: %s", used ? "; " : "",
                          hmci_transport_text(hmci_transports[i]), peer->refused[i] ? peer->refused[i] : "");
    if (length > 0) used += (size_t)length;
  }
  return hmci_fail(status, "no way works: %s", text);
}

static hmc_status_t choose_transport(hmc_peer_t *peer, hmc_connection_type_t type, dialogue_t *dialogue,
                                     uint64_t deadline) {
  if (type != HMC_CONNECTION_AUTO) return try_all(peer, type, dialogue, !peer->first, deadline);
  hmc_status_t status = try_all(peer, type, dialogue, false, deadline);
  if (status == HMC_SUCCESS || dialogue->over) return status;
  status = try_all(peer, type, dialogue, true, deadline);
  return status == HMC_SUCCESS || dialogue->over ? status : explain_all(peer, status);
}

/* A required type must work here; the context knows since it was made. */
static hmc_status_t check_type(const hmc_context_t *context, hmc_connection_type_t type) {
  if (type == HMC_CONNECTION_AUTO) return HMC_SUCCESS;
  for (size_t i = 0; i < hmci_transport_count; i++) {
    const hmci_transport_slot_t *slot = &context->transports[i];
    if (slot->ops->type != type) continue;
    return slot->state ? HMC_SUCCESS : hmci_fail(HMC_UNSUPPORT, "%s", slot->reason);
  }
  return hmci_fail(HMC_UNSUPPORT, "this build of HMC has no %s transport", hmc_connection_type_name(type));
}

/* Whom to dial, and how. */
typedef struct target {
  const char *ip;
  size_t more; /* addresses of the same host that can be dialled instead */
  uint16_t port;
  hmc_connection_type_t type;
  hmc_peer_t *first; /* the connection is a second one to that peer; NULL: it is not */
} target_t;

/* Another process may listen there by now. */
static hmc_status_t check_same(const hmc_peer_t *peer) {
  if (!peer->first || peer->first->incarnation == peer->incarnation) return HMC_SUCCESS;
  return hmci_fail(HMC_PEER_LOST, "another process listens there now");
}

/* One attempt; `again`: the peer hung up although both ends know the secret, so that another attempt may do. */
static hmc_status_t connect_once(hmc_context_t *context, const target_t *target, uint64_t deadline, bool *again,
                                 hmc_peer_t **out) {
  const char *ip = target->ip;
  hmc_connection_type_t type = target->type;
  hmci_secure_t *stream;
  hmci_kept_t kept;
  hmc_status_t status = dial_secure(context, ip, target->port, target->more, deadline, &kept, &stream);
  if (status != HMC_SUCCESS) return status;
  hmc_peer_t *peer = hmci_peer_create(context, HMCI_DIALLED);
  if (!peer) {
    hmci_loop_drop(context->loop, &kept);
    hmci_secure_close(stream);
    return HMC_NO_MEMORY;
  }
  hmci_channel_open(&peer->channel, stream);
  snprintf(peer->ip, sizeof peer->ip, "%s", ip);
  peer->port = target->port;
  peer->first = target->first;
  peer->asked = type;
  hmci_where(peer->where, ip, target->port);
  dialogue_t dialogue = {.over = true};
  status = say_hello(peer, deadline, dialogue.offers, dialogue.offered);
  dialogue.over = status != HMC_SUCCESS; /* a transport that is not even asked about leaves the dialogue open */
  if (status == HMC_SUCCESS) status = check_same(peer);
  if (status == HMC_SUCCESS) status = choose_transport(peer, type, &dialogue, deadline);
  if (status == HMC_SUCCESS) status = hmci_peer_publish(peer);
  hmci_loop_drop(context->loop, &kept);
  if (status != HMC_SUCCESS) {
    *again = status == HMC_PEER_LOST && dialogue.over;
    hmci_fail_prefix(status, "connection to %s by %s: ", peer->where, hmc_connection_type_name(type));
    hmci_peer_destroy(peer);
    return status;
  }
  *out = peer;
  return HMC_SUCCESS;
}

/* Dials one address until a peer is there, or another attempt is of no use. */
static hmc_status_t connect_to(hmc_context_t *context, const target_t *target, uint64_t deadline, hmc_peer_t **out) {
  uint64_t pause = FIRST_PAUSE;
  for (;;) {
    bool again = false;
    hmc_status_t status = connect_once(context, target, deadline, &again, out);
    if (status == HMC_SUCCESS || !again || !pause_dialling(&pause, deadline)) return status;
  }
}

/* May the next address of a host do what this one did not? One that never answers has had its share of the time. */
static bool is_other_better(hmc_status_t status, uint64_t deadline) {
  return status == HMC_NOT_FOUND || status == HMC_PEER_LOST || (status == HMC_TIMEOUT && hmci_now() < deadline);
}

/* A host may have addresses that nobody listens at, that there is no way to, or that drop what is sent there. */
hmc_status_t hmci_handshake_connect(hmc_context_t *context, const char *host, uint16_t port, hmc_connection_type_t type,
                                    uint64_t deadline, hmc_peer_t **out) {
  hmci_log(HMC_LOG_DEBUG, "%s dials %s, port %u, by %s", context->name, host, port, hmc_connection_type_name(type));
  hmci_addresses_t addresses = {0};
  hmc_status_t status = hmci_resolve(host, deadline, &addresses);
  for (size_t i = 0; i < addresses.count; i++) {
    const target_t target = {addresses.ip[i], addresses.count - i - 1, port, type, NULL};
    status = connect_to(context, &target, deadline, out);
    if (status == HMC_SUCCESS || !is_other_better(status, deadline)) break;
  }
  if (status != HMC_SUCCESS && addresses.count && strcmp(host, addresses.ip[0]) != 0)
    hmci_fail_prefix(status, "%s: ", host);
  return status;
}

hmc_status_t hmci_handshake_connect_second(hmc_peer_t *first, hmc_connection_type_t type, uint64_t deadline,
                                           hmc_peer_t **second) {
  const target_t target = {first->ip, 0, first->port, type, first};
  return connect_to(first->context, &target, deadline, second);
}

hmc_status_t hmci_handshake_check(const hmc_context_t *context, const char *ip, hmc_connection_type_t type,
                                  char host[HMCI_HOST_TEXT], uint16_t *port) {
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  if ((unsigned)type >= HMCI_CONNECTION_TYPES)
    return hmci_fail(HMC_INVALID_CONFIG, "unknown connection type %d", (int)type);
  char where[HMCI_WHERE_SIZE];
  hmc_status_t status = hmci_address_split(ip, host, port);
  if (status != HMC_SUCCESS) return status;
  status = check_type(context, type);
  if (status == HMC_SUCCESS) return status;
  hmci_where(where, host, *port);
  return hmci_fail_prefix(status, "connection to %s by %s: ", where, hmc_connection_type_name(type));
}

hmc_status_t hmc_context_connect(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                                 uint64_t timeout_ms, hmc_peer_t **out) {
  if (!context || !ip || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_connect: context, ip or peer is NULL");
  char host[HMCI_HOST_TEXT];
  hmc_status_t status = hmci_handshake_check(context, ip, type, host, &port);
  if (status == HMC_SUCCESS) status = hmci_context_check_waiting(context, "hmc_context_connect");
  if (status != HMC_SUCCESS) return status;
  return hmci_handshake_connect(context, host, port, type, hmci_context_deadline(context, timeout_ms), out);
}

/* ---- data connections -------------------------------------------------------------------------------------------- */

/* Moves `size` bytes over a bare socket; `got` counts those that came. HMC_PEER_LOST where the other end hangs up. */
static hmc_status_t move_bytes(int descriptor, uint8_t *bytes, size_t size, bool sends, uint64_t deadline,
                               size_t *got) {
  for (*got = 0; *got < size;) {
    ssize_t done = sends ? send(descriptor, bytes + *got, size - *got, MSG_DONTWAIT | MSG_NOSIGNAL)
                         : recv(descriptor, bytes + *got, size - *got, MSG_DONTWAIT);
    if (done > 0) *got += (size_t)done;
    if (done > 0) continue;
    if (done == 0 || (errno != EAGAIN && errno != EINTR))
      return hmci_fail(HMC_PEER_LOST, "a data connection broke: %s", done == 0 ? "the peer hung up" : strerror(errno));
    if (hmci_now() >= deadline) return hmci_fail(HMC_TIMEOUT, "a data connection was not answered within the deadline");
    if (hmci_stop_is_asked()) return hmci_fail(HMC_CANCELLED, "cancelled");
    hmci_stop_poll(descriptor, sends ? POLLOUT : POLLIN, hmci_poll_timeout(deadline));
  }
  return HMC_SUCCESS;
}

/* Shows the ticket and hears the answer. `busy`: the listener has no room just now. HMC_PEER_LOST: it hung up before it
 * answered, as it does where this process stood still for longer than it waits for a proof, or for the peer. */
static hmc_status_t show_ticket(const hmc_peer_t *peer, int descriptor, uint32_t purpose, uint64_t deadline, bool *busy,
                                hmci_pipe_t **pipe) {
  hmci_ticket_t ticket = {peer->token, peer->context->host.incarnation, purpose};
  uint8_t hello[HMCI_TICKET_HELLO], challenge[HMCI_TICKET_CHALLENGE], proof[HMCI_TICKET_MAC];
  uint8_t answer[HMCI_TICKET_ANSWER];
  size_t got;
  hmci_ticket_hello(&ticket, hello);
  hmc_status_t status = move_bytes(descriptor, hello, sizeof hello, true, deadline, &got);
  if (status == HMC_SUCCESS) {
    status = move_bytes(descriptor, challenge, sizeof challenge, false, deadline, &got);
    *busy = status == HMC_PEER_LOST && hmci_secure_says_busy(challenge, got);
  }
  if (status == HMC_SUCCESS) status = hmci_ticket_prove(peer->ticket_key, hello, challenge, proof);
  if (status == HMC_SUCCESS) status = move_bytes(descriptor, proof, sizeof proof, true, deadline, &got);
  if (status == HMC_SUCCESS) status = move_bytes(descriptor, answer, sizeof answer, false, deadline, &got);
  if (status == HMC_SUCCESS) status = hmci_ticket_judged(answer);
  return status == HMC_SUCCESS ? hmci_ticket_pipe(peer, descriptor, hello, challenge, pipe) : status;
}

static hmc_status_t dial_by_ticket(hmc_peer_t *peer, uint32_t purpose, uint64_t deadline, hmci_pipe_t **pipe) {
  uint64_t pause = FIRST_PAUSE;
  for (int hang_ups = 0;;) {
    uint64_t since = hmci_now();
    int descriptor;
    bool busy = false;
    hmci_kept_t kept;
    hmc_status_t status = hmci_socket_connect_tcp(peer->ip, peer->port, deadline, &descriptor);
    if (status != HMC_SUCCESS) return status;
    hmci_loop_keep(peer->context->loop, &kept, descriptor);
    hmci_socket_set_liveness(descriptor, peer->context->settings.peer_timeout / 1000000u);
    status = show_ticket(peer, descriptor, purpose, deadline, &busy, pipe);
    hmci_loop_drop(peer->context->loop, &kept);
    if (status == HMC_SUCCESS) return status;
    close(descriptor);
    hang_ups += !busy && hmci_now() - since < AT_ONCE;
    bool again = busy || (status == HMC_PEER_LOST && hang_ups < HANG_UPS);
    if (!again || !pause_dialling(&pause, deadline)) return status;
  }
}

static hmc_status_t dial_stream(hmc_context_t *context, hmc_peer_t *peer, uint32_t purpose, uint64_t deadline,
                                hmci_pipe_t **pipe) {
  hmci_secure_t *stream;
  hmci_kept_t kept;
  hmc_status_t status = dial_secure(context, peer->ip, peer->port, 0, deadline, &kept, &stream);
  if (status != HMC_SUCCESS) return status;
  hmci_channel_t channel;
  hmci_channel_open(&channel, stream);
  uint8_t body[64];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u64(&writer, peer->token);
  hmci_write_u64(&writer, context->host.incarnation);
  hmci_write_u32(&writer, purpose);
  hmci_reader_t reader;
  status = ask(&channel, HMCI_STREAM, &writer, HMCI_ADOPTED, deadline, &reader);
  if (status == HMC_SUCCESS) status = read_result(&reader);
  if (status == HMC_SUCCESS) status = hmci_stream_pipe(context, stream, peer->encrypt, pipe);
  if (status == HMC_SUCCESS) channel.stream = NULL;
  hmci_loop_drop(context->loop, &kept);
  hmci_channel_close(&channel);
  return status;
}

hmc_status_t hmci_handshake_dial_stream(const hmci_host_t *host, void *block, uint32_t purpose, uint64_t deadline,
                                        hmci_pipe_t **pipe) {
  hmc_context_t *context = host->owner;
  hmc_peer_t *peer = HMCI_CONTAINER(block, hmci_connection_t, state)->peer;
  if (peer->features & HMCI_FEATURE_TICKETS) return dial_by_ticket(peer, purpose, deadline, pipe);
  return dial_stream(context, peer, purpose, deadline, pipe);
}
