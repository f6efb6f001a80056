/* What the examples share: how two of them meet, and giving up with a text that helps.
 *
 * Each example is both programs. Started without an argument it is the owner of some memory: it listens, and prints its
 * port. Started with that port (and the owner's address, where that is another host) it is the other one. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#define _POSIX_C_SOURCE 200809L /* nanosleep, also with -std=c11 */

#include <hmc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline void check(hmc_status_t status) {
  if (status == HMC_SUCCESS) return;
  fprintf(stderr, "%s: %s\n", hmc_status_name(status), hmc_last_error());
  exit(1);
}

/* The owner tells where it listens, and lets the other one come. For other hosts it would listen on "0.0.0.0". */
static inline hmc_peer_t *example_accept(hmc_context_t *context) {
  uint16_t port;
  hmc_peer_t *peer;
  check(hmc_context_listen(context, "127.0.0.1", 0, &port));
  printf("waiting on port %u\n", port);
  fflush(stdout);
  check(hmc_context_accept(context, 60000, &peer));
  return peer;
}

/* The other one connects, by the fastest way there is. */
static inline hmc_peer_t *example_connect(hmc_context_t *context, int argc, char **argv) {
  hmc_peer_t *peer;
  char *end;
  long port = strtol(argv[1], &end, 10);
  if (*end || port < 1 || port > UINT16_MAX) {
    fprintf(stderr, "'%s' is not a port: the owner, started without an argument, prints its own\n", argv[1]);
    exit(2);
  }
  check(hmc_context_connect(context, argc > 2 ? argv[2] : "127.0.0.1", (uint16_t)port, HMC_CONNECTION_AUTO, 0, &peer));
  return peer;
}

/* The owner's memory must stay until the other one is through. It has nothing else to do meanwhile. */
static inline void example_await_the_end(hmc_peer_t *peer) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  do {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    check(hmc_peer_get_info(peer, &info));
  } while (info.state == HMC_PEER_CONNECTED);
}

#endif
