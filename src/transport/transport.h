/* The transport table: one folder per way of moving bytes, one ops table each.
 *
 * Who owns what. The core allocates: `transport_size` bytes per context, `connection_size` per peer, `remote_size` per
 * opened remote region, zeroed, and passes them in; the transport keeps its state there and frees nothing of it. A
 * failed op leaves its block as if it had not been called; the counterpart (close for open, ...) is called exactly once
 * for each success and never for a failure.
 *
 * Locking. `open` to `close`: see each op for the thread it is called from. Calls on one connection may come from
 * several threads at once unless an op says otherwise; the transport locks for itself, and its locks are inner to the
 * loop's: no op waits for the loop while it holds one. The host's calls (hmci_host_t) take only locks that are inner
 * still, `dial` excepted.
 *
 * Operations. `submit` starts an operation and may complete it before it returns. Every submitted operation is
 * completed exactly once, by hmci_operation_complete. A missing op has a typed default: see registry.c. */
#ifndef HMCI_TRANSPORT_H
#define HMCI_TRANSPORT_H

#include "list.h"

#include "../base/loop.h"
#include "../base/settings.h"
#include "../memory/memory.h"
#include "../memory/staging.h"

#include <hmc/context.h>
#include <hmc/operation.h>
#include <hmc/region.h>
#include <stdatomic.h>
#include <sys/uio.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

/* Room for what a transport tells its other end: offers, connection data, region keys. */
#define HMCI_BLOB_MAX 512
typedef struct hmci_blob {
  uint16_t size;
  uint8_t data[HMCI_BLOB_MAX];
} hmci_blob_t;

/* ---- regions, as transports see them ----------------------------------------------------------------------------- */

/* The owner's side of a region. Constant while it is open; the core keeps it alive while `users` > 0. */
typedef struct hmci_region_view {
  uint8_t *base;
  uint64_t size;
  hmc_memory_t memory;
  const hmci_memory_ops_t *ops;
  uint32_t id, generation, rights;
  int descriptor;             /* a memfd, sealed against shrinking, or a dma-buf that holds the region, or -1 */
  uint64_t descriptor_offset; /* where it begins there */
  bool owned;                 /* allocated or mapped by HMC: `base` starts the allocation */
  bool leased;    /* peers reach it under leases only: by the owner's service thread, never by a mapping or a key */
  bool anywhere;  /* no region: all host memory of this process, for local sides that are plain addresses */
  uint64_t chunk; /* device memory: the size to move it in */
  hmc_region_written_t written; /* NULL: nobody is informed */
  void *written_user;
  _Atomic uint32_t users;
  _Atomic bool unreadable; /* as a local side: found to be memory that other processes cannot read */
  _Atomic bool reached; /* a peer has asked for it, or a transport keeps something of it: its end is to be reported */
} hmci_region_view_t;

enum { HMCI_REMOTE_LEASED = 8 }; /* among the rights of a region that is described to a peer: leased */

/* What a peer wants to do under a lease. */
typedef struct hmci_lease_use {
  uint64_t number;
  uint32_t id, generation, rights;     /* of the region */
  const struct hmci_segment *segments; /* their `local` and `length`: places in the region */
  uint32_t count;
} hmci_lease_use_t;

/* Comes after what a peer wrote by way of this process is visible; the caller is among the region's users. */
static inline void hmci_region_tell(const hmci_region_view_t *region) {
  if (region->written) region->written(region->written_user);
}

/* Comes before a transport keeps what is made of a region, its own or one that peers reach, beyond an operation. */
static inline void hmci_region_note_reached(const hmci_region_view_t *region) {
  hmci_region_view_t *noted = (hmci_region_view_t *)(uintptr_t)region;
  if (!atomic_load_explicit(&noted->reached, memory_order_relaxed)) atomic_store(&noted->reached, true);
}

/* The peer's region as the owner described it. */
typedef struct hmci_remote_view {
  uint64_t size;
  hmc_memory_t memory;
  uint32_t id, generation, rights;
  _Atomic bool stale; /* an operation has come back so */
} hmci_remote_view_t;

