/* The core's own structures.
 *
 * Locks, outer to inner: the loop's dispatch lock; `hmc_context.lock`; the shards' locks; `request_lock`,
 * `blocking.lock`, `delay.lock` and the setups' lock; the workers' lock; the transports' locks; `hmc_peer.lock`,
 * `hmc_context.region_lock`, `callback.lock`, `checksum.lock` and `queue.lock`; the events' lock; the loop's table lock. A
 * thread that holds one takes only those behind it. */
#ifndef HMCI_CORE_H
#define HMCI_CORE_H

#include "../base/intervals.h"
#include "../base/loop.h"
#include "../base/resolve.h"
#include "../base/settings.h"
#include "../base/table.h"
#include "../ctrl/secret.h"
#include "../ctrl/ticket.h"
#include "../transport/transport.h"
#include "channel.h"
#include "event.h"
#include "post.h"
#include "setup.h"
#include "stats.h"
#include "work.h"

#include <hmc/context.h>
#include <hmc/operation.h>
#include <hmc/region.h>

enum {
  HMCI_TRANSPORTS = 8,    /* room for all of a build */
  HMCI_REGIONS = 1 << 20, /* regions of a context at a time */
  HMCI_STRANGERS = 1024,  /* connections that have not authenticated yet, at a time */
  HMCI_NAME_SIZE = 64,
  HMCI_REASON_SIZE = 256,
  HMCI_WHERE_SIZE = 80,
};

/* A transport as opened by a context. */
typedef struct hmci_transport_slot {
  const hmci_transport_ops_t *ops;
  void *state; /* NULL: not usable here, for `reason` */
  hmci_blob_t offer;
  char reason[HMCI_REASON_SIZE];
  _Atomic uint32_t downgraded; /* 1 once it was logged that a peer it should have reached went another way */
} hmci_transport_slot_t;

/* What texts call a transport: by its type. `name` is for the wire, and for files. */
static inline const char *hmci_transport_text(const hmci_transport_ops_t *ops) {
  return hmc_connection_type_name(ops->type);
}

/* Requests, divided so that threads do not share a lock. */
enum { HMCI_SHARDS = 16 };
typedef struct hmci_shard {
  _Alignas(HMCI_CACHE_LINE) pthread_mutex_t lock;
  hmci_list_t requests, spare; /* lock; those not freed, in the order they were started; and others */
  uint32_t spare_count;        /* lock */
  uint64_t count;              /* lock; started so far */
} hmci_shard_t;

/* How long a connection that is not a peer's yet may take, in nanoseconds. Tests have less patience. */
typedef struct hmci_accept_times {
  uint64_t stranger;  /* from accept to the end of the secure handshake, once nothing moves */
  uint64_t handshake; /* ... and from there to the end of the handshake */
  uint64_t proof;     /* from a data connection's hello to its proof; on a busy host a peer may take seconds */
} hmci_accept_times_t;
#define HMCI_ACCEPT_TIMES                                                                                              \
  { 5000000000u, 30000000000u, 10000000000u }

/* Connections that are not peers yet. */
typedef struct hmci_accepting {
  hmci_list_t listeners; /* the context's lock; the rest is the loop's thread's */
  hmci_list_t callers;   /* data connections whose ticket is being looked at */
  uint32_t caller_count;
  hmci_list_t strangers, handshakes; /* before and after they have authenticated */
  uint32_t stranger_count, stranger_room;
  hmci_accept_times_t times;
  hmci_timer_t timer;  /* listening goes on then */
  hmci_timer_t stop;   /* what was stopped looks whether it may close */
  uint64_t stop_pause; /* nanoseconds between two looks; with `dispatch` held */
} hmci_accepting_t;

