/* Secure streams by TLS: the handshake and why it failed, and the bytes after it (see secure.c and tls.h). */
#include "secure_internal.h"

#include "openssl.h"

#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static hmc_status_t deny_certificates(hmci_secure_t *stream, const char *reason) {
  long verified = SSL_get_verify_result(stream->ssl);
  return hmci_fail(
      HMC_DENIED,
      "%s and this end (%s) do not take each other's certificates (%s): both must be signed by an authority "
      "that the other end has in its file, and neither may have expired or been revoked",
      stream->name, stream->secret->source, verified != X509_V_OK ? X509_verify_cert_error_string(verified) : reason);
}

/* OpenSSL stops at the five bytes of a record's head; what a preamble says comes behind them, in the same segment. */
static void take_rest_of_preamble(hmci_secure_t *stream) {
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
  if (stream->secret->certificates != NULL &&
      (wire->opening_size == 0 || hmci_secure_is_tls(wire->opening, wire->opening_size))) {
    return deny_certificates(stream, reason);
  }
  if (hmci_secure_is_preamble(wire->opening, wire->opening_size)) {
    take_rest_of_preamble(stream);
    if (wire->opening_size > 6 && wire->opening[6] == HMCI_ANSWER_BUSY) {
      return hmci_secure_fail_busy(stream);
    }
    unsigned peer_kind = wire->opening_size > 5 ? wire->opening[5] : (unsigned)HMCI_SECURE_BY_NOTHING;
    hmci_secure_answer_other_kind(stream);
    return hmci_secure_deny_kind(stream, peer_kind);
  }
  if (wire->is_other_secret) {
    return hmci_secure_deny_secret(stream, "has another secret");
  }
  if (wire->opening_size > 0 && !hmci_secure_is_tls(wire->opening, wire->opening_size)) {
    return hmci_secure_deny_stranger(stream, wire->opening, wire->opening_size);
  }
  if (wire->refused) {
    return hmci_fail(HMC_DENIED, "%s is not HMC: its handshake is larger than the %u B that are taken", stream->name,
                     HMCI_TLS_HANDSHAKE_LIMIT);
  }
  if (wire->opening_size > 0 && wire->opening[0] == SSL3_RT_ALERT) {
    return hmci_secure_deny_secret(
        stream, "turned this end down: it has another secret, or is not HMC"); /* the alert says no more */
  }
  if (wire->ended || wire->error != 0) {
    return hmci_secure_fail_lost(stream, wire->error);
  }
  snprintf(what, sizeof(what), "speaks TLS, but does not prove that it has the secret (%s)", reason);
  return hmci_secure_deny_secret(stream, what);
}

/* Between hmci_openssl_acquire and release, as the two below. */
hmc_status_t hmci_secure_tls_handshake(hmci_secure_t *stream, short *events) {
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
    return hmci_secure_deny_secret(stream, "finished a TLS handshake without the secret");
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
  case SSL_ERROR_ZERO_RETURN: return hmci_secure_fail_lost(stream, 0);
  case SSL_ERROR_SYSCALL: ERR_clear_error(); return hmci_secure_fail_lost(stream, stream->wire.error);
  default:
    stream->broken = true;
    hmci_tls_take_reason(reason, sizeof(reason));
    if (stream->secret->certificates != NULL && strstr(reason, "alert") != NULL) {
      return deny_certificates(stream, reason); /* a server's answer comes after the client's handshake is over */
    }
    return hmci_fail(HMC_CORRUPT, "the stream of %s was tampered with (TLS: %s)", stream->name, reason);
  }
}

hmc_status_t hmci_secure_tls_read(hmci_secure_t *stream, void *data, size_t capacity, size_t *done, short *events) {
  ERR_clear_error();
  int result = SSL_read_ex(stream->ssl, data, capacity, done);
  return result == 1 ? HMC_SUCCESS : explain_transfer(stream, result, events);
}

hmc_status_t hmci_secure_tls_write(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events) {
  ERR_clear_error();
  int result = SSL_write_ex(stream->ssl, data, size, done);
  return result == 1 ? HMC_SUCCESS : explain_transfer(stream, result, events);
}

hmc_status_t hmci_secure_tls_open(hmci_secure_t *stream) {
  if (!hmci_openssl_acquire()) {
    return hmci_secure_fail_ending(stream);
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
