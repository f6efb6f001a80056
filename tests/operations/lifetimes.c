/* When contexts and peers begin and end: in callbacks of other contexts, at once, in a forked child, under threads that
 * wait for a peer. */
#include "port.h"
#include "rest.h"
#include "suite.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LENGTH 64u

/* ---- two contexts ------------------------------------------------------------------------------------------------ */

/* A callback of one context that closes what is another one's, while that one's does the same. */
typedef struct closer {
  hmc_peer_t *peer;
  hmc_region_t *region;
  _Atomic uint32_t *inside, *done;
} closer_t;

static void close_the_others(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status;
  closer_t *closer = user;
  atomic_fetch_add(closer->inside, 1);
  for (uint64_t limit = now_ms() + PATIENCE_MS; atomic_load(closer->inside) < 2 && now_ms() < limit;)
    ;
  hmc_region_close(closer->region);
  hmc_peer_close(closer->peer);
  atomic_fetch_add(closer->done, 1);
}

void two_callbacks_close_each_others(void **state) {
  (void)state;
  for (int round = 0; round < (SANITIZED ? 3 : 10); round++) {
    context_pair_t pairs[2] = {{.test = NULL}};
    far_t fars[2];
    test_buffer_t nears[2];
    hmc_request_t *requests[2];
    closer_t closers[2];
    _Atomic uint32_t inside = 0, done = 0;
    for (int i = 0; i < 2; i++) {
      context_pair_open(&pairs[i], NULL);
      fars[i] = far_make(&pairs[i], (far_options_t){.name = "far", .size = LENGTH});
      nears[i] = near_make(&pairs[i], LENGTH, false);
    }
    for (int i = 0; i < 2; i++) {
      hmc_region_t *named = NULL;
      assert_success(hmc_region_allocate(pairs[!i].here, stamp.near, LENGTH, "to be closed", HMC_REMOTE_ALL, &named));
      closers[i] = (closer_t){pairs[!i].back, named, &inside, &done};
    }
    for (int i = 0; i < 2; i++) {
      hmc_operation_options_t options = {.size = sizeof options, .callback = close_the_others, .user = &closers[i]};
      assert_success(hmc_put_nb(nears[i].region, 0, fars[i].remote, 0, LENGTH, &options, &requests[i]));
    }
    for (uint64_t limit = now_ms() + PATIENCE_MS; atomic_load(&done) < 2 && now_ms() < limit;) sleep_ms(1);
    assert_int_equal(atomic_load(&done), 2);
    for (int i = 0; i < 2; i++) {
      hmc_request_free(requests[i]);
      test_buffer_close(&nears[i]);
      test_buffer_close(&fars[i].place);
      context_pair_close(&pairs[i]);
    }
  }
}

/* ---- peers that do not stay -------------------------------------------------------------------------------------- */

static uint64_t cpu_ms(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
         (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

/* Connected and closed by another context at once, again and again; a peer that was returned is gone soon, and what is
 * left costs nothing. */
void peers_that_hang_up_at_once(void **state) {
  enum { PEERS = 60, REST_MS = 600 };
  context_pair_t *pair = *state;
  uint16_t port = 0;
  assert_success(hmc_context_listen(pair->here, "127.0.0.1", 0, &port));
  hmc_context_t *visitor = NULL;
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "visitor"}, &visitor));
  hmc_peer_t *dialled[PEERS], *accepted[PEERS];
  uint32_t count = 0;
  for (int i = 0; i < PEERS; i++) {
    dialled[i] = NULL;
    assert_success(hmc_context_connect(visitor, "127.0.0.1", port, stamp.type, 0, &dialled[i]));
    if (i % 2) assert_success(hmc_context_accept(pair->here, 0, &accepted[count++]));
    hmc_peer_close(dialled[i]);
  }
  for (uint32_t i = 0; i < count; i++) {
    hmc_peer_info_t info = {.size = sizeof info, .state = HMC_PEER_CONNECTED};
    for (uint64_t limit = now_ms() + PATIENCE_MS; info.state != HMC_PEER_GONE && now_ms() < limit; sleep_ms(1))
      assert_success(hmc_peer_get_info(accepted[i], &info));
    assert_int_equal(info.state, HMC_PEER_GONE);
  }
  uint64_t used, end = now_ms() + PATIENCE_MS; /* a busy machine is late with what there is to clean up */
  do {
    used = cpu_ms();
    sleep_ms(REST_MS);
    used = cpu_ms() - used;
  } while (used > REST_MS / 3 && now_ms() < end);
  assert_in_range(used, 0, REST_MS / 3);
  for (uint32_t i = 0; i < count; i++) hmc_peer_close(accepted[i]);
  hmc_context_destroy(visitor);
}

