/* hmc-bench-engine: what HMC gives between two processes on this host.
 *
 *   shm_put, shm_get      blocking calls on a mapped peer
 *   shm_copy_to, _from    memcpy on the very same pages: the limit of the two above
 *   shm_pingpong          both processes put 8 bytes into the other's region and watch their own; the time is for
 *                         one way
 *   tcp_put, tcp_get      over a loopback connection; depth 1: blocking calls, else so many requests in flight
 *   shm_queue_put, tcp_queue_put
 *                         by a queue; depth: so many between two flushes, each to a word of its own
 *   shm_queue_two         two threads with a queue each; the time is for one put of either
 *   shm_put_nb, _nb_two   requests that are started, waited for and freed, by one thread and by two
 *   tcp_pingpong          as shm_pingpong; each watches its own word before it waits for its put to be complete
 *   shm_kv, tcp_kv        a batch of 61 pieces of 128 KiB and 61 of 16 KiB, scattered at both ends (bytes: KV_BYTES)
 *   shm_small, tcp_small  a batch of 256 scattered pieces of 1 KiB
 *   shm_kv_copy, shm_small_copy
 *                         memcpy of the very same pieces: the limit of the two above
 *   tcp_g2h2g             with `sim`: copied to the host whole, put, copied to a device whole; the last step is timed
 *                         on this process's second device, which is as fast as the target's
 *
 * Words of the command line: `sim`, software accelerator memory at both ends; `registered`, memory that the program allocated
 * itself and registers; `ucx` or `rdma`, what is called tcp goes by that; `unpinned`, the system chooses the processors.
 *
 * The other end is a forked process on another processor. Its application sleeps, but for the ping-pong. */
#include "bench.h"

#include <hmc.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX (64ull << 20)
#define SPIN_SECONDS 10.0     /* an end that waits longer has lost the other */
#define TARGET "bench.target" /* the child's region */
#define ORIGIN "bench.origin" /* the parent's */
#define HOST "bench.host"     /* the child's host memory beside a device's */
#define KV_PIECES 61
#define KV_LARGE (128u << 10)
#define KV_SMALL (16u << 10)
#define SMALL_PIECES 256
#define SMALL 1024u

enum { DEPTH_MAX = 1024, ROUNDS_MAX = 1 << 17, PING = 0, PONG = 4096, BALL = 8192, REGION_EXTRA = 12288 };

/* One end of a connection. The parent has two, each with a context of its own; the child's share one, and it uses them
 * for the ping-pong only. */
typedef struct route {
  hmc_context_t *context;
  hmc_region_t *local;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  unsigned char *mapped; /* the remote memory, where it is mapped */
  hmc_batch_t *kv, *small;
  hmc_queue_t *queues[2];
  hmc_region_t *host; /* with `sim` */
  hmc_remote_t *remote_host;
  void *registered;   /* with `registered`: what the local region is made of */
  void *second;       /* memory of the second device */
  hmc_request_t *put; /* of the ping-pong, in progress; or NULL */
  char problem[512];  /* why this route cannot be measured; "" otherwise */
} route_t;

/* What the parent asks of the child: so many rounds of the ping-pong, over a connection of that type. */
typedef struct order {
  uint64_t count;
  hmc_connection_type_t type;
} order_t;

typedef struct engine {
  route_t shm, tcp;
  int child;       /* socket to the child, for orders */
  uint64_t round;  /* of the ping-pong, counted alike at both ends, whatever the connection */
  route_t *active; /* of the request in progress */
  hmc_request_t *ring[DEPTH_MAX];
  double rounds[ROUNDS_MAX]; /* seconds, of a ping-pong over a network */
  uint32_t round_count;
} engine_t;

static hmc_memory_t memory = {HMC_MEMORY_CPU, 0}; /* of the regions at both ends */
static bool registers, pins = true;
static hmc_connection_type_t network = HMC_CONNECTION_TCP;

static void pin(unsigned which) {
  if (pins) bench_pin(which);
}

static bool fail(bench_result_t *result, const char *what, hmc_status_t status) {
  const char *text = hmc_last_error();
  return bench_fail(result, "%s: %s", what, text[0] ? text : hmc_status_text(status));
}

