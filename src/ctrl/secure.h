/* A secure stream: an authenticated, non-blocking byte stream over a connected socket.
 *
 * Over TCP it is TLS 1.3 with the secret as external pre-shared key (TLS_AES_128_GCM_SHA256, psk_dhe_ke), by OpenSSL,
 * without session tickets. Over a UNIX socket, the peer's credentials must show the same user (or root), and each end proves
 * the secret by an HMAC over random bytes; what follows is not encrypted. With an
 * insecure secret it is the plain socket; then both ends exchange a preamble that says so, so that a secure end and an
 * insecure one fail with a clear text.
 *
 * Threads: none of its own; one call at a time per stream. No call blocks. The handshake of a server stream costs
 * bounded memory whatever arrives. */
#ifndef HMCI_SECURE_H
#define HMCI_SECURE_H

#include "secret.h"

#include <sys/uio.h>

typedef struct hmci_secure hmci_secure_t;

typedef enum hmci_secure_role { HMCI_SECURE_CLIENT, HMCI_SECURE_SERVER } hmci_secure_role_t;

/* Takes a connected non-blocking socket. On success the stream owns `descriptor`; on failure it stays the caller's. The
 * secret must outlive the stream. `name` (copied) names the other side in texts: "10.0.0.2:2025". */
hmc_status_t hmci_secure_open(const hmci_secret_t *secret, int descriptor, hmci_secure_role_t role, const char *name,
                              hmci_secure_t **stream);

/* Whether streams by that secret can be made: reads what certificates name. Errors: HMC_INVALID_CONFIG, HMC_ERROR. */
hmc_status_t hmci_secure_check(const hmci_secret_t *secret, hmci_secure_role_t role);

/* Closes the socket and frees; NULL is allowed. */
void hmci_secure_close(hmci_secure_t *stream);

int hmci_secure_descriptor(const hmci_secure_t *stream);

/* True where these are all the bytes that a busy listener sends. */
bool hmci_secure_says_busy(const uint8_t *bytes, size_t size);

/* The socket's error that ended the stream; 0: none did. */
int hmci_secure_error(const hmci_secure_t *stream);

/* Each of these answers HMC_IN_PROGRESS when the socket must become ready first; `events` then has the poll() events to
 * wait for.
 *
 * handshake: HMC_SUCCESS when both ends are sure of each other. HMC_DENIED: the other end has another secret, or is not
 * HMC, or another user; the text names the secret that was looked for here and how to make both ends agree.
 * HMC_PEER_LOST. read: at least 1 byte on success; HMC_PEER_LOST at the end of the stream or on a reset; HMC_CORRUPT
 * when TLS finds the stream tampered with. write: *done bytes (at least 1, maybe fewer than asked) were taken; after
 * HMC_IN_PROGRESS the next write must begin with the same bytes and have no fewer of them, since a record of them may
 * be in progress already. */
hmc_status_t hmci_secure_handshake(hmci_secure_t *stream, short *events);
hmc_status_t hmci_secure_read(hmci_secure_t *stream, void *data, size_t capacity, size_t *done, short *events);
hmc_status_t hmci_secure_write(hmci_secure_t *stream, const void *data, size_t size, size_t *done, short *events);

/* A listener with more strangers than it has room for tells one of them, before it closes the socket, to dial again. It
 * never blocks and needs no stream. */
void hmci_secure_send_busy(int descriptor);
/* The handshake failed (HMC_PEER_LOST) because the listener said that it is busy: dialling again helps. */
bool hmci_secure_is_busy(const hmci_secure_t *stream);
/* True where the other end of an unfinished handshake has shown that it knows the secret; for credentials and insecure
 * streams, that it speaks as HMC does. */
bool hmci_secure_has_proved(const hmci_secure_t *stream);

/* True where bytes can be read without the socket being readable (OpenSSL holds part of a record). */
bool hmci_secure_pending(const hmci_secure_t *stream);

/* Blocking forms with a deadline (hmci_now() based): HMC_TIMEOUT besides the above. They move all `size` bytes. */
hmc_status_t hmci_secure_handshake_wait(hmci_secure_t *stream, uint64_t deadline);
hmc_status_t hmci_secure_read_wait(hmci_secure_t *stream, void *data, size_t size, uint64_t deadline);
hmc_status_t hmci_secure_write_wait(hmci_secure_t *stream, const void *data, size_t size, uint64_t deadline);

/* A secret that only the two ends of a stream whose handshake is done have: one for each label. All zeros where the
 * stream does not authenticate. Not after hmci_secure_reseal. HMC_ERROR. */
hmc_status_t hmci_secure_export(hmci_secure_t *stream, const char *label, void *secret, size_t size);

/* From here on sealed records take the place of TLS, and of the memory that it needs (see records.h); what does not
 * encrypt stays as it is. Both ends must agree, by a message inside the stream, which byte is the last one before it.
 * HMC_NO_MEMORY, HMC_ERROR: the stream is as it was. */
hmc_status_t hmci_secure_reseal(hmci_secure_t *stream);

/* Ends the secure layer and gives back the bare socket, frees the stream. Both ends must agree, by a message inside the
 * stream, which byte is the last one inside: nothing after that byte has been consumed. */
int hmci_secure_detach(hmci_secure_t *stream);

#endif
