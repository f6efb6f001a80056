/* What the files of a secure stream share: secure.c (the interface), secure_preamble.c (ends that do not speak TLS, and
 * the texts of refusals), secure_tls.c, secure_wait.c (the blocking forms). */
#ifndef HMCI_SECURE_INTERNAL_H
#define HMCI_SECURE_INTERNAL_H

#include "../base/socket.h"
#include "digest.h"
#include "records.h"
#include "secure.h"
#include "tls.h"

#define HMCI_SECURE_PREAMBLE 16
#define HMCI_SECURE_MAGIC 4 /* bytes that a preamble begins with */
#define HMCI_SECURE_NONCE 16
#define HMCI_SECURE_PROVED                                                                                             \
  (HMCI_SECURE_PREAMBLE + HMCI_SECURE_NONCE + HMCI_DIGEST) /* bytes each way where the secret is proved */

typedef enum hmci_secure_kind {
  HMCI_SECURE_BY_SECRET = 1,
  HMCI_SECURE_BY_USER = 2,
  HMCI_SECURE_BY_NOTHING = 3
} hmci_secure_kind_t;

typedef enum hmci_secure_answer {
  HMCI_ANSWER_WELCOME = 0,
  HMCI_ANSWER_OTHER_USER = 1,
  HMCI_ANSWER_OTHER_KIND = 2,
  HMCI_ANSWER_BUSY = 3
} hmci_secure_answer_t;

struct hmci_secure {
  const hmci_secret_t *secret;
  hmci_secure_role_t role;
  hmci_secure_kind_t kind;
  int descriptor;
  bool ready;  /* the handshake is done */
  bool broken; /* an error that ends the stream was met */
  bool busy;   /* the other end, a listener, said so */
  int error;   /* that of the socket, or 0 */
  char name[HMCI_ADDRESS_TEXT];

  hmci_tls_t *tls; /* HMCI_SECURE_BY_SECRET only, as `ssl` and `wire` */
  SSL *ssl;
  hmci_tls_wire_t wire;

  hmci_records_t *records; /* instead of those three, once it was resealed */
  size_t taken;            /* bytes of the caller's that wait there to be sent, and will be said to be done then */

  uint8_t out[HMCI_SECURE_PROVED], in[HMCI_SECURE_PROVED]; /* the other kinds only */
  size_t out_size, in_size;                                /* bytes that are through */
  size_t out_end, in_end;                                  /* bytes that this end says, and waits for, so far */
  bool judged;                                             /* the other end's preamble is sound */
  hmci_secure_answer_t answer;                             /* ours */
  uid_t user;                                              /* the peer's */

  hmci_secure_t *next; /* abandoned before this one */
};

/* ---- secure_preamble.c ------------------------------------------------------------------------------------------- */

/* Each sets a text and returns the status; the first two and fail_ending end the stream. */
hmc_status_t hmci_secure_fail_lost(hmci_secure_t *stream, int error);
hmc_status_t hmci_secure_fail_busy(hmci_secure_t *stream);
hmc_status_t hmci_secure_fail_ending(hmci_secure_t *stream);
hmc_status_t hmci_secure_deny_secret(hmci_secure_t *stream, const char *what);
hmc_status_t hmci_secure_deny_kind(hmci_secure_t *stream, unsigned peer_kind);
hmc_status_t hmci_secure_deny_stranger(hmci_secure_t *stream, const uint8_t *opening, size_t size);

/* What the first bytes are. */
bool hmci_secure_is_preamble(const uint8_t *bytes, size_t size);
bool hmci_secure_is_tls(const uint8_t *bytes, size_t size);

void hmci_secure_make_preamble(uint8_t bytes[HMCI_SECURE_PREAMBLE], hmci_secure_kind_t kind,
                               hmci_secure_answer_t answer);
void hmci_secure_answer_other_kind(hmci_secure_t *stream);
void hmci_secure_look_at_user(hmci_secure_t *stream);
/* The handshake of the kinds without TLS. */
hmc_status_t hmci_secure_exchange(hmci_secure_t *stream, short *events);

/* ---- secure_tls.c ------------------------------------------------------------------------------------------------ */

hmc_status_t hmci_secure_tls_open(hmci_secure_t *stream);
/* Between hmci_openssl_acquire and release, as the two below. */
hmc_status_t hmci_secure_tls_handshake(hmci_secure_t *stream, short *events);
hmc_status_t hmci_secure_tls_read(hmci_secure_t *stream, void *data, size_t capacity, size_t *done, short *events);
hmc_status_t hmci_secure_tls_write(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events);

#endif
