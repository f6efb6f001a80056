/* The inbox of a link: bytes of the stream go in, whole messages come out.
 *
 * A message travels as data frames, each with a part of it: type (2), size of the whole message (4), bytes of the part.
 * A drop frame takes back the parts of a message that its sender gave up. Nothing here blocks or locks: the link does.
 */
#ifndef HMCI_INBOX_H
#define HMCI_INBOX_H

#include "frame.h"

enum { HMCI_FRAME_HELLO = 1, HMCI_FRAME_DATA = 2, HMCI_FRAME_DROP = 3 };

enum {
  HMCI_DATA_PREFIX = 6,      /* type and size of the message, before the bytes of the part */
  HMCI_DATA_PART = 64 << 10, /* bytes of a message in one frame, at most */
};

typedef struct hmci_message {
  hmci_list_t member;
  uint16_t type;
  uint32_t size;
  uint8_t data[];
} hmci_message_t;

typedef struct hmci_inbox {
  hmci_list_t messages; /* whole ones, in order */
  size_t bytes;         /* what they occupy */

  uint8_t header[HMCI_FRAME_HEADER + HMCI_DATA_PREFIX]; /* of the frame that is coming in */
  size_t header_size;
  hmci_frame_header_t frame;
  uint32_t part_left; /* bytes of the frame's part that are still to come */
  uint32_t crc;       /* of the body so far */

  hmci_message_t *partial; /* the message that is coming in, or NULL */
  uint32_t partial_size;   /* bytes of it that are there */
} hmci_inbox_t;

void hmci_inbox_init(hmci_inbox_t *inbox);

/* Frees all messages. */
void hmci_inbox_clear(hmci_inbox_t *inbox);

/* Takes `size` bytes that came over the stream. Errors: HMC_CORRUPT, HMC_UNSUPPORT or HMC_OUT_OF_RANGE where they are
 * not messages of this protocol; HMC_NO_MEMORY. After an error nothing more may be fed; messages that are whole
 * stay. */
hmc_status_t hmci_inbox_feed(hmci_inbox_t *inbox, const void *data, size_t size);

/* Where the next bytes of the stream belong, when they are *size bytes of a message's contents, so that they can be
 * read right to their place; NULL when they are anything else. Feed takes them without copying when it is given that
 * address. */
void *hmci_inbox_place(hmci_inbox_t *inbox, size_t *size);

/* The oldest whole message, or NULL; and its removal. */
hmci_message_t *hmci_inbox_first(const hmci_inbox_t *inbox);
void hmci_inbox_remove_first(hmci_inbox_t *inbox);

/* Puts the whole messages of `from` in front of those of `to`. */
void hmci_inbox_inherit(hmci_inbox_t *to, hmci_inbox_t *from);

#endif
