/* Secure streams (see secure.h).
 *
 * Three kinds: TLS; a UNIX socket whose peer's credentials were looked at; and the plain socket of an insecure secret.
 * The latter two begin with a greeting of 16 bytes each way, sent at once by both ends:
 *
 *   "HMCG" (4), version (1), kind (1), answer (1), 0 (1), user id (4, little-endian), 0 (4)
 *
 * where `kind` says how this end authenticates and `answer` whether it takes the other one. On a UNIX socket 16 random
 * bytes follow each way, and then an HMAC-SHA256 over both ends' and who speaks, by the secret: the kernel vouches for the
 * user only, who may have several jobs, each with a secret of its own; nothing is encrypted. A TLS end that meets a
 * greeting, and a greeting end that meets TLS, know by that what is wrong, and tell the other end by a greeting.
 *
 * Invariants: no byte after the handshake's last one is taken from the socket before a read asks for it; OpenSSL's
 * error queue is empty whenever a call returns. No locking: one call at a time per stream. Where OpenSSL is no more
 * (openssl.h), a TLS stream only hangs up, and what OpenSSL keeps for it stays. */
#include "secure.h"

#include "../base/socket.h"
#include "../base/stop.h"
#include "digest.h"
#include "openssl.h"
#include "records.h"
#include "tls.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GREETING 16
#define NONCE 16
#define PROVED (GREETING + NONCE + HMCI_DIGEST) /* bytes each way where the secret is proved */

static const uint8_t greeting_versions[] = {[1] = 1, [2] = 2, [3] = 1}; /* by kind */

static const uint8_t greeting_magic[4] = {'H', 'M', 'C', 'G'};

typedef enum kind { BY_SECRET = 1, BY_USER = 2, BY_NOTHING = 3 } kind_t;

typedef enum answer { WELCOME = 0, OTHER_USER = 1, OTHER_KIND = 2, BUSY = 3 } answer_t;

struct hmci_secure {
  const hmci_secret_t *secret;
  hmci_secure_role_t role;
  kind_t kind;
  int descriptor;
  bool ready;  /* the handshake is done */
  bool broken; /* an error that ends the stream was met */
  bool busy;   /* the other end, a listener, said so */
  int error;   /* that of the socket, or 0 */
  char name[HMCI_ADDRESS_TEXT];

  hmci_tls_t *tls; /* BY_SECRET only, as `ssl` and `wire` */
  SSL *ssl;
  hmci_tls_wire_t wire;

  hmci_records_t *records; /* instead of those three, once it was resealed */
  size_t taken;            /* bytes of the caller's that wait there to be sent, and will be said to be done then */

  uint8_t out[PROVED], in[PROVED]; /* the other kinds only */
  size_t out_size, in_size;        /* bytes that are through */
  size_t out_end, in_end;          /* bytes that this end says, and waits for, so far */
  bool judged;                     /* the other end's greeting is sound */
  answer_t answer;                 /* ours */
  uid_t user;                      /* the peer's */

  hmci_secure_t *next; /* abandoned before this one */
};

/* Streams that could not be freed, kept so that they are not lost. */
static _Atomic(hmci_secure_t *) abandoned;

/* ---- texts ------------------------------------------------------------------------------------------------------- */

static hmc_status_t fail_lost(hmci_secure_t *stream, int error) {
  stream->broken = true;
  if (!stream->ready) {
    return hmci_fail(HMC_PEER_LOST, "%s hung up during the handshake%s%s", stream->name, error != 0 ? ": " : "",
                     error != 0 ? strerror(error) : "");
  }
  stream->error = error;
  return hmci_fail(HMC_PEER_LOST, "%s: %s", stream->name,
                   error != 0 ? hmci_socket_loss(error, strerror(error)) : "it hung up");
}

static hmc_status_t fail_busy(hmci_secure_t *stream) {
  stream->broken = stream->busy = true;
  return hmci_fail(HMC_PEER_LOST, "%s is busy: more connections wait there than it has room for", stream->name);
}

