/* The stream protocol: one-sided operations over a connected byte stream. Little-endian, version 1 (the version is
 * settled by the handshake of the peers, not per frame).
 *
 * One direction carries requests, the other replies; a peer that wants to act in the other direction uses a second
 * stream.
 *
 * Request: 64 bytes, then 16 bytes for each further entry, then, for a put, the payload of all entries one after the
 * other. So long, because the kernel copies a payload faster that begins at a cache line of its buffers.
 *    0  u8 type   1  u8 flags   2  u16 entries (1 .. 256)   4  u32 CRC-32C of the payload with FLAG_CHECKSUM, else 0
 *    8  u32 region   12  u32 generation   16  u64 sequence
 *   24  u64 offset   32  u64 length                 the first entry
 *   40  u64 number of the lease that a put, get or atomic is under, or 0
 *   48  u64 stride with FLAG_RUN, else 0   56  8 bytes of 0
 *   64  { u64 offset, u64 length } ...              the further ones
 * An operation is one or more frames of the same sequence; the last one has FLAG_LAST. Sequences grow from operation to
 * operation. FLAG_CHAINED: without effect, and refused with the same status, where the operation before it failed.
 * FLAG_CHECKSUM: the payload, or the answers to a get, carry a CRC. Two only to peers that know them: FLAG_EASY, of what a
 * bare ACK answers: the ACK may wait for those that follow, but not for long. FLAG_RUN, of a put or get: all entries have
 * the length of the first one and lie `stride` bytes from one to the next; there is no table.
 * An atomic has three entries: { offset, width }, { operation, operand }, { compare, 1 when the old word is wanted }.
 * A notification has one: { 0, size }, and its message as payload; region and generation are 0.
 *
 * Reply: 24 bytes, then, for DATA, `length` bytes.
 *    0  u8 type   1  u8 flags   2  u16 status   4  u32 CRC of a DATA frame with FLAG_CHECKSUM, else 0   8  u64 sequence
 *      16  u64 length
 *   ACK     all operations up to `sequence` that answer nothing else are done and visible, but for those refused before
 *   by NAK
 *   NAK     the operation `sequence` ended with `status`; those before it that answer nothing are done as by an ACK. A get
 *   may be refused before its last frame has come, and then once more by that one
 *   DATA    bytes of the get `sequence`, in the order of its entries; FLAG_LAST on its last frame
 *   RESULT  the atomic `sequence` is done; `length` is the word as it was
 *
 * The parsers are pure and check all that can be checked without knowing regions. */
#ifndef HMCI_STREAM_WIRE_H
#define HMCI_STREAM_WIRE_H

#include "../../base/base.h"
#include "../transport.h"

enum {
  HMCI_REQUEST_HEADER = 64,
  HMCI_REQUEST_ENTRY = 16,
  HMCI_REPLY_HEADER = 24,
  HMCI_FRAME_ENTRIES = 256,                                         /* most entries of a request frame */
  HMCI_FRAME_TABLE = (HMCI_FRAME_ENTRIES - 1) * HMCI_REQUEST_ENTRY, /* most bytes of further entries */
  HMCI_FRAME_PAYLOAD = 1 << 20,                                     /* most payload bytes of one frame */
};

typedef enum hmci_wire_type {
  HMCI_WIRE_PUT = 1,
  HMCI_WIRE_GET = 2,
  HMCI_WIRE_ATOMIC = 3,
  HMCI_WIRE_NOTIFY = 4,
  HMCI_WIRE_ACK = 65,
  HMCI_WIRE_NAK = 66,
  HMCI_WIRE_DATA = 67,
  HMCI_WIRE_RESULT = 68,
} hmci_wire_type_t;

enum {
  HMCI_FLAG_LAST = 1,
  HMCI_FLAG_CHAINED = 2,
  HMCI_FLAG_CHECKSUM = 4,
  HMCI_FLAG_EASY = 8,
  HMCI_FLAG_RUN = 16,
  HMCI_FLAGS = 31
};
enum { HMCI_ATOMIC_ENTRIES = 3 };

typedef struct hmci_request_header {
  uint8_t type, flags;
  uint16_t entries;
  uint32_t crc, region, generation;
  uint64_t sequence, offset, length, lease, stride;
} hmci_request_header_t;

/* Bytes of the table behind the header. */
static inline uint32_t hmci_request_table(const hmci_request_header_t *header) {
  return header->flags & HMCI_FLAG_RUN ? 0 : (header->entries - 1u) * HMCI_REQUEST_ENTRY;
}

typedef struct hmci_reply_header {
  uint8_t type, flags;
  uint16_t status;
  uint32_t crc;
  uint64_t sequence, length;
} hmci_reply_header_t;

void hmci_request_encode(uint8_t *to, const hmci_request_header_t *header);
void hmci_request_encode_entry(uint8_t *to, uint64_t offset, uint64_t length);
/* HMC_CORRUPT: unknown type or flags, or a number of entries or a stride that does not belong to them. */
hmc_status_t hmci_request_decode(const uint8_t *from, hmci_request_header_t *header);

/* Decodes the entries of a request (the header's first one and `table` for the others) into `segments` (offset in
 * `local`) and sums the lengths to move. HMC_CORRUPT: the sum is 0 or overflows, an offset of a run does, a put's or a
 * notification's sum is over its limit, or an atomic that is none. */
hmc_status_t hmci_request_decode_entries(const hmci_request_header_t *header, const uint8_t *table,
                                         hmci_segment_t *segments, uint64_t *total);

void hmci_reply_encode(uint8_t *to, const hmci_reply_header_t *header);
/* HMC_CORRUPT: unknown type, flags or status, or a length or CRC where none belongs. */
hmc_status_t hmci_reply_decode(const uint8_t *from, hmci_reply_header_t *header);

#endif
