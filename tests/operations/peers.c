/* What peers cost: processor time and memory of idle ones, and a thousand of them on one context.
 *
 * The program is `peers TRANSPORT`. The hub is this process; the peers are connections that a few targets dial. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
#define PEERS 120u
#elif SANITIZED
#define PEERS 300u
#else
#define PEERS 1000u
#endif
#define TARGETS 4u
#define MOST_FILES 6u /* of a peer */
#define PER_TARGET (PEERS / TARGETS)
_Static_assert(PER_TARGET <= SLOTS, "each connection has a slot");

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
static hmc_connection_type_t type;

/* A context that listens and has a region "hub" for everybody. */
typedef struct hub {
  hmc_context_t *context;
  uint16_t port;
  test_buffer_t place;
} hub_t;

static hub_t hub;

#define ROOM (4 * KIB)

static void target_open(target_t *target) {
  target_start(target, NULL);
  target_do(target, (command_t){.verb = VERB_CREATE, .timeout_ms = PATIENCE_MS});
  target_do(target, (command_t){.verb = VERB_PLACE, .memory = cpu, .length = 2 * ROOM});
}

static hmc_peer_t *target_dial(target_t *target, uint32_t slot) {
  command_t dial = {.verb = VERB_CONNECT, .slot = slot, .text = "127.0.0.1", .value = hub.port, .type = type};
  target_do(target, dial);
  hmc_peer_t *peer = NULL;
  assert_success(hmc_context_accept(hub.context, 0, &peer));
  return peer;
}

/* The peer in that slot opens the hub's region, puts and gets there, and looks at what came back. */
static void target_exchange(target_t *target, uint32_t slot, uint64_t offset) {
  target_do(target, (command_t){.verb = VERB_REMOTE_OPEN, .slot = slot, .peer = slot, .text = "hub"});
  target_do(target,
            (command_t){.verb = VERB_EXCHANGE, .remote = slot, .remote_offset = offset, .length = ROOM, .value = 2});
}

/* ---- processor time */