/* A part of a peer's region that is mapped here. */
typedef struct hmci_remote_mapping {
  uint64_t offset, length; /* of the part, in the region */
  uint8_t *pointer;        /* where `offset` is */
  bool placed, read_only;
  void *base; /* the transport's: what it has mapped */
  uint64_t mapped;
  const _Atomic uint32_t *word; /* has `value` while the region is open and the peer connected */
  uint32_t value;
} hmci_remote_mapping_t;

/* ---- operations -------------------------------------------------------------------------------------------------- */

typedef enum hmci_operation_kind {
  HMCI_PUT,
  HMCI_GET,
  HMCI_ATOMIC, /* `single.remote` is the word's offset, `single.length` its width, `atomic` what happens to it */
  HMCI_NOTIFY, /* `message` goes to the peer's queue: hmci_host_t.notify there */
} hmci_operation_kind_t;

/* One contiguous piece: from or to `local` in the local region, to or from `remote` in the remote one. */
typedef struct hmci_segment {
  uint64_t local, remote, length;
} hmci_segment_t;

typedef struct hmci_atomic {
  hmc_atomic_operation_t operation;
  bool fetch; /* `fetched` is wanted */
  uint64_t operand, compare, fetched;
} hmci_atomic_t;

enum { HMCI_OPERATION_STATE = 96 };

/* Where those sleep that wait for any of several operations. */
typedef struct hmci_waitset {
  _Atomic uint32_t completions; /* a futex; counts on with every completion */
  _Atomic uint32_t sleepers;
  _Atomic int event; /* an eventfd to be written, or -1 */
} hmci_waitset_t;

/* An operation in flight. The core fills it in; bounds and rights have been checked. It must stay at its place until it
 * is complete, and the completion is the transport's last touch. */
typedef struct hmci_operation {
  hmci_operation_kind_t kind;
  const hmci_region_view_t *local;  /* put, get */
  const hmci_remote_view_t *remote; /* all but notify */
  void *remote_state;               /* the transport's block of the remote region */
  const hmci_segment_t *segments;   /* valid until completion */
  uint32_t segment_count;
  hmci_atomic_t atomic;
  const void *message; /* notify */
  uint32_t message_size;
  uint64_t lease; /* of a leased region: the lease's number; else 0 */
  uint64_t deadline;
  bool awaited;  /* the submitter waits for it at once: nobody else needs to be woken to move it on */
  bool held;     /* more follow at once, or a wait: it may be kept back for them, HMCI_SOON at most */
  bool easy;     /* its completion may be reported late: by an answer that others share, HMCI_SOON at most */
  bool checksum; /* put, get: verify end to end */
  /* Comes after the operation before it in the array it is submitted with: begins once that one's effect is visible,
   * and ends with that one's status, without any effect, where that failed. */
  bool chained;
  _Atomic bool stop; /* it is to end, and may still be in `submit` or `move`: a transport that waits there looks */
  bool quiet;        /* `completed` does not move it on sooner */
  void (*completed)(
      struct hmci_operation *operation); /* NULL, or called right before it is complete, under the transport's locks */
  hmci_waitset_t *waitset;               /* NULL, or called right after; outlives the operation */
  void *owner;                           /* the core's */
  void *parts; /* the transport's, NULL at first; constant from the submission to the completion */

  _Atomic uint32_t state; /* enum hmci_operation_phase; a futex */
  hmc_status_t status;    /* valid once the state is complete */

  hmci_segment_t single;                                /* where `segments` points for all but batches */
  _Alignas(16) uint8_t transport[HMCI_OPERATION_STATE]; /* the transport's */
} hmci_operation_t;

enum hmci_operation_phase { HMCI_PENDING = 0, HMCI_PENDING_WITH_SLEEPER = 1, HMCI_COMPLETE = 2 };

