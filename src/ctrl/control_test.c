/* The control channel when all is well: messages and addresses. Waiting is in control_waiting_test.c, what goes wrong in
 * control_faults_test.c. */
#include "control_fixture.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- messages ---------------------------------------------------------------------------------------------------- */

typedef struct point {
  double x, y;
  char name[16];
} point_t;

static void use_types(way_t way) {
  pair_t pair = make_pair(way);
  static const int32_t numbers[] = {0, 1, -1, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < 5; i++) {
    int32_t number = 99;
    GOOD(hmc_control_send_int(pair.one, 0, numbers[i], 0));
    GOOD(hmc_control_receive_int(pair.zero, 1, &number, 0));
    assert_int_equal(number, numbers[i]);
  }
  uint64_t large = 0;
  GOOD(hmc_control_send_u64(pair.zero, 1, UINT64_C(0xfedcba9876543210), 0));
  GOOD(hmc_control_receive_u64(pair.one, 0, &large, 0));
  assert_true(large == UINT64_C(0xfedcba9876543210));

  point_t sent = {1.5, -2.5, "a point"}, got = {0};
  GOOD(hmc_control_send_struct(pair.one, 0, &sent, sizeof(sent), 0));
  GOOD(hmc_control_receive_struct(pair.zero, 1, &got, sizeof(got), 0));
  assert_memory_equal(&sent, &got, sizeof(sent));
  destroy_pair(&pair);
}

static void test_types(void **state) {
  (void)state;
  use_types(BY_TCP);
  use_types(BY_UDS);
}

static const size_t sizes[] = {0,     1,     16383, 16384,   16385,
                               65535, 65536, 65537, 1000003, IS_SLOW ? 1 << 20 : HMC_CONTROL_MESSAGE_MAX};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

static void *send_sizes(void *argument) {
  pair_t *pair = argument;
  uint8_t *data = malloc(HMC_CONTROL_MESSAGE_MAX);
  hmc_status_t status = HMC_SUCCESS;
  for (size_t i = 0; i < SIZES && status == HMC_SUCCESS; i++) {
    fill(data, sizes[i], i);
    status = hmc_control_send(pair->one, 0, (uint16_t)(256 + i), data, sizes[i], 10000);
  }
  free(data);
  return status == HMC_SUCCESS ? argument : NULL;
}

/* Messages of all sizes come whole, in order, with their types. */
static void use_sizes(way_t way) {
  pair_t pair = make_pair(way);
  pthread_t thread;
  uint8_t *data = malloc(HMC_CONTROL_MESSAGE_MAX), *expected = malloc(HMC_CONTROL_MESSAGE_MAX);
  void *result;
  assert_int_equal(pthread_create(&thread, NULL, send_sizes, &pair), 0);
  for (size_t i = 0; i < SIZES; i++) {
    uint16_t type = 0;
    size_t size = 4711;
    GOOD(hmc_control_receive(pair.zero, 1, &type, data, HMC_CONTROL_MESSAGE_MAX, &size, 10000));
    assert_int_equal(type, 256 + i);
    assert_int_equal(size, sizes[i]);
    fill(expected, sizes[i], i);
    assert_int_equal(memcmp(data, expected, sizes[i]), 0);
  }
  pthread_join(thread, &result);
  assert_non_null(result);
  free(data);
  free(expected);
  destroy_pair(&pair);
}

static void test_sizes(void **state) {
  (void)state;
  use_sizes(BY_TCP);
  use_sizes(BY_UDS);
}

static void test_a_message_of_another_type_stays(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_UDS);
  uint64_t large = 5;
  int32_t number = 6;
  point_t point = {.x = 7};
  char small[4];
  GOOD(hmc_control_send_int(pair.one, 0, -42, 0));
  FAILS(hmc_control_receive_u64(pair.zero, 1, &large, 0), HMC_CORRUPT, "of type 1 and 4 B, not of type 3 and 8 B");
  FAILS(hmc_control_receive_struct(pair.zero, 1, &point, sizeof(point), 0), HMC_CORRUPT, "rank 1");
  assert_true(large == 5 && point.x == 7);
  GOOD(hmc_control_receive_int(pair.zero, 1, &number, 0));
  assert_int_equal(number, -42);

  GOOD(hmc_control_send_struct(pair.one, 0, &point, sizeof(point), 0));
  FAILS(hmc_control_receive_struct(pair.zero, 1, small, sizeof(small), 0), HMC_CORRUPT, "not of type 2 and 4 B");
  GOOD(hmc_control_receive_struct(pair.zero, 1, &point, sizeof(point), 0));
  destroy_pair(&pair);
}

