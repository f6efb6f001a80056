/* One who reaches the port without the secret gets nothing and disturbs nobody. */
#include "suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int dial(uint16_t port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  assert_true(descriptor >= 0);
  if (connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) assert_int_equal(errno, EINPROGRESS);
  struct pollfd ready = {.fd = descriptor, .events = POLLOUT};
  poll(&ready, 1, 2000);
  return descriptor;
}

/* Sends what the socket takes; a listener that has hung up already is fine. */
static void throw_at(int descriptor, const void *data, size_t size) {
  ssize_t sent = send(descriptor, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  (void)sent;
}

static uint64_t files_of(scene_t *scene) { return target_do(&scene->subject.target, (command_t){.verb = VERB_FILES}); }

/* Another peer gets in, however the port is treated, and in reasonable time. It stays. */
static void expect_entrance(scene_t *scene) {
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  uint64_t start = now_ms();
  assert_success(hmc_context_connect(scene->context, "127.0.0.1", scene->subject.port, stamp.type, PATIENCE_MS, &peer));
  assert_success(hmc_remote_open(peer, "region", 0, &remote));
  assert_success(exchange(&scene->local, 0, remote, 0, TRAFFIC_ROOM, 3, 1));
  assert_took(start, 0, 7000);
}

/* Waits until the target has the wanted number of files open, but for a few that a transport opens when it likes: UCX
 * makes two sockets to a peer where both ends begin at once. */
static void expect_files(scene_t *scene, uint64_t wanted) {
  enum { SPARE = 8 };
  uint64_t limit = now_ms() + 60000, files;
  wanted += SPARE;
  while ((files = files_of(scene)) > wanted && now_ms() < limit) sleep_ms(10);
  if (files > wanted) fail_msg("the target has %d files open, not %d at most", (int)files, (int)wanted);
}

void garbage_on_the_port(void **state) {
  scene_t *scene = *state;
  static const uint8_t half_hello[] = {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  static const uint8_t full_record[] = {0x16, 3, 3, 0xff, 0xff, 1, 0xff, 0xff, 0xff};
  static const uint8_t frame[] = {'H', 'M', 'C', '1', 1, 0, 1, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
  static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  uint64_t noise[512];
  int sockets[60];
  assert_success(exchange(&scene->local, 0, scene->subject.remote, REGION_SIZE / 2, TRAFFIC_ROOM, 1, 1));
  uint64_t files = files_of(scene);
  expect_entrance(scene);
  uint64_t each = files_of(scene) - files; /* what a peer takes */
  traffic_start(scene, scene->subject.remote);
  for (size_t i = 0; i < COUNT_OF(sockets); i++) {
    sockets[i] = dial(scene->subject.port);
    for (size_t k = 0; k < COUNT_OF(noise); k++) noise[k] = mix(i * 1000 + k + 1);
    switch (i % 6) {
    case 0: throw_at(sockets[i], noise, sizeof noise); break;
    case 1: throw_at(sockets[i], half_hello, sizeof half_hello); break;
    case 2: throw_at(sockets[i], full_record, sizeof full_record); break;
    case 3: throw_at(sockets[i], frame, sizeof frame); break;
    case 4: throw_at(sockets[i], http, sizeof http - 1); break;
    default: throw_at(sockets[i], noise, 1); break;
    }
    if (i % 4 == 3) { /* some do not stay */
      close(sockets[i]);
      sockets[i] = -1;
    }
  }
  expect_entrance(scene);
  for (size_t i = 0; i < COUNT_OF(sockets); i++)
    if (sockets[i] >= 0) close(sockets[i]);
  expect_entrance(scene);
  expect_files(scene, files + 3 * each);
  traffic_end(scene);
  assert_success(exchange(&scene->local, 0, scene->bystander.remote, 0, TRAFFIC_ROOM, 3, 1));
}

void half_open_connections(void **state) {
  scene_t *scene = *state;
  int sockets[200];
  assert_success(exchange(&scene->local, 0, scene->subject.remote, REGION_SIZE / 2, TRAFFIC_ROOM, 1, 1));
  uint64_t files = files_of(scene);
  expect_entrance(scene);
  uint64_t each = files_of(scene) - files; /* what a peer takes */
  traffic_start(scene, scene->subject.remote);
  for (size_t i = 0; i < COUNT_OF(sockets); i++) sockets[i] = dial(scene->subject.port);
  expect_entrance(scene);
  for (size_t i = 0; i < COUNT_OF(sockets); i++) close(sockets[i]);
  expect_files(scene, files + 2 * each);
  traffic_end(scene);
}
