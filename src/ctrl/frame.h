/* Frames: length-prefixed, versioned, little-endian messages inside a secure stream, and the fields in them.
 *
 * A frame is 16 bytes of header and a body: magic "HMC1" (4), version (2), type (2), body size (4), CRC-32C of the body
 * (4). The parser is pure: it looks at bytes and tells; it never allocates and never reads past what it was given. */
#ifndef HMCI_FRAME_H
#define HMCI_FRAME_H

#include "../base/base.h"

#define HMCI_FRAME_HEADER 16
#define HMCI_FRAME_VERSION 1

typedef struct hmci_frame_header {
  uint16_t version, type;
  uint32_t size, crc;
} hmci_frame_header_t;

/* Writes a header for `body` (`size` bytes). */
void hmci_frame_encode(uint8_t header[HMCI_FRAME_HEADER], uint16_t type, const void *body, uint32_t size);

/* The same where the body does not lie in one piece: `crc` is what hmci_crc32c makes of it. */
void hmci_frame_encode_checked(uint8_t header[HMCI_FRAME_HEADER], uint16_t type, uint32_t size, uint32_t crc);

/* Reads a header. Errors: HMC_CORRUPT (no HMC frame), HMC_UNSUPPORT (another version: the text gives both),
 * HMC_OUT_OF_RANGE (a body over `limit`). */
hmc_status_t hmci_frame_decode(const uint8_t header[HMCI_FRAME_HEADER], uint32_t limit, hmci_frame_header_t *decoded);

/* HMC_CORRUPT where the body does not have the header's CRC. */
hmc_status_t hmci_frame_check(const hmci_frame_header_t *header, const void *body);

/* Writing and reading fields of a body. A writer that runs out of room, and a reader that runs past the end or meets a
 * string or blob longer than the room for it, becomes `failed` and stays so; reads then give zeros. Look at `failed`
 * once, at the end. */
typedef struct hmci_writer {
  uint8_t *data;
  size_t capacity, size;
  bool failed;
} hmci_writer_t;

typedef struct hmci_reader {
  const uint8_t *data;
  size_t size, position;
  bool failed;
} hmci_reader_t;

void hmci_write_u8(hmci_writer_t *writer, uint8_t value);
void hmci_write_u16(hmci_writer_t *writer, uint16_t value);
void hmci_write_u32(hmci_writer_t *writer, uint32_t value);
void hmci_write_u64(hmci_writer_t *writer, uint64_t value);
void hmci_write_blob(hmci_writer_t *writer, const void *data, uint16_t size); /* u16 size, bytes */
void hmci_write_text(hmci_writer_t *writer, const char *text);                /* as a blob, without the end */

uint8_t hmci_read_u8(hmci_reader_t *reader);
uint16_t hmci_read_u16(hmci_reader_t *reader);
uint32_t hmci_read_u32(hmci_reader_t *reader);
uint64_t hmci_read_u64(hmci_reader_t *reader);
uint16_t hmci_read_blob(hmci_reader_t *reader, void *data, size_t capacity); /* returns the size */
void hmci_read_text(hmci_reader_t *reader, char *text, size_t capacity);     /* always ended; no NUL bytes inside */

#endif
