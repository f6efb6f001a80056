/* What the two sides of a greeting share (see greeting.h). */
#include "greeting.h"

#include "../base/socket.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void hmci_hello_write(const hmc_context_t *context, hmci_writer_t *writer) {
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
}

hmc_status_t hmci_hello_read(hmc_peer_t *peer, hmci_reader_t *reader, hmci_blob_t offers[HMCI_TRANSPORTS],
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
  return reader->failed ? hmci_fail(HMC_CORRUPT, "malformed greeting") : HMC_SUCCESS;
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

hmc_status_t hmci_stream_pipe(const hmc_context_t *context, hmci_secure_t *stream, bool encrypt, hmci_pipe_t **pipe) {
  const hmci_settings_t *settings = &context->settings;
  int descriptor = hmci_secure_descriptor(stream);
  set_buffers(descriptor, settings->tcp_buffer);
  hmci_socket_let_be_slow(descriptor); /* the session's socket tells whether the host is there */
  hmc_status_t status = set_congestion(descriptor, settings->tcp_congestion);
  if (status != HMC_SUCCESS) return status;
  if (encrypt) return hmci_secure_pipe_open(stream, pipe);
  status = hmci_pipe_open(descriptor, pipe);
  if (status == HMC_SUCCESS) hmci_secure_detach(stream);
  return status;
}
