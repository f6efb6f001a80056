/* The transport, its devices and what they reach: registered memory, and slots for what cannot be registered. With the
 * lock held unless a function says otherwise; verbs.h has the whole picture. */
#ifndef HMCI_VERBS_DEVICE_H
#define HMCI_VERBS_DEVICE_H

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
  VERBS_SLOTS = 32,                  /* per context, at first: 4 MiB */
  VERBS_SLOTS_EACH = 8,              /* for each peer, where that is more */
  VERBS_SLOTS_OWN = 3,               /* of these, what others never take from a peer: for what goes out to it, */
  VERBS_SLOTS_OWN_ANSWERS = 1,       /* and for answers to it */
  VERBS_BUFFERS = 32,                /* of the first device that is used, at first: 4 MiB */
  VERBS_BUFFERS_MORE = 4,            /* of each further one, and the least of all */
  VERBS_BUFFERS_EACH = VERBS_WINDOW, /* more with each rail: what its peer may send without waiting */
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
typedef struct verbs_device verbs_device_t;
typedef struct verbs_connection verbs_connection_t;
typedef struct verbs_rail verbs_rail_t;

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* How an adapter comes to the bytes of registered memory. */
typedef enum verbs_way { VERBS_BY_PAGES, VERBS_BY_DMABUF, VERBS_BY_PEER_MEMORY } verbs_way_t;

/* Why a region is staged; travels in its key. */
typedef enum verbs_cause {
  VERBS_STRAIGHT,
  VERBS_DEVICE_MEMORY,
  VERBS_PIN_LIMIT,
  VERBS_REFUSED_BY_DEVICE,
  VERBS_LEASED, /* what a device may reach cannot be taken back piece by piece */
  VERBS_LATER,  /* it is being registered: the peer asks again (VERBS_ASK), and is answered when that is done */
  VERBS_CAUSE_LAST = VERBS_LATER
} verbs_cause_t;

