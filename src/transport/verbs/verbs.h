/* verbs: RDMA over InfiniBand, RoCE and their likes. What its files share.
 *
 * Between two peers there are rails, one or (HMC_RDMA_RAILS) several, each a reliable connected queue pair between
 * devices of its own; and a link: an authenticated pipe on which they agree on them (notes.c). Everything goes over one
 * of them, the main rail, which is any that is up; only the pieces of large puts and gets are handed to whichever has
 * room (stripe.c). No order holds between rails: what follows on a striped operation is held until that is complete.
 *
 * How bytes go, per region of the owner: straight, by RDMA write and read, where its memory can be registered; else
 * staged, as messages that the owner's service thread answers (message.c, answer.c), which is also how atomics and
 * notifications go: hardware atomics are not atomic towards processors. Local memory that cannot be registered goes
 * through slots of registered host memory. Slots, and the buffers that messages arrive in, are bounded per context
 * (stage.c).
 *
 * Complete means visible. The acknowledgement of an RDMA write says that the peer's adapter has the bytes
 * (InfiniBand Architecture Specification, volume 1, 9.7.5.1.6 and 10.8.3.3), not that a processor there sees them:
 * they may be on their way across the PCIe bus. A read through the same adapter cannot overtake them there, since
 * PCIe completions push posted writes before them. So behind the last write of a put goes an RDMA read of eight
 * bytes of the peer's memory, its flush word, in the same submission, and the put is complete with the read. It
 * costs a bus round trip at the peer, no network one. A message needs no such read: a receive completion comes after
 * all data before it. Devices in software, Soft-RoCE and Soft-iWARP, store by a processor of the peer before they
 * acknowledge, and need none either (HMC_RDMA_FLUSH says otherwise). Memory is never registered with relaxed
 * ordering.
 *
 * The send queue is a ring of entries, in the order they were posted and in which the hardware completes them; only
 * some are signalled, and one completion retires all up to it (ring.c). An operation goes out in parts (queue.c).
 *
 * When a queue pair fails, or is failed to take an operation back from the hardware, all that is in progress is
 * flushed; each end says when its own is gone, and only when both are, for packets may still be on their way to the
 * other one, what was not retired is posted again: over another rail that is up, or once both ends have made new queue
 * pairs. Puts and gets may be done twice that way, messages are known by their numbers.
 *
 * Locking: `verbs_transport.lock` guards everything but what is constant once a connection is open. It is held
 * across posting and polling, across device copies, and across the making of queue pairs; never while anything
 * waits, but for those who wait for the hardware to let go of memory (let_go in poll.c), which takes microseconds. */
#ifndef HMCI_VERBS_H
#define HMCI_VERBS_H

#include "../../memory/cache.h"
#include "gid.h"
#include "wire.h"

#include <infiniband/verbs.h>
#include <pthread.h>

enum {
  VERBS_DEVICES = 16,
  VERBS_RAILS = 4,               /* most of a connection */
  VERBS_SEND_QUEUE = 128,        /* entries of a send queue; a power of two */
  VERBS_RESERVE = 24,            /* of these, kept for messages and answers */
  VERBS_PART = 1 << 20,          /* most bytes of one write or read */
  VERBS_FLYING = 4 << 20,        /* bytes of a rail in the hardware's hands, after which posting pauses */
  VERBS_STRIPE = 256 << 10,      /* most bytes of a piece that any rail takes; larger operations are striped */
  VERBS_STRIPE_FLYING = 1 << 20, /* as VERBS_FLYING, for such pieces: the slower rail must not hold many */
  VERBS_STRIPE_LEAST = 64 << 10, /* operations of smaller segments are not striped */
  VERBS_WINDOW = 8,              /* messages of a connection that wait for their answers */
  VERBS_SLOT = VERBS_HEADER + VERBS_STAGE,
  VERBS_SLOTS = 32,       /* per context: 4 MiB */
  VERBS_BUFFERS = 32,     /* of the first device that is used: 4 MiB */
  VERBS_BUFFERS_MORE = 4, /* of each further one, and the least of all */
  VERBS_SLOTS_LEAST = 4,
  VERBS_FLUSH_WORD = 8, /* bytes of it */
  VERBS_BUCKETS = 64,
  VERBS_KINDS = 32, /* of memory */
  VERBS_WHY = 160,  /* bytes of a text on why memory is not reached */
};
#define VERBS_GRACE UINT64_C(5000000)         /* nanoseconds a cancelled operation may take to end by itself */
#define VERBS_DRAIN UINT64_C(1000000000)      /* nanoseconds hardware may take to flush a queue */
#define VERBS_LOOK UINT64_C(10000000)         /* nanoseconds between looks of the loop while threads poll */
#define VERBS_RETRY_MOST UINT64_C(1000000000) /* nanoseconds between two attempts to make a queue pair */

