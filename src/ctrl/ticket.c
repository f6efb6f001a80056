/* Tickets of data connections (see ticket.h). */
#include "ticket.h"

#include "digest.h"

#include <string.h>

enum { VERSION = 1, NONCE_AT = HMCI_TICKET_HELLO - HMCI_TICKET_NONCE, TEXT = HMCI_TICKET_ANSWER - 4, LABEL = 16 };

static const uint8_t magic[4] = {'H', 'M', 'C', 'D'};

void hmci_ticket_hello(const hmci_ticket_t *ticket, uint8_t hello[HMCI_TICKET_HELLO]) {
  memset(hello, 0, HMCI_TICKET_HELLO);
  memcpy(hello, magic, sizeof magic);
  hello[4] = VERSION;
  hmci_store64(hello + 8, ticket->token);
  hmci_store64(hello + 16, ticket->incarnation);
  hmci_store32(hello + 24, ticket->purpose);
  hmci_random(hello + NONCE_AT, HMCI_TICKET_NONCE);
}

bool hmci_ticket_is_hello(const uint8_t *bytes, size_t size) {
  return memcmp(bytes, magic, size < sizeof magic ? size : sizeof magic) == 0;
}

hmc_status_t hmci_ticket_read(const uint8_t hello[HMCI_TICKET_HELLO], hmci_ticket_t *ticket) {
  if (!hmci_ticket_is_hello(hello, HMCI_TICKET_HELLO)) return hmci_fail(HMC_CORRUPT, "no data connection");
  if (hello[4] != VERSION)
    return hmci_fail(HMC_UNSUPPORT, "a data connection of version %u, this end knows %u", hello[4], VERSION);
  if (hello[5] | hello[6] | hello[7] | hmci_load32(hello + 28)) return hmci_fail(HMC_CORRUPT, "no data connection");
  ticket->token = hmci_load64(hello + 8);
  ticket->incarnation = hmci_load64(hello + 16);
  ticket->purpose = hmci_load32(hello + 24);
  return HMC_SUCCESS;
}

/* HMAC-SHA256 over a label of a fixed length, the hello and the acceptor's nonce. */
static hmc_status_t mac(const uint8_t key[HMCI_TICKET_KEY], const char *label, const uint8_t hello[HMCI_TICKET_HELLO],
                        const uint8_t *nonce, uint8_t out[HMCI_TICKET_MAC]) {
  uint8_t said[LABEL + HMCI_TICKET_HELLO + HMCI_TICKET_NONCE] = {0};
  memcpy(said, label, strlen(label));
  memcpy(said + LABEL, hello, HMCI_TICKET_HELLO);
  memcpy(said + LABEL + HMCI_TICKET_HELLO, nonce, HMCI_TICKET_NONCE);
  return hmci_digest(key, said, sizeof said, out);
}

hmc_status_t hmci_ticket_challenge(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                                   uint8_t challenge[HMCI_TICKET_CHALLENGE]) {
  hmci_random(challenge, HMCI_TICKET_NONCE);
  return mac(key, "HMC acceptor", hello, challenge, challenge + HMCI_TICKET_NONCE);
}

static hmc_status_t compare(const uint8_t *mac_due, const uint8_t *mac_got) {
  if (hmci_digest_is_equal(mac_due, mac_got)) return HMC_SUCCESS;
  return hmci_fail(HMC_DENIED, "a data connection does not prove that it belongs to the peers");
}

hmc_status_t hmci_ticket_prove(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                               const uint8_t challenge[HMCI_TICKET_CHALLENGE], uint8_t proof[HMCI_TICKET_MAC]) {
  uint8_t due[HMCI_TICKET_MAC];
  hmc_status_t status = mac(key, "HMC acceptor", hello, challenge, due);
  if (status == HMC_SUCCESS) status = compare(due, challenge + HMCI_TICKET_NONCE);
  return status == HMC_SUCCESS ? mac(key, "HMC dialler", hello, challenge, proof) : status;
}

hmc_status_t hmci_ticket_check(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                               const uint8_t challenge[HMCI_TICKET_CHALLENGE], const uint8_t proof[HMCI_TICKET_MAC]) {
  uint8_t due[HMCI_TICKET_MAC];
  hmc_status_t status = mac(key, "HMC dialler", hello, challenge, due);
  return status == HMC_SUCCESS ? compare(due, proof) : status;
}

hmc_status_t hmci_ticket_secrets(const uint8_t key[HMCI_TICKET_KEY], const uint8_t hello[HMCI_TICKET_HELLO],
                                 const uint8_t challenge[HMCI_TICKET_CHALLENGE], uint8_t dialler[HMCI_RECORD_SECRET],
                                 uint8_t acceptor[HMCI_RECORD_SECRET]) {
  uint8_t made[2][HMCI_TICKET_MAC];
  hmc_status_t status = mac(key, "HMC key dialler", hello, challenge, made[0]);
  if (status == HMC_SUCCESS) status = mac(key, "HMC key accept", hello, challenge, made[1]);
  if (status == HMC_SUCCESS) {
    memcpy(dialler, made[0], HMCI_RECORD_SECRET);
    memcpy(acceptor, made[1], HMCI_RECORD_SECRET);
  }
  explicit_bzero(made, sizeof made);
  return status;
}

void hmci_ticket_answer(hmc_status_t status, const char *text, uint8_t answer[HMCI_TICKET_ANSWER]) {
  memset(answer, 0, HMCI_TICKET_ANSWER);
  hmci_store32(answer, (uint32_t)status);
  memcpy(answer + 4, text, strnlen(text, TEXT - 1));
}

hmc_status_t hmci_ticket_judged(const uint8_t answer[HMCI_TICKET_ANSWER]) {
  hmc_status_t status = hmci_status_known(hmci_load32(answer));
  if (status == HMC_SUCCESS) return status;
  return hmci_fail(status, "the peer says: %.*s", (int)TEXT - 1, (const char *)answer + 4);
}
