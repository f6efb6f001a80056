/* shm: peers on the same host. What its files share.
 *
 * A connection is two sockets on which one end asks and the other end's service thread answers (socket.c), a page that
 * both map, and the owner's board, which the peer maps read-only (board.c). How the bytes of a region go is settled per
 * region (region.c):
 *   map      host memory allocated by HMC: mapped here; operations are copies by the calling thread
 *   import   device memory whose kind has IPC handles, registered memory where the kind exports it: the device's copy
 *   engine, by the calling thread (device.c)
 *   attach   registered host memory: gets by process_vm_readv, by the calling thread; puts by the same call of the
 *   owner's service thread (pull.c), or, of small ones, through pages that both map (carry.c). Of operations that nobody waits for, a thread of the core's does the caller's part;
 *   small puts of that sort go by the stream
 *   Memory that no other process can read (a dma-buf, memfd_secret) is found when that fails with EFAULT: what could not
 *   be read goes by the stream, and so does all that comes later from that region
 *   stream   all else: the stream protocol over a UNIX socket made when first needed; the peer's service thread does
 *   its half */
#ifndef HMCI_SHM_H
#define HMCI_SHM_H

#include "../stream/requester.h"
#include "../stream/responder.h"

enum {
  SHM_REGIONS = 1 << 20,        /* words of a board: one per region id */
  SHM_REGIONS_BEFORE = 1 << 16, /* of release 0.3 */
  SHM_ACCESSES = 64,            /* accesses to registered or imported memory that one end has in progress at a time */
  SHM_PULLS = 16,               /* puts that one end has asked the other to do at a time */
  SHM_PULL_BYTES = 512,         /* of a put that travel in the pages of both ends: more come faster by a call */
  SHM_BOUNCES = 8,              /* threads that write such bytes at a time */
  SHM_COPIERS = 3,              /* threads of a context that copy beside its service thread */
  SHM_READS = 64,               /* places that one call of the kernel's reads */
  SHM_PULL_LEAST = 16 << 10,    /* bytes from which on a put that nobody waits for is not the stream's */
  SHM_READ_LEAST = 128 << 10,   /* and a get not the calling thread's */
  SHM_VISITORS = 64,            /* sockets that have not said whose they are */
};

/* One word per region id: the generation while the region is open, 0 otherwise. Written by the owner only; a peer
 * cannot map it writable. */
typedef struct shm_board {
  _Atomic uint32_t generation[SHM_REGIONS];
} shm_board_t;

/* A put that the owner of the memory is to do. */
typedef struct shm_pull {
  _Alignas(HMCI_CACHE_LINE) _Atomic uint32_t state; /* a futex; see pull.c */
  _Atomic uint32_t sleepers;
  uint32_t region, generation, status;
  uint32_t count; /* of the parts that `address` lists; 0: `address` is where the bytes are, or SHM_CARRIED */
  uint64_t address, offset, length; /* from there in the process that puts; to there in the region; all bytes */
  uint8_t bytes[16];                /* that are carried, where they are no more */
} shm_pull_t;

/* One of several parts of a pull. The list lies in the memory of who puts. */
typedef struct shm_pull_part {
  uint64_t address, offset, length;
} shm_pull_part_t;

enum { SHM_CARRIED = UINT32_MAX }; /* the bytes are in the pages */

/* What an end does for the other one: in `pulls_for`. */
enum {
  SHM_PULLS_NONE = 0,
  SHM_PULLS_SINGLE,
  SHM_PULLS_LISTS,
  SHM_PULLS_RUNG,   /* and says when it has heard the bell */
  SHM_PULLS_CARRIED /* and takes bytes out of the pages */
};

/* Says, to the owner of memory that this end reaches by itself, which regions it is touching right now (ids; 0: none).
 * Index: the end. */
typedef struct shm_accesses {
  _Atomic uint32_t region[2][SHM_ACCESSES];
  _Atomic uint32_t open; /* 1 until one of the ends closes or loses the other: puts to mapped memory look at it */

  /* Puts that the other end is asked to do (pull.c). Index: the end that puts; of the others, the end that says so. */
  _Atomic uint32_t pulls_for[2]; /* SHM_PULLS_* */
  _Atomic uint32_t attentive[2]; /* 1: this end looks at the pulls by itself */
  _Atomic uint32_t processor[2]; /* that this end ran on last, and 1 */
  _Atomic uint32_t rung[2];      /* 1: this end has rung the bell, and the other one has not heard it yet */
  _Alignas(HMCI_CACHE_LINE) shm_pull_t pulls[2][SHM_PULLS];

  /* Bytes of small puts, of each pull. An older peer's file ends before them, and they are not used. */
  _Alignas(4096) uint8_t bytes[2][SHM_PULLS][SHM_PULL_BYTES];
} shm_accesses_t;
_Static_assert(offsetof(shm_accesses_t, bytes) == 4096, "one page, whatever an older peer made of it");

