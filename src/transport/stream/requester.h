/* The requesting end of a stream: sends operations, receives their replies.
 *
 * Who moves it. A thread that waits for an operation polls the socket itself, so that a small operation costs one
 * network round trip and no thread switch. Only while operations are in progress that no thread waits for is the socket
 * armed in the loop; at once where a callback or a descriptor will tell of them, or something small is kept back; else
 * within HMCI_SOON, because a program that starts many and waits for one after the other is soon back, and the loop's
 * thread would only take its processor; within 2 ms where the loop's last look found such a program. Invariant, whenever `lock` is free: armed implies (busy && drivers == 0 && not
 * failed), which implies armed or due in the loop; busy means that operations are queued, or that something of ended
 * ones still comes in or has to go out.
 *
 * A call that does not wait sends little itself (HMCI_REQUESTER_AT_ONCE), so that it returns at once whatever the size,
 * and nobody keeps `lock` for more than HMCI_REQUESTER_ROUND bytes: who waits in `callers` goes first.
 *
 * What is sent is derived from a cursor (operation, segment, offset, bytes of the frame gone), so a partial write keeps
 * nothing but numbers; payload goes from the user's memory. Operations are acknowledged cumulatively by sequence.
 *
 * Device memory passes through two stages, one each way: while a chunk is on the socket, the device copies the next
 * one. While such copies are all there is to wait for, the loop polls.
 *
 * Chains. What comes after a put goes out behind it, and the other end sees to the order; what comes after a get, or an
 * atomic that fetches, is kept back until that is complete. The operations of a chain are complete in their order.
 *
 * Cancelling. An operation that left nothing on the wire is unlinked. One whose frame is half sent leaves the rest of
 * that frame (at most HMCI_FRAME_PAYLOAD) as a private copy, and a get that has not asked for its last pieces one frame
 * more, so that it gets a last answer. Replies to a sequence that is not queued any more are read
 * and dropped, though nobody waits: unread they would fill the socket, and the peer could not answer anybody else.
 *
 * Credits. The peer's responder reads whatever comes, for a socket that is not read takes no acknowledgements either,
 * and two ends that both wait so wait for ever. What it has to keep is bounded here: HMCI_REQUESTER_WINDOW operations
 * are in progress at most, those of many frames FEW at a time, and none asks for more than AHEAD pieces
 * (requester_send.c) beyond those that have come.
 *
 * Locking: `lock` guards all. It is held across system calls that do not block, and across device copies. */
#ifndef HMCI_STREAM_REQUESTER_H
#define HMCI_STREAM_REQUESTER_H

#include "pieces.h"
#include "stage.h"
#include "wire.h"

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

enum {
  HMCI_REQUESTER_AT_ONCE = 64 << 10, /* bytes that a call sends which does not wait */
  HMCI_REQUESTER_ROUND = 512 << 10,  /* bytes between two looks at who else wants the lock */
  HMCI_REQUESTER_WINDOW = 4096,      /* operations in progress */
};

typedef struct hmci_requester {
  const hmci_host_t *host;
  void *connection; /* for host->connection_lost */
  hmci_pipe_t *pipe;
  hmci_watch_t watch;

  pthread_mutex_t lock;
  hmci_list_t queue;        /* operations by sequence: those sent, then `sending` and those behind it */
  uint64_t sequence;        /* of the last operation submitted */
  uint64_t owed;            /* an ended operation up to which answers may still come; 0: none */
  uint64_t owed_from;       /* the oldest of those */
  _Atomic uint64_t late;    /* a put or atomic that ended before its answer and may still be done; 0: none */
  _Atomic uint32_t drivers; /* threads that poll the socket in hmci_requester_wait; changes under `lock` only */
  _Atomic uint32_t callers; /* threads that wait for `lock`: who moves in a loop lets them go first */
  _Atomic bool vain;        /* the loop looked last while a driver was here: the next look may come later */
  bool armed, blocked;
  bool yielded;        /* blocked, though the pipe has room */
  bool takes_easy;     /* the peer knows FLAG_EASY; set before the first operation */
  bool takes_runs;     /* the same of FLAG_RUN */
  bool told;           /* something queued has a callback, or a descriptor that tells of it */
  hmc_status_t failed; /* what new operations get; HMC_SUCCESS while alive */

  hmci_operation_t *sending; /* the first operation not wholly sent */
  hmci_cursor_t cursor;      /* where the frame being sent starts */
  uint64_t frame_sent;       /* bytes of that frame that are gone */
  uint8_t *residue;          /* what is left of a frame whose operation was cancelled */
  uint64_t residue_size, residue_sent;
  hmci_stage_t out;         /* chunks of `sending`, where it comes from device memory */
  hmci_cursor_t out_cursor; /* where the next chunk to be copied starts */
  bool crc_known;           /* of the frame being sent */
  uint32_t crc;

  uint8_t header[HMCI_REPLY_HEADER];
  uint32_t header_size;
  hmci_operation_t *sink; /* the get whose bytes come in now; NULL: they are dropped */
  uint64_t data_left;     /* of the DATA frame */
  bool data_last, data_checked;
  uint64_t data_sequence;
  uint32_t data_crc, data_crc_due; /* of what came so far, and what it must be at the end */
  hmci_stage_t in;                 /* chunks of gets into device memory */
  bool polled;
} hmci_requester_t;

/* Takes the pipe; on failure it stays the caller's. */
hmc_status_t hmci_requester_open(hmci_requester_t *requester, const hmci_host_t *host, void *connection,
                                 hmci_pipe_t *pipe);
/* After hmci_requester_fail, when no other call runs. */
void hmci_requester_close(hmci_requester_t *requester);

/* As the ops of the same names in transport.h. */
hmc_status_t hmci_requester_submit(hmci_requester_t *requester, hmci_operation_t *operations, uint32_t count);
hmc_status_t hmci_requester_wait(hmci_requester_t *requester, hmci_operation_t *operation, uint64_t spin);
/* True while operations are in progress, or something of ended ones still comes. */
bool hmci_requester_has_work(hmci_requester_t *requester);
/* True while a put or atomic that has ended may still be done: what goes another way than by the stream could be done
 * before it. */
bool hmci_requester_is_late(const hmci_requester_t *requester);
void hmci_requester_progress(hmci_requester_t *requester);
void hmci_requester_cancel(hmci_requester_t *requester, hmci_operation_t *operation, hmc_status_t status);
void hmci_requester_fail(hmci_requester_t *requester, hmc_status_t status);

#pragma GCC visibility pop

#endif