static bool put_each(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  route_t *route = ((engine_t *)state)->active;
  for (uint64_t i = 0; i < count; i++) {
    hmc_status_t status = hmc_put(route->local, 0, route->remote, 0, request->bytes);
    if (status != HMC_SUCCESS) return fail(result, "put", status);
  }
  return true;
}

static bool get_each(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  route_t *route = ((engine_t *)state)->active;
  for (uint64_t i = 0; i < count; i++) {
    hmc_status_t status = hmc_get(route->local, 0, route->remote, 0, request->bytes);
    if (status != HMC_SUCCESS) return fail(result, "get", status);
  }
  return true;
}

static bool copy_each(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  route_t *route = ((engine_t *)state)->active;
  bool to = strcmp(request->what, "shm_copy_to") == 0;
  unsigned char *local = hmc_region_pointer(route->local);
  void *destination = to ? route->mapped : local;
  const void *source = to ? local : route->mapped;
  (void)result;
  for (uint64_t i = 0; i < count; i++) {
    memcpy(destination, source, request->bytes);
    __asm__ volatile("" ::: "memory"); /* every copy counts */
  }
  return true;
}

/* Puts by one queue, flushed after each `depth` of them. */
static hmc_status_t queue_puts(route_t *route, unsigned which, const bench_request_t *request, uint64_t count) {
  static const unsigned char bytes[BYTES_MAX / 64];
  hmc_queue_t *queue = route->queues[which];
  hmc_status_t status = HMC_SUCCESS;
  uint64_t places = request->depth, base = which * (BYTES_MAX / 2);
  for (uint64_t i = 0; i < count && status == HMC_SUCCESS;) {
    uint64_t until = i + places < count ? i + places : count;
    for (uint64_t offset = base; i < until && status == HMC_SUCCESS; i++, offset += request->bytes)
      status = hmc_queue_put(queue, bytes, route->remote, offset, request->bytes);
    if (status == HMC_SUCCESS) status = hmc_queue_flush(queue, route->peer, 0);
  }
  return status;
}

/* The same by requests. */
static hmc_status_t request_puts(route_t *route, unsigned which, const bench_request_t *request, uint64_t count) {
  hmc_status_t status = HMC_SUCCESS;
  uint64_t offset = which * (BYTES_MAX / 2);
  for (uint64_t i = 0; i < count && status == HMC_SUCCESS; i++) {
    hmc_request_t *one = NULL;
    status = hmc_put_nb(route->local, offset, route->remote, offset, request->bytes, NULL, &one);
    if (status == HMC_SUCCESS) status = hmc_request_wait(one);
    hmc_request_free(one);
  }
  return status;
}

typedef hmc_status_t (*puts_t)(route_t *route, unsigned which, const bench_request_t *request, uint64_t count);

static puts_t puts_of(const bench_request_t *request) {
  return strstr(request->what, "_queue_") ? queue_puts : request_puts;
}

static bool queue_each(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  hmc_status_t status = puts_of(request)(((engine_t *)state)->active, 0, request, count);
  return status == HMC_SUCCESS || fail(result, "queue put", status);
}

typedef struct second {
  route_t *route;
  const bench_request_t *request;
  uint64_t count;
  hmc_status_t status;
} second_t;

static void *queue_second(void *argument) {
  second_t *second = argument;
  pin(1);
  second->status = puts_of(second->request)(second->route, 1, second->request, second->count);
  return NULL;
}

/* Half of the puts by each thread. */
static bool queue_two(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  second_t second = {((engine_t *)state)->active, request, count / 2, HMC_SUCCESS};
  pthread_t thread;
  if (pthread_create(&thread, NULL, queue_second, &second) != 0) return bench_fail(result, "no thread");
  hmc_status_t status = puts_of(request)(second.route, 0, request, count - count / 2);
  pthread_join(thread, NULL);
  if (status == HMC_SUCCESS) status = second.status;
  return status == HMC_SUCCESS || fail(result, "queue put", status);
}