/* The text that whoever set up two hosts needs: which secret, and what to do. */
static hmc_status_t deny_secret(hmci_secure_t *stream, const char *what) {
  return hmci_fail(
      HMC_DENIED,
      "%s %s; the secret looked for here is %s. To make both ends agree, copy that secret's file to the other "
      "end, or set HMC_SECRET_FILE (or HMC_SECRET) to one secret at both ends",
      stream->name, what, stream->secret->source);
}

static const char *kind_text(unsigned kind) {
  switch (kind) {
  case BY_SECRET: return "authenticates by a secret";
  case BY_USER: return "authenticates by the user of a UNIX socket";
  case BY_NOTHING: return "does not authenticate (HMC_INSECURE is set there)";
  default: return "authenticates in a way unknown here";
  }
}

static hmc_status_t deny_kind(hmci_secure_t *stream, unsigned peer_kind) {
  return hmci_fail(HMC_DENIED, "%s %s, and this end %s: set HMC_INSECURE at both ends or at neither", stream->name,
                   kind_text(peer_kind), stream->kind == BY_NOTHING ? "has HMC_INSECURE set" : kind_text(stream->kind));
}

static hmc_status_t fail_ending(hmci_secure_t *stream) {
  stream->broken = true;
  return hmci_fail(HMC_PEER_LOST, "the connection to %s is over: this process is ending, and OpenSSL has ended already",
                   stream->name);
}

/* Shows the first bytes of something that is no HMC. */
static hmc_status_t deny_stranger(hmci_secure_t *stream, const uint8_t *opening, size_t size) {
  char shown[HMCI_TLS_OPENING + 1];
  size_t length = size < HMCI_TLS_OPENING ? size : HMCI_TLS_OPENING;
  for (size_t i = 0; i < length; i++) {
    shown[i] = isprint(opening[i]) ? (char)opening[i] : '.';
  }
  shown[length] = '\0';
  return hmci_fail(HMC_DENIED, "%s is not HMC: it begins with \"%s\"", stream->name, shown);
}

/* ---- the greeting ------------------------------------------------------------------------------------------------ */

static bool is_greeting(const uint8_t *bytes, size_t size) {
  return size >= sizeof(greeting_magic) && memcmp(bytes, greeting_magic, sizeof(greeting_magic)) == 0;
}

static bool is_tls(const uint8_t *bytes, size_t size) {
  return size >= 2 && (bytes[0] == SSL3_RT_HANDSHAKE || bytes[0] == SSL3_RT_ALERT) && bytes[1] == SSL3_VERSION_MAJOR;
}

static void make_greeting(uint8_t bytes[GREETING], kind_t kind, answer_t answer) {
  memset(bytes, 0, GREETING);
  memcpy(bytes, greeting_magic, sizeof(greeting_magic));
  bytes[4] = greeting_versions[kind];
  bytes[5] = (uint8_t)kind;
  bytes[6] = (uint8_t)answer;
  hmci_store32(bytes + 8, (uint32_t)geteuid());
}

/* Tells an end of another kind what it met; it has a socket buffer free for that. What it sent is taken out, because
 * closing a socket with unread bytes may discard the answer. */
static void answer_other_kind(hmci_secure_t *stream) {
  uint8_t greeting[GREETING], rest[256];
  make_greeting(greeting, stream->kind, OTHER_KIND);
  while (recv(stream->descriptor, rest, sizeof(rest), MSG_DONTWAIT) == (ssize_t)sizeof(rest)) {
  }
  ssize_t sent = send(stream->descriptor, greeting, GREETING, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)sent; /* it will see the end of the stream in any case */
}

