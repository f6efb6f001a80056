#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "descriptors_fixture.h"
#include "socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96];

/* Binds a connecting socket to the address it dials, as chance may do with ephemeral ports. */
static bool dial_itself;

int connect(int descriptor, const struct sockaddr *address, socklen_t size) {
  if (dial_itself) {
    int one = 1;
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    (void)bind(descriptor, address, size);
  }
  return (int)syscall(SYS_connect, descriptor, address, size);
}

/* Gives others time to come between bind() and listen(). */
static bool listen_slowly;

int listen(int descriptor, int backlog) {
  if (listen_slowly) {
    poll(NULL, 0, 2);
  }
  return (int)syscall(SYS_listen, descriptor, backlog);
}

/* Accepting is forbidden: the error that says so. */
static int forbids;
static int attempts;

int accept4(int descriptor, struct sockaddr *address, socklen_t *size, int flags) {
  if (forbids != 0) {
    errno = ++attempts < 1000 ? forbids : EAGAIN;
    return -1;
  }
  return (int)syscall(SYS_accept4, descriptor, address, size, flags);
}

static int set_up(void **state) {
  (void)state;
  descriptors_before = open_descriptors();
  snprintf(folder, sizeof(folder), "/tmp/hmc-test-socket-XXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/socket", folder);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  unlink(path);
  bool clean = rmdir(folder) == 0 && open_descriptors() == descriptors_before;
  return clean ? 0 : -1;
}

static uint64_t soon(void) { return hmci_deadline(60000); }

static void assert_says(const char *part) {
  if (strstr(hmc_last_error(), part) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", hmc_last_error(), part);
  }
}

static void assert_flags(int descriptor) {
  assert_true(fcntl(descriptor, F_GETFL) & O_NONBLOCK);
  assert_true(fcntl(descriptor, F_GETFD) & FD_CLOEXEC);
}

static int nodelay(int descriptor) {
  int value = -1;
  socklen_t size = sizeof(value);
  assert_int_equal(getsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
  return value;
}

static int accept_one(int listener, char peer[HMCI_ADDRESS_TEXT]) {
  int descriptor = -1;
  struct pollfd wait = {.fd = listener, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(hmci_socket_accept(listener, &descriptor, peer), HMC_SUCCESS);
  assert_flags(descriptor);
  return descriptor;
}

/* Both ends of a connection within this host. */
static void connect_pair(int ends[2]) {
  int listener;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT];
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &ends[0]), HMC_SUCCESS);
  ends[1] = accept_one(listener, peer);
  close(listener);
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static void test_address_texts(void **state) {
  (void)state;
  char text[HMCI_ADDRESS_TEXT];
  struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(2025)};
  inet_pton(AF_INET, "10.0.0.2", &v4.sin_addr);
  hmci_address_text((struct sockaddr *)&v4, sizeof(v4), text);
  assert_string_equal(text, "10.0.0.2:2025");

  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(1)};
  inet_pton(AF_INET6, "fe80::1", &v6.sin6_addr);
  hmci_address_text((struct sockaddr *)&v6, sizeof(v6), text);
  assert_string_equal(text, "[fe80::1]:1");
  v6.sin6_scope_id = 54321;
  hmci_address_text((struct sockaddr *)&v6, sizeof(v6), text);
  assert_string_equal(text, "[fe80::1%54321]:1");
  v6.sin6_scope_id = if_nametoindex("lo");
  hmci_address_text((struct sockaddr *)&v6, sizeof(v6), text);
  assert_string_equal(text, v6.sin6_scope_id != 0 ? "[fe80::1%lo]:1" : "[fe80::1]:1");
  inet_pton(AF_INET6, "::ffff:10.0.0.2", &v6.sin6_addr);
  hmci_address_text((struct sockaddr *)&v6, sizeof(v6), text);
  assert_string_equal(text, "10.0.0.2:1");

  struct sockaddr_un local = {.sun_family = AF_UNIX, .sun_path = "/tmp/x"};
  hmci_address_text((struct sockaddr *)&local, sizeof(local), text);
  assert_string_equal(text, "unix:/tmp/x");
  hmci_address_text((struct sockaddr *)&local, sizeof(sa_family_t), text);
  assert_string_equal(text, "unix:");
  memcpy(local.sun_path, "\0name", 5);
  hmci_address_text((struct sockaddr *)&local, sizeof(sa_family_t) + 5, text);
  assert_string_equal(text, "unix:@name");
  memset(local.sun_path, 'x', sizeof(local.sun_path)); /* the longest, without an end */
  hmci_address_text((struct sockaddr *)&local, sizeof(local), text);
  assert_int_equal(strlen(text), 5 + sizeof(local.sun_path));
}