typedef struct verbs_transport verbs_transport_t;
typedef struct verbs_connection verbs_connection_t;
typedef struct verbs_rail verbs_rail_t;

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* How an adapter comes to the bytes of registered memory. */
typedef enum verbs_way { VERBS_BY_PAGES, VERBS_BY_DMABUF, VERBS_BY_PEER_MEMORY } verbs_way_t;

/* Registered memory of a region: all of it, or a range. */
typedef struct verbs_memory {
  hmci_list_t bucket, age; /* of the device; `age`: least recently used first */
  struct ibv_mr *handle;
  uint32_t region, generation;
  uint8_t *base;
  uint64_t size;
  uint64_t address; /* what peers call `base`; see memory.c */
  verbs_way_t way;
  bool writable, exported;
  uint32_t users;              /* entries in send queues */
  hmci_registration_t *shared; /* whose the handle is, where peers do not have its key; or NULL */
} verbs_memory_t;

typedef struct verbs_slot {
  struct verbs_slot *next;
  uint8_t *data; /* VERBS_SLOT bytes */
} verbs_slot_t;

/* ---- devices ----------------------------------------------------------------------------------------------------- */

typedef struct verbs_device {
  verbs_transport_t *transport;
  struct ibv_context *context;
  struct ibv_device_attr attributes;
  bool stores_at_once; /* what it acknowledged is visible here */
  bool near;           /* it is at a node that this process is bound to */

  bool started; /* the rest exists */
  struct ibv_pd *domain;
  struct ibv_comp_channel *channel;
  struct ibv_cq *sent, *received; /* completions */
  struct ibv_srq *receives;
  hmci_watch_t watch, events; /* the channel; the device's own events */
  uint32_t drivers;           /* threads that poll in wait */
  uint32_t looks, looks_seen; /* how often one has seen the end of what it waited for; as the loop last saw it */
  hmci_timer_t look;          /* while such threads come and go the loop looks now and then only */
  bool will_look;
  uint32_t posted; /* entries posted and not retired, of all rails */
  uint32_t rails, completions_room;
  bool sent_armed;                                              /* the next completion wakes the loop */
  enum { VERBS_OFF, VERBS_REQUESTS, VERBS_ALL } received_armed; /* the next message does: a request, or any */

  uint8_t *flush_word; /* what peers read; behind it, where what is read from theirs goes */
  struct ibv_mr *flush_memory;
  uint64_t flush_address; /* what peers call it */
  uint8_t *buffers;       /* of VERBS_SLOT bytes, for messages that arrive */
  uint32_t buffer_count;
  struct ibv_mr *buffer_memory;
  struct ibv_mr *slot_memory; /* the transport's slots */
  hmci_list_t buckets[VERBS_BUCKETS], ages;
  hmci_cache_t cache; /* of registrations that only this side uses */
  /* Why memory of a kind cannot be registered that way, as errno; 0: it has been, or was not tried. */
  int no_dmabuf[VERBS_KINDS], no_peer_memory[VERBS_KINDS];
  bool reached[VERBS_KINDS]; /* device memory of that kind has been registered */
} verbs_device_t;

/* A GID of this side: where it is. */
typedef struct verbs_port {
  verbs_device_t *device;
  uint8_t number;
  uint16_t index; /* in the port's GID table */
} verbs_port_t;

typedef struct ibv_mr *verbs_register_dmabuf_t(struct ibv_pd *domain, uint64_t offset, size_t size, uint64_t address,
                                               int descriptor, int access);