/* Only the same user, or root, may be at the other end. */
static void look_at_user(hmci_secure_t *stream) {
  struct ucred credentials;
  socklen_t size = sizeof(credentials);
  if (getsockopt(stream->descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    credentials.uid = (uid_t)-1;
  }
  stream->user = credentials.uid;
  if (stream->user != geteuid() && stream->user != 0) {
    stream->answer = OTHER_USER;
  }
}

static hmc_status_t judge_greeting(hmci_secure_t *stream) {
  if (stream->in[6] == BUSY) {
    return fail_busy(stream);
  }
  if (stream->in[5] != (uint8_t)stream->kind) {
    return deny_kind(stream, stream->in[5]);
  }
  if (stream->in[4] != greeting_versions[stream->kind]) {
    return hmci_fail(HMC_DENIED, "%s greets by version %u, this end by version %u: use one HMC at both ends",
                     stream->name, stream->in[4], greeting_versions[stream->kind]);
  }
  if (stream->answer == OTHER_USER) {
    return hmci_fail(HMC_DENIED, "%s belongs to user %u; on a UNIX socket only user %u and root are let in",
                     stream->name, (unsigned)stream->user, (unsigned)geteuid());
  }
  if (stream->in[6] != WELCOME) {
    return hmci_fail(HMC_DENIED, "%s, a process of user %u, does not let user %u in", stream->name,
                     (unsigned)hmci_load32(stream->in + 8), (unsigned)geteuid());
  }
  stream->judged = true;
  return HMC_SUCCESS;
}

/* What one end proves the secret with: who it is, and what both chose. */
static hmc_status_t make_proof(const hmci_secure_t *stream, bool of_client, uint8_t proof[HMCI_DIGEST]) {
  bool is_client = stream->role == HMCI_SECURE_CLIENT;
  uint8_t said[16 + 2 * NONCE] = {0};
  memcpy(said, of_client ? "HMC unix client" : "HMC unix server", 15);
  memcpy(said + 16, (is_client ? stream->out : stream->in) + GREETING, NONCE);
  memcpy(said + 16 + NONCE, (is_client ? stream->in : stream->out) + GREETING, NONCE);
  return hmci_digest(stream->secret->key, said, sizeof(said), proof);
}

/* All that was waited for has come: goes on with the proof, or ends. */
static hmc_status_t go_on(hmci_secure_t *stream) {
  uint8_t due[HMCI_DIGEST];
  bool is_client = stream->role == HMCI_SECURE_CLIENT;
  if (stream->kind != BY_USER || stream->in_end == PROVED) {
    stream->ready = true;
  }
  if (stream->kind != BY_USER) {
    return HMC_SUCCESS;
  }
  hmc_status_t status = make_proof(stream, stream->ready ? !is_client : is_client, due);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (!stream->ready) {
    memcpy(stream->out + GREETING + NONCE, due, sizeof(due));
    stream->out_end = stream->in_end = PROVED;
    return HMC_SUCCESS;
  }
  if (hmci_digest_is_equal(due, stream->in + GREETING + NONCE)) {
    return HMC_SUCCESS;
  }
  stream->ready = false;
  return deny_secret(stream, "has another secret");
}

/* What has come so far cannot become a greeting. */
static hmc_status_t refuse_opening(hmci_secure_t *stream) {
  if (!is_tls(stream->in, stream->in_size)) {
    return deny_stranger(stream, stream->in, stream->in_size);
  }
  answer_other_kind(stream);
  return deny_kind(stream, BY_SECRET);
}

/* Says what is to be said, and hears what is there. */
static hmc_status_t talk(hmci_secure_t *stream, short *events) {
  if (stream->out_size < stream->out_end) {
    ssize_t sent = send(stream->descriptor, stream->out + stream->out_size, stream->out_end - stream->out_size,
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
      /* It may have told us why before it hung up: what it sent is looked at below. */
      stream->out_size = stream->out_end;
    }
    stream->out_size += sent > 0 ? (size_t)sent : 0;
  }
  while (stream->in_size < stream->in_end) {
    size_t wanted = (stream->judged ? stream->in_end : GREETING) - stream->in_size;
    ssize_t got = recv(stream->descriptor, stream->in + stream->in_size, wanted, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0 && errno == EAGAIN) {
      *events = stream->out_size < stream->out_end ? POLLIN | POLLOUT : POLLIN;
      return HMC_IN_PROGRESS;
    }
    if (got <= 0) {
      return fail_lost(stream, got < 0 ? errno : 0);
    }
    stream->in_size += (size_t)got;
    size_t compared = stream->in_size < sizeof(greeting_magic) ? stream->in_size : sizeof(greeting_magic);
    if (memcmp(stream->in, greeting_magic, compared) != 0) {
      return refuse_opening(stream);
    }
    if (stream->in_size >= GREETING && !stream->judged) {
      hmc_status_t status = judge_greeting(stream);
      if (status != HMC_SUCCESS) {
        return status;
      }
    }
  }
  if (stream->out_size < stream->out_end) {
    *events = POLLOUT;
    return HMC_IN_PROGRESS;
  }
  return HMC_SUCCESS;
}

static hmc_status_t greet(hmci_secure_t *stream, short *events) {
  while (!stream->ready) {
    hmc_status_t status = talk(stream, events);
    if (status == HMC_SUCCESS) {
      status = go_on(stream);
    }
    if (status != HMC_SUCCESS) {
      return status;
    }
  }
  return HMC_SUCCESS;
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

static hmc_status_t deny_certificates(hmci_secure_t *stream, const char *reason) {
  long verified = SSL_get_verify_result(stream->ssl);
  return hmci_fail(
      HMC_DENIED,
      "%s and this end (%s) do not take each other's certificates (%s): both must be signed by an authority "
      "that the other end has in its file, and neither may have expired or been revoked",
      stream->name, stream->secret->source, verified != X509_V_OK ? X509_verify_cert_error_string(verified) : reason);
}

/* OpenSSL stops at the five bytes of a record's head; what a greeting says comes behind them, in the same segment. */
static void take_rest_of_greeting(hmci_secure_t *stream) {
  hmci_tls_wire_t *wire = &stream->wire;
  ssize_t got =
      recv(stream->descriptor, wire->opening + wire->opening_size, HMCI_TLS_OPENING - wire->opening_size, MSG_DONTWAIT);
  if (got > 0) wire->opening_size += (size_t)got;
}

/* Says why a TLS handshake failed, by what the peer sent first and what OpenSSL made of it. */
static hmc_status_t explain_handshake(hmci_secure_t *stream) {
  const hmci_tls_wire_t *wire = &stream->wire;
  char reason[128], what[256];
  hmci_tls_take_reason(reason, sizeof(reason));
  if (stream->secret->certificates != NULL && (wire->opening_size == 0 || is_tls(wire->opening, wire->opening_size))) {
    return deny_certificates(stream, reason);
  }
  if (is_greeting(wire->opening, wire->opening_size)) {
    take_rest_of_greeting(stream);
    if (wire->opening_size > 6 && wire->opening[6] == BUSY) {
      return fail_busy(stream);
    }
    unsigned peer_kind = wire->opening_size > 5 ? wire->opening[5] : (unsigned)BY_NOTHING;
    answer_other_kind(stream);
    return deny_kind(stream, peer_kind);
  }
  if (wire->is_other_secret) {
    return deny_secret(stream, "has another secret");
  }
  if (wire->opening_size > 0 && !is_tls(wire->opening, wire->opening_size)) {
    return deny_stranger(stream, wire->opening, wire->opening_size);
  }
  if (wire->refused) {
    return hmci_fail(HMC_DENIED, "%s is not HMC: its handshake is larger than the %u B that are taken", stream->name,
                     HMCI_TLS_HANDSHAKE_LIMIT);
  }
  if (wire->opening_size > 0 && wire->opening[0] == SSL3_RT_ALERT) {
    return deny_secret(stream,
                       "turned this end down: it has another secret, or is not HMC"); /* the alert says no more */
  }
  if (wire->ended || wire->error != 0) {
    return fail_lost(stream, wire->error);
  }
  snprintf(what, sizeof(what), "speaks TLS, but does not prove that it has the secret (%s)", reason);
  return deny_secret(stream, what);
}

/* Between hmci_openssl_acquire and release, as the two below. */
static hmc_status_t shake_hands(hmci_secure_t *stream, short *events) {
  ERR_clear_error();
  int result = SSL_do_handshake(stream->ssl);
  switch (SSL_get_error(stream->ssl, result)) {
  case SSL_ERROR_NONE: break;
  case SSL_ERROR_WANT_READ: *events = POLLIN; return HMC_IN_PROGRESS;
  case SSL_ERROR_WANT_WRITE: *events = POLLOUT; return HMC_IN_PROGRESS;
  default: stream->broken = true; return explain_handshake(stream);
  }
  bool is_proved =
      stream->secret->certificates != NULL
          ? SSL_get_verify_result(stream->ssl) == X509_V_OK && SSL_get0_peer_certificate(stream->ssl) != NULL
          : SSL_session_reused(stream->ssl) == 1; /* what OpenSSL calls a handshake by a pre-shared key */
  if (!is_proved) {
    stream->broken = true;
    return deny_secret(stream, "finished a TLS handshake without the secret");
  }
  stream->wire.handshaking = false;
  stream->ready = true;
  return HMC_SUCCESS;
}

/* What a failed SSL_read or SSL_write means. */
static hmc_status_t explain_transfer(hmci_secure_t *stream, int result, short *events) {
  char reason[128];
  switch (SSL_get_error(stream->ssl, result)) {
  case SSL_ERROR_WANT_READ: *events = POLLIN; return HMC_IN_PROGRESS;
  case SSL_ERROR_WANT_WRITE: *events = POLLOUT; return HMC_IN_PROGRESS;
  case SSL_ERROR_ZERO_RETURN: return fail_lost(stream, 0);
  case SSL_ERROR_SYSCALL: ERR_clear_error(); return fail_lost(stream, stream->wire.error);
  default:
    stream->broken = true;
    hmci_tls_take_reason(reason, sizeof(reason));
    if (stream->secret->certificates != NULL && strstr(reason, "alert") != NULL) {
      return deny_certificates(stream, reason); /* a server's answer comes after the client's handshake is over */
    }
    return hmci_fail(HMC_CORRUPT, "the stream of %s was tampered with (TLS: %s)", stream->name, reason);
  }
}

static hmc_status_t read_tls(hmci_secure_t *stream, void *data, size_t capacity, size_t *done, short *events) {
  ERR_clear_error();
  int result = SSL_read_ex(stream->ssl, data, capacity, done);
  return result == 1 ? HMC_SUCCESS : explain_transfer(stream, result, events);
}

static hmc_status_t write_tls(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events) {
  ERR_clear_error();
  int result = SSL_write_ex(stream->ssl, data, size, done);
  return result == 1 ? HMC_SUCCESS : explain_transfer(stream, result, events);
}

static hmc_status_t open_tls(hmci_secure_t *stream) {
  if (!hmci_openssl_acquire()) {
    return fail_ending(stream);
  }
  hmc_status_t status = hmci_tls_acquire(stream->secret, stream->role, &stream->tls);
  if (status == HMC_SUCCESS) {
    status = hmci_tls_open(stream->tls, &stream->wire, stream->descriptor, &stream->ssl);
    if (status != HMC_SUCCESS) {
      hmci_tls_release(stream->tls);
    }
  }
  hmci_openssl_release();
  return status;
}

/* ---- the interface ----------------------------------------------------------------------------------------------- */

hmc_status_t hmci_secure_open(const hmci_secret_t *secret, int descriptor, hmci_secure_role_t role, const char *name,
                              hmci_secure_t **opened) {
  int family = 0;
  socklen_t size = sizeof(family);
  if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "descriptor %d is not a socket: %s", descriptor, strerror(errno));
  }
  hmc_status_t status = HMC_SUCCESS;
  hmci_secure_t *stream = calloc(1, sizeof(*stream));
  if (stream == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a connection to %s", name);
  }
  stream->secret = secret;
  stream->role = role;
  stream->kind = secret->insecure ? BY_NOTHING : family == AF_UNIX ? BY_USER : BY_SECRET;
  stream->descriptor = descriptor;
  snprintf(stream->name, sizeof(stream->name), "%s", name);
  if (stream->kind == BY_SECRET) {
    status = open_tls(stream);
    if (status != HMC_SUCCESS) {
      free(stream);
      return status;
    }
  } else {
    if (stream->kind == BY_USER) {
      look_at_user(stream);
    }
    make_greeting(stream->out, stream->kind, stream->answer);
    stream->out_end = stream->in_end = stream->kind == BY_USER ? GREETING + NONCE : GREETING;
    if (stream->kind == BY_USER) {
      hmci_random(stream->out + GREETING, NONCE);
    }
  }
  *opened = stream;
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_check(const hmci_secret_t *secret, hmci_secure_role_t role) {
  hmci_tls_t *tls;
  if (!hmci_openssl_acquire()) {
    return hmci_fail(HMC_ERROR, "this process is ending, and OpenSSL has ended already");
  }
  hmc_status_t status = hmci_tls_acquire(secret, role, &tls);
  if (status == HMC_SUCCESS) {
    hmci_tls_release(tls);
  }
  hmci_openssl_release();
  return status;
}

/* Where OpenSSL cannot free the stream any more. */
static void abandon_stream(hmci_secure_t *stream) {
  stream->next = atomic_load(&abandoned);
  while (!atomic_compare_exchange_weak(&abandoned, &stream->next, stream)) {
  }
}

/* Leaves the socket alone, except that the peer is told of the end of a TLS stream where `tell` says so. */
static void free_stream(hmci_secure_t *stream, bool tell) {
  hmci_records_close(stream->records);
  if (stream->ssl != NULL) {
    if (!hmci_openssl_acquire()) {
      abandon_stream(stream);
      return;
    }
    ERR_clear_error();
    if (tell && stream->ready && !stream->broken) {
      SSL_shutdown(stream->ssl); /* its answer is not waited for */
    }
    SSL_free(stream->ssl);
    hmci_tls_release(stream->tls);
    ERR_clear_error();
    hmci_openssl_release();
  }
  free(stream);
}

/* Hangs up for good: a child made by fork() may still hold the socket, and close() alone would leave the peer waiting.
 */
void hmci_secure_close(hmci_secure_t *stream) {
  if (stream == NULL) {
    return;
  }
  int descriptor = stream->descriptor;
  free_stream(stream, true);
  shutdown(descriptor, SHUT_RDWR);
  close(descriptor);
}

int hmci_secure_error(const hmci_secure_t *stream) { return stream->error; }

int hmci_secure_descriptor(const hmci_secure_t *stream) { return stream->descriptor; }

void hmci_secure_send_busy(int descriptor) {
  uint8_t greeting[GREETING];
  make_greeting(greeting, BY_NOTHING, BUSY);
  ssize_t sent = send(descriptor, greeting, GREETING, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)sent; /* it will see the end of the stream in any case */
}

bool hmci_secure_says_busy(const uint8_t *bytes, size_t size) {
  return size == GREETING && is_greeting(bytes, size) && bytes[6] == BUSY;
}

bool hmci_secure_is_busy(const hmci_secure_t *stream) { return stream->busy; }

bool hmci_secure_has_proved(const hmci_secure_t *stream) {
  if (stream->ready) {
    return true;
  }
  if (stream->ssl == NULL) {
    return stream->in_size >= sizeof(greeting_magic);
  }
  /* A server answers a hello only once its binder, made with the secret, has been checked. */
  OSSL_HANDSHAKE_STATE state = SSL_get_state(stream->ssl);
  return state == TLS_ST_SW_FINISHED || state == TLS_ST_EARLY_DATA || state == TLS_ST_SR_FINISHED;
}

hmc_status_t hmci_secure_handshake(hmci_secure_t *stream, short *events) {
  if (stream->ready) {
    return HMC_SUCCESS;
  }
  if (stream->broken) {
    return hmci_fail(HMC_PEER_LOST, "the handshake with %s has failed", stream->name);
  }
  hmc_status_t status;
  if (stream->ssl == NULL) {
    status = greet(stream, events);
  } else if (hmci_openssl_acquire()) {
    status = shake_hands(stream, events);
    hmci_openssl_release();
  } else {
    status = fail_ending(stream);
  }
  if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
    stream->broken = true;
  }
  return status;
}