/* ---- TCP --------------------------------------------------------------------------------------------------------- */

static void talk(const char *ip, const char *shown) {
  int listener, here, there = -1;
  uint16_t port = 0;
  char peer[HMCI_ADDRESS_TEXT], expected[HMCI_ADDRESS_TEXT], byte = 0;
  assert_int_equal(hmci_socket_listen_tcp(ip, 0, &listener, &port), HMC_SUCCESS);
  assert_true(port != 0);
  assert_flags(listener);
  assert_int_equal(hmci_socket_accept(listener, &there, peer), HMC_IN_PROGRESS);
  assert_int_equal(there, -1);
  assert_int_equal(hmci_socket_connect_tcp(ip, port, soon(), &here), HMC_SUCCESS);
  there = accept_one(listener, peer);
  struct sockaddr_storage address;
  socklen_t size = sizeof(address);
  getsockname(here, (struct sockaddr *)&address, &size);
  hmci_address_text((struct sockaddr *)&address, size, expected);
  assert_string_equal(peer, expected);
  assert_memory_equal(peer, shown, strlen(shown));
  assert_flags(here);
  assert_int_equal(nodelay(here), 1);
  assert_int_equal(nodelay(there), 1);
  assert_int_equal(send(here, "x", 1, 0), 1);
  struct pollfd wait = {.fd = there, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(recv(there, &byte, 1, 0), 1);
  assert_int_equal(byte, 'x');
  close(here);
  close(there);
  close(listener);
}

static void test_tcp(void **state) {
  (void)state;
  int probe;
  uint16_t port;
  talk("127.0.0.1", "127.0.0.1:");
  if (hmci_socket_listen_tcp("::1", 0, &probe, &port) == HMC_SUCCESS) { /* the host may have no IPv6 */
    close(probe);
    talk("::1", "[::1]:");
  }
}

static void test_a_port_in_use(void **state) {
  (void)state;
  int first, second = -1;
  uint16_t port, none = 7;
  char number[16];
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &first, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", port, &second, &none), HMC_ADDRESS_IN_USE);
  snprintf(number, sizeof(number), "127.0.0.1:%u", port);
  assert_says(number);
  assert_int_equal(second, -1);
  assert_int_equal(none, 7);
  close(first);
}

/* A server that ended with connections open leaves its port in TIME_WAIT; the next one gets it all the same. */
static void test_a_restarted_server_gets_its_port_back(void **state) {
  (void)state;
  int listener, here, there;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT], byte;
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &here), HMC_SUCCESS);
  there = accept_one(listener, peer);
  close(there); /* the server's end first */
  struct pollfd wait = {.fd = here, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(recv(here, &byte, 1, 0), 0);
  close(here);
  close(listener);
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", port, &listener, NULL), HMC_SUCCESS);
  close(listener);
}

static void test_congestion_control_is_by_name(void **state) {
  (void)state;
  int listener, here, there;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT], name[16] = "";
  socklen_t size = sizeof(name);
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &here), HMC_SUCCESS);
  there = accept_one(listener, peer);
  assert_true(hmci_socket_stays_here(here));
  assert_true(hmci_socket_stays_here(there));
  assert_false(hmci_socket_stays_here(listener)); /* nobody at the other end */
  assert_int_equal(hmci_socket_set_congestion(here, "reno"), HMC_SUCCESS);
  assert_int_equal(getsockopt(here, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  assert_string_equal(name, "reno");
  assert_int_equal(hmci_socket_set_congestion(here, "wishes"), HMC_INVALID_CONFIG);
  assert_says("wishes");
  close(here);
  close(there);
  close(listener);
}

static void test_addresses_that_are_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"",
                                    "10.0.0",
                                    "1",
                                    "::1::2",
                                    "127.0.0.1 ",
                                    "[::1",
                                    "fe80::1%no-such-card",
                                    "127.0.0.1%lo",
                                    "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001%lo"};
  int descriptor = -1;
  uint16_t port = 9;
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    assert_int_equal(hmci_socket_listen_tcp(bad[i], 0, &descriptor, &port), HMC_INVALID_CONFIG);
    assert_says(bad[i]);
    assert_int_equal(hmci_socket_connect_tcp(bad[i], 1, soon(), &descriptor), HMC_INVALID_CONFIG);
  }
  assert_int_equal(hmci_socket_listen_tcp(NULL, 0, &descriptor, &port), HMC_INVALID_CONFIG);
  assert_int_equal(hmci_socket_listen_tcp("192.0.2.1", 0, &descriptor, &port), HMC_INVALID_CONFIG);
  assert_says("192.0.2.1:0 is not an address of this host");
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", 0, soon(), &descriptor), HMC_INVALID_CONFIG);
  assert_says("port");
  assert_int_equal(descriptor, -1);
  assert_int_equal(port, 9);
}