/* `depth` requests in flight; offsets differ while they fit. */
static bool flow(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  engine_t *engine = state;
  route_t *route = engine->active;
  bool get = strcmp(request->what, "tcp_get") == 0;
  uint64_t slots = BYTES_MAX / request->bytes, first = 0, last = 0;
  hmc_status_t status = HMC_SUCCESS;
  while (first < count && status == HMC_SUCCESS) {
    for (; last < count && last - first < request->depth && status == HMC_SUCCESS; last++) {
      uint64_t offset = last % slots * request->bytes;
      hmc_request_t **slot = &engine->ring[last % request->depth];
      status = get ? hmc_get_nb(route->local, offset, route->remote, offset, request->bytes, NULL, slot)
                   : hmc_put_nb(route->local, offset, route->remote, offset, request->bytes, NULL, slot);
      if (status != HMC_SUCCESS) break;
    }
    if (first == last) break;
    hmc_request_t *oldest = engine->ring[first++ % request->depth];
    hmc_status_t final = hmc_request_wait(oldest);
    status = status == HMC_SUCCESS ? final : status;
    hmc_request_free(oldest);
  }
  bool good = status == HMC_SUCCESS || fail(result, "in flight", status);
  for (; first < last; first++) hmc_request_free(engine->ring[first % request->depth]);
  return good;
}

/* Writes down the pieces of a list: `large` and then `small` bytes, every other place of that size. */
static unsigned lay_out(bool kv, hmc_segment_t list[2 * SMALL_PIECES]) {
  uint64_t at = 0;
  unsigned count = 0;
  for (unsigned i = 0; i < (kv ? KV_PIECES : SMALL_PIECES); i++)
    for (unsigned j = 0; j < (kv ? 2 : 1); j++) {
      uint64_t length = !kv ? SMALL : j ? KV_SMALL : KV_LARGE;
      list[count++] = (hmc_segment_t){.local_offset = at, .remote_offset = at, .length = length};
      at += 2 * length;
    }
  return count;
}

static bool batch_each(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  route_t *route = ((engine_t *)state)->active;
  bool kv = strstr(request->what, "_kv");
  hmc_batch_t **batch = kv ? &route->kv : &route->small;
  hmc_segment_t list[2 * SMALL_PIECES];
  hmc_status_t status = HMC_SUCCESS;
  if (!*batch) status = hmc_batch_create(route->local, route->remote, list, lay_out(kv, list), batch);
  for (uint64_t i = 0; i < count && status == HMC_SUCCESS; i++) status = hmc_batch_put(*batch);
  return status == HMC_SUCCESS || fail(result, "batch", status);
}

static bool copy_pieces(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  route_t *route = ((engine_t *)state)->active;
  const unsigned char *local = hmc_region_pointer(route->local);
  hmc_segment_t list[2 * SMALL_PIECES];
  unsigned pieces = lay_out(strstr(request->what, "_kv"), list);
  (void)result;
  for (uint64_t i = 0; i < count; i++) {
    for (unsigned j = 0; j < pieces; j++)
      memcpy(route->mapped + list[j].remote_offset, local + list[j].local_offset, list[j].length);
    __asm__ volatile("" ::: "memory"); /* every copy counts */
  }
  return true;
}

/* Device to host to host to device, one step after the other. */
static bool g2h2g_each(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  route_t *route = ((engine_t *)state)->active;
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, second = {memory.kind, 1};
  void *host = hmc_region_pointer(route->host);
  hmc_status_t status = route->host ? HMC_SUCCESS : HMC_UNSUPPORT;
  for (uint64_t i = 0; i < count && status == HMC_SUCCESS; i++) {
    status = hmc_memory_copy(host, cpu, hmc_region_pointer(route->local), memory, request->bytes);
    if (status == HMC_SUCCESS) status = hmc_put(route->host, 0, route->remote_host, 0, request->bytes);
    if (status == HMC_SUCCESS) status = hmc_memory_copy(route->second, second, host, cpu, request->bytes);
  }
  return status == HMC_SUCCESS || fail(result, "g2h2g", status);
}

/* Spins until the word is `value`. */
static bool await_word(unsigned char *at, uint64_t value) {
  _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)at;
  for (double begin = 0;;) {
    for (unsigned i = 0; i < 1u << 20; i++)
      if (atomic_load_explicit(word, memory_order_acquire) ==
          value) /* partner: the peer's put, visible when complete */
        return true;
    double now = bench_clock();
    if (begin == 0) begin = now;
    if (now - begin > SPIN_SECONDS) return false;
  }
}

