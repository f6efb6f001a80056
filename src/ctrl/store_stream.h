/* A stream of store messages over a secure stream: frames in, frames out, without blocking. Both ends use it.
 *
 * What is sent waits in chunks until the socket takes it. A large value that goes to many is shared, not copied. No
 * locking: one thread at a time. */
#ifndef HMCI_STORE_STREAM_H
#define HMCI_STORE_STREAM_H

#include "secure.h"
#include "store_wire.h"

/* Bytes that several streams send, counted. Not thread-safe: its streams belong to one thread. */
typedef struct hmci_store_shared {
  unsigned references;
  bool is_marked; /* the state's, while it writes a journal */
  uint32_t size;
  uint8_t data[];
} hmci_store_shared_t;

hmci_store_shared_t *hmci_store_shared_create(uint32_t size); /* NULL: no memory */
hmci_store_shared_t *hmci_store_shared_acquire(hmci_store_shared_t *shared);
void hmci_store_shared_release(hmci_store_shared_t *shared); /* NULL is allowed */

typedef struct hmci_store_stream {
  hmci_secure_t *secure; /* the stream's */
  uint32_t limit;        /* of a body that comes in */
  uint8_t *in;
  size_t in_begin, in_end, in_capacity; /* unread bytes; in_begin <= in_end <= in_capacity */
  uint64_t in_bytes;                    /* all that came */
  hmci_list_t out;                      /* chunks */
  size_t out_bytes;
} hmci_store_stream_t;

void hmci_store_stream_init(hmci_store_stream_t *stream, hmci_secure_t *secure, uint32_t limit);
void hmci_store_stream_close(hmci_store_stream_t *stream);

/* The next message, which is valid until the next call. HMC_IN_PROGRESS: the socket must become ready for `events`.
 * Errors: those of the secure stream and of the codec; HMC_NO_MEMORY. */
hmc_status_t hmci_store_stream_receive(hmci_store_stream_t *stream, hmci_store_message_t *message, short *events);

/* Queues a message. With `shared`, that is its value (message->value is not looked at). HMC_NO_MEMORY: nothing was. */
hmc_status_t hmci_store_stream_send(hmci_store_stream_t *stream, const hmci_store_message_t *message,
                                    hmci_store_shared_t *shared);

/* Queues a whole frame. */
hmc_status_t hmci_store_stream_send_frame(hmci_store_stream_t *stream, const void *frame, size_t size);

/* Writes what is queued. HMC_IN_PROGRESS: the socket must become ready for `events`. */
hmc_status_t hmci_store_stream_flush(hmci_store_stream_t *stream, short *events);

#endif
