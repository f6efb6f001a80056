/* A lane: a reliable connection between devices of the two peers (fabric.h), by which large puts and gets of host memory
 * go without a copy, while everything else goes in messages of the stream.
 *
 * How it is made. When a connection's pipes are open, the half that has dialled opens the device that UCX has chosen for
 * them, and offers its addresses by a message (LANE) of its request pipe. The other half does the same, connects, and
 * answers with its own, or with nothing where it cannot. READY is the first half's last word. Each half uses the lane
 * from the moment on when it knows the other half to be connected.
 *
 * Who may. A region's key (address and the device's key) goes to peers that open it, where it may be read and written:
 * UCX registers for both alike. The region is deregistered when it closes, and the peer is informed (REVOKED), so that
 * most of what comes too late fails here with HMC_STALE. What still gets through is refused by the device, and that
 * ends the lane. What was in progress on it is done again in messages, which tell of each operation what became of it,
 * once both ends are gone (LOST, GONE): until then packets may still be on their way. Then the half that has dialled
 * offers another lane.
 *
 * Complete means visible: behind the last write of a put goes a read of a few bytes of the region, unless the owner's
 * device is one in software; ../verbs/verbs.h says why. Nothing of the caller's memory is touched after an operation has
 * ended: a cancel waits until its pieces are through, and where that takes longer than `patience` it ends the lane, and
 * the device with it lets go. Packets of a put that was taken back so may still be on their way, and would land on what
 * comes after it; so from then on nothing more goes by the stream of requests either, until both ends are gone.
 *
 * Locking. fabric->lock guards all but `state`. `handover` is held while operations go from the lane to the stream; it
 * is outer to all others. */
#ifndef HMCI_UCX_LANE_H
#define HMCI_UCX_LANE_H

#include "fabric.h"
#include "pipe.h"

enum {
  HMCI_UCX_LANE_LEAST = 16 << 10, /* bytes of each segment of what goes by lanes */
  HMCI_UCX_PIECE = 1 << 20,
  HMCI_UCX_PIECES = 8, /* in progress at a time */
  HMCI_UCX_LANE_TEXT = 192,
};

/* Why there is none, or that there is one. */
typedef enum hmci_ucx_lane_state {
  HMCI_UCX_LANE_NONE,
  HMCI_UCX_LANE_MAKING,
  HMCI_UCX_LANE_READY,
  HMCI_UCX_LANE_ENDED, /* with the connection */
} hmci_ucx_lane_state_t;

typedef struct hmci_ucx_lane hmci_ucx_lane_t;

typedef struct hmci_ucx_piece {
  uct_completion_t completion;
  hmci_ucx_lane_t *lane;
  hmci_operation_t *operation;
  hmci_list_t link; /* lane->spare */
} hmci_ucx_piece_t;

struct hmci_ucx_lane {
  hmci_ucx_fabric_t *fabric;
  const hmci_host_t *host;
  /* Does an operation in messages instead; called by the loop's thread, without locks but `handover`. */
  hmc_status_t (*instead)(void *connection, hmci_operation_t *operation);
  /* Calls hmci_ucx_lane_go_on with the pipe of requests; called by the loop's thread without locks. */
  void (*go_on)(void *connection);
  /* The stream is not shut any more: who found no room there is called. By the loop's thread without locks. */
  void (*reopened)(void *connection);
  void *connection;
  _Atomic hmci_ucx_lane_state_t state;

  hmci_list_t link, active; /* fabric->lanes, fabric->active */
  hmci_ucx_pipe_t *pipe;    /* the offer was made by */
  hmci_ucx_pipe_t *stream;  /* of requests: shut while a put that ended here may still land at the peer */
  hmci_ucx_device_t *device;
  uct_ep_h endpoint;
  bool dialled;         /* this half offers */
  bool proven;          /* it was ready once, so that there may be another */
  bool answered;        /* the pipe's lock: there is an answer to the offer */
  bool broken, parting; /* to be ended; ended here, and perhaps not at the peer's end */
  uint64_t number;
  char reason[128];                  /* why there is none */
  hmci_list_t waiting, posted, back; /* operations: not all posted; all posted; to be done in messages */
  hmci_list_t remotes, spare;
  uint32_t under_way; /* pieces */
  hmci_ucx_piece_t pieces[HMCI_UCX_PIECES];
  bool silent;          /* `parting`, and the peer has not heard of it */
  hmci_timer_t turn;    /* opens the stream, and gives it `back` */
  hmci_timer_t renewal; /* calls `go_on` */
  uint64_t patience;    /* nanoseconds that the peer has for the pieces of a cancelled operation */
  pthread_mutex_t handover;
};

