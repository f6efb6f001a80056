/* A client of the soak: fifty links to the servers, by every way there is, and on each it puts, gets back and compares.
 *
 * Each link owns one slot of its server's region, so what it put last is what it must find. A failure is expected only
 * where the server died in between; any other, and any wrong byte, ends the soak as failed. */
#include "soak.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct link {
  uint32_t server, life;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  uint64_t offset; /* of its slot */
} link_t;

typedef struct worker {
  board_t *board;
  client_t *counters;
  hmc_context_t *context;
  hmc_region_t *source, *sink;
  uint8_t *sent, *received;
  uint64_t random;
  uint32_t number;
  link_t links[LINKS];
} worker_t;

static uint64_t draw(worker_t *worker) {
  worker->random ^= worker->random << 13;
  worker->random ^= worker->random >> 7;
  worker->random ^= worker->random << 17;
  return worker->random;
}

static void fill(uint8_t *bytes, uint64_t length, uint64_t seed) {
  for (uint64_t i = 0; i < length; i++) bytes[i] = (uint8_t)((seed + i) * UINT64_C(0x9e3779b97f4a7c15) >> 56);
}

static void drop(link_t *link) {
  hmc_peer_close(link->peer);
  link->peer = NULL;
  link->remote = NULL;
}

/* Was the server that the link leads to killed since? */
static bool has_died(const worker_t *worker, const link_t *link) {
  return atomic_load(&worker->board->servers[link->server].life) != link->life;
}

/* Counts a failure: as expected where its server has died, else as a fault that it names. */
static void note_failure(worker_t *worker, link_t *link, const char *what, hmc_status_t status) {
  char text[512];
  snprintf(text, sizeof text, "%s", hmc_last_error());
  /* The parent says that a server is to die right before it kills it. */
  if (has_died(worker, link)) {
    atomic_fetch_add(&worker->counters->lost, 1);
  } else {
    fprintf(stderr, "soak: client %u: %s: %s: %s\n", worker->number, what, hmc_status_name(status), text);
    atomic_fetch_add(&worker->counters->unexpected, 1);
  }
  drop(link);
}

static bool reach(worker_t *worker, link_t *link, uint32_t index) {
  static const hmc_connection_type_t types[] = {HMC_CONNECTION_AUTO, HMC_CONNECTION_SHM, HMC_CONNECTION_TCP};
  server_t *server = &worker->board->servers[link->server];
  link->life = atomic_load(&server->life);
  uint32_t port = atomic_load(&server->port);
  if (!(link->life & 1) || !port || has_died(worker, link)) return false; /* between two lives */
  hmc_connection_type_t type = types[index % 3];
  hmc_status_t status = hmc_context_connect(worker->context, "127.0.0.1", (uint16_t)port, type, 60000, &link->peer);
  if (status == HMC_SUCCESS)
    status = hmc_remote_open(link->peer, index % 2 ? "made" : "registered", 60000, &link->remote);
  if (status == HMC_SUCCESS) return true;
  note_failure(worker, link, "connecting", status);
  return false;
}

/* Puts a pattern and gets it back. */
static hmc_status_t exchange(worker_t *worker, link_t *link, uint64_t length, uint64_t at, bool *differs) {
  fill(worker->sent, length, draw(worker));
  memset(worker->received, 0xa5, length);
  hmc_status_t status = hmc_put(worker->source, 0, link->remote, link->offset + at, length);
  if (status == HMC_SUCCESS) status = hmc_get(worker->sink, 0, link->remote, link->offset + at, length);
  *differs = status == HMC_SUCCESS && memcmp(worker->sent, worker->received, length) != 0;
  return status;
}

/* Starts a put, cancels it, and writes other bytes into its memory: none of those may arrive. */
static hmc_status_t cancel_one(worker_t *worker, link_t *link, uint64_t length, bool *differs) {
  hmc_request_t *request = NULL;
  memset(worker->sent, 1, length);
  hmc_status_t status = hmc_put(worker->source, 0, link->remote, link->offset, length);
  memset(worker->sent, 2, length);
  if (status == HMC_SUCCESS) status = hmc_put_nb(worker->source, 0, link->remote, link->offset, length, NULL, &request);
  if (status != HMC_SUCCESS) return status;
  status = hmc_request_cancel(request);
  memset(worker->sent, 3, length);
  hmc_request_free(request);
  if (status == HMC_CANCELLED) atomic_fetch_add(&worker->counters->cancelled, 1);
  if (status != HMC_SUCCESS && status != HMC_CANCELLED) return status;
  status = hmc_get(worker->sink, 0, link->remote, link->offset, length);
  for (uint64_t i = 0; status == HMC_SUCCESS && i < length; i++)
    *differs = *differs || (worker->received[i] != 1 && worker->received[i] != 2);
  return status;
}

static void step(worker_t *worker) {
  uint32_t index = (uint32_t)(draw(worker) % LINKS);
  link_t *link = &worker->links[index];
  if (!link->peer && !reach(worker, link, index)) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return;
  }
  uint64_t dice = draw(worker) % 100, length = 1 + draw(worker) % (dice < 70 ? 256 : dice < 95 ? 65536 : SLOT);
  bool differs = false, cancels = dice % 10 == 3;
  hmc_status_t status = cancels ? cancel_one(worker, link, length, &differs)
                                : exchange(worker, link, length, draw(worker) % (SLOT - length + 1), &differs);
  if (differs) {
    fprintf(stderr, "soak: client %u, link %u: wrong bytes in %llu after a %s\n", worker->number, index,
            (unsigned long long)length, cancels ? "cancel" : "put");
    atomic_fetch_add(&worker->counters->wrong, 1);
  }
  if (status != HMC_SUCCESS) {
    note_failure(worker, link, cancels ? "cancelling" : "exchanging", status);
    return;
  }
  atomic_fetch_add(&worker->counters->operations, 1);
  atomic_fetch_add(&worker->counters->bytes, 2 * length);
  if (dice == 99) drop(link);
}

int client_run(board_t *board, uint32_t number) {
  worker_t *worker = calloc(1, sizeof *worker);
  if (!worker) return 1;
  *worker = (worker_t){.board = board,
                       .counters = &board->clients[number],
                       .number = number,
                       .random = UINT64_C(0x2545f4914f6cdd1d) * (number + 1)};
  for (uint32_t i = 0; i < LINKS; i++) {
    worker->links[i].server = i % SERVERS;
    worker->links[i].offset = ((uint64_t)number * LINKS + i) * SLOT;
  }
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  hmc_status_t status = hmc_context_create(NULL, &worker->context);
  if (status == HMC_SUCCESS) status = hmc_region_allocate(worker->context, cpu, SLOT, NULL, 0, &worker->source);
  if (status == HMC_SUCCESS) status = hmc_region_allocate(worker->context, cpu, SLOT, NULL, 0, &worker->sink);
  if (status != HMC_SUCCESS) {
    fprintf(stderr, "soak: client %u: %s\n", number, hmc_last_error());
    return 1;
  }
  worker->sent = hmc_region_pointer(worker->source);
  worker->received = hmc_region_pointer(worker->sink);
  while (!atomic_load(&board->stop)) step(worker);
  hmc_context_destroy(worker->context);
  free(worker);
  return 0;
}
