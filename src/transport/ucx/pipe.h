/* A pipe through UCX: a stream of bytes each way between a worker here and one at the peer, for the stream protocol.
 *
 * Bytes are copied into frames of ours before UCX gets them, and out of UCX's buffers as they come, so UCX never sees
 * the memory of the caller or of a region: a cancelled operation is over at once, and no address of either ever leaves
 * its process. A frame goes as one eager active message, small enough not to be split, so that nothing puts it together
 * at the other end.
 *
 * Bounds. At most WINDOW bytes are on their way that the reader has not taken; UCX holds at most HELD frames of a pipe,
 * and of all pipes of a worker at most STAGE_LIMIT bytes (a pipe of which it holds none gets one all the same, so that
 * peers who stand still do not hold up the others).
 *
 * A reader is a watch (of a requester or responder) whose `ready` is called in the loop's thread when bytes have come
 * or room has; there is no descriptor that shows it. While a thread attends the pipe, polling it itself, the reader is
 * not called; what came meanwhile and is still there calls it once the last of them leaves. */
#ifndef HMCI_UCX_PIPE_H
#define HMCI_UCX_PIPE_H

#include "wire.h"
#include "worker.h"

#include <sys/socket.h>

enum {
  HMCI_UCX_AM = 1, /* the id of all active messages */
  HMCI_UCX_WINDOW = 256 << 10,
  HMCI_UCX_HELD = 4,
  HMCI_UCX_STAGE_LIMIT = 8 << 20,
  HMCI_UCX_FRAME = 60 << 10, /* of one message with its header, where UCX sends so much in one piece */
  HMCI_UCX_SMALL_FRAME = 2 << 10,
};

typedef struct hmci_ucx_lane hmci_ucx_lane_t;

struct hmci_ucx_pipe {
  hmci_pipe_t base; /* first; its descriptor is an empty epoll set, which never is ready */
  hmci_ucx_worker_t *worker;
  hmci_watch_t *reader;
  bool stubborn; /* the reader may be busy when it is called, and is to be called again then */
  uint32_t number, peer_number;
  uint64_t token, peer_token;
  ucp_ep_h endpoint;
  size_t frame_room; /* bytes of the stream in one message */
  char way[64];      /* "tcp/eth0", "rc_verbs/mlx5_0:1"; "" until it is open */
  hmci_ucx_lane_t *lane;

  hmci_list_t ready; /* worker->ready */
  uint32_t attended; /* threads that poll it */
  bool expecting;    /* the other end is named */
  bool open;         /* HELLO and WELCOME have been said: bytes may go */
  bool muted;        /* the reader is not called any more */
  bool blocked;      /* the writer found no room */
  bool starved;      /* ... because of the worker's limit */
  _Atomic bool shut; /* no bytes of the stream go: the lane is taking a put back (lane.c) */
  bool failed;
  bool transient; /* ... for a reason that another pipe may not meet */
  char failure[96];

  uint64_t sent, acknowledged;        /* bytes of the stream out of here; those the other end has taken */
  uint32_t held;                      /* frames of it that UCX has */
  uint64_t received, taken, credited; /* bytes that came in order; those the reader has; those the other end knows of */
  uint64_t stored;                    /* bytes in `chunks` */
  hmci_list_t chunks;                 /* what has come and is not taken, by position */
  struct iovec *sink;                 /* where the call of receive in progress wants bytes; NULL: none is */
  int sink_parts;
  size_t sink_done, sink_last; /* bytes there, and those of the last message */
};

/* Makes a pipe that nobody is connected to. */
hmc_status_t hmci_ucx_pipe_open(hmci_ucx_worker_t *worker, hmci_ucx_pipe_t **pipe);
/* Names the peer's end, which will connect and say HELLO. */
void hmci_ucx_pipe_expect(hmci_ucx_pipe_t *pipe, hmci_ucx_end_t peer);
/* Connects it with the peer's end, which expects it, where the peer's worker listens, and says HELLO. HMC_UNSUPPORT:
 * UCX finds no way. */