static void test_a_message_that_is_too_large_stays(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  uint16_t type = 9;
  char data[200] = "untouched";
  size_t size = 0;
  uint8_t *large = calloc(1, HMC_CONTROL_MESSAGE_MAX + 1);
  GOOD(hmc_control_send(pair.one, 0, 300, large, 100, 0));
  FAILS(hmc_control_receive(pair.zero, 1, &type, data, 99, &size, 0), HMC_OUT_OF_RANGE, "100 B");
  assert_int_equal(size, 100);
  assert_string_equal(data, "untouched");
  assert_int_equal(type, 9);
  size = 0;
  FAILS(hmc_control_receive(pair.zero, 1, NULL, NULL, 0, &size, 0), HMC_OUT_OF_RANGE, "100 B");
  assert_int_equal(size, 100);
  GOOD(hmc_control_receive(pair.zero, 1, NULL, data, 100, NULL, 0));
  assert_int_equal(data[0], 0);

  FAILS(hmc_control_send(pair.one, 0, 300, large, HMC_CONTROL_MESSAGE_MAX + 1, 0), HMC_OUT_OF_RANGE, "16777217 B");
  talk(pair.one, 1, pair.zero, 0);
  free(large);
  destroy_pair(&pair);
}

enum { THREADS = 2, EACH = 300 };

typedef struct worker {
  hmc_control_t *control;
  uint32_t rank, number;
  _Atomic int *left;
  uint8_t *seen;
  hmc_status_t status;
} worker_t;

static void *send_many(void *argument) {
  worker_t *worker = argument;
  for (uint32_t i = 0; i < EACH && worker->status == HMC_SUCCESS; i++) {
    uint32_t message[50];
    for (size_t j = 0; j < 50; j++) {
      message[j] = worker->number * EACH + i;
    }
    worker->status = hmc_control_send(worker->control, worker->rank, 256, message, sizeof(message), PATIENCE_MS);
  }
  return NULL;
}

static void *receive_many(void *argument) {
  worker_t *worker = argument;
  uint32_t message[50], last[THREADS] = {0};
  while (atomic_fetch_sub(worker->left, 1) > 0) {
    size_t size = 0;
    worker->status =
        hmc_control_receive(worker->control, worker->rank, NULL, message, sizeof(message), &size, PATIENCE_MS);
    for (size_t j = 1; j < 50; j++) {
      if (message[j] != message[0]) {
        worker->status = HMC_CORRUPT;
      }
    }
    if (worker->status != HMC_SUCCESS || size != sizeof(message) || message[0] >= THREADS * EACH) {
      break;
    }
    uint32_t from = message[0] / EACH, index = message[0] % EACH + 1;
    worker->status = index > last[from] ? HMC_SUCCESS : HMC_CORRUPT; /* what one thread sent comes in order */
    last[from] = index;
    worker->seen[message[0]]++;
  }
  return NULL;
}

/* Two threads send to one rank and two receive from it: each message is whole and comes once. */
static void use_threads(way_t way) {
  pair_t pair = make_pair(way);
  _Atomic int left = THREADS * EACH;
  uint8_t seen[THREADS][THREADS * EACH] = {{0}};
  pthread_t threads[2 * THREADS];
  worker_t workers[2 * THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    workers[i] = (worker_t){.control = pair.zero, .rank = 1, .left = &left, .seen = seen[i]};
    workers[THREADS + i] = (worker_t){.control = pair.one, .rank = 0, .number = i};
  }
  for (uint32_t i = 0; i < 2 * THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? receive_many : send_many, &workers[i]), 0);
  }
  for (uint32_t i = 0; i < 2 * THREADS; i++) {
    pthread_join(threads[i], NULL);
    assert_int_equal(workers[i].status, HMC_SUCCESS);
  }
  for (uint32_t i = 0; i < THREADS * EACH; i++) {
    assert_int_equal(seen[0][i] + seen[1][i], 1);
  }
  destroy_pair(&pair);
}

