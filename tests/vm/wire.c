/* What RDMA does when the network misbehaves: this process on rxe0, its target on rxe1, and between them the cable of
 * tests/vm/network, which is pulled out and made to lose packets; or both on both devices, a rail each, of which one is
 * pulled. Runs in the virtual machine only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES = 32, PIECE = 512 << 10, SIZE = PIECES * PIECE, PEERS = 64, PEER_ROOM = 8 << 10, DEADLINE_MS = 200000 };

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

typedef struct wire {
  target_t target;
  uint16_t port;
  hmc_context_t *context;
  test_buffer_t local;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
} wire_t;

/* ---- helpers ----------------------------------------------------------------------------------------------------- */

static void run(const char *command) {
  if (system(command) != 0) fail_msg("failed: %s", command);
}

static void cable(bool in) { run(in ? "bash /run/exchange/link up 0" : "bash /run/exchange/link down 0"); }

static uint64_t number_in(const char *path) {
  unsigned long long number = 0;
  FILE *file = fopen(path, "re");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%llu", &number), 1);
  fclose(file);
  return number;
}

static void join(wire_t *wire) {
  assert_success(hmc_context_connect(wire->context, "127.0.0.1", wire->port, HMC_CONNECTION_RDMA, 0, &wire->peer));
  assert_success(hmc_remote_open(wire->peer, "far", 0, &wire->remote));
}

/* Deadlines are long: on a busy host the machine is ten times as slow. `patience` is how long a peer may be silent. */
static int open_with(void **state, const char *const *setting, const char *here, const char *patience) {
  static wire_t wire;
  wire = (wire_t){.port = 0};
  *state = &wire;
  crash_handlers_set();
  watch("the cable", 900);
  target_start(&wire.target, setting);
  target_do(&wire.target, (command_t){.verb = VERB_CREATE, .timeout_ms = DEADLINE_MS});
  wire.port = (uint16_t)target_do(&wire.target, (command_t){.verb = VERB_LISTEN, .text = "127.0.0.1"});
  command_t region = {
      .verb = VERB_PLACE, .memory = cpu, .length = SIZE, .rights = HMC_REMOTE_ALL, .registered = true, .text = "far"};
  target_do(&wire.target, region);
  target_do(&wire.target, (command_t){.verb = VERB_FRAME_WRITE, .length = SIZE, .value = 0});
  setenv(setting[0], here, 1);
  setenv("HMC_PEER_TIMEOUT", patience, 1);
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "near", DEADLINE_MS}, &wire.context));
  assert_success(test_buffer_open(&wire.local, wire.context, cpu, SIZE, NULL, 0, true));
  join(&wire);
  unsetenv(setting[0]);
  return 0;
}

static int open_wire(void **state) {
  return open_with(state, (const char *const[]){"HMC_RDMA_DEVICE", "rxe1", NULL}, "rxe0", "60s");
}

static int open_impatient(void **state) {
  return open_with(state, (const char *const[]){"HMC_RDMA_DEVICE", "rxe1", NULL}, "rxe0", "3s");
}

static int open_rails(void **state) {
  return open_with(state, (const char *const[]){"HMC_RDMA_RAILS", "2", NULL}, "2", "60s");
}

static int close_wire(void **state) {
  wire_t *wire = *state;
  test_buffer_close(&wire->local);
  hmc_context_destroy(wire->context);
  bool ended = target_finish(&wire->target);
  target_kill_all();
  watch_end();
  return ended ? 0 : -1;
}