typedef struct hmci_leases {
  struct hmc_lease **table; /* region_lock, as the three below; by slot; NULL: free */
  uint32_t room, hint, serial;
  hmci_list_t list;   /* the context's lock; all that are not revoked yet, ended or not */
  uint64_t next_look; /* the context's lock; when the timer fires, HMCI_NEVER: not set */
  hmci_timer_t timer;
} hmci_leases_t;

/* Complete requests whose callback is due. */
typedef struct hmci_callbacks {
  pthread_mutex_t lock;
  hmci_list_t due;
  struct hmc_request *running; /* lock; the one whose callback runs now */
  bool is_orphan;              /* lock; it was freed meanwhile */
  hmci_timer_t timer;
} hmci_callbacks_t;

/* Requests that wait for an event of a device. */
typedef struct hmci_delays {
  pthread_mutex_t lock; /* as request_lock; held while a request begins */
  hmci_list_t list;
  uint64_t moved; /* lock; when an event came, or a request began */
  hmci_timer_t timer;
} hmci_delays_t;

/* Requests whose data get a second look. */
typedef struct hmci_checksums {
  pthread_mutex_t lock;
  hmci_list_t list;
  struct hmc_request *current; /* lock; the one that the loop is at */
  hmci_timer_t timer;
} hmci_checksums_t;

/* Operations of threads that wait for them at once; the lock is as request_lock. */
typedef struct hmci_blocking {
  pthread_mutex_t lock;
  hmci_list_t list;
} hmci_blocking_t;

/* The lock is inner to all of the context's. */
typedef struct hmci_queues {
  pthread_mutex_t lock;
  hmci_list_t list;
} hmci_queues_t;

struct hmc_context {
  hmci_host_t host;      /* what transports see: the first service, whose loop does all but move the others' data */
  hmci_host_t *services; /* of the other services */
  uint32_t service_count;
  bool shares;                   /* the loops are those of all contexts of the process that share */
  _Atomic uint32_t next_service; /* of the next peer; 0: the first */
  hmci_settings_t settings;
  hmci_staging_t staging;
  hmci_secret_t secret;
  hmci_loop_t *loop;
  const _Atomic uint32_t *here; /* 1; 0 in a forked child: the page is wiped there */
  char name[HMCI_NAME_SIZE];
  uint64_t timeout_ms;
  hmci_transport_slot_t transports[HMCI_TRANSPORTS];

  pthread_mutex_t lock;
  hmci_accepting_t accept;
  hmci_list_t peers;   /* lock */
  hmci_table_t tokens; /* lock; accepted peers that wait for data connections, or may get more */

  pthread_mutex_t region_lock;
  struct hmci_region_slot *regions; /* region_lock; by id */
  uint32_t free_region;             /* region_lock; the first of the free slots; 0: none */
  hmci_table_t region_names;        /* region_lock */
  hmci_interval_t *region_places;   /* region_lock; those that peers have rights to, by address */
  uint32_t region_room, generation;
  hmci_leases_t lease;

  hmci_shard_t shards[HMCI_SHARDS];
  _Atomic uint64_t request_made; /* that there is memory for */
  pthread_mutex_t request_lock;
  hmci_timer_t request_timer;
  _Atomic uint64_t request_check; /* changes with request_lock; when the timer fires, HMCI_NEVER: not set */
  hmci_waitset_t waitset;         /* called for every completion */

  hmci_callbacks_t callback;
  hmci_delays_t delay;

  hmci_setups_t setups;
  hmci_checksums_t checksum;

  hmci_events_t events; /* what the program can wait for; notifications lie here */
  hmci_workers_t workers;

  hmci_blocking_t blocking;
  hmci_queues_t queue;
  _Atomic uint64_t peer_count; /* ever made: numbers them */

  hmci_stats_t *stats; /* of the peers that it had */
  hmci_list_t link;    /* metrics.c: all contexts of the process */
  bool exported;       /* HMC_METRICS is in force for it */
};

/* Starts the service threads. After a failure, too, close ends those that run. */
hmc_status_t hmci_services_open(hmc_context_t *context);
void hmci_services_close(hmc_context_t *context);