static void test_two_threads_receive(void **state) {
  (void)state;
  use_threads(BY_TCP);
  use_threads(BY_UDS);
}

/* ---- addresses and transports ------------------------------------------------------------------------------------ */

static void assert_transport(hmc_control_t *control, uint32_t rank, const char *expected) {
  const char *transport = NULL;
  GOOD(hmc_control_transport(control, rank, &transport));
  assert_string_equal(transport, expected);
}

static void test_transport_names(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_TCP);
  const char *transport;
  assert_transport(pair.one, 0, "tcp");
  assert_transport(pair.zero, 1, "tcp");
  dial(&pair, BY_UDS);
  assert_transport(pair.one, 0, "uds");
  assert_transport(pair.zero, 1, "uds");
  FAILS(hmc_control_transport(pair.one, 9, &transport), HMC_NOT_FOUND, "rank 9");
  destroy_pair(&pair);
}

static void test_the_unix_socket_is_taken_on_one_host(void **state) {
  (void)state;
  hmc_control_t *zero = make(), *one = make();
  uint16_t port;
  char nowhere[128];
  GOOD(hmc_control_listen(zero, "127.0.0.1", 0, path, &port));
  GOOD(hmc_control_connect(one, 0, 1, "127.0.0.1", port, path, PATIENCE_MS));
  assert_transport(one, 0, "uds");
  snprintf(nowhere, sizeof(nowhere), "%s/nobody", folder);
  GOOD(hmc_control_connect(one, 0, 1, "127.0.0.1", port, nowhere, PATIENCE_MS)); /* cannot be reached by it */
  assert_transport(one, 0, "tcp");
  talk(one, 1, zero, 0);
  hmc_control_close(one, 0);
  /* An address of another host: the socket of that path is somebody else's. */
  FAILS(hmc_control_connect(one, 0, 1, "192.0.2.1", port, path, 60), HMC_TIMEOUT, "192.0.2.1");
  hmc_control_destroy(one);
  hmc_control_destroy(zero);
}

static void test_a_forced_transport(void **state) {
  (void)state;
  hmc_control_t *zero = make();
  uint16_t port;
  GOOD(hmc_control_listen(zero, "127.0.0.1", 0, path, &port));
  setenv("CTRL_TRANSPORT", "tcp", 1);
  hmc_control_t *tcp = make();
  GOOD(hmc_control_connect(tcp, 0, 1, "127.0.0.1", port, path, PATIENCE_MS));
  assert_transport(tcp, 0, "tcp");
  FAILS(hmc_control_connect(tcp, 0, 1, NULL, 0, path, PATIENCE_MS), HMC_INVALID_CONFIG, "CTRL_TRANSPORT=tcp");

  setenv("CTRL_TRANSPORT", "uds", 1);
  hmc_control_t *uds = make();
  GOOD(hmc_control_connect(uds, 0, 2, "192.0.2.1", port, path, PATIENCE_MS)); /* the address does not count */
  assert_transport(uds, 0, "uds");
  FAILS(hmc_control_connect(uds, 0, 2, "127.0.0.1", port, "", PATIENCE_MS), HMC_INVALID_CONFIG, "CTRL_TRANSPORT=uds");
  FAILS(hmc_control_connect(uds, 1, 2, "127.0.0.1", port, "/no/such/socket", 30), HMC_TIMEOUT, "/no/such/socket");
  talk(tcp, 1, zero, 0);
  talk(uds, 2, zero, 0);

  setenv("CTRL_TRANSPORT", "pigeon", 1);
  hmc_control_t *none = NULL;
  FAILS(hmc_control_create(&none), HMC_INVALID_CONFIG, "CTRL_TRANSPORT=pigeon");
  assert_null(none);
  hmc_control_destroy(uds);
  hmc_control_destroy(tcp);
  hmc_control_destroy(zero);
}