/* ---- after the handshake ----------------------------------------------------------------------------------------- */

hmc_status_t hmci_secure_export(hmci_secure_t *stream, const char *label, void *secret, size_t size) {
  memset(secret, 0, size);
  if (stream->kind != BY_SECRET) {
    return HMC_SUCCESS;
  }
  bool done = false;
  if (stream->ssl != NULL && stream->ready && hmci_openssl_acquire()) {
    done = SSL_export_keying_material(stream->ssl, secret, size, label, strlen(label), NULL, 0, 0) == 1;
    ERR_clear_error();
    hmci_openssl_release();
  }
  return done ? HMC_SUCCESS : hmci_fail(HMC_ERROR, "OpenSSL gives no keys of the handshake with %s", stream->name);
}

hmc_status_t hmci_secure_reseal(hmci_secure_t *stream) {
  uint8_t client[HMCI_RECORD_SECRET], server[HMCI_RECORD_SECRET];
  bool is_client = stream->role == HMCI_SECURE_CLIENT;
  if (stream->ssl == NULL) {
    return HMC_SUCCESS;
  }
  hmc_status_t status = hmci_secure_export(stream, "EXPORTER-HMC-session-client", client, sizeof(client));
  if (status == HMC_SUCCESS) {
    status = hmci_secure_export(stream, "EXPORTER-HMC-session-server", server, sizeof(server));
  }
  if (status == HMC_SUCCESS) {
    status = hmci_records_open(stream->descriptor, is_client ? client : server, is_client ? server : client,
                               &stream->records);
  }
  if (status == HMC_SUCCESS && hmci_openssl_acquire()) { /* without it OpenSSL keeps what it has */
    SSL_free(stream->ssl);
    stream->ssl = NULL;
    hmci_tls_release(stream->tls);
    stream->tls = NULL;
    ERR_clear_error();
    hmci_openssl_release();
  }
  explicit_bzero(client, sizeof(client));
  explicit_bzero(server, sizeof(server));
  return status;
}

