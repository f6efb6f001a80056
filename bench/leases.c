/* hmc-bench-leases: how long an owner waits to take a lease back from a peer that is in the middle of a put.
 *
 *   hmc-bench-leases <shm | tcp | raw> <seconds>
 *
 * Two processes. The other one keeps two puts of 1 MiB in progress under whatever lease it is given. This one grants a
 * lease, sees its bytes come, lets a random part of a transfer's time pass, and takes the lease back. Nothing is
 * pinned. `raw` is the same without the library: the other process writes to a socket, a thread here reads from it under a
 * lock, 128 KiB at a time, and who wants that lock waits for the read that is in progress. What that takes is the
 * scheduler's. It prints one line:
 *
 *   ok <median ns> <p99 ns> <longest ns> <leases> */
#include "alone.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BULK (1u << 20)
#define PATIENCE 20000000000u /* nanoseconds until bytes must have come */
#define PIECE (128u << 10)    /* bytes of a read */
enum { FLIGHTS = 2, SAMPLES_MAX = 1 << 20, PAUSE_MOST = 300000 };

/* Shared by the two. */
typedef struct shared {
  _Atomic uint32_t port;
  _Atomic uint64_t lease; /* 0: none just now */
} shared_t;

static shared_t *shared;
static hmc_connection_type_t type;

/* ---- the other process ------------------------------------------------------------------------------------------- */

/* Starts the put of a place again; a lease that is over is its own answer. */
static void put_again(hmc_region_t *local, hmc_remote_t *pages, hmc_request_t **request) {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  hmc_request_free(*request);
  *request = NULL;
  options.lease = atomic_load(&shared->lease);
  if (options.lease) HMC_IGNORE(hmc_put_nb(local, 0, pages, 0, BULK, &options, request));
}

static void hold(void) {
  hmc_context_t *context = NULL;
  hmc_region_t *local = NULL;
  hmc_peer_t *peer = NULL;
  hmc_remote_t *pages = NULL;
  hmc_request_t *requests[FLIGHTS] = {NULL};
  must(hmc_context_create(NULL, &context));
  must(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, BULK, NULL, 0, &local));
  memset(hmc_region_pointer(local), 1, BULK);
  while (!atomic_load(&shared->port)) usleep(1000);
  must(hmc_context_connect(context, "127.0.0.1", (uint16_t)atomic_load(&shared->port), type, 0, &peer));
  must(hmc_remote_open(peer, "pages", 0, &pages));
  for (;;) {
    for (int i = 0; i < FLIGHTS; i++) {
      if (!requests[i] || hmc_request_test(requests[i]) != HMC_IN_PROGRESS) put_again(local, pages, &requests[i]);
    }
    if (requests[0]) HMC_IGNORE(hmc_request_wait(requests[0]));
    if (!requests[0]) sched_yield();
  }
}

/* ---- the owner --------------------------------------------------------------------------------------------------- */

static hmc_region_t *make_pages(hmc_context_t *context) {
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  hmc_region_t *region = NULL;
  options.memory = (hmc_memory_t){HMC_MEMORY_CPU, 0};
  options.name = "pages";
  options.bytes = BULK;
  options.rights = HMC_REMOTE_ALL;
  options.flags = HMC_REGION_LEASED;
  must(hmc_region_create(context, &options, &region));
  return region;
}

/* The first byte has come. */
static void await_bytes(_Atomic uint8_t *byte) {
  uint64_t begun = now_ns();
  while (!atomic_load(byte)) {
    if (now_ns() - begun < PATIENCE) continue;
    printf("error nothing came under a lease\n");
    exit(1);
  }
}

/* Grants a lease and takes it back in the middle of a put; the nanoseconds of that. */
static uint64_t revoke_once(hmc_region_t *pages, hmc_peer_t *peer, uint64_t pause) {
  _Atomic uint8_t *byte = hmc_region_pointer(pages);
  hmc_lease_t *lease = NULL;
  atomic_store(byte, 0);
  must(hmc_lease_grant(pages, peer, NULL, &lease));
  atomic_store(&shared->lease, hmc_lease_number(lease));
  await_bytes(byte);
  for (uint64_t until = now_ns() + pause; now_ns() < until;) continue;
  uint64_t begun = now_ns();
  hmc_lease_revoke(lease);
  uint64_t took = now_ns() - begun;
  atomic_store(&shared->lease, 0);
  return took;
}

