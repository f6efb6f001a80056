/* The store's server: its listener, its connections, its thread. What it serves is in store_state.c.
 *
 * What a stranger can cost is bounded: HANDSHAKES connections that have yet to prove themselves, each for HANDSHAKE_MS.
 * While there are so many no more are accepted; they wait in the kernel. Only when the oldest has been silent for
 * SILENT_MS does it make room, so that a thousand clients that come at once are all let in, one after the other.
 *
 * Invariants: a connection is in `handshakes` until its client has said hello, then in `clients`; one with bytes to send
 * is in `busy` until the end of the callback, or waits for its socket. Locking: everything belongs to the loop's
 * dispatch, which start and stop take. */
#include "../base/loop.h"
#include "../base/settings.h"
#include "../base/socket.h"
#include "certificates.h"
#include "store_state.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)
#define WARNING_EVERY (10000 * NS_PER_MS)

enum {
  HANDSHAKES = 64,
  HANDSHAKE_MS = 5000,
  SILENT_MS = 250,
  PAUSE_MS = 20, /* of the listener, when it must not or cannot accept */
  LATE_MS = 100, /* a look at the leases that comes so much later found this process standing still */
  EXCUSED_MS = 5000,
  EXCUSES = 5, /* in a row */
  ACCEPTS_AT_ONCE = 16,
  REQUESTS_AT_ONCE = 64,
  OUT_MAX = 128 << 20,     /* bytes that a client may leave unread */
  COMPACT_FROM = 16 << 20, /* a journal of that size is written again */
  COMPACT_GROWN = 4,       /* once it is so many times what it was after the last time */
};

struct hmc_store_server {
  hmci_settings_t settings;
  hmci_secret_t secret;
  hmci_certificates_t *certificates; /* the secret's, or NULL */
  pid_t process;                     /* that has the thread */
  hmci_loop_t *loop;
  hmci_store_state_t state;
  uint64_t clients_max, next_warning, compacted; /* the size of the journal when it was last written again */
  int descriptor;
  uint16_t port;
  hmci_watch_t watch;
  hmci_timer_t pause, expiry;
  uint64_t expires; /* when `expiry` is due; HMCI_NEVER: not at all */
  unsigned excuses; /* how often `expires` was put off */
  hmci_list_t handshakes, clients, busy;
  unsigned handshake_count, client_count;
  bool has_parted; /* a client lost its connection: its time runs */
};

typedef struct connection {
  hmci_list_t member, busy;
  hmci_watch_t watch;
  hmci_timer_t limit;
  hmc_store_server_t *server;
  hmci_store_stream_t stream;
  hmci_store_session_t *session; /* NULL: no hello yet */
  uint64_t since;
  uint32_t waits_for; /* epoll events */
  bool is_known, is_cut;
  char address[HMCI_ADDRESS_TEXT];
} connection_t;

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void free_connection(connection_t *connection) {
  hmc_store_server_t *server = connection->server;
  hmci_loop_remove(server->loop, &connection->watch);
  hmci_loop_clear_timer(server->loop, &connection->limit);
  hmci_list_remove(&connection->member);
  hmci_list_remove(&connection->busy);
  if (connection->session != NULL) {
    server->client_count--;
    server->has_parted = true;
    hmci_store_session_part(connection->session);
  } else {
    server->handshake_count--;
  }
  hmci_store_stream_close(&connection->stream);
  free(connection);
}

/* As a warning, so that who waits for a client finds out, but not for each knock of a stranger. */
static void log_end(connection_t *connection) {
  hmc_store_server_t *server = connection->server;
  uint64_t now = hmci_now();
  hmc_log_level_t level = HMC_LOG_INFO;
  if (connection->session == NULL && now >= server->next_warning) {
    server->next_warning = now + WARNING_EVERY;
    level = HMC_LOG_WARNING;
  }
  hmci_log(level, "store: %s %s: %s", connection->address, connection->session != NULL ? "is gone" : "was turned away",
           hmc_last_error());
}

static void set_busy(connection_t *connection) {
  if (hmci_list_is_empty(&connection->busy)) {
    hmci_list_append(&connection->server->busy, &connection->busy);
  }
}