/* Completes an operation and wakes its waiters; the operation may be gone when it returns. */
void hmci_operation_complete(hmci_operation_t *operation, hmc_status_t status);

/* Around waiting at a waitset: completions are counted only while somebody is at it. Enter before looking at the count, and
 * look at the count before looking at what it counts. */
static inline void hmci_waitset_enter(hmci_waitset_t *waitset) { atomic_fetch_add(&waitset->sleepers, 1); }
static inline void hmci_waitset_leave(hmci_waitset_t *waitset) { atomic_fetch_sub(&waitset->sleepers, 1); }
/* Sleeps until its count differs from `seen` or the deadline has passed. */
void hmci_waitset_sleep(hmci_waitset_t *waitset, uint32_t seen, uint64_t deadline);
void hmci_waitset_tell(hmci_waitset_t *waitset);

/* Changes a word of host memory by the processor's own atomics; returns what it was. `width` is 1, 2, 4 or
 * 8. */
uint64_t hmci_atomic_apply(void *word, unsigned width, hmc_atomic_operation_t operation, uint64_t operand,
                           uint64_t compare);

/* The owner's side of an atomic, on a region of any kind: by the processor, or, for device memory, read and written
 * back while no other HMC atomic does the same. Bounds, rights and alignment have been checked. */
hmc_status_t hmci_atomic_on_region(const hmci_region_view_t *region, uint64_t offset, unsigned width,
                                   hmci_atomic_t *atomic);

/* Sequentially consistent, as the completion: who has counted itself among a request's users sees it, or is seen. */
static inline bool hmci_operation_is_complete(hmci_operation_t *operation) {
  return atomic_load(&operation->state) == HMCI_COMPLETE;
}

/* Does somebody learn of its end who does not wait for it? */
static inline bool hmci_operation_is_told(const hmci_operation_t *operation) {
  return (operation->completed && !operation->quiet) ||
         (operation->waitset && atomic_load_explicit(&operation->waitset->event, memory_order_relaxed) >= 0);
}

/* Sleeps until the operation is complete or the deadline has passed; true when complete. */
bool hmci_operation_sleep(hmci_operation_t *operation, uint64_t deadline);

/* ---- what the core does for transports --------------------------------------------------------------------------- */

/* A connected socket the core has authenticated, or an encrypted stream in front of one. Calls never block: they return
 * a byte count, 0 at the end of the stream, or -1 with errno (EAGAIN; anything else is fatal). */
typedef struct hmci_pipe hmci_pipe_t;
struct hmci_pipe {
  ssize_t (*send)(hmci_pipe_t *pipe, const struct iovec *parts, int count);
  /* As `send`, where parts may not be there: -1 and EFAULT then. NULL: `send` itself finds out. */
  ssize_t (*send_guarded)(hmci_pipe_t *pipe, const struct iovec *parts, int count);
  ssize_t (*receive)(hmci_pipe_t *pipe, const struct iovec *parts, int count);
  bool (*pending)(hmci_pipe_t *pipe); /* bytes wait to be received that the socket does not show; NULL: never */
  int (*flush)(hmci_pipe_t *pipe);    /* what `send` took is on its way: 0, or -1 with errno; NULL: always */
  void (*close)(hmci_pipe_t *pipe);   /* closes the socket and frees */
  int descriptor;
  bool hidden; /* the descriptor never is ready: the pipe calls its reader itself, when bytes or room have come */
  bool copies; /* `receive` moves bytes by plain copies, not by the kernel: into memory that surely is there only */
  const char *protection; /* of the payload, for hmc_peer_explain: "sent in clear ..." */
};

/* `doubtful`: some of the parts may not be there. */
static inline ssize_t hmci_pipe_send(hmci_pipe_t *pipe, const struct iovec *parts, int count, bool doubtful) {
  return doubtful && pipe->send_guarded ? pipe->send_guarded(pipe, parts, count) : pipe->send(pipe, parts, count);
}

