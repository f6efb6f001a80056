/* The dialling side of a greeting: in the caller's thread, blocking, with a deadline. */
#include "greeting.h"

#include "../base/socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connects and authenticates: a secure stream to whoever listens there. */
static hmc_status_t dial_secure(hmc_context_t *context, const char *ip, uint16_t port, uint64_t deadline,
                                hmci_secure_t **out) {
  int descriptor;
  char name[HMCI_WHERE_SIZE];
  hmci_where(name, ip, port);
  hmc_status_t status = hmci_socket_connect_tcp(ip, port, deadline, &descriptor);
  if (status != HMC_SUCCESS) return status;
  hmci_socket_set_liveness(descriptor, context->settings.peer_timeout / 1000000u);
  hmci_secure_t *stream;
  status = hmci_secure_open(&context->secret, descriptor, HMCI_SECURE_CLIENT, name, &stream);
  if (status != HMC_SUCCESS) {
    close(descriptor);
    return status;
  }
  status = hmci_secure_handshake_wait(stream, deadline);
  if (status != HMC_SUCCESS) {
    hmci_secure_close(stream);
    return status;
  }
  *out = stream;
  return HMC_SUCCESS;
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
  if (reader->failed || result > HMC_ADDRESS_IN_USE) return hmci_fail(HMC_CORRUPT, "malformed answer");
  return result == HMC_SUCCESS ? HMC_SUCCESS : hmci_fail((hmc_status_t)result, "the peer says: %s", text);
}

static hmc_status_t say_hello(hmc_peer_t *peer, uint64_t deadline, hmci_blob_t offers[HMCI_TRANSPORTS],
                              bool offered[HMCI_TRANSPORTS]) {
  uint8_t body[HMCI_GREETING_BODY];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_hello_write(peer->context, &writer);
  hmci_reader_t reader;
  hmc_status_t status = ask(&peer->channel, HMCI_HELLO, &writer, HMCI_HELLO, deadline, &reader);
  return status == HMC_SUCCESS ? hmci_hello_read(peer, &reader, offers, offered) : status;
}

/* Tries one transport; on failure the connection is undone and the text says why. */
static hmc_status_t try_transport(hmc_peer_t *peer, hmci_transport_slot_t *slot, const hmci_blob_t *offer, bool slow,
                                  uint64_t deadline) {
  if (!slot->state) return hmci_fail(HMC_UNSUPPORT, "%s", slot->reason);
  hmc_status_t status = slot->ops->reachable(slot->state, offer);
  if (status == HMC_SUCCESS && !slow && slot->ops->suits_auto) status = slot->ops->suits_auto(slot->state, offer);
  if (status != HMC_SUCCESS) return status;
  hmci_blob_t ours = {0}, theirs;
  status = hmci_peer_settle(peer, slot, &ours);
  if (status != HMC_SUCCESS) return status;
  uint8_t body[HMCI_BLOB_MAX + 64];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_text(&writer, slot->ops->name);
  hmci_write_blob(&writer, ours.data, ours.size);
  hmci_reader_t reader;
  status = ask(&peer->channel, HMCI_OPEN, &writer, HMCI_OPENED, deadline, &reader);
  if (status == HMC_SUCCESS) status = read_result(&reader);
  if (status == HMC_SUCCESS) {
    theirs.size = hmci_read_blob(&reader, theirs.data, sizeof theirs.data);
    peer->token = hmci_read_u64(&reader);
    status = reader.failed ? hmci_fail(HMC_CORRUPT, "malformed answer") : HMC_SUCCESS;
  }
  if (status == HMC_SUCCESS) status = slot->ops->connection_dial(peer->connection->state, offer, &theirs, deadline);
  if (status != HMC_SUCCESS) hmci_peer_unsettle(peer);
  return status;
}

/* True where the greeting cannot go on after such a failure. */
static bool is_final(hmc_status_t status) {
  return status == HMC_TIMEOUT || status == HMC_PEER_LOST || status == HMC_CORRUPT || status == HMC_NO_MEMORY;
}

/* A faster way that should have worked and did not is worth a warning, once; one that could not work is not. */
static void log_refusal(const hmc_peer_t *peer, hmci_transport_slot_t *slot, const hmci_blob_t *offer,
                        const char *reason) {
  bool expected = slot->state && offer && slot->ops->reachable(slot->state, offer) == HMC_SUCCESS &&
                  (!slot->ops->suits_auto || slot->ops->suits_auto(slot->state, offer) == HMC_SUCCESS);
  bool first = expected && !atomic_exchange(&slot->downgraded, 1);
  hmci_log(first ? HMC_LOG_WARNING : HMC_LOG_INFO, "%s is not reached by %s: %s", peer->where, slot->ops->name, reason);
}

/* Takes the required transport, or the first that works, and remembers why not those before it. `slow`: one that is
 * slower than a later one will do. */