/* Memory that a descriptor reads as well: from there the kernel writes where a plain copy might end the process. */
typedef struct shm_bounce {
  int descriptor; /* written under the transport's lock, before `bytes` */
  _Atomic(uint8_t *) bytes;
  _Atomic bool taken[SHM_BOUNCES];
} shm_bounce_t;

/* Threads that copy beside the service thread: see copiers.c. */
typedef struct shm_copiers {
  pthread_mutex_t lock;
  pthread_cond_t wanted, left;
  hmci_list_t calls; /* connections with pulls for them */
  pthread_t threads[SHM_COPIERS];
  uint32_t count, most; /* of threads */
  bool tried, ending;
} shm_copiers_t;

typedef struct shm_transport {
  const hmci_host_t *host;
  char name[40]; /* of the abstract socket */
  int board_descriptor;
  _Atomic(shm_board_t *) board; /* written under lock; NULL until it is needed */
  bool listens;                 /* lock */
  hmci_watch_t listener;
  pthread_mutex_t lock;
  hmci_list_t connections; /* lock; accepting halves that wait for their sockets, and all others */
  hmci_list_t visitors;    /* loop's thread */
  uint32_t visitor_count;
  shm_copiers_t copiers;
  shm_bounce_t bounce;
} shm_transport_t;

typedef struct shm_connection {
  hmci_list_t link;
  shm_transport_t *transport;
  hmci_role_t role;
  uint64_t token;      /* of the accepting half: who presents it is the dialler */
  _Atomic bool linked; /* all of the connection is there */

  int ask; /* this end's questions; `ask_lock` holds a question until its answer is there */
  pthread_mutex_t ask_lock;
  hmci_watch_t serve; /* the peer's questions */
  int peer_process, peer_pidfd;
  hmci_watch_t death;   /* of the peer's process: a child that it forked may hold its sockets */
  hmci_kept_t kept_ask; /* a forked child closes it */

  shm_board_t *peer_board;
  shm_accesses_t *accesses;
  bool carries; /* its `bytes` are there */
  _Atomic bool
      announcing[SHM_ACCESSES];    /* slots of this end in use: what stands in the page may be a lie of the peer */
  _Atomic bool pulling[SHM_PULLS]; /* of this end, in use */
  uint32_t next_pull, last_pull;   /* loop's thread, as the next ones: whose turn it is, and whose was the last one */
  bool attentive;                  /* this end polls for pulls */
  uint64_t looked;                 /* when it looked at them last */
  uint64_t attentive_until;
  hmci_list_t call;                               /* the copiers' lock, as the next ones: among the calls, */
  uint32_t called, copied;                        /* for so many copiers; and how many are in it */
  uint64_t nonce, peer_nonce, peer_nonce_address; /* prove that attaching reaches the right process */
  bool attach;
  char attach_reason[128];

  pthread_mutex_t stream_lock; /* the making of `requester` */
  pthread_mutex_t answer_lock; /* the making of `responder`: others of the loop's threads serve it before that ends */
  bool has_responder;          /* answer_lock */
  _Atomic bool has_requester, failed;
  _Atomic uint32_t failure; /* the status that it failed with; set before `failed` */
  hmci_requester_t requester;
  hmci_responder_t responder;
} shm_connection_t;

typedef enum shm_way { SHM_STREAM = 0, SHM_MAP, SHM_IMPORT, SHM_ATTACH } shm_way_t;

/* Where a region's memory is found: what a key says (see region.c). */
typedef struct shm_source {
  uint64_t address;        /* in the owner; 0: nowhere */
  int descriptor;          /* its number in the owner, or -1: it has to be asked for */
  uint64_t device, number; /* of the file behind it */
  uint64_t offset;         /* of the region in the file */
} shm_source_t;

typedef struct shm_remote {
  shm_way_t way;
  const hmci_memory_ops_t *ops; /* of an import */
  hmc_memory_t memory;
  void *pointer;   /* map, import: here; attach: in the peer's address space */
  uint64_t mapped; /* map: bytes, a whole number of pages */
  uint64_t size;
  uint32_t id, generation, rights;
  _Atomic bool unreadable; /* attach: found to be memory that other processes cannot read */
  shm_source_t source;
} shm_remote_t;

