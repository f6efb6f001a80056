/* What the two sides of a handshake share (see handshake.h). */
#include "handshake.h"

#include "../base/socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STOOD_STILL 1000000000u /* nanoseconds that a timer is late at least, where it was not only busy */

/* What this end has. The other end may want encryption though this one does not, so that the ciphers are always looked at. */
static uint64_t features_of(const hmc_context_t *context) {
  const char *cipher = context->settings.cipher;
  bool ocb = strcmp(cipher, "auto") == 0 ? hmci_records_faster() == HMCI_RECORD_OCB : strcmp(cipher, "ocb") == 0;
  return HMCI_FEATURES | (ocb && !context->secret.insecure ? HMCI_FEATURE_OCB : 0);
}

void hmci_handshake_write_hello(const hmc_context_t *context, hmci_writer_t *writer) {
  char host[HMCI_NAME_SIZE] = "";
  gethostname(host, sizeof host - 1);
  hmci_write_u64(writer, context->host.incarnation);
  hmci_write_u32(writer, (uint32_t)getpid());
  hmci_write_u8(writer, context->settings.encrypt);
  hmci_write_text(writer, context->name);
  hmci_write_text(writer, host);
  uint8_t count = 0;
  for (size_t i = 0; i < hmci_transport_count; i++) count += context->transports[i].state != NULL;
  hmci_write_u8(writer, count);
  for (size_t i = 0; i < hmci_transport_count; i++) {
    const hmci_transport_slot_t *slot = &context->transports[i];
    if (!slot->state) continue;
    hmci_write_text(writer, slot->ops->name);
    hmci_write_blob(writer, slot->offer.data, slot->offer.size);
  }
  hmci_write_u16(writer, HMCI_PROTOCOL_LEAST);
  hmci_write_u16(writer, HMCI_PROTOCOL_MOST);
  hmci_write_u64(writer, features_of(context));
}

/* What the first release does not say: it speaks version 1 and has no features. More may follow, from a newer end. */
static hmc_status_t read_abilities(hmc_peer_t *peer, hmci_reader_t *reader) {
  peer->features = 0;
  if (reader->failed || reader->position == reader->size) return HMC_SUCCESS;
  uint16_t least = hmci_read_u16(reader), most = hmci_read_u16(reader);
  peer->features = hmci_read_u64(reader) & features_of(peer->context);
  if (reader->failed || (least <= HMCI_PROTOCOL_MOST && most >= HMCI_PROTOCOL_LEAST)) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT,
                   "it speaks versions %u to %u of the protocol of peers, this end %u to %u: update the older", least,
                   most, HMCI_PROTOCOL_LEAST, HMCI_PROTOCOL_MOST);
}

hmc_status_t hmci_handshake_read_hello(hmc_peer_t *peer, hmci_reader_t *reader, hmci_blob_t offers[HMCI_TRANSPORTS],
                                       bool offered[HMCI_TRANSPORTS]) {
  memset(offered, 0, HMCI_TRANSPORTS * sizeof *offered);
  peer->incarnation = hmci_read_u64(reader);
  peer->process = (int)hmci_read_u32(reader);
  peer->encrypt = hmci_read_u8(reader) || peer->context->settings.encrypt;
  hmci_read_text(reader, peer->name, sizeof peer->name);
  hmci_read_text(reader, peer->host, sizeof peer->host);
  uint8_t count = hmci_read_u8(reader);
  for (uint8_t n = 0; n < count && !reader->failed; n++) {
    char name[16];
    hmci_blob_t offer;
    hmci_read_text(reader, name, sizeof name);
    offer.size = hmci_read_blob(reader, offer.data, sizeof offer.data);
    for (size_t i = 0; i < hmci_transport_count; i++) {
      if (strcmp(hmci_transports[i]->name, name) != 0) continue;
      offers[i] = offer;
      offered[i] = true;
    }
  }
  hmc_status_t status = read_abilities(peer, reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed handshake");
  if (status != HMC_SUCCESS) return status;
  return hmci_secure_export(peer->channel.stream, HMCI_TICKET_LABEL, peer->ticket_key, sizeof peer->ticket_key);
}

hmci_transport_slot_t *hmci_transport_find(hmc_context_t *context, const char *name, char *reason, size_t size) {
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    if (strcmp(slot->ops->name, name) != 0) continue;
    if (slot->state) return slot;
    snprintf(reason, size, "%s", slot->reason);
    return NULL;
  }
  snprintf(reason, size, "no transport named '%s' in this build", name);
  return NULL;
}