static void test_nobody_listens(void **state) {
  (void)state;
  int listener, descriptor = -1;
  uint16_t port;
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  close(listener);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &descriptor), HMC_NOT_FOUND);
  assert_says("nobody listens at 127.0.0.1:");

  dial_itself = true; /* TCP would connect the socket to itself, where nobody listens */
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &descriptor), HMC_NOT_FOUND);
  dial_itself = false;
  assert_int_equal(descriptor, -1);
}

/* A listener whose queue is full answers nobody. */
static void test_connecting_ends_at_the_deadline(void **state) {
  (void)state;
  enum { MOST = 8 };
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), descriptors[MOST], count = 0;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof(address);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
  assert_int_equal(listen(listener, 0), 0);
  getsockname(listener, (struct sockaddr *)&address, &size);
  hmc_status_t status = HMC_SUCCESS;
  uint64_t start = 0;
  while (status == HMC_SUCCESS && count < MOST) {
    start = hmci_now();
    status = hmci_socket_connect_tcp("127.0.0.1", ntohs(address.sin_port), hmci_deadline(50), &descriptors[count]);
    count += status == HMC_SUCCESS;
  }
  uint64_t took = hmci_now() - start;
  assert_int_equal(status, HMC_TIMEOUT);
  assert_true(took >= 50 * UINT64_C(1000000));
  while (count > 0) {
    close(descriptors[--count]);
  }
  close(listener);
}

static int option(int descriptor, int level, int name) {
  int value = -1;
  socklen_t size = sizeof(value);
  assert_int_equal(getsockopt(descriptor, level, name, &value, &size), 0);
  return value;
}

static void test_liveness(void **state) {
  (void)state;
  int listener;
  uint16_t port;
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  hmci_socket_set_liveness(listener, 9000);
  assert_int_equal(option(listener, IPPROTO_TCP, TCP_USER_TIMEOUT), 9000);
  assert_int_equal(option(listener, IPPROTO_TCP, TCP_KEEPIDLE), 3);
  assert_int_equal(option(listener, IPPROTO_TCP, TCP_KEEPINTVL), 3);
  assert_int_equal(option(listener, SOL_SOCKET, SO_KEEPALIVE), 1);
  hmci_socket_set_liveness(listener, 500);
  assert_int_equal(option(listener, IPPROTO_TCP, TCP_USER_TIMEOUT), 500);
  assert_int_equal(option(listener, IPPROTO_TCP, TCP_KEEPIDLE), 1);
  hmci_socket_set_liveness(listener, UINT64_MAX);
  assert_int_equal(option(listener, IPPROTO_TCP, TCP_KEEPIDLE), 32767);
  /* This host is there, as long as anybody asks. */
  struct sockaddr_in where = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(own, (struct sockaddr *)&where, sizeof(where)), 0);
  hmci_socket_set_liveness(own, 9000);
  assert_int_equal(option(own, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  assert_int_equal(option(own, SOL_SOCKET, SO_KEEPALIVE), 0);
  close(own);
  close(listener);
  assert_int_equal(hmci_socket_listen_unix(path, &listener), HMC_SUCCESS);
  hmci_socket_set_liveness(listener, 9000); /* has no meaning there, and does no harm */
  close(listener);
}

static void test_out_of_descriptors(void **state) {
  (void)state;
  int listener, here, there = -1;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT];
  struct rlimit before, none;
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &here), HMC_SUCCESS);
  struct pollfd wait = {.fd = listener, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  getrlimit(RLIMIT_NOFILE, &before);
  none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NOFILE, &none);
  hmc_status_t accepted = hmci_socket_accept(listener, &there, peer);
  hmc_status_t connected = hmci_socket_connect_tcp("127.0.0.1", port, soon(), &there);
  setrlimit(RLIMIT_NOFILE, &before);
  assert_int_equal(accepted, HMC_NO_MEMORY);
  assert_int_equal(connected, HMC_NO_MEMORY);
  assert_int_equal(there, -1);
  assert_int_equal(hmci_socket_accept(listener, &there, peer), HMC_SUCCESS); /* it still waits there */
  close(there);
  close(here);
  close(listener);
}

