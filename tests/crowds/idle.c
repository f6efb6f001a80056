/* Ten thousand peers of one context that have nothing to say: what each of them costs here. `make test-idle` runs it
 * where there are descriptors enough for all; on a slow machine it takes minutes, and says how far it is. */
#include "rest.h"
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  PEERS = 10000,
  DIALLERS = 4, /* processes */
  THREADS = 8,  /* of each that connect */
  TIMEOUT_MS = 600000,
  SPARE = 600,              /* descriptors that are not the peers' */
  DESCRIPTORS_OF_PEER = 2,  /* at most */
  BYTES_OF_PEER = 24 << 10, /* at most, of this process */
  STEP = 1000,              /* peers between two lines of progress */
};

/* What a dialling process says to the one that listens. */
enum { SOME_ARE_UP = 's', ALL_ARE_UP = 'a' };

/* Where the context listens: an address for each dialling process. With one for all, most of the ports that the kernel has
 * for connections to it would be taken, and it would look for a free one for milliseconds. */
typedef struct address {
  char ip[16];
  uint16_t port;
} address_t;

typedef struct dialler {
  hmc_context_t *context;
  address_t to;
  uint32_t count;
  int up; /* where it says how far it is */
  _Atomic uint32_t next, connected, failed;
  hmc_remote_t **remotes;
} dialler_t;

static bool say(const dialler_t *dialler, char what) { return write(dialler->up, &what, 1) == 1; }

static void *connect_some(void *argument) {
  dialler_t *dialler = argument;
  uint32_t i;
  while ((i = atomic_fetch_add(&dialler->next, 1)) < dialler->count) {
    hmc_peer_t *peer;
    hmc_status_t status =
        hmc_context_connect(dialler->context, dialler->to.ip, dialler->to.port, crowd_type, TIMEOUT_MS, &peer);
    if (status == HMC_SUCCESS) status = hmc_remote_open(peer, "words", TIMEOUT_MS, &dialler->remotes[i]);
    if (status != HMC_SUCCESS && atomic_fetch_add(&dialler->failed, 1) == 0)
      fprintf(stderr, "a connect failed: %s\n", hmc_last_error());
    if (status != HMC_SUCCESS) continue;
    if ((atomic_fetch_add(&dialler->connected, 1) + 1) % (STEP / DIALLERS) == 0) say(dialler, SOME_ARE_UP);
  }
  return NULL;
}

/* A dialling process: connects, says so, rests until it is asked to go on, and then every peer adds 1. */
static int dial(address_t to, uint32_t count, int up, int go) {
  dialler_t dialler = {.to = to, .count = count, .up = up, .remotes = calloc(count, sizeof(*dialler.remotes))};
  pthread_t threads[THREADS];
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  char byte;
  options.timeout_ms = TIMEOUT_MS;
  if (!dialler.remotes || hmc_context_create(&options, &dialler.context) != HMC_SUCCESS) return 2;
  for (int i = 0; i < THREADS; i++) {
    if (pthread_create(&threads[i], NULL, connect_some, &dialler) != 0) return 3;
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  if (!say(&dialler, ALL_ARE_UP) || read(go, &byte, 1) != 1 || dialler.failed) return 4;
  for (uint32_t i = 0; i < count; i++) {
    if (hmc_atomic(dialler.remotes[i], 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL) == HMC_SUCCESS) continue;
    fprintf(stderr, "peer %u of %u: %s\n", i, count, hmc_last_error());
    return 5;
  }
  hmc_context_destroy(dialler.context);
  free(dialler.remotes);
  return 0;
}

/* Bytes of this process that are in memory. */
static uint64_t resident(void) {
  unsigned long long size = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%llu %llu", &size, &pages), 2);
  fclose(file);
  return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* KiB of the kernel's own objects in the whole system. */
static uint64_t kernel_kib(void) {
  char line[128];
  unsigned long long kib = 0;
  FILE *file = fopen("/proc/meminfo", "r");
  assert_non_null(file);
  while (fgets(line, sizeof line, file) && sscanf(line, "Slab: %llu kB", &kib) != 1) continue;
  fclose(file);
  return kib;
}

/* Until all are up. A line for each STEP of them: where code is emulated that takes minutes. */
static void await_all(int up, uint64_t since) {
  uint32_t steps = 0;
  for (int whole = 0; whole < DIALLERS;) {
    char what;
    assert_int_equal(read(up, &what, 1), 1);
    if (what == ALL_ARE_UP) whole++;
    if (what != SOME_ARE_UP || ++steps % DIALLERS) continue;
    printf("%u peers are connected, after %u s\n", steps / DIALLERS * STEP, (unsigned)(now_ms() - since) / 1000);
    fflush(stdout);
  }
}

/* As many as this process has descriptors for, ten thousand at most. */
static uint32_t peers_possible(void) {
  struct rlimit files, more;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
  more = (struct rlimit){PEERS * DESCRIPTORS_OF_PEER + SPARE, PEERS * DESCRIPTORS_OF_PEER + SPARE};
  if (files.rlim_max >= more.rlim_max) more.rlim_max = files.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &more) != 0) descriptors_raise(); /* an administrator may have more than the limit */
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
  uint64_t room = (files.rlim_cur - SPARE) / DESCRIPTORS_OF_PEER;
  uint64_t peers = SANITIZED ? 400 : room < PEERS ? room : PEERS;
  return (uint32_t)(peers / DIALLERS * DIALLERS);
}