/* connection_type.c: HMC_TRANSPORTS must name transports; does it allow this one, and does that one work here? */
hmc_status_t hmci_transports_check(const char *list);
hmc_status_t hmci_transport_probe(const hmci_transport_ops_t *ops, const char *allowed, char reason[HMCI_REASON_SIZE]);
/* metrics.c: the context is among those of the process from here to there. */
void hmci_metrics_enter(hmc_context_t *context);
void hmci_metrics_leave(hmc_context_t *context);

/* listener.c: the timer that ends a pause of accepting, and the one that closes what was stopped. */
void hmci_listening_resume(hmci_timer_t *timer);
void hmci_listening_settle(hmci_timer_t *timer);
/* Closes all, though peers may lack something. */
void hmci_listening_end(hmc_context_t *context);

/* True, and the thread's error set, in a forked child. */
bool hmci_context_is_foreign(const hmc_context_t *context);
uint64_t hmci_context_deadline(const hmc_context_t *context, uint64_t timeout_ms);
/* HMC_UNSUPPORT, with a text, in a callback, where `call` would wait for the thread that runs the callback. */
hmc_status_t hmci_context_check_waiting(const hmc_context_t *context, const char *call);
/* The thread goes to sleep until the service threads bring something: it leaves to them what it did in
 * hmc_context_progress. */
void hmci_context_hand_back(const hmc_context_t *context);

/* ---- regions ----------------------------------------------------------------------------------------------------- */

struct hmc_region {
  hmci_region_view_t view; /* first: transports give back a pointer to it */
  hmc_context_t *context;
  _Atomic uint32_t references; /* the last one frees */
  _Atomic bool ended;          /* out of the table: no peer reaches it */
  uint64_t mapped;             /* bytes that HMC has mapped for it, see region_memory.h; 0: none */
  bool placed;                 /* at an address that the program had reserved */
  hmci_list_t leases;          /* context->region_lock */
  hmci_member_t by_name;       /* context->region_names, where it has a name */
  hmci_interval_t place;       /* context->region_places, where peers have rights to it */
  char name[HMC_REGION_NAME_SIZE];
};

typedef struct hmci_region_slot {
  hmc_region_t *region; /* NULL: free, or its region is ending */
  uint32_t next_free;
} hmci_region_slot_t;

/* Gives the region its number and generation; takes it out, so that no peer finds it any more. */
hmc_status_t hmci_region_enter(hmc_region_t *region);
void hmci_region_leave(hmc_region_t *region);
/* The number may be another region's: this one has ended. */
void hmci_region_free_id(const hmc_region_t *region);
/* Ends all that are left, and the table. */
void hmci_regions_close(hmc_context_t *context);
hmc_status_t hmci_region_acquire(const hmci_host_t *host, uint32_t id, uint32_t generation, uint32_t rights,
                                 hmci_region_view_t **region);
void hmci_region_release(const hmci_host_t *host, hmci_region_view_t *region);
/* The open region of that name, counted among its users; NULL. */
hmc_region_t *hmci_region_find(hmc_context_t *context, const char *name);
/* One that peers have rights to and that holds all those bytes; of several, one that begins last. */
hmc_region_t *hmci_region_locate(hmc_context_t *context, uint64_t address, uint64_t bytes);
/* As acquire, for a leased region, by the peer of that connection under the lease of that number. HMC_STALE,
 * HMC_DENIED, HMC_OUT_OF_RANGE. */
hmc_status_t hmci_lease_acquire(const hmci_host_t *host, void *connection, const hmci_lease_use_t *use,
                                hmci_region_view_t **region);