/* Waits for the last put of the ping-pong. */
static bool end_put(route_t *route) {
  hmc_request_t *put = route->put;
  route->put = NULL;
  if (!put) return true;
  hmc_status_t status = hmc_request_wait(put);
  hmc_request_free(put);
  return status == HMC_SUCCESS;
}

/* Puts the number of the round at `offset` of the other's region. To mapped memory that is all; else the put is in
 * progress, and the one before it is seen to the end meanwhile. */
static bool hit(route_t *route, hmc_connection_type_t type, uint64_t offset, uint64_t round) {
  const uint64_t ball = BYTES_MAX + BALL + round % 2 * sizeof round;
  hmc_request_t *put;
  memcpy((unsigned char *)hmc_region_pointer(route->local) + ball, &round, sizeof round);
  if (type == HMC_CONNECTION_SHM)
    return hmc_put(route->local, ball, route->remote, BYTES_MAX + offset, sizeof round) == HMC_SUCCESS;
  if (hmc_put_nb(route->local, ball, route->remote, BYTES_MAX + offset, sizeof round, NULL, &put) != HMC_SUCCESS)
    return false;
  bool good = end_put(route);
  route->put = put;
  return good;
}

static bool pingpong(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  engine_t *engine = state;
  route_t *route = engine->active;
  const order_t order = {count, route == &engine->shm ? HMC_CONNECTION_SHM : network};
  unsigned char *local = hmc_region_pointer(route->local);
  (void)request;
  if (send(engine->child, &order, sizeof order, MSG_NOSIGNAL) != (ssize_t)sizeof order)
    return bench_fail(result, "the other process is gone");
  double begin = bench_clock();
  for (uint64_t i = 0; i < count; i++) {
    engine->round++;
    if (!hit(route, order.type, PING, engine->round)) return bench_fail(result, "ping: %s", hmc_last_error());
    if (!await_word(local + BYTES_MAX + PONG, engine->round))
      return bench_fail(result, "the other process does not answer");
    if (order.type == HMC_CONNECTION_SHM || engine->round_count == ROUNDS_MAX) continue;
    double now = bench_clock();
    engine->rounds[engine->round_count++] = now - begin;
    begin = now;
  }
  return end_put(route) || bench_fail(result, "ping: %s", hmc_last_error());
}

