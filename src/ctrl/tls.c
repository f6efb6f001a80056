/* OpenSSL contexts made of a secret (see tls.h).
 *
 * The pre-shared key is external (RFC 8446 section 4.2.11): a session object built from the 32-byte key, new for each
 * handshake because OpenSSL writes into it. Its identity is "hmc" and a fingerprint, so that a server can tell a client
 * with another secret from one that is not HMC. There is no certificate at either end, so a handshake without the key
 * cannot succeed.
 *
 * Invariants: OpenSSL reads no byte ahead of the record that it needs (hmci_secure_detach builds on that), and sends no
 * message of its own after the handshake (no tickets). The BIO below it never raises SIGPIPE.
 *
 * Locking: `cache_lock` guards `cache` and the references of its members; everything else in them is constant. */
#include "tls.h"

#include "certificates_tls.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { PREFIX = 3, FINGERPRINT = 8, IDENTITY = PREFIX + FINGERPRINT };

static const char prefix[] = "hmc";
static const char fingerprint_label[] = "HMC fingerprint, version 1";
static const unsigned char cipher_number[] = {0x13, 0x01}; /* TLS_AES_128_GCM_SHA256 */

struct hmci_tls {
  hmci_list_t member; /* of `cache` */
  unsigned references;
  hmci_secure_role_t role;
  bool by_certificates;
  uint8_t key[32];
  unsigned char identity[IDENTITY];
  SSL_CTX *context;
  BIO_METHOD *method;
};

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_list_t cache = {&cache, &cache};
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* A child made by fork() has no thread that would release the lock. */
static void renew_lock(void) { pthread_mutex_init(&cache_lock, NULL); }
static void watch_fork(void) { pthread_atfork(NULL, NULL, renew_lock); }

void hmci_tls_take_reason(char *text, size_t size) {
  unsigned long error = ERR_get_error();
  const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
  if (reason != NULL) {
    snprintf(text, size, "%s", reason);
  } else if (error != 0) {
    snprintf(text, size, "OpenSSL error %lx", error);
  } else {
    snprintf(text, size, "no reason given");
  }
  ERR_clear_error();
}

/* ---- the pre-shared key ------------------------------------------------------------------------------------------ */

/* The identity must not help to find the key: a digest of it. */
static bool make_identity(const uint8_t key[32], unsigned char identity[IDENTITY]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool done = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(context, fingerprint_label, sizeof(fingerprint_label)) == 1 &&
              EVP_DigestUpdate(context, key, 32) == 1 && EVP_DigestFinal_ex(context, digest, NULL) == 1;
  EVP_MD_CTX_free(context);
  if (done) {
    memcpy(identity, prefix, PREFIX);
    memcpy(identity + PREFIX, digest, FINGERPRINT);
  }
  return done;
}

static SSL_SESSION *make_session(SSL *ssl, const hmci_tls_t *tls) {
  const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, cipher_number);
  SSL_SESSION *session = SSL_SESSION_new();
  if (session == NULL || cipher == NULL || SSL_SESSION_set1_master_key(session, tls->key, sizeof(tls->key)) != 1 ||
      SSL_SESSION_set_cipher(session, cipher) != 1 || SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) != 1) {
    SSL_SESSION_free(session);
    return NULL;
  }
  return session;
}

static int offer_key(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *size,
                     SSL_SESSION **session) {
  const hmci_tls_wire_t *wire = SSL_get_app_data(ssl);
  (void)digest;
  *session = make_session(ssl, wire->tls);
  if (*session == NULL) {
    return 0;
  }
  *identity = wire->tls->identity;
  *size = IDENTITY;
  return 1;
}

/* Without a session here the handshake goes on without the key, finds no certificate, and fails with an alert to the
 * client. */
static int find_key(SSL *ssl, const unsigned char *identity, size_t size, SSL_SESSION **session) {
  hmci_tls_wire_t *wire = SSL_get_app_data(ssl);
  bool is_ours = size == IDENTITY && memcmp(identity, wire->tls->identity, IDENTITY) == 0;
  wire->is_other_secret = !is_ours && size == IDENTITY && memcmp(identity, prefix, PREFIX) == 0;
  *session = is_ours ? make_session(ssl, wire->tls) : NULL;
  return is_ours && *session == NULL ? 0 : 1;
}

