#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "secure.h"
#include "socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static hmci_secret_t ours = {.key = {1, 2, 3}, .source = "/home/me/.hmc/secret"};
static hmci_secret_t other = {.key = {9, 9, 9}, .source = "HMC_SECRET"};
static hmci_secret_t insecure = {.insecure = true, .source = "HMC_INSECURE"};

/* Whom SO_PEERCRED shows; -1: the truth. */
static int64_t pretended_user = -1;

int getsockopt(int descriptor, int level, int option, void *value, socklen_t *size) {
  int result = (int)syscall(SYS_getsockopt, descriptor, level, option, value, size);
  if (result == 0 && level == SOL_SOCKET && option == SO_PEERCRED && pretended_user >= 0) {
    ((struct ucred *)value)->uid = (uid_t)pretended_user;
  }
  return result;
}

static uint64_t soon(void) { return hmci_deadline(5000); }

static void tcp_pair(int ends[2]) {
  int listener;
  uint16_t port;
  char peer[HMCI_ADDRESS_TEXT];
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, soon(), &ends[0]), HMC_SUCCESS);
  struct pollfd wait = {.fd = listener, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 5000), 1);
  assert_int_equal(hmci_socket_accept(listener, &ends[1], peer), HMC_SUCCESS);
  close(listener);
}

static void unix_pair(int ends[2]) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
}

typedef struct pair {
  hmci_secure_t *client, *server;
  hmc_status_t client_status, server_status;
  char client_text[HMCI_ERROR_TEXT], server_text[HMCI_ERROR_TEXT];
} pair_t;

static hmc_status_t step(hmci_secure_t *stream, hmc_status_t status, char *text) {
  short events = 0;
  if (status != HMC_IN_PROGRESS) {
    return status;
  }
  status = hmci_secure_handshake(stream, &events);
  assert_true(ERR_peek_error() == 0);
  if (status == HMC_IN_PROGRESS) {
    assert_true(events != 0);
  } else if (status != HMC_SUCCESS) {
    memcpy(text, hmc_last_error(), HMCI_ERROR_TEXT);
  }
  return status;
}

/* Runs both handshakes to their ends; one that fails hangs up, as every user of a stream does. */
static void greet_each_other(pair_t *pair, const hmci_secret_t *client, const hmci_secret_t *server, const int ends[2]) {
  *pair = (pair_t){.client_status = HMC_IN_PROGRESS, .server_status = HMC_IN_PROGRESS};
  assert_int_equal(hmci_secure_open(client, ends[0], HMCI_SECURE_CLIENT, "the server", &pair->client), HMC_SUCCESS);
  assert_int_equal(hmci_secure_open(server, ends[1], HMCI_SECURE_SERVER, "the client", &pair->server), HMC_SUCCESS);
  for (int i = 0; i < 10000; i++) {
    pair->client_status = step(pair->client, pair->client_status, pair->client_text);
    if (pair->client_status != HMC_SUCCESS && pair->client_status != HMC_IN_PROGRESS) {
      hmci_secure_close(pair->client);
      pair->client = NULL;
    }
    pair->server_status = step(pair->server, pair->server_status, pair->server_text);
    if (pair->server_status != HMC_SUCCESS && pair->server_status != HMC_IN_PROGRESS) {
      hmci_secure_close(pair->server);
      pair->server = NULL;
    }
    if (pair->client_status != HMC_IN_PROGRESS && pair->server_status != HMC_IN_PROGRESS) {
      return;
    }
    poll(NULL, 0, i < 100 ? 0 : 1);
  }
  fail_msg("the handshakes do not end: client %s, server %s", hmc_status_name(pair->client_status),
           hmc_status_name(pair->server_status));
}

static void good_pair(pair_t *pair, const hmci_secret_t *secret, bool is_unix) {
  int ends[2];
  (is_unix ? unix_pair : tcp_pair)(ends);
  greet_each_other(pair, secret, secret, ends);
  if (pair->client_status != HMC_SUCCESS || pair->server_status != HMC_SUCCESS) {
    fail_msg("client: %s, server: %s", pair->client_text, pair->server_text);
  }
}

static void close_pair(pair_t *pair) {
  hmci_secure_close(pair->client);
  hmci_secure_close(pair->server);
}