hmc_status_t hmci_ucx_pipe_connect(hmci_ucx_pipe_t *pipe, hmci_ucx_end_t peer, const struct sockaddr_storage *address);
/* It is being connected, or UCX still has something to send: both happen only while the worker is polled. */
bool hmci_ucx_pipe_is_busy(hmci_ucx_pipe_t *pipe);
/* Polls the pipe until it is welcome, or until its lane has an answer. HMC_TIMEOUT; HMC_UNSUPPORT: it does not get
 * through. */
hmc_status_t hmci_ucx_pipe_await_welcome(hmci_ucx_pipe_t *pipe, uint64_t deadline);
hmc_status_t hmci_ucx_pipe_await(hmci_ucx_pipe_t *pipe, const bool *answered, uint64_t deadline);
/* Its reader, from now on. */
void hmci_ucx_pipe_set_reader(hmci_ucx_pipe_t *pipe, hmci_watch_t *reader, bool stubborn);
/* What gets the messages about lanes from now on; NULL: they are dropped. */
void hmci_ucx_pipe_set_lane(hmci_ucx_pipe_t *pipe, hmci_ucx_lane_t *lane);
/* The calling thread polls the pipe from now on, or does so no more. */
void hmci_ucx_pipe_attend(hmci_ucx_pipe_t *pipe);
void hmci_ucx_pipe_leave(hmci_ucx_pipe_t *pipe);
/* There is something for its reader, which a thread that attends the pipe has to call itself: bytes, the end, or room
 * where the last send found none. */
bool hmci_ucx_pipe_calls_for_reader(hmci_ucx_pipe_t *pipe);
bool hmci_ucx_pipe_has_failed(hmci_ucx_pipe_t *pipe);
/* For the end that connects: may another pipe get through where this one has failed or got no answer? */
bool hmci_ucx_pipe_is_transient(hmci_ucx_pipe_t *pipe);
/* It is not `shut` any more: who found no room is called. Without the worker's lock. */
void hmci_ucx_pipe_reopened(hmci_ucx_pipe_t *pipe);
/* The reader is not called any more. */
void hmci_ucx_pipe_mute(hmci_ucx_pipe_t *pipe);

/* For worker.c. With its lock held: the reader has been called, and moved something or not. */
void hmci_ucx_pipe_called(hmci_ucx_pipe_t *pipe, bool moved);
/* UCX's handler of active messages; `worker` is the argument. */
ucs_status_t hmci_ucx_pipe_on_message(void *worker, const void *header, size_t header_size, void *data, size_t size,
                                      const ucp_am_recv_param_t *param);
/* For endpoint.c and listener.c. With the worker's lock held: ends the pipe for good, for a reason of ours or for UCX's;
 * says HELLO; looks at what UCX has chosen for it. */
void hmci_ucx_pipe_fail(hmci_ucx_pipe_t *pipe, const char *reason);
void hmci_ucx_pipe_break(hmci_ucx_pipe_t *pipe, ucs_status_t status);
void hmci_ucx_pipe_hello(hmci_ucx_pipe_t *pipe);
void hmci_ucx_pipe_look(hmci_ucx_pipe_t *pipe);
/* With the worker's lock held: sends a message that is none of the stream's. */
void hmci_ucx_pipe_tell(hmci_ucx_pipe_t *pipe, hmci_ucx_type_t type, uint64_t position, const uint8_t *bytes,
                        size_t size);
/* Closes an endpoint by force: what is on its way is nobody's any more and a peer that stands still must not hold us
 * up. */
void hmci_ucx_endpoint_close(hmci_ucx_worker_t *worker, ucp_ep_h endpoint);
/* The pipe is going away: its chunks are freed, and frames that UCX still has forget it. */
void hmci_ucx_pipe_forget(hmci_ucx_pipe_t *pipe);
ssize_t hmci_ucx_pipe_send(hmci_pipe_t *pipe, const struct iovec *parts, int count);
ssize_t hmci_ucx_pipe_send_guarded(hmci_pipe_t *pipe, const struct iovec *parts, int count);
ssize_t hmci_ucx_pipe_receive(hmci_pipe_t *pipe, const struct iovec *parts, int count);
bool hmci_ucx_pipe_pending(hmci_pipe_t *pipe);
/* Frees all frames of a worker that is gone. */
void hmci_ucx_frames_free(hmci_ucx_worker_t *worker);

#endif
