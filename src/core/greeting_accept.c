/* The accepting side of a greeting: all in the loop's thread, nothing blocks.
 *
 * What has not proved itself is bounded: HMCI_GREETINGS connections, STRANGER_TIME each, and no frame is read before
 * the secure handshake is through. Who has proved itself may take GREETING_TIME: making a connection can be much work
 * on a busy host. When the house is full, the oldest that has not yet authenticated makes room, so that idle
 * connections lock nobody out. */
#include "greeting.h"

#include "../base/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define STRANGER_TIME 5000000000u  /* nanoseconds from accept to the end of the secure handshake */
#define GREETING_TIME 30000000000u /* ... and from there to the end of the greeting */

typedef struct greeting {
  hmci_list_t link; /* context->greetings */
  hmci_watch_t watch;
  hmci_timer_t timer;
  hmc_context_t *context;
  hmc_peer_t *peer;
  bool authenticated, over;
  char from[128];
  hmci_blob_t offers[HMCI_TRANSPORTS];
  bool offered[HMCI_TRANSPORTS];
} greeting_t;

/* Ends a greeting; the peer goes with it unless it was handed on. */
static void end_greeting(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  hmci_loop_remove(context->loop, &greeting->watch);
  hmci_loop_clear_timer(context->loop, &greeting->timer);
  hmci_list_remove(&greeting->link);
  context->greeting_count--;
  if (greeting->peer) hmci_peer_destroy(greeting->peer);
  free(greeting);
}