static void test_listening(void **state) {
  (void)state;
  hmc_control_t *first = make(), *second = make();
  uint16_t port, none = 5;
  char name[16], other[128], long_path[200];
  GOOD(hmc_control_listen(first, "127.0.0.1", 0, path, &port));
  assert_true(port > 0);
  snprintf(name, sizeof(name), ":%u", port);
  FAILS(hmc_control_listen(second, "127.0.0.1", port, NULL, &none), HMC_ADDRESS_IN_USE, name);
  FAILS(hmc_control_listen(second, NULL, 0, path, &none), HMC_ADDRESS_IN_USE, path);
  FAILS(hmc_control_listen(second, "192.0.2.1", 0, NULL, &none), HMC_INVALID_CONFIG, "192.0.2.1");
  FAILS(hmc_control_listen(second, NULL, 0, NULL, &none), HMC_INVALID_CONFIG, "neither");
  FAILS(hmc_control_listen(second, "", 0, "", &none), HMC_INVALID_CONFIG, "neither");
  memset(long_path, 'x', sizeof(long_path));
  long_path[sizeof(long_path) - 1] = '\0';
  FAILS(hmc_control_listen(second, NULL, 0, long_path, &none), HMC_INVALID_CONFIG, "107");
  assert_int_equal(none, 5);
  snprintf(other, sizeof(other), "%s/other", folder); /* half a success is none */
  FAILS(hmc_control_listen(second, "127.0.0.1", port, other, &none), HMC_ADDRESS_IN_USE, name);
  assert_int_equal(access(other, F_OK), -1);
  hmc_control_destroy(second);
  hmc_control_destroy(first);
  assert_int_equal(access(path, F_OK), -1);
}

static void test_a_stale_socket_file(void **state) {
  (void)state;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, strlen(path) + 1);
  int stale = socket(AF_UNIX, SOCK_STREAM, 0);
  assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof(address)), 0);
  close(stale); /* as a killed process leaves it */
  pair_t pair = make_pair(BY_UDS);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

static void test_stop_listening(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_UDS);
  hmc_control_t *late = make();
  hmc_control_stop_listening(pair.zero);
  assert_int_equal(access(path, F_OK), -1);
  talk(pair.one, 1, pair.zero, 0);
  FAILS(hmc_control_connect(late, 0, 2, "127.0.0.1", pair.port, path, 30), HMC_TIMEOUT, "nobody listens");
  GOOD(hmc_control_listen(pair.zero, "127.0.0.1", pair.port, path, NULL));
  unlink(path);
  GOOD(hmc_control_listen(late, NULL, 0, path, NULL)); /* another one takes the name */
  hmc_control_stop_listening(pair.zero);
  assert_int_equal(access(path, F_OK), 0); /* and keeps it */
  hmc_control_destroy(pair.zero);
  hmc_control_destroy(pair.one);
  hmc_control_destroy(late);
}

static void *find_late(void *argument) {
  uint32_t rank = 99;
  return hmc_control_find(argument, "127.0.0.1", PATIENCE_MS, &rank) == HMC_SUCCESS && rank == 1 ? argument : NULL;
}

static void test_finding_a_rank_by_its_address(void **state) {
  (void)state;
  pair_t pair = {.zero = make(), .one = make()};
  hmc_control_t *two = make();
  pthread_t thread;
  void *result;
  uint32_t rank = 99;
  GOOD(hmc_control_listen(pair.zero, "127.0.0.1", 0, path, &pair.port));
  assert_int_equal(pthread_create(&thread, NULL, find_late, pair.zero), 0);
  sleep_ms(10);
  dial(&pair, BY_TCP);
  pthread_join(thread, &result);
  assert_non_null(result);
  GOOD(hmc_control_connect(two, 0, 2, NULL, 0, path, PATIENCE_MS));
  talk(two, 2, pair.zero, 0);
  GOOD(hmc_control_find(pair.zero, "127.0.0.1", 100, &rank)); /* the oldest of two */
  assert_int_equal(rank, 1);
  GOOD(hmc_control_find(pair.zero, "::ffff:127.0.0.1", 100, &rank));
  assert_int_equal(rank, 1);
  GOOD(hmc_control_find(pair.one, "127.0.0.1", 100, &rank)); /* where it goes to */
  assert_int_equal(rank, 0);
  hmc_control_close(pair.zero, 1);
  GOOD(hmc_control_find(pair.zero, "127.0.0.1", 100, &rank)); /* a UNIX socket comes from this host */
  assert_int_equal(rank, 2);
  FAILS(hmc_control_find(pair.zero, "192.0.2.1", 10, &rank), HMC_TIMEOUT, "192.0.2.1");
  hmc_control_destroy(two);
  destroy_pair(&pair);
}