struct verbs_transport {
  const hmci_host_t *host;
  verbs_register_dmabuf_t *register_dmabuf; /* NULL: libibverbs is older than that (version 34 of rdma-core) */
  pthread_mutex_t lock;
  verbs_device_t devices[VERBS_DEVICES];
  uint32_t device_count;
  verbs_gid_t gids[VERBS_OFFERS]; /* the offer */
  verbs_port_t ports[VERBS_OFFERS];
  uint32_t gid_count;

  hmci_list_t connections;
  hmci_list_t touched;    /* those that may go on */
  verbs_rail_t **numbers; /* by number; what completions name */
  uint32_t number_room;
  uint32_t expected;       /* operations, jobs */
  uint32_t asked;          /* messages that wait for their answers */
  uint64_t next_address;   /* what peers call the next registration; a multiple of a page */
  _Atomic uint64_t pinned; /* bytes registered for regions, all devices; freed memory lets go of it without the lock */

  uint8_t *slots;
  uint32_t slot_count;
  verbs_slot_t slot_table[VERBS_SLOTS];
  verbs_slot_t *free_slots;
  bool starved;           /* a connection waits for a slot */
  bool told_of_the_limit; /* of pinned memory; logged once */
};

/* ---- connections ------------------------------------------------------------------------------------------------- */

typedef enum verbs_entry_kind {
  VERBS_ENTRY_PART,    /* of an operation */
  VERBS_ENTRY_STRIPE,  /* of one whose parts any rail takes: done, or done again, by itself */
  VERBS_ENTRY_FORE,    /* the write of a stripe, of which the entry behind it tells the end */
  VERBS_ENTRY_FLUSH,   /* the read that makes puts before it visible */
  VERBS_ENTRY_REQUEST, /* a message that will be answered */
  VERBS_ENTRY_ANSWER,
  VERBS_ENTRY_MARK, /* the last one of a queue that is being flushed */
} verbs_entry_kind_t;

/* A place in the payload of an operation. */
typedef struct verbs_cursor {
  uint32_t index;
  uint64_t offset;
} verbs_cursor_t;

typedef struct verbs_entry {
  verbs_entry_kind_t kind;
  hmci_operation_t *operation; /* of a part, stripe, fore */
  verbs_memory_t *memory;      /* in use, or NULL */
  verbs_slot_t *slot;          /* to be given back, or NULL */
  uint8_t *sink;               /* where a slot's bytes go in the end: device memory, or NULL */
  uint64_t bytes;
  verbs_cursor_t begin, end; /* of the part */
} verbs_entry_t;

enum { VERBS_POST = 16, VERBS_COPIED = 64 };
typedef struct verbs_post {
  struct ibv_send_wr requests[VERBS_POST];
  struct ibv_sge pieces[VERBS_POST];
  uint8_t copied[VERBS_POST][VERBS_COPIED]; /* small payloads from device memory, to go inline */
  uint32_t count;
} verbs_post_t;
/* A message that waits for its answer. */
typedef struct verbs_request {
  hmci_operation_t *operation; /* NULL: nobody waits for the answer any more */
  uint32_t number;
  bool busy;          /* in use */
  bool sent;          /* over the present queue pair */
  verbs_slot_t *slot; /* where it lies, kept to send it again; NULL: in `header` */
  uint8_t header[VERBS_HEADER];
  uint32_t size; /* header and payload */
  uint8_t *sink; /* of a get: local memory */
  uint64_t bytes;
  verbs_cursor_t end;
} verbs_request_t;

typedef enum verbs_phase {
  VERBS_UNMADE,     /* no queue pair at either end */
  VERBS_CONNECTING, /* one end has its queue pair and waits for the other's */
  VERBS_PROBING,    /* the dialler's: they are connected, and whether packets get through is being tried */
  VERBS_UP,
  VERBS_FLUSHING, /* the queue pair has failed; entries are being flushed */
  VERBS_PARTING,  /* it is gone; the peer has not said that its own is */
} verbs_phase_t;

