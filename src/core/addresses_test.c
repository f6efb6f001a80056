/* Dialling a host name of two addresses, the first of which drops what is sent there: the second one gets its time. */
#include "core.h"

#include "../base/socket.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { FILLERS = 16, SHORT_MS = 5000, LONG_MS = 60000, A_WHILE_MS = 100 };
#define MS UINT64_C(1000000)

/* ---- two.test is 127.0.0.2 and 127.0.0.1 ------------------------------------------------------------------------- */

static struct sockaddr_in silent = {.sin_family = AF_INET}, good = {.sin_family = AF_INET};
static struct addrinfo second = {.ai_addr = (struct sockaddr *)&good, .ai_addrlen = sizeof good};
static struct addrinfo first = {.ai_addr = (struct sockaddr *)&silent, .ai_addrlen = sizeof silent, .ai_next = &second};

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
  memcpy(&next, &symbol, sizeof symbol);
  if (strcmp(node, "two.test") != 0) return next(node, service, hints, found);
  *found = &first;
  return 0;
}

void freeaddrinfo(struct addrinfo *list) {
  void (*next)(struct addrinfo *);
  void *symbol = dlsym(RTLD_NEXT, "freeaddrinfo");
  memcpy(&next, &symbol, sizeof symbol);
  if (list != &first) next(list);
}

/* ---- an address that never answers --------------------------------------------------------------------------------- */

typedef struct deaf {
  int listener, fillers[FILLERS], count;
} deaf_t;

/* A listener whose queue is full: the kernel drops what else asks to connect. */
static void open_deaf(deaf_t *deaf, struct sockaddr_in address, uint16_t port) {
  address.sin_port = htons(port);
  deaf->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(deaf->listener, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(deaf->listener, 0), 0);
  for (deaf->count = 0; deaf->count < FILLERS;) {
    int filler = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd wait = {.fd = filler, .events = POLLOUT};
    deaf->fillers[deaf->count++] = filler;
    (void)connect(filler, (struct sockaddr *)&address, sizeof address);
    if (poll(&wait, 1, A_WHILE_MS) == 0) return;
  }
  skip(); /* this system drops nothing */
}

static void close_deaf(deaf_t *deaf) {
  while (deaf->count > 0) close(deaf->fillers[--deaf->count]);
  close(deaf->listener);
}

typedef struct scene {
  hmc_context_t *here, *there;
  uint16_t port;
  deaf_t deaf;
} scene_t;

static void open_scene(scene_t *scene) {
  assert_int_equal(hmc_context_create(NULL, &scene->here), HMC_SUCCESS);
  assert_int_equal(hmc_context_create(NULL, &scene->there), HMC_SUCCESS);
  assert_int_equal(hmc_context_listen(scene->there, "127.0.0.1", 0, &scene->port), HMC_SUCCESS);
  open_deaf(&scene->deaf, silent, scene->port);
}

static void close_scene(scene_t *scene) {
  close_deaf(&scene->deaf);
  hmc_context_destroy(scene->here);
  hmc_context_destroy(scene->there);
}

/* ---- dialling ------------------------------------------------------------------------------------------------------ */

static void connect_within(const scene_t *scene, uint64_t timeout_ms) {
  hmc_peer_t *peer;
  hmc_status_t status =
      hmc_context_connect(scene->here, "two.test", scene->port, HMC_CONNECTION_TCP, timeout_ms, &peer);
  if (status != HMC_SUCCESS) fail_msg("%s: %s", hmc_status_name(status), hmc_last_error());
}

/* Half a minute would be its share. */
static void an_address_that_never_answers_is_left_soon(void **state) {
  (void)state;
  scene_t scene;
  open_scene(&scene);
  uint64_t start = hmci_now();
  connect_within(&scene, LONG_MS);
  assert_true(hmci_now() - start < LONG_MS / 3 * MS);
  close_scene(&scene);
}

static void a_short_deadline_is_shared(void **state) {
  (void)state;
  scene_t scene;
  open_scene(&scene);
  connect_within(&scene, SHORT_MS);
  close_scene(&scene);
}

/* As control plane, store and bootstraps connect. */
static void a_socket_shares_its_deadline(void **state) {
  (void)state;
  scene_t scene;
  int descriptor;
  open_scene(&scene);
  assert_int_equal(hmci_socket_connect_each("two.test", scene.port, HMCI_EACH_MS, hmci_deadline(2000), &descriptor),
                   HMC_SUCCESS);
  close(descriptor);
  close_scene(&scene);
}

/* With nobody at the other end, the call ends at its deadline. */
static void no_address_answers(void **state) {
  (void)state;
  scene_t scene;
  hmc_peer_t *peer;
  open_scene(&scene);
  struct sockaddr_in kept = good;
  deaf_t other;
  good.sin_addr.s_addr = htonl(0x7f000003);
  open_deaf(&other, good, scene.port);
  uint64_t start = hmci_now();
  assert_int_equal(hmc_context_connect(scene.here, "two.test", scene.port, HMC_CONNECTION_TCP, 1000, &peer),
                   HMC_TIMEOUT);
  assert_true(hmci_now() - start >= 1000 * MS);
  good = kept;
  close_deaf(&other);
  close_scene(&scene);
}

int main(void) {
  silent.sin_addr.s_addr = htonl(0x7f000002);
  good.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_address_that_never_answers_is_left_soon),
      cmocka_unit_test(a_short_deadline_is_shared),
      cmocka_unit_test(a_socket_shares_its_deadline),
      cmocka_unit_test(no_address_answers),
  };
  return cmocka_run_group_tests_name("core.addresses", tests, NULL, NULL);
}
