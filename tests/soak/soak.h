/* What the processes of the soak share: a board in shared memory, made by the parent before it starts anybody.
 *
 * The parent alone writes `life` and `port` of a server, the server its `port` when it listens; clients write their own
 * counters. All fields are atomics, and each stands for itself. */
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

#include <hmc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
  SERVERS = 3,
  CLIENTS = 4,
  LINKS = 50, /* of a client: 200 peers in all */
  SLOT = 1 << 20,
};

typedef struct server {
  _Atomic uint32_t life; /* odd: running; changes right before it is killed and when its successor runs */
  _Atomic uint32_t port; /* 0: does not listen yet */
} server_t;

typedef struct client {
  _Atomic uint64_t operations, bytes, cancelled, lost, wrong, unexpected;
} client_t;

typedef struct board {
  _Atomic uint32_t stop; /* 1: clients end; 2: servers too */
  server_t servers[SERVERS];
  client_t clients[CLIENTS];
} board_t;

/* The body of a client process; returns its exit status. */
int client_run(board_t *board, uint32_t number);

#endif
