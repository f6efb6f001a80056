/* What a store's server knows, apart from its sockets: keys, leases, clients' sessions, watches, and who waits.
 *
 * A session is a client, over all its connections. Each of its requests has a number; what it changed is answered again
 * from `replies` when the client asks again, until the client says by its floor that it has the answer. So a request
 * takes effect once.
 *
 * Threads: the server's loop alone; no locking. Nothing here blocks but writes to the journal. */
#ifndef HMCI_STORE_STATE_H
#define HMCI_STORE_STATE_H

#include "store_journal.h"
#include "store_map.h"
#include "store_stream.h"

#define HMCI_STORE_NS_PER_MS UINT64_C(1000000)

enum { HMCI_STORE_BUCKETS = 1024, HMCI_STORE_PAIR = 16 }; /* bytes of session and sequence in a record */

typedef struct hmci_store_state hmci_store_state_t;

typedef struct hmci_store_session {
  hmci_list_t member, bucket;
  hmci_store_state_t *state;
  uint64_t id, floor;
  uint64_t heard;    /* when the client sent something last */
  uint64_t gone;     /* since when it has no connection; 0: it has one */
  bool is_restored;  /* from the journal: its leases get their whole TTL to be taken up again */
  bool is_restoring; /* nothing but leases and their keys has come by this connection */
  uint64_t serial;   /* of its connection; rises with each */
  void *connection;  /* the server's; NULL: none */
  hmci_list_t leases, replies, watches;
} hmci_store_session_t;

/* What the state asks its server for. `send` may drop what does not fit; `cut` hangs up, but not before it returns;
 * `make_room` writes the journal again: false where it is not smaller then. */
typedef struct hmci_store_wires {
  void (*send)(hmci_store_session_t *session, const hmci_store_message_t *message, hmci_store_shared_t *shared);
  void (*cut)(hmci_store_session_t *session);
  bool (*make_room)(hmci_store_state_t *state);
} hmci_store_wires_t;

struct hmci_store_state {
  const hmci_store_wires_t *wires;
  hmci_store_journal_t *journal; /* NULL: none */
  uint64_t incarnation, revision, memory_max, grace;
  hmci_store_map_t map;
  hmci_list_t sessions, buckets[HMCI_STORE_BUCKETS];
  hmci_list_t waits, meetings, watches;
};

void hmci_store_state_init(hmci_store_state_t *state, const hmci_store_wires_t *wires);
void hmci_store_state_clear(hmci_store_state_t *state);

/* The session of a client, made where it is new. NULL: no memory. */
hmci_store_session_t *hmci_store_session(hmci_store_state_t *state, uint64_t id);

/* The client has a connection now, or none any more. */
void hmci_store_session_join(hmci_store_session_t *session, void *connection);
void hmci_store_session_part(hmci_store_session_t *session);

/* Removes a client with all it has. */
void hmci_store_session_end(hmci_store_session_t *session);

/* Serves a request but hello. HMC_CORRUPT: no request of this protocol; the connection must end. */
hmc_status_t hmci_store_serve(hmci_store_session_t *session, const hmci_store_message_t *request);

/* Ends leases and sessions whose time has come; when to come again, or HMCI_NEVER. */
uint64_t hmci_store_expire(hmci_store_state_t *state, uint64_t now);

/* store_replay.c: takes a record of the journal while it is read. HMC_CORRUPT, HMC_NO_MEMORY. */
hmc_status_t hmci_store_replay(hmci_store_state_t *state, const hmci_store_message_t *record);

/* Writes all that a journal must hold into `journal`. */
hmc_status_t hmci_store_dump(hmci_store_state_t *state, hmci_store_journal_t *journal);

/* ---- between the files of the state ------------------------------------------------------------------------------ */

typedef struct hmci_store_held {
  hmci_list_t member; /* of the session's leases */
  uint64_t id, ttl;   /* nanoseconds */
  uint64_t serial;    /* of the connection that made it, or that goes on with what that one began: to it it is new */
  hmci_store_session_t *session;
  hmci_list_t keys;
} hmci_store_held_t;

typedef struct hmci_store_reply {
  hmci_list_t member;
  uint64_t sequence;
  int64_t number;
  hmci_store_shared_t *value; /* NULL: none */
} hmci_store_reply_t;         /* of a request that succeeded: one that failed changed nothing, and is served again */

/* store_meet.c: barriers, gathers, and waits for keys. */
void hmci_store_meet(hmci_store_session_t *session, const hmci_store_message_t *request);
void hmci_store_await(hmci_store_session_t *session, const hmci_store_message_t *request);
void hmci_store_tell_waits(hmci_store_state_t *state, const hmci_store_entry_t *entry);
/* Takes one wait or arrival of the session out; sequence 0: all of them. */
void hmci_store_withdraw(hmci_store_session_t *session, uint64_t sequence);
hmc_status_t hmci_store_replay_meeting(hmci_store_state_t *state, const hmci_store_message_t *record);

/* store_watch.c */
void hmci_store_watch(hmci_store_session_t *session, const hmci_store_message_t *request);
void hmci_store_list(hmci_store_session_t *session, const hmci_store_message_t *request);
void hmci_store_tell_watches(const hmci_store_state_t *state, hmc_store_event_kind_t kind,
                             const hmci_store_entry_t *entry);
/* Ends the session's watch with that number; 0: all of them. */
void hmci_store_unwatch(hmci_store_session_t *session, uint64_t sequence);

/* store_state.c: keys and leases, without records or answers. */
/* Puts a value into the map, and the entry into its lease. NULL: no memory. */
hmci_store_entry_t *hmci_store_entry_put(hmci_store_state_t *state, const hmci_store_message_t *request,
                                         const void *value, uint32_t size, hmci_store_held_t *lease);
/* Takes a key out and tells of it. */
void hmci_store_entry_remove(hmci_store_state_t *state, hmci_store_entry_t *entry);
hmci_store_held_t *hmci_store_lease_find(const hmci_store_session_t *session, uint64_t id);
/* HMC_NO_MEMORY. */
hmc_status_t hmci_store_lease_add(hmci_store_session_t *session, uint64_t id, int64_t ttl_ms);
void hmci_store_lease_remove(hmci_store_held_t *lease);

/* Answers. */
void hmci_store_answer(hmci_store_session_t *session, uint64_t sequence, int64_t number);
/* HMC_SUCCESS with the entry's value. */
void hmci_store_answer_value(hmci_store_session_t *session, uint64_t sequence, const hmci_store_entry_t *entry);
/* With the thread's error text. */
void hmci_store_refuse(hmci_store_session_t *session, uint64_t sequence, hmc_status_t status);
/* Keeps an answer until the client's floor is above it. HMC_NO_MEMORY. */
hmc_status_t hmci_store_keep_reply(hmci_store_session_t *session, uint64_t sequence, int64_t number,
                                   hmci_store_shared_t *value);
/* Sends it. */
void hmci_store_send_reply(hmci_store_session_t *session, const hmci_store_reply_t *reply);
/* Writes a record where there is a journal, written again where it is full. HMC_ERROR. */
hmc_status_t hmci_store_record(hmci_store_state_t *state, const hmci_store_message_t *record);

#endif
