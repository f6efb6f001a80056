/* The server of hmc-perf: one region, any number of clients, nothing to do for their operations; for those that use a
 * staged mode perf_orders.c works in a thread of its own.
 *
 * Locking: `lock` guards the clients, because that thread looks for one and uses its door; only the main thread adds
 * and takes out. */
#include "perf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* POLL_MS is how soon a client's leaving or a signal is seen. */
enum { CLIENTS_MAX = 64, POLL_MS = 100, GREETING_MS = 5000 };

typedef struct client {
  hmc_peer_t *peer;
  hmc_remote_t *door; /* NULL: it has none */
  char who[160];
} client_t;

typedef struct server {
  pthread_mutex_t lock;
  client_t clients[CLIENTS_MAX];
  size_t count;
  hmc_region_t *region;
  bool talk;
  bool served; /* a client came and left */
} server_t;

/* Tells the client that it has been seen. One that has left meanwhile is noticed later. */
static void greet(hmc_region_t *region, hmc_remote_t *door) {
  static const char greeting[] = "welcome";
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                     .timeout_ms = GREETING_MS,
                                     .notification = greeting,
                                     .notification_size = sizeof greeting};
  hmc_request_t *request;
  if (hmc_put_nb(region, 0, door, 0, 0, &options, &request) == HMC_SUCCESS) {
    HMC_IGNORE(hmc_request_wait(request));
    hmc_request_free(request);
  }
}

static hmc_remote_t *find_door(void *user, const hmc_peer_t *peer) {
  const server_t *server = user;
  for (size_t i = 0; i < server->count; i++)
    if (server->clients[i].peer == peer) return server->clients[i].door;
  return NULL;
}

static void welcome(server_t *server, hmc_peer_t *peer) {
  if (server->count == CLIENTS_MAX) {
    tool_fail("more than %d clients at once: one was turned away", CLIENTS_MAX);
    hmc_peer_close(peer);
    return;
  }
  client_t client = {.peer = peer};
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  if (hmc_peer_get_info(peer, &info) == HMC_SUCCESS)
    snprintf(client.who, sizeof client.who, "process %d on %.64s by %s", info.process, info.host,
             hmc_connection_type_name(info.type));
  if (server->talk) fprintf(stderr, "client: %s\n", client.who);
  if (hmc_remote_open(peer, PERF_DOOR, GREETING_MS, &client.door) != HMC_SUCCESS) client.door = NULL;
  pthread_mutex_lock(&server->lock);
  server->clients[server->count++] = client;
  pthread_mutex_unlock(&server->lock);
  if (client.door) greet(server->region, client.door);
}

static bool has_left(const client_t *client) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  return hmc_peer_get_info(client->peer, &info) != HMC_SUCCESS || info.state != HMC_PEER_CONNECTED;
}

static void say_goodbye(server_t *server) {
  for (size_t i = 0; i < server->count;) {
    if (!has_left(&server->clients[i])) {
      i++;
      continue;
    }
    client_t client = server->clients[i];
    pthread_mutex_lock(&server->lock);
    server->clients[i] = server->clients[--server->count];
    pthread_mutex_unlock(&server->lock);
    if (server->talk) fprintf(stderr, "left: %s\n", client.who);
    hmc_peer_close(client.peer);
    server->served = true;
  }
}

static int serve_clients(hmc_context_t *context, hmc_region_t *region, bool once, bool talk) {
  server_t server = {.region = region, .talk = talk};
  perf_orders_t *orders = NULL;
  pthread_mutex_init(&server.lock, NULL);
  int code = perf_orders_open(context, region, &server.lock, find_door, &server, &orders);
  while (code == TOOL_DONE && !tool_interrupted && !(once && server.served)) {
    hmc_peer_t *peer;
    hmc_status_t status = hmc_context_accept(context, POLL_MS, &peer);
    if (status == HMC_SUCCESS)
      welcome(&server, peer);
    else if (status != HMC_TIMEOUT)
      code = tool_fail_hmc("waiting for clients", status);
    say_goodbye(&server);
  }
  perf_orders_close(orders);
  pthread_mutex_destroy(&server.lock);
  return code;
}

static void announce(const perf_options_t *options, hmc_region_t *region, uint16_t port) {
  char memory[32], bytes[32];
  tool_format_memory(hmc_region_memory(region), memory, sizeof memory);
  tool_format_bytes(hmc_region_size(region), bytes, sizeof bytes);
  fprintf(stderr, "hmc-perf %s: %s of %s memory on %s port %u; Ctrl-C ends it\n", hmc_version_text(), bytes, memory,
          options->bind, port);
}

static int fail_to_listen(hmc_status_t status) {
  if (status != HMC_ADDRESS_IN_USE) return tool_fail_hmc("listening", status);
  return tool_fail("listening: %s: choose another port with --port, or --port 0 for a free one", hmc_last_error());
}

int perf_serve(const perf_options_t *options, int ready) {
  hmc_context_t *context;
  hmc_region_t *region;
  hmc_memory_t memory;
  uint16_t port;
  uint64_t size = options->region ? options->region : PERF_DEFAULT_REGION;
  int code = perf_pin(options, 1);
  if (code == TOOL_DONE) code = perf_mode_memory(options, options->memory, ready >= 0, &memory);
  if (code != TOOL_DONE) return code;
  if (tool_is_host_memory(memory) && !tool_fits_host(size)) return TOOL_FAILED;
  hmc_status_t status = hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "hmc-perf server"}, &context);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the context", status);
  code = TOOL_FAILED;
  status = perf_region(options, context, memory, size, PERF_REGION, HMC_REMOTE_ALL, &region);
  if (status != HMC_SUCCESS) {
    tool_fail_hmc("the server's region", status);
    goto err_context;
  }
  status = hmc_context_listen(context, options->bind, options->port, &port);
  if (status != HMC_SUCCESS) {
    fail_to_listen(status);
    goto err_context;
  }
  if (ready < 0)
    announce(options, region, port);
  else if (write(ready, &port, sizeof port) != (ssize_t)sizeof port)
    goto err_context;
  code = serve_clients(context, region, options->once, ready < 0);
err_context:
  hmc_context_destroy(context);
  return code;
}