static void send_to(hmci_store_session_t *session, const hmci_store_message_t *message, hmci_store_shared_t *shared) {
  connection_t *connection = session->connection;
  if (connection == NULL || connection->is_cut) {
    return; /* the client asks again when it is back */
  }
  if (connection->stream.out_bytes > OUT_MAX) {
    hmci_fail(HMC_OUT_OF_RANGE, "it leaves more than %d B unread", OUT_MAX);
    connection->is_cut = true;
  } else if (hmci_store_stream_send(&connection->stream, message, shared) != HMC_SUCCESS) {
    connection->is_cut = true;
  }
  set_busy(connection);
}

static void cut(hmci_store_session_t *session) {
  connection_t *connection = session->connection;
  if (connection != NULL) {
    hmci_fail(HMC_TIMEOUT, "nothing was heard from it for too long");
    connection->is_cut = true;
    set_busy(connection);
  }
}

/* Sends what is queued, and waits for what the socket must become ready for. */
static void pump_out(connection_t *connection) {
  short events = 0;
  hmc_status_t status = connection->is_cut ? HMC_CANCELLED : hmci_store_stream_flush(&connection->stream, &events);
  if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
    log_end(connection);
    free_connection(connection);
    return;
  }
  uint32_t wanted = EPOLLIN | (status == HMC_IN_PROGRESS && (events & POLLOUT) ? (uint32_t)EPOLLOUT : 0);
  if (wanted != connection->waits_for) {
    connection->waits_for = wanted;
    hmci_loop_modify(connection->server->loop, &connection->watch, wanted);
  }
}

static void compact(hmc_store_server_t *server) {
  hmci_store_state_t *state = &server->state;
  hmci_store_journal_t *fresh;
  hmc_status_t status = hmci_store_journal_begin(state->journal, &fresh);
  if (status == HMC_SUCCESS) {
    status = hmci_store_dump(state, fresh);
    hmc_status_t ended = hmci_store_journal_end(&state->journal, fresh, status == HMC_SUCCESS);
    status = status == HMC_SUCCESS ? ended : status;
  }
  if (status != HMC_SUCCESS) {
    hmci_log(HMC_LOG_WARNING, "store: the journal was not written again: %s", hmc_last_error());
  }
  server->compacted = hmci_store_journal_size(state->journal); /* also where that failed: not each time again */
}

static bool must_compact(const hmc_store_server_t *server) {
  uint64_t size = server->state.journal != NULL ? hmci_store_journal_size(server->state.journal) : 0;
  return size > COMPACT_FROM && size > COMPACT_GROWN * server->compacted;
}

/* The disk takes no more of it: half of it or more is what later records have made useless, or it is not tried. */
static bool make_room(hmci_store_state_t *state) {
  hmc_store_server_t *server = HMCI_CONTAINER(state, hmc_store_server_t, state);
  uint64_t size = hmci_store_journal_size(state->journal);
  if (size < 2 * server->compacted) {
    return false;
  }
  compact(server);
  return hmci_store_journal_size(state->journal) < size;
}

static const hmci_store_wires_t wires = {.send = send_to, .cut = cut, .make_room = make_room};

/* Who stood still, as a process that was stopped or a machine that was moved, has not read what clients sent meanwhile,
 * and clients of the same machine could not send: they have as much time again. */
static bool must_excuse(hmc_store_server_t *server, uint64_t now) {
  if (server->excuses > 0 && now < server->expires) {
    return true;
  }
  if (server->expires == HMCI_NEVER || now < server->expires + LATE_MS * NS_PER_MS || server->excuses == EXCUSES) {
    return false;
  }
  uint64_t late = now - server->expires, most = EXCUSED_MS * NS_PER_MS;
  server->excuses++;
  server->expires = now + (late < most ? late : most);
  return true;
}

/* Ends what is over, and sets the timer for what ends next. */
static void set_expiry(hmc_store_server_t *server) {
  uint64_t now = hmci_now();
  if (!must_excuse(server, now)) {
    server->excuses = 0;
    server->expires = hmci_store_expire(&server->state, now);
  }
  if (server->expires != HMCI_NEVER) {
    hmci_loop_set_timer(server->loop, &server->expiry, server->expires);
  }
}

/* At the end of every callback: sends all that was queued in it. */
static void settle(hmc_store_server_t *server) {
  while (server->has_parted || !hmci_list_is_empty(&server->busy)) {
    if (server->has_parted) {
      server->has_parted = false;
      set_expiry(server);
      continue;
    }
    connection_t *connection = HMCI_CONTAINER(server->busy.next, connection_t, busy);
    hmci_list_remove(&connection->busy);
    pump_out(connection);
  }
  if (must_compact(server)) {
    compact(server);
  }
}