static void on_timeout(hmci_timer_t *timer) {
  greeting_t *greeting = HMCI_CONTAINER(timer, greeting_t, timer);
  hmci_log(HMC_LOG_INFO, "%s did not finish its greeting in time", greeting->from);
  end_greeting(greeting);
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
  hmc_status_t status = hmci_hello_read(greeting->peer, reader, greeting->offers, greeting->offered);
  if (status != HMC_SUCCESS) return status;
  uint8_t body[HMCI_GREETING_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_hello_write(greeting->context, &writer);
  return hmci_channel_send(&greeting->peer->channel, HMCI_HELLO, body, writer.size);
}

/* The dialler wants a transport. A refusal is an answer, no failure: it may ask for another. */
static hmc_status_t take_open(greeting_t *greeting, hmci_reader_t *reader) {
  hmc_peer_t *peer = greeting->peer;
  char name[16], reason[HMCI_REASON_SIZE];
  hmci_blob_t theirs, ours = {0};
  hmci_read_text(reader, name, sizeof name);
  theirs.size = hmci_read_blob(reader, theirs.data, sizeof theirs.data);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed choice of a transport");
  hmci_peer_unsettle(peer);
  hmc_status_t status = HMC_SUCCESS;
  hmci_transport_slot_t *slot = hmci_transport_find(greeting->context, name, reason, sizeof reason);
  if (!slot) {
    status = hmci_fail(HMC_UNSUPPORT, "%s", reason);
  } else {
    status = hmci_peer_settle(peer, slot, &ours);
    if (status == HMC_SUCCESS) status = slot->ops->connection_accept(peer->connection->state, &theirs);
    if (status != HMC_SUCCESS) hmci_peer_unsettle(peer);
  }
  return answer(peer, HMCI_OPENED, status, &ours);
}

static hmc_status_t take_ready(greeting_t *greeting) {
  hmc_context_t *context = greeting->context;
  hmc_peer_t *peer = greeting->peer;
  if (!peer->connection) return hmci_fail(HMC_CORRUPT, "a peer is ready without a transport");
  hmci_loop_remove(context->loop, &greeting->watch);
  hmc_status_t status = answer(peer, HMCI_WELCOME, HMC_SUCCESS, NULL);
  if (status != HMC_SUCCESS) return status;
  status = hmci_peer_publish(peer);
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_lock(&context->lock);
  hmci_list_append(&context->arrivals, &peer->arrival);
  pthread_cond_broadcast(&context->arrived);
  pthread_mutex_unlock(&context->lock);
  greeting->peer = NULL;
  greeting->over = true;
  return HMC_SUCCESS;
}

/* The peer a data connection belongs to: one in its greeting, or a published one. */
static hmc_peer_t *find_peer(hmc_context_t *context, uint64_t token, uint64_t incarnation) {
  hmc_peer_t *found = NULL;
  for (hmci_list_t *link = context->greetings.next; link != &context->greetings; link = link->next) {
    hmc_peer_t *peer = HMCI_CONTAINER(link, greeting_t, link)->peer;
    if (peer && peer->token == token && peer->incarnation == incarnation && peer->connection) found = peer;
  }
  pthread_mutex_lock(&context->lock);
  for (hmci_list_t *link = context->peers.next; link != &context->peers && !found; link = link->next) {
    hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
    if (peer->token == token && peer->incarnation == incarnation) found = peer;
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
  hmc_peer_t *owner = find_peer(context, token, incarnation);
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
  return hmci_fail(HMC_CORRUPT, "unexpected message %u in a greeting", type);
}

static hmc_status_t authenticate(greeting_t *greeting) {
  short events = 0;
  hmc_status_t status = hmci_secure_handshake(greeting->peer->channel.stream, &events);
  if (status == HMC_IN_PROGRESS) {
    hmci_loop_modify(greeting->context->loop, &greeting->watch, events & EPOLLOUT ? EPOLLOUT : EPOLLIN);
  } else if (status == HMC_SUCCESS) {
    greeting->authenticated = true;
    hmci_loop_set_timer(greeting->context->loop, &greeting->timer, hmci_now() + GREETING_TIME);
    hmci_loop_modify(greeting->context->loop, &greeting->watch, EPOLLIN);
  }
  return status;
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  greeting_t *greeting = HMCI_CONTAINER(watch, greeting_t, watch);
  if (!events) return false;
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

/* Room for one more: the oldest that has not authenticated goes. False when all have. */
static bool make_room(hmc_context_t *context) {
  if (context->greeting_count < HMCI_GREETINGS) return true;
  for (hmci_list_t *link = context->greetings.next; link != &context->greetings; link = link->next) {
    greeting_t *greeting = HMCI_CONTAINER(link, greeting_t, link);
    if (greeting->authenticated) continue;
    end_greeting(greeting);
    return true;
  }
  return false;
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

void hmci_greeting_accept(hmc_context_t *context, int descriptor, const char *from) {
  hmci_secure_t *stream;
  greeting_t *greeting = make_room(context) ? calloc(1, sizeof *greeting) : NULL;
  if (!greeting) goto err_descriptor;
  greeting->context = context;
  greeting->watch.ready = on_ready;
  hmci_timer_init(&greeting->timer, on_timeout);
  snprintf(greeting->from, sizeof greeting->from, "%s", from);
  greeting->peer = hmci_peer_create(context, HMCI_ACCEPTED);
  if (!greeting->peer) goto err_greeting;
  split_address(from, greeting->peer);
  hmci_socket_set_liveness(descriptor, context->settings.peer_timeout / 1000000u);
  if (hmci_secure_open(&context->secret, descriptor, HMCI_SECURE_SERVER, from, &stream) != HMC_SUCCESS) goto err_peer;
  hmci_channel_open(&greeting->peer->channel, stream);
  hmci_list_append(&context->greetings, &greeting->link);
  context->greeting_count++;
  hmci_loop_set_timer(context->loop, &greeting->timer, hmci_now() + STRANGER_TIME);
  if (hmci_loop_add(context->loop, &greeting->watch, descriptor, EPOLLIN) != HMC_SUCCESS) end_greeting(greeting);
  return;

err_peer:
  hmci_peer_destroy(greeting->peer);
err_greeting:
  free(greeting);
err_descriptor:
  hmci_log(HMC_LOG_WARNING, "no room to greet %s", from);
  close(descriptor);
}

void hmci_greeting_cancel_all(hmc_context_t *context) {
  hmci_loop_lock(context->loop);
  while (!hmci_list_is_empty(&context->greetings)) {
    end_greeting(HMCI_CONTAINER(context->greetings.next, greeting_t, link));
  }
  hmci_loop_unlock(context->loop);
}
