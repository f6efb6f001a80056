/* Secure streams and ends that do not fit together, or are not HMC at all. */
#include "secure_fixture.h"

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static hmci_secret_t other = {.key = {9, 9, 9}, .source = "HMC_SECRET"};

/* Whom SO_PEERCRED shows; -1: the truth. */
static int64_t pretended_user = -1;

int getsockopt(int descriptor, int level, int option, void *value, socklen_t *size) {
  int result = (int)syscall(SYS_getsockopt, descriptor, level, option, value, size);
  if (result == 0 && level == SOL_SOCKET && option == SO_PEERCRED && pretended_user >= 0) {
    ((struct ucred *)value)->uid = (uid_t)pretended_user;
  }
  return result;
}

/* ---- ends that do not fit together ------------------------------------------------------------------------------- */

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

/* The kernel vouches for the user, who may have two jobs. */
static void test_another_secret_is_denied_on_a_unix_socket(void **state) {
  (void)state;
  int ends[2];
  pair_t pair;
  unix_pair(ends);
  greet_each_other(&pair, &ours, &other, ends);
  assert_int_equal(pair.client_status, HMC_DENIED);
  assert_int_equal(pair.server_status, HMC_DENIED);
  assert_says(pair.client_text, "the server has another secret");
  assert_says(pair.client_text, "/home/me/.hmc/secret");
  assert_says(pair.server_text, "the client has another secret");
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

/* The end that would take the other one learns from the preamble why it was turned away. */
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

/* ---- strangers --------------------------------------------------------------------------------------------------- */

/* An end of ours meets one that sends `data` and then hangs up, or stays silent. */
static hmc_status_t meet(const hmci_secret_t *secret, hmci_secure_role_t role, bool is_unix, const void *data,
                         size_t size, bool hang_up, uint64_t timeout_ms) {
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
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, request, sizeof(request), false, 60000), HMC_DENIED);
      assert_says(hmc_last_error(), "not HMC");
      assert_says(hmc_last_error(), "GET ");
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, noise, sizeof(noise), true, 60000), HMC_DENIED);
      assert_says(hmc_last_error(), "not HMC");
    }
  }
}

static void test_hanging_up_early_is_told(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    for (int role = 0; role < 2; role++) {
      hmci_secure_role_t as = role ? HMCI_SECURE_SERVER : HMCI_SECURE_CLIENT;
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, NULL, 0, true, 60000), HMC_PEER_LOST);
      const char *half = i == 0 ? "\x16\x03\x01\x02" : "HMCG\x01";
      assert_int_equal(meet(kinds[i].secret, as, kinds[i].is_unix, half, 4, true, 60000), HMC_PEER_LOST);
    }
  }
}

/* A listener that has no room, or no patience, says so before it hangs up; over TLS too, which is read piece by piece. */
static void test_a_busy_listener_is_told_from_others(void **state) {
  (void)state;
  for (size_t i = 0; i < 3; i++) {
    int ends[2];
    hmci_secure_t *stream;
    if (kinds[i].is_unix) {
      unix_pair(ends);
    } else {
      tcp_pair(ends);
    }
    hmci_secure_send_busy(ends[0]);
    shutdown(ends[0], SHUT_WR);
    assert_int_equal(hmci_secure_open(kinds[i].secret, ends[1], HMCI_SECURE_CLIENT, "the listener", &stream),
                     HMC_SUCCESS);
    assert_int_equal(hmci_secure_handshake_wait(stream, soon()), HMC_PEER_LOST);
    assert_says(hmc_last_error(), "busy");
    assert_true(hmci_secure_is_busy(stream));
    hmci_secure_close(stream);
    close(ends[0]);
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
    assert_true(took >= 40 * UINT64_C(1000000));
  }
}

/* A message that says it has 64 KB and more is turned down when it has said so, not when it has come, also where it says so
 * in two records. */
static void test_what_claims_too_much_is_denied(void **state) {
  (void)state;
  static const uint8_t openings[][512] = {
      {0x16, 3, 1, 1, 0xfb, 1, 1, 0x86, 0xa0, 3, 3},
      {0x16, 3, 1, 0, 2, 1, 0, 0x16, 3, 1, 1, 0xf4, 0xff, 0xfa, 3, 3},
      {0x16, 3, 1, 0, 3, 1, 1, 0x86, 0x16, 3, 1, 1, 0xf3, 0xa0, 3, 3},
  };
  for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
    hmc_status_t status = meet(&ours, HMCI_SECURE_SERVER, false, openings[i], sizeof(openings[i]), false, 60000);
    if (status != HMC_DENIED) fail_msg("opening %zu: %s", i, hmc_last_error());
    assert_says(hmc_last_error(), "larger than");
  }
}

/* One that begins as an end of another kind does and sends on is answered, but not listened to for as long as it likes. */
static void test_what_is_refused_is_not_read_on(void **state) {
  (void)state;
  static const struct {
    const hmci_secret_t *secret;
    bool is_unix;
    const char *opening;
  } cases[] = {{&ours, false, "HMCG\1\3"}, {&insecure, false, "\x16\3\1"}, {&ours, true, "\x16\3\1"}};
  static uint8_t flood[1 << 16];
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    int ends[2], left = 0;
    hmci_secure_t *stream;
    (cases[i].is_unix ? unix_pair : tcp_pair)(ends);
    memcpy(flood, cases[i].opening, strlen(cases[i].opening));
    size_t sent = 0;
    for (ssize_t some; sent < 10 * sizeof(flood) && (some = send(ends[0], flood, sizeof(flood), MSG_NOSIGNAL)) > 0;) {
      sent += (size_t)some;
    }
    assert_true(sent > sizeof(flood));
    assert_int_equal(hmci_secure_open(cases[i].secret, ends[1], HMCI_SECURE_SERVER, "the stranger", &stream),
                     HMC_SUCCESS);
    assert_int_equal(hmci_secure_handshake_wait(stream, soon()), HMC_DENIED);
    assert_int_equal(ioctl(ends[1], FIONREAD, &left), 0);
    assert_true(left > 0);
    uint8_t answer[6];
    assert_int_equal(recv(ends[0], answer, sizeof(answer), 0), sizeof(answer));
    assert_memory_equal(answer, "HMCG", 4);
    hmci_secure_close(stream);
    close(ends[0]);
  }
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
  for (int i = 0; i < 60000 && status == HMC_IN_PROGRESS; i++) {
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

/* Knows the identity, which is public, but not the key. */
static const unsigned char *stolen_identity;
static size_t stolen_size;

static int offer_stolen(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *size,
                        SSL_SESSION **session) {
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
  assert_int_equal(poll(&wait, 1, 60000), 1);
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

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, count_before, count_after)
  const struct CMUnitTest tests[] = {
      TEST(test_another_secret_is_denied_at_both_ends),
      TEST(test_another_secret_is_denied_on_a_unix_socket),
      TEST(test_secure_and_insecure_are_told_apart),
      TEST(test_another_user_is_denied_at_both_ends),
      TEST(test_the_one_turned_away_learns_why),
      TEST(test_root_is_let_in),
      TEST(test_garbage_is_denied),
      TEST(test_hanging_up_early_is_told),
      TEST(test_a_busy_listener_is_told_from_others),
      TEST(test_silence_ends_at_the_deadline),
      TEST(test_what_claims_too_much_is_denied),
      TEST(test_what_is_refused_is_not_read_on),
      TEST(test_tls_of_another_kind_is_denied),
      TEST(test_the_identity_alone_opens_nothing),
  };
  return cmocka_run_group_tests_name("secure strangers", tests, NULL, NULL);
}
