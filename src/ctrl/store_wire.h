/* Messages of the store, both ways: one form for all of them, inside a frame (frame.h), whose type says what it is.
 *
 * Body: sequence (8), floor (8), lease (8), number (8), index (4), value size (4), key size (2), status (1), flags (1),
 * the key, the value. The parser is pure and points into what it was given. */
#ifndef HMCI_STORE_WIRE_H
#define HMCI_STORE_WIRE_H

#include "frame.h"

#include <hmc/store.h>

#define HMCI_STORE_FIXED 44
#define HMCI_STORE_VERSION 1
/* The largest bodies that a server and a client take. */
#define HMCI_STORE_REQUEST_MAX (HMCI_STORE_FIXED + 4 + HMC_STORE_KEY_MAX + 2 * HMC_STORE_VALUE_MAX)
#define HMCI_STORE_ANSWER_MAX (HMCI_STORE_FIXED + HMC_STORE_KEY_MAX + HMC_STORE_GATHER_MAX)

enum {
  /* Requests. `sequence` numbers a client's; whatever lies below `floor` it will not ask for again. */
  HMCI_STORE_HELLO = 64,   /* number: HMCI_STORE_VERSION; lease: the client's identity */
  HMCI_STORE_SET = 65,     /* key, value, lease or 0 */
  HMCI_STORE_RESTORE = 66, /* as set, where the lease is new to the server; HMC_STALE where another has the key */
  HMCI_STORE_GET = 67,
  HMCI_STORE_WAIT = 68,
  HMCI_STORE_ADD = 69,  /* number: the amount; answer: the sum */
  HMCI_STORE_SWAP = 70, /* index: bytes of the expected value, which precede the new one; or flag ABSENT; answer:
                              number 1 or 0 */
  HMCI_STORE_DELETE = 71,
  HMCI_STORE_LIST = 72,    /* key: the prefix; answered by entries, then the answer */
  HMCI_STORE_WATCH = 73,   /* key: the prefix; answered by events that bear this sequence, SYNCED among them */
  HMCI_STORE_UNWATCH = 74, /* number: the sequence of the watch */
  HMCI_STORE_LEASE = 75,   /* lease, number: TTL in ms */
  HMCI_STORE_REVOKE = 76,  /* lease */
  HMCI_STORE_KEEP = 77,    /* a heartbeat */
  HMCI_STORE_ARRIVE = 78,  /* key: the barrier; number: the count; with flag GATHER index and value */
  HMCI_STORE_CANCEL = 79,  /* number: the sequence of a wait or an arrival */
  HMCI_STORE_BYE = 80,     /* the client is closed for good; not answered */
  /* From the server. */
  HMCI_STORE_ANSWER = 96, /* status; a text in the value where it is none of HMC_SUCCESS */
  HMCI_STORE_ENTRY = 97,  /* one key of a list */
  HMCI_STORE_EVENT = 98,  /* flags: the hmc_store_event_kind_t; number: the revision */
};

enum { HMCI_STORE_ABSENT = 1, HMCI_STORE_GATHER = 2 };

typedef struct hmci_store_message {
  uint16_t type;
  uint8_t status, flags;
  uint32_t index;
  uint64_t sequence, floor, lease;
  int64_t number;
  const char *key; /* not ended by a NUL */
  uint16_t key_size;
  const void *value;
  uint32_t value_size;
} hmci_store_message_t;

/* Bytes of the frame's beginning: all but the value. */
static inline size_t hmci_store_head_size(const hmci_store_message_t *message) {
  return HMCI_FRAME_HEADER + HMCI_STORE_FIXED + (size_t)message->key_size;
}

/* Writes a frame up to the value, which follows it. */
void hmci_store_encode_head(const hmci_store_message_t *message, uint8_t *head);

/* Reads a body that was checked against its frame. HMC_CORRUPT: lengths that do not agree, a NUL in the key. */
hmc_status_t hmci_store_decode(const hmci_frame_header_t *header, const uint8_t *body, hmci_store_message_t *message);

#endif