static void start_puts(wire_t *wire, hmc_request_t *requests[PIECES], uint64_t seed) {
  frame_write(&wire->local, 0, SIZE, seed);
  for (uint64_t i = 0; i < PIECES; i++) {
    uint64_t offset = i * PIECE;
    assert_success(hmc_put_nb(wire->local.region, offset, wire->remote, offset, PIECE, NULL, &requests[i]));
  }
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

/* The first GID of a port is link-local, as on most adapters; what is chosen is the address that the cable routes. */
static void goes_by_the_address_that_is_routed(void **state) {
  wire_t *wire = *state;
  char text[2048], first[64] = "";
  FILE *file = fopen("/sys/class/infiniband/rxe0/ports/1/gids/0", "re");
  assert_non_null(file);
  assert_non_null(fgets(first, sizeof first, file));
  fclose(file);
  assert_memory_equal(first, "fe80:", 5);
  assert_success(hmc_peer_explain(wire->peer, text, sizeof text, NULL));
  if (!strstr(text, "10.77.0.1 (rxe0") || !strstr(text, "to 10.77.1.1") || strstr(text, "fe80")) fail_msg("%s", text);
  static const char sent[] = "/sys/class/net/v0/statistics/tx_bytes";
  uint64_t before = number_in(sent);
  frame_write(&wire->local, 0, SIZE, 1);
  assert_success(hmc_put(wire->local.region, 0, wire->remote, 0, SIZE));
  assert_true(number_in(sent) - before >= SIZE);
  target_check_frame(&wire->target, 0, 0, SIZE, 1);
}

static void cable_out_and_in(void **state) {
  wire_t *wire = *state;
  hmc_request_t *requests[PIECES];
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  start_puts(wire, requests, 2);
  cable(false);
  sleep_ms(1200); /* longer than the adapter retries */
  cable(true);
  for (int i = 0; i < PIECES; i++) {
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
  }
  target_check_frame(&wire->target, 0, 0, SIZE, 2);
  assert_success(hmc_peer_get_info(wire->peer, &info));
  assert_int_equal(info.state, HMC_PEER_CONNECTED);
  assert_success(exchange(&wire->local, 0, wire->remote, 0, 64 * KIB, 5, 1));
}

static void cable_out_for_good(void **state) {
  wire_t *wire = *state;
  hmc_request_t *requests[PIECES];
  hmc_peer_t *none = NULL;
  cable(false);
  start_puts(wire, requests, 3);
  for (int i = 0; i < PIECES; i++) {
    assert_status(hmc_request_wait(requests[i]), HMC_PEER_LOST);
    hmc_request_free(requests[i]);
  }
  assert_status(hmc_put(wire->local.region, 0, wire->remote, 0, 8), HMC_PEER_LOST);
  assert_error_names("HMC_PEER_TIMEOUT");
  assert_status(hmc_context_connect(wire->context, "127.0.0.1", wire->port, HMC_CONNECTION_RDMA, 0, &none),
                HMC_UNSUPPORT);
  assert_error_names("port");
  cable(true);
  hmc_remote_close(wire->remote);
  hmc_peer_close(wire->peer);
  join(wire);
  assert_success(exchange(&wire->local, 0, wire->remote, 0, 64 * KIB, 5, 1));
}

static void one_packet_of_a_hundred_is_lost(void **state) {
  wire_t *wire = *state;
  run("tc qdisc add dev v0 root netem loss 1% && tc qdisc add dev v1 root netem loss 1%");
  hmc_status_t status = exchange(&wire->local, 0, wire->remote, 0, 256 * KIB, 30, 1);
  frame_write(&wire->local, 0, SIZE, 4);
  if (status == HMC_SUCCESS) status = hmc_put(wire->local.region, 0, wire->remote, 0, SIZE);
  for (int i = 0; i < 50 && status == HMC_SUCCESS; i++)
    status = hmc_atomic(wire->remote, 0, HMC_ATOMIC_XOR, 8, 5, 0, NULL);
  int lost = system("tc -s qdisc show dev v0 | grep -q 'dropped [1-9]'");
  run("tc qdisc del dev v0 root && tc qdisc del dev v1 root");
  assert_success(status);
  assert_int_equal(lost, 0);
  target_check_frame(&wire->target, 0, 0, SIZE, 4);
}

static bool is_being_made_anew(wire_t *wire, char text[2048]) {
  assert_success(hmc_peer_explain(wire->peer, text, 2048, NULL));
  return strstr(text, "made again") != NULL;
}

static void expect_rails(wire_t *wire, bool whole) {
  char text[2048];
  if (is_being_made_anew(wire, text) == whole || !strstr(text, "rxe0") || !strstr(text, "rxe1")) fail_msg("%s", text);
}

/* The other one carries it all meanwhile, and then it takes part again. */
static void a_rail_is_pulled_and_put_back(void **state) {
  wire_t *wire = *state;
  hmc_request_t *requests[PIECES];
  char text[2048];
  for (uint64_t rail = 0; rail < 2; rail++) {
    expect_rails(wire, true);
    start_puts(wire, requests, 6 + rail);
    run(rail ? "bash /run/exchange/link down 1" : "bash /run/exchange/link down 0");
    for (int i = 0; i < PIECES; i++) {
      assert_success(hmc_request_wait(requests[i]));
      hmc_request_free(requests[i]);
    }
    target_check_frame(&wire->target, 0, 0, SIZE, 6 + rail);
    expect_rails(wire, false);
    assert_success(exchange(&wire->local, 0, wire->remote, 0, 600 * KIB, 3, 1));
    run(rail ? "bash /run/exchange/link up 1" : "bash /run/exchange/link up 0");
    for (int i = 0; i < 2000 && is_being_made_anew(wire, text); i++) sleep_ms(50);
    expect_rails(wire, true);
    assert_success(exchange(&wire->local, 0, wire->remote, 0, 600 * KIB, 3, 1));
  }
}

/* As many messages as each peer may send before it waits: they all find a buffer, once the target has as many of them. */
static void many_send_at_once(hmc_remote_t *const remotes[PEERS]) {
  enum { EACH = 8, ROUNDS = 50 };
  static const char refused[] = "/sys/class/infiniband/rxe1/ports/1/hw_counters/send_rnr_err";
  hmc_request_t *requests[PEERS * EACH];
  bool all_found = false;
  for (int round = 0; round < ROUNDS && !all_found; round++) {
    uint64_t before = number_in(refused);
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
      hmc_remote_t *remote = remotes[i / EACH];
      assert_success(hmc_atomic_nb(remote, 8 * i, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &requests[i]));
    }
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
      assert_success(hmc_request_wait(requests[i]));
      hmc_request_free(requests[i]);
    }
    all_found = number_in(refused) == before;
    if (!all_found) sleep_ms(100); /* it is still adding some */
  }
  assert_true(all_found);
}