static void test_the_customary_path(void **state) {
  (void)state;
  char made[108], expected[108], long_folder[120];
  snprintf(expected, sizeof(expected), "/tmp/hmc-ctrl-%u-4294967295.sock", (unsigned)geteuid());
  GOOD(hmc_control_uds_path("/tmp", UINT32_MAX, made, sizeof(made)));
  assert_string_equal(made, expected);
  GOOD(hmc_control_uds_path("/tmp/", UINT32_MAX, made, strlen(expected) + 1));
  assert_string_equal(made, expected);
  FAILS(hmc_control_uds_path("/tmp", UINT32_MAX, made, strlen(expected)), HMC_OUT_OF_RANGE, "/tmp");
  memset(long_folder, 'x', sizeof(long_folder));
  long_folder[90] = '\0';
  char large[300];
  FAILS(hmc_control_uds_path(long_folder, UINT32_MAX, large, sizeof(large)), HMC_OUT_OF_RANGE, "107");
  FAILS(hmc_control_uds_path("", 1, made, sizeof(made)), HMC_INVALID_CONFIG, "directory");
}

static void test_missing_arguments(void **state) {
  (void)state;
  pair_t pair = make_pair(BY_UDS);
  hmc_control_t *control = pair.one;
  uint64_t value;
  uint32_t rank;
  char data[8];
  FAILS(hmc_control_create(NULL), HMC_INVALID_CONFIG, "control channel");
  FAILS(hmc_control_send_u64(NULL, 0, 1, 0), HMC_INVALID_CONFIG, "control channel");
  FAILS(hmc_control_receive_u64(NULL, 0, &value, 0), HMC_INVALID_CONFIG, "control channel");
  FAILS(hmc_control_connect(NULL, 0, 1, "127.0.0.1", 1, NULL, 10), HMC_INVALID_CONFIG, "control channel");
  FAILS(hmc_control_connect(control, 0, 1, NULL, 1, NULL, 10), HMC_INVALID_CONFIG, "no address");
  FAILS(hmc_control_connect(control, 0, 1, "127.0.0.1", 0, NULL, 10), HMC_INVALID_CONFIG, "port");
  FAILS(hmc_control_connect(control, 0, 1, "[somewhere", 1, NULL, 10), HMC_INVALID_CONFIG, "[somewhere");
  FAILS(hmc_control_send(control, 0, 256, NULL, 4, 10), HMC_INVALID_CONFIG, "no data");
  FAILS(hmc_control_receive(control, 0, NULL, NULL, 4, NULL, 10), HMC_INVALID_CONFIG, "no room");
  FAILS(hmc_control_receive_u64(control, 0, NULL, 10), HMC_INVALID_CONFIG, "no place");
  FAILS(hmc_control_receive_int(control, 0, NULL, 10), HMC_INVALID_CONFIG, "no place");
  FAILS(hmc_control_transport(control, 0, NULL), HMC_INVALID_CONFIG, "no place");
  FAILS(hmc_control_socket(control, 0, NULL), HMC_INVALID_CONFIG, "no place");
  FAILS(hmc_control_find(control, NULL, 10, &rank), HMC_INVALID_CONFIG, "IP address");
  FAILS(hmc_control_uds_path(NULL, 1, data, sizeof(data)), HMC_INVALID_CONFIG, "directory");
  hmc_control_destroy(NULL);
  hmc_control_close(NULL, 0);
  hmc_control_close(control, 4711);
  hmc_control_stop_listening(NULL);
  talk(pair.one, 1, pair.zero, 0);
  destroy_pair(&pair);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(test_types),
      TEST(test_sizes),
      TEST(test_a_message_of_another_type_stays),
      TEST(test_a_message_that_is_too_large_stays),
      TEST(test_two_threads_receive),
      TEST(test_transport_names),
      TEST(test_the_unix_socket_is_taken_on_one_host),
      TEST(test_a_forced_transport),
      TEST(test_listening),
      TEST(test_a_stale_socket_file),
      TEST(test_stop_listening),
      TEST(test_finding_a_rank_by_its_address),
      TEST(test_the_customary_path),
      TEST(test_missing_arguments),
  };
  return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
