/* The accepting side of a greeting: all in the loop's thread, nothing blocks.
 *
 * What has not authenticated is bounded: `stranger_room` connections, STRANGER_TIME each, a few hundred bytes until the
 * first byte comes, and no frame is read before the secure handshake is through. Who has authenticated may take
 * GREETING_TIME: making a connection can be much work on a busy host. When there is no room left, the oldest connection
 * that has not shown that it knows the secret is told to dial again, provided that it had SHOW_TIME to do so; meanwhile
 * listening pauses. So silent connections lock nobody out, and who knows the secret is never sent away. */
#include "greeting.h"

#include "../base/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SHOW_TIME 300000000u       /* nanoseconds that a stranger has in any case */
#define STRANGER_TIME 5000000000u  /* ... from accept to the end of the secure handshake, once nothing moves */
#define GREETING_TIME 30000000000u /* ... and from there to the end of the greeting */

typedef struct greeting {
  hmci_list_t link; /* context->strangers, or context->greetings */
  hmci_watch_t watch;
  hmci_timer_t timer;
  hmc_context_t *context;
  hmc_peer_t *peer; /* NULL until the first byte has come */
  uint64_t since;
  bool authenticated, over;
  int descriptor; /* the peer's channel has it once there is one */
  char from[128];
} greeting_t;

/* Ends a greeting; the peer goes with it unless it was handed on. */
static void end_greeting(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  hmci_loop_remove(context->loop, &greeting->watch);
  hmci_loop_clear_timer(context->loop, &greeting->timer);
  hmci_list_remove(&greeting->link);
  context->stranger_count -= !greeting->authenticated;
  if (greeting->peer) hmci_peer_destroy(greeting->peer);
  if (greeting->descriptor >= 0) close(greeting->descriptor);
  free(greeting);
}

static bool has_proved(const greeting_t *greeting) {
  return greeting->peer && hmci_secure_has_proved(greeting->peer->channel.stream);
}