static void on_expiry(hmci_timer_t *timer) {
  hmc_store_server_t *server = HMCI_CONTAINER(timer, hmc_store_server_t, expiry);
  set_expiry(server);
  settle(server);
}

/* ---- what clients say -------------------------------------------------------------------------------------------- */

static hmc_status_t greet(connection_t *connection, const hmci_store_message_t *hello) {
  hmc_store_server_t *server = connection->server;
  if (hello->type != HMCI_STORE_HELLO || hello->lease == 0) {
    return hmci_fail(HMC_CORRUPT, "it does not begin with a hello");
  }
  if (hello->number != HMCI_STORE_VERSION) {
    return hmci_fail(HMC_UNSUPPORT, "it speaks version %lld, this store version %d: use one HMC at both ends",
                     (long long)hello->number, HMCI_STORE_VERSION);
  }
  hmci_store_session_t *session = hmci_store_session(&server->state, hello->lease);
  if (session == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a client");
  }
  connection_t *former = session->connection;
  if (former != NULL) {
    hmci_fail(HMC_PEER_LOST, "the client has connected again");
    free_connection(former);
  }
  hmci_loop_clear_timer(server->loop, &connection->limit);
  hmci_list_remove(&connection->member);
  hmci_list_append(&server->clients, &connection->member);
  server->handshake_count--;
  server->client_count++;
  connection->session = session;
  hmci_store_session_join(session, connection);
  const hmci_store_message_t welcome = {.type = HMCI_STORE_ANSWER,
                                        .sequence = hello->sequence,
                                        .lease = server->state.incarnation,
                                        .number = HMCI_STORE_VERSION};
  send_to(session, &welcome, NULL);
  return HMC_SUCCESS;
}

/* Takes one message. HMC_CANCELLED: the client has said good-bye. */
static hmc_status_t take(connection_t *connection, const hmci_store_message_t *message) {
  if (connection->session == NULL) {
    return greet(connection, message);
  }
  if (message->type == HMCI_STORE_BYE) {
    hmci_store_session_t *session = connection->session;
    hmci_store_session_end(session);
    connection->session = NULL;
    connection->server->client_count--;
    connection->server->handshake_count++; /* free_connection counts it so */
    return hmci_fail(HMC_CANCELLED, "it was closed");
  }
  hmc_status_t status = hmci_store_serve(connection->session, message);
  if (message->type == HMCI_STORE_LEASE) {
    set_expiry(connection->server);
  }
  return status;
}

static hmc_status_t advance(connection_t *connection, short *events) {
  hmc_status_t status;
  if (!connection->is_known) {
    status = hmci_secure_handshake(connection->stream.secure, events);
    if (status != HMC_SUCCESS) {
      return status;
    }
    connection->is_known = true;
  }
  for (int i = 0; i < REQUESTS_AT_ONCE; i++) {
    hmci_store_message_t message;
    status = hmci_store_stream_receive(&connection->stream, &message, events);
    if (status == HMC_SUCCESS) {
      status = take(connection, &message);
    }
    if (status != HMC_SUCCESS) {
      return status;
    }
  }
  hmci_loop_call_soon(connection->server->loop, &connection->watch);
  return HMC_SUCCESS;
}

static bool on_ready(hmci_watch_t *watch, uint32_t ready) {
  connection_t *connection = HMCI_CONTAINER(watch, connection_t, watch);
  hmc_store_server_t *server = connection->server;
  short events = POLLIN;
  (void)ready;
  hmc_status_t status = advance(connection, &events);
  if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
    if (status != HMC_CANCELLED) {
      log_end(connection);
    }
    free_connection(connection);
  } else if (!connection->is_known) {
    connection->waits_for = events & POLLOUT ? EPOLLOUT : EPOLLIN;
    hmci_loop_modify(server->loop, watch, connection->waits_for);
  } else {
    set_busy(connection);
  }
  settle(server);
  return true;
}

/* ---- accepting --------------------------------------------------------------------------------------------------- */

static void on_limit(hmci_timer_t *timer) {
  connection_t *connection = HMCI_CONTAINER(timer, connection_t, limit);
  hmci_fail(HMC_TIMEOUT, "it did not say hello within %d ms", HANDSHAKE_MS);
  log_end(connection);
  free_connection(connection);
}

