/* Frames and the fields in them (see frame.h).
 *
 * Invariants of a writer: size <= capacity; of a reader: position <= size. Neither moves once it has failed. No
 * locking: the one who holds it uses it alone. */
#include "frame.h"

#include <string.h>

/* Layout of a header. */
enum { AT_MAGIC = 0, AT_VERSION = 4, AT_TYPE = 6, AT_SIZE = 8, AT_CRC = 12 };

static const uint8_t magic[4] = {'H', 'M', 'C', '1'};

void hmci_frame_encode_checked(uint8_t header[HMCI_FRAME_HEADER], uint16_t type, uint32_t size, uint32_t crc) {
  memcpy(header + AT_MAGIC, magic, sizeof(magic));
  hmci_store16(header + AT_VERSION, HMCI_FRAME_VERSION);
  hmci_store16(header + AT_TYPE, type);
  hmci_store32(header + AT_SIZE, size);
  hmci_store32(header + AT_CRC, crc);
}

void hmci_frame_encode(uint8_t header[HMCI_FRAME_HEADER], uint16_t type, const void *body, uint32_t size) {
  hmci_frame_encode_checked(header, type, size, hmci_crc32c(0, body, size));
}

hmc_status_t hmci_frame_decode(const uint8_t header[HMCI_FRAME_HEADER], uint32_t limit, hmci_frame_header_t *decoded) {
  if (memcmp(header + AT_MAGIC, magic, sizeof(magic)) != 0) {
    return hmci_fail(HMC_CORRUPT, "no HMC frame: it starts with bytes %02x %02x %02x %02x", header[0], header[1],
                     header[2], header[3]);
  }
  uint16_t version = hmci_load16(header + AT_VERSION);
  if (version != HMCI_FRAME_VERSION) {
    return hmci_fail(HMC_UNSUPPORT,
                     "a frame of protocol version %u, this end speaks version %u: use one HMC at both ends", version,
                     HMCI_FRAME_VERSION);
  }
  uint32_t size = hmci_load32(header + AT_SIZE);
  if (size > limit) {
    return hmci_fail(HMC_OUT_OF_RANGE, "a frame with a body of %u B where at most %u B are taken", size, limit);
  }
  *decoded = (hmci_frame_header_t){
      .version = version,
      .type = hmci_load16(header + AT_TYPE),
      .size = size,
      .crc = hmci_load32(header + AT_CRC),
  };
  return HMC_SUCCESS;
}

hmc_status_t hmci_frame_check(const hmci_frame_header_t *header, const void *body) {
  uint32_t crc = hmci_crc32c(0, body, header->size);
  if (crc != header->crc) {
    return hmci_fail(HMC_CORRUPT, "a frame of type %u and %u B has CRC-32C %08x instead of %08x", header->type,
                     header->size, crc, header->crc);
  }
  return HMC_SUCCESS;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Room for `size` bytes, or NULL. */
static uint8_t *writer_take(hmci_writer_t *writer, size_t size) {
  if (writer->failed || size > writer->capacity - writer->size) {
    writer->failed = true;
    return NULL;
  }
  uint8_t *at = writer->data + writer->size;
  writer->size += size;
  return at;
}

void hmci_write_u8(hmci_writer_t *writer, uint8_t value) {
  uint8_t *at = writer_take(writer, sizeof(value));
  if (at != NULL) {
    *at = value;
  }
}

void hmci_write_u16(hmci_writer_t *writer, uint16_t value) {
  uint8_t *at = writer_take(writer, sizeof(value));
  if (at != NULL) {
    hmci_store16(at, value);
  }
}

void hmci_write_u32(hmci_writer_t *writer, uint32_t value) {
  uint8_t *at = writer_take(writer, sizeof(value));
  if (at != NULL) {
    hmci_store32(at, value);
  }
}

void hmci_write_u64(hmci_writer_t *writer, uint64_t value) {
  uint8_t *at = writer_take(writer, sizeof(value));
  if (at != NULL) {
    hmci_store64(at, value);
  }
}

void hmci_write_blob(hmci_writer_t *writer, const void *data, uint16_t size) {
  uint8_t *at = writer_take(writer, sizeof(size) + (size_t)size);
  if (at != NULL) {
    hmci_store16(at, size);
    if (size > 0) {
      memcpy(at + sizeof(size), data, size);
    }
  }
}

void hmci_write_text(hmci_writer_t *writer, const char *text) {
  size_t length = strlen(text);
  if (length > UINT16_MAX) {
    writer->failed = true;
    return;
  }
  hmci_write_blob(writer, text, (uint16_t)length);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* The next `size` bytes, or NULL. */
static const uint8_t *reader_take(hmci_reader_t *reader, size_t size) {
  if (reader->failed || size > reader->size - reader->position) {
    reader->failed = true;
    return NULL;
  }
  const uint8_t *at = reader->data + reader->position;
  reader->position += size;
  return at;
}

uint8_t hmci_read_u8(hmci_reader_t *reader) {
  const uint8_t *at = reader_take(reader, sizeof(uint8_t));
  return at != NULL ? *at : 0;
}

uint16_t hmci_read_u16(hmci_reader_t *reader) {
  const uint8_t *at = reader_take(reader, sizeof(uint16_t));
  return at != NULL ? hmci_load16(at) : 0;
}

uint32_t hmci_read_u32(hmci_reader_t *reader) {
  const uint8_t *at = reader_take(reader, sizeof(uint32_t));
  return at != NULL ? hmci_load32(at) : 0;
}

uint64_t hmci_read_u64(hmci_reader_t *reader) {
  const uint8_t *at = reader_take(reader, sizeof(uint64_t));
  return at != NULL ? hmci_load64(at) : 0;
}

uint16_t hmci_read_blob(hmci_reader_t *reader, void *data, size_t capacity) {
  uint16_t size = hmci_read_u16(reader);
  if (size > capacity) {
    reader->failed = true;
    return 0;
  }
  const uint8_t *at = reader_take(reader, size);
  if (at == NULL) {
    return 0;
  }
  if (size > 0) {
    memcpy(data, at, size);
  }
  return size;
}

void hmci_read_text(hmci_reader_t *reader, char *text, size_t capacity) {
  uint16_t size = capacity > 0 ? hmci_read_blob(reader, text, capacity - 1) : 0;
  if (capacity == 0 || memchr(text, '\0', size) != NULL) {
    reader->failed = true;
    size = 0;
  }
  if (capacity > 0) {
    text[size] = '\0';
  }
}