static hmc_status_t try_all(hmc_peer_t *peer, hmc_connection_type_t type, const hmci_blob_t offers[HMCI_TRANSPORTS],
                            const bool offered[HMCI_TRANSPORTS], bool slow, uint64_t deadline) {
  hmc_context_t *context = peer->context;
  hmc_status_t status = HMC_UNSUPPORT;
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    if (type != HMC_CONNECTION_AUTO && slot->ops->type != type) {
      snprintf(peer->refused[i], sizeof peer->refused[i], "%s was required", hmc_connection_type_name(type));
      continue;
    }
    status = offered[i] || !slot->state ? try_transport(peer, slot, &offers[i], slow, deadline)
                                        : hmci_fail(HMC_UNSUPPORT, "the peer has no %s", slot->ops->name);
    if (status == HMC_SUCCESS) return HMC_SUCCESS;
    snprintf(peer->refused[i], sizeof peer->refused[i], "%s", hmc_last_error());
    if (type == HMC_CONNECTION_AUTO) log_refusal(peer, slot, offered[i] ? &offers[i] : NULL, peer->refused[i]);
    if (is_final(status)) return status;
  }
  return status;
}

static hmc_status_t choose_transport(hmc_peer_t *peer, hmc_connection_type_t type,
                                     const hmci_blob_t offers[HMCI_TRANSPORTS], const bool offered[HMCI_TRANSPORTS],
                                     uint64_t deadline) {
  if (type != HMC_CONNECTION_AUTO) return try_all(peer, type, offers, offered, true, deadline);
  hmc_status_t status = try_all(peer, type, offers, offered, false, deadline);
  return status == HMC_SUCCESS || is_final(status) ? status : try_all(peer, type, offers, offered, true, deadline);
}

static hmc_status_t finish(hmc_peer_t *peer, uint64_t deadline) {
  uint8_t body[1];
  hmci_writer_t nothing = {.data = body};
  hmci_reader_t reader;
  hmc_status_t status = ask(&peer->channel, HMCI_READY, &nothing, HMCI_WELCOME, deadline, &reader);
  if (status == HMC_SUCCESS) status = read_result(&reader);
  return status == HMC_SUCCESS ? hmci_peer_publish(peer) : status;
}

hmc_status_t hmc_context_connect(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                                 uint64_t timeout_ms, hmc_peer_t **out) {
  if (!context || !ip || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_connect: context, ip or peer is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  if ((unsigned)type > HMC_CONNECTION_SHM)
    return hmci_fail(HMC_INVALID_CONFIG, "unknown connection type %d", (int)type);
  char where[HMCI_WHERE_SIZE];
  hmc_status_t status = hmc_connection_type_probe(type, NULL, 0);
  if (status != HMC_SUCCESS) {
    hmci_where(where, ip, port);
    return hmci_fail_prefix(status, "connection to %s by %s: ", where, hmc_connection_type_name(type));
  }
  uint64_t deadline = hmci_context_deadline(context, timeout_ms);
  hmci_secure_t *stream;
  status = dial_secure(context, ip, port, deadline, &stream);
  if (status != HMC_SUCCESS) return status;
  hmc_peer_t *peer = hmci_peer_create(context, HMCI_DIALLED);
  if (!peer) {
    hmci_secure_close(stream);
    return HMC_NO_MEMORY;
  }
  hmci_channel_open(&peer->channel, stream);
  snprintf(peer->ip, sizeof peer->ip, "%s", ip);
  peer->port = port;
  hmci_where(peer->where, ip, port);
  hmci_blob_t offers[HMCI_TRANSPORTS];
  bool offered[HMCI_TRANSPORTS];
  status = say_hello(peer, deadline, offers, offered);
  if (status == HMC_SUCCESS) status = choose_transport(peer, type, offers, offered, deadline);
  if (status == HMC_SUCCESS) status = finish(peer, deadline);
  if (status != HMC_SUCCESS) {
    hmci_fail_prefix(status, "connection to %s by %s: ", peer->where, hmc_connection_type_name(type));
    hmci_peer_destroy(peer);
    return status;
  }
  *out = peer;
  return HMC_SUCCESS;
}

hmc_status_t hmci_greeting_dial_stream(const hmci_host_t *host, void *block, uint32_t purpose, uint64_t deadline,
                                       hmci_pipe_t **pipe) {
  hmc_context_t *context = HMCI_CONTAINER((uintptr_t)host, hmc_context_t, host);
  hmc_peer_t *peer = HMCI_CONTAINER(block, hmci_connection_t, state)->peer;
  hmci_secure_t *stream;
  hmc_status_t status = dial_secure(context, peer->ip, peer->port, deadline, &stream);
  if (status != HMC_SUCCESS) return status;
  hmci_channel_t channel;
  hmci_channel_open(&channel, stream);
  uint8_t body[64];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u64(&writer, peer->token);
  hmci_write_u64(&writer, host->incarnation);
  hmci_write_u32(&writer, purpose);
  hmci_reader_t reader;
  status = ask(&channel, HMCI_STREAM, &writer, HMCI_ADOPTED, deadline, &reader);
  if (status == HMC_SUCCESS) status = read_result(&reader);
  if (status == HMC_SUCCESS) status = hmci_stream_pipe(context, stream, peer->encrypt, pipe);
  if (status == HMC_SUCCESS) channel.stream = NULL;
  hmci_channel_close(&channel);
  return status;
}