/* A pipe over a bare socket, which it then owns. */
hmc_status_t hmci_pipe_open(int descriptor, hmci_pipe_t **pipe);

enum { HMCI_SCRATCH = 256 << 10 };

typedef struct hmci_host {
  hmci_loop_t *loop;
  const hmci_settings_t *settings;
  uint64_t incarnation;
  hmci_staging_t *staging;
  uint8_t *scratch; /* HMCI_SCRATCH bytes for callbacks in the loop's thread, from call to call */
  void *owner;      /* the core's */

  /* The service that the peer of `connection` was given to: a host like this one, with a loop and a scratch of its own.
   * What moves many bytes, and locks for itself, registers there. All else, and what shares state with it, stays in
   * the loop that the transport was opened with. */
  const struct hmci_host *(*service)(const struct hmci_host *host, void *connection);

  /* Finds an open region, counts the caller among its users, checks `rights` (HMC_REMOTE_*). HMC_STALE, HMC_DENIED. */
  hmc_status_t (*region_acquire)(const struct hmci_host *host, uint32_t id, uint32_t generation, uint32_t rights,
                                 hmci_region_view_t **region);
  void (*region_release)(const struct hmci_host *host, hmci_region_view_t *region);
  /* region_acquire for a leased region, by the peer of `connection`. HMC_OUT_OF_RANGE too: outside the lease. */
  hmc_status_t (*lease_acquire)(const struct hmci_host *host, void *connection, const hmci_lease_use_t *use,
                                hmci_region_view_t **region);

  /* Dials the peer of `connection` once more, authenticates, and gives the pipe; at the other end the same pipe reaches
   * the transport's `adopt` with the same purpose. Blocking; from connection_dial and dial_late only. */
  hmc_status_t (*dial)(const struct hmci_host *host, void *connection, uint32_t purpose, uint64_t deadline,
                       hmci_pipe_t **pipe);

  /* The accepting half asks the dialling one for a pipe that the connection was made without: that one's `dial_late`. What
   * comes of it reaches `adopt`, or `dial_failed`. Never blocks; any thread. */
  hmc_status_t (*want)(const struct hmci_host *host, void *connection, uint32_t purpose);

  /* A notification came from the peer of `connection`. HMC_NO_MEMORY: the queue is full. Any thread. */
  hmc_status_t (*notify)(const struct hmci_host *host, void *connection, const void *data, size_t size);

  /* The transport has found that the peer is gone. Any thread, any lock held; the core answers later by
   * connection_fail. */
  void (*connection_lost)(const struct hmci_host *host, void *connection, const char *reason);
} hmci_host_t;

#pragma GCC visibility pop

/* ---- the table --------------------------------------------------------------------------------------------------- */

enum { HMCI_STAGED_HERE = 1, HMCI_STAGED_THERE = 2 };
typedef enum hmci_role { HMCI_DIALLED, HMCI_ACCEPTED } hmci_role_t;