static void assert_says(const char *text, const char *part) {
  if (strstr(text, part) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", text, part);
  }
}

/* ---- streams that work ----------------------------------------------------------------------------------------------- */

static void exchange(hmci_secure_t *from, hmci_secure_t *to) {
  char message[] = "a message", received[sizeof(message)] = "";
  assert_int_equal(hmci_secure_write_wait(from, message, sizeof(message), soon()), HMC_SUCCESS);
  assert_int_equal(hmci_secure_read_wait(to, received, 1, soon()), HMC_SUCCESS);
  assert_int_equal(hmci_secure_read_wait(to, received + 1, sizeof(message) - 1, soon()), HMC_SUCCESS);
  assert_string_equal(received, message);
  assert_false(hmci_secure_pending(to));
}

/* Far more than the socket buffers hold, so that writes are partial and wait. */
static void push_much(hmci_secure_t *from, hmci_secure_t *to) {
  enum { SIZE = 8 << 20 };
  uint8_t *data = malloc(SIZE), *received = malloc(SIZE);
  assert_non_null(data);
  assert_non_null(received);
  for (size_t i = 0; i < SIZE; i++) {
    data[i] = (uint8_t)(i * 7 + (i >> 13));
  }
  size_t sent = 0, got = 0, waits = 0;
  while (got < SIZE) {
    size_t done = 0;
    short events = 0;
    hmc_status_t status = HMC_SUCCESS;
    while (sent < SIZE && status == HMC_SUCCESS) {
      done = 0;
      status = hmci_secure_write(from, data + sent, SIZE - sent, &done, &events);
      assert_true(status == HMC_SUCCESS ? done > 0 && done < SIZE : status == HMC_IN_PROGRESS && done == 0 && events == POLLOUT);
      sent += done;
      waits += status == HMC_IN_PROGRESS;
    }
    do {
      done = 0;
      status = hmci_secure_read(to, received + got, SIZE - got, &done, &events);
      assert_true(status == HMC_SUCCESS ? done > 0 : status == HMC_IN_PROGRESS && done == 0 && events == POLLIN);
      got += done;
    } while (status == HMC_SUCCESS && got < SIZE);
  }
  assert_true(waits > 0);
  assert_memory_equal(data, received, SIZE);
  free(data);
  free(received);
}

static void use_pair(const hmci_secret_t *secret, bool is_unix) {
  pair_t pair;
  char byte;
  size_t done = 0;
  short events = 0;
  good_pair(&pair, secret, is_unix);
  exchange(pair.client, pair.server);
  exchange(pair.server, pair.client);
  push_much(pair.client, pair.server);
  push_much(pair.server, pair.client);
  assert_int_equal(hmci_secure_read(pair.client, &byte, 1, &done, &events), HMC_IN_PROGRESS);
  assert_int_equal(events, POLLIN);
  assert_int_equal(hmci_secure_handshake(pair.client, &events), HMC_SUCCESS);
  close_pair(&pair);
}

static void test_tls(void **state) {
  (void)state;
  use_pair(&ours, false);
}

static void test_unix(void **state) {
  (void)state;
  use_pair(&ours, true);
}

static void test_insecure(void **state) {
  (void)state;
  use_pair(&insecure, false);
  use_pair(&insecure, true);
}

/* What runs over TCP with a secret is TLS: nothing that is sent can be read on the way. */
static void test_tls_hides_what_it_carries(void **state) {
  (void)state;
  static const char text[] = "nobody else may read this line";
  pair_t pair;
  char raw[512];
  good_pair(&pair, &ours, false);
  assert_int_equal(hmci_secure_write_wait(pair.client, text, sizeof(text), soon()), HMC_SUCCESS);
  struct pollfd wait = {.fd = hmci_secure_descriptor(pair.server), .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 5000), 1);
  ssize_t size = recv(wait.fd, raw, sizeof(raw), MSG_PEEK);
  assert_true(size > (ssize_t)sizeof(text));
  assert_memory_equal(raw, "\x17\x03\x03", 3);
  assert_null(memmem(raw, (size_t)size, "nobody", 6));
  close_pair(&pair);
}

