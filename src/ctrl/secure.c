/* Secure streams (see secure.h).
 *
 * Three kinds: TLS; a UNIX socket whose peer's credentials were looked at; and the plain socket of an insecure secret.
 * The latter two begin with a preamble of 16 bytes each way, sent at once by both ends:
 *
 *   "HMCG" (4), version (1), kind (1), answer (1), 0 (1), user id (4, little-endian), 0 (4)
 *
 * where `kind` says how this end authenticates and `answer` whether it takes the other one. On a UNIX socket 16 random
 * bytes follow each way, and then an HMAC-SHA256 over both ends' and who speaks, by the secret: the kernel vouches for the
 * user only, who may have several jobs, each with a secret of its own; nothing is encrypted. A TLS end that meets a
 * preamble, and a preamble end that meets TLS, know by that what is wrong, and tell the other end by a preamble.
 *
 * Invariants: no byte after the handshake's last one is taken from the socket before a read asks for it; OpenSSL's
 * error queue is empty whenever a call returns. No locking: one call at a time per stream. Where OpenSSL is no more
 * (openssl.h), a TLS stream only hangs up, and what OpenSSL keeps for it stays. */
#include "secure_internal.h"

#include "openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Streams that could not be freed, kept so that they are not lost. */
static _Atomic(hmci_secure_t *) abandoned;

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
  stream->kind = secret->insecure    ? HMCI_SECURE_BY_NOTHING
                 : family == AF_UNIX ? HMCI_SECURE_BY_USER
                                     : HMCI_SECURE_BY_SECRET;
  stream->descriptor = descriptor;
  snprintf(stream->name, sizeof(stream->name), "%s", name);
  if (stream->kind == HMCI_SECURE_BY_SECRET) {
    status = hmci_secure_tls_open(stream);
    if (status != HMC_SUCCESS) {
      free(stream);
      return status;
    }
  } else {
    if (stream->kind == HMCI_SECURE_BY_USER) {
      hmci_secure_look_at_user(stream);
    }
    hmci_secure_make_preamble(stream->out, stream->kind, stream->answer);
    stream->out_end = stream->in_end =
        stream->kind == HMCI_SECURE_BY_USER ? HMCI_SECURE_PREAMBLE + HMCI_SECURE_NONCE : HMCI_SECURE_PREAMBLE;
    if (stream->kind == HMCI_SECURE_BY_USER) {
      hmci_random(stream->out + HMCI_SECURE_PREAMBLE, HMCI_SECURE_NONCE);
    }
  }
  *opened = stream;
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_check(const hmci_secret_t *secret, hmci_secure_role_t role) {
  hmci_tls_t *tls;
  if (!hmci_openssl_acquire()) {
    return hmci_openssl_fail();
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

/* Leaves the socket alone, except that the peer is informed of the end of a TLS stream where `tell` says so. */
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
  uint8_t preamble[HMCI_SECURE_PREAMBLE];
  hmci_secure_make_preamble(preamble, HMCI_SECURE_BY_NOTHING, HMCI_ANSWER_BUSY);
  ssize_t sent = send(descriptor, preamble, HMCI_SECURE_PREAMBLE, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)sent; /* it will see the end of the stream in any case */
}

bool hmci_secure_says_busy(const uint8_t *bytes, size_t size) {
  return size == HMCI_SECURE_PREAMBLE && hmci_secure_is_preamble(bytes, size) && bytes[6] == HMCI_ANSWER_BUSY;
}

bool hmci_secure_is_busy(const hmci_secure_t *stream) { return stream->busy; }

bool hmci_secure_has_proved(const hmci_secure_t *stream) {
  if (stream->ready) {
    return true;
  }
  if (stream->ssl == NULL) {
    return stream->in_size >= HMCI_SECURE_MAGIC;
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
    status = hmci_secure_exchange(stream, events);
  } else if (hmci_openssl_acquire()) {
    status = hmci_secure_tls_handshake(stream, events);
    hmci_openssl_release();
  } else {
    status = hmci_secure_fail_ending(stream);
  }
  if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
    stream->broken = true;
  }
  return status;
}

/* ---- after the handshake ----------------------------------------------------------------------------------------- */

hmc_status_t hmci_secure_export(hmci_secure_t *stream, const char *label, void *secret, size_t size) {
  memset(secret, 0, size);
  if (stream->kind != HMCI_SECURE_BY_SECRET) {
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
                               HMCI_RECORD_GCM, &stream->records);
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
    return hmci_secure_fail_lost(stream, errno);
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
  return got == 0 ? hmci_secure_fail_lost(stream, 0) : HMC_SUCCESS;
}

/* As SSL_write: bytes are done when the socket has them, and the call is repeated with the same ones until then. */
static hmc_status_t write_records(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events) {
  if (stream->taken == 0) {
    ssize_t taken = hmci_records_send(stream->records, &(struct iovec){(void *)(uintptr_t)data, size}, 1, false);
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
      return hmci_secure_fail_ending(stream);
    }
    hmc_status_t status = hmci_secure_tls_read(stream, data, capacity, done, events);
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
    return hmci_secure_fail_lost(stream, got < 0 ? errno : 0);
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
      return hmci_secure_fail_ending(stream);
    }
    hmc_status_t status = hmci_secure_tls_write(stream, data, size, done, events);
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
    return hmci_secure_fail_lost(stream, errno);
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

int hmci_secure_detach(hmci_secure_t *stream) {
  int descriptor = stream->descriptor;
  free_stream(stream, false);
  return descriptor;
}