static hmc_status_t add_connection(hmc_store_server_t *server, int descriptor, const char *address) {
  connection_t *connection = calloc(1, sizeof(*connection));
  hmci_secure_t *secure;
  if (connection == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a connection from %s", address);
  }
  connection->server = server;
  connection->since = hmci_now();
  connection->watch.ready = on_ready;
  connection->waits_for = EPOLLIN;
  hmci_list_init(&connection->busy);
  snprintf(connection->address, sizeof(connection->address), "%s", address);
  hmc_status_t status = hmci_secure_open(&server->secret, descriptor, HMCI_SECURE_SERVER, address, &secure);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  status = hmci_loop_add(server->loop, &connection->watch, descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) {
    goto err_secure;
  }
  hmci_store_stream_init(&connection->stream, secure, HMCI_STORE_REQUEST_MAX);
  hmci_socket_set_liveness(descriptor, server->settings.peer_timeout / NS_PER_MS);
  hmci_list_append(&server->handshakes, &connection->member);
  server->handshake_count++;
  hmci_timer_init(&connection->limit, on_limit);
  hmci_loop_set_timer(server->loop, &connection->limit, hmci_deadline(HANDSHAKE_MS));
  return HMC_SUCCESS;

err_secure:
  hmci_secure_detach(secure);
err_free:
  free(connection);
  return status;
}

static void warn_full(hmc_store_server_t *server) {
  uint64_t now = hmci_now();
  if (now >= server->next_warning) {
    server->next_warning = now + WARNING_EVERY;
    hmci_log(HMC_LOG_WARNING,
             "store: %u clients are connected and more wait: HMC_STORE_CLIENTS says how many are taken",
             server->client_count);
  }
}

/* False where the listener must pause: all places are taken, or too many have yet to prove themselves. */
static bool has_room_for_one(hmc_store_server_t *server) {
  if (server->client_count >= server->clients_max) {
    warn_full(server);
    return false;
  }
  if (server->handshake_count >= HANDSHAKES) {
    connection_t *oldest = HMCI_CONTAINER(server->handshakes.next, connection_t, member);
    if (hmci_now() - oldest->since < SILENT_MS * NS_PER_MS) {
      return false;
    }
    hmci_fail(HMC_TIMEOUT, "it was silent, and others wait");
    log_end(oldest);
    free_connection(oldest);
  }
  return true;
}

static void pause_listener(hmc_store_server_t *server) {
  hmci_loop_modify(server->loop, &server->watch, 0);
  hmci_loop_set_timer(server->loop, &server->pause, hmci_now() + PAUSE_MS * NS_PER_MS);
}

static void on_pause_over(hmci_timer_t *timer) {
  hmc_store_server_t *server = HMCI_CONTAINER(timer, hmc_store_server_t, pause);
  hmci_loop_modify(server->loop, &server->watch, EPOLLIN);
}

static bool on_connection(hmci_watch_t *watch, uint32_t events) {
  hmc_store_server_t *server = HMCI_CONTAINER(watch, hmc_store_server_t, watch);
  char address[HMCI_ADDRESS_TEXT];
  (void)events;
  for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
    int descriptor = -1;
    if (!has_room_for_one(server)) {
      pause_listener(server);
      break;
    }
    hmc_status_t status = hmci_socket_accept(server->descriptor, &descriptor, address);
    if (status == HMC_SUCCESS) {
      status = add_connection(server, descriptor, address);
      if (status != HMC_SUCCESS) {
        close(descriptor);
      }
    }
    if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
      hmci_log(HMC_LOG_WARNING, "store: %s", hmc_last_error());
      pause_listener(server);
    }
    if (status != HMC_SUCCESS) {
      break;
    }
  }
  return true;
}

/* ---- starting and stopping --------------------------------------------------------------------------------------- */

static hmc_status_t replay(void *user, const hmci_store_message_t *record) { return hmci_store_replay(user, record); }

/* Reads the journal, if there is one. */
static hmc_status_t open_journal(hmc_store_server_t *server, const char *path) {
  if (path == NULL || path[0] == '\0') {
    return HMC_SUCCESS;
  }
  hmci_store_journal_t *journal;
  hmc_status_t status = hmci_store_journal_open(path, replay, &server->state, &journal);
  if (status == HMC_SUCCESS) {
    server->state.journal = journal;
    compact(server);
  }
  return status;
}