/* The other side closes as soon as it has accepted. */
typedef struct host {
  hmc_context_t *context;
  uint32_t count;
} host_t;

static void *close_at_once(void *argument) {
  host_t *host = argument;
  for (uint32_t i = 0; i < host->count; i++) {
    hmc_peer_t *peer = NULL;
    if (hmc_context_accept(host->context, PATIENCE_MS, &peer) != HMC_SUCCESS) break;
    hmc_peer_close(peer);
  }
  return NULL;
}

void hosts_that_hang_up_at_once(void **state) {
  enum { PEERS = 60 };
  context_pair_t *pair = *state;
  host_t host = {pair->there, PEERS};
  pthread_t thread;
  hmc_peer_t *peers[PEERS] = {NULL};
  assert_int_equal(pthread_create(&thread, NULL, close_at_once, &host), 0);
  for (int i = 0; i < PEERS; i++)
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &peers[i]));
  pthread_join(thread, NULL);
  for (int i = 0; i < PEERS; i++) {
    hmc_peer_info_t info = {.size = sizeof info, .state = HMC_PEER_CONNECTED};
    for (uint64_t limit = now_ms() + PATIENCE_MS; info.state != HMC_PEER_GONE && now_ms() < limit; sleep_ms(1))
      assert_success(hmc_peer_get_info(peers[i], &info));
    assert_int_equal(info.state, HMC_PEER_GONE);
    hmc_peer_close(peers[i]);
  }
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

enum { CHILD_SECONDS = 300 }; /* it does not outlive a test that failed for long */

/* The life of a parent: connects, forks a child that lives on, and is killed. */
void live_as_parent(uint16_t port, int ready) {
  hmc_context_t *context = NULL;
  hmc_peer_t *peer = NULL;
  hmc_region_t *region = NULL;
  uint16_t own = free_port(AF_INET); /* where its successor listens */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "parent"}, &context) !=
          HMC_SUCCESS ||
      hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, LENGTH, "parent's", HMC_REMOTE_ALL, &region) !=
          HMC_SUCCESS ||
      hmc_context_listen(context, "127.0.0.1", own, NULL) != HMC_SUCCESS ||
      hmc_context_connect(context, "127.0.0.1", port, stamp.type, 0, &peer) != HMC_SUCCESS)
    syscall(SYS_exit_group, 1);
  if (fork() == 0) { /* which has let go of the sockets when it gets here, and not before */
    int32_t answer[2] = {(int32_t)getpid(), own};
    if (write(ready, answer, sizeof answer) != sizeof answer) syscall(SYS_exit_group, 2);
    alarm(CHILD_SECONDS);
  }
  for (;;) pause();
}

/* As a program of its own: UCX does not work in a process that was forked from one that uses it. */
static void become_parent(uint16_t port, int ready) {
  char number[16], descriptor[16];
  snprintf(number, sizeof number, "%u", port);
  snprintf(descriptor, sizeof descriptor, "%d", ready);
  execl("/proc/self/exe", "operations", "parent", stamp.transport, number, descriptor, (char *)NULL);
  syscall(SYS_exit_group, 3);
}

