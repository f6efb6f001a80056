/* Encoding and decoding of the stream protocol (see wire.h). Pure functions. */
#include "wire.h"

#include <string.h>

enum { LEASE = 40, STRIDE = 48, USED = 56 }; /* bytes of a request header with a meaning */
_Static_assert(USED + 8 == HMCI_REQUEST_HEADER, "a word of 0 fills it up");

void hmci_request_encode(uint8_t *to, const hmci_request_header_t *header) {
  to[0] = header->type;
  to[1] = header->flags;
  hmci_store16(to + 2, header->entries);
  hmci_store32(to + 4, header->crc);
  hmci_store32(to + 8, header->region);
  hmci_store32(to + 12, header->generation);
  hmci_store64(to + 16, header->sequence);
  hmci_request_encode_entry(to + 24, header->offset, header->length);
  hmci_store64(to + LEASE, header->lease);
  hmci_store64(to + STRIDE, header->stride);
  memset(to + USED, 0, HMCI_REQUEST_HEADER - USED);
}

void hmci_request_encode_entry(uint8_t *to, uint64_t offset, uint64_t length) {
  hmci_store64(to, offset);
  hmci_store64(to + 8, length);
}

hmc_status_t hmci_request_decode(const uint8_t *from, hmci_request_header_t *header) {
  *header = (hmci_request_header_t){
      .type = from[0],
      .flags = from[1],
      .entries = hmci_load16(from + 2),
      .crc = hmci_load32(from + 4),
      .region = hmci_load32(from + 8),
      .generation = hmci_load32(from + 12),
      .sequence = hmci_load64(from + 16),
      .offset = hmci_load64(from + 24),
      .length = hmci_load64(from + 32),
      .lease = hmci_load64(from + LEASE),
      .stride = hmci_load64(from + STRIDE),
  };
  bool known = header->type >= HMCI_WIRE_PUT && header->type <= HMCI_WIRE_NOTIFY;
  if (!known || header->flags & ~HMCI_FLAGS || (header->crc && !(header->flags & HMCI_FLAG_CHECKSUM))) {
    return hmci_fail(HMC_CORRUPT, "request of unknown type %u, flags %u", header->type, header->flags);
  }
  bool notifies = header->type == HMCI_WIRE_NOTIFY, is_run = header->flags & HMCI_FLAG_RUN;
  bool may_run = header->type == HMCI_WIRE_PUT || header->type == HMCI_WIRE_GET;
  bool is_out_of_place = is_run ? !may_run : header->stride != 0;
  if (hmci_load64(from + USED) || is_out_of_place || (notifies && header->lease)) {
    return hmci_fail(HMC_CORRUPT, "request with something where nothing belongs");
  }
  uint16_t least = header->type == HMCI_WIRE_ATOMIC ? HMCI_ATOMIC_ENTRIES : 1;
  uint16_t most = header->type == HMCI_WIRE_NOTIFY || header->type == HMCI_WIRE_ATOMIC ? least : HMCI_FRAME_ENTRIES;
  if (header->entries < least || header->entries > most) {
    return hmci_fail(HMC_CORRUPT, "request of type %u with %u entries (%u to %u)", header->type, header->entries, least,
                     most);
  }
  return HMC_SUCCESS;
}

/* The entries of an atomic say what to do instead of where. */
static bool is_atomic(const hmci_segment_t *segments) {
  uint64_t width = segments[0].length;
  bool exists = width == 1 || width == 2 || width == 4 || width == 8;
  return exists && segments[0].local % width == 0 && segments[1].local >= HMC_ATOMIC_ADD &&
         segments[1].local <= HMC_ATOMIC_COMPARE_SWAP && segments[2].length <= 1;
}