/* A queue pair of a connection, or what is to become one. */
struct verbs_rail {
  verbs_connection_t *connection;
  uint32_t index;  /* in connection->rails */
  uint32_t number; /* in transport->numbers */
  verbs_phase_t phase;
  uint32_t mine, theirs; /* places in the offers */
  verbs_gid_t peer_gid;
  verbs_device_t *device; /* NULL: this end cannot use it */
  struct ibv_qp *pair;
  uint32_t epoch, packet, inline_most;
  uint8_t mtu, reads;
  verbs_note_t peer;        /* its CONNECT or CONNECTED */
  bool peer_stores_at_once; /* its device's stores_at_once */
  bool peer_gone;           /* the peer's queue pair of this epoch */
  bool recalled;            /* broken to take an operation back: nothing is posted anywhere before both are gone */
  bool tried;               /* the first round is over */
  bool dead;                /* the device is: no more rounds */
  uint64_t flushing_since;
  uint32_t failures; /* in a row */
  hmci_timer_t retry;

  /* The send queue. */
  verbs_entry_t *entries;              /* VERBS_SEND_QUEUE */
  uint32_t posted, retired, signalled; /* counts; the entry is the count modulo the ring */
  uint32_t visible;                    /* puts posted before this count are visible */
  bool flush_due;                      /* a put was posted that is not visible when acknowledged */
  bool spoilt;                         /* the hardware refused an entry: the queue pair is to be broken */
  uint64_t flying;                     /* bytes */
  verbs_post_t post;                   /* what is to be handed to the hardware next */

  verbs_entry_t *lost; /* VERBS_SEND_QUEUE: stripes that were flushed, to be done by any rail once both ends are gone.
                        * Where there are any, what this rail posts is taken from here: lost and ring together never
                        * hold more than the ring alone can. */
  uint32_t lost_count;
};

struct verbs_connection {
  hmci_list_t link;  /* transport->connections */
  hmci_list_t touch; /* transport->touched */
  verbs_transport_t *transport;
  hmci_role_t role;
  hmc_status_t failed; /* what new operations get; HMC_SUCCESS while alive */

  /* The link. */
  hmci_pipe_t *pipe;
  hmci_watch_t watch;
  bool cut;     /* of no use any more; the core knows */
  bool blocked; /* the watch waits for room to send, too */
  uint8_t in[VERBS_NOTE];
  uint32_t in_size;
  uint8_t *out;
  uint32_t out_size, out_room;
  pthread_cond_t changed; /* a rail's phase or `tried`, `failed`; for who dials */
  hmci_list_t remotes;
  char refusal[VERBS_NOTE_TEXT];

  verbs_rail_t rails[VERBS_RAILS];
  uint32_t rail_count;  /* constant once the first operation can come */
  verbs_rail_t *main;   /* the one that is up, for all that is not striped; NULL: none */
  uint32_t main_before; /* the index of the last one */
  uint32_t lost;        /* stripes, of all rails */
  uint64_t down_since;  /* no rail is up, and nothing has come through since; 0: not so */

  /* Operations, in the order they were submitted. */
  hmci_list_t queue;
  hmci_operation_t *next;    /* none before it is to be posted */
  hmci_operation_t *current; /* has begun to go out, or follows on what has: comes first; NULL */
  uint32_t question;         /* of the last query */

  /* Messages. */
  verbs_request_t requests[VERBS_WINDOW]; /* by number modulo the window */
  uint32_t request_first, request_next;   /* numbers */
  uint32_t unanswered, window;            /* sent over the present main rail; how many of them may be so at a time */
  bool repeat_due;                        /* some were flushed */
  verbs_message_t jobs[VERBS_WINDOW]; /* an answer to send, or a GET whose bytes are looked for when there is room */
  uint32_t job_first, job_count;
  verbs_message_t answers[VERBS_WINDOW]; /* the last ones, by number modulo the window, for messages that come again */
  uint32_t done_number;                  /* of the last message of the peer that was done */
  hmc_status_t chain_status;             /* of the chain it belongs to */
};

/* A remote region. */
typedef struct verbs_remote {
  hmci_list_t link; /* connection->remotes */
  uint32_t id;
  _Atomic uint32_t generation; /* 0 once the owner has said that it is closed */
  bool staged;
  bool settles;        /* its owner makes visible to its device what adapters wrote */
  uint8_t cause;       /* of staging: verbs_cause_t */
  uint8_t way;         /* of the owner's adapters: verbs_way_t */
  char why[VERBS_WHY]; /* not a faster one */
  struct {
    bool there; /* the owner's device reaches it */
    uint32_t key;
    uint64_t address;
  } ways[VERBS_RAILS]; /* by rail */
} verbs_remote_t;
/* Why a region is staged; travels in its key. */
typedef enum verbs_cause {
  VERBS_STRAIGHT,
  VERBS_DEVICE_MEMORY,
  VERBS_PIN_LIMIT,
  VERBS_REFUSED_BY_DEVICE,
  VERBS_LEASED, /* what a device may reach cannot be taken back piece by piece */
  VERBS_CAUSE_LAST = VERBS_LEASED
} verbs_cause_t;

