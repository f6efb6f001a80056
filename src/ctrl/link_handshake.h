/* The hello: the first frame each way on a stream of the control channel; it binds the ranks.
 *
 * Two channels that dial each other at the same time must agree on one of the two streams. Each dial has a serial
 * number of its channel and is pending from its hello to the answer. A channel that gets a hello from a rank that it is
 * dialling itself turns it down (HMCI_LINK_HELLO_BUSY) where its own incarnation is the lower one; else it welcomes it and
 * names its own dial in the answer, which the other end then turns down whenever it comes. So exactly one of the two
 * stands, whatever overtakes what. */
#ifndef HMCI_LINK_HANDSHAKE_H
#define HMCI_LINK_HANDSHAKE_H

#include "frame.h"

typedef enum hmci_hello_kind {
  HMCI_LINK_HELLO_DIAL = 1,    /* who dials, and whom */
  HMCI_LINK_HELLO_WELCOME = 2, /* the link is up */
  HMCI_LINK_HELLO_BUSY = 3,    /* another stream between the two is on its way */
  HMCI_LINK_HELLO_REFUSED = 4, /* for the reason in `text` */
} hmci_link_hello_kind_t;

#define HMCI_LINK_HELLO_TEXT 200
#define HMCI_HELLO_BODY (1 + 4 + 4 + 8 + 8 + 2 + HMCI_LINK_HELLO_TEXT)
#define HMCI_HELLO_FRAME (HMCI_FRAME_HEADER + HMCI_HELLO_BODY)

typedef struct hmci_link_hello {
  hmci_link_hello_kind_t kind;
  uint32_t rank;        /* of who speaks */
  uint32_t peer_rank;   /* of who is spoken to, as the speaker calls it */
  uint64_t incarnation; /* of the speaker's channel */
  uint64_t serial; /* of the dial; in a welcome: of the speaker's own dial that this one takes the place of, or 0 */
  char text[HMCI_LINK_HELLO_TEXT];
} hmci_link_hello_t;

/* Writes a frame and returns its size. */
size_t hmci_link_hello_encode(const hmci_link_hello_t *hello, uint8_t frame[HMCI_HELLO_FRAME]);

/* Reads a body that its frame's header goes with. HMC_CORRUPT. */
hmc_status_t hmci_link_hello_decode(const hmci_frame_header_t *header, const uint8_t *body, hmci_link_hello_t *hello);

#endif