typedef struct hmci_transport_ops {
  hmc_connection_type_t type;
  const char *name;
  size_t transport_size, connection_size, remote_size;
  bool checksums;             /* honours hmci_operation_t.checksum; else the core makes a second pass */
  bool reaches_devices;       /* may reach a device's memory with no staging where other transports have no way */
  uint32_t notification_most; /* bytes of a notification; 0: all that there are */

  /* Can it work here at all? One line in `reason` either way. Any thread. */
  hmc_status_t (*probe)(char *reason, size_t size);

  /* Once per context, before any peer. `offer` is what every peer gets to see in the handshake. */
  hmc_status_t (*open)(void *transport, const hmci_host_t *host, hmci_blob_t *offer);
  void (*close)(void *transport);

  /* Could the peer with that offer be reached? HMC_UNSUPPORT with the reason as text. */
  hmc_status_t (*reachable)(void *transport, const hmci_blob_t *offer);

  /* May AUTO take this way, which is reachable? HMC_UNSUPPORT: one that comes after it is faster here; the text says
   * why. NULL: it may. */
  hmc_status_t (*suits_auto)(void *transport, const hmci_blob_t *offer);

  /* Makes this side's half of a connection; `data` travels to the other half. Never blocks. */
  hmc_status_t (*connection_open)(void *transport, void *connection, hmci_role_t role, hmci_blob_t *data);
  /* The accepting half gets the dialling half's data. Never blocks; in the loop's thread. */
  hmc_status_t (*connection_accept)(void *connection, const hmci_blob_t *peer_data);
  /* The dialling half gets the accepting half's data and finishes the connection. May block until `deadline`. */
  hmc_status_t (*connection_dial)(void *connection, const hmci_blob_t *offer, const hmci_blob_t *peer_data,
                                  uint64_t deadline);
  /* At the dialling half, where its connection failed or connection_dial got no answer: may another attempt, with another
   * connection, get through? Any thread. NULL: it is of no use. */
  bool (*is_transient)(void *connection);
  /* A pipe that the dialling half asked for by host->dial. In the loop's thread. The transport owns the pipe on
   * success. */
  hmc_status_t (*adopt)(void *connection, uint32_t purpose, hmci_pipe_t *pipe);
  /* At the dialling half, of a connection in use: the accepting one wants that pipe, which host->dial gives. May block
   * until `deadline`; a thread of the core's. NULL: each connection has all it needs from the start. */
  hmc_status_t (*dial_late)(void *connection, uint32_t purpose, uint64_t deadline);
  /* At the accepting half: the pipe that it wanted does not come. In the loop's thread. NULL with `dial_late`. */
  void (*dial_failed)(void *connection, uint32_t purpose, hmc_status_t status);
  /* At the accepting half: asks for the pipes that the connection was made without. False: they are on their way. True:
   * it has them all, or cannot get them. Any thread, never blocks. NULL with `dial_late`. */
  bool (*complete)(void *connection);
  /* Is this half complete, now that the dialling half says that the connection is made? A peer's word alone is not
   * enough. Any thread. NULL: it is. */
  hmc_status_t (*connection_check)(void *connection);
  /* Ends all operations with `status`, now and for ever, and stops the service. May be called more than once. Any
   * thread. */
  void (*connection_fail)(void *connection, hmc_status_t status);
  /* After connection_fail, when no call on the connection runs. Not in the loop's thread with its lock held by
   * others. */
  void (*connection_close)(void *connection);
  /* One line about how bytes go, for hmc_peer_explain. */
  void (*explain)(void *connection, char *text, size_t size);
  /* A word that is 0 once one of the ends has closed or lost the connection, sooner than this end's core hears of it;
   * stays until connection_close. NULL: there is none. */
  const _Atomic uint32_t *(*connected_word)(void *connection);

  /* The owner's side: what a peer needs to reach the region (rides in the answer to its opening). In the loop's
   * thread. */
  hmc_status_t (*region_export)(void *connection, hmci_region_view_t *region, hmci_blob_t *key);
  /* The region closes: when it returns nothing of this connection in this process touches its memory for the peer any
   * more. Never waits for the peer; may be called more than once for a region. Any thread. */
  void (*region_revoke)(void *connection, hmci_region_view_t *region);
  /* The same for what region_describe gave: before a region_revoke, and where there is no connection. Any thread. */
  void (*region_forget)(void *transport, hmci_region_view_t *region);
  /* After region_revoke: false while the peer is in the middle of a copy of its own, which it announces. NULL: always
   * true. Any thread. */
  bool (*region_is_quiet)(void *connection, hmci_region_view_t *region);

  /* A lease of that number is over; it is out of the core's table. When it returns nothing of this connection touches
   * memory under it any more. Never waits for the peer. Any thread. */
  void (*lease_revoke)(void *connection, uint64_t number);

  /* The user's side of a remote region. `mapped` gets a pointer for plain loads and stores or NULL; `generation` a word
   * that has the region's generation as long as it is open, or NULL. May block until `deadline`. */
  hmc_status_t (*remote_open)(void *connection, void *remote, const hmci_remote_view_t *view, const hmci_blob_t *key,
                              uint64_t deadline, void **mapped, const _Atomic uint32_t **generation);
  void (*remote_close)(void *connection, void *remote);
  /* A key of the region that any peer of the context may use, connected or not yet: as region_export, without asking.
   * NULL where keys are made for each connection. Any thread. */
  hmc_status_t (*region_describe)(void *transport, hmci_region_view_t *region, hmci_blob_t *key);
  /* Maps a part of a remote region once more, for the program's loads and stores (a device's, for device memory); the
   * range has been checked. With `mapping->placed` at `mapping->pointer`, which the program has reserved. NULL: never
   * (HMC_UNSUPPORT). May block until `deadline`. */
  hmc_status_t (*remote_map)(void *connection, void *remote, uint64_t deadline, hmci_remote_mapping_t *mapping);
  void (*remote_unmap)(void *connection, void *remote, hmci_remote_mapping_t *mapping);
  /* One line about how bytes of that region go. */
  void (*remote_explain)(void *connection, void *remote, char *text, size_t size);
  /* True where a put to that region from such local memory, or a get, is a copy by the calling thread. NULL: never. */
  bool (*remote_is_direct)(void *connection, void *remote, const hmci_memory_ops_t *local, hmci_operation_kind_t kind);
  /* True where an operation of so many bytes that nobody waits for is better moved by `move`, in a thread of the core's,
   * than submitted. NULL: never. */
  bool (*moves)(void *connection, void *remote, const hmci_memory_ops_t *local, hmci_operation_kind_t kind,
                uint64_t length);
  /* Moves some segments of a put or a get that is not submitted; blocks, and ends early at the operation's deadline, its
   * `stop`, and connection_fail. Some threads may move parts of one operation at a time; not in the loop's thread. Any
   * text of a failure is the calling thread's. */
  hmc_status_t (*move)(void *connection, const hmci_operation_t *operation, const hmci_segment_t *segments,
                       uint32_t count);
  /* Which ends stage bytes between such local memory and that region: HMCI_STAGED_*. NULL: those whose memory is a
   * device's. */
  unsigned (*remote_is_staged)(void *connection, void *remote, const hmci_memory_ops_t *local);

  /* Starts operations that lie one behind the other in memory: one, or a chain. A failure means that none was
   * started. */
  hmc_status_t (*submit)(void *connection, hmci_operation_t *operations, uint32_t count);
  /* Moves operations on until this one is complete, its deadline has passed (HMC_TIMEOUT; the operation is still in
   * progress), or `spin` nanoseconds went by without anything moving (HMC_IN_PROGRESS; it goes on by itself then). */
  hmc_status_t (*wait)(void *connection, hmci_operation_t *operation, uint64_t spin);
  /* Moves on what can move without blocking. */
  void (*progress)(void *connection);
  /* True where submitted puts, atomics and notifications take effect in the order of their submission. NULL: never. */
  bool (*keeps_order)(void *connection);
  /* Completes the operation with `status` unless it is complete; no byte of the caller's memory is touched
   * afterwards. */
  void (*cancel)(void *connection, hmci_operation_t *operation, hmc_status_t status);
} hmci_transport_ops_t;

/* All tables, best first; the order in which AUTO tries them. */
extern const hmci_transport_ops_t *const hmci_transports[];
extern const size_t hmci_transport_count;

#define HMCI_DECLARE(folder, TYPE) extern const hmci_transport_ops_t hmci_transport_##folder;
HMCI_TRANSPORT_LIST(HMCI_DECLARE, HMCI_TRANSPORT_NONE)
#undef HMCI_DECLARE

/* How many types of connection there are; their values are the numbers below it. */
#define HMCI_ONE(NAME, value, name) +1
enum { HMCI_CONNECTION_TYPES = 0 HMC_CONNECTION_LIST(HMCI_ONE) };
#undef HMCI_ONE

#endif