/* ---- operations -------------------------------------------------------------------------------------------------- */

/* Bytes in a device's memory that an adapter wrote: are they there for whatever runs on the device? */
typedef enum verbs_settling {
  VERBS_UNSETTLED, /* not yet, or nobody has asked, where that is to be asked at all */
  VERBS_ASKED,     /* the owner has been asked; `question` is that question */
  VERBS_SETTLED,
} verbs_settling_t;

typedef struct verbs_state {
  hmci_list_t link;
  verbs_cursor_t next, done; /* posted up to `next`; retired up to `done` */
  uint32_t outstanding;      /* entries, messages and questions that are not answered */
  uint32_t last;             /* of a put: it is visible once `connection->visible` has come so far */
  uint32_t question;         /* asked what became of the region; 0: not */
  hmc_status_t error;        /* how it will end once nothing is outstanding */
  bool posted;               /* wholly, or as far as it ever will be */
  bool messages;             /* goes by messages */
  bool striped;              /* any rail takes its parts; `outstanding` counts those that are lost, too */
  uint8_t settling;          /* verbs_settling_t */
} verbs_state_t;
_Static_assert(sizeof(verbs_state_t) <= HMCI_OPERATION_STATE, "an operation has room for the state of verbs");

static inline verbs_state_t *hmci_verbs_state(hmci_operation_t *operation) {
  return (verbs_state_t *)(void *)operation->transport;
}
static inline hmci_operation_t *hmci_verbs_operation(hmci_list_t *link) {
  return HMCI_CONTAINER(HMCI_CONTAINER(link, verbs_state_t, link), hmci_operation_t, transport);
}

/* ---- what the files offer each other; with the lock held unless they say otherwise ------------------------------- */

/* device.c */
hmc_status_t hmci_verbs_devices_open(verbs_transport_t *transport, const char *wanted);
void hmci_verbs_devices_close(verbs_transport_t *transport);
/* Makes what connections on a device need, once. */
hmc_status_t hmci_verbs_device_start(verbs_device_t *device);
/* Is the port up? */
bool hmci_verbs_port_is_up(const verbs_port_t *port);
/* rxe, siw: what the network stack of the kernel plays. */
bool hmci_verbs_device_is_software(const verbs_device_t *device);
/* Room for the completions of one more rail, or one less. */
hmc_status_t hmci_verbs_device_grow(verbs_device_t *device);
void hmci_verbs_device_shrink(verbs_device_t *device);

/* pair.c */
hmc_status_t hmci_verbs_pair_make(verbs_rail_t *rail);
hmc_status_t hmci_verbs_pair_connect(verbs_rail_t *rail);
void hmci_verbs_pair_destroy(verbs_rail_t *rail);
/* Describes this side's queue pair. */
void hmci_verbs_pair_describe(const verbs_rail_t *rail, verbs_note_t *note);

/* notes.c */
hmc_status_t hmci_verbs_notes_open(verbs_connection_t *connection, hmci_pipe_t *pipe);
void hmci_verbs_notes_close(verbs_connection_t *connection); /* without the lock */
void hmci_verbs_notes_send(verbs_connection_t *connection, const verbs_note_t *note);

/* pairing.c */
/* Adds a rail between two GIDs, whose place in the offers is known; at the dialling end. */
hmc_status_t hmci_verbs_pairing_add(verbs_connection_t *connection, const verbs_gid_t *mine, const verbs_gid_t *theirs);
/* Begins the first round of all rails, at the dialling end. Fails where none could begin. */
hmc_status_t hmci_verbs_pairing_begin(verbs_connection_t *connection);
void hmci_verbs_pairing_take(verbs_connection_t *connection, const verbs_note_t *note);
/* The queue pair is of no use any more: flushes it, to be made again. `failure`: by a fault of the path, not of
 * ours. */