static uint64_t processor_us(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static void idle_peer_uses_no_processor(void **state) {
  (void)state;
  const uint64_t quiet_ms = SANITIZED ? 2000 : 10000, most_us = SANITIZED ? 50000 : 5000;
  target_t target;
  answer_t answer;
  uint64_t own, limit = now_ms() + PATIENCE_MS; /* a busy machine is late with what there is to do after traffic */
  target_open(&target);
  target_dial(&target, 0);
  target_exchange(&target, 0, 0);
  sleep_ms(200); /* polling after traffic ends */
  do {
    target_send(&target, &(command_t){.verb = VERB_CPU_TIME, .value = quiet_ms});
    sleep_ms(10); /* it sleeps */
    uint64_t before = processor_us();
    sleep_ms(quiet_ms - 20);
    own = processor_us() - before;
    answer = target_receive(&target);
    assert_int_equal(answer.status, HMC_SUCCESS);
    print_message("idle for %d ms: %d us of processor time at one end, %d us at the other\n", (int)quiet_ms, (int)own,
                  (int)answer.value);
  } while ((own >= most_us || answer.value >= most_us) && now_ms() < limit);
  assert_true(own < most_us);
  assert_true(answer.value < most_us);
  target_exchange(&target, 0, 0); /* and is awake at once */
  target_stop(&target);
}

/* ---- memory */

static uint64_t resident_bytes(pid_t process) {
  char path[64];
  unsigned long long whole = 0, resident = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", (int)process);
  FILE *file = fopen(path, "re");
  assert_non_null(file);
  int fields = fscanf(file, "%llu %llu", &whole, &resident);
  fclose(file);
  assert_int_equal(fields, 2);
  return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void idle_peers_are_small(void **state) {
  (void)state;
  enum { FIRST = 20, COUNT = SANITIZED ? 60 : 200 };
  const uint64_t most = SANITIZED ? 4096 * KIB : 24 * KIB; /* sanitizers keep what is freed for a while */
  uint64_t own = 0, far = 0;
  target_t target;
  target_open(&target);
  for (uint32_t i = 0; i < FIRST + COUNT; i++) {
    if (i == FIRST) { /* what is made once, is made */
      own = resident_bytes(getpid());
      far = resident_bytes(target.process);
    }
    target_dial(&target, i);
    target_exchange(&target, i, 0);
  }
  sleep_ms(100);
  uint64_t own_each = (resident_bytes(getpid()) - own) / COUNT;
  uint64_t far_each = (resident_bytes(target.process) - far) / COUNT;
  print_message("a peer more: %d B at the end that accepts, %d B at the one that dials\n", (int)own_each,
                (int)far_each);
  assert_true(own_each <= most);
  assert_true(far_each <= most);
  target_stop(&target);
}

/* ---- connections */

typedef struct mover {
  pthread_t thread;
  hmc_peer_t *peer;
  uint64_t number;
  hmc_status_t status;
} mover_t;

#define MOVERS 6u
#define MOVED (4 * MIB)

/* Whole transfers between two devices' memories, which are staged at both ends where there is no direct way. */
static void *move(void *argument) {
  mover_t *mover = argument;
  hmc_remote_t *remote = NULL;
  test_buffer_t local;
  mover->status = test_buffer_open(&local, hub.context, (hmc_memory_t){HMC_MEMORY_SIM, 0}, MOVED, NULL, 0, false);
  if (mover->status != HMC_SUCCESS) return NULL;
  mover->status = hmc_remote_open(mover->peer, "device", 0, &remote);
  for (int round = 0; round < 4 && mover->status == HMC_SUCCESS; round++) {
    mover->status = hmc_put(local.region, 0, remote, mover->number * MOVED, MOVED);
    if (mover->status == HMC_SUCCESS) mover->status = hmc_get(local.region, 0, remote, mover->number * MOVED, MOVED);
  }
  hmc_remote_close(remote);
  test_buffer_close(&local);
  return NULL;
}

/* Sockets and all else that a peer takes of the process's descriptors: a few, and no more whatever it moves. */
static void connections_do_not_grow(void **state) {
  (void)state;
  mover_t movers[MOVERS];
  uint64_t before = open_files(), first = 0;
  target_t target;
  target_open(&target);
  target_do(&target, (command_t){.verb = VERB_PLACE,
                                 .slot = 1,
                                 .memory = {HMC_MEMORY_SIM, 0},
                                 .length = MOVERS * MOVED,
                                 .rights = HMC_REMOTE_ALL,
                                 .text = "device"});
  hmc_peer_t *peer = target_dial(&target, 0);
  target_exchange(&target, 0, 0);
  for (uint32_t i = 0; i < MOVERS; i++) {
    movers[i] = (mover_t){.peer = peer, .number = i};
    assert_int_equal(pthread_create(&movers[i].thread, NULL, move, &movers[i]), 0);
    if (i == 0) { /* what is made when it is first needed, is made */
      pthread_join(movers[0].thread, NULL);
      first = open_files();
      assert_int_equal(pthread_create(&movers[0].thread, NULL, move, &movers[0]), 0);
    }
  }
  for (uint32_t i = 0; i < MOVERS; i++) pthread_join(movers[i].thread, NULL);
  for (uint32_t i = 0; i < MOVERS; i++) assert_status(movers[i].status, HMC_SUCCESS);
  print_message("a peer: %d descriptors\n", (int)(first - before));
  assert_int_equal(open_files(), first);
  assert_true(first - before <= MOST_FILES);
  hmc_peer_close(peer);
  target_stop(&target);
  assert_int_equal(open_files(), before);
}

/* ---- a thousand */

static void check_hub_exchange(hmc_peer_t *peer, test_buffer_t *local, uint64_t seed) {
  hmc_remote_t *remote = NULL;
  assert_success(hmc_remote_open(peer, "leaf", 0, &remote));
  assert_success(exchange(local, 0, remote, 0, ROOM, 1, seed));
  hmc_remote_close(remote);
}

static void thousand_peers(void **state) {
  (void)state;
  static hmc_peer_t *peers[PEERS];
  target_t targets[TARGETS];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  uint64_t files = open_files(), start = now_ms();
  test_buffer_t local;
  assert_success(test_buffer_open(&local, hub.context, cpu, 2 * ROOM, NULL, 0, false));
  for (size_t i = 0; i < TARGETS; i++) {
    target_open(&targets[i]);
    target_do(
        &targets[i],
        (command_t){
            .verb = VERB_PLACE, .slot = 1, .memory = cpu, .length = ROOM, .rights = HMC_REMOTE_ALL, .text = "leaf"});
  }
  for (uint32_t i = 0; i < PEERS; i++) peers[i] = target_dial(&targets[i % TARGETS], i / TARGETS);
  for (uint32_t i = 0; i < PEERS; i++) target_exchange(&targets[i % TARGETS], i / TARGETS, i * ROOM);
  for (uint32_t i = 0; i < PEERS; i++) check_hub_exchange(peers[i], &local, i);
  for (uint32_t i = 0; i < PEERS; i++) {
    assert_success(hmc_peer_get_info(peers[i], &info));
    assert_int_equal(info.state, HMC_PEER_CONNECTED);
    assert_int_equal(info.process, targets[i % TARGETS].process);
  }
  print_message("%u peers in %d ms\n", PEERS, (int)(now_ms() - start));
  /* some hang up; the others do not notice */
  for (size_t i = 1; i < TARGETS; i++) target_stop(&targets[i]);
  uint64_t limit = now_ms() + PATIENCE_MS;
  for (uint32_t i = 0; i < PEERS; i++) {
    if (i % TARGETS == 0) {
      check_hub_exchange(peers[i], &local, i);
      continue;
    }
    do {
      assert_success(hmc_peer_get_info(peers[i], &info));
      sleep_ms(info.state == HMC_PEER_CONNECTED);
    } while (info.state == HMC_PEER_CONNECTED && now_ms() < limit);
    assert_int_equal(info.state, HMC_PEER_GONE);
  }
  for (uint32_t i = 0; i < PEERS; i++) hmc_peer_close(peers[i]);
  target_stop(&targets[0]);
  test_buffer_close(&local);
  assert_int_equal(open_files(), files);
}

/* ---- the program */

static int open_hub(void **state) {
  (void)state;
  crash_handlers_set();
  watch("peers", 600);
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "hub", 30000}, &hub.context));
  assert_success(hmc_context_listen(hub.context, "127.0.0.1", 0, &hub.port));
  assert_success(test_buffer_open(&hub.place, hub.context, cpu, PEERS * ROOM, "hub", HMC_REMOTE_ALL, false));
  target_t target; /* what a context makes with its first peer, is made */
  target_open(&target);
  hmc_peer_close(target_dial(&target, 0));
  target_stop(&target);
  return 0;
}

static int close_hub(void **state) {
  (void)state;
  hmc_context_destroy(hub.context);
  hub.context = NULL;
  target_kill_all();
  watch_end();
  return 0;
}

/* Four descriptors for each peer, and some. */
static void raise_limit(void) {
  struct rlimit files;
  rlim_t wanted = 4 * PEERS + 500;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= wanted) return;
  files.rlim_cur = files.rlim_max < wanted ? files.rlim_max : wanted;
  setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  if (argc != 2 || !transport_parse(argv[1], &type)) {
    fprintf(stderr, "usage: %s TRANSPORT\n", argv[0]);
    return 2;
  }
  raise_limit();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(idle_peer_uses_no_processor, open_hub, close_hub),
      cmocka_unit_test_setup_teardown(idle_peers_are_small, open_hub, close_hub),
      cmocka_unit_test_setup_teardown(connections_do_not_grow, open_hub, close_hub),
      cmocka_unit_test_setup_teardown(thousand_peers, open_hub, close_hub),
  };
  char title[64];
  snprintf(title, sizeof title, "operations.%s.peers", argv[1]);
  return _cmocka_run_group_tests(title, tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