/* The region leaves the table: its leases do too. With region_lock held. */
void hmci_leases_end_locked(hmc_region_t *region);
/* The peer is closed: its leases end. */
void hmci_leases_orphan(hmc_context_t *context, const hmc_peer_t *peer);
void hmci_leases_expire(hmci_timer_t *timer);
/* Frees all leases of a context whose peers and regions are closed. */
void hmci_leases_destroy(hmc_context_t *context);
/* Ends a region and frees it, no matter who holds references. */
void hmci_region_destroy(hmc_region_t *region);

/* ---- peers ------------------------------------------------------------------------------------------------------- */

/* What a transport's connection block lies in. A connection that fails before its peer is published is a transport that
 * does not work between the two: the handshake goes on to the next one. */
typedef struct hmci_connection {
  hmc_peer_t *peer;
  _Atomic uint32_t lost; /* 1: the transport has said that it ended, 2: `reason` holds why */
  char reason[HMCI_REASON_SIZE];
  _Alignas(HMCI_CACHE_LINE) uint8_t state[];
} hmci_connection_t;

struct hmc_peer {
  _Atomic uint32_t connected; /* 1 while operations may start */
  hmc_context_t *context;
  uint64_t number;  /* no other peer of the context ever has it */
  hmci_list_t link; /* context->peers, from publication on */
  hmci_poll_event_t arrival, lost;
  hmci_role_t role;
  const hmci_host_t *service;
  char ip[64], name[HMCI_NAME_SIZE], host[64];
  uint16_t port;
  char where[HMCI_WHERE_SIZE]; /* the two for texts */
  uint64_t incarnation;
  int process;
  uint64_t token;                      /* names the peer, at the accepting side, to its data connections */
  hmci_member_t by_token;              /* context->tokens; accepting side, from the handshake on */
  bool has_token;                      /* it is there */
  bool encrypt;                        /* one of the two wants the payload encrypted */
  uint64_t features;                   /* HMCI_FEATURE_* that both have */
  _Atomic bool dials_late;             /* a data connection that it wants is being dialled */
  uint8_t ticket_key[HMCI_TICKET_KEY]; /* of the session's handshake: what data connections show */

  hmci_channel_t channel;
  hmci_watch_t watch;
  bool watched_out; /* the watch waits for room to send, too */

  hmci_transport_slot_t *transport; /* NULL until attached */
  hmci_connection_t *connection;
  char *refused[HMCI_TRANSPORTS]; /* why not this one, or not at first; NULL: it was taken at once, or not tried */

  /* Routes by a second transport (route.c). `first`: of a peer that no program sees, the one that it belongs to;
   * constant from its publication on, NULL of all others. */
  hmc_peer_t *first;
  hmc_peer_t *second;          /* context->lock; the one that belongs to this one, or NULL */
  bool parted;                 /* context->lock; it gets none any more */
  hmc_connection_type_t asked; /* dialling side: the type that the program asked for */
  _Atomic bool second_refused; /* none works between the two */

  _Atomic bool published, closing;
  _Atomic uint32_t losing; /* 1: somebody has seen the end, 2: and said why in `lost_reason` */
  char lost_reason[HMCI_REASON_SIZE];
  hmci_timer_t loss; /* runs in the loop */

  hmci_post_t post; /* notifications from it and to it */
  hmci_stats_t *stats;

  pthread_mutex_t lock; /* lookups, remotes; inner to all of the context's but region_lock */
  pthread_cond_t answered;
  hmci_list_t lookups, remotes;
  uint32_t lookup_count;
  hmci_interval_t
      *directory; /* remotes that were found by an address, by the owner's addresses; each has a reference */
  uint32_t directory_count;
};

/* "10.0.0.2:2025", "[fd00::2]:2025". */
void hmci_where(char where[HMCI_WHERE_SIZE], const char *ip, uint16_t port);
/* Notes why a transport is not used; without memory for it the peer does without. */
void hmci_peer_refuse(hmc_peer_t *peer, size_t transport, const char *why);
hmc_peer_t *hmci_peer_create(hmc_context_t *context, hmci_role_t role);
/* Frees a peer; it must not be in the context's list any more. Not from the loop's thread unless it was never
 * published. */
