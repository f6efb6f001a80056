/* Walking over the pieces of an operation: where the next bytes of its payload lie in the local memory. */
#ifndef HMCI_STREAM_PIECES_H
#define HMCI_STREAM_PIECES_H

#include "../transport.h"

#include <sys/uio.h>

enum {
  HMCI_STREAM_INLINE = 512, /* a payload of host memory up to this is copied behind its header */
  HMCI_STREAM_FINE = 256,   /* so are pieces that are smaller on average */
};

/* A place in the payload of a list of segments: `offset` bytes into segment `index`; index == count at the end. */
typedef struct hmci_cursor {
  uint32_t index;
  uint64_t offset;
} hmci_cursor_t;

/* Describes at most `bytes` bytes from `cursor` on as parts of `base` (their `local` offsets) and moves the cursor past
 * them. What lies one behind the other is one part. Stops early when `room` parts are used. Returns the number of parts;
 * `*covered` gets the bytes they cover. */
int hmci_pieces_next(const hmci_segment_t *segments, uint32_t count, uint8_t *base, hmci_cursor_t *cursor,
                     uint64_t bytes, struct iovec *parts, int room, uint64_t *covered);

/* Whether pieces are so many and so small that it costs less to copy them than to name each one to the kernel. */
static inline bool hmci_pieces_are_fine(uint64_t count, uint64_t bytes) {
  return count > 1 && bytes / HMCI_STREAM_FINE < count;
}

/* Moves the cursor `bytes` on. */
void hmci_pieces_skip(const hmci_segment_t *segments, uint32_t count, hmci_cursor_t *cursor, uint64_t bytes);

/* The CRC-32C of `bytes` bytes of a region in host memory from `cursor` on, going on from `crc`; moves the cursor. Some
 * other number where the memory is not there any more. */
uint32_t hmci_pieces_crc(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                         hmci_cursor_t *cursor, uint64_t bytes, uint32_t crc);

/* Copies `bytes` bytes between host memory and the pieces from `cursor` on, which it moves: for memory of any kind.
 * HMC_INVALID_CONFIG where the region's memory is not there any more: registered memory may be unmapped or protected by
 * its owner. */
hmc_status_t hmci_pieces_from_host(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                                   hmci_cursor_t *cursor, const uint8_t *from, uint64_t bytes);
hmc_status_t hmci_pieces_to_host(const hmci_region_view_t *region, const hmci_segment_t *segments, uint32_t count,
                                 hmci_cursor_t *cursor, uint8_t *to, uint64_t bytes);

#endif