/* Bytes of it wait to be looked at. */
static bool has_bytes(const greeting_t *greeting) {
  char byte;
  int descriptor = greeting->peer ? hmci_secure_descriptor(greeting->peer->channel.stream) : greeting->descriptor;
  return recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Tells an honest peer, which may be among them, to dial again. */
static void send_away(greeting_t *greeting) {
  hmci_secure_send_busy(greeting->peer ? hmci_secure_descriptor(greeting->peer->channel.stream) : greeting->descriptor);
  end_greeting(greeting);
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
  uint8_t body[HMCI_GREETING_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u32(&writer, (uint32_t)result);
  hmci_write_text(&writer, result == HMC_SUCCESS ? "" : hmc_last_error());
  if (data) {
    hmci_write_blob(&writer, data->data, data->size);
    hmci_write_u64(&writer, peer->token);
  }
  return hmci_channel_send(&peer->channel, (uint16_t)type, body, writer.size);
}

static hmc_status_t take_hello(greeting_t *greeting, hmci_reader_t *reader) {
  hmci_blob_t offers[HMCI_TRANSPORTS]; /* the dialling side chooses: not looked at here */
  bool offered[HMCI_TRANSPORTS];
  hmc_status_t status = hmci_hello_read(greeting->peer, reader, offers, offered);
  if (status != HMC_SUCCESS) return status;
  uint8_t body[HMCI_GREETING_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_hello_write(greeting->context, &writer);
  return hmci_channel_send(&greeting->peer->channel, HMCI_HELLO, body, writer.size);
}

/* The dialling side takes another transport than the one that stands here; it says why, for hmc_peer_explain. */
static void give_up(hmc_peer_t *peer, hmci_reader_t *reader) {
  char why[HMCI_REASON_SIZE];
  if (!peer->connection) return;
  hmci_read_text(reader, why, sizeof why);
  size_t index = (size_t)(peer->transport - peer->context->transports);
  if (!reader->failed && why[0]) hmci_peer_refuse(peer, index, why);
  hmci_peer_unsettle(peer);
}

/* The dialler wants a transport. A refusal is an answer, no failure: it may ask for another. */
static hmc_status_t take_open(greeting_t *greeting, hmci_reader_t *reader) {
  hmc_peer_t *peer = greeting->peer;
  char name[16], reason[HMCI_REASON_SIZE];
  hmci_blob_t theirs, ours = {0};
  hmci_read_text(reader, name, sizeof name);
  theirs.size = hmci_read_blob(reader, theirs.data, sizeof theirs.data);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed choice of a transport");
  give_up(peer, reader);
  hmc_status_t status = HMC_SUCCESS;
  hmci_transport_slot_t *slot = hmci_transport_find(greeting->context, name, reason, sizeof reason);
  if (!slot) {
    status = hmci_fail(HMC_UNSUPPORT, "%s", reason);
  } else {
    status = hmci_peer_settle(peer, slot, &ours);
    if (status == HMC_SUCCESS) status = hmci_peer_enter_token(peer);
    if (status == HMC_SUCCESS) status = slot->ops->connection_accept(peer->connection->state, &theirs);
    if (status != HMC_SUCCESS) hmci_peer_unsettle(peer);
  }
  return answer(peer, HMCI_OPENED, status, &ours);
}

/* Before anybody gets the peer, who could send something else first. */
static hmc_status_t welcome(hmc_peer_t *peer) {
  hmc_status_t status = answer(peer, HMCI_WELCOME, HMC_SUCCESS, NULL);
  if (status != HMC_SUCCESS || !(peer->features & HMCI_FEATURE_RESEAL)) return status;
  return hmci_channel_reseal(&peer->channel);
}

/* Published before the answer goes out: a region that closes meanwhile must find whoever may reach it. A transport whose
 * connection has ended is refused, and the dialler asks for another. */
static hmc_status_t take_ready(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  hmc_peer_t *peer = greeting->peer;
  if (!peer->connection) return hmci_fail(HMC_CORRUPT, "a peer is ready without a transport");
  hmc_status_t status = hmci_connection_check(peer->connection);
  if (status != HMC_SUCCESS) {
    hmci_peer_unsettle(peer);
    return answer(peer, HMCI_WELCOME, status, NULL);
  }
  hmci_loop_remove(context->loop, &greeting->watch);
  status = hmci_peer_publish(peer);
  if (status != HMC_SUCCESS) return status;
  greeting->peer = NULL;
  greeting->over = true;
  if (welcome(peer) != HMC_SUCCESS) hmci_peer_lose(peer, hmc_last_error());
  hmci_event_add(&context->events, &peer->arrival);
  return HMC_SUCCESS;
}

hmc_peer_t *hmci_greeting_find_peer(hmc_context_t *context, uint64_t token, uint64_t incarnation) {
  hmc_peer_t *found = NULL;
  pthread_mutex_lock(&context->lock);
  for (hmci_member_t *at = NULL; (at = hmci_table_next(&context->tokens, token, at));) {
    hmc_peer_t *peer = HMCI_CONTAINER(at, hmc_peer_t, by_token);
    if (peer->incarnation == incarnation && peer->connection) found = peer;
  }
  pthread_mutex_unlock(&context->lock);
  return found;
}

static hmc_status_t take_stream(greeting_t *greeting, hmci_reader_t *reader) {
  hmc_context_t *context = greeting->context;
  hmci_channel_t *channel = &greeting->peer->channel;
  uint64_t token = hmci_read_u64(reader), incarnation = hmci_read_u64(reader);
  uint32_t purpose = hmci_read_u32(reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed data connection");
  hmc_peer_t *owner = hmci_greeting_find_peer(context, token, incarnation);
  if (!owner || !owner->transport->ops->adopt)
    return hmci_fail(HMC_STALE, "a data connection for a peer that is not here");
  hmc_status_t status = answer(greeting->peer, HMCI_ADOPTED, HMC_SUCCESS, NULL);
  if (status == HMC_SUCCESS) status = hmci_channel_flush(channel);
  if (status != HMC_SUCCESS) return hmci_fail(HMC_PEER_LOST, "a data connection took no answer");
  hmci_loop_remove(context->loop, &greeting->watch);
  hmci_pipe_t *pipe;
  status = hmci_stream_pipe(context, channel->stream, owner->encrypt, &pipe);
  if (status != HMC_SUCCESS) return status;
  channel->stream = NULL;
  status = owner->transport->ops->adopt(owner->connection->state, purpose, pipe);
  if (status != HMC_SUCCESS) pipe->close(pipe);
  greeting->over = true;
  return status;
}

static hmc_status_t take_frame(greeting_t *greeting, uint16_t type, hmci_reader_t *reader) {
  bool greeted = greeting->peer->incarnation != 0;
  switch (type) {
  case HMCI_HELLO: return take_hello(greeting, reader);
  case HMCI_STREAM: return take_stream(greeting, reader);
  case HMCI_OPEN:
    if (greeted) return take_open(greeting, reader);
    break;
  case HMCI_READY:
    if (greeted) return take_ready(greeting);
    break;
  }
  if (type > HMCI_CHECKED) return HMC_SUCCESS; /* of a newer end, which does without an answer */
  return hmci_fail(HMC_CORRUPT, "unexpected message %u in a greeting", type);
}

/* ---- strangers --------------------------------------------------------------------------------------------------- */

/* The first byte has come: what the handshake needs is made now. */
static hmc_status_t begin(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  hmci_secure_t *stream;
  hmc_status_t status =
      hmci_secure_open(&context->secret, greeting->descriptor, HMCI_SECURE_SERVER, greeting->from, &stream);
  if (status != HMC_SUCCESS) return status;
  greeting->descriptor = -1;
  greeting->peer = hmci_peer_create(context, HMCI_ACCEPTED);
  if (!greeting->peer) {
    hmci_loop_silence(context->loop, &greeting->watch);
    hmci_secure_close(stream);
    return HMC_NO_MEMORY;
  }
  hmci_channel_open(&greeting->peer->channel, stream);
  split_address(greeting->from, greeting->peer);
  return HMC_SUCCESS;
}

static hmc_status_t authenticate(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  short events = 0;
  hmc_status_t status = greeting->peer ? HMC_SUCCESS : begin(greeting);
  if (status == HMC_SUCCESS) status = hmci_secure_handshake(greeting->peer->channel.stream, &events);
  if (status == HMC_IN_PROGRESS) {
    hmci_loop_modify(context->loop, &greeting->watch, events & EPOLLOUT ? EPOLLOUT : EPOLLIN);
  } else if (status == HMC_SUCCESS) {
    greeting->authenticated = true;
    context->stranger_count--;
    hmci_list_remove(&greeting->link);
    hmci_list_append(&context->greetings, &greeting->link);
    hmci_loop_set_timer(context->loop, &greeting->timer, hmci_now() + GREETING_TIME);
    hmci_loop_modify(context->loop, &greeting->watch, EPOLLIN);
  }
  return status;
}

/* True where it is a data connection, which goes on by itself, or may become one. */
static bool is_data(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  if (greeting->peer) return false;
  hmc_status_t status = hmci_data_knocks(greeting->descriptor);
  if (status == HMC_SUCCESS) {
    hmci_loop_remove(context->loop, &greeting->watch);
    hmci_data_accept(context, greeting->descriptor, greeting->from);
    greeting->descriptor = -1;
    end_greeting(greeting);
  }
  return status != HMC_NOT_FOUND;
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  greeting_t *greeting = HMCI_CONTAINER(watch, greeting_t, watch);
  if (!events || is_data(greeting)) return false;
  hmc_status_t status = greeting->authenticated ? HMC_SUCCESS : authenticate(greeting);
  while (status == HMC_SUCCESS && !greeting->over) {
    uint16_t type;
    hmci_reader_t reader;
    status = hmci_channel_flush(&greeting->peer->channel);
    if (status == HMC_SUCCESS) status = hmci_channel_receive(&greeting->peer->channel, &type, &reader);
    if (status == HMC_SUCCESS) status = take_frame(greeting, type, &reader);
  }
  if (status == HMC_IN_PROGRESS && greeting->authenticated) {
    bool blocked = hmci_channel_is_blocked(&greeting->peer->channel);
    hmci_loop_modify(greeting->context->loop, watch, blocked ? EPOLLOUT : EPOLLIN);
  }
  if (status == HMC_IN_PROGRESS) return false;
  if (status != HMC_SUCCESS && status != HMC_PEER_LOST) {
    hmci_log(HMC_LOG_WARNING, "%s was turned away: %s", greeting->from, hmc_last_error());
  }
  end_greeting(greeting);
  return false;
}

/* On a busy host the answer may have come, and wait in the socket. */
static void on_timeout(hmci_timer_t *timer) {
  greeting_t *greeting = HMCI_CONTAINER(timer, greeting_t, timer);
  if (!greeting->authenticated && !has_proved(greeting) && !has_bytes(greeting)) {
    hmci_log(HMC_LOG_INFO, "%s did not authenticate in time", greeting->from);
    send_away(greeting);
  } else if (!greeting->authenticated && hmci_now() - greeting->since < GREETING_TIME) {
    hmci_loop_set_timer(greeting->context->loop, timer, hmci_now() + STRANGER_TIME);
  } else {
    hmci_log(HMC_LOG_INFO, "%s did not finish its greeting in time", greeting->from);
    end_greeting(greeting);
  }
}

/* The oldest stranger that has had its time and shown nothing makes room. */
bool hmci_greeting_has_room(hmc_context_t *context) {
  if (context->stranger_count < context->stranger_room) return true;
  uint64_t now = hmci_now();
  for (hmci_list_t *link = context->strangers.next; link != &context->strangers; link = link->next) {
    greeting_t *greeting = HMCI_CONTAINER(link, greeting_t, link);
    if (now - greeting->since < SHOW_TIME) return false;
    if (has_proved(greeting) || has_bytes(greeting)) continue;
    send_away(greeting);
    return true;
  }
  return false;
}

void hmci_greeting_accept(hmc_context_t *context, int descriptor, const char *from) {
  greeting_t *greeting = calloc(1, sizeof *greeting);
  if (!greeting) {
    hmci_log(HMC_LOG_WARNING, "no memory to greet %s", from);
    hmci_secure_send_busy(descriptor);
    close(descriptor);
    return;
  }
  greeting->context = context;
  greeting->watch.ready = on_ready;
  greeting->descriptor = descriptor;
  greeting->since = hmci_now();
  hmci_timer_init(&greeting->timer, on_timeout);
  snprintf(greeting->from, sizeof greeting->from, "%s", from);
  hmci_socket_set_liveness(descriptor, context->settings.peer_timeout / 1000000u);
  hmci_list_append(&context->strangers, &greeting->link);
  context->stranger_count++;
  hmci_loop_set_timer(context->loop, &greeting->timer, greeting->since + STRANGER_TIME);
  if (hmci_loop_add(context->loop, &greeting->watch, descriptor, EPOLLIN) != HMC_SUCCESS) send_away(greeting);
}

void hmci_greeting_cancel_all(hmc_context_t *context) {
  hmci_list_t *lists[] = {&context->strangers, &context->greetings};
  hmci_loop_lock(context->loop);
  hmci_data_cancel_all(context);
  for (int i = 0; i < 2; i++) {
    while (!hmci_list_is_empty(lists[i])) end_greeting(HMCI_CONTAINER(lists[i]->next, greeting_t, link));
  }
  hmci_loop_unlock(context->loop);
}
