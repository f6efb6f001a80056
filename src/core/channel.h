/* A channel: frames over a secure stream. Carries the handshake of two peers, and afterwards their session.
 *
 * Locking: `lock` guards the stream and both buffers, for one thread may send while the loop's receives. Bounded: a
 * frame has at most HMCI_CHANNEL_BODY bytes, and what waits to be sent at most HMCI_CHANNEL_BACKLOG. */
#ifndef HMCI_CHANNEL_H
#define HMCI_CHANNEL_H

#include "../ctrl/frame.h"
#include "../ctrl/secure.h"

#include <pthread.h>

enum { HMCI_CHANNEL_BODY = 16 << 10, HMCI_CHANNEL_BACKLOG = 1 << 20 };

typedef struct hmci_channel {
  pthread_mutex_t lock;
  hmci_secure_t *stream;
  uint8_t *body; /* of the frame being received; allocated when its header is sound, freed with the next one */
  uint8_t header[HMCI_FRAME_HEADER];
  uint32_t header_size, body_size;
  hmci_frame_header_t frame;
  uint8_t *out; /* what waits to be sent */
  size_t out_size, out_sent;
} hmci_channel_t;

/* Takes the stream. */
void hmci_channel_open(hmci_channel_t *channel, hmci_secure_t *stream);
void hmci_channel_close(hmci_channel_t *channel);
/* Hangs up, so that the other end learns of it at once; the stream stays until close. Any thread. */
void hmci_channel_hang_up(hmci_channel_t *channel);

/* Queues a frame and sends what goes without blocking. HMC_PEER_LOST, HMC_NO_MEMORY (the backlog is full). */
hmc_status_t hmci_channel_send(hmci_channel_t *channel, uint16_t type, const void *body, size_t size);
/* Sends what waits: HMC_SUCCESS when all is gone, HMC_IN_PROGRESS, HMC_PEER_LOST. */
hmc_status_t hmci_channel_flush(hmci_channel_t *channel);
/* After the last frame that TLS carries is sent or received; see hmci_secure_reseal. HMC_PEER_LOST where that frame has
 * not left. */
hmc_status_t hmci_channel_reseal(hmci_channel_t *channel);
bool hmci_channel_is_blocked(hmci_channel_t *channel);

/* The next frame: HMC_SUCCESS (`reader` stands at the start of its body, valid until the next call), HMC_IN_PROGRESS,
 * or why the channel is broken. */
hmc_status_t hmci_channel_receive(hmci_channel_t *channel, uint16_t *type, hmci_reader_t *reader);

/* Blocking forms, for a channel that is not in a loop. */
hmc_status_t hmci_channel_flush_wait(hmci_channel_t *channel, uint64_t deadline);
hmc_status_t hmci_channel_receive_wait(hmci_channel_t *channel, uint64_t deadline, uint16_t *type,
                                       hmci_reader_t *reader);

#endif