/* socket.c */
/* What answers the peer's requests over a socket; NULL: nothing does. */
hmci_responder_t *hmci_shm_responder(shm_connection_t *connection);
void hmci_shm_name(shm_transport_t *transport); /* 128 random bits, which the offer tells */
hmc_status_t hmci_shm_listen(shm_transport_t *transport);
void hmci_shm_stop_listening(shm_transport_t *transport);
hmc_status_t hmci_shm_dial(shm_connection_t *connection, const char *name, uint64_t token, uint64_t deadline);
/* Asks the peer for a region's descriptor or exported handle; `exported` gets it, and `offset` where it begins there. */
hmc_status_t hmci_shm_ask_region(shm_connection_t *connection, uint32_t id, uint32_t generation, uint64_t deadline,
                                 hmci_memory_export_t *exported, uint64_t *offset);
/* Makes the stream for what this end requests, once; does not wait for the peer. */
hmc_status_t hmci_shm_need_stream(shm_connection_t *connection);
/* A put that was cancelled may still come out of the stream: what is put now goes behind it. */
bool hmci_shm_goes_behind(const shm_connection_t *connection);

/* board.c */
/* Shared memory that keeps its size, with other seals too, and its descriptor; both are the caller's. */
hmc_status_t hmci_shm_memory_create(const char *name, size_t size, int seals, void **memory, int *descriptor);
/* Can there be shared memory in this process at all? */
hmc_status_t hmci_shm_board_probe(void);
/* The transport's board is there from now on. */
hmc_status_t hmci_shm_need_board(shm_transport_t *transport);
hmc_status_t hmci_shm_board_create(shm_board_t **board, int *descriptor);
void hmci_shm_board_destroy(shm_board_t *board, int descriptor);
hmc_status_t hmci_shm_board_map(int descriptor, shm_board_t **board);
hmc_status_t hmci_shm_accesses_create(shm_accesses_t **accesses, int *descriptor);
/* `carries`: all of it is the peer's, `bytes` too. */
hmc_status_t hmci_shm_accesses_map(int descriptor, shm_accesses_t **accesses, bool *carries);
void hmci_shm_accesses_unmap(shm_accesses_t *accesses);
/* The peer is gone: from now on all its regions look closed. */
void hmci_shm_board_blank(shm_board_t *board);
/* True where a descriptor that a peer sent holds at least `size` bytes that it cannot take away again. */
bool hmci_shm_is_sound(int descriptor, uint64_t size);
/* Announces an access, then makes sure that the region is still open: HMC_STALE. `slot` goes to end_access. */
hmc_status_t hmci_shm_begin_access(shm_connection_t *connection, const shm_remote_t *remote, uint32_t *slot);
void hmci_shm_end_access(shm_connection_t *connection, uint32_t slot);
/* The owner's side: is the peer touching the region by itself? */
bool hmci_shm_has_access(shm_connection_t *connection, uint32_t id);
/* The same, where the connection has failed, of any region: it is not through with the last ones. */
bool hmci_shm_has_accesses(const shm_connection_t *connection);

/* device.c: an operation on an imported region; false where its memory is of another kind than both sides' drivers copy,
 * or two devices do not reach each other. */
bool hmci_shm_copy_by_device(shm_connection_t *connection, const hmci_operation_t *operation,
                             const shm_remote_t *remote, hmc_status_t *status);

/* region.c */
hmc_status_t hmci_shm_region_describe(void *transport, hmci_region_view_t *region, hmci_blob_t *key);
hmc_status_t hmci_shm_remote_map(void *connection, void *remote, uint64_t deadline, hmci_remote_mapping_t *mapping);
void hmci_shm_remote_unmap(void *connection, void *remote, hmci_remote_mapping_t *mapping);
hmc_status_t hmci_shm_region_export(void *connection, hmci_region_view_t *region, hmci_blob_t *key);
bool hmci_shm_region_is_quiet(void *connection, hmci_region_view_t *region);
void hmci_shm_region_forget(void *transport, hmci_region_view_t *region);
void hmci_shm_region_revoke(void *connection, hmci_region_view_t *region);
void hmci_shm_lease_revoke(void *connection, uint64_t number);
hmc_status_t hmci_shm_remote_open(void *connection, void *remote, const hmci_remote_view_t *view,
                                  const hmci_blob_t *key, uint64_t deadline, void **mapped,
                                  const _Atomic uint32_t **generation);