void hmci_verbs_pairing_break(verbs_rail_t *rail, bool failure);
/* Something came through. */
void hmci_verbs_pairing_works(verbs_rail_t *rail);
/* The first read came back. */
void hmci_verbs_pairing_proven(verbs_rail_t *rail);
/* All entries are retired, of a queue that is being flushed. */
void hmci_verbs_pairing_flushed(verbs_rail_t *rail);
void hmci_verbs_pairing_retry(hmci_timer_t *timer);
/* A rail's port came up. */
void hmci_verbs_pairing_port_up(verbs_rail_t *rail);
/* A rail's device is of no use any more. */
void hmci_verbs_pairing_device_failed(verbs_rail_t *rail);
/* Loses the peer; the reason is its text. */
void hmci_verbs_lose(verbs_connection_t *connection, const char *reason);

/* rail.c */
/* Gives a rail its device, which is started where it is not. */
hmc_status_t hmci_verbs_rail_open(verbs_rail_t *rail, verbs_device_t *device);
void hmci_verbs_rail_close(verbs_rail_t *rail); /* of one that was never opened, too */

/* ring.c */
/* Free entries of the send queue. */
uint32_t hmci_verbs_ring_room(const verbs_rail_t *rail);
/* Adds an entry and its work request, of one piece, to what is to be posted; there must be room. The caller fills in
 * the rest of the request and the piece. What is collected is posted when it is full. */
struct ibv_send_wr *hmci_verbs_ring_add(verbs_rail_t *rail, const verbs_entry_t *entry);
/* Hands what is collected to the hardware. */
void hmci_verbs_ring_post(verbs_rail_t *rail);
/* Adds the read that makes the puts before it visible, as an entry of that kind. */
void hmci_verbs_ring_flush(verbs_rail_t *rail, const verbs_entry_t *entry);
/* A completion of the entry with that count came. */
void hmci_verbs_ring_complete(verbs_rail_t *rail, uint32_t count, const struct ibv_wc *completion);
/* Hands the send queue a last entry, whose completion says that all before it are flushed. */
void hmci_verbs_ring_mark(verbs_rail_t *rail);
/* The queue pair is gone: whatever is not retired never will be. */
void hmci_verbs_ring_abandon(verbs_rail_t *rail);
/* Is something of the operation in the hardware's hands? */
bool hmci_verbs_ring_holds(const verbs_rail_t *rail, const hmci_operation_t *operation);

/* queue.c */
typedef struct verbs_piece {
  uint64_t local, remote, length;
  verbs_cursor_t end; /* where the next one begins */
} verbs_piece_t;
/* The piece of a put or get that begins at `from`, at most `most` bytes of it; false: there is none. */
bool hmci_verbs_queue_piece(const hmci_operation_t *operation, verbs_cursor_t from, uint64_t most,
                            verbs_piece_t *piece);
void hmci_verbs_queue_add(verbs_connection_t *connection, hmci_operation_t *operation);
/* Is there anything that is not posted? */
bool hmci_verbs_queue_is_waiting(const verbs_connection_t *connection);
/* Posts what can be posted. */
void hmci_verbs_queue_pump(verbs_connection_t *connection);
/* Completes the operation where nothing is left to wait for; true when it has. */
bool hmci_verbs_queue_try_complete(verbs_connection_t *connection, hmci_operation_t *operation);
/* The operation is not to go on: no more of it is posted, and it ends with that status once nothing is outstanding
 * (settle). */
