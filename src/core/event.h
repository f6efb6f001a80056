/* What a program can wait for in one place: completions, arrivals, notifications, lost peers.
 *
 * An event lies in what it tells of (a request, a peer, a notification), in one list per kind, and has a number in the
 * order of happening. A thread that waits names the kinds; each event is returned once. The calls that wait are counted
 * as guests, so that the context can end them before it goes.
 *
 * Locking: `lock` guards all and is inner to every other lock of the core. */
#ifndef HMCI_EVENT_H
#define HMCI_EVENT_H

#include "../base/base.h"

#include <hmc/poll.h>
#include <pthread.h>
#include <stdatomic.h>

enum { HMCI_EVENT_KINDS = HMC_EVENT_PEER_LOST + 1 };

typedef struct hmci_poll_event {
  hmci_list_t link; /* events->waiting[kind], or empty */
  hmc_event_kind_t kind;
  uint64_t order;
} hmci_poll_event_t;

typedef struct hmci_events {
  pthread_mutex_t lock;
  pthread_cond_t happened;
  hmci_list_t waiting[HMCI_EVENT_KINDS];
  uint32_t count[HMCI_EVENT_KINDS];   /* of `waiting` */
  uint32_t waiters[HMCI_EVENT_KINDS]; /* threads that wait for that kind */
  uint64_t order;
  _Atomic uint32_t changes;     /* counts on with every event; changed under `lock` */
  uint32_t interrupts, noticed; /* so far; and those that ended a call of hmc_poll, or came while it ran */
  uint32_t guests;              /* calls that wait */
  bool closing;                 /* the context ends: nobody waits any more */
  int descriptor;               /* an eventfd, or -1 */
  unsigned kinds;               /* that it tells of */
  bool raised;                  /* it is readable */
} hmci_events_t;

void hmci_events_open(hmci_events_t *events);
void hmci_events_close(hmci_events_t *events);

void hmci_event_init(hmci_poll_event_t *event, hmc_event_kind_t kind);
/* It happens. Any thread, any lock held but the events' own. */
void hmci_event_add(hmci_events_t *events, hmci_poll_event_t *event);
/* Takes it back: nobody will be given it. True: it was waiting. */
bool hmci_event_drop(hmci_events_t *events, hmci_poll_event_t *event);
/* The same, unless a thread waits for its kind. */
bool hmci_event_drop_unawaited(hmci_events_t *events, hmci_poll_event_t *event);

/* With `lock` held: makes the descriptor say what is so. */
void hmci_events_update_descriptor(hmci_events_t *events);

/* With `lock` held: takes out an event; the oldest of those kinds, or NULL. */
void hmci_event_remove(hmci_events_t *events, hmci_poll_event_t *event);
hmci_poll_event_t *hmci_event_oldest(hmci_events_t *events, unsigned kinds);

/* With `lock` held: waits until there is an event of those kinds. HMC_TIMEOUT, HMC_CANCELLED (interrupted, or the
 * context ends), both without a text. */
hmc_status_t hmci_events_await(hmci_events_t *events, unsigned kinds, uint64_t deadline);

/* Ends all calls that wait; `closing`: for good, and returns when they have left. */
void hmci_events_interrupt(hmci_events_t *events, bool closing);

/* The descriptor, made by the first call, that tells of those kinds from now on. */
hmc_status_t hmci_events_descriptor(hmci_events_t *events, unsigned kinds, int *descriptor);

#endif