/* A peer's region. */
typedef struct hmci_ucx_remote {
  hmci_list_t link; /* lane->remotes */
  uint32_t id;
  _Atomic uint32_t generation;     /* 0: the owner has closed it */
  const hmci_ucx_device_t *device; /* NULL: not by lanes */
  bool follow;                     /* puts are visible once a read behind them is through */
  uint64_t address;
  uct_rkey_bundle_t key;
} hmci_ucx_remote_t;

/* `instead`, `go_on`, `reopened`, `connection` and `stream` are set. */
void hmci_ucx_lane_open(hmci_ucx_lane_t *lane, hmci_ucx_fabric_t *fabric, const hmci_host_t *host);
/* Ends all operations with `status`; there will be no more. */
void hmci_ucx_lane_fail(hmci_ucx_lane_t *lane, hmc_status_t status);
void hmci_ucx_lane_close(hmci_ucx_lane_t *lane);

/* The dialling half, with its pipe's lock held: offers a lane, or knows why not. */
void hmci_ucx_lane_offer(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe);
/* The lane broke. With the pipe's lock held: says so, or offers another one. */
void hmci_ucx_lane_go_on(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe);
/* A message about lanes or regions has come by the pipe, whose lock is held. */
void hmci_ucx_lane_take(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe, const hmci_ucx_message_t *message);
/* With fabric->lock held: ends the connection of the devices here. What was in progress goes in messages, at once or
 * (`parting`) when the other end is gone. */
void hmci_ucx_lane_disconnect(hmci_ucx_lane_t *lane, bool parting);
/* With fabric->lock held: the lane broke here. */
void hmci_ucx_lane_lose(hmci_ucx_lane_t *lane);
/* With fabric->lock held: the owner has closed a region. A lane that has operations on it is lost, for a device that
 * refuses them may fail to say so (Soft-RoCE does in the middle of a read), and nothing would end. */
void hmci_ucx_lane_revoke(hmci_ucx_lane_t *lane, hmci_ucx_remote_t *remote);
/* With fabric->lock held: neither end is there any more. */
void hmci_ucx_lane_part(hmci_ucx_lane_t *lane);
/* UCT's error handler; `fabric` is the argument. */
ucs_status_t hmci_ucx_lane_on_error(void *fabric, uct_ep_h endpoint, ucs_status_t status);

/* As the ops of the same names in transport.h. */
void hmci_ucx_lane_export(hmci_ucx_lane_t *lane, const hmci_region_view_t *region, hmci_blob_t *key);
hmc_status_t hmci_ucx_lane_remote_open(hmci_ucx_lane_t *lane, hmci_ucx_remote_t *remote, const hmci_remote_view_t *view,
                                       const hmci_blob_t *key);
void hmci_ucx_lane_remote_close(hmci_ucx_lane_t *lane, hmci_ucx_remote_t *remote);

/* May the peer have keys of regions here, of this lane or the next? Then it hears of each that closes. */
bool hmci_ucx_lane_has_keys(hmci_ucx_lane_t *lane);
/* The region closes: its memory is out of reach of all devices. */
void hmci_ucx_lane_forget(hmci_ucx_lane_t *lane, const hmci_region_view_t *region);
/* What goes by the lane, or why there is none. */
void hmci_ucx_lane_explain(hmci_ucx_lane_t *lane, char *text, size_t size);

/* Starts an operation if it is one for the lane. False: it is for the stream. */
bool hmci_ucx_lane_submit(hmci_ucx_lane_t *lane, hmci_operation_t *operation);
/* False: the operation is not the lane's, or no longer; otherwise it is complete. */
bool hmci_ucx_lane_cancel(hmci_ucx_lane_t *lane, hmci_operation_t *operation, hmc_status_t status);
bool hmci_ucx_lane_is_busy(const hmci_ucx_lane_t *lane);
/* Some of its operations are not all with the device: they go on only while somebody moves them. */
bool hmci_ucx_lane_is_waiting(const hmci_ucx_lane_t *lane);

/* Does what the loop's timers would do now to end a lane that broke: for the loop's own thread, which runs none while it
 * waits for an operation in a callback. Without locks. True: the peer's word is awaited, by the pipe of requests. */
bool hmci_ucx_lane_stand_in(hmci_ucx_lane_t *lane);

/* Moves what can move on all lanes; true when something did. Takes the fabric's lock. */
bool hmci_ucx_lanes_poll(hmci_ucx_fabric_t *fabric);
/* Makes the devices wake the epoll set with the next completion. What came just before wakes nobody: it is moved here,
 * which waits for the fabric's lock, as the thread that has it need not move anything. False: they are not armed, or
 * something `moved`. */
bool hmci_ucx_lanes_arm(hmci_ucx_fabric_t *fabric, bool *moved);

#endif