static void init_server(hmc_store_server_t *server) {
  server->process = getpid();
  server->descriptor = -1;
  server->watch.ready = on_connection;
  hmci_timer_init(&server->pause, on_pause_over);
  hmci_timer_init(&server->expiry, on_expiry);
  server->expires = HMCI_NEVER;
  hmci_list_init(&server->handshakes);
  hmci_list_init(&server->clients);
  hmci_list_init(&server->busy);
  hmci_store_state_init(&server->state, &wires);
}

/* The limits: the caller's, or those of the settings. */
static void set_limits(hmc_store_server_t *server, const hmc_store_server_options_t *options) {
  const hmc_store_server_options_t none = HMC_STORE_SERVER_OPTIONS_INIT, *given = options != NULL ? options : &none;
  uint64_t grace_ms = given->grace_ms < UINT32_MAX ? given->grace_ms : UINT32_MAX;
  server->clients_max = given->clients_max != 0 ? given->clients_max : server->settings.store_clients;
  server->state.memory_max = given->memory_max != 0 ? given->memory_max : server->settings.store_memory;
  server->state.grace = grace_ms != 0 ? grace_ms * NS_PER_MS : server->settings.store_grace;
}

static void free_server(hmc_store_server_t *server) {
  hmci_store_state_clear(&server->state);
  if (server->descriptor >= 0) {
    close(server->descriptor);
  }
  hmci_secret_wipe(&server->secret);
  hmci_certificates_free(server->certificates);
  explicit_bzero(server->settings.secret, sizeof(server->settings.secret));
  free(server);
}

static hmc_status_t prepare(hmc_store_server_t *server, const hmc_store_server_options_t *options) {
  const char *ip = options != NULL && options->ip != NULL && options->ip[0] != '\0' ? options->ip : "127.0.0.1";
  hmc_status_t status = hmci_settings_read(&server->settings);
  if (status == HMC_SUCCESS) {
    set_limits(server, options);
    status = hmci_certificates_create(options != NULL ? options->certificates : NULL, &server->certificates);
  }
  if (status == HMC_SUCCESS && server->certificates == NULL) {
    status = hmci_secret_load(&server->settings, &server->secret);
  }
  if (status == HMC_SUCCESS) {
    hmci_certificates_use(&server->secret, server->certificates);
    status = hmci_secure_check(&server->secret, HMCI_SECURE_SERVER);
  }
  if (status == HMC_SUCCESS) {
    status = open_journal(server, options != NULL ? options->journal : NULL);
  }
  if (status == HMC_SUCCESS) {
    status = hmci_socket_listen_tcp(ip, options != NULL ? options->port : 0, &server->descriptor, &server->port);
  }
  return status;
}

hmc_status_t hmc_store_server_start(const hmc_store_server_options_t *options, hmc_store_server_t **started) {
  if (started == NULL || (options != NULL && options->size < sizeof(*options))) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "no place given for the server, or options without HMC_STORE_SERVER_OPTIONS_INIT");
  }
  hmc_store_server_t *server = calloc(1, sizeof(*server));
  if (server == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a store");
  }
  init_server(server);
  hmc_status_t status = prepare(server, options);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  status = hmci_loop_create(0, "hmc-store", &server->loop);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  hmci_loop_lock(server->loop);
  set_expiry(server); /* what the journal brought */
  status = hmci_loop_add(server->loop, &server->watch, server->descriptor, EPOLLIN);
  hmci_loop_unlock(server->loop);
  if (status != HMC_SUCCESS) {
    goto err_loop;
  }
  *started = server;
  return HMC_SUCCESS;

err_loop:
  hmci_loop_destroy(server->loop);
err_free:
  free_server(server);
  return status;
}

void hmc_store_server_stop(hmc_store_server_t *server) {
  if (server == NULL || server->process != getpid()) {
    return; /* a forked child has closed its copies of the sockets */
  }
  hmci_loop_lock(server->loop);
  hmci_loop_remove(server->loop, &server->watch);
  while (!hmci_list_is_empty(&server->handshakes)) {
    free_connection(HMCI_CONTAINER(server->handshakes.next, connection_t, member));
  }
  while (!hmci_list_is_empty(&server->clients)) {
    free_connection(HMCI_CONTAINER(server->clients.next, connection_t, member));
  }
  hmci_loop_unlock(server->loop);
  hmci_loop_clear_timer(server->loop, &server->pause);
  hmci_loop_clear_timer(server->loop, &server->expiry);
  hmci_loop_destroy(server->loop);
  free_server(server);
}

uint16_t hmc_store_server_port(const hmc_store_server_t *server) { return server != NULL ? server->port : 0; }
