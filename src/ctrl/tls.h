/* TLS as secure.c needs it: OpenSSL contexts made of a secret, and the socket below them.
 *
 * Only this file and secure.c see OpenSSL's TLS. Who calls what is below holds OpenSSL (hmci_openssl_acquire). */
#ifndef HMCI_TLS_H
#define HMCI_TLS_H

#include "secure.h"

#include <openssl/ssl.h>

/* What a secret is for one role; shared by all streams that have both in common. */
typedef struct hmci_tls hmci_tls_t;

/* Bytes one end may send before it has proved itself; an HMC needs less than 1 KiB. */
#define HMCI_TLS_HANDSHAKE_LIMIT (8u << 10)
#define HMCI_TLS_CERTIFICATES_LIMIT (64u << 10) /* the same where chains of certificates travel */

#define HMCI_TLS_OPENING 16
#define HMCI_TLS_RECORD 5 /* bytes of a record's head */

/* The socket below one SSL object, and what was seen there. It stays at its place as long as the SSL object lives. */
typedef struct hmci_tls_wire {
  const hmci_tls_t *tls;
  int descriptor;
  int error;                         /* errno of the call that failed; 0: none did */
  bool ended;                        /* the peer closed its half */
  bool handshaking;                  /* the limits hold */
  bool refused;                      /* the peer went over them */
  bool is_other_secret;              /* the peer is an HMC that named another key */
  size_t received;                   /* bytes while handshaking, as what follows: */
  uint8_t record[HMCI_TLS_RECORD];   /* the record's head, as far as it has come, */
  size_t record_size, record_left;   /* and what is to come of its head and of the rest */
  uint32_t message;                  /* what the head of a handshake message says, as far as it has come, */
  size_t message_size, message_left; /* and what is to come of the two */
  uint8_t opening[HMCI_TLS_OPENING]; /* the first bytes that the peer sent */
  size_t opening_size;
} hmci_tls_wire_t;

/* Finds or makes what belongs to the secret and role. Errors: HMC_ERROR (OpenSSL lacks what is needed; the text says
 * what). */
hmc_status_t hmci_tls_acquire(const hmci_secret_t *secret, hmci_secure_role_t role, hmci_tls_t **tls);
void hmci_tls_release(hmci_tls_t *tls);

/* Makes the SSL object for a socket; the caller frees it by SSL_free. Errors: HMC_NO_MEMORY. */
hmc_status_t hmci_tls_open(const hmci_tls_t *tls, hmci_tls_wire_t *wire, int descriptor, SSL **ssl);

/* Empties OpenSSL's error queue of this thread; `text` gets what the first error says. */
void hmci_tls_take_reason(char *text, size_t size);

#endif
