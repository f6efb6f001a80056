/* A link of the control channel: one stream to one other channel, and the messages that came over it.
 *
 * Who moves the bytes. Sending threads write to the socket themselves, and a receiving thread reads from it, so that a
 * message costs no switch to a service thread. Only a link that nobody has received from for a while is read by the
 * service loop, into the inbox, up to HMCI_LINK_QUEUE_LIMIT; so a peer's sender is not held up by an application that
 * is busy elsewhere, and the end of the stream is noticed.
 *
 * Threads: every call from any thread, unless it says otherwise. References: who looks up a link holds one while using
 * it; releasing the last one must happen with no lock held that a callback of the loop takes. */
#ifndef HMCI_LINK_H
#define HMCI_LINK_H

#include "../base/loop.h"
#include "secure.h"

#include <stdatomic.h>

#define HMCI_LINK_QUEUE_LIMIT (16u << 20)

typedef struct hmci_link hmci_link_t;

/* What a receiver takes. */
typedef struct hmci_link_wish {
  bool typed; /* then type and size must be these; else HMC_CORRUPT */
  uint16_t type;
  size_t size;
} hmci_link_wish_t;

/* Makes a link of a stream whose handshake is done, which it then owns, and begins to serve it in `loop`. `first` is
 * sent ahead of all messages. `name` (copied) is for texts. `spin`: nanoseconds that a receiver polls a peer that
 * answers quickly. The caller gets one reference. Errors: HMC_NO_MEMORY; the stream stays the caller's. */
hmc_status_t hmci_link_create(hmci_loop_t *loop, hmci_secure_t *stream, const char *name, uint64_t spin,
                              const void *first, size_t first_size, hmci_link_t **link);

hmci_link_t *hmci_link_acquire(hmci_link_t *link);
void hmci_link_release(hmci_link_t *link);

/* Sends a message. HMC_SUCCESS means that all of it will arrive if the link lives; any other status means that none of
 * it will. Errors: HMC_TIMEOUT, or how the link ended. */
hmc_status_t hmci_link_send(hmci_link_t *link, uint16_t type, const void *data, size_t size, uint64_t deadline);

/* Receives the next message. Errors, all of which leave it where it is: HMC_TIMEOUT, HMC_OUT_OF_RANGE (*size says what
 * it needs), HMC_CORRUPT (not what was wished), or how the link ended. type and size may be NULL. */
hmc_status_t hmci_link_receive(hmci_link_t *link, const hmci_link_wish_t *wish, uint16_t *type, void *data,
                               size_t capacity, size_t *size, uint64_t deadline);

/* Ends the link, unless it has ended: all calls on it answer `status` with that text from then on. What had arrived is
 * read first and can still be received. */
void hmci_link_end(hmci_link_t *link, hmc_status_t status, const char *text);

/* HMC_SUCCESS, or how it ended, as status and text. */
hmc_status_t hmci_link_state(hmci_link_t *link);

/* Moves the messages of a link that has ended to the front of a new one. */
void hmci_link_inherit(hmci_link_t *to, hmci_link_t *from);

/* A descriptor that poll() shows readable while a message, or the end of the link, can be received. It is the link's.
 * Errors: HMC_NO_MEMORY. */
hmc_status_t hmci_link_descriptor(hmci_link_t *link, int *descriptor);

#endif