static int compare_rounds(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* A round of a network is long enough to be timed by itself, as the latency tests of others do it. */
static double median_round(engine_t *engine) {
  qsort(engine->rounds, engine->round_count, sizeof *engine->rounds, compare_rounds);
  return engine->rounds[engine->round_count / 2];
}

/* The child's end of the connection of that type, which the parent has made. */
static hmc_status_t accept_route(route_t routes[2], route_t **found, hmc_connection_type_t type) {
  hmc_status_t status = HMC_SUCCESS;
  *found = &routes[type != HMC_CONNECTION_SHM];
  while (status == HMC_SUCCESS && !(*found)->peer) {
    hmc_peer_t *peer = NULL;
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    status = hmc_context_accept(routes[0].context, 0, &peer);
    if (status == HMC_SUCCESS) status = hmc_peer_get_info(peer, &info);
    if (status != HMC_SUCCESS) break;
    route_t *route = &routes[info.type != HMC_CONNECTION_SHM];
    route->peer = peer;
    status = hmc_remote_open(peer, ORIGIN, 0, &route->remote);
  }
  return status;
}

/* The child's side of the ping-pong, until the socket closes. */
static hmc_status_t answer(route_t routes[2], int socket) {
  unsigned char *word = (unsigned char *)hmc_region_pointer(routes[0].local) + BYTES_MAX + PING;
  uint64_t round = 0;
  order_t order;
  while (recv(socket, &order, sizeof order, 0) == (ssize_t)sizeof order) {
    route_t *route;
    hmc_status_t status = accept_route(routes, &route, order.type);
    if (status != HMC_SUCCESS) return status;
    for (uint64_t i = 0; i < order.count; i++) {
      round++;
      if (!await_word(word, round) || !hit(route, order.type, PONG, round)) return HMC_ERROR;
    }
    if (!end_put(route)) return HMC_ERROR;
  }
  return HMC_SUCCESS;
}

static bool measure(void *state, const bench_request_t *request, bench_result_t *result) {
  engine_t *engine = state;
  const char *what = request->what;
  engine->active = strncmp(what, "tcp", 3) == 0 ? &engine->tcp : &engine->shm;
  if (request->bytes == 0 || request->bytes > BYTES_MAX) return bench_fail(result, "1 to %llu bytes", BYTES_MAX);
  if (request->depth == 0 || request->depth > DEPTH_MAX) return bench_fail(result, "1 to %d in flight", DEPTH_MAX);
  if (engine->active->problem[0]) return bench_fail(result, "%s", engine->active->problem);
  if (strcmp(what, "shm_pingpong") == 0 || strcmp(what, "tcp_pingpong") == 0) {
    engine->round_count = 0;
    bool good = bench_repeat_counted(pingpong, engine, request, result);
    if (engine->round_count) result->median_ns = median_round(engine) * 1e9;
    result->median_ns /= 2;
    result->mean_ns /= 2;
    return good;
  }
  if (strcmp(what, "shm_copy_to") == 0 || strcmp(what, "shm_copy_from") == 0)
    return bench_repeat(copy_each, engine, request, 1, result);
  if (strcmp(what, "shm_kv_copy") == 0 || strcmp(what, "shm_small_copy") == 0)
    return bench_repeat(copy_pieces, engine, request, 1, result);
  if (strstr(what, "_kv") || strstr(what, "_small")) return bench_repeat(batch_each, engine, request, 1, result);
  if (strcmp(what, "tcp_g2h2g") == 0) return bench_repeat(g2h2g_each, engine, request, 1, result);
  if (strstr(what, "_queue_") || strstr(what, "_put_nb")) {
    bool two = strstr(what, "_two");
    if (request->bytes * request->depth > BYTES_MAX / 64)
      return bench_fail(result, "1 to %llu bytes in progress", BYTES_MAX / 64);
    uint64_t least = !two ? 16 * request->depth : puts_of(request) == queue_puts ? 1 << 24 : 1 << 20;
    return bench_repeat(two ? queue_two : queue_each, engine, request, least, result); /* beside a thread's start */
  }
  bool put = strcmp(what, "shm_put") == 0 || strcmp(what, "tcp_put") == 0;
  if (!put && strcmp(what, "shm_get") != 0 && strcmp(what, "tcp_get") != 0)
    return bench_fail(result, "nothing is called %s", what);
  if (request->depth > 1) /* long batches: each one ends with nothing in flight */
    return bench_repeat(flow, engine, request, request->bytes > 1 << 20 ? request->depth : 16 * request->depth, result);
  return bench_repeat(put ? put_each : get_each, engine, request, 1, result);
}

/* In pages of 2 MiB where the system gives them to who asks: what ucx_perftest has, and what a kernel that copies between
 * processes is twice as fast with. */
static void *allocate_own(size_t size) {
  void *own = aligned_alloc(2 << 20, (size + (2 << 20) - 1) & ~(size_t)((2 << 20) - 1));
  if (own) madvise(own, size, MADV_HUGEPAGE);
  return own;
}

static hmc_status_t open_region(route_t *route, const char *name) {
  const size_t size = BYTES_MAX + REGION_EXTRA;
  if (!registers) return hmc_region_allocate(route->context, memory, size, name, HMC_REMOTE_ALL, &route->local);
  route->registered = allocate_own(size);
  if (!route->registered) return HMC_NO_MEMORY;
  return hmc_region_register(route->context, route->registered, size, name, HMC_REMOTE_ALL, &route->local);
}

/* A context with a region of that name, its pages in place. */
static hmc_status_t open_route(route_t *route, const char *context_name, const char *region_name) {
  hmc_status_t status = hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = context_name}, &route->context);
  if (status == HMC_SUCCESS) status = open_region(route, region_name);
  if (status != HMC_SUCCESS) return status;
  if (memory.kind == HMC_MEMORY_CPU) {
    memset(hmc_region_pointer(route->local), 1, BYTES_MAX);
    return HMC_SUCCESS;
  }
  status = hmc_region_allocate(route->context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, BYTES_MAX, HOST, HMC_REMOTE_ALL,
                               &route->host);
  if (status == HMC_SUCCESS) memset(hmc_region_pointer(route->host), 1, BYTES_MAX);
  return status == HMC_SUCCESS ? hmc_memory_allocate((hmc_memory_t){memory.kind, 1}, BYTES_MAX, &route->second)
                               : status;
}