void hmci_peer_destroy(hmc_peer_t *peer);
/* Makes the connection block of a transport and its half of the connection. */
hmc_status_t hmci_peer_attach(hmc_peer_t *peer, hmci_transport_slot_t *slot, hmci_blob_t *data);
/* Data connections find the peer by its token from now on, until it is closed. Accepting side. */
hmc_status_t hmci_peer_enter_token(hmc_peer_t *peer);
/* Undoes attach. */
void hmci_peer_detach(hmc_peer_t *peer);
/* Notes the end; the loop does the rest. Any thread, any lock. */
void hmci_peer_lose(hmc_peer_t *peer, const char *reason);
/* The same for a transport's connection, which ends the peer only once the peer is published. */
void hmci_connection_lose(hmci_connection_t *connection, const char *reason);
/* HMC_PEER_LOST with the reason where the transport has lost the connection. */
hmc_status_t hmci_connection_check(hmci_connection_t *connection);
/* Why it is gone. */
const char *hmci_peer_lost_reason(const hmc_peer_t *peer);
/* Lets the loop send what the channel has kept. In the loop's thread. */
void hmci_peer_watch_for_room(hmc_peer_t *peer);
/* The peer that programs know. */
static inline const hmc_peer_t *hmci_peer_known(const hmc_peer_t *peer) { return peer->first ? peer->first : peer; }
/* Takes a channel whose handshake is over into the loop. A connection that was lost before is a peer that is gone. */
hmc_status_t hmci_peer_publish(hmc_peer_t *peer);

/* peer_state.c, route.c */
/* The second peer, while the first one is not closed; NULL. */
hmc_peer_t *hmci_peer_second(const hmc_peer_t *peer);
/* Makes `second` the second peer of `first`: HMC_STALE where that has one or is being closed. */
hmc_status_t hmci_peer_join(hmc_peer_t *first, hmc_peer_t *second);
void hmci_peer_unjoin(hmc_peer_t *first);
/* The second peer of a first one, and the first one of a second; NULL. */
hmc_peer_t *hmci_peer_other(const hmc_peer_t *peer);
/* From here on the peer gets no second one; returns the one that it had, which is the caller's to close. */
hmc_peer_t *hmci_peer_part(hmc_peer_t *peer);
/* Closes a peer that belongs to no other one any more. */
void hmci_peer_close_one(hmc_peer_t *peer);
/* Which ends stage bytes between local memory of that kind and the region, HMCI_STAGED_*; and whether the calling thread
 * or its device copies them by itself. Of this handle's own transport. */
unsigned hmci_remote_staging(const hmc_remote_t *remote, hmc_memory_kind_t kind);
bool hmci_remote_is_direct(const hmc_remote_t *remote, hmc_memory_kind_t kind, hmci_operation_kind_t operation);
/* Gives a handle that was just made the way to the region's memory that a second transport has, where the first one
 * has none. What does not work leaves the handle as it is. */
void hmci_remote_choose(hmc_remote_t *remote, uint64_t deadline);
/* Closes the second handle to the region; and takes a handle out of its peer's list and closes it. */
void hmci_remote_unchoose(hmc_remote_t *remote);
void hmci_remote_drop(hmc_remote_t *remote);
/* Gives a reference back. */
void hmci_remote_release(hmc_remote_t *remote);

/* ---- the handshake and the session -------------------------------------------------------------------------------- */