static void test_pending_tells_of_the_rest_of_a_record(void **state) {
  (void)state;
  pair_t pair;
  char data[100] = {0};
  good_pair(&pair, &ours, false);
  assert_false(hmci_secure_pending(pair.server));
  assert_int_equal(hmci_secure_write_wait(pair.client, data, sizeof(data), soon()), HMC_SUCCESS);
  assert_int_equal(hmci_secure_read_wait(pair.server, data, 40, soon()), HMC_SUCCESS);
  assert_true(hmci_secure_pending(pair.server));
  assert_int_equal(hmci_secure_read_wait(pair.server, data, 60, soon()), HMC_SUCCESS);
  assert_false(hmci_secure_pending(pair.server));
  close_pair(&pair);
}

/* Bare bytes right behind the last secure ones are all there for the socket's next user. */
static void detach_pair(const hmci_secret_t *secret, bool is_unix) {
  pair_t pair;
  char received[32] = "";
  good_pair(&pair, secret, is_unix);
  assert_int_equal(hmci_secure_write_wait(pair.client, "inside", 6, soon()), HMC_SUCCESS);
  int client = hmci_secure_detach(pair.client);
  assert_int_equal(send(client, "outside", 8, 0), 8);
  assert_int_equal(hmci_secure_read_wait(pair.server, received, 6, soon()), HMC_SUCCESS);
  assert_memory_equal(received, "inside", 6);
  int server = hmci_secure_detach(pair.server);
  struct pollfd wait = {.fd = server, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 5000), 1);
  assert_int_equal(recv(server, received, sizeof(received), 0), 8);
  assert_string_equal(received, "outside");
  assert_int_equal(send(server, "back", 5, 0), 5);
  wait.fd = client;
  assert_int_equal(poll(&wait, 1, 5000), 1);
  assert_int_equal(recv(client, received, sizeof(received), 0), 5);
  assert_string_equal(received, "back");
  close(client);
  close(server);
}

static void test_detach(void **state) {
  (void)state;
  detach_pair(&ours, false);
  detach_pair(&ours, true);
  detach_pair(&insecure, false);
}

/* ---- ends that do not fit together ----------------------------------------------------------------------------------- */

static void test_another_secret_is_denied_at_both_ends(void **state) {
  (void)state;
  int ends[2];
  pair_t pair;
  tcp_pair(ends);
  greet_each_other(&pair, &ours, &other, ends);
  assert_int_equal(pair.client_status, HMC_DENIED);
  assert_int_equal(pair.server_status, HMC_DENIED);
  assert_says(pair.client_text, "the server");
  assert_says(pair.client_text, "/home/me/.hmc/secret");
  assert_says(pair.client_text, "HMC_SECRET_FILE");
  assert_says(pair.client_text, "copy");
  assert_says(pair.server_text, "the client has another secret");
  assert_says(pair.server_text, "looked for here is HMC_SECRET.");
  assert_says(pair.server_text, "HMC_SECRET_FILE");
}

static void deny_kinds(const hmci_secret_t *client, const hmci_secret_t *server, bool is_unix) {
  int ends[2];
  pair_t pair;
  (is_unix ? unix_pair : tcp_pair)(ends);
  greet_each_other(&pair, client, server, ends);
  assert_int_equal(pair.client_status, HMC_DENIED);
  assert_int_equal(pair.server_status, HMC_DENIED);
  assert_says(pair.client_text, "HMC_INSECURE");
  assert_says(pair.server_text, "HMC_INSECURE");
}

static void test_secure_and_insecure_are_told_apart(void **state) {
  (void)state;
  deny_kinds(&ours, &insecure, false);
  deny_kinds(&insecure, &ours, false);
  deny_kinds(&ours, &insecure, true);
  deny_kinds(&insecure, &ours, true);
}

static void test_another_user_is_denied_at_both_ends(void **state) {
  (void)state;
  int ends[2];
  pair_t pair;
  char user[32];
  pretended_user = (int64_t)geteuid() + 4242;
  snprintf(user, sizeof(user), "user %lld;", (long long)pretended_user);
  unix_pair(ends);
  greet_each_other(&pair, &ours, &ours, ends);
  pretended_user = -1;
  assert_int_equal(pair.client_status, HMC_DENIED);
  assert_int_equal(pair.server_status, HMC_DENIED);
  assert_says(pair.client_text, user);
  assert_says(pair.server_text, user);
}