/* What a sandbox forbids, it forbids again: the caller learns of it. */
static void test_accepting_is_forbidden(void **state) {
  (void)state;
  static const int errors[] = {EPERM, EACCES, ENOSYS};
  int listener, there = -1;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT];
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
    forbids = errors[i];
    hmc_status_t status = hmci_socket_accept(listener, &there, peer);
    forbids = attempts = 0;
    assert_int_equal(status, HMC_ERROR);
    assert_non_null(strstr(hmc_last_error(), strerror(errors[i])));
  }
  assert_int_equal(there, -1);
  close(listener);
}

/* ---- UNIX sockets ------------------------------------------------------------------------------------------------ */

static void talk_unix(const char *name) {
  int listener, here, there = -1;
  char peer[HMCI_ADDRESS_TEXT], expected[HMCI_ADDRESS_TEXT];
  assert_int_equal(hmci_socket_listen_unix(name, &listener), HMC_SUCCESS);
  assert_flags(listener);
  assert_int_equal(hmci_socket_accept(listener, &there, peer), HMC_IN_PROGRESS);
  assert_int_equal(hmci_socket_connect_unix(name, soon(), &here), HMC_SUCCESS);
  assert_flags(here);
  there = accept_one(listener, peer);
  snprintf(expected, sizeof(expected), "unix:%s", name);
  assert_string_equal(peer, expected);
  assert_int_equal(send(here, "x", 1, 0), 1);
  char byte = 0;
  assert_int_equal(recv(there, &byte, 1, 0), 1);
  assert_int_equal(byte, 'x');

  int second = -1;
  assert_int_equal(hmci_socket_listen_unix(name, &second), HMC_ADDRESS_IN_USE);
  assert_says(name);
  assert_int_equal(second, -1);
  close(here);
  close(there);
  close(listener);
}

static void test_unix(void **state) {
  (void)state;
  struct stat file;
  char abstract[128];
  mode_t mask = umask(0);
  talk_unix(path);
  umask(mask);
  assert_int_equal(stat(path, &file), 0);
  assert_int_equal(file.st_mode & 07777, 0600);
  snprintf(abstract, sizeof(abstract), "@%s", path);
  talk_unix(abstract);
}

static void test_unix_paths_that_are_refused(void **state) {
  (void)state;
  int descriptor = -1;
  char name[120];
  memset(name, 'x', sizeof(name));
  name[108] = '\0'; /* one too long for the end */
  assert_int_equal(hmci_socket_listen_unix(name, &descriptor), HMC_INVALID_CONFIG);
  assert_says("107");
  assert_int_equal(hmci_socket_connect_unix(name, soon(), &descriptor), HMC_INVALID_CONFIG);
  assert_int_equal(hmci_socket_listen_unix("", &descriptor), HMC_INVALID_CONFIG);
  assert_int_equal(hmci_socket_listen_unix("@", &descriptor), HMC_INVALID_CONFIG);
  assert_int_equal(hmci_socket_listen_unix(NULL, &descriptor), HMC_INVALID_CONFIG);
  assert_int_equal(hmci_socket_listen_unix("/no/such/folder/socket", &descriptor), HMC_INVALID_CONFIG);
  assert_says("/no/such/folder/socket");
  name[0] = '@';
  assert_int_equal(hmci_socket_listen_unix(name, &descriptor), HMC_SUCCESS); /* an abstract name needs no end */
  close(descriptor);
}

static void test_a_stale_socket_file_is_replaced(void **state) {
  (void)state;
  int listener, here;
  assert_int_equal(hmci_socket_listen_unix(path, &listener), HMC_SUCCESS);
  close(listener); /* the file stays, as after a crash */
  assert_int_equal(hmci_socket_connect_unix(path, soon(), &here), HMC_NOT_FOUND);
  assert_int_equal(hmci_socket_listen_unix(path, &listener), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_unix(path, soon(), &here), HMC_SUCCESS);
  close(here);
  close(listener);
}

