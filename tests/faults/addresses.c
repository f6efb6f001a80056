/* Listening and connecting where that cannot work: what it answers, and how soon. */
#include "port.h"
#include "suite.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* A TCP socket on a free port of loopback that nobody of HMC serves. */
static int foreign_socket(uint16_t *port, bool listening) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(descriptor >= 0);
  assert_int_equal(bind(descriptor, (struct sockaddr *)&address, size), 0);
  assert_int_equal(getsockname(descriptor, (struct sockaddr *)&address, &size), 0);
  if (listening) assert_int_equal(listen(descriptor, 16), 0);
  *port = ntohs(address.sin_port);
  return descriptor;
}

static void expect_taken(hmc_context_t *context, uint16_t port) {
  uint16_t untouched = 4711;
  assert_status(hmc_context_listen(context, "127.0.0.1", port, &untouched), HMC_ADDRESS_IN_USE);
  assert_error_has_number(port);
  assert_error_names("127.0.0.1");
  assert_int_equal(untouched, 4711);
}

void port_taken(void **state) {
  scene_t *scene = *state;
  uint16_t port = 0, own = free_port(AF_INET); /* it listens there twice */
  int foreign = foreign_socket(&port, true);
  expect_taken(scene->context, port);
  expect_taken(scene->context, scene->subject.port);
  assert_success(hmc_context_listen(scene->context, "127.0.0.1", own, NULL));
  expect_taken(scene->context, own);
  close(foreign);
  hmc_context_stop_listening(scene->context);
  assert_success(hmc_context_listen(scene->context, "127.0.0.1", own, NULL));
}

void nobody_listens(void **state) {
  scene_t *scene = *state;
  uint16_t port = 0;
  hmc_peer_t *peer = NULL;
  int foreign = foreign_socket(&port, false); /* bound, so that nobody else gets it; not listening */
  uint64_t start = now_ms();
  assert_status(hmc_context_connect(scene->context, "127.0.0.1", port, stamp.type, PATIENCE_MS, &peer), HMC_NOT_FOUND);
  assert_took(start, 0, 0);
  assert_error_has_number(port);
  assert_error_names("127.0.0.1");
  assert_null(peer);
  close(foreign);
}

/* An IPv6 address and a port are distinguished, whether or not this machine has IPv6. */
void addresses_are_bracketed(void **state) {
  scene_t *scene = *state;
  hmc_peer_t *peer = NULL;
  assert_int_not_equal(hmc_context_connect(scene->context, "::1", 1, HMC_CONNECTION_RDMA, 2000, &peer), HMC_SUCCESS);
  assert_error_names("[::1]:1");
  assert_int_not_equal(hmc_context_connect(scene->context, "::1", 1, HMC_CONNECTION_TCP, 2000, &peer), HMC_SUCCESS);
  assert_error_names("[::1]:1");
  assert_null(peer);
}

void bad_address(void **state) {
  scene_t *scene = *state;
  static const char *const bad[] = {"",           "999.1.1.1", "non sense",      "127.0.0.1:99999",
                                    "127.0.0.1 ", "::g",       "256.256.256.256"};
  for (size_t i = 0; i < COUNT_OF(bad); i++) {
    hmc_peer_t *peer = NULL;
    uint64_t start = now_ms();
    assert_status(hmc_context_listen(scene->context, bad[i], 0, NULL), HMC_INVALID_CONFIG);
    assert_error_names(bad[i]);
    assert_status(hmc_context_connect(scene->context, bad[i], 80, stamp.type, 5000, &peer), HMC_INVALID_CONFIG);
    assert_error_names(bad[i]);
    assert_took(start, 0, 0);
    assert_null(peer);
  }
  assert_status(hmc_context_listen(scene->context, "192.0.2.1", 0, NULL), HMC_INVALID_CONFIG); /* RFC 5737: nobody's */
  assert_error_names("192.0.2.1");
}

void listener_never_answers(void **state) {
  scene_t *scene = *state;
  uint16_t port = 0;
  hmc_peer_t *peer = NULL;
  int foreign = foreign_socket(&port, true);
  uint64_t start = now_ms();
  assert_status(hmc_context_connect(scene->context, "127.0.0.1", port, stamp.type, 250, &peer), HMC_TIMEOUT);
  assert_took(start, 250, 250);
  assert_error_has_number(port);
  assert_null(peer);

  hmc_context_t *hasty = NULL; /* the context's own deadline */
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "hasty", 200}, &hasty));
  start = now_ms();
  assert_status(hmc_context_connect(hasty, "127.0.0.1", port, stamp.type, 0, &peer), HMC_TIMEOUT);
  assert_took(start, 200, 200);
  hmc_context_destroy(hasty);
  close(foreign);
}

/* ---- a listener that is not HMC ---------------------------------------------------------------------------------- */

typedef struct answerer {
  pthread_t thread;
  int listener;
  const char *answer;
  size_t size;
} answerer_t;

static void *answer_once(void *argument) {
  answerer_t *answerer = argument;
  int connection = accept4(answerer->listener, NULL, NULL, SOCK_CLOEXEC);
  if (connection >= 0 && answerer->size > 0) (void)!write(connection, answerer->answer, answerer->size);
  sleep_ms(30);
  close(connection);
  return NULL;
}

void listener_answers_nonsense(void **state) {
  scene_t *scene = *state;
  static const char alert[] = "\x15\x03\x03\x00\x02\x02\x28", huge_record[] = "\x16\x03\x03\xff\xff"
                                                                              "all that is not there";
  static const char text[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", ssh[] = "SSH-2.0-OpenSSH_9.2\r\n";
  answerer_t answerers[] = {{.answer = "", .size = 0},
                            {.answer = alert, .size = sizeof alert - 1},
                            {.answer = huge_record, .size = sizeof huge_record - 1},
                            {.answer = text, .size = sizeof text - 1},
                            {.answer = ssh, .size = sizeof ssh - 1}};
  for (size_t i = 0; i < COUNT_OF(answerers); i++) {
    uint16_t port = 0;
    hmc_peer_t *peer = NULL;
    answerers[i].listener = foreign_socket(&port, true);
    assert_int_equal(pthread_create(&answerers[i].thread, NULL, answer_once, &answerers[i]), 0);
    uint64_t start = now_ms();
    hmc_status_t status = hmc_context_connect(scene->context, "127.0.0.1", port, stamp.type, PATIENCE_MS, &peer);
    pthread_join(answerers[i].thread, NULL);
    close(answerers[i].listener);
    if (status != HMC_PEER_LOST && status != HMC_CORRUPT) assert_status(status, HMC_DENIED);
    assert_error_has_number(port);
    assert_took(start, 0, 100);
    assert_null(peer);
  }
}
