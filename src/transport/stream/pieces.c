/* Walking over the pieces of an operation (see pieces.h). */
#include "pieces.h"

#include "../../base/guarded.h"

#include <string.h>

enum { PARTS = 64 }; /* copied at a time */

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
  hmci_cursor_t at = *cursor;         /* lists are long: what changes with each piece stays in registers */
  uint8_t *start = NULL, *end = NULL; /* of the part that grows */
  uint64_t left = bytes, rest;
  int used = 0;
  while (left && (rest = rest_of_segment(segments, count, &at))) {
    uint64_t length = rest < left ? rest : left;
    uint8_t *place = base + segments[at.index].local + at.offset;
    if (!used || place != end) {
      if (used == room) break;
      if (used) parts[used - 1] = (struct iovec){start, (size_t)(end - start)};
      used++;
      start = place;
    }
    end = place + length;
    at.offset += length;
    left -= length;
  }
  if (used) parts[used - 1] = (struct iovec){start, (size_t)(end - start)};
  *cursor = at;
  *covered = bytes - left;
  return used;
}

void hmci_pieces_skip(const hmci_segment_t *segments, uint32_t count, hmci_cursor_t *cursor, uint64_t bytes) {
  hmci_cursor_t at = *cursor;
  uint64_t rest;
  while (bytes && (rest = rest_of_segment(segments, count, &at))) {
    uint64_t length = rest < bytes ? rest : bytes;
    at.offset += length;
    bytes -= length;
  }
  *cursor = at;
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

/* A copy that most often is of few bytes. */
static inline void copy_few(void *to, const void *from, uint64_t size) {
  switch (size) {
  case 4: memcpy(to, from, 4); break;
  case 8: memcpy(to, from, 8); break;
  default: memcpy(to, from, size);
  }
}

/* Between plain host memory and the pieces; `reads`: from these. */
static void copy_plain(const hmci_segment_t *segments, uint32_t count, uint8_t *base, hmci_cursor_t *cursor,
                       uint8_t *host, uint64_t bytes, bool reads) {
  hmci_cursor_t at = *cursor;
  uint64_t rest;
  while (bytes && (rest = rest_of_segment(segments, count, &at))) {
    uint64_t length = rest < bytes ? rest : bytes;
    uint8_t *place = base + segments[at.index].local + at.offset;
    copy_few(reads ? host : place, reads ? place : host, length);
    at.offset += length;
    host += length;
    bytes -= length;
  }
  *cursor = at;
}

/* Between host memory and a part of a device's. */
static hmc_status_t copy_device(const hmci_region_view_t *region, const struct iovec *part, uint8_t *host, bool reads) {
  int device = region->memory.device;
  return reads ? region->ops->copy_to_host(device, host, part->iov_base, part->iov_len)
               : region->ops->copy_from_host(device, part->iov_base, host, part->iov_len);
}

static hmc_status_t copy(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                         hmci_cursor_t *cursor, uint8_t *host, uint64_t bytes, bool reads) {
  bool is_host = region->ops->host_accessible;
  if (is_host && region->owned) {
    copy_plain(segments, count, region->base, cursor, host, bytes, reads);
    return HMC_SUCCESS;
  }
  struct iovec parts[PARTS];
  uint64_t length;
  int some, most = is_host ? PARTS : 1;
  while (bytes && (some = hmci_pieces_next(segments, count, region->base, cursor, bytes, parts, most, &length))) {
    hmc_status_t status = HMC_SUCCESS;
    if (!is_host) {
      status = copy_device(region, parts, host, reads);
    } else if (!(reads ? hmci_guarded_gather(host, parts, some) : hmci_guarded_scatter(parts, some, host))) {
      status = HMC_INVALID_CONFIG;
    }
    if (status != HMC_SUCCESS) return status;
    host += length;
    bytes -= length;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_pieces_from_host(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                                   hmci_cursor_t *cursor, const uint8_t *from, uint64_t bytes) {
  return copy(region, segments, count, cursor, (uint8_t *)(uintptr_t)from, bytes, false);
}

hmc_status_t hmci_pieces_to_host(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                                 hmci_cursor_t *cursor, uint8_t *to, uint64_t bytes) {
  return copy(region, segments, count, cursor, to, bytes, true);
}