/* A child may use HMC by contexts of its own; what does not work there says so at once. */
void a_child_connects_or_is_told_why(void **state) {
  context_pair_t *pair = *state;
  uint16_t port = 0;
  int status;
  assert_success(hmc_context_listen(pair->here, "127.0.0.1", 0, &port));
  fflush(NULL);
  pid_t child = fork_at_rest();
  assert_true(child >= 0);
  if (child == 0) {
    hmc_context_t *context = NULL;
    hmc_peer_t *peer = NULL;
    bool good = hmc_context_create(NULL, &context) == HMC_SUCCESS;
    hmc_status_t connected = hmc_context_connect(context, "127.0.0.1", port, stamp.type, PATIENCE_MS, &peer);
    if (stamp.type == HMC_CONNECTION_UCX) {
      good = good && connected == HMC_UNSUPPORT && strstr(hmc_last_error(), "forked");
    } else {
      good = good && connected == HMC_SUCCESS;
    }
    syscall(SYS_exit_group, good ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

void a_child_keeps_no_peer_alive(void **state) {
  context_pair_t *pair = *state;
  uint16_t port = 0, again = 0;
  int ends[2], status;
  int32_t answer[2];
  hmc_peer_t *peer = NULL;
  hmc_peer_info_t info = {.size = sizeof info, .state = HMC_PEER_CONNECTED};
  test_buffer_t local = near_make(pair, LENGTH, false);
  hmc_remote_t *remote = NULL;
  assert_int_equal(pipe(ends), 0);
  assert_success(hmc_context_listen(pair->here, "127.0.0.1", 0, &port));
  fflush(NULL);
  pid_t parent = fork();
  assert_true(parent >= 0);
  if (parent == 0) become_parent(port, ends[1]);
  assert_success(hmc_context_accept(pair->here, PATIENCE_MS, &peer));
  assert_int_equal(read(ends[0], answer, sizeof answer), sizeof answer);
  assert_success(hmc_remote_open(peer, "parent's", 0, &remote));
  assert_success(hmc_put(local.region, 0, remote, 0, LENGTH));
  kill(parent, SIGKILL);
  assert_int_equal(waitpid(parent, &status, 0), parent);
  uint64_t start = now_ms();
  while (info.state != HMC_PEER_GONE && now_ms() - start < SLACK_MS) {
    assert_success(hmc_peer_get_info(peer, &info));
    sleep_ms(1);
  }
  assert_int_equal(info.state, HMC_PEER_GONE);
  assert_status(hmc_put(local.region, 0, remote, 0, LENGTH), HMC_PEER_LOST);
  /* Its successor gets its port although the child lives. */
  assert_int_equal(kill(answer[0], 0), 0);
  assert_success(hmc_context_listen(pair->there, "127.0.0.1", (uint16_t)answer[1], &again));
  kill(answer[0], SIGKILL);
  hmc_peer_close(peer);
  test_buffer_close(&local);
  close(ends[0]);
  close(ends[1]);
}

/* ---- the environment --------------------------------------------------------------------------------------------- */

/* What is wrong there, or changes, after a context was made is not that context's business. */
void the_environment_is_read_once(void **state) {
  context_pair_t *pair = *state;
  const char *before = getenv("HMC_TIMEOUT");
  char *kept = before ? strdup(before) : NULL;
  hmc_peer_t *peer = NULL;
  hmc_context_t *context = NULL;
  setenv("HMC_TIMEOUT", "soon", 1);
  setenv("HMC_TRANSPORTS", "pigeons", 1);
  hmc_status_t connected = hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &peer);
  hmc_status_t made = hmc_context_create(NULL, &context);
  unsetenv("HMC_TRANSPORTS");
  kept ? setenv("HMC_TIMEOUT", kept, 1) : unsetenv("HMC_TIMEOUT");
  free(kept);
  assert_status(connected, HMC_SUCCESS);
  assert_status(made, HMC_INVALID_CONFIG);
}

/* ---- destroying -------------------------------------------------------------------------------------------------- */

typedef struct accepting {
  hmc_context_t *context;
  hmc_status_t status;
  _Atomic bool begun;
} accepting_t;

static void *accept_one(void *argument) {
  accepting_t *accepting = argument;
  hmc_peer_t *peer = NULL;
  atomic_store(&accepting->begun, true);
  accepting->status = hmc_context_accept(accepting->context, 300000, &peer);
  return NULL;
}

void destroying_a_context_ends_accept(void **state) {
  (void)state;
  enum { THREADS = 3 };
  pthread_t threads[THREADS];
  accepting_t accepting[THREADS] = {{.context = NULL}};
  hmc_context_t *context = NULL;
  assert_success(hmc_context_create(NULL, &context));
  for (int i = 0; i < THREADS; i++) {
    accepting[i].context = context;
    assert_int_equal(pthread_create(&threads[i], NULL, accept_one, &accepting[i]), 0);
  }
  for (int i = 0; i < THREADS; i++)
    while (!atomic_load(&accepting[i].begun)) sleep_ms(1);
  sleep_ms(50); /* they wait now, or come a little late, which must do no harm either */
  uint64_t start = now_ms();
  hmc_context_destroy(context);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_took(start, 0, 1000);
  for (int i = 0; i < THREADS; i++) assert_int_equal(accepting[i].status, HMC_CANCELLED);
}