/* Frames. Both halves of the handshake and the session use one number space. */
typedef enum hmci_message {
  HMCI_HELLO = 1,      /* both ways: who, and what transports */
  HMCI_OPEN,           /* dialler: take this transport; connection data */
  HMCI_OPENED,         /* status, text, connection data, token */
  HMCI_READY,          /* dialler: done; of a second connection: token and incarnation of the first */
  HMCI_WELCOME,        /* the acceptor has published the peer */
  HMCI_STREAM,         /* first frame of a data connection: token, incarnation, purpose */
  HMCI_ADOPTED,        /* status, text; the last bytes inside the secure stream */
  HMCI_LOOKUP,         /* request, region name */
  HMCI_FOUND,          /* request, status, region */
  HMCI_CHECKSUM_ASKED, /* request, region, generation, ranges: what is their CRC-32C? */
  HMCI_CHECKSUM_TOLD,  /* request, status, CRC-32C */
  HMCI_GRANT,          /* notifications: how many may be sent in all, bytes of them; how many have arrived, bytes */
  HMCI_LOCATE,    /* request, address, bytes; answered by FOUND, with the place in the region and its name behind */
  HMCI_DIAL,      /* acceptor: purpose of a data connection that it wants dialled */
  HMCI_UNDIALLED, /* dialler: purpose, status, text */
} hmci_message_t;

/* What the two ends may do beyond the first release; each uses what both have. A message or a status that one does not
 * know does not end the connection: it comes from a newer end. */
enum {
  HMCI_PROTOCOL_LEAST = 1, /* the versions of this protocol that this end speaks */
  HMCI_PROTOCOL_MOST = 1,
  HMCI_FEATURE_TICKETS =
      1 << 0,                   /* data connections show a ticket (ctrl/ticket.h) instead of a handshake of their own */
  HMCI_FEATURE_RESEAL = 1 << 1, /* after WELCOME, sealed records carry the session (hmci_secure_reseal) */
  HMCI_FEATURE_GRANTS = 1 << 2, /* notifications go by credits (post.h), and may be long */
  HMCI_FEATURE_LOCATE = 1 << 3, /* regions can be found by an address */
  HMCI_FEATURE_SECOND = 1 << 4, /* READY may name the peer whose second connection this is */
  HMCI_FEATURE_OCB = 1 << 5,    /* encrypted data connections by AES-128-OCB: where it is the faster one at both ends */
  HMCI_FEATURES =               /* that every end of this release has */
  HMCI_FEATURE_TICKETS | HMCI_FEATURE_RESEAL | HMCI_FEATURE_GRANTS | HMCI_FEATURE_LOCATE | HMCI_FEATURE_SECOND,
};

/* data_late.c: data connections that a peer is made without. `want` is the transports' (hmci_host_t); the others take
 * what the other end's session says. */
hmc_status_t hmci_data_want(const hmci_host_t *host, void *connection, uint32_t purpose);
hmc_status_t hmci_data_dial(hmc_peer_t *peer, hmci_reader_t *reader);
hmc_status_t hmci_data_undialled(hmc_peer_t *peer, hmci_reader_t *reader);

/* The accepting side: takes a socket through its handshake, in the loop. Takes the descriptor. `data_only`: all but a
 * data connection of a peer that is here is turned away. */
void hmci_handshake_accept(hmc_context_t *context, int descriptor, const char *from, bool data_only);
/* True where one more can be taken: a stranger may have made room. False: listening has to pause. In the loop. */
bool hmci_handshake_has_room(hmc_context_t *context);
/* Cancels all handshakes in progress. */
void hmci_handshake_cancel_all(hmc_context_t *context);

/* The dialling side, blocking. What can be said before is said by check, which gives host and port. */
hmc_status_t hmci_handshake_check(const hmc_context_t *context, const char *ip, hmc_connection_type_t type,
                                  char host[HMCI_HOST_TEXT], uint16_t *port);
hmc_status_t hmci_handshake_connect(hmc_context_t *context, const char *host, uint16_t port, hmc_connection_type_t type,
                                    uint64_t deadline, hmc_peer_t **peer);
/* A second connection to the peer, by that type, published but not joined. Dialling side, blocking. */
hmc_status_t hmci_handshake_connect_second(hmc_peer_t *first, hmc_connection_type_t type, uint64_t deadline,
                                           hmc_peer_t **second);
