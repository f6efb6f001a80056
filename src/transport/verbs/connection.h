/* A connection, its rails and their send queues, and what operations and remote regions have of it. */
#ifndef HMCI_VERBS_CONNECTION_H
#define HMCI_VERBS_CONNECTION_H

#include "device.h"

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
  bool writes;        /* changes the owner's memory */
  bool sent;          /* over the present queue pair */
  bool twice;         /* it was sent before, and an answer may be one to that */
  verbs_rail_t *rail; /* that it was last posted to, as the entry of that count */
  uint32_t count;
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
  uint64_t retry_when; /* the time that timer is set for; 0: it is not */

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
  hmci_list_t link;               /* transport->connections */
  hmci_list_t touch;              /* transport->touched */
  uint32_t slots[VERBS_PURPOSES]; /* that it holds */
  verbs_transport_t *transport;
  hmci_role_t role;
  hmc_status_t failed; /* what new operations get; HMC_SUCCESS while alive */
  bool ended;          /* `failed`, and nothing of it is left with the hardware */

  /* The link. */
  hmci_pipe_t *pipe;
  hmci_watch_t watch;
  bool cut;     /* of no use any more; the core knows */
  bool blocked; /* the watch waits for room to send, too */
  uint8_t in[VERBS_NOTE];
  uint32_t in_size;
  uint8_t *out;
  uint32_t out_size, out_room;
  pthread_cond_t changed; /* a rail's phase or `tried`, `failed`, an answered ASK; for who dials, or opens a region */
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
  uint32_t question;         /* of the last query, or the last ASK */

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
  uint32_t question;   /* asked for its key, which comes once the owner has registered it; 0: not, or answered */
  hmc_status_t answer;
  struct {
    bool there; /* the owner's device reaches it */
    uint32_t key;
    uint64_t address;
  } ways[VERBS_RAILS]; /* by rail */
} verbs_remote_t;

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

/* The connection may be able to go on. */
static inline void hmci_verbs_touch(verbs_connection_t *connection) {
  if (hmci_list_is_empty(&connection->touch)) hmci_list_append(&connection->transport->touched, &connection->touch);
}

/* ---- rails ------------------------------------------------------------------------------------------------------- */

/* pair.c */
hmc_status_t hmci_verbs_pair_make(verbs_rail_t *rail);
hmc_status_t hmci_verbs_pair_connect(verbs_rail_t *rail);
void hmci_verbs_pair_destroy(verbs_rail_t *rail);
/* Describes this side's queue pair. */
void hmci_verbs_pair_describe(const verbs_rail_t *rail, verbs_note_t *note);

/* rail.c */
/* Gives a rail its device, which is started where it is not. */
hmc_status_t hmci_verbs_rail_open(verbs_rail_t *rail, verbs_device_t *device);
void hmci_verbs_rail_close(verbs_rail_t *rail); /* of one that was never opened, too */
/* The piece of a striped operation did not get through. */
void hmci_verbs_rail_lose(verbs_rail_t *rail, const verbs_entry_t *entry);
/* The operation's lost pieces are not to be done again. */
void hmci_verbs_rail_forget(verbs_connection_t *connection, hmci_operation_t *operation);

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
/* Hands the send queue a last entry, whose completion says that all before it are flushed. */
void hmci_verbs_ring_mark(verbs_rail_t *rail);
/* Is something of the operation in the hardware's hands? */
bool hmci_verbs_ring_holds(const verbs_rail_t *rail, const hmci_operation_t *operation);

/* completion_status.c */
typedef enum verbs_completion_status {
  VERBS_PATH,      /* the way between the two failed; to be tried again */
  VERBS_ACCESS,    /* the owner's adapter refused; the owner knows why */
  VERBS_OPERATION, /* this operation cannot be done */
} verbs_completion_status_t;
verbs_completion_status_t hmci_verbs_completion_status(enum ibv_wc_status status);

#endif
