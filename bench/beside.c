/* hmc-bench-beside: what an 8 B put over tcp takes while others move bulk to the same target.
 *
 *   hmc-bench-beside <bulk connections> <seconds>
 *
 * Three processes: the target, whose application sleeps; one that keeps a put of 1 MiB in progress on each of the bulk
 * connections; and this one, which puts 8 B again and again. Nothing is pinned. It prints one line:
 *
 *   ok <median ns> <p99 ns> <longest ns> <puts> <bulk bytes per second> */
#include "alone.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BULK (1u << 20)
enum { CONNECTIONS_MAX = 1024, SAMPLES_MAX = 1 << 21 };

/* Shared by the three. */
typedef struct shared {
  _Atomic uint32_t port;
  _Atomic uint32_t running; /* the bulk is in progress */
  _Atomic uint64_t moved;
} shared_t;

static shared_t *shared;

static hmc_context_t *make_context(void) {
  hmc_context_t *context = NULL;
  must(hmc_context_create(NULL, &context));
  return context;
}

static hmc_region_t *make_region(hmc_context_t *context, size_t size, const char *name) {
  hmc_region_t *region = NULL;
  must(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, size, name, name ? HMC_REMOTE_ALL : 0, &region));
  return region;
}

static hmc_remote_t *reach(hmc_context_t *context) {
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  must(hmc_context_connect(context, "127.0.0.1", (uint16_t)atomic_load(&shared->port), HMC_CONNECTION_TCP, 0, &peer));
  must(hmc_remote_open(peer, "target", 0, &remote));
  return remote;
}

static pid_t start(void (*live)(uint32_t), uint32_t argument) {
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    live(argument);
    _exit(0);
  }
  return child;
}

static void be_target(uint32_t unused) {
  (void)unused;
  uint16_t port = 0;
  hmc_context_t *context = make_context();
  make_region(context, 2 * BULK, "target");
  must(hmc_context_listen(context, "127.0.0.1", 0, &port));
  atomic_store(&shared->port, port);
  for (;;) pause();
}

static void move_bulk(uint32_t connections) {
  static hmc_remote_t *remotes[CONNECTIONS_MAX];
  static hmc_request_t *requests[CONNECTIONS_MAX];
  hmc_context_t *context = make_context();
  hmc_region_t *local = make_region(context, BULK, NULL);
  for (uint32_t i = 0; i < connections; i++) remotes[i] = reach(context);
  for (uint32_t i = 0; i < connections; i++) must(hmc_put_nb(local, 0, remotes[i], BULK, BULK, NULL, &requests[i]));
  atomic_store(&shared->running, 1);
  for (;;) {
    size_t index = 0;
    must(hmc_request_wait_any(requests, connections, &index));
    must(hmc_request_test(requests[index]));
    hmc_request_free(requests[index]);
    atomic_fetch_add(&shared->moved, BULK);
    must(hmc_put_nb(local, 0, remotes[index], BULK, BULK, NULL, &requests[index]));
  }
}

static int compare(const void *one, const void *two) {
  uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)two;
  return a < b ? -1 : a > b;
}

int main(int argc, char **argv) {
  uint32_t connections = argc > 1 ? (uint32_t)atoi(argv[1]) : 100;
  double seconds = argc > 2 ? atof(argv[2]) : 2;
  if (connections > CONNECTIONS_MAX || seconds <= 0) {
    fprintf(stderr, "usage: %s [0..%d connections] [seconds]\n", argv[0], CONNECTIONS_MAX);
    return 2;
  }
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  uint64_t *samples = malloc(SAMPLES_MAX * sizeof *samples), count = 0;
  if (shared == MAP_FAILED || !samples) return 1;
  pid_t target = start(be_target, 0);
  while (!atomic_load(&shared->port)) usleep(1000);
  pid_t bulk = connections ? start(move_bulk, connections) : 0;
  while (connections && !atomic_load(&shared->running)) usleep(1000);
  hmc_context_t *context = make_context();
  hmc_region_t *local = make_region(context, 64, NULL);
  hmc_remote_t *remote = reach(context);
  uint64_t begin = now_ns(), end = begin + (uint64_t)(seconds * 1e9), moved = atomic_load(&shared->moved), now = begin;
  while (now < end && count < SAMPLES_MAX) {
    must(hmc_put(local, 0, remote, 0, 8));
    uint64_t after = now_ns();
    samples[count++] = after - now;
    now = after;
  }
  double rate = (double)(atomic_load(&shared->moved) - moved) / ((double)(now - begin) / 1e9);
  qsort(samples, count, sizeof *samples, compare);
  printf("ok %llu %llu %llu %llu %.0f\n", (unsigned long long)samples[count / 2],
         (unsigned long long)samples[count * 99 / 100], (unsigned long long)samples[count - 1],
         (unsigned long long)count, rate);
  if (bulk) kill(bulk, SIGKILL);
  kill(target, SIGKILL);
  return 0;
}