/* The end that would take the other one learns from the greeting why it was turned away. */
static void test_the_one_turned_away_learns_why(void **state) {
  (void)state;
  int ends[2];
  hmci_secure_t *client, *server;
  unix_pair(ends);
  assert_int_equal(hmci_secure_open(&ours, ends[0], HMCI_SECURE_CLIENT, "the server", &client), HMC_SUCCESS);
  pretended_user = (int64_t)geteuid() + 4242;
  assert_int_equal(hmci_secure_open(&ours, ends[1], HMCI_SECURE_SERVER, "the client", &server), HMC_SUCCESS);
  pretended_user = -1;
  short events;
  assert_int_equal(hmci_secure_handshake(server, &events), HMC_IN_PROGRESS);
  assert_int_equal(hmci_secure_handshake_wait(client, soon()), HMC_DENIED);
  assert_says(hmc_last_error(), "does not let user");
  assert_int_equal(hmci_secure_handshake_wait(server, soon()), HMC_DENIED);
  hmci_secure_close(client);
  hmci_secure_close(server);
}

static void test_root_is_let_in(void **state) {
  (void)state;
  int ends[2];
  pair_t pair;
  pretended_user = 0;
  unix_pair(ends);
  greet_each_other(&pair, &ours, &ours, ends);
  pretended_user = -1;
  assert_int_equal(pair.client_status, HMC_SUCCESS);
  assert_int_equal(pair.server_status, HMC_SUCCESS);
  close_pair(&pair);
}

/* ---- strangers ------------------------------------------------------------------------------------------------------- */

/* An end of ours meets one that sends `data` and then hangs up, or stays silent. */
static hmc_status_t meet(const hmci_secret_t *secret, hmci_secure_role_t role, bool is_unix, const void *data, size_t size,
                         bool hang_up, uint64_t timeout_ms) {
  int ends[2];
  hmci_secure_t *stream;
  (is_unix ? unix_pair : tcp_pair)(ends);
  assert_int_equal(hmci_secure_open(secret, ends[1], role, "the stranger", &stream), HMC_SUCCESS);
  if (size > 0) {
    assert_int_equal(send(ends[0], data, size, MSG_NOSIGNAL), (ssize_t)size);
  }
  if (hang_up) {
    shutdown(ends[0], SHUT_WR);
  }
  hmc_status_t status = hmci_secure_handshake_wait(stream, hmci_deadline(timeout_ms));
  assert_true(ERR_peek_error() == 0);
  if (status != HMC_SUCCESS) {
    assert_says(hmc_last_error(), "the stranger");
  }
  close(ends[0]);
  hmci_secure_close(stream);
  return status;
}

static const struct {
  const hmci_secret_t *secret;
  bool is_unix;
} kinds[] = {{&ours, false}, {&ours, true}, {&insecure, false}};

static void test_garbage_is_denied(void **state) {
  (void)state;
  static const char request[] = "GET /index.html HTTP/1.1\r\nHost: x\r\n\r\n";
  uint8_t noise[300];
  for (size_t i = 0; i < sizeof(noise); i++) {
    noise[i] = (uint8_t)(i * 91 + 200);
  }
  for (size_t i = 0; i < 3; i++) {
    for (int role = 0; role < 2; role++) {
      hmci_secure_role_t as = role ? HMCI_SECURE_SERVER : HMCI_SECURE_CLIENT;
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, request, sizeof(request), false, 5000), HMC_DENIED);
      assert_says(hmc_last_error(), "no HMC");
      assert_says(hmc_last_error(), "GET ");
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, noise, sizeof(noise), true, 5000), HMC_DENIED);
      assert_says(hmc_last_error(), "no HMC");
    }
  }
}

static void test_hanging_up_early_is_told(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    for (int role = 0; role < 2; role++) {
      hmci_secure_role_t as = role ? HMCI_SECURE_SERVER : HMCI_SECURE_CLIENT;
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, NULL, 0, true, 5000), HMC_PEER_LOST);
      const char *half = i == 0 ? "\x16\x03\x01\x02" : "HMCG\x01";
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, half, 4, true, 5000), HMC_PEER_LOST);
    }
  }
}

