/* Sealed records: AES-128 with tags over a socket, with keys that a TLS handshake left (hmci_secure_export).
 *
 * For what flows after a handshake: the payload of data connections, and the session of two peers, which then needs
 * OpenSSL's TLS object, and its tens of KiB, no more. The form is that of TLS 1.3's records (RFC 8446 section 5.2):
 *
 *   0x17 0x03 0x03, length (2, big-endian), then sealed: at most 16 KiB of data and the byte 0x17; then 16 bytes of tag
 *
 * The nonce is the direction's 12 bytes, xor the number of the record; the header is authenticated too. A record counts
 * only once its tag has been found right: nothing of a damaged one is given to the reader.
 *
 * Sealed by GCM (NIST SP 800-38D), or by OCB (RFC 7253), which needs no multiplication beside the cipher and so little
 * more time than the cipher alone; where a processor has wide instructions for GCM that OpenSSL uses, GCM is as fast. Both
 * have the same keys, nonces and tags of 16 bytes, and both ask for the same: no nonce twice under one key.
 *
 * Several records go out and come in by one call, so that one end seals while the other one opens. Buffers are made when
 * first needed and given back when they are empty: an idle end is small.
 *
 * Locking: one call at a time for each direction; sealing and opening may run beside each other. */
#ifndef HMCI_RECORDS_H
#define HMCI_RECORDS_H

#include "../base/base.h"

#include <sys/types.h>
#include <sys/uio.h>

enum { HMCI_RECORD_KEY = 16, HMCI_RECORD_NONCE = 12, HMCI_RECORD_SECRET = HMCI_RECORD_KEY + HMCI_RECORD_NONCE };

typedef struct hmci_records hmci_records_t;

typedef enum hmci_record_cipher { HMCI_RECORD_GCM, HMCI_RECORD_OCB } hmci_record_cipher_t;

/* `out` and `in` are what either direction is sealed with: never used before, and by nobody else. Both ends have the same
 * cipher. The descriptor stays the caller's. Errors: HMC_NO_MEMORY, HMC_ERROR. */
hmc_status_t hmci_records_open(int descriptor, const uint8_t out[HMCI_RECORD_SECRET],
                               const uint8_t in[HMCI_RECORD_SECRET], hmci_record_cipher_t cipher,
                               hmci_records_t **records);
/* The faster of both here, as was measured at the first call, in less than a millisecond. Threads: any. */
hmci_record_cipher_t hmci_records_faster(void);
const char *hmci_record_cipher_name(hmci_record_cipher_t cipher);
/* NULL is allowed. */
void hmci_records_close(hmci_records_t *records);

/* As the calls of a pipe (transport.h): bytes, 0 at the end, or -1 with errno; EBADMSG: the stream was tampered with.
 * What `send` took may wait here until `flush` says 0. `doubtful`: parts may not be there; -1 with EFAULT where the first
 * of their bytes are not, else the bytes before the record that could not be read. */
ssize_t hmci_records_send(hmci_records_t *records, const struct iovec *parts, int count, bool doubtful);
int hmci_records_flush(hmci_records_t *records);
ssize_t hmci_records_receive(hmci_records_t *records, const struct iovec *parts, int count);
/* True where `receive` would give bytes though the socket has none. */
bool hmci_records_pending(const hmci_records_t *records);

#endif