static void test_another_file_is_left_alone(void **state) {
  (void)state;
  int descriptor = -1, file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  struct stat status;
  assert_int_equal(write(file, "data", 4), 4);
  close(file);
  assert_int_equal(hmci_socket_listen_unix(path, &descriptor), HMC_ADDRESS_IN_USE);
  assert_says(path);
  assert_int_equal(stat(path, &status), 0);
  assert_int_equal(status.st_size, 4);
  assert_int_equal(descriptor, -1);
}

static void *listen_here(void *argument) {
  if (hmci_socket_listen_unix(path, argument) != HMC_SUCCESS) {
    *(int *)argument = -1;
  }
  return NULL;
}

/* Of several that find one stale file at the same time, one gets the name, and who has it keeps it. */
static void test_several_at_once_replace_a_stale_file_once(void **state) {
  (void)state;
  enum { THREADS = 6, ROUNDS = 5 };
  for (int round = 0; round < ROUNDS; round++) {
    int stale, listeners[THREADS], owners = 0, here;
    pthread_t threads[THREADS];
    unlink(path);
    assert_int_equal(hmci_socket_listen_unix(path, &stale), HMC_SUCCESS);
    close(stale);
    listen_slowly = true;
    for (int i = 0; i < THREADS; i++) {
      assert_int_equal(pthread_create(&threads[i], NULL, listen_here, &listeners[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
      pthread_join(threads[i], NULL);
    }
    listen_slowly = false;
    assert_int_equal(hmci_socket_connect_unix(path, soon(), &here), HMC_SUCCESS);
    close(here);
    for (int i = 0; i < THREADS; i++) {
      if (listeners[i] >= 0) {
        owners++;
        close(listeners[i]);
      }
    }
    assert_int_equal(owners, 1);
  }
}

static void test_connecting_to_a_unix_socket_fails_in_time(void **state) {
  (void)state;
  enum { MOST = 8 };
  int here = -1, descriptors[MOST], count = 0;
  uint64_t start = 0;
  assert_int_equal(hmci_socket_connect_unix(path, soon(), &here), HMC_NOT_FOUND);
  assert_says(path);

  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, strlen(path) + 1);
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
  assert_int_equal(listen(listener, 0), 0);
  hmc_status_t status = HMC_SUCCESS;
  while (status == HMC_SUCCESS && count < MOST) {
    start = hmci_now();
    status = hmci_socket_connect_unix(path, hmci_deadline(30), &descriptors[count]);
    count += status == HMC_SUCCESS;
  }
  assert_int_equal(status, HMC_TIMEOUT);
  assert_true(hmci_now() - start >= 30 * UINT64_C(1000000));
  while (count > 0) {
    close(descriptors[--count]);
  }
  close(listener);
}

/* Packets that this end has sent, those without data included. */
static uint32_t packets_sent(int descriptor) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  assert_int_equal(getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info.tcpi_segs_out;
}

/* Small messages one way, each read before the next one goes: without the wish each has an answer of its own. */
static void test_delayed_acks(void **state) {
  (void)state;
  enum { MESSAGES = 400, AGAIN = 20 };
  int ends[2];
  connect_pair(ends);
  uint32_t before = packets_sent(ends[1]);
  for (int i = 0; i < MESSAGES; i++) {
    char message[64] = "";
    struct pollfd wait = {.fd = ends[1], .events = POLLIN};
    if (i % AGAIN == 0) hmci_socket_delay_acks(ends[1]);
    assert_int_equal(send(ends[0], message, sizeof message, MSG_NOSIGNAL), sizeof message);
    assert_int_equal(poll(&wait, 1, 60000), 1);
    assert_int_equal(recv(ends[1], message, sizeof message, 0), sizeof message);
  }
  assert_true(packets_sent(ends[1]) - before < MESSAGES * 3 / 4);
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(test_delayed_acks),
      TEST(test_address_texts),
      TEST(test_tcp),
      TEST(test_a_port_in_use),
      TEST(test_a_restarted_server_gets_its_port_back),
      TEST(test_congestion_control_is_by_name),
      TEST(test_addresses_that_are_refused),
      TEST(test_nobody_listens),
      TEST(test_connecting_ends_at_the_deadline),
      TEST(test_liveness),
      TEST(test_out_of_descriptors),
      TEST(test_accepting_is_forbidden),
      TEST(test_unix),
      TEST(test_unix_paths_that_are_refused),
      TEST(test_a_stale_socket_file_is_replaced),
      TEST(test_another_file_is_left_alone),
      TEST(test_several_at_once_replace_a_stale_file_once),
      TEST(test_connecting_to_a_unix_socket_fails_in_time),
  };
  return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