static void test_silence_ends_at_the_deadline(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    uint64_t start = hmci_now();
    assert_int_equal(meet(kinds[i].secret, HMCI_SECURE_SERVER, kinds[i].is_unix, NULL, 0, false, 20), HMC_TIMEOUT);
    const char *half = i == 0 ? "\x16\x03\x01\x02" : "HMCG\x01";
    assert_int_equal(meet(kinds[i].secret, HMCI_SECURE_CLIENT, kinds[i].is_unix, half, 4, false, 20), HMC_TIMEOUT);
    uint64_t took = hmci_now() - start;
    assert_true(took >= 40 * UINT64_C(1000000) && took < 2000 * UINT64_C(1000000));
  }
}

/* A record that says it holds a message of 100 KB is turned down when it has said so, not when it has sent it. */
static void test_what_claims_too_much_is_denied(void **state) {
  (void)state;
  uint8_t record[512] = {0x16, 3, 1, 1, 0xfb, 1, 1, 0x86, 0xa0, 3, 3};
  assert_int_equal(meet(&ours, HMCI_SECURE_SERVER, false, record, sizeof(record), false, 5000), HMC_DENIED);
  assert_says(hmc_last_error(), "larger than");
}

/* Lets a foreign TLS end in this process meet one of ours; gives our status. */
static hmc_status_t meet_tls(SSL_CTX *context, hmci_secure_role_t role) {
  int ends[2];
  hmci_secure_t *stream;
  hmc_status_t status = HMC_IN_PROGRESS;
  char text[HMCI_ERROR_TEXT] = "";
  tcp_pair(ends);
  assert_int_equal(hmci_secure_open(&ours, ends[1], role, "the stranger", &stream), HMC_SUCCESS);
  SSL *ssl = SSL_new(context);
  SSL_set_fd(ssl, ends[0]);
  if (role == HMCI_SECURE_SERVER) {
    SSL_set_connect_state(ssl);
  } else {
    SSL_set_accept_state(ssl);
  }
  for (int i = 0; i < 5000 && status == HMC_IN_PROGRESS; i++) {
    SSL_do_handshake(ssl);
    ERR_clear_error();
    status = step(stream, status, text);
    poll(NULL, 0, i < 100 ? 0 : 1);
  }
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(ends[0]);
  hmci_secure_close(stream);
  if (status != HMC_SUCCESS) {
    assert_says(text, "the stranger");
    assert_says(text, "HMC_SECRET_FILE");
  }
  return status;
}

static void add_certificate(SSL_CTX *context) {
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *certificate = X509_new();
  assert_non_null(key);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
  assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
  assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
  X509_free(certificate);
  EVP_PKEY_free(key);
}

static void test_tls_of_another_kind_is_denied(void **state) {
  (void)state;
  SSL_CTX *context = SSL_CTX_new(TLS_client_method()); /* as a browser would come */
  assert_int_equal(meet_tls(context, HMCI_SECURE_SERVER), HMC_DENIED);
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  assert_int_equal(meet_tls(context, HMCI_SECURE_SERVER), HMC_DENIED);

  context = SSL_CTX_new(TLS_server_method()); /* a web server: it completes the handshake, but by a certificate */
  add_certificate(context);
  assert_int_equal(meet_tls(context, HMCI_SECURE_CLIENT), HMC_DENIED);
  context = SSL_CTX_new(TLS_server_method());
  add_certificate(context);
  SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  assert_int_equal(meet_tls(context, HMCI_SECURE_CLIENT), HMC_DENIED);
}

/* Knows the identity, which is no secret, but not the key. */
static const unsigned char *stolen_identity;
static size_t stolen_size;

static int offer_stolen(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *size, SSL_SESSION **session) {
  static const unsigned char cipher[] = {0x13, 0x01};
  uint8_t key[32] = {7};
  (void)digest;
  *session = SSL_SESSION_new();
  SSL_SESSION_set1_master_key(*session, key, sizeof(key));
  SSL_SESSION_set_cipher(*session, SSL_CIPHER_find(ssl, cipher));
  SSL_SESSION_set_protocol_version(*session, TLS1_3_VERSION);
  *identity = stolen_identity;
  *size = stolen_size;
  return 1;
}