/* A region that takes long to register, because all of its pages have to be found first. */
static void registering_holds_up_nobody(void **state) {
  enum { LEAST = 10 };
  wire_t *wire = *state;
  hmc_region_t *large;
  hmc_peer_t *other;
  hmc_remote_t *beside;
  hmc_request_t *request;
  int puts = 0;
  assert_success(hmc_context_connect(wire->context, "127.0.0.1", wire->port, HMC_CONNECTION_RDMA, 0, &other));
  assert_success(hmc_remote_open(other, "far", 0, &beside));
  assert_success(exchange(&wire->local, 0, beside, 0, 4 * KIB, 2, 1));
  assert_success(hmc_region_allocate(wire->context, cpu, 256 * MIB, NULL, 0, &large));
  memset(hmc_region_pointer(large), 7, 4096);
  assert_success(hmc_put_nb(large, 0, wire->remote, 0, 4096, NULL, &request));
  while (hmc_request_test(request) == HMC_IN_PROGRESS) {
    assert_success(hmc_put(wire->local.region, 8192, beside, 8192, 4096));
    puts++;
  }
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  printf("  %d puts to another peer meanwhile\n", puts);
  assert_true(puts >= LEAST);
}

static void many_peers(void **state) {
  wire_t *wire = *state;
  hmc_peer_t *peers[PEERS];
  hmc_remote_t *remotes[PEERS];
  hmc_request_t *requests[PEERS];
  frame_write(&wire->local, 0, SIZE, 5);
  for (int i = 0; i < PEERS; i++) {
    assert_success(hmc_context_connect(wire->context, "127.0.0.1", wire->port, HMC_CONNECTION_RDMA, 0, &peers[i]));
    assert_success(hmc_remote_open(peers[i], "far", 0, &remotes[i]));
  }
  for (uint64_t i = 0; i < PEERS; i++) {
    uint64_t offset = i * (SIZE / PEERS);
    assert_success(
        hmc_put_nb(wire->local.region, offset, remotes[i], offset, SIZE / PEERS, NULL, &requests[PEERS - 1 - i]));
  }
  for (int i = 0; i < PEERS; i++) {
    assert_success(hmc_request_wait(requests[i]));
    hmc_request_free(requests[i]);
  }
  target_check_frame(&wire->target, 0, 0, SIZE, 5);
  many_send_at_once(remotes);
  for (int i = 0; i < PEERS; i += 2) hmc_peer_close(peers[i]);
  for (int i = 1; i < PEERS; i += 2) assert_success(hmc_get(wire->local.region, 0, remotes[i], 0, PEER_ROOM));
}

int main(int argc, char **argv) {
  target_main(argc, argv);
  environment_open();
  setenv("HMC_LOG", "error", 1); /* what goes wrong here is meant to */
  if (argc == 2) cmocka_set_test_filter(argv[1]);
#define TEST_CASE(name) cmocka_unit_test_setup_teardown(name, open_wire, close_wire)
  const struct CMUnitTest tests[] = {
      TEST_CASE(goes_by_the_address_that_is_routed),
      TEST_CASE(cable_out_and_in),
      cmocka_unit_test_setup_teardown(cable_out_for_good, open_impatient, close_wire),
      TEST_CASE(one_packet_of_a_hundred_is_lost),
      TEST_CASE(many_peers),
      TEST_CASE(registering_holds_up_nobody),
      cmocka_unit_test_setup_teardown(a_rail_is_pulled_and_put_back, open_rails, close_wire),
  };
  return cmocka_run_group_tests_name("vm.wire", tests, NULL, NULL) == 0 ? 0 : 1;
}
