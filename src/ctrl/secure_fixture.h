/* What the tests of secure streams share: pairs of sockets, and two ends that greet each other. Included once per test
 * program. */
#ifndef HMCI_SECURE_FIXTURE_H
#define HMCI_SECURE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/descriptors_fixture.h"
#include "../base/socket.h"
#include "secure.h"

#include <openssl/err.h>
#include <poll.h>
#include <unistd.h>

#include <cmocka.h>

static hmci_secret_t ours = {.key = {1, 2, 3}, .source = "/home/me/.hmc/secret"};
static hmci_secret_t insecure = {.insecure = true, .source = "HMC_INSECURE"};

static inline uint64_t soon(void) { return hmci_deadline(60000); }

static inline void tcp_pair(int ends[2]) {
  int listener;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT];
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &ends[0]), HMC_SUCCESS);
  struct pollfd wait = {.fd = listener, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(hmci_socket_accept(listener, &ends[1], peer), HMC_SUCCESS);
  close(listener);
}

static inline void unix_pair(int ends[2]) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

typedef struct pair {
  hmci_secure_t *client, *server;
  hmc_status_t client_status, server_status;
  char client_text[HMCI_ERROR_TEXT], server_text[HMCI_ERROR_TEXT];
} pair_t;

static inline hmc_status_t step(hmci_secure_t *stream, hmc_status_t status, char *text) {
  short events = 0;
  if (status != HMC_IN_PROGRESS) {
    return status;
  }
  status = hmci_secure_handshake(stream, &events);
  assert_true(ERR_peek_error() == 0);
  if (status == HMC_IN_PROGRESS) {
    assert_true(events != 0);
  } else if (status != HMC_SUCCESS) {
    memcpy(text, hmc_last_error(), HMCI_ERROR_TEXT);
  }
  return status;
}

/* Runs both handshakes to their ends; one that fails hangs up, as every user of a stream does. */
static inline void greet_each_other(pair_t *pair, const hmci_secret_t *client, const hmci_secret_t *server,
                                    const int ends[2]) {
  *pair = (pair_t){.client_status = HMC_IN_PROGRESS, .server_status = HMC_IN_PROGRESS};
  assert_int_equal(hmci_secure_open(client, ends[0], HMCI_SECURE_CLIENT, "the server", &pair->client), HMC_SUCCESS);
  assert_int_equal(hmci_secure_open(server, ends[1], HMCI_SECURE_SERVER, "the client", &pair->server), HMC_SUCCESS);
  for (int i = 0; i < 10000; i++) {
    pair->client_status = step(pair->client, pair->client_status, pair->client_text);
    if (pair->client_status != HMC_SUCCESS && pair->client_status != HMC_IN_PROGRESS) {
      hmci_secure_close(pair->client);
      pair->client = NULL;
    }
    pair->server_status = step(pair->server, pair->server_status, pair->server_text);
    if (pair->server_status != HMC_SUCCESS && pair->server_status != HMC_IN_PROGRESS) {
      hmci_secure_close(pair->server);
      pair->server = NULL;
    }
    if (pair->client_status != HMC_IN_PROGRESS && pair->server_status != HMC_IN_PROGRESS) {
      return;
    }
    poll(NULL, 0, i < 100 ? 0 : 1);
  }
  fail_msg("the handshakes do not end: client %s, server %s", hmc_status_name(pair->client_status),
           hmc_status_name(pair->server_status));
}

static inline void good_pair(pair_t *pair, const hmci_secret_t *secret, bool is_unix) {
  int ends[2];
  (is_unix ? unix_pair : tcp_pair)(ends);
  greet_each_other(pair, secret, secret, ends);
  if (pair->client_status != HMC_SUCCESS || pair->server_status != HMC_SUCCESS) {
    fail_msg("client: %s, server: %s", pair->client_text, pair->server_text);
  }
}

static inline void close_pair(pair_t *pair) {
  hmci_secure_close(pair->client);
  hmci_secure_close(pair->server);
}

static inline void assert_says(const char *text, const char *part) {
  if (strstr(text, part) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", text, part);
  }
}

static const struct {
  const hmci_secret_t *secret;
  bool is_unix;
} kinds[] = {{&ours, false}, {&ours, true}, {&insecure, false}};

#endif