void hmci_verbs_queue_stop(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
/* Puts up to the main rail's `visible` are visible. */
void hmci_verbs_queue_visible(verbs_connection_t *connection);
/* The main rail was flushed: what is not retired is to be posted again. `moved`: over another rail. */
void hmci_verbs_queue_restart(verbs_connection_t *connection, bool moved);
/* Posts a whole operation. False: not all of it now. */
bool hmci_verbs_queue_post(verbs_connection_t *connection, hmci_operation_t *operation);

/* Where the bytes of a part lie for a rail's adapter. */
typedef struct verbs_place {
  struct ibv_sge piece;
  verbs_memory_t *memory; /* counted as in use, or NULL */
  verbs_slot_t *slot;     /* or NULL */
  bool is_inline;
} verbs_place_t;
/* Finds a place for a piece, and cuts it to what the place holds; a put's bytes are in it then. HMC_IN_PROGRESS: no
 * slot is free. `copied`: for bytes of device memory that go inline. */
hmc_status_t hmci_verbs_queue_place(verbs_rail_t *rail, uint8_t copied[VERBS_COPIED], const hmci_operation_t *operation,
                                    verbs_piece_t *piece, verbs_place_t *place);
/* Adds the write or read of a piece that has its place, as an entry that says so. */
void hmci_verbs_queue_move(verbs_rail_t *rail, const verbs_piece_t *piece, const verbs_place_t *place,
                           verbs_entry_t *entry);

/* stripe.c */
/* Is the operation to be striped? */
bool hmci_verbs_stripe_fits(const verbs_connection_t *connection, const hmci_operation_t *operation);
/* Hands out what is lost, then what is left of an operation (NULL: nothing). False: not all of it now. */
bool hmci_verbs_stripe_post(verbs_connection_t *connection, hmci_operation_t *operation);
/* The stripe did not get through. */
void hmci_verbs_stripe_lose(verbs_rail_t *rail, const verbs_entry_t *entry);
/* The operation's lost stripes are not to be done again. */
void hmci_verbs_stripe_forget(verbs_connection_t *connection, hmci_operation_t *operation);

/* The operation this one is chained to, while that is not complete; NULL. */
hmci_operation_t *hmci_verbs_queue_before(verbs_connection_t *connection, hmci_operation_t *operation);
/* Ends everything. */
void hmci_verbs_queue_fail(verbs_connection_t *connection, hmc_status_t status);
hmci_operation_t *hmci_verbs_queue_after(verbs_connection_t *connection, hmci_operation_t *operation);
/* The operation failed in the hardware, which flushes what is chained to it. */
void hmci_verbs_queue_blame(verbs_connection_t *connection, hmci_operation_t *operation, hmc_status_t status);
/* Likewise, and asks the owner why a region cannot be reached; the operation ends with the answer. */
void hmci_verbs_queue_ask(verbs_connection_t *connection, hmci_operation_t *operation);
void hmci_verbs_queue_answered(verbs_connection_t *connection, uint32_t question, hmc_status_t status);

/* stage.c */
hmc_status_t hmci_verbs_stage_open(verbs_device_t *device);
void hmci_verbs_stage_close(verbs_device_t *device);
void hmci_verbs_slots_free(verbs_transport_t *transport);
verbs_slot_t *hmci_verbs_slot_take(verbs_transport_t *transport);
void hmci_verbs_slot_give(verbs_transport_t *transport, verbs_slot_t *slot);
void hmci_verbs_buffer_post(verbs_device_t *device, uint32_t index);
/* Between a slot and memory of any kind. */
hmc_status_t hmci_verbs_copy_out(const hmci_region_view_t *region, const uint8_t *from, void *to_host, uint64_t size);
hmc_status_t hmci_verbs_copy_in(const hmci_region_view_t *region, uint8_t *to, const void *from_host, uint64_t size);

/* message.c: the requesting end */
/* Sends the next message of an operation. False: not now. */
bool hmci_verbs_message_request(verbs_connection_t *connection, hmci_operation_t *operation);
/* Sends again what a new queue pair has not seen. False: no room yet. */
bool hmci_verbs_message_repeat(verbs_connection_t *connection);
/* HMC_CORRUPT: no answer to what was asked. */
hmc_status_t hmci_verbs_message_answered(verbs_connection_t *connection, const verbs_message_t *answer,
                                         const uint8_t *payload);
/* The operation waits for no answers any more. */
void hmci_verbs_message_detach(verbs_connection_t *connection, hmci_operation_t *operation);
/* What was sent may not have arrived. */
void hmci_verbs_message_restart(verbs_connection_t *connection);
void hmci_verbs_message_forget(verbs_connection_t *connection);

/* answer.c: the owner's end */
/* Handles a message that arrived. HMC_CORRUPT: the peer broke the protocol. */
hmc_status_t hmci_verbs_answer_take(verbs_connection_t *connection, const uint8_t *data, size_t size);
void hmci_verbs_answer_send(verbs_connection_t *connection);
/* What was to be answered will be asked again. */
void hmci_verbs_answer_forget(verbs_connection_t *connection);

/* memory.c */
/* The registered memory of a range of a region, counted as in use; NULL: it cannot be registered, or not for the
 * adapter to `write` to. */
verbs_memory_t *hmci_verbs_memory_use(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset,
                                      uint64_t size, bool write);
/* All of a region, for peers; NULL with the cause. */
verbs_memory_t *hmci_verbs_memory_export(verbs_device_t *device, const hmci_region_view_t *region,
                                         verbs_cause_t *cause);
/* Could an adapter reach such memory? */
bool hmci_verbs_memory_is_reached(const verbs_device_t *device, const hmci_memory_ops_t *ops);
/* Says why device memory is not reached by a dma-buf, and why not as peer memory; "" where neither is known. */
void hmci_verbs_memory_why(const verbs_device_t *device, const hmci_memory_ops_t *ops, char *text, size_t size);
/* Chooses where the names of registered memory begin. */
void hmci_verbs_memory_name(verbs_transport_t *transport);
/* Comes before the others, and after them; close deregisters everything. */
void hmci_verbs_memory_open(verbs_device_t *device);
void hmci_verbs_memory_close(verbs_device_t *device);
/* Deregisters what belongs to a region, or everything (NULL). */
void hmci_verbs_memory_drop(verbs_device_t *device, const hmci_region_view_t *region);

/* poll.c */
/* Takes completions and posts what they made possible. True when there were any. */
bool hmci_verbs_poll(verbs_device_t *device);
/* Takes what completed on the main rail, while its caller is here anyway. */
void hmci_verbs_reap(verbs_connection_t *connection);
/* Nobody may come to look at what is in progress: the loop is to. */
void hmci_verbs_leave_alone(verbs_connection_t *connection);
/* The connection may be able to go on. */
void hmci_verbs_touch(verbs_connection_t *connection);
/* Lets those go on that may, and sees to it that the loop notices what comes; before letting go of the lock, after
 * anything that posts. */
void hmci_verbs_settle(verbs_transport_t *transport);
/* Likewise, but leaves it to the loop to notice what comes within the next 200 us: its caller is likely to wait. */
void hmci_verbs_settle_soon(verbs_transport_t *transport);
void hmci_verbs_look(hmci_timer_t *timer);
bool hmci_verbs_on_channel(hmci_watch_t *watch, uint32_t events);
hmc_status_t hmci_verbs_wait(void *connection, hmci_operation_t *operation, uint64_t spin); /* these without the lock */
void hmci_verbs_progress(void *connection);
void hmci_verbs_cancel(void *connection, hmci_operation_t *operation, hmc_status_t status);
void hmci_verbs_fail(void *connection, hmc_status_t status);

/* region.c */
hmc_status_t hmci_verbs_region_export(void *connection, hmci_region_view_t *region, hmci_blob_t *key);
void hmci_verbs_region_revoke(void *connection, hmci_region_view_t *region);
void hmci_verbs_lease_revoke(void *connection, uint64_t number);
hmc_status_t hmci_verbs_remote_open(void *connection, void *remote, const hmci_remote_view_t *view,
                                    const hmci_blob_t *key, uint64_t deadline, void **mapped,
                                    const _Atomic uint32_t **generation);
void hmci_verbs_remote_close(void *connection, void *remote);
void hmci_verbs_remote_explain(void *connection, void *remote, char *text, size_t size);
unsigned hmci_verbs_remote_is_staged(void *connection, void *remote, const hmci_memory_ops_t *local);
/* The owner says that a region is closed. */
void hmci_verbs_remote_revoked(verbs_connection_t *connection, uint32_t id, uint32_t generation);

/* explain.c */
void hmci_verbs_explain(void *connection, char *text, size_t size); /* without the lock */

/* completion_status.c */
typedef enum verbs_completion_status {
  VERBS_PATH,      /* the way between the two failed; to be tried again */
  VERBS_ACCESS,    /* the owner's adapter refused; the owner knows why */
  VERBS_OPERATION, /* this operation cannot be done */
} verbs_completion_status_t;
verbs_completion_status_t hmci_verbs_completion_status(enum ibv_wc_status status);

#endif