void idle_peers_are_small(void **state) {
  (void)state;
  watch("idle peers", 2900);
  setenv("HMC_PEER_TIMEOUT", "3600s", 1); /* all but the first address pass for other hosts', which would be probed */
  uint32_t peers = peers_possible();
  int names[2], up[2], go[2];
  pid_t diallers[DIALLERS];
  address_t addresses[DIALLERS];
  assert_true(pipe(names) == 0 && pipe(up) == 0 && pipe(go) == 0);
  fflush(NULL);
  for (int i = 0; i < DIALLERS; i++) { /* before this process has threads */
    diallers[i] = fork_at_rest();
    assert_true(diallers[i] >= 0);
    if (diallers[i]) continue;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(go[1]);
    if (read(names[0], addresses, sizeof addresses) != sizeof addresses) _exit(6);
    _exit(dial(addresses[i], peers / DIALLERS, up[1], go[0]));
  }
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  hmc_context_t *context;
  hmc_region_t *words;
  options.timeout_ms = TIMEOUT_MS;
  assert_success(hmc_context_create(&options, &context));
  assert_success(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, 64, "words", HMC_REMOTE_ALL, &words));
  for (int i = 0; i < DIALLERS; i++) {
    snprintf(addresses[i].ip, sizeof addresses[i].ip, "127.0.0.%d", (uint8_t)(i + 1));
    assert_success(hmc_context_listen(context, addresses[i].ip, 0, &addresses[i].port));
  }
  uint64_t bytes = resident(), files = open_files(), kernel = kernel_kib(), since = now_ms();
  for (int i = 0; i < DIALLERS; i++) assert_int_equal(write(names[1], addresses, sizeof addresses), sizeof addresses);
  close(up[1]); /* a dialler that ends early is seen */
  await_all(up[0], since);
  uint64_t more = resident(), opened = open_files(), kernel_more = kernel_kib();
  double each = more > bytes ? (double)(more - bytes) / peers / 1024 : 0;
  printf("%u idle peers: %.1f KiB and %.2f descriptors each\n", peers, each, (double)(opened - files) / peers);
  printf("with both ends in this system, its kernel has %.1f KiB more for each\n",
         kernel_more > kernel ? (double)(kernel_more - kernel) / peers : 0);
  fflush(stdout);
  for (int i = 0; i < DIALLERS; i++) assert_int_equal(write(go[1], "", 1), 1);
  bool good = true;
  for (int i = 0; i < DIALLERS; i++) {
    int status;
    assert_int_equal(waitpid(diallers[i], &status, 0), diallers[i]);
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  assert_true(good);
  assert_int_equal(__atomic_load_n((uint64_t *)hmc_region_pointer(words), __ATOMIC_ACQUIRE), peers);
  assert_true(opened - files <= (uint64_t)peers * DESCRIPTORS_OF_PEER);
  if (!SANITIZED) assert_true(more - bytes <= (uint64_t)peers * BYTES_OF_PEER);
  hmc_context_destroy(context);
  unsetenv("HMC_PEER_TIMEOUT");
  close(names[0]);
  close(names[1]);
  close(up[0]);
  close(go[0]);
  close(go[1]);
}