static void test_the_identity_alone_opens_nothing(void **state) {
  (void)state;
  int ends[2];
  hmci_secure_t *client;
  uint8_t hello[1024];
  short events;
  tcp_pair(ends);
  assert_int_equal(hmci_secure_open(&ours, ends[0], HMCI_SECURE_CLIENT, "a listener", &client), HMC_SUCCESS);
  assert_int_equal(hmci_secure_handshake(client, &events), HMC_IN_PROGRESS);
  struct pollfd wait = {.fd = ends[1], .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 5000), 1);
  ssize_t size = recv(ends[1], hello, sizeof(hello), 0);
  assert_true(size > 0);
  stolen_identity = memmem(hello, (size_t)size, "\x00\x0bhmc", 5);
  assert_non_null(stolen_identity);
  stolen_identity += 2;
  stolen_size = 11;
  hmci_secure_close(client);
  close(ends[1]);

  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_psk_use_session_callback(context, offer_stolen);
  assert_int_equal(meet_tls(context, HMCI_SECURE_SERVER), HMC_DENIED);
}

/* ---- streams that end ------------------------------------------------------------------------------------------------ */

static void end_pair(const hmci_secret_t *secret, bool is_unix, bool politely) {
  pair_t pair;
  char byte = 0;
  good_pair(&pair, secret, is_unix);
  int copy = dup(hmci_secure_descriptor(pair.client)); /* as a child made by fork() has one */
  assert_int_equal(hmci_secure_write_wait(pair.client, "x", 1, soon()), HMC_SUCCESS);
  if (politely) {
    hmci_secure_close(pair.client);
  } else {
    close(hmci_secure_detach(pair.client));
    shutdown(copy, SHUT_RDWR);
  }
  assert_int_equal(hmci_secure_read_wait(pair.server, &byte, 1, soon()), HMC_SUCCESS);
  assert_int_equal(byte, 'x');
  assert_int_equal(hmci_secure_read_wait(pair.server, &byte, 1, soon()), HMC_PEER_LOST);
  assert_says(hmc_last_error(), "the client");
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < 10000 && status == HMC_SUCCESS; i++) { /* would raise SIGPIPE */
    status = hmci_secure_write_wait(pair.server, "yyyyyyyyyyyyyyyy", 16, hmci_deadline(1000));
  }
  assert_int_equal(status, HMC_PEER_LOST);
  assert_true(ERR_peek_error() == 0);
  close(copy);
  hmci_secure_close(pair.server);
}

static void test_the_end_of_a_stream(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    end_pair(kinds[i].secret, kinds[i].is_unix, true);
    end_pair(kinds[i].secret, kinds[i].is_unix, false);
  }
}