/* ---- the socket -------------------------------------------------------------------------------------------------- */

/* A message in clear says its size long before it has arrived; OpenSSL would make room for 128 KiB. Its head may be cut
 * over records, and it need not be the first one. */
static bool claims_too_much(hmci_tls_wire_t *wire, const uint8_t *data, size_t size) {
  for (; size > 0; data++, size--) {
    if (wire->record_left == 0) {
      wire->record[wire->record_size++] = *data;
      if (wire->record_size == HMCI_TLS_RECORD) {
        wire->record_size = 0;
        wire->record_left = (size_t)wire->record[3] << 8 | wire->record[4];
      }
      continue;
    }
    wire->record_left--;
    if (wire->record[0] != SSL3_RT_HANDSHAKE) {
      continue;
    }
    if (wire->message_left > 0) {
      wire->message_left--;
      continue;
    }
    wire->message = wire->message << 8 | *data; /* type (1), size (3) */
    if (++wire->message_size == sizeof(wire->message)) {
      wire->message_size = 0;
      wire->message_left = wire->message & 0xffffff;
      if (wire->message_left > HMCI_TLS_HANDSHAKE_LIMIT) {
        return true;
      }
    }
  }
  return false;
}

static void look_at(hmci_tls_wire_t *wire, const char *data, size_t size) {
  size_t room = HMCI_TLS_OPENING - wire->opening_size;
  size_t taken = size < room ? size : room;
  memcpy(wire->opening + wire->opening_size, data, taken);
  wire->opening_size += taken;
  wire->received += size;
}