/* The other process: the target, and its end of the ping-pong. */
static int live_as_child(int socket) {
  route_t routes[2] = {0};
  uint16_t port = 0;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  pin(1);
  hmc_status_t status = open_route(&routes[0], "hmc-bench target", TARGET);
  if (status == HMC_SUCCESS) status = hmc_context_listen(routes[0].context, "127.0.0.1", 0, &port);
  routes[1].context = routes[0].context;
  routes[1].local = routes[0].local;
  bool told = send(socket, &port, sizeof port, MSG_NOSIGNAL) == (ssize_t)sizeof port;
  if (told && status == HMC_SUCCESS) status = answer(routes, socket);
  if (status != HMC_SUCCESS) fprintf(stderr, "hmc-bench-engine: %s\n", hmc_last_error());
  hmc_context_destroy(routes[0].context);
  free(routes[0].registered);
  return told && status == HMC_SUCCESS ? 0 : 1;
}

/* A route that does not work here leaves its text, and the other one can still be measured. */
static void connect_route(route_t *route, uint16_t port, hmc_connection_type_t type) {
  void *mapped = NULL;
  hmc_status_t status = open_route(route, "hmc-bench origin", ORIGIN);
  if (status == HMC_SUCCESS) status = hmc_context_connect(route->context, "127.0.0.1", port, type, 0, &route->peer);
  if (status == HMC_SUCCESS) status = hmc_remote_open(route->peer, TARGET, 0, &route->remote);
  if (status == HMC_SUCCESS && route->host) status = hmc_remote_open(route->peer, HOST, 0, &route->remote_host);
  if (status == HMC_SUCCESS && type == HMC_CONNECTION_SHM && memory.kind == HMC_MEMORY_CPU && !registers)
    status = hmc_remote_map(route->remote, &mapped);
  route->mapped = mapped;
  for (int i = 0; i < 2 && status == HMC_SUCCESS; i++)
    status = hmc_queue_create(route->context, NULL, &route->queues[i]);
  if (status != HMC_SUCCESS) snprintf(route->problem, sizeof route->problem, "%s", hmc_last_error());
}

static void take_word(const char *word) {
  if (strcmp(word, "sim") == 0) memory.kind = HMC_MEMORY_SIM;
  if (strcmp(word, "registered") == 0) registers = true;
  if (strcmp(word, "ucx") == 0) network = HMC_CONNECTION_UCX;
  if (strcmp(word, "rdma") == 0) network = HMC_CONNECTION_RDMA;
  if (strcmp(word, "unpinned") == 0) pins = false;
}

int main(int count, char **arguments) {
  static engine_t engine;
  for (int i = 1; i < count; i++) take_word(arguments[i]);
  int sockets[2];
  pin(0);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) return 1;
  pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) {
    close(sockets[0]);
    close(STDIN_FILENO);
    return live_as_child(sockets[1]);
  }
  close(sockets[1]);
  engine.child = sockets[0];
  uint16_t port = 0;
  bool up =
      recv(engine.child, &port, sizeof port, 0) == (ssize_t)sizeof port && port != 0; /* else the child has said why */
  if (up) {
    char hello[64];
    connect_route(&engine.shm, port, HMC_CONNECTION_SHM);
    connect_route(&engine.tcp, port, network);
    snprintf(hello, sizeof hello, "hmc-bench-engine %s", hmc_version_text());
    bench_serve(hello, measure, &engine);
  }
  close(engine.child);
  for (route_t *route = &engine.shm; route <= &engine.tcp; route++) {
    hmc_batch_free(route->kv);
    hmc_batch_free(route->small);
    if (route->second) hmc_memory_free((hmc_memory_t){memory.kind, 1}, route->second);
  }
  hmc_context_destroy(engine.tcp.context);
  hmc_context_destroy(engine.shm.context);
  free(engine.tcp.registered);
  free(engine.shm.registered);
  waitpid(child, NULL, 0);
  return up ? 0 : 1;
}