/* Registered memory of a region: all of it, or a range. */
typedef struct verbs_memory {
  hmci_list_t bucket, age; /* of the device; `age`: least recently used first, or a list of those that are to go */
  verbs_device_t *device;
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

/* A registration that is to be made, by a thread that holds no lock meanwhile (registrar.c). */
typedef enum verbs_job_phase {
  VERBS_JOB_WAITS,
  VERBS_JOB_RUNS,
  VERBS_JOB_NO_ROOM, /* HMC_RDMA_PINNED_MAX leaves none; stays until the one that wanted it has seen that */
} verbs_job_phase_t;
typedef struct verbs_job {
  hmci_list_t link; /* transport->jobs */
  verbs_device_t *device;
  hmci_region_view_t region; /* what there is to know of it: the region itself may close meanwhile. Its descriptor is
                              * the job's own */
  uint64_t offset, size;
  verbs_job_phase_t phase;
  bool orphan; /* nobody wants it any more: its region is closed, or its device is not used */
} verbs_job_t;

/* What a slot is taken for. */
typedef enum verbs_purpose { VERBS_FOR_OPERATIONS, VERBS_FOR_ANSWERS, VERBS_PURPOSES } verbs_purpose_t;

typedef struct verbs_slab verbs_slab_t;
typedef struct verbs_slot {
  struct verbs_slot *next;
  uint8_t *data; /* VERBS_SLOT bytes */
  verbs_slab_t *slab;
  verbs_connection_t *holder; /* while it is taken */
  verbs_purpose_t purpose;
} verbs_slot_t;

/* Slots that came together. */
struct verbs_slab {
  verbs_slab_t *next;
  uint8_t *data;
  struct ibv_mr *memory[VERBS_DEVICES]; /* by the device's place; of all that are started */
  uint32_t count;
  bool pooled; /* its bytes come out of the staging pool */
  verbs_slot_t slots[];
};

/* Buffers for messages that arrive, of VERBS_SLOT bytes each. */
typedef struct verbs_block {
  uint8_t *data;
  struct ibv_mr *memory;
  uint32_t count;
  bool pooled; /* they come out of the staging pool */
} verbs_block_t;

/* ---- devices ----------------------------------------------------------------------------------------------------- */

struct verbs_device {
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
  verbs_block_t *blocks;  /* receive buffers: one block at first, more as there are more rails */
  uint32_t block_count;
  uint32_t buffer_count, buffers_most; /* of all blocks; as many as the receive queue has room for */
  bool buffers_refused;                /* no more of them can be had */
  hmci_list_t buckets[VERBS_BUCKETS], ages;
  hmci_cache_t cache; /* of registrations that only this side uses */
  /* Why memory of a kind cannot be registered that way, as errno; 0: it has been, or was not tried. Written without the
   * lock. */
  _Atomic int no_dmabuf[VERBS_KINDS], no_peer_memory[VERBS_KINDS];
  _Atomic bool reached[VERBS_KINDS]; /* device memory of that kind has been registered */
};

/* A GID of this side: where it is. */
typedef struct verbs_port {
  verbs_device_t *device;
  uint8_t number;
  uint16_t index; /* in the port's GID table */
} verbs_port_t;

typedef struct ibv_mr *verbs_register_dmabuf_t(struct ibv_pd *domain, uint64_t offset, size_t size, uint64_t address,
                                               int descriptor, int access);

/* What files call of those above them; the table is in verbs.c. */
typedef struct verbs_upward {
  void (*look)(hmci_timer_t *timer);
  bool (*on_channel)(hmci_watch_t *watch, uint32_t events);
  bool (*on_event)(hmci_watch_t *watch, uint32_t events);
  void (*take_note)(verbs_connection_t *connection, const verbs_note_t *note);
  void (*settle)(verbs_transport_t *transport);
  bool (*register_soon)(verbs_transport_t *transport); /* wakes the thread that does jobs. False: there is none */
} verbs_upward_t;

/* A peer that waits for the key of a region which is being registered. */
typedef struct verbs_ask {
  hmci_list_t link; /* transport->asks */
  verbs_connection_t *connection;
  uint32_t number, region, generation;
} verbs_ask_t;

struct verbs_transport {
  const hmci_host_t *host;
  const verbs_upward_t *upward;
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
  uint32_t expected;             /* operations, jobs */
  uint32_t asked;                /* messages that wait for their answers */
  _Atomic uint64_t next_address; /* what peers call the next registration; a multiple of a page */
  _Atomic uint64_t pinned; /* bytes registered for regions, all devices; freed memory lets go of it without the lock */

  hmci_list_t jobs, asks;
  hmci_list_t dropped; /* memory whose last rail is closed: to be deregistered when the lock is free */
  pthread_t registrar;
  pthread_cond_t wanted, registered; /* there may be something to register; a job is done */
  bool registrar_runs, registrar_ends;

  verbs_slab_t *slabs;
  verbs_slot_t *free_slots;
  uint32_t slot_count, free_count;
  uint32_t connection_count;
  uint32_t owed;          /* slots that connections could still take of their own, all together */
  bool slots_refused;     /* no more of them can be had */
  bool starved, returned; /* a connection waits for a slot; and one has come back since */
  bool told_of_the_limit; /* of pinned memory; logged once */
};

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

/* pages.c */
/* As many pieces of VERBS_SLOT bytes from the context's staging pool as it gives, `most` at most and `least` at least;
 * gives them back; registers such pieces, from wherever they are. */
hmc_status_t hmci_verbs_pages_take(verbs_transport_t *transport, uint32_t most, uint32_t least, uint8_t **pages,
                                   uint32_t *count);
void hmci_verbs_pages_give(verbs_transport_t *transport, uint8_t *pages, uint32_t count);
hmc_status_t hmci_verbs_pages_register(verbs_device_t *device, uint8_t *pages, uint32_t count, struct ibv_mr **memory);

/* stage.c */
hmc_status_t hmci_verbs_stage_open(verbs_device_t *device);
void hmci_verbs_stage_close(verbs_device_t *device);
/* Buffers are named by a number that completions carry. */
void hmci_verbs_buffer_post(verbs_device_t *device, uint64_t number);
const uint8_t *hmci_verbs_buffer_data(const verbs_device_t *device, uint64_t number);
/* Does a device have fewer of them than its rails may need? */
bool hmci_verbs_buffers_are_short(const verbs_device_t *device);
/* Adds those; lets go of the lock meanwhile. */
void hmci_verbs_buffers_add(verbs_device_t *device);
/* Between a slot and memory of any kind. HMC_INVALID_CONFIG where registered memory is not there any more. */
hmc_status_t hmci_verbs_copy_out(const hmci_region_view_t *region, const uint8_t *from, void *to_host, uint64_t size);
hmc_status_t hmci_verbs_copy_in(const hmci_region_view_t *region, uint8_t *to, const void *from_host, uint64_t size);

/* slots.c */
/* Makes the first slots where there are none, and registers all with a device that is being started. */
hmc_status_t hmci_verbs_slots_open(verbs_device_t *device);
void hmci_verbs_slots_close(verbs_device_t *device);
void hmci_verbs_slots_free(verbs_transport_t *transport);
/* A connection comes, or goes: without slots. */
void hmci_verbs_slots_join(verbs_transport_t *transport);
void hmci_verbs_slots_leave(verbs_transport_t *transport);
/* Are there fewer than the connections should have? */
bool hmci_verbs_slots_are_short(const verbs_transport_t *transport);
/* Adds some; lets go of the lock meanwhile. */
void hmci_verbs_slots_add(verbs_transport_t *transport);
/* NULL: not now; the connection is touched once it may be had. */
verbs_slot_t *hmci_verbs_slot_take(verbs_connection_t *connection, verbs_purpose_t purpose);
void hmci_verbs_slot_give(verbs_slot_t *slot);
uint32_t hmci_verbs_slot_key(const verbs_slot_t *slot, const verbs_device_t *device);

/* memory.c: what registers and deregisters lets go of the lock meanwhile, or comes without it. */
/* The registered memory of a range of a region, counted as in use; NULL: it cannot be registered, or not for the
 * adapter to `write` to. HMC_IN_PROGRESS: it is being registered; the connections are touched when that is done. */
hmc_status_t hmci_verbs_memory_use(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset,
                                   uint64_t size, bool write, verbs_memory_t **memory);
/* All of a region, for peers; NULL with the cause, VERBS_LATER among them. */
verbs_memory_t *hmci_verbs_memory_export(verbs_device_t *device, const hmci_region_view_t *region,
                                         verbs_cause_t *cause);
/* Does the first of the transport's jobs. False: there is none. Lets go of the lock meanwhile. */
bool hmci_verbs_memory_work(verbs_transport_t *transport);
/* Could an adapter reach such memory? */
bool hmci_verbs_memory_is_reached(const verbs_device_t *device, const hmci_memory_ops_t *ops);
/* Says why device memory is not reached by a dma-buf, and why not as peer memory; "" where neither is known. */
void hmci_verbs_memory_why(const verbs_device_t *device, const hmci_memory_ops_t *ops, char *text, size_t size);
/* Once per transport: empty lists, and where the names of registered memory begin. */
void hmci_verbs_memory_begin(verbs_transport_t *transport);
/* Comes before the others, and after them; close deregisters everything. Without the lock. */
void hmci_verbs_memory_open(verbs_device_t *device);
void hmci_verbs_memory_close(verbs_device_t *device);
/* Forgets what belongs to a region, or everything (NULL): it is moved to `dropped`, which memory_free deregisters. */
void hmci_verbs_memory_drop(verbs_device_t *device, const hmci_region_view_t *region, hmci_list_t *dropped);
/* Without the lock. */
void hmci_verbs_memory_free(hmci_list_t *dropped);
/* Deregisters what connections that closed have left. Without the lock. */
void hmci_verbs_memory_tidy(verbs_transport_t *transport);

/* registrar.c */
bool hmci_verbs_register_soon(verbs_transport_t *transport);
/* Ends its thread. Without the lock. */
void hmci_verbs_registrar_end(verbs_transport_t *transport);

#endif