/* HMC_TCP_BUFFER. The kernel bounds what it is asked for, so that there is nothing to fail. */
static void set_buffers(int descriptor, uint64_t size) {
  int bytes = (int)size;
  if (!size) return;
  setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
}

/* HMC_TCP_CONGESTION. Within a host there is no line to share, and pacing (bbr's) costs several per cent. */
static hmc_status_t set_congestion(int descriptor, const char *name) {
  if (strcmp(name, "auto") != 0) return hmci_socket_set_congestion(descriptor, name);
  if (hmci_socket_stays_here(descriptor)) hmci_socket_set_congestion(descriptor, "reno"); /* without it, the system's */
  return HMC_SUCCESS;
}

/* Makes a socket one of a data connection. */
static hmc_status_t prepare(const hmc_context_t *context, int descriptor) {
  set_buffers(descriptor, context->settings.tcp_buffer);
  hmci_socket_let_be_slow(descriptor); /* the session's socket tells whether the host is there */
  return set_congestion(descriptor, context->settings.tcp_congestion);
}

hmc_status_t hmci_ticket_pipe(const hmc_peer_t *peer, int descriptor, const uint8_t hello[HMCI_TICKET_HELLO],
                              const uint8_t challenge[HMCI_TICKET_CHALLENGE], hmci_pipe_t **pipe) {
  uint8_t dialler[HMCI_RECORD_SECRET], acceptor[HMCI_RECORD_SECRET];
  bool dialled = peer->role == HMCI_DIALLED;
  hmc_status_t status = prepare(peer->context, descriptor);
  if (status != HMC_SUCCESS) return status;
  if (!peer->encrypt || peer->context->secret.insecure) return hmci_pipe_open(descriptor, pipe);
  status = hmci_ticket_secrets(peer->ticket_key, hello, challenge, dialler, acceptor);
  if (status == HMC_SUCCESS)
    status =
        hmci_sealed_pipe_open(descriptor, dialled ? dialler : acceptor, dialled ? acceptor : dialler,
                              peer->features & HMCI_FEATURE_OCB ? HMCI_RECORD_OCB : HMCI_RECORD_GCM, peer->where, pipe);
  explicit_bzero(dialler, sizeof dialler);
  explicit_bzero(acceptor, sizeof acceptor);
  return status;
}

hmc_status_t hmci_stream_pipe(const hmc_context_t *context, hmci_secure_t *stream, bool encrypt, hmci_pipe_t **pipe) {
  int descriptor = hmci_secure_descriptor(stream);
  hmc_status_t status = prepare(context, descriptor);
  if (status != HMC_SUCCESS) return status;
  if (encrypt) return hmci_secure_pipe_open(stream, pipe);
  status = hmci_pipe_open(descriptor, pipe);
  if (status == HMC_SUCCESS) hmci_secure_detach(stream);
  return status;
}

hmc_peer_t *hmci_handshake_find_peer(hmc_context_t *context, uint64_t token, uint64_t incarnation) {
  hmc_peer_t *found = NULL;
  pthread_mutex_lock(&context->lock);
  for (hmci_member_t *at = NULL; (at = hmci_table_next(&context->tokens, token, at));) {
    hmc_peer_t *peer = HMCI_CONTAINER(at, hmc_peer_t, by_token);
    if (peer->incarnation == incarnation && peer->connection) found = peer;
  }
  pthread_mutex_unlock(&context->lock);
  return found;
}

bool hmci_handshake_stood_still(const hmci_timer_t *timer) { return hmci_timer_lateness(timer) > STOOD_STILL; }

bool hmci_handshake_has_bytes(int descriptor) {
  char byte;
  return recv(descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void hmci_handshake_log_refusal(const char *from) {
  const char *why = hmc_last_error();
  bool names = strncmp(why, from, strlen(from)) == 0;
  hmci_log(HMC_LOG_WARNING, "turned away: %s%s%s", names ? "" : from, names ? "" : ": ", why);
}
