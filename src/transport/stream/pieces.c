/* Walking over the pieces of an operation (see pieces.h). */
#include "pieces.h"

#include "../../base/guarded.h"

#include <string.h>

/* The bytes from the cursor to the end of its segment; steps over finished and empty segments. 0 at the end. */
static uint64_t rest_of_segment(const hmci_segment_t *segments, uint32_t count, hmci_cursor_t *cursor) {
  while (cursor->index < count) {
    uint64_t rest = segments[cursor->index].length - cursor->offset;
    if (rest) return rest;
    cursor->index++;
    cursor->offset = 0;
  }
  return 0;
}

int hmci_pieces_next(const hmci_segment_t *segments, uint32_t count, uint8_t *base, hmci_cursor_t *cursor,
                     uint64_t bytes, struct iovec *parts, int room, uint64_t *covered) {
  int used = 0;
  uint64_t sum = 0, rest;
  while (used < room && bytes && (rest = rest_of_segment(segments, count, cursor))) {
    uint64_t length = rest < bytes ? rest : bytes;
    parts[used].iov_base = base + segments[cursor->index].local + cursor->offset;
    parts[used].iov_len = length;
    used++;
    cursor->offset += length;
    bytes -= length;
    sum += length;
  }
  *covered = sum;
  return used;
}

void hmci_pieces_skip(const hmci_segment_t *segments, uint32_t count, hmci_cursor_t *cursor, uint64_t bytes) {
  uint64_t rest;
  while (bytes && (rest = rest_of_segment(segments, count, cursor))) {
    uint64_t length = rest < bytes ? rest : bytes;
    cursor->offset += length;
    bytes -= length;
  }
}

/* Of registered memory, by way of a buffer. */
static uint32_t guarded_crc(const uint8_t *from, uint64_t bytes, uint32_t crc) {
  uint8_t buffer[4096];
  while (bytes) {
    uint64_t length = bytes < sizeof buffer ? bytes : sizeof buffer;
    if (!hmci_guarded_read(buffer, from, length)) return ~crc;
    crc = hmci_crc32c(crc, buffer, length);
    from += length;
    bytes -= length;
  }
  return crc;
}

uint32_t hmci_pieces_crc(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                         hmci_cursor_t *cursor, uint64_t bytes, uint32_t crc) {
  struct iovec part;
  uint64_t length;
  while (bytes && hmci_pieces_next(segments, count, region->base, cursor, bytes, &part, 1, &length)) {
    crc = region->owned ? hmci_crc32c(crc, part.iov_base, length) : guarded_crc(part.iov_base, length, crc);
    bytes -= length;
  }
  return crc;
}

static bool copy_from(const hmci_region_view_t *region, void *to, const void *from, uint64_t length) {
  if (!region->owned) return hmci_guarded_read(to, from, length);
  memcpy(to, from, length);
  return true;
}

static bool copy_into(const hmci_region_view_t *region, void *to, const void *from, uint64_t length) {
  if (!region->owned) return hmci_guarded_write(to, from, length);
  memcpy(to, from, length);
  return true;
}

hmc_status_t hmci_pieces_from_host(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                                   hmci_cursor_t *cursor, const uint8_t *from, uint64_t bytes) {
  struct iovec part;
  uint64_t length;
  while (bytes && hmci_pieces_next(segments, count, region->base, cursor, bytes, &part, 1, &length)) {
    if (region->ops->host_accessible) {
      if (!copy_into(region, part.iov_base, from, length)) return HMC_INVALID_CONFIG;
    } else {
      hmc_status_t status = region->ops->copy_from_host(region->memory.device, part.iov_base, from, length);
      if (status != HMC_SUCCESS) return status;
    }
    from += length;
    bytes -= length;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_pieces_to_host(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                                 hmci_cursor_t *cursor, uint8_t *to, uint64_t bytes) {
  struct iovec part;
  uint64_t length;
  while (bytes && hmci_pieces_next(segments, count, region->base, cursor, bytes, &part, 1, &length)) {
    if (region->ops->host_accessible) {
      if (!copy_from(region, to, part.iov_base, length)) return HMC_INVALID_CONFIG;
    } else {
      hmc_status_t status = region->ops->copy_to_host(region->memory.device, to, part.iov_base, length);
      if (status != HMC_SUCCESS) return status;
    }
    to += length;
    bytes -= length;
  }
  return HMC_SUCCESS;
}
