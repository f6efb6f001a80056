/* What strangers send before they have authenticated: to a listener of peers, by TLS, by tickets and in clear. They get
 * nowhere, and the listener goes on. */
#include "fuzz.h"

#include "../../src/base/socket.h"
#include "../../src/core/core.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static hmc_context_t *context;
static uint16_t port;

static void make_context(void) {
  setenv("HMC_SECRET", "the secret of a fuzzed listener", 1);
  setenv("HMC_TRANSPORTS", "tcp", 1);
  hmc_log_set_level(HMC_LOG_NONE);
  MUST(hmc_context_create(NULL, &context) == HMC_SUCCESS);
  MUST(hmc_context_listen(context, "127.0.0.1", 0, &port) == HMC_SUCCESS);
}

/* Until the listener has said all it has to say, or hung up. */
static bool listens(int socket, int milliseconds) {
  uint8_t heard[4096];
  struct pollfd wait = {.fd = socket, .events = POLLIN};
  return poll(&wait, 1, milliseconds) == 1 && recv(socket, heard, sizeof heard, MSG_DONTWAIT) > 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const uint8_t tls[] = {0x16, 3, 1}, ticket[] = {'H', 'M', 'C', 'D', 1, 0, 0, 0},
                       plain[] = {'H', 'M', 'C', 'G', 1};
  input_t input = {data, size};
  int socket;
  if (!context) make_context();
  MUST(hmci_socket_connect_tcp("127.0.0.1", port, hmci_deadline(20000), &socket) == HMC_SUCCESS);
  uint8_t how = take(&input);
  if (how % 4 == 1) send(socket, tls, sizeof tls, MSG_NOSIGNAL);
  if (how % 4 == 2) send(socket, ticket, sizeof ticket, MSG_NOSIGNAL);
  if (how % 4 == 3) send(socket, plain, sizeof plain, MSG_NOSIGNAL);
  while (input.size) {
    size_t length;
    const uint8_t *bytes = take_some(&input, 1 + (size_t)take(&input) * 8, &length);
    if (length && send(socket, bytes, length, MSG_NOSIGNAL) < 0) break;
    if (how & 16) listens(socket, 1);
  }
  shutdown(socket, SHUT_WR);
  while (listens(socket, 5)) continue;
  close(socket);
  hmc_peer_t *peer;
  MUST(hmc_context_accept(context, 1, &peer) != HMC_SUCCESS); /* nobody got in */
  return 0;
}
