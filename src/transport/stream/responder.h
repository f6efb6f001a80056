/* The answering end of a stream: the service thread takes requests and answers them, without the application.
 *
 * Payload of a put goes from the socket into the region by the same system call that reads it; a device's into a stage,
 * from which the device copies while the next chunk comes in. An operation into device memory ends, and is
 * acknowledged, when the device has finished; any request that is not more of the same waits for that. Small frames
 * come many at a time through the scratch. Acknowledgements are cumulative: one for all that a call of the loop
 * brought.
 *
 * Backpressure: the requester's credits bound what has to be kept (see requester.h), and so the responder reads whatever
 * comes. A peer that goes far over them, with JOBS answers unsent, is not read from until it has taken some: that holds
 * nobody but itself. Answers to small requests go out many at a time.
 *
 * Locking: `lock` guards all; the loop's thread takes it, and others do to revoke a region or to fail. Those go first: the
 * loop's thread looks at `callers` between two system calls, lets `lock` go, and sleeps until they are done, so that its
 * processor is theirs; a mutex alone would be taken again before they are awake. A system call moves at most
 * HMCI_RESPONDER_LEASED bytes under a lease. Every frame that
 * touches a region counts among its users, and revoke ends that at once: what still comes in is dropped, what still
 * goes out is zeros and a NAK, or, of a frame
 * that was announced as the last one, what was there at that moment. */
#ifndef HMCI_STREAM_RESPONDER_H
#define HMCI_STREAM_RESPONDER_H

#include "pieces.h"
#include "stage.h"
#include "wire.h"

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

enum { HMCI_RESPONDER_REPLIES = 2048, HMCI_RESPONDER_WIDE = 32 << 10 };

typedef struct hmci_responder_job hmci_responder_job_t;

typedef struct hmci_responder {
  const hmci_host_t *host;
  void *connection;
  hmci_pipe_t *pipe;
  hmci_watch_t watch;

  pthread_mutex_t lock;
  _Atomic uint32_t callers; /* threads beside the loop's that have `lock` or wait for it; a futex */
  bool failed, blocked, paused;

  /* The request frame being received: header, table, payload. */
  uint8_t header[HMCI_REQUEST_HEADER];
  uint8_t *table;          /* HMCI_FRAME_TABLE bytes once a frame with more than one entry came */
  hmci_segment_t *entries; /* HMCI_FRAME_ENTRIES likewise */
  uint32_t header_size, table_size;
  hmci_request_header_t request;
  hmci_segment_t entry; /* where a single one is kept */
  hmci_cursor_t cursor;
  uint64_t payload_left;
  hmci_region_view_t *region; /* the sink; NULL: payload is dropped */
  bool is_fine;               /* its pieces are: see hmci_pieces_are_fine */
  bool bulk;                  /* the last frame was large: the next one probably is */
  uint8_t *message;           /* of a notification; `message_room` bytes, kept while they are few */
  uint64_t message_room;
  uint32_t crc;              /* of the payload so far */
  uint64_t refused_sequence; /* the operation that fails, and why */
  hmc_status_t refused_status;
  uint64_t told_sequence;  /* a get of several frames that was refused before its last one came */
  uint64_t chunk_sequence; /* of the chunk that ended last, and how its operation fares */
  hmc_status_t chunk_status;
  hmc_status_t last_status; /* of the operation before the current one; what is chained to it depends on it */

  /* Answers. */
  uint64_t ack_due, ack_sent;
  bool ack_presses;             /* some of what is due is not FLAG_EASY, or it has waited */
  uint32_t unanswered;          /* turns that took something and answered nothing */
  hmci_list_t jobs;             /* gets and NAKs, oldest first */
  uint32_t job_count, refusals; /* refusals: jobs that are nothing but a NAK */
  uint8_t *replies; /* small frames, and the header of a large one: in `narrow`, or, while gets of fine pieces wait for
                       their answers, in HMCI_RESPONDER_WIDE bytes of their own */
  uint32_t replies_size, replies_sent;
  uint8_t narrow[HMCI_RESPONDER_REPLIES];
  uint64_t data_left; /* payload that follows them, of the oldest job */
  uint8_t *rest;      /* that payload, where its region went away behind the header of its last frame; else NULL */
  uint64_t rest_sent;
  hmci_stage_t in;   /* chunks of puts into device memory */
  hmci_stage_t out;  /* chunks of the oldest job, where it reads device memory */
  uint64_t out_sent; /* of the oldest chunk */
  bool polled;
} hmci_responder_t;

/* Takes the pipe and starts to serve it; on failure the pipe stays the caller's. */
hmc_status_t hmci_responder_open(hmci_responder_t *responder, const hmci_host_t *host, void *connection,
                                 hmci_pipe_t *pipe);
/* Stops the service; regions in use are released. Any thread, more than once. */
void hmci_responder_fail(hmci_responder_t *responder);
/* After hmci_responder_fail. Not in the loop's thread of another loop. */
void hmci_responder_close(hmci_responder_t *responder);
/* When it returns, this responder does not touch the region's memory any more. */
void hmci_responder_revoke(hmci_responder_t *responder, hmci_region_view_t *region);
/* The same for what is under a lease. */
void hmci_responder_revoke_lease(hmci_responder_t *responder, uint64_t lease);

#pragma GCC visibility pop

#endif