/* One more data connection to a peer; hmci_host_t's dial. */
hmc_status_t hmci_handshake_dial_stream(const hmci_host_t *host, void *connection, uint32_t purpose, uint64_t deadline,
                                        hmci_pipe_t **pipe);

/* Handles one frame of a published peer. HMC_SUCCESS, or why the session is over. In the loop's thread. */
hmc_status_t hmci_session_handle(hmc_peer_t *peer, uint16_t type, hmci_reader_t *reader);
/* Asks the peer for a region. */
typedef struct hmci_found {
  hmci_remote_view_t view;
  hmci_blob_t key;
  /* Of one that was found by an address: its name, which may be empty, and where the address is in it. */
  char name[HMC_REGION_NAME_SIZE];
  uint64_t offset;
} hmci_found_t;
hmc_status_t hmci_session_lookup(hmc_peer_t *peer, const char *name, uint64_t deadline, hmci_found_t *found);
/* Asks for the key of a region that is known by its number; `view` of `found` has it. */
hmc_status_t hmci_session_lookup_key(hmc_peer_t *peer, const char *name, uint64_t deadline, hmci_found_t *found);
/* The same for several regions in one round trip: at most HMCI_KEY_QUESTIONS. `*failed` is the first that had no answer. */
enum { HMCI_KEY_QUESTIONS = 16 };
typedef struct hmci_key_question {
  const char *name; /* for texts */
  hmci_found_t *found;
} hmci_key_question_t;
hmc_status_t hmci_session_lookup_keys(hmc_peer_t *peer, const hmci_key_question_t *questions, size_t count,
                                      uint64_t deadline, size_t *failed);
/* Asks for a region by an address in it, as its owner knows it; the name and the place in it come too. */
hmc_status_t hmci_session_locate(hmc_peer_t *peer, uint64_t address, uint64_t bytes, uint64_t deadline,
                                 hmci_found_t *found);
/* Lets those who ask look whether they are to give up. */
void hmci_peer_stir(hmc_peer_t *peer);

/* A pipe that encrypts, over a socket, which it then owns; see ctrl/records.h for the secrets. `where`
 * names the peer in the log. */
hmc_status_t hmci_sealed_pipe_open(int descriptor, const uint8_t out[HMCI_RECORD_SECRET],
                                   const uint8_t in[HMCI_RECORD_SECRET], hmci_record_cipher_t cipher, const char *where,
                                   hmci_pipe_t **pipe);
/* The same over a secure stream, which it then owns: with peers of the first release. */
hmc_status_t hmci_secure_pipe_open(hmci_secure_t *stream, hmci_pipe_t **pipe);

/* ---- remote regions ---------------------------------------------------------------------------------------------- */

struct hmc_remote {
  /* What a small put to a mapped peer reads; kept together. */
  uint8_t *mapped;                    /* NULL: goes through the transport */
  const _Atomic uint32_t *generation; /* the owner's word, or NULL */
  const _Atomic uint32_t *connected;  /* the peer's word */
  const _Atomic uint32_t *here;       /* the context's word */
  const hmc_context_t *context;
  hmci_stats_t *stats; /* the peer's */
  uint64_t words_end;  /* puts of 8 bytes to mapped memory begin before it; 0 where none are allowed */
  hmci_remote_view_t view;

  hmc_peer_t *peer;
  /* The same region by the peer's second transport, which then moves the data of puts and gets; else NULL. Constant
   * from the end of the opening to the closing. Only of handles with no `mapped`. */
  struct hmc_remote *second;
  struct hmc_remote *first;    /* of such a handle: the one that the program has */
  hmci_list_t link;            /* peer->remotes */
  hmci_list_t mappings;        /* peer->lock */
  _Atomic uint32_t references; /* the last one closes */
  hmci_interval_t place;       /* peer->directory */
  char name[HMC_REGION_NAME_SIZE];
  _Alignas(HMCI_CACHE_LINE) uint8_t state[]; /* the transport's */
};

