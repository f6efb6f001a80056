/* What an authenticated peer says in its greeting and its session: hellos, and messages of every type, whole frames and
 * pieces of them. */
#include "fuzz.h"

#include "../../src/core/handshake.h"

#include <sys/socket.h>
#include <unistd.h>

static hmc_context_t *context;

static void make_context(void) {
  static uint8_t bytes[4096];
  hmc_region_t *region;
  setenv("HMC_INSECURE", "yes", 1);
  setenv("HMC_TRANSPORTS", "tcp", 1);
  hmc_log_set_level(HMC_LOG_NONE);
  MUST(hmc_context_create(NULL, &context) == HMC_SUCCESS);
  MUST(hmc_region_register(context, bytes, sizeof bytes, "r", HMC_REMOTE_ALL, &region) == HMC_SUCCESS);
}

static hmc_peer_t *make_peer(int *far) {
  int ends[2];
  hmci_secure_t *stream;
  hmci_blob_t ours;
  char reason[HMCI_REASON_SIZE];
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  hmc_peer_t *peer = hmci_peer_create(context, HMCI_ACCEPTED);
  MUST(peer && hmci_secure_open(&context->secret, ends[0], HMCI_SECURE_SERVER, "fuzz", &stream) == HMC_SUCCESS);
  hmci_channel_open(&peer->channel, stream);
  hmci_transport_slot_t *slot = hmci_transport_find(context, "tcp", reason, sizeof reason);
  MUST(slot && hmci_peer_attach(peer, slot, &ours) == HMC_SUCCESS);
  *far = ends[1];
  return peer;
}

static void say_hello(hmc_peer_t *peer, input_t *input) {
  hmci_blob_t offers[HMCI_TRANSPORTS], blob;
  bool offered[HMCI_TRANSPORTS];
  size_t size;
  const uint8_t *body = take_some(input, 1000, &size);
  hmci_reader_t reader = {.data = body, .size = size};
  hmci_handshake_read_hello(peer, &reader, offers, offered);
  for (size_t i = 0; i < hmci_transport_count; i++) {
    const hmci_transport_slot_t *slot = &context->transports[i];
    if (offered[i] && slot->state) slot->ops->reachable(slot->state, &offers[i]);
  }
  blob.size = (uint16_t)(size < sizeof blob.data ? size : sizeof blob.data);
  if (size) memcpy(blob.data, body, blob.size);
  if (peer->connection) peer->transport->ops->connection_accept(peer->connection->state, &blob);
  hmci_peer_detach(peer); /* what was accepted twice would be the greeting's fault */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input_t input = {data, size};
  uint8_t heard[65536];
  int far;
  if (!context) make_context();
  hmci_loop_lock(context->loop);
  hmc_peer_t *peer = make_peer(&far);
  while (input.size) {
    uint8_t what = take(&input);
    size_t length;
    if (what == 255) break;
    const uint8_t *body = take_some(&input, take(&input), &length);
    hmci_reader_t reader = {.data = body, .size = length};
    hmci_session_handle(peer, HMCI_LOOKUP + what % 8, &reader);
    while (recv(far, heard, sizeof heard, MSG_DONTWAIT) > 0) continue;
  }
  say_hello(peer, &input);
  hmci_peer_destroy(peer);
  hmci_loop_unlock(context->loop);
  close(far);
  return 0;
}