void hmci_shm_remote_close(void *connection, void *remote);
void hmci_shm_remote_explain(void *connection, void *remote, char *text, size_t size);
bool hmci_shm_remote_is_direct(void *connection, void *remote, const hmci_memory_ops_t *local,
                               hmci_operation_kind_t kind);

/* Wakes the peer's service thread so that it looks at the pulls. */
void hmci_shm_ring(shm_connection_t *connection);

/* attach.c */
/* False: the peer's process has ended, and its number may be another one's. */
bool hmci_shm_is_alive(const shm_connection_t *connection);
typedef struct shm_read {
  uint8_t *here;
  uint64_t there, length; /* not 0 */
} shm_read_t;
/* Why a process could not be read from: the memory here, or there, is none; it is dead; it may not be read from (any more: a
 * filter of system calls, another user), or else, these with a text. */
typedef enum shm_fault {
  SHM_FAULT_NONE = 0,
  SHM_FAULT_HERE,
  SHM_FAULT_THERE,
  SHM_FAULT_DEAD,
  SHM_FAULT_DENIED,
  SHM_FAULT_OTHER
} shm_fault_t;
/* Where somebody is in a list of segments. */
typedef struct shm_cursor {
  const hmci_segment_t *segments;
  uint32_t count, index;
  uint64_t done; /* bytes of the segment at `index` */
} shm_cursor_t;
/* The next parts of a list: at most so many, of at most so many bytes in all. 0: there are none. */
uint32_t hmci_shm_next_parts(shm_cursor_t *cursor, hmci_segment_t *parts, uint32_t most, uint64_t bytes);
/* Copies from that process's memory; uses up the list. */
shm_fault_t hmci_shm_read(int process, shm_read_t *reads, uint32_t count);

/* carry.c */
/* Copies the bytes of a put into the pages. False: not all of them can be read. */
bool hmci_shm_load(shm_connection_t *connection, uint32_t pull, const uint8_t *from, uint64_t length);
/* Writes bytes that the other end has put there where a region says that there is memory; false: there is none. */
bool hmci_shm_unload(shm_connection_t *connection, uint32_t pull, uint8_t *to, uint64_t length);
void hmci_shm_bounce_close(shm_bounce_t *bounce);

/* pull.c */
/* True where the owner has done the put, or it failed; `status` has the outcome. False, too, where the owner could not
 * read the bytes; some may be there then. Blocks. */
bool hmci_shm_pull(shm_connection_t *connection, const hmci_operation_t *operation, hmc_status_t *status);
/* Could the owner do the puts to that region from such local memory? */
bool hmci_shm_is_pulled(const shm_connection_t *connection, const shm_remote_t *remote, const hmci_memory_ops_t *local);
/* Has the owner do some parts of a put; blocks. Not in the loop's thread. HMC_INVALID_CONFIG: it could not read them. */
hmc_status_t hmci_shm_pull_parts(shm_connection_t *connection, const hmci_operation_t *operation,
                                 const hmci_segment_t *segments, uint32_t count);
/* The owner's side: does what is posted now. Several threads may do so at a time. */
void hmci_shm_copy_posted(shm_connection_t *connection);
/* In the loop's thread: does what is posted, and goes on looking while that is worth it. */
bool hmci_shm_serve_pulls(shm_connection_t *connection);
/* The connection has failed: who waits for a pull sees it. */
void hmci_shm_fail_pulls(shm_connection_t *connection);

/* copiers.c */
void hmci_shm_copiers_open(shm_copiers_t *copiers, uint64_t service_threads);
/* Ends the threads; no connection is among the calls. */
void hmci_shm_copiers_close(shm_copiers_t *copiers);
/* Asks for so many copiers, in the loop's thread; they come or not. */
void hmci_shm_copiers_call(shm_connection_t *connection, uint32_t count);
/* None touches the connection when it returns, or will: it has failed. */
void hmci_shm_copiers_leave(shm_connection_t *connection);

/* copy.c */
/* True where the calling thread moves the bytes itself; then `status` has the outcome. */
bool hmci_shm_copy(shm_connection_t *connection, const hmci_operation_t *operation, hmc_status_t *status);
/* Tries to read the peer's nonce; says in `attach_reason` why not. */
void hmci_shm_probe_attach(shm_connection_t *connection);
/* The table's `moves` and `move`. */
bool hmci_shm_moves(void *connection, void *remote, const hmci_memory_ops_t *local, hmci_operation_kind_t kind,
                    uint64_t length);
hmc_status_t hmci_shm_move(void *connection, const hmci_operation_t *operation, const hmci_segment_t *segments,
                           uint32_t count);

#endif