/* The handle that moves the data of a put or a get. */
static inline hmc_remote_t *hmci_remote_for_data(hmc_remote_t *remote) {
  return remote->second ? remote->second : remote;
}
/* Makes the handle of a region that the peer has described. */
hmc_status_t hmci_remote_create(hmc_peer_t *peer, const char *name, const hmci_found_t *found, uint64_t deadline,
                                hmc_remote_t **remote);
/* Opens by name, at the latest until the deadline; can the name be one? */
hmc_status_t hmci_remote_open(hmc_peer_t *peer, const char *name, uint64_t deadline, hmc_remote_t **remote);
hmc_status_t hmci_remote_check_name(const char *name);
/* Finds by address: in the peer's directory, else by asking the peer. */
hmc_status_t hmci_remote_find(hmc_peer_t *peer, uint64_t address, uint64_t bytes, uint64_t deadline,
                              hmc_remote_t **remote, uint64_t *offset);
/* Closes what is mapped of it. */
void hmci_mappings_close(hmc_remote_t *remote);

void hmci_remote_destroy(hmc_remote_t *remote); /* without touching the peer's list */

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* Waits until nobody uses the requests of a peer (NULL: of any) any more; they are complete, so that takes a moment. */
void hmci_requests_await_users(hmc_context_t *context, const hmc_peer_t *peer);
/* Ends the operations of threads that wait for them at once, and that move bytes of a local region. */
void hmci_operations_end_local(hmc_context_t *context, const hmc_region_t *region);
/* Ends the requests that move bytes of a local region; none of them touches it when it returns. */
void hmci_requests_end_local(hmc_context_t *context, const hmc_region_t *region);
/* Of a peer whose connection has failed, ends the requests that are more than operations of its own: those whose data are
 * checked, and those over several peers of which it is the first. */
void hmci_requests_end_beyond(hmc_context_t *context, const hmc_peer_t *peer, hmc_status_t status);
void hmci_requests_open(hmc_context_t *context);
void hmci_requests_close(hmc_context_t *context);
/* Frees all requests of a context whose peers are closed. */
void hmci_requests_destroy(hmc_context_t *context);
void hmci_requests_expire(hmci_timer_t *timer);
void hmci_requests_call_back(hmci_timer_t *timer);
/* True in a callback of the context's requests, whichever thread runs it. */
bool hmci_context_is_calling_back(const hmc_context_t *context);

void hmci_delays_run(hmci_timer_t *timer);
/* Ends the requests of a peer that have not begun. */
void hmci_delays_end(hmc_context_t *context, const hmc_peer_t *peer, hmc_status_t status);

/* ---- queues ------------------------------------------------------------------------------------------------------ */

/* The peer's operations are complete: no queue uses the peer when it returns, or will. */
void hmci_queues_forget(hmc_context_t *context, const hmc_peer_t *peer);
void hmci_queues_destroy(hmc_context_t *context);

/* ---- the second pass over data, for transports without checksums ------------------------------------------------- */

void hmci_checksums_run(hmci_timer_t *timer);
/* A peer asks about bytes here, and answers about its own; as hmci_session_handle. */
hmc_status_t hmci_checksum_answer(hmc_peer_t *peer, hmci_reader_t *reader);
hmc_status_t hmci_checksum_answered(hmc_peer_t *peer, hmci_reader_t *reader);

/* ---- notifications ----------------------------------------------------------------------------------------------- */

/* hmci_host_t's notify. */
hmc_status_t hmci_notification_put(const hmci_host_t *host, void *connection, const void *data, size_t size);
/* Forgets who sent what is in the queue. */
void hmci_notifications_orphan(hmc_context_t *context, const hmc_peer_t *peer);
void hmci_notifications_destroy(hmc_context_t *context);

#endif