/* ---- the same without the library -------------------------------------------------------------------------------- */

static struct raw {
  int socket;
  pthread_mutex_t lock;
  _Atomic uint32_t callers; /* who go before the thread that reads; a futex */
  uint8_t bytes[BULK];
} raw = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void raw_hold(int socket) {
  static const uint8_t bytes[BULK] = {1};
  for (;;) {
    while (!atomic_load(&shared->lease)) sched_yield();
    if (write(socket, bytes, BULK) <= 0) exit(0);
  }
}

static void *raw_read(void *unused) {
  for (uint64_t place = 0;; place = (place + PIECE) % BULK) {
    uint32_t callers;
    while ((callers = atomic_load(&raw.callers)) > 0)
      syscall(SYS_futex, &raw.callers, FUTEX_WAIT_PRIVATE, callers, NULL, NULL, 0);
    pthread_mutex_lock(&raw.lock);
    ssize_t got = recv(raw.socket, raw.bytes + place, PIECE, MSG_DONTWAIT);
    if (got > 0) *(volatile uint8_t *)raw.bytes = 1;
    pthread_mutex_unlock(&raw.lock);
    if (got <= 0) sched_yield();
  }
  return unused;
}

static uint64_t raw_revoke_once(uint64_t pause) {
  atomic_store((_Atomic uint8_t *)raw.bytes, 0);
  atomic_store(&shared->lease, 1);
  await_bytes((_Atomic uint8_t *)raw.bytes);
  for (uint64_t until = now_ns() + pause; now_ns() < until;) continue;
  uint64_t begun = now_ns();
  atomic_fetch_add(&raw.callers, 1);
  pthread_mutex_lock(&raw.lock);
  pthread_mutex_unlock(&raw.lock);
  atomic_fetch_sub(&raw.callers, 1);
  syscall(SYS_futex, &raw.callers, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
  uint64_t took = now_ns() - begun;
  atomic_store(&shared->lease, 0);
  return took;
}

static void raw_start(void) {
  int ends[2];
  pthread_t thread;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) exit(1);
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raw_hold(ends[1]);
  }
  raw.socket = ends[0];
  if (pthread_create(&thread, NULL, raw_read, NULL)) exit(1);
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

static int compare(const void *one, const void *two) {
  const uint64_t *a = one, *b = two;
  return *a < *b ? -1 : *a > *b;
}

static hmc_region_t *pages;
static hmc_peer_t *peer;

static void start(void) {
  hmc_context_t *context = NULL;
  uint16_t port = 0;
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    hold();
  }
  must(hmc_context_create(NULL, &context));
  pages = make_pages(context);
  must(hmc_context_listen(context, "127.0.0.1", 0, &port));
  atomic_store(&shared->port, port);
  must(hmc_context_accept(context, 20000, &peer));
}

int main(int argc, char **argv) {
  double seconds = argc == 3 ? atof(argv[2]) : 0;
  bool shm = argc == 3 && strcmp(argv[1], "shm") == 0, is_raw = argc == 3 && strcmp(argv[1], "raw") == 0;
  if (seconds <= 0 || (!shm && !is_raw && strcmp(argv[1], "tcp") != 0)) {
    fprintf(stderr, "usage: %s shm|tcp|raw SECONDS\n", argv[0]);
    return 2;
  }
  type = shm ? HMC_CONNECTION_SHM : HMC_CONNECTION_TCP;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  uint64_t *samples = malloc(SAMPLES_MAX * sizeof *samples), count = 0;
  if (shared == MAP_FAILED || !samples) return 1;
  is_raw ? raw_start() : start();
  unsigned random = 7;
  for (uint64_t end = now_ns() + (uint64_t)(seconds * 1e9); now_ns() < end && count < SAMPLES_MAX;) {
    uint64_t pause = (uint64_t)rand_r(&random) % PAUSE_MOST;
    samples[count++] = is_raw ? raw_revoke_once(pause) : revoke_once(pages, peer, pause);
  }
  qsort(samples, count, sizeof *samples, compare);
  printf("ok %llu %llu %llu %llu\n", (unsigned long long)samples[count / 2],
         (unsigned long long)samples[count * 99 / 100], (unsigned long long)samples[count - 1],
         (unsigned long long)count);
  return 0;
}