/* What -1 of the records means. */
static hmc_status_t explain_records(hmci_secure_t *stream, short event, short *events) {
  if (errno == EAGAIN) {
    *events = event;
    return HMC_IN_PROGRESS;
  }
  if (errno != EBADMSG) {
    return fail_lost(stream, errno);
  }
  stream->broken = true;
  return hmci_fail(HMC_CORRUPT, "the stream of %s was tampered with", stream->name);
}

static hmc_status_t read_records(hmci_secure_t *stream, void *data, size_t capacity, size_t *done, short *events) {
  ssize_t got = hmci_records_receive(stream->records, &(struct iovec){data, capacity}, 1);
  if (got < 0) {
    return explain_records(stream, POLLIN, events);
  }
  *done = (size_t)got;
  return got == 0 ? fail_lost(stream, 0) : HMC_SUCCESS;
}

/* As SSL_write: bytes are done when the socket has them, and the call is repeated with the same ones until then. */
static hmc_status_t write_records(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events) {
  if (stream->taken == 0) {
    ssize_t taken = hmci_records_send(stream->records, &(struct iovec){(void *)(uintptr_t)data, size}, 1);
    if (taken < 0) {
      return explain_records(stream, POLLOUT, events);
    }
    stream->taken = (size_t)taken;
  }
  if (hmci_records_flush(stream->records) != 0) {
    return explain_records(stream, POLLOUT, events);
  }
  *done = stream->taken;
  stream->taken = 0;
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_read(hmci_secure_t *stream, void *data, size_t capacity, size_t *done, short *events) {
  if (stream->records != NULL) {
    return read_records(stream, data, capacity, done, events);
  }
  if (stream->ssl != NULL) {
    if (!hmci_openssl_acquire()) {
      return fail_ending(stream);
    }
    hmc_status_t status = read_tls(stream, data, capacity, done, events);
    hmci_openssl_release();
    return status;
  }
  ssize_t got;
  do {
    got = recv(stream->descriptor, data, capacity, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) {
    *events = POLLIN;
    return HMC_IN_PROGRESS;
  }
  if (got <= 0) {
    return fail_lost(stream, got < 0 ? errno : 0);
  }
  *done = (size_t)got;
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_write(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events) {
  if (stream->records != NULL) {
    return write_records(stream, data, size, done, events);
  }
  if (stream->ssl != NULL) {
    if (!hmci_openssl_acquire()) {
      return fail_ending(stream);
    }
    hmc_status_t status = write_tls(stream, data, size, done, events);
    hmci_openssl_release();
    return status;
  }
  ssize_t sent;
  do {
    sent = send(stream->descriptor, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0 && errno == EAGAIN) {
    *events = POLLOUT;
    return HMC_IN_PROGRESS;
  }
  if (sent < 0) {
    return fail_lost(stream, errno);
  }
  *done = (size_t)sent;
  return HMC_SUCCESS;
}

bool hmci_secure_pending(const hmci_secure_t *stream) {
  if (stream->records != NULL) {
    return hmci_records_pending(stream->records);
  }
  if (stream->ssl == NULL || !hmci_openssl_acquire()) {
    return false;
  }
  bool pending = SSL_pending(stream->ssl) > 0;
  hmci_openssl_release();
  return pending;
}

/* ---- blocking forms ---------------------------------------------------------------------------------------------- */

/* Waits until the socket is ready; HMC_TIMEOUT at the deadline; HMC_CANCELLED when this thread is to give up. */
static hmc_status_t wait_ready(const hmci_secure_t *stream, short events, uint64_t deadline) {
  if (hmci_stop_is_asked()) return HMC_CANCELLED;
  int ready = hmci_stop_poll(stream->descriptor, events, hmci_poll_timeout(deadline));
  return ready == 0 ? HMC_TIMEOUT : HMC_SUCCESS; /* an error shows in the call that follows; a signal just repeats it */
}

hmc_status_t hmci_secure_handshake_wait(hmci_secure_t *stream, uint64_t deadline) {
  for (;;) {
    short events = 0;
    hmc_status_t status = hmci_secure_handshake(stream, &events);
    if (status != HMC_IN_PROGRESS) {
      return status;
    }
    status = wait_ready(stream, events, deadline);
    if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
    if (status == HMC_TIMEOUT) {
      return hmci_fail(HMC_TIMEOUT, "%s did not finish the handshake in time: it is not HMC, or it hangs",
                       stream->name);
    }
  }
}

hmc_status_t hmci_secure_read_wait(hmci_secure_t *stream, void *data, size_t size, uint64_t deadline) {
  size_t filled = 0;
  while (filled < size) {
    short events = 0;
    size_t done = 0;
    hmc_status_t status = hmci_secure_read(stream, (uint8_t *)data + filled, size - filled, &done, &events);
    if (status == HMC_IN_PROGRESS) {
      status = wait_ready(stream, events, deadline);
      if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
      if (status == HMC_TIMEOUT) {
        return hmci_fail(HMC_TIMEOUT, "%s sent %zu of %zu B in time", stream->name, filled, size);
      }
    } else if (status != HMC_SUCCESS) {
      return status;
    }
    filled += done;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_write_wait(hmci_secure_t *stream, const void *data, size_t size, uint64_t deadline) {
  size_t taken = 0;
  while (taken < size) {
    short events = 0;
    size_t done = 0;
    hmc_status_t status = hmci_secure_write(stream, (const uint8_t *)data + taken, size - taken, &done, &events);
    if (status == HMC_IN_PROGRESS) {
      status = wait_ready(stream, events, deadline);
      if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
      if (status == HMC_TIMEOUT) {
        return hmci_fail(HMC_TIMEOUT, "%s took %zu of %zu B in time", stream->name, taken, size);
      }
    } else if (status != HMC_SUCCESS) {
      return status;
    }
    taken += done;
  }
  return HMC_SUCCESS;
}

int hmci_secure_detach(hmci_secure_t *stream) {
  int descriptor = stream->descriptor;
  free_stream(stream, false);
  return descriptor;
}
