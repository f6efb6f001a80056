/* The accepting side of a handshake: all in the loop's thread, nothing blocks.
 *
 * What has not authenticated is bounded: `stranger_room` connections, times.stranger each, a few hundred bytes until the
 * first byte comes, and no frame is read before the secure handshake is through. Who has authenticated may take
 * times.handshake: making a connection can be much work on a busy host. When there is no room left, the oldest connection
 * that has not shown that it knows the secret is asked to dial again, provided that it had SHOW_TIME to do so;
 * meanwhile listening pauses. So silent connections lock nobody out, and who knows the secret is never sent away.
 * Where this process itself stood still, all get their time again. */
#include "handshake.h"

#include "../base/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHOW_TIME 300000000u /* nanoseconds that a stranger has in any case */

typedef struct handshake {
  hmci_list_t link; /* context->accept.strangers, or context->accept.handshakes */
  hmci_watch_t watch;
  hmci_timer_t timer;
  hmc_context_t *context;
  hmc_peer_t *peer; /* NULL until the first byte has come */
  uint64_t since;
  bool authenticated, over, data_only;
  bool half;      /* a part of a data connection's hello has come, and was looked at */
  int descriptor; /* the peer's channel has it once there is one */
  char from[128];
} handshake_t;

/* Ends a handshake; the peer goes with it unless it was handed on. */
static void end_handshake(handshake_t *handshake) {
  hmc_context_t *context = handshake->context;
  hmci_loop_remove(context->loop, &handshake->watch);
  hmci_loop_clear_timer(context->loop, &handshake->timer);
  hmci_list_remove(&handshake->link);
  context->accept.stranger_count -= !handshake->authenticated;
  if (handshake->peer) hmci_peer_destroy(handshake->peer);
  if (handshake->descriptor >= 0) close(handshake->descriptor);
  free(handshake);
}

static bool has_proved(const handshake_t *handshake) {
  return handshake->peer && hmci_secure_has_proved(handshake->peer->channel.stream);
}

static int descriptor_of(const handshake_t *handshake) {
  return handshake->peer ? hmci_secure_descriptor(handshake->peer->channel.stream) : handshake->descriptor;
}

/* Bytes of it wait to be looked at. The part of a hello that was stays in the socket. */
static bool has_bytes(const handshake_t *handshake) {
  if (handshake->half) return hmci_data_knocks(handshake->descriptor) == HMC_SUCCESS;
  return hmci_handshake_has_bytes(descriptor_of(handshake));
}

/* Tells an honest peer, which may be among them, to dial again. */
static void send_away(handshake_t *handshake) {
  hmci_secure_send_busy(descriptor_of(handshake));
  end_handshake(handshake);
}

static void split_address(const char *from, hmc_peer_t *peer) {
  const char *colon = strrchr(from, ':');
  size_t length = colon ? (size_t)(colon - from) : strlen(from);
  if (length >= 2 && from[0] == '[') { /* [address]:port */
    from++;
    length -= 2;
  }
  snprintf(peer->ip, sizeof peer->ip, "%.*s", (int)length, from);
  peer->port = colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 0;
  hmci_where(peer->where, peer->ip, peer->port);
}

