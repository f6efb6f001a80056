/* Tickets: how a further connection of two peers shows that it belongs to them, without a handshake of its own.
 *
 * The handshake of the peers' session left both ends a secret (hmci_secure_export). A data connection begins in clear:
 *
 *   dialler:  hello, 64 bytes: "HMCD" (4), version (1), 0 (3), token (8), incarnation (8), purpose (4), 0 (4), nonce (32)
 *   acceptor: challenge, 64 bytes: nonce (32), MAC (32)
 *   dialler:  proof, 32 bytes: MAC
 *   acceptor: answer, 128 bytes: status (4), text (124)
 *
 * Each MAC is HMAC-SHA256, by the session's secret, over who speaks, the hello and the acceptor's nonce: both ends are
 * sure of each other, and nothing that was heard before is worth anything. What the payload is sealed with (records.h)
 * comes from the same, one for each direction. Pure functions. */
#ifndef HMCI_TICKET_H
#define HMCI_TICKET_H

#include "records.h"

enum {
  HMCI_TICKET_KEY = 32,
  HMCI_TICKET_NONCE = 32,
  HMCI_TICKET_MAC = 32,
  HMCI_TICKET_HELLO = 64,
  HMCI_TICKET_CHALLENGE = HMCI_TICKET_NONCE + HMCI_TICKET_MAC,
  HMCI_TICKET_ANSWER = 128,
};

#define HMCI_TICKET_LABEL "EXPORTER-HMC-data-connections"

typedef struct hmci_ticket {
  uint64_t token, incarnation;
  uint32_t purpose;
} hmci_ticket_t;

/* With a fresh nonce. */
void hmci_ticket_hello(const hmci_ticket_t *ticket, uint8_t hello[HMCI_TICKET_HELLO]);
/* True where that many first bytes may be those of a hello. */
bool hmci_ticket_is_hello(const uint8_t *bytes, size_t size);
/* HMC_CORRUPT, HMC_UNSUPPORT (another version). */
hmc_status_t hmci_ticket_read(const uint8_t hello[HMCI_TICKET_HELLO], hmci_ticket_t *ticket);

/* The acceptor's answer, with a fresh nonce; and what the dialler says to it, once it has found it right. HMC_DENIED;
 * HMC_ERROR: OpenSSL fails. */
hmc_status_t hmci_ticket_challenge(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                                   uint8_t challenge[HMCI_TICKET_CHALLENGE]);
hmc_status_t hmci_ticket_prove(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                               const uint8_t challenge[HMCI_TICKET_CHALLENGE], uint8_t proof[HMCI_TICKET_MAC]);
/* HMC_DENIED: who dialled does not have the key. */
hmc_status_t hmci_ticket_check(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                               const uint8_t challenge[HMCI_TICKET_CHALLENGE], const uint8_t proof[HMCI_TICKET_MAC]);

/* What the dialler's and the acceptor's records are sealed with. */
hmc_status_t hmci_ticket_secrets(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                                 const uint8_t challenge[HMCI_TICKET_CHALLENGE], uint8_t dialler[HMCI_RECORD_SECRET],
                                 uint8_t acceptor[HMCI_RECORD_SECRET]);

void hmci_ticket_answer(hmc_status_t status, const char *text, uint8_t answer[HMCI_TICKET_ANSWER]);
/* The status, with its text as the thread's error. */
hmc_status_t hmci_ticket_judged(const uint8_t answer[HMCI_TICKET_ANSWER]);

#endif