/* Writes out a run, and sums it. */
static hmc_status_t decode_run(const hmci_request_header_t *header, hmci_segment_t *segments, uint64_t *sum) {
  uint64_t last;
  if (__builtin_mul_overflow(header->stride, header->entries - 1u, &last) ||
      __builtin_add_overflow(last, header->offset, &last) || __builtin_add_overflow(last, header->length, &last) ||
      __builtin_mul_overflow(header->length, header->entries, sum)) {
    return hmci_fail(HMC_CORRUPT, "the offsets or lengths of a run overflow");
  }
  for (uint32_t i = 0; i < header->entries; i++)
    segments[i] = (hmci_segment_t){.local = header->offset + i * header->stride, .length = header->length};
  return HMC_SUCCESS;
}

hmc_status_t hmci_request_decode_entries(const hmci_request_header_t *header, const uint8_t *table,
                                         hmci_segment_t *segments, uint64_t *total) {
  uint64_t sum = header->length;
  bool atomic = header->type == HMCI_WIRE_ATOMIC;
  bool is_run = header->flags & HMCI_FLAG_RUN;
  if (is_run && decode_run(header, segments, &sum) != HMC_SUCCESS) return HMC_CORRUPT;
  segments[0] = (hmci_segment_t){.local = header->offset, .length = header->length};
  for (uint32_t i = 1; i < header->entries && !is_run; i++, table += HMCI_REQUEST_ENTRY) {
    segments[i] = (hmci_segment_t){.local = hmci_load64(table), .length = hmci_load64(table + 8)};
    if (atomic) continue;
    if (segments[i].length > UINT64_MAX - sum) return hmci_fail(HMC_CORRUPT, "the lengths of a request overflow");
    sum += segments[i].length;
  }
  uint64_t limit = header->type == HMCI_WIRE_NOTIFY ? HMC_NOTIFICATION_MAX : HMCI_FRAME_PAYLOAD;
  if (header->type != HMCI_WIRE_GET && sum > limit) {
    return hmci_fail(HMC_CORRUPT, "frame of type %u with %llu B (at most %llu)", header->type, (unsigned long long)sum,
                     (unsigned long long)limit);
  }
  if (atomic && !is_atomic(segments)) return hmci_fail(HMC_CORRUPT, "malformed atomic");
  if (sum == 0) return hmci_fail(HMC_CORRUPT, "a request for nothing");
  *total = sum;
  return HMC_SUCCESS;
}

void hmci_reply_encode(uint8_t *to, const hmci_reply_header_t *header) {
  to[0] = header->type;
  to[1] = header->flags;
  hmci_store16(to + 2, header->status);
  hmci_store32(to + 4, header->crc);
  hmci_store64(to + 8, header->sequence);
  hmci_store64(to + 16, header->length);
}

/* A status that is unknown here comes from a newer peer. */
static bool is_status(uint16_t value) { return value != HMC_IN_PROGRESS; }

hmc_status_t hmci_reply_decode(const uint8_t *from, hmci_reply_header_t *header) {
  *header = (hmci_reply_header_t){
      .type = from[0],
      .flags = from[1],
      .status = hmci_load16(from + 2),
      .crc = hmci_load32(from + 4),
      .sequence = hmci_load64(from + 8),
      .length = hmci_load64(from + 16),
  };
  bool plain = header->length == 0 && header->flags == 0;
  bool valid = is_status(header->status) && (header->crc == 0 || header->flags & HMCI_FLAG_CHECKSUM);
  switch (header->type) {
  case HMCI_WIRE_ACK: valid = valid && plain && header->status == HMC_SUCCESS; break;
  case HMCI_WIRE_NAK: valid = valid && plain && header->status != HMC_SUCCESS; break;
  case HMCI_WIRE_DATA:
    valid = valid && header->status == HMC_SUCCESS && header->length <= HMCI_FRAME_PAYLOAD &&
            !(header->flags & ~(HMCI_FLAG_LAST | HMCI_FLAG_CHECKSUM));
    break;
  case HMCI_WIRE_RESULT: valid = valid && header->status == HMC_SUCCESS && header->flags == 0; break;
  default: valid = false;
  }
  if (!valid) return hmci_fail(HMC_CORRUPT, "malformed reply of type %u", header->type);
  return HMC_SUCCESS;
}