static void test_tampering_is_noticed(void **state) {
  (void)state;
  pair_t pair;
  char byte;
  good_pair(&pair, &ours, false);
  /* A record that was not made by the peer. */
  static const uint8_t forged[] = {0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
  assert_int_equal(send(hmci_secure_descriptor(pair.client), forged, sizeof(forged), 0), sizeof(forged));
  assert_int_equal(hmci_secure_read_wait(pair.server, &byte, 1, soon()), HMC_CORRUPT);
  assert_says(hmc_last_error(), "the client");
  assert_true(ERR_peek_error() == 0);
  close_pair(&pair);
}

static void test_waits_end_at_their_deadlines(void **state) {
  (void)state;
  pair_t pair;
  char *data = calloc(1, 16 << 20), byte;
  assert_non_null(data);
  good_pair(&pair, &ours, false);
  uint64_t start = hmci_now();
  assert_int_equal(hmci_secure_read_wait(pair.client, &byte, 1, hmci_deadline(20)), HMC_TIMEOUT);
  assert_says(hmc_last_error(), "0 of 1 B");
  assert_int_equal(hmci_secure_write_wait(pair.client, data, 16 << 20, hmci_deadline(20)), HMC_TIMEOUT);
  assert_int_equal(hmci_secure_read_wait(pair.client, &byte, 1, 0), HMC_TIMEOUT);
  uint64_t took = hmci_now() - start;
  assert_true(took >= 40 * UINT64_C(1000000) && took < 2000 * UINT64_C(1000000));
  close_pair(&pair);
  free(data);
}

/* ---- the rest -------------------------------------------------------------------------------------------------------- */

static void *run_server(void *argument) {
  hmci_secure_t *stream;
  char received[8];
  bool good = hmci_secure_open(&ours, *(int *)argument, HMCI_SECURE_SERVER, "the client", &stream) == HMC_SUCCESS &&
              hmci_secure_handshake_wait(stream, soon()) == HMC_SUCCESS &&
              hmci_secure_read_wait(stream, received, 8, soon()) == HMC_SUCCESS &&
              hmci_secure_write_wait(stream, received, 8, soon()) == HMC_SUCCESS;
  hmci_secure_close(good ? stream : NULL);
  return good ? argument : NULL;
}

static void *run_client(void *argument) {
  hmci_secure_t *stream;
  char received[8] = "";
  bool good = hmci_secure_open(&ours, *(int *)argument, HMCI_SECURE_CLIENT, "the server", &stream) == HMC_SUCCESS &&
              hmci_secure_handshake_wait(stream, soon()) == HMC_SUCCESS &&
              hmci_secure_write_wait(stream, "message", 8, soon()) == HMC_SUCCESS &&
              hmci_secure_read_wait(stream, received, 8, soon()) == HMC_SUCCESS && strcmp(received, "message") == 0;
  hmci_secure_close(good ? stream : NULL);
  return good ? argument : NULL;
}

/* Streams of several threads share what belongs to the secret. */
static void test_threads(void **state) {
  (void)state;
  enum { PAIRS = 4, ROUNDS = 5 };
  for (int round = 0; round < ROUNDS; round++) {
    int ends[PAIRS][2];
    pthread_t threads[PAIRS][2];
    for (int i = 0; i < PAIRS; i++) {
      tcp_pair(ends[i]);
      assert_int_equal(pthread_create(&threads[i][0], NULL, run_client, &ends[i][0]), 0);
      assert_int_equal(pthread_create(&threads[i][1], NULL, run_server, &ends[i][1]), 0);
    }
    for (int i = 0; i < PAIRS; i++) {
      void *result;
      pthread_join(threads[i][0], &result);
      assert_non_null(result);
      pthread_join(threads[i][1], &result);
      assert_non_null(result);
    }
  }
}

static void test_a_failed_open_leaves_the_descriptor(void **state) {
  (void)state;
  hmci_secure_t *stream = (hmci_secure_t *)&ours;
  int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  assert_int_equal(hmci_secure_open(&ours, file, HMCI_SECURE_CLIENT, "nobody", &stream), HMC_INVALID_CONFIG);
  assert_ptr_equal(stream, &ours);
  assert_int_equal(close(file), 0);
  hmci_secure_close(NULL);
}

static int open_descriptors(void) {
  int count = 0;
  DIR *directory = opendir("/proc/self/fd");
  while (readdir(directory) != NULL) {
    count++;
  }
  closedir(directory);
  return count;
}

static int descriptors_before;
static int count_before(void **state) {
  (void)state;
  descriptors_before = open_descriptors();
  return 0;
}
static int count_after(void **state) {
  (void)state;
  return open_descriptors() == descriptors_before ? 0 : -1;
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, count_before, count_after)
  const struct CMUnitTest tests[] = {
      TEST(test_tls),
      TEST(test_unix),
      TEST(test_insecure),
      TEST(test_tls_hides_what_it_carries),
      TEST(test_pending_tells_of_the_rest_of_a_record),
      TEST(test_detach),
      TEST(test_another_secret_is_denied_at_both_ends),
      TEST(test_secure_and_insecure_are_told_apart),
      TEST(test_another_user_is_denied_at_both_ends),
      TEST(test_the_one_turned_away_learns_why),
      TEST(test_root_is_let_in),
      TEST(test_garbage_is_denied),
      TEST(test_hanging_up_early_is_told),
      TEST(test_silence_ends_at_the_deadline),
      TEST(test_what_claims_too_much_is_denied),
      TEST(test_tls_of_another_kind_is_denied),
      TEST(test_the_identity_alone_opens_nothing),
      TEST(test_the_end_of_a_stream),
      TEST(test_tampering_is_noticed),
      TEST(test_waits_end_at_their_deadlines),
      TEST(test_threads),
      TEST(test_a_failed_open_leaves_the_descriptor),
  };
  return cmocka_run_group_tests_name("secure", tests, NULL, NULL);
}
