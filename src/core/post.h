/* Credits of notifications, one account per peer and direction.
 *
 * The receiving side grants how many notifications, and how many bytes of them, a peer may have sent in all; it grants
 * more as the application takes them. The sending side charges its account when it hands one to the transport. Without
 * credit a notification is parked: its data go, and it follows, in the loop, once they are there and credit has come;
 * or its deadline ends it. What failed is refunded. A notification that was cancelled may still arrive, so a grant says
 * how many have, and the sender corrects its account by that; the receiver bears twice of what it grants meanwhile.
 *
 * Locking: `lock` guards `parked`; it is inner to `request_lock` and outer to the transports' locks. The counters are
 * atomics: charged by any thread, refunded under the transports' locks. */
#ifndef HMCI_POST_H
#define HMCI_POST_H

#include "../base/loop.h"
#include "../ctrl/frame.h"
#include "../transport/transport.h"

struct hmc_peer;

/* What may be sent before the peer has granted anything. */
enum { HMCI_POST_FIRST = 16, HMCI_POST_FIRST_BYTES = 1 << 20 };
enum { HMCI_NOTIFICATION_OLD = 4096 }; /* bytes of one, for the first release */

/* Operations that wait for the one before them and for credit. */
typedef struct hmci_parked {
  hmci_list_t link;             /* post->parked, or empty */
  _Atomic bool waits;           /* it is in that list */
  _Atomic bool submitted;       /* the transport has the operations */
  _Atomic bool due;             /* `before` is complete, or a few instructions from it */
  hmci_operation_t *operations; /* the last one is the notification */
  uint32_t count;
  hmci_operation_t *before;                                     /* NULL: nothing is to be waited for but credit */
  bool *charged;                                                /* set when the notification has been charged */
  void (*end)(struct hmci_parked *parked, hmc_status_t status); /* with the connection, though `before` is not complete;
                                                                   NULL: it is */
} hmci_parked_t;

typedef struct hmci_post {
  uint64_t most, most_bytes; /* that wait here: the settings */
  _Atomic uint64_t arrived, arrived_bytes, taken, taken_bytes;
  _Atomic uint64_t told, told_bytes; /* what was taken when the peer was last informed */
  _Atomic bool has_told;

  pthread_mutex_t lock;
  hmci_list_t parked; /* lock */
  bool over;          /* lock; nothing is parked any more, for `end` */
  hmc_status_t end;
  _Atomic uint32_t parked_count;
  _Atomic uint64_t sent, sent_bytes;
  _Atomic uint64_t granted, granted_bytes;
  hmci_waitset_t waitset; /* called for every grant and refund, and when nothing is parked any more */
  hmci_timer_t timer;     /* tells the peer, and starts what was parked */
} hmci_post_t;

void hmci_post_open(struct hmc_peer *peer);
/* Nothing is parked, and the timer is cleared. */
void hmci_post_close(struct hmc_peer *peer);

/* ---- receiving */

/* Counts one that came: HMC_NO_MEMORY where the peer sent more than it was granted. */
hmc_status_t hmci_post_arrive(hmci_post_t *post, size_t size);
/* The application took one, or its peer's connection ended. */
void hmci_post_take(struct hmc_peer *peer, size_t size);

/* ---- sending */

/* Charges one; false: there is no credit, or others wait for it. */
bool hmci_post_charge(struct hmc_peer *peer, size_t size);
/* It has not arrived. Any lock. */
void hmci_post_refund(struct hmc_peer *peer, size_t size);
/* Waits for credit and charges: HMC_TIMEOUT, HMC_PEER_LOST. */
hmc_status_t hmci_post_await(struct hmc_peer *peer, size_t size, uint64_t deadline);
/* False: the connection has ended. */
bool hmci_post_park(struct hmc_peer *peer, hmci_parked_t *parked);
/* True: it was parked, and is the caller's to complete. */
bool hmci_post_unpark(struct hmc_peer *peer, hmci_parked_t *parked);
/* Something that parked operations wait for may have come. Any lock. */
void hmci_post_stir(struct hmc_peer *peer);
/* The connection has ended: so do the parked ones. */
void hmci_post_end(struct hmc_peer *peer, hmc_status_t status);
/* In a callback, which keeps the loop: starts what can be started. */
void hmci_post_turn(struct hmc_peer *peer);

/* A grant came; as hmci_session_handle. */
hmc_status_t hmci_post_granted(struct hmc_peer *peer, hmci_reader_t *reader);

#endif
