/* What two ends of verbs tell each other besides RDMA: all little-endian, of fixed size, version 3 (the connection's
 * first byte says so).
 *
 * Notes go over the link, an authenticated pipe that both ends keep open: how queue pairs find each other, and what
 * becomes of regions. NOTE bytes each:
 *    0  u32 type   4  u32 epoch   8  u32 number   12  u32 status   16  u32 region   20  u32 generation
 *   24  u32 queue pair   28  u32 first packet number   32  u32 key of the flush word   36  u32 rights   40  u64 address
 * of the flush word 48  u16 LID   50  u8 path MTU (1 .. 5, as verbs number it)   51  u8 reads it answers at a time 52
 * u8 sender's place in its offer   53  u8 receiver's place in its offer   54  u8 rail   55  u8 0   56  u8[16] GID 72
 * text, ended by a zero
 *
 * Messages go over the queue pair, in the order of their numbers: what hardware cannot do at the owner. HEADER
 * bytes, then the payload of PUT, NOTIFY and DATA.
 *    0  u8 type   1  u8 operation of an atomic, and flags   2  u16 status   4  u32 number   8  u32 region   12  u32
 * generation 16  u64 offset   24  u64 length (an atomic's width)   32  u64 operand, or in DONE the word as it was   40
 * u64 compare With CHECKSUM, of a PUT, GET or DATA: 32 has the CRC-32C of the payload that comes with it, or 0 in GET,
 * whose DATA is to carry one. CHAINED: to be refused, with the same status, where the message before it failed. A
 * message that comes again under the same number, after the queue pair was remade, is answered again and not done
 * again.
 *
 * The offer: u8 version, u8 count, u8 most rails per peer, u8 0, then OFFER_ENTRY bytes per GID: u8 place in the table
 * of HMC, u8 device, u8 link layer, u8 type, u8 path MTU, u8 0, u16 LID, u8[16] GID.
 *
 * The parsers are pure and check all that can be checked without knowing regions. */
#ifndef HMCI_VERBS_WIRE_H
#define HMCI_VERBS_WIRE_H

#include "../transport.h"

enum {
  VERBS_VERSION = 3,
  VERBS_NOTE = 256,
  VERBS_NOTE_TEXT = VERBS_NOTE - 72,
  VERBS_HEADER = 48,
  VERBS_STAGE = 128 << 10, /* most payload bytes of a message */
  VERBS_OFFERS = 20,       /* most GIDs of an offer */
};

typedef enum verbs_note_type {
  VERBS_CONNECT = 1, /* dialler: this is my queue pair; make yours, of that epoch, and answer */
  VERBS_CONNECTED,   /* acceptor: this is mine */
  VERBS_REFUSED,     /* acceptor: no queue pair, for this reason */
  VERBS_READY,       /* dialler: it works; the acceptor may send */
  VERBS_BROKEN,      /* the queue pair of that epoch failed, and is gone here */
  VERBS_REVOKED,     /* the region is closed */
  VERBS_QUERY,       /* may the region be reached with these rights? */
  VERBS_VERDICT,     /* answer to the query of that number */
  VERBS_SETTLE,      /* make what was written into the region visible to its device; answered by VERDICT */
  VERBS_ASK,         /* what is the key of the region, which was being registered? Answered by WAYs and KEY */
  VERBS_WAY,         /* of one rail: whether its device reaches the region (rights), and the key and address */
  VERBS_KEY,         /* the rest: status, cause of staging (rights), way (from), settles (to), why (text) */
} verbs_note_type_t;

typedef struct verbs_note {
  uint32_t type, epoch, number, status, region, generation;
  uint32_t queue_pair, packet, flush_key, rights;
  uint64_t flush_address;
  uint16_t lid;
  uint8_t mtu, reads, from, to, rail;
  uint8_t gid[16];
  char text[VERBS_NOTE_TEXT];
} verbs_note_t;

typedef enum verbs_message_type {
  VERBS_PUT = 1,
  VERBS_GET,
  VERBS_ATOMIC,
  VERBS_NOTIFY,
  VERBS_DONE = 65, /* `status`; of an atomic the word as it was */
  VERBS_DATA,      /* the bytes of a get */
} verbs_message_type_t;

typedef struct verbs_message {
  uint8_t type, operation;
  bool chained, checksum;
  uint16_t status;
  uint32_t number, region, generation;
  uint64_t offset, length, value, compare;
  uint64_t lease; /* of a put, get or atomic; below 2^56. Lies where the type has no other use for the bytes */
} verbs_message_t;

/* One GID of a device's port. */
typedef struct verbs_gid {
  uint8_t place;            /* in its owner's table */
  uint8_t device;           /* of its owner, by number */
  uint8_t layer, type, mtu; /* IBV_LINK_LAYER_*, IBV_GID_TYPE_*, IBV_MTU_* */
  uint16_t lid;
  uint8_t raw[16];
  /* Of this side's own only: */
  uint8_t prefix; /* bits of the network that the address is in; 0: not known */
  bool near;      /* its device is at a node that this process is bound to */
} verbs_gid_t;

void hmci_verbs_note_encode(uint8_t to[VERBS_NOTE], const verbs_note_t *note);
/* HMC_CORRUPT: unknown type or status, a text without end. */
hmc_status_t hmci_verbs_note_decode(const uint8_t from[VERBS_NOTE], verbs_note_t *note);

void hmci_verbs_message_encode(uint8_t to[VERBS_HEADER], const verbs_message_t *message);
/* `size` bytes came, header included. HMC_CORRUPT: unknown type, operation or status, a payload that does not match. */
hmc_status_t hmci_verbs_message_decode(const uint8_t *from, size_t size, verbs_message_t *message);

void hmci_verbs_offer_encode(hmci_blob_t *offer, const verbs_gid_t *gids, uint32_t count, uint8_t rails);
/* HMC_CORRUPT. */
hmc_status_t hmci_verbs_offer_decode(const hmci_blob_t *offer, verbs_gid_t gids[VERBS_OFFERS], uint32_t *count,
                                     uint8_t *rails);

#endif