static int read_socket(BIO *bio, char *data, int size) {
  hmci_tls_wire_t *wire = BIO_get_data(bio);
  ssize_t got;
  BIO_clear_retry_flags(bio);
  do {
    got = recv(wire->descriptor, data, (size_t)size, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) {
    BIO_set_retry_read(bio);
    return -1;
  }
  if (got < 0) {
    wire->error = errno;
    return -1;
  }
  if (got == 0) {
    wire->ended = true;
    return 0;
  }
  if (wire->handshaking) {
    look_at(wire, data, (size_t)got);
    size_t limit = wire->tls->by_certificates ? HMCI_TLS_CERTIFICATES_LIMIT : HMCI_TLS_HANDSHAKE_LIMIT;
    if (wire->received > limit || claims_too_much(wire, (const uint8_t *)data, (size_t)got)) {
      wire->refused = true;
      return -1;
    }
  }
  return (int)got;
}

static int write_socket(BIO *bio, const char *data, int size) {
  hmci_tls_wire_t *wire = BIO_get_data(bio);
  ssize_t sent;
  BIO_clear_retry_flags(bio);
  do {
    sent = send(wire->descriptor, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno == EAGAIN) {
    BIO_set_retry_write(bio);
  } else if (sent < 0) {
    wire->error = errno;
  }
  return (int)sent;
}

static long control_socket(BIO *bio, int command, long number, void *pointer) {
  (void)bio;
  (void)number;
  (void)pointer;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *make_method(void) {
  BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "hmc socket");
  if (method != NULL) {
    BIO_meth_set_read(method, read_socket);
    BIO_meth_set_write(method, write_socket);
    BIO_meth_set_ctrl(method, control_socket);
  }
  return method;
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

static SSL_CTX *make_context(hmci_secure_role_t role, bool by_certificates) {
  bool is_server = role == HMCI_SECURE_SERVER;
  SSL_CTX *context = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
  if (context == NULL) {
    return NULL;
  }
  SSL_CTX_clear_options(context, SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
  SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_mode(context,
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_read_ahead(context, 0);
  SSL_CTX_set_verify(context, is_server ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL); /* no certificate is good enough */
  if (by_certificates) {
    /* No key: hmci_certificates_apply says who is let in. */
  } else if (is_server) {
    SSL_CTX_set_psk_find_session_callback(context, find_key);
  } else {
    SSL_CTX_set_psk_use_session_callback(context, offer_key);
  }
  if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) != 1 ||
      SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 ||
      SSL_CTX_set1_groups_list(context, "X25519") != 1 || SSL_CTX_set_num_tickets(context, 0) != 1 ||
      SSL_CTX_set_max_early_data(context, 0) != 1) {
    SSL_CTX_free(context);
    return NULL;
  }
  return context;
}

static void destroy(hmci_tls_t *tls) {
  SSL_CTX_free(tls->context);
  BIO_meth_free(tls->method);
  explicit_bzero(tls->key, sizeof(tls->key));
  free(tls);
}

static hmc_status_t create(const hmci_secret_t *secret, hmci_secure_role_t role, hmci_tls_t **created) {
  char reason[128];
  hmci_tls_t *tls = calloc(1, sizeof(*tls));
  if (tls == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for TLS");
  }
  tls->role = role;
  tls->references = 1;
  tls->by_certificates = secret->certificates != NULL;
  memcpy(tls->key, secret->key, sizeof(tls->key));
  ERR_clear_error();
  tls->context = make_context(role, tls->by_certificates);
  tls->method = make_method();
  if (tls->context == NULL || tls->method == NULL || !make_identity(tls->key, tls->identity)) {
    hmci_tls_take_reason(reason, sizeof(reason));
    destroy(tls);
    return hmci_fail(HMC_ERROR, "OpenSSL here does not do TLS 1.3 with AES-128-GCM and X25519: %s", reason);
  }
  hmc_status_t status =
      tls->by_certificates ? hmci_certificates_apply(secret->certificates, tls->context) : HMC_SUCCESS;
  if (status != HMC_SUCCESS) {
    destroy(tls);
    return status;
  }
  *created = tls;
  return HMC_SUCCESS;
}

/* With `cache_lock` held: the member for that secret and role, counted, or NULL. */
static hmci_tls_t *find(const hmci_secret_t *secret, hmci_secure_role_t role) {
  for (hmci_list_t *at = cache.next; at != &cache; at = at->next) {
    hmci_tls_t *tls = HMCI_CONTAINER(at, hmci_tls_t, member);
    if (tls->role == role && CRYPTO_memcmp(tls->key, secret->key, sizeof(tls->key)) == 0) {
      tls->references++;
      return tls;
    }
  }
  return NULL;
}

hmc_status_t hmci_tls_acquire(const hmci_secret_t *secret, hmci_secure_role_t role, hmci_tls_t **acquired) {
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(&cache_lock);
  hmci_tls_t *found = find(secret, role);
  pthread_mutex_unlock(&cache_lock);
  if (found == NULL) {
    hmci_tls_t *made = NULL;
    hmc_status_t status = create(secret, role, &made); /* takes a while, so not under the lock */
    if (status != HMC_SUCCESS) {
      return status;
    }
    pthread_mutex_lock(&cache_lock);
    found = find(secret, role);
    if (found == NULL) {
      hmci_list_append(&cache, &made->member);
      found = made;
    }
    pthread_mutex_unlock(&cache_lock);
    if (found != made) {
      destroy(made);
    }
  }
  *acquired = found;
  return HMC_SUCCESS;
}

void hmci_tls_release(hmci_tls_t *tls) {
  pthread_mutex_lock(&cache_lock);
  bool is_last = --tls->references == 0;
  if (is_last) {
    hmci_list_remove(&tls->member);
  }
  pthread_mutex_unlock(&cache_lock);
  if (is_last) {
    destroy(tls);
  }
}

hmc_status_t hmci_tls_open(const hmci_tls_t *tls, hmci_tls_wire_t *wire, int descriptor, SSL **opened) {
  *wire = (hmci_tls_wire_t){.tls = tls, .descriptor = descriptor, .handshaking = true};
  ERR_clear_error();
  SSL *ssl = SSL_new(tls->context);
  BIO *bio = BIO_new(tls->method);
  if (ssl == NULL || bio == NULL || SSL_set_app_data(ssl, wire) != 1) {
    BIO_free(bio);
    SSL_free(ssl);
    ERR_clear_error();
    return hmci_fail(HMC_NO_MEMORY, "no memory for a TLS connection");
  }
  BIO_set_data(bio, wire);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  if (tls->role == HMCI_SECURE_SERVER) {
    SSL_set_accept_state(ssl);
  } else {
    SSL_set_connect_state(ssl);
  }
  *opened = ssl;
  return HMC_SUCCESS;
}