static hmc_status_t answer(hmc_peer_t *peer, hmci_message_t type, hmc_status_t result, const hmci_blob_t *data) {
  uint8_t body[HMCI_HANDSHAKE_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u32(&writer, (uint32_t)result);
  hmci_write_text(&writer, result == HMC_SUCCESS ? "" : hmc_last_error());
  if (data) {
    hmci_write_blob(&writer, data->data, data->size);
    hmci_write_u64(&writer, peer->token);
  }
  return hmci_channel_send(&peer->channel, (uint16_t)type, body, writer.size);
}

static hmc_status_t take_hello(handshake_t *handshake, hmci_reader_t *reader) {
  hmci_blob_t offers[HMCI_TRANSPORTS]; /* the dialling side chooses: not looked at here */
  bool offered[HMCI_TRANSPORTS];
  hmc_status_t status = hmci_handshake_read_hello(handshake->peer, reader, offers, offered);
  if (status != HMC_SUCCESS) return status;
  uint8_t body[HMCI_HANDSHAKE_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_handshake_write_hello(handshake->context, &writer);
  return hmci_channel_send(&handshake->peer->channel, HMCI_HELLO, body, writer.size);
}

/* The dialling side takes another transport than the one that stands here; it says why, for hmc_peer_explain. */
static void give_up(hmc_peer_t *peer, hmci_reader_t *reader) {
  char why[HMCI_REASON_SIZE];
  if (!peer->connection) return;
  hmci_read_text(reader, why, sizeof why);
  size_t index = (size_t)(peer->transport - peer->context->transports);
  if (!reader->failed && why[0]) hmci_peer_refuse(peer, index, why);
  hmci_peer_detach(peer);
}

/* The dialler wants a transport. A refusal is an answer, no failure: it may ask for another. */
static hmc_status_t take_open(handshake_t *handshake, hmci_reader_t *reader) {
  hmc_peer_t *peer = handshake->peer;
  char name[16], reason[HMCI_REASON_SIZE];
  hmci_blob_t theirs, ours = {0};
  hmci_read_text(reader, name, sizeof name);
  theirs.size = hmci_read_blob(reader, theirs.data, sizeof theirs.data);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed choice of a transport");
  give_up(peer, reader);
  handshake->since = hmci_now(); /* each attempt has the whole time of a handshake */
  hmci_loop_set_timer(handshake->context->loop, &handshake->timer,
                      handshake->since + handshake->context->accept.times.handshake);
  hmc_status_t status = HMC_SUCCESS;
  hmci_transport_slot_t *slot = hmci_transport_find(handshake->context, name, reason, sizeof reason);
  if (!slot) {
    status = hmci_fail(HMC_UNSUPPORT, "%s", reason);
  } else {
    status = hmci_peer_attach(peer, slot, &ours);
    if (status == HMC_SUCCESS) status = hmci_peer_enter_token(peer);
    if (status == HMC_SUCCESS) status = slot->ops->connection_accept(peer->connection->state, &theirs);
    if (status != HMC_SUCCESS) hmci_peer_detach(peer);
  }
  return answer(peer, HMCI_OPENED, status, &ours);
}

/* Before anybody gets the peer, who could send something else first. */
static hmc_status_t welcome(hmc_peer_t *peer) {
  hmc_status_t status = answer(peer, HMCI_WELCOME, HMC_SUCCESS, NULL);
  if (status != HMC_SUCCESS || !(peer->features & HMCI_FEATURE_RESEAL)) return status;
  return hmci_channel_reseal(&peer->channel);
}

/* The peer is another one's second connection: that one must be here, and be the same process. False: it is not. */
static bool join_first(handshake_t *handshake, hmci_reader_t *reader) {
  hmc_peer_t *peer = handshake->peer;
  if (reader->position == reader->size) return true;
  uint64_t token = hmci_read_u64(reader), incarnation = hmci_read_u64(reader);
  if (reader->failed || incarnation != peer->incarnation) return false;
  peer->first = hmci_handshake_find_peer(handshake->context, token, incarnation);
  return peer->first && !peer->first->first && atomic_load(&peer->first->connected) &&
         hmci_peer_join(peer->first, peer) == HMC_SUCCESS;
}

/* Published before the answer goes out: a region that closes meanwhile must find all that may reach it. A transport
 * whose connection has ended is refused, and the dialler asks for another. */
static hmc_status_t take_ready(handshake_t *handshake, hmci_reader_t *reader) {
  hmc_context_t *context = handshake->context;
  hmc_peer_t *peer = handshake->peer;
  if (!peer->connection) return hmci_fail(HMC_CORRUPT, "a peer is ready without a transport");
  hmc_status_t status = hmci_connection_check(peer->connection);
  if (status == HMC_SUCCESS && !join_first(handshake, reader)) {
    peer->first = NULL;
    status = hmci_fail(HMC_STALE, "a second connection to a peer that is not here");
  }
  if (status != HMC_SUCCESS) {
    hmci_peer_detach(peer);
    return answer(peer, HMCI_WELCOME, status, NULL);
  }
  hmci_loop_remove(context->loop, &handshake->watch);
  status = hmci_peer_publish(peer);
  if (status != HMC_SUCCESS) {
    if (peer->first) hmci_peer_unjoin(peer->first);
    return status;
  }
  handshake->peer = NULL;
  handshake->over = true;
  if (welcome(peer) != HMC_SUCCESS) hmci_peer_lose(peer, hmc_last_error());
  if (!peer->first) hmci_event_add(&context->events, &peer->arrival);
  return HMC_SUCCESS;
}

static hmc_status_t take_stream(handshake_t *handshake, hmci_reader_t *reader) {
  hmc_context_t *context = handshake->context;
  hmci_channel_t *channel = &handshake->peer->channel;
  uint64_t token = hmci_read_u64(reader), incarnation = hmci_read_u64(reader);
  uint32_t purpose = hmci_read_u32(reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed data connection");
  hmc_peer_t *owner = hmci_handshake_find_peer(context, token, incarnation);
  if (!owner || !owner->transport->ops->adopt)
    return hmci_fail(HMC_STALE, "a data connection for a peer that is not here");
  hmc_status_t status = answer(handshake->peer, HMCI_ADOPTED, HMC_SUCCESS, NULL);
  if (status == HMC_SUCCESS) status = hmci_channel_flush(channel);
  if (status != HMC_SUCCESS) return hmci_fail(HMC_PEER_LOST, "a data connection took no answer");
  hmci_loop_remove(context->loop, &handshake->watch);
  hmci_pipe_t *pipe;
  status = hmci_stream_pipe(context, channel->stream, owner->encrypt, &pipe);
  if (status != HMC_SUCCESS) return status;
  channel->stream = NULL;
  status = owner->transport->ops->adopt(owner->connection->state, purpose, pipe);
  if (status != HMC_SUCCESS) pipe->close(pipe);
  handshake->over = true;
  return status;
}

static hmc_status_t take_frame(handshake_t *handshake, uint16_t type, hmci_reader_t *reader) {
  bool greeted = handshake->peer->incarnation != 0;
  switch (type) {
  case HMCI_HELLO: return take_hello(handshake, reader);
  case HMCI_STREAM: return take_stream(handshake, reader);
  case HMCI_OPEN:
    if (greeted) return take_open(handshake, reader);
    break;
  case HMCI_READY:
    if (greeted) return take_ready(handshake, reader);
    break;
  }
  if (type > HMCI_CHECKSUM_TOLD) return HMC_SUCCESS; /* of a newer end, which does without an answer */
  return hmci_fail(HMC_CORRUPT, "unexpected message %u in a handshake", type);
}

/* ---- strangers --------------------------------------------------------------------------------------------------- */

/* The first byte has come: what the handshake needs is made now. */
static hmc_status_t begin(handshake_t *handshake) {
  hmc_context_t *context = handshake->context;
  hmci_secure_t *stream;
  hmc_status_t status =
      hmci_secure_open(&context->secret, handshake->descriptor, HMCI_SECURE_SERVER, handshake->from, &stream);
  if (status != HMC_SUCCESS) return status;
  handshake->descriptor = -1;
  handshake->peer = hmci_peer_create(context, HMCI_ACCEPTED);
  if (!handshake->peer) {
    hmci_loop_silence(context->loop, &handshake->watch);
    hmci_secure_close(stream);
    return HMC_NO_MEMORY;
  }
  hmci_channel_open(&handshake->peer->channel, stream);
  split_address(handshake->from, handshake->peer);
  return HMC_SUCCESS;
}

static hmc_status_t authenticate(handshake_t *handshake) {
  hmc_context_t *context = handshake->context;
  short events = 0;
  hmc_status_t status = handshake->peer ? HMC_SUCCESS : begin(handshake);
  if (status == HMC_SUCCESS) status = hmci_secure_handshake(handshake->peer->channel.stream, &events);
  if (status == HMC_IN_PROGRESS) {
    hmci_loop_modify(context->loop, &handshake->watch, events & EPOLLOUT ? EPOLLOUT : EPOLLIN);
  } else if (status == HMC_SUCCESS) {
    handshake->authenticated = true;
    context->accept.stranger_count--;
    hmci_list_remove(&handshake->link);
    hmci_list_append(&context->accept.handshakes, &handshake->link);
    hmci_loop_set_timer(context->loop, &handshake->timer, hmci_now() + context->accept.times.handshake);
    hmci_loop_modify(context->loop, &handshake->watch, EPOLLIN);
  }
  return status;
}

/* True where it is a data connection, which goes on by itself, or may become one. */
static bool is_data(handshake_t *handshake) {
  hmc_context_t *context = handshake->context;
  if (handshake->peer) return false;
  hmc_status_t status = hmci_data_knocks(handshake->descriptor);
  if (status == HMC_SUCCESS) {
    hmci_loop_remove(context->loop, &handshake->watch);
    hmci_data_accept(context, handshake->descriptor, handshake->from);
    handshake->descriptor = -1;
    end_handshake(handshake);
  } else if (status == HMC_PEER_LOST) {
    end_handshake(handshake);
  } else {
    handshake->half = status == HMC_IN_PROGRESS;
  }
  return status != HMC_NOT_FOUND;
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  handshake_t *handshake = HMCI_CONTAINER(watch, handshake_t, watch);
  if (!events || is_data(handshake)) return false;
  if (handshake->data_only) { /* the listener has stopped */
    end_handshake(handshake);
    return false;
  }
  hmc_status_t status = handshake->authenticated ? HMC_SUCCESS : authenticate(handshake);
  while (status == HMC_SUCCESS && !handshake->over) {
    uint16_t type;
    hmci_reader_t reader;
    status = hmci_channel_flush(&handshake->peer->channel);
    if (status == HMC_SUCCESS) status = hmci_channel_receive(&handshake->peer->channel, &type, &reader);
    if (status == HMC_SUCCESS) status = take_frame(handshake, type, &reader);
  }
  if (status == HMC_IN_PROGRESS && handshake->authenticated) {
    bool blocked = hmci_channel_is_blocked(&handshake->peer->channel);
    hmci_loop_modify(handshake->context->loop, watch, blocked ? EPOLLOUT : EPOLLIN);
  }
  if (status == HMC_IN_PROGRESS) return false;
  if (status != HMC_SUCCESS && status != HMC_PEER_LOST) hmci_handshake_log_refusal(handshake->from);
  end_handshake(handshake);
  return false;
}

/* On a busy host the answer may have come, and wait in the socket; that goes on for so long only. */
static bool may_stay(const handshake_t *handshake) {
  uint64_t most = handshake->context->accept.times.handshake * (handshake->authenticated ? 2 : 1);
  if (hmci_now() - handshake->since >= most) return false;
  return has_bytes(handshake) || (!handshake->authenticated && has_proved(handshake));
}

static void on_timeout(hmci_timer_t *timer) {
  handshake_t *handshake = HMCI_CONTAINER(timer, handshake_t, timer);
  const hmci_accept_times_t *times = &handshake->context->accept.times;
  uint64_t now = hmci_now();
  if (hmci_handshake_stood_still(timer)) {
    handshake->since = now;
    hmci_loop_set_timer(handshake->context->loop, timer,
                        now + (handshake->authenticated ? times->handshake : times->stranger));
  } else if (may_stay(handshake)) {
    hmci_loop_set_timer(handshake->context->loop, timer, now + times->stranger);
  } else if (handshake->authenticated || has_proved(handshake)) {
    hmci_log(HMC_LOG_INFO, "%s did not finish its handshake in time", handshake->from);
    end_handshake(handshake);
  } else {
    hmci_log(HMC_LOG_INFO, "%s did not authenticate in time", handshake->from);
    send_away(handshake);
  }
}

/* The oldest stranger that has had its time and shown nothing makes room. */
bool hmci_handshake_has_room(hmc_context_t *context) {
  if (context->accept.stranger_count < context->accept.stranger_room) return true;
  uint64_t now = hmci_now();
  for (hmci_list_t *link = context->accept.strangers.next; link != &context->accept.strangers; link = link->next) {
    handshake_t *handshake = HMCI_CONTAINER(link, handshake_t, link);
    if (now - handshake->since < SHOW_TIME) return false;
    if (has_proved(handshake) || has_bytes(handshake)) continue;
    send_away(handshake);
    return true;
  }
  return false;
}

void hmci_handshake_accept(hmc_context_t *context, int descriptor, const char *from, bool data_only) {
  handshake_t *handshake = calloc(1, sizeof *handshake);
  if (!handshake) {
    hmci_log(HMC_LOG_WARNING, "no memory to greet %s", from);
    hmci_secure_send_busy(descriptor);
    close(descriptor);
    return;
  }
  handshake->context = context;
  handshake->watch.ready = on_ready;
  handshake->descriptor = descriptor;
  handshake->data_only = data_only;
  handshake->since = hmci_now();
  hmci_timer_init(&handshake->timer, on_timeout);
  snprintf(handshake->from, sizeof handshake->from, "%s", from);
  hmci_socket_set_liveness(descriptor, context->settings.peer_timeout / 1000000u);
  hmci_list_append(&context->accept.strangers, &handshake->link);
  context->accept.stranger_count++;
  hmci_loop_set_timer(context->loop, &handshake->timer, handshake->since + context->accept.times.stranger);
  if (hmci_loop_add(context->loop, &handshake->watch, descriptor, EPOLLIN) != HMC_SUCCESS) send_away(handshake);
}

void hmci_handshake_cancel_all(hmc_context_t *context) {
  hmci_list_t *lists[] = {&context->accept.strangers, &context->accept.handshakes};
  hmci_loop_lock(context->loop);
  hmci_data_cancel_all(context);
  for (int i = 0; i < 2; i++) {
    while (!hmci_list_is_empty(lists[i])) end_handshake(HMCI_CONTAINER(lists[i]->next, handshake_t, link));
  }
  hmci_loop_unlock(context->loop);
}
