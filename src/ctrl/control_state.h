/* The control channel from inside: what control.c (the public calls), dial.c (links made from here) and accept.c (links
 * made by others) share; control_state.c has the functions but those of accept.c.
 *
 * Locking: `lock` guards everything from `closing` on. Lock order: the loop's dispatch, then this lock, then a link's.
 * So nothing here removes a watch, clears a timer or releases a link's last reference with it held, and the loop's
 * callbacks may take it. Greetings belong to the loop's thread alone. */
#ifndef HMCI_CONTROL_STATE_H
#define HMCI_CONTROL_STATE_H

#include "../base/loop.h"
#include "../base/settings.h"
#include "../base/socket.h"
#include "link.h"
#include "link_handshake.h"

#include <hmc/control.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/types.h>

enum {
  HMCI_CONTROL_BUCKETS = 64,
  HMCI_CONTROL_GREETINGS = 64,      /* accepted connections that have yet to prove themselves */
  HMCI_CONTROL_HANDSHAKE_MS = 5000, /* and how long they may take */
};

typedef enum hmci_forced { HMCI_FORCED_NOT, HMCI_FORCED_TCP, HMCI_FORCED_UDS } hmci_forced_t;

/* A rank that has a link, or had one that was lost. */
typedef struct hmci_entry {
  hmci_list_t order;  /* all entries, the oldest link first */
  hmci_list_t bucket; /* those of one hash */
  uint32_t rank;
  bool is_unix;
  char ip[INET6_ADDRSTRLEN]; /* where the link goes to or comes from; "" where that is not known */
  hmci_link_t *link;         /* one reference */
  uint64_t arrival;          /* counts the links of the channel */
  uint64_t incarnation;      /* of the channel at the other end */
  uint64_t floor;            /* its dials up to this serial number are older than the link */
} hmci_entry_t;

/* A hmc_control_connect in progress; see link_handshake.h. */
typedef struct hmci_dial {
  hmci_list_t member;
  uint32_t rank;
  uint64_t began;  /* the newest arrival when it began */
  uint64_t serial; /* of the hello that was sent last */
  bool pending;    /* that hello is not answered yet */
  bool crossed;    /* a link came up by the other end's dial meanwhile, and stands */
  int descriptor;  /* its socket, for who wants to end it; -1: none */
  hmci_kept_t kept;
} hmci_dial_t;

typedef struct hmci_listener hmci_listener_t; /* accept.c */

struct hmc_control {
  pid_t process; /* a child made by fork() has another one */
  hmci_settings_t settings;
  hmci_secret_t secret;
  hmci_forced_t forced;
  uint64_t incarnation;
  hmci_loop_t *loop;

  hmci_list_t handshakes; /* the loop's thread only, as the two below */
  unsigned handshake_count;
  uint64_t next_warning;
  hmci_timer_t farewell;

  pthread_mutex_t lock;
  pthread_cond_t changed; /* an entry came or went, a dial ended, `closing`, `callers`, `has_left` */
  bool closing;
  bool has_left;    /* the loop's thread is through with the channel */
  unsigned callers; /* public calls in progress */
  uint64_t arrivals, serials;
  hmci_list_t listeners, dials, entries;
  hmci_list_t buckets[HMCI_CONTROL_BUCKETS];
};

/* Begins and ends a public call. HMC_INVALID_CONFIG (NULL), HMC_UNSUPPORT (after fork()), HMC_CANCELLED (destroyed). */
hmc_status_t hmci_control_enter(hmc_control_t *control);
void hmci_control_leave(hmc_control_t *control);

/* When a call with that timeout ends; 0: HMC_TIMEOUT. */
uint64_t hmci_control_deadline(const hmc_control_t *control, uint64_t timeout_ms);

/* With the lock held: waits for `changed`. HMC_TIMEOUT (without a text), HMC_CANCELLED (with one). */
hmc_status_t hmci_control_wait(hmc_control_t *control, uint64_t deadline);

/* With the lock held: the entry of a rank, or NULL. */
hmci_entry_t *hmci_control_entry(hmc_control_t *control, uint32_t rank);

/* With the lock held, or nobody left: takes an entry out and gives its link to the caller. */
hmci_link_t *hmci_control_remove_entry(hmci_entry_t *entry);

/* With the lock held: makes a stream the link to its peer's rank and takes the place of a former one, whose messages it
 * inherits. The caller releases *former (may be NULL) without the lock. `peer` has all but link and arrival. Errors:
 * HMC_NO_MEMORY; the stream stays the caller's. */
hmc_status_t hmci_control_adopt(hmc_control_t *control, const hmci_entry_t *peer, hmci_secure_t *stream,
                                const char *address, const void *first, size_t first_size, hmci_link_t **former);

/* One spelling of each address: as inet_ntop() writes it, IPv4 in IPv6 as IPv4, without a scope. */
void hmci_control_plain_ip(const char *ip, char plain[INET6_ADDRSTRLEN]);

/* accept.c. Takes a listening socket; `path` is its file, or NULL. HMC_NO_MEMORY; the socket stays the caller's. */
hmc_status_t hmci_control_add_listener(hmc_control_t *control, int descriptor, const char *path,
                                       hmci_listener_t **listener);
/* Closes its socket and removes its file; NULL: of all of them. */
void hmci_control_remove_listener(hmc_control_t *control, hmci_listener_t *listener);
/* In the loop's thread. */
void hmci_control_drop_handshakes(hmc_control_t *control);

#endif
